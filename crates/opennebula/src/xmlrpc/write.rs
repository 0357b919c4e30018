//! Messages to bytes.

use std::fmt::Write as _;

use thiserror::Error;

use super::{MethodCall, MethodResponse, Param};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n";

/// Why a call cannot be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// XML 1.0 has no way to write a character of a parameter.
    #[error(
        "parameter {index} contains the control character U+{code:04X}, which XML cannot carry"
    )]
    Character {
        /// Position of the parameter, from 0.
        index: usize,
        /// The character.
        code: u32,
    },
    /// XML-RPC has no way to write a number that is not finite.
    #[error("parameter {index} is not a finite number")]
    NotFinite {
        /// Position of the parameter, from 0.
        index: usize,
    },
}

/// Writes a request.
///
/// # Errors
/// A character that XML cannot carry, or a number that is not finite: changing either silently
/// would store something else than was asked for.
pub fn write_call(call: &MethodCall) -> Result<Vec<u8>, WriteError> {
    let mut out = String::with_capacity(256 + call.params.iter().map(text_len).sum::<usize>());
    out.push_str(HEAD);
    out.push_str("<methodCall><methodName>");
    escape(&call.method, &mut out);
    out.push_str("</methodName><params>");
    for (index, param) in call.params.iter().enumerate() {
        check(index, param)?;
        out.push_str("<param>");
        value(param, &mut out);
        out.push_str("</param>");
    }
    out.push_str("</params></methodCall>\r\n");
    Ok(out.into_bytes())
}

/// Writes an answer.
///
/// A server has to answer something, so this cannot fail: a character that XML cannot carry becomes
/// U+FFFD, a number that is not finite 0.
pub fn write_response(response: &MethodResponse) -> Vec<u8> {
    let mut out = String::with_capacity(match response {
        MethodResponse::Success(param) => 256 + text_len(param),
        MethodResponse::Fault { text, .. } => 512 + text.len(),
    });
    out.push_str(HEAD);
    out.push_str("<methodResponse>\r\n");
    match response {
        MethodResponse::Success(param) => {
            out.push_str("<params>\r\n<param>");
            value(param, &mut out);
            out.push_str("</param>\r\n</params>\r\n");
        }
        MethodResponse::Fault { code, text } => {
            let _ = write!(
                out,
                "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n\
                 <value><i4>{code}</i4></value></member>\r\n<member><name>faultString</name>\r\n\
                 <value><string>"
            );
            escape(text, &mut out);
            out.push_str("</string></value></member>\r\n</struct></value>\r\n</fault>\r\n");
        }
    }
    out.push_str("</methodResponse>\r\n");
    out.into_bytes()
}

/// Room that a value will need at least; a guess that saves growing a 16 MB buffer step by step.
fn text_len(param: &Param) -> usize {
    match param {
        Param::Str(text) => text.len() + text.len() / 2 + 64,
        Param::Array(values) => values.iter().map(text_len).sum(),
        Param::Struct(members) => members.iter().map(|(_, v)| 64 + text_len(v)).sum(),
        _ => 64,
    }
}

fn check(index: usize, param: &Param) -> Result<(), WriteError> {
    let text = |text: &str| match text.chars().find(|c| !is_xml_char(*c)) {
        Some(c) => Err(WriteError::Character { index, code: c.into() }),
        None => Ok(()),
    };
    match param {
        Param::Str(value) => text(value),
        Param::Double(number) if !number.is_finite() => Err(WriteError::NotFinite { index }),
        Param::Array(values) => values.iter().try_for_each(|value| check(index, value)),
        Param::Struct(members) => members.iter().try_for_each(|(name, value)| {
            text(name)?;
            check(index, value)
        }),
        _ => Ok(()),
    }
}

fn value(param: &Param, out: &mut String) {
    out.push_str("<value>");
    match param {
        // Writing to a String cannot fail.
        Param::Int(number) => drop(write!(out, "<i4>{number}</i4>")),
        Param::Long(number) => drop(write!(out, "<i8>{number}</i8>")),
        Param::Bool(truth) => drop(write!(out, "<boolean>{}</boolean>", u8::from(*truth))),
        Param::Double(number) => {
            let number = if number.is_finite() { *number } else { 0.0 };
            let _ = write!(out, "<double>{number}</double>");
        }
        Param::Nil => out.push_str("<nil/>"),
        Param::Str(text) => {
            out.push_str("<string>");
            escape(text, out);
            out.push_str("</string>");
        }
        Param::Array(values) => {
            out.push_str("<array><data>\r\n");
            for inner in values {
                value(inner, out);
                out.push_str("\r\n");
            }
            out.push_str("</data></array>");
        }
        Param::Struct(members) => {
            out.push_str("<struct>\r\n");
            for (name, inner) in members {
                out.push_str("<member><name>");
                escape(name, out);
                out.push_str("</name>\r\n");
                value(inner, out);
                out.push_str("</member>\r\n");
            }
            out.push_str("</struct>");
        }
    }
    out.push_str("</value>");
}

/// Whether XML 1.0 may contain the character, escaped or not.
pub(super) fn is_xml_char(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => true,
        '\u{FFFE}' | '\u{FFFF}' => false,
        c => c >= ' ',
    }
}

/// Whether all characters are such.
pub(super) fn is_xml_text(text: &str) -> bool {
    let is_plain = |byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~');
    // Without an early end many bytes are looked at together.
    text.bytes().fold(true, |all, byte| all & is_plain(byte)) || text.chars().all(is_xml_char)
}

/// Escapes what is not plain in XML. A carriage return is written by number, else a reader would
/// make a line feed of it.
fn escape(text: &str, out: &mut String) {
    let mut rest = text;
    let special =
        |c: char| matches!(c, '<' | '>' | '&' | '\r' | '\u{FFFE}' | '\u{FFFF}') || c < ' ';
    while let Some(at) = rest.find(special) {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = tail.chars();
        match chars.next() {
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('&') => out.push_str("&amp;"),
            Some('\r') => out.push_str("&#x0d;"),
            Some(c) if is_xml_char(c) => out.push(c),
            Some(_) => out.push('\u{FFFD}'),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}
