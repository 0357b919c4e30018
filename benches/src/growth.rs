//! The engine's cost per host, from a hundred hosts to a hundred thousand: a loop within a loop shows.
//!
//! Each size runs in a process of its own, in virtual time and on one thread, so that its CPU and its
//! peak of memory are its own. A step too many for each host shows in instructions, which valgrind counts; time
//! grows with what no cache holds any more, too. Machines are there at once; the front-end is a stub whose own share
//! (parsing and writing XML) is in the figures and grows with the number of calls alone.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Surroundings;
use crate::cloud::{Cloud, Manners};
use crate::engine_room::{Room, check_all_enabled, virtual_time};
use crate::failure::{Because as _, Result};
use crate::front_end::parent_ended;
use crate::machine;
use crate::measure::own_cpu;
use crate::report::{Goal, Report, float, median, say};

const NAME: &str = "growth";
/// Driver calls at a time.
const THREADS: usize = 64;
/// The size that others are compared with.
const BASE: usize = 1000;
/// The size whose instructions are counted beside the base's: minutes, fifty times slower.
const COUNTED: usize = 10_000;
/// What the kernel says of this process.
const OWN: &str = "/proc/self/status";
/// The four figures of a size.
const FIGURES: [&str; 4] = ["create_cpu", "create_memory", "delete_cpu", "delete_memory"];

/// The role `grow HOSTS`: creates and deletes, and prints what each host cost.
///
/// # Errors
/// If that fails.
pub fn child(arguments: &[OsString]) -> Result<()> {
    let hosts: usize = arguments
        .first()
        .and_then(|hosts| hosts.to_str()?.parse().ok())
        .because("usage: grow HOSTS")?;
    // The largest takes minutes: it does not outlive a benchmark that was broken off.
    std::thread::spawn(|| {
        parent_ended();
        std::process::exit(1)
    });
    let manners = Manners { latency: Duration::from_millis(50), boot: Duration::ZERO };
    let figures = virtual_time(async {
        let room = Room::new(Cloud::new(manners), THREADS)?;
        let request = room.request(hosts)?;
        let before = Before::now()?;
        let created = room.engine.create(request).await.because("the create")?;
        let (create_cpu, create_memory) = before.per_host(hosts)?;
        check_all_enabled(&created.record, hosts)?;
        let calls = room.stub.calls();
        drop(created);
        let before = Before::now()?;
        room.engine.delete(room.delete_request()?).await.because("the delete")?;
        let (delete_cpu, delete_memory) = before.per_host(hosts)?;
        if room.cloud.bill() > 0 {
            return Err("machines were left".into());
        }
        Ok(json!({
            "create_cpu": create_cpu, "create_memory": create_memory,
            "delete_cpu": delete_cpu, "delete_memory": delete_memory, "create_calls": calls,
        }))
    })?;
    writeln!(std::io::stdout(), "{figures}").because("standard output")
}

/// Where a measurement begins.
struct Before {
    cpu: f64,
    memory: f64,
}

impl Before {
    fn now() -> Result<Self> {
        // 5: the peak begins anew (proc_pid_clear_refs(5)).
        std::fs::write("/proc/self/clear_refs", "5").because("the peak of memory")?;
        Ok(Self { cpu: own_cpu()?, memory: machine::kibibytes(OWN, "VmRSS")? })
    }

    /// Microseconds of CPU and KiB of memory since then.
    fn per_host(&self, hosts: usize) -> Result<(f64, f64)> {
        let cpu = (own_cpu()? - self.cpu) * 1e6 / float(hosts);
        Ok((cpu, (machine::kibibytes(OWN, "VmHWM")? - self.memory) / float(hosts)))
    }
}

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let sizes: &[usize] =
        if surroundings.quick { &[100, BASE] } else { &[100, BASE, 10_000, 100_000] };
    let mut measured = Vec::new();
    for size in sizes {
        let times = if *size > BASE || surroundings.quick { 1 } else { 5 };
        let runs: Vec<Value> = (0..times).map(|_| one(*size)).collect::<Result<_>>()?;
        let figures = FIGURES.map(|name| {
            let of = |run: &Value| run.get(name).and_then(Value::as_f64).unwrap_or_default();
            median(&runs.iter().map(of).collect::<Vec<_>>())
        });
        say(&format!("{size} hosts: {FIGURES:?} {figures:.2?}"));
        measured.push((*size, figures));
    }
    let base = measured.iter().find(|(size, _)| *size == BASE).map(|(_, figures)| *figures);
    let base = base.because("the base was not measured")?;
    for (size, figures) in measured {
        let goal = if size > BASE { Goal::AtMost(1.3) } else { Goal::None };
        for (((name, value), base), place) in FIGURES.iter().zip(figures).zip(base).zip(0..) {
            let what = name.split('_').next().unwrap_or_default();
            let case = format!("{what}, {size} hosts");
            let (figure, own, unit) = match place % 2 {
                0 => ("CPU per host, over that at 1000", "CPU per host", "us"),
                _ => ("memory per host, over that at 1000", "memory per host", "KiB"),
            };
            report.add(NAME, &case, own, (value, unit), Goal::None);
            if size != BASE {
                report.add(NAME, &case, figure, (value / base, "x"), goal);
            }
        }
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        say("valgrind is not installed: instructions are not counted");
        return Ok(());
    }
    let counted = if surroundings.quick { 100 } else { COUNTED };
    let (base, counted) = (instructions(BASE)?, (counted, instructions(counted)?));
    let case = format!("create and delete, {} hosts", counted.0);
    report.add(NAME, &case, "instructions per host", (counted.1 / 1000.0, "thousand"), Goal::None);
    let ratio = (counted.1 / base, "x");
    report.add(NAME, &case, "instructions per host, over those at 1000", ratio, Goal::AtMost(1.1));
    Ok(())
}

/// Figures of a process of that size.
fn one(hosts: usize) -> Result<Value> {
    let own = std::env::current_exe().because("the path of this program is not known")?;
    let output = output(Command::new(own), hosts)?;
    serde_json::from_slice(&output.stdout).because("what the engine's process printed")
}

/// Instructions that a process of that size takes for each host.
fn instructions(hosts: usize) -> Result<f64> {
    let own = std::env::current_exe().because("the path of this program is not known")?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own);
    let output = output(valgrind, hosts)?;
    let told = String::from_utf8_lossy(&output.stderr);
    let collected =
        told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    let collected: f64 = collected.because("valgrind counted nothing")?;
    Ok(collected / float(hosts))
}

fn output(mut command: Command, hosts: usize) -> Result<Output> {
    command.arg("grow").arg(hosts.to_string()).stdin(Stdio::piped());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.because(command.get_program().display())?;
    // Held until the child has ended: waiting for it would close it.
    let _held = child.stdin.take();
    let output = child.wait_with_output().because("the engine's process")?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned().into());
    }
    Ok(output)
}
