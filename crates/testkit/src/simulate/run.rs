//! One run: the world of a seed, and what happens in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{
    Call, Description, Driver, DriverError, ListedMachine, ProcessRecord, ShutdownKind,
};
use driver::poll::PollReport;
use engine::{Engine, Settings, Stop};
use journal::Journal as _;
use model::{DeployId, ProvisionId};
use opennebula::{Client, ClientSettings, Credentials, Transport};
use sandbox::{Sandbox, SandboxSettings};
use template::Spec;
use tokio::time::Instant;

use super::decisions::{ByChance, Listener};
use super::{End, Operation, Options, Outcome};
use crate::bomb::{Bomb, KillableConfigure, KillableDrivers, KillableJournal, KillableTransport};
use crate::clock::{VirtualClock, WallClock};
use crate::cloud::{Cloud, CloudDriver, CloudSource, Seeded};
use crate::configurer::SeededConfigurer;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::faults::Faults;
use crate::front_end::{FaultyFrontEnd, InlineTransport};
use crate::mutation::Mutation;
use crate::trace::Trace;
use crate::{lock, templates, temporary_folder};

/// The world of a seed, and the provision that lives in it.
pub(super) struct Run {
    pub options: Options,
    pub dice: Arc<Dice>,
    pub faults: Arc<Faults>,
    pub trace: Arc<Trace>,
    pub disk: Arc<Disk>,
    pub cloud: Arc<Cloud>,
    pub front_end: Arc<FaultyFrontEnd>,
    /// The front-end as it is, without faults.
    pub truth: Client,
    pub spec: Spec,
    pub secrets: Vec<String>,
    pub skip_config: bool,
    pub secrets_in_template: bool,
    /// The provision: a new id for each create, as long as none was written down.
    pub id: Mutex<ProvisionId>,
    pub operations: Mutex<BTreeMap<Operation, u64>>,
    processes: Mutex<u64>,
    transport: Arc<dyn Transport>,
    driver: Arc<dyn Driver>,
    credentials: Credentials,
    clock: Arc<WallClock>,
    folder: tempfile::TempDir,
}

/// A process of the tool: it has nothing in common with another one but the disk.
pub(super) struct Process {
    pub number: u64,
    pub bomb: Arc<Bomb>,
    pub engine: Engine,
}

/// Runs a seed from its first operation to rest.
pub(super) async fn run(options: Options) -> Outcome {
    let begun = Instant::now();
    let run = Run::new(options);
    run.plant_others().await;
    let end = run.live().await;
    let violations = run.trace.violations();
    Outcome {
        seed: options.seed,
        end: if violations.is_empty() { end } else { End::Violated },
        operations: lock(&run.operations).clone(),
        faults: run.faults.counts(),
        machines: *lock(&run.cloud.asked),
        steps: run.trace.count(),
        hash: run.trace.hash(),
        time: begun.elapsed(),
        violations,
        trace: run.trace.lines(),
    }
}

impl Run {
    fn new(options: Options) -> Self {
        let seed = options.seed;
        let dice = Arc::new(Dice::new(seed, 4));
        let faults = Arc::new(Faults::of_seed(seed));
        let trace = Arc::new(Trace::new(options.trace));
        let random = templates::random(seed, options.most_hosts);
        let disk =
            Arc::new(Disk::new(Arc::clone(&faults), Arc::clone(&trace), random.secrets.clone()));
        let temper = Arc::new(Seeded::new(seed, Arc::clone(&faults)));
        let cloud = Arc::new(Cloud {
            temper,
            lists: Mutex::new(dice.chance(800)),
            configurable: dice.chance(500),
            credential: Some(random.credential.clone()),
            ..Cloud::default()
        });
        let sandbox = Sandbox::in_memory(SandboxSettings {
            clock: Arc::new(VirtualClock::new()),
            ..SandboxSettings::default()
        })
        .expect("a front-end in memory");
        let credentials = Credentials::parse(&sandbox.session()).expect("the sandbox's session");
        let inline: Arc<dyn Transport> = Arc::new(InlineTransport(sandbox));
        let truth =
            Client::new(Arc::clone(&inline), credentials.clone(), ClientSettings::default());
        let front_end = Arc::new(FaultyFrontEnd::new(
            inline,
            Arc::clone(&faults),
            Arc::clone(&trace),
            Arc::clone(&disk),
        ));
        let watched = Watched {
            inner: Arc::new(CloudDriver(Arc::clone(&cloud))),
            disk: Arc::clone(&disk),
            trace: Arc::clone(&trace),
        };
        let driver = Mutation::driver(options.mutation, Arc::new(watched), &random.secrets);
        let transport = Mutation::transport(options.mutation, Arc::clone(&front_end) as _);
        Self {
            options,
            skip_config: dice.chance(200),
            secrets_in_template: dice.chance(200),
            dice,
            clock: Arc::new(WallClock::new(Arc::clone(&faults))),
            faults,
            trace,
            disk,
            cloud,
            front_end,
            truth,
            spec: random.spec,
            secrets: random.secrets,
            id: Mutex::new(provision_id(seed, 0)),
            operations: Mutex::default(),
            processes: Mutex::new(0),
            transport,
            driver,
            credentials,
            folder: temporary_folder(),
        }
    }

    pub fn id(&self) -> ProvisionId {
        *lock(&self.id)
    }

    /// Another id for the next create; the one before was never written down.
    pub fn draw_id(&self) {
        let number = *lock(&self.processes);
        *lock(&self.id) = provision_id(self.options.seed, number);
    }

