//! The redfish driver against the emulator of sushy-tools, which is not ours, over TLS and with a password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driver::conformance::Check;
use driver::{
    Call, DeploymentFile, Driver, FailureKind, MachineState, PollReport, ShutdownKind, Unwatched,
};
use drivers::redfish::{Redfish, Waits};
use model::{Secret, Value};
use testkit::sushy::{CA, Kind, PASSWORD, Sushy, USER};

mod conformance;

const SYSTEMS: Kind = Kind { systems: 2, asset_tags: true, quick: true, expired: false };

fn sushy(kind: Kind) -> Option<Sushy> {
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/sushy-emulator");
    if !program.is_file() {
        assert!(std::env::var_os("CI").is_none(), "sushy-tools is not installed: run scripts/test");
        println!("skipped: sushy-tools is not installed");
        return None;
    }
    Some(Sushy::start(&program, kind))
}

/// As fast as a test wants it.
fn driver() -> Redfish {
    Redfish::new(Waits {
        look: Duration::from_millis(200),
        claim: Duration::from_millis(500),
        late: Duration::from_secs(2),
        patience: Duration::from_secs(5),
    })
}

fn call(sushy: &Sushy, key: &str, parameters: &[(&str, &str)]) -> Call {
    let mut host = DeploymentFile { name: format!("host-{key}"), ..DeploymentFile::default() };
    let provision = host.template.vector_mut("PROVISION");
    provision.push("REDFISH_ADDRESS", sushy.endpoint().as_str());
    provision.push("REDFISH_USER", USER);
    provision.push("REDFISH_PASSWORD", Value::Secret(Secret::new(PASSWORD)));
    provision.push("REDFISH_SYSTEM", sushy.systems().join(", ").as_str());
    provision.push("REDFISH_CA", CA);
    for (name, value) in parameters {
        match *name {
            "REDFISH_PASSWORD" => provision.set(*name, Value::Secret(Secret::new(*value))),
            _ => provision.set(*name, *value),
        }
    }
    let deadline = Duration::from_secs(90);
    Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
}

async fn claims(sushy: &Sushy) -> usize {
    driver().list(&call(sushy, "list", &[])).await.unwrap().len()
}

