//! What machines belong to: clusters, hosts, datastores, virtual networks.

use model::{Attributes, ClusterId, DatastoreId, HostId, ImageId, VnetId, VntemplateId};

use super::xml::Element;
use super::{
    DatastoreState, DatastoreType, HostState, Object, ObjectKind, Owner, Permissions, VmId,
    VnetState,
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
    /// The network of which it is a reservation.
    pub parent: Option<VnetId>,
    /// The network template that it was instantiated from: an element in 7.4, an attribute up to 7.2.
    pub template_id: Option<VntemplateId>,
    /// Whether OpenNebula chose its `VLAN_ID`.
    pub vlan_id_automatic: bool,
    /// Whether OpenNebula chose its `OUTER_VLAN_ID`.
    pub outer_vlan_id_automatic: bool,
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
        let template = xml.attributes("TEMPLATE");
        let given = || template.text("TEMPLATE_ID")?.trim().parse().ok();
        let template_id = xml.number("TEMPLATE_ID").or_else(given).filter(|id| *id >= 0);
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
            parent: xml.number("PARENT_NETWORK_ID").filter(|id| *id >= 0).map(VnetId),
            template_id: template_id.map(VntemplateId),
            vlan_id_automatic: xml.count("VLAN_ID_AUTOMATIC") != 0,
            outer_vlan_id_automatic: xml.count("OUTER_VLAN_ID_AUTOMATIC") != 0,
            address_ranges: xml.attributes("AR_POOL"),
            template,
        })
    }
}
