//! `journal show|export|verify|set-aside`

use std::collections::BTreeSet;
use std::fmt;

use journal::{Event, Fact, Journal, Lease, Outcome, ProvisionRecord, SqliteJournal, Written};
use model::{ProvisionId, ProvisionState};

use super::{print, provision_id};
use crate::args::{Global, JournalSetAsideArgs, JournalShowArgs};
use crate::context::Folders;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::progress::subject_label;

/// The journal alone: these commands work without a front-end.
fn open(global: &Global) -> Result<SqliteJournal, CliError> {
    let folders = Folders::of(global)?;
    Ok(SqliteJournal::open(&folders.journal()).map_err(engine::EngineError::from)?)
}

pub async fn show(global: &Global, args: &JournalShowArgs) -> Result<Exit, CliError> {
    let id = match args.provision.as_str() {
        "orphans" => ::journal::ORPHANS,
        id => provision_id(id)?,
    };
    let written = written(&open(global)?, id)?;
    if written.is_empty() {
        return Err(engine::EngineError::NotFound(id).into());
    }
    let mut record = ProvisionRecord::new(id);
    let mut text = String::new();
    for entry in &written {
        text += &line(&record, entry);
        if let Ok(event) = &entry.event {
            record.apply(entry.at, event);
        }
    }
    print(&text)
}

pub async fn export(global: &Global) -> Result<Exit, CliError> {
    let journal = open(global)?;
    for id in journal.provisions().await.map_err(engine::EngineError::from)? {
        for entry in written(&journal, id)? {
            print(&format!("{}\n", entry.line()))?;
        }
    }
    Ok(Exit::Done)
}

pub async fn verify(global: &Global) -> Result<Exit, CliError> {
    let journal = open(global)?;
    let ids = journal.provisions().await.map_err(engine::EngineError::from)?;
    let (mut events, mut damaged, mut problems) = (0, false, Vec::new());
    for id in &ids {
        let written = written(&journal, *id)?;
        events += written.len();
        damaged |= written.iter().any(|entry| entry.event.is_err());
        problems.extend(check(&written).into_iter().map(|problem| problem.to_string()));
    }
    match problems.len() {
        0 => print(&format!("{} provisions, {events} events: all make sense\n", ids.len())),
        n => {
            print(&problems.concat())?;
            let error = CliError::new(format!("{n} of {events} entries make no sense"));
            let error = error.code(Code::Journal);
            Err(match damaged {
                true => error.hint(crate::error::damaged_hint("ID")),
                false => error,
            })
        }
    }
}

/// Takes what cannot be understood of a provision out of the journal. What it may have said is not taken
/// for nothing: a host without a machine may have one.
pub async fn set_aside(global: &Global, args: &JournalSetAsideArgs) -> Result<Exit, CliError> {
    let id = provision_id(&args.provision)?;
    let journal = open(global)?;
    let folders = Folders::of(global)?;
    let _lease = Lease::take(&folders.leases(), id)
        .map_err(|e| engine::EngineError::Lease { provision: id, source: Box::new(e) })?;
    let written = written(&journal, id)?;
    if written.is_empty() {
        return Err(engine::EngineError::NotFound(id).into());
    }
    let Some(first) = written.iter().find(|entry| entry.event.is_err()) else {
        return Err(CliError::new(format!(
            "all that is written of provision {id} can be understood: nothing is set aside"
        ))
        .code(Code::Refused)
        .hint(format!("`oneprovision journal show {id}` shows it")));
    };
    // Outcomes of what cannot be understood are passed over, and named below.
    let problems = check(&written);
    let aside: Vec<&Written> = problems.iter().filter(|p| p.is_lost()).map(|p| p.entry).collect();
    let mut record = ProvisionRecord::new(id);
    for entry in &written {
        if let Ok(event) = &entry.event {
            record.apply(entry.at, event);
        }
    }
    if record.create.is_none() {
        super::narrate(&format!(
            "WARNING: what can be understood does not tell which hosts provision {id} was to have. A machine              that OpenNebula does not name is then found at its provider alone: `oneprovision orphans --driver              DRIVER` lists it"
        ));
        if !super::operation::ask(global, "Go on?")? {
            return Err(CliError::new("nothing was changed").code(Code::Confirmation));
        }
    }
    let lost = format!("entry {} of the journal was set aside", first.seq);
    let mut events = engine::doubts::after_a_loss(&record, &lost);
    let machines = record.machines();
    let at = jiff::Timestamp::now();
    events.iter().for_each(|event| record.apply(at.as_millisecond(), event));
    if aside.len() == written.len() || record.state == ProvisionState::Ready {
        // There is something left to be done, and the journal goes on knowing the provision.
        events.push(Event::Ended { state: ProvisionState::Failed });
    }
    let file = folders.state.join(format!("journal-{id}-{}.jsonl", at.strftime("%Y%m%d%H%M%S")));
    journal
        .set_aside(&aside, &file, id, at.as_millisecond(), &events)
        .map_err(engine::EngineError::from)?;
    let (events, file) = (super::operation::count(aside.len(), "event"), file.display());
    super::narrate(&format!("{events} of provision {id} set aside in {file}."));
    for machine in aside.iter().filter_map(|entry| machine_in(entry)) {
        super::narrate(&format!("  they name machine {machine}; look whether a host has it"));
    }
    let doubtful = record.machines().saturating_sub(machines);
    if doubtful > 0 {
        let hosts = super::operation::count(doubtful, "host");
        super::narrate(&format!("{hosts} of it may have a machine of which nothing is known now."));
    }
    if record.create.is_some() {
        super::narrate(&format!("  go on:       oneprovision resume {id}"));
    }
    super::narrate(&format!("  remove all:  oneprovision delete {id}"));
    Ok(if doubtful > 0 { Exit::Parked } else { Exit::Done })
}

