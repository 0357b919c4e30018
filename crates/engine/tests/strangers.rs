//! What others do to a provision in OpenNebula: VMs on hosts that have lost their mark or that this user may
//! not see, and copies that users made of its objects.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::{DeleteRequest, EngineError, ResumeRequest};
use journal::{Event, Fact, Journal, MemoryJournal, Outcome, Step};
use model::{Attributes, DatastoreId, HostId, HostKey, HostState, ProvisionState};
use opennebula::discover::Credentials;
use opennebula::error::code;
use opennebula::objects::Update;
use opennebula::xmlrpc::Param;
use opennebula::{Client, ClientSettings};
use testkit::cloud::Deploy;
use testkit::templates;
use testkit::world::{World, template};

const VIRTUALS: &str = r#"
images:
- {name: img, ds_id: 1, size: 8, type: DATABLOCK}
templates:
- {name: vm, cpu: 1, memory: 64}
vntemplates:
- {name: vn, vn_mad: bridge}
flowtemplates:
- {name: service, deployment: straight, roles: []}
"#;

async fn made() -> World {
    let world = World::new();
    let request = world.request(&format!("{}{VIRTUALS}", template(&["a", "b"])));
    let report = world.engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    world
}

async fn vm_on(world: &World, host: i32) -> i32 {
    let vm = world.call("one.vm.allocate", &["NAME=v\nCPU=1\nMEMORY=1".into(), false.into()]).await;
    world.call("one.vm.deploy", &[vm.into(), host.into(), false.into(), (-1).into()]).await;
    vm
}

fn request(world: &World) -> DeleteRequest {
    DeleteRequest { id: world.id(), hosts: None, cleanup: None }
}

