//! What drivers of clouds have in common: parameters, our mark, first-boot data, words for failures.

use std::time::Duration;

use driver::{Call, DeploymentFile, DriverError, FailureKind};
use model::{Parameter, Value};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// When a call has to be over: a little before its deadline, so that what is known then is told and not
/// cut off by whoever waits for it.
pub(crate) fn end_of(call: &Call) -> Instant {
    let margin = (call.deadline / 20).min(Duration::from_secs(3));
    Instant::now() + call.deadline.saturating_sub(margin)
}

/// A failure of which it is certain that nothing was done.
pub(crate) fn definite(message: impl Into<String>) -> DriverError {
    DriverError::new(FailureKind::Definite, message)
}

/// A failure of which it is not known what was done.
pub(crate) fn unknown(message: impl Into<String>) -> DriverError {
    DriverError::new(FailureKind::Unknown, message)
}

/// The value of a parameter under its name or one of its aliases.
pub(crate) fn value_of<'a>(host: &'a DeploymentFile, parameter: &Parameter) -> Option<&'a str> {
    std::iter::once(&parameter.name)
        .chain(&parameter.aliases)
        .filter_map(|name| host.parameter(name))
        .map(str::trim)
        .find(|value| !value.is_empty())
}

/// The first parameter that is missing or malformed, in words.
pub(crate) fn check(host: &DeploymentFile, parameters: &[Parameter]) -> Result<(), DriverError> {
    for parameter in parameters {
        match value_of(host, parameter) {
            None if parameter.required => {
                let Parameter { name, text, .. } = parameter;
                return Err(definite(format!(
                    "parameter {} is missing: {text}",
                    name.to_lowercase()
                )));
            }
            None => {}
            Some(value) => parameter.check(value).map_err(|wrong| {
                definite(format!("parameter {} {wrong}", parameter.name.to_lowercase()))
            })?,
        }
    }
    Ok(())
}

/// What a machine is marked with, to be found again by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The key of the call.
    pub key: String,
    /// The host's name when its machine was asked for.
    pub name: String,
    /// The provision, if the host is of one.
    pub provision: Option<String>,
    /// The host's id in OpenNebula, if it has one.
    pub host_id: Option<String>,
}

impl Mark {
    pub(crate) fn of(call: &Call) -> Self {
        Self {
            key: call.key.clone(),
            name: call.host.name.clone(),
            provision: call.host.parameter("PROVISION_ID").map(str::to_owned),
            host_id: call.host.id.map(|id| id.to_string()),
        }
    }

    /// Whether a machine with that key and name was made for this very call. A caller of the old
    /// protocol has no key that it would repeat; its hosts' names are drawn at random and serve.
    pub(crate) fn is_on(&self, key: Option<&str>, name: Option<&str>) -> bool {
        let keyless = self.key.starts_with("once-") && self.name.starts_with("provision-");
        key == Some(&self.key) || (keyless && name == Some(&self.name))
    }
}

/// What a driver names a machine by that a call is to make: 16 digits, the same when the call is repeated.
/// As in [`Mark::is_on`], the drawn name of the host serves where the caller has no key.
pub(crate) fn tag_of(call: &Call) -> String {
    let keyless = call.key.starts_with("once-") && call.host.name.starts_with("provision-");
    let text = if keyless { &call.host.name } else { &call.key };
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Data for cloud-init that lets the key of `CONTEXT/SSH_PUBLIC_KEY` in; `None` without one.
pub(crate) fn cloud_init(host: &DeploymentFile) -> Option<String> {
    let keys: Vec<&str> = host
        .template
        .all("CONTEXT")
        .filter_map(|value| match value {
            Value::Vector(inner) => inner.text("SSH_PUBLIC_KEY"),
            _ => None,
        })
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|key| !key.is_empty() && !key.starts_with('#'))
        .collect();
    if keys.is_empty() {
        return None;
    }
    let mut text = String::from("#cloud-config\nssh_authorized_keys:\n");
    for key in keys {
        // A JSON string is a YAML string, whatever is in it.
        text += &format!("  - {}\n", serde_json::Value::from(key));
    }
    Some(text)
}

/// A comma-separated list, without empty items.
pub(crate) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// A provider may repeat what it was sent; credentials are no part of what is said.
pub(crate) fn masked(call: &Call, error: DriverError) -> DriverError {
    DriverError { message: call.host.mask(&error.message), ..error }
}
