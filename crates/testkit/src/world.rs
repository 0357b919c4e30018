//! A cloud with a bill, a front-end in memory, and an engine between them, for tests that say
//! themselves what happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driver::api::Driver;
use engine::observe::Silent;
use engine::update::UpdateRequest;
use engine::{
    CreateRequest, DeleteRequest, Engine, LeaveFailed, Note, Observer, Report, ResumeRequest,
    Settings, Stop, SystemClock,
};
use journal::{CreateOptions, Event, MemoryJournal, Outcome, ProvisionRecord, Step, Subject};
use model::ProvisionId;
use opennebula::xmlrpc::Param;
use opennebula::{
    CallObserver, CallRecord, Client, ClientSettings, Credentials, Effect, Transport,
};
use sandbox::{Sandbox, SandboxSettings, SandboxTransport};

use crate::bomb::{Bomb, KillableConfigure, KillableDrivers, KillableJournal, KillableTransport};
use crate::cloud::{Cloud, CloudDriver, CloudSource, Deploy};
use crate::configurer::Configurer;
use crate::front_end::RefusingTransport;
use crate::{lock, templates, temporary_folder};

/// Counts the calls to the front-end by method.
#[derive(Debug, Default)]
pub struct Counter {
    /// Calls that only read.
    pub reads: Mutex<BTreeMap<String, usize>>,
    /// Calls that change something.
    pub writes: Mutex<BTreeMap<String, usize>>,
}

impl CallObserver for Counter {
    fn finished(&self, call: &CallRecord<'_>) {
        let counts = match call.effect {
            Effect::Read => &self.reads,
            Effect::Write => &self.writes,
        };
        *lock(counts).entry(call.method.to_owned()).or_default() += 1;
    }
}

/// Hears what the engine warns of.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

impl Warnings {
    /// What was heard so far.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

impl Observer for Warnings {
    fn event(&self, _: &ProvisionRecord, _: &Event) {}
    fn outcome(&self, _: &ProvisionRecord, _: Subject, _: Step, _: &Outcome) {}
    fn note(&self, _: &ProvisionRecord, note: &Note) {
        if let Note::Warning(text) = note {
            lock(&self.0).push(text.clone());
        }
    }
}

/// Everything that the engine needs, without chance.
pub struct World {
    /// The provider.
    pub cloud: Arc<Cloud>,
    /// The test's own look at the front-end, neither counted nor killed.
    pub client: Client,
    /// The engine's calls to the front-end.
    pub calls: Arc<Counter>,
    /// What configures machines.
    pub configurer: Arc<Configurer>,
    /// The journal.
    pub journal: Arc<MemoryJournal>,
    /// The engine.
    pub engine: Engine,
    /// What makes the front-end say no to the engine, and not to [`World::client`].
    pub refusing: Arc<RefusingTransport>,
    /// What kills it.
    pub bomb: Arc<Bomb>,
    _folder: tempfile::TempDir,
}

/// The credential of every host: no object of the front-end and no journal may have it in clear.
pub const SECRET: &str = "s3cret-token-of-the-cloud";

/// Id of the provision of a [`World`].
pub const ID: &str = "11111111-2222-4333-8444-555555555555";

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world with a good cloud that has a list.
    pub fn new() -> Self {
        Self::with(Cloud::listing())
    }

    /// A world with that cloud, which wants [`SECRET`] of its drivers.
    pub fn with(cloud: Cloud) -> Self {
        Self::with_front_end(cloud, at_once())
    }

