//! Removal of a provision: every machine that may exist, then every object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use driver::deployment::DeploymentFile;
use journal::{Event, HostRecord, PlannedUpdate, ProvisionRecord};
use model::{Attributes, HostId, HostKey, ProvisionId, ProvisionState, Value};
use opennebula::objects::{Host, HostState, HostStatus, Image, UserId};
use template::Spec;
use tokio::task::JoinSet;

use crate::adopt::{adopt_images, copies, machines_of};
use crate::again::repeat;
use crate::barred::Barred;
use crate::create::{encrypts_templates, is_whole, wanted};
use crate::doubts::perhaps_deployed;
use crate::error::describe;
use crate::hosts::{HostWork, Work};
use crate::in_use::{
    VmInside, refuse_if_in_use, refuse_if_reserved, refuse_if_used_elsewhere, vms_in, why_it_stays,
    without_template,
};
use crate::observe::{Note, Phase};
use crate::overview::{Pools, host_provision};
use crate::planner::Goal;

use crate::secrets::{Revealed, is_concealed};
use crate::session::Session;
use crate::values::{Known, provision_of};
use crate::{Engine, EngineError, Report, names};

/// What is to be removed.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// The provision.
    pub id: ProvisionId,
    /// These hosts of it only, by their ids in OpenNebula or, where somebody deleted the object, the id that it
    /// had; `None` for all there is.
    pub hosts: Option<Vec<HostId>>,
    /// Whether VMs on its hosts are terminated and images in its datastores deleted first, and how
    /// many seconds they may take to be gone. Without it such a provision is not deleted.
    pub cleanup: Option<u32>,
}

/// What is done about VMs and images that stand in the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cleanup {
    /// They go too; so many seconds they may take.
    pub seconds: Option<u32>,
    /// The provision's own images go in any case, and do not count as being in the way.
    pub own_images: bool,
}

impl Cleanup {
    /// How long images may take that only go because they are the provision's own (5.12).
    const DEFAULT: u32 = 20;

    fn deadline(self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(Self::DEFAULT).into())
    }
}

/// What is removed of a provision.
pub(crate) enum Doomed {
    /// Everything; with the template, if it could be read again.
    All(Option<Box<Spec>>),
    /// These hosts, by their ids in OpenNebula.
    Hosts(Vec<HostId>),
    /// Those that an update removes first, also such as have no object.
    Update(Box<PlannedUpdate>),
    /// Those whose removal was begun, also such as have no object; with the template, if it could be read again.
    Begun(Option<Box<Spec>>),
}

impl Doomed {
    /// Whether the command can take with it what is in the way.
    fn offers_cleanup(&self) -> bool {
        matches!(self, Self::All(_) | Self::Update(_))
    }

    /// Whether this host of the record goes.
    fn has(&self, host: &HostRecord) -> bool {
        match self {
            Self::All(_) => true,
            // Also one whose object somebody deleted: its machine is still there.
            Self::Hosts(ids) => {
                !host.removed && host.host_id.is_some_and(|id| ids.contains(&HostId(id)))
            }
            Self::Update(update) => update.hosts.contains(&host.key) && !host.removed,
            Self::Begun(_) => host.removing && !host.removed,
        }
    }

    /// The ids of those of the objects that go.
    fn of(&self, record: &ProvisionRecord, hosts: &[Host]) -> BTreeSet<HostId> {
        let mut ids: BTreeSet<HostId> = hosts.iter().map(|host| host.id).collect();
        let doomed: BTreeSet<HostId> = match self {
            Self::All(_) => return ids,
            Self::Hosts(ids) => ids.iter().copied().collect(),
            Self::Update(_) | Self::Begun(_) => {
                let records = record.hosts.values().filter(|host| self.has(host));
                records.filter_map(|host| host.host_id).map(HostId).collect()
            }
        };
        ids.retain(|id| doomed.contains(id));
        ids
    }
}

impl Engine {
    /// Removes a provision, whatever state it is in and whoever made it. May be repeated.
    ///
    /// # Errors
    /// If it is not known at all, if VMs run on it or images are stored in it, or as for
    /// [`Engine::create`].
    pub async fn delete(&self, request: DeleteRequest) -> Result<Report, EngineError> {
        self.delete_with(request, None).await
    }

