//! What is no good: one clear error, exit status 255, and nothing half done.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::front_end::{Served, nobody, server};
use crate::support::{Home, TOOL, executable, skip, template};

/// Nobody, on most systems; what matters is that it is not root.
const NOBODY: u32 = 65534;

/// `create` refuses the template with one error, and does nothing. The error is returned.
#[track_caller]
fn refused(home: &Home, path: &Path) -> String {
    let error = home.tool(&["--sandbox", "create"]).args(&[path]).run().one_error();
    assert!(error.contains(&*path.to_string_lossy()), "the file is named: {error}");
    assert!(std::fs::read_dir(home.home()).unwrap().next().is_none(), "nothing was written");
    error
}

#[test]
fn templates_that_cannot_be_read() {
    let home = Home::new();
    assert!(refused(&home, Path::new("no-such.yaml")).contains("there is no such file"));
    assert!(refused(&home, &home.work()).contains("it is a folder"));
    assert!(refused(&home, &home.write("empty.yaml", "")).contains("the template is empty"));
    assert!(refused(&home, &home.write("blank.yaml", " \n---\n\n")).contains("empty"));
    let binary = std::fs::read(TOOL).unwrap();
    assert!(refused(&home, &home.write("tool", &binary[..10_000])).contains("binary"));
    let latin = home.write("latin.yaml", b"name: caf\xe9\n");
    assert!(refused(&home, &latin).contains("UTF-8"));
    assert!(refused(&home, &home.write("text.yaml", "just a sentence\n")).contains(":1:1"));
}

#[test]
fn a_template_that_may_not_be_read() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    let mut tool = home.tool(&["--sandbox", "create"]).args(&[&path]);
    if File::open(&path).is_ok() {
        // Root may read everything: somebody else has to try.
        if !opened_up(&home) {
            return skip("the binary cannot be run as another user");
        }
        tool = tool.by_user(NOBODY);
    }
    let error = tool.run().one_error();
    assert!(error.contains("ermission"), "{error}");
}

