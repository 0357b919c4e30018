//! `host resolve`

use std::sync::Arc;

use engine::Word;
use model::DeployId;

use super::operation::{ask, narrate};
use crate::args::{Global, HostResolveArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
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
    let records = context.engine.sound_records().await?.sound;
    let known = selection::recorded_hosts(&records, &context.engine.endpoint);
    let (provision, host) = known.select_one(&args.host)?;
    let record = records.iter().find(|record| record.id == provision);
    let word = record.map(|record| context.engine.word_on(record, host, args.gone)).transpose()?;
    if let Some(Word::GivenUp(id)) = word {
        let question = format!(
            "Machine {id} of host {host} is never looked at again, whatever it costs. Is it gone?"
        );
        if !ask(global, &question)? {
            return Err(CliError::new("nothing was changed").code(Code::Confirmation));
        }
    }
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
