//! What can go wrong with a call.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use model::XmlError;
use thiserror::Error;

use crate::transport::TransportError;
use crate::xmlrpc::{ParseError, WriteError};

/// A call that gave no value. Never holds a credential, also if the server sent one back.
#[derive(Debug)]
pub struct Error {
    /// The front-end.
    pub endpoint: Arc<str>,
    /// Method, such as `one.host.allocate`.
    pub method: String,
    /// What happened.
    pub kind: ErrorKind,
    pub(crate) unknown: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {}", self.method, self.endpoint, self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The kind's own words are in the text above already.
        self.kind.source()
    }
}

/// Codes of `oned`'s answers (`include/Request.h`, the same from 5.8 to 7.4).
pub mod code {
    /// Wrong user or password.
    pub const AUTHENTICATION: i32 = 0x100;
    /// The user may not do that.
    pub const AUTHORIZATION: i32 = 0x200;
    /// No such object.
    pub const NO_EXISTS: i32 = 0x400;
    /// The object's state does not allow it.
    pub const ACTION: i32 = 0x800;
    /// Wrong parameter.
    pub const XML_RPC_API: i32 = 0x1000;
    /// Anything that went wrong inside.
    pub const INTERNAL: i32 = 0x2000;
    /// The object could not be made.
    pub const ALLOCATE: i32 = 0x4000;
    /// The object is locked.
    pub const LOCKED: i32 = 0x8000;
}

