//! A table as OpenNebula's own tools print it, and the same as CSV.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `definitions` | column definitions of `etc/cli/oneprovision.yaml` |
//! | `filter` | which rows: `-f NAME~web` |
//! | `layout` | which columns, and how wide: `-l`, `-s`, `--adjust`, `--expand` |

use unicode_width::UnicodeWidthStr;

use crate::args::TableArgs;
use crate::error::CliError;

mod definitions;
mod filter;
mod layout;

pub use definitions::Definitions;
use layout::{Layout, Shown};

/// A column: its header, its least width in cells of a terminal, and whether it is left-aligned.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: &'static str,
    /// What it shows, for `--describe`.
    pub about: &'static str,
    pub width: usize,
    pub left: bool,
}

impl Column {
    pub const fn right(name: &'static str, width: usize) -> Self {
        Self { name, about: "", width, left: false }
    }

    pub const fn left(name: &'static str, width: usize) -> Self {
        Self { name, about: "", width, left: true }
    }

    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }
}

/// A table of which the options choose what is shown.
pub struct Table<'a> {
    pub columns: &'a [Column],
    /// A row per object, a cell per column.
    pub rows: &'a [Vec<String>],
}

impl Table<'_> {
    /// The rows that the filters leave, by their index. They hold for every format.
    pub fn chosen(&self, args: &TableArgs) -> Result<Vec<usize>, CliError> {
        filter::chosen(self, args)
    }

    /// As text or as CSV.
    pub fn render(&self, args: &TableArgs, definitions: &Definitions) -> Result<String, CliError> {
        let rows: Vec<&Vec<String>> =
            self.chosen(args)?.into_iter().filter_map(|n| self.rows.get(n)).collect();
        let layout = Layout::of(self.columns, &rows, args, definitions)?;
        if args.csv {
            return Ok(csv(&layout, &rows, args.csv_del.unwrap_or(','), !args.no_header));
        }
        Ok(text(&layout, &rows, !args.no_header))
    }
}

/// The table without any options, as it stands at the end of an operation. A column grows with its
/// longest value: an id that is cut is of no use.
pub fn plain(columns: &[Column], rows: &[Vec<String>]) -> String {
    let rows: Vec<&Vec<String>> = rows.iter().collect();
    text(&Layout::plain(columns, &rows), &rows, true)
}

/// `--describe`: every column and what it means, as 5.12 printed it.
pub fn describe(columns: &[Column], definitions: &Definitions) -> String {
    let about = |column: &Column| {
        let defined = definitions.about(column.name).map(str::to_owned);
        defined.unwrap_or_else(|| column.about.to_owned())
    };
    let lines = columns.iter().map(|column| format!("{:<20}: {}\n", column.name, about(column)));
    lines.collect()
}

fn text(layout: &Layout, rows: &[&Vec<String>], header: bool) -> String {
    let mut out = String::new();
    if header {
        out += &line(layout, |shown| shown.name);
    }
    for row in rows {
        out += &line(layout, |shown| row.get(shown.index).map_or("", String::as_str));
    }
    out
}

