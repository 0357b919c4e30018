//! The fold: what a provision is, from its events alone.

use std::collections::{BTreeMap, BTreeSet};

use model::{DeployId, HostKey, HostState, ProvisionId, ProvisionState};
use serde::Serialize;

use crate::event::{
    CreateBegun, Event, IntentId, Layout, Outcome, PlannedUpdate, Step, Subject, UpdateBegun,
    VirtualKind,
};
use crate::power::{Power, PowerRecord, PowerResult};

mod host;
mod object;

pub use host::{Configuration, HostRecord, Machine, Told};
pub use object::ObjectRecord;

use host::end_host_step;
use object::end_object_step;

/// An intent that has no outcome yet: its step may or may not have been taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenIntent {
    /// Number of the intent.
    pub id: IntentId,
    /// What was about to be done.
    pub step: Step,
    /// Idempotency key.
    pub key: Option<String>,
    /// The driver's process, if it was started and said so.
    pub process: Option<serde_json::Value>,
}

/// A provision as its events tell of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProvisionRecord {
    /// Its id.
    pub id: ProvisionId,
    /// What was asked for; `None` for a provision that this journal did not make.
    pub create: Option<CreateBegun>,
    /// The update that is begun when the hosts that it removes are gone.
    #[serde(skip)]
    pub planned: Option<Box<PlannedUpdate>>,
    /// What the entries of its template stand for.
    pub layout: Layout,
    /// How it stands as a whole.
    pub state: ProvisionState,
    /// Whether its removal was asked for: then nothing of it is created any more.
    pub doomed: bool,
    /// Seconds that its VMs and images may take to be gone, if its removal takes them along.
    pub cleanup: Option<u32>,
    /// Whether it was complete once: then VMs may run on it, and nothing removes it as a whole but a
    /// delete.
    pub was_ready: bool,
    /// Whether a `configure` was begun and has not come to its end.
    pub configuring: bool,
    /// When its first event was written, milliseconds since the Unix epoch.
    pub begun_at: i64,
    /// The document that holds the credentials, if there are any.
    pub secrets: ObjectRecord,
    /// The cluster.
    pub cluster: ObjectRecord,
    /// The datastores, by their index in the template.
    pub datastores: BTreeMap<u32, ObjectRecord>,
    /// The networks, by their index in the template.
    pub networks: BTreeMap<u32, ObjectRecord>,
    /// The virtual objects, by their kind and their index in the template.
    pub virtuals: BTreeMap<VirtualKind, BTreeMap<u32, ObjectRecord>>,
    /// The hosts.
    pub hosts: BTreeMap<HostKey, HostRecord>,
    /// Subject of every intent that has no outcome yet.
    #[serde(skip)]
    open: BTreeMap<IntentId, (Subject, Step)>,
    /// The highest intent so far.
    #[serde(skip)]
    last_intent: IntentId,
    /// How many hosts are in which state. Progress is told after each event, and must not look at all
    /// hosts for it.
    #[serde(skip)]
    census: BTreeMap<HostState, usize>,
    /// The machines that are known to exist, and whose they are.
    #[serde(skip)]
    owners: BTreeSet<(DeployId, HostKey)>,
}

/// The hosts whose state an event may change.
enum Touched {
    Some(Vec<HostKey>),
    All,
}

impl ProvisionRecord {
    /// A provision of which nothing is known yet.
    pub fn new(id: ProvisionId) -> Self {
        Self {
            id,
            create: None,
            planned: None,
            layout: Layout::default(),
            state: ProvisionState::Ready,
            doomed: false,
            was_ready: false,
            configuring: false,
            cleanup: None,
            begun_at: 0,
            secrets: ObjectRecord::default(),
            cluster: ObjectRecord::default(),
            datastores: BTreeMap::new(),
            networks: BTreeMap::new(),
            virtuals: BTreeMap::new(),
            hosts: BTreeMap::new(),
            open: BTreeMap::new(),
            last_intent: IntentId(0),
            census: BTreeMap::new(),
            owners: BTreeSet::new(),
        }
    }

    /// The host whose machine that is. An id means something to its own driver only.
    pub fn owner(&self, driver: &str, machine: &DeployId) -> Option<HostKey> {
        let first = (machine.clone(), HostKey(0));
        let named = self.owners.range(first..).take_while(|(named, _)| named == machine);
        let is_of = |key: &HostKey| self.hosts.get(key).is_some_and(|host| host.driver == driver);
        named.map(|(_, owner)| *owner).find(is_of)
    }

    /// How many hosts are in which state; states without a host are not in it.
    pub fn census(&self) -> &BTreeMap<HostState, usize> {
        &self.census
    }

