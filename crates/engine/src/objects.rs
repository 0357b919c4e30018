//! Objects of OpenNebula other than hosts: made once, found again. Cluster, datastores and networks are
//! made here, in this order; virtual objects in `virtuals`.

use std::collections::BTreeSet;
use std::time::Duration;

use journal::{Fact, Layout, ObjectRecord, Outcome, Step, Subject, VirtualKind};
use model::{Attributes, ClusterId, DatastoreId, DocumentId, Value, VnetId};
use opennebula::objects::{Cluster, Document, ImageState, Update};
use opennebula::{Error, ErrorKind};
use template::reference::ObjectKind;
use template::spec::{Meta, ObjectSpec, Spec};
use tokio::time::{Instant, sleep};

use crate::again::{SILENCE, make, repeat};
use crate::error::describe;
use crate::observe::Note;
use crate::ownership::changes;
use crate::secrets::{DOCUMENT_TYPE, Secrets};
use crate::session::Session;
use crate::values::{Known, provision_of};
use crate::{Decision, EngineError, flow, names};

/// How long a network that could not be made is waited for to be gone.
const LEAVING: Duration = Duration::from_secs(60);
/// How long a new datastore's driver may take to tell how much room there is, and the pause between looks.
const MEASURING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(250);

/// How far the making of objects came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// Everything is there.
    All,
    /// Something is missing, and that is how it stays for now.
    Stopped,
    /// Something is missing, and everything is to be removed.
    Cleanup,
}

/// What an object is to be in OpenNebula.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'w> {
    pub name: &'w str,
    pub attributes: &'w Attributes,
    /// Of a cluster: datastores of others that it has as well.
    pub datastores: &'w [DatastoreId],
}

impl<'w> Wanted<'w> {
    /// Of what is no cluster.
    pub fn new(name: &'w str, attributes: &'w Attributes) -> Self {
        Self { name, attributes, datastores: &[] }
    }
}

/// Cluster, datastores and networks of a template, in the order in which they are made.
pub(crate) fn infrastructure<'s>(
    spec: &'s Spec,
    layout: &Layout,
) -> impl Iterator<Item = (Subject, ObjectKind, usize, &'s ObjectSpec)> {
    let datastores = spec.datastores.iter().enumerate();
    let datastores =
        datastores.map(move |(n, o)| (layout.datastore(n), ObjectKind::Datastore, n, o));
    let networks = spec.networks.iter().enumerate();
    let networks = networks.map(move |(n, o)| (layout.network(n), ObjectKind::Network, n, o));
    let cluster = std::iter::once((Subject::Cluster, ObjectKind::Cluster, 0, &spec.cluster));
    cluster.chain(datastores).chain(networks)
}

impl Session {
    /// Makes the cluster, the datastores and the networks that are not there yet, in this order, up
    /// to the first that fails for good; then the record says why.
    pub(crate) async fn make_objects(
        &self,
        spec: &Spec,
        secrets: &Secrets,
        known: &mut Known,
    ) -> Result<Made, EngineError> {
        if !secrets.is_empty()
            && let Err(made) = self.make_secrets(secrets, known).await?
        {
            return Ok(made);
        }
        let layout = self.record().layout.clone();
        for (subject, kind, index, object) in infrastructure(spec, &layout) {
            let (name, mut attributes) = known.object(object)?;
            if let Some(document) = self.record().secrets.id.map(DocumentId)
                && let Some(Value::Vector(provision)) = attributes.get("PROVISION")
            {
                // Other attributes are for OpenNebula's own drivers, which cannot follow a reference.
                let provision = secrets.conceal(provision, document);
                attributes.set("PROVISION", provision);
            }
            let mut wanted = Wanted::new(&name, &attributes);
            if subject == Subject::Cluster {
                wanted.datastores = &spec.cluster_datastores;
            }
            let record = self.record().object(subject).cloned().unwrap_or_default();
            let id = match record.id.filter(|_| !record.removed) {
                Some(id) => id,
                None => match self.make_or_decide(subject, wanted).await? {
                    Ok(id) => id,
                    Err(made) => return Ok(made),
                },
            };
            let record = self.record().object(subject).cloned().unwrap_or_default();
            // One that was found may lack what ours have; one that an earlier process began, what an update
            // changed since.
            if (record.outdated.is_some() || !record.complete)
                && let Err(made) = self.refresh_or_decide(subject, id, wanted).await?
            {
                return Ok(made);
            }
            if let Some(meta) = &object.meta
                && let Err(made) = self.own_or_decide(subject, id, &name, meta).await?
            {
                return Ok(made);
            }
            known.add(kind, index, id, &name, attributes);
        }
        Ok(Made::All)
    }

