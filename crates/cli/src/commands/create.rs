//! `create`, `resume`

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use engine::{CreateRequest, Engine, ResumeRequest};
use journal::{CreateOptions, ProvisionRecord};
use model::{ProvisionId, ProvisionState, Value};
use sha2::{Digest, Sha256};
use template::spec::{HostSpec, Spec};

use super::operation::{Wanted, after_error, conclude, narrate, progress, stop_on_signals};
use super::provision_named;
use crate::args::{CreateArgs, Global, InputArgs, ResumeArgs};
use crate::context::{Context, absolute};
use crate::error::{CliError, Code};
use crate::exit::Exit;
use crate::failover;
use crate::inputs::{self, Purpose};
use crate::progress::Progress;

pub async fn run(global: &Global, args: &CreateArgs) -> Result<Exit, CliError> {
    let provider = args.provider.as_deref();
    let prepared = prepare(&args.template, &args.inputs, provider, global).await?;
    let Some(prepared) = prepared else { return Ok(Exit::Error) };
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Whole)?;
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    let mut engine = Engine { failover, ..context.engine.clone() };
    args.config.apply(&mut engine.settings);
    stop_on_signals(&engine.stop)?;
    if args.resume
        && let Some(record) = unfinished_or_ready(&engine, &prepared.spec.name).await?
    {
        return again(&engine, &progress, record, prepared).await;
    }
    context.tell_interrupted(None).await?;
    let request = CreateRequest {
        id: ProvisionId(uuid::Uuid::new_v4()),
        template: absolute(&args.template)?,
        digest: prepared.digest,
        options: CreateOptions {
            skip_config: args.skip_config,
            skip_provision: args.skip_provision,
            legacy_args: args.driver.legacy_args,
            secrets_in_template: args.secrets_in_template,
            cleanup: args.cleanup.seconds(),
            wait_ready: args.wait_ready.then_some(args.wait_timeout),
            provider: args.provider.clone(),
        },
        public_keys: prepared.public_keys,
        spec: prepared.spec,
    };
    if !request.spec.hosts.is_empty() && !args.skip_provision {
        narrate("WARNING: This operation can take tens of minutes. Please be patient.");
    }
    let id = request.id;
    let report = engine.create(request).await;
    progress.finish();
    match report {
        Ok(report) => progress.ended(conclude(&report, Wanted::Present)),
        Err(error) => Err(after_error(&engine, error, id, Wanted::Present).await),
    }
}

/// `resume`
pub async fn resume(global: &Global, args: &ResumeArgs) -> Result<Exit, CliError> {
    let id = provision_named(global, &args.provision).await?;
    let progress = Arc::new(progress(&args.log));
    let failover = failover::of(&args.fail, global, &progress, failover::Cleanup::Whole)?;
    let mut context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    context.tell_interrupted(Some(id)).await?;
    let record = context.engine.journal.record(id).await.map_err(engine::EngineError::from)?;
    let record = record.ok_or(engine::EngineError::NotFound(id))?;
    if let Some(create) = record.wanted() {
        // The options of the create hold.
        context.set_legacy_args(create.options.legacy_args || args.driver.legacy_args);
    }
    let mut engine = Engine { failover, ..context.engine.clone() };
    args.config.apply(&mut engine.settings);
    stop_on_signals(&engine.stop)?;
    // The template has the secrets that the journal has not. A changed one is not what was begun.
    let template = record.wanted();
    let prepared = match template {
        Some(create) if create.template.exists() => {
            let provider = create.options.provider.as_deref();
            let prepared = prepare(&create.template, &args.inputs, provider, global).await;
            // A removal goes on without it.
            let prepared = if record.doomed { prepared.unwrap_or(None) } else { prepared? };
            prepared.filter(|prepared| prepared.digest == create.digest)
        }
        _ => None,
    };
    run_resume(&engine, &progress, record, prepared).await
}

