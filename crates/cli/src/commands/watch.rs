//! A list that is shown again and again: `--delay`, `top`.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::print_on;
use crate::error::CliError;
use crate::exit::Exit;

/// Clears a terminal and begins at its top.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Prints what `read` returns, once, or every so many seconds until it is interrupted or nobody
/// reads any more. A terminal shows the newest one alone.
pub async fn repeat(
    delay: Option<u32>,
    mut read: impl AsyncFnMut() -> Result<String, CliError>,
) -> Result<Exit, CliError> {
    let terminal = std::io::stdout().is_terminal();
    // Also if the caller had it ignored, as a shell does for what runs behind it.
    let mut interrupts = delay.map(|_| interrupts()).transpose()?;
    loop {
        let text = read().await?;
        let begin = if delay.is_some() && terminal { CLEAR } else { "" };
        let reader = print_on(&format!("{begin}{text}"))?;
        match delay {
            Some(seconds) if reader => tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(seconds.into())) => {}
                () = interrupted(interrupts.as_mut()) => return Ok(Exit::Done),
            },
            _ => return Ok(Exit::Done),
        }
    }
}

/// Shows what `read` returns on a screen of its own until q, Ctrl-C, or so many times. Without a
/// terminal it is printed, once unless more is asked for.
pub async fn top(
    delay: u32,
    times: Option<u32>,
    mut read: impl AsyncFnMut() -> Result<String, CliError>,
) -> Result<Exit, CliError> {
    let delay = Duration::from_secs(delay.into());
    let screen = (std::io::stdin().is_terminal() && std::io::stdout().is_terminal())
        .then(Screen::enter)
        .flatten();
    let times = times.or(screen.is_none().then_some(1));
    let mut keys = screen.as_ref().map(|_| keys());
    let mut interrupts = interrupts()?;
    let mut shown = 0;
    loop {
        let text = read().await?;
        let text = if screen.is_some() { format!("{CLEAR}{}", fitted(&text)) } else { text };
        shown += 1;
        if !print_on(&text)? || times.is_some_and(|times| shown >= times) {
            return Ok(Exit::Done);
        }
        let quit = async {
            match &mut keys {
                None => std::future::pending().await,
                Some(keys) => while !matches!(keys.recv().await, None | Some(b'q' | b'Q')) {},
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = quit => return Ok(Exit::Done),
            // It is how such a view is left, and nothing is interrupted by it.
            () = interrupted(Some(&mut interrupts)) => return Ok(Exit::Done),
        }
    }
}

/// Hears of every Ctrl-C from now on, also of one that comes while a list is being read.
fn interrupts() -> Result<Signal, CliError> {
    signal(SignalKind::interrupt())
        .map_err(|e| CliError::caused("the signals of this process cannot be caught", e))
}

async fn interrupted(interrupts: Option<&mut Signal>) {
    match interrupts {
        Some(interrupts) => drop(interrupts.recv().await),
        None => std::future::pending().await,
    }
}

/// The lines that a terminal has room for.
fn fitted(text: &str) -> String {
    let rows = termios::tcgetwinsize(std::io::stdout()).map_or(24, |size| size.ws_row);
    let lines = usize::from(rows.max(2)) - 1;
    text.lines().take(lines).map(|line| format!("{line}\n")).collect()
}

/// The keys that are pressed. The thread that reads them ends with the program.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for key in std::io::stdin().lock().bytes().map_while(Result::ok) {
            if sender.send(key).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The other screen of a terminal, with keys that are read at once and not shown. Left when dropped.
struct Screen(Termios);

impl Screen {
    /// `None` if the terminal does not let itself be changed.
    fn enter() -> Option<Self> {
        let before = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        let screen = Self(before);
        print_on("\x1b[?1049h\x1b[?25l").ok()?;
        Some(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing of this.
        let _ = print_on("\x1b[?25h\x1b[?1049l");
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
