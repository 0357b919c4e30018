//! What there is: OpenNebula's objects, joined with what the journal knows beyond them.
//!
//! OpenNebula is asked first: its objects carry the provision's id, so that provisions of the old
//! tool, and of other machines, are seen too. The journal adds what is under way or unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use journal::{HostRecord, JournalError, Lease, ORPHANS, ProvisionRecord, VirtualKind};
use model::{Attributes, HostState, ProvisionId, ProvisionState};
use opennebula::Client;
use opennebula::objects::{
    Cluster, Datastore, Document, Host, Image, VmTemplate, VnTemplate, Vnet,
};
use serde::Serialize;

use crate::error::describe;
use crate::secrets::DOCUMENT_TYPE;
use crate::values::provision_of;
use crate::{Engine, EngineError, flow, names};

/// The objects of all provisions, or of one.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Datastores.
    pub datastores: Vec<Datastore>,
    /// Virtual networks.
    pub vnets: Vec<Vnet>,
    /// Images.
    pub images: Vec<Image>,
    /// VM templates.
    pub templates: Vec<VmTemplate>,
    /// Virtual network templates.
    pub vntemplates: Vec<VnTemplate>,
    /// Service templates of OneFlow.
    pub flowtemplates: Vec<Document>,
    /// Documents that hold credentials, encrypted.
    pub documents: Vec<Document>,
    /// Images in datastores of what was read that belong to nothing of it: somebody put them there.
    stored: Vec<Image>,
}

impl Pools {
    /// Reads the nine pools, whatever the number of provisions, and keeps what belongs to one. What
    /// monitoring reports at length of hosts is left out.
    ///
    /// # Errors
    /// If the front-end cannot be read.
    pub async fn read(client: &Client) -> Result<Self, EngineError> {
        Self::read_where(client, |_| true, is_given).await
    }

    /// Reads the nine pools and keeps what belongs to one provision.
    ///
    /// # Errors
    /// If the front-end cannot be read.
    pub async fn read_of(client: &Client, id: ProvisionId) -> Result<Self, EngineError> {
        Self::read_where(client, |found| found == id, is_given).await
    }

    /// As [`Pools::read`], but of a host's template only what tells whose it is, how to reach it and
    /// how it stands: how it is configured is many times as much.
    ///
    /// # Errors
    /// If the front-end cannot be read.
    pub async fn glance(client: &Client) -> Result<Self, EngineError> {
        Self::read_where(client, |_| true, is_outline).await
    }

    /// As [`Pools::glance`], for one provision.
    ///
    /// # Errors
    /// If the front-end cannot be read.
    pub async fn glance_of(client: &Client, id: ProvisionId) -> Result<Self, EngineError> {
        Self::read_where(client, |found| found == id, is_outline).await
    }

    /// What belongs to wanted provisions. The rest is dropped while the pools are read: the hosts of a
    /// whole front-end need not fit into memory.
    async fn read_where(
        client: &Client,
        wanted: impl Fn(ProvisionId) -> bool + Copy + Send + Sync,
        keeps: fn(&str) -> bool,
    ) -> Result<Self, EngineError> {
        let is_wanted = move |found: Option<ProvisionId>| found.is_some_and(wanted);
        let is_marked = move |template: &Attributes| is_wanted(provision_of(template));
        let (clusters, hosts, vnets) = (client.clusters(), client.hosts(), client.vnets());
        let (templates, vntemplates) = (client.templates(), client.vntemplates());
        let documents = client.documents();
        let datastores_and_images = async {
            let (datastores, images) = (client.datastores(), client.images());
            let datastores = datastores.pool_map(|d| is_marked(&d.template).then_some(d)).await?;
            // What is in these matters too, whoever put it there.
            let ids: BTreeSet<_> = datastores.iter().map(|d| d.id).collect();
            let matters = |i: &Image| is_marked(&i.template) || ids.contains(&i.datastore_id);
            let images = images.pool_map(|i| matters(&i).then_some(i)).await?;
            Ok((datastores, images))
        };
        let (
            (datastores, images),
            clusters,
            hosts,
            vnets,
            documents,
            templates,
            vntemplates,
            flowtemplates,
        ) = tokio::try_join!(
            datastores_and_images,
            clusters.pool_map(|c| is_wanted(cluster_provision(&c)).then_some(c)),
            hosts.pool_map(|h| is_wanted(host_provision(&h)).then(|| with_attributes(h, keeps))),
            vnets.pool_map(|n| is_marked(&n.template).then_some(n)),
            documents.pool_map(DOCUMENT_TYPE, |d| is_marked(&d.template).then_some(d)),
            templates.pool_map(|t| is_marked(&t.template).then_some(t)),
            vntemplates.pool_map(|t| is_marked(&t.template).then_some(t)),
            documents.pool_map(flow::DOCUMENT_TYPE, |f| {
                is_wanted(flow::provision_of(&f)).then_some(f)
            }),
        )
        .map_err(EngineError::opennebula("the provisions cannot be read"))?;
        let (images, stored) = images.into_iter().partition(|i| is_marked(&i.template));
        let mut pools = Self {
            clusters,
            hosts,
            datastores,
            vnets,
            images,
            templates,
            vntemplates,
            flowtemplates,
            documents,
            stored,
        };
        // Front-ends answer with the newest first; people read in the order of making.
        pools.clusters.sort_by_key(|c| c.id);
        pools.hosts.sort_by_key(|h| h.id);
        pools.datastores.sort_by_key(|d| d.id);
        pools.vnets.sort_by_key(|n| n.id);
        pools.images.sort_by_key(|i| i.id);
        pools.stored.sort_by_key(|i| i.id);
        pools.templates.sort_by_key(|t| t.id);
        pools.vntemplates.sort_by_key(|t| t.id);
        pools.flowtemplates.sort_by_key(|f| f.id);
        Ok(pools)
    }

