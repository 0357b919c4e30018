//! The journal on a disk that fails, and among processes that die.
//!
//! | module | what it shows |
//! | --- | --- |
//! | [`torn`] | a last write that reached the disk in part, or damaged |
//! | [`disk`] | a full disk, a read-only one |
//! | [`processes`] | two processes at once, one of them killed |
//! | [`old`] | what earlier versions wrote |

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use journal::Event;
use model::{HostKey, ProvisionId};

mod disk;
mod old;
mod processes;
mod torn;

fn id(n: u128) -> ProvisionId {
    format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
}

/// The nth of a series of events that can be told apart.
fn event(n: u32) -> Event {
    Event::Addressed { host: HostKey(n), address: format!("host-{n}.example") }
}

/// A folder in memory where there is one: what is tested here is what is read back, thousands of times.
fn fast_folder() -> tempfile::TempDir {
    let shared = tempfile::tempdir_in("/dev/shm");
    shared.or_else(|_| tempfile::tempdir()).unwrap()
}
