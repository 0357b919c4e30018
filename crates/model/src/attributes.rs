//! The tree of an OpenNebula template, and its XML form.
//!
//! A template is an ordered list of `KEY = value`, where a value is a text or a vector of further
//! pairs; a key may occur more than once (`DISK`, `NIC`, `AR`). OpenNebula itself keeps one level of
//! vectors (`src/template/Template.cc`, releases 5.8 to 7.4); answers nest deeper, and so can this
//! tree.
//!
//! The XML form is the one that keeps every value (the text form cannot: inside its quotes only
//! `\"` is an escape, and a value that ends in a backslash is a syntax error). It is used in calls,
//! in answers and in the deployment file.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::Secret;

/// One value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Plain text, possibly with line breaks.
    Text(String),
    /// A text that may not be printed or stored in clear.
    Secret(Secret),
    /// A secret whose value is not here: it was read back from a place that keeps none, such as the
    /// journal.
    Withheld,
    /// Nested pairs.
    Vector(Attributes),
}

impl Value {
    /// The text of a plain or secret value, else `None`.
    pub fn expose(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Secret(secret) => Some(secret.expose()),
            Self::Withheld | Self::Vector(_) => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Secret> for Value {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<Attributes> for Value {
    fn from(attributes: Attributes) -> Self {
        Self::Vector(attributes)
    }
}

/// An ordered list of attributes; keys may repeat.
///
/// ```
/// use model::Attributes;
///
/// let mut template = Attributes::new();
/// template.push("PM_MAD", "packet");
/// template.vector_mut("PROVISION").set("PLAN", "baremetal_0");
/// assert_eq!(template.text("PROVISION/PLAN"), Some("baremetal_0"));
/// ```
///
/// A copy is shared with what it was made of until one of them is changed: of a thousand hosts most things are
/// the same in the deployment file and in the host object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Arc<Vec<(String, Value)>>);

impl Attributes {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no attribute at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of attributes of this level.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All attributes in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// All attributes in their order, values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.own().iter_mut().map(|(key, value)| (key.as_str(), value))
    }

    /// Appends an attribute, also if the key is already there.
    pub fn push(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.own().push((key.into(), value.into()));
    }

    /// Sets an attribute: takes the place of the first of that key and removes further ones.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        let pairs = self.own();
        match pairs.iter().position(|(k, _)| *k == key) {
            Some(first) => {
                let mut index = 0;
                pairs.retain(|(k, _)| {
                    index += 1;
                    index - 1 == first || *k != key
                });
                pairs[first].1 = value;
            }
            None => pairs.push((key, value)),
        }
    }

    /// Removes every attribute of that key; true if there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let there = self.0.iter().any(|(k, _)| k == key);
        if there {
            self.own().retain(|(k, _)| k != key);
        }
        there
    }

