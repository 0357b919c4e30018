//! Drivers that fail, in every way that matters: what is said, how the command ends, and that a later
//! delete leaves nothing.

use crate::support::cloud::Cloud;
use crate::support::{Home, Output, executable, template};

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

/// The last lines of a command that failed tell how to go on.
fn tells_how_to_go_on(output: &Output, machines: &str) {
    let last = output.last_before_ways_on();
    assert!(last.ends_with(machines), "{last}");
}

/// After a delete: no object of a provision, no machine, and a list without it.
fn nothing_is_left(home: &Home) {
    for kind in ["host", "cluster", "datastore", "vnet"] {
        assert_eq!(home.sandbox(&[kind, "list", "--no-header"]).exits(0).stdout, "", "{kind}");
    }
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout, "");
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn a_second_machine_is_warned_of_without_being_asked_for() {
    let home = Home::new();
    Cloud::with_steps(&home, "two", "", "echo m-other; exit 1");
    let output = create(&home, &template("two", 1, &[]), &[]);
    let output = output.says("WARNING: the driver printed a second deploy id, m-other, after m-");
    // That the command failed is told with the host.
    assert!(!output.stderr.contains("Command FAILED"), "{}", output.stderr);
}

#[test]
fn a_driver_that_fails_is_quoted() {
    for (step, words) in [
        (
            "printf 'noise\\nERROR MESSAGE --8<------\\nquota of 5 exceeded\\nERROR MESSAGE ------>8--\\nnoise\\n' >&2; exit 7",
            "quota of 5 exceeded",
        ),
        ("echo 'no credit left' >&2; exit 1", "no credit left"),
        ("exit 3", "the driver gave no reason; it ended with exit status 3"),
        ("head -c 3000 /dev/zero >&2; exit 1", "not text"),
    ] {
        let home = Home::new();
        // It fails before it makes anything.
        let cloud =
            Cloud::with_steps(&home, "bad", &format!("rm -r \"$cloud/machines/m-$n\"; {step}"), "");
        let output = create(&home, &template("bad", 2, &[]), &[]).exits(255);
        for host in ["host 0 (test-host1)", "host 1 (test-host2)"] {
            let line = format!("ERROR: {host}: {words}");
            assert!(
                output.stderr.contains(&line) || output.stderr.contains(words),
                "{line}\n{}",
                output.stderr
            );
        }
        assert!(!output.stderr.contains("8<----"), "{}", output.stderr);
        assert!(!output.stderr.contains("noise"), "{}", output.stderr);
        tells_how_to_go_on(&output, "No machine exists.");
        let shown = home.sandbox(&["show", "-j", &output.id()]).exits(0).json();
        assert_eq!(shown["PROVISION"]["STATUS"], "failed");
        assert!(shown["PROVISION"]["HOSTS"][0]["REASON"].as_str().unwrap().contains(words));
        assert!(home.sandbox(&["show", &output.id()]).exits(0).stdout.contains(words));
        delete(&home, &output.id()).exits(0).says("No machine exists.");
        assert!(cloud.calls_of("cancel").is_empty(), "there was nothing to cancel");
        nothing_is_left(&home);
    }
}

#[test]
fn one_failed_host_does_not_hold_back_the_others() {
    let home = Home::new();
    let good = template("dummy", 3, &[]);
    let bad = good
        .replace("hostname: test-host2\n", "hostname: test-host2\n      dummy_fail: deploy:1\n");
    let output = create(&home, &bad, &[]).exits(255);
    tells_how_to_go_on(&output, "2 machines exist and may be billed.");
    let shown = home.sandbox(&["show", "-j", &output.id()]).exits(0).json();
    let hosts = shown["PROVISION"]["HOSTS"].as_array().unwrap();
    let count = |state: &str| hosts.iter().filter(|host| host["STATE"] == *state).count();
    assert_eq!((count("enabled"), count("failed")), (2, 1), "{shown:#}");
    delete(&home, &output.id()).exits(0);
    nothing_is_left(&home);
    assert_eq!(home.machines_ever().len(), 2);
}

