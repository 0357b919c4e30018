//! `host list`, `cluster list`, `datastore list`, `vnet list`: the columns of OpenNebula's own
//! tools, with data for programs that is the same in every format.

use serde_json::{Map, Value, json};

use super::table::{Column, Definitions, Table};
use crate::args::TableArgs;
use crate::error::CliError;

/// A list of objects of one kind.
pub struct Pool {
    /// Root of the XML and JSON forms, such as `HOST_POOL`.
    pub root: &'static str,
    /// An object of them, such as `HOST`.
    pub element: &'static str,
    /// The columns.
    pub columns: &'static [Column],
    /// A row per object, a cell per column.
    pub rows: Vec<Vec<String>>,
}

impl Pool {
    /// In the format that was asked for.
    pub fn render(&self, args: &TableArgs) -> Result<String, CliError> {
        let table = Table { columns: self.columns, rows: &self.rows };
        let chosen = table.chosen(args)?;
        let rows = chosen.iter().filter_map(|n| self.rows.get(*n));
        if args.format.xml {
            return Ok(self.xml(rows));
        }
        if args.format.json || args.format.yaml {
            let objects: Vec<Value> = rows.map(|row| self.object(row)).collect();
            let pool = json!({ self.root: { self.element: objects } });
            return if args.format.json { Ok(super::json(&pool)) } else { super::yaml(&pool) };
        }
        table.render(args, &Definitions::none(super::terminal_width()))
    }

    fn object(&self, row: &[String]) -> Value {
        let pairs = self.columns.iter().zip(row).map(|(column, cell)| {
            let value = match column.name {
                "ID" => cell.parse::<i64>().map_or_else(|_| cell.as_str().into(), Value::from),
                _ => cell.as_str().into(),
            };
            (column.name.to_owned(), value)
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    fn xml<'a>(&self, rows: impl Iterator<Item = &'a Vec<String>>) -> String {
        use super::xml::Element;
        let objects = rows.map(|row| {
            let cells = self.columns.iter().zip(row);
            let cells = cells.map(|(column, cell)| Element::text(column.name, cell)).collect();
            Element::Parent(self.element, cells)
        });
        Element::Parent(self.root, objects.collect()).render()
    }
}
