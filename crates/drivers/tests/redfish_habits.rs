//! The redfish driver against BMCs of many habits: a fake of ours, for what the emulator does not do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use driver::conformance::Check;
use driver::{
    Call, DeploymentFile, Driver, DriverError, FailureKind, MachineState, ShutdownKind, Unwatched,
};
use drivers::redfish::{Redfish, Waits};
use model::{DeployId, Secret, Value};
use testkit::bmc::{FakeBmc, Habits, On, PASSWORD, Tags, USER};
use testkit::packet::Fault;

mod conformance;

/// As fast as a test wants it.
fn driver() -> Redfish {
    Redfish::new(Waits {
        look: Duration::from_millis(10),
        claim: Duration::from_millis(100),
        late: Duration::from_millis(60),
        patience: Duration::from_secs(3),
    })
}

fn call(bmc: &FakeBmc, key: &str, parameters: &[(&str, &str)]) -> Call {
    let mut host = DeploymentFile { name: format!("host-{key}"), ..DeploymentFile::default() };
    let provision = host.template.vector_mut("PROVISION");
    provision.push("REDFISH_ADDRESS", bmc.endpoint().as_str());
    provision.push("REDFISH_USER", USER);
    provision.push("REDFISH_PASSWORD", Value::Secret(Secret::new(PASSWORD)));
    for (name, value) in parameters {
        provision.set(*name, *value);
    }
    let deadline = Duration::from_secs(20);
    Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
}

