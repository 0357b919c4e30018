//! Virtual objects: typed, checked, in the order of their creation.

mod common;

use common::{SMALL, findings, load_text, rendered, spec};
use model::Value;
use template::reference::evaluate_json;
use template::{Lookup, ObjectKind, Spec, VirtualKind};

fn with(sections: &str) -> template::Loaded {
    load_text(&format!("{SMALL}{sections}"))
}

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn good(sections: &str) -> Spec {
    let loaded = with(sections);
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    loaded.spec.unwrap()
}

const ALL: &str = "\
flowtemplates:
  - name: service
    deployment: straight
    roles:
      - {name: front, vm_template: 0, cardinality: 2.5, shutdown: '0', wait: true, x: ~}
      - {name: back, vm_template: \"<%= @templates[1]['ID'] %>\", note: \"a <%= @name %>\"}
vntemplates:
  - {name: vn, vn_mad: bridge, cluster_ids: '${cluster.0.id}', ar: [{ip: 10.0.0.1, size: 2}]}
templates:
  - name: vm
    memory: 1
    disk:
      - image_id: ${image.img.id}
      - image_id: ${image.app.id}
  - {name: vm2, cpu: 1, of: '${template.app-vm.id}'}
marketplaceapps:
  - {name: app, vmname: app-vm, appid: 238, dsid: 1, tag: x}
images:
  - name: img
    ds_id: <%= @clusters[0]['ID'] %>
    size: 2048
    meta: {wait: true, wait_timeout: 30, uname: u, gid: 1, mode: 644}
";

#[test]
fn objects_come_in_the_order_of_their_creation() {
    let spec = good(ALL);
    let names: Vec<_> = spec.virtual_objects.iter().map(|o| (o.kind, o.name.as_str())).collect();
    assert_eq!(
        names,
        [
            (VirtualKind::Image, "img"),
            (VirtualKind::MarketplaceApp, "app"),
            (VirtualKind::Template, "vm"),
            (VirtualKind::Template, "vm2"),
            (VirtualKind::Vntemplate, "vn"),
            (VirtualKind::Flowtemplate, "service"),
        ]
    );
    let [image, app, vm, vm2, vn, _] = spec.virtual_objects.as_slice() else { panic!() };
    assert_eq!(image.attributes.text("DS_ID"), Some("<%= @clusters[0]['ID'] %>"));
    assert_eq!((image.attributes.get("META"), image.attributes.get("NAME")), (None, None));
    let meta = image.meta.clone().unwrap();
    assert_eq!((meta.wait, meta.wait_timeout, meta.mode), (Some(true), Some(30), Some(0o644)));
    assert_eq!((meta.uname.as_deref(), meta.gid), (Some("u"), Some(1)));
    assert_eq!(app.attributes.text("APPID"), Some("238"));
    // An app is an image behind the images, and a template before the templates.
    let disks: Vec<_> = vm.attributes.all("DISK").collect();
    let id = |disk: &Value| match disk {
        Value::Vector(disk) => disk.text("IMAGE_ID").map(str::to_owned),
        _ => None,
    };
    assert_eq!(id(disks[0]).as_deref(), Some("<%= @images[0]['ID'] %>"));
    assert_eq!(id(disks[1]).as_deref(), Some("<%= @images[1]['ID'] %>"));
    assert_eq!(vm2.attributes.text("OF"), Some("<%= @templates[0]['ID'] %>"));
    assert_eq!(vn.attributes.text("AR/SIZE"), Some("2"));
    assert_eq!(image.origin.to_string(), "t.yaml:40:5");
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap().virtual_objects, spec.virtual_objects);
}

