//! The objects of OpenNebula, typed.

use model::{
    Attributes, ClusterId, DatastoreId, DocumentId, HostId, ImageId, TemplateId, VnetId,
    VntemplateId,
};

use super::xml::{Element, mask_passwords};
use super::{
    DatastoreState, DatastoreType, GroupId, HostState, ImageState, MarketAppId, MarketAppState,
    Object, ObjectKind, Owner, Permissions, UserId, VmId, VmState, VnetState,
};

/// A cluster: hosts with their datastores and networks.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Id.
    pub id: ClusterId,
    /// Name, unique among clusters.
    pub name: String,
    /// Its hosts.
    pub hosts: Vec<HostId>,
    /// Its datastores.
    pub datastores: Vec<DatastoreId>,
    /// Its networks.
    pub vnets: Vec<VnetId>,
    /// Everything else.
    pub template: Attributes,
}

impl Object for Cluster {
    const KIND: ObjectKind = ObjectKind::Cluster;
    type Id = ClusterId;

    fn id(&self) -> ClusterId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            hosts: xml.ids("HOSTS"),
            datastores: xml.ids("DATASTORES"),
            vnets: xml.ids("VNETS"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Id.
    pub id: HostId,
    /// Name, unique among hosts; the address that OpenNebula connects to.
    pub name: String,
    /// State.
    pub state: HostState,
    /// Name of the monitoring driver.
    pub im_mad: String,
    /// Name of the virtualization driver.
    pub vm_mad: String,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Name of its cluster.
    pub cluster_name: String,
    /// Number of running VMs.
    pub running_vms: i64,
    /// VMs on it, also those that do not run.
    pub vms: Vec<VmId>,
    /// CPU given to VMs, in hundredths of a core.
    pub cpu_usage: i64,
    /// CPU that can be given to VMs, in hundredths of a core.
    pub max_cpu: i64,
    /// CPU of the machine, in hundredths of a core.
    pub total_cpu: i64,
    /// Memory given to VMs, in KiB.
    pub mem_usage: i64,
    /// Memory that can be given to VMs, in KiB.
    pub max_mem: i64,
    /// Memory of the machine, in KiB.
    pub total_mem: i64,
    /// Everything else; `PROVISION` has what the provision template says.
    pub template: Attributes,
}

impl Object for Host {
    const KIND: ObjectKind = ObjectKind::Host;
    type Id = HostId;

