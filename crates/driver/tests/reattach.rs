//! A driver outlives the tool that started it, and a later command finds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use driver::executable::{ReattachEnd, reattach, sweep};
use driver::{Action, Driver, ExecutableSettings, FailureKind, ProcessRecord};
use support::{Ear, Lab, call, call_within, id, runs};

const GRACE: Duration = Duration::from_millis(200);
/// Tells the helper process where the lab is.
const LAB: &str = "DRIVER_TEST_LAB";
/// Tells it what to ask the driver for.
const ACTION: &str = "DRIVER_TEST_ACTION";

/// The tool that gets killed: a process of its own, started by the tests below.
#[test]
#[ignore = "started by other tests in a process of its own"]
fn helper_calls() {
    let dir = std::env::var(LAB).expect("this is not run by itself");
    let action = std::env::var(ACTION).expect("this is not run by itself");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = Path::new(&dir);
        let folder = driver::Remotes::new(dir.join("remotes")).find("site").unwrap();
        let settings = ExecutableSettings::new(dir.join("calls"));
        let driver = driver::ExecutableDriver::new(folder, settings);
        let (call, _) = call_within("h", Duration::from_secs(600));
        match Action::from_name(&action).unwrap() {
            Action::Poll => drop(driver.poll(&call, &id("m-9")).await),
            _ => drop(driver.deploy(&call).await),
        }
    });
}

/// Starts a tool that deploys, waits until its driver has begun, and kills it.
async fn kill_a_tool(lab: &Lab) {
    kill_a_tool_at(lab, Action::Deploy).await;
}

/// The same at any action, with SIGKILL, process group and all.
async fn kill_a_tool_at(lab: &Lab, action: Action) {
    let mut tool = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_calls", "--ignored", "--nocapture"])
        .env(LAB, lab.dir.path())
        .env(ACTION, action.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    lab.wait_for("begun").await;
    let group = rustix::process::Pid::from_child(&tool);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    tool.wait().unwrap();
}

const SLOW: &str = "echo $$ > \"$LAB/begun\"\nwhile [ ! -e \"$LAB/go\" ]; do sleep 0.02; done\n\
                    cat > \"$LAB/read\"\necho m-9\nsleep 0.1\n";

#[tokio::test]
async fn after_a_kill_the_driver_is_waited_for_and_its_id_is_read() {
    let lab = Lab::new();
    lab.deploys(SLOW);
    kill_a_tool(&lab).await;
    assert!(runs(&lab.read("begun")), "the driver outlives the tool");
    let left = sweep(&lab.calls()).unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].running);
    assert_eq!((left[0].driver.as_deref(), left[0].key.as_deref()), (Some("site"), Some("key-1")));
    assert_eq!(left[0].action, Some(Action::Deploy));
    assert_eq!(left[0].record.pid.to_string(), lab.read("begun").trim());
    let ear = Ear::default();
    let go = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        fs::write(lab.path("go"), "").unwrap();
    };
    let (found, ()) = tokio::join!(reattach(&left[0].record, GRACE, &ear), go);
    assert_eq!((found.end, found.deploy_id.clone()), (ReattachEnd::Ended, Some(id("m-9"))));
    assert_eq!(found.deployed().unwrap(), id("m-9"));
    assert_eq!(ear.ids(), ["m-9"]);
    assert!(lab.read("read").starts_with("<HOST>"), "its standard input outlived the tool too");
    assert!(lab.leftovers().is_empty());
    let again = reattach(&left[0].record, GRACE, &ear).await;
    assert_eq!(again.end, ReattachEnd::FolderGone);
    assert_eq!(again.deployed().unwrap_err().kind, FailureKind::Unknown);
}

#[tokio::test]
async fn a_driver_whose_pid_nobody_wrote_down_is_found_by_lock_and_mark() {
    let lab = Lab::new();
    lab.deploys(SLOW);
    kill_a_tool(&lab).await;
    // As if the tool had died between starting the driver and noting its process id.
    let note = lab.leftovers()[0].join("call");
    let text = fs::read_to_string(&note).unwrap();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("pid=") && !line.starts_with("start="))
        .collect();
    fs::write(&note, kept.join("\n")).unwrap();
    let left = sweep(&lab.calls()).unwrap().remove(0);
    assert!(left.running);
    assert_eq!(left.record.pid.to_string(), lab.read("begun").trim(), "found by its mark");
    let unknown = ProcessRecord { pid: 0, start_time: 0, ..left.record };
    fs::write(lab.path("go"), "").unwrap();
    let found = reattach(&unknown, GRACE, &Ear::default()).await;
    assert_eq!((found.end, found.deployed().unwrap()), (ReattachEnd::Ended, id("m-9")));
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn past_its_deadline_a_driver_is_ended_with_all_that_it_started() {
    for known in [true, false] {
        let lab = Lab::new();
        lab.deploys(
            "trap '' TERM\nsleep 1000 &\necho $! > \"$LAB/child\"\necho m-9\n\
             echo $$ > \"$LAB/begun\"\nwhile :; do sleep 1000; done\n",
        );
        kill_a_tool(&lab).await;
        let mut record = sweep(&lab.calls()).unwrap().remove(0).record;
        record.deadline = 0;
        if !known {
            record = ProcessRecord { pid: 0, start_time: 0, ..record };
        }
        let found = reattach(&record, GRACE, &Ear::default()).await;
        assert_eq!(found.end, ReattachEnd::PastDeadline);
        let error = found.deployed().unwrap_err();
        assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, Some(id("m-9"))));
        assert!(!runs(&lab.read("begun")) && !runs(&lab.read("child")));
        assert!(lab.leftovers().is_empty());
    }
}

