//! The journal of simulations: the same rules, no disk.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use model::ProvisionId;

use crate::{Entry, Event, Journal, JournalError};

/// A journal that lives as long as the process.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<Vec<Entry>>);

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    fn read<T>(&self, read: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        read(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.read(|entries| {
            for event in events {
                let seq = entries.last().map_or(1, |last| last.seq + 1);
                entries.push(Entry { seq, provision, at, event });
            }
        });
        Ok(())
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        Ok(self.read(|entries| {
            entries.iter().filter(|entry| entry.provision == provision).cloned().collect()
        }))
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        Ok(self.read(|entries| {
            let mut ids = Vec::new();
            for entry in entries.iter() {
                if !ids.contains(&entry.provision) {
                    ids.push(entry.provision);
                }
            }
            ids
        }))
    }
}
