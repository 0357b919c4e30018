//! Power operations on hosts that have a machine: poweroff, resume, reboot.
//!
//! They never make a machine and never destroy one. What is asked for is checked for all hosts of the
//! provision before anything is done to one of them; after that each host goes its own way.

use std::collections::BTreeMap;
use std::sync::Arc;

use driver::api::Action;
use journal::{HostRecord, Machine, Power, PowerHost, ProvisionRecord, Step};
use model::{HostId, HostKey, ProvisionId};
use opennebula::objects::{Host, HostState};

use crate::hosts::{HostWork, Work};
use crate::overview::Pools;
use crate::planner::Goal;
use crate::secrets::Revealed;
use crate::session::Session;
use crate::update::in_use;
use crate::{Engine, EngineError};

/// What is to be done.
#[derive(Clone, Debug)]
pub struct PowerRequest {
    /// The provision.
    pub id: ProvisionId,
    /// The operation.
    pub power: Power,
    /// Hosts of the provision, by their ids in OpenNebula.
    pub hosts: Vec<HostId>,
    /// Also if VMs run on them.
    pub force: bool,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct PowerReport {
    /// The provision as it stands.
    pub record: ProvisionRecord,
    /// The hosts with which it was begun.
    pub hosts: Vec<HostKey>,
    /// Those with which it was not.
    pub untouched: Vec<HostKey>,
    /// Whether the operator asked to stop, or decided to quit, before the end.
    pub interrupted: bool,
}

impl Engine {
    /// Powers machines off or on, or reboots them. May be repeated. That a host failed is no error of
    /// the operation; its record says so.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with every host that cannot be worked on, and why, before anything was
    /// done; if front-end or journal cannot be used; if another process works on the provision.
    pub async fn power(&self, request: PowerRequest) -> Result<PowerReport, EngineError> {
        let PowerRequest { id, power, .. } = request;
        let lease = self.lease(id)?;
        let record = self.journal.record(id).await?;
        let pools = Pools::read_of(&self.opennebula, id).await?;
        if record.is_none() && pools.is_empty() {
            return Err(EngineError::NotFound(id));
        }
        let record = record.unwrap_or_else(|| ProvisionRecord::new(id));
        self.check_front_end(&record).await?;
        let session = Arc::new(Session::new(self, record, lease));
        let found = self.adopt(&session.record(), &pools, false);
        session.commit(found).await?;
        // What they were before: afterwards nothing tells that they had an address and were configured.
        let used = in_use(&session.record(), &pools);
        session.commit(used).await?;
        let hosts = chosen(&session.record(), &pools, &request)?;
        let keys: Vec<HostKey> = hosts.iter().map(|host| host.host).collect();
        let revealed = Revealed::read(self, &pools).await?;
        let pools = self.decrypted(pools).await?;
        let mut works = self.works_of(&session, pools.hosts, &revealed, None);
        works.retain(|key, _| keys.contains(key));
        self.refuse_what_drivers_lack(&session.record(), &works, power, &keys)?;
        let work = Arc::new(Work::new(session, works, Goal::Ready { enable: false, stages: 0 }));
        let begun = work.power_all(power, hosts, request.force).await?;
        let record = work.session.record().clone();
        let is_open = |key: &HostKey| record.hosts.get(key).is_some_and(is_under_way);
        let interrupted = begun.len() < keys.len() || begun.iter().any(is_open);
        let (hosts, untouched) = keys.into_iter().partition(|key| begun.contains(key));
        Ok(PowerReport { record, hosts, untouched, interrupted })
    }
}

impl Engine {
    /// A host is not taken out of use for what its driver cannot do.
    fn refuse_what_drivers_lack(
        &self,
        record: &ProvisionRecord,
        works: &BTreeMap<HostKey, HostWork>,
        power: Power,
        keys: &[HostKey],
    ) -> Result<(), EngineError> {
        let action = match power {
            Power::Off => Action::Shutdown,
            Power::On => Action::Deploy,
            Power::Reboot => Action::Reboot,
            Power::Reset => Action::Reset,
        };
        let lacks = |key: &HostKey| {
            let host = record.hosts.get(key)?;
            let why = match works.get(key) {
                Some(work) => work.driver.lacks(action)?,
                None => self.drivers.find(&host.driver).err()?,
            };
            Some(format!("host {}: {why}", host.host_id.unwrap_or(-1)))
        };
        let lacking: Vec<String> = keys.iter().filter_map(lacks).collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => Err(EngineError::Driver(lacking.join("; "))),
        }
    }
}

