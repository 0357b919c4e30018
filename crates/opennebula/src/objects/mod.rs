//! Typed calls: one [`Objects`] per kind of object, one mechanism for all of them.
//!
//! Templates always go out as XML, which keeps every value (see [`crate::text`] for what the text form
//! loses). What an answer does not have is empty or 0, numbers that are not known are kept: releases 5.8
//! to 7.4 differ in both.

mod calls;
mod contents;
mod infrastructure;
mod people;
mod special;
mod states;
mod wait;
mod xml;

use std::fmt;

pub use calls::{Deletable, Filter, Listed, Objects, Owned, Renamable, Update};
pub use contents::{Document, Image, MarketApp, Vm, VmTemplate, VnTemplate};
pub use infrastructure::{Cluster, Datastore, Host, Vnet};
pub use people::{Group, User};
pub use special::{HostStatus, System};
pub use states::{
    DatastoreState, DatastoreType, HostState, ImageState, MarketAppState, MarketAppType, VmState,
    VnetState,
};
pub use wait::Lingering;
pub use xml::Element;

/// An object that the client can read.
pub trait Object: Sized + Send + 'static {
    /// Its kind.
    const KIND: ObjectKind;
    /// Type of its id.
    type Id: Copy + From<i32> + Into<i32> + fmt::Display + Send + Sync;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// Reads it from its element in an answer.
    ///
    /// # Errors
    /// What is missing that must be there, in words.
    fn read(xml: Element<'_, '_>) -> Result<Self, String>;
}

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// Cluster.
    Cluster,
    /// Host.
    Host,
    /// Datastore.
    Datastore,
    /// Virtual network.
    Vnet,
    /// Image.
    Image,
    /// VM template.
    VmTemplate,
    /// Virtual network template.
    VnTemplate,
    /// Document.
    Document,
    /// User.
    User,
    /// Group.
    Group,
    /// App of a marketplace.
    MarketApp,
    /// Virtual machine.
    Vm,
}

impl ObjectKind {
    /// Second part of the names of its methods, such as `vn` in `one.vn.info`.
    pub fn method(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::Datastore => "datastore",
            Self::Vnet => "vn",
            Self::Image => "image",
            Self::VmTemplate => "template",
            Self::VnTemplate => "vntemplate",
            Self::Document => "document",
            Self::User => "user",
            Self::Group => "group",
            Self::MarketApp => "marketapp",
            Self::Vm => "vm",
        }
    }

    /// Name of its element in answers.
    pub fn element(self) -> &'static str {
        match self {
            Self::Cluster => "CLUSTER",
            Self::Host => "HOST",
            Self::Datastore => "DATASTORE",
            Self::Vnet => "VNET",
            Self::Image => "IMAGE",
            Self::VmTemplate => "VMTEMPLATE",
            Self::VnTemplate => "VNTEMPLATE",
            Self::Document => "DOCUMENT",
            Self::User => "USER",
            Self::Group => "GROUP",
            Self::MarketApp => "MARKETPLACEAPP",
            Self::Vm => "VM",
        }
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Vnet => "virtual network",
            Self::VmTemplate => "VM template",
            Self::VnTemplate => "virtual network template",
            Self::MarketApp => "marketplace app",
            Self::Vm => "VM",
            other => other.method(),
        }
    }
}

/// Declares ids of objects that no other room knows.
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i32> for $name {
            fn from(id: i32) -> Self {
                Self(id)
            }
        }

        impl From<$name> for i32 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

ids! {
    /// Id of a user.
    UserId;
    /// Id of a group.
    GroupId;
    /// Id of an app of a marketplace.
    MarketAppId;
    /// Id of a virtual machine.
    VmId;
}

/// Who an object belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: UserId,
    /// Group.
    pub gid: GroupId,
    /// Name of the user.
    pub uname: String,
    /// Name of the group.
    pub gname: String,
}

const PERMISSION_NAMES: [&str; 9] = [
    "OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M",
    "OTHER_A",
];

/// Who may use, manage and administer an object: owner, group, others; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions(pub [Option<bool>; 9]);

impl Permissions {
    /// Changes nothing.
    pub const UNCHANGED: Self = Self([None; 9]);

    /// From an octal number such as `0o640`: 4 is use, 2 manage, 1 administer. Higher bits do not
    /// count.
    pub fn from_octal(mode: u32) -> Self {
        let mut bit = 9;
        Self([(); 9].map(|()| {
            bit -= 1;
            Some(mode >> bit & 1 == 1)
        }))
    }

    /// As an octal number; what is not known counts as not allowed.
    pub fn octal(self) -> u32 {
        self.0.iter().fold(0, |mode, flag| mode << 1 | u32::from(*flag == Some(true)))
    }
}

impl crate::Client {
    /// Clusters.
    pub fn clusters(&self) -> Objects<Cluster> {
        Objects::new(self)
    }

    /// Hosts.
    pub fn hosts(&self) -> Objects<Host> {
        Objects::new(self)
    }

    /// Datastores.
    pub fn datastores(&self) -> Objects<Datastore> {
        Objects::new(self)
    }

    /// Virtual networks.
    pub fn vnets(&self) -> Objects<Vnet> {
        Objects::new(self)
    }

    /// Images.
    pub fn images(&self) -> Objects<Image> {
        Objects::new(self)
    }

    /// VM templates.
    pub fn templates(&self) -> Objects<VmTemplate> {
        Objects::new(self)
    }

    /// Virtual network templates.
    pub fn vntemplates(&self) -> Objects<VnTemplate> {
        Objects::new(self)
    }

    /// Documents.
    pub fn documents(&self) -> Objects<Document> {
        Objects::new(self)
    }

    /// Users.
    pub fn users(&self) -> Objects<User> {
        Objects::new(self)
    }

    /// Groups.
    pub fn groups(&self) -> Objects<Group> {
        Objects::new(self)
    }

    /// Apps of marketplaces.
    pub fn marketapps(&self) -> Objects<MarketApp> {
        Objects::new(self)
    }

    /// Virtual machines.
    pub fn vms(&self) -> Objects<Vm> {
        Objects::new(self)
    }

    /// The front-end itself.
    pub fn system(&self) -> System {
        System::new(self)
    }
}
