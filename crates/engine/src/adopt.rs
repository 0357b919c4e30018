//! What OpenNebula has of a provision and its journal does not know: objects of the old tool or of another
//! machine, those whose create was never answered, and copies that users made, which are not taken.

use std::collections::{BTreeMap, BTreeSet};

use journal::{
    CreateBegun, Event, Fact, HostRecord, IntentId, Layout, ObjectRecord, Outcome, ProvisionRecord,
    Step, Subject, VirtualKind,
};
use model::{
    DatastoreId, DocumentId, HostKey, ImageId, ProvisionId, TemplateId, VnetId, VntemplateId,
};
use opennebula::Error;
use opennebula::error::code;
use opennebula::objects::{Host, Image, Vnet};
use template::Spec;
use template::reference::evaluate;

use crate::objects::{infrastructure, kind_word};
use crate::observe::Note;
use crate::overview::Pools;
use crate::values::{Known, provision_of};
use crate::virtuals::entries;
use crate::{Engine, EngineError, names};

impl Engine {
    /// Objects of the record, but for hosts and the cluster, that somebody deleted in OpenNebula: taken for removed, so
    /// that an update makes them anew. What this user does not see with its mark is looked at by its id.
    ///
    /// # Errors
    /// If the front-end cannot be read.
    pub(crate) async fn gone(
        &self,
        record: &ProvisionRecord,
        pools: &Pools,
    ) -> Result<Vec<Event>, EngineError> {
        let datastores = record.datastores.iter().map(|(n, o)| (Subject::Datastore(*n), o));
        let networks = record.networks.iter().map(|(n, o)| (Subject::Network(*n), o));
        let objects = datastores.chain(networks).chain(record.virtual_subjects());
        let mut events = Vec::new();
        let mut intents = (record.next_intent().0..).map(IntentId);
        for (subject, object) in objects.filter(|(_, o)| o.open.is_none() && !o.leaving) {
            let Some(id) = object.made() else { continue };
            let seen = match subject {
                Subject::Datastore(_) => pools.datastores.iter().any(|it| it.id.0 == id),
                Subject::Network(_) => pools.vnets.iter().any(|it| it.id.0 == id),
                Subject::Virtual(kind, _) => pools.of_kind(kind).iter().any(|(it, _)| *it == id),
                Subject::Cluster | Subject::Host(_) | Subject::Secrets => true,
            };
            let word = kind_word(subject);
            let failed = || format!("{word} {id} cannot be looked for");
            if seen || self.has(subject, id).await.map_err(EngineError::opennebula(failed()))? {
                continue;
            }
            let text = format!(
                "{word} {id} is not in OpenNebula any more: what refers to it keeps that id until it is changed"
            );
            self.observer.note(record, &Note::Warning(text));
            let Some(intent) = intents.next() else { continue };
            events.push(Event::Intent { id: intent, subject, step: Step::Remove, key: None });
            events.push(Event::Outcome { id: intent, outcome: Outcome::Done(Fact::Done) });
        }
        Ok(events)
    }

    /// Whether OpenNebula has an object of that kind and id, whosever it is.
    async fn has(&self, subject: Subject, id: i32) -> Result<bool, Error> {
        let one = &self.opennebula;
        let there = match subject {
            Subject::Datastore(_) => one.datastores().exists(DatastoreId(id)).await,
            Subject::Network(_) => one.vnets().exists(VnetId(id)).await,
            Subject::Virtual(VirtualKind::Image, _) => one.images().exists(ImageId(id)).await,
            Subject::Virtual(VirtualKind::Template, _) => {
                one.templates().exists(TemplateId(id)).await
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                one.vntemplates().exists(VntemplateId(id)).await
            }
            // Its pool was read before.
            _ => match one.documents().info(DocumentId(id)).await {
                Err(error) if error.is_gone() => Ok(false),
                answer => answer.map(|_| true),
            },
        };
        match there {
            Err(error) if error.code() == Some(code::AUTHORIZATION) => Ok(true),
            there => there,
        }
    }

