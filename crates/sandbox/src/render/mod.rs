//! Objects as the XML of an answer: elements and their order as recorded of 6.10 and 7.4.

mod compute;
mod network;
mod people;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, Object, perms};
use crate::settings::MarketApp;

type Result = std::result::Result<(), Failure>;

/// Whether one object is asked for, or a pool, which is shorter here and there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Info,
    Pool,
}

/// Writes an object as one element.
pub(crate) fn object(ctx: &Ctx<'_>, object: &Object, form: Form, out: &mut String) -> Result {
    match &object.detail {
        Detail::Cluster => compute::cluster(ctx, object, out),
        Detail::Host(detail) => compute::host(ctx, object, detail, out),
        Detail::Vm(detail) => compute::vm(ctx, object, detail, form, out),
        Detail::Datastore(detail) => datastore(ctx, object, detail, out),
        Detail::Image(detail) => image(ctx, object, detail, out),
        Detail::Vnet(detail) => network::vnet(ctx, object, detail, form, out),
        Detail::Registered { regtime, .. } => {
            let tag = object.kind.element();
            open(tag, out);
            head(ctx, object, out)?;
            lock(object, out);
            permissions(object, out);
            number("REGTIME", *regtime, out);
            template(object, out);
            close(tag, out);
            Ok(())
        }
        Detail::Document { doc_type, .. } => {
            open("DOCUMENT", out);
            head(ctx, object, out)?;
            number("TYPE", *doc_type, out);
            permissions(object, out);
            lock(object, out);
            template(object, out);
            close("DOCUMENT", out);
            Ok(())
        }
        Detail::User { password, auth_driver } => {
            people::user(ctx, object, password, auth_driver, form, out)
        }
        Detail::Group => people::group(ctx, object, form, out),
    }
}

/// What stands once at the end of a pool.
pub(crate) fn pool_end(kind: Kind, out: &mut String) {
    people::pool_end(kind, out);
}

fn open(tag: &str, out: &mut String) {
    // Writing to a String cannot fail; so in all of this module.
    let _ = write!(out, "<{tag}>");
}

fn close(tag: &str, out: &mut String) {
    let _ = write!(out, "</{tag}>");
}

fn number(tag: &str, value: impl std::fmt::Display, out: &mut String) {
    let _ = write!(out, "<{tag}>{value}</{tag}>");
}

/// A text without CDATA, escaped: names and the like.
fn plain(tag: &str, text: &str, out: &mut String) {
    open(tag, out);
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
    close(tag, out);
}

fn cdata(tag: &str, text: &str, out: &mut String) {
    let text = text.replace("]]>", "]]]]><![CDATA[>");
    let _ = write!(out, "<{tag}><![CDATA[{text}]]></{tag}>");
}

fn ids(tag: &str, ids: &[i32], out: &mut String) {
    open(tag, out);
    for id in ids {
        number("ID", id, out);
    }
    close(tag, out);
}

fn template(object: &Object, out: &mut String) {
    open("TEMPLATE", out);
    out.push_str(&object.template);
    close("TEMPLATE", out);
}

/// What objects with an owner begin with.
fn head(ctx: &Ctx<'_>, object: &Object, out: &mut String) -> Result {
    number("ID", object.id, out);
    number("UID", object.uid, out);
    number("GID", object.gid, out);
    plain("UNAME", &ctx.name(Kind::User, object.uid)?, out);
    plain("GNAME", &ctx.name(Kind::Group, object.gid)?, out);
    plain("NAME", &object.name, out);
    Ok(())
}

fn lock(object: &Object, out: &mut String) {
    if let Some(lock) = object.detail.lock() {
        let _ = write!(
            out,
            "<LOCK><LOCKED>{}</LOCKED><OWNER>{}</OWNER><TIME>{}</TIME><REQ_ID>0</REQ_ID></LOCK>",
            lock.level, lock.owner, lock.time
        );
    }
}

fn permissions(object: &Object, out: &mut String) {
    const NAMES: [&str; 9] = [
        "OWNER_U", "OWNER_M", "OWNER_A", "GROUP_U", "GROUP_M", "GROUP_A", "OTHER_U", "OTHER_M",
        "OTHER_A",
    ];
    open("PERMISSIONS", out);
    for (name, bit) in NAMES.into_iter().zip(perms::ORDER) {
        number(name, u8::from(object.perms & bit != 0), out);
    }
    close("PERMISSIONS", out);
}