    /// The same with the template, if it could be read again: it has the credentials.
    pub(crate) async fn delete_with(
        &self,
        request: DeleteRequest,
        spec: Option<Spec>,
    ) -> Result<Report, EngineError> {
        let id = request.id;
        let lease = self.lease(id)?;
        let record = self.journal.record(id).await?;
        let pools = Pools::read_of(&self.opennebula, id).await?;
        if record.is_none() && pools.is_empty() {
            return Err(EngineError::NotFound(id));
        }
        let record = record.unwrap_or_else(|| ProvisionRecord::new(id));
        self.check_endpoint(&record).await?;
        if record.create.is_none() {
            self.check_that_all_is_seen(id).await?;
        }
        if record.state == ProvisionState::Deleted && pools.is_empty() {
            return Ok(Report::new(record));
        }
        // What a removal was asked for holds until it has come to its end.
        let seconds = request.cleanup.or(record.cleanup);
        let session = Arc::new(Session::new(self, record, lease));
        let doomed = match request.hosts {
            Some(hosts) => Doomed::Hosts(hosts),
            None => Doomed::All(spec.map(Box::new)),
        };
        self.remove(session, doomed, pools, Cleanup { seconds, own_images: false }).await
    }

    /// Removes some hosts, or everything; `pools` are those of the provision.
    pub(crate) async fn remove(
        &self,
        session: Arc<Session>,
        what: Doomed,
        pools: Pools,
        cleanup: Cleanup,
    ) -> Result<Report, EngineError> {
        let mut pools = pools;
        let record = session.record().clone();
        let hidden = self.hosts_beyond(&record, &pools.hosts).await?;
        pools.hosts.extend(hidden);
        let doomed = what.of(&session.record(), &pools.hosts);
        let there = || pools.hosts.iter().filter(|host| doomed.contains(&host.id));
        let whole = matches!(what, Doomed::All(_));
        let stored = if whole { pools.images_in_datastores() } else { Vec::new() };
        if cleanup.seconds.is_none() {
            let own = |image: &&Image| provision_of(&image.template) == Some(session.id);
            let foreign = |image: &&Image| !(cleanup.own_images && own(image));
            let stored: Vec<&Image> = stored.iter().filter(foreign).collect();
            refuse_if_in_use(&stored, there(), what.offers_cleanup())?;
        } else if whole {
            refuse_if_used_elsewhere(&pools, &stored)?;
        }
        // A provision that is cleaned up after itself is not kept for what it has become meanwhile.
        if whole && !cleanup.own_images {
            refuse_if_reserved(&pools)?;
        }
        if whole {
            let vms = vms_in(self, pools.datastores.iter().map(|datastore| datastore.id.0)).await?;
            // Those on the provision's own hosts were refused above, or go with the clean-up.
            let stays = |vm: &&VmInside| vm.host.is_none_or(|host| !doomed.contains(&host));
            if let Some(why) = why_it_stays(vms.iter().filter(stays)) {
                return Err(EngineError::Refused(why));
            }
        }
        let is_online = |host: &&Host| host.state != HostState::Offline;
        let online: Vec<HostId> = there().filter(is_online).map(|host| host.id).collect();

        let before = session.record().state;
        let mut found = self.adopt(&session.record(), &pools, whole);
        if let Doomed::Begun(_) = what {
            // What goes is known, and others are for the operation that asks for them.
            found = machines_of(&session.record(), found);
        }
        if whole {
            let copies = copies(&record, &pools, &found);
            copies.into_iter().for_each(|text| session.note(Note::Warning(text)));
        }
        let is_doomed = |id| doomed.contains(&HostId(id));
        found.extend(perhaps_deployed(&session.record(), &found, is_doomed));
        if whole {
            if cleanup.seconds.is_some() {
                adopt_images(&session.record(), &stored, &mut found);
            }
            // In one commit: what is half made may be taken into the record only to be removed.
            found.push(Event::DeleteBegun { cleanup: cleanup.seconds });
        }
        session.commit(found).await?;
        let keys: Vec<HostKey> = {
            let record = session.record();
            record.hosts.values().filter(|host| what.has(host)).map(|host| host.key).collect()
        };
        let offers_cleanup = what.offers_cleanup();
        let (update, spec) = match what {
            Doomed::Update(update) => (Some(update), None),
            Doomed::Begun(spec) | Doomed::All(spec) => (None, spec),
            Doomed::Hosts(_) => (None, None),
        };
        let goes_on = update.is_some();
        if !whole {
            session.commit(vec![Event::HostDeleteBegun { hosts: keys.clone(), update }]).await?;
        }
        let revealed = Revealed::read(self, &pools).await?;
        let pools = self.decrypted(pools).await?;
        let spec = match spec {
            Some(spec) => Some(*spec),
            None => self.spec_without_objects(&session, &pools, &revealed).await,
        };
        let mut hosts = self.works_of(&session, pools.hosts, &revealed, spec.as_ref());
        // Into an object that goes nothing could be written but the id of its machine, with its mark.
        for work in hosts.values_mut() {
            let mut marked = Attributes::new();
            let mark = work.stored.get("PROVISION").cloned();
            mark.into_iter().for_each(|mark| marked.push("PROVISION", mark));
            work.stored = marked;
        }
        let work = Arc::new(Work::new(session, hosts, Goal::Absent));
        work.session.note(Note::Phase(Phase::Undeploying));
        self.take_offline(&work.session, &online).await?;
        if !online.is_empty() || cleanup.seconds.is_some() {
            // Nothing can be placed on them any more; something may have been in the meantime.
            let hosts = self.opennebula.hosts();
            let again =
                hosts.pool_map(|host| doomed.contains(&host.id).then(|| without_template(host)));
            let again =
                again.await.map_err(EngineError::opennebula("the hosts' VMs cannot be read"))?;
            let cleared = self.clear_of_vms(&work.session, &again, cleanup, offers_cleanup).await;
            if whole && cleared.is_err() {
                work.session.commit(vec![Event::Ended { state: ProvisionState::Failed }]).await?;
            }
            cleared?;
        }
        if whole && (cleanup.seconds.is_some() || cleanup.own_images) {
            let gone = work.session.remove_images(cleanup.deadline()).await?;
            // A machine costs more than an image that stays; but what somebody keeps data in is left
            // as it is, if its images cannot be deleted.
            if !gone && !cleanup.own_images {
                work.session.commit(vec![Event::Ended { state: ProvisionState::Failed }]).await?;
                return Ok(Report::of(&work.session, false));
            }
        }
        let settled = whole || goes_on || self.settle_without_hosts(&work).await;
        work.drive_all(keys.clone(), true).await?;
        if self.stop.requested() {
            return Ok(Report::of(&work.session, true));
        }
        if whole {
            work.session.note(Note::Phase(Phase::DeletingObjects));
            let objects = work.session.remove_objects().await?;
            let state = state_after(&work.session.record(), objects);
            if state == ProvisionState::Deleted {
                self.configure.discard(work.session.id);
            }
            work.session.commit(vec![Event::Ended { state }]).await?;
        } else if !goes_on {
            let state = state_without_hosts(&work, before, &keys, settled);
            work.session.commit(vec![Event::Ended { state }]).await?;
        }
        Ok(Report::of(&work.session, false))
    }

