//! `host resume`, `host poweroff`, `host reboot`

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Engine, PowerReport, PowerRequest};
use journal::Power;
use model::{HostId, ProvisionId};

use super::operation::{confirmed, count, narrate, progress, stop_on_signals, with_objects};
use super::print;
use crate::args::{Global, HostPowerArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::progress::label;
use crate::selection;

pub async fn run(
    global: &Global,
    args: &HostPowerArgs,
    power: Power,
    force: bool,
) -> Result<Exit, CliError> {
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Refused)?;
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    let chosen = selection::hosts(&engine.overviews().await?).select(&args.hosts)?;
    let by_provision = with_objects(&chosen)?;
    let hosts = count(chosen.len(), "host");
    let question = match power {
        Power::Off => Some(format!("Power off {hosts}?")),
        Power::Reboot => Some(format!("Reboot {hosts}?")),
        Power::Reset => Some(format!("Reboot {hosts} hard?")),
        Power::On => None,
    };
    if question.is_some_and(|question| !confirmed(global, &question)) {
        return Err(CliError::new("nothing was done").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    let mut tally = Tally::default();
    let tell = (args.log.verbose || args.log.debug) && !args.log.events;
    for (id, hosts) in by_provision {
        if engine.stop.requested() {
            tally.interrupted = true;
            tally.again.extend(hosts);
            continue;
        }
        let request = PowerRequest { id, power, hosts: hosts.clone(), force };
        match engine.power(request).await {
            Ok(report) => tally.take(&report, tell)?,
            // Another provision's hosts can be worked on all the same.
            Err(error) => {
                tally.errors.insert(id, error.into());
            }
        }
    }
    progress.finish();
    Ok(tally.conclude(power))
}

/// What came of all hosts.
#[derive(Default)]
struct Tally {
    done: usize,
    troubles: Vec<String>,
    /// Hosts with which it is to be repeated.
    again: Vec<HostId>,
    errors: BTreeMap<ProvisionId, CliError>,
    failed: bool,
    interrupted: bool,
}

impl Tally {
    /// Counts the hosts of a provision; with -d 5.12 had a line for each.
    fn take(&mut self, report: &PowerReport, verbose: bool) -> Result<(), CliError> {
        self.interrupted |= report.interrupted;
        let record = &report.record;
        let known = |key| record.hosts.get(key).map(|host| (host, host.host_id.map(HostId)));
        for (host, id) in report.untouched.iter().filter_map(known) {
            self.troubles.push(format!("{}: nothing was done", label(record, host.key)));
            self.again.extend(id);
        }
        for (host, id) in report.hosts.iter().filter_map(known) {
            match host.power_trouble() {
                None => {
                    self.done += 1;
                    if let Some(id) = id.filter(|_| verbose) {
                        let state = if host.off { "disabled" } else { "enabled" };
                        print(&format!("HOST {id}: {state}\n"))?;
                    }
                }
                Some(trouble) => {
                    self.failed |= !trouble.is_unknown && !trouble.is_open;
                    let text = format!("{}: {}", label(record, host.key), trouble.text);
                    self.troubles.push(text);
                    self.again.extend(id);
                }
            }
        }
        Ok(())
    }

    /// The last lines, and the exit code.
    fn conclude(mut self, power: Power) -> Exit {
        for error in self.errors.values() {
            narrate(error.render().trim_end());
        }
        for trouble in &self.troubles {
            narrate(&format!("ERROR: {trouble}"));
        }
        let done = match power {
            Power::Off => "powered off",
            Power::On => "resumed",
            Power::Reboot | Power::Reset => "rebooted",
        };
        let refused = !self.errors.is_empty();
        if refused && self.done == 0 && self.again.is_empty() {
            return Exit::Error;
        }
        let total = format!("{} {done}", count(self.done, "host"));
        if self.again.is_empty() && !refused {
            narrate(&format!("Done: {total}."));
            return Exit::Done;
        }
        let how = if self.interrupted { "Interrupted" } else { "Not all is done" };
        narrate(&format!("{how}: {total}."));
        if !self.again.is_empty() {
            self.again.sort();
            let again: Vec<String> = self.again.iter().map(ToString::to_string).collect();
            let power = power.as_str();
            narrate(&format!("  try again:  oneprovision host {power} {}", again.join(",")));
        }
        match (self.interrupted, self.failed || refused) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Error,
            // Whether it was done is all that is not known.
            (false, false) => Exit::Parked,
        }
    }
}
