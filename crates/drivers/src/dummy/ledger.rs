//! The ledger: all machines that ever were, and all calls, in one SQLite file.
//!
//! It stands for the provider: what it says exists, exists, and is paid for. Tests read it as the
//! bill. Many processes write it at once; what was answered survives the death of any of them.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driver::Action;
use rusqlite::{Connection, DropBehavior, ErrorCode, OptionalExtension as _, TransactionBehavior};
use thiserror::Error;

use super::addresses::{other_address, own_address};

/// File name of the ledger in the state folder.
pub const FILE: &str = "dummy.db";
/// Version of the schema, in `PRAGMA user_version`.
const VERSION: i64 = 1;
/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
CREATE TABLE machines (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT NOT NULL UNIQUE,
    provision_id TEXT NOT NULL,
    host TEXT NOT NULL,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    address TEXT NOT NULL DEFAULT '',
    other_address TEXT NOT NULL DEFAULT '',
    parameters TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'off', 'rebooting')),
    created_ms INTEGER NOT NULL,
    ready_ms INTEGER NOT NULL,
    cancelled_ms INTEGER
) STRICT;
CREATE INDEX machines_address ON machines (address) WHERE cancelled_ms IS NULL;
CREATE TABLE calls (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    provision_id TEXT NOT NULL,
    host TEXT NOT NULL,
    machine TEXT,
    action TEXT NOT NULL,
    nth INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    outcome TEXT
) STRICT;
CREATE INDEX calls_of_host ON calls (provision_id, host, action);
";

const MACHINE: &str = "SELECT n, id, idempotency_key, provision_id, host, name, hostname, \
    address, other_address, parameters, state, created_ms, ready_ms, cancelled_ms FROM machines";

/// Why the ledger could not be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// Its folder cannot be made.
    #[error("cannot make the folder {} for the ledger of the dummy driver", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file cannot be made.
    #[error("cannot make the ledger of the dummy driver, {}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer version.
    #[error("{} was written by a newer version (schema {version}, here {VERSION})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        version: i64,
    },
    /// It cannot be opened, read or written.
    #[error("the ledger {} {}", path.display(), trouble(source))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
}

fn trouble(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "cannot be written: the disk is full",
        Some(ErrorCode::ReadOnly) => "cannot be written: it is read-only",
        Some(ErrorCode::CannotOpen) => "cannot be opened",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => "is damaged or no ledger",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "is locked by somebody else",
        _ => "cannot be used",
    }
}

/// What a machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// Running, or booting if it is not ready yet.
    Active,
    /// Powered off.
    Off,
    /// Rebooting, until it is ready.
    Rebooting,
}

impl Power {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Off => "off",
            Self::Rebooting => "rebooting",
        }
    }
}

/// A machine of the ledger. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Number in the ledger, never used twice.
    pub n: i64,
    /// Deploy id.
    pub id: String,
    /// Key of the call that made it: the same key never makes a second one.
    pub idempotency_key: String,
    /// The mark: provision it belongs to, empty if that was not told.
    pub provision_id: String,
    /// The mark: key of the host, or its name if there was no key.
    pub host: String,
    /// Name of the host that it was made for.
    pub name: String,
    /// Name that was wished for, empty if none was.
    pub hostname: String,
    /// Its address.
    pub address: String,
    /// The address that it has after a change.
    pub other_address: String,
    /// Parameters of its deploy, for calls that come without any: a JSON object.
    pub parameters: String,
    /// What it is doing.
    pub power: Power,
    /// When it was made.
    pub created_ms: i64,
    /// When it is up.
    pub ready_ms: i64,
    /// When it was destroyed. A machine without is on the bill.
    pub cancelled_ms: Option<i64>,
}

/// A call of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    /// Key of the host, or its name.
    pub host: String,
    /// The machine, if the call named one.
    pub machine: Option<String>,
    /// Name of the action.
    pub action: String,
    /// How many calls of this action there were for this host, this one included.
    pub nth: u64,
    /// `ok`, or the reason of a failure; `None` if the call never ended.
    pub outcome: Option<String>,
}

/// Whom a call is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub provision_id: String,
    pub host: String,
}

/// A machine to be made.
pub(super) struct Order<'a> {
    pub owner: &'a Owner,
    pub key: &'a str,
    pub name: &'a str,
    pub hostname: &'a str,
    pub ip: Option<&'a str>,
    pub quota: Option<u64>,
    pub parameters: &'a str,
    pub now_ms: i64,
    pub ready_ms: i64,
}

/// What became of an order.
pub(super) enum Made {
    Machine(Box<Machine>),
    /// No room: that many machines are there.
    Quota(u64),
}

/// An open ledger.
pub struct Ledger {
    connection: Connection,
    path: PathBuf,
}

type Result<T, E = LedgerError> = std::result::Result<T, E>;

