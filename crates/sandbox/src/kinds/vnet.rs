//! Virtual networks (`src/vnm/VirtualNetwork.cc`, `src/rm/api/VirtualNetworkAPI.cc`, 6.10, 7.4).

use std::collections::BTreeSet;

use model::{Attributes, Value};

use super::{check_name, own, range, taken_text};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, Object, VnetDetail};
use crate::template::{is_yes, replace, take, text_of, to_inner};

/// State numbers (`include/VirtualNetwork.h`).
pub(crate) mod state {
    pub(crate) const READY: i32 = 1;
    pub(crate) const LOCK_CREATE: i32 = 2;
    pub(crate) const LOCK_DELETE: i32 = 3;
    pub(crate) const ERROR: i32 = 5;

    pub(crate) fn name(state: i32) -> &'static str {
        match state {
            READY => "READY",
            LOCK_CREATE => "LOCK_CREATE",
            LOCK_DELETE => "LOCK_DELETE",
            ERROR => "ERROR",
            _ => "INIT",
        }
    }
}

/// `VN_MAD_CONF` of any release from 5.8 to 7.4, with the type of bridge.
const DRIVERS: [(&str, &str); 13] = [
    ("dummy", "linux"),
    ("802.1Q", "linux"),
    ("ebtables", "linux"),
    ("fw", "linux"),
    ("ovswitch", "openvswitch"),
    ("vxlan", "linux"),
    ("vcenter", "vcenter_port_groups"),
    ("ovswitch_vxlan", "openvswitch"),
    ("bridge", "linux"),
    ("elastic", "linux"),
    ("nodeport", "linux"),
    // The driver of 5.10's and 5.12's edge clusters.
    ("alias_sdnat", "linux"),
    ("netrange", "linux"),
];

/// A network of a template in the state LOCK_CREATE, not yet stored. Its id must be known, because
/// its bridge may be named after it.
pub(crate) fn new(ctx: &Ctx<'_>, mut template: Attributes, id: i32) -> Result<Object, Failure> {
    if ctx.is_7() {
        template.remove("TEMPLATE_ID");
    }
    let name = take(&mut template, "NAME");
    let prefix = take(&mut template, "TEMPLATE_NAME");
    let name = match (name.is_empty(), prefix.is_empty()) {
        (false, _) => name,
        (true, false) => format!("{prefix}-{id}"),
        (true, true) => {
            return Err(Failure::internal("No NAME in template for Virtual Network."));
        }
    };
    if let Some(text) = taken_text(ctx, Kind::Vnet, &name)? {
        return Err(Failure::internal(text));
    }
    check_name(ctx, &name).map_err(Failure::internal)?;

    let mut detail = VnetDetail { vn_mad: take(&mut template, "VN_MAD"), ..Default::default() };
    if detail.vn_mad.is_empty() {
        return Err(Failure::internal("No VN_MAD in template for Virtual Network."));
    }
    replace(&mut template, "VN_MAD", &detail.vn_mad);
    detail.phydev = take(&mut template, "PHYDEV");
    replace(&mut template, "PHYDEV", &detail.phydev);
    detail.bridge = take(&mut template, "BRIDGE");
    (detail.vlan_id, detail.vlan_id_automatic) =
        vlan(&mut template, "VLAN_ID", "AUTOMATIC_VLAN_ID");
    (detail.outer_vlan_id, detail.outer_vlan_id_automatic) =
        vlan(&mut template, "OUTER_VLAN_ID", "AUTOMATIC_OUTER_VLAN_ID");
    check_driver(&detail)?;
    let wanted = take(&mut template, "BRIDGE_TYPE");
    // 6.x gives a new network the type of its driver, whatever was asked for.
    detail.bridge_type = bridge_type(&detail.vn_mad, if ctx.is_7() { &wanted } else { "" })?;
    replace(&mut template, "BRIDGE_TYPE", &detail.bridge_type);
    if detail.bridge.is_empty() {
        detail.bridge = match detail.vlan_id.as_str() {
            "" => format!("onebr{id}"),
            vlan if ctx.is_7() && vlan.parse::<i32>().is_err() => format!("onebr{id}"),
            vlan => format!("onebr.{vlan}"),
        };
    }
    replace(&mut template, "BRIDGE", &detail.bridge);
    let groups = security_groups(&take(&mut template, "SECURITY_GROUPS"));
    replace(&mut template, "SECURITY_GROUPS", &groups);

    let mut object = Object::new(Kind::Vnet, &name, Detail::Vnet(Box::new(detail)));
    object.id = id;
    own(ctx, &mut object);
    object.state = state::LOCK_CREATE;
    object.due = Some(ctx.later());
    ctx.set_template(&mut object, template)?;
    Ok(object)
}

