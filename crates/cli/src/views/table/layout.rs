//! Which columns are shown, and how wide.

use super::{Column, Definitions, width};
use crate::args::TableArgs;
use crate::error::{CliError, Code};

/// No terminal is wider, and no value needs more.
const WIDEST: usize = 10_000;

/// The columns that are shown, in their order.
pub struct Layout(pub Vec<Shown>);

/// A column that is shown.
pub struct Shown {
    /// Its place in a row.
    pub index: usize,
    pub name: &'static str,
    pub width: usize,
    pub left: bool,
    /// Whether longer values are cut.
    cut: bool,
}

impl Shown {
    /// The value, cut if it has to be.
    pub fn fit(&self, cell: &str) -> String {
        if !self.cut || width(cell) <= self.width {
            return cell.to_owned();
        }
        // The last place tells that something is missing.
        let mut kept = String::new();
        for c in cell.chars() {
            let longer = format!("{kept}{c}");
            if width(&longer) >= self.width {
                break;
            }
            kept = longer;
        }
        kept + "…"
    }
}

impl Layout {
    /// All columns, each as wide as its longest value.
    pub fn plain(columns: &[Column], rows: &[&Vec<String>]) -> Self {
        let shown = columns.iter().enumerate().map(|(index, column)| Shown {
            index,
            name: column.name,
            width: column.width.max(needed(column.name, index, rows)),
            left: column.left,
            cut: false,
        });
        Self(shown.collect())
    }

    /// What definitions, and over these the options, ask for.
    pub fn of(
        columns: &[Column],
        rows: &[&Vec<String>],
        args: &TableArgs,
        definitions: &Definitions,
    ) -> Result<Self, CliError> {
        let defined: Vec<Column> = columns.iter().map(|c| definitions.applied(c)).collect();
        let mut all = Self::plain(&defined, rows).0;
        for name in &args.adjust {
            let shown = find(&mut all, columns, name)?;
            shown.width = needed(shown.name, shown.index, rows);
        }
        for text in &args.size {
            let (name, size) = text.split_once('=').ok_or_else(|| bad_size(text))?;
            let size = size.trim().parse().ok().filter(|size| (1..=WIDEST).contains(size));
            let shown = find(&mut all, columns, name)?;
            shown.width = size.ok_or_else(|| bad_size(text))?;
            shown.cut = true;
        }
        let names: Vec<String> = match (&args.listconf, args.list.as_slice()) {
            (Some(conf), _) => definitions.list(conf, columns)?,
            (None, []) => definitions.default_list(columns),
            (None, names) => names.to_vec(),
        };
        let order = names.iter().map(|name| index(columns, name)).collect::<Result<Vec<_>, _>>()?;
        let mut all: Vec<Option<Shown>> = all.into_iter().map(Some).collect();
        // A column that is named twice is shown once.
        let taken = order.into_iter().filter_map(|index| all.get_mut(index)?.take());
        let mut layout = Self(taken.collect());
        if let Some(shares) = &args.expand {
            layout.expand(columns, shares, definitions.terminal)?;
        }
        Ok(layout)
    }

    /// Gives what is left of the terminal to columns, by their share, else by their width.
    fn expand(
        &mut self,
        columns: &[Column],
        shares: &[String],
        terminal: usize,
    ) -> Result<(), CliError> {
        let used: usize = self.0.iter().map(|shown| shown.width + 1).sum::<usize>();
        let spare = (terminal + 1).saturating_sub(used);
        let mut growing: Vec<(usize, Option<f64>)> = Vec::new();
        for text in shares.iter().filter(|text| !text.is_empty()) {
            let (name, share) = match text.split_once('=') {
                Some((name, share)) => {
                    let share: Option<f64> = share.trim().parse().ok();
                    let share = share.filter(|share| (0.0..=1.0).contains(share));
                    (name, Some(share.ok_or_else(|| bad_share(text))?))
                }
                None => (text.as_str(), None),
            };
            growing.push((index(columns, name)?, share));
        }
        if growing.is_empty() {
            growing = self.0.iter().map(|shown| (shown.index, None)).collect();
        }
        let weight = |index: usize| {
            self.0.iter().find(|shown| shown.index == index).map_or(0, |shown| shown.width)
        };
        let free = growing.iter().filter(|(_, share)| share.is_none());
        let weights: usize = free.map(|(index, _)| weight(*index)).sum();
        let taken: f64 = growing.iter().filter_map(|(_, share)| *share).sum();
        let rest = (1.0 - taken).max(0.0);
        let mut left = spare;
        let mut more = Vec::new();
        for (index, share) in growing {
            let share =
                share.unwrap_or_else(|| rest * weight(index) as f64 / weights.max(1) as f64);
            // Shares that are more than a whole together must not be wider than the terminal.
            let wider = ((spare as f64 * share) as usize).min(left);
            left -= wider;
            more.push((index, wider));
        }
        for (index, wider) in more {
            if let Some(shown) = self.0.iter_mut().find(|shown| shown.index == index) {
                shown.width += wider;
            }
        }
        Ok(())
    }
}

/// The width of a column's header and values.
fn needed(name: &str, index: usize, rows: &[&Vec<String>]) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| width(cell));
    cells.max().unwrap_or(0).max(width(name))
}

/// The index of a column; upper and lower case are the same.
pub fn index(columns: &[Column], name: &str) -> Result<usize, CliError> {
    let name = name.trim();
    columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let known: Vec<&str> = columns.iter().map(|column| column.name).collect();
        CliError::new(format!("there is no column '{name}'"))
            .code(Code::Columns)
            .hint(format!("the columns are {}", known.join(", ")))
    })
}

fn find<'a>(
    all: &'a mut [Shown],
    columns: &[Column],
    name: &str,
) -> Result<&'a mut Shown, CliError> {
    let index = index(columns, name)?;
    all.get_mut(index).ok_or_else(|| CliError::new(format!("there is no column '{name}'")))
}

fn bad_size(text: &str) -> CliError {
    CliError::new(format!("'{text}' is no width of a column"))
        .code(Code::Columns)
        .hint(format!("widths are given as NAME=30,ID=8, from 1 to {WIDEST}"))
}

fn bad_share(text: &str) -> CliError {
    CliError::new(format!("'{text}' is no share of a column"))
        .code(Code::Columns)
        .hint("shares are given as NAME=0.4,STAT=0.6, from 0 to 1")
}