async fn run_resume(
    engine: &Engine,
    progress: &Progress,
    record: ProvisionRecord,
    prepared: Option<Prepared>,
) -> Result<Exit, CliError> {
    let id = record.id;
    let wanted = if record.doomed { Wanted::Absent } else { Wanted::Present };
    super::print(&format!("ID: {id}\n"))?;
    let (spec, public_keys) = match prepared {
        Some(prepared) => (Some(prepared.spec), prepared.public_keys),
        None => (None, Vec::new()),
    };
    let report = engine.resume(ResumeRequest { id, spec, public_keys }).await;
    progress.finish();
    match report {
        Ok(report) => Ok(conclude(&report, wanted)),
        Err(error) => Err(after_error(engine, error, id, wanted).await),
    }
}

/// The newest provision of that name that is not deleted, made on this front-end.
async fn unfinished_or_ready(
    engine: &Engine,
    name: &str,
) -> Result<Option<ProvisionRecord>, CliError> {
    let records = engine.records().await?;
    Ok(records.into_iter().rev().find(|record| {
        let here = record.create.as_ref().is_some_and(|c| engine.is_at(&c.endpoint));
        here && record.name() == Some(name)
            && !matches!(record.state, ProvisionState::Deleted | ProvisionState::Parked)
    }))
}

/// `create --resume` of a provision that is there already.
async fn again(
    engine: &Engine,
    progress: &Progress,
    record: ProvisionRecord,
    prepared: Prepared,
) -> Result<Exit, CliError> {
    let id = record.id;
    if record.doomed {
        return Err(CliError::new(format!("provision {id} of this name is being deleted"))
            .code(Code::Refused)
            .hint(format!("`oneprovision resume {id}` finishes that")));
    }
    if record.wanted().is_none_or(|create| create.digest != prepared.digest) {
        return Err(CliError::new(format!(
            "the template has changed since provision {id} of this name was begun"
        ))
        .code(Code::Refused)
        .hint(format!(
            "`oneprovision resume {id}` goes on as it was begun, `oneprovision delete {id}` removes it"
        )));
    }
    run_resume(engine, progress, record, Some(prepared)).await
}

/// A template, ready to be created.
pub(super) struct Prepared {
    pub spec: Spec,
    pub digest: String,
    pub public_keys: Vec<Option<String>>,
}

/// Reads a template and the keys that it names. `None` if it has mistakes; they were told.
pub(super) async fn prepare(
    path: &Path,
    inputs: &InputArgs,
    provider: Option<&str>,
    global: &Global,
) -> Result<Option<Prepared>, CliError> {
    let loaded = inputs::load(path, inputs, provider, global, Purpose::Use).await?;
    let digest = digest(&loaded);
    let Some(spec) = loaded.spec else { return Ok(None) };
    let public_keys = spec.hosts.iter().map(public_key).collect::<Result<_, _>>()?;
    Ok(Some(Prepared { spec, digest, public_keys }))
}

/// Names all files of a template by their content, and the values of its inputs, so that a resume
/// can tell a changed one. Passwords are left out: a digest can be tried out against guesses.
fn digest(loaded: &template::Loaded) -> String {
    let mut hash = Sha256::new();
    let values = loaded.given_inputs.iter().flat_map(|(name, value)| [name, value]);
    for text in loaded.sources.texts().chain(values.map(String::as_str)) {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(hash.finalize())
}

/// A digest in hexadecimal.
pub(super) fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The content of a host's public key: of the file that is named, or the value itself. That the
/// default file is not there matters only to drivers that need a key.
pub(super) fn public_key(host: &HostSpec) -> Result<Option<String>, CliError> {
    let given = host.connection.given.get("PUBLIC_KEY").and_then(Value::expose);
    let Some(value) = given else {
        return read_key(template::spec::DEFAULT_PUBLIC_KEY.as_ref()).or(Ok(None));
    };
    if !value.starts_with('/') && !value.starts_with("~/") {
        return Ok(Some(value.to_owned()));
    }
    match read_key(&crate::secret_source::home(Path::new(value))) {
        Ok(key) => Ok(key),
        Err(error) => Err(CliError::caused(
            format!("{}: the public key {value} cannot be read", host.origin),
            error,
        )),
    }
}

fn read_key(path: &Path) -> std::io::Result<Option<String>> {
    const LIMIT: u64 = 64 << 10;
    let size = std::fs::metadata(path)?.len();
    if size > LIMIT {
        return Err(std::io::Error::new(ErrorKind::InvalidData, "too large for a public key"));
    }
    std::fs::read_to_string(path).map(Some)
}
