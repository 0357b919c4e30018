//! Cluster, datastores and networks: made once, found again, removed.

use journal::{Fact, ObjectRecord, Outcome, Step, Subject};
use model::{Attributes, ClusterId, DatastoreId, DocumentId, Value, VnetId};
use opennebula::Error;
use opennebula::objects::Update;
use template::reference::ObjectKind;
use template::spec::Spec;

use crate::again::{make, repeat};
use crate::error::describe;
use crate::observe::Note;
use crate::secrets::{DOCUMENT_TYPE, Secrets};
use crate::session::Session;
use crate::values::{Known, provision_of};
use crate::{Decision, EngineError, names};

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
        let datastores = spec
            .datastores
            .iter()
            .enumerate()
            .map(|(n, object)| (layout.datastore(n), ObjectKind::Datastore, n, object));
        let networks = spec
            .networks
            .iter()
            .enumerate()
            .map(|(n, object)| (layout.network(n), ObjectKind::Network, n, object));
        let subjects = std::iter::once((Subject::Cluster, ObjectKind::Cluster, 0, &spec.cluster))
            .chain(datastores)
            .chain(networks);
        for (subject, kind, index, object) in subjects {
            let (name, mut attributes) = known.object(object)?;
            if let Some(document) = self.record().secrets.id.map(DocumentId)
                && let Some(Value::Vector(provision)) = attributes.get("PROVISION")
            {
                // Other attributes are for OpenNebula's own drivers, which cannot follow a reference.
                let provision = secrets.conceal(provision, document);
                attributes.set("PROVISION", provision);
            }
            let record = self.record().object(subject).cloned().unwrap_or_default();
            let id = match (record.id, record.complete) {
                (Some(id), true) => {
                    if record.outdated.is_some()
                        && let Err(made) =
                            self.refresh_or_decide(subject, id, &name, &attributes).await?
                    {
                        return Ok(made);
                    }
                    id
                }
                _ => match self.make_or_decide(subject, &name, &attributes).await? {
                    Ok(id) => id,
                    Err(made) => return Ok(made),
                },
            };
            known.add(kind, index, id, &name, attributes);
        }
        Ok(Made::All)
    }

    /// Makes the document that holds the credentials, and makes sure that they can be read back:
    /// nobody could cancel a machine without them.
    async fn make_secrets(
        &self,
        secrets: &Secrets,
        known: &Known,
    ) -> Result<Result<(), Made>, EngineError> {
        let record = self.record().secrets.clone();
        let name = names::document_name(self.id);
        let template = secrets.document(&name, known)?;
        let id = match (record.id, record.complete) {
            (Some(_), true) if !secrets.is_new() => return Ok(Ok(())),
            (Some(id), true) => {
                let subject = Subject::Secrets;
                if let Err(made) = self.refresh_or_decide(subject, id, &name, &template).await? {
                    return Ok(Err(made));
                }
                id
            }
            _ => match self.make_or_decide(Subject::Secrets, &name, &template).await? {
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
        name: &str,
        attributes: &Attributes,
    ) -> Result<Result<i32, Made>, EngineError> {
        loop {
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            let record = self.record().object(subject).cloned().unwrap_or_default();
            if let Some(id) = self.make_object(subject, &record, name, attributes).await? {
                return Ok(Ok(id));
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
        name: &str,
        attributes: &Attributes,
    ) -> Result<Result<(), Made>, EngineError> {
        loop {
            if self.engine().stop.requested() {
                return Ok(Err(Made::Stopped));
            }
            if self.refresh_object(subject, id, name, attributes).await? {
                return Ok(Ok(()));
            }
            if let Err(made) = self.decide_object(subject).await {
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

    /// Makes one object under an intent: the open one, if an earlier process left it.
    async fn make_object(
        &self,
        subject: Subject,
        record: &ObjectRecord,
        name: &str,
        attributes: &Attributes,
    ) -> Result<Option<i32>, EngineError> {
        let (intent, look_first) = match &record.open {
            Some(open) => (open.id, true),
            None => (self.intend(subject, Step::Create, None).await?, self.was_tried(subject)),
        };
        self.note(Note::Debug(format!("Creating OpenNebula {}: {name}", kind_word(subject))));
        let made = match subject {
            Subject::Cluster => self.make_cluster(look_first, name, attributes).await,
            _ => self.make_marked(subject, look_first, name, attributes).await,
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

    async fn make_cluster(
        &self,
        look_first: bool,
        name: &str,
        attributes: &Attributes,
    ) -> Result<i32, Error> {
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
        repeat(patience, || clusters.update(id, attributes, Update::Append)).await?;
        match repeat(patience, || clusters.rename(id, name)).await {
            Ok(()) => Ok(id.into()),
            // Nothing half made is left when the name is somebody else's.
            Err(error) => {
                let _ = clusters.delete(id).await;
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

    /// A datastore or network carries our mark from its allocate on.
    async fn make_marked(
        &self,
        subject: Subject,
        look_first: bool,
        name: &str,
        attributes: &Attributes,
    ) -> Result<i32, Error> {
        let cluster = ClusterId(self.record().cluster.id.unwrap_or(-1));
        let mut template = attributes.clone();
        template.set("NAME", name);
        if look_first && let Some(id) = self.find_marked(subject, name).await? {
            return Ok(id);
        }
        let patience = self.engine().settings.patience;
        let allocate = || self.allocate(subject, &template, cluster);
        // One of that name may be ours: made by an attempt that was not answered.
        make(patience, true, allocate, || self.find_marked(subject, name)).await
    }

    async fn allocate(
        &self,
        subject: Subject,
        template: &Attributes,
        cluster: ClusterId,
    ) -> Result<i32, Error> {
        let opennebula = &self.engine().opennebula;
        match subject {
            Subject::Secrets => {
                opennebula.documents().allocate(template, DOCUMENT_TYPE).await.map(i32::from)
            }
            Subject::Network(_) => {
                opennebula.vnets().allocate(template, cluster).await.map(i32::from)
            }
            _ => opennebula.datastores().allocate(template, cluster).await.map(i32::from),
        }
    }

    async fn find_marked(&self, subject: Subject, name: &str) -> Result<Option<i32>, Error> {
        let opennebula = &self.engine().opennebula;
        let ours = |their_name: &str, template: &Attributes| {
            their_name == name && provision_of(template) == Some(self.id)
        };
        Ok(match subject {
            Subject::Secrets => {
                let pool = opennebula.documents().pool(DOCUMENT_TYPE).await?;
                pool.iter().find(|d| ours(&d.name, &d.template)).map(|d| d.id.into())
            }
            Subject::Network(_) => {
                let pool = opennebula.vnets().pool().await?;
                pool.iter().find(|n| ours(&n.name, &n.template)).map(|n| n.id.into())
            }
            _ => {
                let pool = opennebula.datastores().pool().await?;
                pool.iter().find(|d| ours(&d.name, &d.template)).map(|d| d.id.into())
            }
        })
    }

    /// Deletes datastores and networks, then the cluster, and the document of the credentials at the
    /// very end. False if one of them failed.
    pub(crate) async fn remove_objects(&self) -> Result<bool, EngineError> {
        let subjects: Vec<Subject> = {
            let record = self.record();
            let datastores = record.datastores.keys().map(|n| Subject::Datastore(*n));
            datastores.chain(record.networks.keys().map(|n| Subject::Network(*n))).collect()
        };
        let mut all = true;
        for subject in subjects {
            all &= self.remove_object(subject).await?;
        }
        // A cluster that is not empty would be refused by OpenNebula; the reason above says more.
        all &= !self.record().hosts.values().any(|host| host.host_id.is_some() && !host.removed);
        all = all && self.remove_object(Subject::Cluster).await?;
        if self.record().machines() > 0 {
            // Without the credentials a machine that may be left could not be destroyed.
            return Ok(all);
        }
        Ok(all && self.remove_object(Subject::Secrets).await?)
    }

    async fn remove_object(&self, subject: Subject) -> Result<bool, EngineError> {
        let record = self.record().object(subject).cloned().unwrap_or_default();
        let id = match record.id {
            Some(id) if !record.removed => id,
            _ => return Ok(true),
        };
        let settings = &self.engine().settings;
        let opennebula = &self.engine().opennebula;
        let intent = match record.open {
            Some(open) if open.step == Step::Remove => open.id,
            _ => self.intend(subject, Step::Remove, None).await?,
        };
        self.note(Note::Debug(format!("Deleting OpenNebula {}: {id}", kind_word(subject))));
        let patience = settings.patience;
        let removed = match subject {
            Subject::Cluster | Subject::Host(_) => {
                let clusters = opennebula.clusters();
                repeat(patience, || clusters.delete(ClusterId(id))).await
            }
            Subject::Secrets => {
                let documents = opennebula.documents();
                repeat(patience, || documents.delete(DocumentId(id))).await
            }
            Subject::Datastore(_) => {
                let datastores = opennebula.datastores();
                repeat(patience, || datastores.delete(DatastoreId(id))).await
            }
            Subject::Network(_) => {
                let vnets = opennebula.vnets();
                repeat(patience, || vnets.delete_and_wait(VnetId(id), patience)).await
            }
        };
        let outcome = match removed {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(error) if error.is_gone() => {
                self.note(Note::Warning(format!(
                    "{} {id} was already deleted",
                    kind_word(subject)
                )));
                Outcome::Done(Fact::Done)
            }
            Err(error) => Outcome::Failed {
                message: format!("{} {id}: {}", kind_word(subject), describe(&error)),
            },
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }
}

/// The word for a subject in messages.
pub(crate) fn kind_word(subject: Subject) -> &'static str {
    match subject {
        Subject::Secrets => "document",
        Subject::Cluster => "cluster",
        Subject::Datastore(_) => "datastore",
        Subject::Network(_) => "network",
        Subject::Host(_) => "host",
    }
}
