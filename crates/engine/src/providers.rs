//! Named providers: the accounts of drivers, kept in the front-end apart from templates, so that
//! every coordinator has them.
//!
//! Each is a document of a type of its own. Name, driver and description can be seen by anybody who
//! may see the document; the values stand in `PROVISION_BODY`, which the front-end encrypts.
//!
//! A provision refers to its provider, so that a new token reaches its machines; and it has a copy of
//! its own, so that they can be destroyed even if the provider is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{Attributes, DocumentId, ProvisionId, Secret, Value};
use opennebula::Client;
use opennebula::objects::{Document, Update};
use serde::{Deserialize, Serialize};
use template::{Provider, ProviderValue, SecretReference, SecretSource, Spec};

use crate::again::{make, repeat};
use crate::create::encrypts_templates;
use crate::error::describe;
use crate::json::storable;
use crate::overview::Pools;
use crate::secrets::provider_of;
use crate::{Engine, EngineError};

/// Type of the documents; 100 to 104 are OpenNebula's own.
pub const PROVIDER_TYPE: i32 = 4243;

/// Longest name, in bytes, as of every object of OpenNebula.
const MAX_NAME: usize = 128;

/// What can be seen of a provider without its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEntry {
    /// Id of its document.
    pub id: DocumentId,
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// A text for people.
    pub description: String,
}

impl ProviderEntry {
    fn of(document: &Document) -> Self {
        let text = |key: &str| {
            let path = format!("PROVIDER/{key}");
            document.template.text(&path).unwrap_or_default().to_owned()
        };
        Self {
            id: document.id,
            name: document.name.clone(),
            driver: text("DRIVER"),
            description: text("DESCRIPTION"),
        }
    }
}

/// The body of a document.
#[derive(Serialize, Deserialize)]
struct Body {
    values: Vec<(String, Kept)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    Text(String),
    Secret(String),
    Reference(SecretReference),
}

/// The document's template.
fn document(provider: &Provider) -> Result<Attributes, EngineError> {
    let keep = |value: &ProviderValue| match value {
        ProviderValue::Text(text) => Kept::Text(text.clone()),
        ProviderValue::Secret(secret) => Kept::Secret(secret.expose().to_owned()),
        ProviderValue::Reference(reference) => Kept::Reference(reference.clone()),
    };
    let values = provider.values.iter().map(|(key, value)| (key.clone(), keep(value)));
    let body = serde_json::to_string(&Body { values: values.collect() })
        .map_err(|_| refused("the values of the provider cannot be written as JSON"))?;
    let mut shown = Attributes::new();
    shown.push("DRIVER", provider.driver.as_str());
    shown.push("DESCRIPTION", provider.description.as_str());
    let mut template = Attributes::new();
    template.push("NAME", provider.name.as_str());
    template.push("PROVIDER", shown);
    template.push("PROVISION_BODY", Secret::new(storable(&body)));
    Ok(template)
}

fn refused(text: impl Into<String>) -> EngineError {
    EngineError::Refused(text.into())
}

/// The providers that there are, by their ids.
///
/// # Errors
/// If the front-end cannot be read.
pub async fn all(client: &Client) -> Result<Vec<ProviderEntry>, EngineError> {
    let documents = client.documents().pool(PROVIDER_TYPE).await;
    let documents = documents.map_err(EngineError::opennebula("the providers cannot be read"))?;
    let mut entries: Vec<_> = documents.iter().map(ProviderEntry::of).collect();
    entries.sort_by_key(|entry| entry.id);
    Ok(entries)
}

/// A provider with its values.
///
/// # Errors
/// If it is not there, or this user may not see it in clear.
pub async fn read(client: &Client, id: DocumentId) -> Result<Provider, EngineError> {
    let failed = EngineError::opennebula(format!("provider {id} cannot be read"));
    let document = client.documents().info_decrypted(id).await.map_err(failed)?;
    let entry = ProviderEntry::of(&document);
    let body = document.template.text("PROVISION_BODY").unwrap_or_default();
    let body: Body = serde_json::from_str(body).map_err(|_| {
        refused(format!(
            "the values of provider {} cannot be read: that takes an administrator of the \
             front-end",
            entry.name
        ))
    })?;
    let value = |kept| match kept {
        Kept::Text(text) => ProviderValue::Text(text),
        Kept::Secret(secret) => ProviderValue::Secret(Secret::new(secret)),
        Kept::Reference(reference) => ProviderValue::Reference(reference),
    };
    Ok(Provider {
        id: id.into(),
        name: entry.name,
        driver: entry.driver,
        description: entry.description,
        values: body.values.into_iter().map(|(key, kept)| (key, value(kept))).collect(),
    })
}

