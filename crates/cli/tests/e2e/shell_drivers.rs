//! Drivers of the site: six executables in POSIX shell, six in Python, the installed dummy; what they
//! are given, and which driver a name means.

use std::collections::BTreeSet;

use crate::support::cloud::{ACTIONS, Cloud};
use crate::support::{Home, Output, python, skip, template};

const HOSTS: usize = 6;

fn create(home: &Home, template: &str, more: &[&str]) -> Output {
    let path = home.write("template.yaml", template);
    home.tool(&["--sandbox", "--remotes"])
        .args(&[home.remotes()])
        .args(&["create"])
        .args(&[path])
        .args(more)
        .run()
}

fn delete(home: &Home, id: &str) -> Output {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(&["delete", id]).run()
}

/// The whole life of a provision with this driver.
fn life(home: &Home, cloud: &Cloud, driver: &str) {
    let created = create(home, &template(driver, HOSTS, &[]), &[]).exits(0);
    let created = created.says("6 machines exist and may be billed.");
    let id = created.id();
    assert_eq!(cloud.machines().len(), HOSTS);

    let shown = home.sandbox(&["show", "-j", &id]).exits(0).json();
    let provision = &shown["PROVISION"];
    assert_eq!(provision["STATUS"], "configured");
    let hosts = provision["HOSTS"].as_array().unwrap();
    let machines: BTreeSet<&str> = hosts.iter().filter_map(|h| h["DEPLOY_ID"].as_str()).collect();
    assert_eq!(machines, cloud.machines().iter().map(String::as_str).collect());
    for host in hosts {
        assert_ne!(host["OPENNEBULA_STATE"], "off");
        assert_eq!(host["CONFIGURATION_STATUS"], "configured");
        let machine = host["DEPLOY_ID"].as_str().unwrap();
        // The machine was made for the name that the host had before it had an address.
        let name = cloud.file(machine, "name");
        assert!(name.trim().starts_with("provision-"), "{name}");
        assert_eq!(host["NAME"], *format!("192.0.2.{}", machine.trim_start_matches("m-")));
    }

    delete(home, &id).exits(0).says("is deleted. No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    assert_eq!(home.sandbox(&["host", "list", "--no-header"]).exits(0).stdout, "");
    let left = std::fs::read_dir(home.state().join("calls")).unwrap().count();
    assert_eq!(left, 0, "no call leaves its folder behind");
}

/// The argument vectors of the *Provision Driver* page, `HOST_ID HOST` at the end.
fn documented_vectors(cloud: &Cloud) {
    for [file, host, id, again] in four(cloud.calls_of("deploy")) {
        assert!(file.starts_with('/') && !std::path::Path::new(&file).exists(), "{file}");
        assert!(host.starts_with("provision-"), "{host}");
        assert_eq!(host, again);
        id.parse::<u32>().unwrap();
    }
    for [machine, host, id, again] in four(cloud.calls_of("poll")) {
        assert!(machine.starts_with("m-"), "{machine}");
        assert_eq!(host, again);
        id.parse::<u32>().unwrap();
    }
    let cancels = four(cloud.calls_of("cancel"));
    assert_eq!(cancels.len(), HOSTS);
    for [machine, host, _, again] in cancels {
        // By then the host has the name of its address.
        assert_eq!(host, format!("192.0.2.{}", machine.trim_start_matches("m-")));
        assert_eq!(host, again);
    }
}

fn four(calls: Vec<Vec<String>>) -> Vec<[String; 4]> {
    calls.into_iter().map(|call| call.try_into().unwrap()).collect()
}

#[test]
fn six_executables_in_shell() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    life(&home, &cloud, "shell");
    assert_eq!(cloud.calls_of("deploy").len(), HOSTS);
    documented_vectors(&cloud);
    let environment = std::fs::read_to_string(cloud.dir().join("environment")).unwrap();
    let auth = home.state().join("sandbox.auth");
    for line in environment.lines() {
        let (endpoint, file) = line.split_once(' ').unwrap();
        assert!(endpoint.starts_with("http://127.0.0.1:"), "{line}");
        assert_eq!(std::path::Path::new(file), auth);
    }
}

#[test]
fn shell_drivers_find_the_deployment_file_on_standard_input_too() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    let created = create(&home, &template("shell", 1, &[("plan", "small & \"cheap\"")]), &[]);
    let id = created.exits(0).id();
    let file = cloud.file("m-1", "stdin");
    let document = roxmltree::Document::parse(&file).unwrap();
    let text = |path: &[&str]| {
        let mut node = document.root_element();
        for name in path {
            node =
                node.children().find(|n| n.has_tag_name(*name)).unwrap_or_else(|| panic!("{file}"));
        }
        node.text().unwrap_or_default().to_owned()
    };
    assert_eq!(document.root_element().tag_name().name(), "HOST");
    assert_eq!(text(&["NAME"]), cloud.file("m-1", "name").trim());
    assert_eq!(text(&["TEMPLATE", "PROVISION", "PLAN"]), "small & \"cheap\"");
    assert_eq!(text(&["TEMPLATE", "PROVISION", "HOSTNAME"]), "test-host1");
    assert_eq!(text(&["TEMPLATE", "PROVISION", "PROVISION_ID"]), id);
    delete(&home, &id).exits(0);
}

