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
pub struct HostResolveArgs {
    /// The host by id or name, or as PROVISION:NUMBER
    pub host: String,
    /// There is no such machine
    #[arg(long, required_unless_present = "exists", conflicts_with = "exists")]
    pub gone: bool,
    /// The machine exists, and this is its id
    #[arg(long, value_name = "DEPLOY_ID")]
    pub exists: Option<String>,
}
