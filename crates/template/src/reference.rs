//! References from one object to another: `<%= @clusters[0]['ID'] %>`, evaluated without running
//! any code.
//!
//! The old tool gave the text between `<%=` and `%>` to Ruby as soon as an `@` stood in it. Here it
//! is a closed language of four expressions:
//!
//! | expression | value |
//! | --- | --- |
//! | `@name`, `@id` | name and id of the provision |
//! | `@hosts[0]['ID']`, `@datastores[1]["TEMPLATE/TYPE"]`, … | an attribute of an object that was created before; the key is a path below the object, as OpenNebula's own tools write it |
//! | `@updates['first_host']`, `@updates['default_ipv4_nic']` | what is known only when the hosts are there; 6.x writes `${updates.first_host}` |
//! | `'text'`, `"text"`, `12` | itself |
//!
//! One text may hold several of them, and beside one `<%%` stands for `<%`.

use std::fmt;
use std::ops::Range;

use model::{Attributes, Secret, Value};
use thiserror::Error;

/// The kinds of objects that a reference can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `@clusters`; there is exactly one.
    Cluster,
    /// `@datastores`.
    Datastore,
    /// `@networks`, in 5.8 and 5.10 `@vnets`.
    Network,
    /// `@hosts`.
    Host,
    /// `@images`.
    Image,
    /// `@templates`.
    Template,
    /// `@vntemplates`.
    Vntemplate,
    /// `@flowtemplates`.
    Flowtemplate,
}

impl ObjectKind {
    /// All kinds in the order of their creation.
    pub const ALL: [Self; 8] = [
        Self::Cluster,
        Self::Datastore,
        Self::Network,
        Self::Host,
        Self::Image,
        Self::Template,
        Self::Vntemplate,
        Self::Flowtemplate,
    ];

    /// The variable without its `@`.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Datastore => "datastores",
            Self::Network => "networks",
            Self::Host => "hosts",
            Self::Image => "images",
            Self::Template => "templates",
            Self::Vntemplate => "vntemplates",
            Self::Flowtemplate => "flowtemplates",
        }
    }

    fn from_variable(name: &str) -> Option<Self> {
        if name == "vnets" {
            return Some(Self::Network);
        }
        Self::ALL.into_iter().find(|kind| kind.variable() == name)
    }
}

/// What is known only when the hosts are there (6.x: `updates`,
/// `src/oneprovision/lib/provision/provision.rb`, 6.10.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Late {
    /// `first_host`: the name of the first host in OpenNebula, which is its address.
    FirstHost,
    /// `default_ipv4_nic`: the network interface of the first host that its default route goes
    /// through, Ansible's `ansible_default_ipv4.interface`.
    DefaultIpv4Nic,
}

impl Late {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::FirstHost, Self::DefaultIpv4Nic];

    /// Its name behind `updates`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstHost => "first_host",
            Self::DefaultIpv4Nic => "default_ipv4_nic",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|late| late.as_str() == name)
    }
}

/// Writes it as 6.x does.
impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{updates.{}}}", self.as_str())
    }
}

/// What one `<%= … %>` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `@name`: the provision's name.
    Name,
    /// `@id`: the provision's id.
    Id,
    /// `@hosts[0]['ID']`: an attribute of an object.
    Object {
        /// Kind of the object.
        kind: ObjectKind,
        /// Its number among those of its kind, from 0, in creation order.
        index: usize,
        /// Path below the object: `ID`, `NAME`, `TEMPLATE/PROVISION/HOSTNAME`.
        path: String,
    },
    /// `@updates['first_host']`.
    Late(Late),
    /// A text or number in the expression itself.
    Literal(String),
}

/// Writes the reference with its `<%= %>`, so that it reads back as the same.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("<%= @name %>"),
            Self::Id => f.write_str("<%= @id %>"),
            Self::Object { kind, index, path } => {
                write!(f, "<%= @{}[{index}]['{path}'] %>", kind.variable())
            }
            Self::Late(late) => write!(f, "<%= @updates['{}'] %>", late.as_str()),
            // As it is, it could be the beginning of a reference.
            Self::Literal(text) if text.contains(['<', '%']) => write!(f, "<%= '{text}' %>"),
            Self::Literal(text) => f.write_str(text),
        }
    }
}