#[test]
fn a_machine_that_was_named_before_the_failure_is_known_and_deleted() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "late", "", "echo 'lost my way' >&2; exit 1");
    let output = create(&home, &template("late", 1, &[]), &[]).exits(255);
    assert!(output.stderr.contains("lost my way"), "{}", output.stderr);
    tells_how_to_go_on(&output, "1 machine exists and may be billed.");
    assert_eq!(cloud.machines(), ["m-1"]);
    let shown = home.sandbox(&["show", "-j", &output.id()]).exits(0).json();
    assert_eq!(shown["PROVISION"]["HOSTS"][0]["DEPLOY_ID"], "m-1", "{shown:#}");
    delete(&home, &output.id()).exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

#[test]
fn the_same_with_the_built_in_dummy() {
    for misbehaviour in ["dummy_id_then_fail", "dummy_lose_answer"] {
        let home = Home::new();
        let output = create(&home, &template("dummy", 2, &[(misbehaviour, "'yes'")]), &[]);
        let id = output.id();
        assert!(matches!(output.status.code(), Some(255 | 3)), "{}", output.stderr);
        assert_eq!(home.bill().len(), 2);
        delete(&home, &id).exits(0).says("No machine exists.");
        nothing_is_left(&home);
        assert_eq!(home.machines_ever().len(), 2);
    }
}

#[test]
fn a_driver_that_hangs_is_ended_with_all_that_it_started() {
    let home = Home::new();
    // Neither of them would end in the time of this test.
    let hang = "sleep 1000 & echo $! >> \"$cloud/pids\"; sleep 1000";
    let cloud = Cloud::with_steps(&home, "slow", hang, "");
    let output = create(&home, &template("slow", 1, &[]), &["--deploy-timeout", "1"]).exits(3);
    assert!(
        output.stderr.contains("the driver did not end within 1s and was ended"),
        "{}",
        output.stderr
    );
    tells_how_to_go_on(&output, "1 machine may exist and be billed.");
    let pids = std::fs::read_to_string(cloud.dir().join("pids")).unwrap();
    for pid in pids.lines() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}");
    }
    let shown = home.sandbox(&["show", "-j", &output.id()]).exits(0).json();
    assert_eq!(shown["PROVISION"]["STATUS"], "unknown");
    // The machine is there and the driver has no way to name it: that is told, not forgotten.
    let deleted = delete(&home, &output.id()).exits(3);
    let deleted = deleted.says("Look for these in the provider's console");
    assert!(
        deleted.stderr.contains("host 0 (test-host1), driver slow, marked provision-"),
        "{}",
        deleted.stderr
    );
    let way_out = format!(" host resolve {}:0 --gone", output.id());
    assert!(deleted.stderr.contains(&way_out), "{}", deleted.stderr);
    assert_eq!(cloud.machines(), ["m-1"]);
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(listed.trim_end().ends_with(",parked"), "{listed}");
    assert_eq!(home.sandbox(&["host", "list", "--no-header"]).exits(0).stdout, "");
}

#[test]
fn a_driver_with_a_list_finds_what_its_deploy_did_not_tell() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "tidy", "kill -9 $$", "");
    let list = format!(
        "#!/bin/sh\ncd '{}/machines'\nfor m in *; do [ -d \"$m\" ] && echo \"ID=$m NAME=$(cat $m/name)\"; done\nexit 0\n",
        cloud.dir().display()
    );
    executable(&home.remotes().join("pm/tidy/list"), &list);
    let output = create(&home, &template("tidy", 2, &[]), &[]);
    assert!(output.stderr.contains("signal 9 (SIGKILL)"), "{}", output.stderr);
    assert_eq!(cloud.machines().len(), 2);
    delete(&home, &output.id()).exits(0).says("No machine exists.");
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

#[test]
fn a_driver_that_dies_by_a_signal_leaves_an_unknown_and_delete_says_so() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "dead", "kill -9 $$", "");
    let output = create(&home, &template("dead", 1, &[]), &[]).exits(3);
    assert!(output.stderr.contains("signal 9 (SIGKILL)"), "{}", output.stderr);
    delete(&home, &output.id()).exits(3).says("marked provision-");
    assert_eq!(cloud.machines(), ["m-1"], "the test's cloud has what was told of");
}

#[test]
fn a_deploy_without_an_id_is_no_success() {
    let home = Home::new();
    Cloud::with_steps(&home, "mute", "exit 0", "");
    let output = create(&home, &template("mute", 1, &[]), &[]).exits(3);
    assert!(output.stderr.contains("without printing a deploy id"), "{}", output.stderr);
    delete(&home, &output.id()).exits(3);
}

