//! A driver's arguments, documented and legacy.

use std::ffi::OsString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};

use model::{DeployId, HostId};
use thiserror::Error;

use crate::api::{Action, ShutdownKind};

/// What one executable was asked to do.
///
/// | action | arguments |
/// | --- | --- |
/// | deploy | `FILE [HOST [HOST_ID HOST]]`, with `TODO` for `HOST` by the old tool |
/// | cancel, poll, reboot, reset | `DEPLOY_ID [HOST [HOST_ID HOST]]` |
/// | shutdown | `DEPLOY_ID HOST LCM_STATE [HOST_ID HOST]` |
/// | list | none |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    action: Action,
    file: Option<PathBuf>,
    deploy_id: Option<DeployId>,
    host: Option<String>,
    host_id: Option<HostId>,
    shutdown: Option<ShutdownKind>,
    environment_file: Option<PathBuf>,
    key: Option<String>,
}

impl Invocation {
    /// Reads the arguments (without the program's name) and the two variables of the environment
    /// that our own tool sets, `ONEPROVISION_DEPLOYMENT_FILE` and `ONEPROVISION_CALL`.
    ///
    /// # Errors
    /// See [`UsageError`].
    pub fn new(
        action: Option<Action>,
        arguments: impl IntoIterator<Item = OsString>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, UsageError> {
        let action = action.ok_or(UsageError::Action)?;
        let mut arguments = arguments.into_iter().filter(|text| !text.is_empty());
        let key = variable("ONEPROVISION_CALL").and_then(|key| key.into_string().ok());
        let mut invocation = Self {
            action,
            file: None,
            deploy_id: None,
            host: None,
            host_id: None,
            shutdown: None,
            environment_file: variable("ONEPROVISION_DEPLOYMENT_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            key: key.filter(|key| (1..=64).contains(&key.len()) && key.is_ascii()),
        };
        if action == Action::List {
            return Ok(invocation);
        }
        let first = arguments.next().ok_or(UsageError::Missing { usage: usage(action) })?;
        let mut rest = Vec::new();
        for argument in arguments.take(4) {
            let text = argument.into_string().map_err(|argument| UsageError::NotUtf8 {
                argument: argument.to_string_lossy().into_owned(),
            })?;
            rest.push(text);
        }
        let mut rest = rest.into_iter();
        let host = rest.next();
        match action {
            Action::Deploy => invocation.file = Some(first.into()),
            _ => {
                let id = first.to_str().and_then(DeployId::new);
                invocation.deploy_id = Some(id.ok_or_else(|| UsageError::DeployId {
                    text: first.to_string_lossy().into_owned(),
                })?);
            }
        }
        if action == Action::Shutdown {
            let state = rest.next().ok_or(UsageError::Missing { usage: usage(action) })?;
            let kinds = [ShutdownKind::Poweroff, ShutdownKind::Undeploy, ShutdownKind::Terminate];
            let kind = kinds.into_iter().find(|kind| kind.as_str() == state);
            invocation.shutdown = Some(kind.ok_or(UsageError::LcmState { text: state })?);
        }
        invocation.host_id =
            rest.next().and_then(|text| text.parse::<i32>().ok()).filter(|id| *id >= 0).map(HostId);
        // The old tool's deploy knows no better.
        invocation.host = rest.next().or(host).filter(|name| name != "TODO");
        Ok(invocation)
    }

    /// The action.
    pub fn action(&self) -> Action {
        self.action
    }

    /// `FILE` of deploy.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The deployment file that the environment names.
    pub(super) fn environment_file(&self) -> Option<&Path> {
        self.environment_file.as_deref()
    }

    /// `DEPLOY_ID`.
    pub fn deploy_id(&self) -> Option<&DeployId> {
        self.deploy_id.as_ref()
    }

    /// Name of the host, if it was told.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Id of the host, if it was told and there is one.
    pub fn host_id(&self) -> Option<HostId> {
        self.host_id
    }

    /// `LCM_STATE`.
    pub fn shutdown(&self) -> Option<ShutdownKind> {
        self.shutdown
    }

    /// Whether our own tool calls.
    pub(super) fn is_ours(&self) -> bool {
        self.key.is_some()
    }

    /// The caller's key of the call; without one, a new one that no other call has.
    pub(super) fn key(&self) -> String {
        self.key.clone().unwrap_or_else(|| {
            // Every `RandomState` has keys of its own, from the system's random numbers at first.
            let random = || RandomState::new().build_hasher().finish();
            format!("once-{:016x}{:08x}", random(), std::process::id())
        })
    }
}

fn usage(action: Action) -> &'static str {
    match action {
        Action::Deploy => "deploy FILE HOST [HOST_ID HOST]",
        Action::Shutdown => "shutdown DEPLOY_ID HOST LCM_STATE [HOST_ID HOST]",
        Action::Cancel => "cancel DEPLOY_ID HOST [HOST_ID HOST]",
        Action::Poll => "poll DEPLOY_ID HOST [HOST_ID HOST]",
        Action::Reboot => "reboot DEPLOY_ID HOST [HOST_ID HOST]",
        Action::Reset => "reset DEPLOY_ID HOST [HOST_ID HOST]",
        Action::List => "list",
    }
}

/// Why arguments were refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UsageError {
    /// The program's name is no action.
    #[error(
        "the program has to be called by the name of an action: cancel, deploy, poll, reboot, reset, shutdown or list"
    )]
    Action,
    /// Too few arguments.
    #[error("an argument is missing; usage: {usage}")]
    Missing {
        /// The arguments as they should be.
        usage: &'static str,
    },
    /// An argument is not UTF-8.
    #[error("the argument {argument:?} is not UTF-8")]
    NotUtf8 {
        /// The argument, what is wrong in it replaced.
        argument: String,
    },
    /// An argument cannot be a deploy id.
    #[error("{text:?} is no deploy id")]
    DeployId {
        /// The argument.
        text: String,
    },
    /// An unknown `LCM_STATE`.
    #[error("the LCM_STATE {text:?} is none of SHUTDOWN_POWEROFF, SHUTDOWN_UNDEPLOY and SHUTDOWN")]
    LcmState {
        /// The argument.
        text: String,
    },
}
