//! Files and commands on one machine, without Ansible.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use model::ProvisionId;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout_at};

use crate::ansible::mask::{Found, Masks};
use crate::known_hosts::make_folder;
use crate::login::Login;
use crate::output::{last_lines, shown};
use crate::script::{self, Look};
use crate::session::{Fault, Input, Log, Outcome};
use crate::steps::{Command, File, Steps};
use crate::system::System;
use crate::{Done, Heard, Machine, TaskResult, Trouble, Watch};

/// Largest file that is copied, in bytes.
const LARGEST: u64 = 64 << 20;
/// Files that are looked at in one login.
const LOOKED_AT: usize = 24;
/// Longest path, in bytes: so many of them are one argument of the machine's `sh`.
const LONGEST_PATH: usize = 1024;
/// Logins for a script that was not sent.
const LOGINS: u32 = 3;
/// Lines of an output that are told.
const LINES: usize = 8;

impl System {
    /// Copies a machine's files to it and runs its commands there, in their order, as root; what fails
    /// ends it.
    ///
    /// A file that is as it should be is left alone; a command is always run, and counts as a change.
    /// What a command leaves in the background does not keep it.
    ///
    /// # Errors
    /// What failed, and the end of what the machine said to it; the whole is in a log that is named.
    pub(crate) async fn run_steps(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        deadline: Duration,
        watch: &dyn Watch,
    ) -> Result<Done, Trouble> {
        if machine.steps.is_empty() {
            return Ok(Done { changed: 0 });
        }
        let end = Instant::now() + deadline;
        let masks = masks(machine);
        let log = self.open_log(provision, &machine.address)?;
        let login = self.login(provision, machine)?;
        let mut by_hand = ByHand {
            system: self,
            login,
            log,
            masks,
            me: "0:0".to_owned(),
            seen: vec![None; machine.steps.files.len()],
        };
        let Steps { files, commands } = &machine.steps;
        let tasks = (0..files.len()).map(Task::File).chain(commands.iter().map(Task::Command));
        let mut changed = 0;
        for task in tasks {
            let name = match task {
                Task::File(n) => {
                    format!("file {}", shown(&by_hand.masks.apply(&files[n].path), 120))
                }
                Task::Command(command) => name(command, &by_hand.masks),
            };
            watch.heard(machine.host, Heard::Begun(name.clone()));
            by_hand.log.write(format!("== {name}\n").as_bytes());
            let run = async {
                match task {
                    Task::File(n) => by_hand.file(files, n).await,
                    Task::Command(command) => by_hand.command(command).await,
                }
            };
            let ended = timeout_at(end, run).await.unwrap_or_else(|_| {
                Err(Failure::Step(format!(
                    "it was not done when the {} s for the machine were over, and may still be at \
                     work there",
                    deadline.as_secs()
                )))
            });
            let (result, wrong) = match ended {
                Ok(false) => (TaskResult::Ok, None),
                Ok(true) => (TaskResult::Changed, None),
                Err(Failure::Step(text)) => (TaskResult::Failed(text.clone()), Some(text)),
                Err(Failure::Away(text)) => (TaskResult::Unreachable(text.clone()), Some(text)),
            };
            changed += u32::from(result == TaskResult::Changed);
            by_hand.log.write(format!("\n== {}\n", wrong.as_deref().unwrap_or("done")).as_bytes());
            watch.heard(machine.host, Heard::Ended { task: name.clone(), result });
            if let Some(text) = wrong {
                let (address, log) = (&machine.address, by_hand.log.path());
                return Err(Trouble(format!("{address}: {name}: {text}\nAll that it said: {log}")));
            }
        }
        Ok(Done { changed })
    }

    fn open_log(&self, provision: ProvisionId, address: &str) -> Result<Log, Trouble> {
        let folder = self.logs(provision);
        let fits = |c: char| c.is_ascii_alphanumeric() || "._:%-".contains(c);
        let address: String = address.chars().map(|c| if fits(c) { c } else { '_' }).collect();
        let path = folder.join(format!("steps-{address}.log"));
        let opened = make_folder(&folder).and_then(|()| Log::open(path.clone()));
        opened.map_err(|error| {
            Trouble(format!("the log {} cannot be written: {error}", path.display()))
        })
    }
}

#[derive(Clone, Copy)]
enum Task<'a> {
    File(usize),
    Command(&'a Command),
}

/// Why a step was not done.
enum Failure {
    /// It failed.
    Step(String),
    /// The machine could not be reached, or no more.
    Away(String),
}

