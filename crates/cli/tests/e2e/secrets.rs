//! Where a secret may not be found: in what is said, in what is left, in what other users can see.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::support::cloud::{Cloud, WAITS};
use crate::support::{Home, Output, template};

const TOKEN: &str = "tok-7c1d9e5b-never-to-be-seen";
const PARAMETERS: [(&str, &str); 2] = [("packet_token", TOKEN), ("root_password", TOKEN)];

const NOWHERE: [PathBuf; 0] = [];

#[track_caller]
fn silent(output: &Output) {
    assert!(!output.stdout.contains(TOKEN), "{}", output.stdout);
    assert!(!output.stderr.contains(TOKEN), "{}", output.stderr);
}

/// The files below a folder that hold the token.
fn holding(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path));
        } else if contains(&std::fs::read(&path).unwrap()) {
            found.push(path);
        }
    }
    found
}

fn contains(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
}

#[test]
fn a_token_is_seen_by_the_driver_and_by_nobody_else() {
    let home = Home::new();
    // The driver gets it, tells it in an error, and on a line of its own.
    let tell = "grep -i token \"$1\" >&2";
    let cloud = Cloud::with_steps(&home, "loud", tell, "");
    let path = home.write("t.yaml", template("loud", 2, &PARAMETERS));
    let tool = |arguments: &[&str]| {
        home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments)
    };
    let created = tool(&["create", "-D"]).args(&[path]).run().exits(0).says("Command run: ");
    silent(&created);
    assert!(!holding(cloud.dir()).is_empty(), "the driver was told, and the search finds it");
    let id = created.id();
    for command in [
        &["list", "-j"][..],
        &["show", &id],
        &["show", "-j", &id],
        &["show", "-x", &id],
        &["show", "-y", &id],
        &["host", "list", "-j"],
    ] {
        silent(&tool(command).run().exits(0));
    }
    assert_eq!(holding(&home.state()), NOWHERE);
    silent(&tool(&["delete", "-D", &id]).run().exits(0));
    assert_eq!(holding(&home.state()), NOWHERE);
}

#[test]
fn a_driver_that_fails_tells_no_token() {
    for action in ["deploy", "poll", "cancel"] {
        let home = Home::new();
        Cloud::in_shell(&home, "loud");
        let fails = format!(
            "#!/bin/sh\nprintf 'ERROR MESSAGE --8<------\\nrefused: {TOKEN}\\nERROR MESSAGE ------>8--\\n' >&2\nexit 1\n"
        );
        crate::support::executable(&home.remotes().join("pm/loud").join(action), &fails);
        let path = home.write("t.yaml", template("loud", 1, &PARAMETERS));
        let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
        let created = tool.args(&["create", "-D"]).args(&[path]).run();
        silent(&created);
        let id = created.id();
        silent(&home.sandbox(&["show", &id]).exits(0));
        let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
        let deleted = tool.args(&["delete", "-D", &id]).run();
        silent(&deleted);
        let refused = [&created, &deleted].iter().any(|run| run.stderr.contains("refused: ***"));
        assert!(refused, "the rest is told: {}{}", created.stderr, deleted.stderr);
        assert_eq!(holding(&home.state()), NOWHERE, "{action}");
    }
}

#[test]
fn the_built_in_dummy_keeps_no_token() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &PARAMETERS));
    let created = home.tool(&["--sandbox", "create", "-D"]).args(&[path]).run().exits(0);
    silent(&created);
    assert_eq!(holding(&home.state()), NOWHERE);
    home.sandbox(&["delete", &created.id()]).exits(0);
}

#[test]
fn no_process_shows_a_token_or_the_front_ends_password() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let path = home.write("t.yaml", template("long", 1, &PARAMETERS));
    let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let running = tool.args(&["create"]).args(&[path]).start();
    cloud.wait_for(1);
    let auth = std::fs::read_to_string(home.state().join("sandbox.auth")).unwrap();
    let password = auth.trim().split_once(':').unwrap().1.to_owned();
    let root = home.root().to_str().unwrap().to_owned();
    let mut ours = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).into_owned();
        // What the environment of our children holds is private, but need not hold it either.
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if line.contains(&root) {
            ours += 1;
            assert!(!line.contains(TOKEN) && !line.contains(&password), "{line}");
            assert!(!contains(&environment));
        }
    }
    assert!(ours >= 2, "the tool and its driver were looked at");
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    running.finish().exits(0);
}

#[test]
fn a_killed_tool_leaves_the_token_in_private_places_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "long", WAITS, "");
    let path = home.write("t.yaml", template("long", 1, &PARAMETERS));
    let tool = || home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let running = tool().args(&["create"]).args(&[path]).start();
    cloud.wait_for(1);
    running.signal(Signal::KILL);
    let id = running.finish().id();
    // The deployment file is there as long as its driver runs.
    let left = holding(&home.state());
    assert!(!left.is_empty(), "the driver is to read it");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in left {
        let folder = path.parent().unwrap();
        assert_eq!((mode(&path), mode(folder)), (0o600, 0o700), "{}", path.display());
    }
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    tool().args(&["delete", &id]).run().exits(0);
    assert_eq!(holding(&home.state()), NOWHERE);
}

#[test]
fn a_dump_masks_secrets() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &PARAMETERS));
    let dumped = home.tool(&["validate", "--dump"]).args(&[path]).run().exits(0);
    silent(&dumped);
    assert!(
        dumped.stdout.contains("packet_token") && dumped.stdout.contains("***"),
        "{}",
        dumped.stdout
    );
}

#[test]
fn credentials_in_host_templates_are_no_secret_of_the_front_end_but_still_never_told() {
    let home = Home::new();
    let fails = format!("echo 'refused: {TOKEN}' >&2; exit 1");
    Cloud::in_shell(&home, "loud");
    crate::support::executable(
        &home.remotes().join("pm/loud/cancel"),
        &format!("#!/bin/sh\n{fails}\n"),
    );
    let path = home.write("t.yaml", template("loud", 1, &PARAMETERS));
    let tool = |arguments: &[&str]| {
        home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments)
    };
    let created = tool(&["create", "-D", "--secrets-in-template"]).args(&[path]).run().exits(0);
    silent(&created);
    let deleted = tool(&["delete", "-D", &created.id()]).run().exits(255);
    silent(&deleted);
    assert!(deleted.stderr.contains("refused: ***"), "{}", deleted.stderr);
    for path in holding(&home.state()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("sandbox.db"), "only the front-end has it: {}", path.display());
    }
}
