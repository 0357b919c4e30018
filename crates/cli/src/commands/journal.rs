//! `journal show|export|verify|set-aside`

use std::collections::BTreeSet;

use journal::{Event, Fact, Journal, Lease, Outcome, ProvisionRecord, SqliteJournal, Written};
use model::{ProvisionId, ProvisionState};

use super::{print, provision_id};
use crate::args::{Global, JournalSetAsideArgs, JournalShowArgs};
use crate::context::Folders;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::progress::subject_label;

/// Machines that a message names; more are counted.
const NAMED: usize = 20;

/// The journal alone: these commands work without a front-end.
fn open(global: &Global) -> Result<SqliteJournal, CliError> {
    let folders = Folders::of(global)?;
    Ok(SqliteJournal::open(&folders.journal()).map_err(engine::EngineError::from)?)
}

pub async fn show(global: &Global, args: &JournalShowArgs) -> Result<Exit, CliError> {
    let journal = open(global)?;
    let id = match args.provision.as_str() {
        "orphans" => ::journal::ORPHANS,
        id => match named(&journal, id).await? {
            Some(id) => id,
            None => provision_id(id)?,
        },
    };
    let written = written(&journal, id)?;
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

/// The provision of that name; one that is there rather than those that are deleted.
async fn named(journal: &SqliteJournal, name: &str) -> Result<Option<ProvisionId>, CliError> {
    let live = journal.live().await.map_err(engine::EngineError::from)?;
    let all = journal.provisions().await.map_err(engine::EngineError::from)?;
    for ids in [live, all] {
        let mut found = Vec::new();
        for id in ids {
            // One that cannot be understood has no name here.
            let Ok(Some(record)) = journal.record(id).await else { continue };
            if record.name() == Some(name) {
                found.push(id.to_string());
            }
        }
        match found.as_slice() {
            [] => {}
            [one] => return Ok(one.parse().ok()),
            several => {
                let message =
                    format!("several provisions are named {name:?}: {}", several.join(", "));
                return Err(CliError::new(message).hint("name it by its id"));
            }
        }
    }
    Ok(None)
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
        problems.extend(check(&written));
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

/// Takes a provision that cannot be understood out of the journal. Of it counts what OpenNebula has from then
/// on, as without a journal.
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
    if written.iter().all(|entry| entry.event.is_ok()) {
        return Err(CliError::new(format!(
            "all that is written of provision {id} can be understood: nothing is set aside"
        ))
        .code(Code::Refused)
        .hint(format!("`oneprovision journal show {id}` shows it")));
    }
    let machines = machines_in(&written);
    if !machines.is_empty() {
        let more = match machines.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more (`oneprovision journal show {id}`)"),
        };
        super::narrate(&format!(
            "What can be understood names these machines, of which some may be gone: {}{more}",
            machines.into_iter().take(NAMED).collect::<Vec<_>>().join(", ")
        ));
    }
    let question = format!(
        "From now on what OpenNebula has of provision {id} counts. A machine that only the journal knew is \
         forgotten: `oneprovision orphans --driver DRIVER` lists what its provider has. Go on?"
    );
    if !super::operation::ask(global, &question)? {
        return Err(CliError::new("nothing was changed").code(Code::Confirmation));
    }
    let now = jiff::Timestamp::now();
    let file = folders.state.join(format!("journal-{id}-{}.jsonl", now.strftime("%Y%m%d%H%M%S")));
    // The journal goes on knowing the provision: a machine with its mark is an orphan, and not another
    // coordinator's.
    let left = [Event::Ended { state: ProvisionState::Failed }];
    journal
        .set_aside(&written, &file, id, now.as_millisecond(), &left)
        .map_err(engine::EngineError::from)?;
    let (events, file) = (super::operation::count(written.len(), "event"), file.display());
    super::narrate(&format!("{events} of provision {id} set aside in {file}."));
    super::narrate(&format!("  look at it:  oneprovision show {id}"));
    super::narrate(&format!("  remove all:  oneprovision delete {id}"));
    Ok(Exit::Parked)
}

/// The machines that entries name, each once.
fn machines_in(written: &[Written]) -> Vec<&str> {
    let events = written.iter().filter_map(|entry| entry.event.as_ref().ok());
    let named = events.filter_map(|event| match event {
        Event::Outcome { outcome: Outcome::Done(Fact::Machine(id)), .. }
        | Event::DeployIdSeen { deploy_id: id, .. }
        | Event::Found { deploy_id: Some(id), .. }
        | Event::Resolved { deploy_id: Some(id), .. }
        | Event::Said { deploy_id: Some(id), .. } => Some(id.as_str()),
        _ => None,
    });
    named.collect::<BTreeSet<_>>().into_iter().collect()
}

fn written(journal: &SqliteJournal, id: ProvisionId) -> Result<Vec<Written>, CliError> {
    Ok(journal.written(id).map_err(engine::EngineError::from)?)
}

/// What cannot be understood, and what the fold passes over: an outcome without its intent, an intent made
/// twice.
fn check(written: &[Written]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut last = 0;
    let Some(first) = written.first() else { return problems };
    let mut record = ProvisionRecord::new(first.provision);
    // Hosts overtake each other between drawing a number and writing it down, so that the order of
    // the numbers means nothing.
    let mut intents = BTreeSet::new();
    for entry in written {
        let mut problem = |what: &str| {
            problems.push(format!("{} entry {}: {what}\n", entry.provision, entry.seq));
        };
        if entry.seq <= last {
            problem("is out of order");
        }
        last = entry.seq;
        let event = match &entry.event {
            Ok(event) => event,
            Err(error) => {
                problem(&format!("cannot be understood: {error}"));
                continue;
            }
        };
        match event {
            Event::Outcome { id, .. } | Event::Process { id, .. }
                if record.open_step(*id).is_none() =>
            {
                problem("belongs to no open intent");
            }
            Event::Intent { id, .. } if !intents.insert(*id) => {
                problem("repeats an intent");
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
