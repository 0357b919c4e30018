//! Named providers: an account of a driver, and values for its hosts, kept apart from templates.
//!
//! A template names one (`provider: NAME`, or `provider_name` in `provision`, as 6.x has it), and
//! whoever loads it hands in those that there are. What a template gives itself wins.
//!
//! A provider can be written in a file, ours or one of OpenNebula 6.x; [`load_provider`] reads it.

use std::path::Path;

use model::Secret;
use serde::{Deserialize, Serialize};

use crate::check;
use crate::diagnostic::Diagnostic;
use crate::loader::{Options, read_tree};
use crate::secrets::SecretReference;
use crate::source::{SourceReader, Sources};

mod file;

/// A named provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Id of the document that keeps it.
    pub id: i32,
    /// Its name, unique on a front-end.
    pub name: String,
    /// Its driver; it never changes.
    pub driver: String,
    /// A text for people.
    pub description: String,
    /// Parameters for hosts, names in upper case, in their order.
    pub values: Vec<(String, ProviderValue)>,
}

/// A value of a [`Provider`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderValue {
    /// A text that anybody may see.
    Text(String),
    /// A secret.
    Secret(Secret),
    /// Where a secret is; it is asked for when it is needed.
    Reference(SecretReference),
}

/// The providers that there are, as far as that is known.
#[derive(Clone, Debug, Default)]
pub enum Providers {
    /// Nobody has looked. [`Loaded::providers`](crate::Loaded::providers) says whether one is needed.
    #[default]
    NotAsked,
    /// They could not be read: why.
    Unreadable(String),
    /// These, and no others.
    Known(Vec<Provider>),
}

impl Providers {
    /// The provider of that name, if it is known.
    pub fn find(&self, name: &str) -> Option<&Provider> {
        match self {
            Self::Known(all) => all.iter().find(|provider| provider.name == name),
            Self::NotAsked | Self::Unreadable(_) => None,
        }
    }

    /// The names of those that are known.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        let known = match self {
            Self::Known(all) => all.as_slice(),
            Self::NotAsked | Self::Unreadable(_) => &[],
        };
        known.iter().map(|provider| provider.name.as_str())
    }
}

/// What a host has from a named provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderUse {
    /// The provider's name.
    pub name: String,
    /// Id of its document.
    pub document: i32,
    /// The secrets that the host has from it, by the keys in its `provision`: where they are read
    /// anew when a driver is called.
    pub secrets: Vec<String>,
    /// The values that are no secrets and that the host has from it, likewise: they stay as they were when
    /// its machine was made. Not known of a host that is read from OpenNebula.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// A driver that does what a provider of OpenNebula 6.x did, and its parameters.
pub struct Former {
    /// The name in 6.x, such as `equinix`.
    pub former: &'static str,
    /// Our driver.
    pub driver: &'static str,
    /// Parameters of `connection`, as 6.x and as our driver call them.
    pub parameters: &'static [(&'static str, &'static str)],
}

/// The providers of 6.x for which there is a driver here.
pub const FORMER: [Former; 4] = [
    Former {
        former: "aws",
        driver: "ec2",
        parameters: &[
            ("access_key", "ec2_access"),
            ("secret_key", "ec2_secret"),
            ("region", "region_name"),
        ],
    },
    Former {
        former: "equinix",
        driver: "packet",
        parameters: &[
            ("token", "packet_token"),
            ("project", "packet_project"),
            ("metro", "metro"),
            ("facility", "facility"),
        ],
    },
    Former {
        former: "packet",
        driver: "packet",
        parameters: &[
            ("token", "packet_token"),
            ("project", "packet_project"),
            ("facility", "facility"),
        ],
    },
    Former { former: "onprem", driver: "ssh", parameters: &[] },
];

/// The providers of 6.x for which there is no driver here.
pub(crate) const FOREIGN: [&str; 5] =
    ["digitalocean", "google", "vultr", "vultr_metal", "vultr_virtual"];

/// What helps if there is no provider of a name that a template gives.
pub(crate) fn help(name: &str) -> String {
    if let Some(former) = FORMER.iter().find(|former| former.former == name) {
        let values: String =
            former.parameters.iter().map(|(_, ours)| format!(" {ours}=…")).collect();
        return format!(
            "driver '{0}' does here what '{name}' did in OpenNebula 6.x: `oneprovision provider \
             create {name} --driver {0}{values}` makes it, --provider names another one",
            former.driver
        );
    }
    if FOREIGN.contains(&name) {
        return format!(
            "no driver here works with '{name}' of OpenNebula 6.x; `oneprovision driver list` has \
             those that there are"
        );
    }
    "`oneprovision provider list` has those that there are; `provider create` makes one".to_owned()
}

/// What came of reading a provider's file.
pub struct LoadedProvider {
    /// The provider, its document's id -1, if there was no error. `name` may be empty: then it is to
    /// be given otherwise.
    pub provider: Option<Provider>,
    /// All findings, in the order of lines.
    pub diagnostics: Vec<Diagnostic>,
    /// The file, for [`render`](crate::render()).
    pub sources: Sources,
}

/// Reads a provider from a file: `name`, `driver`, `description`, and its `parameters`. In a file of
/// OpenNebula 6.x these are `name`, `provider`, `description` and `connection`.
///
/// A secret's file that is named by a relative path is joined to the folder of `path`. Parameters are
/// checked against what the driver says of itself, if [`Options::drivers`] is given.
pub fn load_provider(path: &Path, reader: &dyn SourceReader, options: &Options) -> LoadedProvider {
    let (root, mut sources, mut diagnostics) = read_tree(path, reader, options);
    let catalog = crate::catalog::Catalog::of(options.drivers.as_deref().map(|d| d as _));
    let provider = root
        .and_then(|mut root| file::provider(&mut root, &mut sources, &catalog, &mut diagnostics));
    let wrong = diagnostics.iter().any(Diagnostic::is_error);
    let provider = provider.filter(|_| !wrong);
    LoadedProvider { provider, diagnostics: check::sorted(diagnostics), sources }
}
