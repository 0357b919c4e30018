//! A provider's own words.

use serde_json::Value;

/// How much of an answer is looked at.
const INPUT: usize = 64 << 10;
/// Most characters of what is shown.
const OUTPUT: usize = 400;

/// What an answer says: the error texts of a JSON answer (`errors`, `error`, `message`, `detail`, with
/// Redfish's `@Message.ExtendedInfo`), else the beginning of its text. Empty if it says nothing.
pub fn words(body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<Value>(body) else { return excerpt(body) };
    let mut found = Vec::new();
    collect(&json, &mut found, 0);
    match found.is_empty() {
        true => excerpt(body),
        false => excerpt(found.join("; ").as_bytes()),
    }
}

fn collect(value: &Value, found: &mut Vec<String>, depth: usize) {
    if depth > 8 || found.len() >= 8 {
        return;
    }
    match value {
        Value::String(text) if depth > 0 => {
            let text = text.trim().trim_end_matches('.');
            if !text.is_empty() && !found.iter().any(|known| known.contains(text)) {
                found.push(text.to_owned());
            }
        }
        Value::Array(items) if depth > 0 => {
            items.iter().for_each(|item| collect(item, found, depth + 1));
        }
        Value::Object(fields) => {
            // The particular before the general, which often says only "see the details".
            let keys = ["errors", "@Message.ExtendedInfo", "error", "Message", "message", "detail"];
            for field in keys.iter().filter_map(|key| fields.get(*key)) {
                collect(field, found, depth + 1);
            }
            // `{"errors": {"plan": ["is unknown"]}}`
            if found.is_empty() && depth > 0 {
                for (name, field) in fields {
                    let mut inner = Vec::new();
                    collect(field, &mut inner, depth + 1);
                    found.extend(inner.into_iter().map(|text| format!("{name}: {text}")));
                }
            }
        }
        _ => {}
    }
}

/// The beginning of a text as one printable line of at most 400 characters; tags of HTML are left out.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..INPUT).unwrap_or(body));
    let mut line = String::new();
    if text.trim_start().starts_with('<') {
        let mut in_tag = false;
        for c in text.chars() {
            match c {
                '<' => in_tag = true,
                '>' if in_tag => {
                    in_tag = false;
                    line.push(' ');
                }
                _ if in_tag => {}
                c => line.push(c),
            }
        }
    } else {
        line.push_str(&text);
    }
    let line = driver::error_block::printable(&line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(OUTPUT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