async fn refused(world: &World) -> String {
    match world.engine.delete(request(world)).await {
        Err(EngineError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lost_its_mark_is_not_taken_from_under_its_vms() {
    let world = made().await;
    let one = &world.client;
    let mut bare = one.hosts().info(HostId(0)).await.unwrap().template;
    bare.remove("PROVISION");
    one.hosts().update(HostId(0), &bare, Update::Replace).await.unwrap();
    let vm = vm_on(&world, 0).await;
    let why = refused(&world).await;
    assert!(why.contains(&format!("has VM {vm}")), "{why}");
    assert_eq!(world.cloud.bill().len(), 2);

    world.call("one.vm.action", &["terminate-hard".into(), vm.into()]).await;
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty() && one.hosts().pool().await.unwrap().is_empty());
}

/// OpenNebula deletes a datastore under them.
#[tokio::test(start_paused = true)]
async fn vms_on_other_hosts_keep_the_datastore_that_they_are_in() {
    let world = World::new();
    let text = template(&["a"]) + "datastores: [{name: sys, type: system_ds, tm_mad: ssh}]\n";
    let text = text.replacen(
        "datastores:\n- {name: '<%= @name %>-images', ds_mad: fs, tm_mad: ssh}\n",
        "",
        1,
    );
    let text = text.replace("note: \"<%= @datastores[0]['ID'] %>\", ", "");
    let report = world.engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let other = ["other".into(), "kvm".into(), "kvm".into(), 100.into()];
    let other = world.call("one.host.allocate", &other).await;
    let vm = world.call("one.vm.allocate", &["NAME=v\nCPU=1\nMEMORY=1".into(), false.into()]).await;
    world.call("one.vm.deploy", &[vm.into(), other.into(), false.into(), 100.into()]).await;
    for cleanup in [None, Some(5)] {
        let request = DeleteRequest { id: world.id(), hosts: None, cleanup };
        let why = world.engine.delete(request).await.unwrap_err().to_string();
        assert!(why.contains(&format!("datastore 100 has disks of VM {vm} (v)")), "{why}");
        assert_eq!(world.cloud.bill().len(), 1);
    }
}

/// OpenNebula leaves out of a pool what a user may not use.
#[tokio::test(start_paused = true)]
async fn who_may_not_see_the_hosts_destroys_no_machine() {
    let mut world = made().await;
    let user = ["web".into(), "pw".into(), "core".into(), Param::Array(vec![])];
    world.call("one.user.allocate", &user).await;
    let credentials = Credentials::parse(&model::Secret::new("web:pw")).unwrap();
    let transport = Arc::clone(&world.refusing) as _;
    world.engine.opennebula = Client::new(transport, credentials, ClientSettings::default());
    let why = world.engine.delete(request(&world)).await.unwrap_err();
    assert!(format!("{why}").contains("VMs may run on it"), "{why}");
    assert_eq!(world.cloud.bill().len(), 2);
    // Without the journal it is not even known which hosts there are.
    world.engine.journal = Arc::new(MemoryJournal::new());
    let datastores = world.client.datastores();
    world
        .call(
            "one.datastore.chmod",
            &[
                100.into(),
                1.into(),
                1.into(),
                0.into(),
                1.into(),
                1.into(),
                0.into(),
                1.into(),
                1.into(),
                0.into(),
            ],
        )
        .await;
    let why = refused(&world).await;
    assert!(why.contains("may hide hosts of it from user web"), "{why}");
    assert_eq!(world.cloud.bill().len(), 2);
    assert!(datastores.exists(DatastoreId(100)).await.unwrap());
}

/// `clone`, `instantiate` and `reserve` copy the mark.
#[tokio::test(start_paused = true)]
async fn copies_that_users_made_stay() {
    let mut world = made().await;
    let heard = world.hear_warnings();
    let one = &world.client;
    let named = |template: &Attributes, name: &str, more: &[(&str, &str)]| {
        let mut copy = template.clone();
        copy.set("NAME", name);
        more.iter().for_each(|(key, value)| copy.set(*key, *value));
        copy
    };
    let of_data = [("SIZE", "8"), ("TYPE", "DATABLOCK")];
    let image = named(&one.images().pool().await.unwrap()[0].template, "my-img", &of_data);
    let image = one.images().allocate(&image, DatastoreId(1)).await.unwrap();
    let vm = named(&one.templates().pool().await.unwrap()[0].template, "my-vm", &[]);
    let vm = one.templates().allocate(&vm).await.unwrap();
    let net = &one.vnets().pool().await.unwrap()[0];
    let net = named(
        &net.template,
        "my-net",
        &[("TEMPLATE_ID", "0"), ("VN_MAD", "dummy"), ("BRIDGE", "br0")],
    );
    let net = one.vnets().allocate(&net, model::ClusterId(0)).await.unwrap();
    let service = one.documents().pool(101).await.unwrap()[0].clone();
    let service = named(&service.template, "my-service", &[]);
    let service = one.documents().allocate(&service, 101).await.unwrap();

    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
    let ids = |ids: Vec<i32>| ids;
    assert_eq!(ids(one.images().pool().await.unwrap().iter().map(|o| o.id.0).collect()), [image.0]);
    assert_eq!(ids(one.templates().pool().await.unwrap().iter().map(|o| o.id.0).collect()), [vm.0]);
    assert_eq!(ids(one.vnets().pool().await.unwrap().iter().map(|o| o.id.0).collect()), [net.0]);
    let services = one.documents().pool(101).await.unwrap();
    assert_eq!(ids(services.iter().map(|o| o.id.0).collect()), [service.0]);
    assert!(world.engine.overviews().await.unwrap().is_empty());
    let copy = "is a copy that somebody made of an object of this provision: it is left alone";
    for what in ["image 1 (my-img)", "template 1 (my-vm)", "network 1 (my-net)"] {
        let line = format!("{what} {copy}");
        assert!(heard.heard().contains(&line), "{line}: {:?}", heard.heard());
    }
}

fn resume(world: &World) -> ResumeRequest {
    let spec = templates::load(&format!("{}{VIRTUALS}", template(&["a", "b"])));
    ResumeRequest { id: world.id(), public_keys: vec![None; spec.hosts.len()], spec: Some(spec) }
}

/// The scheduler places VMs as long as the host is enabled: also after its removal was begun.
#[tokio::test(start_paused = true)]
async fn a_removal_that_is_taken_up_again_looks_for_vms_again() {
    let world = made().await;
    let begun = Event::HostDeleteBegun { hosts: vec![HostKey(0)], update: None };
    world.journal.append(world.id(), 1, vec![begun]).await.unwrap();
    let vm = vm_on(&world, 0).await;
    let why = world.engine.resume(resume(&world)).await.unwrap_err().to_string();
    assert!(why.contains(&format!("has VM {vm}")), "{why}");
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    world.call("one.vm.action", &["terminate-hard".into(), vm.into()]).await;
    let report = world.engine.resume(resume(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert_eq!(world.cloud.bill(), ["m-b"]);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 1);
}

/// What else is to be made does not wait for it.
#[tokio::test(start_paused = true)]
async fn a_removal_that_is_refused_keeps_no_other_host_back() {
    let mut world = World::new();
    world.deploys("b", Deploy::Refuse);
    let report = world.create(&["a", "b"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let begun = Event::HostDeleteBegun { hosts: vec![HostKey(0)], update: None };
    world.journal.append(world.id(), 1, vec![begun]).await.unwrap();
    vm_on(&world, 0).await;
    world.cloud.deploys.lock().unwrap().clear();
    let heard = world.hear_warnings();
    let report = world.engine.resume(world.resume_request()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(report.record.hosts[&HostKey(1)].state(), HostState::Enabled);
    assert_eq!(world.cloud.bill().len(), 2);
    assert!(heard.heard().iter().any(|text| text.contains("has VM 0")), "{:?}", heard.heard());
}

/// A template that is made again on a front-end that was installed anew gives hosts the same names.
#[tokio::test(start_paused = true)]
async fn a_host_of_another_provision_with_the_same_id_and_name_stays() {
    for cleanup in [None, Some(1)] {
        let world = made().await;
        let hosts = world.client.hosts();
        let mut theirs = hosts.info(HostId(0)).await.unwrap().template;
        theirs.vector_mut("PROVISION").set("PROVISION_ID", "99999999-2222-4333-8444-555555555555");
        hosts.update(HostId(0), &theirs, Update::Replace).await.unwrap();
        let before = hosts.info(HostId(0)).await.unwrap();
        let delete = DeleteRequest { id: world.id(), hosts: None, cleanup };
        world.engine.delete(delete).await.unwrap();
        assert!(world.cloud.bill().is_empty());
        let after = hosts.info(HostId(0)).await.unwrap();
        assert_eq!((after.name, after.state, after.template), (before.name, before.state, theirs));
    }
}

/// Nor is the id of a machine written into it.
#[tokio::test(start_paused = true)]
async fn a_delete_tells_no_other_host_of_its_machine() {
    let world = made().await;
    let one = world.client.hosts();
    let theirs: Attributes = [("NOTE".to_owned(), "theirs".into())].into_iter().collect();
    one.update(HostId(0), &theirs, Update::Replace).await.unwrap();
    one.rename(HostId(0), "theirs").await.unwrap();
    let theirs = one.info(HostId(0)).await.unwrap().template;
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    let intent = Event::Intent {
        id: record.next_intent(),
        subject: journal::Subject::Host(HostKey(0)),
        step: Step::Announce,
        key: None,
    };
    world.journal.append(world.id(), 1, vec![intent]).await.unwrap();
    world.engine.delete(request(&world)).await.unwrap();
    assert!(world.cloud.bill().is_empty());
    assert_eq!(one.info(HostId(0)).await.unwrap().template, theirs);
}

/// Another journal went on with the provision, or this one is a copy of earlier.
#[tokio::test(start_paused = true)]
async fn a_machine_that_only_opennebula_names_is_not_bought_again() {
    // Also where the copy is of before the hosts' objects were made.
    for (update, step) in [
        (false, Step::Deploy),
        (true, Step::Deploy),
        (false, Step::Create),
        (true, Step::Create),
        (false, Step::TakeOffline),
    ] {
        let mut world = made().await;
        let entries = world.journal.entries(world.id()).await.unwrap();
        let is_it = |event: &Event| match event {
            Event::Intent { subject: journal::Subject::Host(_), step: at, .. } => *at == step,
            // As far as the intents of the hosts' objects.
            Event::Outcome { outcome: Outcome::Done(Fact::Object(0 | 1)), .. } => {
                step == Step::TakeOffline
            }
            _ => false,
        };
        let before = entries.into_iter().map(|entry| entry.event).take_while(|e| !is_it(e));
        let earlier = Arc::new(MemoryJournal::new());
        earlier.append(world.id(), 1, before.collect()).await.unwrap();
        world.engine.journal = earlier;
        let state = match update {
            false => world.engine.resume(resume(&world)).await.unwrap().record.state,
            true => {
                let text = format!("{}{VIRTUALS}", template(&["a", "b"]));
                let changed = text.replace("ds_mad: fs", "ds_mad: fs, note: n");
                world.engine.update(world.update_request(&changed)).await.unwrap().record.state
            }
        };
        assert_eq!(state, ProvisionState::Ready, "{update} {step:?}");
        assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "{update} {step:?}");
        assert_eq!(world.client.hosts().pool().await.unwrap().len(), 2, "{update} {step:?}");
    }
}

/// Somebody deleted them by hand.
#[tokio::test(start_paused = true)]
async fn an_update_makes_anew_what_is_not_there_any_more() {
    let mut world = made().await;
    let one = &world.client;
    for template in one.templates().pool().await.unwrap() {
        one.templates().delete(template.id).await.unwrap();
    }
    let service = one.documents().pool(101).await.unwrap()[0].id;
    one.documents().delete(service).await.unwrap();
    let networks = one.vnets().pool().await.unwrap();
    one.vnets().delete(networks[0].id).await.unwrap();
    let text = format!("{}{VIRTUALS}", template(&["a", "b"]));
    let heard = world.hear_warnings();
    let plan = world.engine.plan(Some(world.id()), &templates::load(&text)).await.unwrap();
    let planned: Vec<String> =
        plan.changes.iter().map(|change| format!("{:?} {}", change.action, change.name)).collect();
    assert_eq!(planned, ["Create web-net", "Create vm", "Create service"]);
    let told = "network 0 is not in OpenNebula any more: what refers to it";
    assert!(heard.heard().iter().any(|text| text.starts_with(told)), "{:?}", heard.heard());
    let report = world.engine.update(world.update_request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let one = &world.client;
    assert_eq!(one.templates().pool().await.unwrap().len(), 1);
    assert_eq!(one.vnets().pool().await.unwrap().len(), 1);
    assert_eq!(one.documents().pool(101).await.unwrap().len(), 1);
    assert!(world.engine.plan(Some(world.id()), &templates::load(&text)).await.unwrap().is_empty());
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
}

/// The front-end has several addresses, and the create was killed before it knew the cluster's id.
#[tokio::test(start_paused = true)]
async fn a_cluster_of_unknown_id_tells_that_it_is_the_same_opennebula() {
    let mut world = made().await;
    let entries = world.journal.entries(world.id()).await.unwrap();
    let cluster = |event: &Event| match event {
        Event::Intent { id, subject: journal::Subject::Cluster, .. } => Some(*id),
        _ => None,
    };
    let intent = entries.iter().find_map(|entry| cluster(&entry.event)).unwrap();
    let is_end = |e: &Event| matches!(e, Event::Outcome { id, .. } if *id == intent);
    let before = entries.into_iter().map(|entry| entry.event).take_while(|e| !is_end(e));
    let earlier = Arc::new(MemoryJournal::new());
    earlier.append(world.id(), 1, before.collect()).await.unwrap();
    world.engine.journal = earlier;
    world.engine.endpoint = "elsewhere".into();
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.cloud.bill().is_empty());
}

/// A user's copy of another one carries the mark, too.
#[tokio::test(start_paused = true)]
async fn an_update_that_drops_what_was_never_made_takes_no_copy() {
    let world = World::new();
    let hosts = template(&["a"]);
    let text = format!("{hosts}templates:\n- {{name: first, cpu: 1}}\n");
    world.engine.create(world.request(&text)).await.unwrap();
    world.refusing.refuse("one.template.allocate", code::ACTION, "no room");
    let more = format!("{text}- {{name: second, cpu: 1}}\n");
    let report = world.engine.update(world.update_request(&more)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let mut copy = world.client.templates().pool().await.unwrap()[0].template.clone();
    copy.set("NAME", "my-own");
    let copy = world.client.templates().allocate(&copy).await.unwrap();
    let report = world.engine.update(world.update_request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert!(world.client.templates().exists(copy).await.unwrap());
}

/// An update that is stopped before it removes what goes, and another one that wants it again.
#[tokio::test(start_paused = true)]
async fn what_is_wanted_again_is_not_taken_for_what_was_never_made() {
    let world = World::new();
    let hosts = template(&["a"]);
    let text = format!("{hosts}templates:\n- {{name: first, cpu: 1}}\n");
    world.engine.create(world.request(&text)).await.unwrap();
    let more = format!("{text}- {{name: second, cpu: 1}}\n");
    world.refusing.refuse("one.template.allocate", code::ACTION, "no room");
    world.engine.update(world.update_request(&more)).await.unwrap();
    // It cannot be found out whether it is there, so that it goes on leaving.
    world.refusing.refuse("one.templatepool.info", code::AUTHORIZATION, "no");
    let dropped = format!("{text}- {{name: third, cpu: 1}}\n");
    let report = world.engine.update(world.update_request(&dropped)).await;
    assert!(report.is_err() || report.unwrap().record.state == ProvisionState::Failed);
    for _ in 0..2 {
        world.engine.update(world.update_request(&more)).await.unwrap();
    }
    let templates = world.client.templates().pool().await.unwrap();
    let names: BTreeSet<&str> = templates.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["first", "second"]));
}

#[tokio::test(start_paused = true)]
async fn a_second_delete_takes_no_copy_of_the_same_name() {
    let world = made().await;
    let template = world.client.templates().pool().await.unwrap()[0].template.clone();
    world.refusing.refuse("one.vn.delete", code::ACTION, "in use");
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let mut copy = template;
    copy.set("NAME", "vm");
    let copy = world.client.templates().allocate(&copy).await.unwrap();
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
    assert!(world.client.templates().exists(copy).await.unwrap());
}

/// Without a journal, too: the cluster goes last, so that what is left without one is no provision's.
#[tokio::test(start_paused = true)]
async fn copies_of_a_provision_that_is_gone_are_no_provision() {
    let mut world = made().await;
    let mut copy = world.client.templates().pool().await.unwrap()[0].template.clone();
    copy.set("NAME", "my-vm");
    let copy = world.client.templates().allocate(&copy).await.unwrap();
    world.engine.delete(request(&world)).await.unwrap();
    world.engine.journal = Arc::new(MemoryJournal::new());
    assert!(world.engine.overviews().await.unwrap().is_empty());
    let report = world.engine.delete(request(&world)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.client.templates().exists(copy).await.unwrap());
}

/// Some drivers look for a server of that host name, and take the one that is there.
#[tokio::test(start_paused = true)]
async fn the_machine_of_another_provision_is_nobody_elses() {
    let world = made().await;
    world.deploys("c", Deploy::ForeignId);
    let text = template(&["c"]).replace("web", "second");
    let second = engine::CreateRequest {
        id: "99999999-2222-4333-8444-555555555555".parse().unwrap(),
        ..world.request(&text)
    };
    let id = second.id;
    // The cloud answers with what looks like another one of the second provision.
    let name = engine::names::host_name(id, HostKey(9));
    world.cloud.machines.lock().unwrap().get_mut("m-a").unwrap().name = name;
    let report = world.engine.create(second).await.unwrap();
    let host = &report.record.hosts[&HostKey(0)];
    assert_eq!(host.state(), HostState::Unknown, "{host:?}");
    let evidence = format!("{:?}", host.machine);
    let said = format!("which is that of host 0 (10.0.0.1) of provision {}", world.id());
    assert!(evidence.contains(&said), "{evidence}");
    let delete = DeleteRequest { id, hosts: None, cleanup: None };
    world.engine.delete(delete).await.unwrap();
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
}
