//! Reads a template with everything that it extends.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::catalog::{self, Catalog, DriverCatalog};
use crate::check::{self, Surroundings};
use crate::diagnostic::{Diagnostic, FileId, Span};
use crate::expand::{Expanded, expand};
use crate::inputs::InputSpec;
use crate::merge::merge;
use crate::providers::Providers;
use crate::secrets::{SecretSource, Secrets};
use crate::sensitive;
use crate::short::lengthen;
use crate::source::{SourceReader, Sources};
use crate::spec::Spec;
use crate::yaml::compose::{BUDGET, Composed, compose, shorten};
use crate::yaml::decode::decode;
use crate::yaml::emit::{Secrets as Show, emit};
use crate::yaml::{Entry, Kind, Node};

/// What a load needs besides the file: the values of user inputs, and limits of what is read. The
/// default limits fit any template that people write.
#[derive(Clone)]
pub struct Options {
    /// Largest file, in bytes.
    pub max_bytes: u64,
    /// Most files that one template may read, itself included.
    pub max_files: usize,
    /// Deepest chain of `extends`.
    pub max_extends_depth: usize,
    /// Values of user inputs, by their names. They win over those that the template gives.
    pub inputs: BTreeMap<String, String>,
    /// Gets secrets that the template names by reference. Without it they are
    /// [`Withheld`](model::Value::Withheld), which is enough to check a template.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// The drivers that there are. Without it nothing is said about drivers and parameters.
    pub drivers: Option<Arc<dyn DriverCatalog>>,
    /// The named providers that there are.
    pub providers: Providers,
    /// The provider of all hosts that name none of their own, whatever the template says.
    pub provider: Option<String>,
}

/// Shows the names of the inputs only: a value may be a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.inputs.keys().collect();
        f.debug_struct("Options")
            .field("max_bytes", &self.max_bytes)
            .field("max_files", &self.max_files)
            .field("max_extends_depth", &self.max_extends_depth)
            .field("inputs", &names)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 20,
            max_files: 256,
            max_extends_depth: 32,
            inputs: BTreeMap::new(),
            secrets: None,
            drivers: None,
            providers: Providers::NotAsked,
            provider: None,
        }
    }
}

/// What came of reading a template.
#[derive(Debug)]
pub struct Loaded {
    /// The template, if there was no error.
    pub spec: Option<Spec>,
    /// All findings, in the order of files and lines; the template's own file is the first.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that were read, for [`render`](crate::render()).
    pub sources: Sources,
    /// The user inputs of the template, in order.
    pub inputs: Vec<InputSpec>,
    /// Those of them that are used and have no value, each of which is an error with the code
    /// `missing-input`: to be asked for, and given in [`Options::inputs`] of another load.
    pub missing_inputs: Vec<InputSpec>,
    /// The values of [`Options::inputs`], but for those that may be secrets.
    pub given_inputs: BTreeMap<String, String>,
    /// The names of the providers that the template names, or that were chosen.
    pub providers: Vec<String>,
    merged: Option<Node>,
}

impl Loaded {
    /// The merged template as YAML, as `validate --dump` shows it: bases and `extends` resolved,
    /// defaults and references as they were written, secrets masked. `None` if the template could
    /// not be read.
    pub fn dump(&self) -> Option<String> {
        self.merged.as_ref().map(|node| format!("---\n{}", emit(node, Show::Masked)))
    }

    /// Whether all that is wrong is that inputs have no value.
    pub fn lacks_inputs_only(&self) -> bool {
        let mut errors = self.diagnostics.iter().filter(|d| d.is_error());
        !self.missing_inputs.is_empty() && errors.all(|d| d.code == "missing-input")
    }

