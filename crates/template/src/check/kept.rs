//! Sections that are read and checked, but whose objects this version does not create.

use super::text::Site;
use super::{Checker, find};
use crate::diagnostic::Diagnostic;
use crate::spec::KeptSection;
use crate::yaml::emit::{Secrets, emit};
use crate::yaml::{Entry, Node};

/// The virtual objects of 5.12, in the order in which they were created.
const SECTIONS: [&str; 5] =
    ["images", "marketplaceapps", "templates", "vntemplates", "flowtemplates"];

impl<'c> Checker<'c> {
    pub(super) fn kept(&mut self, entries: &'c [Entry]) -> Vec<KeptSection> {
        let mut kept = Vec::new();
        for name in SECTIONS {
            let items = self.items(entries, name);
            let Some(entry) = find(entries, name).filter(|_| !items.is_empty()) else { continue };
            for item in &items {
                let site = Site::of(name, item.index);
                for entry in item.entries {
                    self.check_values(&entry.value, entry.name(), site);
                }
            }
            let message = format!("'{name}' is read, but nothing of it is created by this version");
            self.push(Diagnostic::warning("not-created-yet", entry.key_span, message));
            kept.push(KeptSection {
                name: name.to_owned(),
                count: items.len(),
                yaml: emit(&entry.value, Secrets::Masked),
            });
        }
        kept
    }

    fn check_values(&mut self, node: &Node, key: &str, site: Site) {
        let mut found = Vec::new();
        node.each_scalar(key, &mut |key, scalar, span| found.push((key, scalar, span)));
        for (key, scalar, span) in found {
            // `mode: 0644` is octal on purpose.
            if key == "mode" || scalar.secret {
                continue;
            }
            self.text(key, scalar, span, site);
        }
    }
}
