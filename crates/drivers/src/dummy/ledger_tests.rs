use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn owner(host: &str) -> Owner {
    Owner { provision_id: "p".into(), host: host.into() }
}

fn order<'a>(owner: &'a Owner, key: &'a str) -> Order<'a> {
    let (name, hostname, parameters) = ("n", "", "[]");
    Order { owner, key, name, hostname, ip: None, quota: None, parameters, now_ms: 1, ready_ms: 1 }
}

fn made(made: Made) -> Machine {
    match made {
        Made::Machine(machine) => *machine,
        Made::Quota(live) => panic!("quota with {live} machines"),
    }
}

#[test]
fn the_same_key_never_makes_a_second_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let a = owner("a");
    let first = made(ledger.make(&order(&a, "k1")).unwrap());
    assert_eq!(made(ledger.make(&order(&a, "k1")).unwrap()), first);
    let second = made(ledger.make(&order(&a, "k2")).unwrap());
    assert_ne!((&second.id, &second.address), (&first.id, &first.address));
    assert!(ledger.destroy(&first.id, 5).unwrap());
    assert!(!ledger.destroy(&first.id, 6).unwrap());
    assert!(!ledger.set_power(&first.id, Power::Off, 7).unwrap());
    assert_eq!(ledger.bill().unwrap(), [second]);
    assert_eq!(ledger.machines().unwrap().len(), 2);
}

#[test]
fn an_address_that_was_given_away_is_not_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let a = owner("a");
    let taken = own_address(2);
    let first = Order { ip: Some(&taken), ..order(&a, "k1") };
    assert_eq!(made(ledger.make(&first).unwrap()).address, taken);
    assert_eq!(made(ledger.make(&order(&a, "k2")).unwrap()).address, own_address(3));
    assert_eq!(made(ledger.make(&order(&a, "k3")).unwrap()).address, own_address(4));
}

#[test]
fn calls_are_counted_per_host_and_action() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let mut nth = |host: &str, action| ledger.begin(&owner(host), None, action, "k", 1).unwrap();
    assert_eq!(nth("a", Action::Deploy).1, 1);
    assert_eq!(nth("a", Action::Deploy).1, 2);
    assert_eq!(nth("b", Action::Deploy).1, 1);
    let (call, count) = nth("a", Action::Poll);
    assert_eq!(count, 1);
    ledger.end(call, Some("dummy-1"), "ok", 9).unwrap();
    let calls = ledger.calls().unwrap();
    assert_eq!(calls.len(), 4);
    assert_eq!((calls[2].outcome.clone(), calls[1].nth), (None, 2));
    assert_eq!(calls[3].outcome.as_deref(), Some("ok"));
    assert_eq!(calls[3].machine.as_deref(), Some("dummy-1"));
}

#[test]
fn many_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                // Opening races too: the first ones make the file.
                for n in 0..10 {
                    let mut ledger = Ledger::open(path).unwrap();
                    let key = format!("k{}", (thread * 10 + n) / 2);
                    ledger.make(&order(&owner("a"), &key)).unwrap();
                }
            });
        }
    });
    assert_eq!(Ledger::open(path).unwrap().bill().unwrap().len(), 40);
}

#[test]
fn a_ledger_that_cannot_be_used_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let failed = |path: &Path| Ledger::open(path).err().unwrap().to_string();
    std::fs::write(dir.path().join("file"), "").unwrap();
    assert!(failed(&dir.path().join("file/x")).starts_with("cannot make the folder"));
    let garbage = dir.path().join("garbage");
    std::fs::create_dir(&garbage).unwrap();
    std::fs::write(garbage.join(FILE), "this is no database at all, only text".repeat(50)).unwrap();
    assert!(failed(&garbage).ends_with("is damaged or no ledger"), "{}", failed(&garbage));
    let newer = dir.path().join("newer");
    Ledger::open(&newer).unwrap().connection.pragma_update(None, "user_version", 99).unwrap();
    assert!(failed(&newer).contains("newer version (schema 99"));
}

#[test]
fn a_full_ledger_says_so_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    let pages: i64 = ledger.connection.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
    ledger.connection.pragma_update(None, "max_page_count", pages + 1).unwrap();
    let a = owner("a");
    let error = (0..10_000)
        .find_map(|n| ledger.make(&order(&a, &format!("{n}-{}", "k".repeat(500)))).err())
        .unwrap();
    assert!(error.to_string().ends_with("the disk is full"), "{error}");
    assert!(!ledger.bill().unwrap().is_empty());
}

#[test]
fn a_read_only_ledger_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(dir.path()).unwrap();
    ledger.connection.pragma_update(None, "query_only", true).unwrap();
    let error = ledger.destroy("x", 1).unwrap_err().to_string();
    assert!(error.ends_with("it is read-only"), "{error}");
    drop(ledger);
    let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o002, 0);
}
