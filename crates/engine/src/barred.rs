//! A driver that is not asked, because the credentials of its host cannot be read: with others a provider may well say
//! that there is no such machine, and be believed.

use std::sync::Arc;

use async_trait::async_trait;
use driver::api::{
    Action, Call, Description, Driver, DriverError, FailureKind, ListedMachine, ShutdownKind,
};
use driver::poll::PollReport;
use model::{DeployId, HostKey, ProvisionId};

/// In place of a host's driver.
pub(crate) struct Barred {
    driver: Arc<dyn Driver>,
    why: String,
}

impl Barred {
    pub fn new(driver: Arc<dyn Driver>, provision: ProvisionId, host: HostKey) -> Self {
        let why = format!(
            "the credentials of host {host} cannot be read, so that its driver is not asked: the document that has \
             them was deleted, or this user may not read it; if the template is unchanged, `oneprovision resume \
             {provision}` has them from there"
        );
        Self { driver, why }
    }

    fn no<T>(&self) -> Result<T, DriverError> {
        Err(DriverError::new(FailureKind::Setup, self.why.clone()))
    }
}

#[async_trait]
impl Driver for Barred {
    fn describe(&self) -> Description {
        self.driver.describe()
    }

    fn lacks(&self, action: Action) -> Option<String> {
        self.driver.lacks(action)
    }

    async fn deploy(&self, _: &Call) -> Result<DeployId, DriverError> {
        self.no()
    }

    async fn cancel(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        self.no()
    }

    async fn poll(&self, _: &Call, _: &DeployId) -> Result<PollReport, DriverError> {
        self.no()
    }

    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        self.no()
    }

    async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        self.no()
    }

    async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
        self.no()
    }

    async fn list(&self, _: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        self.no()
    }
}
