//! What create and delete have in common: signals, and the last lines.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use engine::{Engine, EngineError, Report, Stop};
use journal::{HostRecord, Machine, ProvisionRecord};
use model::{HostId, ProvisionId, ProvisionState};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Global, LogArgs};
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::progress::{Progress, label, screen, totals, totals_present};
use crate::selection::HostChoice;

/// Lets the first Ctrl-C, SIGTERM or SIGHUP stop the operation in an orderly way. A second one ends
/// the program: the journal is as good as after a crash.
pub fn stop_on_signals(stop: &Stop) -> Result<(), CliError> {
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind)
            .map_err(|e| CliError::caused("the signals of this process cannot be caught", e))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if stop.requested() {
                    narrate(
                        "Ended at once: what runs is left to itself, and may still make machines. \
                         `oneprovision list` says what was interrupted, and what goes on with it.",
                    );
                    // It ends as it ends, whatever a program could be told.
                    let _ = crate::events::end(Exit::Interrupted, None);
                    std::process::exit(Exit::Interrupted.code().into());
                }
                stop.request();
                narrate("Stopping: nothing new is begun, what runs is brought to a safe point …");
            }
        });
    }
    Ok(())
}

/// A line of narration. A closed standard error must not end an operation.
pub fn narrate(line: &str) {
    screen::print(&format!("{line}\n"));
}

/// Progress for an operation.
pub fn progress(log: &LogArgs) -> Progress {
    Progress::new(log.verbose || log.debug, engine::SystemClock)
}

/// Asks before something is destroyed. Without a terminal, or with `--batch`, 5.12 went on.
pub fn confirmed(global: &Global, question: &str) -> bool {
    if global.yes || global.batch || !std::io::stdin().is_terminal() {
        return true;
    }
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer).is_ok();
    read && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks before something is destroyed, where 5.12 had no such command: without anybody to ask it is
/// refused.
pub fn ask(global: &Global, question: &str) -> Result<bool, CliError> {
    let nobody = global.batch || !std::io::stdin().is_terminal();
    if nobody && !global.yes {
        return Err(CliError::new("this cannot be undone, and there is nobody to ask")
            .code(Code::Confirmation)
            .hint("--yes answers every question"));
    }
    Ok(confirmed(global, question))
}

/// "1 host", "3 hosts".
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// The chosen hosts of each provision.
///
/// # Errors
/// If one has no object in OpenNebula.
pub fn with_objects(chosen: &[HostChoice]) -> Result<BTreeMap<ProvisionId, Vec<HostId>>, CliError> {
    let mut by_provision: BTreeMap<ProvisionId, Vec<HostId>> = BTreeMap::new();
    for host in chosen {
        let id = host.id.ok_or_else(|| {
            CliError::new(format!("{} has no object in OpenNebula", host.name))
                .code(Code::NotFound)
                .hint(format!(
                    "`oneprovision delete {0}` removes all of its provision, `oneprovision show {0}` \
                     tells what is known of it",
                    host.provision
                ))
        })?;
        by_provision.entry(host.provision).or_default().push(id);
    }
    Ok(by_provision)
}

/// What was wanted of the provision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That it is there.
    Present,
    /// That it is gone.
    Absent,
}