    /// Makes the document that holds the credentials, or adds what it lacks, and makes sure that they
    /// can be read back: nobody could cancel a machine without them.
    pub(crate) async fn make_secrets(
        &self,
        secrets: &Secrets,
        known: &Known,
    ) -> Result<Result<(), Made>, EngineError> {
        let record = self.record().secrets.clone();
        let name = names::document_name(self.id);
        let template = secrets.document(&name, known)?;
        let wanted = Wanted::new(&name, &template);
        let id = match record.id.filter(|_| !record.removed) {
            Some(_) if record.complete && record.open.is_none() && !secrets.is_new() => {
                return Ok(Ok(()));
            }
            Some(id) => {
                let subject = Subject::Secrets;
                if let Err(made) = self.refresh_or_decide(subject, id, wanted).await? {
                    return Ok(Err(made));
                }
                id
            }
            _ => match self.make_or_decide(Subject::Secrets, wanted).await? {
                Ok(id) => id,
                Err(made) => return Ok(Err(made)),
            },
        };
        let read = Secrets::read(&self.engine().opennebula, DocumentId(id)).await;
        let read = read
            .map_err(EngineError::opennebula("the document of the credentials cannot be read"))?;
        match read {
            Some(read) if read.len() == secrets.len() => Ok(Ok(())),
            _ => Err(EngineError::Refused(
                "this user cannot read encrypted documents back, so the credentials of the machines \
                 would be lost: use an administrator, or --secrets-in-template"
                    .to_owned(),
            )),
        }
    }

    /// Makes one object, again and again as long as that is the decision. There is no provision
    /// without one of its objects, so to skip it is to quit.
    async fn make_or_decide(
        &self,
        subject: Subject,
        wanted: Wanted<'_>,
    ) -> Result<Result<i32, Made>, EngineError> {
        loop {
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            let record = self.record().object(subject).cloned().unwrap_or_default();
            let cluster = self.record().cluster.id.unwrap_or(-1);
            if let Some(id) = self.make_object(subject, &record, wanted, cluster).await? {
                return Ok(Ok(id));
            }
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            if let Err(made) = self.decide_object(subject).await {
                return Ok(Err(made));
            }
        }
    }

    /// Writes the template of one object anew, as often as that is the decision.
    async fn refresh_or_decide(
        &self,
        subject: Subject,
        id: i32,
        wanted: Wanted<'_>,
    ) -> Result<Result<(), Made>, EngineError> {
        loop {
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            if self.refresh_object(subject, id, wanted).await? {
                return Ok(Ok(()));
            }
            if let Err(made) = self.decide_object(subject).await {
                return Ok(Err(made));
            }
        }
    }

    /// Gives one object its owner and permissions, as often as that is the decision.
    async fn own_or_decide(
        &self,
        subject: Subject,
        id: i32,
        name: &str,
        meta: &Meta,
    ) -> Result<Result<(), Made>, EngineError> {
        loop {
            let record = self.record().object(subject).cloned().unwrap_or_default();
            if record.owned || !changes(meta) {
                return Ok(Ok(()));
            }
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            if !self.own_object(subject, &record, id, name, meta).await?
                && let Err(made) = self.decide_object(subject).await
            {
                return Ok(Err(made));
            }
        }
    }

