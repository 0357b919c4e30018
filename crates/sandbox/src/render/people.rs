//! Users and groups, with the quotas that nobody has here.

use super::{Form, Result, cdata, close, ids, number, open, plain, template};
use crate::ctx::Ctx;
use crate::kind::Kind;
use crate::object::Object;

const NO_QUOTA: &str = "<DATASTORE_QUOTA></DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>\
                        <VM_QUOTA></VM_QUOTA><IMAGE_QUOTA></IMAGE_QUOTA>";

pub(super) fn user(
    ctx: &Ctx<'_>,
    object: &Object,
    password: &str,
    auth_driver: &str,
    form: Form,
    out: &mut String,
) -> Result {
    open("USER", out);
    number("ID", object.id, out);
    number("GID", object.gid, out);
    ids("GROUPS", &[object.gid], out);
    plain("GNAME", &ctx.name(Kind::Group, object.gid)?, out);
    plain("NAME", &object.name, out);
    cdata("PASSWORD", password, out);
    cdata("AUTH_DRIVER", auth_driver, out);
    number("ENABLED", 1, out);
    template(object, out);
    quotas("USER", object.id, form, false, out);
    Ok(())
}

pub(super) fn group(ctx: &Ctx<'_>, object: &Object, form: Form, out: &mut String) -> Result {
    open("GROUP", out);
    number("ID", object.id, out);
    plain("NAME", &object.name, out);
    template(object, out);
    ids("USERS", &ctx.store.users_of(object.id)?, out);
    ids("ADMINS", &[], out);
    quotas("GROUP", object.id, form, ctx.is_7(), out);
    Ok(())
}

/// Ends the object: quotas and rules are within it where one is asked for, beside it in a pool.
fn quotas(tag: &str, id: i32, form: Form, has_rules: bool, out: &mut String) {
    let rules = |out: &mut String| {
        if has_rules {
            open("VLAN_RULES", out);
            cdata("ID", &id.to_string(), out);
            close("VLAN_RULES", out);
        }
    };
    match form {
        Form::Info => {
            out.push_str(NO_QUOTA);
            rules(out);
            defaults(tag, out);
            close(tag, out);
        }
        Form::Pool => {
            close(tag, out);
            open("QUOTAS", out);
            number("ID", id, out);
            out.push_str(NO_QUOTA);
            close("QUOTAS", out);
            rules(out);
        }
    }
}

fn defaults(tag: &str, out: &mut String) {
    let tag = format!("DEFAULT_{tag}_QUOTAS");
    open(&tag, out);
    out.push_str(NO_QUOTA);
    close(&tag, out);
}

pub(super) fn pool_end(kind: Kind, out: &mut String) {
    if matches!(kind, Kind::User | Kind::Group) {
        defaults(kind.element(), out);
    }
}
