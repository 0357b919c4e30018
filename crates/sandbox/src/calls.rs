//! The methods of one object, as far as kinds have them in common
//! (`src/rm/api/SharedAPI.cc`, 7.4; `src/rm/RequestManager*.cc`, 6.10).

use crate::crypt::password_hash;
use crate::ctx::{Ctx, Wanted};
use crate::failure::{Failure, Right};
use crate::kind::{Kind, Unique};
use crate::kinds::{self, cluster, datastore, host, image, user, vm, vnet};
use crate::method::Verb;
use crate::object::{Detail, Lock, NONE, Object, perms};
use crate::params::Params;
use crate::render::{self, Form};
use crate::template;

/// What a successful call answers.
#[derive(Debug)]
pub(crate) enum Value {
    Id(i32),
    Text(String),
}

type Result<T = Value> = std::result::Result<T, Failure>;

/// Does one thing with one object.
pub(crate) fn run(ctx: &Ctx<'_>, kind: Kind, verb: Verb, params: &Params<'_>) -> Result {
    match verb {
        Verb::Allocate => crate::allocate::run(ctx, kind, params),
        Verb::Info => info(ctx, kind, params),
        Verb::Update => update(ctx, kind, params),
        Verb::Rename => rename(ctx, kind, params),
        Verb::Delete => delete(ctx, kind, params),
        Verb::Chown => chown(ctx, kind, params),
        Verb::Chmod => chmod(ctx, kind, params),
        Verb::Lock => lock(ctx, kind, params),
        Verb::Unlock => unlock(ctx, kind, params),
        Verb::Add(member) => place(ctx, member, true, params),
        Verb::Remove(member) => place(ctx, member, false, params),
        Verb::Status => {
            let status = params.int(2)?;
            change(ctx, kind, Right::Admin, params, |host| host::set_status(ctx, host, status))
        }
        Verb::AddRange => {
            let source = params.text(2)?;
            let template =
                template::parse(ctx.settings.version, source).map_err(Failure::internal)?;
            change(ctx, kind, Right::Admin, params, |net| vnet::add_range_of(ctx, net, &template))
        }
        Verb::RemoveRange => {
            let range = params.int(2)?;
            change(ctx, kind, Right::Admin, params, |net| vnet::remove_range(net, range))
        }
        Verb::Recover => {
            let (id, operation) = (params.int(1)?, params.int(2)?);
            let net = ctx.head(kind, id)?;
            ctx.allow(Right::Manage, &net)?;
            vnet::check_recover(&net, operation)?;
            ctx.store.delete(kind, id)?;
            Ok(Value::Id(id))
        }
        Verb::Persistent => {
            let persistent = params.bool(2)?;
            change(ctx, kind, Right::Manage, params, |image| {
                image::set_persistent(image, persistent)
            })
        }
        Verb::Passwd => passwd(ctx, params),
        Verb::Deploy => deploy(ctx, params),
        Verb::Action => {
            let (action, id) = (params.text(1)?, params.int(2)?);
            let mut object = ctx.head(Kind::Vm, id)?;
            ctx.allow(Right::Manage, &object)?;
            vm::act(ctx, &mut object, action)?;
            ctx.store.save_head(&object)?;
            Ok(Value::Id(id))
        }
    }
}

