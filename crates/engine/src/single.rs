//! Removal of single objects of a provision: a datastore, a network, an image, a template.

use std::sync::Arc;

use journal::{Event, ObjectRecord, ProvisionRecord, Subject, VirtualKind};
use model::{Attributes, ProvisionId, Value};

use crate::in_use::{list, vms_in};
use crate::objects::kind_word;
use crate::overview::Pools;
use crate::session::Session;
use crate::{Decision, Engine, EngineError, flow};

/// The kinds of objects that can be deleted one by one; hosts have machines, and go with those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A cluster.
    Cluster,
    /// A datastore.
    Datastore,
    /// A virtual network.
    Network,
    /// An image or a template.
    Virtual(VirtualKind),
}

impl ObjectKind {
    fn subject(self, number: u32) -> Subject {
        match self {
            Self::Cluster => Subject::Cluster,
            Self::Datastore => Subject::Datastore(number),
            Self::Network => Subject::Network(number),
            Self::Virtual(kind) => Subject::Virtual(kind, number),
        }
    }

    /// Ids and names of the objects of this kind.
    pub fn of(self, pools: &Pools) -> Vec<(i32, &str)> {
        match self {
            Self::Cluster => pools.clusters.iter().map(|c| (c.id.0, c.name.as_str())).collect(),
            Self::Datastore => pools.datastores.iter().map(|d| (d.id.0, d.name.as_str())).collect(),
            Self::Network => pools.vnets.iter().map(|n| (n.id.0, n.name.as_str())).collect(),
            Self::Virtual(kind) => pools.of_kind(kind),
        }
    }

    /// Its objects in a record, by their numbers.
    fn recorded(self, record: &ProvisionRecord) -> Vec<(u32, &ObjectRecord)> {
        let of = |objects: &'_ std::collections::BTreeMap<u32, ObjectRecord>| {
            objects.keys().copied().collect::<Vec<u32>>()
        };
        let numbers = match self {
            Self::Cluster => vec![0],
            Self::Datastore => of(&record.datastores),
            Self::Network => of(&record.networks),
            Self::Virtual(kind) => record.virtuals.get(&kind).map(of).unwrap_or_default(),
        };
        numbers.into_iter().filter_map(|n| Some((n, record.object(self.subject(n))?))).collect()
    }
}

/// What is to be deleted.
#[derive(Clone, Copy, Debug)]
pub struct ObjectDeleteRequest {
    /// The provision that it belongs to.
    pub provision: ProvisionId,
    /// What it is.
    pub kind: ObjectKind,
    /// Its id in OpenNebula.
    pub id: i32,
    /// Deletes it although other objects of provisions need it. OpenNebula itself may still refuse.
    pub force: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Why the object is still there, if it is.
    pub failure: Option<String>,
}

impl Engine {
    /// Deletes one object of a provision, and waits until it is gone.
    ///
    /// # Errors
    /// If it is not there, if something else needs it, if the provision is not finished, or as for
    /// [`Engine::delete`].
    pub async fn delete_object(
        &self,
        request: ObjectDeleteRequest,
    ) -> Result<Deleted, EngineError> {
        let ObjectDeleteRequest { provision, kind, id, force } = request;
        let word = kind_word(kind.subject(0));
        let lease = self.lease(provision)?;
        let record = self.journal.record(provision).await?;
        let record = record.unwrap_or_else(|| ProvisionRecord::new(provision));
        self.check_endpoint(&record).await?;
        let all = Pools::glance(&self.opennebula).await?;
        let there = all.of(provision);
        let Some((_, name)) = kind.of(&there).into_iter().find(|(known, _)| *known == id) else {
            return Err(EngineError::Refused(format!("provision {provision} has no {word} {id}")));
        };
        let mut needed = dependants(&all, kind, id, name);
        if kind == ObjectKind::Datastore {
            let vms = vms_in(self, std::iter::once(id)).await?;
            needed.extend(vms.iter().map(ToString::to_string));
        }
        if !force && !needed.is_empty() {
            return Err(EngineError::Refused(format!(
                "{word} {id} ({name}) cannot be deleted: {} need it; delete those first, or use \
                 --force",
                list(&needed)
            )));
        }
        let recorded = kind.recorded(&record);
        if recorded.iter().any(|(_, object)| object.open.is_some() && object.id.is_none()) {
            return Err(EngineError::Refused(format!(
                "provision {provision} was interrupted while its objects were made: finish that first \
                 with `oneprovision resume {provision}`"
            )));
        }
        let known = recorded.iter().find(|(_, o)| o.id == Some(id) && !o.removed).map(|(n, _)| *n);
        let free = recorded.last().map_or(0, |(n, _)| n + 1);
        let (number, found) = match (known, kind) {
            (Some(number), _) => (number, None),
            (None, ObjectKind::Cluster) => (0, Some(name.to_owned())),
            (None, _) => (free, Some(name.to_owned())),
        };
        let subject = kind.subject(number);
        let session = Arc::new(Session::new(self, record, lease));
        if let Some(name) = found {
            let found = Event::Found { subject, id, name, driver: None, deploy_id: None };
            session.commit(vec![found]).await?;
        }
        loop {
            if session.remove_object(subject, self.settings.patience).await? {
                return Ok(Deleted { failure: None });
            }
            let failure = session.record().object(subject).and_then(|o| o.failure.clone());
            let failure = failure.unwrap_or_default();
            match session.decide(subject, &failure).await {
                Decision::Retry if !self.stop.requested() => {}
                _ => return Ok(Deleted { failure: Some(failure) }),
            }
        }
    }
}

