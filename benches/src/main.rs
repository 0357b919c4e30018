//! `bench`: what the tool costs over what its surroundings cost alone.
//!
//! Every figure is a ratio or a count of one run, so that it means the same on another computer: the
//! tool beside a raw caller that does nothing but the writes that are needed, the journal beside
//! SQLite, a driver beside `/bin/true`. Where a goal is stated in milliseconds or bytes, the figure is
//! too. A goal that is missed is reported and is no failure; a benchmark that could not be run is one.
//! `docs/BENCHMARKS.md` says what is measured and why.
//!
//! ```text
//!   bench ──> oneprovision (the real binary) ──> recording proxy ──> bench serve (a front-end)
//!     │                                                                ^
//!     ├──> raw caller, with what the proxy recorded ───────────────────┘
//!     ├──> bench measure PROGRAM        (times and memory of a child)
//!     └──> bench grow PART HOSTS FILE   (the engine in virtual time)
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`floor`] | create and delete over the writes that the front-end needs |
//! | [`calls`] | calls to the front-end per operation |
//! | [`provider`] | a thousand machines over what the provider needs for them |
//! | [`executables`] | driver executables over `/bin/true` |
//! | [`startup`] | user CPU and memory of the binary |
//! | [`growth`] | the engine's cost per host, from a hundred to a hundred thousand |
//! | [`journal_speed`] | the journal over SQLite |
//! | [`front_end`] | the front-end, in a process of its own or a given one |
//! | [`script`] | the raw caller: writes that were recorded, prepared and sent again |
//! | [`proxy`] | records the calls of the tool |
//! | [`tool`] | runs the real binary, in a private folder |
//! | [`measure`] | times and memory of a child process |
//! | [`engine_room`] | the engine in this process, with a front-end that costs next to nothing |
//! | [`cloud`] | the provider of simulated machines |
//! | [`stub`] | that front-end |
//! | [`machine`] | the computer that it ran on |
//! | [`report`] | figures, goals, the table, JSON |
//! | [`failure`] | why a benchmark could not be run |

mod calls;
mod cloud;
mod engine_room;
mod executables;
mod failure;
mod floor;
mod front_end;
mod growth;
mod journal_speed;
mod machine;
mod measure;
mod provider;
mod proxy;
mod report;
mod script;
mod startup;
mod stub;
mod tool;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use failure::{Because as _, Result};
use front_end::{FrontEnd, Storage};
use report::{Report, say};

/// The one of the tool, since `growth` runs the engine in this program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Benchmarks: what oneprovision costs over what its surroundings cost alone.
///
/// The table goes to standard output, narration to standard error. A goal that is missed is no failure.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Cli {
    /// Benchmarks to run [default: all]
    names: Vec<Name>,
    /// A real front-end for `floor` and `calls`, instead of the embedded one
    #[arg(long, value_name = "URL", requires = "auth")]
    endpoint: Option<String>,
    /// File with its `user:password`
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    auth: Option<PathBuf>,
    /// Also writes the figures, and what they were measured on, to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Small sizes: to see that it works, not to measure
    #[arg(long)]
    quick: bool,
    /// The binary that is measured [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where databases and state folders are made; its disk is the one that counts [default: beside
    /// this program]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Floor,
    Calls,
    Provider,
    Executables,
    Startup,
    Growth,
    Journal,
}

/// What the benchmarks have in common.
pub struct Surroundings {
    /// Small sizes.
    pub quick: bool,
    /// The binary that is measured.
    pub program: PathBuf,
    /// A folder on the disk that counts; it goes with the run.
    pub folder: PathBuf,
    /// A front-end that is given: endpoint and file with its credentials.
    pub given: Option<(String, PathBuf)>,
}

impl Surroundings {
    /// The given front-end, else a new one in a process of its own.
    ///
    /// # Errors
    /// If it cannot be started or its credentials cannot be read.
    pub fn front_end(&self, name: &str, storage: Storage) -> Result<FrontEnd> {
        match &self.given {
            Some((endpoint, auth)) => FrontEnd::given(endpoint, auth),
            None => FrontEnd::embedded(&self.new_folder(name)?, storage),
        }
    }

    /// A new folder below that of the run.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new_folder(&self, name: &str) -> Result<PathBuf> {
        let made = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(&self.folder);
        Ok(made.because(format!("no folder in {}", self.folder.display()))?.keep())
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    let rest: Vec<OsString> = arguments.collect();
    // Roles that this program plays for itself, in processes of their own.
    let ended = match first.as_deref().and_then(|first| first.to_str()) {
        Some("serve") => front_end::serve(&rest),
        Some("measure") => measure::main(&rest),
        Some("grow") => growth::child(&rest),
        _ => run(&Cli::parse()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ERROR: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let own = std::env::current_exe().because("the path of this program is not known")?;
    let beside = own.parent().map(PathBuf::from).unwrap_or_default();
    let program = cli.program.clone().unwrap_or_else(|| beside.join("oneprovision"));
    let program = std::path::absolute(program).because("the path of the tool")?;
    let place = cli.folder.clone().unwrap_or(beside);
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&place);
    let folder = folder.because(format!("no folder in {}", place.display()))?;
    let given = cli.endpoint.clone().zip(cli.auth.clone());
    let surroundings =
        Surroundings { quick: cli.quick, program, folder: folder.path().to_owned(), given };
    let mut report = Report::default();
    let mut failed = Vec::new();
    let version = front_end::version(&surroundings);
    let machine = machine::describe(folder.path(), version.as_deref().unwrap_or("unknown"));
    for name in Name::value_variants() {
        if !cli.names.is_empty() && !cli.names.contains(name) {
            continue;
        }
        let label = name.to_possible_value().map(|value| value.get_name().to_owned());
        let label = label.unwrap_or_default();
        say(&format!("== {label}"));
        let ended = match name {
            Name::Floor => floor::run(&surroundings, &mut report),
            Name::Calls => calls::run(&surroundings, &mut report),
            Name::Provider => provider::run(&surroundings, &mut report),
            Name::Executables => executables::run(&surroundings, &mut report),
            Name::Startup => startup::run(&surroundings, &mut report),
            Name::Growth => growth::run(&surroundings, &mut report),
            Name::Journal => journal_speed::run(&surroundings, &mut report),
        };
        if let Err(error) = ended {
            say(&format!("ERROR: {label}: {error}"));
            failed.push(label);
        }
        if let Some(path) = &cli.json {
            // After each of them: an hour's figures are not lost with the last one.
            report.write_json(path, &machine)?;
        }
    }
    report.print()?;
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("could not be run: {}", failed.join(", ")).into()),
    }
}
