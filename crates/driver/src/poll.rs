//! What `poll` printed.
//!
//! The format is the one of the virtualization drivers' `poll` (OpenNebula 5.8, *Virtualization
//! Driver*): `KEY=VALUE` pairs and vectors `KEY=[ SUB=VALUE, SUB=VALUE ]`, separated by blanks. What
//! drivers really print is less tidy, and all of this is understood:
//!
//! | shape | printed by |
//! | --- | --- |
//! | `GUEST_IP_ADDRESSES="1.2.3.4,10.0.0.1"` | packet |
//! | `GUEST_IP_ADDRESSES="1.2.3.4 ` (no closing quote) | dummy 5.8 to 5.12 |
//! | `BILLING_CYCLE = "hourly"` | packet 5.12 |
//! | `AWS_KEY=\"a%20b\"` (backslashes, URI-escaped) | ec2 5.8 |
//! | `AWS_KEY="a+b%2Fc"` (CGI-escaped) | ec2 5.12 |
//! | several lines, tokens without `=`, log lines in between | drivers of sites |
//!
//! Reading never fails: what is no pair is passed over.

use std::fmt::Write as _;

use model::{Attributes, Secret};

mod scan;

/// Most bytes of an answer that are read (1 MiB).
pub const MAX_BYTES: usize = 1 << 20;
/// Most pairs that are kept, those inside vectors included.
pub const MAX_PAIRS: usize = 4096;
/// Keys of addresses: the first one with any counts.
const ADDRESSES: [&str; 3] = ["GUEST_IP_ADDRESSES", "AWS_PUBLIC_IP_ADDRESS", "GUEST_IP"];

/// A machine's state, the single letter of the virtualization drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineState {
    /// `a`: running.
    Active,
    /// `p`: being made, or paused.
    Paused,
    /// `e`: in error.
    Error,
    /// `d`: gone or powered off.
    Gone,
    /// `-`: not known, or unchanged.
    NotKnown,
}

impl MachineState {
    /// The letter.
    pub fn letter(self) -> char {
        match self {
            Self::Active => 'a',
            Self::Paused => 'p',
            Self::Error => 'e',
            Self::Gone => 'd',
            Self::NotKnown => '-',
        }
    }

    /// The state of a `STATE` value: its letter, or one of the words that providers have for it, in either
    /// case; anything else is not known.
    pub fn from_text(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "a" | "active" | "running" | "started" | "on" | "up" => Self::Active,
            "p" | "paused" | "pending" | "queued" | "building" | "creating" | "provisioning"
            | "booting" | "starting" | "stopping" | "shutting-down" | "deleting" | "suspended" => {
                Self::Paused
            }
            "e" | "error" | "failed" => Self::Error,
            // Not `off` and the like: a machine may be that on its way up, too.
            "d" | "terminated" | "deleted" | "destroyed" | "gone" => Self::Gone,
            _ => Self::NotKnown,
        }
    }
}

/// A poll's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollReport {
    /// `STATE`, if it was told.
    pub state: Option<MachineState>,
    /// `GUEST_IP_ADDRESSES`, else `AWS_PUBLIC_IP_ADDRESS`, else `GUEST_IP`, in the order given.
    pub addresses: Vec<String>,
    /// All pairs and vectors, keys in upper case. A scalar that was printed twice has its last value, as
    /// in the old tool; vectors may repeat. Credentials (`ROOT_PASSWORD`) are secrets.
    pub attributes: Attributes,
}

impl PollReport {
    /// A report of that state and these addresses, with nothing else.
    pub fn new(state: MachineState, addresses: Vec<String>) -> Self {
        Self { state: Some(state), addresses, attributes: Attributes::new() }
    }

    /// Reads what `poll` wrote to standard output: the first [`MAX_BYTES`] of it and the first
    /// [`MAX_PAIRS`] pairs.
    pub fn parse(output: impl AsRef<[u8]>) -> Self {
        let output = output.as_ref();
        let text = String::from_utf8_lossy(output.get(..MAX_BYTES).unwrap_or(output));
        let attributes = crate::deployment::hide_secrets(scan::attributes(&text));
        let state = attributes.text("STATE").map(MachineState::from_text);
        let addresses = addresses(&attributes);
        Self { state, addresses, attributes }
    }

    /// The address by which the machine is reached: the first one, as the old tool chose it.
    pub fn address(&self) -> Option<&str> {
        self.addresses.first().map(String::as_str)
    }

    /// Why there is no address, for who waits for one.
    pub fn no_address(&self) -> String {
        let told = ADDRESSES.iter().find_map(|key| Some((key, self.attributes.text(key)?)));
        match told.filter(|(_, text)| !text.trim().is_empty() && !is_none(text.trim())) {
            Some((key, text)) => {
                let text: String = text.chars().take(100).collect();
                format!("what poll prints as {key} can be no address: {text:?}")
            }
            None if self.state.is_none() && self.attributes.is_empty() => {
                "poll prints no KEY=VALUE pair".to_owned()
            }
            None => "it has no address yet".to_owned(),
        }
    }