    /// Starts the tool once more. It dies at that point, from 1, or not at all.
    pub fn start(&self, kill_at: usize) -> Process {
        let number = {
            let mut processes = lock(&self.processes);
            *processes += 1;
            *processes
        };
        let bomb = Arc::new(Bomb::default());
        bomb.arm(kill_at);
        let journal = Mutation::journal(self.options.mutation, Arc::new(self.disk.open(number)));
        let transport = KillableTransport(Arc::clone(&self.transport), Arc::clone(&bomb));
        let configure = Arc::new(SeededConfigurer(Arc::clone(&self.faults)));
        let source = CloudSource(Arc::clone(&self.driver));
        let leases = match self.options.mutation {
            // A lease that only its own process knows of is none.
            Some(Mutation::NoLease) => self.folder.path().join(format!("leases-{number}")),
            _ => self.folder.path().join("leases"),
        };
        let engine = Engine {
            configure: Arc::new(KillableConfigure(configure, Arc::clone(&bomb))),
            journal: Arc::new(KillableJournal(journal, Arc::clone(&bomb))),
            leases,
            opennebula: Client::new(
                Arc::new(transport),
                self.credentials.clone(),
                ClientSettings::default(),
            ),
            endpoint: "simulation".into(),
            drivers: Arc::new(KillableDrivers(Arc::new(source), Arc::clone(&bomb))),
            secrets: None,
            observer: Arc::new(self.listener()),
            failover: Arc::new(ByChance {
                dice: Arc::clone(&self.dice),
                trace: Arc::clone(&self.trace),
                calm: !self.faults.are_armed(),
            }),
            clock: Arc::clone(&self.clock) as _,
            stop: Stop::new(),
            settings: Settings::default(),
            accounts: Arc::default(),
        };
        Process { number, bomb, engine }
    }

    pub fn listener(&self) -> Listener {
        Listener { trace: Arc::clone(&self.trace), secrets: self.secrets.clone() }
    }

    /// Random operations among faults, then the last ones without.
    async fn live(&self) -> End {
        self.operate(Operation::Create).await;
        for _ in 0..self.dice.number(0, 6) {
            if !self.trace.violations().is_empty() {
                return End::Violated;
            }
            let pause = self.dice.time(Duration::from_millis(100), Duration::from_secs(7200));
            tokio::time::sleep(pause).await;
            let operation = self.next_operation();
            self.operate(operation).await;
        }
        if !self.trace.violations().is_empty() {
            return End::Violated;
        }
        self.faults.disarm();
        self.disk.mend();
        self.cloud.mend();
        self.front_end.mend();
        self.trace.line(format_args!("--- no faults from here on"));
        self.finish().await
    }

    fn next_operation(&self) -> Operation {
        use Operation::{Configure, Create, Delete, HostDelete, Resume};
        if self.disk.record(self.id()).is_none() {
            return Create;
        }
        self.dice.pick(&[Resume, Resume, Resume, Resume, Configure, Delete, HostDelete])
    }
}

fn provision_id(seed: u64, number: u64) -> ProvisionId {
    // The version and variant bits of a random UUID, as the command line draws them.
    let bits = (u128::from(seed) << 64) | u128::from(number);
    ProvisionId(uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid())
}

/// Looks into the journal at the moment of each effect.
struct Watched {
    inner: Arc<dyn Driver>,
    disk: Arc<Disk>,
    trace: Arc<Trace>,
}

impl Watched {
    fn told<T: std::fmt::Debug>(&self, what: &str, call: &Call, answer: &Result<T, DriverError>) {
        let (key, host) = (&call.key, call.host.id);
        match answer {
            Ok(answer) => self.trace.line(format_args!("{what} {key} {host:?}: {answer:?}")),
            Err(e) => self.trace.line(format_args!(
                "{what} {key} {host:?}: {:?} {} {:?}",
                e.kind, e.message, e.deploy_id
            )),
        }
    }
}

#[async_trait]
impl Driver for Watched {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn polls_together(&self, call: &Call) -> bool {
        self.inner.polls_together(call)
    }

    fn settle(&self) -> Duration {
        self.inner.settle()
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        if !self.disk.expects_deploy(&call.key) {
            self.trace.violation(format_args!("deploy {} without its intent", call.key));
        }
        let answer = self.inner.deploy(call).await;
        self.told("deploy", call, &answer);
        answer
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        if !self.disk.expects_cancel(id) {
            self.trace.violation(format_args!("cancel of {id} without its intent"));
        }
        let answer = self.inner.cancel(call, id).await;
        self.told("cancel", call, &answer);
        answer
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let answer = self.inner.poll(call, id).await;
        self.told("poll", call, &answer);
        answer
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.inner.reboot(call, id).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.inner.reset(call, id).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        self.inner.shutdown(call, id, kind).await
    }

    async fn recover(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        let answer = self.inner.recover(call, process).await;
        self.told("recover", call, &answer);
        answer
    }

    async fn finish(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        self.inner.finish(call, process).await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let answer = self.inner.list(call).await;
        self.told("list", call, &answer);
        answer
    }
}

// Used by the checks: a journal is read as a later command reads it.
impl Run {
    /// The record as a later command folds it.
    pub async fn refolded(&self) -> Option<journal::ProvisionRecord> {
        self.disk.open(0).record(self.id()).await.expect("the journal in memory is readable")
    }
}