impl Ledger {
    /// Opens the ledger of a state folder; both are made if they are not there.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn open(state_dir: &Path) -> Result<Self> {
        let path = state_dir.join(FILE);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|source| LedgerError::Folder { path: state_dir.to_owned(), source })?;
        // SQLite would make it readable for everybody. Nothing else is touched here: closing a
        // file that is there already would drop the locks that this process has on it.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let is_new = match made {
            Ok(_) => true,
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => false,
            Err(source) => return Err(LedgerError::Make { path, source }),
        };
        let connection = Self::connect(&path, is_new)
            .map_err(|source| LedgerError::Sqlite { path: path.clone(), source })?;
        let mut ledger = Self { connection, path };
        let version = ledger.write(|tx| {
            let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            if version == 0 {
                tx.execute_batch(SCHEMA)?;
                tx.pragma_update(None, "user_version", VERSION)?;
                return Ok(VERSION);
            }
            Ok(version)
        })?;
        if version > VERSION {
            return Err(LedgerError::Newer { path: ledger.path, version });
        }
        ledger.read(|connection| connection.pragma_update(None, "synchronous", "NORMAL"))?;
        Ok(ledger)
    }

    fn connect(path: &Path, is_new: bool) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        // The answer is in the file before the machine is named, whatever happens to the process; only
        // a crash of the whole system could take back the last ones. Of a new ledger it could take all, since the
        // five syncs with which SQLite makes a file are spared: no machine is in it yet.
        let synchronous = if is_new { "OFF" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let mut attempts = 0;
        loop {
            // The change to WAL needs the file for itself, and SQLite does not wait for that.
            match connection.pragma_update(None, "journal_mode", "WAL") {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && attempts < 200 =>
                {
                    attempts += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result.map(|()| connection),
            }
        }
    }

    /// Runs a transaction that writes. It waits for other writers from its very beginning, so that
    /// what it read still holds when it writes.
    fn write<T>(&mut self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let run = |connection: &mut Connection| {
            if !connection.is_autocommit() {
                // One of several in [`Ledger::together`].
                let mut part = connection.savepoint()?;
                let value = act(&part)?;
                part.set_drop_behavior(DropBehavior::Commit);
                part.finish()?;
                return Ok(value);
            }
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = act(&tx)?;
            tx.commit()?;
            Ok(value)
        };
        run(&mut self.connection)
            .map_err(|source| LedgerError::Sqlite { path: self.path.clone(), source })
    }

    /// Does several things in one transaction. What fails by itself leaves no trace, and the others hold;
    /// they do only if this succeeds.
    ///
    /// # Errors
    /// If the whole could not be written: then none of them was.
    pub(super) fn together(&mut self, act: impl FnOnce(&mut Self)) -> Result<()> {
        let failed = |source| LedgerError::Sqlite { path: self.path.clone(), source };
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        act(self);
        let failed = |source| LedgerError::Sqlite { path: self.path.clone(), source };
        if self.connection.is_autocommit() {
            // SQLite has rolled it back, as it does when the disk is full.
            let lost = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            return Err(failed(rusqlite::Error::SqliteFailure(lost, None)));
        }
        self.connection.execute_batch("COMMIT").map_err(|source| {
            let _ = self.connection.execute_batch("ROLLBACK");
            failed(source)
        })
    }

    fn read<T>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        act(&self.connection)
            .map_err(|source| LedgerError::Sqlite { path: self.path.clone(), source })
    }

    /// All machines that ever were, oldest first.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn machines(&self) -> Result<Vec<Machine>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!("{MACHINE} ORDER BY n"))?;
            statement.query_map([], machine_of)?.collect()
        })
    }

    /// The bill: all machines that were not destroyed, oldest first.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn bill(&self) -> Result<Vec<Machine>> {
        let mut machines = self.machines()?;
        machines.retain(|machine| machine.cancelled_ms.is_none());
        Ok(machines)
    }

    /// All calls, oldest first.
    ///
    /// # Errors
    /// See [`LedgerError`].
    pub fn calls(&self) -> Result<Vec<CallRow>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT host, machine, action, nth, outcome FROM calls ORDER BY n",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(CallRow {
                    host: row.get(0)?,
                    machine: row.get(1)?,
                    action: row.get(2)?,
                    nth: row.get::<_, i64>(3)?.unsigned_abs(),
                    outcome: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// A machine, also one that was destroyed.
    pub(super) fn machine(&self, id: &str) -> Result<Option<Machine>> {
        self.read(|connection| {
            connection
                .prepare_cached(&format!("{MACHINE} WHERE id = ?1"))?
                .query_row([id], machine_of)
                .optional()
        })
    }

    /// Notes that a call begins; returns its number, and how many of its kind there were.
    pub(super) fn begin(
        &mut self,
        owner: &Owner,
        machine: Option<&str>,
        action: Action,
        key: &str,
        now_ms: i64,
    ) -> Result<(i64, u64)> {
        self.write(|tx| {
            let before: i64 = tx
                .prepare_cached(
                    "SELECT count(*) FROM calls WHERE provision_id = ?1 AND host = ?2 AND action = ?3",
                )?
                .query_row((&owner.provision_id, &owner.host, action.as_str()), |row| row.get(0))?;
            tx.prepare_cached(
                "INSERT INTO calls (provision_id, host, machine, action, nth, idempotency_key, \
                 started_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                &owner.provision_id,
                &owner.host,
                machine,
                action.as_str(),
                before + 1,
                key,
                now_ms,
            ))?;
            Ok((tx.last_insert_rowid(), before.unsigned_abs() + 1))
        })
    }

    /// Notes how a call ended.
    pub(super) fn end(
        &mut self,
        call: i64,
        machine: Option<&str>,
        outcome: &str,
        now_ms: i64,
    ) -> Result<()> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE calls SET outcome = ?2, ended_ms = ?3, machine = coalesce(machine, ?4) \
                 WHERE n = ?1",
            )?
            .execute((call, outcome, now_ms, machine))
            .map(drop)
        })
    }

    /// Makes a machine, or returns the one that was made by the same key.
    pub(super) fn make(&mut self, order: &Order<'_>) -> Result<Made> {
        self.write(|tx| {
            let known = tx
                .prepare_cached(&format!("{MACHINE} WHERE idempotency_key = ?1"))?
                .query_row([order.key], machine_of)
                .optional()?;
            if let Some(known) = known {
                return Ok(Made::Machine(Box::new(known)));
            }
            if let Some(quota) = order.quota {
                let live: i64 = tx
                    .prepare_cached("SELECT count(*) FROM machines WHERE cancelled_ms IS NULL")?
                    .query_row([], |row| row.get(0))?;
                if live.unsigned_abs() >= quota {
                    return Ok(Made::Quota(live.unsigned_abs()));
                }
            }
            let id = format!("dummy-{:016x}", fastrand::u64(..));
            tx.prepare_cached(
                "INSERT INTO machines (id, idempotency_key, provision_id, host, name, hostname, \
                 parameters, state, created_ms, ready_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'active', ?8, ?9)",
            )?
            .execute((
                &id,
                order.key,
                &order.owner.provision_id,
                &order.owner.host,
                order.name,
                order.hostname,
                order.parameters,
                order.now_ms,
                order.ready_ms,
            ))?;
            let n = tx.last_insert_rowid();
            let own = free_address(tx, n, own_address)?;
            let other = free_address(tx, n, other_address)?;
            tx.prepare_cached("UPDATE machines SET address = ?2, other_address = ?3 WHERE n = ?1")?
                .execute((n, order.ip.unwrap_or(&own), &other))?;
            tx.prepare_cached(&format!("{MACHINE} WHERE n = ?1"))?
                .query_row([n], machine_of)
                .map(|machine| Made::Machine(Box::new(machine)))
        })
    }

    /// Changes what a machine is doing; false if it is not there (any more).
    pub(super) fn set_power(&mut self, id: &str, power: Power, ready_ms: i64) -> Result<bool> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE machines SET state = ?2, ready_ms = ?3 \
                 WHERE id = ?1 AND cancelled_ms IS NULL",
            )?
            .execute((id, power.as_str(), ready_ms))
            .map(|changed| changed > 0)
        })
    }

    /// Destroys a machine; false if it is not there (any more).
    pub(super) fn destroy(&mut self, id: &str, now_ms: i64) -> Result<bool> {
        self.write(|tx| {
            tx.prepare_cached(
                "UPDATE machines SET cancelled_ms = ?2 WHERE id = ?1 AND cancelled_ms IS NULL",
            )?
            .execute((id, now_ms))
            .map(|changed| changed > 0)
        })
    }
}

