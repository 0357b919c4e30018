//! The ssh driver with real sshd: several on addresses of 127.0.0.0/8, each with its own host key and home folder.
//!
//! They run as whoever runs the tests. Where there is no sshd the tests are passed over, and say so; with
//! CI=true that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

use driver::{Call, DeploymentFile, Driver, FailureKind, MachineState, ShutdownKind, Unwatched};
use drivers::ssh::Ssh;
use model::DeployId;
use testkit::sshd::{self, Sshd};

/// A machine: an sshd with a home folder of its own, where its claim is.
struct Machine {
    address: String,
    home: PathBuf,
    sshd: Option<Child>,
}

struct Lab {
    dir: tempfile::TempDir,
    driver: Ssh,
    port: u16,
    machines: Vec<Machine>,
}

impl Lab {
    fn new(machines: usize) -> Option<Self> {
        if !sshd::is_there() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = sshd::free_port();
        sshd::keygen(&dir.path().join("key"), "");
        let driver = Ssh::new(&dir.path().join("state"));
        let mut lab = Self { dir, driver, port, machines: Vec::new() };
        for n in 0..machines {
            let home = lab.dir.path().join(format!("m{n}"));
            fs::create_dir(&home).unwrap();
            lab.machines.push(Machine { address: format!("127.0.7.{}", n + 1), home, sshd: None });
            lab.new_host_key(n);
            lab.start(n, "");
        }
        Some(lab)
    }

    fn new_host_key(&self, n: usize) {
        sshd::keygen(&self.machines[n].home.join("host"), "");
    }

    /// Starts a machine's sshd. `wrapper` goes before the shell that runs what is asked for.
    fn start(&mut self, n: usize, wrapper: &str) {
        self.stop(n);
        let Machine { address, home, .. } = &self.machines[n];
        let (home_text, port) = (home.display(), self.port);
        let run = home.join("run");
        fs::write(&run, format!("#!/bin/sh\nHOME={home_text}\nexport HOME\necho 'Welcome to {address}!'\n{wrapper}\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n")).unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        let keys = self.dir.path().join("key.pub");
        let more = format!("ForceCommand {home_text}/run");
        let sshd = Sshd { address, port, home: home.clone(), keys: &keys, more: &more };
        let child = sshd.start();
        self.machines[n].sshd = Some(child);
    }

    fn stop(&mut self, n: usize) {
        sshd::stop(&mut self.machines[n].sshd);
    }

    fn call(&self, key: &str, addresses: &str) -> Call {
        let mut host = DeploymentFile { name: format!("host-{key}"), ..Default::default() };
        let provision = host.template.vector_mut("PROVISION");
        provision.push("PROVISION_ID", "p1");
        provision.push("ADDRESSES", addresses);
        provision.push("CLAIM_FILE", "~/state/claim");
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let connection = host.template.vector_mut("PROVISION_CONNECTION");
        connection.push("REMOTE_USER", String::from_utf8(user).unwrap().trim());
        connection.push("REMOTE_PORT", self.port.to_string());
        connection.push("PRIVATE_KEY", self.dir.path().join("key").display().to_string());
        let deadline = Duration::from_secs(60);
        Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
    }

    fn all(&self) -> String {
        format!("127.0.7.1-{}", self.machines.len())
    }

    fn claim(&self, n: usize) -> Option<String> {
        fs::read_to_string(self.machines[n].home.join("state/claim")).ok()
    }

    /// Files on machines that are there besides claims.
    fn leftovers(&self) -> usize {
        self.machines
            .iter()
            .filter_map(|machine| fs::read_dir(machine.home.join("state")).ok())
            .flatten()
            .filter(|entry| entry.as_ref().unwrap().file_name() != "claim")
            .count()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in 0..self.machines.len() {
            self.stop(n);
        }
    }
}

