//! YAML with places: a tree in which every node knows where it stands.
//!
//! The events come from `saphyr-parser` (YAML 1.2); what is made of them here is a tree that keeps
//! the text and the style of every scalar, because a template's values are texts: `5.10`, `012` and
//! `yes` stay what the user wrote.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`decode`] | bytes -> text, or why it is no text |
//! | [`compose`] | text -> tree, with limits |
//! | [`placeholder`] | finds `****` where a value is still to be filled in |
//! | [`explain`] | the parser's errors in words for people |
//! | [`emit`] | tree -> text |

pub(crate) mod compose;
pub(crate) mod decode;
pub(crate) mod emit;
mod explain;
mod placeholder;

use crate::diagnostic::Span;

/// A node and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// The text after unescaping and folding, no type guessed.
    pub(crate) text: String,
    pub(crate) style: Style,
    /// The tag as it was written (`!vault`, `!!str`), if there was one.
    pub(crate) tag: Option<String>,
    /// Whether it is a secret, whatever its key is: a password that was asked for.
    pub(crate) secret: bool,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    Block,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    /// Whether the node stands for no value: nothing, `~`, or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    pub(crate) fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&[Entry]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// Bytes of text below the node, and some for each node.
    pub(crate) fn size(&self) -> usize {
        const NODE: usize = 64;
        NODE + match &self.kind {
            Kind::Scalar(scalar) => scalar.text.len(),
            Kind::List(items) => items.iter().map(Self::size).sum(),
            Kind::Map(entries) => {
                entries.iter().map(|entry| entry.name().len() + entry.value.size()).sum()
            }
        }
    }

    /// What the node is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.is_null() => "nothing",
            Kind::Scalar(_) => "a single value",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a group of keys",
        }
    }

    /// Calls `visit` for every scalar below, with the nearest key above it.
    pub(crate) fn each_scalar<'a>(
        &'a self,
        key: &'a str,
        visit: &mut impl FnMut(&'a str, &'a Scalar, Span),
    ) {
        match &self.kind {
            Kind::Scalar(scalar) => visit(key, scalar, self.span),
            Kind::List(items) => items.iter().for_each(|item| item.each_scalar(key, visit)),
            Kind::Map(entries) => {
                entries.iter().for_each(|entry| entry.value.each_scalar(entry.name(), visit));
            }
        }
    }
}

impl Scalar {
    /// Whether it stands for no value.
    pub(crate) fn is_null(&self) -> bool {
        let word = matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        word && self.style == Style::Plain && self.tag.is_none()
    }
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.key.text
    }
}

/// Writes a text as it must stand within double quotes.
pub(crate) fn escape_double_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}') =>
            {
                out.push_str(&format!("\\U{:08X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
