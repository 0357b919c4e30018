//! The last write did not reach the disk as a whole: a power cut, or a disk that forgets.
//!
//! What was acknowledged before it is there, and nothing else is: the fold is that of a prefix.

use std::path::Path;

use journal::{Entry, Event, Journal, SqliteJournal};

use crate::{event, fast_folder, id};

/// Appends that are acknowledged one by one.
const WRITES: u32 = 6;
/// Bytes of a frame of SQLite's log (<https://sqlite.org/fileformat2.html#walformat>): its head and
/// a page. The log itself has a head of 32 bytes.
const FRAME: usize = 24 + 4096;

/// The two files of a journal as a power cut finds them, and where each write ended in the second.
struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
    ends: Vec<usize>,
}

async fn written() -> Files {
    let folder = fast_folder();
    let path = folder.path().join("journal.db");
    let log = folder.path().join("journal.db-wal");
    let journal = SqliteJournal::open(&path).unwrap();
    let mut ends = Vec::new();
    for n in 0..WRITES {
        // Two events each: all of a write is there, or none of it.
        journal.append(id(1), 1, vec![event(n), event(n + 100)]).await.unwrap();
        ends.push(usize::try_from(std::fs::metadata(&log).unwrap().len()).unwrap());
    }
    assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "the log grows: {ends:?}");
    // Read while it is open: closing it would move the log into the database.
    Files { database: std::fs::read(&path).unwrap(), log: std::fs::read(&log).unwrap(), ends }
}

/// What the next process finds.
async fn found(database: &[u8], log: &[u8]) -> Vec<Event> {
    let folder = fast_folder();
    found_in(folder.path(), database, log).await
}

async fn found_in(folder: &Path, database: &[u8], log: &[u8]) -> Vec<Event> {
    let path = folder.join("journal.db");
    std::fs::write(&path, database).unwrap();
    std::fs::write(folder.join("journal.db-wal"), log).unwrap();
    let journal = SqliteJournal::open(&path).unwrap();
    let entries = journal.entries(id(1)).await.unwrap();
    entries.into_iter().map(|Entry { event, .. }| event).collect()
}

fn prefix(writes: usize) -> Vec<Event> {
    let events = |n| [event(n), event(n + 100)];
    (0..WRITES).take(writes).flat_map(events).collect()
}

#[tokio::test]
async fn cut_off_at_any_byte_it_is_whole_or_not_there() {
    let files = written().await;
    let (last, before) = (files.ends[WRITES as usize - 1], files.ends[WRITES as usize - 2]);
    for length in before..=last {
        let whole = files.ends.iter().filter(|end| **end <= length).count();
        let events = found(&files.database, &files.log[..length]).await;
        assert_eq!(events, prefix(whole), "cut off after {length} of {last} bytes");
    }
}

#[tokio::test]
async fn a_log_that_is_lost_with_its_end_is_a_prefix() {
    let files = written().await;
    for length in (0..=files.log.len()).step_by(97) {
        let whole = files.ends.iter().filter(|end| **end <= length).count();
        let events = found(&files.database, &files.log[..length]).await;
        assert_eq!(events, prefix(whole), "cut off after {length} bytes");
    }
}

#[tokio::test]
async fn a_damaged_byte_in_the_last_write_undoes_it_and_no_other() {
    let files = written().await;
    let all = WRITES as usize;
    // Every byte of the frames' heads, and of their pages so many that no field is passed over.
    let pages = (files.ends[all - 2]..files.ends[all - 1])
        .filter(|at| at % 3 == 0 || (at - 32) % FRAME < 64);
    for at in pages {
        let mut log = files.log.clone();
        log[at] ^= 0x10;
        let events = found(&files.database, &log).await;
        assert_eq!(events, prefix(all - 1), "byte {at} damaged");
    }
}

#[tokio::test]
async fn what_comes_after_a_torn_write_is_written_and_kept() {
    let files = written().await;
    let folder = fast_folder();
    let torn = files.ends[WRITES as usize - 1] - 1;
    assert_eq!(
        found_in(folder.path(), &files.database, &files.log[..torn]).await,
        prefix(WRITES as usize - 1)
    );
    let path = folder.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.append(id(1), 2, vec![event(50)]).await.unwrap();
    drop(journal);
    let entries = SqliteJournal::open(&path).unwrap().entries(id(1)).await.unwrap();
    assert_eq!(entries.last().unwrap().event, event(50));
    assert_eq!(entries.len(), prefix(WRITES as usize - 1).len() + 1);
}
