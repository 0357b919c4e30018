//! The SQLite file: opened, checked, made private, filled for the first time.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::Secret;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::bootstrap;
use crate::crypt::{Cipher, KEY_LEN};
use crate::error::SandboxError;
use crate::settings::SandboxSettings;
use crate::store::{SCHEMA, Store};

/// Newest schema version that this program reads and writes.
const SCHEMA_VERSION: i64 = 1;

/// Marks our files among SQLite's (`PRAGMA application_id`): "OnSb".
const APPLICATION_ID: i64 = 0x4f6e_5362;

const META_SCHEMA: &str = "schema";
pub(crate) const META_KEY: &str = "key";
pub(crate) const META_SESSION: &str = "session";

/// Statements kept prepared; there are about 30.
const STATEMENT_CACHE: usize = 64;

/// An open state with what is read of it once.
pub(crate) struct Db {
    pub(crate) connection: Connection,
    pub(crate) cipher: Cipher,
    pub(crate) session: Secret,
}

/// Held while a file is opened. SQLite's locks are the process's, and closing any descriptor of the
/// file gives them up; so nobody may have the file open in SQLite between our making and closing it.
static OPENING: Mutex<()> = Mutex::new(());

/// Opens the state of a file, made if it does not exist.
pub(crate) fn open(path: &Path, settings: &SandboxSettings) -> Result<Db, SandboxError> {
    let _opening = OPENING.lock().unwrap_or_else(PoisonError::into_inner);
    prepare_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags)
        .map_err(SandboxError::Database)
        .and_then(|connection| set_up(connection, settings, path));
    opened.map_err(|error| name_the_trouble(error, path))
}

/// A state that ends with its value.
pub(crate) fn open_in_memory(settings: &SandboxSettings) -> Result<Db, SandboxError> {
    set_up(Connection::open_in_memory()?, settings, Path::new(":memory:"))
}

/// Makes folder and file, both private. A file that exists is not opened here (see [`OPENING`]).
fn prepare_file(path: &Path) -> Result<(), SandboxError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| SandboxError::Folder { path: folder.to_owned(), source })?;
    }
    let failed = |source: io::Error| match source.kind() {
        ErrorKind::ReadOnlyFilesystem => SandboxError::ReadOnly { path: path.to_owned() },
        _ => SandboxError::File { path: path.to_owned(), source },
    };
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let reason = "it is no regular file".to_owned();
        return Err(SandboxError::NotASandbox { path: path.to_owned(), reason });
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(())
}

fn set_up(
    mut connection: Connection,
    settings: &SandboxSettings,
    path: &Path,
) -> Result<Db, SandboxError> {
    connection.busy_timeout(settings.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // SQLite opens what it may not write for reading, and would fail at the first write only.
    if connection.is_readonly("main")? {
        return Err(SandboxError::ReadOnly { path: path.to_owned() });
    }
    // Somebody else's database is looked at and left alone.
    check_owner(&connection, path)?;
    // SQLite does not wait for other processes when it changes the journal mode.
    let deadline = Instant::now() + settings.busy_timeout;
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        if !is_locked(&error) || Instant::now() >= deadline {
            return Err(error.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.pragma_update(None, "synchronous", settings.synchronous.pragma())?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "trusted_schema", false)?;

    if !check_schema(&connection, path)? {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if !check_schema(&transaction, path)? {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            let store = Store(&transaction);
            store.set_meta(META_SCHEMA, SCHEMA_VERSION.to_string().as_bytes())?;
            bootstrap::fill(&transaction, settings)?;
        }
        transaction.commit()?;
    }

    let store = Store(&connection);
    let damaged = |what: &str| SandboxError::NotASandbox {
        path: path.to_owned(),
        reason: format!("its {what} is missing or damaged"),
    };
    let key = store.meta(META_KEY)?.filter(|key| key.len() == KEY_LEN);
    let cipher = key.as_deref().and_then(Cipher::new).ok_or_else(|| damaged("key"))?;
    let session = read_session(&connection)?.ok_or_else(|| damaged("session"))?;
    Ok(Db { connection, cipher, session })
}

/// The administrator's session string.
pub(crate) fn read_session(connection: &Connection) -> rusqlite::Result<Option<Secret>> {
    let bytes = Store(connection).meta(META_SESSION)?;
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(Secret::new))
}

fn check_owner(connection: &Connection, path: &Path) -> Result<(), SandboxError> {
    // Both answers of one moment: another process may be making the file right now.
    let moment = connection.unchecked_transaction()?;
    let id: i64 = moment.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        moment.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    moment.finish()?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    if id == 0 && tables == 0 {
        return Ok(());
    }
    let reason = "it is the database of another program".to_owned();
    Err(SandboxError::NotASandbox { path: path.to_owned(), reason })
}

/// Whether the tables are there, in a version that is known.
fn check_schema(connection: &Connection, path: &Path) -> Result<bool, SandboxError> {
    let exists: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta')",
        [],
        |row| row.get(0),
    )?;
    if !exists {
        return Ok(false);
    }
    let text = Store(connection).meta(META_SCHEMA)?;
    let found = text.and_then(|text| String::from_utf8(text).ok()?.parse::<i64>().ok());
    match found {
        Some(SCHEMA_VERSION) => Ok(true),
        Some(found) if found > SCHEMA_VERSION => {
            Err(SandboxError::NewerSchema { path: path.to_owned(), found, known: SCHEMA_VERSION })
        }
        _ => Err(SandboxError::NotASandbox {
            path: path.to_owned(),
            reason: "its schema version is missing or damaged".to_owned(),
        }),
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Turns SQLite's codes into what the operator has to look at.
fn name_the_trouble(error: SandboxError, path: &Path) -> SandboxError {
    let SandboxError::Database(source) = &error else { return error };
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SandboxError::Locked { path },
        Some(ErrorCode::ReadOnly) => SandboxError::ReadOnly { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            SandboxError::NotASandbox { path, reason: source.to_string() }
        }
        Some(ErrorCode::CannotOpen) => {
            SandboxError::File { path, source: io::Error::other(source.to_string()) }
        }
        _ => error,
    }
}
