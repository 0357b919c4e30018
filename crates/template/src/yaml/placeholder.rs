//! `packet_token: ****`: a value that is still to be filled in.
//!
//! The manuals write credentials like this, and people paste them. For YAML, `*` begins an alias,
//! so the first one would end the parsing. Here all of them are found, so that one run names them
//! all, and the text is patched so that the rest of it can be checked too.

use std::collections::HashSet;

/// A text in which placeholders are quoted, of the same number of characters per line.
pub(crate) struct Patched {
    pub(crate) text: String,
    /// Line (from 1) and column (from 0) of every value that was quoted.
    pub(crate) places: HashSet<(usize, usize)>,
}

/// Whether a value looks like one that is to be filled in.
pub(crate) fn is_placeholder(text: &str) -> bool {
    text.contains("****") || (text.len() == 3 && text == "***")
}

/// Quotes every value that begins with `*` and is no alias of an anchor in the text, or of these
/// only those at the places in `only`. `None` if there is none.
pub(crate) fn patch(text: &str, only: Option<&HashSet<(usize, usize)>>) -> Option<Patched> {
    let anchors = anchors(text);
    let mut places = HashSet::new();
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let found = placeholder(line, &anchors).map(|(start, end)| {
            let place = (index + 1, line[..start].chars().count());
            (start, end, place)
        });
        match found.filter(|(_, _, place)| only.is_none_or(|only| only.contains(place))) {
            Some((start, end, place)) => {
                places.insert(place);
                out.push_str(&line[..start]);
                quote(&line[start..end], &mut out);
                out.push_str(&line[end..]);
            }
            None => out.push_str(line),
        }
    }
    (!places.is_empty()).then_some(Patched { text: out, places })
}

/// Names that stand behind a `&`; too many rather than too few.
fn anchors(text: &str) -> HashSet<&str> {
    text.match_indices('&').filter_map(|(at, _)| text.get(at + 1..)).map(first_word).collect()
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}'));
    text.get(..end.unwrap_or(text.len())).unwrap_or(text)
}

/// Start and end in bytes of the value of `key: *…` or `- *…`.
fn placeholder(line: &str, anchors: &HashSet<&str>) -> Option<(usize, usize)> {
    let key_end = line.find(": ").map(|at| at + 2);
    let item_end = line.trim_start().starts_with("- ").then(|| line.find("- ").map(|at| at + 2));
    let starts = [key_end, item_end.flatten()];
    starts.into_iter().flatten().find_map(|start| {
        let rest = line.get(start..)?;
        let value = rest.trim_start();
        let start = start + (rest.len() - value.len());
        let value = value.split(" #").next()?.trim_end();
        let alias = value.strip_prefix('*')?;
        (!anchors.contains(first_word(alias))).then_some((start, start + value.len()))
    })
}

fn quote(value: &str, out: &mut String) {
    match value.chars().count() {
        0 => {}
        1 => out.push('x'),
        length => {
            out.push('"');
            out.extend(std::iter::repeat_n('*', length - 2));
            out.push('"');
        }
    }
}
