//! The other groups of commands.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::{FailArgs, FormatArgs, InputArgs, ListArgs, LogArgs, TableArgs};

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// The schema of a line of `--events` instead
    #[arg(long)]
    pub events: bool,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, zsh, fish, elvish or powershell; in bash: `source <(oneprovision completions bash)`
    pub shell: String,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for a page per command, such as /usr/local/share/man/man1
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The code, such as OP-BUSY or unknown-key [default: lists all codes]
    pub code: Option<String>,
}

#[derive(Debug, Args)]
pub struct OrphansArgs {
    /// Asks only this driver, also if no host uses it at present; may be given several times
    #[arg(long, value_name = "NAME")]
    pub driver: Vec<String>,
    /// A template whose hosts name the accounts to look into
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Named provider of the template's hosts that name none of their own
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Machines younger than this many seconds are left alone
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub grace: u32,
    /// Destroys the orphans, or these machines alone. One that may be another coordinator's has to be
    /// named
    #[arg(long, value_name = "MACHINE", num_args = 0..)]
    pub delete: Option<Vec<String>>,
    #[command(flatten)]
    pub table: TableArgs,
}

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Shows what happened to a provision, one line per event
    Show(JournalShowArgs),
    /// Writes all events as JSON, one per line; secrets are not in them
    Export,
    /// Checks that the journal can be read and makes sense
    Verify,
    /// Takes a provision that cannot be understood out of the journal, into a file beside it
    ///
    /// What OpenNebula has of it counts then: `show` and `delete` go by that, and `update` looks for machines before it
    /// asks for others. A machine that only the journal knew is forgotten; it names those that it can, and asks.
    SetAside(JournalSetAsideArgs),
}

#[derive(Debug, Args)]
pub struct JournalSetAsideArgs {
    /// Id of the provision
    pub provision: String,
}

#[derive(Debug, Args)]
pub struct JournalShowArgs {
    /// Id or name of the provision; `orphans` for the machines that `orphans --delete` destroyed
    pub provision: String,
}

#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Lists those that belong to provisions
    List(ListArgs),
    /// Deletes those of provisions that nothing else needs
    Delete(ObjectDeleteArgs),
}

#[derive(Debug, Args)]
pub struct ObjectDeleteArgs {
    /// Which ones, by id or name in OpenNebula: `3`, `3..7`, `3,5,9`
    #[arg(required = true)]
    pub objects: Vec<String>,
    /// Also those that other objects of provisions need
    #[arg(short = 'F', long)]
    pub force: bool,
    #[command(flatten)]
    pub fail: FailArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub enum DriverCommand {
    /// Lists the drivers that there are, built in or of the site
    List(TableArgs),
    /// Shows a driver: where it is from, what it can do, and its parameters
    Show(DriverShowArgs),
    /// Tries everything that the driver protocol promises on a driver, with real machines
    Test(DriverTestArgs),
    /// Writes a driver to begin with: complete, with a folder of files for a provider
    New(DriverNewArgs),
    /// Installs the built-in drivers as executables: DIR/NAME/deploy and so on
    Install(InstallArgs),
}

#[derive(Debug, Args)]
pub struct DriverShowArgs {
    /// Its name, as templates give it
    pub name: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub struct DriverTestArgs {
    /// Its name, as templates give it, or the path of its folder, such as ./mycloud
    pub driver: String,
    /// A template: its first host with this driver has the parameters
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// A parameter of the driver; may be given several times. Other users of this machine can see it; a
    /// password is better in a template
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Deadline of a deploy, and until its machine is ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..))]
    pub deploy_timeout: u32,
    /// Deadline of every other action, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    pub action_timeout: u32,
    /// How long a machine may stay as it was after it was asked to be otherwise, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub settle: u32,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub struct DriverNewArgs {
    /// Its name, as templates will give it
    pub name: String,
    /// Language
    #[arg(long, value_name = "LANGUAGE", default_value = "sh")]
    pub lang: DriverLanguage,
    /// Folder in which its folder is made [default: this one]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Sources of oneprovision, which a driver in Rust is built with [default: looked for around this
    /// folder and this program]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,
}

/// A language that drivers are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DriverLanguage {
    /// POSIX shell
    Sh,
    /// Python 3, without other packages
    Python,
    /// Rust, with this program's own crate for drivers
    Rust,
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
pub enum ImageCommand {
    /// Lists those that belong to provisions
    List(ListArgs),
    /// Deletes those of provisions that nothing else needs
    Delete(ObjectDeleteArgs),
    /// Makes the rescue image, a small Linux with SSH, of Debian's or Ubuntu's packages
    Build(ImageBuildArgs),
}

#[derive(Debug, Args)]
pub struct ImageBuildArgs {
    /// Folder for the kernel, `vmlinuz`, and the initial RAM disk, `initrd.img` [default: images/rescue in
    /// the state folder, where the driver qemu looks for them]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
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
