//! `driver test`

use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::api::{Description, Driver as _};
use driver::conformance::{self, Check, Observer, Settings, Subject, Verdict};
use driver::executable::{DriverFolder, ExecutableDriver};
use engine::{DriverSource as _, Stop};
use model::{Attributes, DeployId, ProvisionId, Secret, Value};
use tokio::sync::watch;

use super::operation::{confirmed, count, narrate, stop_on_signals};
use super::print;
use crate::args::{DriverTestArgs, Global};
use crate::context::Folders;
use crate::driver_source::Drivers;
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::inputs::{self, Purpose};
use crate::views::conformance::{self as view, Examined};

pub async fn run(global: &Global, args: &DriverTestArgs) -> Result<Exit, CliError> {
    let folders = Folders::of(global)?;
    folders.make_state()?;
    let drivers = Drivers::new(&folders, None, false);
    let found = find(&drivers, args, &folders)?;
    let settings = settings(global, args, &found).await?;
    announce(&found, &settings);
    if !agreed(global)? {
        return Err(CliError::new("no machine was made").code(Code::Confirmation));
    }
    let stop = Stop::new();
    stop_on_signals(&stop)?;
    let (raise, raised) = watch::channel(false);
    let waiting = stop.clone();
    let waits = tokio::spawn(async move {
        waiting.wait().await;
        raise.send_replace(true);
        // The other end looks at it as long as it lives.
        raise.closed().await;
    });
    let mut reports = Vec::new();
    for (way, subject) in &found.subjects {
        if stop.requested() {
            break;
        }
        let settings =
            Settings { provision: ProvisionId(uuid::Uuid::new_v4()), ..settings.clone() };
        narrate(&format!("Driver {} {way}:", found.name));
        let report = conformance::examine(subject, &settings, &Narrator, raised.clone()).await;
        reports.push(Examined { way, report });
    }
    waits.abort();
    print(&view::render(&found.name, &reports, args.format)?)?;
    Ok(conclude(&found.name, &reports))
}

/// What is examined, in which ways.
struct Found {
    name: String,
    description: Description,
    subjects: Vec<(&'static str, Subject)>,
    /// Links to this program that are made for the test.
    _links: Option<Links>,
}

/// A folder that goes with the command.
struct Links(PathBuf);

impl Drop for Links {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn find(drivers: &Drivers, args: &DriverTestArgs, folders: &Folders) -> Result<Found, CliError> {
    let name = args.driver.as_str();
    let settings = drivers.executable_settings().clone();
    if let Some(ours) = drivers.built_in(name) {
        let driver = drivers.find(name).map_err(CliError::new)?;
        let links = Links(folders.state.join(format!("driver-test-{}", std::process::id())));
        let program = std::env::current_exe()
            .map_err(|e| CliError::caused("the path of this program is not known", e))?;
        drivers::install(&links.0, &program, ours).map_err(|e| {
            CliError::caused(format!("driver {ours} cannot be installed for the test"), e)
        })?;
        let folder = open(&links.0.join(ours))?;
        return Ok(Found {
            name: ours.to_owned(),
            description: driver.describe(),
            subjects: vec![
                ("as executables", Subject::Executables { folder, settings }),
                ("in the program", Subject::Rust(driver)),
            ],
            _links: Some(links),
        });
    }
    let folder = match name.contains('/') {
        true => open(Path::new(name))?,
        false => drivers.folder(name).map_err(|e| {
            let hint = "`oneprovision driver list` lists the drivers that there are; a path has a '/' in it: ./mycloud";
            CliError::caused(format!("there is no usable driver {name}"), e)
                .code(Code::Driver)
                .hint(hint)
        })?,
    };
    let description = ExecutableDriver::new(folder.clone(), settings.clone()).describe();
    Ok(Found {
        name: folder.name().to_owned(),
        description,
        subjects: vec![("as executables", Subject::Executables { folder, settings })],
        _links: None,
    })
}

fn open(path: &Path) -> Result<DriverFolder, CliError> {
    DriverFolder::open(path).map_err(|e| {
        CliError::caused(format!("{} is no driver", path.display()), e).code(Code::Driver)
    })
}

/// The parameters, from the template and over these from the options; checked against the description.
async fn settings(
    global: &Global,
    args: &DriverTestArgs,
    found: &Found,
) -> Result<Settings, CliError> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let mut settings = Settings {
        deploy: seconds(args.deploy_timeout),
        action: seconds(args.action_timeout),
        settle: seconds(args.settle),
        ..Settings::new(ProvisionId(uuid::Uuid::nil()), &found.name)
    };
    if let Some(path) = &args.template {
        let loaded = inputs::load(path, &args.inputs, None, global, Purpose::Ask).await?;
        let Some(spec) = loaded.spec else {
            return Err(
                CliError::new(format!("{} cannot be used", path.display())).code(Code::Template)
            );
        };
        let ours = |name: &str| {
            name == args.driver || name.strip_prefix("builtin:").unwrap_or(name) == found.name
        };
        let host = spec.hosts.iter().find(|host| ours(&host.driver)).ok_or_else(|| {
            CliError::new(format!("{} has no host with driver {}", path.display(), found.name))
                .code(Code::Template)
        })?;
        settings.parameters = host.provision.clone();
        // Every machine gets a name of its own.
        settings.parameters.remove("HOSTNAME");
        settings.template = host.attributes.clone();
        settings.template.set("PROVISION_CONNECTION", host.connection.resolved());
    }
    for text in &args.param {
        let pair = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
        let Some((name, value)) = pair else {
            return Err(CliError::new("--param takes NAME=VALUE"));
        };
        let key = name.trim().to_ascii_uppercase();
        match is_secret(&found.description, &key, value) {
            true => settings.parameters.set(key, Secret::new(value)),
            false => settings.parameters.set(key, value),
        }
    }
    check(found, &settings.parameters)?;
    Ok(settings)
}

fn is_secret(description: &Description, key: &str, value: &str) -> bool {
    let described =
        description.parameters.iter().flatten().find(|parameter| parameter.is_named(key));
    described.map_or_else(|| model::is_secret(key, value), |parameter| parameter.secret)
}

/// Nothing is bought with parameters of which it is known that they will not do.
fn check(found: &Found, given: &Attributes) -> Result<(), CliError> {
    let mut wrong = Vec::new();
    for parameter in found.description.parameters.iter().flatten() {
        let value = given.iter().find(|(key, _)| parameter.is_named(key)).map(|(_, value)| value);
        let name = parameter.name.to_ascii_lowercase();
        // Each machine gets a name of the kit's.
        let by_kit = parameter.is_named("HOSTNAME");
        match value.map(Value::expose) {
            None if parameter.required && !by_kit => {
                wrong.push(format!("{name} is missing ({})", parameter.text));
            }
            Some(Some(text)) => {
                if let Err(why) = parameter.check(text) {
                    wrong.push(format!("{name} {why}"));
                }
            }
            _ => {}
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(format!(
            "driver {} cannot be tested with these parameters: {}",
            found.name,
            wrong.join("; ")
        ))
        .hint("--param NAME=VALUE gives one, --template FILE takes those of a template's host")),
    }
}

/// What will be bought.
fn announce(found: &Found, settings: &Settings) {
    let machines: usize = found.subjects.iter().map(|(_, subject)| subject.machines().0).sum();
    let at_once = found.subjects.iter().map(|(_, subject)| subject.machines().1).max();
    narrate(&format!(
        "The test of driver {} makes up to {}, {} at the same time, and destroys all of them.",
        found.name,
        count(machines, "machine"),
        at_once.unwrap_or_default()
    ));
    let mut shown = BTreeMap::new();
    for (key, value) in settings.parameters.iter() {
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Vector(_) => "…".to_owned(),
            Value::Secret(_) | Value::Withheld => model::secret::MASK.to_owned(),
        };
        shown.insert(key.to_ascii_lowercase(), text);
    }
    let shown: Vec<String> = shown.iter().map(|(key, text)| format!("{key}={text}")).collect();
    narrate(&match shown.is_empty() {
        true => "It gives no parameters.".to_owned(),
        false => format!("Each with {}.", shown.join(", ")),
    });
}