#[tokio::test]
async fn what_a_driver_said_that_ended_alone_is_read() {
    let lab = Lab::new();
    lab.deploys(
        "echo $$ > \"$LAB/begun\"\nwhile [ ! -e \"$LAB/go\" ]; do sleep 0.02; done\n\
         printf 'ERROR MESSAGE --8<------\\nno stock for s3cr3t-tok\\nERROR MESSAGE ------>8--\\n' >&2\n\
         exit 255\n",
    );
    kill_a_tool(&lab).await;
    fs::write(lab.path("go"), "").unwrap();
    let record = sweep(&lab.calls()).unwrap().remove(0).record;
    let found = reattach(&record, GRACE, &Ear::default()).await;
    assert!(found.reported_failure);
    let error = found.deployed().unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert_eq!(error.message, "no stock for *****");
}

#[tokio::test]
async fn a_question_outlives_the_tool_until_its_deadline_and_no_longer() {
    let lab = Lab::new();
    let script = lab.sh("echo $$ > \"$LAB/begun\"\necho STATE=a\nsleep 1000");
    lab.driver(&script, &script);
    kill_a_tool_at(&lab, Action::Poll).await;
    // With its process id, and as if the tool had died before it noted that.
    let note = lab.leftovers()[0].join("call");
    let text = fs::read_to_string(&note).unwrap();
    for note_text in [text.as_str(), text.split("pid=").next().unwrap()] {
        fs::write(&note, note_text).unwrap();
        let left = sweep(&lab.calls()).unwrap().remove(0);
        assert!(left.running);
        assert_eq!(left.action, Some(Action::Poll));
        assert_eq!(left.record.pid.to_string(), lab.read("begun").trim());
    }
    let mut record = sweep(&lab.calls()).unwrap().remove(0).record;
    record.deadline = 0;
    let found = reattach(&record, GRACE, &Ear::default()).await;
    assert_eq!((found.end, found.deploy_id), (ReattachEnd::PastDeadline, None));
    assert!(!runs(&lab.read("begun")));
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn a_question_that_ended_alone_leaves_nothing() {
    let lab = Lab::new();
    let script = lab.sh(
        "echo $$ > \"$LAB/begun\"\nwhile [ ! -e \"$LAB/go\" ]; do sleep 0.02; done\necho STATE=a",
    );
    lab.driver(&script, &script);
    kill_a_tool_at(&lab, Action::Poll).await;
    let record = sweep(&lab.calls()).unwrap().remove(0).record;
    fs::write(lab.path("go"), "").unwrap();
    let found = reattach(&record, GRACE, &Ear::default()).await;
    assert_eq!((found.end, found.message.as_str()), (ReattachEnd::Ended, ""));
    assert!(!runs(&lab.read("begun")));
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn a_deploy_whose_output_is_gone_is_unknown_whatever_its_driver_said() {
    let lab = Lab::new();
    let folder = lab.path("calls/deploy-key-1-x");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("call"), "action=deploy\nkey=key-1\n").unwrap();
    let block = "ERROR MESSAGE --8<------\nno stock\nERROR MESSAGE ------>8--\n";
    fs::write(folder.join("stderr"), block).unwrap();
    let record = ProcessRecord { pid: 0, start_time: 0, folder, deadline: 0 };
    let found = reattach(&record, GRACE, &Ear::default()).await;
    // An id may have stood there.
    assert_eq!(found.deployed().unwrap_err().kind, FailureKind::Unknown);
}

#[tokio::test]
async fn a_dropped_call_leaves_driver_and_folder() {
    let lab = Lab::new();
    let driver = lab.deploys(SLOW);
    let (call, ear) = call("h");
    tokio::select! {
        _ = driver.deploy(&call) => panic!("it waits for a word to go"),
        _ = lab.wait_for("begun") => {}
    }
    let record = ear.record();
    assert!(runs(&record.pid.to_string()));
    assert_eq!(lab.leftovers(), std::slice::from_ref(&record.folder));
    fs::write(lab.path("go"), "").unwrap();
    let found = reattach(&record, GRACE, ear.as_ref()).await;
    assert_eq!(found.deployed().unwrap(), id("m-9"));
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn another_process_with_the_same_number_is_never_harmed() {
    let lab = Lab::new();
    let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let folder = lab.path("calls/deploy-key-1-x");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("stdout"), "m-9\n").unwrap();
    let record = ProcessRecord { pid: other.id(), start_time: 1, folder, deadline: 0 };
    let found = reattach(&record, GRACE, &Ear::default()).await;
    assert_eq!((found.end, found.deploy_id), (ReattachEnd::Ended, Some(id("m-9"))));
    assert!(runs(&other.id().to_string()));
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Hears of a failure, and whether what shows it was still there.
struct Witness {
    calls: std::path::PathBuf,
    heard: std::sync::Mutex<Vec<(FailureKind, String, usize)>>,
}

#[async_trait::async_trait]
impl driver::Watch for Witness {
    async fn started(&self, _: &ProcessRecord) {}

    async fn deploy_id(&self, _: &model::DeployId) {}

    async fn failed(&self, error: &driver::DriverError) {
        let folders = fs::read_dir(&self.calls).unwrap().count();
        self.heard.lock().unwrap().push((error.kind, error.message.clone(), folders));
    }
}

const REFUSES: &str = "echo $$ > \"$LAB/begun\"\nwhile [ ! -e \"$LAB/go\" ]; do sleep 0.02; done\n\
                       echo 'ERROR MESSAGE --8<------' >&2\necho 'no such plan' >&2\n\
                       echo 'ERROR MESSAGE ------>8--' >&2\nexit 1\n";

#[tokio::test]
async fn that_nothing_was_made_is_told_before_the_drivers_output_is_removed() {
    let told = vec![(FailureKind::Definite, "no such plan".to_owned(), 1)];
    let lab = Lab::new();
    let witness = || Witness { calls: lab.path("calls"), heard: std::sync::Mutex::default() };
    let driver = lab.deploys(REFUSES);
    // By the driver's own tool, and by a later one.
    fs::write(lab.path("go"), "").unwrap();
    let watch = std::sync::Arc::new(witness());
    let (mut own, _) = call("h");
    own.watch = watch.clone();
    driver.deploy(&own).await.unwrap_err();
    assert_eq!(*watch.heard.lock().unwrap(), told);

    fs::remove_file(lab.path("go")).unwrap();
    fs::remove_file(lab.path("begun")).unwrap();
    kill_a_tool(&lab).await;
    fs::write(lab.path("go"), "").unwrap();
    let left = sweep(&lab.path("calls")).unwrap().remove(0);
    let later = witness();
    let end = reattach(&left.record, GRACE, &later).await;
    assert_eq!(end.deployed().unwrap_err().kind, FailureKind::Definite);
    assert_eq!(*later.heard.lock().unwrap(), told);
    assert_eq!(fs::read_dir(lab.path("calls")).unwrap().count(), 0);
}

/// Could write nothing down: the disk is full.
struct Forgetful;

#[async_trait::async_trait]
impl driver::Watch for Forgetful {
    async fn started(&self, _: &ProcessRecord) {}

    async fn deploy_id(&self, _: &model::DeployId) {}

    fn is_written(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn what_could_not_be_written_down_is_left_for_a_later_command() {
    let lab = Lab::new();
    let driver = lab.deploys("echo m-5");
    let (mut first, _) = call("h");
    first.watch = std::sync::Arc::new(Forgetful);
    assert_eq!(driver.deploy(&first).await.unwrap(), id("m-5"));
    assert_eq!(sweep(&lab.path("calls")).unwrap().len(), 1);
    // Looked at by one who cannot write either, and then by one who can.
    assert_eq!(driver.recover(&first, None).await.unwrap(), Some(id("m-5")));
    let (second, ear) = call("h");
    assert_eq!(driver.recover(&second, None).await.unwrap(), Some(id("m-5")));
    assert_eq!(ear.ids(), ["m-5"]);
    assert_eq!(fs::read_dir(lab.path("calls")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_deploy_that_was_never_started_is_known_for_certain_without_a_list() {
    let lab = Lab::new();
    let driver = lab.deploys("echo m-5");
    assert!(driver.settle() > std::time::Duration::ZERO, "a list is not believed at once");
    let (never, _) = call("never");
    let error = driver.recover(&never, None).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
}
