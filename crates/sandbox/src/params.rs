//! The parameters of a call, read in the order and with the faults of xmlrpc-c.

use opennebula::xmlrpc::Param;

use crate::failure::Failure;
use crate::settings::Version;

const CODE_TYPE: i32 = -501;

/// Parameters by place; the session string is the first. Further ones than a method knows are
/// ignored.
pub(crate) struct Params<'a> {
    all: &'a [Param],
}

impl<'a> Params<'a> {
    pub(crate) fn new(all: &'a [Param]) -> Self {
        Self { all }
    }

    fn get(&self, place: usize) -> Result<&'a Param, Failure> {
        let missing = || Failure::Fault { code: CODE_TYPE, text: "Not enough parameters".into() };
        self.all.get(place).ok_or_else(missing)
    }

    /// Whether the parameter is there at all.
    pub(crate) fn has(&self, place: usize) -> bool {
        place < self.all.len()
    }

    /// The session string. Without any parameter 7.x fails in a way of its own.
    pub(crate) fn session(&self, version: Version) -> Result<&'a str, Failure> {
        if self.all.is_empty() && version == Version::V7_4 {
            return Err(Failure::Fault {
                code: -500,
                text: "Unexpected error executing code for particular method, detected by \
                       Xmlrpc-c method registry code.  Method did not fail; rather, it did not \
                       complete at all.  Subscript of xmlrpc_c::paramList out of bounds"
                    .into(),
            });
        }
        match self.text(0) {
            // What is no text is a session like any other there, and a wrong one.
            Err(_) if version == Version::V7_4 => Err(Failure::Authentication),
            session => session,
        }
    }

    pub(crate) fn text(&self, place: usize) -> Result<&'a str, Failure> {
        self.get(place)?.as_str().ok_or_else(|| wrong("a string"))
    }

    pub(crate) fn int(&self, place: usize) -> Result<i32, Failure> {
        match self.get(place)? {
            Param::Int(number) => Ok(*number),
            _ => Err(wrong("integer")),
        }
    }

    pub(crate) fn bool(&self, place: usize) -> Result<bool, Failure> {
        self.get(place)?.as_bool().ok_or_else(|| wrong("boolean"))
    }

    /// An integer that may be missing.
    pub(crate) fn int_or(&self, place: usize, default: i32) -> Result<i32, Failure> {
        if self.has(place) { self.int(place) } else { Ok(default) }
    }

    /// A boolean that may be missing, then it is false.
    pub(crate) fn flag(&self, place: usize) -> Result<bool, Failure> {
        if self.has(place) { self.bool(place) } else { Ok(false) }
    }

    /// The integers of an array that may be missing, then there are none.
    pub(crate) fn ints(&self, place: usize) -> Result<Vec<i32>, Failure> {
        if !self.has(place) {
            return Ok(Vec::new());
        }
        let values = self.get(place)?.as_array().ok_or_else(|| wrong("an array"))?;
        values.iter().map(|value| value.as_i32().ok_or_else(|| wrong("integer"))).collect()
    }
}

fn wrong(kind: &str) -> Failure {
    let text = format!("Parameter that is supposed to be {kind} is not");
    Failure::Fault { code: CODE_TYPE, text }
}
