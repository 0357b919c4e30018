//! Address ranges of networks (`src/vnm/AddressRange.cc`, 6.10 and 7.4).

use std::net::{Ipv4Addr, Ipv6Addr};

use model::{Attributes, Value};

use crate::object::AddressRange;

/// First bytes of generated MAC addresses, `MAC_PREFIX` of `oned.conf`.
const MAC_PREFIX: [u8; 2] = [0x02, 0x00];

type Mac = [u8; 6];

/// A range of the attributes of an `AR`, with a MAC address by its IPv4 address, or a random one.
///
/// # Errors
/// The words of `oned`.
pub(crate) fn new(attributes: &Attributes, id: i32, is_7: bool) -> Result<AddressRange, String> {
    let text = |key: &str| attributes.text(key).unwrap_or_default().to_owned();
    let kind = text("TYPE").to_ascii_uppercase();
    let (has_v4, has_prefixes, fixed_v6) = match kind.as_str() {
        "IP4" => (true, false, false),
        "IP4_6" => (true, true, false),
        "IP4_6_STATIC" => (true, false, true),
        "IP6" => (false, true, false),
        "IP6_STATIC" => (false, false, true),
        "ETHER" => (false, false, false),
        _ => return Err("Unknown or missing address range TYPE.".to_owned()),
    };
    let ip = match has_v4 {
        true => {
            Some(parse_ip(&text("IP")).ok_or_else(|| "Wrong or empty IP attribute".to_owned())?)
        }
        false => None,
    };
    let is_v6 = |key: &str| text(key).parse::<Ipv6Addr>().is_ok();
    for (key, words) in [("GLOBAL_PREFIX", "global"), ("ULA_PREFIX", "unique local")] {
        if has_prefixes && !text(key).is_empty() && !is_v6(key) {
            return Err(format!("Wrong format for IP6 {words} address prefix"));
        }
    }
    if fixed_v6 && !is_v6("IP6") {
        return Err("Wrong or empty IP6 attribute".to_owned());
    }
    if fixed_v6 && text("PREFIX_LENGTH").parse::<i32>().is_err() {
        return Err("Wrong or empty PREFIX_LENGTH".to_owned());
    }
    let mac = match text("MAC") {
        given if given.is_empty() => match ip {
            Some(ip) => mac_of(ip),
            None => random_mac()?,
        },
        given => parse_mac(&given).ok_or_else(|| match is_7 {
            true => format!("Wrong format for MAC attribute: {given}"),
            false => "Wrong format for MAC attribute".to_owned(),
        })?,
    };
    let size: u32 =
        text("SIZE").trim_start().parse().map_err(|_| "Wrong SIZE for address range".to_owned())?;

    let mut all = attributes.clone();
    for key in ["ALLOCATED", "USED_LEASES", "LEASES", "PARENT_NETWORK_AR_ID", "PARENT_NETWORK"] {
        all.remove(key);
    }
    // What does not belong to the type is dropped.
    let known = [("IP", has_v4), ("GLOBAL_PREFIX", has_prefixes), ("ULA_PREFIX", has_prefixes)];
    for (key, belongs) in known.into_iter().chain([("IP6", fixed_v6)]) {
        if !belongs {
            all.remove(key);
        }
    }
    all.set("AR_ID", id.to_string());
    // 6.x leaves an address as it was written.
    if is_7 || text("MAC").is_empty() {
        all.set("MAC", format_mac(mac));
    }
    if is_7 {
        let shared = all.text("SHARED").is_some_and(crate::template::is_yes);
        all.set("SHARED", if shared { "YES" } else { "NO" });
        all.set("NEXT_INDEX", "0");
    }
    let attributes = opennebula::text::sorted(all)
        .into_iter()
        .filter_map(|(key, value)| match value {
            Value::Text(text) => Some((key, text)),
            _ => None,
        })
        .collect();
    // A range without addresses ends before it begins.
    let last = size.wrapping_sub(1);
    let ip_end = ip.map(|ip| Ipv4Addr::from(u32::from(ip).wrapping_add(last)).to_string());
    let mac_end = add(mac, last);
    let mut ip6 = Vec::new();
    for (prefix, name) in [("ULA_PREFIX", "IP6_ULA"), ("GLOBAL_PREFIX", "IP6_GLOBAL")] {
        if let (true, Ok(prefix)) = (has_prefixes, text(prefix).parse()) {
            ip6.push((name.to_owned(), interface(prefix, mac).to_string()));
            ip6.push((format!("{name}_END"), interface(prefix, mac_end).to_string()));
        }
    }
    if let (true, Ok(first)) = (fixed_v6, text("IP6").parse::<Ipv6Addr>()) {
        let end = Ipv6Addr::from(u128::from(first).wrapping_add(last.into()));
        ip6.push(("IP6_END".to_owned(), end.to_string()));
    }
    Ok(AddressRange { id, attributes, mac_end: format_mac(mac_end), ip_end, ip6 })
}

/// Four numbers, each with as many zeros before it as one likes.
fn parse_ip(text: &str) -> Option<Ipv4Addr> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let bytes: Option<Vec<u8>> =
        text.split('.').map(|part| digits(part).then(|| part.parse().ok()).flatten()).collect();
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes?).ok()?))
}

