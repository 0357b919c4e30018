//! Host objects in OpenNebula, and the loop of each host.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `register` | the objects made, and read back before anything is bought |
//! | `drive` | the loop of each host |
//! | `enlist` | what an object is told of its machine |
//! | `configure` | reached, configured, told so |
//! | `power` | poweroff, resume, reboot |
//! | `removal` | the object's end |

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use driver::api::Driver;
use driver::deployment::DeploymentFile;
use journal::{Event, Fact, HostRecord, IntentId, Outcome, Step, Subject};
use model::{Attributes, HostKey};
use opennebula::Error;
use tokio::sync::OnceCell;
use tokio::task::{JoinError, JoinSet};

use crate::error::describe;
use crate::machines::Marked;
use crate::planner::{Goal, Next, next};
use crate::session::Session;
use crate::slots::Slots;
use crate::{EngineError, Stop};

mod configure;
mod drive;
mod enlist;
mod power;
mod register;
mod removal;

pub(crate) use configure::{Configuration, Gather, alias, is_vcenter};
pub(crate) use enlist::rewritten;

/// What is needed to work on a host, beyond its record.
pub(crate) struct HostWork {
    pub driver: Arc<dyn Driver>,
    /// The host as the template or OpenNebula has it, credentials included.
    pub file: DeploymentFile,
    /// Its template as OpenNebula keeps it, with references in place of the credentials.
    pub stored: Attributes,
    /// This process has read its object, and it is the provision's: by its mark or, where that was taken away, by
    /// its name.
    pub marked: bool,
    /// How the machine is configured before it is used; not at all if the driver makes none on which
    /// that can be done.
    pub configuration: Configuration,
}

/// One operation: the session, its hosts, and the limits of driver calls.
pub(crate) struct Work {
    pub session: Arc<Session>,
    pub hosts: BTreeMap<HostKey, HostWork>,
    pub slots: Slots,
    /// What is wanted of its hosts, but for those that are removed.
    wanted: Goal,
    /// Raised by the decision to quit or to clean up: nothing new is begun.
    halt: Stop,
    /// The decision to remove everything.
    cleanup: AtomicBool,
    /// Hosts that were taken out of the provision.
    skipped: AtomicUsize,
    /// Hosts on their way to a playbook.
    gather: Gather,
    /// What drivers listed, by account.
    pub(crate) listed: Mutex<BTreeMap<Option<usize>, Arc<OnceCell<Marked>>>>,
    /// Why the first host could not be asked for its network interface: once is enough.
    pub(crate) no_nic: Mutex<Option<String>>,
}

impl Work {
    pub fn new(session: Arc<Session>, hosts: BTreeMap<HostKey, HostWork>, wanted: Goal) -> Self {
        let engine = session.engine();
        let (command, account) = (engine.settings.threads, engine.settings.account_threads);
        let slots = Slots::new(&hosts, command, &engine.accounts, account);
        Self {
            session,
            hosts,
            slots,
            wanted,
            halt: Stop::new(),
            cleanup: AtomicBool::new(false),
            skipped: AtomicUsize::new(0),
            gather: Gather::default(),
            listed: Mutex::default(),
            no_nic: Mutex::default(),
        }
    }

    /// Whether everything is to be removed.
    pub fn is_cleanup(&self) -> bool {
        self.cleanup.load(Ordering::Relaxed)
    }

    /// Number of hosts that were taken out of the provision.
    pub fn skipped(&self) -> usize {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Whether nothing new may be begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.halt.requested() || self.session.engine().stop.requested()
    }

    /// Waits until nothing new may be begun.
    pub(crate) async fn stopping(&self) {
        tokio::select! {
            biased;
            () = self.halt.wait() => {}
            () = self.session.engine().stop.wait() => {}
        }
    }

