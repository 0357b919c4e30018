//! `delete`, `host delete`

use std::sync::Arc;

use engine::{DeleteRequest, Engine};
use model::HostId;

use super::operation::{
    Wanted, after_error, conclude, conclude_hosts, confirmed, count, narrate, progress,
    stop_on_signals, with_objects,
};
use super::provision_named;
use crate::args::{DeleteArgs, Global, HostDeleteArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::selection::{self, HostChoice};

pub async fn run(global: &Global, args: &DeleteArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Nothing)?;
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(Some(id)).await?;
    let along = match args.cleanup.cleanup {
        true => ", with the VMs on its hosts and the images in its datastores",
        false => "",
    };
    let record = engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    let name = record.and_then(|record| record.create).map(|create| format!(" ({})", create.name));
    let name = name.unwrap_or_default();
    let question = format!("Delete provision {id}{name}, its machines and all its objects{along}?");
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted").code(Code::Confirmation));
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
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Nothing)?;
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(None).await?;
    let chosen = selection::hosts(&engine.overviews().await?).select(&args.hosts)?;
    // A machine goes also if somebody deleted its host's object.
    let recorded = |host: HostChoice| HostChoice { id: host.id.or(host.gone), ..host };
    let by_provision = with_objects(&chosen.iter().cloned().map(recorded).collect::<Vec<_>>())?;
    let question = format!("Delete {} and their machines?", count(chosen.len(), "host"));
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    let gone: Vec<HostId> = chosen.iter().filter_map(|host| host.gone).collect();
    let mut worst = Exit::Done;
    for (id, hosts) in by_provision {
        let request = DeleteRequest { id, hosts: Some(hosts.clone()), cleanup: None };
        let exit = match engine.delete(request).await {
            Ok(report) => conclude_hosts(&report, &hosts, &gone),
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
