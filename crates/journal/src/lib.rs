//! The durable record of intents and outcomes: what was about to be done, and what came of it.
//!
//! The rule that this room exists for: **intent before effect, outcome after**. An [`Event::Intent`]
//! is committed, with `fsync`, before any call that changes OpenNebula or the provider; an
//! [`Event::Outcome`] follows. An intent without an outcome is what a killed process leaves behind,
//! and says exactly what has to be looked for.
//!
//! The journal is append-only, but for a provision that cannot be understood any more
//! ([`SqliteJournal::set_aside`]). What a provision *is* follows from its events alone
//! ([`ProvisionRecord::apply`]); states are stored, never code positions, so that a newer program
//! goes on from an older journal.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`event`] | the vocabulary |
//! | [`record`] | the fold: events to [`ProvisionRecord`] |
//! | [`spec`] | the template of a create, as it is kept |
//! | [`power`] | power operations on hosts, as events and fold know them |
//! | [`sqlite`] | the journal on disk, one writer thread, group commit |
//! | [`memory`] | the journal of simulations |
//! | [`lease`] | one process at a time works on a provision |

use async_trait::async_trait;
use model::{ProvisionId, ProvisionState};

pub mod error;
pub mod event;
pub mod lease;
pub mod memory;
pub mod power;
pub mod record;
pub mod spec;
pub mod sqlite;

pub use error::JournalError;
pub use event::{
    CreateBegun, CreateOptions, Event, Fact, IntentId, Layout, ORPHANS, Outcome, Outdated,
    PlannedUpdate, Step, Subject, UpdateBegun, VirtualKind,
};
pub use lease::{Lease, LeaseError};
pub use memory::MemoryJournal;
pub use power::{Power, PowerHost, PowerRecord, PowerResult, PowerTrouble};
pub use record::{
    Configuration, HostRecord, Machine, ObjectRecord, OpenIntent, ProvisionRecord, Told,
};
pub use spec::StoredSpec;
pub use sqlite::{SqliteJournal, Written};

/// One event with its place and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Position in the journal; strictly increasing.
    pub seq: i64,
    /// The provision that it belongs to.
    pub provision: ProvisionId,
    /// Milliseconds since the Unix epoch.
    pub at: i64,
    /// What happened.
    pub event: Event,
}

/// A durable, append-only list of [`Entry`].
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends events in their order, all or none of them, and returns when they are durable.
    ///
    /// # Errors
    /// If they could not be made durable; then no effect that they announce may begin.
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError>;

    /// The same for events that announce no effect and that nobody waits for, such as the outcome of a
    /// host's last step: they may wait some milliseconds for others to go with. What is appended later is
    /// durable no earlier.
    ///
    /// # Errors
    /// As of [`Journal::append`].
    async fn append_at_leisure(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.append(provision, at, events).await
    }

    /// One more of those who append independently of each other is at work, until [`Journal::leave`].
    /// Where many are, a commit may wait some milliseconds for company: each takes the disk from others.
    fn enter(&self) {}

    /// One of them has ended.
    fn leave(&self) {}

    /// All entries of a provision in their order; empty if the journal does not know it.
    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError>;

    /// The provisions that the journal knows, oldest first.
    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError>;

    /// The provisions of which something may be left, oldest first: all whose last word is not that
    /// they are deleted. What a command looks through at its start, so it must not grow with the
    /// years.
    async fn live(&self) -> Result<Vec<ProvisionId>, JournalError> {
        let mut live = Vec::new();
        for id in self.provisions().await? {
            let entries = self.entries(id).await?;
            if !entries.last().is_some_and(|last| is_last_word(&last.event)) {
                live.push(id);
            }
        }
        Ok(live)
    }

    /// The folded state of a provision, `None` if the journal does not know it.
    async fn record(&self, id: ProvisionId) -> Result<Option<ProvisionRecord>, JournalError> {
        let entries = self.entries(id).await?;
        if entries.is_empty() {
            return Ok(None);
        }
        let mut record = ProvisionRecord::new(id);
        for entry in &entries {
            record.apply(entry.at, &entry.event);
        }
        Ok(Some(record))
    }
}

/// Whether nothing is left of a provision after this event.
fn is_last_word(event: &Event) -> bool {
    matches!(event, Event::Ended { state: ProvisionState::Deleted })
}
