//! `list` and `show`.

use std::collections::{BTreeMap, BTreeSet};

use engine::names;
use engine::overview::{Overview, Status};
use journal::{HostRecord, Machine, ProvisionRecord};
use model::{HostKey, HostState};
use opennebula::objects::Host;
use serde_json::{Map, Value, json};

use super::table::{self, Column, Definitions, Table};
use super::xml::Element;
use crate::args::{FormatArgs, TableArgs};
use crate::error::CliError;

/// The columns of 5.12.
pub const COLUMNS: [Column; 7] = [
    Column::right("ID", 36).about("Id of the provision"),
    Column::left("NAME", 25).about("Its name"),
    Column::right("CLUSTERS", 8).about("Number of its clusters"),
    Column::right("HOSTS", 5).about("Number of its hosts"),
    Column::right("NETWORKS", 5).about("Number of its virtual networks"),
    Column::right("DATASTORES", 10).about("Number of its datastores"),
    Column::left("STAT", 15).about("Status of the provision"),
];

const MACHINES: [Column; 6] = [
    Column::right("ID", 4),
    Column::left("NAME", 15),
    Column::left("DRIVER", 8),
    Column::left("MACHINE", 22),
    Column::left("STATE", 10),
    Column::left("OPENNEBULA", 10),
];

/// The machines of a provision as the journal knows them, for the end of an operation.
pub fn machines(record: &ProvisionRecord) -> String {
    /// More would hide the lines that follow; `show` has them.
    const MOST: usize = 40;
    let hosts = record.hosts.values().filter(|host| !host.removed);
    let rows: Vec<Vec<String>> =
        hosts.take(MOST).map(|host| HostLine::of_record(record, host).row()).collect();
    let more = record.hosts.len().saturating_sub(MOST);
    let columns = &MACHINES[..MACHINES.len() - 1];
    let mut text = if rows.is_empty() { String::new() } else { table::plain(columns, &rows) };
    if more > 0 {
        text += &format!("… and {more} more\n");
    }
    text
}

/// `oneprovision list`
pub fn list(
    overviews: &[Overview],
    args: &TableArgs,
    definitions: &Definitions,
) -> Result<String, CliError> {
    let rows: Vec<Vec<String>> = overviews
        .iter()
        .map(|overview| {
            vec![
                overview.id.to_string(),
                overview.name.clone(),
                overview.pools.clusters.len().to_string(),
                hosts(overview).len().to_string(),
                overview.pools.vnets.len().to_string(),
                overview.pools.datastores.len().to_string(),
                overview.status.to_string(),
            ]
        })
        .collect();
    let table = Table { columns: &COLUMNS, rows: &rows };
    let chosen = table.chosen(args)?;
    let chosen = chosen.iter().filter_map(|n| overviews.get(*n));
    if args.format.xml {
        let all = chosen.map(element).collect();
        return Ok(Element::Parent("PROVISION_POOL", all).render());
    }
    if args.format.json || args.format.yaml {
        let all: Vec<Value> = chosen.map(value).collect();
        let pool = json!({ "PROVISION_POOL": { "PROVISION": all } });
        return if args.format.json { Ok(super::json(&pool)) } else { super::yaml(&pool) };
    }
    table.render(args, definitions)
}

/// `oneprovision show`
pub fn show(overview: &Overview, format: FormatArgs) -> Result<String, CliError> {
    if format.xml {
        return Ok(element(overview).render());
    }
    if format.json || format.yaml {
        let shown = json!({ "PROVISION": value(overview) });
        return if format.json { Ok(super::json(&shown)) } else { super::yaml(&shown) };
    }
    let title = format!("PROVISION {} INFORMATION", overview.id);
    let mut out = format!("{title:<80}\n");
    for (key, value) in [
        ("ID", overview.id.to_string()),
        ("NAME", overview.name.clone()),
        ("STATUS", overview.status.to_string()),
    ] {
        out += &format!("{key:<8}: {value}\n");
    }
    if let Some(damage) = &overview.damage {
        out += &format!("{:<8}: {damage}\n", "REASON");
    }
    for (title, ids) in resources(overview) {
        out += &format!("\n{title:<80}\n");
        for id in ids {
            out += &format!("{id}\n");
        }
    }
    let machines = hosts(overview);
    if !machines.is_empty() {
        let rows: Vec<Vec<String>> = machines.iter().map(HostLine::row).collect();
        out += &format!("\n{:<80}\n", "MACHINES");
        out += &table::plain(&MACHINES, &rows);
        for host in machines.iter().filter_map(|host| Some((host, host.reason.as_ref()?))) {
            out += &format!("{}: {}\n", host.0.label, host.1);
        }
    }
    Ok(out)
}

