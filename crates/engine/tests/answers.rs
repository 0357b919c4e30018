//! What real front-ends answer, and the embedded one does not unless it is told to.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use engine::{Decision, Engine, Failover, Failure};
use journal::{Event, IntentId, Journal as _, MemoryJournal, Outcome, Step, Subject};
use model::{HostId, HostKey, ProvisionState};
use opennebula::objects::Update;
use sandbox::{Clock, SandboxSettings};
use testkit::cloud::{Cloud, Deploy};
use testkit::world::{World, template};

/// Tries again once.
struct Once;

#[async_trait]
impl Failover for Once {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        if failure.attempt == 1 { Decision::Retry } else { Decision::Leave }
    }
}

/// `one.vn.allocate` answers before the address ranges are made (`src/ipamm/IPAMManagerProtocol.cc`).
#[tokio::test(start_paused = true)]
async fn a_network_that_ends_in_error_is_a_failure_before_the_first_machine() {
    let world = World::new();
    let engine = Engine { failover: Arc::new(Once), ..world.engine.clone() };
    let bad = template(&["a"]).replace("{ip: 10.1.0.1,", "{mac: '02:00', ip: 10.1.0.1,");
    let report = engine.create(world.request(&bad)).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let network = report.record.object(Subject::Network(0)).unwrap();
    let why = network.failure.clone().unwrap();
    assert!(why.contains("OpenNebula could not make virtual network 1: "), "{why}");
    assert!(world.cloud.bill().is_empty());
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
    assert!(world.client.vnets().pool().await.unwrap().is_empty(), "two were removed again");
    world.delete().await;
}

/// The front-end's clock: nothing that takes its time comes to an end before it goes on.
struct Halted(AtomicBool);

impl Clock for Halted {
    fn now(&self) -> SystemTime {
        let later = if self.0.load(Ordering::Relaxed) { 2000 } else { 1000 };
        UNIX_EPOCH + Duration::from_secs(later)
    }
}

/// `oned` does not take up the making of address ranges again that it was killed in.
#[tokio::test(start_paused = true)]
async fn a_network_that_stays_locked_is_made_anew() {
    let clock = Arc::new(Halted(AtomicBool::new(false)));
    let async_delay = Duration::from_secs(1);
    let front_end = SandboxSettings {
        async_delay,
        clock: Arc::clone(&clock) as _,
        ..SandboxSettings::default()
    };
    let mut world = World::with_front_end(Cloud::listing(), front_end);
    let heard = world.hear_warnings();
    let patience = world.engine.settings.patience;
    let goes_on = async {
        tokio::time::sleep(patience + Duration::from_secs(60)).await;
        clock.0.store(true, Ordering::Relaxed);
    };
    let (report, ()) = tokio::join!(world.create(&["a"]), goes_on);
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let networks = world.client.vnets().pool().await.unwrap();
    let ids: Vec<i32> = networks.iter().map(|network| network.id.0).collect();
    assert_eq!((ids, report.record.object(Subject::Network(0)).unwrap().id), (vec![1], Some(1)));
    let told = heard.heard();
    for part in ["network 0 is still LockCreate", "network 0 was removed, and is made anew"] {
        assert!(told.iter().any(|line| line.contains(part)), "{part}: {told:?}");
    }
}

/// Killed between two of its own writes, `oned` lists a cluster that it denies (`Cluster::insert`).
#[tokio::test(start_paused = true)]
async fn what_opennebula_lists_and_denies_is_not_deleted() {
    let mut world = World::new();
    world.create(&["a"]).await;
    for _ in 0..200 {
        world.refusing.refuse("one.cluster.delete", 1024, "Error getting cluster [100].");
    }
    let heard = world.hear_warnings();
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let why = report.record.object(Subject::Cluster).unwrap().failure.clone().unwrap();
    for part in ["OpenNebula lists cluster 100", "onedb fsck"] {
        assert!(why.contains(part), "{why}");
    }
    let told = heard.heard();
    let waits = told.iter().filter(|line| line.contains("OpenNebula lists cluster 100")).count();
    assert_eq!(waits, 1, "{told:?}");
    assert!(!told.iter().any(|line| line.contains("already deleted")), "{told:?}");
    assert!(world.client.clusters().pool().await.unwrap().iter().any(|c| c.id.0 == 100));
}

