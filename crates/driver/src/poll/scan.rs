//! The scanner of poll's pairs and vectors.

use model::{Attributes, Secret, Value};

use super::MAX_PAIRS;

/// All pairs and vectors of a text. Linear in its length.
pub(super) fn attributes(text: &str) -> Attributes {
    let mut scanner = Scanner::new(text, 0);
    let mut found = Found::default();
    while let Some((key, value)) = scanner.pair(true) {
        match value {
            Value::Vector(_) => found.push(key, value),
            value => found.set(key, value),
        }
    }
    found.pairs.into_iter().flatten().collect()
}

/// Pairs in order, with an index so that a repeated scalar finds its earlier value at once.
#[derive(Default)]
struct Found {
    pairs: Vec<Option<(String, Value)>>,
    scalars: std::collections::HashMap<String, usize>,
}

impl Found {
    fn push(&mut self, key: String, value: Value) {
        self.pairs.push(Some((key, value)));
    }

    fn set(&mut self, key: String, value: Value) {
        let next = self.pairs.len();
        let index = *self.scalars.entry(key.clone()).or_insert(next);
        match self.pairs.get_mut(index) {
            Some(slot) => *slot = Some((key, value)),
            None => self.push(key, value),
        }
    }
}

struct Scanner<'a> {
    text: &'a str,
    /// Byte offset, always at a character's start.
    at: usize,
    /// End of the line that `at` is in, as of the last look: looking for it again for every token
    /// would be quadratic.
    line_end: Option<usize>,
    pairs: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str, pairs: usize) -> Self {
        Self { text, at: 0, line_end: None, pairs }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, matches: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(matches).len();
    }

    /// Takes the longest prefix of such characters.
    fn take(&mut self, matches: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !matches(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// The rest of the current line.
    fn line(&mut self) -> &'a str {
        let end = match self.line_end {
            Some(end) if end >= self.at => end,
            _ => {
                let rest = self.rest();
                self.at + rest.find(['\n', '\r']).unwrap_or(rest.len())
            }
        };
        self.line_end = Some(end);
        self.text.get(self.at..end).unwrap_or_default()
    }

    /// The next pair; what is none is passed over. `None` at the end.
    fn pair(&mut self, outer: bool) -> Option<(String, Value)> {
        while self.pairs < MAX_PAIRS {
            self.skip(|c| c.is_whitespace() || (!outer && c == ','));
            if self.rest().is_empty() {
                return None;
            }
            let key = self.take(is_key_char);
            if key.is_empty() {
                // A token of something else: its first character, then as far as a separator.
                self.take(|c| c == '=' || c == '[' || c == ']' || c == ',');
                self.take(|c| !is_key_char(c) && !c.is_whitespace() && c != ',');
                continue;
            }
            let blank_before = self.rest().starts_with(is_blank);
            let line = self.line();
            if !line.trim_start_matches(is_blank).starts_with('=') {
                continue;
            }
            self.skip(is_blank);
            self.at += 1;
            self.pairs += 1;
            let value = self.value(blank_before, outer);
            let key = key.to_ascii_uppercase();
            return Some(match value {
                Value::Text(text) => {
                    let text = unescape(&key, text);
                    (key, Value::Text(text))
                }
                value => (key, value),
            });
        }
        None
    }

    /// The value after a `=`.
    fn value(&mut self, blank_before: bool, outer: bool) -> Value {
        let blank_after = self.rest().starts_with(is_blank);
        self.skip(is_blank);
        let line = self.line();
        if outer && line.starts_with('[') && !is_bracketed_address(line) {
            return self.vector();
        }
        if let Some(inside) = line.strip_prefix("\\\"") {
            self.at += 2;
            let (value, taken) = backslash_quoted(inside);
            self.at += taken;
            return Value::Text(value.to_owned());
        }
        if let Some(inside) = line.strip_prefix('"') {
            self.at += 1;
            let (value, taken) = quoted(inside);
            self.at += taken;
            return Value::Text(value);
        }
        // `A= B=1`: A has no value. `A = B` has one.
        if blank_after && !blank_before && begins_pair(line) {
            return Value::Text(String::new());
        }
        let word = if outer {
            self.take(|c| !c.is_whitespace())
        } else {
            self.take(|c| !c.is_whitespace() && c != ',')
        };
        Value::Text(word.to_owned())
    }

    /// `[ A=1, B="x y" ]`, the bracket still ahead. It may run over several lines if it is closed
    /// before another one opens; else it ends with its line.
    fn vector(&mut self) -> Value {
        self.at += 1;
        let rest = self.rest();
        let line = self.line();
        let (body, taken) = match closing_bracket(line) {
            Some(end) => (line.get(..end), end + 1),
            None => match rest.get(line.len()..).and_then(|more| more.find(['[', ']'])) {
                Some(more) if rest.as_bytes().get(line.len() + more) == Some(&b']') => {
                    let end = line.len() + more;
                    (rest.get(..end), end + 1)
                }
                _ => (Some(line), line.len()),
            },
        };
        self.at += taken;
        let mut inner = Scanner::new(body.unwrap_or_default(), self.pairs);
        let mut attributes = Attributes::new();
        while let Some((key, value)) = inner.pair(false) {
            attributes.push(key, value);
        }
        self.pairs = inner.pairs;
        Value::Vector(attributes)
    }
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

/// Whether what begins with a bracket is an address of IPv6, as URLs have it.
fn is_bracketed_address(text: &str) -> bool {
    // No longer than the longest one, so that many of them cost no more than one.
    let inside: String = text.chars().skip(1).take(46).take_while(|c| *c != ']').collect();
    inside.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Whether a text begins with `KEY=` or `KEY =`.
fn begins_pair(text: &str) -> bool {
    let after = text.trim_start_matches(is_key_char);
    after.len() < text.len() && after.trim_start_matches(is_blank).starts_with('=')
}

/// Offset of the `]` that closes a vector within its line; brackets in quotes do not count.
fn closing_bracket(line: &str) -> Option<usize> {
    let mut in_quotes = false;
    let mut escaped = false;
    for (index, c) in line.char_indices() {
        match c {
            '"' if !escaped => in_quotes = !in_quotes,
            ']' if !in_quotes => return Some(index),
            _ => {}
        }
        escaped = c == '\\';
    }
    // An unterminated quote inside: the last bracket of the line, if any.
    line.rfind(']')
}

/// A value after `"`, and how many bytes of the line it takes with its closing quote.
///
/// Without a closing quote the value ends before the next `KEY=`, else with the line.
fn quoted(inside: &str) -> (String, usize) {
    let mut value = String::new();
    let mut chars = inside.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                value.push('"');
            }
            '"' if opens_another(inside, index) => break,
            '"' => return (value, index + 1),
            c => value.push(c),
        }
    }
    let end = next_pair(inside).unwrap_or(inside.len());
    let value = inside.get(..end).unwrap_or_default().trim().replace("\\\"", "\"");
    (value, end)
}

