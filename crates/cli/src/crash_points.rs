//! Death by `SIGKILL` at a chosen point, for `tests/crash_matrix` alone.
//!
//! Compiled with the feature `crash-points` only, which no release has. Before and after every write
//! of the journal, every call to the front-end and every call of a driver there is a point. A point
//! is named by what happens there and to what, and counted by name, so that it is the same one in
//! every run, however the hosts overtake each other. The names of all that are passed go to the file
//! that `ONEPROVISION_CRASH_LOG` names, one a line; the process ends at the one that
//! `ONEPROVISION_CRASH_AT` names. What a process that dies in this way leaves behind is what a power
//! cut leaves: nothing is unwound, nothing is flushed, no answer is read.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use configure::{Configure, Done, Machine, Patience, Plan, Run, Trouble, Watch};
use driver::api::{
    Action, Call, Description, Driver, DriverError, ListedMachine, ProcessRecord, ShutdownKind,
};
use driver::poll::PollReport;
use engine::DriverSource;
use journal::{Entry, Event, IntentId, Journal, JournalError, Outcome, Subject};
use model::{DeployId, ProvisionId};
use opennebula::{Transport, TransportError};
use rustix::process::{Signal, getpid, kill_process};

/// Names the deadly point; without it nothing is killed.
const AT: &str = "ONEPROVISION_CRASH_AT";
/// Names the file to which the passed points are appended.
const LOG: &str = "ONEPROVISION_CRASH_LOG";

struct Points {
    passed: HashMap<String, u64>,
    deadly: Option<String>,
    log: Option<File>,
}

impl Points {
    fn of_environment() -> Mutex<Self> {
        let log = std::env::var_os(LOG)
            .and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok());
        Mutex::new(Self { passed: HashMap::new(), deadly: std::env::var(AT).ok(), log })
    }
}

/// Passes a point, or ends there.
fn point(name: &str) {
    static POINTS: OnceLock<Mutex<Points>> = OnceLock::new();
    let points = POINTS.get_or_init(Points::of_environment);
    // Held until death, so that no other thread passes a point after the deadly one.
    let mut points = points.lock().unwrap_or_else(PoisonError::into_inner);
    let count = points.passed.entry(name.to_owned()).or_default();
    *count += 1;
    let name = format!("{name} #{count}");
    if let Some(log) = &mut points.log {
        // One write, so that a line is there whole or not at all. A point that is missing in the
        // file fails the test that counts them.
        let _ = log.write_all(format!("{name}\n").as_bytes());
    }
    if points.deadly.as_deref() == Some(&name) {
        let _ = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

async fn around<T>(name: &str, effect: impl Future<Output = T>) -> T {
    point(&format!("before {name}"));
    let answer = effect.await;
    point(&format!("after {name}"));
    answer
}

/// The journal, with points around every write.
pub fn journal(journal: impl Journal + 'static) -> Arc<dyn Journal> {
    Arc::new(CrashJournal { journal, intents: Mutex::default() })
}

struct CrashJournal<J> {
    journal: J,
    /// What each intent of this process is about, for the names of outcomes.
    intents: Mutex<HashMap<(ProvisionId, IntentId), String>>,
}

impl<J> CrashJournal<J> {
    fn name(&self, provision: ProvisionId, events: &[Event]) -> String {
        let mut intents = self.intents.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            if let Event::Intent { id, subject, step, .. } = event {
                let about = format!("{} {}", step.as_str(), label(*subject));
                intents.insert((provision, *id), about);
            }
        }
        let of = |id: &IntentId| intents.get(&(provision, *id)).map_or("earlier", String::as_str);
        let words = events.iter().map(|event| match event {
            Event::CreateBegun(_) => "create-begun".to_owned(),
            Event::Resumed => "resumed".to_owned(),
            Event::UpdateBegun(_) => "update-begun".to_owned(),
            Event::DeleteBegun { .. } => "delete-begun".to_owned(),
            Event::HostDeleteBegun { .. } => "host-delete-begun".to_owned(),
            Event::OrphanDoomed { .. } => "orphan-doomed".to_owned(),
            Event::OrphanEnded { .. } => "orphan-ended".to_owned(),
            Event::ConfigureBegun { .. } => "configure-begun".to_owned(),
            Event::PowerBegun { power, .. } => format!("power-begun({})", power.as_str()),
            Event::Found { subject, .. } => format!("found({})", label(*subject)),
            Event::Intent { id, .. } => format!("intent({})", of(id)),
            Event::Process { id, .. } => format!("process({})", of(id)),
            Event::DeployIdSeen { id, .. } => format!("deploy-id-seen({})", of(id)),
            Event::Outcome { id, outcome } => {
                let how = match outcome {
                    Outcome::Done(_) => "done",
                    Outcome::Failed { .. } => "failed",
                    Outcome::Unknown { .. } => "unknown",
                };
                format!("{how}({})", of(id))
            }
            Event::Resolved { host, .. } => format!("resolved(host {host})"),
            Event::Said { host, .. } => format!("said(host {host})"),
            Event::Addressed { host, .. } => format!("addressed(host {host})"),
            Event::HostFailed { host, .. } => format!("host-failed(host {host})"),
            Event::Retried { host } => format!("retried(host {host})"),
            Event::Ended { .. } => "ended".to_owned(),
        });
        format!("journal {}", words.collect::<Vec<_>>().join("+"))
    }
}

fn label(subject: Subject) -> String {
    match subject {
        Subject::Cluster => "cluster".to_owned(),
        Subject::Datastore(n) => format!("datastore {n}"),
        Subject::Network(n) => format!("network {n}"),
        Subject::Host(key) => format!("host {key}"),
        Subject::Virtual(kind, n) => format!("{} {n}", kind.as_str()),
        other => format!("{other:?}"),
    }
}

#[async_trait]
impl<J: Journal> Journal for CrashJournal<J> {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        let name = self.name(provision, &events);
        around(&name, self.journal.append(provision, at, events)).await
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        self.journal.entries(provision).await
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        self.journal.provisions().await
    }
}

