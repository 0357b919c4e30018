//! `provider …`

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::{FormatArgs, TableArgs};

#[derive(Debug, Subcommand)]
pub enum ProviderCommand {
    /// Makes a provider from a file, or from what is given here, and prints its id
    Create(ProviderCreateArgs),
    /// Lists the providers
    List(TableArgs),
    /// Shows a provider; secrets are masked
    Show(ProviderShowArgs),
    /// Changes description and parameters of a provider; new secrets hold for its provisions, too
    Update(ProviderUpdateArgs),
    /// Deletes providers that no provision uses
    Delete(ProviderDeleteArgs),
}

#[derive(Debug, Args)]
pub struct ProviderCreateArgs {
    /// A file in YAML (`name, driver, description, parameters`, or one of OpenNebula 6.x), or the
    /// name of the provider
    pub provider: String,
    /// Its driver, if there is no file
    #[arg(long, value_name = "NAME")]
    pub driver: Option<String>,
    /// A text for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Parameters: `KEY=VALUE`, or `KEY={env: NAME}`, `KEY={file: PATH}`, `KEY={command: [argv]}` for
    /// what is asked for when it is needed. A secret's `KEY` alone is asked for on the terminal, or
    /// read from standard input, one line each. Other users of this machine can see what stands here
    #[arg(action = ArgAction::Append, value_name = "KEY[=VALUE]")]
    pub parameters: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ProviderShowArgs {
    /// Its name or id
    pub provider: String,
    #[command(flatten)]
    pub format: FormatArgs,
}

#[derive(Debug, Args)]
pub struct ProviderUpdateArgs {
    /// Its name or id
    pub provider: String,
    /// Takes description and parameters from a file, all of them
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A text for people
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Removes a parameter; may be given several times
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Parameters to be set, as of `provider create`
    #[arg(action = ArgAction::Append, value_name = "KEY[=VALUE]")]
    pub parameters: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ProviderDeleteArgs {
    /// Their names or ids
    #[arg(required = true, action = ArgAction::Append)]
    pub providers: Vec<String>,
}
