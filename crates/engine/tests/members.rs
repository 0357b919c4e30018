//! Datastores and networks of others in the provision's cluster: put in, taken out, never deleted.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use engine::plan::Plan;
use engine::{DeleteRequest, EngineError, ObjectDeleteRequest, ObjectKind, Report};
use journal::Journal;
use model::{Attributes, ClusterId, DatastoreId, ProvisionState};
use opennebula::objects::{Cluster, Update};
use testkit::templates;
use testkit::world::{World, template};

fn with(datastores: &str) -> String {
    format!("{}cluster: {{datastores: {datastores}}}\n", template(&["a"]))
}

async fn cluster(world: &World) -> Option<Cluster> {
    let clusters = world.client.clusters().pool().await.unwrap();
    clusters.into_iter().find(|cluster| cluster.id.0 >= 100)
}

/// The datastores of others in the provision's cluster.
async fn others(world: &World) -> Vec<i32> {
    let there = cluster(world).await.map(|cluster| cluster.datastores).unwrap_or_default();
    let mut ids: Vec<i32> = there.into_iter().map(|id| id.0).filter(|id| *id < 100).collect();
    ids.sort_unstable();
    ids
}

fn create(world: &World, text: &str) -> impl Future<Output = Report> + Send + 'static {
    let (engine, request) = (world.engine.clone(), world.request(text));
    async move { engine.create(request).await.unwrap() }
}

async fn resume(world: &World, text: &str) -> Report {
    let request =
        engine::ResumeRequest { spec: Some(templates::load(text)), ..world.resume_request() };
    let report = world.engine.resume(request).await.unwrap();
    world.check(&report.record).await;
    report
}

fn update(world: &World, text: &str) -> impl Future<Output = Report> + Send + 'static {
    let (engine, request) = (world.engine.clone(), world.update_request(text));
    async move { engine.update(request).await.unwrap() }
}

async fn plan(world: &World, text: &str) -> Plan {
    world.engine.plan(Some(world.id()), &templates::load(text)).await.unwrap()
}

async fn assert_nothing_left(world: &World, what: &str) {
    assert!(world.cloud.bill().is_empty(), "{what}");
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1, "{what}");
    let mut datastores = world.client.datastores().pool().await.unwrap();
    datastores.sort_by_key(|datastore| datastore.id);
    let ids: Vec<i32> = datastores.iter().map(|datastore| datastore.id.0).collect();
    assert_eq!(ids, [0, 1, 2], "{what}: those of others stay");
    assert!(datastores.iter().all(|d| d.clusters == [ClusterId(0)]), "{what}: {datastores:?}");
}

