//! Executables that misbehave: what is known afterwards, and that nothing is left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use driver::{Driver, ExecutableSettings, FailureKind};
use support::{Lab, call, call_within, id, runs};

/// Long enough for a script to begin, also on a machine that is busy.
const SOON: Duration = Duration::from_secs(3);

async fn fails(lab: &Lab, body: &str) -> (FailureKind, Option<String>, String) {
    fails_within(lab, body, Duration::from_secs(60)).await
}

async fn fails_within(
    lab: &Lab,
    body: &str,
    deadline: Duration,
) -> (FailureKind, Option<String>, String) {
    let (call, _) = call_within("h", deadline);
    let error = lab.deploys(body).deploy(&call).await.unwrap_err();
    assert!(lab.leftovers().is_empty(), "{body}");
    (error.kind, error.deploy_id.map(|id| id.to_string()), error.message)
}

#[tokio::test]
async fn one_that_hangs_is_ended_at_its_deadline() {
    let lab = Lab::new();
    let (kind, id, message) = fails_within(&lab, "echo $$ > \"$LAB/pid\"; sleep 1000", SOON).await;
    assert_eq!((kind, id), (FailureKind::Unknown, None));
    assert_eq!(message, "the driver did not end within 3s and was ended");
    assert!(!runs(&lab.read("pid")));
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_its_children() {
    let lab = Lab::new();
    let body = "trap '' TERM\n(trap '' TERM; echo $$ > /dev/null; sleep 1000) &\n\
                echo $! > \"$LAB/child\"; echo $$ > \"$LAB/pid\"; sleep 1000";
    let (kind, _, _) = fails_within(&lab, body, SOON).await;
    assert_eq!(kind, FailureKind::Unknown);
    assert!(!runs(&lab.read("pid")) && !runs(&lab.read("child")));
}

#[tokio::test]
async fn one_that_is_stopped_is_woken_and_ended() {
    let lab = Lab::new();
    let (kind, _, _) =
        fails_within(&lab, "echo $$ > \"$LAB/pid\"; kill -STOP $$; sleep 1000", SOON).await;
    assert_eq!(kind, FailureKind::Unknown);
    assert!(!runs(&lab.read("pid")));
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_output_open_does_not_keep_the_call() {
    let lab = Lab::new();
    let driver = lab.deploys("sleep 1000 & echo $! > \"$LAB/child\"; echo m-1");
    let (call, _) = call("h");
    assert_eq!(driver.deploy(&call).await.unwrap(), id("m-1"));
    assert!(!runs(&lab.read("child")), "what it left behind is ended");
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn an_id_is_heard_while_the_driver_still_runs() {
    let lab = Lab::new();
    let driver = lab.deploys("echo m-1; echo ready > \"$LAB/ready\"; sleep 1000");
    let (call, ear) = call_within("h", Duration::from_secs(3));
    let hear = async {
        ear.heard_id.notified().await;
        assert!(runs(&ear.record().pid.to_string()), "it is heard before the end");
    };
    let (result, ()) = tokio::join!(driver.deploy(&call), hear);
    let error = result.unwrap_err();
    assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, Some(id("m-1"))));
    assert_eq!(ear.ids(), ["m-1"]);
}

#[tokio::test]
async fn half_a_line_is_no_id_yet() {
    let lab = Lab::new();
    let driver = lab.deploys("printf 'm-'; sleep 0.3; printf '17\\n'; sleep 0.1; echo noise here");
    let (call, ear) = call("h");
    assert_eq!(driver.deploy(&call).await.unwrap(), id("m-17"));
    assert_eq!(ear.ids(), ["m-17"]);
}

#[tokio::test]
async fn what_is_known_after_each_way_to_fail() {
    use FailureKind::{Definite, Unknown};
    let lab = Lab::new();
    for (body, kind, id, first_line) in [
        ("exit 1", Definite, None, "the driver gave no reason; it ended with exit status 1"),
        ("exit 75", Unknown, None, "the driver gave no reason; it ended with exit status 75"),
        ("echo no stock >&2; exit 255", Definite, None, "no stock"),
        ("echo no stock here; exit 1", Definite, None, "no stock here"),
        ("echo m-1; echo late >&2; exit 1", Unknown, Some("m-1"), "late"),
        ("printf m-1; exit 1", Unknown, Some("m-1"), "m-1"),
        ("exit 0", Unknown, None, "the driver succeeded without printing a deploy id"),
        ("kill -9 $$", Unknown, None, "the driver was ended by signal 9 (SIGKILL)"),
        (
            "echo m-1; kill -SEGV $$",
            Unknown,
            Some("m-1"),
            "the driver was ended by signal 11 (SIGSEGV)",
        ),
        (
            "head -c 5000 /dev/zero >&2; exit 3",
            Definite,
            None,
            "the driver wrote 5000 bytes that are not text; it ended with exit status 3",
        ),
        (
            "printf '\\377\\376\\n'; exit 0",
            Unknown,
            None,
            "the driver succeeded without printing a deploy id; its first line cannot be one: \"\u{FFFD}\u{FFFD}\"",
        ),
        ("printf '\\033[31mred\\033[0m alert\\n' >&2; exit 1", Definite, None, "red alert"),
        ("echo 'token s3cr3t-tok refused' >&2; exit 1", Definite, None, "token ***** refused"),
        ("rm -rf \"$(dirname \"$1\")\"; echo gone >&2; exit 1", Definite, None, "gone"),
    ] {
        let (found_kind, found_id, message) = fails(&lab, body).await;
        assert_eq!((found_kind, found_id.as_deref()), (kind, id), "{body}: {message}");
        assert_eq!(message.lines().next(), Some(first_line), "{body}");
    }
}

#[tokio::test]
async fn input_that_nobody_reads_is_no_trouble() {
    let lab = Lab::new();
    let driver = lab.deploys("exec <&-; echo m-1");
    let (mut call, _) = call("h");
    call.host.template.push("BIG", "x".repeat(1 << 20));
    assert_eq!(driver.deploy(&call).await.unwrap(), id("m-1"));
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_make_a_short_message() {
    let lab = Lab::new();
    let driver = lab.deploys(
        "echo first words >&2; head -c 100000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last words >&2; exit 1",
    );
    let (call, _) = call("h");
    let error = driver.deploy(&call).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(error.message.starts_with("first words\nx") && error.message.ends_with("\nlast words"));
    assert!(error.message.len() < 10_000);
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn one_that_writes_without_end_is_ended() {
    let lab = Lab::new();
    let settings = ExecutableSettings { output_limit: 1 << 20, ..lab.settings() };
    let script = lab.sh("echo m-1; trap '' TERM; exec yes");
    let driver = lab.driver_with("#!/bin/sh\n", &script, settings);
    let (call, ear) = call("h");
    let error = driver.deploy(&call).await.unwrap_err();
    assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, Some(id("m-1"))));
    assert_eq!(error.message, "the driver was ended by more than 1048576 bytes of output");
    assert!(!runs(&ear.record().pid.to_string()));
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn one_that_answers_without_end_is_ended_before_it_takes_all_memory() {
    let lab = Lab::new();
    let script = lab.sh("trap '' TERM; exec yes");
    let (call, ear) = call("h");
    let driver = lab.driver(&script, "#!/bin/sh\n");
    for error in
        [driver.poll(&call, &id("m-1")).await.unwrap_err(), driver.list(&call).await.unwrap_err()]
    {
        assert_eq!(error.kind, FailureKind::Unknown);
        assert_eq!(error.message, "the driver was ended by more than 33554432 bytes of output");
    }
    let started = ear.started.lock().unwrap().clone();
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|process| !runs(&process.pid.to_string())));
    assert!(lab.leftovers().is_empty());
}

