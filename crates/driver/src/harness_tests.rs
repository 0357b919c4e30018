use std::io::Read;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::api::{Description, ListedMachine};

/// Answers from what its deployment file says; needs some polls to be up.
#[derive(Default)]
struct Lab {
    polls: AtomicU32,
    never_up: bool,
}

fn refused(kind: FailureKind, text: &str) -> DriverError {
    DriverError::new(kind, text)
}

#[async_trait]
impl Driver for Lab {
    fn describe(&self) -> Description {
        Description::new("lab", "")
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let id = DeployId::new("lab-1").ok_or(refused(FailureKind::Definite, "x"))?;
        match call.host.parameter("MODE") {
            Some("refuse") => Err(refused(FailureKind::Definite, "no\nroom")),
            Some("lost") => Err(refused(FailureKind::Unknown, "connection lost")),
            Some("id-then-fail") => {
                call.watch.deploy_id(&id).await;
                Err(DriverError { deploy_id: Some(id), ..refused(FailureKind::Unknown, "late") })
            }
            _ => Ok(id),
        }
    }

    async fn cancel(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Err(refused(FailureKind::NotFound, "gone"))
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        if self.never_up || self.polls.fetch_add(1, Ordering::Relaxed) < 2 {
            return Ok(PollReport::new(MachineState::Paused, Vec::new()));
        }
        let mut report = PollReport { addresses: vec!["192.0.2.1".into()], ..Default::default() };
        report.attributes.push("NAME", format!("{} {id}", call.host.name));
        Ok(report)
    }

    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        std::future::pending().await
    }

    async fn reset(&self, call: &Call, _: &DeployId) -> Result<(), DriverError> {
        let host = &call.host;
        Err(refused(FailureKind::Definite, &format!("{} {:?} {}", host.name, host.id, call.key)))
    }

    async fn shutdown(
        &self,
        _: &Call,
        _: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        Err(refused(FailureKind::Definite, kind.as_str()))
    }

    async fn list(&self, _: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let id = DeployId::new("lab-1").ok_or(refused(FailureKind::Definite, "x"))?;
        Ok(vec![ListedMachine {
            id,
            attributes: [("STATE".into(), "a".into())].into_iter().collect(),
        }])
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A pipe that nobody writes to and nobody closes.
struct Silent;

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        loop {
            std::thread::park();
        }
    }
}

fn stdin(text: &str) -> Input {
    Input::Reader(Box::new(io::Cursor::new(text.to_owned().into_bytes())))
}

fn host(mode: &str) -> String {
    format!("<HOST><TEMPLATE><PROVISION><MODE>{mode}</MODE></PROVISION></TEMPLATE></HOST>")
}

/// A deployment file on disk; reading it takes no time, so that a paused clock stays where it is.
fn file(mode: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, host(mode)).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

async fn call(
    driver: Lab,
    action: Action,
    arguments: &[&str],
    input: Input,
) -> (u8, String, String) {
    let arguments = arguments.iter().map(OsString::from);
    let key = |name: &str| (name == "ONEPROVISION_CALL").then(|| OsString::from("key-1"));
    let invocation = Invocation::new(Some(action), arguments, key).unwrap();
    let (out, err) = (Shared::default(), Shared::default());
    let output = Output::new(Box::new(out.clone()), Box::new(err.clone()));
    let code = run(Arc::new(driver), invocation, input, output, Surroundings::default()).await;
    (code, out.text(), err.text())
}

fn block(text: &str) -> String {
    error_block::block(text)
}

#[tokio::test]
async fn deploy_reads_standard_input_and_waits_until_the_machine_is_up() {
    let input = stdin(&host("ok"));
    let (code, out, err) =
        call(Lab::default(), Action::Deploy, &["/nowhere/x", "h", "7", "h"], input).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "lab-1\n", ""));
}

#[tokio::test(start_paused = true)]
async fn deploy_prefers_the_file_to_standard_input() {
    let (_dir, path) = file("refuse");
    let (code, out, err) =
        call(Lab::default(), Action::Deploy, &[&path, "TODO"], stdin(&host("ok"))).await;
    assert_eq!((code, out.as_str(), err), (255, "", block("no\nroom")));
}

