//! Playbooks by the real `ansible-playbook` on real machines: several sshd on addresses of 127.0.0.0/8 and
//! ::1, each with a host key and a folder of its own.
//!
//! Ansible is the one that `scripts/test` installs, or that of the PATH. Where it or sshd is not there the
//! tests are passed over, and say so; with CI=true that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use configure::{
    Connection, Done, Heard, Key, Machine, Plan, Run, Settings, Stage, Steps, System, TaskResult,
    Trouble, Watch,
};
use model::{Attributes, HostKey, ProvisionId, Secret};
use uuid::Uuid;

const SSHD: &str = "/usr/sbin/sshd";
const PYTHON: &str = "ansible_python_interpreter: /usr/bin/python3\n";
/// A task that ends its own connection: it kills the sshd that it comes from.
const DROP: &str = "p=$$; while :; do case $(cat /proc/$p/comm) in sshd*) kill -9 $p; break;; esac; \
                    p=$(cut -d' ' -f4 /proc/$p/stat); done; sleep 5";

/// The Ansible to test with.
fn ansible() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools).chain(std::env::split_paths(&path));
    let found = folders.map(|f| f.join("ansible-playbook")).find(|program| program.exists());
    if found.is_none() || !Path::new(SSHD).exists() {
        println!("skipped: ansible-playbook or {SSHD} is not installed");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped");
        return None;
    }
    found
}

fn keygen(path: &Path) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status();
    assert!(made.unwrap().success());
}

/// Machines, a place for what runs on them, and what was heard of them.
struct Lab {
    dir: tempfile::TempDir,
    temporary: tempfile::TempDir,
    port: u16,
    addresses: Vec<String>,
    sshd: Vec<Option<Child>>,
    system: System,
    provision: ProvisionId,
}

#[derive(Default)]
struct Ears(Mutex<Vec<(u32, Heard)>>);

impl Watch for Ears {
    fn heard(&self, host: HostKey, what: Heard) {
        self.0.lock().unwrap().push((host.0, what));
    }
}

impl Ears {
    fn ended(&self, host: u32, name: &str) -> Option<TaskResult> {
        self.0.lock().unwrap().iter().find_map(|(key, heard)| match heard {
            Heard::Ended { task, result } if *key == host && task == name => Some(result.clone()),
            _ => None,
        })
    }
}

fn system(ansible: PathBuf, state: PathBuf, temporary: &Path) -> System {
    System::new(Settings { state, temporary: temporary.to_owned(), logins: 4, forks: 10, ansible })
}

impl Lab {
    fn new(addresses: &[&str]) -> Option<Self> {
        let ansible = ansible()?;
        if rustix::process::geteuid().is_root() {
            // Where sshd's daemon never ran, the folder that it needs is not there.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let temporary = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        keygen(&dir.path().join("key"));
        let system = system(ansible, dir.path().join("state"), temporary.path());
        let addresses = addresses.iter().map(|a| (*a).to_owned()).collect();
        let provision = ProvisionId(Uuid::new_v4());
        let mut lab = Self { dir, temporary, port, addresses, sshd: Vec::new(), system, provision };
        for n in 0..lab.addresses.len() {
            fs::create_dir(lab.home(n)).unwrap();
            keygen(&lab.home(n).join("host"));
            let child = lab.start(n);
            lab.sshd.push(Some(child));
        }
        Some(lab)
    }

    fn home(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("m{n}"))
    }

    fn start(&self, n: usize) -> Child {
        let (address, port, home) = (&self.addresses[n], self.port, self.home(n));
        let config = home.join("sshd_config");
        let shown = home.display();
        fs::write(
            &config,
            format!(
                "ListenAddress {address}\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\n\
                 StrictModes no\nAuthorizedKeysFile {}/key.pub\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
                 Subsystem sftp internal-sftp\nAcceptEnv OF\n",
                self.dir.path().display()
            ),
        )
        .unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let child =
            Command::new(SSHD).args(["-D", "-e", "-f"]).arg(&config).stderr(log).spawn().unwrap();
        until("sshd listens", || TcpStream::connect((address.as_str(), port)).is_ok());
        child
    }