/// The last lines: what exists, what it costs, how to go on; and the exit code.
pub fn conclude(report: &Report, wanted: Wanted) -> Exit {
    crate::events::report(report);
    let record = &report.record;
    let machines = machines_line(record);
    // What began the clean-up is why; that all is removed since tells nobody.
    let mut failures = failures(record);
    let why = report.cleaned_up.as_deref().map(self::failures).unwrap_or_default();
    failures.retain(|failure| !why.contains(failure));
    failures.splice(0..0, why);
    let totals = match wanted {
        Wanted::Present if report.skipped == 0 => totals_present(record),
        _ => totals(record),
    };
    if report.interrupted {
        narrate(&format!("Interrupted: {totals}. {machines}"));
        go_on(record, wanted);
        return Exit::Interrupted;
    }
    for failure in &failures {
        narrate(&format!("ERROR: {failure}"));
    }
    if !failures.is_empty() {
        narrate(&Code::Failed.more());
    }
    match (record.state, wanted) {
        (ProvisionState::Deleted, Wanted::Absent) => {
            narrate(&format!("Provision {} is deleted. {machines}", record.id));
            Exit::Done
        }
        (ProvisionState::Deleted, Wanted::Present) => {
            narrate(&format!("Provision {} failed and was removed. {machines}", record.id));
            Exit::Error
        }
        (ProvisionState::Parked, _) => {
            narrate(&format!(
                "Provision {} is deleted but for what may be left. {machines}",
                record.id
            ));
            tell_unknown(record);
            if wanted == Wanted::Present { Exit::Error } else { Exit::Parked }
        }
        _ if !failures.is_empty() || record.state == ProvisionState::Failed => {
            tell_unknown(record);
            narrate(&format!("{}. {machines}", capital(&totals)));
            tell_kept(record);
            go_on(record, wanted);
            if only_unknown(record) { Exit::Parked } else { Exit::Error }
        }
        _ => {
            if wanted == Wanted::Present {
                narrate(crate::views::provision::machines(record).trim_end());
            }
            narrate(&format!("Done: {totals}. {machines}"));
            if wanted == Wanted::Present {
                tell_unconfigured(record);
            }
            match report.skipped {
                0 => Exit::Done,
                n => {
                    narrate(&format!("{n} of the template's hosts failed and were taken out."));
                    Exit::Parked
                }
            }
        }
    }
}

/// The last lines of the removal of these hosts. Of the others of the provision it is not said here what
/// they failed of. Those that are `gone` have no object that could be named by its id.
pub fn conclude_hosts(report: &Report, hosts: &[HostId], gone: &[HostId]) -> Exit {
    crate::events::report(report);
    let record = &report.record;
    // One whose object is gone, and whose machine may not be, has no id any more.
    let is_asked = |host: &HostRecord| host.host_id.is_none_or(|id| hosts.contains(&HostId(id)));
    let mut left = record.clone();
    left.hosts.retain(|_, host| host.removing && !host.removed && is_asked(host));
    let ending = format!("{}. {}", totals(record), machines_line(record));
    if left.hosts.is_empty() && !report.interrupted {
        narrate(&format!("Done: {ending}"));
        return Exit::Done;
    }
    if report.interrupted {
        narrate(&format!("Interrupted: {ending}"));
    } else {
        let failures = left.hosts.values().filter_map(|host| failure(record, host));
        failures.for_each(|failure| narrate(&format!("ERROR: {failure}")));
        narrate(&Code::Failed.more());
        tell_unknown(&left);
        narrate(&capital(&ending));
        tell_kept(&left);
    }
    narrate(&format!("  see what there is:  oneprovision show {}", record.id));
    let ids: Vec<String> = left
        .hosts
        .values()
        .filter_map(|host| match host.host_id? {
            id if gone.contains(&HostId(id)) => Some(format!("{}:{}", record.id, host.key)),
            id => Some(id.to_string()),
        })
        .collect();
    if !ids.is_empty() {
        narrate(&format!("  try again:          oneprovision host delete {}", ids.join(",")));
    }
    match report.interrupted {
        true => Exit::Interrupted,
        false if ids.is_empty() => Exit::Parked,
        false => Exit::Error,
    }
}

/// Says why hosts have no machine, or were not enabled although nobody asked for that.
fn tell_unconfigured(record: &ProvisionRecord) {
    if record.create.as_ref().is_some_and(|create| create.options.skip_provision) {
        narrate(&format!(
            "No machine was asked for (--skip-provision). `oneprovision update {} TEMPLATE` asks for \
             them.",
            record.id
        ));
    }
    let is_waiting = |host: &HostRecord| host.enlisted == Some(false) && !host.removed && !host.off;
    if record.hosts.values().any(is_waiting) {
        narrate(&format!(
            "Hosts stay offline and pending until they are configured: `oneprovision configure {}`.",
            record.id
        ));
    }
}

/// Whether nothing failed, and all that is wrong is that machines may exist.
fn only_unknown(record: &ProvisionRecord) -> bool {
    let is_unknown = |host: &HostRecord| matches!(host.machine, Machine::Maybe { .. });
    let hosts = || record.hosts.values();
    let objects = record.objects().all(|object| object.failure.is_none());
    objects && hosts().any(is_unknown) && hosts().all(|h| is_unknown(h) || h.failure.is_none())
}

