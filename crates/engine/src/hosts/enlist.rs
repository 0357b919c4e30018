//! What a host object is told of its machine: the deploy id, the address, that it may be used.

use journal::{Fact, HostRecord, Step};
use model::{Attributes, DeployId, HostId};
use opennebula::Error;
use opennebula::objects::{HostStatus, Update};

use super::Work;
use crate::EngineError;
use crate::again::repeat;
use crate::planner::Goal;

impl Work {
    /// Writes the deploy id into the host object, so that the machine is found without the journal.
    /// `update` in append mode replaces the whole vector, so all of it is sent.
    pub(super) async fn announce(
        &self,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Announce).await?;
        let answer = self.write_deploy_id(host, id).await.map(|()| Fact::Done);
        self.written(intent, answer).await
    }

    pub(crate) async fn write_deploy_id(
        &self,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<(), Error> {
        let (Some(work), Some(host_id)) = (self.hosts.get(&host.key), host.host_id) else {
            return Ok(());
        };
        let mut provision = work.stored.clone().vector_mut("PROVISION").clone();
        provision.set("DEPLOY_ID", id.as_str());
        let mut update = Attributes::new();
        update.push("PROVISION", provision);
        if self.enables(host.key) {
            // There is nothing to configure on such a machine.
            update.push("PROVISION_CONFIGURATION_STATUS", "configured");
        }
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        repeat(engine.settings.patience, || hosts.update(HostId(host_id), &update, Update::Append))
            .await
    }

    /// Gives the host object its address as name, and enables it if that is the goal.
    pub(super) async fn enlist(
        &self,
        host: &HostRecord,
        address: &str,
        goal: Goal,
    ) -> Result<(), EngineError> {
        let Some(id) = host.host_id.map(HostId) else {
            return self.fail(host, "there is no host object to be named").await;
        };
        let enable = goal == Goal::Ready { enable: true };
        let intent = self.intent(host, Step::Enlist).await?;
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let patience = engine.settings.patience;
        let answer = async {
            let known = host.name.as_deref() == Some(address);
            if !known {
                match repeat(patience, || hosts.rename(id, address)).await {
                    // A rename that was done before, and not written down.
                    Err(error) if error.name_taken() => {
                        if hosts.info(id).await?.name != address {
                            return Err(error);
                        }
                    }
                    answer => answer?,
                }
            }
            if enable {
                repeat(patience, || hosts.status(id, HostStatus::Enable)).await?;
            }
            Ok(Fact::Enlisted { name: address.to_owned(), enabled: enable })
        };
        let answer = answer.await;
        self.written(intent, answer).await
    }
}
