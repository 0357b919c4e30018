//! Machines that carry our mark and that nobody accounts for; and hosts whose machine is gone.
//!
//! The provider is listed first and our records are read after that, so that a machine which is
//! being made in between is accounted for. A grace age keeps what is younger out of the way.
//!
//! An account may be shared with other coordinators, whose machines carry a mark of the same kind. A
//! machine is ours only if its mark names a provision that this journal or this front-end knows, or
//! knew: provision ids are random, so nobody else has that one. All others are told apart, and are
//! destroyed only by somebody who names them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use driver::api::{Call, Driver, FailureKind, ListedMachine, Unwatched};
use driver::deployment::DeploymentFile;
use driver::poll::addresses;
use journal::{Event, Fact, Machine, ORPHANS, Outcome, ProvisionRecord};
use model::{Attributes, DeployId, HostKey, ProvisionId};
use opennebula::objects::Host;

use crate::adopt::marked_key;
use crate::delete::deployment_of;
use crate::machines::{is_alive, left_over};
use crate::overview::{Pools, Records, host_provision};
use crate::secrets::Revealed;
use crate::values::provision_of;
use crate::{Engine, EngineError, names};

/// What to look through.
#[derive(Clone, Debug)]
pub struct OrphansRequest {
    /// Drivers to ask; empty for those of all hosts that OpenNebula and the journal know.
    pub drivers: Vec<String>,
    /// Hosts of a template, for accounts that no provision uses at present.
    pub accounts: Vec<DeploymentFile>,
    /// Machines that are younger are left alone.
    pub grace: Duration,
}

/// How a machine, or the lack of one, was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// At the provider, with our mark, and nobody accounts for it.
    Orphan,
    /// At the provider, and it may well be another coordinator's that shares the account: with a mark that this
    /// journal and this front-end have never heard of, or of a host that another journal has made and that names no
    /// machine yet, of a host whose machine the list does not have under its id, or with the address of a host.
    Foreign,
    /// One of these two, but younger than the grace age.
    Young,
    /// A host has this machine, and the provider does not list it.
    Missing,
}

/// A machine that is out of place.
#[derive(Clone)]
pub struct Orphan {
    /// How it was found.
    pub finding: Finding,
    /// Name of its driver.
    pub driver: String,
    /// Its id.
    pub id: DeployId,
    /// Its provision, if the mark or the host says so.
    pub provision: Option<ProvisionId>,
    /// The host it was made for, if the mark or the host says so.
    pub name: Option<String>,
    /// Its age, if the provider says when it was made.
    pub age: Option<Duration>,
    account: DeploymentFile,
}

/// What was found, and what could not be looked into.
#[derive(Default)]
pub struct Orphans {
    /// What is out of place, in the order of drivers.
    pub found: Vec<Orphan>,
    /// Drivers that cannot list, and why.
    pub unlisted: Vec<(String, String)>,
    /// Provisions of which the journal cannot be understood: what carries their mark may be theirs, and is not
    /// found.
    pub damaged: Vec<ProvisionId>,
    /// Number of accounts that were asked.
    pub asked: usize,
    /// Number of machines that the providers listed.
    pub listed: usize,
}

struct Account {
    driver_name: String,
    driver: Arc<dyn Driver>,
    file: DeploymentFile,
}

