//! A template from what it means: [`Spec`] -> YAML that means the same.
//!
//! Secrets are not written: in their places stands `{env: NAME}`, which gets them from the
//! environment again.

mod steps;

use std::collections::BTreeMap;

use model::{Attributes, Value};

use crate::diagnostic::{FileId, Span};
use crate::quotes::escaped;
use crate::reference::part_meant;
use crate::sensitive;
use crate::spec::{AnsibleVersions, HostSpec, Meta, ObjectSpec, Spec, VirtualKind, VirtualSpec};
use crate::yaml::compose::{BUDGET, Composed, compose};
use crate::yaml::emit::{Secrets, emit};
use crate::yaml::{Entry, Kind, Node, Scalar, Style};

/// A template as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The file, YAML.
    pub yaml: String,
    /// The environment variables that it takes its secrets from, and of each, which keys have it.
    pub variables: BTreeMap<String, Vec<String>>,
    /// Names of what has a secret where no reference can stand: `****` stands there instead.
    pub to_fill_in: Vec<String>,
}

/// Writes a template that means the same as `spec`, but for the places of its parts and for its
/// secrets.
pub fn export(spec: &Spec) -> Exported {
    let mut exporter = Exporter::default();
    let mut top = Group::default();
    top.text("name", &spec.name);
    top.text("version", &spec.version.to_string());
    if let Some(description) = &spec.description {
        top.text("description", description);
    }
    top.node("playbook", list(spec.playbooks.iter().map(|playbook| scalar(playbook)).collect()));
    if !spec.ansible_versions.is_empty() {
        let AnsibleVersions { ver_min, ver_max } = &spec.ansible_versions;
        let mut ansible = Group::default();
        for (key, version) in [("ver_min", ver_min), ("ver_max", ver_max)] {
            if let Some(version) = version {
                ansible.text(key, version);
            }
        }
        top.node("ansible", ansible.into_node());
    }
    let mut cluster = exporter.object(&spec.cluster);
    if let (Kind::Map(entries), false) = (&mut cluster.kind, spec.cluster_datastores.is_empty()) {
        let mut more = Group::default();
        let datastores = spec.cluster_datastores.iter().map(|id| scalar(&id.to_string()));
        more.node("datastores", list(datastores.collect()));
        entries.extend(more.0);
    }
    top.node("cluster", cluster);
    let objects = |exporter: &mut Exporter, specs: &[ObjectSpec]| {
        list(specs.iter().map(|object| exporter.object(object)).collect())
    };
    if !spec.datastores.is_empty() {
        top.node("datastores", objects(&mut exporter, &spec.datastores));
    }
    if !spec.networks.is_empty() {
        top.node("networks", objects(&mut exporter, &spec.networks));
    }
    if !spec.hosts.is_empty() {
        top.node("hosts", list(spec.hosts.iter().map(|host| exporter.host(host)).collect()));
    }
    for kind in VirtualKind::ALL {
        let of_kind = spec.virtual_objects.iter().filter(|object| object.kind == kind);
        let nodes: Vec<Node> = of_kind.map(|object| exporter.virtual_object(object)).collect();
        if !nodes.is_empty() {
            top.node(kind.section(), list(nodes));
        }
    }
    let yaml = format!("---\n{}", emit(&top.into_node(), Secrets::Shown));
    let Exporter { names, to_fill_in, .. } = exporter;
    let mut variables: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((key, _), name) in names {
        let keys = variables.entry(name).or_default();
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Exported { yaml, variables, to_fill_in }
}

#[derive(Default)]
struct Exporter {
    /// Variables by key and value; `None` is a value that is not known.
    names: BTreeMap<(String, Option<String>), String>,
    to_fill_in: Vec<String>,
}

impl Exporter {
    fn object(&mut self, object: &ObjectSpec) -> Node {
        let mut group = Group::default();
        group.text("name", &object.name);
        self.attributes(&mut group, &escaped_all(&object.attributes));
        self.provision(&mut group, object.driver.as_deref(), &escaped_all(&object.provision));
        meta(&mut group, object.meta.as_ref());
        group.into_node()
    }

    fn host(&mut self, host: &HostSpec) -> Node {
        let mut group = Group::default();
        group.text("im_mad", &host.im_mad);
        group.text("vm_mad", &host.vm_mad);
        // What is from a named provider is left to that.
        let provider = host.provider.as_ref();
        let is_own = |key: &str| {
            let secrets = provider.map(|used| used.secrets.as_slice()).unwrap_or_default();
            key != "PROVIDER_ID" && !secrets.iter().any(|secret| secret == key)
        };
        let own = host.provision.iter().filter(|(key, _)| is_own(key));
        let own = own.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        self.provision(&mut group, Some(&host.driver), &own);
        if !host.connection.given.is_empty() {
            let mut connection = Group::default();
            self.attributes(&mut connection, &host.connection.given);
            group.node("connection", connection.into_node());
        }
        if let Some(mut node) = self.configuration(&host.configuration, &host.hostname) {
            keys_meant(&mut node);
            group.node("configuration", node);
        }
        if let Some(steps) = &host.steps {
            group.node("configure", self.steps(steps, &host.hostname));
        }
        self.attributes(&mut group, &host.attributes);
        group.into_node()
    }

    fn virtual_object(&mut self, object: &VirtualSpec) -> Node {
        let mut group = Group::default();
        group.text("name", &object.name);
        match object.kind {
            VirtualKind::MarketplaceApp => self.attributes(&mut group, &object.attributes),
            _ => self.attributes(&mut group, &escaped_all(&object.attributes)),
        }
        meta(&mut group, object.meta.as_ref());
        if let Some(body) = &object.body
            && let Some(node) = self.configuration(body, &object.name)
            && let Kind::Map(entries) = node.kind
        {
            let known = group.0.iter().map(|entry| entry.name().to_owned()).collect::<Vec<_>>();
            let new = entries.into_iter().filter(|entry| !known.iter().any(|k| k == entry.name()));
            group.0.extend(new);
        }
        group.into_node()
    }

    fn provision(&mut self, group: &mut Group, driver: Option<&str>, provision: &Attributes) {
        let mut inner = Group::default();
        if let Some(driver) = driver {
            inner.text("driver", driver);
        }
        self.attributes(&mut inner, provision);
        if !inner.0.is_empty() {
            group.node("provision", inner.into_node());
        }
    }

    /// All attributes; those of one key are a list.
    fn attributes(&mut self, group: &mut Group, attributes: &Attributes) {
        for (key, _) in attributes.iter() {
            let name = key.to_ascii_lowercase();
            if group.0.iter().any(|entry| entry.name() == name) {
                continue;
            }
            let mut nodes: Vec<Node> =
                attributes.all(key).map(|value| self.value(key, value)).collect();
            let vectors = nodes.iter().any(|node| matches!(node.kind, Kind::Map(_)));
            let node = match nodes.pop() {
                // Address ranges are a list, also if there is but one.
                Some(only) if nodes.is_empty() && (!vectors || key != "AR") => only,
                Some(last) => {
                    nodes.push(last);
                    list(nodes)
                }
                None => continue,
            };
            group.node(&name, node);
        }
    }

    fn value(&mut self, key: &str, value: &Value) -> Node {
        match value {
            Value::Text(text) => scalar(text),
            Value::Secret(secret) => self.variable(key, Some(secret.expose())),
            Value::Withheld => self.variable(key, None),
            Value::Vector(inner) => {
                let mut group = Group::default();
                self.attributes(&mut group, inner);
                group.into_node()
            }
        }
    }

    /// `{env: NAME}`, the same for the same value of a key.
    fn variable(&mut self, key: &str, value: Option<&str>) -> Node {
        let at = (key.to_owned(), value.map(str::to_owned));
        let name = match self.names.get(&at) {
            Some(name) => name.clone(),
            None => {
                let taken = self.names.keys().filter(|(other, _)| other == key).count();
                let name = match taken {
                    0 => key.to_owned(),
                    n => format!("{key}_{}", n + 1),
                };
                self.names.insert(at, name.clone());
                name
            }
        };
        let mut group = Group::default();
        group.text("env", &name);
        group.into_node()
    }

    /// YAML within the template. Its secrets can stand nowhere else.
    fn configuration(&mut self, yaml: &Value, whose: &str) -> Option<Node> {
        let text = match yaml {
            Value::Text(text) => text,
            Value::Secret(secret) => secret.expose(),
            Value::Withheld | Value::Vector(_) => {
                self.to_fill_in.push(whose.to_owned());
                return Some(placeholder());
            }
        };
        let mut node = match compose(FileId(0), text, &mut { BUDGET }, &mut Vec::new()) {
            Composed::Tree(node) => node,
            _ => return None,
        };
        if matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
            return None;
        }
        if mask(&mut node, "") {
            self.to_fill_in.push(whose.to_owned());
        }
        Some(node)
    }
}

