//! Hosts: drivers, provision parameters, configuration.

use std::collections::HashMap;

use model::{Attributes, Secret, Value};

use super::names::nearest_key;
use super::parameters::{Gives, open_public};
use super::providers::Account;
use super::text::Site;
use super::{Checker, Defaults, Item, find, find_any_case, not_yet};
use crate::diagnostic::{Diagnostic, Span};
use crate::merge::{SECTIONS, overlay, overlay_variables};
use crate::reference;
use crate::sensitive;
use crate::spec::HostSpec;
use crate::yaml::compose::shorten;
use crate::yaml::emit::{Secrets, emit};
use crate::yaml::{Entry, Kind, Node, Scalar, Style};

/// Keys of a host that do not become attributes as they are.
const OWN: [&str; 8] =
    ["im_mad", "vm_mad", "provision", "connection", "configuration", "configure", "meta", "name"];

/// Attributes that the tool itself writes into host objects, in lower case.
const WRITTEN: [&str; 6] = [
    "pm_mad",
    "provision_connection",
    "provision_configuration_base64",
    "provision_configuration_status",
    "provision_steps_base64",
    "ansible_playbook",
];

/// Attributes by which OpenNebula's drivers find a vCenter, in lower case.
const VCENTER: [&str; 5] =
    ["vcenter_host", "vcenter_user", "vcenter_password", "vcenter_ccr_ref", "vcenter_instance_id"];

/// What the copies of `defaults` and `configure` in all hosts may come to, in bytes.
const MAX_COPIES: usize = 256 << 20;

/// Values that may occur in one host only.
#[derive(Default)]
struct Seen {
    hostnames: HashMap<String, Span>,
    addresses: HashMap<String, Span>,
}

impl<'c> Checker<'c> {
    pub(super) fn hosts(&mut self, entries: &'c [Entry], defaults: &Defaults<'c>) -> Vec<HostSpec> {
        let items = self.items(entries, "hosts");
        let common = find(entries, "configure").map(|entry| self.group(entry)).unwrap_or_default();
        if items.is_empty() {
            // What a base has is checked, too, whoever extends it.
            self.steps(common, &[], Site::of("hosts", 0));
        }
        let copied: usize =
            [defaults.provision, defaults.connection, defaults.configuration, common]
                .into_iter()
                .flatten()
                .map(|entry| entry.name().len() + entry.value.size())
                .sum();
        if let Some(item) = items.first().filter(|_| copied * items.len() > MAX_COPIES) {
            let message = format!("{} hosts with a copy each of these values", items.len());
            self.push(
                Diagnostic::error("too-large", item.span, format!("{message} are too much")).help(
                    "split the template, or make the values in 'defaults' and 'configure' shorter",
                ),
            );
            return Vec::new();
        }
        let mut seen = Seen::default();
        items.into_iter().map(|item| self.host(item, defaults, common, &mut seen)).collect()
    }

    fn host(
        &mut self,
        item: Item<'c>,
        defaults: &Defaults<'c>,
        common: &'c [Entry],
        seen: &mut Seen,
    ) -> HostSpec {
        let site = Site::of("hosts", item.index);
        self.host_keys(item);
        let im_mad = self.required(item, "im_mad", site);
        let vm_mad = self.required(item, "vm_mad", site);
        if vm_mad == "vcenter" {
            self.vcenter(item);
        }

        let own = self.host_group(item, "provision");
        let provision = overlay(defaults.provision.to_vec(), own.to_vec(), |_, _, above| above);
        let account = match self.provider_in(own) {
            Account::None => self.common,
            account => account,
        };
        let driver = self.host_driver(item, &provision, account);
        let hostname = self.hostname(item, &provision, site, seen);
        self.address(&provision, site, seen);
        self.ceph(&provision);
        let mut values = self.parameters(&provision, site);
        let described = self.described(&driver, &provision, account);
        let mut provider = None;
        let mut others = Attributes::new();
        if let Account::Of(named) = account {
            let (given, used) = self.provider_values(named, &provision, described.as_deref());
            (others, provider) = (given, Some(used));
        }
        if let Some(described) = &described {
            let at = find_any_case(item.entries, "provision").map_or(item.span, |e| e.key_span);
            let gives = Gives { provision: &provision, others: &others, account, at };
            self.check_parameters(&driver, described, &gives);
            values = open_public(described, &provision, values);
        }
        values = others.into_iter().chain(values).collect();
        if let Some(used) = &provider {
            values.set("PROVIDER", used.name.as_str());
            values.set("PROVIDER_ID", used.document.to_string());
        }
        let provision = values;

        let own = self.host_group(item, "connection");
        let connection = overlay(defaults.connection.to_vec(), own.to_vec(), |_, _, above| above);
        let connection = self.connection(&connection, site);

        let own = self.host_group(item, "configuration");
        let configuration = overlay_variables(defaults.configuration.to_vec(), own.to_vec());
        let configuration = self.configuration(configuration, item.span, site);

        let own = self.host_group(item, "configure");
        let steps = self.steps(common, own, site);

        self.reserved(item.entries, &WRITTEN);
        let skip: Vec<&str> = OWN.iter().chain(&WRITTEN).copied().collect();
        HostSpec {
            im_mad,
            vm_mad,
            driver,
            provider,
            hostname,
            provision,
            connection,
            configuration,
            steps,
            attributes: self.attributes(item.entries, &skip, site),
            origin: self.origin(item.span),
        }
    }