    /// The first value of a key. `A/B` goes down into vectors, as OpenNebula's own tools write it.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let (head, rest) = match path.split_once('/') {
            Some((head, rest)) => (head, Some(rest)),
            None => (path, None),
        };
        let mut values = self.all(head);
        match rest {
            None => values.next(),
            Some(rest) => values.find_map(|value| match value {
                Value::Vector(inner) => inner.get(rest),
                _ => None,
            }),
        }
    }

    /// The first plain text of a path (see [`Attributes::get`]); `None` for vectors and secrets.
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.get(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// All values of a key of this level.
    pub fn all<'a, 'k>(&'a self, key: &'k str) -> impl Iterator<Item = &'a Value> + use<'a, 'k> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, value)| value)
    }

    /// The first vector of a key, made if there is none.
    pub fn vector_mut(&mut self, key: &str) -> &mut Attributes {
        let found = self.0.iter().position(|(k, v)| k == key && matches!(v, Value::Vector(_)));
        let index = found.unwrap_or_else(|| {
            self.push(key, Attributes::new());
            self.0.len() - 1
        });
        match &mut self.own()[index].1 {
            Value::Vector(inner) => inner,
            // `index` was chosen by this very pattern.
            _ => unreachable!("position of a vector"),
        }
    }

    /// The pairs, for this copy alone.
    fn own(&mut self) -> &mut Vec<(String, Value)> {
        Arc::make_mut(&mut self.0)
    }

    /// Whether a value anywhere in the tree is [`Value::Withheld`].
    pub fn has_withheld(&self) -> bool {
        self.has(&|value| matches!(value, Value::Withheld))
    }

    /// Whether a value anywhere in the tree is a [`Value::Secret`].
    pub fn has_secret(&self) -> bool {
        self.has(&|value| matches!(value, Value::Secret(_)))
    }

    fn has(&self, wanted: &dyn Fn(&Value) -> bool) -> bool {
        self.0.iter().any(|(_, value)| match value {
            Value::Vector(inner) => inner.has(wanted),
            value => wanted(value),
        })
    }

    /// The tree as XML, `<root>…</root>`, secrets in clear.
    ///
    /// Every value stands in CDATA. Empty vectors and empty texts are kept (OpenNebula drops them). A
    /// carriage return becomes a line feed, as any XML reader would make of it.
    ///
    /// # Errors
    /// A key that is no XML name, a value that OpenNebula cannot store ([`unstorable`]), or a withheld
    /// secret.
    pub fn to_xml(&self, root: &str) -> Result<String, XmlError> {
        let mut out = String::new();
        self.write_xml(root, &mut out)?;
        Ok(out)
    }

    fn write_xml(&self, tag: &str, out: &mut String) -> Result<(), XmlError> {
        check_key(tag)?;
        // Writing to a String cannot fail.
        let _ = write!(out, "<{tag}>");
        for (key, value) in self.0.iter() {
            match value {
                Value::Vector(inner) => inner.write_xml(key, out)?,
                Value::Withheld => return Err(XmlError::Withheld { key: key.clone() }),
                Value::Text(text) => write_text(key, text, out)?,
                Value::Secret(secret) => write_text(key, secret.expose(), out)?,
            }
        }
        let _ = write!(out, "</{tag}>");
        Ok(())
    }

    /// The same tree as text that people and line tools read: an element per line, two blanks per
    /// level, entities instead of CDATA. A value with line feeds runs over several lines.
    ///
    /// # Errors
    /// A key that is no XML name, a character that XML 1.0 cannot carry, or a withheld secret.
    pub fn to_indented_xml(&self, root: &str) -> Result<String, XmlError> {
        let mut out = String::new();
        self.write_indented(root, 0, &mut out)?;
        Ok(out)
    }

    fn write_indented(&self, tag: &str, level: usize, out: &mut String) -> Result<(), XmlError> {
        check_key(tag)?;
        let indent = "  ".repeat(level);
        // Writing to a String cannot fail.
        if self.0.is_empty() {
            // Blanks between the tags would be read as its text.
            let _ = writeln!(out, "{indent}<{tag}></{tag}>");
            return Ok(());
        }
        let _ = writeln!(out, "{indent}<{tag}>");
        for (key, value) in self.0.iter() {
            let text = match value {
                Value::Vector(inner) => {
                    inner.write_indented(key, level + 1, out)?;
                    continue;
                }
                Value::Withheld => return Err(XmlError::Withheld { key: key.clone() }),
                Value::Text(text) => text.as_str(),
                Value::Secret(secret) => secret.expose(),
            };
            let text = escape(&carried(key, text)?);
            let _ = writeln!(out, "{indent}  <{key}>{text}</{key}>");
        }
        let _ = writeln!(out, "{indent}</{tag}>");
        Ok(())
    }

    /// Reads the children of an XML element as attributes: an element with child elements is a
    /// vector, any other a text.
    pub fn from_xml(element: roxmltree::Node<'_, '_>) -> Self {
        let pair = |child: roxmltree::Node<'_, '_>| {
            let value = if child.children().any(|c| c.is_element()) {
                Value::Vector(Self::from_xml(child))
            } else {
                Value::Text(element_text(child))
            };
            (child.tag_name().name().to_owned(), value)
        };
        element.children().filter(roxmltree::Node::is_element).map(pair).collect()
    }
}

/// All text of an element, several CDATA sections joined.
pub fn element_text(element: roxmltree::Node<'_, '_>) -> String {
    element.children().filter_map(|node| node.is_text().then(|| node.text()).flatten()).collect()
}

impl FromIterator<(String, Value)> for Attributes {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(pairs: T) -> Self {
        Self(Arc::new(pairs.into_iter().collect()))
    }
}

