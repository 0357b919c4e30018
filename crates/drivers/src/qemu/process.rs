//! QEMU's processes: finding a machine's own, starting it, ending it.
//!
//! A process is known by an argument that holds the path of its machine's folder, never by a number
//! that was written down: a number may belong to something else by now, and a tool that was killed may
//! not have written it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// The argument before the path that a process is known by.
pub(super) const MARK: &str = "-pidfile";
/// How long QEMU may take until its machine runs.
const START: Duration = Duration::from_secs(120);
/// How long a killed process may take to be gone.
const KILL: Duration = Duration::from_secs(30);
/// Most of QEMU's own words that are kept, in bytes.
const WORDS: u64 = 16 << 10;
/// Clock ticks of `/proc/PID/stat` in a second: 100 on Linux, whatever the kernel's own clock.
const TICKS: u64 = 100;

/// The processes of a machine, by the value of [`MARK`]: none, one, or two while QEMU starts.
pub(super) fn of_machine(mark: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_of(*pid, mark))
        .collect()
}

fn is_of(pid: u32, mark: &Path) -> bool {
    // A process that has ended has no command line.
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut arguments = line.split(|byte| *byte == 0);
    arguments.any(|argument| argument == MARK.as_bytes())
        && arguments.next() == Some(mark.as_os_str().as_bytes())
}

/// What a process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Per cent of one processor, on the average since it was started.
    pub cpu: u64,
    /// Memory in KiB.
    pub memory_kib: u64,
}

/// What a process uses, if it still runs (proc_pid_stat(5), proc_pid_status(5)).
pub(super) fn usage(pid: u32) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_ascii_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 14, 15 and 22 of the page, which counts from 1 and has two before the bracket.
    let (ticks, start) = (field(11)? + field(12)?, field(19)?);
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime = uptime.split('.').next()?.parse::<u64>().ok()?;
    let age = uptime.saturating_mul(TICKS).saturating_sub(start).max(1);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let memory_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0);
    Some(Usage { cpu: ticks.saturating_mul(100) / age, memory_kib })
}

/// Why QEMU did not start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StartError {
    /// There is no such program.
    NoProgram,
    /// It left, and this is what it said.
    Said(String),
}

/// Starts QEMU, which is to put itself into the background (`-daemonize`), in `folder`.
///
/// # Errors
/// There is no such program; it says that it cannot.
pub(super) async fn start(
    program: &str,
    arguments: Vec<OsString>,
    folder: &Path,
) -> Result<(), StartError> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StartError::NoProgram,
            _ => StartError::Said(format!("{program} cannot be started: {error}")),
        })?;
    let mut words = Vec::new();
    let whole = async {
        if let Some(stderr) = child.stderr.take() {
            // The process in the background has closed it by the time that the first one ends.
            let _ = stderr.take(WORDS).read_to_end(&mut words).await;
        }
        child.wait().await
    };
    let ended = timeout(START, whole).await;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    match ended {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) if words.is_empty() => {
            Err(StartError::Said(format!("{program} ended with {status}")))
        }
        Ok(Ok(_)) => Err(StartError::Said(words)),
        Ok(Err(error)) => Err(StartError::Said(format!("{program}: {error}"))),
        Err(_) => Err(StartError::Said(format!("{program} did not start within {START:?}"))),
    }
}

/// Ends all processes of a machine at once and waits until they are gone; false if one stays.
pub(super) async fn kill_all(mark: &Path) -> bool {
    let end = Instant::now() + KILL;
    loop {
        let alive = of_machine(mark);
        if alive.is_empty() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        for pid in alive {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // One that is gone meanwhile is what is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
