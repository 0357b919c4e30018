//! What is known of provision drivers: asked for while a template is checked, so that a wrong
//! parameter is found before anything is bought.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::Parameter;

use crate::check::names::nearest;
use crate::yaml::{Entry, Kind, Node};

/// The drivers that there are.
pub trait DriverCatalog: Send + Sync {
    /// What a driver takes, by the name that a template gives; `None` if it does not say, and then
    /// anything goes.
    ///
    /// # Errors
    /// There is no such driver: why, in words, with where it was looked for.
    fn parameters(&self, driver: &str) -> Result<Option<Arc<[Parameter]>>, String>;

    /// The names of all drivers, for help.
    fn names(&self) -> Vec<String>;
}

/// What came of looking for a driver.
pub(crate) type Found = Result<Option<Arc<[Parameter]>>, String>;

/// The drivers of one load, each asked for once.
pub(crate) struct Catalog<'c> {
    source: Option<&'c dyn DriverCatalog>,
    known: RefCell<HashMap<String, Found>>,
}

impl<'c> Catalog<'c> {
    pub(crate) fn of(source: Option<&'c dyn DriverCatalog>) -> Self {
        Self { source, known: RefCell::default() }
    }

    /// What a driver takes. Without anybody to ask, any driver takes anything.
    pub(crate) fn find(&self, driver: &str) -> Found {
        let Some(source) = self.source else { return Ok(None) };
        let mut known = self.known.borrow_mut();
        if let Some(found) = known.get(driver) {
            return found.clone();
        }
        let found = source.parameters(driver);
        known.insert(driver.to_owned(), found.clone());
        found
    }

    /// The driver that was probably meant.
    pub(crate) fn nearest(&self, driver: &str) -> Option<String> {
        let names = self.source?.names();
        if names.iter().any(|name| name == driver) {
            // It is there and broken: that is what was said.
            return None;
        }
        nearest(driver, names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The parameters, in lower case, that a driver of this template calls secret. Those of one
    /// driver are hidden for all: `defaults` are everybody's.
    pub(crate) fn secrets(&self, root: &Node, others: &[&str]) -> HashSet<String> {
        let mut drivers: HashSet<&str> = others.iter().copied().collect();
        each_provision(root, &mut |entries| {
            let driver = entries.iter().find(|entry| entry.name().eq_ignore_ascii_case("driver"));
            let scalar = driver.and_then(|entry| entry.value.as_scalar());
            drivers.extend(scalar.map(|scalar| scalar.text.as_str()));
        });
        let mut secrets = HashSet::new();
        for driver in drivers {
            let Ok(Some(parameters)) = self.find(driver) else { continue };
            for parameter in parameters.iter().filter(|parameter| parameter.secret) {
                let names = std::iter::once(&parameter.name).chain(&parameter.aliases);
                secrets.extend(names.map(|name| name.to_ascii_lowercase()));
            }
        }
        secrets
    }
}

/// Visits every group `provision` of a template.
pub(crate) fn each_provision<'n>(root: &'n Node, visit: &mut dyn FnMut(&'n [Entry])) {
    for section in root.as_map().unwrap_or(&[]) {
        let single = std::slice::from_ref(&section.value);
        for object in section.value.as_list().unwrap_or(single) {
            for entry in object.as_map().unwrap_or(&[]) {
                if entry.name().eq_ignore_ascii_case("provision") {
                    visit(entry.value.as_map().unwrap_or(&[]));
                }
            }
        }
    }
}

/// Makes secrets of the parameters of those names (lower case), wherever they stand.
pub(crate) fn hide(root: &mut Node, names: &HashSet<String>) {
    fn mark(node: &mut Node) {
        match &mut node.kind {
            Kind::Scalar(scalar) => scalar.secret |= !scalar.is_null(),
            Kind::List(items) => items.iter_mut().for_each(mark),
            // A reference to a secret shows nothing of it.
            Kind::Map(_) => {}
        }
    }
    fn object(node: &mut Node, names: &HashSet<String>) {
        let Kind::Map(entries) = &mut node.kind else { return };
        for entry in entries {
            if !entry.key.text.eq_ignore_ascii_case("provision") {
                continue;
            }
            let Kind::Map(parameters) = &mut entry.value.kind else { continue };
            for parameter in parameters {
                if names.contains(&parameter.key.text.to_ascii_lowercase()) {
                    mark(&mut parameter.value);
                }
            }
        }
    }
    let Kind::Map(sections) = &mut root.kind else { return };
    for section in sections {
        match &mut section.value.kind {
            Kind::List(items) => items.iter_mut().for_each(|item| object(item, names)),
            _ => object(&mut section.value, names),
        }
    }
}
