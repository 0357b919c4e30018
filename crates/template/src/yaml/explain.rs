//! The parser's errors in words for people.

use saphyr_parser::ScanError;

use super::decode::clamp;

/// A syntax error at its place.
pub(crate) struct Explained {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// Line and column in characters, from 1.
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Parts of the parser's texts, and what to say of them.
const HELPS: [(&str, &str); 13] = [
    (
        "mapping values are not allowed",
        "there is a second ': ' in this line, or it is indented too far; put a text that holds ': ' in quotes",
    ),
    (
        "did not find expected '-' indicator",
        "this line is indented like the list above it, but does not begin with '- '",
    ),
    ("did not find expected key", "this line is not indented like the lines that it belongs to"),
    (
        "did not find expected <document start>",
        "this line is indented less than the first line of the file, or something stands before it",
    ),
    ("':' must be followed by", "a tab stands behind this ':'; put a blank there"),
    ("unexpected character", "put the value in quotes"),
    (
        "unknown anchor",
        "a value that begins with '*' is a reference to an anchor ('&name') in this file; put it in quotes if it is a text",
    ),
    ("unexpected end of stream", "the quote that is opened here is not closed"),
    (
        "invalid indentation in quoted scalar",
        "the quote that is opened here is not closed in this line; if it is to go on in the next one, indent that",
    ),
    ("simple key expect", "the line above has no ':' behind its key"),
    (
        "unknown escape character",
        "a backslash within double quotes must be doubled, or use single quotes",
    ),
    ("flow mapping", "a '{' is not closed, or a ',' is missing"),
    ("flow sequence", "a '[' is not closed, or a ',' is missing"),
];

/// Puts a parser's error into words. `text` is what was parsed.
pub(crate) fn explain(error: &ScanError, text: &str) -> Explained {
    let marker = error.marker();
    if let Some((line, column)) = tab_near(text, marker.line()) {
        return Explained {
            message: "a tab is used for indentation, which YAML does not allow".into(),
            help: Some("indent with spaces".into()),
            line,
            column,
        };
    }
    let info = error.info();
    let help = HELPS.iter().find(|(part, _)| info.contains(part)).map(|(_, help)| *help);
    let (line, column) = within(text, marker.line(), marker.col() + 1);
    Explained {
        message: format!("this is not valid YAML: {info}"),
        help: help.map(str::to_owned),
        line,
        column,
    }
}

/// The first tab in the indentation of the line of an error or of its neighbours.
fn tab_near(text: &str, line: usize) -> Option<(u32, u32)> {
    let first = line.saturating_sub(1).max(1);
    text.split('\n').enumerate().skip(first - 1).take(line + 2 - first).find_map(|(index, line)| {
        let indent = line.chars().take_while(|c| matches!(c, ' ' | '\t'));
        let column = indent.clone().position(|c| c == '\t')?;
        let content = line.trim();
        (!content.is_empty() && !content.starts_with('#'))
            .then(|| (clamp(index + 1), clamp(column + 1)))
    })
}

/// The place, or the end of the text if it lies behind that.
fn within(text: &str, line: usize, column: usize) -> (u32, u32) {
    let lines = text.trim_end().split('\n').count();
    if line <= lines {
        return (clamp(line), clamp(column));
    }
    let last = text.trim_end().rsplit('\n').next().unwrap_or("");
    (clamp(lines), clamp(last.chars().count() + 1))
}
