//! The host of a call by a tool that is not ours.
//!
//! The old tool gives `deploy` a file in which OpenNebula's encrypted attributes are cipher text, and the
//! other actions no file at all: the drivers of 5.12 asked the front-end for the host in clear, and so
//! does the harness, if it was given a way to ask.

use std::time::Duration;

use async_trait::async_trait;
use model::HostId;
use tokio::time::timeout;

use super::Invocation;
use crate::api::{Action, Driver};
use crate::deployment::DeploymentFile;

/// How long the front-end may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Hosts by id or name, with what is encrypted in clear.
#[async_trait]
pub trait Hosts: Send + Sync {
    /// The host of that id, else of that name; `None` if there is no such one. An error is a sentence for
    /// people.
    async fn find(
        &self,
        id: Option<HostId>,
        name: Option<&str>,
    ) -> Result<Option<DeploymentFile>, String>;
}

/// A host, and what kept it from being more complete.
pub(super) struct Found {
    pub host: DeploymentFile,
    pub problem: Option<String>,
}

/// Completes a host from the front-end, where that is of use: our own tool leaves nothing out, and not every
/// driver has credentials.
pub(super) async fn complete(
    host: DeploymentFile,
    invocation: &Invocation,
    driver: &dyn Driver,
    hosts: Option<&dyn Hosts>,
) -> Found {
    // Asked last: most calls are our own, and need no description made for them.
    let needed = || {
        let described = driver.describe().parameters.unwrap_or_default();
        described.iter().any(|parameter| parameter.account)
    };
    let deploy = invocation.action() == Action::Deploy;
    let bare = host.template.get("PROVISION").is_none();
    let name = Some(host.name.as_str()).filter(|name| !name.is_empty());
    let known = host.id.is_some() || name.is_some();
    let Some(hosts) =
        hosts.filter(|_| known && !invocation.is_ours() && (deploy || bare) && needed())
    else {
        return Found { host, problem: None };
    };
    let found = match timeout(PATIENCE, hosts.find(host.id, name)).await {
        Ok(found) => found,
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    let problem = match found {
        // The name says that it is the same host, and not one of another front-end.
        Ok(Some(found)) if bare || found.name == host.name => {
            return Found { host: found, problem: None };
        }
        Ok(Some(found)) => format!("there, the host of that id is {}", found.name),
        Ok(None) => "there is no such host".to_owned(),
        Err(problem) => problem,
    };
    // Who gave the parameters need not be told that nobody else has them.
    Found { host, problem: Some(problem).filter(|_| bare) }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