    /// Those of one provision.
    pub fn of(&self, id: ProvisionId) -> Self {
        let ours = |found: Option<ProvisionId>| found == Some(id);
        let datastores = keep(&self.datastores, |d| ours(provision_of(&d.template)));
        let is_stored = |i: &Image| datastores.iter().any(|d| d.id == i.datastore_id);
        Self {
            clusters: keep(&self.clusters, |c| ours(cluster_provision(c))),
            hosts: keep(&self.hosts, |h| ours(host_provision(h))),
            vnets: keep(&self.vnets, |n| ours(provision_of(&n.template))),
            images: keep(&self.images, |i| ours(provision_of(&i.template))),
            templates: keep(&self.templates, |t| ours(provision_of(&t.template))),
            vntemplates: keep(&self.vntemplates, |t| ours(provision_of(&t.template))),
            flowtemplates: keep(&self.flowtemplates, |f| ours(flow::provision_of(f))),
            documents: keep(&self.documents, |d| ours(provision_of(&d.template))),
            stored: keep(&self.stored, is_stored),
            datastores,
        }
    }

    /// Ids and names of the virtual objects, by kind, in the order in which they are deleted.
    pub fn virtuals(&self) -> Vec<(VirtualKind, Vec<(i32, &str)>)> {
        VirtualKind::ALL.into_iter().map(|kind| (kind, self.of_kind(kind))).collect()
    }

    /// Ids and names of the virtual objects of a kind.
    pub fn of_kind(&self, kind: VirtualKind) -> Vec<(i32, &str)> {
        match kind {
            VirtualKind::Image => self.images.iter().map(|i| (i.id.0, i.name.as_str())).collect(),
            VirtualKind::Template => {
                self.templates.iter().map(|t| (t.id.0, t.name.as_str())).collect()
            }
            VirtualKind::Vntemplate => {
                self.vntemplates.iter().map(|t| (t.id.0, t.name.as_str())).collect()
            }
            VirtualKind::Flowtemplate => {
                self.flowtemplates.iter().map(|f| (f.id.0, f.name.as_str())).collect()
            }
        }
    }

    /// All images in the datastores of a provision, which was read by itself: its own ones, and those
    /// that others put there.
    pub fn images_in_datastores(&self) -> Vec<Image> {
        let is_here = |image: &&Image| self.datastores.iter().any(|d| d.id == image.datastore_id);
        let mut images: Vec<Image> =
            self.images.iter().chain(&self.stored).filter(is_here).cloned().collect();
        images.sort_by_key(|image| image.id);
        images
    }

