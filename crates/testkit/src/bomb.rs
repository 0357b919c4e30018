//! Death at a chosen point: before or after any journal write, front-end call or driver call. What
//! is killed never runs on, as with SIGKILL.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use configure::{Configure, Done, Machine, Patience, Plan, Run, Trouble, Watch};
use driver::api::{
    Action, Call, Description, Driver, DriverError, ListedMachine, ProcessRecord, ShutdownKind,
};
use driver::poll::PollReport;
use engine::{DriverSource, Stop};
use journal::{Entry, Event, Journal, JournalError};
use model::{DeployId, ProvisionId};
use opennebula::{Transport, TransportError};
use tokio::sync::watch;

use crate::lock;

/// Where a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Around a write of the journal.
    Journal,
    /// Around a call to the front-end.
    FrontEnd,
    /// Around a call of a driver.
    Driver,
    /// Around a login or a stage of a machine's configuration.
    Configure,
}

/// Counts the points that an operation passes, and stops it for ever at the chosen one.
#[derive(Debug, Default)]
pub struct Bomb {
    passed: AtomicUsize,
    /// Number of the deadly point, from 1; 0 for none.
    at: AtomicUsize,
    dead: watch::Sender<bool>,
    place: Mutex<Option<Place>>,
    /// What is asked to stop, and at which point.
    stop: Mutex<Option<(usize, Stop)>>,
}

impl Bomb {
    /// Kills at the point of that number, from 1; 0 only counts. The count begins anew.
    pub fn arm(&self, at: usize) {
        self.passed.store(0, Ordering::SeqCst);
        self.dead.send_replace(false);
        self.at.store(at, Ordering::SeqCst);
    }

    /// Kills nothing, and asks for an orderly end at the point of that number, from 1. The count begins anew.
    pub fn stop_at(&self, at: usize, stop: &Stop) {
        self.arm(0);
        *lock(&self.stop) = Some((at, stop.clone()));
    }

    /// From here on nothing is killed; the count stays.
    pub fn disarm(&self) {
        self.at.store(0, Ordering::SeqCst);
    }

    /// Points passed since it was armed.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    /// Waits for the end.
    pub async fn exploded(&self) {
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Where it went off.
    pub fn place(&self) -> Option<Place> {
        *lock(&self.place)
    }

    async fn point(&self, place: Place) {
        let n = self.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((_, stop)) = lock(&self.stop).as_ref().filter(|(at, _)| *at == n) {
            stop.request();
        }
        let at = self.at.load(Ordering::SeqCst);
        if at != 0 && n >= at {
            lock(&self.place).get_or_insert(place);
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

/// A journal that is killed before or after a write.
pub struct KillableJournal(pub Arc<dyn Journal>, pub Arc<Bomb>);

#[async_trait]
impl Journal for KillableJournal {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.1.point(Place::Journal).await;
        let written = self.0.append(provision, at, events).await;
        self.1.point(Place::Journal).await;
        written
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        self.0.entries(provision).await
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        self.0.provisions().await
    }
}

/// A front-end whose caller is killed before or after a call.
pub struct KillableTransport(pub Arc<dyn Transport>, pub Arc<Bomb>);

#[async_trait]
impl Transport for KillableTransport {
    fn endpoint(&self) -> &str {
        self.0.endpoint()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        self.1.point(Place::FrontEnd).await;
        let answer = self.0.exchange(request, deadline).await;
        self.1.point(Place::FrontEnd).await;
        answer
    }
}

/// Drivers whose caller is killed before or after a call.
pub struct KillableDrivers(pub Arc<dyn DriverSource>, pub Arc<Bomb>);

impl DriverSource for KillableDrivers {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        Ok(Arc::new(KillableDriver(self.0.find(name)?, Arc::clone(&self.1))))
    }
}

/// What configures machines for a caller who is killed before or after that.
pub struct KillableConfigure(pub Arc<dyn Configure>, pub Arc<Bomb>);

#[async_trait]
impl Configure for KillableConfigure {
    async fn check(&self, plan: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        self.0.check(plan).await
    }

    async fn reach(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        self.1.point(Place::Configure).await;
        let answer = self.0.reach(provision, machine, patience, watch).await;
        self.1.point(Place::Configure).await;
        answer
    }

    async fn run(&self, run: &Run, watch: &dyn Watch) -> Vec<Result<Done, Trouble>> {
        self.1.point(Place::Configure).await;
        let answer = self.0.run(run, watch).await;
        self.1.point(Place::Configure).await;
        answer
    }

    async fn default_nic(
        &self,
        provision: ProvisionId,
        machine: &Machine,
    ) -> Result<String, Trouble> {
        self.1.point(Place::Configure).await;
        let answer = self.0.default_nic(provision, machine).await;
        self.1.point(Place::Configure).await;
        answer
    }

    fn forget(&self, provision: ProvisionId, alias: &str) {
        self.0.forget(provision, alias);
    }

    fn discard(&self, provision: ProvisionId) {
        self.0.discard(provision);
    }
}

struct KillableDriver(Arc<dyn Driver>, Arc<Bomb>);

impl KillableDriver {
    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        self.1.point(Place::Driver).await;
        let answer = call.await;
        self.1.point(Place::Driver).await;
        answer
    }
}

#[async_trait]
impl Driver for KillableDriver {
    fn describe(&self) -> Description {
        self.0.describe()
    }

    fn lacks(&self, action: Action) -> Option<String> {
        self.0.lacks(action)
    }

    fn polls_together(&self, call: &Call) -> bool {
        self.0.polls_together(call)
    }

    fn settle(&self) -> Duration {
        self.0.settle()
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        self.around(self.0.deploy(call)).await
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.around(self.0.cancel(call, id)).await
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.around(self.0.poll(call, id)).await
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.around(self.0.reboot(call, id)).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.around(self.0.reset(call, id)).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        self.around(self.0.shutdown(call, id, kind)).await
    }

    async fn recover(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        self.around(self.0.recover(call, process)).await
    }

    async fn finish(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        self.around(self.0.finish(call, process)).await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        self.around(self.0.list(call)).await
    }
}
