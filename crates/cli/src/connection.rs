//! How the front-end is spoken to, as the environment variables of OpenNebula's own client say
//! (`src/oca/ruby/opennebula/client.rb` of 6.10, `src/oca/ruby/opennebula/lib/xml_client.rb` of 7.4). Like
//! that client, it takes no proxy from the environment.

use std::env;
use std::io;
use std::path::Path;
use std::time::Duration;

use opennebula::{ClientSettings, Endpoint, HttpError, HttpSettings, HttpTransport};

use crate::context::folder;
use crate::error::{CliError, Code};

/// Further certificates that are trusted, as files in a folder.
const CERT_DIR: &str = "ONE_CERT_DIR";
/// No certificate is checked.
const NO_VERIFY: &str = "ONE_DISABLE_SSL_VERIFY";
/// Longest time for a call, in seconds.
const TIMEOUT: &str = "ONE_XMLRPC_TIMEOUT";

/// What carries calls, and the longest time for one. Warns each time if no certificate is checked.
pub fn connection(endpoint: &Endpoint) -> Result<(HttpTransport, Duration), CliError> {
    let deadline = deadline()?;
    let mut settings = HttpSettings::default();
    // What has not connected in time must not look like a call that may have been executed.
    settings.connect_deadline = settings.connect_deadline.min(deadline / 2);
    if endpoint.is_https() {
        settings.verify = !is_on(NO_VERIFY);
        match folder(CERT_DIR) {
            _ if !settings.verify => tracing::warn!(
                "the certificate of {endpoint} is not checked ({NO_VERIFY}): whoever answers there gets the password"
            ),
            Some(dir) => settings.extra_ca_pem = Some(certificates(&dir)?),
            None => {}
        }
    }
    let transport = HttpTransport::new(endpoint.clone(), settings).map_err(|error| {
        let is_ca = matches!(error, HttpError::Ca);
        let error = CliError::caused(format!("the front-end {endpoint} cannot be used"), error);
        let hint = format!("{CERT_DIR} names a folder with certificates in PEM form");
        if is_ca { error.hint(hint) } else { error }.code(Code::FrontEnd)
    })?;
    Ok((transport, deadline))
}

/// Everything in the files of a folder, one after the other.
fn certificates(dir: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |path: &Path, error: io::Error| {
        CliError::caused(format!("{} cannot be read", path.display()), error)
            .code(Code::FrontEnd)
            .hint(format!("{CERT_DIR} names a folder with certificates in PEM form"))
    };
    let mut pem = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        if std::fs::metadata(&path).map_err(|error| failed(&path, error))?.is_file() {
            pem.extend(std::fs::read(&path).map_err(|error| failed(&path, error))?);
            pem.push(b'\n');
        }
    }
    Ok(pem)
}

/// The longest time for a call.
fn deadline() -> Result<Duration, CliError> {
    let Some(text) = env::var_os(TIMEOUT).filter(|text| !text.is_empty()) else {
        return Ok(ClientSettings::default().call_deadline);
    };
    let seconds = text.to_str().and_then(|text| text.trim().parse::<u32>().ok());
    let seconds = seconds.filter(|seconds| *seconds > 0).ok_or_else(|| {
        CliError::new(format!("{TIMEOUT} is {}, and no number of seconds", text.display()))
            .code(Code::FrontEnd)
            .hint("it is the longest time for a call to the front-end, such as 60")
    })?;
    Ok(Duration::from_secs(seconds.into()))
}

/// Whether a variable asks for something. OpenNebula's client takes whatever it is set to for yes; who
/// writes "no" means no.
fn is_on(variable: &str) -> bool {
    let value = env::var_os(variable).unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    !matches!(value.trim(), "" | "0" | "no" | "false")
}
