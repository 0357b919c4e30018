//! The crash matrix: the real binary with its real journal, killed with `SIGKILL` at every write of
//! the journal and at every call to a driver and to the front-end; before it, while it is under way,
//! and after it. Then the next commands have to find out, and bring it to its end.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`world`] | one home, its front-end, its provider; running the binary in it |
//! | [`front_end`] | an OpenNebula of this process over HTTP, that kills its client before it answers |
//! | [`provider`] | a driver in shell that kills the tool that called it, and the dummy's ledger |
//! | [`operations`] | what is killed: its preparation, its command, and how it may end |
//! | [`checks`] | what has to hold after the kill, and at the end |
//! | [`away`] | a front-end that gets into trouble at every request, while nobody is killed |
//! | [`full_disk`] | a disk that fills up, at every page |
//! | [`matrix`] | every point of every operation, on all processors, and the table |
//!
//! The points are not listed here: each operation is run once without a kill, which writes down the
//! points that it passes, so a new one is tested without anybody thinking of it. A point that is not
//! reached when it should kill fails the test.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

mod away;
mod checks;
mod front_end;
mod full_disk;
mod matrix;
mod operations;
mod provider;
mod world;

use matrix::Matrix;
use operations::OPERATIONS;
use world::Kind;

#[test]
fn killed_anywhere_nothing_is_lost() {
    // For work on one operation: `CRASH_MATRIX=update scripts/crash-matrix`.
    let only = std::env::var("CRASH_MATRIX").unwrap_or_default();
    let wanted = OPERATIONS.iter().filter(|operation| operation.name.contains(&only));
    let wanted: Vec<_> = wanted.collect();
    assert!(!wanted.is_empty(), "there is no operation {only:?}");
    let mut matrix = Matrix::new();
    for kind in [Kind::Embedded, Kind::Site] {
        for operation in &wanted {
            matrix.add(kind, operation);
        }
    }
    matrix.run();
}
