//! Why a sandbox cannot be opened or used.

use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong with the sandbox's own file; what a client does wrong is answered to the
/// client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The folder of the file cannot be made.
    #[error("cannot create the folder {path} of the embedded OpenNebula")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be created, opened or made private.
    #[error("cannot open {path}, the state of the embedded OpenNebula")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is a file, and it is something else.
    #[error("{path} is not the state of an embedded OpenNebula: {reason}")]
    NotASandbox {
        /// The file.
        path: PathBuf,
        /// How this was seen.
        reason: String,
    },
    /// A newer program wrote the file.
    #[error("{path} was written by a newer version (schema {found}, this one knows {known})")]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Schema version of the file.
        found: i64,
        /// Newest schema version that this program knows.
        known: i64,
    },
    /// The file, or its folder, may not be written.
    #[error("{path}, the state of the embedded OpenNebula, is read-only")]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the file for longer than we wait.
    #[error("{path}, the state of the embedded OpenNebula, is locked by another process")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Any other trouble with the database.
    #[error("the state of the embedded OpenNebula cannot be used")]
    Database(#[from] rusqlite::Error),
    /// The system gives no random bytes, so no password and no key can be made.
    #[error("no random bytes for the password of the embedded OpenNebula: {0}")]
    Random(getrandom::Error),
}