/// A machine in the middle of its steps.
struct ByHand<'a> {
    system: &'a System,
    login: Login<'a>,
    log: Log,
    /// What is in the files, if it may not be seen.
    masks: Masks,
    /// User and group who do it.
    me: String,
    /// Files as they are on the machine.
    seen: Vec<Option<Look>>,
}

impl ByHand<'_> {
    /// Makes a file as it should be: whether it was not.
    async fn file(&mut self, files: &[File], n: usize) -> Result<bool, Failure> {
        if n.is_multiple_of(LOOKED_AT) {
            self.look(&files[n..], n).await?;
        }
        let file = &files[n];
        let input = match (&file.content, &file.source) {
            (Some(content), _) => Input::Text(content),
            (None, Some(source)) => Input::File(source),
            (None, None) => return Err(Failure::Step("it has neither content nor source".into())),
        };
        let sum = match input {
            Input::File(path) => {
                let path = path.to_owned();
                let summed = tokio::task::spawn_blocking(move || sum_of_file(&path)).await;
                summed.unwrap_or_else(|error| Err(error.to_string())).map_err(Failure::Step)?
            }
            Input::Text(text) => digits(&Sha256::digest(text)),
            Input::Nothing => String::new(),
        };
        let mode = file.mode.as_deref().unwrap_or("0644");
        let mode = mode_of(mode).map_err(Failure::Step)?;
        let owner = file.owner.as_deref().unwrap_or(&self.me);
        if self.seen[n].as_ref().is_some_and(|seen| seen.is(&sum, mode, owner)) {
            return Ok(false);
        }
        let script = script::put(&file.path, mode, file.owner.as_deref(), &sum);
        let outcome = self.run(&script, input, &self.masks).await?;
        match outcome.status {
            0 => Ok(true),
            _ => Err(Failure::Step(format!("it cannot be written: {}", said(&outcome)))),
        }
    }

    /// Looks at the next files.
    async fn look(&mut self, files: &[File], first: usize) -> Result<(), Failure> {
        let paths = files.iter().take(LOOKED_AT).map(|file| file.path.as_str());
        // What it answers is for us alone: among it are checksums, by which a short secret is guessed.
        let script = script::look(paths);
        let masks = Masks::default();
        let outcome = self.run_heard(&script, Input::Nothing, &masks, &Log::nowhere()).await?;
        let (me, files) = script::seen(&outcome.out);
        if let Some(me) = me {
            self.me = me;
        }
        for (n, look) in files {
            if let Some(seen) = self.seen.get_mut(first + n) {
                *seen = Some(look);
            }
        }
        Ok(())
    }

    /// Runs a command.
    async fn command(&self, command: &Command) -> Result<bool, Failure> {
        let outcome = self.run(&script::command(command), Input::Nothing, &self.masks).await?;
        match outcome.status {
            0 => Ok(true),
            status => {
                Err(Failure::Step(format!("it ended with status {status}: {}", said(&outcome))))
            }
        }
    }

    /// Runs a script; once more if it was never sent.
    async fn run(&self, script: &str, input: Input<'_>, masks: &Masks) -> Result<Outcome, Failure> {
        self.run_heard(script, input, masks, &self.log).await
    }

    async fn run_heard(
        &self,
        script: &str,
        input: Input<'_>,
        masks: &Masks,
        log: &Log,
    ) -> Result<Outcome, Failure> {
        let mut tried = 1;
        loop {
            let fault = match self.system.session(&self.login, script, input, masks, log).await {
                Ok(outcome) => return Ok(outcome),
                Err(fault) => fault,
            };
            match fault {
                Fault::NotBegun(why) if !why.is_final() && tried < LOGINS => {
                    sleep(Duration::from_secs(tried.into())).await;
                    tried += 1;
                }
                Fault::NotBegun(why) => {
                    let advice = match why.advice(&self.login).as_str() {
                        "" => String::new(),
                        advice => format!("; {advice}"),
                    };
                    let text = why.text(&self.login);
                    return Err(Failure::Away(format!("{text}{advice}")));
                }
                Fault::NotRoot(words) => {
                    let user = &self.login.machine.connection.user;
                    return Err(Failure::Step(format!(
                        "user {user} cannot become root ({words}): let the user root in, or allow \
                         {user} to use sudo without a password"
                    )));
                }
                Fault::Lost(words) => {
                    return Err(Failure::Away(format!(
                        "the connection was lost in the middle ({words}): whether it was done is \
                         not known"
                    )));
                }
            }
        }
    }
}

