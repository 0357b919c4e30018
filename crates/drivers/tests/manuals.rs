//! The manual of each driver has the parameters that the driver has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use drivers::{BUILTIN, BuiltinSettings, builtin};
use model::Parameter;

/// The parameters as a table of Markdown.
fn table(parameters: &[Parameter]) -> String {
    let mut text =
        String::from("| parameter | value | needed | meaning |\n| --- | --- | --- | --- |\n");
    for parameter in parameters {
        let mut names = format!("`{}`", parameter.name.to_lowercase());
        for alias in &parameter.aliases {
            names += &format!(", `{}`", alias.to_lowercase());
        }
        let mut kind = match parameter.secret {
            true => "secret".to_owned(),
            false => parameter.kind.to_string(),
        };
        if !parameter.allowed.is_empty() {
            kind = parameter.allowed.join(", ");
        }
        let mut meaning = parameter.text.clone();
        if let Some(default) = &parameter.default {
            meaning += &format!("; default: {default}");
        }
        let needed = if parameter.required { "yes" } else { "" };
        text += &format!("| {names} | {kind} | {needed} | {meaning} |\n");
    }
    text
}

#[test]
fn every_parameter_is_in_the_manual() {
    let state = tempfile::tempdir().unwrap();
    let settings = BuiltinSettings { state_dir: state.path().to_owned() };
    let manuals = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/drivers");
    for name in BUILTIN {
        let Some(parameters) = builtin(name, &settings).unwrap().describe().parameters else {
            continue;
        };
        let path = manuals.join(format!("{name}.md"));
        let Ok(manual) = std::fs::read_to_string(&path) else { continue };
        let table = table(&parameters);
        assert!(manual.contains(&table), "{} should have this table:\n{table}", path.display());
    }
}
