//! `provider list` and `provider show`.

use std::collections::{BTreeMap, BTreeSet};

use engine::ProviderEntry;
use model::ProvisionId;
use model::secret::MASK;
use serde_json::{Map, Value, json};
use template::{Provider, ProviderValue};

use super::pools::Pool;
use super::table::{self, Column};
use super::xml::Element;
use crate::args::FormatArgs;
use crate::error::CliError;

/// The columns of the list.
pub const COLUMNS: [Column; 5] = [
    Column::right("ID", 4).about("Id of its document"),
    Column::left("NAME", 15).about("Its name in templates"),
    Column::left("DRIVER", 8).about("Its driver"),
    Column::right("PROVISIONS", 10).about("Number of provisions that use it"),
    Column::left("DESCRIPTION", 11).about("A text for people"),
];

const VALUES: [Column; 2] = [Column::left("PARAMETER", 15), Column::left("VALUE", 5)];

/// The list of providers.
pub fn list(entries: &[ProviderEntry], users: &BTreeMap<i32, BTreeSet<ProvisionId>>) -> Pool {
    let row = |entry: &ProviderEntry| {
        vec![
            entry.id.to_string(),
            entry.name.clone(),
            entry.driver.clone(),
            users.get(&entry.id.0).map_or(0, BTreeSet::len).to_string(),
            entry.description.clone(),
        ]
    };
    Pool {
        root: "PROVIDER_POOL",
        element: "PROVIDER",
        columns: &COLUMNS,
        rows: entries.iter().map(row).collect(),
    }
}

/// A value as it may be seen.
fn shown(value: &ProviderValue) -> String {
    match value {
        ProviderValue::Text(text) => text.clone(),
        ProviderValue::Secret(_) => MASK.to_owned(),
        ProviderValue::Reference(reference) => format!("in {reference}"),
    }
}

/// One provider, secrets masked.
pub fn show(
    provider: &Provider,
    users: &BTreeSet<ProvisionId>,
    format: FormatArgs,
) -> Result<String, CliError> {
    let users: Vec<String> = users.iter().map(ToString::to_string).collect();
    let values: Vec<(String, String)> = provider
        .values
        .iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), shown(value)))
        .collect();
    if format.xml {
        let parameter = |(name, value): &(String, String)| {
            let name = Element::text("NAME", name);
            Element::Parent("PARAMETER", vec![name, Element::text("VALUE", value)])
        };
        let users = users.iter().map(|id| Element::text("ID", id)).collect();
        let children = vec![
            Element::text("ID", provider.id),
            Element::text("NAME", &provider.name),
            Element::text("DRIVER", &provider.driver),
            Element::text("DESCRIPTION", &provider.description),
            Element::Parent("PARAMETERS", values.iter().map(parameter).collect()),
            Element::Parent("PROVISIONS", users),
        ];
        return Ok(Element::Parent("PROVIDER", children).render());
    }
    if format.json || format.yaml {
        let parameters: Map<String, Value> =
            values.into_iter().map(|(name, value)| (name, value.into())).collect();
        let value = json!({ "PROVIDER": {
            "ID": provider.id,
            "NAME": provider.name,
            "DRIVER": provider.driver,
            "DESCRIPTION": provider.description,
            "PARAMETERS": parameters,
            "PROVISIONS": users,
        }});
        return if format.json { Ok(super::json(&value)) } else { super::yaml(&value) };
    }
    let mut text = format!(
        "PROVIDER {} INFORMATION\nID          : {}\nNAME        : {}\nDRIVER      : {}\nDESCRIPTION : {}\n\n",
        provider.name, provider.id, provider.name, provider.driver, provider.description
    );
    let rows: Vec<Vec<String>> = values.into_iter().map(|(a, b)| vec![a, b]).collect();
    if !rows.is_empty() {
        text += &table::plain(&VALUES, &rows);
        text.push('\n');
    }
    text += "PROVISIONS\n";
    for id in users {
        text += &format!("{id}\n");
    }
    Ok(text)
}
