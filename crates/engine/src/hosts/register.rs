//! Host objects made, all of them, and read back before the first machine is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use journal::{Event, Fact, HostRecord, IntentId, Step, Subject};
use model::{Attributes, ClusterId, DeployId, HostId, HostKey, ProvisionId, Value};
use opennebula::Error;
use opennebula::objects::{Host, HostStatus, Update};
use template::reference::ObjectKind;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Work;
use crate::again::{make, repeat};
use crate::late::name_of;
use crate::observe::Note;
use crate::orphans::account_of;
use crate::planner::Goal;
use crate::secrets::is_reference;
use crate::values::{Known, provision_of};
use crate::{EngineError, names};

/// Host objects whose intents are committed together.
const GROUP: usize = 16;

/// How long a front-end of several servers may take until each has what was written, and the pause
/// between looks.
const LAG: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// What two hosts of one account have in common; secrets, which cannot be compared, are passed over.
fn near(template: &Attributes) -> String {
    let account = account_of(template);
    let is_plain = |(_, value): &(&str, &Value)| match value {
        Value::Text(text) => !is_reference(text),
        other => !matches!(other, Value::Secret(_) | Value::Withheld),
    };
    let mut parts: Vec<_> = account.iter().filter(is_plain).collect();
    // OpenNebula has an order of its own.
    parts.sort_by_key(|(key, _)| *key);
    format!("{parts:?}")
}

/// Provision and name of host objects, by their ids.
type ById = BTreeMap<i32, (Option<ProvisionId>, String)>;

impl Work {
    /// Makes all host objects that are not there yet, and reads them back before anything is
    /// bought. False if one is missing in the end; then its record says why.
    ///
    /// It is a task of its own, as the hosts' loops are: the thread that a command begins on is none of the
    /// runtime's, and each answer that is waited for there has to wake it first.
    pub async fn register(self: &Arc<Self>) -> Result<bool, EngineError> {
        let work = Arc::clone(self);
        let mut task = JoinSet::new();
        task.spawn(async move { work.register_all().await });
        match task.join_next().await {
            Some(Ok(registered)) => registered,
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => Ok(false),
        }
    }

    async fn register_all(self: &Arc<Self>) -> Result<bool, EngineError> {
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
    /// allocated, and the intents of a group of hosts are one commit, made while the group before it
    /// is allocated.
    async fn register_once(self: &Arc<Self>) -> Result<bool, EngineError> {
        let missing: Vec<HostRecord> = {
            let record = self.session.record();
            let wanted = |host: &&HostRecord| {
                !host.removed && !host.removing && host.host_id.is_none() && host.failure.is_none()
            };
            record.hosts.values().filter(wanted).cloned().collect()
        };
        let mut tasks = JoinSet::new();
        // Closed when the front-end has answered for the last host.
        let (filling, mut filled) = mpsc::channel::<Infallible>(1);
        let mut all = true;
        let mut fatal = None;
        if self.is_stopping() {
            return Ok(false);
        }
        let made = self.made_before(&missing).await?;
        // As long as there are hosts to come, what came of others can wait for them.
        let writer = self.session.writer();
        let mut groups = missing.chunks(GROUP);
        let mut next = self.intend_creates(groups.next()).await?;
        while let Some((group, intents)) = next.take() {
            let allocate = async {
                for (host, intent) in group.iter().zip(intents) {
                    let allocated = match made.get(&host.key) {
                        Some(id) => Ok(*id),
                        None => Box::pin(self.allocate(host)).await,
                    };
                    all &= allocated.is_ok();
                    // Their room is needed for those that come.
                    while let Some(ended) = tasks.try_join_next() {
                        self.heed(ended, &mut fatal);
                    }
                    let (work, key, filling) = (Arc::clone(self), host.key, filling.clone());
                    tasks.spawn(async move {
                        let _writer = work.session.writer();
                        let filled = work.fill_in(key, allocated).await;
                        drop(filling);
                        work.written_at_leisure(intent, filled).await
                    });
                }
            };
            let ((), intended) = tokio::join!(allocate, self.intend_creates(groups.next()));
            match intended {
                Ok(_) if !all || fatal.is_some() || self.is_stopping() => {}
                Ok(intended) => next = intended,
                Err(error) => {
                    fatal.get_or_insert(error);
                }
            }
        }
        drop((writer, filling));
        // The hosts are read back while the last of them are written down.
        let read = async {
            let _ = filled.recv().await;
            match all && !self.is_stopping() {
                true => Some(self.read_hosts().await),
                false => None,
            }
        };
        let (joined, read) = tokio::join!(self.join(tasks, fatal), read);
        joined?;
        match read {
            Some(read) if !self.is_stopping() => {
                let (mut read, begun) = (read?, Instant::now());
                while self.is_behind(&read) && begun.elapsed() < LAG && !self.is_stopping() {
                    sleep(PAUSE).await;
                    read = self.read_hosts().await?;
                }
                self.check_read(read).await
            }
            _ => Ok(false),
        }
    }

    /// Whether hosts are not there yet, or without their mark. Of several servers a follower answers with
    /// its own database, to which the leader's writes come later (`leader_only` in
    /// `include/RequestManagerInfo.h`).
    fn is_behind(&self, by_id: &ById) -> bool {
        let record = self.session.record();
        let mut there = record.hosts.values().filter(|host| !host.removed && !host.removing);
        there.any(|host| {
            let marked = |id| by_id.get(&id).is_some_and(|(provision, _)| provision.is_some());
            host.host_id.is_some_and(|id| !marked(id))
        })
    }

    /// Makes the hosts known to what is made after them and may refer to them.
    pub(crate) fn tell_hosts(&self, known: &mut Known) {
        let record = self.session.record();
        for (key, work) in &self.hosts {
            let Some(host) = record.hosts.get(key) else { continue };
            if let (Some(id), Some(index)) = (host.host_id, record.layout.host_index(*key)) {
                let first = names::host_name(self.session.id, *key);
                let name = name_of(host).map_or(first, str::to_owned);
                known.add(ObjectKind::Host, index, id, &name, work.file.template.clone());
            }
        }
    }

    /// A group of hosts, if there is one, with their open intents: new ones are one commit.
    async fn intend_creates<'h>(
        &self,
        hosts: Option<&'h [HostRecord]>,
    ) -> Result<Option<(&'h [HostRecord], Vec<IntentId>)>, EngineError> {
        let Some(hosts) = hosts else { return Ok(None) };
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
        Ok(Some((hosts, intents.into_iter().map(|(id, _, _)| id).collect())))
    }

