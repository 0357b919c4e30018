//! The operator's word on a machine of which it is not known whether it exists.

use std::sync::Arc;

use journal::{Event, Machine};
use model::{DeployId, HostKey, ProvisionId, ProvisionState};

use crate::session::Session;
use crate::{Engine, EngineError, Report};

impl Engine {
    /// Writes down what the operator found in the provider's console: that the machine exists under
    /// that id, or that there is none.
    ///
    /// # Errors
    /// If there is no such host, or nothing about it is unknown.
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
        match record.hosts.get(&host).map(|host| &host.machine) {
            Some(Machine::Maybe { .. }) => {}
            Some(_) => {
                return Err(EngineError::Refused(format!(
                    "nothing about the machine of host {host} is unknown"
                )));
            }
            None => {
                return Err(EngineError::Refused(format!(
                    "provision {provision} has no host {host}"
                )));
            }
        }
        let session = Arc::new(Session::new(self, record, lease));
        let mut events = vec![Event::Resolved { host, deploy_id: machine.clone() }];
        {
            let record = session.record();
            let others = record.machines() > 1;
            if record.state == ProvisionState::Parked && machine.is_none() && !others {
                events.push(Event::Ended { state: ProvisionState::Deleted });
            }
            if record.state == ProvisionState::Parked && machine.is_some() {
                // It is to be removed, now that it is known: a delete will.
                events.push(Event::Ended { state: ProvisionState::Failed });
            }
        }
        session.commit(events).await?;
        Ok(Report::of(&session, false))
    }
}
