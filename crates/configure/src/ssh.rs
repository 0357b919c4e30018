//! How ssh is called: for a login of ours, and by Ansible.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::Machine;
use crate::connection::{Connection, Key};
use crate::script::quoted;

/// How long a machine may take to let us in, in seconds.
const CONNECT: u32 = 10;

/// The options with which a machine is logged in to, as `-o` takes them.
///
/// `key` is the file of the private key, if there is one. Its host key is kept in `known_hosts` under
/// the machine's alias, and checked from then on.
pub(crate) fn options(machine: &Machine, known_hosts: &Path, key: Option<&Path>) -> Vec<String> {
    let Connection { jump, .. } = &machine.connection;
    let mut options = common();
    options.extend([
        "ConnectionAttempts=1".to_owned(),
        format!("UserKnownHostsFile={}", path(known_hosts)),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("HostKeyAlias={}", machine.alias),
    ]);
    if let Some(key) = key {
        options.push(format!("IdentityFile={}", path(key)));
        options.push("IdentitiesOnly=yes".to_owned());
    }
    if let Some(jump) = jump {
        let jumps: Vec<&str> = jump.split(',').collect();
        options.push(format!("ProxyCommand={}", proxy(&jumps, known_hosts, key)));
    }
    options
}

/// What every ssh of ours is told: to ask nobody, to wait for nobody for ever, to keep host keys.
fn common() -> Vec<String> {
    vec![
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={CONNECT}"),
        "ServerAliveInterval=5".to_owned(),
        "ServerAliveCountMax=6".to_owned(),
        "ForwardAgent=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "HashKnownHosts=no".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
    ]
}

/// The command that connects through jump hosts, for the shell with which ssh runs it.
///
/// `ProxyJump` would not do: what it starts is told none of our options, and asks at the terminal for
/// a host key that it does not know. A jump host is looked for in the user's own known hosts first and
/// is kept among the provision's if it is new; the machine's key and the user's own are tried.
pub(crate) fn proxy(jumps: &[&str], known_hosts: &Path, key: Option<&Path>) -> String {
    let Some((jump, before)) = jumps.split_last() else { return String::new() };
    let mut options = common();
    options.extend([
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        format!("UserKnownHostsFile={} ~/.ssh/known_hosts", path(known_hosts)),
    ]);
    if let Some(key) = key {
        // One that is named replaces those that ssh tries of itself.
        let own = ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];
        options.push(format!("IdentityFile={}", path(key)));
        options.extend(own.map(|file| format!("IdentityFile={file}")));
    }
    if !before.is_empty() {
        options.push(format!("ProxyCommand={}", proxy(before, known_hosts, key)));
    }
    let (user, place) = match jump.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, *jump),
    };
    let (host, port) = split_port(place);
    let mut words = vec!["ssh".to_owned()];
    words.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
    words.extend(user.into_iter().flat_map(|user| ["-l".to_owned(), user.to_owned()]));
    words.extend(port.into_iter().flat_map(|port| ["-p".to_owned(), port.to_owned()]));
    // ssh puts in what follows a percent sign, and makes one of two: all but the target's are doubled.
    let words = words.iter().map(|word| quoted(&word.replace('%', "%%")));
    let host = quoted(&host.replace('%', "%%"));
    format!("{} -W '[%h]:%p' -- {host}", words.collect::<Vec<_>>().join(" "))
}

/// Host and port of `HOST`, `HOST:PORT`, `[HOST]`, `[HOST]:PORT`, or an IPv6 address.
fn split_port(place: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match place.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (place, None),
    }
}

/// A file's name as a word of ssh's configuration, where a percent sign stands for something else.
fn path(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// The arguments of `ssh` for a command on a machine, without the command.
pub(crate) fn arguments(
    machine: &Machine,
    known_hosts: &Path,
    key: Option<&Path>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-T".into()];
    let own = ["ControlMaster=no".to_owned(), "ControlPath=none".to_owned()];
    for option in options(machine, known_hosts, key).into_iter().chain(own) {
        arguments.extend(["-o".into(), option.into()]);
    }
    let Connection { user, port, .. } = &machine.connection;
    arguments.extend(["-l", user, "-p", &port.to_string(), "--", &machine.address].map(Into::into));
    arguments
}

/// The file of a machine's private key: the one that is named, or one that holds its content, which
/// `write` makes. None if the user's own keys and agent count, as they do if 5.12's default file is not
/// there and nobody asked for it.
pub(crate) fn key_file(
    key: &Key,
    write: impl FnOnce(&model::Secret) -> std::io::Result<PathBuf>,
) -> std::io::Result<Option<PathBuf>> {
    match key {
        Key::Agent => Ok(None),
        Key::File(path) if path == Path::new(DEFAULT_PRIVATE_KEY) && !path.exists() => Ok(None),
        Key::File(path) => Ok(Some(path.clone())),
        Key::Content(content) => write(content).map(Some),
    }
}

/// Path of the private key that 5.12 used if the template named none.
pub(crate) const DEFAULT_PRIVATE_KEY: &str = "/var/lib/one/.ssh/ddc/id_rsa";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jump_hosts_have_ports() {
        for (place, host, port) in [
            ("gate", "gate", None),
            ("gate:2222", "gate", Some("2222")),
            ("[fd00::1]", "fd00::1", None),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", Some("22")),
            ("fd00::1", "fd00::1", None),
        ] {
            assert_eq!(split_port(place), (host, port), "{place}");
        }
    }

    #[test]
    fn the_way_through_jump_hosts_is_theirs_in_their_order() {
        let command = proxy(&["op@gate:23", "two%x"], Path::new("/a b%/k"), None);
        assert!(command.ends_with(" -W '[%h]:%p' -- 'two%%x'"), "{command}");
        assert!(command.contains("=\"/a b%%%%/k\" ~/.ssh/known_hosts'"), "{command}");
        let (before, after) = command.split_once("ProxyCommand=").unwrap();
        assert!(after.contains("op") && after.contains("[%%h]:%%p") && after.contains("gate"));
        assert!(!before.contains("gate"), "{command}");
    }
}
