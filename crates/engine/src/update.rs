//! Plan and update: a provision becomes what a changed template says.
//!
//! First goes what the template does not have any more, machines above all, as a removal of those
//! hosts, which says what is to come of it; only when they are gone for certain does the new template take
//! the place of the old one, and from there on an update is a create that begins with a record. So one that
//! was interrupted goes on by `resume`, or by the same update again, which plans what is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use journal::{
    CreateOptions, Event, Fact, IntentId, Outcome, PlannedUpdate, ProvisionRecord, Step, Subject,
    UpdateBegun,
};
use model::{HostId, HostKey, ProvisionId, ProvisionState};
use opennebula::objects::{Host, HostState};
use template::spec::Spec;

use crate::Note;
use crate::adopt::{machines_of, names_of};
use crate::create::{encrypts_templates, needs_configuration};
use crate::delete::{Cleanup, Doomed};
use crate::doubts::perhaps_deployed;
use crate::in_use::{VmInside, refuse_if_in_use, vms_in, why_it_stays};
use crate::members::check_datastores;
use crate::overview::Pools;
use crate::plan::{Action, Current, Plan, plan, settled};

use crate::session::Session;
use crate::values::Known;
use crate::{CreateRequest, Engine, EngineError, Report, names};

/// What a provision is to become.
#[derive(Clone, Debug)]
pub struct UpdateRequest {
    /// The provision.
    pub id: ProvisionId,
    /// The resolved template.
    pub spec: Spec,
    /// The template's absolute path, for a resume.
    pub template: PathBuf,
    /// SHA-256 of all files of the template, in hexadecimal.
    pub digest: String,
    /// Content of each host's public key, in the order of the hosts, where it has one.
    pub public_keys: Vec<Option<String>>,
    /// Whether hosts that cannot be changed in place may be destroyed and made anew.
    pub replace: bool,
    /// Whether VMs on hosts that go are terminated, and how many seconds they may take to be gone.
    /// Without it such hosts stay, and so does everything else.
    pub cleanup: Option<u32>,
    /// The plan that was shown, and agreed to: nothing is done if another one would be carried out.
    pub shown: Option<Plan>,
}

/// Where an update begins.
struct Start {
    spec: Spec,
    record: ProvisionRecord,
    pools: Pools,
    /// What OpenNebula has and the journal did not know.
    found: Vec<Event>,
    /// Whether the document of the credentials was deleted: it is made anew.
    lost: bool,
}

impl Engine {
    /// What a template would change, without doing anything; without a provision, what would be created.
    ///
    /// # Errors
    /// If the provision is not there, is being deleted, or cannot be read; if [`Engine::create`] would
    /// refuse the template before it begins.
    pub async fn plan(&self, id: Option<ProvisionId>, spec: &Spec) -> Result<Plan, EngineError> {
        let Some(id) = id else {
            // Nobody's: a new provision has no id yet.
            let nobody = ProvisionId(uuid::Uuid::nil());
            let options = CreateOptions::default();
            let (_, warnings) = self.check_beginning(nobody, spec, &options).await?;
            let record = ProvisionRecord::new(nobody);
            let tell = |text| self.observer.note(&record, &Note::Warning(text));
            warnings.into_iter().for_each(tell);
            return Ok(plan(None, spec));
        };
        let start = self.start(id).await?;
        if start.lost {
            let text = "the document of the credentials was deleted: an update makes it anew";
            self.observer.note(&start.record, &Note::Warning(text.to_owned()));
        }
        check_datastores(&self.opennebula, spec).await?;
        Ok(start.plan(&start.settled(spec)))
    }

