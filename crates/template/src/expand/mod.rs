//! From the merged tree to one without inputs, counts and `${…}`: what OpenNebula 6.x added is
//! turned into what 5.x has, so that all further checks know one language.
//!
//! | module | what it does |
//! | --- | --- |
//! | this one | walks over the tree and replaces `${…}` in its values |
//! | [`dollar`] | reads one `${…}` |
//! | [`inputs`] | the section `inputs`, and the value of each |
//! | [`objects`] | names of objects, for `${datastore.images.id}` |
//! | [`copies`] | `count`, and a list as `hostname` |
//!
//! A value that comes from an input is not looked into again: it is what it is.

mod copies;
mod dollar;
mod inputs;
mod objects;

use std::collections::{BTreeMap, HashSet};

use crate::diagnostic::{Diagnostic, FileId, Span};
use crate::inputs::{Answer, InputSpec};
use crate::reference::Reference;
use crate::source::Sources;
use crate::yaml::{Entry, Kind, Node, Scalar, Style};

use dollar::{Dollar, Part};
use inputs::Inputs;
use objects::Names;

/// Most bytes that references may be replaced by, all values together.
const MAX_REPLACED: usize = 64 << 20;

/// Line and column of a value.
pub(crate) type Place = (FileId, u32, u32);

/// What came of it.
pub(crate) struct Expanded {
    /// The tree without inputs, counts and `${…}`.
    pub(crate) root: Node,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The values about which everything is said; what stands there now is no value of theirs.
    pub(crate) reported: HashSet<Place>,
    /// All inputs of the template, in order.
    pub(crate) inputs: Vec<InputSpec>,
    /// Those that are used and have no value.
    pub(crate) missing: Vec<InputSpec>,
}

