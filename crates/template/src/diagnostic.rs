//! Findings about a template, each at its place.

/// Number of a file within [`Sources`](crate::Sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub(crate) usize);

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 for the file as a whole.
    pub column: u32,
    /// Number of characters from there, within the line; at least 1.
    pub length: u32,
}

impl Span {
    /// The file as a whole, for what has no line (it cannot be read, it is empty).
    pub fn whole_file(file: FileId) -> Self {
        Self { file, line: 0, column: 0, length: 1 }
    }
}

/// Whether a finding stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is created from this template.
    Error,
    /// Worth a look; the template is usable.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Another place that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// The place.
    pub span: Span,
    /// What is there.
    pub message: String,
}

/// Every [`Diagnostic::code`], and what it stands for. Codes do not change from version to version.
pub const CODES: [(&str, &str); 45] = [
    ("alias-cycle", "a YAML alias within what it stands for"),
    ("bad-attribute-name", "a key that OpenNebula cannot have as an attribute"),
    ("bad-driver", "a driver name that cannot be the name of a folder"),
    ("bad-input", "a value that its user input does not take, or for which there is no input"),
    ("bad-key", "a YAML key that is no name"),
    ("bad-name", "a name that OpenNebula does not take"),
    ("bad-parameter", "a value that the driver does not take"),
    ("bad-playbook", "a playbook without a name, or one of OpenNebula that is none here"),
    ("bad-provider", "a named provider that is for another driver"),
    ("bad-reference", "a reference that cannot be read, or to what is not there"),
    ("bad-value", "a value outside what its key takes"),
    ("bad-version", "an unknown version of the template language"),
    ("changed-value", "a value that the old tool would have changed"),
    ("duplicate", "two objects with a name, hostname or address of their own that is the same"),
    ("duplicate-key", "a key that is given twice"),
    ("empty", "a file without data"),
    ("extends-cycle", "a template that extends itself"),
    ("extends-limit", "too many files or levels of 'extends'"),
    ("ignored-key", "a key that has no effect where it stands"),
    ("merge-key", "'<<' with something else than a group of keys"),
    ("misplaced-key", "a group of 'defaults' that stands outside of it"),
    ("missing-input", "a user input without a value"),
    ("missing-key", "a key that must be there"),
    ("missing-parameter", "a parameter without which the driver does nothing"),
    ("no-name", "a template without a name"),
    ("no-secret", "a secret that is not where the template says"),
    ("not-a-reference", "'<%' that begins no reference"),
    ("not-a-template", "a file of another kind"),
    ("not-created-yet", "something that is read, but not created by this version"),
    ("not-supported-yet", "something without which nothing right could be created"),
    ("not-text", "a file that is not UTF-8"),
    ("placeholder", "a value that is still to be filled in"),
    ("second-document", "data in a second YAML document"),
    ("tag", "a YAML tag without meaning"),
    ("too-deep", "nesting that OpenNebula or this reader does not have"),
    ("too-large", "a file or tree beyond the limits"),
    ("too-many", "further findings are not listed"),
    ("unknown-driver", "a driver that is not there"),
    ("unknown-key", "a key that nobody reads"),
    ("unknown-parameter", "a parameter that the driver does not have"),
    ("unknown-provider", "a named provider that is not there"),
    ("unreadable", "a file that cannot be read"),
    ("unstorable", "a value that OpenNebula cannot store"),
    ("wrong-shape", "a list, a group of keys or a single value where another is needed"),
    ("yaml-syntax", "text that is not YAML"),
];

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the work.
    pub severity: Severity,
    /// Stable name of the kind of finding, such as `unknown-key`; all of them are in [`CODES`].
    pub code: &'static str,
    /// What is wrong, one line, no secret in it.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The place.
    pub span: Span,
    /// Further places, such as the first of two equal names.
    pub related: Vec<Related>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            help: None,
            span,
            related: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn related(mut self, span: Span, message: impl Into<String>) -> Self {
        self.related.push(Related { span, message: message.into() });
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
