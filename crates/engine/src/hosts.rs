//! Host objects in OpenNebula: made, announced, enlisted, removed; and the loop of each host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use driver::api::Driver;
use driver::deployment::DeploymentFile;
use journal::{Event, Fact, HostRecord, IntentId, Machine, Outcome, Step, Subject};
use model::{Attributes, ClusterId, DeployId, HostId, HostKey};
use opennebula::Error;
use opennebula::objects::{Host, HostStatus, Update};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::again::{make, repeat};
use crate::error::describe;
use crate::observe::Note;
use crate::planner::{Goal, Next, next};
use crate::session::Session;
use crate::values::provision_of;
use crate::{Decision, EngineError, Stop, names};

/// Host objects whose intents are committed together.
const GROUP: usize = 16;

/// What is needed to work on a host, beyond its record.
pub(crate) struct HostWork {
    pub driver: Arc<dyn Driver>,
    /// The host as the template or OpenNebula has it, credentials included.
    pub file: DeploymentFile,
    /// Its template as OpenNebula keeps it, with references in place of the credentials.
    pub stored: Attributes,
}

/// One operation: the session, its hosts, and the limit of driver calls.
pub(crate) struct Work {
    pub session: Arc<Session>,
    pub hosts: BTreeMap<HostKey, HostWork>,
    pub slots: Semaphore,
    /// Whether hosts of drivers without configuration are enabled.
    pub enable: bool,
    /// Raised by the decision to quit or to clean up: nothing new is begun.
    halt: Stop,
    /// The decision to remove everything.
    cleanup: AtomicBool,
    /// Hosts that were taken out of the provision.
    skipped: AtomicUsize,
}

