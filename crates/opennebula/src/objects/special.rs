//! Calls that one kind of object has, and those on the front-end itself.

use model::{
    Attributes, ClusterId, DatastoreId, DocumentId, HostId, ImageId, TemplateId, VnetId,
    VntemplateId,
};

use super::calls::{Filter, Objects, whole_pool};
use super::{
    Cluster, Datastore, Document, Host, Image, User, Vm, VmId, VmTemplate, VnTemplate, Vnet, xml,
};
use crate::client::{Client, Effect, run};
use crate::error::{Error, ErrorKind};
use crate::xmlrpc::Param;

/// What a host is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// To be used and looked at.
    Enable,
    /// Not for new VMs, but looked at.
    Disable,
    /// Not for new VMs and not looked at.
    Offline,
}

impl Objects<Host> {
    /// Makes a host; cluster -1 is the default one. The drivers need not exist.
    ///
    /// One at a time per client: release 7 now and then makes two hosts of one name otherwise.
    ///
    /// # Errors
    /// [`Error::name_taken`]; [`Error::is_gone`] if the cluster is not there.
    pub async fn allocate(
        &self,
        name: &str,
        im_mad: &str,
        vm_mad: &str,
        cluster: ClusterId,
    ) -> Result<HostId, Error> {
        let _one_at_a_time = self.client.host_allocate_lock().await;
        self.make(vec![name.into(), im_mad.into(), vm_mad.into(), Param::Int(cluster.0)]).await
    }

    /// Enables a host, disables it or puts it offline.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn status(&self, id: HostId, status: HostStatus) -> Result<(), Error> {
        let status = match status {
            HostStatus::Enable => 0,
            HostStatus::Disable => 1,
            HostStatus::Offline => 2,
        };
        self.write("status", vec![Param::Int(id.0), Param::Int(status)]).await?;
        Ok(())
    }
}

impl Objects<Cluster> {
    /// Makes a cluster.
    ///
    /// # Errors
    /// [`Error::name_taken`].
    pub async fn allocate(&self, name: &str) -> Result<ClusterId, Error> {
        self.make(vec![name.into()]).await
    }

    /// Moves a host into a cluster; it leaves the one that it was in.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn add_host(&self, id: ClusterId, host: HostId) -> Result<(), Error> {
        self.member("addhost", id, host.0).await
    }

    /// Moves a host of a cluster into the default one.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn del_host(&self, id: ClusterId, host: HostId) -> Result<(), Error> {
        self.member("delhost", id, host.0).await
    }

    /// Adds a datastore to a cluster.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn add_datastore(&self, id: ClusterId, datastore: DatastoreId) -> Result<(), Error> {
        self.member("adddatastore", id, datastore.0).await
    }

    /// Takes a datastore out of a cluster.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn del_datastore(&self, id: ClusterId, datastore: DatastoreId) -> Result<(), Error> {
        self.member("deldatastore", id, datastore.0).await
    }

    /// Adds a network to a cluster.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn add_vnet(&self, id: ClusterId, vnet: VnetId) -> Result<(), Error> {
        self.member("addvnet", id, vnet.0).await
    }

    /// Takes a network out of a cluster.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn del_vnet(&self, id: ClusterId, vnet: VnetId) -> Result<(), Error> {
        self.member("delvnet", id, vnet.0).await
    }

    async fn member(&self, action: &str, id: ClusterId, member: i32) -> Result<(), Error> {
        self.write(action, vec![Param::Int(id.0), Param::Int(member)]).await?;
        Ok(())
    }
}

impl Objects<Datastore> {
    /// Makes a datastore; cluster -1 is the default one.
    ///
    /// # Errors
    /// [`Error::name_taken`]; attributes that XML cannot carry.
    pub async fn allocate(
        &self,
        template: &Attributes,
        cluster: ClusterId,
    ) -> Result<DatastoreId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template, Param::Int(cluster.0)]).await
    }
}

impl Objects<Vnet> {
    /// Makes a network; cluster -1 is the default one. It is not ready at once.
    ///
    /// # Errors
    /// [`Error::name_taken`]; attributes that XML cannot carry.
    pub async fn allocate(
        &self,
        template: &Attributes,
        cluster: ClusterId,
    ) -> Result<VnetId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template, Param::Int(cluster.0)]).await
    }

    /// Adds address ranges: a template with vectors `AR`. Done twice, they are there twice.
    ///
    /// # Errors
    /// [`Error::is_gone`]; ranges that OpenNebula refuses; attributes that XML cannot carry.
    pub async fn add_ranges(&self, id: VnetId, template: &Attributes) -> Result<(), Error> {
        let template = self.template("add_ar", template)?;
        self.write("add_ar", vec![Param::Int(id.0), template]).await.map(drop)
    }
}

