//! The kinds of objects, and what is true of a whole kind.

/// A kind of object. The number is stored, so it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Vm = 1,
    Host = 2,
    Vnet = 3,
    Image = 4,
    User = 5,
    Template = 6,
    Group = 7,
    Datastore = 8,
    Cluster = 9,
    Document = 10,
    Vntemplate = 11,
}

/// How names of a kind must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unique {
    /// From every other of the kind.
    Everywhere,
    /// From others of the same owner.
    PerOwner,
    /// Not at all.
    No,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Vm,
        Self::Host,
        Self::Vnet,
        Self::Image,
        Self::User,
        Self::Template,
        Self::Group,
        Self::Datastore,
        Self::Cluster,
        Self::Document,
        Self::Vntemplate,
    ];

    /// The kind of a stored number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind that a method's middle part names, as in `one.vn.info`.
    pub(crate) fn from_method(noun: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == noun)
    }

    /// The middle part of the kind's methods.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Host => "host",
            Self::Vnet => "vn",
            Self::Image => "image",
            Self::User => "user",
            Self::Template => "template",
            Self::Group => "group",
            Self::Datastore => "datastore",
            Self::Cluster => "cluster",
            Self::Document => "document",
            Self::Vntemplate => "vntemplate",
        }
    }

    /// Element of one object. The pool's is this one with `_POOL`.
    pub(crate) fn element(self) -> &'static str {
        match self {
            Self::Vm => "VM",
            Self::Host => "HOST",
            Self::Vnet => "VNET",
            Self::Image => "IMAGE",
            Self::User => "USER",
            Self::Template => "VMTEMPLATE",
            Self::Group => "GROUP",
            Self::Datastore => "DATASTORE",
            Self::Cluster => "CLUSTER",
            Self::Document => "DOCUMENT",
            Self::Vntemplate => "VNTEMPLATE",
        }
    }

    /// The kind's name in errors such as `Error getting virtual network [0].`
    /// (`src/rm/RequestLogger.cc`, 7.4).
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Vm => "virtual machine",
            Self::Host => "host",
            Self::Vnet => "virtual network",
            Self::Image => "image",
            Self::User => "user",
            Self::Template => "virtual machine template",
            Self::Group => "group",
            Self::Datastore => "datastore",
            Self::Cluster => "cluster",
            Self::Document => "document",
            Self::Vntemplate => "virtual network template",
        }
    }

    /// The kind's name in authorization errors and in `NAME is already taken by …`
    /// (`include/PoolObjectSQL.h`, 7.4).
    pub(crate) fn upper(self) -> &'static str {
        match self {
            Self::Vnet => "NET",
            Self::Template => "TEMPLATE",
            other => other.element(),
        }
    }

    /// The kind's name in `Error transforming the Host to XML.`, the answer to a template that cannot
    /// be stored.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Vm => "VM",
            Self::Host => "Host",
            Self::Vnet => "Virtual Network",
            Self::Image => "Image",
            Self::User => "User",
            Self::Template | Self::Vntemplate => "Template",
            Self::Group => "Group",
            Self::Datastore => "Datastore",
            Self::Cluster => "Cluster",
            Self::Document => "Document",
        }
    }

    /// The id of the first object that is not made by the front-end itself.
    pub(crate) fn first_id(self) -> i32 {
        match self {
            Self::Group | Self::Datastore | Self::Cluster => 100,
            // 0 is oneadmin, 1 serveradmin.
            Self::User => 2,
            _ => 0,
        }
    }

    pub(crate) fn unique(self) -> Unique {
        match self {
            Self::Host | Self::Cluster | Self::Datastore | Self::User | Self::Group => {
                Unique::Everywhere
            }
            Self::Vnet | Self::Image | Self::Template | Self::Vntemplate => Unique::PerOwner,
            Self::Vm | Self::Document => Unique::No,
        }
    }

    /// Whether an owner, a group and permission bits belong to the object.
    pub(crate) fn is_owned(self) -> bool {
        !matches!(self, Self::Host | Self::Cluster | Self::User | Self::Group)
    }
}