impl Engine {
    /// As [`all`].
    ///
    /// # Errors
    /// As there.
    pub async fn providers(&self) -> Result<Vec<ProviderEntry>, EngineError> {
        all(&self.opennebula).await
    }

    /// As [`read`].
    ///
    /// # Errors
    /// As there.
    pub async fn provider(&self, id: DocumentId) -> Result<Provider, EngineError> {
        read(&self.opennebula, id).await
    }

    /// Makes a provider; its id in `provider` is of no matter.
    ///
    /// # Errors
    /// If there is one of that name, or the name is none; if the front-end would keep its secrets in
    /// clear, or does not give them back.
    pub async fn create_provider(&self, provider: &Provider) -> Result<DocumentId, EngineError> {
        let name = provider.name.as_str();
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            return Err(refused(format!(
                "{name:?} cannot be the name of a provider: letters, digits, '_', '-' and '.'"
            )));
        }
        if let Some(there) = self.providers().await?.into_iter().find(|entry| entry.name == name) {
            return Err(refused(format!(
                "there is a provider {name} already, for driver {} (document {}); `provider update` \
                 changes it",
                there.driver, there.id
            )));
        }
        self.check_encrypts(provider).await?;
        let template = document(provider)?;
        let documents = self.opennebula.documents();
        let find = || async {
            let pool = documents.pool(PROVIDER_TYPE).await?;
            Ok(pool.iter().find(|document| document.name == name).map(|document| document.id))
        };
        let allocate = || documents.allocate(&template, PROVIDER_TYPE);
        let made = make(self.settings.patience, false, allocate, find).await;
        let id = made.map_err(EngineError::opennebula("the provider cannot be made"))?;
        match self.provider(id).await {
            Ok(read) if read.values == provider.values => Ok(id),
            answer => {
                // What cannot be read back is of no use to anybody.
                let _ = documents.delete(id).await;
                Err(answer
                    .err()
                    .unwrap_or_else(|| refused("the provider is not read back as made")))
            }
        }
    }

    /// Writes a provider anew: description and values. Name and driver stay.
    ///
    /// # Errors
    /// As of [`Engine::create_provider`]; if the driver would be another one.
    pub async fn update_provider(&self, provider: &Provider) -> Result<(), EngineError> {
        let id = DocumentId(provider.id);
        let before = self.provider(id).await?;
        if before.driver != provider.driver {
            return Err(refused(format!(
                "provider {} is for driver {}, and that cannot change: its machines are there",
                before.name, before.driver
            )));
        }
        self.check_encrypts(provider).await?;
        let mut template = document(provider)?;
        template.remove("NAME");
        let documents = self.opennebula.documents();
        let update = || documents.update(id, &template, Update::Append);
        repeat(self.settings.patience, update)
            .await
            .map_err(EngineError::opennebula(format!("provider {} cannot be written", before.name)))
    }

    /// Removes a provider.
    ///
    /// # Errors
    /// If a provision uses it: which.
    pub async fn delete_provider(&self, entry: &ProviderEntry) -> Result<(), EngineError> {
        // What cannot be understood may use it.
        self.records().await?;
        let users = self.provider_users().await?;
        if let Some(users) = users.get(&entry.id.0).filter(|users| !users.is_empty()) {
            let users: Vec<String> = users.iter().map(ToString::to_string).collect();
            return Err(refused(format!(
                "provider {} is used by provision {}; delete that first",
                entry.name,
                users.join(", ")
            )));
        }
        let documents = self.opennebula.documents();
        match repeat(self.settings.patience, || documents.delete(entry.id)).await {
            Err(error) if error.is_gone() => Ok(()),
            answer => answer.map_err(EngineError::opennebula(format!(
                "provider {} cannot be deleted",
                entry.name
            ))),
        }
    }

    /// Which provisions use which provider, by the id of its document: those whose hosts carry its
    /// mark, and those that the journal knows and that may still get hosts, as far as it can be understood.
    ///
    /// # Errors
    /// If front-end or journal cannot be read.
    pub async fn provider_users(
        &self,
    ) -> Result<BTreeMap<i32, BTreeSet<ProvisionId>>, EngineError> {
        let mut users: BTreeMap<i32, BTreeSet<ProvisionId>> = BTreeMap::new();
        let pools = Pools::glance(&self.opennebula).await?;
        for host in &pools.hosts {
            let text = |path: &str| host.template.text(path);
            let provider = text("PROVISION/PROVIDER_ID").and_then(|id| id.trim().parse().ok());
            let provision = text("PROVISION/PROVISION_ID").and_then(|id| id.parse().ok());
            if let (Some(provider), Some(provision)) = (provider, provision) {
                users.entry(provider).or_default().insert(provision);
            }
        }
        for record in self.sound_records().await?.sound {
            let Some(create) = record.create.as_ref().filter(|c| self.is_at(&c.endpoint)) else {
                continue;
            };
            // A template of an earlier version names no provider.
            let spec = create.spec.read::<Spec>();
            for host in spec.iter().flat_map(|spec| &spec.hosts) {
                if let Some(used) = &host.provider {
                    users.entry(used.document).or_default().insert(record.id);
                }
            }
        }
        Ok(users)
    }

    /// OpenNebula 5 keeps documents in clear.
    async fn check_encrypts(&self, provider: &Provider) -> Result<(), EngineError> {
        let secret =
            |(_, value): &(String, ProviderValue)| matches!(value, ProviderValue::Secret(_));
        if !provider.values.iter().any(secret) {
            return Ok(());
        }
        let version = self.opennebula.system().version().await;
        let version = version.map_err(EngineError::opennebula("the front-end cannot be used"))?;
        match encrypts_templates(&version) {
            false => Ok(()),
            true => Err(refused(format!(
                "OpenNebula {version} keeps documents in clear: give the secrets of a provider by \
                 reference, {{env: NAME}}, {{file: PATH}} or {{command: [argv]}}"
            ))),
        }
    }

    /// The secrets that hosts have from these providers, as they are now. A provider that is gone,
    /// or that cannot be read by this user, is left out: its provisions have a copy.
    pub(crate) async fn provider_secrets(
        &self,
        documents: BTreeSet<i32>,
    ) -> Result<ProviderSecrets, EngineError> {
        let mut all = ProviderSecrets::default();
        for id in documents {
            let provider = match self.provider(DocumentId(id)).await {
                Ok(provider) => provider,
                // It may be there, and its new token be needed.
                Err(EngineError::OpenNebula { what, source }) if source.is_unknown() => {
                    return Err(EngineError::OpenNebula { what, source });
                }
                Err(error) => {
                    tracing::warn!("{}; the copy of the provision is used", describe(&error));
                    continue;
                }
            };
            for (key, value) in provider.values {
                let secret = match value {
                    ProviderValue::Secret(secret) => Some(secret),
                    ProviderValue::Text(text) => Some(Secret::new(text)),
                    ProviderValue::Reference(reference) => {
                        resolved(self.secrets.as_ref(), &provider.name, &key, reference).await
                    }
                };
                if let Some(secret) = secret {
                    all.0.insert((id, key), secret);
                }
            }
        }
        Ok(all)
    }
}

