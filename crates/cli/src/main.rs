//! The binary `oneprovision`: arguments to operations to views.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`args`] | the shape of the command line |
//! | [`commands`] | one file per command |
//! | [`completions`] | what shells complete |
//! | [`connection`] | TLS and deadlines of the front-end, from the environment |
//! | [`context`] | environment, folders, front-end, read once |
//! | `crash_points` | death at a chosen point, for the crash matrix; no release has it |
//! | [`driver_source`] | where drivers come from |
//! | [`failover`] | what to do when something fails: modes, or a menu |
//! | [`selection`] | ids, ranges, names: which objects a command is about |
//! | [`suggest`] | suggested commands, with the options of this one |
//! | [`front_end_hosts`] | hosts, for drivers that are called by another tool |
//! | [`views`] | tables, XML, JSON, YAML, CSV |
//! | [`progress`] | what is told while an operation runs |
//! | [`log`] | `-d` and `-D` |
//! | [`events`] | `--events`: what happens, as JSON |
//! | [`error`] | errors become words here, and only here |
//! | [`exit`] | the table of exit codes |

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

mod args;
mod commands;
mod completions;
mod connection;
mod context;
#[cfg(feature = "crash-points")]
mod crash_points;
mod driver_source;
mod error;
mod events;
mod exit;
mod failover;
mod front_end_hosts;
mod inputs;
mod log;
mod progress;
mod secret_source;
mod selection;
mod suggest;
mod views;

use args::Cli;
use exit::Exit;

/// A provision of many thousand hosts is a heap through which glibc's allocator takes ever longer
/// (`docs/BENCHMARKS.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Called by the name of a driver's action, the program is that driver.
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next()
        && let Some(code) = commands::driver::multicall(&name, arguments)
    {
        return code;
    }
    ExitCode::from(run().code())
}

fn run() -> Exit {
    if completions::answered() {
        return Exit::Done;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output or error leaves nobody to tell.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Done,
                _ => {
                    progress::screen::print(&format!("{}\n", error::Code::Usage.more()));
                    Exit::Error
                }
            };
        }
    };
    suggest::remember(&cli.global);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&error::CliError::caused("the program cannot be started", error));
        }
    };
    let ended = runtime.block_on(commands::run(cli));
    // What was left running on purpose (a driver that outlives us) must not keep us.
    runtime.shutdown_background();
    let exit = ended.as_ref().copied().unwrap_or_else(fail);
    match events::end(exit, ended.as_ref().err()) {
        Err(error) if exit == Exit::Done => fail(&error),
        Err(error) => {
            fail(&error);
            exit
        }
        Ok(()) => exit,
    }
}

fn fail(error: &error::CliError) -> Exit {
    progress::screen::print(&error.render());
    Exit::Error
}
