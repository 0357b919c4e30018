//! The vocabulary of the journal.
//!
//! Events are stored as JSON. Fields may be added with a default; a change of meaning needs a new
//! event and a new schema number. No event ever holds a secret: attribute trees mask theirs when
//! they are serialised.

use std::collections::BTreeMap;
use std::path::PathBuf;

use model::{DatastoreId, DeployId, HostKey, ProvisionId, ProvisionState};
use serde::{Deserialize, Serialize};

use crate::power::{Power, PowerHost};
use crate::spec::StoredSpec;

/// The id under which machines stand that belong to no provision known here. It is nobody's: ids of
/// provisions are random.
pub const ORPHANS: ProvisionId = ProvisionId(uuid::Uuid::nil());

/// Number of an intent within its provision, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// Something that happened to a provision, or is about to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A create was asked for. The first event of a provision that this tool made.
    CreateBegun(Box<CreateBegun>),
    /// Work on an interrupted or failed provision was taken up again; failures are forgotten, so
    /// that what failed is tried again.
    Resumed,
    /// The provision is to become what another template says. What failed is tried again.
    UpdateBegun(Box<UpdateBegun>),
    /// Removal of the whole provision was asked for.
    DeleteBegun {
        /// Seconds that its VMs and images may take to be gone; `None` if they were not to be removed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cleanup: Option<u32>,
    },
    /// Removal of some of its hosts was asked for.
    HostDeleteBegun {
        /// The hosts.
        hosts: Vec<HostKey>,
        /// The update that begins with it, and is still to be done when they are gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        update: Option<Box<PlannedUpdate>>,
    },
    /// A power operation on some hosts was asked for, or is tried again. What failed before it is over.
    PowerBegun {
        /// The operation.
        power: Power,
        /// The hosts.
        hosts: Vec<PowerHost>,
    },
    /// Hosts that have a machine are to be configured, or configured again. What failed before it is
    /// over.
    ConfigureBegun {
        /// The hosts.
        hosts: Vec<HostKey>,
        /// Whether all of it is done again, and not only what has not been done.
        again: bool,
    },
    /// A machine that nobody accounts for is about to be destroyed. Stands under [`ORPHANS`], for it
    /// belongs to no provision that is known here.
    OrphanDoomed {
        /// Name of its driver.
        driver: String,
        /// The machine.
        machine: DeployId,
        /// The provision that its mark names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provision: Option<ProvisionId>,
    },
    /// What came of that.
    OrphanEnded {
        /// Name of its driver.
        driver: String,
        /// The machine.
        machine: DeployId,
        /// What came of it.
        outcome: Outcome,
    },
    /// An object of this provision was found in OpenNebula that the journal did not know: it was
    /// made by the old tool or by another machine, or its allocate was never answered.
    Found {
        /// What it is; a host gets the next free key.
        subject: Subject,
        /// Its id in OpenNebula.
        id: i32,
        /// Its name in OpenNebula.
        name: String,
        /// The provision driver of a host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        driver: Option<String>,
        /// The machine of a host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deploy_id: Option<DeployId>,
    },
    /// A step is about to be taken. Committed before it.
    Intent {
        /// Number of the intent.
        id: IntentId,
        /// What it is done to.
        subject: Subject,
        /// What is done.
        step: Step,
        /// Idempotency key for the provider, at most 64 ASCII characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// The driver's process of a deploy, so that a later command can wait for it.
    Process {
        /// The intent.
        id: IntentId,
        /// The driver room's process record.
        process: serde_json::Value,
    },
    /// `deploy` named its machine; it has not ended yet.
    DeployIdSeen {
        /// The intent.
        id: IntentId,
        /// The host.
        host: HostKey,
        /// The machine.
        deploy_id: DeployId,
    },
    /// What came of a step.
    Outcome {
        /// The intent.
        id: IntentId,
        /// What came of it.
        outcome: Outcome,
    },
    /// It was found out whether a machine that may have existed does, by looking again.
    Resolved {
        /// The host.
        host: HostKey,
        /// The machine; none if there is none.
        deploy_id: Option<DeployId>,
    },
    /// The operator's word on a machine. The last one counts, until the machine has been seen.
    Said {
        /// The host.
        host: HostKey,
        /// The machine; none if there is none.
        deploy_id: Option<DeployId>,
    },
    /// The machine's address became known.
    Addressed {
        /// The host.
        host: HostKey,
        /// IPv4 or IPv6 address, or a name.
        address: String,
    },
    /// A host cannot go on although no step of it failed, such as a machine that never had an address.
    HostFailed {
        /// The host.
        host: HostKey,
        /// Why.
        message: String,
    },
    /// What a host failed of is over, and it goes on.
    Retried {
        /// The host.
        host: HostKey,
    },
    /// The operation came to its end.
    Ended {
        /// How the provision stands now.
        state: ProvisionState,
    },
}