impl IntoIterator for Attributes {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

/// Why a tree cannot be written as XML.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum XmlError {
    /// The key cannot be an element name.
    #[error(
        "attribute name {key:?} may have only letters, digits, '_', '-' and '.', and may not begin with a digit"
    )]
    Key {
        /// The key as given.
        key: String,
    },
    /// The value has something that cannot be written, or not be stored.
    #[error("the value of {key} contains {what}, which OpenNebula cannot store")]
    Unstorable {
        /// Key of the value.
        key: String,
        /// What that is.
        what: Unstorable,
    },
    /// The value is not known here.
    #[error("the value of {key} is a secret that is not stored here")]
    Withheld {
        /// Key of the value.
        key: String,
    },
}

/// What OpenNebula cannot store in a value.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Unstorable {
    /// XML 1.0 has no way to write this character.
    #[error("the control character U+{:04X}", u32::from(*.0))]
    Control(char),
    /// It lies beyond the Basic Multilingual Plane, like emoji do. The XML-RPC library of OpenNebula
    /// refuses the whole call, also if the character is written as a reference (tried with 6.10 and 7.4).
    #[error("the character U+{:X}", u32::from(*.0))]
    Plane(char),
    /// OpenNebula keeps each value in CDATA as it is, without splitting this. The object cannot be read
    /// back then, and `update` keeps nothing of it and says that it did (tried with 6.10 and 7.4).
    #[error("']]>'")]
    CdataEnd,
}

/// The first thing of a value that OpenNebula cannot store.
pub fn unstorable(text: &str) -> Option<Unstorable> {
    let wrong = text.chars().find_map(|c| match c {
        c if is_control(c) => Some(Unstorable::Control(c)),
        '\u{10000}'.. => Some(Unstorable::Plane(c)),
        _ => None,
    });
    wrong.or_else(|| text.contains("]]>").then_some(Unstorable::CdataEnd))
}

