//! Folders that last as long as who uses them: private, and removed by the next one if their owner was
//! killed.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::known_hosts::make_folder;

/// How the folder of a private key is named at its beginning.
pub(crate) const KEY: &str = "key-";
/// The same of the folder of a run of Ansible.
pub(crate) const RUN: &str = "ap-";
/// The file in each that is locked by the process that uses it.
const LOCK: &str = "lock";
/// Its name until it is locked.
const UNLOCKED: &str = "lock.new";
/// For how long a folder may be without its lock while it is made.
const MAKING: Duration = Duration::from_secs(60);

/// Makes a folder (0700) that goes with the first value, and a lock that says that it is in use as long
/// as there is the second, or this process.
pub(crate) fn make(temporary: &Path, prefix: &str) -> io::Result<(TempDir, File)> {
    make_folder(temporary)?;
    let private = Permissions::from_mode(0o700);
    let folder =
        tempfile::Builder::new().prefix(prefix).permissions(private).tempdir_in(temporary)?;
    let unlocked = folder.path().join(UNLOCKED);
    let lock = File::create_new(&unlocked)?;
    lock.lock()?;
    // A lock that is seen and free is one of the dead.
    fs::rename(unlocked, folder.path().join(LOCK))?;
    Ok((folder, lock))
}

/// Removes folders of processes that were killed.
pub(crate) fn sweep(temporary: &Path) {
    for entry in fs::read_dir(temporary).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let Ok(folder) = entry.metadata() else { continue };
        let is_ours = (name.starts_with(KEY) || name.starts_with(RUN))
            && folder.is_dir()
            && folder.uid() == rustix::process::geteuid().as_raw();
        let is_old =
            || folder.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAKING));
        let is_free = || match File::open(entry.path().join(LOCK)) {
            Ok(lock) => lock.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound && is_old(),
        };
        if is_ours && is_free() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        let old = std::time::SystemTime::now() - 2 * MAKING;
        let aged = |path: &Path| File::open(path).unwrap().set_modified(old).unwrap();
        for prefix in [KEY, RUN] {
            let (used, _lock) = make(base.path(), prefix).unwrap();
            assert_eq!(fs::metadata(used.path()).unwrap().permissions().mode() & 0o777, 0o700);
            aged(used.path());
            // Its owner is gone, and had no time to remove it.
            let (dead, lock) = make(base.path(), prefix).unwrap();
            let dead = dead.keep();
            drop(lock);
            let (made, late) = (at(&format!("{prefix}made")), at(&format!("{prefix}late")));
            for path in [&made, &late] {
                fs::create_dir(path).unwrap();
                fs::write(path.join(UNLOCKED), "").unwrap();
            }
            aged(&late);
            sweep(base.path());
            assert!(used.path().join(LOCK).exists());
            assert_eq!([&dead, &made, &late].map(|path| path.exists()), [false, true, false]);
        }
        let other = at("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(LOCK), "").unwrap();
        aged(&other);
        sweep(base.path());
        assert!(other.exists());
    }
}
