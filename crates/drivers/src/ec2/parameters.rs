//! What a host's `provision` holds for ec2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::{Call, DeploymentFile, DriverError};
use model::parameter::boolean;
use model::{Parameter, ParameterType, Secret};
use reqwest::Url;

use super::instance::tags_of;
use crate::common::{Mark, check, cloud_init, definite, list, value_of};

/// A form: names and values.
pub(super) type Form = Vec<(String, String)>;

/// The parameters of OpenNebula 5.12, and what was asked for since: a spot market, another endpoint.
pub(super) fn parameters() -> Vec<Parameter> {
    use ParameterType::{Boolean, List, Map, Number};
    let new = Parameter::new;
    vec![
        new("EC2_ACCESS", "access key id").required().credential(),
        new("EC2_SECRET", "secret access key").required().credential(),
        new("EC2_SESSION_TOKEN", "token of temporary credentials").credential(),
        new("REGION_NAME", "region, such as eu-central-1").required().account(),
        new("EC2_ENDPOINT", "address of the API").account().default_value("that of the region"),
        new("AMI", "image").required(),
        new("INSTANCETYPE", "kind of machine, such as i3.metal").default_value("what EC2 takes"),
        new("HOSTNAME", "tag Name").default_value("the host's name"),
        new("KEYPAIR", "name of a key pair that may log in"),
        new("SECURITYGROUPIDS", "security groups by id").kind(List).aliases(["SECURITYGROUPSIDS"]),
        new("SECURITYGROUPS", "security groups by name").kind(List),
        new("SUBNETID", "subnet"),
        new("PRIVATEIP", "private IPv4 address"),
        new("ELASTICIP", "elastic IP: its address or id, or yes for a new one"),
        new("AVAILABILITYZONE", "availability zone"),
        new("PLACEMENTGROUP", "placement group"),
        new("TENANCY", "whom the hardware is shared with").allowed([
            "default",
            "dedicated",
            "host",
        ]),
        new("SPOT", "whether it is bought on the spot market").kind(Boolean).default_value("no"),
        new("SPOT_PRICE", "most dollars an hour on the spot market")
            .kind(Number)
            .default_value("the price on demand"),
        new("EBS_OPTIMIZED", "bandwidth of its own for volumes").kind(Boolean),
        new(
            "BLOCKDEVICEMAPPING",
            "volumes: DEVICE=[SNAPSHOT]:[GB]:[DELETE]:[TYPE[:IOPS]][:encrypted], \
             DEVICE=ephemeralN or DEVICE=none",
        )
        .kind(List),
        new("CLOUD_INIT", "let CONTEXT/SSH_PUBLIC_KEY in by cloud-init")
            .kind(Boolean)
            .default_value("yes, unless there is userdata"),
        new("USERDATA", "data for the first boot, as text or Base64"),
        new("TAGS", "further tags").kind(Map),
        new("CLIENTTOKEN", "idempotency token").default_value("one of this very order"),
        new("AKI", "kernel"),
        new("RAMDISK", "ramdisk"),
        new("LICENSEPOOL", "licence configuration (ARN) or pool"),
    ]
}

fn value<'a>(host: &'a DeploymentFile, name: &str) -> Option<&'a str> {
    let aliased = parameters().into_iter().find(|parameter| parameter.name == name);
    value_of(host, &aliased.unwrap_or_else(|| Parameter::new(name, "")))
}

/// Who asks, and where.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub access: String,
    pub secret: Secret,
    pub session: Option<Secret>,
    pub region: String,
    pub endpoint: Url,
}