/// Lets another user in; false if the binary cannot be run by one.
fn opened_up(home: &Home) -> bool {
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(home.root(), 0o755);
    open(&home.work(), 0o755);
    let probe = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", TOOL, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

#[test]
fn templates_that_would_eat_the_machine() {
    let home = Home::new();
    let big = home.work().join("big.yaml");
    File::create(&big).unwrap().set_len(200 << 20).unwrap();
    assert!(refused(&home, &big).contains("larger than"));
    let deep = format!("name: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    refused(&home, &home.write("deep.yaml", deep));
    let nested: String = (0..20_000).map(|n| format!("{}a:\n", " ".repeat(n % 2000))).collect();
    refused(&home, &home.write("nested.yaml", nested));
    let mut bomb = String::from("name: x\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..=12 {
        let items = vec![format!("*a{}", n - 1); 10].join(",");
        bomb += &format!("a{n}: &a{n} [{items}]\n");
    }
    assert!(refused(&home, &home.write("bomb.yaml", bomb)).contains("too large"));
    let itself = home.write("loop.yaml", "extends: loop.yaml\nname: x\n");
    assert!(refused(&home, &itself).contains("loop.yaml"));
}

#[test]
fn a_device_as_a_template_hangs_nobody() {
    let home = Home::new();
    assert!(refused(&home, Path::new("/dev/zero")).contains("larger than"));
    refused(&home, Path::new("/dev/null"));
}

#[test]
fn duplicate_host_names_and_addresses() {
    let home = Home::new();
    let twice = template("dummy", 2, &[]).replace("test-host2", "test-host1");
    let error = refused(&home, &home.write("names.yaml", twice));
    assert!(error.contains("test-host1"), "{error}");
    let error =
        refused(&home, &home.write("ips.yaml", template("dummy", 2, &[("ip", "192.0.2.7")])));
    assert!(error.contains("192.0.2.7"), "{error}");
}

/// `create` with that driver fails before anything is made in the front-end.
#[track_caller]
fn no_driver(home: &Home, driver: &str) -> String {
    let path = home.write("t.yaml", template(driver, 1, &[]));
    let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let output = tool.args(&["create"]).args(&[path]).run();
    let error = output.one_error();
    for kind in ["host", "cluster"] {
        assert_eq!(home.sandbox(&[kind, "list", "--no-header"]).exits(0).stdout, "", "{error}");
    }
    error
}

#[test]
fn drivers_that_are_none() {
    let home = Home::new();
    let pm = home.remotes().join("pm");
    let error = no_driver(&home, "pocket");
    assert!(error.contains("pocket") && error.contains(&*pm.to_string_lossy()), "{error}");
    assert!(error.contains("built in: dummy"), "{error}");
    assert!(no_driver(&home, "'builtin:pocket'").contains("pocket"));

    executable(&pm.join("half/cancel"), "#!/bin/sh\n");
    assert!(no_driver(&home, "half").contains("deploy"));

    for action in ["cancel", "deploy", "poll", "reboot", "reset", "shutdown"] {
        executable(&pm.join("dull").join(action), "#!/bin/sh\n");
    }
    let deploy = pm.join("dull/deploy");
    std::fs::set_permissions(&deploy, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = no_driver(&home, "dull");
    assert!(
        error.contains(&*deploy.to_string_lossy()) && error.contains("not executable"),
        "{error}"
    );
    assert!(error.contains("chmod +x") && !error.contains("did you mean"), "{error}");
    executable(&deploy, "#! /no/such/python3 -u\n");
    let error = no_driver(&home, "dull");
    assert!(error.contains("\"/no/such/python3\", which is not installed"), "{error}");
    std::fs::remove_file(&deploy).unwrap();
    std::fs::create_dir(&deploy).unwrap();
    let error = no_driver(&home, "dull");
    assert!(error.contains(&*deploy.to_string_lossy()), "{error}");

    std::fs::write(pm.join("file"), "").unwrap();
    no_driver(&home, "file");
    // What stands there wins, also over a built-in driver and also if it is broken.
    std::fs::create_dir(pm.join("dummy")).unwrap();
    assert!(no_driver(&home, "dummy").contains("has no action"));
}

#[test]
fn a_drivers_name_leads_nowhere_else() {
    let home = Home::new();
    let outside = home.root().join("outside");
    for action in ["cancel", "deploy", "poll", "reboot", "reset", "shutdown"] {
        executable(
            &outside.join(action),
            &format!("#!/bin/sh\ntouch '{}'\n", outside.join("ran").display()),
        );
    }
    std::fs::create_dir_all(home.remotes().join("pm")).unwrap();
    let absolute = outside.to_str().unwrap();
    for name in [
        "../../outside",
        absolute,
        "'..'",
        "'.'",
        "'a/../../../outside'",
        "\"x\\0y\"",
        "'-rf'",
        "'a b'",
    ] {
        no_driver(&home, name);
    }
    assert!(!outside.join("ran").exists());
}

/// Every command that asks the front-end tells this of it.
#[track_caller]
fn front_end_error(home: &Home, endpoint: &str, auth: &Path) -> String {
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let tool = |arguments: &[&str]| {
        let tool = home.tool(&["--patience", "0", "--endpoint", endpoint]).args(arguments);
        tool.env("ONE_AUTH", auth)
    };
    let error = tool(&["list"]).run().one_error();
    tool(&["host", "list"]).run().one_error();
    let created = tool(&["create"]).args(&[&path]).run().exits(255);
    assert_eq!(home.machines_ever(), Vec::<String>::new());
    assert_eq!(created.stderr.matches("ERROR: ").count(), 1, "{}", created.stderr);
    error
}

fn auth(home: &Home, content: &str) -> PathBuf {
    let path = home.write("one_auth", content);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn front_ends_that_are_none() {
    let home = Home::new();
    let auth = auth(&home, "oneadmin:opennebula-password\n");
    let down = nobody();
    let error = front_end_error(&home, &down, &auth);
    assert!(error.contains(&down) && error.contains("Connection refused"), "{error}");
    assert!(error.contains("hint: is OpenNebula running there?"), "{error}");

    for answer in [
        &b"\x00\xff\xfe garbage \r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 44\r\n\r\n<html><body>Welcome to nginx!</body></html>\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot here\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<methodResp",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"error\": true}",
        // A XML-RPC service, but not of OpenNebula.
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 285\r\n\r\n<?xml version=\"1.0\"?><methodResponse><fault><value><struct><member><name>faultCode</name><value><int>-32601</int></value></member><member><name>faultString</name><value><string>requested method not found</string></value></member></struct></value></fault></methodResponse>                    ",
    ] {
        let endpoint = server(Some(answer));
        let error = front_end_error(&home, &endpoint, &auth);
        assert!(error.contains(&endpoint), "{error}");
        assert!(error.contains("hint: "), "{error}");
        assert!(!error.contains("opennebula-password"), "{error}");
    }
}

#[test]
fn a_front_end_that_refuses_the_password() {
    let server = Home::new();
    let served = Served::start(&server);
    let home = Home::new();
    let auth = auth(&home, "oneadmin:not-the-password\n");
    let error = front_end_error(&home, &served.endpoint, &auth);
    assert!(error.contains("hint: check user and password"), "{error}");
    assert!(!error.contains("not-the-password"), "{error}");
    let given =
        ["--endpoint", &served.endpoint, "--user", "x", "--password", "not-it-either", "list"];
    let error = home.tool(&given).run().one_error();
    assert!(!error.contains("not-it-either"), "{error}");
}

#[test]
fn endpoints_and_credentials_that_cannot_be_used() {
    let home = Home::new();
    let error = home.tool(&["list"]).run().one_error();
    assert!(error.contains("ONE_AUTH") && error.contains("hint: --sandbox"), "{error}");
    let good = auth(&home, "oneadmin:x\n");
    for endpoint in ["", "nonsense", "ftp://host/", "http://", "http://user:pw@host:99999/"] {
        let error =
            home.tool(&["--endpoint", endpoint, "list"]).env("ONE_AUTH", &good).run().one_error();
        assert!(!error.contains("pw@"), "{error}");
    }
    for content in ["", "no-colon-here", "\n\n"] {
        let path = auth(&home, content);
        let error = home.tool(&["list"]).env("ONE_AUTH", &path).run().one_error();
        assert!(error.contains("one_auth"), "{error}");
        assert!(!error.contains("no-colon-here"), "it may be a password: {error}");
    }
    let error = home.tool(&["list"]).env("ONE_AUTH", "/no/such/file").run().one_error();
    assert!(error.contains("/no/such/file") && error.contains(".one/one_auth"), "{error}");
}

#[test]
fn a_file_of_one_auth_that_is_not_there_is_warned_of() {
    let server = Home::new();
    let served = Served::start(&server);
    let home = Home::new();
    std::fs::create_dir(home.home().join(".one")).unwrap();
    std::fs::copy(&served.auth, home.home().join(".one/one_auth")).unwrap();
    let listed = home.tool(&["--endpoint", &served.endpoint, "list"]);
    let listed = listed.env("ONE_AUTH", "/no/such/file").run().exits(0);
    assert!(listed.stderr.contains("ONE_AUTH names /no/such/file"), "{}", listed.stderr);
}

#[test]
fn a_front_end_that_never_answers_is_given_up_when_told_to_stop() {
    let home = Home::new();
    let auth = auth(&home, "oneadmin:x\n");
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let endpoint = server(None);
    let tool = home.tool(&["--endpoint", &endpoint, "create"]).args(&[path]).env("ONE_AUTH", &auth);
    let running = tool.start();
    crate::support::wait_until("create begins", || running.stderr().contains("WARNING"));
    // Twice: the first asks, the second insists.
    running.signal(rustix::process::Signal::INT);
    crate::support::wait_until("it was heard", || running.stderr().contains("Stopping"));
    running.signal(rustix::process::Signal::INT);
    running.finish().exits(130);
    assert_eq!(home.machines_ever(), Vec::<String>::new());
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let file = home.write("file", "");
    let create = |dir: &Path| {
        let tool = home.tool(&["--sandbox", "--state-dir"]).args(&[dir]);
        tool.args(&["create"]).args(&[&path]).run().one_error()
    };
    let error = create(&file.join("below"));
    assert!(error.contains("hint: --state-dir"), "{error}");
    create(&file);
    create(Path::new("/proc/nowhere"));
    let error = home.tool(&["--sandbox", "list"]).without_env("HOME").run().one_error();
    assert!(error.contains("HOME is not set"), "{error}");
    // Something else under the name of the journal.
    let state = home.root().join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("journal.db"), "this is no database, it is a text\n".repeat(200))
        .unwrap();
    let error = create(&state);
    assert!(error.contains("journal.db"), "{error}");
    std::fs::remove_file(state.join("journal.db")).unwrap();
    symlink("/dev/full", state.join("journal.db")).unwrap();
    create(&state);
}

/// A shell script in a mount namespace of its own, where it may mount file systems; `None` if this
/// system does not let us.
fn with_mounts(home: &Home, script: &str) -> Option<crate::support::Output> {
    let run = |script: &str| home.program("unshare").args(&["-rm", "sh", "-euc", script]).run();
    let probe = run("mount -t tmpfs -o size=64k none /mnt");
    if probe.status.success() { Some(run(script)) } else { None }
}

#[test]
fn credentials_that_are_written_already_need_no_disk() {
    let home = Home::new();
    home.sandbox(&["list"]).exits(0);
    // Nothing can be put into its place, as on a full or read-only disk.
    let auth = home.state().join("sandbox.auth");
    let before = std::fs::metadata(&auth).unwrap();
    home.sandbox(&["list"]).exits(0);
    let after = std::fs::metadata(&auth).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn a_full_disk_is_named_and_nothing_is_lost() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 60, &[]));
    let state = home.root().join("full");
    std::fs::create_dir(&state).unwrap();
    // Room for the files, but not for sixty hosts. What the tool knows after it is asked with the
    // disk as full as it is.
    let script = format!(
        "mount -t tmpfs -o size=400k none '{0}'\n\
         status=0; '{TOOL}' --sandbox --state-dir '{0}' create '{1}' || status=$?\n\
         echo \"status $status\" >&2\n\
         mount -o remount,size=40m '{0}'\n\
         '{TOOL}' --sandbox --state-dir '{0}' list --csv --no-header | cut -d, -f1 | while read id; do\n\
         '{TOOL}' --sandbox --state-dir '{0}' delete $id; done\n\
         '{TOOL}' --sandbox --state-dir '{0}' host list --no-header\n\
         cp '{0}'/dummy.db* '{2}' || true",
        state.display(),
        path.display(),
        home.work().display()
    );
    let Some(output) = with_mounts(&home, &script) else {
        return skip("a file system of our own cannot be mounted");
    };
    let output = output.exits(0).says("status 255").says("ERROR: ");
    let (before, _) = output.stderr.split_once("status 255").unwrap();
    assert!(before.contains("full"), "{before}");
    assert!(before.contains("hint: ") || before.contains("oneprovision delete"), "{before}");
    let hosts = output.stdout.lines().filter(|line| !line.starts_with("ID: ")).count();
    assert_eq!(hosts, 0, "{}", output.stdout);
    let ledger = home.work().join("dummy.db");
    if ledger.exists() {
        let bill = crate::support::machines(&ledger, "WHERE cancelled_ms IS NULL");
        assert_eq!(bill, Vec::<String>::new(), "{}", output.stderr);
    }
}

#[test]
fn a_read_only_home_is_named() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    let script = format!(
        "mount -t tmpfs -o ro none '{}'\nexec '{TOOL}' --sandbox create '{}'",
        home.home().display(),
        path.display()
    );
    let Some(output) = with_mounts(&home, &script) else {
        return skip("a file system of our own cannot be mounted");
    };
    let error = output.one_error();
    assert!(error.contains("Read-only file system"), "{error}");
    assert!(error.contains("hint: --state-dir"), "{error}");
}