impl Work {
    pub fn new(session: Arc<Session>, hosts: BTreeMap<HostKey, HostWork>, enable: bool) -> Self {
        let slots = Semaphore::new(session.engine().settings.threads.max(1));
        Self {
            session,
            hosts,
            slots,
            enable,
            halt: Stop::new(),
            cleanup: AtomicBool::new(false),
            skipped: AtomicUsize::new(0),
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

    /// Makes all host objects that are not there yet, and reads them back before anything is
    /// bought. False if one is missing in the end; then its record says why.
    pub async fn register(self: &Arc<Self>) -> Result<bool, EngineError> {
        loop {
            if self.register_once().await? {
                return Ok(true);
            }
            if self.is_stopping() {
                return Ok(false);
            }
            let failed: Vec<HostRecord> = {
                let record = self.session.record();
                let failed = |host: &&HostRecord| host.failure.is_some() && !host.removed;
                record.hosts.values().filter(failed).cloned().collect()
            };
            let mut again = false;
            for host in failed {
                if let Some(goal) = self.decide(&host).await? {
                    if goal == Goal::Absent {
                        self.drive(host.key, goal).await?;
                    }
                    again = true;
                }
            }
            if !again || self.is_stopping() {
                return Ok(false);
            }
        }
    }

    /// One go at it, in the order of the template.
    ///
    /// The front-end takes one `allocate` at a time; a host is filled in while the next one is
    /// allocated, and the intents of a group of hosts are one commit.
    async fn register_once(self: &Arc<Self>) -> Result<bool, EngineError> {
        let missing: Vec<HostRecord> = {
            let record = self.session.record();
            let wanted = |host: &&HostRecord| {
                !host.removed && !host.removing && host.host_id.is_none() && host.failure.is_none()
            };
            record.hosts.values().filter(wanted).cloned().collect()
        };
        let mut tasks = JoinSet::new();
        let mut all = true;
        for group in missing.chunks(GROUP) {
            if !all || self.is_stopping() {
                break;
            }
            for (host, intent) in group.iter().zip(self.intend_creates(group).await?) {
                let allocated = self.allocate(host).await;
                all &= allocated.is_ok();
                let (work, key) = (Arc::clone(self), host.key);
                tasks.spawn(async move { work.fill_in(key, intent, allocated).await });
            }
        }
        self.join(tasks).await?;
        if !all || self.is_stopping() {
            return Ok(false);
        }
        self.read_back().await
    }

    /// The open intents of these hosts, new ones in one commit.
    async fn intend_creates(&self, hosts: &[HostRecord]) -> Result<Vec<IntentId>, EngineError> {
        let intents: Vec<(IntentId, bool, HostKey)> = hosts
            .iter()
            .map(|host| match &host.open {
                Some(open) => (open.id, false, host.key),
                None => (self.session.draw_intent(), true, host.key),
            })
            .collect();
        let new = intents.iter().filter(|(_, new, _)| *new);
        let events = new.map(|(id, _, key)| Event::Intent {
            id: *id,
            subject: Subject::Host(*key),
            step: Step::Create,
            key: None,
        });
        self.session.commit(events.collect()).await?;
        Ok(intents.into_iter().map(|(id, _, _)| id).collect())
    }

    /// Drives every host to the goal, each on its own.
    pub async fn drive_all(
        self: &Arc<Self>,
        keys: Vec<HostKey>,
        absent: bool,
    ) -> Result<(), EngineError> {
        let mut tasks = JoinSet::new();
        for key in keys {
            let work = Arc::clone(self);
            // A host whose removal was begun is never taken into use again.
            let removing = self.session.host(key).is_some_and(|host| host.removing);
            let goal = match absent || removing {
                true => Goal::Absent,
                false => Goal::Ready { enable: self.enables(key) },
            };
            tasks.spawn(async move { work.drive(key, goal).await });
        }
        self.join(tasks).await
    }

    /// Whether a host is enabled at the end. A machine that is to be configured is not, before that.
    fn enables(&self, key: HostKey) -> bool {
        self.enable && self.hosts.get(&key).is_some_and(|host| !host.driver.describe().configurable)
    }

    /// Waits for the tasks of all hosts.
    async fn join(&self, mut tasks: JoinSet<Result<(), EngineError>>) -> Result<(), EngineError> {
        let mut fatal = None;
        while let Some(ended) = tasks.join_next().await {
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
        fatal.map_or(Ok(()), Err)
    }

    /// One host towards its goal, until it is reached, cannot be, or the operator asks to stop.
    async fn drive(&self, key: HostKey, mut goal: Goal) -> Result<(), EngineError> {
        if !self.is_stopping() {
            self.look_again(key).await?;
        }
        loop {
            if self.is_stopping() {
                return Ok(());
            }
            let Some(host) = self.session.host(key) else { return Ok(()) };
            match next(&host, goal) {
                Next::Resolve => {
                    if !self.resolve(&host, goal).await? {
                        return Ok(());
                    }
                    self.look_again(key).await?;
                }
                Next::Create => self.create(&host).await?,
                Next::Deploy => {
                    if !self.deploy(&host).await? {
                        return Ok(());
                    }
                }
                Next::Announce(id) => self.announce(&host, &id).await?,
                Next::Poll(id) => {
                    if !self.find_address(&host, &id).await? {
                        return Ok(());
                    }
                }
                Next::Enlist(address) => self.enlist(&host, &address, goal).await?,
                Next::Cancel(id) => {
                    if !self.cancel(&host, &id).await? {
                        return Ok(());
                    }
                }
                Next::Remove => self.remove(&host).await?,
                Next::Stuck if goal == Goal::Absent => {
                    if !self.decide_removal(&host).await? {
                        return Ok(());
                    }
                }
                Next::Stuck if !host.removing => match self.decide(&host).await? {
                    Some(next) => goal = next,
                    None => return Ok(()),
                },
                Next::Nothing | Next::Stuck => return Ok(()),
            }
        }
    }

    /// Asks what to do about a host that cannot go on, and prepares it: the goal to go on with, or
    /// `None` if it stays as it is.
    async fn decide(&self, host: &HostRecord) -> Result<Option<Goal>, EngineError> {
        let failure = match (&host.failure, &host.machine) {
            (Some(failure), _) => failure,
            (None, Machine::Maybe { evidence }) => evidence,
            (None, _) => return Ok(None),
        };
        match self.session.decide(Subject::Host(host.key), failure).await {
            Decision::Leave => Ok(None),
            Decision::Quit => {
                self.halt.request();
                Ok(None)
            }
            Decision::Cleanup => {
                self.cleanup.store(true, Ordering::Relaxed);
                self.halt.request();
                Ok(None)
            }
            Decision::Retry => {
                self.session.commit(vec![Event::Retried { host: host.key }]).await?;
                self.look_again(host.key).await?;
                let now = self.session.host(host.key);
                if now.is_some_and(|now| matches!(now.machine, Machine::Maybe { .. })) {
                    // To ask for another machine now could buy a second one.
                    self.session.note(Note::Warning(
                        "it cannot be tried again: whether the machine exists is not known".into(),
                    ));
                    return Ok(None);
                }
                Ok(Some(Goal::Ready { enable: self.enables(host.key) }))
            }
            Decision::Skip => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                let hosts = vec![host.key];
                self.session.commit(vec![Event::HostDeleteBegun { hosts }]).await?;
                self.look_again(host.key).await?;
                Ok(Some(Goal::Absent))
            }
        }
    }

    /// Asks what to do about a host that cannot be removed: true to try again. The other decisions
    /// are of no use here, since removal is what is under way.
    async fn decide_removal(&self, host: &HostRecord) -> Result<bool, EngineError> {
        let Some(failure) = &host.failure else { return Ok(false) };
        let decision = self.session.decide(Subject::Host(host.key), failure).await;
        if decision == Decision::Retry {
            self.session.commit(vec![Event::Retried { host: host.key }]).await?;
        }
        if decision == Decision::Quit {
            self.halt.request();
        }
        Ok(decision == Decision::Retry)
    }

    /// Finds out what became of a step that has no outcome. Steps that may be repeated simply are.
    async fn resolve(&self, host: &HostRecord, goal: Goal) -> Result<bool, EngineError> {
        let Some(open) = &host.open else { return Ok(true) };
        match (open.step, &host.machine) {
            (Step::Deploy, _) => return self.resolve_deploy(host, open).await,
            (Step::Create, _) if goal == Goal::Absent => {
                let name = names::host_name(self.session.id, host.key);
                let found = self.find_host(&name).await;
                let outcome = match found {
                    Ok(Some(id)) => Outcome::Done(Fact::Object(id.into())),
                    Ok(None) => Outcome::Failed { message: "was not made".to_owned() },
                    Err(error) => return self.fail(host, &describe(&error)).await.map(|()| false),
                };
                // That it was not made is no failure of a removal.
                let ended = Event::Outcome { id: open.id, outcome };
                self.session.commit(vec![ended, Event::Retried { host: host.key }]).await?;
            }
            (Step::Create, _) => self.create(host).await?,
            (Step::Announce, machine) => match machine.id() {
                Some(id) => self.announce(host, id).await?,
                None => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            // Under another goal the step is no longer wanted, and its effect is undone by what is.
            (Step::Enlist, _) => match (&host.address, goal) {
                (Some(address), Goal::Ready { .. }) => {
                    let address = address.clone();
                    self.enlist(host, &address, goal).await?;
                }
                _ => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            (Step::Cancel, machine) => match machine.id() {
                Some(id) => return self.cancel(host, id).await,
                None => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            (Step::Remove, _) => self.remove(host).await?,
        }
        Ok(true)
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
    async fn written(
        &self,
        intent: IntentId,
        answer: Result<Fact, Error>,
    ) -> Result<(), EngineError> {
        let outcome = match answer {
            Ok(fact) => Outcome::Done(fact),
            Err(error) if error.is_unknown() => Outcome::Unknown { evidence: describe(&error) },
            Err(error) => Outcome::Failed { message: describe(&error) },
        };
        self.session.outcome(intent, outcome).await
    }

    /// Makes one host object.
    async fn create(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Create).await?;
        let allocated = self.allocate(host).await;
        self.fill_in(host.key, intent, allocated).await
    }

    /// The host object, new, or found if an earlier process may have made it.
    async fn allocate(&self, host: &HostRecord) -> Result<HostId, Error> {
        let name = names::host_name(self.session.id, host.key);
        self.session.note(Note::Debug(format!("Creating OpenNebula host: {name}")));
        if host.open.is_some()
            && let Some(id) = self.find_host(&name).await?
        {
            return Ok(id);
        }
        let (im_mad, vm_mad) = match self.hosts.get(&host.key) {
            Some(work) => (work.file.im_mad.as_str(), work.file.vm_mad.as_str()),
            None => ("", ""),
        };
        let cluster = ClusterId(self.session.record().cluster.id.unwrap_or(-1));
        let hosts = self.session.engine().opennebula.hosts();
        let patience = self.session.engine().settings.patience;
        let tried = self.session.was_tried(Subject::Host(host.key));
        let allocate = || hosts.allocate(&name, im_mad, vm_mad, cluster);
        make(patience, tried, allocate, || self.find_host(&name)).await
    }

    /// Puts a new host object offline and gives it the whole template.
    async fn fill_in(
        &self,
        key: HostKey,
        intent: IntentId,
        allocated: Result<HostId, Error>,
    ) -> Result<(), EngineError> {
        let filled = async {
            let id = allocated?;
            let engine = self.session.engine();
            let hosts = engine.opennebula.hosts();
            let patience = engine.settings.patience;
            repeat(patience, || hosts.status(id, HostStatus::Offline)).await?;
            if let Some(work) = self.hosts.get(&key) {
                let template = &work.stored;
                repeat(patience, || hosts.update(id, template, Update::Append)).await?;
            }
            Ok(Fact::Object(id.into()))
        };
        let filled = filled.await;
        self.written(intent, filled).await
    }

    async fn find_host(&self, name: &str) -> Result<Option<HostId>, Error> {
        let pool = self.session.engine().opennebula.hosts().pool().await?;
        Ok(pool.iter().find(|host| host.name == name).map(|host| host.id))
    }

    /// Every host object is there, once, and carries our mark. OpenNebula 7 can make two hosts of
    /// two concurrent allocates (OpenNebula/one#7527), and a machine must not be bought for those.
    async fn read_back(&self) -> Result<bool, EngineError> {
        let pool = self.session.engine().opennebula.hosts().pool().await;
        let pool = pool.map_err(EngineError::opennebula("the new hosts cannot be read back"))?;
        let by_id: BTreeMap<i32, &Host> = pool.iter().map(|host| (host.id.0, host)).collect();
        let mut named: BTreeMap<&str, usize> = BTreeMap::new();
        for host in &pool {
            *named.entry(host.name.as_str()).or_default() += 1;
        }
        let hosts: Vec<HostRecord> = self.session.record().hosts.values().cloned().collect();
        let mut all = true;
        // A host whose removal was begun needs no object: nothing is bought for it.
        for host in hosts.iter().filter(|host| !host.removed && !host.removing) {
            let Some(id) = host.host_id else {
                all = false;
                continue;
            };
            let wrong = match by_id.get(&id) {
                None => Some(format!("host {id} is no longer in OpenNebula")),
                Some(there) if provision_of(&there.template) != Some(self.session.id) => {
                    Some(format!("host {id} in OpenNebula is not the one that was made"))
                }
                Some(there) if named.get(there.name.as_str()) > Some(&1) => {
                    Some(format!("OpenNebula has several hosts named {}", there.name))
                }
                Some(_) => None,
            };
            if let Some(message) = wrong {
                all = false;
                self.fail(host, &message).await?;
            }
        }
        Ok(all)
    }

    /// Writes the deploy id into the host object, so that the machine is found without the journal.
    /// `update` in append mode replaces the whole vector, so all of it is sent.
    async fn announce(&self, host: &HostRecord, id: &DeployId) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Announce).await?;
        let answer = self.write_deploy_id(host, id).await.map(|()| Fact::Done);
        self.written(intent, answer).await
    }

    pub(crate) async fn write_deploy_id(
        &self,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<(), Error> {
        let (Some(work), Some(host_id)) = (self.hosts.get(&host.key), host.host_id) else {
            return Ok(());
        };
        let mut provision = work.stored.clone().vector_mut("PROVISION").clone();
        provision.set("DEPLOY_ID", id.as_str());
        let mut update = Attributes::new();
        update.push("PROVISION", provision);
        if self.enables(host.key) {
            // There is nothing to configure on such a machine.
            update.push("PROVISION_CONFIGURATION_STATUS", "configured");
        }
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        repeat(engine.settings.patience, || hosts.update(HostId(host_id), &update, Update::Append))
            .await
    }

    /// Gives the host object its address as name, and enables it if that is the goal.
    async fn enlist(
        &self,
        host: &HostRecord,
        address: &str,
        goal: Goal,
    ) -> Result<(), EngineError> {
        let Some(id) = host.host_id.map(HostId) else {
            return self.fail(host, "there is no host object to be named").await;
        };
        let enable = goal == Goal::Ready { enable: true };
        let intent = self.intent(host, Step::Enlist).await?;
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let patience = engine.settings.patience;
        let answer = async {
            let known = host.name.as_deref() == Some(address);
            if !known {
                match repeat(patience, || hosts.rename(id, address)).await {
                    // A rename that was done before, and not written down.
                    Err(error) if error.name_taken() => {
                        if hosts.info(id).await?.name != address {
                            return Err(error);
                        }
                    }
                    answer => answer?,
                }
            }
            if enable {
                repeat(patience, || hosts.status(id, HostStatus::Enable)).await?;
            }
            Ok(Fact::Enlisted { name: address.to_owned(), enabled: enable })
        };
        let answer = answer.await;
        self.written(intent, answer).await
    }

    /// Whether there may be a host object whose id is not in the record. When all of a provision is
    /// removed, such an object was found and taken into the record before.
    fn may_be_half_made(&self, host: &HostRecord) -> bool {
        self.session.was_tried(Subject::Host(host.key)) && !self.session.record().doomed
    }

    /// Deletes the host object. One that is gone already was deleted by hand.
    async fn remove(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Remove).await?;
        let id = match host.host_id {
            Some(id) => Some(HostId(id)),
            // Its create may have failed after its allocate.
            None if self.may_be_half_made(host) => {
                match self.find_host(&names::host_name(self.session.id, host.key)).await {
                    Ok(found) => found,
                    Err(error) => return self.written(intent, Err(error)).await,
                }
            }
            None => None,
        };
        let Some(id) = id else {
            return self.written(intent, Ok(Fact::Done)).await;
        };
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        self.session.note(Note::Debug(format!("Deleting OpenNebula host: {id}")));
        let answer = match repeat(engine.settings.patience, || hosts.delete(id)).await {
            Err(error) if error.is_gone() => {
                self.session.note(Note::Warning(format!("host {id} was already deleted")));
                Ok(Fact::Done)
            }
            answer => answer.map(|()| Fact::Done),
        };
        self.written(intent, answer).await
    }
}
