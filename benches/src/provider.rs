//! A thousand machines, over the time that the provider alone needs for them: in virtual time with the
//! engine in this process, and really, with the binary and its driver `dummy`.

use std::time::Duration;

use tokio::time::Instant;

use crate::Surroundings;
use crate::cloud::{Cloud, Manners};
use crate::engine_room::{Room, check_all_enabled, virtual_time};
use crate::failure::{Because as _, Result};
use crate::floor::{IN_FLIGHT, faster, record};
use crate::front_end::Storage;
use crate::report::{Goal, Report, float, median_of, say};
use crate::script::Ids;
use crate::tool::{Tool, template};

const NAME: &str = "provider";
/// Calls that the provider takes at a time.
const LIMIT: usize = 64;
/// How long each of them takes.
const LATENCY: Duration = Duration::from_millis(50);
/// Writes with which a host is registered: allocate, status, update.
const REGISTRATION: usize = 3;

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    in_virtual_time(surroundings, report)?;
    really(surroundings, report)
}

/// All deploys, the boot of the last machine, and one look at it.
fn theoretical(hosts: usize, boot: Duration) -> f64 {
    float(hosts.div_ceil(LIMIT)) * LATENCY.as_secs_f64()
        + boot.as_secs_f64()
        + LATENCY.as_secs_f64()
}

fn in_virtual_time(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let hosts = if surroundings.quick { 100 } else { 1000 };
    let boot = Duration::from_secs(30);
    let manners = Manners { latency: LATENCY, boot };
    let (took, calls, most) = virtual_time(async {
        let room = Room::new(Cloud::new(manners), LIMIT)?;
        let request = room.request(hosts)?;
        let begun = Instant::now();
        let created = room.engine.create(request).await.because("the create")?;
        let took = begun.elapsed();
        check_all_enabled(&created.record, hosts)?;
        Ok((took, room.cloud.calls(), room.cloud.most_in_flight()))
    })?;
    let case = format!("{hosts} hosts, 30 s boot, virtual time");
    say(&format!("{case}: {took:.2?}, {calls:?}"));
    let ratio = took.as_secs_f64() / theoretical(hosts, boot);
    report.add(NAME, &case, "over what the provider needs", (ratio, "x"), Goal::AtMost(1.1));
    report.add(NAME, &case, "most calls in flight", (float(most), ""), Goal::AtMost(float(LIMIT)));
    let per_host = float(calls.polls + calls.lists) / float(hosts);
    report.add(NAME, &case, "polls and lists per host", (per_host, ""), Goal::None);
    Ok(())
}

fn really(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let (hosts, boot) = match surroundings.quick {
        true => (20, Duration::from_millis(200)),
        false => (1000, Duration::from_secs(2)),
    };
    let front_end = surroundings.front_end("provider", Storage::Memory)?;
    let boot_text = format!("{}ms", boot.as_millis());
    let parameters = [("dummy_latency", "50ms"), ("dummy_boot", boot_text.as_str())];
    let text = template("bench", hosts, &parameters);
    let limit = LIMIT.to_string();
    let options = ["-t", &limit, "--account-threads", &limit];
    let (life, _, _) = record(surroundings, &front_end, &text, &options)?;
    let (registration, rest) = life.create.clone().split(REGISTRATION);
    let (mut registrations, mut rests, mut creates) = (Vec::new(), Vec::new(), Vec::new());
    let rounds = if surroundings.quick { 1 } else { 2 };
    for _ in 0..rounds {
        for in_flight in IN_FLIGHT {
            let mut ids = Ids::default();
            registrations
                .push((in_flight, registration.run(&front_end.address, in_flight, &mut ids)?));
            rests.push((in_flight, rest.run(&front_end.address, in_flight, &mut ids)?));
            life.delete.run(&front_end.address, in_flight, &mut ids)?;
        }
        let tool = Tool::new(surroundings, &front_end.endpoint, &front_end.auth)?;
        let (id, took) = tool.create(&tool.template(&text)?, &options)?;
        creates.push(took);
        tool.delete(&id, &options)?;
    }
    let ((_, registered), (_, rest)) = (faster(&registrations), faster(&rests));
    let needed = registered + theoretical(hosts, boot).max(rest);
    let took = median_of(&creates);
    let case = format!("{hosts} hosts, {boot_text} boot, the binary");
    say(&format!("{case}: {took:.2} s; registration {registered:.2} s, other writes {rest:.2} s"));
    report.add(NAME, &case, "over what is needed", (took / needed, "x"), Goal::AtMost(1.1));
    report.add(NAME, &case, "of it: the create", (took, "s"), Goal::None);
    report.add(NAME, &case, "of it: raw registration", (registered, "s"), Goal::None);
    report.add(NAME, &case, "of it: other raw writes", (rest, "s"), Goal::None);
    Ok(())
}
