//! What of a host's life is one commit, and for which commits nobody waits.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use engine::Engine;
use journal::{Entry, Event, IntentId, Journal, JournalError, Outcome, Subject};
use model::{HostKey, ProvisionId};
use testkit::cloud::{Cloud, Temper, Timing};
use testkit::world::{World, template};

/// A journal that remembers what was appended together.
struct Scribe {
    journal: Arc<dyn Journal>,
    commits: Mutex<Vec<String>>,
    steps: Mutex<BTreeMap<IntentId, (Subject, &'static str)>>,
    /// How late it tells that an event that came alone is durable.
    late: Duration,
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
        let alone = events.len() == 1;
        self.journal.append(provision, at, events).await?;
        if alone {
            tokio::time::sleep(self.late).await;
        }
        Ok(())
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
        late: Duration::ZERO,
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
            "done announce",
            "addressed + intent enlist",
            "done enlist (at leisure)",
        ]
    );
}

/// Machines that take a second to boot.
struct Slow;

impl Temper for Slow {
    fn timing(&self) -> Timing {
        Timing { boot: Duration::from_secs(1), ..Timing::default() }
    }
}

/// What a look finds is appended when the outcome before it is known to be durable: told in another order
/// than the journal's, the two would make another record of the host.
#[tokio::test(start_paused = true)]
async fn what_a_look_finds_later_is_appended_after_the_outcome_of_the_announcement() {
    let world = World::with(Cloud { temper: Arc::new(Slow), ..Cloud::listing() });
    let scribe = Arc::new(Scribe {
        journal: Arc::clone(&world.engine.journal),
        commits: Mutex::default(),
        steps: Mutex::default(),
        late: Duration::from_secs(5),
    });
    let engine = Engine { journal: Arc::clone(&scribe) as _, ..world.engine.clone() };
    let report = engine.create(world.request(&template(&["a", "b", "c"]))).await.unwrap();
    let commits = scribe.commits.lock().unwrap().clone();
    let last = ["done announce", "addressed + intent enlist", "done enlist (at leisure)"];
    assert_eq!(commits[commits.len() - 3..], last, "{commits:?}");
    world.check(&report.record).await;
}
