//! Power operations on machines that are there: how far the last one of a host came.

use model::HostKey;
use serde::{Deserialize, Serialize};

use crate::event::{Outcome, Step};

/// A power operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Takes the host out of use and powers its machine off.
    Off,
    /// Powers the machine on, looks for its address, and takes the host into use.
    On,
    /// Reboots in an orderly way.
    Reboot,
    /// Reboots hard and looks for the address.
    Reset,
}

impl Power {
    /// The operation in the words of the command.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "poweroff",
            Self::On => "resume",
            Self::Reboot => "reboot",
            Self::Reset => "reboot --hard",
        }
    }

    /// The step that asks the driver.
    pub fn step(self) -> Step {
        match self {
            Self::Off => Step::Poweroff,
            Self::On => Step::PowerOn,
            Self::Reboot => Step::Reboot,
            Self::Reset => Step::Reset,
        }
    }
}

/// A host of which a power operation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerHost {
    /// The host.
    pub host: HostKey,
    /// Whether OpenNebula may place VMs on it once its machine runs again.
    pub enable: bool,
}

/// The last power operation of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PowerRecord {
    /// What was asked for.
    pub power: Power,
    /// Whether the host is enabled once its machine runs.
    pub enable: bool,
    /// What the driver made of it.
    pub result: PowerResult,
    /// Whether its machine was off before.
    pub was_off: bool,
    /// Whether this operation took the host out of use and has not put it back.
    pub offline: bool,
}

/// What came of asking the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerResult {
    /// It was not asked yet, or it has not answered.
    Begun,
    /// It is done.
    Done,
    /// It was not done, or the host could not be taken out of use before it.
    Failed(String),
    /// It may have been done.
    Unknown(String),
}

/// Why a power operation is not at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerTrouble {
    /// In words for people.
    pub text: String,
    /// Whether it was interrupted, or is being carried out at this moment: nothing failed.
    pub is_open: bool,
    /// Whether nobody knows if it was carried out.
    pub is_unknown: bool,
}

impl PowerRecord {
    /// Why it is not at its end. `in_use` says whether the host has its name, and is enabled if that is
    /// wanted; `failure` why it does not get there.
    pub(crate) fn trouble(&self, in_use: bool, failure: Option<&str>) -> Option<PowerTrouble> {
        let power = self.power.as_str();
        let boots = matches!(self.power, Power::On | Power::Reset);
        let (text, is_open, is_unknown) = match &self.result {
            PowerResult::Begun => {
                (format!("{power} was begun and has not ended; it may be repeated"), true, false)
            }
            PowerResult::Done if boots && !in_use => match failure {
                Some(failure) => (format!("after {power}: {failure}"), false, false),
                None => {
                    (format!("{power}: its machine is on, and it is not in use yet"), true, false)
                }
            },
            PowerResult::Done => return None,
            PowerResult::Failed(message) => (format!("{power} failed: {message}"), false, false),
            PowerResult::Unknown(evidence) => {
                (format!("whether {power} was carried out is not known: {evidence}"), false, true)
            }
        };
        Some(PowerTrouble { text, is_open, is_unknown })
    }

    /// Takes the outcome of one of its steps into account. That the host was taken out of use is but
    /// the beginning.
    pub(crate) fn end_step(&mut self, step: Step, outcome: &Outcome) {
        let is_end = step == self.power.step();
        match (step, outcome) {
            (Step::TakeOffline, Outcome::Done(_)) => self.offline = true,
            (Step::PutOnline, outcome) => {
                self.offline = false;
                if let (
                    Outcome::Failed { message } | Outcome::Unknown { evidence: message },
                    PowerResult::Failed(reason),
                ) = (outcome, &mut self.result)
                {
                    *reason += &format!("; its host could not be put online again: {message}");
                }
                return;
            }
            _ => {}
        }
        match outcome {
            Outcome::Done(_) if is_end => self.result = PowerResult::Done,
            Outcome::Done(_) => {}
            Outcome::Failed { message } => self.result = PowerResult::Failed(message.clone()),
            Outcome::Unknown { evidence } => self.result = PowerResult::Unknown(evidence.clone()),
        }
    }
}
