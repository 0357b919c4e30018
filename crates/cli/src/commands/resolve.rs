//! `host resolve`

use std::sync::Arc;

use model::{DeployId, HostKey, ProvisionId};

use super::operation::narrate;
use super::provision_id;
use crate::args::{Global, HostResolveArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;

pub async fn run(global: &Global, args: &HostResolveArgs) -> Result<Exit, CliError> {
    let machine = match &args.exists {
        None => None,
        Some(id) => Some(DeployId::new(id).ok_or_else(|| {
            CliError::new(format!("{id:?} is no deploy id: it is empty or has control characters"))
        })?),
    };
    let context = Context::open(global, None, Arc::new(engine::observe::Silent)).await?;
    let (provision, host) = find(&context, &args.host).await?;
    let report = context.engine.resolve_host(provision, host, machine.clone()).await?;
    match machine {
        Some(id) => narrate(&format!("Host {host} of provision {provision} has machine {id}.")),
        None => narrate(&format!("Host {host} of provision {provision} has no machine.")),
    }
    if report.record.state != model::ProvisionState::Deleted {
        narrate(&format!("  go on:       oneprovision resume {provision}"));
        narrate(&format!("  remove all:  oneprovision delete {provision}"));
    }
    Ok(Exit::Done)
}

/// A host by its id in OpenNebula, or by provision and number.
async fn find(context: &Context, text: &str) -> Result<(ProvisionId, HostKey), CliError> {
    let bad = || {
        CliError::new(format!("{text:?} names no host whose machine may exist")).hint(
            "`oneprovision show` names them; without an object in OpenNebula as PROVISION:NUMBER",
        )
    };
    if let Some((provision, number)) = text.split_once(':') {
        let key = number.trim().parse().map_err(|_| bad())?;
        return Ok((provision_id(provision)?, HostKey(key)));
    }
    let id: i32 = text.trim().parse().map_err(|_| bad())?;
    let records = context.engine.records().await?;
    let host = records.iter().find_map(|record| {
        let here = record.create.as_ref().is_none_or(|c| c.endpoint == context.engine.endpoint);
        let host = record.hosts.values().find(|host| here && host.host_id == Some(id))?;
        Some((record.id, host.key))
    });
    host.ok_or_else(bad)
}
