//! What a host's `provision` may say to the qemu driver.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::DeploymentFile;
use model::{Parameter, ParameterType};
use serde::{Deserialize, Serialize};

/// Least memory that a machine is given, in MiB: no Linux starts with less.
const LEAST_MEMORY: u64 = 32;
/// Most memory, in MiB (16 TiB).
const MOST_MEMORY: u64 = 16 << 20;
/// Most processors: what QEMU's machine `q35` takes everywhere.
const MOST_CPUS: u64 = 255;
/// Largest disk, in MiB (16 TiB).
pub(super) const MOST_DISK: u64 = 16 << 20;
/// Longest text that is passed on (kernel command line, names).
const MOST_TEXT: usize = 2000;
/// Longest user data: cloud-init reads more, but nobody writes it.
const MOST_USERDATA: usize = 1 << 20;

/// The parameters, for validation, manual and schema.
pub(super) fn described() -> Vec<Parameter> {
    let text = Parameter::new;
    let number = |name, text| Parameter::new(name, text).kind(ParameterType::Integer);
    vec![
        text("IMAGE", "Disk image, qcow2 or raw, absolute path; it is never written to"),
        text("KERNEL", "Kernel to boot instead of the image's own, absolute path")
            .default_value("without IMAGE: the rescue image that `oneprovision image build` makes"),
        text("INITRD", "Initial RAM disk that belongs to KERNEL, absolute path"),
        text("APPEND", "Command line of KERNEL").default_value("console=ttyS0"),
        number("MEMORY", "Memory in MiB").default_value("512"),
        number("CPUS", "Number of processors").default_value("1"),
        number("DISK_SIZE", "Size of the disk in MiB, not less than IMAGE")
            .default_value("that of IMAGE; without one, 64"),
        text("ACCEL", "How the processor is run: by KVM, by emulation, or what is there")
            .allowed(["auto", "kvm", "tcg"])
            .default_value("auto"),
        text(
            "NETWORK",
            "user: behind this computer, SSH forwarded; bridge, tap: a network of yours",
        )
        .allowed(["user", "bridge", "tap"])
        .default_value("user"),
        text("BRIDGE", "Bridge for NETWORK bridge; QEMU's bridge.conf must allow it"),
        text("TAP", "Device for NETWORK tap; it must exist"),
        text("ADDRESS", "Address of the machine: one of this computer's for NETWORK user")
            .default_value("user: a free one of 127.64.0.0/10; else found by the MAC address"),
        text("MAC", "MAC address").default_value("made from the deploy id"),
        number("SSH_PORT", "Port at ADDRESS that leads to the machine's port 22 (NETWORK user)")
            .default_value("remote_port of the connection, 22"),
        text("HOSTNAME", "Name that the machine gives itself").default_value("that of the host"),
        text("USERDATA", "User data for cloud-init instead of ours; the SSH key is given anyway"),
        number("GRACE", "Seconds that an orderly shutdown may take before the power is cut")
            .default_value("60"),
    ]
}

/// How the processor is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accel {
    Auto,
    Kvm,
    Tcg,
}

/// How the machine is connected, as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WantedNetwork {
    User { address: Option<IpAddr>, port: u16 },
    Bridge { bridge: String, address: Option<IpAddr> },
    Tap { device: String, address: Option<IpAddr> },
}

/// What is asked for, checked as far as that goes without looking at files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub image: Option<PathBuf>,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    pub append: String,
    pub memory_mib: u64,
    pub cpus: u64,
    pub disk_mib: Option<u64>,
    pub accel: Accel,
    pub network: WantedNetwork,
    pub mac: Option<String>,
    pub hostname: String,
    pub userdata: Option<String>,
    pub ssh_keys: Vec<String>,
    pub grace: Duration,
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
                let most = if parameter.name == "USERDATA" { MOST_USERDATA } else { MOST_TEXT };
                if value.len() > most {
                    return Err(format!(
                        "parameter {} is longer than {most} bytes",
                        parameter.name
                    ));
                }
                if value.contains('\0') || (parameter.name != "USERDATA" && value.contains('\n')) {
                    return Err(format!(
                        "parameter {} must be one line of text",
                        parameter.name.to_lowercase()
                    ));
                }
            }
        }
        let network = network(host)?;
        let kernel = path(host, "KERNEL")?;
        let initrd = path(host, "INITRD")?;
        for dependent in ["INITRD", "APPEND"] {
            if kernel.is_none() && host.parameter(dependent).is_some() {
                return Err(format!("parameter {} needs kernel", dependent.to_lowercase()));
            }
        }
        Ok(Self {
            image: path(host, "IMAGE")?,
            kernel,
            initrd,
            append: host.parameter("APPEND").unwrap_or("console=ttyS0").to_owned(),
            memory_mib: within(host, "MEMORY", LEAST_MEMORY..=MOST_MEMORY)?.unwrap_or(512),
            cpus: within(host, "CPUS", 1..=MOST_CPUS)?.unwrap_or(1),
            disk_mib: within(host, "DISK_SIZE", 1..=MOST_DISK)?,
            accel: match host.parameter("ACCEL") {
                Some("kvm") => Accel::Kvm,
                Some("tcg") => Accel::Tcg,
                _ => Accel::Auto,
            },
            network,
            mac: host.parameter("MAC").map(mac).transpose()?,
            hostname: hostname(host)?,
            userdata: host.parameter("USERDATA").map(str::to_owned),
            ssh_keys: ssh_keys(host),
            grace: Duration::from_secs(within(host, "GRACE", 0..=3600)?.unwrap_or(60)),
        })
    }
}