    /// Makes one host object.
    pub(super) async fn create(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Create).await?;
        let allocated = match host.open {
            Some(_) => self.find_or_allocate(host).await,
            None => self.allocate(host).await,
        };
        let filled = self.fill_in(host.key, allocated).await;
        self.written(intent, filled).await
    }

    /// Of hosts with open intents: the objects that an earlier process made of them. They are looked for
    /// together, since one that was killed may have left a group of intents behind.
    async fn made_before(
        &self,
        hosts: &[HostRecord],
    ) -> Result<BTreeMap<HostKey, HostId>, EngineError> {
        let open = hosts.iter().filter(|host| host.open.is_some());
        let name = |key| names::host_name(self.session.id, key);
        let open: BTreeMap<String, HostKey> = open.map(|h| (name(h.key), h.key)).collect();
        if open.is_empty() {
            return Ok(BTreeMap::new());
        }
        let hosts = self.session.engine().opennebula.hosts();
        let found = hosts.pool_map(|host| open.get(&host.name).map(|key| (*key, host.id))).await;
        let found = found.map_err(EngineError::opennebula("the hosts cannot be read"))?;
        Ok(found.into_iter().collect())
    }

    /// The host object, found if an earlier process may have made it, or new.
    async fn find_or_allocate(&self, host: &HostRecord) -> Result<HostId, Error> {
        match self.find_host(&names::host_name(self.session.id, host.key)).await? {
            Some(id) => Ok(id),
            None => self.allocate(host).await,
        }
    }

    /// The host object, new.
    async fn allocate(&self, host: &HostRecord) -> Result<HostId, Error> {
        let name = names::host_name(self.session.id, host.key);
        self.session.note(Note::Debug(format!("Creating OpenNebula host: {name}")));
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
    async fn fill_in(&self, key: HostKey, allocated: Result<HostId, Error>) -> Result<Fact, Error> {
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
    }

    pub(super) async fn find_host(&self, name: &str) -> Result<Option<HostId>, Error> {
        let hosts = self.session.engine().opennebula.hosts();
        let ids = hosts.pool_map(|host| (host.name == name).then_some(host.id)).await?;
        Ok(ids.first().copied())
    }

    /// Provision and name of every host object. Machines of others are taken note of: a driver that answers with
    /// one of them made none.
    async fn read_hosts(&self) -> Result<ById, EngineError> {
        let near: BTreeSet<(&str, String)> =
            self.hosts.values().map(|work| (&*work.file.pm_mad, near(&work.stored))).collect();
        let hosts = self.session.engine().opennebula.hosts();
        let pool = hosts.pool_map(|host| {
            let machine = self.machine_of_other(&host, &near);
            Some((host.id.0, (provision_of(&host.template), host.name), machine))
        });
        let pool =
            pool.await.map_err(EngineError::opennebula("the new hosts cannot be read back"))?;
        let (mut by_id, mut others) = (ById::new(), BTreeMap::new());
        for (id, there, machine) in pool {
            by_id.insert(id, there);
            others.extend(machine);
        }
        self.session.set_others(others);
        Ok(by_id)
    }

    /// The machine of a host that is not the provision's, if it may be in the account of one that is: drivers of
    /// several accounts may number the machines of each alike.
    fn machine_of_other(
        &self,
        host: &Host,
        ours: &BTreeSet<(&str, String)>,
    ) -> Option<((String, DeployId), String)> {
        let provision = provision_of(&host.template).filter(|id| *id != self.session.id)?;
        let driver = host.template.text("PM_MAD")?;
        let machine = DeployId::new(host.template.text("PROVISION/DEPLOY_ID")?)?;
        if !ours.contains(&(driver, near(&host.template))) {
            return None;
        }
        let whose = format!("host {} ({}) of provision {provision}", host.id, host.name);
        Some(((driver.to_owned(), machine), whose))
    }

    /// Every host object is there, once, and carries our mark. OpenNebula 7 can make two hosts of
    /// two concurrent allocates (OpenNebula/one#7527), and a machine must not be bought for those.
    async fn check_read(&self, by_id: ById) -> Result<bool, EngineError> {
        let mut named: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, name) in by_id.values() {
            *named.entry(name.as_str()).or_default() += 1;
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
                Some((provision, _)) if *provision != Some(self.session.id) => {
                    Some(format!("host {id} in OpenNebula is not the one that was made"))
                }
                Some((_, name)) if named.get(name.as_str()) > Some(&1) => {
                    Some(format!("OpenNebula has several hosts named {name}"))
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
}