#[test]
fn a_state_folder_that_became_read_only() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[]));
    home.sandbox(&["list"]).exits(0);
    let script = format!(
        "mount --bind '{0}' '{0}'\nmount -o remount,bind,ro '{0}'\nexec '{TOOL}' --sandbox create '{1}'",
        home.home().display(),
        path.display()
    );
    let Some(output) = with_mounts(&home, &script) else {
        return skip("a file system of our own cannot be mounted");
    };
    let error = output.one_error();
    assert!(error.contains("ead-only"), "{error}");
}

#[test]
fn usage_errors() {
    let home = Home::new();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["create"],
        &["create", "a.yaml", "b.yaml"],
        &["list", "--no-such-option"],
        &["list", "-x", "-j"],
        &["list", "--csv", "-y"],
        &["create", "-t", "0", "t.yaml"],
        &["create", "--deploy-timeout", "soon", "t.yaml"],
        &["--sandbox", "--endpoint", "http://localhost", "list"],
        &["--user", "x", "list"],
        &["host"],
        &["sandbox", "serve", "--listen", "nowhere"],
    ] {
        let output = home.tool(arguments).run().exits(255);
        assert_eq!(output.stdout, "", "{arguments:?}");
        assert!(output.stderr.contains("--help"), "{arguments:?}: {}", output.stderr);
    }
    for arguments in [&["--sandbox", "show", "x"][..], &["--sandbox", "delete", ""]] {
        assert!(home.tool(arguments).run().one_error().contains("there is no provision"));
    }
    let both = ["host", "resolve", "0", "--gone", "--exists", "m-1"];
    home.tool(&both).run().one_error();
    let usage = home.tool(&["host", "resolve", "0"]).run().one_error();
    assert!(usage.contains("<--gone|--exists <DEPLOY_ID>>"), "{usage}");
    for ids in ["x", "7..5", "-1", "0..2000000000"] {
        home.tool(&["--sandbox", "host", "delete", "--", ids]).run().one_error();
    }
    for arguments in [&["--help"][..], &["help"], &["-V"], &["create", "--help"]] {
        let output = home.tool(arguments).run().exits(0);
        assert_eq!(output.stderr, "");
        assert!(!output.stdout.is_empty());
    }
    assert!(std::fs::read_dir(home.home()).unwrap().count() <= 1, "help writes nothing");
}