/// The end of what a script said.
fn said(outcome: &Outcome) -> String {
    let (err, out) = (last_lines(&outcome.err, LINES), last_lines(&outcome.out, LINES));
    match (err.is_empty(), out.is_empty()) {
        (true, true) => "it said nothing".to_owned(),
        (false, true) => err.join("\n"),
        (true, false) => out.join("\n"),
        (false, false) => {
            format!("{}\nand on standard output: {}", err.join("\n"), out.join("\n"))
        }
    }
}

/// What may not be seen in a machine's steps: a key that came by content, and what is in its files if
/// it is secret. What was given as a file of this computer is not in there.
fn masks(machine: &Machine) -> Masks {
    let mut found = Found::default();
    found.key(&machine.connection.key);
    if machine.secret_steps {
        machine.steps.files.iter().flat_map(|f| &f.content).for_each(|text| found.text(text));
    }
    found.masks()
}

/// A command as it is told.
fn name(command: &Command, masks: &Masks) -> String {
    let text = match command {
        Command::Line(line) => line.clone(),
        Command::Words(words) => words.join(" "),
    };
    format!("command {}", shown(&masks.apply(&text), 60))
}

fn sum_of_file(path: &Path) -> Result<String, String> {
    let sum = || -> io::Result<(Sha256, u64)> {
        let mut file = fs::File::open(path)?.take(LARGEST + 1);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 64 << 10];
        let mut whole = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hasher, whole)),
                length => {
                    hasher.update(&buffer[..length]);
                    whole += length as u64;
                }
            }
        }
    };
    match sum() {
        Ok((_, whole)) if whole > LARGEST => Err(too_large(path)),
        Ok((hasher, _)) => Ok(digits(&hasher.finalize())),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

fn too_large(path: &Path) -> String {
    format!("{} is larger than {} MiB: let the machine fetch it", path.display(), LARGEST >> 20)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mode_of(text: &str) -> Result<u32, String> {
    let digits = (3..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o7777);
    mode.ok_or_else(|| format!("mode must be permissions in octal, such as 0644, not {text:?}"))
}

/// What is wrong with files and commands: found without the machine. `place` is where they are from.
pub(crate) fn check_steps(place: &str, steps: &Steps) -> Vec<Trouble> {
    let mut all = Vec::new();
    let mut paths = HashSet::new();
    for (n, file) in steps.files.iter().enumerate() {
        let name = match file.path.as_str() {
            "" => format!("file {}", n + 1),
            path => format!("file {}", shown(path, 120)),
        };
        let mut wrong = |why: String| all.push(Trouble(format!("{place}: {name}: {why}")));
        if let Err(why) = check_path(&file.path) {
            wrong(why.to_owned());
        } else if !paths.insert(&file.path) {
            wrong("is there twice: only one of them can stay".to_owned());
        }
        match (&file.content, &file.source) {
            (Some(content), None) if content.len() as u64 > LARGEST => {
                wrong(format!("content is larger than {} MiB", LARGEST >> 20));
            }
            (Some(_), None) => {}
            (None, Some(source)) => {
                if let Err(why) = check_source(source) {
                    wrong(why);
                }
            }
            (Some(_), Some(_)) => wrong("has content and source: give one of them".to_owned()),
            (None, None) => wrong("has neither content nor source: give one of them".to_owned()),
        }
        if let Some(Err(why)) = file.mode.as_deref().map(mode_of) {
            wrong(why);
        }
        if let Some(owner) = &file.owner
            && !is_owner(owner)
        {
            wrong(format!("owner must be USER or USER:GROUP, not {owner:?}"));
        }
    }
    for (n, command) in steps.commands.iter().enumerate() {
        let why = match command {
            Command::Line(line) if line.trim().is_empty() => Some("is empty"),
            Command::Line(line) => unusable(line, script::quoted(line).len()),
            Command::Words(words) => match words.first() {
                None => Some("has no program"),
                Some(program) if program.is_empty() => Some("has no program"),
                Some(program) if program.starts_with('-') => Some("has an option for a program"),
                Some(_) => unusable(&words.concat(), script::words(words).len()),
            },
        };
        all.extend(why.map(|why| Trouble(format!("{place}: command {}: {why}", n + 1))));
    }
    all
}

fn unusable(text: &str, quoted: usize) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("has a NUL character in it, which no command may have");
    }
    (quoted > script::LONGEST).then_some("is too long: copy it as a file, and run that")
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("its path must be absolute");
    }
    if path.len() > LONGEST_PATH {
        return Err("its path is too long");
    }
    if path.chars().any(char::is_control) {
        return Err("its path has control characters");
    }
    match path.rsplit('/').next() {
        None | Some("" | "." | "..") => Err("its path is that of a folder"),
        Some(_) => Ok(()),
    }
}

