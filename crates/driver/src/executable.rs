//! A driver that is a folder of executables, `REMOTES/pm/NAME/ACTION`.
//!
//! # What an executable gets
//!
//! | action | arguments | with [`ExecutableSettings::legacy_args`] |
//! | --- | --- | --- |
//! | deploy | `FILE HOST HOST_ID HOST` | `FILE TODO`; with a `DEPLOY_ID` in the file (resume) `FILE HOST HOST_ID HOST` |
//! | cancel, poll, reboot, reset | `DEPLOY_ID HOST HOST_ID HOST` | the same |
//! | shutdown | `DEPLOY_ID HOST LCM_STATE HOST_ID HOST` | the same |
//! | list | none | none |
//!
//! `FILE` is the deployment file, already written. A host that has no id yet has `-1`. The documented
//! vectors are those of OpenNebula's *Provision Driver* page; the legacy ones are what its code did
//! (`oneprovision/lib/driver.rb`, 5.8.0 to 5.12.13).
//!
//! Standard input is, for every action, the deployment file's text (a file, no pipe). The environment is the caller's,
//! with `ONEPROVISION_DEPLOYMENT_FILE` (its path), `ONEPROVISION_CALL` (the call's key),
//! `ONEPROVISION_STATE_DIR`, `ONE_XMLRPC` and `ONE_AUTH`. The working directory is the caller's, as with the old tool, so that relative paths in
//! parameters mean what they meant. There is no shell between (a script without `#!` is run by
//! `/bin/sh`, as execvp(3) does), and the executable leads a process group of its own.
//!
//! # How it ends
//!
//! An action ends with its process; what that leaves running in its process group is ended too, and
//! then the call's folder is removed. Past its deadline the whole group gets `SIGTERM`, and after
//! [`ExecutableSettings::grace`] `SIGKILL`. Dropping a call's future leaves the driver running and its
//! folder in place: [`reattach`] waits for it, and [`sweep`] finds it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use model::DeployId;

use crate::api::{
    Action, Call, Description, Driver, DriverError, FailureKind, ListedMachine, ProcessRecord,
    ShutdownKind, Unwatched, find_marked,
};
use crate::description;
use crate::poll::{self, PollReport};

mod folder;
mod not_found;
pub(crate) mod outcome;
pub(crate) mod process;
mod reattach;
mod remotes;
pub(crate) mod run;

pub use folder::{Leftover, sweep};
pub use outcome::{EXIT_UNKNOWN, FAILED_COMMANDS};
pub use reattach::{ReattachEnd, Reattached, reattach};
pub use remotes::{DriverFolder, FindError, Remotes, check_name};

/// What all executable drivers of a command have in common.
#[derive(Clone, Debug)]
pub struct ExecutableSettings {
    /// Folder for the calls' private folders, made if it is not there (0700). It belongs to the state
    /// folder: the next command looks there for what a killed one left.
    pub calls_folder: PathBuf,
    /// `ONE_XMLRPC`: the front-end, for drivers that ask it themselves.
    pub one_xmlrpc: Option<String>,
    /// `ONE_AUTH`: path of the file with the front-end's credentials.
    pub one_auth: Option<PathBuf>,
    /// `ONEPROVISION_STATE_DIR`: the tool's state folder, where a driver may keep a file of its own.
    pub state_dir: Option<PathBuf>,
    /// The old tool's argument vectors instead of the documented ones.
    pub legacy_args: bool,
    /// Time between `SIGTERM` and `SIGKILL`.
    pub grace: Duration,
    /// How long after a deploy its machine may be missing from the driver's `list`: lists of many
    /// providers lag, and a request may outlive the driver that sent it.
    pub settle: Duration,
    /// Bytes of output after which a driver is ended; of `poll` and `list`, whose output is of memory, 32 MiB at most.
    pub output_limit: u64,
}

impl ExecutableSettings {
    /// Documented arguments, 10 s of grace, 60 s for lists to settle, 256 MiB of output, nothing of a front-end.
    pub fn new(calls_folder: impl Into<PathBuf>) -> Self {
        Self {
            calls_folder: calls_folder.into(),
            one_xmlrpc: None,
            one_auth: None,
            state_dir: None,
            legacy_args: false,
            grace: Duration::from_secs(10),
            settle: Duration::from_secs(60),
            output_limit: 256 << 20,
        }
    }
}

