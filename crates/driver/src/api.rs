//! The [`Driver`] trait: one provision driver, built in or executable, as the engine sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::{Attributes, DeployId, Parameter};
use thiserror::Error;

use crate::deployment::DeploymentFile;
use crate::poll::PollReport;

/// An action of the provision driver protocol; its name is the name of the executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Destroys a machine.
    Cancel,
    /// Creates a machine, or, if the deployment file already has a `DEPLOY_ID`, powers that one on.
    Deploy,
    /// Tells a machine's state and addresses.
    Poll,
    /// Reboots in an orderly way.
    Reboot,
    /// Reboots hard.
    Reset,
    /// Powers off.
    Shutdown,
    /// Lists the machines that carry our mark. Optional, not part of the original protocol.
    List,
}

impl Action {
    /// The six actions of the original protocol.
    pub const REQUIRED: [Self; 6] =
        [Self::Cancel, Self::Deploy, Self::Poll, Self::Reboot, Self::Reset, Self::Shutdown];

    /// File name of the action's executable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Deploy => "deploy",
            Self::Poll => "poll",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
            Self::Shutdown => "shutdown",
            Self::List => "list",
        }
    }

    /// The action of that file name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::REQUIRED.into_iter().chain([Self::List]).find(|action| action.as_str() == name)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What `shutdown` is for, in the words of OpenNebula's life-cycle states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownKind {
    /// `SHUTDOWN_POWEROFF`: power off and keep the machine. The only one the old tool ever sent.
    Poweroff,
    /// `SHUTDOWN_UNDEPLOY`: power off.
    Undeploy,
    /// `SHUTDOWN`: destroy.
    Terminate,
}

impl ShutdownKind {
    /// The `LCM_STATE` argument.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poweroff => "SHUTDOWN_POWEROFF",
            Self::Undeploy => "SHUTDOWN_UNDEPLOY",
            Self::Terminate => "SHUTDOWN",
        }
    }
}

/// What a driver says of itself.
#[derive(Clone, Debug)]
pub struct Description {
    /// The name in `provision.driver`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Whether its machines can be reached over SSH and configured. Hosts of a driver whose machines
    /// cannot be configured are enabled as soon as they have an address.
    pub configurable: bool,
    /// Where it comes from: the folder of the executables, or `None` for a built-in driver.
    pub location: Option<PathBuf>,
    /// What a host's `provision` may hold for it; `None` if the driver does not say, and then
    /// anything goes.
    pub parameters: Option<Vec<Parameter>>,
    /// Why what it says of itself could not be used, for people: then it counts as one that says
    /// nothing.
    pub problem: Option<String>,
}

impl Description {
    /// A built-in driver whose machines can be configured, and that says nothing of its parameters.
    pub fn new(name: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            configurable: true,
            location: None,
            parameters: None,
            problem: None,
        }
    }
}

/// Everything that one call of an action needs.
#[derive(Clone)]
pub struct Call {
    /// Key of the journal's intent: at most 64 ASCII characters, the same when the same intent is
    /// tried again. A provider that has an idempotency token is given this one.
    pub key: String,
    /// The host that the machine is for, with the credentials in `TEMPLATE/PROVISION`.
    pub host: DeploymentFile,
    /// How long the action may take.
    pub deadline: Duration,
    /// Hears what has to be written down before the action ends.
    pub watch: Arc<dyn Watch>,
}

/// Hears what has to be written down while an action still runs.
#[async_trait]
pub trait Watch: Send + Sync {
    /// An executable was started; a later process may wait for it by this record.
    async fn started(&self, process: &ProcessRecord);

    /// `deploy` named its machine. Called as soon as the id is known; the driver may still fail.
    async fn deploy_id(&self, id: &DeployId);

    /// `deploy` failed and named no machine. Called before what shows it, the driver's output, is
    /// removed: otherwise a tool that is killed in between would not know any more what it knew.
    async fn failed(&self, _error: &DriverError) {}

    /// Whether all that was told is written down. If it could not be, what shows it is left in place,
    /// for a command that can.
    fn is_written(&self) -> bool {
        true
    }
}

/// A [`Watch`] that writes nothing down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

#[async_trait]
impl Watch for Unwatched {
    async fn started(&self, _: &ProcessRecord) {}
    async fn deploy_id(&self, _: &DeployId) {}
}

/// Names a driver's process so that a later command can wait for it or end it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessRecord {
    /// Process id, also the id of its process group.
    pub pid: u32,
    /// Start time in clock ticks since boot (`/proc/PID/stat`, field 22), which tells a reused pid.
    pub start_time: u64,
    /// The call's private folder: deployment file, and standard output and error of all but `poll` and `list`.
    pub folder: PathBuf,
    /// End of the deadline, seconds since the Unix epoch.
    pub deadline: i64,
}

/// A machine as the optional action `list` reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMachine {
    /// The provider's id.
    pub id: DeployId,
    /// Everything else that was said of it. `KEY` is the idempotency key of its deploy, `NAME` the
    /// host name it was made for, `PROVISION_ID` its provision, `CREATED` seconds since the Unix epoch;
    /// further ones (`STATE`, `IP`, …) are free.
    pub attributes: Attributes,
}

/// What is known after a failed action. The difference decides what may be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The action was not carried out, and the provider's state is as before.
    Definite,
    /// The machine does not exist (any more).
    NotFound,
    /// The action may have been carried out: time-out, death by signal, connection lost after
    /// sending, or a deploy id followed by a failure.
    Unknown,
    /// The driver does not have this action.
    Unsupported,
    /// The driver could not even be started; nothing was asked of the provider.
    Setup,
}