    /// Number of the next intent.
    pub fn next_intent(&self) -> IntentId {
        IntentId(self.last_intent.0 + 1)
    }

    /// The first host key that is not in use.
    pub fn next_key(&self) -> HostKey {
        HostKey(self.hosts.keys().next_back().map_or(0, |key| key.0 + 1))
    }

    /// Name of the provision, if it is known here.
    pub fn name(&self) -> Option<&str> {
        self.create.as_ref().map(|create| create.name.as_str())
    }

    /// The template that it is to have in the end: what a resume goes on with.
    pub fn wanted(&self) -> Option<&CreateBegun> {
        self.planned.as_ref().map(|planned| &planned.begun.create).or(self.create.as_ref())
    }

    /// The host name that the template has for a host.
    pub fn hostname(&self, key: HostKey) -> Option<&str> {
        let index = self.layout.host_index(key)?;
        self.create.as_ref()?.spec.hostname(index)
    }

    /// What people call a host: by its name in the template, else in OpenNebula.
    pub fn called(&self, key: HostKey) -> Option<&str> {
        self.hostname(key).or_else(|| self.hosts.get(&key)?.name.as_deref())
    }

    /// Number of machines that exist or may exist, those included that were asked for without an
    /// answer yet.
    pub fn machines(&self) -> usize {
        self.hosts.values().filter(|host| host.may_cost()).count()
    }

    /// Subject and step of an intent that has no outcome yet.
    pub fn open_step(&self, id: IntentId) -> Option<(Subject, Step)> {
        self.open.get(&id).copied()
    }

    /// Whether the removal of a host was begun and has not come to its end.
    pub fn is_removing(&self) -> bool {
        self.hosts.values().any(|host| host.removing && !host.removed)
    }

    /// Whether such a removal did not even come to a failure: it is under way, or was interrupted.
    pub fn removes_on(&self) -> bool {
        let goes_on = |host: &HostRecord| host.removing && !host.removed && host.failure.is_none();
        self.hosts.values().any(goes_on)
    }

    /// The object of a subject, other than a host.
    pub fn object(&self, subject: Subject) -> Option<&ObjectRecord> {
        match subject {
            Subject::Secrets => Some(&self.secrets),
            Subject::Cluster => Some(&self.cluster),
            Subject::Datastore(index) => self.datastores.get(&index),
            Subject::Network(index) => self.networks.get(&index),
            Subject::Virtual(kind, index) => self.virtuals.get(&kind)?.get(&index),
            Subject::Host(_) => None,
        }
    }

    /// Id of an object other than a host, if there is one.
    pub fn id_of(&self, subject: Subject) -> Option<i32> {
        self.object(subject).filter(|object| !object.removed)?.id
    }

    fn object_mut(&mut self, subject: Subject) -> Option<&mut ObjectRecord> {
        match subject {
            Subject::Secrets => Some(&mut self.secrets),
            Subject::Cluster => Some(&mut self.cluster),
            Subject::Datastore(index) => self.datastores.get_mut(&index),
            Subject::Network(index) => self.networks.get_mut(&index),
            Subject::Virtual(kind, index) => self.virtuals.get_mut(&kind)?.get_mut(&index),
            Subject::Host(_) => None,
        }
    }

    /// All virtual objects, in the order in which they are deleted.
    pub fn virtual_subjects(&self) -> impl Iterator<Item = (Subject, &ObjectRecord)> {
        let of = |(kind, objects): (&VirtualKind, &BTreeMap<u32, ObjectRecord>)| {
            (*kind, objects.keys().copied().collect::<Vec<_>>())
        };
        let keys: Vec<_> = self.virtuals.iter().map(of).collect();
        keys.into_iter()
            .flat_map(|(kind, indexes)| indexes.into_iter().map(move |n| Subject::Virtual(kind, n)))
            .filter_map(|subject| Some((subject, self.object(subject)?)))
    }

    /// Takes an event into account. Events that make no sense are passed over: they cannot make
    /// more of a provision than there is, and `journal verify` reports them.
    pub fn apply(&mut self, at: i64, event: &Event) {
        if self.begun_at == 0 {
            self.begun_at = at;
        }
        // Whatever an event does to hosts, what is known of all of them together follows from it.
        match self.touched(event) {
            Touched::Some(hosts) => {
                hosts.iter().for_each(|key| self.discount(*key));
                self.take(event);
                hosts.iter().for_each(|key| self.count(*key));
            }
            Touched::All => {
                self.take(event);
                self.census.clear();
                self.owners.clear();
                let keys: Vec<HostKey> = self.hosts.keys().copied().collect();
                keys.into_iter().for_each(|key| self.count(key));
            }
        }
    }

