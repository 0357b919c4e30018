//! A long string, taken out of an answer while the answer comes.
//!
//! The pool of 10,000 hosts is one string of some 50 MB within an answer that is otherwise a few
//! hundred bytes. [`Lift`] hands such a string on, piece by piece and decoded, and keeps the answer
//! around it; that is then read by [`parse_response`], like any other. An answer that is short, or
//! does not begin as a success with a string, is kept as it is and read as a whole.

use super::read::printable;
use super::{MethodResponse, ParseError, parse_response};

/// Takes the text of a string in pieces.
pub(crate) trait TextSink: Send {
    /// The text begins, for the first time or anew: what came before does not count any more.
    fn begin(&mut self);

    /// The next piece.
    fn text(&mut self, piece: &str);
}

/// Answers up to this length are read as a whole.
const SMALL: usize = 64 * 1024;

/// The part of an answer in which a string that is lifted has to begin.
const HEAD: usize = 1024;

/// Longest reference, such as `&#x1F600;`, that is looked for.
const LONGEST_REFERENCE: usize = 64;

/// What stands before a string that is lifted, without the white space.
const BEFORE: &str = "<methodResponse><params><param><value><array><data>\
                      <value><boolean>1</boolean></value><value>";

pub(crate) struct Lift<'s> {
    sink: &'s mut dyn TextSink,
    /// Answers that are not longer stay whole.
    small: usize,
    state: State,
    /// The answer, from `Tail` on without the string's text.
    answer: Vec<u8>,
    /// Where in the answer the text begins.
    begin: Place,
    /// How far its text is decoded.
    place: Place,
    /// Bytes of a character whose end has not come.
    cut: Vec<u8>,
    /// Text of the string that means nothing yet: part of a reference, of a tag, of a line break.
    held: String,
}

#[derive(Debug)]
enum State {
    /// It may be an answer that stays whole.
    Head,
    /// It stays whole.
    Whole,
    /// In the string's text.
    Text,
    /// In a CDATA section within it.
    Cdata,
    /// Behind the string's text.
    Tail,
    /// The string's text cannot be read; what comes now does not matter.
    Broken(ParseError),
}

/// Line and column, from 1, as an XML reader counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    line: u32,
    column: u32,
}

impl Place {
    const START: Self = Self { line: 1, column: 1 };

    fn pass(&mut self, text: &str) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let line = match text.rfind('\n') {
            Some(last) => {
                let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
                self.line = self.line.saturating_add(number(breaks));
                self.column = 1;
                text.get(last + 1..).unwrap_or_default()
            }
            None => text,
        };
        self.column = self.column.saturating_add(number(line.chars().count()));
    }

    fn error(self, what: &'static str) -> ParseError {
        ParseError::Xml { line: self.line, column: self.column, what }
    }
}

impl<'s> Lift<'s> {
    pub(crate) fn new(sink: &'s mut dyn TextSink) -> Self {
        sink.begin();
        Self {
            sink,
            small: SMALL,
            state: State::Head,
            answer: Vec::new(),
            begin: Place::START,
            place: Place::START,
            cut: Vec::new(),
            held: String::new(),
        }
    }

