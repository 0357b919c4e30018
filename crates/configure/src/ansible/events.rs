//! What the plugin tells, and what follows from it for each host.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{Done, Heard, TaskResult};

/// A line of the plugin.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// A play begins, on some of the hosts that fit its pattern.
    Play { pattern: String },
    /// A task begins on a host.
    Begun { host: String, task: String },
    /// A task has ended on a host.
    Ended { host: String, task: String, result: How, message: String, place: String },
    /// A warning that belongs to a host.
    Warning { host: String, message: String },
    /// All has come to its end.
    Stats(Stats),
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    Ok,
    Changed,
    Skipped,
    Ignored,
    Failed,
    Unreachable,
}

/// The end of a run, as Ansible counts it.
#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    /// Hosts on which anything was done or skipped.
    hosts: BTreeMap<String, Counts>,
    /// Hosts on which a play began.
    begun: BTreeSet<String>,
    /// Plays that never began on a host, though they were for it.
    missed: BTreeMap<String, Vec<String>>,
    /// Hosts whose failure ended a play for all hosts.
    ended_by: Vec<String>,
    /// Whether a play was ended because too many hosts failed.
    stopped: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Counts {
    changed: u32,
    failures: u32,
    unreachable: u32,
}

/// What is known of a run.
#[derive(Default)]
pub(super) struct Report {
    /// The hosts of the run. Ansible knows more: this computer, and those that a playbook adds.
    names: BTreeSet<String>,
    hosts: BTreeMap<String, Host>,
    patterns: BTreeSet<String>,
    stats: Option<Stats>,
    /// How many lines were none.
    unread: usize,
}

#[derive(Default)]
struct Host {
    /// The task that runs.
    task: Option<String>,
    /// The failure that came last: task, message, place.
    failure: Option<(String, String, String)>,
}

impl Counts {
    fn is_failed(&self) -> bool {
        self.failures > 0 || self.unreachable > 0
    }
}

impl Report {
    /// Nothing yet of a run on these hosts.
    pub fn new(names: BTreeSet<String>) -> Self {
        Self { names, ..Self::default() }
    }

    /// Understands a line of the plugin. One that is not understood is no event, but is counted.
    pub fn read(&mut self, line: &[u8]) -> Option<Event> {
        let event = serde_json::from_slice(line).ok();
        self.unread += usize::from(event.is_none());
        event
    }

    /// What is to be said of lines that were not understood, if there were any.
    pub fn trouble(&self) -> Option<String> {
        let n = self.unread;
        (n > 0).then(|| {
            format!("{n} of the messages in which Ansible tells what it does were not understood")
        })
    }

    /// Takes an event in. What is to be told of it, and of which host.
    pub fn take(&mut self, event: Event) -> Option<(String, Heard)> {
        match event {
            Event::Play { pattern } => {
                self.patterns.insert(pattern);
                None
            }
            Event::Begun { host, task } => {
                self.hosts.entry(host.clone()).or_default().task = Some(task.clone());
                Some((host, Heard::Begun(task)))
            }
            Event::Ended { host, task, result, message, place } => {
                let entry = self.hosts.entry(host.clone()).or_default();
                entry.task = None;
                if matches!(result, How::Failed | How::Unreachable) {
                    entry.failure = Some((task.clone(), message.clone(), place));
                }
                let result = match result {
                    How::Ok => TaskResult::Ok,
                    How::Changed => TaskResult::Changed,
                    How::Skipped => TaskResult::Skipped,
                    How::Ignored => TaskResult::Ignored(message),
                    How::Failed => TaskResult::Failed(message),
                    How::Unreachable => TaskResult::Unreachable(message),
                };
                Some((host, Heard::Ended { task, result }))
            }
            Event::Warning { host, message } => Some((host, Heard::Warning(message))),
            Event::Stats(stats) => {
                self.stats = Some(stats);
                None
            }
        }
    }

