//! Templates as `oned` keeps them: what is read of a request, how updates are merged, and the form
//! in which they are stored and answered (`src/template/Template.cc`, 6.10 and 7.4).

use std::collections::BTreeMap;

use model::attributes::element_text;
use model::{Attributes, Value};
use opennebula::text;
use roxmltree::Node;

/// Reads the template of a request, in XML if its first character is `<`, else in the text form.
///
/// Keys become upper case, attributes are sorted by key, and vectors hold each key once. Of XML one
/// level of vectors is read, and elements without content are dropped.
///
/// # Errors
/// The words of `oned`, `Parse error: …`.
pub(crate) fn parse(source: &str) -> Result<Attributes, String> {
    let read = if source.starts_with('<') {
        parse_xml(source)?
    } else {
        text::parse(source).map_err(|error| match error.oned_text() {
            Some(words) => format!("Parse error: {words}"),
            None => "Parse error: Unknown error.".to_owned(),
        })?
    };
    Ok(text::sorted(read))
}

fn parse_xml(source: &str) -> Result<Attributes, String> {
    let malformed = || "Parse error: XML Template malformed.".to_owned();
    let doc = roxmltree::Document::parse(source).map_err(|_| malformed())?;
    Ok(elements(doc.root_element())
        .filter_map(|element| {
            let key = element.tag_name().name().to_ascii_uppercase();
            let value = if elements(element).next().is_some() {
                // The last of a key wins, as with `VectorAttribute::replace`.
                let unique: BTreeMap<String, Value> = elements(element)
                    .filter(|inner| elements(*inner).next().is_none())
                    .map(|inner| {
                        (inner.tag_name().name().to_ascii_uppercase(), element_text(inner))
                    })
                    .filter(|(_, text)| !text.is_empty())
                    .map(|(key, text)| (key, Value::Text(text)))
                    .collect();
                Value::Vector(unique.into_iter().collect())
            } else {
                match element_text(element) {
                    text if text.is_empty() => return None,
                    text => Value::Text(text),
                }
            };
            Some((key, value))
        })
        .collect())
}

fn elements<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children().filter(Node::is_element)
}

/// An update that appends: every key of `new` takes the place of all its old values. An empty
/// vector removes the key.
pub(crate) fn merge(old: Attributes, new: Attributes) -> Attributes {
    let mut merged = old;
    for (key, _) in new.iter() {
        merged.remove(key);
    }
    for (key, value) in new {
        if !matches!(&value, Value::Vector(inner) if inner.is_empty()) {
            merged.push(key, value);
        }
    }
    text::sorted(merged)
}

/// The children of `TEMPLATE` as XML; `None` if a key or a character has no place in XML.
pub(crate) fn to_inner(template: &Attributes) -> Option<String> {
    const ROOT: &str = "T";
    let xml = template.to_xml(ROOT).ok()?;
    let inner = xml.strip_prefix("<T>")?.strip_suffix("</T>")?;
    Some(inner.to_owned())
}

/// Reads what [`to_inner`] wrote.
pub(crate) fn from_inner(inner: &str) -> Option<Attributes> {
    let xml = format!("<T>{inner}</T>");
    let options = roxmltree::ParsingOptions { nodes_limit: u32::MAX, ..Default::default() };
    let doc = roxmltree::Document::parse_with_options(&xml, options).ok()?;
    // An empty vector and an empty text look the same in XML but for the CDATA section, which the
    // reader does not show; both mean the same to whom they are answered.
    Some(Attributes::from_xml(doc.root_element()))
}

/// The first value of a key if it is a text; vectors do not count.
pub(crate) fn text_of<'a>(template: &'a Attributes, key: &'a str) -> &'a str {
    template
        .all(key)
        .find_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
        .unwrap_or_default()
}

/// Removes a key and gives its first text.
pub(crate) fn take(template: &mut Attributes, key: &str) -> String {
    let text = text_of(template, key).to_owned();
    template.remove(key);
    text
}

/// Sets a text in the place of all old values of the key.
pub(crate) fn replace(template: &mut Attributes, key: &str, value: &str) {
    template.set(key, value);
}

/// Whether a text means yes, as `SHARED = "YES"` does.
pub(crate) fn is_yes(text: &str) -> bool {
    text.eq_ignore_ascii_case("yes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inner(source: &str) -> String {
        to_inner(&parse(source).unwrap()).unwrap()
    }

    #[test]
    fn text_and_xml_mean_the_same() {
        let text = "b=[ z=\"1\", a=\"2\" ]\nA=\"x <&> ]\"";
        let xml =
            "<TEMPLATE><b><z>1</z><a><![CDATA[2]]></a></b><A>x &lt;&amp;&gt; ]</A></TEMPLATE>";
        let expected = "<A><![CDATA[x <&> ]]]></A><B><A><![CDATA[2]]></A><Z><![CDATA[1]]></Z></B>";
        assert_eq!(inner(text), expected);
        assert_eq!(inner(xml), expected);
    }

    #[test]
    fn xml_loses_what_oned_loses() {
        let xml = "<T><EMPTY/><E2></E2><V><X/><Y><DEEP>1</DEEP></Y><K>1</K><K>2</K></V></T>";
        assert_eq!(inner(xml), "<V><K><![CDATA[2]]></K></V>");
        // In text an empty value is kept.
        assert_eq!(inner("A=\"\""), "<A><![CDATA[]]></A>");
    }

    #[test]
    fn append_replaces_whole_keys() {
        let old = parse("A=1\nAR=[ IP=1 ]\nAR=[ IP=2 ]\nZ=9").unwrap();
        let new = parse("AR=[ IP=3 ]\nB=2").unwrap();
        let merged = to_inner(&merge(old.clone(), new)).unwrap();
        assert_eq!(
            merged,
            "<A><![CDATA[1]]></A><AR><IP><![CDATA[3]]></IP></AR><B><![CDATA[2]]></B><Z><![CDATA[9]]></Z>"
        );
        assert!(!merge(old, parse("AR=[]").unwrap()).iter().any(|(key, _)| key == "AR"));
    }

    #[test]
    fn bad_templates_are_refused_in_oneds_words() {
        assert_eq!(parse("<T><A></T>").unwrap_err(), "Parse error: XML Template malformed.");
        let bomb = "<!DOCTYPE a [<!ENTITY x \"a\">]><T><A>&x;</A></T>";
        assert_eq!(parse(bomb).unwrap_err(), "Parse error: XML Template malformed.");
        let deep = format!("<T>{}{}</T>", "<A>".repeat(100_000), "</A>".repeat(100_000));
        // Refused or read as far as it counts, but survived.
        assert!(parse(&deep).is_err() || inner(&deep) == "<A></A>");
        assert!(parse("=== nonsense").unwrap_err().starts_with("Parse error: syntax error"));
        assert_eq!(to_inner(&parse("1=2").unwrap()), None);
    }

    proptest! {
        #[test]
        fn stored_templates_read_back(values in proptest::collection::vec("[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\r\u{fffe}\u{ffff}]{1,20}", 1..5)) {
            let tree: Attributes =
                values.iter().enumerate().map(|(i, v)| (format!("K{i}"), v.as_str().into())).collect();
            let inner = to_inner(&tree).unwrap();
            prop_assert_eq!(from_inner(&inner), Some(tree.clone()));
            let again = parse(&format!("<T>{inner}</T>")).unwrap();
            prop_assert_eq!(again, tree);
        }
    }
}
