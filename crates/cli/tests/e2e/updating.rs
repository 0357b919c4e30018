//! `plan`, `update`, `export`, `host add`: what they show, and what is true afterwards.

use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Home, normalised, wait_until};

fn cluster(hosts: u32, more: &str) -> String {
    format!(
        "name: edge\nplaybook: []\ndefaults:\n  provision: {{driver: dummy, packet_token: s3cret-token}}\n\
         networks:\n  - name: edge-net\n    vn_mad: dummy\n    bridge: br0\n    \
         ar: [{{type: IP4, ip: 10.0.0.1, size: 10}}]\n\
         hosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
         provision: {{hostname: \"node-${{index}}\", count: {hosts}}}\n{more}"
    )
}

fn created(home: &Home, template: &str) -> String {
    home.write("edge.yaml", template);
    home.sandbox(&["create", "edge.yaml"]).exits(0).id()
}

#[test]
fn a_provision_grows_and_shrinks_as_its_plan_says() {
    let home = Home::new();
    let id = created(&home, &cluster(3, ""));
    home.write("ten.yaml", cluster(10, ""));
    let five = cluster(5, "    reserved_cpu: 20\n").replace("br0\n", "br0\n    dns: 9.9.9.9\n");
    home.write("five.yaml", five);
    let mut shown = String::new();
    let mut show = |title: &str, output: &crate::support::Output| {
        let _ = write!(shown, "== {title}\n{}\n", normalised(&output.stdout, home.root()));
    };
    show("nothing to do", &home.sandbox(&["plan", "edge.yaml", &id]).exits(0));
    show("3 to 10", &home.sandbox(&["plan", "ten.yaml", &id]).exits(2));
    home.sandbox(&["update", &id, "ten.yaml"])
        .exits(0)
        .says("Done: all 10 hosts enabled. 10 machines exist and may be billed.");
    assert_eq!(home.bill().len(), 10);
    show("10 to 5, with other attributes", &home.sandbox(&["plan", "five.yaml", &id]).exits(2));
    // Machines are destroyed: without anybody to ask, and without --yes, they are not.
    home.sandbox(&["update", &id, "five.yaml"]).exits(255).says("--yes");
    assert_eq!(home.bill().len(), 10);
    home.sandbox(&["update", &id, "five.yaml", "--yes"])
        .exits(0)
        .says("Done: all 5 hosts enabled. 5 machines exist and may be billed.");
    assert_eq!(home.bill().len(), 5);
    assert_eq!(home.machines_ever().len(), 10);
    show("afterwards", &home.sandbox(&["plan", "five.yaml", &id]).exits(0));
    home.sandbox(&["delete", &id, "--yes"]).exits(0).says("No machine exists.");
    insta::assert_snapshot!(shown);
}

#[test]
fn a_plan_is_data_too() {
    let home = Home::new();
    home.write("edge.yaml", cluster(2, ""));
    let new = home.sandbox(&["plan", "edge.yaml", "-j"]).exits(2);
    let plan: Value = serde_json::from_str(&new.stdout).unwrap();
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 4, "{plan:#}");
    assert_eq!(changes.iter().filter(|c| c["buys"] == true).count(), 2);
    assert!(!new.stdout.contains("s3cret-token"));
    assert_eq!(home.machines_ever().len(), 0, "a plan does nothing");
    let id = created(&home, &cluster(2, ""));
    home.write("other.yaml", cluster(2, "").replace("dummy, ", "dummy, plan: big, "));
    let yaml = home.sandbox(&["plan", "other.yaml", &id, "-y"]).exits(2).stdout;
    let plan: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(plan["changes"][0]["action"], "change", "of the cluster: {plan:#}");
    assert!(yaml.contains("action: replace"), "{yaml}");
    home.sandbox(&["update", &id, "other.yaml", "--yes"]).exits(255).says("--replace");
    home.sandbox(&["update", &id, "other.yaml", "--yes", "--replace"]).exits(0);
    assert_eq!((home.bill().len(), home.machines_ever().len()), (2, 4));
}

#[test]
fn a_plan_of_what_create_refuses_is_refused_likewise() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    let nobody = cluster(1, "")
        .replace("name: edge\n", "name: other\n")
        .replace("bridge: br0\n", "bridge: br0\n    meta: {uname: nobody-here}\n");
    home.write("nobody.yaml", nobody);
    for (template, words) in [
        (
            "edge.yaml",
            format!("has a cluster named \"edge\" already, cluster 100 of provision {id}"),
        ),
        ("nobody.yaml", "there is no user \"nobody-here\"".to_owned()),
    ] {
        for command in ["plan", "create"] {
            let refused = home.sandbox(&[command, template]).one_error();
            assert!(refused.contains(&words), "{command} {template}: {refused}");
        }
    }
    assert_eq!(home.machines_ever().len(), 1);
    home.sandbox(&["plan", "edge.yaml", &id]).exits(0);
}