/// A failed action.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct DriverError {
    /// What is known.
    pub kind: FailureKind,
    /// The reason in the driver's own words, first line first; never empty.
    pub message: String,
    /// The id that `deploy` had printed before it failed: a machine may exist.
    pub deploy_id: Option<DeployId>,
}

impl DriverError {
    /// An error of that kind with that text.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), deploy_id: None }
    }
}

/// A provision driver.
///
/// Calls are independent of each other and may run at once. Dropping a call's future must leave
/// nothing running that would not end by itself.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What the driver says of itself.
    fn describe(&self) -> Description;

    /// Why an action cannot be asked for; `None` if it can, as far as is known without asking.
    fn lacks(&self, _action: Action) -> Option<String> {
        None
    }

    /// Creates a machine for `call.host` and returns its id as soon as it is known. If the
    /// deployment file has `TEMPLATE/PROVISION/DEPLOY_ID`, no machine is created: that one is
    /// powered on, and its id returned.
    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError>;

    /// Destroys a machine. A machine that is not there gives [`FailureKind::NotFound`] or success.
    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError>;

    /// Tells state and addresses.
    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError>;

    /// Whether polls like this one, made within a moment of each other, are one request to the provider,
    /// however many they are. They are asked more often then, and need not wait for their turn.
    fn polls_together(&self, _call: &Call) -> bool {
        false
    }

    /// Reboots in an orderly way.
    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError>;

    /// Reboots hard.
    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError>;

    /// Powers off.
    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError>;

    /// Looks for the machine that an interrupted `deploy` with this `call.key` may have made.
    ///
    /// `Ok(None)` says that it is in no list, which counts only after [`Driver::settle`]: then it may be
    /// asked for again. [`FailureKind::Definite`] says for certain and at once that none was made; what
    /// cannot be found out is [`FailureKind::Unknown`]. Asked once: after that the list is. `process` is what [`Watch::started`] was
    /// told at the time. Unless the driver knows better, its `list` is searched for the mark.
    async fn recover(
        &self,
        call: &Call,
        _process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        match self.list(call).await {
            Ok(machines) => find_marked(machines, call),
            Err(error) => Err(DriverError::new(
                FailureKind::Unknown,
                format!("whether a machine was made cannot be found out: {error}"),
            )),
        }
    }

    /// Waits for an interrupted action other than a `deploy` that makes a machine, and says what came of
    /// it. What cannot be told is [`FailureKind::Unknown`]. `process` is what [`Watch::started`] was told
    /// at the time; `call.key` is the one that it was begun with.
    async fn finish(
        &self,
        _call: &Call,
        _process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        Err(DriverError::new(FailureKind::Unknown, "it was interrupted"))
    }

    /// How long after a `deploy` was sent its machine may still be missing from [`Driver::list`]: the
    /// request may be on its way, and lists of many providers lag. A machine that is not listed counts as
    /// not made only when it is still not listed after this time.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }

    /// Lists the machines with our mark that the credentials of `call.host` can see.
    async fn list(&self, _call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        Err(DriverError::new(FailureKind::Unsupported, "this driver has no action 'list'"))
    }
}

/// The machine of a list that carries the mark of a call: its key, else the name of its host, which the
/// machine of an earlier attempt has as well. Further ones are warned of.
///
/// # Errors
/// [`FailureKind::Unknown`] if it is not there, but a machine is whose marks do not say that it is another
/// one's: that one may be it.
pub fn find_marked(
    machines: Vec<ListedMachine>,
    call: &Call,
) -> Result<Option<DeployId>, DriverError> {
    let has = |machine: &&ListedMachine, key, value: &str| {
        machine.attributes.text(key).is_some_and(|text| text == value)
    };
    let by_key = machines.iter().filter(|machine| has(machine, "KEY", &call.key));
    let by_name = machines.iter().filter(|machine| has(machine, "NAME", &call.host.name));
    let mut ours = by_key.chain(by_name);
    if let Some(machine) = ours.next() {
        for other in ours.filter(|other| other.id != machine.id) {
            tracing::warn!(
                "the driver lists machine {} for host {}, and {} as well: nobody accounts for that one, and it \
                 may be billed",
                machine.id,
                call.host.name,
                other.id
            );
        }
        return Ok(Some(machine.id.clone()));
    }
    let provision = call.host.parameter("PROVISION_ID");
    let of_another = |machine: &&ListedMachine| {
        let text = |key| machine.attributes.text(key);
        text("KEY").is_some()
            || text("NAME").is_some_and(is_host_name)
            || (provision.is_some() && text("PROVISION_ID").is_some_and(|id| Some(id) != provision))
    };
    match machines.iter().find(|machine| !of_another(machine)) {
        None => Ok(None),
        Some(machine) => Err(DriverError::new(
            FailureKind::Unknown,
            format!(
                "the driver lists machine {} without a KEY, and its NAME is that of no host: it may be this \
                 host's",
                machine.id
            ),
        )),
    }
}

/// Whether a text is a host's name before its address is known, which is what `NAME` of a list holds. A
/// server's own name says nothing of whose it is.
fn is_host_name(text: &str) -> bool {
    text.strip_prefix("provision-")
        .is_some_and(|rest| rest.len() == 48 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