    fn stop(&mut self, n: usize) {
        if let Some(mut child) = self.sshd[n].take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn machine(&self, n: usize, variables: &str) -> Machine {
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

    fn run(&self, machines: Vec<Machine>) -> Run {
        Run {
            provision: self.provision,
            stage: Stage::Steps,
            machines,
            others: Vec::new(),
            release: Some("6.10".to_owned()),
            deadline: Duration::from_secs(120),
        }
    }

    fn all(&self, variables: &str) -> Run {
        self.run((0..self.addresses.len()).map(|n| self.machine(n, variables)).collect())
    }

    /// Writes a playbook. Its path.
    fn playbook(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn play(&self, run: &Run, playbook: &str) -> (Vec<Result<Done, Trouble>>, Ears) {
        let ears = Ears::default();
        let results = self.system.run_playbook(run, playbook, &ears).await;
        self.nothing_left();
        (results, ears)
    }

    fn log(&self, name: &str) -> String {
        let logs = self.dir.path().join("state").join(self.provision.to_string()).join("logs");
        fs::read_to_string(logs.join(name)).unwrap()
    }

    /// No process of a run is there any more, and no folder.
    fn nothing_left(&self) {
        until("all processes have ended", || self.processes().is_empty());
        until("the folder is gone", || self.temporary.path().read_dir().unwrap().count() == 0);
    }

    /// The processes that know the folder of a run: Ansible, its workers, ssh and its masters.
    fn processes(&self) -> Vec<i32> {
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
    fn endless(&self) -> String {
        self.playbook(
            "endless.yml",
            "- hosts: all\n  gather_facts: false\n  tasks:\n  - name: sleep\n    \
             ansible.builtin.shell: echo $$ > {{ home }}/pid; exec sleep 300\n",
        )
    }

    /// Ends what the endless task left on a machine, which is this computer.
    fn end_sleep(&self, n: usize) {
        let Ok(pid) = fs::read_to_string(self.home(n).join("pid")) else { return };
        let _ = Command::new("kill").arg(pid.trim()).status();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (0..self.sshd.len()).for_each(|n| self.stop(n));
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !done() {
        assert!(Instant::now() < end, "{what}: not so within 40 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn error(result: &Result<Done, Trouble>) -> &str {
    &result.as_ref().unwrap_err().0
}

const SITE: &str = r#"
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

#[tokio::test]
async fn ten_machines_each_with_its_own_fate() {
    let addresses: Vec<_> = (1..=9).map(|n| format!("127.0.9.{n}")).chain(["::1".into()]).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let Some(mut lab) = Lab::new(&addresses) else { return };
    lab.stop(3);
    let troubles =
        ["fails", "no-python", "drops", "gone", "ignores", "loops", "hides", "rescued", "", ""];
    let machine = |n: usize, trouble: &str| {
        let python = match trouble {
            "no-python" => "ansible_python_interpreter: /no/python\n",
            _ => PYTHON,
        };
        let mut machine = lab.machine(
            n,
            &format!("trouble: '{trouble}'\ndrop: \"{DROP}\"\ndb_password: unutterable\n{python}"),
        );
        if n == 9 {
            let content = fs::read_to_string(lab.dir.path().join("key")).unwrap();
            machine.connection.key = Key::Content(Secret::new(content));
        }
        machine
    };
    let run = lab.run((0..10).map(|n| machine(n, troubles[n])).collect());
    let playbook = lab.playbook("site.yml", SITE);
    let (results, ears) = lab.play(&run, &playbook).await;

    let logged = format!("{}/logs/site.1.log)", lab.provision);
    for (n, parts) in [
        (
            0,
            [
                "task \"fails\": non-zero return code\nexit status 3\nstderr: to-err *****\n",
                "stdout: to-out\nat ",
                "/site.yml:7 (all of it: ",
            ],
        ),
        (1, ["task \"a folder\": ", "/no/python", "site.yml:5"]),
        (2, ["task \"drops\": ", "", "site.yml:18"]),
        (3, ["task \"a folder\": ", "ssh", "site.yml:5"]),
        (5, ["task \"loops\": ", "item 4: non-zero return code", "word4"]),
        (6, ["task \"hides\": what it says is hidden", "(no_log) at", "site.yml:21"]),
    ] {
        let error = error(&results[n]);
        assert!(error.starts_with(&format!("playbook {playbook}: task")), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{n}: {error}");
        assert!(error.ends_with(&logged), "{n}: {error}");
    }
    for (n, changed) in [(4, 3), (7, 2), (8, 2), (9, 2)] {
        assert_eq!(results[n], Ok(Done { changed }), "{n}");
        assert!(lab.home(n).join("kvm").is_dir(), "{n}");
    }
    assert_eq!(ears.ended(8, "a folder"), Some(TaskResult::Changed));
    assert_eq!(ears.ended(8, "fails"), Some(TaskResult::Skipped));
    let Some(TaskResult::Ignored(_)) = ears.ended(4, "is ignored") else {
        panic!("{ears:?}", ears = ears.0)
    };
    let Some(TaskResult::Unreachable(_)) = ears.ended(2, "drops") else { panic!("{:?}", ears.0) };
    let Some(TaskResult::Unreachable(_)) = ears.ended(3, "a folder") else {
        panic!("{:?}", ears.0)
    };
    let Some(TaskResult::Failed(_)) = ears.ended(0, "fails") else { panic!("{:?}", ears.0) };
    let drops = ears
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(n, heard)| *n == 2 && *heard == Heard::Begun("drops".into()))
        .count();
    assert_eq!(drops, 1, "a lost connection repeats nothing");
    let log = lab.log("site.1.log");
    assert!(log.contains("to-err *****") && log.contains("TASK [last]"), "{log}");
    assert!(log.contains("of node7 47 *****"), "{log}");
    let heard = format!("{:?}", ears.0);
    for secret in ["unutterable", "hidden-words"] {
        assert!(!log.contains(secret) && !heard.contains(secret), "{log}\n{heard}");
    }

    // What is as it should be is not changed again.
    let run = lab.run((7..10).map(|n| machine(n, "")).collect());
    let (results, ears) = lab.play(&run, &playbook).await;
    assert_eq!(results, vec![Ok(Done { changed: 0 }); 3]);
    assert_eq!(ears.ended(9, "last"), Some(TaskResult::Ok));
    assert!(lab.log("site.2.log").contains("::1: "));
}

/// One machine of two fails, in ways that end it for both.
#[tokio::test]
async fn what_was_ended_early_is_not_done() {
    let Some(lab) = Lab::new(&["127.0.9.21", "127.0.9.22"]) else { return };
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n    \
                when: inventory_hostname == '127.0.9.21'\n";
    let fine =
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.debug: {msg: x}\n";
    for (name, text) in [
        ("fatal", format!("- hosts: all\n  any_errors_fatal: true\n  {fail}")),
        ("once", format!("- hosts: all\n  {}    run_once: true\n", fail)),
        ("most", format!("- hosts: all\n  max_fail_percentage: 10\n  {fail}")),
        ("serial", format!("{fine}- hosts: all\n  serial: 1\n  {fail}")),
        ("alone", format!("{fine}- hosts: 127.0.9.21\n  {fail}{fine}")),
    ] {
        let (results, _) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{name}.yml"), &text)).await;
        assert!(
            error(&results[0]).contains("task \"ansible.builtin.fail\": wanted")
                || error(&results[0]).contains("task \"fail\": wanted"),
            "{name}: {results:?}"
        );
        let error = error(&results[1]);
        assert!(error.contains("it was ended before"), "{name}: {error}");
        assert!(error.contains("because 127.0.9.21 failed: task"), "{name}: {error}");
    }
    // What is done once is done for all.
    let text = "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n    run_once: true\n";
    let (results, _) = lab.play(&lab.all(PYTHON), &lab.playbook("single.yml", text)).await;
    assert_eq!(results, [Ok(Done { changed: 1 }), Ok(Done { changed: 0 })]);
    // Rescued on both, it has ended nothing.
    let text = "- hosts: all\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n  - block:\n    \
                - ansible.builtin.fail: {msg: wanted}\n      when: inventory_hostname == '127.0.9.21'\n    \
                rescue:\n    - ansible.builtin.debug: {msg: x}\n";
    let (results, _) = lab.play(&lab.all(PYTHON), &lab.playbook("rescued.yml", text)).await;
    assert_eq!(results, vec![Ok(Done { changed: 0 }); 2]);
}

#[tokio::test]
async fn a_failure_of_a_host_of_the_playbook_s_own_is_everybody_s() {
    let Some(lab) = Lab::new(&["127.0.9.23", "127.0.9.24"]) else { return };
    let fine = "gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n";
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n";
    let add = "  - ansible.builtin.add_host: {name: added, ansible_connection: local}\n";
    for (name, text, culprit) in [
        ("local", format!("- hosts: all\n  {fine}- hosts: localhost\n  {fail}"), "localhost"),
        ("added", format!("- hosts: all\n  {fine}{add}- hosts: added\n  {fail}"), "added"),
    ] {
        let (results, _) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{name}.yml"), &text)).await;
        for result in &results {
            let error = error(result);
            assert!(error.contains(&format!("because {culprit} failed: task")), "{error}");
            assert!(error.contains("wanted at "), "{error}");
        }
    }
}

#[tokio::test]
async fn plays_that_were_left_out_are_seen_and_no_others() {
    let Some(lab) = Lab::new(&["127.0.9.25", "127.0.9.26"]) else { return };
    let run = lab.all(PYTHON);
    let fine = "gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n";
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n    \
                when: inventory_hostname == '127.0.9.25'\n";
    // A pattern that is a template is told only when its play begins.
    let every = "hosts: \"{{ groups['nodes'] }}\"";
    for (name, text) in [
        (
            "never",
            format!("- hosts: all\n  {fine}- hosts: 127.0.9.25\n  {fail}- {every}\n  {fine}"),
        ),
        ("serial", format!("- hosts: all\n  {fine}- {every}\n  serial: 1\n  {fail}")),
    ] {
        let (results, _) = lab.play(&run, &lab.playbook(&format!("{name}.yml"), &text)).await;
        let error = error(&results[1]);
        assert!(error.contains("it was ended before the play"), "{name}: {error}");
        assert!(error.contains("because 127.0.9.25 failed: task"), "{name}: {error}");
    }
    // A group had nobody in it when its play came.
    let late = format!(
        "- hosts: made\n  {fine}- hosts: all\n  gather_facts: false\n  tasks:\n  \
                        - ansible.builtin.group_by: {{key: made}}\n- hosts: all\n  {fine}"
    );
    let (results, _) = lab.play(&run, &lab.playbook("late.yml", &late)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let text = format!("{late}- hosts: all\n  {fail}");
    let (results, _) = lab.play(&run, &lab.playbook("later.yml", &text)).await;
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
}

/// Where each host goes its own way, one's failure is not all's, unless it is that of `run_once`.
#[tokio::test]
async fn a_play_in_which_each_goes_its_own_way_is_ended_by_nobody() {
    let Some(lab) = Lab::new(&["127.0.9.27", "127.0.9.28"]) else { return };
    let play = "- hosts: all\n  strategy: free\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n  \
                - ansible.builtin.fail: {msg: wanted}\n    when: inventory_hostname == '127.0.9.27'\n";
    let last = "  - ansible.builtin.command: 'true'\n";
    let playbook = lab.playbook("free.yml", &format!("{play}{last}"));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert!(results[0].is_err(), "{results:?}");
    assert_eq!(results[1], Ok(Done { changed: 1 }));
    let playbook = lab.playbook("once.yml", &format!("{play}    run_once: true\n{last}"));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert!(error(&results[1]).contains("because 127.0.9.27 failed: task"), "{results:?}");
}

#[tokio::test]
async fn ssh_s_options_are_added_to_ours() {
    let Some(lab) = Lab::new(&["127.0.9.35"]) else { return };
    // One whose name has what ssh takes for something else.
    let key = lab.dir.path().join("key%h%x");
    fs::copy(lab.dir.path().join("key"), &key).unwrap();
    let playbook = lab.playbook(
        "options.yml",
        "- hosts: nodes\n  gather_facts: false\n  tasks:\n  - ansible.builtin.shell: echo \"$OF\" > {{ home }}/of\n",
    );
    let common = "ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null -o HostKeyAlias=other -o \
                  SetEnv=OF=theirs\n";
    let mut machine = lab.machine(0, &format!("{PYTHON}{common}"));
    machine.connection.key = Key::File(key);
    let (results, _) = lab.play(&lab.run(vec![machine]), &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    let known = lab.dir.path().join("state").join(lab.provision.to_string()).join("known_hosts");
    let known = fs::read_to_string(known).unwrap();
    assert!(known.starts_with("machine-0 "), "{known}");
    assert_eq!(fs::read_to_string(lab.home(0).join("of")).unwrap(), "theirs\n");
}

#[tokio::test]
async fn failures_that_are_no_utf_8_are_told() {
    let Some(lab) = Lab::new(&["127.0.9.36"]) else { return };
    for module in ["shell", "raw"] {
        let text = format!(
            "- hosts: nodes\n  gather_facts: false\n  tasks:\n  - name: speaks\n    \
             ansible.builtin.{module}: printf 'grü\\377ße' >&2; exit 3\n"
        );
        let (results, ears) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{module}.yml"), &text)).await;
        let error = error(&results[0]);
        // A module's words are not even taken by Ansible itself, since 2.19.
        let said = if module == "raw" { "grü\u{fffd}ße" } else { "" };
        assert!(error.contains("task \"speaks\": ") && error.contains(said), "{error}");
        let Some(TaskResult::Failed(_)) = ears.ended(0, "speaks") else { panic!("{:?}", ears.0) };
    }
}

/// A caller's environment: a relative file of a vault's password counts, a shell that is none does not.
#[tokio::test]
async fn a_vault_s_password_and_no_shell() {
    let Some(lab) = Lab::new(&["127.0.9.37"]) else { return };
    fs::write(lab.dir.path().join("word"), "vault-word\n").unwrap();
    fs::write(lab.dir.path().join("secret.yml"), "vaulted: opened\n").unwrap();
    let tool = ansible().unwrap().with_file_name("ansible-vault");
    let encrypted = Command::new(tool)
        .args(["encrypt", "--vault-password-file", "word", "secret.yml"])
        .current_dir(lab.dir.path())
        .output();
    assert!(encrypted.unwrap().status.success());
    let playbook = lab.playbook(
        "vault.yml",
        "- hosts: nodes\n  gather_facts: false\n  vars_files: [secret.yml]\n  tasks:\n  \
         - ansible.builtin.file: {path: '{{ home }}/{{ vaulted }}', state: directory}\n",
    );
    let child = |variable: &str, value: &str| {
        let run = lab.all(PYTHON);
        let connection = &run.machines[0].connection;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "caller", "--ignored"]).current_dir(lab.dir.path());
        child.env("HOLDER_STATE", lab.dir.path().join("state"));
        child.env("HOLDER_TEMPORARY", lab.temporary.path()).env("HOLDER_PLAYBOOK", &playbook);
        child.env("HOLDER_PORT", lab.port.to_string()).env("HOLDER_USER", &connection.user);
        child.env("HOLDER_KEY", lab.dir.path().join("key"));
        child.env("HOLDER_JUMP", format!("{}@127.0.9.37:{}", connection.user, lab.port));
        child.env("HOLDER_VARIABLES_0", run.machines[0].variables.expose());
        child.env("HOLDER_ADDRESS_0", "127.0.9.37").env("SHELL", "/bin/false");
        let output = child.env(variable, value).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (variable, value) in
        [("ANSIBLE_VAULT_PASSWORD_FILE", "word"), ("ANSIBLE_VAULT_IDENTITY_LIST", "it@word")]
    {
        let (done, said) = child(variable, value);
        assert!(done && lab.home(0).join("opened").is_dir(), "{variable}: {said}");
        fs::remove_dir(lab.home(0).join("opened")).unwrap();
    }
    lab.nothing_left();
}

/// No test, but what the test before this runs with an environment of its own.
#[tokio::test]
#[ignore = "it is started by another test"]
async fn caller() {
    let Ok(state) = std::env::var("HOLDER_STATE") else { return };
    let variable = |name: &str| std::env::var(format!("HOLDER_{name}")).unwrap();
    let run = held(&variable, 1);
    let system = system(ansible().unwrap(), state.into(), Path::new(&variable("TEMPORARY")));
    let results = system.run_playbook(&run, &variable("PLAYBOOK"), &Ears::default()).await;
    assert!(results[0].is_ok(), "{results:?}");
}

#[tokio::test]
async fn playbooks_that_do_nothing() {
    let Some(lab) = Lab::new(&["127.0.9.31"]) else { return };
    let run = lab.all(PYTHON);
    for (name, text, part) in [
        (
            "nobody",
            "- hosts: elsewhere\n  tasks: []\n",
            "they are for elsewhere, and this host is in",
        ),
        ("wrong", "- hosts: nodes\n  tasks:\n  - no.such.module: {}\n", "no.such.module"),
        ("syntax", "- hosts: nodes\n  tasks: [\n", "ansible-playbook ended with status 4"),
        ("role", "- hosts: nodes\n  roles: [absent]\n", "the role 'absent' was not found"),
    ] {
        let (results, _) = lab.play(&run, &lab.playbook(&format!("{name}.yml"), text)).await;
        let error = error(&results[0]);
        assert!(
            error.contains(part) && error.contains(&format!("/{name}.1.log)")),
            "{name}: {error}"
        );
    }
    let (results, _) = lab.play(&run, "/no/site.yml").await;
    assert!(error(&results[0]).contains("/no/site.yml"), "{results:?}");
    let (results, _) = lab.play(&run, "no-such").await;
    assert!(error(&results[0]).contains("there is no playbook no-such"), "{results:?}");
    assert!(lab.play(&lab.run(Vec::new()), "no-such").await.0.is_empty());
}

#[tokio::test]
async fn others_are_known_but_left_alone() {
    let Some(lab) = Lab::new(&["127.0.9.41", "::1"]) else { return };
    fs::create_dir(lab.dir.path().join("library")).unwrap();
    let module = "from ansible.module_utils.basic import AnsibleModule\n\
                  AnsibleModule({}).exit_json(warnings=['it is old'])\n";
    fs::write(lab.dir.path().join("library/warns.py"), module).unwrap();
    let playbook = lab.playbook(
        "others.yml",
        "- hosts: targets\n  gather_facts: false\n  tasks:\n  - name: note\n    ansible.builtin.shell: \
         echo {{ groups['nodes'] | sort | join(',') }} {{ hostvars['::1'].home }} > {{ home }}/note\n  \
         - warns:\n",
    );
    let mut run = lab.run(vec![lab.machine(0, PYTHON)]);
    run.others = vec![lab.machine(1, PYTHON)];
    let (results, ears) = lab.play(&run, &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    let note = fs::read_to_string(lab.home(0).join("note")).unwrap();
    assert_eq!(note, format!("127.0.9.41,::1 {}\n", lab.home(1).display()));
    assert!(!lab.home(1).join("note").exists());
    let heard = ears.0.into_inner().unwrap();
    assert!(heard.iter().all(|(n, _)| *n == 0));
    assert!(heard.contains(&(0, Heard::Warning("it is old".into()))), "{heard:?}");

    // Machines that cannot be in an inventory fail alone.
    let (mut twin, mut odd) = (lab.machine(1, PYTHON), lab.machine(1, PYTHON));
    twin.host = HostKey(7);
    odd.address = "odd host".to_owned();
    let run = lab.run(vec![lab.machine(0, PYTHON), lab.machine(1, PYTHON), twin, odd]);
    let (results, _) = lab.play(&run, &playbook.replace("others", "alone")).await;
    assert!(results.iter().all(Result::is_err));
    let playbook = lab.playbook(
        "alone.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n",
    );
    let (results, _) = lab.play(&run, &playbook).await;
    assert_eq!(results[0], Ok(Done { changed: 1 }));
    for (n, part) in
        [(1, "more than one host has the address ::1"), (2, "more than one"), (3, "no address")]
    {
        assert!(error(&results[n]).contains(part), "{results:?}");
    }
}

#[tokio::test]
async fn two_runs_at_once() {
    let Some(lab) = Lab::new(&["127.0.9.51", "127.0.9.52"]) else { return };
    let playbook = lab.playbook("site.yml", SITE);
    let variables = format!("trouble: ''\ndrop: x\ndb_password: unutterable\n{PYTHON}");
    let runs: Vec<_> = (0..2).map(|n| lab.run(vec![lab.machine(n, &variables)])).collect();
    let ears = Ears::default();
    // The second is in a folder whose path is too long for sockets in it.
    let long = lab.dir.path().join("l".repeat(80));
    let other = system(ansible().unwrap(), lab.dir.path().join("state"), &long);
    let (first, second) = tokio::join!(
        lab.system.run_playbook(&runs[0], &playbook, &ears),
        other.run_playbook(&runs[1], &playbook, &ears)
    );
    assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    assert_eq!((first, second), (vec![Ok(Done { changed: 2 })], vec![Ok(Done { changed: 2 })]));
    lab.nothing_left();
    assert!(lab.log("site.1.log").len().min(lab.log("site.2.log").len()) > 100);
}

#[tokio::test]
async fn a_deadline_ends_everything() {
    let Some(lab) = Lab::new(&["127.0.9.61", "127.0.9.62"]) else { return };
    let (endless, mut run) = (lab.endless(), lab.all(PYTHON));
    run.deadline = Duration::from_secs(12);
    let (results, _) = lab.play(&run, &endless).await;
    for result in &results {
        let error = error(result);
        assert!(error.contains("it was ended after 12 s"), "{error}");
    }
    (0..2).for_each(|n| lab.end_sleep(n));
}

#[tokio::test]
async fn a_dropped_run_ends_everything() {
    let Some(lab) = Lab::new(&["127.0.9.71", "127.0.9.72"]) else { return };
    let (endless, run, ears) = (lab.endless(), lab.all(PYTHON), Ears::default());
    tokio::select! {
        results = lab.system.run_playbook(&run, &endless, &ears) => panic!("{results:?}"),
        () = asleep(&lab) => {}
    }
    lab.nothing_left();
    (0..2).for_each(|n| lab.end_sleep(n));
}

#[tokio::test]
async fn a_killed_ansible_is_told() {
    let Some(lab) = Lab::new(&["127.0.9.76"]) else { return };
    let (endless, run, ears) = (lab.endless(), lab.all(PYTHON), Ears::default());
    let kill = async {
        asleep(&lab).await;
        let leads = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.split(' ').nth(4) == Some(&pid.to_string()) && stat.contains("ansible")
        };
        let all = lab.processes();
        // The first of the leaders is the one that started the others.
        let main = all.iter().filter(|pid| leads(pid)).min().unwrap();
        Command::new("kill").args(["-9", &main.to_string()]).status().unwrap();
        std::future::pending::<()>().await;
    };
    let results = tokio::select! {
        results = lab.system.run_playbook(&run, &endless, &ears) => results,
        () = kill => unreachable!(),
    };
    assert!(
        error(&results[0]).contains("killed by signal 9, during task \"sleep\""),
        "{results:?}"
    );
    lab.nothing_left();
    lab.end_sleep(0);
}

/// Waits until all machines are at the endless task.
async fn asleep(lab: &Lab) {
    let is_there = |n| lab.home(n).join("pid").metadata().is_ok_and(|file| file.len() > 0);
    while !(0..lab.addresses.len()).all(is_there) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_goes_on_when_its_holder_is_killed() {
    let Some(lab) = Lab::new(&["127.0.9.81", "127.0.9.82"]) else { return };
    let (endless, run) = (lab.endless(), lab.all(PYTHON));
    let state = lab.dir.path().join("state");
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "holder", "--ignored"]).stdout(Stdio::null());
    holder.env("HOLDER_STATE", &state).env("HOLDER_TEMPORARY", lab.temporary.path());
    holder.env("HOLDER_PLAYBOOK", endless).env("HOLDER_PORT", lab.port.to_string());
    holder.env("HOLDER_KEY", lab.dir.path().join("key"));
    holder.env("HOLDER_USER", &run.machines[0].connection.user);
    for (n, machine) in run.machines.iter().enumerate() {
        holder.env(format!("HOLDER_VARIABLES_{n}"), machine.variables.expose());
        holder.env(format!("HOLDER_ADDRESS_{n}"), &machine.address);
    }
    let mut holder = holder.spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(60), asleep(&lab)).await.unwrap();
    assert!(lab.processes().len() > 3);
    holder.kill().unwrap();
    holder.wait().unwrap();
    lab.nothing_left();
    (0..2).for_each(|n| lab.end_sleep(n));
}

/// No test, but the process that the test before this kills.
#[tokio::test]
#[ignore = "it is started by another test"]
async fn holder() {
    let Ok(state) = std::env::var("HOLDER_STATE") else { return };
    let variable = |name: &str| std::env::var(format!("HOLDER_{name}")).unwrap();
    let run = held(&variable, 2);
    let system = system(ansible().unwrap(), state.into(), Path::new(&variable("TEMPORARY")));
    system.run_playbook(&run, &variable("PLAYBOOK"), &Ears::default()).await;
}

/// The run that a process of its own has of its environment.
fn held(variable: &impl Fn(&str) -> String, machines: u32) -> Run {
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

#[tokio::test]
async fn a_plan_is_checked() {
    let Some(lab) = Lab::new(&[]) else { return };
    let good = lab.playbook("good.yml", "- hosts: nodes\n  tasks:\n  - ansible.builtin.debug:\n");
    let plan = |playbooks: &[&str]| Plan {
        playbooks: playbooks.iter().map(|p| (*p).to_owned()).collect(),
        ..Plan::default()
    };
    assert_eq!(lab.system.check_playbooks(&plan(&[])).await, Ok(vec![]));
    assert_eq!(lab.system.check_playbooks(&plan(&[&good])).await, Ok(vec![]));
    // It asks for a host, though there is none yet.
    let first = "- hosts: \"{{ groups['nodes'][0] }}\"\n  tasks:\n  - ansible.builtin.debug:\n\
                 - hosts: \"{{ groups['targets'] | first }}\"\n";
    let first = lab.playbook("first.yml", first);
    assert_eq!(lab.system.check_playbooks(&plan(&[&first])).await, Ok(vec![]));
    let bad = lab.playbook("bad.yml", "- hosts: nodes\n  roles: [absent]\n");
    let missing = lab.dir.path().join("missing.yml").display().to_string();
    let all = plan(&[&good, &bad, &missing, "default_firecracker"]);
    let troubles = lab.system.check_playbooks(&all).await.unwrap_err();
    for (trouble, part) in troubles.iter().zip([
        "missing.yml: it cannot be read: No such file",
        "playbook default_firecracker is not there",
        "bad.yml: Ansible does not take it: ",
    ]) {
        assert!(trouble.0.contains(part) && !trouble.0.contains('\u{1b}'), "{trouble}");
    }
    assert!(troubles[2].0.contains("the role 'absent' was not found"), "{troubles:?}");
    let mut old = plan(&[&good]);
    old.versions.1 = Some("2.10".into());
    let troubles = lab.system.check_playbooks(&old).await.unwrap_err();
    assert!(troubles[0].0.contains("the template asks for one before 2.10"), "{troubles:?}");

    let none = system("/no/ansible-playbook".into(), lab.dir.path().into(), lab.temporary.path());
    let troubles = none.check_playbooks(&plan(&[&good])).await.unwrap_err();
    assert!(troubles[0].0.contains("/no/ansible-playbook is not there: install"), "{troubles:?}");
    let (old, log) = (lab.dir.path().join("ansible-playbook"), lab.all(""));
    fs::write(&old, "#!/bin/sh\necho ansible-playbook 2.9.6\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let old = system(old, lab.dir.path().into(), lab.temporary.path());
    let troubles = old.check_playbooks(&plan(&[&good])).await.unwrap_err();
    assert!(troubles[0].0.contains("version 2.9.6, but 2.12 or later"), "{troubles:?}");
    assert!(none.run_playbook(&log, &good, &Ears::default()).await.is_empty());
    lab.nothing_left();
}

#[tokio::test]
async fn requirements_are_installed_once() {
    let Ok(home) = std::env::var("HOLDER_HOME") else {
        // Once more, with a home of its own.
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "requirements_are_installed_once", "--nocapture"]);
        let status = child.env("HOME", home.path()).env("HOLDER_HOME", home.path()).status();
        assert!(status.unwrap().success());
        return;
    };
    let Some(lab) = Lab::new(&["127.0.9.91"]) else { return };
    let source = lab.dir.path().join("source");
    for (path, text) in [
        (
            "given/tasks/main.yml",
            "- ansible.builtin.file: {path: '{{ home }}/by-role', state: directory}\n",
        ),
        (
            "given/meta/main.yml",
            "galaxy_info: {author: x, description: x, license: x, min_ansible_version: '2.12'}\n",
        ),
        (
            "galaxy.yml",
            "namespace: some\nname: thing\nversion: 1.0.0\nreadme: README.md\nauthors: [x]\n",
        ),
        ("README.md", "x\n"),
        (
            "roles/inner/tasks/main.yml",
            "- ansible.builtin.file: {path: '{{ home }}/by-collection', state: directory}\n",
        ),
    ] {
        let path = source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let packed =
        Command::new("tar").args(["-czf", "given.tar.gz", "given"]).current_dir(&source).status();
    assert!(packed.unwrap().success());
    let shown = source.display();
    let requirements = lab.playbook(
        "requirements.yml",
        &format!("roles:\n- {{name: given, src: 'file://{shown}/given.tar.gz'}}\ncollections:\n- {{name: '{shown}', type: dir}}\n"),
    );
    let playbook = lab.playbook(
        "site.yml",
        "- hosts: nodes\n  gather_facts: false\n  roles: [given, some.thing.inner]\n",
    );
    let plan = Plan { playbooks: vec![playbook.clone()], ..Plan::default() };
    // What the caller has for himself is not enough: he may remove it.
    for kind in ["role", "collection"] {
        let tool = ansible().unwrap().with_file_name("ansible-galaxy");
        let installed = Command::new(tool).args([kind, "install", "-r", &requirements]).output();
        assert!(installed.unwrap().status.success());
    }
    let own = Path::new(&home).join(".ansible");
    assert!(own.join("roles/given").is_dir());
    assert!(own.join("collections/ansible_collections/some/thing").is_dir());
    assert_eq!(lab.system.check_playbooks(&plan).await, Ok(vec![]));
    fs::remove_dir_all(own).unwrap();
    // It is not looked for again.
    fs::remove_dir_all(&source).unwrap();
    assert_eq!(lab.system.check_playbooks(&plan).await, Ok(vec![]));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 2 })]);
    assert!(lab.home(0).join("by-role").is_dir() && lab.home(0).join("by-collection").is_dir());

    lab.playbook(
        "requirements.yml",
        &format!("roles:\n- {{name: given, src: 'file://{shown}/gone.tar.gz'}}\n"),
    );
    let troubles = lab.system.check_playbooks(&plan).await.unwrap_err();
    let trouble = &troubles[0].0;
    for part in [
        "the roles of ",
        "requirements.yml cannot be installed: ansible-galaxy ended with",
        "gone.tar.gz",
        "roles/ beside the playbook",
    ] {
        assert!(trouble.contains(part), "{trouble}");
    }
    assert_eq!(fs::read_dir(lab.dir.path().join("state/galaxy")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_play_on_this_computer_is_run_also_when_only_some_hosts_are() {
    let Some(lab) = Lab::new(&["127.0.9.43", "127.0.9.44"]) else { return };
    let playbook = lab.playbook(
        "here.yml",
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n  - name: here\n    \
         ansible.builtin.copy:\n      dest: \"{{ hostvars['127.0.9.43'].home }}/here\"\n      \
         content: \"{{ hostvars['127.0.9.43'].oneprovision_opennebula_version }}\"\n- hosts: nodes\n  \
         gather_facts: false\n  tasks:\n  - ansible.builtin.raw: 'true'\n    changed_when: false\n",
    );
    let mut run = lab.run(vec![lab.machine(0, PYTHON)]);
    run.others = vec![lab.machine(1, PYTHON)];
    let (results, _) = lab.play(&run, &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 0 })]);
    assert_eq!(fs::read_to_string(lab.home(0).join("here")).unwrap(), "6.10");
}
