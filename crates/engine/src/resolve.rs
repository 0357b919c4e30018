//! The operator's word on a machine of which it is not known whether it exists.

use std::sync::Arc;
use std::time::Duration;

use driver::poll::MachineState;
use journal::{Event, Fact, HostRecord, Machine, Outcome, ProvisionRecord, Step};
use model::{Attributes, DeployId, HostId, HostKey, ProvisionId, ProvisionState};
use opennebula::objects::{Host, Update};

use crate::again::repeat;
use crate::error::describe;
use crate::hosts::Work;
use crate::observe::Note;
use crate::overview::Pools;
use crate::planner::Goal;
use crate::secrets::Revealed;
use crate::session::Session;
use crate::{Engine, EngineError, Report, names};

/// How long the driver may take to look at a machine that the operator names.
const LOOK: Duration = Duration::from_secs(60);

impl Engine {
    /// Writes down what the operator found in the provider's console: that the machine exists under
    /// that id, or that there is none. Until that machine has been seen, the word may be taken back.
    ///
    /// The driver is asked for the machine once; that it does not know it is a warning.
    ///
    /// # Errors
    /// If there is no such host, nothing about it is unknown, or another one has that machine.
    pub async fn resolve_host(
        &self,
        provision: ProvisionId,
        host: HostKey,
        machine: Option<DeployId>,
    ) -> Result<Report, EngineError> {
        let lease = self.lease(provision)?;
        let Some(record) = self.journal.record(provision).await? else {
            return Err(EngineError::NotFound(provision));
        };
        self.check_endpoint(&record)?;
        let known = resolvable(&record, host)?.clone();
        if let Some(id) = &machine {
            self.refuse_if_taken(&known, provision, id).await?;
        }
        let session = Arc::new(Session::new(self, record, lease));
        let surroundings = self.surroundings(&session).await;
        if let Some(id) = &machine {
            let doubt = match &surroundings {
                Ok((work, _)) => look(work, &known, id).await,
                Err(error) => Some(describe(error)),
            };
            if let Some(doubt) = doubt {
                let text = format!("machine {id} is written down, and was not seen: {doubt}");
                session.note(Note::Warning(text));
            }
        }
        let mut events = Vec::new();
        // OpenNebula may have been told of the machine that it is not.
        if known.said && (known.announced || known.open.is_some()) {
            let (work, hosts) = surroundings?;
            events.push(rewrite(&work, &hosts, &known, machine.as_ref()).await?);
        }
        events.push(Event::Said { host, deploy_id: machine.clone() });
        session.commit(events).await?;
        let parked = session.record().state == ProvisionState::Parked;
        if parked && machine.is_some() {
            // It is to be removed, now that it is known: a delete will.
            session.commit(vec![Event::Ended { state: ProvisionState::Failed }]).await?;
        } else if parked && session.record().machines() == 0 {
            // The credentials were kept for the machine that is not there.
            let state = match session.remove_objects().await? {
                true => ProvisionState::Deleted,
                false => ProvisionState::Failed,
            };
            session.commit(vec![Event::Ended { state }]).await?;
        }
        Ok(Report::of(&session, false))
    }

    /// A machine is one host's, whatever the provision.
    async fn refuse_if_taken(
        &self,
        host: &HostRecord,
        provision: ProvisionId,
        machine: &DeployId,
    ) -> Result<(), EngineError> {
        for record in self.records().await? {
            let mut others = record.hosts.values().filter(|other| {
                let is_it = (record.id, other.key) == (provision, host.key);
                !is_it && other.driver == host.driver && other.machine.id() == Some(machine)
            });
            if let Some(other) = others.next() {
                return Err(EngineError::Refused(format!(
                    "machine {machine} is that of host {} of provision {}",
                    other.key, record.id
                )));
            }
        }
        Ok(())
    }

    /// What is needed to ask drivers, and the objects of the hosts.
    async fn surroundings(&self, session: &Arc<Session>) -> Result<(Work, Vec<Host>), EngineError> {
        let pools = Pools::read_of(&self.opennebula, session.id).await?;
        let revealed = Revealed::read(self, &pools).await?;
        let pools = self.decrypted(pools).await?;
        let spec = self.spec_without_objects(session, &pools).await;
        let works = self.works_of(session, pools.hosts.clone(), &revealed, spec.as_ref());
        Ok((Work::new(Arc::clone(session), works, Goal::Absent), pools.hosts))
    }
}

/// The host, if the operator's word on it counts.
fn resolvable(record: &ProvisionRecord, host: HostKey) -> Result<&HostRecord, EngineError> {
    let id = record.id;
    let Some(known) = record.hosts.get(&host) else {
        return Err(EngineError::Refused(format!("provision {id} has no host {host}")));
    };
    let is_under_way = known.open.as_ref().is_some_and(|open| open.step != Step::Announce);
    match &known.machine {
        Machine::Maybe { .. } => Ok(known),
        Machine::Exists(_) if known.said && !is_under_way => Ok(known),
        _ => Err(EngineError::Refused(format!(
            "nothing about the machine of host {host} is unknown"
        ))),
    }
}

/// Why a machine that the operator names may not be the one.
async fn look(work: &Work, host: &HostRecord, id: &DeployId) -> Option<String> {
    let Some(of_host) = work.hosts.get(&host.key) else {
        return Some(format!("its driver {} is not there", host.driver));
    };
    let host = HostRecord { machine: Machine::Exists(id.clone()), ..host.clone() };
    let key = names::deploy_key(work.session.id, host.key, host.attempts);
    let mut call = work.power_call(&host, of_host, key);
    call.deadline = call.deadline.min(LOOK);
    match of_host.driver.poll(&call, id).await {
        Err(error) => Some(error.message),
        Ok(report) => (report.state == Some(MachineState::Gone))
            .then(|| "the provider says that it is off or gone".to_owned()),
    }
}

/// Has the host object name another machine, or none: that it has is written down with the word.
async fn rewrite(
    work: &Work,
    hosts: &[Host],
    host: &HostRecord,
    machine: Option<&DeployId>,
) -> Result<Event, EngineError> {
    let there = host.host_id.and_then(|id| hosts.iter().find(|there| there.id == HostId(id)));
    let intent = work.intent(host, Step::Announce).await?;
    if let Some(there) = there {
        let mut provision = there.template.clone().vector_mut("PROVISION").clone();
        match machine {
            Some(machine) => provision.set("DEPLOY_ID", machine.as_str()),
            None => drop(provision.remove("DEPLOY_ID")),
        }
        let mut update = Attributes::new();
        update.push("PROVISION", provision);
        let engine = work.session.engine();
        let hosts = engine.opennebula.hosts();
        let update = || hosts.update(there.id, &update, Update::Append);
        repeat(engine.settings.patience, update).await.map_err(EngineError::opennebula(
            format!("host {} cannot be told of its machine", there.id),
        ))?;
    }
    Ok(Event::Outcome { id: intent, outcome: Outcome::Done(Fact::Done) })
}
