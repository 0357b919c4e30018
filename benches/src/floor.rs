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

/// Of the times that were taken with each number of calls in flight: the number with the lower median,
/// and that median in seconds.
pub fn faster(times: &[(usize, Duration)]) -> (usize, f64) {
    let of = |wanted: usize| {
        let of = times.iter().filter(|(in_flight, _)| *in_flight == wanted);
        (wanted, median_of(&of.map(|(_, took)| *took).collect::<Vec<_>>()))
    };
    let medians = IN_FLIGHT.map(of);
    medians.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).unwrap_or_default()
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
        11..=100 => 9,
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
    let (mut raw_creates, mut raw_deletes) = (Vec::new(), Vec::new());
    let mut raw = || -> Result<()> {
        for in_flight in IN_FLIGHT {
            let mut ids = Ids::default();
            let created = life.create.run(&front_end.address, in_flight, &mut ids)?;
            raw_creates.push((in_flight, created));
            let deleted = life.delete.run(&front_end.address, in_flight, &mut ids)?;
            raw_deletes.push((in_flight, deleted));
        }
        Ok(())
    };
    let (mut creates, mut deletes) = (Vec::new(), Vec::new());
    raw()?;
    for _ in 0..rounds {
        let tool = Tool::new(surroundings, &front_end.endpoint, &front_end.auth)?;
        let (id, created) = tool.create(&tool.template(&text)?, &[])?;
        creates.push(created);
        deletes.push(tool.delete(&id, &[])?);
        raw()?;
    }
    let goal = match (front_end.is_embedded(), hosts) {
        (true, 100..) => Goal::AtMost(1.25),
        (false, 100..) => Goal::AtMost(1.15),
        _ => Goal::None,
    };
    let both =
        [("create", creates, raw_creates, goal), ("delete", deletes, raw_deletes, Goal::None)];
    for (what, times, raw, goal) in both {
        let (ours, (in_flight, floor)) = (median_of(&times), faster(&raw));
        let of = format!("{what}, {case}");
        say(&format!("{of}: tool {times:.2?}, raw by calls in flight {raw:.2?}"));
        let per_host = |seconds: f64| (1000.0 * seconds / float(hosts), "ms");
        report.add(NAME, &of, "over the floor", (ours / floor, "x"), goal);
        report.add(NAME, &of, "tool, per host", per_host(ours), Goal::None);
        report.add(NAME, &of, "floor, per host", per_host(floor), Goal::None);
        report.add(NAME, &of, "calls in flight of the floor", (float(in_flight), ""), Goal::None);
    }
    Ok(())
}