fn mac_of(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    let [p, q] = MAC_PREFIX;
    [p, q, a, b, c, d]
}

/// The address that an interface with a MAC address gives itself below a prefix (RFC 4291).
fn interface(prefix: Ipv6Addr, mac: Mac) -> Ipv6Addr {
    let [p0, p1, p2, p3, ..] = prefix.segments();
    let [a, b, c, d, e, f] = mac.map(u16::from);
    let own = [(a ^ 2) << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f];
    let [i0, i1, i2, i3] = own;
    Ipv6Addr::from([p0, p1, p2, p3, i0, i1, i2, i3])
}

fn random_mac() -> Result<Mac, String> {
    let [a, b, c, d] = crate::crypt::random().map_err(|error| error.to_string())?;
    let [p, q] = MAC_PREFIX;
    Ok([p, q, a, b, c, d])
}

fn parse_mac(text: &str) -> Option<Mac> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes?.try_into().ok()
}

fn format_mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The address that many further; only the last four bytes count on.
fn add(mac: Mac, count: u32) -> Mac {
    let [p, q, a, b, c, d] = mac;
    let [a, b, c, d] = u32::from_be_bytes([a, b, c, d]).wrapping_add(count).to_be_bytes();
    [p, q, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Version;

    fn range(source: &str) -> Result<AddressRange, String> {
        new(&crate::template::parse(Version::V7_4, source).unwrap(), 0, true)
    }

    #[test]
    fn an_ipv4_range_is_as_recorded() {
        let range = range("IP=192.168.150.2\nSIZE=20\nTYPE=IP4").unwrap();
        let expected = [
            ("AR_ID", "0"),
            ("IP", "192.168.150.2"),
            ("MAC", "02:00:c0:a8:96:02"),
            ("NEXT_INDEX", "0"),
            ("SHARED", "NO"),
            ("SIZE", "20"),
            ("TYPE", "IP4"),
        ];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(range.attributes, expected);
        assert_eq!(range.mac_end, "02:00:c0:a8:96:15");
        assert_eq!(range.ip_end.as_deref(), Some("192.168.150.21"));
    }

    #[test]
    fn ipv6_addresses_follow_from_prefix_or_first() {
        let mac = "MAC=\"02:00:00:00:00:09\"\nSIZE=2";
        let addresses = |source: &str| range(&format!("{source}\n{mac}")).unwrap().ip6;
        let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let both = "TYPE=IP6\nGLOBAL_PREFIX=\"2001:db8::\"\nULA_PREFIX=\"fd00::\"";
        let expected = pairs(&[
            ("IP6_ULA", "fd00::ff:fe00:9"),
            ("IP6_ULA_END", "fd00::ff:fe00:a"),
            ("IP6_GLOBAL", "2001:db8::ff:fe00:9"),
            ("IP6_GLOBAL_END", "2001:db8::ff:fe00:a"),
        ]);
        assert_eq!(addresses(both), expected);
        let fixed = "TYPE=IP6_STATIC\nIP6=\"2001:db8::1\"\nPREFIX_LENGTH=64";
        assert_eq!(addresses(fixed), pairs(&[("IP6_END", "2001:db8::2")]));
        assert_eq!(addresses("TYPE=IP6"), pairs(&[]));
    }

    #[test]
    fn odd_ranges_end_or_are_refused() {
        let last = range("IP=255.255.255.255\nSIZE=2\nTYPE=IP4").unwrap();
        assert_eq!(last.ip_end.as_deref(), Some("0.0.0.0"));
        let none = range("IP=10.0.0.1\nSIZE=0\nTYPE=IP4").unwrap();
        assert_eq!(none.ip_end.as_deref(), Some("10.0.0.0"));
        let zeros = range("IP=010.000.000.001\nSIZE=2\nTYPE=IP4").unwrap();
        assert_eq!(zeros.ip_end.as_deref(), Some("10.0.0.2"));
        assert_eq!(zeros.mac_end, "02:00:0a:00:00:02");
        assert_eq!(range("SIZE=1\nTYPE=ETHER").unwrap().ip_end, None);
        let dropped = range("SIZE=1\nTYPE=ETHER\nIP=10.0.0.1\nIP6=x\nULA_PREFIX=y").unwrap();
        let keys: Vec<_> = dropped.attributes.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["AR_ID", "MAC", "NEXT_INDEX", "SHARED", "SIZE", "TYPE"]);
        for bad in [
            "IP=10.0.0.1\nSIZE=2",
            "TYPE=IP4\nSIZE=2",
            "TYPE=IP4\nIP=10.0.0.1\nSIZE=-2",
            "TYPE=IP4\nIP=10.0.0\nSIZE=2",
            "TYPE=IP4\nIP=10.0.0.256\nSIZE=2",
            "TYPE=IP4\nIP=10.0.0.1\nSIZE=2\nMAC=zz",
            "TYPE=IP6_STATIC\nIP6=x\nSIZE=2",
            "TYPE=IP6_STATIC\nIP6=2001:db8::1\nSIZE=2",
            "TYPE=IP6\nGLOBAL_PREFIX=x\nSIZE=2",
            "TYPE=IP4_6\nIP=10.0.0.1\nULA_PREFIX=x\nSIZE=2",
        ] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
