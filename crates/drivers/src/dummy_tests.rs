use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use driver::{DeploymentFile, ProcessRecord, Watch};
use tokio::time::sleep;

use super::*;

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

#[async_trait]
impl Watch for Ear {
    async fn started(&self, _: &ProcessRecord) {}

    async fn deploy_id(&self, id: &DeployId) {
        self.0.lock().unwrap().push(id.to_string());
    }
}

/// A dummy with an own ledger, and the ear that its calls are heard by.
struct Lab {
    dir: tempfile::TempDir,
    dummy: Dummy,
    ear: Arc<Ear>,
    keys: AtomicU32,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dummy = Dummy::new(dir.path());
        Self { dir, dummy, ear: Arc::default(), keys: AtomicU32::new(0) }
    }

    /// A call for a host with these parameters, with a key of its own.
    fn call(&self, host: &str, parameters: &[(&str, &str)]) -> Call {
        let mut file = DeploymentFile { name: host.to_owned(), ..Default::default() };
        let provision = file.template.vector_mut("PROVISION");
        provision.push("PROVISION_ID", "p1");
        for (key, value) in parameters {
            provision.push(*key, *value);
        }
        Call {
            key: format!("key-{}", self.keys.fetch_add(1, Ordering::Relaxed)),
            host: file,
            deadline: Duration::from_secs(60),
            watch: self.ear.clone(),
        }
    }

    fn bill(&self) -> Vec<Machine> {
        Ledger::open(self.dir.path()).unwrap().bill().unwrap()
    }

    fn ids(&self) -> Vec<String> {
        std::mem::take(&mut self.ear.0.lock().unwrap())
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, DriverError>) -> FailureKind {
    result.unwrap_err().kind
}

#[tokio::test(start_paused = true)]
async fn a_machines_life() {
    let lab = Lab::new();
    let dummy = &lab.dummy;
    assert!(!dummy.describe().configurable);
    let call = lab.call("h", &[("IP", "192.0.2.7"), ("HOSTNAME", "n1"), ("HOST_KEY", "3")]);
    let id = dummy.deploy(&call).await.unwrap();
    assert!(id.as_str().starts_with("dummy-") && id.as_str().len() == 22);
    let report = dummy.poll(&call, &id).await.unwrap();
    assert!(report.is_up());
    assert_eq!(report.to_line(), "STATE=a GUEST_IP_ADDRESSES=\"192.0.2.7\"");

    dummy.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    let report = dummy.poll(&call, &id).await.unwrap();
    assert_eq!(report.state, Some(MachineState::Gone));
    assert_eq!(kind(dummy.reboot(&call, &id).await), FailureKind::Definite);
    let mut resume = call.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(dummy.deploy(&resume).await.unwrap(), id);
    assert!(dummy.poll(&call, &id).await.unwrap().is_up());
    dummy.reboot(&call, &id).await.unwrap();
    dummy.reset(&call, &id).await.unwrap();

    let listed = dummy.list(&call).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, id);
    for (key, value) in [
        ("KEY", "key-0"),
        ("PROVISION_ID", "p1"),
        ("NAME", "h"),
        ("HOSTNAME", "n1"),
        ("STATE", "a"),
        ("IP", "192.0.2.7"),
    ] {
        assert_eq!(listed[0].attributes.text(key), Some(value), "{key}");
    }

    dummy.cancel(&call, &id).await.unwrap();
    assert!(lab.bill().is_empty());
    assert_eq!(kind(dummy.cancel(&call, &id).await), FailureKind::NotFound);
    assert_eq!(kind(dummy.poll(&call, &id).await), FailureKind::NotFound);
    assert_eq!(kind(dummy.reset(&call, &id).await), FailureKind::NotFound);
    assert_eq!(kind(dummy.deploy(&resume).await), FailureKind::NotFound);
    let calls = Ledger::open(lab.dir.path()).unwrap().calls().unwrap();
    assert!(calls.iter().all(|call| call.outcome.is_some() && call.host == "3"));
    assert_eq!(calls[0].machine.as_deref(), Some(id.as_str()));
}

