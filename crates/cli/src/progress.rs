//! Progress of an operation on standard error: every host on a terminal, else one line per change
//! and a heartbeat.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `board` | what every host does, and for how long: pure |
//! | `screen` | the terminal |
//! | `words` | what people call things |

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use configure::{Heard, TaskResult};
use engine::Clock;
use engine::observe::{Note, Observer};
use journal::{Event, Fact, Outcome, ProvisionRecord, Step, Subject};
use model::{HostKey, HostState};

use crate::error::{CliError, Code};
use crate::exit::Exit;

mod board;
pub mod screen;
mod words;

use board::Board;
pub use words::{counts, label, named_label, subject_label, totals, totals_present};
use words::{phase_text, power_text};

/// How often a terminal is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Time between two heartbeats where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Tells of an operation while it runs.
pub struct Progress {
    shared: Arc<Shared>,
}

struct Shared {
    /// Whether the hosts are drawn on a terminal.
    drawn: bool,
    clock: Box<dyn Clock>,
    board: Mutex<Board>,
    /// Hosts whose machine was told already, before its deploy had ended.
    named: Mutex<BTreeSet<HostKey>>,
    /// Warnings of machines that were told already.
    warned: Mutex<BTreeSet<String>>,
    /// The task that draws, or that tells of waiting.
    ticker: Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Why the provision's id is not on standard output, where a script looks for it.
    untold: Mutex<Option<CliError>>,
}

impl Progress {
    /// On a terminal every host has a line, unless a log is wanted there; else there is one line per
    /// change, and a heartbeat.
    pub fn new(logs: bool, clock: impl Clock + 'static) -> Self {
        Self {
            shared: Arc::new(Shared {
                drawn: screen::can_draw() && !logs && !crate::events::active(),
                clock: Box::new(clock),
                board: Mutex::default(),
                named: Mutex::default(),
                warned: Mutex::default(),
                ticker: Mutex::default(),
                untold: Mutex::default(),
            }),
        }
    }

