//! Datastores (`src/datastore/Datastore.cc`, `share/etc/oned.conf`, 6.10 and 7.4).

use model::Attributes;

use super::{check_name, own, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{DatastoreDetail, Detail, Object};
use crate::template::{replace, take, text_of};

const IMAGE: i32 = 0;
const SYSTEM: i32 = 1;
const FILE: i32 = 2;
const BACKUP: i32 = 3;

/// The first system datastore, which stays one.
const SYSTEM_ID: i32 = 0;

/// A transfer driver of `TM_MAD_CONF` (7.4, and `vcenter` of 6.x): what datastores get of it.
struct Transfer {
    name: &'static str,
    ln_target: &'static str,
    clone_target: &'static str,
    shared: bool,
    allow_orphans: &'static str,
    migrate: bool,
    driver: &'static str,
    disk_type: &'static str,
    persistent_snapshots: bool,
    /// Whether it can hand images over to `ssh` system datastores.
    to_ssh: bool,
}

const PLAIN: Transfer = Transfer {
    name: "",
    ln_target: "NONE",
    clone_target: "SYSTEM",
    shared: true,
    allow_orphans: "NO",
    migrate: true,
    driver: "",
    disk_type: "",
    persistent_snapshots: true,
    to_ssh: false,
};

const TRANSFERS: [Transfer; 14] = [
    Transfer { name: "dummy", ..PLAIN },
    Transfer { name: "shared", allow_orphans: "FORMAT", to_ssh: true, ..PLAIN },
    Transfer {
        name: "lvm",
        clone_target: "SELF",
        driver: "raw",
        disk_type: "BLOCK",
        allow_orphans: "YES",
        ..PLAIN
    },
    Transfer { name: "fs_lvm", ln_target: "SYSTEM", driver: "raw", disk_type: "BLOCK", ..PLAIN },
    Transfer {
        name: "fs_lvm_ssh",
        ln_target: "SYSTEM",
        driver: "raw",
        disk_type: "BLOCK",
        persistent_snapshots: false,
        allow_orphans: "YES",
        ..PLAIN
    },
    Transfer { name: "qcow2", driver: "qcow2", allow_orphans: "FORMAT", to_ssh: true, ..PLAIN },
    Transfer { name: "ssh", ln_target: "SYSTEM", shared: false, allow_orphans: "YES", ..PLAIN },
    Transfer {
        name: "local",
        ln_target: "SYSTEM",
        shared: false,
        allow_orphans: "FORMAT",
        ..PLAIN
    },
    Transfer {
        name: "ceph",
        clone_target: "SELF",
        driver: "raw",
        allow_orphans: "mixed",
        migrate: false,
        to_ssh: true,
        ..PLAIN
    },
    Transfer {
        name: "iscsi_libvirt",
        clone_target: "SELF",
        driver: "raw",
        migrate: false,
        ..PLAIN
    },
    Transfer { name: "dev", clone_target: "NONE", driver: "raw", migrate: false, ..PLAIN },
    Transfer { name: "vcenter", ..PLAIN },
    Transfer {
        name: "purefa",
        clone_target: "SELF",
        driver: "raw",
        disk_type: "BLOCK",
        allow_orphans: "YES",
        migrate: false,
        ..PLAIN
    },
    Transfer {
        name: "netapp",
        clone_target: "SELF",
        driver: "raw",
        disk_type: "BLOCK",
        allow_orphans: "LINEAR",
        migrate: false,
        ..PLAIN
    },
];

/// `DS_MAD_CONF` of any release from 5.8 to 7.4: the drivers with the attributes they require.
const DRIVERS: [(&str, &[&str]); 13] = [
    ("ceph", &["DISK_TYPE", "BRIDGE_LIST"]),
    ("dev", &["DISK_TYPE"]),
    ("iscsi_libvirt", &["DISK_TYPE", "ISCSI_HOST"]),
    ("dummy", &[]),
    ("fs", &[]),
    ("lvm", &[]),
    ("vcenter", &["VCENTER_INSTANCE_ID", "VCENTER_DS_REF", "VCENTER_DC_REF"]),
    ("restic", &["RESTIC_PASSWORD"]),
    ("rsync", &["RSYNC_HOST", "RSYNC_USER"]),
    ("netapp", &["NETAPP_HOST", "NETAPP_USER", "NETAPP_PASS"]),
    ("purefa", &["PUREFA_HOST", "PUREFA_API_TOKEN", "PUREFA_TARGET"]),
    ("virtiofs", &[]),
    ("interactive", &[]),
];

/// A datastore of a template, not yet stored.
pub(crate) fn new(ctx: &Ctx<'_>, mut template: Attributes) -> Result<Object, Failure> {
    let name = take(&mut template, "NAME");
    check_name(ctx, &name).map_err(Failure::internal)?;
    if let Some(text) = taken_text(ctx, Kind::Datastore, &name)? {
        return Err(Failure::internal(text));
    }
    let mut detail = DatastoreDetail { ds_type: type_number(&template), ..Default::default() };
    detail.ds_mad = text_of(&template, "DS_MAD").to_owned();
    match (detail.ds_type, detail.ds_mad.is_empty()) {
        (SYSTEM, true) => detail.ds_mad = "-".to_owned(),
        (SYSTEM, false) => {
            return Err(Failure::internal("SYSTEM datastores cannot have DS_MAD defined."));
        }
        (_, true) => return Err(Failure::internal("No DS_MAD in template.")),
        (_, false) => check_driver(&detail.ds_mad, &template)?,
    }
    detail.tm_mad = text_of(&template, "TM_MAD").to_owned();
    let own_disk_type = text_of(&template, "DISK_TYPE").to_owned();
    set_transfer(ctx, &mut detail, &mut template)?;
    template.remove("BASE_PATH");
    set_disk_type(&mut detail, &mut template, &own_disk_type)?;
    if text_of(&template, "SAFE_DIRS").is_empty()
        && text_of(&template, "RESTRICTED_DIRS").is_empty()
    {
        replace(&mut template, "SAFE_DIRS", "/var/tmp");
        replace(&mut template, "RESTRICTED_DIRS", "/");
    }
    let ds_mad = detail.ds_mad.clone();
    let mut object = Object::new(Kind::Datastore, &name, Detail::Datastore(detail));
    own(ctx, &mut object);
    // In the recordings `dummy` had told by the next call.
    if takes_images(&object) && ds_mad != "dummy" {
        object.due = Some(ctx.later());
    }
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

fn type_number(template: &Attributes) -> i32 {
    match text_of(template, "TYPE").to_ascii_uppercase().as_str() {
        "SYSTEM_DS" => SYSTEM,
        "FILE_DS" => FILE,
        "BACKUP_DS" => BACKUP,
        _ => IMAGE,
    }
}

fn check_driver(ds_mad: &str, template: &Attributes) -> Result<(), Failure> {
    let Some((_, required)) = DRIVERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(ds_mad))
    else {
        let text = format!("DS_MAD named \"{ds_mad}\" is not defined in oned.conf");
        return Err(Failure::Internal(text, -1));
    };
    match required.iter().find(|key| text_of(template, key).is_empty()) {
        Some(key) => Err(Failure::internal(format!(
            "Datastore template is missing the \"{key}\" attribute or it's empty."
        ))),
        None => Ok(()),
    }
}

/// Adds what `TM_MAD_CONF` says of the transfer driver.
fn set_transfer(
    ctx: &Ctx<'_>,
    detail: &mut DatastoreDetail,
    template: &mut Attributes,
) -> Result<(), Failure> {
    if detail.ds_type == BACKUP {
        detail.tm_mad = "-".to_owned();
        return Ok(());
    }
    if detail.tm_mad.is_empty() {
        return Err(Failure::internal("No TM_MAD in template."));
    }
    let Some(transfer) = TRANSFERS.iter().find(|t| t.name.eq_ignore_ascii_case(&detail.tm_mad))
    else {
        let text = format!("TM_MAD named \"{}\" is not defined in oned.conf", detail.tm_mad);
        return Err(Failure::internal(text));
    };
    let yes_no = |yes| if yes { "YES" } else { "NO" };
    if detail.ds_type == SYSTEM {
        replace(template, "SHARED", yes_no(transfer.shared));
        replace(template, "DS_MIGRATE", yes_no(transfer.migrate));
        if ctx.is_7() {
            let live = transfer.migrate && !matches!(transfer.name, "lvm" | "fs_lvm");
            replace(template, "DS_LIVE_MIGRATE", yes_no(live));
            let snap = live && transfer.name != "fs_lvm_ssh";
            replace(template, "DS_MIGRATE_SNAP", yes_no(snap));
        }
        template.remove("LN_TARGET");
        template.remove("CLONE_TARGET");
    } else {
        if transfer.to_ssh {
            replace(template, "TM_MAD_SYSTEM", "ssh");
            replace(template, "LN_TARGET_SSH", "SYSTEM");
            replace(template, "CLONE_TARGET_SSH", "SYSTEM");
            replace(template, "DISK_TYPE_SSH", "FILE");
        }
        replace(template, "LN_TARGET", transfer.ln_target);
        replace(template, "CLONE_TARGET", transfer.clone_target);
        if !transfer.driver.is_empty() {
            replace(template, "DRIVER", transfer.driver);
        }
        if ctx.is_7() && !transfer.disk_type.is_empty() {
            replace(template, "DISK_TYPE", transfer.disk_type);
        }
        template.remove("SHARED");
    }
    replace(template, "ALLOW_ORPHANS", transfer.allow_orphans);
    if ctx.is_7() {
        replace(template, "PERSISTENT_SNAPSHOTS", yes_no(transfer.persistent_snapshots));
    }
    Ok(())
}

/// Sets the disk type, which datastores of files do not name in their template.
fn set_disk_type(
    detail: &mut DatastoreDetail,
    template: &mut Attributes,
    own: &str,
) -> Result<(), Failure> {
    let wanted = match take(template, "DISK_TYPE") {
        text if text.is_empty() => own.to_owned(),
        text => text,
    };
    let wanted = if wanted.is_empty() { "FILE".to_owned() } else { wanted.to_ascii_uppercase() };
    detail.disk_type = match wanted.as_str() {
        "FILE" | "FILESYSTEM" => 0,
        "BLOCK" => 2,
        "RBD" => 3,
        "GLUSTER" => 5,
        "SHEEPDOG" => 7,
        "ISCSI" => 9,
        _ => return Err(Failure::internal("Unknown DISK_TYPE in template.")),
    };
    if matches!(detail.ds_type, IMAGE | SYSTEM) {
        replace(template, "DISK_TYPE", &wanted);
    }
    Ok(())
}

/// What an update makes of the template: drivers and type stay unless it names others that exist,
/// and one for backups stays such a one. What the transfer driver adds is added with its name only.
pub(crate) fn after_update(
    ctx: &Ctx<'_>,
    object: &mut Object,
    template: &mut Attributes,
) -> Result<(), Failure> {
    let id = object.id;
    let Detail::Datastore(detail) = &mut object.detail else { return Ok(()) };
    let mut new = detail.clone();
    new.ds_type = match (id, new.ds_type) {
        (SYSTEM_ID, _) => SYSTEM,
        (_, BACKUP) => BACKUP,
        _ if text_of(template, "TYPE").is_empty() => new.ds_type,
        _ => type_number(template),
    };
    replace(template, "TYPE", type_name(new.ds_type));
    let disk_type = take(template, "DISK_TYPE");
    if !disk_type.is_empty() {
        set_disk_type(&mut new, template, &disk_type)?;
    }
    match text_of(template, "TM_MAD") {
        named if !named.is_empty() && new.ds_type != BACKUP => {
            new.tm_mad = named.to_owned();
            set_transfer(ctx, &mut new, template)?;
        }
        _ => replace(template, "TM_MAD", &new.tm_mad),
    }
    if new.ds_type == SYSTEM {
        new.ds_mad = "-".to_owned();
        template.remove("DS_MAD");
    } else {
        match text_of(template, "DS_MAD") {
            "" => replace(template, "DS_MAD", &new.ds_mad),
            named => new.ds_mad = named.to_owned(),
        }
        check_driver(&new.ds_mad, template)?;
    }
    *detail = new;
    Ok(())
}

fn type_name(number: i32) -> &'static str {
    match number {
        SYSTEM => "SYSTEM_DS",
        FILE => "FILE_DS",
        BACKUP => "BACKUP_DS",
        _ => "IMAGE_DS",
    }
}

/// Why the datastore may not be deleted, if so.
pub(crate) fn check_delete(ctx: &Ctx<'_>, object: &Object) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::Action(format!("Cannot delete datastore. {text}")));
    if ctx.store.children(Kind::Image, object.id)?.is_empty() {
        return Ok(());
    }
    refuse(format!("Datastore {} is not empty.", object.id))
}

/// Whether its driver has not told yet how much room it has: until then there is none
/// (`Datastore::get_avail_mb`, and `ImageAllocate` in `src/rm/RequestManagerAllocate.cc`).
pub(crate) fn is_unmeasured(object: &Object) -> bool {
    object.due.is_some()
}

/// Whether it holds files for kernels and contexts.
pub(crate) fn holds_files(object: &Object) -> bool {
    matches!(&object.detail, Detail::Datastore(detail) if detail.ds_type == FILE)
}

/// Whether images can be made in it.
pub(crate) fn takes_images(object: &Object) -> bool {
    matches!(&object.detail, Detail::Datastore(detail) if matches!(detail.ds_type, IMAGE | FILE))
}
