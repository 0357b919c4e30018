//! The README's first command, and what follows it: list, show, delete, in every format; and the same
//! with 200 hosts.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Home, Output, TOOL, python, skip, template, wait_until};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/first-cluster.yaml")
}

/// Creates the example, and waits until the front-end has looked at its hosts.
fn create(home: &Home) -> String {
    let created = home.tool(&["--sandbox", "create"]).args(&[example()]).run().exits(0);
    let id = created.says("Done: all 3 hosts enabled. 3 machines exist and may be billed.").id();
    // An enabled host is monitored once before it is "on".
    wait_until("all hosts to be on", || {
        let hosts = home.sandbox(&["host", "list", "--csv", "--no-header"]).exits(0).stdout;
        hosts.lines().all(|host| host.ends_with(",on"))
    });
    id
}

#[test]
fn a_cluster_appears_in_an_empty_home_and_goes_without_a_trace() {
    let home = Home::new();
    let id = create(&home);
    assert_eq!(home.bill().len(), 3);

    let listed = home.sandbox(&["list", "--csv"]).exits(0);
    assert_eq!(
        listed.stdout,
        format!(
            "ID,NAME,CLUSTERS,HOSTS,NETWORKS,DATASTORES,STAT\n{id},first-cluster,1,3,1,2,configured\n"
        )
    );
    assert_eq!(listed.stderr, "");
    for (kind, count) in [("host", 3), ("cluster", 1), ("datastore", 2), ("vnet", 1)] {
        let rows = home.sandbox(&[kind, "list", "--no-header"]).exits(0);
        assert_eq!(rows.stdout.lines().count(), count, "{}", rows.stdout);
        assert_eq!(rows.stderr, "");
        let with_header = home.sandbox(&[kind, "list"]).exits(0).stdout;
        assert_eq!(with_header.split_once('\n').unwrap().1, rows.stdout);
    }

    let deleted = home.sandbox(&["delete", &id]).exits(0);
    assert_eq!(deleted.stdout, "");
    let last = deleted.stderr.lines().last();
    assert_eq!(last, Some(&*format!("Provision {id} is deleted. No machine exists.")));
    assert_eq!(home.bill(), Vec::<String>::new());
    assert_eq!(home.machines_ever().len(), 3);
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout, "");
    for kind in ["host", "cluster", "datastore", "vnet"] {
        assert_eq!(home.sandbox(&[kind, "list", "--no-header"]).exits(0).stdout, "", "{kind}");
    }
    // Again is no error: what is wanted is so.
    home.sandbox(&["delete", &id]).exits(0).says("No machine exists.");
    home.sandbox(&["show", &id]).one_error();
}

/// The same answer in JSON, YAML and XML.
fn in_all_formats(home: &Home, command: &[&str]) -> (Value, String) {
    let run = |format: &str| -> Output {
        let output = home.tool(&["--sandbox"]).args(command).args(&[format]).run().exits(0);
        assert_eq!(output.stderr, "");
        output
    };
    let json = run("-j").json();
    let yaml: Value = serde_saphyr::from_str(&run("-y").stdout).unwrap();
    assert_eq!(yaml, json, "{command:?}");
    assert_eq!(run("--json").json(), json);
    (json, run("-x").stdout)
}