#[test]
fn what_cannot_be_done_is_said_before_anything_is() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    home.write("name.yaml", cluster(1, "").replace("name: edge\n", "name: other\n"));
    home.sandbox(&["plan", "name.yaml", &id]).exits(255).says("a provision keeps its name");
    home.sandbox(&["update", &id, "name.yaml"]).exits(255).says("a provision keeps its name");
    home.write("range.yaml", cluster(1, "").replace("10.0.0.1", "10.0.0.2"));
    home.sandbox(&["update", &id, "range.yaml"]).exits(255).says("ranges can only be added");
    home.write("wrong.yaml", "name: edge\nhosts: 3\n");
    home.sandbox(&["update", &id, "wrong.yaml"]).exits(255).says("wrong.yaml:2:");
    let nobody = "00000000-0000-4000-8000-000000000000";
    home.sandbox(&["plan", "edge.yaml", nobody]).exits(255).says(nobody);
    home.sandbox(&["update", nobody, "edge.yaml"]).exits(255).says(nobody);
    home.sandbox(&["export", nobody]).exits(255).says(nobody);
    assert_eq!(home.machines_ever().len(), 1);
}

#[test]
fn an_exported_template_is_the_provision() {
    let home = Home::new();
    let id = created(&home, &cluster(2, "    configuration: {a: [1, two]}\n"));
    let exported = home.sandbox(&["export", &id]).exits(0).says("PACKET_TOKEN");
    assert!(!exported.stdout.contains("s3cret-token"));
    home.write("exported.yaml", &exported.stdout);
    let plan = ["--sandbox", "plan", "exported.yaml", &id];
    home.tool(&plan).env("PACKET_TOKEN", "s3cret-token").run().exits(0);
    let other = home.tool(&plan).env("PACKET_TOKEN", "another").run().exits(2).stdout;
    assert!(other.contains("PACKET_TOKEN: another value"), "{other}");
    // Without the journal, OpenNebula's objects say it.
    std::fs::remove_file(home.state().join("journal.db")).unwrap();
    home.tool(&plan).env("PACKET_TOKEN", "s3cret-token").run().exits(0);
}

#[test]
fn hosts_are_added_like_those_that_are_there() {
    let home = Home::new();
    let id = created(&home, &cluster(2, ""));
    let add = ["host", "add", &id, "--amount", "2"];
    home.sandbox(&add).exits(0).says("Done: all 4 hosts enabled.");
    let named = ["host", "add", &id, "--hostnames", "big-1", "--host-params", "plan=big"];
    home.sandbox(&named).exits(0).says("host 4 (big-1): enabled");
    home.sandbox(&named).exits(255).says("there is a host \"big-1\" already");
    home.sandbox(&["host", "add", &id, "--like", "nobody"]).exits(255).says("nobody");
    let exported = home.sandbox(&["export", &id]).exits(0).stdout;
    for text in ["hostname: node-3", "hostname: big-1", "plan: big"] {
        assert!(exported.contains(text), "{text} is not in\n{exported}");
    }
    assert_eq!(home.bill().len(), 5);
    home.sandbox(&["delete", &id, "--yes"]).exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn an_update_killed_while_a_host_goes_is_finished_by_resume() {
    let home = Home::new();
    let host = |name: &str, more: &str| {
        format!(
            "  - {{im_mad: kvm, vm_mad: kvm, provision: {{driver: dummy, hostname: {name}{more}}}}}\n"
        )
    };
    let (one, two) = (host("h1", ", dummy_latency: 2s"), host("h2", ""));
    let id = created(&home, &format!("name: iu\nplaybook: []\nhosts:\n{one}{two}"));
    let (three, four) = (host("h3", ""), host("h4", ""));
    home.write("iu2.yaml", format!("name: iu\nplaybook: []\nhosts:\n{two}{three}{four}"));
    let running = home.tool(&["--sandbox", "update", &id, "iu2.yaml", "--yes"]).start();
    let begun = || home.sandbox(&["journal", "show", &id]).stdout.contains("before an update");
    wait_until("the removal", begun);
    running.signal(Signal::KILL);
    running.finish();
    home.sandbox(&["host", "add", &id]).exits(255).says("is still to be finished");
    home.sandbox(&["list"]).says("while it was being updated").says(&format!("resume {id}"));
    home.sandbox(&["resume", &id]).exits(0).says("Done: all 3 hosts enabled.");
    assert_eq!((home.bill().len(), home.machines_ever().len()), (3, 4));
    home.sandbox(&["plan", "iu2.yaml", &id]).exits(0);
}

#[test]
fn to_add_hosts_destroys_none() {
    let home = Home::new();
    let id = created(
        &home,
        &cluster(2, "").replace("driver: dummy,", "driver: dummy, dummy_fail: 'cancel:1',"),
    );
    home.sandbox(&["host", "delete", "0", "--yes"]).exits(255);
    let refused = home.sandbox(&["host", "add", &id]).exits(255);
    refused.says("`host add` only adds").says("OP-REFUSED").says(&format!("resume {id}"));
    assert_eq!((home.bill().len(), home.machines_ever().len()), (2, 2));
}

#[test]
fn after_an_update_that_failed_the_same_one_is_named_but_no_second_host_add() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    let again = "The same update again plans what is left of it.";
    let add = ["host", "add", &id, "--host-params", "dummy_fail=deploy:1"];
    let output = home.sandbox(&add).exits(255).says(&format!("resume {id}"));
    assert!(!output.stderr.contains(again), "{}", output.stderr);
    let three = cluster(3, "")
        .replace("provision: {hostname", "provision: {dummy_fail: 'deploy:1', hostname");
    home.write("three.yaml", three);
    home.sandbox(&["update", &id, "three.yaml", "--yes", "--replace"]).exits(255).says(again);
}