    /// A world with that cloud and that front-end. In virtual time nothing may take its time there:
    /// see [`at_once`].
    pub fn with_front_end(cloud: Cloud, front_end: SandboxSettings) -> Self {
        let cloud = Cloud { credential: Some(SECRET.to_owned()), ..cloud };
        let folder = temporary_folder();
        let cloud = Arc::new(cloud);
        let sandbox = Sandbox::in_memory(front_end).unwrap();
        let credentials = Credentials::parse(&sandbox.session()).unwrap();
        let calls = Arc::new(Counter::default());
        let bomb = Arc::new(Bomb::default());
        let transport: Arc<dyn Transport> = Arc::new(SandboxTransport::new(sandbox));
        let client =
            Client::new(Arc::clone(&transport), credentials.clone(), ClientSettings::default());
        let refusing = Arc::new(RefusingTransport::new(transport));
        let journal = Arc::new(MemoryJournal::new());
        let driver: Arc<dyn Driver> = Arc::new(CloudDriver(Arc::clone(&cloud)));
        let configurer = Arc::new(Configurer::default());
        let engine = Engine {
            configure: Arc::new(KillableConfigure(Arc::clone(&configurer) as _, Arc::clone(&bomb))),
            journal: Arc::new(KillableJournal(Arc::clone(&journal) as _, Arc::clone(&bomb))),
            leases: folder.path().join("leases"),
            opennebula: Client::observed(
                Arc::new(KillableTransport(Arc::clone(&refusing) as _, Arc::clone(&bomb))),
                credentials,
                ClientSettings::default(),
                Arc::clone(&calls) as _,
            ),
            endpoint: "sandbox".into(),
            drivers: Arc::new(KillableDrivers(Arc::new(CloudSource(driver)), Arc::clone(&bomb))),
            secrets: None,
            observer: Arc::new(Silent),
            failover: Arc::new(LeaveFailed),
            clock: Arc::new(SystemClock),
            stop: Stop::new(),
            settings: Settings::default(),
            accounts: Arc::default(),
        };
        Self { cloud, client, refusing, calls, configurer, journal, engine, bomb, _folder: folder }
    }

    /// Hears what the engine warns of from now on.
    pub fn hear_warnings(&mut self) -> Arc<Warnings> {
        let warnings = Arc::new(Warnings::default());
        self.engine.observer = Arc::clone(&warnings) as _;
        warnings
    }

    /// Id of the provision.
    pub fn id(&self) -> ProvisionId {
        ID.parse().unwrap()
    }

    /// From here on the deploys of a host go wrong in this way.
    pub fn deploys(&self, host: &str, how: Deploy) {
        lock(&self.cloud.deploys).insert(host.to_owned(), how);
    }

    /// A call to the front-end that has no typed form, and the id that it answers.
    pub async fn call(&self, method: &str, params: &[Param]) -> i32 {
        let answer = self.client.call(Effect::Write, method, params.to_vec()).await.unwrap();
        answer.as_i32().unwrap()
    }

    /// A create of this template.
    pub fn request(&self, template: &str) -> CreateRequest {
        let spec = templates::load(template);
        CreateRequest {
            id: self.id(),
            template: "/t.yaml".into(),
            digest: String::new(),
            options: CreateOptions::default(),
            public_keys: vec![None; spec.hosts.len()],
            spec,
        }
    }

    /// Creates a provision of [`template()`] and checks it.
    ///
    /// # Panics
    /// If the operation fails or a check does; so do the following.
    pub async fn create(&self, hosts: &[&str]) -> Report {
        let report = self.engine.create(self.request(&template(hosts))).await.unwrap();
        self.check(&report.record).await;
        report
    }

    /// Deletes it and checks it.
    pub async fn delete(&self) -> Report {
        let request = DeleteRequest { id: self.id(), hosts: None, cleanup: None };
        let report = self.engine.delete(request).await.unwrap();
        self.check(&report.record).await;
        report
    }

    /// Resumes it and checks it.
    pub async fn resume(&self) -> Report {
        let report = self.engine.resume(self.resume_request()).await.unwrap();
        self.check(&report.record).await;
        report
    }

    /// A resume with the template of two hosts, `a` and `b`.
    pub fn resume_request(&self) -> ResumeRequest {
        let spec = Some(templates::load(&template(&["a", "b"])));
        ResumeRequest { id: self.id(), spec, public_keys: Vec::new() }
    }

    /// An update to this template, of another file than the one before.
    pub fn update_request(&self, template: &str) -> UpdateRequest {
        let spec = templates::load(template);
        UpdateRequest {
            id: self.id(),
            template: "/u.yaml".into(),
            digest: String::new(),
            public_keys: vec![None; spec.hosts.len()],
            replace: false,
            cleanup: None,
            shown: None,
            spec,
        }
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
        assert_eq!(self.cloud.doubles(), [""; 0], "no host has two machines");
        ended
    }

    /// What holds after every operation, however it ended.
    pub async fn check(&self, record: &ProvisionRecord) {
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
        assert_eq!(self.cloud.doubles(), [""; 0], "no host has two machines");
    }
}

/// A front-end that takes no time to make and to delete things; its clock is the wall's.
pub fn at_once() -> SandboxSettings {
    SandboxSettings { async_delay: Duration::ZERO, ..SandboxSettings::default() }
}

/// A template with those hosts, a datastore, and a network that refers to it.
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
