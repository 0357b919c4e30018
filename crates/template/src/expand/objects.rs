//! Names of objects, for references such as `${datastore.images.id}`.

use super::{Expander, Site, find_any_case, given};
use crate::check::names::nearest;
use crate::diagnostic::{Diagnostic, Span};
use crate::reference::{self, Content, ObjectKind, Reference};
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Node};

/// Names of the template's objects, by section and in order. An object whose name is not known has
/// none.
#[derive(Default)]
pub(super) struct Names(Vec<(&'static str, Vec<Option<String>>)>);

/// The sections whose objects make up those of a kind, in the order of their creation: a
/// marketplace app is an image and a template.
fn sections(kind: ObjectKind) -> &'static [&'static str] {
    match kind {
        ObjectKind::Cluster => &["cluster"],
        ObjectKind::Datastore => &["datastores"],
        ObjectKind::Network => &["networks"],
        ObjectKind::Host => &["hosts"],
        ObjectKind::Image => &["images", "marketplaceapps"],
        ObjectKind::Template => &["vmnames", "templates"],
        ObjectKind::Vntemplate => &["vntemplates"],
        ObjectKind::Flowtemplate => &["flowtemplates"],
    }
}

impl Names {
    pub(super) fn add(&mut self, section: &'static str, names: Vec<Option<String>>) {
        self.0.push((section, names));
    }

    fn has(&self, section: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == section)
    }

    fn of(&self, kind: ObjectKind) -> Vec<Option<&str>> {
        let names = |section: &&str| self.0.iter().find(|(known, _)| known == section);
        let lists = sections(kind).iter().filter_map(names);
        lists.flat_map(|(_, names)| names.iter().map(Option::as_deref)).collect()
    }
}

impl Expander<'_> {
    /// Takes note of the names of all objects but hosts, which are not counted yet.
    pub(super) fn read_names(&mut self, entries: &[Entry]) {
        let cluster = given(entries, "cluster").and_then(|entry| entry.value.as_map());
        let cluster = cluster.and_then(|keys| given(keys, "name"));
        let name = match cluster {
            Some(entry) => self.name_of(&entry.value),
            None => self.name.clone(),
        };
        self.names.add("cluster", vec![name]);
        for section in ["datastores", "networks", "images", "marketplaceapps", "templates"] {
            let names = self.section_names(entries, section, "name");
            self.names.add(section, names);
        }
        let names = self.section_names(entries, "vntemplates", "name");
        self.names.add("vntemplates", names);
        let apps = self.section_names(entries, "marketplaceapps", "vmname");
        self.names.add("vmnames", apps);
    }

    fn section_names(
        &mut self,
        entries: &[Entry],
        section: &str,
        key: &str,
    ) -> Vec<Option<String>> {
        let Some(entry) = entries.iter().find(|entry| entry.name() == section) else {
            return Vec::new();
        };
        let items = entry.value.as_list().unwrap_or(&[]);
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            let keys = item.as_map().unwrap_or(&[]);
            let entry = given(keys, key).or_else(|| find_any_case(keys, "name"));
            names.push(entry.and_then(|entry| self.name_of(&entry.value)));
        }
        names
    }

    /// A name as it will be, unless it depends on what exists only at creation.
    pub(super) fn name_of(&mut self, node: &Node) -> Option<String> {
        let node = self.quietly(|expander| expander.node(node, Site::Plain));
        let scalar = node.as_scalar().filter(|scalar| !scalar.is_null())?;
        if !reference::has_reference(&scalar.text) {
            return Some(scalar.text.clone());
        }
        let mut out = String::new();
        for piece in reference::parse(&scalar.text).ok()? {
            match piece.content {
                Content::Text(text) | Content::Reference(Reference::Literal(text)) => {
                    out.push_str(&text);
                }
                Content::Reference(Reference::Name) => out.push_str(self.name.as_deref()?),
                Content::Reference(_) => return None,
            }
        }
        Some(out)
    }

    /// The reference of 5.x that stands for one of 6.x.
    pub(super) fn object(
        &mut self,
        kind: Option<ObjectKind>,
        key: &str,
        attribute: &str,
        at: Span,
    ) -> Option<String> {
        let Some(kind) = kind else {
            let message = "a marketplace app is an image and a template in OpenNebula, and is \
                           referred to as one of these";
            let help =
                format!("'${{image.{key}.{attribute}}}' or '${{template.{key}.{attribute}}}'");
            self.push(Diagnostic::error("bad-reference", at, message).help(help));
            return None;
        };
        let names = self.names.of(kind);
        let by_number = key.parse::<usize>().ok();
        let index = match by_number {
            Some(index) => Some(index),
            None => names.iter().position(|name| *name == Some(key)),
        };
        let variable = kind.variable();
        // Hosts are not counted while they are being made; the check for references of 5.x tells
        // that a host cannot refer to one.
        let counted = kind != ObjectKind::Host || self.names.has("hosts");
        let known = self.complete && counted;
        match index {
            Some(index) if index < names.len() || !known => {
                let path = attribute.to_ascii_uppercase();
                Some(Reference::Object { kind, index, path }.to_string())
            }
            _ => {
                let all: Vec<String> = names.iter().flatten().map(|name| shorten(name)).collect();
                let one = variable.trim_end_matches('s');
                let message = match (names.len(), by_number) {
                    (0, _) => format!("there is no {one} '{key}'; the template has no {variable}"),
                    (count, Some(_)) => {
                        format!("there is no {one} {key}; the last one is {}", count - 1)
                    }
                    _ => format!("there is no {one} named '{key}'"),
                };
                let mut diagnostic = Diagnostic::error("bad-reference", at, message);
                let near = nearest(key, all.iter().map(String::as_str));
                if let (Some(near), None) = (near, by_number) {
                    diagnostic = diagnostic.help(format!("did you mean '{near}'?"));
                } else if !all.is_empty() && all.len() <= 10 {
                    diagnostic = diagnostic.help(format!("the {variable} are {}", all.join(", ")));
                }
                if self.complete {
                    self.push(diagnostic);
                }
                None
            }
        }
    }
}