    /// Asks what to do about an object that failed: `Ok` to try again.
    async fn decide_object(&self, subject: Subject) -> Result<(), Made> {
        let failure = self.record().object(subject).and_then(|o| o.failure.clone());
        match self.decide(subject, &failure.unwrap_or_default()).await {
            Decision::Retry => Ok(()),
            Decision::Cleanup => Err(Made::Cleanup),
            Decision::Leave | Decision::Quit | Decision::Skip => Err(Made::Stopped),
        }
    }

    /// Makes one object under an intent: the open one, if an earlier process left it. `place` is the
    /// cluster that it belongs to, or the datastore of an image. `None` if it failed; then the record says
    /// why, or the intent stays open, since the operation is stopped.
    pub(crate) async fn make_object(
        &self,
        subject: Subject,
        record: &ObjectRecord,
        wanted: Wanted<'_>,
        place: i32,
    ) -> Result<Option<i32>, EngineError> {
        let Wanted { name, attributes, .. } = wanted;
        let (intent, look_first) = match &record.open {
            Some(open) => (open.id, true),
            None => (self.intend(subject, Step::Create, None).await?, self.was_tried(subject)),
        };
        self.note(Note::Debug(format!("Creating OpenNebula {}: {name}", kind_word(subject))));
        let made = match subject {
            Subject::Cluster => self.make_cluster(look_first, wanted).await,
            Subject::Network(_) => {
                match self.make_network(subject, look_first, name, attributes, place).await {
                    Some(made) => made,
                    None => return Ok(None),
                }
            }
            _ => self.make_marked(subject, look_first, name, attributes, place).await,
        };
        match made {
            Ok(id) => {
                self.outcome(intent, Outcome::Done(Fact::Object(id))).await?;
                Ok(Some(id))
            }
            Err(error) => {
                let message = format!("{} {name:?}: {}", kind_word(subject), describe(&error));
                let outcome = match error.is_unknown() {
                    true => Outcome::Unknown { evidence: message },
                    false => Outcome::Failed { message },
                };
                self.outcome(intent, outcome).await?;
                Ok(None)
            }
        }
    }

    async fn make_cluster(&self, look_first: bool, wanted: Wanted<'_>) -> Result<i32, Error> {
        let clusters = self.engine().opennebula.clusters();
        let patience = self.engine().settings.patience;
        let first_name = names::cluster_name(self.id);
        let found = match look_first {
            true => self.find_cluster(&first_name).await?,
            false => None,
        };
        let id = match found {
            Some(id) => id,
            None => {
                let allocate = || clusters.allocate(&first_name);
                make(patience, look_first, allocate, || self.find_cluster(&first_name)).await?
            }
        };
        let is_ours = |cluster: &Cluster| provision_of(&cluster.template) == Some(self.id);
        let store = || clusters.update_checked(id, wanted.attributes, Update::Append, is_ours);
        let finished = async {
            repeat(patience, store).await?;
            repeat(patience, || clusters.rename(id, wanted.name)).await?;
            self.set_datastores(id, wanted.datastores, &[]).await
        };
        match finished.await {
            Ok(()) => Ok(id.into()),
            // The front-end is away: the next attempt finds it.
            Err(error) if error.is_unknown() => Err(error),
            // Nothing half made is left when the name is somebody else's, or a datastore is gone.
            Err(mut error) => {
                for datastore in wanted.datastores {
                    let _ = clusters.del_datastore(id, *datastore).await;
                }
                let _ = clusters.delete(id).await;
                if error.is_gone() && self.find_cluster(&first_name).await? == Some(id) {
                    // `oned` was killed while it made it.
                    error.kind = ErrorKind::Denied { object: "cluster".to_owned(), id: id.into() };
                }
                Err(error)
            }
        }
    }

    /// Our cluster, by its first name or, once it has its own, by our mark.
    async fn find_cluster(&self, first_name: &str) -> Result<Option<ClusterId>, Error> {
        let pool = self.engine().opennebula.clusters().pool().await?;
        let ours = pool
            .iter()
            .find(|c| c.name == first_name || provision_of(&c.template) == Some(self.id));
        Ok(ours.map(|cluster| cluster.id))
    }

