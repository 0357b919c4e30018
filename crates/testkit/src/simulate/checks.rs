//! The rules. See [`super`] for them in words.

use std::collections::BTreeMap;

use engine::overview::Pools;
use engine::{EngineError, Report, names};
use journal::{HostRecord, Machine, ProvisionRecord};
use model::{ProvisionId, ProvisionState};
use opennebula::objects::HostState;

use super::Operation;
use super::run::Run;
use crate::cloud;
use crate::lock;

/// Name of the objects of somebody else.
const OTHERS: &str = "somebody-else";

impl Run {
    /// Somebody else's machine and objects, which must be there at the end as they are now.
    pub async fn plant_others(&self) {
        let cluster = self.truth.clusters().allocate(OTHERS).await.expect("a cluster");
        self.truth.hosts().allocate(OTHERS, "kvm", "kvm", cluster).await.expect("a host");
        let machine = cloud::Machine::new(OTHERS, OTHERS, "172.16.0.1");
        lock(&self.cloud.machines).insert(OTHERS.into(), machine);
    }

    /// After every operation and every kill.
    pub async fn check_always(&self) {
        let mut billed = self.cloud.billed();
        if billed.remove(OTHERS).is_none() {
            self.trace.violation("somebody else's machine was destroyed");
        }
        let records = self.disk.records();
        for (id, machine) in &billed {
            let named = records.iter().any(|record| {
                record.hosts.values().any(|host| names_machine(record.id, host, id, machine))
            });
            if !named {
                self.trace.violation(format_args!(
                    "machine {id} is on the bill and the journal does not name it (key {})",
                    machine.key
                ));
            }
        }
        for double in self.cloud.doubles() {
            self.trace.violation(format_args!("two machines: {double}"));
        }
        let mut owners = BTreeMap::new();
        for record in &records {
            for host in record.hosts.values() {
                let Some(id) = host.machine.id() else { continue };
                if !self.cloud.has_issued(id.as_str()) {
                    self.trace.violation(format_args!("machine {id} was never made"));
                }
                if let Some(other) = owners.insert(id.clone(), host.key) {
                    self.trace.violation(format_args!(
                        "hosts {other} and {} claim the same machine {id}",
                        host.key
                    ));
                }
            }
        }
        self.disk.check_fold();
        let hosts = self.truth.hosts().pool().await.expect("the sandbox answers");
        let clusters = self.truth.clusters().pool().await.expect("the sandbox answers");
        let others = hosts.iter().filter(|host| host.name == OTHERS).count()
            + clusters.iter().filter(|cluster| cluster.name == OTHERS).count();
        if others != 2 {
            self.trace.violation("an object of somebody else was taken");
        }
        let record = format!("{:?}", self.disk.record(self.id()));
        self.listener().hear(&record);
    }

    /// After an operation that ended by itself and says so.
    pub async fn check_report(&self, operation: Operation, report: &Report) {
        let record = &report.record;
        self.trace.line(format_args!(
            "{operation:?} ends: {} {}{}",
            record.state,
            record.machines(),
            if report.interrupted { " (interrupted)" } else { "" }
        ));
        self.listener().hear(&format!("{report:?}"));
        if self.refolded().await.as_ref() != Some(record) {
            self.trace.violation("the record that was returned is not the folded journal");
        }
        if report.interrupted {
            return;
        }
        match record.state {
            // Hosts are still to be removed: that is shown as interrupted, whatever else is ready.
            ProvisionState::Ready if record.is_removing() => {}
            ProvisionState::Ready => self.check_ready(record).await,
            ProvisionState::Deleted => {
                self.check_no_objects("deleted").await;
                if !self.bill_of(record).is_empty() {
                    self.trace.violation("deleted, and a machine is on the bill");
                }
            }
            ProvisionState::Parked => {
                self.check_no_objects("parked").await;
                let unknown = |host: &HostRecord| matches!(host.machine, Machine::Maybe { .. });
                if !record.hosts.values().any(unknown) {
                    self.trace.violation("parked, and no machine may exist");
                }
            }
            ProvisionState::Failed => {}
            // Some hosts of an interrupted provision were removed; it is still interrupted.
            ProvisionState::Creating | ProvisionState::Deleting
                if operation == Operation::HostDelete => {}
            ProvisionState::Creating | ProvisionState::Deleting => {
                self.trace.violation(format_args!("{operation:?} ends as {}", record.state));
            }
        }
    }