/// A value after `\"`, up to the next `\"`, blank, or end of line.
fn backslash_quoted(inside: &str) -> (&str, usize) {
    // The closing mark is looked for first: it is near, the next pair may be far.
    let close = inside.find("\\\"");
    let within = inside.get(..close.unwrap_or(inside.len())).unwrap_or_default();
    match (next_pair(within), close) {
        (None, Some(end)) => (within, end + 2),
        _ => {
            let end = within.find(is_blank).unwrap_or(within.len());
            (within.get(..end).unwrap_or_default().trim_end_matches('"'), end)
        }
    }
}

/// Whether the quote at `index` opens the value of a further pair: ` KEY="x`.
fn opens_another(inside: &str, index: usize) -> bool {
    let before = inside.get(..index).unwrap_or_default();
    let after = inside.get(index + 1..).unwrap_or_default();
    let Some(before) = before.trim_end_matches(is_blank).strip_suffix('=') else { return false };
    let before = before.trim_end_matches(is_blank);
    let head = before.trim_end_matches(is_key_char);
    head.len() < before.len()
        && (head.is_empty() || head.ends_with(is_blank))
        && !after.is_empty()
        && !after.starts_with(|c| is_blank(c) || matches!(c, ',' | ']'))
}

/// Offset of the blank before the next `KEY=` of a line.
fn next_pair(line: &str) -> Option<usize> {
    line.char_indices().filter(|(_, c)| is_blank(*c)).map(|(index, _)| index).find(|index| {
        let word = line.get(index + 1..).unwrap_or_default();
        let key = word.get(..word.find(['=', ' ', '\t']).unwrap_or(word.len()));
        key.is_some_and(|key| !key.is_empty() && key.len() <= 128 && key.chars().all(is_key_char))
            && begins_pair(word)
    })
}

/// Takes the escapes of `AWS_…` values away: `%41`, and `+` for a blank. A value that is not
/// escaped well, or that would gain control characters, stays as it is.
fn unescape(key: &str, text: String) -> String {
    if !key.starts_with("AWS_") || !text.contains(['%', '+']) {
        return text;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => break,
            [b'%', high, low, tail @ ..] => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                match (digit(*high), digit(*low)) {
                    (Some(high), Some(low)) => {
                        bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                        tail
                    }
                    _ => return text,
                }
            }
            [b'+', tail @ ..] => {
                bytes.push(b' ');
                tail
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
    match String::from_utf8(bytes) {
        Ok(plain) if !plain.chars().any(|c| c.is_control() && c != '\n' && c != '\t') => plain,
        _ => text,
    }
}

/// One pair as text; `None` for a withheld value, or a key or nesting that the format does not have.
pub(super) fn write_pair(
    key: &str,
    value: &Value,
    reveal: impl Fn(&Secret) -> String + Copy,
    outer: bool,
) -> Option<String> {
    if key.is_empty() || !key.chars().all(is_key_char) {
        return None;
    }
    match value {
        Value::Withheld => None,
        Value::Vector(_) if !outer => None,
        Value::Vector(inner) => {
            let pairs: Vec<String> =
                inner.iter().filter_map(|(k, v)| write_pair(k, v, reveal, false)).collect();
            Some(format!("{key}=[ {} ]", pairs.join(", ")))
        }
        Value::Text(text) => Some(format!("{key}={}", write_value(key, text))),
        Value::Secret(secret) => Some(format!("{key}={}", write_value(key, &reveal(secret)))),
    }
}

fn write_value(key: &str, text: &str) -> String {
    // What `unescape` would take for an escape has to be one.
    let escaped = if key.starts_with("AWS_") {
        text.replace('%', "%25").replace('+', "%2B")
    } else {
        text.to_owned()
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '/' | '_' | '-');
    if !escaped.is_empty() && escaped.chars().all(plain) {
        return escaped;
    }
    let mut quoted = String::from("\"");
    for c in escaped.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    // A backslash before the closing quote would be taken for its escape.
    if quoted.ends_with('\\') {
        quoted.push(' ');
    }
    quoted.push('"');
    quoted
}
