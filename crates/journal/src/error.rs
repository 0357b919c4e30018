//! What can go wrong with the journal.

use std::path::PathBuf;

use model::ProvisionId;
use thiserror::Error;

/// An error of the journal. None of them loses what was committed before.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The folder or file cannot be used.
    #[error("the journal {path} cannot be opened")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A program of a later version has written to this file.
    #[error(
        "the journal {path} has schema {found}, this program knows up to {known}; use a newer oneprovision"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Schema of the file.
        found: i64,
        /// Newest schema that is known here.
        known: i64,
    },
    /// The disk is full: nothing more may be begun, since it could not be written down.
    #[error("the disk that holds the journal {path} is full; nothing further was begun")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// SQLite reports something else.
    #[error("the journal {path} cannot be {what}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        what: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A row cannot be understood. The other provisions of the journal are not concerned.
    #[error("entry {seq} of the journal {path}, of provision {provision}, cannot be understood")]
    Entry {
        /// The file.
        path: PathBuf,
        /// The provision that it is of.
        provision: ProvisionId,
        /// The entry.
        seq: i64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file into which entries are set aside cannot be written; they are where they were.
    #[error("{file} cannot be written")]
    Aside {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The writer thread is gone.
    #[error("the journal {path} is closed")]
    Closed {
        /// The file.
        path: PathBuf,
    },
}
