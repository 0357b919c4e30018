//! Driver executables: actions per second over what starting `/bin/true` reaches, and what our own
//! executable adds to it.
//!
//! Each kind is run twice: directly, and through the tool's way of running drivers (files for input
//! and output, a process group, a deadline), so that one sees whose share is whose. Our own executable
//! is a link to the binary; its driver `dummy` refuses a deploy whose parameters are wrong before it
//! opens its ledger, which makes it a run of everything but the ledger.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driver::{
    Call, DeploymentFile, Driver as _, ExecutableDriver, ExecutableSettings, FailureKind, Remotes,
    Unwatched,
};
use model::{Attributes, DeployId};

use crate::Surroundings;
use crate::failure::{Because as _, Failure, Result};
use crate::machine;
use crate::measure::{self, Cost};
use crate::report::{Goal, Report, float, median, say};

const NAME: &str = "executables";
/// Actions in flight.
const IN_FLIGHT: usize = 4;
const TRUE: &str = "/bin/true";

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let lab = Lab::new(surroundings)?;
    let (actions, rounds) = if surroundings.quick { (4, 1) } else { (100, 5) };
    let runtime = tokio::runtime::Runtime::new().because("no runtime")?;
    let kinds = [
        Kind::True,
        Kind::ShellDirect,
        Kind::ShellDeploy,
        Kind::ShellPoll,
        Kind::OwnDirect,
        Kind::OwnDeploy,
        Kind::OwnLedger,
    ];
    let mut rates = vec![Vec::new(); kinds.len()];
    for kind in kinds {
        // Read from the disk, and the ledger made.
        runtime.block_on(rate(&lab, kind, 1))?;
    }
    for _ in 0..rounds {
        for (kind, rates) in kinds.iter().zip(&mut rates) {
            rates.push(runtime.block_on(rate(&lab, *kind, actions))?);
        }
    }
    let bare = median(rates.first().map(Vec::as_slice).unwrap_or_default());
    for (kind, rates) in kinds.iter().zip(&rates) {
        let (case, goal) = kind.label();
        let rate = median(rates);
        if *kind != Kind::True {
            report.add(NAME, case, "/bin/true's speed over it", (bare / rate, "x"), goal);
        }
        report.add(NAME, case, "actions per second", (rate, "/s"), Goal::None);
    }
    added(&lab, report, if surroundings.quick { 3 } else { 100 })
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    True,
    ShellDirect,
    ShellDeploy,
    ShellPoll,
    OwnDirect,
    OwnDeploy,
    OwnLedger,
}

impl Kind {
    fn label(self) -> (&'static str, Goal) {
        let goal = Goal::AtMost(1.3);
        match self {
            Self::True => (TRUE, Goal::None),
            Self::ShellDirect => ("shell driver, started directly", Goal::None),
            Self::ShellDeploy => ("shell driver, deploy", goal),
            Self::ShellPoll => ("shell driver, poll", goal),
            Self::OwnDirect => ("own executable, started directly", Goal::None),
            Self::OwnDeploy => ("own executable, deploy", goal),
            Self::OwnLedger => ("own executable, deploy, with its ledger", Goal::None),
        }
    }
}

/// The executables.
struct Lab {
    folder: PathBuf,
    shell: ExecutableDriver,
    own: ExecutableDriver,
    deployment: PathBuf,
}

impl Lab {
    fn new(surroundings: &Surroundings) -> Result<Self> {
        if !surroundings.program.is_file() {
            let program = surroundings.program.display();
            return Err(format!("{program} is not there: scripts/bench builds it").into());
        }
        let folder = surroundings.new_folder("executables")?;
        let pm = folder.join("remotes/pm");
        let shell = pm.join("shell");
        fs::create_dir_all(&shell).because(shell.display())?;
        for action in driver::Action::REQUIRED {
            let path = shell.join(action.as_str());
            let text = match action {
                driver::Action::Poll => "#!/bin/sh\necho STATE=a GUEST_IP_ADDRESSES=10.0.0.1\n",
                _ => "#!/bin/sh\necho id\n",
            };
            fs::write(&path, text).because(path.display())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                .because(path.display())?;
        }
        drivers::install(&pm, &surroundings.program, "dummy").because("the own executables")?;
        let remotes = Remotes::new(folder.join("remotes"));
        let settings = ExecutableSettings {
            state_dir: Some(folder.join("state")),
            ..ExecutableSettings::new(folder.join("calls"))
        };
        let of = |name: &str| {
            let found = remotes.find(name).because(format!("driver {name}"))?;
            Ok::<_, Failure>(ExecutableDriver::new(found, settings.clone()))
        };
        let deployment = folder.join("deployment.xml");
        let xml = host(0, true).to_xml().because("the deployment file")?;
        fs::write(&deployment, xml).because(deployment.display())?;
        Ok(Self { shell: of("shell")?, own: of("dummy")?, folder, deployment })
    }

    fn program(&self, driver: &str) -> PathBuf {
        self.folder.join("remotes/pm").join(driver).join("deploy")
    }
}

/// A host; a refused one has a parameter that the driver does not know.
fn host(n: usize, refused: bool) -> DeploymentFile {
    let mut provision = Attributes::new();
    provision.push("HOSTNAME", format!("bench-{n}"));
    provision.push("PROVISION_ID", "11111111-2222-4333-8444-555555555555");
    if refused {
        provision.push("DUMMY_REFUSED", "yes");
    }
    let mut template = Attributes::new();
    template.push("PROVISION", provision);
    DeploymentFile {
        name: format!("bench-{n}"),
        im_mad: "kvm".to_owned(),
        vm_mad: "kvm".to_owned(),
        pm_mad: "bench".to_owned(),
        template,
        ..DeploymentFile::default()
    }
}

