//! Tree -> text: block style, two spaces, scalars as they were written.

use std::collections::HashSet;

use super::{Entry, Kind, Node, Scalar, Style, escape_double_quoted};
use crate::sensitive;

/// Whether secrets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// For whoever needs them.
    Shown,
    /// For people.
    Masked,
}

/// The YAML text of a tree, with a line break at its end.
pub(crate) fn emit(node: &Node, secrets: Secrets) -> String {
    let mut out = String::new();
    let mut masked = HashSet::new();
    if secrets == Secrets::Masked {
        // The same value may stand elsewhere, where an anchor gives it another name.
        node.each_scalar("", &mut |key, scalar, _| {
            if sensitive::holds_secret(key, scalar) {
                masked.insert(scalar.text.as_str());
            }
        });
    }
    let mut emitter = Emitter { out: &mut out, secrets, masked };
    match &node.kind {
        Kind::Map(entries) if !entries.is_empty() => emitter.map(entries, 0, false, false),
        Kind::List(items) if !items.is_empty() => emitter.list(items, 0, "", false),
        _ => {
            emitter.inline(node, 0, "", false);
            emitter.out.push('\n');
        }
    }
    out
}

struct Emitter<'o> {
    out: &'o mut String,
    secrets: Secrets,
    /// Values that are not written, whatever their key.
    masked: HashSet<&'o str>,
}

impl Emitter<'_> {
    fn indent(&mut self, depth: usize) {
        self.out.extend(std::iter::repeat_n("  ", depth));
    }

    /// `first_inline`: the first key stands behind the `- ` of a list.
    fn map(&mut self, entries: &[Entry], depth: usize, first_inline: bool, masked: bool) {
        for (index, entry) in entries.iter().enumerate() {
            if index > 0 || !first_inline {
                self.indent(depth);
            }
            self.scalar(&entry.key, depth, true);
            self.out.push(':');
            let masked = masked || sensitive::is_secret_name(entry.name());
            self.value(&entry.value, depth, entry.name(), masked);
        }
    }

    fn list(&mut self, items: &[Node], depth: usize, name: &str, masked: bool) {
        for item in items {
            self.indent(depth);
            self.out.push('-');
            match &item.kind {
                Kind::Map(entries) if !entries.is_empty() => {
                    self.out.push(' ');
                    self.map(entries, depth + 1, true, masked);
                }
                _ => self.value(item, depth, name, masked),
            }
        }
    }

    /// What stands behind `key:` or `-`, with the line break.
    fn value(&mut self, node: &Node, depth: usize, name: &str, masked: bool) {
        match &node.kind {
            Kind::Map(entries) if !entries.is_empty() => {
                self.out.push('\n');
                self.map(entries, depth + 1, false, masked);
            }
            Kind::List(items) if !items.is_empty() => {
                self.out.push('\n');
                self.list(items, depth + 1, name, masked);
            }
            Kind::Scalar(scalar) if scalar.text.is_empty() && scalar.is_null() => {
                self.out.push('\n');
            }
            _ => {
                self.out.push(' ');
                self.inline(node, depth, name, masked);
                if !self.out.ends_with('\n') {
                    self.out.push('\n');
                }
            }
        }
    }

    fn inline(&mut self, node: &Node, depth: usize, name: &str, masked: bool) {
        match &node.kind {
            Kind::List(_) => self.out.push_str("[]"),
            Kind::Map(_) => self.out.push_str("{}"),
            Kind::Scalar(scalar) => {
                // Below a secret's name, whatever stands there is secret by that name.
                let name = if sensitive::is_secret_name(name) { name } else { "secret" };
                let secret = scalar.secret
                    || masked && sensitive::is_secret(name, &scalar.text)
                    || self.masked.contains(scalar.text.as_str());
                if secret && self.secrets == Secrets::Masked {
                    self.out.push_str("\"*****\"");
                } else {
                    self.scalar(scalar, depth, false);
                }
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar, depth: usize, key: bool) {
        if let Some(tag) = &scalar.tag {
            self.out.push_str(tag);
            self.out.push(' ');
        }
        match scalar.style {
            Style::Plain if !scalar.text.contains(['\n', '\r']) => self.out.push_str(&scalar.text),
            Style::Block if !key && fits_block(&scalar.text) => self.block(&scalar.text, depth),
            _ => {
                self.out.push('"');
                self.out.push_str(&escape_double_quoted(&scalar.text));
                self.out.push('"');
            }
        }
    }

    fn block(&mut self, text: &str, depth: usize) {
        self.out.push('|');
        if !text.ends_with('\n') {
            self.out.push('-');
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.out.push('\n');
            if !line.is_empty() {
                self.indent(depth + 1);
                self.out.push_str(line);
            }
        }
        self.out.push('\n');
    }
}

/// Whether a text can stand in a literal block without further marks.
fn fits_block(text: &str) -> bool {
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    let special = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{85}');
    let first = text.chars().next();
    first.is_some_and(|c| !c.is_whitespace())
        && !text.ends_with("\n\n")
        && text.chars().all(|c| plain(c) && !special(c))
        && !text.split('\n').any(|line| !line.is_empty() && line.trim().is_empty())
}
