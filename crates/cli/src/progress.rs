//! Progress of an operation on standard error: every host on a terminal, else one line per change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use engine::observe::{Note, Observer, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use journal::{Event, Fact, Outcome, ProvisionRecord, Step, Subject};
use model::{HostKey, HostState};

/// Hosts that are shown on a terminal at the same time; the totals count all of them.
const SHOWN: usize = 12;

/// How often a bar is drawn again while nothing changes.
const TICK: std::time::Duration = std::time::Duration::from_millis(120);

/// Tells of an operation while it runs.
pub struct Progress {
    bars: Option<Bars>,
    /// Hosts whose machine was told already, before its deploy had ended.
    named: Mutex<BTreeSet<HostKey>>,
}

struct Bars {
    all: MultiProgress,
    totals: ProgressBar,
    hosts: Mutex<BTreeMap<HostKey, ProgressBar>>,
}

impl Progress {
    /// Bars if standard error is a terminal and no log is wanted there, else lines.
    pub fn new(logs: bool) -> Self {
        let bars = (std::io::stderr().is_terminal() && !logs).then(|| {
            let all = MultiProgress::new();
            let totals = all.add(ProgressBar::no_length().with_style(style()));
            Bars { all, totals, hosts: Mutex::default() }
        });
        Self { bars, named: Mutex::default() }
    }

    /// Takes the bars away, so that what follows is not drawn over.
    pub fn finish(&self) {
        if let Some(bars) = &self.bars {
            bars.totals.finish_and_clear();
            // Drawing to a closed terminal is of no consequence.
            let _ = bars.all.clear();
        }
    }

