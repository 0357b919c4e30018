//! Options of all lists: those of 5.12's tools.

use clap::Args;

use super::FormatArgs;

/// How a table is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Table")]
pub struct TableArgs {
    #[command(flatten)]
    pub format: FormatArgs,
    /// Shows these columns
    #[arg(short, long, value_name = "COLUMNS", value_delimiter = ',', conflicts_with = "listconf")]
    pub list: Vec<String>,
    /// Shows the rows that match, in every format. Operators: = != < <= > >= and ~ (contains), as in
    /// `NAME~web,HOSTS>=3`
    #[arg(short, long, value_name = "FILTERS", value_delimiter = ',')]
    pub filter: Vec<String>,
    /// How several filters go together
    #[arg(long, value_name = "OPERATOR", ignore_case = true, default_value = "AND")]
    pub operator: Operator,
    /// Prints comma separated values
    #[arg(long, conflicts_with_all = ["xml", "json", "yaml"])]
    pub csv: bool,
    /// What separates values instead of a comma
    #[arg(long, value_name = "CHAR", requires = "csv")]
    pub csv_del: Option<char>,
    /// Leaves the header out
    #[arg(long)]
    pub no_header: bool,
    /// Accepted for scripts of 5.12: nothing is paged
    #[arg(long)]
    pub no_pager: bool,
    /// Makes these columns as wide as their content, and no wider
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub adjust: Vec<String>,
    /// Widths of columns; what is longer is cut
    #[arg(short, long, value_name = "COLUMN=SIZE,…", value_delimiter = ',')]
    pub size: Vec<String>,
    /// Widens all columns, or these, to fill the terminal; `name=0.4` is a column's share of what is
    /// left
    #[arg(long, value_name = "COLUMN[=SHARE],…", value_delimiter = ',', num_args = 0..=1)]
    pub expand: Option<Vec<String>>,
    /// Accepted for scripts of 5.12: nothing is widened unless it is asked for
    #[arg(long, conflicts_with = "expand")]
    pub no_expand: bool,
    /// Shows the columns of a list of that name in etc/cli/oneprovision.yaml
    #[arg(short = 'c', long, value_name = "CONF")]
    pub listconf: Option<String>,
    /// Prints the columns and what they mean
    #[arg(long)]
    pub describe: bool,
}

/// `--operator`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Operator {
    /// All filters match
    #[default]
    And,
    /// At least one filter matches
    Or,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub table: TableArgs,
    /// Shows the list again after each of these seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub delay: Option<u32>,
}