#[tokio::test(start_paused = true)]
async fn terminate_destroys() {
    let lab = Lab::new();
    let call = lab.call("h", &[]);
    let id = lab.dummy.deploy(&call).await.unwrap();
    lab.dummy.shutdown(&call, &id, ShutdownKind::Terminate).await.unwrap();
    assert!(lab.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_same_call_again_makes_no_second_machine() {
    let lab = Lab::new();
    let call = lab.call("h", &[]);
    let id = lab.dummy.deploy(&call).await.unwrap();
    assert_eq!(lab.dummy.deploy(&call).await.unwrap(), id);
    assert_ne!(lab.dummy.deploy(&lab.call("h", &[])).await.unwrap(), id);
    assert_eq!(lab.bill().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_boot_takes_its_time() {
    let lab = Lab::new();
    let call = lab.call("h", &[("dummy_boot", "30s")]);
    let id = lab.dummy.deploy(&call).await.unwrap();
    let poll = async || lab.dummy.poll(&call, &id).await.unwrap();
    assert_eq!(poll().await, PollReport::new(MachineState::Paused, vec![]));
    sleep(Duration::from_secs(29)).await;
    assert!(!poll().await.is_up());
    // Powering on what boots already does not begin anew, and does not finish it either.
    let mut resume = call.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    lab.dummy.deploy(&resume).await.unwrap();
    assert!(!poll().await.is_up());
    sleep(Duration::from_secs(2)).await;
    assert!(poll().await.is_up());
    lab.dummy.reboot(&call, &id).await.unwrap();
    assert!(!poll().await.is_up());
    sleep(Duration::from_secs(31)).await;
    assert!(poll().await.is_up());
    // A call without a deployment file has the parameters of the deploy.
    let bare = Call { host: DeploymentFile::default(), ..call.clone() };
    lab.dummy.reset(&bare, &id).await.unwrap();
    assert!(!lab.dummy.poll(&bare, &id).await.unwrap().is_up());
}

#[tokio::test(start_paused = true)]
async fn latency_is_kept_within_its_jitter() {
    let lab = Lab::new();
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..20 {
        let call = lab.call(
            &format!("h{n}"),
            &[("dummy_latency", "10s"), ("dummy_jitter", "4s"), ("dummy_seed", "3")],
        );
        let start = Instant::now();
        lab.dummy.deploy(&call).await.unwrap();
        let took = start.elapsed();
        assert!(
            (Duration::from_secs(6)..Duration::from_millis(14_100)).contains(&took),
            "{took:?}"
        );
        seen.insert(took.as_millis());
    }
    assert!(seen.len() > 10, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn latency_is_all_the_time_that_an_action_takes() {
    let lab = Lab::new();
    for (latency, least) in [("0s", 0), ("10s", 10_000)] {
        let call = lab.call("h", &[("dummy_latency", latency)]);
        let start = Instant::now();
        lab.dummy.deploy(&call).await.unwrap();
        let took = start.elapsed().as_millis();
        // Each of its two timers may round up by one; no latency needs none.
        assert!((least..=least + least.min(2)).contains(&took), "{took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_later_than_the_deadline_is_unknown() {
    let lab = Lab::new();
    let mut call = lab.call("h", &[("dummy_latency", "90s")]);
    call.deadline = Duration::from_secs(60);
    let error = lab.dummy.deploy(&call).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    assert_eq!(lab.bill().len(), 1, "its effect was in the first half");
}

/// What happens to hosts `h0`… on their first and second deploy.
async fn pattern(seed: &str, chance: &str) -> Vec<bool> {
    let lab = Lab::new();
    let mut all = Vec::new();
    for n in 0..40 {
        for _ in 0..2 {
            let call = lab.call(
                &format!("h{n}"),
                &[("dummy_fail", &format!("deploy:{chance}")), ("dummy_seed", seed)],
            );
            all.push(lab.dummy.deploy(&call).await.is_ok());
        }
    }
    assert_eq!(lab.bill().len(), all.iter().filter(|ok| **ok).count());
    all
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_behaviour() {
    let first = pattern("1", "0.5").await;
    assert_eq!(first, pattern("1", "0.5").await);
    assert_ne!(first, pattern("2", "0.5").await);
    let failures = first.iter().filter(|ok| !**ok).count();
    assert!((20..60).contains(&failures), "{failures} of 80");
    assert!(pattern("1", "0").await.iter().all(|ok| *ok));
    assert!(pattern("1", "1").await.iter().all(|ok| !*ok));
}

#[tokio::test(start_paused = true)]
async fn the_nth_call_fails() {
    let lab = Lab::new();
    let parameters = [("dummy_fail_on", "deploy:2,poll:1")];
    let id = lab.dummy.deploy(&lab.call("h", &parameters)).await.unwrap();
    let error = lab.dummy.deploy(&lab.call("h", &parameters)).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert_eq!(error.message, "deploy number 2 fails, as dummy_fail_on asks");
    lab.dummy.deploy(&lab.call("h", &parameters)).await.unwrap();
    let call = lab.call("h", &parameters);
    assert_eq!(kind(lab.dummy.poll(&call, &id).await), FailureKind::Definite);
    lab.dummy.poll(&call, &id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn hanging_and_dying_before_or_after_the_effect() {
    for (name, value, machines) in [
        ("dummy_hang", "deploy", 0),
        ("dummy_hang", "deploy:after", 1),
        ("dummy_die", "deploy:before", 0),
        ("dummy_die", "deploy:after", 1),
    ] {
        let lab = Lab::new();
        let start = Instant::now();
        let error = lab.dummy.deploy(&lab.call("h", &[(name, value)])).await.unwrap_err();
        assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, None), "{name} {value}");
        assert_eq!(start.elapsed() >= Duration::from_secs(60), name == "dummy_hang");
        assert_eq!(lab.bill().len(), machines, "{name} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn deploy_loses_doubles_and_revokes_its_answer() {
    let lab = Lab::new();
    let lost = lab.call("a", &[("dummy_lose_answer", "first")]);
    let error = lab.dummy.deploy(&lost).await.unwrap_err();
    assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, None));
    assert!(lab.ids().is_empty());
    assert_eq!(lab.bill().len(), 1);
    // The mark finds what was made, and the same key does.
    let found = lab.dummy.recover(&lost, None).await.unwrap();
    assert_eq!(found.unwrap().as_str(), lab.bill()[0].id);
    assert_eq!(lab.dummy.recover(&lab.call("never", &[]), None).await.unwrap(), None);
    let id = lab.dummy.deploy(&lost).await.unwrap();
    assert_eq!(lab.bill()[0].id, id.as_str());

    let error =
        lab.dummy.deploy(&lab.call("b", &[("dummy_id_then_fail", "yes")])).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    let named = error.deploy_id.unwrap();
    assert_eq!(lab.ids(), [named.to_string()]);
    assert_eq!(lab.bill()[1].id, named.as_str());

    let id = lab.dummy.deploy(&lab.call("c", &[("dummy_two_ids", "yes")])).await.unwrap();
    assert_eq!(lab.ids(), [id.to_string(), format!("{id}-second")]);
    assert_eq!(lab.bill().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn quota_not_found_and_a_changing_address() {
    let lab = Lab::new();
    let parameters =
        [("dummy_quota", "1"), ("dummy_not_found", "yes"), ("dummy_address_change", "3")];
    let call = lab.call("h", &parameters);
    let id = lab.dummy.deploy(&call).await.unwrap();
    let error = lab.dummy.deploy(&lab.call("i", &parameters)).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(error.message.starts_with("quota exceeded: 1 machines"), "{error}");
    let mut addresses = Vec::new();
    for _ in 0..4 {
        let report = lab.dummy.poll(&call, &id).await.unwrap();
        addresses.push(report.address().unwrap().to_owned());
    }
    assert_eq!(addresses[0], "198.18.0.2");
    assert!(addresses[1] == addresses[0] && addresses[2] != addresses[0]);
    assert_eq!(addresses[3], addresses[2]);
    assert_eq!(kind(lab.dummy.cancel(&call, &id).await), FailureKind::NotFound);
    assert!(lab.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn wrong_parameters_are_refused_before_anything_is_made() {
    let lab = Lab::new();
    let error = lab.dummy.deploy(&lab.call("h", &[("DUMMY_LATENSY", "1s")])).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(error.message.contains("no parameter \"dummy_latensy\""), "{error}");
    assert!(lab.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn secrets_do_not_reach_the_ledger() {
    let lab = Lab::new();
    let mut call = lab.call("h", &[]);
    call.host
        .template
        .vector_mut("PROVISION")
        .push("PACKET_TOKEN", model::Secret::new("tok-123456"));
    lab.dummy.deploy(&call).await.unwrap();
    drop(lab.dummy.clone());
    for entry in std::fs::read_dir(lab.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(10).any(|window| window == b"tok-123456"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_unusable_ledger_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let lab = Lab { dummy: Dummy::new(&dir.path().join("file")), ..Lab::new() };
    let error = lab.dummy.deploy(&lab.call("h", &[])).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Setup);
    assert!(error.message.starts_with("cannot make the folder"), "{error}");
}