async fn life(driver: Redfish, sushy: &Sushy) {
    let two = [("ADDRESS", "192.0.2.1, 192.0.2.2")];
    let first = call(sushy, "k1", &two);
    let id = driver.deploy(&first).await.unwrap();
    assert!(id.as_str().ends_with("/redfish/v1/Systems/00000000-0000-4000-8000-000000000001"));
    assert_eq!(driver.deploy(&first).await.unwrap(), id, "one key, one machine");
    assert_eq!(driver.recover(&first, None).await.unwrap(), Some(id.clone()));
    let second = call(sushy, "k2", &two);
    let other = driver.deploy(&second).await.unwrap();
    assert_ne!(other, id);
    let error = driver.deploy(&call(sushy, "k3", &two)).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(error.message.contains("no machine is free") && error.message.contains("claimed (1p."));

    let report: PollReport = driver.poll(&first, &id).await.unwrap();
    assert!(report.is_up(), "{}", report.to_line());
    assert_eq!(report.address(), Some("192.0.2.1"));
    assert_eq!(driver.poll(&second, &other).await.unwrap().address(), Some("192.0.2.2"));
    // Another host's machine is not found, and left alone.
    let theirs = call(sushy, "k9", &[("PROVISION_ID", "another")]);
    assert_eq!(driver.cancel(&theirs, &id).await.unwrap_err().kind, FailureKind::NotFound);

    driver.reboot(&first, &id).await.unwrap();
    driver.reset(&first, &id).await.unwrap();
    driver.shutdown(&first, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(driver.poll(&first, &id).await.unwrap().state, Some(MachineState::Gone));
    assert_eq!(driver.reboot(&first, &id).await.unwrap_err().kind, FailureKind::Definite);
    let mut resume = first.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(driver.deploy(&resume).await.unwrap(), id);
    assert_eq!(driver.list(&first).await.unwrap().len(), 2);

    driver.cancel(&first, &id).await.unwrap();
    for gone in [driver.cancel(&first, &id).await, driver.poll(&first, &id).await.map(drop)] {
        assert_eq!(gone.unwrap_err().kind, FailureKind::NotFound);
    }
    assert_eq!(driver.recover(&first, None).await.unwrap(), None);
    driver.shutdown(&second, &other, ShutdownKind::Terminate).await.unwrap();
    assert_eq!(claims(sushy).await, 0);
}

#[tokio::test]
async fn a_machines_life() {
    let Some(sushy) = sushy(SYSTEMS) else { return };
    life(driver(), &sushy).await;
}

/// As it comes: no AssetTag, and up to eleven seconds for a change of power.
#[tokio::test]
async fn a_machines_life_on_the_emulator_as_it_is() {
    let Some(sushy) = sushy(Kind { asset_tags: false, quick: false, ..SYSTEMS }) else { return };
    let late = Duration::from_secs(13);
    let waits = Waits { look: Duration::from_millis(500), late, ..Waits::default() };
    life(Redfish::new(Waits { claim: Duration::from_millis(500), ..waits }), &sushy).await;
}

#[tokio::test]
async fn of_coordinators_that_race_for_a_machine_one_has_it() {
    for asset_tags in [true, false] {
        let Some(sushy) = sushy(Kind { systems: 1, asset_tags, ..SYSTEMS }) else { return };
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..4 {
            // Each has a driver of its own, as another process would.
            let call = call(&sushy, &format!("k{n}"), &[]);
            tasks.spawn(async move { (driver().deploy(&call).await, call) });
        }
        let mut won = Vec::new();
        for (deployed, call) in tasks.join_all().await {
            match deployed {
                Ok(id) => won.push((id, call)),
                Err(error) => assert_eq!(error.kind, FailureKind::Definite, "{error}"),
            }
        }
        assert_eq!(won.len(), 1, "asset tags: {asset_tags}");
        let (id, call) = won.pop().unwrap();
        assert_eq!(driver().recover(&call, None).await.unwrap(), Some(id.clone()));
        driver().cancel(&call, &id).await.unwrap();
        assert_eq!(claims(&sushy).await, 0);
    }
}

#[tokio::test]
async fn what_the_protocol_promises_is_kept_with_a_pool() {
    let Some(sushy) = sushy(Kind { systems: 4, ..SYSTEMS }) else { return };
    let more = [("ADDRESS", "192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4"), ("SHUTDOWN_GRACE", "1")];
    let parameters = call(&sushy, "k1", &more).host.template.vector_mut("PROVISION").clone();
    let warned = [(Check::List, "it is there, without CREATED in seconds")];
    conformance::keeps_its_promises(Arc::new(driver()), parameters, &warned).await;
    assert_eq!(claims(&sushy).await, 0);
}

/// The SHA-256 of a certificate in PEM, computed here.
fn fingerprint(pem: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let body: String = pem
        .lines()
        .skip_while(|line| !line.contains("BEGIN CERTIFICATE"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----"))
        .collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    sha2::Sha256::digest(der).iter().map(|byte| format!("{byte:02X}:")).collect()
}

#[tokio::test]
async fn certificates_and_passwords() {
    let Some(sushy) = sushy(SYSTEMS) else { return };
    let Some(expired) = self::sushy(Kind { expired: true, ..SYSTEMS }) else { return };
    let ca = sushy.ca().to_string_lossy().into_owned();
    let pin = |sushy: &Sushy| {
        let pem = std::fs::read_to_string(sushy.ca().with_file_name("bmc.pem")).unwrap();
        fingerprint(&pem).trim_end_matches(':').to_owned()
    };
    let (good, old) = (pin(&sushy), pin(&expired));
    for (at, parameters) in [
        (&sushy, &[("REDFISH_CA", ca.as_str())][..]),
        (&sushy, &[("REDFISH_CA", ""), ("REDFISH_PIN", &good)]),
        (&sushy, &[("REDFISH_CA", ""), ("REDFISH_VERIFY", "no")]),
        (&expired, &[("REDFISH_CA", ""), ("REDFISH_PIN", &old)]),
        // By its name, which the emulator answers with a redirection.
        (&sushy, &[("REDFISH_SYSTEM", "node-2")]),
    ] {
        let found = driver().recover(&call(at, "k1", parameters), None).await.unwrap();
        assert_eq!(found, None, "{parameters:?}");
    }
    for (at, parameters, said) in [
        (
            &sushy,
            &[("REDFISH_CA", "")][..],
            &["certificate is not accepted", "UnknownIssuer", "redfish_pin"][..],
        ),
        (&expired, &[], &["certificate is not accepted", "expired", "redfish_pin"]),
        (&sushy, &[("REDFISH_PIN", &old)], &["not the pinned one; its SHA-256 is"]),
        (&sushy, &[("REDFISH_PIN", "12")], &["redfish_pin must be a SHA-256"]),
        (&sushy, &[("REDFISH_CA", "/nowhere.pem")], &["redfish_ca: cannot read /nowhere.pem"]),
        (
            &sushy,
            &[("REDFISH_CA", "-----BEGIN nothing")],
            &["parameter redfish_ca:", "the CA file is no PEM"],
        ),
        (
            &sushy,
            &[("REDFISH_PASSWORD", "wrong-one")],
            &["HTTP 401", "redfish_user and redfish_password"],
        ),
        (
            &sushy,
            &[("REDFISH_AUTH", "session")],
            &["it has no sessions; set redfish_auth to basic"],
        ),
        (&sushy, &[("REDFISH_SYSTEM", "nothing")], &["HTTP 404", "redfish_system"]),
        (&sushy, &[("REDFISH_SYSTEM", "")], &["has 2 systems", "redfish_system must say which"]),
        (
            &sushy,
            &[("REDFISH_ADDRESS", "https://127.0.0.1:1")],
            &["Connection refused", "redfish_address"],
        ),
        (&sushy, &[("REDFISH_ADDRESS", "https://x/redfish")], &["redfish_address must be"]),
        (&sushy, &[("ADDRESS", "192.0.2.1")], &["one address for each machine: 2, not 1"]),
        (&sushy, &[("ISO", "image.iso")], &["parameter iso must be an address"]),
        (&sushy, &[("BOOT", "floppy")], &["boot must be one of"]),
        (&sushy, &[("SHUTDOWN_GRACE", "-1")], &["shutdown_grace must be seconds"]),
        // The emulator fetches the image, and says that it cannot.
        (
            &sushy,
            &[("ISO", "http://127.0.0.1:1/x.iso")],
            &["parameter iso could not be inserted", "taken off again"],
        ),
    ] {
        let mut call = call(at, "k1", parameters);
        call.deadline = Duration::from_secs(30);
        let error = driver().deploy(&call).await.unwrap_err();
        assert_eq!((error.kind, error.deploy_id), (FailureKind::Definite, None), "{parameters:?}");
        for part in said {
            assert!(error.message.contains(part), "{parameters:?}: {}", error.message);
        }
        assert!(!error.message.contains("wrong-one") && !error.message.contains(PASSWORD));
    }
    assert_eq!(claims(&sushy).await, 0);
}

#[tokio::test]
async fn an_image_is_inserted_booted_and_ejected() {
    use std::io::{Read as _, Write as _};
    let Some(sushy) = sushy(Kind { systems: 1, ..SYSTEMS }) else { return };
    // The emulator downloads the image.
    let images = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let iso = format!("http://{}/rescue.iso", images.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in images.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nCD01",
            );
        }
    });
    let call = call(&sushy, "k1", &[("ISO", &iso)]);
    let id = driver().deploy(&call).await.unwrap();
    driver().cancel(&call, &id).await.unwrap();
    let log = sushy.log();
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("no {text} in {log}"));
    let (insert, boot) = (at("VirtualMedia.InsertMedia"), at("Set boot device to \"Cd\""));
    let (on, off) =
        (at("power state set to \"On\""), at("power state set to \"GracefulShutdown\""));
    let eject = at("VirtualMedia.EjectMedia");
    assert!(insert < boot && boot < on && on < off && off < eject, "{log}");
    assert!(log.contains("Set boot device to \"Hdd\""));
    assert_eq!(claims(&sushy).await, 0);
}