    /// Takes the bars away while a question is asked.
    pub fn suspend<T>(&self, ask: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.all.suspend(ask),
            None => ask(),
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that is gone must not end the operation.
            Some(bars) => drop(bars.all.println(text)),
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn host(&self, record: &ProvisionRecord, key: HostKey, text: &str, settled: bool) {
        let Some(bars) = &self.bars else {
            return self.line(&format!("{}: {text}", label(record, key)));
        };
        bars.totals.set_message(totals(record));
        let mut hosts = bars.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if settled {
            if let Some(bar) = hosts.remove(&key) {
                bar.finish_and_clear();
                bars.all.remove(&bar);
            }
            return;
        }
        if !hosts.contains_key(&key) && hosts.len() < SHOWN {
            let bar = bars.all.insert_before(&bars.totals, ProgressBar::no_length());
            bar.set_style(style());
            bar.enable_steady_tick(TICK);
            hosts.insert(key, bar);
        }
        if let Some(bar) = hosts.get(&key) {
            bar.set_message(format!("{}: {text}", label(record, key)));
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// What people know a host by: its number, and the name in the template.
pub fn label(record: &ProvisionRecord, key: HostKey) -> String {
    let hostname = record.create.as_ref().and_then(|create| {
        create.spec.pointer(&format!("/hosts/{key}/hostname"))?.as_str().map(str::to_owned)
    });
    let name = hostname.or_else(|| record.hosts.get(&key)?.name.clone());
    match name {
        Some(name) => format!("host {key} ({name})"),
        None => format!("host {key}"),
    }
}

/// What people know a subject by.
pub fn subject_label(record: &ProvisionRecord, subject: Subject) -> String {
    match subject {
        Subject::Host(key) => label(record, key),
        Subject::Secrets => "credentials".to_owned(),
        Subject::Cluster => "cluster".to_owned(),
        Subject::Datastore(n) => format!("datastore {n}"),
        Subject::Network(n) => format!("network {n}"),
    }
}

/// "3 of 20 enabled, 5 deployed, 12 registered".
pub fn totals(record: &ProvisionRecord) -> String {
    let mut counts: BTreeMap<std::cmp::Reverse<HostState>, usize> = BTreeMap::new();
    for host in record.hosts.values() {
        *counts.entry(std::cmp::Reverse(host.state())).or_default() += 1;
    }
    let all = record.hosts.len();
    let parts: Vec<String> = counts.iter().map(|(s, n)| format!("{n} {}", s.0)).collect();
    match (all, counts.first_key_value()) {
        (1, Some((state, _))) => format!("1 host {}", state.0),
        (_, Some((state, _))) if counts.len() == 1 => format!("all {all} hosts {}", state.0),
        (_, Some(_)) => format!("{all} hosts: {}", parts.join(", ")),
        (_, None) => "no hosts".to_owned(),
    }
}

impl Observer for Progress {
    fn event(&self, record: &ProvisionRecord, event: &Event) {
        match event {
            Event::CreateBegun(_) => {
                // A reader that closed the pipe must not end the operation.
                let mut stdout = std::io::stdout();
                let _ = writeln!(stdout, "ID: {}", record.id);
                let _ = stdout.flush();
            }
            Event::Intent { subject: Subject::Host(key), step, .. } => {
                let text = match step {
                    Step::Deploy => "deploying",
                    Step::Cancel => "cancelling its machine",
                    _ => return,
                };
                self.host(record, *key, text, false);
            }
            Event::DeployIdSeen { host, deploy_id, .. } => {
                self.named.lock().unwrap_or_else(PoisonError::into_inner).insert(*host);
                self.host(record, *host, &format!("machine {deploy_id}"), false);
            }
            Event::Addressed { host, address } => {
                self.host(record, *host, &format!("address {address}"), false);
            }
            Event::HostFailed { host, message } => {
                self.line(&format!("{}: FAILED: {message}", label(record, *host)));
                self.host(record, *host, "failed", true);
            }
            _ => {}
        }
    }

    fn outcome(&self, record: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome) {
        let what = subject_label(record, subject);
        let text = match (step, outcome) {
            (_, Outcome::Failed { message }) => {
                self.line(&format!("{what}: FAILED: {message}"));
                "failed".to_owned()
            }
            (_, Outcome::Unknown { evidence }) => {
                self.line(&format!("{what}: UNKNOWN: {evidence}"));
                "unknown".to_owned()
            }
            (Step::Create, Outcome::Done(Fact::Object(id))) => format!("registered as {id}"),
            (Step::Deploy, Outcome::Done(Fact::Machine(id))) => {
                let told = match subject {
                    Subject::Host(key) => {
                        self.named.lock().unwrap_or_else(PoisonError::into_inner).remove(&key)
                    }
                    _ => false,
                };
                if told {
                    return;
                }
                format!("machine {id}")
            }
            (Step::Enlist, Outcome::Done(Fact::Enlisted { enabled: true, .. })) => {
                "enabled".to_owned()
            }
            (Step::Enlist, Outcome::Done(_)) => "offline, not configured".to_owned(),
            (Step::Cancel, Outcome::Done(_)) => "machine gone".to_owned(),
            (Step::Remove, Outcome::Done(_)) => "deleted".to_owned(),
            (_, Outcome::Done(_)) => return,
        };
        match subject {
            Subject::Host(key) => {
                let failed = !matches!(outcome, Outcome::Done(_));
                let settled = failed || matches!(step, Step::Enlist | Step::Remove);
                if !failed || self.bars.is_some() {
                    self.host(record, key, &text, settled);
                }
            }
            _ if matches!(outcome, Outcome::Done(_)) => {
                self.line(&format!("{what}: {}", text.replace("registered as", "created as")));
            }
            _ => {}
        }
    }

    fn note(&self, record: &ProvisionRecord, note: &Note) {
        match note {
            Note::Phase(phase) => {
                tracing::info!("{}", phase_text(*phase, record));
                if let Some(bars) = &self.bars {
                    // Not before: a question may have come first.
                    bars.totals.enable_steady_tick(TICK);
                    bars.totals.set_message(totals(record));
                }
            }
            Note::Waiting { host, reason } => match &self.bars {
                Some(_) => self.host(record, *host, reason, false),
                None => tracing::debug!("{}: {reason}", label(record, *host)),
            },
            Note::Warning(text) => self.line(&format!("WARNING: {text}")),
            Note::Debug(text) => tracing::debug!("{text}"),
        }
    }
}

/// The words of 5.12's log.
fn phase_text(phase: Phase, record: &ProvisionRecord) -> String {
    match phase {
        Phase::CreatingObjects => "Creating provision objects".to_owned(),
        Phase::Deploying => "Deploying".to_owned(),
        Phase::Undeploying => format!("Deleting provision {}", record.id),
        Phase::DeletingObjects => "Deleting provision objects".to_owned(),
    }
}
