//! The journal on disk, through its public face.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use journal::{
    CreateBegun, CreateOptions, Event, Fact, Journal, JournalError, Machine, Outcome,
    ProvisionRecord, SqliteJournal, Step, Subject, Written,
};
use model::{DeployId, HostKey, ProvisionId, ProvisionState};

fn id(n: u128) -> ProvisionId {
    format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
}

fn begun(hosts: usize) -> Event {
    Event::CreateBegun(Box::new(CreateBegun {
        name: "p".into(),
        endpoint: "sandbox".into(),
        template: "/t.yaml".into(),
        digest: "00".into(),
        options: CreateOptions { skip_config: true, ..CreateOptions::default() },
        spec: journal::StoredSpec::of(&serde_json::json!({"hosts": []})).unwrap(),
        drivers: vec!["dummy".into(); hosts],
        datastores: 1,
        networks: 0,
        virtuals: BTreeMap::new(),
    }))
}

fn host_steps(record: &mut ProvisionRecord, host: HostKey) -> Vec<Event> {
    let subject = Subject::Host(host);
    let mut events = Vec::new();
    for (step, fact) in [
        (Step::Create, Fact::Object(7)),
        (Step::Deploy, Fact::Machine(DeployId::new("m-1").unwrap())),
    ] {
        let id = record.next_intent();
        for event in [
            Event::Intent { id, subject, step, key: Some("k".into()) },
            Event::Outcome { id, outcome: Outcome::Done(fact) },
        ] {
            record.apply(5, &event);
            events.push(event);
        }
    }
    events
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.db");
    let mut expected = ProvisionRecord::new(id(1));
    let journal = SqliteJournal::open(&path).unwrap();
    expected.apply(5, &begun(2));
    journal.append(id(1), 5, vec![begun(2)]).await.unwrap();
    let steps = host_steps(&mut expected, HostKey(1));
    journal.append(id(1), 5, steps).await.unwrap();
    journal.append(id(2), 6, vec![Event::DeleteBegun { cleanup: None }]).await.unwrap();
    drop(journal);

    let journal = SqliteJournal::open(&path).unwrap();
    assert_eq!(journal.provisions().await.unwrap(), [id(1), id(2)]);
    assert_eq!(journal.record(id(1)).await.unwrap(), Some(expected));
    assert_eq!(journal.record(id(3)).await.unwrap(), None);
    let record = journal.record(id(1)).await.unwrap().unwrap();
    assert_eq!(record.hosts[&HostKey(1)].machine.id().map(DeployId::as_str), Some("m-1"));
    assert_eq!((record.machines(), record.state), (1, ProvisionState::Creating));
    let entries = journal.entries(id(1)).await.unwrap();
    assert!(entries.windows(2).all(|pair| pair[0].seq < pair[1].seq));
}

#[tokio::test]
async fn what_is_deleted_is_not_looked_through_again() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
    let memory = journal::MemoryJournal::new();
    let deleted = || Event::Ended { state: ProvisionState::Deleted };
    let parked = || Event::Ended { state: ProvisionState::Parked };
    for journal in [&sqlite as &dyn Journal, &memory] {
        journal.append(id(3), 1, vec![begun(1), deleted()]).await.unwrap();
        journal.append(id(2), 1, vec![begun(1), parked()]).await.unwrap();
        journal.append(id(1), 1, vec![begun(1)]).await.unwrap();
        journal
            .append(id(4), 1, vec![deleted(), Event::DeleteBegun { cleanup: None }])
            .await
            .unwrap();
        assert_eq!(journal.live().await.unwrap(), [id(2), id(1), id(4)]);
        assert_eq!(journal.provisions().await.unwrap(), [id(3), id(2), id(1), id(4)]);
    }
}

