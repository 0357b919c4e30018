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
//! What answers a question (`poll`, `list`) is of use to nobody but the tool that asked, so that `stdout` and `stderr`
//! of those are of memory too. A disk that is full must not cut them: many a script does not notice, and a machine
//! that a list does not name any more counts as not made.
//!
//! `stdout` carries a lock (`flock`) that the driver inherits with the file: as long as somebody holds
//! it, the folder is in use, also if nobody wrote down the driver's process id. Where it is of memory the tool holds a
//! lock on `call`, and a driver that outlives it is found by its mark.
//!
//! Every action pays for each file of it, and for each block that it takes on the disk: there are no more than needed.

use std::fs::{self, File, OpenOptions, TryLockError};
#[cfg(target_os = "linux")]
use std::io::Seek as _;
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
/// Room that is reserved for standard output where the system can, so that a disk that fills up cannot swallow the id of
/// a machine that was just paid for.
#[cfg(target_os = "linux")]
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
    /// Its label, to which the driver's process is added. Its lock goes with it.
    call: Option<File>,
    in_use: bool,
}

/// The files that a driver is started with.
pub(super) struct Streams {
    /// The deployment file's text, if it is to be standard input.
    pub stdin: Option<File>,
    pub stdout: File,
    /// May be read too.
    pub stderr: File,
    /// Standard output for us, opened apart if it has the lock, which is the driver's alone.
    pub out_reader: File,
}

impl CallFolder {
    /// Makes the folder with everything in it.
    pub(super) fn create(
        calls: &Path,
        label: &Label<'_>,
        xml: &str,
        with_stdin: bool,
    ) -> io::Result<(Self, Streams)> {
        let calls = match calls.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(calls)?;
                calls.canonicalize()?
            }
            calls => calls?,
        };
        let name = format!("{}-{}-{}", label.action, file_name_of(label.key), unique());
        let making = calls.join(format!("{NEW}{name}"));
        fs::DirBuilder::new().mode(0o700).create(&making)?;
        let mut folder = Self { path: making, call: None, in_use: false };
        let in_memory = match label.action {
            Action::Poll | Action::List => memory("stdout").zip(memory("stderr")),
            _ => None,
        };
        let on_disk = in_memory.is_none();
        let (stdout, stderr) = match in_memory {
            Some(files) => files,
            None => (private(&folder.path.join(STDOUT))?, private(&folder.path.join(STDERR))?),
        };
        private(&folder.path.join(DEPLOYMENT))?.write_all(xml.as_bytes())?;
        let stdin = with_stdin.then(|| standard_input(&folder.path, xml)).transpose()?;
        let mut call = private(&folder.path.join(CALL))?;
        // A file system without locks still has the process id to go by.
        if let Err(TryLockError::Error(error)) = (if on_disk { &stdout } else { &call }).try_lock()
        {
            tracing::debug!(%error, "the calls' folder is on a file system without locks");
        }
        if label.action == Action::Deploy {
            reserve(&stdout)?;
        }
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
        let out_reader =
            if on_disk { File::open(folder.path.join(STDOUT)) } else { stdout.try_clone() }?;
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
        let Some(call) = &mut self.call else { return };
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

/// Removes a call's folder; one that is gone already is fine. Credentials go first, and last what makes [`sweep`] find
/// the folder: who is killed on the way leaves it to the next command.
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

fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A file with that text, from its beginning on.
fn standard_input(folder: &Path, xml: &str) -> io::Result<File> {
    if let Some(file) = memory("deployment").and_then(|file| sealed(file, xml).ok()) {
        return Ok(file);
    }
    let path = folder.join(STDIN);
    private(&path)?.write_all(xml.as_bytes())?;
    File::open(path)
}

/// A file of memory, if the system has such.
#[cfg(target_os = "linux")]
fn memory(name: &str) -> Option<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some systems have no others than those that are no programs (`vm.memfd_noexec`), kernels before 6.3 none of
    // these.
    let made = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL);
    match made.or_else(|_| memfd_create(name, flags)) {
        Ok(file) => Some(File::from(file)),
        Err(error) => {
            tracing::debug!(%error, "a driver's files are on the disk, since none can be had of memory");
            None
        }
    }
}

/// The file with that text, which nobody can change.
#[cfg(target_os = "linux")]
fn sealed(mut file: File, text: &str) -> io::Result<File> {
    use rustix::fs::{SealFlags, fcntl_add_seals};
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
fn memory(_: &str) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn sealed(file: File, _: &str) -> io::Result<File> {
    Ok(file)
}

/// Keeps a file of memory from growing, whoever still has it open. One on the disk stays as it is.
pub(super) fn stop_growing(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fcntl_add_seals(file, rustix::fs::SealFlags::GROW);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
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

/// Whether it is the folder of a question, whose answer is of memory.
fn is_question(folder: &Path) -> bool {
    !folder.join(STDOUT).exists()
}

/// Whether nothing is left of a call; see [`remove`] for the order.
pub(super) fn is_gone(folder: &Path) -> bool {
    is_question(folder) && !folder.join(CALL).exists()
}

/// Whether somebody holds the folder's lock: the driver, what it started, or the tool that is about
/// to start it. With the answer to a question only the tool.
pub(super) fn is_locked(folder: &Path) -> bool {
    match File::open(folder.join(STDOUT)).or_else(|_| File::open(folder.join(CALL))) {
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
        let new = entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes());
        if new || is_gone(&path) {
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > MAKING) && !is_locked(&path) {
                drop(remove(&path));
            }
            continue;
        }
        found.push(examine(path));
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
    } else if (running || is_question(&folder))
        && let Some(marked) = process::find_marked(&folder.join(DEPLOYMENT))
    {
        // The tool died between starting the driver and noting its process id.
        pid = marked.group;
        start_time = marked.leader_start.unwrap_or(0);
        running = true;
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
    fn a_folder_in_use_stays_and_is_swept_up() {
        let dir = tempfile::tempdir().unwrap();
        assert!(sweep(&dir.path().join("none")).unwrap().is_empty());
        let (mut folder, streams) = CallFolder::create(dir.path(), &label("k1"), "", true).unwrap();
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

    #[test]
    fn a_folder_whose_removal_was_interrupted_is_removed_later() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join("deploy-k");
        fs::create_dir(&half).unwrap();
        fs::write(half.join(DEPLOYMENT), "credentials").unwrap();
        File::open(&half).unwrap().set_modified(SystemTime::now() - 2 * MAKING).unwrap();
        assert!(sweep(dir.path()).unwrap().is_empty());
        assert!(!half.exists());
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
        assert_eq!(blocks(Action::Poll), 0);
        // Some file systems cannot reserve.
        assert!(matches!(blocks(Action::Deploy) * 512, 0 | RESERVED..));
    }
}
