//! What happens by itself: states that end at a stored time are moved on by the next call,
//! whichever process makes it. So no thread is needed, and nothing is lost with a process.

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::kinds::{host, image, vnet};
use crate::object::Object;

/// Moves on everything that is due by now.
///
/// # Errors
/// Trouble of the database only: an object that cannot be moved on must not stand in the way of
/// every call.
pub(crate) fn run(ctx: &Ctx<'_>) -> Result<(), Failure> {
    for mut object in ctx.store.due(ctx.now)? {
        match one(ctx, &mut object) {
            Ok(()) => {}
            Err(Failure::Database(error)) => return Err(error.into()),
            Err(failure) => {
                let (kind, id) = (object.kind.words(), object.id);
                tracing::error!(kind, id, ?failure, "cannot move on");
                object.due = None;
                ctx.store.save_head(&object)?;
            }
        }
    }
    Ok(())
}

/// Moves one object on, which is without its template.
fn one(ctx: &Ctx<'_>, object: &mut Object) -> Result<(), Failure> {
    match (object.kind, object.state) {
        (Kind::Vnet, vnet::state::LOCK_CREATE) => {
            let mut whole = ctx.load(object.kind, object.id)?;
            vnet::created(ctx, &mut whole)?;
            ctx.store.save(&whole)?;
            return Ok(());
        }
        (Kind::Vnet, vnet::state::LOCK_DELETE) | (Kind::Image, image::state::DELETE) => {
            ctx.store.delete(object.kind, object.id)?;
            return Ok(());
        }
        (Kind::Image, image::state::LOCKED) => {
            if image::created(ctx, object) {
                let mut whole = ctx.load(object.kind, object.id)?;
                let mut template = ctx.template(&whole)?;
                let text = "Error copying image in the datastore: no such file";
                crate::template::replace(&mut template, "ERROR", text);
                ctx.set_template(&mut whole, template)?;
                whole.set_state(image::state::ERROR, None);
                ctx.store.save(&whole)?;
                return Ok(());
            }
        }
        // There is nothing to monitor, so every enabled host is found well.
        (Kind::Host, host::state::INIT) => object.set_state(host::state::MONITORED, None),
        _ => object.due = None,
    }
    ctx.store.save_head(object)?;
    Ok(())
}