/// A fixed VLAN id, whatever it is, or whether one is to be chosen.
fn vlan(template: &mut Attributes, key: &str, automatic: &str) -> (String, bool) {
    let automatic = is_yes(&take(template, automatic));
    let fixed = text_of(template, key).to_owned();
    let automatic = automatic && fixed.is_empty();
    (fixed, automatic)
}

/// What the template of a network must have; 6.x looks at what its driver needs, too.
pub(crate) fn check_template(ctx: &Ctx<'_>, template: &Attributes) -> Result<(), Failure> {
    let text = |key| text_of(template, key).to_owned();
    let detail = VnetDetail {
        vn_mad: text("VN_MAD"),
        phydev: text("PHYDEV"),
        bridge: text("BRIDGE"),
        vlan_id: text("VLAN_ID"),
        outer_vlan_id: text("OUTER_VLAN_ID"),
        vlan_id_automatic: is_yes(&text("AUTOMATIC_VLAN_ID")),
        outer_vlan_id_automatic: is_yes(&text("AUTOMATIC_OUTER_VLAN_ID")),
        ..Default::default()
    };
    if detail.vn_mad.is_empty() {
        return Err(Failure::internal("Error inserting Template in DB. VN_MAD is mandatory"));
    }
    if ctx.is_7() { Ok(()) } else { check_driver(&detail) }
}

/// What each driver must have.
fn check_driver(detail: &VnetDetail) -> Result<(), Failure> {
    let vn_mad = detail.vn_mad.as_str();
    let missing =
        |what: &str| Err(Failure::Internal(format!("{what} is mandatory for driver {vn_mad}"), -1));
    let is = |name: &str| vn_mad.eq_ignore_ascii_case(name);
    if (is("802.1Q") || is("vxlan")) && detail.phydev.is_empty() {
        return missing("PHYDEV");
    }
    if is("dummy") && detail.bridge.is_empty() {
        return missing("BRIDGE");
    }
    let no_vlan = detail.vlan_id.is_empty() && !detail.vlan_id_automatic;
    if (is("802.1Q") || is("vxlan")) && no_vlan {
        return missing("VLAN_ID (or AUTOMATIC_VLAN_ID)");
    }
    let no_outer = detail.outer_vlan_id.is_empty() && !detail.outer_vlan_id_automatic;
    if is("ovswitch_vxlan") && no_outer {
        return missing("OUTER_VLAN_ID (or AUTOMATIC)");
    }
    Ok(())
}

fn bridge_type(vn_mad: &str, wanted: &str) -> Result<String, Failure> {
    let known = DRIVERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(vn_mad));
    match known.map(|(_, bridge_type)| *bridge_type) {
        Some(own) if wanted.is_empty() || wanted == own => Ok(own.to_owned()),
        Some("openvswitch") if wanted == "openvswitch_dpdk" => Ok(wanted.to_owned()),
        Some(_) => {
            let text = format!(
                "Attribute BRIDGE_TYPE has wrong value \"{wanted}\" for VN_MAD_CONF {vn_mad} in \
                 oned.conf"
            );
            Err(Failure::internal(text))
        }
        None => {
            let text = format!("VN_MAD named \"{vn_mad}\" is not defined in oned.conf");
            Err(Failure::internal(text))
        }
    }
}

