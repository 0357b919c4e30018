//! One call of an action, and what was seen of it.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::DeployId;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Check, Settings, Subject, direct};
use crate::api::{Action, Call, FailureKind, ProcessRecord, ShutdownKind, Watch};
use crate::deployment::DeploymentFile;
use crate::error_block;
use crate::executable::outcome::{Ending, Finished, IdLine};
use crate::executable::run::{self, Given};
use crate::executable::{FindError, arguments_of, deploy_arguments, process};

/// How long a call that runs is left alone when the operator has seen enough.
const STOP: Duration = Duration::from_secs(5);
/// How often the arguments of a driver's processes are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A host that a machine is asked for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub key: String,
    pub host: DeploymentFile,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// A machine, with what of the deployment file, and with the old tool's arguments or not.
    Deploy { given: Given, legacy: bool },
    /// The same, killed after a time.
    Killed { after: Duration },
    /// Powering on.
    Resume(DeployId),
    /// One of cancel, poll, reboot, reset.
    Act(Action, DeployId),
    /// Powering off.
    Poweroff(DeployId),
    /// The list.
    List,
}

impl Ask {
    pub(super) fn action(&self) -> Action {
        match self {
            Self::Deploy { .. } | Self::Killed { .. } | Self::Resume(_) => Action::Deploy,
            Self::Act(action, _) => *action,
            Self::Poweroff(_) => Action::Shutdown,
            Self::List => Action::List,
        }
    }
}

/// What was seen of a call.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub ending: Ending,
    /// Why it could not be started, if so.
    pub not_started: Option<String>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub id: IdLine,
    /// When the line of the id was complete, if that was seen while the driver ran.
    pub id_after: Option<Duration>,
    pub took: Duration,
    /// Whether it failed, for certain, because the machine is not there.
    pub not_found: bool,
    /// Where a secret was.
    pub leaks: Vec<&'static str>,
}

impl Seen {
    pub(super) fn ok(&self) -> bool {
        self.not_started.is_none() && matches!(self.ending, Ending::Exit(0))
    }

    pub(super) fn hung(&self) -> bool {
        matches!(self.ending, Ending::Deadline(_) | Ending::Stuck(_))
    }

    /// How it ended and what it said, on one line.
    pub(super) fn words(&self) -> String {
        if let Some(why) = &self.not_started {
            return short(why);
        }
        if let Ending::Deadline(limit) = self.ending {
            return format!("it did not end within {limit:?}");
        }
        let how = self.ending.to_string();
        let said = error_block::message(&self.stdout, &self.stderr, &how);
        if said.starts_with("the driver ") {
            short(&said)
        } else {
            format!("{how}: {}", short(&said))
        }
    }

    /// The id that it printed.
    pub(super) fn id(&self) -> Option<&DeployId> {
        match &self.id {
            IdLine::Id(id) => Some(id),
            IdLine::Blanks(id) if self.ok() => Some(id),
            _ => None,
        }
    }
}

