//! The cloud as the engine's driver sees it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, ShutdownKind,
};
use driver::poll::{MachineState, PollReport};
use engine::DriverSource;
use model::{Attributes, DeployId};
use tokio::time::{Instant, sleep};

use super::{Cancel, Cloud, Deploy, Machine, Poll, Powering, Timing};
use crate::lock;

/// The driver of a [`Cloud`].
pub struct CloudDriver(pub Arc<Cloud>);

/// The one driver `cloud`.
pub struct CloudSource(pub Arc<dyn Driver>);

impl DriverSource for CloudSource {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        match name {
            "cloud" => Ok(Arc::clone(&self.0)),
            other => Err(format!("no driver {other}")),
        }
    }
}

fn error(kind: FailureKind, message: &str) -> DriverError {
    DriverError::new(kind, message)
}

/// Waits for nothing without giving up its turn.
async fn pass(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

impl CloudDriver {
    /// A request that is on its way cannot be called back: its machine is made also if the caller is
    /// killed while it travels.
    async fn make(&self, call: &Call, timing: Timing) -> DeployId {
        let id = self.0.make(call, timing);
        pass(timing.request).await;
        id
    }

    fn admit(&self, call: &Call) -> Result<(), DriverError> {
        match self.0.admits(call) {
            true => Ok(()),
            false => Err(error(FailureKind::Definite, "401 unauthorized")),
        }
    }

    async fn no_answer(&self, call: &Call) -> DriverError {
        sleep(call.deadline).await;
        error(FailureKind::Unknown, "no answer within the deadline")
    }

    /// Changes a machine's power: on, off, or off and on again.
    async fn switch(&self, call: &Call, id: &DeployId, on: bool) -> Result<(), DriverError> {
        self.admit(call)?;
        self.0.settle_departures();
        let how = lock(&self.0.powering).get(id.as_str()).copied();
        match how {
            Some(Powering::Refuse) => {
                return Err(error(FailureKind::Definite, "the machine is busy"));
            }
            Some(Powering::LoseRequest) => {
                return Err(error(FailureKind::Unknown, "the connection broke"));
            }
            _ => {}
        }
        match lock(&self.0.machines).get_mut(id.as_str()) {
            None => return Err(error(FailureKind::NotFound, "no such machine")),
            Some(machine) => {
                machine.off = !on;
                if on {
                    machine.boots += 1;
                    if let Some(address) = lock(&self.0.next_address).clone() {
                        machine.address = address;
                    }
                }
            }
        }
        match how {
            Some(Powering::LoseAnswer) => Err(error(FailureKind::Unknown, "no answer within 30 s")),
            Some(Powering::Hang) => Err(self.no_answer(call).await),
            _ => Ok(()),
        }
    }

    /// The machine of another host of the same provision, one whose id is known for that host: which
    /// of two hosts a driver lies about could not be told otherwise.
    fn of_another_host(&self, call: &Call) -> Option<DeployId> {
        // All names of a provision's hosts begin with the same: they end in the host's number.
        let (provision, _) =
            call.host.name.split_at_checked(call.host.name.len().checked_sub(16)?)?;
        let machines = lock(&self.0.machines);
        let other = machines.iter().find(|(_, machine)| {
            machine.known && machine.name != call.host.name && machine.name.starts_with(provision)
        });
        other.and_then(|(id, _)| DeployId::new(id))
    }
}

#[async_trait]
impl Driver for CloudDriver {
    fn describe(&self) -> Description {
        Description {
            configurable: self.0.configurable,
            parameters: self.0.parameters.clone(),
            ..Description::new("cloud", "a cloud of the tests")
        }
    }

    fn settle(&self) -> Duration {
        self.0.temper.settle()
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        self.admit(call)?;
        if let Some(id) = call.host.parameter("DEPLOY_ID").and_then(DeployId::new) {
            return self.switch(call, &id, true).await.map(|()| id);
        }
        *lock(&self.0.asked) += 1;
        let name = call.host.template.text("PROVISION/HOSTNAME").unwrap_or_default().to_owned();
        let scripted = lock(&self.0.deploys).get(&name).copied();
        let timing = self.0.temper.timing();
        match scripted.or_else(|| self.0.temper.deploy()) {
            None => {
                let id = self.make(call, timing).await;
                pass(timing.answer).await;
                Ok(id)
            }
            Some(Deploy::Refuse) => Err(error(FailureKind::Definite, "quota exceeded")),
            Some(Deploy::LoseRequest) => Err(error(FailureKind::Unknown, "the connection broke")),
            Some(Deploy::LoseAnswer) => {
                self.make(call, timing).await;
                Err(error(FailureKind::Unknown, "no answer within 30 s"))
            }
            Some(Deploy::NameThenFail) => {
                let deploy_id = Some(self.make(call, timing).await);
                Err(DriverError { deploy_id, ..error(FailureKind::Unknown, "boot failed") })
            }
            Some(Deploy::NameThenLose) => {
                let id = self.make(call, timing).await;
                call.watch.deploy_id(&id).await;
                pass(timing.answer).await;
                Err(error(FailureKind::Unknown, "killed by signal 9"))
            }
            Some(Deploy::NameTwice) => {
                let id = self.make(call, timing).await;
                call.watch.deploy_id(&id).await;
                pass(timing.answer).await;
                call.watch.deploy_id(&id).await;
                Ok(id)
            }
            Some(Deploy::Hang) => {
                self.make(call, timing).await;
                Err(self.no_answer(call).await)
            }
            Some(Deploy::HangEmpty) => Err(self.no_answer(call).await),
            Some(Deploy::Late(time)) => {
                let id = self.make(call, timing).await;
                sleep(time.min(call.deadline)).await;
                Ok(id)
            }
            Some(Deploy::ForeignId) => match self.of_another_host(call) {
                Some(id) => Ok(id),
                None => Err(error(FailureKind::Definite, "quota exceeded")),
            },
        }
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.admit(call)?;
        self.0.settle_departures();
        if !lock(&self.0.machines).contains_key(id.as_str()) {
            return Err(error(FailureKind::NotFound, "no such machine"));
        }
        let denies = {
            let mut denying = lock(&self.0.denying);
            let denies = *denying > 0;
            *denying = denying.saturating_sub(1);
            denies
        };
        if denies {
            let words = match *lock(&self.0.denying_it) {
                true => format!("machine {id} not found"),
                false => "the data center cannot be found".to_owned(),
            };
            return Err(error(FailureKind::NotFound, &words));
        }
        let scripted = {
            let mut stubborn = lock(&self.0.stubborn);
            let is_stubborn = *stubborn > 0;
            *stubborn = stubborn.saturating_sub(1);
            is_stubborn.then_some(Cancel::NoEffect)
        };
        let change = |change: &dyn Fn(&mut Machine)| {
            if let Some(machine) = lock(&self.0.machines).get_mut(id.as_str()) {
                change(machine);
            }
        };
        match scripted.or_else(|| self.0.temper.cancel()) {
            None => {
                lock(&self.0.machines).remove(id.as_str());
                Ok(())
            }
            Some(Cancel::Refuse) => Err(error(FailureKind::Definite, "the machine is busy")),
            Some(Cancel::LoseRequest) => Err(error(FailureKind::Unknown, "the connection broke")),
            Some(Cancel::LoseAnswer) => {
                lock(&self.0.machines).remove(id.as_str());
                Err(error(FailureKind::Unknown, "no answer within 30 s"))
            }
            Some(Cancel::NoEffect) => {
                change(&|machine| machine.cancelled = true);
                Ok(())
            }
            Some(Cancel::Slow(time)) => {
                let gone = Instant::now() + time;
                change(&|machine| {
                    machine.cancelled = true;
                    machine.gone.get_or_insert(gone);
                });
                Ok(())
            }
            Some(Cancel::Hang) => Err(self.no_answer(call).await),
        }
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.admit(call)?;
        self.0.settle_departures();
        let machine = lock(&self.0.machines).get_mut(id.as_str()).map(|machine| {
            machine.known = true;
            machine.clone()
        });
        let Some(machine) = machine else {
            return Err(error(FailureKind::NotFound, "no such machine"));
        };
        let state = |state| Ok(PollReport::new(state, Vec::new()));
        let answer = self.0.temper.poll(machine.cancelled);
        let answer = answer.filter(|answer| !(machine.denied && *answer == Poll::NotFound));
        if let Some(machine) = lock(&self.0.machines).get_mut(id.as_str()) {
            machine.denied = answer == Some(Poll::NotFound);
        }
        match answer {
            None if machine.off => state(MachineState::Gone),
            None if Instant::now() < machine.up => state(MachineState::Paused),
            None => Ok(PollReport::new(MachineState::Active, vec![machine.address])),
            Some(Poll::Lose) => Err(self.no_answer(call).await),
            Some(Poll::Refuse) => Err(error(FailureKind::Definite, "internal server error")),
            Some(Poll::NotFound) => Err(error(FailureKind::NotFound, "no such machine")),
            Some(Poll::Off) => state(MachineState::Gone),
            Some(Poll::Error) => state(MachineState::Error),
            Some(Poll::Silent) => Ok(PollReport::default()),
            Some(Poll::OtherAddress) => {
                let address = format!("192.168.{}", machine.address.trim_start_matches("10.0."));
                if let Some(machine) = lock(&self.0.machines).get_mut(id.as_str()) {
                    machine.address.clone_from(&address);
                }
                Ok(PollReport::new(MachineState::Active, vec![address]))
            }
        }
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.switch(call, id, true).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.switch(call, id, true).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        _: ShutdownKind,
    ) -> Result<(), DriverError> {
        self.switch(call, id, false).await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        if !*lock(&self.0.lists) {
            return Err(error(FailureKind::Unsupported, "no list"));
        }
        self.admit(call)?;
        if self.0.temper.list_is_lost() {
            return Err(self.no_answer(call).await);
        }
        self.0.settle_departures();
        let machines = lock(&self.0.machines);
        let now = Instant::now();
        let listed = machines.iter().filter(|(_, machine)| machine.listed <= now);
        let list = listed.filter_map(|(id, machine)| {
            let attributes = Attributes::from_iter([
                ("KEY".to_owned(), machine.key.as_str().into()),
                ("NAME".to_owned(), machine.name.as_str().into()),
                ("GUEST_IP_ADDRESSES".to_owned(), machine.address.as_str().into()),
            ]);
            Some(ListedMachine { id: DeployId::new(id)?, attributes })
        });
        Ok(list.collect())
    }
}