impl Account {
    /// The account that a call names; what is wrong with it, if something is.
    pub(super) fn of(host: &DeploymentFile) -> Result<Self, DriverError> {
        let accounts: Vec<Parameter> = parameters().into_iter().filter(|p| p.account).collect();
        check(host, &accounts)?;
        let region = value(host, "REGION_NAME").unwrap_or_default().to_owned();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !region.chars().all(fits) || region.len() > 40 {
            return Err(definite("parameter region_name must be a region like eu-central-1"));
        }
        let endpoint = match value(host, "EC2_ENDPOINT") {
            Some(endpoint) => endpoint.to_owned(),
            None if region.starts_with("cn-") => format!("https://ec2.{region}.amazonaws.com.cn/"),
            None => format!("https://ec2.{region}.amazonaws.com/"),
        };
        let endpoint = endpoint
            .parse::<Url>()
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                definite("parameter ec2_endpoint must be an address like https://host/")
            })?;
        let secret = |name| value(host, name).map(Secret::new);
        Ok(Self {
            access: value(host, "EC2_ACCESS").unwrap_or_default().to_owned(),
            secret: secret("EC2_SECRET").unwrap_or_else(|| Secret::new("")),
            session: secret("EC2_SESSION_TOKEN"),
            region,
            endpoint,
        })
    }
}

/// The elastic IP that a host asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Elastic {
    /// One that exists, by its address or its id (`eipalloc-…`): associated, and never released.
    Existing(String),
    /// One of its own: allocated, and released with the machine.
    Own,
}

/// The elastic IP that a call asks for.
pub(super) fn elastic(host: &DeploymentFile) -> Option<Elastic> {
    let text = value(host, "ELASTICIP")?;
    match boolean(text) {
        Some(true) => Some(Elastic::Own),
        Some(false) => None,
        None => Some(Elastic::Existing(text.to_owned())),
    }
}

/// The request for an instance, without action and version.
pub(super) fn order(call: &Call) -> Result<Form, DriverError> {
    let host = &call.host;
    check(host, &parameters())?;
    let of = |name| value(host, name);
    let yes = |name| of(name).and_then(boolean).unwrap_or(false);
    let mut form: Form = Vec::new();
    let mut put = |name: &str, value: &str| form.push((name.to_owned(), value.to_owned()));
    put("MinCount", "1");
    put("MaxCount", "1");
    put("ClientToken", of("CLIENTTOKEN").unwrap_or(&call.key));
    for (name, parameter) in [
        ("ImageId", "AMI"),
        ("InstanceType", "INSTANCETYPE"),
        ("KeyName", "KEYPAIR"),
        ("SubnetId", "SUBNETID"),
        ("PrivateIpAddress", "PRIVATEIP"),
        ("Placement.AvailabilityZone", "AVAILABILITYZONE"),
        ("Placement.GroupName", "PLACEMENTGROUP"),
        ("Placement.Tenancy", "TENANCY"),
        ("KernelId", "AKI"),
        ("RamdiskId", "RAMDISK"),
    ] {
        if let Some(value) = of(parameter) {
            put(name, value);
        }
    }
    for (name, parameter) in
        [("SecurityGroupId", "SECURITYGROUPIDS"), ("SecurityGroup", "SECURITYGROUPS")]
    {
        for (n, group) in list(of(parameter).unwrap_or_default()).iter().enumerate() {
            put(&format!("{name}.{}", n + 1), group);
        }
    }
    match of("LICENSEPOOL") {
        Some(arn) if arn.starts_with("arn:") => {
            put("LicenseSpecification.1.LicenseConfigurationArn", arn);
        }
        Some(pool) => put("License.Pool", pool),
        None => {}
    }
    if yes("EBS_OPTIMIZED") {
        put("EbsOptimized", "true");
    }
    if yes("SPOT") || of("SPOT_PRICE").is_some() {
        put("InstanceMarketOptions.MarketType", "spot");
        if let Some(price) = of("SPOT_PRICE") {
            put("InstanceMarketOptions.SpotOptions.MaxPrice", price);
        }
    }
    let init = match of("CLOUD_INIT").and_then(boolean) {
        Some(false) => None,
        _ => cloud_init(host),
    };
    if let Some(data) = of("USERDATA").map(base64_of).or_else(|| init.map(|i| STANDARD.encode(i))) {
        put("UserData", &data);
    }
    let mark = Mark::of(call);
    let further: Vec<(String, String)> = list(of("TAGS").unwrap_or_default())
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    put("TagSpecification.1.ResourceType", "instance");
    let tags = tags_of(&mark, of("HOSTNAME").unwrap_or(&host.name), &further);
    for (n, (key, value)) in tags.iter().enumerate() {
        put(&format!("TagSpecification.1.Tag.{}.Key", n + 1), key);
        put(&format!("TagSpecification.1.Tag.{}.Value", n + 1), value);
    }
    let text = of("BLOCKDEVICEMAPPING").unwrap_or_default();
    let devices = text.split([',', ' ', '\n']).filter(|item| !item.is_empty());
    for (n, item) in devices.enumerate() {
        let mapping = mapping(item).ok_or_else(|| {
            let item: String = item.chars().take(80).collect();
            definite(format!(
                "parameter blockdevicemapping: {item:?} is no mapping like /dev/sda1=:20"
            ))
        })?;
        for (name, value) in mapping {
            put(&format!("BlockDeviceMapping.{}.{name}", n + 1), &value);
        }
    }
    Ok(form)
}

