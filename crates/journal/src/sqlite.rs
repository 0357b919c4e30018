//! The journal on disk: one SQLite file, one writer thread, group commit.
//!
//! SQLite runs with `journal_mode=WAL` and `synchronous=FULL`: a commit has reached the disk when
//! it returns. What waits while a commit is under way goes into the next one together, so a
//! thousand hosts cost few `fsync`s. Several processes may have the file open; each write is one
//! short transaction.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use model::ProvisionId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::{Entry, Event, Journal, JournalError, is_last_word};

/// Schema of a new file. A file of a higher one is refused.
pub const SCHEMA: i64 = 1;

/// Entries that go into one transaction at the most.
const GROUP: usize = 1024;

/// How long a write waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

/// The journal in a SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    reader: Mutex<Connection>,
    writer: Sender<Write>,
}

struct Write {
    provision: ProvisionId,
    at: i64,
    bodies: Vec<String>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl SqliteJournal {
    /// Opens the file, and makes it and its folder (modes 0600 and 0700) if they are not there.
    ///
    /// # Errors
    /// If the file cannot be used, is no journal, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let writer = connect(path)?;
        migrate(&writer, path)?;
        let reader = connect(path)?;
        let (sender, receiver) = channel();
        let thread_path = path.to_owned();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_loop(writer, &thread_path, &receiver))
            .map_err(|e| JournalError::Open { path: path.to_owned(), source: e.into() })?;
        Ok(Self { path: path.to_owned(), reader: Mutex::new(reader), writer: sender })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let connection = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        read(&connection).map_err(|e| sqlite_error(&self.path, "read", e))
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        let closed = || JournalError::Closed { path: self.path.clone() };
        let bodies = events.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        let bodies = bodies.map_err(|source| JournalError::Entry {
            path: self.path.clone(),
            seq: 0,
            source,
        })?;
        let (done, acknowledged) = oneshot::channel();
        self.writer.send(Write { provision, at, bodies, done }).map_err(|_| closed())?;
        acknowledged.await.map_err(|_| closed())?
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        let rows: Vec<(i64, i64, String)> = self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT seq, at, body FROM event WHERE provision = ? ORDER BY seq",
            )?;
            let rows = select
                .query_map([provision.to_string()], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            rows.collect()
        })?;
        rows.into_iter()
            .map(|(seq, at, body)| {
                let event = serde_json::from_str(&body).map_err(|source| JournalError::Entry {
                    path: self.path.clone(),
                    seq,
                    source,
                })?;
                Ok(Entry { seq, provision, at, event })
            })
            .collect()
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        let ids: Vec<String> = self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT provision FROM event GROUP BY provision ORDER BY min(seq)",
            )?;
            let rows = select.query_map([], |row| row.get(0))?;
            rows.collect()
        })?;
        // The column is only ever written from a ProvisionId.
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    async fn live(&self) -> Result<Vec<ProvisionId>, JournalError> {
        let last: Vec<(String, String)> = self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT provision, body FROM
                   (SELECT provision, min(seq) AS first, max(seq) AS last FROM event GROUP BY provision)
                   JOIN event USING (provision) WHERE seq = last ORDER BY first",
            )?;
            let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        })?;
        // A last word that cannot be read is none: whoever reads the whole will say so.
        let is_live = |body: &str| !serde_json::from_str(body).is_ok_and(|e| is_last_word(&e));
        let live = last.iter().filter(|(_, body)| is_live(body));
        Ok(live.filter_map(|(id, _)| id.parse().ok()).collect())
    }
}

/// Makes a folder with mode 0700, parents included; one that is there is left as it is.
pub(crate) fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn connect(path: &Path) -> Result<Connection, JournalError> {
    let io = |e: std::io::Error| JournalError::Open { path: path.to_owned(), source: e.into() };
    if let Some(folder) = path.parent() {
        make_private_folder(folder).map_err(io)?;
    }
    // SQLite would make the file with the umask's mode.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open().map_err(|e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path: path.to_owned() },
        _ => JournalError::Open { path: path.to_owned(), source: e.into() },
    })
}

fn migrate(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let error = |e| sqlite_error(path, "written", e);
    let transaction =
        rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(error)?;
    transaction
        .execute_batch("CREATE TABLE IF NOT EXISTS meta (schema INTEGER NOT NULL) STRICT")
        .map_err(error)?;
    let found: Option<i64> = transaction
        .query_row("SELECT schema FROM meta", [], |row| row.get(0))
        .optional()
        .map_err(error)?;
    match found {
        Some(found) if found > SCHEMA => {
            return Err(JournalError::Newer { path: path.to_owned(), found, known: SCHEMA });
        }
        Some(_) => {}
        None => transaction
            .execute_batch(&format!(
                "CREATE TABLE event (
                     seq INTEGER PRIMARY KEY AUTOINCREMENT,
                     provision TEXT NOT NULL,
                     at INTEGER NOT NULL,
                     body TEXT NOT NULL
                 ) STRICT;
                 CREATE INDEX event_provision ON event (provision, seq);
                 INSERT INTO meta VALUES ({SCHEMA});"
            ))
            .map_err(error)?,
    }
    transaction.commit().map_err(error)
}

fn write_loop(mut connection: Connection, path: &Path, queue: &Receiver<Write>) {
    while let Ok(first) = queue.recv() {
        let mut group = vec![first];
        group.extend(queue.try_iter().take(GROUP - 1));
        if write_group(&mut connection, &group).is_ok() {
            for write in group {
                // A caller that no longer waits has nothing to be told.
                let _ = write.done.send(Ok(()));
            }
            continue;
        }
        // One bad write must not fail its neighbours: each is tried by itself, for its own answer.
        for write in group {
            let written = write_group(&mut connection, std::slice::from_ref(&write));
            let _ = write.done.send(written.map_err(|e| sqlite_error(path, "written", e)));
        }
    }
}

fn write_group(connection: &mut Connection, group: &[Write]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut insert = transaction
            .prepare_cached("INSERT INTO event (provision, at, body) VALUES (?, ?, ?)")?;
        for write in group {
            let provision = write.provision.to_string();
            for body in &write.bodies {
                insert.execute(params![provision, write.at, body])?;
            }
        }
    }
    transaction.commit()
}

fn sqlite_error(path: &Path, what: &'static str, source: rusqlite::Error) -> JournalError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path: path.to_owned() },
        _ => JournalError::Sqlite { path: path.to_owned(), what, source },
    }
}
