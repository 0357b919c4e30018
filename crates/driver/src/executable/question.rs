//! The one file of a question (`poll`, `list`): `CALLS/ACTION-KEY-UNIQUE.DEADLINE.xml`, the deployment file, 0600.
//!
//! The answer is of use to nobody but the tool that asks, so that the driver's output is of memory. That is not for
//! speed alone: a disk that is full must not cut an answer. Many a script does not notice that what it wrote
//! was not written, and a machine that a list does not name any more counts as not made.
//!
//! The driver's standard input is the file too. The tool holds a lock (`flock`) on it; a driver that outlives the tool
//! is found by its mark, the file's path.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::api::Action;

use super::folder::{self, DEPLOYMENT, Label};
use super::streams::{Streams, memory, private};

const SUFFIX: &str = ".xml";

/// A question's file. Removed when dropped, unless a driver was started for it: then only by
/// [`Question::remove`], after the driver's end.
pub(super) struct Question {
    path: PathBuf,
    /// Open for its lock.
    _locked: File,
    in_use: bool,
}

impl Question {
    /// Makes the file. `None` if the action is no question, or the system has no files of memory: then a folder is
    /// needed.
    pub(super) fn create(
        calls: &Path,
        label: &Label<'_>,
        xml: &str,
    ) -> io::Result<Option<(Self, Streams)>> {
        if !matches!(label.action, Action::Poll | Action::List) {
            return Ok(None);
        }
        let Some((stdout, stderr)) = memory("stdout").zip(memory("stderr")) else {
            return Ok(None);
        };
        let out_reader = stdout.try_clone()?;
        let name = format!("{}.{}{SUFFIX}", folder::name_of(label), label.deadline);
        let path = folder::made(calls)?.join(name);
        let mut file = private(&path)?;
        if let Err(TryLockError::Error(error)) = file.try_lock() {
            tracing::debug!(%error, "the calls' folder is on a file system without locks");
        }
        let written = file.write_all(xml.as_bytes());
        let question = Self { path, _locked: file, in_use: false };
        written?;
        let stdin = Some(File::open(&question.path)?);
        Ok(Some((question, Streams { stdin, stdout, stderr, out_reader })))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A driver was started.
    pub(super) fn started(&mut self) {
        self.in_use = true;
    }

    /// The driver has ended.
    pub(super) fn remove(mut self) {
        self.in_use = false;
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if !self.in_use {
            remove(&self.path);
        }
    }
}

/// Removes a question's file; one that is gone already is fine.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        let file = path.display();
        tracing::warn!(%error, %file, "cannot remove a question's file, which holds credentials");
    }
}

/// What the name of a question's file tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub action: Action,
    pub key: String,
    /// End of the deadline, seconds since the Unix epoch.
    pub deadline: i64,
}

impl Named {
    /// `None` if it is the name of no question's file.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let (name, deadline) =
            path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.rsplit_once('.')?;
        let (action, rest) = name.split_once('-')?;
        Some(Self {
            action: Action::from_name(action)?,
            // Three numbers make it unique.
            key: rest.rsplitn(4, '-').nth(3)?.to_owned(),
            deadline: deadline.parse().ok()?,
        })
    }
}

/// Whether a call's place is a question's file, and no folder.
pub(super) fn is_one(place: &Path) -> bool {
    Named::of(place).is_some()
}

/// The deployment file of a call.
pub(super) fn deployment_file(place: &Path) -> PathBuf {
    if is_one(place) { place.to_owned() } else { place.join(DEPLOYMENT) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::leftover::is_locked;
    use super::*;

    #[test]
    fn the_file_is_private_goes_with_its_owner_and_tells_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let calls = dir.path().join("a/calls");
        let key = "5a02c7d7-c036-4c71-a602-dfb428003964-0-1";
        let label = Label { driver: "d", action: Action::Poll, key, deadline: 77 };
        let (question, streams) = Question::create(&calls, &label, "<HOST/>").unwrap().unwrap();
        let path = question.path().to_owned();
        assert_eq!(path.parent(), Some(calls.canonicalize().unwrap().as_path()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(io::read_to_string(streams.stdin.unwrap()).unwrap(), "<HOST/>");
        let named = Named { action: Action::Poll, key: key.to_owned(), deadline: 77 };
        assert_eq!(Named::of(&path), Some(named));
        assert!(is_locked(&path));
        drop(question);
        assert_eq!(fs::read_dir(&calls).unwrap().count(), 0);
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let label = Label { driver: "d", action: Action::Deploy, key: "k", deadline: 77 };
        assert!(Question::create(dir.path(), &label, "").unwrap().is_none());
        let folder = folder::name_of(&label);
        for name in [folder.as_str(), "deployment.xml", "poll.77.xml", "poll-k-1-2-3.x.xml", ""] {
            assert_eq!(Named::of(Path::new(name)), None, "{name}");
        }
    }
}