impl Objects<Image> {
    /// Makes an image in a datastore. It is not ready at once.
    ///
    /// # Errors
    /// [`Error::name_taken`], [`Error::is_gone`] if the datastore is not there; attributes that XML
    /// cannot carry.
    pub async fn allocate(
        &self,
        template: &Attributes,
        datastore: DatastoreId,
    ) -> Result<ImageId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template, Param::Int(datastore.0)]).await
    }

    /// Makes an image persistent, or no longer so. Its template says that only when it is made.
    ///
    /// # Errors
    /// [`Error::is_gone`]; refused while VMs use it.
    pub async fn set_persistent(&self, id: ImageId, persistent: bool) -> Result<(), Error> {
        self.write("persistent", vec![Param::Int(id.0), persistent.into()]).await?;
        Ok(())
    }
}

impl Objects<VmTemplate> {
    /// Makes a VM template.
    ///
    /// # Errors
    /// [`Error::name_taken`]; attributes that XML cannot carry.
    pub async fn allocate(&self, template: &Attributes) -> Result<TemplateId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template]).await
    }
}

impl Objects<VnTemplate> {
    /// Makes a virtual network template.
    ///
    /// # Errors
    /// [`Error::name_taken`]; attributes that XML cannot carry.
    pub async fn allocate(&self, template: &Attributes) -> Result<VntemplateId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template]).await
    }
}

impl Objects<Document> {
    /// Makes a document of a type; 100 to 104 are taken by OpenNebula's own tools.
    ///
    /// # Errors
    /// [`Error::name_taken`]; attributes that XML cannot carry.
    pub async fn allocate(
        &self,
        template: &Attributes,
        document_type: i32,
    ) -> Result<DocumentId, Error> {
        let template = self.template("allocate", template)?;
        self.make(vec![template, Param::Int(document_type)]).await
    }

    /// The documents of a type that the caller may see.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pool(&self, document_type: i32) -> Result<Vec<Document>, Error> {
        self.pool_map(document_type, Some).await
    }

    /// What `keep` makes of the documents of a type, as for other kinds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pool_map<T: Send>(
        &self,
        document_type: i32,
        keep: impl Fn(Document) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut params = whole_pool(Filter::All).to_vec();
        params.push(Param::Int(document_type));
        self.pool_with(params, keep).await
    }
}

impl Objects<User> {
    /// The user that the calls are made as.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn own(&self) -> Result<User, Error> {
        self.info_with(vec![Param::Int(-1)]).await
    }
}

impl Objects<Vm> {
    /// Does something to a VM: `terminate-hard`, `poweroff`, `resume` …
    ///
    /// # Errors
    /// [`Error::is_gone`]; refused if the VM's state does not allow it.
    pub async fn action(&self, id: VmId, action: &str) -> Result<(), Error> {
        self.write("action", vec![action.into(), Param::Int(id.0)]).await?;
        Ok(())
    }
}

/// The front-end itself.
#[derive(Clone, Debug)]
pub struct System {
    client: Client,
}

impl System {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    /// Release of the front-end, such as `6.10.0`. The cheapest call that needs the credentials.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn version(&self) -> Result<String, Error> {
        self.text("one.system.version").await
    }

    /// The configuration, for an administrator; passwords as secrets.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn config(&self) -> Result<Attributes, Error> {
        let method = "one.system.config";
        let text = self.text(method).await?;
        let read = run(text.len(), move || xml::attributes(&text)).await.and_then(|read| read);
        read.map_err(|what| self.client.error(method, ErrorKind::BadAnswer { what }, false))
    }

    async fn text(&self, method: &str) -> Result<String, Error> {
        match self.client.call(Effect::Read, method, Vec::new()).await? {
            Param::Str(text) => Ok(text),
            other => {
                let what = format!("it is a {} and no string", other.type_name());
                Err(self.client.error(method, ErrorKind::BadAnswer { what }, false))
            }
        }
    }
}