    /// Takes the lines of the hosts away, and tells of nothing any more.
    pub fn finish(&self) {
        let ticker = self.shared.ticker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ticker) = ticker {
            ticker.abort();
        }
        *self.board() = Board::default();
        screen::draw(Vec::new());
    }

    /// How an operation ends that ended like this: with an error, if its id could not be told.
    pub fn ended(&self, exit: Exit) -> Result<Exit, CliError> {
        match self.untold().take().filter(|_| exit == Exit::Done) {
            Some(error) => Err(error),
            None => Ok(exit),
        }
    }

    fn untold(&self) -> MutexGuard<'_, Option<CliError>> {
        self.shared.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lines away while a question is asked.
    pub fn suspend<T>(&self, ask: impl FnOnce() -> T) -> T {
        screen::ask(ask)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        let failed = text.contains(": FAILED: ") || text.contains(": UNKNOWN: ");
        match failed && screen::colors() {
            true => screen::print(&format!("\x1b[31m{text}\x1b[0m\n")),
            false => screen::print(&format!("{text}\n")),
        }
    }

    fn host(&self, record: &ProvisionRecord, key: HostKey, text: &str, settled: bool) {
        if !self.shared.drawn {
            self.line(&format!("{}: {text}", label(record, key)));
        }
        self.host_does(record, key, text, settled);
    }

    /// The same, without a line.
    fn host_does(&self, record: &ProvisionRecord, key: HostKey, text: &str, settled: bool) {
        let state = record.hosts.get(&key).map_or(HostState::Planned, journal::HostRecord::state);
        let mut board = self.board();
        board.totals(totals(record));
        match settled {
            true => board.settled(key),
            false => board.host(key, label(record, key), text, state, self.shared.clock.now()),
        }
    }

    /// What is heard of a machine while it is configured. That a task failed is told with the outcome,
    /// if it was not ignored.
    fn heard(&self, record: &ProvisionRecord, key: HostKey, what: &Heard) {
        let label = label(record, key);
        match what {
            Heard::Waiting(reason) => self.host_does(record, key, reason, false),
            Heard::Begun(task) => {
                tracing::debug!("{label}: {task}");
                self.host_does(record, key, task, false);
            }
            Heard::Ended { task, result } => match result {
                TaskResult::Ok => tracing::debug!("{label}: {task}: ok"),
                TaskResult::Changed => tracing::info!("{label}: {task}: changed"),
                TaskResult::Skipped => tracing::debug!("{label}: {task}: skipped"),
                TaskResult::Ignored(text) => tracing::info!("{label}: {task}: ignored: {text}"),
                TaskResult::Failed(text) => tracing::info!("{label}: {task}: failed: {text}"),
                TaskResult::Unreachable(text) => {
                    tracing::info!("{label}: {task}: unreachable: {text}");
                }
            },
            // Many hosts have the same.
            Heard::Warning(text) => {
                let mut warned = self.shared.warned.lock().unwrap_or_else(PoisonError::into_inner);
                if warned.insert(text.clone()) {
                    self.line(&format!("WARNING: {label}: {text}"));
                }
            }
        }
    }

    /// Begins to draw, or to tell of waiting.
    fn tick(&self) {
        let mut ticker = self.shared.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        if ticker.is_none() {
            *ticker = Some(tokio::spawn(run(Arc::downgrade(&self.shared))));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn run(shared: Weak<Shared>) {
    let every = match shared.upgrade() {
        Some(shared) if shared.drawn => TICK,
        _ => HEARTBEAT,
    };
    loop {
        tokio::time::sleep(every).await;
        let Some(shared) = shared.upgrade() else { return };
        let board = shared.board.lock().unwrap_or_else(PoisonError::into_inner);
        let now = shared.clock.now();
        if shared.drawn {
            screen::draw(board.lines(now, screen::size(), screen::colors()));
        } else if let Some(text) = board.heartbeat(now) {
            screen::print(&format!("{text}\n"));
            crate::events::heartbeat(&text);
        }
    }
}

impl Observer for Progress {
    fn event(&self, record: &ProvisionRecord, event: &Event) {
        crate::events::event(record, event);
        match event {
            Event::CreateBegun(_) => {
                // A reader that closed the pipe, or a disk that is full, must not end the operation.
                let id = record.id;
                let told = screen::suspend(|| crate::commands::print(&format!("ID: {id}\n")));
                if let Err(error) = told {
                    self.line(&format!("WARNING: the id could not be written: {id}"));
                    let hint = format!("provision {id} is there: another create makes another one");
                    *self.untold() = Some(error.code(Code::System).hint(hint));
                }
            }
            Event::Intent { subject: Subject::Host(key), step: Step::Reach, .. } => {
                self.host_does(record, *key, "waiting for SSH", false);
            }
            Event::Intent { subject: Subject::Host(key), step, .. } => {
                let text = match step {
                    Step::Deploy => "deploying",
                    Step::Cancel => "cancelling its machine",
                    Step::Poweroff => "powering off",
                    Step::PowerOn => "powering on",
                    Step::Reboot => "rebooting",
                    Step::Reset => "rebooting hard",
                    _ => return,
                };
                if let Some(id) = record.hosts.get(key).and_then(|host| host.host_id)
                    && let Some(text) = power_text(*step)
                {
                    tracing::info!("{text} host: {id}");
                }
                self.host(record, *key, text, false);
            }
            Event::DeployIdSeen { host, deploy_id, .. } => {
                self.shared.named.lock().unwrap_or_else(PoisonError::into_inner).insert(*host);
                self.host(record, *host, &format!("machine {deploy_id}"), false);
            }
            Event::Addressed { host, address } => {
                self.host(record, *host, &format!("address {address}"), false);
            }
            Event::HostFailed { host, message } => {
                self.line(&format!("{}: FAILED: {message}", label(record, *host)));
                self.host_does(record, *host, "failed", true);
            }
            _ => {}
        }
    }

    fn outcome(&self, record: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome) {
        crate::events::outcome(record, subject, step, outcome);
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
                    Subject::Host(key) => self
                        .shared
                        .named
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&key),
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
            (Step::Enlist, Outcome::Done(_)) => {
                let skipped = record.create.as_ref().is_some_and(|c| c.options.skip_config);
                if !skipped {
                    return;
                }
                "offline, not configured".to_owned()
            }
            (Step::Reach, Outcome::Done(_)) => "answers over SSH".to_owned(),
            (Step::Configure, Outcome::Done(Fact::Stage { name, changed, .. })) => match changed {
                0 => format!("{name} done, nothing changed"),
                1 => format!("{name} done, 1 task changed something"),
                n => format!("{name} done, {n} tasks changed something"),
            },
            (Step::TakeOffline, Outcome::Done(_)) => "offline".to_owned(),
            (Step::PutOnline, Outcome::Done(_)) => "online again".to_owned(),
            (Step::Poweroff, Outcome::Done(_)) => "powered off".to_owned(),
            (Step::PowerOn, Outcome::Done(_)) => "powered on".to_owned(),
            (Step::Reboot | Step::Reset, Outcome::Done(_)) => "rebooted".to_owned(),
            (Step::Cancel, Outcome::Done(_)) => "machine gone".to_owned(),
            (Step::Own, Outcome::Done(_)) => "has its owner and permissions".to_owned(),
            (Step::AwaitReady, Outcome::Done(_)) => "ready".to_owned(),
            (Step::Remove, Outcome::Done(Fact::NotOurs)) => {
                "not this provision's, left alone".to_owned()
            }
            (Step::Remove, Outcome::Done(_)) => "deleted".to_owned(),
            (_, Outcome::Done(_)) => return,
        };
        match subject {
            Subject::Host(key) => {
                let failed = !matches!(outcome, Outcome::Done(_));
                let last = matches!(
                    step,
                    Step::Enlist | Step::Remove | Step::Poweroff | Step::PutOnline | Step::Reboot
                );
                let settled = failed || last;
                match failed {
                    // It was told already.
                    true => self.host_does(record, key, &text, settled),
                    false => self.host(record, key, &text, settled),
                }
            }
            _ if matches!(outcome, Outcome::Done(_)) => {
                self.line(&format!("{what}: {}", text.replace("registered as", "created as")));
            }
            _ => {}
        }
    }

    fn note(&self, record: &ProvisionRecord, note: &Note) {
        crate::events::note(record, note);
        match note {
            Note::Phase(phase) => {
                let text = phase_text(*phase, record);
                tracing::info!("{text}");
                let mut board = self.board();
                board.phase(text, self.shared.clock.now());
                board.totals(totals(record));
                // Not before: a question may have come first.
                self.tick();
            }
            Note::Waiting { host, reason } => {
                tracing::debug!("{}: {reason}", label(record, *host));
                self.host_does(record, *host, reason, false);
            }
            Note::Undone { host, reason, .. } => self.host(record, *host, reason, false),
            Note::Heard { host, what } => self.heard(record, *host, what),
            Note::Warning(text) => self.line(&format!("WARNING: {text}")),
            Note::Debug(text) => tracing::debug!("{text}"),
        }
    }
}
