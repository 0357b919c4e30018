//! What ends an operation. The failure of one host does not: it is in the record.

use journal::{JournalError, LeaseError};
use model::ProvisionId;
use thiserror::Error;

/// An error that ends an operation.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Nothing can be written down, so nothing may be begun.
    #[error("the journal cannot be used")]
    Journal(#[source] Box<JournalError>),
    /// Another process works on the provision.
    #[error("provision {provision} cannot be worked on now")]
    Lease {
        /// The provision.
        provision: ProvisionId,
        /// Why.
        #[source]
        source: Box<LeaseError>,
    },
    /// The front-end refused or could not be reached.
    #[error("{what}")]
    OpenNebula {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<opennebula::Error>,
    },
    /// A driver cannot be used.
    #[error("{0}")]
    Driver(String),
    /// An object or value cannot be made from the template.
    #[error("{0}")]
    Template(String),
    /// Machines could not be configured, as far as can be told before there are any: every reason.
    #[error("machines cannot be configured: {}", .0.join("; "))]
    Configuration(Vec<String>),
    /// Neither OpenNebula nor the journal knows it.
    #[error("provision {0} not found")]
    NotFound(ProvisionId),
    /// The state does not allow the operation.
    #[error("{0}")]
    Refused(String),
}

impl From<JournalError> for EngineError {
    fn from(error: JournalError) -> Self {
        Self::Journal(Box::new(error))
    }
}

impl EngineError {
    pub(crate) fn opennebula(what: impl Into<String>) -> impl FnOnce(opennebula::Error) -> Self {
        let what = what.into();
        move |source| Self::OpenNebula { what, source: Box::new(source) }
    }
}

/// An error and its causes as one text.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
