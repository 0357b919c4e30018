//! A host and its machine.

use model::{DeployId, HostKey, HostState};
use serde::Serialize;

use super::OpenIntent;
use crate::event::{Fact, Outcome, Step};
use crate::power::{PowerRecord, PowerTrouble};

/// What is known of a host's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Machine {
    /// None was ever asked for, or the asking failed for certain.
    #[default]
    None,
    /// One may exist; it has no id that we know of.
    Maybe {
        /// What is known.
        evidence: String,
    },
    /// The provider named it.
    Exists(DeployId),
    /// It was destroyed, or the operator says that it is gone.
    Gone,
}

impl Machine {
    /// Whether it costs money, as far as anybody can tell.
    pub fn may_exist(&self) -> bool {
        matches!(self, Self::Maybe { .. } | Self::Exists(_))
    }

    /// Its id, if it is known to exist.
    pub fn id(&self) -> Option<&DeployId> {
        match self {
            Self::Exists(id) => Some(id),
            _ => None,
        }
    }
}

/// How far a machine's configuration is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// Whether the machine let us in over SSH.
    pub reached: bool,
    /// Number of stages that are done.
    pub done: u32,
    /// Number of all stages, if one was done.
    pub of: u32,
    /// Whether it failed: then the host's failure is why.
    pub failed: bool,
    /// What the host object says of it; `None` as it was made: pending.
    pub told: Option<Told>,
    /// Whether that it failed could not be written there.
    pub tell_failed: bool,
    /// Whether it was asked for after the create, which may have been asked to leave it out.
    pub asked: bool,
}

impl Configuration {
    /// Whether every stage is done, and there was one.
    pub fn is_whole(&self) -> bool {
        self.done > 0 && self.done >= self.of
    }
}

/// What a host object says of its configuration (`PROVISION_CONFIGURATION_STATUS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// `configured`
    Configured,
    /// `error`
    Error,
}

/// A host of a provision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostRecord {
    /// Its number.
    pub key: HostKey,
    /// Its provision driver.
    pub driver: String,
    /// Id of the host object, once there is one.
    pub host_id: Option<i32>,
    /// Name of the host object, if it has another one than it was made with.
    pub name: Option<String>,
    /// Its machine.
    pub machine: Machine,
    /// Whether nothing but the operator's word tells of that machine: it was not seen since.
    pub said: bool,
    /// Whether the host object carries the deploy id.
    pub announced: bool,
    /// Whether writing it there was refused.
    pub announce_failed: bool,
    /// The machine's address.
    pub address: Option<String>,
    /// Whether the host object has its final name; and then, whether it was enabled.
    pub enlisted: Option<bool>,
    /// How far the machine's configuration is.
    pub configuration: Configuration,
    /// A step without outcome.
    pub open: Option<OpenIntent>,
    /// Why it cannot go on.
    pub failure: Option<String>,
    /// Number of deploys that were asked for.
    pub attempts: u32,
    /// Whether it is to be removed.
    pub removing: bool,
    /// Whether the host object was deleted and no machine is left.
    pub removed: bool,
    /// Its template in OpenNebula is to be written anew: without these attributes.
    pub outdated: Option<Vec<String>>,
    /// Whether it was taken out of use so that its machine could be powered off.
    pub off: bool,
    /// The last power operation.
    pub power: Option<PowerRecord>,
}

impl HostRecord {
    pub(super) fn new(key: HostKey, driver: String) -> Self {
        Self {
            key,
            driver,
            host_id: None,
            name: None,
            machine: Machine::None,
            said: false,
            announced: false,
            announce_failed: false,
            address: None,
            enlisted: None,
            configuration: Configuration::default(),
            open: None,
            failure: None,
            attempts: 0,
            removing: false,
            removed: false,
            outdated: None,
            off: false,
            power: None,
        }
    }

    /// What it failed of is over, and it goes on.
    pub(super) fn begin_again(&mut self) {
        self.failure = None;
        self.announce_failed = false;
        self.configuration.failed = false;
        self.configuration.tell_failed = false;
    }

