//! The engine in this process, between neighbours that cost next to nothing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use configure::{Configure, Done, Machine, Patience, Plan, Run, Trouble, Watch};
use engine::observe::Silent;
use engine::{CreateRequest, DeleteRequest, Engine, LeaveFailed, Settings, Stop, SystemClock};
use journal::{CreateOptions, Event, MemoryJournal, ProvisionRecord};
use model::{ProvisionId, Secret};
use opennebula::{Client, ClientSettings, Credentials};
use serde::{Deserialize, Serialize};
use template::{Options, SourceReader, Spec};

use crate::cloud::{Cloud, CloudDriver};
use crate::failure::{Because as _, Result};
use crate::stub::{Object, Stub};

/// Id of the one provision.
const ID: &str = "11111111-2222-4333-8444-555555555555";
/// Its template, but for the number of hosts.
const TEMPLATE: &str = "name: bench\nplaybook: []\ndefaults: {provision: {driver: cloud}}\nhosts:\n\
                        - {im_mad: kvm, vm_mad: kvm, provision: {hostname: bench-0}}\n";

/// The engine and its neighbours.
pub struct Room {
    /// The engine.
    pub engine: Engine,
    /// The provider.
    pub cloud: Arc<Cloud>,
    /// The front-end.
    pub stub: Arc<Stub>,
    _folder: tempfile::TempDir,
}

/// Nothing is configured here.
struct NoConfigure;

#[async_trait]
impl Configure for NoConfigure {
    async fn check(&self, _: &Plan) -> std::result::Result<Vec<String>, Vec<Trouble>> {
        Ok(Vec::new())
    }

    async fn reach(
        &self,
        _: ProvisionId,
        _: &Machine,
        _: Patience,
        _: &dyn Watch,
    ) -> std::result::Result<(), Trouble> {
        Ok(())
    }

    async fn run(&self, run: &Run, _: &dyn Watch) -> Vec<std::result::Result<Done, Trouble>> {
        run.machines.iter().map(|_| Ok(Done { changed: 0 })).collect()
    }

    async fn default_nic(
        &self,
        _: ProvisionId,
        _: &Machine,
    ) -> std::result::Result<String, Trouble> {
        Ok("eth0".to_owned())
    }

    fn forget(&self, _: ProvisionId, _: &str) {}

    fn discard(&self, _: ProvisionId) {}
}

/// A line of what one process leaves to the next: something of the journal, of the front-end or of the provider.
#[derive(Serialize, Deserialize)]
enum Left {
    Event(i64, Event),
    Object(String, i32, Object),
    Machine([String; 4]),
}

struct Text(&'static str);

impl SourceReader for Text {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

impl Room {
    /// With that provider, of which so many calls at a time are made.
    ///
    /// # Errors
    /// If there is no place for a temporary folder.
    pub fn new(cloud: Cloud, threads: usize) -> Result<Self> {
        let folder = tempfile::tempdir().because("no temporary folder")?;
        let cloud = Arc::new(cloud);
        let stub = Arc::new(Stub::default());
        let credentials = Credentials::parse(&Secret::new("oneadmin:opennebula".to_owned()));
        let credentials = credentials.because("the credentials")?;
        let engine = Engine {
            journal: Arc::new(MemoryJournal::new()),
            leases: folder.path().join("leases"),
            opennebula: Client::new(Arc::clone(&stub) as _, credentials, ClientSettings::default()),
            endpoint: "stub".to_owned(),
            drivers: Arc::new(CloudDriver(Arc::clone(&cloud))),
            configure: Arc::new(NoConfigure),
            secrets: None,
            observer: Arc::new(Silent),
            failover: Arc::new(LeaveFailed),
            clock: Arc::new(SystemClock),
            stop: Stop::new(),
            settings: Settings { threads, account_threads: threads, ..Settings::default() },
            accounts: Arc::default(),
        };
        Ok(Self { engine, cloud, stub, _folder: folder })
    }

    /// Writes down all that a create leaves, for a process that deletes it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn leave(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path).because(path.display())?);
        let mut write = |left: &Left| {
            serde_json::to_writer(&mut file, left).because(path.display())?;
            file.write_all(b"\n").because(path.display())
        };
        for entry in self.engine.journal.entries(Self::id()?).await.because("the journal")? {
            write(&Left::Event(entry.at, entry.event))?;
        }
        self.stub
            .each(|kind, id, object| write(&Left::Object(kind.to_owned(), id, object.clone())))?;
        self.cloud.each(|machine| write(&Left::Machine(machine.map(str::to_owned))))?;
        file.flush().because(path.display())
    }

    /// Takes over what another process left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn take_over(&self, path: &Path) -> Result<()> {
        for line in BufReader::new(File::open(path).because(path.display())?).lines() {
            match serde_json::from_str(&line.because(path.display())?).because(path.display())? {
                Left::Event(at, event) => {
                    let appended = self.engine.journal.append(Self::id()?, at, vec![event]);
                    appended.await.because("the journal")?;
                }
                Left::Object(kind, id, object) => self.stub.take(&kind, id, object),
                Left::Machine(machine) => self.cloud.take(machine),
            }
        }
        Ok(())
    }

    fn id() -> Result<ProvisionId> {
        ID.parse().map_err(|_| "the id of the provision".into())
    }

    /// A create of so many hosts.
    ///
    /// # Errors
    /// If the template is not one.
    pub fn request(&self, hosts: usize) -> Result<CreateRequest> {
        let loaded = template::load(Path::new("t.yaml"), &Text(TEMPLATE), &Options::default());
        let mut spec: Spec = loaded.spec.because("the template of the benchmark has mistakes")?;
        let one = spec.hosts.pop().because("the template of the benchmark has no host")?;
        spec.hosts = (0..hosts)
            .map(|n| {
                let mut host = one.clone();
                host.hostname = format!("bench-{n}");
                host.provision.set("HOSTNAME", host.hostname.as_str());
                host
            })
            .collect();
        Ok(CreateRequest {
            id: Self::id()?,
            template: "/t.yaml".into(),
            digest: String::new(),
            options: CreateOptions::default(),
            public_keys: vec![None; hosts],
            spec,
        })
    }

    /// The delete of it.
    ///
    /// # Errors
    /// Never, unless the id of the benchmark is none.
    pub fn delete_request(&self) -> Result<DeleteRequest> {
        Ok(DeleteRequest { id: Self::id()?, hosts: None, cleanup: None })
    }
}

/// Runs something in virtual time, on this thread.
///
/// # Errors
/// Its own.
pub fn virtual_time<T>(what: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .because("no runtime")?;
    runtime.block_on(what)
}

/// A figure of a create that did not do its work would be none.
///
/// # Errors
/// If not all hosts are enabled.
pub fn check_all_enabled(record: &ProvisionRecord, hosts: usize) -> Result<()> {
    let failed = record.hosts.values().find_map(|host| host.failure.clone());
    if let Some(failure) = failed {
        return Err(format!("a host failed: {failure:?}").into());
    }
    match record.hosts.len() == hosts && record.machines() == hosts {
        true => Ok(()),
        false => Err(format!("{} of {hosts} machines were made", record.machines()).into()),
    }
}
