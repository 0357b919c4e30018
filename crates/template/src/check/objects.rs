//! Cluster, datastores and networks.

use std::collections::HashMap;

use model::{Attributes, DatastoreId, Value};

use super::attributes::SINGLE_VALUES;
use super::names::nearest_key;
use super::providers::Account;
use super::text::Site;
use super::{Checker, Defaults, Item, find, find_any_case};
use crate::diagnostic::{Diagnostic, Span};
use crate::merge::overlay;
use crate::reference::late_in;
use crate::spec::ObjectSpec;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind};

/// Keys of an object that do not become attributes as they are.
const OWN: [&str; 5] = ["name", "provision", "meta", "connection", "configuration"];

/// Attributes that the tool itself writes into objects, in lower case.
pub(super) const WRITTEN: [&str; 1] = ["pm_mad"];

/// Parameters that the tool itself writes into `PROVISION`. A `DEPLOY_ID` of the template would
/// make a driver take over a machine that exists.
pub(super) const WRITTEN_PROVISION: [&str; 5] =
    ["provision_id", "name", "deploy_id", "provider_id", "host_key"];

/// Keys of `provision` that are no parameters.
pub(super) const NO_PARAMETERS: [&str; 4] = ["driver", "provider", "provider_name", "count"];

/// Whether a key of a host's `provision` is given to its driver as it stands there: not what names the
/// driver, the provider or the host, and not what the tool itself writes.
pub fn is_parameter(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let others = NO_PARAMETERS.iter().chain(&WRITTEN_PROVISION).chain(&["hostname"]);
    others.into_iter().all(|other| *other != key)
}

/// A section of objects of one kind.
struct Section {
    /// Its key.
    key: &'static str,
    /// One of its objects, in words.
    one: &'static str,
    /// The driver without which OpenNebula takes no such object.
    required: &'static str,
    /// What else is checked of each.
    check: for<'c> fn(&mut Checker<'c>, Item<'_>),
}

const DATASTORES: Section = Section {
    key: "datastores",
    one: "datastore",
    required: "tm_mad",
    check: |checker, item| checker.check_datastore(item),
};

const NETWORKS: Section = Section {
    key: "networks",
    one: "network",
    required: "vn_mad",
    check: |checker, item| checker.check_network(item),
};

impl<'c> Checker<'c> {
    pub(super) fn cluster(
        &mut self,
        entries: &'c [Entry],
        provision: &str,
        root: Span,
        defaults: &Defaults<'c>,
    ) -> (ObjectSpec, Vec<DatastoreId>) {
        let entry = find(entries, "cluster");
        let own = entry.map(|entry| self.group(entry)).unwrap_or_default();
        let span = entry.map_or(root, |entry| entry.key_span);
        let site = Site::of("cluster", 0);
        let name = match find_any_case(own, "name").filter(|entry| !entry.value.is_null()) {
            Some(name) => self.object_name(name, site).unwrap_or_default(),
            None => provision.to_owned(),
        };
        let datastores = find_any_case(own, "datastores");
        let datastores = datastores.map(|entry| self.cluster_datastores(entry, site));
        if let Some(entry) = find_any_case(own, "meta") {
            let message = "'meta' has no meaning for a cluster, which has no owner";
            self.push(Diagnostic::warning("ignored-key", entry.key_span, message));
        }
        let item = Item { index: 0, entries: own, span };
        let cluster = self.object(name, item, site, defaults, &["datastores"]);
        (cluster, datastores.unwrap_or_default())
    }

