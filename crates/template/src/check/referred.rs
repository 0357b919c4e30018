//! What references ask of objects: whether it is known when they are resolved.

use model::{Attributes, Value};

use super::Checker;
use crate::diagnostic::{Diagnostic, Span};
use crate::reference::{ObjectKind, Reference};
use crate::spec::{Spec, VirtualKind};

/// A reference to an object, and where it stands.
pub(super) struct Referred {
    pub(super) kind: ObjectKind,
    pub(super) index: usize,
    pub(super) path: String,
    pub(super) span: Span,
}

/// What the tool itself writes into every object, below `TEMPLATE`.
const MARKS: [&str; 3] = ["PM_MAD", "PROVISION/PROVISION_ID", "PROVISION/NAME"];

/// Beside that into hosts: these, and what is below them.
const OF_HOSTS: [&str; 7] = [
    "PROVISION/HOST_KEY",
    "PROVISION_CONFIGURATION_BASE64",
    "PROVISION_CONFIGURATION_STATUS",
    "PROVISION_STEPS_BASE64",
    "PROVISION_CONNECTION",
    "CONTEXT",
    "ANSIBLE_PLAYBOOK",
];

impl Checker<'_> {
    /// Reports references to what OpenNebula or the provider gives an object: of one that is made, its
    /// id, its name and what was sent are known.
    pub(super) fn check_referred(&mut self, spec: &Spec) {
        for Referred { kind, index, path, span } in std::mem::take(&mut self.referred) {
            let Some(object) = Object::of(spec, kind, index) else { continue };
            // A reference of 6.x does not say where in the object it looks.
            let short = !path.contains('/');
            let below = [String::new(), "TEMPLATE/".to_owned(), "TEMPLATE/PROVISION/".to_owned()];
            let places = if short { &below[..] } else { &below[..1] };
            if places.iter().any(|place| object.has(&format!("{place}{path}"))) {
                continue;
            }
            let reference = Reference::Object { kind, index, path };
            let message = format!(
                "{reference} is not in the template, so that whatever needs it cannot be made"
            );
            self.push(Diagnostic::warning("bad-reference", span, message).help(
                "of an object that is made, ID, NAME and what the template gives it can be referred to, \
                 not what OpenNebula or the provider adds",
            ));
        }
    }
}

/// What is known of an object.
struct Object<'s> {
    attributes: &'s Attributes,
    /// That of its own, unless it is among the attributes.
    provision: Option<&'s Attributes>,
    host: bool,
}

impl<'s> Object<'s> {
    /// `None` if there is none, or if what is known of it is not in the template: an app of a
    /// marketplace brings attributes of its own.
    fn of(spec: &'s Spec, kind: ObjectKind, index: usize) -> Option<Self> {
        let section = |objects: &'s [crate::spec::ObjectSpec]| {
            let object = objects.get(index)?;
            let provision = Some(&object.provision);
            Some(Self { attributes: &object.attributes, provision, host: false })
        };
        let of_kind = |kind, index| {
            let mut all = spec.virtual_objects.iter().filter(move |object| object.kind == kind);
            let attributes = &all.nth(index)?.attributes;
            Some(Self { attributes, provision: None, host: false })
        };
        let apps = || {
            let all = spec.virtual_objects.iter();
            all.filter(|object| object.kind == VirtualKind::MarketplaceApp).count()
        };
        match kind {
            ObjectKind::Cluster => section(std::slice::from_ref(&spec.cluster)),
            ObjectKind::Datastore => section(&spec.datastores),
            ObjectKind::Network => section(&spec.networks),
            ObjectKind::Host => {
                let host = spec.hosts.get(index)?;
                let provision = Some(&host.provision);
                Some(Self { attributes: &host.attributes, provision, host: true })
            }
            ObjectKind::Image => of_kind(VirtualKind::Image, index),
            ObjectKind::Template => of_kind(VirtualKind::Template, index.checked_sub(apps())?),
            ObjectKind::Vntemplate => of_kind(VirtualKind::Vntemplate, index),
            ObjectKind::Flowtemplate => None,
        }
    }

    fn has(&self, path: &str) -> bool {
        if ["ID", "NAME"].contains(&path) {
            return true;
        }
        let Some(path) = path.strip_prefix("TEMPLATE/") else { return false };
        let given = |attributes: &Attributes, path: &str| {
            attributes.get(path).is_some_and(|value| match value {
                Value::Vector(_) => false,
                value => value.expose().is_none_or(|text| !text.is_empty()),
            })
        };
        let provision = path.strip_prefix("PROVISION/");
        let of_provision = provision.and_then(|path| Some(given(self.provision?, path)));
        let written = |known: &str| {
            path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        given(self.attributes, path)
            || of_provision == Some(true)
            || MARKS.contains(&path)
            || self.host && OF_HOSTS.into_iter().any(written)
    }
}
