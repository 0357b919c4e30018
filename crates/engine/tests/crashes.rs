//! Every operation, killed at every point: before and after each journal write, each call to the
//! front-end and each call of the driver; then taken up again. Points are counted by running, so a
//! new one cannot be missed.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use engine::DeleteRequest;
use journal::Journal;
use model::ProvisionState;
use testkit::cloud::Cloud;
use testkit::world::{World, template};

const HOSTS: [&str; 2] = ["a", "b"];

/// After the kill: what is billed is named by an intent, and no host was bought twice (the cloud
/// panics at that).
async fn check_after_kill(world: &World, point: usize) -> bool {
    let Some(record) = world.journal.record(world.id()).await.unwrap() else {
        assert!(world.cloud.bill().is_empty(), "point {point}: billed without a journal");
        return false;
    };
    let named = record.hosts.values().filter(|h| h.machine.may_exist() || h.open.is_some()).count();
    let bill = world.cloud.bill();
    assert!(bill.len() <= named, "point {point}: {bill:?} billed, {named} named");
    true
}

async fn assert_all_gone(world: &World, point: usize) {
    assert!(world.cloud.bill().is_empty(), "point {point}: {:?}", world.cloud.bill());
    assert!(world.client.hosts().pool().await.unwrap().is_empty(), "point {point}");
    assert!(world.client.vnets().pool().await.unwrap().is_empty(), "point {point}");
    assert_eq!(world.client.datastores().pool().await.unwrap().len(), 3, "point {point}");
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1, "point {point}");
}

async fn assert_complete(world: &World, point: usize) {
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "point {point}");
    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts.len(), 2, "point {point}");
    assert!(hosts.iter().all(|h| h.name.starts_with("10.0.0.")), "point {point}");
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 2, "point {point}");
    assert_eq!(world.client.vnets().pool().await.unwrap().len(), 1, "point {point}");
    assert_eq!(world.client.datastores().pool().await.unwrap().len(), 4, "point {point}");
}

fn create(world: &World) -> impl Future<Output = engine::Report> + Send + 'static {
    let (engine, request) = (world.engine.clone(), world.request(&template(&HOSTS)));
    async move { engine.create(request).await.unwrap() }
}

fn delete(world: &World) -> impl Future<Output = engine::Report> + Send + 'static {
    let (engine, id) = (world.engine.clone(), world.id());
    async move { engine.delete(DeleteRequest { id, hosts: None, cleanup: None }).await.unwrap() }
}

fn resume(world: &World) -> impl Future<Output = engine::Report> + Send + 'static {
    let (engine, request) = (world.engine.clone(), world.resume_request());
    async move { engine.resume(request).await.unwrap() }
}