    /// Waits for the tasks of all hosts. `fatal` is what ended the operation already.
    pub(super) async fn join(
        &self,
        mut tasks: JoinSet<Result<(), EngineError>>,
        mut fatal: Option<EngineError>,
    ) -> Result<(), EngineError> {
        while let Some(ended) = tasks.join_next().await {
            self.heed(ended, &mut fatal);
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Takes note of how a host's task ended.
    fn heed(
        &self,
        ended: Result<Result<(), EngineError>, JoinError>,
        fatal: &mut Option<EngineError>,
    ) {
        match ended {
            Ok(Ok(())) => {}
            // What ends the operation stops the others before their next step, and lets the
            // step that they are in come to its end.
            Ok(Err(error)) => {
                self.session.engine().stop.request();
                fatal.get_or_insert(error);
            }
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// What is wanted of a host: also that its machine is configured, if it is to be enabled.
    pub(crate) fn goal(&self, key: HostKey) -> Goal {
        self.goal_of(self.wanted, key)
    }

    /// The same of an operation that wants something else of its hosts.
    pub(crate) fn goal_of(&self, wanted: Goal, key: HostKey) -> Goal {
        let asked = || {
            let record = self.session.record();
            record.hosts.get(&key).is_some_and(|host| host.configuration.asked)
        };
        match wanted {
            Goal::Absent => Goal::Absent,
            wanted if matches!(wanted, Goal::Ready { enable: true, .. }) || asked() => {
                let stages = self.hosts.get(&key).map(|work| work.configuration.stages.len());
                let stages = u32::try_from(stages.unwrap_or(0)).unwrap_or(u32::MAX);
                Goal::Ready { enable: self.hosts.contains_key(&key), stages }
            }
            wanted => wanted,
        }
    }

    /// Notes why a host cannot go on.
    pub(crate) async fn fail(&self, host: &HostRecord, message: &str) -> Result<(), EngineError> {
        let message = message.to_owned();
        self.session.commit(vec![Event::HostFailed { host: host.key, message }]).await
    }

    /// The open intent of a step, or a new one.
    pub(crate) async fn intent(
        &self,
        host: &HostRecord,
        step: Step,
    ) -> Result<IntentId, EngineError> {
        match &host.open {
            Some(open) if open.step == step => Ok(open.id),
            _ => self.session.intend(Subject::Host(host.key), step, None).await,
        }
    }

    /// Commits what came of a write to OpenNebula.
    pub(super) async fn written(
        &self,
        intent: IntentId,
        answer: Result<Fact, Error>,
    ) -> Result<(), EngineError> {
        self.session.outcome(intent, outcome_of(answer)).await
    }

    /// The same where nobody waits for it.
    pub(super) async fn written_at_leisure(
        &self,
        intent: IntentId,
        answer: Result<Fact, Error>,
    ) -> Result<(), EngineError> {
        self.session.outcome_at_leisure(intent, outcome_of(answer)).await
    }

    /// The intent of the step that follows at once, if what is about to be written down of a host comes to
    /// `ahead`: nothing is done between the two, so they are one commit.
    pub(crate) fn intent_ahead(&self, ahead: &HostRecord, goal: Goal) -> Option<Event> {
        let step = match next(ahead, goal) {
            Next::Announce(_) => Step::Announce,
            Next::Enlist(_) if matches!(goal, Goal::Ready { .. }) => Step::Enlist,
            _ => return None,
        };
        let subject = Subject::Host(ahead.key);
        // What is not begun any more is not announced either.
        (!self.is_stopping()).then(|| Event::Intent {
            id: self.session.draw_intent(),
            subject,
            step,
            key: None,
        })
    }
}

/// What came of a write to OpenNebula.
fn outcome_of(answer: Result<Fact, Error>) -> Outcome {
    match answer {
        Ok(fact) => Outcome::Done(fact),
        Err(error) if error.is_unknown() => Outcome::Unknown { evidence: describe(&error) },
        Err(error) => Outcome::Failed { message: describe(&error) },
    }
}