/// Attributes of an object as they are to be written, so that they read back as the same.
fn escaped_all(attributes: &Attributes) -> Attributes {
    let pairs = attributes.iter().map(|(key, value)| {
        let value = match value {
            Value::Text(text) => Value::Text(escaped(text)),
            Value::Vector(inner) => Value::Vector(escaped_all(inner)),
            other => other.clone(),
        };
        (key.to_owned(), value)
    });
    pairs.collect()
}

/// Keys as the template has them, where nothing is taken for a reference.
fn keys_meant(node: &mut Node) {
    match &mut node.kind {
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter_mut().for_each(keys_meant),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.key.text = part_meant(&entry.key.text);
            keys_meant(&mut entry.value);
        }),
    }
}

/// Puts a placeholder where a secret is; true if there was one.
fn mask(node: &mut Node, name: &str) -> bool {
    let mut any = false;
    match &mut node.kind {
        Kind::Scalar(scalar) if sensitive::holds_secret(name, scalar) => {
            *node = placeholder();
            return true;
        }
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter_mut().for_each(|item| any |= mask(item, name)),
        Kind::Map(entries) => {
            for Entry { key, value, .. } in entries {
                any |= mask(value, &key.text);
            }
        }
    }
    any
}

fn meta(group: &mut Group, meta: Option<&Meta>) {
    let Some(meta) = meta else { return };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let pairs = [
        ("uid", number(meta.uid)),
        ("uname", meta.uname.clone()),
        ("gid", number(meta.gid)),
        ("gname", meta.gname.clone()),
        ("mode", meta.mode.map(|mode| format!("{mode:03o}"))),
        ("wait", meta.wait.map(|wait| wait.to_string())),
        ("wait_timeout", number(meta.wait_timeout)),
    ];
    let mut inner = Group::default();
    for (key, value) in pairs {
        if let Some(value) = value {
            inner.text(key, &value);
        }
    }
    group.node("meta", inner.into_node());
}

