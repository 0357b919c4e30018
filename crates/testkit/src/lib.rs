//! Fake clouds with a bill, faults at every seam, and the simulator.
//!
//! Whether a tool never loses a machine cannot be seen from the tool: it is seen from the bill. So
//! this room has a provider that keeps one ([`cloud`]), and wrappers that make every neighbour of
//! the engine fail: its drivers, its front-end, its journal, its clock and its own life. The engine
//! runs unchanged, in virtual time and on one thread.
//!
//! ```text
//!             seed
//!              |
//!   faults  <--+--> template, operations, decisions
//!     |                      |
//!     v                      v
//!   driver, front-end,  <- engine -> trace, checked after each operation and each kill
//!   journal, clock, kill
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`dice`] | what is drawn from a seed |
//! | [`faults`] | the kinds of faults, when they strike, how often they did |
//! | [`trace`] | what happened, and what must not have |
//! | [`clock`] | a clock that follows virtual time and can be set wrong |
//! | [`bomb`] | death at a chosen point: before or after any effect |
//! | [`cloud`] | a provider, its machines, its driver |
//! | [`configurer`] | what configures machines, without machines |
//! | [`packet`] | a cloud that speaks Packet's API over HTTP, with a bill and with faults |
//! | [`bmc`] | a BMC that speaks Redfish over HTTP, with the habits of many vendors and with faults |
//! | [`proxy`] | faults between a driver and any provider of HTTP |
//! | [`sshd`] | machines that are logged in to: a real sshd each, on loopback |
//! | [`sushy`] | BMCs that are not ours: the emulator of sushy-tools |
//! | [`front_end`] | a front-end that is away, busy, slow, or loses its answer |
//! | [`disk`] | a journal that can be full, and loses nothing that it took |
//! | [`templates`] | random templates |
//! | [`world`] | all of it without chance, for tests that say what happens |
//! | [`simulate`] | all of it by seed |
//! | [`mutation`] | engines that break one rule each, to prove that the checks can fail |
//! | [`wrong_drivers`] | drivers that are wrong in one way each, for the conformance kit |
//!
//! `cargo run --release -p oneprovision-testkit --bin simulate -- --help` runs many seeds.

// This library is part of tests: what cannot be is a panic that fails the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bmc;
pub mod bomb;
pub mod clock;
pub mod cloud;
pub mod configurer;
pub mod dice;
pub mod disk;
pub mod faults;
pub mod front_end;
mod http;
pub mod mutation;
pub mod packet;
pub mod proxy;
pub mod simulate;
pub mod sshd;
pub mod sushy;
pub mod templates;
pub mod trace;
pub mod world;
pub mod wrong_drivers;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The value of a lock, also after a panic elsewhere: that panic fails the test by itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder for locks, which goes with its value: in memory where the system has a place for that,
/// since on a busy disk the making of thousands of folders takes longer than the runs.
pub(crate) fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
