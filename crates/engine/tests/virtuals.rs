//! Virtual objects, owners and permissions, and what stands in the way of a removal.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use engine::{
    CreateRequest, Decision, DeleteRequest, Engine, Failover, Failure, Report, ResumeRequest,
};
use journal::{Journal, MemoryJournal, Subject, VirtualKind};
use model::{Attributes, DatastoreId, ProvisionState, Value};
use opennebula::objects::{ImageState, VmId};
use opennebula::xmlrpc::Param;
use sandbox::{MarketApp, SandboxSettings, Version};
use testkit::cloud::Cloud;
use testkit::templates;
use testkit::world::{World, template};

const VIRTUALS: &str = r#"
images:
- {name: img, ds_id: "<%= @datastores[0]['ID'] %>", size: 8, type: DATABLOCK,
   meta: {uname: web, gname: users, mode: '640', wait: true}}
marketplaceapps:
- {name: app, appname: Small, dsid: 1, vmname: app-vm}
templates:
- name: vm
  cpu: 1
  memory: 64
  disk: [{image_id: "<%= @images[0]['ID'] %>"}, {image_id: "<%= @images[1]['ID'] %>"}]
  nic: [{network_id: "<%= @networks[0]['ID'] %>"}, {network_id: "<%= @networks[0]['ID'] %>", model: virtio}]
  meta: {uid: 0, mode: '604'}
vntemplates:
- {name: vn, vn_mad: bridge, ar: [{ip: 10.9.0.1, size: 2, ipam_mad: packet, type: IP4}]}
flowtemplates:
- name: service
  deployment: straight
  roles: [{name: front, vm_template: "<%= @templates[1]['ID'] %>"}]
"#;

fn front_end(version: Version) -> SandboxSettings {
    SandboxSettings {
        version,
        failing_paths: vec!["/nowhere/".to_owned()],
        apps: vec![MarketApp {
            id: 7,
            name: "Small".to_owned(),
            app_type: 1,
            size: 256,
            source: "https://market.example/small".to_owned(),
            image_template: "DEV_PREFIX=\"vd\"\nFORMAT=\"raw\"\nDRIVER=\"raw\"".to_owned(),
            vm_template: "CPU=1\nMEMORY=64".to_owned(),
        }],
        ..testkit::world::at_once()
    }
}

/// A front-end of that version with a user `web`.
async fn world(version: Version) -> World {
    let world = World::with_front_end(Cloud::listing(), front_end(version));
    let user = ["web".into(), "pw".into(), "core".into(), Param::Array(vec![])];
    world.call("one.user.allocate", &user).await;
    world
}

fn request(world: &World, virtuals: &str) -> CreateRequest {
    world.request(&format!("{}{virtuals}", template(&["a", "b"])))
}

async fn delete(world: &World, cleanup: Option<u32>) -> Result<Report, engine::EngineError> {
    world.engine.delete(DeleteRequest { id: world.id(), hosts: None, cleanup }).await
}

async fn assert_nothing_left(world: &World, what: &str) {
    let one = &world.client;
    assert!(world.cloud.bill().is_empty(), "{what}");
    assert!(one.images().pool().await.unwrap().is_empty(), "{what}");
    assert!(one.templates().pool().await.unwrap().is_empty(), "{what}");
    assert!(one.vntemplates().pool().await.unwrap().is_empty(), "{what}");
    assert!(one.documents().pool(101).await.unwrap().is_empty(), "{what}");
    assert!(one.vnets().pool().await.unwrap().is_empty(), "{what}");
    assert!(one.hosts().pool().await.unwrap().is_empty(), "{what}");
    assert_eq!(one.datastores().pool().await.unwrap().len(), 3, "{what}");
    assert_eq!(one.clusters().pool().await.unwrap().len(), 1, "{what}");
}

