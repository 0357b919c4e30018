//! The qemu driver with real QEMU.
//!
//! Most tests boot a disk with nothing on it: QEMU runs it like any other, in a tenth of a second. One
//! boots the rescue image (`target/tools/rescue`, made by `scripts/test`) and logs in. Where QEMU or the
//! image is not there they are passed over, and say so; with CI=true that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{Call, DeploymentFile, Driver, FailureKind, MachineState, ShutdownKind, Unwatched};
use drivers::qemu::{Qemu, RESCUE};
use model::DeployId;

fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped: {why}");
}

/// A state folder of its own; whatever runs in it is ended with the test.
struct Lab {
    dir: tempfile::TempDir,
    driver: Qemu,
    port: u16,
}

impl Lab {
    fn new() -> Option<Self> {
        if Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
            skip("qemu-system-x86_64 is not installed");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let driver = Qemu::new(dir.path());
        // Free on all addresses now, and seldom taken by somebody else meanwhile.
        let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let mut image = vec![0; 1 << 20];
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        fs::write(dir.path().join("empty.img"), image).unwrap();
        Some(Self { dir, driver, port })
    }

    fn image(&self) -> String {
        self.dir.path().join("empty.img").display().to_string()
    }

    fn call(&self, key: &str, parameters: &[(&str, &str)]) -> Call {
        let mut host = DeploymentFile { name: format!("host-{key}"), ..Default::default() };
        let provision = host.template.vector_mut("PROVISION");
        provision.push("PROVISION_ID", "p1");
        for (name, value) in parameters {
            provision.push(*name, *value);
        }
        host.template.vector_mut("PROVISION_CONNECTION").push("REMOTE_PORT", self.port.to_string());
        let deadline = Duration::from_secs(120);
        Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
    }

    /// A call for a machine that boots nothing and does not hear of shutdowns.
    fn empty(&self, key: &str) -> Call {
        self.call(key, &[("IMAGE", &self.image()), ("MEMORY", "32"), ("GRACE", "1")])
    }

    /// What is left: names in the folder of machines, and processes that work there.
    fn left(&self) -> (Vec<String>, Vec<u32>) {
        let folder = self.dir.path().join("qemu");
        let names = fs::read_dir(&folder).map_or(Vec::new(), |entries| {
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        });
        (names, self.processes())
    }

