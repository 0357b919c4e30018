//! The hosts of all provisions, as they are named.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Overview, names};
use journal::ProvisionRecord;
use model::{HostId, HostKey, ProvisionId};
use opennebula::discover::Endpoint;

use super::{Candidate, Place, Selection};

/// A host of a provision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostChoice {
    /// Its provision.
    pub provision: ProvisionId,
    /// Its object in OpenNebula, if it has one.
    pub id: Option<HostId>,
    /// The id of the object that it had and that somebody deleted.
    pub gone: Option<HostId>,
    /// What messages call it: its name in OpenNebula, else its place.
    pub name: String,
}

/// OpenNebula's hosts, and those that only the journal knows.
pub fn hosts(overviews: &[Overview]) -> Selection<'static, HostChoice> {
    let mut candidates = Vec::new();
    for overview in overviews {
        let provision = overview.id;
        let place = |number| Place { provision, name: overview.name.clone(), number };
        let recorded = || overview.record.iter().flat_map(|record| record.hosts.values());
        let by_id: BTreeMap<i32, HostKey> =
            recorded().rev().filter_map(|known| Some((known.host_id?, known.key))).collect();
        let mut known: BTreeSet<HostKey> = BTreeSet::new();
        for host in &overview.pools.hosts {
            let marked = || host.template.text("PROVISION/HOST_KEY")?.trim().parse().ok();
            let key = by_id
                .get(&host.id.0)
                .copied()
                .or_else(|| names::host_key(provision, &host.name))
                .or_else(|| marked().map(HostKey));
            known.extend(key);
            let hostname = host.template.text("PROVISION/HOSTNAME").map(str::to_owned);
            candidates.push(Candidate {
                what: HostChoice {
                    provision,
                    id: Some(host.id),
                    gone: None,
                    name: host.name.clone(),
                },
                id: Some(host.id.0),
                names: std::iter::once(host.name.clone()).chain(hostname).collect(),
                place: key.map(|key| place(key.0)),
            });
        }
        for host in recorded().filter(|host| !host.removed && !known.contains(&host.key)) {
            candidates.push(Candidate {
                what: HostChoice {
                    provision,
                    id: None,
                    gone: host.host_id.map(HostId),
                    name: format!("{provision}:{}", host.key),
                },
                id: None,
                names: host.name.iter().cloned().collect(),
                place: Some(place(host.key.0)),
            });
        }
    }
    Selection { kind: "host", candidates }
}

/// The hosts that the journal knows, without a look into OpenNebula: those of this front-end by
/// their ids and names, all of them by their places.
pub fn recorded_hosts(
    records: &[ProvisionRecord],
    endpoint: &str,
) -> Selection<'static, (ProvisionId, HostKey)> {
    let mut candidates = Vec::new();
    for record in records {
        let here = record
            .create
            .as_ref()
            .is_none_or(|create| Endpoint::are_same(&create.endpoint, endpoint));
        let provision = record.id;
        for host in record.hosts.values().filter(|host| !host.removed) {
            let name = record.name().unwrap_or_default().to_owned();
            candidates.push(Candidate {
                what: (provision, host.key),
                id: host.host_id.filter(|_| here),
                names: host.name.iter().filter(|_| here).cloned().collect(),
                place: Some(Place { provision, name, number: host.key.0 }),
            });
        }
    }
    Selection { kind: "host", candidates }
}
