//! Processes and process groups, as `/proc` and the kernel tell of them.
//!
//! On a system without `/proc` start times are 0 and the members of a group are not known one by
//! one; then a group is taken as alive as long as a signal could be sent to it.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, kill_process_group, test_kill_process, test_kill_process_group,
};
use tokio::time::{Instant, sleep};

/// Environment variable with the path of a call's deployment file. It is unique for a call, so that
/// it also tells which processes belong to one.
pub(crate) const MARK: &str = "ONEPROVISION_DEPLOYMENT_FILE";

/// What `/proc/PID/stat` says (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: u8,
    group: u32,
    /// Clock ticks since boot.
    pub start_time: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        // One read has all of it: 52 numbers and a name of at most 64 bytes.
        let mut text = [0_u8; 2048];
        let length = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
        Self::parse(&String::from_utf8_lossy(text.get(..length)?))
    }

    fn parse(text: &str) -> Option<Self> {
        // The second field is the program's name in brackets, with anything in it.
        let (_, fields) = text.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let group = fields.nth(1)?.parse().ok()?;
        let start_time = fields.nth(16)?.parse().ok()?;
        Some(Self { state, group, start_time })
    }

    /// A zombie has ended; only its exit status waits to be fetched.
    fn is_running(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn pid_of(raw: u32) -> Option<Pid> {
    // 1 is init, and a group of 1 would mean every process.
    i32::try_from(raw).ok().filter(|raw| *raw > 1).and_then(Pid::from_raw)
}

/// Start time of a process, 0 if it is not known.
pub(crate) fn start_time(pid: u32) -> u64 {
    Stat::read(pid).map_or(0, |stat| stat.start_time)
}

/// Whether this very process (not another one with its number) still runs.
pub(crate) fn is_running(pid: u32, start_time: u64) -> bool {
    if has_proc() {
        return Stat::read(pid)
            .is_some_and(|stat| stat.is_running() && stat.start_time == start_time);
    }
    pid_of(pid).is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// All processes that run, with what is known of them.
fn all() -> Vec<(u32, Stat)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, Stat::read(pid)?)))
        .filter(|(_, stat)| stat.is_running())
        .collect()
}

/// Whether the process was started for the call with that deployment file.
fn is_marked(pid: u32, deployment_file: &Path) -> bool {
    let mut mark = format!("{MARK}=").into_bytes();
    mark.extend_from_slice(deployment_file.as_os_str().as_encoded_bytes());
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|variable| variable == mark))
}

/// The processes of a call: the leader of their group first, if it still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    /// Process group, the pid of the driver itself.
    pub group: u32,
    /// Start time of the driver itself if it still runs.
    pub leader_start: Option<u64>,
}

/// Finds the processes of a call by the mark in their environment.
pub(crate) fn find_marked(deployment_file: &Path) -> Option<Marked> {
    let mut found: Option<Marked> = None;
    for (pid, stat) in all() {
        if stat.group > 1 && is_marked(pid, deployment_file) {
            let leader_start = (pid == stat.group).then_some(stat.start_time);
            if found.is_none() || leader_start.is_some() {
                found = Some(Marked { group: stat.group, leader_start });
            }
        }
    }
    found
}

/// Whether a process of the group runs; zombies do not count.
pub(crate) fn group_runs(group: u32) -> bool {
    let Some(pid) = pid_of(group) else { return false };
    if matches!(test_kill_process_group(pid), Err(rustix::io::Errno::SRCH)) {
        return false;
    }
    !has_proc() || all().iter().any(|(_, stat)| stat.group == group)
}

/// The processes of a group.
pub(crate) fn of_group(group: u32) -> Vec<u32> {
    let of = all().into_iter().filter(|(_, stat)| stat.group == group);
    of.map(|(pid, _)| pid).collect()
}

/// Whether the group of a call, whose leader has ended, still has a process of that call.
pub(crate) fn group_is_marked(group: u32, deployment_file: &Path) -> bool {
    all().iter().any(|(pid, stat)| stat.group == group && is_marked(*pid, deployment_file))
}

/// Asks every process of the group to end. A stopped one is woken so that it can.
pub(crate) fn ask_to_end(group: u32) {
    if let Some(pid) = pid_of(group) {
        // A group that has ended meanwhile is what is wanted.
        let _ = kill_process_group(pid, Signal::TERM);
        let _ = kill_process_group(pid, Signal::CONT);
    }
}

/// Ends every process of the group at once.
pub(crate) fn kill(group: u32) {
    if let Some(pid) = pid_of(group) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Ends a group: asks, waits for `grace`, kills. Returns whether it has ended.
pub(crate) async fn end_group(group: u32, grace: Duration) -> bool {
    ask_to_end(group);
    if has_ended_within(group, grace).await {
        return true;
    }
    kill(group);
    has_ended_within(group, Duration::from_secs(5)).await
}

async fn has_ended_within(group: u32, limit: Duration) -> bool {
    let start = Instant::now();
    let mut interval = Duration::from_millis(2);
    loop {
        if !group_runs(group) {
            return true;
        }
        if start.elapsed() >= limit {
            return false;
        }
        sleep(interval).await;
        interval = (interval * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_does_not_shift_the_fields() {
        let text = "42 (a) R 1 (b)) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat, Stat { state: b'S', group: 42, start_time: 987_654 });
        assert!(Stat::parse("42 (x) R").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn this_process_runs_and_another_one_with_its_number_does_not() {
        let pid = std::process::id();
        let start = start_time(pid);
        assert!(is_running(pid, start));
        if has_proc() {
            assert!(!is_running(pid, start + 1));
        }
    }

    #[test]
    fn no_signal_is_ever_sent_to_everybody() {
        assert_eq!(pid_of(0), None);
        assert_eq!(pid_of(1), None);
        assert_eq!(pid_of(u32::MAX), None);
        assert!(!group_runs(0) && !group_runs(1));
    }
}
