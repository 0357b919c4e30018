//! A template that was exported means what it meant before.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Files, SMALL, rendered, spec};
use model::{Attributes, Secret, Value};
use template::{Options, SecretError, SecretReference, SecretSource, Spec, export, load};

/// Answers with the value that the test's templates have for that variable.
struct Environment;

impl SecretSource for Environment {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        match reference {
            SecretReference::Env(name) => match name.as_str() {
                "PACKET_TOKEN" => Ok(Secret::new("tok-123")),
                "OTHER_TOKEN" => Ok(Secret::new("other-token")),
                name => Err(SecretError(format!("{name} is not set"))),
            },
            other => Err(SecretError(format!("{other} was not expected"))),
        }
    }
}

fn plain(attributes: &mut Attributes) {
    for (_, value) in attributes.iter_mut() {
        match value {
            Value::Secret(secret) => *value = Value::Text(secret.expose().to_owned()),
            Value::Vector(inner) => plain(inner),
            _ => {}
        }
    }
}

/// Without places, and with secrets that can be compared.
fn normal(mut spec: Spec) -> Spec {
    let nowhere = template::Origin { file: String::new(), line: 0, column: 0 };
    let Spec { cluster, datastores, networks, .. } = &mut spec;
    for object in std::iter::once(cluster).chain(datastores).chain(networks) {
        object.origin = nowhere.clone();
        plain(&mut object.attributes);
        plain(&mut object.provision);
    }
    for host in &mut spec.hosts {
        host.origin = nowhere.clone();
        plain(&mut host.provision);
        plain(&mut host.connection.given);
    }
    for object in &mut spec.virtual_objects {
        object.origin = nowhere.clone();
    }
    spec
}

fn round_trip(text: &str) -> String {
    let before = spec(text);
    let exported = export(&before);
    assert!(!exported.yaml.contains("tok-123"), "{}", exported.yaml);
    let files = Files::default().with("t.yaml", exported.yaml.clone());
    let options = Options { secrets: Some(Arc::new(Environment)), ..Options::default() };
    let loaded = load(Path::new("t.yaml"), &files, &options);
    assert!(!loaded.has_errors(), "{}\n{}", rendered(&loaded), exported.yaml);
    assert_eq!(loaded.spec.map(normal), Some(normal(before)), "{}", exported.yaml);
    exported.yaml
}

#[test]
fn what_is_exported_means_the_same() {
    round_trip(SMALL);
    round_trip("name: empty\nplaybook: []\n");
    round_trip(
        "name: \"yes\"\ndescription: \"012: a # b\"\nplaybook: [a, \"x y.yml\"]\n\
         defaults:\n  provision: {driver: d, packet_token: tok-123}\n\
         cluster: {name: \"<%= @name %>\", reserved_cpu: 012, note: \"a\\nb\\n\"}\n\
         datastores:\n  - {name: s, tm_mad: ssh, type: system_ds, provision: {zone: z}, meta: {mode: 640, uname: oneadmin}}\n\
         networks:\n  - name: n\n    vn_mad: bridge\n    dns: 8.8.8.8\n    note: \"<%= @datastores[0]['ID'] %>\"\n    \
         ar:\n      - {ip: 10.0.0.1, type: IP4, size: 5}\n      - {type: ETHER, size: 6, packet_token: tok-123, other_token: other-token}\n\
         hosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    reserved_cpu: \"-100\"\n    \
         provision: {hostname: \"on\", count: 3, text: \" a \", empty: \"\"}\n    \
         connection: {remote_port: 2222, private_key: ~/key}\n    \
         configuration:\n      version: '5.10'\n      flag: yes\n      nested: {a: [1, 'two']}\n\
         images:\n  - {name: i, ds_id: \"<%= @datastores[0]['ID'] %>\", path: /a.img, meta: {wait: true, wait_timeout: 30}}\n\
         templates:\n  - {name: t, memory: 128, disk: [{image_id: \"<%= @images[0]['ID'] %>\"}, {size: 4}]}\n\
         flowtemplates:\n  - {name: f, deployment: straight, roles: [{name: r, vm_template: \"<%= @templates[0]['ID'] %>\"}]}\n",
    );
}

#[test]
fn what_is_exported_reads_well_and_has_no_secret() {
    insta::assert_snapshot!(round_trip(SMALL));
    let secret = spec(&format!(
        "{SMALL}datastores:\n  - {{name: s, tm_mad: ssh, type: system_ds, db_password: tok-123}}\n"
    ));
    let exported = export(&secret);
    assert!(!exported.yaml.contains("tok-123"), "{}", exported.yaml);
    assert_eq!(exported.to_fill_in, ["s"]);
    assert_eq!(exported.variables.keys().collect::<Vec<_>>(), ["PACKET_TOKEN"]);
    let files = Files::default().with("t.yaml", exported.yaml);
    assert!(files.load("t.yaml").has_errors(), "what is to be filled in is noticed");
}
