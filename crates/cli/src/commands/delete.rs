//! `delete`, `host delete`

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{DeleteRequest, Engine};
use model::{HostId, ProvisionId};

use super::operation::{
    Wanted, after_error, conclude, confirmed, narrate, progress, stop_on_signals,
};
use super::provision_id;
use crate::args::{DeleteArgs, Global, HostDeleteArgs};
use crate::context::Context;
use crate::error::CliError;
use crate::exit::Exit;
use crate::failover;

pub async fn run(global: &Global, args: &DeleteArgs) -> Result<Exit, CliError> {
    let id = provision_id(&args.provision)?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress);
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(Some(id)).await?;
    stop_on_signals(&engine.stop)?;
    narrate("WARNING: This operation can take tens of minutes. Please be patient.");
    let report = engine.delete(DeleteRequest { id, hosts: None }).await;
    progress.finish();
    match report {
        Ok(report) => Ok(conclude(&report, Wanted::Absent)),
        Err(error) => Err(after_error(&engine, error, id, Wanted::Absent).await),
    }
}

pub async fn run_hosts(global: &Global, args: &HostDeleteArgs) -> Result<Exit, CliError> {
    let ids = host_ids(&args.hosts)?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress);
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let engine = Engine { failover, ..context.engine.clone() };
    context.tell_interrupted(None).await?;
    let mut by_provision: BTreeMap<ProvisionId, Vec<HostId>> = BTreeMap::new();
    let overviews = engine.overviews().await?;
    for id in &ids {
        let owner = overviews.iter().find(|o| o.pools.hosts.iter().any(|host| host.id == *id));
        let owner = owner.ok_or_else(|| {
            CliError::new(format!("there is no host {id} that belongs to a provision"))
                .hint("`oneprovision host list` shows them")
        })?;
        by_provision.entry(owner.id).or_default().push(*id);
    }
    let question = format!("Delete {} and their machines?", count(ids.len(), "host"));
    if !confirmed(global, &question) {
        return Err(CliError::new("nothing was deleted"));
    }
    stop_on_signals(&engine.stop)?;
    let mut worst = Exit::Done;
    for (id, hosts) in by_provision {
        let report = engine.delete(DeleteRequest { id, hosts: Some(hosts) }).await;
        let exit = match report {
            Ok(report) => conclude(&report, Wanted::Absent),
            Err(error) => {
                progress.finish();
                return Err(error.into());
            }
        };
        if exit.code() > worst.code() {
            worst = exit;
        }
    }
    progress.finish();
    Ok(worst)
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// Host ids as 5.12 took them: single ones, ranges `3..7`, and lists `3,5,9`.
fn host_ids(arguments: &[String]) -> Result<Vec<HostId>, CliError> {
    /// More is a slip of the finger.
    const MOST: i64 = 100_000;
    let bad = |part: &str| {
        CliError::new(format!("{part:?} is no host id"))
            .hint("ids are given as 3, as a range 3..7, or as a list 3,5,9")
    };
    let mut ids = Vec::new();
    for part in arguments.iter().flat_map(|argument| argument.split(',')) {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let first: i32 = first.trim().parse().map_err(|_| bad(part))?;
        let last: i32 = last.trim().parse().map_err(|_| bad(part))?;
        let sensible = first >= 0 && last >= first && i64::from(last) - i64::from(first) < MOST;
        if !sensible {
            return Err(bad(part));
        }
        for id in (first..=last).map(HostId) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_single_ranges_and_lists() {
        let ids = |text: &[&str]| {
            let arguments: Vec<String> = text.iter().map(|t| (*t).to_owned()).collect();
            host_ids(&arguments).map(|ids| ids.iter().map(|id| id.0).collect::<Vec<_>>()).ok()
        };
        assert_eq!(ids(&["3", "5..7,9", "6"]), Some(vec![3, 5, 6, 7, 9]));
        for bad in ["", "x", "-1", "7..5", "1..", "0..2000000000"] {
            assert_eq!(ids(&[bad]), None, "{bad}");
        }
    }
}
