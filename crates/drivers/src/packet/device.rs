//! A device as the API describes it.

use std::net::IpAddr;

use driver::{ListedMachine, MachineState, PollReport};
use model::{Attributes, DeployId};
use serde_json::Value;

use crate::common::Mark;

/// Tags that 5.12 gave too.
const PRODUCT: &str = "OpenNebula";
const HOST_ID: &str = "ONE_HOST_ID";
/// Tags of ours: key of the call, name of the host, provision.
const KEY: &str = "ONEPROVISION_KEY";
const NAME: &str = "ONEPROVISION_HOST";
const PROVISION: &str = "ONEPROVISION_ID";

/// The tags of a machine: the operator's after ours, each once.
pub(super) fn tags_of(mark: &Mark, further: &[String]) -> Vec<String> {
    let mut tags = vec![PRODUCT.to_owned()];
    let pairs = [
        (HOST_ID, mark.host_id.as_deref()),
        (KEY, Some(mark.key.as_str())),
        (NAME, Some(mark.name.as_str())),
        (PROVISION, mark.provision.as_deref()),
    ];
    tags.extend(pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))));
    for tag in further {
        if !tags.contains(tag) {
            tags.push(tag.clone());
        }
    }
    tags
}

/// A device. Read leniently: what is absent or of another shape is not told, except its id.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub id: DeployId,
    json: Value,
}

impl Device {
    /// `None` if it is no device: it has no id.
    pub(super) fn new(json: Value) -> Option<Self> {
        let id = DeployId::new(json.get("id")?.as_str()?)?;
        Some(Self { id, json })
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.json.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
    }

    /// The API's own word for its state.
    pub(super) fn state(&self) -> &str {
        self.text("/state").unwrap_or("unknown")
    }

    /// Whether it is on its way out, or was.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.state(), "deprovisioning" | "deleted")
    }

    fn tag(&self, name: &str) -> Option<&str> {
        let tags = self.json.get("tags")?.as_array()?.iter().filter_map(Value::as_str);
        tags.filter_map(|tag| tag.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }

    /// Whether it was made for that call.
    pub(super) fn is_for(&self, mark: &Mark) -> bool {
        mark.is_on(self.tag(KEY), self.tag(NAME))
    }

    /// The state by the letters of the protocol. Off is `d`, as the document has it; 5.8 said `p`.
    fn machine_state(&self) -> MachineState {
        match self.state() {
            "active" | "rebooting" => MachineState::Active,
            "queued" | "provisioning" | "powering_on" | "powering_off" | "reinstalling"
            | "deprovisioning" => MachineState::Paused,
            "failed" => MachineState::Error,
            "inactive" | "deleted" => MachineState::Gone,
            _ => MachineState::NotKnown,
        }
    }

    /// Its addresses: the public ones first, IPv4 before IPv6.
    fn addresses(&self) -> Vec<String> {
        let all = self.json.get("ip_addresses").and_then(Value::as_array);
        let mut found: Vec<(bool, IpAddr)> = all
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                // It becomes a name of a host: nothing but an address is let through.
                let address: IpAddr = entry.get("address")?.as_str()?.parse().ok()?;
                Some((!entry.get("public").and_then(Value::as_bool).unwrap_or(false), address))
            })
            .collect();
        found.sort_by_key(|(private, address)| (*private, address.is_ipv6()));
        found.into_iter().map(|(_, address)| address.to_string()).collect()
    }

    /// Seconds since the Unix epoch.
    pub(super) fn created(&self) -> Option<i64> {
        let time: jiff::Timestamp = self.text("/created_at")?.parse().ok()?;
        Some(time.as_second())
    }

    /// Percent of one CPU: bare metal has all of them.
    fn cpu(&self) -> Option<u64> {
        let cpus = self.json.pointer("/plan/specs/cpus")?.as_array()?;
        let each = cpus.iter().filter_map(|cpu| cpu.get("count")?.as_u64());
        Some(each.sum::<u64>().saturating_mul(100)).filter(|cpu| *cpu > 0)
    }

    /// Memory in KB, from a text like `32GB`.
    fn memory(&self) -> Option<u64> {
        let text = self.text("/plan/specs/memory/total")?.trim();
        let (number, factor) = match text.strip_suffix("GB") {
            Some(number) => (number, 1 << 20),
            None => (text.strip_suffix("TB")?, 1 << 30),
        };
        number.trim().parse::<u64>().ok()?.checked_mul(factor)
    }

    /// What `poll` tells. The root password, which the API shows for a day, is not in it.
    pub(super) fn report(&self, traffic: Option<(u64, u64)>) -> PollReport {
        let mut report = PollReport::new(self.machine_state(), self.addresses());
        let number = |n: Option<u64>| n.map(|n| n.to_string());
        let text = |pointer| self.text(pointer).map(str::to_owned);
        let plan = text("/plan/slug").or_else(|| text("/plan/name"));
        for (key, value) in [
            ("CPU", number(self.cpu())),
            ("MEMORY", number(self.memory())),
            ("NETRX", number(traffic.map(|(received, _)| received))),
            ("NETTX", number(traffic.map(|(_, sent)| sent))),
            ("PLAN", plan),
            ("OS", text("/operating_system/slug")),
            ("FACILITY", text("/facility/code")),
            ("METRO", text("/metro/code")),
            ("HOSTNAME", text("/hostname")),
            ("BILLING_CYCLE", text("/billing_cycle")),
        ] {
            if let Some(value) = value {
                report.attributes.push(key, value);
            }
        }
        report
    }

    /// As `list` tells it; `None` if it does not carry our mark.
    pub(super) fn listed(&self) -> Option<ListedMachine> {
        let mut attributes = Attributes::new();
        attributes.push("KEY", self.tag(KEY)?);
        let created = self.created().map(|time| time.to_string());
        let ip = self.addresses().into_iter().next();
        let state = self.machine_state().letter().to_string();
        for (key, value) in [
            ("NAME", self.tag(NAME)),
            ("PROVISION_ID", self.tag(PROVISION)),
            ("HOSTNAME", self.text("/hostname")),
            ("CREATED", created.as_deref()),
            ("STATE", Some(state.as_str())),
            ("IP", ip.as_deref()),
        ] {
            if let Some(value) = value {
                attributes.push(key, value);
            }
        }
        Some(ListedMachine { id: self.id.clone(), attributes })
    }
}

