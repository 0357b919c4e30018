//! `host resolve`

use std::sync::Arc;

use model::DeployId;

use super::operation::narrate;
use crate::args::{Global, HostResolveArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::selection;

pub async fn run(global: &Global, args: &HostResolveArgs) -> Result<Exit, CliError> {
    let machine = match &args.exists {
        None => None,
        Some(id) => Some(DeployId::new(id).ok_or_else(|| {
            CliError::new(format!("{id:?} is no deploy id: it is empty or has control characters"))
        })?),
    };
    let progress = Arc::new(Progress::new(false, engine::SystemClock));
    let context = Context::open(global, None, progress).await?;
    let known =
        selection::recorded_hosts(&context.engine.records().await?, &context.engine.endpoint);
    let (provision, host) = known.select_one(&args.host)?;
    let report = context.engine.resolve_host(provision, host, machine.clone()).await?;
    match machine {
        Some(id) => narrate(&format!("Host {host} of provision {provision} has machine {id}.")),
        None => narrate(&format!("Host {host} of provision {provision} has no machine.")),
    }
    if report.record.state != model::ProvisionState::Deleted {
        narrate(&format!("  go on:       oneprovision resume {provision}"));
        narrate(&format!("  remove all:  oneprovision delete {provision}"));
    }
    if args.exists.is_some() {
        narrate(&format!(
            "  take back:   oneprovision host resolve {provision}:{host} --gone | --exists DEPLOY_ID"
        ));
    }
    Ok(Exit::Done)
}
