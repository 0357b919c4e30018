//! A cloud with a bill, a front-end in memory, and an engine between them.

// Each test binary uses a part of this.
#![allow(dead_code)]

pub mod crash;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, ShutdownKind,
};
use driver::poll::{MachineState, PollReport};
use engine::observe::Silent;
use engine::{CreateRequest, DriverSource, Engine, LeaveFailed, Settings, Stop, SystemClock};
use journal::{CreateOptions, MemoryJournal};
use model::{Attributes, DeployId, ProvisionId};
use opennebula::{
    CallObserver, CallRecord, Client, ClientSettings, Credentials, Effect, Transport,
};
use sandbox::{Sandbox, SandboxSettings, SandboxTransport};

use crash::{Bomb, CrashDrivers, CrashJournal, CrashTransport};

/// How the cloud answers the deploy of a host, by its host name in the template.
#[derive(Clone, Debug)]
pub enum Deploy {
    /// Refuses; no machine.
    Refuse,
    /// Makes a machine and loses the answer.
    LoseAnswer,
    /// Makes a machine, names it, and then fails.
    NameThenFail,
    /// Makes a machine and never answers.
    Hang,
}

/// A provider: its machines by id. What is here is billed.
#[derive(Default)]
pub struct Cloud {
    pub machines: Mutex<BTreeMap<String, Machine>>,
    pub deploys: Mutex<BTreeMap<String, Deploy>>,
    /// Address that every machine gets, instead of one of its own.
    pub address: Mutex<Option<String>>,
    /// How many cancels have no effect before one has.
    pub stubborn: Mutex<usize>,
    /// Whether `list` works.
    pub lists: Mutex<bool>,
    /// Number of deploys that were asked for.
    pub asked: Mutex<usize>,
    pub configurable: bool,
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub key: String,
    pub name: String,
    pub address: String,
}

impl Cloud {
    pub fn bill(&self) -> Vec<String> {
        self.machines.lock().unwrap().keys().cloned().collect()
    }

    fn make(&self, call: &Call) -> DeployId {
        assert_eq!(secret(call), Some(SECRET), "a driver gets its credentials");
        let mut machines = self.machines.lock().unwrap();
        let id = format!("m-{}", call.host.template.text("PROVISION/HOSTNAME").unwrap());
        let address = self.address.lock().unwrap().clone();
        let machine = Machine {
            key: call.key.clone(),
            name: call.host.name.clone(),
            address: address.unwrap_or_else(|| format!("10.0.0.{}", machines.len() + 1)),
        };
        let twice = machines.insert(id.clone(), machine);
        assert!(twice.is_none(), "{id} was bought twice");
        DeployId::new(&id).unwrap()
    }
}

fn secret(call: &Call) -> Option<&str> {
    call.host.template.get("PROVISION/CLOUD_TOKEN")?.expose()
}

pub struct CloudDriver(pub Arc<Cloud>);

fn error(kind: FailureKind, message: &str) -> DriverError {
    DriverError::new(kind, message)
}

#[async_trait]
impl Driver for CloudDriver {
    fn describe(&self) -> Description {
        Description {
            name: "cloud".into(),
            summary: String::new(),
            configurable: self.0.configurable,
            location: None,
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        *self.0.asked.lock().unwrap() += 1;
        let name = call.host.template.text("PROVISION/HOSTNAME").unwrap().to_owned();
        let how = self.0.deploys.lock().unwrap().get(&name).cloned();
        match how {
            None => Ok(self.0.make(call)),
            Some(Deploy::Refuse) => Err(error(FailureKind::Definite, "quota exceeded")),
            Some(Deploy::LoseAnswer) => {
                self.0.make(call);
                Err(error(FailureKind::Unknown, "no answer within 30 s"))
            }
            Some(Deploy::NameThenFail) => {
                let deploy_id = Some(self.0.make(call));
                Err(DriverError { deploy_id, ..error(FailureKind::Unknown, "boot failed") })
            }
            Some(Deploy::Hang) => {
                self.0.make(call);
                std::future::pending().await
            }
        }
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        assert_eq!(secret(call), Some(SECRET), "a driver gets its credentials");
        let mut stubborn = self.0.stubborn.lock().unwrap();
        if *stubborn > 0 {
            *stubborn -= 1;
            return Ok(());
        }
        match self.0.machines.lock().unwrap().remove(id.as_str()) {
            Some(_) => Ok(()),
            None => Err(error(FailureKind::NotFound, "no such machine")),
        }
    }

    async fn poll(&self, _: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        match self.0.machines.lock().unwrap().get(id.as_str()) {
            Some(machine) => Ok(PollReport {
                state: Some(MachineState::Active),
                addresses: vec![machine.address.clone()],
                attributes: Attributes::new(),
            }),
            None => Err(error(FailureKind::NotFound, "no such machine")),
        }
    }

    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
        Ok(())
    }

