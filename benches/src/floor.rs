//! Create and delete by the real binary, over the writes that the front-end needs alone.
//!
//! What the tool writes is recorded in a run that is not timed; a raw caller sends the same again, one
//! at a time and eight at a time, and the faster of the two is the floor. Rounds of both alternate,
//! so that a disk that gets slower counts for both.

use std::time::Duration;

use crate::Surroundings;
use crate::failure::Result;
use crate::front_end::{FrontEnd, Storage};
use crate::proxy::{Proxy, Recorded, count};
use crate::report::{Goal, Report, float, median_of, say};
use crate::script::{Ids, Life};
use crate::tool::{Tool, template};

const NAME: &str = "floor";
/// Calls in flight that the raw caller is tried with.
pub const IN_FLIGHT: [usize; 2] = [1, 8];

/// Records create and delete of a template.
///
/// # Errors
/// If one of them fails.
pub fn record(
    surroundings: &Surroundings,
    front_end: &FrontEnd,
    text: &str,
    options: &[&str],
) -> Result<(Life, Vec<Recorded>, Vec<Recorded>)> {
    let proxy = Proxy::start(front_end)?;
    let tool = Tool::new(surroundings, &proxy.endpoint, &front_end.auth)?;
    let (id, _) = tool.create(&tool.template(text)?, options)?;
    let create = proxy.take();
    tool.delete(&id, options)?;
    let delete = proxy.take();
    let life = Life::of(&create, &delete, &id, &uuid::Uuid::new_v4().to_string())?;
    for (script, calls) in [(&life.create, &create), (&life.delete, &delete)] {
        let needed = count(calls.iter().filter(|call| !call.is_read()));
        if script.counts() != needed {
            let (ours, theirs) = (script.counts(), needed);
            return Err(format!("the raw caller would write {ours:?}, not {theirs:?}").into());
        }
    }
    Ok((life, create, delete))
}

/// The faster way, and all times that were taken of it.
pub struct Best {
    /// Calls in flight.
    pub in_flight: usize,
    /// Times.
    pub times: Vec<Duration>,
}

impl Best {
    fn of(tried: &[(usize, Duration)]) -> Self {
        let best = tried.iter().min_by_key(|(_, took)| *took);
        let (in_flight, took) = best.copied().unwrap_or_default();
        Self { in_flight, times: vec![took] }
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let sizes: &[usize] = if surroundings.quick { &[1, 3] } else { &[1, 10, 100, 1000] };
    sizes.iter().try_for_each(|size| of_size(surroundings, report, *size))
}

fn of_size(surroundings: &Surroundings, report: &mut Report, hosts: usize) -> Result<()> {
    let rounds = match hosts {
        _ if surroundings.quick => 1,
        0..=10 => 7,
        11..=100 => 3,
        _ => 2,
    };
    let front_end = surroundings.front_end("floor", Storage::Disk)?;
    let text = template("bench", hosts, &[]);
    let (life, create, delete) = record(surroundings, &front_end, &text, &[])?;
    let case = format!("{hosts} host{}", if hosts == 1 { "" } else { "s" });
    for (what, script, calls) in
        [("create", &life.create, &create), ("delete", &life.delete, &delete)]
    {
        say(&format!("{what} of {case}: {:?}", count(calls.iter())));
        let per_host = float(script.of_hosts()) / float(hosts);
        report.add(NAME, format!("{what}, {case}"), "writes per host", (per_host, ""), Goal::None);
    }
    let raw = |create: usize, delete: usize| -> Result<(Duration, Duration)> {
        let mut ids = Ids::default();
        let created = life.create.run(&front_end.address, create, &mut ids)?;
        Ok((created, life.delete.run(&front_end.address, delete, &mut ids)?))
    };
    let mut tried = Vec::new();
    for in_flight in IN_FLIGHT {
        tried.push((in_flight, raw(in_flight, in_flight)?));
    }
    let firsts: Vec<_> = tried.iter().map(|(n, (create, _))| (*n, *create)).collect();
    let mut best_create = Best::of(&firsts);
    let firsts: Vec<_> = tried.iter().map(|(n, (_, delete))| (*n, *delete)).collect();
    let mut best_delete = Best::of(&firsts);
    let (mut creates, mut deletes) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let tool = Tool::new(surroundings, &front_end.endpoint, &front_end.auth)?;
        let (id, created) = tool.create(&tool.template(&text)?, &[])?;
        creates.push(created);
        deletes.push(tool.delete(&id, &[])?);
        let (created, deleted) = raw(best_create.in_flight, best_delete.in_flight)?;
        best_create.times.push(created);
        best_delete.times.push(deleted);
    }
    let goal = match (front_end.is_embedded(), hosts) {
        (true, 100..) => Goal::AtMost(1.25),
        (false, 100..) => Goal::AtMost(1.15),
        _ => Goal::None,
    };
    let both =
        [("create", creates, best_create, goal), ("delete", deletes, best_delete, Goal::None)];
    for (what, times, best, goal) in both {
        let (ours, floor) = (median_of(&times), median_of(&best.times));
        let of = format!("{what}, {case}");
        say(&format!(
            "{of}: tool {times:.2?}, raw with {} in flight {:.2?}",
            best.in_flight, best.times
        ));
        let per_host = |seconds: f64| (1000.0 * seconds / float(hosts), "ms");
        report.add(NAME, &of, "over the floor", (ours / floor, "x"), goal);
        report.add(NAME, &of, "tool, per host", per_host(ours), Goal::None);
        report.add(NAME, &of, "floor, per host", per_host(floor), Goal::None);
        report.add(
            NAME,
            &of,
            "calls in flight of the floor",
            (float(best.in_flight), ""),
            Goal::None,
        );
    }
    Ok(())
}
