//! The command line: nothing but its shape. Help texts are the doc comments.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `common` | options that several commands have |
//! | `provision` | commands about whole provisions |
//! | `host` | `host …` |
//! | `provider` | `provider …` |
//! | `list` | options of all lists |
//! | `other` | the other groups of commands |
//! | `compatibility` | a test: the tables of `docs/COMPATIBILITY.md` |

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod common;
#[cfg(test)]
mod compatibility;
mod host;
mod list;
mod other;
mod provider;
mod provision;

pub use common::*;
pub use host::*;
pub use list::*;
pub use other::*;
pub use provider::*;
pub use provision::*;

/// Grows an OpenNebula cloud with machines bought or booted on demand, and never loses one of them.
///
/// Exit status: 0 done; 2 `plan` found something to do; 3 done, but something is parked or unknown;
/// 130 interrupted; 255 error, usage errors included.
#[derive(Debug, Parser)]
#[command(name = "oneprovision", version, max_term_width = 100, arg_required_else_help = true)]
#[command(subcommand_required = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Uses the embedded OpenNebula of the state folder; no front-end is needed
    #[arg(long, global = true)]
    pub sandbox: bool,
    /// Endpoint of the front-end [default: $ONE_XMLRPC, ~/.one/one_endpoint, http://localhost:2633/RPC2]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "sandbox")]
    pub endpoint: Option<String>,
    /// User of the front-end [default: from $ONE_AUTH, ~/.one/one_auth, /var/lib/one/.one/one_auth]
    #[arg(long, global = true, value_name = "NAME", requires = "password")]
    pub user: Option<String>,
    /// Password of that user. Other users of this machine can see it; a file in $ONE_AUTH is safer
    #[arg(long, global = true, value_name = "PASSWORD", requires = "user")]
    pub password: Option<String>,
    /// How long a front-end that is away, or in trouble, is waited for
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 600)]
    pub patience: u32,
    /// Folder that holds `pm/DRIVER/ACTION` [default: $ONE_LOCATION/var/remotes, /var/lib/one/remotes]
    #[arg(long, global = true, value_name = "DIR")]
    pub remotes: Option<PathBuf>,
    /// Folder of journal, sandbox and running drivers [default: $XDG_STATE_HOME/oneprovision,
    /// ~/.local/state/oneprovision]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Asks no questions
    #[arg(short, long, global = true)]
    pub batch: bool,
    /// Answers every question with yes
    #[arg(long, global = true)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Creates a provision from a template
    Create(CreateArgs),
    /// Checks a template without creating anything
    Validate(ValidateArgs),
    /// Shows what a template would create, change and destroy, without doing anything
    Plan(PlanArgs),
    /// Makes a provision what a template says
    Update(UpdateArgs),
    /// Writes the template of a provision, without its secrets
    Export(ExportArgs),
    /// Prints the JSON Schema of templates, with which editors complete and check them
    Schema(SchemaArgs),
    /// Lists the provisions
    List(ListArgs),
    /// Shows a provision
    Show(ShowArgs),
    /// Goes on with a provision whose create or delete was interrupted or failed
    Resume(ResumeArgs),
    /// Configures the machines of a provision, for the first time or again
    #[command(after_help = CONFIGURE_FAILOVER)]
    Configure(ConfigureArgs),
    /// Deletes a provision: its machines and all its objects
    Delete(DeleteArgs),
    /// Hosts of provisions
    #[command(subcommand)]
    Host(HostCommand),
    /// Clusters of provisions
    #[command(subcommand)]
    Cluster(PoolCommand),
    /// Datastores of provisions
    #[command(subcommand)]
    Datastore(PoolCommand),
    /// Virtual networks of provisions
    #[command(subcommand, visible_alias = "network")]
    Vnet(PoolCommand),
    /// Images of provisions; images for machines of the driver qemu
    #[command(subcommand)]
    Image(ImageCommand),
    /// VM templates of provisions
    #[command(subcommand)]
    Template(PoolCommand),
    /// Virtual network templates of provisions
    #[command(subcommand)]
    Vntemplate(PoolCommand),
    /// Service templates of provisions
    #[command(subcommand)]
    Flowtemplate(PoolCommand),
    /// Named providers: the accounts of drivers, kept in the front-end
    #[command(subcommand)]
    Provider(ProviderCommand),
    /// Provision drivers
    #[command(subcommand)]
    Driver(DriverCommand),
    /// Machines at the providers that carry our mark and that nobody accounts for
    Orphans(OrphansArgs),
    /// The record of everything that was begun and of what came of it
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Explains the code of an error or of a finding in a template
    Explain(ExplainArgs),
    /// Prints what makes a shell complete commands, options and ids
    Completions(CompletionsArgs),
    /// Prints the manual's page, or writes all pages
    Man(ManArgs),
    /// Checks front-end, drivers, keys, folders, and says what to do
    Doctor,
    /// The embedded OpenNebula
    #[command(subcommand)]
    Sandbox(SandboxCommand),
}