#[tokio::test(start_paused = true)]
async fn all_kinds_are_made_refer_to_each_other_and_go_again() {
    for version in [Version::V6_10, Version::V7_4] {
        let world = world(version).await;
        let report = world.engine.create(request(&world, VIRTUALS)).await.unwrap();
        world.check(&report.record).await;
        let failures: Vec<_> = report.record.objects().filter_map(|o| o.failure.clone()).collect();
        assert_eq!((failures, report.record.state), (vec![], ProvisionState::Ready));
        let one = &world.client;

        let mut images = one.images().pool().await.unwrap();
        images.sort_by_key(|image| image.id);
        let [img, app] = images.as_slice() else { panic!("{images:?}") };
        assert_eq!((img.name.as_str(), img.state), ("img", ImageState::Ready));
        assert_eq!((img.owner.uname.as_str(), img.owner.gname.as_str()), ("web", "users"));
        assert_eq!(img.permissions.octal(), 0o640);
        assert_eq!(
            (app.name.as_str(), app.size_mb, app.datastore_id),
            ("app", 256, DatastoreId(1))
        );
        assert_eq!(app.template.text("FROM_APP"), Some("7"));
        assert_eq!((app.template.get("DRIVER"), app.template.get("FORMAT")), (None, None));
        // What the template does not say stays as the front-end makes it.
        assert_eq!((app.owner.uid.0, app.permissions.octal()), (0, 0o600));

        let mut vms = one.templates().pool().await.unwrap();
        vms.sort_by_key(|template| template.id);
        let [app_vm, vm] = vms.as_slice() else { panic!("{vms:?}") };
        let disks = |template: &Attributes| -> Vec<String> {
            let disks = template.all("DISK").filter_map(|disk| match disk {
                Value::Vector(disk) => disk.text("IMAGE_ID").map(str::to_owned),
                _ => None,
            });
            disks.collect()
        };
        assert_eq!(app_vm.name, "app-vm");
        assert_eq!(disks(&app_vm.template), [app.id.to_string()]);
        assert_eq!(disks(&vm.template), [img.id.to_string(), app.id.to_string()]);
        assert_eq!(vm.template.all("NIC").count(), 2);
        assert_eq!((vm.name.as_str(), vm.permissions.octal()), ("vm", 0o604));

        let vntemplates = one.vntemplates().pool().await.unwrap();
        assert_eq!(vntemplates[0].template.text("AR/IPAM_MAD"), Some("packet"));
        let flows = one.documents().pool(101).await.unwrap();
        let body: serde_json::Value =
            serde_json::from_str(flows[0].template.text("BODY").unwrap()).unwrap();
        let key = if version == Version::V7_4 { "template_id" } else { "vm_template" };
        assert_eq!(body["roles"][0][key], vm.id.0);
        assert_eq!(body["provision"]["provision_id"], world.id().to_string());

        let overview = world.engine.overview(world.id()).await.unwrap().unwrap();
        let counts: Vec<_> =
            overview.pools.virtuals().iter().map(|(kind, of)| (*kind, of.len())).collect();
        assert_eq!(
            counts,
            [
                (VirtualKind::Image, 2),
                (VirtualKind::Template, 2),
                (VirtualKind::Vntemplate, 1),
                (VirtualKind::Flowtemplate, 1)
            ]
        );

        let refused = delete(&world, None).await.unwrap_err().to_string();
        assert!(refused.contains("provision with images can't be deleted"), "{refused}");
        assert!(refused.contains("(img) in datastore") && !refused.contains("(app)"), "{refused}");
        assert_eq!(world.cloud.bill().len(), 2);
        let report = delete(&world, Some(20)).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Deleted);
        world.check(&report.record).await;
        assert_nothing_left(&world, "deleted").await;
    }
}

