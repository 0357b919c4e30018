//! Answers that are no success, in the words of `oned`.

use crate::error::SandboxError;
use crate::kind::Kind;

/// What somebody wants to do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    Use,
    Manage,
    Admin,
    Create,
}

impl Right {
    fn as_str(self) -> &'static str {
        match self {
            Self::Use => "USE",
            Self::Manage => "MANAGE",
            Self::Admin => "ADMIN",
            Self::Create => "CREATE",
        }
    }
}

/// Why a call fails. Numbers and wording: `src/rm/Request.cc` of 6.10 and 7.4, and recordings of
/// both.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Code 256.
    Authentication,
    /// Code 512: `User [2] : …`.
    Refused { uid: i32, text: String },
    /// Code 1024.
    NoObject { kind: Kind, id: i32 },
    /// Code 1024 for what is no [`Kind`] here, such as market apps.
    NoSuch { words: &'static str, id: i32 },
    /// Code 2048.
    Action(String),
    /// Code 4096.
    Api(String),
    /// Code 8192; with the id that the answer names, mostly -1.
    Internal(String, i32),
    /// Code 16384: `Error allocating a new host. …`.
    Allocate { kind: Kind, text: String },
    /// No answer of a method at all.
    Fault { code: i32, text: String },
    /// Trouble of our own.
    Database(rusqlite::Error),
    /// Trouble of our own that is no SQL error.
    Own(String),
}

impl Failure {
    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into(), -1)
    }

    pub(crate) fn action(text: impl Into<String>) -> Self {
        Self::Action(text.into())
    }

    /// `Not authorized to perform USE HOST [0]`, to be put into a [`Failure::Refused`].
    pub(crate) fn not_authorized(right: Right, kind: Kind, id: Option<i32>) -> String {
        let what = format!("Not authorized to perform {} {}", right.as_str(), kind.upper());
        match id {
            Some(id) => format!("{what} [{id}]"),
            None => what,
        }
    }

    /// Code, text and object id of the answer; the fault's code and text for faults.
    pub(crate) fn answer(&self, method: &str) -> Answer {
        let error =
            |code, text: String, id| Answer::Error { code, text: format!("[{method}] {text}"), id };
        match self {
            Self::Authentication => {
                error(256, "User couldn't be authenticated, aborting call.".into(), -1)
            }
            Self::Refused { uid, text } => error(512, format!("User [{uid}] : {text}."), -1),
            Self::NoObject { kind, id } => no_object(kind.words(), *id, &error),
            Self::NoSuch { words, id } => no_object(words, *id, &error),
            Self::Action(text) => error(2048, text.clone(), -1),
            Self::Api(text) => error(4096, text.clone(), -1),
            Self::Internal(text, id) => error(8192, text.clone(), *id),
            Self::Allocate { kind, text } => {
                error(16384, format!("Error allocating a new {}. {text}", kind.words()), -1)
            }
            Self::Fault { code, text } => Answer::Fault { code: *code, text: text.clone() },
            // oned's own word for trouble with its database, which clients know to retry.
            Self::Database(source) if is_busy(source) => {
                error(8192, "Internal error: database is locked".into(), -1)
            }
            Self::Database(source) => error(8192, format!("Internal error: {source}"), -1),
            Self::Own(text) => error(8192, format!("Internal error: {text}"), -1),
        }
    }
}

fn no_object(words: &str, id: i32, error: &dyn Fn(i32, String, i32) -> Answer) -> Answer {
    match id {
        -1 => error(1024, format!("Error getting {words} Pool."), -1),
        _ => error(1024, format!("Error getting {words} [{id}]."), id),
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

/// A failure as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Error { code: i32, text: String, id: i32 },
    Fault { code: i32, text: String },
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SandboxError> for Failure {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Database(source) => Self::Database(source),
            other => Self::Own(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_what_oned_says() {
        let text = |failure: Failure| match failure.answer("one.host.info") {
            Answer::Error { code, text, id } => format!("{code} {id} {text}"),
            Answer::Fault { code, text } => format!("fault {code} {text}"),
        };
        assert_eq!(
            text(Failure::NoObject { kind: Kind::Host, id: 7 }),
            "1024 7 [one.host.info] Error getting host [7]."
        );
        assert_eq!(
            text(Failure::NoObject { kind: Kind::Host, id: -1 }),
            "1024 -1 [one.host.info] Error getting host Pool."
        );
        assert_eq!(
            text(Failure::NoObject { kind: Kind::Host, id: -3 }),
            "1024 -3 [one.host.info] Error getting host [-3]."
        );
        let what = Failure::not_authorized(Right::Use, Kind::Host, Some(0));
        assert_eq!(
            text(Failure::Refused { uid: 2, text: what }),
            "512 -1 [one.host.info] User [2] : Not authorized to perform USE HOST [0]."
        );
        assert_eq!(
            text(Failure::Allocate { kind: Kind::Host, text: "No.".into() }),
            "16384 -1 [one.host.info] Error allocating a new host. No."
        );
    }
}
