//! Finding a driver's executables.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::Action;

/// Longest name of a driver, in bytes.
const MAX_NAME: usize = 128;

/// So much of a script's first line is read, in bytes; Linux does not look at more.
const FIRST_LINE: usize = 256;

/// The folder of all remote scripts, which has the provision drivers in `pm/`.
#[derive(Clone, Debug)]
pub struct Remotes {
    pm: PathBuf,
}

impl Remotes {
    /// The remotes' folder, for example `/var/lib/one/remotes`. Nothing is read yet.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self { pm: folder.as_ref().join("pm") }
    }

    /// The folder of the provision drivers.
    pub fn drivers_folder(&self) -> &Path {
        &self.pm
    }

    /// Names of the folders that could be drivers, sorted; none if there is no such folder.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.pm) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string()
                && check_name(&name).is_ok()
                && entry.path().is_dir()
            {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is anything of that name; [`Remotes::find`] says whether it is a driver.
    pub fn has(&self, name: &str) -> bool {
        check_name(name).is_ok() && fs::symlink_metadata(self.pm.join(name)).is_ok()
    }

    /// The driver of that name.
    ///
    /// `cancel`, `deploy` and `poll` have to be there, because a machine that cannot be destroyed may
    /// not be made. A driver without `reboot`, `reset` or `shutdown` is taken as it is: those fail when
    /// they are asked for. What is there has to be an executable file.
    ///
    /// # Errors
    /// See [`FindError`].
    pub fn find(&self, name: &str) -> Result<DriverFolder, FindError> {
        check_name(name)?;
        let path = self.pm.join(name);
        let metadata = fs::metadata(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if fs::symlink_metadata(&path).is_ok() => {
                FindError::DanglingLink { path: path.clone() }
            }
            io::ErrorKind::NotFound => {
                FindError::Missing { name: name.to_owned(), folder: self.pm.clone() }
            }
            _ => FindError::Unreadable { path: path.clone(), source },
        })?;
        if !metadata.is_dir() {
            return Err(FindError::NotAFolder { path });
        }
        DriverFolder::check(name, path)
    }
}

/// Whether a text can name a driver: ASCII letters, digits, `_`, `-` and `.`, the first one a letter,
/// digit or `_`. So it is no path and no option.
///
/// # Errors
/// [`FindError::BadName`].
pub fn check_name(name: &str) -> Result<(), FindError> {
    let usable = (1..=MAX_NAME).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if usable { Ok(()) } else { Err(FindError::BadName { name: shown(name) }) }
}

/// A bad name, short enough for an error.
fn shown(name: &str) -> String {
    name.chars().take(MAX_NAME).collect()
}

/// A driver's folder of executables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverFolder {
    name: String,
    path: PathBuf,
}

impl DriverFolder {
    /// A driver by the path of its folder, wherever that stands; its last part is the driver's name.
    ///
    /// # Errors
    /// As [`Remotes::find`].
    pub fn open(path: &Path) -> Result<Self, FindError> {
        let unreadable = |source| FindError::Unreadable { path: path.to_owned(), source };
        let whole = path.canonicalize().map_err(unreadable)?;
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        check_name(&name)?;
        if !whole.is_dir() {
            return Err(FindError::NotAFolder { path: whole });
        }
        Self::check(&name, whole)
    }

    fn check(name: &str, path: PathBuf) -> Result<Self, FindError> {
        // The driver runs in a folder of the caller's choice, and may outlive it.
        let path = std::path::absolute(&path)
            .map_err(|source| FindError::Unreadable { path: path.clone(), source })?;
        let folder = DriverFolder { name: name.to_owned(), path };
        for action in Action::REQUIRED {
            match folder.executable(action) {
                Err(FindError::NoAction { .. })
                    if matches!(action, Action::Reboot | Action::Reset | Action::Shutdown) => {}
                result => check_interpreter(action, &folder.name, result?)?,
            }
        }
        Ok(folder)
    }

    /// The driver's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder, an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The action's executable, checked now.
    ///
    /// # Errors
    /// It is missing, a dangling link, a folder or another thing that is no file, or may not be
    /// executed.
    pub fn executable(&self, action: Action) -> Result<PathBuf, FindError> {
        let path = self.path.join(action.as_str());
        let driver = self.name.clone();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(if fs::symlink_metadata(&path).is_ok() {
                    FindError::DanglingLink { path }
                } else {
                    FindError::NoAction { driver, action, path }
                });
            }
            Err(source) => return Err(FindError::Unreadable { path, source }),
        };
        if !metadata.is_file() {
            return Err(FindError::NotAFile { driver, action, path });
        }
        match rustix::fs::access(&path, rustix::fs::Access::EXEC_OK) {
            Ok(()) => Ok(path),
            Err(_) => Err(FindError::NotExecutable { driver, action, path }),
        }
    }
}

/// Whether the interpreter that a script names in its first line is there. What cannot be read is not
/// judged: it may be executed all the same.
fn check_interpreter(action: Action, driver: &str, path: PathBuf) -> Result<(), FindError> {
    let mut start = [0; FIRST_LINE];
    let read = fs::File::open(&path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    let start = start.get(..read).unwrap_or_default();
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(line) = line.strip_prefix(b"#!") else { return Ok(()) };
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|w| !w.is_empty());
    let Some(interpreter) = words.next() else { return Ok(()) };
    let interpreter = PathBuf::from(OsStr::from_bytes(interpreter));
    match fs::metadata(&interpreter) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && interpreter.is_absolute() => {
            let driver = driver.to_owned();
            Err(FindError::NoInterpreter { driver, action, interpreter, path })
        }
        _ => Ok(()),
    }
}

