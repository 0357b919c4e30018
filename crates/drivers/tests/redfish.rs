//! The redfish driver against the emulator of sushy-tools, which is not ours, over TLS and with a password.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driver::{
    Call, DeploymentFile, Driver, FailureKind, MachineState, PollReport, ShutdownKind, Unwatched,
};
use drivers::redfish::{Redfish, Waits};
use model::{Secret, Value};
use testkit::sushy::{CA, Kind, PASSWORD, Sushy, USER};

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
