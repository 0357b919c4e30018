//! One run of one executable.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::api::{Action, Call, DriverError, FailureKind, ProcessRecord, Watch};

use super::folder::{CallFolder, Label, Streams, stop_growing};
use super::outcome::{self, Ending, Finished, IdLine};
use super::{ExecutableSettings, process};

/// How much of either end of a stream is read for messages.
pub(crate) const EXCERPT: usize = 64 << 10;
/// How much of `list`'s answer is read.
pub(crate) const LIST_OUTPUT: usize = 16 << 20;
/// Bytes of output after which a driver is ended that was asked a question: they are of memory.
const ANSWER_LIMIT: u64 = 2 * LIST_OUTPUT as u64;
/// First and longest pause between two looks at the driver's output.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How long a killed process may take to vanish, for example in a stuck file system.
const VANISH: Duration = Duration::from_secs(10);
/// So many removed folders may be freed by the disk without anybody waiting for it: each is a few open files.
const MAX_FREEING: usize = 8;
/// A limit for deadlines that are meant as "none".
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What a driver is given of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The deployment file, at its path and on standard input.
    Host,
    /// Only at its path; standard input is empty, as with the old tool.
    File,
    /// Nothing: there is no file at the path.
    Nothing,
}

/// What is to be run.
pub(crate) struct Job<'a> {
    pub driver: &'a str,
    pub action: Action,
    pub program: PathBuf,
    pub call: &'a Call,
    pub settings: &'a ExecutableSettings,
    pub given: Given,
}

/// A failure before anything was started, with all its causes.
pub(crate) fn setup(what: &str, error: &(dyn std::error::Error + 'static)) -> DriverError {
    let mut message = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    DriverError::new(FailureKind::Setup, message)
}

/// Runs the job to its end. The arguments are made from the path of the deployment file.
///
/// # Errors
/// Only if nothing was started ([`FailureKind::Setup`]).
pub(crate) async fn run(
    job: Job<'_>,
    arguments: impl FnOnce(&Path) -> Vec<OsString>,
) -> Result<Finished, DriverError> {
    let limit = job.call.deadline.min(FOREVER);
    let deadline = Instant::now() + limit;
    let (mut folder, streams) = prepare(&job, limit).await?;
    let arguments = arguments(&folder.deployment_file());
    let command_line = shown(&job.program, &arguments);
    tracing::debug!("Command run: {command_line}");
    let Streams { stdin, stdout, stderr, out_reader } = streams;
    if job.given == Given::Nothing {
        std::fs::remove_file(folder.deployment_file())
            .map_err(|error| setup("cannot take the deployment file away", &error))?;
    }
    let files = [stdin.as_ref(), Some(&stdout), Some(&stderr)];
    let child = spawn(&job, &folder, &arguments, files).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => " (is the interpreter of its first line installed?)",
            _ => "",
        };
        setup(&format!("cannot start {}{hint}", job.program.display()), &error)
    })?;
    // From here on a lock on the output is the driver's alone.
    drop((stdin, stdout));
    let pid = child.id().unwrap_or(0);
    let start_time = process::start_time(pid);
    folder.started(pid, start_time);
    let record = ProcessRecord {
        pid,
        start_time,
        folder: folder.path().to_owned(),
        deadline: epoch_after(limit),
    };
    job.call.watch.started(&record).await;

    let makes = job.action == Action::Deploy && super::resumed(job.call).is_none();
    let watched = makes.then_some(job.call.watch.as_ref());
    let mut running = Running {
        child,
        pid,
        out: out_reader,
        err: stderr,
        watch: watched,
        announced: None,
        looked_at: 0,
    };
    let output_limit = match job.action {
        Action::Poll | Action::List => job.settings.output_limit.min(ANSWER_LIMIT),
        _ => job.settings.output_limit,
    };
    let ending = running.wait(deadline, limit, output_limit, job.settings.grace).await;
    // What it leaves running may hold its output open for as long as it likes.
    [&running.out, &running.err].into_iter().for_each(stop_growing);
    if process::group_runs(pid) {
        tracing::debug!("{command_line} left processes behind; they are ended");
        if !process::end_group(pid, job.settings.grace).await {
            tracing::warn!("processes of {command_line} cannot be ended");
        }
    }
    let finished = running.finish(ending, job.action).await;
    let outputs = [running.out, running.err];
    outcome::log(&finished, &command_line, job.action, &job.call.host.secrets());
    if let Some(watch) = watched
        && let Err(error) = finished.deployed(&job.call.host.secrets())
        && error.deploy_id.is_none()
    {
        watch.failed(&error).await;
    }
    match finished.ending {
        // It may still write; the next command clears the folder.
        Ending::Stuck(_) => drop(folder),
        // Nothing else tells what was made.
        _ if makes && !job.call.watch.is_written() => drop(folder),
        _ => remove(folder, outputs).await,
    }
    Ok(finished)
}

