//! The host of a driver's call, asked of the front-end: for tools that call our drivers as those of 5.12.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::DeploymentFile;
use driver::deployment::hide_secrets;
use driver::harness::Hosts;
use model::HostId;
use opennebula::{Client, ClientSettings};

use crate::connection::connection;
use crate::context::find_front_end;
use crate::log::one_line;

/// The front-end that the environment names, as for every other command.
pub struct HostsOfFrontEnd;

#[async_trait]
impl Hosts for HostsOfFrontEnd {
    async fn find(
        &self,
        id: Option<HostId>,
        name: Option<&str>,
    ) -> Result<Option<DeploymentFile>, String> {
        let found = find_front_end(None, None, None).map_err(|error| one_line(&error))?;
        let connected = connection(&found.endpoint);
        let (transport, call_deadline) = connected.map_err(|error| one_line(&error))?;
        // Whoever calls a driver waits for it.
        let patience = Duration::from_secs(5);
        let settings = ClientSettings {
            patience,
            call_deadline,
            first_contact: patience,
            ..ClientSettings::default()
        };
        let client = Client::new(Arc::new(transport), found.credentials, settings);
        let id = match (id, name) {
            (Some(id), _) => id,
            (None, Some(name)) => {
                let hosts = client.hosts();
                let ids = hosts.pool_map(|host| (host.name == name).then_some(host.id));
                match ids.await.map_err(|error| one_line(&error))?.first() {
                    Some(id) => *id,
                    None => return Ok(None),
                }
            }
            (None, None) => return Ok(None),
        };
        let host = match client.hosts().info_decrypted(id).await {
            Ok(host) => host,
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(one_line(&error)),
        };
        Ok(Some(DeploymentFile {
            id: Some(host.id),
            name: host.name,
            im_mad: host.im_mad,
            vm_mad: host.vm_mad,
            pm_mad: host.template.text("PM_MAD").unwrap_or_default().to_owned(),
            cluster: Some((host.cluster_id, host.cluster_name)),
            template: hide_secrets(host.template),
        }))
    }
}
