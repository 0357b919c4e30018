//! One operation: begun, perhaps stopped, killed or disturbed by a second one, and looked at.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine::{
    ConfigureRequest, CreateRequest, DeleteRequest, Engine, EngineError, Report, ResumeRequest,
};
use journal::CreateOptions;
use model::{HostId, ProvisionState};
use tokio::time::{Instant, sleep, sleep_until};

use super::run::{Process, Run};
use super::{End, Operation};
use crate::bomb::Place;
use crate::faults::Fault;
use crate::lock;
use crate::trace::MAX_LINES;

/// Longest time that an operation may take inside: with the worst patience at each of its steps it
/// takes less.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// How an operation ended.
enum Ended {
    Report(Box<Report>),
    Error(EngineError),
    Killed,
    /// It panicked, or does not end.
    Defect(String),
}

type Work = Pin<Box<dyn Future<Output = Result<Report, EngineError>> + Send>>;

impl Run {
    /// One operation among faults.
    pub async fn operate(&self, operation: Operation) {
        let kill_at = match self.dice.chance(450) {
            true => self.dice.time(Duration::from_millis(1), Duration::from_millis(400)),
            false => Duration::ZERO,
        };
        let process = self.start(kill_at.as_millis() as usize);
        let stop_after = self
            .dice
            .chance(120)
            .then(|| self.dice.time(Duration::from_millis(1), Duration::from_secs(1200)));
        let rival = self.dice.chance(150).then(|| {
            let after = self.dice.time(Duration::from_millis(1), Duration::from_secs(120));
            let operation = self.dice.pick(&[Operation::Resume, Operation::Delete]);
            (after, operation)
        });
        let work = self.work(&process.engine, operation).await;
        self.trace.line(format_args!("--- p{} {operation:?}", process.number));
        let rival = rival.map(|(after, operation)| self.rival(after, operation));
        let rival = match rival {
            Some(rival) => Some(rival.await),
            None => None,
        };
        let ended = self.until(process, work, stop_after).await;
        self.look_at(operation, ended, rival.is_some()).await;
        if let Some(rival) = rival {
            let ended = match rival.await {
                Ok(Ok(report)) => Ended::Report(Box::new(report)),
                Ok(Err(error)) => Ended::Error(error),
                Err(error) => Ended::Defect(error.to_string()),
            };
            self.trace.line(format_args!("--- the rival has ended"));
            self.look_at(Operation::Resume, ended, true).await;
        }
    }

    /// The last operations, without faults, each of which must reach its end.
    pub async fn finish(&self) -> End {
        let Some(record) = self.disk.record(self.id()) else {
            self.check_nothing_left().await;
            return End::Nothing;
        };
        let resumed = record.create.is_some() && !record.doomed && self.dice.chance(600);
        if resumed {
            let Some(report) = self.calmly(Operation::Resume).await else { return End::Violated };
            self.check_resumed(&report.record);
        }
        let Some(report) = self.calmly(Operation::Delete).await else { return End::Violated };
        match report.record.state {
            ProvisionState::Deleted if resumed => End::Resumed,
            ProvisionState::Deleted => End::Cleaned,
            ProvisionState::Parked if self.may_be_parked() => End::Parked,
            other => {
                self.trace.violation(format_args!("a delete without faults ends as {other}"));
                End::Violated
            }
        }
    }

    /// Whether a machine may exist that nobody can look for: without a list, or without the
    /// credentials that stood in the host object alone.
    fn may_be_parked(&self) -> bool {
        !*lock(&self.cloud.lists) || self.secrets_in_template
    }

    async fn calmly(&self, operation: Operation) -> Option<Report> {
        let process = self.start(0);
        self.trace.line(format_args!("--- p{} {operation:?}, the last", process.number));
        let work = self.work(&process.engine, operation).await;
        let ended = self.until(process, work, None).await;
        let report = match &ended {
            Ended::Report(report) => Some((**report).clone()),
            Ended::Error(error) => {
                self.trace.violation(format_args!("{operation:?} without faults fails: {error:?}"));
                None
            }
            Ended::Killed | Ended::Defect(_) => None,
        };
        self.look_at(operation, ended, false).await;
        report
    }

