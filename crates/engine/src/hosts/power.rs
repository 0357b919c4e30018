//! Power operations on the machines of hosts: each host by a loop of its own, as in a create.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use driver::api::{DriverError, FailureKind, ProcessRecord, ShutdownKind, Watch};
use journal::{
    Event, Fact, HostRecord, IntentId, OpenIntent, Outcome, Power, PowerHost, PowerResult, Step,
    Subject,
};
use model::{DeployId, HostId, HostKey};
use opennebula::objects::HostStatus;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Work, alias};
use crate::again::repeat;
use crate::error::describe;
use crate::observe::Note;
use crate::planner::{Goal, Next, next_power};
use crate::session::Session;
use crate::{Decision, EngineError, names};

/// Writes down the driver's process, so that a later command waits for it.
struct ProcessWatch {
    session: Arc<Session>,
    intent: IntentId,
    failure: Mutex<Option<EngineError>>,
}

impl ProcessWatch {
    fn failure(&self) -> Result<(), EngineError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Watch for ProcessWatch {
    async fn started(&self, process: &ProcessRecord) {
        let Ok(process) = serde_json::to_value(process) else { return };
        let event = Event::Process { id: self.intent, process };
        if let Err(error) = self.session.commit(vec![event]).await {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
        }
    }

    /// The machine is known.
    async fn deploy_id(&self, _: &DeployId) {}
}

impl Work {
    /// A power operation on these hosts, each on its own. `force` also powers off a host on which a VM
    /// was placed in the meantime. Returns those with which it was begun.
    pub async fn power_all(
        self: &Arc<Self>,
        power: Power,
        hosts: Vec<PowerHost>,
        force: bool,
    ) -> Result<BTreeSet<HostKey>, EngineError> {
        let begun = Arc::new(Mutex::new(BTreeSet::new()));
        let mut tasks = JoinSet::new();
        for host in hosts {
            let (work, begun) = (Arc::clone(self), Arc::clone(&begun));
            tasks.spawn(async move {
                if work.is_stopping() {
                    return Ok(());
                }
                begun.lock().unwrap_or_else(PoisonError::into_inner).insert(host.host);
                work.power(power, host, force).await
            });
        }
        self.join(tasks, None).await?;
        Ok(std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    async fn power(
        self: &Arc<Self>,
        power: Power,
        host: PowerHost,
        force: bool,
    ) -> Result<(), EngineError> {
        let key = host.host;
        // What an earlier operation left open is that one's, and its driver may still be at work.
        if let Some(before) = self.session.host(key)
            && let Some(open) = &before.open
        {
            match open.step {
                // It is written again as soon as the machine runs.
                Step::Enlist => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
                step if step.is_power() => self.end_interrupted_power(&before, open).await?,
                _ => {}
            }
        }
        self.session.commit(vec![Event::PowerBegun { power, hosts: vec![host] }]).await?;
        loop {
            if self.is_stopping() {
                return Ok(());
            }
            let Some(host) = self.session.host(key) else { return Ok(()) };
            let enable = host.power.as_ref().is_some_and(|power| power.enable);
            let goal = Goal::Ready { enable, stages: 0 };
            match next_power(&host) {
                Next::Resolve => {
                    if !self.resolve(&host, goal).await? {
                        return Ok(());
                    }
                }
                Next::TakeOffline => self.take_offline(&host, force).await?,
                Next::PutOnline => self.put_online(&host).await?,
                Next::Power(power, id) => {
                    if !self.ask_for(power, &host, &id).await? {
                        return Ok(());
                    }
                }
                Next::Announce(id) => self.announce(&host, &id).await?,
                Next::Poll(id) => {
                    if !self.find_address(&host, &id, goal).await? {
                        return Ok(());
                    }
                }
                Next::Enlist(address) => self.enlist(&host, &address, goal).await?,
                Next::Stuck => {
                    if !self.decide_power(&host).await? {
                        return Ok(());
                    }
                }
                // The steps of a create, an update or a delete are not asked for here.
                Next::Nothing
                | Next::Create
                | Next::Deploy
                | Next::Refresh
                | Next::Reach
                | Next::Configure(_)
                | Next::Tell
                | Next::Cancel(_)
                | Next::Remove => return Ok(()),
            }
        }
    }

    /// Asks what to do about a power operation that failed: true to try it again. The machine and the
    /// host stay whatever is decided.
    async fn decide_power(&self, host: &HostRecord) -> Result<bool, EngineError> {
        let Some(power) = &host.power else { return Ok(false) };
        let Some(failure) = host.power_trouble().map(|trouble| trouble.text) else {
            return Ok(false);
        };
        match self.session.decide(Subject::Host(host.key), &failure).await {
            Decision::Retry => {
                let again = match power.result {
                    // The driver did its part; only what follows is tried again.
                    PowerResult::Done => Event::Retried { host: host.key },
                    _ => {
                        let hosts = vec![PowerHost { host: host.key, enable: power.enable }];
                        Event::PowerBegun { power: power.power, hosts }
                    }
                };
                self.session.commit(vec![again]).await?;
                Ok(true)
            }
            Decision::Leave | Decision::Skip => Ok(false),
            Decision::Quit => {
                self.halt.request();
                Ok(false)
            }
            Decision::Cleanup => {
                let text = "cleanup is of no use here: nothing more is begun, and nothing removed";
                self.session.note(Note::Warning(text.to_owned()));
                self.halt.request();
                Ok(false)
            }
        }
    }

    /// Takes the host out of use, and makes sure that it is empty after that.
    async fn take_offline(&self, host: &HostRecord, force: bool) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::TakeOffline).await?;
        let Some(id) = host.host_id.map(HostId) else {
            let message = "there is no host object to be put offline".to_owned();
            return self.session.outcome(intent, Outcome::Failed { message }).await;
        };
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let patience = engine.settings.patience;
        let offline = || hosts.status(id, HostStatus::Offline);
        let outcome = match repeat(patience, offline).await {
            Err(error) if error.is_unknown() => Outcome::Unknown { evidence: describe(&error) },
            Err(error) => Outcome::Failed { message: describe(&error) },
            Ok(()) => match hosts.info(id).await {
                Ok(there) if there.running_vms > 0 && !force => Outcome::Failed {
                    message: format!(
                        "{} VMs were placed on it meanwhile; it is offline now, so that no more are",
                        there.running_vms
                    ),
                },
                // That it cannot be looked at says nothing of VMs, and it was empty a moment ago.
                _ => Outcome::Done(Fact::Done),
            },
        };
        self.session.outcome(intent, outcome).await
    }