/// Expands a merged tree. `given` are values of inputs by their names; `complete` as for the checks.
pub(crate) fn expand(
    root: &Node,
    sources: &Sources,
    given: &BTreeMap<String, String>,
    complete: bool,
) -> Expanded {
    let entries = root.as_map().unwrap_or(&[]);
    let mut expander = Expander {
        sources,
        complete,
        diagnostics: Vec::new(),
        said: HashSet::new(),
        reported: HashSet::new(),
        quiet: false,
        name: None,
        inputs: Inputs::default(),
        names: Names::default(),
        replaced: 0,
        overflowed: false,
        copied: 0,
        hosts: 0,
    };
    expander.read_inputs(entries, given);
    let root = Node { span: root.span, kind: Kind::Map(expander.top(entries)) };
    expander.tell_missing();
    let Expander { diagnostics, reported, inputs, .. } = expander;
    let (inputs, missing) = inputs.into_specs();
    Expanded { root, diagnostics, reported, inputs, missing }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
enum Site {
    /// In the provision's name, which can hold nothing but inputs.
    Name,
    /// In a copy with that number, which `${index}` is.
    Copy(usize),
    /// Anywhere else.
    Plain,
}

struct Expander<'e> {
    sources: &'e Sources,
    complete: bool,
    diagnostics: Vec<Diagnostic>,
    /// What was said already; copies are the same to the letter.
    said: HashSet<(&'static str, Span)>,
    reported: HashSet<Place>,
    /// Looks at a value without saying anything about it.
    quiet: bool,
    /// The provision's name, if it is known.
    name: Option<String>,
    inputs: Inputs,
    names: Names,
    /// Bytes that references were replaced by.
    replaced: usize,
    /// That these are too many was said.
    overflowed: bool,
    /// Bytes of all copies.
    copied: usize,
    /// Hosts made so far.
    hosts: usize,
}

impl Expander<'_> {
    fn top(&mut self, entries: &[Entry]) -> Vec<Entry> {
        let find = |key: &str| entries.iter().find(|entry| entry.name() == key);
        let name = find("name").map(|entry| self.node(&entry.value, Site::Name));
        // Two references to a name that cannot be used need no finding each.
        self.name = name
            .as_ref()
            .filter(|node| !self.reported.contains(&place(node.span)))
            .and_then(Node::as_scalar)
            .filter(|scalar| !scalar.is_null() && !scalar.secret && !scalar.text.contains("<%"))
            .map(|scalar| scalar.text.clone());
        self.read_names(entries);
        let defaults = copies::Defaults::of(find("defaults"));
        // Objects below can name hosts by their host names.
        let mut hosts = find("hosts").map(|entry| self.host_section(&entry.value, &defaults));
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let value = match entry.name() {
                "name" => name.clone(),
                "hosts" => hosts.take(),
                "defaults" => Some(self.node(&defaults.without_index(&entry.value), Site::Plain)),
                "networks" => Some(self.network_section(&entry.value)),
                key if crate::check::is_read(key) => Some(self.node(&entry.value, Site::Plain)),
                _ => None,
            };
            out.push(Entry {
                value: value.unwrap_or_else(|| entry.value.clone()),
                ..entry.clone()
            });
        }
        out
    }

    /// A node with all references replaced.
    fn node(&mut self, node: &Node, site: Site) -> Node {
        let kind = match &node.kind {
            Kind::Scalar(scalar) => return self.scalar(scalar, node.span, site),
            Kind::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let expanded = self.node(item, site);
                    match (&item.kind, expanded.kind) {
                        // An input that is a list becomes a part of the list that it stands in.
                        (Kind::Scalar(_), Kind::List(more)) => out.extend(more),
                        (_, kind) => out.push(Node { span: expanded.span, kind }),
                    }
                }
                Kind::List(out)
            }
            Kind::Map(entries) => Kind::Map(self.entries(entries, site)),
        };
        Node { span: node.span, kind }
    }

    fn entries(&mut self, entries: &[Entry], site: Site) -> Vec<Entry> {
        let expand = |entry: &Entry| Entry {
            key: entry.key.clone(),
            key_span: entry.key_span,
            value: self.node(&entry.value, site),
        };
        entries.iter().map(expand).collect()
    }

    fn scalar(&mut self, scalar: &Scalar, span: Span, site: Site) -> Node {
        let node = |scalar| Node { span, kind: Kind::Scalar(scalar) };
        if !scalar.text.contains("${") {
            return node(scalar.clone());
        }
        let parts = dollar::parts(&scalar.text);
        if let [Part::Dollar(Dollar::Input(name), range)] = parts.as_slice() {
            let at = self.sources.within(scalar, span, range.clone());
            match self.input(name, at) {
                Some((Answer::Many(texts), secret)) => {
                    let items = texts.into_iter().map(|text| node(quoted(text, secret)));
                    return Node { span, kind: Kind::List(items.collect()) };
                }
                Some(_) => {}
                None => return self.failed(span),
            }
        }
        let mut out = String::new();
        let (mut secret, mut replaced, mut failed) = (scalar.secret, false, false);
        for part in parts {
            let (dollar, range) = match part {
                Part::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Part::Dollar(dollar, range) => (dollar, range),
            };
            let at = self.sources.within(scalar, span, range.clone());
            if let Dollar::Text(warning) = dollar {
                if let Some(message) = warning {
                    self.push(Diagnostic::warning("not-a-reference", at, message));
                }
                out.push_str(scalar.text.get(range).unwrap_or_default());
                continue;
            }
            match self.dollar(dollar, at, site) {
                Some((text, hidden)) => {
                    self.replaced = self.replaced.saturating_add(text.len());
                    if self.replaced > MAX_REPLACED {
                        if !self.overflowed && !self.quiet {
                            let message = "the values of inputs are too long together";
                            self.error("too-large", at, message);
                            self.overflowed = true;
                        }
                        return self.failed(span);
                    }
                    (secret, replaced) = (secret | hidden, true);
                    out.push_str(&text);
                }
                None => failed = true,
            }
        }
        match (failed, replaced) {
            (true, _) => self.failed(span),
            (_, true) => node(Scalar { tag: scalar.tag.clone(), ..quoted(out, secret) }),
            _ => node(scalar.clone()),
        }
    }

    /// What one `${…}` stands for, and whether that is a secret; `None` if it is wrong, which was
    /// said.
    fn dollar(&mut self, dollar: Dollar<'_>, at: Span, site: Site) -> Option<(String, bool)> {
        let references = !matches!(dollar, Dollar::Input(_) | Dollar::Wrong(_));
        if matches!(site, Site::Name) && references {
            self.error("bad-name", at, "the provision's name cannot hold references");
            return None;
        }
        let text = match dollar {
            Dollar::Input(name) => match self.input(name, at)? {
                (Answer::One(text), secret) => return Some((text, secret)),
                (Answer::Many(_), _) => {
                    let message = format!(
                        "the input '{name}' is a list, and cannot stand within a text; it must be \
                         the whole value"
                    );
                    self.error("bad-reference", at, message);
                    return None;
                }
            },
            Dollar::Provision => self.name.clone()?,
            Dollar::ProvisionId => Reference::Id.to_string(),
            Dollar::Index => match site {
                Site::Copy(index) => index.to_string(),
                _ => {
                    let message = "'${index}' has a meaning only in hosts and in the address \
                                   ranges of networks";
                    self.error("bad-reference", at, message);
                    return None;
                }
            },
            Dollar::Late(late) => Reference::Late(late).to_string(),
            Dollar::Updates => {
                let message = "'${updates.…}', values that are known only after the deployment: \
                               not supported by this version";
                self.push(
                    Diagnostic::error("not-supported-yet", at, message)
                        .help("leave the key out, and set it when the hosts are there"),
                );
                return None;
            }
            Dollar::Object { kind, key, attribute } => self.object(kind, key, attribute, at)?,
            Dollar::Wrong(message) => {
                self.error("bad-reference", at, message);
                return None;
            }
            Dollar::Text(_) => return None,
        };
        Some((text, false))
    }

    /// What stands for a value that is not known: a reference, of which no check expects to know
    /// more.
    fn failed(&mut self, span: Span) -> Node {
        if !self.quiet {
            self.reported.insert(place(span));
        }
        Node { span, kind: Kind::Scalar(quoted(Reference::Id.to_string(), false)) }
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        if !self.quiet && self.said.insert((diagnostic.code, diagnostic.span)) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// Does something without saying anything.
    fn quietly<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.quiet, true);
        let result = work(self);
        self.quiet = before;
        result
    }
}

fn place(span: Span) -> Place {
    (span.file, span.line, span.column)
}

/// A text that no rule of YAML makes anything else of.
fn quoted(text: String, secret: bool) -> Scalar {
    Scalar { text, style: Style::Quoted, tag: None, secret }
}

fn find_any_case<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.name().eq_ignore_ascii_case(name))
}

/// The value of a key, unless there is none.
fn given<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Entry> {
    find_any_case(entries, name).filter(|entry| !entry.value.is_null())
}
