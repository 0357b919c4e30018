//! Removal of objects other than hosts, and of what others put on them: VMs and images.

use std::collections::BTreeSet;
use std::time::Duration;

use journal::{Fact, ObjectRecord, Outcome, Step, Subject, VirtualKind};
use model::{
    ClusterId, DatastoreId, DocumentId, HostId, ImageId, TemplateId, VnetId, VntemplateId,
};
use opennebula::Error;
use opennebula::objects::VmId;
use tokio::time::{Instant, sleep};

use crate::again::{Tell, delete, delete_document, repeat};
use crate::error::describe;
use crate::in_use::{list, vms_in, why_it_stays, without_template};
use crate::objects::kind_word;
use crate::observe::Note;
use crate::secrets::DOCUMENT_TYPE;
use crate::session::Session;
use crate::whose::Whose;
use crate::{EngineError, flow};

/// Pause between two looks at VMs that are being terminated.
const PAUSE: Duration = Duration::from_millis(500);

impl Session {
    /// Deletes virtual objects, datastores and networks, then the cluster, and the document of the
    /// credentials at the very end. False if one of them failed.
    pub(crate) async fn remove_objects(&self) -> Result<bool, EngineError> {
        let subjects: Vec<Subject> = {
            let record = self.record();
            let virtuals = record.virtual_subjects().map(|(subject, _)| subject);
            let datastores = record.datastores.keys().map(|n| Subject::Datastore(*n));
            let networks = record.networks.keys().map(|n| Subject::Network(*n));
            virtuals.chain(datastores).chain(networks).collect()
        };
        let patience = self.engine().settings.patience;
        let mut all = true;
        for subject in subjects {
            all &= self.remove_object(subject, patience).await?;
        }
        // A cluster that is not empty would be refused by OpenNebula; the reason above says more.
        all &= !self.record().hosts.values().any(|host| host.host_id.is_some() && !host.removed);
        all = all && self.remove_object(Subject::Cluster, patience).await?;
        if self.record().machines() > 0 {
            // Without the credentials a machine that may be left could not be destroyed.
            return Ok(all);
        }
        Ok(all && self.remove_object(Subject::Secrets, patience).await?)
    }

    /// Deletes what the template does not have any more. What cannot be deleted stays, and the record
    /// says why.
    pub(crate) async fn remove_leaving(&self) -> Result<(), EngineError> {
        let leaving: Vec<Subject> = {
            let record = self.record();
            let virtuals = record.virtual_subjects();
            let networks = record.networks.iter().map(|(n, o)| (Subject::Network(*n), o));
            let datastores = record.datastores.iter().map(|(n, o)| (Subject::Datastore(*n), o));
            let leaving = virtuals.chain(networks).chain(datastores);
            leaving.filter(|(_, object)| object.leaving).map(|(subject, _)| subject).collect()
        };
        let is_datastore = |subject: &&Subject| matches!(subject, Subject::Datastore(_));
        let datastores: Vec<(Subject, i32)> = {
            let record = self.record();
            let datastores = leaving.iter().filter(is_datastore);
            datastores.filter_map(|s| Some((*s, record.id_of(*s)?))).collect()
        };
        let in_use = vms_in(self.engine(), datastores.iter().map(|(_, id)| *id)).await?;
        let patience = self.engine().settings.patience;
        for subject in leaving {
            let id =
                datastores.iter().find(|(datastore, _)| *datastore == subject).map(|(_, id)| *id);
            let vms = in_use.iter().filter(|vm| Some(vm.datastore) == id);
            let Some(message) = why_it_stays(vms) else {
                self.remove_object(subject, patience).await?;
                continue;
            };
            let open = self.record().object(subject).and_then(|object| object.open.clone());
            let intent = match open {
                Some(open) if open.step == Step::Remove => open.id,
                _ => self.intend(subject, Step::Remove, None).await?,
            };
            self.outcome(intent, Outcome::Failed { message }).await?;
        }
        Ok(())
    }

    /// Deletes all images of the record, and waits until they are gone, each up to the deadline. False if one is still there; then the record says why.
    pub(crate) async fn remove_images(&self, deadline: Duration) -> Result<bool, EngineError> {
        let images: Vec<Subject> = {
            let record = self.record();
            let is_image = |s: &Subject| matches!(s, Subject::Virtual(VirtualKind::Image, _));
            record.virtual_subjects().map(|(subject, _)| subject).filter(is_image).collect()
        };
        let mut all = true;
        for subject in images {
            all &= self.remove_object(subject, deadline).await?;
        }
        Ok(all)
    }

    /// Terminates every VM on these hosts, at once and without asking the VM, and waits until none is
    /// left. Terminating one again does no harm.
    ///
    /// # Errors
    /// [`EngineError::Refused`] with those that are left after the deadline.
    pub(crate) async fn terminate_vms(
        &self,
        hosts: &[HostId],
        deadline: Duration,
    ) -> Result<(), EngineError> {
        let opennebula = &self.engine().opennebula;
        let begun = Instant::now();
        let mut asked: BTreeSet<VmId> = BTreeSet::new();
        loop {
            let there = opennebula.hosts();
            let there =
                there.pool_map(|host| hosts.contains(&host.id).then(|| without_template(host)));
            let there =
                there.await.map_err(EngineError::opennebula("the hosts' VMs cannot be read"))?;
            if there.iter().all(|host| host.vms.is_empty() && host.running_vms == 0) {
                return Ok(());
            }
            let vms: BTreeSet<VmId> = there.iter().flat_map(|host| host.vms.clone()).collect();
            for vm in vms.difference(&asked.clone()) {
                self.note(Note::Debug(format!("Terminating VM: {vm}")));
                match opennebula.vms().action(*vm, "terminate-hard").await {
                    Ok(()) => drop(asked.insert(*vm)),
                    // Its state may allow it later, and that it is gone is what is wanted.
                    Err(error) => {
                        self.note(Note::Debug(format!("VM {vm}: {}", describe(&error))));
                    }
                }
            }
            if begun.elapsed() + PAUSE > deadline {
                return Err(EngineError::Refused(format!(
                    "VMs are still there {} s after they were terminated: {}; nothing else was \
                     deleted. Look at them with `onevm show`, or give more time with \
                     --cleanup-timeout",
                    deadline.as_secs(),
                    list(&vms.iter().map(ToString::to_string).collect::<Vec<_>>())
                )));
            }
            sleep(PAUSE).await;
        }
    }