    /// Takes into the record what OpenNebula has of this provision and the record does not know:
    /// objects of the old tool or of another machine, and those whose create was never answered.
    ///
    /// Unless all of it is removed, only hosts that carry our mark are taken: what is half made must
    /// stay so in the record, or a later resume would take it for complete.
    pub(crate) fn adopt(&self, record: &ProvisionRecord, pools: &Pools, whole: bool) -> Vec<Event> {
        let mut events = Vec::new();
        if whole {
            let clusters = pools.clusters.iter().map(|c| (c.id.into(), c.name.as_str()));
            adopt_kind(record, clusters.collect(), |_| Subject::Cluster, &mut events);
            let datastores = pools.datastores.iter().map(|d| (d.id.into(), d.name.as_str()));
            adopt_kind(record, datastores.collect(), Subject::Datastore, &mut events);
            let documents = pools.documents.iter().map(|d| (d.id.into(), d.name.as_str()));
            adopt_kind(record, documents.collect(), |_| Subject::Secrets, &mut events);
            let missing = match record.create {
                // The cluster goes when everything else has gone.
                None if pools.is_of_copies() => Missing(Some(Vec::new())),
                _ => Missing::of(record),
            };
            let vnets = pools.vnets.iter().filter(|vnet| !is_copy(vnet));
            let vnets = vnets.map(|n| (n.id.into(), n.name.as_str()));
            let vnets = vnets.filter(|(id, name)| missing.may_be(Subject::Network(0), *id, name));
            adopt_kind(record, vnets.collect(), Subject::Network, &mut events);
            for (kind, there) in pools.virtuals() {
                let subject = |n| Subject::Virtual(kind, n);
                let there = there.into_iter();
                let there = there.filter(|(id, name)| missing.may_be(subject(0), *id, name));
                adopt_kind(record, there.collect(), subject, &mut events);
            }
            adopt_hosts(record, pools.hosts.iter(), &mut events);
        } else {
            let marked = |host: &&Host| provision_of(&host.template) == Some(record.id);
            adopt_hosts(record, pools.hosts.iter().filter(marked), &mut events);
        }
        events
    }
}

/// Of what was found, the machines of hosts that the record has: OpenNebula knows more where another journal went
/// on with the provision, or this one was restored from a copy.
pub(crate) fn machines_of(record: &ProvisionRecord, mut found: Vec<Event>) -> Vec<Event> {
    found.retain(|event| match event {
        Event::Found { subject: Subject::Host(key), id, deploy_id: Some(_), .. } => {
            let known = record.hosts.get(key).filter(|host| !host.removed);
            known.is_some_and(|host| host.host_id.is_none_or(|known| known == *id))
        }
        _ => false,
    });
    found
}

/// The names of a template's objects, where they can be told before anything is made.
pub(crate) fn names_of(
    id: ProvisionId,
    create: &CreateBegun,
    layout: &Layout,
) -> Option<BTreeMap<Subject, Option<String>>> {
    let spec = create.spec.read::<Spec>().ok()?;
    let known = Known::new(&spec.name, id);
    let objects = infrastructure(&spec, layout);
    let objects = objects.map(|(subject, .., object)| (subject, object.name.as_str()));
    let entries = entries(&spec, layout);
    let entries = entries.iter().map(|entry| (entry.subject, entry.name));
    let names = objects.chain(entries);
    Some(names.map(|(subject, name)| (subject, evaluate(name, &known).ok())).collect())
}

/// What a journal knows of an object that is to be there and that it does not know to be there.
///
/// OpenNebula copies the mark with the template that it is in, when a user clones an image or a template, or
/// makes a network from one. What has the mark and fits nothing that is missing is such a copy. Without a
/// journal nothing tells them apart.
struct Missing(Option<Vec<(Subject, Trait)>>);

/// What a missing object is told from a copy by.
enum Trait {
    /// What was deleted, as far as the journal knows, had this id.
    Id(i32),
    /// What was never answered for has this name.
    Name(String),
    /// Nothing.
    None,
}

