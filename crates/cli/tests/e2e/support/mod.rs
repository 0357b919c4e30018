//! A home, a command in it, and what can be seen of it from outside.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub mod cloud;
pub mod front_end;
mod text;

pub use text::normalised;

/// The binary under test.
pub const TOOL: &str = env!("CARGO_BIN_EXE_oneprovision");
/// Nothing here takes that long, however busy the machine is: what does hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// Says why a test ended early. The harness shows it with `--nocapture`.
pub fn skip(why: &str) {
    println!("skipped: {why}");
}

/// Waits for a condition, and fails the test if it never comes.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "this never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A new home folder, empty, with a folder beside it for templates and drivers.
pub struct Home {
    dir: tempfile::TempDir,
    runs: AtomicUsize,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("oneprovision-").tempdir().unwrap();
        for name in ["home", "here", "runs"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir, runs: AtomicUsize::new(0) }
    }

    /// Everything of this test lies below it.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The state folder, where it is without an option.
    pub fn state(&self) -> PathBuf {
        self.home().join(".local/state/oneprovision")
    }

    /// The working folder of every command.
    pub fn work(&self) -> PathBuf {
        self.root().join("here")
    }

    /// The folder for `--remotes`.
    pub fn remotes(&self) -> PathBuf {
        self.root().join("remotes")
    }

    /// Writes a file into the working folder and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command line with nothing in its environment but the search path and this home.
    pub fn tool<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Invocation {
        let mut invocation = self.program(TOOL);
        invocation.command.args(arguments);
        invocation
    }

    /// Another program, in the same surroundings.
    pub fn program(&self, program: &str) -> Invocation {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.home()).current_dir(self.work()).stdin(Stdio::null());
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        Invocation { command, runs: self.root().join("runs"), run }
    }

    /// `oneprovision --sandbox …`, run to its end.
    pub fn sandbox<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.tool(&["--sandbox"]).args(arguments).run()
    }

    /// The machines of the dummy driver that are still paid for.
    pub fn bill(&self) -> Vec<String> {
        machines(&self.state().join("dummy.db"), "WHERE cancelled_ms IS NULL")
    }

    /// All machines that the dummy driver ever made.
    pub fn machines_ever(&self) -> Vec<String> {
        machines(&self.state().join("dummy.db"), "")
    }
}

