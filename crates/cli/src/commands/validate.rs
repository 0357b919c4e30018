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
    // As in 6.x, a template is right whatever its inputs will be.
    if loaded.spec.is_none() && !loaded.lacks_inputs_only() {
        return Ok(Exit::Error);
    }
    match loaded.dump() {
        Some(dump) if args.dump => print(&dump),
        _ => Ok(Exit::Done),
    }
}
