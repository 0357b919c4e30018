//! Machines: sshd on addresses of 127.0.0.0/8.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use configure::steps::{self, Steps};
use configure::{
    Configure as _, Connection, Done, Heard, Key, Machine, Patience, Run, Settings, Stage, System,
    TaskResult, Trouble, Watch,
};
use model::{HostKey, ProvisionId, Secret};
pub use testkit::sshd::keygen;
use testkit::sshd::{self, Sshd};

pub const PROVISION: ProvisionId = ProvisionId(uuid::Uuid::from_u128(7));
/// For what comes about sooner or later.
pub const LONG: Patience = Patience { retries: 600, pause: Duration::from_millis(100) };
/// For what never does.
pub const SHORT: Patience = Patience { retries: 3, pause: Duration::from_millis(100) };

pub fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // If it is a link, what it leads to is not ours to change.
    let _ = fs::remove_file(path);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A machine: an sshd with a home folder of its own.
pub struct Host {
    pub address: String,
    pub home: PathBuf,
    sshd: Option<Child>,
}

pub struct Lab {
    pub system: System,
    pub port: u16,
    pub user: String,
    pub hosts: Vec<Host>,
    pub dir: tempfile::TempDir,
}

impl Lab {
    /// So many machines, which do not run yet. `None` if there is no sshd.
    pub fn new(hosts: usize) -> Option<Self> {
        if !sshd::is_there() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = sshd::free_port();
        keygen(&dir.path().join("key"), "");
        let (state, temporary) = (dir.path().join("state"), dir.path().join("temporary"));
        let system = System::new(Settings {
            state,
            temporary,
            logins: 3,
            forks: 3,
            ansible: Settings::ANSIBLE.into(),
        });
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().to_owned();
        let mut lab = Self { system, port, user, hosts: Vec::new(), dir };
        for n in 0..hosts {
            let home = lab.dir.path().join(format!("m{n}"));
            // Where the tests are not run by root, root is played. It finds the programs of the
            // machine, and not those of this folder.
            write_program(
                &home.join("bin/sudo"),
                "#!/bin/sh\n[ \"$1\" = -n ] || exit 9\nshift\nPATH=${PATH#*:}\nSUDO=yes\n\
                 export SUDO\nexec \"$@\"\n",
            );
            fs::copy(lab.dir.path().join("key.pub"), home.join("authorized")).unwrap();
            keygen(&home.join("host"), "");
            lab.hosts.push(Host { address: format!("127.0.8.{}", n + 1), home, sshd: None });
        }
        Some(lab)
    }

    /// So many machines that run.
    pub fn running(hosts: usize) -> Option<Self> {
        let mut lab = Self::new(hosts)?;
        (0..hosts).for_each(|n| lab.start(n, ""));
        Some(lab)
    }

    /// Starts a machine's sshd. `wrapper` goes before the shell that runs what is asked for.
    pub fn start(&mut self, n: usize, wrapper: &str) {
        self.stop(n);
        let Host { address, home, .. } = &self.hosts[n];
        let (home_text, port) = (home.display(), self.port);
        write_program(
            &home.join("run"),
            &format!(
                "#!/bin/sh\nHOME={home_text}\nPATH={home_text}/bin:$PATH\nSSHD=$PPID\n\
                 export HOME PATH SSHD\necho 'Welcome to {address}!'\n{wrapper}\n\
                 exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n"
            ),
        );
        let sshd = Sshd {
            address,
            port,
            home: home.clone(),
            keys: &home.join("authorized"),
            more: &format!("ForceCommand {home_text}/run"),
        };
        let child = sshd.start();
        self.hosts[n].sshd = Some(child);
    }

    pub fn stop(&mut self, n: usize) {
        sshd::stop(&mut self.hosts[n].sshd);
    }

    /// The same machine with another host key.
    pub fn install_anew(&mut self, n: usize) {
        self.stop(n);
        keygen(&self.hosts[n].home.join("host"), "");
        self.start(n, "");
    }

