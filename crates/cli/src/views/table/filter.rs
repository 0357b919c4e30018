//! Which rows: `-f "NAME~web,HOSTS>=3" --operator OR`.

use std::cmp::Ordering;

use super::{Column, Table, layout};
use crate::args::{Operator, TableArgs};
use crate::error::{CliError, Code};

/// Longer ones first: `<=` begins with `<`.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("!=", Comparison::Differs),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equals),
    ("<", Comparison::Less),
    (">", Comparison::More),
    ("~", Comparison::Contains),
];

#[derive(Clone, Copy)]
enum Comparison {
    Equals,
    Differs,
    Less,
    AtMost,
    More,
    AtLeast,
    Contains,
}

struct Filter<'a> {
    /// Index of the column.
    column: usize,
    comparison: Comparison,
    value: &'a str,
}

pub fn chosen(table: &Table<'_>, args: &TableArgs) -> Result<Vec<usize>, CliError> {
    let texts = args.filter.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    let filters = texts
        .map(|text| Filter::parse(table.columns, text))
        .collect::<Result<Vec<_>, CliError>>()?;
    let matches = |row: &[String]| {
        let mut each = filters
            .iter()
            .map(|filter| filter.matches(row.get(filter.column).map_or("", String::as_str)));
        match args.operator {
            _ if filters.is_empty() => true,
            Operator::And => each.all(|matches| matches),
            Operator::Or => each.any(|matches| matches),
        }
    };
    Ok(table.rows.iter().enumerate().filter(|(_, row)| matches(row)).map(|(n, _)| n).collect())
}

impl<'a> Filter<'a> {
    fn parse(columns: &[Column], text: &'a str) -> Result<Self, CliError> {
        let bad = || {
            CliError::new(format!("'{text}' is no filter"))
                .code(Code::Columns)
                .hint("a filter is COLUMN=VALUE; the operators are = != < <= > >= and ~ (contains)")
        };
        let at = text.find(['=', '!', '<', '>', '~']).filter(|at| *at > 0).ok_or_else(bad)?;
        let (name, rest) = text.split_at(at);
        let found = COMPARISONS.iter().find_map(|(sign, c)| Some((*c, rest.strip_prefix(sign)?)));
        let (comparison, value) = found.ok_or_else(bad)?;
        Ok(Self { column: layout::index(columns, name)?, comparison, value: value.trim() })
    }

    fn matches(&self, cell: &str) -> bool {
        let order = || match (number(cell), number(self.value)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => cell.cmp(self.value),
        };
        match self.comparison {
            Comparison::Equals => cell == self.value,
            Comparison::Differs => cell != self.value,
            Comparison::Contains => cell.contains(self.value),
            Comparison::Less => order() == Ordering::Less,
            Comparison::AtMost => order() != Ordering::Greater,
            Comparison::More => order() == Ordering::Greater,
            Comparison::AtLeast => order() != Ordering::Less,
        }
    }
}

/// A number, also with the units that the tables have: `7.6G`, `25%`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (digits, scale) = match text.chars().last()? {
        'K' => (text.strip_suffix('K')?, 1024.0),
        'M' => (text.strip_suffix('M')?, 1024.0 * 1024.0),
        'G' => (text.strip_suffix('G')?, 1024.0 * 1024.0 * 1024.0),
        'T' => (text.strip_suffix('T')?, 1024.0 * 1024.0 * 1024.0 * 1024.0),
        '%' => (text.strip_suffix('%')?, 1.0),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers() {
        let columns = [Column::right("N", 1)];
        for (cell, filter, expected) in [
            ("9", "N<10", true),
            ("10", "N<9", false),
            ("7.6G", "N>900M", true),
            ("25%", "N<=25", true),
            ("b", "N>a", true),
            ("-", "N!=-", false),
            ("x=y", "N=x=y", true),
            ("inf", "N>1", true),
            ("", "N=", true),
            ("1", "N >= 1", true),
        ] {
            let filter = Filter::parse(&columns, filter);
            match filter {
                Ok(filter) => assert_eq!(filter.matches(cell), expected, "{cell}"),
                Err(error) => panic!("{}", error.render()),
            }
        }
    }
}
