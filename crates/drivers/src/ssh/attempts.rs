//! Which machines a `deploy` may have claimed, and how it logged in: one small file for each, in `STATE/ssh`.
//!
//! A place is written down before the machine is asked, so that an interrupted `deploy` is found again by
//! asking these, and not all that the list names, of which one may be off.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::addresses::Place;
use super::parameters::Parameters;

/// The folder of these files and of the known hosts.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    folder: PathBuf,
}

impl Attempts {
    /// Those of a state folder; their folder is made (0700) if it is not there.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let folder = state_dir.join("ssh");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The keys of machines that were met before.
    pub(super) fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// What a call tried, and how it logged in; `None` if it never began.
    pub(super) fn of(&self, tag: &str) -> io::Result<Option<Parameters>> {
        let path = self.file(tag);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that a machine is about to be asked, besides those that were asked before.
    pub(super) fn note(&self, tag: &str, how: &Parameters, place: &Place) -> io::Result<()> {
        let mut places = self.of(tag)?.map(|noted| noted.places).unwrap_or_default();
        if !places.contains(place) {
            places.push(place.clone());
        }
        let text = serde_json::to_vec(&Parameters { places, ..how.clone() })?;
        let (path, new) = (self.file(tag), self.file(&format!("{tag}.new")));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        fs::File::open(&self.folder)?.sync_all()
    }

    /// Forgets a call whose machine is known to be nobody's, or its own no more.
    pub(super) fn forget(&self, tag: &str) {
        // If it stays, its machines are asked once more, which does no harm.
        let _ = fs::remove_file(self.file(tag));
    }

    fn file(&self, tag: &str) -> PathBuf {
        self.folder.join(format!("tried-{tag}"))
    }
}