/// Whether a power operation of the host was begun and has neither failed nor come to its end.
fn is_under_way(host: &HostRecord) -> bool {
    host.power_trouble().is_some_and(|trouble| trouble.is_open)
}

/// The hosts with what is to become of them, or every reason against it.
fn chosen(
    record: &ProvisionRecord,
    pools: &Pools,
    request: &PowerRequest,
) -> Result<Vec<PowerHost>, EngineError> {
    let mut hosts = Vec::new();
    let mut refused = Vec::new();
    for id in &request.hosts {
        let there = pools.hosts.iter().find(|there| there.id == *id);
        let known = record.hosts.values().find(|host| host.host_id == Some(id.0));
        let Some((there, known)) = there.zip(known) else {
            refused.push(format!("host {id} does not belong to provision {}", record.id));
            continue;
        };
        match refusal(record, there, known, request) {
            Some(reason) => refused.push(format!("host {id} ({}) {reason}", there.name)),
            None => {
                let enable = enables(request.power, there, known);
                hosts.push(PowerHost { host: known.key, enable });
            }
        }
    }
    match refused.is_empty() {
        true => Ok(hosts),
        false => Err(EngineError::Refused(refused.join("; "))),
    }
}

/// Why the operation makes no sense for the host, and what does.
fn refusal(
    record: &ProvisionRecord,
    there: &Host,
    host: &HostRecord,
    request: &PowerRequest,
) -> Option<String> {
    let PowerRequest { id, power, force, .. } = request;
    if record.doomed || host.removing {
        return Some(format!("is being deleted: `oneprovision delete {id}` goes on with that"));
    }
    match &host.machine {
        Machine::Exists(_) => {}
        Machine::Maybe { .. } => {
            return Some(format!(
                "may have a machine, and which is not known: `oneprovision resume {id}` looks for it, \
                 `oneprovision host resolve {}` takes your word",
                there.id
            ));
        }
        Machine::None | Machine::Gone => {
            // What this journal did not make cannot be resumed.
            let create = record.create.as_ref();
            let how = match create.is_none_or(|create| create.options.skip_provision) {
                true => format!("update {id} TEMPLATE"),
                false => format!("resume {id}"),
            };
            return Some(format!("has no machine: `oneprovision {how}` asks for one"));
        }
    }
    // Naming the host, enabling it and noting its machine are the end of a power operation too.
    let is_ours = |step: Step| step.is_power() || matches!(step, Step::Enlist | Step::Announce);
    if host.open.as_ref().is_some_and(|open| !is_ours(open.step)) || host.outdated.is_some() {
        return Some(format!(
            "is in the middle of something that was interrupted: `oneprovision resume {id}` goes on"
        ));
    }
    let reboots = matches!(power, Power::Reboot | Power::Reset);
    if reboots && host.off && host.power_trouble().is_none() {
        return Some(format!(
            "is powered off: `oneprovision host resume {}` powers it on",
            there.id
        ));
    }
    if *power != Power::On && there.running_vms > 0 && !force {
        let vms = match there.running_vms {
            1 => "1 running VM".to_owned(),
            n => format!("{n} running VMs"),
        };
        return Some(format!(
            "has {vms}: migrate or stop them first; --force does it all the same"
        ));
    }
    None
}

/// Whether the host is to be enabled once its machine runs.
///
/// A hard reboot leaves it as it is. A host that was powered off goes back to what it was; and, as in
/// 5.12, a resume enables it, unless it still waits for its configuration.
fn enables(power: Power, there: &Host, host: &HostRecord) -> bool {
    let in_use = !matches!(there.state, HostState::Offline | HostState::Disabled);
    let before = || host.power.as_ref().is_some_and(|power| power.enable);
    let unconfigured = || {
        let status = there.template.text("PROVISION_CONFIGURATION_STATUS");
        matches!(status, Some("pending" | "error"))
    };
    match power {
        Power::Reboot => in_use,
        // One that was begun, and failed after the host had been taken offline or renamed.
        Power::Off | Power::Reset => in_use || (host.power_trouble().is_some() && before()),
        Power::On => in_use || before() || !unconfigured(),
    }
}
