//! Findings as people read them.
//!
//! ```text
//! cluster.yaml:7:5: error[unknown-key]: unknown key 'hostss'
//!    7 |     hostss: 3
//!      |     ^^^^^^
//! help: did you mean 'hosts'?
//! ```

use std::fmt::Write as _;

use crate::diagnostic::{Diagnostic, Span};
use crate::source::{LONG_LINE, Sources};

/// Longest part of a source line that is shown, in characters.
const MAX_SHOWN: usize = 120;

/// What stands before the place if a line is cut at its beginning.
const LEAD: usize = 40;

/// Writes a finding with its place, the line, a mark under it, further places and help.
///
/// The first line is `FILE:LINE:COLUMN: error[CODE]: message`, without line and column if the file as a
/// whole is meant. Values of secrets in the shown lines are masked, control characters replaced.
/// The text ends with a line break.
pub fn render(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let mut out = String::new();
    let span = diagnostic.span;
    let (severity, code) = (diagnostic.severity.as_str(), diagnostic.code);
    let message = clean(&diagnostic.message);
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}: {severity}[{code}]: {message}", place(span, sources));
    excerpt(span, sources, &mut out);
    for related in &diagnostic.related {
        let message = clean(&related.message);
        let _ = writeln!(out, "{}: note: {message}", place(related.span, sources));
        excerpt(related.span, sources, &mut out);
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "help: {}", clean(help));
    }
    out
}

/// `FILE:LINE:COLUMN`.
fn place(span: Span, sources: &Sources) -> String {
    let file = clean(&sources.path(span.file).to_string_lossy());
    match span.line {
        0 => file,
        line => format!("{file}:{line}:{}", span.column),
    }
}

fn excerpt(span: Span, sources: &Sources, out: &mut String) {
    if span.line == 0 {
        return;
    }
    let text = sources.line(span.file, span.line);
    if text.len() > LONG_LINE {
        return;
    }
    let hidden = sources.hidden_from(span.file, span.line);
    let mut line: Vec<char> = text.chars().collect();
    if let Some(column) = hidden {
        line.truncate(column);
        line.extend("*****".chars());
    }
    let column = (span.column as usize).saturating_sub(1).min(line.len());
    let length = (span.length as usize).clamp(1, line.len().saturating_sub(column).max(1));
    let start = if column + length > MAX_SHOWN { column.saturating_sub(LEAD) } else { 0 };
    let shown: String = line.iter().skip(start).take(MAX_SHOWN).map(|c| visible(*c)).collect();
    let (before, after) =
        (if start > 0 { "…" } else { "" }, if line.len() > start + MAX_SHOWN { "…" } else { "" });
    let number = span.line.to_string();
    let margin = " ".repeat(number.len().max(4));
    let lead = " ".repeat(column - start + before.chars().count());
    let mark = "^".repeat(length.min(MAX_SHOWN - (column - start).min(MAX_SHOWN - 1)));
    let _ = writeln!(out, "{number:>4} | {before}{shown}{after}");
    let _ = writeln!(out, "{margin} | {lead}{mark}");
}

/// A character that does nothing to a terminal and is one column wide, so that marks stay in place.
fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() || is_direction(c) => '\u{FFFD}',
        c => c,
    }
}

/// Marks that turn the direction of writing, which can make a line look like another.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A message in one line, harmless to a terminal.
fn clean(text: &str) -> String {
    text.chars().map(visible).collect()
}
