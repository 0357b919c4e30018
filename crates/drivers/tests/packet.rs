//! The packet driver against a cloud with a bill, through its public face, and, if the description of
//! the API and `prism` are there, with every request and answer checked against that description.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use driver::{
    Call, DeploymentFile, Driver, FailureKind, MachineState, PollReport, ShutdownKind, Unwatched,
};
use drivers::Pace;
use drivers::packet::Packet;
use model::{DeployId, HostId, Secret, Value};
use testkit::packet::{FakePacket, Fault, On, PROJECT, TOKEN};

/// As fast as a test wants it.
fn driver() -> Packet {
    let look = Duration::from_millis(20);
    Packet::new(Pace { look, settle: Duration::from_millis(300), patience: Duration::from_secs(5) })
}

fn call(endpoint: &str, key: &str, parameters: &[(&str, &str)]) -> Call {
    let mut host = DeploymentFile {
        id: Some(HostId(7)),
        name: format!("provision-{key}"),
        ..DeploymentFile::default()
    };
    let context = host.template.vector_mut("CONTEXT");
    context.push("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA me@here\nssh-rsa \"BBBB\" you");
    let provision = host.template.vector_mut("PROVISION");
    provision.push("PACKET_ENDPOINT", endpoint);
    provision.push("PACKET_TOKEN", Value::Secret(Secret::new(TOKEN)));
    provision.push("PACKET_PROJECT", PROJECT);
    provision.push("PROVISION_ID", "prov-1");
    provision.push("PLAN", "c3.small.x86");
    provision.push("OS", "ubuntu_22_04");
    provision.push("METRO", "sv");
    for (name, value) in parameters {
        provision.set(*name, *value);
    }
    let deadline = Duration::from_secs(20);
    Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
}

async fn until_up(driver: &Packet, call: &Call, id: &DeployId) -> PollReport {
    for _ in 0..50 {
        let report = driver.poll(call, id).await.unwrap();
        if report.is_up() {
            return report;
        }
        assert_eq!(report.state, Some(MachineState::Paused));
    }
    panic!("it never came up");
}

/// Every action once, from the order to the bill.
async fn life(endpoint: &str) {
    let driver = driver();
    let call = call(endpoint, "k1", &[("TAGS", "blue, green"), ("HOSTNAME", "node-1")]);
    let id = driver.deploy(&call).await.unwrap();
    assert_eq!(driver.deploy(&call).await.unwrap(), id, "one key, one device");
    let report = until_up(&driver, &call, &id).await;
    let line = report.to_line();
    for part in [
        "STATE=a GUEST_IP_ADDRESSES=\"198.51.100.1,2604:1380::1,10.80.0.1\"",
        "CPU=200 MEMORY=33554432 NETRX=1500 NETTX=70",
        "PLAN=c3.small.x86 OS=ubuntu_22_04 FACILITY=sv15 METRO=sv HOSTNAME=node-1 \
         BILLING_CYCLE=hourly",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("r00t-secret"), "{line}");

    driver.reboot(&call, &id).await.unwrap();
    driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    driver.shutdown(&call, &id, ShutdownKind::Undeploy).await.unwrap();
    let off = driver.poll(&call, &id).await.unwrap();
    assert_eq!(off.state, Some(MachineState::Gone));
    let mut resume = call.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(driver.deploy(&resume).await.unwrap(), id);
    until_up(&driver, &call, &id).await;
    driver.reset(&call, &id).await.unwrap();
    assert!(driver.poll(&call, &id).await.unwrap().is_up());

    let listed = driver.list(&call).await.unwrap();
    assert_eq!(listed.len(), 1);
    let marks = ["KEY", "NAME", "PROVISION_ID", "HOSTNAME", "CREATED", "IP"];
    let told = marks.map(|key| listed[0].attributes.text(key).unwrap().to_owned());
    assert_eq!(told, ["k1", "provision-k1", "prov-1", "node-1", "1767323045", "198.51.100.1"]);
    assert_eq!(driver.recover(&call, None).await.unwrap(), Some(id.clone()));

    driver.cancel(&call, &id).await.unwrap();
    for gone in [driver.cancel(&call, &id).await, driver.poll(&call, &id).await.map(drop)] {
        assert_eq!(gone.unwrap_err().kind, FailureKind::NotFound);
    }
    assert_eq!(driver.recover(&call, None).await.unwrap(), None);
}

#[tokio::test]
async fn a_devices_life() {
    let cloud = FakePacket::start(2);
    life(&cloud.endpoint()).await;
    assert_eq!((cloud.ever(), cloud.billed().len()), (1, 0));
}