    fn touched(&self, event: &Event) -> Touched {
        let of = |subject: Subject| match subject {
            Subject::Host(key) => vec![key],
            _ => Vec::new(),
        };
        Touched::Some(match event {
            Event::CreateBegun(_)
            | Event::Resumed
            | Event::UpdateBegun(_)
            | Event::DeleteBegun { .. }
            | Event::PowerBegun { .. }
            | Event::ConfigureBegun { .. } => return Touched::All,
            Event::HostDeleteBegun { hosts, .. } => {
                // Each once, or it would be counted twice.
                hosts.iter().copied().collect::<BTreeSet<_>>().into_iter().collect()
            }
            Event::Found { subject, .. } | Event::Intent { subject, .. } => of(*subject),
            Event::Process { id, .. } | Event::Outcome { id, .. } => {
                self.open.get(id).map(|(subject, _)| of(*subject)).unwrap_or_default()
            }
            Event::DeployIdSeen { host, .. }
            | Event::Resolved { host, .. }
            | Event::Said { host, .. }
            | Event::Addressed { host, .. }
            | Event::HostFailed { host, .. }
            | Event::Retried { host } => vec![*host],
            Event::OrphanDoomed { .. } | Event::OrphanEnded { .. } | Event::Ended { .. } => {
                Vec::new()
            }
        })
    }

    /// Takes a host into what is known of all together.
    fn count(&mut self, key: HostKey) {
        let Some(host) = self.hosts.get(&key) else { return };
        *self.census.entry(host.state()).or_default() += 1;
        if let Some(machine) = host.machine.id() {
            self.owners.insert((machine.clone(), key));
        }
    }