#[tokio::test]
async fn deploy_never_waits_for_input_that_nobody_sends() {
    let inputs = [
        (Input::Nothing, "there is no standard input"),
        (Input::Terminal, "standard input is a terminal"),
        (stdin(" \n"), "standard input is empty"),
    ];
    for (input, reason) in inputs {
        let (code, out, err) =
            call(Lab::default(), Action::Deploy, &["/nowhere/x", "h"], input).await;
        assert_eq!((code, out.as_str()), (255, ""));
        assert!(err.contains(reason) && err.contains("/nowhere/x"), "{err}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_pipe_is_given_up() {
    let input = Input::Reader(Box::new(Silent));
    let (code, _, err) = call(Lab::default(), Action::Deploy, &["/nowhere/x", "h"], input).await;
    assert_eq!(code, 255);
    assert!(err.contains("standard input stays silent"), "{err}");
}

#[tokio::test]
async fn a_bad_deployment_file_is_explained() {
    let input = stdin("<HOST>\n<A></B></HOST>");
    let (code, _, err) = call(Lab::default(), Action::Deploy, &["/nowhere/x", "h"], input).await;
    assert_eq!(code, 255);
    assert!(err.contains("line 2, column 4: <A> is closed by </B>"), "{err}");
}

#[tokio::test]
async fn an_unknown_outcome_has_a_status_of_its_own() {
    let deploy = async |mode| {
        call(Lab::default(), Action::Deploy, &["/nowhere/x", "h"], stdin(&host(mode))).await
    };
    assert_eq!(deploy("lost").await, (EXIT_UNKNOWN, String::new(), block("connection lost")));
    assert_eq!(deploy("id-then-fail").await, (255, "lab-1\n".into(), block("late")));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_comes_up_is_given_up() {
    let driver = Lab { never_up: true, ..Default::default() };
    let (_dir, path) = file("ok");
    let (code, out, err) = call(driver, Action::Deploy, &[&path, "h"], Input::Nothing).await;
    assert_eq!((code, out.as_str()), (255, "lab-1\n"));
    assert!(err.contains("machine lab-1 is not active with an address after 1"), "{err}");
    assert!(err.contains("its state is p, its address none"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn the_other_actions_do_without_a_deployment_file() {
    let driver = || Lab { polls: AtomicU32::new(9), ..Default::default() };
    let silent = || Input::Reader(Box::new(Silent));
    let (code, out, err) =
        call(driver(), Action::Poll, &["lab-1", "old", "7", "new"], silent()).await;
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (0, "STATE=a GUEST_IP_ADDRESSES=\"192.0.2.1\" NAME=\"new lab-1\"\n", "")
    );
    let (code, _, err) = call(driver(), Action::Reset, &["lab-1", "h", "7", "h"], silent()).await;
    assert_eq!((code, err), (255, block("h Some(HostId(7)) key-1")));
    let arguments = ["lab-1", "h", "SHUTDOWN_UNDEPLOY", "-1", "h"];
    let (code, _, err) = call(driver(), Action::Shutdown, &arguments, Input::Nothing).await;
    assert_eq!((code, err), (255, block("SHUTDOWN_UNDEPLOY")));
    let (code, out, _) = call(driver(), Action::List, &[], Input::Nothing).await;
    assert_eq!((code, out.as_str()), (0, "DEPLOY_ID=lab-1 STATE=a\n"));
}

#[tokio::test(start_paused = true)]
async fn not_found_is_said_in_words_that_are_understood() {
    let (code, _, err) =
        call(Lab::default(), Action::Cancel, &["lab-1", "h"], Input::Nothing).await;
    assert_eq!((code, err), (255, block("machine lab-1 not found\ngone")));
}

#[tokio::test(start_paused = true)]
async fn an_action_that_hangs_is_given_up() {
    let (code, _, err) =
        call(Lab::default(), Action::Reboot, &["lab-1", "h"], Input::Nothing).await;
    assert_eq!((code, err), (EXIT_UNKNOWN, block("reboot did not end within 600s")));
}

#[tokio::test(start_paused = true)]
async fn an_id_that_cannot_be_printed_is_not_lost() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let err = Shared::default();
    let output = Output::new(Box::new(Full), Box::new(err.clone()));
    let (_dir, path) = file("ok");
    let arguments = [path.as_str(), "h"].map(OsString::from);
    let invocation = Invocation::new(Some(Action::Deploy), arguments, |_| None).unwrap();
    let driver = Arc::new(Lab::default());
    let code = run(driver, invocation, Input::Nothing, output, Surroundings::default()).await;
    assert_eq!(code, 255);
    assert!(err.text().contains("the deploy id is lab-1"), "{}", err.text());
}

#[test]
fn wrong_arguments_are_refused_with_the_right_ones() {
    let read = |action, arguments: &[&str]| {
        Invocation::new(action, arguments.iter().map(OsString::from), |_| None)
            .map_err(|error| error.to_string())
    };
    assert!(read(None, &[]).unwrap_err().contains("cancel, deploy, poll"));
    assert!(read(Some(Action::Poll), &[]).unwrap_err().contains("usage: poll DEPLOY_ID HOST"));
    assert!(read(Some(Action::Poll), &["\u{1}"]).unwrap_err().contains("no deploy id"));
    assert!(read(Some(Action::Shutdown), &["1", "h"]).unwrap_err().contains("LCM_STATE"));
    assert!(read(Some(Action::Shutdown), &["1", "h", "X"]).unwrap_err().contains("\"X\""));
    let legacy = read(Some(Action::Deploy), &["/f", "TODO"]).unwrap();
    assert_eq!((legacy.host(), legacy.host_id()), (None, None));
    let documented = read(Some(Action::Deploy), &["/f", "h", "-1", "h"]).unwrap();
    assert_eq!((documented.host(), documented.host_id()), (Some("h"), None));
    assert_ne!(documented.key(), documented.key());
}
