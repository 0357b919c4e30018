//! Playbooks, and the versions of Ansible that they are for.

use model::gone_playbook;

use super::names::nearest_help;
use super::text::Site;
use super::{Checker, IN_CLEAR, find, find_any_case};
use crate::diagnostic::{Diagnostic, Span};
use crate::keys;
use crate::spec::AnsibleVersions;
use crate::yaml::Entry;
use crate::yaml::compose::shorten;

impl Checker<'_> {
    /// The playbooks of a template, and the versions of Ansible.
    pub(super) fn ansible(&mut self, entries: &[Entry]) -> (Vec<String>, AnsibleVersions) {
        let top = find(entries, "playbook").filter(|entry| !entry.value.is_null());
        let section = self.ansible_section(entries);
        let playbook = find(section, "playbook").filter(|entry| !entry.value.is_null());
        if let (Some(top), Some(entry)) = (top, playbook) {
            let message = "'playbook' is given in 'ansible', too; that one counts";
            self.push(
                Diagnostic::warning("ignored-key", top.key_span, message)
                    .related(entry.key_span, "it is given here"),
            );
        }
        let playbooks = match playbook.or(top) {
            // An empty list says that there is none.
            Some(entry) => self.playbooks(entry),
            None if has_steps(entries) => Vec::new(),
            None => vec!["default".to_owned()],
        };
        let versions = AnsibleVersions {
            ver_min: self.ansible_version(section, "ver_min"),
            ver_max: self.ansible_version(section, "ver_max"),
        };
        (playbooks, versions)
    }

    /// The section that took the place of `playbook` in 6.6.
    fn ansible_section<'n>(&mut self, entries: &'n [Entry]) -> &'n [Entry] {
        let known = keys::names(keys::ANSIBLE);
        let Some(section) = find(entries, "ansible").filter(|entry| !entry.value.is_null()) else {
            return &[];
        };
        let Some(given) = section.value.as_map() else {
            let message =
                format!("'ansible' takes a group of keys, not {}", section.value.describe());
            self.error("wrong-shape", section.value.span, message);
            return &[];
        };
        for entry in given.iter().filter(|entry| known.clone().all(|key| key != entry.name())) {
            let message =
                format!("unknown key '{}' in 'ansible'; it is ignored", shorten(entry.name()));
            let help = nearest_help(&entry.name().to_lowercase(), known.clone());
            self.push(Diagnostic::warning("unknown-key", entry.key_span, message).help(help));
        }
        given
    }

    fn playbooks(&mut self, entry: &Entry) -> Vec<String> {
        let mut playbooks = Vec::new();
        let one = std::slice::from_ref(&entry.value);
        for item in entry.value.as_list().unwrap_or(one) {
            match item.as_scalar() {
                Some(scalar) if scalar.is_null() => {}
                Some(scalar) if scalar.secret => self.error("bad-value", item.span, IN_CLEAR),
                Some(scalar) if scalar.text.trim().is_empty() => {
                    self.error("bad-playbook", item.span, "the name of a playbook is empty");
                }
                Some(scalar) => {
                    let text = self.text("playbook", scalar, item.span, Site::Nowhere);
                    playbooks.push(self.playbook(text, item.span));
                }
                None => {
                    let message =
                        format!("'playbook' takes one name or a list, not {}", item.describe());
                    self.error("wrong-shape", item.span, message);
                }
            }
        }
        playbooks
    }

    /// A name stays one; a path is one wherever it is read.
    fn playbook(&mut self, text: String, span: Span) -> String {
        if let Some(why) = gone_playbook(&text) {
            // A create may leave the configuration out.
            let message = format!("playbook '{text}' is not there");
            self.push(Diagnostic::warning("bad-playbook", span, message).help(why));
            return text;
        }
        let is_path = text.contains('/') || [".yml", ".yaml"].iter().any(|end| text.ends_with(end));
        if is_path { self.located(&text, span) } else { text }
    }

    fn ansible_version(&mut self, section: &[Entry], key: &str) -> Option<String> {
        let entry = find(section, key).filter(|entry| !entry.value.is_null())?;
        let text = self.single(entry)?.text.trim().to_owned();
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !text.split('.').all(is_number) {
            let message = format!("'{}' is no version", shorten(&text));
            self.push(
                Diagnostic::error("bad-value", entry.value.span, message)
                    .help("a version is numbers with dots between them, such as 2.17"),
            );
            return None;
        }
        Some(text)
    }
}

/// Whether a template says what is to be done on its hosts, so that no playbook need be meant.
fn has_steps(entries: &[Entry]) -> bool {
    let given = |entry: Option<&Entry>| entry.is_some_and(|entry| !entry.value.is_null());
    let hosts = find(entries, "hosts").and_then(|entry| entry.value.as_list()).unwrap_or(&[]);
    let mut hosts = hosts.iter().filter_map(|host| host.as_map());
    given(find(entries, "configure"))
        || given(find(entries, "files"))
        || hosts.any(|host| given(find_any_case(host, "configure")))
}