    /// Whether there is at least one error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads, merges and checks a template.
///
/// Never fails as such: what is wrong is in [`Loaded::diagnostics`], and there is a
/// [`Loaded::spec`] exactly if none of them is an error.
pub fn load(path: &Path, reader: &dyn SourceReader, options: &Options) -> Loaded {
    let mut loader = Loader {
        reader,
        options,
        sources: Sources::default(),
        diagnostics: Vec::new(),
        complete: true,
        reads: 0,
        budget: BUDGET,
    };
    let mut chain = Vec::new();
    let mut root = loader.file(path, None, &mut chain);
    let Loader { mut sources, mut diagnostics, complete, .. } = loader;
    let (mut spec, mut inputs, mut missing_inputs) = (None, Vec::new(), Vec::new());
    let mut providers = Vec::new();
    if let Some(written) = &mut root {
        let expanded = expand(written, &sources, &options.inputs, complete);
        let Expanded { mut root, diagnostics: found, reported, .. } = expanded;
        let catalog = Catalog::of(options.drivers.as_deref().map(|source| source as _));
        providers = check::named_providers(&root);
        providers.extend(options.provider.clone());
        let known = providers.iter().filter_map(|name| options.providers.find(name));
        let drivers: Vec<&str> = known.map(|provider| provider.driver.as_str()).collect();
        let names = catalog.secrets(&root, &drivers);
        for root in [&mut root, &mut *written] {
            catalog::hide(root, &names);
            hide_secrets(root, &mut sources);
        }
        (inputs, missing_inputs) = (expanded.inputs, expanded.missing);
        diagnostics.extend(found);
        let secrets = Secrets::of(options.secrets.as_deref().map(|source| source as _));
        let (known, chosen) = (&options.providers, options.provider.as_deref());
        let around = Surroundings { reader, secrets, catalog: &catalog, providers: known, chosen };
        let checked = check::check(&root, complete, &sources, reported, around);
        diagnostics.extend(checked.diagnostics);
        spec = checked.spec;
    }
    let asked = inputs.iter().filter(|input| !input.may_be_secret());
    let given_inputs = asked
        .filter_map(|input| Some((input.name.clone(), options.inputs.get(&input.name)?.clone())))
        .collect();
    let diagnostics = check::sorted(diagnostics);
    if diagnostics.iter().any(Diagnostic::is_error) {
        spec = None;
    }
    let merged = root;
    Loaded { spec, diagnostics, sources, inputs, missing_inputs, given_inputs, providers, merged }
}

/// Reads one file as a tree, and nothing that it may name.
pub(crate) fn read_tree(
    path: &Path,
    reader: &dyn SourceReader,
    options: &Options,
) -> (Option<Node>, Sources, Vec<Diagnostic>) {
    let mut loader = Loader {
        reader,
        options,
        sources: Sources::default(),
        diagnostics: Vec::new(),
        complete: true,
        reads: 0,
        budget: BUDGET,
    };
    let root = loader.tree(path);
    (root, loader.sources, loader.diagnostics)
}

/// Values of user inputs, read from a file.
pub struct InputValues {
    /// By the names of the inputs, for [`Options::inputs`]. Empty if there was an error.
    pub values: BTreeMap<String, String>,
    /// What is wrong with the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The file, for [`render`](crate::render()).
    pub sources: Sources,
}

/// Reads values of user inputs from a file in YAML or JSON: a group of keys, which are the names.
///
/// Values are texts as they are written, so that `012` stays what it is; a list is taken for a list.
/// Whatever stands in the file is hidden in messages, because it may be a password.
pub fn load_inputs(path: &Path, reader: &dyn SourceReader, options: &Options) -> InputValues {
    let mut loader = Loader {
        reader,
        options,
        sources: Sources::default(),
        diagnostics: Vec::new(),
        complete: true,
        reads: 0,
        budget: BUDGET,
    };
    let values = loader.values(path).unwrap_or_default();
    let Loader { sources, diagnostics, .. } = loader;
    let wrong = diagnostics.iter().any(Diagnostic::is_error);
    let values = if wrong { BTreeMap::new() } else { values };
    InputValues { values, diagnostics: check::sorted(diagnostics), sources }
}

struct Loader<'l> {
    reader: &'l dyn SourceReader,
    options: &'l Options,
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
    /// Every base could be read, so that what is missing is really missing.
    complete: bool,
    reads: usize,
    /// What the trees may still cost.
    budget: usize,
}

/// A file on the way from the template to the one that is being read.
struct Link {
    path: PathBuf,
    shown: PathBuf,
}

