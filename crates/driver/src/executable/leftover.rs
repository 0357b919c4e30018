//! What earlier tools left in the calls' folder.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{Action, ProcessRecord};

use super::folder::{self, CALL, NEW, STDOUT};
use super::{process, question};

/// After that time nobody is still making a folder.
const MAKING: Duration = Duration::from_secs(60);

/// Whether somebody holds the call's lock: the driver, what it started, or the tool that is about
/// to start it. With a question only the tool has it.
pub(super) fn is_locked(place: &Path) -> bool {
    let lock = if question::is_one(place) { place.to_owned() } else { place.join(STDOUT) };
    match File::open(lock) {
        Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => false,
    }
}

/// Removes what there is of a call.
pub(super) fn clear(place: &Path) {
    if question::is_one(place) {
        question::remove(place);
    } else {
        drop(folder::remove(place));
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
    /// Place, process and deadline, as [`super::reattach`] takes them. The process id is 0 if no
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
            found.extend(examine_question(path));
            continue;
        }
        // What has no output is being made, or was being removed.
        let new = entry.file_name().as_encoded_bytes().starts_with(NEW.as_bytes());
        if new || !path.join(STDOUT).exists() {
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > MAKING) && !is_locked(&path) {
                drop(folder::remove(&path));
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
    } else if running
        && let Some(marked) = process::find_marked(&question::deployment_file(&folder))
    {
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

/// `None` if it is the file of no question. What answers one has no place to note its process id, and no lock that it
/// would hold: it is looked for by its mark.
fn examine_question(path: PathBuf) -> Option<Leftover> {
    let named = question::Named::of(&path)?;
    let marked = process::find_marked(&path);
    Some(Leftover {
        driver: None,
        action: Some(named.action),
        key: Some(named.key),
        running: marked.is_some() || is_locked(&path),
        record: ProcessRecord {
            pid: marked.map_or(0, |marked| marked.group),
            start_time: marked.and_then(|marked| marked.leader_start).unwrap_or(0),
            deadline: named.deadline,
            folder: path,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::folder::{CallFolder, DEPLOYMENT, Label};
    use super::*;

    fn label(key: &str) -> Label<'_> {
        Label { driver: "d", action: Action::Deploy, key, deadline: 77 }
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
}