    /// How a host came out. `end` says why Ansible did not come to its end as it should, if so.
    pub fn verdict(&self, name: &str, end: Option<&str>) -> Result<Done, String> {
        let host = self.hosts.get(name);
        let failure = host.and_then(|host| host.failure.as_ref()).map(told);
        let Some(stats) = &self.stats else {
            let end = end.unwrap_or("Ansible ended without saying how");
            let task = host.and_then(|host| host.task.as_ref());
            return Err(match (failure, task) {
                (Some(failure), None) => failure,
                (_, Some(task)) => format!("{end}, during task \"{task}\""),
                (None, None) => end.to_owned(),
            });
        };
        let counts = stats.hosts.get(name).copied().unwrap_or_default();
        if counts.is_failed() {
            return Err(failure.unwrap_or_else(|| "it failed, and Ansible did not say how".into()));
        }
        let missed = stats.missed.get(name).map_or(&[][..], Vec::as_slice);
        if !missed.is_empty() || stats.stopped || !stats.ended_by.is_empty() {
            return Err(self.early(missed));
        }
        // Nobody is told of its failure, so it is everybody's.
        let mut failed = stats.hosts.iter().filter(|(_, counts)| counts.is_failed());
        if let Some((stranger, _)) = failed.find(|(name, _)| !self.names.contains(*name)) {
            return Err(self.because("it did not come to its end", stranger));
        }
        match end {
            Some(end) => Err(end.to_owned()),
            None if !stats.begun.contains(name) => Err(self.unmatched()),
            None => Ok(Done { changed: counts.changed }),
        }
    }

    /// Whether Ansible counts a failure.
    pub fn any_failed(&self) -> bool {
        self.stats.as_ref().is_some_and(|stats| stats.hosts.values().any(Counts::is_failed))
    }

    /// Why a host was left out before the end.
    fn early(&self, plays: &[String]) -> String {
        let Some(stats) = &self.stats else { return String::new() };
        let failed = |name: &&String| stats.hosts.get(*name).is_some_and(Counts::is_failed);
        let culprit = stats.ended_by.first().or_else(|| stats.hosts.keys().find(failed));
        let mut why = "it was ended before it was through with this host".to_owned();
        if let [first, ..] = plays {
            why = format!("it was ended before the play \"{first}\" began on this host");
        }
        match culprit {
            Some(culprit) => self.because(&why, culprit),
            None => why,
        }
    }

    /// What came of a host's failure, with that.
    fn because(&self, what: &str, culprit: &str) -> String {
        match self.hosts.get(culprit).and_then(|host| host.failure.as_ref()) {
            Some(failure) => format!("{what}, because {culprit} failed: {}", told(failure)),
            None => format!("{what}, because {culprit} failed"),
        }
    }

    /// Nothing was done on a host.
    fn unmatched(&self) -> String {
        let patterns: Vec<_> = self.patterns.iter().map(String::as_str).collect();
        match patterns.is_empty() {
            true => "it has no play".to_owned(),
            false => format!(
                "none of its plays is for this host: they are for {}, and this host is in the groups \
                 nodes and targets",
                patterns.join("; ")
            ),
        }
    }
}