#[test]
fn hosts_that_were_deleted_are_not_bought_back() {
    let home = Home::new();
    let id = created(&home, &cluster(3, ""));
    home.sandbox(&["host", "delete", "edge:0", "edge:1", "--yes"]).exits(0);
    let exported = home.sandbox(&["export", &id]).exits(0).stdout;
    assert!(exported.contains("node-2") && !exported.contains("node-0"), "{exported}");
    home.write("exported.yaml", &exported);
    let plan = ["--sandbox", "plan", "exported.yaml", &id];
    home.tool(&plan).env("PACKET_TOKEN", "s3cret-token").run().exits(0);
    let added = home.sandbox(&["host", "add", &id, "--amount", "1"]).exits(0);
    added.says("host 3 (node-3): enabled").says("Done: all 2 hosts enabled.");
    assert_eq!((home.bill().len(), home.machines_ever().len()), (2, 4));
    // The operator's own template still has them.
    let planned = home.sandbox(&["plan", "edge.yaml", &id]).exits(2).stdout;
    assert!(planned.contains("node-0") && planned.contains("node-1"), "{planned}");
}

#[test]
fn a_network_that_was_deleted_is_not_made_again_by_a_host_more() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    home.sandbox(&["vnet", "delete", "edge-net"]).exits(0);
    assert!(!home.sandbox(&["export", &id]).exits(0).stdout.contains("edge-net"));
    home.sandbox(&["host", "add", &id, "--amount", "1"])
        .exits(0)
        .says("Done: all 2 hosts enabled.");
    assert_eq!(home.sandbox(&["vnet", "list", "--no-header"]).exits(0).stdout, "");
    // The operator's own template still has it.
    home.sandbox(&["plan", "edge.yaml", &id]).exits(2);
}

#[test]
fn without_the_journal_hosts_keep_the_numbers_that_their_machines_are_marked_with() {
    let home = Home::new();
    let id = created(&home, &cluster(3, ""));
    home.sandbox(&["host", "delete", "edge:0", "--yes"]).exits(0);
    std::fs::remove_file(home.state().join("journal.db")).unwrap();
    home.sandbox(&["host", "add", &id, "--amount", "1"]).exits(0).says("3 machines exist");
    home.sandbox(&["host", "delete", &format!("{id}:0"), "--yes"]).one_error();
    for (number, left) in [(2, 2), (3, 1), (1, 0)] {
        home.sandbox(&["host", "delete", &format!("{id}:{number}"), "--yes"]).exits(0);
        assert_eq!(home.bill().len(), left);
    }
}

#[test]
fn without_the_journal_a_deleted_host_gives_its_place_to_no_other() {
    let home = Home::new();
    let id = created(&home, &cluster(2, ""));
    std::fs::remove_file(home.state().join("journal.db")).unwrap();
    home.sandbox(&["host", "delete", "0", "--yes"]).exits(0);
    let left = home.bill();
    home.sandbox(&["host", "add", &id, "--amount", "1"]).exits(0).says("2 machines exist");
    assert_eq!((home.bill().len(), home.machines_ever().len()), (2, 3));
    assert!(home.bill().contains(&left[0]));
}

