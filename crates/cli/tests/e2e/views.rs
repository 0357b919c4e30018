//! What people see, word for word. A change of these texts is made on purpose: run the tests with
//! `INSTA_UPDATE=always` and read the difference.

use std::collections::VecDeque;
use std::fmt::Write;

use crate::support::cloud::Cloud;
use crate::support::{Home, Output, normalised, template, wait_until};

/// A provision with one object of each kind: with more hosts the order would not be the same each time.
const ONE_OF_EACH: &str = "---
name: small
cluster: {name: small-cluster}
hosts:
  - im_mad: kvm
    vm_mad: kvm
    provision: {driver: dummy, hostname: small-host1, ip: 192.0.2.7}
datastores:
  - name: \"<%= @name %>-images\"
    ds_mad: fs
    tm_mad: ssh
networks:
  - name: small-net
    vn_mad: dummy
    bridge: br0
    ar: [{ip: 192.168.150.2, size: 253, type: IP4}]
";

/// A command's whole outcome, as text.
pub fn told(home: &Home, title: &str, output: &Output) -> String {
    let mut text = format!("$ oneprovision {title}\n");
    for (name, stream) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        for line in stream.lines() {
            writeln!(text, "{name}| {}", line.trim_end()).unwrap();
        }
    }
    writeln!(text, "exit status {}\n", output.status.code().unwrap_or(-1)).unwrap();
    normalised(&text, home.root())
}

#[test]
fn help_of_every_command() {
    let home = Home::new();
    let mut all = String::new();
    let mut waiting = VecDeque::from([Vec::<String>::new()]);
    while let Some(command) = waiting.pop_front() {
        let help = home.tool(&command).args(&["--help"]).run().exits(0);
        assert_eq!(help.stderr, "");
        let mut lines = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
        while let Some(name) = lines.next().and_then(|line| line.strip_prefix("  ")) {
            // An indented line goes on with the text of the one before it.
            if let Some(name) =
                name.split(' ').next().filter(|name| !name.is_empty() && *name != "help")
            {
                waiting.push_back([command.clone(), vec![name.to_owned()]].concat());
            }
        }
        let title = command.iter().fold("oneprovision".to_owned(), |all, word| all + " " + word);
        writeln!(all, "==== {title} --help\n{}", help.stdout).unwrap();
    }
    insta::assert_snapshot!("help", normalised(&all, home.root()));
}

#[test]
fn a_provision_from_its_first_line_to_its_last() {
    let home = Home::new();
    let path = home.write("t.yaml", ONE_OF_EACH);
    let created = home.tool(&["--sandbox", "create"]).args(&[path]).run().exits(0);
    let id = created.id();
    let mut all = told(&home, "create t.yaml", &created);
    wait_until("the host to be on", || {
        home.sandbox(&["host", "list", "--csv", "--no-header"]).stdout.ends_with(",on\n")
    });
    for command in
        ["list", "list --csv", "host list", "cluster list", "datastore list", "vnet list"]
    {
        let arguments: Vec<&str> = command.split(' ').collect();
        all += &told(&home, command, &home.sandbox(&arguments));
    }
    for format in [&[][..], &["-x"], &["-j"], &["-y"]] {
        let output = home.tool(&["--sandbox", "show", &id]).args(format).run();
        all += &told(&home, &format!("show ID {}", format.concat()), &output);
    }
    all += &told(&home, "delete ID", &home.sandbox(&["delete", &id]));
    all += &told(&home, "list", &home.sandbox(&["list"]));
    insta::assert_snapshot!("life", all);
}

#[test]
fn what_is_said_when_a_driver_fails() {
    let home = Home::new();
    let refuses = "rm -r \"$cloud/machines/m-$n\"; echo 'quota of 5 servers exceeded' >&2; exit 1";
    Cloud::with_steps(&home, "bad", refuses, "");
    Cloud::with_steps(&home, "dead", "kill -9 $$", "");
    Cloud::with_steps(&home, "late", "", "echo 'lost my way' >&2; exit 1");
    let mut all = String::new();
    for driver in ["bad", "dead", "late"] {
        let path = home.write("t.yaml", template(driver, 1, &[]));
        let tool = |arguments: &[&str]| {
            home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments)
        };
        let created = tool(&["create"]).args(&[path]).run();
        all += &told(&home, &format!("create {driver}.yaml"), &created);
        all += &told(&home, "show ID", &tool(&["show", &created.id()]).run());
        all += &told(&home, "delete ID", &tool(&["delete", &created.id()]).run());
        all += &told(&home, "show ID", &tool(&["show", &created.id()]).run());
    }
    insta::assert_snapshot!("failures", all);
}

#[test]
fn what_is_said_of_a_bad_template() {
    let home = Home::new();
    let text = ONE_OF_EACH
        .replace("im_mad: kvm", "im_mad: [kvm]")
        .replace("<%= @name %>", "<%= @nmae %>")
        .replace("networks:", "netwroks:");
    home.write("t.yaml", text);
    home.write("list.yaml", "- a\n- b\n");
    home.write("broken.yaml", "name: x\nhosts: [\n");
    home.write("empty.yaml", "");
    let mut all = String::new();
    for file in ["t.yaml", "list.yaml", "broken.yaml", "empty.yaml", "missing.yaml"] {
        all += &told(&home, &format!("validate {file}"), &home.tool(&["validate", file]).run());
    }
    insta::assert_snapshot!("diagnostics", all);
}

