//! Text -> tree, with limits.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as RawSpan, StrInput, Tag};

use super::decode::clamp;
use super::explain::explain;
use super::placeholder::{is_placeholder, patch};
use super::{Entry, Kind, Node, Scalar, Style};
use crate::diagnostic::{Diagnostic, FileId, Span};

/// Deepest nesting. OpenNebula keeps two levels, and a template adds three.
const MAX_DEPTH: usize = 64;

/// What all trees of one load may cost in memory, in bytes, aliases counted as often as they are
/// used.
pub(crate) const BUDGET: usize = 96 << 20;

/// What a node costs besides its text.
const NODE_COST: usize = 128;

/// Most tabs behind a `:` that are read as blanks, each in a run of its own.
const MAX_TABS: usize = 200;

/// What came of a text.
#[derive(Debug)]
pub(crate) enum Composed {
    /// A tree. It may be damaged if an error was reported.
    Tree(Node),
    /// No data, only comments or nothing at all.
    Empty,
    /// The text is not YAML, or beyond a limit; an error was reported.
    Failed,
}

/// Reads the first document of a text. What it costs is taken from `budget`, which begins as
/// [`BUDGET`].
pub(crate) fn compose(
    file: FileId,
    text: &str,
    budget: &mut usize,
    diagnostics: &mut Vec<Diagnostic>,
) -> Composed {
    let mut text = Cow::Borrowed(text);
    let mut left = MAX_TABS;
    let first = loop {
        let stop = match Composer::new(file, &text, HashSet::new(), *budget).run() {
            Ok(done) => return finish(done, budget, diagnostics),
            Err(stop) => stop,
        };
        let Some(spaced) = without_tab(&stop, &text).filter(|_| left > 0) else { break stop };
        text = Cow::Owned(spaced);
        left -= 1;
    };
    let text = text.as_ref();
    // An alias of nothing is most likely a placeholder; quote them all and go on.
    let (stop, text) = match without_placeholders(file, text, *budget) {
        Some((Ok(done), _)) if !done.placeholders.is_empty() => {
            return finish(done, budget, diagnostics);
        }
        Some((Err(second), patched)) if !second.diagnostics.is_empty() => (second, patched),
        _ => (first, text.to_owned()),
    };
    diagnostics.extend(stop.diagnostics);
    match stop.cause {
        Cause::Syntax(error) => {
            let why = explain(&error, &text);
            let span = Span { file, line: why.line, column: why.column, length: 1 };
            let mut diagnostic = Diagnostic::error("yaml-syntax", span, why.message);
            diagnostic.help = why.help;
            diagnostics.push(diagnostic);
        }
        Cause::Limit(diagnostic) => diagnostics.push(diagnostic),
    }
    Composed::Failed
}

/// The text with blanks for the tab behind a `:` at which the parser stopped. YAML has it as white space
/// there (1.2.2, 6.2), and so had the old tool.
fn without_tab(stop: &Stop, text: &str) -> Option<String> {
    let Cause::Syntax(error) = &stop.cause else { return None };
    error.info().starts_with("':' must be followed by").then_some(())?;
    let (line, column) = (error.marker().line(), error.marker().col());
    let lines = text.split_inclusive('\n');
    let start: usize = lines.clone().take(line.checked_sub(1)?).map(str::len).sum();
    let before: usize = text.get(start..)?.chars().take(column).map(char::len_utf8).sum();
    let (head, tail) = text.split_at_checked(start + before)?;
    let kept = head.trim_end_matches([' ', '\t']);
    let blanks = " ".repeat(head.len() - kept.len());
    (kept.len() < head.len()).then(|| format!("{kept}{blanks}{tail}"))
}

type Run = Result<Done, Box<Stop>>;

/// Reads the text with its placeholders quoted; `None` if there are none.
fn without_placeholders(file: FileId, text: &str, budget: usize) -> Option<(Run, String)> {
    let patched = patch(text, None)?;
    let first = Composer::new(file, &patched.text, patched.places.clone(), budget).run();
    // What looks like one within a longer text is none, and that text must stay what it is.
    let hits = match &first {
        Ok(done) => &done.placeholders,
        Err(stop) => &stop.placeholders,
    };
    if hits.len() == patched.places.len() || hits.is_empty() {
        return Some((first, patched.text));
    }
    let patched = patch(text, Some(hits))?;
    let run = Composer::new(file, &patched.text, patched.places, budget).run();
    Some((run, patched.text))
}

fn finish(done: Done, budget: &mut usize, diagnostics: &mut Vec<Diagnostic>) -> Composed {
    *budget = budget.saturating_sub(done.cost);
    diagnostics.extend(done.diagnostics);
    match done.root {
        Some(root) if !root.is_null() => Composed::Tree(root),
        _ => Composed::Empty,
    }
}

struct Done {
    root: Option<Node>,
    cost: usize,
    placeholders: HashSet<(usize, usize)>,
    diagnostics: Vec<Diagnostic>,
}

struct Stop {
    cause: Cause,
    placeholders: HashSet<(usize, usize)>,
    diagnostics: Vec<Diagnostic>,
}