    /// Takes the next bytes of the answer.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self.state {
            State::Head => {
                self.answer.extend_from_slice(bytes);
                if self.answer.len() <= self.small {
                    return;
                }
                if let Some(at) = string_begin(&self.answer) {
                    let text = self.answer.split_off(at);
                    self.begin.pass(&String::from_utf8_lossy(&self.answer));
                    self.place = self.begin;
                    self.state = State::Text;
                    self.string(&text);
                } else if self.answer.len() > HEAD {
                    self.state = State::Whole;
                }
            }
            State::Whole | State::Tail => self.answer.extend_from_slice(bytes),
            State::Text | State::Cdata => self.string(bytes),
            State::Broken(_) => {}
        }
    }

    /// The answer is at its end.
    ///
    /// # Errors
    /// What is wrong with the text of the string.
    pub(crate) fn finish(self) -> Result<Lifted, ParseError> {
        let gap = match self.state {
            State::Broken(error) => return Err(error),
            State::Text | State::Cdata => {
                return Err(Place::START.error("it ends too early"));
            }
            State::Head | State::Whole => None,
            State::Tail => Some((self.begin, self.place)),
        };
        Ok(Lifted { answer: self.answer, gap })
    }

    fn string(&mut self, bytes: &[u8]) {
        self.cut.extend_from_slice(bytes);
        let behind = self.cut.split_off(whole_characters(&self.cut));
        let whole = std::mem::replace(&mut self.cut, behind);
        let mut held = std::mem::take(&mut self.held);
        // Nearly always it is text, and then it is not looked at for what is none.
        match std::str::from_utf8(&whole) {
            Ok(text) => held.push_str(&printable(text)),
            Err(_) => held.push_str(&printable(&String::from_utf8_lossy(&whole))),
        }
        let mut out = String::with_capacity(held.len());
        let mut decoded = 0;
        while let Some(taken) = self.step(held.get(decoded..).unwrap_or_default(), &mut out) {
            decoded += taken;
            if matches!(self.state, State::Broken(_)) {
                break;
            }
        }
        let (passed, rest) = held.split_at(decoded);
        self.place.pass(passed);
        match &mut self.state {
            State::Broken(ParseError::Xml { line, column, .. }) => {
                (*line, *column) = (self.place.line, self.place.column);
                return;
            }
            State::Broken(_) => return,
            _ => {}
        }
        if !out.is_empty() {
            self.sink.text(&out);
        }
        if matches!(self.state, State::Tail) {
            self.answer.extend_from_slice(rest.as_bytes());
            self.answer.append(&mut self.cut);
        } else {
            self.held = rest.to_owned();
        }
    }

    /// Decodes the beginning of the text; how much of it, `None` if it takes more text to know what
    /// it is, or if the string is at its end. Where it breaks is for the caller to say.
    fn step(&mut self, text: &str, out: &mut String) -> Option<usize> {
        let broken = |what| State::Broken(Place::START.error(what));
        match self.state {
            State::Cdata => {
                let (inner, taken) = match text.find("]]>") {
                    Some(at) => {
                        self.state = State::Text;
                        (text.get(..at)?, at + "]]>".len())
                    }
                    None => {
                        let inner = settled(text);
                        (inner, inner.len())
                    }
                };
                push_lines(inner, out);
                (taken > 0).then_some(taken)
            }
            State::Text => match text.bytes().position(|byte| matches!(byte, b'<' | b'&')) {
                Some(0) if text.starts_with('&') => {
                    let end = text.bytes().take(LONGEST_REFERENCE).position(|byte| byte == b';');
                    if end.is_none() && text.len() < LONGEST_REFERENCE {
                        return None;
                    }
                    match end.and_then(|end| Some((reference(text.get(1..end)?)?, end))) {
                        Some((c, end)) => {
                            out.push(c);
                            Some(end + 1)
                        }
                        None => {
                            self.state = broken("an unknown entity");
                            Some(0)
                        }
                    }
                }
                Some(0) => self.markup(text),
                end => {
                    let plain = match end {
                        Some(end) => text.get(..end)?,
                        None => settled(text),
                    };
                    if plain.contains(']') && plain.contains("]]>") {
                        self.state = broken("a syntax error");
                    }
                    push_lines(plain, out);
                    (!plain.is_empty()).then_some(plain.len())
                }
            },
            _ => None,
        }
    }

    /// What begins with the `<` at the beginning of the text.
    fn markup(&mut self, text: &str) -> Option<usize> {
        const CDATA: &str = "<![CDATA[";
        if text.starts_with("</") {
            self.state = State::Tail;
            return None;
        }
        if text.starts_with(CDATA) {
            self.state = State::Cdata;
            return Some(CDATA.len());
        }
        if CDATA.starts_with(text) {
            return None;
        }
        // An element or a comment: no writer puts one there, and not to know its rules is simpler than
        // to know them twice.
        self.state = State::Broken(ParseError::Value { kind: "string" });
        Some(0)
    }
}

/// An answer after its end, maybe without the text of its long string.
pub(crate) struct Lifted {
    answer: Vec<u8>,
    /// Where the text began and ended.
    gap: Option<(Place, Place)>,
}

impl Lifted {
    /// Whether the sink has the string.
    pub(crate) fn is_lifted(&self) -> bool {
        self.gap.is_some()
    }

    /// Number of bytes that are left to be read.
    pub(crate) fn len(&self) -> usize {
        self.answer.len()
    }

    /// Reads the answer; a string that was lifted is empty in it.
    ///
    /// # Errors
    /// See [`ParseError`]; places are those of the answer as it came.
    pub(crate) fn parse(&self) -> Result<MethodResponse, ParseError> {
        parse_response(&self.answer).map_err(|error| match (error, self.gap) {
            (ParseError::Xml { line, column, what }, Some((begin, end)))
                if (Place { line, column }) >= begin =>
            {
                let column = if line > begin.line {
                    column
                } else {
                    (column - begin.column).saturating_add(end.column)
                };
                let line = line.saturating_add(end.line - begin.line);
                ParseError::Xml { line, column, what }
            }
            (error, _) => error,
        })
    }
}

