//! From a provider's file to the provider.

use std::path::Path;

use model::{Parameter, Secret};

use super::{FORMER, Former, Provider, ProviderValue};
use crate::catalog::Catalog;
use crate::check::attributes::{by_reference, reference_in};
use crate::check::names::{nearest, nearest_help};
use crate::diagnostic::{Diagnostic, Span};
use crate::source::Sources;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node};
use model::is_secret;

/// The keys of the file; the last three are of 6.x alone.
const KEYS: [&str; 8] =
    ["name", "driver", "description", "parameters", "provider", "connection", "plain", "inputs"];

/// Reads the tree of a file. Secrets are hidden in `sources`, findings go to `found`.
pub(super) fn provider(
    root: &mut Node,
    sources: &mut Sources,
    catalog: &Catalog<'_>,
    found: &mut Vec<Diagnostic>,
) -> Option<Provider> {
    let span = root.span;
    let Kind::Map(entries) = &root.kind else {
        let message = format!(
            "a provider is a group of keys such as 'driver:' and 'parameters:', not {}",
            root.describe()
        );
        found.push(Diagnostic::error("wrong-shape", span, message));
        return None;
    };
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.name())) {
        let message = format!("unknown key '{}'; it is ignored", shorten(entry.name()));
        let help = nearest_help(&entry.name().to_lowercase(), KEYS);
        found.push(Diagnostic::warning("unknown-key", entry.key_span, message).help(help));
    }
    if let Some(entry) = entries.iter().find(|entry| entry.name() == "inputs") {
        let message = "'inputs' of a provider are not read: a template has its own";
        found.push(Diagnostic::warning("ignored-key", entry.key_span, message));
    }
    let text = |key: &str, found: &mut Vec<Diagnostic>| {
        let entry = entries.iter().find(|entry| entry.name() == key)?;
        let scalar = entry.value.as_scalar();
        if scalar.is_none() {
            let message = format!("'{key}' takes a single value, not {}", entry.value.describe());
            found.push(Diagnostic::error("wrong-shape", entry.value.span, message));
        }
        scalar.filter(|scalar| !scalar.is_null()).map(|s| (s.text.clone(), entry.value.span))
    };
    let name = text("name", found).map(|(name, _)| name).unwrap_or_default();
    let description = text("description", found).map(|(text, _)| text).unwrap_or_default();
    let Some((written, driver_span)) = text("driver", found).or_else(|| text("provider", found))
    else {
        found.push(
            Diagnostic::error("missing-key", span, "there is no driver")
                .help("name it: 'driver: packet'"),
        );
        return None;
    };
    let former = FORMER.iter().find(|former| {
        former.former == written && entries.iter().any(|entry| entry.name() == "connection")
    });
    let driver = former.map_or(written, |former| former.driver.to_owned());
    let described = match catalog.find(&driver) {
        Ok(described) => described,
        Err(why) => {
            let mut unknown = Diagnostic::error("unknown-driver", driver_span, why);
            if super::FOREIGN.contains(&driver.as_str()) {
                unknown = unknown.help(super::help(&driver));
            } else if let Some(near) = catalog.nearest(&driver) {
                unknown = unknown.help(format!("did you mean '{near}'?"));
            }
            found.push(unknown);
            None
        }
    };
    let mut reader =
        Reader { sources, found, former, driver: &driver, described: described.as_deref() };
    let mut values = Vec::new();
    for entry in entries.iter().filter(|e| matches!(e.name(), "parameters" | "connection")) {
        match &entry.value.kind {
            Kind::Map(parameters) => {
                parameters.iter().for_each(|entry| reader.parameter(entry, &mut values));
            }
            _ if entry.value.is_null() => {}
            _ => {
                let message = format!(
                    "'{}' takes a group of keys, not {}",
                    entry.name(),
                    entry.value.describe()
                );
                let wrong = Diagnostic::error("wrong-shape", entry.value.span, message);
                reader.found.push(wrong);
            }
        }
    }
    Some(Provider { id: -1, name, driver, description, values })
}

