//! The short form of `configure.files`: `files` at the top level.
//!
//! Each file of a template is brought to the long form before it is merged with others, so that a
//! base's files come before those of what extends it, whichever form either of them has.

use crate::diagnostic::Diagnostic;
use crate::merge::join;
use crate::yaml::{Entry, Kind, Node, Scalar, Style};

/// Puts the `files` of the top level into `configure`, before those that are there.
pub(crate) fn lengthen(entries: &mut Vec<Entry>, diagnostics: &mut Vec<Diagnostic>) {
    let at = |entries: &[Entry], key: &str| {
        entries.iter().position(|entry| entry.name() == key && !entry.value.is_null())
    };
    let Some(short) = at(entries, "files") else { return };
    if let Some(long) = at(entries, "configure") {
        let is_group = entries.get(long).is_some_and(|entry| entry.value.as_map().is_some());
        if !is_group {
            // That is said when it is checked.
            return;
        }
        let files = entries.remove(short);
        let configure = entries.iter_mut().find(|entry| entry.name() == "configure");
        if let Some(Entry { value: Node { kind: Kind::Map(own), .. }, .. }) = configure {
            put(files, own, diagnostics);
        }
        return;
    }
    entries.retain(|entry| entry.name() != "configure");
    if let Some(entry) = entries.iter_mut().find(|entry| entry.name() == "files") {
        let key =
            Scalar { text: "configure".to_owned(), style: Style::Plain, tag: None, secret: false };
        let (key_span, span) = (entry.key_span, entry.key_span);
        let files = std::mem::replace(
            entry,
            Entry { key, key_span, value: Node { span, kind: Kind::Map(Vec::new()) } },
        );
        entry.value.kind = Kind::Map(vec![files]);
    }
}

fn put(files: Entry, own: &mut Vec<Entry>, diagnostics: &mut Vec<Diagnostic>) {
    let Some(there) = own.iter_mut().find(|entry| entry.name() == "files") else {
        own.push(files);
        return;
    };
    if there.value.is_null() || files.value.as_list().is_none() {
        *there = files;
        return;
    }
    if there.value.as_list().is_none() {
        // Whichever is no list stays, so that this is said when it is checked.
        return;
    }
    diagnostics.push(
        Diagnostic::warning(
            "duplicate-key",
            files.key_span,
            "'files' is given in 'configure', too; both count, these before those",
        )
        .related(there.key_span, "it is given here"),
    );
    let span = there.value.span;
    let inner = std::mem::replace(&mut there.value, Node { span, kind: Kind::List(Vec::new()) });
    there.value = join(files.value, inner);
}