impl Loader<'_> {
    /// Reads a file and its bases. `named_at` is the place that names it, none for the template.
    fn file(&mut self, path: &Path, named_at: Option<Span>, chain: &mut Vec<Link>) -> Option<Node> {
        let normal = normalize(path);
        if let Some(start) = chain.iter().position(|link| link.path == normal) {
            self.cycle(&chain[start..], path, named_at);
            return None;
        }
        if chain.len() > self.options.max_extends_depth || self.reads >= self.options.max_files {
            let message = format!(
                "'extends' reads more than {} files, or {} levels",
                self.options.max_files, self.options.max_extends_depth
            );
            let span = named_at.unwrap_or_else(|| Span::whole_file(FileId(0)));
            self.report(Diagnostic::error("extends-limit", span, message));
            return None;
        }
        self.reads += 1;
        let known = self.sources.find(path);
        let first_time = known.is_none();
        let file = match known {
            Some(file) => file,
            None => self.read(path, named_at)?,
        };
        let mut found = Vec::new();
        let composed = compose(file, self.sources.text(file), &mut self.budget, &mut found);
        if first_time {
            self.diagnostics.append(&mut found);
        }
        let mut root = match composed {
            Composed::Tree(root) => root,
            Composed::Failed => {
                self.complete = false;
                return None;
            }
            Composed::Empty if named_at.is_none() => {
                let span = Span { line: 1, column: 1, ..Span::whole_file(file) };
                self.report(Diagnostic::error("empty", span, "the template is empty"));
                return None;
            }
            Composed::Empty => Node { span: Span::whole_file(file), kind: Kind::Map(Vec::new()) },
        };
        mark_passwords(&mut root);
        hide_secrets(&root, &mut self.sources);
        let span = root.span;
        let Kind::Map(mut entries) = root.kind else {
            let message = format!(
                "a template is a group of keys such as 'name:' and 'hosts:', not {}",
                root.describe()
            );
            self.report(Diagnostic::error("wrong-shape", span, message));
            return None;
        };
        let mut found = Vec::new();
        lengthen(&mut entries, &mut found);
        if first_time {
            self.diagnostics.append(&mut found);
        }
        chain.push(Link { path: normal, shown: path.to_owned() });
        let entries = self.extend(path, entries, chain);
        chain.pop();
        Some(Node { span, kind: Kind::Map(entries) })
    }

    /// Reads one file.
    fn tree(&mut self, path: &Path) -> Option<Node> {
        let file = self.read(path, None)?;
        let text = self.sources.text(file);
        match compose(file, text, &mut self.budget, &mut self.diagnostics) {
            Composed::Tree(root) => Some(root),
            Composed::Failed => None,
            Composed::Empty => {
                let span = Span { line: 1, column: 1, ..Span::whole_file(file) };
                self.report(Diagnostic::error("empty", span, "the file is empty"));
                None
            }
        }
    }

    /// Reads a file of input values.
    fn values(&mut self, path: &Path) -> Option<BTreeMap<String, String>> {
        let file = self.read(path, None)?;
        let whole = Span { line: 1, column: 1, ..Span::whole_file(file) };
        self.sources.hide(whole, usize::MAX);
        let text = self.sources.text(file);
        let root = match compose(file, text, &mut self.budget, &mut self.diagnostics) {
            Composed::Tree(root) => root,
            Composed::Failed => return None,
            Composed::Empty => return Some(BTreeMap::new()),
        };
        let Kind::Map(entries) = root.kind else {
            let message = format!(
                "values of inputs are a group of keys such as 'number_hosts: 3', not {}",
                root.describe()
            );
            self.report(Diagnostic::error("wrong-shape", root.span, message));
            return None;
        };
        let mut values = BTreeMap::new();
        for entry in entries {
            let single = std::slice::from_ref(&entry.value);
            let items = entry.value.as_list().unwrap_or(single);
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| Some(item.as_scalar()?.text.as_str())).collect();
            match texts {
                Some(_) if entry.value.is_null() => {}
                Some(texts) => {
                    values.insert(entry.name().to_owned(), texts.join(";"));
                }
                None => {
                    let message = format!("the value of '{}' is not single", shorten(entry.name()));
                    self.report(Diagnostic::error("wrong-shape", entry.value.span, message));
                }
            }
        }
        Some(values)
    }

    /// Reports an error after which something of the template is missing.
    fn report(&mut self, diagnostic: Diagnostic) {
        self.complete = false;
        self.diagnostics.push(diagnostic);
    }

    fn cycle(&mut self, links: &[Link], path: &Path, named_at: Option<Span>) {
        let mut chain: Vec<String> =
            links.iter().map(|link| shorten(&link.shown.to_string_lossy())).collect();
        chain.push(shorten(&path.to_string_lossy()));
        let span = named_at.unwrap_or_else(|| Span::whole_file(FileId(0)));
        self.report(
            Diagnostic::error("extends-cycle", span, "a template cannot extend itself")
                .help(format!("the chain is {}", chain.join(" -> "))),
        );
    }

    /// Puts a file's own entries over those of its bases.
    fn extend(&mut self, path: &Path, mut own: Vec<Entry>, chain: &mut Vec<Link>) -> Vec<Entry> {
        let Some(index) = own.iter().position(|entry| entry.name() == "extends") else {
            return own;
        };
        let extends = own.remove(index).value;
        let names = match extends.kind {
            Kind::List(items) => items,
            kind => vec![Node { span: extends.span, kind }],
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut merged = Vec::new();
        for name in names {
            if name.is_null() {
                continue;
            }
            let Some(scalar) = name.as_scalar() else {
                let message = format!("'extends' takes file names, not {}", name.describe());
                self.report(Diagnostic::error("wrong-shape", name.span, message));
                continue;
            };
            let base = folder.join(&scalar.text);
            if let Some(Node { kind: Kind::Map(entries), .. }) =
                self.file(&base, Some(name.span), chain)
            {
                merged = merge(merged, entries);
            }
        }
        merge(merged, own)
    }

    fn read(&mut self, path: &Path, named_at: Option<Span>) -> Option<FileId> {
        let limit = self.options.max_bytes;
        let bytes = match self.reader.read(path, limit) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.unreadable(path, &error, named_at);
                return None;
            }
        };
        if bytes.len() as u64 > limit {
            let file = self.sources.add(path.to_owned(), String::new());
            let message = format!("the file is larger than {} KiB", limit / 1024);
            self.report(
                Diagnostic::error("too-large", Span::whole_file(file), message)
                    .help("a template is a text of a few kilobytes; is this the right file?"),
            );
            return None;
        }
        match decode(bytes) {
            Ok(text) => Some(self.sources.add(path.to_owned(), text)),
            Err(why) => {
                let file = self.sources.add(path.to_owned(), why.readable);
                let span = match why.place {
                    Some((line, column)) => Span { file, line, column, length: 1 },
                    None => Span::whole_file(file),
                };
                self.report(Diagnostic::error("not-text", span, why.message).help(why.help));
                None
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error, named_at: Option<Span>) {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        let diagnostic = match named_at {
            None => {
                let file = self.sources.add(path.to_owned(), String::new());
                let message = format!("cannot read the template: {reason}");
                Diagnostic::error("unreadable", Span::whole_file(file), message)
            }
            Some(span) => {
                let shown = shorten(&path.to_string_lossy());
                let message = format!("cannot read the base template {shown}: {reason}");
                let diagnostic = Diagnostic::error("unreadable", span, message);
                if path.starts_with("/usr/share/one/oneprovision") {
                    diagnostic.help("it came with the package opennebula-provision of OpenNebula 5.12 and before")
                } else if error.kind() == io::ErrorKind::NotFound {
                    diagnostic.help(
                        "a relative name is looked for in the folder of the file that names it",
                    )
                } else {
                    diagnostic
                }
            }
        };
        self.report(diagnostic);
    }
}