#[tokio::test]
async fn the_order_has_what_5_12_sent() {
    let cloud = FakePacket::start(0);
    let more = [
        ("METRO", ""),
        ("FACILITY", "ams1,sjc1"),
        ("BILLING_CYCLE", "monthly"),
        ("HARDWARE_RESERVATION", "next-available"),
        ("TAGS", "blue,OpenNebula"),
    ];
    driver().deploy(&call(&cloud.endpoint(), "k1", &more)).await.unwrap();
    assert_eq!(
        cloud.last_order().unwrap(),
        serde_json::json!({
            "plan": "c3.small.x86",
            "operating_system": "ubuntu_22_04",
            "hostname": "provision-k1",
            "billing_cycle": "monthly",
            "facility": ["ams1", "sjc1"],
            "hardware_reservation_id": "next-available",
            "tags": ["OpenNebula", "ONE_HOST_ID=7", "ONEPROVISION_KEY=k1",
                     "ONEPROVISION_HOST=provision-k1", "ONEPROVISION_ID=prov-1", "blue"],
            "userdata": "#cloud-config\nssh_authorized_keys:\n  - \"ssh-ed25519 AAAA me@here\"\n  - \
                         \"ssh-rsa \\\"BBBB\\\" you\"\n",
        })
    );
    let given = [("USERDATA", "#!/bin/sh\ntrue")];
    driver().deploy(&call(&cloud.endpoint(), "k2", &given)).await.unwrap();
    assert_eq!(cloud.last_order().unwrap()["userdata"], "#!/bin/sh\ntrue");
}

#[tokio::test]
async fn every_refusal_names_the_parameter_and_makes_nothing() {
    let cloud = FakePacket::start(0);
    let endpoint = cloud.endpoint();
    for (name, value, said) in [
        (
            "PACKET_TOKEN",
            "wrong-token",
            &["Invalid authentication token *****", "packet_token"][..],
        ),
        ("PACKET_TOKEN", "", &["parameter packet_token is missing: API key"]),
        ("PACKET_PROJECT", "cafebabe-0", &["Not found (HTTP 404)", "packet_project"]),
        ("PACKET_PROJECT", "../devices", &["packet_project must be the UUID"]),
        ("PACKET_ENDPOINT", "ftp://x", &["packet_endpoint must be an address"]),
        ("PACKET_ENDPOINT", "http://127.0.0.1:1/", &["Connection refused", "packet_endpoint"]),
        ("PLAN", "huge", &["huge is not a valid plan (HTTP 422)", "Check the parameter plan."]),
        ("PLAN", "sold.out.x86", &["no provisionable", "Check the parameter facility."]),
        ("OS", "plan9", &["Operating system is not valid", "Check the parameter os."]),
        ("METRO", "nowhere", &["nowhere is not a valid metro", "parameter metro."]),
        ("METRO", "", &["parameter metro (or facility) is missing"]),
        ("FACILITY", "ams1", &["metro and facility exclude each other"]),
        ("BILLING_CYCLE", "never", &["billing_cycle must be one of hourly"]),
    ] {
        let mut call = call(&endpoint, "k1", &[]);
        let provision = call.host.template.vector_mut("PROVISION");
        match name {
            "PACKET_TOKEN" => provision.set(name, Value::Secret(Secret::new(value))),
            _ => provision.set(name, value),
        }
        call.deadline = Duration::from_secs(2);
        let error = driver().deploy(&call).await.unwrap_err();
        assert_eq!((error.kind, error.deploy_id), (FailureKind::Definite, None), "{name}={value}");
        for part in said {
            assert!(error.message.contains(part), "{name}={value}: {}", error.message);
        }
        assert!(!error.message.contains("wrong-token"), "{}", error.message);
    }
    cloud.quota(0);
    let error = driver().deploy(&call(&endpoint, "k1", &[])).await.unwrap_err();
    assert!(error.message.contains("maximum number of devices"), "{}", error.message);
    assert_eq!(cloud.ever(), 0);
}

#[tokio::test]
async fn whatever_happens_to_an_order_there_is_one_device_and_it_is_named() {
    for fault in [Fault::Throttle(0), Fault::LoseAnswer, Fault::HalfAnswer, Fault::TroubledAfter] {
        let cloud = FakePacket::start(0);
        cloud.fault(On::Create, fault, 1);
        let call = call(&cloud.endpoint(), "k1", &[]);
        let id = driver().deploy(&call).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(cloud.billed(), [id.to_string()], "{fault:?}");
        let orders = if matches!(fault, Fault::Throttle(_)) { 2 } else { 1 };
        assert_eq!(cloud.calls(On::Create), orders, "{fault:?}");
        driver().cancel(&call, &id).await.unwrap();
        assert!(cloud.billed().is_empty());
    }
}

