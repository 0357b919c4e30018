//! Which host of a template is which, and which ones go.

use std::collections::{BTreeMap, BTreeSet};

use journal::{HostRecord, Machine, Subject};
use model::{Attributes, HostKey, ProvisionState, Value};
use opennebula::objects::Host;
use template::spec::{HostSpec, Spec};

use super::differences::{Difference, all, differences};
use super::{Action, Change, Current, Kind, Plan, by_name};
use crate::planner::{Goal, Next, next};

/// Parameters of `provision` that are for this tool and not for the machine.
const NOT_OF_THE_MACHINE: [&str; 2] = ["DEPLOY_TIMEOUT", "ACTION_TIMEOUT"];

/// A host that is there, and the entry of the template that it was made from.
#[derive(Clone, Copy)]
struct There<'c> {
    spec: &'c HostSpec,
    record: &'c HostRecord,
    object: Option<&'c Host>,
}

impl There<'_> {
    fn vms(&self) -> usize {
        self.object.map_or(0, |host| usize::try_from(host.running_vms).unwrap_or(0))
    }

    fn is_troubled(&self) -> bool {
        self.record.failure.is_some() || matches!(self.record.machine, Machine::Maybe { .. })
    }
}

pub(super) fn plan(current: Option<Current<'_>>, wanted: &Spec, plan: &mut Plan) {
    let there = current.map(hosts_there).unwrap_or_default();
    let mut free = current.map_or(HostKey(0), |current| current.record.next_key());
    let mut fresh = || {
        let key = free;
        free = HostKey(free.0 + 1);
        key
    };
    let names = by_name(&wanted.hosts, |host| host.hostname.as_str());
    let playbooks = current.map_or(&wanted.playbooks, |current| &current.spec.playbooks);
    let chosen = choose(&there, &names);
    for host in &wanted.hosts {
        let known = chosen.kept.get(host.hostname.as_str()).and_then(|key| there.get(key));
        let Some(known) = known else {
            plan.layout.hosts.push(fresh());
            plan.changes.push(created(host));
            continue;
        };
        let mut found = host_differences(known.spec, host);
        let origin = &known.spec.origin;
        found.retain(|difference| current.is_none_or(|c| c.counts(origin, difference)));
        if *playbooks != wanted.playbooks {
            let list = |playbooks: &[String]| Some(playbooks.join(","));
            let (before, after) = (list(playbooks), list(&wanted.playbooks));
            found.push(Difference::new("ANSIBLE_PLAYBOOK", before, after));
        }
        let change = change(known, host);
        let named = Goal::Ready { enable: false, stages: 0 };
        let unfinished = next(known.record, named) != Next::Nothing
            || current.is_some_and(|current| awaits_configuration(known.record, current));
        if found.iter().any(|difference| is_of_the_machine(difference, known)) {
            plan.layout.hosts.push(fresh());
            let destroys = known.record.may_cost();
            plan.changes.push(Change {
                action: Action::Replace,
                buys: true,
                destroys,
                in_use: known.vms(),
                differences: found,
                ..change
            });
            continue;
        }
        plan.layout.hosts.push(known.record.key);
        if !found.is_empty() || known.record.outdated.is_some() {
            let buys = !known.record.may_cost();
            let differences = found;
            plan.changes.push(Change { action: Action::Change, buys, differences, ..change });
        } else if unfinished {
            let buys = !known.record.may_cost();
            plan.changes.push(Change {
                action: Action::Finish,
                buys,
                differences: Vec::new(),
                note: unfinished_note(known.record),
                ..change
            });
        }
    }
    for key in &chosen.leaving {
        let Some(known) = there.get(key) else { continue };
        plan.changes.push(Change {
            action: Action::Destroy,
            destroys: known.record.may_cost(),
            in_use: known.vms(),
            differences: Vec::new(),
            note: chosen.notes.get(key).cloned(),
            ..change(known, known.spec)
        });
    }
}

