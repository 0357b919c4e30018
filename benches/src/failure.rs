//! Why a benchmark could not be run.

use std::fmt;

/// A reason, in words for people, with its cause.
#[derive(Debug)]
pub struct Failure(String);

/// What may fail.
pub type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Into<String>> From<S> for Failure {
    fn from(text: S) -> Self {
        Self(text.into())
    }
}

/// Says what was being done when something failed.
pub trait Because<T> {
    /// The value, or the reason with `what` in front.
    ///
    /// # Errors
    /// The reason.
    fn because(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Because<T> for std::result::Result<T, E> {
    fn because(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}

impl<T> Because<T> for Option<T> {
    fn because(self, what: impl fmt::Display) -> Result<T> {
        self.ok_or_else(|| Failure(what.to_string()))
    }
}