    /// Whether there is nothing but what OpenNebula makes copies of, mark included.
    pub(crate) fn is_of_copies(&self) -> bool {
        self.clusters.is_empty()
            && self.hosts.is_empty()
            && self.datastores.is_empty()
            && self.documents.is_empty()
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.clusters.is_empty()
            && self.hosts.is_empty()
            && self.datastores.is_empty()
            && self.vnets.is_empty()
            && self.virtuals().iter().all(|(_, objects)| objects.is_empty())
            && self.documents.is_empty()
    }
}

fn keep<T: Clone>(all: &[T], ours: impl Fn(&T) -> bool) -> Vec<T> {
    all.iter().filter(|object| ours(object)).cloned().collect()
}

/// Whether an attribute of a host is kept: all but what the probes of KVM report by the kilobyte
/// (`im_mad/remotes/kvm-probes.d/host/system`), and no template, view or driver goes by.
fn is_given(key: &str) -> bool {
    !["KVM_CPU_FEATURES", "KVM_CPU_MODELS", "KVM_MACHINES"].contains(&key)
}

/// Whether overviews, lists or the choice of hosts are made of an attribute of a host.
fn is_outline(key: &str) -> bool {
    const KEPT: [&str; 5] = [
        "PM_MAD",
        "PROVISION",
        "PROVISION_ADDRESS",
        "PROVISION_CONFIGURATION_STATUS",
        "PROVISION_CONNECTION",
    ];
    KEPT.contains(&key)
}

fn with_attributes(mut host: Host, keeps: fn(&str) -> bool) -> Host {
    // Into a new list: the old one has room for all of them.
    let mut kept = Attributes::new();
    for (key, value) in host.template.into_iter().filter(|(key, _)| keeps(key)) {
        kept.push(key, value);
    }
    host.template = kept;
    host
}

/// A cluster's provision: by its mark, or by the name that it has before it carries one.
pub(crate) fn cluster_provision(cluster: &Cluster) -> Option<ProvisionId> {
    let by_name = || cluster.name.strip_prefix("provision-")?.parse().ok();
    provision_of(&cluster.template).or_else(by_name)
}

/// A host's provision: by its mark, or by the name that it has before it carries one.
pub(crate) fn host_provision(host: &Host) -> Option<ProvisionId> {
    provision_of(&host.template).or_else(|| names::provision_of_host(&host.name))
}

/// How a provision stands, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Hosts wait for their configuration (5.12).
    Pending,
    /// Every host is configured, or there is none (5.12).
    Configured,
    /// The configuration of a host failed (5.12).
    Error,
    /// A process is creating it.
    Creating,
    /// A process is deleting it.
    Deleting,
    /// The process that worked on it is gone, and has not come to its end.
    Interrupted,
    /// A create or delete ended with an error.
    Failed,
    /// A machine may exist, and it could not be found out.
    Unknown,
    /// Nothing is left but a machine that may exist.
    Parked,
    /// What the journal has of it cannot be understood.
    Damaged,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Configured => "configured",
            Self::Error => "error",
            Self::Creating => "creating",
            Self::Deleting => "deleting",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Parked => "parked",
            Self::Damaged => "damaged",
        })
    }
}

/// A provision as it is shown.
#[derive(Clone, Debug)]
pub struct Overview {
    /// Its id.
    pub id: ProvisionId,
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: Status,
    /// Why the journal of it cannot be understood: then there may be more of it than OpenNebula has.
    pub damage: Option<String>,
    /// What OpenNebula has of it.
    pub pools: Pools,
    /// What the journal knows of it.
    pub record: Option<ProvisionRecord>,
}

/// What the journal knows of provisions that are not deleted, oldest first.
#[derive(Debug, Default)]
pub struct Records {
    /// Those that can be understood.
    pub sound: Vec<ProvisionRecord>,
    /// The others, and what is wrong: their machines are known to OpenNebula and the provider alone.
    pub damaged: Vec<(ProvisionId, JournalError)>,
}

impl Engine {
    /// What the journal knows of all provisions that are not deleted, oldest first.
    ///
    /// # Errors
    /// If the journal cannot be read, or one of them cannot be understood.
    pub async fn records(&self) -> Result<Vec<ProvisionRecord>, EngineError> {
        let Records { sound, damaged } = self.sound_records().await?;
        match damaged.into_iter().next() {
            Some((_, error)) => Err(error.into()),
            None => Ok(sound),
        }
    }

