//! One file per command. Each turns arguments into an operation and its result into a view.

use std::io::{ErrorKind, Write};

use ::journal::{Power, VirtualKind};
use engine::ObjectKind;

use crate::args::{
    Cli, Command, DriverCommand, Global, HostCommand, ImageCommand, JournalCommand, PoolCommand,
    ProviderCommand, SandboxCommand,
};
use crate::context::Folders;
use crate::error::{CliError, Code};
use crate::exit::Exit;

mod change;
mod configure;
mod create;
mod delete;
mod delete_objects;
mod doctor;
pub mod driver;
mod driver_new;
mod driver_test;
mod image;
mod journal;
mod list;
mod man;
mod operation;
mod orphans;
mod pools;
mod power;
mod provider;
mod resolve;
mod sandbox;
mod show;
mod ssh;
mod validate;
mod watch;

pub use operation::narrate;

/// Runs a command.
pub async fn run(cli: Cli) -> Result<Exit, CliError> {
    let global = &cli.global;
    let log = match &cli.command {
        Command::Create(args) => Some(&args.log),
        Command::Delete(args) => Some(&args.log),
        Command::Resume(args) => Some(&args.log),
        Command::Configure(args) => Some(&args.how.log),
        Command::Host(HostCommand::Configure(args)) => Some(&args.how.log),
        Command::Plan(args) => Some(&args.log),
        Command::Update(args) => Some(&args.log),
        Command::Host(HostCommand::Add(args)) => Some(&args.log),
        Command::Host(HostCommand::Delete(args)) => Some(&args.log),
        Command::Host(HostCommand::Resume(args)) => Some(&args.log),
        Command::Host(HostCommand::Poweroff(args)) => Some(&args.power.log),
        Command::Host(HostCommand::Reboot(args)) => Some(&args.power.log),
        Command::Cluster(PoolCommand::Delete(args))
        | Command::Datastore(PoolCommand::Delete(args))
        | Command::Vnet(PoolCommand::Delete(args))
        | Command::Image(ImageCommand::Delete(args))
        | Command::Template(PoolCommand::Delete(args))
        | Command::Vntemplate(PoolCommand::Delete(args))
        | Command::Flowtemplate(PoolCommand::Delete(args)) => Some(&args.log),
        _ => None,
    };
    crate::log::start(log);
    if log.is_some_and(|log| log.events) {
        crate::events::start();
    }
    match cli.command {
        Command::Create(args) => create::run(global, &args).await,
        Command::Validate(args) => validate::run(global, &args).await,
        Command::Schema(args) if args.events => print(crate::events::SCHEMA),
        Command::Schema(_) => schema(global),
        Command::Plan(args) => change::plan(global, &args).await,
        Command::Update(args) => change::update(global, &args).await,
        Command::Export(args) => change::export(global, &args).await,
        Command::List(args) => list::run(global, &args).await,
        Command::Show(args) => show::run(global, &args).await,
        Command::Resume(args) => create::resume(global, &args).await,
        Command::Configure(args) => configure::run(global, &args).await,
        Command::Delete(args) => delete::run(global, &args).await,
        Command::Host(HostCommand::List(args)) => pools::run(global, &args, &pools::HOSTS).await,
        Command::Host(HostCommand::Resume(args)) => {
            power::run(global, &args, Power::On, false).await
        }
        Command::Host(HostCommand::Poweroff(args)) => {
            power::run(global, &args.power, Power::Off, args.force).await
        }
        Command::Host(HostCommand::Reboot(args)) => {
            let power = if args.hard { Power::Reset } else { Power::Reboot };
            power::run(global, &args.power, power, args.force).await
        }
        Command::Host(HostCommand::Top(args)) => pools::top(global, &args, &pools::HOSTS).await,
        Command::Host(HostCommand::Configure(args)) => configure::run_hosts(global, &args).await,
        Command::Host(HostCommand::Ssh(args)) => ssh::run(global, &args).await,
        Command::Host(HostCommand::Add(args)) => change::add_hosts(global, &args).await,
        Command::Host(HostCommand::Delete(args)) => delete::run_hosts(global, &args).await,
        Command::Host(HostCommand::Resolve(args)) => resolve::run(global, &args).await,
        Command::Cluster(command) => {
            pool(global, &command, &pools::CLUSTERS, ObjectKind::Cluster).await
        }
        Command::Datastore(command) => {
            pool(global, &command, &pools::DATASTORES, ObjectKind::Datastore).await
        }
        Command::Vnet(command) => pool(global, &command, &pools::VNETS, ObjectKind::Network).await,
        Command::Image(ImageCommand::List(args)) => pools::run(global, &args, &pools::IMAGES).await,
        Command::Image(ImageCommand::Delete(args)) => {
            delete_objects::run(global, &args, ObjectKind::Virtual(VirtualKind::Image)).await
        }
        Command::Template(command) => {
            let kind = ObjectKind::Virtual(VirtualKind::Template);
            pool(global, &command, &pools::TEMPLATES, kind).await
        }
        Command::Vntemplate(command) => {
            let kind = ObjectKind::Virtual(VirtualKind::Vntemplate);
            pool(global, &command, &pools::VNTEMPLATES, kind).await
        }
        Command::Flowtemplate(command) => {
            let kind = ObjectKind::Virtual(VirtualKind::Flowtemplate);
            pool(global, &command, &pools::FLOWTEMPLATES, kind).await
        }
        Command::Provider(ProviderCommand::Create(args)) => provider::create(global, &args).await,
        Command::Provider(ProviderCommand::List(args)) => provider::list(global, &args).await,
        Command::Provider(ProviderCommand::Show(args)) => provider::show(global, &args).await,
        Command::Provider(ProviderCommand::Update(args)) => provider::update(global, &args).await,
        Command::Provider(ProviderCommand::Delete(args)) => provider::delete(global, &args).await,
        Command::Driver(DriverCommand::List(args)) => driver::list(global, &args),
        Command::Driver(DriverCommand::Show(args)) => driver::show(global, &args),
        Command::Driver(DriverCommand::Test(args)) => driver_test::run(global, &args).await,
        Command::Driver(DriverCommand::New(args)) => driver_new::run(&args),
        Command::Driver(DriverCommand::Install(args)) => driver::install(&args),
        Command::Image(ImageCommand::Build(args)) => image::build(global, &args).await,
        Command::Orphans(args) => orphans::run(global, &args).await,
        Command::Journal(JournalCommand::Show(args)) => journal::show(global, &args).await,
        Command::Journal(JournalCommand::Export) => journal::export(global).await,
        Command::Journal(JournalCommand::Verify) => journal::verify(global).await,
        Command::Journal(JournalCommand::SetAside(args)) => journal::set_aside(global, &args).await,
        Command::Completions(args) => crate::completions::script(&args.shell),
        Command::Man(args) => man::run(args.dir.as_deref()),
        Command::Explain(args) => explain(args.code.as_deref()),
        Command::Doctor => doctor::run(global).await,
        Command::Sandbox(SandboxCommand::Serve(args)) => sandbox::serve(global, &args).await,
    }
}

