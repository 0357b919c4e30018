//! `list`

use super::print;
use crate::args::{Global, ListArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::views::provision;

pub async fn run(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let context = Context::open(global, None, std::sync::Arc::new(engine::observe::Silent)).await?;
    context.tell_interrupted(None).await?;
    let overviews = context.engine.overviews().await?;
    print(&provision::list(&overviews, args)?)
}