    /// The same for what goes on without those that cannot be understood.
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub async fn sound_records(&self) -> Result<Records, EngineError> {
        let mut records = Records::default();
        for id in self.journal.live().await?.into_iter().filter(|id| *id != ORPHANS) {
            match self.journal.record(id).await {
                Ok(record) => records.sound.extend(record),
                Err(error @ JournalError::Entry { .. }) => records.damaged.push((id, error)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(records)
    }

    /// Those of this front-end whose create or delete was left by a process that is gone.
    pub fn interrupted<'r>(&self, records: &'r [ProvisionRecord]) -> Vec<&'r ProvisionRecord> {
        let is_interrupted = |record: &&ProvisionRecord| {
            let unfinished =
                matches!(record.state, ProvisionState::Creating | ProvisionState::Deleting);
            // Some hosts of it were being deleted. What is parked needs the operator, not a resume.
            let at_rest = matches!(record.state, ProvisionState::Ready | ProvisionState::Failed);
            let hosts = at_rest && record.removes_on() && !record.doomed;
            (unfinished || hosts)
                && self.is_listed(record)
                && !Lease::is_held(&self.leases, record.id)
        };
        records.iter().filter(is_interrupted).collect()
    }

    /// Hosts of this front-end with a power operation that a process which is gone has left.
    pub fn interrupted_power<'r>(
        &self,
        records: &'r [ProvisionRecord],
    ) -> Vec<(ProvisionId, &'r HostRecord)> {
        let mut hosts = Vec::new();
        for record in records {
            if !self.is_listed(record) || Lease::is_held(&self.leases, record.id) {
                continue;
            }
            let open = |host: &&HostRecord| {
                let trouble = host.power_trouble();
                !host.removing && !host.removed && trouble.is_some_and(|trouble| trouble.is_open)
            };
            hosts.extend(record.hosts.values().filter(open).map(|host| (record.id, host)));
        }
        hosts
    }

    /// All provisions of this front-end that are not deleted, in the order in which they were made.
    ///
    /// # Errors
    /// If front-end or journal cannot be read.
    pub async fn overviews(&self) -> Result<Vec<Overview>, EngineError> {
        let pools = Pools::glance(&self.opennebula).await?;
        let mut parts: BTreeMap<ProvisionId, Pools> = BTreeMap::new();
        let mut ids = Vec::new();
        for cluster in pools.clusters {
            let Some(id) = cluster_provision(&cluster) else { continue };
            parts.entry(id).or_default().clusters.push(cluster);
            ids.push(id);
        }
        for host in pools.hosts {
            let Some(id) = host_provision(&host) else { continue };
            parts.entry(id).or_default().hosts.push(host);
        }
        for datastore in pools.datastores {
            let Some(id) = provision_of(&datastore.template) else { continue };
            parts.entry(id).or_default().datastores.push(datastore);
        }
        for vnet in pools.vnets {
            let Some(id) = provision_of(&vnet.template) else { continue };
            parts.entry(id).or_default().vnets.push(vnet);
        }
        for image in pools.images {
            let Some(id) = provision_of(&image.template) else { continue };
            parts.entry(id).or_default().images.push(image);
        }
        for template in pools.templates {
            let Some(id) = provision_of(&template.template) else { continue };
            parts.entry(id).or_default().templates.push(template);
        }
        for template in pools.vntemplates {
            let Some(id) = provision_of(&template.template) else { continue };
            parts.entry(id).or_default().vntemplates.push(template);
        }
        for template in pools.flowtemplates {
            let Some(id) = flow::provision_of(&template) else { continue };
            parts.entry(id).or_default().flowtemplates.push(template);
        }
        for document in pools.documents {
            let Some(id) = provision_of(&document.template) else { continue };
            parts.entry(id).or_default().documents.push(document);
        }
        let Records { sound, damaged } = self.sound_records().await?;
        let mut records: BTreeMap<ProvisionId, ProvisionRecord> =
            sound.into_iter().map(|record| (record.id, record)).collect();
        // A copy that a user made of one of its objects carries the mark of a provision that is gone.
        let copies =
            parts.iter().filter(|(id, pools)| !records.contains_key(id) && pools.is_of_copies());
        for id in copies.map(|(id, _)| *id).collect::<Vec<_>>() {
            let is_gone = |record: ProvisionRecord| record.state == ProvisionState::Deleted;
            if self.journal.record(id).await.is_ok_and(|record| record.is_none_or(is_gone)) {
                parts.remove(&id);
            }
        }
        records.retain(|id, record| self.is_listed(record) || parts.contains_key(id));
        let mut damaged: BTreeMap<ProvisionId, String> =
            damaged.into_iter().map(|(id, error)| (id, describe(&error))).collect();
        ids.extend(parts.keys().chain(records.keys()).chain(damaged.keys()).copied());
        let mut seen = BTreeSet::new();
        ids.retain(|id| seen.insert(*id));
        let overview = |id| {
            let pools = parts.remove(&id).unwrap_or_default();
            self.join(id, pools, records.remove(&id), damaged.remove(&id))
        };
        Ok(ids.into_iter().map(overview).collect())
    }