enum Cause {
    Syntax(ScanError),
    Limit(Diagnostic),
}

struct Composer<'t> {
    file: FileId,
    parser: Parser<'t, StrInput<'t>>,
    /// Where a placeholder was quoted, if it is one.
    patched: HashSet<(usize, usize)>,
    /// Where one was found.
    placeholders: HashSet<(usize, usize)>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, usize)>,
    cost: usize,
    budget: usize,
    root: Option<Node>,
    documents: usize,
    diagnostics: Vec<Diagnostic>,
}

/// A list or map that is not complete yet.
struct Frame {
    span: Span,
    anchor: usize,
    /// `cost` when it was begun; what was added since is its own size.
    cost_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, usize>, key: Option<Node>, merges: Vec<Merge> },
}

impl<'t> Composer<'t> {
    fn new(file: FileId, text: &'t str, patched: HashSet<(usize, usize)>, budget: usize) -> Self {
        Self {
            file,
            parser: Parser::new_from_str(text),
            patched,
            placeholders: HashSet::new(),
            stack: Vec::new(),
            anchors: HashMap::new(),
            cost: 0,
            budget,
            root: None,
            documents: 0,
            diagnostics: Vec::new(),
        }
    }

    fn run(mut self) -> Run {
        while let Some(event) = self.parser.next_event() {
            let step = match event {
                Ok((event, span)) => self.event(event, span),
                Err(error) => Err(Cause::Syntax(error)),
            };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(cause) => {
                    let Self { placeholders, diagnostics, .. } = self;
                    return Err(Box::new(Stop { cause, placeholders, diagnostics }));
                }
            }
        }
        let Self { root, cost, placeholders, diagnostics, .. } = self;
        Ok(Done { root, cost, placeholders, diagnostics })
    }

    /// Takes an event; false if nothing that follows matters.
    fn event(&mut self, event: Event<'t>, raw: RawSpan) -> Result<bool, Cause> {
        let span = self.span(raw);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                self.anchors.clear();
            }
            Event::Alias(anchor) => self.alias(anchor, span)?,
            Event::Scalar(text, style, anchor, tag) => {
                let at = (raw.start.line(), raw.start.col());
                let scalar = Scalar {
                    text: text.into_owned(),
                    style: match style {
                        ScalarStyle::Plain => Style::Plain,
                        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                        ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    },
                    tag: tag.map(|tag| write_tag(&tag)),
                    secret: false,
                };
                if self.second_document(span, !scalar.is_null()) {
                    return Ok(false);
                }
                self.check_placeholder(&scalar, span, at);
                let cost = NODE_COST + scalar.text.len();
                self.spend(cost, span)?;
                let node = Node { span, kind: Kind::Scalar(scalar) };
                self.complete(node, anchor, cost)?;
            }
            Event::SequenceStart(anchor, _) => {
                if self.second_document(span, true) {
                    return Ok(false);
                }
                self.open(Content::List(Vec::new()), anchor, span)?;
            }
            Event::MappingStart(anchor, _) => {
                if self.second_document(span, true) {
                    return Ok(false);
                }
                let (entries, merges) = (Vec::new(), Vec::new());
                let content = Content::Map { entries, seen: HashMap::new(), key: None, merges };
                self.open(content, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(true)
    }

    fn span(&self, raw: RawSpan) -> Span {
        let one_line = raw.start.line() == raw.end.line();
        let length = if one_line { raw.len().max(1) } else { 1 };
        Span {
            file: self.file,
            line: clamp(raw.start.line()),
            column: clamp(raw.start.col() + 1),
            length: clamp(length),
        }
    }

    /// Reports data in a document after the first; true if that is so.
    fn second_document(&mut self, span: Span, data: bool) -> bool {
        let second = self.documents > 1 && self.stack.is_empty() && data;
        if second {
            self.diagnostics.push(
                Diagnostic::error(
                    "second-document",
                    span,
                    "a template is one YAML document, and a second one begins here",
                )
                .help("remove the line '---' above, or move this part into a file of its own"),
            );
        }
        second
    }

    fn check_placeholder(&mut self, scalar: &Scalar, span: Span, at: (usize, usize)) {
        if self.patched.contains(&at) && scalar.style == Style::Quoted {
            self.placeholders.insert(at);
            self.diagnostics.push(
                Diagnostic::error("placeholder", span, "this is a placeholder")
                    .help("put your own value here, in quotes if it begins with '*'"),
            );
        } else if scalar.style != Style::Block && is_placeholder(&scalar.text) {
            self.diagnostics.push(
                Diagnostic::warning("placeholder", span, "this still looks like a placeholder")
                    .help("put your own value here"),
            );
        }
    }

    fn spend(&mut self, cost: usize, span: Span) -> Result<(), Cause> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost <= self.budget {
            return Ok(());
        }
        Err(Cause::Limit(
            Diagnostic::error("too-large", span, "the template is too large from here on").help(
                "aliases ('*name') count with all that they stand for; \
                 write fewer of them or split the template",
            ),
        ))
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Cause> {
        let Some((node, cost)) = self.anchors.get(&anchor) else {
            return Err(Cause::Limit(Diagnostic::error(
                "alias-cycle",
                span,
                "this alias stands within what it stands for",
            )));
        };
        let cost = *cost;
        let copy = node.clone();
        self.spend(cost, span)?;
        self.complete(copy, 0, cost)
    }

    fn open(&mut self, content: Content, anchor: usize, span: Span) -> Result<(), Cause> {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Cause::Limit(Diagnostic::error("too-deep", span, message)));
        }
        let cost_before = self.cost;
        self.spend(NODE_COST, span)?;
        self.stack.push(Frame { span, anchor, cost_before, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Cause> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let kind = match frame.content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, seen, merges, .. } => {
                Kind::Map(self.merge_keys(entries, seen, merges))
            }
        };
        let span = match &kind {
            // A block of keys is best shown by its first key.
            Kind::Map(entries) => entries
                .first()
                .map(|entry| entry.key_span)
                .filter(|key| (key.line, key.column) == (frame.span.line, frame.span.column))
                .unwrap_or(frame.span),
            _ => frame.span,
        };
        let cost = self.cost - frame.cost_before;
        self.complete(Node { span, kind }, frame.anchor, cost)
    }

    /// Puts a finished node where it belongs.
    fn complete(&mut self, node: Node, anchor: usize, cost: usize) -> Result<(), Cause> {
        if anchor != 0 {
            self.spend(cost, node.span)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root.get_or_insert(node);
            return Ok(());
        };
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, seen, key: pending, merges } => match pending.take() {
                None => *pending = Some(node),
                Some(key) => add_entry(key, node, entries, seen, merges, &mut self.diagnostics),
            },
        }
        Ok(())
    }

    /// Adds what `<<` brings, where the map itself does not say it.
    fn merge_keys(
        &mut self,
        mut entries: Vec<Entry>,
        mut seen: HashMap<String, usize>,
        merges: Vec<Merge>,
    ) -> Vec<Entry> {
        for Merge { node, at } in merges {
            let span = node.span;
            let maps = match node.kind {
                Kind::List(items) => items,
                kind => vec![Node { span, kind }],
            };
            for map in maps {
                let Kind::Map(inherited) = map.kind else {
                    self.diagnostics.push(
                        Diagnostic::error("merge-key", map.span, "'<<' takes a group of keys")
                            .help("such as '<<: *name', where '&name' stands before such a group"),
                    );
                    continue;
                };
                for entry in inherited {
                    match seen.get(entry.name()).map(|index| (*index, entries.get(*index))) {
                        Some((index, Some(own))) if index < at => {
                            let name = shorten(entry.name());
                            let message = format!(
                                "'{name}' stays as it is; the old tool took that of '<<' behind it"
                            );
                            self.diagnostics.push(
                                Diagnostic::warning("merge-key", own.key_span, message)
                                    .help("put '<<' first; what is given beside it counts"),
                            );
                        }
                        Some(_) => {}
                        None => {
                            seen.insert(entry.name().to_owned(), entries.len());
                            entries.push(entry);
                        }
                    }
                }
            }
        }
        entries
    }
}