    async fn list(&self, _: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        if !*self.0.lists.lock().unwrap() {
            return Err(error(FailureKind::Unsupported, "no list"));
        }
        let machines = self.0.machines.lock().unwrap();
        let list = machines.iter().map(|(id, machine)| ListedMachine {
            id: DeployId::new(id).unwrap(),
            attributes: Attributes::from_iter([
                ("KEY".to_owned(), machine.key.as_str().into()),
                ("NAME".to_owned(), machine.name.as_str().into()),
            ]),
        });
        Ok(list.collect())
    }
}

struct Source(Arc<Cloud>);

impl DriverSource for Source {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        match name {
            "cloud" => Ok(Arc::new(CloudDriver(Arc::clone(&self.0)))),
            other => Err(format!("no driver {other}")),
        }
    }
}

/// Counts the calls to the front-end.
#[derive(Default)]
pub struct Counter {
    pub reads: Mutex<BTreeMap<String, usize>>,
    pub writes: Mutex<BTreeMap<String, usize>>,
}

impl CallObserver for Counter {
    fn finished(&self, call: &CallRecord<'_>) {
        let counts = match call.effect {
            Effect::Read => &self.reads,
            Effect::Write => &self.writes,
        };
        *counts.lock().unwrap().entry(call.method.to_owned()).or_default() += 1;
    }
}

pub struct World {
    pub cloud: Arc<Cloud>,
    pub client: Client,
    pub calls: Arc<Counter>,
    pub journal: Arc<MemoryJournal>,
    pub engine: Engine,
    pub bomb: Arc<Bomb>,
    _folder: tempfile::TempDir,
}

/// The credential of every host: no object of the front-end and no journal may have it in clear.
pub const SECRET: &str = "s3cret-token-of-the-cloud";

pub const ID: &str = "11111111-2222-4333-8444-555555555555";

impl World {
    pub fn new() -> Self {
        Self::with(Cloud { lists: Mutex::new(true), ..Cloud::default() })
    }

