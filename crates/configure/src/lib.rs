//! From a provisioned machine to a configured host: reached over SSH, then configured by Ansible, or
//! by a few files and commands.
//!
//! The engine knows this room by one trait, [`Configure`], and calls it stage by stage:
//!
//! ```text
//! check ─> (machines are bought) ─> reach ─> run(stage 0) ─> run(stage 1) ─> … ─> enabled
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`connection`] | how a machine is reached: `PROVISION_CONNECTION`, read and checked |
//! | [`steps`] | files and commands for those who need no Ansible |
//! | [`System`] | the real thing: `ssh`, `ansible-playbook`, a folder per provision |
//! | `ansible` | playbooks: what is checked of them, and their runs |
//! | `reach`, `knock` | waiting until a machine lets us in |
//! | `refusal` | why it does not: what ssh's words mean |
//! | `keys` | private keys, looked at before anything is bought |
//! | `nic` | a machine asked for its network interface |
//! | `by_hand`, `script`, `session` | files and commands on a machine; the scripts for it; one script over ssh |
//! | `login`, `ssh`, `known_hosts` | key and host keys of a login; how ssh is called |
//! | `temporary` | folders that last as long as who uses them |
//! | `process`, `output` | programs that end with whoever waits for them; what they write |

use std::time::Duration;

use async_trait::async_trait;
use model::{HostKey, ProvisionId, Secret};

mod ansible;
mod by_hand;
pub mod connection;
mod keys;
mod knock;
mod known_hosts;
mod login;
mod nic;
mod output;
mod process;
mod reach;
mod refusal;
mod script;
mod session;
mod ssh;
pub mod steps;
mod system;
mod temporary;

pub use connection::{Connection, Key};
pub use steps::Steps;
pub use system::{Settings, System};

/// A machine that is to be configured.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The host that it is for.
    pub host: HostKey,
    /// Id of the host object in OpenNebula.
    pub host_id: Option<i32>,
    /// Address or name under which it answers; also its name in Ansible's inventory, as in 5.12.
    pub address: String,
    /// The name under which its host key is kept: it goes with the machine, not with the address.
    pub alias: String,
    /// `provision.hostname` of the template.
    pub hostname: String,
    /// The virtualization driver, `kvm` or `lxc`.
    pub vm_mad: String,
    /// How it is reached.
    pub connection: Connection,
    /// Ansible variables of the host: a YAML mapping, perhaps with secrets in it.
    pub variables: Secret,
    /// Files and commands, if the template has any for it.
    pub steps: Steps,
    /// Whether what is in the files may not be seen.
    pub secret_steps: bool,
}

/// A part of a configuration that is run as one, and of which it is known whether it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// [`Machine::steps`].
    Steps,
    /// A playbook: the name of one of ours, or the absolute path of a file.
    Playbook(String),
}

/// What is looked at before anything is bought.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Playbooks, in their order, each once.
    pub playbooks: Vec<String>,
    /// Bounds for the version of Ansible, if the template has any: least, and first that is too new.
    pub versions: (Option<String>, Option<String>),
    /// How machines will be reached, each kind once, with the place in the template that says so.
    pub connections: Vec<(String, Connection)>,
    /// Files and commands, with the place in the template that says so.
    pub steps: Vec<(String, Steps)>,
}

impl Plan {
    /// Adds a way to reach machines, if it is a new one.
    pub fn add_connection(&mut self, place: &str, connection: Connection) {
        if self.connections.iter().all(|(_, known)| *known != connection) {
            self.connections.push((place.to_owned(), connection));
        }
    }

    /// Adds files and commands, if they are new.
    pub fn add_steps(&mut self, place: &str, steps: Steps) {
        if self.steps.iter().all(|(_, known)| *known != steps) {
            self.steps.push((place.to_owned(), steps));
        }
    }
}

/// One stage on some machines.
#[derive(Clone, Debug)]
pub struct Run {
    /// The provision.
    pub provision: ProvisionId,
    /// What is run.
    pub stage: Stage,
    /// The machines on which it is run.
    pub machines: Vec<Machine>,
    /// The other machines of the provision: a playbook may look at them, but does not run there.
    pub others: Vec<Machine>,
    /// Release of the front-end, such as `6.10`, if it is known: nodes get packages of the same.
    pub release: Option<String>,
    /// How long it may take.
    pub deadline: Duration,
}

/// How patiently a machine is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Number of attempts (`--ping-retries`).
    pub retries: u32,
    /// Longest pause between two of them (`--ping-timeout`); the product is how long it is waited.
    pub pause: Duration,
}

/// Why a machine could not be reached or configured. The text is for people, and has no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Trouble(pub String);

/// How one host came out of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Number of tasks that changed something.
    pub changed: u32,
}

/// What is heard while a stage runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The machine does not answer yet, and why.
    Waiting(String),
    /// A task begins on the machine.
    Begun(String),
    /// A task has ended on the machine.
    Ended {
        /// Its name.
        task: String,
        /// How it ended.
        result: TaskResult,
    },
    /// Something worth a warning that belongs to no task.
    Warning(String),
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskResult {
    /// It found everything as it should be.
    Ok,
    /// It changed something.
    Changed,
    /// It was not for this machine.
    Skipped,
    /// It failed, and that was ignored as the playbook wants it; the full message.
    Ignored(String),
    /// It failed; the full message.
    Failed(String),
    /// The machine was not reachable any more.
    Unreachable(String),
}

/// Hears of progress. Called from many tasks at once; must not block.
pub trait Watch: Send + Sync {
    /// Something happened to a host.
    fn heard(&self, host: HostKey, what: Heard);
}

/// Makes hosts of machines.
///
/// Every call may be dropped before it has ended: then what it started here ends at once.
#[async_trait]
pub trait Configure: Send + Sync {
    /// Finds what can be found wrong without any machine: programs, their versions, keys, playbooks,
    /// files. Warnings, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong, one sentence each.
    async fn check(&self, plan: &Plan) -> Result<Vec<String>, Vec<Trouble>>;

    /// Waits until a machine lets us in over SSH. Its host key is kept when it is first seen.
    ///
    /// # Errors
    /// Why it does not, once patience is at its end, or at once if waiting is of no use.
    async fn reach(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble>;

    /// Runs a stage: for each machine whether it came to its end, in the order of the machines.
    async fn run(&self, run: &Run, watch: &dyn Watch) -> Vec<Result<Done, Trouble>>;

    /// Asks a machine for the network interface that its default route of IPv4 goes through.
    ///
    /// # Errors
    /// It cannot be logged in to, or has no such route.
    async fn default_nic(
        &self,
        provision: ProvisionId,
        machine: &Machine,
    ) -> Result<String, Trouble>;

    /// Forgets the host key of a machine: it was installed anew, or is gone.
    fn forget(&self, provision: ProvisionId, alias: &str);

    /// Removes what is kept of a provision: host keys and logs.
    fn discard(&self, provision: ProvisionId);
}

/// The command with which ssh gets to a machine through jump hosts (`ProxyCommand`): their keys are kept in
/// the same file as the machine's.
pub fn proxy_command(
    jump_hosts: &str,
    known_hosts: &std::path::Path,
    key: Option<&std::path::Path>,
) -> String {
    let jumps: Vec<&str> = jump_hosts.split(',').map(str::trim).collect();
    ssh::proxy(&jumps, known_hosts, key)
}

/// The name under which the host key of a driver's machine is kept: letters, digits, `-`, `_`, `.`.
pub fn alias(driver: &str, machine: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("{driver}.{machine}").chars().map(plain).collect()
}
