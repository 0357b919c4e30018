//! `count`, and a list as `hostname`: one entry of the template stands for several objects.
//!
//! A host is made `count` times, or once for each name in a list of host names, which wins. Of a
//! network the first address range is (`lib/provision/resources/physical/network.rb`, 6.10.5).
//! `count` stands in `provision`, or beside `im_mad`, as some manuals have it.

use super::{Expander, Site, dollar, find_any_case, given, place, quoted};
use crate::diagnostic::Diagnostic;
use crate::merge::{SECTIONS, overlay, overlay_variables};
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node};

/// Most copies of one object, and most hosts of a template.
pub(crate) const MAX_COPIES: usize = 10_000;

/// What all copies may come to, in bytes.
const MAX_COPIED: usize = 256 << 20;

/// The groups of `defaults`. What holds `${index}` is each host's own and is copied into it.
pub(super) struct Defaults<'n> {
    provision: &'n [Entry],
    /// By section: the entries that hold `${index}`.
    with_index: Vec<(&'static str, Vec<Entry>)>,
    /// What these come to, in bytes.
    copied: usize,
}

impl<'n> Defaults<'n> {
    pub(super) fn of(entry: Option<&'n Entry>) -> Self {
        let groups = entry.and_then(|entry| entry.value.as_map()).unwrap_or(&[]);
        let group = |key| given(groups, key).and_then(|entry| entry.value.as_map());
        let with_index = SECTIONS.map(|key| {
            let entries = group(key).unwrap_or(&[]).iter();
            let entries = entries.filter(|entry| has_index(&entry.value));
            (key, entries.cloned().collect::<Vec<_>>())
        });
        let copied = with_index.iter().flat_map(|(_, entries)| entries);
        Self {
            provision: group("provision").unwrap_or(&[]),
            copied: copied.map(|entry| entry.name().len() + entry.value.size()).sum(),
            with_index: with_index.to_vec(),
        }
    }

    /// The section without what is copied into each host.
    pub(super) fn without_index(&self, node: &Node) -> Node {
        let Kind::Map(groups) = &node.kind else { return node.clone() };
        let groups = groups.iter().cloned().map(|mut group| {
            if let Kind::Map(entries) = &mut group.value.kind {
                entries.retain(|entry| !has_index(&entry.value));
            }
            group
        });
        Node { span: node.span, kind: Kind::Map(groups.collect()) }
    }
}

/// How an entry is repeated.
struct Plan {
    copies: usize,
    /// The names of the hosts, if there is a list of them.
    names: Option<Vec<Node>>,
    /// The name that all would have, and that gets a number for each.
    shared: Option<Entry>,
}

