//! Secrets by reference: `{env: NAME}`, `{file: PATH}`, `{command: [argv]}` in the place of a value
//! of `provision` or `connection`, of an attribute, or of the content of a file.
//!
//! The template says where a secret is; whoever loads it may hand in a [`SecretSource`] that gets
//! it. Each one is asked for once per load, however many hosts need it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use model::{Secret, Value};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretReference {
    /// `{env: NAME}`: in an environment variable.
    Env(String),
    /// `{file: PATH}`: in a file, whose last line break does not belong to it. A relative path is
    /// already joined to the folder of the file that names it; `~/` is not replaced.
    File(PathBuf),
    /// `{command: [argv]}`: what a program prints, whose last line break does not belong to it. It
    /// is run without a shell.
    Command(Vec<String>),
}

/// For people: `the environment variable NAME`.
impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Command(argv) => {
                write!(f, "the command {}", argv.first().map_or("", String::as_str))
            }
        }
    }
}

/// Gets secrets from where they are.
pub trait SecretSource: Send + Sync {
    /// The secret, without a line break at its end.
    ///
    /// # Errors
    /// Why there is none, in words that do not hold it.
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError>;
}

/// Why a secret cannot be had: the end of a sentence that begins with what was asked, such as
/// `is not set`.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SecretError(pub String);

/// The secrets of one load.
pub(crate) struct Secrets<'s> {
    source: Option<&'s dyn SecretSource>,
    known: HashMap<SecretReference, Result<Secret, SecretError>>,
}

impl<'s> Secrets<'s> {
    pub(crate) fn of(source: Option<&'s dyn SecretSource>) -> Self {
        Self { source, known: HashMap::new() }
    }

    /// The value that a reference stands for: not known if nobody was handed in who could get it.
    pub(crate) fn value(&mut self, reference: SecretReference) -> Result<Value, SecretError> {
        let Some(source) = self.source else { return Ok(Value::Withheld) };
        let known = self.known.entry(reference);
        let secret = known.or_insert_with_key(|reference| source.secret(reference));
        secret.clone().map(Value::Secret)
    }
}
