//! `configure`: files that are copied to a machine, commands that are run on it.
//!
//! A secret may be the content of a file and nothing else: whoever is on the machine sees the
//! arguments of programs.

use model::{Secret, Value};
use serde_json::{Map, Value as Json};

use super::attributes::by_reference;
use super::names::nearest_help;
use super::text::Site;
use super::{Checker, find};
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::reference;
use crate::sensitive;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node, Scalar};

/// What a host gets, while it is read.
#[derive(Default)]
struct Steps {
    files: Vec<Json>,
    commands: Vec<Json>,
    /// Whether a content is a secret.
    secret: bool,
    /// Whether a content is not known here.
    withheld: bool,
}

impl Checker<'_> {
    /// What is done on a host: that of the top level, then its own. `None` if there is nothing.
    pub(super) fn steps(&mut self, common: &[Entry], own: &[Entry], site: Site) -> Option<Value> {
        let mut steps = Steps::default();
        for entry in common.iter().chain(own) {
            match entry.name() {
                "files" => {
                    let what = "begin each file with '- path: /…'";
                    for item in self.step_list(entry, what) {
                        self.file(item, site, &mut steps);
                    }
                }
                "commands" => {
                    for item in self.step_list(entry, "begin each command with '- '") {
                        steps.commands.extend(self.command(item, site));
                    }
                }
                name => self.unknown_step_key(entry, keys::CONFIGURE, "configure", name),
            }
        }
        if steps.withheld {
            return Some(Value::Withheld);
        }
        if steps.files.is_empty() && steps.commands.is_empty() {
            return None;
        }
        let mut object = Map::new();
        object.insert("files".to_owned(), steps.files.into());
        object.insert("commands".to_owned(), steps.commands.into());
        let text = Json::Object(object).to_string();
        Some(if steps.secret { Value::Secret(Secret::new(text)) } else { Value::Text(text) })
    }

    fn step_list<'n>(&mut self, entry: &'n Entry, help: &str) -> &'n [Node] {
        match &entry.value.kind {
            Kind::List(items) => items,
            _ if entry.value.is_null() => &[],
            _ => {
                let message =
                    format!("'{}' takes a list, not {}", entry.name(), entry.value.describe());
                self.push(Diagnostic::error("wrong-shape", entry.value.span, message).help(help));
                &[]
            }
        }
    }

    fn unknown_step_key(
        &mut self,
        entry: &Entry,
        known: &'static [keys::Key],
        within: &str,
        name: &str,
    ) {
        let message = format!("unknown key '{}' in '{within}'; it is ignored", shorten(name));
        let help = nearest_help(&name.to_lowercase(), keys::names(known));
        self.push(Diagnostic::warning("unknown-key", entry.key_span, message).help(help));
    }

    fn file(&mut self, node: &Node, site: Site, steps: &mut Steps) {
        let Kind::Map(entries) = &node.kind else {
            let message =
                format!("an entry of 'files' is a group of keys, not {}", node.describe());
            self.push(
                Diagnostic::error("wrong-shape", node.span, message)
                    .help("such as '- {path: /etc/motd, content: Welcome}'"),
            );
            return;
        };
        for entry in entries {
            if keys::names(keys::FILE).all(|known| known != entry.name()) {
                self.unknown_step_key(entry, keys::FILE, "files", entry.name());
            }
        }
        let given = |key: &str| find(entries, key).filter(|entry| !entry.value.is_null());
        let mut file = Map::new();
        match given("path") {
            Some(entry) => {
                if let Some(path) = self.file_path(entry, site) {
                    file.insert("path".to_owned(), path.into());
                }
            }
            None => {
                let message = "there is no path for this file";
                self.push(
                    Diagnostic::error("missing-key", node.span, message)
                        .help("'path' is where it is put on the machine"),
                );
            }
        }
        match (given("content"), given("source")) {
            (Some(entry), None) => {
                if let Some(content) = self.content(entry, site, steps) {
                    file.insert("content".to_owned(), content.into());
                }
            }
            (None, Some(entry)) => {
                if let Some(source) = self.file_source(entry, site) {
                    file.insert("source".to_owned(), source.into());
                }
            }
            (Some(content), Some(source)) => {
                let message = "'source' and 'content' are both given for this file";
                self.push(
                    Diagnostic::error("bad-value", source.key_span, message)
                        .related(content.key_span, "'content' is given here")
                        .help("leave out one of them"),
                );
            }
            (None, None) => {
                let message = "there is neither content nor source for this file";
                self.push(Diagnostic::error("missing-key", node.span, message).help(
                    "'content' is a text, 'source' a file here; an empty file has \"content: ''\"",
                ));
            }
        }
        if let Some(mode) = given("mode").and_then(|entry| self.file_mode(entry)) {
            file.insert("mode".to_owned(), mode.into());
        }
        if let Some(owner) = given("owner").and_then(|entry| self.owner(entry, site)) {
            file.insert("owner".to_owned(), owner.into());
        }
        steps.files.push(file.into());
    }

    /// Where a file is put on the machine.
    fn file_path(&mut self, entry: &Entry, site: Site) -> Option<String> {
        let text = self.file_name(entry, site)?;
        if !text.starts_with('/') && !text.starts_with("<%=") {
            let message = format!("'{}' is no absolute path", shorten(&text));
            self.push(
                Diagnostic::error("bad-value", entry.value.span, message)
                    .help("'path' is a path on the machine, from '/' on"),
            );
            return None;
        }
        Some(text)
    }

    /// A file here.
    fn file_source(&mut self, entry: &Entry, site: Site) -> Option<String> {
        let text = self.file_name(entry, site)?;
        Some(self.located(&text, entry.value.span))
    }

    fn file_name(&mut self, entry: &Entry, site: Site) -> Option<String> {
        let scalar = self.single(entry)?;
        let text = self.resolved(scalar, entry.value.span, site);
        let why = if text.trim().is_empty() {
            "is empty"
        } else if text.contains(['\n', '\r']) {
            "has more than one line"
        } else if text.ends_with('/') {
            "names a folder, not a file"
        } else {
            return Some(text);
        };
        self.error("bad-value", entry.value.span, format!("'{}' {why}", entry.name()));
        None
    }

    fn content(&mut self, entry: &Entry, site: Site, steps: &mut Steps) -> Option<String> {
        match &entry.value.kind {
            Kind::Scalar(scalar) => {
                steps.secret |= sensitive::holds_secret("content", scalar);
                Some(self.resolved(scalar, entry.value.span, site))
            }
            Kind::Map(keys) if by_reference(keys).is_some() => match self.secret(keys)? {
                Value::Withheld => {
                    steps.withheld = true;
                    None
                }
                value => {
                    steps.secret = true;
                    value.expose().map(str::to_owned)
                }
            },
            _ => {
                let message = format!("'content' takes a text, not {}", entry.value.describe());
                self.push(Diagnostic::error("wrong-shape", entry.value.span, message).help(
                    "a secret may stand elsewhere: {env: NAME}, {file: PATH} or \
                     {command: [PROGRAM, …]}",
                ));
                None
            }
        }
    }

    /// `644` and `0644` alike, and what `chmod` knows beyond.
    fn file_mode(&mut self, entry: &Entry) -> Option<String> {
        let scalar = self.single(entry)?;
        let digits = scalar.text.trim();
        let digits = digits.strip_prefix("0o").unwrap_or(digits);
        let octal = digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o7777);
        if mode.is_none() || !(3..=5).contains(&digits.len()) {
            let message = format!("'{}' is no mode", shorten(&scalar.text));
            self.push(
                Diagnostic::error("bad-value", entry.value.span, message)
                    .help("'mode' takes three or four octal digits, such as 0644"),
            );
            return None;
        }
        Some(digits.to_owned())
    }

    fn owner(&mut self, entry: &Entry, site: Site) -> Option<String> {
        let scalar = self.single(entry)?;
        let text = self.resolved(scalar, entry.value.span, site);
        if !reference::has_reference(&text) && !is_owner(&text) {
            let message = format!("'{}' is no owner", shorten(&text));
            self.push(
                Diagnostic::error("bad-value", entry.value.span, message)
                    .help("'owner' takes USER or USER:GROUP"),
            );
            return None;
        }
        Some(text)
    }

    /// A line for the machine's shell, or a program and its arguments.
    fn command(&mut self, node: &Node, site: Site) -> Option<Json> {
        let empty = |checker: &mut Self| {
            checker.error("bad-value", node.span, "a command is empty");
            None
        };
        match &node.kind {
            Kind::Scalar(scalar) => {
                let text = self.command_word(scalar, node, site)?;
                if text.trim().is_empty() { empty(self) } else { Some(text.into()) }
            }
            Kind::List(words) if words.is_empty() => empty(self),
            Kind::List(words) => {
                let mut texts = Vec::new();
                for word in words {
                    match &word.kind {
                        Kind::Scalar(scalar) if scalar.is_null() => {
                            let message = "a word of a command is nothing";
                            self.push(
                                Diagnostic::error("bad-value", word.span, message)
                                    .help("put it in quotes if it is meant as written"),
                            );
                        }
                        Kind::Scalar(scalar) => texts.extend(self.command_word(scalar, word, site)),
                        _ => {
                            let message =
                                format!("a word of a command is a text, not {}", word.describe());
                            self.error("wrong-shape", word.span, message);
                        }
                    }
                }
                if texts.first().is_some_and(|program| program.trim().is_empty()) {
                    let message = "the program of a command is empty";
                    self.error("bad-value", node.span, message);
                }
                Some(texts.into())
            }
            Kind::Map(_) => {
                let message = "a command is a text or a list of texts, not a group of keys";
                self.push(
                    Diagnostic::error("wrong-shape", node.span, message)
                        .help("a text with ': ' in it must be in quotes"),
                );
                None
            }
        }
    }

    fn command_word(&mut self, scalar: &Scalar, node: &Node, site: Site) -> Option<String> {
        if scalar.secret {
            self.push(
                Diagnostic::error("bad-value", node.span, "a password cannot stand in a command")
                    .help(
                        "whoever is on the machine could see it; put it into a file, by 'content', \
                         that the command reads",
                    ),
            );
            return None;
        }
        if scalar.is_null() {
            return Some(String::new());
        }
        Some(self.resolved(scalar, node.span, site))
    }
}

/// `USER` or `USER:GROUP`, by names or numbers.
fn is_owner(text: &str) -> bool {
    let is_name = |name: &str| {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
        !name.is_empty() && !name.starts_with('-') && name.chars().all(fits)
    };
    match text.split_once(':') {
        Some((user, group)) => is_name(user) && is_name(group),
        None => is_name(text),
    }
}
