//! The other side of the protocol: a [`Driver`] as a set of executables.
//!
//! One program serves all actions; the action is the file name by which it was called (links named
//! `deploy`, `poll`, …, `describe`), so that a whole driver is this:
//!
//! ```no_run
//! use async_trait::async_trait;
//! use driver::api::*;
//! use driver::{MachineState, PollReport, harness};
//! use model::DeployId;
//!
//! struct Lab;
//!
//! #[async_trait]
//! impl Driver for Lab {
//!     fn describe(&self) -> Description {
//!         Description::new("lab", "machines of our lab")
//!     }
//!     async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
//!         let failed = |text| DriverError::new(FailureKind::Definite, text);
//!         let slot = call.host.parameter("SLOT").ok_or_else(|| failed("parameter 'slot' is missing"))?;
//!         DeployId::new(slot).ok_or_else(|| failed("parameter 'slot' is no id"))
//!     }
//!     async fn poll(&self, _: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
//!         Ok(PollReport::new(MachineState::Active, vec![format!("192.0.2.{id}")]))
//!     }
//!     async fn cancel(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> { Ok(()) }
//!     async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> { Ok(()) }
//!     async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> { Ok(()) }
//!     async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     harness::main(Lab, std::env::args_os(), |name| std::env::var_os(name))
//! }
//! ```
//!
//! The harness keeps the protocol's promises: it takes the documented and the old tool's arguments,
//! prints a deploy id the moment it is known, waits in `deploy` until the machine is active and has an
//! address (callers of the old protocol expect that), prints well-formed answers, and on failure
//! writes an error block and leaves with status 255, or with
//! [`EXIT_UNKNOWN`] if the driver cannot tell whether it was done.
//!
//! This module is the main function of a program: it is the one place in this room that uses standard
//! streams. Arguments and environment are handed in.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use model::DeployId;
use tokio::time::{Instant, sleep, timeout};

use crate::api::{
    Action, Call, Driver, DriverError, FailureKind, ProcessRecord, ShutdownKind, Watch,
};
use crate::deployment::DeploymentFile;
use crate::description;
use crate::error_block;
use crate::executable::EXIT_UNKNOWN;
use crate::poll::{self, MachineState, PollReport};

mod arguments;
mod hosts;
mod input;

pub use arguments::{Invocation, UsageError};
pub use hosts::Hosts;
pub use input::Input;

/// Exit status of every other failure; the drivers of OpenNebula use it too.
pub const EXIT_FAILURE: u8 = 255;

/// How long a harness waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `deploy`, until the machine is active and has an address.
    pub deploy: Duration,
    /// Every other action.
    pub action: Duration,
    /// First byte of a deployment file that `deploy` needs from standard input.
    pub input: Duration,
    /// The same for the other actions, which can do without one.
    pub optional_input: Duration,
}

impl Default for Limits {
    /// 30 and 10 minutes, 5 s and 1 s.
    fn default() -> Self {
        Self {
            deploy: Duration::from_secs(30 * 60),
            action: Duration::from_secs(10 * 60),
            input: Duration::from_secs(5),
            optional_input: Duration::from_secs(1),
        }
    }
}

/// The main function of a driver: `arguments` are the program's own with its name first, `variable`
/// reads its environment.
pub fn main(
    driver: impl Driver + 'static,
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let action = Path::new(&program).file_name().and_then(|name| name.to_str()).map(str::to_owned);
    if action.as_deref() == Some(description::EXECUTABLE) {
        return describe(&driver);
    }
    let action = action.as_deref().and_then(Action::from_name);
    main_of(Arc::new(driver), action, arguments, variable, Surroundings::default())
}

/// What a harness may use beside arguments, environment and standard streams.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// How long it waits.
    pub limits: Limits,
    /// Where it finds the host of a call that came without its parameters.
    pub hosts: Option<Arc<dyn Hosts>>,
}

