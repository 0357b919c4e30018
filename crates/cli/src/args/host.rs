//! `host …`.

use clap::{Args, Subcommand};

use super::{DriverArgs, FailArgs, ListArgs, LogArgs};

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
pub struct HostDeleteArgs {
    /// Hosts in OpenNebula by id or name: `3`, `3..7`, `3,5,9`
    #[arg(required = true)]
    pub hosts: Vec<String>,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
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
