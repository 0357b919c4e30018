//! The computer that the figures were measured on.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Because as _, Result};
use crate::report::float;

/// How long the disk is asked how many `fsync`s it does.
const FSYNC_TIME: Duration = Duration::from_millis(500);

/// What is known of this computer, of the folder that databases are in, and of what was built.
pub fn describe(folder: &Path, front_end: &str) -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "cpu": field("/proc/cpuinfo", "model name"),
        "cores": cores,
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": first_line("/proc/sys/kernel/osrelease"),
        "load": first_line("/proc/loadavg"),
        "file_system": file_system(folder),
        "fsyncs_per_second": fsyncs_per_second(folder).unwrap_or_default().round(),
        "rustc": printed("rustc", &["--version"]),
        "commit": printed("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]),
        "date": jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC)
            .strftime("%Y-%m-%d %H:%M UTC").to_string(),
        "front_end": front_end,
    })
}

/// The value of `NAME : VALUE` in a file.
pub fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

/// A number of kB in the status of a process.
///
/// # Errors
/// If it is not there.
pub fn kibibytes(path: &str, name: &str) -> Result<f64> {
    let text = field(path, name).because(format!("{name} of {path}"))?;
    let number = text.split(' ').next().and_then(|number| number.parse().ok());
    number.because(format!("{name} of {path}"))
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(str::to_owned)
}

fn printed(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Type of the file system that a folder is on: that of the longest mount point above it.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        folder.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    mounts.max().map(|(_, kind)| kind)
}

/// How often a second 4 KiB can be written and be on the disk.
fn fsyncs_per_second(folder: &Path) -> std::io::Result<f64> {
    let mut file = tempfile::tempfile_in(folder)?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < FSYNC_TIME {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(float(count) / begun.elapsed().as_secs_f64())
}
