//! Virtual networks.

use super::{Form, Result, cdata, close, head, ids, lock, number, open, permissions, template};
use crate::ctx::Ctx;
use crate::kind::Kind;
use crate::object::{AddressRange, Object, VnetDetail};

pub(super) fn vnet(
    ctx: &Ctx<'_>,
    object: &Object,
    detail: &VnetDetail,
    form: Form,
    out: &mut String,
) -> Result {
    open("VNET", out);
    head(ctx, object, out)?;
    lock(object, out);
    permissions(object, out);
    ids("CLUSTERS", &ctx.store.clusters_of(Kind::Vnet, object.id)?, out);
    cdata("BRIDGE", &detail.bridge, out);
    cdata("BRIDGE_TYPE", &detail.bridge_type, out);
    cdata("STATE", &object.state.to_string(), out);
    cdata("PREV_STATE", &object.prev_state.to_string(), out);
    out.push_str("<PARENT_NETWORK_ID/>");
    if ctx.is_7() {
        out.push_str("<TEMPLATE_ID/>");
    }
    optional("VN_MAD", &detail.vn_mad, out);
    optional("PHYDEV", &detail.phydev, out);
    optional("VLAN_ID", &detail.vlan_id, out);
    optional("OUTER_VLAN_ID", &detail.outer_vlan_id, out);
    number("VLAN_ID_AUTOMATIC", u8::from(detail.vlan_id_automatic), out);
    number("OUTER_VLAN_ID_AUTOMATIC", u8::from(detail.outer_vlan_id_automatic), out);
    number("USED_LEASES", 0, out);
    for tag in ["VROUTERS", "UPDATED_VMS", "OUTDATED_VMS", "UPDATING_VMS", "ERROR_VMS"] {
        ids(tag, &[], out);
    }
    template(object, out);
    open("AR_POOL", out);
    for range in &detail.ranges {
        address_range(range, form, out);
    }
    close("AR_POOL", out);
    close("VNET", out);
    Ok(())
}

fn optional(tag: &str, text: &str, out: &mut String) {
    if text.is_empty() {
        out.push_str(&format!("<{tag}/>"));
    } else {
        cdata(tag, text, out);
    }
}

fn address_range(range: &AddressRange, form: Form, out: &mut String) {
    open("AR", out);
    for (key, text) in &range.attributes {
        cdata(key, text, out);
    }
    if form == Form::Info {
        cdata("MAC_END", &range.mac_end, out);
        if let Some(ip_end) = &range.ip_end {
            cdata("IP_END", ip_end, out);
        }
        for (key, address) in &range.ip6 {
            cdata(key, address, out);
        }
        number("USED_LEASES", 0, out);
        out.push_str("<LEASES/>");
    }
    close("AR", out);
}
