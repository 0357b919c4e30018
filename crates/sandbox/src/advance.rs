//! What happens by itself: states that end at a stored time are moved on by the next call,
//! whichever process makes it. So no thread is needed, and nothing is lost with a process.

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::kinds::{host, image, vnet};

/// Moves on everything that is due by now.
pub(crate) fn run(ctx: &Ctx<'_>) -> Result<(), Failure> {
    for mut object in ctx.store.due(ctx.now)? {
        match (object.kind, object.state) {
            (Kind::Vnet, vnet::state::LOCK_CREATE) => vnet::created(ctx, &mut object)?,
            (Kind::Image, image::state::LOCKED) => image::created(&mut object),
            (Kind::Vnet, vnet::state::LOCK_DELETE) | (Kind::Image, image::state::DELETE) => {
                ctx.store.delete(object.kind, object.id)?;
                continue;
            }
            // There is nothing to monitor, so every enabled host is found well.
            (Kind::Host, host::state::INIT) => object.set_state(host::state::MONITORED, None),
            _ => object.due = None,
        }
        ctx.store.save(&object)?;
    }
    Ok(())
}
