//! Text to attributes.

use model::{Attributes, Value};
use thiserror::Error;

/// Why a text is not a template.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}, column {column}: {}", self.words())]
pub struct TextError {
    /// Line of the token that was not expected, from 1.
    pub line: usize,
    /// Column of it in characters, from 1.
    pub column: usize,
    found: Token,
    expected: &'static [Token],
    oned_line: usize,
    oned_columns: (usize, usize),
}

impl TextError {
    /// The same error in the words of `oned`, as they stand after `Parse error: ` in its answer:
    /// lines counted from 0, columns in bytes from the beginning of the text. `None` for a value
    /// with `]]>`, for which it has no words.
    pub fn oned_text(&self) -> Option<String> {
        if self.found == Token::Cdata {
            return None;
        }
        let expected: Vec<&str> = self.expected.iter().map(|token| token.oned_name()).collect();
        Some(format!(
            "syntax error, unexpected {}, expecting {} at line {}, columns {}:{}",
            self.found.oned_name(),
            expected.join(" or "),
            self.oned_line,
            self.oned_columns.0,
            self.oned_columns.1
        ))
    }

    fn words(&self) -> String {
        if self.found == Token::Cdata {
            return "a value may not have ]]> in it".to_owned();
        }
        let expected: Vec<&str> = self.expected.iter().map(|token| token.name()).collect();
        format!("found {}, expected {}", self.found.name(), expected.join(" or "))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Equal,
    Comma,
    Open,
    Close,
    EqualEmpty,
    Cdata,
    Text,
    Name,
}

impl Token {
    /// Name of the token in the grammar of `oned`, which its messages show.
    fn oned_name(self) -> &'static str {
        match self {
            Self::End => "$end",
            Self::Equal => "EQUAL",
            Self::Comma => "COMMA",
            Self::Open => "OBRACKET",
            Self::Close => "CBRACKET",
            Self::EqualEmpty => "EQUAL_EMPTY",
            Self::Cdata => "CCDATA",
            Self::Text => "STRING",
            Self::Name => "VARIABLE",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::End => "the end of the text",
            Self::Equal => "'='",
            Self::Comma => "','",
            Self::Open => "'['",
            Self::Close => "']'",
            Self::EqualEmpty => "'=' without a value",
            Self::Cdata => "']]>'",
            Self::Text => "a value",
            Self::Name => "a name",
        }
    }
}

/// Reads a template in the text form. The attributes keep the order of the text.
///
/// # Errors
/// [`TextError`] at the first token that cannot stand where it is.
pub fn parse(text: &str) -> Result<Attributes, TextError> {
    let mut lexer = Lexer::new(text);
    let mut all = Attributes::new();
    loop {
        // `oned`'s parser reduces before it looks for a name, so its message expects the end only.
        let name = match lexer.next() {
            (Token::End, _) => return Ok(all),
            (Token::Name, name) => name.to_ascii_uppercase(),
            (found, _) => return Err(lexer.unexpected(found, &[Token::End])),
        };
        match lexer.next() {
            (Token::Equal, _) => {}
            (Token::EqualEmpty, _) => {
                all.push(name, "");
                continue;
            }
            (found, _) => return Err(lexer.unexpected(found, &[Token::Equal, Token::EqualEmpty])),
        }
        match lexer.next() {
            (Token::Text, value) => all.push(name, unescape(value)),
            (Token::Open, _) => all.push(name, vector(&mut lexer)?),
            (found, _) => {
                return Err(lexer.unexpected(found, &[Token::Open, Token::Cdata, Token::Text]));
            }
        }
    }
}

fn vector(lexer: &mut Lexer<'_>) -> Result<Attributes, TextError> {
    let mut pairs: Vec<(String, Value)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut name = match lexer.next() {
        (Token::Close, _) => return Ok(Attributes::new()),
        (Token::Name, name) => name,
        (found, _) => return Err(lexer.unexpected(found, &[Token::Close, Token::Name])),
    };
    loop {
        match lexer.next() {
            (Token::Equal, _) => {}
            (found, _) => return Err(lexer.unexpected(found, &[Token::Equal])),
        }
        match lexer.next() {
            (Token::Text, value) => {
                let key = name.to_ascii_uppercase();
                if seen.insert(key.clone()) {
                    pairs.push((key, unescape(value).into()));
                }
            }
            (found, _) => return Err(lexer.unexpected(found, &[Token::Text])),
        }
        match lexer.next() {
            (Token::Close, _) => return Ok(pairs.into_iter().collect()),
            (Token::Comma, _) => {}
            (found, _) => return Err(lexer.unexpected(found, &[Token::Comma, Token::Close])),
        }
        name = match lexer.next() {
            (Token::Name, name) => name,
            (found, _) => return Err(lexer.unexpected(found, &[Token::Name])),
        };
    }
}

fn unescape(value: &str) -> String {
    value.replace("\\\"", "\"")
}

