//! `plan`, `update`, `export`, `host add`

use std::sync::Arc;

use engine::Engine;
use engine::plan::Plan;
use engine::update::UpdateRequest;
use journal::{Journal as _, SqliteJournal};
use model::ProvisionId;
use sha2::{Digest, Sha256};
use template::spec::{HostSpec, Spec};

use super::create::{Prepared, prepare, public_key};
use super::operation::{Wanted, after_error, ask, conclude, narrate, progress, stop_on_signals};
use super::{print, provision_named};
use crate::args::{ExportArgs, Global, HostAddArgs, PlanArgs, UpdateArgs};
use crate::context::{Context, Folders, absolute};
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::progress::Progress;
use crate::views::plan;

/// `plan`
pub async fn plan(global: &Global, args: &PlanArgs) -> Result<Exit, CliError> {
    let id = match args.provision.as_deref() {
        Some(text) => Some(provision_named(global, text).await?),
        None => None,
    };
    let provider = provider_of(global, id, args.provider.as_deref()).await?;
    let prepared = prepare(&args.template, &args.inputs, provider.as_deref(), global).await?;
    let Some(prepared) = prepared else { return Ok(Exit::Error) };
    let context = Context::open(global, None, Arc::new(progress(&args.log)) as _).await?;
    let engine = &context.engine;
    context.tell_interrupted(id).await?;
    for host in &prepared.spec.hosts {
        engine.drivers.find(&host.driver).map_err(engine::EngineError::Driver)?;
    }
    let found = engine.plan(id, &prepared.spec).await?;
    print(&plan::render(&found, args.json, args.yaml)?)?;
    match found.refused.is_empty() {
        true if found.is_empty() => Ok(Exit::Done),
        true => Ok(Exit::ToDo),
        false => Err(CliError::new("this cannot be done").hint(found.refused.join("\n"))),
    }
}

/// `update`
pub async fn update(global: &Global, args: &UpdateArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let provider = provider_of(global, Some(id), args.provider.as_deref()).await?;
    let prepared = prepare(&args.template, &args.inputs, provider.as_deref(), global).await?;
    let Some(prepared) = prepared else { return Ok(Exit::Error) };
    let template = absolute(&args.template)?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Refused)?;
    let mut context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    keep_legacy_args(&mut context, id, args.driver.legacy_args).await?;
    let mut engine = Engine { failover, ..context.engine.clone() };
    args.config.apply(&mut engine.settings);
    let Prepared { spec, digest, public_keys } = prepared;
    let (replace, cleanup) = (args.replace, args.cleanup.seconds());
    let request = UpdateRequest { id, spec, template, digest, public_keys, replace, cleanup };
    run_update(global, &engine, &progress, request).await
}

/// The named provider that was chosen for a provision: now, or when it was created.
async fn provider_of(
    global: &Global,
    id: Option<ProvisionId>,
    given: Option<&str>,
) -> Result<Option<String>, CliError> {
    let journal = Folders::of(global)?.journal();
    let Some(id) = id.filter(|_| given.is_none() && journal.exists()) else {
        return Ok(given.map(str::to_owned));
    };
    let journal = SqliteJournal::open(&journal).map_err(engine::EngineError::from)?;
    let record = journal.record(id).await.map_err(engine::EngineError::from)?;
    Ok(record.and_then(|record| record.create?.options.provider))
}

