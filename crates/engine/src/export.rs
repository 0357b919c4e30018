//! A provision's template from OpenNebula's objects alone: for one that the old tool made, or whose
//! journal is lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use journal::ProvisionRecord;
use model::{Attributes, DatastoreId, ProvisionId, Secret, Value};
use opennebula::objects::Host;
use template::ProviderUse;
use template::spec::{Connection, HostSpec, ObjectSpec, Origin, Spec, VirtualKind, VirtualSpec};

use crate::overview::Pools;
use crate::secrets::{Revealed, provider_of};
use crate::{Engine, EngineError};

/// Our marks within `PROVISION`.
const MARKS: [&str; 4] = ["PROVISION_ID", "NAME", "DEPLOY_ID", "HOST_KEY"];

/// What stands elsewhere in a template, or is written by OpenNebula and its monitoring
/// (`src/host/Host.cc`, `src/im_mad/remotes`, 5.12 to 7.4).
const NOT_OF_A_HOST: [&str; 28] = [
    "ANSIBLE_PLAYBOOK",
    "ARCH",
    "CGROUPS_VERSION",
    "CONTEXT",
    "CPUSPEED",
    "ERROR",
    "HOSTNAME",
    "HYPERVISOR",
    "IM_MAD",
    "KVM_CPU_FEATURES",
    "KVM_CPU_MODEL",
    "KVM_CPU_MODELS",
    "KVM_MACHINES",
    "LXD_PROFILES",
    "MODELNAME",
    "NUMA_NODE",
    "PM_MAD",
    "PROVISION",
    "PROVISION_ADDRESS",
    "PROVISION_CONFIGURATION_BASE64",
    "PROVISION_STEPS_BASE64",
    "PROVISION_CONFIGURATION_STATUS",
    "PROVISION_CONNECTION",
    "TOTALCPU",
    "TOTALMEMORY",
    "TOTAL_WILDS",
    "VERSION",
    "VM_MAD",
];

/// What OpenNebula adds to a datastore's template from its own configuration (`TM_MAD_CONF`,
/// `DS_MAD_CONF` of `oned.conf`).
const NOT_OF_A_DATASTORE: [&str; 17] = [
    "ALLOW_ORPHANS",
    "CLONE_TARGET",
    "CLONE_TARGET_SHARED",
    "CLONE_TARGET_SSH",
    "DISK_TYPE_SHARED",
    "DISK_TYPE_SSH",
    "DS_LIVE_MIGRATE",
    "DS_MIGRATE",
    "DS_MIGRATE_SNAP",
    "LN_TARGET",
    "LN_TARGET_SHARED",
    "LN_TARGET_SSH",
    "PERSISTENT_SNAPSHOTS",
    "PM_MAD",
    "PROVISION",
    "SHARED",
    "TM_MAD_SYSTEM",
];

/// What OpenNebula says of an address range beyond its definition.
const NOT_OF_A_RANGE: [&str; 8] =
    ["AR_ID", "IP_END", "IP6_END", "LEASES", "MAC_END", "NEXT_INDEX", "SHARED", "USED_LEASES"];

impl Engine {
    /// The template that a provision has: as the journal has it, without what was deleted of it, else as
    /// OpenNebula's objects tell. Secrets are as far known as the provision's document can be read.
    ///
    /// # Errors
    /// If neither knows the provision, or one cannot be read; if the template refers by their numbers to
    /// objects that come after a deleted one.
    pub async fn export(&self, id: ProvisionId) -> Result<Spec, EngineError> {
        let record = self.journal.record(id).await?;
        let pools = Pools::read_of(&self.opennebula, id).await?;
        if record.is_none() && pools.is_empty() {
            return Err(EngineError::NotFound(id));
        }
        let record = record.unwrap_or_else(|| ProvisionRecord::new(id));
        self.check_endpoint(&record).await?;
        match &record.create {
            Some(create) => {
                let spec = self.spec_as_far_as_known(create, &pools).await?;
                without_deleted(spec, &record)
            }
            None => self.spec_of_objects(&pools).await,
        }
    }

    /// The same for a template with more hosts: from then on it is the provision's. What others put into a
    /// cluster of which the journal knows nothing would be its wish, and the next update would take it out.
    ///
    /// # Errors
    /// As for [`Engine::export`].
    pub async fn spec_for_more(&self, id: ProvisionId) -> Result<Spec, EngineError> {
        let mut spec = self.export(id).await?;
        if self.journal.record(id).await?.is_none_or(|record| record.create.is_none()) {
            spec.cluster_datastores.clear();
        }
        Ok(spec)
    }

