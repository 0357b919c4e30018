//! `image build`

use super::operation::narrate;
use super::print;
use crate::args::{Global, ImageBuildArgs};
use crate::context::{Folders, absolute};
use crate::error::CliError;
use crate::exit::Exit;

pub async fn build(global: &Global, args: &ImageBuildArgs) -> Result<Exit, CliError> {
    let output = match &args.output {
        Some(output) => absolute(output)?,
        None => {
            let folders = Folders::of(global)?;
            folders.make_state()?;
            folders.state.join(drivers::qemu::RESCUE)
        }
    };
    drivers::rescue::build(&output, &|line: &str| narrate(line))
        .await
        .map_err(|e| CliError::caused("the rescue image cannot be made", e))?;
    for name in [drivers::rescue::KERNEL, drivers::rescue::INITRD] {
        print(&format!("{}\n", output.join(name).display()))?;
    }
    Ok(Exit::Done)
}
