//! Names of objects, and the nearest known key.

use super::Checker;
use crate::diagnostic::{Diagnostic, Span};
use crate::reference::has_reference;

/// Longest name in bytes (`PoolObjectSQL::name_is_valid` of `src/pool/PoolObjectSQL.cc`, read in
/// 5.12.0, 6.10.0 and 7.4.0).
const MAX_NAME: usize = 128;

/// Characters that no name may have (`PoolObjectSQL::INVALID_NAME_CHARS`, the same file and
/// releases). Since 7.0 tab, line feed, vertical tab, form feed and carriage return are among them;
/// control characters are refused here for every release.
///
/// Hosts have a rule of their own since 7.0 (`src/host/HostPool.cc`): 2 to 63 letters, digits, `-`,
/// `.` and `_`, of which the last three cannot stand at the ends. It is not checked here, because a
/// host object is named by the address that its machine gets, not by the template.
const BAD_CHARACTERS: &str = "&|:\\\";/'#{}$<>";

impl Checker<'_> {
    /// Checks the name of an object. What references stand for is not known yet.
    pub(super) fn check_name(&mut self, name: &str, span: Span) {
        if has_reference(name) {
            return;
        }
        let bad = name.chars().find(|c| BAD_CHARACTERS.contains(*c) || c.is_control());
        let why = if name.trim().is_empty() {
            "a name cannot be empty".to_owned()
        } else if name.len() > MAX_NAME {
            format!("a name has at most {MAX_NAME} bytes, and this one has {}", name.len())
        } else if let Some(c) = bad {
            format!("OpenNebula does not take {c:?} in a name")
        } else {
            return;
        };
        self.push(Diagnostic::error("bad-name", span, why));
    }
}

/// Keys of objects that mean something, so that they are not taken for a misspelt other one
/// (`im_mad` for `vm_mad`).
const MEANT: [&str; 13] = [
    "im_mad",
    "vm_mad",
    "vn_mad",
    "tm_mad",
    "ds_mad",
    "name",
    "hostname",
    "provision",
    "connection",
    "configuration",
    "configure",
    "meta",
    "type",
];

/// The key of an object that an unknown key was probably meant to be.
pub(super) fn nearest_key<'k>(
    key: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    let key = key.to_ascii_lowercase();
    if MEANT.contains(&key.as_str()) { None } else { nearest(&key, known) }
}

/// The known word that a word was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Two mistakes in a long word, one in a short one.
    let allowed = if word.chars().count() > 5 { 2 } else { 1 };
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Help that names the nearest word, or all of them.
pub(crate) fn nearest_help<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str> + Clone,
) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => {
            let all: Vec<_> = known.into_iter().collect();
            format!("known keys are {}", all.join(", "))
        }
    }
}