    /// After a resume without faults.
    pub fn check_resumed(&self, record: &ProvisionRecord) {
        let unknown = |host: &HostRecord| matches!(host.machine, Machine::Maybe { .. });
        let unknown = record.hosts.values().any(unknown);
        let excused = unknown && !*lock(&self.cloud.lists);
        if record.state != ProvisionState::Ready && !excused {
            let failures: Vec<_> =
                record.hosts.values().filter_map(|host| host.failure.as_deref()).collect();
            let objects = std::iter::once(&record.cluster)
                .chain(record.datastores.values())
                .chain(record.networks.values());
            let objects: Vec<_> = objects.filter_map(|object| object.failure.as_deref()).collect();
            self.trace.violation(format_args!(
                "a resume without faults ends as {}: {failures:?} {objects:?}",
                record.state
            ));
        }
    }

    /// Bill, journal and OpenNebula are the same.
    async fn check_ready(&self, record: &ProvisionRecord) {
        let wrong = |what: String| self.trace.violation(format_args!("ready, and {what}"));
        let there = self.objects().await;
        let bill = self.bill_of(record);
        let hosts: Vec<&HostRecord> = record.hosts.values().filter(|h| !h.removed).collect();
        if bill.len() != hosts.len() {
            wrong(format!("{} machines are billed for {} hosts", bill.len(), hosts.len()));
        }
        if there.hosts.len() != hosts.len() {
            wrong(format!("OpenNebula has {} of {} hosts", there.hosts.len(), hosts.len()));
        }
        let (datastores, networks) = (self.spec.datastores.len(), self.spec.networks.len());
        if (there.clusters.len(), there.datastores.len(), there.vnets.len())
            != (1, datastores, networks)
        {
            wrong(format!(
                "OpenNebula has {} clusters, {} of {datastores} datastores, {} of {networks} networks",
                there.clusters.len(),
                there.datastores.len(),
                there.vnets.len()
            ));
        }
        let cluster = there.clusters.first();
        let named = cluster.is_some_and(|cluster| {
            cluster.name == self.spec.cluster.name
                && cluster.template.text("PROVISION/PROVISION_ID").is_some()
        });
        if !named {
            wrong("the cluster has not its name and our mark".to_owned());
        }
        let has = |id| cluster.is_some_and(|cluster| cluster.datastores.contains(id));
        if !self.spec.cluster_datastores.iter().all(has) {
            wrong(format!("the cluster lacks one of {:?}", self.spec.cluster_datastores));
        }
        if record.secrets.id.is_some() != (there.documents.len() == 1) {
            wrong(format!("OpenNebula has {} documents", there.documents.len()));
        }
        for host in hosts {
            let key = host.key;
            if host.open.is_some() {
                wrong(format!("host {key} has an open intent"));
            }
            let Some(id) = host.machine.id().filter(|id| bill.contains_key(id.as_str())) else {
                wrong(format!("host {key} has no machine"));
                continue;
            };
            let Some(object) = there.hosts.iter().find(|o| Some(o.id.0) == host.host_id) else {
                wrong(format!("host {key} is not in OpenNebula"));
                continue;
            };
            if object.template.text("PROVISION/DEPLOY_ID") != Some(id.as_str()) {
                wrong(format!("host {key} in OpenNebula does not carry the id {id}"));
            }
            if Some(object.name.as_str()) != host.address.as_deref() {
                wrong(format!("host {key} is named {}, not by its address", object.name));
            }
            let enabled = object.state != HostState::Offline;
            let spec: Option<template::Spec> =
                record.create.as_ref().and_then(|create| create.spec.read().ok());
            let configured =
                self.cloud.configurable && spec.is_some_and(|spec| !spec.playbooks.is_empty());
            // One that a `configure` made up for what the create was not asked to do.
            let made_up = host.configuration.asked;
            if enabled != (!self.skip_config || made_up) {
                wrong(format!("host {key} is {:?}", object.state));
            }
            let status = object.template.text("PROVISION_CONFIGURATION_STATUS");
            if enabled != (status == Some("configured")) {
                wrong(format!("host {key} is {:?} and told to be {status:?}", object.state));
            }
            if configured && enabled && host.configuration.done == 0 {
                wrong(format!("host {key} was never configured"));
            }
        }
    }

