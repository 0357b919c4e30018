//! The provider of simulated machines: it takes its time and never fails.
//!
//! All that is known of machines is in one place, so that one call can tell of one of them or of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use driver::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, MachineState, PollReport,
    ShutdownKind,
};
use drivers::gather::Gather;
use engine::DriverSource;
use model::{Attributes, DeployId};
use tokio::time::{Instant, sleep};

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Each call.
    pub latency: Duration,
    /// From the end of its deploy to a machine's address.
    pub boot: Duration,
}

/// How often each action was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Calls {
    /// `deploy`
    pub deploys: usize,
    /// `poll`
    pub polls: usize,
    /// `list`
    pub lists: usize,
    /// `cancel`
    pub cancels: usize,
}

struct Machine {
    key: String,
    name: String,
    address: String,
    up: Instant,
}

#[derive(Default)]
struct State {
    machines: BTreeMap<String, Machine>,
    made: usize,
    calls: Calls,
    in_flight: usize,
    most_in_flight: usize,
}

/// The provider.
pub struct Cloud {
    manners: Manners,
    looks: Gather<(), (), ()>,
    state: Mutex<State>,
}

impl Cloud {
    /// A provider without machines.
    pub fn new(manners: Manners) -> Self {
        Self { manners, looks: Gather::new(Duration::from_millis(50)), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often each action was asked for.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// Most calls that were in flight at a time.
    pub fn most_in_flight(&self) -> usize {
        self.state().most_in_flight
    }

    /// The number of machines that are paid for.
    pub fn bill(&self) -> usize {
        self.state().machines.len()
    }

    /// Looks at all machines: their id, key, name and address.
    ///
    /// # Errors
    /// The first that `look` has.
    pub fn each(
        &self,
        mut look: impl FnMut([&str; 4]) -> crate::failure::Result<()>,
    ) -> crate::failure::Result<()> {
        self.state()
            .machines
            .iter()
            .try_for_each(|(id, machine)| look([id, &machine.key, &machine.name, &machine.address]))
    }

    /// Takes a machine over from another provider.
    pub fn take(&self, [id, key, name, address]: [String; 4]) {
        let machine = Machine { key, name, address, up: Instant::now() };
        self.state().machines.insert(id, machine);
    }

    /// A call takes its time.
    async fn call(&self, count: impl FnOnce(&mut Calls)) {
        {
            let mut state = self.state();
            count(&mut state.calls);
            state.in_flight += 1;
            state.most_in_flight = state.most_in_flight.max(state.in_flight);
        }
        if !self.manners.latency.is_zero() {
            sleep(self.manners.latency).await;
        }
        self.state().in_flight -= 1;
    }
}

impl Machine {
    fn report(&self) -> PollReport {
        match Instant::now() < self.up {
            true => PollReport::new(MachineState::Paused, Vec::new()),
            false => PollReport::new(MachineState::Active, vec![self.address.clone()]),
        }
    }
}

fn not_found() -> DriverError {
    DriverError::new(FailureKind::NotFound, "no such machine")
}

/// The driver of a [`Cloud`], and the only one that there is.
pub struct CloudDriver(pub Arc<Cloud>);

impl DriverSource for CloudDriver {
    fn find(&self, _: &str) -> Result<Arc<dyn Driver>, String> {
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl Driver for CloudDriver {
    fn describe(&self) -> Description {
        Description { configurable: false, ..Description::new("cloud", "simulated machines") }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        self.0.call(|calls| calls.deploys += 1).await;
        let mut state = self.0.state();
        let number = state.made;
        state.made += 1;
        let id = format!("m-{number}");
        let address = format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255);
        let up = Instant::now() + self.0.manners.boot;
        let machine = Machine { key: call.key.clone(), name: call.host.name.clone(), address, up };
        state.machines.insert(id.clone(), machine);
        DeployId::new(&id).ok_or_else(not_found)
    }

    async fn cancel(&self, _: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.0.call(|calls| calls.cancels += 1).await;
        let removed = self.0.state().machines.remove(id.as_str());
        removed.map(drop).ok_or_else(not_found)
    }

    /// All who ask within a moment are told by one list.
    async fn poll(&self, _: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.0.state().calls.polls += 1;
        let cloud = Arc::clone(&self.0);
        let fetch = async move |_| cloud.call(|calls| calls.lists += 1).await;
        self.0.looks.ask((), (), fetch).await.ok_or_else(not_found)?;
        self.0.state().machines.get(id.as_str()).map(Machine::report).ok_or_else(not_found)
    }

    fn polls_together(&self, _: &Call) -> bool {
        true
    }

    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
        Ok(())
    }

    async fn list(&self, _: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        self.0.call(|calls| calls.lists += 1).await;
        let state = self.0.state();
        let listed = state.machines.iter().filter_map(|(id, machine)| {
            let mut attributes = Attributes::new();
            attributes.push("KEY", machine.key.as_str());
            attributes.push("NAME", machine.name.as_str());
            if Instant::now() >= machine.up {
                attributes.push("IP", machine.address.as_str());
            }
            Some(ListedMachine { id: DeployId::new(id)?, attributes })
        });
        Ok(listed.collect())
    }
}
