//! Values that are known only when the hosts are there: what an update would make of them.

use journal::{Subject, VirtualKind};
use model::{Attributes, Value};
use template::reference::Late;
use template::spec::Spec;

use super::differences::{Difference, MASK, shown};
use super::{Action, Change, Current, Kind, Plan};
use crate::configuring::is_to_be_configured;
use crate::late::{Waiting, has, is_given, known_of, name_of, stays, waiting};
use crate::overview::Pools;
use crate::values::{Known, late_of};

/// Adds what differs to the changes of objects that are there; hosts are planned already.
pub(super) fn plan(current: Option<Current<'_>>, wanted: &Spec, plan: &mut Plan) {
    let Some(current) = current else { return };
    let hosts = &current.record.hosts;
    let first = hosts.get(&plan.layout.host(0)).filter(|host| !host.removed && !host.removing);
    let layout = plan.layout.clone();
    let waiting = waiting(wanted, &layout);
    if waiting.is_empty() {
        return;
    }
    let mut known = Known::of(wanted, current.record, &layout);
    known.set_late(Late::FirstHost, first.and_then(name_of).map(str::to_owned));
    let can_ask = first.is_some_and(|host| host.configuration.is_whole())
        && wanted.hosts.first().is_some_and(|host| is_to_be_configured(wanted, host));
    for object in waiting {
        let record = current.record.object(object.subject).filter(|record| !record.removed);
        let Some((record, id)) = record.and_then(|record| Some((record, record.id?))) else {
            continue;
        };
        let Some(there) = template_of(current.pools, object.subject, id) else { continue };
        let (values, _) = known_of(&object.attributes, &known);
        for (key, value) in &object.attributes {
            if stays(there, &object.attributes, key) {
                leave_out(plan, object.subject, key, record.outdated.is_some());
                continue;
            }
            let before = there.get(key).filter(|_| is_given(there, key)).map(|there| match value {
                // OpenNebula has it in clear.
                Value::Secret(_) | Value::Withheld => MASK.to_owned(),
                _ => shown(there),
            });
            let after = match values.get(key) {
                Some(value) if has(there, key, value) => None,
                Some(value) => Some(shown(value)),
                None => will_be_known(value, &known, before.is_some(), can_ask),
            };
            if after.is_some() {
                let difference = Difference::new(key, before, after);
                add(plan, &object, id, Difference { late: true, ..difference });
            }
        }
    }
}

/// Takes what stays as it is out of what the template alone tells of an object.
fn leave_out(plan: &mut Plan, subject: Subject, key: &str, is_outdated: bool) {
    for change in plan.changes.iter_mut().filter(|change| change.subject == Some(subject)) {
        change.differences.retain(|difference| difference.path != key);
    }
    plan.changes.retain(|change| {
        let is_it = change.subject == Some(subject) && change.action == Action::Change;
        !is_it || is_outdated || !change.differences.is_empty()
    });
}

/// What stands for a value that is not known yet, if it will be.
fn will_be_known(value: &Value, known: &Known, is_there: bool, can_ask: bool) -> Option<String> {
    let late = late_of(value);
    let waits_for_host = late.contains(&Late::FirstHost) && !known.has_late(Late::FirstHost);
    let asks = late.contains(&Late::DefaultIpv4Nic) && !is_there && can_ask;
    (waits_for_host || asks).then(|| shown(value))
}

fn template_of(pools: &Pools, subject: Subject, id: i32) -> Option<&Attributes> {
    match subject {
        Subject::Cluster => pools.clusters.iter().find(|c| c.id.0 == id).map(|c| &c.template),
        Subject::Datastore(_) => {
            pools.datastores.iter().find(|d| d.id.0 == id).map(|d| &d.template)
        }
        Subject::Network(_) => pools.vnets.iter().find(|n| n.id.0 == id).map(|n| &n.template),
        Subject::Virtual(VirtualKind::Image, _) => {
            pools.images.iter().find(|i| i.id.0 == id).map(|i| &i.template)
        }
        Subject::Virtual(VirtualKind::Template, _) => {
            pools.templates.iter().find(|t| t.id.0 == id).map(|t| &t.template)
        }
        Subject::Virtual(VirtualKind::Vntemplate, _) => {
            pools.vntemplates.iter().find(|t| t.id.0 == id).map(|t| &t.template)
        }
        Subject::Virtual(VirtualKind::Flowtemplate, _) | Subject::Secrets | Subject::Host(_) => {
            None
        }
    }
}

/// Adds a difference to an object's change, in place of what the template alone tells of it.
fn add(plan: &mut Plan, object: &Waiting<'_>, id: i32, difference: Difference) {
    let is_it = |change: &&mut Change| change.subject == Some(object.subject);
    if let Some(change) = plan.changes.iter_mut().find(is_it) {
        change.differences.retain(|known| known.path != difference.path);
        change.differences.push(difference);
        return;
    }
    let kind = match object.subject {
        Subject::Datastore(_) => Kind::Datastore,
        Subject::Network(_) => Kind::Network,
        Subject::Virtual(VirtualKind::Image, _) => Kind::Image,
        Subject::Virtual(VirtualKind::Template, _) => Kind::Template,
        Subject::Virtual(VirtualKind::Vntemplate, _) => Kind::Vntemplate,
        Subject::Virtual(VirtualKind::Flowtemplate, _) => Kind::Flowtemplate,
        Subject::Cluster | Subject::Secrets | Subject::Host(_) => Kind::Cluster,
    };
    // Behind what is shown of its kind.
    let place = plan.changes.partition_point(|change| change.kind <= kind);
    let change = Change {
        action: Action::Change,
        kind,
        name: object.name.to_owned(),
        id: Some(id),
        driver: None,
        machine: None,
        buys: false,
        destroys: false,
        in_use: 0,
        differences: vec![difference],
        note: None,
        subject: Some(object.subject),
    };
    plan.changes.insert(place, change);
}
