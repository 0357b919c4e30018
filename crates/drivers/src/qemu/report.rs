//! What is told of a machine: by `poll`, and by `list`.

use driver::{ListedMachine, MachineState, PollReport};
use model::{Attributes, DeployId};

use super::host::neighbour;
use super::machine::{Machine, Network, Store};
use super::process;

/// What was found out of a machine.
pub(super) enum Status {
    /// No process.
    Off,
    /// A process that does not say, and why.
    Silent(String),
    /// What QEMU says.
    Is(String),
}

/// QEMU's run states (QMP, `RunState`) as ours.
fn state_of(words: &str) -> MachineState {
    match words {
        "running" => MachineState::Active,
        "shutdown" => MachineState::Gone,
        "internal-error" | "io-error" | "guest-panicked" | "watchdog" => MachineState::Error,
        "prelaunch" | "paused" | "debug" | "inmigrate" | "postmigrate" | "finish-migrate"
        | "restore-vm" | "save-vm" | "suspended" | "colo" => MachineState::Paused,
        _ => MachineState::NotKnown,
    }
}

/// The answer of `poll`.
pub(super) fn report(store: &Store, machine: &Machine, status: Status) -> PollReport {
    let address = match &machine.network {
        Network::User { address, .. } => Some(*address),
        Network::Bridge { address, .. } | Network::Tap { address, .. } => {
            address.or_else(|| neighbour(&machine.mac))
        }
    };
    let (state, words) = match status {
        Status::Off => (MachineState::Gone, "off".to_owned()),
        Status::Silent(why) => (MachineState::NotKnown, why),
        Status::Is(words) => (state_of(&words), words),
    };
    let mut report = PollReport::new(state, address.iter().map(ToString::to_string).collect());
    let usage = process::of_machine(&store.mark(&machine.id)).first().copied();
    if let Some(usage) = usage.and_then(process::usage) {
        report.attributes.push("CPU", usage.cpu.to_string());
        report.attributes.push("MEMORY", usage.memory_kib.to_string());
    }
    report.attributes.push("QEMU_STATUS", words.replace(char::is_whitespace, "_"));
    if let Network::User { port, .. } = machine.network {
        report.attributes.push("SSH_PORT", port.to_string());
    }
    report
}

/// A line of `list`; `None` if its folder's name is no id.
pub(super) fn listed(store: &Store, machine: &Machine) -> Option<ListedMachine> {
    let state = match process::of_machine(&store.mark(&machine.id)).is_empty() {
        true => MachineState::Gone,
        false => MachineState::Active,
    };
    let address = match &machine.network {
        Network::User { address, .. } => Some(*address),
        Network::Bridge { address, .. } | Network::Tap { address, .. } => *address,
    };
    let mut attributes = Attributes::new();
    for (key, value) in [
        ("KEY", machine.key.clone()),
        ("PROVISION_ID", machine.provision_id.clone()),
        ("NAME", machine.name.clone()),
        ("CREATED", machine.created.to_string()),
        ("STATE", state.letter().to_string()),
        ("IP", address.map(|address| address.to_string()).unwrap_or_default()),
    ] {
        if !value.is_empty() {
            attributes.push(key, value);
        }
    }
    Some(ListedMachine { id: DeployId::new(&machine.id)?, attributes })
}
