//! One program as the executables of every built-in driver.
//!
//! `DIR/dummy/deploy` is a link to the program. Called by it, the program finds the action in the
//! link's name and the driver in the name of the link's folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use driver::harness::{Hosts, Limits, Surroundings};
use driver::{Action, Driver, description, harness};
use thiserror::Error;

use crate::dummy::{Death, Dummy};
use crate::{BUILTIN, BuiltinSettings};

/// All actions that links are made for.
const ACTIONS: [Action; 7] = [
    Action::Cancel,
    Action::Deploy,
    Action::Poll,
    Action::Reboot,
    Action::Reset,
    Action::Shutdown,
    Action::List,
];

/// The names of all links.
fn links() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|action| action.as_str()).chain([description::EXECUTABLE])
}

/// Runs a driver's action if the program was called by the name of one, and returns its exit status.
///
/// `program` is the program's name as it was called (`argv[0]`), `arguments` the rest. The state folder
/// is `ONEPROVISION_STATE_DIR`, else `$XDG_STATE_HOME/oneprovision`, else
/// `$HOME/.local/state/oneprovision`, all by way of `variable`. `hosts` finds the host of a call that came
/// without its parameters, as those of the old tool do.
pub fn multicall(
    program: &OsStr,
    arguments: Vec<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    hosts: Option<Arc<dyn Hosts>>,
) -> Option<ExitCode> {
    let (name, called) = called_as(Path::new(program))?;
    // Without one, a driver that needs it will say that it cannot use it, and where that was.
    let state_dir = state_dir(variable).unwrap_or_default();
    let driver: Arc<dyn Driver> = match name.as_str() {
        "dummy" => Arc::new(Dummy::new(&state_dir).with_death(Death::Signal)),
        name => crate::builtin(name, &BuiltinSettings { state_dir })?,
    };
    Some(match called {
        Called::Action(action) => {
            let surroundings = Surroundings { limits: limits(&name), hosts };
            harness::main_of(driver, Some(action), arguments, variable, surroundings)
        }
        Called::Describe => harness::describe(driver.as_ref()),
    })
}

/// How long the executables of a driver wait: in `deploy` as long as those of 5.12 did.
fn limits(name: &str) -> Limits {
    let deploy = match name {
        "packet" => Duration::from_secs(1800),
        "ec2" => Duration::from_secs(1500),
        _ => return Limits::default(),
    };
    Limits { deploy, ..Limits::default() }
}

/// What the program was called to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Called {
    Action(Action),
    Describe,
}

/// The driver and action whose link the program was called by.
fn called_as(program: &Path) -> Option<(String, Called)> {
    let called = match program.file_name()?.to_str()? {
        description::EXECUTABLE => Called::Describe,
        name => Called::Action(Action::from_name(name)?),
    };
    let folder = match program.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Not the link itself: that leads to the program.
    let folder = folder.canonicalize().ok()?;
    let name = folder.file_name()?.to_str()?;
    BUILTIN.contains(&name).then(|| (name.to_owned(), called))
}

fn state_dir(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("ONEPROVISION_STATE_DIR")
        .or_else(|| Some(set("XDG_STATE_HOME")?.join("oneprovision")))
        .or_else(|| Some(set("HOME")?.join(".local/state/oneprovision")))
}

/// Makes the executables of a built-in driver: the folder `dir/name` with a link to `program` for
/// every action. `dir` is the folder of all drivers (`REMOTES/pm`). Links that were made before, to this
/// program or to one of its name, are replaced.
///
/// # Errors
/// No such driver; a file or folder of somebody else's in the way (nothing is changed then); the file
/// system refuses.
pub fn install(dir: &Path, program: &Path, name: &str) -> Result<(), InstallError> {
    if !BUILTIN.contains(&name) {
        return Err(InstallError::NoDriver { name: name.to_owned() });
    }
    let folder = dir.join(name);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { path, source }
    };
    let program = std::path::absolute(program).map_err(failed(program))?;
    for action in links() {
        let link = folder.join(action);
        if fs::symlink_metadata(&link).is_ok() && !is_ours(&link, &program) {
            return Err(InstallError::InTheWay { path: link });
        }
    }
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    for action in links() {
        let link = folder.join(action);
        // Made beside and moved there, so that there is always one: a call may come at any moment.
        let new = folder.join(format!(".{action}.{}", std::process::id()));
        let made = symlink(&program, &new).and_then(|()| fs::rename(&new, &link));
        if let Err(source) = made {
            let _ = fs::remove_file(&new);
            return Err(InstallError::Io { path: link, source });
        }
    }
    Ok(())
}