#[test]
fn readers_that_have_seen_enough() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 40, &[]));
    let id = home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(0).id();
    // A pipe that nobody reads from any more.
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for arguments in [&["list"][..], &["show", "-j", &id], &["host", "list", "-x"], &["--help"]] {
        let tool = home.tool(&["--sandbox"]).args(arguments);
        tool.start_with(closed(), Stdio::null()).finish().exits(0);
    }
    // A standard output that cannot be written is an error.
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let tool = home.tool(&["--sandbox", "show", "-j", &id]);
    tool.start_with(full(), Stdio::null()).finish().exits(255);
    let events = home.write("events.yaml", template("dummy", 1, &[]).replace("test", "events"));
    let said = home.root().join("said");
    home.tool(&["--sandbox", "create", "--events"])
        .args(&[&events])
        .start_with(full(), Stdio::from(File::create(&said).unwrap()))
        .finish()
        .exits(255);
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("Done: 1 host enabled."), "{said}");
    assert!(
        said.contains("ERROR: events are missing: standard output cannot be written\n"),
        "{said}"
    );
    assert!(said.contains("do not repeat it") && !said.contains("OP-DISK-FULL"), "{said}");
    home.sandbox(&["delete", "events"]).exits(0);

    // An id that nobody could read is told elsewhere, and the create goes on.
    let few = home.write("few.yaml", template("dummy", 2, &[]).replace("test", "few"));
    let said = home.root().join("said");
    home.tool(&["--sandbox", "create"])
        .args(&[&few])
        .start_with(full(), Stdio::from(File::create(&said).unwrap()))
        .finish()
        .exits(255);
    let said = std::fs::read_to_string(said).unwrap();
    let listed = home.sandbox(&["list", "--csv", "--no-header", "-f", "NAME=few"]).exits(0).stdout;
    let few = listed.split(',').next().unwrap();
    assert!(said.contains(&format!("WARNING: the id could not be written: {few}\n")), "{said}");
    assert!(said.contains("Done: all 2 hosts enabled."), "{said}");
    assert!(said.contains("ERROR: standard output cannot be written\n"), "{said}");
    assert!(said.contains(&format!("hint: provision {few} is there")), "{said}");
    home.sandbox(&["delete", few]).exits(0);

    // Nobody listens to an operation: it is done all the same.
    home.tool(&["--sandbox", "delete", &id]).start_with(closed(), closed()).finish().exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
    home.tool(&["--sandbox", "create"])
        .args(&[&path])
        .start_with(closed(), closed())
        .finish()
        .exits(0);
    assert_eq!(home.bill().len(), 40);
}

