//! What a host's `provision` holds for redfish.

use std::time::Duration;

use driver::{DeploymentFile, DriverError};
use model::parameter::boolean;
use model::{Parameter, ParameterType, Secret};
use reqwest::Url;

use super::tls::Trust;
use crate::common::{check, definite, list, value_of};

/// Most machines that one host may choose from: each is looked at before one is claimed.
const POOL: usize = 256;
/// Longest grace, in seconds.
const LONGEST_GRACE: u64 = 3600;

/// All parameters.
pub(super) fn parameters() -> Vec<Parameter> {
    use ParameterType::{Boolean, Integer, List};
    let new = Parameter::new;
    vec![
        new("REDFISH_ADDRESS", "BMC (https://bmc[:port]), or several to choose a machine from")
            .kind(List)
            .required()
            .account(),
        new("REDFISH_USER", "user of the BMC").required().account(),
        new("REDFISH_PASSWORD", "password of the user").required().credential(),
        new("REDFISH_SYSTEM", "id or path of the system, or several to choose one from")
            .kind(List)
            .default_value("the only one of the BMC"),
        new("REDFISH_AUTH", "how the driver logs in")
            .allowed(["auto", "basic", "session"])
            .default_value("auto: basic, or a session if the BMC does not offer basic")
            .account()
            .public(),
        new("REDFISH_VERIFY", "whether the BMC's certificate is checked")
            .kind(Boolean)
            .default_value("yes")
            .account(),
        new("REDFISH_CA", "certificates to trust besides the system's: path of a PEM file, or PEM")
            .account()
            .public(),
        new(
            "REDFISH_PIN",
            "SHA-256 of the BMC's certificate (several: any of them), trusted instead of a CA",
        )
        .kind(List)
        .account()
        .public(),
        new("REDFISH_FREE_TAG", "AssetTag that a free machine has").default_value("none"),
        new("ADDRESS", "address of the machine; of several, in their order")
            .kind(List)
            .default_value("what the BMC tells of its interfaces"),
        new("BOOT", "what the first start boots")
            .allowed(["pxe", "disk", "cd", "none"])
            .default_value("cd with iso, else none: as the machine is set"),
        new("ISO", "address (http, https, nfs, cifs) of an image for the virtual CD"),
        new("SHUTDOWN_GRACE", "seconds for an orderly shutdown before it is forced")
            .kind(Integer)
            .default_value("120"),
    ]
}

/// How the driver logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    Auto,
    Basic,
    Session,
}

/// What the first start boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Boot {
    AsSet,
    Pxe,
    Disk,
    Cd,
}

impl Boot {
    /// `BootSourceOverrideTarget` of the schema ComputerSystem.
    pub(super) fn target(self) -> Option<&'static str> {
        match self {
            Self::AsSet => None,
            Self::Pxe => Some("Pxe"),
            Self::Disk => Some("Hdd"),
            Self::Cd => Some("Cd"),
        }
    }
}

/// One BMC.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Scheme, host and port; the path is `/`.
    pub base: Url,
    /// Host, and port if it is not the usual one: first part of deploy ids.
    pub authority: String,
    pub user: String,
    pub password: Secret,
    pub login: Login,
}

/// The parameters of a call, checked.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub sites: Vec<Site>,
    pub trust: Trust,
    /// Paths of systems; empty for the only one of each BMC.
    pub systems: Vec<String>,
    pub addresses: Vec<String>,
    pub free_tag: Option<String>,
    pub boot: Boot,
    pub iso: Option<String>,
    pub grace: Duration,
}

fn value<'a>(host: &'a DeploymentFile, name: &str) -> Option<&'a str> {
    value_of(host, &Parameter::new(name, ""))
}

