//! Waiting for a driver that an earlier tool started.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::DeployId;
use tokio::time::{Instant, sleep};

use crate::api::{DriverError, FailureKind, ProcessRecord, Watch};
use crate::deployment::DeploymentFile;
use crate::error_block;

use super::folder::{DEPLOYMENT, STDERR, STDOUT, is_gone, is_locked, remove};
use super::outcome::{IdLine, MAX_ID_LINE, id_line, message};
use super::{process, run};

/// How a driver that was waited for came to its end. Its exit status is not known: it is not our
/// child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReattachEnd {
    /// It ended by itself, before or while it was waited for.
    Ended,
    /// It was ended by us, past its deadline.
    PastDeadline,
    /// It is past its deadline and cannot be ended, or not be found. Its folder is left.
    StillRunning,
    /// The call's folder is gone: an earlier command has seen to it.
    FolderGone,
}

/// What is known of a driver that an earlier tool started.
#[derive(Clone, Debug)]
pub struct Reattached {
    /// How it ended.
    pub end: ReattachEnd,
    /// The deploy id that it printed.
    pub deploy_id: Option<DeployId>,
    /// Whether it wrote an error block: its own word that it failed.
    pub reported_failure: bool,
    /// What it wrote to standard error, or, without an id, to standard output; empty if nothing.
    pub message: String,
}

impl Reattached {
    /// The call's result, if the call was a `deploy`: an id without an error block is success, an
    /// error block without an id is a definite failure (if the driver ended by itself), and all else
    /// is unknown.
    ///
    /// # Errors
    /// See above.
    pub fn deployed(self) -> Result<DeployId, DriverError> {
        let by_itself = self.end == ReattachEnd::Ended;
        let kind = match (&self.deploy_id, self.reported_failure) {
            (Some(id), false) if by_itself => return Ok(id.clone()),
            (None, true) if by_itself => FailureKind::Definite,
            _ => FailureKind::Unknown,
        };
        let message = match self.end {
            ReattachEnd::Ended if !self.message.is_empty() => self.message,
            ReattachEnd::Ended => {
                "the driver ended while nobody waited for it, without printing a deploy id".into()
            }
            ReattachEnd::PastDeadline => {
                after("the driver was ended past its deadline", &self.message)
            }
            ReattachEnd::StillRunning => {
                after("the driver is past its deadline and cannot be ended", &self.message)
            }
            ReattachEnd::FolderGone => "what the driver wrote is gone".into(),
        };
        Err(DriverError { kind, message, deploy_id: self.deploy_id })
    }
}

fn after(sentence: &str, words: &str) -> String {
    if words.is_empty() { sentence.to_owned() } else { format!("{sentence}\n{words}") }
}