/// Gives hosts whose machines are there the values that they have from their provider already. Whether
/// one was another.
pub(super) fn keep_provided(current: Current<'_>, wanted: &mut Spec) -> bool {
    let there = hosts_there(current);
    let is_made = |there: &&There<'_>| there.record.may_cost() && !there.record.removing;
    let made =
        there.values().filter(is_made).map(|there| (there.spec.hostname.as_str(), there.spec));
    let made: BTreeMap<&str, &HostSpec> = made.collect();
    let mut is_changed = false;
    for host in &mut wanted.hosts {
        let Some(before) = made.get(host.hostname.as_str()) else { continue };
        let (Some(old), Some(new)) = (&before.provider, &mut host.provider) else { continue };
        if old.name != new.name {
            continue;
        }
        // Also what the provider has no more, unless the template gives it now.
        let is_left =
            |key: &&String| !new.values.contains(key) && host.provision.get(key.as_str()).is_none();
        let left: Vec<String> = old.values.iter().filter(is_left).cloned().collect();
        new.values.extend(left);
        for key in &new.values {
            match (before.provision.get(key), host.provision.get(key)) {
                (before, after) if before == after => continue,
                (Some(Value::Text(text)), _) => host.provision.set(key.as_str(), text.as_str()),
                (None, Some(_)) => drop(host.provision.remove(key)),
                _ => continue,
            }
            is_changed = true;
        }
    }
    is_changed
}

fn hosts_there(current: Current<'_>) -> BTreeMap<HostKey, There<'_>> {
    let layout = &current.record.layout;
    let objects: BTreeMap<i32, &Host> = current.pools.hosts.iter().map(|h| (h.id.0, h)).collect();
    let specs = current.spec.hosts.iter().enumerate();
    specs
        .filter_map(|(index, spec)| {
            let key = layout.host(index);
            let record = current.record.hosts.get(&key).filter(|host| !host.removed)?;
            let object = record.host_id.and_then(|id| objects.get(&id).copied());
            Some((key, There { spec, record, object }))
        })
        .collect()
}

/// Which hosts stay, by the host names of the template, and which ones go.
struct Chosen<'c> {
    kept: BTreeMap<&'c str, HostKey>,
    leaving: BTreeSet<HostKey>,
    notes: BTreeMap<HostKey, String>,
}

/// By name; but of hosts that are alike the ones go that are in trouble, or run no VM.
fn choose<'c>(there: &BTreeMap<HostKey, There<'c>>, wanted: &BTreeMap<&str, usize>) -> Chosen<'c> {
    let mut chosen =
        Chosen { kept: BTreeMap::new(), leaving: BTreeSet::new(), notes: BTreeMap::new() };
    let mut alike: BTreeMap<String, Vec<Vec<HostKey>>> = BTreeMap::new();
    for (key, host) in there {
        // What is being removed is not taken into use again.
        let stays = wanted.contains_key(host.spec.hostname.as_str()) && !host.record.removing;
        match stays {
            true => drop(chosen.kept.insert(host.spec.hostname.as_str(), *key)),
            false => drop(chosen.leaving.insert(*key)),
        }
        if host.record.removing {
            continue;
        }
        let groups = alike.entry(outline(host.spec)).or_default();
        let is_mine = |group: &&mut Vec<HostKey>| {
            let first = group.first().and_then(|first| there.get(first));
            first.is_some_and(|first| are_alike(first.spec, host.spec))
        };
        match groups.iter_mut().find(is_mine) {
            Some(group) => group.push(*key),
            None => groups.push(vec![*key]),
        }
    }
    if !chosen.leaving.is_empty() {
        for group in alike.into_values().flatten() {
            exchange(there, &group, &mut chosen);
        }
    }
    chosen
}

/// Lets the least useful hosts of a group go in the place of those whose names are gone.
fn exchange(there: &BTreeMap<HostKey, There<'_>>, group: &[HostKey], chosen: &mut Chosen<'_>) {
    let go = group.iter().filter(|key| chosen.leaving.contains(key)).count();
    let worth = |key: &HostKey| {
        let host = there.get(key);
        let trouble = host.is_some_and(There::is_troubled);
        (!trouble, host.map_or(0, There::vms), !chosen.leaving.contains(key))
    };
    let mut by_worth: Vec<HostKey> = group.to_vec();
    by_worth.sort_by_key(|key| (worth(key), std::cmp::Reverse(*key)));
    let leaving: BTreeSet<HostKey> = by_worth.into_iter().take(go).collect();
    let mut saved =
        group.iter().filter(|key| chosen.leaving.contains(key) && !leaving.contains(key));
    for key in group.iter().filter(|key| leaving.contains(key)) {
        let kept = chosen.kept.iter().find(|(_, kept)| *kept == key).map(|(name, _)| *name);
        let (Some(name), Some(instead)) = (kept, saved.next()) else { continue };
        chosen.kept.insert(name, *instead);
        let why = match there.get(key).is_some_and(There::is_troubled) {
            true => "it failed",
            false => "it runs no VM, or fewer",
        };
        let other = there.get(instead).map_or("", |host| host.spec.hostname.as_str());
        chosen.notes.insert(*key, format!("instead of {other}, which is alike: {why}"));
    }
    let before: Vec<HostKey> = group.to_vec();
    chosen.leaving.retain(|key| !before.contains(key));
    chosen.leaving.extend(leaving);
}