    pub fn machine(&self, n: usize) -> Machine {
        Machine {
            host: HostKey(u32::try_from(n).unwrap()),
            host_id: None,
            address: self.hosts[n].address.clone(),
            alias: format!("m-{n}"),
            hostname: format!("host-{n}"),
            vm_mad: "kvm".to_owned(),
            connection: Connection {
                user: self.user.clone(),
                port: self.port,
                key: Key::File(self.dir.path().join("key")),
                public_key: None,
                jump: None,
            },
            variables: Secret::new(""),
            steps: Steps::default(),
            secret_steps: false,
        }
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.dir.path().join(format!("state/{PROVISION}/known_hosts"))
    }

    pub fn log_file(&self, machine: &Machine) -> PathBuf {
        let name = format!("state/{PROVISION}/logs/steps-{}.log", machine.address);
        self.dir.path().join(name)
    }

    pub fn log(&self, machine: &Machine) -> String {
        fs::read_to_string(self.log_file(machine)).unwrap()
    }

    pub async fn steps(&self, machines: &[Machine], ear: &Ear) -> Vec<Result<Done, Trouble>> {
        self.steps_within(machines, ear, Duration::from_secs(300)).await
    }

    pub async fn steps_within(
        &self,
        machines: &[Machine],
        ear: &Ear,
        deadline: Duration,
    ) -> Vec<Result<Done, Trouble>> {
        let run = Run {
            provision: PROVISION,
            stage: Stage::Steps,
            machines: machines.to_vec(),
            others: Vec::new(),
            release: None,
            deadline,
        };
        self.system.run(&run, ear).await
    }

    /// Number of ssh that run for this lab.
    pub fn programs(&self) -> usize {
        let mark = self.dir.path().join("state").display().to_string();
        let is_ours = |process: &fs::DirEntry| {
            let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
            words.starts_with(b"ssh\0") && String::from_utf8_lossy(&words).contains(&mark)
        };
        fs::read_dir("/proc").unwrap().flatten().filter(is_ours).count()
    }

    /// Keys that were written and are still there.
    pub fn keys_left(&self) -> usize {
        fs::read_dir(self.dir.path().join("temporary")).map_or(0, Iterator::count)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (0..self.hosts.len()).for_each(|n| self.stop(n));
    }
}

/// What was heard.
#[derive(Default)]
pub struct Ear(Mutex<Vec<(HostKey, Heard)>>);

impl Watch for Ear {
    fn heard(&self, host: HostKey, what: Heard) {
        self.0.lock().unwrap().push((host, what));
    }
}

impl Ear {
    fn all<T>(&self, pick: impl Fn(&Heard) -> Option<T>) -> Vec<T> {
        self.0.lock().unwrap().iter().filter_map(|(_, heard)| pick(heard)).collect()
    }

    pub fn waits(&self) -> Vec<String> {
        self.all(|heard| match heard {
            Heard::Waiting(why) => Some(why.clone()),
            _ => None,
        })
    }

    pub fn begins(&self) -> Vec<String> {
        self.all(|heard| match heard {
            Heard::Begun(task) => Some(task.clone()),
            _ => None,
        })
    }

    pub fn ends(&self) -> Vec<(String, TaskResult)> {
        self.all(|heard| match heard {
            Heard::Ended { task, result } => Some((task.clone(), result.clone())),
            _ => None,
        })
    }

    /// Until a wait is heard that has this in it.
    pub async fn wait_for(&self, part: &str) {
        until(|| self.waits().iter().any(|why| why.contains(part))).await;
    }
}

/// Until it is so; a test that waits in vain has failed.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn line(text: &str) -> steps::Command {
    steps::Command::Line(text.to_owned())
}

pub fn words(all: &[&str]) -> steps::Command {
    steps::Command::Words(all.iter().map(|word| (*word).to_owned()).collect())
}

pub fn file(path: &Path, content: &str) -> steps::File {
    let path = path.display().to_string();
    steps::File { path, content: Some(content.to_owned()), source: None, mode: None, owner: None }
}
