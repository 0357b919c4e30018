//! What of a host's life is one commit, and for which commits nobody waits.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use engine::Engine;
use journal::{Entry, Event, IntentId, Journal, JournalError, Outcome, Subject};
use model::{HostKey, ProvisionId};
use testkit::world::{World, template};

/// A journal that remembers what was appended together.
struct Scribe {
    journal: Arc<dyn Journal>,
    commits: Mutex<Vec<String>>,
    steps: Mutex<BTreeMap<IntentId, (Subject, &'static str)>>,
}

impl Scribe {
    /// An event of the host, in a word.
    fn word(&self, event: &Event, host: HostKey) -> Option<String> {
        let mut steps = self.steps.lock().unwrap();
        match event {
            Event::Intent { id, subject, step, .. } => {
                steps.insert(*id, (*subject, step.as_str()));
                (*subject == Subject::Host(host)).then(|| format!("intent {}", step.as_str()))
            }
            Event::Outcome { id, outcome: Outcome::Done(_) } => {
                let (subject, step) = steps[id];
                (subject == Subject::Host(host)).then(|| format!("done {step}"))
            }
            Event::Addressed { host: of, .. } => (*of == host).then(|| "addressed".to_owned()),
            _ => None,
        }
    }

    fn note(&self, events: &[Event], leisure: bool) {
        let words: Vec<_> = events.iter().filter_map(|e| self.word(e, HostKey(0))).collect();
        if !words.is_empty() {
            let how = if leisure { " (at leisure)" } else { "" };
            self.commits.lock().unwrap().push(words.join(" + ") + how);
        }
    }
}

#[async_trait]
impl Journal for Scribe {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.note(&events, false);
        self.journal.append(provision, at, events).await
    }

    async fn append_at_leisure(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.note(&events, true);
        self.journal.append(provision, at, events).await
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        self.journal.entries(provision).await
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        self.journal.provisions().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_and_the_intent_that_follows_at_once_are_one_commit() {
    let world = World::new();
    let scribe = Arc::new(Scribe {
        journal: Arc::clone(&world.engine.journal),
        commits: Mutex::default(),
        steps: Mutex::default(),
    });
    let engine = Engine { journal: Arc::clone(&scribe) as _, ..world.engine.clone() };
    engine.create(world.request(&template(&["a", "b", "c"]))).await.unwrap();
    assert_eq!(
        *scribe.commits.lock().unwrap(),
        [
            "intent create",
            "done create (at leisure)",
            "intent deploy",
            "done deploy + intent announce",
            "done announce (at leisure)",
            "addressed + intent enlist",
            "done enlist (at leisure)",
        ]
    );
}
