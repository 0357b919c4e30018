//! What people call a host, an object, a phase, a number of hosts, a time.

use engine::observe::Phase;
use journal::{ProvisionRecord, Step, Subject};
use model::{HostKey, HostState};

/// What people know a host by: its number, and the name in the template.
pub fn label(record: &ProvisionRecord, key: HostKey) -> String {
    host_label(key, record.called(key))
}

fn host_label(key: HostKey, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("host {key} ({name})"),
        None => format!("host {key}"),
    }
}

/// What people know a subject by.
pub fn subject_label(record: &ProvisionRecord, subject: Subject) -> String {
    match subject {
        Subject::Host(key) => label(record, key),
        other => named_label(other, None),
    }
}

/// The same where the name of a host is known.
pub fn named_label(subject: Subject, name: Option<&str>) -> String {
    match subject {
        Subject::Host(key) => host_label(key, name),
        Subject::Secrets => "credentials".to_owned(),
        Subject::Cluster => "cluster".to_owned(),
        Subject::Datastore(n) => format!("datastore {n}"),
        Subject::Network(n) => format!("network {n}"),
        Subject::Virtual(kind, n) => format!("{} {n}", kind.as_str()),
    }
}

/// How many hosts are in which state: what is finished first, then what is near to it.
pub fn counts(record: &ProvisionRecord) -> Vec<(HostState, usize)> {
    let mut counts: Vec<_> = record.census().iter().map(|(state, n)| (*state, *n)).collect();
    let finished = |state| matches!(state, HostState::Enabled | HostState::Removed);
    counts.sort_by_key(|(state, _)| (!finished(*state), std::cmp::Reverse(*state)));
    counts
}

/// "20 of 50 enabled, 10 deploying, 20 registered".
pub fn totals(record: &ProvisionRecord) -> String {
    in_words(&counts(record))
}

/// The same of the hosts that are not removed.
pub fn totals_present(record: &ProvisionRecord) -> String {
    let mut counts = counts(record);
    counts.retain(|(state, _)| *state != HostState::Removed);
    in_words(&counts)
}

fn in_words(counts: &[(HostState, usize)]) -> String {
    let all: usize = counts.iter().map(|(_, n)| n).sum();
    match counts {
        [] => "no hosts".to_owned(),
        [(state, 1)] => format!("1 host {state}"),
        [(state, _)] => format!("all {all} hosts {state}"),
        [(state, first), others @ ..] => {
            let others = others.iter().map(|(state, n)| format!(", {n} {state}"));
            format!("{first} of {all} {state}{}", others.collect::<String>())
        }
    }
}

/// The words of 5.12's log for a power operation.
pub(super) fn power_text(step: Step) -> Option<&'static str> {
    Some(match step {
        Step::Poweroff => "Powering off",
        Step::PowerOn => "Resuming",
        Step::Reboot => "Rebooting",
        Step::Reset => "Resetting",
        _ => return None,
    })
}

/// The words of 5.12's log.
pub fn phase_text(phase: Phase, record: &ProvisionRecord) -> String {
    match phase {
        Phase::CreatingObjects => "Creating provision objects".to_owned(),
        Phase::Deploying => "Deploying".to_owned(),
        Phase::CreatingVirtual => "Creating provision virtual objects".to_owned(),
        Phase::CleaningUp => "Terminating VMs".to_owned(),
        Phase::Undeploying if record.doomed => format!("Deleting provision {}", record.id),
        Phase::Undeploying => format!("Deleting hosts of provision {}", record.id),
        Phase::DeletingObjects => "Deleting provision objects".to_owned(),
    }
}

/// Milliseconds as `7s`, `1m 05s`, `2h 03m`.
pub fn elapsed(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
    }
}