/// A part of a text with references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands in the text, in bytes.
    pub range: Range<usize>,
    /// What stands there.
    pub content: Content,
}

/// Plain text or a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text that stays as it is.
    Text(String),
    /// To be replaced.
    Reference(Reference),
}

/// A text that cannot be read as one with references.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ParseError {
    /// The part of the text that is wrong, in bytes.
    pub range: Range<usize>,
    /// What is wrong with it.
    pub message: String,
}

/// What may stand between `<%=` and `%>`, for messages.
pub const ALLOWED: &str = "only @name, @id, an attribute of an object that was created before, such as \
     @clusters[0]['ID'], or a text in quotes; no code is run";

/// Whether a text is one with references. As in 5.12, a text without `<%=` stays as it is.
pub fn has_reference(text: &str) -> bool {
    text.contains("<%=")
}

/// What a text refers to that is known only when the hosts are there.
pub fn late_in(text: &str) -> Vec<Late> {
    if !has_reference(text) {
        return Vec::new();
    }
    let late = |piece: Piece| match piece.content {
        Content::Reference(Reference::Late(late)) => Some(late),
        _ => None,
    };
    parse(text).unwrap_or_default().into_iter().filter_map(late).collect()
}

/// A text of which nothing is taken for a reference: it evaluates to what was given.
pub(crate) fn literally(text: &str) -> String {
    if has_reference(text) { part_literally(text) } else { text.to_owned() }
}

/// The same of a part of a text with references.
pub(crate) fn part_literally(text: &str) -> String {
    text.replace("<%", LITERAL)
}

/// What [`part_literally`] was made of.
pub(crate) fn part_meant(text: &str) -> String {
    text.replace(LITERAL, "<%")
}

/// `<%` in a text with references.
const LITERAL: &str = "<%= '<%' %>";

/// Splits a text into plain parts and references.
///
/// # Errors
/// The first part that is neither.
pub fn parse(text: &str) -> Result<Vec<Piece>, ParseError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].find("<%") {
        let open = at + offset;
        if open > at {
            pieces.push(text_piece(text, at..open));
        }
        let inner = open + 2;
        if text[inner..].starts_with('%') {
            let range = open..inner + 1;
            let content = Content::Reference(Reference::Literal("<%".to_owned()));
            pieces.push(Piece { content, range });
            at = inner + 1;
            continue;
        }
        let Some(length) = text[inner..].find("%>") else {
            return Err(error(open..text.len(), "'<%' without its '%>'"));
        };
        let (close, end) = (inner + length, inner + length + 2);
        let Some(expression) = text[inner..close].strip_prefix('=') else {
            let message = format!("'<% %>' and '<%# %>' are not known, only '<%= %>': {ALLOWED}");
            return Err(error(open..end, message));
        };
        let expression = expression.strip_suffix('-').unwrap_or(expression);
        let reference =
            parse_expression(expression.trim()).map_err(|message| error(open..end, message))?;
        pieces.push(Piece { range: open..end, content: Content::Reference(reference) });
        at = end;
    }
    if at < text.len() {
        pieces.push(text_piece(text, at..text.len()));
    }
    Ok(pieces)
}

fn error(range: Range<usize>, message: impl Into<String>) -> ParseError {
    ParseError { range, message: message.into() }
}

fn text_piece(text: &str, range: Range<usize>) -> Piece {
    Piece { content: Content::Text(text[range.clone()].to_owned()), range }
}

