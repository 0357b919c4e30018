//! Column definitions of OpenNebula's tools: `etc/cli/oneprovision.yaml`.
//!
//! The keys are written as Ruby symbols: for each column `:desc`, `:size`, `:left`, and lists of
//! columns, of which `:default` is shown without options. Files of other releases have columns that
//! this one does not have; those are passed over, as OpenNebula's own tools do.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use serde_saphyr::Spanned;

use super::Column;
use crate::error::{CliError, Code};

/// A file of columns is a page; more is another file.
const LARGEST: u64 = 1 << 20;
/// The width of a terminal that does not tell.
const TERMINAL: usize = 80;
/// More is a slip of the finger.
const WIDEST: u64 = 10_000;

/// What is known of columns beside the tool's own definitions, and the terminal's width.
#[derive(Debug)]
pub struct Definitions {
    columns: BTreeMap<String, Defined>,
    lists: BTreeMap<String, Vec<String>>,
    /// Cells in a line, for `--expand`.
    pub terminal: usize,
}

#[derive(Debug, Default)]
struct Defined {
    about: Option<String>,
    width: Option<usize>,
    left: Option<bool>,
}

impl Default for Definitions {
    fn default() -> Self {
        Self { columns: BTreeMap::new(), lists: BTreeMap::new(), terminal: TERMINAL }
    }
}

impl Definitions {
    /// Nothing but the terminal's width.
    pub fn none(terminal: Option<usize>) -> Self {
        Self { terminal: terminal.unwrap_or(TERMINAL), ..Self::default() }
    }

    /// The definitions of a file, if it is there.
    pub fn read(path: &Path, terminal: Option<usize>) -> Result<Self, CliError> {
        let unreadable = |error: std::io::Error| {
            CliError::caused(format!("{} cannot be read", path.display()), error)
        };
        let text = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::none(terminal));
            }
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if metadata.len() > LARGEST => {
                return Err(CliError::new(format!(
                    "{} is too large for a file of columns",
                    path.display()
                )));
            }
            Ok(_) => std::fs::read_to_string(path).map_err(unreadable)?,
        };
        let definitions = Self::parse(path, &text)?;
        Ok(Self { terminal: terminal.unwrap_or(TERMINAL), ..definitions })
    }

    /// The definitions in a text; `path` is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        let mut all = Self::default();
        if text.trim().is_empty() {
            return Ok(all);
        }
        type File = BTreeMap<String, Spanned<Value>>;
        let file: File = serde_saphyr::from_str(text).map_err(|error| {
            let place = error.location().map(|at| (at.line(), at.column()));
            let why = error.without_snippet().to_string();
            // The place is told once.
            let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
            bad(path, place, why)
        })?;
        for (key, value) in file {
            let place = Some((value.defined.line(), value.defined.column()));
            let name = symbol(&key).to_owned();
            match &value.value {
                Value::Object(keys) => {
                    let column = Defined::of(keys).map_err(|why| bad(path, place, &why))?;
                    all.columns.insert(name, column);
                }
                Value::Array(names) => {
                    let names = names.iter().map(|name| name.as_str().map(symbol));
                    let names: Option<Vec<&str>> = names.collect();
                    let names = names.ok_or_else(|| {
                        bad(path, place, &format!("{key} is a list of something else than columns"))
                    })?;
                    all.lists.insert(name, names.into_iter().map(str::to_owned).collect());
                }
                _ => {
                    let what = format!("{key} is neither a column nor a list of columns");
                    return Err(bad(path, place, &what));
                }
            }
        }
        Ok(all)
    }

    /// A column with what is defined for it.
    pub fn applied(&self, column: &Column) -> Column {
        let mut column = column.clone();
        if let Some(defined) = self.columns.get(column.name) {
            column.width = defined.width.unwrap_or(column.width);
            column.left = defined.left.unwrap_or(column.left);
        }
        column
    }

    /// What is said of a column.
    pub fn about(&self, name: &str) -> Option<&str> {
        self.columns.get(name)?.about.as_deref()
    }

    /// The columns of `:default`, or all.
    pub fn default_list(&self, columns: &[Column]) -> Vec<String> {
        let known = self.lists.get("default").map(|names| known(names, columns));
        known
            .filter(|names| !names.is_empty())
            .unwrap_or_else(|| columns.iter().map(|column| column.name.to_owned()).collect())
    }

    /// The columns of a list by its name.
    pub fn list(&self, name: &str, columns: &[Column]) -> Result<Vec<String>, CliError> {
        let found = self.lists.get(symbol(name)).map(|names| known(names, columns));
        found.filter(|names| !names.is_empty()).ok_or_else(|| {
            CliError::new(format!("there is no list of columns '{name}'")).code(Code::Columns).hint(
                "a list is a key of etc/cli/oneprovision.yaml, such as `:short: [:ID, :NAME]`",
            )
        })
    }
}

fn known(names: &[String], columns: &[Column]) -> Vec<String> {
    let known = |name: &&String| columns.iter().any(|column| column.name == **name);
    names.iter().filter(known).cloned().collect()
}

impl Defined {
    fn of(keys: &serde_json::Map<String, Value>) -> Result<Self, String> {
        let mut defined = Self::default();
        for (key, value) in keys {
            let wrong = |what: &str| format!("{key} is {what}, not {value}");
            match symbol(key) {
                "desc" => defined.about = value.as_str().map(str::to_owned),
                "size" => {
                    let size = value.as_u64().filter(|size| (1..=WIDEST).contains(size));
                    let size = size.ok_or_else(|| wrong(&format!("from 1 to {WIDEST}")))?;
                    defined.width = usize::try_from(size).ok();
                }
                "left" => {
                    defined.left = Some(value.as_bool().ok_or_else(|| wrong("true or false"))?);
                }
                // What else OpenNebula's tools know there does not matter here.
                _ => {}
            }
        }
        Ok(defined)
    }
}

/// `:NAME` of Ruby is NAME.
fn symbol(text: &str) -> &str {
    text.strip_prefix(':').unwrap_or(text)
}

fn bad(path: &Path, place: Option<(u64, u64)>, why: &str) -> CliError {
    let place = place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
    CliError::new(format!("{}{place}: {why}", path.display()))
        .code(Code::Columns)
        .hint("that file defines the columns of lists; without it the defaults hold")
}