#[test]
fn every_format_tells_the_same() {
    let home = Home::new();
    let id = create(&home);

    let (json, xml) = in_all_formats(&home, &["show", &id]);
    let provision = &json["PROVISION"];
    assert_eq!(provision["ID"], *id);
    assert_eq!(provision["STATUS"], "configured");
    let document = roxmltree::Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert_eq!(root.tag_name().name(), "PROVISION");
    let text = |name: &str| root.children().find(|n| n.has_tag_name(name)).unwrap().text().unwrap();
    assert_eq!((text("ID"), text("NAME"), text("STATUS")), (&*id, "first-cluster", "configured"));
    for (kind, count) in [("CLUSTERS", 1), ("DATASTORES", 2), ("HOSTS", 3), ("NETWORKS", 1)] {
        let ids: Vec<String> = root
            .children()
            .filter(|n| n.has_tag_name(kind))
            .flat_map(|n| n.children())
            .filter(|n| n.has_tag_name("ID"))
            .map(|n| n.text().unwrap().to_owned())
            .collect();
        let objects = provision[kind].as_array().unwrap();
        let same: Vec<String> = objects.iter().map(|object| object["ID"].to_string()).collect();
        assert_eq!(ids.len(), count);
        assert_eq!(ids, same, "{kind}");
    }
    let bill = home.bill();
    for host in provision["HOSTS"].as_array().unwrap() {
        assert_eq!(host["STATE"], "enabled");
        assert_eq!(host["CONFIGURATION_STATUS"], "configured");
        assert_eq!(host["NAME"], host["ADDRESS"]);
        assert!(bill.iter().any(|machine| *machine == host["DEPLOY_ID"]), "{host}");
    }

    let (json, xml) = in_all_formats(&home, &["list"]);
    assert_eq!(json["PROVISION_POOL"]["PROVISION"][0]["ID"], *id);
    assert!(
        roxmltree::Document::parse(&xml).unwrap().root_element().has_tag_name("PROVISION_POOL")
    );
    for (kind, pool, element) in [
        ("host", "HOST_POOL", "HOST"),
        ("cluster", "CLUSTER_POOL", "CLUSTER"),
        ("datastore", "DATASTORE_POOL", "DATASTORE"),
        ("vnet", "VNET_POOL", "VNET"),
    ] {
        let (json, xml) = in_all_formats(&home, &[kind, "list"]);
        let objects = json[pool][element].as_array().unwrap();
        let document = roxmltree::Document::parse(&xml).unwrap();
        let elements = document.root_element().children().filter(|n| n.has_tag_name(element));
        assert_eq!(elements.count(), objects.len());
        let csv = home.sandbox(&[kind, "list", "--csv", "--no-header"]).exits(0).stdout;
        assert_eq!(csv.lines().count(), objects.len());
    }
    assert_eq!(home.sandbox(&["list", "-j", "-x"]).exits(255).stdout, "");
}

#[test]
fn hosts_go_one_by_one() {
    let home = Home::new();
    let id = create(&home);
    let hosts = home.sandbox(&["host", "list", "-j"]).exits(0).json();
    let hosts = hosts["HOST_POOL"]["HOST"].as_array().unwrap().clone();
    let first = hosts[0]["ID"].to_string();
    home.sandbox(&["host", "delete", &first]).exits(0);
    assert_eq!(home.bill().len(), 2);
    assert_eq!(home.sandbox(&["host", "list", "--no-header"]).stdout.lines().count(), 2);
    let shown = home.sandbox(&["show", "-j", &id]).exits(0).json();
    assert_eq!(shown["PROVISION"]["HOSTS"].as_array().unwrap().len(), 2);
    assert_eq!(shown["PROVISION"]["STATUS"], "configured");
    home.sandbox(&["host", "delete", &first]).one_error();
    home.sandbox(&["delete", &id]).exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn two_hundred_hosts() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 200, &[("dummy_latency", "50ms")]));
    let created = home.tool(&["--sandbox", "create"]).args(&[path]).run().exits(0);
    let id = created.says("Done: all 200 hosts enabled. 200 machines exist").id();
    assert_eq!(home.bill().len(), 200);
    assert!(
        home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout.contains(",1,200,0,0,")
    );
    let shown = home.sandbox(&["show", "-j", &id]).exits(0).json();
    let hosts = shown["PROVISION"]["HOSTS"].as_array().unwrap();
    let mut addresses: Vec<&str> = hosts.iter().filter_map(|h| h["ADDRESS"].as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 200);
    home.sandbox(&["delete", &id]).exits(0).says("is deleted. No machine exists.");
    assert_eq!((home.bill().len(), home.machines_ever().len()), (0, 200));
}

