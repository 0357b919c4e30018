//! The operator's word on a machine of which it is not known whether it exists.

use std::sync::Arc;
use std::time::Duration;

use driver::api::DriverError;
use driver::poll::{MachineState, PollReport};
use journal::{Event, Fact, HostRecord, Machine, Outcome, ProvisionRecord, Step};
use model::{Attributes, DeployId, HostId, HostKey, ProvisionId, ProvisionState};
use opennebula::objects::{Host, Update};

use crate::again::repeat;
use crate::error::describe;
use crate::hosts::Work;
use crate::machines::still_there;
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
    /// that id, or that there is none. Until that machine has been seen, the word may be taken back. A
    /// machine that cannot be removed is given up by the word that there is none.
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
        self.check_endpoint(&record).await?;
        let word = self.word_on(&record, host, machine.is_none())?;
        let Some(known) = record.hosts.get(&host).cloned() else {
            return Err(EngineError::NotFound(provision));
        };
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
        if let (Word::GivenUp(id), Ok((work, _))) = (&word, &surroundings)
            && let Some(polled) = poll(work, &known, id).await
            && let Some(state) = still_there(polled)
        {
            let text = format!("machine {id} is given up, and its driver says: {state}");
            session.note(Note::Warning(text));
        }
        let mut events = Vec::new();
        // OpenNebula may have been told of the machine that it is not.
        if word == Word::Again && (known.announced || known.open.is_some()) {
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

    /// What the operator's word on a host would be about; `gone` if it is that there is no machine.
    ///
    /// # Errors
    /// If there is no such host, or nobody needs a word on it.
    pub fn word_on(
        &self,
        record: &ProvisionRecord,
        host: HostKey,
        gone: bool,
    ) -> Result<Word, EngineError> {
        let id = record.id;
        let Some(known) = record.hosts.get(&host) else {
            return Err(EngineError::Refused(format!("provision {id} has no host {host}")));
        };
        let is_at = |steps: &[Step]| known.open.as_ref().is_none_or(|o| steps.contains(&o.step));
        match &known.machine {
            Machine::Maybe { .. } => Ok(Word::Unknown),
            Machine::Exists(_) if known.said && is_at(&[Step::Announce]) => Ok(Word::Again),
            Machine::Exists(machine)
                if gone && is_at(&[Step::Cancel]) && self.cannot_remove(record, known) =>
            {
                Ok(Word::GivenUp(machine.clone()))
            }
            _ => Err(EngineError::Refused(format!(
                "nothing about the machine of host {host} is unknown, and no removal of it has failed"
            ))),
        }
    }

    /// Whether a removal of the host's machine failed, or would: there is no driver for it.
    fn cannot_remove(&self, record: &ProvisionRecord, host: &HostRecord) -> bool {
        let unwanted = host.removing || record.state == ProvisionState::Failed;
        (host.removing && host.failure.is_some())
            || (unwanted && self.drivers.find(&host.driver).is_err())
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
        let spec = self.spec_without_objects(session, &pools, &revealed).await;
        let works = self.works_of(session, pools.hosts.clone(), &revealed, spec.as_ref());
        Ok((Work::new(Arc::clone(session), works, Goal::Absent), pools.hosts))
    }
}

/// What the operator's word is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A machine of which it is not known whether it exists.
    Unknown,
    /// A machine that nothing but an earlier word tells of.
    Again,
    /// A machine that exists as far as is known, and that cannot be removed: it is given up.
    GivenUp(DeployId),
}

/// Why a machine that the operator names may not be the one.
async fn look(work: &Work, host: &HostRecord, id: &DeployId) -> Option<String> {
    match poll(work, host, id).await {
        None => Some(format!("its driver {} is not there", host.driver)),
        Some(Err(error)) => Some(error.message),
        Some(Ok(report)) => (report.state == Some(MachineState::Gone))
            .then(|| "the provider says that it is off or gone".to_owned()),
    }
}

/// What the host's driver says of a machine; `None` if there is no driver.
async fn poll(
    work: &Work,
    host: &HostRecord,
    id: &DeployId,
) -> Option<Result<PollReport, DriverError>> {
    let of_host = work.hosts.get(&host.key)?;
    let host = HostRecord { machine: Machine::Exists(id.clone()), ..host.clone() };
    let key = names::deploy_key(work.session.id, host.key, host.attempts);
    let mut call = work.power_call(&host, of_host, key);
    call.deadline = call.deadline.min(LOOK);
    Some(of_host.driver.poll(&call, id).await)
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
