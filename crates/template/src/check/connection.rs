//! `connection`: how a host is reached over SSH.

use model::{Attributes, Value};

use super::attributes::SINGLE_VALUES;
use super::names::nearest_help;
use super::text::Site;
use super::{Checker, find_any_case};
use crate::diagnostic::{Diagnostic, Span};
use crate::keys;
use crate::reference;
use crate::spec::Connection;
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Scalar};

impl Checker<'_> {
    pub(super) fn connection(&mut self, entries: &[Entry], site: Site) -> Connection {
        for entry in entries {
            let name = entry.name().to_ascii_lowercase();
            if keys::names(keys::CONNECTION).all(|known| known != name) {
                let message = format!("unknown key '{}' in 'connection'", shorten(entry.name()));
                let help = nearest_help(&name, keys::names(keys::CONNECTION));
                self.push(Diagnostic::warning("unknown-key", entry.key_span, message).help(help));
                continue;
            }
            let Some(scalar) = entry.value.as_scalar().filter(|scalar| !scalar.is_null()) else {
                continue;
            };
            self.connection_value(&name, scalar, entry.value.span);
        }
        if let Some(entry) = find_any_case(entries, "jump_hosts") {
            self.jump_hosts(entry);
        }
        let mut given = self.values(entries, &[], site, SINGLE_VALUES);
        for key in ["private_key", "public_key"] {
            self.locate_key(&mut given, entries, key);
        }
        // It is the path of a key, however it looks, unless it is the key itself.
        let asked = find_any_case(entries, "private_key").and_then(|e| e.value.as_scalar());
        if let Some(path) = given.get("PRIVATE_KEY").and_then(Value::expose).map(str::to_owned)
            && asked
                .is_some_and(|scalar| !scalar.secret && !scalar.text.contains("PRIVATE KEY-----"))
        {
            given.set("PRIVATE_KEY", path);
        }
        Connection { given }
    }

    fn connection_value(&mut self, name: &str, scalar: &Scalar, span: Span) {
        let text = scalar.text.trim();
        let whole_key = text.contains("PRIVATE KEY-----");
        match name {
            "remote_port" if !is_port(text) && !reference::has_reference(text) => {
                let shown = if scalar.secret { model::secret::MASK } else { text };
                let message = format!("'{}' is no port", shorten(shown));
                let help = "a port is a number from 1 to 65535";
                self.push(Diagnostic::error("bad-value", span, message).help(help));
            }
            "private_key" if text.contains('\n') && !whole_key => {
                self.push(
                    Diagnostic::error("bad-value", span, "'private_key' holds no key")
                        .help("it takes the path of a key file, the key itself, or the word agent"),
                );
            }
            "public_key" if whole_key => {
                let message = "'public_key' holds a private key";
                self.push(
                    Diagnostic::error("bad-value", span, message)
                        .help("it takes the public part of the key, or the path of its file"),
                );
            }
            _ if text.is_empty() => {
                self.error("bad-value", span, format!("'{name}' is empty"));
            }
            _ => {}
        }
    }

    /// Each host on the way; what references stand for is not known yet.
    fn jump_hosts(&mut self, entry: &Entry) {
        let single = std::slice::from_ref(&entry.value);
        for item in entry.value.as_list().unwrap_or(single) {
            let Some(scalar) = item.as_scalar().filter(|scalar| !scalar.is_null()) else {
                continue;
            };
            let text = scalar.text.trim();
            if text.is_empty() || reference::has_reference(text) {
                continue;
            }
            if let Some(wrong) = text.split(',').map(str::trim).find(|host| !is_jump_host(host)) {
                let message = match (scalar.secret, wrong) {
                    (true, _) => "a value of 'jump_hosts' is no host".to_owned(),
                    (_, "") => "a host of 'jump_hosts' is empty".to_owned(),
                    (_, wrong) => format!("'{}' is no host to jump over", shorten(wrong)),
                };
                self.push(
                    Diagnostic::error("bad-value", item.span, message)
                        .help("'jump_hosts' takes [USER@]HOST[:PORT], several separated by commas"),
                );
            }
        }
    }

    /// A key whose path is given relative counts from the file that names it.
    fn locate_key(&self, given: &mut Attributes, entries: &[Entry], key: &str) {
        let Some(entry) = find_any_case(entries, key) else { return };
        let upper = key.to_ascii_uppercase();
        let Some(Value::Text(text)) = given.get(&upper) else { return };
        if ["./", "../"].iter().any(|start| text.starts_with(start)) {
            let path = self.located(text, entry.value.span);
            given.set(upper, path);
        }
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|port| port != 0)
}

/// `[USER@]HOST[:PORT]`, which `ssh` can take for nothing else. An IPv6 address with a port stands in
/// brackets.
fn is_jump_host(text: &str) -> bool {
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some(""))),
        None if place.matches(':').count() > 1 => (place, None),
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    user.is_none_or(|user| is_word(user, "-_.$"))
        && is_word(host, "-_.:%")
        && port.is_none_or(is_port)
}

/// Letters, digits and some more, and no option.
fn is_word(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_to_jump_over() {
        for text in [
            "gate",
            "op@gate",
            "op@gate.example.org:2222",
            "10.0.0.1",
            "[fd00::1]:22",
            "fd00::1",
            "root@[fd00::1]",
        ] {
            assert!(is_jump_host(text), "{text}");
        }
        for text in [
            "",
            "@gate",
            "op@",
            "-oProxyCommand=x",
            "op@-b",
            "a b",
            "gate:0",
            "gate:x",
            "gate:",
            "[fd00::1]22",
            "[fd00::1]:",
            "gate;x",
            ":22",
            "ssh://gate",
        ] {
            assert!(!is_jump_host(text), "{text}");
        }
    }
}
