//! Named providers: which one a host has, what it gives, and what is wrong with it.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked #[test] for tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Files, findings, rendered};
use model::{Parameter, ParameterType, Secret, Value};
use template::{
    DriverCatalog, Loaded, Options, Provider, ProviderValue, Providers, SecretError,
    SecretReference, SecretSource, load, load_provider, render,
};

struct Packet;

impl DriverCatalog for Packet {
    fn parameters(&self, driver: &str) -> Result<Option<Arc<[Parameter]>>, String> {
        let packet = vec![
            Parameter::new("packet_token", "API key").credential().required().aliases(["token"]),
            Parameter::new("packet_project", "Project").account().required(),
            Parameter::new("metro", "Place").allowed(["am", "ny"]),
            Parameter::new("disks", "How many").kind(ParameterType::Integer),
        ];
        match driver {
            "packet" => Ok(Some(packet.into())),
            "ec2" => Ok(None),
            other => Err(format!("there is no driver {other:?}")),
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["ec2".into(), "packet".into()]
    }
}

struct OneSecret;

impl SecretSource for OneSecret {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        match reference {
            SecretReference::Env(name) if name == "PROJECT" => Ok("p-env".into()),
            _ => Err(SecretError("is not set".to_owned())),
        }
    }
}

fn provider(id: i32, name: &str, driver: &str, values: &[(&str, ProviderValue)]) -> Provider {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Provider { id, name: name.into(), driver: driver.into(), description: String::new(), values }
}

fn text(text: &str) -> ProviderValue {
    ProviderValue::Text(text.to_owned())
}

fn options() -> Options {
    let token = ProviderValue::Secret("tok-1".into());
    let env = |name: &str| ProviderValue::Reference(SecretReference::Env(name.to_owned()));
    Options {
        drivers: Some(Arc::new(Packet)),
        secrets: Some(Arc::new(OneSecret)),
        providers: Providers::Known(vec![
            provider(
                7,
                "am",
                "packet",
                &[
                    ("PACKET_TOKEN", token.clone()),
                    ("PACKET_PROJECT", text("p-1")),
                    ("METRO", text("am")),
                ],
            ),
            provider(
                8,
                "ny",
                "packet",
                &[("PACKET_TOKEN", token.clone()), ("PACKET_PROJECT", env("PROJECT"))],
            ),
            provider(9, "poor", "packet", &[("PACKET_TOKEN", token)]),
            provider(10, "unset", "packet", &[("PACKET_PROJECT", env("NONE"))]),
            provider(11, "cloud", "ec2", &[]),
            provider(12, "gone", "vultr", &[]),
        ]),
        ..Options::default()
    }
}

fn read(text: &str, options: &Options) -> Loaded {
    load(Path::new("t.yaml"), &Files::default().with("t.yaml", text), options)
}

/// A template with this at the top, in `defaults.provision` and in the host's `provision`.
fn template(top: &str, defaults: &str, own: &str) -> String {
    format!(
        "name: x\n{top}\ndefaults: {{provision: {{{defaults}}}}}\nhosts:\n  - im_mad: kvm\n    \
         vm_mad: kvm\n    provision: {{hostname: h, {own}}}\n"
    )
}

#[test]
fn the_nearest_provider_counts() {
    for (top, defaults, own, chosen, expected) in [
        ("provider: am", "", "", None, "am"),
        ("provider: ny", "provider_name: am", "", None, "am"),
        ("provider: aws", "provider: am", "", None, "am"),
        ("provider: aws", "provider_name: aws", "", Some("am"), "am"),
        ("provider: am", "provider: am", "provider: ny", Some("am"), "ny"),
        ("", "driver: packet", "", Some("am"), "am"),
        ("", "driver: 'builtin:packet'", "provider: am", None, "am"),
    ] {
        let options = Options { provider: chosen.map(str::to_owned), drivers: None, ..options() };
        let loaded = read(&template(top, defaults, own), &options);
        assert!(!loaded.has_errors(), "{top} {defaults} {own}: {}", rendered(&loaded));
        let spec = loaded.spec.unwrap();
        let [host] = spec.hosts.as_slice() else { unreachable!() };
        assert!(host.driver.ends_with("packet"));
        assert_eq!(host.provider.as_ref().unwrap().name, expected, "{top} {defaults} {own}");
        assert_eq!(host.provision.text("PROVIDER"), Some(expected));
        assert!(host.provision.get("PROVIDER_NAME").is_none());
    }
}

#[test]
fn the_template_wins_over_its_provider() {
    let loaded = read(&template("provider: am", "metro: ny", "Token: own-tok"), &options());
    assert_eq!(findings(&loaded), Vec::<String>::new(), "{}", rendered(&loaded));
    let dump = loaded.dump().unwrap();
    assert!(!dump.contains("own-tok"), "{dump}");
    let spec = loaded.spec.unwrap();
    let host = &spec.hosts[0];
    let provision = &host.provision;
    assert_eq!(provision.text("METRO"), Some("ny"));
    assert_eq!(provision.text("PACKET_PROJECT"), Some("p-1"));
    assert!(provision.get("PACKET_TOKEN").is_none(), "the template gives it by another name");
    assert_eq!(provision.get("TOKEN"), Some(&Value::Secret("own-tok".into())));
    assert_eq!(host.provider.as_ref().unwrap().secrets, Vec::<String>::new());

    let loaded = read(&template("provider: ny", "", ""), &options());
    let spec = loaded.spec.unwrap();
    let host = &spec.hosts[0];
    assert_eq!(host.provision.get("PACKET_PROJECT"), Some(&Value::Secret("p-env".into())));
    let used = host.provider.as_ref().unwrap();
    assert_eq!(
        (used.document, used.secrets.as_slice()),
        (8, &["PACKET_TOKEN".to_owned(), "PACKET_PROJECT".to_owned()][..])
    );
    assert_eq!(spec.cluster.driver.as_deref(), Some("packet"), "objects have its driver, too");
}

