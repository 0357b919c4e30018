//! Where credentials rest: a document of the front-end, and never a host's template.
//!
//! Since 6.0 OpenNebula keeps host templates in clear, but it encrypts the attribute `PROVISION_BODY`
//! of any document (`DOCUMENT_ENCRYPTED_ATTR` of `oned.conf`), and gives it in clear to an
//! administrator (`one.document.info` with `decrypt`). So the secrets of a provision go into one
//! document, which every coordinator of the front-end can read and `delete` removes; templates hold
//! references to it, `oneprovision:secret:DOCUMENT:NUMBER`.
//!
//! A secret that is from a named provider has a longer one, `oneprovision:secret:DOCUMENT:NUMBER:PROVIDER`:
//! the provider's document is asked first, for the value of the attribute that the reference stands in.
//!
//! The document's body is JSON: `values`, every secret once, and `positions`, for each place of the
//! template in its order the number of its value. With it a resume needs the template's file no more.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driver::deployment::hide_secrets;
use model::{Attributes, DocumentId, Secret, Value};
use opennebula::Client;
use serde::{Deserialize, Serialize};
use template::ProviderUse;
use template::reference::{evaluate, evaluate_json_texts, evaluate_yaml};
use template::spec::Spec;

use crate::json::storable;
use crate::overview::Pools;
use crate::providers::{ProviderSecrets, referred};
use crate::values::Known;
use crate::{Engine, EngineError};

/// Type of our documents; 100 to 104 are OpenNebula's own.
pub const DOCUMENT_TYPE: i32 = 4242;

const REFERENCE: &str = "oneprovision:secret:";

/// The secrets of a provision, in clear in memory only.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Secrets {
    values: Vec<String>,
    positions: Vec<usize>,
    /// Digest of the template that these are the positions of; none in documents of before 0.2.
    #[serde(default)]
    digest: String,
    /// The same of the template before an update, until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<(String, Vec<usize>)>,
    /// Whether the document does not have it all.
    #[serde(skip)]
    is_new: bool,
}

impl Secrets {
    /// All secrets of a template, which its digest names.
    pub fn of(spec: &Spec, digest: &str, known: &Known) -> Result<Self, EngineError> {
        let mut secrets = Self { digest: digest.to_owned(), ..Self::default() };
        let mut failed = None;
        visit(&mut spec.clone(), &mut |place, value| {
            let Value::Secret(secret) = value else { return };
            let position = secrets.number(secret.expose());
            secrets.positions.push(position);
            let derived = match place {
                Place::Configuration => {
                    evaluate_yaml(secret.expose(), known).map(|yaml| STANDARD.encode(yaml))
                }
                Place::Steps => {
                    evaluate_json_texts(secret.expose(), known).map(|json| STANDARD.encode(json))
                }
                Place::Value => evaluate(secret.expose(), known),
                // Nothing refers to it; it is kept for a resume.
                Place::Virtual => return,
            };
            match derived {
                Ok(text) => drop(secrets.number(&text)),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        });
        match failed {
            None => Ok(secrets),
            Some(error) => Err(EngineError::Template(format!(
                "a secret may only refer to the provision's own name and id: {error}"
            ))),
        }
    }

    /// These secrets, for a document that has those of an earlier template: whatever refers to one of
    /// those still finds it.
    pub fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before else { return Self { is_new: true, ..self } };
        let mut all = Self { positions: Vec::new(), ..before.clone() };
        let numbers: Vec<usize> = self.values.iter().map(|value| all.number(value)).collect();
        let number = |position: &usize| numbers.get(*position).copied();
        all.positions = self.positions.iter().filter_map(number).collect();
        all.is_new = all.values != before.values || all.positions != before.positions;
        if before.digest != self.digest {
            all.is_new = true;
            all.before = Some((before.digest, before.positions));
        }
        all.digest = self.digest;
        all
    }

    /// Whether the document does not have it all.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    fn number(&mut self, text: &str) -> usize {
        self.values.iter().position(|value| value == text).unwrap_or_else(|| {
            self.values.push(text.to_owned());
            self.values.len() - 1
        })
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Gives a template that was read from the journal its secrets back, if it is the document's.
    pub fn fill(&self, spec: &mut Spec, digest: &str) {
        let before = self.before.as_ref().filter(|(before, _)| before == digest);
        let positions = match (before, self.digest == digest || self.digest.is_empty()) {
            (_, true) => &self.positions,
            (Some((_, positions)), false) => positions,
            (None, false) => return,
        };
        let mut positions = positions.iter();
        visit(spec, &mut |_, value| {
            let number = positions.next();
            if let (Value::Withheld, Some(text)) =
                (&*value, number.and_then(|n| self.values.get(*n)))
            {
                *value = Value::Secret(Secret::new(text.as_str()));
            }
        });
    }

