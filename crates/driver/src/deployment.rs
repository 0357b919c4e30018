//! The deployment file.
use model::{Attributes, ClusterId, HostId};

/// The host that a machine is for, as a driver is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentFile {
    /// Id in OpenNebula, if it is there already.
    pub id: Option<HostId>,
    /// Name of the host.
    pub name: String,
    /// Information driver (`IM_MAD`).
    pub im_mad: String,
    /// Virtualization driver (`VM_MAD`).
    pub vm_mad: String,
    /// Provision driver (`PM_MAD`).
    pub pm_mad: String,
    /// The cluster, id and name.
    pub cluster: Option<(ClusterId, String)>,
    /// The host's template, secrets in clear.
    pub template: Attributes,
}
