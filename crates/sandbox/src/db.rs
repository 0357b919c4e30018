//! The SQLite file: opened, checked, made private, filled for the first time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
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

/// Opens the state of a file, made if it does not exist.
pub(crate) fn open(path: &Path, settings: &SandboxSettings) -> Result<Db, SandboxError> {
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

/// Makes folder and file, both private, and refuses what is no SQLite file before SQLite sees it.
fn prepare_file(path: &Path) -> Result<(), SandboxError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| SandboxError::Folder { path: folder.to_owned(), source })?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| match source.kind() {
            ErrorKind::ReadOnlyFilesystem => SandboxError::ReadOnly { path: path.to_owned() },
            ErrorKind::PermissionDenied if File::open(path).is_ok() => {
                SandboxError::ReadOnly { path: path.to_owned() }
            }
            _ => SandboxError::File { path: path.to_owned(), source },
        })?;
    let failed = |source| SandboxError::File { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    let not_ours = |reason: &str| SandboxError::NotASandbox {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    if !metadata.is_file() {
        return Err(not_ours("it is no regular file"));
    }
    if metadata.len() > 0 {
        let mut magic = [0; 16];
        let read = file.read_exact(&mut magic);
        if read.is_err() || &magic != b"SQLite format 3\0" {
            return Err(not_ours("it is no SQLite database"));
        }
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
        _ => error,
    }
}