    /// The document's template, with our mark.
    pub fn document(&self, name: &str, known: &Known) -> Result<Attributes, EngineError> {
        let body = serde_json::to_string(self).map_err(|_| {
            EngineError::Template("the credentials cannot be written as JSON".to_owned())
        })?;
        let mut template = Attributes::new();
        template.push("NAME", name);
        template.push("PROVISION_BODY", Secret::new(storable(&body)));
        template.push("PROVISION", known.marked(Attributes::new()));
        Ok(template)
    }

    /// Reads the document back, in clear.
    ///
    /// # Errors
    /// If the front-end cannot be read. `None`: the user may not see it in clear.
    pub async fn read(client: &Client, id: DocumentId) -> Result<Option<Self>, opennebula::Error> {
        let document = client.documents().info_decrypted(id).await?;
        let body = document.template.text("PROVISION_BODY").unwrap_or_default();
        Ok(serde_json::from_str(body).ok())
    }

    /// A tree with every secret replaced by a reference to the document. A secret that the document
    /// does not have stays one.
    pub fn conceal(&self, attributes: &Attributes, document: DocumentId) -> Attributes {
        if !attributes.has_secret() {
            return attributes.clone();
        }
        let conceal = |value: &Value| match value {
            Value::Secret(secret) => {
                let number = self.values.iter().position(|value| value == secret.expose());
                match number {
                    Some(number) => Value::Text(format!("{REFERENCE}{document}:{number}")),
                    None => value.clone(),
                }
            }
            Value::Vector(inner) => Value::Vector(self.conceal(inner, document)),
            other => other.clone(),
        };
        attributes.iter().map(|(key, value)| (key.to_owned(), conceal(value))).collect()
    }
}

/// Lets the secrets of a host that are from a named provider refer to that, too.
pub(crate) fn follow(stored: &mut Attributes, used: &ProviderUse) {
    for (name, value) in stored.iter_mut() {
        let Value::Vector(provision) = value else { continue };
        if name != "PROVISION" {
            continue;
        }
        for (key, value) in provision.iter_mut() {
            if let Value::Text(text) = value
                && text.starts_with(REFERENCE)
                && used.secrets.iter().any(|secret| secret == key)
            {
                text.push_str(&format!(":{}", used.document));
            }
        }
    }
}

/// The provider's document to which a reference leads, if it leads to one.
pub(crate) fn provider_of(text: &str) -> Option<i32> {
    text.strip_prefix(REFERENCE)?.splitn(3, ':').nth(2)?.parse().ok()
}

/// Documents that were read, by their ids, and the providers that their provisions use.
#[derive(Default)]
pub(crate) struct Revealed {
    documents: BTreeMap<i32, Secrets>,
    providers: ProviderSecrets,
}

impl Revealed {
    /// Reads the documents of these objects, and the providers to which their hosts refer. What
    /// cannot be read in clear is left out.
    pub async fn read(engine: &Engine, pools: &Pools) -> Result<Self, EngineError> {
        let mut revealed = Self::default();
        for document in &pools.documents {
            let read = Secrets::read(&engine.opennebula, document.id).await;
            let read = read.map_err(EngineError::opennebula(format!(
                "the credentials in document {} cannot be read",
                document.id
            )))?;
            revealed.documents.extend(read.map(|secrets| (i32::from(document.id), secrets)));
        }
        let providers = referred(pools.hosts.iter().map(|host| &host.template));
        revealed.providers = engine.provider_secrets(providers).await?;
        Ok(revealed)
    }

    /// A tree with every reference replaced by its secret, as far as it could be read.
    pub fn reveal(&self, attributes: &Attributes) -> Attributes {
        let reveal = |key: &str, value: &Value| match value {
            Value::Text(text) => match self.find(key, text) {
                Some(secret) => Value::Secret(secret),
                None => value.clone(),
            },
            Value::Vector(inner) => Value::Vector(self.reveal(inner)),
            other => other.clone(),
        };
        attributes.iter().map(|(key, value)| (key.to_owned(), reveal(key, value))).collect()
    }

