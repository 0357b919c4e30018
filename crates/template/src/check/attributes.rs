//! Groups of keys that become attributes of OpenNebula.
//!
//! OpenNebula has single values and one level of vectors below them. A group of keys becomes a
//! vector, a list of groups the same key several times (`AR`), a list of values one value with
//! commas between them, as OpenNebula writes its own lists (`CLUSTER_IDS = "0,100"`).

use std::collections::HashMap;
use std::path::Path;

use model::{Attributes, Secret, Value};

use super::Checker;
use super::text::Site;
use crate::diagnostic::{Diagnostic, Span};
use crate::reference;
use crate::secrets::SecretReference;
use crate::sensitive;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node, Scalar};

/// Attributes without which OpenNebula makes no such object.
const NEEDED: [&str; 5] = ["DS_ID", "DS_MAD", "TM_MAD", "TYPE", "VN_MAD"];

impl Checker<'_> {
    /// Attributes of an object from its keys, without those in `skip` (lower case).
    pub(super) fn attributes(
        &mut self,
        entries: &[Entry],
        skip: &[&str],
        site: Site,
    ) -> Attributes {
        let mut out = Attributes::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        for entry in entries {
            if let Some(key) = self.key(entry, skip, &mut seen) {
                self.attribute(&mut out, key, entry, site);
            }
        }
        out
    }

    fn attribute(&mut self, out: &mut Attributes, key: String, entry: &Entry, site: Site) {
        let needed = NEEDED.contains(&key.as_str());
        let own_site = if needed { site } else { site.of_attribute() };
        match &entry.value.kind {
            Kind::Scalar(scalar) if scalar.is_null() => {}
            Kind::Scalar(scalar) => {
                let value = self.value(entry.name(), scalar, entry.value.span, own_site);
                out.push(key, value);
            }
            Kind::Map(entries) if entries.is_empty() => {}
            Kind::Map(keys) if by_reference(keys).is_some() => {
                if let Some(value) = self.secret(keys) {
                    out.push(key, value);
                }
            }
            Kind::Map(entries) => out.push(key, self.values(entries, &[], site, ONE_LEVEL)),
            Kind::List(items) if items.iter().any(|item| item.as_map().is_some()) => {
                for item in items {
                    match &item.kind {
                        Kind::Map(entries) => {
                            out.push(key.clone(), self.values(entries, &[], site, ONE_LEVEL));
                        }
                        _ => self.mixed_list(entry.name(), item),
                    }
                }
            }
            Kind::List(items) => {
                if let Some(value) = self.joined(entry.name(), items, own_site) {
                    out.push(key, value);
                }
            }
        }
    }

    /// A group of keys with single values: a vector. `deeper` says why there can be no more.
    pub(super) fn values(
        &mut self,
        entries: &[Entry],
        skip: &[&str],
        site: Site,
        deeper: &str,
    ) -> Attributes {
        let mut out = Attributes::new();
        let mut seen: HashMap<String, Span> = HashMap::new();
        for entry in entries {
            let Some(key) = self.key(entry, skip, &mut seen) else { continue };
            let value = match &entry.value.kind {
                Kind::Scalar(scalar) if scalar.is_null() => None,
                Kind::Scalar(scalar) => {
                    Some(self.value(entry.name(), scalar, entry.value.span, site))
                }
                Kind::List(items) if items.iter().all(|item| item.as_scalar().is_some()) => {
                    self.joined(entry.name(), items, site)
                }
                Kind::Map(keys) if by_reference(keys).is_some() => self.secret(keys),
                _ => {
                    self.push(too_deep(entry, deeper));
                    None
                }
            };
            if let Some(value) = value {
                out.push(key, value);
            }
        }
        out
    }

    /// A single value; a secret if its key says so.
    pub(super) fn value(&mut self, name: &str, scalar: &Scalar, span: Span, site: Site) -> Value {
        let text = self.text(name, scalar, span, site);
        if scalar.secret || sensitive::is_secret(name, &text) {
            Value::Secret(Secret::new(text))
        } else {
            Value::Text(text)
        }
    }

    fn joined(&mut self, name: &str, items: &[Node], site: Site) -> Option<Value> {
        let mut texts = Vec::new();
        let mut secret = false;
        for item in items {
            match item.as_scalar() {
                Some(scalar) if scalar.is_null() => {}
                Some(scalar) => {
                    secret |= scalar.secret;
                    texts.push(self.text(name, scalar, item.span, site));
                }
                None => self.mixed_list(name, item),
            }
        }
        let text = texts.join(",");
        match (texts.is_empty(), secret || sensitive::is_secret(name, &text)) {
            (true, _) => None,
            (_, true) => Some(Value::Secret(Secret::new(text))),
            _ => Some(Value::Text(text)),
        }
    }

    /// The secret that a value names instead of holding it.
    pub(super) fn secret(&mut self, keys: &[Entry]) -> Option<Value> {
        let entry = by_reference(keys)?;
        let span = entry.value.span;
        let Some(reference) = self.secret_reference(entry) else {
            let message = match entry.name() {
                "command" => "'command' takes a list: the program and its arguments".to_owned(),
                name => format!("'{name}' takes a name, not {}", entry.value.describe()),
            };
            self.error("wrong-shape", span, message);
            return None;
        };
        let what = shorten(&reference.to_string());
        match self.secrets.value(reference) {
            Ok(value) => Some(literally(value)),
            Err(error) => {
                self.error("no-secret", span, format!("{what} {error}"));
                None
            }
        }
    }

    fn secret_reference(&self, entry: &Entry) -> Option<SecretReference> {
        let folder = self.sources.path(entry.value.span.file).parent();
        reference_in(entry, folder.unwrap_or(Path::new("")))
    }

    fn mixed_list(&mut self, name: &str, item: &Node) {
        let message = format!(
            "the entries of '{}' must be all single values or all groups of keys; this is {}",
            shorten(name),
            item.describe()
        );
        self.push(Diagnostic::error("wrong-shape", item.span, message));
    }

    /// The key of an attribute, checked; `None` for those in `skip` (lower case).
    fn key(
        &mut self,
        entry: &Entry,
        skip: &[&str],
        seen: &mut HashMap<String, Span>,
    ) -> Option<String> {
        let key = entry.name().to_uppercase();
        if let Some(first) = seen.get(&key) {
            let message = format!(
                "the key '{}' is given twice; OpenNebula does not tell upper from lower case",
                shorten(entry.name())
            );
            self.push(
                Diagnostic::error("duplicate-key", entry.key_span, message)
                    .related(*first, "it is first given here"),
            );
            return None;
        }
        seen.insert(key.clone(), entry.key_span);
        let skipped = skip.contains(&entry.name().to_ascii_lowercase().as_str());
        (!skipped && self.check_key(entry)).then_some(key)
    }

    /// Whether a key can be the name of an attribute, which is an XML element in OpenNebula.
    fn check_key(&mut self, entry: &Entry) -> bool {
        let name = entry.name();
        let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if first && rest {
            return true;
        }
        let message = format!("OpenNebula cannot have an attribute named '{}'", shorten(name));
        self.push(
            Diagnostic::error("bad-attribute-name", entry.key_span, message).help(
                "letters, digits, '_', '-' and '.' can be used, and no digit at the beginning",
            ),
        );
        false
    }
}