/// Bytes received and sent, from an answer of `/devices/ID/bandwidth`: the sums of the data points of
/// the targets `inbound` and `outbound`.
pub(super) fn traffic_of(json: &Value) -> Option<(u64, u64)> {
    let series = json.get("bandwidth")?.as_array()?;
    let sum = |target: &str| {
        let of = |one: &&Value| one.get("target").and_then(Value::as_str) == Some(target);
        let points = series.iter().find(of)?.get("datapoints")?.as_array()?;
        let values = points.iter().filter_map(|point| point.get(0)?.as_f64());
        // What is no finite number of bytes counts nothing; a float is cut to the range of a u64.
        Some(values.filter(|value| *value > 0.0).sum::<f64>() as u64)
    };
    Some((sum("inbound")?, sum("outbound")?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn states_are_told_by_the_letters_of_the_protocol() {
        for (state, letter) in [
            ("queued", 'p'),
            ("provisioning", 'p'),
            ("active", 'a'),
            ("powering_off", 'p'),
            ("inactive", 'd'),
            ("powering_on", 'p'),
            ("reinstalling", 'p'),
            ("deprovisioning", 'p'),
            ("failed", 'e'),
            ("new in the API", '-'),
        ] {
            let device = Device::new(json!({ "id": "x", "state": state })).unwrap();
            assert_eq!(device.report(None).state.unwrap().letter(), letter, "{state}");
        }
    }

    #[test]
    fn what_is_no_address_does_not_become_a_name() {
        let device = Device::new(json!({ "id": "x", "ip_addresses": [
            { "address": "1.2.3.4; reboot", "public": true },
            { "address": "10.0.0.1", "public": "yes" },
            { "address": 7 }, null,
            { "address": "2001:db8::1", "public": true },
        ] }));
        assert_eq!(device.unwrap().addresses(), ["2001:db8::1", "10.0.0.1"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::hash_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_shape_is_survived(parts in proptest::collection::vec(any_json(), 8)) {
            let names = ["state", "tags", "ip_addresses", "plan", "facility", "created_at",
                "operating_system", "metro"];
            let mut json = json!({ "id": "x" });
            for (name, part) in names.iter().zip(parts) {
                let _ = traffic_of(&json!({ "bandwidth": part }));
                json[*name] = part;
            }
            let device = Device::new(json).unwrap();
            device.report(Some((1, 2))).to_line();
            device.listed();
        }
    }
}
