//! The conformance kit on drivers that are wrong in one way each, and on right ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driver::conformance::{Check, Observer, Report, Settings, Subject, Verdict, examine};
use driver::executable::{DriverFolder, ExecutableSettings};
use model::{DeployId, ProvisionId};
use testkit::wrong_drivers::{self, OLD, TELLTALES, WRONG, Wrong};
use tokio::sync::{Semaphore, watch};

/// Hears nothing, or raises a flag when a check begins.
struct Ear(Option<(Check, watch::Sender<bool>)>);

impl Observer for Ear {
    fn begun(&self, check: Check) {
        if let Some((at, raise)) = &self.0
            && *at == check
        {
            raise.send_replace(true);
        }
    }
    fn made(&self, _: &DeployId) {}
    fn gone(&self, _: &DeployId) {}
}

fn settings(name: &str) -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        deploy: seconds(20),
        action: seconds(20),
        settle: Duration::from_millis(500),
        ..Settings::new(ProvisionId(uuid::Uuid::new_v4()), name)
    }
}

fn subject(folder: &Path, state: &Path) -> Subject {
    let settings = ExecutableSettings {
        state_dir: Some(state.to_owned()),
        grace: Duration::from_millis(100),
        ..ExecutableSettings::new(state.join("calls"))
    };
    Subject::Executables { folder: DriverFolder::open(folder).unwrap(), settings }
}

/// The findings of a driver, and the machines that it has afterwards.
async fn tried(name: &str) -> (Report, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let folder = wrong_drivers::write(dir.path(), name).unwrap();
    let mut settings = settings(name);
    if name.starts_with("hangs") {
        // Far more than any other call of these drivers takes.
        (settings.deploy, settings.action) = (Duration::from_secs(4), Duration::from_secs(4));
    }
    let (_raise, stop) = watch::channel(false);
    let report = examine(&subject(&folder, dir.path()), &settings, &Ear(None), stop).await;
    (report, wrong_drivers::machines(&folder).unwrap())
}

fn broken(report: &Report) -> Vec<(Check, &str)> {
    report.with(Verdict::Broken).map(|found| (found.check, found.seen.as_str())).collect()
}

async fn fails_for_its_reason(wrong: Wrong) -> Result<(), String> {
    let (report, machines) = tried(wrong.name).await;
    let found = broken(&report);
    let right = matches!(&found[..], [(check, seen)] if *check == wrong.breaks && seen.contains(wrong.seen));
    let tidy = report.left.is_empty() != wrong.leaves && machines.is_empty() != wrong.leaves;
    match right && tidy {
        true => Ok(()),
        false => Err(format!(
            "{}: {found:#?}\nleft: {:#?}\nmachines: {machines:?}",
            wrong.name, report.left
        )),
    }
}

#[tokio::test]
async fn each_wrong_driver_fails_for_its_reason_and_no_other() {
    let few = Arc::new(Semaphore::new(4));
    let problems = Arc::new(Mutex::new(Vec::new()));
    let mut all = tokio::task::JoinSet::new();
    for wrong in WRONG.into_iter().chain(TELLTALES) {
        let (few, problems) = (Arc::clone(&few), Arc::clone(&problems));
        all.spawn(async move {
            let _permit = few.acquire().await.unwrap();
            if let Err(problem) = fails_for_its_reason(wrong).await {
                problems.lock().unwrap().push(problem);
            }
        });
    }
    while all.join_next().await.transpose().unwrap().is_some() {}
    let problems = problems.lock().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[tokio::test]
async fn what_is_only_old_is_warned_of() {
    for (name, check) in OLD {
        let (report, machines) = tried(name).await;
        assert_eq!(broken(&report), [], "{name}");
        let warned: Vec<Check> = report.with(Verdict::Warning).map(|found| found.check).collect();
        assert_eq!(warned, [check], "{name}");
        assert!(machines.is_empty() && report.left.is_empty(), "{name}: {machines:?}");
    }
}

#[tokio::test]
async fn a_right_one_keeps_every_promise() {
    let (report, machines) = tried("right").await;
    assert_eq!(report.with(Verdict::Kept).count(), Check::ALL.len(), "{report:#?}");
    assert!(machines.is_empty() && report.left.is_empty());
    assert!(report.made >= 6);
}

#[tokio::test]
async fn stopped_at_any_check_it_leaves_no_machine() {
    for at in
        [Check::Deploy, Check::Ready, Check::Resume, Check::Gone, Check::Concurrency, Check::Kill]
    {
        let dir = tempfile::tempdir().unwrap();
        let folder = wrong_drivers::write(dir.path(), "right").unwrap();
        let (raise, stop) = watch::channel(false);
        let ear = Ear(Some((at, raise)));
        let report = examine(&subject(&folder, dir.path()), &settings("right"), &ear, stop).await;
        assert!(report.stopped);
        assert_eq!(broken(&report), [], "{at:?}");
        assert_eq!(report.left, [], "{at:?}");
        assert_eq!(wrong_drivers::machines(&folder).unwrap(), [""; 0], "{at:?}");
    }
}

#[test]
fn every_check_leads_to_a_heading_of_the_page() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/DRIVER_PROTOCOL.md");
    let page = std::fs::read_to_string(page).unwrap();
    let anchors: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| {
            let kept =
                heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect();
    for check in Check::ALL {
        assert!(anchors.iter().any(|anchor| anchor == check.section()), "{}", check.section());
    }
}

/// A check that no wrong driver breaks could say anything. Those left out cannot break, but only warn.
#[test]
fn there_is_a_wrong_driver_for_every_check() {
    let only_warn = [Check::Actions, Check::Describe, Check::IdEarly, Check::Legacy, Check::Time];
    for check in Check::ALL {
        let breaks = WRONG.iter().chain(&TELLTALES).any(|wrong| wrong.breaks == check);
        assert!(breaks != only_warn.contains(&check), "{check:?}");
    }
}