/// Where the text of the string begins, if this is the beginning of a success with a string.
fn string_begin(answer: &[u8]) -> Option<usize> {
    const TAG: &[u8] = b"<string>";
    let head = answer.get(..HEAD).unwrap_or(answer);
    let at = head.windows(TAG.len()).position(|part| part == TAG)?;
    let before = std::str::from_utf8(head.get(..at)?).ok()?;
    let before = before.strip_prefix('\u{FEFF}').unwrap_or(before).trim_start();
    let before = match before.strip_prefix("<?xml ") {
        Some(declaration) => declaration.split_once("?>")?.1,
        None => before,
    };
    let tags: String = before.split_ascii_whitespace().collect();
    (tags == BEFORE).then_some(at + TAG.len())
}

/// Length of the bytes without a last character that may be cut in two.
fn whole_characters(bytes: &[u8]) -> usize {
    let lead = bytes.iter().rev().take(3).position(|byte| *byte >= 0xC0);
    match lead.map(|back| bytes.len() - back - 1) {
        Some(at) => {
            let needed = match bytes.get(at) {
                Some(0xF0..) => 4,
                Some(0xE0..) => 3,
                _ => 2,
            };
            if bytes.len() - at < needed { at } else { bytes.len() }
        }
        None => bytes.len(),
    }
}

/// The text without last characters that may belong to what comes: half a line break, or of `]]>`.
fn settled(text: &str) -> &str {
    let is_open = |byte: &u8| matches!(byte, b'\r' | b']');
    let open = text.bytes().rev().take(2).take_while(is_open).count();
    text.get(..text.len() - open).unwrap_or(text)
}

/// Line breaks of all kinds are one character to a reader of XML (§ 2.11).
fn push_lines(text: &str, out: &mut String) {
    if !text.contains('\r') {
        return out.push_str(text);
    }
    let mut lines = text.split('\r');
    out.push_str(lines.next().unwrap_or_default());
    for line in lines {
        out.push('\n');
        out.push_str(line.strip_prefix('\n').unwrap_or(line));
    }
}