struct Reader<'r> {
    sources: &'r mut Sources,
    found: &'r mut Vec<Diagnostic>,
    former: Option<&'static Former>,
    driver: &'r str,
    described: Option<&'r [Parameter]>,
}

impl Reader<'_> {
    fn parameter(&mut self, entry: &Entry, values: &mut Vec<(String, ProviderValue)>) {
        if entry.value.is_null() {
            return;
        }
        let written = entry.name().to_ascii_lowercase();
        let former = self.former.and_then(|former| {
            former.parameters.iter().find(|(theirs, _)| *theirs == written).map(|(_, ours)| *ours)
        });
        let name = former.unwrap_or(&written);
        let parameter = self
            .described
            .and_then(|described| described.iter().find(|parameter| parameter.is_named(name)));
        if let (None, Some(described)) = (parameter, self.described) {
            self.unknown(described, name, entry.key_span);
        }
        let key = parameter.map_or_else(|| name.to_ascii_uppercase(), |p| p.name.clone());
        if values.iter().any(|(known, _)| *known == key) {
            let message = format!("'{}' is given twice", shorten(entry.name()));
            self.found.push(Diagnostic::error("duplicate-key", entry.key_span, message));
            return;
        }
        if let Some(value) = self.value(parameter, name, entry) {
            values.push((key, value));
        }
    }

    fn unknown(&mut self, described: &[Parameter], name: &str, span: Span) {
        let known: Vec<String> = described.iter().map(|p| p.name.to_ascii_lowercase()).collect();
        let message = format!("driver '{}' has no parameter '{}'", self.driver, shorten(name));
        let unknown = Diagnostic::warning("unknown-parameter", span, message);
        let help = match nearest(name, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("`oneprovision driver show {}` lists its parameters", self.driver),
        };
        self.found.push(unknown.help(help));
    }

    fn value(
        &mut self,
        parameter: Option<&Parameter>,
        name: &str,
        entry: &Entry,
    ) -> Option<ProviderValue> {
        let span = entry.value.span;
        let single = std::slice::from_ref(&entry.value);
        let items = match &entry.value.kind {
            Kind::Map(keys) => {
                let given = by_reference(keys);
                let folder = self.sources.path(span.file).parent().unwrap_or(Path::new(""));
                let reference = given.and_then(|entry| reference_in(entry, folder));
                if reference.is_none() {
                    let message = format!(
                        "'{}' is a single value, or where it is: {{env: NAME}}, {{file: PATH}}, \
                         {{command: [argv]}}",
                        shorten(entry.name())
                    );
                    self.found.push(Diagnostic::error("wrong-shape", span, message));
                }
                return reference.map(ProviderValue::Reference);
            }
            Kind::List(items) => items.as_slice(),
            Kind::Scalar(_) => single,
        };
        let texts: Option<Vec<&str>> =
            items.iter().map(|item| Some(item.as_scalar()?.text.as_str())).collect();
        let Some(texts) = texts else {
            let message = format!("'{}' is a single value", shorten(entry.name()));
            self.found.push(Diagnostic::error("wrong-shape", span, message));
            return None;
        };
        let text = texts.join(",");
        let secret = parameter.map_or_else(|| is_secret(name, &text), |p| p.secret);
        if secret || is_secret(name, &text) {
            self.sources.hide(span, text.matches('\n').count() + 1);
        }
        if let Some(Err(why)) = parameter.map(|parameter| parameter.check(&text)) {
            let message = format!("'{name}' of driver '{}' {why}", self.driver);
            self.found.push(Diagnostic::error("bad-parameter", span, message));
        }
        Some(match secret {
            true => ProviderValue::Secret(Secret::new(text)),
            false => ProviderValue::Text(text),
        })
    }
}