/// The secret that a reference names, if this machine has it.
async fn resolved(
    source: Option<&Arc<dyn SecretSource>>,
    provider: &str,
    key: &str,
    reference: SecretReference,
) -> Option<Secret> {
    let source = Arc::clone(source?);
    let what = reference.to_string();
    let asked = tokio::task::spawn_blocking(move || source.secret(&reference)).await.ok()?;
    match asked {
        Ok(secret) => Some(secret),
        Err(error) => {
            tracing::warn!("{key} of provider {provider}: {what} {error}; the copy is used");
            None
        }
    }
}

/// Secrets of providers, by the id of the document and the key.
#[derive(Default)]
pub(crate) struct ProviderSecrets(BTreeMap<(i32, String), Secret>);

impl ProviderSecrets {
    /// The secret of a provider's key, if it is known.
    pub fn get(&self, document: i32, key: &str) -> Option<&Secret> {
        self.0.get(&(document, key.to_owned()))
    }

    /// Gives a template the secrets as they are now.
    pub fn fill(&self, spec: &mut Spec) {
        for host in &mut spec.hosts {
            let Some(used) = &host.provider else { continue };
            for key in &used.secrets {
                if let Some(secret) = self.get(used.document, key) {
                    host.provision.set(key.as_str(), secret.clone());
                }
            }
        }
    }
}

/// The providers that a template uses.
pub(crate) fn used_in(spec: &Spec) -> BTreeSet<i32> {
    let used = spec.hosts.iter().filter_map(|host| host.provider.as_ref());
    used.filter(|used| !used.secrets.is_empty()).map(|used| used.document).collect()
}

/// The providers to which trees of attributes refer.
pub(crate) fn referred<'a>(trees: impl IntoIterator<Item = &'a Attributes>) -> BTreeSet<i32> {
    fn collect(attributes: &Attributes, found: &mut BTreeSet<i32>) {
        for (_, value) in attributes.iter() {
            match value {
                Value::Text(text) => found.extend(provider_of(text)),
                Value::Vector(inner) => collect(inner, found),
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    trees.into_iter().for_each(|tree| collect(tree, &mut found));
    found
}