fn writes(world: &World, method: &str) -> usize {
    world.calls.writes.lock().unwrap().get(method).copied().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn the_cluster_has_the_datastores_that_its_template_adds() {
    let world = World::new();
    let report = create(&world, &with("[1, 2]")).await;
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(others(&world).await, [1, 2]);
    assert_eq!(cluster(&world).await.unwrap().datastores.len(), 3, "and its own");
    assert_eq!(writes(&world, "one.cluster.adddatastore"), 2);
    assert!(plan(&world, &with("[2, 1]")).await.is_empty());
    let spec = world.engine.export(world.id()).await.unwrap();
    assert_eq!(spec.cluster_datastores, [1, 2].map(DatastoreId));
    world.delete().await;
    assert_nothing_left(&world, "deleted").await;
}

/// The calls of a create are counted by a benchmark.
#[tokio::test(start_paused = true)]
async fn without_a_list_nothing_is_asked_for() {
    let world = World::new();
    world.create(&["a"]).await;
    assert_eq!(writes(&world, "one.cluster.adddatastore"), 0);
    let reads = world.calls.reads.lock().unwrap().clone();
    assert_eq!(reads.get("one.datastorepool.info"), None, "{reads:?}");
    // Whether the front-end has kept its template.
    assert_eq!(reads.get("one.cluster.info"), Some(&1), "{reads:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_is_finished_or_removed() {
    let text = with("[1, 2]");
    let world = World::new();
    assert!(world.until(0, create(&world, &text)).await.is_some());
    let points = world.bomb.passed();
    for point in 1..=points {
        for finish in [true, false] {
            let world = World::new();
            assert!(world.until(point, create(&world, &text)).await.is_none(), "point {point}");
            if world.journal.record(world.id()).await.unwrap().is_none() {
                continue;
            }
            if finish {
                let report = resume(&world, &text).await;
                assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
                assert_eq!(others(&world).await, [1, 2], "point {point}");
            }
            let report = world.delete().await;
            assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
            assert_nothing_left(&world, &format!("point {point}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_changes_is_an_update() {
    let world = World::new();
    create(&world, &with("[1, 2]")).await;
    let other = with("[2, 0]");
    let found = plan(&world, &other).await;
    let [change] = found.changes.as_slice() else { panic!("{found:?}") };
    let found: Vec<_> = change
        .differences
        .iter()
        .map(|d| (d.path.as_str(), d.before.as_deref(), d.after.as_deref()))
        .collect();
    assert_eq!(found, [("datastores", Some("1"), None), ("datastores", None, Some("0"))]);
    let report = update(&world, &other).await;
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(others(&world).await, [0, 2]);
    assert!(plan(&world, &other).await.is_empty());
    // And all of them out.
    update(&world, &template(&["a"])).await;
    assert_eq!(others(&world).await, [0; 0]);
    world.delete().await;
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn an_update_killed_anywhere_is_finished() {
    let (before, after) = (with("[1, 2]"), with("[0]"));
    let world = World::new();
    create(&world, &before).await;
    assert!(world.until(0, update(&world, &after)).await.is_some());
    let points = world.bomb.passed();
    for point in 1..=points {
        let world = World::new();
        create(&world, &before).await;
        assert!(world.until(point, update(&world, &after)).await.is_none(), "point {point}");
        let record = world.journal.record(world.id()).await.unwrap().unwrap();
        let begun = record.create.unwrap().template == std::path::Path::new("/u.yaml");
        if begun {
            resume(&world, &after).await;
        } else {
            update(&world, &after).await;
        }
        assert_eq!(others(&world).await, [0], "point {point}");
        assert!(plan(&world, &after).await.is_empty(), "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_not_there_is_told_before_anything_is_made() {
    let world = World::new();
    let wrong = with("[1, 77]");
    let is_said = |error: &EngineError| {
        let text = error.to_string();
        assert!(text.contains("t.yaml:") && text.contains("there is no datastore 77"), "{text}");
    };
    is_said(&world.engine.create(world.request(&wrong)).await.unwrap_err());
    is_said(&world.engine.plan(None, &templates::load(&wrong)).await.unwrap_err());
    assert!(world.journal.provisions().await.unwrap().is_empty());
    create(&world, &with("[1]")).await;
    is_said(&world.engine.plan(Some(world.id()), &templates::load(&wrong)).await.unwrap_err());
    is_said(&world.engine.update(world.update_request(&wrong)).await.unwrap_err());
    assert_eq!(others(&world).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_added_leaves_no_half_made_cluster() {
    let world = World::new();
    world.refusing.refuse("one.cluster.adddatastore", 0x200, "not authorized");
    let report = create(&world, &with("[1, 2]")).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.cluster.failure.unwrap();
    assert!(failure.contains("cluster \"web\"") && failure.contains("not authorized"), "{failure}");
    assert_nothing_left(&world, "refused").await;
    let report = resume(&world, &with("[1, 2]")).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(others(&world).await, [1, 2]);

    // In an update it is that which failed.
    world.refusing.refuse("one.cluster.adddatastore", 0x200, "not authorized");
    let report = update(&world, &with("[1, 2, 0]")).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let report = resume(&world, &with("[1, 2, 0]")).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(others(&world).await, [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_front_end_is_away_stays_for_the_next_attempt() {
    let mut world = World::new();
    world.engine.settings.patience = std::time::Duration::ZERO;
    world.refusing.lose("one.cluster.adddatastore");
    let report = create(&world, &with("[1]")).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let id = cluster(&world).await.unwrap().id;
    let report = resume(&world, &with("[1]")).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(cluster(&world).await.unwrap().id, id);
    assert_eq!(others(&world).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_others_put_into_the_cluster_is_taken_out_before_it_goes() {
    let world = World::new();
    world.create(&["a"]).await;
    let id = cluster(&world).await.unwrap().id;
    let clusters = world.client.clusters();
    clusters.add_datastore(id, DatastoreId(1)).await.unwrap();
    let mut net = Attributes::new();
    for (key, value) in [("NAME", "theirs"), ("VN_MAD", "dummy"), ("BRIDGE", "br9")] {
        net.push(key, value);
    }
    let net = world.client.vnets().allocate(&net, ClusterId(0)).await.unwrap();
    clusters.add_vnet(id, net).await.unwrap();
    // What nobody's template names is left alone by an update.
    assert!(plan(&world, &template(&["a"])).await.is_empty());

    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "deleted").await;
    let theirs = world.client.vnets().pool().await.unwrap();
    assert_eq!(theirs.iter().map(|net| net.name.as_str()).collect::<Vec<_>>(), ["theirs"]);
    assert_eq!(theirs[0].clusters, [ClusterId(0)]);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_deleted_alone_loses_only_what_is_of_others() {
    let world = World::new();
    world.create(&[]).await;
    let id = cluster(&world).await.unwrap().id;
    world.client.clusters().add_datastore(id, DatastoreId(1)).await.unwrap();
    let delete = async |kind, id, force| {
        let provision = world.id();
        let request = ObjectDeleteRequest { provision, kind, id, force };
        world.engine.delete_object(request).await.unwrap().failure
    };
    // Its own are not taken out, also by force.
    let failure = delete(ObjectKind::Cluster, id.0, true).await.unwrap();
    assert!(failure.contains("it contains 2 datastores"), "{failure}");
    assert_eq!(others(&world).await, [1], "and what is of others stays with them");
    assert_eq!(delete(ObjectKind::Datastore, 100, false).await, None);
    assert_eq!(delete(ObjectKind::Network, 0, false).await, None);
    assert_eq!(delete(ObjectKind::Cluster, id.0, false).await, None);
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_with_hosts_of_others_keeps_what_they_use() {
    let mut world = World::new();
    create(&world, &with("[1]")).await;
    let heard = world.hear_warnings();
    let id = cluster(&world).await.unwrap().id;
    let theirs = world.client.hosts().allocate("theirs", "kvm", "kvm", id).await.unwrap();
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.cluster.failure.unwrap();
    assert!(failure.contains("it contains 1 hosts"), "{failure}");
    let told = format!("has hosts that are not the provision's: host {theirs} (theirs);");
    assert!(heard.heard().iter().any(|text| text.contains(&told)), "{:?}", heard.heard());
    assert_eq!(others(&world).await, [1]);
    // When it is out of it, so is the rest.
    world.client.clusters().del_host(id, theirs).await.unwrap();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_killed_anywhere_takes_the_rest_out() {
    let delete = |world: &World| {
        let (engine, id) = (world.engine.clone(), world.id());
        async move { engine.delete(DeleteRequest { id, hosts: None, cleanup: None }).await.unwrap() }
    };
    let world = World::new();
    create(&world, &with("[1, 2]")).await;
    assert!(world.until(0, delete(&world)).await.is_some());
    let points = world.bomb.passed();
    for point in 1..=points {
        let world = World::new();
        create(&world, &with("[1, 2]")).await;
        assert!(world.until(point, delete(&world)).await.is_none(), "point {point}");
        assert_eq!(world.delete().await.record.state, ProvisionState::Deleted, "point {point}");
        assert_nothing_left(&world, &format!("point {point}")).await;
    }
}

const BUSY: &str = "[one.cluster.deldatastore] Error getting datastore [1].";

#[tokio::test(start_paused = true)]
async fn what_a_busy_database_says_of_a_member_is_not_said_of_the_cluster() {
    let world = World::new();
    create(&world, &with("[1]")).await;
    world.refusing.refuse("one.cluster.deldatastore", 0x400, BUSY);
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert!(!report.record.cluster.removed);
    let failure = report.record.cluster.failure.unwrap();
    assert!(failure.contains("it contains 1 datastores"), "{failure}");
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_was_taken_for_deleted_is_deleted_when_it_is_seen() {
    let world = World::new();
    world.create(&[]).await;
    let template = cluster(&world).await.unwrap().template;
    world.delete().await;
    let id = world.client.clusters().allocate("web").await.unwrap();
    world.client.clusters().update(id, &template, Update::Append).await.unwrap();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_busy_database_says_of_one_that_is_taken_out_is_looked_at() {
    let world = World::new();
    create(&world, &with("[1]")).await;
    world.refusing.refuse("one.cluster.deldatastore", 0x400, BUSY);
    assert_eq!(update(&world, &with("[]")).await.record.state, ProvisionState::Failed);
    assert_eq!(others(&world).await, [1]);
    assert_eq!(resume(&world, &with("[]")).await.record.state, ProvisionState::Ready);
    assert_eq!(others(&world).await, [0; 0]);
}

/// The front-end was installed anew, and its ids begin where they did.
#[tokio::test(start_paused = true)]
async fn a_cluster_of_others_is_left_alone() {
    let mut world = World::new();
    let heard = world.hear_warnings();
    world.create(&[]).await;
    let other = World::new();
    let theirs = other.client.clusters().allocate("theirs").await.unwrap();
    assert_eq!(Some(theirs), cluster(&world).await.map(|cluster| cluster.id));
    other.client.clusters().add_datastore(theirs, DatastoreId(1)).await.unwrap();
    world.engine.opennebula = other.engine.opennebula.clone();
    let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert_eq!(others(&other).await, [1]);
    let told = "cluster 100 (theirs) does not carry the mark of this provision: it is left alone";
    assert!(heard.heard().contains(&told.to_owned()), "{:?}", heard.heard());
}

#[tokio::test(start_paused = true)]
async fn its_own_datastores_are_in_the_cluster_whatever_a_list_says() {
    let world = World::new();
    create(&world, &with("[1]")).await;
    let own = async || {
        let there = cluster(&world).await.unwrap().datastores;
        there.contains(&DatastoreId(100))
    };
    update(&world, &with("[1, 100]")).await;
    assert!(own().await);
    let report = update(&world, &with("[1]")).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert!(own().await);
    assert!(plan(&world, &with("[1]")).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_that_changes_before_the_create_came_to_its_end_is_an_update_too() {
    let (before, after) = (with("[1, 2]"), with("[1]"));
    let world = World::new();
    assert!(world.until(0, create(&world, &before)).await.is_some());
    for point in 1..=world.bomb.passed() {
        let world = World::new();
        assert!(world.until(point, create(&world, &before)).await.is_none(), "point {point}");
        if world.journal.record(world.id()).await.unwrap().is_none() {
            continue;
        }
        let report = update(&world, &after).await;
        world.check(&report.record).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(others(&world).await, [1], "point {point}");
        assert!(plan(&world, &after).await.is_empty(), "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_what_is_in_the_cluster_counts_for_nothing_unless_it_is_missing() {
    let mut world = World::new();
    create(&world, &with("[1, 2]")).await;
    world.engine.journal = std::sync::Arc::new(journal::MemoryJournal::new());
    let spec = world.engine.export(world.id()).await.unwrap();
    let mut datastores = spec.cluster_datastores;
    datastores.sort_unstable();
    assert_eq!(datastores, [1, 2].map(DatastoreId));
    let found = plan(&world, &with("[0]")).await;
    let differences: Vec<_> = found.changes.iter().flat_map(|change| &change.differences).collect();
    let [only] = differences.as_slice() else { panic!("{differences:?}") };
    assert_eq!((only.path.as_str(), only.after.as_deref()), ("datastores", Some("0")));
}