impl Engine {
    /// Compares what the providers have with what journal and OpenNebula know, both ways.
    ///
    /// # Errors
    /// If front-end or journal cannot be read. A driver that cannot list is part of the answer.
    pub async fn orphans(&self, request: &OrphansRequest) -> Result<Orphans, EngineError> {
        let pools = Pools::read(&self.opennebula).await?;
        let revealed = Revealed::read(self, &pools).await?;
        let mut orphans = Orphans::default();
        let accounts = self.accounts(request, &pools, &revealed, &mut orphans.unlisted);
        orphans.asked = accounts.len();
        let mut listed: Vec<(usize, ListedMachine)> = Vec::new();
        let mut asked: BTreeSet<String> = BTreeSet::new();
        for (index, account) in accounts.iter().enumerate() {
            match account.driver.list(&self.list_call(&account.file)).await {
                Ok(machines) => {
                    asked.insert(account.driver_name.clone());
                    listed.extend(machines.into_iter().map(|machine| (index, machine)));
                }
                Err(error) => {
                    let why = (account.driver_name.clone(), error.message);
                    if !orphans.unlisted.contains(&why) {
                        orphans.unlisted.push(why);
                    }
                }
            }
        }
        // Read again, after the list: what was made meanwhile is known by now.
        let pools = Pools::glance(&self.opennebula).await?;
        let Records { sound: records, damaged } = self.sound_records().await?;
        orphans.damaged = damaged.into_iter().map(|(id, _)| id).collect();
        let known = known_machines(&pools, &records);
        let under_way = keys_under_way(&records);
        let in_use = self.addresses_in_use().await?;
        let mut awaited = awaited_elsewhere(&pools, &records);
        awaited.extend(unseen(&pools, &records, &listed, &accounts, &asked));
        let ours = self.provisions_known(&pools, &records).await?;
        let mut seen: BTreeSet<(String, DeployId)> = BTreeSet::new();
        for (index, machine) in listed {
            let Some(account) = accounts.get(index) else { continue };
            let place = (account.driver_name.clone(), machine.id.clone());
            if !seen.insert(place.clone()) || known.contains_key(&place) {
                continue;
            }
            let text = |key: &str| machine.attributes.text(key).map(str::to_owned);
            if text("KEY").is_some_and(|key| under_way.contains(&key)) {
                continue;
            }
            let created = text("CREATED").and_then(|text| text.trim().parse::<i64>().ok());
            let age = created.map(|created| {
                let seconds = (self.clock.now() / 1000).saturating_sub(created).max(0);
                Duration::from_secs(seconds.unsigned_abs())
            });
            let young = age.is_some_and(|age| age < request.grace);
            let provision = text("PROVISION_ID")
                .and_then(|id| id.trim().parse().ok())
                .or_else(|| names::provision_of_key(&text("KEY")?))
                .or_else(|| names::provision_of_host(&text("NAME")?));
            if provision.is_some_and(|id| orphans.damaged.contains(&id)) {
                continue;
            }
            let marks = [text("NAME"), text("KEY")];
            let is_awaited = |mark: &String| awaited.iter().any(|begin| mark.starts_with(begin));
            let is_awaited = marks.iter().flatten().any(is_awaited)
                || addresses(&machine.attributes).iter().any(|address| in_use.contains(address));
            let finding = match provision.is_some_and(|id| ours.contains(&id)) {
                _ if young => Finding::Young,
                true if !is_awaited => Finding::Orphan,
                _ => Finding::Foreign,
            };
            orphans.found.push(Orphan {
                finding,
                driver: account.driver_name.clone(),
                id: machine.id,
                provision,
                name: text("NAME"),
                age,
                account: account.file.clone(),
            });
        }
        orphans.listed = seen.len();
        // Whose machines they are that another account has is not known.
        asked.retain(|driver| !orphans.unlisted.iter().any(|(unlisted, _)| unlisted == driver));
        for ((driver, id), (provision, name)) in known {
            if asked.contains(&driver) && !seen.contains(&(driver.clone(), id.clone())) {
                orphans.found.push(Orphan {
                    finding: Finding::Missing,
                    driver,
                    id,
                    provision: Some(provision),
                    name: Some(name),
                    age: None,
                    account: DeploymentFile::default(),
                });
            }
        }
        Ok(orphans)
    }

    /// The addresses of all hosts of OpenNebula, whoever made them and whatever they are marked with.
    async fn addresses_in_use(&self) -> Result<BTreeSet<String>, EngineError> {
        let hosts = self.opennebula.hosts();
        let hosts = hosts.pool_map(|host| {
            let address = host.template.text("PROVISION_ADDRESS").map(str::to_owned);
            Some([Some(host.name), address])
        });
        let hosts = hosts.await.map_err(EngineError::opennebula("the hosts cannot be read"))?;
        Ok(hosts.into_iter().flatten().flatten().collect())
    }

    /// The provisions that this journal or this front-end has or had.
    async fn provisions_known(
        &self,
        pools: &Pools,
        records: &[ProvisionRecord],
    ) -> Result<BTreeSet<ProvisionId>, EngineError> {
        let mut known: BTreeSet<ProvisionId> =
            self.journal.provisions().await?.into_iter().collect();
        known.extend(records.iter().map(|record| record.id));
        known.extend(pools.hosts.iter().filter_map(|host| provision_of(&host.template)));
        known.extend(pools.clusters.iter().filter_map(|cluster| provision_of(&cluster.template)));
        known.remove(&ORPHANS);
        Ok(known)
    }

