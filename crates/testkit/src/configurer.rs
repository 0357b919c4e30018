//! What configures machines, without machines: it keeps account of what was run on which, takes its
//! time, and fails where a test wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use configure::{
    Configure, Done, Heard, Machine, Patience, Plan, Run, Stage, TaskResult, Trouble, Watch,
};
use model::ProvisionId;
use tokio::time::sleep;

use crate::faults::{Fault, Faults};
use crate::lock;

/// Machines that are configured well, or fail by seed.
pub struct SeededConfigurer(pub Arc<Faults>);

#[async_trait]
impl Configure for SeededConfigurer {
    async fn check(&self, _: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        Ok(Vec::new())
    }

    async fn reach(
        &self,
        _: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        watch.heard(machine.host, Heard::Waiting("connection refused".to_owned()));
        match self.0.first(&[Fault::ReachFailed, Fault::ReachSlow]) {
            Some(Fault::ReachFailed) => {
                sleep(patience.pause * patience.retries).await;
                Err(Trouble(format!("{} refuses the connection", machine.address)))
            }
            Some(_) => {
                sleep(patience.pause * patience.retries / 2).await;
                Ok(())
            }
            None => Ok(()),
        }
    }

    async fn run(&self, run: &Run, _: &dyn Watch) -> Vec<Result<Done, Trouble>> {
        if self.0.strike(Fault::StageSlow) {
            sleep(Duration::from_secs(1200)).await;
        }
        let one = |_: &Machine| match self.0.strike(Fault::StageFailed) {
            true => Err(Trouble("a task failed".to_owned())),
            false => Ok(Done { changed: 1 }),
        };
        run.machines.iter().map(one).collect()
    }

    async fn default_nic(&self, _: ProvisionId, machine: &Machine) -> Result<String, Trouble> {
        match self.0.strike(Fault::ReachFailed) {
            true => Err(Trouble(format!("{} refuses the connection", machine.address))),
            false => Ok("eth0".to_owned()),
        }
    }

    fn forget(&self, _: ProvisionId, _: &str) {}

    fn discard(&self, _: ProvisionId) {}
}

/// A run that came to its end: the stage, the machines, the others.
pub type Ran = (String, Vec<String>, Vec<String>);

/// Machines as they are configured, by their host names.
#[derive(Debug, Default)]
pub struct Configurer {
    /// What is found wrong before anything is bought.
    pub wrong: Mutex<Vec<String>>,
    /// Machines that let nobody in.
    pub closed: Mutex<BTreeSet<String>>,
    /// How often a stage fails on a machine before it succeeds: by host name and stage.
    pub failing: Mutex<BTreeMap<(String, String), u32>>,
    /// How long a machine takes until it lets us in.
    pub slow: Mutex<BTreeMap<String, Duration>>,
    /// The network interfaces of machines; `eth0` of those that are not here. One without a name has none.
    pub nics: Mutex<BTreeMap<String, String>>,
    /// Machines that were asked for theirs, in order.
    pub asked: Mutex<Vec<String>>,
    /// How long a run takes.
    pub takes: Mutex<Duration>,
    /// Every login, in order.
    pub reached: Mutex<Vec<String>>,
    /// Every run that came to its end: the stage, the machines, the others.
    pub runs: Mutex<Vec<Ran>>,
    /// Aliases of forgotten host keys.
    pub forgotten: Mutex<Vec<String>>,
    /// Provisions of which everything was forgotten.
    pub discarded: Mutex<Vec<ProvisionId>>,
}

impl Configurer {
    /// From here on a stage fails on a machine so many times.
    pub fn fails(&self, host: &str, stage: &str, times: u32) {
        lock(&self.failing).insert((host.to_owned(), stage.to_owned()), times);
    }

    /// How often a stage was run on a machine.
    pub fn times(&self, host: &str, stage: &str) -> usize {
        let runs = lock(&self.runs);
        let is_it = |(name, machines, _): &&Ran| {
            name == stage && machines.iter().any(|machine| machine == host)
        };
        runs.iter().filter(is_it).count()
    }
}

fn names(machines: &[Machine]) -> Vec<String> {
    machines.iter().map(|machine| machine.hostname.clone()).collect()
}

#[async_trait]
impl Configure for Configurer {
    async fn check(&self, _: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        let wrong: Vec<Trouble> = lock(&self.wrong).iter().cloned().map(Trouble).collect();
        if wrong.is_empty() { Ok(Vec::new()) } else { Err(wrong) }
    }

    async fn reach(
        &self,
        _: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        let name = machine.hostname.clone();
        lock(&self.reached).push(name.clone());
        if lock(&self.closed).contains(&name) {
            watch.heard(machine.host, Heard::Waiting("connection refused".to_owned()));
            sleep(patience.pause * patience.retries).await;
            return Err(Trouble(format!("{} refuses the connection", machine.address)));
        }
        let slow = lock(&self.slow).get(&name).copied();
        sleep(slow.unwrap_or_default()).await;
        Ok(())
    }

    async fn run(&self, run: &Run, watch: &dyn Watch) -> Vec<Result<Done, Trouble>> {
        let stage = match &run.stage {
            Stage::Steps => "steps".to_owned(),
            Stage::Playbook(name) => name.clone(),
        };
        let takes = *lock(&self.takes);
        sleep(takes).await;
        let ended = (stage.clone(), names(&run.machines), names(&run.others));
        lock(&self.runs).push(ended);
        let one = |machine: &Machine| {
            let task = format!("a task of {stage}");
            let mut failing = lock(&self.failing);
            let left = failing.get_mut(&(machine.hostname.clone(), stage.clone()));
            let fails = left.is_some_and(|left| {
                let fails = *left > 0;
                *left = left.saturating_sub(1);
                fails
            });
            let result = match fails {
                true => TaskResult::Failed("no space left on device".to_owned()),
                false => TaskResult::Changed,
            };
            watch.heard(machine.host, Heard::Ended { task: task.clone(), result });
            match fails {
                true => Err(Trouble(format!("playbook {stage}: task {task:?}: no space left"))),
                false => Ok(Done { changed: 1 }),
            }
        };
        run.machines.iter().map(one).collect()
    }

    async fn default_nic(&self, _: ProvisionId, machine: &Machine) -> Result<String, Trouble> {
        let name = &machine.hostname;
        lock(&self.asked).push(name.clone());
        match lock(&self.nics).get(name).cloned() {
            None => Ok("eth0".to_owned()),
            Some(nic) if nic.is_empty() => {
                Err(Trouble(format!("{}: it has no default route", machine.address)))
            }
            Some(nic) => Ok(nic),
        }
    }

    fn forget(&self, _: ProvisionId, alias: &str) {
        lock(&self.forgotten).push(alias.to_owned());
    }

    fn discard(&self, provision: ProvisionId) {
        lock(&self.discarded).push(provision);
    }
}
