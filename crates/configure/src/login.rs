//! What a login takes: the private key, the file of host keys, and ssh itself.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use model::{ProvisionId, Secret};
use tempfile::TempDir;
use tokio::process::Command;

use crate::connection::Key;
use crate::system::System;
use crate::{Machine, Trouble, known_hosts, ssh};

/// How one machine is logged in to. A key that is given by its content lies in a file as long as this
/// lives.
pub(crate) struct Login<'a> {
    /// The machine.
    pub machine: &'a Machine,
    known_hosts: PathBuf,
    key: Option<PathBuf>,
    _folder: Option<TempDir>,
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
        let mut folder = None;
        let key = ssh::key_file(&machine.connection.key, |content| {
            let made = self.write_key(content)?;
            let path = made.path().join("key");
            folder = Some(made);
            Ok(path)
        });
        let key = key.map_err(|error| {
            let temporary = self.settings.temporary.display();
            Trouble(format!("the private key cannot be written into {temporary}: {error}"))
        })?;
        Ok(Login { machine, known_hosts, key, _folder: folder })
    }

    /// Writes a key into the file `key` (0600) of a folder of its own (0700), which goes with the value.
    pub(crate) fn write_key(&self, content: &Secret) -> io::Result<TempDir> {
        let temporary = &self.settings.temporary;
        known_hosts::make_folder(temporary)?;
        let mut folder = tempfile::Builder::new();
        let folder = folder
            .prefix("key-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(temporary)?;
        let path = folder.path().join("key");
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content.expose().as_bytes())?;
        Ok(folder)
    }
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