impl Expander<'_> {
    /// The section `hosts`, each host as often as it is to be made.
    pub(super) fn host_section(&mut self, node: &Node, defaults: &Defaults<'_>) -> Node {
        let Kind::List(items) = &node.kind else { return self.node(node, Site::Plain) };
        let mut out = Vec::new();
        for item in items {
            let Kind::Map(entries) = &item.kind else {
                out.push(self.node(item, Site::Plain));
                continue;
            };
            let own = given(entries, "provision").map(|entry| entry.value.as_map());
            let Some(own) = own.unwrap_or(Some(&[])) else {
                out.push(self.node(item, Site::Copy(self.hosts)));
                self.hosts += 1;
                continue;
            };
            let plan = self.plan(entries, own, defaults);
            if !self.may_copy(item, defaults.copied, plan.copies, self.hosts) {
                continue;
            }
            for number in 0..plan.copies {
                out.push(self.host(item, entries, defaults, &plan, number));
                self.hosts += 1;
            }
        }
        let names = out.iter().map(|host| {
            let provision = given(host.as_map()?, "provision")?.value.as_map()?;
            Some(given(provision, "hostname")?.value.as_scalar()?.text.clone())
        });
        let names = names.collect();
        self.names.add("hosts", names);
        Node { span: node.span, kind: Kind::List(out) }
    }

    fn plan(&mut self, entries: &[Entry], own: &[Entry], defaults: &Defaults<'_>) -> Plan {
        let default = defaults.provision;
        // Nothing of the host's own takes away what the defaults have.
        let inherited = |key| match find_any_case(own, key) {
            Some(_) => None,
            None => given(default, key),
        };
        let hostname = given(own, "hostname").or_else(|| inherited("hostname"));
        let count = self.count_entry(entries, own).or_else(|| inherited("count"));
        let copies = count.map_or(1, |entry| self.count(entry));
        if let Some(hostname) = hostname {
            let looked = self.quietly(|expander| expander.node(&hostname.value, Site::Plain));
            if matches!(looked.kind, Kind::List(_))
                && let Kind::List(names) = self.node(&hostname.value, Site::Plain).kind
            {
                if let Some(count) = count.filter(|_| copies != names.len()) {
                    let message = format!(
                        "'count' has no effect: there is a host for each of the {} host names",
                        names.len()
                    );
                    self.push(
                        Diagnostic::warning("ignored-key", count.key_span, message)
                            .related(hostname.key_span, "they are given here"),
                    );
                }
                return Plan { copies: names.len(), names: Some(names), shared: None };
            }
        }
        let shared = hostname.filter(|entry| copies > 1 && !has_index(&entry.value)).cloned();
        Plan { copies, names: None, shared }
    }

    fn host(
        &mut self,
        item: &Node,
        entries: &[Entry],
        defaults: &Defaults<'_>,
        plan: &Plan,
        number: usize,
    ) -> Node {
        let site = Site::Copy(self.hosts);
        let mut host: Vec<Entry> = entries
            .iter()
            .filter(|entry| !entry.name().eq_ignore_ascii_case("count"))
            .cloned()
            .collect();
        for (section, inherited) in &defaults.with_index {
            put_below(&mut host, section, inherited.clone());
        }
        let mut host = self.entries(&host, site);
        let name = match (&plan.names, &plan.shared) {
            (Some(names), _) => names.get(number).cloned(),
            (None, Some(shared)) => {
                let mut node = self.node(&shared.value, site);
                if let Kind::Scalar(scalar) = &mut node.kind
                    && !self.reported.contains(&place(node.span))
                {
                    let text = format!("{}_{number}", scalar.text);
                    *scalar = quoted(text, scalar.secret);
                }
                Some(node)
            }
            (None, None) => None,
        };
        if let Some(name) = name {
            set_hostname(&mut host, name);
        }
        Node { span: item.span, kind: Kind::Map(host) }
    }

    /// The section `networks`: address ranges as often as they are to be there.
    pub(super) fn network_section(&mut self, node: &Node) -> Node {
        let Kind::List(items) = &node.kind else { return self.node(node, Site::Plain) };
        let mut out = Vec::with_capacity(items.len());
        for item in items {
            let Kind::Map(entries) = &item.kind else {
                out.push(self.node(item, Site::Plain));
                continue;
            };
            let own = given(entries, "provision").and_then(|entry| entry.value.as_map());
            let count = self.count_entry(entries, own.unwrap_or(&[]));
            let mut network = Vec::with_capacity(entries.len());
            let mut ranges = false;
            for entry in entries {
                if entry.name().eq_ignore_ascii_case("count") {
                    continue;
                }
                let value = match entry.value.as_list() {
                    Some(list) if entry.name().eq_ignore_ascii_case("ar") => {
                        ranges = !list.is_empty();
                        self.ranges(entry, list, count)
                    }
                    _ => self.node(&entry.value, Site::Plain),
                };
                network.push(Entry { value, ..entry.clone() });
            }
            if let Some(count) = count.filter(|_| !ranges) {
                let message = "'count' of a network repeats its first address range ('ar'), and \
                               there is none";
                self.push(Diagnostic::warning("ignored-key", count.key_span, message));
            }
            out.push(Node { span: item.span, kind: Kind::Map(network) });
        }
        Node { span: node.span, kind: Kind::List(out) }
    }

    fn ranges(&mut self, entry: &Entry, list: &[Node], count: Option<&Entry>) -> Node {
        let copies = count.map_or(1, |count| self.count(count));
        let mut out = Vec::new();
        let (first, rest) = match list.split_first() {
            Some((first, rest)) if self.may_copy(first, 0, copies, 0) => (Some(first), rest),
            _ => (None, list),
        };
        let all = first.into_iter().flat_map(|first| std::iter::repeat_n(first, copies));
        for (index, range) in all.chain(rest).enumerate() {
            out.push(self.node(range, Site::Copy(index)));
        }
        Node { span: entry.value.span, kind: Kind::List(out) }
    }

    /// Where the number of an object stands.
    fn count_entry<'n>(&mut self, entries: &'n [Entry], own: &'n [Entry]) -> Option<&'n Entry> {
        let (inner, beside) = (given(own, "count"), given(entries, "count"));
        if let (Some(inner), Some(beside)) = (inner, beside) {
            let message = "'count' is given in 'provision', too; that one counts";
            self.push(
                Diagnostic::warning("ignored-key", beside.key_span, message)
                    .related(inner.key_span, "it is given here"),
            );
        }
        inner.or(beside)
    }

    /// A number of copies; 1 if it is none.
    fn count(&mut self, entry: &Entry) -> usize {
        let span = entry.value.span;
        let node = self.node(&entry.value, Site::Plain);
        if self.reported.contains(&place(span)) {
            return 1;
        }
        let number = node.as_scalar().and_then(|scalar| scalar.text.trim().parse::<usize>().ok());
        match number.filter(|number| *number <= MAX_COPIES) {
            Some(number) => number,
            None => {
                let what = match node.as_scalar() {
                    Some(scalar) if !scalar.secret => format!("'{}'", shorten(&scalar.text)),
                    _ => node.describe().to_owned(),
                };
                let message = format!("'count' takes a number from 0 to {MAX_COPIES}, not {what}");
                self.error("bad-value", span, message);
                self.reported.insert(place(span));
                1
            }
        }
    }

    /// Whether so many copies more, each with some further bytes, are within the limits.
    fn may_copy(&mut self, node: &Node, further: usize, copies: usize, before: usize) -> bool {
        let copied = node.size().saturating_add(further).saturating_mul(copies);
        self.copied = self.copied.saturating_add(copied);
        if before.saturating_add(copies) > MAX_COPIES.max(before + 1) {
            let message = format!("a template has at most {MAX_COPIES} hosts by 'count'");
            self.error("too-large", node.span, message);
            return false;
        }
        if self.copied > MAX_COPIED {
            self.error("too-large", node.span, "the copies by 'count' are too large together");
            return false;
        }
        true
    }
}

