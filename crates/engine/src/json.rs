//! JSON that rests in OpenNebula.

/// JSON with nothing in it that OpenNebula cannot store as it is ([`model::unstorable`]), not even in an
/// encrypted attribute: `]]>` ends the CDATA section that it gives it back in, and its XML-RPC library takes
/// no character beyond U+FFFF. Both stand in strings only, and can be written otherwise there.
pub(crate) fn storable(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '>' if out.ends_with("]]") => out.push_str("\\u003e"),
            '\u{10000}'.. => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_read_from_what_can_be_stored() {
        let texts = ["a]]>b]]]>", "\u{1F600}\u{FFFF}é", "a > b]>"];
        let json = serde_json::to_string(&texts).unwrap();
        let stored = storable(&json);
        assert_eq!(stored, "[\"a]]\\u003eb]]]\\u003e\",\"\\ud83d\\ude00\u{FFFF}é\",\"a > b]>\"]");
        assert_eq!(serde_json::from_str::<Vec<String>>(&stored).unwrap(), texts);
        assert_eq!(storable("{\"a\":1}"), "{\"a\":1}");
    }
}
