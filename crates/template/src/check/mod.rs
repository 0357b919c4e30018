//! From the merged tree to a [`Spec`], and everything that is wrong on the way.
//!
//! | module | what it checks |
//! | --- | --- |
//! | this one | the top level: which keys there are, name, defaults |
//! | [`text`] | single values: references, characters, what YAML 1.1 would have made of them |
//! | [`attributes`] | groups of keys that become attributes of OpenNebula |
//! | [`objects`] | cluster, datastores, networks |
//! | [`hosts`] | hosts |
//! | [`connection`] | how they are reached |
//! | [`steps`] | files that are copied to them, commands that are run on them |
//! | [`ansible`] | playbooks, and the versions of Ansible that they are for |
//! | [`parameters`] | what hosts give to their drivers |
//! | [`providers`] | named providers, and what hosts have from them |
//! | [`virtuals`] | images, marketplace apps, templates |
//! | [`referred`] | what references ask of objects |
//! | [`names`] | names of objects, and the nearest known key |

mod ansible;
pub(crate) mod attributes;
mod connection;
mod hosts;
mod meta;
pub(crate) mod names;
mod objects;
mod parameters;
mod providers;
mod referred;
mod steps;
mod text;
mod virtuals;

use std::collections::HashSet;
use std::path::Path;

use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Span};
use crate::expand::Place;
use crate::keys;
use crate::merge::SECTIONS;
use crate::providers::Providers;
use crate::secrets::Secrets;
use crate::source::{SourceReader, Sources};
use crate::spec::{Origin, Spec};
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Kind, Node};

use names::{nearest, nearest_help};
pub use objects::is_parameter;
use providers::Account;
pub(crate) use providers::named as named_providers;
use referred::Referred;
use text::Counts;

/// What came of the checks.
pub(crate) struct Checked {
    /// Filled as far as possible; usable only if no finding is an error.
    pub(crate) spec: Option<Spec>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// What is asked for while a template is checked.
pub(crate) struct Surroundings<'c> {
    pub(crate) reader: &'c dyn SourceReader,
    pub(crate) secrets: Secrets<'c>,
    pub(crate) catalog: &'c Catalog<'c>,
    pub(crate) providers: &'c Providers,
    pub(crate) chosen: Option<&'c str>,
}

/// Keys of 6.x that only its web interface reads.
const WEB: [&str; 5] = ["image", "provision_type", "fireedge", "start_time", "state"];

/// Most findings of one load.
const MAX_FINDINGS: usize = 1000;

fn is_known(key: &str) -> bool {
    keys::names(keys::TOP).any(|known| known == key)
}

/// Whether values under a key of the top level have a meaning here.
pub(crate) fn is_read(key: &str) -> bool {
    key != "inputs" && is_known(key)
}

/// Checks a merged and expanded tree. `complete`: every base was read, so that what is missing is
/// really missing. About values at `reported` everything is said.
pub(crate) fn check<'c>(
    root: &'c Node,
    complete: bool,
    sources: &'c Sources,
    reported: HashSet<Place>,
    around: Surroundings<'c>,
) -> Checked {
    let entries = root.as_map().unwrap_or(&[]);
    let mut checker = Checker {
        sources,
        diagnostics: Vec::new(),
        name: None,
        counts: Counts::of(entries),
        complete,
        reported,
        reader: around.reader,
        secrets: around.secrets,
        catalog: around.catalog,
        providers: around.providers,
        chosen: around.chosen,
        common: Account::None,
        referred: Vec::new(),
    };
    if let Some(entry) = provider_description(entries) {
        // Nothing else that could be said of it as a template would help.
        checker.push(
            Diagnostic::error(
                "not-a-template",
                entry.key_span,
                "this describes a provider of OpenNebula 6.x, not a provision",
            )
            .help("`oneprovision provider create FILE` makes the provider that it describes"),
        );
        return Checked { spec: None, diagnostics: checker.diagnostics };
    }
    let spec = Some(checker.run(root.span, entries));
    Checked { spec, diagnostics: checker.diagnostics }
}

/// The key by which a file is known as the description of a provider: `provider` and `connection`,
/// and nothing to create.
fn provider_description(entries: &[Entry]) -> Option<&Entry> {
    const OBJECTS: [&str; 4] = ["cluster", "hosts", "datastores", "networks"];
    let creates = OBJECTS.iter().any(|key| find(entries, key).is_some());
    find(entries, "connection").filter(|_| !creates)?;
    find(entries, "provider")
}

/// Puts findings in the order of files and lines, each once: a place in `defaults` is looked at for
/// every host.
pub(crate) fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    // Stable: of several findings of one place, the one that was made first comes first.
    diagnostics.sort_by_key(|d| (d.span.file, d.span.line, d.span.column, d.severity));
    let mut seen = HashSet::new();
    diagnostics.retain(|d| seen.insert((d.code, d.span, d.message.clone())));
    if diagnostics.len() > MAX_FINDINGS {
        // What counts is whether there is an error, so errors are kept before warnings.
        let total = diagnostics.len();
        diagnostics.sort_by_key(|d| d.severity);
        let (last, rest) = (MAX_FINDINGS - 1, total - (MAX_FINDINGS - 1));
        diagnostics.truncate(last);
        diagnostics.sort_by_key(|d| (d.span.file, d.span.line, d.span.column, d.severity));
        if let Some(end) = diagnostics.last().map(|d| Span::whole_file(d.span.file)) {
            let message = format!("{rest} further findings are not listed");
            diagnostics.push(Diagnostic::warning("too-many", end, message));
        }
    }
    diagnostics
}

