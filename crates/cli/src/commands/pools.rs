//! `host list`, `cluster list`, `datastore list`, `vnet list`

use std::sync::Arc;

use engine::overview::Pools;

use super::print;
use crate::args::{Global, ListArgs};
use crate::context::{Folders, FrontEnd};
use crate::error::CliError;
use crate::exit::Exit;
use crate::views::pools::Pool;
use crate::views::table::Column;

async fn read(global: &Global) -> Result<Arc<Pools>, CliError> {
    let folders = Folders::of(global)?;
    let front_end = FrontEnd::open(global, &folders, false).await?;
    Ok(Arc::new(Pools::read(&front_end.client).await?))
}

pub async fn hosts(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let pools = read(global).await?;
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
    let pool = Pool {
        root: "HOST_POOL",
        element: "HOST",
        columns: vec![
            Column::right("ID", 4),
            Column::left("NAME", 15),
            Column::left("CLUSTER", 9),
            Column::left("ALLOCATED_CPU", 15),
            Column::left("ALLOCATED_MEM", 18),
            Column::left("PROVIDER", 8),
            Column::left("STAT", 6),
        ],
        rows: rows.collect(),
    };
    print(&pool.render(args)?)
}

pub async fn clusters(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let pools = read(global).await?;
    let rows = pools.clusters.iter().map(|cluster| {
        vec![
            cluster.id.to_string(),
            cluster.name.clone(),
            cluster.hosts.len().to_string(),
            cluster.vnets.len().to_string(),
            cluster.datastores.len().to_string(),
        ]
    });
    let pool = Pool {
        root: "CLUSTER_POOL",
        element: "CLUSTER",
        columns: vec![
            Column::right("ID", 5),
            Column::left("NAME", 25),
            Column::right("HOSTS", 5),
            Column::right("VNETS", 5),
            Column::right("DATASTORES", 10),
        ],
        rows: rows.collect(),
    };
    print(&pool.render(args)?)
}

pub async fn datastores(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let pools = read(global).await?;
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
    let pool = Pool {
        root: "DATASTORE_POOL",
        element: "DATASTORE",
        columns: vec![
            Column::right("ID", 4),
            Column::left("NAME", 25),
            Column::right("SIZE", 10),
            Column::left("AVAIL", 5),
            Column::left("CLUSTERS", 12),
            Column::right("IMAGES", 6),
            Column::left("TYPE", 4),
            Column::left("DS", 8),
            Column::left("TM", 8),
            Column::left("STAT", 4),
        ],
        rows: rows.collect(),
    };
    print(&pool.render(args)?)
}

pub async fn vnets(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let pools = read(global).await?;
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
    let pool = Pool {
        root: "VNET_POOL",
        element: "VNET",
        columns: vec![
            Column::right("ID", 4),
            Column::left("USER", 10),
            Column::left("GROUP", 10),
            Column::left("NAME", 25),
            Column::left("CLUSTERS", 10),
            Column::left("BRIDGE", 10),
            Column::left("STATE", 5),
            Column::right("LEASES", 6),
        ],
        rows: rows.collect(),
    };
    print(&pool.render(args)?)
}

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
