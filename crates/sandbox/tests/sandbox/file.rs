//! The file: private, durable, shared by processes, refused when it is something else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use rusqlite::Connection;
use sandbox::{Sandbox, SandboxError, SandboxSettings, Version};

use crate::support::{DELAY, call, settings, text};

fn open(path: &Path) -> Result<Sandbox, SandboxError> {
    Sandbox::open(path, settings(Version::V7_4).0)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn state_survives_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/sandbox.db");
    let (settings, clock) = settings(Version::V7_4);
    let first = Sandbox::open(&path, settings.clone()).unwrap();
    let session = first.session();
    let session = session.expose();
    let id = call(&first, session, "one.cluster.allocate", &["c".into()]).id();
    let net = ["NAME=n\nVN_MAD=bridge".into(), id.into()];
    let net = call(&first, session, "one.vn.allocate", &net).id();
    let secret = ["NAME=d\nPROVISION_BODY=top-secret-value".into(), 4242.into()];
    call(&first, session, "one.document.allocate", &secret).id();
    for file in fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{file:?}");
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(16).any(|w| w == b"top-secret-value"), "{file:?}");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(first);

    // What was begun by one process is ended by the next.
    clock.advance(DELAY);
    let second = Sandbox::open(&path, settings).unwrap();
    assert_eq!(second.session().expose(), session);
    let info = call(&second, session, "one.vn.info", &[net.into()]).xml();
    assert_eq!(text(&info, "STATE").as_deref(), Some("1"));
    assert_eq!(call(&second, session, "one.cluster.allocate", &["d".into()]).id(), id + 1);
}

#[test]
fn a_file_that_others_could_read_is_made_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    drop(open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn two_at_once_see_each_other_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    // They make the file at the same time, too.
    let start = Arc::new(Barrier::new(4));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (path, start) = (path.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                let sandbox = open(&path).unwrap();
                let session = sandbox.session();
                for number in 0..25 {
                    let name = format!("h{worker}-{number}");
                    let params = [name.into(), "kvm".into(), "kvm".into(), (-1).into()];
                    call(&sandbox, session.expose(), "one.host.allocate", &params).id();
                }
                session
            })
        })
        .collect();
    let sessions: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
    assert!(sessions.windows(2).all(|pair| pair[0] == pair[1]));
    let sandbox = open(&path).unwrap();
    let pool = call(&sandbox, sessions[0].expose(), "one.hostpool.info", &[]).xml();
    let mut ids: Vec<i32> =
        crate::support::all(&pool, "ID").iter().map(|id| id.parse().unwrap()).collect();
    ids.reverse();
    assert_eq!(ids, (0..100).collect::<Vec<_>>());
}

#[test]
fn what_is_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for content in [&b"short"[..], &[b'x'; 5000]] {
        fs::write(&path, content).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, SandboxError::NotASandbox { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE meta (a); INSERT INTO meta VALUES (1)").unwrap();
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("another program"), "{error}");
    let error = open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
    let below_a_file = path.join("sandbox.db");
    let error = open(&below_a_file).unwrap_err();
    assert!(matches!(error, SandboxError::Folder { .. }), "{error:?}");
}

#[test]
fn a_read_only_file_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    drop(open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().write(true).open(&path).is_ok() {
        println!("skipped: permissions do not hold this user off");
        return;
    }
    let error = open(&path).unwrap_err();
    assert!(matches!(error, SandboxError::ReadOnly { .. }), "{error:?}");
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    drop(open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    raw.execute("UPDATE meta SET value = '99' WHERE key = 'schema'", []).unwrap();
    drop(raw);
    let error = open(&path).unwrap_err();
    assert!(matches!(error, SandboxError::NewerSchema { found: 99, known: 1, .. }), "{error:?}");
}

#[test]
fn a_damaged_file_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    drop(open(&path).unwrap());
    let raw = Connection::open(&path).unwrap();
    raw.execute("DELETE FROM meta WHERE key = 'key'", []).unwrap();
    drop(raw);
    let error = open(&path).unwrap_err();
    assert!(error.to_string().contains("its key is missing"), "{error}");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    for wal in ["sandbox.db-wal", "sandbox.db-shm"] {
        let _ = fs::remove_file(folder.path().join(wal));
    }
    let error = open(&path).unwrap_err();
    assert!(matches!(error, SandboxError::NotASandbox { .. }), "{error:?}");
}

#[test]
fn another_process_that_does_not_let_go_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    let impatient =
        SandboxSettings { busy_timeout: Duration::from_millis(20), ..settings(Version::V7_4).0 };
    let sandbox = Sandbox::open(&path, impatient.clone()).unwrap();
    let session = sandbox.session();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Reads go on; a write says what oned says of its database.
    call(&sandbox, session.expose(), "one.hostpool.info", &[]).xml();
    let (code, words) =
        call(&sandbox, session.expose(), "one.cluster.allocate", &["c".into()]).error();
    assert_eq!(code, 8192);
    assert!(words.ends_with("database is locked"), "{words}");
    other.execute_batch("ROLLBACK").unwrap();
    call(&sandbox, session.expose(), "one.cluster.allocate", &["c".into()]).id();
    drop(sandbox);

    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let error = Sandbox::open(&path, impatient).unwrap_err();
    assert!(matches!(error, SandboxError::Locked { .. }), "{error:?}");
}

#[test]
fn nothing_secret_is_printed() {
    let sandbox = Sandbox::in_memory(SandboxSettings::default()).unwrap();
    let session = sandbox.session();
    let printed = format!("{sandbox:?} {:?} {session:?}", SandboxSettings::default());
    assert!(!printed.contains(session.expose()), "{printed}");
}
