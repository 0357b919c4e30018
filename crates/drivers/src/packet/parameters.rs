//! What a host's `provision` holds for packet.

use driver::{Call, DeploymentFile, DriverError};
use model::{Parameter, ParameterType, Secret};
use reqwest::Url;
use serde_json::{Value, json};

use super::device::tags_of;
use crate::common::{Mark, check, cloud_init, definite, list, value_of};

/// The API's address, unless the host names another one.
const ENDPOINT: &str = "https://api.equinix.com/metal/v1";

/// The parameters of OpenNebula 5.12, and what the API has since (`metro`).
pub(super) fn parameters() -> Vec<Parameter> {
    vec![
        Parameter::new("PACKET_TOKEN", "API key of a user or project").required().credential(),
        Parameter::new("PACKET_PROJECT", "UUID of the project that pays").required().account(),
        Parameter::new("PACKET_ENDPOINT", "address of the API").account().default_value(ENDPOINT),
        Parameter::new("FACILITY", "data centre; this or metro is needed")
            .kind(ParameterType::List),
        Parameter::new("METRO", "group of data centres; this or facility is needed"),
        Parameter::new("PLAN", "kind of machine, such as c3.small.x86").required(),
        Parameter::new("OS", "operating system, such as ubuntu_22_04").required(),
        Parameter::new("HOSTNAME", "the machine's name").default_value("the host's name"),
        Parameter::new("BILLING_CYCLE", "how it is paid")
            .allowed(["hourly", "daily", "monthly", "yearly"])
            .default_value("hourly"),
        Parameter::new("USERDATA", "data for the first boot, as text")
            .default_value("cloud-init with CONTEXT/SSH_PUBLIC_KEY"),
        Parameter::new("TAGS", "further tags").kind(ParameterType::List),
        Parameter::new("HARDWARE_RESERVATION", "UUID of a reservation, or next-available"),
    ]
}

/// Who asks, and whom.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub endpoint: Url,
    pub project: String,
    pub token: Secret,
}

/// A parameter's value.
fn value<'a>(host: &'a DeploymentFile, name: &str) -> Option<&'a str> {
    value_of(host, &Parameter::new(name, ""))
}

impl Account {
    /// The account that a call names; what is wrong with it, if something is.
    pub(super) fn of(host: &DeploymentFile) -> Result<Self, DriverError> {
        let all = parameters();
        let accounts: Vec<Parameter> = all.into_iter().filter(|p| p.account).collect();
        check(host, &accounts)?;
        let text = value(host, "PACKET_ENDPOINT").unwrap_or(ENDPOINT);
        let endpoint = text
            .parse::<Url>()
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                definite("parameter packet_endpoint must be an address like https://host/path")
            })?;
        let project = value(host, "PACKET_PROJECT").unwrap_or_default().to_owned();
        if !is_id(&project) {
            return Err(definite("parameter packet_project must be the UUID of a project"));
        }
        let token = Secret::new(value(host, "PACKET_TOKEN").unwrap_or_default());
        Ok(Self { endpoint, project, token })
    }
}

/// Whether a text can be an id of the API: it becomes part of an address.
pub(super) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// The request for a device.
pub(super) fn order(call: &Call) -> Result<Value, DriverError> {
    let host = &call.host;
    check(host, &parameters())?;
    let of = |name| value(host, name);
    let mut order = json!({
        "plan": of("PLAN"),
        "operating_system": of("OS"),
        "hostname": of("HOSTNAME").unwrap_or(&host.name),
        "billing_cycle": of("BILLING_CYCLE").unwrap_or("hourly"),
        "tags": tags_of(&Mark::of(call), &list(of("TAGS").unwrap_or_default())),
    });
    match (of("METRO"), of("FACILITY")) {
        (Some(metro), None) => order["metro"] = json!(metro),
        (None, Some(facility)) => order["facility"] = json!(list(facility)),
        (Some(_), Some(_)) => {
            return Err(definite("parameters metro and facility exclude each other"));
        }
        (None, None) => {
            return Err(definite("parameter metro (or facility) is missing: where it is to stand"));
        }
    }
    let userdata = of("USERDATA").map(str::to_owned).or_else(|| cloud_init(host));
    if let Some(userdata) = userdata {
        order["userdata"] = json!(userdata);
    }
    if let Some(reservation) = of("HARDWARE_RESERVATION") {
        order["hardware_reservation_id"] = json!(reservation);
    }
    Ok(order)
}
