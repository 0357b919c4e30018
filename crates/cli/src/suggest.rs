//! Commands that are suggested, completed by the options that this one was called with: who works with
//! `--sandbox` is not told of a command that would ask another front-end.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use crate::args::Global;

/// Commands that need them. The others, such as `explain`, are the same everywhere.
const COMMANDS: [&str; 21] = [
    "cluster",
    "configure",
    "create",
    "datastore",
    "delete",
    "driver",
    "export",
    "flowtemplate",
    "host",
    "image",
    "journal",
    "list",
    "orphans",
    "plan",
    "provider",
    "resume",
    "show",
    "template",
    "update",
    "vnet",
    "vntemplate",
];

/// Options of this command that say where things are.
static OPTIONS: OnceLock<String> = OnceLock::new();

/// Keeps what suggestions are to be completed by. Passwords are not repeated.
pub fn remember(global: &Global) {
    // A process has one command line.
    let _ = OPTIONS.set(options(global));
}

fn options(global: &Global) -> String {
    let given = [
        // One with an '@' may hold a password, and is refused anyway.
        (
            "--endpoint",
            global.endpoint.as_deref().filter(|url| !url.contains('@')).map(Cow::Borrowed),
        ),
        ("--remotes", global.remotes.as_deref().map(Path::to_string_lossy)),
        ("--state-dir", global.state_dir.as_deref().map(Path::to_string_lossy)),
    ];
    let mut options = String::new();
    if global.sandbox {
        options += " --sandbox";
    }
    for (name, value) in given {
        if let Some(value) = value {
            options += &format!(" {name} {}", quoted(&value));
        }
    }
    options
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=+,@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => Cow::Borrowed(word),
        false => Cow::Owned(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

/// A text with its suggestions completed.
pub fn completed(text: &str) -> Cow<'_, str> {
    match OPTIONS.get().filter(|options| !options.is_empty()) {
        Some(options) => completed_by(text, options),
        None => Cow::Borrowed(text),
    }
}

fn completed_by<'t>(text: &'t str, options: &str) -> Cow<'t, str> {
    const PROGRAM: &str = "oneprovision";
    let mut done = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(PROGRAM) {
        let (before, after) = rest.split_at(at + PROGRAM.len());
        done += before;
        rest = after;
        // No part of a path or of another word.
        let begins = !before[..at].ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
        let command = after.strip_prefix(' ').unwrap_or_default();
        let end = command.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(command.len());
        if begins && COMMANDS.contains(&&command[..end]) {
            done += options;
        }
    }
    if done.is_empty() {
        return Cow::Borrowed(text);
    }
    done += rest;
    Cow::Owned(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed_and_nothing_else_is() {
        let completed = |text| completed_by(text, " --sandbox").into_owned();
        assert_eq!(
            completed("  try again:  oneprovision resume 1\n"),
            "  try again:  oneprovision --sandbox resume 1\n"
        );
        assert_eq!(
            completed("`oneprovision show 1`, oneprovision delete 1"),
            "`oneprovision --sandbox show 1`, oneprovision --sandbox delete 1"
        );
        for text in [
            "more: oneprovision explain OP-FAILED",
            "/etc/oneprovision list",
            "oneprovision --sandbox list",
            "oneprovision showed",
            "oneprovision is 'ein Name' of oneprovision",
            "oneprovision",
            "",
        ] {
            assert_eq!(completed(text), text);
        }
    }

    #[test]
    fn every_command_is_decided_on() {
        use clap::CommandFactory as _;
        let others = ["completions", "doctor", "explain", "man", "sandbox", "schema", "validate"];
        let mut decided = [&COMMANDS[..], &others].concat();
        decided.sort_unstable();
        let cli = crate::args::Cli::command();
        let mut all: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
        all.sort_unstable();
        assert_eq!(decided, all);
    }

    #[test]
    fn a_password_is_not_repeated() {
        use clap::Parser as _;
        let of = |endpoint| {
            let cli = ["oneprovision", "--endpoint", endpoint, "--remotes", "/a b", "list"];
            options(&crate::args::Cli::try_parse_from(cli).unwrap().global)
        };
        assert_eq!(of("http://one:2633/RPC2"), " --endpoint http://one:2633/RPC2 --remotes '/a b'");
        assert_eq!(of("http://me:pw@one/RPC2"), " --remotes '/a b'");
    }

    #[test]
    fn a_path_is_a_word_of_the_shell() {
        assert_eq!(quoted("/srv/a-b_1"), "/srv/a-b_1");
        assert_eq!(quoted("/srv/it's here"), r"'/srv/it'\''s here'");
        assert_eq!(quoted(""), "''");
    }
}
