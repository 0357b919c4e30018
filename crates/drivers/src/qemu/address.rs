//! Addresses of machines behind this computer.
//!
//! Linux answers on all of 127.0.0.0/8 (RFC 1122, 3.2.1.3), so every machine has an address of its own by
//! which OpenNebula names its host, and its SSH answers there on the port of the connection. Each state
//! folder begins at a place of its own in 127.64.0.0/10: two of one computer seldom meet, and never
//! unnoticed.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener};

use sha2::{Digest as _, Sha256};

/// Addresses in the range.
const SIZE: u32 = 1 << 22;
/// How many addresses in a row may have the port taken before that is taken for a listener on all.
const ATTEMPTS: u32 = 64;

/// An address that no machine in `taken` has, and where the port is free.
///
/// `folder` says where the search begins. `wanted` is taken as it is, if it can be.
///
/// # Errors
/// What is in the way, for people.
pub(super) fn choose(
    wanted: Option<IpAddr>,
    port: u16,
    folder: &[u8],
    taken: &[(IpAddr, u16)],
) -> Result<IpAddr, String> {
    if let Some(address) = wanted {
        if taken.contains(&(address, port)) {
            return Err(format!("port {port} of {address} belongs to another machine already"));
        }
        return match try_port(address, port) {
            Ok(()) => Ok(address),
            Err(error) => Err(in_the_way(address, port, &error)),
        };
    }
    let digest = Sha256::digest(folder);
    let begin = digest.iter().take(3).fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    let begin = (begin % SIZE) & !0xff;
    let mut refused = 0;
    for step in 1..SIZE {
        let address = address(begin.wrapping_add(step) % SIZE);
        if address.octets()[3] == 0 || taken.iter().any(|(other, _)| *other == address) {
            continue;
        }
        match try_port(address.into(), port) {
            Ok(()) => return Ok(address.into()),
            Err(error) if error.kind() == ErrorKind::AddrInUse && refused + 1 < ATTEMPTS => {
                refused += 1;
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                return Err(format!(
                    "port {port} is taken on every address: something listens on 0.0.0.0:{port}; \
                     give the connection another remote_port, such as 2222"
                ));
            }
            Err(error) => return Err(in_the_way(address.into(), port, &error)),
        }
    }
    Err("there is no free address in 127.64.0.0/10".to_owned())
}

fn address(offset: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + offset)
}

fn try_port(address: IpAddr, port: u16) -> std::io::Result<()> {
    TcpListener::bind((address, port)).map(drop)
}

fn in_the_way(address: IpAddr, port: u16, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!("port {port} of {address} is taken"),
        ErrorKind::PermissionDenied => format!(
            "port {port} may be used by root only: give the connection another remote_port, such as 2222"
        ),
        ErrorKind::AddrNotAvailable => {
            format!("parameter address: {address} is not an address of this computer")
        }
        _ => format!("port {port} of {address} cannot be used: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_an_address_of_its_own() {
        let port = 45_022;
        let mut taken = Vec::new();
        for _ in 0..300 {
            let address = choose(None, port, b"/state", &taken).unwrap();
            assert!(!taken.contains(&(address, port)));
            taken.push((address, port));
        }
        let first = taken[0].0;
        let text = choose(Some(first), port, b"", &taken).unwrap_err();
        assert!(text.contains("another machine"), "{text}");
        assert_ne!(choose(None, port, b"/other", &[]).unwrap(), first);
    }

    #[test]
    fn a_taken_port_is_noticed() {
        let listener = TcpListener::bind("127.9.9.9:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let text = choose(Some([127, 9, 9, 9].into()), port, b"", &[]).unwrap_err();
        assert_eq!(text, format!("port {port} of 127.9.9.9 is taken"));
        let all = TcpListener::bind("0.0.0.0:0").unwrap();
        let text = choose(None, all.local_addr().unwrap().port(), b"", &[]).unwrap_err();
        assert!(text.contains("on every address"), "{text}");
        let text = choose(Some([192, 0, 2, 1].into()), 2222, b"", &[]).unwrap_err();
        assert!(text.contains("not an address of this computer"), "{text}");
    }
}