/// Removes the call's folder; the work of a moment, but on a slow disk not one for the event loop. Freeing what it took
/// of the disk, which happens when the last one lets go of the nameless files, is not waited for, as long as few wait.
async fn remove(folder: CallFolder, outputs: [File; 2]) {
    static FREEING: AtomicUsize = AtomicUsize::new(0);
    let (gone, is_gone) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let held = (folder.remove(), outputs);
        if FREEING.fetch_add(1, Ordering::Relaxed) < MAX_FREEING {
            // Who is not waiting any more need not be told.
            let _ = gone.send(());
            drop(held);
        } else {
            drop(held);
            let _ = gone.send(());
        }
        FREEING.fetch_sub(1, Ordering::Relaxed);
    });
    // An error is a panic there, which is told of by itself.
    let _ = is_gone.await;
}

/// Makes the call's folder.
async fn prepare(job: &Job<'_>, limit: Duration) -> Result<(CallFolder, Streams), DriverError> {
    let xml = job
        .call
        .host
        .to_xml()
        .map_err(|error| setup("cannot write the deployment file", &error))?;
    let calls = job.settings.calls_folder.clone();
    let (driver, action, key) = (job.driver.to_owned(), job.action, job.call.key.clone());
    let (deadline, with_stdin) = (epoch_after(limit), job.given == Given::Host);
    tokio::task::spawn_blocking(move || {
        let label = Label { driver: &driver, action, key: &key, deadline };
        CallFolder::create(&calls, &label, &xml, with_stdin).map_err(|error| {
            setup(&format!("cannot make a folder for the call in {}", calls.display()), &error)
        })
    })
    .await
    .map_err(|error| setup("cannot make a folder for the call", &error))?
}

fn epoch_after(limit: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from((now + limit).as_secs()).unwrap_or(i64::MAX)
}

/// Starts the program in its own process group, with these files as standard input, output and error; none is an
/// empty one.
async fn spawn(
    job: &Job<'_>,
    folder: &CallFolder,
    arguments: &[OsString],
    files: [Option<&File>; 3],
) -> io::Result<Child> {
    let mut as_script = false;
    let mut attempts = 0;
    loop {
        let mut command = if as_script {
            let mut shell = std::process::Command::new("/bin/sh");
            shell.arg(&job.program);
            shell
        } else {
            std::process::Command::new(&job.program)
        };
        let stream = |file: Option<&File>| match file {
            Some(file) => file.try_clone().map(Stdio::from),
            None => Ok(Stdio::null()),
        };
        let [stdin, stdout, stderr] = files;
        command
            .args(arguments)
            .env("ONEPROVISION_CALL", &job.call.key)
            .env(process::MARK, folder.deployment_file())
            .stdin(stream(stdin)?)
            .stdout(stream(stdout)?)
            .stderr(stream(stderr)?)
            .process_group(0);
        if let Some(endpoint) = &job.settings.one_xmlrpc {
            command.env("ONE_XMLRPC", endpoint);
        }
        if let Some(path) = &job.settings.one_auth {
            command.env("ONE_AUTH", path);
        }
        if let Some(folder) = &job.settings.state_dir {
            command.env("ONEPROVISION_STATE_DIR", folder);
        }
        let mut command = Command::from(command);
        match command.spawn() {
            // Somebody still writes it: a copy that is not finished, or a file handle that another
            // thread's child inherited for a moment.
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts < 20 => {
                attempts += 1;
                sleep(Duration::from_millis(5 * attempts)).await;
            }
            // A script without `#!` is one for the shell, as execvp(3) and the old tool have it.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error())
                    && !as_script
                    && looks_like_script(&job.program) =>
            {
                as_script = true;
            }
            result => return result,
        }
    }
}

fn looks_like_script(program: &Path) -> bool {
    let mut head = [0_u8; 512];
    match File::open(program).and_then(|file| file.read_at(&mut head, 0)) {
        Ok(count) => head.get(..count).is_some_and(|bytes| !bytes.contains(&0)),
        Err(_) => false,
    }
}

/// A driver that was started.
struct Running<'a> {
    child: Child,
    pid: u32,
    out: File,
    err: File,
    watch: Option<&'a dyn Watch>,
    announced: Option<model::DeployId>,
    looked_at: u64,
}

