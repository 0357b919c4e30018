//! The README's second example: three machines of QEMU, from nothing to hosts, rebooted, off, on again, gone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::{Home, skip, wait_until};

/// What only this test has: a home with a key and the rescue image, and a port that is free now.
struct Desk {
    home: Home,
    port: u16,
}

impl Desk {
    fn new() -> Option<Self> {
        let must = std::env::var("CI").as_deref() == Ok("true");
        let rescue = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/rescue");
        let qemu = Command::new("qemu-system-x86_64").arg("--version").output();
        if qemu.is_err() || !rescue.join("initrd.img").exists() {
            assert!(!must, "with CI=true nothing is skipped");
            skip("no QEMU, or no rescue image in target/tools, which scripts/test makes");
            return None;
        }
        let home = Home::new();
        let ssh = home.home().join(".ssh");
        let images = home.state().join("images/rescue");
        std::fs::create_dir_all(&ssh).unwrap();
        std::fs::create_dir_all(&images).unwrap();
        for name in ["vmlinuz", "initrd.img"] {
            std::fs::copy(rescue.join(name), images.join(name)).unwrap();
        }
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(ssh.join("id_ed25519"))
            .status();
        assert!(made.unwrap().success());
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Some(Self { home, port })
    }

    /// Addresses by host id, as OpenNebula has them.
    fn addresses(&self) -> BTreeMap<i64, String> {
        let all = self.home.sandbox(&["host", "list", "-j"]).exits(0).json();
        let hosts = all["HOST_POOL"]["HOST"].as_array().unwrap();
        let name = |host: &serde_json::Value| host["NAME"].as_str().unwrap().to_owned();
        hosts.iter().map(|host| (host["ID"].as_i64().unwrap(), name(host))).collect()
    }

    /// Which boot each machine is in, told over SSH, once all answer.
    fn boots(&self) -> Vec<String> {
        let ssh = self.home.home().join(".ssh");
        let known = format!("UserKnownHostsFile={}", ssh.join("known").display());
        self.addresses()
            .values()
            .map(|address| {
                let login = || {
                    let output = Command::new("ssh")
                        .args(["-F", "none", "-n", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"])
                        .args(["-o", "StrictHostKeyChecking=accept-new", "-o", &known, "-i"])
                        .arg(ssh.join("id_ed25519"))
                        .args(["-p", &self.port.to_string(), &format!("root@{address}")])
                        .arg("cat /proc/sys/kernel/random/boot_id")
                        .output()
                        .unwrap();
                    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
                };
                let boot = std::cell::OnceCell::new();
                wait_until("SSH answers", || login().is_some_and(|id| boot.set(id).is_ok()));
                boot.into_inner().unwrap()
            })
            .collect()
    }

    fn processes(&self) -> Vec<u32> {
        let folder = self.home.state().join("qemu").canonicalize().unwrap().display().to_string();
        let is_ours = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder)
        };
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_ours).collect()
    }
}

impl Drop for Desk {
    /// Nothing runs on when the test fails.
    fn drop(&mut self) {
        if !self.home.state().join("qemu").exists() {
            return;
        }
        for pid in self.processes() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

#[test]
fn three_machines_from_nothing_to_hosts_and_back() {
    let Some(desk) = Desk::new() else { return };
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/qemu.yaml");
    let example = std::fs::read_to_string(example).unwrap();
    let example = example.replace("remote_port: 2222", &format!("remote_port: {}", desk.port));
    let path = desk.home.write("qemu.yaml", example);
    let id = desk.home.sandbox(&["create", path.to_str().unwrap()]).exits(0).id();
    let addresses = desk.addresses();
    assert!(addresses.values().all(|address| address.starts_with("127.")), "{addresses:?}");
    assert_eq!((addresses.len(), desk.processes().len()), (3, 3));
    let first = desk.boots();

    desk.home.sandbox(&["host", "reboot", "0"]).exits(0);
    let second = desk.boots();
    assert_ne!(first[0], second[0]);
    assert_eq!(first[1..], second[1..], "the others were left alone");

    desk.home.sandbox(&["host", "poweroff", "1,2"]).exits(0);
    assert_eq!(desk.processes().len(), 1);
    desk.home.sandbox(&["host", "resume", "1,2"]).exits(0);
    let third = desk.boots();
    assert_eq!(second[0], third[0]);
    assert!(second[1] != third[1] && second[2] != third[2]);
    assert_eq!(desk.addresses(), addresses, "each came back under its address");

    desk.home.sandbox(&["--yes", "delete", &id]).exits(0);
    assert_eq!(desk.processes(), [0; 0]);
    let left = std::fs::read_dir(desk.home.state().join("qemu")).unwrap().count();
    assert_eq!(left, 0, "no file is left");
}