/// What of all provisions, and which VMs, would lack an object.
fn dependants(all: &Pools, kind: ObjectKind, id: i32, name: &str) -> Vec<String> {
    match kind {
        ObjectKind::Cluster => {
            let hosts = all.hosts.iter().filter(|host| host.cluster_id.0 == id);
            let hosts = hosts.map(|host| format!("host {} ({})", host.id, host.name));
            let datastores = all.datastores.iter().filter(|d| d.clusters.iter().any(|c| c.0 == id));
            let datastores = datastores.map(|d| format!("datastore {} ({})", d.id, d.name));
            let vnets = all.vnets.iter().filter(|n| n.clusters.iter().any(|c| c.0 == id));
            let vnets = vnets.map(|n| format!("network {} ({})", n.id, n.name));
            hosts.chain(datastores).chain(vnets).collect()
        }
        ObjectKind::Datastore => {
            let datastore = all.datastores.iter().filter(|datastore| datastore.id.0 == id);
            datastore.flat_map(|d| d.images.iter().map(|image| format!("image {image}"))).collect()
        }
        ObjectKind::Network => {
            let leases = all.vnets.iter().filter(|n| n.id.0 == id && n.used_leases > 0);
            let leases = leases.map(|n| format!("{} leases of its addresses", n.used_leases));
            templates(all, "NIC", ("NETWORK_ID", "NETWORK"), id, name).chain(leases).collect()
        }
        ObjectKind::Virtual(VirtualKind::Image) => {
            let images = all.images.iter().filter(|image| image.id.0 == id);
            let vms = images.flat_map(|image| image.vms.iter().map(|vm| format!("VM {vm}")));
            templates(all, "DISK", ("IMAGE_ID", "IMAGE"), id, name).chain(vms).collect()
        }
        ObjectKind::Virtual(VirtualKind::Template) => {
            let services = all.flowtemplates.iter();
            let services = services.filter(|service| flow::vm_templates(service).contains(&id));
            services.map(|s| format!("service template {} ({})", s.id, s.name)).collect()
        }
        ObjectKind::Virtual(VirtualKind::Vntemplate | VirtualKind::Flowtemplate) => Vec::new(),
    }
}

/// The VM templates with a vector that names an object by its id or its name.
fn templates<'a>(
    all: &'a Pools,
    vector: &'a str,
    (by_id, by_name): (&'a str, &'a str),
    id: i32,
    name: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let names = move |template: &Attributes| {
        let is_it = |part: &Attributes| match part.text(by_id) {
            Some(other) => other.trim().parse() == Ok(id),
            None => part.text(by_name) == Some(name),
        };
        template.all(vector).any(|value| matches!(value, Value::Vector(part) if is_it(part)))
    };
    let using = all.templates.iter().filter(move |template| names(&template.template));
    using.map(|template| format!("template {} ({})", template.id, template.name))
}