/// The character of a reference, which is given without `&` and `;`.
fn reference(name: &str) -> Option<char> {
    let number = |digits: &str, radix| {
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        let number = is_number.then(|| u32::from_str_radix(digits, radix).ok())??;
        let c = char::from_u32(number).unwrap_or('\u{FFFD}');
        super::write::is_xml_char(c).then_some(c)
    };
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => match name.strip_prefix('#')?.strip_prefix('x') {
            Some(digits) => number(digits, 16),
            None => number(name.strip_prefix('#')?, 10),
        },
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::xmlrpc::{Param, write_response};

    /// What a sink got.
    #[derive(Default)]
    struct Got(String);

    impl TextSink for Got {
        fn begin(&mut self) {
            self.0.clear();
        }

        fn text(&mut self, piece: &str) {
            self.0.push_str(piece);
        }
    }

    /// The answer as it is read in pieces, its string lifted out if it can be, and put back.
    fn lifted<'b>(
        pieces: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<MethodResponse, ParseError> {
        let mut got = Got("of an attempt that broke off".to_owned());
        let mut lift = Lift::new(&mut got);
        lift.small = 0;
        pieces.into_iter().for_each(|piece| lift.feed(piece));
        let lifted = lift.finish()?;
        let mut response = lifted.parse()?;
        if lifted.is_lifted() {
            let MethodResponse::Success(Param::Array(fields)) = &mut response else {
                panic!("{response:?} was lifted")
            };
            assert!(fields[0] == Param::Bool(true) && fields[1] == Param::Str(String::new()));
            fields[1] = Param::Str(got.0);
        }
        Ok(response)
    }

    fn envelope(value: &str) -> Vec<u8> {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\n<params>\r\n\
             <param><value><array><data>\r\n<value><boolean>1</boolean></value>\r\n\
             <value>{value}</value>\r\n<value><i4>0</i4></value>\r\n</data></array></value>\
             </param>\r\n</params>\r\n</methodResponse>\r\n"
        )
        .into_bytes()
    }

    fn text_of(value: &str) -> Result<String, ParseError> {
        let answer = envelope(&format!("<string>{value}</string>"));
        match lifted(answer.chunks(1))? {
            MethodResponse::Success(Param::Array(fields)) => {
                Ok(fields[1].as_str().unwrap().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Texts and what breaks them, at every place where a reader may go wrong.
    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => "[a-z ]{0,4}",
            2 => "[éß語😀\u{FFFD}]{1,2}",
            4 => proptest::sample::select(vec![
                "&lt;", "&gt;", "&amp;", "&quot;", "&apos;", "&#233;", "&#x1F600;", "&#000000065;",
                "\n", "\r\n", "x\ry", "]]", "]", "-", "--", "?", ">", "\u{1}", "\u{FFFE}", "&#10;x",
                "<![CDATA[a<b>&lt;]] >\r\n&]]>", "<![CDATA[]]>", "<![CDATA[]]]]>", "<!-- > & < -->",
                "<?a > & ?>", "&#13;x",
            ]).prop_map(str::to_owned),
            1 => proptest::sample::select(vec![
                "]]>", "&", "&lt", "&;", "&nbsp;", "&#;", "&#x;", "&#1;", "&#x110000;", "&#+65;",
                "&# 65;", "<", "</", "<!", "<!x>", "<![CDATA[", "<!--", "<?", "<b/>", "</value>",
                "</string>",
            ]).prop_map(str::to_owned),
        ]
    }

    fn chunks(bytes: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut all = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            all.push(piece.to_vec());
            rest = behind;
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn an_answer_in_pieces_is_what_it_is_as_a_whole(
            parts in proptest::collection::vec(piece(), 0..8),
            junk in proptest::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>())),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let mut answer = envelope(&format!("<string>{}</string>", parts.concat()));
            if let Some((place, byte)) = junk {
                let place = place.index(answer.len());
                answer[place] = byte;
            }
            let whole = parse_response(&answer);
            let pieces = chunks(&answer, &sizes);
            let in_pieces = lifted(pieces.iter().map(Vec::as_slice));
            match (whole, in_pieces) {
                (Ok(whole), Ok(in_pieces)) => prop_assert_eq!(text(&whole), text(&in_pieces)),
                (Err(_), Err(_)) => {}
                // An element or a comment within the string: nobody writes one.
                (Ok(_), Err(ParseError::Value { kind: "string" })) => {}
                (whole, in_pieces) => {
                    prop_assert!(false, "{:?} and {:?} of {}", whole, in_pieces,
                        String::from_utf8_lossy(&answer));
                }
            }
        }

        #[test]
        fn any_value_is_read_as_it_was_written(
            text in any::<String>(),
            sizes in proptest::collection::vec(1_usize..9, 1..4),
        ) {
            let fields = vec![Param::Bool(true), Param::Str(text), Param::Int(0)];
            let answer = write_response(&MethodResponse::Success(Param::Array(fields)));
            let pieces = chunks(&answer, &sizes);
            let read = lifted(pieces.iter().map(Vec::as_slice));
            prop_assert_eq!(read, parse_response(&answer));
        }
    }

    /// `Debug` of a response shows no text.
    fn text(response: &MethodResponse) -> (String, Option<String>) {
        let second = match response {
            MethodResponse::Success(Param::Array(fields)) => fields.get(1),
            _ => None,
        };
        (format!("{response:?}"), second.and_then(Param::as_str).map(str::to_owned))
    }

    #[test]
    fn a_string_is_decoded_across_cuts() {
        for (value, text) in [
            ("", ""),
            ("&lt;A b=&quot;&apos;&quot;/&gt;", "<A b=\"'\"/>"),
            ("&amp;lt;&#65;&#x1F600;", "&lt;A😀"),
            ("é語😀", "é語😀"),
            ("a\r\nb\rc\nd\r", "a\nb\nc\nd\n"),
            ("a&#13;b", "a\rb"),
            ("a<![CDATA[<b>&amp;]]]]><![CDATA[>]]>c", "a<b>&amp;]]>c"),
            ("a\u{1}b", "a\u{FFFD}b"),
        ] {
            assert_eq!(text_of(value).as_deref(), Ok(text), "{value}");
        }
    }

    #[test]
    fn what_breaks_a_string_is_named_with_its_place() {
        let xml = |line, column, what| Err(ParseError::Xml { line, column, what });
        let unknown = "an unknown entity";
        // The string begins in line 6, column 16.
        assert_eq!(text_of("&lt;&nbsp;"), xml(6, 20, unknown));
        assert_eq!(text_of("é\né&#1;"), xml(7, 2, unknown));
        assert_eq!(text_of(&format!("&{}", "a".repeat(100))), xml(6, 16, unknown));
        for odd in ["a<b>c</b>", "a<!-- b -->", "a<?b ?>"] {
            assert_eq!(text_of(odd), Err(ParseError::Value { kind: "string" }));
        }
        for broken in ["&nbsp;", "a\n&;", "a]]>b", "a</value>b", "a\nb</string>"] {
            let answer = envelope(&format!("<string>{broken}</string>"));
            assert_eq!(lifted(answer.chunks(7)), parse_response(&answer), "{broken}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error_wherever_it_ends() {
        let whole = envelope("<string>é&lt;<![CDATA[x]]>&#x1F600;</string>");
        let end = whole.trim_ascii_end().len();
        for length in 0..end {
            let answer = whole.get(..length).unwrap();
            assert!(lifted([answer]).is_err(), "{length}");
            assert!(lifted(answer.chunks(1)).is_err(), "{length}");
        }
        assert!(lifted([whole.get(..end).unwrap()]).is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_become_a_sign_of_it() {
        for bytes in
            [&b"\xFF"[..], b"\xC3", b"\xE8\xAA", b"\xF0\x9F\x98", b"\xE8A\xAA", b"\xC0\x80"]
        {
            let mut answer = envelope("<string>a@b</string>");
            let at = answer.iter().position(|byte| *byte == b'@').unwrap();
            answer.splice(at..=at, bytes.iter().copied());
            assert_eq!(lifted(answer.chunks(1)), parse_response(&answer), "{bytes:?}");
            assert!(parse_response(&answer).is_ok());
        }
    }

    #[test]
    fn what_is_no_success_with_a_string_stays_whole() {
        let fault = write_response(&MethodResponse::Fault { code: -501, text: "no".to_owned() });
        let fields = [Param::Bool(false), "<string>".into(), Param::Int(1024)];
        let refusal = MethodResponse::Success(Param::Array(fields.to_vec()));
        for answer in [
            fault,
            write_response(&refusal),
            envelope("<i4>5</i4>"),
            envelope("text without a type"),
            envelope("<base64>YcOp</base64>"),
            envelope("<nil/>"),
            b"<html><string>".to_vec(),
            b"<!DOCTYPE x><methodResponse/>".to_vec(),
            Vec::new(),
            vec![b' '; 5000],
        ] {
            assert_eq!(lifted(answer.chunks(3)), parse_response(&answer));
        }
        let document_type = [b"<!DOCTYPE a []>".to_vec(), envelope("<string>a</string>")].concat();
        assert_eq!(lifted(document_type.chunks(3)), parse_response(&document_type));
    }

    /// The recordings beside the workspace; without them this says so and passes.
    #[test]
    fn every_recorded_answer_is_the_same_in_pieces() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/wire");
        let mut count = 0;
        for release in ["6.10", "7.4"] {
            let Ok(files) = std::fs::read_dir(folder.join(release)) else {
                println!("skipped: no recordings of {release}");
                continue;
            };
            let paths = files.map(|file| file.unwrap().path());
            for path in paths.filter(|path| path.to_string_lossy().ends_with(".res.xml")) {
                let answer = std::fs::read(&path).unwrap();
                let whole = parse_response(&answer);
                for size in [1, 100] {
                    assert_eq!(lifted(answer.chunks(size)), whole, "{} by {size}", path.display());
                }
                count += usize::from(string_begin(&answer).is_some());
                // Wherever it breaks off; that of one kind is enough.
                let is_cut = path.ends_with("hostpool.info.res.xml");
                for length in (0..answer.trim_ascii_end().len()).filter(|_| is_cut) {
                    assert!(lifted([&answer[..length]]).is_err(), "{} to {length}", path.display());
                }
            }
        }
        assert!(count == 0 || count > 100, "{count} answers were lifted");
    }

    #[test]
    fn no_more_than_a_piece_is_held() {
        struct Longest(usize);
        impl TextSink for Longest {
            fn begin(&mut self) {}

            fn text(&mut self, piece: &str) {
                self.0 = self.0.max(piece.len());
            }
        }
        let mut longest = Longest(0);
        let mut lift = Lift::new(&mut longest);
        let answer = envelope(&format!("<string>{}</string>", "&lt;é&amp;".repeat(200_000)));
        for piece in answer.chunks(1000) {
            lift.feed(piece);
            assert!(lift.answer.len() <= SMALL + 1000 && lift.held.len() < 1000);
        }
        assert!(lift.finish().unwrap().is_lifted());
        assert!(longest.0 <= SMALL + 1000);
    }
}