    /// Whether a machine was asked for and there is no answer yet.
    pub fn deploying(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.step == Step::Deploy)
    }

    /// Whether there is a machine that costs money, as far as anybody can tell: one that is known,
    /// one that may exist, or one that was asked for without an answer yet.
    pub fn may_cost(&self) -> bool {
        self.machine.may_exist() || self.deploying()
    }

    /// Why the host's last power operation is not at its end; `None` if it is.
    pub fn power_trouble(&self) -> Option<PowerTrouble> {
        let in_use = self.enlisted.is_some();
        self.power.as_ref()?.trouble(in_use, self.failure.as_deref())
    }

    /// Where the host stands, in one word.
    pub fn state(&self) -> HostState {
        if self.removed {
            return HostState::Removed;
        }
        if matches!(self.machine, Machine::Maybe { .. }) {
            return HostState::Unknown;
        }
        if self.failure.is_some() {
            return HostState::Failed;
        }
        if self.removing {
            return HostState::Removing;
        }
        if self.off {
            return HostState::Off;
        }
        if self.enlisted == Some(true) {
            return HostState::Enabled;
        }
        match (&self.machine, &self.address) {
            (Machine::Exists(_), Some(_)) if self.configuration.is_whole() => HostState::Configured,
            (Machine::Exists(_), Some(_)) if self.configuration.reached => HostState::Reachable,
            (Machine::Exists(_), Some(_)) => HostState::Addressed,
            (Machine::Exists(_), None) => HostState::Deployed,
            _ if self.deploying() => HostState::Deploying,
            _ if self.host_id.is_some() => HostState::Registered,
            _ => HostState::Planned,
        }
    }
}

pub(super) fn end_host_step(host: &mut HostRecord, step: Step, outcome: &Outcome) {
    let is_of_machine = matches!(step, Step::Deploy | Step::Cancel) || step.is_power();
    host.said &= !is_of_machine || matches!(outcome, Outcome::Failed { .. });
    if step.is_power() {
        return end_power_step(host, step, outcome);
    }
    match (step, outcome) {
        (Step::Create, Outcome::Done(Fact::Object(id))) => {
            host.host_id = Some(*id);
            host.outdated = None;
        }
        (Step::Deploy, Outcome::Done(Fact::Machine(id))) => {
            host.machine = Machine::Exists(id.clone());
        }
        (Step::Deploy, Outcome::Unknown { evidence }) => {
            // Without an id the evidence stands with the machine; the host's other steps, its
            // removal above all, have not failed.
            match host.machine.id() {
                Some(_) => host.failure = Some(evidence.clone()),
                None => host.machine = Machine::Maybe { evidence: evidence.clone() },
            }
        }
        (Step::Deploy, Outcome::Failed { message }) => {
            if host.machine.id().is_none() {
                host.machine = Machine::None;
            }
            host.failure = Some(message.clone());
        }
        (Step::Announce, Outcome::Done(_)) => host.announced = true,
        (Step::Enlist, Outcome::Done(Fact::Enlisted { name, enabled })) => {
            host.name = Some(name.clone());
            host.enlisted = Some(*enabled);
            if *enabled && host.configuration.is_whole() {
                host.configuration.told = Some(Told::Configured);
            }
        }
        (Step::Reach, Outcome::Done(_)) => host.configuration.reached = true,
        (Step::Configure, Outcome::Done(Fact::Stage { done, of, .. })) => {
            host.configuration.done = *done;
            host.configuration.of = *of;
        }
        (Step::Tell, Outcome::Done(_)) => host.configuration.told = Some(Told::Error),
        // Why the configuration failed is more worth than why that could not be written.
        (Step::Tell, _) => host.configuration.tell_failed = true,
        (Step::Refresh, Outcome::Done(_)) => host.outdated = None,
        (Step::Cancel, Outcome::Done(_)) => host.machine = Machine::Gone,
        (Step::Remove, Outcome::Done(_)) => {
            host.host_id = None;
            host.removed = !host.machine.may_exist();
        }
        (_, Outcome::Failed { message } | Outcome::Unknown { evidence: message }) => {
            host.announce_failed = step == Step::Announce;
            host.configuration.failed = matches!(step, Step::Reach | Step::Configure);
            host.failure = Some(message.clone());
        }
        // A fact that does not belong to the step tells nothing.
        (_, Outcome::Done(_)) => {}
    }
}

/// What failed of a power operation stands with that operation alone: the host's other steps, its
/// removal above all, have not failed.
fn end_power_step(host: &mut HostRecord, step: Step, outcome: &Outcome) {
    if let Some(power) = &mut host.power {
        power.end_step(step, outcome);
    }
    match (step, outcome) {
        (Step::TakeOffline, Outcome::Done(_)) => host.off = true,
        // All is as it was before.
        (Step::Poweroff, Outcome::Failed { .. }) => {
            host.off = host.power.as_ref().is_some_and(|power| power.was_off);
        }
        (Step::PutOnline, Outcome::Done(_)) => host.off = false,
        // It boots, and may come back with another address.
        (Step::PowerOn | Step::Reset, Outcome::Done(_)) => {
            host.off = false;
            host.address = None;
            host.enlisted = None;
            host.configuration.reached = false;
        }
        _ => {}
    }
}
