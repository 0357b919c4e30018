//! One operation on one provision: its record, and the only way to change it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driver::api::{DriverError, FailureKind};
use journal::{
    Event, HostRecord, IntentId, Journal, Lease, Machine, Outcome, ProvisionRecord, Step, Subject,
};
use model::{DeployId, HostKey, ProvisionId};

use crate::{Decision, Engine, EngineError, Failure, Note};

/// Somebody who appends to the journal on his own, as long as this lives.
pub(crate) struct Writer(Arc<dyn Journal>);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The record under work. Every change goes through [`Session::commit`]: first durable, then true,
/// then told.
pub(crate) struct Session {
    pub id: ProvisionId,
    engine: Engine,
    record: Mutex<ProvisionRecord>,
    intents: AtomicU64,
    /// How often each subject has failed in this operation.
    failures: Mutex<BTreeMap<Subject, u32>>,
    /// Whether an earlier operation worked on this provision.
    resumed: bool,
    /// Machines that drivers named in this operation, and for whom.
    claims: Mutex<BTreeMap<(String, DeployId), HostKey>>,
    /// Machines that OpenNebula has for hosts of others, by driver and id, and whose each is in words.
    others: Mutex<BTreeMap<(String, DeployId), String>>,
    _lease: Lease,
}

impl Session {
    pub fn new(engine: &Engine, record: ProvisionRecord, lease: Lease) -> Self {
        let resumed = record.next_intent() != IntentId(1);
        Self {
            id: record.id,
            engine: engine.clone(),
            intents: AtomicU64::new(record.next_intent().0),
            record: Mutex::new(record),
            failures: Mutex::default(),
            resumed,
            claims: Mutex::default(),
            others: Mutex::default(),
            _lease: lease,
        }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The record for reading. Never held across an await.
    pub fn record(&self) -> MutexGuard<'_, ProvisionRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of a host's record.
    pub fn host(&self, key: HostKey) -> Option<HostRecord> {
        self.record().hosts.get(&key).cloned()
    }

    /// To be held by each of those that commit on their own.
    pub fn writer(&self) -> Writer {
        self.engine.journal.enter();
        Writer(Arc::clone(&self.engine.journal))
    }

    pub fn note(&self, note: Note) {
        self.engine.observer.note(&self.record(), &note);
    }

    pub async fn commit(&self, events: Vec<Event>) -> Result<(), EngineError> {
        if events.is_empty() {
            return Ok(());
        }
        let at = self.engine.clock.now();
        self.engine.journal.append(self.id, at, events.clone()).await?;
        self.hold(at, &events);
        Ok(())
    }

    /// What is durable is true, and told.
    fn hold(&self, at: i64, events: &[Event]) {
        let mut record = self.record();
        for event in events {
            // What was found is numbered before there is a session.
            if let Event::Intent { id, .. } = event {
                self.intents.fetch_max(id.0.saturating_add(1), Ordering::Relaxed);
            }
            let ended = match event {
                Event::Outcome { id, outcome } => record.open_step(*id).map(|open| (open, outcome)),
                _ => None,
            };
            record.apply(at, event);
            match ended {
                // Nothing was made, so that it is taken anew where it is still wanted.
                Some((
                    (Subject::Host(host), step @ (Step::Create | Step::Deploy)),
                    Outcome::Failed { message },
                )) if events.contains(&Event::Retried { host }) => {
                    let note = Note::Undone { host, step, reason: message.clone() };
                    self.engine.observer.note(&record, &note);
                }
                Some(((subject, step), outcome)) => {
                    self.engine.observer.outcome(&record, subject, step, outcome);
                }
                None => self.engine.observer.event(&record, event),
            }
        }
    }

    /// A new intent's number; the caller commits it.
    pub fn draw_intent(&self) -> IntentId {
        IntentId(self.intents.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes down that a step is about to be taken.
    pub async fn intend(
        &self,
        subject: Subject,
        step: Step,
        key: Option<String>,
    ) -> Result<IntentId, EngineError> {
        let id = self.draw_intent();
        self.commit(vec![Event::Intent { id, subject, step, key }]).await?;
        Ok(id)
    }

    /// Writes down what came of it.
    pub async fn outcome(&self, id: IntentId, outcome: Outcome) -> Result<(), EngineError> {
        self.commit(vec![Event::Outcome { id, outcome }]).await
    }

    /// The same where nobody waits for it: many of them are one commit.
    pub async fn outcome_at_leisure(
        &self,
        id: IntentId,
        outcome: Outcome,
    ) -> Result<(), EngineError> {
        let events = vec![Event::Outcome { id, outcome }];
        let at = self.engine.clock.now();
        self.engine.journal.append_at_leisure(self.id, at, events.clone()).await?;
        self.hold(at, &events);
        Ok(())
    }

    /// Whether something may have been done to a subject before, by this operation or an earlier one.
    pub fn was_tried(&self, subject: Subject) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        self.resumed || failures.contains_key(&subject)
    }

    /// Takes note that a driver named this machine for a host.
    ///
    /// # Errors
    /// With the other host in words, if that machine is another one's: then it is not this one's.
    pub fn claim(&self, host: HostKey, machine: &DeployId) -> Result<(), String> {
        let record = self.record();
        let driver = record.hosts.get(&host).map(|host| host.driver.clone()).unwrap_or_default();
        if let Some(owner) = record.owner(&driver, machine).filter(|owner| *owner != host) {
            return Err(format!("host {owner}"));
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let claim = (driver, machine.clone());
        if let Some(whose) = others.get(&claim) {
            return Err(whose.clone());
        }
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = *claims.entry(claim.clone()).or_insert(host);
        let is_over = record.hosts.get(&owner).is_none_or(|owner| owner.machine == Machine::Gone);
        if owner != host && !is_over {
            return Err(format!("host {owner}"));
        }
        claims.insert(claim, host);
        Ok(())
    }

    /// Takes note of the machines of others.
    pub fn set_others(&self, machines: BTreeMap<(String, DeployId), String>) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = machines;
    }

    /// A driver's answer, with an id of another host's machine taken for what it is: no answer.
    pub fn claimed(
        &self,
        host: HostKey,
        answer: Result<DeployId, DriverError>,
    ) -> Result<DeployId, DriverError> {
        let named = match &answer {
            Ok(id) => Some(id.clone()),
            Err(error) => error.deploy_id.clone(),
        };
        match named.map(|id| (self.claim(host, &id), id)) {
            Some((Err(owner), id)) => Err(DriverError::new(
                FailureKind::Unknown,
                format!("the driver answered with machine {id}, which is that of {owner}"),
            )),
            _ => answer,
        }
    }

    /// Asks what to do about a failure.
    pub async fn decide(&self, subject: Subject, message: &str) -> Decision {
        let attempt = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = failures.entry(subject).or_default();
            *attempt += 1;
            *attempt
        };
        let name = match subject {
            Subject::Host(key) => self.record().called(key).map(str::to_owned),
            _ => None,
        };
        let failure = Failure { subject, name: name.as_deref(), message, attempt };
        self.engine.failover.decide(&failure).await
    }
}
