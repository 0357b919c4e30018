//! What can be chosen when a sandbox is opened.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The release whose answers are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// OpenNebula 6.10.0.
    V6_10,
    /// OpenNebula 7.4.0.
    #[default]
    V7_4,
}

impl Version {
    /// What `one.system.version` answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V6_10 => "6.10.0",
            Self::V7_4 => "7.4.0",
        }
    }
}

/// How far a write has gone when it is answered (SQLite's `synchronous`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// On the disk: survives a power cut.
    #[default]
    Full,
    /// Survives a crash of the process; the last writes may be lost with the power.
    Normal,
    /// For tests: a power cut may destroy the file.
    Off,
}

impl Synchronous {
    pub(crate) fn pragma(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Normal => "NORMAL",
            Self::Off => "OFF",
        }
    }
}

/// Where the time comes from: asynchronous states are moved on by comparing stored times with it.
pub trait Clock: Send + Sync {
    /// The time now. It may jump; a jump back only prolongs what is waiting.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Milliseconds since 1970; 0 for a time before, the largest number for one too far away.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Kinds of objects whose templates can hold encrypted attributes by configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EncryptedKind {
    /// Clusters (`CLUSTER_ENCRYPTED_ATTR`).
    Cluster,
    /// Hosts (`HOST_ENCRYPTED_ATTR`).
    Host,
    /// Datastores (`DATASTORE_ENCRYPTED_ATTR`).
    Datastore,
    /// Virtual networks (`VNET_ENCRYPTED_ATTR`).
    Vnet,
    /// Documents (`DOCUMENT_ENCRYPTED_ATTR`), of every type.
    Document,
    /// Users (`USER_ENCRYPTED_ATTR`).
    User,
}

/// One attribute that is stored encrypted, as a line `HOST_ENCRYPTED_ATTR = "PROVISION/TOKEN"` of
/// `oned.conf` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedAttribute {
    /// Whose template.
    pub kind: EncryptedKind,
    /// Key of the attribute, or of the vector it is in. Upper case.
    pub key: String,
    /// Key within the vector.
    pub sub: Option<String>,
}

impl EncryptedAttribute {
    /// An attribute by its path, `KEY` or `VECTOR/KEY`; the keys become upper case.
    pub fn new(kind: EncryptedKind, path: &str) -> Self {
        let path = path.to_ascii_uppercase();
        match path.split_once('/') {
            Some((key, sub)) => Self { kind, key: key.to_owned(), sub: Some(sub.to_owned()) },
            None => Self { kind, key: path, sub: None },
        }
    }
}

/// The choices, with sensible defaults.
#[derive(Clone)]
pub struct SandboxSettings {
    /// The release whose answers are given.
    pub version: Version,
    /// How far a write has gone when it is answered.
    pub synchronous: Synchronous,
    /// The clock that asynchronous states follow.
    pub clock: Arc<dyn Clock>,
    /// How long asynchronous work takes: a network being made or deleted, an image being made or
    /// deleted, the first monitoring of an enabled host.
    pub async_delay: Duration,
    /// How long to wait for another process that is writing.
    pub busy_timeout: Duration,
    /// Attributes that are stored encrypted, besides those of the release's own configuration
    /// (`PROVISION_BODY` of documents is always among them). OpenNebula 5.12 had
    /// `PROVISION/PACKET_TOKEN` of hosts and its like here; later releases do not.
    pub encrypted: Vec<EncryptedAttribute>,
    /// What the one marketplace has.
    pub apps: Vec<MarketApp>,
    /// Beginnings of `PATH`s that cannot be copied: such images end in the state ERROR.
    pub failing_paths: Vec<String>,
}

/// An app of the marketplace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketApp {
    /// Id.
    pub id: i32,
    /// Name.
    pub name: String,
    /// 1 image, 2 VM template, 3 service template (`include/MarketPlaceApp.h`).
    pub app_type: i32,
    /// Megabytes.
    pub size: i64,
    /// Where the image is.
    pub source: String,
    /// Template of the image, as text.
    pub image_template: String,
    /// Template of a VM with the image, as text; empty if there is none.
    pub vm_template: String,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            version: Version::default(),
            synchronous: Synchronous::default(),
            clock: Arc::new(SystemClock),
            async_delay: Duration::from_millis(200),
            busy_timeout: Duration::from_secs(10),
            encrypted: Vec::new(),
            apps: Vec::new(),
            failing_paths: Vec::new(),
        }
    }
}

impl fmt::Debug for SandboxSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxSettings")
            .field("version", &self.version)
            .field("synchronous", &self.synchronous)
            .field("async_delay", &self.async_delay)
            .field("busy_timeout", &self.busy_timeout)
            .field("encrypted", &self.encrypted)
            .field("apps", &self.apps)
            .field("failing_paths", &self.failing_paths)
            .finish_non_exhaustive()
    }
}

/// Reads `6.10` and `7.4`, as an option of a command has it.
impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "6.10" | "6.10.0" => Ok(Self::V6_10),
            "7.4" | "7.4.0" => Ok(Self::V7_4),
            _ => Err(format!("no such release: {text:?} (known: 6.10, 7.4)")),
        }
    }
}
