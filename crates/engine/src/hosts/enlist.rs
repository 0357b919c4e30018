//! What a host object is told of its machine: the deploy id, the address, that it may be used.

use journal::{Fact, HostRecord, Step, Told};
use model::{Attributes, DeployId, HostId};
use opennebula::Error;
use opennebula::objects::{HostStatus, Update};

use super::{Work, is_vcenter};
use crate::EngineError;
use crate::again::repeat;
use crate::planner::{Goal, Next, next};

/// Length of a name in OpenNebula (`PoolObjectSQL::name_is_valid`, 5.8 to 7.4).
const LONGEST_NAME: usize = 128;

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

    /// The same, and if the machine's address is what is wanted next, it is looked for at once. False if
    /// the operator asked to stop.
    pub(super) async fn announce_and_look(
        &self,
        host: &HostRecord,
        id: &DeployId,
        goal: Goal,
    ) -> Result<bool, EngineError> {
        // Each part is boxed, and gives its room back: the machine may be looked for a long time.
        let intent = Box::pin(self.intent(host, Step::Announce)).await?;
        let answer = Box::pin(self.write_deploy_id(host, id)).await.map(|()| Fact::Done);
        let ahead = HostRecord { announced: true, open: None, ..host.clone() };
        let is_polled = matches!(next(&ahead, goal), Next::Poll(_));
        if answer.is_err() || !is_polled || self.is_stopping() {
            Box::pin(self.written(intent, answer)).await?;
            return Ok(true);
        }
        // A look changes nothing, so it need not wait for what is written down. What it finds does: events of
        // a host are never appended side by side, since what is durable later could be told first.
        let written = async {
            let written = self.written(intent, answer).await;
            if written.is_err() {
                self.halt.request();
            }
            written
        };
        let look = self.look_for_address(&ahead, id);
        let (written, looked) = tokio::join!(Box::pin(written), Box::pin(look));
        written?;
        Box::pin(self.looked(&ahead, goal, looked)).await
    }

    pub(crate) async fn write_deploy_id(
        &self,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<(), Error> {
        let (Some(work), Some(host_id)) = (self.hosts.get(&host.key), host.host_id) else {
            return Ok(());
        };
        if work.stored.get("PROVISION").is_none() {
            // Without our mark it may be somebody else's by now.
            return Ok(());
        }
        let mut provision = work.stored.clone().vector_mut("PROVISION").clone();
        provision.set("DEPLOY_ID", id.as_str());
        let mut update = Attributes::new();
        update.push("PROVISION", provision);
        if self.goal(host.key) == (Goal::Ready { enable: true, stages: 0 }) {
            // There is nothing to configure on such a machine.
            update.push("PROVISION_CONFIGURATION_STATUS", "configured");
        }
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        repeat(engine.settings.patience, || hosts.update(HostId(host_id), &update, Update::Append))
            .await
    }

    /// Writes the template of a host object anew, as an update wants it.
    pub(super) async fn refresh(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Refresh).await?;
        let answer = self.write_template(host).await.map(|()| Fact::Done);
        self.written(intent, answer).await
    }

    async fn write_template(&self, host: &HostRecord) -> Result<(), Error> {
        let (Some(work), Some(id)) = (self.hosts.get(&host.key), host.host_id.map(HostId)) else {
            return Ok(());
        };
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let there = repeat(engine.settings.patience, || hosts.info(id)).await?.template;
        let mut template = work.stored.clone();
        if let Some(machine) = host.machine.id() {
            let provision = template.vector_mut("PROVISION");
            provision.set("DEPLOY_ID", machine.as_str());
            // A machine keeps the name that it was made with.
            if let Some(name) = there.text("PROVISION/HOSTNAME") {
                provision.set("HOSTNAME", name);
            }
        }
        let same = |key| there.text(key) == template.text(key);
        let of_configuration =
            ["PROVISION_CONFIGURATION_BASE64", "PROVISION_STEPS_BASE64", "ANSIBLE_PLAYBOOK"];
        let status = match host.configuration.told {
            _ if self.goal(host.key) == (Goal::Ready { enable: true, stages: 0 }) => "configured",
            Some(Told::Configured) => "configured",
            Some(Told::Error) => "error",
            // Of a host that this journal did not configure, the object alone knows.
            None if of_configuration.into_iter().all(same) => {
                there.text("PROVISION_CONFIGURATION_STATUS").unwrap_or("pending")
            }
            None => "pending",
        };
        template.set("PROVISION_CONFIGURATION_STATUS", status);
        let dropped = host.outdated.as_deref().unwrap_or_default();
        let (template, how) = rewritten(&there, template, dropped);
        repeat(engine.settings.patience, || hosts.update(id, &template, how)).await
    }

    /// Whether a host was asked to be configured, and there is nothing to be run on it.
    fn has_nothing_to_configure(&self, host: &HostRecord) -> bool {
        let work = self.hosts.get(&host.key);
        host.configuration.asked && work.is_some_and(|work| work.configuration.stages.is_empty())
    }

    /// The name of the host object: the machine's address, as in 5.12.
    ///
    /// A host of vCenter is named by its cluster there, for its drivers look for that name. An address of
    /// IPv6 cannot be a name in OpenNebula (no colon may be in one), nor can one that is too long: then it is
    /// the name in the template, which the front-end has to know the address of.
    fn final_name(&self, host: &HostRecord, address: &str) -> String {
        let work = self.hosts.get(&host.key);
        let vcenter = work.is_some_and(|work| is_vcenter(&work.file.vm_mad));
        if !vcenter && !address.contains(':') && address.len() <= LONGEST_NAME {
            return address.to_owned();
        }
        let hostname = self.session.record().hostname(host.key).map(str::to_owned);
        let of_object = || work?.file.template.text("PROVISION/HOSTNAME").map(str::to_owned);
        hostname.or_else(of_object).unwrap_or_else(|| address.replace(':', "-"))
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
        let enable = match goal {
            Goal::Ready { enable, stages } => enable && host.configuration.done >= stages,
            Goal::Registered | Goal::Absent => false,
        };
        let name = self.final_name(host, address);
        let intent = self.intent(host, Step::Enlist).await?;
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let patience = engine.settings.patience;
        let answer = async {
            let known = host.name.as_deref() == Some(&name);
            if !known {
                match repeat(patience, || hosts.rename(id, &name)).await {
                    // A rename that was done before, and not written down.
                    Err(error) if error.name_taken() => {
                        if hosts.info(id).await?.name != name {
                            return Err(error);
                        }
                    }
                    answer => answer?,
                }
            }
            let mut update = Attributes::new();
            if name != address && host.enlisted.is_none() {
                // What the name does not say.
                update.push("PROVISION_ADDRESS", address);
            }
            // One that a `create --skip-config` left pending has no stages, but is told all the same.
            if enable && (host.configuration.is_whole() || self.has_nothing_to_configure(host)) {
                update.push("PROVISION_CONFIGURATION_STATUS", "configured");
            }
            if !update.is_empty() {
                repeat(patience, || hosts.update(id, &update, Update::Append)).await?;
            }
            if enable {
                repeat(patience, || hosts.status(id, HostStatus::Enable)).await?;
            }
            Ok(Fact::Enlisted { name, enabled: enable })
        };
        match answer.await {
            // It is in use, and nothing follows.
            Ok(fact) if enable => self.written_at_leisure(intent, Ok(fact)).await,
            answer => self.written(intent, answer).await,
        }
    }
}

/// What is sent so that an object's template is this one, and has nothing of what was dropped.
/// Attributes of others, such as those of the monitoring, stay.
pub(crate) fn rewritten(
    there: &Attributes,
    template: Attributes,
    dropped: &[String],
) -> (Attributes, Update) {
    let goes = |key: &&String| there.get(key).is_some() && template.get(key).is_none();
    if !dropped.iter().any(|key| goes(&key)) {
        return (template, Update::Append);
    }
    let stays = |key: &str| template.get(key).is_none() && !dropped.iter().any(|gone| gone == key);
    let mut all: Attributes = there
        .iter()
        .filter(|(key, _)| stays(key))
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    for (key, value) in template.iter() {
        all.push(key, value.clone());
    }
    (all, Update::Replace)
}
