//! The text form of a template, `KEY = "value"`, read and written as `oned` does.
//!
//! Facts from `src/parsers/template_parser.l` and `template_syntax.y` (the same in releases 5.8 to
//! 7.4), checked against recorded answers:
//!
//! * `KEY = value`, `KEY = "value"`, `KEY =` (empty), `KEY = [ A = x, B = "y" ]`, `KEY = []`;
//!   a line that begins with `#` is a comment. Keys become upper case. Keys of a template may
//!   repeat, of a vector not: the first one stays.
//! * In quotes only `\"` is an escape; every other backslash stays. Quotes end at a `"` that no
//!   backslash precedes, or, if there is none up to the end of the text, at the last `\"`. So a
//!   value that ends in a backslash cannot be written safely.
//! * A value without quotes ends at white space and at any of `=#,[]`.
//! * A value with `]]>` in it is refused.
//! * Characters that no rule takes (`A-B` has one) are skipped.
//!
//! The client itself sends XML, which has none of these limits ([`model::Attributes::to_xml`]); this form is
//! for people and for requests of other tools.

mod read;
mod write;

use model::{Attributes, Value};

pub use read::{TextError, parse};
pub use write::{TextWriteError, write};

/// The attributes in the order in which `oned` answers them: by key, vectors too; equal keys keep
/// their order (a template is a `multimap`, a vector a `map`: `include/Template.h`, `Attribute.h`).
pub fn sorted(attributes: Attributes) -> Attributes {
    let mut pairs: Vec<(String, Value)> = attributes
        .into_iter()
        .map(|(key, value)| match value {
            Value::Vector(inner) => (key, Value::Vector(sorted(inner))),
            other => (key, other),
        })
        .collect();
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    pairs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
    }

    #[test]
    fn every_shape_is_read() {
        let text = "# comment\n\n  # another, with = [ signs\nname = plain\nEMPTY =\n\
                    A=\"back\\\\slash \\\"quote\\\" new\nline é <&>\"\n\
                    B = [ c = \"x=1, y]\", D=\"\", c = \"lost\" ]\nB=[\n  C=second\n]\nNONE=[ ]\n\
                    E=\"$NAME # no comment\"\nLAST=\"end\\\"";
        let mut expected = vector(&[
            ("NAME", "plain"),
            ("EMPTY", ""),
            ("A", "back\\\\slash \"quote\" new\nline é <&>"),
        ]);
        expected.push("B", vector(&[("C", "x=1, y]"), ("D", "")]));
        expected.push("B", vector(&[("C", "second")]));
        expected.push("NONE", Attributes::new());
        expected.push("E", "$NAME # no comment");
        expected.push("LAST", "end\\");
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn oned_finds_odd_values_and_so_do_we() {
        // Longest match: a quoted text with something glued to it is one bare word.
        assert_eq!(parse("A=\"x\"y").unwrap().text("A"), Some("\"x\"y"));
        // No value before a comment sign: the first word after it is the value.
        assert_eq!(parse("A = # note\n").unwrap().text("A"), Some("note"));
        assert_eq!(parse("A\n=\n1=2"), Ok(vector(&[("A", ""), ("1", "2")])));
        assert_eq!(parse(""), Ok(Attributes::new()));
        assert_eq!(parse("#only a comment"), Ok(Attributes::new()));
    }

    #[test]
    fn errors_have_oneds_words_and_a_place() {
        for (text, words) in [
            // The first two are recorded answers of 6.10 and 7.4.
            (
                "PROVISION=[ A=\"b\"",
                "syntax error, unexpected $end, expecting COMMA or CBRACKET at line 0, columns 15:18",
            ),
            (
                "=== nonsense",
                "syntax error, unexpected EQUAL, expecting $end at line 0, columns 1:2",
            ),
            (
                "A=1\nB C=2",
                "syntax error, unexpected VARIABLE, expecting EQUAL or EQUAL_EMPTY at line 1, columns 7:8",
            ),
            (
                "A=[ B=\n]",
                "syntax error, unexpected EQUAL_EMPTY, expecting EQUAL at line 1, columns 6:8",
            ),
            (
                "A=",
                "syntax error, unexpected $end, expecting OBRACKET or CCDATA or STRING at line 0, columns 2:3",
            ),
            (
                "A=[ B=1\n\n",
                "syntax error, unexpected $end, expecting COMMA or CBRACKET at line 2, columns 8:10",
            ),
            (
                "A=[,]",
                "syntax error, unexpected COMMA, expecting CBRACKET or VARIABLE at line 0, columns 4:5",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.oned_text().as_deref(), Some(words), "{text}");
        }
        let error = parse("A=1\nB=[ C=1, é").unwrap_err();
        assert_eq!((error.line, error.column), (2, 11));
        assert_eq!(
            error.to_string(),
            "line 2, column 11: found the end of the text, expected a name"
        );
        assert_eq!(parse("A=\"x]]>\"").unwrap_err().oned_text(), None);
    }

    #[test]
    fn what_the_text_form_cannot_hold_is_refused_by_name() {
        let one = |value: &str| write(&vector(&[("A", value)]));
        assert_eq!(one("x\\"), Err(TextWriteError::Backslash { key: "A".into() }));
        assert_eq!(one("x]]>y"), Err(TextWriteError::CdataEnd { key: "A".into() }));
        let deep = Attributes::from_iter([("V".to_owned(), vector(&[("A", "1")]).into())]);
        let deeper = Attributes::from_iter([("W".to_owned(), deep.into())]);
        assert_eq!(write(&deeper), Err(TextWriteError::Nested { key: "V".into() }));
        let twice =
            Attributes::from_iter([("V".to_owned(), vector(&[("A", "1"), ("A", "2")]).into())]);
        assert_eq!(write(&twice), Err(TextWriteError::Twice { key: "A".into() }));
        assert_eq!(write(&vector(&[("A-B", "x")])), Err(TextWriteError::Key { key: "A-B".into() }));
    }

    #[test]
    fn sorting_is_by_key_and_keeps_equal_ones_in_order() {
        let mut tree = vector(&[("B", "1"), ("A", "2"), ("B", "0")]);
        tree.push("AA", vector(&[("Z", "1"), ("Y", "2")]));
        let mut expected = vector(&[("A", "2")]);
        expected.push("AA", vector(&[("Y", "2"), ("Z", "1")]));
        expected.push("B", "1");
        expected.push("B", "0");
        assert_eq!(sorted(tree), expected);
    }

    #[test]
    fn one_long_line_is_read_in_linear_time() {
        let mut text = String::from("V=[A0=1");
        for index in 1..50_000 {
            text.push_str(&format!(",A{index}=1"));
        }
        text.push(']');
        let read = parse(&text).unwrap();
        assert!(matches!(read.get("V"), Some(Value::Vector(inner)) if inner.len() == 50_000));
    }

    fn key() -> impl Strategy<Value = String> {
        "[A-Z0-9_]{1,6}"
    }

    fn tree() -> impl Strategy<Value = Attributes> {
        let text = r#"([^\\]|[\\"\n=,#\[\]] ?){0,12}"#;
        let text =
            text.prop_map(|text: String| text.replace("]]>", "").trim_end_matches('\\').to_owned());
        let inner = proptest::collection::btree_map(key(), text.clone(), 0..4)
            .prop_map(|map| Value::Vector(map.into_iter().map(|(k, v)| (k, v.into())).collect()));
        let value = prop_oneof![text.prop_map(Value::Text), inner];
        proptest::collection::vec((key(), value), 0..5)
            .prop_map(|pairs| pairs.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(tree in tree()) {
            let text = write(&tree).unwrap();
            prop_assert_eq!(parse(&text), Ok(tree), "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r#"([A-C="\\\[\],# \n]|.|]]>){0,40}"#) {
            if let Err(error) = parse(&text) {
                prop_assert!(error.line >= 1 && error.column >= 1);
            }
        }
    }
}
