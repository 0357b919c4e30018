//! Poweroff, resume and reboot of hosts, against a front-end in memory and a cloud with a bill.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use engine::{Decision, Engine, EngineError, Failover, Failure, PowerReport, PowerRequest};
use journal::{Journal, MemoryJournal, Power, PowerResult, ProvisionRecord};
use model::{HostId, HostKey, HostState, ProvisionState};
use opennebula::Effect;
use opennebula::objects::{Host, HostStatus};
use opennebula::xmlrpc::Param;
use testkit::cloud::{Deploy, Machine, Powering};
use testkit::world::World;

const HOSTS: [&str; 2] = ["a", "b"];

async fn hosts(world: &World) -> Vec<Host> {
    let mut hosts = world.client.hosts().pool().await.unwrap();
    hosts.sort_by_key(|host| host.id);
    hosts
}

async fn request(world: &World, power: Power) -> PowerRequest {
    let hosts = hosts(world).await.iter().map(|host| host.id).collect();
    PowerRequest { id: world.id(), power, hosts, force: false }
}

async fn run(world: &World, power: Power) -> PowerReport {
    let report = world.engine.power(request(world, power).await).await.unwrap();
    world.check(&report.record).await;
    report
}

async fn refused(world: &World, power: Power) -> String {
    match world.engine.power(request(world, power).await).await {
        Err(EngineError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn machine(world: &World, id: &str) -> Machine {
    world.cloud.machines.lock().unwrap()[id].clone()
}

fn states(record: &ProvisionRecord) -> Vec<HostState> {
    record.hosts.values().map(journal::HostRecord::state).collect()
}

fn troubles(report: &PowerReport) -> Vec<Option<String>> {
    let hosts = report.record.hosts.values();
    hosts.map(|host| host.power_trouble().map(|trouble| trouble.text)).collect()
}

fn goes_wrong(world: &World, id: &str, how: Powering) {
    world.cloud.powering.lock().unwrap().insert(id.to_owned(), how);
}

async fn world() -> World {
    let world = World::new();
    world.create(&HOSTS).await;
    world
}

/// The journal of this machine is lost: what is known stands in OpenNebula.
fn lose_journal(world: &mut World) {
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
}

#[tokio::test(start_paused = true)]
async fn off_and_on_again_with_another_address() {
    let world = world().await;
    let report = run(&world, Power::Off).await;
    assert_eq!(states(&report.record), [HostState::Off; 2]);
    assert!(!report.interrupted && report.untouched.is_empty());
    for host in hosts(&world).await {
        assert_eq!(host.state, opennebula::objects::HostState::Offline);
    }
    assert!(machine(&world, "m-a").off && machine(&world, "m-b").off);
    // Off is off: to say so again is no error, and a resume of the provision leaves it so.
    run(&world, Power::Off).await;
    let resumed = world.resume().await;
    assert_eq!(states(&resumed.record), [HostState::Off; 2]);
    assert!(machine(&world, "m-a").off);
    let why = refused(&world, Power::Reboot).await;
    assert!(why.contains("is powered off: `oneprovision host resume 0`"), "{why}");

    *world.cloud.next_address.lock().unwrap() = Some("10.9.9.9".into());
    let one = PowerRequest { hosts: vec![HostId(1)], ..request(&world, Power::On).await };
    let report = world.engine.power(one).await.unwrap();
    assert_eq!(states(&report.record), [HostState::Off, HostState::Enabled]);
    let there = hosts(&world).await;
    assert_eq!(there[1].name, "10.9.9.9");
    assert_ne!(there[1].state, opennebula::objects::HostState::Offline);
    assert_eq!(there[0].state, opennebula::objects::HostState::Offline);
    assert_eq!(report.record.hosts[&HostKey(1)].address.as_deref(), Some("10.9.9.9"));
    assert_eq!(*world.cloud.asked.lock().unwrap(), 2, "nothing was bought");

    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reboot_changes_nothing_and_a_hard_one_looks_for_the_address() {
    let world = world().await;
    let before: Vec<String> = hosts(&world).await.into_iter().map(|host| host.name).collect();
    let report = run(&world, Power::Reboot).await;
    assert_eq!(states(&report.record), [HostState::Enabled; 2]);
    assert_eq!(machine(&world, "m-a").boots, 1);
    let after: Vec<String> = hosts(&world).await.into_iter().map(|host| host.name).collect();
    assert_eq!(after, before);

    // A host that its administrator took out of use stays so.
    world.client.hosts().status(HostId(1), HostStatus::Disable).await.unwrap();
    world.cloud.machines.lock().unwrap().get_mut("m-b").unwrap().address = "10.7.7.7".into();
    let report = run(&world, Power::Reset).await;
    let there = hosts(&world).await;
    assert_eq!(there[1].name, "10.7.7.7");
    assert_eq!(there[1].state, opennebula::objects::HostState::Disabled);
    assert_ne!(there[0].state, opennebula::objects::HostState::Disabled);
    assert_eq!(report.record.hosts[&HostKey(0)].state(), HostState::Enabled);
    assert_eq!(machine(&world, "m-b").boots, 2);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_what_does_before_anything_is_done() {
    let world = World::new();
    world.deploys("b", Deploy::Refuse);
    world.create(&HOSTS).await;
    let why = refused(&world, Power::Reset).await;
    assert!(why.contains("host 1") && why.contains("has no machine"), "{why}");
    assert!(why.contains(&format!("`oneprovision resume {}`", world.id())), "{why}");
    assert_eq!(machine(&world, "m-a").boots, 0, "not even the one that could be");
    let strange = PowerRequest { hosts: vec![HostId(77)], ..request(&world, Power::On).await };
    let error = world.engine.power(strange).await.unwrap_err().to_string();
    assert!(error.contains("host 77 does not belong to provision"), "{error}");
    let lease = journal::Lease::take(&world.engine.leases, world.id()).unwrap();
    let error = world.engine.power(request(&world, Power::On).await).await.unwrap_err();
    assert!(matches!(error, EngineError::Lease { .. }));
    drop(lease);

    let world = World::with(testkit::cloud::Cloud::default());
    world.deploys("b", Deploy::LoseAnswer);
    world.create(&HOSTS).await;
    let why = refused(&world, Power::On).await;
    assert!(why.contains("`oneprovision host resolve 1`"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_a_lost_answer_are_told_apart_and_may_be_repeated() {
    for power in [Power::Off, Power::Reboot, Power::Reset] {
        let world = world().await;
        goes_wrong(&world, "m-a", Powering::Refuse);
        goes_wrong(&world, "m-b", Powering::LoseAnswer);
        let report = run(&world, power).await;
        let troubles = troubles(&report);
        let name = power.as_str();
        let refused = format!("{name} failed: the machine is busy");
        assert_eq!(troubles[0].as_deref(), Some(refused.as_str()));
        let unknown = format!("whether {name} was carried out is not known: no answer within 30 s");
        assert_eq!(troubles[1].as_deref(), Some(unknown.as_str()));
        assert_eq!(report.record.state, ProvisionState::Ready);
        assert!(report.record.hosts.values().all(|host| host.failure.is_none()));
        // What was not done for certain leaves all as it was.
        assert_eq!(states(&report.record)[0], HostState::Enabled);
        assert_ne!(hosts(&world).await[0].state, opennebula::objects::HostState::Offline);
        world.cloud.powering.lock().unwrap().clear();
        let report = run(&world, power).await;
        let done = |host: &journal::HostRecord| host.power_trouble().is_none();
        assert!(report.record.hosts.values().all(done), "{:?}", report.record);
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_come_back_is_a_failure_that_a_repetition_mends() {
    let world = world().await;
    run(&world, Power::Off).await;
    goes_wrong(&world, "m-b", Powering::LoseRequest);
    let report = run(&world, Power::On).await;
    assert_eq!(states(&report.record), [HostState::Enabled, HostState::Off]);
    world.cloud.powering.lock().unwrap().clear();
    let report = run(&world, Power::On).await;
    assert_eq!(states(&report.record), [HostState::Enabled; 2]);
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_opennebula_is_enough() {
    let mut world = world().await;
    lose_journal(&mut world);
    let report = run(&world, Power::Off).await;
    assert_eq!(states(&report.record), [HostState::Off; 2]);
    lose_journal(&mut world);
    let report = run(&world, Power::On).await;
    assert_eq!(states(&report.record), [HostState::Enabled; 2]);
    for host in hosts(&world).await {
        assert_ne!(host.state, opennebula::objects::HostState::Offline, "{}", host.name);
    }
    lose_journal(&mut world);
    run(&world, Power::Reset).await;
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

/// A VM that runs on host 0.
async fn place_a_vm(world: &World) {
    let call = async |method: &str, params: Vec<Param>| {
        world.client.call(Effect::Write, method, params).await.unwrap()
    };
    let vm = call("one.vm.allocate", vec!["NAME=vm\nCPU=0.5\nMEMORY=64".into()]).await;
    call("one.vm.deploy", vec![vm, 0.into(), false.into(), (-1).into()]).await;
}

#[tokio::test(start_paused = true)]
async fn running_vms_are_not_powered_off_unless_it_is_forced() {
    let world = world().await;
    place_a_vm(&world).await;
    for power in [Power::Off, Power::Reboot, Power::Reset] {
        let why = refused(&world, power).await;
        assert!(why.contains("host 0 (10.0.0.1) has 1 running VM: migrate"), "{why}");
        assert!(why.contains("--force"), "{why}");
        assert_eq!((machine(&world, "m-a").boots, machine(&world, "m-b").off), (0, false));
    }
    // It harms no VM to power a machine on.
    run(&world, Power::On).await;
    let forced = PowerRequest { force: true, ..request(&world, Power::Off).await };
    let report = world.engine.power(forced).await.unwrap();
    assert_eq!(troubles(&report), [None, None]);
    assert!(machine(&world, "m-a").off);
}

/// Decides the same for every failure, and hears of them.
struct Always(Decision, Mutex<Vec<String>>);

#[async_trait]
impl Failover for Always {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        self.1.lock().unwrap().push(failure.message.to_owned());
        if failure.attempt > 2 { Decision::Leave } else { self.0 }
    }
}

#[tokio::test(start_paused = true)]
async fn no_decision_removes_a_host_or_its_machine() {
    for decision in [Decision::Skip, Decision::Cleanup, Decision::Quit, Decision::Retry] {
        let world = world().await;
        goes_wrong(&world, "m-a", Powering::Refuse);
        let failover = Arc::new(Always(decision, Mutex::default()));
        let engine =
            Engine { failover: Arc::clone(&failover) as Arc<dyn Failover>, ..world.engine.clone() };
        let report = engine.power(request(&world, Power::Off).await).await.unwrap();
        assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "{decision:?}");
        assert_eq!(hosts(&world).await.len(), 2, "{decision:?}");
        let host = &report.record.hosts[&HostKey(0)];
        assert!(
            !host.removing && matches!(host.power.as_ref().unwrap().result, PowerResult::Failed(_))
        );
        let asked = failover.1.lock().unwrap().len();
        assert_eq!(asked, if decision == Decision::Retry { 3 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_reach_the_driver_and_stay_out_of_the_journal() {
    // The cloud refuses a call without its credential, and `check` looks for it in the journal.
    let world = world().await;
    for power in [Power::Off, Power::On, Power::Reboot, Power::Reset] {
        let report = run(&world, power).await;
        assert_eq!(troubles(&report), [None, None], "{power:?}");
    }
}

/// A power operation that was killed at any point is repeated, and what is paid for never changes.
async fn killed_anywhere(power: Power, prepare: Option<Power>, end: HostState) {
    async fn prepared(prepare: Option<Power>) -> World {
        let world = world().await;
        if let Some(prepare) = prepare {
            run(&world, prepare).await;
        }
        world
    }
    async fn operation(world: &World, power: Power) -> impl Future<Output = PowerReport> + use<> {
        let (engine, request) = (world.engine.clone(), request(world, power).await);
        async move { engine.power(request).await.unwrap() }
    }
    let world = prepared(prepare).await;
    assert!(world.until(0, operation(&world, power).await).await.is_some());
    let points = world.bomb.passed();
    assert!(points > 10, "{points}");
    for point in 1..=points {
        for delete in [false, true] {
            let world = prepared(prepare).await;
            let killed = world.until(point, operation(&world, power).await).await.is_none();
            assert!(killed, "point {point} of {points} was not reached");
            assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "point {point}");
            if delete {
                let report = world.delete().await;
                assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
                assert!(world.cloud.bill().is_empty(), "point {point}");
                continue;
            }
            let report = run(&world, power).await;
            assert_eq!(troubles(&report), [None, None], "point {point}");
            assert_eq!(states(&report.record), [end; 2], "point {point}");
            assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "point {point}");
            for (host, id) in hosts(&world).await.iter().zip(["m-a", "m-b"]) {
                let machine = machine(&world, id);
                assert_eq!(host.name, machine.address, "point {point}");
                let offline = host.state == opennebula::objects::HostState::Offline;
                assert_eq!(machine.off, end == HostState::Off, "point {point}");
                assert_eq!(offline, machine.off, "point {point}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_poweroff_killed_anywhere_is_repeated() {
    killed_anywhere(Power::Off, None, HostState::Off).await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_out_of_use_stays_so_when_its_poweroff_fails() {
    let world = world().await;
    world.client.hosts().status(HostId(0), HostStatus::Disable).await.unwrap();
    goes_wrong(&world, "m-a", Powering::Refuse);
    let report = run(&world, Power::Off).await;
    assert_eq!(states(&report.record), [HostState::Enabled, HostState::Off]);
    assert_eq!(hosts(&world).await[0].state, opennebula::objects::HostState::Offline);
    // One that is off does not come to be on because it cannot be powered off again.
    goes_wrong(&world, "m-b", Powering::Refuse);
    let report = run(&world, Power::Off).await;
    assert_eq!(states(&report.record)[1], HostState::Off);
    assert_eq!(hosts(&world).await[1].state, opennebula::objects::HostState::Offline);
}

#[tokio::test(start_paused = true)]
async fn a_poweroff_that_is_refused_and_killed_anywhere_is_repeated() {
    let refusing = || async {
        let world = world().await;
        goes_wrong(&world, "m-a", Powering::Refuse);
        let (engine, request) = (world.engine.clone(), request(&world, Power::Off).await);
        (world, async move { engine.power(request).await.unwrap() })
    };
    let (world, whole) = refusing().await;
    assert!(world.until(0, whole).await.is_some());
    for point in 1..=world.bomb.passed() {
        let (world, killed) = refusing().await;
        assert!(world.until(point, killed).await.is_none(), "point {point}");
        let report = run(&world, Power::Off).await;
        assert_eq!(states(&report.record), [HostState::Enabled, HostState::Off], "point {point}");
        let there = hosts(&world).await;
        assert_ne!(there[0].state, opennebula::objects::HostState::Offline, "point {point}");
        assert_eq!(there[1].state, opennebula::objects::HostState::Offline, "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_killed_anywhere_is_repeated() {
    killed_anywhere(Power::On, Some(Power::Off), HostState::Enabled).await;
}

#[tokio::test(start_paused = true)]
async fn a_reboot_killed_anywhere_is_repeated() {
    killed_anywhere(Power::Reboot, None, HostState::Enabled).await;
    killed_anywhere(Power::Reset, None, HostState::Enabled).await;
}
