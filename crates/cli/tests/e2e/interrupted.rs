//! A tool that is told to stop, and a tool that is killed: what was begun is found again.

use rustix::process::Signal;

use crate::support::cloud::{Cloud, WAITS};
use crate::support::{Home, Invocation, Output, template, wait_until};

fn create(home: &Home, template: &str, more: &[&str]) -> Invocation {
    let path = home.write("template.yaml", template);
    let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    tool.args(&["create"]).args(&[path]).args(more)
}

fn delete(home: &Home, id: &str) -> Output {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(&["delete", id]).run()
}

fn status(home: &Home, id: &str) -> String {
    let shown = home.sandbox(&["show", "-j", id]).exits(0).json();
    shown["PROVISION"]["STATUS"].as_str().unwrap().to_owned()
}

fn nothing_is_left(home: &Home) {
    for kind in ["host", "cluster", "datastore", "vnet"] {
        assert_eq!(home.sandbox(&[kind, "list", "--no-header"]).exits(0).stdout, "", "{kind}");
    }
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout, "");
    assert_eq!(home.bill(), Vec::<String>::new());
}

/// One signal while deploys run: they are waited for, the rest is not begun.
fn told_to_stop(signal: Signal) {
    let home = Home::new();
    let slow = template("dummy", 8, &[("dummy_latency", "2s")]);
    let running = create(&home, &slow, &["-t", "2"]).start();
    // Two in flight, and one that is written down ahead.
    wait_until("three deploys", || running.stderr().matches(": deploying").count() >= 3);
    running.signal(signal);
    let output = running.finish().exits(130).says("Stopping: ");
    let id = output.id();
    let made = home.bill().len();
    assert!((1..=4).contains(&made), "{made} machines\n{}", output.stderr);
    let last = output.last_before_ways_on();
    let exist = format!(" {made} machine");
    assert!(last.starts_with("Interrupted: "), "{last}");
    assert!(last.contains(&exist) && last.contains(" and may be billed"), "{last}");
    assert!(!output.stderr.contains("FAILED"), "nothing has failed\n{}", output.stderr);
    assert!(
        output.stderr.contains(": no machine was asked for: the command stops"),
        "{}",
        output.stderr
    );
    assert_eq!(status(&home, &id), "interrupted");
    delete(&home, &id).exits(0).says("No machine exists.");
    nothing_is_left(&home);
    assert_eq!(home.machines_ever().len(), made, "delete makes no machine");
}

#[test]
fn ctrl_c_brings_what_runs_to_a_safe_point() {
    told_to_stop(Signal::INT);
}

#[test]
fn so_does_sigterm() {
    told_to_stop(Signal::TERM);
}

#[test]
fn so_does_sighup() {
    told_to_stop(Signal::HUP);
}

#[test]
fn a_driver_that_outlives_an_interrupted_tool_is_waited_for_by_delete() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let running = create(&home, &template("long", 2, &[]), &[]).start();
    cloud.wait_for(2);
    running.signal(Signal::INT);
    // The driver needs longer than the tool waits for it.
    let output = running.finish().exits(130);
    let id = output.id();
    assert!(output.stderr.contains("Interrupted: "), "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("Interrupted: all 2 hosts deploying. 2 machines may exist and be billed."),
        "{}",
        output.stderr
    );
    assert_eq!(cloud.machines().len(), 2);
    assert_eq!(status(&home, &id), "interrupted");
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    delete(&home, &id).exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_loses_nothing() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let mut running = create(&home, &template("long", 1, &[]), &[]).start();
    cloud.wait_for(1);
    running.signal(Signal::INT);
    running.wait_for("Stopping: ");
    running.signal(Signal::INT);
    let output = running.finish().exits(130);
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    delete(&home, &output.id()).exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

#[test]
fn a_killed_tool_leaves_an_interrupted_provision_that_delete_clears() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let running = create(&home, &template("long", 3, &[]), &[]).start();
    cloud.wait_for(3);
    running.signal(Signal::KILL);
    let killed = running.finish();
    assert_eq!(killed.status.code(), None);
    let id = killed.id();
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(listed, format!("{id},test,1,3,0,0,interrupted\n"));
    let shown = home.sandbox(&["show", &id]).exits(0).stdout;
    assert_eq!(shown.matches(" deploying ").count(), 3, "{shown}");
    assert_eq!(shown.matches("what came of it is not known yet").count(), 3, "{shown}");
    // Its drivers still run, and end while delete waits for them.
    let path = [home.remotes()];
    let mut deleting =
        home.tool(&["--sandbox", "--remotes"]).args(&path).args(&["delete", &id]).start();
    deleting.wait_for("WARNING: ");
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    deleting.finish().exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
    let left = std::fs::read_dir(home.state().join("calls")).unwrap().count();
    assert_eq!(left, 0, "the folders of the killed tool's calls are cleared");
}

#[test]
fn a_killed_tool_loses_no_machine_of_the_built_in_dummy() {
    let home = Home::new();
    let slow = template("dummy", 4, &[("dummy_latency", "2s")]);
    let running = create(&home, &slow, &[]).start();
    // Half of the latency comes after the effect: the machines are there, and nobody was told.
    wait_until("machines in the ledger", || home.bill().len() == 4);
    running.signal(Signal::KILL);
    let id = running.finish().id();
    assert_eq!(status(&home, &id), "interrupted");
    delete(&home, &id).exits(0).says("No machine exists.");
    nothing_is_left(&home);
    assert_eq!(home.machines_ever().len(), 4);
}

#[test]
fn a_killed_delete_goes_on_where_it_was() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    let id = create(&home, &template("shell", 4, &[]), &[]).run().exits(0).id();
    let path = [home.remotes()];
    let mut running = home
        .tool(&["--sandbox", "--remotes"])
        .args(&path)
        .args(&["delete", "-t", "1", &id])
        .start();
    running.wait_for(": machine gone");
    running.signal(Signal::KILL);
    running.finish();
    assert_eq!(status(&home, &id), "interrupted");
    delete(&home, &id).exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

#[test]
fn two_commands_do_not_work_on_one_provision_at_once() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let running = create(&home, &template("long", 1, &[]), &[]).start();
    cloud.wait_for(1);
    let pid = running.pid();
    let id = running.stdout().trim_start_matches("ID: ").trim().to_owned();
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(listed.contains(",creating\n"), "{listed}");
    let refused = delete(&home, &id).exits(255);
    assert!(refused.stderr.contains(&pid.to_string()), "it names the process: {}", refused.stderr);
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    running.finish().exits(0);
    delete(&home, &id).exits(0);
    nothing_is_left(&home);
}
