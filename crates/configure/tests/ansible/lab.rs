//! Machines and a place for what runs on them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use configure::{
    Connection, Done, Heard, Machine, Run, Settings, Stage, Steps, System, TaskResult, Trouble,
    Watch,
};
use model::{Attributes, HostKey, ProvisionId, Secret};
use testkit::sshd::{self, Sshd};
use uuid::Uuid;

pub const PYTHON: &str = "ansible_python_interpreter: /usr/bin/python3\n";
/// A task that ends its own connection: it kills the sshd that it comes from.
pub const DROP: &str = "p=$$; while :; do case $(cat /proc/$p/comm) in sshd*) kill -9 $p; break;; esac; \
                    p=$(cut -d' ' -f4 /proc/$p/stat); done; sleep 5";

/// The Ansible to test with.
pub fn ansible() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    let found = folders.map(|f| f.join("ansible-playbook")).find(|program| program.exists());
    if found.is_none() {
        println!("skipped: ansible-playbook is not installed");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped");
        return None;
    }
    found
}

/// Machines, a place for what runs on them, and what was heard of them.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub temporary: tempfile::TempDir,
    pub port: u16,
    pub addresses: Vec<String>,
    pub sshd: Vec<Option<Child>>,
    pub system: System,
    pub provision: ProvisionId,
}

#[derive(Default)]
pub struct Ears(pub Mutex<Vec<(u32, Heard)>>);

impl Watch for Ears {
    fn heard(&self, host: HostKey, what: Heard) {
        self.0.lock().unwrap().push((host.0, what));
    }
}

impl Ears {
    pub fn ended(&self, host: u32, name: &str) -> Option<TaskResult> {
        self.0.lock().unwrap().iter().find_map(|(key, heard)| match heard {
            Heard::Ended { task, result } if *key == host && task == name => Some(result.clone()),
            _ => None,
        })
    }
}

pub fn system(ansible: PathBuf, state: PathBuf, temporary: &Path) -> System {
    System::new(Settings { state, temporary: temporary.to_owned(), logins: 4, forks: 10, ansible })
}

impl Lab {
    pub fn new(addresses: &[&str]) -> Option<Self> {
        let ansible = ansible()?;
        if !sshd::is_there() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let port = sshd::free_port();
        sshd::keygen(&dir.path().join("key"), "");
        let system = system(ansible, dir.path().join("state"), temporary.path());
        let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
        let provision = ProvisionId(Uuid::new_v4());
        let mut lab = Self { dir, temporary, port, addresses, sshd: Vec::new(), system, provision };
        for n in 0..lab.addresses.len() {
            fs::create_dir(lab.home(n)).unwrap();
            sshd::keygen(&lab.home(n).join("host"), "");
            let child = lab.start(n);
            lab.sshd.push(Some(child));
        }
        Some(lab)
    }

