//! `\"` in attributes of objects.
//!
//! Up to 6.10 everything but hosts and services went to OpenNebula in its text form,
//! `KEY="value"`, and nothing was escaped (`template_like_str` of `lib/utils.rb`, read in 5.8.0,
//! 5.10.0, 5.12.13 and 6.10.0). So whoever wanted a quotation mark had to write `\"`, of which oned
//! makes `"` (`unescape` of `src/parsers/template_syntax.y`, 5.12 to 7.4). Here values go as XML.

/// A value as OpenNebula would have had it from the text form. One with a quotation mark of its own
/// ended there in the middle and was refused, so that it is meant as it is written.
pub(crate) fn unescaped(text: String) -> String {
    match is_escaped(&text) {
        true => text.replace("\\\"", "\""),
        false => text,
    }
}

/// The text of which [`unescaped`] makes `text`.
pub(crate) fn escaped(text: &str) -> String {
    if is_escaped(text) { text.replace('"', "\\\"") } else { text.to_owned() }
}

fn is_escaped(text: &str) -> bool {
    let mut quotes = text.match_indices('"').peekable();
    quotes.peek().is_some() && quotes.all(|(at, _)| text.as_bytes()[..at].ends_with(b"\\"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_the_text_form_could_hold_is_unescaped() {
        for (written, meant) in [
            (r#"NETROLE = \"public\""#, r#"NETROLE = "public""#),
            (r#"\\"x\\""#, r#"\"x\""#),
            (r#"echo "a \"b\"""#, r#"echo "a \"b\"""#),
            (r"C:\x", r"C:\x"),
            (r#"""#, r#"""#),
            (r#"\""#, r#"""#),
            ("", ""),
        ] {
            assert_eq!(unescaped(written.to_owned()), meant);
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_unescaped_to_the_same(text in "[a\\\\\"é]{0,12}") {
            prop_assert_eq!(unescaped(escaped(&text)), text);
        }
    }
}