#[test]
fn references_that_a_deleted_host_would_shift_are_told() {
    let home = Home::new();
    let flow = "templates: [{name: vm, host: \"<%= @hosts[1]['ID'] %>\"}]\n";
    home.write("edge.yaml", cluster(3, flow));
    let id = home.sandbox(&["create", "edge.yaml"]).id();
    home.sandbox(&["resume", &id]).exits(0);
    home.sandbox(&["host", "delete", "edge:2", "--yes"]).exits(0);
    home.sandbox(&["export", &id]).exits(0);
    home.sandbox(&["host", "delete", "edge:0", "--yes"]).exits(0);
    for command in [["export", &id].as_slice(), &["host", "add", &id]] {
        home.sandbox(command).exits(255).says("host node-0 was deleted").says("@hosts[0]");
    }
    assert_eq!(home.machines_ever().len(), 3);
}

#[test]
fn new_hosts_are_checked_like_those_of_a_template() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    for (option, value, words) in [
        ("--hostnames", "", "the hostname of host 2 is empty"),
        ("--hostnames", "x y", "a hostname has no blanks"),
        ("--hostnames", "NODE-0", "the hostname 'NODE-0' is given twice"),
        ("--hostnames", "n-${index}", "has a reference"),
        ("--hostnames", "<%= @name %>", "has a reference"),
        ("--host-params", "driver=good", "\"driver\" cannot be given"),
        ("--host-params", "plan=big,hostname=zz", "\"hostname\" cannot be given"),
        ("--host-params", "Deploy_ID=m-theirs", "\"deploy_id\" cannot be given"),
        ("--host-params", "plan=a,PLAN=b", "\"plan\" is given twice"),
        ("--host-params", "dummy_lose_answer=soon", "must be one of yes, no"),
        ("--host-params", "plan=<%= @name %>", "has a reference"),
        ("--host-params", "a b=1", "a b"),
    ] {
        let refused = home.sandbox(&["host", "add", &id, option, value]).one_error();
        assert!(refused.contains(words), "{option} {value}: {refused}");
    }
    let twice = ["host", "add", &id, "--amount", "2", "--host-params", "ip=10.0.0.9"];
    let refused = home.sandbox(&twice).one_error();
    assert!(refused.contains("the address '10.0.0.9' is given twice"), "{refused}");
    assert_eq!(home.machines_ever().len(), 1);
    let misspelt = ["host", "add", &id, "--host-params", "plna=big"];
    home.sandbox(&misspelt).exits(0).says("WARNING: driver 'dummy' has no parameter 'plna'");
}

#[test]
fn a_provision_without_machines_gets_them_by_an_update() {
    let home = Home::new();
    home.write("edge.yaml", cluster(2, ""));
    let old = ["--skip-provision", "--ping-timeout", "20", "--ping-retries", "10"];
    let created = home.tool(&["--sandbox", "create", "edge.yaml"]).args(&old).run().exits(0);
    let id = created.id();
    created
        .says("Done: all 2 hosts registered. No machine exists.")
        .says(&format!("`oneprovision --sandbox update {id} TEMPLATE`"));
    assert_eq!(home.machines_ever().len(), 0);
    let hosts = home.sandbox(&["host", "list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(hosts.lines().count() == 2 && hosts.lines().all(|host| host.ends_with(",off")));
    home.sandbox(&["host", "poweroff", "0"])
        .exits(255)
        .says("has no machine")
        .says(&format!("`oneprovision --sandbox update {id} TEMPLATE`"));
    home.sandbox(&["resume", &id]).exits(0).says("No machine exists.");
    home.sandbox(&["host", "add", &id])
        .exits(255)
        .says("2 hosts of this provision have no machine yet (--skip-provision)")
        .says(&format!("`oneprovision --sandbox update {id} TEMPLATE`"));
    assert_eq!(home.machines_ever().len(), 0);
    home.sandbox(&["plan", "edge.yaml", &id]).exits(2);
    let journal = home.state().join("journal.db");
    std::fs::rename(&journal, home.state().join("kept")).unwrap();
    home.sandbox(&["host", "add", &id]).exits(255).says("2 hosts of this provision have no");
    std::fs::rename(home.state().join("kept"), &journal).unwrap();
    home.sandbox(&["update", &id, "edge.yaml"])
        .exits(0)
        .says("Done: all 2 hosts enabled. 2 machines exist and may be billed.");
    assert_eq!(home.bill().len(), 2);
    home.sandbox(&["delete", &id]).exits(0).says("No machine exists.");
}

#[test]
fn a_provision_in_use_is_not_cleaned_up_because_of_one_host_more() {
    let home = Home::new();
    let id = created(&home, &cluster(1, ""));
    for command in [["host", "add", &id].as_slice(), &["update", &id, "edge.yaml"]] {
        for mode in ["--fail-cleanup", "--fail-modes=retry,cleanup"] {
            let tool = home.tool(&["--sandbox"]);
            tool.args(command).args(&[mode]).run().exits(255).says("cleanup is of no use");
        }
    }
    assert_eq!((home.bill().len(), home.machines_ever().len()), (1, 1));
}
