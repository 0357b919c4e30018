//! What a login takes: the private key, the file of host keys, and ssh itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::{ProvisionId, Secret};
use tempfile::TempDir;
use tokio::process::Command;

use crate::connection::Key;
use crate::system::System;
use crate::{Machine, Trouble, known_hosts, ssh, temporary};

/// How one machine is logged in to. A key that is given by its content lies in a file as long as this
/// lives.
pub(crate) struct Login<'a> {
    /// The machine.
    pub machine: &'a Machine,
    known_hosts: PathBuf,
    key: Option<PathBuf>,
    _written: Option<WrittenKey>,
}

impl System {
    /// Makes ready what a login takes.
    ///
    /// # Errors
    /// A folder or file of ours cannot be made.
    pub(crate) fn login<'a>(
        &self,
        provision: ProvisionId,
        machine: &'a Machine,
    ) -> Result<Login<'a>, Trouble> {
        let known_hosts = self.known_hosts(provision);
        known_hosts::make(&known_hosts).map_err(|error| {
            Trouble(format!("host keys cannot be kept in {}: {error}", known_hosts.display()))
        })?;
        let mut written = None;
        let key = ssh::key_file(&machine.connection.key, |content| {
            let made = self.write_key(content)?;
            let path = made.path.clone();
            written = Some(made);
            Ok(path)
        });
        let key = key.map_err(|error| {
            let temporary = self.settings.temporary.display();
            Trouble(format!("the private key cannot be written into {temporary}: {error}"))
        })?;
        Ok(Login { machine, known_hosts, key, _written: written })
    }

    /// Writes a key into the file `key` (0600) of a folder of its own (0700), which goes with the value.
    pub(crate) fn write_key(&self, content: &Secret) -> io::Result<WrittenKey> {
        let temporary = &self.settings.temporary;
        self.swept.call_once(|| temporary::sweep(temporary));
        let (folder, lock) = temporary::make(temporary, temporary::KEY)?;
        let path = folder.path().join("key");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content.expose().as_bytes())?;
        Ok(WrittenKey { path, _folder: folder, _lock: lock })
    }
}

/// A key in a file, as long as this lives.
pub(crate) struct WrittenKey {
    /// The file.
    pub path: PathBuf,
    _folder: TempDir,
    _lock: File,
}

impl Login<'_> {
    /// ssh with a command for the machine's shell.
    pub fn command(&self, remote: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(ssh::arguments(self.machine, &self.known_hosts, self.key.as_deref()));
        command.arg(remote).env("LC_ALL", "C");
        // Nobody is asked, whatever the user's own configuration starts on the way; and that is
        // started by a shell of which the quoting is known.
        command.env("SSH_ASKPASS", "false").env("SSH_ASKPASS_REQUIRE", "force");
        command.env("SHELL", "/bin/sh");
        command
    }

    /// The key, in words.
    pub fn known_hosts(&self) -> &Path {
        &self.known_hosts
    }

    /// The key in words.
    pub fn key_text(&self) -> String {
        match (&self.machine.connection.key, &self.key) {
            (Key::Content(_), _) => "the key in the template's private_key".to_owned(),
            (_, Some(path)) => format!("the key {}", path.display()),
            (_, None) => "the keys of the SSH agent and of ~/.ssh".to_owned(),
        }
    }

    /// The file of the key, if it is one of the user's.
    pub fn key_path(&self) -> Option<&Path> {
        self.key.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    fn system(temporary: &Path) -> System {
        System::new(Settings {
            state: "/no/such/folder".into(),
            temporary: temporary.to_owned(),
            logins: 1,
            forks: 1,
            ansible: Settings::ANSIBLE.into(),
        })
    }

    #[test]
    fn what_a_killed_one_left_goes_with_the_next_key() {
        let base = tempfile::tempdir().unwrap();
        let content = Secret::new("KEY");
        let killed = system(base.path()).write_key(&content).unwrap();
        let left = killed._folder.keep();
        drop(killed._lock);
        assert!(left.join("key").exists());
        let used = system(base.path()).write_key(&content).unwrap();
        assert!(!left.exists());
        let other = system(base.path()).write_key(&content).unwrap();
        assert_eq!(std::fs::read_to_string(&used.path).unwrap(), "KEY");
        drop((used, other));
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 0);
    }
}