/// The first line of a text, at most 200 characters of it.
pub(super) fn short(text: &str) -> String {
    let text = error_block::printable(text);
    let line = text.lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(200).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

/// Calls the driver.
#[derive(Clone)]
pub(super) struct Caller {
    subject: Subject,
    deploy: Duration,
    action: Duration,
    stop: watch::Receiver<bool>,
    secrets: Arc<Vec<String>>,
}

impl Caller {
    pub(super) fn new(subject: &Subject, settings: &Settings, stop: watch::Receiver<bool>) -> Self {
        let template = {
            let mut template = settings.template.clone();
            template.push("PROVISION", settings.parameters.clone());
            template
        };
        let host = DeploymentFile { template, ..DeploymentFile::default() };
        let mut secrets: Vec<String> = host.secrets().into_iter().map(str::to_owned).collect();
        secrets.push(format!("canary-{}", settings.provision.0.simple()));
        // A short one is in many texts that have nothing to do with it.
        secrets.retain(|secret| secret.len() >= 6);
        Self {
            subject: subject.clone(),
            deploy: settings.deploy,
            action: settings.action,
            stop,
            secrets: Arc::new(secrets),
        }
    }

    /// Whether a check can be made on this kind of driver.
    pub(super) fn applies(&self, check: Check) -> bool {
        matches!(self.subject, Subject::Executables { .. }) || check.through_trait()
    }

    pub(super) fn is_rust(&self) -> bool {
        matches!(self.subject, Subject::Rust(_))
    }

    pub(super) fn describe(&self) -> crate::api::Description {
        match &self.subject {
            Subject::Executables { folder, settings } => {
                let driver =
                    crate::executable::ExecutableDriver::new(folder.clone(), settings.clone());
                crate::api::Driver::describe(&driver)
            }
            Subject::Rust(driver) => driver.describe(),
        }
    }

    /// Whether there is an executable of the action. What a driver in Rust has is seen when it is asked.
    pub(super) fn has(&self, action: Action) -> bool {
        match &self.subject {
            Subject::Executables { folder, .. } => {
                !matches!(folder.executable(action), Err(FindError::NoAction { .. }))
            }
            Subject::Rust(_) => true,
        }
    }

    pub(super) fn masked(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), model::secret::MASK)
        })
    }

    /// Makes a call; when the operator has seen enough, it has 5 s left.
    pub(super) async fn call(&self, order: &Order, ask: &Ask) -> Seen {
        let stop = self.stop.clone();
        let enough = async move {
            let mut stop = stop;
            let raised = stop.wait_for(|raised| *raised).await.is_ok();
            match raised {
                true => sleep(STOP).await,
                // Nobody can raise it any more.
                false => std::future::pending().await,
            }
        };
        match ask {
            Ask::Killed { after } => self.until(order, ask, sleep(*after), Duration::ZERO).await,
            _ => self.until(order, ask, enough, Duration::from_secs(10)).await,
        }
    }

    /// The same for the cleaning up, which nothing stops.
    pub(super) async fn call_anyway(&self, order: &Order, ask: &Ask) -> Seen {
        self.until(order, ask, std::future::pending(), Duration::ZERO).await
    }

    /// Makes a call and ends it when `enough` does.
    async fn until(
        &self,
        order: &Order,
        ask: &Ask,
        enough: impl Future<Output = ()>,
        grace: Duration,
    ) -> Seen {
        let begun = Instant::now();
        let ear = Arc::new(Ear { begun, heard: Mutex::default() });
        let mut host = order.host.clone();
        if let Ask::Resume(id) | Ask::Act(_, id) | Ask::Poweroff(id) = ask {
            host.template.vector_mut("PROVISION").set("DEPLOY_ID", id.as_str());
        }
        let deadline = if ask.action() == Action::Deploy { self.deploy } else { self.action };
        let call = Call {
            key: order.key.clone(),
            host,
            deadline,
            watch: Arc::clone(&ear) as Arc<dyn Watch>,
        };
        let mut seen = match &self.subject {
            Subject::Rust(driver) => direct::call(driver.as_ref(), &call, ask, enough, &ear).await,
            Subject::Executables { .. } => {
                let job = self.run(&call, ask);
                tokio::pin!(job, enough);
                let mut ended = false;
                loop {
                    tokio::select! {
                        biased;
                        seen = &mut job => break seen,
                        () = &mut enough, if !ended => {
                            ended = true;
                            ear.end(grace).await;
                        }
                        () = sleep(LOOK) => self.look_at_arguments(&ear),
                    }
                }
            }
        };
        seen.took = begun.elapsed();
        let heard = ear.heard();
        seen.id_after = heard.id_after;
        for (stream, place) in [(&seen.stdout, "standard output"), (&seen.stderr, "standard error")]
        {
            let text = String::from_utf8_lossy(stream);
            if self.secrets.iter().any(|secret| text.contains(secret.as_str())) {
                seen.leaks.push(place);
            }
        }
        if heard.in_arguments {
            seen.leaks.push("the arguments of a program");
        }
        seen
    }

    async fn run(&self, call: &Call, ask: &Ask) -> Seen {
        let Subject::Executables { folder, settings } = &self.subject else {
            return unstarted("it is no executable");
        };
        let action = ask.action();
        let program = match folder.executable(action) {
            Ok(program) => program,
            Err(error) => return unstarted(&error.to_string()),
        };
        let (given, legacy) = match ask {
            Ask::Deploy { given, legacy } => (*given, *legacy),
            _ => (Given::Host, settings.legacy_args),
        };
        let job = run::Job { driver: folder.name(), action, program, call, settings, given };
        let arguments = |file: &Path| -> Vec<OsString> {
            match ask {
                Ask::Deploy { .. } | Ask::Killed { .. } | Ask::Resume(_) => {
                    deploy_arguments(call, file, legacy)
                }
                Ask::Act(_, id) => arguments_of(call, id, None),
                Ask::Poweroff(id) => arguments_of(call, id, Some(ShutdownKind::Poweroff)),
                Ask::List => Vec::new(),
            }
        };
        match run::run(job, arguments).await {
            Ok(finished) => seen_of(finished, call, ask),
            Err(error) => unstarted(&error.message),
        }
    }

    /// Whether a process of the call has a secret among its arguments.
    fn look_at_arguments(&self, ear: &Ear) {
        let Some(record) = ear.heard().record else { return };
        for pid in process::of_group(record.pid) {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if self.secrets.iter().any(|secret| line.contains(secret.as_str())) {
                ear.with(|heard| heard.in_arguments = true);
            }
        }
    }
}