/// Puts entries into a group of a host, where it does not have its own.
fn put_below(host: &mut Vec<Entry>, section: &str, inherited: Vec<Entry>) {
    let Some(first) = inherited.first() else { return };
    let (key, key_span, span) = (first.key.clone(), first.key_span, first.value.span);
    match host.iter_mut().find(|entry| entry.name().eq_ignore_ascii_case(section)) {
        Some(entry) if entry.value.is_null() => entry.value.kind = Kind::Map(inherited),
        Some(entry) => {
            if let Kind::Map(own) = &mut entry.value.kind {
                let child = std::mem::take(own);
                *own = match section {
                    "configuration" => overlay_variables(inherited, child),
                    _ => overlay(inherited, child, |_, _, above| above),
                };
            }
        }
        None => {
            let value = Node { span, kind: Kind::Map(inherited) };
            let key = crate::yaml::Scalar { text: section.to_owned(), ..key };
            host.push(Entry { key, key_span, value });
        }
    }
}

fn set_hostname(host: &mut Vec<Entry>, name: Node) {
    let key = quoted("hostname".to_owned(), false);
    let key_span = name.span;
    let entry = Entry { key, key_span, value: name };
    if let Some(Entry { value: Node { kind: Kind::Map(own), .. }, .. }) =
        host.iter_mut().find(|entry| entry.name().eq_ignore_ascii_case("provision"))
    {
        match own.iter_mut().find(|entry| entry.name().eq_ignore_ascii_case("hostname")) {
            Some(old) => old.value = entry.value,
            None => own.push(entry),
        }
        return;
    }
    put_below(host, "provision", vec![entry]);
}

/// Whether `${index}` stands anywhere below.
fn has_index(node: &Node) -> bool {
    let mut found = false;
    node.each_scalar("", &mut |_, scalar, _| found |= dollar::has_index(&scalar.text));
    found
}
