//! Commands about whole provisions.

use std::path::PathBuf;

use clap::Args;

use super::{DriverArgs, FailArgs, FormatArgs, InputArgs, LogArgs};

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
