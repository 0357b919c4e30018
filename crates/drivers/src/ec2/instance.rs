//! An instance as `DescribeInstances` and `RunInstances` describe it.

use std::net::IpAddr;

use driver::{ListedMachine, MachineState, PollReport};
use model::{Attributes, DeployId};
use roxmltree::Node;

use crate::common::Mark;
use crate::http::excerpt;

/// Tags that 5.12 gave too: what the console shows as name, and the host's id.
const NAME: &str = "Name";
const HOST_ID: &str = "ONE_HOST_ID";
/// Tags of ours: key of the call, name of the host, provision.
pub(super) const KEY: &str = "ONEPROVISION_KEY";
pub(super) const HOST: &str = "ONEPROVISION_HOST";
const PROVISION: &str = "ONEPROVISION_ID";

/// The tags of a machine: ours win over the operator's.
pub(super) fn tags_of(
    mark: &Mark,
    name: &str,
    further: &[(String, String)],
) -> Vec<(String, String)> {
    let pairs = [
        (NAME, Some(name)),
        (HOST_ID, mark.host_id.as_deref()),
        (KEY, Some(mark.key.as_str())),
        (HOST, Some(mark.name.as_str()).filter(|name| !name.is_empty())),
        (PROVISION, mark.provision.as_deref()),
    ];
    let mut tags: Vec<(String, String)> = pairs
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), (*value)?.to_owned())))
        .collect();
    for (key, value) in further {
        // `Name` is the operator's to choose.
        match tags.iter_mut().find(|(known, _)| known == key) {
            Some(tag) if key == NAME => tag.1.clone_from(value),
            Some(_) => {}
            None => tags.push((key.clone(), value.clone())),
        }
    }
    tags
}

/// A child's text at a path of element names; `None` if it is absent or empty.
pub(super) fn text_at<'a>(node: Node<'a, '_>, path: &str) -> Option<&'a str> {
    let mut node = node;
    for name in path.split('/') {
        node = node.children().find(|child| child.tag_name().name() == name)?;
    }
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

/// The `item`s of a child.
pub(super) fn items<'a, 'd>(
    node: Node<'a, 'd>,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'd>> {
    node.children()
        .filter(move |child| child.tag_name().name() == name)
        .flat_map(|list| list.children().filter(|item| item.tag_name().name() == "item"))
}

/// An instance.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub id: DeployId,
    /// The API's own word for its state.
    pub state: String,
    /// Why it is in that state, in the provider's words.
    pub reason: Option<String>,
    launched: Option<i64>,
    tags: Vec<(String, String)>,
    public_ip: Option<String>,
    private_ip: Option<String>,
    /// What `poll` tells, by its keys.
    told: Vec<(&'static str, String)>,
}

impl Instance {
    /// Reads an `item` of an `instancesSet`; `None` if it has no id.
    pub(super) fn read(node: Node<'_, '_>) -> Option<Self> {
        let text = |path| text_at(node, path).map(str::to_owned);
        // They become names of hosts: nothing but an address is let through.
        let address = |path| text(path).filter(|ip| ip.parse::<IpAddr>().is_ok());
        let groups: Vec<&str> =
            items(node, "groupSet").filter_map(|group| text_at(group, "groupId")).collect();
        let state = text("instanceState/name").unwrap_or_else(|| "unknown".to_owned());
        let (public_ip, private_ip) = (address("ipAddress"), address("privateIpAddress"));
        let told = [
            ("AWS_PUBLIC_IP_ADDRESS", public_ip.clone()),
            ("AWS_PUBLIC_DNS_NAME", text("dnsName")),
            ("AWS_PRIVATE_IP_ADDRESS", private_ip.clone()),
            ("AWS_PRIVATE_DNS_NAME", text("privateDnsName")),
            ("AWS_STATE", Some(state.clone())),
            ("AWS_INSTANCE_TYPE", text("instanceType")),
            ("AWS_LIFECYCLE", text("instanceLifecycle")),
            ("AWS_IMAGE_ID", text("imageId")),
            ("AWS_KEY_NAME", text("keyName")),
            ("AWS_AVAILABILITY_ZONE", text("placement/availabilityZone")),
            ("AWS_VPC_ID", text("vpcId")),
            ("AWS_SUBNET_ID", text("subnetId")),
            ("AWS_SECURITY_GROUPS", Some(groups.join(",")).filter(|groups| !groups.is_empty())),
        ];
        Some(Self {
            id: DeployId::new(text_at(node, "instanceId")?)?,
            reason: text_at(node, "stateReason/message").map(|text| excerpt(text.as_bytes())),
            launched: text("launchTime")
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map(|time| time.as_second()),
            tags: items(node, "tagSet")
                .filter_map(|tag| {
                    let value = text_at(tag, "value").unwrap_or_default().to_owned();
                    Some((text_at(tag, "key")?.to_owned(), value))
                })
                .collect(),
            told: told.into_iter().filter_map(|(key, value)| Some((key, value?))).collect(),
            state,
            public_ip,
            private_ip,
        })
    }

    fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it was made for that call.
    pub(super) fn is_for(&self, mark: &Mark) -> bool {
        mark.is_on(self.tag(KEY), self.tag(HOST))
    }

    /// Whether it is on its way out, or was.
    pub(super) fn is_going(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "terminated")
    }

    /// Seconds since the Unix epoch.
    pub(super) fn launched(&self) -> Option<i64> {
        self.launched
    }

    /// The public address.
    pub(super) fn public_ip(&self) -> Option<&str> {
        self.public_ip.as_deref()
    }

    fn machine_state(&self) -> MachineState {
        match self.state.as_str() {
            "running" => MachineState::Active,
            "pending" | "stopping" | "shutting-down" => MachineState::Paused,
            "stopped" | "terminated" => MachineState::Gone,
            _ => MachineState::NotKnown,
        }
    }

    /// What `poll` tells.
    pub(super) fn report(&self) -> PollReport {
        let addresses = self.public_ip.iter().chain(&self.private_ip).cloned().collect();
        let mut report = PollReport::new(self.machine_state(), addresses);
        for (key, value) in &self.told {
            report.attributes.push(*key, value.as_str());
        }
        report
    }

    /// As `list` tells it; `None` if it does not carry our mark.
    pub(super) fn listed(&self) -> Option<ListedMachine> {
        let mut attributes = Attributes::new();
        attributes.push("KEY", self.tag(KEY)?);
        let created = self.launched.map(|time| time.to_string());
        let state = self.machine_state().letter().to_string();
        for (key, value) in [
            ("NAME", self.tag(HOST)),
            ("PROVISION_ID", self.tag(PROVISION)),
            ("HOSTNAME", self.tag(NAME)),
            ("CREATED", created.as_deref()),
            ("STATE", Some(state.as_str())),
            ("IP", self.public_ip.as_deref().or(self.private_ip.as_deref())),
        ] {
            if let Some(value) = value {
                attributes.push(key, value);
            }
        }
        Some(ListedMachine { id: self.id.clone(), attributes })
    }
}
