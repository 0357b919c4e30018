//! One process at a time works on a provision.
//!
//! The lease is an exclusive lock (`flock`) on a file of its own. The kernel drops it when the
//! process ends, however it ends, so a stale lease does not exist: it is never judged by its age.
//! The file tells a refused process whom it has to wait for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::ProvisionId;
use thiserror::Error;

/// Why a provision cannot be worked on.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Another live process has it.
    #[error("another oneprovision (process {holder}) is working on provision {provision}")]
    Held {
        /// The provision.
        provision: ProvisionId,
        /// The other's process id, as it wrote it down.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("the lock file {path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The right to work on a provision; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

impl Lease {
    /// Takes the lease of a provision in a folder, which is made if need be, mode 0700.
    ///
    /// # Errors
    /// [`LeaseError::Held`] at once if a live process has it; it does not wait.
    pub fn take(folder: &Path, provision: ProvisionId) -> Result<Self, LeaseError> {
        let path = folder.join(format!("{provision}.lock"));
        let at = |source| LeaseError::File { path: path.clone(), source };
        crate::sqlite::make_private_folder(folder).map_err(at)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message: an unreadable note makes it less telling, not wrong.
                let _ = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
                return Err(LeaseError::Held { provision, holder });
            }
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        file.set_len(0).map_err(at)?;
        file.rewind().map_err(at)?;
        writeln!(file, "{}", std::process::id()).map_err(at)?;
        Ok(Self { _file: file })
    }

    /// Whether a live process works on the provision at this moment.
    pub fn is_held(folder: &Path, provision: ProvisionId) -> bool {
        File::open(folder.join(format!("{provision}.lock")))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_held_until_dropped_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let id: ProvisionId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let lease = Lease::take(folder.path(), id).unwrap();
        assert!(Lease::is_held(folder.path(), id));
        let refused = Lease::take(folder.path(), id).unwrap_err();
        assert!(
            matches!(&refused, LeaseError::Held { holder, .. } if *holder == std::process::id().to_string()),
            "{refused}"
        );
        drop(lease);
        assert!(!Lease::is_held(folder.path(), id));
        Lease::take(folder.path(), id).unwrap();
    }
}