/// Why there is nothing below a vector.
const ONE_LEVEL: &str = "OpenNebula keeps one level of vectors";

/// Why a provision or connection parameter is a single value.
pub(super) const SINGLE_VALUES: &str = "a parameter is a single value";

/// What comes from elsewhere than the template may be full of what looks like a reference.
pub(super) fn literally(value: Value) -> Value {
    match value {
        Value::Secret(secret) => Value::Secret(Secret::new(reference::literally(secret.expose()))),
        Value::Text(text) => Value::Text(reference::literally(&text)),
        other => other,
    }
}

/// `{env: NAME}`, `{file: PATH}`, `{command: [argv]}`: its only key.
pub(crate) fn by_reference(keys: &[Entry]) -> Option<&Entry> {
    match keys {
        [only] if ["env", "file", "command"].contains(&only.name()) => Some(only),
        _ => None,
    }
}

/// The reference of an entry that [`by_reference`] found; a relative file counts from `folder`.
pub(crate) fn reference_in(entry: &Entry, folder: &Path) -> Option<SecretReference> {
    let one = || Some(&entry.value.as_scalar()?.text).filter(|text| !text.is_empty());
    match entry.name() {
        "env" => one().cloned().map(SecretReference::Env),
        "file" => {
            let text = one()?;
            let home = text.starts_with("~/");
            let path = if home { Path::new("") } else { folder }.join(text);
            Some(SecretReference::File(path))
        }
        _ => {
            let argv: Option<Vec<String>> = entry
                .value
                .as_list()?
                .iter()
                .map(|item| Some(item.as_scalar()?.text.clone()))
                .collect();
            argv.filter(|argv| argv.first().is_some_and(|program| !program.is_empty()))
                .map(SecretReference::Command)
        }
    }
}

fn too_deep(entry: &Entry, deeper: &str) -> Diagnostic {
    let message = format!(
        "'{}' cannot hold {} here: {deeper}",
        shorten(entry.name()),
        entry.value.describe()
    );
    Diagnostic::error("too-deep", entry.value.span, message)
}
