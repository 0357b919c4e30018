//! Templates as `oned` keeps them: what is read of a request, how updates are merged, and the form
//! in which they are stored and answered (`src/template/Template.cc`, 6.10 and 7.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use model::attributes::is_key;
use model::{Attributes, Value};
use opennebula::text;
use roxmltree::Node;

use crate::settings::Version;

/// Reads the template of a request, in XML if its first character is `<`, else in the text form.
///
/// Keys become upper case, attributes are sorted by key, and vectors hold each key once. Of XML one
/// level of vectors is read, keys within them stay as they are, and elements without content are
/// dropped.
///
/// # Errors
/// The words of `oned`, `Parse error: …`.
pub(crate) fn parse(version: Version, source: &str) -> Result<Attributes, String> {
    let read = if source.starts_with('<') {
        parse_xml(source)?
    } else {
        text::parse(source).map_err(|error| match error.oned_text() {
            Some(words) => format!("Parse error: {words}"),
            None => "Parse error.".to_owned(),
        })?
    };
    let mut read: Attributes = read.into_iter().map(|(key, value)| (name(key), value)).collect();
    trim(version, &mut read);
    Ok(text::sorted(read))
}

/// The name of an attribute, which `oned` makes one that XML allows.
fn name(key: String) -> String {
    match key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && !key.starts_with("XML")
    {
        true => key,
        false => format!("ONE_{key}"),
    }
}

/// Takes white space off: 7.x at both ends of every value, 6.x at the end of the name alone.
fn trim(version: Version, template: &mut Attributes) {
    for (key, value) in template.iter_mut() {
        match value {
            Value::Text(text) if version == Version::V7_4 => {
                *text = text.trim_matches(SPACE).into()
            }
            Value::Text(text) if key == "NAME" => *text = text.trim_end_matches(SPACE).into(),
            Value::Vector(inner) if version == Version::V7_4 => trim(version, inner),
            _ => {}
        }
    }
}

/// What C's `isspace` takes for white space.
const SPACE: [char; 6] = [' ', '\t', '\n', '\u{b}', '\u{c}', '\r'];

fn parse_xml(source: &str) -> Result<Attributes, String> {
    let malformed = || "Parse error: XML Template malformed.".to_owned();
    let doc = roxmltree::Document::parse(source).map_err(|_| malformed())?;
    Ok(elements(doc.root_element())
        .filter_map(|element| {
            let key = element.tag_name().name().to_ascii_uppercase();
            let mut children = element.children();
            let value = match (children.next(), children.next()) {
                (Some(only), None) if only.is_text() => {
                    Value::Text(only.text().unwrap_or_default().to_owned())
                }
                _ if elements(element).next().is_some() => Value::Vector(vector(element)),
                // Nothing, or a text in pieces, between comments.
                _ => return None,
            };
            Some((key, value))
        })
        .collect())
}