fn check_source(source: &Path) -> Result<(), String> {
    let shown = source.display();
    if !source.is_absolute() {
        return Err(format!("source {shown} must be an absolute path"));
    }
    let wrong = |error: io::Error| format!("source {shown} cannot be read: {error}");
    let metadata = fs::metadata(source).map_err(wrong)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(format!("source {shown} is a folder: name its files one by one"));
    }
    if !kind.is_file() || kind.is_fifo() {
        return Err(format!("source {shown} is no regular file"));
    }
    if metadata.len() > LARGEST {
        return Err(format!("source {}", too_large(source)));
    }
    fs::File::open(source).map(drop).map_err(wrong)
}

fn is_owner(owner: &str) -> bool {
    let is_name = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.$@\\".contains(c);
        (1..=256).contains(&name.len()) && !name.starts_with('-') && name.chars().all(fits)
    };
    match owner.split_once(':') {
        Some((user, group)) => is_name(user) && is_name(group),
        None => is_name(owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::write(&source, "x").unwrap();
        let large = folder.path().join("large");
        fs::File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        let good = File {
            path: "/etc/x".to_owned(),
            content: None,
            source: Some(source),
            mode: Some("4755".to_owned()),
            owner: Some("one:admin$".to_owned()),
        };
        let check = |file: File| {
            let steps = Steps { files: vec![file], commands: Vec::new() };
            check_steps("here", &steps).into_iter().map(|t| t.0).collect::<Vec<_>>().join("|")
        };
        assert_eq!(check(good.clone()), "");
        let path = |path: &str| check(File { path: path.to_owned(), ..good.clone() });
        assert_eq!(path("etc/x"), "here: file etc/x: its path must be absolute");
        assert!(path("").contains("file 1"));
        assert!(path("/etc/").contains("folder") && path("/etc/..").contains("folder"));
        assert!(path("/a\nb").contains("control"));
        assert!(path(&format!("/{}", "x".repeat(1024))).contains("too long"));
        let source = |path: &Path| check(File { source: Some(path.into()), ..good.clone() });
        assert!(source(Path::new("/no/such/file")).contains("cannot be read"));
        assert!(source(Path::new("x")).contains("absolute"));
        assert!(source(folder.path()).contains("is a folder"));
        assert!(source(Path::new("/dev/null")).contains("no regular file"));
        assert!(source(&large).contains("larger than 64 MiB"));
        assert!(sum_of_file(&large).unwrap_err().contains("larger"));
        assert!(check(File { source: None, ..good.clone() }).contains("neither"));
        let both = File { content: Some("secret!".to_owned()), ..good.clone() };
        assert!(
            check(both.clone()).contains("content and source") && !check(both).contains("secret")
        );
        for mode in ["644x", "9", "64", "77777", "+644", ""] {
            let text = check(File { mode: Some(mode.to_owned()), ..good.clone() });
            assert!(text.contains("octal"), "{mode}: {text}");
        }
        for owner in ["", "-x", "a b", "a:", ":b", "a:b:c", "a;b"] {
            let text = check(File { owner: Some(owner.to_owned()), ..good.clone() });
            assert!(text.contains("USER:GROUP"), "{owner}: {text}");
        }
        let twice = Steps { files: vec![good.clone(), good], commands: Vec::new() };
        assert!(check_steps("here", &twice)[0].0.contains("twice"));
    }

    #[test]
    fn commands_are_checked_and_named() {
        let line = |text: &str| Command::Line(text.to_owned());
        let words = |all: &[&str]| Command::Words(all.iter().map(|w| (*w).to_owned()).collect());
        let commands = vec![
            line("true"),
            line(" \n"),
            line("a\0"),
            line(&"x".repeat(200_000)),
            line(&"'".repeat(40_000)),
            words(&[]),
            words(&["", "x"]),
            words(&["-x"]),
            words(&["x", ""]),
        ];
        let wrong = check_steps("here", &Steps { files: Vec::new(), commands });
        let numbers: Vec<&str> = wrong.iter().map(|t| &t.0[..15]).collect();
        let wanted: Vec<String> = (2..=8).map(|n| format!("here: command {n}")).collect();
        assert_eq!(numbers, wanted, "{wrong:?}");
        assert_eq!(
            name(&words(&["apt-get", "install", "-y", "x"]), &Masks::default()),
            "command apt-get install -y x"
        );
        let long = name(&line(&format!("a\n{}", "b".repeat(100))), &Masks::default());
        assert!(long.chars().count() == 68 && long.starts_with("command a b"), "{long}");
    }
}
