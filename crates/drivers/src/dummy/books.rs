//! The ledger as many calls use it at once: what they want of it meanwhile is one transaction.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use driver::{DriverError, FailureKind};
use tokio::sync::oneshot;

use super::ledger::{Ledger, LedgerError};
use super::{failed, of_ledger};

/// What is wanted of the ledger. It is told at the end whether that was written.
type Entry = Box<dyn FnOnce(Result<&mut Ledger, DriverError>) -> Answer + Send>;
type Answer = Box<dyn FnOnce(Result<(), DriverError>) + Send>;

/// The ledger, opened when it is needed first, and those who wait for it.
#[derive(Clone)]
pub(super) struct Books {
    state_dir: PathBuf,
    ledger: Arc<Mutex<Option<Ledger>>>,
    waiting: Arc<Mutex<Vec<Entry>>>,
}

impl Books {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), ledger: Arc::default(), waiting: Arc::default() }
    }

    /// Does something with the ledger; `None` if the thread that should have done it died.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Option<Result<T, DriverError>> {
        let (sender, answer) = oneshot::channel();
        let entry: Entry = Box::new(move |ledger| {
            let done = ledger.and_then(|ledger| act(ledger).map_err(|error| of_ledger(&error)));
            Box::new(move |written| {
                // Who has gone need not be told.
                let _ = sender.send(written.and(done));
            })
        });
        let first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(entry);
            waiting.len() == 1
        };
        if first {
            let books = self.clone();
            tokio::task::spawn_blocking(move || books.serve());
        }
        answer.await.ok()
    }

    /// Serves all who wait when the ledger is free; who comes later is the first of the next ones.
    fn serve(&self) {
        let mut slot = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut answers: Vec<Answer> = Vec::with_capacity(all.len());
        let written = match slot.take().map_or_else(|| Ledger::open(&self.state_dir), Ok) {
            Ok(ledger) => slot.insert(ledger).together(|ledger| {
                answers.extend(all.drain(..).map(|entry| entry(Ok(&mut *ledger))));
            }),
            Err(error) => Err(error),
        };
        drop(slot);
        let written = written.map_err(|error| of_ledger(&error));
        // Those that nothing could be done for.
        let untouched = all.into_iter().map(|entry| match &written {
            Ok(()) => entry(Err(failed(FailureKind::Unknown, "the ledger passed over it"))),
            Err(error) => entry(Err(error.clone())),
        });
        answers.extend(untouched);
        for answer in answers {
            answer(written.clone());
        }
    }
}