    pub fn with(cloud: Cloud) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Arc::new(cloud);
        let sandbox = Sandbox::in_memory(SandboxSettings {
            async_delay: Duration::ZERO,
            ..SandboxSettings::default()
        })
        .unwrap();
        let credentials = Credentials::parse(&sandbox.session()).unwrap();
        let calls = Arc::new(Counter::default());
        let bomb = Arc::new(Bomb::default());
        let transport = Arc::new(SandboxTransport::new(sandbox));
        // The test's own look at the front-end is neither counted nor killed.
        let transport: Arc<dyn Transport> = transport;
        let client =
            Client::new(Arc::clone(&transport), credentials.clone(), ClientSettings::default());
        let journal = Arc::new(MemoryJournal::new());
        let drivers = Arc::new(Source(Arc::clone(&cloud)));
        let engine = Engine {
            journal: Arc::new(CrashJournal(Arc::clone(&journal), Arc::clone(&bomb))),
            leases: folder.path().join("leases"),
            opennebula: Client::observed(
                Arc::new(CrashTransport(transport, Arc::clone(&bomb))),
                credentials,
                ClientSettings::default(),
                Arc::clone(&calls) as _,
            ),
            endpoint: "sandbox".into(),
            drivers: Arc::new(CrashDrivers(drivers, Arc::clone(&bomb))),
            observer: Arc::new(Silent),
            failover: Arc::new(LeaveFailed),
            clock: Arc::new(SystemClock),
            stop: Stop::new(),
            settings: Settings::default(),
        };
        Self { cloud, client, calls, journal, engine, bomb, _folder: folder }
    }

    pub fn id(&self) -> ProvisionId {
        ID.parse().unwrap()
    }

    pub fn deploys(&self, host: &str, how: Deploy) {
        self.cloud.deploys.lock().unwrap().insert(host.to_owned(), how);
    }

    pub fn request(&self, template: &str) -> CreateRequest {
        let spec = spec(template);
        CreateRequest {
            id: self.id(),
            template: "/t.yaml".into(),
            digest: String::new(),
            options: CreateOptions::default(),
            public_keys: vec![None; spec.hosts.len()],
            spec,
        }
    }

    pub async fn create(&self, hosts: &[&str]) -> engine::Report {
        let report = self.engine.create(self.request(&template(hosts))).await.unwrap();
        self.check(&report.record).await;
        report
    }

    pub async fn delete(&self) -> engine::Report {
        let request = engine::DeleteRequest { id: self.id(), hosts: None };
        let report = self.engine.delete(request).await.unwrap();
        self.check(&report.record).await;
        report
    }

    /// Runs an operation with the bomb at a point. `None` if it was killed there.
    pub async fn until<T: Send + 'static>(
        &self,
        point: usize,
        operation: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.bomb.arm(point);
        let task = tokio::spawn(operation);
        let abort = task.abort_handle();
        let ended = tokio::select! {
            ended = task => Some(ended.unwrap()),
            () = self.bomb.exploded() => {
                // Dropping the operation drops its hosts' tasks with it.
                abort.abort();
                None
            }
        };
        self.bomb.disarm();
        // The lease goes with the last task of the operation, dropped at its next turn.
        while journal::Lease::is_held(&self.engine.leases, self.id()) {
            tokio::task::yield_now().await;
        }
        ended
    }

    pub async fn resume(&self) -> engine::Report {
        let report = self.engine.resume(self.resume_request()).await.unwrap();
        self.check(&report.record).await;
        report
    }

    pub fn resume_request(&self) -> engine::ResumeRequest {
        let spec = Some(spec(&template(&["a", "b"])));
        engine::ResumeRequest { id: self.id(), spec, public_keys: Vec::new() }
    }

    /// What holds after every operation, however it ended.
    pub async fn check(&self, record: &journal::ProvisionRecord) {
        let refolded = self.engine.journal.record(record.id).await.unwrap().unwrap();
        assert_eq!(&refolded, record, "the folded state is the refolded events");
        let may_exist = record.hosts.values().filter(|h| h.machine.may_exist()).count();
        let entries = self.engine.journal.entries(record.id).await.unwrap();
        let journal: Vec<String> =
            entries.iter().map(|e| serde_json::to_string(&e.event).unwrap()).collect();
        assert!(!journal.concat().contains(SECRET), "a secret in the journal");
        for host in self.client.hosts().pool().await.unwrap() {
            assert!(!format!("{host:?}").contains(SECRET), "a secret in {}", host.name);
        }
        let bill = self.cloud.bill();
        assert!(bill.len() <= may_exist, "{bill:?} is billed and {may_exist} are known of");
    }
}

pub fn template(hosts: &[&str]) -> String {
    let mut text = String::from(
        "name: web\nplaybook: []\ndefaults: {provision: {driver: cloud}}\n\
         datastores:\n- {name: '<%= @name %>-images', ds_mad: fs, tm_mad: ssh}\n\
         networks:\n- {name: web-net, vn_mad: dummy, bridge: br0, \
         note: \"<%= @datastores[0]['ID'] %>\", ar: [{ip: 10.1.0.1, size: 9, type: IP4}]}\n\
         hosts:\n",
    );
    for host in hosts {
        text += &format!(
            "- {{im_mad: kvm, vm_mad: kvm, provision: {{hostname: {host}, cloud_token: {SECRET}}}}}\n"
        );
    }
    text
}

struct Text<'a>(&'a str);

impl template::SourceReader for Text<'_> {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

fn spec(text: &str) -> template::Spec {
    let loaded = template::load(Path::new("t.yaml"), &Text(text), &template::Options::default());
    let findings: Vec<String> =
        loaded.diagnostics.iter().map(|d| template::render(d, &loaded.sources)).collect();
    loaded.spec.unwrap_or_else(|| panic!("{}", findings.join("\n")))
}