/// Waits for a driver that an earlier tool started, to its deadline, ends it if it is past that
/// (`SIGTERM`, `grace`, `SIGKILL`, to the whole group), reads what it wrote and removes its folder.
///
/// `watch` hears the deploy id as soon as it is there, or that there is none for certain, before the
/// folder is removed. A record whose `pid` is 0 (the tool died before
/// it could write it down) is enough as long as the folder is known: the lock on the folder tells
/// whether the driver runs, and the mark in their environment which processes are its.
///
/// Dropping the future leaves the driver and its folder as they are.
pub async fn reattach(record: &ProcessRecord, grace: Duration, watch: &dyn Watch) -> Reattached {
    let folder = record.folder.as_path();
    let out = match File::open(folder.join(STDOUT)) {
        Ok(out) => Some(out),
        // A question, whose answer is gone with the tool that asked.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_gone(folder) => None,
        Err(_) => {
            return Reattached {
                end: ReattachEnd::FolderGone,
                deploy_id: None,
                reported_failure: false,
                message: String::new(),
            };
        }
    };
    let head = |limit| out.as_ref().map(|out| run::read_head(out, limit)).unwrap_or_default();
    let deadline = Instant::now() + time_left(record.deadline);
    let mut announced = None;
    let mut pause = Duration::from_millis(5);
    let end = loop {
        let over = !is_in_use(record);
        if announced.is_none()
            && let IdLine::Id(id) = id_line(&head(MAX_ID_LINE + 1024), over)
        {
            watch.deploy_id(&id).await;
            announced = Some(id);
        }
        if over {
            break ReattachEnd::Ended;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break end_it(record, grace).await;
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    };
    if end == ReattachEnd::Ended {
        end_stragglers(record, grace).await;
    }
    let reattached = read(folder, out.as_ref(), end, announced, watch).await;
    if let Err(error) = reattached.clone().deployed()
        && error.kind == FailureKind::Definite
    {
        watch.failed(&error).await;
    }
    if end != ReattachEnd::StillRunning && watch.is_written() {
        let folder = folder.to_owned();
        let _ = tokio::task::spawn_blocking(move || drop(remove(&folder))).await;
    }
    reattached
}

/// Time until a moment in seconds since the epoch; nothing if that is past.
fn time_left(deadline: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let limit = Duration::from_secs(u64::try_from(deadline).unwrap_or(0));
    limit.saturating_sub(now).min(Duration::from_secs(10 * 365 * 24 * 3600))
}

/// Whether the driver itself still runs. With a process id it is asked for; else the lock tells,
/// which a process that the driver left behind may hold too.
fn is_in_use(record: &ProcessRecord) -> bool {
    if record.pid == 0 {
        return is_locked(&record.folder);
    }
    process::is_running(record.pid, record.start_time)
}

/// The group that belongs to the call, if one of its processes still runs. That is made sure of before
/// any signal: the number may be another one's by now.
fn group_of(record: &ProcessRecord) -> Option<u32> {
    if record.pid != 0 && process::is_running(record.pid, record.start_time) {
        return Some(record.pid);
    }
    let deployment_file = record.folder.join(DEPLOYMENT);
    if record.pid != 0 && process::group_is_marked(record.pid, &deployment_file) {
        return Some(record.pid);
    }
    process::find_marked(&deployment_file).map(|marked| marked.group)
}

async fn end_it(record: &ProcessRecord, grace: Duration) -> ReattachEnd {
    match group_of(record) {
        Some(group) if process::end_group(group, grace).await => ReattachEnd::PastDeadline,
        // What holds the lock has left the driver's group and shed its environment.
        _ => ReattachEnd::StillRunning,
    }
}

async fn end_stragglers(record: &ProcessRecord, grace: Duration) {
    // Without a process id the lock was waited for, or, of a question, nothing was found that runs.
    if record.pid != 0
        && process::group_runs(record.pid)
        && process::group_is_marked(record.pid, &record.folder.join(DEPLOYMENT))
    {
        process::end_group(record.pid, grace).await;
    }
}

async fn read(
    folder: &Path,
    out: Option<&File>,
    end: ReattachEnd,
    mut announced: Option<DeployId>,
    watch: &dyn Watch,
) -> Reattached {
    let stdout = out.map(run::read_ends).unwrap_or_default();
    let stderr =
        File::open(folder.join(STDERR)).map(|file| run::read_ends(&file)).unwrap_or_default();
    // Of output that is gone nobody knows whether it named a machine.
    let reported_failure = out.is_some() && error_block::has_block(&stderr);
    if announced.is_none() {
        announced = match id_line(&stdout, true) {
            IdLine::Id(id) => Some(id),
            // A sentence; an id with blanks needs an exit status of 0 to be believed, and that is not
            // known here.
            _ => None,
        };
        if let Some(id) = &announced {
            watch.deploy_id(id).await;
        }
    }
    let said = |stream: &[u8]| !stream.trim_ascii().is_empty();
    let message = if said(&stderr) || (announced.is_none() && said(&stdout)) {
        let out: &[u8] = if announced.is_none() { &stdout } else { b"" };
        let host = fs::read(folder.join(DEPLOYMENT))
            .ok()
            .and_then(|bytes| DeploymentFile::parse(&bytes).ok())
            .unwrap_or_default();
        message(out, &stderr, "an unknown exit status", &host.secrets())
    } else {
        String::new()
    };
    Reattached { end, deploy_id: announced, reported_failure, message }
}
