//! The journal on disk: one SQLite file, one writer thread, group commit.
//!
//! SQLite runs with `journal_mode=WAL` and `synchronous=FULL`: a commit has reached the disk when
//! it returns. What waits while a commit is under way goes into the next one together, so a
//! thousand hosts cost few `fsync`s; where a crowd is at work, a commit even waits a little for more
//! of them, since the disk has others to serve (the front-end often lives on the same one). Several
//! processes may have the file open; each write is one short transaction.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use model::ProvisionId;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use tokio::sync::oneshot;

use crate::{Entry, Event, Journal, JournalError, ProvisionRecord, is_last_word};

/// What brings a file from each schema to the next one; the first step makes a new file. A step that
/// was released is never changed.
const STEPS: [&str; 1] = ["CREATE TABLE event (
         seq INTEGER PRIMARY KEY AUTOINCREMENT,
         provision TEXT NOT NULL,
         at INTEGER NOT NULL,
         body TEXT NOT NULL
     ) STRICT;
     CREATE INDEX event_provision ON event (provision, seq);"];

/// Schema of a new file. A file of a lower one is brought to it, a file of a higher one is refused.
pub const SCHEMA: i64 = STEPS.len() as i64;

/// The provisions, oldest first, each with its last event. From each the index leads to the next one: however
/// many events a provision has, they are passed over, where `GROUP BY` would look at every one.
const LAST_WORDS: &str = "WITH RECURSIVE known(provision) AS (
         SELECT min(provision) FROM event
         UNION ALL
         SELECT (SELECT min(provision) FROM event WHERE provision > known.provision)
         FROM known WHERE known.provision IS NOT NULL
     ), bounds(provision, first, last) AS (
         SELECT provision,
                (SELECT min(seq) FROM event WHERE provision = known.provision),
                (SELECT max(seq) FROM event WHERE provision = known.provision)
         FROM known WHERE provision IS NOT NULL
     )
     SELECT bounds.provision, body FROM bounds JOIN event ON seq = last ORDER BY first";

/// What is written of a provision.
const ENTRIES: &str = "SELECT seq, at, body FROM event WHERE provision = ? ORDER BY seq";

/// Entries that go into one transaction at the most.
const GROUP: usize = 1024;

/// Writers that are a crowd. Fewer than that wait for each commit, and nobody is served by a delay.
const CROWD: usize = 16;

/// How long a crowd's commit waits for company: as a multiple of the time that the last one took, so
/// that the disk is free for others most of the time, and at the most.
const GATHER: (u32, Duration) = (3, Duration::from_millis(10));

/// The longest that what nobody waits for is kept for company ([`Journal::append_at_leisure`]).
const LEISURE: Duration = Duration::from_millis(10);

/// How long a write waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(30);

/// How often it is tried again where SQLite does not wait by itself.
const PACE: Duration = Duration::from_millis(5);

/// The journal in a SQLite file.
#[derive(Debug)]
pub struct SqliteJournal {
    path: PathBuf,
    /// Opened when something is read: many a command only writes.
    reader: Mutex<Option<Connection>>,
    writer: Sender<Message>,
}

/// What the writer's thread is told.
enum Message {
    Write(Write),
    /// One more is at work who appends on his own.
    Entered,
    /// One of them has left.
    Left,
}

struct Write {
    provision: ProvisionId,
    at: i64,
    bodies: Vec<String>,
    /// Whether somebody waits for it.
    urgent: bool,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl SqliteJournal {
    /// Opens the file, and makes it and its folder (modes 0600 and 0700) if they are not there.
    ///
    /// # Errors
    /// If the file cannot be used, is no journal, or was written by a later version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let writer = connect(path)?;
        migrate(&writer, path, &STEPS)?;
        let (sender, receiver) = channel();
        let thread_path = path.to_owned();
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_loop(writer, &thread_path, &receiver))
            .map_err(|e| JournalError::Open { path: path.to_owned(), source: e.into() })?;
        Ok(Self { path: path.to_owned(), reader: Mutex::default(), writer: sender })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match reader.take() {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        read(reader.insert(connection)).map_err(|e| sqlite_error(&self.path, "read", e))
    }

    /// Hands events to the writer, and returns when it has committed them.
    async fn write(
        &self,
        provision: ProvisionId,
        at: i64,
        events: &[Event],
        urgent: bool,
    ) -> Result<(), JournalError> {
        let closed = || JournalError::Closed { path: self.path.clone() };
        let bodies = self.bodies(provision, events)?;
        let (done, acknowledged) = oneshot::channel();
        let write = Write { provision, at, bodies, urgent, done };
        self.writer.send(Message::Write(write)).map_err(|_| closed())?;
        acknowledged.await.map_err(|_| closed())?
    }

