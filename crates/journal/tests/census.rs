//! What is known of all hosts together is what looking at each of them finds.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use journal::{
    CreateBegun, CreateOptions, Event, Fact, IntentId, Outcome, Power, PowerHost, ProvisionRecord,
    Step, StoredSpec, Subject,
};
use model::{DeployId, HostKey, HostState, ProvisionId, ProvisionState};
use proptest::prelude::*;

const HOSTS: u32 = 4;

fn begun() -> Event {
    Event::CreateBegun(Box::new(CreateBegun {
        name: "p".into(),
        endpoint: "sandbox".into(),
        template: "/t.yaml".into(),
        digest: String::new(),
        options: CreateOptions::default(),
        spec: StoredSpec::default(),
        drivers: vec!["dummy".into(); HOSTS as usize],
        datastores: 1,
        networks: 0,
        virtuals: BTreeMap::new(),
    }))
}

fn host() -> impl Strategy<Value = HostKey> {
    // One more than there are.
    (0..=HOSTS).prop_map(HostKey)
}

fn machine() -> impl Strategy<Value = DeployId> {
    (0..3).prop_map(|n| DeployId::new(&format!("m-{n}")).unwrap())
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Done(Fact::Done)),
        (0..9).prop_map(|id| Outcome::Done(Fact::Object(id))),
        machine().prop_map(|id| Outcome::Done(Fact::Machine(id))),
        any::<bool>().prop_map(|enabled| {
            Outcome::Done(Fact::Enlisted { name: "10.0.0.1".into(), enabled })
        }),
        Just(Outcome::Failed { message: "no".into() }),
        Just(Outcome::Unknown { evidence: "cut".into() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop::sample::select(vec![
        Step::Create,
        Step::Deploy,
        Step::Announce,
        Step::Enlist,
        Step::Cancel,
        Step::Remove,
        Step::Poweroff,
        Step::PutOnline,
    ])
}

fn event() -> impl Strategy<Value = Event> {
    let subject = prop_oneof![
        4 => host().prop_map(Subject::Host),
        1 => Just(Subject::Cluster),
    ];
    let found = (host(), 0..9, proptest::option::of(machine()));
    prop_oneof![
        1 => Just(begun()),
        1 => Just(Event::Resumed),
        1 => Just(Event::DeleteBegun { cleanup: None }),
        1 => prop::collection::vec(host(), 0..3)
            .prop_map(|hosts| Event::HostDeleteBegun { hosts, update: None }),
        1 => host().prop_map(|host| Event::PowerBegun {
            power: Power::Off,
            hosts: vec![PowerHost { host, enable: true }],
        }),
        1 => host().prop_map(|key| Event::ConfigureBegun { hosts: vec![key], again: true }),
        2 => found.prop_map(|(key, id, deploy_id)| Event::Found {
            subject: Subject::Host(key),
            id,
            name: "h".into(),
            driver: None,
            deploy_id,
        }),
        8 => (1..9_u64, subject, step())
            .prop_map(|(id, subject, step)| Event::Intent { id: IntentId(id), subject, step, key: None }),
        8 => (1..9_u64, outcome()).prop_map(|(id, outcome)| Event::Outcome { id: IntentId(id), outcome }),
        2 => (host(), machine()).prop_map(|(host, deploy_id)| Event::DeployIdSeen {
            id: IntentId(1),
            host,
            deploy_id,
        }),
        2 => (host(), proptest::option::of(machine()))
            .prop_map(|(host, deploy_id)| Event::Resolved { host, deploy_id }),
        2 => (host(), proptest::option::of(machine()))
            .prop_map(|(host, deploy_id)| Event::Said { host, deploy_id }),
        2 => host().prop_map(|host| Event::Addressed { host, address: "10.0.0.1".into() }),
        2 => host().prop_map(|host| Event::HostFailed { host, message: "no".into() }),
        2 => host().prop_map(|host| Event::Retried { host }),
        1 => Just(Event::Ended { state: ProvisionState::Ready }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(events in prop::collection::vec(event(), 0..60)) {
        let mut record = ProvisionRecord::new(ProvisionId(uuid::Uuid::nil()));
        record.apply(1, &begun());
        for event in events {
            record.apply(1, &event);
            let mut counted: BTreeMap<HostState, usize> = BTreeMap::new();
            for host in record.hosts.values() {
                *counted.entry(host.state()).or_default() += 1;
            }
            prop_assert_eq!(record.census(), &counted, "after {:?}", event);
            for n in 0..3 {
                let machine = DeployId::new(&format!("m-{n}")).unwrap();
                let mut hosts = record.hosts.values();
                let owner = hosts.find(|host| {
                    host.driver == "dummy" && host.machine.id() == Some(&machine)
                });
                let owner = owner.map(|host| host.key);
                prop_assert_eq!(record.owner("dummy", &machine), owner, "after {:?}", event);
            }
        }
    }
}
