//! `plan`, `update`, `export`, `host add`

use std::path::Path;
use std::sync::Arc;

use engine::Engine;
use engine::plan::{Action, Plan};
use engine::update::UpdateRequest;
use journal::{CreateBegun, Journal as _, SqliteJournal};
use model::ProvisionId;
use sha2::{Digest, Sha256};
use template::spec::{HostSpec, Spec};
use template::{DriverCatalog, SourceReader};

use super::create::{Prepared, prepare, public_key};
use super::operation::{Wanted, after_error, ask, conclude, narrate, progress, stop_on_signals};
use super::{print, provision_named};
use crate::args::{ExportArgs, Global, HostAddArgs, PlanArgs, UpdateArgs};
use crate::context::{Context, Folders, absolute};
use crate::driver_source::{Drivers, undescribed};
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
    let shown = None;
    let request =
        UpdateRequest { id, spec, template, digest, public_keys, replace, cleanup, shown };
    run_update(global, &engine, &progress, request, Kind::Update).await
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

/// The commands that are updates.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Update,
    HostAdd,
}

/// Shows what is going to be done, asks, and does just that.
async fn run_update(
    global: &Global,
    engine: &Engine,
    progress: &Progress,
    request: UpdateRequest,
    kind: Kind,
) -> Result<Exit, CliError> {
    let id = request.id;
    let found = engine.plan(Some(id), &request.spec).await?;
    narrate(plan::text(&found).trim_end());
    if found.is_empty() {
        return Ok(Exit::Done);
    }
    if kind == Kind::HostAdd && found.count(Action::Destroy) + found.count(Action::Replace) > 0 {
        return Err(CliError::new("this would destroy something, and `host add` only adds")
            .code(Code::Refused)
            .hint(format!(
                "nothing was done: `oneprovision resume {id}` finishes what was interrupted; if the \
                 provision changed just now, add again"
            )));
    }
    if found.destroyed() > 0 && !ask(global, &question(&found))? {
        return Err(CliError::new("nothing was changed").code(Code::Confirmation));
    }
    stop_on_signals(&engine.stop)?;
    print(&format!("ID: {id}\n"))?;
    let report = engine.update(UpdateRequest { shown: Some(found), ..request }).await;
    progress.finish();
    match report {
        Ok(report) => {
            let exit = conclude(&report, Wanted::Present);
            // The same `host add` again would buy others.
            if exit != Exit::Done && kind == Kind::Update {
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
    let record = engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    if record.as_ref().is_some_and(|record| record.planned.is_some()) {
        return Err(CliError::new(format!("an update of provision {id} is still to be finished"))
            .code(Code::Refused)
            .hint(format!("nothing was done; `oneprovision resume {id}` finishes it")));
    }
    let mut spec = engine.spec_for_more(id).await?;
    let record = engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    let create = record.and_then(|record| record.create);
    refuse_skipped(&engine, id, create.as_ref(), &spec).await?;
    let drivers = Arc::new(Drivers::new(&Folders::of(global)?, None, false));
    let parameters = parameters(&args.host_params)?;
    let new = new_hosts(&spec, args, &parameters, drivers.as_ref())?;
    check_hosts(&spec.hosts, &new, &parameters, drivers)?;
    spec.hosts.extend(new);
    let public_keys = spec.hosts.iter().map(public_key).collect::<Result<_, _>>()?;
    let template = create.map(|create| create.template);
    // No file says what the provision is from now on: a resume takes it from the journal.
    let (template, digest) = (template.unwrap_or_default(), digest_of(&spec)?);
    let (replace, cleanup) = (false, None);
    let shown = None;
    let request =
        UpdateRequest { id, spec, template, digest, public_keys, replace, cleanup, shown };
    run_update(global, &engine, &progress, request, Kind::HostAdd).await
}

/// An update asks for every machine that is not there: also those that nobody wanted yet.
async fn refuse_skipped(
    engine: &Engine,
    id: ProvisionId,
    create: Option<&CreateBegun>,
    spec: &Spec,
) -> Result<(), CliError> {
    if create.is_some_and(|create| !create.options.skip_provision) {
        return Ok(());
    }
    let wanting = match create {
        Some(_) => engine.plan(Some(id), spec).await?.bought(),
        // They may have one, and are bought one if it is not found.
        None => {
            let there = engine.overview(id).await?;
            let hosts = there.iter().flat_map(|overview| &overview.pools.hosts);
            hosts.filter(|host| host.template.text("PROVISION/DEPLOY_ID").is_none()).count()
        }
    };
    let hosts = match wanting {
        0 => return Ok(()),
        1 => "1 host".to_owned(),
        n => format!("{n} hosts"),
    };
    let why = match create {
        Some(_) => "have no machine yet (--skip-provision)",
        None => "have no machine as far as OpenNebula knows",
    };
    Err(CliError::new(format!(
        "nothing was begun: {hosts} of this provision {why}, and would be bought one with the new ones"
    ))
    .hint(format!(
        "`oneprovision update {id} TEMPLATE` asks for all machines of a template, and says first which; \
         `oneprovision host delete` removes hosts that are not to have one"
    )))
}

/// Names a template that no file has.
fn digest_of(spec: &Spec) -> Result<String, CliError> {
    let text = serde_json::to_vec(spec)
        .map_err(|e| CliError::caused("the template cannot be written down", e))?;
    Ok(super::create::hex(Sha256::digest(text)))
}

/// Hosts like the last one of the template, under names of their own.
fn new_hosts(
    spec: &Spec,
    args: &HostAddArgs,
    parameters: &[(String, String)],
    drivers: &dyn DriverCatalog,
) -> Result<Vec<HostSpec>, CliError> {
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
    let described = drivers.parameters(&like.driver).ok().flatten();
    let is_secret = |key: &str, value: &str| {
        let parameter = described.iter().flat_map(|all| all.iter()).find(|p| p.is_named(key));
        parameter.map_or_else(|| model::is_secret(key, value), |parameter| parameter.secret)
    };
    let hosts = names.into_iter().map(|name| {
        let mut host = like.clone();
        for (key, value) in parameters {
            match is_secret(key, value) {
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

/// The parameters in which new hosts differ, by their names in upper case.
fn parameters(given: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in given.iter().flat_map(|pairs| pairs.split(',')) {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            CliError::new(format!("{pair:?} is no parameter")).hint("give them as NAME=VALUE,…")
        })?;
        let key = key.trim().to_ascii_uppercase();
        let shown = key.to_ascii_lowercase();
        if !template::is_parameter(&key) {
            return Err(CliError::new(format!("{shown:?} cannot be given as a parameter")).hint(
                "a new host has the driver of the one that it is like (--like), its name is given with                  --hostnames, and its marks are the tool's own",
            ));
        }
        if parameters.iter().any(|(before, _)| *before == key) {
            return Err(CliError::new(format!("the parameter {shown:?} is given twice")));
        }
        parameters.push((key, value.to_owned()));
    }
    Ok(parameters)
}

/// A template that is in memory.
struct InMemory(String);

impl SourceReader for InMemory {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }
}

/// Checks new hosts as those of a template, beside those that are there. What they have of the host that
/// they are like was checked with it.
fn check_hosts(
    there: &[HostSpec],
    new: &[HostSpec],
    parameters: &[(String, String)],
    drivers: Arc<Drivers>,
) -> Result<(), CliError> {
    let is_reference = |text: &str| text.contains("<%") || text.contains("${");
    let names = new.iter().map(|host| &host.hostname);
    if let Some(text) =
        names.chain(parameters.iter().map(|(_, value)| value)).find(|t| is_reference(t))
    {
        return Err(CliError::new(format!("{text:?} has a reference, which means nothing here"))
            .hint("references stand in templates: `oneprovision update` adds the hosts of one"));
    }
    let host = |host: &HostSpec, given: &[(String, String)]| {
        let mut provision: serde_json::Map<String, serde_json::Value> =
            given.iter().map(|(key, value)| (key.to_lowercase(), value.as_str().into())).collect();
        provision.insert("driver".to_owned(), host.driver.as_str().into());
        provision.insert("hostname".to_owned(), host.hostname.as_str().into());
        // Two machines with one address would be one host.
        if let Some(ip) = host.provision.text("IP").filter(|ip| !is_reference(ip)) {
            provision.insert("ip".to_owned(), ip.into());
        }
        serde_json::json!({ "im_mad": host.im_mad, "vm_mad": "kvm", "provision": provision })
    };
    let there = there.iter().filter(|one| !is_reference(&one.hostname)).map(|one| host(one, &[]));
    let hosts = there.chain(new.iter().map(|one| host(one, parameters)));
    let hosts: Vec<serde_json::Value> = hosts.collect();
    let text = serde_json::json!({ "name": "new", "playbook": [], "hosts": hosts }).to_string();
    let options = template::Options {
        drivers: Some(Arc::clone(&drivers) as _),
        ..template::Options::default()
    };
    let loaded = template::load(Path::new("host add"), &InMemory(text), &options);
    match drivers.problems() {
        problems if problems.is_empty() => {}
        problems => return Err(undescribed(&problems)),
    }
    for found in loaded.diagnostics.into_iter().filter(|found| found.code != "missing-parameter") {
        if found.is_error() {
            let error = CliError::new(found.message);
            return Err(found.help.into_iter().fold(error, CliError::hint));
        }
        let help = found.help.map(|help| format!("; {help}")).unwrap_or_default();
        narrate(&format!("WARNING: {}{help}", found.message));
    }
    Ok(())
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
