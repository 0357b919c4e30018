//! From what a driver did to what is known.
//!
//! | ending | deploy id printed | what is known |
//! | --- | --- | --- |
//! | status 0 | yes | done |
//! | status 0 | no | unknown: the driver says that there is a machine, but not which |
//! | other status | no | definitely not done, which is the promise of the protocol |
//! | status [`EXIT_UNKNOWN`] | no | unknown, in the driver's own judgement |
//! | status 124, or 128 and a signal, and no error block | no | unknown: what the driver ran was ended |
//! | other status | yes | unknown: a machine may exist |
//! | signal, deadline, too much output | either | unknown |

use model::DeployId;
use serde_json::Value;

use crate::api::{Action, DriverError, FailureKind};
use crate::deployment::mask;
use crate::error_block;
use crate::poll::{PollReport, is_no_value};

/// Exit status by which a driver says that it does not know whether the action was carried out,
/// for example because the connection was lost after sending (`EX_TEMPFAIL` of sysexits.h). Ours; for
/// the old tool a failure like any other.
pub const EXIT_UNKNOWN: u8 = 75;

/// The log's target of commands that failed, which are warnings: that one did may be just what was
/// expected of it, as after a cancel. A program may want to leave those out, and no others.
pub const FAILED_COMMANDS: &str = "driver::commands";

/// Longest line that is taken as a deploy id, in bytes.
pub(crate) const MAX_ID_LINE: usize = 4096;

/// How a driver came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Exit(i32),
    Signal(i32),
    /// Ended by us at its deadline, which is the time that it had.
    Deadline(std::time::Duration),
    /// Ended by us because it wrote more than that many bytes.
    TooMuchOutput(u64),
    /// It cannot even be killed.
    Stuck(u32),
    /// Its exit status is not known.
    Lost,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::Deadline(limit) => write!(f, "its deadline of {limit:?}"),
            Self::TooMuchOutput(limit) => write!(f, "more than {limit} bytes of output"),
            Self::Stuck(pid) => write!(f, "process {pid} not reacting to SIGKILL"),
            Self::Lost => f.write_str("an unknown exit status"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// A driver's run that is over.
pub(crate) struct Finished {
    pub ending: Ending,
    /// Standard output, or both ends of it.
    pub stdout: Vec<u8>,
    /// Standard error, or both ends of it.
    pub stderr: Vec<u8>,
    /// What the first line of output was; for deploy only.
    pub id: IdLine,
    /// The id that was made known.
    pub deploy_id: Option<DeployId>,
}

/// The first line of deploy's output that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdLine {
    /// There is none (yet).
    None,
    /// An id.
    Id(DeployId),
    /// One line with blanks in it, which is more likely a sentence than an id.
    Blanks(DeployId),
    /// Something that cannot be an id, or that is none since an id follows.
    Unusable(String),
}

/// Finds the deploy id in the beginning of an output. While the driver runs (`ended` is false) only
/// a line that has its line end counts.
pub(crate) fn id_line(output: &[u8], ended: bool) -> IdLine {
    let mut rest = output;
    loop {
        let (line, complete, next) = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => (rest.get(..end), true, rest.get(end + 1..)),
            None => (Some(rest), ended, None),
        };
        let line = line.unwrap_or_default();
        if line.len() > MAX_ID_LINE {
            return unusable(line);
        }
        if !complete {
            return IdLine::None;
        }
        // Some programs begin what they write with the mark of UTF-8.
        let line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        if !line.trim_ascii().is_empty() {
            match std::str::from_utf8(line).ok().and_then(DeployId::new) {
                Some(id) if is_json(id.as_str()) || is_no_value(id.as_str()) => {
                    return unusable(line);
                }
                // A rule, as it stands above a greeting: the id is still to come.
                Some(id) if !id.as_str().contains(char::is_alphanumeric) => {}
                Some(id) if id.as_str().contains(char::is_whitespace) => return IdLine::Blanks(id),
                Some(id) => return IdLine::Id(id),
                None => return unusable(line),
            }
        }
        match next {
            Some(next) => rest = next,
            None => return IdLine::None,
        }
    }
}

/// A value of JSON, as a program prints that was not asked for plain text: in quotes, or the beginning of more.
/// No provider knows a machine by it.
fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[', '"'])
}

/// With its escape sequences: they may be all that is wrong with it.
fn unusable(line: &[u8]) -> IdLine {
    IdLine::Unusable(String::from_utf8_lossy(line).into_owned())
}

