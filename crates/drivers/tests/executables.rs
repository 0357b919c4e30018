//! The dummy driver as executables: this very program, called by the links that `install` makes.
//!
//! It has a main function of its own, because a test program of the usual kind cannot be called by
//! the name of an action. Every test runs in a process and a state folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::executable::EXIT_UNKNOWN;
use driver::{
    Call, DeploymentFile, Driver, ExecutableDriver, ExecutableSettings, FailureKind, MachineState,
    ProcessRecord, Remotes, ShutdownKind, Watch,
};
use drivers::dummy::ledger::Ledger;
use model::DeployId;

type Test = (&'static str, fn(Lab));

const TESTS: [Test; 6] = [
    ("a_machines_life", a_machines_life),
    ("misbehaviour_survives_the_protocol", misbehaviour_survives_the_protocol),
    ("a_slow_boot_is_waited_for", a_slow_boot_is_waited_for),
    ("the_old_tools_way_to_call", the_old_tools_way_to_call),
    ("nothing_to_read_is_explained", nothing_to_read_is_explained),
    ("many_at_once", many_at_once),
];
/// Names the test that a child process runs.
const NAME: &str = "DRIVERS_TEST";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<_> = arguments.collect();
    if let Some(code) =
        drivers::multicall(&program, rest.clone(), &|name| std::env::var_os(name), None)
    {
        return code;
    }
    if let Ok(name) = std::env::var(NAME) {
        let (_, test) = TESTS.iter().find(|(known, _)| *known == name).expect("a test's name");
        test(Lab::here());
        return ExitCode::SUCCESS;
    }
    let filter = rest.iter().filter_map(|text| text.to_str()).find(|text| !text.starts_with('-'));
    let chosen = TESTS.iter().filter(|(name, _)| filter.is_none_or(|part| name.contains(part)));
    let mut failed = 0;
    for (name, _) in chosen {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .env(NAME, name)
            .env("ONEPROVISION_STATE_DIR", dir.path())
            .status()
            .unwrap();
        println!("test {name} ... {}", if status.success() { "ok" } else { "FAILED" });
        failed += u8::from(!status.success());
    }
    ExitCode::from(failed)
}

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

#[async_trait]
impl Watch for Ear {
    async fn started(&self, _: &ProcessRecord) {}

    async fn deploy_id(&self, id: &DeployId) {
        self.0.lock().unwrap().push(id.to_string());
    }
}

