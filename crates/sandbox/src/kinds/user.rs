//! Users and groups (`src/um/UserPool.cc`, 6.10 and 7.4).

use model::Attributes;

use super::{check_name, taken_text};
use crate::crypt::{new_password, password_hash};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, Object};

/// A user of a group, not yet stored.
pub(crate) fn new(
    ctx: &Ctx<'_>,
    name: &str,
    password: &str,
    auth_driver: &str,
    group: i32,
) -> Result<Object, Failure> {
    check_password(password).map_err(|text| Failure::internal(format!("{text}.")))?;
    check_user_name(ctx, name).map_err(|text| Failure::internal(format!("{text}.")))?;
    if let Some(text) = taken_text(ctx, Kind::User, name)? {
        return Err(Failure::internal(text));
    }
    let auth_driver = if auth_driver.is_empty() { "core" } else { auth_driver };
    let password = match auth_driver {
        "core" => password_hash(password),
        _ => password.to_owned(),
    };
    let detail = Detail::User { password, auth_driver: auth_driver.to_owned() };
    let mut object = Object::new(Kind::User, name, detail);
    object.gid = group;
    let mut template = Attributes::new();
    template.push("TOKEN_PASSWORD", password_hash(&new_password()?));
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// Checks a password as `User::pass_is_valid` does.
pub(crate) fn check_password(password: &str) -> Result<(), String> {
    match password.chars().find(|c| WHITE.contains(*c)) {
        _ if password.is_empty() => Err("Invalid password, it cannot be empty".to_owned()),
        Some(c) => Err(format!("Invalid password, character '{c}' is not allowed")),
        None => Ok(()),
    }
}

/// White space of every kind.
const WHITE: &str = " \t\n\u{b}\u{c}\r";

/// Users' names have no white space either, and no colon, which ends them in a session.
fn check_user_name(ctx: &Ctx<'_>, name: &str) -> Result<(), String> {
    match name.chars().find(|c| *c == ':' || WHITE.contains(*c)) {
        Some(c) => Err(format!("Invalid NAME, char '{c}' is not allowed")),
        None => check_name(ctx, name),
    }
}

/// A group, not yet stored.
pub(crate) fn new_group(ctx: &Ctx<'_>, name: &str) -> Result<Object, Failure> {
    if ctx.is_7() && name.contains(' ') {
        return Err(Failure::internal("Invalid NAME, char ' ' is not allowed"));
    }
    check_name(ctx, name).map_err(Failure::internal)?;
    if let Some(text) = taken_text(ctx, Kind::Group, name)? {
        return Err(Failure::internal(text));
    }
    Ok(Object::new(Kind::Group, name, Detail::Group))
}

/// Why the user or group may not be deleted, if so.
pub(crate) fn check_delete(ctx: &Ctx<'_>, object: &Object) -> Result<(), Failure> {
    match object.kind {
        Kind::User if object.id == 0 => {
            Err(Failure::action("Cannot delete user. oneadmin cannot be deleted."))
        }
        Kind::Group if object.id < Kind::Group.first_id() => {
            Err(Failure::action("Cannot delete group. System Groups (ID < 100) cannot be deleted."))
        }
        Kind::Group => match ctx.store.users_of(object.id)?.len() {
            0 => Ok(()),
            _ => Err(Failure::action(format!(
                "Cannot delete group. Group {} is not empty.",
                object.id
            ))),
        },
        _ => Ok(()),
    }
}
