//! QEMU's control socket (QEMU, *QMP protocol specification*): one JSON object a line.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// File name of the socket in a machine's folder.
pub(super) const SOCKET: &str = "qmp.sock";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest line that is read, in bytes.
const LINE: u64 = 1 << 20;

/// Why QEMU did not do what it was asked for.
#[derive(Debug, Error)]
pub(super) enum QmpError {
    #[error("its control socket does not answer within {PATIENCE:?}")]
    Silent,
    #[error("its control socket cannot be used: {0}")]
    Io(#[from] io::Error),
    #[error("QEMU says: {0}")]
    Refused(String),
    #[error("its control socket answers what is no QMP")]
    NotQmp,
}

/// A connection. QEMU serves one at a time.
pub(super) struct Qmp {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Qmp {
    /// Connects to the QEMU of that folder and gets through the greeting.
    pub(super) async fn connect(folder: &Path) -> Result<Self, QmpError> {
        // The path of a socket has at most 107 bytes; that of a folder may be longer.
        let folder = File::open(folder)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        let stream = match timeout(PATIENCE, UnixStream::connect(path)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(QmpError::Silent),
        };
        let (reader, writer) = stream.into_split();
        let mut qmp = Self { reader: BufReader::new(reader), writer };
        let greeting = timeout(PATIENCE, qmp.line()).await.map_err(|_| QmpError::Silent)??;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::NotQmp);
        }
        qmp.execute("qmp_capabilities").await?;
        Ok(qmp)
    }

    /// Has a command carried out and returns its answer; events in between are passed over.
    pub(super) async fn execute(&mut self, command: &str) -> Result<Value, QmpError> {
        let whole = async {
            let line = format!("{}\n", json!({ "execute": command }));
            self.writer.write_all(line.as_bytes()).await?;
            loop {
                let mut answer = self.line().await?;
                if let Some(value) = answer.get_mut("return") {
                    return Ok(value.take());
                }
                if let Some(error) = answer.get("error") {
                    let text = error.get("desc").and_then(Value::as_str).unwrap_or("no reason");
                    return Err(QmpError::Refused(text.to_owned()));
                }
            }
        };
        timeout(PATIENCE, whole).await.unwrap_or(Err(QmpError::Silent))
    }

    /// The machine's state in QEMU's words: `running`, `paused`, `guest-panicked`, …
    pub(super) async fn status(&mut self) -> Result<String, QmpError> {
        let answer = self.execute("query-status").await?;
        let status = answer.get("status").and_then(Value::as_str).ok_or(QmpError::NotQmp)?;
        Ok(status.to_owned())
    }

    async fn line(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        (&mut self.reader).take(LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        serde_json::from_slice(&line).map_err(|_| QmpError::NotQmp)
    }
}