/// Whether XML 1.0 has no way to write it.
fn is_control(c: char) -> bool {
    (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

fn check_key(key: &str) -> Result<(), XmlError> {
    if is_key(key) { Ok(()) } else { Err(XmlError::Key { key: key.to_owned() }) }
}

/// Whether a key can be the name of an element.
pub fn is_key(key: &str) -> bool {
    let mut chars = key.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn write_text(key: &str, text: &str, out: &mut String) -> Result<(), XmlError> {
    check_key(key)?;
    if let Some(what) = unstorable(text) {
        return Err(XmlError::Unstorable { key: key.to_owned(), what });
    }
    let _ = write!(out, "<{key}><![CDATA[{}]]></{key}>", without_returns(text));
    Ok(())
}

/// The value of a key as XML can carry it.
fn carried(key: &str, text: &str) -> Result<String, XmlError> {
    check_key(key)?;
    if let Some(c) = text.chars().find(|c| is_control(*c)) {
        return Err(XmlError::Unstorable { key: key.to_owned(), what: Unstorable::Control(c) });
    }
    Ok(without_returns(text))
}

fn without_returns(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Texts as strings, vectors as lists of `[key, value]`, secrets as `{"secret":"*****"}`: the form
/// of journal and dumps, which may never hold a secret.
impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for pair in self.0.iter() {
            seq.serialize_element(pair)?;
        }
        seq.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Vector(inner) => inner.serialize(serializer),
            Self::Secret(_) | Self::Withheld => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("secret", crate::secret::MASK)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<(String, Value)>::deserialize(deserializer).map(|pairs| Self(Arc::new(pairs)))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text, a list of pairs, or a masked secret")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut inner = Attributes::new();
                while let Some((key, value)) = seq.next_element::<(String, Value)>()? {
                    inner.push(key, value);
                }
                Ok(Value::Vector(inner))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<String, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Value::Withheld)
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Attributes {
        let mut inner = Attributes::new();
        inner.push("PACKET_TOKEN", Secret::new("tok"));
        inner.push("PLAN", "baremetal_0");
        let mut all = Attributes::new();
        all.push("NOTE", "a \"q\" \\ ]] > é \u{FFFD} <&>\nline2");
        all.push("PROVISION", inner);
        all.push("AR", Attributes::from_iter([("SIZE".to_owned(), "1".into())]));
        all.push("AR", Attributes::from_iter([("SIZE".to_owned(), "2".into())]));
        all
    }

    #[test]
    fn a_copy_that_is_changed_changes_nothing_else() {
        let all = sample();
        let mut copy = all.clone();
        copy.vector_mut("PROVISION").set("PLAN", "other");
        assert!(copy.remove("NOTE") && !copy.remove("NOTE"));
        assert_eq!((copy.text("PROVISION/PLAN"), copy.text("NOTE")), (Some("other"), None));
        assert_eq!(all, sample());
        let mut copy = all.clone();
        copy.iter_mut().for_each(|(_, value)| *value = Value::Withheld);
        assert!(copy.has_withheld() && !copy.has_secret());
        assert!(all.has_secret() && !all.has_withheld());
        assert_eq!(all.clone().into_iter().count(), all.len());
        assert_eq!(all, sample());
    }

    #[test]
    fn xml_keeps_every_value() {
        let xml = sample().to_xml("TEMPLATE").unwrap();
        let doc = roxmltree::Document::parse(&xml).unwrap();
        let back = Attributes::from_xml(doc.root_element());
        assert_eq!(back.text("NOTE"), sample().text("NOTE"));
        assert_eq!(back.text("PROVISION/PACKET_TOKEN"), Some("tok"));
        assert_eq!(back.all("AR").count(), 2);
    }

    #[test]
    fn indented_xml_keeps_every_value_too() {
        let mut all = sample();
        all.push("EMPTY", Attributes::new());
        all.push("BLANKS", "  a  ");
        let xml = all.to_indented_xml("TEMPLATE").unwrap();
        let doc = roxmltree::Document::parse(&xml).unwrap();
        let mut plain = sample();
        plain.push("EMPTY", "");
        plain.push("BLANKS", "  a  ");
        let compact = plain.to_xml("TEMPLATE").unwrap();
        let compact = roxmltree::Document::parse(&compact).unwrap();
        assert_eq!(
            Attributes::from_xml(doc.root_element()),
            Attributes::from_xml(compact.root_element())
        );
        assert!(xml.contains("\n    <PACKET_TOKEN>tok</PACKET_TOKEN>\n"), "{xml}");
        let bad = Attributes::from_iter([("A".to_owned(), "x\u{1}".into())]).to_indented_xml("T");
        let what = Unstorable::Control('\u{1}');
        assert_eq!(bad, Err(XmlError::Unstorable { key: "A".into(), what }));
        // A driver can be given what OpenNebula does not store.
        let odd = Attributes::from_iter([("A".to_owned(), "]]> \u{1F600}".into())]);
        let xml = odd.to_indented_xml("T").unwrap();
        assert_eq!(xml, "<T>\n  <A>]]&gt; \u{1F600}</A>\n</T>\n");
    }

    #[test]
    fn what_opennebula_cannot_store_is_refused_by_name() {
        let one = |key: &str, text: &str| {
            Attributes::from_iter([(key.to_owned(), text.into())]).to_xml("T")
        };
        for (text, what) in [
            ("x\u{1}", Unstorable::Control('\u{1}')),
            ("]]> x\u{1F600}", Unstorable::Plane('\u{1F600}')),
            ("x]]>", Unstorable::CdataEnd),
        ] {
            assert_eq!(one("A", text), Err(XmlError::Unstorable { key: "A".into(), what }));
        }
        assert!(one("A", "]] > \u{FFFD}").is_ok());
        assert_eq!(one("9A", "x"), Err(XmlError::Key { key: "9A".into() }));
        assert_eq!(one("A", "a\r\nb").unwrap(), "<T><A><![CDATA[a\nb]]></A></T>");
    }

    #[test]
    fn json_holds_no_secret_and_says_that_it_does_not() {
        let json = serde_json::to_string(&sample()).unwrap();
        assert!(!json.contains("tok\""), "{json}");
        let back: Attributes = serde_json::from_str(&json).unwrap();
        assert!(back.has_withheld() && !sample().has_withheld());
        assert!(
            matches!(back.to_xml("T"), Err(XmlError::Withheld { key }) if key == "PACKET_TOKEN")
        );
    }

    #[test]
    fn set_replaces_all_of_a_key_in_place() {
        let mut all = sample();
        all.set("AR", "x");
        assert_eq!(all.iter().map(|(k, _)| k).collect::<Vec<_>>(), ["NOTE", "PROVISION", "AR"]);
        assert_eq!(all.text("AR"), Some("x"));
    }
}