    /// Makes a provision what a template says. When it returns `Ok`, the record says how far it came.
    ///
    /// # Errors
    /// If the plan cannot be carried out, or is not the one that was shown: then nothing was changed. Or
    /// as for [`Engine::create`].
    pub async fn update(&self, request: UpdateRequest) -> Result<Report, EngineError> {
        let id = request.id;
        for host in &request.spec.hosts {
            self.drivers.find(&host.driver).map_err(EngineError::Driver)?;
        }
        let lease = self.lease(id)?;
        let start = self.start(id).await?;
        let request = UpdateRequest { spec: start.settled(&request.spec), ..request };
        check_datastores(&self.opennebula, &request.spec).await?;
        let plan = start.plan(&request.spec);
        if request.shown.as_ref().is_some_and(|shown| *shown != plan) {
            return Err(EngineError::Refused(format!(
                "provision {id} has changed since the plan was shown: nothing was done; plan again"
            )));
        }
        check(&plan, request.replace)?;
        if plan.is_empty() && !start.lost {
            let record = start.record;
            return Ok(Report::new(record));
        }
        let options = match &start.record.create {
            // The plan says which machines are asked for: those of `--skip-provision`, too.
            Some(create) => CreateOptions { skip_provision: false, ..create.options.clone() },
            None => self.options_of_others().await?,
        };
        let Start { record, found, pools, lost, .. } = start;
        let hosts = plan.leaving_hosts();
        let cleanup = request.cleanup;
        if cleanup.is_none() {
            let ids: Vec<i32> = hosts.iter().filter_map(|k| record.hosts.get(k)?.host_id).collect();
            let leaving = pools.hosts.iter().filter(|host| ids.contains(&host.id.0));
            refuse_if_in_use(&[], leaving, true)?;
        }
        self.refuse_if_needed(&plan, &record).await?;
        let UpdateRequest { spec, template, digest, public_keys, .. } = request;
        let request = CreateRequest { id, spec, template, digest, options, public_keys };
        let create = self.begun(&request)?;
        let (layout, outdated) = (plan.layout.clone(), plan.outdated());
        let needs = |index| {
            let key = plan.layout.host(index);
            let is_it = |change: &journal::Outdated| {
                change.subject == Subject::Host(key) && change.reconfigure
            };
            needs_configuration(&record, key) || outdated.iter().any(is_it)
        };
        let warnings = self.check_configuration(&request.spec, &request.options, needs).await?;
        let session = Arc::new(Session::new(self, self.before(id, record.clone()).await?, lease));
        session.commit(found).await?;
        if let (true, Some(before)) = (lost, record.create.clone()) {
            self.without_document(&session, before).await?;
        }
        warnings.into_iter().for_each(|text| session.note(Note::Warning(text)));
        let leaving = plan.leaving_objects();
        let leaving_names = names_of_lost(&record, &leaving);
        let begun = UpdateBegun { create, layout, outdated, leaving, leaving_names };
        self.carry_out(session, request, PlannedUpdate { begun, hosts, cleanup }).await
    }

    /// The hosts that go, then the new template, then the rest: from the beginning, or what is left of it.
    pub(crate) async fn carry_out(
        &self,
        session: Arc<Session>,
        request: CreateRequest,
        update: PlannedUpdate,
    ) -> Result<Report, EngineError> {
        // Before anything else: the document then has the secrets of both templates, and a resume needs no file.
        let known = Known::new(&request.spec.name, request.id);
        let secrets = self.secrets_of(&session, &request, &known).await?;
        let is_there = session.record().secrets.made().is_some();
        if is_there && session.make_secrets(&secrets, &known).await?.is_err() {
            return Ok(Report::of(&session, self.stop.requested()));
        }
        if !are_gone(&session.record(), &update.hosts) {
            let cleanup = Cleanup { seconds: update.cleanup, own_images: false };
            let pools = Pools::read_of(&self.opennebula, request.id).await?;
            let doomed = Doomed::Update(Box::new(update.clone()));
            let report = self.remove(Arc::clone(&session), doomed, pools, cleanup).await?;
            if report.interrupted {
                return Ok(report);
            }
            if !are_gone(&session.record(), &update.hosts) {
                session.commit(vec![Event::Ended { state: ProvisionState::Failed }]).await?;
                return Ok(Report::of(&session, false));
            }
        }
        session.commit(vec![Event::UpdateBegun(Box::new(update.begun))]).await?;
        let pools = Pools::read_of(&self.opennebula, request.id).await?;
        self.run_create(session, request, &pools).await
    }

