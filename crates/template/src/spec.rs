//! What a template means, once everything is merged and checked: the input of the engine.
//!
//! A [`Spec`] is plain data. It is serialised into the journal, and there it holds no secret: what
//! was one comes back as [`Value::Withheld`].

use std::fmt;

use model::{Attributes, DatastoreId, Value};
use serde::{Deserialize, Serialize};

use crate::providers::ProviderUse;

/// A resolved provision template.
///
/// Every text may still hold references (`<%= … %>`) to what exists only at creation; they are
/// checked, in canonical form, and resolved by [`evaluate`](crate::reference::evaluate). References
/// to the provision's own name are already replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Name of the provision, 1 to 128 characters, without references.
    pub name: String,
    /// Version of the template language; 1 is the only one.
    pub version: u32,
    /// A text for people, if one was given (`description`, since 6.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Ansible playbooks in the order in which they run: names, and paths, which are absolute or
    /// begin with `~/`. None if the template has an empty list, or `configure` and no such key;
    /// `["default"]` if it has neither.
    pub playbooks: Vec<String>,
    /// The versions of Ansible that the playbooks are for, as the template says.
    #[serde(default, skip_serializing_if = "AnsibleVersions::is_empty")]
    pub ansible_versions: AnsibleVersions,
    /// The one cluster; named like the provision if the template does not name it.
    pub cluster: ObjectSpec,
    /// Datastores that are there already and that the cluster has as well (`cluster.datastores`, 6.4),
    /// each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_datastores: Vec<DatastoreId>,
    /// Datastores in the order of the template, bases first.
    #[serde(default)]
    pub datastores: Vec<ObjectSpec>,
    /// Virtual networks in the order of the template, bases first.
    #[serde(default)]
    pub networks: Vec<ObjectSpec>,
    /// Hosts in the order of the template, bases first.
    #[serde(default)]
    pub hosts: Vec<HostSpec>,
    /// Virtual objects in the order of their creation: by kind, then as in the template.
    #[serde(default)]
    pub virtual_objects: Vec<VirtualSpec>,
}

/// The versions of Ansible that playbooks are for (6.6, `ansible`); each is numbers with dots between
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnsibleVersions {
    /// The least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver_min: Option<String>,
    /// The first one that is too new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ver_max: Option<String>,
}

impl AnsibleVersions {
    /// Whether there is no bound.
    pub fn is_empty(&self) -> bool {
        self.ver_min.is_none() && self.ver_max.is_none()
    }
}

/// A cluster, a datastore or a virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectSpec {
    /// Name of the object in OpenNebula.
    pub name: String,
    /// Attributes for OpenNebula, keys in upper case, without `NAME`, `PM_MAD` and `PROVISION`.
    pub attributes: Attributes,
    /// Name of the provision driver (`provision.driver` of the object or of `defaults`): the
    /// object's `PM_MAD` in 5.12.
    pub driver: Option<String>,
    /// Content of the `PROVISION` vector, keys in upper case, without `driver`: the object's own
    /// values over those of `defaults`. Secrets of `defaults` are left out, because no driver reads
    /// them here and OpenNebula would keep them in clear; the object's own ones are kept.
    pub provision: Attributes,
    /// Owner and permissions, where the template gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Where the template describes it.
    pub origin: Origin,
}

/// Owner, group and permissions of an object (5.12, `meta`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Owner by id.
    pub uid: Option<u32>,
    /// Owner by name.
    pub uname: Option<String>,
    /// Group by id.
    pub gid: Option<u32>,
    /// Group by name.
    pub gname: Option<String>,
    /// Permissions: the nine bits of owner, group and others, `0o640` for `640`.
    pub mode: Option<u16>,
    /// Whether the image is waited for until it is ready; only of images and marketplace apps.
    pub wait: Option<bool>,
    /// How long, in seconds.
    pub wait_timeout: Option<u32>,
}

/// A host: the machine and the host object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSpec {
    /// Information driver.
    pub im_mad: String,
    /// Virtualization driver.
    pub vm_mad: String,
    /// Provision driver, of the host or of `defaults`. Letters, digits, `_`, `-`, `.`; a name with
    /// the prefix `builtin:` asks for ours.
    pub driver: String,
    /// The named provider that its account is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderUse>,
    /// `provision.hostname`; unique in the template.
    pub hostname: String,
    /// Content of the `PROVISION` vector, keys in upper case, without `DRIVER`, with `HOSTNAME`;
    /// what the provider gives included.
    pub provision: Attributes,
    /// How the machine is reached over SSH.
    pub connection: Connection,
    /// Ansible variables of the host as a YAML mapping (`{}` if there are none), the text that
    /// `PROVISION_CONFIGURATION_BASE64` encodes: a text, or a secret if one of its keys is named
    /// like one. To be resolved with [`evaluate_yaml`](crate::reference::evaluate_yaml).
    pub configuration: Value,
    /// Files that are copied to the machine and commands that are run on it, those of the top level
    /// first, as the text of a JSON object
    /// `{"files":[{"path","content"|"source","mode","owner"}],"commands":["line",["program","argument"]]}`
    /// in which every value is a text: a secret if the content of a file is one. To be resolved with
    /// [`evaluate_json_texts`](crate::reference::evaluate_json_texts).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Value>,
    /// All other keys of the host, in upper case, such as `RESERVED_CPU`.
    pub attributes: Attributes,
    /// Where the template describes it.
    pub origin: Origin,
}