/// A change that leaves the template alone.
fn change(
    ctx: &Ctx<'_>,
    kind: Kind,
    right: Right,
    params: &Params<'_>,
    change: impl FnOnce(&mut Object) -> Result<()>,
) -> Result {
    let id = params.int(1)?;
    // 7.x looks for a network before it asks what is allowed.
    if kind != Kind::Vnet || !ctx.is_7() {
        ctx.check_id(right, kind, id)?;
    }
    let mut object = ctx.head(kind, id)?;
    ctx.allow(right, &object)?;
    change(&mut object)?;
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

/// The right that changing a template or a name needs.
fn change_right(kind: Kind) -> Right {
    match kind {
        Kind::Host | Kind::Group => Right::Admin,
        _ => Right::Manage,
    }
}

fn info(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let id = match (kind, params.int(1)?) {
        (Kind::User, NONE) => ctx.caller.uid,
        (Kind::Group, NONE) => ctx.caller.gid,
        (_, id) => id,
    };
    let decrypt = params.flag(2)?;
    // The others are looked for before it is asked what is allowed.
    if !matches!(kind, Kind::Datastore | Kind::Vnet | Kind::Template | Kind::Vntemplate) {
        ctx.check_id(Right::Use, kind, id)?;
    }
    let mut object = ctx.load(kind, id)?;
    ctx.authorize(&[Wanted::Read(&object)])?;
    let encrypted = ctx.encrypted(kind);
    if decrypt && ctx.caller.is_admin() && !encrypted.is_empty() {
        let clear = ctx.cipher.decrypt_all(ctx.template(&object)?, &encrypted);
        object.template = template::to_inner_in_clear(&clear)
            .ok_or_else(|| Failure::Own("a stored secret has no place in XML".into()))?;
    }
    let mut xml = String::with_capacity(object.template.len() + 2048);
    render::object(ctx, &object, Form::Info, &mut xml)?;
    Ok(Value::Text(xml))
}

fn update(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let (id, source, how) = (params.int(1)?, params.text(2)?, params.int_or(3, 0)?);
    ctx.check_id(change_right(kind), kind, id)?;
    let mut object = ctx.load(kind, id)?;
    ctx.allow(change_right(kind), &object)?;
    if !matches!(how, 0 | 1) {
        return Err(Failure::Api("Wrong update type".to_owned()));
    }
    let refuse = |text: String| Failure::internal(format!("Cannot update template. {text}"));
    let new = template::parse(ctx.settings.version, source).map_err(refuse)?;
    if let Detail::Vm(detail) = &mut object.detail {
        let merged = match how {
            1 => {
                let old = template::from_inner(&detail.user_template)
                    .ok_or_else(|| Failure::Own("a stored template cannot be read".into()))?;
                template::merge(old, new)
            }
            _ => new,
        };
        if let Some(stored) = template::to_inner(&merged) {
            detail.user_template = stored;
            ctx.store.save_head(&object)?;
        }
        return Ok(Value::Id(id));
    }
    let old = ctx.template(&object)?;
    let reserved_before = cluster::reserved(&old);
    let mut merged = match how {
        1 => template::merge(old, new),
        _ => new,
    };
    let reserves_other = reserved_before != cluster::reserved(&merged);
    let checked = match kind {
        Kind::Host => {
            host::after_update(&mut object, &mut merged);
            Ok(())
        }
        Kind::Datastore => datastore::after_update(ctx, &mut object, &mut merged),
        Kind::Vnet => vnet::after_update(ctx, &mut object, &mut merged),
        _ => Ok(()),
    };
    checked.map_err(|failure| match failure {
        Failure::Internal(text, _) => refuse(text),
        other => other,
    })?;
    if let Detail::Image(detail) = &mut object.detail {
        detail.modtime = ctx.seconds();
    }
    // What it cannot store oned answers with success, and all stays as it was.
    let Some(stored) = ctx.stored(kind, merged)? else { return Ok(Value::Id(id)) };
    object.template = stored;
    if kind == Kind::Host {
        host::set_reserved(ctx, &mut object)?;
    }
    ctx.store.save(&object)?;
    if kind == Kind::Cluster && reserves_other {
        cluster::pass_on_reserved(ctx, &object)?;
    }
    Ok(Value::Id(id))
}

fn rename(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let (id, name) = (params.int(1)?, params.text(2)?);
    let mut object = ctx.head(kind, id)?;
    if object.name == name {
        return Ok(Value::Id(id));
    }
    ctx.allow(change_right(kind), &object)?;
    if let Some(other) = ctx.taken(kind, name, object.uid)? {
        let words = kind.words();
        let text =
            format!("{words} cannot be renamed to {name} because it collides with {words} {other}");
        return Err(Failure::Action(text));
    }
    kinds::check_name(ctx, name).map_err(Failure::Action)?;
    name.clone_into(&mut object.name);
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

fn delete(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let id = params.int(1)?;
    let right = match kind {
        // 7.x lets whoever manages a datastore delete it.
        Kind::Datastore if ctx.is_7() => Right::Manage,
        Kind::Host | Kind::Cluster | Kind::Datastore | Kind::User | Kind::Group => Right::Admin,
        _ => Right::Manage,
    };
    let mut object = ctx.head(kind, id)?;
    ctx.allow(right, &object)?;
    match kind {
        // These two go through a state of their own first.
        Kind::Vnet => {
            vnet::begin_delete(ctx, &mut object)?;
            ctx.store.save_head(&object)?;
            return Ok(Value::Id(id));
        }
        Kind::Image => {
            image::begin_delete(ctx, &mut object, params.flag(2)?)?;
            ctx.store.save_head(&object)?;
            return Ok(Value::Id(id));
        }
        Kind::Cluster => cluster::check_delete(ctx, &object)?,
        Kind::Host => host::check_delete(ctx, &object)?,
        Kind::Datastore => datastore::check_delete(ctx, &object)?,
        Kind::User | Kind::Group => user::check_delete(ctx, &object)?,
        Kind::Template | Kind::Vntemplate | Kind::Document | Kind::Vm => {}
    }
    ctx.store.delete(kind, id)?;
    Ok(Value::Id(id))
}

fn chown(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let (id, uid, gid) = (params.int(1)?, params.int(2)?, params.int(3)?);
    let user = if uid > NONE { Some(ctx.head(Kind::User, uid)?) } else { None };
    let group = if gid > NONE { Some(ctx.head(Kind::Group, gid)?) } else { None };
    let mut object = ctx.head(kind, id)?;
    let user = user.filter(|user| user.id != object.uid);
    let group = group.filter(|group| group.id != object.gid);
    let mut wanted = vec![Wanted::Object(Right::Manage, &object)];
    wanted.extend(user.iter().map(|user| Wanted::Object(Right::Manage, user)));
    wanted.extend(group.iter().map(|group| Wanted::Object(Right::Use, group)));
    ctx.authorize(&wanted)?;
    if let Some(user) = &user {
        if kind.unique() == Unique::PerOwner
            && let Some(other) = ctx.taken(kind, &object.name, user.id)?
        {
            let (owner, words) = (user.id, kind.words());
            let text =
                format!("user [{owner}] already owns {words} [{other}] with NAME {}", object.name);
            return Err(Failure::internal(text));
        }
        object.uid = user.id;
    }
    if let Some(group) = &group {
        object.gid = group.id;
    }
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

fn chmod(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let id = params.int(1)?;
    let mut wanted = [0; 9];
    for (place, value) in (2..).zip(&mut wanted) {
        *value = params.int(place)?;
    }
    let mut object = ctx.head(kind, id)?;
    let changes_admin = perms::ORDER.iter().zip(wanted).any(|(bit, value)| {
        let is_admin = bit & 0o111 != 0;
        is_admin && value != -1 && value != i32::from(object.perms & bit != 0)
    });
    let right = if changes_admin { Right::Admin } else { Right::Manage };
    ctx.allow(right, &object)?;
    if wanted.iter().any(|value| !(-1..=1).contains(value)) {
        return Err(Failure::internal("New permission values must be -1, 0 or 1"));
    }
    for (bit, value) in perms::ORDER.into_iter().zip(wanted) {
        match value {
            1 => object.perms |= bit,
            0 => object.perms &= !bit,
            _ => {}
        }
    }
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

fn lock(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let (id, level, test) = (params.int(1)?, params.int(2)?, params.flag(3)?);
    ctx.check_id(Right::Manage, kind, id)?;
    let mut object = ctx.head(kind, id)?;
    ctx.authorize(&[Wanted::Unlock(&object)])?;
    let level = match level {
        1 | 4 => 1,
        2 | 3 => level,
        _ => return Err(Failure::action("Wrong lock level specified")),
    };
    if object.detail.lock().is_some_and(|l| test || l.owner != ctx.caller.uid)
        && (test || !ctx.caller.is_admin())
    {
        return Err(Failure::action("Error trying to lock the resource."));
    }
    if let Some(place) = object.detail.lock_mut() {
        *place = Some(Lock { level, owner: ctx.caller.uid, time: ctx.seconds() });
    }
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

fn unlock(ctx: &Ctx<'_>, kind: Kind, params: &Params<'_>) -> Result {
    let id = params.int(1)?;
    ctx.check_id(Right::Manage, kind, id)?;
    let mut object = ctx.head(kind, id)?;
    ctx.authorize(&[Wanted::Unlock(&object)])?;
    // What is not locked is nobody's.
    let foreign = object.detail.lock().is_none_or(|lock| lock.owner != ctx.caller.uid);
    if foreign && !ctx.caller.is_admin() {
        return Err(Failure::action("Cannot unlock: Lock is owned by another user"));
    }
    if let Some(place) = object.detail.lock_mut() {
        *place = None;
    }
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

/// Puts an object into a cluster or takes it out. A host that is taken out goes to the default
/// cluster.
fn place(ctx: &Ctx<'_>, kind: Kind, add: bool, params: &Params<'_>) -> Result {
    let (named, id) = (params.int(1)?, params.int(2)?);
    let leaves = kind == Kind::Host && !add;
    let target = if leaves { crate::ctx::DEFAULT_CLUSTER } else { named };
    let cluster = ctx.head(Kind::Cluster, target)?;
    let mut object = ctx.load(kind, id)?;
    ctx.authorize(&[
        Wanted::Object(Right::Admin, &cluster),
        Wanted::Object(Right::Admin, &object),
    ])?;
    if add || leaves {
        cluster::add(ctx, target, &mut object)?;
    } else {
        ctx.store.remove_member(kind, id, target)?;
    }
    Ok(Value::Id(named))
}

fn passwd(ctx: &Ctx<'_>, params: &Params<'_>) -> Result {
    let (id, new) = (params.int(1)?, params.text(2)?);
    let mut object = ctx.head(Kind::User, id)?;
    ctx.allow(Right::Manage, &object)?;
    user::check_password(new).map_err(Failure::Action)?;
    if id == 0 {
        // The tool itself logs in with this one.
        let session = format!("{}:{new}", object.name);
        ctx.store.set_meta(crate::db::META_SESSION, session.as_bytes())?;
    }
    if let Detail::User { password, auth_driver } = &mut object.detail {
        *password = match auth_driver.as_str() {
            "core" => password_hash(new),
            _ => new.to_owned(),
        };
    }
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}

fn deploy(ctx: &Ctx<'_>, params: &Params<'_>) -> Result {
    let (id, host) = (params.int(1)?, params.int(2)?);
    params.flag(3)?;
    let datastore = params.int_or(4, NONE)?;
    let host = ctx.head(Kind::Host, host)?;
    let mut object = ctx.head(Kind::Vm, id)?;
    ctx.authorize(&[Wanted::Object(Right::Admin, &object), Wanted::Object(Right::Manage, &host)])?;
    vm::deploy(ctx, &mut object, &host, datastore)?;
    ctx.store.save_head(&object)?;
    Ok(Value::Id(id))
}