/// The way to the front-end, with points around every call.
pub fn transport(transport: Arc<dyn Transport>) -> Arc<dyn Transport> {
    Arc::new(CrashTransport(transport))
}

struct CrashTransport(Arc<dyn Transport>);

/// A request's method, and the first number among its parameters: mostly the id of an object.
fn name_of(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let inside = |begin: &str| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once('<')?.0.trim().to_owned())
    };
    let method = inside("<methodName>").unwrap_or_default();
    format!("front-end {method} {}", inside("<i4>").unwrap_or_default())
}

#[async_trait]
impl Transport for CrashTransport {
    fn endpoint(&self) -> &str {
        self.0.endpoint()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        around(&name_of(request), self.0.exchange(request, deadline)).await
    }
}

/// The drivers, with points around every call.
pub fn drivers(drivers: impl DriverSource + 'static) -> Arc<dyn DriverSource> {
    Arc::new(CrashDrivers(drivers))
}

struct CrashDrivers<D>(D);

impl<D: DriverSource> DriverSource for CrashDrivers<D> {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        Ok(Arc::new(CrashDriver(self.0.find(name)?)))
    }
}

struct CrashDriver(Arc<dyn Driver>);

/// What configures machines, with points around every login and every stage.
pub fn configure(configure: impl Configure + 'static) -> Arc<dyn Configure> {
    Arc::new(CrashConfigure(configure))
}

struct CrashConfigure<C>(C);

#[async_trait]
impl<C: Configure> Configure for CrashConfigure<C> {
    async fn check(&self, plan: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        self.0.check(plan).await
    }

    async fn reach(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        let reached = self.0.reach(provision, machine, patience, watch);
        around(&format!("reach host {}", machine.host), reached).await
    }

    async fn run(&self, run: &Run, watch: &dyn Watch) -> Vec<Result<Done, Trouble>> {
        let hosts: Vec<String> = run.machines.iter().map(|m| m.host.to_string()).collect();
        around(&format!("run on hosts {}", hosts.join(",")), self.0.run(run, watch)).await
    }

    async fn default_nic(
        &self,
        provision: ProvisionId,
        machine: &Machine,
    ) -> Result<String, Trouble> {
        let asked = self.0.default_nic(provision, machine);
        around(&format!("ask host {}", machine.host), asked).await
    }

    fn forget(&self, provision: ProvisionId, alias: &str) {
        self.0.forget(provision, alias);
    }

    fn discard(&self, provision: ProvisionId) {
        self.0.discard(provision);
    }
}

/// An action and the host and attempt that its key names.
fn call_name(action: &str, call: &Call) -> String {
    const PROVISION: usize = "00000000-0000-0000-0000-000000000000-".len();
    format!("driver {action} {}", call.key.get(PROVISION..).unwrap_or_default())
}

#[async_trait]
impl Driver for CrashDriver {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn lacks(&self, action: Action) -> Option<String> {
        self.0.lacks(action)
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        around(&call_name("deploy", call), self.0.deploy(call)).await
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        around(&call_name("cancel", call), self.0.cancel(call, id)).await
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        around(&call_name("poll", call), self.0.poll(call, id)).await
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        around(&call_name("reboot", call), self.0.reboot(call, id)).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        around(&call_name("reset", call), self.0.reset(call, id)).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        around(&call_name("shutdown", call), self.0.shutdown(call, id, kind)).await
    }

    async fn recover(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        around(&call_name("recover", call), self.0.recover(call, process)).await
    }

    async fn finish(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        around(&call_name("finish", call), self.0.finish(call, process)).await
    }

    fn polls_together(&self, call: &Call) -> bool {
        self.0.polls_together(call)
    }

    fn settle(&self) -> Duration {
        self.0.settle()
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        around(&call_name("list", call), self.0.list(call)).await
    }
}
