//! `host poweroff|resume|reboot|top|ssh`, with the dummy driver and with executables in shell.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::cloud::{Cloud, WAITS};
use crate::support::{Home, Output, template, wait_until};
use crate::views::told;

const DUMMY: &str = "---
name: racks
cluster: {name: racks}
hosts:
  - {im_mad: kvm, vm_mad: kvm, provision: {driver: dummy, hostname: one, ip: 192.0.2.7}}
  - {im_mad: kvm, vm_mad: kvm, provision: {driver: dummy, hostname: two, ip: 192.0.2.8}}
";

fn create(home: &Home, text: &str) -> String {
    let path = home.write("template.yaml", text);
    with_remotes(home, &["create", path.to_str().unwrap()]).exits(0).id()
}

fn with_remotes(home: &Home, arguments: &[&str]) -> Output {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments).run()
}

fn states(home: &Home) -> Vec<String> {
    let all = home.sandbox(&["host", "list", "-j"]).exits(0).json();
    let hosts = all["HOST_POOL"]["HOST"].as_array().unwrap();
    hosts.iter().map(|host| host["STAT"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn off_on_and_again_word_for_word() {
    let home = Home::new();
    let id = create(&home, DUMMY);
    let mut all = String::new();
    wait_until("the hosts to be on", || states(&home) == ["on", "on"]);
    let mut run = |command: &str| {
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = home.sandbox(&arguments);
        all += &told(&home, command, &output);
        output
    };
    run("host poweroff 0").exits(0);
    run("host poweroff -d one").exits(0);
    run("host reboot 0").exits(255);
    run(&format!("show {id}")).exits(0);
    run(&format!("host resume -d {id}:0")).exits(0);
    run("host reboot 192.0.2.7").exits(0);
    run("host reboot --hard racks:1").exits(0);
    run("host resume 5..6").exits(255);
    run("host poweroff --fail-cleanup 0").exits(255);
    insta::assert_snapshot!("power", all);
    assert_eq!(home.bill().len(), 2);
}

/// The argument vectors of the *Provision Driver* page, and those of 5.12, which are the same here.
#[test]
fn executables_get_the_documented_vectors() {
    for legacy in [&[][..], &["--legacy-args"]] {
        let home = Home::new();
        let cloud = Cloud::in_shell(&home, "shell");
        create(&home, &template("shell", 3, &[]));
        let before = cloud.calls().len();
        let run = |command: &[&str]| {
            let all: Vec<&str> = ["host"].iter().chain(command).chain(legacy).copied().collect();
            with_remotes(&home, &all).exits(0)
        };
        run(&["poweroff", "0..2"]);
        assert_eq!(states(&home), ["off"; 3]);
        for machine in cloud.machines() {
            assert!(cloud.dir().join("machines").join(machine).join("off").exists());
        }
        run(&["resume", "1"]);
        run(&["reboot", "1"]);
        run(&["reboot", "-H", "1"]);
        assert_eq!(cloud.machines().len(), 3, "nothing was made, nothing destroyed");
        let calls = cloud.calls().split_off(before);
        let mut off: Vec<Vec<String>> = calls.iter().take(3).cloned().collect();
        off.sort();
        for call in &off {
            let [action, machine, host, state, id, again] = &call[..] else { panic!("{call:?}") };
            assert_eq!((action.as_str(), state.as_str()), ("shutdown", "SHUTDOWN_POWEROFF"));
            assert_eq!(*host, format!("192.0.2.{}", machine.trim_start_matches("m-")));
            assert_eq!(host, again);
            id.parse::<u32>().unwrap();
        }
        let rest = &calls[3..];
        let [deploy, file, host, id, again] = &rest[0][..] else { panic!("{rest:?}") };
        assert_eq!((deploy.as_str(), id.as_str()), ("deploy", "1"));
        assert!(file.starts_with('/') && host == again && host.starts_with("192.0.2."));
        let machine = format!("m-{}", host.trim_start_matches("192.0.2."));
        let vector = |action: &str| [action, &machine, host, "1", host].map(str::to_owned).to_vec();
        let expected = ["poll", "reboot", "reset", "poll"].map(vector);
        assert_eq!(rest[1..], expected);
        // Machines of this driver are not configured yet, so their hosts stay out of use.
        assert_eq!(states(&home)[0], "off");
        assert_eq!(std::fs::read_dir(home.state().join("calls")).unwrap().count(), 0);
    }
}

#[test]
fn a_driver_that_refuses_leaves_the_others_alone_and_says_how_to_repeat() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    create(&home, &template("shell", 1, &[]));
    let second =
        template("dummy", 1, &[]).replace("test-", "other-").replace("name: test", "name: other");
    let other = home.write("other.yaml", second);
    with_remotes(&home, &["create", other.to_str().unwrap()]).exits(0);
    std::fs::write(cloud.dir().join("refuse"), "").unwrap();
    let output = with_remotes(&home, &["host", "poweroff", "0,1"]).exits(255);
    assert!(output.stderr.contains("poweroff failed: the machine is busy"), "{}", output.stderr);
    assert!(output.stderr.contains("1 host powered off"), "{}", output.stderr);
    assert!(output.stderr.contains("host 0 (test-host1): online again"), "{}", output.stderr);
    assert_ne!(states(&home)[0], "off");
    let again = output.stderr.lines().find(|line| line.ends_with(" host poweroff 0"));
    assert!(again.unwrap().contains("oneprovision --sandbox "), "{}", output.stderr);
    std::fs::remove_file(cloud.dir().join("refuse")).unwrap();
    with_remotes(&home, &["host", "poweroff", "0"]).exits(0).says("Done: 1 host powered off.");
}

#[test]
fn a_driver_that_cannot_power_off_leaves_its_hosts_in_use() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    create(&home, &template("shell", 2, &[]));
    std::fs::remove_file(home.remotes().join("pm/shell/shutdown")).unwrap();
    let refused = with_remotes(&home, &["host", "poweroff", "0,1"]).one_error();
    assert!(refused.contains("host 0: driver \"shell\" has no action shutdown"), "{refused}");
    assert!(states(&home).iter().all(|state| state != "off"));
    assert_eq!(cloud.machines().len(), 2);
}

#[test]
fn a_killed_tool_is_told_of_and_its_driver_waited_for() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    let id = create(&home, &template("shell", 1, &[]));
    let waiting = format!(
        "#!/bin/sh\ncloud='{}'\necho $$ >> \"$cloud/waiting\"\n{WAITS}\n\
         if [ -e \"$cloud/fail\" ]; then printf 'ERROR MESSAGE --8<------\\nno power\\nERROR MESSAGE ------>8--\\n' >&2; exit 1; fi\n\
         echo off >> \"$cloud/done\"\n",
        cloud.dir().display()
    );
    let action = home.remotes().join("pm/shell/shutdown");
    std::fs::write(&action, waiting).unwrap();
    std::fs::set_permissions(&action, std::fs::Permissions::from_mode(0o755)).unwrap();
    let running = home
        .tool(&["--sandbox", "--remotes"])
        .args(&[home.remotes()])
        .args(&["host", "poweroff", "0"])
        .start();
    wait_until("the driver", || cloud.dir().join("waiting").exists());
    running.signal(rustix::process::Signal::KILL);
    running.finish();
    let shown = with_remotes(&home, &["show", &id]).exits(0);
    assert!(shown.stdout.contains("poweroff was begun and has not ended"), "{}", shown.stdout);
    let note = " host poweroff 0` repeats it";
    assert!(shown.stderr.contains(note), "{}", shown.stderr);
    // The next one waits for the driver of the first.
    let again = home
        .tool(&["--sandbox", "--remotes"])
        .args(&[home.remotes()])
        .args(&["host", "poweroff", "0"])
        .start();
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    again.finish().exits(0).says("Done: 1 host powered off.");
    let done = std::fs::read_to_string(cloud.dir().join("done")).unwrap();
    assert_eq!(done.lines().count(), 2, "the first came to its end, then the second");
    assert_eq!(std::fs::read_dir(home.state().join("calls")).unwrap().count(), 0);
}