#[tokio::test]
async fn an_order_that_got_lost_is_known_to_be_lost() {
    for fault in [Fault::LoseRequest, Fault::Answer(502, "<h1>Bad Gateway</h1>")] {
        let cloud = FakePacket::start(0);
        cloud.fault(On::Create, fault, 1);
        let error = driver().deploy(&call(&cloud.endpoint(), "k1", &[])).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite, "{error}");
        assert!(error.message.contains("there is no machine of it"), "{error}");
        assert_eq!((cloud.ever(), cloud.calls(On::Create)), (0, 1));
    }
}

#[tokio::test]
async fn an_order_is_unknown_while_nobody_can_look_and_found_when_one_can() {
    let cloud = FakePacket::start(0);
    let mut call = call(&cloud.endpoint(), "k1", &[]);
    call.deadline = Duration::from_secs(2);
    cloud.fault(On::Create, Fault::Hang, 1);
    let error = driver().deploy(&call).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    assert!(error.message.contains("ONEPROVISION_KEY=k1"), "{error}");
    assert_eq!(cloud.billed().len(), 1);
    call.deadline = Duration::from_secs(20);
    let id = driver().recover(&call, None).await.unwrap().unwrap();
    driver().cancel(&call, &id).await.unwrap();
    assert!(cloud.billed().is_empty());
}

#[tokio::test]
async fn questions_are_repeated_and_their_failure_says_nothing_of_the_device() {
    let cloud = FakePacket::start(0);
    let mut call = call(&cloud.endpoint(), "k1", &[]);
    let id = driver().deploy(&call).await.unwrap();
    for fault in [
        Fault::Throttle(0),
        Fault::LoseAnswer,
        Fault::HalfAnswer,
        Fault::Answer(200, "<html>Sign in to the hotel's network</html>"),
        Fault::Answer(500, "oops"),
    ] {
        cloud.fault(On::Look, fault, 2);
        let report = driver().poll(&call, &id).await.unwrap();
        assert!(report.is_up(), "{fault:?}");
    }
    call.deadline = Duration::from_secs(2);
    for (fault, said) in [
        (Fault::Answer(500, "<p>down for ten minutes</p>"), "down for ten minutes (HTTP 500)"),
        (Fault::Answer(200, "[1"), "[1 (HTTP 200)"),
        (Fault::Answer(200, "{}"), "another thing"),
        (Fault::Hang, "no answer came in time"),
    ] {
        cloud.fault(On::Look, fault, 1000);
        let error = driver().poll(&call, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Unknown, "{error}");
        assert!(error.message.contains(said), "{error}");
        let error = driver().cancel(&call, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Unknown, "{error}");
        cloud.clear_faults();
    }
    assert_eq!(cloud.billed().len(), 1);
}