/// Whether a link leads to the program, or to what was once a program of its name.
fn is_ours(link: &Path, program: &Path) -> bool {
    fs::read_link(link)
        .is_ok_and(|target| target == program || target.file_name() == program.file_name())
}

/// Why a driver's executables could not be made.
#[derive(Debug, Error)]
pub enum InstallError {
    /// There is no such driver.
    #[error("there is no built-in driver {name:?}; there are: {}", BUILTIN.join(", "))]
    NoDriver {
        /// The name.
        name: String,
    },
    /// Something else has the name of an executable.
    #[error("{} is there already and is not ours", path.display())]
    InTheWay {
        /// Its path.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot make {}", path.display())]
    Io {
        /// What was to be made.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_driver_and_action_they_are_named_after() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("oneprovision");
        fs::write(&program, "").unwrap();
        let pm = dir.path().join("remotes/pm");
        for _ in 0..2 {
            install(&pm, &program, "dummy").unwrap();
        }
        let mut names: Vec<_> =
            fs::read_dir(pm.join("dummy")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["cancel", "deploy", "describe", "list", "poll", "reboot", "reset", "shutdown"]
        );
        assert_eq!(
            pm.join("dummy/deploy").canonicalize().unwrap(),
            program.canonicalize().unwrap()
        );
        assert_eq!(
            called_as(&pm.join("dummy/deploy")),
            Some(("dummy".into(), Called::Action(Action::Deploy)))
        );
        symlink(pm.join("dummy"), pm.join("alias")).unwrap();
        assert_eq!(
            called_as(&pm.join("alias/poll")),
            Some(("dummy".into(), Called::Action(Action::Poll)))
        );
        assert_eq!(called_as(&pm.join("alias/describe")), Some(("dummy".into(), Called::Describe)));
        assert_eq!(called_as(&program), None);
        assert_eq!(called_as(&pm.join("dummy/other")), None);
        assert_eq!(called_as(&pm.join("deploy")), None);
        assert_eq!(called_as(Path::new("")), None);
    }

    #[test]
    fn what_is_not_ours_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("oneprovision");
        let mine = dir.path().join("dummy/poll");
        fs::create_dir_all(mine.parent().unwrap()).unwrap();
        fs::write(&mine, "#!/bin/sh\n").unwrap();
        let error = install(dir.path(), &program, "dummy").unwrap_err();
        assert!(matches!(error, InstallError::InTheWay { path } if path == mine));
        assert!(!dir.path().join("dummy/cancel").exists());
        assert!(matches!(
            install(dir.path(), &program, "../x"),
            Err(InstallError::NoDriver { .. })
        ));
        // An old link of ours, to a program that was moved.
        fs::remove_file(&mine).unwrap();
        symlink("/nowhere/oneprovision", &mine).unwrap();
        install(dir.path(), &program, "dummy").unwrap();
    }

    #[test]
    fn the_state_folder_is_the_one_of_the_tool() {
        let of = |set: &[(&str, &str)]| {
            state_dir(&|name: &str| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
            })
        };
        let all = [("ONEPROVISION_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(of(&all), Some("/s".into()));
        assert_eq!(of(&all[1..]), Some("/x/oneprovision".into()));
        assert_eq!(of(&all[2..]), Some("/h/.local/state/oneprovision".into()));
        assert_eq!(of(&[("HOME", "")]), None);
    }
}
