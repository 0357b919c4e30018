//! `--events`: what happens, as newline-delimited JSON on standard output, for programs. Described
//! in `docs/EVENTS.md`; the schema is `events/schema.json`.
//!
//! A process has one standard output and so one stream. A reader that is slow or gone holds nothing
//! up: a thread of its own writes.

use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use configure::{Heard, TaskResult};
use engine::Report;
use engine::observe::{Note, Phase};
use journal::{Event, HostRecord, Machine, Outcome, Power, ProvisionRecord, Step, Subject};
use model::HostKey;
use serde_json::{Map, Value, json};

use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::progress::{counts, subject_label};

/// The JSON Schema of a line.
pub const SCHEMA: &str = include_str!("events/schema.json");

/// Version of the lines' form. A new kind of event, or a new key, does not change it.
const VERSION: u32 = 1;

/// How long a reader may take for what is left when the command ends.
const LAST: Duration = Duration::from_secs(10);

static STREAM: Mutex<Option<Stream>> = Mutex::new(None);

struct Stream {
    lines: Sender<String>,
    /// Closed when all is written, or nobody reads any more; before that, why nothing more can be written.
    written: Receiver<std::io::Error>,
    sequence: u64,
}

fn stream() -> MutexGuard<'static, Option<Stream>> {
    STREAM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the stream. From now on standard output has nothing else.
pub fn start() {
    let (lines, waiting) = channel::<String>();
    let (done, written) = channel();
    std::thread::spawn(move || {
        let mut stdout = std::io::stdout();
        for line in waiting {
            if let Err(error) = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
                // The operation goes on. That nobody reads any more is no error.
                if error.kind() != ErrorKind::BrokenPipe {
                    let _ = done.send(error);
                }
                return;
            }
        }
    });
    *stream() = Some(Stream { lines, written, sequence: 0 });
}

/// Whether there is a stream.
pub fn active() -> bool {
    stream().is_some()
}

/// The last event: how the command ends. Waits until it is written.
///
/// # Errors
/// If standard output could not be written, so that events are missing.
pub fn end(exit: Exit, error: Option<&CliError>) -> Result<(), CliError> {
    emit(|| json!({ "type": "exit", "code": exit.code(), "error": error.map(CliError::value) }));
    let Some(Stream { lines, written, .. }) = stream().take() else { return Ok(()) };
    drop(lines);
    // If it ends, or takes too long, there is nothing more to do.
    match written.recv_timeout(LAST) {
        // Whoever repeated a command for that might buy machines twice.
        Ok(error) => Err(CliError::caused(
            "events are missing: standard output cannot be written",
            error,
        )
        .code(Code::System)
        .hint(
            "the operation itself came to the end that is told above; do not repeat it for that",
        )),
        Err(_) => Ok(()),
    }
}

fn emit(event: impl FnOnce() -> Value) {
    let mut stream = stream();
    let Some(stream) = stream.as_mut() else { return };
    let mut line = Map::new();
    stream.sequence += 1;
    line.insert("version".into(), VERSION.into());
    line.insert("sequence".into(), stream.sequence.into());
    line.insert(
        "time".into(),
        jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string().into(),
    );
    if let Value::Object(event) = event() {
        line.extend(event);
    }
    // Nobody reads any more: see `start`.
    let _ = stream.lines.send(format!("{}\n", Value::Object(line)));
}

/// An event of the journal.
pub fn event(record: &ProvisionRecord, event: &Event) {
    emit_if(|| of_event(record, event));
}

/// What came of a step.
pub fn outcome(record: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome) {
    emit_if(|| Some(of_outcome(record, subject, step, outcome)));
}

/// What is not kept.
pub fn note(record: &ProvisionRecord, note: &Note) {
    emit_if(|| of_note(record, note));
}

/// What is waited for.
pub fn heartbeat(message: &str) {
    emit_if(|| Some(json!({ "type": "heartbeat", "message": message })));
}

