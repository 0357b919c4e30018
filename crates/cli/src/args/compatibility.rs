//! The tables of `docs/COMPATIBILITY.md` against the command line.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::Cli;

const TABLES: &str = include_str!("../../../../docs/COMPATIBILITY.md");

/// A line of a table: a command with one option, and whether the table says that it is accepted.
struct Row {
    command: Vec<String>,
    option: Vec<String>,
    accepted: bool,
}

/// What stands between backquotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut command = Vec::new();
    for line in TABLES.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            command = quoted(title)[0].split(' ').map(sample).collect();
        } else if line.starts_with("## ") {
            command.clear();
        } else if line.starts_with("| `") && !command.is_empty() {
            let line = line.replace("\\|", "¦");
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let accepted = match cells[3] {
                "works" | "differs" => true,
                "left out" => false,
                other => panic!("{other:?} in {line}"),
            };
            for option in quoted(cells[1]) {
                let option = option.split(' ').map(str::to_owned).collect();
                rows.push(Row { command: command.clone(), option, accepted });
            }
        }
    }
    rows
}

/// A value in place of a word in upper case.
fn sample(word: &str) -> String {
    let is_value = word.chars().all(|c| c.is_ascii_uppercase());
    if is_value { "3".to_owned() } else { word.to_owned() }
}

fn refusal(arguments: &[String]) -> Option<clap::Error> {
    let all = std::iter::once("oneprovision").chain(arguments.iter().map(String::as_str));
    Cli::command().try_get_matches_from(all).err()
}

#[test]
fn every_option_of_the_tables_is_accepted_or_left_out_as_they_say() {
    let rows = rows();
    assert!(rows.len() > 400, "{}", rows.len());
    let mut wrong = Vec::new();
    for Row { command, option, accepted } in rows {
        let arguments = [command, option].concat();
        let refused = refusal(&arguments);
        let is = match refused.as_ref().map(clap::Error::kind) {
            None => true,
            Some(ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand) => false,
            Some(other) => {
                wrong.push(format!("{}: {other}", arguments.join(" ")));
                continue;
            }
        };
        if is != accepted {
            wrong.push(format!("{}: {is}", arguments.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The commands without subcommands, with their other names.
fn leaves(command: &Command, path: &str, all: &mut BTreeSet<String>) {
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        for name in std::iter::once(inner.get_name()).chain(inner.get_visible_aliases()) {
            let path = format!("{path} {name}");
            match inner.has_subcommands() {
                true => leaves(inner, &path, all),
                false => drop(all.insert(path.trim().to_owned())),
            }
        }
    }
}

#[test]
fn every_command_is_in_the_tables() {
    let mut ours = BTreeSet::new();
    leaves(&Cli::command(), "", &mut ours);
    let titles = TABLES.lines().filter_map(|line| line.strip_prefix("### "));
    let titles = titles.map(|title| {
        let words = quoted(title)[0].split(' ');
        words.filter(|word| sample(word) == *word).collect::<Vec<_>>().join(" ")
    });
    let mut told: BTreeSet<String> = titles.collect();
    let (_, only_here) = TABLES.split_once("## Only here").unwrap();
    told.extend(quoted(only_here).into_iter().map(str::to_owned));
    let missing: Vec<_> = ours.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?} are not in docs/COMPATIBILITY.md");
    // And nothing is promised that is not there.
    for name in quoted(only_here) {
        assert!(ours.contains(name), "{name}");
    }
}
