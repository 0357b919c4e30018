//! What the binary costs before it does anything, and with ten thousand hosts: user CPU and memory.

use crate::Surroundings;
use crate::failure::Result;
use crate::front_end::Storage;
use crate::report::{Goal, Report, say};
use crate::tool::{Tool, id_in, template};

const NAME: &str = "startup";

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let (times, hosts) = if surroundings.quick { (2, 20) } else { (30, 10_000) };
    let front_end = surroundings.front_end("startup", Storage::Memory)?;
    let tool = Tool::new(surroundings, &front_end.endpoint, &front_end.auth)?;
    let ms = |seconds: f64| (1000.0 * seconds, "ms");

    let (cost, _) = tool.measured(times, &["--version"])?;
    report.add(NAME, "--version", "user CPU", ms(cost.user), Goal::Below(10.0));
    report.add(NAME, "--version", "user and system CPU", ms(cost.cpu), Goal::None);
    report.add(NAME, "--version", "peak memory", (cost.peak, "MiB"), Goal::None);

    let lists = |report: &mut Report, case: String| -> Result<()> {
        let (cost, _) = tool.measured(3, &["list"])?;
        report.add(NAME, &case, "user CPU", ms(cost.user), Goal::None);
        report.add(NAME, &case, "wall time", ms(cost.wall), Goal::None);
        report.add(NAME, &case, "peak memory", (cost.peak, "MiB"), Goal::Below(100.0));
        Ok(())
    };
    lists(report, "list, nothing there".to_owned())?;

    let path = tool.template(&template("bench", hosts, &[]))?;
    let (cost, printed) = tool.measured(1, &["create", &path.to_string_lossy()])?;
    let case = format!("create, {hosts} hosts");
    say(&format!("{case}: {:.1} s", cost.wall));
    report.add(NAME, &case, "user CPU", (cost.user, "s"), Goal::None);
    report.add(NAME, &case, "wall time", (cost.wall, "s"), Goal::None);
    report.add(NAME, &case, "peak memory", (cost.peak, "MiB"), Goal::Below(150.0));

    lists(report, format!("list, {hosts} hosts"))?;
    if !front_end.is_embedded() {
        tool.delete(&id_in(&printed)?, &[])?;
    }
    Ok(())
}