fn machine_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Machine> {
    let power: String = row.get(10)?;
    Ok(Machine {
        n: row.get(0)?,
        id: row.get(1)?,
        idempotency_key: row.get(2)?,
        provision_id: row.get(3)?,
        host: row.get(4)?,
        name: row.get(5)?,
        hostname: row.get(6)?,
        address: row.get(7)?,
        other_address: row.get(8)?,
        parameters: row.get(9)?,
        power: match power.as_str() {
            "off" => Power::Off,
            "rebooting" => Power::Rebooting,
            _ => Power::Active,
        },
        created_ms: row.get(11)?,
        ready_ms: row.get(12)?,
        cancelled_ms: row.get(13)?,
    })
}

/// The first address of a series, beginning with the machine's own, that no other machine has: one
/// may have been given it as `ip`.
fn free_address(
    tx: &Connection,
    n: i64,
    address: impl Fn(u32) -> String,
) -> rusqlite::Result<String> {
    let mut taken = tx.prepare_cached(
        "SELECT 1 FROM machines WHERE address = ?1 AND cancelled_ms IS NULL AND n <> ?2",
    )?;
    let mut number = u32::try_from(n.unsigned_abs() % (1 << 30)).unwrap_or_default();
    loop {
        let candidate = address(number);
        if !taken.exists((&candidate, n))? {
            return Ok(candidate);
        }
        number = number.wrapping_add(1);
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
