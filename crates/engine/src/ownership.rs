//! `meta`: owner, group and permissions of objects.

use std::collections::HashSet;

use journal::{Fact, ObjectRecord, Outcome, Step, Subject, VirtualKind};
use opennebula::objects::{GroupId, Objects, Owned, Permissions, UserId};
use opennebula::{Client, Error};
use template::spec::{Meta, Origin, Spec};

use crate::EngineError;
use crate::again::repeat;
use crate::error::describe;
use crate::objects::kind_word;
use crate::observe::Note;
use crate::session::Session;

/// Whether there is anything to be changed.
pub(crate) fn changes(meta: &Meta) -> bool {
    owner_given(meta) || meta.mode.is_some()
}

fn owner_given(meta: &Meta) -> bool {
    meta.uid.is_some() || meta.uname.is_some() || meta.gid.is_some() || meta.gname.is_some()
}

/// Finds out whether all users and groups of a template exist, before anything is made or bought. A
/// user who may not see the lists is told when an object is given away.
///
/// # Errors
/// The first that does not exist, with its place in the template.
pub(crate) async fn check_owners(client: &Client, spec: &Spec) -> Result<(), EngineError> {
    let objects = spec.datastores.iter().chain(&spec.networks).map(|o| (&o.meta, &o.origin));
    let virtuals = spec.virtual_objects.iter().map(|o| (&o.meta, &o.origin));
    let metas: Vec<(&Meta, &Origin)> = objects
        .chain(virtuals)
        .filter_map(|(meta, origin)| Some((meta.as_ref()?, origin)))
        .filter(|(meta, _)| owner_given(meta))
        .collect();
    if metas.is_empty() {
        return Ok(());
    }
    let (users, groups) = (client.users(), client.groups());
    let Ok((users, groups)) = tokio::try_join!(users.pool(), groups.pool()) else { return Ok(()) };
    let user_ids: HashSet<i32> = users.iter().map(|user| user.id.0).collect();
    let group_ids: HashSet<i32> = groups.iter().map(|group| group.id.0).collect();
    let user_names: HashSet<&str> = users.iter().map(|user| user.name.as_str()).collect();
    let group_names: HashSet<&str> = groups.iter().map(|group| group.name.as_str()).collect();
    for (meta, origin) in metas {
        let unknown_id =
            |id: &u32, ids: &HashSet<i32>| !i32::try_from(*id).is_ok_and(|id| ids.contains(&id));
        let missing = if let Some(id) = meta.uid.filter(|id| unknown_id(id, &user_ids)) {
            format!("user {id}")
        } else if let Some(id) = meta.gid.filter(|id| unknown_id(id, &group_ids)) {
            format!("group {id}")
        } else if let Some(name) = meta.uname.as_deref().filter(|name| !user_names.contains(name)) {
            format!("user {name:?}")
        } else if let Some(name) = meta.gname.as_deref().filter(|n| !group_names.contains(n)) {
            format!("group {name:?}")
        } else {
            continue;
        };
        return Err(EngineError::Template(format!(
            "{origin}: there is no {missing} in OpenNebula"
        )));
    }
    Ok(())
}

impl Session {
    /// Gives an object its owner and permissions, under an intent: the open one, if an earlier
    /// process left it. False if that failed; then the record says why.
    pub(crate) async fn own_object(
        &self,
        subject: Subject,
        record: &ObjectRecord,
        id: i32,
        name: &str,
        meta: &Meta,
    ) -> Result<bool, EngineError> {
        let intent = match &record.open {
            Some(open) if open.step == Step::Own => open.id,
            _ => self.intend(subject, Step::Own, None).await?,
        };
        let word = kind_word(subject);
        self.note(Note::Debug(format!(
            "Changing owner and permissions of OpenNebula {word}: {id}"
        )));
        let outcome = match self.give(subject, id, meta).await {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(why) => Outcome::Failed {
                message: format!("owner and permissions of {word} {name:?} ({id}): {why}"),
            },
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }

    async fn give(&self, subject: Subject, id: i32, meta: &Meta) -> Result<(), String> {
        let opennebula = &self.engine().opennebula;
        let owner = find_owner(opennebula, meta).await?;
        let mode = meta.mode.map(|mode| Permissions::from_octal(u32::from(mode)));
        let patience = self.engine().settings.patience;
        let given = match subject {
            Subject::Datastore(_) => {
                change(opennebula.datastores(), id, owner, mode, patience).await
            }
            Subject::Network(_) => change(opennebula.vnets(), id, owner, mode, patience).await,
            Subject::Virtual(VirtualKind::Image, _) => {
                change(opennebula.images(), id, owner, mode, patience).await
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                change(opennebula.templates(), id, owner, mode, patience).await
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                change(opennebula.vntemplates(), id, owner, mode, patience).await
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _) | Subject::Secrets => {
                change(opennebula.documents(), id, owner, mode, patience).await
            }
            // These have no owner, and the template says so.
            Subject::Cluster | Subject::Host(_) => Ok(()),
        };
        given.map_err(|error| describe(&error))
    }
}

type Owner = (Option<UserId>, Option<GroupId>);

/// The ids of user and group; names win over nothing, ids over names.
async fn find_owner(client: &Client, meta: &Meta) -> Result<Owner, String> {
    let failed = |error: Error| describe(&error);
    let user = match (meta.uid, &meta.uname) {
        (Some(id), _) => i32::try_from(id).ok().map(UserId),
        (None, Some(name)) => {
            let pool = client.users().pool().await.map_err(failed)?;
            let user = pool.iter().find(|user| user.name == *name);
            Some(user.ok_or_else(|| format!("there is no user {name:?} in OpenNebula"))?.id)
        }
        (None, None) => None,
    };
    let group = match (meta.gid, &meta.gname) {
        (Some(id), _) => i32::try_from(id).ok().map(GroupId),
        (None, Some(name)) => {
            let pool = client.groups().pool().await.map_err(failed)?;
            let group = pool.iter().find(|group| group.name == *name);
            Some(group.ok_or_else(|| format!("there is no group {name:?} in OpenNebula"))?.id)
        }
        (None, None) => None,
    };
    Ok((user, group))
}

/// Permissions first: an owner who is none of ours may not let us change them afterwards.
async fn change<O: Owned>(
    objects: Objects<O>,
    id: i32,
    (user, group): Owner,
    mode: Option<Permissions>,
    patience: std::time::Duration,
) -> Result<(), Error> {
    if let Some(mode) = mode {
        repeat(patience, || objects.chmod(id.into(), mode)).await?;
    }
    if user.is_some() || group.is_some() {
        repeat(patience, || objects.chown(id.into(), user, group)).await?;
    }
    Ok(())
}