    fn id(&self) -> HostId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        let share = |name: &str| xml.child("HOST_SHARE").map_or(0, |share| share.count(name));
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            state: xml.number("STATE").unwrap_or(-1).into(),
            im_mad: xml.text("IM_MAD"),
            vm_mad: xml.text("VM_MAD"),
            cluster_id: xml.number("CLUSTER_ID").unwrap_or(-1).into(),
            cluster_name: xml.text("CLUSTER"),
            running_vms: share("RUNNING_VMS"),
            vms: xml.ids("VMS"),
            cpu_usage: share("CPU_USAGE"),
            max_cpu: share("MAX_CPU"),
            total_cpu: share("TOTAL_CPU"),
            mem_usage: share("MEM_USAGE"),
            max_mem: share("MAX_MEM"),
            total_mem: share("TOTAL_MEM"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A datastore.
#[derive(Clone, Debug, PartialEq)]
pub struct Datastore {
    /// Id.
    pub id: DatastoreId,
    /// Name, unique among the datastores of its owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// Name of the datastore driver.
    pub ds_mad: String,
    /// Name of the transfer driver.
    pub tm_mad: String,
    /// What it is for.
    pub kind: DatastoreType,
    /// State.
    pub state: DatastoreState,
    /// Clusters that it belongs to.
    pub clusters: Vec<ClusterId>,
    /// Size in MB.
    pub total_mb: i64,
    /// Free space in MB.
    pub free_mb: i64,
    /// Used space in MB.
    pub used_mb: i64,
    /// Images in it.
    pub images: Vec<ImageId>,
    /// Everything else.
    pub template: Attributes,
}

impl Object for Datastore {
    const KIND: ObjectKind = ObjectKind::Datastore;
    type Id = DatastoreId;

    fn id(&self) -> DatastoreId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            ds_mad: xml.text("DS_MAD"),
            tm_mad: xml.text("TM_MAD"),
            kind: xml.number("TYPE").unwrap_or(-1).into(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            clusters: xml.ids("CLUSTERS"),
            total_mb: xml.count("TOTAL_MB"),
            free_mb: xml.count("FREE_MB"),
            used_mb: xml.count("USED_MB"),
            images: xml.ids("IMAGES"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq)]
pub struct Vnet {
    /// Id.
    pub id: VnetId,
    /// Name, unique among the networks of its owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: VnetState,
    /// Clusters that it belongs to.
    pub clusters: Vec<ClusterId>,
    /// Bridge on the hosts.
    pub bridge: String,
    /// Name of the network driver.
    pub vn_mad: String,
    /// Number of addresses in use.
    pub used_leases: i64,
    /// Its address ranges, each as `AR`.
    pub address_ranges: Attributes,
    /// Everything else.
    pub template: Attributes,
}

impl Object for Vnet {
    const KIND: ObjectKind = ObjectKind::Vnet;
    type Id = VnetId;

    fn id(&self) -> VnetId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            // Before 6.0 a network had no state and was there at once.
            state: match xml.child("STATE") {
                Some(_) => xml.number("STATE").unwrap_or(-1).into(),
                None => VnetState::Ready,
            },
            clusters: xml.ids("CLUSTERS"),
            bridge: xml.text("BRIDGE"),
            vn_mad: xml.text("VN_MAD"),
            used_leases: xml.count("USED_LEASES"),
            address_ranges: xml.attributes("AR_POOL"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A disk image or file.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Id.
    pub id: ImageId,
    /// Name, unique among the images of its owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: ImageState,
    /// Size in MB.
    pub size_mb: i64,
    /// Its datastore.
    pub datastore_id: DatastoreId,
    /// Name of its datastore.
    pub datastore_name: String,
    /// Number of VMs that run with it.
    pub running_vms: i64,
    /// VMs that use it.
    pub vms: Vec<VmId>,
    /// Everything else; `ERROR` has the reason of [`ImageState::Error`].
    pub template: Attributes,
}

impl Object for Image {
    const KIND: ObjectKind = ObjectKind::Image;
    type Id = ImageId;

    fn id(&self) -> ImageId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            size_mb: xml.count("SIZE"),
            datastore_id: xml.number("DATASTORE_ID").unwrap_or(-1).into(),
            datastore_name: xml.text("DATASTORE"),
            running_vms: xml.count("RUNNING_VMS"),
            vms: xml.ids("VMS"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// Declares an object that is little more than a template with an owner.
macro_rules! plain_objects {
    ($($(#[$doc:meta])* $name:ident, $id:ident, $kind:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// Id.
            pub id: $id,
            /// Name.
            pub name: String,
            /// Owner.
            pub owner: Owner,
            /// Who may do what.
            pub permissions: Permissions,
            /// What it holds.
            pub template: Attributes,
        }

        impl Object for $name {
            const KIND: ObjectKind = ObjectKind::$kind;
            type Id = $id;

            fn id(&self) -> $id {
                self.id
            }

            fn read(xml: Element<'_, '_>) -> Result<Self, String> {
                Ok(Self {
                    id: xml.id()?,
                    name: xml.text("NAME"),
                    owner: xml.owner(),
                    permissions: xml.permissions(),
                    template: xml.attributes("TEMPLATE"),
                })
            }
        }
    )*};
}

plain_objects! {
    /// A VM template.
    VmTemplate, TemplateId, VmTemplate;
    /// A virtual network template.
    VnTemplate, VntemplateId, VnTemplate;
}

/// A document: attributes that OpenNebula only stores. Types 100 to 104 are taken by its own tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Id.
    pub id: DocumentId,
    /// Name, unique among the documents of its type and owner.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// Type.
    pub document_type: i32,
    /// What it holds. `PROVISION_BODY` is cipher text unless read with
    /// [`super::Objects::info_decrypted`].
    pub template: Attributes,
}

impl Object for Document {
    const KIND: ObjectKind = ObjectKind::Document;
    type Id = DocumentId;

    fn id(&self) -> DocumentId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            document_type: xml.number("TYPE").unwrap_or(-1),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A user. The hash of the password, which answers hold, is not read.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Id; 0 is `oneadmin`.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Primary group.
    pub gid: GroupId,
    /// All groups.
    pub groups: Vec<GroupId>,
    /// Name of the authentication driver.
    pub auth_driver: String,
    /// May log in.
    pub enabled: bool,
    /// Everything else, passwords as secrets.
    pub template: Attributes,
}

impl Object for User {
    const KIND: ObjectKind = ObjectKind::User;
    type Id = UserId;

    fn id(&self) -> UserId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            gid: xml.number("GID").unwrap_or(-1).into(),
            groups: xml.ids("GROUPS"),
            auth_driver: xml.text("AUTH_DRIVER"),
            enabled: xml.count("ENABLED") != 0,
            template: mask_passwords(xml.attributes("TEMPLATE")),
        })
    }
}

/// A group of users.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Id; 0 is `oneadmin`, 1 `users`.
    pub id: GroupId,
    /// Name.
    pub name: String,
    /// Its users.
    pub users: Vec<UserId>,
    /// Those of them who administer it.
    pub admins: Vec<UserId>,
    /// Everything else.
    pub template: Attributes,
}

impl Object for Group {
    const KIND: ObjectKind = ObjectKind::Group;
    type Id = GroupId;

