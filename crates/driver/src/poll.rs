//! What `poll` printed.
use model::Attributes;

/// A machine's state, the single letter of the virtualization drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    /// `a`: running.
    Active,
    /// `p`: being made, or paused.
    Paused,
    /// `e`: in error.
    Error,
    /// `d`: gone or powered off.
    Gone,
    /// `-`: not known, or unchanged.
    NotKnown,
}

/// A poll's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// `STATE`, if it was told.
    pub state: Option<MachineState>,
    /// `GUEST_IP_ADDRESSES`, else `AWS_PUBLIC_IP_ADDRESS`, in the order given.
    pub addresses: Vec<String>,
    /// All pairs and vectors, keys in upper case.
    pub attributes: Attributes,
}