    /// The provision as it is, from the journal, or from OpenNebula alone.
    async fn start(&self, id: ProvisionId) -> Result<Start, EngineError> {
        let record = self.journal.record(id).await?;
        let pools = Pools::read_of(&self.opennebula, id).await?;
        if record.is_none() && pools.is_empty() {
            return Err(EngineError::NotFound(id));
        }
        let mut record = record.unwrap_or_else(|| ProvisionRecord::new(id));
        self.check_front_end(&record).await?;
        if record.doomed {
            return Err(EngineError::Refused(format!(
                "provision {id} is being deleted, or was: nothing is made for it any more"
            )));
        }
        let mut found;
        let spec = match record.create.clone() {
            Some(create) => {
                let adopted = self.adopt(&record, &pools, false);
                refuse_strangers(&record, &adopted)?;
                found = machines_of(&record, adopted);
                found.extend(self.gone(&record, &pools).await?);
                found.iter().for_each(|event| record.apply(self.clock.now(), event));
                self.spec_as_far_as_known(&create, &pools).await?
            }
            None => {
                found = self.adopt(&record, &pools, true);
                found.extend(perhaps_deployed(&record, &found, |_| true));
                found.iter().for_each(|event| record.apply(self.clock.now(), event));
                let used = in_use(&record, &pools);
                used.iter().for_each(|event| record.apply(self.clock.now(), event));
                found.extend(used);
                record.layout.hosts = layout_of(&record, &pools);
                self.spec_of_objects(&pools).await?
            }
        };
        self.tell_gone(&record, &pools).await;
        let lost = record.create.is_some() && self.is_document_lost(&record, &pools).await?;
        Ok(Start { spec, record, pools, found, lost })
    }

    /// Warns of hosts whose objects somebody deleted while their machines are there: nothing makes such an object
    /// anew. What this user may not see is not said to be gone.
    pub(crate) async fn tell_gone(&self, record: &ProvisionRecord, pools: &Pools) {
        let hosts = self.opennebula.hosts();
        for host in record.hosts.values().filter(|host| !host.removing && host.may_cost()) {
            let is_it = |id: &i32| pools.hosts.iter().any(|there| there.id.0 == *id);
            let Some(id) = host.host_id.filter(|id| !is_it(id)) else { continue };
            let Ok(None) = hosts.look(HostId(id)).await else { continue };
            let name = record.called(host.key).unwrap_or_default();
            let text = format!(
                "host {id} ({name}) is not in OpenNebula any more, and its machine may still be there: \
                 `oneprovision host delete {}:{}` destroys it",
                record.id, host.key
            );
            self.observer.note(record, &Note::Warning(text));
        }
    }

    /// Nothing is done if a datastore that goes has disks of VMs. Those on hosts that go are terminated before.
    async fn refuse_if_needed(
        &self,
        plan: &Plan,
        record: &ProvisionRecord,
    ) -> Result<(), EngineError> {
        let is_datastore = |subject: &Subject| matches!(subject, Subject::Datastore(_));
        let datastores = plan.leaving_objects().into_iter().filter(is_datastore);
        let vms = vms_in(self, datastores.filter_map(|subject| record.id_of(subject))).await?;
        let leaving = plan.leaving_hosts();
        let goes = |vm: &&VmInside| {
            let is_it = |key: &HostKey| record.hosts.get(key).and_then(|host| host.host_id);
            leaving.iter().any(|key| is_it(key).map(HostId) == vm.host && vm.host.is_some())
        };
        let refused = why_it_stays(vms.iter().filter(|vm| !goes(vm)));
        refused.map_or(Ok(()), |why| Err(EngineError::Refused(why)))
    }

    /// The record as the journal has it, before what was found is committed.
    async fn before(
        &self,
        id: ProvisionId,
        record: ProvisionRecord,
    ) -> Result<ProvisionRecord, EngineError> {
        match record.create.is_some() {
            true => Ok(record),
            false => {
                let known = self.journal.record(id).await?;
                Ok(known.unwrap_or_else(|| ProvisionRecord::new(id)))
            }
        }
    }

    /// Options for a provision that this tool did not make.
    async fn options_of_others(&self) -> Result<CreateOptions, EngineError> {
        let version = self.opennebula.system().version().await;
        let version = version.map_err(EngineError::opennebula("the front-end cannot be used"))?;
        Ok(CreateOptions {
            secrets_in_template: encrypts_templates(&version),
            ..CreateOptions::default()
        })
    }
}

impl Start {
    fn current(&self) -> Current<'_> {
        let Self { spec, record, pools, .. } = self;
        Current { spec, record, pools, exact: record.create.is_some() }
    }

    fn plan(&self, spec: &Spec) -> Plan {
        plan(Some(self.current()), spec)
    }

    /// The template without what a provider would change of machines that are there.
    fn settled(&self, spec: &Spec) -> Spec {
        settled(self.current(), spec)
    }
}

