//! The `list` of hosts, clusters, datastores, networks, images and templates.

use engine::overview::Pools;
use opennebula::objects::Owner;

use super::watch::{self, repeat};
use super::{Exit, print};
use crate::args::{Global, HostTopArgs, ListArgs};
use crate::context::{Folders, FrontEnd};
use crate::error::CliError;
use crate::views::pools::Pool;
use crate::views::table::{self, Column, Definitions};

/// A list of objects of one kind, and where its rows come from.
pub struct Kind {
    /// Root of the XML and JSON forms.
    root: &'static str,
    element: &'static str,
    columns: &'static [Column],
    /// A row per object, a cell per column.
    rows: fn(&Pools) -> Vec<Vec<String>>,
}

/// Lists the objects of a kind.
pub async fn run(global: &Global, args: &ListArgs, kind: &Kind) -> Result<Exit, CliError> {
    if args.table.describe {
        return print(&table::describe(kind.columns, &Definitions::default()));
    }
    let folders = Folders::of(global)?;
    let front_end = FrontEnd::open(global, &folders, false).await?;
    repeat(args.delay, async || {
        let pools = Pools::glance(&front_end.client).await?;
        let Kind { root, element, columns, rows } = *kind;
        Pool { root, element, columns, rows: rows(&pools) }.render(&args.table)
    })
    .await
}

/// The same, again and again.
pub async fn top(global: &Global, args: &HostTopArgs, kind: &Kind) -> Result<Exit, CliError> {
    let folders = Folders::of(global)?;
    let front_end = FrontEnd::open(global, &folders, false).await?;
    watch::top(args.delay, args.iterations, async || {
        let pools = Pools::glance(&front_end.client).await?;
        let Kind { root, element, columns, rows } = *kind;
        Pool { root, element, columns, rows: rows(&pools) }.render(&args.table)
    })
    .await
}

pub const HOSTS: Kind = Kind {
    root: "HOST_POOL",
    element: "HOST",
    columns: &[
        Column::right("ID", 4).about("Id of the host"),
        Column::left("NAME", 15).about("Its name"),
        Column::left("CLUSTER", 9).about("Name of its cluster"),
        Column::left("ALLOCATED_CPU", 15).about("CPU that its VMs have, of all that it has"),
        Column::left("ALLOCATED_MEM", 18).about("Memory that its VMs have, of all that it has"),
        Column::left("PROVIDER", 8).about("Provision driver of its machine"),
        Column::left("STAT", 6).about("State of the host"),
    ],
    rows: |pools| {
        let rows = pools.hosts.iter().map(|host| {
            vec![
                host.id.to_string(),
                host.name.clone(),
                host.cluster_name.clone(),
                allocated(host.cpu_usage, host.max_cpu, |cpu| cpu.to_string()),
                allocated(host.mem_usage, host.max_mem, kilobytes),
                host.template.text("PM_MAD").unwrap_or("-").to_owned(),
                host.state.to_string(),
            ]
        });
        rows.collect()
    },
};

pub const CLUSTERS: Kind = Kind {
    root: "CLUSTER_POOL",
    element: "CLUSTER",
    columns: &[
        Column::right("ID", 5).about("Id of the cluster"),
        Column::left("NAME", 25).about("Its name"),
        Column::right("HOSTS", 5).about("Number of its hosts"),
        Column::right("VNETS", 5).about("Number of its virtual networks"),
        Column::right("DATASTORES", 10).about("Number of its datastores"),
    ],
    rows: |pools| {
        let rows = pools.clusters.iter().map(|cluster| {
            vec![
                cluster.id.to_string(),
                cluster.name.clone(),
                cluster.hosts.len().to_string(),
                cluster.vnets.len().to_string(),
                cluster.datastores.len().to_string(),
            ]
        });
        rows.collect()
    },
};

pub const DATASTORES: Kind = Kind {
    root: "DATASTORE_POOL",
    element: "DATASTORE",
    columns: &[
        Column::right("ID", 4).about("Id of the datastore"),
        Column::left("NAME", 25).about("Its name"),
        Column::right("SIZE", 10).about("All of its space"),
        Column::left("AVAIL", 5).about("Free space"),
        Column::left("CLUSTERS", 12).about("Ids of its clusters"),
        Column::right("IMAGES", 6).about("Number of its images"),
        Column::left("TYPE", 4).about("Images, system or files"),
        Column::left("DS", 8).about("Driver of the datastore"),
        Column::left("TM", 8).about("Driver of transfers"),
        Column::left("STAT", 4).about("State of the datastore"),
    ],
    rows: |pools| {
        let rows = pools.datastores.iter().map(|datastore| {
            vec![
                datastore.id.to_string(),
                datastore.name.clone(),
                kilobytes(datastore.total_mb.saturating_mul(1024)),
                percent(datastore.free_mb, datastore.total_mb),
                ids(datastore.clusters.iter()),
                datastore.images.len().to_string(),
                datastore.kind.to_string(),
                datastore.ds_mad.clone(),
                datastore.tm_mad.clone(),
                datastore.state.to_string(),
            ]
        });
        rows.collect()
    },
};

