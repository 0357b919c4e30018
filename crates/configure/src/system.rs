//! The real thing: `ssh`, `ansible-playbook`, and a folder per provision.

use std::path::PathBuf;
use std::sync::Arc;

use model::ProvisionId;
use tokio::sync::Semaphore;

/// What surrounds this room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder with a folder for each provision: `known_hosts`, `logs/`. Made (0700) when it is needed.
    pub state: PathBuf,
    /// Folder for what lasts as long as a run; short, for sockets are made in it.
    pub temporary: PathBuf,
    /// Logins at the same time.
    pub logins: usize,
    /// Hosts on which a playbook runs at the same time (`--forks`).
    pub forks: usize,
    /// The program `ansible-playbook`, by name or path ([`Settings::ANSIBLE`] if nobody wants another).
    /// `ansible-galaxy` is looked for in the same folder.
    pub ansible: PathBuf,
}

impl Settings {
    /// Name of the program that runs playbooks.
    pub const ANSIBLE: &str = "ansible-playbook";
}

/// Configures with the programs of this computer.
pub struct System {
    pub(crate) settings: Settings,
    pub(crate) logins: Arc<Semaphore>,
}

impl System {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        let logins = Arc::new(Semaphore::new(settings.logins.max(1)));
        Self { settings, logins }
    }

    /// The folder of a provision.
    pub(crate) fn folder(&self, provision: ProvisionId) -> PathBuf {
        self.settings.state.join(provision.to_string())
    }

    /// The host keys of a provision.
    pub(crate) fn known_hosts(&self, provision: ProvisionId) -> PathBuf {
        self.folder(provision).join("known_hosts")
    }

    /// The logs of a provision.
    pub(crate) fn logs(&self, provision: ProvisionId) -> PathBuf {
        self.folder(provision).join("logs")
    }
}
