//! The references of 6.x, `${…}`: how one is read.
//!
//! OpenNebula 6.x took everything between `${` and the next `}` for one, and refused what it did not
//! know. Templates of 5.x have shell variables there (`${HOME}`), so that here only what cannot be
//! one is refused.

use std::ops::Range;

use crate::check::names::nearest;
use crate::reference::{Late, ObjectKind};
use crate::yaml::compose::shorten;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text that stays as it is.
    Text(&'t str),
    /// To be replaced, or wrong; the range is that of `${…}` in bytes.
    Dollar(Dollar<'t>, Range<usize>),
}

/// What one `${…}` is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dollar<'t> {
    /// `${input.x}`.
    Input(&'t str),
    /// `${provision}`: the name.
    Provision,
    /// `${provision_id}`.
    ProvisionId,
    /// `${index}`.
    Index,
    /// `${updates.x}`: what is known only after the deployment.
    Late(Late),
    /// The same, and not known here.
    Updates,
    /// `${datastore.images.id}`.
    Object {
        /// `None` for a marketplace app, which is an image and a template.
        kind: Option<ObjectKind>,
        /// Name or number.
        key: &'t str,
        /// What of it.
        attribute: &'t str,
    },
    /// A reference that cannot be read: why.
    Wrong(String),
    /// None of these: text, and what may be said about it.
    Text(Option<String>),
}

/// The words for kinds of objects.
const KINDS: [(&str, Option<ObjectKind>); 8] = [
    ("cluster", Some(ObjectKind::Cluster)),
    ("datastore", Some(ObjectKind::Datastore)),
    ("host", Some(ObjectKind::Host)),
    ("image", Some(ObjectKind::Image)),
    ("network", Some(ObjectKind::Network)),
    ("template", Some(ObjectKind::Template)),
    ("vntemplate", Some(ObjectKind::Vntemplate)),
    ("marketplaceapp", None),
];

/// Words that stand alone.
const ALONE: [&str; 3] = ["provision", "provision_id", "index"];

/// Words before one further word.
const PAIRS: [&str; 2] = ["input", "updates"];

/// The parts of a text.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut done, mut at) = (0, 0);
    while let Some(open) = text.get(at..).and_then(|rest| rest.find("${")).map(|offset| at + offset)
    {
        let Some(length) = text.get(open..).and_then(|rest| rest.find('}')) else { break };
        let end = open + length + 1;
        if let Some(inner) = text.get(open + 2..end - 1) {
            if done < open {
                parts.extend(text.get(done..open).map(Part::Text));
            }
            parts.push(Part::Dollar(read(inner), open..end));
        }
        (done, at) = (end, end);
    }
    if done < text.len() {
        parts.extend(text.get(done..).map(Part::Text));
    }
    parts
}

/// Whether `${index}` stands in a text.
pub(super) fn has_index(text: &str) -> bool {
    text.contains("${index}")
}

fn read(inner: &str) -> Dollar<'_> {
    let words: Vec<&str> = inner.split('.').collect();
    match words.as_slice() {
        ["provision"] => Dollar::Provision,
        ["provision_id"] => Dollar::ProvisionId,
        ["index"] => Dollar::Index,
        [word] => Dollar::Text(
            nearest(word, ALONE)
                .map(|near| format!("'${{{word}}}' is kept as it is; did you mean '${{{near}}}'?")),
        ),
        ["input", ""] => Dollar::Wrong("there is no name after 'input.'".to_owned()),
        ["input", name] => Dollar::Input(name),
        ["updates", name] => Late::from_name(name).map_or(Dollar::Updates, Dollar::Late),
        [first, rest @ ..] => {
            if let Some((_, kind)) = KINDS.iter().find(|(word, _)| word == first) {
                return object(first, *kind, rest);
            }
            unknown(inner, first, rest.len())
        }
        [] => Dollar::Text(None),
    }
}