    /// Gives objects what is another one without the hosts that are about to go: their addresses may be
    /// somebody else's next. Whatever comes of it, machines that cost money go.
    async fn settle_without_hosts(&self, work: &Work) -> bool {
        if work.session.record().doomed {
            return true;
        }
        let Some(spec) = work.session.stored_spec() else { return true };
        let record = work.session.record().clone();
        if let Err(error) = self.check_front_end(&record).await {
            work.session.note(Note::Warning(describe(&error)));
            return false;
        }
        work.write_without_hosts(&spec).await.unwrap_or_else(|error| {
            work.session.note(Note::Warning(describe(&error)));
            false
        })
    }

    /// Sees to it that no VM is on these hosts.
    async fn clear_of_vms(
        &self,
        session: &Session,
        hosts: &[Host],
        cleanup: Cleanup,
        offers_cleanup: bool,
    ) -> Result<(), EngineError> {
        match cleanup.seconds {
            Some(_) => {
                let ids: Vec<HostId> = hosts.iter().map(|host| host.id).collect();
                if hosts.iter().any(|host| !host.vms.is_empty()) {
                    session.note(Note::Phase(Phase::CleaningUp));
                }
                session.terminate_vms(&ids, cleanup.deadline()).await
            }
            None => refuse_if_in_use(&[], hosts.iter(), offers_cleanup),
        }
    }

    /// The hosts' templates with their credentials in clear, where the front-end encrypts those.
    pub(crate) async fn decrypted(&self, mut pools: Pools) -> Result<Pools, EngineError> {
        let failed = "the credentials of the hosts cannot be read";
        let version = self.opennebula.system().version().await;
        if encrypts_templates(&version.map_err(EngineError::opennebula(failed))?) {
            let hosts = self.opennebula.hosts();
            for host in &mut pools.hosts {
                match hosts.info_decrypted(host.id).await {
                    Err(error) if error.is_gone() => {}
                    answer => *host = answer.map_err(EngineError::opennebula(failed))?,
                }
            }
        }
        Ok(pools)
    }

