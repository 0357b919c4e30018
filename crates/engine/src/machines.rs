//! Machines at the provider: asked for, looked for, polled, destroyed.

use std::collections::BTreeMap;
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{
    Call, Driver, DriverError, FailureKind, ListedMachine, ProcessRecord, Unwatched, Watch,
    find_marked,
};
use driver::poll::{MachineState, PollReport};
use journal::{Event, Fact, HostRecord, IntentId, Machine, OpenIntent, Outcome, Step, Subject};
use model::{DeployId, HostId, HostKey};
use tokio::time::{Instant, sleep, sleep_until};

use crate::hosts::{HostWork, Work, alias};
use crate::observe::Note;
use crate::planner::Goal;
use crate::session::Session;
use crate::slots::Begun;
use crate::{EngineError, names};

/// Writes down what a driver says while it runs.
struct JournalWatch {
    session: Arc<Session>,
    intent: IntentId,
    host: HostKey,
    /// The first commit that failed; the operation ends by it once the driver has ended.
    failure: Mutex<Option<EngineError>>,
    /// Whether the outcome is written down already.
    ended: AtomicBool,
}

impl JournalWatch {
    fn new(session: &Arc<Session>, intent: IntentId, host: HostKey) -> Arc<Self> {
        Arc::new(Self {
            session: Arc::clone(session),
            intent,
            host,
            failure: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    async fn commit(&self, event: Event) {
        if let Err(error) = self.session.commit(vec![event]).await {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }
    }

    fn failure(&self) -> Result<(), EngineError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Watch for JournalWatch {
    async fn started(&self, process: &ProcessRecord) {
        // A process record is numbers and a path: it can always be written as JSON.
        if let Ok(process) = serde_json::to_value(process) {
            self.commit(Event::Process { id: self.intent, process }).await;
        }
    }

    async fn deploy_id(&self, id: &DeployId) {
        if self.session.claim(self.host, id).is_err() {
            // Its deploy ends with the same id, and says so.
            return;
        }
        let deploy_id = id.clone();
        self.commit(Event::DeployIdSeen { id: self.intent, host: self.host, deploy_id }).await;
    }

    async fn failed(&self, error: &DriverError) {
        self.commit(Event::Outcome { id: self.intent, outcome: deploy_failed(error) }).await;
        self.ended.store(true, Ordering::Relaxed);
    }

    fn is_written(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// The machines of a list, by the marks that they carry.
#[derive(Default)]
pub(crate) struct Marked {
    keys: BTreeMap<String, DeployId>,
    names: BTreeMap<String, DeployId>,
}

impl Marked {
    fn of(machines: Vec<ListedMachine>) -> Self {
        let mut marked = Self::default();
        for ListedMachine { id, attributes } in machines {
            let text = |key| attributes.text(key).map(str::to_owned);
            marked.keys.extend(text("KEY").map(|key| (key, id.clone())));
            marked.names.extend(text("NAME").map(|name| (name, id)));
        }
        marked
    }

    fn find(&self, call: &Call) -> Option<&DeployId> {
        self.keys.get(&call.key).or_else(|| self.names.get(&call.host.name))
    }
}

/// Which deploy a machine is looked for of.
enum Sought {
    /// One that was interrupted; with the driver's process, if it was written down.
    Interrupted(Option<ProcessRecord>),
    /// One that ended without an answer.
    Unanswered,
}

/// What a poll means for a machine that is to get an address.
enum Look {
    Address(String),
    NotYet(String),
    Bad(String),
}

/// What came of looking for a machine's address.
pub(crate) enum Looked {
    Address(String),
    /// It has none, and why.
    Nothing(String),
    /// The operator asked to stop.
    Stopped,
}

impl Work {
    fn call(&self, host: &HostRecord, work: &HostWork, key: String, deadline: Duration) -> Call {
        let mut file = work.file.clone();
        file.id = host.host_id.map(HostId);
        if let Some(name) = &host.name {
            file.name.clone_from(name);
        }
        if let Some(id) = host.machine.id() {
            file.template.vector_mut("PROVISION").set("DEPLOY_ID", id.as_str());
        }
        Call { key, host: file, deadline, watch: Arc::new(Unwatched) }
    }

    /// A call of an action on a machine that is there.
    fn action(&self, host: &HostRecord, work: &HostWork) -> Call {
        let key = names::deploy_key(self.session.id, host.key, host.attempts);
        self.power_call(host, work, key)
    }

    /// The same under a key of its own, so that a later command finds the driver that runs.
    pub(crate) fn power_call(&self, host: &HostRecord, work: &HostWork, key: String) -> Call {
        let default = self.session.engine().settings.action_deadline;
        self.call(host, work, key, deadline(work, "PROVISION/ACTION_TIMEOUT", default))
    }

    pub(crate) fn deploy_call(&self, host: &HostRecord, work: &HostWork, key: String) -> Call {
        let default = self.session.engine().settings.deploy_deadline;
        self.call(host, work, key, deadline(work, "PROVISION/DEPLOY_TIMEOUT", default))
    }

    /// Asks for a machine. False if the operator asked to stop before the driver had ended: then
    /// the intent stays open, and a later command finds out.
    pub(crate) async fn deploy(&self, host: &HostRecord, goal: Goal) -> Result<bool, EngineError> {
        let Some(work) = self.hosts.get(&host.key) else {
            self.fail(host, "the template has no such host").await?;
            return Ok(true);
        };
        let begun = self.slots.begin(host.key).await;
        if self.is_stopping() {
            return Ok(false);
        }
        // Boxed, so that those who wait for a place take no room for what comes then.
        Box::pin(self.deploy_now(host, work, goal, begun)).await
    }

    async fn deploy_now(
        &self,
        host: &HostRecord,
        work: &HostWork,
        goal: Goal,
        begun: Begun,
    ) -> Result<bool, EngineError> {
        let engine = self.session.engine();
        let key = names::deploy_key(self.session.id, host.key, host.attempts + 1);
        let subject = Subject::Host(host.key);
        let intent = self.session.intend(subject, Step::Deploy, Some(key.clone())).await?;
        let watch = JournalWatch::new(&self.session, intent, host.key);
        let mut call = self.deploy_call(host, work, key);
        call.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        let slot = self.slots.acquire(host.key).await;
        if self.is_stopping() {
            // The driver was not asked, so there is nothing to be found out, and nothing has failed.
            let message = "no machine was asked for: the command stops".to_owned();
            let outcome = Outcome::Failed { message };
            let ended = Event::Outcome { id: intent, outcome };
            self.session.commit(vec![ended, Event::Retried { host: host.key }]).await?;
            return Ok(false);
        }
        let stopped = async {
            engine.stop.wait().await;
            sleep(engine.settings.stop_grace).await;
        };
        let answer = tokio::select! {
            biased;
            answer = work.driver.deploy(&call) => answer,
            () = stopped => return Ok(false),
        };
        // Others need not wait for what is written down.
        drop((slot, begun));
        let answer = self.session.claimed(host.key, answer);
        let named = answer.as_ref().ok().or_else(|| answer.as_ref().err()?.deploy_id.as_ref());
        let named = named.cloned();
        let written = self.write_deploy_outcome(host, goal, intent, answer, &watch).await;
        if let (Err(_), Some(id)) = (&written, &named) {
            // The journal is broken and a machine exists: OpenNebula is the other place that is
            // looked into, and the operator the third.
            self.session.note(Note::Warning(format!(
                "machine {id} was made for host {} and could not be written down in the journal",
                host.key
            )));
            let _ = self.write_deploy_id(host, id).await;
        }
        written.map(|()| true)
    }

    async fn write_deploy_outcome(
        &self,
        host: &HostRecord,
        goal: Goal,
        intent: IntentId,
        answer: Result<DeployId, DriverError>,
        watch: &JournalWatch,
    ) -> Result<(), EngineError> {
        watch.failure()?;
        if watch.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = match answer {
            Ok(id) => Outcome::Done(Fact::Machine(id)),
            Err(error) => {
                let known = self.session.host(host.key).and_then(|host| host.machine.id().cloned());
                if let Some(deploy_id) =
                    error.deploy_id.clone().filter(|id| known.as_ref() != Some(id))
                {
                    let seen = Event::DeployIdSeen { id: intent, host: host.key, deploy_id };
                    self.session.commit(vec![seen]).await?;
                }
                deploy_failed(&error)
            }
        };
        let announce = match (&outcome, self.session.host(host.key)) {
            (Outcome::Done(Fact::Machine(id)), Some(now)) => {
                let machine = Machine::Exists(id.clone());
                self.intent_ahead(&HostRecord { machine, open: None, ..now }, goal)
            }
            _ => None,
        };
        let ended = Event::Outcome { id: intent, outcome };
        self.session.commit(iter::once(ended).chain(announce).collect()).await
    }

    /// Finds out what an interrupted deploy made. False if that cannot be found out now.
    pub(crate) async fn resolve_deploy(
        &self,
        host: &HostRecord,
        open: &OpenIntent,
    ) -> Result<bool, EngineError> {
        if let Some(id) = host.machine.id() {
            // It had named its machine before it was interrupted.
            let outcome = Outcome::Done(Fact::Machine(id.clone()));
            self.session.outcome(open.id, outcome).await?;
            return Ok(true);
        }
        let Some(work) = self.hosts.get(&host.key) else {
            // The operator may know: `host resolve`.
            let evidence = format!("its driver {} is not there to be asked", host.driver);
            self.session.outcome(open.id, Outcome::Unknown { evidence }).await?;
            return Ok(true);
        };
        let process = open.process.clone().and_then(|p| serde_json::from_value(p).ok());
        let key = open.key.clone().unwrap_or_default();
        let mut call = self.deploy_call(host, work, key);
        // What is found is written down before the driver's output is removed.
        let watch = JournalWatch::new(&self.session, open.id, host.key);
        call.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        self.session.note(Note::Waiting {
            host: host.key,
            reason: "looking for what an interrupted deploy made".to_owned(),
        });
        let found = self.find_made(host.key, work, &call, Sought::Interrupted(process)).await;
        watch.failure()?;
        let Some(found) = found else { return Ok(false) };
        let outcome = match found {
            Ok(Some(id)) => Outcome::Done(Fact::Machine(id)),
            Ok(None) => Outcome::Failed {
                message: "no machine was made when it was interrupted".to_owned(),
            },
            // Whatever went wrong with the looking, it says nothing about the machine.
            Err(error) => Outcome::Unknown { evidence: error.message },
        };
        let none = matches!(outcome, Outcome::Failed { .. });
        let mut events = Vec::new();
        if !watch.ended.load(Ordering::Relaxed) {
            events.push(Event::Outcome { id: open.id, outcome });
        }
        if none || host.removing {
            // Nothing was made, so nothing failed: it may be asked for again, or removed.
            events.push(Event::Retried { host: host.key });
        }
        self.session.commit(events).await?;
        Ok(true)
    }

    /// Looks again for a machine of which it was not known whether it exists: an earlier command
    /// could not find out, this one may.
    pub(crate) async fn look_again(&self, key: HostKey) -> Result<(), EngineError> {
        let (Some(host), Some(work)) = (self.session.host(key), self.hosts.get(&key)) else {
            return Ok(());
        };
        if host.open.is_some() || !matches!(host.machine, Machine::Maybe { .. }) {
            return Ok(());
        }
        let call = self.action(&host, work);
        // The process of that deploy has ended, or was waited for by the command that gave up.
        let found = self.find_made(key, work, &call, Sought::Unanswered).await;
        let Some(found) = found else { return Ok(()) };
        match found {
            Ok(deploy_id) => {
                self.session.commit(vec![Event::Resolved { host: key, deploy_id }]).await
            }
            Err(error) => {
                self.session.note(Note::Debug(format!("host {key} stays unknown: {error}")));
                Ok(())
            }
        }
    }

    /// Looks for the machine of a deploy until it is found, or has had the time to appear
    /// ([`driver::api::Driver::settle`]). `None` if nothing new may be begun: then it stays open.
    async fn find_made(
        &self,
        host: HostKey,
        work: &HostWork,
        call: &Call,
        sought: Sought,
    ) -> Option<Result<Option<DeployId>, DriverError>> {
        let driver = &work.driver;
        let settled = Instant::now() + driver.settle();
        let mut recovered = false;
        loop {
            let asked = Instant::now();
            let found = {
                let _slot = self.slots.acquire(host).await;
                match &sought {
                    Sought::Interrupted(process) if !recovered => {
                        recovered = true;
                        match driver.recover(call, process.as_ref()).await {
                            // Nothing was sent, or it was refused: no list has to be waited for.
                            Err(error) if error.kind == FailureKind::Definite => {
                                return Some(Ok(None));
                            }
                            answer => answer,
                        }
                    }
                    // What the driver's process left behind is looked at once.
                    Sought::Interrupted(_) | Sought::Unanswered => {
                        driver.list(call).await.and_then(|all| find_marked(all, call))
                    }
                }
            };
            if asked >= settled || !matches!(found, Ok(None)) {
                let found = match found {
                    Ok(Some(id)) => self.session.claimed(host, Ok(id)).map(Some),
                    found => found,
                };
                return Some(found);
            }
            let longest = self.session.engine().settings.poll_pause.1;
            tokio::select! {
                biased;
                () = self.stopping() => return None,
                () = sleep_until(settled.min(Instant::now() + longest)) => {}
            }
        }
    }

    /// Polls until the machine has an address. False if the operator asked to stop.
    pub(crate) async fn find_address(
        &self,
        host: &HostRecord,
        id: &DeployId,
        goal: Goal,
    ) -> Result<bool, EngineError> {
        let looked = Box::pin(self.look_for_address(host, id)).await;
        self.looked(host, goal, looked).await
    }

    /// Writes down what came of a look. False if the operator asked to stop.
    pub(super) async fn looked(
        &self,
        host: &HostRecord,
        goal: Goal,
        looked: Looked,
    ) -> Result<bool, EngineError> {
        match looked {
            Looked::Address(address) => {
                let ahead = HostRecord { address: Some(address.clone()), ..host.clone() };
                let addressed = Event::Addressed { host: host.key, address };
                let enlist = self.intent_ahead(&ahead, goal);
                self.session.commit(iter::once(addressed).chain(enlist).collect()).await?;
            }
            Looked::Nothing(message) => self.fail(host, &message).await?,
            Looked::Stopped => return Ok(false),
        }
        Ok(true)
    }

    /// Polls until the machine has an address, and writes nothing down.
    pub(super) async fn look_for_address(&self, host: &HostRecord, id: &DeployId) -> Looked {
        let Some(work) = self.hosts.get(&host.key) else {
            return Looked::Nothing("the driver of this host is not known".to_owned());
        };
        let engine = self.session.engine();
        let call = self.action(host, work);
        let together = work.driver.polls_together(&call);
        let begun = Instant::now();
        let mut bad = 0;
        let mut told = None;
        loop {
            let polled = {
                let _slot = match together {
                    true => self.slots.share(host.key).await,
                    false => Arc::new(self.slots.acquire(host.key).await),
                };
                work.driver.poll(&call, id).await
            };
            let reason = match look(polled) {
                Look::Address(address) => return Looked::Address(address),
                Look::NotYet(reason) => {
                    bad = 0;
                    reason
                }
                Look::Bad(reason) => {
                    bad += 1;
                    reason
                }
            };
            let waited = begun.elapsed();
            if bad >= engine.settings.poll_failures || waited >= engine.settings.boot_deadline {
                let seconds = waited.as_secs();
                return Looked::Nothing(format!(
                    "machine {id} has no address after {seconds} s: {reason}"
                ));
            }
            let pause = poll_pause(waited, bad, together, engine.settings.poll_pause);
            if told.as_ref() != Some(&reason) {
                self.session.note(Note::Waiting { host: host.key, reason: reason.clone() });
                told = Some(reason);
            }
            tokio::select! {
                biased;
                () = self.stopping() => return Looked::Stopped,
                () = sleep(pause) => {}
            }
        }
    }

    /// Destroys the machine, again and again until the provider says that it is gone. False if the
    /// operator asked to stop.
    pub(crate) async fn cancel(
        &self,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<bool, EngineError> {
        let Some(work) = self.hosts.get(&host.key) else {
            Box::pin(self.fail(host, "the driver of this host is not known")).await?;
            return Ok(true);
        };
        let engine = self.session.engine();
        let intent = self.intent(host, Step::Cancel).await?;
        let (mut pause, longest) = engine.settings.poll_pause;
        let begun = Instant::now();
        let (mut denied, mut accepted) = (false, false);
        let outcome = loop {
            let slot = self.slots.acquire(host.key).await;
            let call = self.action(host, work);
            let denied_before = std::mem::take(&mut denied);
            let reason = match work.driver.cancel(&call, id).await {
                Ok(()) => match left_over(work.driver.as_ref(), &call, id).await {
                    None => break Outcome::Done(Fact::Done),
                    Some(state) => {
                        accepted = true;
                        format!("machine {id} is still there: {state}")
                    }
                },
                // It may have been something else that was not found, in words that were not foreseen.
                Err(error) if error.kind == FailureKind::NotFound => {
                    let alive = is_alive(work.driver.as_ref(), &call, id, &error).await;
                    let message = match alive {
                        Some(state) => {
                            format!("machine {id} is still there: {state}; {}", error.message)
                        }
                        None => error.message,
                    };
                    match alive {
                        None if denied_before || host.address.is_some() => {
                            break Outcome::Done(Fact::Done);
                        }
                        // It was there, was destroyed, and is not there; the poll cannot say.
                        Some(NOT_KNOWN) if accepted => break Outcome::Done(Fact::Done),
                        Some(_) if denied_before => break Outcome::Failed { message },
                        // Of one that was made a moment ago many a provider does not know yet.
                        _ => denied = true,
                    }
                    message
                }
                Err(error) if error.kind == FailureKind::Unknown => error.message,
                // Many a script fails to destroy what is gone already, in words of its own. Many a
                // provider says once of a machine that is there that it is not, so it has to say
                // so again after a pause.
                Err(error) => match work.driver.poll(&call, id).await {
                    Err(gone) if gone.kind == FailureKind::NotFound => {
                        if denied_before {
                            break Outcome::Done(Fact::Done);
                        }
                        denied = true;
                        error.message
                    }
                    _ => break Outcome::Failed { message: error.message },
                },
            };
            drop(slot);
            if begun.elapsed() >= engine.settings.cancel_deadline {
                break Outcome::Failed { message: reason };
            }
            self.session.note(Note::Waiting { host: host.key, reason });
            tokio::select! {
                biased;
                () = self.stopping() => return Ok(false),
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(longest);
        };
        let done = matches!(outcome, Outcome::Done(_));
        // Of a whole provision all keys are forgotten at once, at its end.
        if done && !self.session.record().doomed {
            engine.configure.forget(self.session.id, &alias(host));
        }
        let mut events = vec![Event::Outcome { id: intent, outcome }];
        // Nobody has seen it: what its deploy printed may have been something else than its id.
        if done
            && host.address.is_none()
            && let Some(other) = self.listed_as(host, work).await.filter(|other| other != id)
        {
            self.session.note(Note::Warning(format!(
                "machine {id} is gone, and the driver lists {other} for host {}: that one goes, too",
                host.key
            )));
            events.push(Event::Resolved { host: host.key, deploy_id: Some(other) });
        }
        self.session.commit(events).await?;
        Ok(true)
    }

    /// The machine that the driver's list has for a host, if it has one and can tell. An account is listed once in an
    /// operation: what was asked for before it has had its time to appear.
    async fn listed_as(&self, host: &HostRecord, work: &HostWork) -> Option<DeployId> {
        let call = self.action(host, work);
        let account = {
            let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(listed.entry(self.slots.account(host.key)).or_default())
        };
        let list = async {
            let _slot = self.slots.acquire(host.key).await;
            work.driver.list(&call).await.map(Marked::of)
        };
        let found = account.get_or_try_init(|| list).await.ok()?.find(&call)?.clone();
        self.session.claim(host.key, &found).is_ok().then_some(found)
    }
}

/// The pause before a machine is polled again: a sixteenth of the time that it has taken so far, so that
/// little is lost when it is there, and what takes long is not asked for all the time. After failures it
/// is doubled each time: so many in a row give a host up.
fn poll_pause(
    waited: Duration,
    bad: u32,
    together: bool,
    (shortest, longest): (Duration, Duration),
) -> Duration {
    let shortest = if together && bad == 0 { shortest / 8 } else { shortest };
    let after_failures = shortest.saturating_mul(1 << bad.saturating_sub(1).min(16));
    (waited / 16).max(after_failures).min(longest)
}

/// A deadline that the template gives for this host, in seconds, else the command's.
fn deadline(work: &HostWork, path: &str, default: Duration) -> Duration {
    let given = work.file.template.text(path).and_then(|text| text.trim().parse().ok());
    given.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs)
}

/// What a failed deploy means. A definite failure made nothing; anything else may have.
fn deploy_failed(error: &DriverError) -> Outcome {
    let message = error.message.clone();
    match error.kind {
        FailureKind::Unknown => Outcome::Unknown { evidence: message },
        _ if error.deploy_id.is_some() => Outcome::Unknown { evidence: message },
        FailureKind::Definite
        | FailureKind::NotFound
        | FailureKind::Unsupported
        | FailureKind::Setup => Outcome::Failed { message },
    }
}

/// An address counts once the machine runs. Drivers of 5.12 tell no state at all.
fn look(polled: Result<PollReport, DriverError>) -> Look {
    let report = match polled {
        Ok(report) => report,
        Err(error) => return Look::Bad(error.message),
    };
    match (report.state, report.address()) {
        (Some(MachineState::Error), _) => Look::Bad("the provider says that it is in error".into()),
        (Some(MachineState::Gone), _) => {
            Look::Bad("the provider says that it is off or gone".into())
        }
        (Some(MachineState::Paused), _) => Look::NotYet("it is being made".to_owned()),
        (_, Some(address)) => Look::Address(address.to_owned()),
        (_, None) => Look::NotYet(report.no_address()),
    }
}

const NOT_KNOWN: &str = "not known to be gone";

/// After a cancel that succeeded: `None` if nothing speaks against the machine being gone.
pub(crate) async fn left_over(
    driver: &dyn Driver,
    call: &Call,
    id: &DeployId,
) -> Option<&'static str> {
    let polled = driver.poll(call, id).await;
    at_large(driver, call, id, polled).await
}

/// The same after a poll. One that failed in words of its own may be about anything, such as an account
/// whose token is no good any more, with which the cancel went nowhere too: the list says more, where there is one.
async fn at_large(
    driver: &dyn Driver,
    call: &Call,
    id: &DeployId,
    polled: Result<PollReport, DriverError>,
) -> Option<&'static str> {
    let is_doubtful = |kind| matches!(kind, FailureKind::Definite | FailureKind::Unknown);
    if !matches!(&polled, Err(error) if is_doubtful(error.kind)) {
        return still_there(polled);
    }
    match driver.list(call).await {
        Ok(machines) => {
            machines.iter().any(|machine| machine.id == *id).then_some("in the driver's list")
        }
        Err(error) if error.kind == FailureKind::Unsupported => still_there(polled),
        Err(_) => Some(NOT_KNOWN),
    }
}

/// What a poll after a cancel says: `None` if nothing in it speaks against the machine being gone. A driver
/// that tells no state is believed its cancel.
pub(crate) fn still_there(polled: Result<PollReport, DriverError>) -> Option<&'static str> {
    let report = match polled {
        Ok(report) => report,
        // That the poll failed is the driver's way to say that there is nothing to be polled; that it
        // was not answered, or could not be asked, says nothing.
        Err(error) => {
            let asked = !matches!(error.kind, FailureKind::Unknown | FailureKind::Setup);
            return (!asked).then_some(NOT_KNOWN);
        }
    };
    if report.has_other_state() && report.address().is_some() {
        return Some("in a state that is not known here, with an address");
    }
    match report.state? {
        MachineState::Active => Some("running"),
        MachineState::Paused => Some("paused"),
        MachineState::Error => Some("in error"),
        MachineState::Gone | MachineState::NotKnown => None,
    }
}

/// After a cancel that says that there is no such machine: `None` if nothing speaks against that. An address
/// does, also where no state is told. The protocol's own words are about this machine, and need no second ones.
pub(crate) async fn is_alive(
    driver: &dyn Driver,
    call: &Call,
    id: &DeployId,
    denial: &DriverError,
) -> Option<&'static str> {
    if denial.message.contains(&format!("machine {id} not found")) {
        return None;
    }
    let polled = driver.poll(call, id).await;
    match &polled {
        Ok(report)
            if matches!(report.state, None | Some(MachineState::NotKnown))
                && report.address().is_some() =>
        {
            Some("it has an address")
        }
        _ => at_large(driver, call, id, polled).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_poll_says_of_a_machine_that_was_cancelled() {
        for (text, there) in [
            ("STATE=d GUEST_IP_ADDRESSES=192.0.2.7", false),
            ("STATE=- GUEST_IP_ADDRESSES=192.0.2.7", false),
            ("GUEST_IP_ADDRESSES=192.0.2.7", false),
            ("STATE=terminated GUEST_IP_ADDRESSES=192.0.2.7", false),
            ("STATE=archived", false),
            ("STATE=running", true),
            ("STATE=ACTIVE", true),
            ("STATE=archiving GUEST_IP_ADDRESSES=192.0.2.7", true),
        ] {
            let said = still_there(Ok(PollReport::parse(text)));
            assert_eq!(said.is_some(), there, "{text}: {said:?}");
        }
    }

    #[test]
    fn a_machine_is_polled_after_a_sixteenth_of_its_time() {
        let limits = (Duration::from_secs(1), Duration::from_secs(10));
        let pause = |waited, bad, together| {
            poll_pause(Duration::from_secs(waited), bad, together, limits).as_millis()
        };
        assert_eq!((pause(0, 0, false), pause(0, 0, true)), (1000, 125));
        assert_eq!((pause(32, 0, false), pause(32, 0, true)), (2000, 2000));
        assert_eq!((pause(3600, 0, false), pause(3600, 9, true)), (10_000, 10_000));
        // A provider in trouble is not asked more often because it is asked for many.
        assert_eq!(
            [1, 2, 3, 4, 5, 60].map(|bad| pause(1, bad, true)),
            [1000, 2000, 4000, 8000, 10_000, 10_000]
        );
    }
}