/// Shows what is going to be done, asks, and does it.
async fn run_update(
    global: &Global,
    engine: &Engine,
    progress: &Progress,
    request: UpdateRequest,
) -> Result<Exit, CliError> {
    let id = request.id;
    let found = engine.plan(Some(id), &request.spec).await?;
    narrate(plan::text(&found).trim_end());
    if found.is_empty() {
        return Ok(Exit::Done);
    }
    if found.destroyed() > 0 && !ask(global, &question(&found))? {
        return Err(CliError::new("nothing was changed").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    print(&format!("ID: {id}\n"))?;
    let report = engine.update(request).await;
    progress.finish();
    match report {
        Ok(report) => {
            let exit = conclude(&report, Wanted::Present);
            if exit != Exit::Done {
                narrate("The same update again plans what is left of it.");
            }
            Ok(exit)
        }
        Err(error) => Err(after_error(engine, error, id, Wanted::Present).await),
    }
}

fn question(plan: &Plan) -> String {
    match plan.destroyed() {
        1 => "Destroy 1 machine, and do all of this?".to_owned(),
        n => format!("Destroy {n} machines, and do all of this?"),
    }
}

/// The options of the create hold.
async fn keep_legacy_args(
    context: &mut Context,
    id: ProvisionId,
    given: bool,
) -> Result<(), CliError> {
    let record = context.engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    let kept = record.and_then(|record| record.create).is_some_and(|c| c.options.legacy_args);
    context.set_legacy_args(kept || given);
    Ok(())
}

/// `export`
pub async fn export(global: &Global, args: &ExportArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let context = Context::open(global, None, Arc::new(engine::observe::Silent) as _).await?;
    let spec = context.engine.export(id).await?;
    let exported = template::export(&spec);
    for (name, keys) in &exported.variables {
        let keys: Vec<String> = keys.iter().map(|key| key.to_ascii_lowercase()).collect();
        narrate(&format!("{} is taken from the environment variable {name}.", keys.join(", ")));
    }
    for name in &exported.to_fill_in {
        narrate(&format!("{name}: a secret is left out; put it where **** stands."));
    }
    print(&exported.yaml)
}

/// `host add`
pub async fn add_hosts(global: &Global, args: &HostAddArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Refused)?;
    let mut context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    keep_legacy_args(&mut context, id, args.driver.legacy_args).await?;
    let mut engine = Engine { failover, ..context.engine.clone() };
    args.config.apply(&mut engine.settings);
    let mut spec = engine.export(id).await?;
    let new = new_hosts(&spec, args)?;
    spec.hosts.extend(new);
    let public_keys = spec.hosts.iter().map(public_key).collect::<Result<_, _>>()?;
    let record = engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    let template = record.and_then(|record| record.create).map(|create| create.template);
    // No file says what the provision is from now on: a resume takes it from the journal.
    let (template, digest) = (template.unwrap_or_default(), digest_of(&spec)?);
    let (replace, cleanup) = (false, None);
    let request = UpdateRequest { id, spec, template, digest, public_keys, replace, cleanup };
    run_update(global, &engine, &progress, request).await
}

/// Names a template that no file has.
fn digest_of(spec: &Spec) -> Result<String, CliError> {
    let text = serde_json::to_vec(spec)
        .map_err(|e| CliError::caused("the template cannot be written down", e))?;
    Ok(super::create::hex(Sha256::digest(text)))
}

/// Hosts like the last one of the template, under names of their own.
fn new_hosts(spec: &Spec, args: &HostAddArgs) -> Result<Vec<HostSpec>, CliError> {
    let like = spec
        .hosts
        .iter()
        .rev()
        .find(|host| args.like.as_deref().is_none_or(|name| host.hostname == name));
    let like = like.ok_or_else(|| match &args.like {
        Some(name) => CliError::new(format!("there is no host {name:?} in this provision")),
        None => CliError::new("this provision has no host that a new one could be like")
            .hint("add one to the template; `oneprovision update` makes it"),
    })?;
    let taken = |name: &str| spec.hosts.iter().any(|host| host.hostname == name);
    let names = match args.hostnames.is_empty() {
        false => args.hostnames.clone(),
        true => next_names(&like.hostname, usize::from(args.amount), taken),
    };
    if let Some(name) = names.iter().enumerate().find_map(|(n, name)| {
        (taken(name) || names.iter().take(n).any(|before| before == name)).then_some(name)
    }) {
        return Err(CliError::new(format!("there is a host {name:?} already")));
    }
    let mut parameters = Vec::new();
    for pair in args.host_params.iter().flat_map(|pairs| pairs.split(',')) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            CliError::new(format!("{pair:?} is no parameter")).hint("give them as NAME=VALUE,…")
        })?;
        parameters.push((key.trim().to_ascii_uppercase(), value.to_owned()));
    }
    let hosts = names.into_iter().map(|name| {
        let mut host = like.clone();
        for (key, value) in &parameters {
            match model::is_secret(key, value) {
                true => host.provision.set(key.as_str(), model::Secret::new(value.as_str())),
                false => host.provision.set(key.as_str(), value.as_str()),
            }
        }
        host.provision.set("HOSTNAME", name.as_str());
        host.hostname = name;
        host
    });
    Ok(hosts.collect())
}

/// Names that go on where a name's number ends: `node-7`, `node-8`, …
fn next_names(like: &str, amount: usize, taken: impl Fn(&str) -> bool) -> Vec<String> {
    let stem = like.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = like.get(stem.len()..).and_then(|digits| digits.parse::<u32>().ok());
    let (stem, first) = match number {
        Some(number) => (stem.to_owned(), number),
        None => (format!("{like}-"), 0),
    };
    let names = (first..u32::MAX).skip(1).map(|number| format!("{stem}{number}"));
    names.filter(|name| !taken(name)).take(amount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_names_go_on_with_the_numbers() {
        let taken = |name: &str| name == "node-9";
        assert_eq!(next_names("node-7", 3, taken), ["node-8", "node-10", "node-11"]);
        assert_eq!(next_names("edge", 2, taken), ["edge-1", "edge-2"]);
        assert_eq!(next_names("node-007", 1, taken), ["node-8"]);
    }
}
