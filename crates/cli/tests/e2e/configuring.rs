//! From machines to hosts: real machines in network namespaces (`scripts/test-hosts`), real ssh, real
//! Ansible, and what goes wrong with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Home, Invocation, Output, executable, skip, wait_until};

/// Machines, and a home with a driver `rack` whose machines they are: an address is an id.
struct Lab {
    home: Home,
    dir: PathBuf,
    addresses: Vec<[String; 2]>,
    path: std::ffi::OsString,
}

/// The driver hands out the machine that the host's parameter names, whatever state it is in.
const RACK: [(&str, &str); 6] = [
    (
        "deploy",
        r#"a=$(sed -n 's/.*<ADDRESS>\(<!\[CDATA\[\)\{0,1\}\([0-9a-f.:]*\).*/\2/p' | head -1)
echo 1 > "${0%/*}/$a"; echo "$a""#,
    ),
    ("poll", r#"[ -e "${0%/*}/$1" ] && echo "STATE=a GUEST_IP_ADDRESSES=\"$1\"" || echo STATE=d"#),
    ("cancel", r#"rm -f "${0%/*}/$1""#),
    ("reboot", "exit 0"),
    ("reset", "exit 0"),
    ("shutdown", "exit 0"),
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn hosts_script(arguments: &[&str]) -> std::process::Output {
    let script = root().join("scripts/test-hosts");
    Command::new(script).args(arguments).output().unwrap()
}

impl Lab {
    /// With so many machines, each with so much disk.
    fn new(machines: usize, size: &str) -> Option<Self> {
        let must = std::env::var("CI").as_deref() == Ok("true");
        let tools = root().join("target/tools/bin");
        let old = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(tools).chain(std::env::split_paths(&old));
        let path = std::env::join_paths(all).unwrap();
        let ansible = Command::new("ansible-playbook").env("PATH", &path).arg("--version").output();
        if !ansible.is_ok_and(|output| output.status.success()) {
            assert!(!must, "with CI=true nothing is skipped");
            skip("there is no ansible-playbook");
            return None;
        }
        let home = Home::new();
        let dir = home.root().join("hosts");
        let number = machines.to_string();
        let made = hosts_script(&["up", dir.to_str().unwrap(), &number, "--size", size]);
        if made.status.code() == Some(77) {
            assert!(!must, "with CI=true nothing is skipped");
            skip(String::from_utf8_lossy(&made.stderr).trim());
            return None;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let pm = home.remotes().join("pm/rack");
        std::fs::create_dir_all(&pm).unwrap();
        for (action, body) in RACK {
            executable(&pm.join(action), &format!("#!/bin/sh\n{body}\n"));
        }
        let table = std::fs::read_to_string(dir.join("hosts")).unwrap();
        let one = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            [words[1].to_owned(), words[2].to_owned()]
        };
        let addresses = table.lines().map(one).collect();
        Some(Self { home, dir, addresses, path })
    }

    /// A fault of a machine, counted from 1, or what takes it back.
    fn fault(&self, fault: &str, machine: usize) {
        let name = format!("host{machine}");
        let done = hosts_script(&[fault, self.dir.to_str().unwrap(), &name]);
        assert!(done.status.success(), "{fault}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// What a command says on a machine.
    fn on(&self, machine: usize, command: &str) -> String {
        let name = format!("host{machine}");
        let done = hosts_script(&["exec", self.dir.to_str().unwrap(), &name, "sh", "-c", command]);
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn key(&self) -> PathBuf {
        self.dir.join("key")
    }

    /// A template of hosts `n1`, `n2`, … on the machines of these numbers.
    fn template(&self, top: &str, machines: impl IntoIterator<Item = usize>, v6: usize) -> PathBuf {
        let mut text = format!(
            "name: lab\n{top}\ndefaults:\n  provision: {{driver: rack}}\n  connection: \
             {{private_key: {key}, public_key: {key}.pub}}\nhosts:\n",
            key = self.key().display()
        );
        for machine in machines {
            let address = &self.addresses[machine - 1][v6];
            text += &format!(
                "  - {{im_mad: kvm, vm_mad: kvm, provision: {{hostname: n{machine}, address: \
                 '{address}'}}}}\n"
            );
        }
        self.home.write("lab.yaml", text)
    }

    fn tool(&self, arguments: &[&str]) -> Invocation {
        let tool = self.home.tool(&["--sandbox", "--remotes"]).args(&[self.home.remotes()]);
        tool.args(arguments).env("PATH", &self.path)
    }

    fn create(&self, template: &Path, more: &[&str]) -> Invocation {
        let ping = ["--ping-retries", "3", "--ping-timeout", "2"];
        self.tool(&["create"]).args(&[template]).args(&ping).args(more)
    }

    /// How the hosts stand: name in the template, configuration, state in OpenNebula.
    fn states(&self) -> Vec<(String, String)> {
        let shown = self.tool(&["show", "-j", "lab"]).run().exits(0).json();
        let one = |host: &serde_json::Value| {
            let text = |key: &str| host[key].as_str().unwrap_or_default().to_owned();
            let used = if text("OPENNEBULA_STATE") == "off" { "off" } else { "on" };
            let state = format!("{} {used}", text("CONFIGURATION_STATUS"));
            (text("NAME"), state)
        };
        shown["PROVISION"]["HOSTS"].as_array().unwrap().iter().map(one).collect()
    }

    fn all_configured(&self) {
        let states = self.states();
        assert!(states.iter().all(|(_, state)| state == "configured on"), "{states:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = hosts_script(&["down", self.dir.to_str().unwrap()]);
    }
}

/// What is said at the end of why a host failed.
#[track_caller]
fn failure<'o>(output: &'o Output, host: &str) -> &'o str {
    let begin = format!("({host}): ");
    let all = output.stderr.split("\n  more: ").next().unwrap();
    let mut errors = all.split("\nERROR: host ").skip(1).filter(|error| error.contains(&begin));
    errors.next().unwrap_or_else(|| panic!("{host} did not fail:\n{}", output.stderr))
}

const SITE: &str = "\
- hosts: nodes
  gather_facts: false
  tasks:
    - name: Look around
      ansible.builtin.setup: {gather_subset: [min]}
    - name: Lose the connection
      ansible.builtin.raw: if [ -e /root/drop ]; then kill $PPID; sleep 60; fi
      changed_when: false
    - name: Say who it is
      ansible.builtin.copy:
        dest: /root/who
        content: \"{{ oneprovision_hostname }} {{ greeting | default('hello') }} {{ 'x' * 100000 }}\\n\"
";

#[test]
fn ten_hosts_at_once_five_of_them_in_trouble_and_mended() {
    let Some(lab) = Lab::new(10, "64m") else { return };
    lab.home.write("site.yml", SITE);
    lab.fault("no-python", 2);
    lab.fault("refuse-key", 3);
    lab.fault("silent", 4);
    lab.on(5, "touch /root/drop");
    lab.fault("full", 6);
    lab.fault("closed", 7);
    let template = lab.template("playbook: ./site.yml", 1..=10, 0);
    let created = lab.create(&template, &[]).run().exits(255);
    let created = created.says("4 of 10 enabled, 6 failed. 10 machines exist");
    for (host, parts) in [
        ("n2", &["Look around", "site.1.log"][..]),
        ("n3", &["key", "root", "refused"]),
        ("n4", &["SSH does not answer"]),
        ("n5", &["Lose the connection", "site.1.log"]),
        ("n6", &["disk of the machine may be full", "site.1.log"]),
        ("n7", &["refused"]),
    ] {
        let failure = failure(&created, host);
        for part in parts {
            assert!(failure.to_lowercase().contains(&part.to_lowercase()), "{part}: {failure}");
        }
    }
    let of = |states: Vec<(String, String)>, wanted: &str| {
        states.into_iter().filter(|(_, state)| state == wanted).count()
    };
    assert_eq!(of(lab.states(), "configured on"), 4);
    assert_eq!(of(lab.states(), "error off"), 6);
    assert!(lab.on(1, "cat /root/who").starts_with("n1 hello"));

    lab.fault("python-back", 2);
    lab.fault("accept-key", 3);
    lab.fault("back", 4);
    lab.on(5, "rm /root/drop");
    lab.fault("room", 6);
    lab.fault("back", 7);
    lab.tool(&["configure", "lab"]).run().exits(0).says("all 10 hosts enabled");
    lab.all_configured();
    for machine in 1..=10 {
        let who = format!("n{machine} hello");
        assert!(lab.on(machine, "cat /root/who").starts_with(&who), "{machine}");
    }
    let again = lab.tool(&["configure", "lab"]).run().exits(255);
    assert!(again.stderr.contains("already configured: --force"), "{}", again.stderr);
    let forced = lab.tool(&["configure", "lab", "--force"]).run().exits(0);
    assert_eq!(forced.stderr.matches("site.yml done, nothing changed").count(), 10);

    // A machine that is another one than before is not given anything, until somebody says so.
    lab.fault("new-host-key", 1);
    let address = lab.addresses[0][0].clone();
    let ping = ["--ping-retries", "2", "--ping-timeout", "1"];
    let refused = lab.tool(&["host", "configure", &address, "--force"]).args(&ping).run();
    let refused = refused.exits(255).says("host key");
    assert!(refused.stderr.contains("host reboot --hard"), "{}", refused.stderr);
    assert_eq!(lab.states()[0].1, "error on", "it was in use and stays so");
    lab.tool(&["host", "reboot", "--hard", &address]).run().exits(0);
    lab.tool(&["host", "configure", &address]).run().exits(0).says("Done: 1 host configured.");
    lab.all_configured();

    lab.tool(&["delete", "lab"]).run().exits(0).says("No machine exists.");
    let left = std::fs::read_dir(lab.home.state().join("provisions")).unwrap();
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn three_lines_need_no_ansible() {
    let Some(mut lab) = Lab::new(2, "64m") else { return };
    // No Ansible is in the search path.
    let bin = lab.home.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["ssh", "ssh-keygen", "ssh-add", "sh", "sed", "head", "rm"] {
        let found = Command::new("which").arg(program).output().unwrap().stdout;
        let found = String::from_utf8(found).unwrap();
        std::os::unix::fs::symlink(found.trim(), bin.join(program)).unwrap();
    }
    lab.path = bin.into();
    lab.home.write("motd", "of a file\n");
    let top = "configure:\n  files:\n    - {path: /etc/motd, source: motd, mode: '0600'}\n    - \
               {path: /opt/a b/secret, content: {env: LAB_SECRET}, owner: admin}\n  commands:\n    - \
               echo \"$(id -un) $HOME\" > /root/ran\n    - [touch, \"/root/it's here\"]";
    let template = lab.template(top, [1, 2], 1);
    let text = std::fs::read_to_string(&template).unwrap();
    // By an address of IPv6; on one machine by a user who has to become root.
    let text =
        text.replacen("  - {im_mad: kvm", "  - {connection: {remote_user: admin}, im_mad: kvm", 1);
    std::fs::write(&template, text).unwrap();
    let created = lab.create(&template, &["-d"]).env("LAB_SECRET", "s3cret-of-lab").run().exits(0);
    let created = created.says("files and commands done, 4 tasks changed something");
    assert!(!created.stderr.contains("s3cret-of-lab"));
    lab.all_configured();
    for machine in [1, 2] {
        let seen = "cat /etc/motd '/opt/a b/secret' /root/ran; stat -c '%a %U' /etc/motd '/opt/a b/secret'; \
                    ls /root | grep here";
        let seen = lab.on(machine, seen);
        assert_eq!(
            seen, "of a file\ns3cret-of-labroot /root\n600 root\n644 admin\nit's here",
            "{machine}"
        );
    }
    // The commands are run again, files are as they were.
    let forced = lab.tool(&["configure", "lab", "--force"]).run().exits(0);
    let forced = forced.says("files and commands done, 2 tasks changed something");
    assert!(!forced.stderr.contains("s3cret"));
    let journal = lab.tool(&["journal", "export"]).run().exits(0).stdout;
    assert!(!journal.contains("s3cret-of-lab"));
    // A command that fails says what it said.
    let text = std::fs::read_to_string(&template).unwrap();
    lab.home.write("lab.yaml", text.replace("[touch, ", "[ls, /nowhere, "));
    let update = lab.tool(&["update", "lab", "lab.yaml"]).env("LAB_SECRET", "s3cret-of-lab").run();
    let update = update.exits(255);
    let failure = failure(&update, "n1");
    assert!(failure.contains("/nowhere") && failure.contains("steps"), "{failure}");
    lab.tool(&["delete", "lab"]).run().exits(0);
}

const SLEEPY: &str = "\
- hosts: nodes
  gather_facts: false
  tasks:
    - name: Take a while
      ansible.builtin.raw: echo $$ >> /root/began; if [ ! -e /root/quick ]; then sleep 600; fi
      changed_when: false
";

/// Processes of this computer whose command line has that text.
fn processes(text: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}

#[test]
fn a_playbook_that_is_interrupted_ends_with_the_tool_and_is_run_again() {
    let Some(lab) = Lab::new(2, "64m") else { return };
    let playbook = lab.home.write("sleepy.yml", SLEEPY);
    let template = lab.template("playbook: ./sleepy.yml", [1, 2], 0);
    let began = |machine| lab.on(machine, "cat /root/began 2>/dev/null | wc -l");
    for signal in [Signal::KILL, Signal::INT] {
        let running = lab.create(&template, &[]).start();
        wait_until("the task runs", || began(1) == "1" && began(2) == "1");
        running.signal(signal);
        let output = running.finish();
        if signal == Signal::INT {
            let output = output.exits(130);
            assert!(
                output.stderr.contains("Interrupted: 2 of 2")
                    || output.stderr.contains("Interrupted: ")
            );
        }
        let name = playbook.display().to_string();
        wait_until("Ansible ends", || processes(&name).is_empty());
        let states = lab.states();
        assert!(states.iter().all(|(_, state)| state == "pending off"), "{states:?}");
        for machine in [1, 2] {
            lab.on(machine, "touch /root/quick");
        }
        lab.tool(&["resume", "lab"]).run().exits(0).says("all 2 hosts enabled");
        assert_eq!(began(1), "2", "it was run again, once");
        lab.all_configured();
        lab.tool(&["delete", "lab"]).run().exits(0);
        for machine in [1, 2] {
            lab.on(machine, "rm /root/began /root/quick; pkill sleep");
        }
    }
    // A deadline ends it as well.
    let late = lab.create(&template, &["--config-timeout", "8"]).run().exits(255);
    let failure = failure(&late, "n1");
    assert!(failure.contains('8'), "{failure}");
    let name = playbook.display().to_string();
    wait_until("Ansible ends", || processes(&name).is_empty());
    lab.tool(&["delete", "lab"]).run().exits(0);
}

#[test]
fn our_own_playbook_makes_a_node() {
    let Some(lab) = Lab::new(1, "256m") else { return };
    // Names of before are understood; packages of OpenNebula are not to be had here.
    let top = "playbook: default";
    let template = lab.template(top, [1], 0);
    let text = std::fs::read_to_string(&template).unwrap();
    let text =
        text.replace("defaults:\n", "defaults:\n  configuration: {opennebula_source: none}\n");
    std::fs::write(&template, text).unwrap();
    lab.create(&template, &[]).run().exits(0).says("playbook default done");
    assert_eq!(lab.on(1, "id -u oneadmin"), "9869");
    let forced = lab.tool(&["configure", "lab", "--force"]).run().exits(0);
    forced.says("playbook default done, nothing changed");
    lab.tool(&["delete", "lab"]).run().exits(0);
}

#[test]
fn what_is_missing_or_wrong_is_said_before_anything_is_bought() {
    let home = Home::new();
    let keygen = |name: &str, passphrase: &str| {
        let path = home.work().join(name);
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", passphrase, "-f"])
            .arg(&path)
            .status();
        assert!(made.unwrap().success());
        path
    };
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        return skip("there is no ssh-keygen");
    }
    keygen("good", "");
    let locked = keygen("locked", "a passphrase");
    keygen("other", "");
    let open = keygen("open", "");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode;
    std::fs::set_permissions(&open, mode(0o644)).unwrap();
    let text = home.write("text", "this is no key\n");
    std::fs::set_permissions(&text, mode(0o600)).unwrap();
    home.write("broken.yml", "- hosts: nodes\n  tsaks: []\n");
    let pm = home.remotes().join("pm/rack");
    std::fs::create_dir_all(&pm).unwrap();
    for (action, _) in RACK {
        executable(&pm.join(action), "#!/bin/sh\necho called >> calls\nexit 1\n");
    }
    let path = |more: &str| {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let mut all: Vec<PathBuf> = std::env::split_paths(&old).collect();
        all.insert(0, root().join(more));
        std::env::join_paths(all).unwrap()
    };
    let asked = |playbook: &str, connection: &str| {
        let text = format!(
            "name: wrong\nplaybook: {playbook}\nhosts:\n  - {{im_mad: kvm, vm_mad: kvm, provision: \
             {{driver: rack, hostname: a}}, connection: {{{connection}}}}}\n"
        );
        let template = home.write("wrong.yaml", text);
        let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
        let output =
            tool.args(&["create"]).args(&[template]).env("PATH", path("target/tools/bin")).run();
        let output = output.exits(255);
        assert_eq!(output.stdout, "", "no id: nothing was begun");
        assert!(output.stderr.contains("OP-CONFIGURATION"), "{}", output.stderr);
        output.stderr
    };
    for (connection, parts) in [
        ("private_key: /nowhere/id", &["/nowhere/id", "wrong.yaml:4:5"][..]),
        ("private_key: ./text", &["text", "private key"]),
        ("private_key: ./locked", &["locked", "passphrase", "agent"]),
        ("private_key: ./open", &["open", "644", "chmod 600"]),
        ("private_key: ./good, public_key: ./other.pub", &["other.pub"]),
    ] {
        let error = asked("default", connection);
        for part in parts {
            assert!(error.contains(part), "{connection} lacks {part}:\n{error}");
        }
    }
    assert!(locked.exists());
    for (playbook, parts) in
        [("defualt", &["defualt", "default"][..]), ("./missing.yml", &["missing.yml"])]
    {
        let error = asked(playbook, "private_key: ./good");
        for part in parts {
            assert!(error.contains(part), "{playbook} lacks {part}:\n{error}");
        }
    }
    if root().join("target/tools/bin/ansible-playbook").exists() {
        let error = asked("./broken.yml", "private_key: ./good");
        assert!(error.contains("tsaks") && error.contains("broken.yml"), "{error}");
    }
    // Without Ansible: how to get it, and how to do without.
    let bin = home.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["ssh", "ssh-keygen", "ssh-add"] {
        let found = Command::new("which").arg(program).output().unwrap().stdout;
        let found = String::from_utf8(found).unwrap();
        std::os::unix::fs::symlink(found.trim(), bin.join(program)).unwrap();
    }
    let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let output = tool.args(&["create", "wrong.yaml"]).env("PATH", &bin);
    home.write(
        "wrong.yaml",
        std::fs::read_to_string(home.work().join("wrong.yaml"))
            .unwrap()
            .replace("./broken.yml", "default")
            .replace("./missing.yml", "default"),
    );
    let output = output.run().exits(255);
    assert!(output.stderr.contains("ansible-core"), "{}", output.stderr);
    assert!(output.stderr.contains("--skip-config"), "{}", output.stderr);
    assert!(!home.work().join("calls").exists() && !pm.join("calls").exists());
    assert_eq!(home.sandbox(&["list", "--no-header"]).exits(0).stdout, "");
}