/// The same for a program that found out the action by itself.
pub fn main_of(
    driver: Arc<dyn Driver>,
    action: Option<Action>,
    arguments: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<OsString>,
    surroundings: Surroundings,
) -> ExitCode {
    let output = Output::new(Box::new(io::stdout()), Box::new(io::stderr()));
    let invocation = match Invocation::new(action, arguments, variable) {
        Ok(invocation) => invocation,
        Err(error) => return output.fail(&error.to_string(), EXIT_FAILURE).into(),
    };
    // A driver is a small program: one thread, as many of them run at once.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return output.fail(&format!("cannot start: {error}"), EXIT_FAILURE).into();
        }
    };
    let stdin = io::stdin();
    let input = if stdin.is_terminal() { Input::Terminal } else { Input::Reader(Box::new(stdin)) };
    let code = runtime.block_on(run(driver, invocation, input, output, surroundings));
    // A blocking call that hangs must not keep the program.
    runtime.shutdown_background();
    code.into()
}

/// Prints what the driver says of itself: the executable `describe`.
pub fn describe(driver: &dyn Driver) -> ExitCode {
    let text = description::to_yaml(&driver.describe());
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => EXIT_FAILURE.into(),
    }
}

/// Where a harness writes.
#[derive(Clone)]
pub struct Output(Arc<Mutex<Streams>>);

struct Streams {
    stdout: Box<dyn Write + Send>,
    stderr: Box<dyn Write + Send>,
    /// Ids that were printed already.
    ids: Vec<DeployId>,
    /// Why standard output can no longer be written.
    broken: Option<io::Error>,
}

impl Output {
    /// Writes answers to the first and error blocks to the second.
    pub fn new(stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(Streams { stdout, stderr, ids: Vec::new(), broken: None })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Streams) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Prints a line and flushes it.
    fn line(&self, line: &str) {
        self.with(|streams| {
            let written = writeln!(streams.stdout, "{line}").and_then(|()| streams.stdout.flush());
            if let Err(error) = written {
                streams.broken.get_or_insert(error);
            }
        });
    }

    /// Prints a deploy id that was not printed yet.
    fn id(&self, id: &DeployId) {
        let new = self.with(|streams| {
            let new = !streams.ids.contains(id);
            if new {
                streams.ids.push(id.clone());
            }
            new
        });
        if new {
            self.line(id.as_str());
        }
    }

    /// Writes an error block; returns the exit status.
    fn fail(&self, message: &str, code: u8) -> u8 {
        self.with(|streams| {
            let block = error_block::block(&error_block::printable(message));
            // Nobody is left to be told.
            let _ = streams.stderr.write_all(block.as_bytes());
            let _ = streams.stderr.flush();
        });
        code
    }

    /// The exit status after all went well: an answer that nobody got is a failure.
    fn done(&self) -> u8 {
        let (broken, ids) = self.with(|streams| (streams.broken.take(), streams.ids.clone()));
        let Some(error) = broken else { return 0 };
        let mut message = format!("cannot write to standard output: {error}");
        for id in ids {
            message.push_str(&format!("\nthe deploy id is {id}"));
        }
        self.fail(&message, EXIT_FAILURE)
    }
}

#[async_trait]
impl Watch for Output {
    async fn started(&self, _: &ProcessRecord) {}

    async fn deploy_id(&self, id: &DeployId) {
        self.id(id);
    }
}

/// Runs one action; returns the exit status. What [`main`] does, with everything handed in.
pub async fn run(
    driver: Arc<dyn Driver>,
    invocation: Invocation,
    input: Input,
    output: Output,
    surroundings: Surroundings,
) -> u8 {
    let Surroundings { limits, hosts } = surroundings;
    let action = invocation.action();
    let start = Instant::now();
    let deadline = if action == Action::Deploy { limits.deploy } else { limits.action };
    let host = match input::deployment_file(&invocation, input, &limits).await {
        Ok(host) => host,
        Err(error) => return output.fail(&chain(&error), EXIT_FAILURE),
    };
    let hosts::Found { host, problem } =
        hosts::complete(host, &invocation, driver.as_ref(), hosts.as_deref()).await;
    let call = Call { key: invocation.key(), host, deadline, watch: Arc::new(output.clone()) };
    let result = match timeout(deadline, act(driver.as_ref(), &invocation, &call, &output)).await {
        Ok(Ok(id)) if action == Action::Deploy => {
            let left = deadline.saturating_sub(start.elapsed());
            match id {
                Some(id) => wait_until_up(driver.as_ref(), &call, &id, left).await,
                None => Ok(()),
            }
        }
        Ok(result) => result.map(drop),
        Err(_) => {
            let text = format!("{action} did not end within {deadline:?}");
            Err(DriverError::new(FailureKind::Unknown, text))
        }
    };
    match result {
        Ok(()) => output.done(),
        Err(error) => {
            if let Some(id) = &error.deploy_id {
                output.id(id);
            }
            let printed = output.with(|streams| !streams.ids.is_empty());
            let code = match error.kind {
                FailureKind::Unknown if !printed => EXIT_UNKNOWN,
                _ => EXIT_FAILURE,
            };
            let mut text = text_of(&error, &invocation);
            if let Some(problem) = problem {
                text += &format!("\nThe host could not be read from OpenNebula: {problem}");
            }
            output.fail(&call.host.mask(&text), code)
        }
    }
}