/// Why a driver, or one of its actions, cannot be used.
#[derive(Debug, Error)]
pub enum FindError {
    /// The name could lead out of the drivers' folder, or be taken for something else.
    #[error(
        "{name:?} is no name of a driver: letters, digits, '_', '-' and '.' are allowed, and the first may be neither '.' nor '-'"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// There is no such folder.
    #[error("there is no driver {name:?} in {}", folder.display())]
    Missing {
        /// The name.
        name: String,
        /// The folder of all drivers.
        folder: PathBuf,
    },
    /// The driver's name is that of a file.
    #[error("{} is no folder", path.display())]
    NotAFolder {
        /// Its path.
        path: PathBuf,
    },
    /// The executable of an action is missing.
    #[error("driver {driver:?} has no action {action}: {} is missing", path.display())]
    NoAction {
        /// The driver.
        driver: String,
        /// The action.
        action: Action,
        /// Where it should be.
        path: PathBuf,
    },
    /// A symbolic link leads nowhere.
    #[error("{} is a symbolic link to something that does not exist", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// A folder, or another thing that is no file, stands in the action's place.
    #[error("action {action} of driver {driver:?} is no file: {}", path.display())]
    NotAFile {
        /// The driver.
        driver: String,
        /// The action.
        action: Action,
        /// Its path.
        path: PathBuf,
    },
    /// The file may not be executed.
    #[error("action {action} of driver {driver:?} is not executable: {}", path.display())]
    NotExecutable {
        /// The driver.
        driver: String,
        /// The action.
        action: Action,
        /// Its path.
        path: PathBuf,
    },
    /// The program that the script's first line names is not there.
    #[error(
        "action {action} of driver {driver:?} is run by {interpreter:?}, which is not installed: {}",
        path.display()
    )]
    NoInterpreter {
        /// The driver.
        driver: String,
        /// The action.
        action: Action,
        /// What stands after `#!`.
        interpreter: PathBuf,
        /// Path of the script.
        path: PathBuf,
    },
    /// The file system refuses to tell.
    #[error("cannot look at {}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn driver(remotes: &Path, name: &str, actions: &[Action]) -> PathBuf {
        let folder = remotes.join("pm").join(name);
        fs::create_dir_all(&folder).unwrap();
        for action in actions {
            let path = folder.join(action.as_str());
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[test]
    fn a_name_is_never_a_path() {
        let dir = tempfile::tempdir().unwrap();
        driver(dir.path(), "ok", &Action::REQUIRED);
        let remotes = Remotes::new(dir.path());
        assert_eq!(remotes.find("ok").unwrap().name(), "ok");
        let long = "x".repeat(MAX_NAME + 1);
        for bad in
            ["", ".", "..", "../ok", "a/b", "/etc", "a\0b", "-x", ".x", "a b", "a\n", "é", &long]
        {
            assert!(matches!(remotes.find(bad), Err(FindError::BadName { .. })), "{bad:?}");
            assert!(!remotes.has(bad));
        }
    }

    #[test]
    fn what_is_no_driver_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let remotes = Remotes::new(dir.path());
        assert_eq!(remotes.names().unwrap(), Vec::<String>::new());
        let find = |name: &str| remotes.find(name).unwrap_err();
        assert!(matches!(find("none"), FindError::Missing { .. }));
        let most = [Action::Deploy, Action::Poll, Action::Reboot, Action::Reset, Action::Shutdown];
        let folder = driver(dir.path(), "d", &most);
        assert!(matches!(find("d"), FindError::NoAction { action: Action::Cancel, .. }));
        fs::create_dir(folder.join("cancel")).unwrap();
        assert!(matches!(find("d"), FindError::NotAFile { action: Action::Cancel, .. }));
        fs::remove_dir(folder.join("cancel")).unwrap();
        symlink("nowhere", folder.join("cancel")).unwrap();
        assert!(matches!(find("d"), FindError::DanglingLink { .. }));
        fs::remove_file(folder.join("cancel")).unwrap();
        fs::write(folder.join("cancel"), "").unwrap();
        assert!(matches!(find("d"), FindError::NotExecutable { action: Action::Cancel, .. }));
        fs::write(folder.join("cancel"), "#! /no/such\tx\n").unwrap();
        fs::set_permissions(folder.join("cancel"), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(find("d"), FindError::NoInterpreter { interpreter, .. }
            if interpreter == Path::new("/no/such")));
        fs::write(folder.join("cancel"), "#!\n").unwrap();
        assert!(remotes.find("d").is_ok());
        fs::write(dir.path().join("pm/file"), "").unwrap();
        assert!(matches!(find("file"), FindError::NotAFolder { .. }));
        symlink("nowhere", dir.path().join("pm/link")).unwrap();
        assert!(matches!(find("link"), FindError::DanglingLink { .. }));
        assert_eq!(remotes.names().unwrap(), ["d"]);
    }

    #[test]
    fn only_what_money_depends_on_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        let remotes = Remotes::new(dir.path());
        let folder = driver(dir.path(), "d", &[Action::Deploy, Action::Poll, Action::Cancel]);
        symlink(&folder, dir.path().join("pm/alias")).unwrap();
        for name in ["d", "alias"] {
            let found = remotes.find(name).unwrap();
            assert!(matches!(found.executable(Action::Reset), Err(FindError::NoAction { .. })));
        }
    }
}