    /// One provision, `None` if neither OpenNebula nor the journal has anything of it.
    ///
    /// # Errors
    /// If front-end or journal cannot be read.
    pub async fn overview(&self, id: ProvisionId) -> Result<Option<Overview>, EngineError> {
        let (record, damage) = match self.journal.record(id).await {
            Ok(record) => (record.filter(|record| self.is_listed(record)), None),
            Err(error @ JournalError::Entry { .. }) => (None, Some(describe(&error))),
            Err(error) => return Err(error.into()),
        };
        let pools = Pools::glance_of(&self.opennebula, id).await?;
        if record.is_none() && damage.is_none() && pools.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.join(id, pools, record, damage)))
    }

    fn is_listed(&self, record: &ProvisionRecord) -> bool {
        let here = record.create.as_ref().is_none_or(|c| self.is_at(&c.endpoint));
        // What is left of one of which no front-end has anything is to be seen at any.
        (here || record.is_nowhere() && record.machines() > 0)
            && record.state != ProvisionState::Deleted
    }

    fn join(
        &self,
        id: ProvisionId,
        pools: Pools,
        record: Option<ProvisionRecord>,
        damage: Option<String>,
    ) -> Overview {
        let marked = pools.clusters.first().and_then(|c| c.template.text("PROVISION/NAME"));
        let name = record.as_ref().and_then(ProvisionRecord::name).or(marked);
        let name = name.or_else(|| pools.clusters.first().map(|c| c.name.as_str()));
        let status = match damage {
            Some(_) => Status::Damaged,
            None => status(&pools, record.as_ref(), Lease::is_held(&self.leases, id)),
        };
        Overview { id, name: name.unwrap_or_default().to_owned(), status, damage, pools, record }
    }
}

fn status(pools: &Pools, record: Option<&ProvisionRecord>, held: bool) -> Status {
    if let Some(record) = record {
        let unknown = record.hosts.values().any(|host| host.state() == HostState::Unknown);
        match record.state {
            ProvisionState::Creating if held => return Status::Creating,
            ProvisionState::Deleting if held => return Status::Deleting,
            ProvisionState::Creating | ProvisionState::Deleting => return Status::Interrupted,
            ProvisionState::Parked => return Status::Parked,
            _ if unknown => return Status::Unknown,
            // It came to its end before any host of it did.
            ProvisionState::Failed if record.doomed => return Status::Failed,
            _ if record.removes_on() && held => return Status::Deleting,
            _ if record.removes_on() => return Status::Interrupted,
            ProvisionState::Failed => return Status::Failed,
            _ if record.is_removing() => return Status::Failed,
            ProvisionState::Ready | ProvisionState::Deleted => {}
        }
    }
    let configuration = |host: &Host| {
        let status = host.template.text("PROVISION_CONFIGURATION_STATUS")?;
        match status {
            "pending" => Some(Status::Pending),
            "error" => Some(Status::Error),
            _ => None,
        }
    };
    pools.hosts.iter().find_map(configuration).unwrap_or(Status::Configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_keeps_what_its_provision_and_its_driver_need() {
        let all = ["ARCH", "KVM_MACHINES", "PM_MAD", "PROVISION", "MINE", "PROVISION_STEPS_BASE64"];
        let keys =
            |keeps: fn(&str) -> bool| all.into_iter().filter(|key| keeps(key)).collect::<Vec<_>>();
        let given = ["ARCH", "PM_MAD", "PROVISION", "MINE", "PROVISION_STEPS_BASE64"];
        assert_eq!(keys(is_given), given);
        assert_eq!(keys(is_outline), ["PM_MAD", "PROVISION"]);
    }
}