/// The machine of an outcome.
fn machine_in(entry: &Written) -> Option<&model::DeployId> {
    match &entry.event {
        Ok(Event::Outcome { outcome: Outcome::Done(Fact::Machine(id)), .. }) => Some(id),
        _ => None,
    }
}

fn written(journal: &SqliteJournal, id: ProvisionId) -> Result<Vec<Written>, CliError> {
    Ok(journal.written(id).map_err(engine::EngineError::from)?)
}

/// An entry that makes no sense.
struct Problem<'w> {
    entry: &'w Written,
    what: String,
}

/// Belongs to an intent that is not there.
const STRAY: &str = "belongs to no open intent";

impl Problem<'_> {
    /// Whether nothing comes of the entry.
    fn is_lost(&self) -> bool {
        self.entry.event.is_err() || self.what == STRAY
    }
}

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} entry {}: {}", self.entry.provision, self.entry.seq, self.what)
    }
}

/// What cannot be understood, and what the fold passes over: an outcome without its intent, an intent made
/// twice.
fn check(written: &[Written]) -> Vec<Problem<'_>> {
    let mut problems = Vec::new();
    let mut last = 0;
    let Some(first) = written.first() else { return problems };
    let mut record = ProvisionRecord::new(first.provision);
    // Hosts overtake each other between drawing a number and writing it down, so that the order of
    // the numbers means nothing.
    let mut intents = BTreeSet::new();
    for entry in written {
        let mut problem = |what: String| problems.push(Problem { entry, what });
        if entry.seq <= last {
            problem("is out of order".to_owned());
        }
        last = entry.seq;
        let event = match &entry.event {
            Ok(event) => event,
            Err(error) => {
                problem(format!("cannot be understood: {error}"));
                continue;
            }
        };
        match event {
            Event::Outcome { id, .. } | Event::Process { id, .. }
                if record.open_step(*id).is_none() =>
            {
                problem(STRAY.to_owned());
            }
            Event::Intent { id, .. } if !intents.insert(*id) => {
                problem("repeats an intent".to_owned());
            }
            _ => {}
        }
        record.apply(entry.at, event);
    }
    problems
}

