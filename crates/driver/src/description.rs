//! What an executable driver says of itself: the file `driver.yaml` in its folder, or what its
//! executable `describe` prints.
//!
//! Both have one form, YAML or JSON; `docs/DRIVER_PROTOCOL.md` shows it. The file is asked first,
//! because reading it runs nothing. A description that cannot be used never keeps anybody from
//! destroying a machine: it counts as none, and [`Description::problem`] says why.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use model::Parameter;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::api::Description;

/// The file in a driver's folder.
pub const FILE: &str = "driver.yaml";
/// The executable in a driver's folder.
pub const EXECUTABLE: &str = "describe";
/// Version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;
/// Longest description, in bytes.
pub const LIMIT: usize = 1 << 20;
/// Most parameters.
const MAX_PARAMETERS: usize = 1000;
/// How long the executable may take.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How often it is looked whether it has ended.
const PACE: Duration = Duration::from_millis(10);

/// The form of a description.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "protocol")]
    protocol: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default = "configurable")]
    configurable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Vec<Parameter>>,
}

fn protocol() -> u32 {
    PROTOCOL
}

fn configurable() -> bool {
    true
}

/// Reads a description of the driver of that name: a driver goes by the name of its folder, which
/// may be a link, whatever its description calls it. `at` is where it is from, for errors.
///
/// # Errors
/// [`DescriptionError`]: too long, not UTF-8, not of the form, of a later protocol, or with two
/// parameters of one name.
pub fn parse(name: &str, at: &Path, bytes: &[u8]) -> Result<Description, DescriptionError> {
    let path = || at.to_owned();
    let wrong = |why: String| DescriptionError::Wrong { path: path(), why };
    if bytes.len() > LIMIT {
        return Err(wrong(format!("it is longer than {} KiB", LIMIT >> 10)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let options = serde_saphyr::options! { with_snippet: false };
    let written: Written = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
        DescriptionError::Form { path: path(), line, column, source: Box::new(error) }
    })?;
    if written.protocol == 0 || written.protocol > PROTOCOL {
        let why =
            format!("it is of protocol {}, and this tool speaks {PROTOCOL}", written.protocol);
        return Err(wrong(why));
    }
    let parameters = written.parameters.as_deref().unwrap_or_default();
    if parameters.len() > MAX_PARAMETERS {
        return Err(wrong(format!("it has more than {MAX_PARAMETERS} parameters")));
    }
    let mut names = std::collections::HashSet::new();
    for parameter in parameters {
        for name in std::iter::once(&parameter.name).chain(&parameter.aliases) {
            if !names.insert(name) {
                return Err(wrong(format!("two parameters go by the name {name}")));
            }
        }
    }
    Ok(Description {
        configurable: written.configurable,
        parameters: written.parameters,
        ..Description::new(name, written.description.trim())
    })
}

/// A description in the form that is read: what `describe` prints.
pub fn to_yaml(description: &Description) -> String {
    let written = Written {
        protocol: PROTOCOL,
        name: Some(description.name.clone()),
        description: description.summary.clone(),
        configurable: description.configurable,
        parameters: description.parameters.clone(),
    };
    // Texts and switches can always be written as YAML.
    serde_saphyr::to_string(&written).unwrap_or_default()
}

/// What the driver in a folder says of itself: `Ok(None)` if it says nothing.
///
/// # Errors
/// [`DescriptionError`], if there is a description that cannot be used.
pub(crate) fn read(
    name: &str,
    folder: &Path,
    deadline: Duration,
) -> Result<Option<Description>, DescriptionError> {
    let file = folder.join(FILE);
    let bytes = match fs::File::open(&file).and_then(bounded) {
        Ok(bytes) => Some((file, bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(DescriptionError::Unreadable { path: file, source }),
    };
    let (path, bytes) = match bytes {
        Some(read) => read,
        None => {
            let program = folder.join(EXECUTABLE);
            if fs::symlink_metadata(&program).is_err() {
                return Ok(None);
            }
            let printed = run(&program, deadline)?;
            (program, printed)
        }
    };
    parse(name, &path, &bytes).map(Some)
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a program prints. It gets nothing to read, and what it says on standard error is not kept.
fn run(program: &Path, deadline: Duration) -> Result<Vec<u8>, DescriptionError> {
    let path = || program.to_owned();
    let failed = |source| DescriptionError::Unreadable { path: path(), source };
    let begun = Instant::now();
    let mut child = Command::new(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // With all that it left running. It is not waited for before, so that the number is not another one's.
    let end = |child: &mut Child| {
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill();
        child.wait()
    };
    let has_ended = || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        group.map_or(Ok(None), |pid| waitid(WaitId::Pid(pid), options)).map(|ended| ended.is_some())
    };
    let Some(output) = child.stdout.take() else {
        let _ = end(&mut child);
        return Err(failed(io::Error::other("it has no output")));
    };
    let reader = std::thread::spawn(move || bounded(output));
    // A child of it may hold its output open when it has ended.
    loop {
        match has_ended() {
            Ok(true) if reader.is_finished() => break,
            Ok(_) => {}
            Err(error) => {
                let _ = end(&mut child);
                return Err(failed(error.into()));
            }
        }
        if begun.elapsed() >= deadline {
            let _ = end(&mut child);
            return Err(DescriptionError::Late { path: path(), seconds: deadline.as_secs() });
        }
        std::thread::sleep(PACE);
    }
    let status = end(&mut child).map_err(failed)?;
    let bytes = reader.join().unwrap_or_else(|_| Err(io::Error::other("its output is lost")));
    let bytes = bytes.map_err(failed)?;
    // What prints too much may fail because nobody reads on; its length is told instead.
    match status.success() || bytes.len() > LIMIT {
        true => Ok(bytes),
        false => Err(DescriptionError::Failed { path: path(), status }),
    }
}

/// Why a description cannot be used.
#[derive(Debug, Error)]
pub enum DescriptionError {
    /// It is not of the form.
    #[error("{}:{line}:{column}: {}", path.display(), source.without_snippet())]
    Form {
        /// The file, or the executable whose output it is.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong there.
        source: Box<serde_saphyr::Error>,
    },
    /// It has the form, and makes no sense.
    #[error("{}: {why}", path.display())]
    Wrong {
        /// The file, or the executable whose output it is.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file cannot be read, or the executable cannot be run.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The executable failed.
    #[error("{} failed: {status}", path.display())]
    Failed {
        /// Its path.
        path: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
    /// The executable did not end, and was killed.
    #[error("{} did not end within {seconds} s", path.display())]
    Late {
        /// Its path.
        path: PathBuf,
        /// Its deadline.
        seconds: u64,
    },
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
