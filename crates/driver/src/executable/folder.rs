//! A call's private folder: `CALLS/ACTION-KEY-UNIQUE/`, mode 0700.
//!
//! | file | what it is |
//! | --- | --- |
//! | `deployment.xml` | the deployment file, 0600 |
//! | `stdin` | the same text once more, which is the driver's standard input. A file of its own, because the manual tells drivers to `cat > FILE`, which would empty one that is both |
//! | `stdout`, `stderr` | what the driver writes; no pipes, so that it outlives a killed tool |
//! | `call` | what call it is, for whoever finds the folder |
//!
//! `stdout` carries a lock (`flock`) that the driver inherits with the file: as long as somebody holds
//! it, the folder is in use, also if nobody wrote down the driver's process id.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::{Action, ProcessRecord};

use super::process;

/// Name of the deployment file within the folder.
pub(super) const DEPLOYMENT: &str = "deployment.xml";
const STDIN: &str = "stdin";
pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";
const CALL: &str = "call";
/// A folder in the making has this prefix: nothing was started in it.
const NEW: &str = ".new-";
/// After that time nobody is still making a folder.
const MAKING: Duration = Duration::from_secs(60);
/// Room that is reserved for standard output, so that a disk that fills up cannot swallow the id of
/// a machine that was just paid for.
const RESERVED: u64 = 4096;

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
    in_use: bool,
}

/// The files that a driver is started with.
pub(super) struct Streams {
    pub stdin: File,
    pub stdout: File,
    pub stderr: File,
    /// The same files for us, opened apart: positions and locks are not shared with the driver.
    pub out_reader: File,
    pub err_reader: File,
}

impl CallFolder {
    /// Makes the folder with everything in it.
    pub(super) fn create(
        calls: &Path,
        label: &Label<'_>,
        xml: &str,
    ) -> io::Result<(Self, Streams)> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(calls)?;
        let calls = calls.canonicalize()?;
        let name = format!("{}-{}-{}", label.action, file_name_of(label.key), unique());
        let making = calls.join(format!("{NEW}{name}"));
        fs::DirBuilder::new().mode(0o700).create(&making)?;
        let mut folder = Self { path: making, in_use: false };
        let stdout = private(&folder.path.join(STDOUT))?;
        // A file system without locks still has the process id to go by.
        if let Err(TryLockError::Error(error)) = stdout.try_lock() {
            tracing::debug!(%error, "the calls' folder is on a file system without locks");
        }
        reserve(&stdout)?;
        let stderr = private(&folder.path.join(STDERR))?;
        for copy in [DEPLOYMENT, STDIN] {
            private(&folder.path.join(copy))?.write_all(xml.as_bytes())?;
        }
        private(&folder.path.join(CALL))?.write_all(
            format!(
                "driver={}\naction={}\nkey={}\ndeadline={}\n",
                label.driver,
                label.action,
                label.key.replace(char::is_control, " "),
                label.deadline
            )
            .as_bytes(),
        )?;
        let ready = calls.join(&name);
        fs::rename(&folder.path, &ready)?;
        folder.path = ready;
        let streams = Streams {
            stdin: File::open(folder.path.join(STDIN))?,
            stdout,
            stderr,
            out_reader: File::open(folder.path.join(STDOUT))?,
            err_reader: File::open(folder.path.join(STDERR))?,
        };
        Ok((folder, streams))
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
        let note =
            OpenOptions::new().append(true).open(self.path.join(CALL)).and_then(|mut file| {
                file.write_all(format!("pid={pid}\nstart={start_time}\n").as_bytes())
            });
        if let Err(error) = note {
            tracing::debug!(%error, "cannot note the driver's process id in its folder");
        }
    }

    /// The driver has ended.
    pub(super) fn remove(mut self) {
        self.in_use = false;
    }
}

impl Drop for CallFolder {
    fn drop(&mut self) {
        if !self.in_use {
            remove(&self.path);
        }
    }
}

/// Removes a call's folder; one that is gone already is fine.
pub(super) fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        let folder = folder.display();
        tracing::warn!(%error, %folder, "cannot remove a call's folder, which holds credentials");
    }
}

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(target_os = "linux")]
fn reserve(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
        // Not every file system can.
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File) -> io::Result<()> {
    Ok(())
}

/// A key as part of a file name.
fn file_name_of(key: &str) -> String {
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    key.chars().take(64).map(|c| if usable(c) { c } else { '_' }).collect()
}