    /// Takes the host into use again: all is as before.
    async fn put_online(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::PutOnline).await?;
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        let answer = match host.host_id.map(HostId) {
            Some(id) => {
                let enable = || hosts.status(id, HostStatus::Enable);
                repeat(engine.settings.patience, enable).await
            }
            None => Ok(()),
        };
        self.written(intent, answer.map(|()| Fact::Done)).await
    }

    /// Asks the driver for the operation. False if the operator asked to stop before it had ended:
    /// then the intent stays open, and a later command says so.
    async fn ask_for(
        &self,
        power: Power,
        host: &HostRecord,
        id: &DeployId,
    ) -> Result<bool, EngineError> {
        let subject = Subject::Host(host.key);
        let Some(work) = self.hosts.get(&host.key) else {
            let intent = self.session.intend(subject, power.step(), None).await?;
            let message = format!("there is no driver {:?}", host.driver);
            self.session.outcome(intent, Outcome::Failed { message }).await?;
            return Ok(true);
        };
        let engine = self.session.engine();
        let _slot = self.slots.acquire(host.key).await;
        if self.is_stopping() {
            return Ok(false);
        }
        let intent = self.session.draw_intent();
        let key = names::power_key(self.session.id, host.key, intent.0);
        let begun =
            Event::Intent { id: intent, subject, step: power.step(), key: Some(key.clone()) };
        self.session.commit(vec![begun]).await?;
        let watch = Arc::new(ProcessWatch {
            session: Arc::clone(&self.session),
            intent,
            failure: Mutex::default(),
        });
        let mut call = match power {
            Power::On => self.deploy_call(host, work, key),
            _ => self.power_call(host, work, key),
        };
        call.watch = Arc::clone(&watch) as Arc<dyn Watch>;
        let driver = &work.driver;
        let asked = async {
            match power {
                Power::Off => driver.shutdown(&call, id, ShutdownKind::Poweroff).await,
                Power::Reboot => driver.reboot(&call, id).await,
                Power::Reset => driver.reset(&call, id).await,
                Power::On => match driver.deploy(&call).await {
                    Ok(other) if other != *id => Err(DriverError::new(
                        FailureKind::Unknown,
                        format!(
                            "the driver was asked to power on {id} and answered with machine {other}: \
                             it may have made one (`oneprovision orphans` looks for it)"
                        ),
                    )),
                    answer => answer.map(drop),
                },
            }
        };
        let stopped = async {
            engine.stop.wait().await;
            sleep(engine.settings.stop_grace).await;
        };
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            () = stopped => return Ok(false),
        };
        if power == Power::Reset && answer.is_ok() {
            // It may come back newly installed, with another host key.
            engine.configure.forget(self.session.id, &alias(host));
        }
        self.session.outcome(intent, outcome_of(answer)).await?;
        watch.failure()?;
        Ok(true)
    }

    /// Ends the intent of a power operation that was interrupted: waits for its driver if that still
    /// runs, and writes down what can be told of it.
    pub(super) async fn end_interrupted_power(
        &self,
        host: &HostRecord,
        open: &OpenIntent,
    ) -> Result<(), EngineError> {
        let unknown = || DriverError::new(FailureKind::Unknown, "it was interrupted");
        let answer = match (open.step, self.hosts.get(&host.key)) {
            (Step::TakeOffline | Step::PutOnline, _) | (_, None) => Err(unknown()),
            (_, Some(work)) => {
                let process = open.process.clone().and_then(|p| serde_json::from_value(p).ok());
                let key = open.key.clone().unwrap_or_default();
                let call = self.power_call(host, work, key);
                work.driver.finish(&call, process.as_ref()).await
            }
        };
        self.session.outcome(open.id, outcome_of(answer)).await
    }
}

fn outcome_of(answer: Result<(), DriverError>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Done(Fact::Done),
        Err(error) if error.kind == FailureKind::Unknown => {
            Outcome::Unknown { evidence: error.message }
        }
        Err(error) => Outcome::Failed { message: error.message },
    }
}