/// The ids of a provision's objects, under the headers of 5.12; kinds without objects are left out.
fn resources(overview: &Overview) -> Vec<(&'static str, Vec<i32>)> {
    let pools = &overview.pools;
    let all = [
        ("CLUSTERS", pools.clusters.iter().map(|c| c.id.0).collect::<Vec<_>>()),
        ("DATASTORES", pools.datastores.iter().map(|d| d.id.0).collect()),
        ("HOSTS", pools.hosts.iter().map(|h| h.id.0).collect()),
        ("NETWORKS", pools.vnets.iter().map(|n| n.id.0).collect()),
        ("IMAGES", pools.images.iter().map(|i| i.id.0).collect()),
        ("TEMPLATES", pools.templates.iter().map(|t| t.id.0).collect()),
        ("VNTEMPLATES", pools.vntemplates.iter().map(|t| t.id.0).collect()),
        ("FLOWTEMPLATES", pools.flowtemplates.iter().map(|f| f.id.0).collect()),
    ];
    all.into_iter().filter(|(_, ids)| !ids.is_empty()).collect()
}

/// A host as OpenNebula and the journal together know it.
struct HostLine {
    id: Option<i32>,
    /// What messages call it.
    label: String,
    name: String,
    driver: String,
    deploy_id: Option<String>,
    address: Option<String>,
    /// Where it stands in its life; from OpenNebula alone if the journal does not know it.
    state: HostState,
    /// OpenNebula's own state, in the short form of `onehost list`.
    opennebula: Option<String>,
    configuration: Option<String>,
    /// Why it failed, or what is known of a machine that may exist.
    reason: Option<String>,
}

impl HostLine {
    /// From the journal alone.
    fn of_record(record: &ProvisionRecord, host: &HostRecord) -> Self {
        let name = host.name.clone().unwrap_or_else(|| crate::progress::label(record, host.key));
        Self {
            id: host.host_id,
            label: crate::progress::label(record, host.key),
            name,
            driver: host.driver.clone(),
            deploy_id: machine_id(Some(host)),
            address: host.address.clone(),
            state: host.state(),
            opennebula: None,
            configuration: None,
            reason: reason(host),
        }
    }

    fn row(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            self.name.clone(),
            self.driver.clone(),
            or_dash(&self.deploy_id),
            self.state.to_string(),
            or_dash(&self.opennebula),
        ]
    }

    fn value(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        put("ID", self.id.map(Value::from));
        put("NAME", Some(self.name.as_str().into()));
        put("DRIVER", Some(self.driver.as_str().into()));
        put("DEPLOY_ID", self.deploy_id.as_deref().map(Value::from));
        put("ADDRESS", self.address.as_deref().map(Value::from));
        put("STATE", Some(self.state.as_str().into()));
        put("OPENNEBULA_STATE", self.opennebula.as_deref().map(Value::from));
        put("CONFIGURATION_STATUS", self.configuration.as_deref().map(Value::from));
        put("REASON", self.reason.as_deref().map(Value::from));
        Value::Object(map)
    }

    fn element(&self) -> Element {
        let mut children = Vec::new();
        let mut put = |name: &'static str, text: Option<String>| {
            children.extend(text.map(|text| Element::text(name, text)));
        };
        put("ID", self.id.map(|id| id.to_string()));
        put("NAME", Some(self.name.clone()));
        put("DRIVER", Some(self.driver.clone()));
        put("DEPLOY_ID", self.deploy_id.clone());
        put("ADDRESS", self.address.clone());
        put("STATE", Some(self.state.to_string()));
        put("OPENNEBULA_STATE", self.opennebula.clone());
        put("CONFIGURATION_STATUS", self.configuration.clone());
        put("REASON", self.reason.clone());
        Element::Parent("MACHINE", children)
    }
}

