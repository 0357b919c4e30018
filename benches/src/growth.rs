//! The engine's cost per host, from a hundred hosts to a hundred thousand: a loop within a loop shows.
//!
//! Each size runs in two processes, one that creates and one that deletes, as an operator's commands do, in virtual time
//! and on one thread, so that its CPU and its peak of memory are its own. A step too many for each host shows in
//! instructions, which valgrind counts; time grows with what no cache holds any more, too. Machines are there at once;
//! the front-end is a stub whose own share (parsing and writing XML) is in the figures and grows with the number of
//! calls alone.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Surroundings;
use crate::cloud::{Cloud, Manners};
use crate::engine_room::{Room, check_all_enabled, virtual_time};
use crate::failure::{Because as _, Failure, Result};
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
const PARTS: [&str; 2] = ["create", "delete"];
/// What is told of each size: the part, the figure, its unit, and the figure over the base's.
const FIGURES: [(&str, &str, &str, &str); 4] = [
    ("create", "CPU per host", "us", "CPU per host, over that at 1000"),
    ("create", "memory per host", "KiB", "memory per host, over that at 1000"),
    ("delete", "CPU per host", "us", "CPU per host, over that at 1000"),
    ("delete", "memory per host", "KiB", "memory per host, over that at 1000"),
];
const USAGE: &str = "usage: grow create|delete HOSTS FILE";

/// The role `grow create|delete HOSTS FILE`: creates and leaves all of it in the file, or deletes what is there. Prints
/// what each host cost.
///
/// # Errors
/// If that fails.
pub fn child(arguments: &[OsString]) -> Result<()> {
    let [what, hosts, path] = arguments else { return Err(USAGE.into()) };
    let hosts: usize = hosts.to_str().and_then(|hosts| hosts.parse().ok()).because(USAGE)?;
    let path = Path::new(path);
    // The largest takes minutes: it does not outlive a benchmark that was broken off.
    std::thread::spawn(|| {
        parent_ended();
        std::process::exit(1)
    });
    let manners = Manners { latency: Duration::from_millis(50), boot: Duration::ZERO };
    let (cpu, memory) = virtual_time(async {
        let room = Room::new(Cloud::new(manners), THREADS)?;
        match what.to_str() {
            Some("create") => {
                let request = room.request(hosts)?;
                let before = Before::now()?;
                let created = room.engine.create(request).await.because("the create")?;
                let figures = before.per_host(hosts)?;
                check_all_enabled(&created.record, hosts)?;
                room.leave(path).await?;
                Ok(figures)
            }
            Some("delete") => {
                room.take_over(path).await?;
                if room.cloud.bill() != hosts {
                    return Err("there are not as many machines to be deleted".into());
                }
                let before = Before::now()?;
                room.engine.delete(room.delete_request()?).await.because("the delete")?;
                if room.cloud.bill() > 0 {
                    return Err("machines were left".into());
                }
                before.per_host(hosts)
            }
            _ => Err(USAGE.into()),
        }
    })?;
    let figures = json!({ "cpu": cpu, "memory": memory });
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
    let file = surroundings.new_folder(NAME)?.join("left");
    let mut measured = Vec::new();
    for size in sizes {
        let times = if *size > BASE || surroundings.quick { 1 } else { 5 };
        let runs: Vec<_> = (0..times).map(|_| figures(*size, &file)).collect::<Result<_>>()?;
        let of = |n: usize| {
            median(&runs.iter().filter_map(|run| run.get(n).copied()).collect::<Vec<_>>())
        };
        let figures = [of(0), of(1), of(2), of(3)];
        say(&format!(
            "{size} hosts, CPU and memory per host of a create and a delete: {figures:.2?}"
        ));
        measured.push((*size, figures));
    }
    let base = measured.iter().find(|(size, _)| *size == BASE).map(|(_, figures)| *figures);
    let base = base.because("the base was not measured")?;
    for (size, figures) in measured {
        let goal = if size > BASE { Goal::AtMost(1.3) } else { Goal::None };
        for (((part, figure, unit, over), value), base) in FIGURES.iter().zip(figures).zip(base) {
            let case = format!("{part}, {size} hosts");
            report.add(NAME, &case, figure, (value, *unit), Goal::None);
            if size != BASE {
                report.add(NAME, &case, over, (value / base, "x"), goal);
            }
        }
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        say("valgrind is not installed: instructions are not counted");
        return Ok(());
    }
    let counted = if surroundings.quick { 100 } else { COUNTED };
    let (base, many) = (instructions(BASE, &file)?, instructions(counted, &file)?);
    let case = format!("create and delete, {counted} hosts");
    report.add(NAME, &case, "instructions per host", (many / 1000.0, "thousand"), Goal::None);
    let ratio = (many / base, "x");
    report.add(NAME, &case, "instructions per host, over those at 1000", ratio, Goal::AtMost(1.1));
    Ok(())
}

/// [`FIGURES`] of a create and a delete of that size.
fn figures(hosts: usize, file: &Path) -> Result<[f64; 4]> {
    let figures_of = |part| {
        let output = output(Command::new(own()?), part, hosts, file)?;
        let told: Value =
            serde_json::from_slice(&output.stdout).because("what the engine's process printed")?;
        let of = |name| told.get(name).and_then(Value::as_f64).because("it printed no figures");
        Ok::<_, Failure>((of("cpu")?, of("memory")?))
    };
    let [create, delete] = PARTS;
    let (create, delete) = (figures_of(create)?, figures_of(delete)?);
    Ok([create.0, create.1, delete.0, delete.1])
}

/// Instructions that both take for each host, with leaving and taking over what is left between them.
fn instructions(hosts: usize, file: &Path) -> Result<f64> {
    let mut sum = 0.0;
    for part in PARTS {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(own()?);
        let output = output(valgrind, part, hosts, file)?;
        let told = String::from_utf8_lossy(&output.stderr);
        let collected: Option<f64> =
            told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        sum += collected.because("valgrind counted nothing")?;
    }
    Ok(sum / float(hosts))
}

fn own() -> Result<PathBuf> {
    std::env::current_exe().because("the path of this program is not known")
}

fn output(mut command: Command, part: &str, hosts: usize, file: &Path) -> Result<Output> {
    command.args(["grow", part, &hosts.to_string()]).arg(file).stdin(Stdio::piped());
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