#[test]
fn a_cancel_that_fails_keeps_the_host_and_can_be_tried_again() {
    let home = Home::new();
    let once = template("dummy", 2, &[("dummy_fail_on", "cancel:1")]);
    let id = create(&home, &once, &[]).exits(0).id();
    let failed = delete(&home, &id).exits(255);
    assert_eq!(home.bill().len(), 2);
    assert!(failed.stderr.contains("2 machines exist and may be billed."), "{}", failed.stderr);
    let last = failed.stderr.lines().last().unwrap();
    let way_on = "try again:          oneprovision --sandbox --remotes ";
    assert!(last.trim().starts_with(way_on) && last.ends_with(&format!(" delete {id}")), "{last}");
    assert_eq!(home.sandbox(&["host", "list", "--no-header"]).stdout.lines().count(), 2);
    delete(&home, &id).exits(0).says("No machine exists.");
    nothing_is_left(&home);
}

#[test]
fn what_is_to_be_tried_again_is_what_was_asked_for() {
    let home = Home::new();
    let once = template("dummy", 1, &[("dummy_fail_on", "cancel:1")]);
    let id = create(&home, &once, &[]).exits(0).id();
    let failed = home.sandbox(&["delete", "--cleanup", &id]).exits(255);
    let last = failed.stderr.lines().last().unwrap();
    assert!(last.ends_with(&format!(" delete {id} --cleanup")), "{last}");
    let by_id = home.sandbox(&["journal", "show", &id]).exits(0).stdout;
    assert_eq!(home.sandbox(&["journal", "show", "test"]).exits(0).stdout, by_id);
    home.sandbox(&["delete", &id]).exits(0);
    assert_eq!(home.sandbox(&["journal", "show", "nobody"]).exits(255).stdout, "");
}

#[test]
fn a_failed_host_is_deleted_and_what_is_left_is_whole() {
    let home = Home::new();
    let good = template("dummy", 2, &[]);
    let bad = good
        .replace("hostname: test-host2\n", "hostname: test-host2\n      dummy_fail: deploy:1\n");
    let id = create(&home, &bad, &[]).exits(255).id();
    let ended = home.sandbox(&["host", "delete", "1"]).exits(0);
    let ended = ended.says("Done: 1 of 2 removed, 1 enabled. 1 machine exists and may be billed.");
    assert!(!ended.stderr.contains("oneprovision"), "{}", ended.stderr);
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(listed.trim_end().ends_with(",configured"), "{listed}");
    home.sandbox(&["resume", &id]).exits(0);
}

#[test]
fn a_host_that_cannot_be_deleted_is_tried_again_alone() {
    let home = Home::new();
    let bad = template("dummy", 3, &[("dummy_fail_on", "cancel:1")]);
    let id = create(&home, &bad, &[]).exits(0).id();
    let failed = home.sandbox(&["host", "delete", "0,2"]).exits(255);
    let failed = failed.says("ERROR: host 0 (test-host1): ").says("ERROR: host 2 (test-host3): ");
    let last = failed.stderr.lines().last().unwrap();
    assert!(last.ends_with("oneprovision --sandbox host delete 0,2"), "{last}");
    assert!(!failed.stderr.contains(&format!(" delete {id}")), "{}", failed.stderr);
    assert!(!failed.stderr.contains("Deleting provision"), "{}", failed.stderr);
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0);
    assert!(listed.stdout.trim_end().ends_with(",failed"), "{}", listed.stdout);
    assert!(!listed.stderr.contains("interrupted"), "{}", listed.stderr);
    // What is to be removed and is not is no concern of another host's removal.
    home.sandbox(&["host", "delete", "1"]).exits(255);
    assert_eq!(home.bill().len(), 3);
    home.sandbox(&["host", "delete", "1"]).exits(0);
    home.sandbox(&["host", "delete", "0", "2"]).exits(0).says("Done: all 3 hosts removed.");
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn a_machine_that_cannot_be_cancelled_any_more_is_given_up_on_request() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "closed");
    let id = create(&home, &template("closed", 2, &[]), &[]).exits(0).id();
    for action in ["cancel", "poll"] {
        let script = "#!/bin/sh\necho 'the account is closed' >&2\nexit 1\n";
        executable(&home.remotes().join("pm/closed").join(action), script);
    }
    let failed = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let failed = failed.args(&["host", "delete", "1"]).run().exits(255);
    let host = format!("{id}:1");
    let way_out = format!(" host resolve {host} --gone");
    assert!(failed.stderr.contains(&way_out), "{}", failed.stderr);
    let resolve = |host: &str, more: &[&str]| {
        let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
        tool.args(&["host", "resolve", host, "--gone"]).args(more).run()
    };
    let refused = resolve(&format!("{id}:0"), &["--yes"]).one_error();
    assert!(refused.contains("nothing about the machine of host 0 is unknown"), "{refused}");
    let unsure = resolve(&host, &[]).one_error();
    assert!(unsure.contains("nobody to ask"), "{unsure}");
    resolve(&host, &["--yes"]).exits(0);
    assert_eq!(cloud.machines().len(), 2);
    home.sandbox(&["host", "delete", "1"]).exits(0);
    // The driver as a whole is lost.
    std::fs::remove_dir_all(home.remotes().join("pm/closed")).unwrap();
    let failed = delete(&home, &id).exits(255);
    assert!(failed.stderr.contains(&format!(" host resolve {id}:0 --gone")), "{}", failed.stderr);
    resolve(&format!("{id}:0"), &["--yes"]).exits(0);
    delete(&home, &id).exits(0).says("No machine exists.");
    nothing_is_left(&home);
}