    /// Where no journal tells which hosts there are, the user has to see all of them: OpenNebula leaves out of a
    /// pool what somebody may not use.
    async fn check_that_all_is_seen(&self, id: ProvisionId) -> Result<(), EngineError> {
        let user = self.opennebula.users().info(UserId(-1)).await;
        let user = user.map_err(EngineError::opennebula("the user cannot be read"))?;
        if user.is_admin() {
            return Ok(());
        }
        Err(EngineError::Refused(format!(
            "provision {id} was not made with this journal, and OpenNebula may hide hosts of it from user {}: \
             nothing was destroyed; use a user of the group oneadmin",
            user.name
        )))
    }

    /// Hosts of the record that are not among those with our mark: the user may not see them, or the mark was
    /// taken away. VMs may run on them, so none of their machines goes before it is known what they are.
    async fn hosts_beyond(
        &self,
        record: &ProvisionRecord,
        seen: &[Host],
    ) -> Result<Vec<Host>, EngineError> {
        let hosts = self.opennebula.hosts();
        let seen: BTreeSet<i32> = seen.iter().map(|host| host.id.0).collect();
        let mut beyond = Vec::new();
        for host in record.hosts.values().filter(|host| !host.removed) {
            let Some(id) = host.host_id.filter(|id| !seen.contains(id)) else { continue };
            let there = hosts.look(HostId(id)).await.map_err(EngineError::opennebula(format!(
                "host {id} of the provision cannot be read, and VMs may run on it; nothing was destroyed"
            )))?;
            // One of another name, or with another mark, is somebody else's by now.
            let names = [host.name.clone(), Some(names::host_name(record.id, host.key))];
            let is_it = |there: &Host| {
                names.iter().flatten().any(|name| *name == there.name)
                    && host_provision(there).is_none_or(|id| id == record.id)
            };
            beyond.extend(there.filter(is_it));
        }
        Ok(beyond)
    }

    /// The template with its credentials, if a machine may be left of a host that has no object any
    /// more, or one that refers to a document which was deleted: nothing else tells with which account it can be
    /// looked for.
    pub(crate) async fn spec_without_objects(
        &self,
        session: &Session,
        pools: &Pools,
        revealed: &Revealed,
    ) -> Option<Spec> {
        let create = {
            let record = session.record();
            let marked = pools.hosts.iter();
            let marked = marked.filter(|host| provision_of(&host.template) == Some(record.id));
            let marked = marked.filter(|host| !is_concealed(&revealed.reveal(&host.template)));
            let there: BTreeSet<i32> = marked.map(|host| host.id.0).collect();
            let is_lone = |host: &HostRecord| {
                let is_there = host.host_id.is_some_and(|id| there.contains(&id));
                !is_there && (host.machine.may_exist() || host.open.is_some())
            };
            record.hosts.values().any(is_lone).then(|| record.create.clone()).flatten()?
        };
        match self.spec_of(&create, pools).await {
            Ok(spec) => Some(spec),
            Err(error) => {
                session.note(Note::Warning(describe(&error)));
                None
            }
        }
    }