#[tokio::test]
async fn not_found_is_believed_only_from_who_may_see_the_project() {
    let cloud = FakePacket::start(0);
    let ours = call(&cloud.endpoint(), "k1", &[]);
    let id = driver().deploy(&ours).await.unwrap();
    // One wrong "not found": the list has it.
    cloud.fault(On::Look, Fault::Answer(404, r#"{"error":"Not found"}"#), 1);
    assert!(driver().poll(&ours, &id).await.is_ok());
    let elsewhere = call(&cloud.endpoint(), "k1", &[("PACKET_PROJECT", "cafebabe-1")]);
    cloud.fault(On::Look, Fault::Answer(404, r#"{"error":"Not found"}"#), 1);
    let error = driver().cancel(&elsewhere, &id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite, "{error}");
    assert!(error.message.contains("packet_project"), "{error}");
    let no_id = DeployId::new("../projects").unwrap();
    assert_eq!(driver().poll(&ours, &no_id).await.unwrap_err().kind, FailureKind::NotFound);
    assert_eq!(cloud.billed().len(), 1);
}

#[tokio::test]
async fn a_device_that_failed_is_given_back_all_the_same() {
    let cloud = FakePacket::start(0);
    let call = call(&cloud.endpoint(), "k1", &[]);
    let id = driver().deploy(&call).await.unwrap();
    let failed = format!(r#"{{"id":"{id}","state":"failed"}}"#).leak();
    cloud.fault(On::Look, Fault::Answer(200, failed), 4);
    assert_eq!(driver().poll(&call, &id).await.unwrap().state, Some(MachineState::Error));
    let reset = driver().reset(&call, &id).await.unwrap_err();
    assert_eq!(reset.kind, FailureKind::Definite, "{reset}");
    driver().cancel(&call, &id).await.unwrap();
    assert!(cloud.billed().is_empty());
}

#[tokio::test]
async fn many_hosts_at_once_share_the_lists() {
    let cloud = FakePacket::start(1);
    let driver = Arc::new(driver());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (driver, call) = (driver.clone(), call(&cloud.endpoint(), &format!("k{n}"), &[]));
        tasks.spawn(async move { driver.deploy(&call).await.unwrap().to_string() });
    }
    let mut ids = tasks.join_all().await;
    let mut billed = cloud.billed();
    ids.sort();
    billed.sort();
    assert_eq!((ids.len(), &ids), (40, &billed));
    assert!(cloud.calls(On::List) < 20, "{} lists", cloud.calls(On::List));
}

#[tokio::test]
async fn many_polls_at_once_are_one_list() {
    let cloud = FakePacket::start(0);
    let driver = Arc::new(driver());
    let calls: Vec<Call> =
        (0..20).map(|n| call(&cloud.endpoint(), &format!("k{n}"), &[])).collect();
    assert!(driver.polls_together(&calls[0]));
    let mut ids = Vec::new();
    for call in &calls {
        let id = driver.deploy(call).await.unwrap();
        until_up(&driver, call, &id).await;
        ids.push(id);
    }
    let before = (cloud.calls(On::List), cloud.calls(On::Look), cloud.calls(On::Traffic));
    let mut tasks = tokio::task::JoinSet::new();
    for (call, id) in calls.iter().cloned().zip(ids.clone()) {
        let driver = driver.clone();
        tasks.spawn(async move { driver.poll(&call, &id).await.unwrap() });
    }
    let gone = DeployId::new("9f4b3ad8-5d4c-4a1b-9c6e-0123456789ab").unwrap();
    let lost = driver.poll(&calls[0], &gone).await.unwrap_err();
    assert_eq!(lost.kind, FailureKind::NotFound, "{lost}");
    let reports = tasks.join_all().await;
    let addresses: std::collections::BTreeSet<_> =
        reports.iter().map(|report| report.address().unwrap().to_owned()).collect();
    assert_eq!(addresses.len(), 20, "each is told of its own");
    // One for all of them, and one before a device is believed to be gone.
    assert_eq!(cloud.calls(On::List), before.0 + 2);
    // Nobody but the one that is in no list was asked for, and nobody's traffic.
    let of_the_lost = cloud.calls(On::Look) - before.1;
    assert!((1..=3).contains(&of_the_lost), "{of_the_lost}");
    assert_eq!(cloud.calls(On::Traffic), before.2);

    cloud.fault(On::List, Fault::Answer(401, "{}"), 1);
    let (one, two) = tokio::join!(driver.poll(&calls[0], &ids[0]), driver.poll(&calls[1], &ids[1]));
    for refused in [one.unwrap_err(), two.unwrap_err()] {
        assert_ne!(refused.kind, FailureKind::NotFound, "a list that is refused says nothing");
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Says why a test ended early; continuous integration may not pass over it.
fn skip(why: &str) {
    println!("skipped: {why}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The public description of the API, which is not part of the project.
fn description() -> Option<PathBuf> {
    let root = root();
    let mut places = root.ancestors().map(|dir| dir.join("../shared/specs/equinix-metal.yaml"));
    places.find(|path| path.is_file())
}

#[tokio::test]
async fn driver_and_fake_keep_to_the_description_of_the_api() {
    let Some(description) = description() else { return skip("no description of the API") };
    let prism = root().join("target/tools/node_modules/.bin/prism");
    if !prism.is_file() {
        assert!(std::env::var_os("CI").is_none(), "prism is not installed: run scripts/test");
        return skip("prism is not installed");
    }
    let cloud = FakePacket::start(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new(prism)
        .args(["proxy", "--errors", "-h", "127.0.0.1", "-p", &port.to_string()])
        .arg(description)
        .arg(cloud.endpoint())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _running = Running(child);
    let begun = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(120), "prism does not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let endpoint = format!("http://127.0.0.1:{port}");
    life(&endpoint).await;
    assert_eq!((cloud.ever(), cloud.billed().len()), (1, 0));
    // It does check: an order without an operating system does not reach the cloud.
    let orders = cloud.calls(On::Create);
    let wrong = call(&endpoint, "k2", &[("PACKET_PROJECT", "no-uuid")]);
    let error = driver().deploy(&wrong).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite, "{error}");
    assert_eq!(cloud.calls(On::Create), orders);
}