#[test]
fn top_without_a_terminal_is_one_list_or_as_many_as_asked_for() {
    let home = Home::new();
    create(&home, DUMMY);
    let once = home.sandbox(&["host", "top"]).exits(0).stdout;
    assert_eq!(once.matches("192.0.2.7").count(), 1, "{once}");
    let twice = home.sandbox(&["host", "top", "-n", "2", "-d", "1", "--csv"]).exits(0).stdout;
    assert_eq!(twice.matches("192.0.2.7").count(), 2, "{twice}");
}

#[test]
fn ssh_gets_the_connection_of_the_host_and_its_status_is_ours() {
    let home = Home::new();
    let text = DUMMY.replace("name: racks\n", "name: racks\ndefaults:\n  connection: {remote_user: ubuntu, remote_port: 2222, private_key: ~/keys/of racks}\n");
    create(&home, &text);
    let bin = home.root().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let ssh = bin.join("ssh");
    std::fs::write(&ssh, "#!/bin/sh\nfor a in \"$@\"; do echo \"<$a>\"; done\nexit 7\n").unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let run = |arguments: &[&str]| {
        home.tool(&["--sandbox", "host", "ssh"]).args(arguments).env("PATH", &path).run()
    };
    let output = run(&["two", "ls", "-l", "a b; true"]).exits(7);
    let words: Vec<&str> = output.stdout.lines().collect();
    let provisions = std::fs::read_dir(home.state().join("provisions")).unwrap();
    let folders: Vec<_> = provisions.flatten().map(|entry| entry.path()).collect();
    assert_eq!(folders.len(), 1, "one folder for each provision: {folders:?}");
    let known = format!("<UserKnownHostsFile=\"{}/known_hosts\">", folders[0].display());
    let key = format!("<{}/keys/of racks>", home.home().display());
    let begin = ["<-l>", "<ubuntu>", "<-p>", "<2222>", "<-i>", key.as_str(), "<-o>"];
    assert_eq!(words[..7], begin);
    assert_eq!(words[7..10], [known.as_str(), "<-o>", "<StrictHostKeyChecking=accept-new>"]);
    assert_eq!(words[10], "<-o>");
    assert!(words[11].starts_with("<HostKeyAlias=dummy."), "{}", words[11]);
    assert_eq!(words[12..], ["<-->", "<192.0.2.8>", "<ls>", "<-l>", "<a b; true>"]);
    assert_eq!(run(&["0"]).exits(7).stdout.lines().last(), Some("<192.0.2.7>"));
    let error = run(&["0,1"]).exits(255).stderr;
    assert!(error.contains("names more than one host"), "{error}");
    let missing = home.tool(&["--sandbox", "host", "ssh", "0"]).env("PATH", "/nowhere").run();
    assert!(missing.exits(255).stderr.contains("ssh cannot be run"));
}
