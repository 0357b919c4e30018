//! A call's private folder: `CALLS/ACTION-KEY-UNIQUE/`, mode 0700.
//!
//! | file | what it is |
//! | --- | --- |
//! | `deployment.xml` | the deployment file, 0600 |
//! | `stdout`, `stderr` | what the driver writes; no pipes, so that it outlives a killed tool |
//! | `call` | what call it is, for whoever finds the folder |
//!
//! The driver's standard input is the same text once more. It is a file of its own, because the manual tells drivers
//! to `cat > FILE`, which would empty one that is both; and one of memory, where the system has those, so that
//! credentials are not on the disk twice: the driver holds it, whatever becomes of us. Elsewhere it is `stdin`, here.
//!
//! `stdout` carries a lock (`flock`) that the driver inherits with the file: as long as somebody holds
//! it, the folder is in use, also if nobody wrote down the driver's process id.
//!
//! Every action pays for each file of it, and for each block that it takes on the disk: there are no more than needed.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::Action;

use super::streams::{Streams, private, reserve, standard_input};

/// Name of the deployment file within the folder.
pub(super) const DEPLOYMENT: &str = "deployment.xml";
const STDIN: &str = "stdin";
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";
pub(super) const CALL: &str = "call";
/// A folder in the making has this prefix: nothing was started in it.
pub(super) const NEW: &str = ".new-";

/// What a call is, beside its deployment file.
pub(super) struct Label<'a> {
    pub driver: &'a str,
    pub action: Action,
    pub key: &'a str,
    /// End of the deadline, seconds since the Unix epoch.
    pub deadline: i64,
}

/// A call's folder. Removed when dropped, unless a driver was started in it: then only by
/// [`CallFolder::remove`], after the driver's end.
pub(super) struct CallFolder {
    path: PathBuf,
    /// Its label, to which the driver's process is added.
    call: Option<File>,
    in_use: bool,
}

impl CallFolder {
    /// Makes the folder with everything in it.
    pub(super) fn create(
        calls: &Path,
        label: &Label<'_>,
        xml: &str,
        with_stdin: bool,
    ) -> io::Result<(Self, Streams)> {
        let calls = made(calls)?;
        let name = name_of(label);
        let making = calls.join(format!("{NEW}{name}"));
        fs::DirBuilder::new().mode(0o700).create(&making)?;
        let mut folder = Self { path: making, call: None, in_use: false };
        let stdout = private(&folder.path.join(STDOUT))?;
        // A file system without locks still has the process id to go by.
        if let Err(TryLockError::Error(error)) = stdout.try_lock() {
            tracing::debug!(%error, "the calls' folder is on a file system without locks");
        }
        if label.action == Action::Deploy {
            reserve(&stdout)?;
        }
        let stderr = private(&folder.path.join(STDERR))?;
        private(&folder.path.join(DEPLOYMENT))?.write_all(xml.as_bytes())?;
        let stdin =
            with_stdin.then(|| standard_input(xml, &folder.path.join(STDIN))).transpose()?;
        let mut call = private(&folder.path.join(CALL))?;
        call.write_all(
            format!(
                "driver={}\naction={}\nkey={}\ndeadline={}\n",
                label.driver,
                label.action,
                label.key.replace(char::is_control, " "),
                label.deadline
            )
            .as_bytes(),
        )?;
        folder.call = Some(call);
        let ready = calls.join(&name);
        fs::rename(&folder.path, &ready)?;
        folder.path = ready;
        let out_reader = File::open(folder.path.join(STDOUT))?;
        Ok((folder, Streams { stdin, stdout, stderr, out_reader }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn deployment_file(&self) -> PathBuf {
        self.path.join(DEPLOYMENT)
    }

    /// A driver was started here.
    pub(super) fn started(&mut self, pid: u32, start_time: u64) {
        self.in_use = true;
        let Some(mut call) = self.call.take() else { return };
        if let Err(error) = call.write_all(format!("pid={pid}\nstart={start_time}\n").as_bytes()) {
            tracing::debug!(%error, "cannot note the driver's process id in its folder");
        }
    }

    /// The driver has ended; see [`remove`] for what comes back.
    pub(super) fn remove(mut self) -> Option<File> {
        // So that dropping does not do it again.
        self.in_use = true;
        remove(&self.path)
    }
}

impl Drop for CallFolder {
    fn drop(&mut self) {
        if !self.in_use {
            drop(remove(&self.path));
        }
    }
}

/// Removes a call's folder; one that is gone already is fine. Credentials go first, and last what makes
/// [`sweep`](super::sweep) find the folder: who is killed on the way leaves it to the next command.
///
/// What comes back is the folder without a name. When it is dropped, the file system frees what it took of the disk,
/// which some are slow at; without it, that would happen within the removal, and keep all others from making and
/// removing folders as long.
#[must_use]
pub(super) fn remove(folder: &Path) -> Option<File> {
    let held = File::open(folder).ok();
    for file in [DEPLOYMENT, STDERR, CALL, STDOUT] {
        // What cannot be removed now is told of below.
        let _ = fs::remove_file(folder.join(file));
    }
    // A driver may have put more there.
    let removed = fs::remove_dir(folder).or_else(|_| fs::remove_dir_all(folder));
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        let folder = folder.display();
        tracing::warn!(%error, %folder, "cannot remove a call's folder, which holds credentials");
    }
    held
}

/// The calls' folder, made if it is not there.
pub(super) fn made(calls: &Path) -> io::Result<PathBuf> {
    match calls.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(calls)?;
            calls.canonicalize()
        }
        calls => calls,
    }
}

