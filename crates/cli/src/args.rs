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
    /// Prints the JSON Schema of templates, with which editors complete and check them
    Schema,
    /// Lists the provisions
    List(ListArgs),
    /// Shows a provision
    Show(ShowArgs),
    /// Goes on with a provision whose create or delete was interrupted or failed
    Resume(ResumeArgs),
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
    /// Machines at the providers that carry our mark and that nobody accounts for
    Orphans(OrphansArgs),
    /// The record of everything that was begun and of what came of it
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Checks front-end, drivers, keys, folders, and says what to do
    Doctor,
    /// The embedded OpenNebula
    #[command(subcommand)]
    Sandbox(SandboxCommand),
}

/// What happens when something fails. Without any of these, and on a terminal, you are asked; else
/// what failed is left as it is, and the others go on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Failover")]
pub struct FailArgs {
    /// Tries again, up to N times for each host; what follows is the next mode
    #[arg(long, value_name = "N")]
    pub fail_retry: Option<u32>,
    /// Removes the whole provision
    #[arg(long, conflicts_with_all = ["fail_skip", "fail_quit"])]
    pub fail_cleanup: bool,
    /// Takes the host out of the provision
    #[arg(long, conflicts_with = "fail_quit")]
    pub fail_skip: bool,
    /// Begins nothing new
    #[arg(long)]
    pub fail_quit: bool,
    /// Modes in their order: retry, skip, cleanup, quit
    #[arg(long, value_name = "MODES", value_delimiter = ',')]
    pub fail_modes: Vec<FailMode>,
    /// Seconds between tries
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub fail_sleep: u32,
}

/// A failover mode of 5.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailMode {
    Quit,
    Retry,
    Skip,
    Cleanup,
}

/// Values of the template's `inputs`. What is not given is asked for on a terminal.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "User inputs")]
pub struct InputArgs {
    /// Values of inputs, several with `,` between them; may be given several times. Other users of
    /// this machine can see them; a password is better in a file
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub user_inputs: Vec<String>,
    /// File with values of inputs, as YAML or JSON: `NAME: VALUE`
    #[arg(long, value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
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
    /// Keeps credentials in the host templates, in clear since OpenNebula 6.0, for drivers of 5.12
    /// that read them there
    #[arg(long)]
    pub secrets_in_template: bool,
    /// For scripts: goes on with an unfinished provision of that name, or prints the id of a
    /// finished one, or creates it
    #[arg(long)]
    pub resume: bool,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
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
    #[command(flatten)]
    pub inputs: InputArgs,
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
pub struct ResumeArgs {
    /// Id of the provision
    pub provision: String,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct OrphansArgs {
    /// Asks only this driver, also if no host uses it at present; may be given several times
    #[arg(long, value_name = "NAME")]
    pub driver: Vec<String>,
    /// A template whose hosts name the accounts to look into
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Machines younger than this many seconds are left alone
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub grace: u32,
    /// Destroys the orphans
    #[arg(long)]
    pub delete: bool,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Shows what happened to a provision, one line per event
    Show(JournalShowArgs),
    /// Writes all events as JSON, one per line; secrets are not in them
    Export,
    /// Checks that the journal can be read and makes sense
    Verify,
}

#[derive(Debug, Args)]
pub struct JournalShowArgs {
    /// Id of the provision
    pub provision: String,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Id of the provision
    pub provision: String,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Lists the hosts of provisions
    List(ListArgs),
    /// Deletes hosts: their machines and their objects
    Delete(HostDeleteArgs),
    /// Tells what the provider's console says about a machine that may exist
    Resolve(HostResolveArgs),
}

#[derive(Debug, Args)]
pub struct HostResolveArgs {
    /// Id of the host in OpenNebula, or PROVISION:NUMBER for one that has no object there
    pub host: String,
    /// There is no such machine
    #[arg(long, required_unless_present = "exists", conflicts_with = "exists")]
    pub gone: bool,
    /// The machine exists, and this is its id
    #[arg(long, value_name = "DEPLOY_ID")]
    pub exists: Option<String>,
}

#[derive(Debug, Args)]
pub struct HostDeleteArgs {
    /// Ids of the hosts in OpenNebula: `3`, `3..7`, `3,5,9`
    #[arg(required = true)]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
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
