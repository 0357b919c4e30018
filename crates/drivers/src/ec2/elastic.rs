//! Elastic IPs: one that exists is given to the instance, or one of its own is allocated for it.
//!
//! An address that nobody uses is paid for. So one of ours is tagged with its instance when it is
//! allocated, is looked for by that tag before another one is, and goes when the instance goes.

use driver::DriverError;
use model::DeployId;
use tokio::time::Instant;

use super::Ec2;
use super::api::{Address, ApiError};
use super::instance::Instance;
use super::parameters::{Account, Elastic};
use crate::common::{definite, unknown};
use crate::http::Failure;

/// The tag of an address that was allocated for an instance.
const TAG: &str = "ONEPROVISION_INSTANCE";

impl Ec2 {
    /// The elastic IPs that were allocated for an instance.
    async fn own_addresses(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<Vec<Address>, DriverError> {
        let found = self.api(account, until)?.addresses(&format!("tag:{TAG}"), id.as_str()).await;
        found.map_err(|error| error.of_look(&format!("the elastic IPs of {id} cannot be listed")))
    }

    /// The elastic IP that is wanted, if it is there already.
    async fn wanted_address(
        &self,
        account: &Account,
        elastic: &Elastic,
        id: &DeployId,
        until: Instant,
    ) -> Result<Option<Address>, DriverError> {
        let text = match elastic {
            Elastic::Own => {
                return Ok(self.own_addresses(account, id, until).await?.into_iter().next());
            }
            Elastic::Existing(text) => text,
        };
        let filter = if text.starts_with("eipalloc-") { "allocation-id" } else { "public-ip" };
        let found = self.api(account, until)?.addresses(filter, text).await;
        let found = found.map_err(|error| error.of_look("the elastic IP cannot be looked for"))?;
        let address = found.into_iter().next().ok_or_else(|| {
            definite(format!(
                "there is no elastic IP {text} in {}\nCheck the parameter elasticip.",
                account.region
            ))
        })?;
        match address.instance.as_deref() {
            Some(other) if other != id.as_str() => Err(definite(format!(
                "the elastic IP {text} belongs to instance {other}\nCheck the parameter elasticip."
            ))),
            _ => Ok(Some(address)),
        }
    }

    /// Whether the instance has the address that is wanted for it.
    pub(super) async fn has_address(
        &self,
        account: &Account,
        elastic: &Elastic,
        instance: &Instance,
        until: Instant,
    ) -> Result<bool, DriverError> {
        if let Elastic::Existing(text) = elastic
            && instance.public_ip() == Some(text)
        {
            return Ok(true);
        }
        let address = self.wanted_address(account, elastic, &instance.id, until).await?;
        Ok(address.is_some_and(|a| a.instance.as_deref() == Some(instance.id.as_str())))
    }

    /// Gives a running instance the address that is wanted for it.
    pub(super) async fn give_address(
        &self,
        account: &Account,
        elastic: &Elastic,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        let mut address = self.wanted_address(account, elastic, id, until).await?;
        if address.is_none() {
            let allocated = self.api(account, until)?.allocate(&[(TAG, id.as_str())]).await;
            match allocated {
                // An answer that was lost is found by the tag, now or at the next look.
                Ok(()) | Err(ApiError::Failed(Failure::Unknown(_))) => {}
                Err(error) => {
                    return Err(error.of_look(&format!("no elastic IP was allocated for {id}")));
                }
            }
            address = self.wanted_address(account, elastic, id, until).await?;
        }
        let Some(address) = address else {
            return Err(unknown(format!("the elastic IP of {id} is not listed yet")));
        };
        let given = self.api(account, until)?.associate(id, &address).await;
        given.map_err(|error| error.of_look(&format!("{id} was not given its elastic IP")))
    }

    /// Releases what was allocated for an instance.
    pub(super) async fn release_addresses(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        for address in self.own_addresses(account, id, until).await? {
            let released = self.api(account, until)?.release(&address).await;
            released.map_err(|error| {
                let what = format!(
                    "instance {id} is gone, but its elastic IP {} is still there",
                    address.allocation
                );
                // Not "refused": the instance is gone, and the cancel has to come again.
                unknown(error.of_look(&what).message)
            })?;
        }
        Ok(())
    }
}