    fn processes(&self) -> Vec<u32> {
        let folder = self.dir.path().canonicalize().unwrap().display().to_string();
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid: &u32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&format!("{folder}/qemu/"))
            })
            .collect()
    }

    fn folder(&self, id: &DeployId) -> PathBuf {
        self.dir.path().join("qemu").join(id.as_str())
    }

    fn kill_all(&self) {
        for pid in self.processes() {
            kill(pid);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill_all();
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

async fn state(lab: &Lab, id: &DeployId) -> Option<MachineState> {
    lab.driver.poll(&lab.empty("poll"), id).await.unwrap().state
}

async fn until_gone(lab: &Lab) {
    while !lab.processes().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_machines_life() {
    let Some(lab) = Lab::new() else { return };
    let call = lab.empty("k1");
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), None);
    let id = lab.driver.deploy(&call).await.unwrap();
    assert_eq!(lab.driver.deploy(&call).await.unwrap(), id, "the same key finds its own machine");
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), Some(id.clone()));
    assert_eq!(lab.processes().len(), 1);
    let mode = fs::metadata(lab.dir.path().join("qemu")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let report = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!(report.state, Some(MachineState::Active));
    assert!(report.address().unwrap().starts_with("127."));
    assert_eq!(report.attributes.text("SSH_PORT"), Some(lab.port.to_string().as_str()));
    assert!(report.attributes.text("MEMORY").unwrap().parse::<u64>().unwrap() > 1000);
    let listed = lab.driver.list(&call).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].attributes.text("KEY"), Some("k1"));
    assert_eq!(listed[0].attributes.text("PROVISION_ID"), Some("p1"));
    assert_eq!(listed[0].attributes.text("NAME"), Some("host-k1"));

    let old = lab.processes();
    lab.driver.reset(&call, &id).await.unwrap();
    assert_eq!(lab.processes(), old, "a reset is not a new process");
    // It does not hear; after its grace the power is cut.
    lab.driver.reboot(&call, &id).await.unwrap();
    assert_ne!(lab.processes(), old);
    lab.driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(lab.processes(), [0; 0]);
    let off = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!(off.state, Some(MachineState::Gone));
    assert_eq!(off.addresses, report.addresses, "the address stays with the machine");
    lab.driver.shutdown(&call, &id, ShutdownKind::Undeploy).await.unwrap();
    for error in [lab.driver.reset(&call, &id).await, lab.driver.reboot(&call, &id).await] {
        let error = error.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite);
        assert!(error.message.contains("powered off"), "{error}");
    }

    let resume = lab.call("k2", &[("DEPLOY_ID", id.as_str())]);
    assert_eq!(lab.driver.deploy(&resume).await.unwrap(), id);
    assert_eq!(lab.driver.deploy(&resume).await.unwrap(), id, "one that runs is left alone");
    let again = lab.driver.poll(&call, &id).await.unwrap();
    assert_eq!((again.state, again.addresses), (Some(MachineState::Active), report.addresses));

    lab.driver.cancel(&call, &id).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
    for error in [
        lab.driver.cancel(&call, &id).await.unwrap_err(),
        lab.driver.poll(&call, &id).await.unwrap_err(),
        lab.driver.deploy(&resume).await.unwrap_err(),
        lab.driver.reboot(&call, &DeployId::new("../../etc").unwrap()).await.unwrap_err(),
        lab.driver.cancel(&call, &DeployId::new(".").unwrap()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, FailureKind::NotFound, "{error}");
    }
}