/// The error's text, in words by which a caller knows what kind it is.
fn text_of(error: &DriverError, invocation: &Invocation) -> String {
    let says_so = error.message.to_lowercase().contains("not found");
    match (error.kind, invocation.deploy_id()) {
        (FailureKind::NotFound, Some(id)) if !says_so => {
            format!("machine {id} not found\n{}", error.message)
        }
        _ => error.message.clone(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Carries out the action and prints its answer; the id if it was `deploy`.
async fn act(
    driver: &dyn Driver,
    invocation: &Invocation,
    call: &Call,
    output: &Output,
) -> Result<Option<DeployId>, DriverError> {
    let id = || {
        invocation.deploy_id().ok_or_else(|| {
            DriverError::new(FailureKind::Setup, "the argument DEPLOY_ID is missing")
        })
    };
    match invocation.action() {
        Action::Deploy => {
            let id = driver.deploy(call).await?;
            output.id(&id);
            return Ok(Some(id));
        }
        Action::Cancel => driver.cancel(call, id()?).await?,
        Action::Poll => {
            let mut report = driver.poll(call, id()?).await?;
            report.state.get_or_insert(match report.addresses.is_empty() {
                true => MachineState::NotKnown,
                false => MachineState::Active,
            });
            output.line(&report.to_line());
        }
        Action::Reboot => driver.reboot(call, id()?).await?,
        Action::Reset => driver.reset(call, id()?).await?,
        Action::Shutdown => {
            let kind = invocation.shutdown().unwrap_or(ShutdownKind::Poweroff);
            driver.shutdown(call, id()?, kind).await?;
        }
        Action::List => {
            for machine in driver.list(call).await? {
                output.line(&poll::list_line(&machine));
            }
        }
    }
    Ok(None)
}

/// Polls until the machine is active and has an address.
async fn wait_until_up(
    driver: &dyn Driver,
    call: &Call,
    id: &DeployId,
    limit: Duration,
) -> Result<(), DriverError> {
    let unfinished = |message: String| DriverError {
        kind: FailureKind::Unknown,
        message,
        deploy_id: Some(id.clone()),
    };
    let mut last = String::from("it was not polled yet");
    let mut pause = Duration::from_millis(50);
    let waiting = async {
        loop {
            match driver.poll(call, id).await {
                Ok(report) if report.is_up() => return Ok(()),
                Ok(PollReport { state: Some(MachineState::Error), .. }) => {
                    return Err(unfinished(format!("machine {id} is in an error state")));
                }
                Ok(report) => {
                    let state = report.state.unwrap_or(MachineState::NotKnown).letter();
                    let address = report.address().unwrap_or("none");
                    last = format!("its state is {state}, its address {address}");
                }
                Err(error) if error.kind == FailureKind::NotFound => {
                    return Err(unfinished(format!(
                        "machine {id} is gone after its creation\n{}",
                        error.message
                    )));
                }
                // The next look may do better.
                Err(error) => last = error.message,
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    };
    match timeout(limit, waiting).await {
        Ok(result) => result,
        Err(_) => Err(unfinished(format!(
            "machine {id} is not active with an address after {limit:?}: {last}"
        ))),
    }
}

/// Fills in what a deployment file, or its absence, leaves open from the arguments.
fn complete(mut host: DeploymentFile, invocation: &Invocation) -> DeploymentFile {
    if host.name.is_empty() {
        host.name = invocation.host().unwrap_or_default().to_owned();
    }
    if host.id.is_none() {
        host.id = invocation.host_id();
    }
    host
}

#[cfg(test)]
#[path = "harness_tests.rs"]
mod tests;
