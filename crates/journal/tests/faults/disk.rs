//! A full disk and a read-only one: small file systems of their own, where this user may mount any.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use journal::{Journal, JournalError, SqliteJournal};

use crate::{event, id};

/// A file system in memory, gone with its owner.
struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, with a word about it, where it cannot be mounted.
    fn mounted(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={size},mode=0700");
        match mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path()) {
            true => Some(Self(folder)),
            false => {
                println!("skipped: this user cannot mount a small file system");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let mounted = Command::new("mount").args(arguments).arg(folder).output();
    mounted.is_ok_and(|mounted| mounted.status.success())
}

#[tokio::test]
async fn a_full_disk_is_named_and_loses_nothing_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::mounted("600k") else { return };
    let path = disk.path("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    // What is thrown away later.
    std::fs::write(disk.path("ballast"), vec![1; 200 << 10]).unwrap();
    let mut written = 0;
    let full = loop {
        match journal.append(id(1), 1, vec![event(written)]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100_000, "the disk never gets full");
    };
    assert!(matches!(full, JournalError::Full { .. }), "{full:?}");
    assert!(full.to_string().contains("nothing further was begun"), "{full}");
    assert!(written > 0);
    // Again, and by another process: the same answer, and reading still works.
    let again = journal.append(id(1), 1, vec![event(written)]).await.unwrap_err();
    assert!(matches!(again, JournalError::Full { .. }), "{again:?}");
    assert_eq!(journal.entries(id(1)).await.unwrap().len(), written as usize);

    std::fs::remove_file(disk.path("ballast")).unwrap();
    journal.append(id(1), 1, vec![event(written)]).await.unwrap();
    drop(journal);
    let entries = SqliteJournal::open(&path).unwrap().entries(id(1)).await.unwrap();
    let events: Vec<_> = entries.into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, (0..=written).map(event).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_disk_that_is_full_from_the_beginning_is_named() {
    let Some(disk) = Disk::mounted("64k") else { return };
    std::fs::write(disk.path("ballast"), vec![1; 60 << 10]).unwrap();
    let refused = SqliteJournal::open(&disk.path("journal.db")).unwrap_err();
    assert!(matches!(refused, JournalError::Full { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_read_only_disk_is_named() {
    let Some(disk) = Disk::mounted("1m") else { return };
    let path = disk.path("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.append(id(1), 1, vec![event(0)]).await.unwrap();
    drop(journal);
    // The writer's thread closes the file on its own, and until then it cannot be had read-only.
    let begun = Instant::now();
    while !mount(&["-o", "remount,ro"], disk.0.path()) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the file is never closed");
        std::thread::sleep(Duration::from_millis(10));
    }
    for name in ["journal.db", "new/journal.db"] {
        let path = disk.path(name);
        let refused = SqliteJournal::open(&path).unwrap_err();
        let JournalError::Open { source, .. } = &refused else { panic!("{refused:?}") };
        assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
        assert!(source.to_string().to_lowercase().contains("read-only"), "{source}");
    }
    assert!(mount(&["-o", "remount,rw"], disk.0.path()));
    assert_eq!(SqliteJournal::open(&path).unwrap().entries(id(1)).await.unwrap().len(), 1);
}
