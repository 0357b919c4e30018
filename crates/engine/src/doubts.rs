//! Hosts that may have a machine although nothing that is written says so: the journal of their create is
//! gone, or is somebody else's, or a part of it cannot be understood.
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
    let is_told = |host: HostKey| {
        let of_host = |event: &Event| matches!(event, Event::Found { subject, deploy_id: Some(_), .. } if *subject == Subject::Host(host));
        found.iter().any(of_host)
    };
    // One that was made here has no name until it has its machine's.
    let known = record.hosts.values().filter(|host| {
        let untouched = host.attempts == 0 && host.open.is_none() && !host.removed;
        host.machine == Machine::None && untouched && !is_told(host.key)
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
    let evidence =
        "its host was found in OpenNebula, and what was asked for it is not in this journal";
    unknown(known.chain(new), record.next_intent(), evidence)
}

/// The hosts of a record, all but those whose machine is known or looked for anyway, after a part of the
/// journal was lost. `evidence` says what was.
pub fn after_a_loss(record: &ProvisionRecord, evidence: &str) -> Vec<Event> {
    let is_open = |step| matches!(step, Step::Create | Step::Deploy | Step::Cancel);
    let hosts = record.hosts.values().filter(|host| {
        let none = matches!(host.machine, Machine::None | Machine::Gone);
        let settled = host.removed || host.removing;
        none && !settled && !host.open.as_ref().is_some_and(|open| is_open(open.step))
    });
    let hosts = hosts.map(|host| {
        (host.key, names::deploy_key(record.id, host.key, host.attempts.saturating_add(1)))
    });
    unknown(hosts, record.next_intent(), evidence)
}

fn unknown(
    hosts: impl Iterator<Item = (HostKey, String)>,
    first: IntentId,
    evidence: &str,
) -> Vec<Event> {
    let unknown = hosts.zip(first.0..).flat_map(|((host, key), id)| {
        let (id, subject) = (IntentId(id), Subject::Host(host));
        let outcome = Outcome::Unknown { evidence: evidence.to_owned() };
        [
            Event::Intent { id, subject, step: Step::Deploy, key: Some(key) },
            Event::Outcome { id, outcome },
        ]
    });
    unknown.collect()
}

#[cfg(test)]
mod tests {
    use model::ProvisionId;

    use super::*;

    #[test]
    fn a_loss_leaves_no_host_without_a_machine_for_certain() {
        let id = ProvisionId(uuid::Uuid::from_u128(7));
        let mut record = ProvisionRecord::new(id);
        let found = |key: u32, deploy_id: Option<&str>| Event::Found {
            subject: Subject::Host(HostKey(key)),
            id: i32::try_from(key).unwrap(),
            name: format!("h{key}"),
            driver: Some("dummy".to_owned()),
            deploy_id: deploy_id.and_then(model::DeployId::new),
        };
        let open = |id, host, step| Event::Intent {
            id: IntentId(id),
            subject: Subject::Host(HostKey(host)),
            step,
            key: None,
        };
        let removed =
            Event::Outcome { id: IntentId(3), outcome: Outcome::Done(journal::Fact::Done) };
        let events = [
            found(0, Some("m")),
            found(1, None),
            found(2, None),
            open(2, 2, Step::Deploy),
            found(3, None),
            open(3, 3, Step::Remove),
            removed,
        ];
        events.iter().for_each(|event| record.apply(1, event));
        let doubts = after_a_loss(&record, "entry 9 was lost");
        doubts.iter().for_each(|event| record.apply(2, event));
        let maybe: Vec<u32> = record
            .hosts
            .values()
            .filter(|host| matches!(host.machine, Machine::Maybe { .. }))
            .map(|host| host.key.0)
            .collect();
        assert_eq!(maybe, [1], "{doubts:?}");
        assert!(matches!(&doubts[0], Event::Intent { id: IntentId(4), key: Some(key), .. }
            if *key == names::deploy_key(id, HostKey(1), 1)));
        assert_eq!(after_a_loss(&record, "again"), []);
    }
}