fn seen_of(finished: Finished, call: &Call, ask: &Ask) -> Seen {
    let (ending, stdout, stderr) =
        (finished.ending, finished.stdout.clone(), finished.stderr.clone());
    let id = crate::executable::outcome::id_line(&stdout, true);
    let not_found = match ask {
        Ask::Act(_, id) => finished
            .found(id, &call.host.name, &[])
            .is_err_and(|error| error.kind == FailureKind::NotFound),
        _ => false,
    };
    Seen { stdout, stderr, id, not_found, ..empty(ending) }
}

/// Nothing was seen yet.
pub(super) fn empty(ending: Ending) -> Seen {
    Seen {
        ending,
        not_started: None,
        stdout: Vec::new(),
        stderr: Vec::new(),
        id: IdLine::None,
        id_after: None,
        took: Duration::ZERO,
        not_found: false,
        leaks: Vec::new(),
    }
}

fn unstarted(why: &str) -> Seen {
    Seen { not_started: Some(why.to_owned()), ..empty(Ending::Lost) }
}

/// Hears what a call tells while it runs.
pub(super) struct Ear {
    begun: Instant,
    heard: Mutex<Heard>,
}

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub record: Option<ProcessRecord>,
    pub id: Option<DeployId>,
    pub id_after: Option<Duration>,
    pub in_arguments: bool,
}

impl Ear {
    fn with<T>(&self, act: impl FnOnce(&mut Heard) -> T) -> T {
        act(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn heard(&self) -> Heard {
        self.with(|heard| heard.clone())
    }

    /// Ends the driver and what it started.
    async fn end(&self, grace: Duration) {
        let Some(record) = self.heard().record else { return };
        if !process::is_running(record.pid, record.start_time) {
            return;
        }
        if grace.is_zero() {
            process::kill(record.pid);
        } else {
            process::ask_to_end(record.pid);
            sleep(grace.min(Duration::from_secs(2))).await;
            if process::is_running(record.pid, record.start_time) {
                process::kill(record.pid);
            }
        }
    }
}

#[async_trait]
impl Watch for Ear {
    async fn started(&self, process: &ProcessRecord) {
        self.with(|heard| heard.record = Some(process.clone()));
    }

    async fn deploy_id(&self, id: &DeployId) {
        let after = self.begun.elapsed();
        self.with(|heard| {
            heard.id.get_or_insert_with(|| id.clone());
            heard.id_after.get_or_insert(after);
        });
    }
}