impl Missing {
    fn of(record: &ProvisionRecord) -> Self {
        let names = record.wanted().and_then(|it| names_of(record.id, it, &record.layout));
        let Some(mut names) = names else { return Self(None) };
        let others = record.networks.keys().map(|n| Subject::Network(*n));
        let others = others.chain(record.virtual_subjects().map(|(subject, _)| subject));
        for subject in others {
            let name = || record.object(subject).and_then(|object| object.name.clone());
            names.entry(subject).or_insert_with(name);
        }
        let lost = |(subject, name): (Subject, Option<String>)| {
            let named = name.map_or(Trait::None, Trait::Name);
            match record.object(subject) {
                Some(ObjectRecord { removed: true, id, .. }) => Some((subject, Trait::Id((*id)?))),
                Some(ObjectRecord { id: Some(_), .. }) => None,
                _ => Some((subject, named)),
            }
        };
        Self(Some(names.into_iter().filter_map(lost).collect()))
    }

    fn may_be(&self, kind: Subject, id: i32, name: &str) -> bool {
        let alike = |subject: &Subject| kind_word(*subject) == kind_word(kind);
        self.0.as_ref().is_none_or(|missing| {
            missing.iter().filter(|(subject, _)| alike(subject)).any(|(_, wanted)| match wanted {
                Trait::Id(wanted) => *wanted == id,
                Trait::Name(wanted) => wanted == name,
                Trait::None => true,
            })
        })
    }
}

/// A network that a user made of one of the provision's, or of a template of one.
fn is_copy(vnet: &Vnet) -> bool {
    vnet.parent.is_some() || vnet.template_id.is_some()
}

/// What carries the mark, is neither in the record nor among what was found, and so is left alone.
pub(crate) fn copies(record: &ProvisionRecord, pools: &Pools, found: &[Event]) -> Vec<String> {
    let vnets = pools.vnets.iter().map(|n| (n.id.into(), n.name.as_str())).collect();
    let kinds = std::iter::once((Subject::Network(0), vnets));
    let virtuals = pools.virtuals().into_iter();
    let kinds = kinds.chain(virtuals.map(|(kind, there)| (Subject::Virtual(kind, 0), there)));
    let mut copies = Vec::new();
    for (kind, there) in kinds {
        let objects = record.of_kind(kind);
        let is_known = |id: i32| {
            let found = found.iter().any(|event| match event {
                Event::Found { subject, id: found, .. } => {
                    kind_word(*subject) == kind_word(kind) && *found == id
                }
                Event::Outcome { outcome: Outcome::Done(Fact::Object(made)), .. } => *made == id,
                _ => false,
            });
            found || objects.iter().any(|(_, o)| o.id == Some(id) && !o.removed)
        };
        copies.extend(there.into_iter().filter(|(id, _)| !is_known(*id)).map(|(id, name)| {
            format!(
                "{} {id} ({name}) is a copy that somebody made of an object of this provision: it is left alone",
                kind_word(kind)
            )
        }));
    }
    copies
}

/// Objects of a kind that the record does not know. One whose create has no outcome is what that
/// create made; there is at most one such, since objects are made one after another.
fn adopt_kind(
    record: &ProvisionRecord,
    there: Vec<(i32, &str)>,
    subject: impl Fn(u32) -> Subject,
    events: &mut Vec<Event>,
) {
    let objects = record.of_kind(subject(0));
    let mut unknown = there.into_iter().filter(|(id, _)| {
        !objects.iter().any(|(_, object)| object.id == Some(*id) && !object.removed)
    });
    for (_, object) in &objects {
        if let Some(open) = object.open.as_ref().filter(|open| open.step == Step::Create) {
            let outcome = match unknown.next() {
                Some((id, _)) => Outcome::Done(Fact::Object(id)),
                None => Outcome::Failed { message: "was not made".to_owned() },
            };
            events.push(Event::Outcome { id: open.id, outcome });
        }
    }
    let free = objects.iter().map(|(n, _)| n + 1).max().unwrap_or(0);
    for ((id, name), n) in unknown.zip(free..) {
        let name = name.to_owned();
        events.push(Event::Found { subject: subject(n), id, name, driver: None, deploy_id: None });
    }
}