#[test]
fn mistakes_point_at_the_line() {
    for (top, defaults, own, found) in [
        ("provider: amm", "", "", "e unknown-provider 2:11"),
        ("", "provider_name: equinix", "", "e unknown-provider 3:39"),
        ("", "", "provider: google", "e unknown-provider 7:40"),
        ("provider: am", "driver: ec2", "", "e bad-provider 3:32"),
        ("provider: poor", "", "", "e missing-parameter 2:11"),
        ("provider: unset", "packet_token: t", "", "e no-secret 2:11"),
        ("provider: gone", "", "", "e unknown-driver 2:11"),
        ("provider: [am]", "", "", "e wrong-shape 2:11"),
        ("provider: am", "", "dics: 1", "w unknown-parameter 7:30"),
        ("provider: am", "", "metro: nyc", "e bad-parameter 7:37"),
    ] {
        let loaded = read(&template(top, defaults, own), &options());
        let mut all = findings(&loaded);
        all.retain(|finding| !finding.starts_with("e missing-parameter 7"));
        assert!(all.contains(&found.to_owned()), "{top} {defaults} {own}: {}", rendered(&loaded));
        assert!(all.len() <= 2, "{}", rendered(&loaded));
    }
    let told = |top: &str| rendered(&read(&template(top, "", ""), &options()));
    assert!(told("provider: cloudd").contains("did you mean 'cloud'?"));
    assert!(told("provider: aws").contains("provider create aws --driver ec2 ec2_access=…"));
    assert!(told("provider: google").contains("no driver here works with 'google'"));
    // Who has not looked says so.
    let none = Options { providers: Providers::NotAsked, ..options() };
    let loaded = read(&template("provider: am", "", ""), &none);
    assert_eq!(loaded.providers, ["am"]);
    assert!(rendered(&loaded).contains("was not looked for"));
    let unreadable = Options { providers: Providers::Unreadable("no answer".into()), ..options() };
    assert!(rendered(&read(&template("provider: am", "", ""), &unreadable)).contains("no answer"));
    let chosen = Options { provider: Some("none".into()), ..options() };
    assert!(
        rendered(&read(&template("", "", ""), &chosen)).contains("there is no provider 'none'")
    );
}

/// A provider's file: the provider, or what is wrong.
fn file(text: &str) -> (Option<Provider>, String) {
    let files = Files::default().with("/p/p.yaml", text);
    let loaded = load_provider(Path::new("/p/p.yaml"), &files, &options());
    let told = loaded.diagnostics.iter().map(|d| render(d, &loaded.sources)).collect();
    (loaded.provider, told)
}

#[test]
fn a_provider_is_read_from_a_file() {
    let (read, told) = file(
        "name: am\ndescription: Ours\ndriver: packet\nparameters:\n  packet_token: {file: token}\n  \
         packet_project: p-1\n  token_two: abc-1\n",
    );
    assert!(told.contains("no parameter 'token_two'") && !told.contains("abc-1"), "{told}");
    let read = read.unwrap();
    assert_eq!(
        (read.name.as_str(), read.driver.as_str(), read.description.as_str()),
        ("am", "packet", "Ours")
    );
    assert_eq!(
        read.values,
        [
            (
                "PACKET_TOKEN".into(),
                ProviderValue::Reference(SecretReference::File("/p/token".into()))
            ),
            ("PACKET_PROJECT".into(), text("p-1")),
            ("TOKEN_TWO".into(), ProviderValue::Secret("abc-1".into())),
        ]
    );
    // As 6.10 has them.
    let (read, told) = file(
        "name: 'eq'\ndescription: 'x'\nprovider: 'equinix'\nplain:\n  provision_type: 'metal'\n\
         connection:\n  token: 'tok-9'\n  project: 'p'\n  metro: 'am'\ninputs:\n  - name: 'a'\n    type: 'text'\n",
    );
    let read = read.unwrap();
    assert_eq!(read.driver, "packet");
    assert_eq!(read.values[0], ("PACKET_TOKEN".into(), ProviderValue::Secret("tok-9".into())));
    assert_eq!(read.values[2], ("METRO".into(), text("am")));
    assert!(told.contains("'inputs' of a provider are not read"), "{told}");

    for (text, why) in [
        ("", "the file is empty"),
        ("- a", "a provider is a group of keys"),
        ("name: x", "there is no driver"),
        ("driver: pakcet", "did you mean 'packet'?"),
        ("driver: google\nname: x", "no driver here works with 'google'"),
        ("driver: packet\nparameters: [a]", "'parameters' takes a group of keys"),
        (
            "driver: packet\nparameters: {metro: {b: c}}",
            "'metro' is a single value, or where it is",
        ),
        ("driver: packet\nparameters: {metro: nyc}", "must be one of am, ny"),
        (
            "driver: packet\nparameters: {token: a, packet_token: b}",
            "'packet_token' is given twice",
        ),
        ("driver: [packet]", "'driver' takes a single value"),
    ] {
        let (read, told) = file(text);
        assert!(read.is_none() && told.contains(why), "{text}: {told}");
    }
    let (_, told) = file("driver: packet\nparameters: {metro: x, packet_token: [tok-8, {a: b}]}");
    assert!(!told.contains("tok-8"), "{told}");
}
