//! One home, its front-end, its provider, and the binary in it.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use sandbox::{Sandbox, SandboxSettings};
use serde_json::Value;

use crate::front_end::FrontEnd;
use crate::provider::{self, Cloud, lines};

/// Nothing here takes that long, however busy the machine is: what does hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A credential of the template, and of what a provider answers.
pub const TOKEN: &str = "NoBodyMayReadThisMatrixToken";

/// What the tool stands between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded OpenNebula and the built-in dummy: they die with the tool.
    Embedded,
    /// An OpenNebula over HTTP and executables without `list`: they live on.
    Site,
}

/// Where a process is to be killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Point {
    /// At a point within the binary.
    Inside(String),
    /// While the front-end works on that request.
    Request(String),
    /// While the driver is at that point of its own.
    Driver {
        name: String,
        /// Whether the driver dies too.
        power_cut: bool,
    },
}

/// What all worlds share: a copy of the binary, which others may build anew meanwhile, the template
/// and the driver.
pub struct Shared {
    folder: tempfile::TempDir,
}

impl Shared {
    /// The one of the worlds that there are; it goes with the last of them.
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Shared>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = shared.upgrade() {
            return shared;
        }
        let folder = temporary();
        let tool = folder.path().join("oneprovision");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_oneprovision")).arg(&tool).status();
        assert!(copied.unwrap().success());
        provider::install(folder.path());
        let new = Arc::new(Self { folder });
        *shared = Arc::downgrade(&new);
        new
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A folder in memory where there is one: what `SIGKILL` leaves is the same as on a disk.
fn temporary() -> tempfile::TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("oneprovision-crash-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

pub struct World {
    pub kind: Kind,
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
    cloud: Cloud,
    front_end: Option<FrontEnd>,
}

impl World {
    pub fn new(kind: Kind) -> Self {
        let folder = temporary();
        let cloud = Cloud::new(folder.path().join("cloud"));
        let front_end = (kind == Kind::Site).then(FrontEnd::start);
        if let Some(front_end) = &front_end {
            let auth = folder.path().join("one_auth");
            std::fs::write(&auth, front_end.session()).unwrap();
            std::fs::set_permissions(&auth, Permissions::from_mode(0o600)).unwrap();
        }
        Self { kind, shared: Shared::get(), folder, cloud, front_end }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn cloud(&self) -> &Cloud {
        &self.cloud
    }

    /// The driver that the hosts of this world have.
    fn driver(&self) -> &'static str {
        match self.kind {
            Kind::Embedded => "dummy",
            Kind::Site => "shell",
        }
    }

    /// Writes a template with hosts of these names, and returns its path.
    pub fn template(&self, hosts: &[&str]) -> PathBuf {
        let mut text = String::from(
            "---\nname: matrix\nplaybook: []\ncluster:\n  name: matrix-cluster\ndatastores:\n  - name: matrix-ds\n    \
             ds_mad: fs\n    tm_mad: ssh\nnetworks:\n  - name: matrix-net\n    vn_mad: dummy\n    bridge: br0\n    \
             ar:\n      - type: IP4\n        ip: 10.9.0.1\n        size: 4\nhosts:\n",
        );
        for name in hosts {
            let driver = self.driver();
            text += &format!(
                "  - im_mad: kvm\n    vm_mad: kvm\n    provision:\n      driver: {driver}\n"
            );
            // A secret rests in a document of its own, which has to be made and removed too.
            text += &format!("      hostname: {name}\n      matrix_token: {TOKEN}\n");
            let misbehaviour = match *name {
                "host-that-is-refused" => "dummy_fail: deploy:1",
                "host-that-is-half-made" => "dummy_id_then_fail: yes",
                _ => continue,
            };
            if self.kind == Kind::Embedded {
                text += &format!("      {misbehaviour}\n");
            }
        }
        let path = self.folder.path().join("template.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.shared.path("oneprovision"));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("MATRIX_CLOUD", self.cloud.folder())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .arg("--batch")
            .arg("--state-dir")
            .arg(self.state())
            .arg("--remotes")
            .arg(self.shared.folder.path());
        match &self.front_end {
            None => drop(command.arg("--sandbox")),
            Some(front_end) => drop(
                command
                    .env("ONE_XMLRPC", front_end.endpoint())
                    .env("ONE_AUTH", self.folder.path().join("one_auth")),
            ),
        }
        command.args(arguments);
        if matches!(arguments, ["create" | "delete" | "resume", ..] | ["host", "delete", ..]) {
            // The providers of these tests list at once.
            command.args(["--settle", "0"]);
        }
        if self.kind == Kind::Site
            && matches!(arguments.first(), Some(&("create" | "delete" | "resume")))
        {
            // All that can be said, so that a secret in it is found.
            command.arg("-D");
        }
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_until(arguments, None)
    }

    /// The front-end over HTTP.
    pub fn front_end(&self) -> &FrontEnd {
        self.front_end.as_ref().unwrap()
    }

    /// Runs a command while the front-end is as its test has made it.
    pub fn run_in_trouble(&self, arguments: &[&str]) -> Output {
        self.finish(self.command(arguments))
    }

    /// Runs a command until it comes to a point, if it does.
    pub fn run_until(&self, arguments: &[&str], point: Option<&Point>) -> Output {
        let mut command = self.command(arguments);
        let mut request = None;
        match point {
            Some(Point::Inside(name)) => drop(command.env("ONEPROVISION_CRASH_AT", name)),
            Some(Point::Request(name)) => request = Some(name.clone()),
            Some(Point::Driver { name, power_cut }) => {
                command.env("MATRIX_KILL", name);
                if *power_cut {
                    command.env("MATRIX_POWER_CUT", "yes");
                }
            }
            None => {}
        }
        if let Some(front_end) = &self.front_end {
            front_end.arm(request);
        }
        let points = self.folder.path().join("inside");
        let _ = std::fs::remove_file(&points);
        command.env("ONEPROVISION_CRASH_LOG", points);
        self.finish(command)
    }

    fn finish(&self, mut command: Command) -> Output {
        // To files: a driver that outlives the tool would hold a pipe open.
        let (out, err) = (self.folder.path().join("out"), self.folder.path().join("err"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        if let Some(front_end) = &self.front_end {
            front_end.victim(Pid::from_child(&child));
        }
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                let _ = child.kill();
                let _ = child.wait();
                panic!("{command:?} hangs:\n{}", read(&err));
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        let output = Output {
            code: status.code(),
            signal: status.signal(),
            stdout: read(&out),
            stderr: read(&err),
        };
        for secret in self.secrets() {
            let said = output.stdout.contains(&secret) || output.stderr.contains(&secret);
            assert!(!said, "it says a secret: {output:?}");
        }
        output
    }

    /// All points that the last command passed.
    pub fn points(&self) -> Vec<Point> {
        let inside = lines(&self.folder.path().join("inside")).into_iter().map(Point::Inside);
        let requests = self.front_end.iter().flat_map(FrontEnd::points).map(Point::Request);
        inside.chain(requests).collect()
    }

    /// What may be read nowhere: the template's credential, and the front-end's.
    fn secrets(&self) -> Vec<String> {
        let session = self.front_end.as_ref().map(FrontEnd::session);
        let password = session.and_then(|session| Some(session.split_once(':')?.1.to_owned()));
        std::iter::once(TOKEN.to_owned()).chain(password).collect()
    }

    /// Files of the state folder that hold a secret, but for those of driver calls: a driver may
    /// still run, and needs them.
    pub fn leaks(&self) -> Vec<PathBuf> {
        let secrets = self.secrets();
        let holds = |file: &Path| {
            let text = read(file);
            secrets.iter().any(|secret| text.contains(secret))
        };
        files(&self.state())
            .into_iter()
            .filter(|file| holds(file) && !is_private_call(file))
            .collect()
    }

    /// The embedded front-end, or the one over HTTP, as its own database has it.
    pub fn sandbox(&self) -> Sandbox {
        match &self.front_end {
            Some(front_end) => front_end.sandbox().clone(),
            None => {
                let path = self.state().join("sandbox.db");
                Sandbox::open(&path, SandboxSettings::default()).unwrap()
            }
        }
    }

    /// The machines that somebody pays for.
    pub fn bill(&self) -> Vec<String> {
        match self.kind {
            Kind::Site => self.cloud.bill(),
            Kind::Embedded => self.ledger("WHERE cancelled_ms IS NULL"),
        }
    }

    /// All machines that ever were.
    pub fn ever(&self) -> Vec<String> {
        match self.kind {
            Kind::Site => self.cloud.ever(),
            Kind::Embedded => self.ledger(""),
        }
    }

    fn ledger(&self, condition: &str) -> Vec<String> {
        let select = format!("SELECT id FROM machines {condition} ORDER BY id");
        rows(&self.state().join("dummy.db"), &select)
    }

    /// The number of the host that each machine was made for.
    pub fn hosts_of(&self, machines: &[String]) -> Vec<u32> {
        let number = |machine: &String| match self.kind {
            // `m-HOST-COUNT`
            Kind::Site => machine.split('-').nth(1).unwrap().parse().unwrap(),
            // The key of its deploy, `PROVISION-HOST-ATTEMPT`.
            Kind::Embedded => {
                let select = format!("SELECT idempotency_key FROM machines WHERE id = '{machine}'");
                let key = rows(&self.state().join("dummy.db"), &select).remove(0);
                key.rsplit('-').nth(1).unwrap().parse().unwrap()
            }
        };
        machines.iter().map(number).collect()
    }

    /// The provisions that the journal knows.
    pub fn provisions(&self) -> Vec<String> {
        rows(&self.state().join("journal.db"), "SELECT DISTINCT provision FROM event")
    }

    /// The events of the journal, of all provisions, as it has them on disk.
    pub fn journal(&self) -> Vec<Value> {
        let bodies = rows(&self.state().join("journal.db"), "SELECT body FROM event ORDER BY seq");
        bodies.iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    /// What the tool left in the folder of driver calls. A folder that was being made when it was
    /// killed is left for a minute: another process may be making it.
    pub fn calls_left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.state().join("calls")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.starts_with(".new-")).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path),
        }
    }
    found
}

/// Whether it belongs to a driver call, and nobody else can read it.
fn is_private_call(file: &Path) -> bool {
    let mode = |path: &Path| {
        std::fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o777).ok()
    };
    let folder = file.parent().unwrap();
    let call = folder.parent().unwrap().ends_with("calls");
    // One that was cleared in this moment is as good.
    call && matches!((mode(file), mode(folder)), (Some(0o600) | None, Some(0o700) | None))
}

/// The first column of a query; nothing if there is no such file or table yet.
fn rows(file: &Path, select: &str) -> Vec<String> {
    if !file.exists() {
        return Vec::new();
    }
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let connection = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    let Ok(mut query) = connection.prepare(select) else { return Vec::new() };
    query.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
