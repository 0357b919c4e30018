//! `show`

use super::{print, provision_named};
use crate::args::{Global, ShowArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::views::provision;

pub async fn run(global: &Global, args: &ShowArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let context = Context::open(global, None, std::sync::Arc::new(engine::observe::Silent)).await?;
    context.tell_interrupted(Some(id)).await?;
    match context.engine.overview(id).await? {
        Some(overview) => print(&provision::show(&overview, args.format)?),
        None => Err(engine::EngineError::NotFound(id).into()),
    }
}
