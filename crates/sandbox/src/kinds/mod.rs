//! What is special to each kind: how it is made, what an update does, when it may be deleted.
//!
//! Everything that kinds share is in [`crate::calls`].

pub(crate) mod cluster;
pub(crate) mod datastore;
pub(crate) mod document;
pub(crate) mod host;
pub(crate) mod image;
pub(crate) mod range;
pub(crate) mod user;
pub(crate) mod vm;
pub(crate) mod vnet;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Object, perms};

/// Checks a name as `PoolObjectSQL::name_is_valid` does (7.4; 6.10 without the white space).
pub(crate) fn check_name(ctx: &Ctx<'_>, name: &str) -> Result<(), String> {
    const ALWAYS: &str = "&|:\\\";/'#{}$<>";
    const WHITE: &str = "\t\n\u{b}\u{c}\r";
    if name.is_empty() {
        return Err("Invalid NAME, it cannot be empty".to_owned());
    }
    let bad = |c: &char| ALWAYS.contains(*c) || (ctx.is_7() && WHITE.contains(*c));
    if let Some(c) = name.chars().find(bad) {
        return Err(format!("Invalid NAME, char '{c}' is not allowed"));
    }
    // oned counts bytes.
    if name.len() > 128 {
        return Err("Invalid NAME, max length is 128 chars".to_owned());
    }
    Ok(())
}

/// The failure of an allocation that is not about a template: `Error allocating a new host. …` in
/// 7.x, the bare text in 6.x.
pub(crate) fn allocate_failure(ctx: &Ctx<'_>, kind: Kind, text: String) -> Failure {
    if ctx.is_7() { Failure::Allocate { kind, text } } else { Failure::internal(text) }
}

/// `NAME is already taken by HOST 0.`, if it is.
pub(crate) fn taken_text(ctx: &Ctx<'_>, kind: Kind, name: &str) -> Result<Option<String>, Failure> {
    let taken = ctx.taken(kind, name, ctx.caller.uid)?;
    let what = if kind == Kind::Vntemplate { "VN TEMPLATE" } else { kind.upper() };
    Ok(taken.map(|id| format!("NAME is already taken by {what} {id}.")))
}

/// Gives the object to the caller, with the permissions that a new object has.
pub(crate) fn own(ctx: &Ctx<'_>, object: &mut Object) {
    object.uid = ctx.caller.uid;
    object.gid = ctx.caller.gid;
    object.perms = match object.kind {
        Kind::Datastore => perms::NEW_DATASTORE,
        _ => perms::NEW,
    };
}
