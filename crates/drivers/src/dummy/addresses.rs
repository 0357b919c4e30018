//! Addresses that the dummy driver's machines say they have, by their number in the ledger.

/// Addresses of machines: 198.18.0.0/15 (RFC 2544, for tests of networks), and 10.0.0.0/9 when that is
/// used up. Without the first and last of every 256, which could be a network's own.
pub(super) fn own_address(n: u32) -> String {
    let (block, last) = (n / 254, n % 254 + 1);
    match block {
        0..512 => format!("198.{}.{}.{last}", 18 + block / 256, block % 256),
        _ => format!("10.{}.{}.{last}", (block - 512) / 256 % 128, block % 256),
    }
}

/// Addresses after a change: 10.128.0.0/9.
pub(super) fn other_address(n: u32) -> String {
    let (block, last) = (n / 254, n % 254 + 1);
    format!("10.{}.{}.{last}", 128 + block / 256 % 128, block % 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_differ_and_stay_in_their_networks() {
        let mut seen = std::collections::HashSet::new();
        for n in 0..200_000 {
            let own = own_address(n);
            assert!(
                own.starts_with("198.18.") || own.starts_with("198.19.") || own.starts_with("10.")
            );
            assert!(own.parse::<std::net::Ipv4Addr>().unwrap().octets()[1] < 128, "{own}");
            assert!(other_address(n).parse::<std::net::Ipv4Addr>().unwrap().octets()[1] >= 128);
            assert!(seen.insert(own) && seen.insert(other_address(n)), "{n}");
        }
    }
}