#[test]
fn the_state_folder_is_where_it_was_asked_for_and_private() {
    let home = Home::new();
    let (named, xdg) = (home.root().join("named"), home.root().join("xdg"));
    let list = |home: &Home| home.tool(&["--sandbox", "list"]);
    list(&home).env("XDG_STATE_HOME", &xdg).run().exits(0);
    assert!(xdg.join("oneprovision/journal.db").is_file());
    list(&home).args(&["--state-dir"]).args(&[&named]).env("XDG_STATE_HOME", &xdg).run().exits(0);
    assert!(named.join("journal.db").is_file());
    assert!(std::fs::read_dir(home.home()).unwrap().next().is_none(), "the home is still empty");

    let id = create(&home);
    home.sandbox(&["delete", &id]).exits(0);
    let mut folders = vec![home.state()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn provisions_are_found_by_name_unless_two_have_it() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let create = || home.tool(&["--sandbox", "create"]).args(&[&path]).run();
    let first = create().exits(0).id();
    let name = home.sandbox(&["show", "-j", &first]).exits(0).json();
    let name = name["PROVISION"]["NAME"].as_str().unwrap().to_owned();
    assert!(home.sandbox(&["show", &name]).exits(0).stdout.contains(&first));
    home.sandbox(&["export", &name]).exits(0);
    home.tool(&["--sandbox", "plan"]).args(&[&path]).args(&[&name]).run().exits(0);
    let error = home.sandbox(&["delete", "--yes", &name[1..]]).one_error();
    assert!(error.contains("there is no provision") && error.contains("OP-NOT-FOUND"), "{error}");
    // The cluster's name is taken: nothing is begun.
    let error = create().one_error();
    assert!(error.contains("has a cluster named \"test-cluster\" already"), "{error}");
    assert!(error.contains(&format!("`oneprovision --sandbox show {first}`")), "{error}");
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout.lines().count(), 1);
    let second = template("dummy", 0, &[]).replace("test-cluster", "another");
    let second = home.write("second.yaml", second);
    home.tool(&["--sandbox", "create"]).args(&[&second]).run().exits(0);
    let error = home.sandbox(&["delete", "--yes", &name]).one_error();
    assert!(error.contains(&first) && error.contains("name it by its id"), "{error}");
    assert_eq!(home.bill().len(), 1);
    home.sandbox(&["delete", "--yes", &first]).exits(0);
    home.sandbox(&["delete", "--yes", &name]).exits(0);
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout, "");
}

/// Gives the rest of its arguments a terminal as standard input, on which the first one is typed.
const TYPED: &str = "\
import os, pty, subprocess, sys
ours, theirs = pty.openpty()
os.write(ours, sys.argv[1].encode() + b'\\n')
sys.exit(subprocess.run(sys.argv[2:], stdin=theirs).returncode)
";

#[test]
fn a_no_on_the_terminal_deletes_nothing() {
    let Some(python) = python() else { return skip("no Python") };
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let id = home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(0).id();
    let name = home.sandbox(&["show", "-j", &id]).exits(0).json()["PROVISION"]["NAME"].clone();
    let typed = |answer: &str| {
        let tool = home.program(&python).args(&["-c", TYPED, answer, TOOL]);
        tool.args(&["--sandbox", "delete", &id]).run()
    };
    let output = typed("no").exits(255);
    let question = format!("Delete provision {id} ({}), its machines", name.as_str().unwrap());
    let output = output.says(&question).says("ERROR: nothing was deleted");
    output.says("oneprovision explain OP-CONFIRMATION");
    assert_eq!(home.bill().len(), 1);
    typed("y").exits(0);
    assert_eq!(home.bill().len(), 0);
}
