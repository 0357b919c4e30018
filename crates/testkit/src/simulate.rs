//! A provision's life by seed: template, operations, decisions, faults and kills, all drawn from one
//! number, in virtual time and on one thread. The same seed gives the same run, byte for byte.
//!
//! # What is checked
//!
//! After every operation, however it ended, and after every kill:
//!
//! * every machine on the bill is named by the journal: as a host's machine, as one that may exist,
//!   or by an open intent with its idempotency key;
//! * no host and no idempotency key has two machines;
//! * no host claims a machine that was never made, or another host's;
//! * the record that an operation returns is the folded journal, and that is the refolded one;
//! * what stands in the journal, in errors and in notes holds no secret of the template;
//! * machines and objects of others are as they were.
//!
//! At the moment of each effect: its intent is in the journal. During all of it: one process at a
//! time writes for a provision, and every operation ends.
//!
//! When an operation says `ready`: bill, journal and OpenNebula are the same. When it says `deleted`:
//! all three are empty. When it says `parked`: OpenNebula is empty, and what is on the bill is a
//! machine that may exist.
//!
//! At the end, without faults: one resume or one delete reaches its end, and after that one delete
//! leaves nothing, or parks where the provider has no list.
//!
//! # What is not a fault here
//!
//! * A request that reaches the front-end is executed before the next command of a killed tool
//!   looks for its effect.
//! * After a cancel that was answered with success, the provider does not say that a machine is
//!   not there while it is: the protocol has no other word for "gone". Before that it may, once.
//! * A driver keeps the promise of `Driver::settle`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::Fault;
use crate::mutation::Mutation;

mod checks;
mod decisions;
mod operations;
mod run;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The seed.
    pub seed: u64,
    /// Whether the lines of the trace are kept, and not only their hash.
    pub trace: bool,
    /// A rule that the engine breaks in this run.
    pub mutation: Option<Mutation>,
    /// Most hosts of a template.
    pub most_hosts: u64,
}

impl Options {
    /// A plain run of a seed: up to 12 hosts.
    pub fn of_seed(seed: u64) -> Self {
        Self { seed, trace: false, mutation: None, most_hosts: 12 }
    }
}

/// An operation on a provision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `create`.
    Create,
    /// `resume`.
    Resume,
    /// `delete`.
    Delete,
    /// `configure`, with and without `--force`.
    Configure,
    /// `host delete`.
    HostDelete,
}

/// How a run came to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The provision was never written down: nothing was begun.
    Nothing,
    /// It was resumed to the end, and then deleted.
    Resumed,
    /// It was deleted, whatever state it was in.
    Cleaned,
    /// Everything that can be found was deleted; a machine that may exist is on record.
    Parked,
    /// A rule was broken.
    Violated,
}

/// What a run was like.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// How it came to rest.
    pub end: End,
    /// Operations that were begun.
    pub operations: BTreeMap<Operation, u64>,
    /// Faults that struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Machines that were asked for.
    pub machines: usize,
    /// Lines of the trace: calls, events, faults.
    pub steps: u64,
    /// Hash of the trace.
    pub hash: u64,
    /// Time that passed inside.
    pub time: Duration,
    /// The rules that were broken.
    pub violations: Vec<String>,
    /// The trace, if it was kept.
    pub trace: Vec<String>,
}

/// Runs a seed.
///
/// # Panics
/// If this machine gives no memory, no temporary folder or no random bytes for the password of the
/// front-end.
pub fn simulate(options: Options) -> Outcome {
    // The client's pauses are drawn from the thread's own source.
    fastrand::seed(options.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime on one thread");
    runtime.block_on(run::run(options))
}
