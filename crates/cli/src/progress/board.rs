//! What every host does at present, and for how long: as lines for a terminal, or as a heartbeat.

use std::collections::BTreeMap;

use model::{HostKey, HostState};
use unicode_width::UnicodeWidthChar;

use super::words::elapsed;

/// Lines of the terminal that are left to what was printed before.
const KEPT: usize = 4;

/// What is going on. Times are milliseconds since the Unix epoch, of the clock of the operation.
#[derive(Debug, Default)]
pub struct Board {
    /// The hosts that are worked on.
    hosts: BTreeMap<HostKey, Doing>,
    totals: String,
    /// What the operation as a whole does, and since when.
    phase: Option<(String, i64)>,
    begun: Option<i64>,
}

#[derive(Debug)]
struct Doing {
    label: String,
    text: String,
    state: HostState,
    since: i64,
}

impl Board {
    /// A part of the operation begins.
    pub fn phase(&mut self, text: String, now: i64) {
        self.begun.get_or_insert(now);
        self.phase = Some((text, now));
    }

    /// The hosts by their state, in words.
    pub fn totals(&mut self, totals: String) {
        self.totals = totals;
    }

    /// A host does something. The time runs on as long as it is the same.
    pub fn host(&mut self, key: HostKey, label: String, text: &str, state: HostState, now: i64) {
        self.begun.get_or_insert(now);
        let doing = self.hosts.entry(key).or_insert_with(|| Doing {
            label: String::new(),
            text: String::new(),
            state,
            since: now,
        });
        if doing.text != text {
            doing.text = text.to_owned();
            doing.since = now;
        }
        doing.label = label;
        doing.state = state;
    }

    /// A host is finished with, for good or ill.
    pub fn settled(&mut self, key: HostKey) {
        self.hosts.remove(&key);
    }

    /// The lines of a terminal of that size: hosts, those that take longest if not all have a place,
    /// a summary of the others, totals.
    pub fn lines(&self, now: i64, (rows, columns): (usize, usize), color: bool) -> Vec<String> {
        let places = rows.saturating_sub(KEPT).max(1);
        let mut hosts: Vec<(&HostKey, &Doing)> = self.hosts.iter().collect();
        let mut others = Vec::new();
        if hosts.len() > places {
            // One that has not had its turn yet is of the least interest.
            let waits = |doing: &Doing| doing.state <= HostState::Registered;
            hosts.sort_by_key(|(key, doing)| (waits(doing), doing.since, **key));
            others = hosts.split_off(places);
            hosts.sort_by_key(|(key, _)| **key);
        }
        let mut lines = Vec::new();
        for (_, doing) in hosts {
            let text = format!("  {}: {}", doing.label, doing.text);
            lines.push(timed(&text, now - doing.since, columns, color));
        }
        if !others.is_empty() {
            let mut states: BTreeMap<HostState, usize> = BTreeMap::new();
            for (_, doing) in &others {
                *states.entry(doing.state).or_default() += 1;
            }
            let states: Vec<String> =
                states.iter().rev().map(|(state, n)| format!("{n} {state}")).collect();
            let text = format!("  … and {} more: {}", others.len(), states.join(", "));
            lines.push(cut(&text, columns));
        }
        if let Some(begun) = self.begun {
            let phase = self.phase.as_ref().map(|(text, _)| text.as_str()).unwrap_or_default();
            let text = match (phase, self.totals.as_str()) {
                ("", totals) => totals.to_owned(),
                (phase, "") => phase.to_owned(),
                (phase, totals) => format!("{phase}: {totals}"),
            };
            lines.push(timed(&text, now - begun, columns, color));
        }
        lines
    }

    /// One line that says what is waited for and how long; `None` while nothing has begun.
    pub fn heartbeat(&self, now: i64) -> Option<String> {
        let total = elapsed(now - self.begun?);
        let longest = self.hosts.values().min_by_key(|doing| doing.since);
        let waiting = match (longest, &self.phase) {
            (Some(doing), _) => {
                let more = match self.hosts.len() - 1 {
                    0 => String::new(),
                    more => format!("; and {more} more"),
                };
                let since = elapsed(now - doing.since);
                format!("{}: {} for {since}{more}", doing.label, doing.text)
            }
            (None, Some((text, since))) => format!("{text} for {}", elapsed(now - since)),
            (None, None) => return None,
        };
        let totals = if self.totals.is_empty() { "at work" } else { &self.totals };
        Some(format!("after {total}: {totals}. Waiting: {waiting}"))
    }
}