/// What stands behind `<<`.
struct Merge {
    node: Node,
    /// The number of keys before it.
    at: usize,
}

fn add_entry(
    key: Node,
    value: Node,
    entries: &mut Vec<Entry>,
    seen: &mut HashMap<String, usize>,
    merges: &mut Vec<Merge>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let key_span = key.span;
    let Kind::Scalar(key) = key.kind else {
        let message = "a key must be a single name";
        diagnostics.push(
            Diagnostic::error("bad-key", key_span, message)
                .help("a value that begins with '{' or '[' must be in quotes if it is a text"),
        );
        return;
    };
    if key.text.is_empty() {
        diagnostics.push(Diagnostic::error("bad-key", key_span, "there is no key before ':'"));
        return;
    }
    if key.text == "<<" && key.style == Style::Plain {
        merges.push(Merge { node: value, at: entries.len() });
        return;
    }
    let first = seen.get(&key.text).and_then(|index| entries.get(*index));
    if let Some(first) = first {
        let message = format!("the key '{}' is given twice", shorten(&key.text));
        let mut diagnostic = Diagnostic::error("duplicate-key", key_span, message)
            .related(first.key_span, "it is first given here");
        // The usual reason: lines that should be indented below the empty key above them.
        if let Some(above) = entries.last().filter(|entry| entry.value.is_null()) {
            let help = format!(
                "if it belongs to '{}' in line {}, indent it below that",
                shorten(above.name()),
                above.key_span.line
            );
            diagnostic = diagnostic.help(help);
        }
        diagnostics.push(diagnostic);
        return;
    }
    seen.insert(key.text.clone(), entries.len());
    entries.push(Entry { key, key_span, value });
}

/// A key as it is shown in a message.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String =
        text.chars().take(LONGEST).map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn write_tag(tag: &Tag) -> String {
    match tag.handle.as_str() {
        "tag:yaml.org,2002:" => format!("!!{}", tag.suffix),
        "!" | "" => format!("!{}", tag.suffix),
        handle => format!("!<{handle}{}>", tag.suffix),
    }
}
