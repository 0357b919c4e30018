//! What a template would change, without doing anything: a pure function of the template that the
//! provision has, the one that it is to have, and the record.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `differences` | two trees of attributes, compared |
//! | `hosts` | which host of the template is which, and which ones go |
//! | `objects` | the same for cluster, datastores and networks |
//! | `virtuals` | the same for images and templates |
//! | `late` | values that are known only when the hosts are there |
//!
//! Hosts are told apart by their host name, everything else by its name. What a machine was made with
//! cannot be changed: such a host is replaced, which is never done without the operator's word.

use std::collections::{BTreeMap, BTreeSet};

use journal::{Layout, Outdated, ProvisionRecord, Subject};
use model::{DatastoreId, DeployId, HostKey, ProvisionId, ProvisionState};
use serde::Serialize;
use template::spec::{Origin, Spec};

use crate::overview::Pools;

mod differences;
mod hosts;
mod late;
mod objects;
mod virtuals;

pub use differences::Difference;

/// What is done to an object or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is made.
    Create,
    /// It was begun, and is finished.
    Finish,
    /// It is changed in its place.
    Change,
    /// It is destroyed, and made again.
    Replace,
    /// It is destroyed.
    Destroy,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The cluster.
    Cluster,
    /// A datastore.
    Datastore,
    /// A virtual network.
    Network,
    /// A host, with its machine.
    Host,
    /// An image, also the one of a marketplace app.
    Image,
    /// A VM template, also the one of a marketplace app.
    Template,
    /// A virtual network template.
    Vntemplate,
    /// A service template.
    Flowtemplate,
}

impl Kind {
    /// The kind in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Datastore => "datastore",
            Self::Network => "network",
            Self::Host => "host",
            Self::Image => "image",
            Self::Template => "template",
            Self::Vntemplate => "vntemplate",
            Self::Flowtemplate => "flowtemplate",
        }
    }
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// To what.
    pub kind: Kind,
    /// Its name in the template; of a host, the host name.
    pub name: String,
    /// Its id in OpenNebula, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i32>,
    /// Of a host: its provision driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Of a host: its machine at the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<DeployId>,
    /// Whether a machine is asked for, which costs money from then on.
    pub buys: bool,
    /// Whether a machine is destroyed.
    pub destroys: bool,
    /// VMs that run on a host which goes, or images in a datastore which goes.
    #[serde(skip_serializing_if = "is_zero")]
    pub in_use: usize,
    /// What differs; of what is made, what it is made with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Why this one, or what to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip)]
    pub(crate) subject: Option<Subject>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Everything that a template would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The provision; none if the template would make a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provision: Option<ProvisionId>,
    /// Its name.
    pub name: String,
    /// What is done, in the order in which it is shown.
    pub changes: Vec<Change>,
    /// Whether the last operation did not come to its end, or not to a good one.
    pub unfinished: bool,
    /// Number of machines now, those included that may exist.
    pub machines: usize,
    /// What the template wants and cannot be done; then nothing is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    #[serde(skip)]
    pub(crate) layout: Layout,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.refused.is_empty() && !self.unfinished
    }

    /// Number of changes of that kind.
    pub fn count(&self, action: Action) -> usize {
        self.changes.iter().filter(|change| change.action == action).count()
    }

    /// Number of machines that would be asked for.
    pub fn bought(&self) -> usize {
        self.changes.iter().filter(|change| change.buys).count()
    }

    /// Number of machines that would be destroyed.
    pub fn destroyed(&self) -> usize {
        self.changes.iter().filter(|change| change.destroys).count()
    }

    /// Hosts that go, whether or not others take their place.
    pub(crate) fn leaving_hosts(&self) -> Vec<HostKey> {
        let goes = |change: &&Change| matches!(change.action, Action::Destroy | Action::Replace);
        let key = |change: &Change| match change.subject {
            Some(Subject::Host(key)) => Some(key),
            _ => None,
        };
        self.changes.iter().filter(goes).filter_map(key).collect()
    }

    /// Objects that go.
    pub(crate) fn leaving_objects(&self) -> Vec<Subject> {
        let goes = |change: &&Change| change.action == Action::Destroy && change.kind != Kind::Host;
        self.changes.iter().filter(goes).filter_map(|change| change.subject).collect()
    }

    /// What is to be written anew.
    pub(crate) fn outdated(&self) -> Vec<Outdated> {
        let takes_out = |d: &Difference| d.path == objects::DATASTORES && d.after.is_none();
        let changed = |change: &&Change| match change.action {
            Action::Change => {
                change.differences.is_empty() || change.differences.iter().any(|d| !d.late)
            }
            // What an interrupted create put into it, it has.
            Action::Finish => {
                change.kind == Kind::Cluster && change.differences.iter().any(takes_out)
            }
            _ => false,
        };
        let outdated = |change: &Change| {
            let mut dropped: Vec<String> = Vec::new();
            let mut taken_out = Vec::new();
            for difference in change.differences.iter().filter(|d| d.after.is_none()) {
                if takes_out(difference) {
                    let id = difference.before.as_deref().and_then(|id| id.parse().ok());
                    taken_out.extend(id.map(DatastoreId));
                    continue;
                }
                let key = difference.path.split(['/', '[']).next().unwrap_or_default();
                // Of a vector only a part is gone.
                if key == difference.path && !dropped.iter().any(|known| known == key) {
                    dropped.push(key.to_owned());
                }
            }
            let reconfigure = change.differences.iter().any(Difference::is_of_configuration);
            Some(Outdated { subject: change.subject?, dropped, taken_out, reconfigure })
        };
        self.changes.iter().filter(changed).filter_map(outdated).collect()
    }
}

