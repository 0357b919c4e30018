//! The command line: nothing but its shape. Help texts are the doc comments.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

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
    /// Lists the provisions
    List(ListArgs),
    /// Shows a provision
    Show(ShowArgs),
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
    /// Provision drivers
    #[command(subcommand)]
    Driver(DriverCommand),
    /// The embedded OpenNebula
    #[command(subcommand)]
    Sandbox(SandboxCommand),
}

/// How much is told.
#[derive(Clone, Debug, Args)]
pub struct LogArgs {
    /// Logs every part of the operation
    #[arg(short = 'd', long)]
    pub verbose: bool,
    /// Logs every step, and every driver's command and output
    #[arg(short = 'D', long)]
    pub debug: bool,
}

/// Limits of driver calls.
#[derive(Clone, Debug, Args)]
pub struct DriverArgs {
    /// Driver calls at the same time
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Calls executable drivers with the argument vectors of oneprovision 5.12
    #[arg(long)]
    pub legacy_args: bool,
    /// Deadline of a deploy, in seconds; `deploy_timeout` of a host's `provision` wins
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    pub deploy_timeout: u32,
    /// Deadline of other driver actions, in seconds; `action_timeout` of a host's `provision` wins
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub action_timeout: u32,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The provision template, YAML
    pub template: PathBuf,
    /// Neither connects to the machines nor configures them: hosts stay offline and `pending`
    #[arg(long)]
    pub skip_config: bool,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// The provision template, YAML
    pub template: PathBuf,
    /// Prints the merged template, secrets masked
    #[arg(long)]
    pub dump: bool,
}

/// A format for programs.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub struct FormatArgs {
    /// Prints XML
    #[arg(short, long)]
    pub xml: bool,
    /// Prints JSON
    #[arg(short, long)]
    pub json: bool,
    /// Prints YAML
    #[arg(short, long)]
    pub yaml: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub format: FormatArgs,
    /// Prints comma separated values
    #[arg(long, conflicts_with_all = ["xml", "json", "yaml"])]
    pub csv: bool,
    /// Leaves the header out
    #[arg(long)]
    pub no_header: bool,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id of the provision
    pub provision: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Id of the provision
    pub provision: String,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Lists the hosts of provisions
    List(ListArgs),
    /// Deletes hosts: their machines and their objects
    Delete(HostDeleteArgs),
}

#[derive(Debug, Args)]
pub struct HostDeleteArgs {
    /// Ids of the hosts in OpenNebula: `3`, `3..7`, `3,5,9`
    #[arg(required = true)]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Lists those that belong to provisions
    List(ListArgs),
}

#[derive(Debug, Subcommand)]
pub enum DriverCommand {
    /// Installs the built-in drivers as executables: DIR/NAME/deploy and so on
    Install(InstallArgs),
}

#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Folder of drivers, such as /var/lib/one/remotes/pm
    pub dir: PathBuf,
    /// Names of drivers [default: all built-in ones]
    #[arg(action = ArgAction::Append)]
    pub names: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum SandboxCommand {
    /// Offers the embedded OpenNebula to other clients until it is interrupted
    Serve(ServeArgs),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2633")]
    pub listen: std::net::SocketAddr,
}