/// A text, and how long it has been so.
fn timed(text: &str, milliseconds: i64, columns: usize, color: bool) -> String {
    let time = elapsed(milliseconds);
    let text = cut(text, columns.saturating_sub(time.len() + 1));
    if color { format!("{text} \x1b[2m{time}\x1b[0m") } else { format!("{text} {time}") }
}

/// The beginning of a text that leaves the last column of the terminal free, on one line.
fn cut(text: &str, columns: usize) -> String {
    let most = columns.saturating_sub(1);
    let mut used = 0;
    let mut kept = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        used += c.width().unwrap_or(0);
        if used > most {
            kept.pop();
            kept.push('…');
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(hosts: u32) -> Board {
        let mut board = Board::default();
        board.phase("Deploying".into(), 1_000);
        board.totals(format!("0 of {hosts} enabled, {hosts} deploying"));
        for key in 0..hosts {
            let begun = 1_000 + i64::from(key) * 1_000;
            let label = format!("host {key} (node{key:02})");
            board.host(HostKey(key), label, "deploying", HostState::Deploying, begun);
        }
        board
    }

    #[test]
    fn every_host_has_a_line_and_the_time_that_it_takes() {
        let mut board = board(3);
        board.host(HostKey(1), "host 1 (日本)".into(), "machine m-1", HostState::Deployed, 60_000);
        board.host(HostKey(0), "host 0 (node00)".into(), "deploying", HostState::Deploying, 65_000);
        board.settled(HostKey(2));
        assert_eq!(
            board.lines(66_500, (24, 80), false),
            [
                "  host 0 (node00): deploying 1m 05s",
                "  host 1 (日本): machine m-1 6s",
                "Deploying: 0 of 3 enabled, 3 deploying 1m 05s",
            ]
        );
        assert_eq!(
            board.lines(66_500, (24, 20), true),
            [
                "  host 0 (n… \x1b[2m1m 05s\x1b[0m",
                "  host 1 (日本)… \x1b[2m6s\x1b[0m",
                "Deploying: … \x1b[2m1m 05s\x1b[0m",
            ]
        );
    }

    #[test]
    fn a_small_terminal_shows_those_that_take_longest_and_sums_up_the_others() {
        let mut board = board(50);
        board.host(HostKey(0), "host 0".into(), "machine m-0", HostState::Deployed, 100_000);
        let lines = board.lines(101_000, (7, 80), false);
        assert_eq!(
            lines,
            [
                "  host 1 (node01): deploying 1m 39s",
                "  host 2 (node02): deploying 1m 38s",
                "  host 3 (node03): deploying 1m 37s",
                "  … and 47 more: 1 deployed, 46 deploying",
                "Deploying: 0 of 50 enabled, 50 deploying 1m 40s",
            ]
        );
        assert!(board.lines(0, (0, 0), true).len() <= 3);
    }

    #[test]
    fn a_heartbeat_says_what_is_waited_for_and_how_long() {
        assert_eq!(Board::default().heartbeat(5), None);
        let mut waiting = board(2);
        assert_eq!(
            waiting.heartbeat(11_000).as_deref(),
            Some(
                "after 10s: 0 of 2 enabled, 2 deploying. \
                 Waiting: host 0 (node00): deploying for 10s; and 1 more"
            )
        );
        waiting.settled(HostKey(0));
        waiting.settled(HostKey(1));
        waiting.phase("Deleting provision objects".into(), 3_600_000);
        assert_eq!(
            waiting.heartbeat(7_260_000).as_deref(),
            Some(
                "after 2h 00m: 0 of 2 enabled, 2 deploying. \
                 Waiting: Deleting provision objects for 1h 01m"
            )
        );
    }
}