/// A failure for people.
fn told((task, message, place): &(String, String, String)) -> String {
    // Behind many lines a place would be taken for a part of the last one.
    let begin = if message.contains('\n') { "\nat" } else { " at" };
    let place = if place.is_empty() { String::new() } else { format!("{begin} {place}") };
    format!("task \"{task}\": {message}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lines: &[&str]) -> Report {
        let mut report = Report::new(["a", "b", "c"].map(str::to_owned).into());
        for line in lines {
            report.take(serde_json::from_str(line).unwrap());
        }
        report
    }

    const FAILED: &str = r#"{"event":"ended","host":"a","task":"T","result":"failed","message":"no","place":"/p.yml:3"}"#;
    const BEGUN: &str = r#"{"event":"begun","host":"b","task":"U"}"#;

    fn stats(hosts: &str, more: &str) -> String {
        format!(
            r#"{{"event":"stats","hosts":{{{hosts}}},"begun":["a","b"],"missed":{{}},"ended_by":[],"stopped":false{more}}}"#
        )
        .replace(r#""missed":{},"ended_by":[],"stopped":false,"#, "")
    }

    fn counts(name: &str, failures: u32) -> String {
        format!(
            r#""{name}":{{"ok":1,"changed":2,"failures":{failures},"unreachable":0,"skipped":0}}"#
        )
    }

    #[test]
    fn one_host_s_failure_is_that_host_s() {
        let end = stats(&format!("{},{}", counts("a", 1), counts("b", 0)), "");
        let report = report(&[FAILED, BEGUN, &end]);
        assert_eq!(report.verdict("b", None), Ok(Done { changed: 2 }));
        assert_eq!(report.verdict("a", None).unwrap_err(), "task \"T\": no at /p.yml:3");
        assert!(report.verdict("c", None).unwrap_err().contains("no play"));
        assert!(report.verdict("b", Some("killed")).unwrap_err().contains("killed"));
        assert!(report.any_failed());
    }

    #[test]
    fn a_failure_of_nobody_s_host_is_everybody_s() {
        let end = stats(&format!("{},{}", counts("localhost", 1), counts("b", 0)), "");
        let failed = FAILED.replace(r#""a""#, r#""localhost""#);
        let because = "it did not come to its end, because localhost failed: task \"T\": no at";
        for report in [report(&[&failed, BEGUN, &end]), report(&[&end])] {
            for name in ["a", "b"] {
                let error = report.verdict(name, None).unwrap_err();
                assert!(error.starts_with(because.split(':').next().unwrap()), "{error}");
            }
        }
        let error = report(&[&failed, &end]).verdict("b", None).unwrap_err();
        assert!(error.starts_with(because), "{error}");
    }

    #[test]
    fn a_failure_that_was_rescued_is_none() {
        let report = report(&[FAILED, &stats(&counts("a", 0), "")]);
        assert_eq!(report.verdict("a", None), Ok(Done { changed: 2 }));
    }

    #[test]
    fn without_an_end_nothing_is_done() {
        let report = report(&[FAILED, BEGUN]);
        assert_eq!(report.verdict("a", Some("killed")).unwrap_err(), "task \"T\": no at /p.yml:3");
        assert_eq!(report.verdict("b", Some("killed")).unwrap_err(), "killed, during task \"U\"");
        assert_eq!(report.verdict("c", Some("killed")).unwrap_err(), "killed");
        assert!(report.verdict("c", None).is_err());
    }

    #[test]
    fn what_was_ended_early_is_not_done() {
        let both = format!("{},{}", counts("a", 1), counts("b", 0));
        for more in [
            r#","missed":{"b":["second"]},"ended_by":[],"stopped":false"#,
            r#","missed":{},"ended_by":["a"],"stopped":false"#,
            r#","missed":{},"ended_by":[],"stopped":true"#,
        ] {
            let error = report(&[FAILED, &stats(&both, more)]).verdict("b", None).unwrap_err();
            assert!(error.ends_with("because a failed: task \"T\": no at /p.yml:3"), "{error}");
        }
    }

    #[test]
    fn lines_that_are_none_are_counted() {
        let mut report = Report::default();
        assert!(report.read(BEGUN.as_bytes()).is_some());
        assert_eq!(report.trouble(), None);
        for line in [&br#"{"event":"begun","host":"b","task":"\udcff"}"#[..], b"\xff", b"{}"] {
            assert!(report.read(line).is_none());
        }
        assert!(report.trouble().unwrap().starts_with("3 of the messages"));
    }

    #[test]
    fn events_are_told() {
        let mut report = Report::default();
        let mut told = |line: &str| report.take(serde_json::from_str(line).unwrap());
        assert_eq!(told(r#"{"event":"play","pattern":"all"}"#), None);
        assert_eq!(told(BEGUN), Some(("b".into(), Heard::Begun("U".into()))));
        let result = TaskResult::Failed("no".into());
        assert_eq!(told(FAILED), Some(("a".into(), Heard::Ended { task: "T".into(), result })));
        let warning = r#"{"event":"warning","host":"a","message":"old"}"#;
        assert_eq!(told(warning), Some(("a".into(), Heard::Warning("old".into()))));
    }
}
