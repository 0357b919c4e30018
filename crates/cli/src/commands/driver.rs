//! `driver install`, and the program as a driver's executable.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use super::operation::narrate;
use super::print;
use crate::args::InstallArgs;
use crate::context::absolute;
use crate::error::CliError;
use crate::exit::Exit;

pub fn install(args: &InstallArgs) -> Result<Exit, CliError> {
    let program = std::env::current_exe()
        .map_err(|e| CliError::caused("the path of this program is not known", e))?;
    let dir = absolute(&args.dir)?;
    let names = if args.names.is_empty() {
        drivers::BUILTIN.iter().map(|name| (*name).to_owned()).collect()
    } else {
        args.names.clone()
    };
    for name in &names {
        drivers::install(&dir, &program, name).map_err(|e| {
            CliError::caused(format!("driver {name} cannot be installed in {}", dir.display()), e)
        })?;
        print(&format!("{}\n", dir.join(name).display()))?;
    }
    narrate("The executables are links to this program: they stay with it when it is replaced.");
    Ok(Exit::Done)
}

/// Runs a driver's action if the program was called by the name of one.
pub fn multicall(name: &OsStr, arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    drivers::multicall(name, arguments.collect(), &|variable| std::env::var_os(variable))
}
