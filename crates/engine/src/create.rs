//! Create and resume: the same path, from an empty record or from one that is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use driver::deployment::DeploymentFile;
use journal::{
    CreateBegun, CreateOptions, Event, Fact, Lease, ObjectRecord, Outcome, Outdated,
    ProvisionRecord, Step, StoredSpec, Subject, Told, UpdateBegun,
};
use model::{ClusterId, DocumentId, HostKey, ProvisionId, ProvisionState};
use opennebula::discover::Endpoint;
use opennebula::error::code;
use opennebula::objects::{Cluster, Host};
use template::reference::{ObjectKind, evaluate};
use template::spec::Spec;

use crate::adopt::machines_of;
use crate::delete::{Cleanup, Doomed, deployment_of};
use crate::hosts::{HostWork, Work, is_vcenter};
use crate::late::{tell_first_host, waiting};
use crate::members::check_datastores;
use crate::objects::Made;
use crate::observe::{Note, Phase};
use crate::overview::{Pools, cluster_provision};
use crate::ownership::check_owners;
use crate::plan::{Current, settled};
use crate::planner::{Goal, Next, next};
use crate::providers::used_in;
use crate::secrets::{Revealed, Secrets, follow, lacks_secrets};
use crate::session::Session;
use crate::values::{Known, provision_of};
use crate::{DeleteRequest, Engine, EngineError, names, virtuals};

/// What is to be created.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Id of the new provision, drawn by the caller.
    pub id: ProvisionId,
    /// The resolved template.
    pub spec: Spec,
    /// The template's absolute path, for a resume.
    pub template: PathBuf,
    /// SHA-256 of all files of the template, in hexadecimal.
    pub digest: String,
    /// Options that hold for a resume too.
    pub options: CreateOptions,
    /// Content of each host's public key, in the order of the hosts, where it has one.
    pub public_keys: Vec<Option<String>>,
}

/// What is to be taken up again.
#[derive(Clone, Debug)]
pub struct ResumeRequest {
    /// The provision.
    pub id: ProvisionId,
    /// The template that it is to have ([`ProvisionRecord::wanted`]) read again, if it is unchanged: it has the secrets that the journal has not.
    pub spec: Option<Spec>,
    /// As in [`CreateRequest`], if the template could be read again.
    pub public_keys: Vec<Option<String>>,
}

/// Whether a front-end of that version encrypts the credentials of hosts in their templates
/// (`HOST_ENCRYPTED_ATTR` of 5.10 and 5.12). Its documents it keeps in clear.
pub(crate) fn encrypts_templates(version: &str) -> bool {
    version.starts_with("5.")
}

/// What a create wants of its hosts.
pub(crate) fn wanted(options: &CreateOptions) -> Goal {
    match options.skip_provision {
        true => Goal::Registered,
        false => Goal::Ready { enable: !options.skip_config, stages: 0 },
    }
}

/// Whether a host of a provision is still to be configured, as far as its record tells.
pub(crate) fn needs_configuration(record: &ProvisionRecord, key: HostKey) -> bool {
    let host = record.hosts.get(&key);
    host.is_none_or(|host| {
        let is_whole = host.configuration.told == Some(Told::Configured);
        !host.removed && !host.removing && !is_whole
    })
}

