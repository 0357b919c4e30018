//! `driver list` and `driver show`.

use driver::api::{Action, Description};
use model::Parameter;
use serde_json::{Value, json};

use super::pools::Pool;
use super::table::{self, Column};
use super::xml::Element;
use crate::args::FormatArgs;
use crate::error::CliError;

/// The columns of the list.
pub const COLUMNS: [Column; 6] = [
    Column::left("NAME", 10).about("Its name in templates"),
    Column::left("FROM", 8).about("Its folder, or that it is built in"),
    Column::left("CONFIGURABLE", 12).about("Whether its machines are configured over SSH"),
    Column::right("PARAMETERS", 10).about("Number of its parameters, if it tells them"),
    Column::left("ACTIONS", 7).about("What it can do"),
    Column::left("SUMMARY", 7).about("What it is for"),
];

const PARAMETERS: [Column; 6] = [
    Column::left("PARAMETER", 10),
    Column::left("TYPE", 6),
    Column::left("NEEDED", 6),
    Column::left("SECRET", 6),
    Column::left("DEFAULT", 7),
    Column::left("DESCRIPTION", 0),
];

/// The list of drivers.
pub fn list(rows: Vec<Vec<String>>) -> Pool {
    Pool { root: "DRIVER_POOL", element: "DRIVER", columns: &COLUMNS, rows }
}

/// A driver in it. The number of parameters is `-` if the driver does not say.
pub fn row(name: &str, description: &Description, actions: &[Action]) -> Vec<String> {
    let parameters = description.parameters.as_ref();
    vec![
        name.to_owned(),
        place(description),
        yes_or_no(description.configurable),
        parameters.map_or_else(|| "-".to_owned(), |all| all.len().to_string()),
        words(actions),
        description.summary.clone(),
    ]
}

/// A folder that is no driver.
pub fn unusable(name: &str) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![name.to_owned(), dash(), dash(), dash(), dash(), "cannot be used".to_owned()]
}

/// One driver.
pub fn show(
    name: &str,
    description: &Description,
    actions: &[Action],
    format: FormatArgs,
) -> Result<String, CliError> {
    if format.xml {
        return Ok(element(name, description, actions).render());
    }
    if format.json || format.yaml {
        let value = json!({ "DRIVER": value(name, description, actions) });
        return if format.json { Ok(super::json(&value)) } else { super::yaml(&value) };
    }
    let mut text = format!(
        "DRIVER {name} INFORMATION\nFROM         : {}\nSUMMARY      : {}\nCONFIGURABLE : {}\nACTIONS      : {}\n\n",
        place(description),
        description.summary,
        yes_or_no(description.configurable),
        words(actions),
    );
    match &description.parameters {
        None => text += "It does not say what it takes: any parameter is passed on to it.\n",
        Some(parameters) => {
            let rows: Vec<Vec<String>> = parameters.iter().map(parameter_row).collect();
            text += &table::plain(&PARAMETERS, &rows);
        }
    }
    Ok(text)
}

fn parameter_row(parameter: &Parameter) -> Vec<String> {
    let mut about = parameter.text.clone();
    if !parameter.allowed.is_empty() {
        about += &format!(" ({})", parameter.allowed.join(", "));
    }
    if !parameter.aliases.is_empty() {
        about += &format!(" (also {})", parameter.aliases.join(", ").to_ascii_lowercase());
    }
    vec![
        parameter.name.to_ascii_lowercase(),
        parameter.kind.to_string(),
        yes_or_no(parameter.required),
        yes_or_no(parameter.secret),
        parameter.default.clone().unwrap_or_else(|| "-".to_owned()),
        about,
    ]
}

fn value(name: &str, description: &Description, actions: &[Action]) -> Value {
    json!({
        "NAME": name,
        "FROM": place(description),
        "SUMMARY": description.summary,
        "CONFIGURABLE": description.configurable,
        "ACTIONS": actions.iter().map(|action| action.as_str()).collect::<Vec<_>>(),
        // As `driver.yaml` has them; null if the driver does not say.
        "PARAMETERS": description.parameters,
    })
}

fn element(name: &str, description: &Description, actions: &[Action]) -> Element {
    let parameter = |parameter: &Parameter| {
        Element::Parent(
            "PARAMETER",
            vec![
                Element::text("NAME", &parameter.name),
                Element::text("TYPE", json!(parameter.kind).as_str().unwrap_or_default()),
                Element::text("REQUIRED", yes_or_no(parameter.required)),
                Element::text("SECRET", yes_or_no(parameter.secret)),
                Element::text("ACCOUNT", yes_or_no(parameter.account)),
                Element::text("DEFAULT", parameter.default.as_deref().unwrap_or_default()),
                Element::text("ALLOWED", parameter.allowed.join(",")),
                Element::text("DESCRIPTION", &parameter.text),
            ],
        )
    };
    let parameters = description.parameters.iter().flatten().map(parameter).collect();
    Element::Parent(
        "DRIVER",
        vec![
            Element::text("NAME", name),
            Element::text("FROM", place(description)),
            Element::text("SUMMARY", &description.summary),
            Element::text("CONFIGURABLE", yes_or_no(description.configurable)),
            Element::text("ACTIONS", words(actions)),
            Element::Parent("PARAMETERS", parameters),
        ],
    )
}

fn place(description: &Description) -> String {
    let folder = description.location.as_ref().map(|folder| folder.display().to_string());
    folder.unwrap_or_else(|| "built in".to_owned())
}

fn words(actions: &[Action]) -> String {
    actions.iter().map(|action| action.as_str()).collect::<Vec<_>>().join(",")
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}
