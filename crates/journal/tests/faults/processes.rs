//! Two processes at once, real ones: the test starts itself again as a writer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use journal::{Event, Journal, Lease, LeaseError, SqliteJournal};

use crate::{event, fast_folder, id};

/// Names the folder that a writer works in.
const FOLDER: &str = "JOURNAL_TEST_FOLDER";
/// Names the writer's provision by its number.
const NUMBER: &str = "JOURNAL_TEST_NUMBER";
/// Appends of a writer; more than any test waits for.
const WRITES: u32 = 100_000;

/// Not a test: what a child does. It says `ACK n` once the nth write is acknowledged.
#[tokio::test]
#[ignore = "a child of the tests below"]
async fn writer() {
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else { return };
    let number: u128 = std::env::var(NUMBER).unwrap().parse().unwrap();
    let _lease = Lease::take(&folder.join("leases"), id(number)).unwrap();
    let journal = SqliteJournal::open(&folder.join("journal.db")).unwrap();
    for n in 0..WRITES {
        journal.append(id(number), 1, vec![event(n)]).await.unwrap();
        // A parent that is gone ends it.
        writeln!(std::io::stdout(), "ACK {n}").unwrap();
    }
}

struct Writer {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Writer {
    fn start(folder: &std::path::Path, number: u128) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "processes::writer", "--nocapture"])
            .env(FOLDER, folder)
            .env(NUMBER, number.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said }
    }

    /// The number of the next write that it had acknowledged; `None` once it is dead.
    fn next(&mut self) -> Option<u32> {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            // Behind the harness's own words, and whole: the last line may be cut off.
            let number = line.rsplit("ACK ").next().filter(|_| line.contains("ACK "));
            if let Some(number) = number.and_then(|rest| rest.strip_suffix('\n')) {
                return Some(number.parse().unwrap());
            }
            line.clear();
        }
        None
    }

    fn wait_for(&mut self, write: u32) {
        while self.next().unwrap() < write {}
    }

    /// Kills it with `SIGKILL`; returns the last write that it had acknowledged.
    fn kill(mut self) -> Option<u32> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut last = None;
        while let Some(write) = self.next() {
            last = Some(write);
        }
        last
    }
}

#[tokio::test]
async fn what_two_writers_had_acknowledged_is_there_after_both_were_killed() {
    let folder = fast_folder();
    let mut writers = [1, 2].map(|number| Writer::start(folder.path(), number));
    for writer in &mut writers {
        writer.wait_for(200);
    }
    for (number, writer) in (1..).zip(writers) {
        let acknowledged = writer.kill().unwrap_or(200);
        let journal = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
        let entries = journal.entries(id(number)).await.unwrap();
        let events: Vec<Event> = entries.into_iter().map(|entry| entry.event).collect();
        // One more may have been written whose acknowledgement was never heard.
        let count = u32::try_from(events.len()).unwrap();
        assert!(count > acknowledged, "{count} events, {acknowledged} acknowledged");
        assert_eq!(events, (0..count).map(event).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_lease_names_its_process_and_ends_with_it() {
    let folder = fast_folder();
    let leases = folder.path().join("leases");
    let mut writer = Writer::start(folder.path(), 1);
    writer.wait_for(0);
    let pid = writer.child.id().to_string();
    let refused = Lease::take(&leases, id(1)).unwrap_err();
    let LeaseError::Held { holder, provision } = &refused else { panic!("{refused:?}") };
    assert_eq!((holder, *provision), (&pid, id(1)));
    assert!(refused.to_string().contains(&pid), "{refused}");
    assert!(Lease::is_held(&leases, id(1)));
    // Others are nobody's.
    drop(Lease::take(&leases, id(2)).unwrap());
    writer.kill();
    // At once, and not after some time.
    assert!(!Lease::is_held(&leases, id(1)));
    Lease::take(&leases, id(1)).unwrap();
}
