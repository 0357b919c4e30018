//! Single values: references, characters that OpenNebula cannot store, and what the old tool's
//! YAML 1.1 would have made of them.

use model::Unstorable;

use super::Checker;
use super::referred::Referred;
use crate::diagnostic::{Diagnostic, Span};
use crate::quotes::unescaped;
use crate::reference::{self, Content, Late, ObjectKind, Piece, Reference};
use crate::yaml::compose::shorten;
use crate::yaml::{Entry, Scalar, Style};

/// The sections whose objects are created, in this order.
const SECTIONS: [&str; 9] = [
    "cluster",
    "datastores",
    "networks",
    "hosts",
    "images",
    "marketplaceapps",
    "templates",
    "vntemplates",
    "flowtemplates",
];

/// Where a value stands, which decides what it can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// No object can be referred to.
    Nowhere,
    /// In the object of that section (an index of `SECTIONS`) and that number.
    Object {
        section: usize,
        index: usize,
        /// Whether the object can do without the value at first.
        may_wait: bool,
    },
}

/// The sections whose objects can be made without an attribute that gets its value later, which are those
/// that went to OpenNebula in its text form.
const WAITING: [&str; 6] =
    ["cluster", "datastores", "networks", "images", "templates", "vntemplates"];

fn is_waiting(section: usize) -> bool {
    SECTIONS.get(section).is_some_and(|name| WAITING.contains(name))
}

impl Site {
    pub(super) fn of(section: &str, index: usize) -> Self {
        match SECTIONS.iter().position(|known| *known == section) {
            Some(section) => Self::Object { section, index, may_wait: false },
            None => Self::Nowhere,
        }
    }

    /// Whether values of this place went to OpenNebula in its text form.
    fn was_text(self) -> bool {
        match self {
            Self::Object { section, .. } => is_waiting(section),
            Self::Nowhere => false,
        }
    }

    /// The same for the value of an attribute that is not within a group of keys, and that OpenNebula
    /// can do without.
    pub(super) fn of_attribute(self) -> Self {
        match self {
            Self::Object { section, index, .. } => {
                Self::Object { section, index, may_wait: is_waiting(section) }
            }
            Self::Nowhere => Self::Nowhere,
        }
    }
}

/// How many objects each section has.
#[derive(Debug)]
pub(super) struct Counts([usize; 9]);

impl Counts {
    pub(super) fn of(entries: &[Entry]) -> Self {
        Self(SECTIONS.map(|section| {
            let entry = entries.iter().find(|entry| entry.name() == section);
            let items = entry.and_then(|entry| entry.value.as_list());
            // There is always one cluster, also if the template does not describe it.
            items.map_or(usize::from(section == "cluster"), <[_]>::len)
        }))
    }

    /// Number of objects of a kind that exist when the first `sections` sections are done and
    /// `index` objects of the next one. A marketplace app makes an image and a template.
    fn made(&self, kind: ObjectKind, section: usize, index: usize) -> usize {
        let sources: &[&str] = match kind {
            ObjectKind::Image => &["images", "marketplaceapps"],
            ObjectKind::Template => &["marketplaceapps", "templates"],
            ObjectKind::Cluster => &["cluster"],
            _ => &[kind.variable()],
        };
        // All hosts are registered before the first one is known to the others.
        let index = if kind == ObjectKind::Host { 0 } else { index };
        let counts = SECTIONS.iter().zip(self.0).enumerate();
        counts
            .filter(|(_, (name, _))| sources.contains(name))
            .map(|(at, (_, count))| match at.cmp(&section) {
                std::cmp::Ordering::Less => count,
                std::cmp::Ordering::Equal => index,
                std::cmp::Ordering::Greater => 0,
            })
            .sum()
    }

    fn total(&self, kind: ObjectKind) -> usize {
        self.made(kind, SECTIONS.len(), 0)
    }
}

