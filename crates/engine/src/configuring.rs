//! Machines that are there are configured: for the first time after `create --skip-config`, once more
//! after a failure, or again.
//!
//! Nothing is bought here and nothing removed. An operation that is interrupted leaves the provision
//! unfinished, and a resume goes on with it.

use std::sync::Arc;

use configure::{Connection, Plan, Steps};
use driver::api::Driver;
use driver::deployment::DeploymentFile;
use journal::{CreateOptions, Event, HostRecord, Machine, ProvisionRecord, Told};
use model::{HostId, HostKey, ProvisionId, ProvisionState, Value};
use template::spec::{HostSpec, Spec};

use crate::create::wanted;
use crate::hosts::{Configuration, Work, is_vcenter};
use crate::late::waiting;
use crate::objects::Made;
use crate::observe::Note;
use crate::overview::Pools;
use crate::planner::Goal;
use crate::secrets::Revealed;
use crate::session::Session;
use crate::update::in_use;
use crate::values::Known;
use crate::{Engine, EngineError, Report};

/// What is to be configured.
#[derive(Clone, Debug)]
pub struct ConfigureRequest {
    /// The provision.
    pub id: ProvisionId,
    /// These hosts of it only, by their ids in OpenNebula; `None` for all that have a machine.
    pub hosts: Option<Vec<HostId>>,
    /// Also those that are configured.
    pub force: bool,
}

impl Engine {
    /// Configures hosts. That one failed is no error of the operation; its record says so.
    ///
    /// # Errors
    /// [`EngineError::Refused`] if there is nothing that could be configured, or all of it is and
    /// nobody forces it; [`EngineError::Configuration`] with what can be found wrong beforehand; if
    /// front-end or journal cannot be used; if another process works on the provision.
    pub async fn configure(&self, request: ConfigureRequest) -> Result<Report, EngineError> {
        let id = request.id;
        let lease = self.lease(id)?;
        let record = self.journal.record(id).await?;
        let pools = Pools::read_of(&self.opennebula, id).await?;
        if record.is_none() && pools.is_empty() {
            return Err(EngineError::NotFound(id));
        }
        let mut record = record.unwrap_or_else(|| ProvisionRecord::new(id));
        self.check_front_end(&record).await?;
        refuse_unless_at_rest(&record)?;
        let mut found = self.adopt(&record, &pools, false);
        found.iter().for_each(|event| record.apply(self.clock.now(), event));
        found.extend(in_use(&record, &pools));
        let revealed = Revealed::read(self, &pools).await?;
        let pools = self.decrypted(pools).await?;
        let before = self.journal.record(id).await?.unwrap_or_else(|| ProvisionRecord::new(id));
        let session = Arc::new(Session::new(self, before, lease));
        session.commit(found).await?;
        let works = self.works_of(&session, pools.hosts, &revealed, None);
        let (keys, left_out) = chosen(&session.record(), &works, &request)?;
        let plan = plan_of(keys.iter().filter_map(|key| works.get(key).map(|w| &w.configuration)));
        let warnings = self.checked(&plan).await?;
        let again = request.force;
        session.commit(vec![Event::ConfigureBegun { hosts: keys.clone(), again }]).await?;
        let left_out = left_out.into_iter().map(|host| format!("not configured: {host}"));
        warnings.into_iter().chain(left_out).for_each(|text| session.note(Note::Warning(text)));
        // What nobody asked to be configured stays as the create wanted it.
        let options = session.record().create.as_ref().map(|create| create.options.clone());
        let wanted = options.as_ref().map_or(Goal::Ready { enable: true, stages: 0 }, wanted);
        let work = Arc::new(Work::new(session, works, wanted));
        work.drive_all(keys, false).await?;
        if options.is_some() {
            let settled = self.write_late(&work).await?;
            return self.end_create(&work.session, Some(&work), settled).await;
        }
        // Of what others made nothing is known but the hosts.
        let done = {
            let record = work.session.record();
            let mut hosts = record.hosts.values().filter(|host| !host.removed);
            hosts.all(|host| host.failure.is_none() && host.open.is_none())
        };
        let interrupted = self.stop.requested() && !done;
        if !interrupted {
            let state = if done { ProvisionState::Ready } else { ProvisionState::Failed };
            work.session.commit(vec![Event::Ended { state }]).await?;
        }
        Ok(Report::of(&work.session, interrupted))
    }

