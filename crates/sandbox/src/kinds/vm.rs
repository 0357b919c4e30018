//! Virtual machines, as far as hosts and clusters have to do with them: they can be made, put on a
//! host, and ended (`src/rm/api/VirtualMachineAPI.cc`, `include/VirtualMachine.h`).

use model::Attributes;

use super::{check_name, image, own};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::{Detail, NONE, Object, Placement, VmDetail};
use crate::template::{replace, take, text_of, to_inner};

/// State numbers.
pub(crate) mod state {
    pub(crate) const PENDING: i32 = 1;
    pub(crate) const HOLD: i32 = 2;
    pub(crate) const ACTIVE: i32 = 3;
    pub(crate) const DONE: i32 = 6;
    /// `LCM_STATE` of a VM that runs.
    pub(crate) const RUNNING: i32 = 3;

    pub(crate) fn name(state: i32, lcm_state: i32) -> &'static str {
        match (state, lcm_state) {
            (PENDING, _) => "PENDING",
            (HOLD, _) => "HOLD",
            (ACTIVE, RUNNING) => "RUNNING",
            (ACTIVE, _) => "ACTIVE",
            (DONE, _) => "DONE",
            _ => "INIT",
        }
    }
}

/// What becomes part of a VM's own template; all else is `USER_TEMPLATE`.
const OWN_KEYS: [&str; 18] = [
    "CPU",
    "MEMORY",
    "VCPU",
    "DISK",
    "NIC",
    "NIC_ALIAS",
    "OS",
    "CONTEXT",
    "GRAPHICS",
    "VIDEO",
    "FEATURES",
    "INPUT",
    "CPU_MODEL",
    "TOPOLOGY",
    "NUMA_NODE",
    "PCI",
    "RAW",
    "VMID",
];

/// A VM of a template, pending or on hold, not yet stored.
pub(crate) fn new(
    ctx: &Ctx<'_>,
    mut template: Attributes,
    hold: bool,
    id: i32,
) -> Result<Object, Failure> {
    let name = match take(&mut template, "NAME") {
        name if name.is_empty() => format!("one-{id}"),
        name => name,
    };
    check_name(ctx, &name).map_err(Failure::internal)?;
    let memory = match text_of(&template, "MEMORY").parse::<i64>() {
        Ok(memory) if memory > 0 => memory,
        _ => return Err(Failure::internal("MEMORY attribute must be a positive integer value.")),
    };
    let cpu = text_of(&template, "CPU").to_owned();
    if !cpu.parse::<f64>().is_ok_and(|cpu| cpu > 0.0 && cpu.is_finite()) {
        let text = "CPU attribute must be a positive float or integer value.";
        return Err(Failure::internal(text));
    }
    let vcpu = text_of(&template, "VCPU").to_owned();
    replace(&mut template, "VMID", &id.to_string());
    let (own_part, user_part): (Vec<_>, Vec<_>) =
        template.into_iter().partition(|(key, _)| OWN_KEYS.contains(&key.as_str()));
    let user_part: Attributes = user_part.into_iter().collect();
    let own_part: Attributes = own_part.into_iter().collect();
    image::use_of(ctx, &own_part, id, true)?;
    let detail = VmDetail {
        stime: ctx.seconds(),
        cpu,
        memory,
        vcpu,
        user_template: to_inner(&user_part)
            .ok_or_else(|| Failure::internal("Error transforming the VM to XML."))?,
        ..VmDetail::default()
    };
    let mut object = Object::new(Kind::Vm, &name, Detail::Vm(Box::new(detail)));
    object.id = id;
    own(ctx, &mut object);
    object.set_state(if hold { state::HOLD } else { state::PENDING }, None);
    ctx.set_template(&mut object, own_part)?;
    Ok(object)
}

/// `one.vm.deploy`: the VM runs at once.
pub(crate) fn deploy(
    ctx: &Ctx<'_>,
    object: &mut Object,
    host: &Object,
    datastore: i32,
) -> Result<(), Failure> {
    let Detail::Vm(detail) = &mut object.detail else { return Ok(()) };
    if !matches!(object.state, state::PENDING | state::HOLD) {
        let name = state::name(object.state, detail.lcm_state);
        let text = format!("Deploy action is not available for state {name}");
        return Err(Failure::Action(text));
    }
    detail.lcm_state = state::RUNNING;
    detail.deploy_id = format!("one-{}", object.id);
    detail.history = Some(Placement {
        host: host.id,
        hostname: host.name.clone(),
        cluster: host.parent,
        datastore: datastore.max(0),
        since: ctx.seconds(),
        until: 0,
    });
    object.parent = host.id;
    object.set_state(state::ACTIVE, None);
    Ok(())
}

/// `one.vm.action`: `terminate`, `terminate-hard`, `hold` and `release`, done at once.
pub(crate) fn act(ctx: &Ctx<'_>, object: &mut Object, action: &str) -> Result<(), Failure> {
    let Detail::Vm(detail) = &mut object.detail else { return Ok(()) };
    let new = match (action, object.state) {
        ("terminate" | "terminate-hard", state::PENDING | state::HOLD | state::ACTIVE) => {
            state::DONE
        }
        ("hold", state::PENDING) => state::HOLD,
        ("release", state::HOLD) => state::PENDING,
        ("terminate" | "terminate-hard" | "hold" | "release", state) => {
            let name = state::name(state, detail.lcm_state);
            let text = format!(
                "Error performing action \"{action}\": This action is not available for state {name}"
            );
            return Err(Failure::Action(text));
        }
        _ => return Err(Failure::action(format!("Action \"{action}\" is not supported"))),
    };
    if new == state::DONE {
        detail.lcm_state = 0;
        detail.etime = ctx.seconds();
        if let Some(history) = &mut detail.history {
            history.until = ctx.seconds();
        }
        object.parent = NONE;
        let disks = ctx.template(&ctx.load(Kind::Vm, object.id)?)?;
        image::use_of(ctx, &disks, object.id, false)?;
    }
    object.set_state(new, None);
    Ok(())
}
