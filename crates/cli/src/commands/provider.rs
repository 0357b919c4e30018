//! `provider create|list|show|update|delete`

use std::path::Path;
use std::sync::Arc;

use driver::api::Description;
use engine::ProviderEntry;
use model::Secret;
use template::{FileReader, Options, Provider, ProviderValue, SecretReference, load_provider};

use super::operation::{confirmed, narrate};
use super::print;
use crate::args::{
    Global, ProviderCreateArgs, ProviderDeleteArgs, ProviderShowArgs, ProviderUpdateArgs, TableArgs,
};
use crate::context::{Context, Folders, absolute};
use crate::driver_source::{Drivers, undescribed};
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::inputs::{ask_secret, tell};
use crate::views::{provider as view, table};

pub async fn create(global: &Global, args: &ProviderCreateArgs) -> Result<Exit, CliError> {
    let drivers = Arc::new(Drivers::new(&Folders::of(global)?, None, false));
    let mut provider = match is_file(&args.provider) {
        true => {
            let read = of_file(Path::new(&args.provider), &drivers)?;
            let Some(read) = read else { return Ok(Exit::Error) };
            if args.driver.as_ref().is_some_and(|driver| *driver != read.driver) {
                return Err(CliError::new(format!(
                    "the file names driver {}, and --driver another one",
                    read.driver
                )));
            }
            if read.name.is_empty() {
                return Err(CliError::new(format!("{} gives no name", args.provider))
                    .hint("add 'name: NAME'")
                    .code(Code::Template));
            }
            read
        }
        false => {
            let Some(driver) = args.driver.clone() else {
                return Err(CliError::new("--driver names the driver of the provider")
                    .hint("`oneprovision driver list` lists those that there are"));
            };
            Provider {
                id: -1,
                name: args.provider.clone(),
                driver,
                description: String::new(),
                values: Vec::new(),
            }
        }
    };
    if let Some(description) = &args.description {
        provider.description.clone_from(description);
    }
    let description = described(&drivers, &provider.driver)?;
    if let Some(problem) = description.problem {
        return Err(undescribed(&[problem]));
    }
    set(&mut provider, &args.parameters, &description, global)?;
    tell_missing(&provider, &description);
    let context = open(global).await?;
    let id = context.engine.create_provider(&provider).await?;
    print(&format!("ID: {id}\n"))
}

pub async fn list(global: &Global, args: &TableArgs) -> Result<Exit, CliError> {
    if args.describe {
        return print(&table::describe(&view::COLUMNS, &table::Definitions::default()));
    }
    let context = open(global).await?;
    let entries = context.engine.providers().await?;
    let users = context.engine.provider_users().await?;
    print(&view::list(&entries, &users).render(args)?)
}

pub async fn show(global: &Global, args: &ProviderShowArgs) -> Result<Exit, CliError> {
    let context = open(global).await?;
    let entry = find(&context, &args.provider).await?;
    let provider = context.engine.provider(entry.id).await?;
    let users = context.engine.provider_users().await?.remove(&provider.id).unwrap_or_default();
    print(&view::show(&provider, &users, args.format)?)
}

pub async fn update(global: &Global, args: &ProviderUpdateArgs) -> Result<Exit, CliError> {
    let context = open(global).await?;
    let entry = find(&context, &args.provider).await?;
    let mut provider = context.engine.provider(entry.id).await?;
    let drivers = Arc::new(Drivers::new(&Folders::of(global)?, None, false));
    if let Some(file) = &args.file {
        let Some(read) = of_file(file, &drivers)? else { return Ok(Exit::Error) };
        if !read.name.is_empty() && read.name != provider.name {
            return Err(CliError::new(format!(
                "the file is of provider {}, not of {}: a name cannot change",
                read.name, provider.name
            )));
        }
        provider = Provider {
            driver: read.driver,
            description: read.description,
            values: read.values,
            ..provider
        };
    }
    if let Some(description) = &args.description {
        provider.description.clone_from(description);
    }
    // A driver that is gone must not keep anybody from writing a new token.
    let description = described(&drivers, &provider.driver).unwrap_or_else(|error| {
        narrate(&format!("warning: {error}; nothing is checked"));
        Description::new(&provider.driver, "")
    });
    if let Some(problem) = &description.problem {
        narrate(&format!("warning: {problem}"));
    }
    for key in &args.unset {
        let key = canonical(key, &description);
        let before = provider.values.len();
        provider.values.retain(|(known, _)| *known != key);
        if provider.values.len() == before {
            let key = key.to_ascii_lowercase();
            return Err(CliError::new(format!("provider {} has no {key}", provider.name)));
        }
    }
    set(&mut provider, &args.parameters, &description, global)?;
    tell_missing(&provider, &description);
    context.engine.update_provider(&provider).await?;
    Ok(Exit::Done)
}

pub async fn delete(global: &Global, args: &ProviderDeleteArgs) -> Result<Exit, CliError> {
    let context = open(global).await?;
    let mut entries = Vec::new();
    for text in &args.providers {
        entries.push(find(&context, text).await?);
    }
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    if !confirmed(global, &format!("Delete provider {}?", names.join(", "))) {
        return Err(CliError::new("nothing was deleted").code(Code::Confirmation));
    }
    for entry in &entries {
        context.engine.delete_provider(entry).await?;
    }
    Ok(Exit::Done)
}

async fn open(global: &Global) -> Result<Context, CliError> {
    Context::open(global, None, Arc::new(engine::observe::Silent)).await
}