/// What a create was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateBegun {
    /// Name of the provision.
    pub name: String,
    /// Endpoint of the front-end, or the sandbox's name for itself.
    pub endpoint: String,
    /// The template's absolute path.
    pub template: PathBuf,
    /// SHA-256 of the template and all that it extends, in hexadecimal.
    pub digest: String,
    /// The options of the command.
    pub options: CreateOptions,
    /// The resolved template, secrets masked.
    pub spec: StoredSpec,
    /// The provision driver of each host, in the order of the template.
    pub drivers: Vec<String>,
    /// Number of datastores in the template.
    pub datastores: u32,
    /// Number of networks in the template.
    pub networks: u32,
    /// Number of virtual objects in the template. A marketplace app is an image and a template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub virtuals: BTreeMap<VirtualKind, u32>,
}

/// What an update was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateBegun {
    /// The new template; it takes the place of the one before.
    pub create: CreateBegun,
    /// What its entries stand for.
    pub layout: Layout,
    /// What is there and has to be written anew.
    pub outdated: Vec<Outdated>,
    /// What leaves, other than hosts.
    pub leaving: Vec<Subject>,
    /// The names of those that leave without an id: the new template does not tell them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaving_names: Vec<(Subject, String)>,
}

/// An update whose hosts go first. It is begun when they are gone; until then the provision has the
/// template that it had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedUpdate {
    /// What is begun then.
    pub begun: UpdateBegun,
    /// All hosts that go.
    pub hosts: Vec<HostKey>,
    /// Seconds that VMs on them may take to be gone; `None` if they were not to be terminated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<u32>,
}

/// An object or host whose template in OpenNebula is not the one of the provision's template any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outdated {
    /// What it is.
    pub subject: Subject,
    /// Attributes that it does not have any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<String>,
    /// Of a cluster: datastores of others that are taken out of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_out: Vec<DatastoreId>,
    /// Of a host: whether its machine is to be configured anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconfigure: bool,
}

/// Which objects and hosts the entries of the template stand for, in the order of the template: the
/// numbers of [`Subject`]. Entries beyond these lists stand for the number that they have themselves,
/// as all do until the first update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// Hosts.
    pub hosts: Vec<HostKey>,
    /// Datastores.
    pub datastores: Vec<u32>,
    /// Networks.
    pub networks: Vec<u32>,
    /// Virtual objects, by kind.
    pub virtuals: BTreeMap<VirtualKind, Vec<u32>>,
}

impl Layout {
    /// The host of an entry.
    pub fn host(&self, index: usize) -> HostKey {
        let key = || HostKey(u32::try_from(index).unwrap_or(u32::MAX));
        self.hosts.get(index).copied().unwrap_or_else(key)
    }

    /// The entry of a host.
    pub fn host_index(&self, host: HostKey) -> Option<usize> {
        // Where it was at first, unless an update moved it.
        let first = usize::try_from(host.0).ok()?;
        match self.hosts.get(first) {
            _ if self.hosts.is_empty() => Some(first),
            Some(key) if *key == host => Some(first),
            _ => self.hosts.iter().position(|key| *key == host),
        }
    }

    /// The datastore of an entry.
    pub fn datastore(&self, index: usize) -> Subject {
        Subject::Datastore(number(&self.datastores, index))
    }

    /// The virtual object of that index among its kind.
    pub fn virtual_object(&self, kind: VirtualKind, index: usize) -> Subject {
        let numbers = self.virtuals.get(&kind).map(Vec::as_slice).unwrap_or_default();
        Subject::Virtual(kind, number(numbers, index))
    }

    /// The network of an entry.
    pub fn network(&self, index: usize) -> Subject {
        Subject::Network(number(&self.networks, index))
    }
}

fn number(numbers: &[u32], index: usize) -> u32 {
    numbers.get(index).copied().unwrap_or_else(|| u32::try_from(index).unwrap_or(u32::MAX))
}

/// Options of a create that hold for a resume too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateOptions {
    /// `--skip-config`: hosts stay offline and `pending`.
    #[serde(default)]
    pub skip_config: bool,
    /// `--skip-provision`: no machine is asked for; hosts are objects that stay offline.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_provision: bool,
    /// `--legacy-args`: the old tool's argument vectors.
    #[serde(default)]
    pub legacy_args: bool,
    /// `--secrets-in-template`: credentials stand in the templates, as in 5.12.
    #[serde(default)]
    pub secrets_in_template: bool,
    /// `--cleanup`: should all of it have to be removed, its VMs and images go too; they may take so
    /// many seconds (`--cleanup-timeout`).
    #[serde(default)]
    pub cleanup: Option<u32>,
    /// `--wait-ready`: images that do not say otherwise are waited for, at most so many seconds
    /// (`--wait-timeout`).
    #[serde(default)]
    pub wait_ready: Option<u32>,
    /// `--provider`: the named provider of hosts that name none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// The kinds of virtual objects, as they are in OpenNebula.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VirtualKind {
    /// A disk image or file; also the one of a marketplace app.
    Image,
    /// A VM template; also the one of a marketplace app.
    Template,
    /// A virtual network template.
    Vntemplate,
    /// A service template of OneFlow.
    Flowtemplate,
}

