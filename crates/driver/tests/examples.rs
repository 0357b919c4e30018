//! The three drivers of `docs/WRITING_A_DRIVER.md` keep every promise, and the page shows them as they
//! are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::conformance::{Check, Observer, Settings, Subject, Verdict, examine};
use driver::executable::{DriverFolder, ExecutableSettings};
use driver::{Action, Remotes};
use model::{DeployId, ProvisionId};
use tokio::sync::watch;

struct Deaf;

impl Observer for Deaf {
    fn begun(&self, _: Check) {}
    fn made(&self, _: &DeployId) {}
    fn gone(&self, _: &DeployId) {}
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

async fn keeps_every_promise(folder: DriverFolder, state: &Path) {
    let settings = Settings {
        // Generous: a busy machine is no fault of the driver's.
        settle: Duration::from_secs(60),
        ..Settings::new(ProvisionId(uuid::Uuid::new_v4()), folder.name())
    };
    let machines = state.join(format!("{}-machines", folder.name()));
    let executable = ExecutableSettings {
        state_dir: Some(state.to_owned()),
        ..ExecutableSettings::new(state.join("calls"))
    };
    let subject = Subject::Executables { folder, settings: executable };
    let (_raise, stop) = watch::channel(false);
    let report = examine(&subject, &settings, &Deaf, stop).await;
    let other: Vec<_> =
        report.findings.iter().filter(|found| found.verdict != Verdict::Kept).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert_eq!(report.findings.len(), Check::ALL.len());
    assert_eq!(report.left, []);
    let left: Vec<_> = fs::read_dir(machines).unwrap().map(|e| e.unwrap().file_name()).collect();
    // What a deploy that was killed had not finished is no machine.
    let left: Vec<_> = left.iter().filter(|n| !n.to_string_lossy().starts_with(".new-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn the_one_in_shell() {
    let state = tempfile::tempdir().unwrap();
    let folder = DriverFolder::open(&workspace().join("examples/drivers/shell")).unwrap();
    keeps_every_promise(folder, state.path()).await;
}

#[tokio::test]
async fn the_one_in_python() {
    if !std::process::Command::new("python3").arg("-V").output().is_ok_and(|o| o.status.success()) {
        println!("skipped: there is no python3");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let folder = DriverFolder::open(&workspace().join("examples/drivers/python")).unwrap();
    keeps_every_promise(folder, state.path()).await;
}

/// Cargo builds it beside this test, as an example of this crate.
#[tokio::test]
async fn the_one_in_rust() {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/files");
    if !program.exists() {
        // `cargo test` builds examples, `cargo test --test examples` does not.
        let arguments = ["build", "--offline", "-p", "oneprovision-driver", "--example", "files"];
        let built = std::process::Command::new(env!("CARGO")).args(arguments).status().unwrap();
        assert!(built.success() && program.exists(), "no {}", program.display());
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pm/files");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(workspace().join("examples/drivers/rust/driver.yaml"), folder.join("driver.yaml"))
        .unwrap();
    for action in Action::REQUIRED.into_iter().chain([Action::List]) {
        symlink(&program, folder.join(action.as_str())).unwrap();
    }
    let folder = Remotes::new(dir.path()).find("files").unwrap();
    keeps_every_promise(folder, dir.path()).await;
}

#[test]
fn the_page_shows_them_as_they_are() {
    let read = |path: &str| fs::read_to_string(workspace().join(path)).unwrap();
    let page = read("docs/WRITING_A_DRIVER.md");
    for (word, file) in [
        ("sh driver", "examples/drivers/shell/driver"),
        ("python driver", "examples/drivers/python/driver"),
        ("rust driver", "examples/drivers/rust/src/main.rs"),
        ("yaml driver", "examples/drivers/shell/driver.yaml"),
        ("toml driver", "examples/drivers/rust/Cargo.toml"),
    ] {
        let fence = format!("```{word}\n");
        let block = page.split(&fence).nth(1).and_then(|rest| rest.split("\n```").next());
        assert_eq!(block, Some(read(file).trim_end()), "{file}");
    }
}
