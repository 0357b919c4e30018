//! Images and templates, those of marketplace apps among them.

use std::collections::BTreeMap;

use journal::{Layout, Subject, VirtualKind};
use model::{Attributes, Value};
use template::spec::{Spec, VirtualKind as Section, VirtualSpec};

use super::differences::{Difference, differences};
use super::objects::{meta_differences, state};
use super::{Action, Change, Current, Kind, Plan};
use crate::virtuals::{Entry, OF_THE_APP, OF_THE_FILE, entries};

pub(super) fn plan(current: Option<Current<'_>>, wanted: &Spec, plan: &mut Plan) {
    let new = entries(wanted, &Layout::default());
    let Some(current) = current else {
        plan.changes.extend(new.iter().map(|entry| change(Action::Create, entry, None)));
        return;
    };
    let mut before: BTreeMap<(VirtualKind, &str), Entry<'_>> = BTreeMap::new();
    for entry in entries(current.spec, &current.record.layout) {
        let is_there = current.record.object(entry.subject).is_some_and(|record| !record.removed);
        if is_there {
            before.insert((entry.kind, entry.name), entry);
        }
    }
    for entry in &new {
        let numbers = plan.layout.virtuals.entry(entry.kind).or_default();
        let known = before.remove(&(entry.kind, entry.name));
        let Some((known, record)) = known.and_then(|known| {
            let record = current.record.object(known.subject)?;
            Some((known, record))
        }) else {
            let taken = current.record.virtuals.get(&entry.kind);
            let last = taken.and_then(|objects| objects.keys().next_back().copied());
            let last = last.max(numbers.iter().copied().max());
            numbers.push(last.map_or(0, |last| last + 1));
            plan.changes.push(change(Action::Create, entry, None));
            continue;
        };
        if let Subject::Virtual(_, number) = known.subject {
            numbers.push(number);
        }
        let mut found = entry_differences(known.spec, entry.spec);
        let origin = &known.spec.origin;
        found.retain(|difference| current.counts(origin, difference));
        if !current.is_exact(origin) {
            // Of these, what OpenNebula keeps is not what it was given.
            let is_app = entry.spec.kind == Section::MarketplaceApp;
            found.retain(|difference| {
                let path = difference.path.as_str();
                let is_given_once =
                    OF_THE_FILE.contains(&path) || is_app && OF_THE_APP.contains(&path);
                path != "BODY" && !is_given_once
            });
        }
        if let Some(refused) = refusal(entry, &found) {
            // An app is an image and a template.
            if !plan.refused.contains(&refused) {
                plan.refused.push(refused);
            }
            continue;
        }
        if let Some((action, differences)) = state(record, found) {
            let change = change(action, entry, Some(known.subject));
            plan.changes.push(Change { id: record.id, differences, ..change });
        }
    }
    for entry in before.into_values() {
        let id = current.record.object(entry.subject).and_then(|record| record.id);
        let change = change(Action::Destroy, &entry, Some(entry.subject));
        plan.changes.push(Change { id, differences: Vec::new(), ..change });
    }
}

/// Why this cannot be changed in place.
fn refusal(entry: &Entry<'_>, found: &[Difference]) -> Option<String> {
    let (name, origin) = (entry.name, &entry.spec.origin);
    let first = found.first()?;
    if entry.spec.kind == Section::MarketplaceApp {
        return Some(format!(
            "{origin}: {} of marketplace app {:?} differs: it was exported once, and is not \
             exported anew under the same name",
            first.path, entry.spec.name
        ));
    }
    let of_the_file = |difference: &&Difference| OF_THE_FILE.contains(&difference.path.as_str());
    let first = found.iter().find(of_the_file).filter(|_| entry.kind == VirtualKind::Image)?;
    Some(format!(
        "{origin}: {} of image {name:?} differs: an image keeps what it was made from; give the new one \
         another name",
        first.path
    ))
}

fn entry_differences(before: &VirtualSpec, after: &VirtualSpec) -> Vec<Difference> {
    let mut found = differences(&before.attributes, &after.attributes, "");
    found.extend(differences(&body(before), &body(after), ""));
    found.extend(meta_differences(before.meta.as_ref(), after.meta.as_ref()));
    found
}

fn body(spec: &VirtualSpec) -> Attributes {
    let pair = |body: &Value| ("BODY".to_owned(), body.clone());
    spec.body.iter().map(pair).collect()
}

fn change(action: Action, entry: &Entry<'_>, subject: Option<Subject>) -> Change {
    let kind = match entry.kind {
        VirtualKind::Image => Kind::Image,
        VirtualKind::Template => Kind::Template,
        VirtualKind::Vntemplate => Kind::Vntemplate,
        VirtualKind::Flowtemplate => Kind::Flowtemplate,
    };
    Change {
        action,
        kind,
        name: entry.name.to_owned(),
        id: None,
        driver: None,
        machine: None,
        buys: false,
        destroys: false,
        in_use: 0,
        differences: Vec::new(),
        note: None,
        subject,
    }
}