pub const VNETS: Kind = Kind {
    root: "VNET_POOL",
    element: "VNET",
    columns: &[
        Column::right("ID", 4).about("Id of the network"),
        Column::left("USER", 10).about("Its owner"),
        Column::left("GROUP", 10).about("Its group"),
        Column::left("NAME", 25).about("Its name"),
        Column::left("CLUSTERS", 10).about("Ids of its clusters"),
        Column::left("BRIDGE", 10).about("Its bridge"),
        Column::left("STATE", 5).about("State of the network"),
        Column::right("LEASES", 6).about("Number of addresses in use"),
    ],
    rows: |pools| {
        let rows = pools.vnets.iter().map(|vnet| {
            vec![
                vnet.id.to_string(),
                vnet.owner.uname.clone(),
                vnet.owner.gname.clone(),
                vnet.name.clone(),
                ids(vnet.clusters.iter()),
                vnet.bridge.clone(),
                vnet.state.to_string(),
                vnet.used_leases.to_string(),
            ]
        });
        rows.collect()
    },
};

pub const IMAGES: Kind = Kind {
    root: "IMAGE_POOL",
    element: "IMAGE",
    columns: &[
        Column::right("ID", 4).about("Id of the image"),
        Column::left("USER", 10).about("Its owner"),
        Column::left("GROUP", 10).about("Its group"),
        Column::left("NAME", 25).about("Its name"),
        Column::left("DATASTORE", 15).about("Name of its datastore"),
        Column::right("SIZE", 8).about("Its size"),
        Column::left("STAT", 4).about("State of the image"),
        Column::right("RVMS", 4).about("Number of VMs that use it"),
    ],
    rows: |pools| {
        let rows = pools.images.iter().map(|image| {
            vec![
                image.id.to_string(),
                image.owner.uname.clone(),
                image.owner.gname.clone(),
                image.name.clone(),
                image.datastore_name.clone(),
                kilobytes(image.size_mb.saturating_mul(1024)),
                image.state.to_string(),
                image.running_vms.to_string(),
            ]
        });
        rows.collect()
    },
};

/// Of what is little more than a template.
const PLAIN: [Column; 4] = [
    Column::right("ID", 4).about("Its id"),
    Column::left("USER", 10).about("Its owner"),
    Column::left("GROUP", 10).about("Its group"),
    Column::left("NAME", 40).about("Its name"),
];

fn plain(id: i32, owner: &Owner, name: &str) -> Vec<String> {
    vec![id.to_string(), owner.uname.clone(), owner.gname.clone(), name.to_owned()]
}

pub const TEMPLATES: Kind = Kind {
    root: "VMTEMPLATE_POOL",
    element: "VMTEMPLATE",
    columns: &PLAIN,
    rows: |pools| pools.templates.iter().map(|t| plain(t.id.0, &t.owner, &t.name)).collect(),
};

pub const VNTEMPLATES: Kind = Kind {
    root: "VNTEMPLATE_POOL",
    element: "VNTEMPLATE",
    columns: &PLAIN,
    rows: |pools| pools.vntemplates.iter().map(|t| plain(t.id.0, &t.owner, &t.name)).collect(),
};

pub const FLOWTEMPLATES: Kind = Kind {
    root: "DOCUMENT_POOL",
    element: "DOCUMENT",
    columns: &PLAIN,
    rows: |pools| pools.flowtemplates.iter().map(|t| plain(t.id.0, &t.owner, &t.name)).collect(),
};

fn ids<'a, T: ToString + 'a>(ids: impl Iterator<Item = &'a T>) -> String {
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    if ids.is_empty() { "-".to_owned() } else { ids.join(",") }
}

/// `USED / MAX (PERCENT%)`, or `-` for a host that was never looked at.
fn allocated(used: i64, max: i64, show: impl Fn(i64) -> String) -> String {
    match max {
        // Less than nothing is what a host has that reserves CPU and was never looked at.
        ..=0 => "-".to_owned(),
        max => format!("{} / {} ({})", show(used), show(max), percent(used, max)),
    }
}

fn percent(part: i64, whole: i64) -> String {
    match whole {
        0 => "-".to_owned(),
        whole => format!("{}%", part.saturating_mul(100) / whole),
    }
}

/// A size in kilobytes, in the unit that fits: `512K`, `7.6G`.
fn kilobytes(kilobytes: i64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    let mut unit = 0;
    let mut value = kilobytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{kilobytes}K"),
        unit => format!("{value:.1}{}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(kilobytes(0), "0K");
        assert_eq!(kilobytes(512), "512K");
        assert_eq!(kilobytes(8_000_000), "7.6G");
        assert_eq!(kilobytes(i64::MAX), "8589934592.0T");
        assert_eq!(allocated(100, 400, |n| n.to_string()), "100 / 400 (25%)");
        assert_eq!(allocated(0, 0, kilobytes), "-");
    }
}
