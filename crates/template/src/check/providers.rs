//! Which named provider a host has its account from, and what it gives.

use model::{Attributes, Parameter, Secret, Value};

use super::attributes::literally;
use super::{Checker, Defaults, find, find_any_case};
use crate::diagnostic::{Diagnostic, FileId, Span};
use crate::providers::{Provider, ProviderUse, ProviderValue, Providers, help};
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Node};
use model::is_secret;

/// Keys of `provision` that name a provider; the second is that of 6.x.
const KEYS: [&str; 2] = ["provider", "provider_name"];

/// A provider, and where the template names it.
#[derive(Clone, Copy)]
pub(super) struct Named<'c> {
    pub(super) provider: &'c Provider,
    /// `None` for the one that was chosen apart from the template.
    pub(super) span: Option<Span>,
}

/// Whether a host has a provider.
#[derive(Clone, Copy)]
pub(super) enum Account<'c> {
    /// It has none.
    None,
    /// It names one that is not there, which was said.
    Unknown,
    Of(Named<'c>),
}

/// The names of the providers that a template names, each once.
pub(crate) fn named(root: &Node) -> Vec<String> {
    let entries = root.as_map().unwrap_or(&[]);
    let mut names = Vec::new();
    let mut add = |entries: &[Entry], keys: &[&str]| {
        for key in keys {
            let scalar = find_any_case(entries, key).and_then(|entry| entry.value.as_scalar());
            if let Some(scalar) = scalar.filter(|s| !s.is_null() && !s.secret)
                && !names.contains(&scalar.text)
            {
                names.push(scalar.text.clone());
            }
        }
    };
    add(entries, &KEYS[..1]);
    crate::catalog::each_provision(root, &mut |provision| add(provision, &KEYS));
    names
}

impl<'c> Checker<'c> {
    /// The provider of everything that names none of its own: the one that was chosen, or that of
    /// `defaults`, or that of the top.
    pub(super) fn common_provider(
        &mut self,
        entries: &'c [Entry],
        defaults: &Defaults<'c>,
    ) -> Account<'c> {
        if let Some(chosen) = self.chosen {
            return self.provider(chosen, None);
        }
        match self.provider_in(defaults.provision) {
            Account::None => {}
            account => return account,
        }
        match find(entries, "provider").filter(|entry| !entry.value.is_null()) {
            Some(entry) => self.provider_at(entry),
            None => Account::None,
        }
    }

    /// The provider that a group `provision` names.
    pub(super) fn provider_in(&mut self, provision: &'c [Entry]) -> Account<'c> {
        let mut entries = KEYS.iter().filter_map(|key| find_any_case(provision, key));
        match entries.find(|entry| !entry.value.is_null()) {
            Some(entry) => self.provider_at(entry),
            None => Account::None,
        }
    }

    fn provider_at(&mut self, entry: &'c Entry) -> Account<'c> {
        match self.single(entry) {
            Some(scalar) => self.provider(&scalar.text, Some(entry.value.span)),
            None => Account::Unknown,
        }
    }

    fn provider(&mut self, name: &str, span: Option<Span>) -> Account<'c> {
        let providers = self.providers;
        if let Some(provider) = providers.find(name) {
            return Account::Of(Named { provider, span });
        }
        let shown = shorten(name);
        let (message, help) = match providers {
            Providers::NotAsked => {
                (format!("provider '{shown}' was not looked for"), String::new())
            }
            Providers::Unreadable(why) => {
                (format!("provider '{shown}' cannot be looked for: {why}"), String::new())
            }
            Providers::Known(_) => {
                let near = super::names::nearest(name, providers.names());
                let near = near.map(|near| format!("did you mean '{near}'?"));
                (format!("there is no provider '{shown}'"), near.unwrap_or_else(|| help(name)))
            }
        };
        let span = span.unwrap_or_else(|| Span::whole_file(FileId(0)));
        let mut unknown = Diagnostic::error("unknown-provider", span, message);
        if !help.is_empty() {
            unknown = unknown.help(help);
        }
        self.push(unknown);
        Account::Unknown
    }

    /// The host's driver: its own, which has to be the provider's, or else that.
    pub(super) fn agreed_driver(
        &mut self,
        driver: Option<String>,
        provision: &[Entry],
        account: Account<'c>,
    ) -> Option<String> {
        let Account::Of(named) = account else { return driver };
        let plain = |name: &str| name.strip_prefix("builtin:").unwrap_or(name).to_owned();
        let theirs = &named.provider.driver;
        let entry = find_any_case(provision, "driver").filter(|entry| !entry.value.is_null());
        if let (Some(driver), Some(entry)) = (&driver, entry)
            && plain(driver) != plain(theirs)
        {
            let message = format!(
                "provider '{}' is for driver '{theirs}', not '{driver}'",
                named.provider.name
            );
            let mut wrong = Diagnostic::error("bad-provider", entry.value.span, message);
            if let Some(span) = named.span {
                wrong = wrong.related(span, "the provider is named here");
            }
            self.push(wrong);
        }
        driver.or_else(|| Some(theirs.clone()))
    }

    /// What a provider gives to a host: all that the template does not give itself.
    pub(super) fn provider_values(
        &mut self,
        named: Named<'c>,
        provision: &[Entry],
        described: Option<&[Parameter]>,
    ) -> (Attributes, ProviderUse) {
        let provider = named.provider;
        let mut values = Attributes::new();
        let (mut secrets, mut plain) = (Vec::new(), Vec::new());
        for (key, value) in &provider.values {
            let parameter = described.and_then(|all| all.iter().find(|p| p.is_named(key)));
            let own = provision.iter().filter(|entry| !entry.value.is_null()).any(|entry| {
                let name = entry.name();
                name.eq_ignore_ascii_case(key) || parameter.is_some_and(|p| p.is_named(name))
            });
            if own {
                continue;
            }
            let value = match value {
                ProviderValue::Secret(secret) => Value::Secret(secret.clone()),
                ProviderValue::Text(text)
                    if parameter.map_or_else(|| is_secret(key, text), |p| p.secret) =>
                {
                    Value::Secret(Secret::new(text.as_str()))
                }
                ProviderValue::Text(text) => Value::Text(text.clone()),
                ProviderValue::Reference(reference) => {
                    match self.secrets.value(reference.clone()) {
                        Ok(value) => value,
                        Err(error) => {
                            let name = key.to_ascii_lowercase();
                            let message = format!(
                                "'{name}' of provider '{}': {} {error}",
                                provider.name,
                                shorten(&reference.to_string())
                            );
                            let at = named.span.unwrap_or_else(|| Span::whole_file(FileId(0)));
                            self.error("no-secret", at, message);
                            continue;
                        }
                    }
                }
            };
            match &value {
                Value::Text(_) => plain.push(key.clone()),
                _ => secrets.push(key.clone()),
            }
            values.push(key.as_str(), literally(value));
        }
        let (name, document) = (provider.name.clone(), provider.id);
        let used = ProviderUse { name, document, secrets, values: plain };
        (values, used)
    }
}
