//! Texts without what differs from run to run.

use std::path::Path;

/// Replaces ids, times, ports and the paths of this home by placeholders of their kind.
pub fn normalised(text: &str, root: &Path) -> String {
    let text = text.replace(&*root.to_string_lossy(), "<root>");
    let text = text.replace(super::TOOL, "<tool>");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let found = [
            (matches(rest, "########-####-####-####-############"), "<uuid>"),
            (matches(rest, &format!("provision-{}", "#".repeat(48))), "<host>"),
            (matches(rest, "dummy-################"), "<machine>"),
            (matches(rest, "dddd-dd-dd dd:dd:dd"), "<time>"),
            (port(rest), "127.0.0.1:<port>"),
            (millis(rest), " in <n> ms"),
        ];
        match found.into_iter().find_map(|(length, name)| Some((length?, name))) {
            Some((length, name)) => {
                out += name;
                rest = &rest[length..];
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// The length of a pattern at the beginning of a text: `#` is a hexadecimal digit, `d` in a pattern
/// of times a decimal one, everything else itself.
fn matches(text: &str, pattern: &str) -> Option<usize> {
    let times = pattern.starts_with("dddd");
    let same = |(have, want): (u8, u8)| match want {
        b'#' => have.is_ascii_hexdigit(),
        b'd' if times => have.is_ascii_digit(),
        _ => have == want,
    };
    let whole = text.len() >= pattern.len() && text.bytes().zip(pattern.bytes()).all(same);
    whole.then_some(pattern.len())
}

fn port(text: &str) -> Option<usize> {
    let address = "127.0.0.1:";
    let rest = text.strip_prefix(address)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && !rest.starts_with("2633")).then_some(address.len() + digits)
}

fn millis(text: &str) -> Option<usize> {
    let rest = text.strip_prefix(" in ")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0 && rest[digits..].starts_with(" ms")).then_some(4 + digits + 3)
}

#[test]
fn what_differs_is_replaced_and_nothing_else() {
    let text = "2026-11-22 13:03:10 DEBUG : one.host.info in 5 ms, dummy-be958b0377861cef of \
        37cbb731-8507-4f8f-ad90-f548f8ffebf2 in /tmp/x/y at 127.0.0.1:40123, not 127.0.0.1:2633; dummy-2";
    assert_eq!(
        normalised(text, Path::new("/tmp/x")),
        "<time> DEBUG : one.host.info in <n> ms, <machine> of <uuid> in <root>/y at \
        127.0.0.1:<port>, not 127.0.0.1:2633; dummy-2"
    );
}
