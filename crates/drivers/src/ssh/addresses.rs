//! Lists of machines: addresses, ranges of addresses, names, with or without a port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Most machines that a list may name.
const MOST: usize = 4096;

/// Where a machine's SSH is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) struct Place {
    /// Address or name; nothing in it that a program could take for an option.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host.contains(':'), self.port) {
            (_, 22) => f.write_str(&self.host),
            (true, port) => write!(f, "[{}]:{port}", self.host),
            (false, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Reads a list such as `192.0.2.10-20, host1:2222, [2001:db8::1]:22`, in its order, each once.
///
/// # Errors
/// Which part is none, and why.
pub(super) fn parse(text: &str, port: u16) -> Result<Vec<Place>, String> {
    let mut places: Vec<Place> = Vec::new();
    for item in text.split([',', ' ', '\n', '\t']).filter(|item| !item.is_empty()) {
        for place in item_of(item, port)? {
            if places.len() >= MOST {
                return Err(format!("names more than {MOST} machines"));
            }
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    if places.is_empty() { Err("names no machine".to_owned()) } else { Ok(places) }
}

fn item_of(item: &str, default: u16) -> Result<Vec<Place>, String> {
    let wrong = |why: &str| format!("has {item:?}, which {why}");
    let (hosts, port) = split_port(item).ok_or_else(|| wrong("has no port after its colon"))?;
    let port = port.unwrap_or(default);
    let place = |host: String| Place { host, port };
    if let Ok(address) = hosts.parse::<IpAddr>() {
        return Ok(vec![place(address.to_string())]);
    }
    if let Some((first, last)) = hosts.split_once('-')
        && let Ok(first) = first.parse::<IpAddr>()
    {
        let last = last_of(first, last).ok_or_else(|| wrong("is no range of addresses"))?;
        let (from, to) = (number(first), number(last));
        if to < from {
            return Err(wrong("ends before it begins"));
        }
        if to - from >= MOST as u128 {
            return Err(format!("names more than {MOST} machines"));
        }
        return Ok((from..=to).map(|n| place(address(n, first.is_ipv4()).to_string())).collect());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // A name of digits and dots alone is an address with a mistake in it.
    let is_name = hosts.split('.').all(label) && hosts.bytes().any(|b| b.is_ascii_alphabetic());
    if hosts.len() <= 253 && is_name {
        Ok(vec![place(hosts.to_ascii_lowercase())])
    } else {
        Err(wrong("is neither an address, nor a range of them, nor a name"))
    }
}

/// The part before a port, and the port; an IPv6 address with a port is in brackets.
fn split_port(item: &str) -> Option<(&str, Option<u16>)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    if let Some(rest) = item.strip_prefix('[') {
        return match rest.split_once(']')? {
            (hosts, "") => Some((hosts, None)),
            (hosts, rest) => Some((hosts, Some(port(rest.strip_prefix(':')?)?))),
        };
    }
    match item.split_once(':') {
        Some((hosts, rest)) if !rest.contains(':') => Some((hosts, Some(port(rest)?))),
        _ => Some((item, None)),
    }
}

/// The end of a range: an address, or for IPv4 its last number.
fn last_of(first: IpAddr, text: &str) -> Option<IpAddr> {
    if let (IpAddr::V4(first), Ok(last)) = (first, text.parse::<u8>()) {
        let [a, b, c, _] = first.octets();
        return Some(Ipv4Addr::new(a, b, c, last).into());
    }
    text.parse::<IpAddr>().ok().filter(|last| last.is_ipv4() == first.is_ipv4())
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if v4 => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        parse(text, 22).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lists_and_ranges() {
        assert_eq!(
            names("192.0.2.9-11, host1,Host1"),
            ["192.0.2.9", "192.0.2.10", "192.0.2.11", "host1"]
        );
        assert_eq!(names("192.0.2.255-192.0.3.0"), ["192.0.2.255", "192.0.3.0"]);
        assert_eq!(names("2001:db8::f-2001:db8::10"), ["2001:db8::f", "2001:db8::10"]);
        assert_eq!(names("[2001:DB8::1]:2222 [::1]"), ["[2001:db8::1]:2222", "::1"]);
        assert_eq!(
            names("a-1.example.org:2222,10.0.0.1-2:22"),
            ["a-1.example.org:2222", "10.0.0.1", "10.0.0.2"]
        );
    }

    #[test]
    fn what_is_none_is_said() {
        for (text, part) in [
            ("", "no machine"),
            (" , ", "no machine"),
            ("-oProxyCommand=x", "neither"),
            ("host;rm", "neither"),
            ("192.0.2.300", "neither"),
            ("192.0.2.20-10", "ends before"),
            ("192.0.2.1-2001:db8::1", "no range"),
            ("10.0.0.0-10.255.255.255", "more than"),
            ("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "more than"),
            ("host:0", "no port"),
            ("host:ssh", "no port"),
            ("[::1", "no port"),
        ] {
            let error = parse(text, 22).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_is_an_option_or_a_second_word(text in ".{0,60}") {
            for place in parse(&text, 22).unwrap_or_default() {
                prop_assert!(!place.host.starts_with('-'));
                prop_assert!(place.host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b)));
                prop_assert_eq!(parse(&place.to_string(), 22).unwrap(), vec![place]);
            }
        }
    }
}