    /// Gives objects what was not known of the hosts before these were configured. False if that was
    /// stopped.
    async fn write_late(&self, work: &Work) -> Result<bool, EngineError> {
        let Some(spec) = work.session.stored_spec() else { return Ok(true) };
        let mut known = {
            let record = work.session.record();
            if waiting(&spec, &record.layout).is_empty() {
                return Ok(true);
            }
            Known::of(&spec, &record, &record.layout)
        };
        Ok(work.write_late(&spec, &mut known).await? == Made::All)
    }

    /// How a host is configured whose machine that driver makes.
    pub(crate) fn configuration_of(
        &self,
        file: &DeploymentFile,
        driver: &dyn Driver,
    ) -> Configuration {
        match driver.describe().configurable {
            true => Configuration::of(file, self.settings.home.as_deref()),
            false => Configuration::default(),
        }
    }

    /// Finds what is wrong with keys, playbooks and programs before anything is bought. `needs` tells
    /// which hosts of the template are still to be configured.
    ///
    /// # Errors
    /// [`EngineError::Configuration`] with every reason.
    pub(crate) async fn check_configuration(
        &self,
        spec: &Spec,
        options: &CreateOptions,
        needs: impl Fn(usize) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        if options.skip_config || options.skip_provision {
            return Ok(Vec::new());
        }
        let versions = &spec.ansible_versions;
        let mut plan = Plan {
            versions: (versions.ver_min.clone(), versions.ver_max.clone()),
            ..Plan::default()
        };
        let mut wrong = Vec::new();
        // The host object has them in one list, with commas between them, as in 5.12.
        for name in spec.playbooks.iter().filter(|name| name.contains(',')) {
            wrong.push(format!("playbook {name:?}: there must be no comma in its path"));
        }
        for (_, host) in spec.hosts.iter().enumerate().filter(|(index, _)| needs(*index)) {
            let driver = self.drivers.find(&host.driver).map_err(EngineError::Driver)?;
            if !driver.describe().configurable || !is_to_be_configured(spec, host) {
                continue;
            }
            let steps = steps_of(host);
            plan.playbooks.clone_from(&spec.playbooks);
            let place = host.origin.to_string();
            match Connection::read(&host.connection.resolved(), self.settings.home.as_deref()) {
                Ok(connection) => plan.add_connection(&place, connection),
                Err(why) => wrong.push(format!("{place}: {why}")),
            }
            match steps {
                Some(Ok(steps)) => plan.add_steps(&place, steps),
                Some(Err(why)) => wrong.push(format!("{place}: {why}")),
                None => {}
            }
        }
        match wrong.is_empty() {
            true => self.checked(&plan).await,
            false => Err(EngineError::Configuration(wrong)),
        }
    }

    async fn checked(&self, plan: &Plan) -> Result<Vec<String>, EngineError> {
        if plan.connections.is_empty() {
            return Ok(Vec::new());
        }
        self.configure.check(plan).await.map_err(|wrong| {
            EngineError::Configuration(wrong.into_iter().map(|trouble| trouble.0).collect())
        })
    }
}

/// Whether a template has something to be configured on a host, if its driver's machines can be.
pub(crate) fn is_to_be_configured(spec: &Spec, host: &HostSpec) -> bool {
    !is_vcenter(&host.vm_mad) && (!spec.playbooks.is_empty() || host.steps.is_some())
}

/// Files and commands of a host in a template.
fn steps_of(host: &HostSpec) -> Option<Result<Steps, String>> {
    // References of a content are no concern of what is looked at; what is withheld cannot be.
    host.steps.as_ref().and_then(Value::expose).map(Steps::read)
}

/// What has to be looked at before these are configured.
fn plan_of<'c>(configurations: impl Iterator<Item = &'c Configuration>) -> Plan {
    let mut plan = Plan::default();
    for configuration in configurations {
        configuration.add_to(&mut plan);
    }
    plan
}

