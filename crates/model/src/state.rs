//! The life of a host and of a provision.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a host of a provision stands.
///
/// ```text
/// planned -> registered -> deploying -> deployed -> addressed -> reachable -> configured -> enabled
///                                    enabled -> off -> deployed
///                 any of them -> failed | unknown | removing -> removed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Written down, nothing done yet.
    Planned,
    /// A host object exists in OpenNebula, offline.
    Registered,
    /// A machine was asked for, and the answer is not there yet: one may exist.
    Deploying,
    /// The provider gave a deploy id: a machine exists and costs money.
    Deployed,
    /// The machine's address is known and the host object carries it as its name.
    Addressed,
    /// The machine answers over SSH.
    Reachable,
    /// The machine is configured as a hypervisor.
    Configured,
    /// The host is enabled in OpenNebula.
    Enabled,
    /// It was taken out of use and its machine powered off.
    Off,
    /// A step failed and it is known what exists.
    Failed,
    /// A machine may exist, and it could not be found out whether it does.
    Unknown,
    /// Removal has begun.
    Removing,
    /// The provider says that the machine is gone, and the host object is deleted.
    Removed,
}

impl HostState {
    /// The state's name as it is printed and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Registered => "registered",
            Self::Deploying => "deploying",
            Self::Deployed => "deployed",
            Self::Addressed => "addressed",
            Self::Reachable => "reachable",
            Self::Configured => "configured",
            Self::Enabled => "enabled",
            Self::Off => "off",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a provision as a whole stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvisionState {
    /// A create has begun and not ended.
    Creating,
    /// The create ended and every host is as the template wants it.
    Ready,
    /// The create ended with an error; what exists is written down.
    Failed,
    /// A delete has begun and not ended.
    Deleting,
    /// Everything that is known was removed, but something may still exist at the provider.
    Parked,
    /// Nothing of it exists any more.
    Deleted,
}

impl ProvisionState {
    /// The state's name as it is printed and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Parked => "parked",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for ProvisionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