#[tokio::test(start_paused = true)]
async fn hosts_of_the_same_create_can_be_named() {
    let world = World::new();
    let virtuals = "templates: [{name: vm, cpu: 1, memory: 1, note: \"<%= @hosts[1]['ID'] %>\"}]\n";
    let report = world.engine.create(request(&world, virtuals)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let second = report.record.hosts.values().nth(1).unwrap().host_id.unwrap();
    let vms = world.client.templates().pool().await.unwrap();
    assert_eq!(vms[0].template.text("NOTE"), Some(second.to_string().as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_user_who_does_not_exist_is_found_before_anything_is_made() {
    let world = World::new();
    let virtuals = "images: [{name: i, ds_id: 1, size: 1, meta: {uname: nobody}}]\n";
    let error = world.engine.create(request(&world, virtuals)).await.unwrap_err().to_string();
    assert!(error.contains("there is no user \"nobody\" in OpenNebula"), "{error}");
    assert!(world.journal.record(world.id()).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn owners_of_datastores_and_networks_are_changed_and_modes_only_if_given() {
    let world = world(Version::V6_10).await;
    let text = "name: web\ndatastores:\n- {name: d, ds_mad: fs, tm_mad: ssh, meta: {gname: users}}\n\
                networks:\n- {name: n, vn_mad: dummy, bridge: br0, meta: {uid: 2, mode: '0444'},\n   \
                ar: [{ip: 10.0.0.1, size: 1, type: IP4, ipam_mad: packet, packet_ip_type: public_ipv4},\n   \
                {ip: 10.0.1.1, size: 2, type: IP4}]}\n";
    let report = world.engine.create(world.request(text)).await.unwrap();
    let failures: Vec<_> = report.record.objects().filter_map(|o| o.failure.clone()).collect();
    assert_eq!((failures, report.record.state), (vec![], ProvisionState::Ready));
    let datastores = world.client.datastores().pool().await.unwrap();
    let datastore = datastores.iter().find(|datastore| datastore.name == "d").unwrap();
    assert_eq!((datastore.owner.uid.0, datastore.owner.gname.as_str()), (0, "users"));
    assert_eq!(datastore.permissions.octal(), 0o640);
    let vnet = &world.client.vnets().pool().await.unwrap()[0];
    assert_eq!((vnet.owner.uname.as_str(), vnet.permissions.octal()), ("web", 0o444));
    let ranges: Vec<_> = vnet.address_ranges.all("AR").collect();
    let [Value::Vector(managed), Value::Vector(plain)] = ranges.as_slice() else {
        panic!("{ranges:?}")
    };
    assert_eq!(managed.text("IPAM_MAD"), Some("packet"));
    assert_eq!(managed.text("PACKET_IP_TYPE"), Some("public_ipv4"));
    assert_eq!((plain.text("IPAM_MAD"), plain.text("SIZE")), (None, Some("2")));
}

/// Decides in turn, and notes what it was told.
#[derive(Default)]
struct Decides(Mutex<Vec<Decision>>, Mutex<Vec<(Subject, String)>>);

#[async_trait]
impl Failover for Decides {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        self.1.lock().unwrap().push((failure.subject, failure.message.to_owned()));
        let mut left = self.0.lock().unwrap();
        if left.is_empty() { Decision::Leave } else { left.remove(0) }
    }
}

fn deciding(world: &World, decisions: &[Decision]) -> (Engine, Arc<Decides>) {
    let failover = Arc::new(Decides(Mutex::new(decisions.to_vec()), Mutex::default()));
    (Engine { failover: Arc::clone(&failover) as _, ..world.engine.clone() }, failover)
}

const BROKEN: &str = "\
images:
- {name: bad, ds_id: 1, path: /nowhere/image, meta: {wait: true, wait_timeout: 5}}
- {name: good, ds_id: 1, size: 1}
templates:
- {name: uses-good, cpu: 1, memory: 1, disk: [{image_id: '${image.good.id}'}]}
- {name: refers-to-nothing, cpu: 1, memory: 1, note: \"<%= @images[0]['TEMPLATE/NOTHING'] %>\"}
";

#[tokio::test(start_paused = true)]
async fn an_image_in_error_ends_the_wait_at_once_and_undoes_no_host() {
    let world = world(Version::V7_4).await;
    let (engine, told) = deciding(&world, &[]);
    let report = engine.create(request(&world, BROKEN)).await.unwrap();
    assert_eq!((report.record.state, world.cloud.bill().len()), (ProvisionState::Failed, 2));
    let object = |kind, n| report.record.object(Subject::Virtual(kind, n)).unwrap();
    let why = object(VirtualKind::Image, 0).failure.clone().unwrap();
    assert!(why.contains("Error copying image in the datastore"), "{why}");
    assert!(object(VirtualKind::Image, 1).made().is_some());
    assert!(object(VirtualKind::Template, 0).made().is_some());
    let why = object(VirtualKind::Template, 1).failure.clone().unwrap();
    assert!(why.contains("refers-to-nothing"), "{why}");
    let told: Vec<Subject> = told.1.lock().unwrap().iter().map(|(subject, _)| *subject).collect();
    let expected = [(VirtualKind::Image, 0), (VirtualKind::Template, 1)];
    assert_eq!(told, expected.map(|(kind, n)| Subject::Virtual(kind, n)));

    // The provision's datastores have no image; those elsewhere are its own and go with it.
    assert_eq!(delete(&world, None).await.unwrap().record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "deleted").await;
}

#[tokio::test(start_paused = true)]
async fn an_image_in_error_is_made_anew_when_it_is_tried_again() {
    let world = world(Version::V6_10).await;
    let (engine, told) = deciding(&world, &[Decision::Retry, Decision::Retry]);
    let report = engine.create(request(&world, BROKEN)).await.unwrap();
    let image = report.record.object(Subject::Virtual(VirtualKind::Image, 0)).unwrap();
    assert_eq!(image.id, Some(2), "two were removed before");
    let images = world.client.images().pool().await.unwrap();
    assert_eq!(images.iter().filter(|image| image.name == "bad").count(), 1);
    let of_image = told.1.lock().unwrap().iter().filter(|(_, why)| why.contains("bad")).count();
    assert_eq!(of_image, 3);
}

#[tokio::test(start_paused = true)]
async fn to_clean_up_takes_its_own_images_along_and_leaves_those_of_others() {
    let world = world(Version::V7_4).await;
    let (engine, _) = deciding(&world, &[Decision::Cleanup]);
    let text =
        format!("{}{BROKEN}", template(&["a"])).replace("ds_id: 1", "ds_id: '${datastore.0.id}'");
    let report = engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "cleaned up").await;
}

#[tokio::test(start_paused = true)]
async fn vms_and_images_of_others_are_named_and_go_with_cleanup_only() {
    let world = world(Version::V6_10).await;
    let report = world.engine.create(request(&world, VIRTUALS)).await.unwrap();
    let one = &world.client;
    let datastore = DatastoreId(report.record.datastores[&0].id.unwrap());
    let mut foreign = Attributes::new();
    foreign.push("NAME", "foreign");
    foreign.push("SIZE", "1");
    foreign.push("TYPE", "DATABLOCK");
    let foreign = one.images().allocate(&foreign, datastore).await.unwrap();
    let host = report.record.hosts.values().next().unwrap().host_id.unwrap();
    let vm = format!("NAME=v\nCPU=1\nMEMORY=1\nDISK=[IMAGE_ID=\"{foreign}\"]");
    let vm = world.call("one.vm.allocate", &[vm.as_str().into(), false.into()]).await;
    world.call("one.vm.deploy", &[vm.into(), host.into(), false.into(), (-1).into()]).await;

    let refused = delete(&world, None).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("image {foreign} (foreign)")), "{refused}");
    assert!(refused.contains(&format!("has VM {vm};")), "{refused}");
    assert!(refused.ends_with("or delete them with it: --cleanup"), "{refused}");
    let hosts = Some(vec![model::HostId(host)]);
    let some = DeleteRequest { id: world.id(), hosts, cleanup: None };
    let refused = world.engine.delete(some).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("has VM {vm}")), "{refused}");
    assert!(!refused.contains("--cleanup") && !refused.contains("image"), "{refused}");
    assert_eq!(world.cloud.bill().len(), 2);

    let report = delete(&world, Some(20)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    world.check(&report.record).await;
    assert!(one.vms().pool().await.unwrap().iter().all(|there| there.id != VmId(vm)));
    assert_nothing_left(&world, "deleted").await;
}

/// OpenNebula deletes a system datastore with the disks of VMs.
#[tokio::test(start_paused = true)]
async fn a_datastore_with_disks_of_vms_stays() {
    let world = world(Version::V7_4).await;
    let text = template(&["a", "b"])
        .replace("datastores:\n", "datastores:\n- {name: sys, type: SYSTEM_DS, tm_mad: ssh}\n");
    let without = template(&["a", "b"]);
    let report = world.engine.create(world.request(&text)).await.unwrap();
    let datastore = report.record.datastores[&0].id.unwrap();
    let host = report.record.hosts.values().next().unwrap().host_id.unwrap();
    let vm = "NAME=v\nCPU=1\nMEMORY=1".into();
    let vm = world.call("one.vm.allocate", &[vm, false.into()]).await;
    world.call("one.vm.deploy", &[vm.into(), host.into(), false.into(), datastore.into()]).await;

    let (provision, kind) = (world.id(), engine::ObjectKind::Datastore);
    let alone = |force| engine::ObjectDeleteRequest { provision, kind, id: datastore, force };
    let refused = world.engine.delete_object(alone(false)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("VM {vm} (v) need it")), "{refused}");

    let spec = templates::load(&without);
    let update = engine::update::UpdateRequest {
        id: provision,
        template: "/u.yaml".into(),
        digest: String::new(),
        public_keys: vec![None; 2],
        replace: false,
        cleanup: None,
        shown: None,
        spec,
    };
    let refused = world.engine.update(update.clone()).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("has disks of VM {vm} (v)")), "{refused}");
    let is_there = async || {
        let pool = world.client.datastores().pool().await.unwrap();
        pool.iter().any(|there| there.id.0 == datastore)
    };
    assert!(is_there().await);

    world.client.vms().action(VmId(vm), "terminate-hard").await.unwrap();
    let report = world.engine.update(update).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert!(!is_there().await);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_go_keeps_the_machines() {
    let world = world(Version::V7_4).await;
    let report = world.engine.create(request(&world, VIRTUALS)).await.unwrap();
    let image = report.record.object(Subject::Virtual(VirtualKind::Image, 0)).unwrap().id.unwrap();
    // A VM that is on no host of the provision.
    let vm = format!("NAME=v\nCPU=1\nMEMORY=1\nDISK=[IMAGE_ID=\"{image}\"]");
    let vm = world.call("one.vm.allocate", &[vm.as_str().into(), false.into()]).await;
    // That is known before any VM is terminated.
    let mine = world.call("one.vm.allocate", &["CPU=1\nMEMORY=1".into(), false.into()]).await;
    world.call("one.vm.deploy", &[mine.into(), 0.into(), false.into(), (-1).into()]).await;
    let refused = delete(&world, Some(5)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("image {image} (img) is used by VM {vm}")), "{refused}");
    assert_eq!(world.client.vms().pool().await.unwrap().len(), 2);
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    assert_eq!((record.state, record.doomed), (ProvisionState::Ready, false));
    world.client.vms().action(VmId(vm), "terminate-hard").await.unwrap();

    world.refusing.refuse("one.image.delete", 0x800, "There are 1 VMs using it");
    let report = delete(&world, Some(5)).await.unwrap();
    assert_eq!((report.record.state, world.cloud.bill().len()), (ProvisionState::Failed, 2));
    let failures: Vec<_> = report.record.objects().filter_map(|o| o.failure.clone()).collect();
    assert!(failures.concat().contains("There are 1 VMs using it"), "{failures:?}");
    let shown = world.engine.overview(world.id()).await.unwrap().unwrap();
    assert_eq!(shown.status, engine::Status::Failed);
    assert!(world.engine.interrupted(&[report.record]).is_empty());

    // That its images go was said before.
    let resumed = ResumeRequest { id: world.id(), spec: None, public_keys: Vec::new() };
    let report = world.engine.resume(resumed).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert_nothing_left(&world, "resumed").await;
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_is_finished_by_resume_and_removed_by_delete() {
    const SMALL: &str = "\
images: [{name: i, ds_id: '${datastore.0.id}', size: 1, meta: {mode: '604', wait: true}}]
marketplaceapps: [{name: app, appid: 7, dsid: 1}]
templates: [{name: t, cpu: 1, memory: 1, disk: [{image_id: '${image.i.id}'}], meta: {uid: 0}}]
vntemplates: [{name: vn, vn_mad: bridge}]
flowtemplates: [{name: f, roles: [{name: r, vm_template: '${template.t.id}'}]}]
";
    let text = format!("{}{SMALL}", template(&["a"]));
    let create = |world: &World| {
        let (engine, request) = (world.engine.clone(), world.request(&text));
        async move { engine.create(request).await.unwrap() }
    };
    let new = || World::with_front_end(Cloud::listing(), front_end(Version::V7_4));
    let world = new();
    assert!(world.until(0, create(&world)).await.is_some());
    let points = world.bomb.passed();
    assert!(points > 90, "{points}");
    for point in 1..=points {
        for resumed in [true, false] {
            let world = new();
            assert!(world.until(point, create(&world)).await.is_none(), "point {point}");
            if world.journal.record(world.id()).await.unwrap().is_none() {
                continue;
            }
            if resumed {
                let spec = Some(templates::load(&text));
                let request = ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
                let report = world.engine.resume(request).await.unwrap();
                assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
                world.check(&report.record).await;
                let one = &world.client;
                let images = one.images().pool().await.unwrap();
                assert_eq!(images.len(), 2, "point {point}: {images:?}");
                let image = images.iter().find(|image| image.name == "i").unwrap();
                assert_eq!(image.permissions.octal(), 0o604, "point {point}");
                assert_eq!(one.templates().pool().await.unwrap().len(), 2, "point {point}");
                assert_eq!(one.vntemplates().pool().await.unwrap().len(), 1, "point {point}");
                assert_eq!(one.documents().pool(101).await.unwrap().len(), 1, "point {point}");
            }
            let report = delete(&world, Some(20)).await.unwrap();
            assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
            world.check(&report.record).await;
            assert_nothing_left(&world, &format!("point {point}, resumed {resumed}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_with_cleanup_killed_anywhere_is_finished_by_another_one() {
    let text = "name: web\ndatastores:\n- {name: d, ds_mad: fs, tm_mad: ssh}\n\
                images: [{name: i, ds_id: '${datastore.0.id}', size: 1}]\n";
    let removal = |world: &World| {
        let (engine, id) = (world.engine.clone(), world.id());
        async move { engine.delete(DeleteRequest { id, hosts: None, cleanup: Some(20) }).await.unwrap() }
    };
    let made = async || {
        let world = World::new();
        world.engine.create(world.request(text)).await.unwrap();
        world
    };
    let world = made().await;
    assert!(world.until(0, removal(&world)).await.is_some());
    let points = world.bomb.passed();
    for point in 1..=points {
        let world = made().await;
        assert!(world.until(point, removal(&world)).await.is_none(), "point {point}");
        let doomed = world.journal.record(world.id()).await.unwrap().unwrap().doomed;
        // Once it was begun, that images go needs not be said again.
        let cleanup = if doomed { None } else { Some(20) };
        let report = delete(&world, cleanup).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
        assert_nothing_left(&world, &format!("point {point}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_vm_is_terminated_before_the_removal_is_written_down() {
    let removal = |world: &World| {
        let (engine, id) = (world.engine.clone(), world.id());
        async move { engine.delete(DeleteRequest { id, hosts: None, cleanup: Some(20) }).await.unwrap() }
    };
    let made = async || {
        let world = World::new();
        let report = world.create(&["a"]).await;
        let host = report.record.hosts.values().next().unwrap().host_id.unwrap();
        let vm = "NAME=v\nCPU=1\nMEMORY=1";
        let vm = world.call("one.vm.allocate", &[vm.into(), false.into()]).await;
        world.call("one.vm.deploy", &[vm.into(), host.into(), false.into(), (-1).into()]).await;
        world
    };
    let world = made().await;
    assert!(world.until(0, removal(&world)).await.is_some());
    let points = world.bomb.passed();
    let mut terminated = 0;
    for point in 1..=points {
        let world = made().await;
        assert!(world.until(point, removal(&world)).await.is_none(), "point {point}");
        let doomed = world.journal.record(world.id()).await.unwrap().unwrap().doomed;
        if world.client.vms().pool().await.unwrap().is_empty() {
            terminated += 1;
            assert!(doomed, "point {point}: a VM is gone, and nothing says why");
        }
        let cleanup = if doomed { None } else { Some(20) };
        let report = delete(&world, cleanup).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
        assert_nothing_left(&world, &format!("point {point}")).await;
    }
    assert!(terminated > 0, "no point lies behind the VM's end");
}

/// OpenNebula's objects say neither which app they were nor under which name.
#[tokio::test(start_paused = true)]
async fn without_the_journal_an_app_is_planned_and_updated_like_other_objects() {
    let world = world(Version::V7_4).await;
    let text = |label: &str| {
        let app = "marketplaceapps: [{name: app, appid: 7, dsid: 1, vmname: app-vm}]\n";
        format!("{}cluster: {{label: {label}}}\n{app}", template(&["a"]))
    };
    world.engine.create(world.request(&text("a"))).await.unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = Engine { journal, ..world.engine.clone() };
    let plan = engine.plan(Some(world.id()), &templates::load(&text("a"))).await.unwrap();
    assert!(plan.changes.is_empty() && plan.refused.is_empty(), "{plan:?}");
    let update = world.update_request(&text("b"));
    let report = engine.update(update).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert_eq!(world.client.images().pool().await.unwrap().len(), 1);

    // With the journal it is known, and refused once.
    let other = templates::load(&text("b").replace("appid: 7", "appid: 8"));
    let plan = world.engine.plan(Some(world.id()), &other).await.unwrap();
    assert_eq!(plan.refused.len(), 1, "{:?}", plan.refused);
}