#[test]
fn six_executables_in_python_that_ask_the_front_end() {
    let Some(python) = python() else { return skip("python3 is not installed") };
    let home = Home::new();
    let cloud = Cloud::in_python(&home, "snake", &python);
    life(&home, &cloud, "snake");
    documented_vectors(&cloud);
}

#[test]
fn legacy_arguments_are_those_of_5_12() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "old");
    let id = create(&home, &template("old", 3, &[]), &["--legacy-args"]).exits(0).id();
    let deploys = cloud.calls_of("deploy");
    assert_eq!(deploys.len(), 3);
    for call in deploys {
        let [file, todo] = &call[..] else { panic!("{call:?}") };
        assert!(file.starts_with('/'));
        assert_eq!(todo, "TODO");
    }
    assert!(cloud.calls_of("poll").iter().all(|call| call.len() == 4));
    home.tool(&["--sandbox", "--remotes"])
        .args(&[home.remotes()])
        .args(&["delete", "--legacy-args", &id])
        .run()
        .exits(0);
    assert!(cloud.calls_of("cancel").iter().all(|call| call.len() == 4));
    assert_eq!(cloud.machines(), Vec::<String>::new());
}

#[test]
fn the_remotes_are_those_of_one_location_by_default() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    let location = home.root().join("one");
    std::fs::create_dir_all(location.join("var")).unwrap();
    std::fs::rename(home.remotes(), location.join("var/remotes")).unwrap();
    let path = home.write("t.yaml", template("shell", 1, &[]));
    let created = home.tool(&["--sandbox", "create"]).args(&[path]).env("ONE_LOCATION", &location);
    let id = created.run().exits(0).id();
    assert_eq!(cloud.machines(), ["m-1"]);
    let deleted = home.tool(&["--sandbox", "delete", &id]).env("ONE_LOCATION", &location);
    deleted.run().exits(0);
    assert_eq!(cloud.machines(), Vec::<String>::new());
}

#[test]
fn the_installed_dummy_is_a_driver_of_the_site() {
    let home = Home::new();
    let pm = home.remotes().join("pm");
    let installed = home.tool(&["driver", "install"]).args(&[&pm]).run().exits(0);
    let line = format!("{}\n", pm.join("dummy").display());
    assert!(installed.stdout.starts_with(&line), "{}", installed.stdout);
    for action in ACTIONS {
        assert!(pm.join("dummy").join(action).exists(), "{action}");
    }
    let created = create(&home, &template("dummy", 3, &[]), &[]).exits(0);
    // It says itself that its machines cannot be configured, so their hosts are enabled.
    assert!(!created.stderr.contains("stay offline"), "{}", created.stderr);
    let id = created.id();
    assert_eq!(home.bill().len(), 3);
    delete(&home, &id).exits(0);
    assert_eq!((home.bill().len(), home.machines_ever().len()), (0, 3));
    let refused = home.tool(&["driver", "install"]).args(&[&pm]).args(&["frobnicate"]).run();
    assert!(refused.one_error().contains("\"frobnicate\""));
}

#[test]
fn an_executable_wins_over_a_built_in_driver_and_builtin_names_ours() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "dummy");
    let theirs = create(&home, &template("dummy", 1, &[]), &[]).exits(0).id();
    assert_eq!((cloud.machines().len(), home.bill().len()), (1, 0));
    let other = template("'builtin:dummy'", 1, &[]).replace("test-cluster", "other-cluster");
    let ours = create(&home, &other, &[]).exits(0);
    assert!(!ours.stderr.contains("pending"), "{}", ours.stderr);
    assert_eq!((cloud.machines().len(), home.bill().len()), (1, 1));
    for id in [theirs, ours.id()] {
        delete(&home, &id).exits(0);
    }
    assert_eq!((cloud.machines().len(), home.bill().len()), (0, 0));
}

#[test]
fn skip_config_leaves_hosts_of_every_driver_offline() {
    let home = Home::new();
    let created = create(&home, &template("dummy", 2, &[]), &["--skip-config"]).exits(0);
    let created = created.says("Hosts stay offline and pending until they are configured");
    let shown = home.sandbox(&["show", "-j", &created.id()]).exits(0).json();
    assert_eq!(shown["PROVISION"]["STATUS"], "pending");
    for host in shown["PROVISION"]["HOSTS"].as_array().unwrap() {
        assert_eq!(
            (&host["OPENNEBULA_STATE"], &host["CONFIGURATION_STATUS"]),
            (&"off".into(), &"pending".into())
        );
    }
    delete(&home, &created.id()).exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
}