fn parse_expression(expression: &str) -> Result<Reference, String> {
    if expression.is_empty() {
        return Err(format!("nothing stands between '<%=' and '%>': {ALLOWED}"));
    }
    if let Some(literal) = parse_literal(expression) {
        return Ok(Reference::Literal(literal));
    }
    let Some(variable) = expression.strip_prefix('@') else {
        return Err(format!("this expression is not known: {ALLOWED}"));
    };
    let end = variable.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, rest) = variable.split_at(end.unwrap_or(variable.len()));
    let rest = rest.trim_start();
    match (name, ObjectKind::from_variable(name)) {
        ("name", _) if rest.is_empty() => Ok(Reference::Name),
        ("id", _) if rest.is_empty() => Ok(Reference::Id),
        ("updates", _) => {
            let name =
                rest.strip_prefix('[').and_then(|rest| quoted(rest.strip_suffix(']')?.trim()));
            let late = name.and_then(Late::from_name).ok_or_else(|| {
                let known = Late::ALL.map(|late| format!("@updates['{}']", late.as_str()));
                format!("after @updates there must be one of its names: {}", known.join(", "))
            })?;
            Ok(Reference::Late(late))
        }
        (_, Some(kind)) => {
            let (index, path) = parse_element(rest).ok_or_else(|| {
                format!(
                    "after @{name} there must be a number and a key, \
                     such as @{name}[0]['ID']; no code is run"
                )
            })?;
            Ok(Reference::Object { kind, index, path })
        }
        ("name" | "id", None) => Err(format!("@{name} stands alone: {ALLOWED}")),
        _ => {
            let known: Vec<_> = ObjectKind::ALL.iter().map(|kind| kind.variable()).collect();
            Err(format!("@{name} is not known; there are @name, @id, @{}", known.join(", @")))
        }
    }
}

fn parse_literal(expression: &str) -> Option<String> {
    if expression.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(expression.to_owned());
    }
    quoted(expression).map(str::to_owned)
}

/// The content of `'…'` or `"…"` without escapes or interpolation.
fn quoted(text: &str) -> Option<&str> {
    let content =
        ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))?;
    let plain = !content.contains(['\'', '"', '\\', '\n']) && !content.contains("#{");
    plain.then_some(content)
}

/// `[0]['ID']`.
fn parse_element(text: &str) -> Option<(usize, String)> {
    let (index, rest) = text.strip_prefix('[')?.split_once(']')?;
    let index = index.trim();
    if !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let key = rest.trim().strip_prefix('[')?.strip_suffix(']')?;
    let path = quoted(key.trim())?;
    is_path(path).then(|| Some((index.parse().ok()?, path.to_owned())))?
}

fn is_path(path: &str) -> bool {
    path.split('/').all(|step| {
        let first = step.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        first && step.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    })
}

/// What references can be resolved against: the provision while it is being created.
pub trait Lookup {
    /// Name of the provision.
    fn name(&self) -> &str;

    /// Id of the provision.
    fn id(&self) -> &str;

    /// An attribute of an object; `None` if there is no such object (yet), or nothing under that
    /// path. `path` is as in [`Reference::Object`].
    fn attribute(&self, kind: ObjectKind, index: usize, path: &str) -> Option<String>;

    /// What is known only when the hosts are there, if it is by now.
    fn late(&self, _late: Late) -> Option<String> {
        None
    }
}

/// Why references could not be resolved.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EvaluateError {
    /// The text is not one with references.
    #[error("a reference cannot be read")]
    Parse(#[source] ParseError),
    /// The document is no JSON: where and why, nothing of it.
    #[error("this is no JSON: {0}")]
    Json(String),
    /// What is referred to is not there, or empty.
    #[error("{reference} not found")]
    NotFound {
        /// The reference in canonical form.
        reference: String,
    },
}

/// Replaces every reference of a text by its value. A text without references comes back as it is.
///
/// # Errors
/// A reference that cannot be read, or whose object or attribute is not there or is empty.
pub fn evaluate(text: &str, lookup: &dyn Lookup) -> Result<String, EvaluateError> {
    evaluate_with(text, lookup, str::to_owned)
}

/// Like [`evaluate`] for the YAML text of a host's configuration, where references stand within
/// double quotes: values are escaped for them.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_yaml(text: &str, lookup: &dyn Lookup) -> Result<String, EvaluateError> {
    evaluate_with(text, lookup, crate::yaml::escape_double_quoted)
}