/// The groups in order, the default one always among them.
fn security_groups(given: &str) -> String {
    let mut ids: BTreeSet<i32> = given.split(',').filter_map(|id| id.trim().parse().ok()).collect();
    ids.insert(0);
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The end of LOCK_CREATE: address ranges move out of the template, VLAN ids are chosen.
pub(crate) fn created(ctx: &Ctx<'_>, object: &mut Object) -> Result<(), Failure> {
    let mut template = ctx.template(object)?;
    let ranges: Vec<Attributes> = template
        .all("AR")
        .filter_map(|value| match value {
            Value::Vector(inner) => Some(inner.clone()),
            _ => None,
        })
        .collect();
    template.remove("AR");
    let id = object.id;
    let Detail::Vnet(detail) = &mut object.detail else { return Ok(()) };
    let mut outcome = Ok(());
    for attributes in &ranges {
        outcome = outcome.and(add_range(ctx, detail, attributes));
    }
    // VLAN_IDS of oned.conf begins at 2; the network's own number keeps ids apart.
    if detail.vlan_id_automatic {
        detail.vlan_id = (2 + id).to_string();
    }
    if detail.outer_vlan_id_automatic {
        detail.outer_vlan_id = (2 + id).to_string();
    }
    show_vlans(detail, &mut template);
    template.remove("ERROR");
    let state = match outcome {
        Ok(()) => state::READY,
        Err(text) => {
            replace(&mut template, "ERROR", &text);
            state::ERROR
        }
    };
    object.set_state(state, None);
    ctx.set_template(object, template)
}

/// VLAN ids stand in the template too, unless they were chosen.
fn show_vlans(detail: &VnetDetail, template: &mut Attributes) {
    for (key, id, automatic) in [
        ("VLAN_ID", &detail.vlan_id, detail.vlan_id_automatic),
        ("OUTER_VLAN_ID", &detail.outer_vlan_id, detail.outer_vlan_id_automatic),
    ] {
        match automatic {
            true => _ = template.remove(key),
            false => replace(template, key, id),
        }
    }
}

/// Adds an address range.
pub(crate) fn add_range(
    ctx: &Ctx<'_>,
    detail: &mut VnetDetail,
    attributes: &Attributes,
) -> Result<(), String> {
    let range = range::new(attributes, detail.next_range, ctx.is_7())?;
    detail.next_range += 1;
    detail.ranges.push(range);
    Ok(())
}

/// `one.vn.add_ar`: the range of a template with an `AR` vector.
pub(crate) fn add_range_of(
    ctx: &Ctx<'_>,
    object: &mut Object,
    template: &Attributes,
) -> Result<(), Failure> {
    let state = object.state;
    let Detail::Vnet(detail) = &mut object.detail else { return Ok(()) };
    if state != state::READY {
        let name = state::name(state);
        return Err(Failure::action(format!("Could not add address range, wrong state {name}.")));
    }
    // Of several the first one counts.
    match template.all("AR").find_map(|value| match value {
        Value::Vector(attributes) => Some(attributes),
        _ => None,
    }) {
        // Answered and lost, like an update.
        Some(attributes) if to_inner(attributes).is_none() => Ok(()),
        Some(attributes) => add_range(ctx, detail, attributes).map_err(Failure::internal),
        None => Err(Failure::internal("Wrong AR definition. AR vector attribute is missing.")),
    }
}

/// `one.vn.rm_ar`.
pub(crate) fn remove_range(object: &mut Object, range: i32) -> Result<(), Failure> {
    let Detail::Vnet(detail) = &mut object.detail else { return Ok(()) };
    let before = detail.ranges.len();
    detail.ranges.retain(|r| r.id != range);
    match before == detail.ranges.len() {
        true => Err(Failure::action("Address Range does not exist")),
        false => Ok(()),
    }
}

/// The types of bridges that 6.x takes in an update.
const BRIDGE_TYPES: [&str; 5] =
    ["linux", "openvswitch", "openvswitch_dpdk", "vcenter_port_groups", "none"];

/// What an update makes of the template: the bridge stays unless the template names another one, all
/// else is what the template says. 7.x insists on a driver and checks the type of the bridge; in 6.x
/// a network may lose its driver.
pub(crate) fn after_update(
    ctx: &Ctx<'_>,
    object: &mut Object,
    template: &mut Attributes,
) -> Result<(), Failure> {
    let Detail::Vnet(detail) = &mut object.detail else { return Ok(()) };
    let vn_mad = take(template, "VN_MAD");
    let mut wanted_type = take(template, "BRIDGE_TYPE");
    if ctx.is_7() {
        template.remove("TEMPLATE_ID");
        if vn_mad.is_empty() {
            return Err(Failure::internal("No VN_MAD in template for Virtual Network."));
        }
        if vn_mad != detail.vn_mad && wanted_type == detail.bridge_type {
            wanted_type.clear();
        }
        detail.bridge_type = bridge_type(&vn_mad, &wanted_type)?;
    } else if BRIDGE_TYPES.contains(&wanted_type.as_str()) {
        detail.bridge_type = wanted_type;
    }
    detail.vn_mad = vn_mad;
    detail.phydev = take(template, "PHYDEV");
    let bridge = take(template, "BRIDGE");
    if !bridge.is_empty() {
        detail.bridge = bridge;
    }
    for (key, automatic_key, field, automatic) in [
        ("VLAN_ID", "AUTOMATIC_VLAN_ID", &mut detail.vlan_id, detail.vlan_id_automatic),
        (
            "OUTER_VLAN_ID",
            "AUTOMATIC_OUTER_VLAN_ID",
            &mut detail.outer_vlan_id,
            detail.outer_vlan_id_automatic,
        ),
    ] {
        template.remove(automatic_key);
        if !automatic {
            *field = take(template, key);
        }
    }
    show_vlans(detail, template);
    for (key, value) in [
        ("VN_MAD", &detail.vn_mad),
        ("BRIDGE_TYPE", &detail.bridge_type),
        ("PHYDEV", &detail.phydev),
        ("BRIDGE", &detail.bridge),
    ] {
        replace(template, key, value);
    }
    Ok(())
}

/// Begins the deletion, which takes its time.
pub(crate) fn begin_delete(ctx: &Ctx<'_>, object: &mut Object) -> Result<(), Failure> {
    if matches!(object.state, state::LOCK_CREATE | state::LOCK_DELETE) {
        let text = format!(
            "Cannot delete virtual network. Can not remove a Virtual Network, wrong state {}",
            state::name(object.state)
        );
        return Err(Failure::Action(text));
    }
    if let Detail::Vnet(detail) = &mut object.detail {
        detail.ranges.clear();
    }
    object.set_state(state::LOCK_DELETE, Some(ctx.later()));
    Ok(())
}

/// Why `one.vn.recover` does not remove the network, if so. Its other operations are not offered.
pub(crate) fn check_recover(object: &Object, operation: i32) -> Result<(), Failure> {
    match (operation, object.state) {
        (2, state::READY) => {
            let (id, state) = (object.id, state::name(object.state));
            let text =
                format!("Could not perform 'recover delete' on VN {id}, wrong state {state}.");
            Err(Failure::internal(text))
        }
        (2, _) => Ok(()),
        _ => Err(Failure::action("Wrong recovery operation code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_groups_hold_the_default_one() {
        assert_eq!(security_groups(""), "0");
        assert_eq!(security_groups("7, 3,7"), "0,3,7");
    }

    #[test]
    fn drivers_know_their_bridges() {
        assert_eq!(bridge_type("BRIDGE", "").unwrap(), "linux");
        assert_eq!(bridge_type("ovswitch", "openvswitch_dpdk").unwrap(), "openvswitch_dpdk");
        assert!(bridge_type("bridge", "openvswitch").is_err());
        assert!(bridge_type("nosuch", "").is_err());
    }
}
