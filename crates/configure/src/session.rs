//! One script on a machine, as root: ssh is called, the script and what it reads go to it, and what
//! comes back is told apart.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::ansible::mask::Masks;
use crate::login::Login;
use crate::output::{Tail, drain, last_lines, shown};
use crate::process::Group;
use crate::reach::{SSH_FAILED, not_started};
use crate::refusal::Refusal;
use crate::script;
use crate::system::System;

/// Most that is kept of each output, in bytes.
const KEPT: usize = 64 << 10;
/// Most of a line that is looked at before it is passed on, in bytes.
const LINE: usize = 64 << 10;
/// Most that a log takes, in bytes.
const LOG: u64 = 256 << 20;
/// How long a machine may take to listen: a login's shell may hang while its connection lives.
const LISTENS: Duration = Duration::from_secs(60);
/// How long ssh may go on after the script has told its end: something that was left in the
/// background may keep its output open for ever.
const GRACE: Duration = Duration::from_secs(1);

/// How a script ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its status.
    pub status: i32,
    /// The end of its standard output.
    pub out: String,
    /// The end of its standard error.
    pub err: String,
}

/// Why it is not known how a script ended.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was never sent.
    NotBegun(Refusal),
    /// It did not begin, for the user may not become root; why.
    NotRoot(String),
    /// It was sent, and may have done anything; why that is not known.
    Lost(String),
}

/// What a script reads.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// Nothing.
    Nothing,
    /// A text.
    Text(&'a str),
    /// A file of this computer.
    File(&'a Path),
}

/// Where whole outputs are kept (0600): one file for each machine.
pub(crate) struct Log {
    path: PathBuf,
    file: Mutex<(Option<File>, u64)>,
}

impl Log {
    /// Opens it; what earlier runs wrote stays.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        Ok(Self { path, file: Mutex::new((Some(file), LOG)) })
    }

    /// One that keeps nothing.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::new(), file: Mutex::new((None, 0)) }
    }

    /// Where it is.
    pub fn path(&self) -> std::path::Display<'_> {
        self.path.display()
    }

    /// Adds to it. That a log cannot be written is no reason to leave a machine half configured.
    pub fn write(&self, bytes: &[u8]) {
        let mut guard = lock(&self.file);
        let (Some(file), left) = &mut *guard else { return };
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if *left > 0 && length > *left {
            let _ = file.write_all(b"\n== (here the log is cut)\n");
        }
        *left = left.saturating_sub(length);
        if *left > 0 {
            let _ = file.write_all(bytes);
        }
    }
}

/// An output without secrets, on its way into the log; its end is kept.
struct Masked<'a> {
    masks: &'a Masks,
    log: &'a Log,
    /// What may be the beginning of a secret waits for more.
    pending: Vec<u8>,
    tail: Tail,
}

impl<'a> Masked<'a> {
    fn new(masks: &'a Masks, log: &'a Log) -> Self {
        Self { masks, log, pending: Vec::new(), tail: Tail::new(KEPT) }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.masks.longest() == 0 {
            self.pass(bytes);
            return;
        }
        self.pending.extend_from_slice(bytes);
        let line = self.pending.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
        let ready = match line {
            Some(end) => end,
            None if self.pending.len() > 2 * LINE => characters(&self.pending),
            None => return,
        };
        let masked = self.masks.apply(&String::from_utf8_lossy(&self.pending[..ready]));
        // What is longer than that has lines, which are masked one by one.
        let waits = self.masks.longest().min(LINE);
        let most = masked.len().saturating_sub(waits);
        let passed = (0..=most).rev().find(|n| masked.is_char_boundary(*n)).unwrap_or(0);
        self.pass(&masked.as_bytes()[..passed]);
        let rest = self.pending.split_off(ready);
        self.pending = masked.as_bytes()[passed..].to_vec();
        self.pending.extend(rest);
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.log.write(bytes);
        self.tail.push(bytes);
    }

    /// No more is to come.
    fn end(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            let masked = self.masks.apply(&String::from_utf8_lossy(&rest));
            self.pass(masked.as_bytes());
        }
    }

    /// Its end.
    fn text(mut self) -> String {
        self.end();
        std::mem::replace(&mut self.tail, Tail::new(0)).text()
    }
}

impl Drop for Masked<'_> {
    fn drop(&mut self) {
        // Whoever waits may go away in the middle: what was said until then is what the log is for.
        self.end();
    }
}