    /// Ids of datastores that are there already.
    fn cluster_datastores(&mut self, entry: &Entry, site: Site) -> Vec<DatastoreId> {
        let mut datastores = Vec::new();
        let items = match &entry.value.kind {
            Kind::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        for item in items.iter().filter(|item| !item.is_null()) {
            let errors = self.diagnostics.len();
            let text = match item.as_scalar() {
                Some(scalar) if !scalar.secret => {
                    Some(self.text("datastores", scalar, item.span, site))
                }
                _ => None,
            };
            if self.diagnostics.iter().skip(errors).any(Diagnostic::is_error) {
                continue;
            }
            let id = text.as_deref().and_then(|text| text.trim().parse().ok());
            match id.filter(|id: &i32| *id >= 0).map(DatastoreId) {
                Some(id) if datastores.contains(&id) => {}
                Some(id) => datastores.push(id),
                None => {
                    let what = match item.as_scalar() {
                        Some(scalar) if !scalar.secret => format!("'{}'", shorten(&scalar.text)),
                        _ => item.describe().to_owned(),
                    };
                    let message = format!(
                        "'datastores' of the cluster takes ids of datastores that are there, not {what}"
                    );
                    self.push(Diagnostic::error("bad-value", item.span, message).help(
                        "`onedatastore list` shows them; those of this template are in the cluster \
                         anyway",
                    ));
                }
            }
        }
        datastores
    }

    pub(super) fn datastores(
        &mut self,
        entries: &'c [Entry],
        defaults: &Defaults<'c>,
    ) -> Vec<ObjectSpec> {
        self.section(entries, &DATASTORES, defaults)
    }

    pub(super) fn networks(
        &mut self,
        entries: &'c [Entry],
        defaults: &Defaults<'c>,
    ) -> Vec<ObjectSpec> {
        self.section(entries, &NETWORKS, defaults)
    }

    fn check_datastore(&mut self, item: Item<'_>) {
        let given = |key| find_any_case(item.entries, key).is_some_and(|e| !e.value.is_null());
        if !given("ds_mad") && !given("type") {
            let message = format!("there is no ds_mad in datastore {}", item.index + 1);
            self.push(
                Diagnostic::warning("missing-key", item.span, message).help(
                    "OpenNebula takes a datastore without it only if it has 'type: system_ds'",
                ),
            );
        }
    }

    fn check_network(&mut self, item: Item<'_>) {
        let ar = find_any_case(item.entries, "ar").map(|entry| &entry.value);
        if let Some(ar) = ar.filter(|ar| ar.as_scalar().is_some() && !ar.is_null()) {
            let message = "'ar' takes a list of address ranges, not a single value";
            self.push(
                Diagnostic::error("wrong-shape", ar.span, message)
                    .help("each one is a group of keys such as type, ip and size"),
            );
        }
        let text = |key| {
            let entry = find_any_case(item.entries, key);
            entry.and_then(|entry| Some((entry.value.span, entry.value.as_scalar()?.text.as_str())))
        };
        // `src/vnm/VirtualNetwork.cc`, 6.10 and 7.4.
        let needs_phydev = |vn_mad: &str| {
            ["802.1q", "vxlan"].contains(&vn_mad.trim().to_ascii_lowercase().as_str())
        };
        let mut wrong = Vec::new();
        if let (Some((_, vn_mad)), Some((span, phydev))) = (text("vn_mad"), text("phydev"))
            && needs_phydev(vn_mad)
            && !late_in(phydev).is_empty()
        {
            let vn_mad = vn_mad.trim();
            let what = format!("OpenNebula makes no network of driver {vn_mad} without a phydev");
            wrong.push((what, span));
        }
        // `onebr<id>`, or none at all with the driver `dummy`.
        if let Some((span, bridge)) = text("bridge")
            && !late_in(bridge).is_empty()
        {
            let what = "OpenNebula gives a network without a bridge one of its own, or makes none";
            wrong.push((what.to_owned(), span));
        }
        for (what, span) in wrong {
            let message = format!("{what}, and this one is known only when the hosts are there");
            self.push(
                Diagnostic::error("bad-reference", span, message)
                    .help("'vntemplates' are made after the hosts; or name the device itself"),
            );
        }
    }

    fn section(
        &mut self,
        entries: &'c [Entry],
        section: &Section,
        defaults: &Defaults<'c>,
    ) -> Vec<ObjectSpec> {
        let mut names: HashMap<String, Span> = HashMap::new();
        let mut objects = Vec::new();
        for item in self.items(entries, section.key) {
            let site = Site::of(section.key, item.index);
            let number = item.index + 1;
            let named = find_any_case(item.entries, "name").filter(|e| !e.value.is_null());
            if named.is_none() {
                let message = format!("there is no name in {} {number}", section.one);
                self.missing(item, "name", message);
            }
            let name = named.and_then(|entry| self.object_name(entry, site)).unwrap_or_default();
            if let Some(span) = named.map(|entry| entry.value.span).filter(|_| !name.is_empty()) {
                self.unique(
                    &mut names,
                    name.clone(),
                    span,
                    &format!("the {} '{name}'", section.one),
                );
            }
            let required = find_any_case(item.entries, section.required);
            if required.is_none_or(|entry| entry.value.is_null()) {
                let message =
                    format!("there is no {} in {} {number}", section.required, section.one);
                self.missing(item, section.required, message);
            }
            (section.check)(self, item);
            let meta = self.meta(item.entries, None);
            let mut object = self.object(name, item, site, defaults, &[]);
            object.meta = meta;
            objects.push(object);
        }
        objects
    }

    /// Reports a key that must be there, and what may have been meant for it.
    pub(super) fn missing(&mut self, item: Item<'_>, key: &str, message: String) {
        let mut diagnostic = Diagnostic::error("missing-key", item.span, message);
        let near = item.entries.iter().find(|entry| nearest_key(entry.name(), [key]).is_some());
        diagnostic = match near {
            Some(entry) => diagnostic.help(format!(
                "line {} has '{}'; did you mean '{key}'?",
                entry.key_span.line,
                shorten(entry.name())
            )),
            None => diagnostic,
        };
        self.push(diagnostic);
    }

    /// Reports a value that an earlier object has, too.
    pub(super) fn unique(
        &mut self,
        seen: &mut HashMap<String, Span>,
        value: String,
        span: Span,
        what: &str,
    ) {
        let Some(first) = seen.get(&value) else {
            seen.insert(value, span);
            return;
        };
        let (first, message) = (*first, format!("{what} is given twice"));
        let diagnostic = Diagnostic::error("duplicate", span, message);
        self.push(if first == span {
            diagnostic.help(
                "it stands in 'defaults', behind an alias, in an entry with 'count', or in a base \
                 that is extended twice",
            )
        } else {
            diagnostic.related(first, "it is first given here")
        });
    }

    pub(super) fn object_name(&mut self, entry: &Entry, site: Site) -> Option<String> {
        let scalar = self.single(entry)?;
        let errors = self.diagnostics.len();
        let name = self.text("name", scalar, entry.value.span, site);
        // One finding about a reference is enough; its characters need no second one.
        if !self.diagnostics.iter().skip(errors).any(Diagnostic::is_error) {
            self.check_name(&name, entry.value.span);
        }
        Some(name)
    }

    fn object(
        &mut self,
        name: String,
        item: Item<'c>,
        site: Site,
        defaults: &Defaults<'c>,
        skip: &[&str],
    ) -> ObjectSpec {
        for key in ["connection", "configuration"] {
            if let Some(entry) = find_any_case(item.entries, key) {
                let message = format!("'{key}' has a meaning only in hosts and in 'defaults'");
                self.push(Diagnostic::warning("ignored-key", entry.key_span, message));
            }
        }
        self.reserved(item.entries, &WRITTEN);
        let skip: Vec<&str> = OWN.iter().chain(skip).chain(&WRITTEN).copied().collect();
        let attributes = self.attributes(item.entries, &skip, site);
        let (driver, provision) = self.object_provision(item, site, defaults);
        ObjectSpec {
            name,
            attributes,
            driver,
            provision,
            meta: None,
            origin: self.origin(item.span),
        }
    }

    /// Reports attributes that would be overwritten.
    pub(super) fn reserved(&mut self, entries: &[Entry], written: &[&str]) {
        for entry in entries {
            if written.contains(&entry.name().to_ascii_lowercase().as_str()) {
                let message = format!("'{}' is written by the tool itself", entry.name());
                self.push(
                    Diagnostic::warning("ignored-key", entry.key_span, message)
                        .help("the value given here is not used"),
                );
            }
        }
    }

    /// Driver and parameters of an object that no driver is called for. Secrets of the defaults
    /// are meant for the hosts' driver and are left out.
    fn object_provision(
        &mut self,
        item: Item<'c>,
        site: Site,
        defaults: &Defaults<'c>,
    ) -> (Option<String>, Attributes) {
        let entry = find_any_case(item.entries, "provision");
        let own = entry.map(|entry| self.group(entry)).unwrap_or_default();
        let is_own = |key: &str| find_any_case(own, key).is_some_and(|e| !e.value.is_null());
        let merged = overlay(defaults.provision.to_vec(), own.to_vec(), |_, _, above| above);
        let driver = self.driver(&merged).or_else(|| match self.common {
            Account::Of(named) => Some(named.provider.driver.clone()),
            Account::None | Account::Unknown => None,
        });
        let provision = self.parameters(&merged, site);
        let kept = provision
            .into_iter()
            .filter(|(key, value)| {
                !matches!(value, Value::Secret(_) | Value::Withheld) || is_own(key)
            })
            .collect();
        (driver, kept)
    }

    /// The content of a `PROVISION` vector.
    pub(super) fn parameters(&mut self, provision: &[Entry], site: Site) -> Attributes {
        self.reserved(provision, &WRITTEN_PROVISION);
        let skip: Vec<&str> = NO_PARAMETERS.iter().chain(&WRITTEN_PROVISION).copied().collect();
        self.values(provision, &skip, site, SINGLE_VALUES)
    }

    /// The name of the provision driver, checked: it is the name of a folder.
    pub(super) fn driver(&mut self, provision: &[Entry]) -> Option<String> {
        let entry = find_any_case(provision, "driver").filter(|e| !e.value.is_null())?;
        let scalar = self.single(entry)?;
        let name = scalar.text.strip_prefix("builtin:").unwrap_or(&scalar.text);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            let message = format!("'{}' cannot be the name of a driver", shorten(&scalar.text));
            self.push(
                Diagnostic::error("bad-driver", entry.value.span, message)
                    .help("a driver is named like its folder in remotes/pm, such as packet or ec2"),
            );
            return None;
        }
        Some(scalar.text.clone())
    }
}