/// Whether an output begins with what a provider answers of a machine that it has made, as JSON: a value that tells of
/// no error, or an id in quotes.
fn is_answer(output: &[u8]) -> bool {
    let output = output.trim_ascii_start();
    match serde_json::Deserializer::from_slice(output).into_iter().next() {
        Some(Ok(Value::String(text))) => !text.contains(char::is_whitespace),
        Some(Ok(value)) => {
            (value.is_object() || value.is_array()) && !is_empty(&value) && !tells_error(&value)
        }
        // One that is cut, or nearly JSON.
        _ => output.starts_with(b"{"),
    }
}

fn tells_error(value: &Value) -> bool {
    let is_reason = |key: &str| {
        let key = key.to_ascii_lowercase();
        let words = ["message", "msg", "detail", "fault", "reason"];
        key.contains("error") || words.contains(&key.as_str())
    };
    let is_failure = |key: &str, value: &Value| match key.to_ascii_lowercase().as_str() {
        "success" | "ok" => *value == Value::Bool(false),
        "status" | "result" => {
            let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
            text.starts_with("fail") || text.starts_with("err")
        }
        _ => false,
    };
    match value {
        Value::Object(map) => map.iter().any(|(key, value)| {
            (is_reason(key) && !is_empty(value)) || is_failure(key, value) || tells_error(value)
        }),
        Value::Array(all) => all.iter().any(tells_error),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// One message of what a driver wrote, secrets masked: before it is cut, and once more since a secret may have been
/// whole only without the escape sequences in it.
pub(super) fn message(stdout: &[u8], stderr: &[u8], how: &str, secrets: &[&str]) -> String {
    let masked = |stream: &[u8]| {
        let text = String::from_utf8_lossy(stream);
        let masked = mask(&text, secrets);
        // What is no text stays as it is: how much of it there is may be all that can be told.
        if masked == text { stream.to_owned() } else { masked.into_bytes() }
    };
    mask(&error_block::message(&masked(stdout), &masked(stderr), how), secrets)
}

impl Finished {
    /// The reason of a failure, secrets masked.
    fn message(&self, secrets: &[&str]) -> String {
        let sentence = match self.ending {
            Ending::Exit(_) => {
                return message(&self.stdout, &self.stderr, &self.ending.to_string(), secrets);
            }
            // The driver did not choose its end, so what it wrote is not the reason of it.
            Ending::Deadline(limit) => {
                format!("the driver did not end within {limit:?} and was ended")
            }
            ending => format!("the driver was ended by {ending}"),
        };
        self.with_words(sentence, secrets)
    }

    /// A sentence, and what the driver wrote to standard error.
    fn with_words(&self, sentence: String, secrets: &[&str]) -> String {
        if self.stderr.trim_ascii().is_empty() {
            return sentence;
        }
        let how = self.ending.to_string();
        format!("{sentence}\n{}", message(b"", &self.stderr, &how, secrets))
    }

    /// What is known after an ending other than success.
    fn kind(&self) -> FailureKind {
        match self.ending {
            Ending::Exit(code) if code == i32::from(EXIT_UNKNOWN) => FailureKind::Unknown,
            // How timeout(1), and a shell, tell that what they ran was ended: it said nothing. Who writes a block did.
            Ending::Exit(124 | 129..=159) if !error_block::has_block(&self.stderr) => {
                FailureKind::Unknown
            }
            Ending::Exit(_) => FailureKind::Definite,
            _ => FailureKind::Unknown,
        }
    }

    /// The result of `deploy`.
    pub(crate) fn deployed(&self, secrets: &[&str]) -> Result<DeployId, DriverError> {
        match (self.ending, &self.deploy_id) {
            (Ending::Exit(0), Some(id)) => Ok(id.clone()),
            (Ending::Exit(0), None) => {
                let mut message = String::from("the driver succeeded without printing a deploy id");
                if let IdLine::Unusable(line) = &self.id {
                    let line: String = mask(line, secrets).chars().take(200).collect();
                    message.push_str(&format!("; its first line cannot be one: {line:?}"));
                }
                let message = self.with_words(message, secrets);
                Err(DriverError::new(FailureKind::Unknown, message))
            }
            (_, None) if self.may_have_answered() => Err(DriverError::new(
                FailureKind::Unknown,
                format!(
                    "the driver failed after it had printed what may be a machine\n{}",
                    self.message(secrets)
                ),
            )),
            (_, id) => Err(DriverError {
                kind: if id.is_some() { FailureKind::Unknown } else { self.kind() },
                message: self.message(secrets),
                deploy_id: id.clone(),
            }),
        }
    }

    /// Whether a `deploy` that failed without an id printed the provider's answer in place of one, and does not say in
    /// a block that it failed.
    fn may_have_answered(&self) -> bool {
        matches!(self.id, IdLine::Unusable(_))
            && is_answer(&self.stdout)
            && !error_block::has_block(&self.stderr)
    }

    /// The result of a `deploy` that powers on the machine `id`. The old tool did not look at what is
    /// printed then, so drivers may print nothing, or anything.
    pub(crate) fn powered_on(
        self,
        id: DeployId,
        secrets: &[&str],
    ) -> Result<DeployId, DriverError> {
        let finished = self.done(secrets)?;
        if let IdLine::Id(other) = id_line(&finished.stdout, true)
            && other != id
        {
            tracing::warn!(
                "asked to power on {id}, the driver printed the id {}: if it has made another machine, \
                 nobody accounts for that one, and it may be billed",
                mask(other.as_str(), secrets)
            );
        }
        Ok(id)
    }

    /// The result of an action without an answer of its own.
    pub(crate) fn done(self, secrets: &[&str]) -> Result<Self, DriverError> {
        match self.ending {
            Ending::Exit(0) => Ok(self),
            _ => Err(DriverError::new(self.kind(), self.message(secrets))),
        }
    }

    /// The result of `poll`. That the driver could not ask says nothing of the machine: it is unknown.
    pub(crate) fn polled(
        self,
        id: &DeployId,
        host: &str,
        secrets: &[&str],
    ) -> Result<Self, DriverError> {
        let has_program = !matches!(self.ending, Ending::Exit(126 | 127));
        self.found(id, host, secrets).map_err(|mut error| {
            let names = [id.as_str(), host];
            if error.kind == FailureKind::Definite
                && (!has_program || super::not_found::could_not_ask(&error.message, &names))
            {
                error.kind = FailureKind::Unknown;
            }
            error
        })
    }

    /// The result of `cancel` or `poll`: a machine that is not there is told apart.
    pub(crate) fn found(
        self,
        id: &DeployId,
        host: &str,
        secrets: &[&str],
    ) -> Result<Self, DriverError> {
        // 126 and 127 are the shell's: a program, not a machine, was not found.
        let by_driver = matches!(self.ending, Ending::Exit(code) if code != 126 && code != 127);
        self.done(secrets).map_err(|mut error| {
            let names = [id.as_str(), host];
            if by_driver
                && error.kind == FailureKind::Definite
                && super::not_found::says_not_found(&error.message, &names)
            {
                error.kind = FailureKind::NotFound;
            }
            error
        })
    }
}

/// The log lines of the old tool, in its order, and a warning of a second deploy id.
pub(crate) fn log(finished: &Finished, command: &str, action: Action, secrets: &[&str]) {
    let stream = |bytes: &[u8]| {
        let text = error_block::printable(&mask(&String::from_utf8_lossy(bytes), secrets));
        mask(text.trim(), secrets).chars().take(error_block::MAX_MESSAGE).collect::<String>()
    };
    if tracing::enabled!(tracing::Level::DEBUG) {
        let out = match action {
            // It may tell a password.
            Action::Poll => mask(&PollReport::parse(&finished.stdout).to_masked_line(), secrets),
            Action::List => format!("{} bytes", finished.stdout.len()),
            _ => stream(&finished.stdout),
        };
        if !out.is_empty() {
            tracing::debug!("Command STDOUT: {out}");
        }
        let err = stream(&finished.stderr);
        if !err.is_empty() {
            tracing::debug!("Command STDERR: {err}");
        }
    }
    match finished.ending {
        Ending::Exit(0) => tracing::debug!("Command succeeded"),
        Ending::Exit(code) => {
            tracing::warn!(target: FAILED_COMMANDS, "Command FAILED (code={code}): {command}");
        }
        ending => {
            tracing::warn!(target: FAILED_COMMANDS, "Command FAILED ({ending}): {command}");
        }
    }
    if let Some(id) = &finished.deploy_id
        && let Some(other) = second_id(&finished.stdout, id)
    {
        let other = mask(other.as_str(), secrets);
        tracing::warn!(
            "the driver printed a second deploy id, {other}, after {id}: if that is a machine too, nobody accounts for it ({command})"
        );
    }
}

/// A further line that looks like an id and is another one.
pub(crate) fn second_id(output: &[u8], first: &DeployId) -> Option<DeployId> {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().take(1000).map(|line| line.strip_prefix('\u{feff}').unwrap_or(line));
    lines.filter_map(DeployId::new).find(|id| {
        id != first && id.as_str().len() <= 256 && !id.as_str().contains(char::is_whitespace)
    })
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