    /// Destroys an orphan, or a machine that may be another coordinator's: whether it may is for the
    /// caller to know. The intent is journaled under [`ORPHANS`]; as long as the machine is there, the
    /// provider's list names it again.
    ///
    /// # Errors
    /// If it is none, if its driver refuses, or if it is still there after the cancel. That it is
    /// gone already is success.
    pub async fn cancel_orphan(&self, orphan: &Orphan) -> Result<(), EngineError> {
        if !matches!(orphan.finding, Finding::Orphan | Finding::Foreign) {
            return Err(EngineError::Refused(format!("machine {} is no orphan", orphan.id)));
        }
        let driver = self.drivers.find(&orphan.driver).map_err(EngineError::Driver)?;
        let mut file = orphan.account.clone();
        file.name = orphan.name.clone().unwrap_or_default();
        let call = self.list_call(&file);
        let (name, machine) = (orphan.driver.clone(), orphan.id.clone());
        let doomed = Event::OrphanDoomed {
            driver: name.clone(),
            machine: machine.clone(),
            provision: orphan.provision,
        };
        self.journal.append(ORPHANS, self.clock.now(), vec![doomed]).await?;
        let trouble = match driver.cancel(&call, &orphan.id).await {
            Err(error) if error.kind == FailureKind::NotFound => {
                is_alive(driver.as_ref(), &call, &orphan.id, &error)
                    .await
                    .map(|state| format!("is still {state}; {}", error.message))
            }
            Err(error) => Some(error.message),
            Ok(()) => left_over(driver.as_ref(), &call, &orphan.id)
                .await
                .map(|state| format!("is {state} after its cancel; repeat the command")),
        };
        let outcome = match &trouble {
            None => Outcome::Done(Fact::Done),
            Some(trouble) => Outcome::Unknown { evidence: trouble.clone() },
        };
        let ended = Event::OrphanEnded { driver: name, machine, outcome };
        self.journal.append(ORPHANS, self.clock.now(), vec![ended]).await?;
        match trouble {
            None => Ok(()),
            Some(trouble) => Err(EngineError::Refused(format!(
                "machine {} of driver {}: {trouble}",
                orphan.id, orphan.driver
            ))),
        }
    }

    fn list_call(&self, file: &DeploymentFile) -> Call {
        Call {
            key: "list".to_owned(),
            host: file.clone(),
            deadline: self.settings.action_deadline,
            watch: Arc::new(Unwatched),
        }
    }

    /// Every account once: hosts that differ only in what is theirs share one. Drivers that are not there are
    /// `unlisted`.
    fn accounts(
        &self,
        request: &OrphansRequest,
        pools: &Pools,
        revealed: &Revealed,
        unlisted: &mut Vec<(String, String)>,
    ) -> Vec<Account> {
        let mut files: Vec<DeploymentFile> = request.accounts.clone();
        files.extend(pools.hosts.iter().map(|host| deployment_of(self, host, revealed)));
        let wanted =
            |name: &str| request.drivers.is_empty() || request.drivers.iter().any(|d| d == name);
        let mut names: BTreeSet<String> =
            files.iter().map(|file| file.pm_mad.clone()).filter(|n| !n.is_empty()).collect();
        names.extend(request.drivers.iter().cloned());
        names.retain(|name| wanted(name));
        let mut accounts: Vec<Account> = Vec::new();
        for name in names {
            let driver = match self.drivers.find(&name) {
                Ok(driver) => driver,
                Err(why) => {
                    unlisted.push((name, why));
                    continue;
                }
            };
            let mut distinct: Vec<DeploymentFile> = Vec::new();
            for file in files.iter().filter(|file| file.pm_mad == name) {
                let same = |other: &DeploymentFile| {
                    account_of(&other.template) == account_of(&file.template)
                };
                if !distinct.iter().any(same) {
                    distinct.push(file.clone());
                }
            }
            if distinct.is_empty() {
                distinct.push(DeploymentFile { pm_mad: name.clone(), ..DeploymentFile::default() });
            }
            accounts.extend(distinct.into_iter().map(|file| Account {
                driver_name: name.clone(),
                driver: Arc::clone(&driver),
                file,
            }));
        }
        accounts
    }
}