/// How an operation ended.
pub fn report(report: &Report) {
    emit_if(|| Some(of_report(report)));
}

fn emit_if(event: impl FnOnce() -> Option<Value>) {
    if active()
        && let Some(event) = event()
    {
        emit(|| event);
    }
}

fn of_event(record: &ProvisionRecord, event: &Event) -> Option<Value> {
    let about = |kind: &str, subject: Subject| {
        json!({
            "type": kind, "provision": provision(record), "subject": subject_value(record, subject),
        })
    };
    let began = |operation: &str| {
        json!({
            "type": "begun", "provision": provision(record), "operation": operation,
            "hosts": record.hosts.len(),
        })
    };
    let said = |kind: &str, subject: Subject, message: &str| {
        let mut event = about(kind, subject);
        event["message"] = message.into();
        event
    };
    Some(match event {
        Event::CreateBegun(_) => began("create"),
        Event::Resumed => began("resume"),
        Event::UpdateBegun(_) => began("update"),
        Event::ConfigureBegun { .. } => began("configure"),
        Event::DeleteBegun { .. } => began("delete"),
        Event::HostDeleteBegun { .. } => began("host_delete"),
        Event::PowerBegun { power, .. } => began(match power {
            Power::Off => "host_poweroff",
            Power::On => "host_resume",
            Power::Reboot => "host_reboot",
            Power::Reset => "host_reset",
        }),
        Event::Intent { subject, step, .. } => {
            let mut event = about("step", *subject);
            event["step"] = step.as_str().into();
            event["status"] = "begun".into();
            event
        }
        Event::Found { subject, .. } => about("found", *subject),
        Event::DeployIdSeen { host, .. } => about("machine", Subject::Host(*host)),
        Event::Resolved { host, .. } | Event::Said { host, .. } => {
            about("resolved", Subject::Host(*host))
        }
        Event::Addressed { host, .. } => about("address", Subject::Host(*host)),
        Event::HostFailed { host, message } => said("failed", Subject::Host(*host), message),
        Event::Retried { host } => about("retried", Subject::Host(*host)),
        Event::Ended { state } => json!({
            "type": "ended", "provision": provision(record), "state": state.to_string(),
        }),
        // What is left matters to the journal alone.
        _ => return None,
    })
}

fn of_outcome(record: &ProvisionRecord, subject: Subject, step: Step, outcome: &Outcome) -> Value {
    let (status, message) = match outcome {
        Outcome::Done(_) => ("done", None),
        Outcome::Failed { message } => ("failed", Some(message)),
        Outcome::Unknown { evidence } => ("unknown", Some(evidence)),
    };
    let mut event = json!({
        "type": "step", "provision": provision(record), "subject": subject_value(record, subject),
        "step": step.as_str(), "status": status,
    });
    if let Some(message) = message {
        event["message"] = message.as_str().into();
    }
    event
}

fn of_note(record: &ProvisionRecord, note: &Note) -> Option<Value> {
    Some(match note {
        Note::Phase(phase) => json!({
            "type": "phase", "provision": provision(record), "phase": phase_name(*phase),
            "totals": totals(record),
        }),
        Note::Waiting { host, reason } => json!({
            "type": "waiting", "provision": provision(record),
            "subject": subject_value(record, Subject::Host(*host)), "message": reason,
        }),
        Note::Undone { host, step, reason } => json!({
            "type": "step", "provision": provision(record),
            "subject": subject_value(record, Subject::Host(*host)),
            "step": step.as_str(), "status": "undone", "message": reason,
        }),
        Note::Heard { host, what } => return of_heard(record, *host, what),
        Note::Warning(text) => json!({
            "type": "warning", "provision": provision(record), "message": text,
        }),
        _ => return None,
    })
}

