//! Two trees of attributes, compared.

use std::collections::BTreeSet;

use model::{Attributes, Value};
use serde::Serialize;
use template::reference::{Late, Reference};

/// A value that is not the same before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: `RESERVED_CPU`, `PROVISION/PLAN`, `AR[2]/SIZE`.
    pub path: String,
    /// The value before, secrets as `*****`; none if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether it is of a value that is known only when the hosts are there: such is written by itself.
    #[serde(skip)]
    pub(crate) late: bool,
    /// Whether it is nothing but white space at an end, which release 7 does not keep.
    #[serde(skip)]
    pub(super) trimmed: bool,
}

impl Difference {
    pub(super) fn new(path: &str, before: Option<String>, after: Option<String>) -> Self {
        Self { path: path.to_owned(), before, after, late: false, trimmed: false }
    }

    /// Whether a machine has to be configured anew for it.
    pub(super) fn is_of_configuration(&self) -> bool {
        matches!(self.path.as_str(), "ANSIBLE_PLAYBOOK" | "configuration" | "configure")
    }

    /// Whether it is the value of a secret that differs.
    pub(super) fn is_secret(&self) -> bool {
        self.before.as_deref().or(self.after.as_deref()) == Some(MASK)
    }
}

/// What stands for a secret.
pub(super) const MASK: &str = "*****";

/// What differs between two trees, in the order of the second one. A secret that is not known cannot
/// be compared, and counts as the same.
pub(super) fn differences(before: &Attributes, after: &Attributes, root: &str) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(before, after, root, &mut found);
    found
}

fn compare(before: &Attributes, after: &Attributes, root: &str, found: &mut Vec<Difference>) {
    let mut seen = BTreeSet::new();
    for (key, _) in after.iter().chain(before.iter()) {
        if !seen.insert(key) {
            continue;
        }
        let (old, new): (Vec<_>, Vec<_>) = (before.all(key).collect(), after.all(key).collect());
        let most = old.len().max(new.len());
        for index in 0..most {
            let path = match (root, most) {
                ("", 1) => key.to_owned(),
                ("", _) => format!("{key}[{}]", index + 1),
                (_, 1) => format!("{root}/{key}"),
                _ => format!("{root}/{key}[{}]", index + 1),
            };
            values(old.get(index).copied(), new.get(index).copied(), &path, found);
        }
    }
}

fn values(old: Option<&Value>, new: Option<&Value>, path: &str, found: &mut Vec<Difference>) {
    match (old, new) {
        (Some(Value::Withheld), Some(Value::Secret(_) | Value::Withheld))
        | (Some(Value::Secret(_)), Some(Value::Withheld)) => {}
        (Some(Value::Vector(old)), Some(Value::Vector(new))) => compare(old, new, path, found),
        (Some(Value::Secret(secret)), Some(Value::Text(text)))
        | (Some(Value::Text(text)), Some(Value::Secret(secret)))
            if secret.expose() == text => {}
        (old, new) if old == new => {}
        (old, new) => {
            let trimmed =
                |value: Option<&Value>| value?.expose().map(|text| text.trim().to_owned());
            let is_trimmed = trimmed(old).is_some() && trimmed(old) == trimmed(new);
            let difference = Difference::new(path, old.map(shown), new.map(shown));
            found.push(Difference { trimmed: is_trimmed, ..difference });
        }
    }
}

/// A value for people.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) if text.contains("<%=") => {
            // As people write it.
            let written = |text: String, late: &Late| {
                text.replace(&Reference::Late(*late).to_string(), &late.to_string())
            };
            Late::ALL.iter().fold(text.clone(), written)
        }
        Value::Text(text) => text.clone(),
        Value::Secret(_) | Value::Withheld => MASK.to_owned(),
        Value::Vector(inner) => {
            let pairs = inner.iter().map(|(key, value)| format!("{key}={}", shown(value)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What something is made with.
pub(super) fn all(attributes: &Attributes, root: &str) -> Vec<Difference> {
    differences(&Attributes::new(), attributes, root)
}

#[cfg(test)]
mod tests {
    use model::Secret;

    use super::*;

    fn tree(pairs: &[(&str, Value)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
    }

    #[test]
    fn values_are_compared_where_they_stand() {
        let before = tree(&[
            ("A", "1".into()),
            ("GONE", "x".into()),
            ("AR", tree(&[("SIZE", "2".into()), ("IP", "10.0.0.1".into())]).into()),
            ("TOKEN", Value::Secret(Secret::new("old"))),
            ("KEPT", Value::Withheld),
        ]);
        let after = tree(&[
            ("A", "2".into()),
            ("AR", tree(&[("SIZE", "2".into()), ("IP", "10.0.0.1".into())]).into()),
            ("AR", tree(&[("SIZE", "3".into())]).into()),
            ("TOKEN", Value::Secret(Secret::new("new"))),
            ("KEPT", Value::Secret(Secret::new("unknown"))),
        ]);
        let found = differences(&before, &after, "");
        let lines: Vec<String> = found
            .iter()
            .map(|d| format!("{} {:?} {:?}", d.path, d.before.as_deref(), d.after.as_deref()))
            .collect();
        assert_eq!(
            lines,
            [
                "A Some(\"1\") Some(\"2\")",
                "AR[2] None Some(\"[SIZE=3]\")",
                "TOKEN Some(\"*****\") Some(\"*****\")",
                "GONE Some(\"x\") None",
            ]
        );
        assert!(found[2].is_secret() && !found[0].is_secret());
        assert!(differences(&before, &before, "").is_empty());
    }
}