/// The commands that come next, once something went wrong.
fn go_on(record: &ProvisionRecord, wanted: Wanted) {
    let id = record.id;
    narrate(&format!("  see what there is:  oneprovision show {id}"));
    match wanted {
        Wanted::Present => {
            // What this journal did not make cannot be resumed.
            let configure = record.configuring || record.wanted().is_none();
            let again = if configure { "configure" } else { "resume" };
            narrate(&format!("  try again:          oneprovision {again} {id}"));
            narrate(&format!("  remove all of it:   oneprovision delete {id}"));
        }
        Wanted::Absent => {
            let cleanup = if record.cleanup.is_some() { " --cleanup" } else { "" };
            narrate(&format!("  try again:          oneprovision delete {id}{cleanup}"));
        }
    }
}

/// An error that ended an operation in the middle: what there is is not lost, and how to go on is
/// said. An operation that never began leaves nothing to go on with.
pub async fn after_error(
    engine: &Engine,
    error: EngineError,
    id: ProvisionId,
    wanted: Wanted,
) -> CliError {
    use EngineError as E;
    let refused = matches!(
        error,
        E::Driver(_) | E::NotFound(_) | E::Lease { .. } | E::Refused(_) | E::Configuration(_)
    );
    // A journal that cannot be read may know it.
    let begun = !matches!(engine.journal.record(id).await, Ok(None));
    let error = CliError::from(error);
    match wanted {
        _ if refused || !begun => error,
        Wanted::Present => error.next(format!(
            "oneprovision resume {id} goes on, oneprovision delete {id} removes what there is"
        )),
        Wanted::Absent => error.next(format!("oneprovision delete {id} goes on")),
    }
}

/// Machines of which only the operator can find out whether they exist, and how to tell.
fn tell_unknown(record: &ProvisionRecord) {
    let unknown = |host: &journal::HostRecord| matches!(host.machine, Machine::Maybe { .. });
    if !record.hosts.values().any(unknown) {
        return;
    }
    narrate("Look for these in the provider's console; then tell what you found:");
    for host in record.hosts.values() {
        if let Machine::Maybe { evidence } = &host.machine {
            let mark = engine::names::host_name(record.id, host.key);
            narrate(&format!(
                "  {}, driver {}, marked {mark}: {evidence}",
                label(record, host.key),
                host.driver
            ));
            narrate(&format!(
                "    oneprovision host resolve {}:{} --gone | --exists DEPLOY_ID",
                record.id, host.key
            ));
        }
    }
}

/// Machines that could not be removed, and what to do about one that is gone all the same.
fn tell_kept(record: &ProvisionRecord) {
    let is_kept =
        |host: &&HostRecord| host.removing && host.failure.is_some() && host.machine.id().is_some();
    for host in record.hosts.values().filter(is_kept) {
        narrate(&format!(
            "  if it is gone for certain:  oneprovision host resolve {}:{} --gone",
            record.id, host.key
        ));
    }
}

/// Every exit says what is being paid for, and what may be.
fn machines_line(record: &ProvisionRecord) -> String {
    let known = record.hosts.values().filter(|host| host.machine.id().is_some()).count();
    let unknown = record.machines().saturating_sub(known);
    let count = |n: usize, verb: &str, verbs: &str| match n {
        1 => format!("1 machine {verb}"),
        n => format!("{n} machines {verbs}"),
    };
    match (known, unknown) {
        (0, 0) => "No machine exists.".to_owned(),
        (known, 0) => format!("{} and may be billed.", count(known, "exists", "exist")),
        (0, unknown) => format!("{} and be billed.", count(unknown, "may exist", "may exist")),
        (known, unknown) => format!(
            "{} and may be billed, {unknown} more may exist.",
            count(known, "exists", "exist")
        ),
    }
}

/// Why each host, and then each object, failed: a cluster that is not empty follows from its hosts.
fn failures(record: &ProvisionRecord) -> Vec<String> {
    let hosts = record.hosts.values().filter_map(|host| failure(record, host));
    hosts.chain(record.objects().filter_map(|object| object.failure.clone())).collect()
}

fn failure(record: &ProvisionRecord, host: &HostRecord) -> Option<String> {
    let failure = match (&host.machine, &host.failure) {
        (Machine::Maybe { evidence }, _) => {
            format!("whether its machine exists is not known: {evidence}")
        }
        (_, Some(failure)) => failure.clone(),
        _ => return None,
    };
    Some(format!("{}: {failure}", label(record, host.key)))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or(String::new(), |first| first.to_uppercase().collect::<String>() + chars.as_str())
}