#[test]
fn a_service_template_is_json() {
    struct Ids;
    impl Lookup for Ids {
        fn name(&self) -> &str {
            "a \"name\""
        }
        fn id(&self) -> &str {
            "i"
        }
        fn attribute(&self, _: ObjectKind, index: usize, path: &str) -> Option<String> {
            (path == "ID").then(|| (index + 40).to_string())
        }
    }
    let spec = good(ALL);
    let body = spec.virtual_objects[5].body.as_ref().and_then(Value::expose).unwrap();
    let value: serde_json::Value =
        serde_json::from_str(&evaluate_json(body, &Ids).unwrap()).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "name": "service",
            "deployment": "straight",
            "roles": [
                {"name": "front", "vm_template": 0, "cardinality": 2.5, "shutdown": "0",
                 "wait": true, "x": null},
                {"name": "back", "vm_template": 41, "note": "a edge"},
            ],
        })
    );
    let text = evaluate_json(r#"["<%= @name %>", "x<%= @images[0]['ID'] %>", 1]"#, &Ids).unwrap();
    assert_eq!(text, r#"["a \"name\"","x40",1]"#);
    assert!(evaluate_json("{", &Ids).is_err());
    assert!(evaluate_json(r#"["<%= @images[0]['NO'] %>"]"#, &Ids).is_err());

    let secret = good("flowtemplates: [{name: s, roles: [], custom: {db_password: s3cret}}]\n");
    assert!(matches!(&secret.virtual_objects[0].body, Some(Value::Secret(_))));
    assert!(!format!("{secret:?}{}", serde_json::to_string(&secret).unwrap()).contains("s3cret"));
}

#[test]
fn wrong_objects_are_found() {
    for (sections, finding) in [
        ("images: [{name: i}]\n", "e missing-key 22:10"),
        ("images: [{ds_id: 1}]\n", "e missing-key 22:10"),
        ("images: [{name: i, ds_id: x}]\n", "e bad-value 22:27"),
        ("images: [{name: i, ds_id: 1}, {name: i, ds_id: 1}]\n", "e duplicate 22:38"),
        ("images: [{name: a/b, ds_id: 1}]\n", "e bad-name 22:17"),
        ("images: [{name: i, ds_id: 1, a: {b: {c: d}}}]\n", "e too-deep 22:37"),
        ("images: [{name: i, ds_id: 1, meta: {wait: x}}]\n", "e bad-value 22:43"),
        ("images: [{name: i, ds_id: 1, meta: {wait_timeout: 0}}]\n", "e bad-value 22:51"),
        ("templates: [{name: t, meta: {wait: true}}]\n", "w ignored-key 22:30"),
        ("images: 3\n", "e wrong-shape 22:9"),
        ("marketplaceapps: [{name: a, dsid: 1}]\n", "e missing-key 22:19"),
        ("marketplaceapps: [{name: a, appname: b}]\n", "e missing-key 22:19"),
        ("vntemplates: [{name: a, vn_mda: b}]\n", "e missing-key 22:15"),
        ("flowtemplates: [{name: a}]\n", "w missing-key 22:17"),
        (
            "templates: [{name: t, a: \"<%= @vntemplates[0]['ID'] %>\"}]\nvntemplates: [{name: v, vn_mad: b}]\n",
            "e bad-reference 22:27",
        ),
        ("templates: [{name: t, a: '${image.i.id}'}]\n", "e bad-reference 22:27"),
    ] {
        let loaded = with(sections);
        let found = findings(&loaded);
        assert!(found.iter().any(|found| found == finding), "{sections}{found:?}");
    }
}

#[test]
fn marks_that_the_text_form_needed_escaped_are_so_no_more_where_it_was_used() {
    let spec = spec(
        r#"
name: quotes
playbook: []
defaults: {provision: {driver: d, note: 'a \"b\"'}}
cluster: {reserved: '\"x\"'}
networks:
  - {name: n, vn_mad: bridge, ar: [{ip: 10.0.0.1, size: 2, type: IP4, note: 'a \"b\"'}]}
hosts:
  - im_mad: kvm
    vm_mad: kvm
    note: 'a \"b\"'
    provision: {hostname: h}
    configuration: {v: 'a \"b\"'}
templates:
  - name: web
    script: 'echo "a \"b\""'
    list: ['\"a\"', b]
    nic: [{network_mode: auto, sched_requirements: 'NETROLE = \"public\"'}]
flowtemplates:
  - {name: f, deployment: straight, roles: [{name: 'a \"b\"'}]}
"#,
    );
    let plain = Some(r#"a "b""#);
    assert_eq!(spec.cluster.attributes.text("RESERVED"), Some(r#""x""#));
    assert_eq!(spec.cluster.provision.text("NOTE"), plain);
    assert_eq!(spec.networks[0].attributes.text("AR/NOTE"), plain);
    let web = &spec.virtual_objects[0].attributes;
    assert_eq!(web.text("NIC/SCHED_REQUIREMENTS"), Some(r#"NETROLE = "public""#));
    assert_eq!(web.text("LIST"), Some(r#""a",b"#));
    // The text form could not hold this, so it is meant as it stands.
    assert_eq!(web.text("SCRIPT"), Some(r#"echo "a \"b\"""#));
    // The original escaped the marks of hosts itself, and sent services as JSON.
    let host = &spec.hosts[0];
    let written = Some(r#"a \"b\""#);
    assert_eq!(host.attributes.text("NOTE"), written);
    assert_eq!(host.provision.text("NOTE"), written);
    assert_eq!(host.configuration.expose(), Some("v: \"a \\\\\\\"b\\\\\\\"\"\n"));
    let body = spec.virtual_objects[1].body.as_ref().and_then(model::Value::expose);
    let body: serde_json::Value = serde_json::from_str(body.unwrap()).unwrap();
    assert_eq!(body["roles"][0]["name"].as_str(), written);
}

#[test]
fn a_service_has_the_truths_of_yaml_1_1_and_numbers_as_they_are_written() {
    let loaded = load_text(
        "name: s\nplaybook: []\nflowtemplates:\n  - name: f\n    ready_status_gate: no\n    \
         roles: [{a: Off, b: YES, c: on, d: 'no', e: !!str no, f: y, g: 5}]\n    custom: {h: 012}\n",
    );
    assert_eq!(findings(&loaded), ["w changed-value 7:17"], "{}", rendered(&loaded));
    let spec = loaded.spec.unwrap();
    let body = spec.virtual_objects[0].body.as_ref().and_then(Value::expose).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(body).unwrap(),
        serde_json::json!({
            "name": "f",
            "ready_status_gate": false,
            "roles": [{"a": false, "b": true, "c": true, "d": "no", "e": "no", "f": "y", "g": 5}],
            "custom": {"h": "012"},
        })
    );
}
