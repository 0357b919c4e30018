//! Hosts that may have a machine although nothing that is written says so: the journal of their create is
//! gone, or is somebody else's.
//!
//! For each of them a deploy of unknown outcome is written down, so that its machine is looked for before
//! another one is asked for, and is not forgotten by a delete.

use journal::{Event, IntentId, Machine, Outcome, ProvisionRecord, Step, Subject};
use model::HostKey;

use crate::names;

/// Hosts that are found, or were found by an earlier operation, without a machine, and still have the name
/// that they were made with: nobody here knows whether one is being asked for. `record` is the one before
/// they are found; `concerned` tells which of them are worked on, by their ids in OpenNebula.
pub(crate) fn perhaps_deployed(
    record: &ProvisionRecord,
    found: &[Event],
    concerned: impl Fn(i32) -> bool,
) -> Vec<Event> {
    let doubt = |host: HostKey, id: i32, name: &str| {
        let of_name = names::host_key(record.id, name).filter(|_| concerned(id))?;
        Some((host, names::deploy_key(record.id, of_name, 1)))
    };
    let is_named = |host: HostKey| {
        let is_it = |event: &Event| match event {
            Event::Found { subject, deploy_id: Some(_), .. } => *subject == Subject::Host(host),
            _ => false,
        };
        found.iter().any(is_it)
    };
    // One that was made here has no name until it has its machine's.
    let known = record.hosts.values().filter(|host| {
        let untouched = host.attempts == 0 && host.open.is_none() && !host.removed;
        host.machine == Machine::None && untouched && !is_named(host.key)
    });
    let known = known.filter_map(|host| doubt(host.key, host.host_id?, host.name.as_deref()?));
    let new = found.iter().filter_map(|event| match event {
        Event::Found { subject: Subject::Host(key), id, name, deploy_id: None, .. }
            if !record.hosts.contains_key(key) =>
        {
            doubt(*key, *id, name)
        }
        _ => None,
    });
    let first = record.next_intent().0;
    let unknown = known.chain(new).zip(first..).flat_map(|((host, key), id)| {
        let (id, subject) = (IntentId(id), Subject::Host(host));
        let evidence =
            "its host was found in OpenNebula, and what was asked for it is not in this journal";
        let outcome = Outcome::Unknown { evidence: evidence.to_owned() };
        [
            Event::Intent { id, subject, step: Step::Deploy, key: Some(key) },
            Event::Outcome { id, outcome },
        ]
    });
    unknown.collect()
}
