//! The log on standard error, in the form of 5.12: `2026-01-31 12:00:00 INFO  : text`.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opennebula::{CallObserver, CallRecord, Waiting};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogArgs;

/// Our own rooms: what libraries log at debug level says nothing to an operator, and has not been
/// looked through for secrets.
const ROOMS: [&str; 8] =
    ["oneprovision", "engine", "driver", "drivers", "opennebula", "sandbox", "journal", "template"];

/// Begins to log: warnings always, `-d` the parts of an operation, `-D` every step.
pub fn start(log: Option<&LogArgs>) {
    let level = match log {
        Some(log) if log.debug => LevelFilter::DEBUG,
        Some(log) if log.verbose => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    let rooms = ROOMS.into_iter().map(|room| (room, level));
    let mut targets = Targets::new().with_default(LevelFilter::OFF).with_targets(rooms);
    if level == LevelFilter::WARN {
        // That a driver's command failed may be just what was expected of it, as after a cancel;
        // what matters of it is told with the host.
        targets = targets.with_target(driver::executable::FAILED_COMMANDS, LevelFilter::ERROR);
        // It warns of every single attempt; [`Calls`] tells of trouble so that it can be read.
        targets = targets.with_target("opennebula", LevelFilter::ERROR);
    }
    let format = Format { dated: level > LevelFilter::WARN };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| crate::progress::screen::Log)
        .event_format(format);
    // Only the first subscriber of a process counts; there is one.
    let _ = tracing_subscriber::registry().with(targets).with(lines).try_init();
}

struct Format {
    dated: bool,
}

impl<S, N> FormatEvent<S, N> for Format
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let severity = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN if self.dated => "WARN",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        if self.dated {
            let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S");
            write!(writer, "{now} {severity:<5} : ")?;
        } else {
            write!(writer, "{severity}: ")?;
        }
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Logs the calls to the front-end: the method and how it ended, never its parameters.
pub struct Calls;

/// When trouble was told of last: many calls meet the same one, and a command has one front-end.
static TOLD: Mutex<Option<Instant>> = Mutex::new(None);

/// Trouble that is over sooner is not worth a word.
const PASSING: Duration = Duration::from_secs(1);
/// Time between two lines about trouble.
const QUIET: Duration = Duration::from_secs(10);

impl CallObserver for Calls {
    fn finished(&self, call: &CallRecord<'_>) {
        let took = call.duration.as_millis();
        match call.outcome {
            Ok(()) => tracing::debug!("{} in {took} ms", call.method),
            Err(error) => tracing::debug!("{} failed after {took} ms: {error}", call.method),
        }
    }

    fn waiting(&self, wait: &Waiting<'_>) {
        if wait.waited < PASSING {
            return;
        }
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            let (trouble, waited) = (one_line(wait.error), wait.waited.as_secs());
            tracing::warn!("trouble with the front-end for {waited} s, trying on: {trouble}");
        }
    }
}

/// An error and its causes.
pub fn one_line(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", one_line(cause)),
        None => error.to_string(),
    }
}
