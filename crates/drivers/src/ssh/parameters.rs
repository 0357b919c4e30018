//! What a host's `provision` may say to the ssh driver.

use driver::DeploymentFile;
use model::{Parameter, ParameterType};
use serde::{Deserialize, Serialize};

use super::addresses::{self, Place};

/// The parameters, for validation, manual and schema.
pub(super) fn described() -> Vec<Parameter> {
    let text = Parameter::new;
    vec![
        text("ADDRESSES", "The machines: addresses, ranges, names, each with a port if need be")
            .kind(ParameterType::List)
            .account(),
        text("HOSTNAME", "Without addresses the machine itself, as in 6.x; with them a name for people"),
        text("CLAIM_FILE", "File on the machine by which it is ours; ~/ is the login's home folder")
            .default_value("/var/lib/oneprovision/claim"),
        text("HOST_KEYS", "Whether machines are known by the key of their first answer, or only if they are in the file already")
            .allowed(["accept-new", "known"])
            .default_value("accept-new"),
        text("WAKE_MAC", "MAC address to which resume sends wake-on-LAN"),
    ]
}

/// What is asked for, and how machines are logged in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parameters {
    /// Empty if none are named, as in a call about a machine that has an id.
    pub places: Vec<Place>,
    pub login: Login,
    pub claim_file: String,
    pub wake_mac: Option<[u8; 6]>,
}

/// How machines are logged in to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    pub user: String,
    pub key: Option<String>,
    pub known_only: bool,
}

impl Parameters {
    /// Reads them from a deployment file.
    ///
    /// # Errors
    /// Which parameter is wrong, and why.
    pub(super) fn of(host: &DeploymentFile) -> Result<Self, String> {
        for parameter in described() {
            if let Some(value) = host.parameter(&parameter.name) {
                parameter
                    .check(value)
                    .map_err(|why| format!("parameter {} {why}", parameter.name.to_lowercase()))?;
            }
        }
        let connection = |name: &str| {
            let text = host.template.text(&format!("PROVISION_CONNECTION/{name}"));
            text.map(str::trim).filter(|text| !text.is_empty())
        };
        let port = match connection("REMOTE_PORT") {
            None => 22,
            Some(text) => text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| {
                format!("remote_port of the connection must be a port, not {text:?}")
            })?,
        };
        let user = connection("REMOTE_USER").unwrap_or("root").to_owned();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if user.starts_with('-') || user.len() > 64 || !user.bytes().all(fits) {
            return Err(format!("remote_user of the connection must be a user, not {user:?}"));
        }
        if connection("PRIVATE_KEY").is_some_and(|key| key.contains('\n')) {
            return Err("private_key of the connection must be a path or the word agent for this \
                        driver, not the key itself"
                .to_owned());
        }
        let mut places = Vec::new();
        for name in ["ADDRESSES", "HOSTNAME"] {
            if let Some(text) = host.parameter(name)
                && places.is_empty()
            {
                places = addresses::parse(text, port)
                    .map_err(|why| format!("parameter {} {why}", name.to_lowercase()))?;
            }
        }
        let claim_file = host.parameter("CLAIM_FILE").unwrap_or("/var/lib/oneprovision/claim");
        let is_path = claim_file.starts_with('/') || claim_file.starts_with("~/");
        if !is_path || claim_file.ends_with('/') || claim_file.chars().any(char::is_control) {
            return Err("parameter claim_file must be a file's path from / or ~/".to_owned());
        }
        Ok(Self {
            places,
            login: Login {
                user,
                // Without one, or with the word agent, the user's own keys count.
                key: connection("PRIVATE_KEY").filter(|key| *key != "agent").map(str::to_owned),
                known_only: host.parameter("HOST_KEYS") == Some("known"),
            },
            claim_file: claim_file.to_owned(),
            wake_mac: host.parameter("WAKE_MAC").map(mac).transpose()?,
        })
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let bytes: Option<Vec<u8>> = text
        .trim()
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
        .collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        format!("parameter wake_mac must be a MAC address such as 52:54:00:12:34:56, not {text:?}")
    })
}
