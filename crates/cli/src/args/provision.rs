//! Commands about whole provisions.

use std::path::PathBuf;

use clap::builder::UnknownArgumentValueParser;
use clap::{Arg, ArgAction, Args};

use super::{CleanupArgs, ConfigArgs, DriverArgs, FailArgs, FormatArgs, InputArgs, LogArgs};

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// The provision template, YAML
    pub template: PathBuf,
    /// Makes the objects alone: no machine is asked for, and hosts stay offline. `update` asks for the
    /// machines later
    #[arg(long)]
    pub skip_provision: bool,
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
    /// Waits until images are ready that do not say themselves whether they are waited for
    #[arg(long)]
    pub wait_ready: bool,
    /// How long each of them is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub wait_timeout: u32,
    #[command(flatten)]
    pub cleanup: CleanupArgs,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Named provider of all hosts that name none of their own, whatever the template says
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
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
    /// Named provider of all hosts that name none of their own, whatever the template says
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    #[command(flatten)]
    pub inputs: InputArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Id or name of the provision
    pub provision: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What `configure` and `host configure` have in common.
#[derive(Debug, Args)]
pub struct ConfigureHow {
    /// Also what is configured already: all of it is run again
    #[arg(short = 'F', long)]
    pub force: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct ConfigureArgs {
    /// Id or name of the provision
    pub provision: String,
    #[command(flatten)]
    pub how: ConfigureHow,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Id or name of the provision
    pub provision: String,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

/// `--force` of 6.10 leaves behind what stands in the way, so it is not taken for `--cleanup`.
fn not_force() -> Arg {
    let instead = "--cleanup terminates the VMs and deletes the images that stand in the way; \
                   a delete that failed goes on when it is given again";
    Arg::new("force")
        .short('F')
        .long("force")
        .hide(true)
        .action(ArgAction::SetTrue)
        .value_parser(UnknownArgumentValueParser::suggest(instead))
}

#[derive(Debug, Args)]
#[command(arg = not_force())]
pub struct DeleteArgs {
    /// Id or name of the provision
    pub provision: String,
    #[command(flatten)]
    pub cleanup: CleanupArgs,
    #[command(flatten)]
    pub driver: DriverArgs,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The provision template, YAML
    pub template: PathBuf,
    /// Id or name of the provision that it is to become; without it, a new one is planned
    pub provision: Option<String>,
    /// Prints JSON
    #[arg(short, long, conflicts_with = "yaml")]
    pub json: bool,
    /// Prints YAML
    #[arg(short, long)]
    pub yaml: bool,
    /// Named provider of all hosts that name none of their own [default: that of the create]
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    #[command(flatten)]
    pub inputs: InputArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id or name of the provision
    pub provision: String,
    /// The template that it is to become, YAML
    pub template: PathBuf,
    /// Destroys hosts that cannot be changed in place, and makes them anew
    #[arg(long)]
    pub replace: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub cleanup: CleanupArgs,
    /// Named provider of all hosts that name none of their own [default: that of the create]
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
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
pub struct ExportArgs {
    /// Id or name of the provision
    pub provision: String,
}
