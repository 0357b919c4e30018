//! What is known of objects other than hosts.

use journal::{Event, Fact, IntentId, Outcome, ProvisionRecord, Step, Subject};
use model::ProvisionId;

fn cluster(events: &[Event]) -> journal::ObjectRecord {
    let mut record = ProvisionRecord::new(ProvisionId(uuid::Uuid::nil()));
    events.iter().for_each(|event| record.apply(1, event));
    record.cluster
}

fn step(id: u64, step: Step, outcome: Outcome) -> [Event; 2] {
    let (id, subject) = (IntentId(id), Subject::Cluster);
    [Event::Intent { id, subject, step, key: None }, Event::Outcome { id, outcome }]
}

#[test]
fn what_is_found_is_there_whatever_was_written_down() {
    let gone = step(1, Step::Remove, Outcome::Done(Fact::Done));
    assert!(cluster(&gone).removed);
    let (subject, name) = (Subject::Cluster, "web".to_owned());
    let found = Event::Found { subject, id: 100, name, driver: None, deploy_id: None };
    let there = cluster(&[&gone[..], &[found]].concat());
    assert_eq!((there.id, there.removed), (Some(100), false));
}

#[test]
fn a_failure_has_its_step_until_it_is_mended() {
    let failed = step(1, Step::Own, Outcome::Failed { message: "no".to_owned() });
    assert_eq!(cluster(&failed).failed_step(), Some(Step::Own));
    let owned = step(2, Step::Own, Outcome::Done(Fact::Done));
    assert_eq!(cluster(&[failed, owned].concat()).failed_step(), None);
}