impl Wanted {
    /// The parameters of a call; what is wrong with them, if something is.
    pub(super) fn of(host: &DeploymentFile) -> Result<Self, DriverError> {
        check(host, &parameters())?;
        let of = |name| value(host, name);
        let items = |name| of(name).map(list).unwrap_or_default();
        let login = match of("REDFISH_AUTH") {
            Some("basic") => Login::Basic,
            Some("session") => Login::Session,
            _ => Login::Auto,
        };
        let user = of("REDFISH_USER").unwrap_or_default();
        let password = Secret::new(of("REDFISH_PASSWORD").unwrap_or_default());
        let mut sites: Vec<Site> = Vec::new();
        for text in items("REDFISH_ADDRESS") {
            let (base, authority) = address(&text).ok_or_else(|| {
                definite("parameter redfish_address must be an address like https://bmc:443")
            })?;
            if !sites.iter().any(|site| site.authority == authority) {
                let (user, password) = (user.to_owned(), password.clone());
                sites.push(Site { base, authority, user, password, login });
            }
        }
        let systems = items("REDFISH_SYSTEM").iter().map(|id| path(id)).collect::<Option<Vec<_>>>();
        let systems = systems.ok_or_else(|| {
            definite("parameter redfish_system must be the id of a system, or its path")
        })?;
        if sites.len() > 1 && systems.len() > 1 {
            return Err(definite(
                "parameter redfish_system can name several systems of one BMC, or one that several \
                 BMCs have, not both",
            ));
        }
        let pool = sites.len().max(systems.len());
        if pool > POOL {
            return Err(definite(format!("a host may choose from {POOL} machines, not {pool}")));
        }
        let addresses = items("ADDRESS");
        if !addresses.is_empty() && addresses.len() != pool {
            let given = addresses.len();
            return Err(definite(format!(
                "parameter address must have one address for each machine: {pool}, not {given}"
            )));
        }
        let iso = of("ISO").map(str::to_owned);
        if let Some(iso) = &iso
            && (!iso.contains("://") || iso.contains(char::is_whitespace))
        {
            return Err(definite("parameter iso must be an address like https://host/image.iso"));
        }
        let boot = match (of("BOOT"), &iso) {
            (Some("pxe"), _) => Boot::Pxe,
            (Some("disk"), _) => Boot::Disk,
            (Some("cd"), _) | (None, Some(_)) => Boot::Cd,
            _ => Boot::AsSet,
        };
        let grace = match of("SHUTDOWN_GRACE").map(str::parse) {
            None => 120,
            Some(Ok(seconds)) if seconds <= LONGEST_GRACE => seconds,
            Some(_) => {
                return Err(definite(format!(
                    "parameter shutdown_grace must be seconds from 0 to {LONGEST_GRACE}"
                )));
            }
        };
        let verify = of("REDFISH_VERIFY").and_then(boolean).unwrap_or(true);
        let trust = Trust::new(verify, of("REDFISH_CA"), &items("REDFISH_PIN"))?;
        Ok(Self {
            sites,
            trust,
            systems,
            addresses,
            free_tag: of("REDFISH_FREE_TAG").map(str::to_owned),
            boot,
            iso,
            grace: Duration::from_secs(grace),
        })
    }

    /// The address that the parameters give to a system.
    pub(super) fn address(&self, site: usize, path: &str) -> Option<&str> {
        let index = match self.systems.len() {
            0 | 1 => site,
            _ => self.systems.iter().position(|known| known == path)?,
        };
        self.addresses.get(index).map(String::as_str)
    }
}

/// Base and authority of a BMC's address; without a scheme, HTTPS is meant.
fn address(text: &str) -> Option<(Url, String)> {
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("https://{text}"),
    };
    let base: Url = whole.parse().ok()?;
    let plain = matches!(base.path(), "" | "/") && base.query().is_none();
    let bare = base.username().is_empty() && base.password().is_none();
    if !matches!(base.scheme(), "http" | "https") || !plain || !bare || base.fragment().is_some() {
        return None;
    }
    let host = base.host_str()?;
    let authority = match base.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    Some((base, authority))
}

/// The path of a system that is named by id or path.
fn path(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '\\' | '<' | '>');
    let text = text.trim_end_matches('/');
    if text.is_empty() || text.len() > 256 || !text.chars().all(fits) || text.contains("..") {
        return None;
    }
    match text.starts_with('/') {
        true => (!text.starts_with("//")).then(|| text.to_owned()),
        false => (!text.contains('/')).then(|| format!("/redfish/v1/Systems/{text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bmc_and_nothing_more() {
        for (text, authority) in [
            ("https://bmc.example.com", "bmc.example.com"),
            ("https://bmc:443/", "bmc"),
            ("10.0.0.5", "10.0.0.5"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
            ("http://bmc:8000", "bmc:8000"),
        ] {
            assert_eq!(address(text).unwrap().1, authority, "{text}");
        }
        for text in ["", "ftp://bmc", "https://bmc/redfish", "https://root:calvin@bmc", "a b"] {
            assert!(address(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_system_is_an_id_or_a_path() {
        assert_eq!(path("437XR").unwrap(), "/redfish/v1/Systems/437XR");
        assert_eq!(path("/redfish/v1/Systems/1/").unwrap(), "/redfish/v1/Systems/1");
        for text in ["", "/", "//evil", "a/b", "a b", "../x", "/x?y", "ä"] {
            assert!(path(text).is_none(), "{text}");
        }
    }
}
