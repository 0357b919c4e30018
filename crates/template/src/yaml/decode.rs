//! Bytes -> text, or why they are no text.

/// Why a file is not a text in UTF-8, and where (line and column in characters, from 1; none for
/// the file as a whole).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotText {
    pub(crate) message: String,
    pub(crate) help: &'static str,
    pub(crate) place: Option<(u32, u32)>,
    /// The text up to that place.
    pub(crate) readable: String,
}

const UTF8_BOM: &[u8] = b"\xEF\xBB\xBF";
const HELP_ENCODING: &str = "save the file as UTF-8";

/// Decodes a file; a byte order mark is dropped, line breaks become line feeds.
pub(crate) fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(NotText {
            message: "the file is in UTF-16, not in UTF-8".into(),
            help: HELP_ENCODING,
            place: None,
            readable: String::new(),
        });
    }
    let content = bytes.strip_prefix(UTF8_BOM).unwrap_or(&bytes);
    let zero = content.iter().position(|byte| *byte == 0);
    match std::str::from_utf8(content) {
        Ok(text) if zero.is_none() => Ok(line_feeds(text)),
        Err(error) if zero.is_none_or(|zero| error.valid_up_to() < zero) => {
            let byte = content.get(error.valid_up_to()).copied().unwrap_or_default();
            Err(not_text(
                content,
                error.valid_up_to(),
                format!("the byte 0x{byte:02X} is not UTF-8"),
                HELP_ENCODING,
            ))
        }
        _ => Err(not_text(
            content,
            zero.unwrap_or_default(),
            "this is a binary file: it contains a zero byte".into(),
            "a template is a text in YAML",
        )),
    }
}

fn not_text(content: &[u8], at: usize, message: String, help: &'static str) -> NotText {
    let readable = content.get(..at).map(String::from_utf8_lossy).unwrap_or_default();
    let readable = line_feeds(&readable);
    let line = readable.matches('\n').count() + 1;
    let column = readable.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let place = Some((clamp(line), clamp(column)));
    NotText { message, help, place, readable }
}

/// YAML takes all three kinds of line breaks for the same (YAML 1.2.2, 5.4).
fn line_feeds(text: &str) -> String {
    if text.contains('\r') {
        text.replace("\r\n", "\n").replace('\r', "\n")
    } else {
        text.to_owned()
    }
}

/// Positions are kept in 32 bits; a file is far smaller than that.
pub(crate) fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