    pub fn home(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("m{n}"))
    }

    pub fn start(&self, n: usize) -> Child {
        let (address, port, home) = (&self.addresses[n], self.port, self.home(n));
        let keys = self.dir.path().join("key.pub");
        let more = "Subsystem sftp internal-sftp\nAcceptEnv OF";
        Sshd { address, port, home, keys: &keys, more }.start()
    }

    pub fn stop(&mut self, n: usize) {
        sshd::stop(&mut self.sshd[n]);
    }

    pub fn machine(&self, n: usize, variables: &str) -> Machine {
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let mut connection = Attributes::new();
        connection.push("REMOTE_USER", String::from_utf8(user).unwrap().trim());
        connection.push("REMOTE_PORT", self.port.to_string());
        connection.push("PRIVATE_KEY", self.dir.path().join("key").display().to_string());
        let home = self.home(n).display().to_string();
        Machine {
            host: HostKey(u32::try_from(n).unwrap()),
            host_id: Some(i32::try_from(n).unwrap() + 40),
            address: self.addresses[n].clone(),
            alias: format!("machine-{n}"),
            hostname: format!("node{n}"),
            vm_mad: "kvm".to_owned(),
            connection: Connection::read(&connection, None).unwrap(),
            variables: Secret::new(format!(
                "home: {home}\nansible_remote_tmp: {home}/tmp\n{variables}"
            )),
            steps: Steps::default(),
            secret_steps: false,
        }
    }

    pub fn run(&self, machines: Vec<Machine>) -> Run {
        Run {
            provision: self.provision,
            stage: Stage::Steps,
            machines,
            others: Vec::new(),
            release: Some("6.10".to_owned()),
            deadline: Duration::from_secs(120),
        }
    }

    pub fn all(&self, variables: &str) -> Run {
        self.run((0..self.addresses.len()).map(|n| self.machine(n, variables)).collect())
    }

    /// Writes a playbook. Its path.
    pub fn playbook(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub async fn play(&self, run: &Run, playbook: &str) -> (Vec<Result<Done, Trouble>>, Ears) {
        let ears = Ears::default();
        let results = self.system.run_playbook(run, playbook, &ears).await;
        self.nothing_left();
        (results, ears)
    }

    pub fn log(&self, name: &str) -> String {
        let logs = self.dir.path().join("state").join(self.provision.to_string()).join("logs");
        fs::read_to_string(logs.join(name)).unwrap()
    }

    /// No process of a run is there any more, and no folder.
    pub fn nothing_left(&self) {
        until("all processes have ended", || self.processes().is_empty());
        until("the folder is gone", || self.temporary.path().read_dir().unwrap().count() == 0);
    }

    /// The processes that know the folder of a run: Ansible, its workers, ssh and its masters.
    pub fn processes(&self) -> Vec<i32> {
        let folder = self.temporary.path().display().to_string();
        let knows = |pid: &i32| {
            ["cmdline", "environ"].iter().any(|name| {
                let text = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                String::from_utf8_lossy(&text).contains(&folder)
            })
        };
        let all = fs::read_dir("/proc").unwrap();
        let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|pid| *pid != i32::try_from(std::process::id()).unwrap() && knows(pid))
            .collect()
    }

    /// A playbook whose task takes longer than anybody waits.
    pub fn endless(&self) -> String {
        self.playbook(
            "endless.yml",
            "- hosts: all\n  gather_facts: false\n  tasks:\n  - name: sleep\n    \
             ansible.builtin.shell: echo $$ > {{ home }}/pid; exec sleep 300\n",
        )
    }

    /// Ends what the endless task left on a machine, which is this computer.
    pub fn end_sleep(&self, n: usize) {
        let Ok(pid) = fs::read_to_string(self.home(n).join("pid")) else { return };
        let _ = Command::new("kill").arg(pid.trim()).status();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (0..self.sshd.len()).for_each(|n| self.stop(n));
    }
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < end, "{what}: not so within 40 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn error(result: &Result<Done, Trouble>) -> &str {
    &result.as_ref().unwrap_err().0
}

pub const SITE: &str = r#"
- hosts: nodes
  gather_facts: false
  tasks:
    - name: a folder
      ansible.builtin.file: {path: "{{ home }}/made", state: directory}
    - name: fails
      ansible.builtin.shell: echo to-out; echo "to-err {{ db_password }}" >&2; exit 3
      when: trouble == "fails"
    - name: is ignored
      ansible.builtin.command: "false"
      ignore_errors: true
      when: trouble == "ignores"
    - name: loops
      ansible.builtin.shell: echo word{{ item }} >&2; exit {{ item }}
      loop: [0, 4]
      when: trouble == "loops"
    - name: drops
      ansible.builtin.shell: "{{ drop }}"
      when: trouble == "drops"
    - name: hides
      ansible.builtin.shell: echo hidden-words; exit 1
      no_log: true
      when: trouble == "hides"
    - name: is rescued
      when: trouble == "rescued"
      block:
        - name: fails, but is rescued
          ansible.builtin.fail: {msg: a reason}
      rescue:
        - name: rescues
          ansible.builtin.debug: {msg: "of {{ oneprovision_hostname }} {{ oneprovision_host_id }} {{ db_password }}"}
    - name: last
      ansible.builtin.file: {path: "{{ home }}/{{ oneprovision_vm_mad }}", state: directory}
"#;

/// The run that a process of its own has of its environment.
pub fn held(variable: &impl Fn(&str) -> String, machines: u32) -> Run {
    let mut connection = Attributes::new();
    connection.push("REMOTE_USER", variable("USER"));
    connection.push("REMOTE_PORT", variable("PORT"));
    connection.push("PRIVATE_KEY", variable("KEY"));
    connection.push("JUMP_HOSTS", std::env::var("HOLDER_JUMP").unwrap_or_default());
    let machine = |n: u32| Machine {
        host: HostKey(n),
        host_id: None,
        address: variable(&format!("ADDRESS_{n}")),
        alias: format!("machine-{n}"),
        hostname: String::new(),
        vm_mad: "kvm".to_owned(),
        connection: Connection::read(&connection, None).unwrap(),
        variables: variable(&format!("VARIABLES_{n}")).as_str().into(),
        steps: Steps::default(),
        secret_steps: false,
    };
    Run {
        provision: ProvisionId(Uuid::nil()),
        stage: Stage::Steps,
        machines: (0..machines).map(machine).collect(),
        others: Vec::new(),
        release: None,
        deadline: Duration::from_secs(200),
    }
}
