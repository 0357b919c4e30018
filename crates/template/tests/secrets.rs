//! Secrets by reference.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Files, SMALL, findings, load_text, rendered};
use model::{Secret, Value};
use template::reference::{evaluate, evaluate_yaml};
use template::{
    Loaded, Lookup, ObjectKind, Options, SecretError, SecretReference, SecretSource, load,
};

/// Knows every secret but one, and remembers what it was asked for.
#[derive(Default)]
struct Vault(Mutex<Vec<SecretReference>>);

impl SecretSource for Vault {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        self.0.lock().map_err(|e| SecretError(e.to_string()))?.push(reference.clone());
        match reference {
            SecretReference::Env(name) if name == "NONE" => Err(SecretError("is not set".into())),
            other => Ok(Secret::new(format!("s3cret of {other}"))),
        }
    }
}

fn with(vault: &Arc<Vault>, text: &str) -> Loaded {
    let files = Files::default().with("dir/t.yaml", text);
    let secrets: Arc<dyn SecretSource> = Arc::clone(vault) as _;
    let options = Options { secrets: Some(secrets), ..Options::default() };
    load(Path::new("dir/t.yaml"), &files, &options)
}

#[test]
fn references_are_resolved_once_and_stay_secrets() {
    let text = SMALL
        .replace("packet_token: tok-123", "packet_token: {env: TOKEN}")
        .replace("plan: large", "plan: {file: keys/plan}\n      other: {file: ~/plan}")
        .replace("remote_port: 2222", "remote_port: {command: [get, port]}");
    let text = format!(
        "{text}networks:\n  - name: n\n    vn_mad: b\n    note: {{env: TOKEN}}\n    ar: [{{packet_token: {{env: TOKEN}}}}]\n"
    );
    let vault = Arc::new(Vault::default());
    let loaded = with(&vault, &text);
    assert_eq!(findings(&loaded), [""; 0], "{}", rendered(&loaded));
    let spec = loaded.spec.unwrap();
    let secret = |value: Option<&Value>| match value {
        Some(Value::Secret(secret)) => secret.expose().to_owned(),
        other => panic!("{other:?}"),
    };
    let (one, two) = (&spec.hosts[0], &spec.hosts[1]);
    let token = "s3cret of the environment variable TOKEN";
    assert_eq!(secret(one.provision.get("PACKET_TOKEN")), token);
    assert_eq!(secret(two.provision.get("PACKET_TOKEN")), token);
    assert_eq!(secret(two.provision.get("PLAN")), "s3cret of the file dir/keys/plan");
    assert_eq!(secret(two.provision.get("OTHER")), "s3cret of the file ~/plan");
    assert_eq!(secret(two.connection.given.get("REMOTE_PORT")), "s3cret of the command get");
    assert_eq!(secret(spec.networks[0].attributes.get("AR/PACKET_TOKEN")), token);
    assert_eq!(secret(spec.networks[0].attributes.get("NOTE")), token);
    assert_eq!(spec.networks[0].provision.get("PACKET_TOKEN"), None);
    assert_eq!(vault.0.lock().unwrap().len(), 4);
    assert!(!serde_json::to_string(&spec).unwrap().contains("s3cret"));
}

#[test]
fn without_anybody_who_gets_them_they_are_withheld() {
    let loaded = load_text(&SMALL.replace("tok-123", "{env: TOKEN}"));
    assert_eq!(findings(&loaded), [""; 0]);
    let spec = loaded.spec.unwrap();
    assert_eq!(spec.hosts[0].provision.get("PACKET_TOKEN"), Some(&Value::Withheld));
    assert_eq!(spec.cluster.provision.get("PACKET_TOKEN"), None);
}

#[test]
fn what_is_wrong_with_one_is_said_at_its_place() {
    for (value, finding) in [
        ("{env: NONE}", "e no-secret 6:17"),
        ("{env: [A]}", "e wrong-shape 6:17"),
        ("{env: }", "e wrong-shape 6:15"),
        ("{command: ls}", "e wrong-shape 6:21"),
        ("{command: []}", "e wrong-shape 6:21"),
        ("{command: [[a]]}", "e wrong-shape 6:21"),
        ("{file: {a: b}}", "e wrong-shape 6:18"),
        ("{env: A, file: b}", "e too-deep 6:11"),
        ("{vault: A}", "e too-deep 6:11"),
    ] {
        let loaded = with(&Arc::default(), &SMALL.replace("small", value));
        assert_eq!(findings(&loaded), [finding], "{value}");
    }
    let loaded = with(&Arc::default(), &SMALL.replace("small", "{env: NONE}"));
    assert!(rendered(&loaded).contains("the environment variable NONE is not set"));
    for (from, to, code) in [
        ("hostname: h1", "hostname: {env: A}", "wrong-shape"),
        ("driver: packet", "driver: {env: A}", "wrong-shape"),
    ] {
        let loaded = with(&Arc::default(), &SMALL.replace(from, to));
        assert_eq!(loaded.diagnostics[0].code, code, "{to}");
    }
}

#[test]
fn a_private_key_may_be_given_by_reference() {
    let loaded =
        with(&Arc::default(), &SMALL.replace("remote_port: 2222", "private_key: {file: a}"));
    let given = loaded.spec.map(|spec| spec.hosts[1].connection.given.clone());
    let is_path =
        given.is_some_and(|given| matches!(given.get("PRIVATE_KEY"), Some(Value::Text(_))));
    assert!(!is_path, "it is a secret, or there is none: {:?}", loaded.diagnostics);
}

struct Nothing;

impl Lookup for Nothing {
    fn name(&self) -> &str {
        "edge"
    }
    fn id(&self) -> &str {
        "0-0"
    }
    fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
        None
    }
}

#[test]
fn nothing_of_a_secret_is_a_reference() {
    let text = SMALL.replace("plan: large", "userdata: {file: 'a <% x %> <%= @hosts[0] %>'}");
    let loaded = with(&Arc::default(), &text);
    assert_eq!(findings(&loaded), [""; 0], "{}", rendered(&loaded));
    let spec = loaded.spec.unwrap();
    let value = spec.hosts[1].provision.get("USERDATA").and_then(Value::expose).unwrap();
    let meant = "s3cret of the file dir/a <% x %> <%= @hosts[0] %>";
    assert_eq!(evaluate(value, &Nothing).as_deref(), Ok(meant));
}

#[test]
fn variables_of_ansible_are_looked_at_one_by_one() {
    let text = SMALL.replace(
        "      hostname: h1\n",
        "      hostname: h1\n    configuration: {motd: '<% if x %>', '<%= k': '<%= @id %> <%% y', z: [<%]}\n",
    );
    let loaded = load_text(&text);
    assert_eq!(findings(&loaded), ["w not-a-reference 15:27", "w not-a-reference 15:74"]);
    let spec = loaded.spec.unwrap();
    let yaml = spec.hosts[0].configuration.expose().unwrap();
    assert_eq!(
        evaluate_yaml(yaml, &Nothing).as_deref(),
        Ok("motd: \"<% if x %>\"\n\"<%= k\": \"0-0 <% y\"\nz:\n  - \"<%\"\n")
    );
}
