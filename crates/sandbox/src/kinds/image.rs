//! Images (`src/image/Image.cc`, `src/rm/api/ImageAPI.cc`, 6.10 and 7.4).

use model::Attributes;

use super::{allocate_failure, check_name, datastore, own, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, ImageDetail, Object};
use crate::template::{is_yes, replace, take, text_of};

/// State numbers (`include/Image.h`).
pub(crate) mod state {
    pub(crate) const READY: i32 = 1;
    pub(crate) const USED: i32 = 2;
    pub(crate) const LOCKED: i32 = 4;
    pub(crate) const ERROR: i32 = 5;
    pub(crate) const DELETE: i32 = 7;
    pub(crate) const USED_PERSISTENT: i32 = 8;
}

/// Types in the order of their numbers.
const TYPES: [&str; 8] =
    ["OS", "CDROM", "DATABLOCK", "KERNEL", "RAMDISK", "CONTEXT", "BACKUP", "FILESYSTEM"];
const OS: i32 = 0;
const DATABLOCK: i32 = 2;
const KERNEL: i32 = 3;
const RAMDISK: i32 = 4;
const CONTEXT: i32 = 5;
const BACKUP: i32 = 6;
const FILESYSTEM: i32 = 7;

/// An image of a template in a datastore, in the state LOCKED, not yet stored. Nothing is copied:
/// the sandbox has no storage.
pub(crate) fn new(
    ctx: &Ctx<'_>,
    mut template: Attributes,
    place: &Object,
) -> Result<Object, Failure> {
    if !datastore::takes_images(place) {
        let text = "New images can only be allocated in a files or image datastore.";
        return Err(allocate_failure(ctx, Kind::Image, text.to_owned()));
    }
    fill_from_app(ctx, &mut template)?;
    let name = take(&mut template, "NAME");
    let size = take(&mut template, "SIZE");
    let path = take(&mut template, "PATH");
    let source = take(&mut template, "SOURCE");
    let type_name = match take(&mut template, "TYPE") {
        text if text.is_empty() => "OS".to_owned(),
        text => text.to_ascii_uppercase(),
    };
    if !source.is_empty() && !ctx.caller.is_admin() {
        let text = "Template includes a restricted attribute SOURCE".to_owned();
        return Err(Failure::Refused { uid: ctx.caller.uid, text });
    }
    check_file(ctx, &type_name, &path, &source)?;
    let size: i64 = match size.trim().parse() {
        Ok(size) if size >= 0 => size,
        // A driver would look at the file; one megabyte is the least that it can find.
        _ if size.is_empty() && !path.is_empty() => 1,
        _ => {
            let text = "Cannot parse image SIZE: Wrong number or missing SIZE attribute.";
            return Err(Failure::internal(text));
        }
    };
    if size > 0 && datastore::is_unmeasured(place) {
        return Err(Failure::Action("Not enough space in datastore".to_owned()));
    }
    let refuse = |text: String| Failure::Allocate { kind: Kind::Image, text };
    check_name(ctx, &name).map_err(refuse)?;
    let known = if ctx.is_7() { &TYPES[..] } else { &TYPES[..TYPES.len() - 1] };
    let Some((image_type, _)) = (0..).zip(known).find(|(_, known)| **known == type_name) else {
        return Err(refuse("Unknown type ".to_owned()));
    };
    check_place(image_type, place).map_err(refuse)?;
    if let Some(text) = taken_text(ctx, Kind::Image, &name)? {
        return Err(refuse(text));
    }
    let persistent = is_yes(&take(&mut template, "PERSISTENT"));
    let is_disk = matches!(image_type, OS | DATABLOCK);
    match is_disk {
        true if text_of(&template, "DEV_PREFIX").is_empty() => {
            replace(&mut template, "DEV_PREFIX", "sd");
        }
        true => {}
        false => _ = template.remove("DEV_PREFIX"),
    }
    template.remove("DRIVER");
    template.remove("TM_MAD");
    let format = take(&mut template, "FORMAT");
    let fs = take(&mut template, "FS");
    let format = match (source.is_empty(), path.is_empty()) {
        (false, false) => return Err(refuse("PATH and SOURCE cannot be both set.".to_owned())),
        (false, true) if format.is_empty() => {
            return Err(refuse("SOURCE needs FORMAT to be set.".to_owned()));
        }
        (false, true) => format,
        (true, false) => String::new(),
        (true, true) if is_disk && format.is_empty() => "raw".to_owned(),
        (true, true) if is_disk => format,
        (true, true) => return Err(refuse("No PATH nor SOURCE in template.".to_owned())),
    };
    let disk_type = match &place.detail {
        Detail::Datastore(detail) => detail.disk_type,
        _ => 0,
    };
    let detail = ImageDetail {
        image_type,
        disk_type,
        persistent: persistent && (is_disk || image_type == FILESYSTEM),
        regtime: ctx.seconds(),
        modtime: ctx.seconds(),
        source,
        path,
        format,
        fs,
        size,
        lock: None,
        vms: Vec::new(),
    };
    let mut object = Object::new(Kind::Image, &name, Detail::Image(Box::new(detail)));
    own(ctx, &mut object);
    object.parent = place.id;
    object.state = state::LOCKED;
    object.due = Some(ctx.later());
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// The size of most types is that of a file, which must be named.
fn check_file(ctx: &Ctx<'_>, type_name: &str, path: &str, source: &str) -> Result<(), Failure> {
    let missing = match type_name {
        "CDROM" | "KERNEL" | "RAMDISK" | "CONTEXT" if path.is_empty() && source.is_empty() => {
            format!("Either PATH or SOURCE are required for {type_name}")
        }
        "FILESYSTEM" if ctx.is_7() && path.is_empty() => "Missing PATH attribute.".to_owned(),
        _ => return Ok(()),
    };
    Err(Failure::internal(format!("Cannot parse image SIZE: {missing}")))
}

/// What may be in a datastore of files and what in one of images.
fn check_place(image_type: i32, place: &Object) -> Result<(), String> {
    let is_file = matches!(image_type, KERNEL | RAMDISK | CONTEXT);
    let kinds = "KERNEL, RAMDISK and CONTEXT";
    match datastore::holds_files(place) {
        _ if image_type == BACKUP => {
            Err("IMAGES of type BACKUP can only be registered in an BACKUP_DS datastore".to_owned())
        }
        true if !is_file => {
            Err(format!("Only IMAGES of type {kinds} can be registered in a FILE_DS datastore"))
        }
        false if is_file => {
            Err(format!("IMAGES of type {kinds} cannot be registered in an IMAGE_DS datastore"))
        }
        _ => Ok(()),
    }
}

/// Where the image is and how large, of the app that it is made from
/// (`src/rm/RequestManagerAllocate.cc`, `FROM_APP`).
fn fill_from_app(ctx: &Ctx<'_>, template: &mut Attributes) -> Result<(), Failure> {
    let id = text_of(template, "FROM_APP").to_owned();
    if id.is_empty() {
        return Ok(());
    }
    let app = ctx.settings.apps.iter().find(|app| app.id.to_string() == id);
    let app = app.ok_or_else(|| {
        Failure::internal(format!("Could not get the app {id} of the marketplace."))
    })?;
    replace(template, "PATH", &app.source);
    replace(template, "SIZE", &app.size.to_string());
    Ok(())
}

/// The end of LOCKED: the image has a place, or could not be copied; then true, and `ERROR` is to be
/// added to its template.
pub(crate) fn created(ctx: &Ctx<'_>, object: &mut Object) -> bool {
    let id = object.id;
    if let Detail::Image(detail) = &mut object.detail {
        let fails = |bad: &String| detail.path.starts_with(bad.as_str());
        if ctx.settings.failing_paths.iter().any(fails) {
            object.set_state(state::ERROR, None);
            return true;
        }
        if detail.source.is_empty() {
            detail.source = format!("sandbox/{id}");
        }
        if detail.format.is_empty() {
            detail.format = "raw".to_owned();
        }
    }
    let free = matches!(&object.detail, Detail::Image(detail) if detail.vms.is_empty());
    object.set_state(if free { state::READY } else { state::USED }, None);
    false
}

/// A VM takes the images of its disks, or gives them back.
pub(crate) fn use_of(
    ctx: &Ctx<'_>,
    disks: &Attributes,
    vm: i32,
    begins: bool,
) -> Result<(), Failure> {
    for disk in disks.all("DISK") {
        let id = match disk {
            model::Value::Vector(disk) => text_of(disk, "IMAGE_ID").parse().ok(),
            _ => None,
        };
        let Some(id) = id else { continue };
        let mut image = match ctx.store.head(Kind::Image, id)? {
            Some(image) => image,
            None if begins => return Err(Failure::NoSuch { words: "image", id }),
            None => continue,
        };
        let Detail::Image(detail) = &mut image.detail else { continue };
        detail.vms.retain(|user| *user != vm);
        if begins {
            detail.vms.push(vm);
        }
        let new = match (detail.vms.is_empty(), detail.persistent) {
            (true, _) => state::READY,
            (false, false) => state::USED,
            (false, true) => state::USED_PERSISTENT,
        };
        if matches!(image.state, state::READY | state::USED | state::USED_PERSISTENT) {
            image.set_state(new, None);
        }
        ctx.store.save_head(&image)?;
    }
    Ok(())
}

/// `one.image.persistent`.
pub(crate) fn set_persistent(object: &mut Object, persistent: bool) -> Result<(), Failure> {
    let Detail::Image(detail) = &mut object.detail else { return Ok(()) };
    if persistent && !matches!(detail.image_type, OS | DATABLOCK | FILESYSTEM) {
        return Err(Failure::internal("KERNEL, RAMDISK and CONTEXT must be non-persistent"));
    }
    detail.persistent = persistent;
    Ok(())
}

/// Begins the deletion, which takes its time. One that is being copied is removed by force only.
pub(crate) fn begin_delete(ctx: &Ctx<'_>, object: &mut Object, force: bool) -> Result<(), Failure> {
    if let Detail::Image(detail) = &object.detail
        && !detail.vms.is_empty()
    {
        let text = format!("Cannot delete image. There are {} VMs using it.", detail.vms.len());
        return Err(Failure::Action(text));
    }
    if object.state == state::LOCKED && !force {
        let text = "Image locked, use --force flag to remove the image. \
                    Force delete may leave some files on Datastore";
        return Err(Failure::Internal(text.to_owned(), object.id));
    }
    object.set_state(state::DELETE, Some(ctx.later()));
    Ok(())
}
