//! The journal of a run: what a process has written survives it, and what it wrote is watched.
//!
//! Every event goes through its JSON form, as it does on the way to SQLite and back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use journal::{Entry, Event, Journal, JournalError, ProvisionRecord, Step};
use model::{DeployId, ProvisionId};
use tokio::time::Instant;

use crate::faults::{Fault, Faults};
use crate::lock;
use crate::trace::Trace;

/// The disk with the journal.
#[derive(Debug)]
pub struct Disk {
    state: Mutex<State>,
    faults: Arc<Faults>,
    trace: Arc<Trace>,
    /// What must never be written here.
    secrets: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// Folded entry by entry as they came.
    records: BTreeMap<ProvisionId, ProvisionRecord>,
    full_until: Option<Instant>,
    /// The process that works on a provision, from its first write to its end.
    working: BTreeMap<ProvisionId, u64>,
}

impl Disk {
    /// An empty journal.
    pub fn new(faults: Arc<Faults>, trace: Arc<Trace>, secrets: Vec<String>) -> Self {
        Self { state: Mutex::default(), faults, trace, secrets }
    }

    /// The journal as the process of that number has it open.
    pub fn open(self: &Arc<Self>, process: u64) -> DiskJournal {
        DiskJournal { disk: Arc::clone(self), process }
    }

    /// A process has ended, by itself or not.
    pub fn ended(&self, process: u64) {
        lock(&self.state).working.retain(|_, worker| *worker != process);
    }

    /// There is room again.
    pub fn mend(&self) {
        lock(&self.state).full_until = None;
    }

    /// The record as it was folded while it was written.
    pub fn record(&self, id: ProvisionId) -> Option<ProvisionRecord> {
        lock(&self.state).records.get(&id).cloned()
    }

    /// All records.
    pub fn records(&self) -> Vec<ProvisionRecord> {
        lock(&self.state).records.values().cloned().collect()
    }

    /// Whether a deploy with that idempotency key is announced and has no outcome.
    pub fn expects_deploy(&self, key: &str) -> bool {
        self.any_host(|host| {
            let open = host.open.as_ref();
            open.is_some_and(|o| o.step == Step::Deploy && o.key.as_deref() == Some(key))
        })
    }

    /// Whether a cancel of that machine is announced and has no outcome.
    pub fn expects_cancel(&self, id: &DeployId) -> bool {
        self.any_host(|host| {
            let open = host.open.as_ref();
            host.machine.id() == Some(id) && open.is_some_and(|open| open.step == Step::Cancel)
        })
    }

    fn any_host(&self, is: impl Fn(&journal::HostRecord) -> bool) -> bool {
        lock(&self.state).records.values().any(|record| record.hosts.values().any(&is))
    }

    /// Whether anything at all is announced and has no outcome.
    pub fn has_open_intent(&self) -> bool {
        lock(&self.state).records.values().any(|record| {
            record.cluster.open.is_some()
                || record.secrets.open.is_some()
                || record.datastores.values().any(|object| object.open.is_some())
                || record.networks.values().any(|object| object.open.is_some())
                || record.hosts.values().any(|host| host.open.is_some())
        })
    }

    /// Folds everything again and compares.
    pub fn check_fold(&self) {
        let state = lock(&self.state);
        for (id, record) in &state.records {
            let mut refolded = ProvisionRecord::new(*id);
            for entry in state.entries.iter().filter(|entry| entry.provision == *id) {
                refolded.apply(entry.at, &entry.event);
            }
            if refolded != *record {
                self.trace.violation("the folded state is not the refolded events");
            }
        }
    }

    /// Loses the last writes: what a journal without `fsync` does when the power is cut.
    pub fn lose_last(&self, count: usize) {
        let mut state = lock(&self.state);
        let keep = state.entries.len().saturating_sub(count);
        state.entries.truncate(keep);
        let mut records = BTreeMap::new();
        for entry in &state.entries {
            records
                .entry(entry.provision)
                .or_insert_with(|| ProvisionRecord::new(entry.provision))
                .apply(entry.at, &entry.event);
        }
        state.records = records;
    }

    fn is_full(&self, state: &mut State) -> bool {
        if state.full_until.is_none() && self.faults.strike(Fault::DiskFull) {
            let time = self.faults.time(Duration::from_secs(1), Duration::from_secs(600));
            state.full_until = Some(Instant::now() + time);
        }
        if state.full_until.is_some_and(|until| Instant::now() >= until) {
            state.full_until = None;
        }
        state.full_until.is_some()
    }
}

/// A [`Disk`] as one process has it open.
#[derive(Debug)]
pub struct DiskJournal {
    disk: Arc<Disk>,
    process: u64,
}

#[async_trait]
impl Journal for DiskJournal {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        let disk = &self.disk;
        let mut state = lock(&disk.state);
        let worker = *state.working.entry(provision).or_insert(self.process);
        if worker != self.process {
            disk.trace.violation(format_args!(
                "process {} writes while process {worker} works on the same provision",
                self.process
            ));
        }
        if disk.is_full(&mut state) {
            disk.trace.line(format_args!("p{} journal: full", self.process));
            return Err(JournalError::Full { path: PathBuf::from("journal.db") });
        }
        for event in events {
            let json = serde_json::to_string(&event).expect("events can be written as JSON");
            disk.trace.line(format_args!("p{} {json}", self.process));
            if let Some(secret) = disk.secrets.iter().find(|secret| json.contains(*secret)) {
                disk.trace.violation(format_args!("the secret {secret} is in the journal"));
            }
            let event: Event = serde_json::from_str(&json).expect("events can be read again");
            state
                .records
                .entry(provision)
                .or_insert_with(|| ProvisionRecord::new(provision))
                .apply(at, &event);
            let seq = state.entries.last().map_or(1, |last| last.seq + 1);
            state.entries.push(Entry { seq, provision, at, event });
        }
        Ok(())
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        let state = lock(&self.disk.state);
        Ok(state.entries.iter().filter(|entry| entry.provision == provision).cloned().collect())
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        let mut ids = Vec::new();
        for entry in &lock(&self.disk.state).entries {
            if !ids.contains(&entry.provision) {
                ids.push(entry.provision);
            }
        }
        Ok(ids)
    }
}