/// It is of memory, and who left the driver's process group is not ended with it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_an_answering_driver_leaves_behind_cannot_write_on() {
    let lab = Lab::new();
    let script =
        lab.sh("setsid sh -c 'echo > \"$0/left\"; while [ ! -e \"$0/go\" ]; do sleep 0.02; done
                      echo more; echo $? > \"$0/wrote\"' \"$LAB\" &\n\
         while [ ! -e \"$LAB/left\" ]; do sleep 0.02; done\n\
         echo STATE=a GUEST_IP_ADDRESSES=10.0.0.1");
    let (call, _) = call("h");
    let driver = lab.driver(&script, "#!/bin/sh\n");
    let report = driver.poll(&call, &id("m-1")).await.unwrap();
    assert_eq!(report.address(), Some("10.0.0.1"));
    std::fs::write(lab.path("go"), "").unwrap();
    assert_ne!(lab.wait_for("wrote").await.trim(), "0");
}

#[tokio::test]
async fn one_that_opens_its_output_by_name_is_understood() {
    let lab = Lab::new();
    let script = lab.sh("echo a warning > /dev/stderr\necho STATE=a > /dev/stdout\n\
                         echo GUEST_IP_ADDRESSES=10.0.0.1 >> /dev/stdout");
    let (call, _) = call("h");
    let driver = lab.driver(&script, "#!/bin/sh\n");
    let report = driver.poll(&call, &id("m-1")).await.unwrap();
    assert_eq!(report.address(), Some("10.0.0.1"));
}

#[tokio::test]
async fn a_deadline_without_end_does_not_overflow() {
    let lab = Lab::new();
    let driver = lab.deploys("echo m-1");
    let (call, _) = call_within("h", Duration::MAX);
    assert_eq!(driver.deploy(&call).await.unwrap(), id("m-1"));
}
