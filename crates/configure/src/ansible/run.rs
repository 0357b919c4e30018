//! One run: a playbook on some machines.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use model::HostKey;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::time::Instant;

use super::bounded;
use super::events::{Event, Report};
use super::folder::Folder;
use super::inventory::{self, Inventory};
use super::log::Log;
use super::playbook::Playbook;
use super::program::{self, Paths};
use crate::process::Group;
use crate::{Done, Heard, Machine, Run, System, Trouble, Watch};

/// How long Ansible has to end by itself once it is too late.
const GRACE: Duration = Duration::from_secs(5);
/// Longest event.
const LINE: usize = 4 << 20;

impl System {
    /// Runs a playbook on the machines of a run: for each whether it came to its end, in their order.
    ///
    /// One process does it for all of them. It ends with this call, also if that is dropped, and with
    /// this process, also if that is killed; a task that a machine is at goes on there, but no other
    /// begins.
    pub async fn run_playbook(
        &self,
        run: &Run,
        playbook: &str,
        watch: &dyn Watch,
    ) -> Vec<Result<Done, Trouble>> {
        if run.machines.is_empty() {
            return Vec::new();
        }
        let of = |why: &str| Trouble(format!("playbook {playbook}: {why}"));
        match self.play(run, playbook, watch).await {
            Ok(results) => {
                results.into_iter().map(|result| result.map_err(|why| of(&why))).collect()
            }
            Err(why) => run.machines.iter().map(|_| Err(of(&why))).collect(),
        }
    }

    async fn play(
        &self,
        run: &Run,
        playbook: &str,
        watch: &dyn Watch,
    ) -> Result<Vec<Result<Done, String>>, String> {
        let deadline = Instant::now() + run.deadline;
        let late = || format!("it was ended after {}", length(run.deadline));
        let found = Playbook::find(playbook)?;
        let galaxy = match &found {
            Playbook::Ours(_) => None,
            Playbook::Theirs(path) => {
                tokio::time::timeout_at(deadline, self.galaxy(path)).await.map_err(|_| late())??
            }
        };
        let unwritten = |error: io::Error| self.no_folder(&error);
        let folder = Folder::new(&self.settings.temporary).map_err(unwritten)?;
        let known_hosts = self.known_hosts(run.provision);
        let all = || run.machines.iter().chain(&run.others);
        let twice = inventory::twice(all());
        let mut inventory = Inventory::new(&folder, &known_hosts, run.provision);
        inventory = inventory.of_release(run.release.as_deref());
        let mut add = |machine: &Machine| match twice.contains(machine.address.as_str()) {
            true => Err(format!("more than one host has the address {}", machine.address)),
            false => inventory.add(machine),
        };
        let added: Vec<_> = run.machines.iter().map(&mut add).collect();
        // Another machine that cannot be told of is not looked at.
        run.others.iter().for_each(|machine| drop(add(machine)));
        let ready: Vec<_> =
            run.machines.iter().zip(&added).filter(|(_, a)| a.is_ok()).map(|(m, _)| m).collect();
        if ready.is_empty() {
            return Ok(added.into_iter().map(|a| a.and(Err(String::new()))).collect());
        }
        let inventory = inventory.write().map_err(unwritten)?;
        // Names of hosts in a file: a command line has an end.
        // A play on this computer is a part of the playbook, too: without a limit it would run. To Ansible
        // a host of one of these addresses is this computer.
        let is_here =
            |m: &&Machine| ["localhost", "127.0.0.1", "::1"].contains(&m.address.as_str());
        let mut limit = ready.iter().map(|m| format!("{}\n", m.address)).collect::<String>();
        if !run.machines.iter().chain(&run.others).any(|machine| is_here(&machine)) {
            limit.push_str("localhost\n");
        }
        let limit = folder.write("limit", &limit).map_err(unwritten)?;
        let (path, beside) = match &found {
            Playbook::Ours(name) => (folder.path(&format!("ansible/{name}.yml")), None),
            Playbook::Theirs(path) => (path.clone(), Some(path.as_path())),
        };
        let paths = Paths { beside, galaxy: galaxy.as_deref() };
        let mut command = program::playbook(&self.settings.ansible, &folder, &paths);
        command.arg("-i").arg(inventory);
        if all().count() > ready.len() {
            let mut limited = std::ffi::OsString::from("@");
            limited.push(limit);
            command.arg("--limit").arg(limited);
        }
        let forks = ready.len().min(self.settings.forks).max(1);
        command.arg("--forks").arg(forks.to_string()).arg("--").arg(path);

        let masks = inventory::secrets(all()).masks();
        let log = Log::new(&self.logs(run.provision), &found.stem(), masks);
        let keys = ready.iter().map(|m| (m.address.clone(), m.host)).collect();
        let mut playing = Playing::start(command, folder, log, keys)?;
        let ended = playing.attend(deadline, watch).await;
        let end = playing.end(ended, late);
        Ok(run
            .machines
            .iter()
            .zip(added)
            .map(|(machine, added)| added.and_then(|()| playing.verdict(&machine.address, &end)))
            .collect())
    }
}

/// How Ansible ended.
enum Ended {
    /// By itself.
    Status(ExitStatus),
    /// It was too late.
    Late,
    /// Nobody knows.
    Unknown(io::Error),
}