    /// An operation that failed as a whole.
    pub async fn check_error(&self, operation: Operation, error: &EngineError, rival: bool) {
        self.trace.line(format_args!("{operation:?} fails: {error:?}"));
        let mut text = format!("{error:?} {error}");
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        self.listener().hear(&text);
        let allowed = match error {
            EngineError::Journal(_) | EngineError::OpenNebula { .. } => self.faults.are_armed(),
            EngineError::Lease { .. } => rival,
            EngineError::NotFound(id) => self.disk.record(*id).is_none() || rival,
            // The secrets are in the template alone, and that has changed.
            EngineError::Template(_) => operation == Operation::Resume && self.faults.are_armed(),
            EngineError::Refused(_) => rival || operation == Operation::Configure,
            EngineError::Driver(_) | EngineError::Configuration(_) => false,
        };
        if !allowed {
            self.trace.violation(format_args!("{operation:?} ends with {text}"));
        }
    }

    /// A provision that was never written down has left nothing.
    pub async fn check_nothing_left(&self) {
        self.check_no_objects("never begun").await;
        if self.cloud.bill().len() != 1 {
            self.trace.violation("never begun, and a machine is on the bill");
        }
    }

    async fn check_no_objects(&self, state: &str) {
        let mut there = self.objects().await;
        if state == "parked" {
            // Who looks for the machine needs the credentials.
            there.documents.clear();
        }
        if !there.is_empty() {
            self.trace.violation(format_args!(
                "{state}, and OpenNebula has {} documents, {} clusters, {} hosts, {} datastores, {} networks",
                there.documents.len(),
                there.clusters.len(),
                there.hosts.len(),
                there.datastores.len(),
                there.vnets.len()
            ));
        }
        // Also nothing that lost its mark: there is nothing but what OpenNebula and others have.
        let truth = &self.truth;
        let clusters = truth.clusters().pool().await.expect("the sandbox answers").len();
        let hosts = truth.hosts().pool().await.expect("the sandbox answers").len();
        let datastores = truth.datastores().pool().await.expect("the sandbox answers").len();
        let vnets = truth.vnets().pool().await.expect("the sandbox answers").len();
        if (clusters, hosts, datastores, vnets) != (2, 1, 3, 0) {
            self.trace.violation(format_args!(
                "{state}, and there are {clusters} clusters, {hosts} hosts, {datastores} \
                 datastores, {vnets} networks"
            ));
        }
    }

    /// What OpenNebula has of the provision, read without faults.
    async fn objects(&self) -> Pools {
        Pools::read(&self.truth).await.expect("the sandbox answers").of(self.id())
    }

    fn bill_of(&self, record: &ProvisionRecord) -> BTreeMap<String, cloud::Machine> {
        let mut billed = self.cloud.billed();
        billed.retain(|_, machine| names::host_key(record.id, &machine.name).is_some());
        billed
    }
}

/// Whether a host's record names this machine.
fn names_machine(
    provision: ProvisionId,
    host: &HostRecord,
    id: &str,
    machine: &cloud::Machine,
) -> bool {
    if names::host_name(provision, host.key) != machine.name {
        return false;
    }
    let announced = host.open.as_ref().is_some_and(|open| open.key.as_ref() == Some(&machine.key));
    let known = match &host.machine {
        Machine::Exists(known) => known.as_str() == id,
        Machine::Maybe { .. } => {
            names::deploy_key(provision, host.key, host.attempts) == machine.key
        }
        Machine::None | Machine::Gone => false,
    };
    announced || known
}
