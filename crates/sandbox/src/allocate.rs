//! `allocate` of every kind: what is read, who may, and where the new object goes.

use crate::calls::Value;
use crate::ctx::{Ctx, DEFAULT_CLUSTER, USERS_GROUP, Wanted};
use crate::failure::{Failure, Right};
use crate::kind::Kind;
use crate::kinds::{cluster, datastore, document, host, image, user, vm, vnet};
use crate::object::{NONE, Object};
use crate::params::Params;
use crate::template;

type Result<T> = std::result::Result<T, Failure>;

/// Makes an object of a kind.
pub(crate) fn run(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result<Value> {
    let source = params.text(1)?;
    let object = match kind {
        Kind::Cluster => {
            ctx.authorize(&[Wanted::Create(kind)])?;
            numbered(ctx, cluster::new(ctx, source)?)?
        }
        Kind::Host => {
            let (im_mad, vm_mad) = (params.text(2)?, params.text(3)?);
            let place = cluster_of(ctx, params.int(4)?)?;
            may_create_in(ctx, kind, &place)?;
            numbered(ctx, host::new(ctx, source, im_mad, vm_mad, place.id)?)?
        }
        Kind::Datastore => {
            let template = parse(ctx, source)?;
            let place = cluster_of(ctx, params.int(2)?)?;
            may_create_in(ctx, kind, &place)?;
            let object = numbered(ctx, datastore::new(ctx, template)?)?;
            ctx.store.add_member(kind, object.id, place.id)?;
            object
        }
        Kind::Vnet => {
            let template = parse(ctx, source)?;
            let place = cluster_of(ctx, params.int(2)?)?;
            may_create_in(ctx, kind, &place)?;
            let object = vnet::new(ctx, template, ctx.store.next_id(kind)?)?;
            ctx.store.insert(&object)?;
            ctx.store.add_member(kind, object.id, place.id)?;
            object
        }
        Kind::Image => {
            let template = parse(ctx, source)?;
            let place = ctx.head(Kind::Datastore, params.int(2)?)?;
            let use_place = Wanted::Object(Right::Use, &place);
            ctx.authorize(&[use_place, Wanted::Create(kind)])?;
            numbered(ctx, image::new(ctx, template, &place)?)?
        }
        Kind::Template | Kind::Vntemplate => {
            let template = parse(ctx, source)?;
            ctx.authorize(&[Wanted::Create(kind)])?;
            numbered(ctx, document::new_template(ctx, kind, template)?)?
        }
        Kind::Document => {
            let doc_type = params.int(2)?;
            let template = parse(ctx, source)?;
            ctx.authorize(&[Wanted::Create(kind)])?;
            let id = ctx.store.next_id(kind)?;
            inserted(ctx, document::new_document(ctx, template, doc_type, id)?)?
        }
        Kind::Vm => {
            let hold = params.flag(2)?;
            let template = parse(ctx, source)?;
            ctx.authorize(&[Wanted::Create(kind)])?;
            inserted(ctx, vm::new(ctx, template, hold, ctx.store.next_id(kind)?)?)?
        }
        Kind::User => {
            let (password, driver) = (params.text(2)?, params.text(3)?);
            let group = params.ints(4)?.first().copied().unwrap_or(USERS_GROUP);
            ctx.head(Kind::Group, group)?;
            ctx.authorize(&[Wanted::Create(kind)])?;
            numbered(ctx, user::new(ctx, source, password, driver, group)?)?
        }
        Kind::Group => {
            ctx.authorize(&[Wanted::Create(kind)])?;
            numbered(ctx, user::new_group(ctx, source)?)?
        }
    };
    Ok(Value::Id(object.id))
}

fn parse(ctx: &Ctx<'_>, source: &str) -> Result<model::Attributes> {
    template::parse(ctx.settings.version, source).map_err(Failure::internal)
}

/// The cluster that a call names; -1 is the default one.
fn cluster_of(ctx: &Ctx<'_>, id: i32) -> Result<Object> {
    ctx.head(Kind::Cluster, if id == NONE { DEFAULT_CLUSTER } else { id })
}

fn may_create_in(ctx: &Ctx<'_>, kind: Kind, place: &Object) -> Result<()> {
    ctx.authorize(&[Wanted::Create(kind), Wanted::Object(Right::Admin, place)])
}

/// Stores an object under the next id of its kind.
fn numbered(ctx: &Ctx<'_>, object: Object) -> Result<Object> {
    let id = ctx.store.next_id(object.kind)?;
    inserted(ctx, Object { id, ..object })
}

fn inserted(ctx: &Ctx<'_>, object: Object) -> Result<Object> {
    ctx.store.insert(&object)?;
    Ok(object)
}
