//! The conformance kit: everything that the protocol promises, tried on a driver.
//!
//! [`examine`] takes a driver through the life of a machine and through what goes wrong in practice:
//! a deploy that is killed, hosts at once, a missing file, a machine that is gone. It **makes real
//! machines** ([`Subject::machines`] says how many), writes each down before it is asked for, and
//! cancels all of them in the end, also after a failure and when it is stopped; what may be left is in
//! [`Report::left`].
//!
//! Executables are run as the tool runs them, and judged by what they write and how they end, with the
//! same code that reads them in earnest. A driver in Rust is also called through its trait.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `checks` | the checks as data: what is promised, where it is written, what to do |
//! | `caller` | one call of an action, and what was seen of it |
//! | `direct` | the same of a driver in Rust |
//! | `judge` | what is made of what was seen; pure |
//! | `bill` | the machines that were made, and getting rid of them |
//! | `life` | the life of one machine, check by check |
//! | `trouble` | the old tool's call, hosts at once, a killed deploy |

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{Attributes, DeployId, HostId, HostKey, ProvisionId, Secret};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::{Action, Call, Driver, Unwatched};
use crate::deployment::DeploymentFile;
use crate::executable::{DriverFolder, ExecutableSettings};

mod bill;
mod caller;
mod checks;
mod direct;
mod judge;
mod life;
mod trouble;

pub use checks::{Check, Verdict};

use bill::Bill;
use caller::{Caller, Order, Seen};

/// A parameter that is planted in the deployment file. Its value must never be seen again.
const CANARY: &str = "CONFORMANCE_TOKEN";

/// What is examined.
#[derive(Clone)]
pub enum Subject {
    /// A folder of executables.
    Executables {
        /// The folder.
        folder: DriverFolder,
        /// How they are run.
        settings: ExecutableSettings,
    },
    /// A driver in Rust, called through its trait.
    Rust(Arc<dyn Driver>),
}

/// How a driver is examined.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The mark of all machines of this run; no other run may have it.
    pub provision: ProvisionId,
    /// The driver's name, for `PM_MAD`.
    pub driver: String,
    /// The driver's parameters: the content of `PROVISION`.
    pub parameters: Attributes,
    /// Everything else of the host's template.
    pub template: Attributes,
    /// How long a deploy may take, and until its machine is ready.
    pub deploy: Duration,
    /// How long every other action may take, and a machine that says it is on its way (`p`).
    pub action: Duration,
    /// How long a machine may stay as it was after it was asked to be otherwise.
    pub settle: Duration,
}

impl Settings {
    /// 30 minutes for a deploy, 2 for all else, 20 s for a machine that does not move.
    pub fn new(provision: ProvisionId, driver: &str) -> Self {
        Self {
            provision,
            driver: driver.to_owned(),
            parameters: Attributes::new(),
            template: Attributes::new(),
            deploy: Duration::from_secs(30 * 60),
            action: Duration::from_secs(2 * 60),
            settle: Duration::from_secs(20),
        }
    }
}

impl Subject {
    /// How many machines are made at most, and how many of them at the same time. A driver that does not
    /// keep its promises may make more.
    pub fn machines(&self) -> (usize, usize) {
        // One for its life, those at once, up to three around a killed deploy, one for the old tool's call.
        let by_the_old_tool = usize::from(matches!(self, Self::Executables { .. }));
        (1 + trouble::AT_ONCE + 3 + by_the_old_tool, trouble::AT_ONCE)
    }
}

/// Hears what happens while it happens.
pub trait Observer: Send + Sync {
    /// A check begins.
    fn begun(&self, check: Check);
    /// There is a machine, or may be.
    fn made(&self, id: &DeployId);
    /// A machine is gone.
    fn gone(&self, id: &DeployId);
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, secrets masked; never empty.
    pub seen: String,
}

/// A machine that may be left over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its id, if it is known.
    pub id: Option<DeployId>,
    /// The key of its deploy (`ONEPROVISION_CALL`).
    pub key: String,
    /// The name of its host.
    pub host: String,
    /// Why it is not known to be gone.
    pub why: String,
}

/// What was found out of a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// A finding for each check, in the order of [`Check::ALL`].
    pub findings: Vec<Finding>,
    /// Machines that may be left over.
    pub left: Vec<Left>,
    /// How many machines were made.
    pub made: usize,
    /// Whether it was stopped before its end.
    pub stopped: bool,
}

impl Report {
    /// The findings of that verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.verdict == verdict)
    }
}

/// Examines a driver. Raising `stop` ends it early: no new machine is made, a call that runs is given
/// 5 s, and all machines are cancelled.
pub async fn examine(
    subject: &Subject,
    settings: &Settings,
    observer: &dyn Observer,
    stop: watch::Receiver<bool>,
) -> Report {
    let mut kit = Kit {
        caller: Caller::new(subject, settings, stop.clone()),
        settings,
        observer,
        stop,
        findings: Vec::new(),
        bill: Bill::default(),
        hung: BTreeSet::new(),
        leaks: Vec::new(),
        calls: 0,
        slowest: None,
        deployed: None,
        begun: Instant::now(),
        orders: 0,
        tells_state: false,
        makes_on_resume: false,
        why_not: "an earlier check failed".to_owned(),
    };
    kit.life().await;
    kit.trouble().await;
    // What is left is asked for even if the operator has seen enough.
    let left = kit.clean().await;
    kit.conclude(left)
}

