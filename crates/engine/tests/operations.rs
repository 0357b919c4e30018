//! Create and delete against a front-end in memory and a cloud with a bill, in virtual time.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::overview::Status;
use engine::{DeleteRequest, Engine, EngineError, Stop};
use journal::{Journal, Machine, MemoryJournal};
use model::{HostKey, HostState, ProvisionState};
use testkit::cloud::{Cancel, Cloud, Deploy, Poll, Temper};
use testkit::world::{World, template};

fn states(report: &engine::Report) -> Vec<HostState> {
    report.record.hosts.values().map(journal::HostRecord::state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_create_ends_with_enabled_hosts_and_a_delete_with_nothing() {
    let world = World::new();
    let report = world.create(&["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled; 3]);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b", "m-c"]);

    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts.len(), 3);
    for host in &hosts {
        assert!(host.name.starts_with("10.0.0."), "{}", host.name);
        assert_ne!(host.state, opennebula::objects::HostState::Offline);
        let template = &host.template;
        assert_eq!(template.text("PROVISION/PROVISION_ID"), Some(testkit::world::ID));
        assert_eq!(template.text("PROVISION/NAME"), Some("web"));
        assert!(template.text("PROVISION/DEPLOY_ID").is_some_and(|id| id.starts_with("m-")));
        assert_eq!(template.text("PROVISION_CONFIGURATION_STATUS"), Some("configured"));
        assert_eq!(template.text("PM_MAD"), Some("cloud"));
    }
    let nets = world.client.vnets().pool().await.unwrap();
    let datastore = report.record.datastores[&0].id.unwrap().to_string();
    assert_eq!(nets[0].template.text("NOTE"), Some(datastore.as_str()));
    let overviews = world.engine.overviews().await.unwrap();
    assert_eq!(overviews.len(), 1);
    assert_eq!((overviews[0].name.as_str(), overviews[0].status), ("web", Status::Configured));

    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
    assert!(world.client.vnets().pool().await.unwrap().is_empty());
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1, "the default cluster");
    let documents = world.client.documents().pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    assert!(documents.is_empty());
    assert!(world.engine.overviews().await.unwrap().is_empty());
    // Again: nothing to do is no error.
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_host_costs_six_writes_and_no_read_of_its_own() {
    let world = World::new();
    world.create(&["a", "b", "c", "d", "e"]).await;
    let writes = world.calls.writes.lock().unwrap().clone();
    let of_hosts: usize =
        writes.iter().filter(|(method, _)| method.contains(".host.")).map(|(_, n)| n).sum();
    assert_eq!(of_hosts, 5 * 6, "{writes:?}");
    let others: usize = writes.values().sum::<usize>() - of_hosts;
    assert_eq!(others, 6, "document 1, cluster 3, datastore 1, network 1: {writes:?}");
    let reads = world.calls.reads.lock().unwrap().clone();
    let read = reads.values().sum::<usize>();
    let what = "version, clusters' names, secrets, cluster, network, hosts read back";
    assert_eq!(read, 6, "{what}: {reads:?}");
}

#[tokio::test(start_paused = true)]
async fn credentials_rest_encrypted_in_one_document() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let documents = world.client.documents();
    let pool = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    assert_eq!(pool.len(), 1);
    assert!(!format!("{pool:?}").contains(testkit::world::SECRET));
    let clear = documents.info_decrypted(pool[0].id).await.unwrap();
    let body = clear.template.text("PROVISION_BODY").unwrap();
    assert_eq!(body.matches(testkit::world::SECRET).count(), 1, "every value once: {body}");
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    let reference = format!("oneprovision:secret:{}:0", pool[0].id);
    assert_eq!(host.template.text("PROVISION/CLOUD_TOKEN"), Some(reference.as_str()));
}

#[tokio::test(start_paused = true)]
async fn old_drivers_can_have_them_in_the_template() {
    let world = World::new();
    let mut request = world.request(&template(&["a"]));
    request.options.secrets_in_template = true;
    world.engine.create(request).await.unwrap();
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    assert_eq!(host.template.text("PROVISION/CLOUD_TOKEN"), Some(testkit::world::SECRET));
}