    /// Events as they are written.
    fn bodies(
        &self,
        provision: ProvisionId,
        events: &[Event],
    ) -> Result<Vec<String>, JournalError> {
        let bodies = events.iter().map(serde_json::to_string).collect::<Result<_, _>>();
        bodies.map_err(|source| JournalError::Entry {
            path: self.path.clone(),
            provision,
            seq: 0,
            source,
        })
    }

    /// The provisions, oldest first, each with its last event as it is written.
    fn last_words(&self) -> Result<Vec<(ProvisionId, Vec<u8>)>, JournalError> {
        let words: Vec<(String, Vec<u8>)> = self.read(|connection| {
            let mut select = connection.prepare_cached(LAST_WORDS)?;
            let word = |row: &Row<'_>| {
                let id = String::from_utf8_lossy(row.get_ref(0)?.as_bytes()?).into_owned();
                Ok((id, row.get_ref(1)?.as_bytes()?.to_vec()))
            };
            select.query_map([], word)?.collect()
        })?;
        // The column is only ever written from a ProvisionId.
        Ok(words.into_iter().filter_map(|(id, body)| Some((id.parse().ok()?, body))).collect())
    }

    /// All that is written of a provision, also what cannot be understood.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn written(&self, provision: ProvisionId) -> Result<Vec<Written>, JournalError> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(ENTRIES)?;
            let written = |row: &Row<'_>| {
                let body = row.get_ref(2)?.as_bytes()?.to_vec();
                let event = serde_json::from_slice(&body);
                Ok(Written { provision, seq: row.get(0)?, at: row.get(1)?, body, event })
            };
            select.query_map([provision.to_string()], written)?.collect()
        })
    }

    /// Takes entries of a provision out of the journal, into a new file of mode 0600, a line of JSON each
    /// ([`Written::line`]), and adds what is to stand in their place. Whoever calls it has the provision's
    /// lease.
    ///
    /// # Errors
    /// If the file is there already or cannot be written, or the journal cannot: then the journal is as it was.
    pub fn set_aside(
        &self,
        aside: &[Written],
        file: &Path,
        provision: ProvisionId,
        at: i64,
        events: &[Event],
    ) -> Result<(), JournalError> {
        let sqlite = |e| sqlite_error(&self.path, "written", e);
        let bodies = self.bodies(provision, events)?;
        let lines: Vec<String> = aside.iter().map(|entry| format!("{}\n", entry.line())).collect();
        write_new(file, lines.concat().as_bytes())
            .map_err(|source| JournalError::Aside { file: file.to_owned(), source })?;
        let mut connection = connect(&self.path)?;
        let behavior = TransactionBehavior::Immediate;
        let transaction = connection.transaction_with_behavior(behavior).map_err(sqlite)?;
        for entry in aside {
            let delete = "DELETE FROM event WHERE seq = ? AND provision = ?";
            let row = params![entry.seq, provision.to_string()];
            transaction.execute(delete, row).map_err(sqlite)?;
        }
        insert(&transaction, &provision.to_string(), at, &bodies).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)
    }

    /// Gives each entry of a provision to `take`, in their order.
    fn each(
        &self,
        provision: ProvisionId,
        mut take: impl FnMut(Entry),
    ) -> Result<(), JournalError> {
        let damaged =
            |seq, source| JournalError::Entry { path: self.path.clone(), provision, seq, source };
        self.read(|connection| {
            let mut select = connection.prepare_cached(ENTRIES)?;
            let mut rows = select.query([provision.to_string()])?;
            while let Some(row) = rows.next()? {
                let (seq, at) = (row.get(0)?, row.get(1)?);
                match serde_json::from_slice(row.get_ref(2)?.as_bytes()?) {
                    Ok(event) => take(Entry { seq, provision, at, event }),
                    Err(source) => return Ok(Err(damaged(seq, source))),
                }
            }
            Ok(Ok(()))
        })?
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
        self.write(provision, at, &events, true).await
    }

    async fn append_at_leisure(
        &self,
        provision: ProvisionId,
        at: i64,
        events: Vec<Event>,
    ) -> Result<(), JournalError> {
        self.write(provision, at, &events, false).await
    }

    // A writer that has ended waits for nobody.
    fn enter(&self) {
        let _ = self.writer.send(Message::Entered);
    }

    fn leave(&self) {
        let _ = self.writer.send(Message::Left);
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        self.each(provision, |entry| entries.push(entry))?;
        Ok(entries)
    }

    /// Entry by entry: those of ten thousand hosts take many times the room of what they make.
    async fn record(&self, id: ProvisionId) -> Result<Option<ProvisionRecord>, JournalError> {
        let mut record = None;
        self.each(id, |entry| {
            let record = record.get_or_insert_with(|| ProvisionRecord::new(id));
            record.apply(entry.at, &entry.event);
        })?;
        Ok(record)
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        Ok(self.last_words()?.into_iter().map(|(id, _)| id).collect())
    }

    async fn live(&self) -> Result<Vec<ProvisionId>, JournalError> {
        // A last word that cannot be read is none: whoever reads the whole will say so.
        let is_live = |body: &[u8]| !serde_json::from_slice(body).is_ok_and(|e| is_last_word(&e));
        let words = self.last_words()?.into_iter();
        Ok(words.filter(|(_, body)| is_live(body)).map(|(id, _)| id).collect())
    }
}