    /// Deletes one object, under an intent: the open one, if an earlier process left it. What takes its
    /// time to be gone is waited for up to `deadline`. False if it is still there; then the record says
    /// why.
    pub(crate) async fn remove_object(
        &self,
        subject: Subject,
        deadline: Duration,
    ) -> Result<bool, EngineError> {
        let record = self.record().object(subject).cloned().unwrap_or_default();
        let id = match record.id {
            _ if record.removed => return Ok(true),
            Some(id) => id,
            None => match self.find_unknown(subject, &record).await? {
                Ok(Some(id)) => id,
                Ok(None) => return Ok(true),
                Err(NotKnown) => return Ok(false),
            },
        };
        let intent = match record.open {
            Some(open) if open.step == Step::Remove => open.id,
            _ => self.intend(subject, Step::Remove, None).await?,
        };
        self.note(Note::Debug(format!("Deleting OpenNebula {}: {id}", kind_word(subject))));
        let removed = match self.whose(subject, id).await {
            Ok(Whose::Others(whose)) => {
                self.note(Note::Warning(whose));
                Ok(Fact::NotOurs)
            }
            Ok(Whose::Ours | Whose::Nobodys) => {
                self.delete(subject, id, deadline).await.map(|()| Fact::Done)
            }
            Err(error) => Err(error),
        };
        let outcome = match removed {
            Ok(fact) => Outcome::Done(fact),
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

    /// Deletes one object that is the provision's.
    async fn delete(&self, subject: Subject, id: i32, deadline: Duration) -> Result<(), Error> {
        let opennebula = &self.engine().opennebula;
        let patience = self.engine().settings.patience;
        let tell: Tell<'_> = &|text| self.note(Note::Warning(text));
        match subject {
            Subject::Cluster | Subject::Host(_) => {
                let id = ClusterId(id);
                self.take_out_others(id).await?;
                delete(patience, tell, &opennebula.clusters(), id).await
            }
            Subject::Secrets => {
                let documents = opennebula.documents();
                delete_document(patience, tell, &documents, DocumentId(id), DOCUMENT_TYPE).await
            }
            Subject::Datastore(_) => {
                delete(patience, tell, &opennebula.datastores(), DatastoreId(id)).await
            }
            Subject::Network(_) => {
                let vnets = opennebula.vnets();
                repeat(patience, || vnets.delete_and_wait(VnetId(id), deadline)).await
            }
            Subject::Virtual(VirtualKind::Image, _) => {
                let images = opennebula.images();
                repeat(patience, || images.delete_and_wait(ImageId(id), deadline)).await
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                delete(patience, tell, &opennebula.templates(), TemplateId(id)).await
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                delete(patience, tell, &opennebula.vntemplates(), VntemplateId(id)).await
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _) => {
                let documents = opennebula.documents();
                delete_document(patience, tell, &documents, DocumentId(id), flow::DOCUMENT_TYPE)
                    .await
            }
        }
    }
}

impl Session {
    /// An object whose id the record does not have, because its create was not answered or failed after its
    /// allocate: looked for, if it may be there, and its create is brought to an end.
    async fn find_unknown(
        &self,
        subject: Subject,
        record: &ObjectRecord,
    ) -> Result<Result<Option<i32>, NotKnown>, EngineError> {
        let open = record.open.as_ref().filter(|open| open.step == Step::Create);
        if open.is_none() && !record.leaving {
            return Ok(Ok(None));
        }
        let intent = match open {
            Some(open) => open.id,
            None => self.intend(subject, Step::Create, None).await?,
        };
        let is_wanted = |object: &ObjectRecord| {
            object.id.is_none() && !object.removed && !object.leaving && object.failure.is_some()
        };
        let doubtful = self.record().of_kind(subject).iter().any(|(_, other)| is_wanted(other));
        let found = match self.find_marked(subject, record.name.as_deref()).await {
            // It may as well be the one that is wanted.
            Ok(Some(id)) if record.leaving && doubtful => {
                Err(format!("{id} may be another one of this provision"))
            }
            Ok(Some(id)) if record.name.is_none() => Err(format!(
                "{id} may be what was made, or a copy of an object of this provision; delete it, or take \
                 PROVISION out of it"
            )),
            found => found.map_err(|error| describe(&error)),
        };
        let (outcome, found) = match found {
            Ok(Some(id)) => (Outcome::Done(Fact::Object(id)), Ok(Some(id))),
            // There is nothing to be made any more.
            Ok(None) if record.leaving => (Outcome::Done(Fact::Done), Ok(None)),
            Ok(None) => (Outcome::Failed { message: "it was not made".to_owned() }, Ok(None)),
            Err(why) => {
                let evidence = format!("{}: {why}", kind_word(subject));
                (Outcome::Unknown { evidence }, Err(NotKnown))
            }
        };
        self.outcome(intent, outcome).await?;
        Ok(found)
    }
}

/// Whether an object is there could not be found out; the record says why.
struct NotKnown;