/// Ansible while it runs. What is dropped first comes first: the processes, the sockets that end those
/// of them that have sessions of their own, and the folder that they use.
struct Playing {
    group: Group,
    events: UnixStream,
    output: pipe::Receiver,
    folder: Folder,
    log: Log,
    report: Report,
    keys: BTreeMap<String, HostKey>,
    line: Vec<u8>,
}

impl Playing {
    fn start(
        mut command: Command,
        folder: Folder,
        log: Log,
        keys: BTreeMap<String, HostKey>,
    ) -> Result<Self, String> {
        let broken = |error: io::Error| format!("Ansible cannot be started: {error}");
        let output = program::output(&mut command).map_err(broken)?;
        let (ours, its) = std::os::unix::net::UnixStream::pair().map_err(broken)?;
        ours.set_nonblocking(true).map_err(broken)?;
        let events = UnixStream::from_std(ours).map_err(broken)?;
        command.stdin(Stdio::from(OwnedFd::from(its)));
        let group = Group::spawn(&mut command).map_err(|e| program::no_start(&command, &e))?;
        let report = Report::new(keys.keys().cloned().collect());
        Ok(Self { group, events, output, folder, log, report, keys, line: Vec::new() })
    }

    /// Reads what Ansible prints and tells, until it ends.
    async fn attend(&mut self, deadline: Instant, watch: &dyn Watch) -> Ended {
        let (mut printed, mut told) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let (mut prints, mut tells) = (true, true);
        let mut next = (deadline, Signal::TERM);
        let ended = loop {
            tokio::select! {
                status = self.group.child().wait() => break match status {
                    _ if next.1 == Signal::KILL => Ended::Late,
                    Ok(status) => Ended::Status(status),
                    Err(error) => Ended::Unknown(error),
                },
                read = self.output.read(&mut printed), if prints => match read {
                    Ok(n) if n > 0 => self.log.take(&printed[..n]),
                    _ => prints = false,
                },
                read = self.events.read(&mut told), if tells => match read {
                    Ok(n) if n > 0 => self.hear(&told[..n], watch),
                    _ => tells = false,
                },
                () = tokio::time::sleep_until(next.0) => {
                    self.group.signal(next.1);
                    next = (Instant::now() + GRACE, Signal::KILL);
                }
            }
        };
        // All that it said is in the pipes. Their ends may be held by what it left behind, so their
        // end is not waited for.
        while let Ok(n @ 1..) = self.output.try_read(&mut printed) {
            self.log.take(&printed[..n]);
        }
        while let Ok(n @ 1..) = self.events.try_read(&mut told) {
            self.hear(&told[..n], watch);
        }
        self.log.end();
        for trouble in [self.log.trouble(), self.report.trouble()].into_iter().flatten() {
            for key in self.keys.values() {
                watch.heard(*key, Heard::Warning(trouble.clone()));
            }
        }
        ended
    }

    /// Takes events in, line by line.
    fn hear(&mut self, told: &[u8], watch: &dyn Watch) {
        self.line.extend_from_slice(told);
        let lines = std::mem::take(&mut self.line);
        let mut rest = lines.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.event(&rest[..end], watch);
            rest = &rest[end + 1..];
        }
        if rest.len() <= LINE {
            self.line = rest.to_vec();
        }
    }

    fn event(&mut self, line: &[u8], watch: &dyn Watch) {
        // The plugin is ours, and without its last event nothing is done.
        let Some(mut event) = self.report.read(line) else { return };
        let clean = |text: &mut String| {
            *text = bounded(&self.folder.shorten(&self.log.mask(text)));
        };
        match &mut event {
            Event::Begun { task, .. } => clean(task),
            Event::Ended { task, message, place, .. } => {
                [task, message, place].into_iter().for_each(clean);
            }
            Event::Warning { message, .. } => clean(message),
            Event::Play { pattern } => clean(pattern),
            Event::Stats(_) => {}
        }
        if let Some((host, heard)) = self.report.take(event)
            && let Some(key) = self.keys.get(&host)
        {
            watch.heard(*key, heard);
        }
    }

    /// Why Ansible did not end as it should, if so.
    fn end(&mut self, ended: Ended, late: impl Fn() -> String) -> Option<String> {
        let status = match ended {
            Ended::Late => return Some(late()),
            Ended::Unknown(error) => return Some(format!("how Ansible ended is unknown: {error}")),
            Ended::Status(status) => status,
        };
        let said = || bounded(&self.folder.shorten(&program::said(self.log.tail())));
        match (status.code(), status.signal()) {
            (Some(0), _) => None,
            // Some hosts failed (2), were not reachable (4).
            (Some(2 | 4 | 6), _) if self.report.any_failed() => None,
            (Some(code), _) => {
                Some(format!("ansible-playbook ended with status {code}: {}", said()))
            }
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Some(format!("ansible-playbook was killed by signal {signal}"))
            }
        }
    }

    fn verdict(&self, name: &str, end: &Option<String>) -> Result<Done, String> {
        let verdict = self.report.verdict(name, end.as_deref());
        verdict.map_err(|why| format!("{why} {}", self.log.reference()))
    }
}

/// A length of time for people.
fn length(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
