//! Cluster, datastores and networks.

use journal::{Layout, ObjectRecord, Subject};
use model::{DatastoreId, Value};
use opennebula::objects::Vnet;
use template::spec::{Meta, ObjectSpec, Spec};

use super::differences::{Difference, all, differences};
use super::{Action, Change, Current, Kind, Plan, by_name};
use crate::refresh::is_yes;

/// Path of a difference in the datastores of others that the cluster has. Attributes are in upper case.
pub(super) const DATASTORES: &str = "datastores";

pub(super) fn plan(current: Option<Current<'_>>, wanted: &Spec, plan: &mut Plan) {
    match current {
        None => {
            let mut change = change(Action::Create, Kind::Cluster, &wanted.cluster, None);
            change.differences.extend(datastore_differences(&[], &wanted.cluster_datastores));
            plan.changes.push(change);
        }
        Some(current) => {
            let record = &current.record.cluster;
            let before = &current.spec.cluster;
            let mut differences = object_differences(before, &wanted.cluster);
            let datastores = &current.spec.cluster_datastores;
            differences.extend(datastore_differences(datastores, &wanted.cluster_datastores));
            differences.retain(|difference| current.counts(&before.origin, difference));
            let found = state(record, differences);
            if let Some((action, differences)) = found {
                let subject = Some(Subject::Cluster);
                let change = change(action, Kind::Cluster, &wanted.cluster, subject);
                plan.changes.push(Change { id: record.id, differences, ..change });
            }
        }
    }
    plan.layout.datastores = section(current, Kind::Datastore, &wanted.datastores, plan);
    plan.layout.networks = section(current, Kind::Network, &wanted.networks, plan);
}

/// What a kind of objects is for this module.
struct Section<'c> {
    specs: &'c [ObjectSpec],
    records: &'c std::collections::BTreeMap<u32, ObjectRecord>,
    subject: fn(&Layout, usize) -> Subject,
}

fn of(current: Current<'_>, kind: Kind) -> Section<'_> {
    match kind {
        Kind::Network => Section {
            specs: &current.spec.networks,
            records: &current.record.networks,
            subject: Layout::network,
        },
        _ => Section {
            specs: &current.spec.datastores,
            records: &current.record.datastores,
            subject: Layout::datastore,
        },
    }
}

/// Plans one kind; the numbers of the template's entries.
fn section(
    current: Option<Current<'_>>,
    kind: Kind,
    wanted: &[ObjectSpec],
    plan: &mut Plan,
) -> Vec<u32> {
    let Some(current) = current else {
        plan.changes.extend(wanted.iter().map(|spec| change(Action::Create, kind, spec, None)));
        return (0..).take(wanted.len()).collect();
    };
    let Section { specs, records, subject } = of(current, kind);
    let layout = &current.record.layout;
    let number = |index| match subject(layout, index) {
        Subject::Datastore(number) | Subject::Network(number) => number,
        _ => 0,
    };
    let mut free = records.keys().next_back().map_or(0, |last| last + 1)..;
    let mut before = by_name(specs, |spec| spec.name.as_str());
    before.retain(|_, index| records.get(&number(*index)).is_some_and(|r| !r.removed));
    let mut numbers = Vec::new();
    for spec in wanted {
        let known = before.remove(spec.name.as_str());
        let known = known.and_then(|index| Some((index, records.get(&number(index))?)));
        let Some((index, record)) = known else {
            plan.changes.push(change(Action::Create, kind, spec, None));
            numbers.extend(free.next());
            continue;
        };
        numbers.push(number(index));
        let Some(old) = specs.get(index) else { continue };
        let mut differences = object_differences(old, spec);
        let is_given = |d: &Difference| {
            !(d.path.starts_with("AR") && d.path.ends_with("/MAC") && d.after.is_none())
        };
        differences.retain(|d| current.counts(&old.origin, d) && is_given(d));
        if kind == Kind::Datastore {
            differences.retain(|difference| !is_of_case(difference));
        }
        if kind == Kind::Network {
            let network = current.pools.vnets.iter().find(|vnet| Some(vnet.id.0) == record.id);
            if let Some(network) = network {
                settle_vlans(network, spec, &mut differences, plan);
            }
            if current.is_exact(&old.origin) {
                refuse_lost_ranges(old, spec, plan);
            }
        }
        if let Some((action, differences)) = state(record, differences) {
            let change = change(action, kind, spec, Some(subject(layout, index)));
            plan.changes.push(Change { id: record.id, differences, ..change });
        }
    }
    for index in before.into_values() {
        let (Some(spec), Some(record)) = (specs.get(index), records.get(&number(index))) else {
            continue;
        };
        let stored = |id| current.pools.datastores.iter().find(|d| Some(d.id.0) == id);
        let in_use = match kind {
            Kind::Datastore => stored(record.id).map_or(0, |datastore| datastore.images.len()),
            _ => 0,
        };
        let change = change(Action::Destroy, kind, spec, Some(subject(layout, index)));
        plan.changes.push(Change { id: record.id, in_use, differences: Vec::new(), ..change });
    }
    numbers
}

/// What is to be done with an object that the template had before, and has now.
pub(super) fn state(
    record: &ObjectRecord,
    found: Vec<Difference>,
) -> Option<(Action, Vec<Difference>)> {
    // One that was found has a name, and is as good as one that was made.
    match record.complete || record.name.is_some() {
        _ if record.leaving => Some((Action::Finish, found)),
        false => Some((Action::Finish, found)),
        true if found.is_empty() && record.outdated.is_none() => None,
        true => Some((Action::Change, found)),
    }
}

fn change(action: Action, kind: Kind, spec: &ObjectSpec, subject: Option<Subject>) -> Change {
    Change {
        action,
        kind,
        name: spec.name.clone(),
        id: None,
        driver: None,
        machine: None,
        buys: false,
        destroys: false,
        in_use: 0,
        differences: all(&spec.attributes, ""),
        note: None,
        subject,
    }
}

/// One for each datastore of others that the cluster gets or loses.
fn datastore_differences(before: &[DatastoreId], after: &[DatastoreId]) -> Vec<Difference> {
    let difference = |before: Option<&DatastoreId>, after: Option<&DatastoreId>| {
        let text = |id: Option<&DatastoreId>| id.map(ToString::to_string);
        Difference::new(DATASTORES, text(before), text(after))
    };
    let gone = before.iter().filter(|id| !after.contains(id)).map(|id| difference(Some(id), None));
    let new = after.iter().filter(|id| !before.contains(id)).map(|id| difference(None, Some(id)));
    gone.chain(new).collect()
}

fn object_differences(before: &ObjectSpec, after: &ObjectSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    if before.name != after.name {
        let (before, after) = (Some(before.name.clone()), Some(after.name.clone()));
        found.push(Difference::new("NAME", before, after));
    }
    if before.driver != after.driver {
        found.push(Difference::new("PM_MAD", before.driver.clone(), after.driver.clone()));
    }
    found.extend(differences(&before.attributes, &after.attributes, ""));
    found.extend(differences(&before.provision, &after.provision, "PROVISION"));
    found.extend(meta_differences(before.meta.as_ref(), after.meta.as_ref()));
    found
}

pub(super) fn meta_differences(before: Option<&Meta>, after: Option<&Meta>) -> Vec<Difference> {
    let none = Meta::default();
    let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
    let number = |id: Option<u32>| id.map(|id| id.to_string());
    let mode = |mode: Option<u16>| mode.map(|mode| format!("{mode:o}"));
    [
        ("meta/uid", number(before.uid), number(after.uid)),
        ("meta/uname", before.uname.clone(), after.uname.clone()),
        ("meta/gid", number(before.gid), number(after.gid)),
        ("meta/gname", before.gname.clone(), after.gname.clone()),
        ("meta/mode", mode(before.mode), mode(after.mode)),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(path, before, after)| Difference::new(path, before, after))
    .collect()
}

/// Whether two values of a datastore are the same to OpenNebula, which writes them in capitals
/// (`src/datastore/Datastore.cc`).
fn is_of_case(difference: &Difference) -> bool {
    let (Some(before), Some(after)) = (&difference.before, &difference.after) else { return false };
    matches!(difference.path.as_str(), "TYPE" | "DISK_TYPE") && before.eq_ignore_ascii_case(after)
}

/// Whether it is the same range. OpenNebula gives one a `MAC` that has none, and a template that was made
/// from its objects has that.
fn are_same(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Vector(before), Value::Vector(after)) if after.get("MAC").is_none() => {
            let mut before = before.clone();
            before.remove("MAC");
            before == *after
        }
        (before, after) => before == after,
    }
}