fn line(record: &ProvisionRecord, entry: &Written) -> String {
    let time = jiff::Timestamp::from_millisecond(entry.at)
        .map_or_else(|_| entry.at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let host = |key: &model::HostKey| subject_label(record, journal::Subject::Host(*key));
    let event = match &entry.event {
        Ok(event) => event,
        Err(error) => return format!("{:>6} {time} cannot be understood: {error}\n", entry.seq),
    };
    let text = match event {
        Event::CreateBegun(begun) => format!(
            "create of {} from {} on {}: {} hosts, {} datastores, {} networks",
            begun.name,
            begun.template.display(),
            begun.endpoint,
            begun.drivers.len(),
            begun.datastores,
            begun.networks
        ),
        Event::Resumed => "resumed".to_owned(),
        Event::UpdateBegun(begun) => format!(
            "update to {} from {}: {} hosts, {} changed, {} removed",
            begun.create.name,
            begun.create.template.display(),
            begun.create.drivers.len(),
            begun.outdated.len(),
            begun.leaving.len()
        ),
        Event::DeleteBegun { cleanup: None } => "delete".to_owned(),
        Event::DeleteBegun { cleanup: Some(_) } => "delete with its VMs and images".to_owned(),
        Event::HostDeleteBegun { hosts, update } => {
            let hosts: Vec<String> = hosts.iter().map(host).collect();
            let hosts = hosts.join(", ");
            match update {
                None => format!("delete of {hosts}"),
                Some(update) => format!(
                    "delete of {hosts}, before an update from {}",
                    update.begun.create.template.display()
                ),
            }
        }
        Event::OrphanDoomed { driver, machine, provision } => {
            let of = provision.map_or_else(|| "no provision".to_owned(), |id| id.to_string());
            format!("machine {machine} of driver {driver}, marked with {of}: cancel begins")
        }
        Event::OrphanEnded { driver, machine, outcome } => {
            let what = format!("machine {machine} of driver {driver}: cancel");
            match outcome {
                Outcome::Done(_) => format!("{what} done"),
                Outcome::Failed { message } => format!("{what} FAILED: {message}"),
                Outcome::Unknown { evidence } => format!("{what} UNKNOWN: {evidence}"),
            }
        }
        Event::PowerBegun { power, hosts } => {
            let hosts: Vec<String> = hosts.iter().map(|begun| host(&begun.host)).collect();
            format!("{} of {}", power.as_str(), hosts.join(", "))
        }
        Event::ConfigureBegun { hosts, again } => {
            let hosts: Vec<String> = hosts.iter().map(host).collect();
            let again = if *again { ", all of it again" } else { "" };
            format!("configuration of {}{again}", hosts.join(", "))
        }
        Event::Found { subject, id, name, .. } => {
            format!("{}: found in OpenNebula as {id} {name}", subject_label(record, *subject))
        }
        Event::Intent { id, subject, step, .. } => {
            format!(
                "{}: {} begins (intent {})",
                subject_label(record, *subject),
                step.as_str(),
                id.0
            )
        }
        Event::Process { id, process } => format!("driver runs (intent {}): {process}", id.0),
        Event::DeployIdSeen { host: key, deploy_id, .. } => {
            format!("{}: machine {deploy_id} is named", host(key))
        }
        Event::Outcome { id, outcome } => {
            let what = record.open_step(*id).map_or_else(
                || "nothing known".to_owned(),
                |(subject, step)| format!("{}: {}", subject_label(record, subject), step.as_str()),
            );
            match outcome {
                Outcome::Done(fact) => format!("{what} done {}", serde_json::json!(fact)),
                Outcome::Failed { message } => format!("{what} FAILED: {message}"),
                Outcome::Unknown { evidence } => format!("{what} UNKNOWN: {evidence}"),
            }
        }
        Event::Resolved { host: key, deploy_id } => match deploy_id {
            Some(id) => format!("{}: machine {id} exists", host(key)),
            None => format!("{}: no machine exists", host(key)),
        },
        Event::Said { host: key, deploy_id } => match deploy_id {
            Some(id) => format!("{}: the operator says that it has machine {id}", host(key)),
            None => format!("{}: the operator says that it has no machine", host(key)),
        },
        Event::Addressed { host: key, address } => format!("{}: address {address}", host(key)),
        Event::HostFailed { host: key, message } => format!("{}: FAILED: {message}", host(key)),
        Event::Retried { host: key } => format!("{}: goes on", host(key)),
        Event::Ended { state } => format!("ended: {state}"),
    };
    format!("{:>6} {time} {}\n", entry.seq, text.replace('\n', " / "))
}