/// Actions per second.
async fn rate(lab: &Lab, kind: Kind, actions: usize) -> Result<f64> {
    let worker = |number: usize| {
        let (shell, own) = (lab.shell.clone(), lab.own.clone());
        let (folder, deployment) = (lab.folder.clone(), lab.deployment.clone());
        let program = match kind {
            Kind::OwnDirect => lab.program("dummy"),
            _ => lab.program("shell"),
        };
        tokio::spawn(async move {
            for n in 0..actions {
                let n = number * actions + n;
                match kind {
                    Kind::True => bare(Path::new(TRUE), &folder, None).await?,
                    Kind::ShellDirect | Kind::OwnDirect => {
                        bare(&program, &folder, Some(&deployment)).await?;
                    }
                    Kind::ShellDeploy => through(&shell, n, false).await?,
                    Kind::ShellPoll => poll(&shell, n).await?,
                    Kind::OwnDeploy => through(&own, n, true).await?,
                    Kind::OwnLedger => through(&own, n, false).await?,
                }
            }
            Ok::<_, Failure>(())
        })
    };
    let begun = Instant::now();
    let workers: Vec<_> = (0..IN_FLIGHT).map(worker).collect();
    for worker in workers {
        worker.await.because("a worker")??;
    }
    Ok(float(IN_FLIGHT * actions) / begun.elapsed().as_secs_f64())
}

/// Starts a program and waits for its end, and nothing more.
async fn bare(program: &Path, folder: &Path, deployment: Option<&Path>) -> Result<()> {
    let mut command = std::process::Command::new(program);
    command.env("ONEPROVISION_STATE_DIR", folder.join("state"));
    if let Some(path) = deployment {
        command.arg(path).args(["bench-0", "-1", "bench-0"]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let child = tokio::process::Command::from(command).status().await;
    child.map(drop).because(program.display())
}

fn call(n: usize, refused: bool) -> Call {
    Call {
        key: format!("bench-{}-{n}", uuid::Uuid::new_v4().simple()),
        host: host(n, refused),
        deadline: Duration::from_secs(60),
        watch: Arc::new(Unwatched),
    }
}

async fn through(driver: &ExecutableDriver, n: usize, refused: bool) -> Result<()> {
    match (driver.deploy(&call(n, refused)).await, refused) {
        (Ok(_), false) => Ok(()),
        (Err(error), true) if error.kind == FailureKind::Definite => Ok(()),
        (Ok(id), true) => Err(format!("a deploy that is to be refused made {id}").into()),
        (Err(error), _) => Err(format!("a deploy: {error}").into()),
    }
}

async fn poll(driver: &ExecutableDriver, n: usize) -> Result<()> {
    let id = DeployId::new("id").because("an id")?;
    driver.poll(&call(n, false), &id).await.map(drop).because("a poll")
}

/// Memory of a program that does nothing, in MiB. That of `/bin/true` cannot be seen below the one of the
/// process that starts it (see [`measure`]); `cat`, its like, can be looked at while it waits.
fn idle_memory() -> Result<f64> {
    let mut command = std::process::Command::new("cat");
    let mut cat = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().because("cat")?;
    let (stdin, stdout) = (cat.stdin.take(), cat.stdout.take());
    let (mut stdin, mut stdout) = stdin.zip(stdout).because("no pipes")?;
    // Once it has answered, it is itself and no copy of this process any more.
    stdin.write_all(b"x").because("cat")?;
    stdout.read_exact(&mut [0]).because("cat")?;
    let peak = machine::kibibytes(&format!("/proc/{}/status", cat.id()), "VmHWM")? / 1024.0;
    drop(stdin);
    cat.wait().because("cat")?;
    Ok(peak)
}

/// What our own executable costs more than `/bin/true`, one at a time.
fn added(lab: &Lab, report: &mut Report, times: u32) -> Result<()> {
    let file = lab.folder.join("cost");
    let cost = |program: &OsStr, arguments: &[&OsStr]| -> Result<Cost> {
        let mut command = measure::command(&file, times, program)?;
        command.args(arguments).env("ONEPROVISION_STATE_DIR", lab.folder.join("state"));
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.because("it cannot be measured")?;
        Ok(measure::read(&file)?.0)
    };
    let own = lab.program("dummy");
    let arguments =
        [lab.deployment.as_os_str(), "bench-0".as_ref(), "-1".as_ref(), "bench-0".as_ref()];
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        costs[0].push(cost(OsStr::new(TRUE), &[])?);
        costs[1].push(cost(own.as_os_str(), &arguments)?);
    }
    say(&format!("/bin/true {:.5?}, own {:.5?}", costs[0].last(), costs[1].last()));
    let added = |of: fn(&Cost) -> f64| {
        let [bare, own] = &costs;
        let of = |costs: &[Cost]| median(&costs.iter().map(of).collect::<Vec<_>>());
        of(own) - of(bare)
    };
    let case = "own executable, beyond /bin/true";
    let peaks: Vec<f64> = costs[1].iter().map(|cost| cost.peak).collect();
    let peak = median(&peaks) - idle_memory()?;
    report.add(NAME, case, "wall time", (1000.0 * added(|c| c.wall), "ms"), Goal::Below(3.0));
    report.add(NAME, case, "CPU", (1000.0 * added(|c| c.cpu), "ms"), Goal::None);
    report.add(NAME, case, "peak memory", (peak, "MiB"), Goal::Below(8.0));
    Ok(())
}