/// What is heard of a machine while it is configured.
fn of_heard(record: &ProvisionRecord, host: HostKey, what: &Heard) -> Option<Value> {
    let subject = subject_value(record, Subject::Host(host));
    let (task, status, message) = match what {
        Heard::Waiting(_) => return None,
        Heard::Warning(text) => {
            return Some(json!({
                "type": "warning", "provision": provision(record),
                "message": format!("{}: {text}", subject_label(record, Subject::Host(host))),
            }));
        }
        Heard::Begun(task) => (task, "begun", None),
        Heard::Ended { task, result } => match result {
            TaskResult::Ok => (task, "ok", None),
            TaskResult::Changed => (task, "changed", None),
            TaskResult::Skipped => (task, "skipped", None),
            TaskResult::Ignored(text) => (task, "ignored", Some(text)),
            TaskResult::Failed(text) => (task, "failed", Some(text)),
            TaskResult::Unreachable(text) => (task, "unreachable", Some(text)),
        },
    };
    let mut event = json!({
        "type": "task", "provision": provision(record), "subject": subject, "task": task,
        "status": status,
    });
    if let Some(message) = message {
        event["message"] = message.as_str().into();
    }
    Some(event)
}

fn of_report(report: &Report) -> Value {
    let record = &report.record;
    let hosts = record.hosts.keys().map(|key| subject_value(record, Subject::Host(*key)));
    let known = record.hosts.values().filter(|host| host.machine.id().is_some()).count();
    json!({
        "type": "report",
        "provision": provision(record),
        "state": record.state.to_string(),
        "interrupted": report.interrupted,
        "skipped": report.skipped,
        "totals": totals(record),
        "machines": { "exist": known, "may_exist": record.machines().saturating_sub(known) },
        "hosts": hosts.collect::<Vec<_>>(),
    })
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::CreatingObjects => "creating_objects",
        Phase::Deploying => "deploying",
        Phase::CreatingVirtual => "creating_virtual",
        Phase::CleaningUp => "cleaning_up",
        Phase::Undeploying => "undeploying",
        Phase::DeletingObjects => "deleting_objects",
    }
}

fn provision(record: &ProvisionRecord) -> Value {
    json!({ "id": record.id.to_string(), "name": record.name() })
}

fn totals(record: &ProvisionRecord) -> Value {
    let mut totals = Map::from_iter([("all".to_owned(), record.hosts.len().into())]);
    totals.extend(counts(record).into_iter().map(|(state, n)| (state.to_string(), n.into())));
    Value::Object(totals)
}

/// What an event is about: the kind and number of the journal, and all that is known of a host.
fn subject_value(record: &ProvisionRecord, subject: Subject) -> Value {
    let mut value = json!({ "label": subject_label(record, subject) });
    match serde_json::to_value(subject) {
        Ok(Value::Object(kinds)) => {
            for (kind, number) in kinds {
                value["kind"] = kind.into();
                value["number"] = number;
            }
            if let Subject::Virtual(kind, number) = subject {
                value["kind"] = kind.as_str().into();
                value["number"] = number.into();
            }
        }
        Ok(kind) => value["kind"] = kind,
        // A subject is always written to the journal like this before.
        Err(_) => {}
    }
    match subject {
        Subject::Host(key) => host(record, key, &mut value),
        subject => {
            if let Some(id) = record.object(subject).and_then(|object| object.id) {
                value["id"] = id.into();
            }
        }
    }
    value
}

fn host(record: &ProvisionRecord, key: HostKey, value: &mut Value) {
    let Some(host) = record.hosts.get(&key) else { return };
    let HostRecord { host_id, name, machine, address, failure, .. } = host;
    value["driver"] = host.driver.as_str().into();
    value["state"] = host.state().as_str().into();
    let mut put = |key: &str, known: Option<Value>| {
        if let Some(known) = known {
            value[key] = known;
        }
    };
    put("id", host_id.map(Value::from));
    put("name", name.as_deref().map(Value::from));
    put("deploy_id", machine.id().map(|id| id.to_string().into()));
    put("address", address.as_deref().map(Value::from));
    put("failure", failure.as_deref().map(Value::from));
    if let Machine::Maybe { evidence } = machine {
        put("evidence", Some(evidence.as_str().into()));
    }
}