/// An entry as it is written, whether or not it can be understood.
#[derive(Debug)]
pub struct Written {
    /// Its number in the journal.
    pub seq: i64,
    /// The provision.
    pub provision: ProvisionId,
    /// When it was written, in milliseconds since 1970.
    pub at: i64,
    /// What it says, or why it cannot be understood.
    pub event: Result<Event, serde_json::Error>,
    body: Vec<u8>,
}

impl Written {
    /// As `journal export` shows it: `seq`, `provision`, `at`, `body`. What cannot be understood has, instead
    /// of the latter, its text as `text`, or its bytes in hexadecimal as `bytes`.
    pub fn line(&self) -> serde_json::Value {
        let mut line = serde_json::json!({
            "seq": self.seq, "provision": self.provision, "at": self.at,
        });
        match (&self.event, std::str::from_utf8(&self.body)) {
            (Ok(event), _) => line["body"] = serde_json::json!(event),
            (Err(_), Ok(text)) => line["text"] = text.into(),
            (Err(_), Err(_)) => {
                let bytes = self.body.iter().map(|byte| format!("{byte:02x}"));
                line["bytes"] = bytes.collect::<String>().into();
            }
        }
        line
    }
}

/// Writes a file that is not there yet, so that it is on the disk when this returns; or leaves none.
fn write_new(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    let written = new.write_all(content).and_then(|()| new.sync_all());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let synced =
        written.and_then(|()| File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all());
    if synced.is_err() {
        // Why it could not be written is worth more than why it stays.
        let _ = std::fs::remove_file(file);
    }
    synced
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
    // SQLite would make the file with the umask's mode. One that is there is not touched: to close it
    // would drop the locks that this process has on it (against which newer SQLites guard the log alone).
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.map(drop).or_else(|error| match error.kind() {
        ErrorKind::AlreadyExists => Ok(()),
        _ => Err(io(error)),
    })?;
    let open = || {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open().map_err(|e: rusqlite::Error| match e.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path: path.to_owned() },
        // The system has better words for it. What cannot be opened has no locks to lose.
        Some(ErrorCode::CannotOpen) => match OpenOptions::new().write(true).open(path) {
            Err(system) => io(system),
            Ok(_) => JournalError::Open { path: path.to_owned(), source: e.into() },
        },
        _ => JournalError::Open { path: path.to_owned(), source: e.into() },
    })
}

/// Has a file written by way of a log. SQLite does not wait by itself for another process that is just doing
/// that to a new file, whatever the time that it may take.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && begun.elapsed() < BUSY =>
            {
                thread::sleep(PACE);
            }
            set => return set,
        }
    }
}

/// Brings a file to the newest schema that `steps` know, in one transaction: another process sees
/// the old one or the new one, and so does whoever comes after a crash.
fn migrate(connection: &Connection, path: &Path, steps: &[&str]) -> Result<(), JournalError> {
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
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(JournalError::Newer { path: path.to_owned(), found, known });
    }
    let done = found.and_then(|found| usize::try_from(found).ok()).unwrap_or(0);
    for step in steps.iter().skip(done) {
        transaction.execute_batch(step).map_err(error)?;
    }
    if found != Some(known) {
        let sql = match found {
            Some(_) => "UPDATE meta SET schema = ?",
            None => "INSERT INTO meta VALUES (?)",
        };
        transaction.execute(sql, [known]).map_err(error)?;
    }
    transaction.commit().map_err(error)
}