/// Length of bytes without a character at their end that is not whole yet.
fn characters(bytes: &[u8]) -> usize {
    let begin = bytes.len().saturating_sub(4);
    let starts = |byte: &u8| (*byte & 0xc0) != 0x80;
    bytes[begin..].iter().rposition(starts).map_or(bytes.len(), |place| begin + place)
}

impl System {
    /// Runs a script as root; it leaves its status in the variable `e`.
    pub(crate) async fn session(
        &self,
        login: &Login<'_>,
        body: &str,
        input: Input<'_>,
        masks: &Masks,
        log: &Log,
    ) -> Result<Outcome, Fault> {
        let token = script::token();
        let script = script::as_root(&token, body);
        // It is never closed; if it were, there would be no reason to wait.
        let mut permit = self.logins.acquire().await.ok();
        let mut command = login.command(&script::reader(&token, script.len()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command)
            .map_err(|error| Fault::NotBegun(Refusal::Here(not_started("ssh", &error))))?;
        let child = group.child();
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());

        let parts = Mutex::new(Parts::new(token));
        let (out, err) = (Mutex::new(Masked::new(masks, log)), Mutex::new(Masked::new(masks, log)));
        let (heard, ended) = (Notify::new(), Notify::new());
        let sent = Mutex::new(Ok(()));
        let whole = async {
            let write = async {
                heard.notified().await;
                if let Some(stdin) = stdin.filter(|_| lock(&parts).ready) {
                    *lock(&sent) = send(stdin, &script, input).await;
                }
            };
            let hear = |bytes: &[u8]| {
                let mut parts = lock(&parts);
                let output = parts.feed(bytes);
                if parts.ready {
                    permit = None;
                    heard.notify_one();
                }
                if parts.status.is_some() {
                    ended.notify_one();
                }
                lock(&out).take(&output);
            };
            let read = async {
                drain(stdout, hear).await;
                // Nothing more is to come.
                heard.notify_one();
            };
            let listen = drain(stderr, |bytes| lock(&err).take(bytes));
            tokio::join!(write, read, listen);
            child.wait().await
        };
        let grace = async {
            ended.notified().await;
            sleep(GRACE).await;
        };
        let hangs = async {
            sleep(LISTENS).await;
            if lock(&parts).ready {
                std::future::pending::<()>().await;
            }
        };
        let status = tokio::select! {
            status = whole => Some(status),
            () = grace => None,
            // Nothing was sent, and nothing is from here on.
            () = hangs => return Err(Fault::NotBegun(Refusal::Stuck)),
        };
        let parts = parts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let out = out.into_inner().unwrap_or_else(PoisonError::into_inner).text();
        let err = err.into_inner().unwrap_or_else(PoisonError::into_inner).text();
        if let Some(status) = parts.status {
            return Ok(Outcome { status, out, err });
        }
        if let Err(why) = sent.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(Fault::Lost(why));
        }
        let status = match status {
            Some(Ok(status)) => status,
            Some(Err(error)) => return Err(Fault::Lost(error.to_string())),
            None => return Err(Fault::Lost("it ended without a status".to_owned())),
        };
        let said = match last_lines(&err, 1).pop() {
            Some(line) => shown(&line, 200),
            None => format!("ssh ended with {status}"),
        };
        let from_ssh = status.code() == Some(SSH_FAILED);
        match (parts.ready, parts.begun) {
            (true, false) if !from_ssh => Err(Fault::NotRoot(said)),
            (true, _) => Err(Fault::Lost(said)),
            (false, _) if from_ssh => Err(Fault::NotBegun(Refusal::of(&err, &login.machine.alias))),
            (false, _) => {
                let words = last_lines(&format!("{}\n{err}", parts.before()), 3).join(" ");
                let words = if words.is_empty() { said } else { shown(&words, 200) };
                Err(Fault::NotBegun(Refusal::Shell(words)))
            }
        }
    }
}

/// Sends the script and what it reads.
///
/// # Errors
/// What it reads cannot be read here. That the machine reads no more is none: it will say why.
async fn send(
    mut to: impl AsyncWrite + Unpin,
    script: &str,
    input: Input<'_>,
) -> Result<(), String> {
    if to.write_all(script.as_bytes()).await.is_err() {
        return Ok(());
    }
    match input {
        Input::Nothing => {}
        Input::Text(text) => drop(to.write_all(text.as_bytes()).await),
        Input::File(path) => {
            let wrong = |error: io::Error| format!("{} cannot be read: {error}", path.display());
            let mut file = tokio::fs::File::open(path).await.map_err(wrong)?;
            // The machine compares its checksum: half a file is not taken for a whole one.
            let _ = tokio::io::copy(&mut file, &mut to).await;
        }
    }
    let _ = to.shutdown().await;
    Ok(())
}

