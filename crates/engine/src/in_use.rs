//! What is in the way of a removal: VMs on hosts, their disks in datastores, images.

use std::collections::{BTreeMap, BTreeSet};

use model::{Attributes, HostId, ImageId};
use opennebula::objects::{Host, Image, VmId};

use crate::overview::Pools;
use crate::{Engine, EngineError};

/// VMs and images that a message names; more are counted.
const NAMED: usize = 20;

/// A host of which only its VMs matter.
pub(crate) fn without_template(host: Host) -> Host {
    Host { template: Attributes::new(), ..host }
}

/// Images and VMs that are in the way, all of them at once.
pub(crate) fn refuse_if_in_use<'h>(
    images: &[&Image],
    hosts: impl Iterator<Item = &'h Host>,
    offers_cleanup: bool,
) -> Result<(), EngineError> {
    let image = |i: &&Image| format!("image {} ({}) in datastore {}", i.id, i.name, i.datastore_id);
    let images: Vec<String> = images.iter().map(image).collect();
    let in_use = hosts.filter(|host| host.running_vms > 0 || !host.vms.is_empty());
    let hosts: Vec<String> = in_use
        .map(|host| {
            let vms: Vec<String> = host.vms.iter().map(|vm| format!("VM {vm}")).collect();
            let vms = if vms.is_empty() { host.running_vms.to_string() } else { list(&vms) };
            format!("host {} ({}) has {vms}", host.id, host.name)
        })
        .collect();
    let (what, named, how) = match (images.is_empty(), hosts.is_empty()) {
        (true, true) => return Ok(()),
        (false, true) => ("images", list(&images), "delete them first"),
        (true, false) => ("running VMs", list(&hosts), "move or terminate them"),
        (false, false) => {
            let named = format!("{}; {}", list(&hosts), list(&images));
            ("running VMs and images", named, "move, terminate or delete them")
        }
    };
    Err(EngineError::Refused(match offers_cleanup {
        true => format!(
            "provision with {what} can't be deleted: {named}; {how}, or delete them with it: --cleanup"
        ),
        false => format!("hosts with {what} can't be deleted: {named}; {how} first"),
    }))
}

/// An image that a VM uses cannot be deleted, and only VMs on the provision's hosts go with it. It is known before
/// any of them is terminated.
pub(crate) fn refuse_if_used_elsewhere(pools: &Pools, stored: &[Image]) -> Result<(), EngineError> {
    let going: BTreeSet<VmId> = pools.hosts.iter().flat_map(|host| host.vms.clone()).collect();
    let images: BTreeMap<ImageId, &Image> =
        pools.images.iter().chain(stored).map(|image| (image.id, image)).collect();
    let used = images.values().filter_map(|image| {
        let vms = image.vms.iter().filter(|vm| !going.contains(vm));
        let vms: Vec<String> = vms.map(|vm| format!("VM {vm}")).collect();
        let name = format!("image {} ({})", image.id, image.name);
        (!vms.is_empty()).then(|| format!("{name} is used by {}", list(&vms)))
    });
    let used: Vec<String> = used.collect();
    match used.is_empty() {
        true => Ok(()),
        false => Err(EngineError::Refused(format!(
            "VMs that are on no host of the provision use its images: {}; terminate them first. Nothing was \
             deleted",
            list(&used)
        ))),
    }
}

/// A network is not deleted as long as a user has a reservation of it, which carries the provision's mark, too.
pub(crate) fn refuse_if_reserved(pools: &Pools) -> Result<(), EngineError> {
    let own = |id| pools.vnets.iter().find(|network| network.id == id && network.parent.is_none());
    let reserved = pools.vnets.iter().filter_map(|copy| {
        let of = own(copy.parent?)?;
        Some(format!("network {} ({}) of network {} ({})", copy.id, copy.name, of.id, of.name))
    });
    let reserved: Vec<String> = reserved.collect();
    match reserved.is_empty() {
        true => Ok(()),
        false => Err(EngineError::Refused(format!(
            "users have reservations of the provision's networks: {}; delete them first (`onevnet delete`). Nothing \
             was deleted",
            list(&reserved)
        ))),
    }
}

/// A VM that has its disks in a datastore.
pub(crate) struct VmInside {
    pub datastore: i32,
    /// The host that it is or was last on.
    pub host: Option<HostId>,
    /// Its id and name, as messages have them.
    name: String,
}

impl std::fmt::Display for VmInside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

/// The VMs that have their disks in these datastores, also such as are powered off or undeployed. OpenNebula
/// deletes a datastore under them: it looks at images only (`DatastorePool::drop`).
pub(crate) async fn vms_in(
    engine: &Engine,
    datastores: impl Iterator<Item = i32>,
) -> Result<Vec<VmInside>, EngineError> {
    let datastores: BTreeSet<i32> = datastores.collect();
    if datastores.is_empty() {
        return Ok(Vec::new());
    }
    let vms = engine.opennebula.vms();
    let inside = vms.pool_map(|vm| {
        let datastore = vm.datastore.map(|id| id.0).filter(|id| datastores.contains(id))?;
        Some(VmInside { datastore, host: vm.host, name: format!("VM {} ({})", vm.id, vm.name) })
    });
    inside.await.map_err(EngineError::opennebula("the VMs cannot be read"))
}

/// Why the datastore of the first of these VMs stays, `None` without any.
pub(crate) fn why_it_stays<'v>(vms: impl Iterator<Item = &'v VmInside>) -> Option<String> {
    let mut vms = vms.peekable();
    let id = vms.peek()?.datastore;
    let names: Vec<String> = vms.filter(|vm| vm.datastore == id).map(ToString::to_string).collect();
    Some(format!("datastore {id} has disks of {}: migrate or terminate them first", list(&names)))
}

/// The first of many, and how many there are.
pub(crate) fn list(names: &[String]) -> String {
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED) {
        None | Some(0) => first,
        Some(more) => format!("{first} and {more} more"),
    }
}
