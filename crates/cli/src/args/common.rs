//! Options that several commands have.

use std::path::PathBuf;

use clap::Args;

/// What happens when something fails. Without any of these, and on a terminal, you are asked; else
/// what failed is left as it is, and the others go on.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Failover")]
pub struct FailArgs {
    /// Tries again, up to N times for each host; what follows is the next mode
    #[arg(long, value_name = "N")]
    pub fail_retry: Option<u32>,
    /// Removes the whole provision that was being created
    #[arg(long, conflicts_with_all = ["fail_skip", "fail_quit"])]
    pub fail_cleanup: bool,
    /// Takes the host out of the provision
    #[arg(long, conflicts_with = "fail_quit")]
    pub fail_skip: bool,
    /// Begins nothing new
    #[arg(long)]
    pub fail_quit: bool,
    /// Modes in their order: retry, skip, cleanup, quit
    #[arg(long, value_name = "MODES", ignore_case = true, value_delimiter = ',')]
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
    /// Writes what happens to standard output as JSON, one event per line, and nothing else there;
    /// `schema --events` describes it
    #[arg(long)]
    pub events: bool,
}

/// What is done about VMs and images that stand in the way of a removal.
#[derive(Clone, Copy, Debug, Args)]
pub struct CleanupArgs {
    /// Where all of it is removed: terminates the VMs on its hosts and deletes the images in its
    /// datastores first
    #[arg(long)]
    pub cleanup: bool,
    /// How long the VMs, and each image, may take to be gone
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub cleanup_timeout: u32,
}

impl CleanupArgs {
    /// The time they may take, if they are to go.
    pub fn seconds(self) -> Option<u32> {
        self.cleanup.then_some(self.cleanup_timeout)
    }
}

/// Limits of driver calls.
#[derive(Clone, Debug, Args)]
pub struct DriverArgs {
    /// Driver calls at the same time
    #[arg(short, long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// The same for each account of a provider; for each driver that names no accounts
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub account_threads: u16,
    /// Calls executable drivers with the argument vectors of oneprovision 5.12
    #[arg(long)]
    pub legacy_args: bool,
    /// How long a machine may be missing from the list of an executable driver after it was asked for
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub settle: u32,
    /// Deadline of a deploy, in seconds; `deploy_timeout` of a host's `provision` wins
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    pub deploy_timeout: u32,
    /// Deadline of other driver actions, in seconds; `action_timeout` of a host's `provision` wins
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    pub action_timeout: u32,
}

/// How machines are reached and configured.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Longest pause between two attempts to reach a machine over SSH
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub ping_timeout: u32,
    /// Number of attempts; times the pause it is how long a machine may take to answer
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub ping_retries: u32,
    /// How long one playbook may take, and the files and commands of a host
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(1..))]
    pub config_timeout: u32,
}

impl ConfigArgs {
    /// Takes them into account.
    pub fn apply(&self, settings: &mut engine::Settings) {
        let seconds = |seconds: u32| std::time::Duration::from_secs(seconds.into());
        settings.ping = (self.ping_retries, seconds(self.ping_timeout));
        settings.configure_deadline = seconds(self.config_timeout);
    }
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