    /// What is no cluster carries our mark from its allocate on.
    async fn make_marked(
        &self,
        subject: Subject,
        look_first: bool,
        name: &str,
        attributes: &Attributes,
        place: i32,
    ) -> Result<i32, Error> {
        let mut template = attributes.clone();
        template.set("NAME", name);
        if look_first && let Some(id) = self.find_marked(subject, Some(name)).await? {
            return Ok(id);
        }
        let patience = self.engine().settings.patience;
        let allocate = || self.allocate(subject, &template, place);
        // One of that name may be ours: made by an attempt that was not answered.
        make(patience, true, allocate, || self.find_marked(subject, Some(name))).await
    }

    /// Makes a network that can be used. One that stays locked is made anew, once: `oned` does not take up what it
    /// was killed in. `None` if the operation is stopped before.
    async fn make_network(
        &self,
        subject: Subject,
        look_first: bool,
        name: &str,
        attributes: &Attributes,
        place: i32,
    ) -> Option<Result<i32, Error>> {
        let mut again = true;
        loop {
            let id = match self.make_marked(subject, look_first, name, attributes, place).await {
                Ok(id) => id,
                failed => return Some(failed),
            };
            match self.await_network(VnetId(id)).await? {
                Ok(()) => return Some(Ok(id)),
                Err((error, true)) if again && error.is_overdue() => {
                    let text = format!("network {id} was removed, and is made anew");
                    self.note(Note::Warning(text));
                    again = false;
                }
                Err((error, _)) => return Some(Err(error)),
            }
        }
    }

    /// Waits until a network can be used. One whose driver or address ranges fail is removed again, so that
    /// the next attempt makes another one; so is one that stays locked. `None` if the operation is stopped
    /// before; with a failure, whether it was removed.
    async fn await_network(&self, id: VnetId) -> Option<Result<(), (Error, bool)>> {
        let vnets = self.engine().opennebula.vnets();
        let patience = self.engine().settings.patience;
        let usable = async {
            match vnets.usable(id, SILENCE.min(patience)).await {
                Err(error) if error.is_overdue() => {
                    let seconds = patience.as_secs();
                    let text = format!("{}; waiting up to {seconds} s", error.kind);
                    self.note(Note::Warning(text));
                    vnets.usable(id, patience).await
                }
                usable => usable,
            }
        };
        let usable = tokio::select! {
            usable = usable => usable,
            () = self.engine().stop.wait() => return None,
        };
        let Err(error) = usable else { return Some(Ok(())) };
        if !error.has_failed() && !error.is_overdue() {
            return Some(Err((error, false)));
        }
        let removed = vnets.delete_and_wait(id, LEAVING).await;
        if let Err(error) = &removed {
            self.note(Note::Warning(format!("network {id} stays: {}", describe(error))));
        }
        Some(Err((error, removed.is_ok())))
    }