struct Checker<'c> {
    sources: &'c Sources,
    diagnostics: Vec<Diagnostic>,
    /// The provision's name, once it is known.
    name: Option<String>,
    counts: Counts,
    complete: bool,
    /// Values that are not known, and that need no further finding.
    reported: HashSet<Place>,
    /// Tells where a path is.
    reader: &'c dyn SourceReader,
    secrets: Secrets<'c>,
    catalog: &'c Catalog<'c>,
    providers: &'c Providers,
    /// The provider that was chosen apart from the template.
    chosen: Option<&'c str>,
    /// That of everything that names none of its own.
    common: Account<'c>,
    /// The references to objects that were found.
    referred: Vec<Referred>,
}

/// The groups of `defaults`.
#[derive(Default)]
struct Defaults<'n> {
    provision: &'n [Entry],
    connection: &'n [Entry],
    configuration: &'n [Entry],
}

impl<'c> Checker<'c> {
    fn run(&mut self, span: Span, entries: &'c [Entry]) -> Spec {
        self.top_level(entries);
        let name = self.provision_name(span, entries);
        self.name = name.clone();
        let name = name.unwrap_or_default();
        let version = self.version(entries);
        let description = find(entries, "description")
            .and_then(|entry| self.single(entry))
            .map(|scalar| scalar.text.clone());
        let (playbooks, ansible_versions) = self.ansible(entries);
        let defaults = self.defaults(entries);
        self.common = self.common_provider(entries, &defaults);
        let (cluster, cluster_datastores) = self.cluster(entries, &name, span, &defaults);
        let spec = Spec {
            cluster,
            cluster_datastores,
            datastores: self.datastores(entries, &defaults),
            networks: self.networks(entries, &defaults),
            hosts: self.hosts(entries, &defaults),
            virtual_objects: self.virtual_objects(entries),
            name,
            version,
            description,
            playbooks,
            ansible_versions,
        };
        if self.complete {
            self.check_referred(&spec);
        }
        spec
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        let span = diagnostic.span;
        if !self.reported.contains(&(span.file, span.line, span.column)) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    fn origin(&self, span: Span) -> Origin {
        Origin {
            file: self.sources.path(span.file).to_string_lossy().into_owned(),
            line: span.line,
            column: span.column,
        }
    }

    /// A path of this computer that stands at `span`: a relative one counts from the folder of the
    /// file in which it stands. `~/` stays what it is.
    fn located(&self, path: &str, span: Span) -> String {
        if path.starts_with("~/") {
            return path.to_owned();
        }
        let folder = self.sources.path(span.file).parent().unwrap_or(Path::new(""));
        self.reader.absolute(&folder.join(path)).to_string_lossy().into_owned()
    }

    /// Reports keys that are not ours.
    fn top_level(&mut self, entries: &[Entry]) {
        let defaults_empty = find(entries, "defaults").is_none_or(|entry| entry.value.is_null());
        for entry in entries {
            let (name, span) = (entry.name(), entry.key_span);
            if WEB.contains(&name) {
                let message = format!("'{name}' is only read by the web interface of 6.x");
                self.push(Diagnostic::warning("ignored-key", span, message));
            } else if SECTIONS.contains(&name) {
                let message = format!("'{name}' has no meaning at the top of a template");
                let help = if defaults_empty {
                    format!(
                        "to give defaults for all objects, indent it below 'defaults:'; now the values in '{name}' are not used"
                    )
                } else {
                    format!("did you mean '{name}' within 'defaults'?")
                };
                self.push(Diagnostic::warning("misplaced-key", span, message).help(help));
            } else if !is_known(name) && !name.starts_with("x-") {
                self.unknown_top_level(name, span);
            }
        }
    }

    fn unknown_top_level(&mut self, name: &str, span: Span) {
        let message = format!("unknown key '{}'; it is ignored", shorten(name));
        let mut diagnostic = Diagnostic::warning("unknown-key", span, message);
        if name == "commands" {
            diagnostic = diagnostic.help("did you mean 'commands' within 'configure'?");
        } else if let Some(near) = nearest(&name.to_lowercase(), keys::names(keys::TOP)) {
            diagnostic = diagnostic.help(format!("did you mean '{near}'?"));
        }
        self.push(diagnostic);
    }

    fn provision_name(&mut self, span: Span, entries: &[Entry]) -> Option<String> {
        let entry = match find(entries, "name").filter(|entry| !entry.value.is_null()) {
            Some(entry) => entry,
            None if self.complete => {
                self.no_name(span, entries);
                return None;
            }
            None => return None,
        };
        let scalar = self.single(entry)?;
        let text = scalar.text.clone();
        if text.contains("<%") {
            let message = "the provision's name cannot hold references";
            self.error("bad-name", entry.value.span, message);
            return None;
        }
        self.check_storable(scalar, entry.value.span, |_| true);
        self.check_name(&text, entry.value.span);
        Some(text)
    }

    fn no_name(&mut self, span: Span, entries: &[Entry]) {
        let has = |key: &str| find(entries, key).is_some_and(|entry| !entry.value.is_null());
        let diagnostic = Diagnostic::error("no-name", span, "no name given");
        let help = if has("hosts") || has("cluster") {
            "give the provision a name: 'name: mycluster'".to_owned()
        } else {
            "this looks like a base for other templates: name it under 'extends:' in a template \
             that has a name"
                .to_owned()
        };
        self.push(diagnostic.help(help));
    }

    fn version(&mut self, entries: &[Entry]) -> u32 {
        if let Some(entry) = find(entries, "version").filter(|entry| !entry.value.is_null())
            && let Some(scalar) = self.single(entry)
            && scalar.text != "1"
        {
            let message = format!("unsupported version '{}'", shorten(&scalar.text));
            self.push(
                Diagnostic::error("bad-version", entry.value.span, message)
                    .help("the only version of the template language is 1"),
            );
        }
        1
    }

    fn defaults(&mut self, entries: &'c [Entry]) -> Defaults<'c> {
        let mut defaults = Defaults::default();
        let Some(entry) = find(entries, "defaults") else { return defaults };
        for entry in self.group(entry) {
            let (name, span) = (entry.name(), entry.key_span);
            match name {
                "provision" => defaults.provision = self.group(entry),
                "connection" => defaults.connection = self.group(entry),
                "configuration" => defaults.configuration = self.group(entry),
                _ => {
                    let message =
                        format!("unknown key '{}' in 'defaults'; it is ignored", shorten(name));
                    let help = match name {
                        "configure" | "files" | "commands" => {
                            "'configure' stands at the top level, where it is for all hosts"
                                .to_owned()
                        }
                        _ => nearest_help(&name.to_lowercase(), SECTIONS),
                    };
                    self.push(Diagnostic::warning("unknown-key", span, message).help(help));
                }
            }
        }
        defaults
    }

    /// The content of a key that takes a group of keys; empty for nothing.
    fn group(&mut self, entry: &'c Entry) -> &'c [Entry] {
        match &entry.value.kind {
            Kind::Map(entries) => entries,
            _ if entry.value.is_null() => &[],
            _ => {
                let message = format!(
                    "'{}' takes a group of keys, not {}",
                    shorten(entry.name()),
                    entry.value.describe()
                );
                self.error("wrong-shape", entry.value.span, message);
                &[]
            }
        }
    }

    /// The items of a section that takes a list of groups of keys, each with its number from 1.
    fn items(&mut self, entries: &'c [Entry], section: &str) -> Vec<Item<'c>> {
        let Some(entry) = find(entries, section) else { return Vec::new() };
        let items = match &entry.value.kind {
            Kind::List(items) => items,
            _ if entry.value.is_null() => return Vec::new(),
            _ => {
                let message = format!("'{section}' takes a list, not {}", entry.value.describe());
                self.push(
                    Diagnostic::error("wrong-shape", entry.value.span, message)
                        .help("begin each entry with '- '"),
                );
                return Vec::new();
            }
        };
        let mut out = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match &item.kind {
                Kind::Map(entries) => out.push(Item { index, entries, span: item.span }),
                _ => {
                    let message = format!(
                        "entry {} of '{section}' must be a group of keys, not {}",
                        index + 1,
                        item.describe()
                    );
                    self.error("wrong-shape", item.span, message);
                }
            }
        }
        out
    }

    /// The single value of a key, reported if it is something else. Nothing is an error here.
    fn single<'n>(&mut self, entry: &'n Entry) -> Option<&'n crate::yaml::Scalar> {
        let scalar = entry.value.as_scalar();
        if scalar.is_none() {
            let message = format!(
                "'{}' takes a single value, not {}",
                shorten(entry.name()),
                entry.value.describe()
            );
            self.error("wrong-shape", entry.value.span, message);
        }
        let secret = scalar.is_some_and(|scalar| scalar.secret);
        if secret {
            self.error("bad-value", entry.value.span, IN_CLEAR);
        }
        scalar.filter(|_| !secret)
    }
}

/// An entry of a section.
#[derive(Clone, Copy)]
struct Item<'n> {
    /// Its place in the list, from 0.
    index: usize,
    entries: &'n [Entry],
    span: Span,
}

/// Why a password cannot be a name or the like.
const IN_CLEAR: &str = "a password cannot stand here: this value is shown and stored in clear";

fn not_yet(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error("not-supported-yet", span, format!("{what}: not supported by this version"))
}

fn find<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.name() == name)
}

/// Within objects, keys are attributes of OpenNebula, and those have no case.
fn find_any_case<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.name().eq_ignore_ascii_case(name))
}
