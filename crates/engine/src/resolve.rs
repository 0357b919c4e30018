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
        session.commit(vec![Event::Resolved { host, deploy_id: machine.clone() }]).await?;
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
}
