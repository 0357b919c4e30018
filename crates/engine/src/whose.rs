//! Whose an object of OpenNebula is that has an id of the record. A front-end that was installed anew counts
//! from the beginning, so what has that id may be somebody else's by now.

use journal::{Subject, VirtualKind};
use model::{
    Attributes, ClusterId, DatastoreId, DocumentId, HostId, ImageId, ProvisionId, TemplateId,
    VnetId, VntemplateId,
};
use opennebula::Error;
use opennebula::objects::{Document, Image, Listed, Objects};

use crate::again::repeat;
use crate::flow;
use crate::objects::kind_word;
use crate::overview::{cluster_provision, host_provision};
use crate::session::Session;
use crate::values::provision_of;

/// Whose it is.
pub(crate) enum Whose {
    /// The provision's.
    Ours,
    /// There is no such object.
    Nobodys,
    /// Not the provision's; in words.
    Others(String),
}

/// What an object says of itself.
struct Found {
    name: String,
    mark: Option<ProvisionId>,
    /// It is known otherwise to be the provision's.
    known: bool,
}

impl Found {
    fn new(name: String, template: &Attributes) -> Self {
        Self { name, mark: provision_of(template), known: false }
    }
}

impl Session {
    /// Looks whether the object with that id is the provision's.
    ///
    /// # Errors
    /// [`Error`], but for none that says that it is not there.
    pub(crate) async fn whose(&self, subject: Subject, id: i32) -> Result<Whose, Error> {
        let Some(found) = self.found(subject, id).await? else { return Ok(Whose::Nobodys) };
        if found.known || found.mark == Some(self.id) {
            return Ok(Whose::Ours);
        }
        let whose = found.mark.map(|id| format!(", but that of provision {id}"));
        Ok(Whose::Others(format!(
            "{} {id} ({}) does not carry the mark of this provision{}: it is left alone",
            kind_word(subject),
            found.name,
            whose.unwrap_or_default()
        )))
    }

    async fn found(&self, subject: Subject, id: i32) -> Result<Option<Found>, Error> {
        let one = &self.engine().opennebula;
        Ok(match subject {
            Subject::Cluster => {
                let cluster = self.look(&one.clusters(), ClusterId(id)).await?;
                cluster.map(|it| Found {
                    mark: cluster_provision(&it),
                    ..Found::new(it.name, &it.template)
                })
            }
            Subject::Host(_) => {
                let host = self.look(&one.hosts(), HostId(id)).await?;
                host.map(|it| Found {
                    mark: host_provision(&it),
                    ..Found::new(it.name, &it.template)
                })
            }
            Subject::Datastore(_) => {
                let datastore = self.look(&one.datastores(), DatastoreId(id)).await?;
                datastore.map(|it| Found::new(it.name, &it.template))
            }
            Subject::Network(_) => {
                let vnet = self.look(&one.vnets(), VnetId(id)).await?;
                vnet.map(|it| Found::new(it.name, &it.template))
            }
            Subject::Virtual(VirtualKind::Image, _) => {
                match self.look(&one.images(), ImageId(id)).await? {
                    Some(image) => Some(self.image(image).await?),
                    None => None,
                }
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                let template = self.look(&one.templates(), TemplateId(id)).await?;
                template.map(|it| Found::new(it.name, &it.template))
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                let template = self.look(&one.vntemplates(), VntemplateId(id)).await?;
                template.map(|it| Found::new(it.name, &it.template))
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _) => {
                let document = self.document(id).await?;
                document.map(|it| Found {
                    mark: flow::provision_of(&it),
                    ..Found::new(it.name, &it.template)
                })
            }
            Subject::Secrets => {
                let document = self.document(id).await?;
                document.map(|it| Found::new(it.name, &it.template))
            }
        })
    }

    async fn look<O: Listed>(&self, objects: &Objects<O>, id: O::Id) -> Result<Option<O>, Error> {
        repeat(self.engine().settings.patience, || objects.look(id)).await
    }

    /// Of one that a busy database hides the delete says so, and looks into the pool.
    async fn document(&self, id: i32) -> Result<Option<Document>, Error> {
        let documents = self.engine().opennebula.documents();
        let patience = self.engine().settings.patience;
        match repeat(patience, || documents.info(DocumentId(id))).await {
            Err(error) if error.is_gone() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// A removal with clean-up takes what others put into the provision's datastores, too.
    async fn image(&self, image: Image) -> Result<Found, Error> {
        let found = Found::new(image.name, &image.template);
        if found.mark == Some(self.id) || self.record().cleanup.is_none() {
            return Ok(found);
        }
        let datastore =
            self.look(&self.engine().opennebula.datastores(), image.datastore_id).await?;
        let known = datastore.is_some_and(|it| provision_of(&it.template) == Some(self.id));
        Ok(Found { known, ..found })
    }
}