/// What happened to a call.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// User or password is wrong.
    #[error("user or password is not accepted: {text}")]
    Authentication {
        /// What the server says.
        text: String,
    },
    /// An object that the call names is not there.
    #[error("there is no {object} {id}")]
    NoSuchObject {
        /// Its kind in the server's words: `host`, `virtual network` …
        object: String,
        /// Its id.
        id: i32,
    },
    /// Another object of the kind has that name.
    #[error("the name is taken: {text}")]
    NameTaken {
        /// What the server says.
        text: String,
        /// Id of the other object, if the text names it.
        by: Option<i32>,
    },
    /// The server understood the call and did not do it.
    #[error("{text} (code {code})")]
    Refused {
        /// See [`code`].
        code: i32,
        /// What the server says.
        text: String,
    },
    /// The server did not understand the call.
    #[error("{text} (fault {code})")]
    Fault {
        /// Number of xmlrpc-c, -500 and below.
        code: i32,
        /// What the server says.
        text: String,
    },
    /// The call did not reach the server.
    #[error("the call was not sent")]
    NotSent(#[source] TransportError),
    /// There is no answer. A write may have been executed: see [`Error::is_unknown`].
    #[error("the call was not answered")]
    Unanswered(#[source] TransportError),
    /// Something else than a front-end answered.
    #[error("this is not an OpenNebula front-end")]
    NotOpenNebula(#[source] TransportError),
    /// The answer is longer than the transport takes.
    #[error("the answer is too large")]
    TooLarge(#[source] TransportError),
    /// The answer is not XML-RPC.
    #[error("the answer is not XML-RPC")]
    NotXmlRpc(#[source] ParseError),
    /// The answer is XML-RPC, but not what this method answers.
    #[error("the answer cannot be understood: {what}")]
    BadAnswer {
        /// What is wrong with it.
        what: String,
    },
    /// A parameter cannot be sent.
    #[error("the call cannot be written")]
    Unsendable(#[source] WriteError),
    /// Attributes cannot be sent.
    #[error("the attributes cannot be written")]
    Attributes(#[source] XmlError),
    /// What makes an object failed after it was allocated: it is there, in ERROR.
    #[error("OpenNebula could not make {object} {id}: {why}")]
    Failed {
        /// Kind of the object.
        object: &'static str,
        /// Its id.
        id: i32,
        /// What OpenNebula says of it.
        why: String,
    },
    /// The server says that attributes were stored, and they were not.
    #[error(
        "OpenNebula says that the attributes of {object} {id} are stored, and they are not: it cannot keep one of them"
    )]
    NotStored {
        /// Kind of the object.
        object: &'static str,
        /// Its id.
        id: i32,
    },
    /// The server lists an object and says that there is none.
    #[error(
        "OpenNebula lists {object} {id}, and says that there is none: its database is not consistent; \
         `onedb fsck` mends that while oned is stopped"
    )]
    Denied {
        /// Kind of the object.
        object: String,
        /// Its id.
        id: i32,
    },
    /// An object did not come to the awaited state in time.
    #[error("{object} {id} is still {state} after {seconds} s")]
    StillThere {
        /// Kind of the object.
        object: &'static str,
        /// Its id.
        id: i32,
        /// Its state when it was last seen.
        state: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// A write whose outcome is not known: it may have been executed. Look before doing it again.
    pub fn is_unknown(&self) -> bool {
        self.unknown
    }

    /// An object that the call named is not there.
    pub fn is_gone(&self) -> bool {
        matches!(self.kind, ErrorKind::NoSuchObject { .. })
    }

    /// An object of that name is there already.
    pub fn name_taken(&self) -> bool {
        matches!(self.kind, ErrorKind::NameTaken { .. })
    }

    /// A datastore is full, or has not been measured yet (`src/rm/RequestManagerAllocate.cc`).
    pub fn lacks_space(&self) -> bool {
        let text = "Not enough space in datastore";
        matches!(&self.kind, ErrorKind::Refused { text: said, .. } if said.contains(text))
    }

    /// User or password was refused.
    pub fn is_authentication(&self) -> bool {
        matches!(self.kind, ErrorKind::Authentication { .. })
    }

    /// An object was allocated and is in ERROR.
    pub fn has_failed(&self) -> bool {
        matches!(self.kind, ErrorKind::Failed { .. })
    }

    /// An object was not in the awaited state in time.
    pub fn is_overdue(&self) -> bool {
        matches!(self.kind, ErrorKind::StillThere { .. })
    }

    /// The server's code, if it answered with one.
    pub fn code(&self) -> Option<i32> {
        match &self.kind {
            ErrorKind::Refused { code, .. } => Some(*code),
            ErrorKind::Authentication { .. } => Some(code::AUTHENTICATION),
            ErrorKind::NoSuchObject { .. } => Some(code::NO_EXISTS),
            _ => None,
        }
    }

    /// The same call may well work later: nobody answered, or the server was not able to just then.
    /// Says nothing on whether it may be repeated (see [`Error::is_unknown`]).
    pub fn is_transient(&self) -> bool {
        match &self.kind {
            ErrorKind::NotSent(error)
            | ErrorKind::Unanswered(error)
            | ErrorKind::NotOpenNebula(error) => error.is_transient(),
            ErrorKind::Refused { code, text } => passing(*code, text).is_some(),
            _ => false,
        }
    }
}

/// Why a front-end refused a call for a reason that passes and says nothing on the call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Its database is busy. Not executed.
    Busy,
    /// It has several servers and just then no leader, or none that its followers reach. Not executed.
    NotLed,
    /// A follower handed the call to the leader and got no answer: it may have been executed.
    HandedOn,
}

/// Whether a refusal passes. Of a busy database the first text was seen under load; the others are those
/// of SQLite and MySQL. Of several servers they are those of `Request::execute` and `Client::call`
/// (`src/rm/Request.cc` and `src/client/Client.cc` of 6.10, `RequestXRPC.cc` and `ClientXRPC.cc` of 7.4),
/// and of xmlrpc-c's transport, by which a follower calls its leader.
pub(crate) fn passing(code: i32, text: &str) -> Option<Passing> {
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let pool = text.contains("Error getting ") && text.trim_end_matches('.').ends_with(" Pool");
    let busy = [
        "database is locked",
        "database table is locked",
        "Lock wait timeout exceeded",
        "Deadlock found when trying to get lock",
    ];
    if (code == code::NO_EXISTS && pool) || has(&busy) {
        return Some(Passing::Busy);
    }
    if code != code::INTERNAL {
        return None;
    }
    let not_led = [
        "Cannot process request, no leader found",
        "Cannot process request, oned cluster in election mode",
        "Cannot process request, oned cluster is replicating log",
    ];
    let not_sent = ["connect to ", "resolve host"];
    let no_post = text.contains("libcurl failed to execute the HTTP POST transaction");
    if has(&not_led) || (no_post && has(&not_sent)) {
        return Some(Passing::NotLed);
    }
    let lost = no_post || has(&["RPC call timed out and aborted", "HTTP response code is "]);
    lost.then_some(Passing::HandedOn)
}

/// The meaning of an answer `[false, text, code, id, …]`; `id` is missing before 5.12.
pub(crate) fn refusal(text: String, code: i32, id: Option<i32>) -> ErrorKind {
    if code == code::AUTHENTICATION {
        return ErrorKind::Authentication { text };
    }
    if code == code::NO_EXISTS
        && let Some((object, id)) = missing_object(&text, id)
    {
        return ErrorKind::NoSuchObject { object, id };
    }
    // 6.10 answers 8192, 7.4 16384, a rename 2048: only the text tells.
    if text.contains("NAME is already taken") || text.contains("because it collides with") {
        let by = text.trim_end_matches('.').rsplit(' ').next().and_then(|id| id.parse().ok());
        return ErrorKind::NameTaken { text, by };
    }
    ErrorKind::Refused { code, text }
}

/// Kind and id out of `Error getting virtual network [12].`
fn missing_object(text: &str, id: Option<i32>) -> Option<(String, i32)> {
    let named = text.split_once("Error getting ").and_then(|(_, rest)| rest.split_once(" ["));
    let in_text = named.and_then(|(_, rest)| rest.split(']').next()?.parse().ok());
    let id = in_text.or(id).filter(|id| *id >= 0)?;
    let object = named.map_or("object", |(object, _)| object);
    Some((object.to_owned(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        use ErrorKind as K;
        let of = |text: &str, code, id| refusal(text.to_owned(), code, id);
        assert!(matches!(
            of("User couldn't be authenticated", 256, Some(-1)),
            K::Authentication { .. }
        ));
        for id in [Some(12), None] {
            let gone = of("Error getting virtual network [12].", 1024, id);
            assert!(
                matches!(&gone, K::NoSuchObject { object, id: 12 } if object == "virtual network")
            );
        }
        for (text, code) in [
            ("NAME is already taken by HOST 7.", 8192),
            ("Error allocating a new host. NAME is already taken by HOST 7.", 16384),
            ("host cannot be renamed to x because it collides with host 7", 2048),
        ] {
            assert!(matches!(of(text, code, Some(-1)), K::NameTaken { by: Some(7), .. }), "{text}");
        }
        let busy = of("Error getting host Pool.", 1024, Some(-1));
        assert!(
            matches!(busy, K::Refused { code: 1024, ref text } if passing(1024, text).is_some())
        );
        let plain = of("Wrong status code", 8192, Some(-1));
        assert!(
            matches!(plain, K::Refused { code: 8192, ref text } if passing(8192, text).is_none())
        );
    }
}