/// Whether a provision is all that its template wants it to be.
pub(crate) fn is_whole(record: &ProvisionRecord, goal: impl Fn(HostKey) -> Goal) -> bool {
    let is_ready = |object: &ObjectRecord| {
        object.removed || object.complete && object.outdated.is_none() && !object.leaving
    };
    let mut hosts = record.hosts.values().filter(|host| !host.removed);
    is_ready(&record.cluster)
        && record.datastores.values().all(is_ready)
        && record.networks.values().all(is_ready)
        && record.virtuals.values().flat_map(BTreeMap::values).all(is_ready)
        && record.objects().all(|object| object.failure.is_none() && object.open.is_none())
        && hosts.all(|host| next(host, goal(host.key)) == Next::Nothing)
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct Report {
    /// The provision as it stands.
    pub record: ProvisionRecord,
    /// Whether the operator asked to stop before the end.
    pub interrupted: bool,
    /// Number of hosts that were taken out of the provision because they failed.
    pub skipped: usize,
    /// The provision as it was when it was given up and its removal began, with every failure.
    pub cleaned_up: Option<Box<ProvisionRecord>>,
}

impl Report {
    pub(crate) fn of(session: &Session, interrupted: bool) -> Self {
        Self { interrupted, ..Self::new(session.record().clone()) }
    }

    /// Of an operation that came to its end, or had nothing to do.
    pub(crate) fn new(record: ProvisionRecord) -> Self {
        Self { record, interrupted: false, skipped: 0, cleaned_up: None }
    }
}

impl Engine {
    /// Creates a provision. When it returns `Ok`, the record says how far it came: a host's failure
    /// is no error of the operation.
    ///
    /// # Errors
    /// Before anything was written down: a driver that is not there, a lease that is held. Later:
    /// a journal that cannot be written, a front-end that cannot be read.
    pub async fn create(&self, request: CreateRequest) -> Result<Report, EngineError> {
        for host in &request.spec.hosts {
            self.drivers.find(&host.driver).map_err(EngineError::Driver)?;
        }
        let (version, warnings) =
            self.check_beginning(request.id, &request.spec, &request.options).await?;
        let mut request = request;
        request.options.secrets_in_template |= encrypts_templates(&version);
        let lease = self.lease(request.id)?;
        let session = Arc::new(Session::new(self, ProvisionRecord::new(request.id), lease));
        let begun = self.begun(&request)?;
        session.commit(vec![Event::CreateBegun(Box::new(begun))]).await?;
        warnings.into_iter().for_each(|text| session.note(Note::Warning(text)));
        self.run_create(session, request, &Pools::default()).await
    }

    /// What can be found wrong before anything is written down: the front-end that is not there or refuses
    /// the user, owners that are not there, a name that is taken, what hosts are configured with. The
    /// front-end's version, and what is to be warned of.
    pub(crate) async fn check_beginning(
        &self,
        id: ProvisionId,
        spec: &Spec,
        options: &CreateOptions,
    ) -> Result<(String, Vec<String>), EngineError> {
        // First of all who it is: what is wrong with a first answer is told at once, and waited for later.
        let version = self.opennebula.system().version().await;
        let version = version.map_err(EngineError::opennebula("the front-end cannot be used"))?;
        check_owners(&self.opennebula, spec).await?;
        check_datastores(&self.opennebula, spec).await?;
        self.check_cluster(id, spec).await?;
        let warnings = self.check_configuration(spec, options, |_| true).await?;
        Ok((version, warnings))
    }

    /// Goes on with what was interrupted or failed: a create, or a delete. What is done is not done
    /// again; what has no outcome is looked for first. Nothing left to do is no error.
    ///
    /// # Errors
    /// If the journal does not know it or it was made on another front-end, if the template's
    /// secrets are needed and not there, or as for [`Engine::create`].
    pub async fn resume(&self, request: ResumeRequest) -> Result<Report, EngineError> {
        let id = request.id;
        let lease = self.lease(id)?;
        let Some(record) = self.journal.record(id).await? else {
            return Err(EngineError::NotFound(id));
        };
        self.check_front_end(&record).await?;
        if record.doomed {
            drop(lease);
            let delete = DeleteRequest { id, hosts: None, cleanup: None };
            return self.delete_with(delete, request.spec).await;
        }
        let Some(create) = record.wanted().cloned() else {
            return Err(EngineError::Refused(format!(
                "provision {id} was not made with this journal: there is nothing to go on with"
            )));
        };
        let planned = record.planned.clone();
        let mut pools = Pools::read_of(&self.opennebula, id).await?;
        self.tell_gone(&record, &pools).await;
        let session = Arc::new(Session::new(self, record.clone(), lease));
        if planned.is_none() && session.record().is_removing() {
            // As a removal from the beginning: VMs may have come to these hosts since.
            let (session, doomed) =
                (Arc::clone(&session), Doomed::Begun(request.spec.clone().map(Box::new)));
            let before = session.record().state;
            match self.remove(session, doomed, pools, Cleanup::default()).await {
                Ok(report) if report.interrupted => return Ok(report),
                // The others do not wait for what is in its way.
                Err(EngineError::Refused(why)) if before != ProvisionState::Ready => {
                    self.observer.note(&record, &Note::Warning(why));
                }
                removed => drop(removed?),
            }
            pools = Pools::read_of(&self.opennebula, id).await?;
        }
        let record = session.record().clone();
        let lost = planned.is_none() && self.is_document_lost(&record, &pools).await?;
        if record.state == ProvisionState::Ready && planned.is_none() && !lost {
            return Ok(Report::new(record));
        }
        let spec = match (request.spec, create.spec.read::<Spec>()) {
            (Some(spec), Ok(before)) => {
                let current =
                    Current { spec: &before, record: &record, pools: &pools, exact: true };
                settled(current, &spec)
            }
            (Some(spec), Err(_)) => spec,
            (None, _) => self.spec_of(&create, &pools).await?,
        };
        // What is there is gone on with all the same: hosts that cannot be configured say so.
        let layout = planned.as_ref().map_or(&record.layout, |planned| &planned.begun.layout);
        let needs = |index| needs_configuration(&record, layout.host(index));
        let warnings = match self.check_configuration(&spec, &create.options, needs).await {
            Err(EngineError::Configuration(wrong)) => wrong,
            checked => checked?,
        };
        let mut begun = machines_of(&record, self.adopt(&record, &pools, false));
        begun.push(Event::Resumed);
        session.commit(begun).await?;
        warnings.into_iter().for_each(|text| session.note(Note::Warning(text)));
        let request = CreateRequest {
            id,
            spec,
            template: create.template,
            digest: create.digest,
            options: create.options,
            public_keys: request.public_keys,
        };
        match planned {
            Some(planned) => self.carry_out(session, request, *planned).await,
            None if lost => {
                self.without_document(&session, self.begun(&request)?).await?;
                self.run_create(session, request, &pools).await
            }
            None => self.run_create(session, request, &pools).await,
        }
    }

    /// Whether somebody deleted the document of the credentials.
    pub(crate) async fn is_document_lost(
        &self,
        record: &ProvisionRecord,
        pools: &Pools,
    ) -> Result<bool, EngineError> {
        let Some(id) = record.secrets.made().map(DocumentId) else { return Ok(false) };
        // Of one that a busy database hides the pool knows.
        let is_listed = || pools.documents.iter().any(|document| document.id == id);
        match self.opennebula.documents().info(id).await {
            Err(error) if error.is_gone() => Ok(!is_listed()),
            answer => answer
                .map(|_| false)
                .map_err(EngineError::opennebula("the document of the credentials cannot be read")),
        }
    }

    /// Takes the document of the credentials for deleted, as it is. A new one has another id, so that hosts are
    /// written anew, as by an update that changes nothing else.
    pub(crate) async fn without_document(
        &self,
        session: &Session,
        create: CreateBegun,
    ) -> Result<(), EngineError> {
        session.note(Note::Warning(
            "the document of the credentials was deleted: it is made anew from the template".into(),
        ));
        let id = session.draw_intent();
        let record = session.record().clone();
        let hosts = record.hosts.values();
        let hosts = hosts.filter(|h| !h.removed && !h.removing && h.host_id.is_some());
        let outdated = hosts.map(|host| Outdated {
            subject: Subject::Host(host.key),
            dropped: Vec::new(),
            taken_out: Vec::new(),
            reconfigure: false,
        });
        let begun = UpdateBegun {
            create,
            layout: record.layout.clone(),
            outdated: outdated.collect(),
            leaving: Vec::new(),
            leaving_names: Vec::new(),
        };
        // In one commit: hosts would go on referring to what is not there.
        session
            .commit(vec![
                Event::Intent { id, subject: Subject::Secrets, step: Step::Remove, key: None },
                Event::Outcome { id, outcome: Outcome::Done(Fact::Done) },
                Event::UpdateBegun(Box::new(begun)),
            ])
            .await
    }

    /// A cluster gets its name when it carries our mark already: that another one has the name would
    /// come up with a provision begun, and a cluster to be removed again.
    async fn check_cluster(&self, id: ProvisionId, spec: &Spec) -> Result<(), EngineError> {
        let known = Known::new(&spec.name, id);
        let spec = &spec.cluster;
        // A name that refers to what is not there yet is nobody's.
        let Ok(name) = evaluate(&spec.name, &known) else {
            return Ok(());
        };
        let clusters = self.opennebula.clusters();
        let taken = clusters.pool_map(|cluster| {
            (cluster.name == name).then(|| (cluster.id, provision_of(&cluster.template)))
        });
        let taken = taken.await.map_err(EngineError::opennebula("the clusters cannot be read"))?;
        let Some((id, provision)) = taken.first() else { return Ok(()) };
        let whose = match provision {
            Some(id) => format!(" of provision {id} (`oneprovision show {id}`)"),
            None => String::new(),
        };
        Err(EngineError::Refused(format!(
            "{}: OpenNebula has a cluster named {name:?} already, cluster {id}{whose}; nothing was begun: \
             give this one another name",
            spec.origin
        )))
    }

    /// What is written down of a request.
    pub(crate) fn begun(&self, request: &CreateRequest) -> Result<CreateBegun, EngineError> {
        let count = |list: &[_]| u32::try_from(list.len()).unwrap_or(u32::MAX);
        Ok(CreateBegun {
            name: request.spec.name.clone(),
            endpoint: self.endpoint.clone(),
            template: request.template.clone(),
            digest: request.digest.clone(),
            options: request.options.clone(),
            spec: StoredSpec::of(&request.spec).map_err(|e| {
                EngineError::Template(format!("the template cannot be written down: {e}"))
            })?,
            drivers: request.spec.hosts.iter().map(|host| host.driver.clone()).collect(),
            datastores: count(&request.spec.datastores),
            networks: count(&request.spec.networks),
            virtuals: virtuals::counts(&request.spec),
        })
    }

    /// The template as the journal has it, with all its secrets.
    pub(crate) async fn spec_of(
        &self,
        create: &CreateBegun,
        pools: &Pools,
    ) -> Result<Spec, EngineError> {
        let spec = self.spec_as_far_as_known(create, pools).await?;
        if lacks_secrets(&spec) && !create.options.secrets_in_template {
            return Err(EngineError::Template(format!(
                "the credentials of this provision stand nowhere but in the template {}, which has \
                 changed or is gone",
                create.template.display()
            )));
        }
        Ok(spec)
    }

    /// The template as the journal has it, with those secrets that the provision's document has.
    pub(crate) async fn spec_as_far_as_known(
        &self,
        create: &CreateBegun,
        pools: &Pools,
    ) -> Result<Spec, EngineError> {
        let mut spec: Spec = create.spec.read().map_err(|e| {
            EngineError::Template(format!("the template in the journal cannot be read: {e}"))
        })?;
        if let Some(document) = pools.documents.first() {
            let secrets = Secrets::read(&self.opennebula, document.id).await;
            let secrets = secrets.map_err(EngineError::opennebula(
                "the document of the credentials cannot be read",
            ))?;
            if let Some(secrets) = secrets {
                secrets.fill(&mut spec, &create.digest);
            }
        }
        self.provider_secrets(used_in(&spec)).await?.fill(&mut spec);
        Ok(spec)
    }

    /// The same, and the cluster that has the id of the provision's is not somebody else's: a front-end that
    /// was installed anew, or was given an older database, has the old address. A delete looks at each
    /// object instead, since the machines have to go.
    pub(crate) async fn check_front_end(
        &self,
        record: &ProvisionRecord,
    ) -> Result<(), EngineError> {
        self.check_endpoint(record).await?;
        let Some(id) = record.cluster.id.filter(|_| !record.cluster.removed).map(ClusterId) else {
            return Ok(());
        };
        let there = match self.opennebula.clusters().look(id).await {
            // Who may work on hosts need not see the cluster.
            Err(error) if error.code() == Some(code::AUTHORIZATION) => return Ok(()),
            there => there.map_err(EngineError::opennebula("the cluster cannot be read"))?,
        };
        let provision = record.id;
        let is_ours = |cluster: &Cluster| cluster_provision(cluster) == Some(provision);
        match there.filter(|cluster| !is_ours(cluster)) {
            None => Ok(()),
            Some(other) => Err(EngineError::Refused(format!(
                "cluster {id} ({}) of {} does not carry the mark of provision {provision}, whose cluster has \
                 that id: the front-end was installed anew or has another database, or the mark was removed. \
                 Nothing was done. `oneprovision delete {provision}` destroys the machines, and leaves alone \
                 what is not the provision's",
                other.name, self.endpoint
            ))),
        }
    }

    /// A provision is worked on only where it was made: ids mean nothing elsewhere. Under another address it is
    /// the same front-end if the provision's cluster is there, with our mark.
    pub(crate) async fn check_endpoint(&self, record: &ProvisionRecord) -> Result<(), EngineError> {
        let Some(create) = record.create.as_ref().filter(|create| !self.is_at(&create.endpoint))
        else {
            return Ok(());
        };
        if record.doomed && record.is_nowhere() {
            // What is left of it is with the provider.
            return Ok(());
        }
        let (id, made_on) = (record.id, &create.endpoint);
        let clusters = self.opennebula.clusters();
        let ours = clusters.pool_map(|cluster| {
            // A create that was interrupted may not know its id.
            let is_it = record.cluster.id.is_none_or(|known| known == cluster.id.0);
            (is_it && cluster_provision(&cluster) == Some(id)).then_some(())
        });
        let ours = ours.await.map_err(EngineError::opennebula("the clusters cannot be read"))?;
        if ours.is_empty() {
            return Err(EngineError::Refused(format!(
                "provision {id} was made on {made_on}, and {} does not have its cluster",
                self.endpoint
            )));
        }
        let text = format!(
            "provision {id} was made on {made_on}; {} has its cluster, and is taken for the same OpenNebula",
            self.endpoint
        );
        self.observer.note(record, &Note::Warning(text));
        Ok(())
    }

    /// Whether that address is the one of the front-end that is worked on.
    pub fn is_at(&self, endpoint: &str) -> bool {
        Endpoint::are_same(endpoint, &self.endpoint)
    }

    pub(crate) fn lease(&self, id: ProvisionId) -> Result<Lease, EngineError> {
        Lease::take(&self.leases, id)
            .map_err(|source| EngineError::Lease { provision: id, source: Box::new(source) })
    }

    pub(crate) async fn run_create(
        &self,
        session: Arc<Session>,
        request: CreateRequest,
        there: &Pools,
    ) -> Result<Report, EngineError> {
        let spec = &request.spec;
        session.note(Note::Phase(Phase::CreatingObjects));
        let mut known = Known::new(&spec.name, session.id);
        tell_first_host(&mut known, &session.record(), spec);
        let mut settled = waiting(spec, &session.record().layout).is_empty();
        let secrets = self.secrets_of(&session, &request, &known).await?;
        match session.make_objects(spec, &secrets, &mut known).await? {
            Made::All => {}
            Made::Stopped => return self.end_create(&session, None, settled).await,
            Made::Cleanup => return self.clean_up(session, &request.options).await,
        }
        let hosts = self.host_works(&session, &request, &mut known, &secrets, there).await?;
        let wanted = wanted(&request.options);
        let work = Arc::new(Work::new(session, hosts, wanted));
        let mut cleanup = false;
        if work.register().await? {
            if !spec.hosts.is_empty() && wanted != Goal::Registered {
                work.session.note(Note::Phase(Phase::Deploying));
            }
            // Those whose removal was begun have been tried.
            let stays = |key: &HostKey| work.session.host(*key).is_none_or(|host| !host.removing);
            work.drive_all(work.hosts.keys().copied().filter(stays).collect(), false).await?;
            if !work.is_stopping() {
                work.ask_late(spec, &mut known).await;
                if !spec.virtual_objects.is_empty() {
                    work.tell_hosts(&mut known);
                }
                let options = &request.options;
                let mut made = work.session.make_virtuals(spec, options, &mut known).await?;
                if made == Made::All {
                    made = work.write_late(spec, &mut known).await?;
                    settled = made == Made::All;
                }
                cleanup = made == Made::Cleanup;
            }
        }
        if !cleanup && !work.is_stopping() {
            work.session.remove_leaving().await?;
        }
        match (cleanup || work.is_cleanup()) && !self.stop.requested() {
            true => self.clean_up(Arc::clone(&work.session), &request.options).await,
            false => self.end_create(&work.session, Some(&work), settled).await,
        }
    }

    /// The credentials of a request, beside those that the provision's document has already.
    pub(crate) async fn secrets_of(
        &self,
        session: &Session,
        request: &CreateRequest,
        known: &Known,
    ) -> Result<Secrets, EngineError> {
        if request.options.secrets_in_template {
            return Ok(Secrets::default());
        }
        let document = session.record().secrets.made().map(DocumentId);
        let before = match document {
            Some(id) => match Secrets::read(&self.opennebula, id).await {
                Err(error) if error.is_gone() => {
                    return Err(EngineError::Refused(format!(
                        "document {id}, which has the credentials of provision {0}, was deleted: \
                         `oneprovision resume {0}` makes it anew from the template",
                        session.id
                    )));
                }
                read => read.map_err(EngineError::opennebula(
                    "the document of the credentials cannot be read",
                ))?,
            },
            None => None,
        };
        Ok(Secrets::of(&request.spec, &request.digest, known)?.after(before))
    }

    /// Removes what a create has made so far. Its own images go in any case; what others put there
    /// only if that was asked for.
    async fn clean_up(
        &self,
        session: Arc<Session>,
        options: &CreateOptions,
    ) -> Result<Report, EngineError> {
        if session.record().was_ready {
            session.note(Note::Warning(
                "nothing is cleaned up: the provision was in use before this operation; `oneprovision \
                 delete` removes it"
                    .to_owned(),
            ));
            return self.end_create(&session, None, false).await;
        }
        let pools = Pools::read_of(&self.opennebula, session.id).await?;
        let cleanup = Cleanup { seconds: options.cleanup, own_images: true };
        let before = Box::new(session.record().clone());
        let report = self.remove(session, Doomed::All(None), pools, cleanup).await?;
        Ok(Report { cleaned_up: Some(before), ..report })
    }

    async fn host_works(
        &self,
        session: &Session,
        request: &CreateRequest,
        known: &mut Known,
        secrets: &Secrets,
        there: &Pools,
    ) -> Result<BTreeMap<HostKey, HostWork>, EngineError> {
        let spec = &request.spec;
        let (cluster_id, document, ids) = {
            let record = session.record();
            let ids = record.hosts.values().filter_map(|host| Some((host.key, host.host_id?)));
            let ids: BTreeMap<HostKey, i32> = ids.collect();
            (record.cluster.id, record.secrets.id.map(DocumentId), ids)
        };
        let objects: BTreeMap<i32, &Host> =
            there.hosts.iter().map(|object| (object.id.0, object)).collect();
        let cluster = cluster_id.map(|id| (ClusterId(id), spec.cluster.name.clone()));
        let mut works = BTreeMap::new();
        let layout = session.record().layout.clone();
        for (index, host) in spec.hosts.iter().enumerate() {
            let key = layout.host(index);
            let name = names::host_name(session.id, key);
            let public_key = request.public_keys.get(index).and_then(Option::as_deref);
            let file = known.host(host, key, &name, &spec.playbooks, public_key)?;
            let id = ids.get(&key).copied();
            if let Some(id) = id {
                known.add(ObjectKind::Host, index, id, &name, file.template.clone());
            }
            if session.host(key).is_some_and(|host| host.removed) {
                // What its machine was made with may be gone since.
                continue;
            }
            let driver = self.drivers.find(&host.driver).map_err(EngineError::Driver)?;
            let mut file = DeploymentFile { cluster: cluster.clone(), ..file };
            if file.template.has_withheld() {
                // The journal keeps no secret; the host object, once it is made, has those of a
                // provision that was created with --secrets-in-template.
                let object = id.and_then(|id| objects.get(&id).copied());
                let file_of = |host| deployment_of(self, host, &Revealed::default());
                file = object.map(file_of).ok_or_else(|| {
                    EngineError::Template(format!(
                        "{}: this host needs a secret of the template {}, which has changed or is gone",
                        host.origin,
                        request.template.display()
                    ))
                })?;
            }
            let mut stored = match document {
                Some(document) => secrets.conceal(&file.template, document),
                None => file.template.clone(),
            };
            if is_vcenter(&file.vm_mad) && self.encrypts_vcenter().await? {
                for key in ["VCENTER_PASSWORD", "NSX_PASSWORD"] {
                    if let Some(password) = file.template.get(key) {
                        stored.set(key, password.clone());
                    }
                }
            }
            if let Some(used) = &host.provider {
                follow(&mut stored, used);
            }
            let configuration = self.configuration_of(&file, driver.as_ref());
            works.insert(key, HostWork { driver, file, stored, marked: false, configuration });
        }
        Ok(works)
    }

    /// Whether the front-end encrypts the passwords of vCenter in host templates, where its own drivers
    /// read them (`HOST_ENCRYPTED_ATTR` up to 6.10; 7.0 has no such drivers any more).
    async fn encrypts_vcenter(&self) -> Result<bool, EngineError> {
        let version = self.opennebula.system().version().await;
        let version = version.map_err(EngineError::opennebula("the front-end cannot be used"))?;
        Ok(version.starts_with("5.") || version.starts_with("6."))
    }

    /// Says how the provision stands, unless it was interrupted: then it is still being created. It is not
    /// whole before it is `settled` what had to wait for the hosts, of which the record knows nothing.
    pub(crate) async fn end_create(
        &self,
        session: &Session,
        work: Option<&Work>,
        settled: bool,
    ) -> Result<Report, EngineError> {
        let ready = {
            // A copy, since a goal looks into the record; gone before the report takes another one.
            let record = session.record().clone();
            let options = record.create.as_ref().map(|create| create.options.clone());
            let options = options.unwrap_or_default();
            settled
                && is_whole(&record, |key| {
                    work.map_or_else(|| wanted(&options), |work| work.goal(key))
                })
        };
        let interrupted = self.stop.requested() && !ready;
        if !interrupted {
            let state = if ready { ProvisionState::Ready } else { ProvisionState::Failed };
            session.commit(vec![Event::Ended { state }]).await?;
        }
        let skipped = work.map_or(0, Work::skipped);
        Ok(Report { skipped, ..Report::of(session, interrupted) })
    }
}