/// How many points an operation has when nothing kills it.
async fn points<T>(world: &World, operation: impl Future<Output = T> + Send + 'static) -> usize
where
    T: Send + 'static,
{
    assert!(world.until(0, operation).await.is_some());
    world.bomb.passed()
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_is_finished_by_resume() {
    let world = World::new();
    let points = points(&world, create(&world)).await;
    assert!(points > 60, "{points}");
    for point in 1..=points {
        let world = World::new();
        let killed = world.until(point, create(&world)).await.is_none();
        assert!(killed, "point {point} of {points} was not reached");
        if !check_after_kill(&world, point).await {
            continue;
        }
        let report = world.resume().await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_complete(&world, point).await;
        // Nothing is left to do: that is no error, and does nothing.
        let asked = *world.cloud.asked.lock().unwrap();
        assert_eq!(world.resume().await.record.state, ProvisionState::Ready);
        assert_eq!(*world.cloud.asked.lock().unwrap(), asked);
    }
}

/// A killed create may leave the intents of a group of hosts, of which none was asked for yet.
#[tokio::test(start_paused = true)]
async fn hosts_that_may_be_there_are_looked_for_together() {
    let world = World::new();
    let points = points(&world, create(&world)).await;
    let mut resumed = 0;
    for point in 1..=points {
        let world = World::new();
        assert!(world.until(point, create(&world)).await.is_none());
        let Some(record) = world.journal.record(world.id()).await.unwrap() else { continue };
        let open =
            record.hosts.values().filter(|host| host.open.is_some() && host.host_id.is_none());
        if open.count() < 2 {
            continue;
        }
        resumed += 1;
        world.calls.reads.lock().unwrap().clear();
        world.resume().await;
        let reads = world.calls.reads.lock().unwrap().clone();
        assert_eq!(
            reads["one.hostpool.info"], 3,
            "all there is, these hosts, all hosts: {reads:?}"
        );
    }
    assert!(resumed > 2, "{resumed}");
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_needs_its_template_only_until_the_credentials_rest() {
    let world = World::new();
    let points = points(&world, create(&world)).await;
    let mut without = 0;
    for point in 1..=points {
        let world = World::new();
        assert!(world.until(point, create(&world)).await.is_none());
        let Some(record) = world.journal.record(world.id()).await.unwrap() else { continue };
        let request = engine::ResumeRequest { spec: None, ..world.resume_request() };
        match world.engine.resume(request).await {
            Ok(report) => {
                without += 1;
                assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
                assert_complete(&world, point).await;
            }
            Err(error) => {
                assert!(!record.secrets.complete, "point {point}: {error}");
                assert!(error.to_string().contains("/t.yaml"), "{error}");
                assert!(world.cloud.bill().is_empty());
            }
        }
    }
    assert!(without > points / 2, "{without} of {points}");
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_is_removed_by_delete() {
    let world = World::new();
    let points = points(&world, create(&world)).await;
    for point in 1..=points {
        let world = World::new();
        assert!(world.until(point, create(&world)).await.is_none());
        if check_after_kill(&world, point).await {
            let report = world.delete().await;
            assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
        }
        assert_all_gone(&world, point).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_killed_anywhere_is_finished_by_another_one_or_by_resume() {
    let world = World::new();
    world.create(&HOSTS).await;
    let points = points(&world, delete(&world)).await;
    assert!(points > 30, "{points}");
    for point in 1..=points {
        for resumed in [false, true] {
            let world = World::new();
            world.create(&HOSTS).await;
            assert!(world.until(point, delete(&world)).await.is_none(), "point {point}");
            check_after_kill(&world, point).await;
            let doomed = world.journal.record(world.id()).await.unwrap().unwrap().doomed;
            let report = match resumed && doomed {
                true => world.resume().await,
                false => world.delete().await,
            };
            assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
            assert_all_gone(&world, point).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_killed_anywhere_is_finished_by_another_one() {
    // The create is killed in the middle of everything: some hosts made, one deploy under way.
    let (world, middle) = half_created(None).await;
    let points = points(&world, resume(&world)).await;
    assert!(points > 20, "{points}");
    for point in 1..=points {
        let (world, _) = half_created(Some(middle)).await;
        assert!(world.until(point, resume(&world)).await.is_none(), "point {point}");
        check_after_kill(&world, point).await;
        let report = world.resume().await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_complete(&world, point).await;
    }
}

/// A world whose create was killed right after the cloud made its first machine.
async fn half_created(middle: Option<usize>) -> (World, usize) {
    if let Some(middle) = middle {
        let world = World::new();
        assert!(world.until(middle, create(&world)).await.is_none());
        return (world, middle);
    }
    for middle in 1.. {
        let world = World::new();
        assert!(world.until(middle, create(&world)).await.is_none());
        if !world.cloud.bill().is_empty() {
            return (world, middle);
        }
    }
    unreachable!("a create buys machines");
}

#[tokio::test(start_paused = true)]
async fn without_a_list_a_killed_deploy_is_parked_and_never_bought_again() {
    let world = World::with(Cloud::default());
    let points = points(&world, create(&world)).await;
    let mut parked = 0;
    for point in 1..=points {
        let world = World::with(Cloud::default());
        assert!(world.until(point, create(&world)).await.is_none());
        if !check_after_kill(&world, point).await {
            continue;
        }
        let before = world.cloud.bill();
        let report = world.resume().await;
        let machines = report.record.machines();
        assert!(world.cloud.bill().len() <= machines, "point {point}");
        assert!(before.iter().all(|id| world.cloud.bill().contains(id)), "point {point}");
        let report = world.delete().await;
        match report.record.state {
            ProvisionState::Deleted => assert_all_gone(&world, point).await,
            ProvisionState::Parked => {
                parked += 1;
                assert!(world.cloud.bill().len() <= report.record.machines(), "point {point}");
            }
            other => panic!("point {point}: {other}"),
        }
    }
    assert!(parked > 0, "a deploy whose answer is lost cannot be found without a list");
}