/// A [`Driver`] that runs executables; see the [module's](self) description.
#[derive(Clone, Debug)]
pub struct ExecutableDriver {
    folder: DriverFolder,
    settings: ExecutableSettings,
    /// What it says of itself, asked once.
    described: Arc<OnceLock<Description>>,
}

impl ExecutableDriver {
    /// A driver of these executables, found by [`Remotes::find`].
    pub fn new(folder: DriverFolder, settings: ExecutableSettings) -> Self {
        Self { folder, settings, described: Arc::default() }
    }

    /// What a killed tool left of the call with this key: of its deploy, if that makes a machine.
    fn left_by(&self, key: &str, deploys: bool) -> Option<ProcessRecord> {
        let left = sweep(&self.settings.calls_folder).unwrap_or_default();
        let ours = |left: &Leftover| {
            left.key.as_deref() == Some(key) && (!deploys || left.action == Some(Action::Deploy))
        };
        left.into_iter().find(ours).map(|left| left.record)
    }

    async fn run(
        &self,
        action: Action,
        call: &Call,
        arguments: impl FnOnce(&Path) -> Vec<OsString>,
    ) -> Result<outcome::Finished, DriverError> {
        let program = self.folder.executable(action).map_err(|error| {
            let kind = match (&error, action) {
                (FindError::NoAction { .. }, Action::List) => FailureKind::Unsupported,
                _ => FailureKind::Setup,
            };
            DriverError { kind, ..run::setup("cannot run the driver", &error) }
        })?;
        let driver = self.folder.name();
        let (settings, given) = (&self.settings, run::Given::Host);
        let job = run::Job { driver, action, program, call, settings, given };
        run::run(job, arguments).await
    }

    async fn simple(
        &self,
        action: Action,
        call: &Call,
        id: &DeployId,
        kind: Option<ShutdownKind>,
    ) -> Result<outcome::Finished, DriverError> {
        self.run(action, call, |_| arguments_of(call, id, kind)).await
    }
}

/// `HOST_ID HOST`, which every action gets at the end.
fn trailer(call: &Call) -> [OsString; 2] {
    let id = call.host.id.map_or_else(|| "-1".to_owned(), |id| id.to_string());
    [id.into(), call.host.name.clone().into()]
}

/// The machine that `deploy` is to power on instead of making one.
fn resumed(call: &Call) -> Option<DeployId> {
    call.host.parameter("DEPLOY_ID").and_then(DeployId::new)
}

/// The arguments of every action but `deploy` and `list`; `kind` for `shutdown`.
pub(crate) fn arguments_of(
    call: &Call,
    id: &DeployId,
    kind: Option<ShutdownKind>,
) -> Vec<OsString> {
    let mut arguments = vec![OsString::from(id.as_str()), call.host.name.clone().into()];
    arguments.extend(kind.map(|kind| OsString::from(kind.as_str())));
    arguments.extend(trailer(call));
    arguments
}

pub(crate) fn deploy_arguments(call: &Call, file: &Path, legacy: bool) -> Vec<OsString> {
    if legacy && resumed(call).is_none() {
        return vec![file.into(), "TODO".into()];
    }
    let mut arguments = vec![file.into(), call.host.name.clone().into()];
    arguments.extend(trailer(call));
    arguments
}

#[async_trait]
impl Driver for ExecutableDriver {
    /// Reads the driver's description the first time, which may run its `describe`.
    fn describe(&self) -> Description {
        let (name, folder) = (self.folder.name(), self.folder.path());
        let describe = || {
            let read = description::read(name, folder, description::DEADLINE);
            let (found, problem) = match read {
                Ok(found) => (found, None),
                Err(error) => (None, Some(error.to_string())),
            };
            let summary = format!("executables in {}", folder.display());
            let mut described = found.unwrap_or_else(|| Description::new(name, &summary));
            if described.summary.is_empty() {
                described.summary = summary;
            }
            Description { location: Some(folder.to_owned()), problem, ..described }
        };
        self.described.get_or_init(describe).clone()
    }

