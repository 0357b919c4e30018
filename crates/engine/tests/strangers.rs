//! What others do to a provision in OpenNebula: VMs on hosts that have lost their mark or that this user may
//! not see, and copies that users made of its objects.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;

use engine::{DeleteRequest, EngineError};
use journal::MemoryJournal;
use model::{Attributes, DatastoreId, HostId, ProvisionState};
use opennebula::discover::Credentials;
use opennebula::objects::Update;
use opennebula::xmlrpc::Param;
use opennebula::{Client, ClientSettings};
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