    fn find(&self, key: &str, text: &str) -> Option<Secret> {
        let mut parts = text.strip_prefix(REFERENCE)?.splitn(3, ':');
        let (document, number) = (parts.next()?, parts.next()?);
        let current = provider_of(text).and_then(|provider| self.providers.get(provider, key));
        if let Some(secret) = current {
            return Some(secret.clone());
        }
        let secrets = self.documents.get(&document.parse().ok()?)?;
        secrets.values.get(number.parse::<usize>().ok()?).map(|text| Secret::new(text.as_str()))
    }
}

impl Engine {
    /// Makes secrets of what an object has in clear: of what its name gives away, and of what its
    /// driver's description calls one. 5.12, and `--secrets-in-template`, kept them so.
    pub(crate) fn hide(&self, template: Attributes) -> Attributes {
        let mut template = hide_secrets(template);
        let driver = template.text("PM_MAD").and_then(|name| self.drivers.find(name).ok());
        let described = driver.and_then(|driver| driver.describe().parameters).unwrap_or_default();
        for (_, vector) in template.iter_mut().filter(|(key, _)| *key == "PROVISION") {
            let Value::Vector(provision) = vector else { continue };
            for (name, value) in provision.iter_mut() {
                let is_secret = described.iter().any(|known| known.secret && known.is_named(name));
                if let (true, Value::Text(text)) = (is_secret, &*value) {
                    *value = Value::Secret(Secret::new(text.clone()));
                }
            }
        }
        template
    }
}

/// Whether a value refers to a secret in a document.
pub(crate) fn is_reference(text: &str) -> bool {
    text.starts_with(REFERENCE)
}

/// Whether a tree still has a reference in it: a secret that could not be read.
pub(crate) fn is_concealed(attributes: &Attributes) -> bool {
    attributes.iter().any(|(_, value)| match value {
        Value::Text(text) => is_reference(text),
        // By its name it is a secret, and was hidden.
        Value::Secret(secret) => is_reference(secret.expose()),
        Value::Vector(inner) => is_concealed(inner),
        _ => false,
    })
}

/// Whether a template that was read from the journal still lacks a secret.
pub(crate) fn lacks_secrets(spec: &Spec) -> bool {
    let mut lacks = false;
    visit(&mut spec.clone(), &mut |_, value| lacks |= *value == Value::Withheld);
    lacks
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A value as it is.
    Value,
    /// A host's configuration, YAML that is encoded before it is sent.
    Configuration,
    /// Files and commands of a host, JSON that is encoded before it is sent.
    Steps,
    /// A part of a virtual object, which OpenNebula itself is to read.
    Virtual,
}

/// Every secret of a template, known or withheld, in an order that depends on the template alone.
fn visit(spec: &mut Spec, found: &mut dyn FnMut(Place, &mut Value)) {
    let objects =
        std::iter::once(&mut spec.cluster).chain(&mut spec.datastores).chain(&mut spec.networks);
    for object in objects {
        visit_tree(&mut object.attributes, Place::Value, found);
        visit_tree(&mut object.provision, Place::Value, found);
    }
    for host in &mut spec.hosts {
        visit_tree(&mut host.provision, Place::Value, found);
        visit_tree(&mut host.connection.given, Place::Value, found);
        if matches!(host.configuration, Value::Secret(_) | Value::Withheld) {
            found(Place::Configuration, &mut host.configuration);
        }
        visit_tree(&mut host.attributes, Place::Value, found);
    }
    // Later: documents of earlier versions have no positions for these.
    for object in &mut spec.virtual_objects {
        visit_tree(&mut object.attributes, Place::Virtual, found);
        if let Some(body @ (Value::Secret(_) | Value::Withheld)) = &mut object.body {
            found(Place::Virtual, body);
        }
    }
    for host in &mut spec.hosts {
        if let Some(steps @ (Value::Secret(_) | Value::Withheld)) = &mut host.steps {
            found(Place::Steps, steps);
        }
    }
}

fn visit_tree(attributes: &mut Attributes, place: Place, found: &mut dyn FnMut(Place, &mut Value)) {
    for (_, value) in attributes.iter_mut() {
        match value {
            Value::Secret(_) | Value::Withheld => found(place, value),
            Value::Vector(inner) => visit_tree(inner, place, found),
            _ => {}
        }
    }
}