/// A group of keys under construction.
#[derive(Default)]
struct Group(Vec<Entry>);

impl Group {
    fn node(&mut self, key: &str, value: Node) {
        let key = Scalar { style: style(key), text: key.to_owned(), tag: None, secret: false };
        self.0.push(Entry { key, key_span: NOWHERE, value });
    }

    fn text(&mut self, key: &str, text: &str) {
        self.node(key, scalar(text));
    }

    fn into_node(self) -> Node {
        Node { span: NOWHERE, kind: Kind::Map(self.0) }
    }
}

const NOWHERE: Span = Span { file: FileId(0), line: 0, column: 0, length: 1 };

fn list(items: Vec<Node>) -> Node {
    Node { span: NOWHERE, kind: Kind::List(items) }
}

fn scalar(text: &str) -> Node {
    let scalar = Scalar { text: text.to_owned(), style: style(text), tag: None, secret: false };
    Node { span: NOWHERE, kind: Kind::Scalar(scalar) }
}

/// Refused, at its place, as a value that is still to be filled in: it must not be quoted.
fn placeholder() -> Node {
    let text = "****".to_owned();
    let scalar = Scalar { text, style: Style::Plain, tag: None, secret: false };
    Node { span: NOWHERE, kind: Kind::Scalar(scalar) }
}

/// Plain where no reader of YAML, old or new, takes the text for anything but a text or a number.
fn style(text: &str) -> Style {
    if text.contains('\n') {
        return Style::Block;
    }
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let special = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_number = text.parse::<u64>().is_ok() && (text == "0" || !text.starts_with('0'));
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(word)
        && !special.contains(&text.to_ascii_lowercase().as_str());
    match is_number || is_word {
        true => Style::Plain,
        false => Style::Quoted,
    }
}