/// Distinguishes the calls of all processes.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}", std::process::id(), now.as_millis())
}

/// Whether somebody holds the folder's lock: the driver, what it started, or the tool that is about
/// to start it.
pub(super) fn is_locked(folder: &Path) -> bool {
    match File::open(folder.join(STDOUT)) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// A call that an earlier tool left behind.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Name of the driver, if it is known.
    pub driver: Option<String>,
    /// The action, if it is known.
    pub action: Option<Action>,
    /// Key of the call, if it is known.
    pub key: Option<String>,
    /// Folder, process and deadline, as [`super::reattach`] takes them. The process id is 0 if no
    /// driver was started, or if it is not known.
    pub record: ProcessRecord,
    /// Whether the driver, or something that it started, still runs.
    pub running: bool,
}

/// Lists what earlier tools left in the calls' folder, running or not; an absent folder has none.
/// Folders in which nothing was ever started are removed.
///
/// A call of another tool that runs at this moment is listed too: whoever sweeps holds the lock of
/// the state folder, or asks the journal.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn sweep(calls: &Path) -> io::Result<Vec<Leftover>> {
    let entries = match calls.canonicalize().and_then(fs::read_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_dir() {
            continue;
        }
        if entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes()) {
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > MAKING) && !is_locked(&path) {
                remove(&path);
            }
            continue;
        }
        if path.join(STDOUT).exists() {
            found.push(examine(path));
        }
    }
    found.sort_by(|a, b| a.record.folder.cmp(&b.record.folder));
    Ok(found)
}

fn examine(folder: PathBuf) -> Leftover {
    let note = fs::read_to_string(folder.join(CALL)).unwrap_or_default();
    let field = |name: &str| {
        note.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
    };
    let mut pid = field("pid").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut start_time = field("start").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut running = is_locked(&folder);
    if pid != 0 {
        running |= process::is_running(pid, start_time);
    } else if running && let Some(marked) = process::find_marked(&folder.join(DEPLOYMENT)) {
        // The tool died between starting the driver and noting its process id.
        pid = marked.group;
        start_time = marked.leader_start.unwrap_or(0);
    }
    Leftover {
        driver: field("driver"),
        action: field("action").and_then(|name| Action::from_name(&name)),
        key: field("key"),
        record: ProcessRecord {
            pid,
            start_time,
            deadline: field("deadline").and_then(|text| text.parse().ok()).unwrap_or(0),
            folder,
        },
        running,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
        let (folder, streams) = CallFolder::create(&calls, &label("k/../1"), "<HOST/>").unwrap();
        assert_eq!(folder.path().parent(), Some(calls.canonicalize().unwrap().as_path()));
        assert_eq!((mode(&calls), mode(folder.path())), (0o700, 0o700));
        for file in [DEPLOYMENT, STDIN, STDOUT, STDERR, CALL] {
            assert_eq!(mode(&folder.path().join(file)), 0o600);
        }
        assert_eq!(io::read_to_string(&streams.stdin).unwrap(), "<HOST/>");
        assert!(is_locked(folder.path()));
        drop(folder);
        assert_eq!(fs::read_dir(&calls).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_in_use_stays_and_is_swept_up() {
        let dir = tempfile::tempdir().unwrap();
        assert!(sweep(&dir.path().join("none")).unwrap().is_empty());
        let (mut folder, streams) = CallFolder::create(dir.path(), &label("k1"), "").unwrap();
        folder.started(u32::MAX - 1, 5);
        drop(folder);
        let found = sweep(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].running, "the lock is held");
        drop(streams);
        let found = sweep(dir.path()).unwrap().remove(0);
        assert!(!found.running);
        assert_eq!(found.record.pid, u32::MAX - 1);
        assert_eq!((found.record.start_time, found.record.deadline), (5, 77));
        assert_eq!((found.driver.as_deref(), found.key.as_deref()), (Some("d"), Some("k1")));
        assert_eq!(found.action, Some(Action::Deploy));
    }

    #[test]
    fn a_folder_that_was_never_finished_is_removed_when_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let making = dir.path().join(".new-deploy-k");
        fs::create_dir(&making).unwrap();
        assert!(sweep(dir.path()).unwrap().is_empty());
        assert!(making.exists());
        let old = SystemTime::now() - 2 * MAKING;
        File::open(&making).unwrap().set_modified(old).unwrap();
        assert!(sweep(dir.path()).unwrap().is_empty());
        assert!(!making.exists());
    }
}
