//! A list that is shown again and again: `--delay`, `top`.

use std::io::IsTerminal;
use std::time::Duration;

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
    loop {
        let text = read().await?;
        let begin = if delay.is_some() && terminal { CLEAR } else { "" };
        let reader = print_on(&format!("{begin}{text}"))?;
        match delay {
            Some(seconds) if reader => {
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            }
            _ => return Ok(Exit::Done),
        }
    }
}