#[cfg(unix)]
#[test]
fn file_and_folder_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/journal.db");
    SqliteJournal::open(&path).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn many_writers_at_once_lose_nothing_and_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    // Two connections, as two processes would have.
    let journals = [SqliteJournal::open(&path).unwrap(), SqliteJournal::open(&path).unwrap()];
    let journals = journals.map(Arc::new);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64_u32 {
        let journal = Arc::clone(&journals[n as usize % 2]);
        tasks.spawn(async move {
            for step in 0..5 {
                let event = Event::Addressed { host: HostKey(n), address: step.to_string() };
                journal.append(id(9), 1, vec![event]).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let entries = journals[0].entries(id(9)).await.unwrap();
    assert_eq!(entries.len(), 64 * 5);
    for n in 0..64 {
        let of_host = entries.iter().filter_map(|entry| match &entry.event {
            Event::Addressed { host, address } if *host == HostKey(n) => Some(address.as_str()),
            _ => None,
        });
        assert_eq!(of_host.collect::<Vec<_>>(), ["0", "1", "2", "3", "4"]);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    SqliteJournal::open(&path).unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE meta SET schema = 99", []).unwrap();
    let refused = SqliteJournal::open(&path).unwrap_err();
    assert!(matches!(refused, JournalError::Newer { found: 99, .. }), "{refused:?}");
    let schema: i64 = file.query_row("SELECT schema FROM meta", [], |row| row.get(0)).unwrap();
    assert_eq!(schema, 99);
}

#[test]
fn what_is_no_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database, and it is longer than a header ".repeat(100))
        .unwrap();
    let refused = SqliteJournal::open(&text).unwrap_err().to_string();
    assert!(refused.contains("text.db"), "{refused}");
    assert!(SqliteJournal::open(folder.path()).is_err());
}

#[tokio::test]
async fn a_row_that_is_damaged_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.append(id(1), 1, vec![begun(1)]).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE event SET body = '{\"event\":\"from_the_future\"}'", []).unwrap();
    let refused = journal.record(id(1)).await.unwrap_err();
    let is_it = |error: &JournalError| matches!(error, JournalError::Entry { seq: 1, provision, .. } if *provision == id(1));
    assert!(is_it(&refused), "{refused:?}");
}

#[tokio::test]
async fn what_is_set_aside_is_kept_and_concerns_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = SqliteJournal::open(&path).unwrap();
    journal.append(id(1), 1, vec![begun(1), Event::Resumed, Event::Resumed]).await.unwrap();
    journal.append(id(2), 2, vec![begun(1)]).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute("UPDATE event SET body = 'no \"JSON' WHERE seq = 2", []).unwrap();
    // A bit that has turned over is not even text any more.
    file.execute("UPDATE event SET body = CAST(x'7BFF7D' AS TEXT) WHERE seq = 3", []).unwrap();
    assert_eq!(journal.provisions().await.unwrap(), [id(1), id(2)]);
    assert_eq!(journal.live().await.unwrap(), [id(1), id(2)]);
    let written = journal.written(id(1)).unwrap();
    let damaged: Vec<Written> = written.into_iter().filter(|entry| entry.event.is_err()).collect();
    let aside = folder.path().join("aside.jsonl");
    std::fs::write(&aside, "somebody's").unwrap();
    let failed = Event::Ended { state: ProvisionState::Failed };
    let set_aside = || journal.set_aside(&damaged, &aside, id(1), 3, std::slice::from_ref(&failed));
    let refused = set_aside().unwrap_err();
    assert!(matches!(refused, JournalError::Aside { .. }), "{refused:?}");
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), "somebody's");
    let still = journal.entries(id(1)).await.unwrap_err();
    assert!(matches!(still, JournalError::Entry { seq: 2, .. }), "{still:?}");
    std::fs::remove_file(&aside).unwrap();
    set_aside().unwrap();
    let left = journal.entries(id(1)).await.unwrap();
    let left: Vec<(i64, i64, Event)> = left.into_iter().map(|e| (e.seq, e.at, e.event)).collect();
    assert_eq!(left, [(1, 1, begun(1)), (5, 3, failed.clone())]);
    assert_eq!(journal.entries(id(2)).await.unwrap().len(), 1);
    let kept = std::fs::read_to_string(&aside).unwrap();
    let kept: Vec<serde_json::Value> =
        kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |seq: i64| serde_json::json!({ "seq": seq, "provision": id(1), "at": 1 });
    let mut wanted = [of(2), of(3)];
    wanted[0]["text"] = "no \"JSON".into();
    wanted[1]["bytes"] = "7bff7d".into();
    assert_eq!(kept, wanted);
}

#[test]
fn a_maybe_machine_counts_as_billed() {
    let mut record = ProvisionRecord::new(id(1));
    record.apply(1, &begun(1));
    let intent = record.next_intent();
    let subject = Subject::Host(HostKey(0));
    record.apply(1, &Event::Intent { id: intent, subject, step: Step::Deploy, key: None });
    let outcome = Outcome::Unknown { evidence: "no answer".into() };
    record.apply(1, &Event::Outcome { id: intent, outcome });
    assert_eq!(record.machines(), 1);
    assert!(matches!(record.hosts[&HostKey(0)].machine, Machine::Maybe { .. }));
    // An outcome of an intent that nobody had is passed over.
    let stray = Outcome::Done(Fact::Machine(DeployId::new("m").unwrap()));
    record.apply(1, &Event::Outcome { id: intent, outcome: stray });
    assert!(matches!(record.hosts[&HostKey(0)].machine, Machine::Maybe { .. }));
}

/// Whether commits are gathered or not, each append returns when its events are there, and in order.
#[tokio::test]
async fn a_crowd_is_answered_as_one_alone_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    let journal = Arc::new(SqliteJournal::open(&path).unwrap());
    (0..20).for_each(|_| journal.enter());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let (journal, path) = (Arc::clone(&journal), path.clone());
        tasks.spawn(async move {
            for host in 0..5 {
                let event = Event::HostFailed { host: HostKey(host), message: "no".into() };
                journal.append(id(n), 1, vec![event]).await.unwrap();
                let other = SqliteJournal::open(&path).unwrap();
                assert_eq!(other.entries(id(n)).await.unwrap().len(), host as usize + 1);
            }
        });
    }
    tasks.join_all().await;
    (0..20).for_each(|_| journal.leave());
    let alone = Event::HostFailed { host: HostKey(9), message: "no".into() };
    journal.append(id(0), 1, vec![alone.clone()]).await.unwrap();
    let events: Vec<Event> =
        journal.entries(id(0)).await.unwrap().into_iter().map(|entry| entry.event).collect();
    let hosts: Vec<u32> = events
        .iter()
        .map(|event| match event {
            Event::HostFailed { host, .. } => host.0,
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(hosts, [0, 1, 2, 3, 4, 9]);
    // What folds entry by entry comes to the same as what folds them all.
    let mut folded = ProvisionRecord::new(id(0));
    events.iter().for_each(|event| folded.apply(1, event));
    assert_eq!(journal.record(id(0)).await.unwrap(), Some(folded));
    assert_eq!(journal.record(id(99)).await.unwrap(), None);
}
