//! Machines that nobody accounts for, hosts whose machine is gone, and the operator's word.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use driver::deployment::DeploymentFile;
use engine::EngineError;
use engine::orphans::{Finding, Orphan, OrphansRequest};
use engine::overview::Status;
use journal::{Event, Fact, Journal, MemoryJournal, Outcome};
use model::{DeployId, HostKey, HostState, ProvisionState};
use testkit::cloud::{Cloud, Deploy, Machine};
use testkit::world::World;

fn request() -> OrphansRequest {
    OrphansRequest {
        drivers: vec!["cloud".into()],
        accounts: Vec::new(),
        grace: Duration::from_secs(600),
    }
}

async fn orphans(world: &World) -> Vec<Orphan> {
    world.engine.orphans(&request()).await.unwrap().found
}

fn stray(world: &World, id: &str) {
    let key = format!("{}-7-1", world.id());
    let machine = Machine::new(&key, "provision-stray", "10.0.0.99");
    world.cloud.machines.lock().unwrap().insert(id.into(), machine);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_nobody_knows_is_found_and_destroyed() {
    let world = World::new();
    world.create(&["a"]).await;
    assert!(orphans(&world).await.is_empty());
    stray(&world, "m-stray");
    let found = orphans(&world).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].finding, found[0].id.as_str()), (Finding::Orphan, "m-stray"));
    // A cancel that is answered well and has no effect is no success.
    *world.cloud.stubborn.lock().unwrap() = 1;
    let refused = world.engine.cancel_orphan(&found[0]).await.unwrap_err().to_string();
    assert!(refused.contains("m-stray") && refused.contains("running"), "{refused}");
    world.engine.cancel_orphan(&found[0]).await.unwrap();
    // Gone meanwhile: that is success too.
    world.engine.cancel_orphan(&found[0]).await.unwrap();
    assert_eq!(world.cloud.bill(), ["m-a"]);
    assert!(orphans(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_of_an_unknown_provision_may_be_somebody_elses() {
    let world = World::new();
    world.create(&["a"]).await;
    let machine = Machine::new("00000000-0000-4000-8000-000000000009-0-1", "x", "10.0.0.98");
    world.cloud.machines.lock().unwrap().insert("m-theirs".into(), machine);
    stray(&world, "m-stray");
    let found = orphans(&world).await;
    let told: Vec<(&str, Finding)> = found.iter().map(|o| (o.id.as_str(), o.finding)).collect();
    assert_eq!(told, [("m-stray", Finding::Orphan), ("m-theirs", Finding::Foreign)]);
    // The intent is there before the machine is gone, and the outcome after.
    world.engine.cancel_orphan(&found[1]).await.unwrap();
    let entries = world.journal.entries(journal::ORPHANS).await.unwrap();
    let words: Vec<String> = entries.iter().map(|e| format!("{:?}", e.event)).collect();
    assert!(words[0].starts_with("OrphanDoomed") && words[0].contains("m-theirs"), "{words:?}");
    assert!(words[1].starts_with("OrphanEnded") && words[1].contains("Done"), "{words:?}");
    // They are no provision, and are not shown as one.
    assert_eq!(world.engine.overviews().await.unwrap().len(), 1);
    assert_eq!(world.cloud.bill(), ["m-a", "m-stray"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_machine_is_gone_is_missing_and_is_never_cancelled() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    world.cloud.machines.lock().unwrap().remove("m-b");
    let found = orphans(&world).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].finding, found[0].id.as_str()), (Finding::Missing, "m-b"));
    assert!(matches!(world.engine.cancel_orphan(&found[0]).await, Err(EngineError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_or_unknown_is_no_orphan() {
    let world = World::new();
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a"]).await;
    assert_eq!(world.cloud.bill(), ["m-a"]);
    assert!(orphans(&world).await.is_empty(), "resume and delete find it");
    // With the journal lost as well, only the host object is left, and it names no machine.
    let mut world = world;
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    // Another journal may have made it, and be waiting for that machine just now.
    let found = orphans(&world).await;
    let told: Vec<(&str, Finding)> = found.iter().map(|o| (o.id.as_str(), o.finding)).collect();
    assert_eq!(told, [("m-a", Finding::Foreign)]);
}

/// A driver whose `deploy` and `list` spell ids in two ways.
#[tokio::test(start_paused = true)]
async fn a_machine_in_use_under_another_id_is_no_orphan() {
    let mut world = World::new();
    world.create(&["a"]).await;
    let machine = world.cloud.machines.lock().unwrap().remove("m-a").unwrap();
    world.cloud.machines.lock().unwrap().insert("a".into(), machine);
    let found = orphans(&world).await;
    let told: Vec<(&str, Finding)> = found.iter().map(|o| (o.id.as_str(), o.finding)).collect();
    assert_eq!(told, [("a", Finding::Foreign), ("m-a", Finding::Missing)]);
    // Nor is it one where the host is known from OpenNebula alone.
    world.cloud.machines.lock().unwrap().get_mut("a").unwrap().address = "10.9.9.9".into();
    world.engine.journal = Arc::new(MemoryJournal::new());
    let found = orphans(&world).await;
    let told: Vec<(&str, Finding)> = found.iter().map(|o| (o.id.as_str(), o.finding)).collect();
    assert_eq!(told, [("a", Finding::Foreign), ("m-a", Finding::Missing)]);
}

/// A driver whose `deploy` printed something else before the id: nobody has seen a machine of that name.
#[tokio::test(start_paused = true)]
async fn what_the_list_has_for_a_host_goes_with_it() {
    let world = World::new();
    world.create(&["a"]).await;
    let entries = world.journal.entries(world.id()).await.unwrap();
    let mut events: Vec<Event> = entries.into_iter().map(|entry| entry.event).collect();
    let end = events.iter().position(|event| matches!(event, Event::Addressed { .. })).unwrap();
    events.truncate(end);
    for event in &mut events {
        if let Event::Outcome { outcome: Outcome::Done(Fact::Machine(id)), .. }
        | Event::DeployIdSeen { deploy_id: id, .. } = event
        {
            *id = DeployId::new("Welcome").unwrap();
        }
    }
    let mut world = world;
    world.journal = Arc::new(MemoryJournal::new());
    world.journal.append(world.id(), 1, events).await.unwrap();
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let heard = world.hear_warnings();
    let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
    let told = "machine Welcome is gone, and the driver lists m-a for host 0: that one goes, too";
    assert!(heard.heard().contains(&told.to_owned()), "{:?}", heard.heard());
}

/// Its host has lost its mark, and there is no journal; VMs may run on it.
#[tokio::test(start_paused = true)]
async fn a_machine_with_the_address_of_a_host_is_no_orphan() {
    let mut world = World::new();
    world.create(&["a"]).await;
    let hosts = world.client.hosts();
    let mut bare = hosts.info(model::HostId(0)).await.unwrap().template;
    let mut provision = model::Attributes::new();
    provision.push("CLOUD_TOKEN", testkit::world::SECRET);
    let mut account = DeploymentFile { pm_mad: "cloud".into(), ..DeploymentFile::default() };
    account.template.push("PROVISION", provision);
    bare.remove("PROVISION");
    hosts.update(model::HostId(0), &bare, opennebula::objects::Update::Replace).await.unwrap();
    world.engine.journal = Arc::new(MemoryJournal::new());
    let request = OrphansRequest { accounts: vec![account], ..request() };
    let found = world.engine.orphans(&request).await.unwrap().found;
    let told: Vec<(&str, Finding)> = found.iter().map(|o| (o.id.as_str(), o.finding)).collect();
    assert_eq!(told, [("m-a", Finding::Foreign)]);
}

/// A driver that was removed, and a deploy that it left without an answer.
#[tokio::test(start_paused = true)]
async fn the_word_of_the_operator_counts_without_a_driver() {
    let mut world = World::new();
    world.create(&["a"]).await;
    let entries = world.journal.entries(world.id()).await.unwrap();
    let is_answer = |event: &Event| {
        matches!(event, Event::Outcome { outcome: Outcome::Done(Fact::Machine(_)), .. })
    };
    let before: Vec<Event> =
        entries.into_iter().map(|entry| entry.event).take_while(|e| !is_answer(e)).collect();
    let before = before.into_iter().filter(|e| !matches!(e, Event::DeployIdSeen { .. })).collect();
    world.journal = Arc::new(MemoryJournal::new());
    world.journal.append(world.id(), 1, before).await.unwrap();
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let drivers = std::mem::replace(&mut world.engine.drivers, Arc::new(NoDrivers));
    // OpenNebula does not name it either.
    let hosts = world.client.hosts();
    let mut template = hosts.info(model::HostId(0)).await.unwrap().template;
    template.vector_mut("PROVISION").remove("DEPLOY_ID");
    hosts.update(model::HostId(0), &template, opennebula::objects::Update::Replace).await.unwrap();
    let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request.clone()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Parked, "{:?}", report.record);
    world.engine.resolve_host(world.id(), HostKey(0), DeployId::new("m-a")).await.unwrap();
    world.engine.drivers = drivers;
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
}

/// The host's object had the only credentials, and is gone; the template has them.
#[tokio::test(start_paused = true)]
async fn a_machine_that_is_named_later_goes_with_the_credentials_of_the_template() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    let mut request = world.request(&testkit::world::template(&["a"]));
    request.options.secrets_in_template = true;
    let spec = Some(request.spec.clone());
    world.engine.create(request).await.unwrap();
    let delete = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(delete.clone()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Parked);
    world.engine.resolve_host(world.id(), HostKey(0), DeployId::new("m-a")).await.unwrap();
    // Nobody is asked without them.
    let report = world.engine.delete(delete).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("cannot be read, so that its driver is not asked"), "{failure}");
    let request = engine::ResumeRequest { id: world.id(), spec, public_keys: vec![None] };
    let report = world.engine.resume(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_cannot_list_says_so() {
    let world = World::with(Cloud::default());
    let orphans = world.engine.orphans(&request()).await.unwrap();
    assert_eq!(orphans.unlisted, [("cloud".to_owned(), "no list".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn the_operator_says_that_there_is_no_machine() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    let report = world.create(&["a", "b"]).await;
    assert_eq!(report.record.hosts[&HostKey(0)].state(), HostState::Unknown);
    // A host of which everything is known cannot be decided on.
    let refused = world.engine.resolve_host(world.id(), HostKey(1), None).await;
    assert!(matches!(refused, Err(EngineError::Refused(_))));
    // The operator deletes the machine in the console, and says so.
    world.cloud.machines.lock().unwrap().remove("m-a");
    world.cloud.deploys.lock().unwrap().clear();
    *world.cloud.address.lock().unwrap() = Some("10.0.0.77".into());
    world.engine.resolve_host(world.id(), HostKey(0), None).await.unwrap();
    let report = world.resume().await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a-2", "m-b"]);
}

#[tokio::test(start_paused = true)]
async fn the_operator_says_which_machine_it_is() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a"]).await;
    let machine = DeployId::new("m-a");
    world.engine.resolve_host(world.id(), HostKey(0), machine).await.unwrap();
    let request = engine::ResumeRequest { spec: None, ..world.resume_request() };
    let report = world.engine.resume(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 1, "it was not bought again");
    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts[0].template.text("PROVISION/DEPLOY_ID"), Some("m-a"));
}

/// The deploy id in the host object, if there is one.
async fn announced(world: &World) -> Option<String> {
    let hosts = world.client.hosts().pool().await.unwrap();
    hosts[0].template.text("PROVISION/DEPLOY_ID").map(str::to_owned)
}

/// A create of which nobody knows whether it made its machine, `m-a`.
async fn lost() -> World {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a"]).await;
    world
}

async fn says(world: &World, machine: Option<&str>) -> Result<engine::Report, EngineError> {
    let machine = machine.map(|id| DeployId::new(id).unwrap());
    world.engine.resolve_host(world.id(), HostKey(0), machine).await
}

#[tokio::test(start_paused = true)]
async fn the_operators_word_may_be_taken_back_until_the_machine_was_seen() {
    let world = lost().await;
    let resume =
        || world.engine.resume(engine::ResumeRequest { spec: None, ..world.resume_request() });
    says(&world, Some("m-typo")).await.unwrap();
    says(&world, Some("m-other")).await.unwrap();
    // OpenNebula is told of it, and then no machine of that id has an address.
    assert_eq!(resume().await.unwrap().record.state, ProvisionState::Failed);
    assert_eq!(announced(&world).await.as_deref(), Some("m-other"));
    says(&world, Some("m-a")).await.unwrap();
    assert_eq!(announced(&world).await.as_deref(), Some("m-a"));
    assert_eq!(resume().await.unwrap().record.state, ProvisionState::Ready);
    assert!(matches!(says(&world, None).await, Err(EngineError::Refused(_))), "it was seen");
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_not_there_after_all_is_taken_out_of_opennebula() {
    let world = lost().await;
    world.cloud.machines.lock().unwrap().clear();
    says(&world, Some("m-typo")).await.unwrap();
    assert_eq!(world.resume().await.record.state, ProvisionState::Failed);
    says(&world, None).await.unwrap();
    assert_eq!(announced(&world).await, None);
    // Nothing takes somebody else's machine for ours.
    stray(&world, "m-typo");
    let request = engine::DeleteRequest { id: world.id(), hosts: None, cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert_eq!(world.cloud.bill(), ["m-typo"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_of_another_host_is_not_taken_for_this_one() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a", "b"]).await;
    let refused = says(&world, Some("m-b")).await.unwrap_err().to_string();
    assert!(refused.contains("machine m-b is that of host 1 of provision"), "{refused}");
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    assert_eq!(record.hosts[&HostKey(0)].state(), HostState::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_its_driver_does_not_know_is_warned_of() {
    let mut world = lost().await;
    let warnings = world.hear_warnings();
    says(&world, Some("m-typo")).await.unwrap();
    assert_eq!(
        warnings.heard(),
        ["machine m-typo is written down, and was not seen: no such machine"]
    );
    says(&world, Some("m-a")).await.unwrap();
    assert_eq!(warnings.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_parked_record_ends_with_the_last_word_on_it() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a"]).await;
    assert_eq!(world.delete().await.record.state, ProvisionState::Parked);
    // It exists after all: then a delete removes it.
    let machine = DeployId::new("m-a");
    world.engine.resolve_host(world.id(), HostKey(0), machine).await.unwrap();
    assert_ne!(world.engine.overviews().await.unwrap()[0].status, Status::Parked);
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());

    let world = World::with(Cloud { machines: Mutex::default(), ..Cloud::default() });
    world.deploys("a", Deploy::LoseAnswer);
    world.create(&["a"]).await;
    world.delete().await;
    world.cloud.machines.lock().unwrap().clear();
    world.engine.resolve_host(world.id(), HostKey(0), None).await.unwrap();
    assert!(world.engine.overviews().await.unwrap().is_empty());
}

/// No driver is there any more.
struct NoDrivers;

impl engine::DriverSource for NoDrivers {
    fn find(&self, name: &str) -> Result<Arc<dyn driver::api::Driver>, String> {
        Err(format!("no driver {name}"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_cannot_be_removed_is_given_up_by_the_operators_word_alone() {
    let world = World::new();
    world.create(&["a"]).await;
    *world.cloud.stubborn.lock().unwrap() = usize::MAX;
    assert_eq!(world.delete().await.record.state, ProvisionState::Failed);
    // That it has another one after all is no answer to that.
    assert!(matches!(says(&world, Some("m-b")).await, Err(EngineError::Refused(_))));
    says(&world, None).await.unwrap();
    world.cloud.machines.lock().unwrap().clear();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn so_is_one_whose_driver_is_gone() {
    let mut world = World::new();
    world.deploys("b", Deploy::Refuse);
    world.create(&["a", "b"]).await;
    assert!(matches!(says(&world, None).await, Err(EngineError::Refused(_))), "it can be removed");
    world.engine.drivers = Arc::new(NoDrivers);
    let report = world.delete().await;
    assert_eq!((report.record.state, report.record.machines()), (ProvisionState::Failed, 1));
    says(&world, None).await.unwrap();
    world.cloud.machines.lock().unwrap().clear();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
}