/// The ids of machines in a ledger of the dummy driver.
pub fn machines(ledger: &Path, condition: &str) -> Vec<String> {
    if !ledger.exists() {
        return Vec::new();
    }
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let ledger = rusqlite::Connection::open_with_flags(ledger, flags).unwrap();
    ledger.busy_timeout(Duration::from_secs(30)).unwrap();
    // A driver that has just begun has not made the table yet.
    let Ok(mut query) = ledger.prepare(&format!("SELECT id FROM machines {condition}")) else {
        return Vec::new();
    };
    query.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A command that is to be run.
pub struct Invocation {
    command: Command,
    runs: PathBuf,
    run: usize,
}

impl Invocation {
    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, arguments: &[S]) -> Self {
        self.command.args(arguments);
        self
    }

    /// Gives it this to read.
    pub fn stdin(mut self, text: &str) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        self.command.stdin(file);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// As another user, which only root can.
    pub fn by_user(mut self, user: u32) -> Self {
        self.command.uid(user).gid(user);
        self
    }

    /// Starts it. Its output goes to files, so that a driver that outlives it holds nothing of ours.
    pub fn start(self) -> Running {
        let file = |what: &str| self.runs.join(format!("{}.{what}", self.run));
        let (out, err) = (File::create(file("out")).unwrap(), File::create(file("err")).unwrap());
        self.start_with(Stdio::from(out), Stdio::from(err))
    }

    /// Starts it with other places for its output.
    pub fn start_with(mut self, out: Stdio, err: Stdio) -> Running {
        let file = |what: &str| self.runs.join(format!("{}.{what}", self.run));
        let shown = format!("{:?}", self.command);
        let child = self.command.stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|error| panic!("{shown}: {error}"));
        Running { child, shown, out: file("out"), err: file("err") }
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.start().finish()
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    shown: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.err)
    }

    /// Waits until it has written that to standard error.
    pub fn wait_for(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.stderr().contains(text) {
            let ended = self.child.try_wait().unwrap();
            let hopeless = ended.is_some() || begun.elapsed() > PATIENCE;
            assert!(
                !hopeless || self.stderr().contains(text),
                "{}\nnever said {text:?}, ended: {ended:?}, but\n{}",
                self.shown,
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Output {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("{}\nhangs:\n{}{}", self.shown, self.stdout(), self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Output { status, stdout: self.stdout(), stderr: self.stderr(), shown: self.shown.clone() }
    }
}

impl Drop for Running {
    /// A test that fails leaves no server behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

impl Output {
    /// Checks the exit status.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            (self.status.code(), self.status.signal()),
            (Some(code), None),
            "{}\n-- standard output\n{}\n-- standard error\n{}",
            self.shown,
            self.stdout,
            self.stderr
        );
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    /// Checks that standard error has a text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{}\nlacks {text:?}:\n{}", self.shown, self.stderr);
        self
    }

    /// Checks that standard error is one error, with nothing before it and nothing on standard
    /// output, and returns it.
    #[track_caller]
    pub fn one_error(self) -> String {
        let output = self.exits(255);
        assert_eq!(output.stdout, "", "{}", output.stderr);
        let errors = output.stderr.lines().filter(|line| {
            line.starts_with("ERROR: ") || line.starts_with("error: ") || line.contains(": error[")
        });
        assert_eq!(errors.count(), 1, "not one error:\n{}", output.stderr);
        output.stderr
    }

    /// What standard error says last, before the commands with which to go on. Those find everything where
    /// this command had it.
    #[track_caller]
    pub fn last_before_ways_on(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let ways = lines.iter().rev().take_while(|line| line.contains(":  ")).count();
        let (rest, ways) = lines.split_at(lines.len() - ways);
        let id = self.id();
        assert_eq!(ways.len(), 3, "{}", self.shown);
        for (way, verb) in ways.iter().zip(["show", "resume", "delete"]) {
            assert!(way.contains(":  ") && way.contains(" oneprovision --sandbox "), "{way}");
            assert!(way.ends_with(&format!(" {verb} {id}")), "{way}");
        }
        let last = rest.last().unwrap_or_else(|| panic!("nothing was said: {}", self.shown));
        (*last).to_owned()
    }

    /// The id that `create` printed: the only line of its standard output.
    #[track_caller]
    pub fn id(&self) -> String {
        let id = self.stdout.strip_prefix("ID: ").and_then(|rest| rest.strip_suffix('\n'));
        let id = id.unwrap_or_else(|| panic!("no id:\n{}{}", self.stdout, self.stderr));
        assert_eq!((id.len(), id.lines().count()), (36, 1), "{id:?}");
        id.to_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }
}

/// Writes an executable file.
pub fn executable(path: &Path, content: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Another thread that forks in this moment would hold it open for writing, and then it could
    // not be run ("text file busy"); a copy that only `sh` ever had open cannot meet that.
    let draft = path.with_extension("draft");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o755).open(&draft);
    file.unwrap().write_all(content.as_bytes()).unwrap();
    let copied = Command::new("cp").arg("-p").arg(&draft).arg(path).status().unwrap();
    assert!(copied.success());
    std::fs::remove_file(&draft).unwrap();
}

/// A template with one cluster and hosts of a driver, each with further parameters in `provision`.
pub fn template(driver: &str, hosts: usize, parameters: &[(&str, &str)]) -> String {
    let mut text = String::from("---\nname: test\ncluster:\n  name: test-cluster\nhosts:\n");
    for n in 1..=hosts {
        text += "  - im_mad: kvm\n    vm_mad: kvm\n    provision:\n";
        text += &format!("      driver: {driver}\n      hostname: test-host{n}\n");
        for (name, value) in parameters {
            text += &format!("      {name}: {value}\n");
        }
    }
    // At the end, so that places in messages stay what they are. Machines of these drivers are none
    // that anybody could log in to.
    text + "playbook: []\n"
}

/// Python, by its real path: what is first in the search path may be a script that needs a home.
pub fn python() -> Option<String> {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let answer = asked.ok().filter(|answer| answer.status.success())?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}