/// What hosts that are alike have in common, secrets masked.
fn outline(host: &HostSpec) -> String {
    let mut host = host.clone();
    host.provision.remove("HOSTNAME");
    host.provision.remove("HOST_KEY");
    let HostSpec { driver, im_mad, vm_mad, provision, connection, .. } = &host;
    format!("{driver} {im_mad} {vm_mad} {provision:?} {connection:?} {:?}", host.attributes)
}

/// Whether one host can take the other's place: only their names differ.
fn are_alike(one: &HostSpec, other: &HostSpec) -> bool {
    host_differences(one, other).is_empty()
}

fn host_differences(before: &HostSpec, after: &HostSpec) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut text = |path: &str, before: &str, after: &str| {
        if before != after {
            let (before, after) = (Some(before.to_owned()), Some(after.to_owned()));
            found.push(Difference::new(path, before, after));
        }
    };
    text("PM_MAD", &before.driver, &after.driver);
    text("IM_MAD", &before.im_mad, &after.im_mad);
    text("VM_MAD", &before.vm_mad, &after.vm_mad);
    found.extend(differences(&before.provision, &after.provision, "PROVISION"));
    let connection = (before.connection.resolved(), after.connection.resolved());
    found.extend(differences(&connection.0, &connection.1, "PROVISION_CONNECTION"));
    found.extend(differences(
        &one("configuration", &before.configuration),
        &one("configuration", &after.configuration),
        "",
    ));
    let steps = |host: &HostSpec| {
        host.steps.as_ref().map_or_else(Attributes::new, |steps| one("configure", steps))
    };
    found.extend(differences(&steps(before), &steps(after), ""));
    found.extend(differences(&before.attributes, &after.attributes, ""));
    // A host that stays in the place of another one keeps its name. The number is the tool's own, whatever
    // an earlier version kept of a template under that key.
    found.retain(|found| !["PROVISION/HOSTNAME", "PROVISION/HOST_KEY"].contains(&&*found.path));
    found
}

fn one(key: &str, value: &Value) -> Attributes {
    [(key.to_owned(), value.clone())].into_iter().collect()
}

/// Whether a host has to be made anew for this.
fn is_of_the_machine(difference: &Difference, host: &There<'_>) -> bool {
    let made = host.record.may_cost();
    match difference.path.as_str() {
        "IM_MAD" | "VM_MAD" => host.record.host_id.is_some(),
        "PM_MAD" => made,
        path => {
            let parameter = path.strip_prefix("PROVISION/");
            made && parameter
                .is_some_and(|name| !NOT_OF_THE_MACHINE.contains(&name) && !difference.is_secret())
        }
    }
}

fn created(host: &HostSpec) -> Change {
    Change {
        action: Action::Create,
        kind: Kind::Host,
        name: host.hostname.clone(),
        id: None,
        driver: Some(host.driver.clone()),
        machine: None,
        buys: true,
        destroys: false,
        in_use: 0,
        differences: all(&host.provision, "PROVISION"),
        note: None,
        subject: None,
    }
}

fn change(known: &There<'_>, host: &HostSpec) -> Change {
    Change {
        id: known.record.host_id,
        driver: Some(known.record.driver.clone()),
        machine: known.record.machine.id().cloned(),
        buys: false,
        subject: Some(Subject::Host(known.record.key)),
        ..created(host)
    }
}

/// Whether a host is still to be configured: unless nobody asked for that, one that is not enabled is,
/// as long as the last operation has not come to a good end.
fn awaits_configuration(host: &HostRecord, current: Current<'_>) -> bool {
    let record = current.record;
    let asked = record.create.as_ref().is_some_and(|create| !create.options.skip_config);
    asked && host.enlisted == Some(false) && !host.off && record.state != ProvisionState::Ready
}

fn unfinished_note(record: &HostRecord) -> Option<String> {
    match (&record.machine, &record.failure) {
        (Machine::Maybe { evidence }, _) => {
            Some(format!("whether its machine exists is not known: {evidence}"))
        }
        (_, Some(failure)) => Some(failure.clone()),
        _ => None,
    }
}