#[tokio::test]
async fn every_machine_has_an_address_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let calls: Vec<_> = (0..6).map(|n| lab.empty(&format!("k{n}"))).collect();
    // Two coordinators: drivers that know nothing of each other.
    let others: Vec<_> =
        calls.iter().map(|call| (Qemu::new(lab.dir.path()), call.clone())).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for (driver, call) in
        others.into_iter().chain(calls.iter().map(|c| (lab.driver.clone(), c.clone())))
    {
        tasks.spawn(async move { driver.deploy(&call).await.unwrap() });
    }
    let mut ids = tasks.join_all().await;
    ids.sort();
    ids.dedup();
    assert_eq!(
        (ids.len(), lab.processes().len()),
        (6, 6),
        "one machine a key, however often asked"
    );
    let mut addresses = Vec::new();
    for id in &ids {
        let report = lab.driver.poll(&calls[0], id).await.unwrap();
        assert_eq!(report.state, Some(MachineState::Active));
        addresses.extend(report.addresses);
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
    let mut tasks = tokio::task::JoinSet::new();
    for id in ids {
        let (driver, call) = (lab.driver.clone(), calls[0].clone());
        tasks.spawn(async move { driver.cancel(&call, &id).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_dead_process_is_off_and_a_reused_number_is_nobodys() {
    let Some(lab) = Lab::new() else { return };
    let call = lab.empty("k");
    let id = lab.driver.deploy(&call).await.unwrap();
    lab.kill_all();
    until_gone(&lab).await;
    assert_eq!(state(&lab, &id).await, Some(MachineState::Gone));
    // The number of a process that is none of ours.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    fs::write(lab.folder(&id).join("pid"), format!("{}\n", other.id())).unwrap();
    assert_eq!(state(&lab, &id).await, Some(MachineState::Gone));
    lab.driver.cancel(&call, &id).await.unwrap();
    assert_eq!(other.try_wait().unwrap(), None, "it was not ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn what_a_killed_deploy_left_is_found_or_done_again() {
    let Some(lab) = Lab::new() else { return };
    let call = lab.empty("k");
    let id = lab.driver.deploy(&call).await.unwrap();
    // Killed after the start and before it was noted.
    fs::remove_file(lab.folder(&id).join("started")).unwrap();
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), Some(id.clone()));
    // Killed before the start: there is a folder, and nothing in it ever ran.
    lab.kill_all();
    until_gone(&lab).await;
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), None);
    assert_eq!(lab.left(), (vec![], vec![]));
    // Killed while the folder was built, or while one was removed.
    for name in [".new-qemu-0000000000000000", ".gone-qemu-0000000000000001"] {
        let folder = lab.dir.path().join("qemu").join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("disk.qcow2"), "").unwrap();
    }
    assert!(lab.driver.list(&call).await.unwrap().is_empty());
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), None);
    assert_eq!(lab.left(), (vec![], vec![]));
    // A machine that stopped by itself is there all the same.
    let id = lab.driver.deploy(&call).await.unwrap();
    lab.kill_all();
    until_gone(&lab).await;
    assert_eq!(lab.driver.recover(&call, None).await.unwrap(), Some(id.clone()));
    // Killed in the middle of a cancel, twice over.
    fs::rename(lab.folder(&id), lab.dir.path().join(format!("qemu/.gone-{id}"))).unwrap();
    let again = lab.driver.cancel(&call, &id).await;
    assert!(again.is_ok() || again.unwrap_err().kind == FailureKind::NotFound);
    assert_eq!(lab.left(), (vec![], vec![]));
    // A process whose folder somebody removed.
    let id = lab.driver.deploy(&call).await.unwrap();
    fs::remove_dir_all(lab.folder(&id)).unwrap();
    lab.driver.cancel(&call, &id).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_deploy_that_is_given_up_at_any_moment_leaves_what_is_found_again() {
    let Some(lab) = Lab::new() else { return };
    let mut found = 0;
    for step in 0..24 {
        let call = lab.empty(&format!("k{step}"));
        // From before anything was done to after all was: QEMU is up in about 60 ms.
        let moment = Duration::from_millis(step * 5);
        let finished = tokio::time::timeout(moment, lab.driver.deploy(&call)).await.is_ok();
        match lab.driver.recover(&call, None).await.unwrap() {
            Some(id) => {
                found += 1;
                lab.driver.cancel(&call, &id).await.unwrap();
            }
            None => assert!(!finished, "what was answered is there"),
        }
        assert_eq!(lab.left(), (vec![], vec![]), "given up after {moment:?}");
    }
    println!("{found} of 24 were found again");
}

