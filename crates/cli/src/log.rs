//! The log on standard error, in the form of 5.12: `2026-01-31 12:00:00 INFO  : text`.

use std::fmt;

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
        targets = targets.with_target("driver", LevelFilter::ERROR);
    }
    let format = Format { dated: level > LevelFilter::WARN };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).event_format(format);
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

impl CallObserver for Calls {
    fn finished(&self, call: &CallRecord<'_>) {
        let took = call.duration.as_millis();
        match call.outcome {
            Ok(()) => tracing::debug!("{} in {took} ms", call.method),
            Err(error) => tracing::debug!("{} failed after {took} ms: {error}", call.method),
        }
    }

    fn waiting(&self, wait: &Waiting<'_>) {
        // The first attempts are quiet: most trouble has passed by then.
        if wait.attempt.is_power_of_two() && wait.attempt >= 4 {
            tracing::warn!(
                "the front-end is in trouble for {} s, {} is tried again in {} s: {}",
                wait.waited.as_secs(),
                wait.method,
                wait.pause.as_secs(),
                wait.error
            );
        }
    }
}
