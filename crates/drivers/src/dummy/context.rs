//! What a call of the dummy driver is about: whose it is, with which parameters, the how manieth.

use driver::{Action, Call, DriverError, FailureKind, MachineState, PollReport};
use model::DeployId;
use tokio::time::Instant;

use super::ledger::{Machine, Owner, Power};
use super::parameters::Parameters;
use super::{failed, not_found};

/// What a call is about, once its machine, its parameters and its number are known.
pub(super) struct Context {
    pub action: Action,
    pub parameters: Parameters,
    /// Number of the call in the ledger.
    pub call: i64,
    /// How many calls of the action there were for this host, this one included.
    pub nth: u64,
    pub owner: Owner,
    pub machine: Option<Machine>,
    /// When the call began.
    pub begun: Instant,
}

impl Context {
    /// Random numbers of this very call: the same for the same seed, host, action and number.
    pub(super) fn dice(&self) -> fastrand::Rng {
        // FNV-1a; what is in std may give other numbers in another version.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.parameters.seed;
        let mut feed = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        // Not the provision's id, which is another one each time.
        feed(self.owner.host.as_bytes());
        feed(self.action.as_str().as_bytes());
        feed(&self.nth.to_le_bytes());
        fastrand::Rng::with_seed(hash)
    }

    /// The machine that the call is about, if it was not destroyed.
    pub(super) fn live(&self, id: &DeployId) -> Result<&Machine, DriverError> {
        self.machine.as_ref().filter(|m| m.cancelled_ms.is_none()).ok_or_else(|| not_found(id))
    }

    pub(super) fn report(&self, machine: &Machine, now_ms: i64) -> PollReport {
        let up = now_ms >= machine.ready_ms;
        let changed = self.parameters.address_change.is_some_and(|nth| self.nth >= nth);
        let address = if changed { &machine.other_address } else { &machine.address };
        match machine.power {
            Power::Off => PollReport::new(MachineState::Gone, vec![address.clone()]),
            _ if !up => PollReport::new(MachineState::Paused, Vec::new()),
            _ => PollReport::new(MachineState::Active, vec![address.clone()]),
        }
    }
}

/// Whom a call is for, by the mark in the deployment file: provision, and the host's key or name.
pub(super) fn owner_of(call: &Call) -> Owner {
    let mark = |key: &str| call.host.parameter(key).map(str::to_owned);
    Owner {
        provision_id: mark("PROVISION_ID").unwrap_or_default(),
        host: mark("HOST_KEY").unwrap_or_else(|| call.host.name.clone()),
    }
}

/// The call's own parameters.
pub(super) fn parameters_of(call: &Call) -> Result<Parameters, DriverError> {
    Parameters::of(&call.host).map_err(refused)
}

/// The parameters that a machine was made with.
pub(super) fn parameters_stored(machine: &Machine) -> Result<Parameters, DriverError> {
    let stored: Vec<(String, String)> =
        serde_json::from_str(&machine.parameters).unwrap_or_default();
    let pairs = stored.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Parameters::read(pairs).map_err(refused)
}

fn refused(error: impl ToString) -> DriverError {
    failed(FailureKind::Definite, error.to_string())
}

/// The dummy's own parameters of a call as JSON. Others may be secrets, and have no business here.
pub(super) fn stored_parameters(call: &Call) -> String {
    let own = |key: &str| key.to_ascii_lowercase().starts_with("dummy_");
    let pairs: Vec<(&str, &str)> = call
        .host
        .template
        .all("PROVISION")
        .filter_map(|value| match value {
            model::Value::Vector(inner) => Some(inner.iter()),
            _ => None,
        })
        .flatten()
        .filter_map(|(key, value)| Some((key, value.expose()?)))
        .filter(|(key, _)| own(key))
        .collect();
    serde_json::to_string(&pairs).unwrap_or_else(|_| "[]".to_owned())
}
