//! Objects of a provision: datastores, networks, images and templates with owners and permissions;
//! what stands in the way of a delete; deletes of single objects.

use sandbox::{MarketApp, SandboxSettings, Version};

use crate::support::Home;
use crate::support::front_end::Release;

const TEMPLATE: &str = r#"---
name: edge
cluster: {name: edge}
defaults: {provision: {driver: dummy}}
datastores:
  - {name: edge-images, ds_mad: fs, tm_mad: ssh, meta: {gname: users, mode: 660}}
  - {name: edge-system, type: system_ds, tm_mad: ssh, meta: {uid: 0, mode: '0640'}}
networks:
  - name: edge-public
    vn_mad: dummy
    bridge: br0
    ar:
      - {ip: 10.0.0.1, size: 4, type: IP4, ipam_mad: dummy, note: kept}
      - {ip: 10.0.1.1, size: 4, type: IP4}
    meta: {gid: 1, mode: 644}
  - {name: edge-private, vn_mad: dummy, bridge: br1, meta: {uname: oneadmin, mode: 600}}
images:
  - name: edge-disk
    ds_id: <%= @datastores[0]['ID'] %>
    size: 8
    type: DATABLOCK
    meta: {gname: users, mode: 640, wait: true, wait_timeout: 30}
templates:
  - name: edge-vm
    cpu: 1
    memory: 64
    disk: [{image_id: "<%= @images[0]['ID'] %>"}]
    nic: [{network_id: "${network.edge-public.id}"}, {network_id: "${network.edge-private.id}"}]
    meta: {gname: users, mode: 604}
hosts:
  - {im_mad: dummy, vm_mad: dummy, provision: {hostname: edge-1, ip: 127.0.0.1}}
"#;

fn settings(version: Version) -> SandboxSettings {
    SandboxSettings { version, ..SandboxSettings::default() }
}

/// The cells of the first row of a list.
fn row(listed: &str) -> Vec<&str> {
    listed.lines().next().unwrap().split(',').collect()
}

#[test]
fn an_image_keeps_its_provision_until_it_is_cleaned_up() {
    for version in [Version::V6_10, Version::V7_4] {
        let home = Home::new();
        let one = Release::start(&home, settings(version));
        home.write("edge.yaml", TEMPLATE);
        let created = one.run(&home, &["create", "edge.yaml"]).exits(0);
        let id = created.says("image 0: ready").says("template 0: created as").id();

        let shown = one.run(&home, &["show", "-x", &id]).exits(0).stdout;
        let expected = "  <DATASTORES>\n    <ID>100</ID>\n    <ID>101</ID>\n  </DATASTORES>\n  \
                        <HOSTS>\n    <ID>0</ID>\n  </HOSTS>\n  \
                        <NETWORKS>\n    <ID>0</ID>\n    <ID>1</ID>\n  </NETWORKS>\n  \
                        <IMAGES>\n    <ID>0</ID>\n  </IMAGES>\n  \
                        <TEMPLATES>\n    <ID>0</ID>\n  </TEMPLATES>\n";
        assert!(shown.contains(expected), "{shown}");
        let json = one.run(&home, &["show", "-j", &id]).exits(0).json();
        assert_eq!(json["PROVISION"]["IMAGES"][0]["NAME"], "edge-disk");
        assert_eq!(json["PROVISION"]["IMAGES"][0]["STATE"], "rdy");
        let list = |kind: &str| one.run(&home, &[kind, "list", "--csv", "--no-header"]).stdout;
        assert_eq!(
            row(&list("image"))[..5],
            ["0", "oneadmin", "users", "edge-disk", "edge-images"]
        );
        assert_eq!(row(&list("template")), ["0", "oneadmin", "users", "edge-vm"]);
        assert_eq!(row(&list("vnet"))[..4], ["0", "oneadmin", "users", "edge-public"]);

        let refused = one.run(&home, &["delete", &id]).one_error();
        assert!(refused.contains("image 0 (edge-disk) in datastore 100"), "{refused}");
        assert!(refused.contains("--cleanup"), "{refused}");
        assert_eq!(home.bill().len(), 1);

        let deleted = one.run(&home, &["delete", "--cleanup", &id]).exits(0);
        deleted.says(&format!("Provision {id} is deleted. No machine exists."));
        assert_eq!(home.bill().len(), 0);
        for kind in ["host", "cluster", "datastore", "vnet", "image", "template"] {
            assert_eq!(list(kind), "", "{kind}");
        }
        assert_eq!(one.run(&home, &["list", "--no-header"]).exits(0).stdout, "");
    }
}

