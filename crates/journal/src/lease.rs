//! One process at a time works on a provision.
//!
//! The lease is an exclusive lock (`flock`) on a file of its own. The kernel drops it when the
//! process ends, however it ends, so a stale lease does not exist: it is never judged by its age.
//! The file tells a refused process whom it has to wait for.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

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
        match lock(&file, File::try_lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&file);
                let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
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
        File::open(folder.join(format!("{provision}.lock"))).is_ok_and(|file| {
            matches!(lock(&file, File::try_lock_shared), Err(TryLockError::WouldBlock))
        })
    }
}

/// How long a lock is looked at again whose holder has ended, and the pause between two looks.
const PASSING: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(5));

/// Locks the file, unless a live process has it. For a moment others have it too: a driver that was being started
/// when its tool was killed, and a command that looks whether it is held.
fn lock(
    file: &File,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match try_lock(file) {
            Err(TryLockError::WouldBlock)
                if !is_live(&holder(file)) && begun.elapsed() < PASSING.0 =>
            {
                thread::sleep(PASSING.1);
            }
            locked => return locked,
        }
    }
}

/// The process id that the holder wrote down. One that cannot be read makes it less telling, not wrong.
fn holder(file: &File) -> String {
    let mut note = [0_u8; 32];
    let length = file.read_at(&mut note, 0).unwrap_or(0);
    String::from_utf8_lossy(note.get(..length).unwrap_or_default()).trim().to_owned()
}

/// Whether a process of that id may run: where the system does not tell, it does.
fn is_live(holder: &str) -> bool {
    let proc = Path::new("/proc");
    !proc.join("self").exists() || (!holder.is_empty() && proc.join(holder).exists())
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

    /// As a driver does that is being started while its tool is killed.
    #[test]
    fn a_lock_that_outlives_its_holder_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let id: ProvisionId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let lease = Lease::take(folder.path(), id).unwrap();
        // No process has this id: it is beyond the largest one of Linux.
        let path = folder.path().join(format!("{id}.lock"));
        std::fs::write(path, "4999999\n").unwrap();
        let held = thread::scope(|scope| {
            let look = scope.spawn(|| Lease::is_held(folder.path(), id));
            drop(lease);
            look.join().unwrap()
        });
        assert!(!held);
    }
}