/// Cuts the text into tokens by the rules of `oned`: the longest match, else the earlier rule.
struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// The next token is a value.
    value: bool,
    /// Beginning and end of what was passed last, a token or something skipped.
    token: (usize, usize),
    /// Line breaks up to that end.
    lines: usize,
    /// The first `]]>` and the first line break at or after `at`, or the length of the text. Kept,
    /// since each value of a long line would search for them again.
    next_cdata: usize,
    next_break: usize,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str) -> Self {
        let first = |what| text.find(what).unwrap_or(text.len());
        let (next_cdata, next_break) = (first("]]>"), first("\n"));
        Self { text, at: 0, value: false, token: (0, 0), lines: 0, next_cdata, next_break }
    }

    fn find(&self, from: usize, what: &str) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        rest.find(what).map_or(self.text.len(), |at| from + at)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn skip(&self, from: usize, take: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        from + rest.iter().position(|b| !take(*b)).unwrap_or(rest.len())
    }

    /// Moves to `end`.
    fn advance(&mut self, end: usize) -> &'t str {
        let text = self.text;
        self.token = (self.at, end);
        let passed = text.get(self.at..end).unwrap_or_default();
        self.lines += passed.bytes().filter(|b| *b == b'\n').count();
        self.at = end;
        if self.next_cdata < end {
            self.next_cdata = self.find(end, "]]>");
        }
        if self.next_break < end {
            self.next_break = self.find(end, "\n");
        }
        passed
    }

    fn take(&mut self, token: Token, end: usize) -> (Token, &'t str) {
        (token, self.advance(end))
    }

    fn next(&mut self) -> (Token, &'t str) {
        while self.at < self.text.len() {
            let found = if self.value { self.value_token() } else { self.plain_token() };
            if let Some(found) = found {
                return found;
            }
        }
        (Token::End, "")
    }

    /// A token where no value is awaited; `None` if something was skipped.
    fn plain_token(&mut self) -> Option<(Token, &'t str)> {
        let blank_end = self.skip(self.at, is_blank);
        let space_end = self.skip(blank_end, is_space);
        match self.byte(blank_end) {
            Some(b'#') => {
                // `oned` wants a line break after a comment; the last line may do without here.
                self.advance((self.next_break + 1).min(self.text.len()));
                return None;
            }
            Some(b'=') => {
                let end = self.skip(blank_end + 1, is_blank);
                if self.byte(end) == Some(b'\n') {
                    return Some(self.take(Token::EqualEmpty, end + 1));
                }
                self.value = true;
                return Some(self.take(Token::Equal, end));
            }
            _ => {}
        }
        let token = match self.byte(space_end) {
            Some(b',') => Token::Comma,
            Some(b']') => Token::Close,
            _ => {
                if space_end > self.at {
                    self.advance(space_end);
                    return None;
                }
                let end = self.skip(self.at, |b| b.is_ascii_alphanumeric() || b == b'_');
                if end > self.at {
                    return Some(self.take(Token::Name, end));
                }
                self.skip_one();
                return None;
            }
        };
        let end = self.skip(space_end + 1, is_space);
        Some(self.take(token, end))
    }

    /// A token where a value is awaited; `None` if a character was skipped.
    fn value_token(&mut self) -> Option<(Token, &'t str)> {
        let open = self.skip(self.at, is_blank);
        let open = (self.byte(open) == Some(b'[')).then(|| self.skip(open + 1, is_space));
        let line_end = self.next_break;
        let cdata = (self.next_cdata < line_end).then_some(line_end);
        let quoted = self.quoted_end();
        let bare =
            self.skip(self.at, |b| !matches!(b, b'=' | b'#' | b',' | b'[' | b']') && !is_space(b));
        let bare = (bare > self.at).then_some(bare);

        let longest = [open, cdata, quoted, bare].into_iter().flatten().max();
        let Some(end) = longest else {
            self.skip_one();
            return None;
        };
        self.value = false;
        let longest = Some(end);
        Some(if open == longest {
            self.take(Token::Open, end)
        } else if cdata == longest {
            self.take(Token::Cdata, end)
        } else if quoted == longest {
            let (token, text) = self.take(Token::Text, end);
            (token, text.get(1..text.len().saturating_sub(1)).unwrap_or_default())
        } else {
            self.take(Token::Text, end)
        })
    }

    /// End of a text in quotes that begins here.
    fn quoted_end(&self) -> Option<usize> {
        if self.byte(self.at) != Some(b'"') {
            return None;
        }
        let mut last_escaped = None;
        let mut from = self.at + 1;
        loop {
            let quote = self.find(from, "\"");
            if quote == self.text.len() {
                return last_escaped;
            }
            if quote == self.at + 1 || self.byte(quote - 1) != Some(b'\\') {
                return Some(quote + 1);
            }
            last_escaped = Some(quote + 1);
            from = quote + 1;
        }
    }

    fn skip_one(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let width = rest.chars().next().map_or(1, char::len_utf8);
        self.advance(self.at + width);
    }

    fn unexpected(&self, found: Token, expected: &'static [Token]) -> TextError {
        let place = if found == Token::End { self.text.len() } else { self.token.0 };
        let before = self.text.get(..place).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        TextError {
            line: 1 + before.bytes().filter(|b| *b == b'\n').count(),
            column: 1 + in_line.chars().count(),
            found,
            expected,
            oned_line: self.lines,
            oned_columns: (self.token.0 + 1, self.token.1 + 1),
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n')
}
