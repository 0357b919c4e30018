//! `list`

use super::print;
use super::watch::repeat;
use crate::args::{Global, ListArgs};
use crate::context::{Context, column_definitions};
use crate::error::CliError;
use crate::exit::Exit;
use crate::views::{provision, table};

pub async fn run(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let definitions = column_definitions()?;
    if args.table.describe {
        return print(&table::describe(&provision::COLUMNS, &definitions));
    }
    let context = Context::open(global, None, std::sync::Arc::new(engine::observe::Silent)).await?;
    context.tell_interrupted(None).await?;
    repeat(args.delay, async || {
        let overviews = context.engine.overviews().await?;
        provision::list(&overviews, &args.table, &definitions)
    })
    .await
}
