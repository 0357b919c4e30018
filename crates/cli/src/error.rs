//! The one place where errors become words: message, causes, hint, code.

use std::error::Error as StdError;

use journal::JournalError;
use serde_json::{Value, json};
use thiserror::Error;

mod code;

pub use code::{Code, codes, page};

/// An error as it is shown, with what to do about it.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct CliError {
    code: Code,
    message: String,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
    hint: Option<String>,
    next: Option<String>,
}

impl CliError {
    /// An error without a cause: of what was asked for, unless another code is set.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: Code::Usage, message: message.into(), source: None, hint: None, next: None }
    }

    /// An error with a cause: of this machine or its full disk, unless another code is set.
    pub fn caused(
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let io = source.downcast_ref::<std::io::Error>();
        let error = match io.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::StorageFull) => Self::new(message)
                .code(Code::DiskFull)
                .hint("free some space and repeat the command"),
            _ => Self::new(message).code(Code::System),
        };
        Self { source: Some(source), ..error }
    }

    /// Sets what kind of error it is.
    pub fn code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the commands to go on with.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// The error for programs.
    pub fn value(&self) -> Value {
        let causes = std::iter::successors(self.source(), |cause| (*cause).source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        let mut value = json!({
            "code": self.code.as_str(), "message": self.message, "causes": causes,
        });
        for (key, text) in [("hint", &self.hint), ("next", &self.next)] {
            if let Some(text) = text {
                value[key] = crate::suggest::completed(text).into();
            }
        }
        value
    }

    /// The error for people: `ERROR: message`, each cause on a line of its own, and the hint.
    pub fn render(&self) -> String {
        let mut text = format!("ERROR: {}\n", self.message);
        let mut cause = self.source();
        while let Some(error) = cause {
            text += &format!("  because: {error}\n");
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text += &format!("  hint: {hint}\n");
        }
        if let Some(next) = &self.next {
            text += &format!("  next: {next}\n");
        }
        text + &self.code.more() + "\n"
    }
}

impl From<engine::EngineError> for CliError {
    fn from(error: engine::EngineError) -> Self {
        use engine::EngineError as E;
        let hint_of_damage;
        let hint = match &error {
            E::OpenNebula { source, .. } => opennebula_hint(source),
            E::Journal(source) => match &**source {
                JournalError::Full { .. } => Some(
                    "free some space and repeat the command; it goes on from what is written down",
                ),
                JournalError::Entry { provision, .. } => {
                    hint_of_damage = damaged_hint(provision);
                    Some(hint_of_damage.as_str())
                }
                JournalError::Aside { .. } => Some(
                    "the journal is as it was: make room or set the folder right, and repeat the command",
                ),
                _ => Some("--state-dir names another folder for the journal"),
            },
            E::Lease { .. } => Some("wait until it has ended, or end that process"),
            E::Driver(_) => Some("--remotes names the folder that holds pm/DRIVER"),
            E::Configuration(_) => Some(
                "put it right and repeat the command; `create --skip-config` leaves hosts offline, to be \
                 configured later",
            ),
            E::NotFound(_) => Some("`oneprovision list` shows all provisions of this front-end"),
            E::Template(_) | E::Refused(_) => None,
        };
        let code = match &error {
            E::OpenNebula { source, .. } => opennebula_code(source),
            E::Journal(source) => match **source {
                JournalError::Full { .. } => Code::DiskFull,
                JournalError::Aside { .. } => Code::System,
                _ => Code::Journal,
            },
            E::Lease { .. } => Code::Busy,
            E::Driver(_) => Code::Driver,
            E::Configuration(_) => Code::Configuration,
            E::NotFound(_) => Code::NotFound,
            E::Template(_) => Code::Template,
            E::Refused(_) => Code::Refused,
        };
        let message = error.to_string();
        let source = error.source().map(|cause| CauseText::of(cause).into());
        Self { code, message, source, hint: hint.map(str::to_owned), next: None }
    }
}

/// What to do about a provision of which the journal cannot be understood.
pub fn damaged_hint(id: impl std::fmt::Display) -> String {
    format!(
        "if a newer oneprovision wrote it, use that one; else `oneprovision journal set-aside {id}` puts what is \
         written of the provision into a file, and what OpenNebula has of it counts"
    )
}

/// What kind of error of the front-end it is.
fn opennebula_code(error: &opennebula::Error) -> Code {
    use opennebula::ErrorKind as K;
    match &error.kind {
        K::Authentication { .. } => Code::Authentication,
        K::NotSent(_)
        | K::NotOpenNebula(_)
        | K::NotXmlRpc(_)
        | K::Unanswered(_)
        | K::Fault { .. }
        | K::BadAnswer { .. } => Code::FrontEnd,
        _ => Code::OpenNebula,
    }
}

/// What to do about an error of the front-end.
pub fn opennebula_hint(error: &opennebula::Error) -> Option<&'static str> {
    use opennebula::ErrorKind as K;
    match &error.kind {
        K::Authentication { .. } => {
            Some("check user and password: the file in $ONE_AUTH, ~/.one/one_auth, or --user")
        }
        // It says itself what to do.
        K::NotSent(opennebula::TransportError::Tls { .. }) => None,
        K::NotSent(_) => Some(
            "is OpenNebula running there? --endpoint names another one, --sandbox uses the embedded one",
        ),
        K::NotOpenNebula(_)
        | K::NotXmlRpc(_)
        | K::Unanswered(_)
        | K::Fault { .. }
        | K::BadAnswer { .. } => Some(
            "is that an OpenNebula front-end? The endpoint should look like http://HOST:2633/RPC2",
        ),
        _ => None,
    }
}

/// The texts of an error and its causes, owned.
#[derive(Debug, Error)]
#[error("{text}")]
struct CauseText {
    text: String,
    #[source]
    source: Option<Box<CauseText>>,
}

impl CauseText {
    fn of(error: &dyn StdError) -> Self {
        let source = error.source().map(|cause| Box::new(Self::of(cause)));
        Self { text: error.to_string(), source }
    }
}
