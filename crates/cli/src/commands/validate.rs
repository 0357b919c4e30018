//! `validate`, and the reading of a template that `create` shares.

use std::io::Write;
use std::path::Path;

use template::{FileReader, Loaded, Options};

use super::print;
use crate::args::ValidateArgs;
use crate::error::CliError;
use crate::exit::Exit;

pub fn run(args: &ValidateArgs) -> Result<Exit, CliError> {
    let loaded = load(&args.template)?;
    match (&loaded.spec, loaded.dump()) {
        (None, _) => Ok(Exit::Error),
        (Some(_), Some(dump)) if args.dump => print(&dump),
        (Some(_), _) => Ok(Exit::Done),
    }
}

/// Reads a template and tells every mistake in it, one diagnostic each, on standard error.
pub fn load(path: &Path) -> Result<Loaded, CliError> {
    let loaded = template::load(path, &FileReader, &Options::default());
    let mut stderr = std::io::stderr().lock();
    for diagnostic in &loaded.diagnostics {
        let text = template::render(diagnostic, &loaded.sources);
        writeln!(stderr, "{}", text.trim_end())
            .map_err(|e| CliError::caused("standard error cannot be written", e))?;
    }
    Ok(loaded)
}
