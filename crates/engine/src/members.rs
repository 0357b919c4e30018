//! What is in the provision's cluster and is not the provision's own: datastores that its template adds,
//! and what others put there. It is put in and taken out, and never deleted.
//!
//! To add what is in a cluster already, and to take out what is not, is a success at every front-end
//! (`RequestManagerCluster.cc`, 6.10; `ClusterAPI.cc`, 7.4), so that both may be repeated.

use model::{Attributes, ClusterId, DatastoreId};
use opennebula::{Client, Error};
use template::spec::Spec;

use crate::EngineError;
use crate::again::repeat;
use crate::in_use::list;
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
        // Its own are in it whatever a list says of them.
        let own: Vec<DatastoreId> = {
            let record = self.record();
            let own = record.datastores.values().filter(|datastore| !datastore.removed);
            own.filter_map(|datastore| datastore.id.map(DatastoreId)).collect()
        };
        let stays = |id: &&DatastoreId| wanted.contains(id) || own.contains(id);
        for id in taken_out.iter().filter(|id| !stays(id)) {
            self.note(Note::Debug(format!(
                "Taking datastore {id} out of OpenNebula cluster {cluster}"
            )));
            let Err(error) = repeat(patience, || clusters.del_datastore(cluster, *id)).await else {
                continue;
            };
            // A busy database says of one that is there, too, that it is not.
            if !error.is_gone() || self.engine().opennebula.datastores().exists(*id).await? {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes out of the cluster what keeps OpenNebula from deleting it and is not the provision's own. If
    /// there are hosts in it, all of it stays: they are somebody's, and in use with what is there. So it
    /// does with what is the provision's own, since then the cluster stays, too.
    ///
    /// # Errors
    /// None that says that something is not there: of the cluster its delete says so.
    pub(crate) async fn take_out_others(&self, cluster: ClusterId) -> Result<(), Error> {
        let opennebula = &self.engine().opennebula;
        let (clusters, patience) = (opennebula.clusters(), self.engine().settings.patience);
        let Some(there) = repeat(patience, || clusters.look(cluster)).await? else {
            return Ok(());
        };
        if !there.hosts.is_empty() {
            // The provision's own are gone by now. OpenNebula refuses, and names none of them.
            let hosts = opennebula.hosts();
            let hosts = hosts.pool_map(|host| {
                let is_it = there.hosts.contains(&host.id);
                is_it.then(|| format!("host {} ({})", host.id, host.name))
            });
            let hosts = hosts.await?;
            // This user may not see them.
            let named = match hosts.is_empty() {
                true => there.hosts.iter().map(|id| format!("host {id}")).collect(),
                false => hosts,
            };
            self.note(Note::Warning(format!(
                "cluster {cluster} has hosts that are not the provision's: {}; give them another cluster \
                 (`onecluster addhost`), and delete again",
                list(&named)
            )));
            return Ok(());
        }
        let is_own = |template: &Attributes| provision_of(template) == Some(self.id);
        let mut datastores = Vec::new();
        if !there.datastores.is_empty() {
            let members = opennebula.datastores();
            let members = members.pool_map(|datastore| {
                let is_it = there.datastores.contains(&datastore.id);
                is_it.then(|| (datastore.id, datastore.name, is_own(&datastore.template)))
            });
            datastores = members.await?;
        }
        let mut vnets = Vec::new();
        if !there.vnets.is_empty() {
            let members = opennebula.vnets();
            let members = members.pool_map(|vnet| {
                let is_it = there.vnets.contains(&vnet.id);
                is_it.then(|| (vnet.id, vnet.name, is_own(&vnet.template)))
            });
            vnets = members.await?;
        }
        if datastores.iter().any(|(.., own)| *own) || vnets.iter().any(|(.., own)| *own) {
            return Ok(());
        }
        // One that is said to be gone passes: if it is there, OpenNebula does not delete the cluster.
        let passes = |answer: Result<(), Error>| match answer {
            Err(error) if error.is_gone() => Ok(()),
            answer => answer,
        };
        for (id, name, _) in datastores {
            self.note(taken_out("datastore", id.0, &name, cluster));
            passes(repeat(patience, || clusters.del_datastore(cluster, id)).await)?;
        }
        for (id, name, _) in vnets {
            self.note(taken_out("network", id.0, &name, cluster));
            passes(repeat(patience, || clusters.del_vnet(cluster, id)).await)?;
        }
        Ok(())
    }
}

fn taken_out(kind: &str, id: i32, name: &str, cluster: ClusterId) -> Note {
    Note::Debug(format!("Taking {kind} {id} ({name}) out of OpenNebula cluster {cluster}"))
}