/// One volume, in the syntax of EC2's first command line tools, which 5.12 referred to:
/// `DEVICE=none`, `DEVICE=ephemeralN`, `DEVICE=[SNAPSHOT]:[SIZE]:[DELETE]:[TYPE[:IOPS]][:encrypted]`.
fn mapping(item: &str) -> Option<Vec<(&'static str, String)>> {
    let (device, what) = item.split_once('=')?;
    if device.is_empty() || what.is_empty() {
        return None;
    }
    let mut form = vec![("DeviceName", device.to_owned())];
    if what == "none" {
        form.push(("NoDevice", String::new()));
        return Some(form);
    }
    if what.starts_with("ephemeral") {
        form.push(("VirtualName", what.to_owned()));
        return Some(form);
    }
    for (place, part) in what.split(':').enumerate() {
        let name = match (place, part) {
            (_, "") => continue,
            (0, _) => "Ebs.SnapshotId",
            (1, size) if size.parse::<u32>().is_ok() => "Ebs.VolumeSize",
            (2, "true" | "false") => "Ebs.DeleteOnTermination",
            (3.., "encrypted") => {
                form.push(("Ebs.Encrypted", "true".to_owned()));
                continue;
            }
            (3, _) => "Ebs.VolumeType",
            (4, iops) if iops.parse::<u32>().is_ok() => "Ebs.Iops",
            _ => return None,
        };
        form.push((name, part.to_owned()));
    }
    Some(form)
}

/// User data as EC2 wants it. The manual of 5.12 asked for Base64, people write text: what is Base64 of
/// something that begins as user data does is taken as it is.
fn base64_of(text: &str) -> String {
    let compact: String = text.split_whitespace().collect();
    let begins = |data: &[u8]| {
        let starts: [&[u8]; 5] =
            [b"#!", b"#cloud-", b"Content-Type:", b"MIME-Version:", b"\x1f\x8b"];
        starts.iter().any(|start| data.starts_with(start))
    };
    match STANDARD.decode(&compact) {
        Ok(data) if begins(&data) => compact,
        _ => STANDARD.encode(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read_in_the_old_syntax() {
        let of = |text| mapping(text).map(|form| format!("{form:?}"));
        assert_eq!(
            of("/dev/sda1=snap-1:20:false:io1:500:encrypted").unwrap(),
            r#"[("DeviceName", "/dev/sda1"), ("Ebs.SnapshotId", "snap-1"), ("Ebs.VolumeSize", "20"), ("Ebs.DeleteOnTermination", "false"), ("Ebs.VolumeType", "io1"), ("Ebs.Iops", "500"), ("Ebs.Encrypted", "true")]"#
        );
        assert!(of("/dev/sdb=:8").unwrap().contains(r#"("Ebs.VolumeSize", "8")"#));
        assert!(of("/dev/sdc=none").unwrap().contains("NoDevice"));
        assert!(of("/dev/sdd=ephemeral0").unwrap().contains(r#"("VirtualName", "ephemeral0")"#));
        for wrong in ["/dev/sda1", "=:8", "/dev/sda1=", "/dev/sda1=:big", "/dev/sda1=::maybe"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn user_data_is_encoded_once() {
        assert_eq!(base64_of("#!/bin/sh"), "IyEvYmluL3No");
        assert_eq!(base64_of("IyEvYmlu\n L3No"), "IyEvYmluL3No");
        assert_eq!(base64_of("abcd"), STANDARD.encode("abcd"));
    }
}
