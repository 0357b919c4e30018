//! One operation on one provision: its record, and the only way to change it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use journal::{Event, HostRecord, IntentId, Lease, Outcome, ProvisionRecord, Step, Subject};
use model::{HostKey, ProvisionId};

use crate::{Decision, Engine, EngineError, Note};

/// The record under work. Every change goes through [`Session::commit`]: first durable, then true,
/// then told.
pub(crate) struct Session {
    pub id: ProvisionId,
    engine: Engine,
    record: Mutex<ProvisionRecord>,
    intents: AtomicU64,
    /// How often each subject has failed in this operation.
    failures: Mutex<BTreeMap<Subject, u32>>,
    _lease: Lease,
}

impl Session {
    pub fn new(engine: &Engine, record: ProvisionRecord, lease: Lease) -> Self {
        Self {
            id: record.id,
            engine: engine.clone(),
            intents: AtomicU64::new(record.next_intent().0),
            record: Mutex::new(record),
            failures: Mutex::default(),
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

    pub fn note(&self, note: Note) {
        self.engine.observer.note(&self.record(), &note);
    }

    pub async fn commit(&self, events: Vec<Event>) -> Result<(), EngineError> {
        if events.is_empty() {
            return Ok(());
        }
        let at = self.engine.clock.now();
        self.engine.journal.append(self.id, at, events.clone()).await?;
        let mut record = self.record();
        for event in &events {
            let ended = match event {
                Event::Outcome { id, outcome } => record.open_step(*id).map(|open| (open, outcome)),
                _ => None,
            };
            record.apply(at, event);
            match ended {
                Some(((subject, step), outcome)) => {
                    self.engine.observer.outcome(&record, subject, step, outcome);
                }
                None => self.engine.observer.event(&record, event),
            }
        }
        Ok(())
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

    /// Asks what to do about a failure.
    pub async fn decide(&self, subject: Subject, failure: &str) -> Decision {
        let attempt = {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let attempt = failures.entry(subject).or_default();
            *attempt += 1;
            *attempt
        };
        let record = self.record().clone();
        self.engine.failover.decide(&record, subject, failure, attempt).await
    }
}