#[test]
fn a_machine_that_is_gone_already_is_deleted() {
    let home = Home::new();
    let id =
        create(&home, &template("dummy", 2, &[("dummy_not_found", "'yes'")]), &[]).exits(0).id();
    delete(&home, &id).exits(0).says("No machine exists.");
    nothing_is_left(&home);
}

#[test]
fn a_machine_without_an_address_fails_its_host_and_is_still_paid_for() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "blind");
    executable(
        &home.remotes().join("pm/blind/poll"),
        "#!/bin/sh\necho 'no route to provider' >&2\nexit 1\n",
    );
    let output = create(&home, &template("blind", 1, &[]), &[]).exits(255);
    assert!(output.stderr.contains("no route to provider"), "{}", output.stderr);
    tells_how_to_go_on(&output, "1 machine exists and may be billed.");
    delete(&home, &output.id()).exits(0);
    assert_eq!(cloud.machines(), Vec::<String>::new());
    nothing_is_left(&home);
}

/// A list of the cloud's machines that has none of them the first time it is asked.
const LAGGING_LIST: &str = r#"#!/bin/sh
cloud='@CLOUD@'
if [ ! -e "$cloud/asked" ]; then touch "$cloud/asked"; exit 0; fi
for machine in "$cloud"/machines/*; do
    echo "DEPLOY_ID=${machine##*/} NAME=$(cat "$machine/name")"
done
"#;

#[test]
fn a_list_that_lags_is_not_believed_at_once() {
    let home = Home::new();
    let dies = "[ -e \"$cloud/asked\" ] || kill -9 $$";
    let cloud = Cloud::with_steps(&home, "lagging", dies, "");
    let list = LAGGING_LIST.replace("@CLOUD@", cloud.dir().to_str().unwrap());
    executable(&home.remotes().join("pm/lagging/list"), &list);
    let path = home.write("template.yaml", template("lagging", 1, &[]));
    let run = |command: &[&str]| {
        home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(command).run()
    };
    let created = run(&["create", path.to_str().unwrap()]).exits(3);
    assert_eq!(cloud.machines(), ["m-1"]);
    run(&["resume", "--settle", "1", &created.id()]).exits(0);
    assert_eq!(cloud.machines(), ["m-1"], "it was there, and no second one was bought");
    assert_eq!(cloud.calls_of("deploy").len(), 1);
}

#[test]
fn a_create_that_cleans_up_after_itself_says_why() {
    let home = Home::new();
    let refused = template("dummy", 2, &[("dummy_fail_on", "deploy:1")]);
    home.write("refused.yaml", refused);
    let ended = home.sandbox(&["create", "refused.yaml", "--fail-cleanup"]).exits(255);
    let last: Vec<&str> = ended.stderr.lines().rev().take(4).collect();
    assert!(last.iter().any(|line| line.starts_with("ERROR: host ")), "{}", ended.stderr);
    assert!(last[0].ends_with("failed and was removed. No machine exists."), "{}", ended.stderr);
    assert_eq!(home.bill(), Vec::<String>::new());
}