/// A provider by its name, or else by its id.
async fn find(context: &Context, text: &str) -> Result<ProviderEntry, CliError> {
    let entries = context.engine.providers().await?;
    let id = text.parse().ok();
    let by_name = entries.iter().find(|entry| entry.name == text);
    let found = by_name.or_else(|| entries.iter().find(|entry| Some(entry.id.0) == id));
    found.cloned().ok_or_else(|| {
        CliError::new(format!("there is no provider {text}"))
            .hint("`oneprovision provider list` lists those that there are")
            .code(Code::NotFound)
    })
}

/// Whether an argument is meant to be a file.
fn is_file(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    text.contains('/') || matches!(extension, Some("yaml" | "yml" | "json"))
}

/// A provider from a file. `None` if it has mistakes; they were told.
fn of_file(path: &Path, drivers: &Arc<Drivers>) -> Result<Option<Provider>, CliError> {
    let options = Options { drivers: Some(Arc::clone(drivers) as _), ..Options::default() };
    let loaded = load_provider(path, &FileReader, &options);
    for diagnostic in &loaded.diagnostics {
        tell(&template::render(diagnostic, &loaded.sources))?;
    }
    let Some(mut provider) = loaded.provider else { return Ok(None) };
    for (_, value) in &mut provider.values {
        // Kept for later commands, which may have another working folder.
        if let ProviderValue::Reference(SecretReference::File(path)) = value
            && !path.starts_with("~")
        {
            *path = absolute(path)?;
        }
    }
    Ok(Some(provider))
}

fn described(drivers: &Drivers, name: &str) -> Result<Description, CliError> {
    drivers.describe(name).map_err(|why| {
        CliError::new(why)
            .hint("`oneprovision driver list` lists the drivers that there are")
            .code(Code::Driver)
    })
}

/// The name under which a parameter is kept.
fn canonical(key: &str, description: &Description) -> String {
    let parameters = description.parameters.iter().flatten();
    let mut known = parameters.filter(|parameter| parameter.is_named(key));
    known.next().map_or_else(|| key.to_ascii_uppercase(), |parameter| parameter.name.clone())
}

/// Sets parameters as they stand on the command line.
fn set(
    provider: &mut Provider,
    parameters: &[String],
    description: &Description,
    global: &Global,
) -> Result<(), CliError> {
    for text in parameters {
        let (name, given) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !first || !name.chars().all(plain) {
            // It may be a secret that was split by the shell.
            return Err(CliError::new(
                "parameters are given as KEY=VALUE, or KEY alone to be asked",
            ));
        }
        let key = canonical(name, description);
        let described = description.parameters.as_deref();
        let parameter = described.and_then(|all| all.iter().find(|p| p.name == key));
        if parameter.is_none() && described.is_some() {
            narrate(&format!(
                "warning: driver {} has no parameter {name}; `oneprovision driver show {}` lists its \
                 parameters",
                provider.driver, provider.driver
            ));
        }
        let secret = |text: &str| match parameter {
            Some(parameter) => parameter.secret,
            None => model::is_secret(name, text),
        };
        let value = match given {
            Some(text) => match reference(name, text)? {
                Some(reference) => ProviderValue::Reference(reference),
                None if secret(text) => {
                    narrate(&format!(
                        "warning: other users of this machine can see {name} in the list of processes; \
                         {name} alone is asked for, and {name}='{{file: PATH}}' names a file"
                    ));
                    ProviderValue::Secret(Secret::new(text))
                }
                None => ProviderValue::Text(text.to_owned()),
            },
            None => ProviderValue::Secret(ask_secret(name, global)?),
        };
        let text = match &value {
            ProviderValue::Text(text) => Some(text.as_str()),
            ProviderValue::Secret(secret) => Some(secret.expose()),
            ProviderValue::Reference(_) => None,
        };
        if let (Some(parameter), Some(text)) = (parameter, text) {
            parameter.check(text).map_err(|why| {
                CliError::new(format!("{name} of driver {} {why}", provider.driver))
            })?;
        }
        match provider.values.iter_mut().find(|(known, _)| *known == key) {
            Some(slot) => slot.1 = value,
            None => provider.values.push((key, value)),
        }
    }
    Ok(())
}

/// `{env: NAME}` and the like; a relative path counts from the working folder.
fn reference(name: &str, text: &str) -> Result<Option<SecretReference>, CliError> {
    let text = text.trim();
    if !text.starts_with('{') || !text.ends_with('}') {
        return Ok(None);
    }
    let read: Option<SecretReference> = serde_saphyr::from_str(text).ok();
    Ok(Some(match read {
        Some(SecretReference::File(path)) if !path.starts_with("~") => {
            SecretReference::File(absolute(&path)?)
        }
        Some(SecretReference::Command(argv)) if argv.is_empty() => {
            return Err(CliError::new(format!("the command of {name} is empty")));
        }
        Some(reference) => reference,
        None => {
            return Err(CliError::new(format!("the value of {name} names no secret"))
                .hint("{env: NAME}, {file: PATH} or {command: [program, argument]}"));
        }
    }))
}

/// Says what templates will have to give, because the provider does not.
fn tell_missing(provider: &Provider, description: &Description) {
    let needed = description.parameters.iter().flatten().filter(|p| p.required && p.account);
    for parameter in needed {
        if !provider.values.iter().any(|(key, _)| *key == parameter.name) {
            narrate(&format!(
                "warning: provider {} has no {}, which driver {} needs: templates have to give it",
                provider.name,
                parameter.name.to_ascii_lowercase(),
                provider.driver
            ));
        }
    }
}