impl VirtualKind {
    /// All kinds, in the order in which they are deleted.
    pub const ALL: [Self; 4] = [Self::Image, Self::Template, Self::Vntemplate, Self::Flowtemplate];

    /// The kind in one word, as in the names of commands.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Template => "template",
            Self::Vntemplate => "vntemplate",
            Self::Flowtemplate => "flowtemplate",
        }
    }
}

/// What a step is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The document that holds the credentials.
    Secrets,
    /// The cluster.
    Cluster,
    /// The datastore of that index in the template.
    Datastore(u32),
    /// The virtual network of that index in the template.
    Network(u32),
    /// The virtual object of that index among its kind, as references count: images before those of
    /// marketplace apps, templates of marketplace apps before the others.
    Virtual(VirtualKind, u32),
    /// A host.
    Host(HostKey),
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Makes the object in OpenNebula. A host is put offline at once. Found again by its name.
    Create,
    /// Gives the object its owner and permissions. May be repeated.
    Own,
    /// Waits until the image is ready. May be repeated.
    AwaitReady,
    /// Asks the driver for a machine. Found again by the idempotency key or the mark.
    Deploy,
    /// Writes the deploy id into the host object. May be repeated.
    Announce,
    /// Gives the host object its name and, if it is to be used, enables it. May be repeated.
    Enlist,
    /// Waits until the machine lets us in over SSH, and keeps its host key. May be repeated.
    Reach,
    /// Runs the next stage of the machine's configuration. May be repeated: that it failed says that it
    /// did not come to its end, and nothing of what it changed on the machine before.
    Configure,
    /// Writes into the host object that its configuration failed. May be repeated.
    Tell,
    /// Writes the template of what is there anew, after an update. May be repeated.
    Refresh,
    /// Puts the host object offline, before its machine is powered off. May be repeated.
    TakeOffline,
    /// Puts the host object online again, since its machine was not powered off. May be repeated.
    PutOnline,
    /// Asks the driver to power the machine off. May be repeated.
    Poweroff,
    /// Asks the driver to power the machine on. May be repeated.
    PowerOn,
    /// Asks the driver for an orderly reboot. To repeat it costs another reboot.
    Reboot,
    /// Asks the driver for a hard reboot. To repeat it costs another reboot.
    Reset,
    /// Asks the driver to destroy the machine. May be repeated.
    Cancel,
    /// Deletes the object in OpenNebula. May be repeated.
    Remove,
}

impl Step {
    /// Whether it is a part of a power operation alone.
    pub fn is_power(self) -> bool {
        matches!(
            self,
            Self::TakeOffline
                | Self::PutOnline
                | Self::Poweroff
                | Self::PowerOn
                | Self::Reboot
                | Self::Reset
        )
    }

    /// The step in a word or two.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Own => "own",
            Self::AwaitReady => "await-ready",
            Self::Deploy => "deploy",
            Self::Announce => "announce",
            Self::Enlist => "enlist",
            Self::Reach => "reach",
            Self::Configure => "configure",
            Self::Tell => "tell",
            Self::Refresh => "refresh",
            Self::TakeOffline => "taking offline",
            Self::PutOnline => "putting online",
            Self::Poweroff => "poweroff",
            Self::PowerOn => "power on",
            Self::Reboot => "reboot",
            Self::Reset => "reset",
            Self::Cancel => "cancel",
            Self::Remove => "remove",
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done(Fact),
    /// It was not done, and nothing changed.
    Failed {
        /// Why.
        message: String,
    },
    /// It may have been done.
    Unknown {
        /// What is known.
        evidence: String,
    },
}

/// What is known after a step was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Nothing beyond that.
    Done,
    /// Nothing was done: what has the id of the object is not the provision's.
    NotOurs,
    /// The id of the object that was made.
    Object(i32),
    /// The machine that was made.
    Machine(DeployId),
    /// The name that the host has now, and whether it was enabled.
    Enlisted {
        /// Name in OpenNebula.
        name: String,
        /// Whether OpenNebula may place VMs on it.
        enabled: bool,
    },
    /// A stage of the machine's configuration came to its end.
    Stage {
        /// What it was, for people: `playbook default`.
        name: String,
        /// Number of stages that are done.
        done: u32,
        /// Number of all.
        of: u32,
        /// Number of tasks that changed something.
        changed: u32,
    },
}
