//! Which values are secrets, and which parts of a file may not be shown.

// One rule for all rooms, so that what is hidden here is hidden everywhere.
pub(crate) use model::{is_path, is_secret, is_secret_name};

use crate::yaml::Scalar;

/// Whether this value of a YAML key is a secret: by its name, or because it is one by itself.
pub(crate) fn holds_secret(name: &str, scalar: &Scalar) -> bool {
    // A file of a host, whose other contents are secrets only if they stand elsewhere.
    let is_key = name == "content" && scalar.text.contains("PRIVATE KEY-----");
    scalar.secret || is_key || is_secret(name, &scalar.text)
}

fn names_key(name: &str) -> bool {
    name.to_ascii_lowercase().contains("private_key")
}

fn is_switch(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "" | "true" | "false" | "yes" | "no" | "on" | "off"
    )
}

/// For each line of a file: the character (from 0) from which on it may not be shown.
///
/// This works on the text alone, because it serves messages about files that cannot be parsed. It
/// hides too much rather than too little: the rest of the line behind `name:`, and all lines below
/// that are indented deeper than the name.
pub(crate) fn hidden_columns(text: &str) -> Vec<Option<usize>> {
    let mut hidden = Vec::new();
    let mut block: Option<usize> = None;
    for line in text.split('\n') {
        let indent = line.chars().take_while(|c| matches!(c, ' ' | '\t')).count();
        if let Some(column) = block {
            if line.trim().is_empty() || indent > column {
                hidden.push(Some(indent));
                continue;
            }
            block = None;
        }
        let found = secret_in_line(line);
        if let Some((name_column, _)) = found {
            block = Some(name_column);
        }
        hidden.push(found.map(|(_, value_column)| value_column));
    }
    hidden
}

/// Columns of the first secret's name and of its value.
fn secret_in_line(line: &str) -> Option<(usize, usize)> {
    for (colon, _) in line.match_indices(':') {
        let before = line.get(..colon)?.trim_end().trim_end_matches(['"', '\'']);
        let name: String = {
            let reversed = before.chars().rev();
            let name: Vec<char> = reversed.take_while(|c| is_name_character(*c)).collect();
            name.into_iter().rev().collect()
        };
        if !is_secret_name(&name) {
            continue;
        }
        let value = line.get(colon + 1..)?;
        let lead = value.len() - value.trim_start().len();
        let plain = value.trim().trim_matches(['"', '\'']);
        if names_key(&name) && (is_path(plain) || plain == "agent") {
            continue;
        }
        if is_switch(value.trim_matches(['"', '\'', ' '])) && !value.trim().is_empty() {
            continue;
        }
        let name_column = before.chars().count() - name.chars().count();
        let value_column = line.get(..colon + 1)?.chars().count() + lead;
        return Some((name_column, value_column));
    }
    None
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_decide() {
        for (name, text, secret) in [
            ("packet_token", "abc", true),
            ("EC2_ACCESS", "abc", true),
            ("db_password", "yes", false),
            ("opennebula_ssh_deploy_private_key", "true", false),
            ("private_key", "/var/lib/one/id_rsa", false),
            ("private_key", "~/id_rsa", false),
            ("private_key", "MIIEvQ", true),
            ("private_key", "agent", false),
            ("private_key", "agent x", true),
            ("packet_token", "agent", true),
            ("packet_token", "/abc", true),
            ("ceph_secret", "6f88b54b-5dae-41fe-a43e-b2763f601cfc", false),
            ("db_passwd", "abc", true),
            ("plan", "abc", false),
            ("token", "", false),
        ] {
            assert_eq!(is_secret(name, text), secret, "{name}: {text}");
        }
    }

    #[test]
    fn secrets_are_hidden_in_any_text() {
        let hidden = |text| hidden_columns(text);
        assert_eq!(hidden("a: 1\n  my_token:  x y\nb: 2"), [None, Some(13), None]);
        assert_eq!(hidden("{\"é\": 1, 'token' : x}"), [Some(19)]);
        assert_eq!(
            hidden("secret: |\n  a\n\n  b\nc: d"),
            [Some(8), Some(2), Some(0), Some(2), None]
        );
        assert_eq!(hidden("- password: 'a\n   b'\n- c: d"), [Some(12), Some(3), None]);
        assert_eq!(hidden("private_key: /a/b\nx_private_key: true # c"), [None, Some(15)]);
        assert_eq!(hidden("private_key: true"), [None]);
        assert_eq!(hidden("private_key: \"agent\"\nmy_token: agent"), [None, Some(10)]);
    }
}
