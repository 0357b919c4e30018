//! A table as OpenNebula's own tools print it, and the same as CSV.

/// A column: its header, its least width, and whether it is left-aligned.
pub struct Column {
    pub name: &'static str,
    pub width: usize,
    pub left: bool,
}

impl Column {
    pub const fn right(name: &'static str, width: usize) -> Self {
        Self { name, width, left: false }
    }

    pub const fn left(name: &'static str, width: usize) -> Self {
        Self { name, width, left: true }
    }
}

/// The table as text. A column grows with its longest value: an id that is cut is of no use.
pub fn text(columns: &[Column], rows: &[Vec<String>], header: bool) -> String {
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(n, column)| {
            let longest = rows.iter().filter_map(|row| row.get(n)).map(|cell| length(cell)).max();
            column.width.max(column.name.len()).max(longest.unwrap_or(0))
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for ((cell, column), width) in cells.zip(columns).zip(&widths) {
            let pad = " ".repeat(width.saturating_sub(length(cell)));
            if !line.is_empty() {
                line.push(' ');
            }
            match column.left {
                true => line.extend([cell, &pad]),
                false => line.extend([pad.as_str(), cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    };
    let mut out = String::new();
    if header {
        out += &line(&mut columns.iter().map(|column| column.name));
    }
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// The table as CSV (RFC 4180, line feeds).
pub fn csv(columns: &[Column], rows: &[Vec<String>], header: bool) -> String {
    let quote = |cell: &str| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(quote).collect();
        cells.join(",") + "\n"
    };
    let mut out = String::new();
    if header {
        out += &line(&mut columns.iter().map(|column| column.name));
    }
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] =
        [Column::right("ID", 4), Column::left("NAME", 6), Column::right("HOSTS", 5)];

    fn rows() -> Vec<Vec<String>> {
        vec![
            vec!["7".into(), "é, \"x\"".into(), "3".into()],
            vec!["12345".into(), "longer name".into(), "200".into()],
        ]
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut() {
        let text = text(&COLUMNS, &rows(), true);
        assert_eq!(
            text,
            "   ID NAME        HOSTS\n    7 é, \"x\"          3\n12345 longer name   200\n"
        );
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let csv = csv(&COLUMNS, &rows(), false);
        assert_eq!(csv, "7,\"é, \"\"x\"\"\",3\n12345,longer name,200\n");
    }
}