async fn life(bmc: &FakeBmc, more: &[(&str, &str)]) {
    let driver = driver();
    let call = call(bmc, "k1", &[&[("SHUTDOWN_GRACE", "1")], more].concat());
    let id = driver.deploy(&call).await.unwrap();
    assert_eq!(driver.deploy(&call).await.unwrap(), id);
    assert_eq!(bmc.tags().len(), 1);
    let report = driver.poll(&call, &id).await.unwrap();
    assert_eq!(report.addresses, ["192.0.2.1", "2001:db8::1"]);
    let line = report.to_line();
    for part in ["STATE=a", "CPU=200 MEMORY=33554432", "MODEL=\"Fake 1\"", "SERIAL_NUMBER=S1"] {
        assert!(line.contains(part), "{line}");
    }
    driver.reboot(&call, &id).await.unwrap();
    driver.reset(&call, &id).await.unwrap();
    driver.shutdown(&call, &id, ShutdownKind::Undeploy).await.unwrap();
    assert_eq!(driver.poll(&call, &id).await.unwrap().state, Some(MachineState::Gone));
    let mut resume = call.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(driver.deploy(&resume).await.unwrap(), id);
    driver.cancel(&call, &id).await.unwrap();
    assert_eq!(driver.cancel(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    assert_eq!((bmc.tags().len(), bmc.busy(), bmc.sessions()), (0, 0, 0));
}

#[tokio::test]
async fn bmcs_of_all_habits() {
    let iso = [("ISO", "http://images/rescue.iso")];
    let usual = Habits::default();
    for (habits, more) in [
        (usual, &[][..]),
        (usual, &iso),
        (usual, &[("BOOT", "pxe")]),
        (Habits { etags: false, ..usual }, &[]),
        (Habits { sessions: true, ..usual }, &[]),
        (Habits { sessions: true, ..usual }, &[("REDFISH_AUTH", "session")]),
        (Habits { tasks: true, looks: 5, ..usual }, &iso),
        (Habits { resets: &["On", "ForceOff"], ..usual }, &[]),
    ] {
        life(&FakeBmc::start(habits), more).await;
    }
}

/// A deploy that fails and leaves nothing behind.
async fn refused(bmc: &FakeBmc, parameters: &[(&str, &str)]) -> DriverError {
    let error = driver().deploy(&call(bmc, "k1", parameters)).await.unwrap_err();
    assert_eq!((error.kind, &error.deploy_id), (FailureKind::Definite, &None), "{error}");
    assert_eq!((bmc.busy(), bmc.sessions()), (0, 0), "{error}");
    assert!(!error.message.contains(PASSWORD), "{error}");
    error
}

#[tokio::test]
async fn what_cannot_carry_a_claim_is_refused_with_the_reason() {
    for (tags, said) in [
        (Tags::Absent, "no AssetTag and no other place for a claim"),
        (Tags::Refused, "AssetTag cannot be written: AssetTag is read only"),
        (Tags::Ignored, "the claim did not stay"),
        (Tags::Short(10), "keeps only 10 characters"),
    ] {
        for etags in [true, false] {
            let bmc = FakeBmc::start(Habits { tags, etags, ..Habits::default() });
            let error = refused(&bmc, &[]).await;
            assert!(error.message.contains(said), "{error}");
            assert_eq!(bmc.tags(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn machines_of_others_are_left_alone() {
    let bmc = FakeBmc::start(Habits { systems: 3, ..Habits::default() });
    let pool = [("REDFISH_SYSTEM", "1,2,3")];
    bmc.set_tag(0, "Chicago-45Z");
    bmc.set_power(1, "On");
    bmc.set_tag(2, "1p.D4-tW9nLRp-hZXCGdyiVDg.0.1");
    let error = driver().deploy(&call(&bmc, "k1", &pool)).await.unwrap_err();
    for part in [
        "no machine is free",
        "/Systems/1: its AssetTag is \"Chicago-45Z\"; set redfish_free_tag",
        "/Systems/2: it is on, and nobody claims it",
        "/Systems/3: it is claimed (1p.D4-tW9nLRp-hZXCGdyiVDg.0.1)",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    assert_eq!((bmc.tags().len(), bmc.resets("On")), (2, 0));
    // With the tag of the house it is free, and gets it back.
    let ours = call(&bmc, "k1", &[pool[0], ("REDFISH_FREE_TAG", "Chicago-45Z")]);
    let id = driver().deploy(&ours).await.unwrap();
    assert!(!bmc.tags().contains(&"Chicago-45Z".to_owned()));
    driver().cancel(&ours, &id).await.unwrap();
    assert!(bmc.tags().contains(&"Chicago-45Z".to_owned()));
    // An id of another BMC gets no credentials.
    let foreign = DeployId::new("192.0.2.66/redfish/v1/Systems/1").unwrap();
    let error = driver().poll(&ours, &foreign).await.unwrap_err();
    assert!(error.message.contains("another BMC than parameter redfish_address"), "{error}");
}

#[tokio::test]
async fn a_rival_that_writes_first_has_the_machine() {
    for etags in [true, false] {
        let bmc = FakeBmc::start(Habits { etags, ..Habits::default() });
        bmc.rival("1p.AAAAAAAAAAAAAAAAAAAAAA.0.1");
        let error = refused(&bmc, &[]).await;
        assert!(error.message.contains("somebody else claimed it"), "{error}");
        assert_eq!(bmc.tags(), ["1p.AAAAAAAAAAAAAAAAAAAAAA.0.1"]);
        assert_eq!(bmc.resets("On"), 0);
    }
}

#[tokio::test]
async fn many_at_once_have_a_machine_each() {
    let bmc = FakeBmc::start(Habits { systems: 6, ..Habits::default() });
    let driver = Arc::new(driver());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let call = call(&bmc, &format!("k{n}"), &[("REDFISH_SYSTEM", "1,2,3,4,5,6")]);
        let driver = Arc::clone(&driver);
        tasks.spawn(async move { driver.deploy(&call).await.ok().map(|id| id.to_string()) });
    }
    let mut ids: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), bmc.tags().len()), (6, 6));
}

/// The same pool in the hands of the kit: three deploys at once, one that is killed, a machine that is given
/// out again. A claim has no room for the time at which it was written.
#[tokio::test]
async fn what_the_protocol_promises_is_kept_with_a_pool() {
    for habits in [
        Habits { systems: 4, ..Habits::default() },
        Habits { systems: 4, etags: false, sessions: true, ..Habits::default() },
    ] {
        let bmc = FakeBmc::start(habits);
        let pool = [("REDFISH_SYSTEM", "1,2,3,4"), ("SHUTDOWN_GRACE", "1")];
        let parameters = call(&bmc, "k1", &pool).host.template.vector_mut("PROVISION").clone();
        let warned = [(Check::List, "it is there, without CREATED in seconds")];
        conformance::keeps_its_promises(Arc::new(driver()), parameters, &warned).await;
        assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0));
        // A call that is killed ends its session no more; the BMC does that some time.
        assert!(bmc.sessions() <= 1);
    }
}

#[tokio::test]
async fn what_cannot_be_set_up_is_given_back() {
    let bmc = FakeBmc::start(Habits::default());
    let error = refused(&bmc, &[("ISO", "http://images/missing.iso")]).await;
    assert!(error.message.contains("The image cannot be downloaded"), "{error}");
    assert!(error.message.contains("Its claim was taken off again."), "{error}");
    bmc.fault(On::Boot, Fault::Answer(400, r#"{"error":{"message":"no such boot target"}}"#), 1);
    let error = refused(&bmc, &[("BOOT", "pxe")]).await;
    assert!(error.message.contains("no such boot target"), "{error}");
    assert_eq!(bmc.tags(), [""; 0]);
}

#[tokio::test]
async fn answers_that_are_none_are_asked_for_again() {
    for fault in [
        Fault::Throttle(0),
        Fault::LoseRequest,
        Fault::LoseAnswer,
        Fault::HalfAnswer,
        Fault::TroubledAfter,
        Fault::Answer(200, "<html>Please log in to the hotel's network</html>"),
    ] {
        for on in [On::Look, On::Tag, On::Reset] {
            let bmc = FakeBmc::start(Habits::default());
            let call = call(&bmc, "k1", &[]);
            bmc.fault(on, fault, 1);
            // Whatever happened, there is one claim, or none and nobody says that there is.
            let id = driver().deploy(&call).await;
            let id = id.unwrap_or_else(|error| panic!("{fault:?} {on:?}: {error}"));
            assert_eq!(bmc.tags().len(), 1, "{fault:?} {on:?}");
            bmc.fault(on, fault, 1);
            driver().cancel(&call, &id).await.unwrap_or_else(|e| panic!("{fault:?} {on:?}: {e}"));
            assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0), "{fault:?} {on:?}");
        }
    }
}

#[tokio::test]
async fn a_bmc_that_is_silent_leaves_a_machine_that_is_named() {
    for (on, fault) in [
        (On::Tag, Fault::Hang),
        (On::Reset, Fault::Hang),
        (On::Reset, Fault::Answer(500, "<p>down</p>")),
        (On::Media, Fault::Answer(503, "")),
    ] {
        let bmc = FakeBmc::start(Habits::default());
        let mut call = call(&bmc, "k1", &[("ISO", "http://images/rescue.iso")]);
        call.deadline = Duration::from_secs(3);
        bmc.fault(on, fault, 1000);
        let deployed = driver().deploy(&call).await;
        bmc.clear_faults();
        call.deadline = Duration::from_secs(20);
        let found = driver().recover(&call, None).await.unwrap();
        match deployed {
            Ok(id) => assert_eq!(found, Some(id), "{on:?}"),
            Err(error) => {
                assert_eq!(error.kind, FailureKind::Unknown, "{on:?}: {error}");
                assert!(error.deploy_id.is_none() || error.deploy_id == found, "{on:?}: {error}");
            }
        }
        if let Some(id) = found {
            driver().cancel(&call, &id).await.unwrap();
        }
        assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0), "{on:?}");
    }
    // And one that is silent from the first question on: nothing was taken.
    let bmc = FakeBmc::start(Habits::default());
    bmc.fault(On::Look, Fault::Answer(500, "<p>down for ten minutes</p>"), 1000);
    let error = refused(&bmc, &[]).await;
    assert!(error.message.contains("down for ten minutes (HTTP 500)"), "{error}");
    let error = driver().recover(&call(&bmc, "k1", &[]), None).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
}