fn within(
    host: &DeploymentFile,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, String> {
    let Some(text) = host.parameter(name) else { return Ok(None) };
    match text.trim().parse::<u64>() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(format!(
            "parameter {} must be between {} and {}",
            name.to_lowercase(),
            range.start(),
            range.end()
        )),
    }
}

fn path(host: &DeploymentFile, name: &str) -> Result<Option<PathBuf>, String> {
    let Some(text) = host.parameter(name) else { return Ok(None) };
    let path = Path::new(text.trim());
    if !path.is_absolute() {
        return Err(format!(
            "parameter {} must be an absolute path, not {text:?}",
            name.to_lowercase()
        ));
    }
    Ok(Some(path.to_owned()))
}

fn network(host: &DeploymentFile) -> Result<WantedNetwork, String> {
    let address = match host.parameter("ADDRESS").map(str::trim) {
        None => None,
        Some(text) => Some(
            text.parse::<IpAddr>()
                .map_err(|_| format!("parameter address must be an IP address, not {text:?}"))?,
        ),
    };
    let device = |name: &str| {
        let text = host.parameter(name).ok_or_else(|| {
            let name = name.to_lowercase();
            format!("parameter {name} is missing; network {name} needs it")
        })?;
        // Linux: 15 bytes, neither a slash nor a blank. A comma would end QEMU's option.
        let fits = text.len() <= 15 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        if fits && !text.contains(',') {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "parameter {} must be the name of a network device, not {text:?}",
                name.to_lowercase()
            ))
        }
    };
    match host.parameter("NETWORK") {
        Some("bridge") => Ok(WantedNetwork::Bridge { bridge: device("BRIDGE")?, address }),
        Some("tap") => Ok(WantedNetwork::Tap { device: device("TAP")?, address }),
        _ => Ok(WantedNetwork::User { address, port: port(host)? }),
    }
}

fn port(host: &DeploymentFile) -> Result<u16, String> {
    if let Some(port) = within(host, "SSH_PORT", 1..=65535)? {
        return Ok(u16::try_from(port).unwrap_or(22));
    }
    match host.template.text("PROVISION_CONNECTION/REMOTE_PORT").map(str::trim) {
        None | Some("") => Ok(22),
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("remote_port of the connection must be a port, not {text:?}")),
        },
    }
}

fn mac(text: &str) -> Result<String, String> {
    let text = text.trim().to_ascii_lowercase();
    let bytes: Vec<_> =
        text.split(':').map(|part| (part.len(), u8::from_str_radix(part, 16))).collect();
    let fits = bytes.len() == 6 && bytes.iter().all(|(length, byte)| *length == 2 && byte.is_ok());
    match bytes.first() {
        Some((_, Ok(first))) if fits && first & 1 == 0 => Ok(text),
        _ => Err(format!(
            "parameter mac must be the address of one device, such as 52:54:00:12:34:56, not {text:?}"
        )),
    }
}

/// RFC 1123, one label or several.
fn hostname(host: &DeploymentFile) -> Result<String, String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match host.parameter("HOSTNAME") {
        Some(text) if text.len() <= 253 && text.split('.').all(label) => Ok(text.to_owned()),
        Some(text) => Err(format!("parameter hostname must be a host's name, not {text:?}")),
        // The name in OpenNebula is not ours to refuse.
        None if host.name.len() <= 253 && host.name.split('.').all(label) => Ok(host.name.clone()),
        None => Ok("machine".to_owned()),
    }
}

fn ssh_keys(host: &DeploymentFile) -> Vec<String> {
    let text = host.template.text("CONTEXT/SSH_PUBLIC_KEY").unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}
