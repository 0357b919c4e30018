//! `validate`

use super::print;
use crate::args::{Global, ValidateArgs};
use crate::error::CliError;
use crate::exit::Exit;
use crate::inputs::{self, Purpose};

pub async fn run(global: &Global, args: &ValidateArgs) -> Result<Exit, CliError> {
    let provider = args.provider.as_deref();
    let loaded =
        inputs::load(&args.template, &args.inputs, provider, global, Purpose::Check).await?;
    match (&loaded.spec, loaded.dump()) {
        (None, _) => Ok(Exit::Error),
        (Some(_), Some(dump)) if args.dump => print(&dump),
        (Some(_), _) => Ok(Exit::Done),
    }
}