/// Images of others in the provision's datastores, which go with it: as if they were its own.
pub(crate) fn adopt_images(record: &ProvisionRecord, stored: &[Image], events: &mut Vec<Event>) {
    let image = |n| Subject::Virtual(VirtualKind::Image, n);
    let known: BTreeSet<i32> = record
        .virtual_subjects()
        .filter(|(_, object)| !object.removed)
        .filter_map(|(subject, object)| {
            object.id.filter(|_| matches!(subject, Subject::Virtual(VirtualKind::Image, _)))
        })
        .chain(events.iter().filter_map(|event| match event {
            Event::Found { subject: Subject::Virtual(VirtualKind::Image, _), id, .. }
            | Event::Outcome { outcome: Outcome::Done(Fact::Object(id)), .. } => Some(*id),
            _ => None,
        }))
        .collect();
    let in_record = record
        .virtuals
        .get(&VirtualKind::Image)
        .map_or(0, |images| images.keys().next_back().map_or(0, |last| last + 1));
    let found = events.iter().filter_map(|event| match event {
        Event::Found { subject: Subject::Virtual(VirtualKind::Image, n), .. } => Some(n + 1),
        _ => None,
    });
    let free = found.max().unwrap_or(0).max(in_record);
    for (other, n) in stored.iter().filter(|other| !known.contains(&other.id.0)).zip(free..) {
        events.push(Event::Found {
            subject: image(n),
            id: other.id.0,
            name: other.name.clone(),
            driver: None,
            deploy_id: None,
        });
    }
}

fn adopt_hosts<'h>(
    record: &ProvisionRecord,
    there: impl Iterator<Item = &'h Host>,
    events: &mut Vec<Event>,
) {
    let there: Vec<&Host> = there.collect();
    let mut taken: BTreeSet<HostKey> = record.hosts.keys().copied().collect();
    let mut found: BTreeSet<HostKey> = BTreeSet::new();
    let marks = there.iter().filter_map(|host| marked_key(host));
    let free = marks.map(|key| HostKey(key.0 + 1)).max();
    let mut next_key = record.next_key().max(free.unwrap_or(HostKey(0)));
    let by_id: BTreeMap<i32, &HostRecord> =
        record.hosts.values().rev().filter_map(|host| Some((host.host_id?, host))).collect();
    for host in there {
        let id: i32 = host.id.into();
        let deploy_id = host.template.text("PROVISION/DEPLOY_ID").and_then(model::DeployId::new);
        let known = by_id.get(&id);
        if let Some(known) = known {
            // Another machine's journal may know more than ours: also of a host that we never asked a machine
            // for again, and whose object we did not write the id to.
            let is_theirs = match &known.machine {
                journal::Machine::None => true,
                journal::Machine::Maybe { .. } => known.attempts <= 1 && !known.announced,
                _ => false,
            };
            if deploy_id.is_none() || !is_theirs {
                continue;
            }
        }
        // One that the record has and knows no object of.
        let is_lost = |key: &HostKey| {
            let known = record.hosts.get(key);
            known.is_some_and(|known| known.host_id.is_none() && !known.removed)
                && !found.contains(key)
        };
        let by_name = names::host_key(record.id, &host.name).filter(is_lost);
        // Another journal went on with it, and gave it another name.
        let by_mark = || marked_key(host).filter(|key| !taken.contains(key) || is_lost(key));
        let key = known.map(|known| known.key).or(by_name).or_else(by_mark).unwrap_or_else(|| {
            let key = next_key;
            next_key = HostKey(next_key.0 + 1);
            key
        });
        taken.insert(key);
        found.insert(key);
        events.push(Event::Found {
            subject: Subject::Host(key),
            id,
            name: host.name.clone(),
            driver: Some(host.template.text("PM_MAD").unwrap_or_default().to_owned()),
            deploy_id,
        });
    }
}

/// The key that a host and its machine were marked with by a journal that is lost, or is another one. Anybody
/// can write there: what no provision comes to is none.
pub(crate) fn marked_key(host: &Host) -> Option<HostKey> {
    let key = host.template.text("PROVISION/HOST_KEY")?.trim().parse().ok()?;
    (key < 1 << 24).then_some(HostKey(key))
}