impl Checker<'_> {
    /// A value as it goes into the spec: references in canonical form, the provision's own name in
    /// their place.
    pub(super) fn text(&mut self, key: &str, scalar: &Scalar, span: Span, site: Site) -> String {
        self.check_tag(scalar, span);
        self.check_old_types(key, scalar, span);
        let text = self.stored(scalar, span, site);
        if site.was_text() { unescaped(text) } else { text }
    }

    /// Like [`Checker::text`] where the tag is not ours to judge: in the body of a service template.
    pub(super) fn stored(&mut self, scalar: &Scalar, span: Span, site: Site) -> String {
        self.check_storable(scalar, span, |_| true);
        self.referenced(scalar, span, site)
    }

    /// The same of what OpenNebula keeps in base64 only: Ansible's variables, files, commands.
    pub(super) fn resolved(&mut self, scalar: &Scalar, span: Span, site: Site) -> String {
        self.check_storable(scalar, span, |what| matches!(what, Unstorable::Control(_)));
        self.referenced(scalar, span, site)
    }

    fn referenced(&mut self, scalar: &Scalar, span: Span, site: Site) -> String {
        if !reference::has_reference(&scalar.text) {
            if scalar.text.contains("<%") {
                let message = "'<%' without '=' is kept as it is";
                self.push(
                    Diagnostic::warning("not-a-reference", span, message)
                        .help("a reference is written '<%= … %>'"),
                );
            }
            return scalar.text.clone();
        }
        match reference::parse(&scalar.text) {
            Ok(pieces) => self.references(pieces, scalar, span, site),
            Err(error) => {
                let span = self.sources.within(scalar, span, error.range);
                self.error("bad-reference", span, error.message);
                scalar.text.clone()
            }
        }
    }

    fn references(
        &mut self,
        pieces: Vec<Piece>,
        scalar: &Scalar,
        span: Span,
        site: Site,
    ) -> String {
        let mut out = String::new();
        for piece in pieces {
            match piece.content {
                Content::Text(text) => out.push_str(&text),
                Content::Reference(Reference::Name) => match &self.name {
                    Some(name) => out.push_str(name),
                    None => out.push_str(&Reference::Name.to_string()),
                },
                Content::Reference(reference) => {
                    let wrong = match reference {
                        Reference::Object { kind, index, .. } => self.not_there(kind, index, site),
                        Reference::Late(late) => self.not_late(late, site),
                        _ => None,
                    };
                    let span = self.sources.within(scalar, span, piece.range);
                    out.push_str(&reference.to_string());
                    match (wrong, reference) {
                        (Some(message), _) => self.error("bad-reference", span, message),
                        (None, Reference::Object { kind, index, path }) => {
                            self.referred.push(Referred { kind, index, path, span });
                        }
                        (None, _) => {}
                    }
                }
            }
        }
        out
    }

    /// Why an object cannot be referred to from a place.
    fn not_there(&self, kind: ObjectKind, index: usize, site: Site) -> Option<String> {
        let (section, own_index) = match site {
            Site::Nowhere => (0, 0),
            Site::Object { section, index, .. } => (section, index),
        };
        if index < self.counts.made(kind, section, own_index) {
            return None;
        }
        let variable = kind.variable();
        let total = self.counts.total(kind);
        let among_hosts = kind == ObjectKind::Host && SECTIONS.get(section) == Some(&"hosts");
        if among_hosts && index < total {
            return Some(
                "a host cannot refer to a host: their objects are made together, and no host is \
                 known before all of them are"
                    .to_owned(),
            );
        }
        if index < total {
            return Some(format!(
                "@{variable}[{index}] does not exist yet when this is created; \
                 objects are created in the order {}",
                SECTIONS.join(", ")
            ));
        }
        // A base that could not be read may bring more.
        self.complete.then(|| match total {
            0 => format!("@{variable}[{index}] does not exist; the template has no {variable}"),
            1 => format!("@{variable}[{index}] does not exist; there is only @{variable}[0]"),
            _ => format!(
                "@{variable}[{index}] does not exist; there are @{variable}[0] to @{variable}[{}]",
                total - 1
            ),
        })
    }

    /// Why what is known only when the hosts are there cannot stand in a place.
    fn not_late(&self, late: Late, site: Site) -> Option<String> {
        if !matches!(site, Site::Object { may_wait: true, .. }) {
            return Some(format!(
                "'{late}' is known only when the hosts are there: it can stand in attributes of the \
                 {}, not in what these cannot be made without, nor within a group of keys",
                WAITING.join(", ")
            ));
        }
        let none = self.complete && self.counts.total(ObjectKind::Host) == 0;
        none.then(|| format!("'{late}' is of the first host, and the template has no hosts"))
    }

    fn check_tag(&mut self, scalar: &Scalar, span: Span) {
        if let Some(tag) = scalar.tag.as_deref().filter(|tag| !tag.starts_with("!!") && *tag != "!")
        {
            let message = format!("the tag {} has no meaning here", shorten(tag));
            self.push(Diagnostic::warning("tag", span, message));
        }
    }

    pub(super) fn check_storable(
        &mut self,
        scalar: &Scalar,
        span: Span,
        counts: fn(Unstorable) -> bool,
    ) {
        if let Some(what) = model::unstorable(&scalar.text).filter(|what| counts(*what)) {
            let message = format!("the value contains {what}, which OpenNebula cannot store");
            self.error("unstorable", span, message);
        }
    }

    /// Values that YAML 1.1, which the old tool read, would have changed on the way to OpenNebula.
    pub(super) fn check_old_types(&mut self, key: &str, scalar: &Scalar, span: Span) {
        if scalar.style != Style::Plain || scalar.tag.is_some() {
            return;
        }
        let Some(what) = old_type(&scalar.text) else { return };
        let key = shorten(key);
        let message = format!("'{key}' is kept as written; the old tool read it as {what}");
        self.push(
            Diagnostic::warning("changed-value", span, message)
                .help("put it in quotes if it is meant as written"),
        );
    }
}