#[test]
fn objects_are_deleted_one_by_one_and_what_needs_them_is_said() {
    let home = Home::new();
    let one = Release::start(&home, settings(Version::V7_4));
    let services = "flowtemplates:\n  - name: edge-service\n    roles:\n      \
                    - {name: front, vm_template: '${template.edge-vm.id}'}\n";
    home.write("edge.yaml", format!("{TEMPLATE}{services}"));
    let id = one.run(&home, &["create", "edge.yaml"]).exits(0).id();

    for (kind, name, needs) in [
        ("image", "edge-disk", "template 0 (edge-vm)"),
        ("vnet", "edge-public", "template 0 (edge-vm)"),
        ("template", "edge-vm", "service template"),
        ("datastore", "100", "image 0"),
        ("cluster", "edge", "datastore 100 (edge-images)"),
    ] {
        let refused = one.run(&home, &[kind, "delete", name]).one_error();
        assert!(refused.contains(needs), "{kind}: {refused}");
    }
    // What is refused of several is refused like one alone.
    let refused = one.run(&home, &["datastore", "delete", "100", "101"]).exits(255);
    let refused = refused.says("datastore 1: deleted").says("image 0 need it");
    assert!(refused.stderr.contains("explain OP-REFUSED"), "{}", refused.stderr);
    let unknown = one.run(&home, &["image", "delete", "7"]).one_error();
    assert!(unknown.contains('7') && unknown.contains("image"), "{unknown}");

    one.run(&home, &["flowtemplate", "delete", "edge-service"]).exits(0);
    one.run(&home, &["image", "delete", "-F", "0"]).exits(0).says("image 0: deleted");
    one.run(&home, &["template", "delete", "edge-vm"]).exits(0);
    one.run(&home, &["network", "delete", "0..1"]).exits(0).says("network 1: deleted");
    assert_eq!(one.run(&home, &["vnet", "list", "--no-header"]).exits(0).stdout, "");

    // Nothing stands in the way any more, and what is gone already is no error.
    one.run(&home, &["delete", &id]).exits(0).says("No machine exists.");
    assert_eq!(one.run(&home, &["list", "--no-header"]).exits(0).stdout, "");
}

#[test]
fn an_image_that_fails_leaves_the_hosts_and_is_made_anew() {
    let home = Home::new();
    let app = MarketApp {
        id: 3,
        name: "Small".to_owned(),
        app_type: 1,
        size: 16,
        source: "/nowhere/app".to_owned(),
        vm_template: "CPU=1\nMEMORY=64".to_owned(),
        ..MarketApp::default()
    };
    let failing = SandboxSettings {
        apps: vec![app],
        failing_paths: vec!["/nowhere".to_owned()],
        ..settings(Version::V6_10)
    };
    let one = Release::start(&home, failing);
    let text = TEMPLATE.replace(
        "hosts:\n",
        "marketplaceapps:\n  - {name: app, appname: Small, dsid: 1}\nhosts:\n",
    );
    home.write("edge.yaml", text);
    let created = one.run(&home, &["create", "--wait-ready", "edge.yaml"]).exits(255);
    let created = created.says("Error copying image in the datastore");
    let id = created.id();
    assert_eq!(home.bill().len(), 1);
    // What does not refer to it is there.
    let templates = one.run(&home, &["template", "list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(templates.contains("edge-vm"), "{templates}");

    let again = one.run(&home, &["resume", "--fail-retry", "1", &id]).exits(255);
    again.says("image 1: deleted");
    one.run(&home, &["delete", "--cleanup", "--cleanup-timeout", "60", &id]).exits(0);
    assert_eq!(one.run(&home, &["image", "list", "--no-header"]).exits(0).stdout, "");
}
