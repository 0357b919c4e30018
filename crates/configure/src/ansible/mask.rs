//! Secrets that must not be seen: in what Ansible prints and in what it tells.

use std::collections::BTreeSet;

use model::{Secret, is_secret, is_secret_name};
use serde_json::Value;

use crate::connection::Key;

/// What is seen instead.
const MASK: &str = "*****";
/// Shorter values are none that could be looked for: they are everywhere.
const SHORTEST: usize = 6;
/// What the first line of every private key ends with.
const KEY: &str = "PRIVATE KEY-----";

/// Texts that are replaced.
#[derive(Default)]
pub(crate) struct Masks {
    /// The longest first, so that no part of one remains.
    texts: Vec<Secret>,
}

/// Collects what is to be masked.
#[derive(Default)]
pub(crate) struct Found(BTreeSet<String>);

impl Found {
    /// The secrets among variables: all values under a name that says so, and keys under any.
    pub fn variables(&mut self, name: &str, value: &Value, secret: bool) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                self.variables(name, value, secret || is_secret_name(name))
            }),
            Value::Array(list) => list.iter().for_each(|value| self.variables(name, value, secret)),
            Value::String(text) if text.contains(KEY) => self.text(text),
            Value::String(text) if secret && (!is_secret_name(name) || is_secret(name, text)) => {
                self.text(text);
            }
            Value::Number(number) if secret => self.text(&number.to_string()),
            _ => {}
        }
    }

    /// A key that came by content.
    pub fn key(&mut self, key: &Key) {
        if let Key::Content(content) = key {
            self.text(content.expose());
        }
    }

    /// A secret: as it is, line by line, and as JSON, Python and YAML show it; a message may hold JSON
    /// that holds JSON.
    pub fn text(&mut self, text: &str) {
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        for part in [text].into_iter().chain(lines).map(str::trim) {
            if part.chars().count() < SHORTEST {
                continue;
            }
            let mut forms = BTreeSet::from([part.to_owned()]);
            for _ in 0..3 {
                let more =
                    |f: &String| [json(f), ascii(f), f.replace('\'', "\\'"), f.replace('\'', "''")];
                forms.extend(forms.iter().flat_map(more).collect::<Vec<_>>());
            }
            self.0.extend(forms);
        }
    }

    /// All of it.
    pub fn masks(self) -> Masks {
        let mut texts: Vec<_> = self.0.into_iter().collect();
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Masks { texts: texts.into_iter().map(Secret::new).collect() }
    }
}

impl Masks {
    /// A text without secrets.
    pub fn apply(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in self.texts.iter().map(Secret::expose) {
            if masked.contains(secret) {
                masked = masked.replace(secret, MASK);
            }
        }
        masked
    }

    /// Number of bytes of the longest of them.
    pub fn longest(&self) -> usize {
        self.texts.first().map_or(0, |text| text.expose().len())
    }
}

/// As it is between the quotes of JSON.
fn json(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As Python's JSON has it: nothing but ASCII.
fn ascii(text: &str) -> String {
    let mut units = [0; 2];
    let mut escaped = String::new();
    for c in text.chars() {
        match c.is_ascii() {
            true => escaped.push(c),
            false => {
                let units = c.encode_utf16(&mut units);
                units.iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(yaml: &str) -> Masks {
        let mut found = Found::default();
        found.variables("", &serde_saphyr::from_str(yaml).unwrap(), false);
        found.masks()
    }

    #[test]
    fn what_a_name_calls_secret_is_masked_in_every_form() {
        let masks = masks(
            "db_password: 'say \"Grüße\"'\nkeys: {api_token: [one-one, two-two]}\npassword: {a: deepest}\n\
             token: 12345678\nuser: visible\nprivate_key: /etc/path/key\nsecret: 'true'\npasswd: short\n\
             ssh_private_key: \"-----BEGIN X-----\\nabcdefgh\\n\"\n\
             files: [{content: \"-----BEGIN PRIVATE KEY-----\\nijklmnop\\n-----END PRIVATE KEY-----\"}]",
        );
        let same = "visible /etc/path/key true short -----BEGIN X-----";
        assert_eq!(masks.apply(same), same);
        for (text, masked) in [
            ("x say \"Grüße\" y", "x ***** y"),
            (r#"{"a": "say \"Grüße\""}"#, r#"{"a": "*****"}"#),
            (r#"{"a": "say \"Gr\u00fc\u00dfe\""}"#, r#"{"a": "*****"}"#),
            (r#"{\"a\": \"say \\\"Grüße\\\"\"}"#, r#"{\"a\": \"*****\"}"#),
            ("one-one,two-two deepest 12345678", "*****,***** ***** *****"),
            ("1\nabcdefgh\n2", "1\n*****\n2"),
            (r"-----BEGIN X-----\nabcdefgh", "*****"),
            ("1\nijklmnop\n2", "1\n*****\n2"),
            (r"-----BEGIN PRIVATE KEY-----\nijklmnop\n-----END PRIVATE KEY-----", "*****"),
        ] {
            assert_eq!(masks.apply(text), masked);
        }
        assert_eq!(Masks::default().apply("any"), "any");
    }

    #[test]
    fn a_key_is_masked_line_by_line() {
        let mut found = Found::default();
        found.key(&Key::Content("-----BEGIN K-----\nAAAAbbbb\n-----END K-----\n".into()));
        found.key(&Key::File("/home/op/key".into()));
        let masks = found.masks();
        assert_eq!(masks.apply("AAAAbbbb /home/op/key"), "***** /home/op/key");
        assert!(masks.longest() > 30);
    }
}
