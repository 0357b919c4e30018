//! The real thing: `ssh`, `ansible-playbook`, and a folder per provision.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::task::Poll;

use async_trait::async_trait;
use model::ProvisionId;
use tokio::sync::Semaphore;

use crate::by_hand::check_steps;
use crate::keys::check_programs;
use crate::{Configure, Done, Machine, Patience, Plan, Run, Stage, Trouble, Watch, known_hosts};

/// What surrounds this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder with a folder for each provision: `known_hosts`, `logs/`. Made (0700) when it is needed.
    pub state: PathBuf,
    /// Folder for what lasts as long as a run; short, for sockets are made in it.
    pub temporary: PathBuf,
    /// Logins at the same time.
    pub logins: usize,
    /// Hosts on which a playbook runs at the same time (`--forks`).
    pub forks: usize,
    /// The program `ansible-playbook`, by name or path ([`Settings::ANSIBLE`] if nobody wants another).
    /// `ansible-galaxy` is looked for in the same folder.
    pub ansible: PathBuf,
}

impl Settings {
    /// Name of the program that runs playbooks.
    pub const ANSIBLE: &str = "ansible-playbook";
}

/// Configures with the programs of this computer.
pub struct System {
    pub(crate) settings: Settings,
    pub(crate) logins: Arc<Semaphore>,
    /// Whether it was looked for what killed processes left.
    pub(crate) swept: Once,
}

impl System {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        let logins = Arc::new(Semaphore::new(settings.logins.max(1)));
        Self { settings, logins, swept: Once::new() }
    }

    /// The folder of a provision.
    pub(crate) fn folder(&self, provision: ProvisionId) -> PathBuf {
        self.settings.state.join(provision.to_string())
    }

    /// The host keys of a provision.
    pub(crate) fn known_hosts(&self, provision: ProvisionId) -> PathBuf {
        self.folder(provision).join("known_hosts")
    }

    /// The logs of a provision.
    pub(crate) fn logs(&self, provision: ProvisionId) -> PathBuf {
        self.folder(provision).join("logs")
    }
}

#[async_trait]
impl Configure for System {
    async fn check(&self, plan: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        let mut wrong = check_programs();
        let mut warnings = Vec::new();
        if wrong.is_empty() {
            for (place, connection) in &plan.connections {
                match self.check_connection(place, connection).await {
                    Ok(more) => warnings.extend(more),
                    Err(more) => wrong.extend(more),
                }
            }
        }
        for (place, steps) in &plan.steps {
            wrong.extend(check_steps(place, steps));
        }
        if !plan.playbooks.is_empty() {
            match self.check_playbooks(plan).await {
                Ok(more) => warnings.extend(more),
                Err(more) => wrong.extend(more),
            }
        }
        if wrong.is_empty() { Ok(warnings) } else { Err(wrong) }
    }

    async fn reach(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        self.reach(provision, machine, patience, watch).await
    }

    async fn run(&self, run: &Run, watch: &dyn Watch) -> Vec<Result<Done, Trouble>> {
        match &run.stage {
            Stage::Steps => {
                let each = |machine| self.run_steps(run.provision, machine, run.deadline, watch);
                at_once(run.machines.iter().map(each)).await
            }
            Stage::Playbook(name) => self.run_playbook(run, name, watch).await,
        }
    }

    async fn default_nic(
        &self,
        provision: ProvisionId,
        machine: &Machine,
    ) -> Result<String, Trouble> {
        self.ask_for_nic(provision, machine).await
    }

    fn forget(&self, provision: ProvisionId, alias: &str) {
        // If it stays, the machine is refused, and the message says what to do.
        let _ = known_hosts::forget(&self.known_hosts(provision), alias);
    }

    fn discard(&self, provision: ProvisionId) {
        // What stays is of nobody: ids of provisions are never used again.
        let _ = std::fs::remove_dir_all(self.folder(provision));
    }
}

/// Waits for all at once: what they come to, in their order.
async fn at_once<T, F: Future<Output = T>>(all: impl Iterator<Item = F>) -> Vec<T> {
    let mut all: Vec<(Pin<Box<F>>, Option<T>)> =
        all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, ended) in all.iter_mut().filter(|(_, ended)| ended.is_none()) {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                *ended = Some(result);
            }
        }
        match all.iter().all(|(_, ended)| ended.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    all.into_iter().filter_map(|(_, ended)| ended).collect()
}