struct Lab {
    state: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Lab {
    /// The state folder that the main function chose, with the executables beside the ledger.
    fn here() -> Self {
        let state = PathBuf::from(std::env::var_os("ONEPROVISION_STATE_DIR").unwrap());
        drivers::install(&state.join("remotes/pm"), &std::env::current_exe().unwrap(), "dummy")
            .unwrap();
        Self { state, runtime: tokio::runtime::Runtime::new().unwrap() }
    }

    fn driver(&self) -> ExecutableDriver {
        let folder = Remotes::new(self.state.join("remotes")).find("dummy").unwrap();
        ExecutableDriver::new(folder, ExecutableSettings::new(self.state.join("calls")))
    }

    fn bill(&self) -> usize {
        Ledger::open(&self.state).unwrap().bill().unwrap().len()
    }

    fn program(&self, action: &str) -> Command {
        let mut command = Command::new(self.state.join("remotes/pm/dummy").join(action));
        command.stdin(Stdio::null());
        command
    }
}

fn call(key: &str, parameters: &[(&str, &str)]) -> (Call, Arc<Ear>) {
    let mut host = DeploymentFile { name: format!("host-{key}"), ..Default::default() };
    let provision = host.template.vector_mut("PROVISION");
    provision.push("PROVISION_ID", "p1");
    for (name, value) in parameters {
        provision.push(*name, *value);
    }
    let ear = Arc::new(Ear::default());
    let deadline = Duration::from_secs(60);
    (Call { key: key.to_owned(), host, deadline, watch: ear.clone() }, ear)
}

fn a_machines_life(lab: Lab) {
    lab.runtime.block_on(async {
        let driver = lab.driver();
        let (call, ear) = call("k1", &[("IP", "192.0.2.7")]);
        let id = driver.deploy(&call).await.unwrap();
        assert_eq!(*ear.0.lock().unwrap(), [id.to_string()]);
        assert_eq!(driver.deploy(&call).await.unwrap(), id, "the key reached the ledger");
        let report = driver.poll(&call, &id).await.unwrap();
        assert_eq!(
            (report.state, report.address()),
            (Some(MachineState::Active), Some("192.0.2.7"))
        );
        driver.reboot(&call, &id).await.unwrap();
        driver.reset(&call, &id).await.unwrap();
        driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
        let report = driver.poll(&call, &id).await.unwrap();
        assert_eq!(report.state, Some(MachineState::Gone));
        let mut resume = call.clone();
        resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
        assert_eq!(driver.deploy(&resume).await.unwrap(), id);
        let listed = driver.list(&call).await.unwrap();
        assert_eq!((listed.len(), &listed[0].id), (1, &id));
        assert_eq!(listed[0].attributes.text("PROVISION_ID"), Some("p1"));
        driver.cancel(&call, &id).await.unwrap();
        assert_eq!(lab.bill(), 0);
        let error = driver.cancel(&call, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::NotFound, "{error}");
        assert!(driver.poll(&call, &id).await.is_err());
        assert_eq!(fs::read_dir(lab.state.join("calls")).unwrap().count(), 0);
    });
}

fn misbehaviour_survives_the_protocol(lab: Lab) {
    use FailureKind::{Definite, Unknown};
    lab.runtime.block_on(async {
        let driver = lab.driver();
        let mut bill = 0;
        for (name, value, kind, named, made) in [
            ("dummy_fail", "deploy:1", Definite, false, 0),
            ("dummy_quota", "0", Definite, false, 0),
            ("dummy_oops", "1", Definite, false, 0),
            ("dummy_die", "deploy", Unknown, false, 0),
            ("dummy_die", "deploy:after", Unknown, false, 1),
            ("dummy_lose_answer", "yes", Unknown, false, 1),
            ("dummy_id_then_fail", "yes", Unknown, true, 1),
            ("dummy_hang", "deploy:after", Unknown, false, 1),
        ] {
            let (mut call, _) = call(&format!("{name}-{value}"), &[(name, value)]);
            if name == "dummy_hang" {
                call.deadline = Duration::from_secs(5);
            }
            let error = driver.deploy(&call).await.unwrap_err();
            assert_eq!((error.kind, error.deploy_id.is_some()), (kind, named), "{name}: {error}");
            bill += made;
            assert_eq!(lab.bill(), bill, "{name} {value}");
        }
        let (two, ear) = call("two", &[("dummy_two_ids", "yes"), ("dummy_not_found", "yes")]);
        let id = driver.deploy(&two).await.unwrap();
        assert_eq!(*ear.0.lock().unwrap(), [id.to_string()], "the first one counts");
        let error = driver.cancel(&two, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::NotFound);
        assert_eq!(lab.bill(), bill);
        let output = lab.program("deploy").arg("/nowhere").output().unwrap();
        assert_eq!(output.status.code(), Some(255));
        let file = lab.state.join("file");
        fs::write(&file, host_file("<DUMMY_LOSE_ANSWER>yes</DUMMY_LOSE_ANSWER>")).unwrap();
        let output = lab.program("deploy").arg(&file).arg("TODO").output().unwrap();
        assert_eq!(output.status.code(), Some(i32::from(EXIT_UNKNOWN)));
        assert!(output.stdout.is_empty());
    });
}

fn a_slow_boot_is_waited_for(lab: Lab) {
    lab.runtime.block_on(async {
        let driver = lab.driver();
        let (short, _) = call("k1", &[("dummy_boot", "700ms")]);
        let id = driver.deploy(&short).await.unwrap();
        assert!(driver.poll(&short, &id).await.unwrap().is_up(), "deploy ends when it is up");
        let (long, _) = call("k2", &[("dummy_boot", "1h")]);
        driver.reboot(&long, &id).await.unwrap();
        let report = driver.poll(&long, &id).await.unwrap();
        assert_eq!(report.state, Some(MachineState::Paused));
    });
}

fn host_file(parameters: &str) -> String {
    format!(
        "<HOST><ID>7</ID><NAME>provision-c968</NAME><TEMPLATE><PM_MAD>dummy</PM_MAD>\
         <PROVISION>{parameters}</PROVISION></TEMPLATE></HOST>"
    )
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// No environment of ours, standard input closed, `TODO` for a name, the id from standard output.
fn the_old_tools_way_to_call(lab: Lab) {
    let file = lab.state.join("xmlDeploy7");
    fs::write(&file, host_file("<IP>192.0.2.7</IP>")).unwrap();
    let deploy = lab.program("deploy").arg(&file).arg("TODO").output().unwrap();
    assert!(deploy.status.success(), "{}", text(&deploy.stderr));
    let id = text(&deploy.stdout).trim();
    let call = |action: &str, more: &[&str]| {
        let tail = ["7", "provision-c968"];
        lab.program(action).arg(id).arg("provision-c968").args(more).args(tail).output().unwrap()
    };
    let poll = call("poll", &[]);
    let line = text(&poll.stdout);
    assert_eq!(line, "STATE=a GUEST_IP_ADDRESSES=\"192.0.2.7\"\n");
    // The old tool's own way to read it (host.rb of 5.12.13).
    let token = line.split(' ').find(|token| token.starts_with("GUEST_IP_ADDRESSES=")).unwrap();
    let value = token.split_once('=').unwrap().1.split(',').next().unwrap();
    assert_eq!(value[1..].trim().replace('"', ""), "192.0.2.7");
    for (action, more) in
        [("reboot", &[][..]), ("reset", &[]), ("shutdown", &["SHUTDOWN_POWEROFF"]), ("cancel", &[])]
    {
        let output = call(action, more);
        assert!(output.status.success(), "{action}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
    let gone = call("cancel", &[]);
    assert_eq!(gone.status.code(), Some(255));
    let block =
        format!("ERROR MESSAGE --8<------\nmachine {id} not found\nERROR MESSAGE ------>8--\n");
    assert_eq!(text(&gone.stderr), block);
    assert_eq!(lab.bill(), 0);
}

fn nothing_to_read_is_explained(lab: Lab) {
    let output = lab.program("deploy").arg("/nowhere/file").arg("h").output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("standard input is empty"), "{}", text(&output.stderr));
    // A pipe that stays open and silent.
    let mut child = lab
        .program("deploy")
        .arg("/nowhere/file")
        .arg("h")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let silent = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(silent);
    assert_eq!(output.status.code(), Some(255));
    assert!(text(&output.stderr).contains("standard input stays silent"));
    let output = lab.program("poll").output().unwrap();
    assert!(text(&output.stderr).contains("usage: poll DEPLOY_ID HOST"));
    assert!(!Path::new("/nowhere/file").exists());
}

fn many_at_once(lab: Lab) {
    lab.runtime.block_on(async {
        let driver = Arc::new(lab.driver());
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40 {
            let driver = driver.clone();
            tasks.spawn(async move {
                let (call, _) = call(&format!("k{n}"), &[]);
                let id = driver.deploy(&call).await.unwrap();
                let report = driver.poll(&call, &id).await.unwrap();
                report.address().unwrap().to_owned()
            });
        }
        let mut addresses = tasks.join_all().await;
        addresses.sort();
        addresses.dedup();
        assert_eq!((addresses.len(), lab.bill()), (40, 40));
    });
}
