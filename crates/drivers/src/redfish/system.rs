//! What a system (schema ComputerSystem, DSP2046) says of itself.

use driver::{MachineState, PollReport};
use serde_json::Value;

use super::bmc::{ApiError, Bmc, Resource, link};

/// Most network interfaces that are asked for their addresses.
const INTERFACES: usize = 16;

/// `PowerState`, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On,
    Off,
    /// `PoweringOn`, `PoweringOff`, `Paused`.
    Between,
    /// It does not say.
    NotSaid,
}

impl Power {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Between => "changing its power",
            Self::NotSaid => "in a power state that it does not tell",
        }
    }

    fn state(self) -> MachineState {
        match self {
            Self::On => MachineState::Active,
            Self::Off => MachineState::Gone,
            Self::Between => MachineState::Paused,
            Self::NotSaid => MachineState::NotKnown,
        }
    }
}

/// A system as it was read.
#[derive(Clone, Debug)]
pub(super) struct System(pub Resource);

impl System {
    pub(super) async fn read(bmc: &Bmc<'_>, path: &str) -> Result<Self, ApiError> {
        bmc.get(path).await.map(Self)
    }

    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.json.pointer(pointer)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    /// The path in a property that is a link.
    pub(super) fn link(&self, name: &str) -> Option<String> {
        link(self.0.json.get(name)?)
    }

    pub(super) fn power(&self) -> Power {
        match self.text("/PowerState") {
            Some("On") => Power::On,
            Some("Off") => Power::Off,
            Some("PoweringOn" | "PoweringOff" | "Paused") => Power::Between,
            _ => Power::NotSaid,
        }
    }

    /// The `AssetTag`, empty if it is null; `None` if the system has no such property. A service that has
    /// it shows it, if need be as null (DSP0266, 9.4).
    pub(super) fn asset_tag(&self) -> Option<&str> {
        let tag = self.0.json.get("AssetTag")?;
        Some(tag.as_str().unwrap_or_default().trim())
    }

    /// The address of the action Reset, and the types that it takes; none if that is not said.
    pub(super) async fn reset_action(
        &self,
        bmc: &Bmc<'_>,
    ) -> Result<(String, Vec<String>), ApiError> {
        let action = self.0.json.pointer("/Actions/#ComputerSystem.Reset");
        let target = action.and_then(|action| action.get("target")).and_then(Value::as_str);
        let target = target
            .map_or_else(|| format!("{}/Actions/ComputerSystem.Reset", self.path()), str::to_owned);
        let values = |json: Option<&Value>| -> Vec<String> {
            let all = json.and_then(Value::as_array).into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let listed = action.and_then(|action| action.get("ResetType@Redfish.AllowableValues"));
        if listed.is_some() {
            return Ok((target, values(listed)));
        }
        let info = action.and_then(|action| action.get("@Redfish.ActionInfo")?.as_str());
        let Some(info) = info else { return Ok((target, Vec::new())) };
        let info = bmc.get(info).await?.json;
        let parameters = info.get("Parameters").and_then(Value::as_array).into_iter().flatten();
        let reset =
            parameters.filter(|one| one.get("Name").is_some_and(|name| name == "ResetType"));
        Ok((target, values(reset.filter_map(|one| one.get("AllowableValues")).next())))
    }

    /// The addresses of the system's own interfaces that others can reach.
    pub(super) async fn addresses(&self, bmc: &Bmc<'_>) -> Result<Vec<String>, ApiError> {
        let Some(collection) = self.link("EthernetInterfaces") else { return Ok(Vec::new()) };
        let interfaces = match bmc.members(&collection).await {
            Err(error) if error.is_refusal() => return Ok(Vec::new()),
            interfaces => interfaces?,
        };
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for path in interfaces.iter().take(INTERFACES) {
            let json = match bmc.get(path).await {
                Err(error) if error.is_refusal() => continue,
                interface => interface?.json,
            };
            for (list, name) in [(&mut four, "IPv4Addresses"), (&mut six, "IPv6Addresses")] {
                let all = json.get(name).and_then(Value::as_array).into_iter().flatten();
                let texts = all.filter_map(|one| one.get("Address").and_then(Value::as_str));
                list.extend(texts.filter(|text| is_reachable(text)).map(str::to_owned));
            }
        }
        four.append(&mut six);
        Ok(four)
    }

    /// The answer of poll, with these addresses.
    pub(super) fn report(&self, addresses: Vec<String>) -> PollReport {
        let mut report = PollReport::new(self.power().state(), addresses);
        let mut tell = |key: &str, value: String| report.attributes.push(key, value);
        let count = |pointer: &str| self.0.json.pointer(pointer).and_then(Value::as_f64);
        if let Some(cpus) = count("/ProcessorSummary/LogicalProcessorCount")
            .or_else(|| count("/ProcessorSummary/Count"))
            .filter(|cpus| (1.0..1e6).contains(cpus))
        {
            tell("CPU", format!("{:.0}", cpus * 100.0));
        }
        if let Some(gib) =
            count("/MemorySummary/TotalSystemMemoryGiB").filter(|gib| (0.001..1e9).contains(gib))
        {
            tell("MEMORY", format!("{:.0}", gib * 1_048_576.0));
        }
        for (key, pointer) in [
            ("POWER_STATE", "/PowerState"),
            ("HEALTH", "/Status/Health"),
            ("MANUFACTURER", "/Manufacturer"),
            ("MODEL", "/Model"),
            ("SERIAL_NUMBER", "/SerialNumber"),
            ("BIOS_VERSION", "/BiosVersion"),
        ] {
            if let Some(text) = self.text(pointer) {
                tell(key, crate::http::excerpt(text.as_bytes()));
            }
        }
        report
    }
}

/// Whether an address is one, and good beyond its own link.
fn is_reachable(text: &str) -> bool {
    use std::net::IpAddr;
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(four)) => {
            !(four.is_unspecified() || four.is_link_local() || four.is_loopback())
        }
        Ok(IpAddr::V6(six)) => {
            !(six.is_unspecified() || six.is_unicast_link_local() || six.is_loopback())
        }
        Err(_) => false,
    }
}