    /// Whether its `STATE` is a word that is not understood, and not the protocol's own for "not known".
    pub fn has_other_state(&self) -> bool {
        let text = self.attributes.text("STATE").unwrap_or_default().trim();
        let is_off = ["off", "poweroff", "powered-off", "stopped", "shutoff", "halted", "inactive"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
        self.state == Some(MachineState::NotKnown) && !matches!(text, "" | "-") && !is_off
    }

    /// Whether the machine runs and can be addressed. A driver that does not tell a state (packet
    /// 5.12) answers with addresses only for machines that run.
    pub fn is_up(&self) -> bool {
        matches!(self.state, None | Some(MachineState::Active)) && self.address().is_some()
    }

    /// The report as one well-formed line without line end, for whoever writes a driver: `STATE`
    /// first, then the addresses, then everything else. Secrets are in clear.
    pub fn to_line(&self) -> String {
        self.line(|secret| secret.expose().to_owned())
    }

    /// The same with secrets masked, for logs.
    pub fn to_masked_line(&self) -> String {
        self.line(ToString::to_string)
    }

    fn line(&self, reveal: impl Fn(&Secret) -> String + Copy) -> String {
        let mut line = String::new();
        if let Some(state) = self.state {
            // Writing to a String cannot fail.
            let _ = write!(line, "STATE={}", state.letter());
        }
        let told = ADDRESSES.iter().any(|key| !addresses_of(&self.attributes, key).is_empty());
        if !self.addresses.is_empty() && !told {
            separate(&mut line);
            let _ = write!(line, "GUEST_IP_ADDRESSES=\"{}\"", self.addresses.join(","));
        }
        for (key, value) in self.attributes.iter() {
            if key == "STATE" && self.state.is_some() {
                continue;
            }
            if let Some(pair) = scan::write_pair(key, value, reveal, true) {
                separate(&mut line);
                line.push_str(&pair);
            }
        }
        line
    }
}

fn separate(line: &mut String) {
    if !line.is_empty() {
        line.push(' ');
    }
}

/// The addresses of a machine, of the first key that has any: of a poll, or of a line of a list.
pub fn addresses(attributes: &Attributes) -> Vec<String> {
    let mut told = ADDRESSES.iter().map(|key| addresses_of(attributes, key));
    told.find(|all| !all.is_empty()).unwrap_or_default()
}

/// The usable addresses or host names of a comma-separated value.
fn addresses_of(attributes: &Attributes, key: &str) -> Vec<String> {
    attributes
        .text(key)
        .unwrap_or_default()
        .split([',', ' ', '\t', ';'])
        .map(bare)
        .filter(|address| is_address(address) && !is_none(address))
        .map(str::to_owned)
        .collect()
}

/// An address without quotes, the length of its network (as `ip` prints it) and the brackets that it has in URLs.
fn bare(address: &str) -> &str {
    let address = address.trim_matches(|c: char| matches!(c, '"' | '\\' | '\''));
    let address = match address.split_once('/') {
        Some((address, bits)) if bits.parse::<u8>().is_ok() => address,
        _ => address,
    };
    address.strip_prefix('[').and_then(|inside| inside.strip_suffix(']')).unwrap_or(address)
}

/// Whether a text can be an IPv4 or IPv6 address or a host name. It becomes the host's name and an
/// argument of programs, so nothing else is let through.
fn is_address(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%'))
}

/// What an interface has before it has an address, and what programs print of one.
fn is_none(text: &str) -> bool {
    is_no_value(text) || matches!(text, "0.0.0.0" | "::")
}

/// What `jq -r` and others print of a value that is not there.
pub(crate) fn is_no_value(text: &str) -> bool {
    ["null", "none", "nil", "undefined"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Reads several machines, one a line: the output of the optional action `list`. Each line is like
/// a poll's, with the machine's id as `DEPLOY_ID` (or `ID`); lines that are about no machine are passed over.
///
/// `None` if there are lines and no machine in any: that is no list of no machines but something else, such as the
/// error page of a provider, and proves nothing. Nor does one with a machine whose id is not told.
pub fn parse_list(output: impl AsRef<[u8]>) -> Option<Vec<crate::api::ListedMachine>> {
    let output = output.as_ref();
    let mut machines = Vec::new();
    for line in String::from_utf8_lossy(output).lines() {
        let mut attributes = crate::deployment::hide_secrets(scan::attributes(line));
        let has = |key: &&str| attributes.text(key).is_some();
        let Some(key) = ["DEPLOY_ID", "ID"].into_iter().find(has) else {
            if ["KEY", "NAME"].iter().any(has) {
                return None;
            }
            continue;
        };
        let id = attributes.text(key).filter(|id| !is_no_value(id.trim()));
        let id = id.and_then(model::DeployId::new)?;
        attributes.remove(key);
        machines.push(crate::api::ListedMachine { id, attributes });
    }
    (!machines.is_empty() || output.trim_ascii().is_empty()).then_some(machines)
}

/// Writes one machine as a line of `list`, without line end.
pub fn list_line(machine: &crate::api::ListedMachine) -> String {
    let mut attributes = Attributes::new();
    attributes.push("DEPLOY_ID", machine.id.as_str());
    for (key, value) in machine.attributes.iter() {
        attributes.push(key, value.clone());
    }
    PollReport { attributes, ..Default::default() }.to_line()
}

#[cfg(test)]
#[path = "poll_tests.rs"]
mod tests;