fn line<'a>(layout: &Layout, cell: impl Fn(&Shown) -> &'a str) -> String {
    let mut line = String::new();
    for (n, shown) in layout.0.iter().enumerate() {
        let cell = shown.fit(&clean(cell(shown)));
        let pad = " ".repeat(shown.width.saturating_sub(width(&cell)));
        if n > 0 {
            line.push(' ');
        }
        match shown.left {
            true => line.extend([cell, pad]),
            false => line.extend([pad, cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

/// A value without what would steer the terminal or break the line.
fn clean(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Cells of a terminal: an ideograph takes two, an accent that stands on another sign none.
fn width(cell: &str) -> usize {
    cell.width()
}

/// The table as CSV (RFC 4180, line feeds).
fn csv(layout: &Layout, rows: &[&Vec<String>], separator: char, header: bool) -> String {
    let quote = |cell: &str| match cell.contains([separator, '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    };
    let line = |cells: Vec<&str>| {
        let cells: Vec<String> = cells.into_iter().map(quote).collect();
        cells.join(&separator.to_string()) + "\n"
    };
    let mut out = String::new();
    if header {
        out += &line(layout.0.iter().map(|shown| shown.name).collect());
    }
    for row in rows {
        let cell = |shown: &Shown| row.get(shown.index).map_or("", String::as_str);
        out += &line(layout.0.iter().map(cell).collect());
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        table: TableArgs,
    }

    const COLUMNS: [Column; 3] = [
        Column::right("ID", 4).about("Its number"),
        Column::left("NAME", 6).about("Its name"),
        Column::right("HOSTS", 5),
    ];

    fn rows() -> Vec<Vec<String>> {
        [["7", "é, \"x\"", "3"], ["12345", "longer name", "200"], ["8", "日本\u{1b}", "20"]]
            .map(|row| row.map(str::to_owned).to_vec())
            .to_vec()
    }

    /// The table with options as they are typed, in a terminal of 60.
    fn table(options: &str) -> Result<String, CliError> {
        table_with(options, "")
    }

    fn table_with(options: &str, definitions: &str) -> Result<String, CliError> {
        let words = std::iter::once("list").chain(options.split_whitespace());
        let args = Line::try_parse_from(words).map_err(|e| CliError::new(e.to_string()))?.table;
        let mut definitions = Definitions::parse("one.yaml".as_ref(), definitions)?;
        definitions.terminal = 60;
        Table { columns: &COLUMNS, rows: &rows() }.render(&args, &definitions)
    }

    #[test]
    fn tables() {
        let mut all = String::new();
        for options in [
            "",
            "--no-header",
            "--csv",
            "--csv --csv-del ; -l name,ID",
            "-l hosts,NAME",
            "--filter NAME~n",
            "-f HOSTS>3",
            "-f HOSTS>=20,ID<100",
            "-f HOSTS=3,ID=8 --operator or",
            "-f ID!=7 --csv --no-header",
            "-f NAME=nobody",
            "-s NAME=4,ID=2",
            "-s NAME=3 --no-pager",
            "--adjust id,name",
            "--expand",
            "--expand NAME",
            "--expand name=0.5,hosts=0.25",
        ] {
            all += &format!("$ list {options}\n{}\n", table(options).unwrap());
        }
        insta::assert_snapshot!("tables", all);
    }

    #[test]
    fn mistakes_in_options_are_told() {
        let mut all = String::new();
        for options in [
            "-l NAEM",
            "-f NAME",
            "-f =x",
            "-f SIZE=1",
            "-s NAME",
            "-s NAME=x",
            "-s NAME=0",
            "--expand NAME=2",
            "--expand NAME=x",
            "--adjust X",
            "-c short",
        ] {
            all += &format!("$ list {options}\n{}\n", table(options).unwrap_err().render());
        }
        insta::assert_snapshot!("mistakes", all);
    }

    const DEFINED: &str = "---
:NAME:
  :desc: What people call it
  :size: 8
  :left: false
:VERSION:
  :desc: Of another release
:default:
- :NAME
- :VERSION
- :ID
:short: [:ID]
";

    #[test]
    fn a_file_defines_columns() {
        let mut all = String::new();
        for options in ["", "-c short", "-l HOSTS,NAME", "-s NAME=2"] {
            all += &format!("$ list {options}\n{}\n", table_with(options, DEFINED).unwrap());
        }
        let definitions = Definitions::parse("one.yaml".as_ref(), DEFINED).unwrap();
        all += &format!("$ list --describe\n{}", describe(&COLUMNS, &definitions));
        insta::assert_snapshot!("defined", all);
    }

    #[test]
    fn a_file_that_defines_nothing_is_refused_with_the_place() {
        let mut all = String::new();
        for text in [
            ":NAME: {:size: 3",
            "- a\n- b\n",
            ":NAME:\n  :size: 15\n:ID:\n  :size: wide\n",
            ":NAME:\n  :size: -1\n",
            ":default: NAME\n",
            ":ID:\n  :size: 4\n:default:\n- {a: b}\n",
            ":NAME: {:left: 7}\n",
        ] {
            let error = table_with("", text).unwrap_err().render();
            all += &format!("{text}\n{error}\n");
        }
        insta::assert_snapshot!("broken", all);
    }
}