    fn lacks(&self, action: Action) -> Option<String> {
        self.folder.executable(action).err().map(|error| error.to_string())
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let legacy = self.settings.legacy_args;
        let finished =
            self.run(Action::Deploy, call, |file| deploy_arguments(call, file, legacy)).await?;
        match resumed(call) {
            Some(id) => finished.powered_on(id, &call.host.secrets()),
            None => finished.deployed(&call.host.secrets()),
        }
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let finished = self.simple(Action::Cancel, call, id, None).await?;
        finished.found(id, &call.host.name, &call.host.secrets()).map(drop)
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let finished = self.simple(Action::Poll, call, id, None).await?;
        let finished = finished.polled(id, &call.host.name, &call.host.secrets())?;
        Ok(PollReport::parse(&finished.stdout))
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let finished = self.simple(Action::Reboot, call, id, None).await?;
        finished.done(&call.host.secrets()).map(drop)
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let finished = self.simple(Action::Reset, call, id, None).await?;
        finished.done(&call.host.secrets()).map(drop)
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        let finished = self.simple(Action::Shutdown, call, id, Some(kind)).await?;
        finished.done(&call.host.secrets()).map(drop)
    }

    async fn recover(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        let Some(record) = process.cloned().or_else(|| self.left_by(&call.key, true)) else {
            // A driver that was started has a folder until it has ended, and its start was written
            // down before that: this one never was.
            return Err(DriverError::new(FailureKind::Definite, "the driver was never started"));
        };
        let reattached = reattach(&record, self.settings.grace, call.watch.as_ref()).await;
        let error = match reattached.deployed() {
            Ok(id) => return Ok(Some(id)),
            Err(error) => error,
        };
        match (error.kind, &error.deploy_id) {
            // It named a machine and then failed: polling will tell what became of it.
            (_, Some(id)) => Ok(Some(id.clone())),
            (FailureKind::Definite, None) => Err(error),
            _ => match self.list(call).await {
                Ok(machines) => find_marked(machines, call),
                Err(_) => Err(error),
            },
        }
    }

    fn settle(&self) -> Duration {
        self.settings.settle
    }

    async fn finish(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        let unknown = |text: &str| DriverError::new(FailureKind::Unknown, text);
        let Some(record) = process.cloned().or_else(|| self.left_by(&call.key, false)) else {
            return Err(unknown("it was interrupted"));
        };
        let ended = reattach(&record, self.settings.grace, &Unwatched).await;
        match ended.end {
            ReattachEnd::Ended if ended.reported_failure => {
                Err(DriverError::new(FailureKind::Definite, ended.message))
            }
            ReattachEnd::Ended => Err(unknown(
                "it was interrupted; its driver has ended since, with a status that nobody saw",
            )),
            ReattachEnd::PastDeadline => {
                Err(unknown("it was interrupted; its driver was ended past its deadline"))
            }
            ReattachEnd::FolderGone => Err(unknown("it was interrupted")),
            ReattachEnd::StillRunning => {
                Err(unknown("it was interrupted; its driver still runs and cannot be ended"))
            }
        }
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let finished = self.run(Action::List, call, |_| Vec::new()).await?;
        let finished = finished.done(&call.host.secrets())?;
        if finished.stdout.len() >= run::LIST_OUTPUT {
            // What stands behind the cut would count as not made.
            let message = format!("the list is longer than {} bytes", run::LIST_OUTPUT);
            return Err(DriverError::new(FailureKind::Unknown, message));
        }
        let secrets = call.host.secrets();
        let machines = poll::parse_list(&finished.stdout).ok_or_else(|| {
            let said = outcome::message(&finished.stdout, b"", "", &secrets);
            let message = format!("what `list` printed is no list of machines: {said}");
            DriverError::new(FailureKind::Unknown, message)
        })?;
        // The end of a pipe knows nothing of what broke before it.
        if machines.is_empty() && not_found::says_trouble(&finished.stderr) {
            let said = outcome::message(b"", &finished.stderr, "", &secrets);
            let message = format!("`list` printed no machines, and on standard error: {said}");
            return Err(DriverError::new(FailureKind::Unknown, message));
        }
        Ok(machines)
    }
}