    fn id(&self) -> GroupId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            users: xml.ids("USERS"),
            admins: xml.ids("ADMINS"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// An app of a marketplace.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketApp {
    /// Id.
    pub id: MarketAppId,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: MarketAppState,
    /// Name of its marketplace.
    pub marketplace: String,
    /// Size in MB.
    pub size_mb: i64,
    /// Everything else.
    pub template: Attributes,
}

impl Object for MarketApp {
    const KIND: ObjectKind = ObjectKind::MarketApp;
    type Id = MarketAppId;

    fn id(&self) -> MarketAppId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            marketplace: xml.text("MARKETPLACE"),
            size_mb: xml.count("SIZE"),
            template: xml.attributes("TEMPLATE"),
        })
    }
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Vm {
    /// Id.
    pub id: VmId,
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: Owner,
    /// Who may do what.
    pub permissions: Permissions,
    /// State.
    pub state: VmState,
    /// What goes on while it is [`VmState::Active`]; 3 is running.
    pub lcm_state: i32,
    /// The host that it is or was last on.
    pub host: Option<HostId>,
    /// What it was made of.
    pub template: Attributes,
    /// What its user added.
    pub user_template: Attributes,
}

impl Object for Vm {
    const KIND: ObjectKind = ObjectKind::Vm;
    type Id = VmId;

    fn id(&self) -> VmId {
        self.id
    }

    fn read(xml: Element<'_, '_>) -> Result<Self, String> {
        let history = xml.child("HISTORY_RECORDS");
        let last = history.and_then(|list| {
            list.children("HISTORY").max_by_key(|record| record.number::<i64>("SEQ").unwrap_or(0))
        });
        Ok(Self {
            id: xml.id()?,
            name: xml.text("NAME"),
            owner: xml.owner(),
            permissions: xml.permissions(),
            state: xml.number("STATE").unwrap_or(-1).into(),
            lcm_state: xml.number("LCM_STATE").unwrap_or(-1),
            host: last.and_then(|record| record.number::<i32>("HID")).map(HostId),
            template: xml.attributes("TEMPLATE"),
            user_template: xml.attributes("USER_TEMPLATE"),
        })
    }
}