#[tokio::test]
async fn a_port_that_is_taken_meanwhile_is_told_or_avoided() {
    let Some(lab) = Lab::new() else { return };
    let call = lab.empty("k");
    let id = lab.driver.deploy(&call).await.unwrap();
    lab.driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    let address = lab.driver.poll(&call, &id).await.unwrap().addresses[0].clone();
    let thief = TcpListener::bind((address.as_str(), lab.port)).unwrap();
    let error = lab.driver.deploy(&lab.call("r", &[("DEPLOY_ID", id.as_str())])).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Definite);
    assert!(error.message.contains(&format!("port {} of {address}", lab.port)), "{error}");
    drop(thief);
    let _other = TcpListener::bind((address.as_str(), lab.port)).unwrap();
    let second = lab.driver.deploy(&lab.empty("k2")).await.unwrap();
    assert_ne!(lab.driver.poll(&call, &second).await.unwrap().addresses[0], address);
    let wanted = [("IMAGE", lab.image()), ("ADDRESS", address.clone())];
    let wanted: Vec<_> = wanted.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let error = lab.driver.deploy(&lab.call("k3", &wanted)).await.unwrap_err();
    assert!(error.message.contains("another machine"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_is_said_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    let text = lab.dir.path().join("text");
    fs::write(&text, "<!DOCTYPE html><html>no image</html>".repeat(100)).unwrap();
    let (text, image) = (text.display().to_string(), lab.image());
    let no = "/nonexistent/file";
    let cases: [(&[(&str, &str)], &str); 18] = [
        (&[("IMAGE", no)], "parameter image: /nonexistent/file does not exist"),
        (&[("IMAGE", &text)], "neither a qcow2 image nor a raw disk"),
        (&[("IMAGE", "/tmp")], "is not a file"),
        (&[("IMAGE", "disk.img")], "absolute path"),
        (&[("KERNEL", no)], "parameter kernel: /nonexistent/file does not exist"),
        (&[("KERNEL", &text), ("MEMORY", "64")], "kernel"),
        (&[("IMAGE", &image), ("INITRD", no)], "initrd needs kernel"),
        (&[("IMAGE", &image), ("MEMORY", "much")], "memory must be a whole number"),
        (&[("IMAGE", &image), ("MEMORY", "16000000")], "not enough memory"),
        (&[("IMAGE", &image), ("CPUS", "0")], "cpus must be between"),
        (&[("IMAGE", &image), ("DISK_SIZE", "-1")], "disk_size must be between"),
        (&[("IMAGE", &image), ("ACCEL", "xen")], "accel must be one of"),
        (&[("IMAGE", &image), ("NETWORK", "bridge")], "bridge is missing"),
        (
            &[("IMAGE", &image), ("NETWORK", "bridge"), ("BRIDGE", "a,b=c")],
            "name of a network device",
        ),
        (
            &[("IMAGE", &image), ("NETWORK", "tap"), ("TAP", "no-such-tap")],
            "there is no device no-such-tap",
        ),
        (&[("IMAGE", &image), ("ADDRESS", "192.0.2.1")], "not an address of this computer"),
        (
            &[("IMAGE", &image), ("MAC", "01:00:00:00:00:00")],
            "mac must be the address of one device",
        ),
        (&[], "`oneprovision image build` makes one"),
    ];
    for (parameters, expected) in cases {
        let error = lab.driver.deploy(&lab.call("bad", parameters)).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite, "{parameters:?}: {error}");
        assert!(error.message.contains(expected), "{parameters:?}: {error}");
        assert_eq!(lab.left(), (vec![], vec![]), "{parameters:?}");
    }
    let absent = Qemu::new(lab.dir.path()).with_program("qemu-system-none");
    let error = absent.deploy(&lab.empty("bad")).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Setup);
    assert!(error.message.contains("apt-get install"), "{error}");
    assert_eq!(lab.left(), (vec![], vec![]));
}

/// As on a disk that is full by then: the folder would be removed, and QEMU run on without one.
#[tokio::test]
async fn a_machine_whose_start_cannot_be_noted_does_not_run() {
    let Some(lab) = Lab::new() else { return };
    let program = lab.dir.path().join("qemu.sh");
    let text = "#!/bin/sh\nln -s /nonexistent/there started\nexec qemu-system-x86_64 \"$@\"\n";
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let driver = Qemu::new(lab.dir.path()).with_program(&program.display().to_string());
    let error = driver.deploy(&lab.empty("k")).await.unwrap_err();
    assert!(error.message.contains("cannot note"), "{error}");
    assert_eq!((error.kind, error.deploy_id), (FailureKind::Definite, None));
    assert_eq!(lab.left(), (vec![], vec![]));
}

#[tokio::test]
async fn a_monitor_that_does_not_answer_is_not_taken_for_a_state() {
    let Some(lab) = Lab::new() else { return };
    let call = lab.empty("k");
    let id = lab.driver.deploy(&call).await.unwrap();
    fs::remove_file(lab.folder(&id).join("qmp.sock")).unwrap();
    assert_eq!(state(&lab, &id).await, Some(MachineState::NotKnown));
    assert_eq!(lab.driver.reset(&call, &id).await.unwrap_err().kind, FailureKind::Unknown);
    lab.driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(state(&lab, &id).await, Some(MachineState::Gone));
}

