//! A provision driver's parameters, each described once: what is checked, shown and documented comes
//! from here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::is_secret_name;

/// What the value of a [`Parameter`] looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterType {
    /// Any text.
    #[default]
    Text,
    /// A whole number, with or without a sign.
    Integer,
    /// A number, with or without a fraction.
    Number,
    /// `yes`, `no`, `true`, `false`, `on`, `off`, `1` or `0`, in any case.
    Boolean,
    /// Texts with `,` between them.
    List,
    /// `NAME=VALUE` pairs with `,` between them.
    Map,
}

impl ParameterType {
    /// How the type is called in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "whole number",
            Self::Number => "number",
            Self::Boolean => "yes or no",
            Self::List => "list (a,b)",
            Self::Map => "map (name=value,…)",
        }
    }
}

impl fmt::Display for ParameterType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One parameter of a provision driver: a key of a host's `provision`.
///
/// ```
/// use model::{Parameter, ParameterType};
///
/// let plan = Parameter::new("PLAN", "Size of the machine").required().allowed(["c3.small", "c3.large"]);
/// assert!(plan.check("c3.small").is_ok());
/// assert_eq!(plan.check("c3.smal").unwrap_err(), "must be one of c3.small, c3.large");
/// let disks = Parameter::new("DISKS", "Number of disks").kind(ParameterType::Integer);
/// assert_eq!(disks.check("two").unwrap_err(), "must be a whole number");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Parameter {
    /// Its name in upper case, as it stands in `TEMPLATE/PROVISION`.
    pub name: String,
    /// What it is for, in one line.
    #[serde(rename = "description")]
    pub text: String,
    /// What its value looks like.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// Whether a host without it is refused.
    pub required: bool,
    /// Whether its value is hidden everywhere and kept out of OpenNebula's templates. If a
    /// description does not say so, its name decides ([`is_secret_name`]).
    pub secret: bool,
    /// Whether it names or opens the provider's account: what a named provider holds, and what
    /// hosts of one account have in common.
    pub account: bool,
    /// What holds if it is not given, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The values that are accepted; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// Other names, in upper case, under which it is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

/// A [`Parameter`] as a description has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "type")]
    kind: ParameterType,
    #[serde(default)]
    required: bool,
    secret: Option<bool>,
    #[serde(default)]
    account: bool,
    default: Option<String>,
    #[serde(default)]
    allowed: Vec<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

impl TryFrom<Written> for Parameter {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        for name in std::iter::once(&written.name).chain(&written.aliases) {
            let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            if !first || !name.chars().all(plain) || name.len() > MAX_NAME {
                let shown: String = name.chars().take(MAX_NAME).collect();
                return Err(format!("{shown:?} cannot be the name of a parameter"));
            }
        }
        Ok(Self {
            secret: written.secret.unwrap_or_else(|| is_secret_name(&written.name)),
            name: written.name.to_ascii_uppercase(),
            text: written.description,
            kind: written.kind,
            required: written.required,
            account: written.account,
            default: written.default,
            allowed: written.allowed,
            aliases: written.aliases.iter().map(|alias| alias.to_ascii_uppercase()).collect(),
        })
    }
}

/// Longest name of a parameter, in bytes.
const MAX_NAME: usize = 128;

impl Parameter {
    /// An optional text; a secret if its name says so.
    pub fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_ascii_uppercase(),
            text: text.to_owned(),
            secret: is_secret_name(name),
            ..Self::default()
        }
    }

    /// The same, of another type.
    #[must_use]
    pub fn kind(self, kind: ParameterType) -> Self {
        Self { kind, ..self }
    }

    /// The same, required.
    #[must_use]
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, a secret that opens the account.
    #[must_use]
    pub fn credential(self) -> Self {
        Self { secret: true, account: true, ..self }
    }

    /// The same, not a secret, whatever its name says.
    #[must_use]
    pub fn public(self) -> Self {
        Self { secret: false, ..self }
    }

    /// The same, as part of what names the account.
    #[must_use]
    pub fn account(self) -> Self {
        Self { account: true, ..self }
    }

    /// The same, with what holds if it is not given.
    #[must_use]
    pub fn default_value(self, default: &str) -> Self {
        Self { default: Some(default.to_owned()), ..self }
    }

    /// The same, with no other values than these.
    #[must_use]
    pub fn allowed<const N: usize>(self, allowed: [&str; N]) -> Self {
        Self { allowed: allowed.map(str::to_owned).to_vec(), ..self }
    }

    /// The same, also under these names.
    #[must_use]
    pub fn aliases<const N: usize>(self, aliases: [&str; N]) -> Self {
        Self { aliases: aliases.map(str::to_ascii_uppercase).to_vec(), ..self }
    }

    /// Whether it goes by that name, in any case.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What the value must be, to be read after the parameter's name. The value is not in it: it may
    /// be a secret.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let value = value.trim();
        if self.required && value.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let is_pair =
            |pair: &str| pair.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
        let fits = match self.kind {
            _ if value.is_empty() => true,
            ParameterType::Text | ParameterType::List => true,
            ParameterType::Integer => value.parse::<i64>().is_ok(),
            ParameterType::Number => value.parse::<f64>().is_ok_and(f64::is_finite),
            ParameterType::Boolean => boolean(value).is_some(),
            ParameterType::Map => {
                value.split(',').filter(|pair| !pair.trim().is_empty()).all(is_pair)
            }
        };
        if !fits {
            return Err(match self.kind {
                ParameterType::Boolean | ParameterType::Text => format!("must be {}", self.kind),
                _ => format!("must be a {}", self.kind),
            });
        }
        if !self.allowed.is_empty() && !value.is_empty() && !self.allowed.iter().any(|a| a == value)
        {
            return Err(format!("must be one of {}", self.allowed.join(", ")));
        }
        Ok(())
    }
}

/// Reads a [`ParameterType::Boolean`].
pub fn boolean(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "1" | "on" => Some(true),
        "no" | "false" | "0" | "off" => Some(false),
        _ => None,
    }
}
