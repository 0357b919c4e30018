//! A front-end that gets into trouble while it is used: a provision is delayed by that, and does not
//! fail. Every kind of trouble comes with every request of a create and of a delete.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::checks::{at_the_end, suggests};
use crate::front_end::Trouble;
use crate::operations::{End, words};
use crate::world::{Kind, Output, World};

const HOSTS: [&str; 2] = ["host-a", "host-b"];

fn create(world: &World) -> Vec<String> {
    let template = world.template(&HOSTS);
    vec!["create".to_owned(), template.to_str().unwrap().to_owned()]
}

fn created(world: &World) -> String {
    let created = world.run(&words(&create(world)));
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    world.provisions().remove(0)
}

/// One trouble at one request of a create or a delete.
fn endure(trouble: Trouble, request: usize, delete: bool) -> Output {
    let world = World::new(Kind::Site);
    let (command, end) = match delete {
        false => (create(&world), End::Present(HOSTS.len())),
        true => (vec!["delete".to_owned(), created(&world)], End::Absent),
    };
    world.front_end().trouble(trouble, request);
    let ended = world.run_in_trouble(&words(&command));
    world.front_end().well();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    at_the_end(&world, HOSTS.len(), end);
    ended
}

#[test]
fn trouble_at_any_request_delays_and_does_not_fail() {
    let mut cases = Vec::new();
    for delete in [false, true] {
        let world = World::new(Kind::Site);
        let command = match delete {
            false => create(&world),
            true => vec!["delete".to_owned(), created(&world)],
        };
        world.front_end().well();
        assert_eq!(world.run_in_trouble(&words(&command)).code, Some(0));
        let requests = world.front_end().points().len();
        assert!(requests > 15, "{requests}");
        for trouble in Trouble::ALL {
            // Before the first answer it is likelier that the endpoint or the password is wrong, and
            // that is told at once. The first reads of a delete, of nine pools, go out together.
            let known = if delete { 11 } else { 2 };
            let first = match trouble {
                Trouble::Authentication | Trouble::Garbage => known,
                _ => 1,
            };
            cases.extend((first..=requests).map(|request| (trouble, request, delete)));
        }
    }
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::<String, Vec<String>>::new());
    let workers = 3 * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((trouble, request, delete)) =
                    cases.get(next.fetch_add(1, Ordering::Relaxed)).copied()
                {
                    let ended = std::panic::catch_unwind(|| endure(trouble, request, delete));
                    let Err(panic) = ended else { continue };
                    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                    let what = if delete { "delete" } else { "create" };
                    let mut failures = failures.lock().unwrap();
                    let all = failures.entry(format!("{trouble:?} in {what}")).or_default();
                    all.push(format!("at request {request}: {text}"));
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    println!("{} troubles endured, {} not", cases.len(), failures.values().flatten().count());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn without_patience_it_fails_and_resume_goes_on() {
    let world = World::new(Kind::Site);
    let command = create(&world);
    world.front_end().well();
    assert_eq!(world.run_in_trouble(&words(&command)).code, Some(0));
    let requests = world.front_end().points().len();
    for request in (1..=requests).step_by(4) {
        let world = World::new(Kind::Site);
        world.front_end().trouble_for(Trouble::Down, request, Duration::from_secs(600));
        let command = create(&world);
        let ended = world.run_in_trouble(&[&["--patience", "1"], &words(&command)[..]].concat());
        assert_eq!(ended.code, Some(255), "{}", ended.stderr);
        assert!(ended.stderr.contains("ERROR: "), "{}", ended.stderr);
        let Some(id) = world.provisions().into_iter().next() else {
            assert_eq!(request, 1, "only what never began is not written down");
            assert_eq!(ended.stdout, "");
            assert!(!ended.stderr.contains("resume"), "nothing was begun: {}", ended.stderr);
            continue;
        };
        assert_eq!(ended.stdout, format!("ID: {id}\n"));
        for way in ["resume", "delete"] {
            let command = format!("{way} {id}");
            assert!(suggests(&ended.stderr, &command), "lacks {command}:\n{}", ended.stderr);
        }
        world.front_end().well();
        let resumed = world.run(&["resume", &id]);
        assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
        at_the_end(&world, HOSTS.len(), End::Present(HOSTS.len()));
    }
}

#[test]
fn what_somebody_deleted_by_hand_is_success_and_said() {
    let world = World::new(Kind::Site);
    let id = created(&world);
    let sandbox = world.sandbox();
    for (method, object) in
        [("one.host.delete", 0), ("one.datastore.delete", 100), ("one.vn.delete", 0)]
    {
        // A network that is still being made refuses to be deleted.
        while !crate::front_end::call(&sandbox, method, object) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let deleted = world.run(&["delete", &id]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    for said in ["already deleted", "No machine exists."] {
        assert!(deleted.stderr.contains(said), "lacks {said:?}:\n{}", deleted.stderr);
    }
    at_the_end(&world, HOSTS.len(), End::Absent);
    // And what somebody cancelled in the provider's console.
    let world = World::new(Kind::Site);
    let id = created(&world);
    let machine = world.bill().remove(0);
    std::fs::remove_dir(world.cloud().folder().join("machines").join(machine)).unwrap();
    let deleted = world.run(&["delete", &id]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    at_the_end(&world, HOSTS.len(), End::Absent);
}