#[tokio::test(start_paused = true)]
async fn one_refused_host_leaves_the_others_alone() {
    let world = World::new();
    world.deploys("b", Deploy::Refuse);
    let report = world.create(&["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(states(&report), [HostState::Enabled, HostState::Failed, HostState::Enabled]);
    let failure = report.record.hosts[&HostKey(1)].failure.clone().unwrap();
    assert!(failure.contains("quota exceeded"), "{failure}");
    assert_eq!(report.record.machines(), 2);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_unknown_and_found_by_its_mark_when_deleted() {
    let world = World::new();
    world.deploys("b", Deploy::LoseAnswer);
    let report = world.create(&["a", "b"]).await;
    assert_eq!(states(&report), [HostState::Enabled, HostState::Unknown]);
    assert_eq!(world.engine.overviews().await.unwrap()[0].status, Status::Unknown);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty(), "{:?}", world.cloud.bill());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_is_parked_and_kept_in_the_list() {
    let world = World::with(Cloud::default());
    world.deploys("b", Deploy::LoseAnswer);
    world.create(&["a", "b"]).await;
    for _ in 0..2 {
        let report = world.delete().await;
        assert_eq!(report.record.state, ProvisionState::Parked);
        assert_eq!(report.record.machines(), 1);
        assert!(world.client.hosts().pool().await.unwrap().is_empty());
        let overviews = world.engine.overviews().await.unwrap();
        assert_eq!(overviews[0].status, Status::Parked);
    }
    assert_eq!(world.cloud.bill(), ["m-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_named_before_its_failure_is_in_opennebula_and_is_cancelled() {
    let world = World::new();
    world.deploys("a", Deploy::NameThenFail);
    let report = world.create(&["a"]).await;
    assert_eq!(states(&report), [HostState::Failed]);
    assert_eq!(report.record.machines(), 1);
    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts[0].template.text("PROVISION/DEPLOY_ID"), Some("m-a"));
    world.delete().await;
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_machines_with_one_address_are_both_kept_in_sight() {
    let world = World::new();
    *world.cloud.address.lock().unwrap() = Some("10.9.9.9".into());
    let report = world.create(&["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let enabled = states(&report).iter().filter(|s| **s == HostState::Enabled).count();
    assert_eq!((enabled, report.record.machines()), (1, 3));
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 3);
    world.delete().await;
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancel_is_repeated_until_the_machine_is_gone() {
    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.stubborn.lock().unwrap() = 3;
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
    // To a deadline: then it is an error, and the host object stays.
    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.stubborn.lock().unwrap() = usize::MAX;
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("still there"), "{failure}");
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 1);
}

/// It may be something else that was not found: the account, the site.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_finds_nothing_is_not_believed_of_a_machine_that_runs() {
    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.denying.lock().unwrap() = 1;
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());

    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.denying.lock().unwrap() = usize::MAX;
    let report = world.delete().await;
    assert_eq!((report.record.state, world.cloud.bill().len()), (ProvisionState::Failed, 1));
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("still there: running; the data center cannot be found"), "{failure}");
    *world.cloud.denying.lock().unwrap() = 0;
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);

    // In the words of the protocol it is said of the machine, whatever its poll prints.
    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.denying.lock().unwrap() = usize::MAX;
    *world.cloud.denying_it.lock().unwrap() = true;
    let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
}

/// A token that is no good any more: the cancel goes nowhere, with status 0, and the poll fails.
struct Barred(AtomicBool);

impl Temper for Barred {
    fn cancel(&self) -> Option<Cancel> {
        self.0.load(Ordering::Relaxed).then_some(Cancel::NoEffect)
    }

    fn poll(&self, cancelled: bool) -> Option<Poll> {
        (cancelled && self.0.load(Ordering::Relaxed)).then_some(Poll::Refuse)
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_fails_after_a_cancel_is_no_proof_where_there_is_a_list() {
    let barred = Arc::new(Barred(AtomicBool::new(true)));
    let temper = Arc::clone(&barred) as Arc<dyn Temper>;
    let world = World::with(Cloud { temper, ..Cloud::listing() });
    world.create(&["a"]).await;
    let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!((report.record.state, world.cloud.bill().len()), (ProvisionState::Failed, 1));
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("still there: in the driver's list"), "{failure}");
    barred.0.store(false, Ordering::Relaxed);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_leaves_running_deploys_to_be_found_later() {
    let world = World::new();
    world.deploys("b", Deploy::Hang);
    let engine = world.engine.clone();
    let request = world.request(&template(&["a", "b"]));
    let create = tokio::spawn(async move { engine.create(request).await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    world.engine.stop.request();
    let report = create.await.unwrap();
    assert!(report.interrupted);
    assert_eq!(report.record.state, ProvisionState::Creating);
    assert!(report.record.hosts[&HostKey(1)].open.is_some());
    assert_eq!(world.engine.overviews().await.unwrap()[0].status, Status::Interrupted);

    let again = engine::Engine { stop: engine::Stop::new(), ..world.engine.clone() };
    let report =
        again.delete(DeleteRequest { id: world.id(), hosts: None, cleanup: None }).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_bought_if_a_host_object_cannot_be_made() {
    let world = World::new();
    // The name that the second host object would get is somebody else's.
    let name = engine::names::host_name(world.id(), HostKey(1));
    let other = world.client.clusters().allocate("others").await.unwrap();
    world.client.hosts().allocate(&name, "kvm", "kvm", other).await.unwrap();
    let report = world.create(&["a", "b"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 0);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_leaves_nothing_half_made() {
    let world = World::new();
    // Somebody takes it when the provision is begun already.
    let stopped = Engine { stop: Stop::new(), ..world.engine.clone() };
    stopped.stop.request();
    stopped.create(world.request(&template(&["a", "b"]))).await.unwrap();
    world.client.clusters().allocate("web").await.unwrap();
    let report = world.engine.resume(world.resume_request()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.cluster.failure.clone().unwrap();
    assert!(failure.contains("taken"), "{failure}");
    let clusters = world.client.clusters().pool().await.unwrap();
    assert_eq!(clusters.len(), 2, "default and somebody else's");
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_journal_loses_no_provision() {
    let mut world = World::new();
    world.create(&["a", "b"]).await;
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let overviews = world.engine.overviews().await.unwrap();
    assert_eq!((overviews[0].name.as_str(), overviews[0].pools.hosts.len()), ("web", 2));
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hosts_are_deleted_one_by_one_and_the_rest_stays() {
    let world = World::new();
    let report = world.create(&["a", "b", "c"]).await;
    let gone = model::HostId(report.record.hosts[&HostKey(1)].host_id.unwrap());
    let request = DeleteRequest { id: world.id(), hosts: Some(vec![gone]), cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(states(&report), [HostState::Enabled, HostState::Removed, HostState::Enabled]);
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a", "m-c"]);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 2);
}

async fn delete_host(world: &World, host: u32) -> engine::Report {
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    let id = model::HostId(record.hosts[&HostKey(host)].host_id.unwrap());
    let request = DeleteRequest { id: world.id(), hosts: Some(vec![id]), cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    world.check(&report.record).await;
    report
}

#[tokio::test(start_paused = true)]
async fn a_provision_is_ready_once_all_that_failed_of_it_is_deleted() {
    let world = World::new();
    world.deploys("b", Deploy::Refuse);
    world.deploys("c", Deploy::Refuse);
    assert_eq!(world.create(&["a", "b", "c"]).await.record.state, ProvisionState::Failed);
    assert_eq!(delete_host(&world, 1).await.record.state, ProvisionState::Failed);
    assert_eq!(delete_host(&world, 2).await.record.state, ProvisionState::Ready);
    assert_eq!(world.engine.overviews().await.unwrap()[0].status, Status::Configured);
    assert_eq!(world.cloud.bill(), ["m-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_provision_that_is_being_deleted_is_never_ready_again() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    *world.cloud.stubborn.lock().unwrap() = usize::MAX;
    assert_eq!(world.delete().await.record.state, ProvisionState::Failed);
    *world.cloud.stubborn.lock().unwrap() = 0;
    // Its datastores are gone already.
    assert_eq!(delete_host(&world, 0).await.record.state, ProvisionState::Failed);
    assert_eq!(delete_host(&world, 1).await.record.state, ProvisionState::Failed);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_provision_whose_host_could_not_be_deleted_has_failed_until_it_is() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    *world.cloud.stubborn.lock().unwrap() = usize::MAX;
    let report = delete_host(&world, 1).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(states(&report), [HostState::Enabled, HostState::Failed]);
    *world.cloud.stubborn.lock().unwrap() = 0;
    assert_eq!(delete_host(&world, 1).await.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_interrupted_is_so_after_a_host_is_deleted() {
    let world = World::new();
    let stopped = Engine { stop: Stop::new(), ..world.engine.clone() };
    let stop = stopped.stop.clone();
    world.deploys("b", Deploy::HangEmpty);
    let request = world.request(&template(&["a", "b"]));
    let create = tokio::spawn(async move { stopped.create(request).await.unwrap() });
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    stop.request();
    assert!(create.await.unwrap().interrupted);
    assert_eq!(delete_host(&world, 0).await.record.state, ProvisionState::Creating);
    assert_eq!(world.engine.overviews().await.unwrap()[0].status, Status::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_provision_and_a_missing_driver_are_errors_before_anything_happens() {
    let world = World::new();
    let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    assert!(matches!(world.engine.delete(request).await, Err(EngineError::NotFound(_))));
    let mut request = world.request(&template(&["a"]));
    request.spec.hosts[0].driver = "nosuch".into();
    let refused = world.engine.create(request).await.unwrap_err();
    assert!(matches!(refused, EngineError::Driver(_)), "{refused}");
    assert!(world.journal.provisions().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn running_vms_and_stored_images_refuse_a_delete() {
    let world = World::new();
    let report = world.create(&["a"]).await;
    let datastore = model::DatastoreId(report.record.datastores[&0].id.unwrap());
    let image = model::Attributes::from_iter([
        ("NAME".to_owned(), "img".into()),
        ("SIZE".to_owned(), "8".into()),
        ("TYPE".to_owned(), "DATABLOCK".into()),
    ]);
    world.client.images().allocate(&image, datastore).await.unwrap();
    let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let refused = world.engine.delete(request).await.unwrap_err().to_string();
    assert!(refused.contains("images"), "{refused}");
    assert_eq!(world.cloud.bill(), ["m-a"]);
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    assert!(!matches!(record.hosts[&HostKey(0)].machine, Machine::Gone));
}

#[tokio::test(start_paused = true)]
async fn without_machines_all_objects_are_made_and_an_update_asks_for_the_machines() {
    let world = World::new();
    let mut request = world.request(&template(&["a", "b"]));
    request.options.skip_provision = true;
    let report = world.engine.create(request).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!((*world.cloud.asked.lock().unwrap(), world.cloud.bill().len()), (0, 0));
    for host in world.client.hosts().pool().await.unwrap() {
        assert_eq!(host.state, opennebula::objects::HostState::Offline);
    }
    assert_eq!(world.client.vnets().pool().await.unwrap().len(), 1);

    // It is what was wanted: going on with it asks for nothing.
    assert_eq!(world.resume().await.record.state, ProvisionState::Ready);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 0);

    let request = world.request(&template(&["a", "b"]));
    let plan = world.engine.plan(Some(world.id()), &request.spec).await.unwrap();
    assert_eq!((plan.bought(), plan.destroyed()), (2, 0));
    let update = engine::update::UpdateRequest {
        id: request.id,
        spec: request.spec,
        template: request.template,
        digest: request.digest,
        public_keys: request.public_keys,
        replace: false,
        cleanup: None,
        shown: None,
    };
    let report = world.engine.update(update).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(states(&report), [HostState::Enabled; 2]);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    world.delete().await;
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_create_without_machines_that_was_killed_goes_on_without_machines() {
    let world = World::new();
    let mut request = world.request(&template(&["a", "b"]));
    request.options.skip_provision = true;
    let stopped = engine::Engine { stop: engine::Stop::new(), ..world.engine.clone() };
    stopped.stop.request();
    let report = stopped.create(request).await.unwrap();
    assert!(report.interrupted);
    assert_eq!(world.resume().await.record.state, ProvisionState::Ready);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 2);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 0);
}

/// OpenNebula cannot give back a value with the first, nor take one with the second, not even encrypted.
#[tokio::test(start_paused = true)]
async fn a_secret_that_opennebula_cannot_store_as_it_is_rests_in_the_document_all_the_same() {
    let world = World::new();
    let mut request = world.request(&template(&["a"]));
    let secret = "p]]>ss-\u{1F600}";
    for host in &mut request.spec.hosts {
        host.provision.set("OTHER_PASSWORD", model::Secret::new(secret));
    }
    let report = world.engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let documents = world.client.documents();
    let id = documents.pool(engine::secrets::DOCUMENT_TYPE).await.unwrap()[0].id;
    let clear = documents.info_decrypted(id).await.unwrap();
    let body = clear.template.text("PROVISION_BODY").unwrap();
    assert_eq!(model::unstorable(body), None, "{body}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let is_it = |value: &serde_json::Value| value.as_str() == Some(secret);
    assert!(body["values"].as_array().unwrap().iter().any(is_it), "{body}");
    let spec = world.engine.export(world.id()).await.unwrap();
    let read = spec.hosts[0].provision.get("OTHER_PASSWORD").and_then(model::Value::expose);
    assert_eq!(read, Some(secret));
}

/// A name in OpenNebula has at most 128 characters (`PoolObjectSQL::name_is_valid`).
#[tokio::test(start_paused = true)]
async fn a_host_whose_address_is_too_long_for_a_name_goes_by_its_name_in_the_template() {
    let world = World::new();
    let address = format!("{}.example.com", ["abcdefgh"; 15].join("."));
    *world.cloud.address.lock().unwrap() = Some(address.clone());
    let report = world.create(&["a"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    assert_eq!(host.name, "a");
    assert_eq!(host.template.text("PROVISION_ADDRESS"), Some(address.as_str()));
    world.delete().await;
}
