//! What is made of what was seen. Pure.

use super::Verdict;
use super::caller::{Seen, short};
use crate::api::ListedMachine;
use crate::error_block::{CLOSING, OPENING};
use crate::executable::EXIT_UNKNOWN;
use crate::executable::outcome::{Ending, IdLine, second_id};
use crate::poll::PollReport;

/// A verdict and what was seen.
pub(super) type Judged = (Verdict, String);

fn kept(seen: impl Into<String>) -> Judged {
    (Verdict::Kept, seen.into())
}

fn warning(seen: impl Into<String>) -> Judged {
    (Verdict::Warning, seen.into())
}

fn broken(seen: impl Into<String>) -> Judged {
    (Verdict::Broken, seen.into())
}

/// The exit status of a call that had to fail.
pub(super) fn failure_status(seen: &Seen) -> Judged {
    match seen.ending {
        Ending::Exit(0) => broken("exit status 0, as if it had been done"),
        Ending::Exit(code) if code == i32::from(EXIT_UNKNOWN) => warning(
            "exit status 75: it says that it does not know, though nothing can have been made",
        ),
        ending => match ending {
            Ending::Exit(_) => kept(ending.to_string()),
            _ => broken(format!("it was ended by {ending}")),
        },
    }
}

/// Its standard output.
pub(super) fn failure_output(seen: &Seen) -> Judged {
    match seen.stdout.trim_ascii().is_empty() {
        true => kept("nothing on standard output"),
        false => broken(format!(
            "on standard output stands {:?}",
            short(String::from_utf8_lossy(&seen.stdout).trim())
        )),
    }
}

/// Its standard error; `None` if the reason stands on the wrong stream.
pub(super) fn error_block(seen: &Seen) -> Option<Judged> {
    let nothing = |bytes: &[u8]| bytes.trim_ascii().is_empty();
    if nothing(&seen.stderr) {
        return nothing(&seen.stdout).then(|| broken("no reason at all"));
    }
    let Ok(text) = std::str::from_utf8(&seen.stderr) else {
        return Some(broken("what stands on standard error is not UTF-8"));
    };
    let mut lines = text.lines().map(str::trim);
    if !lines.any(|line| line == OPENING) {
        // A marker that is nearly right is not one.
        let garbled = text.contains("ERROR MESSAGE");
        let seen = format!("text without the block: {:?}", short(text.trim()));
        return Some(if garbled { broken(seen) } else { warning(seen) });
    }
    let mut reason = None;
    let mut closed = false;
    for line in lines {
        if line == CLOSING {
            closed = true;
            break;
        }
        if reason.is_none() && !line.is_empty() {
            reason = Some(line);
        }
    }
    let control = text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    Some(match (closed, reason) {
        (false, _) => broken(format!("the block is not closed with {CLOSING:?}")),
        (true, None) => broken("the block is empty"),
        (true, Some(_)) if control => broken("there are control characters in it"),
        (true, Some(reason)) => kept(format!("{:?}", short(reason))),
    })
}

/// What a deploy printed that exited with 0.
pub(super) fn id(seen: &Seen) -> Judged {
    match &seen.id {
        IdLine::None => {
            broken("exit status 0 and no id: there is a machine, and nobody knows which")
        }
        IdLine::Unusable(text) => broken(format!("{:?} can be no id", short(text))),
        IdLine::Blanks(id) => broken(format!("{:?} has blanks in it", short(id.as_str()))),
        IdLine::Id(id) => match second_id(&seen.stdout, id) {
            Some(other) => broken(format!("after {id} it printed another one, {other}")),
            None => kept(id.to_string()),
        },
    }
}

/// Whether the id came early enough: a driver that is killed while it waits must have told it.
pub(super) fn id_early(seen: &Seen) -> Judged {
    let took = seen.took.as_secs_f64();
    let after = seen.id_after.map_or(took, |after| after.as_secs_f64());
    let seen = format!("after {after:.1} of {took:.1} s");
    if took > 5.0 && after > took * 0.8 { warning(seen) } else { kept(seen) }
}

/// What poll printed of a machine that exists.
pub(super) fn poll(seen: &Seen) -> Result<(PollReport, Judged), Judged> {
    if !seen.ok() {
        return Err(broken(seen.words()));
    }
    let report = PollReport::parse(&seen.stdout);
    if report.attributes.iter().next().is_none() {
        let text = String::from_utf8_lossy(&seen.stdout);
        return Err(broken(match text.trim() {
            "" => "it printed nothing".to_owned(),
            text => format!("no KEY=VALUE in {:?}", short(text)),
        }));
    }
    let line = short(&report.to_masked_line());
    Ok((report, kept(line)))
}

/// The state that it told.
pub(super) fn poll_state(report: &PollReport) -> Judged {
    match report.attributes.text("STATE").map(str::trim) {
        None => warning(
            "no STATE, as with drivers of the old tool: that a machine is off, or gone, is not seen",
        ),
        Some(state @ ("a" | "p" | "e" | "d" | "-" | "A" | "P" | "E" | "D")) => {
            kept(format!("STATE={state}"))
        }
        Some(state) => broken(format!("STATE={}", short(state))),
    }
}

/// How a machine stands in the list.
pub(super) fn listed(machine: &ListedMachine, key: &str, host: &str, provision: &str) -> Judged {
    let text = |name| machine.attributes.text(name).map(str::trim).unwrap_or_default();
    for (name, wanted) in [("KEY", key), ("NAME", host), ("PROVISION_ID", provision)] {
        if !text(name).is_empty() && text(name) != wanted {
            return broken(format!("{name} is {:?}, and not {wanted:?}", short(text(name))));
        }
    }
    if text("KEY").is_empty() && text("NAME").is_empty() {
        return broken("it has neither KEY nor NAME, so that nobody can tell whose it is");
    }
    let created = text("CREATED").parse::<u64>().is_ok();
    let lacks: Vec<&str> = ["KEY", "NAME", "PROVISION_ID"]
        .into_iter()
        .filter(|name| text(name).is_empty())
        .chain((!created).then_some("CREATED in seconds"))
        .collect();
    match lacks.is_empty() {
        true => kept("it is there with all marks"),
        false => warning(format!("it is there, without {}", lacks.join(", "))),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
