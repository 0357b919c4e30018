//! Attributes to text.

use std::collections::HashSet;

use model::{Attributes, Value};
use thiserror::Error;

/// Why attributes cannot be written in the text form, although XML may hold them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TextWriteError {
    /// The key is not made of letters, digits and `_`.
    #[error("attribute name {key:?} may have only letters, digits and '_' in the text form")]
    Key {
        /// The key as given.
        key: String,
    },
    /// The value ends in a backslash, which would hide the closing quote.
    #[error("the value of {key} ends in a backslash, which the text form cannot hold")]
    Backslash {
        /// Key of the value.
        key: String,
    },
    /// The value has `]]>` in it.
    #[error("the value of {key} has ]]> in it, which the text form cannot hold")]
    CdataEnd {
        /// Key of the value.
        key: String,
    },
    /// A vector within a vector.
    #[error("{key} is a vector within a vector, which the text form cannot hold")]
    Nested {
        /// Key of the inner vector.
        key: String,
    },
    /// A key occurs twice in one vector; `oned` would keep the first one only.
    #[error("{key} occurs twice in one vector, which the text form cannot hold")]
    Twice {
        /// The key.
        key: String,
    },
    /// The value is not known here.
    #[error("the value of {key} is a secret that is not stored here")]
    Withheld {
        /// Key of the value.
        key: String,
    },
}

/// Writes a template in the text form, secrets in clear, keys in upper case.
///
/// # Errors
/// Whatever [`super::parse`] would not read back as it was.
pub fn write(attributes: &Attributes) -> Result<String, TextWriteError> {
    let mut out = String::new();
    for (key, value) in attributes.iter() {
        match value {
            Value::Vector(inner) => {
                push_key(key, &mut out)?;
                out.push('[');
                let mut seen = HashSet::new();
                for (index, (name, value)) in inner.iter().enumerate() {
                    if !seen.insert(name.to_ascii_uppercase()) {
                        return Err(TextWriteError::Twice { key: name.to_owned() });
                    }
                    out.push_str(if index == 0 { "\n  " } else { ",\n  " });
                    push_pair(name, value, &mut out)?;
                }
                out.push_str(" ]");
            }
            single => push_pair(key, single, &mut out)?,
        }
        out.push('\n');
    }
    Ok(out)
}

fn push_key(key: &str, out: &mut String) -> Result<(), TextWriteError> {
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(TextWriteError::Key { key: key.to_owned() });
    }
    out.push_str(&key.to_ascii_uppercase());
    out.push_str(" = ");
    Ok(())
}

fn push_pair(key: &str, value: &Value, out: &mut String) -> Result<(), TextWriteError> {
    push_key(key, out)?;
    let key = || key.to_owned();
    let text = match value {
        Value::Text(text) => text.as_str(),
        Value::Secret(secret) => secret.expose(),
        Value::Withheld => return Err(TextWriteError::Withheld { key: key() }),
        Value::Vector(_) => return Err(TextWriteError::Nested { key: key() }),
    };
    if text.ends_with('\\') {
        return Err(TextWriteError::Backslash { key: key() });
    }
    if text.contains("]]>") {
        return Err(TextWriteError::CdataEnd { key: key() });
    }
    out.push('"');
    out.push_str(&text.replace('"', "\\\""));
    out.push('"');
    Ok(())
}