    /// The operation as a request to the engine.
    async fn work(&self, engine: &Engine, operation: Operation) -> Work {
        *lock(&self.operations).entry(operation).or_default() += 1;
        if operation == Operation::Create {
            self.draw_id();
        }
        let (engine, id) = (engine.clone(), self.id());
        let public_keys = vec![None; self.spec.hosts.len()];
        match operation {
            Operation::Create => {
                let request = CreateRequest {
                    id,
                    spec: self.spec.clone(),
                    template: PathBuf::from("/t.yaml"),
                    digest: String::new(),
                    options: CreateOptions {
                        skip_config: self.skip_config,
                        legacy_args: false,
                        secrets_in_template: self.secrets_in_template,
                        ..CreateOptions::default()
                    },
                    public_keys,
                };
                Box::pin(async move { engine.create(request).await })
            }
            Operation::Resume => {
                // Sometimes the template has changed since, and only OpenNebula has the secrets.
                let changed = self.faults.are_armed() && self.dice.chance(150);
                let spec = (!changed).then(|| self.spec.clone());
                let request = ResumeRequest { id, spec, public_keys };
                Box::pin(async move { engine.resume(request).await })
            }
            Operation::Configure => {
                let request = ConfigureRequest { id, hosts: None, force: self.dice.chance(500) };
                Box::pin(async move { engine.configure(request).await })
            }
            Operation::Delete => {
                let request = DeleteRequest { id, hosts: None, cleanup: None };
                Box::pin(async move { engine.delete(request).await })
            }
            Operation::HostDelete => {
                let record = self.disk.record(id);
                let hosts = record.iter().flat_map(|record| record.hosts.values());
                let hosts = hosts.filter_map(|host| host.host_id).filter(|_| self.dice.chance(400));
                let hosts = Some(hosts.map(HostId).collect());
                Box::pin(
                    async move { engine.delete(DeleteRequest { id, hosts, cleanup: None }).await },
                )
            }
        }
    }

    /// Somebody else who begins a little later, on the same disk and in another process.
    async fn rival(
        &self,
        after: Duration,
        operation: Operation,
    ) -> tokio::task::JoinHandle<Result<Report, EngineError>> {
        self.faults.count(Fault::Rival);
        let process = self.start(0);
        let work = self.work(&process.engine, operation).await;
        let (disk, trace) = (Arc::clone(&self.disk), Arc::clone(&self.trace));
        tokio::spawn(async move {
            sleep(after).await;
            trace.line(format_args!("--- p{} {operation:?}, the rival", process.number));
            let ended = work.await;
            disk.ended(process.number);
            ended
        })
    }

    /// Runs it to its end, or to its death.
    async fn until(&self, process: Process, work: Work, stop_after: Option<Duration>) -> Ended {
        let Process { number, bomb, engine } = process;
        let disk = Arc::clone(&self.disk);
        let mut task = tokio::spawn(async move {
            let ended = work.await;
            // At once: the lease is free from here on.
            disk.ended(number);
            ended
        });
        let begun = Instant::now();
        let mut stop_at = stop_after.map(|after| begun + after);
        let mut watch = begun;
        loop {
            let never = begun + 2 * LONGEST;
            tokio::select! {
                biased;
                ended = &mut task => return match ended {
                    Ok(Ok(report)) => Ended::Report(Box::new(report)),
                    Ok(Err(error)) => Ended::Error(error),
                    Err(error) => Ended::Defect(error.to_string()),
                },
                () = bomb.exploded() => {
                    let written = bomb.place() == Some(Place::Journal);
                    self.faults.count(if written { Fault::PowerCut } else { Fault::Killed });
                    self.trace.line(format_args!("--- p{number} is killed"));
                    disk_after_kill(self, number);
                    task.abort();
                    let _ = task.await;
                    // The tasks of its hosts are dropped at their next turn, and the lease with them.
                    for _ in 0..3 {
                        tokio::task::yield_now().await;
                    }
                    return Ended::Killed;
                }
                () = sleep_until(stop_at.unwrap_or(never)) => {
                    self.faults.count(Fault::Stopped);
                    self.trace.line(format_args!("--- p{number} is asked to stop"));
                    engine.stop.request();
                    stop_at = None;
                }
                () = sleep_until(watch + Duration::from_secs(600)) => {
                    watch = Instant::now();
                    if begun.elapsed() > LONGEST || self.trace.count() > MAX_LINES {
                        task.abort();
                        return Ended::Defect("it does not end".to_owned());
                    }
                }
            }
        }
    }

    /// What must hold now.
    async fn look_at(&self, operation: Operation, ended: Ended, rival: bool) {
        match ended {
            Ended::Killed => {}
            Ended::Defect(defect) => {
                self.trace.violation(format_args!("{operation:?}: {defect}"));
            }
            Ended::Error(error) => self.check_error(operation, &error, rival).await,
            // With a rival the provision may be in other hands already.
            Ended::Report(report) if !rival => self.check_report(operation, &report).await,
            Ended::Report(_) => {}
        }
        self.check_always().await;
    }
}

fn disk_after_kill(run: &Run, number: u64) {
    run.disk.ended(number);
    if run.options.mutation == Some(crate::mutation::Mutation::NoSync) {
        run.disk.lose_last(3);
    }
}