    /// Takes it out again, before it changes.
    fn discount(&mut self, key: HostKey) {
        let Some(host) = self.hosts.get(&key) else { return };
        let state = host.state();
        if let Some(machine) = host.machine.id() {
            self.owners.remove(&(machine.clone(), key));
        }
        if let Some(count) = self.census.get_mut(&state) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.census.remove(&state);
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::CreateBegun(begun) => self.begin_create(begun),
            Event::Resumed => self.begin_again(),
            Event::UpdateBegun(begun) => self.begin_update(begun),
            Event::DeleteBegun { cleanup } => {
                self.state = ProvisionState::Deleting;
                self.doomed = true;
                self.planned = None;
                self.cleanup = cleanup.or(self.cleanup);
                for host in self.hosts.values_mut() {
                    host.removing = true;
                    host.begin_again();
                }
                for object in self.objects_mut() {
                    object.failure = None;
                }
            }
            Event::HostDeleteBegun { hosts, update } => {
                if update.is_some() {
                    self.state = ProvisionState::Creating;
                    self.planned = update.clone();
                }
                for key in hosts {
                    if let Some(host) = self.hosts.get_mut(key) {
                        host.removing = true;
                        host.begin_again();
                    }
                }
            }
            Event::PowerBegun { power, hosts } => {
                for begun in hosts {
                    if let Some(host) = self.hosts.get_mut(&begun.host) {
                        host.begin_again();
                        host.power = Some(PowerRecord {
                            power: *power,
                            enable: begun.enable,
                            result: PowerResult::Begun,
                            was_off: host.off,
                            offline: false,
                        });
                        host.off &= *power != Power::Off;
                    }
                }
            }
            Event::ConfigureBegun { hosts, again } => {
                self.state = ProvisionState::Creating;
                self.configuring = true;
                for key in hosts {
                    if let Some(host) = self.hosts.get_mut(key) {
                        host.begin_again();
                        host.configuration.asked = true;
                        // It may have been installed anew since.
                        host.configuration.reached = false;
                        if *again {
                            host.configuration.done = 0;
                        }
                    }
                }
            }
            Event::Found { subject, id, name, driver, deploy_id } => {
                self.find(*subject, *id, name, driver.as_deref(), deploy_id.as_ref());
            }
            Event::Intent { id, subject, step, key } => {
                self.last_intent = self.last_intent.max(*id);
                let open = OpenIntent { id: *id, step: *step, key: key.clone(), process: None };
                if let Some(slot) = self.open_slot(*subject) {
                    *slot = Some(open);
                    self.open.insert(*id, (*subject, *step));
                }
                if let (Subject::Host(key), Step::Deploy) = (subject, step)
                    && let Some(host) = self.hosts.get_mut(key)
                {
                    host.attempts += 1;
                }
            }
            Event::Process { id, process } => {
                if let Some((subject, _)) = self.open.get(id).copied()
                    && let Some(Some(open)) = self.open_slot(subject)
                {
                    open.process = Some(process.clone());
                }
            }
            Event::DeployIdSeen { host, deploy_id, .. } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.machine = Machine::Exists(deploy_id.clone());
                    host.said = false;
                }
            }
            Event::Outcome { id, outcome } => self.end_intent(*id, outcome),
            Event::Resolved { host, deploy_id } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.machine = deploy_id.clone().map_or(Machine::None, Machine::Exists);
                    host.said = false;
                    host.failure = None;
                }
            }
            Event::Said { host, deploy_id } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.machine = match (deploy_id, &host.machine) {
                        (Some(id), _) => Machine::Exists(id.clone()),
                        // It was there; OpenNebula names it, and is not believed any more.
                        (None, Machine::Exists(_)) if !host.said => Machine::Gone,
                        (None, _) => Machine::None,
                    };
                    host.said = deploy_id.is_some();
                    host.announced = false;
                    host.begin_again();
                }
            }
            Event::Addressed { host, address } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.said = false;
                    host.address = Some(address.clone());
                }
            }
            Event::HostFailed { host, message } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.failure = Some(message.clone());
                }
            }
            Event::Retried { host } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.begin_again();
                }
            }
            // They are no part of a provision.
            Event::OrphanDoomed { .. } | Event::OrphanEnded { .. } => {}
            Event::Ended { state } => {
                self.configuring = false;
                self.state = match state {
                    // Whatever ended, it is not what it is to become.
                    ProvisionState::Ready if self.planned.is_some() => ProvisionState::Failed,
                    state => *state,
                };
                self.was_ready |= *state == ProvisionState::Ready;
            }
        }
    }

    fn begin_create(&mut self, begun: &CreateBegun) {
        self.state = ProvisionState::Creating;
        let drivers = begun.drivers.iter().zip(0..);
        self.hosts = drivers
            .map(|(driver, n)| (HostKey(n), HostRecord::new(HostKey(n), driver.clone())))
            .collect();
        self.datastores = (0..begun.datastores).map(|n| (n, ObjectRecord::default())).collect();
        self.networks = (0..begun.networks).map(|n| (n, ObjectRecord::default())).collect();
        let planned = |count: u32| (0..count).map(|n| (n, ObjectRecord::default())).collect();
        self.virtuals = begun.virtuals.iter().map(|(kind, n)| (*kind, planned(*n))).collect();
        self.create = Some(begun.clone());
    }

    /// What failed is tried again.
    fn begin_again(&mut self) {
        self.state = ProvisionState::Creating;
        self.configuring = false;
        self.hosts.values_mut().for_each(HostRecord::begin_again);
        for object in self.objects_mut() {
            object.failure = None;
        }
    }

    fn begin_update(&mut self, begun: &UpdateBegun) {
        self.begin_again();
        self.planned = None;
        let UpdateBegun { create, layout, outdated, leaving, leaving_names } = begun;
        for (driver, index) in create.drivers.iter().zip(0..) {
            let key = layout.host(index);
            let host = self.hosts.entry(key);
            let host = host.or_insert_with(|| HostRecord::new(key, driver.clone()));
            if !host.may_cost() {
                host.driver = driver.clone();
            }
        }
        let count = |count: u32| 0..usize::try_from(count).unwrap_or(usize::MAX);
        let datastores = count(create.datastores).map(|index| layout.datastore(index));
        let networks = count(create.networks).map(|index| layout.network(index));
        let virtuals = create.virtuals.iter();
        let virtuals = virtuals
            .flat_map(|(kind, n)| count(*n).map(|index| layout.virtual_object(*kind, index)));
        for subject in datastores.chain(networks).chain(virtuals) {
            let object = self.object_entry(subject);
            object.leaving = false;
            // Of what is not there, the template tells the name again.
            object.name = object.name.take().filter(|_| object.id.is_some());
        }
        for change in outdated {
            if !matches!(change.subject, Subject::Host(_)) {
                let object = self.object_entry(change.subject);
                object.owned = false;
                object.taken_out.extend(&change.taken_out);
            }
            if let (Subject::Host(key), true) = (change.subject, change.reconfigure)
                && let Some(host) = self.hosts.get_mut(&key)
            {
                // The host object is told that it is pending again, with the rest of its template.
                let asked = host.configuration.asked;
                host.configuration = Configuration { asked, ..Configuration::default() };
            }
            let slot = match change.subject {
                Subject::Host(key) => self.hosts.get_mut(&key).map(|host| &mut host.outdated),
                subject => Some(&mut self.object_entry(subject).outdated),
            };
            if let Some(slot) = slot {
                // What an earlier update dropped, and did not come to, is still to go.
                slot.get_or_insert_default().extend(change.dropped.iter().cloned());
            }
        }
        for subject in leaving {
            self.object_entry(*subject).leaving = true;
        }
        for (subject, name) in leaving_names {
            self.object_entry(*subject).name = Some(name.clone());
        }
        self.layout = layout.clone();
        self.create = Some(create.clone());
    }

    /// The object of a subject other than a host, made if it is not there.
    fn object_entry(&mut self, subject: Subject) -> &mut ObjectRecord {
        match subject {
            Subject::Datastore(index) => self.datastores.entry(index).or_default(),
            Subject::Network(index) => self.networks.entry(index).or_default(),
            Subject::Virtual(kind, index) => {
                self.virtuals.entry(kind).or_default().entry(index).or_default()
            }
            Subject::Secrets => &mut self.secrets,
            Subject::Cluster | Subject::Host(_) => &mut self.cluster,
        }
    }

    fn find(
        &mut self,
        subject: Subject,
        id: i32,
        name: &str,
        driver: Option<&str>,
        deploy_id: Option<&DeployId>,
    ) {
        if let Subject::Host(key) = subject {
            let host = self
                .hosts
                .entry(key)
                .or_insert_with(|| HostRecord::new(key, driver.unwrap_or_default().to_owned()));
            host.host_id = Some(id);
            host.name = Some(name.to_owned());
            if let (Some(deploy_id), Machine::None | Machine::Maybe { .. }) =
                (deploy_id, &host.machine)
            {
                host.machine = Machine::Exists(deploy_id.clone());
                host.announced = true;
            }
            return;
        }
        let object = self.object_entry(subject);
        object.id = Some(id);
        object.name = Some(name.to_owned());
        // Whatever was taken for its end, it is there.
        object.removed = false;
        // These carry our mark from their making on; others are written anew by the next create or update.
        object.complete |= matches!(subject, Subject::Virtual(..));
    }

    /// The objects of a subject's kind, which are none for hosts, with their numbers.
    pub fn of_kind(&self, subject: Subject) -> Vec<(u32, &ObjectRecord)> {
        let of = match subject {
            Subject::Host(_) => return Vec::new(),
            Subject::Cluster => return vec![(0, &self.cluster)],
            Subject::Secrets => return vec![(0, &self.secrets)],
            Subject::Datastore(_) => Some(&self.datastores),
            Subject::Network(_) => Some(&self.networks),
            Subject::Virtual(kind, _) => self.virtuals.get(&kind),
        };
        of.into_iter().flatten().map(|(n, object)| (*n, object)).collect()
    }

    /// Whether OpenNebula has nothing of it any more, as far as is known.
    pub fn is_nowhere(&self) -> bool {
        let is_there =
            |object: &ObjectRecord| object.open.is_some() || object.id.is_some() && !object.removed;
        !self.objects().any(is_there)
            && self.hosts.values().all(|host| host.removed || host.host_id.is_none())
    }

    /// Everything but the hosts.
    pub fn objects(&self) -> impl Iterator<Item = &ObjectRecord> {
        [&self.secrets, &self.cluster]
            .into_iter()
            .chain(self.datastores.values())
            .chain(self.networks.values())
            .chain(self.virtuals.values().flat_map(BTreeMap::values))
    }

    fn objects_mut(&mut self) -> impl Iterator<Item = &mut ObjectRecord> {
        [&mut self.secrets, &mut self.cluster]
            .into_iter()
            .chain(self.datastores.values_mut())
            .chain(self.networks.values_mut())
            .chain(self.virtuals.values_mut().flat_map(BTreeMap::values_mut))
    }

    fn open_slot(&mut self, subject: Subject) -> Option<&mut Option<OpenIntent>> {
        match subject {
            Subject::Host(key) => Some(&mut self.hosts.get_mut(&key)?.open),
            other => Some(&mut self.object_mut(other)?.open),
        }
    }

    fn end_intent(&mut self, id: IntentId, outcome: &Outcome) {
        let Some((subject, step)) = self.open.remove(&id) else { return };
        if let Some(slot) = self.open_slot(subject) {
            *slot = None;
        }
        if let Subject::Host(key) = subject {
            if let Some(host) = self.hosts.get_mut(&key) {
                end_host_step(host, step, outcome);
            }
        } else if let Some(object) = self.object_mut(subject) {
            end_object_step(object, step, outcome);
        }
    }
}