/// Whether nothing else has to come to its end first.
fn refuse_unless_at_rest(record: &ProvisionRecord) -> Result<(), EngineError> {
    let id = record.id;
    if record.doomed {
        return Err(EngineError::Refused(format!(
            "provision {id} is being deleted: `oneprovision delete {id}` goes on with that"
        )));
    }
    // What this journal did not make cannot be resumed; it is configured once more instead.
    let at_rest = matches!(record.state, ProvisionState::Ready | ProvisionState::Failed);
    if at_rest || record.configuring || record.create.is_none() {
        return Ok(());
    }
    Err(EngineError::Refused(format!(
        "provision {id} is in the middle of something that was interrupted: `oneprovision resume {id}` \
         goes on with that"
    )))
}

/// Whether all of it is done, and nothing of it is in the middle of something.
fn is_configured(host: &HostRecord, stages: usize) -> bool {
    let stages = u32::try_from(stages).unwrap_or(u32::MAX);
    let told = host.configuration.told == Some(Told::Configured);
    told && host.configuration.done >= stages && host.open.is_none() && host.failure.is_none()
}

/// The hosts that are to be configured, and of those that nobody named why they are not.
fn chosen(
    record: &ProvisionRecord,
    works: &std::collections::BTreeMap<HostKey, crate::hosts::HostWork>,
    request: &ConfigureRequest,
) -> Result<(Vec<HostKey>, Vec<String>), EngineError> {
    let ConfigureRequest { id, hosts, force } = request;
    let mut keys = Vec::new();
    let mut refused = Vec::new();
    let mut configured = 0;
    let named = hosts.as_deref();
    let wanted = |host: &&HostRecord| {
        let is_named = |ids: &[HostId]| ids.iter().any(|id| host.host_id == Some(id.0));
        !host.removed && named.is_none_or(is_named)
    };
    for host in record.hosts.values().filter(wanted) {
        let stages = works.get(&host.key).map_or(0, |work| work.configuration.stages.len());
        let is_nothing = stages == 0;
        let label = record.hostname(host.key).or(host.name.as_deref()).unwrap_or_default();
        let label = format!("host {} ({label})", host.host_id.unwrap_or(-1));
        let why = match (&host.machine, &host.address) {
            _ if host.removing => "is being deleted".to_owned(),
            (Machine::Exists(_), _) if host.off => {
                format!(
                    "is powered off: `oneprovision host resume {}` powers it on",
                    host.host_id.unwrap_or(-1)
                )
            }
            _ if host.outdated.is_some() => format!(
                "is to be changed by an update that did not come to its end: `oneprovision resume {id}` \
                 goes on with that first"
            ),
            (Machine::Exists(_), Some(_)) if is_nothing && host.enlisted != Some(true) => {
                keys.push(host.key);
                continue;
            }
            (Machine::Exists(_), Some(_)) if is_nothing => {
                "has nothing to configure: its template names no playbook, or its driver makes no \
                 machines on which one can run"
                    .to_owned()
            }
            (Machine::Exists(_), Some(_)) if is_configured(host, stages) && !force => {
                configured += 1;
                continue;
            }
            (Machine::Exists(_), Some(_)) => {
                keys.push(host.key);
                continue;
            }
            (machine, _) => {
                let how = match (&record.create, machine, host.host_id) {
                    (None, Machine::Exists(_), Some(host)) => format!("host resume {host}"),
                    (None, _, _) => format!("update {id} TEMPLATE"),
                    (Some(_), _, _) => format!("resume {id}"),
                };
                format!("has no machine with an address: `oneprovision {how}` goes on with it")
            }
        };
        refused.push(format!("{label} {why}"));
    }
    if named.is_some() && !refused.is_empty() {
        return Err(EngineError::Refused(refused.join("; ")));
    }
    match (keys.is_empty(), configured) {
        (false, _) => Ok((keys, refused)),
        // All that an interrupted one lacks is that it is said.
        (true, 1..) if record.configuring => Ok((keys, refused)),
        (true, 0) if refused.is_empty() => {
            Err(EngineError::Refused(format!("provision {id} has no hosts to configure")))
        }
        (true, 0) => Err(EngineError::Refused(refused.join("; "))),
        (true, _) => Err(EngineError::Refused(
            "hosts are already configured: --force configures them again".to_owned(),
        )),
    }
}