fn vector(element: Node<'_, '_>) -> Attributes {
    // The last of a key wins, as with `VectorAttribute::replace`.
    let unique: BTreeMap<&str, &str> = elements(element)
        .filter_map(|inner| {
            let text = inner.first_child().filter(Node::is_text)?;
            Some((inner.tag_name().name(), text.text().unwrap_or_default()))
        })
        .collect();
    unique.into_iter().map(|(key, text)| (key.to_owned(), Value::from(text))).collect()
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

/// The children of `TEMPLATE` as XML, without empty vectors; `None` if `oned` cannot store it: a key
/// that has no place in XML, or a value with the end of a CDATA section, which it does not split.
pub(crate) fn to_inner(template: &Attributes) -> Option<String> {
    if has_cdata_end(template) { None } else { to_inner_in_clear(template) }
}

fn has_cdata_end(template: &Attributes) -> bool {
    template.iter().any(|(_, value)| match value {
        Value::Vector(inner) => has_cdata_end(inner),
        value => value.expose().is_some_and(|text| text.contains("]]>")),
    })
}

/// The same with whatever was hidden: the end of a CDATA section in a value is not split, so that
/// this may be no XML, as `oned`'s answer is none then.
pub(crate) fn to_inner_in_clear(template: &Attributes) -> Option<String> {
    let mut out = String::new();
    write_in_clear(template, &mut out)?;
    Some(out)
}

fn write_in_clear(template: &Attributes, out: &mut String) -> Option<()> {
    for (key, value) in template.iter() {
        if !is_key(key) {
            return None;
        }
        let vector = match value {
            Value::Vector(inner) if inner.is_empty() => continue,
            Value::Vector(inner) => Some(inner),
            _ => None,
        };
        let _ = write!(out, "<{key}>");
        match vector {
            Some(inner) => write_in_clear(inner, out)?,
            None => {
                let text = value.expose()?;
                // XML has no way to write them.
                if text.chars().any(|c| c < ' ' && !matches!(c, '\t' | '\n' | '\r')) {
                    return None;
                }
                let _ =
                    write!(out, "<![CDATA[{}]]>", text.replace("\r\n", "\n").replace('\r', "\n"));
            }
        }
        let _ = write!(out, "</{key}>");
    }
    Some(())
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

    fn parse(source: &str) -> Result<Attributes, String> {
        super::parse(Version::V7_4, source)
    }

    fn inner(source: &str) -> String {
        to_inner(&parse(source).unwrap()).unwrap()
    }

    #[test]
    fn text_and_xml_mean_the_same() {
        let text = "b=[ z=\"1\", a=\"2\" ]\nA=\"x <&> ]\"";
        let xml =
            "<TEMPLATE><b><Z>1</Z><A><![CDATA[2]]></A></b><A>x &lt;&amp;&gt; ]</A></TEMPLATE>";
        let expected = "<A><![CDATA[x <&> ]]]></A><B><A><![CDATA[2]]></A><Z><![CDATA[1]]></Z></B>";
        assert_eq!(inner(text), expected);
        assert_eq!(inner(xml), expected);
    }

    #[test]
    fn xml_loses_what_oned_loses() {
        let xml = "<T><EMPTY/><E2></E2><V><X/><Y><DEEP>1</DEEP></Y><K>1</K><K>2</K></V>\
                   <P>in <!-- --> pieces</P><W><X/></W></T>";
        assert_eq!(inner(xml), "<V><K><![CDATA[2]]></K></V>");
        // An empty value is kept, in text and in a section.
        assert_eq!(inner("A=\"\""), "<A><![CDATA[]]></A>");
        assert_eq!(inner("<T><A><![CDATA[]]></A></T>"), "<A><![CDATA[]]></A>");
        let vector = "<V><A><![CDATA[]]></A></V>";
        assert_eq!(inner(&format!("<T>{vector}</T>")), vector);
    }

    #[test]
    fn names_become_such_as_xml_allows() {
        assert_eq!(inner("1=2"), "<ONE_1><![CDATA[2]]></ONE_1>");
        assert_eq!(inner("_a=2"), "<_A><![CDATA[2]]></_A>");
        // Keys of vectors stay as they are in XML, in text they do not.
        let both = "<V><B><![CDATA[2]]></B><b><![CDATA[1]]></b></V>";
        assert_eq!(inner("<T><V><b>1</b><B>2</B></V></T>"), both);
        assert_eq!(inner("V=[b=1,B=2]"), "<V><B><![CDATA[1]]></B></V>");
    }

    #[test]
    fn white_space_around_values_is_kept_by_6x_alone() {
        let xml = "<T><A> x\ny\n</A><NAME> n </NAME><V><K>\t</K></V></T>";
        let read = |version| to_inner(&super::parse(version, xml).unwrap()).unwrap();
        let trimmed = "<A><![CDATA[x\ny]]></A><NAME><![CDATA[n]]></NAME><V><K><![CDATA[]]></K></V>";
        assert_eq!(read(Version::V7_4), trimmed);
        let kept =
            "<A><![CDATA[ x\ny\n]]></A><NAME><![CDATA[ n]]></NAME><V><K><![CDATA[\t]]></K></V>";
        assert_eq!(read(Version::V6_10), kept);
    }

    #[test]
    fn the_end_of_a_section_cannot_be_stored() {
        for bad in ["<T><A>]]&gt;</A></T>", "<T><V><A><![CDATA[a]]]]><![CDATA[>]]></A></V></T>"] {
            assert_eq!(to_inner(&parse(bad).unwrap()), None, "{bad}");
        }
        assert_eq!(parse("A=\"]]>\"").unwrap_err(), "Parse error.");
        assert_eq!(inner("A=\"<![CDATA[\""), "<A><![CDATA[<![CDATA[]]></A>");
        let shown = to_inner_in_clear(&parse("<T><A>a]]&gt;b</A></T>").unwrap());
        assert_eq!(shown.unwrap(), "<A><![CDATA[a]]>b]]></A>");
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
        assert!(parse(&deep).is_err() || inner(&deep).is_empty());
        assert!(parse("=== nonsense").unwrap_err().starts_with("Parse error: syntax error"));
    }

    proptest! {
        #[test]
        fn stored_templates_read_back(values in proptest::collection::vec("[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\r>\u{fffe}\u{ffff}]{0,20}", 1..5)) {
            let tree: Attributes =
                values.iter().enumerate().map(|(i, v)| (format!("K{i}"), v.as_str().into())).collect();
            let inner = to_inner(&tree).unwrap();
            prop_assert_eq!(from_inner(&inner), Some(tree.clone()));
            let again = super::parse(Version::V6_10, &format!("<T>{inner}</T>")).unwrap();
            prop_assert_eq!(again, tree);
        }
    }
}