/// Standard output: what was before the script began, its output, and its end.
struct Parts {
    token: String,
    /// Whether the machine listens.
    ready: bool,
    /// Whether it has begun.
    begun: bool,
    /// Its status, once it has ended.
    status: Option<i32>,
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// Whether a line's end is held back: the last belongs to what tells the end.
    held: bool,
    before: Tail,
}

impl Parts {
    fn new(token: String) -> Self {
        let before = Tail::new(4 << 10);
        let (ready, begun, held) = (false, false, false);
        Self { token, ready, begun, status: None, line: Vec::new(), held, before }
    }

    /// Takes more of it and returns what of it is the script's output.
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() > LINE {
                let line = std::mem::take(&mut self.line);
                self.take(&line, &mut output);
            }
        }
        output
    }

    fn take(&mut self, line: &[u8], output: &mut Vec<u8>) {
        let words = std::str::from_utf8(line).unwrap_or_default().trim_end();
        let mark = words.strip_prefix(&self.token);
        if !self.begun {
            self.ready |= mark == Some(":ready");
            self.begun = mark == Some(":begin");
            if !self.begun {
                self.before.push(line);
            }
            return;
        }
        if self.status.is_some() {
            return;
        }
        if let Some(status) = mark.and_then(|mark| mark.strip_prefix(":end:")?.parse().ok()) {
            self.status = Some(status);
            return;
        }
        if self.held {
            output.push(b'\n');
        }
        self.held = line.ends_with(b"\n");
        output.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
    }

    fn before(mut self) -> String {
        let line = std::mem::take(&mut self.line);
        self.before.push(&line);
        self.before.text()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_greeting_is_no_output() {
        let mut parts = Parts::new("T".to_owned());
        assert_eq!(parts.feed(b"Welcome!\n\nT:ready\n\nT:be"), b"");
        assert!(parts.ready && !parts.begun);
        assert_eq!(parts.feed(b"gin\r\na"), b"");
        assert!(parts.begun);
        assert_eq!(parts.feed(b"b\nT:end:x\n"), b"ab\nT:end:x");
        assert_eq!(parts.feed(b"\nT:end:3\nmore"), b"\n");
        assert_eq!(parts.status, Some(3));
    }

    proptest! {
        #[test]
        fn an_output_comes_whole_however_it_is_cut(
            text in "[ab\n]{0,30}",
            cut in prop::collection::vec(1usize..7, 1..40),
        ) {
            let whole = format!("hello\nT:begin\n{text}\nT:end:0\n");
            let mut rest = whole.as_bytes();
            let (mut parts, mut output) = (Parts::new("T".to_owned()), Vec::new());
            for length in cut.into_iter().chain(std::iter::repeat(100)) {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                output.extend(parts.feed(piece));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(String::from_utf8(output).unwrap(), text);
            prop_assert_eq!(parts.status, Some(0));
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_masked_however_it_is_cut(cut in prop::collection::vec(1usize..9, 1..30)) {
            let folder = tempfile::tempdir().unwrap();
            let log = Log::open(folder.path().join("log")).unwrap();
            let mut found = crate::ansible::mask::Found::default();
            found.text("first-ü\nsecond\n");
            let masks = found.masks();
            let mut heard = Masked::new(&masks, &log);
            let mut rest = "üü first-ü ü\n\nx\nsecond ü\nfirst-ü".as_bytes();
            for length in cut.into_iter().chain(std::iter::repeat(100)) {
                let (piece, after) = rest.split_at(length.min(rest.len()));
                heard.take(piece);
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let wanted = "üü ***** ü\n\nx\n***** ü\n*****";
            prop_assert_eq!(heard.text(), wanted);
            let text = std::fs::read_to_string(folder.path().join("log")).unwrap();
            prop_assert_eq!(text, wanted);
        }
    }

    #[test]
    fn a_log_is_bounded_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path().join("log")).unwrap();
        lock(&log.file).1 = 6;
        for _ in 0..4 {
            log.write(b"abc");
        }
        drop(log);
        let path = folder.path().join("log");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("abc").count(), 1, "{text}");
    }
}