impl Running<'_> {
    async fn wait(
        &mut self,
        deadline: Instant,
        limit: Duration,
        output_limit: u64,
        grace: Duration,
    ) -> Ending {
        let (mut pause, longest) = LOOKS;
        loop {
            tokio::select! {
                biased;
                status = self.child.wait() => return ending_of(status),
                () = sleep_until(deadline) => return self.end(grace, Ending::Deadline(limit)).await,
                () = sleep(pause) => {
                    pause = (pause * 2).min(longest);
                    let written = self.look().await;
                    if written > output_limit {
                        let why = Ending::TooMuchOutput(output_limit);
                        // Asking nicely would let it write on.
                        return self.end(Duration::ZERO, why).await;
                    }
                }
            }
        }
    }

    /// Looks for the deploy id; returns how much was written in all. The files are small and in the
    /// page cache, so this does not leave the thread.
    async fn look(&mut self) -> u64 {
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        let (out, err) = (length(&self.out), length(&self.err));
        if self.watch.is_some() && self.announced.is_none() && out > self.looked_at {
            self.looked_at = out;
            let head = read_head(&self.out, outcome::MAX_ID_LINE + 1024);
            if let IdLine::Id(id) = outcome::id_line(&head, false) {
                self.announce(id).await;
            }
        }
        out.saturating_add(err)
    }

    async fn announce(&mut self, id: model::DeployId) {
        if let Some(watch) = self.watch {
            watch.deploy_id(&id).await;
            self.announced = Some(id);
        }
    }

    /// Ends the driver and all that it started.
    async fn end(&mut self, grace: Duration, why: Ending) -> Ending {
        // The child has not been waited for, so its number cannot be another one's.
        if !grace.is_zero() {
            process::ask_to_end(self.pid);
            if timeout(grace, self.child.wait()).await.is_ok() {
                return why;
            }
        }
        process::kill(self.pid);
        match timeout(VANISH, self.child.wait()).await {
            Ok(_) => why,
            Err(_) => Ending::Stuck(self.pid),
        }
    }

    async fn finish(&mut self, ending: Ending, action: Action) -> Finished {
        let stdout = match action {
            Action::List => read_head(&self.out, LIST_OUTPUT),
            Action::Poll => read_head(&self.out, crate::poll::MAX_BYTES),
            _ => read_ends(&self.out),
        };
        let stderr = read_ends(&self.err);
        let mut id = IdLine::None;
        if self.watch.is_some() {
            id = outcome::id_line(&stdout, true);
            if let IdLine::Blanks(sentence) = &id
                && outcome::second_id(&stdout, sentence).is_some()
            {
                // A greeting, and the id after it.
                id = IdLine::Unusable(sentence.to_string());
            }
            // An id with blanks in it is only believed if the driver says that all went well.
            let found = match &id {
                IdLine::Id(id) => Some(id),
                IdLine::Blanks(id) if matches!(ending, Ending::Exit(0)) => Some(id),
                _ => None,
            };
            if let Some(found) = found.cloned()
                && self.announced.is_none()
            {
                self.announce(found).await;
            }
        }
        Finished { ending, stdout, stderr, id, deploy_id: self.announced.take() }
    }
}

fn ending_of(status: io::Result<ExitStatus>) -> Ending {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => Ending::Exit(code),
            (None, Some(signal)) => Ending::Signal(signal),
            (None, None) => Ending::Lost,
        },
        // Somebody else fetched the exit status.
        Err(_) => Ending::Lost,
    }
}

/// The first bytes of a file.
pub(crate) fn read_head(file: &File, limit: usize) -> Vec<u8> {
    read_at(file, 0, limit)
}

/// A file, or the first and the last bytes of one that is long.
pub(crate) fn read_ends(file: &File) -> Vec<u8> {
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let both = 2 * EXCERPT as u64;
    if length <= both {
        return read_at(file, 0, 2 * EXCERPT);
    }
    let mut bytes = read_at(file, 0, EXCERPT);
    bytes.push(b'\n');
    bytes.extend(read_at(file, length - EXCERPT as u64, EXCERPT));
    bytes
}

fn read_at(file: &File, mut offset: u64, limit: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Most drivers say a line or nothing.
    let mut small = [0_u8; 1024];
    let mut large = Vec::new();
    while bytes.len() < limit {
        let buffer = if offset == 0 && bytes.is_empty() {
            small.as_mut_slice()
        } else {
            large.resize(EXCERPT, 0);
            large.as_mut_slice()
        };
        let wanted = (limit - bytes.len()).min(buffer.len());
        let Some(space) = buffer.get_mut(..wanted) else { break };
        match file.read_at(space, offset) {
            Ok(0) => break,
            Ok(count) => {
                bytes.extend_from_slice(space.get(..count).unwrap_or_default());
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::warn!(%error, "cannot read what a driver wrote");
                break;
            }
        }
    }
    bytes
}

/// The command for people; an argument with anything unusual in it is quoted.
fn shown(program: &Path, arguments: &[OsString]) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '=');
    let mut line = program.display().to_string();
    for argument in arguments {
        let text = argument.to_string_lossy();
        line.push(' ');
        if !text.is_empty() && text.chars().all(plain) {
            line.push_str(&text);
        } else {
            line.push_str(&format!("{text:?}"));
        }
    }
    line
}
