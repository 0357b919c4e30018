//! Hosts (`src/host/Host.cc`, `HostPool.cc`, `src/rm/api/HostAPI.cc`, 6.10 and 7.4).

use model::Attributes;

use super::{allocate_failure, check_name, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, HostDetail, Object};
use crate::template::{replace, text_of};

/// State numbers (`include/Host.h`).
pub(crate) mod state {
    pub(crate) const INIT: i32 = 0;
    pub(crate) const MONITORED: i32 = 2;
    pub(crate) const DISABLED: i32 = 4;
    pub(crate) const OFFLINE: i32 = 8;
}

/// A host in the state INIT, not yet stored.
pub(crate) fn new(
    ctx: &Ctx<'_>,
    name: &str,
    im_mad: &str,
    vm_mad: &str,
    cluster: i32,
) -> Result<Object, Failure> {
    let refuse = |text| allocate_failure(ctx, Kind::Host, text);
    if ctx.is_7() {
        check_hostname(name).map_err(refuse)?;
    }
    check_name(ctx, name).map_err(refuse)?;
    if im_mad.is_empty() {
        return Err(refuse("IM_MAD_NAME cannot be empty.".to_owned()));
    }
    if vm_mad.is_empty() {
        return Err(refuse("VMM_MAD_NAME cannot be empty.".to_owned()));
    }
    if let Some(text) = taken_text(ctx, Kind::Host, name)? {
        return Err(refuse(text));
    }
    let detail = HostDetail {
        im_mad: im_mad.to_owned(),
        vm_mad: vm_mad.to_owned(),
        ..HostDetail::default()
    };
    let mut object = Object::new(Kind::Host, name, Detail::Host(detail));
    object.parent = cluster;
    object.set_state(state::INIT, Some(ctx.later()));
    let mut template = Attributes::new();
    template.push("RESERVED_CPU", "");
    template.push("RESERVED_MEM", "");
    replace(&mut template, "IM_MAD", im_mad);
    replace(&mut template, "VM_MAD", vm_mad);
    ctx.set_template(&mut object, template)?;
    set_reserved(ctx, &mut object)?;
    Ok(object)
}

/// The rules that 7.x has for the names of new hosts; renaming does not know them.
fn check_hostname(name: &str) -> Result<(), String> {
    const PUNCTUATION: &str = "-._";
    if !(2..=63).contains(&name.len()) {
        return Err(
            "Invalid HOSTNAME, HOSTNAME length should be greater than 1, but smaller than \
                    64 characters"
                .to_owned(),
        );
    }
    if let Some(first) = name.chars().next().filter(|c| PUNCTUATION.contains(*c)) {
        return Err(format!("Invalid HOSTNAME, first character can't be '{first}'"));
    }
    let good = |c: &char| c.is_ascii_alphanumeric() || PUNCTUATION.contains(*c);
    if let Some(bad) = name.chars().find(|c| !good(c)) {
        return Err(format!("Invalid HOSTNAME, '{bad}' is invalid character for a HOSTNAME"));
    }
    if let Some(last) = name.chars().last().filter(|c| PUNCTUATION.contains(*c)) {
        return Err(format!("Invalid HOSTNAME, last character can't be '{last}'"));
    }
    Ok(())
}

/// What an update makes of the template: the drivers stay unless it names others.
pub(crate) fn after_update(object: &mut Object, template: &mut Attributes) {
    let Detail::Host(detail) = &mut object.detail else { return };
    for (key, field) in [("IM_MAD", &mut detail.im_mad), ("VM_MAD", &mut detail.vm_mad)] {
        let new = text_of(template, key);
        if !new.is_empty() {
            *field = new.to_owned();
        }
        replace(template, key, field);
    }
}

/// Reads the reserved capacity of the host's template, else of its cluster's, again.
pub(crate) fn set_reserved(ctx: &Ctx<'_>, object: &mut Object) -> Result<(), Failure> {
    let own = ctx.template(object)?;
    let cluster = match ctx.store.load(Kind::Cluster, object.parent)? {
        Some(cluster) => ctx.template(&cluster)?,
        None => Attributes::new(),
    };
    let reserved = |key| match text_of(&own, key) {
        "" => text_of(&cluster, key).trim().to_owned(),
        text => text.trim().to_owned(),
    };
    // Percentages are of a total that nothing here measures, so they reserve nothing.
    let number = |text: String| text.parse().unwrap_or(0);
    let cpu = number(reserved("RESERVED_CPU"));
    let mem = number(reserved("RESERVED_MEM"));
    if let Detail::Host(detail) = &mut object.detail {
        (detail.reserved_cpu, detail.reserved_mem) = (cpu, mem);
    }
    Ok(())
}

/// `one.host.status`: 0 enables, 1 disables, 2 puts offline.
pub(crate) fn set_status(ctx: &Ctx<'_>, object: &mut Object, status: i32) -> Result<(), Failure> {
    match status {
        0 => object.set_state(state::INIT, Some(ctx.later())),
        1 => object.set_state(state::DISABLED, None),
        2 => object.set_state(state::OFFLINE, None),
        _ => return Err(Failure::internal("Wrong status code")),
    }
    Ok(())
}

/// Why the host may not be deleted, if so.
pub(crate) fn check_delete(ctx: &Ctx<'_>, object: &Object) -> Result<(), Failure> {
    if ctx.store.children(Kind::Vm, object.id)?.is_empty() {
        return Ok(());
    }
    Err(Failure::action("Cannot delete host. Can not remove a host with running VMs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_of_7x() {
        for good in ["10.0.0.1", "h1", "a_b-c.d", &"x".repeat(63)] {
            assert_eq!(check_hostname(good), Ok(()), "{good}");
        }
        for bad in ["", "x", "-ab", "ab.", "a b", "é1", &"x".repeat(64)] {
            assert!(check_hostname(bad).is_err(), "{bad}");
        }
    }
}
