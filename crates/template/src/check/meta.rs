//! `meta`: owner, group and permissions of an object.

use super::names::nearest_help;
use super::text::{Site, old_truth};
use super::{Checker, find_any_case};
use crate::diagnostic::Diagnostic;
use crate::keys;
use crate::spec::{Meta, VirtualKind};
use crate::yaml::Entry;
use crate::yaml::compose::shorten;

impl<'c> Checker<'c> {
    /// The `meta` of a datastore or network, or of a virtual object.
    pub(super) fn meta(&mut self, entries: &'c [Entry], kind: Option<VirtualKind>) -> Option<Meta> {
        let entry = find_any_case(entries, "meta").filter(|entry| !entry.value.is_null())?;
        let waits = matches!(kind, Some(VirtualKind::Image | VirtualKind::MarketplaceApp));
        let mut meta = Meta::default();
        for entry in self.group(entry) {
            if entry.value.is_null() {
                continue;
            }
            match entry.name() {
                "uid" => meta.uid = self.number(entry),
                "gid" => meta.gid = self.number(entry),
                "uname" => meta.uname = self.word(entry),
                "gname" => meta.gname = self.word(entry),
                "mode" => meta.mode = self.mode(entry),
                "wait" if waits => meta.wait = self.switch(entry),
                "wait_timeout" if waits => meta.wait_timeout = self.seconds(entry),
                "wait" | "wait_timeout" => {
                    let message = format!(
                        "'{}' has a meaning only for images and marketplace apps",
                        entry.name()
                    );
                    self.push(Diagnostic::warning("ignored-key", entry.key_span, message));
                }
                name => {
                    let message =
                        format!("unknown key '{}' in 'meta'; it is ignored", shorten(name));
                    let help = nearest_help(&name.to_lowercase(), keys::names(keys::META));
                    self.push(
                        Diagnostic::warning("unknown-key", entry.key_span, message).help(help),
                    );
                }
            }
        }
        Some(meta)
    }

    fn number(&mut self, entry: &Entry) -> Option<u32> {
        let scalar = self.single(entry)?;
        let number = scalar.text.parse().ok().filter(|number| i32::try_from(*number).is_ok());
        if number.is_none() {
            let message = format!("'{}' takes a number", entry.name());
            self.error("bad-value", entry.value.span, message);
        }
        number
    }

    fn switch(&mut self, entry: &Entry) -> Option<bool> {
        let switch = old_truth(&self.single(entry)?.text);
        if switch.is_none() {
            self.error("bad-value", entry.value.span, "'wait' takes true or false");
        }
        switch
    }

    fn seconds(&mut self, entry: &Entry) -> Option<u32> {
        let seconds = self.single(entry)?.text.parse().ok().filter(|seconds| *seconds > 0);
        if seconds.is_none() {
            self.error("bad-value", entry.value.span, "'wait_timeout' takes a number of seconds");
        }
        seconds
    }

    fn word(&mut self, entry: &Entry) -> Option<String> {
        let scalar = self.single(entry)?;
        Some(self.text(entry.name(), scalar, entry.value.span, Site::Nowhere))
    }

    /// `640` and `0640` alike: octal digits of owner, group and others.
    fn mode(&mut self, entry: &Entry) -> Option<u16> {
        let scalar = self.single(entry)?;
        let digits = scalar.text.strip_prefix("0o").unwrap_or(&scalar.text);
        let mode = u16::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777);
        let mode = mode.filter(|_| matches!(digits.len(), 3 | 4));
        if mode.is_none() {
            self.push(
                Diagnostic::error("bad-value", entry.value.span, "'mode' takes three octal digits")
                    .help("such as 640: owner, group and others, each 4 to use, 2 to manage, 1 to administer"),
            );
        }
        mode
    }
}
