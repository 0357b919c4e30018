//! The conformance kit on a driver of this crate, called through its trait.

use std::sync::Arc;
use std::time::Duration;

use driver::Driver;
use driver::conformance::{Check, Observer, Settings, Subject, Verdict, examine};
use model::{Attributes, DeployId};
use tokio::sync::watch;

struct Deaf;

impl Observer for Deaf {
    fn begun(&self, _: Check) {}
    fn made(&self, _: &DeployId) {}
    fn gone(&self, _: &DeployId) {}
}

/// Runs the kit. All promises are kept but those `warned` of, with what was seen, and no machine is left.
pub async fn keeps_its_promises(
    driver: Arc<dyn Driver>,
    parameters: Attributes,
    warned: &[(Check, &str)],
) {
    let provision = "0f8fad5b-d9cb-469f-a165-70867728950e".parse().unwrap();
    let settings = Settings {
        parameters,
        // Generous: a busy machine is no fault of the driver's.
        deploy: Duration::from_secs(60),
        action: Duration::from_secs(60),
        ..Settings::new(provision, &driver.describe().name)
    };
    let (_raise, stop) = watch::channel(false);
    let report = examine(&Subject::Rust(driver), &settings, &Deaf, stop).await;
    let other = report.findings.iter().filter(|found| found.verdict != Verdict::Kept);
    let other: Vec<_> = other.map(|f| (f.check, f.verdict, f.seen.as_str())).collect();
    let expected: Vec<_> =
        warned.iter().map(|(check, seen)| (*check, Verdict::Warning, *seen)).collect();
    assert_eq!(other, expected);
    assert_eq!(report.left, []);
    assert!(report.made >= 5 && !report.stopped, "{report:#?}");
}
