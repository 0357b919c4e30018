//! What a driver says when it fails.
//!
//! The drivers of OpenNebula write a block to standard error (`scripts_common`, 5.8 to 7.4):
//!
//! ```text
//! ERROR MESSAGE --8<------
//! Deploy of host node-1 failed due to "quota exceeded"
//! ERROR MESSAGE ------>8--
//! ```
//!
//! Other drivers print plain text, on either stream, or nothing, or something that is no text at
//! all. [`message`] makes one useful text of each: bounded, printable, first line first.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The line before the text.
pub const OPENING: &str = "ERROR MESSAGE --8<------";
/// The line after the text.
pub const CLOSING: &str = "ERROR MESSAGE ------>8--";
/// Most bytes of a message.
pub const MAX_MESSAGE: usize = 8 << 10;
/// How much of a longer message's end is kept.
const MAX_TAIL: usize = 2 << 10;
/// How much of each stream is looked at, from either end.
const MAX_LOOK: usize = 128 << 10;

/// Whether standard error has an error block with its closing line: the driver's own, deliberate
/// word that it failed.
pub fn has_block(stderr: &[u8]) -> bool {
    let window = window(stderr);
    let text = String::from_utf8_lossy(&window).into_owned();
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| line == OPENING) && lines.any(|line| line == CLOSING)
}

/// One message from what a driver wrote and how it ended (`how`, for example `exit status 1`); never
/// empty, at most about [`MAX_MESSAGE`] bytes, without control characters except line feeds.
///
/// In this order: the error blocks on standard error (several are joined; one that is not closed
/// ends with the stream; an empty one counts as none), the plain text of standard error, that of
/// standard output, and else a sentence that says that there was nothing.
pub fn message(stdout: &[u8], stderr: &[u8], how: &str) -> String {
    let (out, err) = (window(stdout), window(stderr));
    let blocks = blocks(&String::from_utf8_lossy(&err));
    if !blocks.is_empty() {
        return shorten(&blocks);
    }
    for stream in [&err, &out] {
        if is_text(stream) {
            let text = printable(&without_markers(&String::from_utf8_lossy(stream)));
            if !text.is_empty() {
                return shorten(&text);
            }
        }
    }
    let bytes = stdout.len().saturating_add(stderr.len());
    if is_text(&err) && is_text(&out) {
        format!("the driver gave no reason; it ended with {how}")
    } else {
        format!("the driver wrote {bytes} bytes that are not text; it ended with {how}")
    }
}

/// A text as an error block, ready for standard error. Lines that look like a marker are quoted.
pub fn block(text: &str) -> String {
    let mut out = format!("{OPENING}\n");
    for line in text.trim().lines() {
        let marker = matches!(line.trim(), OPENING | CLOSING);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}{line}", if marker { "> " } else { "" });
    }
    let _ = writeln!(out, "{CLOSING}");
    out
}

/// Makes a foreign text harmless and tidy: escape sequences of terminals, control characters,
/// characters that turn or hide text are taken away, line ends become line feeds, blank lines at
/// either end and blanks at line ends go.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1B}' => skip_escape(&mut chars),
            // The one-character form of ESC [.
            '\u{9B}' => skip_sequence(&mut chars),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\u{B}' | '\u{C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\n' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() || is_hidden(c) => {}
            c => out.push(c),
        }
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').trim_end().to_owned()
}

/// After ESC: a control sequence (`[…m`), a string (`]…BEL`, `]…ESC \`), or a single character.
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_sequence(chars);
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            chars.next();
            // A string that is not closed must not swallow the rest: it ends with the line.
            while let Some(c) = chars.next_if(|c| *c != '\n') {
                if c == '\u{7}' {
                    break;
                }
                if c == '\u{1B}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        Some('(' | ')' | '#' | '%') => {
            chars.next();
            chars.next_if(|c| c.is_ascii_alphanumeric());
        }
        Some(c) if c.is_ascii_graphic() => {
            chars.next();
        }
        _ => {}
    }
}

/// The rest of a control sequence: parameters, then one final character (ECMA-48, 5.4).
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// Characters without width, and those that change the direction of text.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// A stream, or both ends of one that is too long to look at whole.
fn window(stream: &[u8]) -> Cow<'_, [u8]> {
    let half = MAX_LOOK / 2;
    match (stream.get(..half), stream.get(stream.len().saturating_sub(half)..)) {
        (Some(head), Some(tail)) if stream.len() > MAX_LOOK => {
            Cow::Owned([head, b"\n", tail].concat())
        }
        _ => Cow::Borrowed(stream),
    }
}

/// Whether bytes are meant as text: few that are not UTF-8, few control characters.
fn is_text(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (mut all, mut bad) = (0_usize, 0_usize);
    for c in text.chars() {
        all += 1;
        let control = c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1B}' | '\u{8}');
        bad += usize::from(control || c == char::REPLACEMENT_CHARACTER);
    }
    bad * 10 <= all
}

fn blocks(text: &str) -> String {
    let mut found: Vec<String> = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line.trim() == OPENING) {
        let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != CLOSING).collect();
        let body = printable(&body.join("\n"));
        if !body.is_empty() && !found.contains(&body) {
            found.push(body);
        }
        if found.len() >= 16 {
            break;
        }
    }
    found.join("\n")
}

fn without_markers(text: &str) -> String {
    let kept: Vec<&str> =
        text.lines().filter(|line| !matches!(line.trim(), OPENING | CLOSING)).collect();
    kept.join("\n")
}

/// Keeps the beginning and the end of a text that is too long.
fn shorten(text: &str) -> String {
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let head = floor(text, MAX_MESSAGE - MAX_TAIL);
    let mut tail = text.len() - MAX_TAIL;
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let (first, last) =
        (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default());
    format!("{first}\n… ({} bytes left out) …\n{last}", tail - head)
}

fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
#[path = "error_block_tests.rs"]
mod tests;
