//! What is printed on standard output: tables for people, XML, JSON, YAML and CSV for programs.

pub mod conformance;
pub mod driver;
pub mod plan;
pub mod pools;
pub mod provider;
pub mod provision;
pub mod table;
mod xml;

use serde_json::Value;

use crate::error::CliError;

/// JSON with a line feed at the end.
fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// The same data as YAML.
fn yaml(value: &Value) -> Result<String, CliError> {
    let text = serde_saphyr::to_string(value)
        .map_err(|e| CliError::caused("the answer cannot be written as YAML", e))?;
    Ok(format!("---\n{}\n", text.trim_end()))
}

/// Cells in a line of the terminal; `None` if standard output is none.
pub fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(size.ws_col.into()).filter(|columns| *columns > 0)
}
