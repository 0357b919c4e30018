//! `journal show|export|verify`

use std::collections::BTreeSet;
use std::sync::Arc;

use journal::{
    Entry, Event, Journal, JournalError, Lease, Outcome, ProvisionRecord, SqliteJournal,
};
use model::ProvisionId;
use serde_json::json;

use super::{print, provision_id};
use crate::args::{Global, JournalSetAsideArgs, JournalShowArgs};
use crate::context::Folders;
use crate::error::{ASIDE, CliError, Code, NEWER};
use crate::exit::Exit;
use crate::progress::subject_label;

/// The journal alone: these commands work without a front-end.
fn open(global: &Global) -> Result<Arc<SqliteJournal>, CliError> {
    let folders = Folders::of(global)?;
    let journal = SqliteJournal::open(&folders.journal()).map_err(engine::EngineError::from)?;
    Ok(Arc::new(journal))
}

pub async fn show(global: &Global, args: &JournalShowArgs) -> Result<Exit, CliError> {
    let id = match args.provision.as_str() {
        "orphans" => ::journal::ORPHANS,
        id => provision_id(id)?,
    };
    let entries = open(global)?.entries(id).await.map_err(engine::EngineError::from)?;
    if entries.is_empty() {
        return Err(engine::EngineError::NotFound(id).into());
    }
    let mut record = ProvisionRecord::new(id);
    let mut text = String::new();
    for entry in &entries {
        text += &line(&record, entry);
        record.apply(entry.at, &entry.event);
    }
    print(&text)
}

pub async fn export(global: &Global) -> Result<Exit, CliError> {
    let journal = open(global)?;
    for id in journal.provisions().await.map_err(engine::EngineError::from)? {
        for entry in journal.entries(id).await.map_err(engine::EngineError::from)? {
            let exported = json!({
                "seq": entry.seq,
                "provision": entry.provision,
                "at": entry.at,
                "body": entry.event,
            });
            print(&format!("{exported}\n"))?;
        }
    }
    Ok(Exit::Done)
}

pub async fn verify(global: &Global) -> Result<Exit, CliError> {
    let journal = open(global)?;
    let ids = journal.provisions().await.map_err(engine::EngineError::from)?;
    let (mut events, mut problems) = (0, Vec::new());
    for id in &ids {
        let (readable, found) = problems_of(&journal, *id).await?;
        events += readable;
        problems.extend(found);
    }
    match problems.len() {
        0 => print(&format!("{} provisions, {events} events: all make sense\n", ids.len())),
        n => {
            print(&problems.concat())?;
            Err(CliError::new(format!("{n} events make no sense, {events} could be read"))
                .code(Code::Journal)
                .hint(format!("{NEWER}; else `oneprovision journal set-aside ID` {ASIDE}")))
        }
    }
}

/// Takes a provision that makes no sense out of the journal. Of one that does nothing is set aside: its
/// machines would be forgotten.
pub async fn set_aside(global: &Global, args: &JournalSetAsideArgs) -> Result<Exit, CliError> {
    let id = provision_id(&args.provision)?;
    let journal = open(global)?;
    let folders = Folders::of(global)?;
    let _lease = Lease::take(&folders.leases(), id)
        .map_err(|e| engine::EngineError::Lease { provision: id, source: Box::new(e) })?;
    match problems_of(&journal, id).await? {
        (0, problems) if problems.is_empty() => {
            return Err(engine::EngineError::NotFound(id).into());
        }
        (_, problems) if problems.is_empty() => {
            return Err(CliError::new(format!(
                "all that is written of provision {id} makes sense: nothing is set aside"
            ))
            .code(Code::Refused)
            .hint(format!("`oneprovision journal show {id}` shows it")));
        }
        _ => {}
    }
    let now = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S");
    let file = folders.state.join(format!("journal-{id}-{now}.jsonl"));
    let entries = journal.set_aside(id, &file).map_err(engine::EngineError::from)?;
    super::narrate(&format!(
        "{entries} entries are in {}; `oneprovision show {id}` shows what OpenNebula has of the provision, \
         `oneprovision orphans` machines that nobody accounts for",
        file.display()
    ));
    Ok(Exit::Done)
}

/// How many entries of a provision can be read, and what makes no sense of it, one line each.
async fn problems_of(
    journal: &SqliteJournal,
    id: ProvisionId,
) -> Result<(usize, Vec<String>), CliError> {
    match journal.entries(id).await {
        Ok(entries) => Ok((entries.len(), check(&entries))),
        Err(JournalError::Entry { seq, source, .. }) => {
            Ok((0, vec![format!("{id} entry {seq}: cannot be understood: {source}\n")]))
        }
        Err(error) => Err(engine::EngineError::from(error).into()),
    }
}

/// Events that the fold passes over: an outcome without its intent, an intent made twice.
fn check(entries: &[Entry]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut last = 0;
    let Some(first) = entries.first() else { return problems };
    let mut record = ProvisionRecord::new(first.provision);
    // Hosts overtake each other between drawing a number and writing it down, so that the order of
    // the numbers means nothing.
    let mut intents = BTreeSet::new();
    for entry in entries {
        let mut problem = |what: &str| {
            problems.push(format!("{} entry {}: {what}\n", entry.provision, entry.seq));
        };
        if entry.seq <= last {
            problem("is out of order");
        }
        last = entry.seq;
        match &entry.event {
            Event::Outcome { id, .. } | Event::Process { id, .. }
                if record.open_step(*id).is_none() =>
            {
                problem("belongs to no open intent");
            }
            Event::Intent { id, .. } if !intents.insert(*id) => problem("repeats an intent"),
            _ => {}
        }
        record.apply(entry.at, &entry.event);
    }
    problems
}

fn line(record: &ProvisionRecord, entry: &Entry) -> String {
    let time = jiff::Timestamp::from_millisecond(entry.at)
        .map_or_else(|_| entry.at.to_string(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string());
    let host = |key: &model::HostKey| subject_label(record, journal::Subject::Host(*key));
    let text = match &entry.event {
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

#[cfg(test)]
mod tests {
    use journal::{IntentId, Step, Subject};
    use model::{HostKey, ProvisionId};

    use super::*;

    fn entry(seq: i64, event: Event) -> Entry {
        Entry { seq, provision: ProvisionId(uuid::Uuid::from_u128(7)), at: 1, event }
    }

    fn intent(id: u64) -> Event {
        let subject = Subject::Host(HostKey(0));
        Event::Intent { id: IntentId(id), subject, step: Step::Create, key: None }
    }

    #[test]
    fn intents_may_overtake_each_other_and_not_come_twice() {
        let overtaken = [entry(1, intent(2)), entry(2, intent(1))];
        assert_eq!(check(&overtaken), Vec::<String>::new());
        let twice = [entry(1, intent(1)), entry(2, intent(1))];
        let problems = check(&twice);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("entry 2: repeats an intent\n"), "{problems:?}");
        let stray = Event::Outcome {
            id: IntentId(9),
            outcome: Outcome::Failed { message: "no".to_owned() },
        };
        assert!(check(&[entry(1, stray)])[0].contains("belongs to no open intent"));
        assert!(check(&[entry(2, intent(1)), entry(1, intent(2))])[0].contains("out of order"));
    }
}
