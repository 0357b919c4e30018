//! What `extends` does: a base and a template that overrides it become one tree.
//!
//! The rules are those of 5.12: single values and groups of the child replace those of the base;
//! lists of the same key are joined, base first; so are playbooks, one or many, and the lists of
//! `configure`; the three groups of `defaults` are each merged key by key. Nothing (`hosts:`) of the
//! child is a single value like any other: it takes away what the base has. Only of playbooks and of
//! the groups of `defaults`, which are put together whatever the child says, it takes nothing away.

use crate::yaml::{Entry, Kind, Node};

/// The groups of `defaults` that are merged key by key.
pub(crate) const SECTIONS: [&str; 3] = ["provision", "connection", "configuration"];

/// Merges the top level of `child` over that of `base`.
pub(crate) fn merge(base: Vec<Entry>, child: Vec<Entry>) -> Vec<Entry> {
    overlay(base, child, |name, below, above| match name {
        "playbook" | "defaults" if above.is_null() => below,
        "playbook" if !below.is_null() => join(as_list(below), as_list(above)),
        "defaults" => match (below.kind, above.kind) {
            (Kind::Map(base), Kind::Map(child)) => {
                Node { span: above.span, kind: Kind::Map(merge_defaults(base, child)) }
            }
            (_, kind) => Node { span: above.span, kind },
        },
        "configure" => match (below.kind, above.kind) {
            (Kind::Map(base), Kind::Map(child)) => {
                let merged = overlay(base, child, |_, below, above| join_lists(below, above));
                Node { span: above.span, kind: Kind::Map(merged) }
            }
            (_, kind) => Node { span: above.span, kind },
        },
        _ => join_lists(below, above),
    })
}

/// Two lists as one; anything else of the child takes the base's place.
fn join_lists(below: Node, above: Node) -> Node {
    match (&below.kind, &above.kind) {
        (Kind::List(_), Kind::List(_)) => join(below, above),
        _ => above,
    }
}

fn merge_defaults(base: Vec<Entry>, child: Vec<Entry>) -> Vec<Entry> {
    overlay(base, child, |name, below, above| {
        if !SECTIONS.contains(&name) {
            return above;
        }
        if above.is_null() {
            return below;
        }
        match (below.kind, above.kind) {
            (Kind::Map(base), Kind::Map(child)) => {
                let merged = match name {
                    "configuration" => overlay_variables(base, child),
                    _ => overlay(base, child, |_, _, above| above),
                };
                Node { span: above.span, kind: Kind::Map(merged) }
            }
            (_, kind) => Node { span: above.span, kind },
        }
    })
}

/// Puts `child` over `base`: order of the base, then new keys. Nothing (`~`) overrides as in 5.12 and
/// 6.10, so that a parameter of `defaults` or the hosts of a base can be taken away. Names are compared without regard to case, as OpenNebula's attributes are.
pub(crate) fn overlay(
    base: Vec<Entry>,
    child: Vec<Entry>,
    both: impl Fn(&str, Node, Node) -> Node,
) -> Vec<Entry> {
    overlay_by(base, child, str::to_lowercase, both)
}

/// The same of Ansible's variables, whose names have case.
pub(crate) fn overlay_variables(base: Vec<Entry>, child: Vec<Entry>) -> Vec<Entry> {
    overlay_by(base, child, str::to_owned, |_, _, above| above)
}

fn overlay_by(
    base: Vec<Entry>,
    child: Vec<Entry>,
    same: fn(&str) -> String,
    both: impl Fn(&str, Node, Node) -> Node,
) -> Vec<Entry> {
    let mut out: Vec<Option<Entry>> = base.into_iter().map(Some).collect();
    let mut places: std::collections::HashMap<String, usize> = out
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| Some((same(entry.as_ref()?.name()), index)))
        .collect();
    for above in child {
        let name = same(above.name());
        match places.get(&name).and_then(|index| out.get_mut(*index)) {
            Some(slot) => {
                let merged = match slot.take() {
                    Some(below) => {
                        let value = both(&name, below.value, above.value);
                        Entry { key: above.key, key_span: above.key_span, value }
                    }
                    None => above,
                };
                *slot = Some(merged);
            }
            None => {
                places.insert(name, out.len());
                out.push(Some(above));
            }
        }
    }
    out.into_iter().flatten().collect()
}

fn as_list(node: Node) -> Node {
    match node.kind {
        Kind::List(_) => node,
        kind => Node { span: node.span, kind: Kind::List(vec![Node { span: node.span, kind }]) },
    }
}

pub(crate) fn join(base: Node, child: Node) -> Node {
    match (base.kind, child.kind) {
        (Kind::List(mut items), Kind::List(more)) => {
            items.extend(more);
            Node { span: child.span, kind: Kind::List(items) }
        }
        (_, kind) => Node { span: child.span, kind },
    }
}
