//! Drivers that are wrong in one way each, for the conformance kit.
//!
//! They are one script in POSIX shell, right but for what a file beside it names. A kit that lets one
//! of them pass, or finds more wrong with it than there is, is wrong itself.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use driver::Action;
use driver::conformance::Check;

const SCRIPT: &str = include_str!("wrong_drivers/driver.sh");

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its name.
    pub name: &'static str,
    /// The one promise that it breaks.
    pub breaks: Check,
    /// Words of what is seen of it.
    pub seen: &'static str,
    /// Whether a machine may be left over by it, so that the kit has to say so.
    pub leaves: bool,
}

const fn wrong(name: &'static str, breaks: Check, seen: &'static str) -> Wrong {
    Wrong { name, breaks, seen, leaves: false }
}

const fn leaving(name: &'static str, breaks: Check, seen: &'static str) -> Wrong {
    Wrong { name, breaks, seen, leaves: true }
}

/// All of them.
pub const WRONG: [Wrong; 33] = [
    wrong("exit-zero", Check::FailureStatus, "exit status 0"),
    wrong("error-on-stdout", Check::FailureOutput, "there is no deployment file"),
    wrong("garbage-block", Check::ErrorBlock, "is not closed"),
    wrong("old-tmp-file", Check::Deploy, "there is no deployment file"),
    wrong("hangs-in-deploy", Check::Deploy, "did not end within"),
    wrong("fails-after-id", Check::Deploy, "it did not boot"),
    wrong("no-id", Check::Id, "no id"),
    wrong("two-ids", Check::Id, "another one, m-1-too"),
    wrong("id-with-blanks", Check::Id, "has blanks in it"),
    wrong("id-with-newline", Check::Id, "another one"),
    wrong("id-with-controls", Check::Id, "can be no id"),
    wrong("poll-says-nothing", Check::Poll, "it printed nothing"),
    wrong("poll-fails", Check::Poll, "internal error 17"),
    wrong("hangs-in-poll", Check::Poll, "did not end within"),
    wrong("wrong-letter", Check::PollState, "STATE=running"),
    wrong("never-ready", Check::Ready, "STATE=a"),
    wrong("list-without-marks", Check::List, "neither KEY nor NAME"),
    wrong("list-with-other-ids", Check::List, "is not in it"),
    wrong("list-fails", Check::List, "internal error 17"),
    wrong("shutdown-fails", Check::Poweroff, "internal error 17"),
    wrong("power-off-unseen", Check::PollOff, "STATE=a"),
    wrong("lists-what-runs", Check::ListOff, "is not in it"),
    wrong("ignores-deploy-id", Check::Resume, "it made a second machine"),
    wrong("id-changes", Check::Resume, "the id has changed"),
    wrong("resume-fails", Check::Resume, "it cannot be powered on"),
    wrong("reboot-fails", Check::Reboot, "internal error 17"),
    wrong("reset-fails", Check::Reset, "internal error 17"),
    leaving("cancel-fails", Check::Cancel, "the provider says no"),
    leaving("stays-active", Check::Gone, "STATE=a"),
    wrong("cancel-of-unknown-fails", Check::CancelAgain, "internal error 17"),
    wrong("revives-what-is-gone", Check::ResumeGone, "it made machine"),
    wrong("shared-state", Check::Concurrency, "only these ids"),
    wrong("stale-lock", Check::Kill, "another deploy holds the lock"),
];

/// Those that tell a secret, and where it is seen.
pub const TELLTALES: [Wrong; 3] = [
    wrong("secret-on-stdout", Check::Secrets, "standard output of deploy"),
    wrong("secret-on-stderr", Check::Secrets, "standard error of deploy"),
    wrong("secret-in-arguments", Check::Secrets, "the arguments of a program of deploy"),
];

/// Those that are not wrong but old: the kit warns of them.
pub const OLD: [(&str, Check); 2] =
    [("no-state", Check::PollState), ("plain-errors", Check::ErrorBlock)];

/// Writes the driver `dir/NAME` that is wrong in that way, or in none; returns its folder.
///
/// # Errors
/// The file system refuses.
pub fn write(dir: &Path, wrong: &str) -> io::Result<PathBuf> {
    let folder = dir.join(wrong);
    fs::create_dir_all(&folder)?;
    let script = folder.join("driver");
    fs::write(&script, SCRIPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    fs::write(folder.join("wrong"), wrong)?;
    fs::write(folder.join("driver.yaml"), "description: wrong on purpose\nparameters: []\n")?;
    for action in Action::REQUIRED.into_iter().chain([Action::List]) {
        symlink("driver", folder.join(action.as_str()))?;
    }
    Ok(folder)
}

/// The machines that a driver written by [`write()`] has, by their ids.
///
/// # Errors
/// The file system refuses.
pub fn machines(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("machines"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".off") {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