/// The hosts of a provision: OpenNebula's, then those that only the journal knows and that still
/// matter: planned ones while it is being made, and machines that may exist.
fn hosts(overview: &Overview) -> Vec<HostLine> {
    // By its id, or by its first name: the create of one that was interrupted may not have written
    // its id down.
    let recorded = overview.record.iter().flat_map(|record| record.hosts.values());
    let by_id: BTreeMap<i32, &HostRecord> =
        recorded.rev().filter_map(|host| Some((host.host_id?, host))).collect();
    let record_of = |there: &Host| {
        let record = overview.record.as_ref()?;
        by_id
            .get(&there.id.0)
            .copied()
            .or_else(|| record.hosts.get(&names::host_key(record.id, &there.name)?))
    };
    let mut all: Vec<HostLine> = overview
        .pools
        .hosts
        .iter()
        .map(|host| {
            let text = |path: &str| host.template.text(path).map(str::to_owned);
            let record = record_of(host);
            let deploy_id = text("PROVISION/DEPLOY_ID");
            let by_opennebula = match (&deploy_id, host.state) {
                (None, _) if overview.damage.is_some() => HostState::Unknown,
                (None, _) => HostState::Registered,
                (Some(_), opennebula::objects::HostState::Offline) => HostState::Deployed,
                (Some(_), _) => HostState::Enabled,
            };
            HostLine {
                id: Some(host.id.0),
                label: record.zip(overview.record.as_ref()).map_or_else(
                    || host.name.clone(),
                    |(host, all)| crate::progress::label(all, host.key),
                ),
                name: host.name.clone(),
                driver: text("PM_MAD").unwrap_or_default(),
                deploy_id: deploy_id.or_else(|| machine_id(record)),
                address: record.and_then(|record| record.address.clone()),
                state: record.map_or(by_opennebula, HostRecord::state),
                opennebula: Some(host.state.to_string()),
                configuration: text("PROVISION_CONFIGURATION_STATUS"),
                reason: record.and_then(reason),
            }
        })
        .collect();
    let known: BTreeSet<HostKey> =
        overview.pools.hosts.iter().filter_map(|host| Some(record_of(host)?.key)).collect();
    if let Some(record) = &overview.record {
        let under_way = matches!(overview.status, Status::Creating | Status::Interrupted);
        all.extend(
            record
                .hosts
                .values()
                .filter(|host| !known.contains(&host.key))
                .filter(|host| !host.removed && (under_way || host.may_cost()))
                .map(|host| HostLine { id: None, ..HostLine::of_record(record, host) }),
        );
    }
    all
}

fn machine_id(host: Option<&HostRecord>) -> Option<String> {
    host?.machine.id().map(ToString::to_string)
}

fn reason(host: &HostRecord) -> Option<String> {
    let begun = || {
        let step = host.open.as_ref()?.step;
        Some(format!("{} was begun, and what came of it is not known yet", step.as_str()))
    };
    match &host.machine {
        Machine::Maybe { evidence } => Some(evidence.clone()),
        _ => {
            let trouble = host.power_trouble().map(|trouble| trouble.text);
            trouble.or_else(|| host.failure.clone()).or_else(begun)
        }
    }
}

/// For JSON and YAML.
fn value(overview: &Overview) -> Value {
    let pools = &overview.pools;
    let object = |id: i32, name: &str| json!({ "ID": id, "NAME": name });
    let list = |objects: Vec<Value>| Value::Array(objects);
    let mut shown = json!({
        "ID": overview.id.to_string(),
        "NAME": overview.name,
        "STATUS": overview.status.to_string(),
        "CLUSTERS": list(pools.clusters.iter().map(|c| object(c.id.0, &c.name)).collect()),
        "DATASTORES": list(pools.datastores.iter().map(|d| object(d.id.0, &d.name)).collect()),
        "HOSTS": list(hosts(overview).iter().map(HostLine::value).collect()),
        "NETWORKS": list(pools.vnets.iter().map(|n| object(n.id.0, &n.name)).collect()),
        "IMAGES": list(pools.images.iter().map(|image| {
            json!({ "ID": image.id.0, "NAME": image.name, "STATE": image.state.to_string() })
        }).collect()),
        "TEMPLATES": list(pools.templates.iter().map(|t| object(t.id.0, &t.name)).collect()),
        "VNTEMPLATES": list(pools.vntemplates.iter().map(|t| object(t.id.0, &t.name)).collect()),
        "FLOWTEMPLATES":
            list(pools.flowtemplates.iter().map(|f| object(f.id.0, &f.name)).collect()),
    });
    if let Some(damage) = &overview.damage {
        shown["REASON"] = damage.as_str().into();
    }
    shown
}

/// As 5.12 printed it, and the machines after it.
fn element(overview: &Overview) -> Element {
    let mut children = vec![
        Element::text("ID", overview.id),
        Element::text("NAME", &overview.name),
        Element::text("STATUS", overview.status),
    ];
    children.extend(overview.damage.iter().map(|damage| Element::text("REASON", damage)));
    for (title, ids) in resources(overview) {
        let ids = ids.into_iter().map(|id| Element::text("ID", id)).collect();
        children.push(Element::Parent(title, ids));
    }
    let machines: Vec<Element> = hosts(overview).iter().map(HostLine::element).collect();
    if !machines.is_empty() {
        children.push(Element::Parent("MACHINES", machines));
    }
    Element::Parent("PROVISION", children)
}
