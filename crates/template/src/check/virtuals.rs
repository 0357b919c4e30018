//! Virtual objects: images, marketplace apps, templates of machines, networks and services.

use std::collections::HashMap;

use model::{Attributes, Secret, Value};
use serde_json::Number;

use super::text::{Site, old_truth, old_type};
use super::{Checker, Item, find, find_any_case};
use crate::diagnostic::{Diagnostic, Span};
use crate::keys::{self, Key};
use crate::reference;
use crate::sensitive;
use crate::spec::{VirtualKind, VirtualSpec};
use crate::yaml::{Entry, Kind, Node, Scalar, Style};

/// Keys that do not become attributes as they are.
const OWN: [&str; 2] = ["name", "meta"];

impl VirtualKind {
    /// Keys that mean something here.
    fn keys(self) -> &'static [Key] {
        match self {
            Self::Image => keys::IMAGE,
            Self::MarketplaceApp => keys::APP,
            Self::Template => keys::TEMPLATE,
            Self::Vntemplate => keys::VNTEMPLATE,
            Self::Flowtemplate => keys::FLOWTEMPLATE,
        }
    }

    /// Keys that take the id of another object.
    fn ids(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["ds_id"],
            Self::MarketplaceApp => &["dsid", "appid"],
            Self::Template | Self::Vntemplate | Self::Flowtemplate => &[],
        }
    }
}

impl<'c> Checker<'c> {
    /// All virtual objects in the order of their creation.
    pub(super) fn virtual_objects(&mut self, entries: &'c [Entry]) -> Vec<VirtualSpec> {
        let mut objects = Vec::new();
        for kind in VirtualKind::ALL {
            let items = self.items(entries, kind.section());
            let mut names = HashMap::new();
            for item in items {
                objects.push(self.virtual_object(kind, item, &mut names));
            }
        }
        objects
    }

    fn virtual_object(
        &mut self,
        kind: VirtualKind,
        item: Item<'c>,
        names: &mut HashMap<String, Span>,
    ) -> VirtualSpec {
        let site = Site::of(kind.section(), item.index);
        let (one, number) = (kind.one(), item.index + 1);
        let given = |key: &str| find_any_case(item.entries, key).filter(|e| !e.value.is_null());
        let name = given("name").and_then(|entry| self.object_name(entry, site));
        let name = name.unwrap_or_default();
        if let Some(entry) = given("name").filter(|_| !name.is_empty()) {
            self.unique(names, name.clone(), entry.value.span, &format!("the {one} '{name}'"));
        }
        for key in keys::required(kind.keys()).filter(|key| given(key).is_none()) {
            self.missing(item, key, format!("there is no {key} in {one} {number}"));
        }
        if kind == VirtualKind::MarketplaceApp
            && given("appid").is_none()
            && given("appname").is_none()
        {
            let message = format!("there is neither appid nor appname in {one} {number}");
            self.missing(item, "appid", message);
        }
        for entry in kind.ids().iter().filter_map(|key| given(key)) {
            self.check_id(entry);
        }
        let meta = self.meta(item.entries, Some(kind));
        let (attributes, body) = match kind {
            VirtualKind::Flowtemplate => (Attributes::new(), Some(self.body(&name, item, site))),
            _ => (self.attributes(item.entries, &OWN, site), None),
        };
        VirtualSpec { kind, name, attributes, body, meta, origin: self.origin(item.span) }
    }

    fn check_id(&mut self, entry: &Entry) {
        let Some(scalar) = self.single(entry) else { return };
        let text = scalar.text.trim();
        if !reference::has_reference(text) && !text.parse().is_ok_and(|id: i32| id >= 0) {
            let message =
                format!("'{}' takes the id of an object, which is a number", entry.name());
            self.push(Diagnostic::error("bad-value", entry.value.span, message).help(
                "an object of this template is '<%= @datastores[0]['ID'] %>' or \
                     '${datastore.NAME.id}'",
            ));
        }
    }

    /// A service template, which OneFlow takes as JSON.
    fn body(&mut self, name: &str, item: Item<'_>, site: Site) -> Value {
        if find(item.entries, "roles").is_none_or(|roles| roles.value.is_null()) {
            let message = "a service template without 'roles' is refused by OneFlow";
            self.push(Diagnostic::warning("missing-key", item.span, message));
        }
        let mut secret = false;
        let mut object = serde_json::Map::new();
        object.insert("name".to_owned(), name.into());
        for entry in item.entries {
            if !OWN.contains(&entry.name().to_ascii_lowercase().as_str()) {
                let value = self.json(entry.name(), &entry.value, site, &mut secret);
                object.insert(entry.name().to_owned(), value);
            }
        }
        let text = serde_json::Value::Object(object).to_string();
        if secret { Value::Secret(Secret::new(text)) } else { Value::Text(text) }
    }

    fn json(&mut self, key: &str, node: &Node, site: Site, secret: &mut bool) -> serde_json::Value {
        match &node.kind {
            Kind::Scalar(scalar) => {
                *secret |= sensitive::holds_secret(key, scalar);
                self.check_old_types(key, scalar, node.span);
                let text = self.stored(scalar, node.span, site);
                json_scalar(scalar, text)
            }
            Kind::List(items) => {
                items.iter().map(|item| self.json(key, item, site, secret)).collect()
            }
            Kind::Map(entries) => entries
                .iter()
                .map(|entry| {
                    let value = self.json(entry.name(), &entry.value, site, secret);
                    (entry.name().to_owned(), value)
                })
                .collect(),
        }
    }
}

/// What a scalar is in YAML's core schema (YAML 1.2.2, 10.3), as far as JSON has it, and beside it the
/// words of YAML 1.1 for true and false: OneFlow takes every text for true, `no` too. A number that the
/// old tool read as another one stays a text, of which a finding tells.
fn json_scalar(scalar: &Scalar, text: String) -> serde_json::Value {
    if scalar.style != Style::Plain || scalar.tag.is_some() {
        return text.into();
    }
    if scalar.is_null() {
        return serde_json::Value::Null;
    }
    if let Some(truth) = old_truth(&text) {
        return truth.into();
    }
    if old_type(&text).is_some() {
        return text.into();
    }
    let number = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if let Some(number) = text.parse::<i64>().ok().filter(|_| number) {
        return number.into();
    }
    let float = text.parse::<f64>().ok().filter(|_| number).and_then(Number::from_f64);
    float.map_or_else(|| text.into(), serde_json::Value::Number)
}
