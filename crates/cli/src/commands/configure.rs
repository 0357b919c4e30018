//! `configure`, `host configure`

use std::sync::Arc;

use engine::{ConfigureRequest, Engine, Report};
use journal::HostRecord;
use model::{HostId, ProvisionId};

use super::operation::{
    Wanted, after_error, conclude, count, narrate, progress, stop_on_signals, with_objects,
};
use super::provision_named;
use crate::args::{ConfigureArgs, Global, HostConfigureArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::progress::{Progress, label};
use crate::selection;

/// `configure`
pub async fn run(global: &Global, args: &ConfigureArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let (engine, progress, _context) = begin(global, &args.how).await?;
    let request = ConfigureRequest { id, hosts: None, force: args.how.force };
    let report = engine.configure(request).await;
    progress.finish();
    match report {
        Ok(report) => Ok(conclude(&report, Wanted::Present)),
        Err(error) => Err(after_error(&engine, error, id, Wanted::Present).await),
    }
}

/// `host configure`
pub async fn run_hosts(global: &Global, args: &HostConfigureArgs) -> Result<Exit, CliError> {
    let (engine, progress, _context) = begin(global, &args.how).await?;
    let chosen = selection::hosts(&engine.overviews().await?).select(&args.hosts)?;
    let mut tally = Tally::default();
    for (id, hosts) in with_objects(&chosen)? {
        if engine.stop.requested() {
            tally.interrupted.push(id);
            continue;
        }
        let request = ConfigureRequest { id, hosts: Some(hosts.clone()), force: args.how.force };
        match engine.configure(request).await {
            Ok(report) => tally.take(&report, &hosts),
            // Another provision's hosts can be configured all the same.
            Err(error) => tally.errors.push(error.into()),
        }
    }
    progress.finish();
    tally.conclude()
}

/// What both commands begin with. The context is kept until they have ended.
async fn begin(
    global: &Global,
    how: &crate::args::ConfigureHow,
) -> Result<(Engine, Arc<Progress>, Context), CliError> {
    let progress = Arc::new(progress(&how.log));
    let failover = failover::of(&how.fail, global, &progress, failover::Cleanup::Refused)?;
    let context = Context::open(global, Some(&how.driver), Arc::clone(&progress) as _).await?;
    let mut engine = Engine { failover, ..context.engine.clone() };
    how.config.apply(&mut engine.settings);
    stop_on_signals(&engine.stop)?;
    Ok((engine, progress, context))
}

/// Whether a host is in use, and all of its configuration done.
fn is_done(host: &HostRecord) -> bool {
    host.enlisted == Some(true) && host.configuration.done >= host.configuration.of
}

/// What came of chosen hosts.
#[derive(Default)]
struct Tally {
    done: usize,
    troubles: Vec<String>,
    again: Vec<HostId>,
    interrupted: Vec<ProvisionId>,
    errors: Vec<CliError>,
}

impl Tally {
    fn take(&mut self, report: &Report, hosts: &[HostId]) {
        crate::events::report(report);
        let record = &report.record;
        if report.interrupted {
            self.interrupted.push(record.id);
        }
        let is_chosen =
            |host: &&HostRecord| hosts.iter().any(|id| host.host_id == Some(id.0)) && !host.removed;
        for host in record.hosts.values().filter(is_chosen) {
            match (&host.failure, &host.open) {
                (Some(failure), _) => {
                    self.troubles.push(format!("{}: {failure}", label(record, host.key)));
                    self.again.extend(host.host_id.map(HostId));
                }
                (None, None) if is_done(host) => self.done += 1,
                // It was stopped before, or in the middle of it.
                (None, _) => self.again.extend(host.host_id.map(HostId)),
            }
        }
    }

    /// The last lines, and the exit code.
    fn conclude(mut self) -> Result<Exit, CliError> {
        if self.errors.len() == 1 && self.done == 0 && self.again.is_empty() {
            return Err(self.errors.remove(0));
        }
        for error in &self.errors {
            narrate(error.render().trim_end());
        }
        for trouble in &self.troubles {
            narrate(&format!("ERROR: {trouble}"));
        }
        if !self.troubles.is_empty() {
            narrate(&Code::Failed.more());
        }
        let whole = self.again.is_empty() && self.errors.is_empty() && self.interrupted.is_empty();
        let begin = if whole { "Done" } else { "Not all is done" };
        narrate(&format!("{begin}: {} configured.", count(self.done, "host")));
        if !self.interrupted.is_empty() {
            for id in &self.interrupted {
                narrate(&format!("  go on:      oneprovision configure {id}"));
            }
            return Ok(Exit::Interrupted);
        }
        if !self.again.is_empty() {
            let ids: Vec<String> = self.again.iter().map(ToString::to_string).collect();
            narrate(&format!("  try again:  oneprovision host configure {}", ids.join(",")));
        }
        Ok(if whole { Exit::Done } else { Exit::Error })
    }
}