#[test]
fn a_provision_that_the_journal_has_damaged_holds_up_no_other() {
    let home = Home::new();
    let create = |name: &str| {
        let path = home.write("t.yaml", template("dummy", 1, &[]).replace("test", name));
        home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(0).id()
    };
    let (bad, good) = (create("bad"), create("good"));
    let journal = rusqlite::Connection::open(home.state().join("journal.db")).unwrap();
    let changed = journal.execute(
        "UPDATE event SET body = '{\"event\":\"from_the_future\"}' WHERE seq = \
         (SELECT max(seq) FROM event WHERE provision = ?)",
        [&bad],
    );
    assert_eq!(changed.unwrap(), 1);
    let way_out = format!("oneprovision --sandbox journal set-aside {bad}");
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0);
    assert!(listed.stderr.contains(&way_out), "{}", listed.stderr);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert!(lines[0].starts_with(&bad) && lines[0].ends_with(",damaged"), "{lines:?}");
    assert!(lines[1].starts_with(&good) && lines[1].ends_with(",configured"), "{lines:?}");
    let shown = home.sandbox(&["show", &bad]).exits(0).says(&way_out).stdout;
    assert!(shown.contains("REASON  : entry ") && shown.contains("from_the_future"), "{shown}");
    let shown = home.sandbox(&["journal", "show", &bad]).exits(0).stdout;
    assert!(shown.contains("create of bad") && shown.contains("cannot be understood"), "{shown}");
    let exported = home.sandbox(&["journal", "export"]).exits(0).stdout;
    assert!(exported.contains(r#""text":"{\"event\":\"from_the_future\"}""#), "{exported}");
    assert!(exported.lines().last().unwrap().contains(&good), "{exported}");
    // Nothing is done to it, and nobody takes its machine for one that is nobody's.
    for command in [&["delete", &bad][..], &["resume", &bad]] {
        home.tool(&["--sandbox"]).args(command).run().exits(255).says(&way_out);
    }
    let orphans = home.sandbox(&["orphans"]).exits(3).says(&way_out);
    assert!(!orphans.stdout.contains("orphan "), "{}", orphans.stdout);
    home.sandbox(&["orphans", "--delete", "--yes"]).exits(255).says(&way_out);
    home.sandbox(&["provider", "list"]).exits(0);
    assert_eq!(home.bill().len(), 2);
    // The other one is not concerned.
    home.sandbox(&["host", "add", &good, "--amount", "1"]).exits(0);
    home.sandbox(&["delete", &good]).exits(0);
    home.sandbox(&["journal", "set-aside", &good]).one_error();
    home.sandbox(&["journal", "verify"]).exits(255).says("journal set-aside ID");
    home.sandbox(&["journal", "set-aside", &bad]).exits(255).says("nobody to ask");
    home.sandbox(&["show", &bad]).exits(0).says(&way_out);
    let aside = home.sandbox(&["journal", "set-aside", &bad, "--yes"]).exits(3);
    let named = home.bill()[0].split(' ').next().unwrap_or_default().to_owned();
    assert!(aside.stderr.contains(&named), "{} {}", home.bill()[0], aside.stderr);
    assert!(aside.stderr.contains(&format!(" events of provision {bad} set aside in ")));
    home.sandbox(&["journal", "set-aside", &bad, "--yes"]).one_error();
    home.sandbox(&["journal", "verify"]).exits(0);
    let listed = home.sandbox(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert!(listed.starts_with(&bad) && listed.trim_end().ends_with(",failed"), "{listed}");
    home.sandbox(&["resume", &bad]).exits(255).says("nothing to go on with");
    home.sandbox(&["delete", &bad]).exits(0).says("No machine exists.");
    assert_eq!(home.bill(), Vec::<String>::new());
}

/// What OpenNebula has of a provision that was set aside is gone on with, and nothing is bought twice. Also
/// if nothing of it can be understood, and if that is not even text any more.
#[test]
fn a_provision_that_was_set_aside_is_what_opennebula_has_of_it() {
    for (goes_on, damaged) in [("update", "'x'"), ("delete", "CAST(x'7BFF7D' AS TEXT)")] {
        let home = Home::new();
        let path = home.write("t.yaml", template("dummy", 2, &[]));
        let id = home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(0).id();
        let bill = home.bill();
        let journal = rusqlite::Connection::open(home.state().join("journal.db")).unwrap();
        journal.execute(&format!("UPDATE event SET body = {damaged}"), []).unwrap();
        assert!(home.sandbox(&["list"]).exits(0).stdout.contains("damaged"));
        home.sandbox(&["journal", "set-aside", &id, "--yes"]).exits(3);
        let verified = home.sandbox(&["journal", "verify"]).exits(0).stdout;
        assert!(verified.starts_with("1 provisions, 1 events"), "{verified}");
        match goes_on {
            "update" => {
                home.sandbox(&["update", &id, "t.yaml"]).exits(0);
                assert_eq!(home.bill(), bill);
            }
            _ => {
                home.sandbox(&["delete", &id]).exits(0).says("No machine exists.");
                assert_eq!(home.bill(), Vec::<String>::new());
            }
        }
        home.sandbox(&["journal", "verify"]).exits(0);
    }
}

/// What is found of a provision that no journal knows is numbered once.
#[test]
fn a_journal_makes_sense_after_it_took_over_what_it_found() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 2, &[]));
    let id = home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(0).id();
    for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(home.state().join(file));
    }
    home.sandbox(&["host", "add", &id, "--amount", "1"]).exits(0);
    home.sandbox(&["journal", "verify"]).exits(0);
    home.sandbox(&["host", "poweroff", "0"]).exits(0);
    home.sandbox(&["journal", "verify"]).exits(0);
    home.sandbox(&["delete", &id]).exits(0).says("No machine exists.");
}
