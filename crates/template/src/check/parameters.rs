//! A host's parameters against what its driver says that it takes.

use std::sync::Arc;

use model::{Attributes, Parameter, Value};

use super::names::nearest;
use super::objects::{NO_PARAMETERS, WRITTEN_PROVISION};
use super::providers::{Account, Named};
use super::{Checker, find_any_case};
use crate::diagnostic::{Diagnostic, FileId, Span};
use crate::reference;
use crate::sensitive::is_secret_name;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind};

/// Parameters that hosts of any driver may have.
const COMMON: [&str; 4] = ["hostname", "deploy_timeout", "action_timeout", "index"];

impl Checker<'_> {
    /// What the driver takes, if it says so. One that is not there is reported where it is named.
    pub(super) fn described(
        &mut self,
        driver: &str,
        provision: &[Entry],
        account: Account<'_>,
    ) -> Option<Arc<[Parameter]>> {
        if driver.is_empty() {
            // That there is none, or a bad name, was said.
            return None;
        }
        let error = match self.catalog.find(driver) {
            Ok(described) => return described,
            Err(error) => error,
        };
        let named = find_any_case(provision, "driver").filter(|entry| !entry.value.is_null());
        let span = match (named, account) {
            (Some(entry), _) => entry.value.span,
            (None, Account::Of(named)) => named.span.unwrap_or_else(|| Span::whole_file(FileId(0))),
            _ => return None,
        };
        let mut diagnostic = Diagnostic::error("unknown-driver", span, error);
        if let Some(near) = self.catalog.nearest(driver) {
            diagnostic = diagnostic.help(format!("did you mean '{near}'?"));
        }
        self.push(diagnostic);
        None
    }

    /// Checks what a host gives to its driver.
    pub(super) fn check_parameters(
        &mut self,
        driver: &str,
        described: &[Parameter],
        gives: &Gives<'_>,
    ) {
        let Gives { provision, others, account, at } = *gives;
        for entry in provision.iter().filter(|entry| !entry.value.is_null()) {
            let name = entry.name().to_ascii_lowercase();
            match described.iter().find(|parameter| parameter.is_named(&name)) {
                Some(parameter) => self.check_parameter(driver, parameter, entry),
                None => self.unknown_parameter(driver, described, entry, &name),
            }
        }
        let given = |parameter: &Parameter| {
            let own = provision.iter().any(|e| !e.value.is_null() && parameter.is_named(e.name()));
            own || others.iter().any(|(key, _)| parameter.is_named(key))
        };
        let named = find_any_case(provision, "driver").map(|entry| entry.value.span);
        for parameter in described.iter().filter(|parameter| parameter.required) {
            if self.complete && !given(parameter) {
                let name = parameter.name.to_ascii_lowercase();
                let (message, at) = match account {
                    Account::Of(Named { provider, span: Some(span) }) if parameter.account => {
                        let provider = &provider.name;
                        let message = format!(
                            "provider '{provider}' has no '{name}', which driver '{driver}' needs"
                        );
                        (message, span)
                    }
                    _ => (format!("driver '{driver}' needs the parameter '{name}'"), at),
                };
                let mut missing = Diagnostic::error("missing-parameter", at, message);
                if !parameter.text.is_empty() {
                    missing = missing.help(format!("{name}: {}", shorten(&parameter.text)));
                }
                if let Some(named) = named.filter(|named| *named != at) {
                    missing = missing.related(named, "the driver is named here");
                }
                self.push(missing);
            }
        }
    }

    /// Checks a value, as far as it is known by now.
    fn check_parameter(&mut self, driver: &str, parameter: &Parameter, entry: &Entry) {
        let text = match &entry.value.kind {
            Kind::Scalar(scalar) => scalar.text.clone(),
            Kind::List(items) => {
                let texts: Option<Vec<&str>> =
                    items.iter().map(|item| Some(item.as_scalar()?.text.as_str())).collect();
                let Some(texts) = texts else { return };
                texts.join(",")
            }
            Kind::Map(_) => return,
        };
        if reference::has_reference(&text) {
            return;
        }
        if let Err(why) = parameter.check(&text) {
            let name = entry.name();
            let message = format!("'{}' of driver '{driver}' {why}", shorten(name));
            let mut wrong = Diagnostic::error("bad-parameter", entry.value.span, message);
            let near = nearest(text.trim(), parameter.allowed.iter().map(String::as_str));
            // The nearest word would tell much of a secret.
            if let Some(near) = near.filter(|_| !parameter.secret) {
                wrong = wrong.help(format!("did you mean '{near}'?"));
            } else if !parameter.text.is_empty() {
                wrong = wrong.help(format!("{name}: {}", shorten(&parameter.text)));
            }
            self.push(wrong);
        }
    }

    /// A parameter that the driver does not take may be another tool's: it is passed on.
    fn unknown_parameter(
        &mut self,
        driver: &str,
        described: &[Parameter],
        entry: &Entry,
        name: &str,
    ) {
        let ours = COMMON.iter().chain(&NO_PARAMETERS).chain(&WRITTEN_PROVISION);
        if ours.into_iter().any(|known| *known == name) {
            return;
        }
        let message = format!("driver '{driver}' has no parameter '{}'", shorten(entry.name()));
        let known: Vec<String> = described
            .iter()
            .flat_map(|parameter| std::iter::once(&parameter.name).chain(&parameter.aliases))
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let near = nearest(name, known.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("`oneprovision driver show {driver}` lists its parameters"),
        };
        let unknown = Diagnostic::warning("unknown-parameter", entry.key_span, message);
        self.push(unknown.help(help));
    }
}

/// What a host gives to its driver.
pub(super) struct Gives<'g> {
    /// The keys of `provision`, those of `defaults` included.
    pub(super) provision: &'g [Entry],
    /// What it has from a provider.
    pub(super) others: &'g Attributes,
    pub(super) account: Account<'g>,
    /// Where it is told what is missing.
    pub(super) at: Span,
}

/// Makes texts again of what is a secret by nothing but its name, where the driver says that it is
/// none.
pub(super) fn open_public(
    described: &[Parameter],
    provision: &[Entry],
    values: Attributes,
) -> Attributes {
    let is_public = |key: &str| {
        let parameter = described.iter().find(|parameter| parameter.is_named(key));
        let entry = find_any_case(provision, key).and_then(|entry| entry.value.as_scalar());
        // A password that was asked for stays one.
        let plain = entry.is_some_and(|scalar| !scalar.secret);
        plain && is_secret_name(key) && parameter.is_some_and(|parameter| !parameter.secret)
    };
    let opened = values.into_iter().map(|(key, value)| match value {
        Value::Secret(secret) if is_public(&key) => {
            let text = secret.expose().to_owned();
            (key, Value::Text(text))
        }
        value => (key, value),
    });
    opened.collect()
}
