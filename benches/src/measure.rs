//! Times and memory of a child process.
//!
//! The kernel keeps them of all children that were waited for, together; so each program is run
//! below a process of its own, `bench measure FILE TIMES PROGRAM ARGUMENT…`, which writes them to a
//! file. A child's peak memory cannot be seen below that of this process, for it begins as a copy
//! of it: some 3 MiB.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

use crate::failure::{Because as _, Result};

/// What a run of a program cost; means of several runs, but for the peak.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Seconds from its start to its end.
    pub wall: f64,
    /// Seconds of CPU in user mode.
    pub user: f64,
    /// Seconds of CPU in user mode and in the kernel.
    pub cpu: f64,
    /// Most memory at a time, in MiB.
    pub peak: f64,
}

fn seconds(time: TimeVal) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let (whole, parts) = (time.tv_sec() as f64, time.tv_usec() as f64);
    whole + parts / 1e6
}

/// User CPU, all CPU, and peak memory in MiB.
fn usage(who: UsageWho) -> Result<(f64, f64, f64)> {
    let usage = getrusage(who).because("getrusage")?;
    let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
    #[allow(clippy::cast_precision_loss)]
    let peak = usage.max_rss() as f64 / 1024.0;
    Ok((user, user + system, peak))
}

/// CPU that this process has used so far, in seconds.
///
/// # Errors
/// If the kernel does not tell.
pub fn own_cpu() -> Result<f64> {
    Ok(usage(UsageWho::RUSAGE_SELF)?.1)
}

/// The role `measure`.
///
/// # Errors
/// If the program cannot be started or a file cannot be written. How it ends is passed on.
pub fn main(arguments: &[OsString]) -> Result<()> {
    let [file, times, program, arguments @ ..] = arguments else {
        return Err("usage: measure FILE TIMES PROGRAM ARGUMENT…".into());
    };
    let times: u32 = times.to_str().and_then(|times| times.parse().ok()).because("no number")?;
    let begun = Instant::now();
    let mut code = 0;
    for _ in 0..times.max(1) {
        let status = Command::new(program).args(arguments).status().because("the program")?;
        code = status.code().unwrap_or(-1);
    }
    let wall = begun.elapsed().as_secs_f64();
    let (user, cpu, peak) = usage(UsageWho::RUSAGE_CHILDREN)?;
    let times = f64::from(times.max(1));
    let cost = json!({
        "wall": wall / times, "user": user / times, "cpu": cpu / times, "peak": peak, "code": code,
    });
    std::fs::write(file, cost.to_string()).because(Path::new(file).display())
}

/// A command below `bench measure`; its cost will be in the file.
///
/// # Errors
/// If the path of this program is not known.
pub fn command(file: &Path, times: u32, program: &OsStr) -> Result<Command> {
    let own = std::env::current_exe().because("the path of this program is not known")?;
    let mut command = Command::new(own);
    command.arg("measure").arg(file).arg(times.to_string()).arg(program).stdin(Stdio::null());
    Ok(command)
}

/// The cost that was written to a file, and the program's exit status.
///
/// # Errors
/// If it is not there.
pub fn read(file: &Path) -> Result<(Cost, i64)> {
    let text = std::fs::read_to_string(file).because("what a program cost is not known")?;
    let value: Value = serde_json::from_str(&text).because("what a program cost")?;
    let number = |name: &str| value.get(name).and_then(Value::as_f64).unwrap_or_default();
    let cost = Cost {
        wall: number("wall"),
        user: number("user"),
        cpu: number("cpu"),
        peak: number("peak"),
    };
    Ok((cost, value.get("code").and_then(Value::as_i64).unwrap_or(-1)))
}
