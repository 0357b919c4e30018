//! `completions`: shells complete commands, options, and the ids of what there is.
//!
//! The shell's script calls this program with [`VARIABLE`] in its environment and the words so far.
//! Candidates from the front-end are asked for silently and for a short time: a shell that hangs, or
//! that prints an error into the line, is worse than none.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::{Command, CommandFactory, Parser};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use engine::Overview;
use journal::VirtualKind;

use crate::args::{Cli, Global};
use crate::commands::print;
use crate::context::{Context, Folders};
use crate::driver_source::Drivers;
use crate::error::CliError;
use crate::exit::Exit;

/// Set by the shells' scripts. The library's own name for it, `COMPLETE`, may be anybody's.
const VARIABLE: &str = "ONEPROVISION_COMPLETE";

/// More than this and nobody waits for it.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Answers a shell, if one asks. `true` if the program is at its end with that.
pub fn answered() -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let directory = std::env::current_dir().ok();
    let env = CompleteEnv::with_factory(command).var(VARIABLE);
    // An error is for nobody: the shell shows nothing then.
    env.try_complete(std::env::args_os(), directory.as_deref()).unwrap_or(true)
}

/// `completions SHELL`: the script for a shell.
pub fn script(shell: &str) -> Result<Exit, CliError> {
    let shells = Shells::builtins();
    let known: Vec<&str> = shells.names().collect();
    let completer = shells.completer(shell).ok_or_else(|| {
        CliError::new(format!("completions are not known for the shell '{shell}'"))
            .hint(format!("those are known: {}", known.join(", ")))
    })?;
    let program = std::env::current_exe()
        .map_err(|e| CliError::caused("the path of this program is not known", e))?;
    let (name, program) = (env!("CARGO_PKG_NAME"), program.to_string_lossy());
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, name, name, &program, &mut script)
        .map_err(|e| CliError::caused("the script cannot be written", e))?;
    print(&String::from_utf8_lossy(&script))
}

/// The command line, with candidates for the arguments that name something.
fn command() -> Command {
    with_candidates(Cli::command(), "")
}

fn with_candidates(command: Command, group: &str) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| {
        let candidates: fn() -> Vec<CompletionCandidate> = match (group, arg.get_id().as_str()) {
            (_, "provision") => provisions,
            ("host", "host" | "hosts") => hosts,
            ("cluster", "ids" | "objects") => clusters,
            ("datastore", "ids" | "objects") => datastores,
            ("vnet", "ids" | "objects") => vnets,
            ("image", "objects") => images,
            ("template", "objects") => templates,
            ("vntemplate", "objects") => vntemplates,
            ("flowtemplate", "objects") => flowtemplates,
            ("driver", "name" | "names") | ("oneprovision", "driver") => drivers,
            (_, "code") => codes,
            (_, "shell") => shells,
            _ => return arg,
        };
        arg.add(ArgValueCandidates::new(candidates))
    });
    command.mut_subcommands(|sub| with_candidates(sub, &name))
}

fn provisions() -> Vec<CompletionCandidate> {
    overviews(|overview| vec![(overview.id.to_string(), overview.name.clone())])
}

fn hosts() -> Vec<CompletionCandidate> {
    objects(|o| o.pools.hosts.iter().map(|host| (host.id.0, host.name.clone())).collect())
}

fn clusters() -> Vec<CompletionCandidate> {
    objects(|o| o.pools.clusters.iter().map(|c| (c.id.0, c.name.clone())).collect())
}

fn datastores() -> Vec<CompletionCandidate> {
    objects(|o| o.pools.datastores.iter().map(|d| (d.id.0, d.name.clone())).collect())
}

fn vnets() -> Vec<CompletionCandidate> {
    objects(|o| o.pools.vnets.iter().map(|n| (n.id.0, n.name.clone())).collect())
}

fn images() -> Vec<CompletionCandidate> {
    virtuals(VirtualKind::Image)
}

fn templates() -> Vec<CompletionCandidate> {
    virtuals(VirtualKind::Template)
}

fn vntemplates() -> Vec<CompletionCandidate> {
    virtuals(VirtualKind::Vntemplate)
}

fn flowtemplates() -> Vec<CompletionCandidate> {
    virtuals(VirtualKind::Flowtemplate)
}

fn virtuals(kind: VirtualKind) -> Vec<CompletionCandidate> {
    overviews(|overview| {
        let objects = overview.pools.of_kind(kind).into_iter();
        objects.map(|(id, name)| (id.to_string(), name.to_owned())).collect()
    })
}

fn drivers() -> Vec<CompletionCandidate> {
    let folders = global().and_then(|global| Folders::of(&global).ok());
    let names = folders.map(|folders| {
        use template::DriverCatalog as _;
        Drivers::new(&folders, None, false).names()
    });
    names.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

fn codes() -> Vec<CompletionCandidate> {
    crate::error::codes().into_iter().map(CompletionCandidate::new).collect()
}

fn shells() -> Vec<CompletionCandidate> {
    Shells::builtins().names().map(CompletionCandidate::new).collect()
}

fn objects(of: fn(&Overview) -> Vec<(i32, String)>) -> Vec<CompletionCandidate> {
    overviews(|overview| {
        of(overview).into_iter().map(|(id, name)| (id.to_string(), name)).collect()
    })
}

/// Candidates, each with a name, from what there is; none if that takes too long.
fn overviews(of: impl Fn(&Overview) -> Vec<(String, String)>) -> Vec<CompletionCandidate> {
    let found = global().and_then(read).unwrap_or_default();
    let candidates = found.iter().flat_map(of);
    candidates.map(|(id, name)| CompletionCandidate::new(id).help(Some(name.into()))).collect()
}

/// The global options among the words that are being completed.
fn global() -> Option<Global> {
    let words: Vec<OsString> =
        std::env::args_os().skip_while(|word| word != "--").skip(2).collect();
    let mut line: Vec<OsString> = vec!["oneprovision".into(), "list".into()];
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        match text.split('=').next().unwrap_or_default() {
            "--sandbox" => line.push(word),
            "--endpoint" | "--user" | "--password" | "--remotes" | "--state-dir" => {
                line.push(word);
                if !text.contains('=') {
                    line.extend(words.next());
                }
            }
            _ => {}
        }
    }
    line.extend(["--patience".into(), "1".into()]);
    Cli::try_parse_from(line).ok().map(|cli| cli.global)
}

/// What there is, if it is known soon. A thread that still waits ends with the process.
fn read(global: Global) -> Option<Vec<Overview>> {
    // To complete a word makes no folders.
    if !Folders::of(&global).ok()?.state.exists() {
        return None;
    }
    let (sender, found) = channel();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Runtime::new() else { return };
        let overviews = runtime.block_on(async {
            let silent = Arc::new(engine::observe::Silent);
            let context = Context::open(&global, None, silent).await.ok()?;
            context.engine.overviews().await.ok()
        });
        // Nobody waits any more.
        let _ = sender.send(overviews);
    });
    found.recv_timeout(PATIENCE).ok().flatten()
}
