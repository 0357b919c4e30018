//! `host …`.

use clap::{Args, Subcommand};

use super::{ConfigArgs, ConfigureHow, DriverArgs, FailArgs, ListArgs, LogArgs, TableArgs};

const POWER_FAILOVER: &str =
    "Here --fail-skip leaves the host as it is; --fail-cleanup is of no use and is refused.";

pub const CONFIGURE_FAILOVER: &str = "Here --fail-skip takes out no host that is in use; \
    --fail-cleanup is of no use and is refused.";

#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Lists the hosts of provisions
    List(ListArgs),
    /// Powers machines on, and takes their hosts into use again
    #[command(after_help = POWER_FAILOVER)]
    Resume(HostPowerArgs),
    /// Takes hosts out of use and powers their machines off
    #[command(after_help = POWER_FAILOVER)]
    Poweroff(HostPoweroffArgs),
    /// Reboots machines
    #[command(after_help = POWER_FAILOVER)]
    Reboot(HostRebootArgs),
    /// Lists the hosts of provisions again and again, until q is pressed
    Top(HostTopArgs),
    /// Configures machines, for the first time or again
    #[command(after_help = CONFIGURE_FAILOVER)]
    Configure(HostConfigureArgs),
    /// Connects to a host with the system's ssh, or runs a command there
    Ssh(HostSshArgs),
    /// Adds hosts to a provision, like those that it has
    Add(HostAddArgs),
    /// Deletes hosts: their machines and their objects
    Delete(HostDeleteArgs),
    /// Tells what the provider's console says about a machine that may exist, or cannot be removed
    Resolve(HostResolveArgs),
}

/// What all power operations have.
#[derive(Debug, Args)]
pub struct HostPowerArgs {
    /// Hosts by id, range, list or name, or as PROVISION:NUMBER: `3`, `3..7`, `3,5,9`, `10.0.0.1`
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct HostPoweroffArgs {
    #[command(flatten)]
    pub power: HostPowerArgs,
    /// Also if VMs run on them
    #[arg(short = 'F', long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct HostRebootArgs {
    #[command(flatten)]
    pub power: HostPowerArgs,
    /// Resets the machines, and looks for their addresses again
    #[arg(short = 'H', long)]
    pub hard: bool,
    /// Also if VMs run on them
    #[arg(short = 'F', long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct HostConfigureArgs {
    /// Hosts by id, range, list or name, or as PROVISION:NUMBER: `3`, `3..7`, `3,5,9`, `10.0.0.1`
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub how: ConfigureHow,
}

#[derive(Debug, Args)]
pub struct HostTopArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// Seconds between two lists
    #[arg(short, long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub delay: u32,
    /// Ends after so many lists
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub iterations: Option<u32>,
}

#[derive(Debug, Args)]
pub struct HostSshArgs {
    /// The host by id or name, or as PROVISION:NUMBER
    pub host: String,
    /// A command; as with ssh, its words are put together and the shell of the host reads them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub struct HostDeleteArgs {
    /// Hosts by id, range, list or name, or as PROVISION:NUMBER: `3`, `3..7`, `3,5,9`, `10.0.0.1`
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("answer").required(true).args(["gone", "exists"])))]
pub struct HostResolveArgs {
    /// The host by id or name, or as PROVISION:NUMBER
    pub host: String,
    /// There is no such machine
    #[arg(long)]
    pub gone: bool,
    /// The machine exists, and this is its id
    #[arg(long, value_name = "DEPLOY_ID")]
    pub exists: Option<String>,
}

#[derive(Debug, Args)]
pub struct HostAddArgs {
    /// Id or name of the provision
    pub provision: String,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub amount: u16,
    /// Their host names, in place of names that go on where those of the provision end
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', conflicts_with = "amount")]
    pub hostnames: Vec<String>,
    /// Parameters of `provision` in which they differ
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub host_params: Vec<String>,
    /// Host name of the host that they are like [default: the last one of the template]
    #[arg(long, value_name = "NAME")]
    pub like: Option<String>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}