/// OpenNebula keeps for ever whether it chose a VLAN itself (`VirtualNetwork::post_update_template`). What it is told
/// of that is no difference if it is so already.
fn settle_vlans(
    network: &Vnet,
    wanted: &ObjectSpec,
    differences: &mut Vec<Difference>,
    plan: &mut Plan,
) {
    let kinds = [
        ("VLAN_ID", "AUTOMATIC_VLAN_ID", network.vlan_id_automatic),
        ("OUTER_VLAN_ID", "AUTOMATIC_OUTER_VLAN_ID", network.outer_vlan_id_automatic),
    ];
    for (id, automatic, is_automatic) in kinds {
        let wants_automatic = wanted.attributes.text(automatic).is_some_and(is_yes)
            && wanted.attributes.get(id).is_none();
        let differs = differences.iter().any(|d| d.path == id || d.path == automatic);
        if differs && is_automatic != wants_automatic {
            let has = if is_automatic {
                "a VLAN that OpenNebula chose"
            } else {
                "the VLAN that it was given"
            };
            plan.refused.push(format!(
                "{}: network {:?} keeps {has}: {automatic} counts once, when a network is made; give the \
                 new one another name",
                wanted.origin, wanted.name
            ));
        } else if is_automatic == wants_automatic {
            differences.retain(|difference| difference.path != automatic);
        }
    }
}

/// Leases may be taken from a range: it can be added, and not be changed or taken away.
fn refuse_lost_ranges(before: &ObjectSpec, after: &ObjectSpec, plan: &mut Plan) {
    let mut left: Vec<&Value> = after.attributes.all("AR").collect();
    for (range, n) in before.attributes.all("AR").zip(1..) {
        match left.iter().position(|there| are_same(range, there)) {
            Some(position) => drop(left.remove(position)),
            None => plan.refused.push(format!(
                "{}: address range {n} of network {:?} is changed or left out: ranges can only be \
                 added; `onevnet updatear` and `onevnet rmar` do the rest",
                after.origin, after.name
            )),
        }
    }
}
