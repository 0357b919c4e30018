//! Calls to the front-end per operation, counted between the tool and the front-end.

use crate::Surroundings;
use crate::failure::Result;
use crate::floor::record;
use crate::front_end::Storage;
use crate::proxy::{Proxy, Recorded};
use crate::report::{Goal, Report, float};
use crate::tool::{Tool, template};

const NAME: &str = "calls";
/// Writes that each host needs: allocate, status, update, update, rename, status.
const WRITES_PER_HOST: usize = 6;

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    creates(surroundings, report)?;
    lists(surroundings, report)
}

fn creates(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let sizes = if surroundings.quick { [2, 4] } else { [10, 50] };
    let front_end = surroundings.front_end("calls", Storage::Memory)?;
    let mut reads_of = [Vec::new(), Vec::new()];
    for hosts in sizes {
        let text = template("bench", hosts, &[]);
        let (_, create, delete) = record(surroundings, &front_end, &text, &[])?;
        let goal = Goal::AtMost(4.0);
        for ((what, calls, goal, per_host), reads_of) in [
            ("create", &create, goal, WRITES_PER_HOST),
            // A delete takes each host offline and deletes it.
            ("delete", &delete, Goal::None, 2),
        ]
        .into_iter()
        .zip(&mut reads_of)
        {
            let reads = calls.iter().filter(|call| call.is_read()).count();
            let writes = calls.len() - reads;
            let case = format!("{what}, {hosts} hosts");
            let beyond = float(writes) - float(per_host * hosts);
            let figure = match per_host {
                WRITES_PER_HOST => "writes beyond 6 per host",
                _ => "writes beyond 2 per host",
            };
            report.add(NAME, &case, figure, (beyond, ""), goal);
            report.add(NAME, &case, "reads", (float(reads), ""), Goal::None);
            report.add(NAME, &case, "calls", (float(calls.len()), ""), Goal::None);
            reads_of.push(float(reads));
        }
    }
    for (what, reads) in ["create", "delete"].into_iter().zip(reads_of) {
        let more = reads.last().copied().unwrap_or_default() - reads[0];
        let case = format!("{what}, {} hosts instead of {}", sizes[1], sizes[0]);
        let goal = if what == "create" { Goal::AtMost(0.0) } else { Goal::None };
        report.add(NAME, case, "more reads", (more, ""), goal);
    }
    Ok(())
}

fn lists(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let sizes = if surroundings.quick { [1, 2, 3] } else { [1, 10, 50] };
    let front_end = surroundings.front_end("lists", Storage::Memory)?;
    let proxy = Proxy::start(&front_end)?;
    let tool = Tool::new(surroundings, &proxy.endpoint, &front_end.auth)?;
    let mut ids: Vec<String> = Vec::new();
    let mut first = [0, 0];
    for size in sizes {
        while ids.len() < size {
            let text = template(&format!("p{}", ids.len()), 1, &[]);
            ids.push(tool.create(&tool.template(&text)?, &[])?.0);
        }
        let id = ids.first().map(String::as_str).unwrap_or_default();
        let operations: [(&str, &[&str]); 2] = [("list", &["list"]), ("show", &["show", id])];
        for ((what, arguments), first) in operations.into_iter().zip(&mut first) {
            proxy.take();
            tool.run(arguments)?;
            let calls = proxy.take();
            let pools = calls.iter().filter(|call| is_pool(call)).count();
            if size == sizes[0] {
                *first = pools;
            }
            let case = format!("{what}, {size} provision{}", if size == 1 { "" } else { "s" });
            let more = float(pools) - float(*first);
            report.add(NAME, &case, "pool calls", (float(pools), ""), Goal::None);
            report.add(NAME, &case, "more pool calls than with 1", (more, ""), Goal::AtMost(0.0));
            report.add(NAME, &case, "calls", (float(calls.len()), ""), Goal::None);
        }
    }
    // A front-end that is given is left as it was.
    ids.iter().try_for_each(|id| tool.delete(id, &[]).map(drop))
}

fn is_pool(call: &Recorded) -> bool {
    call.method.ends_with("pool.info")
}
