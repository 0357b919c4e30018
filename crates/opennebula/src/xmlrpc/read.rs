//! Bytes to messages.

use std::borrow::Cow;

use base64::Engine as _;
use model::attributes::element_text;
use roxmltree::{Document, Node, ParsingOptions};
use thiserror::Error;

use super::write::{is_xml_char, is_xml_text};
use super::{MAX_DEPTH, MAX_NODES, MethodCall, MethodResponse, Param};

/// Why bytes are not a message of XML-RPC.
///
/// No variant quotes the message: a request holds the session string.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8 at byte {offset}")]
    Utf8 {
        /// Number of good bytes before the bad one.
        offset: usize,
    },
    /// There is a document type; entities of its own are refused.
    #[error("XML with a document type is not accepted")]
    Dtd,
    /// Not well-formed XML.
    #[error("not well-formed XML at line {line}, column {column}: {what}")]
    Xml {
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
        /// What is wrong there.
        what: &'static str,
    },
    /// More nodes than [`MAX_NODES`], or deeper than [`MAX_DEPTH`].
    #[error("XML has more than {MAX_NODES} nodes or is nested deeper than {MAX_DEPTH} values")]
    TooComplex,
    /// Well-formed XML of another kind.
    #[error("the root element is not <{expected}>")]
    Root {
        /// What it should be.
        expected: &'static str,
    },
    /// An element that must be there is missing.
    #[error("<{element}> is missing")]
    Missing {
        /// Its name.
        element: &'static str,
    },
    /// A value that is not of the type it says.
    #[error("a value of type {kind} is malformed")]
    Value {
        /// XML-RPC name of the type, or `value` if the type is not known.
        kind: &'static str,
    },
}

/// Reads a request.
///
/// # Errors
/// See [`ParseError`].
pub fn parse_call(bytes: &[u8]) -> Result<MethodCall, ParseError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| ParseError::Utf8 { offset: error.valid_up_to() })?;
    let doc = parse(text)?;
    let root = root(&doc, "methodCall")?;
    let name = child(root, "methodName").ok_or(ParseError::Missing { element: "methodName" })?;
    let params = match child(root, "params") {
        Some(params) => elements(params, "param").map(param).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    Ok(MethodCall { method: element_text(name).trim().to_owned(), params })
}

/// Reads an answer.
///
/// A stored text with a byte that is not UTF-8 or with a control character (a monitoring probe can
/// report such) would make a whole pool unreadable, so these become U+FFFD.
///
/// # Errors
/// See [`ParseError`].
pub fn parse_response(bytes: &[u8]) -> Result<MethodResponse, ParseError> {
    let text = String::from_utf8_lossy(bytes);
    let text = printable(&text);
    let doc = parse(&text)?;
    let root = root(&doc, "methodResponse")?;
    if let Some(fault) = child(root, "fault") {
        let body = child(fault, "value").ok_or(ParseError::Missing { element: "value" })?;
        let body = value(body, 0)?;
        let code = body.member("faultCode").and_then(Param::as_i32);
        let text = body.member("faultString").and_then(Param::as_str);
        return match (code, text) {
            (Some(code), text) => {
                Ok(MethodResponse::Fault { code, text: text.unwrap_or_default().to_owned() })
            }
            (None, _) => Err(ParseError::Missing { element: "faultCode" }),
        };
    }
    let params = child(root, "params").ok_or(ParseError::Missing { element: "params" })?;
    let first = child(params, "param").ok_or(ParseError::Missing { element: "param" })?;
    param(first).map(MethodResponse::Success)
}

/// The text with U+FFFD in place of characters that no XML reader takes.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if is_xml_text(text) {
        Cow::Borrowed(text)
    } else {
        text.chars().map(|c| if is_xml_char(c) { c } else { '\u{FFFD}' }).collect()
    }
}

