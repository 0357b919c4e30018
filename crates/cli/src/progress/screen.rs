//! Standard error, with lines at its end that are drawn again and again. All narration goes through
//! here, so that nothing is drawn over.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A process has one standard error.
static SCREEN: Mutex<Screen> = Mutex::new(Screen { drawn: Vec::new(), asking: false });

struct Screen {
    /// The lines at the end of the terminal, as they stand there now.
    drawn: Vec<String>,
    /// Whether somebody is asked something: then nothing is drawn.
    asking: bool,
}

fn screen() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a text, which ends with a line feed, above the lines. A closed standard error must not end
/// an operation.
pub fn print(text: &str) {
    let text = crate::suggest::completed(text);
    suspend(|| drop(std::io::stderr().write_all(text.as_bytes())));
}

/// Takes the lines away for the moment in which something else is printed.
pub fn suspend<T>(other: impl FnOnce() -> T) -> T {
    let screen = screen();
    let mut stderr = std::io::stderr();
    let _ = stderr.write_all(erase(&screen.drawn).as_bytes());
    let result = other();
    let _ = stderr.write_all(text(&screen.drawn).as_bytes());
    result
}

/// Takes the lines away while somebody is asked. What else is told is printed meanwhile.
pub fn ask<T>(question: impl FnOnce() -> T) -> T {
    draw(Vec::new());
    screen().asking = true;
    let answer = question();
    screen().asking = false;
    answer
}

/// Draws these lines in the place of those before.
pub fn draw(lines: Vec<String>) {
    let mut screen = screen();
    if screen.asking || screen.drawn == lines {
        return;
    }
    // In one piece, so that it does not flicker.
    let text = erase(&screen.drawn) + &text(&lines);
    let _ = std::io::stderr().write_all(text.as_bytes());
    screen.drawn = lines;
}

fn erase(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!("\r\x1b[{}A\x1b[J", lines.len()) }
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Lines and columns of the terminal.
pub fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let given = |n: u16, default| if n == 0 { default } else { usize::from(n) };
    size.map_or((24, 80), |size| (given(size.ws_row, 24), given(size.ws_col, 80)))
}

/// Whether standard error is a terminal on which lines can be drawn again.
pub fn can_draw() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    std::io::stderr().is_terminal() && !dumb
}

/// Whether colours are wanted (<https://no-color.org>).
pub fn colors() -> bool {
    can_draw() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A writer for the log.
pub struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        suspend(|| std::io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
