//! XML-RPC as OpenNebula speaks it: calls and answers, to and from bytes.
//!
//! Both directions of both messages are here, because the sandbox is the other end. The dialect is
//! that of xmlrpc-c, which `oned` is built on (<http://xmlrpc.com/spec.md>, plus `i8` and `nil`):
//!
//! * `<value>text</value>` without a type is a string;
//! * white space between elements means nothing, within a string it is kept;
//! * document types are refused, so there are no entities but the five of XML and characters by
//!   number;
//! * nesting and number of elements are limited ([`MAX_DEPTH`], [`MAX_NODES`]).
//!
//! The first parameter of every OpenNebula call is the session string, a credential. That is why
//! `Debug` of [`MethodCall`] and [`Param`] shows shapes and never texts.

mod lift;
mod read;
mod write;

use std::fmt;

pub(crate) use lift::{Lift, TextSink};
pub(crate) use read::describe;
pub use read::{ParseError, parse_call, parse_response};
pub use write::{WriteError, write_call, write_response};

/// Deepest nesting of values that is read. OpenNebula's own messages need two.
pub const MAX_DEPTH: usize = 32;

/// Most XML nodes that one message may have; a pool is one node, however long.
pub const MAX_NODES: u32 = 1_000_000;

/// One value of a call or an answer.
///
/// `Debug` prints no text, since any of them may be the session string.
#[derive(Clone, PartialEq)]
pub enum Param {
    /// `i4` or `int`.
    Int(i32),
    /// `i8`: 64 bits. `oned` writes the last field of an error as one.
    Long(i64),
    /// `boolean`.
    Bool(bool),
    /// `string`, a value without a type, `dateTime.iso8601` as it stands, or the text of a `base64`.
    Str(String),
    /// `double`.
    Double(f64),
    /// `nil`.
    Nil,
    /// `array`.
    Array(Vec<Param>),
    /// `struct`, members in their order.
    Struct(Vec<(String, Param)>),
}

impl Param {
    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number of an integer of either width.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some((*number).into()),
            Self::Long(number) => Some(*number),
            _ => None,
        }
    }

    /// The number of an integer that fits 32 bits.
    pub fn as_i32(&self) -> Option<i32> {
        self.as_i64().and_then(|number| number.try_into().ok())
    }

    /// The truth value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The values of an array.
    pub fn as_array(&self) -> Option<&[Param]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }

    /// The first member of a struct with that name.
    pub fn member(&self, name: &str) -> Option<&Param> {
        match self {
            Self::Struct(members) => members.iter().find(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The XML-RPC name of this value's type, for messages.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int(_) => "i4",
            Self::Long(_) => "i8",
            Self::Bool(_) => "boolean",
            Self::Str(_) => "string",
            Self::Double(_) => "double",
            Self::Nil => "nil",
            Self::Array(_) => "array",
            Self::Struct(_) => "struct",
        }
    }
}

impl fmt::Debug for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "Int({number})"),
            Self::Long(number) => write!(f, "Long({number})"),
            Self::Bool(truth) => write!(f, "Bool({truth})"),
            Self::Str(text) => write!(f, "Str({} bytes)", text.len()),
            Self::Double(number) => write!(f, "Double({number})"),
            Self::Nil => f.write_str("Nil"),
            Self::Array(values) => f.debug_list().entries(values).finish(),
            Self::Struct(members) => {
                f.debug_map().entries(members.iter().map(|(k, v)| (k, v))).finish()
            }
        }
    }
}

impl From<i32> for Param {
    fn from(number: i32) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Param {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

/// A request: `<methodCall>`.
#[derive(Clone, PartialEq)]
pub struct MethodCall {
    /// Name of the method, such as `one.host.info`.
    pub method: String,
    /// Parameters in their order; the first one is the session string.
    pub params: Vec<Param>,
}

impl fmt::Debug for MethodCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MethodCall({}, {} parameters)", self.method, self.params.len())
    }
}

/// An answer: `<methodResponse>`.
#[derive(Clone, Debug, PartialEq)]
pub enum MethodResponse {
    /// The one value of an answer. OpenNebula always makes it an array
    /// `[true, value, 0]` or `[false, text, code, id, -1]`.
    Success(Param),
    /// The call never came to a method that could answer it.
    Fault {
        /// Number of the fault; xmlrpc-c uses -500 and below.
        code: i32,
        /// What the server says about it.
        text: String,
    },
}

#[cfg(test)]
mod tests;