    /// A new datastore has no room until its driver has told how much there is.
    async fn allocate_image(
        &self,
        template: &Attributes,
        place: DatastoreId,
    ) -> Result<i32, Error> {
        let opennebula = &self.engine().opennebula;
        let begun = Instant::now();
        let (mut told, mut measured) = (false, false);
        loop {
            let is_in_time = begun.elapsed() < MEASURING;
            let error = match opennebula.images().allocate(template, place).await {
                Err(error) if error.lacks_space() && is_in_time && !measured => error,
                answer => return answer.map(i32::from),
            };
            match opennebula.datastores().info(place).await {
                Ok(d) if d.total_mb == 0 && d.free_mb == 0 && d.used_mb == 0 => {}
                // Perhaps while the call was under way, which asks the driver for the image's size first.
                Ok(_) => {
                    measured = true;
                    continue;
                }
                Err(_) => return Err(error),
            }
            if !told {
                let text = format!("datastore {place} has not been measured yet; waiting for it");
                self.note(Note::Warning(text));
                told = true;
            }
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.engine().stop.wait() => return Err(error),
            }
        }
    }

    async fn allocate(
        &self,
        subject: Subject,
        template: &Attributes,
        place: i32,
    ) -> Result<i32, Error> {
        let opennebula = &self.engine().opennebula;
        let cluster = ClusterId(place);
        match subject {
            Subject::Secrets => {
                opennebula.documents().allocate(template, DOCUMENT_TYPE).await.map(i32::from)
            }
            Subject::Network(_) => {
                opennebula.vnets().allocate(template, cluster).await.map(i32::from)
            }
            Subject::Virtual(VirtualKind::Image, _) => {
                self.allocate_image(template, DatastoreId(place)).await
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                opennebula.templates().allocate(template).await.map(i32::from)
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                opennebula.vntemplates().allocate(template).await.map(i32::from)
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _) => {
                opennebula.documents().allocate(template, flow::DOCUMENT_TYPE).await.map(i32::from)
            }
            Subject::Datastore(_) | Subject::Cluster | Subject::Host(_) => {
                opennebula.datastores().allocate(template, cluster).await.map(i32::from)
            }
        }
    }

    /// An object of this provision that the record does not know, by its name or, without one, any of that kind.
    pub(crate) async fn find_marked(
        &self,
        subject: Subject,
        name: Option<&str>,
    ) -> Result<Option<i32>, Error> {
        let opennebula = &self.engine().opennebula;
        let known: BTreeSet<i32> = {
            let record = self.record();
            let there = record.of_kind(subject).into_iter().filter(|(_, object)| !object.removed);
            there.filter_map(|(_, object)| object.id).collect()
        };
        let is_it = |id: i32, their_name: &str| {
            !known.contains(&id) && name.is_none_or(|name| name == their_name)
        };
        let ours = |id: i32, their_name: &str, template: &Attributes| {
            is_it(id, their_name) && provision_of(template) == Some(self.id)
        };
        Ok(match subject {
            Subject::Secrets => {
                let pool = opennebula.documents().pool(DOCUMENT_TYPE).await?;
                pool.iter().find(|d| ours(d.id.into(), &d.name, &d.template)).map(|d| d.id.into())
            }
            Subject::Network(_) => {
                let pool = opennebula.vnets().pool().await?;
                pool.iter().find(|n| ours(n.id.into(), &n.name, &n.template)).map(|n| n.id.into())
            }
            Subject::Virtual(VirtualKind::Image, _) => {
                let pool = opennebula.images().pool().await?;
                // One that is being deleted is not the one that is wanted.
                let there = pool.iter().filter(|image| image.state != ImageState::Delete);
                there
                    .into_iter()
                    .find(|i| ours(i.id.into(), &i.name, &i.template))
                    .map(|i| i.id.into())
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                let pool = opennebula.templates().pool().await?;
                pool.iter().find(|t| ours(t.id.into(), &t.name, &t.template)).map(|t| t.id.into())
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                let pool = opennebula.vntemplates().pool().await?;
                pool.iter().find(|t| ours(t.id.into(), &t.name, &t.template)).map(|t| t.id.into())
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _) => {
                let pool = opennebula.documents().pool(flow::DOCUMENT_TYPE).await?;
                let ours = |d: &&Document| {
                    is_it(d.id.into(), &d.name) && flow::provision_of(d) == Some(self.id)
                };
                pool.iter().find(ours).map(|d| d.id.into())
            }
            Subject::Datastore(_) | Subject::Cluster | Subject::Host(_) => {
                let pool = opennebula.datastores().pool().await?;
                pool.iter().find(|d| ours(d.id.into(), &d.name, &d.template)).map(|d| d.id.into())
            }
        })
    }
}

/// The word for a subject in messages.
pub(crate) fn kind_word(subject: Subject) -> &'static str {
    match subject {
        Subject::Secrets => "document",
        Subject::Cluster => "cluster",
        Subject::Datastore(_) => "datastore",
        Subject::Network(_) => "network",
        Subject::Virtual(VirtualKind::Image, _) => "image",
        Subject::Virtual(VirtualKind::Template, _) => "template",
        Subject::Virtual(VirtualKind::Vntemplate, _) => "network template",
        Subject::Virtual(VirtualKind::Flowtemplate, _) => "service template",
        Subject::Host(_) => "host",
    }
}