/// Whether a plain text is a word for true or false to YAML 1.1 as Ruby reads it
/// (`psych/scalar_scanner.rb`): without regard to case, and without `y` and `n`.
pub(super) fn old_truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    is(["true", "yes", "on"])
        .then_some(true)
        .or_else(|| is(["false", "no", "off"]).then_some(false))
}

/// What YAML 1.1 makes of a plain text that we keep, if that is something else.
pub(super) fn old_type(text: &str) -> Option<&'static str> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = digits.bytes().next()?;
    if !first.is_ascii_digit() {
        return None;
    }
    let all = |allowed: &str| digits.bytes().all(|b| allowed.as_bytes().contains(&b));
    if let Some(hex) = digits.strip_prefix("0x") {
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_');
        return is_hex.then_some("a hexadecimal number");
    }
    if digits.len() > 1 && first == b'0' && all("01234567_") {
        return Some("an octal number");
    }
    if digits.contains(':') && is_sexagesimal(digits) {
        return Some("a number of base 60");
    }
    let grouped = digits.contains('_') && all("0123456789_") && !digits.ends_with('_');
    grouped.then_some("a number without its '_'")
}

fn is_sexagesimal(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let first = parts.next().is_some_and(|part| {
        !part.is_empty()
            && !part.starts_with('0')
            && part.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    });
    first && parts.all(|part| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_types_are_recognised() {
        for (text, expected) in [
            ("012", Some("an octal number")),
            ("0", None),
            ("089", None),
            ("100", None),
            ("5.10", None),
            ("1_000", Some("a number without its '_'")),
            ("12:30:45", Some("a number of base 60")),
            ("52:54:00:12:34:56", Some("a number of base 60")),
            ("02:00:c0:a8:96:01", None),
            ("0x1F", Some("a hexadecimal number")),
            ("192.168.1.1", None),
            ("centos_7", None),
            ("1_", None),
            ("-012", Some("an octal number")),
            ("", None),
        ] {
            assert_eq!(old_type(text), expected, "{text}");
        }
    }
}
