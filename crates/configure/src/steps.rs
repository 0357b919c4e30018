//! Files and commands: what is done on a machine where nobody needs Ansible.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Files that are copied, then commands that are run, as root.
///
/// This is the form that the template room writes (`configure`, `files`) and that rests as JSON in
/// `PROVISION_STEPS_BASE64` of the host object.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Steps {
    /// Files, in their order.
    pub files: Vec<File>,
    /// Commands, in their order; the first that fails ends it.
    pub commands: Vec<Command>,
}

/// A file on the machine.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Absolute path on the machine.
    pub path: String,
    /// Its content; or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// the absolute path of a file here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Permissions in octal, `0644` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `USER` or `USER:GROUP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// A command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// A line for the machine's `sh`.
    Line(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

impl Steps {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// What is wrong with it; no part of its content is told, which may be secret.
    pub fn read(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| {
            format!(
                "files and commands are not of the form that they should have (line {}, column {})",
                error.line(),
                error.column()
            )
        })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.commands.is_empty()
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} files, {} commands", self.files.len(), self.commands.len())
    }
}