#[test]
fn the_log_has_the_form_of_5_12() {
    let home = Home::new();
    let path = home.write("t.yaml", ONE_OF_EACH);
    let created = home.tool(&["--sandbox", "create", "-d"]).args(&[path]).run().exits(0);
    let log = normalised(&created.stderr, home.root());
    for line in ["<time> INFO  : Creating provision objects", "<time> INFO  : Deploying"] {
        assert!(log.lines().any(|logged| logged == line), "{line}\n{log}");
    }
    assert!(!log.contains("DEBUG"), "{log}");
    let id = created.id();
    let deleted = home.tool(&["--sandbox", "delete", "-D", &id]).run().exits(0);
    let log = normalised(&deleted.stderr, home.root());
    for line in [
        "<time> INFO  : Deleting provision <uuid>",
        "<time> INFO  : Deleting provision objects",
        "<time> DEBUG : Deleting OpenNebula host: 0",
        "<time> DEBUG : Deleting OpenNebula cluster: 100",
    ] {
        assert!(log.lines().any(|logged| logged == line), "{line}\n{log}");
    }
}

#[test]
fn lists_take_the_options_of_5_12() {
    let home = Home::new();
    let path = home.write("t.yaml", ONE_OF_EACH);
    home.tool(&["--sandbox", "create"]).args(&[path]).run().exits(0);
    let mut all = String::new();
    for command in [
        "list --describe",
        "list -l NAME,HOSTS --csv --csv-del ;",
        "list -l name --no-header --no-pager",
        "host list -f NAME~nobody",
        "host list -f NAME~nobody -j",
        "host list -l NAME,PROVIDER -f PROVIDER!=-,NAME~192 -s PROVIDER=3",
        "datastore list --filter ID=1,NAME~images --operator OR -l NAME,TM --adjust NAME",
        "list -c short",
        "list -l SIZE",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        all += &told(&home, command, &home.sandbox(&arguments));
    }
    // Where OpenNebula's own tools look for the columns of lists.
    std::fs::create_dir_all(home.work().join("one/etc/cli")).unwrap();
    home.write(
        "one/etc/cli/oneprovision.yaml",
        ":default: [:NAME, :GROUP, :HOSTS]\n:short: [:NAME]\n",
    );
    let located = |options: &[&str]| {
        let location = home.work().join("one");
        let tool = home.tool(&["--sandbox", "list"]).args(options);
        tool.env("ONE_LOCATION", location).run()
    };
    all += &told(&home, "list", &located(&[]));
    all += &told(&home, "list -c short", &located(&["-c", "short"]));
    home.write("one/etc/cli/oneprovision.yaml", ":NAME:\n  :size: [wide\n");
    all += &told(&home, "list", &located(&[]));
    insta::assert_snapshot!("options_of_lists", all);
}

/// A create in a terminal of 12 lines, as a person sees it while it runs and at its end.
#[test]
fn on_a_terminal_every_host_has_a_line() {
    let Some(python) = crate::support::python() else {
        return crate::support::skip("there is no Python for the pseudo-terminal");
    };
    let terminal = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/terminal");
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 20, &[("dummy_boot", "6s")]));
    let shown = |term: &str, colours: &str| {
        let state = tempfile::tempdir_in(home.root()).unwrap();
        let options = ["--size", "12x80", "--when", "… and 12 more: ", "--term", term, "--"];
        let tool = home.program(&python).env("NO_COLOR", colours).args(&[terminal]).args(&options);
        let tool = tool.args(&[crate::support::TOOL, "--sandbox", "--state-dir"]);
        tool.args(&[state.path()]).args(&["create"]).args(&[&path]).run().exits(0).stdout
    };
    let all = shown("xterm", "");
    let (during, end) = all.split_once("---- at its end").unwrap();
    let hosts = during.lines().filter(|line| line.starts_with("  host ")).count();
    assert_eq!(hosts, 8, "{all}");
    let phases = ["Creating provision objects: ", "Deploying: "];
    let total = during.lines().find(|line| phases.iter().any(|phase| line.starts_with(phase)));
    assert!(total.is_some_and(|line| line.contains("20") && line.ends_with('s')), "{all}");
    assert!(during.lines().count() <= 14, "{all}");
    assert!(!end.contains("\n  host "), "the lines are taken away:\n{all}");
    assert!(end.contains("Done: all 20 hosts enabled."), "{all}");
    assert!(end.contains("\n  19 198.18."), "a table at the end:\n{all}");
    assert!(all.contains("---- with colours"), "{all}");
    let plain = shown("xterm", "1");
    assert!(!plain.contains("---- with colours") && plain.contains("\n  host "), "{plain}");
    // A terminal that cannot go back gets a line per change.
    let dumb = shown("dumb", "");
    assert!(!dumb.contains("---- with colours"), "{dumb}");
    assert!(dumb.contains("host 3 (test-host4): enabled\n"), "{dumb}");
}

#[test]
fn a_list_is_shown_again_after_a_delay() {
    let home = Home::new();
    let running = home.tool(&["--sandbox", "list", "--csv", "-l", "NAME", "-d", "1"]).start();
    wait_until("the list to be shown twice", || running.stdout().starts_with("NAME\nNAME\n"));
    running.signal(rustix::process::Signal::INT);
    let ended = running.finish().exits(0);
    assert_eq!(ended.stderr, "");
}
