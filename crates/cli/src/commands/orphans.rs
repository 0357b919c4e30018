//! `orphans`

use std::sync::Arc;
use std::time::Duration;

use driver::deployment::DeploymentFile;
use engine::orphans::{Finding, Orphan, Orphans, OrphansRequest};
use model::Attributes;

use super::operation::{ask, narrate};
use super::print;
use crate::args::{Global, OrphansArgs};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::inputs::{self, Purpose};
use crate::views::pools::Pool;
use crate::views::table::{self, Column, Definitions};

pub async fn run(global: &Global, args: &OrphansArgs) -> Result<Exit, CliError> {
    if args.table.describe {
        return print(&table::describe(&COLUMNS, &Definitions::default()));
    }
    let accounts = match &args.template {
        None => Vec::new(),
        Some(path) => {
            let provider = args.provider.as_deref();
            let loaded = inputs::load(path, &args.inputs, provider, global, Purpose::Ask).await?;
            let Some(spec) = loaded.spec else { return Ok(Exit::Error) };
            spec.hosts.iter().map(account).collect()
        }
    };
    let request = OrphansRequest {
        drivers: args.driver.clone(),
        accounts,
        grace: Duration::from_secs(args.grace.into()),
    };
    let context = Context::open(global, None, Arc::new(engine::observe::Silent)).await?;
    context.tell_interrupted(None).await?;
    let orphans = context.engine.orphans(&request).await?;
    print(&pool(&orphans).render(&args.table)?)?;
    for (driver, why) in &orphans.unlisted {
        narrate(&format!("driver {driver} cannot be asked: {why}"));
    }
    if orphans.asked == 0 && orphans.unlisted.is_empty() {
        narrate(
            "No driver was asked, since no host in OpenNebula has one: --driver names drivers, --template \
             has their accounts.",
        );
    }
    let number = |finding| orphans.found.iter().filter(|o| o.finding == finding).count();
    narrate(&format!(
        "{} listed by the providers, {} that nobody accounts for.",
        orphans.listed,
        number(Finding::Orphan)
    ));
    if let foreign @ 1.. = number(Finding::Foreign) {
        narrate(&format!(
            "{foreign} that may be another coordinator's, or in use: their provision is not known here, or their \
             host is, and is not known to be without a machine. --delete takes them only if they are named."
        ));
    }
    let doomed = match (&args.delete, orphans.damaged.first()) {
        (None, _) => Vec::new(),
        (Some(_), Some(id)) => {
            return Err(CliError::new(format!(
                "nothing is destroyed as long as it is not known what provision {id} has"
            ))
            .code(Code::Journal)
            .hint(crate::error::damaged_hint(id)));
        }
        (Some(named), None) => doomed(&orphans, named)?,
    };
    if !doomed.is_empty() {
        let question = match doomed.as_slice() {
            [one] => format!("Destroy machine {} of driver {}?", one.id, one.driver),
            all => format!("Destroy these {} machines?", all.len()),
        };
        if !ask(global, &question)? {
            return Err(CliError::new("nothing was destroyed").code(Code::Confirmation));
        }
        return destroy(&context, &doomed).await;
    }
    // What could not be looked into may hide an orphan.
    let all = orphans.unlisted.is_empty() && orphans.damaged.is_empty();
    Ok(if all { Exit::Done } else { Exit::Parked })
}

/// What is to be destroyed: what is named, or all orphans that are certainly ours.
fn doomed<'a>(orphans: &'a Orphans, named: &[String]) -> Result<Vec<&'a Orphan>, CliError> {
    if named.is_empty() {
        return Ok(orphans.found.iter().filter(|o| o.finding == Finding::Orphan).collect());
    }
    let mut doomed = Vec::new();
    for id in named {
        let of_that_id = || orphans.found.iter().filter(|orphan| orphan.id.as_str() == id);
        let may = |o: &&Orphan| matches!(o.finding, Finding::Orphan | Finding::Foreign);
        match of_that_id().filter(may).collect::<Vec<_>>().as_slice() {
            [one] => doomed.push(*one),
            [] => {
                let why = match of_that_id().next().map(|orphan| orphan.finding) {
                    Some(Finding::Young) => "it is younger than --grace",
                    Some(_) => "a host has it, and the provider does not list it",
                    None => "it is not among those that nobody accounts for",
                };
                return Err(CliError::new(format!("machine {id} is not destroyed: {why}"))
                    .code(Code::Refused)
                    .hint("`oneprovision orphans` shows what may be"));
            }
            _ => {
                return Err(CliError::new(format!("several drivers have a machine {id}"))
                    .code(Code::Refused)
                    .hint("--driver says of which one"));
            }
        }
    }
    Ok(doomed)
}

async fn destroy(context: &Context, doomed: &[&Orphan]) -> Result<Exit, CliError> {
    let mut exit = Exit::Done;
    for orphan in doomed {
        match context.engine.cancel_orphan(orphan).await {
            Ok(()) => narrate(&format!("machine {} of driver {}: gone", orphan.id, orphan.driver)),
            Err(error) => {
                narrate(&format!("ERROR: {error}"));
                exit = Exit::Error;
            }
        }
    }
    Ok(exit)
}

/// The account that a host of a template uses.
fn account(host: &template::HostSpec) -> DeploymentFile {
    let mut template = Attributes::new();
    template.push("PROVISION", host.provision.clone());
    DeploymentFile { pm_mad: host.driver.clone(), template, ..DeploymentFile::default() }
}

const COLUMNS: [Column; 6] = [
Column::left("DRIVER", 8).about("Provision driver"),
Column::left("MACHINE", 22).about("Id of the machine at the provider"),
Column::left("PROVISION", 36).about("Provision of its mark"),
Column::left("HOST", 15).about("Name of its mark"),
Column::right("AGE", 6).about("Its age"),
Column::left("FOUND", 7).about("orphan: nobody accounts for it; young: within --grace; missing: the provider does not list it"),
];

fn pool(orphans: &Orphans) -> Pool {
    let rows = orphans.found.iter().map(|orphan| {
        let dash = || "-".to_owned();
        vec![
            orphan.driver.clone(),
            orphan.id.to_string(),
            orphan.provision.map_or_else(dash, |id| id.to_string()),
            orphan.name.clone().unwrap_or_else(dash),
            orphan.age.map_or_else(dash, age),
            match orphan.finding {
                Finding::Orphan => "orphan",
                Finding::Foreign => "foreign",
                Finding::Young => "young",
                Finding::Missing => "missing",
            }
            .to_owned(),
        ]
    });
    Pool { root: "ORPHAN_POOL", element: "ORPHAN", columns: &COLUMNS, rows: rows.collect() }
}

/// An age in the unit that fits: `45s`, `12m`, `3h`, `9d`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