    fn host_group(&mut self, item: Item<'c>, key: &str) -> &'c [Entry] {
        find_any_case(item.entries, key).map(|entry| self.group(entry)).unwrap_or_default()
    }

    /// Keys of a host that are ours, and those that may be meant to be.
    fn host_keys(&mut self, item: Item<'_>) {
        for entry in item.entries {
            let (name, span) = (entry.name().to_ascii_lowercase(), entry.key_span);
            match name.as_str() {
                "name" => {
                    let message = "a host is named by its address; 'name' is ignored";
                    self.push(
                        Diagnostic::warning("ignored-key", span, message)
                            .help("the machine's own name is 'hostname' in 'provision'"),
                    );
                }
                "meta" => {
                    let message = "'meta' has no meaning for a host, which has no owner";
                    self.push(Diagnostic::warning("ignored-key", span, message));
                }
                "files" | "commands" => {
                    let message = format!("'{name}' becomes an attribute of the host");
                    self.push(
                        Diagnostic::warning("unknown-key", span, message)
                            .help(format!("did you mean '{name}' within 'configure'?")),
                    );
                }
                _ => {
                    let ours = ["im_mad", "vm_mad", "configure"].into_iter().chain(SECTIONS);
                    let absent = ours.filter(|key| find_any_case(item.entries, key).is_none());
                    if let Some(near) = nearest_key(&name, absent) {
                        let message =
                            format!("'{}' becomes an attribute of the host", shorten(entry.name()));
                        self.push(
                            Diagnostic::warning("unknown-key", span, message)
                                .help(format!("did you mean '{near}'?")),
                        );
                    }
                }
            }
        }
    }

    /// A key that each host must have, with a value.
    fn required(&mut self, item: Item<'_>, key: &str, site: Site) -> String {
        let number = item.index + 1;
        let Some(entry) = find_any_case(item.entries, key).filter(|e| !e.value.is_null()) else {
            self.missing(item, key, format!("there is no {key} in host {number}"));
            return String::new();
        };
        let Some(scalar) = self.single(entry) else { return String::new() };
        let text = self.text(key, scalar, entry.value.span, site);
        if text.trim().is_empty() {
            let message = format!("the {key} of host {number} is empty");
            self.error("missing-key", entry.value.span, message);
        }
        text
    }

    fn host_driver(&mut self, item: Item<'_>, provision: &[Entry], account: Account<'c>) -> String {
        let given = find_any_case(provision, "driver").is_some_and(|e| !e.value.is_null());
        if !given && self.complete && matches!(account, Account::None) {
            let number = item.index + 1;
            self.push(
                Diagnostic::error(
                    "missing-key",
                    item.span,
                    format!("there is no driver for host {number}"),
                )
                .help("name it in 'provision' of the host or of 'defaults': 'driver: packet'"),
            );
        }
        let own = self.driver(provision);
        self.agreed_driver(own, provision, account).unwrap_or_default()
    }

    fn hostname(
        &mut self,
        item: Item<'_>,
        provision: &[Entry],
        site: Site,
        seen: &mut Seen,
    ) -> String {
        let number = item.index + 1;
        let Some(entry) = find_any_case(provision, "hostname").filter(|e| !e.value.is_null())
        else {
            let message = format!("there is no hostname in host {number}");
            let inner = Item { index: item.index, entries: provision, span: item.span };
            self.missing(inner, "hostname", message);
            return String::new();
        };
        let Some(scalar) = self.single(entry) else { return String::new() };
        let span = entry.value.span;
        let text = self.text("hostname", scalar, span, site);
        if text.trim().is_empty() {
            self.error("missing-key", span, format!("the hostname of host {number} is empty"));
        } else if !reference::has_reference(&text) {
            if text.contains(char::is_whitespace) {
                self.error("bad-value", span, "a hostname has no blanks");
            }
            let what = format!("the hostname '{}'", shorten(&text));
            // Names of machines have no case (RFC 4343).
            self.unique(&mut seen.hostnames, text.to_lowercase(), span, &what);
        }
        text
    }

    /// The counts by which the playbooks of 6.8 gave each host of a Ceph cluster its part.
    fn ceph(&mut self, provision: &[Entry]) {
        for key in ["ceph_full_count", "ceph_osd_count", "ceph_client_count"] {
            if let Some(entry) = find_any_case(provision, key).filter(|e| !e.value.is_null()) {
                let what = format!("'{key}', hosts of a Ceph cluster (6.8 and later)");
                self.push(
                    not_yet(entry.key_span, &what)
                        .help("write an entry with 'count' and 'ceph_group' for each part"),
                );
            }
        }
    }

    /// A vCenter is a host without its own machine, which OpenNebula's drivers find by attributes.
    fn vcenter(&mut self, item: Item<'_>) {
        let given =
            |key: &str| find_any_case(item.entries, key).is_some_and(|e| !e.value.is_null());
        let absent: Vec<_> = VCENTER.iter().filter(|key| !given(key)).copied().collect();
        if !absent.is_empty() {
            let number = item.index + 1;
            let absent = absent.join(", ");
            let message = format!("there is no {absent} in host {number}, which is a vCenter");
            self.push(
                Diagnostic::warning("missing-key", item.span, message)
                    .help("OpenNebula's drivers for vCenter read these from the host's attributes"),
            );
        }
    }

    /// Two machines with one address would be one host object.
    fn address(&mut self, provision: &[Entry], site: Site, seen: &mut Seen) {
        let Some(entry) = find_any_case(provision, "ip").filter(|e| !e.value.is_null()) else {
            return;
        };
        let Some(scalar) = entry.value.as_scalar().filter(|scalar| !scalar.secret) else { return };
        let text = self.text("ip", scalar, entry.value.span, site);
        if !reference::has_reference(&text) && !text.is_empty() {
            let what = format!("the address '{}'", shorten(&text));
            self.unique(&mut seen.addresses, text, entry.value.span, &what);
        }
    }

    /// The YAML text of a host's configuration.
    fn configuration(&mut self, entries: Vec<Entry>, span: Span, site: Site) -> Value {
        let mut secret = false;
        let mut node = Node { span, kind: Kind::Map(entries) };
        node.each_scalar("", &mut |key, scalar, _| {
            secret |= sensitive::holds_secret(key, scalar);
        });
        self.resolve(&mut node, site);
        if holds_reference(&node) {
            spell_out(&mut node);
        }
        let text = emit(&node, Secrets::Shown);
        if secret { Value::Secret(Secret::new(text)) } else { Value::Text(text) }
    }

    /// Checks and replaces references below a node; types and styles stay what they are.
    fn resolve(&mut self, node: &mut Node, site: Site) {
        let span = node.span;
        match &mut node.kind {
            Kind::Scalar(scalar) => {
                let text = self.resolved(scalar, span, site);
                if reference::has_reference(&scalar.text) {
                    // Its value is not known yet, so it must stand where it can be any text.
                    scalar.style = Style::Quoted;
                    scalar.text = text;
                }
            }
            Kind::List(items) => items.iter_mut().for_each(|item| self.resolve(item, site)),
            Kind::Map(entries) => {
                entries.iter_mut().for_each(|entry| self.resolve(&mut entry.value, site));
            }
        }
    }
}

/// Whether the YAML text of a tree is one with references, which is resolved as a whole.
fn holds_reference(node: &Node) -> bool {
    match &node.kind {
        Kind::Scalar(scalar) => reference::has_reference(&scalar.text),
        Kind::List(items) => items.iter().any(holds_reference),
        Kind::Map(entries) => entries
            .iter()
            .any(|entry| reference::has_reference(entry.name()) || holds_reference(&entry.value)),
    }
}

/// Sees to it that keys, and values that have no reference themselves, come out as they are.
fn spell_out(node: &mut Node) {
    let literally = |scalar: &mut Scalar| {
        if scalar.text.contains("<%") {
            scalar.text = reference::part_literally(&scalar.text);
            scalar.style = Style::Quoted;
        }
    };
    match &mut node.kind {
        Kind::Scalar(scalar) if !reference::has_reference(&scalar.text) => literally(scalar),
        Kind::Scalar(_) => {}
        Kind::List(items) => items.iter_mut().for_each(spell_out),
        Kind::Map(entries) => entries.iter_mut().for_each(|entry| {
            literally(&mut entry.key);
            spell_out(&mut entry.value);
        }),
    }
}
