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
                "CONTENT" => Ok(Secret::new("plain: 1\n")),
                "CONTENT_2" => Ok(Secret::new("-----BEGIN PRIVATE KEY-----\ntok-123")),
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
        if let Some(Value::Secret(secret)) = &host.steps {
            host.steps = Some(Value::Text(secret.expose().to_owned()));
        }
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
        "name: pct\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    provision: {driver: d, hostname: h}\n    \
         configuration: {motd: '<% if x %>', '<% k': '<%= @id %> <%% y', list: ['<%', a]}\n",
    );
    round_trip(
        "name: quotes\ncluster: {a: '\\\"x\\\"', b: '\\\\\"x', c: '\"', d: 'e \"f \\\"\"'}\n\
         templates:\n  - {name: t, nic: [{a: 'b = \\\\\"c\\\\\"', d: 'b = \\\"c\\\"'}]}\n",
    );
    round_trip(
        "name: \"yes\"\ndescription: \"012: a # b\"\nplaybook: [a, \"x y.yml\"]\n\
         defaults:\n  provision: {driver: d, packet_token: tok-123}\n\
         cluster: {name: \"<%= @name %>\", reserved_cpu: 012, note: \"a\\nb\\n\", datastores: [1, \"0\", 1]}\n\
         datastores:\n  - {name: s, tm_mad: ssh, type: system_ds, replica_host: \"${updates.first_host}\", provision: {zone: z}, meta: {mode: 640, uname: oneadmin}}\n\
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
    assert!(exported.yaml.contains("db_password:\n      env: DB_PASSWORD"), "{}", exported.yaml);
    assert_eq!(exported.to_fill_in, [""; 0]);
    assert_eq!(exported.variables.keys().collect::<Vec<_>>(), ["DB_PASSWORD", "PACKET_TOKEN"]);
    let files = Files::default().with("t.yaml", exported.yaml);
    assert!(!files.load("t.yaml").has_errors());
}

#[test]
fn files_and_commands_are_exported_as_they_are() {
    let yaml = round_trip(
        "name: s\nansible: {ver_min: 2.10, ver_max: 2.17}\nfiles:\n  - {path: /a, content: \"<%= @id %>: ~\\n\\n x\\n\", mode: 0600, owner: 'a:b'}\n\
         \x20 - {path: /b, source: b, mode: 4755}\n  - {path: /c, content: ''}\n  - {path: /d, content: \"<%= '<%=' %> x\"}\n\
         configure: {commands: ['true', \"a: 'b' # c\\nd\", [echo, '~', '', 5, \"<%= @clusters[0]['ID'] %>\"]]}\n\
         hosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    provision: {driver: d, hostname: h, count: 2}\n    \
         connection: {private_key: agent, jump_hosts: 'op@gate:22,b'}\n    \
         configure: {commands: ['hostname h${index}']}\n",
    );
    assert!(
        yaml.contains("ansible:\n  ver_min: \"2.10\"\n") && yaml.contains("playbook: []\n"),
        "{yaml}"
    );
    assert!(yaml.contains("private_key: agent\n") && yaml.contains("hostname h1"), "{yaml}");
    // Which one of the contents is a secret is not known any more.
    let yaml = round_trip(&format!(
        "files:\n  - {{path: /a, content: \"plain: 1\\n\"}}\n  \
         - {{path: /b, content: \"-----BEGIN PRIVATE KEY-----\\ntok-123\"}}\n{SMALL}"
    ));
    assert_eq!(yaml.matches("env: CONTENT").count(), 4, "{yaml}");

    let mut withheld = spec(SMALL);
    withheld.hosts[1].steps = Some(Value::Withheld);
    let exported = export(&withheld);
    assert_eq!(exported.to_fill_in, ["h2"]);
    let loaded = Files::default().with("t.yaml", exported.yaml).load("t.yaml");
    assert!(rendered(&loaded).contains("this is a placeholder"), "{}", rendered(&loaded));
}
