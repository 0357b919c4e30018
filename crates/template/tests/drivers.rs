//! Parameters of hosts against what their drivers say that they take.

#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked #[test] for tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Files, findings, rendered};
use model::{Parameter, ParameterType, Value};
use template::{DriverCatalog, Loaded, Options, load};

/// Two drivers that say what they take, and one that does not.
struct Two;

impl DriverCatalog for Two {
    fn parameters(&self, driver: &str) -> Result<Option<Arc<[Parameter]>>, String> {
        let packet = || {
            vec![
                Parameter::new("packet_token", "API key").credential().required(),
                Parameter::new("plan", "Size").required().allowed(["small", "large"]),
                Parameter::new("disks", "How many").kind(ParameterType::Integer).aliases(["disk"]),
                Parameter::new("pin", "Of the door").credential(),
                Parameter::new("access_mode", "How it is reached").public(),
                Parameter::new("note", ""),
            ]
        };
        match driver {
            "packet" | "builtin:packet" => Ok(Some(packet().into())),
            "empty" => Ok(Some(Arc::new([]))),
            "silent" => Ok(None),
            other => Err(format!("there is no driver {other:?} in /drivers")),
        }
    }

    fn names(&self) -> Vec<String> {
        ["empty", "packet", "silent"].map(str::to_owned).to_vec()
    }
}

fn read(text: &str) -> Loaded {
    let options = Options { drivers: Some(Arc::new(Two)), ..Options::default() };
    load(Path::new("t.yaml"), &Files::default().with("t.yaml", text), &options)
}

/// A template whose host has these parameters.
fn host(provision: &str) -> Loaded {
    read(&format!(
        "name: x\ndefaults:\n  provision: {{driver: packet, packet_token: t-1}}\nhosts:\n  \
         - im_mad: kvm\n    vm_mad: kvm\n    provision: {{hostname: h, {provision}}}\n"
    ))
}

#[test]
fn values_are_what_the_driver_takes() {
    for (provision, found) in [
        ("plan: small, disk: 2", vec![]),
        ("PLAN: large, Disks: '3'", vec![]),
        ("plan: small, deploy_timeout: 60, count: 1", vec![]),
        ("plan: smal", vec!["e bad-parameter 7:36"]),
        ("plan: small, disks: two", vec!["e bad-parameter 7:50"]),
        ("plan: small, disks: [1, 2]", vec!["e bad-parameter 7:50"]),
        ("plan: ''", vec!["e bad-parameter 7:36"]),
        ("plan: small, dics: 2", vec!["w unknown-parameter 7:43"]),
        ("note: x", vec!["e missing-parameter 7:5"]),
        ("plan: ~", vec!["e missing-parameter 7:5"]),
        // What is not known yet is not judged.
        ("plan: \"<%= @clusters[0]['ID'] %>\", disks: \"<%= @clusters[0]['ID'] %>\"", vec![]),
        ("plan: '${provision_id}'", vec![]),
        ("plan: {env: PLAN}", vec![]),
        // Of another driver.
        ("driver: silent, x: y", vec![]),
        ("driver: pakcet", vec!["e unknown-driver 7:38"]),
    ] {
        let loaded = host(provision);
        assert_eq!(findings(&loaded), found, "{provision}\n{}", rendered(&loaded));
    }
}

#[test]
fn a_mistake_is_told_once_and_with_what_helps() {
    let text = "name: x\ndefaults:\n  provision: {driver: packet, plan: smal, dics: 2}\nhosts:\n  \
                - {im_mad: kvm, vm_mad: kvm, count: 3, provision: {hostname: h}}\n  \
                - {im_mad: kvm, vm_mad: kvm, provision: {hostname: i, driver: pakcet}}\n";
    insta::assert_snapshot!(rendered(&read(text)));
}

#[test]
fn secrets_are_what_the_driver_says() {
    let loaded = host("plan: small, pin: pin-1234, access_mode: open-1234");
    assert_eq!(findings(&loaded), Vec::<String>::new());
    let dump = loaded.dump().unwrap();
    assert!(!dump.contains("pin-1234") && dump.contains("pin: \"*****\""), "{dump}");
    let spec = loaded.spec.unwrap();
    let provision = &spec.hosts[0].provision;
    assert!(matches!(provision.get("PIN"), Some(Value::Secret(_))));
    assert!(matches!(provision.get("PACKET_TOKEN"), Some(Value::Secret(_))));
    assert_eq!(provision.get("ACCESS_MODE"), Some(&Value::Text("open-1234".into())));
    // Without a description the name decides.
    let loaded = read(
        "name: x\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    provision: {hostname: h, \
         driver: silent, pin: pin-1234, access_mode: open-1234}\n",
    );
    let spec = loaded.spec.unwrap();
    let provision = &spec.hosts[0].provision;
    assert!(matches!(provision.get("PIN"), Some(Value::Text(_))));
    assert!(matches!(provision.get("ACCESS_MODE"), Some(Value::Secret(_))));
    // A message about the line shows nothing of it, and the value is not in the message.
    let loaded = host("plan: smal, pin: pin-1234");
    assert!(
        loaded.has_errors() && !rendered(&loaded).contains("pin-1234"),
        "{}",
        rendered(&loaded)
    );
}

#[test]
fn what_one_driver_calls_secret_is_hidden_in_defaults() {
    let text = "name: x\ndefaults:\n  provision: {driver: silent, pin: pin-1234}\nhosts:\n  \
                - {im_mad: kvm, vm_mad: kvm, provision: {hostname: h, driver: packet, plan: small}}\n";
    let loaded = read(text);
    assert_eq!(findings(&loaded), ["e missing-parameter 5:32"]);
    assert!(!loaded.dump().unwrap().contains("pin-1234"));
}
