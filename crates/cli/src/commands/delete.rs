//! `delete`, `host delete`

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{DeleteRequest, Engine};
use model::{HostId, ProvisionId};

use super::operation::{
    Wanted, after_error, conclude, confirmed, narrate, progress, stop_on_signals,
};
use super::provision_id;
use crate::args::{DeleteArgs, Global, HostDeleteArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::selection;

pub async fn run(global: &Global, args: &DeleteArgs) -> Result<Exit, CliError> {
    let id = provision_id(&args.provision)?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress);
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(Some(id)).await?;
    let along = match args.cleanup.cleanup {
        true => ", with the VMs on its hosts and the images in its datastores",
        false => "",
    };
    let question = format!("Delete provision {id}, its machines and all its objects{along}?");
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted"));
    }
    stop_on_signals(&engine.stop)?;
    narrate("WARNING: This operation can take tens of minutes. Please be patient.");
    let cleanup = args.cleanup.seconds();
    let report = engine.delete(DeleteRequest { id, hosts: None, cleanup }).await;
    progress.finish();
    match report {
        Ok(report) => Ok(conclude(&report, Wanted::Absent)),
        Err(error) => Err(after_error(&engine, error, id, Wanted::Absent).await),
    }
}

pub async fn run_hosts(global: &Global, args: &HostDeleteArgs) -> Result<Exit, CliError> {
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress);
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(None).await?;
    let chosen = selection::hosts(&engine.overviews().await?).select(&args.hosts)?;
    let mut by_provision: BTreeMap<ProvisionId, Vec<HostId>> = BTreeMap::new();
    for host in &chosen {
        let id = host.id.ok_or_else(|| {
            CliError::new(format!("{} has no object in OpenNebula", host.name))
                .code(Code::NotFound).hint(format!(
                "`oneprovision delete {0}` removes all of its provision, `oneprovision show {0}` \
                 tells what is known of it",
                host.provision
            ))
        })?;
        by_provision.entry(host.provision).or_default().push(id);
    }
    let question = format!("Delete {} and their machines?", count(chosen.len(), "host"));
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    let mut worst = Exit::Done;
    for (id, hosts) in by_provision {
        let report = engine.delete(DeleteRequest { id, hosts: Some(hosts), cleanup: None }).await;
        let exit = match report {
            Ok(report) => conclude(&report, Wanted::Absent),
            Err(error) => {
                progress.finish();
                return Err(error.into());
            }
        };
        if exit.code() > worst.code() {
            worst = exit;
        }
    }
    progress.finish();
    Ok(worst)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