fn check(plan: &Plan, replace: bool) -> Result<(), EngineError> {
    if let Some(reason) = plan.refused.first() {
        return Err(EngineError::Refused(reason.clone()));
    }
    let replaced = plan.changes.iter().filter(|change| change.action == Action::Replace);
    let names: Vec<&str> = replaced.map(|change| change.name.as_str()).collect();
    match names.is_empty() || replace {
        true => Ok(()),
        false => Err(EngineError::Refused(format!(
            "{} cannot be changed in place: with --replace each is destroyed, and bought anew",
            names.join(", ")
        ))),
    }
}

/// A host that was added with another journal has a number there that the next one gets here: the two would share a
/// machine.
fn refuse_strangers(record: &ProvisionRecord, found: &[Event]) -> Result<(), EngineError> {
    let stranger = found.iter().find_map(|event| match event {
        Event::Found { subject: Subject::Host(key), id, name, .. } => {
            (!record.hosts.contains_key(key)).then_some((id, name))
        }
        _ => None,
    });
    let Some((id, name)) = stranger else { return Ok(()) };
    Err(EngineError::Refused(format!(
        "OpenNebula has host {id} ({name}) of provision {}, and this journal does not: it was added elsewhere. \
         Change the provision where that was done",
        record.id
    )))
}

/// The names of those objects that are to go and have no id, as the template so far tells them.
fn names_of_lost(record: &ProvisionRecord, leaving: &[Subject]) -> Vec<(Subject, String)> {
    let create = record.create.as_ref();
    let names = create.and_then(|create| names_of(record.id, create, &record.layout));
    let is_lost = |subject: &Subject| record.id_of(*subject).is_none() && leaving.contains(subject);
    let names = names.into_iter().flatten().filter(|(subject, _)| is_lost(subject));
    names.filter_map(|(subject, name)| Some((subject, name?))).collect()
}

fn are_gone(record: &ProvisionRecord, keys: &[HostKey]) -> bool {
    keys.iter().all(|key| record.hosts.get(key).is_none_or(|host| host.removed))
}

/// Whose the entries are of a template that was made from OpenNebula's objects: a host that was deleted
/// has none any more.
fn layout_of(record: &ProvisionRecord, pools: &Pools) -> Vec<HostKey> {
    let keys = record.hosts.values().filter_map(|host| Some((host.host_id?, host.key)));
    let keys: BTreeMap<i32, HostKey> = keys.collect();
    pools.hosts.iter().filter_map(|host| keys.get(&host.id.0).copied()).collect()
}

/// What hosts have behind them that were found, by this operation or an earlier one, and that have their
/// machine's address for a name.
pub(crate) fn in_use(record: &ProvisionRecord, pools: &Pools) -> Vec<Event> {
    let mut next = record.next_intent();
    let mut events = Vec::new();
    let is_found = |host: &&journal::HostRecord| {
        // One that boots may come back with another address.
        let boots = host.power_trouble().is_some_and(|trouble| trouble.is_open);
        let is_new = host.address.is_none() && host.enlisted.is_none() && !boots;
        is_new && host.machine.id().is_some() && host.open.is_none()
    };
    for known in record.hosts.values().filter(is_found) {
        let (Some(id), Some(name)) = (known.host_id, known.name.as_ref()) else { continue };
        let host = &known.key;
        if names::provision_of_host(name).is_some() {
            continue;
        }
        let offline = |there: &&Host| there.id.0 == id && there.state == HostState::Offline;
        let enabled = !pools.hosts.iter().any(|there| offline(&there));
        let object = pools.hosts.iter().find(|there| there.id.0 == id);
        let status = object.and_then(|o| o.template.text("PROVISION_CONFIGURATION_STATUS"));
        // One that stands there beside a name that is an address itself is from before.
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        let address = object.and_then(|o| o.template.text("PROVISION_ADDRESS"));
        let address = address.filter(|_| !is_address).unwrap_or(name);
        events.push(Event::Addressed { host: *host, address: address.to_owned() });
        // However many stages that was.
        let all = Fact::Stage { name: String::new(), done: u32::MAX, of: u32::MAX, changed: 0 };
        let configured = (status == Some("configured")).then_some((Step::Configure, all));
        let enlisted = (Step::Enlist, Fact::Enlisted { name: name.to_owned(), enabled });
        for (step, fact) in configured.into_iter().chain([enlisted]) {
            let (id, subject) = (next, Subject::Host(*host));
            events.push(Event::Intent { id, subject, step, key: None });
            events.push(Event::Outcome { id, outcome: Outcome::Done(fact) });
            next = IntentId(next.0 + 1);
        }
    }
    events
}