/// Hides secrets that do not stand behind their names in the text: `x: &t abc`, `token: *t`.
fn hide_secrets(root: &Node, sources: &mut Sources) {
    root.each_scalar("", &mut |key, scalar, span| {
        if sensitive::holds_secret(key, scalar) {
            sources.hide(span, scalar.text.matches('\n').count() + 1);
        }
    });
}

/// Marks what stands in the file as the value of a password that is an input.
fn mark_passwords(root: &mut Node) {
    fn word<'n>(entries: &'n [Entry], key: &str) -> Option<&'n str> {
        let entry = entries.iter().find(|entry| entry.name() == key)?;
        Some(entry.value.as_scalar()?.text.as_str())
    }
    let Kind::Map(entries) = &mut root.kind else { return };
    let inputs = entries.iter_mut().filter(|entry| entry.name() == "inputs");
    for section in inputs {
        let Kind::List(inputs) = &mut section.value.kind else { continue };
        for input in inputs {
            let Kind::Map(keys) = &mut input.kind else { continue };
            if word(keys, "type") != Some("password") {
                continue;
            }
            for entry in
                keys.iter_mut().filter(|e| matches!(e.key.text.as_str(), "default" | "value"))
            {
                if let Kind::Scalar(scalar) = &mut entry.value.kind {
                    scalar.secret = !scalar.is_null();
                }
            }
        }
    }
}

/// A path without `.` and, as far as the names alone tell, without `..`.
fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}
