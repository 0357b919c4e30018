//! `driver list`, `driver show`, `driver install`, and the program as a driver's executable.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::sync::Arc;

use template::DriverCatalog as _;

use super::operation::narrate;
use super::print;
use crate::args::{DriverShowArgs, Global, InstallArgs, TableArgs};
use crate::context::{Folders, absolute};
use crate::driver_source::Drivers;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::front_end_hosts::HostsOfFrontEnd;
use crate::views::{driver as view, table};

/// `driver list`. A driver that cannot be used is in the list, with the reason.
pub fn list(global: &Global, args: &TableArgs) -> Result<Exit, CliError> {
    if args.describe {
        return print(&table::describe(&view::COLUMNS, &table::Definitions::default()));
    }
    let drivers = Drivers::new(&Folders::of(global)?, None, false);
    let mut rows = Vec::new();
    for name in drivers.names() {
        match drivers.describe(&name) {
            Ok(description) => {
                if let Some(problem) = &description.problem {
                    narrate(&format!("warning: {problem}"));
                }
                rows.push(view::row(&name, &description, &drivers.actions(&name)));
            }
            Err(why) => {
                narrate(&format!("warning: {why}"));
                rows.push(view::unusable(&name));
            }
        }
    }
    print(&view::list(rows).render(args)?)
}

/// `driver show`
pub fn show(global: &Global, args: &DriverShowArgs) -> Result<Exit, CliError> {
    let drivers = Drivers::new(&Folders::of(global)?, None, false);
    let description = drivers.describe(&args.name).map_err(|why| {
        CliError::new(why)
            .code(Code::Driver)
            .hint("`oneprovision driver list` lists the drivers that there are")
    })?;
    if let Some(problem) = &description.problem {
        narrate(&format!("warning: {problem}"));
    }
    let actions = drivers.actions(&args.name);
    print(&view::show(&args.name, &description, &actions, args.format)?)
}

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
    let hosts = Arc::new(HostsOfFrontEnd);
    let variable = |variable: &str| std::env::var_os(variable);
    drivers::multicall(name, arguments.collect(), &variable, Some(hosts))
}