/// How long a commit of a crowd waits for company.
#[derive(Clone, Copy)]
struct Waits {
    /// Once somebody waits for it.
    urgent: Duration,
    /// As long as nobody does.
    leisure: Duration,
}

impl Waits {
    /// After a commit that took so long.
    fn after(last: Duration) -> Self {
        Self { urgent: (last * GATHER.0).min(GATHER.1), leisure: LEISURE }
    }
}

fn write_loop(mut connection: Connection, path: &Path, queue: &Receiver<Message>) {
    let (mut crowd, mut last) = (0, Duration::ZERO);
    while let Ok(message) = queue.recv() {
        let Some(first) = heed(message, &mut crowd) else { continue };
        let mut group = vec![first];
        gather(&mut group, queue, &mut crowd, Waits::after(last));
        let begun = Instant::now();
        let written = write_group(&mut connection, &group);
        last = begun.elapsed();
        if written.is_ok() {
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

/// Counts who is at work; what is to be written is for the caller.
fn heed(message: Message, crowd: &mut usize) -> Option<Write> {
    match message {
        Message::Write(write) => return Some(write),
        Message::Entered => *crowd = crowd.saturating_add(1),
        Message::Left => *crowd = crowd.saturating_sub(1),
    }
    None
}

/// Takes what is there, and where a crowd is at work what comes before the commit. When all who are at work
/// have written, nobody else can come.
fn gather(group: &mut Vec<Write>, queue: &Receiver<Message>, crowd: &mut usize, waits: Waits) {
    let begun = Instant::now();
    let mut urgent = None;
    while group.len() < GROUP {
        if urgent.is_none() && group.last().is_some_and(|write| write.urgent) {
            urgent = Some(Instant::now());
        }
        let end = match urgent {
            _ if group.len() >= *crowd => begun,
            Some(_) if *crowd < CROWD => begun,
            Some(since) => since + waits.urgent,
            None => begun + waits.leisure,
        };
        // What is there is taken also when nothing is waited for.
        match queue.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(message) => group.extend(heed(message, crowd)),
            Err(_) => return,
        }
    }
}

fn write_group(connection: &mut Connection, group: &[Write]) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for write in group {
        insert(&transaction, &write.provision.to_string(), write.at, &write.bodies)?;
    }
    transaction.commit()
}

fn insert(to: &Connection, provision: &str, at: i64, bodies: &[String]) -> rusqlite::Result<()> {
    let mut insert =
        to.prepare_cached("INSERT INTO event (provision, at, body) VALUES (?, ?, ?)")?;
    bodies.iter().try_for_each(|body| insert.execute(params![provision, at, body]).map(drop))
}

fn sqlite_error(path: &Path, what: &'static str, source: rusqlite::Error) -> JournalError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => JournalError::Full { path: path.to_owned() },
        _ => JournalError::Sqlite { path: path.to_owned(), what, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: &str = "ALTER TABLE event ADD COLUMN host INTEGER; \
         UPDATE event SET host = json_extract(body, '$.host')";

    fn schema(connection: &Connection) -> i64 {
        connection.query_row("SELECT schema FROM meta", [], |row| row.get(0)).unwrap()
    }

    async fn old_file(folder: &Path) -> PathBuf {
        let path = folder.join("journal.db");
        let journal = SqliteJournal::open(&path).unwrap();
        let host = model::HostKey(3);
        let id = ProvisionId(uuid_of(7));
        let event = Event::Addressed { host, address: "10.0.0.1".to_owned() };
        journal.append(id, 1, vec![event]).await.unwrap();
        path
    }

    fn uuid_of(n: u128) -> uuid::Uuid {
        uuid::Uuid::from_u128(n)
    }

    #[tokio::test]
    async fn an_older_file_is_brought_up_to_date_once_and_keeps_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = old_file(folder.path()).await;
        let connection = connect(&path).unwrap();
        let steps = [STEPS[0], NEXT];
        migrate(&connection, &path, &steps).unwrap();
        // A second process, and the next command: there is nothing left to be done.
        migrate(&connect(&path).unwrap(), &path, &steps).unwrap();
        assert_eq!(schema(&connection), 2);
        let host: i64 =
            connection.query_row("SELECT host FROM event", [], |row| row.get(0)).unwrap();
        assert_eq!(host, 3);
        // The program that knows less refuses it now.
        let refused = SqliteJournal::open(&path).unwrap_err();
        assert!(matches!(refused, JournalError::Newer { found: 2, known: 1, .. }), "{refused:?}");
    }

    /// What SQLite does to tell the provisions, each with so many events.
    async fn steps_to_find_provisions(events: usize) -> i32 {
        let folder = tempfile::tempdir().unwrap();
        let journal = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
        let ids = [9, 3, 7].map(|n| ProvisionId(uuid_of(n)));
        for id in ids {
            journal.append(id, 1, vec![Event::Resumed; events]).await.unwrap();
        }
        assert_eq!(journal.provisions().await.unwrap(), ids);
        assert_eq!(journal.live().await.unwrap(), ids);
        let steps = journal.read(|connection| {
            let mut select = connection.prepare(LAST_WORDS)?;
            let mut rows = select.query([])?;
            while rows.next()?.is_some() {}
            drop(rows);
            Ok(select.get_status(rusqlite::StatementStatus::VmStep))
        });
        steps.unwrap()
    }

    #[tokio::test]
    async fn what_a_command_looks_through_does_not_grow_with_the_events() {
        let few = steps_to_find_provisions(2).await;
        assert_eq!(steps_to_find_provisions(2000).await, few);
    }

    #[tokio::test]
    async fn a_step_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = old_file(folder.path()).await;
        let connection = connect(&path).unwrap();
        let failed = migrate(&connection, &path, &[STEPS[0], NEXT, "no sql"]).unwrap_err();
        assert!(matches!(failed, JournalError::Sqlite { what: "written", .. }), "{failed:?}");
        assert_eq!(schema(&connection), 1);
        let journal = SqliteJournal::open(&path).unwrap();
        assert_eq!(journal.entries(ProvisionId(uuid_of(7))).await.unwrap().len(), 1);
    }

    fn write(urgent: bool) -> Write {
        let (done, _) = oneshot::channel();
        Write { provision: ProvisionId(uuid_of(7)), at: 1, bodies: Vec::new(), urgent, done }
    }

    const NEVER: Duration = Duration::from_secs(60);

    /// What goes with a write that comes first, where those who are awaited in vain are awaited for as long
    /// as given.
    fn gathered(
        first: bool,
        queue: &Receiver<Message>,
        mut crowd: usize,
        wait: Duration,
    ) -> Vec<bool> {
        let mut group = vec![write(first)];
        let begun = Instant::now();
        gather(&mut group, queue, &mut crowd, Waits { urgent: wait, leisure: wait });
        assert_eq!(begun.elapsed() >= wait, wait < NEVER);
        group.iter().map(|write| write.urgent).collect()
    }

    #[test]
    fn what_nobody_waits_for_is_kept_until_somebody_does_or_nobody_is_left() {
        let (sender, queue) = channel();
        let send = |urgent| sender.send(Message::Write(write(urgent))).unwrap();
        // Alone, or without company that could come: at once.
        assert_eq!(gathered(true, &queue, 1, NEVER), [true]);
        assert_eq!(gathered(false, &queue, 1, NEVER), [false]);
        assert_eq!(gathered(true, &queue, CROWD - 1, NEVER), [true]);
        // Others are at work: for them, but not for ever.
        assert_eq!(gathered(false, &queue, 3, Duration::from_millis(1)), [false]);
        [false, true].into_iter().for_each(send);
        assert_eq!(gathered(false, &queue, 5, NEVER), [false, false, true]);
        // All of them are there.
        send(false);
        assert_eq!(gathered(false, &queue, 2, NEVER), [false, false]);
    }

    #[test]
    fn a_crowd_that_has_written_is_not_waited_for() {
        let (sender, queue) = channel();
        (1..CROWD).for_each(|_| sender.send(Message::Write(write(true))).unwrap());
        assert_eq!(gathered(true, &queue, CROWD, NEVER).len(), CROWD);
    }

    #[test]
    fn who_leaves_is_not_waited_for_and_who_comes_is() {
        let (sender, queue) = channel();
        let send = |messages: [Message; 2]| {
            messages.into_iter().for_each(|message| sender.send(message).unwrap());
        };
        send([Message::Left, Message::Left]);
        assert_eq!(gathered(false, &queue, 3, NEVER), [false]);
        send([Message::Entered, Message::Write(write(false))]);
        assert_eq!(gathered(false, &queue, 2, Duration::from_millis(1)), [false, false]);
    }

    #[test]
    fn processes_that_make_the_same_file_at_once_make_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| SqliteJournal::open(&path).unwrap());
            }
        });
        let connection = connect(&path).unwrap();
        let rows: i64 =
            connection.query_row("SELECT count(*) FROM meta", [], |row| row.get(0)).unwrap();
        assert_eq!((rows, schema(&connection)), (1, SCHEMA));
    }
}
