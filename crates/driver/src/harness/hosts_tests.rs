use std::ffi::OsString;
use std::sync::Mutex;

use model::{DeployId, Parameter};

use super::*;
use crate::api::{Call, Description, DriverError, ShutdownKind};
use crate::poll::PollReport;

struct Lab {
    paid: bool,
}

#[async_trait]
impl Driver for Lab {
    fn describe(&self) -> Description {
        let parameters = self.paid.then(|| vec![Parameter::new("LAB_TOKEN", "").credential()]);
        Description { parameters, ..Description::new("lab", "") }
    }
    async fn deploy(&self, _: &Call) -> Result<DeployId, DriverError> {
        unreachable!()
    }
    async fn cancel(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        unreachable!()
    }
    async fn poll(&self, _: &Call, _: &DeployId) -> Result<PollReport, DriverError> {
        unreachable!()
    }
    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        unreachable!()
    }
    async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        unreachable!()
    }
    async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
        unreachable!()
    }
}

fn host(name: &str, token: Option<&str>) -> DeploymentFile {
    let id = Some(HostId(7));
    let mut host = DeploymentFile { id, name: name.to_owned(), ..DeploymentFile::default() };
    if let Some(token) = token {
        host.template.vector_mut("PROVISION").push("LAB_TOKEN", token);
    }
    host
}

struct FrontEnd {
    answer: Result<Option<DeploymentFile>, String>,
    asked: Mutex<Vec<(Option<HostId>, Option<String>)>>,
}

#[async_trait]
impl Hosts for FrontEnd {
    async fn find(
        &self,
        id: Option<HostId>,
        name: Option<&str>,
    ) -> Result<Option<DeploymentFile>, String> {
        self.asked.lock().unwrap().push((id, name.map(str::to_owned)));
        self.answer.clone()
    }
}

fn front_end(answer: Result<Option<DeploymentFile>, String>) -> FrontEnd {
    FrontEnd { answer, asked: Mutex::default() }
}

fn invocation(action: Action, ours: bool) -> Invocation {
    let key = |name: &str| (ours && name == "ONEPROVISION_CALL").then(|| OsString::from("key-1"));
    let arguments = ["x-1", "h", "SHUTDOWN", "7", "h"].map(OsString::from);
    Invocation::new(Some(action), arguments, key).unwrap()
}

async fn token_of(
    given: DeploymentFile,
    action: Action,
    ours: bool,
    paid: bool,
    front_end: &FrontEnd,
) -> (Option<String>, Option<String>) {
    let (call, lab) = (invocation(action, ours), Lab { paid });
    let Found { host, problem } = complete(given, &call, &lab, Some(front_end)).await;
    (host.parameter("LAB_TOKEN").map(str::to_owned), problem)
}

#[tokio::test]
async fn a_foreign_call_gets_the_host_in_clear() {
    let clear = || front_end(Ok(Some(host("h", Some("clear")))));
    for (given, action) in [
        (host("h", None), Action::Poll),
        (host("h", None), Action::Cancel),
        (host("h", Some("cipher")), Action::Deploy),
    ] {
        let front_end = clear();
        let told = token_of(given, action, false, true, &front_end).await;
        assert_eq!(told, (Some("clear".into()), None));
        assert_eq!(*front_end.asked.lock().unwrap(), [(Some(HostId(7)), Some("h".into()))]);
    }
}

#[tokio::test]
async fn nobody_is_asked_for_what_is_there_or_of_no_use() {
    for (given, action, ours, paid) in [
        (host("h", None), Action::Poll, true, true),
        (host("h", None), Action::Poll, false, false),
        (host("h", Some("given")), Action::Poll, false, true),
        (DeploymentFile::default(), Action::List, false, true),
    ] {
        let front_end = front_end(Err("must not be asked".into()));
        let (_, problem) = token_of(given, action, ours, paid, &front_end).await;
        assert_eq!((problem, front_end.asked.lock().unwrap().len()), (None, 0));
    }
}

#[tokio::test]
async fn what_is_given_is_kept_when_the_front_end_has_nothing_better() {
    for (answer, said) in
        [(Err("no route".to_owned()), "no route"), (Ok(None), "there is no such host")]
    {
        let told = token_of(host("h", None), Action::Poll, false, true, &front_end(answer)).await;
        assert_eq!(told, (None, Some(said.to_owned())));
    }
    for answer in [Err("no route".to_owned()), Ok(None), Ok(Some(host("another", Some("theirs"))))]
    {
        let given = host("h", Some("given"));
        let told = token_of(given, Action::Deploy, false, true, &front_end(answer)).await;
        assert_eq!(told, (Some("given".to_owned()), None));
    }
}
