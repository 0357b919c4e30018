//! Clusters (`src/cluster/Cluster.cc`, `ClusterPool.cc`, 6.10 and 7.4).

use model::Attributes;

use super::{allocate_failure, check_name, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::kinds::host;
use crate::object::{Detail, Object};
use crate::template::text_of;

/// A cluster of that name, not yet stored.
pub(crate) fn new(ctx: &Ctx<'_>, name: &str) -> Result<Object, Failure> {
    let refuse = |text| allocate_failure(ctx, Kind::Cluster, text);
    check_name(ctx, name).map_err(refuse)?;
    if let Some(text) = taken_text(ctx, Kind::Cluster, name)? {
        return Err(refuse(text));
    }
    let mut object = Object::new(Kind::Cluster, name, Detail::Cluster);
    let mut template = Attributes::new();
    template.push("RESERVED_CPU", "");
    template.push("RESERVED_MEM", "");
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// Why the cluster may not be deleted, if so.
pub(crate) fn check_delete(ctx: &Ctx<'_>, object: &Object) -> Result<(), Failure> {
    let id = object.id;
    let refuse = |text: String| Err(Failure::Action(format!("Cannot delete cluster. {text}")));
    if id < Kind::Cluster.first_id() {
        return refuse("System Clusters (ID < 100) cannot be deleted.".to_owned());
    }
    let counts = [
        (ctx.store.children(Kind::Host, id)?.len(), "hosts"),
        (ctx.store.members(Kind::Datastore, id)?.len(), "datastores"),
        (ctx.store.members(Kind::Vnet, id)?.len(), "vnets"),
    ];
    match counts.into_iter().find(|(count, _)| *count > 0) {
        Some((count, what)) => {
            refuse(format!("Cluster {id} is not empty, it contains {count} {what}."))
        }
        None => Ok(()),
    }
}

/// The capacity that a template reserves, CPU and memory, as it stands there.
pub(crate) fn reserved(template: &Attributes) -> [String; 2] {
    ["RESERVED_CPU", "RESERVED_MEM"].map(|key| text_of(template, key).to_owned())
}

/// Reserved capacity of the cluster is that of its hosts which say nothing themselves.
pub(crate) fn pass_on_reserved(ctx: &Ctx<'_>, object: &Object) -> Result<(), Failure> {
    for id in ctx.store.children(Kind::Host, object.id)? {
        let mut host = ctx.load(Kind::Host, id)?;
        host::set_reserved(ctx, &mut host)?;
        ctx.store.save_head(&host)?;
    }
    Ok(())
}

/// Puts a host into a cluster, or a datastore or network into one more.
pub(crate) fn add(ctx: &Ctx<'_>, cluster: i32, object: &mut Object) -> Result<(), Failure> {
    if object.kind == Kind::Host {
        object.parent = cluster;
        host::set_reserved(ctx, object)?;
        ctx.store.save_head(object)?;
    } else {
        ctx.store.add_member(object.kind, object.id, cluster)?;
    }
    Ok(())
}
