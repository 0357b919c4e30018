//! Events per second of the journal with one writer and with many, over what SQLite does on the same
//! disk with as many rows in a transaction.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use journal::{Event, IntentId, Journal as _, SqliteJournal, Step, Subject};
use model::{HostKey, ProvisionId};
use rusqlite::{Connection, params};

use crate::Surroundings;
use crate::failure::{Because as _, Result};
use crate::report::{Goal, Report, float, median, say};

const NAME: &str = "journal";
/// The table of the journal, and how it is opened.
const SCHEMA: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
    CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, provision TEXT NOT NULL,
    at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE INDEX event_provision ON event (provision, seq);";

/// Runs the benchmark.
///
/// # Errors
/// If it could not be run.
pub fn run(surroundings: &Surroundings, report: &mut Report) -> Result<()> {
    let rounds = if surroundings.quick { 1 } else { 16 };
    for writers in [1, 16, 256] {
        let events = match (surroundings.quick, writers) {
            (true, _) => 3,
            (false, 1) => 100,
            (false, 16) => 50,
            (false, _) => 20,
        };
        let (mut ours, mut own) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let folder = surroundings.new_folder("journal")?;
            // Many short rounds, each of them first by turns: a disk is never the same for long.
            if round % 2 == 0 {
                own.push(of_sqlite(&folder, writers, events)?);
            }
            ours.push(of_journal(&folder, writers, events)?);
            if round % 2 == 1 {
                own.push(of_sqlite(&folder, writers, events)?);
            }
        }
        let (ours, own) = (median(&ours), median(&own));
        let case = format!("{writers} writer{}", if writers == 1 { "" } else { "s" });
        say(&format!("{case}: {ours:.0} events/s, SQLite {own:.0}"));
        report.add(NAME, &case, "SQLite's own speed over ours", (own / ours, "x"), Goal::None);
        report.add(NAME, &case, "events per second", (ours, "/s"), Goal::None);
    }
    Ok(())
}

/// What a host does most: an intent of its own.
fn event(n: usize) -> Event {
    Event::Intent {
        id: IntentId(u64::try_from(n).unwrap_or(u64::MAX)),
        subject: Subject::Host(HostKey(7)),
        step: Step::Deploy,
        key: Some("11111111-2222-4333-8444-555555555555-0000000000000007-1".to_owned()),
    }
}

fn of_journal(folder: &Path, writers: usize, events: usize) -> Result<f64> {
    let journal = Arc::new(SqliteJournal::open(&folder.join("journal.db")).because("the journal")?);
    let runtime = tokio::runtime::Runtime::new().because("no runtime")?;
    let begun = Instant::now();
    runtime.block_on(async {
        let id = ProvisionId(uuid::Uuid::new_v4());
        let write = |_| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move {
                for n in 0..events {
                    journal.append(id, 1, vec![event(n)]).await?;
                }
                Ok::<_, journal::JournalError>(())
            })
        };
        let tasks: Vec<_> = (0..writers).map(write).collect();
        for task in tasks {
            task.await.because("a writer")?.because("the journal")?;
        }
        Ok::<_, crate::failure::Failure>(())
    })?;
    Ok(float(writers * events) / begun.elapsed().as_secs_f64())
}

fn of_sqlite(folder: &Path, writers: usize, events: usize) -> Result<f64> {
    let mut connection = Connection::open(folder.join("sqlite.db")).because("SQLite")?;
    connection.execute_batch(SCHEMA).because("SQLite")?;
    let body = serde_json::to_string(&event(7)).because("an event")?;
    let id = uuid::Uuid::new_v4().to_string();
    let begun = Instant::now();
    let mut commit = || -> rusqlite::Result<()> {
        let transaction = connection.transaction()?;
        for _ in 0..writers {
            let sql = "INSERT INTO event (provision, at, body) VALUES (?, ?, ?)";
            transaction.prepare_cached(sql)?.execute(params![id, 1, body])?;
        }
        transaction.commit()
    };
    (0..events).try_for_each(|_| commit()).because("SQLite")?;
    Ok(float(writers * events) / begun.elapsed().as_secs_f64())
}
