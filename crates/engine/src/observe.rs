//! What a caller hears while an operation runs.
//!
//! Every view (terminal, log, HTTP) is made from the journal's own events, heard after they are
//! durable, and from notes, which tell of waiting and are not kept.

use configure::Heard;
use journal::{Event, Outcome, ProvisionRecord, Step, Subject};
use model::HostKey;

/// A large part of an operation, in the words of the old tool's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Cluster, datastores, networks and host objects are made.
    CreatingObjects,
    /// Machines are asked for, and their addresses.
    Deploying,
    /// Images, marketplace apps and templates are made.
    CreatingVirtual,
    /// Machines are destroyed.
    Undeploying,
    /// VMs are terminated, images deleted.
    CleaningUp,
    /// Objects in OpenNebula are deleted.
    DeletingObjects,
}

/// Something worth telling that is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A part of the operation begins.
    Phase(Phase),
    /// A host waits for something, and will be looked at again.
    Waiting {
        /// The host.
        host: HostKey,
        /// For what.
        reason: String,
    },
    /// A host object or a machine was not made after all, which is no failure: it may be asked for again at once.
    /// Told in place of the step's outcome.
    Undone {
        /// The host.
        host: HostKey,
        /// The step.
        step: Step,
        /// Why.
        reason: String,
    },
    /// What is heard of a machine while it is configured.
    Heard {
        /// The host.
        host: HostKey,
        /// What.
        what: Heard,
    },
    /// Something that the operator should know, and that stops nothing.
    Warning(String),
    /// A step towards an object in OpenNebula, for the debug log.
    Debug(String),
}

/// Hears of progress. Called from many tasks at once; must not block.
pub trait Observer: Send + Sync {
    /// An event was made durable; `record` already has it. Outcomes are told by
    /// [`Observer::outcome`].
    fn event(&self, record: &ProvisionRecord, event: &Event);

    /// The outcome of a step was made durable; `record` already has it. See [`Note::Undone`] for one that
    /// was taken back as it was written.
    fn outcome(&self, record: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome);

    /// Something that is not kept.
    fn note(&self, record: &ProvisionRecord, note: &Note);
}

/// An [`Observer`] that hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _: &ProvisionRecord, _: &Event) {}
    fn outcome(&self, _: &ProvisionRecord, _: Subject, _: Step, _: &Outcome) {}
    fn note(&self, _: &ProvisionRecord, _: &Note) {}
}