fn object<'t>(word: &str, kind: Option<ObjectKind>, rest: &[&'t str]) -> Dollar<'t> {
    let [key, attribute] = *rest else {
        return Dollar::Wrong(format!(
            "a reference to a {word} has three parts: '{word}', its name or number, and an \
             attribute, such as '${{{word}.0.id}}'"
        ));
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    for part in [key, attribute] {
        if part.is_empty() {
            return Dollar::Wrong(format!("a part of this reference to a {word} is empty"));
        }
        if let Some(c) = part.chars().find(|c| !plain(*c)) {
            return Dollar::Wrong(format!(
                "{c:?} cannot stand in a reference; a name in it has letters, digits, '_' and '-'"
            ));
        }
    }
    if !attribute.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Dollar::Wrong(format!("no attribute can be named '{}'", shorten(attribute)));
    }
    Dollar::Object { kind, key, attribute }
}

/// Several words with dots between them, of which the first is not known.
fn unknown<'t>(inner: &str, first: &str, further: usize) -> Dollar<'t> {
    let kinds = KINDS.iter().map(|(word, _)| *word);
    let known = PAIRS.into_iter().filter(|_| further == 1).chain(kinds);
    if let Some(near) = nearest(first, known) {
        return Dollar::Wrong(format!("'{}' is not known; did you mean '{near}'?", shorten(first)));
    }
    let name = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    let like_one = further < 3 && inner.split('.').all(name);
    Dollar::Text(like_one.then(|| {
        let (inner, first) = (shorten(inner), shorten(first));
        format!("'${{{inner}}}' is kept as it is: '{first}' is no kind of object that is known")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Dollar<'_> {
        match parts(text).pop() {
            Some(Part::Dollar(dollar, range)) if range == (0..text.len()) => dollar,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_known_is_read() {
        assert_eq!(only("${input.a-b}"), Dollar::Input("a-b"));
        assert_eq!(only("${provision}"), Dollar::Provision);
        assert_eq!(only("${provision_id}"), Dollar::ProvisionId);
        assert_eq!(only("${index}"), Dollar::Index);
        assert_eq!(only("${updates.first_host}"), Dollar::Late(Late::FirstHost));
        assert_eq!(only("${updates.default_ipv4_nic}"), Dollar::Late(Late::DefaultIpv4Nic));
        assert_eq!(only("${updates.ceph_secret}"), Dollar::Updates);
        assert_eq!(
            only("${datastore.test_images.id}"),
            Dollar::Object {
                kind: Some(ObjectKind::Datastore),
                key: "test_images",
                attribute: "id"
            }
        );
    }

    #[test]
    fn what_is_wrong_is_told_from_shell_variables() {
        for text in [
            "${cluster}x",
            "${cluster.0}",
            "${cluster.0.id.x}",
            "${cluster.a b.id}",
            "${input.}",
            "${inputs.x}",
            "${datastores.0.id}",
            "${cluster..id}",
            "${cluster.0.9}",
        ] {
            let text = text.trim_end_matches('x');
            let dollar = only(text);
            if text == "${cluster}" {
                assert_eq!(dollar, Dollar::Text(None));
            } else {
                assert!(matches!(dollar, Dollar::Wrong(_)), "{text} {dollar:?}");
            }
        }
        for text in ["${HOME}", "${PATH:-x}", "${}", "${a.b.c.d}", "${x y.z}"] {
            assert_eq!(only(text), Dollar::Text(None), "{text}");
        }
        for text in ["${provison}", "${foo.bar}", "${foo.0.id}"] {
            assert!(matches!(only(text), Dollar::Text(Some(_))), "{text}");
        }
    }

    #[test]
    fn texts_are_cut_at_the_right_places() {
        let text = "é${index}-${HOME";
        assert_eq!(
            parts(text),
            [Part::Text("é"), Part::Dollar(Dollar::Index, 2..10), Part::Text("-${HOME")]
        );
        assert_eq!(parts(""), []);
        assert_eq!(parts("$${index}}").len(), 3);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost(text in "(\\$\\{|\\}|\\.|input|cluster|0|id|é|x)*") {
            let mut out = String::new();
            for part in parts(&text) {
                match part {
                    Part::Text(part) => out.push_str(part),
                    Part::Dollar(_, range) => out.push_str(text.get(range).unwrap_or("?")),
                }
            }
            proptest::prop_assert_eq!(out, text);
        }
    }
}
