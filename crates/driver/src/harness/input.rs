//! Where a driver finds its deployment file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::api::Action;
use crate::deployment::{DeploymentError, DeploymentFile, MAX_BYTES};

use super::{Invocation, Limits};

/// How long the rest of a deployment file may take after its first byte.
const REST: Duration = Duration::from_secs(30);

/// A driver's standard input.
pub enum Input {
    /// There is none.
    Nothing,
    /// A terminal: whoever sits there does not type XML.
    Terminal,
    /// A file or a pipe, which may have a deployment file, be empty, or stay silent.
    Reader(Box<dyn Read + Send>),
}

/// Why there is no usable deployment file.
#[derive(Debug, Error)]
pub(super) enum InputError {
    #[error(
        "there is no deployment file at {}, and {reason}: write the host's XML to that file, or give it on standard input",
        path.display()
    )]
    Missing { path: PathBuf, reason: &'static str },
    #[error("cannot read the deployment file {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the deployment file from standard input")]
    Stdin(#[source] io::Error),
    #[error("standard input began with a deployment file and did not end within {REST:?}")]
    Unfinished,
    #[error("the deployment file cannot be used")]
    Content(#[from] DeploymentError),
}

/// What standard input had.
enum Given {
    Bytes(Vec<u8>),
    Nothing(&'static str),
}

/// Finds the deployment file: for deploy at the path of its argument, for other actions at the one
/// that the environment names, else on standard input. Only deploy cannot do without.
pub(super) async fn deployment_file(
    invocation: &Invocation,
    input: Input,
    limits: &Limits,
) -> Result<DeploymentFile, InputError> {
    let deploy = invocation.action() == Action::Deploy;
    let path = if deploy { invocation.file() } else { invocation.environment_file() };
    if let Some(path) = path
        && let Some(bytes) = read_file(path)?
    {
        return Ok(super::complete(DeploymentFile::parse(&bytes)?, invocation));
    }
    let wait = if deploy { limits.input } else { limits.optional_input };
    match read_input(input, wait).await? {
        Given::Bytes(bytes) => Ok(super::complete(DeploymentFile::parse(&bytes)?, invocation)),
        Given::Nothing(reason) if deploy => {
            let path = invocation.file().unwrap_or(Path::new("")).to_owned();
            Err(InputError::Missing { path, reason })
        }
        Given::Nothing(_) => Ok(super::complete(DeploymentFile::default(), invocation)),
    }
}

/// A file's content; `None` if it is not there or empty.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, InputError> {
    let failed = |source| InputError::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    // A named pipe or a terminal could be waited for without end.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(io::Error::other("it is no regular file")));
    }
    // Room for all of it and the look behind its end, so that it is read at once.
    let room = usize::try_from(metadata.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES) + 64;
    let mut bytes = Vec::with_capacity(room);
    // One byte more than is allowed, so that the parser can say that it is too much.
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes).filter(|bytes| !bytes.trim_ascii().is_empty()))
}

/// Reads standard input without ever waiting for what nobody sends: the first byte has to come
/// within `wait`.
async fn read_input(input: Input, wait: Duration) -> Result<Given, InputError> {
    let mut reader = match input {
        Input::Nothing => return Ok(Given::Nothing("there is no standard input")),
        Input::Terminal => return Ok(Given::Nothing("standard input is a terminal")),
        Input::Reader(reader) => reader,
    };
    let (sender, mut chunks) = mpsc::channel::<io::Result<Vec<u8>>>(4);
    // A thread of its own, not one of the runtime's: it may sit in a read for ever, and ends with the
    // process.
    let reading = std::thread::Builder::new().name("standard input".into()).spawn(move || {
        let mut buffer = vec![0_u8; 64 << 10];
        loop {
            let chunk = match reader.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(buffer.get(..count).unwrap_or_default().to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = chunk.is_err();
            if sender.blocking_send(chunk).is_err() || last {
                return;
            }
        }
    });
    reading.map_err(InputError::Stdin)?;
    let mut bytes = match timeout(wait, chunks.recv()).await {
        Err(_) => return Ok(Given::Nothing("standard input stays silent")),
        Ok(None) => return Ok(Given::Nothing("standard input is empty")),
        Ok(Some(chunk)) => chunk.map_err(InputError::Stdin)?,
    };
    let rest = async {
        while bytes.len() <= MAX_BYTES
            && let Some(chunk) = chunks.recv().await
        {
            bytes.extend(chunk?);
        }
        Ok(())
    };
    match timeout(REST, rest).await {
        Err(_) => Err(InputError::Unfinished),
        Ok(Err(error)) => Err(InputError::Stdin(error)),
        Ok(Ok(())) if bytes.trim_ascii().is_empty() => {
            Ok(Given::Nothing("standard input is empty"))
        }
        Ok(Ok(())) => Ok(Given::Bytes(bytes)),
    }
}