/// A run of the kit.
struct Kit<'a> {
    caller: Caller,
    settings: &'a Settings,
    observer: &'a dyn Observer,
    stop: watch::Receiver<bool>,
    findings: Vec<Finding>,
    bill: Bill,
    /// Actions that did not end: they are not waited for again.
    hung: BTreeSet<Action>,
    /// Where a secret was seen.
    leaks: Vec<String>,
    calls: usize,
    slowest: Option<(Action, Duration)>,
    /// How long the first deploy took that went well.
    deployed: Option<Duration>,
    begun: Instant,
    orders: u32,
    /// Whether `poll` tells a state that can be read.
    tells_state: bool,
    /// Whether powering on made a machine.
    makes_on_resume: bool,
    /// Why checks that are missing in the end were not made.
    why_not: String,
}

impl Kit<'_> {
    fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// A host that no call was made for yet.
    fn order(&mut self) -> Order {
        self.orders += 1;
        let number = self.orders;
        let provision = self.settings.provision;
        let mut template = self.settings.template.clone();
        let mut vector = self.settings.parameters.clone();
        if vector.get("HOSTNAME").is_none() {
            vector.push("HOSTNAME", format!("conformance-{number}"));
        }
        vector.set("PROVISION_ID", provision.to_string());
        vector.set("NAME", "conformance");
        vector.set("HOST_KEY", number.to_string());
        vector.set(CANARY, Secret::new(format!("canary-{}", provision.0.simple())));
        template.set("PROVISION", vector);
        let name = provision.host_name(HostKey(number));
        let host = DeploymentFile {
            // Far from the numbers of a front-end that is in use.
            id: i32::try_from(number).ok().map(|number| HostId(900_000 + number)),
            name,
            im_mad: "kvm".to_owned(),
            vm_mad: "kvm".to_owned(),
            pm_mad: self.settings.driver.clone(),
            cluster: None,
            template,
        };
        Order { key: format!("{provision}-{number}-1"), host }
    }

    /// An order as the search for marks takes it.
    fn asked(&self, order: &Order) -> Call {
        Call {
            key: order.key.clone(),
            host: order.host.clone(),
            deadline: self.settings.action,
            watch: Arc::new(Unwatched),
        }
    }

    /// Writes a finding down. A check that has one keeps it if that is worse.
    fn found(&mut self, check: Check, verdict: Verdict, seen: impl Into<String>) {
        let seen = self.caller.masked(&seen.into());
        match self.findings.iter_mut().find(|finding| finding.check == check) {
            Some(finding) if finding.verdict >= verdict => {}
            Some(finding) => *finding = Finding { check, verdict, seen },
            None => self.findings.push(Finding { check, verdict, seen }),
        }
    }

    /// Whether that was the verdict of a check.
    fn is(&self, check: Check, verdict: Verdict) -> bool {
        self.findings.iter().any(|found| found.check == check && found.verdict == verdict)
    }

    /// Whether the driver has a list by which a machine is found.
    fn lists(&self) -> bool {
        self.caller.has(Action::List)
            && (self.is(Check::List, Verdict::Kept) || self.is(Check::List, Verdict::Warning))
    }

    /// Takes note of what every call tells.
    fn note(&mut self, action: Action, seen: &Seen) {
        self.calls += 1;
        if seen.hung() {
            self.hung.insert(action);
        }
        if action == Action::Deploy && seen.ok() {
            self.deployed.get_or_insert(seen.took);
        }
        if self.slowest.is_none_or(|(_, took)| took < seen.took) {
            self.slowest = Some((action, seen.took));
        }
        for place in &seen.leaks {
            let leak = format!("{place} of {action}");
            if !self.leaks.contains(&leak) {
                self.leaks.push(leak);
            }
        }
    }

    fn conclude(mut self, left: Vec<Left>) -> Report {
        if self.calls > 0 {
            let (verdict, seen) = match self.leaks.is_empty() {
                true => (Verdict::Kept, "none was seen in any output or argument".to_owned()),
                false => (Verdict::Broken, format!("a secret is in {}", self.leaks.join(", "))),
            };
            self.found(Check::Secrets, verdict, seen);
            let took = self.begun.elapsed();
            let slowest = self.slowest.map_or_else(String::new, |(action, took)| {
                format!("; the slowest was {action} with {:.1} s", took.as_secs_f64())
            });
            let seen = format!("{} calls in {:.1} s{slowest}", self.calls, took.as_secs_f64());
            let hung = self.hung.iter().map(|action| action.as_str()).collect::<Vec<_>>();
            match hung.is_empty() {
                true => self.found(Check::Time, Verdict::Kept, seen),
                false => {
                    let seen = format!("{} did not end; {seen}", hung.join(", "));
                    self.found(Check::Time, Verdict::Warning, seen);
                }
            }
        }
        let stopped = self.stopped();
        if stopped {
            self.why_not = "it was stopped".to_owned();
        }
        let missing = Check::ALL.into_iter().filter(|check| {
            self.caller.applies(*check) && !self.findings.iter().any(|found| found.check == *check)
        });
        let seen = self.why_not.clone();
        let missing: Vec<Finding> = missing
            .map(|check| Finding { check, verdict: Verdict::NotTried, seen: seen.clone() })
            .collect();
        self.findings.extend(missing);
        self.findings.sort_by_key(|finding| finding.check);
        Report { findings: self.findings, left, made: self.bill.made(), stopped }
    }
}