/// A `create` says so, too.
#[tokio::test(start_paused = true)]
async fn a_half_made_cluster_names_what_mends_the_database() {
    let world = World::new();
    for method in ["one.cluster.update", "one.cluster.delete"] {
        for _ in 0..20 {
            world.refusing.refuse(method, 1024, "Error getting cluster [100].");
        }
    }
    let report = world.engine.create(world.request(&template(&["a"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let why = report.record.object(Subject::Cluster).unwrap().failure.clone().unwrap();
    for part in ["OpenNebula lists cluster 100", "onedb fsck"] {
        assert!(why.contains(part), "{why}");
    }
}

/// Of the credentials: the template still has them.
#[tokio::test(start_paused = true)]
async fn a_document_that_was_deleted_is_made_anew() {
    let mut world = World::new();
    world.create(&["a", "b"]).await;
    let documents = world.client.documents();
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    documents.delete(pool[0].id).await.unwrap();
    // Nobody has the credentials who has not the template.
    let request = engine::ResumeRequest { spec: None, ..world.resume_request() };
    let why = world.engine.resume(request).await.unwrap_err().to_string();
    assert!(why.contains("stand nowhere but in the template"), "{why}");
    let heard = world.hear_warnings();
    assert_eq!(world.resume().await.record.state, ProvisionState::Ready);
    assert!(heard.heard().iter().any(|text| text.contains("made anew")), "{:?}", heard.heard());
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    assert_eq!(pool.len(), 1);
    for host in world.client.hosts().pool().await.unwrap() {
        let text = host.template.text("PROVISION/CLOUD_TOKEN").unwrap();
        assert!(text.contains(&format!(":{}:", pool[0].id)), "{text}");
        assert!(host.template.text("PROVISION/DEPLOY_ID").is_some());
    }
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

/// With a reference in place of its token a provider may say that there is no such machine.
#[tokio::test(start_paused = true)]
async fn no_driver_is_asked_without_the_credentials_of_its_host() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let documents = world.client.documents();
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    documents.delete(pool[0].id).await.unwrap();
    let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill().len(), 2);
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("cannot be read, so that its driver is not asked"), "{failure}");
    // The template has them.
    let report = world.engine.resume(world.resume_request()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
}

/// By a template that has changed since, too.
#[tokio::test(start_paused = true)]
async fn an_update_makes_the_document_anew() {
    let world = World::new();
    world.create(&["a"]).await;
    let documents = world.client.documents();
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    documents.delete(pool[0].id).await.unwrap();
    let request = world.update_request(&template(&["a", "b"]));
    let report = world.engine.update(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    assert_eq!(pool.len(), 1);
    for host in world.client.hosts().pool().await.unwrap() {
        let text = host.template.text("PROVISION/CLOUD_TOKEN").unwrap();
        assert!(text.contains(&format!(":{}:", pool[0].id)), "{text}");
    }
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_host_delete_without_the_credentials_is_finished_by_resume() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let documents = world.client.documents();
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    documents.delete(pool[0].id).await.unwrap();
    let hosts = Some(vec![HostId(0)]);
    let request = engine::DeleteRequest { id: world.id(), hosts, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    let report = world.engine.resume(world.resume_request()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert_eq!(world.cloud.bill(), ["m-b"]);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

/// A new datastore has no room until its driver has told how much there is.
#[tokio::test(start_paused = true)]
async fn an_image_waits_until_its_datastore_has_been_measured() {
    let world = World::new();
    for _ in 0..3 {
        let text = "[one.image.allocate] Not enough space in datastore";
        world.refusing.refuse("one.image.allocate", 2048, text);
    }
    let images = "images: [{name: i, ds_id: '${datastore.0.id}', size: 1}]\n";
    let request = world.request(&format!("{}{images}", template(&["a"])));
    let report = world.engine.create(request).await.unwrap();
    let failures: Vec<_> = report.record.objects().filter_map(|o| o.failure.clone()).collect();
    assert_eq!((failures, report.record.state), (vec![], ProvisionState::Ready));
}

/// `PoolSQL::get` makes "no such object" of any read that fails.
#[tokio::test(start_paused = true)]
async fn what_a_busy_database_calls_gone_is_looked_for_before_it_is_believed() {
    let world = World::new();
    let report = world.create(&["a"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    for (method, what) in [
        ("one.host.delete", "host [0]"),
        ("one.datastore.delete", "datastore [100]"),
        ("one.cluster.delete", "cluster [100]"),
        ("one.document.delete", "document [0]"),
    ] {
        world.refusing.refuse(method, 1024, &format!("[{method}] Error getting {what}."));
    }
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
    assert_eq!(world.client.datastores().pool().await.unwrap().len(), 3);
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1);
}

/// After a new name, an address in front of several servers, `http` that became `https`.
#[tokio::test(start_paused = true)]
async fn a_front_end_under_another_address_is_known_by_the_provisions_cluster() {
    let world = World::new();
    world.create(&["a"]).await;
    let request = || engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };

    let stranger = World::new();
    let opennebula = stranger.engine.opennebula.clone();
    let endpoint = "http://elsewhere:2633/RPC2".to_owned();
    let engine = Engine { opennebula, endpoint: endpoint.clone(), ..world.engine.clone() };
    let refused = engine.delete(request()).await.unwrap_err().to_string();
    assert!(
        refused.contains("made on sandbox, and http://elsewhere:2633/RPC2 does not"),
        "{refused}"
    );
    assert_eq!(world.cloud.bill(), ["m-a"]);

    let engine = Engine { endpoint, ..world.engine.clone() };
    assert_eq!(engine.delete(request()).await.unwrap().record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

/// The journal is gone, or is another operator's, whose create is under way.
#[tokio::test(start_paused = true)]
async fn a_machine_that_may_have_been_asked_for_is_looked_for_without_the_journal() {
    for lists in [true, false] {
        let world = World::with(if lists { Cloud::listing() } else { Cloud::default() });
        world.deploys("a", Deploy::LoseAnswer);
        world.create(&["a"]).await;
        assert_eq!(world.cloud.bill(), ["m-a"]);
        let engine = Engine { journal: Arc::new(MemoryJournal::new()), ..world.engine.clone() };
        let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
        let report = engine.delete(request).await.unwrap();
        let expected = if lists { ProvisionState::Deleted } else { ProvisionState::Parked };
        assert_eq!(report.record.state, expected);
        assert_eq!(world.cloud.bill().is_empty(), lists);
    }
}

/// An update without that journal buys no second one, also not after a command that only took note of the host.
#[tokio::test(start_paused = true)]
async fn an_update_without_the_journal_looks_before_it_asks_for_a_machine() {
    for configured in [true, false] {
        let world = World::with(Cloud::listing());
        world.deploys("a", Deploy::LoseAnswer);
        world.create(&["a"]).await;
        assert_eq!(world.cloud.bill(), ["m-a"]);
        let engine = Engine { journal: Arc::new(MemoryJournal::new()), ..world.engine.clone() };
        if configured {
            let (id, hosts) = (world.id(), None);
            let request = engine::ConfigureRequest { id, hosts, force: false };
            engine.configure(request).await.unwrap_err();
        }
        let spec = testkit::templates::load(&testkit::world::template(&["a"]));
        let request = engine::update::UpdateRequest {
            id: world.id(),
            template: "/u.yaml".into(),
            digest: String::new(),
            public_keys: vec![None],
            replace: false,
            cleanup: None,
            shown: None,
            spec,
        };
        let report = engine.update(request).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record.hosts);
        assert_eq!(world.cloud.bill(), ["m-a"]);
        assert_eq!(world.cloud.doubles(), Vec::<String>::new());
    }
}

/// The other operator's create has come further since a delete here was interrupted.
#[tokio::test(start_paused = true)]
async fn a_machine_that_the_object_names_since_is_the_one_that_was_not_known() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    let report = world.create(&["a"]).await;
    let id = report.record.hosts[&HostKey(0)].host_id.unwrap();
    let (subject, driver) = (Subject::Host(HostKey(0)), Some("cloud".to_owned()));
    let name = world.client.hosts().info(HostId(id)).await.unwrap().name;
    let evidence = "a delete that was interrupted".to_owned();
    let journal = MemoryJournal::new();
    let events = vec![
        Event::Found { subject, id, name, driver, deploy_id: None },
        Event::Intent { id: IntentId(1), subject, step: Step::Deploy, key: None },
        Event::Outcome { id: IntentId(1), outcome: Outcome::Unknown { evidence } },
    ];
    journal.append(world.id(), 1, events).await.unwrap();

    let mut template = world.client.hosts().info(HostId(id)).await.unwrap().template;
    template.vector_mut("PROVISION").set("DEPLOY_ID", "m-a");
    world.client.hosts().update(HostId(id), &template, Update::Append).await.unwrap();
    let engine = Engine { journal: Arc::new(journal), ..world.engine.clone() };
    let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    assert_eq!(engine.delete(request).await.unwrap().record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

/// It was measured while the call was under way, which calls the datastore's driver and takes seconds.
#[tokio::test(start_paused = true)]
async fn an_image_is_tried_once_more_when_its_datastore_has_been_measured_meanwhile() {
    for (refusals, state) in [(1, ProvisionState::Ready), (2, ProvisionState::Failed)] {
        let world = World::new();
        for _ in 0..refusals {
            let text = "[one.image.allocate] Not enough space in datastore";
            world.refusing.refuse("one.image.allocate", 2048, text);
        }
        let measured =
            "<DATASTORE><ID>1</ID><NAME>default</NAME><TOTAL_MB>9</TOTAL_MB></DATASTORE>";
        world.refusing.answer("one.datastore.info", measured);
        let images = "images: [{name: i, ds_id: 1, size: 1}]\n";
        let request = world.request(&format!("{}{images}", template(&["a"])));
        let begun = tokio::time::Instant::now();
        let report = world.engine.create(request).await.unwrap();
        assert_eq!(report.record.state, state, "{refusals}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it is full, and not waited for");
    }
}