/// What of a host's parameters can name an account: all but what is the host's own.
pub(crate) fn account_of(template: &Attributes) -> Attributes {
    const OWN: [&str; 9] = [
        "DEPLOY_ID",
        "HOST_KEY",
        "HOSTNAME",
        "IP",
        "NAME",
        "PROVISION_ID",
        "INDEX",
        "PRIVATEIP",
        "ELASTICIP",
    ];
    let mut account = Attributes::new();
    if let Some(model::Value::Vector(provision)) = template.get("PROVISION") {
        for (key, value) in provision.iter().filter(|(key, _)| !OWN.contains(key)) {
            account.push(key, value.clone());
        }
    }
    account
}

/// What the marks of machines begin with that somebody else may be making just now: OpenNebula has hosts for
/// them that name no machine yet, and that this journal did not make.
fn awaited_elsewhere(pools: &Pools, records: &[ProvisionRecord]) -> Vec<String> {
    let is_ours = |provision: ProvisionId, key: HostKey| {
        let mut records = records.iter().filter(|record| record.id == provision);
        records.any(|record| record.create.is_some() && record.hosts.contains_key(&key))
    };
    let marks = pools.hosts.iter().filter_map(|host| {
        let provision = host_provision(host)?;
        let key = names::host_key(provision, &host.name).or_else(|| marked_key(host))?;
        let is_named = host.template.text("PROVISION/DEPLOY_ID").is_some_and(|id| !id.is_empty());
        (!is_named && !is_ours(provision, key))
            .then(|| [names::host_name(provision, key), names::deploy_keys(provision, key)])
    });
    marks.flatten().collect()
}

/// What the marks of machines begin with that may be those of hosts under another id: the machine of such a host is
/// not in its driver's list.
fn unseen(
    pools: &Pools,
    records: &[ProvisionRecord],
    listed: &[(usize, ListedMachine)],
    accounts: &[Account],
    asked: &BTreeSet<String>,
) -> Vec<String> {
    let seen: BTreeSet<(&str, &DeployId)> = listed
        .iter()
        .filter_map(|(index, machine)| Some((&*accounts.get(*index)?.driver_name, &machine.id)))
        .collect();
    let hosts = records.iter().flat_map(|r| r.hosts.values().map(move |host| (r.id, host)));
    let hosts = hosts.filter(|(_, host)| {
        let is_unseen = |id| !seen.contains(&(host.driver.as_str(), id));
        asked.contains(&host.driver) && host.machine.id().is_some_and(is_unseen)
    });
    let marks = hosts.map(|(provision, host)| {
        let key = names::deploy_key(provision, host.key, host.attempts);
        [names::host_name(provision, host.key), key]
    });
    // Of hosts that another journal made, OpenNebula tells.
    let others = pools.hosts.iter().filter_map(|host| {
        let (driver, id) = machine_of(host)?;
        let (provision, key) = (host_provision(host)?, marked_key(host)?);
        (asked.contains(&driver) && !seen.contains(&(driver.as_str(), &id)))
            .then(|| [names::host_name(provision, key), names::deploy_keys(provision, key)])
    });
    marks.chain(others).flatten().collect()
}

/// Driver and id of the machine that a host object names.
fn machine_of(host: &Host) -> Option<(String, DeployId)> {
    let id = DeployId::new(host.template.text("PROVISION/DEPLOY_ID")?)?;
    Some((host.template.text("PM_MAD")?.to_owned(), id))
}

type Known = BTreeMap<(String, DeployId), (ProvisionId, String)>;

/// The machines that OpenNebula or the journal accounts for.
fn known_machines(pools: &Pools, records: &[ProvisionRecord]) -> Known {
    let mut known = Known::new();
    for host in &pools.hosts {
        if let (Some(machine), Some(provision)) = (machine_of(host), provision_of(&host.template)) {
            known.insert(machine, (provision, host.name.clone()));
        }
    }
    for record in records {
        for host in record.hosts.values() {
            if let Some(id) = host.machine.id() {
                let name = || host.name.clone().unwrap_or_else(|| format!("host {}", host.key));
                known
                    .entry((host.driver.clone(), id.clone()))
                    .or_insert_with(|| (record.id, name()));
            }
        }
    }
    known
}

/// Keys of deploys that have no outcome, or an unknown one: what they made is accounted for, and
/// found by `resume` or `delete`.
pub fn keys_under_way(records: &[ProvisionRecord]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for record in records {
        for host in record.hosts.values() {
            keys.extend(host.open.as_ref().and_then(|open| open.key.clone()));
            if matches!(host.machine, Machine::Maybe { .. }) {
                keys.insert(names::deploy_key(record.id, host.key, host.attempts));
            }
        }
    }
    keys
}
