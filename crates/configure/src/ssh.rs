//! How ssh is called: for a login of ours, and by Ansible.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::Machine;
use crate::connection::{Connection, Key};

/// How long a machine may take to let us in, in seconds.
const CONNECT: u32 = 10;

/// The options with which a machine is logged in to, as `-o` takes them.
///
/// `key` is the file of the private key, if there is one. Its host key is kept in `known_hosts` under
/// the machine's alias, and checked from then on.
pub(crate) fn options(machine: &Machine, known_hosts: &Path, key: Option<&Path>) -> Vec<String> {
    let Connection { jump, .. } = &machine.connection;
    let mut options = vec![
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={CONNECT}"),
        "ConnectionAttempts=1".to_owned(),
        "ServerAliveInterval=5".to_owned(),
        "ServerAliveCountMax=6".to_owned(),
        "ForwardAgent=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        "HashKnownHosts=no".to_owned(),
        "UpdateHostKeys=no".to_owned(),
        "CheckHostIP=no".to_owned(),
        "StrictHostKeyChecking=accept-new".to_owned(),
        format!("UserKnownHostsFile=\"{}\"", known_hosts.display()),
        "GlobalKnownHostsFile=/dev/null".to_owned(),
        format!("HostKeyAlias={}", machine.alias),
    ];
    if let Some(key) = key {
        options.push(format!("IdentityFile=\"{}\"", key.display()));
        options.push("IdentitiesOnly=yes".to_owned());
    }
    if let Some(jump) = jump {
        options.push(format!("ProxyJump={jump}"));
    }
    options
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