#[tokio::test]
async fn who_does_not_shut_down_is_switched_off() {
    let bmc = FakeBmc::start(Habits::default());
    let call = call(&bmc, "k1", &[("SHUTDOWN_GRACE", "1")]);
    let id = driver().deploy(&call).await.unwrap();
    bmc.deaf(true);
    driver().shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!((bmc.resets("GracefulShutdown"), bmc.resets("ForceOff")), (1, 1));
    driver().cancel(&call, &id).await.unwrap();
    assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0));
}

#[tokio::test]
async fn a_claim_that_was_left_is_listed_and_given_back_by_its_name() {
    let bmc = FakeBmc::start(Habits { systems: 2, ..Habits::default() });
    let key = "0f8fad5b-d9cb-469f-a165-70867728950e-3-1";
    let ours = call(&bmc, key, &[("REDFISH_SYSTEM", "1,2")]);
    let id = driver().deploy(&ours).await.unwrap();
    let other = call(&bmc, "list", &[("REDFISH_SYSTEM", "1,2"), ("PROVISION_ID", "another")]);
    let listed = driver().list(&other).await.unwrap();
    assert_eq!(listed.len(), 1);
    let told = ["KEY", "PROVISION_ID", "NAME"].map(|name| listed[0].attributes.text(name).unwrap());
    let name = "provision-0f8fad5bd9cb469fa16570867728950e0000000000000003";
    assert_eq!(told, [key, &key[..36], name]);
    assert_eq!(driver().cancel(&other, &id).await.unwrap_err().kind, FailureKind::NotFound);
    let mut named = other.clone();
    named.host.name = told[2].to_owned();
    driver().cancel(&named, &id).await.unwrap();
    assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0));
}