#[tokio::test]
async fn a_claims_life() {
    let Some(lab) = Lab::new(2) else { return };
    let call = lab.call("k1", &lab.all());
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), None);
    let id = lab.driver.deploy(&call).await.unwrap();
    assert!(id.as_str().ends_with(&format!("-{}-127.0.7.1", lab.port)), "{id}");
    let claim = lab.claim(0).unwrap();
    assert!(
        claim.contains(&format!("ID={id}\nKEY=k1\nNAME=host-k1\nPROVISION_ID=p1\n")),
        "{claim}"
    );
    assert_eq!(lab.driver.deploy(&call).await.unwrap(), id, "the same call has its machine");
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), Some(id.clone()));
    let report = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!(report.state, Some(MachineState::Active));
    assert_eq!(report.addresses, ["127.0.7.1"]);
    let resume = {
        let mut call = lab.call("r", &lab.all());
        call.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
        call
    };
    assert_eq!(lab.driver.deploy(&resume).await.unwrap(), id);

    let second = lab.driver.deploy(&lab.call("k2", &lab.all())).await.unwrap();
    assert!(second.as_str().ends_with("127.0.7.2"), "{second}");
    let error = lab.driver.deploy(&lab.call("k3", &lab.all())).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(
        error.message.contains("127.0.7.1:") && error.message.contains("claimed for host-k1"),
        "{error}"
    );
    let listed = lab.driver.list(&call).await.unwrap();
    let keys: Vec<_> =
        listed.iter().map(|m| m.attributes.text("KEY").unwrap().to_owned()).collect();
    assert_eq!((listed.len(), keys.contains(&"k1".to_owned())), (2, true));

    // An action of the old tool, which hands no deployment file over.
    let bare = Call { host: DeploymentFile::default(), ..call.clone() };
    assert_eq!(lab.driver.poll(&bare, &id).await.unwrap().state, Some(MachineState::Active));
    lab.driver.cancel(&bare, &id).await.unwrap();
    assert_eq!(lab.claim(0), None);
    assert_eq!(lab.driver.cancel(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    assert_eq!(lab.driver.poll(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    // Somebody else has it now: the old id releases nothing.
    let third = lab.driver.deploy(&lab.call("k3", &lab.all())).await.unwrap();
    assert!(third.as_str().ends_with("127.0.7.1"));
    assert_eq!(lab.driver.cancel(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    assert!(lab.claim(0).unwrap().contains("KEY=k3"));
    lab.driver.shutdown(&call, &third, ShutdownKind::Terminate).await.unwrap();
    lab.driver.cancel(&call, &second).await.unwrap();
    assert_eq!((lab.claim(0), lab.claim(1), lab.leftovers()), (None, None, 0));
    let no_id = DeployId::new("ssh-0123456789abcdef-22--oProxyCommand=x").unwrap();
    assert_eq!(lab.driver.cancel(&call, &no_id).await.unwrap_err().kind, FailureKind::NotFound);
}

#[tokio::test]
async fn no_machine_is_given_twice() {
    let Some(lab) = Lab::new(3) else { return };
    // Two coordinators with state folders of their own, and more wishes than machines.
    let other = Ssh::new(&lab.dir.path().join("other"));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..6 {
        let driver = if n % 2 == 0 { lab.driver.clone() } else { other.clone() };
        let call = lab.call(&format!("k{n}"), &lab.all());
        tasks.spawn(async move { driver.deploy(&call).await });
    }
    let results = tasks.join_all().await;
    let mut ids: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "{results:?}");
    for error in results.iter().filter_map(|r| r.as_ref().err()) {
        assert_eq!(error.kind, FailureKind::Definite, "{error}");
        assert!(error.message.contains("none of the 3 machines"), "{error}");
    }
    for id in ids {
        lab.driver.cancel(&lab.call("c", &lab.all()), id).await.unwrap();
    }
    assert_eq!(lab.leftovers(), 0);
    assert!((0..3).all(|n| lab.claim(n).is_none()));
}

#[tokio::test]
async fn a_machine_that_cannot_be_had_is_passed_over() {
    let Some(mut lab) = Lab::new(4) else { return };
    lab.stop(0);
    // Its disk cannot be written: where the claim's folder would be, there is a file.
    fs::write(lab.machines[1].home.join("state"), "").unwrap();
    // It lets nobody in.
    let none = lab.machines[2].home.join("none");
    fs::write(&none, "").unwrap();
    lab.stop(2);
    let Machine { address, home, .. } = &lab.machines[2];
    let sshd = Sshd { address, port: lab.port, home: home.clone(), keys: &none, more: "" };
    let child = sshd.start();
    lab.machines[2].sshd = Some(child);
    let call = lab.call("k", &lab.all());
    let id = lab.driver.deploy(&call).await.unwrap();
    assert!(id.as_str().ends_with("127.0.7.4"), "{id}");
    let error = lab.driver.deploy(&lab.call("k2", &lab.all())).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    for part in ["Connection refused", "cannot be made", "Permission denied", "claimed for host-k"]
    {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    // What is not in a list counts as not claimed, and of these it is not known.
    let error = lab.driver.list(&call).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    for part in ["127.0.7.1:", "127.0.7.3:", "cannot be asked: "] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert_eq!(lab.driver.list(&lab.call("k", "127.0.7.4")).await.unwrap().len(), 1);
    lab.stop(3);
    let report = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!((report.state, report.address()), (Some(MachineState::Gone), Some("127.0.7.4")));
    let error = lab.driver.cancel(&call, &id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown, "it is still claimed: {error}");
    assert_eq!(lab.driver.recover(&call, None).await.unwrap_err().kind, FailureKind::Unknown);
    lab.start(3, "");
    lab.driver.cancel(&call, &id).await.unwrap();
}

#[tokio::test]
async fn a_connection_lost_in_the_middle_is_looked_into() {
    let Some(mut lab) = Lab::new(1) else { return };
    // The first login does all that is asked for, and its answer is lost.
    let once = "if mkdir $HOME/first 2>/dev/null; then sh -c \"$SSH_ORIGINAL_COMMAND\" >/dev/null; kill -9 $PPID; exit; fi";
    lab.start(0, once);
    let call = lab.call("k", &lab.all());
    let id = lab.driver.deploy(&call).await.unwrap();
    assert!(lab.claim(0).unwrap().contains(&format!("ID={id}\n")));
    // Every login is cut: whether the machine was claimed cannot be known, and is not said to be.
    lab.driver.cancel(&call, &id).await.unwrap();
    lab.start(0, "sh -c \"$SSH_ORIGINAL_COMMAND\" >/dev/null; kill -9 $PPID; exit");
    let other = lab.call("k2", &lab.all());
    assert_eq!(lab.driver.deploy(&other).await.unwrap_err().kind, FailureKind::Unknown);
    assert_eq!(lab.driver.recover(&other, None).await.unwrap_err().kind, FailureKind::Unknown);
    lab.start(0, "");
    let found = lab.driver.recover(&other, None).await.unwrap().unwrap();
    assert_eq!(lab.driver.deploy(&other).await.unwrap(), found);
    lab.driver.cancel(&other, &found).await.unwrap();
    assert_eq!(lab.leftovers(), 0);
}

#[tokio::test]
async fn another_host_key_is_another_machine() {
    let Some(mut lab) = Lab::new(1) else { return };
    let call = lab.call("k", &lab.all());
    let id = lab.driver.deploy(&call).await.unwrap();
    lab.stop(0);
    lab.new_host_key(0);
    lab.start(0, "");
    let report = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!(report.state, Some(MachineState::NotKnown));
    assert!(report.attributes.text("SSH_STATUS").unwrap().contains("ssh-keygen"), "{report:?}");
    let error = lab.driver.deploy(&lab.call("k2", &lab.all())).await.unwrap_err();
    assert!(error.message.contains("host key is another one"), "{error}");
    let mut known = lab.call("k3", &lab.all());
    known.host.template.vector_mut("PROVISION").push("HOST_KEYS", "known");
    let strange = Ssh::new(&lab.dir.path().join("other"));
    let error = strange.deploy(&known).await.unwrap_err();
    assert!(error.message.contains("its host key is not in"), "{error}");
}

#[tokio::test]
async fn a_machine_that_never_answers_is_not_waited_for_long() {
    let Some(lab) = Lab::new(1) else { return };
    let silent = TcpListener::bind(("127.0.7.200", lab.port)).unwrap();
    let call = lab.call("k", "127.0.7.200,127.0.7.1");
    let id = lab.driver.deploy(&call).await.unwrap();
    assert!(id.as_str().ends_with("127.0.7.1"), "{id}");
    drop(silent);
    lab.driver.cancel(&call, &id).await.unwrap();
}

#[tokio::test]
async fn power_off_waits_until_nobody_answers() {
    let Some(mut lab) = Lab::new(1) else { return };
    // A `poweroff` that ends the machine's sshd.
    let bin = lab.machines[0].home.join("bin");
    fs::create_dir(&bin).unwrap();
    let sshd = lab.machines[0].sshd.as_ref().unwrap().id();
    for name in ["poweroff", "sudo"] {
        fs::write(bin.join(name), format!("#!/bin/sh\nkill {sshd}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let home = lab.machines[0].home.display().to_string();
    fs::write(
        lab.machines[0].home.join("run"),
        format!("#!/bin/sh\nHOME={home}\nPATH={home}/bin:$PATH\nexport HOME PATH\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n"),
    )
    .unwrap();
    let call = lab.call("k", &lab.all());
    let id = lab.driver.deploy(&call).await.unwrap();
    lab.driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(lab.driver.poll(&call, &id).await.unwrap().state, Some(MachineState::Gone));
    let mut resume = lab.call("r", &lab.all());
    resume.deadline = Duration::from_secs(5);
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    resume.host.template.vector_mut("PROVISION").push("WAKE_MAC", "52:54:00:00:00:01");
    let error = lab.driver.deploy(&resume).await.unwrap_err();
    assert!(error.message.contains("does not answer"), "{error}");
    let driver = lab.driver.clone();
    resume.deadline = Duration::from_secs(60);
    let waiting = tokio::spawn(async move { driver.deploy(&resume).await });
    lab.start(0, "");
    assert_eq!(waiting.await.unwrap().unwrap(), id, "it was waited for");
    lab.driver.cancel(&call, &id).await.unwrap();
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let driver = Ssh::new(&std::env::temp_dir().join("oneprovision-no-such-folder"));
    for (name, value, part) in [
        ("ADDRESSES", "", "parameter addresses is missing"),
        ("ADDRESSES", "10.0.0.1;reboot", "is neither an address"),
        ("HOSTNAME", "-oProxyCommand=x", "parameter hostname has"),
        ("CLAIM_FILE", "claim", "claim_file must be a file's path"),
        ("WAKE_MAC", "52:54", "wake_mac must be a MAC address"),
        ("HOST_KEYS", "no", "host_keys must be one of"),
    ] {
        let mut host = DeploymentFile::default();
        host.template.vector_mut("PROVISION").push(name, value);
        let deadline = Duration::from_secs(5);
        let call = Call { key: "k".into(), host, deadline, watch: Arc::new(Unwatched) };
        let error = driver.deploy(&call).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite);
        assert!(error.message.contains(part), "{name}: {error}");
    }
}