/// User that 5.12 logs in as if none is given.
pub const DEFAULT_REMOTE_USER: &str = "root";
/// SSH port if none is given.
pub const DEFAULT_REMOTE_PORT: u16 = 22;
/// Path of the public key if none is given (5.12, `oneprovision/lib/host.rb`).
pub const DEFAULT_PUBLIC_KEY: &str = "/var/lib/one/.ssh/ddc/id_rsa.pub";
/// Path of the private key if none is given (5.12).
pub const DEFAULT_PRIVATE_KEY: &str = "/var/lib/one/.ssh/ddc/id_rsa";

/// How a machine is reached over SSH: what the template says, and the defaults of 5.12 apart from
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Connection {
    /// What the template gives, own values over those of `defaults`, keys in upper case:
    /// `REMOTE_USER`, `REMOTE_PORT`, `PUBLIC_KEY`, `PRIVATE_KEY` (a path, or the word `agent`),
    /// `JUMP_HOSTS` (`[USER@]HOST[:PORT]`, separated by commas) and whatever else stands there.
    pub given: Attributes,
}

impl Connection {
    /// Content of the `PROVISION_CONNECTION` vector: what is given, over the defaults of 5.12.
    pub fn resolved(&self) -> Attributes {
        let mut all = Attributes::new();
        all.push("REMOTE_USER", DEFAULT_REMOTE_USER);
        all.push("REMOTE_PORT", DEFAULT_REMOTE_PORT.to_string());
        all.push("PUBLIC_KEY", DEFAULT_PUBLIC_KEY);
        all.push("PRIVATE_KEY", DEFAULT_PRIVATE_KEY);
        for (key, value) in self.given.iter() {
            all.set(key, value.clone());
        }
        all
    }
}

/// The kinds of virtual objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VirtualKind {
    /// `images`
    Image,
    /// `marketplaceapps`: exported, which makes an image and, for most, a template of a machine.
    MarketplaceApp,
    /// `templates`: of machines.
    Template,
    /// `vntemplates`: of virtual networks.
    Vntemplate,
    /// `flowtemplates`: of services of OneFlow.
    Flowtemplate,
}

impl VirtualKind {
    /// All kinds in the order of their creation (5.12, `oneprovision/lib/provision.rb`).
    pub const ALL: [Self; 5] =
        [Self::Image, Self::MarketplaceApp, Self::Template, Self::Vntemplate, Self::Flowtemplate];

    /// Key of their section in a template.
    pub fn section(self) -> &'static str {
        match self {
            Self::Image => "images",
            Self::MarketplaceApp => "marketplaceapps",
            Self::Template => "templates",
            Self::Vntemplate => "vntemplates",
            Self::Flowtemplate => "flowtemplates",
        }
    }

    /// One of them, in words.
    pub fn one(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::MarketplaceApp => "marketplace app",
            Self::Template => "template",
            Self::Vntemplate => "network template",
            Self::Flowtemplate => "service template",
        }
    }
}

/// An image, a marketplace app, or a template of a machine, a network or a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualSpec {
    /// What it is.
    pub kind: VirtualKind,
    /// Its name in OpenNebula.
    pub name: String,
    /// Attributes, keys in upper case, without `NAME`. The datastore of an image is `DS_ID` among
    /// them; of a marketplace app there are `APPID` or `APPNAME`, `DSID`, perhaps `VMNAME` and
    /// `TAG`. Empty for a service template.
    pub attributes: Attributes,
    /// Of a service template: the JSON object that OneFlow takes, with its name, as a text; a
    /// secret if one of its values is. To be resolved with
    /// [`evaluate_json`](crate::reference::evaluate_json).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Owner, permissions and waiting, where the template gives them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
    /// Where the template describes it.
    pub origin: Origin,
}

/// A place in a template, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Origin {
    const OPENNEBULA: &str = "OpenNebula";

    /// Of what no template describes: it was made from an object of OpenNebula.
    pub fn of_opennebula() -> Self {
        Self { file: Self::OPENNEBULA.to_owned(), line: 1, column: 1 }
    }

    /// Whether it is [`Origin::of_opennebula`].
    pub fn is_of_opennebula(&self) -> bool {
        self.file == Self::OPENNEBULA
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
