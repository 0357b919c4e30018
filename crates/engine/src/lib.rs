//! From a [`template::Spec`] to a running provision, and back to nothing.
//!
//! The engine is one loop per host: a pure planner looks at the host's record and names the next
//! step; the executor commits the intent, takes the step, commits the outcome, and asks again. It
//! holds no position of its own, so an interrupted operation goes on from the record alone.
//!
//! ```text
//! Spec ──┐                                   ┌─> OpenNebula (objects.rs, hosts.rs)
//!        ├─> planner ─> step ─> intent ─> take├─> driver (machines.rs)
//! record ┘      ^                            └─> outcome ─> journal ─> record ─┐
//!               └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`planner`] | the next step of a host: a pure function of its record |
//! | [`names`] | the marks by which everything of ours is found again |
//! | [`create`] | create and resume |
//! | [`configuring`] | machines that are there configured, again if need be |
//! | [`plan`] | what a changed template would change |
//! | [`delete`] | removal of a provision, or of some hosts |
//! | `in_use` | VMs and images that are in the way of a removal |
//! | `adopt` | what OpenNebula has and the journal does not know |
//! | `barred` | drivers that are not asked, for want of credentials |
//! | `doubts` | hosts that may have a machine of which nothing is written |
//! | `late` | attributes that wait for the hosts |
//! | `members` | what is in the cluster and is not the provision's own |
//! | `power` | poweroff, resume, reboot of hosts |
//! | [`single`] | removal of one object |
//! | [`failover`] | what to do when a host fails |
//! | [`overview`] | what there is, from OpenNebula and the journal |
//! | [`orphans`] | machines that nobody accounts for |
//! | [`secrets`] | where credentials rest |
//! | [`providers`] | named providers |
//! | [`observe`] | what a caller hears while an operation runs |
//! | `slots` | limits of driver calls: of a command, of an account |
//! | [`stop`] | the request to end in an orderly way |

mod adopt;
mod again;
mod barred;
pub mod configuring;
pub mod create;
pub mod delete;
mod doubts;
mod error;
mod export;
pub mod failover;
mod flow;
mod hosts;
mod in_use;
mod json;
mod late;
mod machines;
mod members;
pub mod names;
mod objects;
pub mod observe;
pub mod orphans;
pub mod overview;
mod ownership;
pub mod plan;
pub mod planner;
mod power;
pub mod providers;
mod refresh;
mod removal;
mod resolve;
pub mod secrets;
mod session;
pub mod single;
mod slots;
pub mod stop;
pub mod update;
mod values;
mod virtuals;
mod whose;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use configure::Configure;
use driver::api::Driver;
use journal::Journal;
use opennebula::Client;
use template::SecretSource;

pub use configuring::ConfigureRequest;
pub use create::{CreateRequest, Report, ResumeRequest};
pub use delete::DeleteRequest;
pub use error::EngineError;
pub use failover::{Decision, Failover, Failure, LeaveFailed};
pub use observe::{Note, Observer};
pub use overview::{Overview, Records, Status};
pub use power::{PowerReport, PowerRequest};
pub use providers::ProviderEntry;
pub use resolve::Word;
pub use single::{ObjectDeleteRequest, ObjectKind};
pub use slots::Accounts;
pub use stop::Stop;

/// The wall clock. Waiting is tokio's, so that tests can let it fly.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    fn now(&self) -> i64;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Where drivers come from.
pub trait DriverSource: Send + Sync {
    /// The driver of that name, as a template or a host object gives it.
    ///
    /// # Errors
    /// Why there is none, in words for people: what was looked for, and where.
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String>;
}

/// Limits and patience.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Driver calls in flight of one command.
    pub threads: usize,
    /// Driver calls in flight to one account of a provider; to a driver without accounts.
    pub account_threads: usize,
    /// Deadline of a `deploy`.
    pub deploy_deadline: Duration,
    /// Deadline of the other actions.
    pub action_deadline: Duration,
    /// How long a machine may take from its deploy id to its address.
    pub boot_deadline: Duration,
    /// How long a machine may take to be gone after a `cancel`.
    pub cancel_deadline: Duration,
    /// Shortest and longest pause between two polls of a machine; of machines that are all polled by one
    /// request, the shortest is an eighth of it.
    pub poll_pause: (Duration, Duration),
    /// Failed polls in a row after which a host is given up.
    pub poll_failures: u32,
    /// How often, and at most how long apart, it is tried to log in to a machine (`--ping-retries`,
    /// `--ping-timeout`).
    pub ping: (u32, Duration),
    /// How long one playbook, or the files and commands of a host, may take.
    pub configure_deadline: Duration,
    /// Home folder of the operator, for keys under `~/`.
    pub home: Option<PathBuf>,
    /// How long a running driver call may go on after the operator asked to stop.
    pub stop_grace: Duration,
    /// How long a write that was sent and not answered is tried again.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 16,
            account_threads: 32,
            deploy_deadline: Duration::from_secs(30 * 60),
            action_deadline: Duration::from_secs(10 * 60),
            boot_deadline: Duration::from_secs(30 * 60),
            cancel_deadline: Duration::from_secs(10 * 60),
            poll_pause: (Duration::from_secs(1), Duration::from_secs(10)),
            poll_failures: 5,
            // 6.x: 30 x 20 s. Bare metal takes minutes to boot.
            ping: (30, Duration::from_secs(20)),
            configure_deadline: Duration::from_secs(60 * 60),
            home: None,
            stop_grace: Duration::from_secs(5),
            patience: Duration::from_secs(10 * 60),
        }
    }
}

/// Runs operations against one front-end.
#[derive(Clone)]
pub struct Engine {
    /// The record of intents and outcomes.
    pub journal: Arc<dyn Journal>,
    /// Folder of the locks that keep two processes apart.
    pub leases: PathBuf,
    /// The front-end.
    pub opennebula: Client,
    /// The endpoint's name as the journal keeps it.
    pub endpoint: String,
    /// The drivers.
    pub drivers: Arc<dyn DriverSource>,
    /// What makes hosts of machines.
    pub configure: Arc<dyn Configure>,
    /// Gets the secrets that named providers give by reference; without it their provisions' copies
    /// count.
    pub secrets: Option<Arc<dyn SecretSource>>,
    /// Who hears of progress.
    pub observer: Arc<dyn Observer>,
    /// Who decides when something fails.
    pub failover: Arc<dyn Failover>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The request to stop.
    pub stop: Stop,
    /// Limits and patience.
    pub settings: Settings,
    /// The provider accounts in use: engines that share it share their limits.
    pub accounts: Arc<Accounts>,
}