fn ssh(key: &Path, address: &str, port: u16, command: &str) -> Option<String> {
    let output = Command::new("ssh")
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "LogLevel=ERROR"])
        .args(["-o", "StrictHostKeyChecking=accept-new", "-F", "none", "-o"])
        .arg(format!("UserKnownHostsFile={}.hosts", key.display()))
        .arg("-i")
        .arg(key)
        .args(["-p", &port.to_string(), &format!("root@{address}"), command])
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Logs in as soon as that is possible: forwarded ports take connections before anybody answers.
async fn ssh_when_up(key: &Path, address: &str, port: u16, command: &str) -> String {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let (key, address, command) = (key.to_owned(), address.to_owned(), command.to_owned());
        let out = tokio::task::spawn_blocking(move || ssh(&key, &address, port, &command));
        if let Some(out) = out.await.unwrap() {
            return out;
        }
        assert!(Instant::now() < end, "the machine cannot be logged in to");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The driver ssh on a machine that really reboots; it runs from memory, so its claim ends with it.
async fn reset_over_ssh(lab: &Lab, key: &Path, address: &str) {
    let driver = drivers::ssh::Ssh::new(&lab.dir.path().join("other"));
    let mut call = lab.call("s", &[("ADDRESSES", address)]);
    call.host
        .template
        .vector_mut("PROVISION_CONNECTION")
        .push("PRIVATE_KEY", key.display().to_string());
    let id = driver.deploy(&call).await.unwrap();
    assert_eq!(driver.poll(&call, &id).await.unwrap().state, Some(MachineState::Active));
    driver.reboot(&call, &id).await.unwrap();
    // It is back, in another boot, and nobody's.
    assert_eq!(driver.poll(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    let id = driver.deploy(&call).await.unwrap();
    driver.reset(&call, &id).await.unwrap();
    assert_eq!(driver.cancel(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
}

#[tokio::test]
async fn the_rescue_image_is_logged_in_to_rebooted_and_powered_off() {
    let Some(lab) = Lab::new() else { return };
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/rescue");
    if !built.join("vmlinuz").exists() {
        return skip("target/tools/rescue is not there: scripts/test makes it");
    }
    let images = lab.dir.path().join(RESCUE);
    fs::create_dir_all(&images).unwrap();
    for name in ["vmlinuz", "initrd.img"] {
        fs::copy(built.join(name), images.join(name)).unwrap();
    }
    let key = lab.dir.path().join("key");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    let mut call = lab.call("k", &[("MEMORY", "256"), ("HOSTNAME", "first.example.org")]);
    let public = fs::read_to_string(lab.dir.path().join("key.pub")).unwrap();
    call.host.template.vector_mut("CONTEXT").set("SSH_PUBLIC_KEY", format!("# mine\n{public}"));
    let id = lab.driver.deploy(&call).await.unwrap();
    let address = lab.driver.poll(&call, &id).await.unwrap().addresses[0].clone();
    let booted = "hostname; cat /proc/sys/kernel/random/boot_id";
    let first = ssh_when_up(&key, &address, lab.port, booted).await;
    assert!(first.starts_with("first.example.org\n"), "{first}");
    lab.driver.reboot(&call, &id).await.unwrap();
    // Its host key is the one that was accepted before: another one would be refused.
    let second = ssh_when_up(&key, &address, lab.port, booted).await;
    assert_ne!(first, second);
    reset_over_ssh(&lab, &key, &address).await;
    lab.driver.reset(&call, &id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let third = ssh_when_up(&key, &address, lab.port, booted).await;
    assert_ne!(second, third);
    let begin = Instant::now();
    lab.driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    println!("orderly shutdown in {:?}", begin.elapsed());
    let console = fs::read_to_string(lab.folder(&id).join("console.log")).unwrap();
    assert!(console.contains("Power down"), "it was asked to, and went: {console}");
    let resume = lab.call("r", &[("DEPLOY_ID", id.as_str())]);
    lab.driver.deploy(&resume).await.unwrap();
    ssh_when_up(&key, &address, lab.port, "true").await;
    lab.driver.cancel(&call, &id).await.unwrap();
    assert_eq!(lab.left(), (vec![], vec![]));
}