    /// The template as OpenNebula's objects tell.
    pub(crate) async fn spec_of_objects(&self, pools: &Pools) -> Result<Spec, EngineError> {
        let revealed = Revealed::read(self, pools).await?;
        let Some(cluster) = pools.clusters.first() else {
            return Err(EngineError::Refused(
                "nothing is left of the provision's cluster: what there is can only be deleted"
                    .to_owned(),
            ));
        };
        let name = cluster.template.text("PROVISION/NAME").unwrap_or(&cluster.name).to_owned();
        let playbooks = pools.hosts.iter().find_map(|h| h.template.text("ANSIBLE_PLAYBOOK"));
        let playbooks = playbooks.map(|all| all.split(',').map(|one| one.trim().to_owned()));
        let object = |name: &str, template: &Attributes, not: &[&str]| {
            object(name, &self.hide(revealed.reveal(template)), not)
        };
        let network = |network: &opennebula::objects::Vnet| {
            let mut spec = object(&network.name, &network.template, &["PM_MAD", "PROVISION"]);
            if spec.attributes.get("VN_MAD").is_none() {
                spec.attributes.push("VN_MAD", network.vn_mad.as_str());
            }
            let ranges = revealed.reveal(&network.address_ranges);
            for range in ranges.all("AR").filter_map(vector) {
                spec.attributes.push("AR", without(range, &NOT_OF_A_RANGE));
            }
            spec
        };
        Ok(Spec {
            version: 1,
            description: None,
            ansible_versions: template::AnsibleVersions::default(),
            playbooks: playbooks.map(Iterator::collect).unwrap_or_default(),
            cluster: object(&cluster.name, &cluster.template, &["PM_MAD", "PROVISION"]),
            cluster_datastores: {
                let is_own = |id: &DatastoreId| pools.datastores.iter().any(|d| d.id == *id);
                cluster.datastores.iter().filter(|id| !is_own(id)).copied().collect()
            },
            datastores: pools
                .datastores
                .iter()
                .map(|d| object(&d.name, &d.template, &NOT_OF_A_DATASTORE))
                .collect(),
            networks: pools.vnets.iter().map(network).collect(),
            hosts: pools
                .hosts
                .iter()
                .map(|host| host_spec(host, self.hide(revealed.reveal(&host.template))))
                .collect(),
            virtual_objects: virtual_objects(pools),
            name,
        })
    }
}

/// Without hosts, datastores and networks that are gone, or going: they are made again only by a template
/// that has them.
fn without_deleted(mut spec: Spec, record: &ProvisionRecord) -> Result<Spec, EngineError> {
    let layout = &record.layout;
    let is_gone = |subject| record.object(subject).is_some_and(|object| object.removed);
    let host_is_gone = |index| {
        let host = record.hosts.get(&layout.host(index));
        host.is_some_and(|host| host.removed || host.removing)
    };
    let datastore_is_gone = |index| is_gone(layout.datastore(index));
    let network_is_gone = |index| is_gone(layout.network(index));
    let host = leave_out(&mut spec.hosts, |host| &host.hostname, host_is_gone);
    let datastore = leave_out(&mut spec.datastores, |object| &object.name, datastore_is_gone);
    let network = leave_out(&mut spec.networks, |object| &object.name, network_is_gone);
    // With what references call their kinds.
    let gone = [
        ("host", ["hosts", "hosts"], host),
        ("datastore", ["datastores", "datastores"], datastore),
        ("network", ["networks", "vnets"], network),
    ];
    if gone.iter().all(|(_, _, first)| first.is_none()) {
        return Ok(spec);
    }
    let text = serde_json::to_string(&spec)
        .map_err(|e| EngineError::Template(format!("the template cannot be written down: {e}")))?;
    let number = |rest: &str| {
        let rest = rest.trim_start_matches(|c: char| c == '[' || c.is_whitespace());
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<usize>().ok())
    };
    for (one, names, first) in gone {
        let Some((first, name)) = first else { continue };
        let kind = names[0];
        let refers = |name: &str| {
            let variable = format!("@{name}");
            text.split(&variable).skip(1).filter_map(number).any(|number| number >= first)
        };
        // Left out, one gives its number to the next one.
        if names.into_iter().any(refers) {
            return Err(EngineError::Refused(format!(
                "{one} {name} was deleted, and the template refers to {kind} by their numbers \
                 (@{kind}[{first}] or later), which would mean others without it: take it out of the template, \
                 correct the numbers, and `oneprovision update {} TEMPLATE`",
                record.id
            )));
        }
    }
    Ok(spec)
}

/// Leaves out what is gone, and returns number and name of the first that was.
fn leave_out<T>(
    entries: &mut Vec<T>,
    name: impl Fn(&T) -> &String,
    is_gone: impl Fn(usize) -> bool,
) -> Option<(usize, String)> {
    let (first, entry) = entries.iter().enumerate().find(|(index, _)| is_gone(*index))?;
    let name = name(entry).clone();
    let mut indices = 0..;
    entries.retain(|_| indices.next().is_some_and(|index| !is_gone(index)));
    Some((first, name))
}