/// Like [`evaluate`] for every text of a JSON document. A text that is nothing but the attribute of an
/// object becomes a number if that is one: a service template names its machines by number.
///
/// # Errors
/// As [`evaluate`], and if the document is no JSON.
pub fn evaluate_json(text: &str, lookup: &dyn Lookup) -> Result<String, EvaluateError> {
    evaluate_json_with(text, lookup, true)
}

/// Like [`evaluate_json`], but every text stays a text: for the files and commands of a host, where an
/// argument or the content of a file may be a number, and is one in letters.
///
/// # Errors
/// As [`evaluate_json`].
pub fn evaluate_json_texts(text: &str, lookup: &dyn Lookup) -> Result<String, EvaluateError> {
    evaluate_json_with(text, lookup, false)
}

fn evaluate_json_with(
    text: &str,
    lookup: &dyn Lookup,
    numbers: bool,
) -> Result<String, EvaluateError> {
    let mut document: serde_json::Value =
        serde_json::from_str(text).map_err(|error| EvaluateError::Json(error.to_string()))?;
    evaluate_json_value(&mut document, lookup, numbers)?;
    Ok(document.to_string())
}

fn evaluate_json_value(
    value: &mut serde_json::Value,
    lookup: &dyn Lookup,
    numbers: bool,
) -> Result<(), EvaluateError> {
    match value {
        serde_json::Value::String(text) if has_reference(text) => {
            let pieces = parse(text).map_err(EvaluateError::Parse)?;
            let alone = matches!(
                pieces.as_slice(),
                [Piece { content: Content::Reference(Reference::Object { .. }), .. }]
            );
            let resolved = evaluate(text, lookup)?;
            let number = resolved.parse::<u32>().ok().filter(|_| numbers && alone);
            *value = number.map_or_else(|| resolved.into(), Into::into);
            Ok(())
        }
        serde_json::Value::Array(items) => {
            items.iter_mut().try_for_each(|item| evaluate_json_value(item, lookup, numbers))
        }
        serde_json::Value::Object(object) => {
            object.values_mut().try_for_each(|value| evaluate_json_value(value, lookup, numbers))
        }
        _ => Ok(()),
    }
}

/// Resolves all values of an attribute tree; secrets stay secrets.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_attributes(
    attributes: &Attributes,
    lookup: &dyn Lookup,
) -> Result<Attributes, EvaluateError> {
    attributes
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Text(text) => Value::Text(evaluate(text, lookup)?),
                Value::Secret(secret) => {
                    Value::Secret(Secret::new(evaluate(secret.expose(), lookup)?))
                }
                Value::Vector(inner) => Value::Vector(evaluate_attributes(inner, lookup)?),
                Value::Withheld => Value::Withheld,
            };
            Ok((key.to_owned(), value))
        })
        .collect()
}

fn evaluate_with(
    text: &str,
    lookup: &dyn Lookup,
    encode: impl Fn(&str) -> String,
) -> Result<String, EvaluateError> {
    if !has_reference(text) {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    for piece in parse(text).map_err(EvaluateError::Parse)? {
        match piece.content {
            Content::Text(text) => out.push_str(&text),
            Content::Reference(reference) => out.push_str(&encode(&resolve(&reference, lookup)?)),
        }
    }
    Ok(out)
}

fn resolve(reference: &Reference, lookup: &dyn Lookup) -> Result<String, EvaluateError> {
    let value = match reference {
        Reference::Name => Some(lookup.name().to_owned()),
        Reference::Id => Some(lookup.id().to_owned()),
        Reference::Literal(text) => return Ok(text.clone()),
        Reference::Late(late) => lookup.late(*late),
        Reference::Object { kind, index, path } => {
            // References of 6.x name an attribute without saying where in the object it is.
            let found = |path: &str| lookup.attribute(*kind, *index, path);
            let found = |path: &str| found(path).filter(|value| !value.is_empty());
            found(path).or_else(|| {
                let inner = !path.contains('/');
                inner.then(|| found(&format!("TEMPLATE/{path}"))).flatten().or_else(|| {
                    inner.then(|| found(&format!("TEMPLATE/PROVISION/{path}"))).flatten()
                })
            })
        }
    };
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| EvaluateError::NotFound { reference: reference.to_string() })
}

#[cfg(test)]
mod tests;