    pub(crate) fn works_of(
        &self,
        session: &Session,
        hosts: Vec<Host>,
        revealed: &Revealed,
        spec: Option<&Spec>,
    ) -> BTreeMap<HostKey, HostWork> {
        let record = session.record();
        let mut objects: BTreeMap<i32, Host> = hosts.into_iter().map(|h| (h.id.0, h)).collect();
        let mut works = BTreeMap::new();
        let of_template = |host: &HostRecord| {
            let spec = spec?;
            let known = Known::new(&spec.name, record.id);
            let host_spec = spec.hosts.get(record.layout.host_index(host.key)?)?;
            let template = known.account(host_spec, host.key);
            (!template.has_withheld()).then_some(template)
        };
        for host in record.hosts.values() {
            let there = host.host_id.and_then(|id| objects.remove(&id));
            let is_marked = |there: &&Host| provision_of(&there.template) == Some(record.id);
            let object = there.as_ref().filter(is_marked);
            let object = object.map(|there| deployment_of(self, there, revealed));
            let is_readable = |file: &DeploymentFile| {
                let of_driver = ["PROVISION", "PROVISION_CONNECTION"];
                let mut vectors = of_driver.iter().filter_map(|key| file.template.get(key));
                !vectors.any(|value| matches!(value, Value::Vector(inner) if is_concealed(inner)))
            };
            let is_in_template =
                record.create.is_some() && record.layout.host_index(host.key).is_some();
            let (file, is_readable) = match (object, of_template(host)) {
                (Some(file), _) if is_readable(&file) => (file, true),
                // The document of the credentials was deleted.
                (Some(file), Some(template)) => (DeploymentFile { template, ..file }, true),
                (Some(file), None) => (file, false),
                // Its name and its account are enough to look for a machine, and to destroy it.
                (None, template) => {
                    let is_readable = template.is_some() || !is_in_template;
                    let file = DeploymentFile {
                        name: names::host_name(record.id, host.key),
                        pm_mad: host.driver.clone(),
                        template: template.unwrap_or_default(),
                        ..DeploymentFile::default()
                    };
                    (file, is_readable)
                }
            };
            match self.drivers.find(&host.driver) {
                Ok(driver) => {
                    let driver = match is_readable {
                        true => driver,
                        false => Arc::new(Barred::new(driver, record.id, host.key)) as _,
                    };
                    let marked = there.is_some();
                    let stored = there.map(|there| there.template).unwrap_or_default();
                    let configuration = self.configuration_of(&file, driver.as_ref());
                    let work = HostWork { driver, file, stored, marked, configuration };
                    works.insert(host.key, work);
                }
                Err(error) if host.machine.may_exist() || host.open.is_some() => {
                    session.engine().observer.note(&record, &Note::Warning(error));
                }
                Err(_) => {}
            }
        }
        works
    }

    /// Puts hosts offline.
    async fn take_offline(&self, session: &Session, ids: &[HostId]) -> Result<(), EngineError> {
        let mut tasks = JoinSet::new();
        for id in ids.iter().copied() {
            session.note(Note::Debug(format!("Offlining OpenNebula host: {id}")));
            let (hosts, patience) = (self.opennebula.hosts(), self.settings.patience);
            tasks.spawn(async move {
                match repeat(patience, || hosts.status(id, HostStatus::Offline)).await {
                    Err(error) if error.is_gone() => Ok(()),
                    answer => answer.map_err(EngineError::opennebula(format!(
                        "host {id} cannot be put offline"
                    ))),
                }
            });
        }
        // All of them come to their end, also if one cannot be put offline.
        tasks.join_all().await.into_iter().collect()
    }
}

/// How a provision stands after its removal was tried.
fn state_after(record: &ProvisionRecord, objects: bool) -> ProvisionState {
    let left = |host: &HostRecord| host.host_id.is_some() || host.machine.id().is_some();
    match objects && !record.hosts.values().any(left) {
        false => ProvisionState::Failed,
        true if record.machines() > 0 => ProvisionState::Parked,
        true => ProvisionState::Deleted,
    }
}

/// How a provision stands after the removal of some of its hosts was tried: what failed may be gone with
/// them. `settled` tells whether everything has what is known of those that stay.
fn state_without_hosts(
    work: &Work,
    before: ProvisionState,
    doomed: &[HostKey],
    settled: bool,
) -> ProvisionState {
    let record = work.session.record().clone();
    let is_gone = |key| record.hosts.get(key).is_none_or(|host: &HostRecord| host.removed);
    let whole = || {
        let options = record.create.as_ref().map(|create| &create.options);
        options.is_some_and(|o| is_whole(&record, |key| work.goal_of(wanted(o), key)))
    };
    match before {
        ProvisionState::Ready if !settled || !doomed.iter().all(is_gone) => ProvisionState::Failed,
        ProvisionState::Failed if settled && !record.doomed && whole() => ProvisionState::Ready,
        before => before,
    }
}

/// The host as OpenNebula has it, for its driver.
pub(crate) fn deployment_of(engine: &Engine, host: &Host, revealed: &Revealed) -> DeploymentFile {
    DeploymentFile {
        id: Some(host.id),
        name: host.name.clone(),
        im_mad: host.im_mad.clone(),
        vm_mad: host.vm_mad.clone(),
        pm_mad: host.template.text("PM_MAD").unwrap_or_default().to_owned(),
        cluster: Some((host.cluster_id, host.cluster_name.clone())),
        // Hosts of the old tool have their credentials in clear.
        template: engine.hide(revealed.reveal(&host.template)),
    }
}