fn datastore(
    ctx: &Ctx<'_>,
    object: &Object,
    detail: &crate::object::DatastoreDetail,
    out: &mut String,
) -> Result {
    open("DATASTORE", out);
    head(ctx, object, out)?;
    permissions(object, out);
    cdata("DS_MAD", &detail.ds_mad, out);
    cdata("TM_MAD", &detail.tm_mad, out);
    cdata("BASE_PATH", &format!("/var/lib/one//datastores/{}", object.id), out);
    number("TYPE", detail.ds_type, out);
    number("DISK_TYPE", detail.disk_type, out);
    number("STATE", object.state, out);
    ids("CLUSTERS", &ctx.store.clusters_of(Kind::Datastore, object.id)?, out);
    for tag in ["TOTAL_MB", "FREE_MB", "USED_MB"] {
        number(tag, 0, out);
    }
    ids("IMAGES", &ctx.store.children(Kind::Image, object.id)?, out);
    template(object, out);
    close("DATASTORE", out);
    Ok(())
}

fn image(
    ctx: &Ctx<'_>,
    object: &Object,
    detail: &crate::object::ImageDetail,
    out: &mut String,
) -> Result {
    open("IMAGE", out);
    head(ctx, object, out)?;
    lock(object, out);
    permissions(object, out);
    number("TYPE", detail.image_type, out);
    number("DISK_TYPE", detail.disk_type, out);
    number("PERSISTENT", u8::from(detail.persistent), out);
    number("REGTIME", detail.regtime, out);
    if ctx.is_7() {
        number("MODTIME", detail.modtime, out);
    }
    cdata("SOURCE", &detail.source, out);
    cdata("PATH", &detail.path, out);
    cdata("FORMAT", &detail.format, out);
    cdata("FS", &detail.fs, out);
    number("SIZE", detail.size, out);
    number("STATE", object.state, out);
    number("PREV_STATE", object.prev_state, out);
    number("RUNNING_VMS", detail.vms.len(), out);
    out.push_str(
        "<CLONING_OPS>0</CLONING_OPS><CLONING_ID>-1</CLONING_ID>\
         <TARGET_SNAPSHOT>-1</TARGET_SNAPSHOT>",
    );
    number("DATASTORE_ID", object.parent, out);
    plain("DATASTORE", &ctx.name(Kind::Datastore, object.parent)?, out);
    ids("VMS", &detail.vms, out);
    out.push_str("<CLONES></CLONES><APP_CLONES></APP_CLONES>");
    template(object, out);
    open("SNAPSHOTS", out);
    cdata("ALLOW_ORPHANS", "NO", out);
    cdata("CURRENT_BASE", "-1", out);
    cdata("NEXT_SNAPSHOT", "0", out);
    close("SNAPSHOTS", out);
    out.push_str("<BACKUP_INCREMENTS></BACKUP_INCREMENTS><BACKUP_DISK_IDS></BACKUP_DISK_IDS>");
    close("IMAGE", out);
    Ok(())
}

/// An app of the marketplace (`src/market/MarketPlaceApp.cc`, 6.10 and 7.4).
pub(crate) fn market_app(app: &MarketApp) -> String {
    let mut out = String::new();
    open("MARKETPLACEAPP", &mut out);
    number("ID", app.id, &mut out);
    out.push_str("<UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME>");
    out.push_str("<REGTIME>0</REGTIME>");
    cdata("NAME", &app.name, &mut out);
    out.push_str("<ZONE_ID>0</ZONE_ID><ORIGIN_ID>-1</ORIGIN_ID>");
    cdata("SOURCE", &app.source, &mut out);
    out.push_str("<MD5></MD5>");
    number("SIZE", app.size, &mut out);
    out.push_str("<DESCRIPTION></DESCRIPTION><VERSION></VERSION><FORMAT>raw</FORMAT>");
    cdata("APPTEMPLATE64", &STANDARD.encode(&app.image_template), &mut out);
    out.push_str("<MARKETPLACE_ID>0</MARKETPLACE_ID><MARKETPLACE>sandbox</MARKETPLACE>");
    out.push_str("<STATE>1</STATE>");
    number("TYPE", app.app_type, &mut out);
    out.push_str(
        "<PERMISSIONS><OWNER_U>1</OWNER_U><OWNER_M>1</OWNER_M><OWNER_A>0</OWNER_A>\
         <GROUP_U>1</GROUP_U><GROUP_M>0</GROUP_M><GROUP_A>0</GROUP_A><OTHER_U>1</OTHER_U>\
         <OTHER_M>0</OTHER_M><OTHER_A>0</OTHER_A></PERMISSIONS>",
    );
    open("TEMPLATE", &mut out);
    if !app.vm_template.is_empty() {
        cdata("VMTEMPLATE64", &STANDARD.encode(&app.vm_template), &mut out);
    }
    close("TEMPLATE", &mut out);
    close("MARKETPLACEAPP", &mut out);
    out
}