/// Asks before money is spent; without anybody to ask, `--yes` has to say so.
fn agreed(global: &Global) -> Result<bool, CliError> {
    let nobody = global.batch || !std::io::stdin().is_terminal();
    if nobody && !global.yes {
        return Err(CliError::new(
            "this makes machines that may cost money, and there is nobody to ask",
        )
        .code(Code::Confirmation)
        .hint("--yes answers every question"));
    }
    Ok(confirmed(global, "Make them?"))
}

/// Tells what happens.
struct Narrator;

impl Observer for Narrator {
    fn begun(&self, check: Check) {
        narrate(&format!("  {} …", check.name()));
    }

    fn made(&self, id: &DeployId) {
        narrate(&format!("  machine {id} exists"));
    }

    fn gone(&self, id: &DeployId) {
        narrate(&format!("  machine {id} is gone"));
    }
}

fn conclude(name: &str, reports: &[Examined]) -> Exit {
    let all = |verdict| reports.iter().map(|e| e.report.with(verdict).count()).sum::<usize>();
    let (broken, warnings) = (all(Verdict::Broken), all(Verdict::Warning));
    narrate(&format!(
        "Driver {name}: {} kept, {}, {broken} not kept, {} not tried.",
        count(all(Verdict::Kept), "promise"),
        count(warnings, "warning"),
        all(Verdict::NotTried)
    ));
    let made: usize = reports.iter().map(|examined| examined.report.made).sum();
    let left: Vec<_> = reports.iter().flat_map(|examined| &examined.report.left).collect();
    if left.is_empty() {
        narrate(&format!("{} made, none is left.", count(made, "machine")));
    }
    for left in &left {
        let id =
            left.id.as_ref().map_or_else(|| "without a known id".to_owned(), ToString::to_string);
        narrate(&format!(
            "ERROR: machine {id} may be left: {} (KEY {}, NAME {})",
            left.why, left.key, left.host
        ));
    }
    if !left.is_empty() {
        narrate("Look for it at the provider, by its id or these marks, and destroy it there.");
        return Exit::Parked;
    }
    let stopped = |examined: &Examined| examined.report.stopped;
    if reports.iter().any(stopped) {
        return Exit::Interrupted;
    }
    if broken > 0 { Exit::Error } else { Exit::Done }
}