/// Images and templates, in the order in which their records are numbered. Where the file of an image
/// came from is not known any more; those of marketplace apps are images and templates like others.
fn virtual_objects(pools: &Pools) -> Vec<VirtualSpec> {
    let object = |kind, name: &str, template: &Attributes| VirtualSpec {
        kind,
        name: name.to_owned(),
        attributes: without(template, &["PROVISION", "ERROR", "FROM_APP"]),
        body: None,
        meta: None,
        origin: Origin::of_opennebula(),
    };
    let images = pools.images.iter().map(|image| {
        let mut spec = object(VirtualKind::Image, &image.name, &image.template);
        spec.attributes.set("DS_ID", image.datastore_id.to_string());
        spec
    });
    let templates = pools.templates.iter();
    let templates = templates.map(|t| object(VirtualKind::Template, &t.name, &t.template));
    let vntemplates = pools.vntemplates.iter();
    let vntemplates = vntemplates.map(|t| object(VirtualKind::Vntemplate, &t.name, &t.template));
    let flows = pools.flowtemplates.iter().map(|flow| {
        let body = flow.template.text("BODY").unwrap_or("{}");
        let mut body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(body) = body.as_object_mut() {
            body.remove("provision");
            body.remove("registration_time");
        }
        let body = Some(Value::Text(body.to_string()));
        VirtualSpec { body, ..object(VirtualKind::Flowtemplate, &flow.name, &Attributes::new()) }
    });
    images.chain(templates).chain(vntemplates).chain(flows).collect()
}

fn object(name: &str, template: &Attributes, not: &[&str]) -> ObjectSpec {
    ObjectSpec {
        name: name.to_owned(),
        attributes: without(template, not),
        driver: template.text("PM_MAD").map(str::to_owned),
        provision: parameters(template),
        meta: None,
        origin: Origin::of_opennebula(),
    }
}

fn host_spec(host: &Host, template: Attributes) -> HostSpec {
    let mut provision = parameters(&template);
    let hostname = provision.text("HOSTNAME").unwrap_or(&host.name).to_owned();
    provision.set("HOSTNAME", hostname.as_str());
    let defaults = Connection::default().resolved();
    let connection = template.get("PROVISION_CONNECTION").and_then(vector);
    let given = connection.into_iter().flat_map(Attributes::iter);
    let given = given.filter(|(key, value)| defaults.get(key) != Some(value));
    let given = given.map(|(key, value)| (key.to_owned(), value.clone())).collect();
    let yaml = |text: &str| String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok();
    let configuration = match template.get("PROVISION_CONFIGURATION_BASE64") {
        Some(Value::Text(text)) => yaml(text).map(Value::Text),
        // By its name all of it is a secret; what is empty is none.
        Some(Value::Secret(text)) => yaml(text.expose())
            .filter(|yaml| yaml.trim() != "{}")
            .map(|yaml| Value::Secret(Secret::new(yaml))),
        _ => None,
    };
    let steps = match template.get("PROVISION_STEPS_BASE64") {
        Some(Value::Secret(text)) => {
            yaml(text.expose()).map(|json| Value::Secret(Secret::new(json)))
        }
        Some(Value::Text(text)) => yaml(text).map(Value::Text),
        _ => None,
    };
    HostSpec {
        im_mad: host.im_mad.clone(),
        vm_mad: host.vm_mad.clone(),
        driver: template.text("PM_MAD").unwrap_or_default().to_owned(),
        provider: provider_used(&host.template),
        hostname,
        provision,
        connection: Connection { given },
        configuration: configuration.unwrap_or_else(|| Value::from("{}\n")),
        steps,
        attributes: without(&template, &NOT_OF_A_HOST),
        origin: Origin::of_opennebula(),
    }
}

/// The named provider of a host, by its mark, and the secrets that are from it.
fn provider_used(template: &Attributes) -> Option<ProviderUse> {
    let provision = template.get("PROVISION").and_then(vector)?;
    let name = provision.text("PROVIDER")?.to_owned();
    let document = provision.text("PROVIDER_ID")?.trim().parse().ok()?;
    let is_from = |value: &Value| match value {
        Value::Text(text) => provider_of(text) == Some(document),
        _ => false,
    };
    let secrets = provision.iter().filter(|(_, value)| is_from(value));
    let secrets = secrets.map(|(key, _)| key.to_owned()).collect();
    Some(ProviderUse { name, document, secrets, values: Vec::new() })
}

fn parameters(template: &Attributes) -> Attributes {
    let provision = template.get("PROVISION").and_then(vector);
    provision.map(|provision| without(provision, &MARKS)).unwrap_or_default()
}

/// Without these attributes, and without those that have no value.
fn without(attributes: &Attributes, not: &[&str]) -> Attributes {
    let kept = attributes.iter().filter(|(key, value)| {
        !not.contains(key) && !matches!(value, Value::Text(text) if text.is_empty())
    });
    kept.map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

fn vector(value: &Value) -> Option<&Attributes> {
    match value {
        Value::Vector(inner) => Some(inner),
        _ => None,
    }
}