fn parse(text: &str) -> Result<Document<'_>, ParseError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
    // Some writers begin with a byte order mark or an empty line.
    let text = text.trim_start_matches('\u{FEFF}').trim_start();
    Document::parse_with_options(text, options).map_err(|error| match error {
        roxmltree::Error::DtdDetected => ParseError::Dtd,
        roxmltree::Error::NodesLimitReached => ParseError::TooComplex,
        error => {
            let at = error.pos();
            ParseError::Xml { line: at.row, column: at.col, what: describe(&error) }
        }
    })
}

/// The kind of an XML error without the piece of input that the reader's own message quotes.
pub(crate) fn describe(error: &roxmltree::Error) -> &'static str {
    use roxmltree::Error as E;
    match error {
        E::UnexpectedCloseTag(..) => "a closing tag that does not match",
        E::UnclosedRootNode | E::UnexpectedEndOfStream => "it ends too early",
        E::NoRootNode => "there is no element",
        E::NonXmlChar(..) => "a character that XML does not allow",
        E::UnknownEntityReference(..) | E::MalformedEntityReference(..) => "an unknown entity",
        E::DuplicatedAttribute(..) => "an attribute occurs twice",
        E::UnknownNamespace(..) => "an unknown name space",
        _ => "a syntax error",
    }
}

fn root<'a, 'i>(doc: &'a Document<'i>, expected: &'static str) -> Result<Node<'a, 'i>, ParseError> {
    let root = doc.root_element();
    if root.has_tag_name(expected) { Ok(root) } else { Err(ParseError::Root { expected }) }
}

fn elements<'a, 'i: 'a>(
    node: Node<'a, 'i>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn child<'a, 'i: 'a>(node: Node<'a, 'i>, name: &'static str) -> Option<Node<'a, 'i>> {
    elements(node, name).next()
}

fn param(node: Node<'_, '_>) -> Result<Param, ParseError> {
    value(child(node, "value").ok_or(ParseError::Missing { element: "value" })?, 0)
}

fn value(node: Node<'_, '_>, depth: usize) -> Result<Param, ParseError> {
    if depth > MAX_DEPTH {
        return Err(ParseError::TooComplex);
    }
    let Some(typed) = node.children().find(Node::is_element) else {
        return Ok(Param::Str(element_text(node)));
    };
    let text = || element_text(typed);
    let bad = |kind| ParseError::Value { kind };
    match typed.tag_name().name() {
        "i4" | "int" => text().trim().parse().map(Param::Int).map_err(|_| bad("i4")),
        "i8" | "i64" => text().trim().parse().map(Param::Long).map_err(|_| bad("i8")),
        "boolean" => match text().trim() {
            "1" | "true" => Ok(Param::Bool(true)),
            "0" | "false" => Ok(Param::Bool(false)),
            _ => Err(bad("boolean")),
        },
        "string" | "dateTime.iso8601" => Ok(Param::Str(text())),
        "double" => match text().trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Param::Double(number)),
            _ => Err(bad("double")),
        },
        "base64" => base64(&text()).map(Param::Str).ok_or(bad("base64")),
        "nil" => Ok(Param::Nil),
        "array" => {
            let data = child(typed, "data").ok_or(ParseError::Missing { element: "data" })?;
            let values = elements(data, "value").map(|inner| value(inner, depth + 1));
            values.collect::<Result<_, _>>().map(Param::Array)
        }
        "struct" => elements(typed, "member")
            .map(|member| {
                let name = child(member, "name").ok_or(ParseError::Missing { element: "name" })?;
                let inner = child(member, "value");
                let inner = inner.ok_or(ParseError::Missing { element: "value" })?;
                Ok((element_text(name), value(inner, depth + 1)?))
            })
            .collect::<Result<_, _>>()
            .map(Param::Struct),
        _ => Err(bad("value")),
    }
}

fn base64(text: &str) -> Option<String> {
    let packed: String = text.split_ascii_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).ok()?;
    String::from_utf8(bytes).ok()
}