/// A provision as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current<'c> {
    /// The template that it has.
    pub spec: &'c Spec,
    /// What its entries stand for, and how far each came.
    pub record: &'c ProvisionRecord,
    /// What OpenNebula has of it.
    pub pools: &'c Pools,
    /// Whether `spec` was written down. Else it was made from OpenNebula's objects.
    pub exact: bool,
}

impl Current<'_> {
    /// Whether an entry of the template is as somebody wrote it. Else it was made from an object of
    /// OpenNebula, also one that a `host add` without the journal has written down: what only the object has
    /// counts for nothing, nor does what a reference stands for, nor owners.
    fn is_exact(&self, entry: &Origin) -> bool {
        self.exact && !entry.is_of_opennebula()
    }

    /// Whether a difference from that entry is one.
    fn counts(&self, entry: &Origin, difference: &Difference) -> bool {
        let refers = |text: &String| text.contains("<%=") || text.contains("${updates.");
        let known = !difference.path.starts_with("meta/");
        let is_wanted = || difference.after.as_ref().is_some_and(|after| !refers(after));
        self.is_exact(entry) || known && !difference.trimmed && is_wanted()
    }
}

/// What is to be done so that the provision becomes what the template says; a new one, if there is
/// none.
pub(crate) fn plan(current: Option<Current<'_>>, wanted: &Spec) -> Plan {
    let mut plan = Plan {
        provision: current.map(|current| current.record.id),
        name: wanted.name.clone(),
        unfinished: current.is_some_and(|c| c.record.state != ProvisionState::Ready),
        machines: current.map_or(0, |current| current.record.machines()),
        ..Plan::default()
    };
    if let Some(current) = current
        && current.spec.name != wanted.name
    {
        plan.refused.push(format!(
            "the template is of provision {:?}, not of {:?}: a provision keeps its name",
            wanted.name, current.spec.name
        ));
    }
    objects::plan(current, wanted, &mut plan);
    hosts::plan(current, wanted, &mut plan);
    virtuals::plan(current, wanted, &mut plan);
    late::plan(current, wanted, &mut plan);
    plan
}

/// The template with what does not move with a provider: a machine that is there keeps the values that
/// its host had from its provider, and only one that is bought gets new ones.
pub(crate) fn settled(current: Current<'_>, wanted: &Spec) -> Spec {
    let mut spec = wanted.clone();
    if !hosts::keep_provided(current, &mut spec) {
        return spec;
    }
    let plan = plan(Some(current), &spec);
    let replaced = |change: &&Change| change.action == Action::Replace && change.kind == Kind::Host;
    let replaced: BTreeSet<&str> =
        plan.changes.iter().filter(replaced).map(|change| change.name.as_str()).collect();
    for (host, wanted) in spec.hosts.iter_mut().zip(&wanted.hosts) {
        if replaced.contains(wanted.hostname.as_str()) {
            host.clone_from(wanted);
        }
    }
    spec
}

/// The entries of a template by their names.
fn by_name<'t, T>(entries: &'t [T], name: impl Fn(&'t T) -> &'t str) -> BTreeMap<&'t str, usize> {
    entries.iter().enumerate().map(|(index, entry)| (name(entry), index)).collect()
}