/// The name of a call: `ACTION-KEY-UNIQUE`. It has no dot.
pub(super) fn name_of(label: &Label<'_>) -> String {
    format!("{}-{}-{}", label.action, file_name_of(label.key), unique())
}

/// A key as part of a file name.
fn file_name_of(key: &str) -> String {
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    key.chars().take(64).map(|c| if usable(c) { c } else { '_' }).collect()
}

/// Distinguishes the calls of all processes; three numbers.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", std::process::id(), now.as_millis())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::leftover::is_locked;
    use super::super::streams::RESERVED;
    use super::*;

    fn label(key: &str) -> Label<'_> {
        Label { driver: "d", action: Action::Deploy, key, deadline: 77 }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_folder_is_private_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let calls = dir.path().join("a/calls");
        let (folder, streams) =
            CallFolder::create(&calls, &label("k/../1"), "<HOST/>", true).unwrap();
        assert_eq!(folder.path().parent(), Some(calls.canonicalize().unwrap().as_path()));
        assert_eq!((mode(&calls), mode(folder.path())), (0o700, 0o700));
        for file in [DEPLOYMENT, STDOUT, STDERR, CALL] {
            assert_eq!(mode(&folder.path().join(file)), 0o600);
        }
        assert_eq!(io::read_to_string(streams.stdin.unwrap()).unwrap(), "<HOST/>");
        assert!(is_locked(folder.path()));
        drop(folder);
        assert_eq!(fs::read_dir(&calls).unwrap().count(), 0);
    }

    #[test]
    fn a_removed_folder_is_gone_while_its_place_on_the_disk_is_still_held() {
        let dir = tempfile::tempdir().unwrap();
        let (mut folder, _streams) = CallFolder::create(dir.path(), &label("k"), "", true).unwrap();
        folder.started(u32::MAX - 1, 5);
        let held = folder.remove();
        assert!(held.unwrap().metadata().unwrap().is_dir());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(remove(&dir.path().join("gone")).is_none());
    }

    #[test]
    fn what_a_driver_put_into_its_folder_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, _streams) = CallFolder::create(dir.path(), &label("k"), "", true).unwrap();
        fs::create_dir(folder.path().join("own")).unwrap();
        fs::write(folder.path().join("own/file"), "").unwrap();
        drop(folder);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_text_on_standard_input_is_not_on_the_disk_once_more() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, streams) = CallFolder::create(dir.path(), &label("k"), "<X/>", true).unwrap();
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, if cfg!(target_os = "linux") { 4 } else { 5 });
        let mut stdin = streams.stdin.unwrap();
        assert!(stdin.write_all(b"other").is_err() && stdin.set_len(0).is_err());
        assert_eq!(io::read_to_string(stdin).unwrap(), "<X/>");
        let (_folder, streams) = CallFolder::create(dir.path(), &label("k"), "", false).unwrap();
        assert!(streams.stdin.is_none());
    }

    /// A full disk may not swallow the id of a new machine; no other answer is worth a block for each call.
    #[cfg(target_os = "linux")]
    #[test]
    fn room_is_reserved_for_the_id_of_a_new_machine_alone() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let blocks = |action| {
            let label = Label { action, ..label("k") };
            let (_folder, streams) = CallFolder::create(dir.path(), &label, "", true).unwrap();
            streams.stdout.metadata().unwrap().blocks()
        };
        assert_eq!(blocks(Action::Reboot), 0);
        // Some file systems cannot reserve.
        assert!(matches!(blocks(Action::Deploy) * 512, 0 | RESERVED..));
    }
}
