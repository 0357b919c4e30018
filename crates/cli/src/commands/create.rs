//! `create`

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use engine::CreateRequest;
use journal::CreateOptions;
use model::{ProvisionId, Value};
use sha2::{Digest, Sha256};
use template::spec::HostSpec;

use super::operation::{Wanted, conclude, narrate, progress, stop_on_signals};
use super::validate::load;
use crate::args::{CreateArgs, Global};
use crate::context::{Context, absolute};
use crate::error::CliError;
use crate::exit::Exit;

pub async fn run(global: &Global, args: &CreateArgs) -> Result<Exit, CliError> {
    let loaded = load(&args.template)?;
    let Some(spec) = loaded.spec else { return Ok(Exit::Error) };
    let public_keys = spec.hosts.iter().map(public_key).collect::<Result<_, _>>()?;
    let request = CreateRequest {
        id: ProvisionId(uuid::Uuid::new_v4()),
        template: absolute(&args.template)?,
        digest: digest(&loaded.sources),
        options: CreateOptions {
            skip_config: args.skip_config,
            legacy_args: args.driver.legacy_args,
        },
        public_keys,
        spec,
    };
    let progress = Arc::new(progress(&args.log));
    let context = Context::open(global, Some(&args.driver), Arc::clone(&progress) as _).await?;
    stop_on_signals(&context.engine.stop)?;
    if !request.spec.hosts.is_empty() {
        narrate("WARNING: This operation can take tens of minutes. Please be patient.");
    }
    let unconfigured = unconfigured(&context, &request)?;
    let report = context.engine.create(request).await;
    progress.finish();
    let report = report?;
    if let Some(drivers) = unconfigured.filter(|_| !report.interrupted) {
        narrate(&format!(
            "Hosts of {drivers} stay offline and pending: this version does not configure machines yet."
        ));
    }
    Ok(conclude(&report, Wanted::Present))
}

/// The drivers whose machines would have to be configured.
fn unconfigured(context: &Context, request: &CreateRequest) -> Result<Option<String>, CliError> {
    if request.options.skip_config {
        return Ok(None);
    }
    let mut names = Vec::new();
    for host in &request.spec.hosts {
        let driver = context.engine.drivers.find(&host.driver);
        let driver = driver.map_err(engine::EngineError::Driver)?;
        if driver.describe().configurable && !names.contains(&host.driver) {
            names.push(host.driver.clone());
        }
    }
    Ok((!names.is_empty()).then(|| format!("driver {}", names.join(", "))))
}

/// Names all files of a template by their content, so that a resume can tell a changed one.
fn digest(sources: &template::Sources) -> String {
    let mut hash = Sha256::new();
    for text in sources.texts() {
        hash.update(text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The content of a host's public key: of the file that is named, or the value itself. That the
/// default file is not there matters only to drivers that need a key.
fn public_key(host: &HostSpec) -> Result<Option<String>, CliError> {
    let given = host.connection.given.get("PUBLIC_KEY").and_then(Value::expose);
    let Some(value) = given else {
        return read_key(template::spec::DEFAULT_PUBLIC_KEY.as_ref()).or(Ok(None));
    };
    if !value.starts_with('/') && !value.starts_with("~/") {
        return Ok(Some(value.to_owned()));
    }
    match read_key(Path::new(value)) {
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
