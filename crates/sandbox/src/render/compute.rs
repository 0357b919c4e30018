//! Clusters, hosts and VMs.

use super::{
    Form, Result, cdata, close, head, ids, lock, number, open, permissions, plain, template,
};
use crate::ctx::Ctx;
use crate::kind::Kind;
use crate::object::{HostDetail, Object, VmDetail};

pub(super) fn cluster(ctx: &Ctx<'_>, object: &Object, out: &mut String) -> Result {
    open("CLUSTER", out);
    number("ID", object.id, out);
    plain("NAME", &object.name, out);
    ids("HOSTS", &ctx.store.children(Kind::Host, object.id)?, out);
    ids("DATASTORES", &ctx.store.members(Kind::Datastore, object.id)?, out);
    ids("VNETS", &ctx.store.members(Kind::Vnet, object.id)?, out);
    template(object, out);
    close("CLUSTER", out);
    Ok(())
}

/// Nothing is measured, so totals are 0, as they are of a real host before its first monitoring.
pub(super) fn host(
    ctx: &Ctx<'_>,
    object: &Object,
    detail: &HostDetail,
    out: &mut String,
) -> Result {
    let vms = ctx.store.children(Kind::Vm, object.id)?;
    let (mut cpu, mut memory) = (0, 0);
    for id in &vms {
        if let Some(vm) = ctx.store.head(Kind::Vm, *id)?
            && let crate::object::Detail::Vm(vm) = &vm.detail
        {
            // Hundredths of a CPU; saturates at absurd values, which is what they deserve.
            cpu += (vm.cpu.parse::<f64>().unwrap_or(0.0) * 100.0) as i64;
            memory += vm.memory.saturating_mul(1024);
        }
    }
    open("HOST", out);
    number("ID", object.id, out);
    plain("NAME", &object.name, out);
    number("STATE", object.state, out);
    number("PREV_STATE", object.prev_state, out);
    cdata("IM_MAD", &detail.im_mad, out);
    cdata("VM_MAD", &detail.vm_mad, out);
    number("CLUSTER_ID", object.parent, out);
    plain("CLUSTER", &ctx.name(Kind::Cluster, object.parent)?, out);
    open("HOST_SHARE", out);
    number("MEM_USAGE", memory, out);
    number("CPU_USAGE", cpu, out);
    number("TOTAL_MEM", 0, out);
    number("TOTAL_CPU", 0, out);
    number("MAX_MEM", detail.reserved_mem.saturating_neg(), out);
    number("MAX_CPU", detail.reserved_cpu.saturating_neg(), out);
    number("RUNNING_VMS", vms.len(), out);
    number("VMS_THREAD", 1, out);
    open("DATASTORES", out);
    for tag in ["DISK_USAGE", "FREE_DISK", "MAX_DISK", "USED_DISK"] {
        cdata(tag, "0", out);
    }
    close("DATASTORES", out);
    out.push_str("<PCI_DEVICES></PCI_DEVICES><NUMA_NODES></NUMA_NODES>");
    close("HOST_SHARE", out);
    ids("VMS", &vms, out);
    template(object, out);
    out.push_str("<MONITORING/>");
    close("HOST", out);
    Ok(())
}

pub(super) fn vm(
    ctx: &Ctx<'_>,
    object: &Object,
    detail: &VmDetail,
    form: Form,
    out: &mut String,
) -> Result {
    let whole = form == Form::Info;
    open("VM", out);
    head(ctx, object, out)?;
    if whole {
        permissions(object, out);
    }
    number("LAST_POLL", 0, out);
    number("STATE", object.state, out);
    number("LCM_STATE", detail.lcm_state, out);
    if whole {
        number("PREV_STATE", object.prev_state, out);
        number("PREV_LCM_STATE", detail.lcm_state, out);
    }
    number("RESCHED", 0, out);
    number("STIME", detail.stime, out);
    number("ETIME", detail.etime, out);
    plain("DEPLOY_ID", &detail.deploy_id, out);
    lock(object, out);
    if whole {
        out.push_str("<MONITORING/><SCHED_ACTIONS></SCHED_ACTIONS>");
        template(object, out);
        open("USER_TEMPLATE", out);
        out.push_str(&detail.user_template);
        close("USER_TEMPLATE", out);
    } else {
        open("TEMPLATE", out);
        plain("CPU", &detail.cpu, out);
        number("MEMORY", detail.memory, out);
        plain("VCPU", &detail.vcpu, out);
        close("TEMPLATE", out);
        out.push_str("<MONITORING/><USER_TEMPLATE/>");
    }
    match &detail.history {
        None => out.push_str("<HISTORY_RECORDS/>"),
        Some(place) => {
            open("HISTORY_RECORDS", out);
            open("HISTORY", out);
            number("OID", object.id, out);
            number("SEQ", 0, out);
            plain("HOSTNAME", &place.hostname, out);
            number("HID", place.host, out);
            number("CID", place.cluster, out);
            number("STIME", place.since, out);
            number("ETIME", place.until, out);
            out.push_str("<VM_MAD></VM_MAD><TM_MAD></TM_MAD>");
            number("DS_ID", place.datastore, out);
            close("HISTORY", out);
            close("HISTORY_RECORDS", out);
        }
    }
    if whole {
        out.push_str("<BACKUPS><BACKUP_CONFIG/><BACKUP_IDS></BACKUP_IDS></BACKUPS>");
    }
    close("VM", out);
    Ok(())
}