/// Commands on the objects of one kind.
async fn pool(
    global: &Global,
    command: &PoolCommand,
    listed: &pools::Kind,
    kind: ObjectKind,
) -> Result<Exit, CliError> {
    match command {
        PoolCommand::List(args) => pools::run(global, args, listed).await,
        PoolCommand::Delete(args) => delete_objects::run(global, args, kind).await,
    }
}

/// Writes data to standard output. A reader that has seen enough is no error.
pub fn print(text: &str) -> Result<Exit, CliError> {
    print_on(text).map(|_| Exit::Done)
}

/// The same, and whether there is still a reader.
fn print_on(text: &str) -> Result<bool, CliError> {
    if crate::events::active() {
        // The stream of events has standard output for itself.
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Ok(true);
    }
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::caused("standard output cannot be written", error)),
    }
}

/// `schema`
fn schema(global: &Global) -> Result<Exit, CliError> {
    let settings = drivers::BuiltinSettings { state_dir: Folders::of(global)?.state };
    let known: Vec<_> = drivers::BUILTIN
        .into_iter()
        .filter_map(|name| {
            let driver = drivers::builtin(name, &settings)?;
            Some((name, driver.describe().parameters?))
        })
        .collect();
    let known = known.iter().map(|(name, parameters)| (*name, parameters.as_slice()));
    print(&format!("{:#}\n", template::schema_with(known)))
}

/// `explain`
fn explain(code: Option<&str>) -> Result<Exit, CliError> {
    let Some(code) = code else { return print(&(crate::error::codes().join("\n") + "\n")) };
    let page = crate::error::page(code).ok_or_else(|| {
        CliError::new(format!("there is no code '{code}'"))
            .hint("`oneprovision explain` lists all of them")
    })?;
    print(&page)
}

/// The provision that an argument names: by its id, or by its name, which the front-end is asked for.
///
/// # Errors
/// If none or several have that name.
pub async fn provision_named(global: &Global, text: &str) -> Result<model::ProvisionId, CliError> {
    let wanted = text.trim();
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let silent = std::sync::Arc::new(engine::observe::Silent);
    let context = crate::context::Context::open(global, None, silent).await?;
    let overviews = context.engine.overviews().await?;
    let named: Vec<_> =
        overviews.iter().filter(|o| !wanted.is_empty() && o.name == wanted).collect();
    match named.as_slice() {
        [one] => Ok(one.id),
        [] => Err(CliError::new(format!("there is no provision {text:?}"))
            .code(Code::NotFound)
            .hint("`oneprovision list` shows ids and names")),
        several => {
            let ids: Vec<String> = several.iter().map(|overview| overview.id.to_string()).collect();
            Err(CliError::new(format!("several provisions are named {text:?}: {}", ids.join(", ")))
                .hint("name it by its id"))
        }
    }
}

/// The provision id of an argument, where no front-end is asked.
pub fn provision_id(text: &str) -> Result<model::ProvisionId, CliError> {
    text.trim().parse().map_err(|_| {
        CliError::new(format!("{text:?} is not the id of a provision"))
            .hint("`oneprovision list` shows the ids")
    })
}
