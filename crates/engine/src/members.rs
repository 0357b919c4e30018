//! What is in the provision's cluster and is not the provision's own: datastores that its template adds,
//! and what others put there. It is put in and taken out, and never deleted.
//!
//! To add what is in a cluster already, and to take out what is not, is a success at every front-end
//! (`RequestManagerCluster.cc`, 6.10; `ClusterAPI.cc`, 7.4), so that both may be repeated.

use model::{ClusterId, DatastoreId};
use opennebula::{Client, Error};
use template::spec::Spec;

use crate::EngineError;
use crate::again::repeat;
use crate::observe::Note;
use crate::session::Session;
use crate::values::provision_of;

/// Finds out whether the datastores are there that the template adds to its cluster, before anything is
/// made or bought.
///
/// # Errors
/// The first that is not there, with the cluster's place in the template.
pub(crate) async fn check_datastores(client: &Client, spec: &Spec) -> Result<(), EngineError> {
    let wanted = &spec.cluster_datastores;
    if wanted.is_empty() {
        return Ok(());
    }
    let there = client.datastores();
    let there = there.pool_map(|datastore| wanted.contains(&datastore.id).then_some(datastore.id));
    let there = there.await.map_err(EngineError::opennebula("the datastores cannot be read"))?;
    match wanted.iter().find(|id| !there.contains(id)) {
        None => Ok(()),
        Some(id) => Err(EngineError::Template(format!(
            "{}: there is no datastore {id} in OpenNebula, which the cluster is to have: `onedatastore \
             list` shows what there is",
            spec.cluster.origin
        ))),
    }
}

impl Session {
    /// Adds datastores of others to the cluster, and takes out those that it is to have no more.
    pub(crate) async fn set_datastores(
        &self,
        cluster: ClusterId,
        wanted: &[DatastoreId],
        taken_out: &[DatastoreId],
    ) -> Result<(), Error> {
        let clusters = self.engine().opennebula.clusters();
        let patience = self.engine().settings.patience;
        for id in wanted {
            self.note(Note::Debug(format!(
                "Adding datastore {id} to OpenNebula cluster {cluster}"
            )));
            repeat(patience, || clusters.add_datastore(cluster, *id)).await?;
        }
        for id in taken_out.iter().filter(|id| !wanted.contains(id)) {
            self.note(Note::Debug(format!(
                "Taking datastore {id} out of OpenNebula cluster {cluster}"
            )));
            match repeat(patience, || clusters.del_datastore(cluster, *id)).await {
                Err(error) if error.is_gone() => {}
                answer => answer?,
            }
        }
        Ok(())
    }

    /// Takes out of the cluster what keeps OpenNebula from deleting it and is not the provision's own. If
    /// there are hosts in it, all of it stays: they are somebody's, and in use with what is there.
    pub(crate) async fn take_out_others(&self, cluster: ClusterId) -> Result<(), Error> {
        let opennebula = &self.engine().opennebula;
        let clusters = opennebula.clusters();
        let patience = self.engine().settings.patience;
        let there = match repeat(patience, || clusters.info(cluster)).await {
            Err(error) if error.is_gone() => return Ok(()),
            there => there?,
        };
        if !there.hosts.is_empty() {
            return Ok(());
        }
        if !there.datastores.is_empty() {
            let datastores = opennebula.datastores();
            let others = datastores.pool_map(|datastore| {
                let is_own = provision_of(&datastore.template) == Some(self.id);
                let is_it = there.datastores.contains(&datastore.id) && !is_own;
                is_it.then_some((datastore.id, datastore.name))
            });
            for (id, name) in others.await? {
                self.note(taken_out("datastore", id.0, &name, cluster));
                repeat(patience, || clusters.del_datastore(cluster, id)).await?;
            }
        }
        if !there.vnets.is_empty() {
            let vnets = opennebula.vnets();
            let others = vnets.pool_map(|vnet| {
                let is_own = provision_of(&vnet.template) == Some(self.id);
                let is_it = there.vnets.contains(&vnet.id) && !is_own;
                is_it.then_some((vnet.id, vnet.name))
            });
            for (id, name) in others.await? {
                self.note(taken_out("network", id.0, &name, cluster));
                repeat(patience, || clusters.del_vnet(cluster, id)).await?;
            }
        }
        Ok(())
    }
}

fn taken_out(kind: &str, id: i32, name: &str, cluster: ClusterId) -> Note {
    Note::Debug(format!("Taking {kind} {id} ({name}) out of OpenNebula cluster {cluster}"))
}
