//! One object as it is stored.

use serde::{Deserialize, Serialize};

use crate::kind::Kind;

/// Permission bits as in a file mode: use, manage and admin of owner, group and others.
pub(crate) mod perms {
    /// Owner may use and manage: what a new object has.
    pub(crate) const NEW: u16 = 0o600;
    /// A new datastore can be used by its group too (`src/datastore/Datastore.cc`, 7.4).
    pub(crate) const NEW_DATASTORE: u16 = 0o640;
    /// The nine bits in the order in which `chmod` and answers name them.
    pub(crate) const ORDER: [u16; 9] =
        [0o400, 0o200, 0o100, 0o040, 0o020, 0o010, 0o004, 0o002, 0o001];
}

/// No cluster, no datastore, no host.
pub(crate) const NONE: i32 = -1;

/// An object: the columns that every kind has, and what is special to its kind.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) id: i32,
    pub(crate) name: String,
    /// Owner; [`NONE`] for kinds that have none.
    pub(crate) uid: i32,
    pub(crate) gid: i32,
    pub(crate) perms: u16,
    /// State number of the kind; 0 for kinds without states.
    pub(crate) state: i32,
    pub(crate) prev_state: i32,
    /// A host's cluster, an image's datastore, a VM's host; else [`NONE`].
    pub(crate) parent: i32,
    /// When the state moves on by itself, in milliseconds since 1970.
    pub(crate) due: Option<i64>,
    pub(crate) detail: Detail,
    /// The children of `TEMPLATE` as XML, sorted and ready for answers.
    pub(crate) template: String,
}

impl Object {
    /// A new object, id not yet given.
    pub(crate) fn new(kind: Kind, name: &str, detail: Detail) -> Self {
        Self {
            kind,
            id: NONE,
            name: name.to_owned(),
            uid: NONE,
            gid: NONE,
            perms: 0,
            state: 0,
            prev_state: 0,
            parent: NONE,
            due: None,
            detail,
            template: String::new(),
        }
    }

    /// Changes the state as `oned` does once an object is stored: the state before is seen by its
    /// hooks alone, so both numbers are the same afterwards.
    pub(crate) fn set_state(&mut self, state: i32, due: Option<i64>) {
        self.state = state;
        self.prev_state = state;
        self.due = due;
    }
}

/// What is special to a kind. Fields that a newer program adds need a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Detail {
    Cluster,
    Host(HostDetail),
    Datastore(DatastoreDetail),
    Vnet(Box<VnetDetail>),
    Image(Box<ImageDetail>),
    /// Templates of VMs and of networks.
    Registered {
        regtime: i64,
        lock: Option<Lock>,
    },
    Document {
        doc_type: i32,
        lock: Option<Lock>,
    },
    User {
        password: String,
        auth_driver: String,
    },
    Group,
    Vm(Box<VmDetail>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct HostDetail {
    pub(crate) im_mad: String,
    pub(crate) vm_mad: String,
    /// `RESERVED_CPU` and `RESERVED_MEM` of the host's template, else of its cluster's.
    pub(crate) reserved_cpu: i64,
    pub(crate) reserved_mem: i64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DatastoreDetail {
    pub(crate) ds_mad: String,
    pub(crate) tm_mad: String,
    /// 0 images, 1 system, 2 files, 3 backups.
    pub(crate) ds_type: i32,
    pub(crate) disk_type: i32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct VnetDetail {
    pub(crate) bridge: String,
    pub(crate) bridge_type: String,
    pub(crate) vn_mad: String,
    pub(crate) phydev: String,
    pub(crate) vlan_id: String,
    pub(crate) outer_vlan_id: String,
    pub(crate) vlan_id_automatic: bool,
    pub(crate) outer_vlan_id_automatic: bool,
    pub(crate) ranges: Vec<AddressRange>,
    pub(crate) next_range: i32,
    pub(crate) lock: Option<Lock>,
}

/// An address range of a network: all its attributes, sorted, and what follows from them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct AddressRange {
    pub(crate) id: i32,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) mac_end: String,
    pub(crate) ip_end: Option<String>,
    /// First and last IPv6 address, as far as they follow from the attributes, with their names.
    #[serde(default)]
    pub(crate) ip6: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ImageDetail {
    /// 0 OS, 1 CDROM, 2 DATABLOCK, 3 KERNEL, 4 RAMDISK, 5 CONTEXT, 6 BACKUP, 7 FILESYSTEM.
    pub(crate) image_type: i32,
    pub(crate) disk_type: i32,
    pub(crate) persistent: bool,
    pub(crate) regtime: i64,
    pub(crate) modtime: i64,
    pub(crate) source: String,
    pub(crate) path: String,
    pub(crate) format: String,
    pub(crate) fs: String,
    /// Megabytes.
    pub(crate) size: i64,
    pub(crate) lock: Option<Lock>,
    /// VMs that use it.
    #[serde(default)]
    pub(crate) vms: Vec<i32>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct VmDetail {
    pub(crate) lcm_state: i32,
    pub(crate) stime: i64,
    pub(crate) etime: i64,
    pub(crate) deploy_id: String,
    /// CPU as it was given, such as `0.1`.
    pub(crate) cpu: String,
    /// Megabytes.
    pub(crate) memory: i64,
    pub(crate) vcpu: String,
    /// What is no known attribute of a VM, as XML.
    pub(crate) user_template: String,
    /// The one placement on a host, if there was one.
    pub(crate) history: Option<Placement>,
    pub(crate) lock: Option<Lock>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Placement {
    pub(crate) host: i32,
    pub(crate) hostname: String,
    pub(crate) cluster: i32,
    pub(crate) datastore: i32,
    pub(crate) since: i64,
    pub(crate) until: i64,
}

/// A lock that a user set with `one.<kind>.lock`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lock {
    /// 1 use, 2 manage, 3 admin: this right and higher ones are refused.
    pub(crate) level: i32,
    pub(crate) owner: i32,
    pub(crate) time: i64,
}

impl Detail {
    /// The lock of kinds that can have one.
    pub(crate) fn lock(&self) -> Option<&Lock> {
        match self {
            Self::Vnet(detail) => detail.lock.as_ref(),
            Self::Image(detail) => detail.lock.as_ref(),
            Self::Vm(detail) => detail.lock.as_ref(),
            Self::Registered { lock, .. } | Self::Document { lock, .. } => lock.as_ref(),
            _ => None,
        }
    }

    /// Where the lock is kept; `None` for kinds that cannot be locked.
    pub(crate) fn lock_mut(&mut self) -> Option<&mut Option<Lock>> {
        match self {
            Self::Vnet(detail) => Some(&mut detail.lock),
            Self::Image(detail) => Some(&mut detail.lock),
            Self::Vm(detail) => Some(&mut detail.lock),
            Self::Registered { lock, .. } | Self::Document { lock, .. } => Some(lock),
            _ => None,
        }
    }
}
