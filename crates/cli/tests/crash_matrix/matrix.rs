//! Every point of every operation, on all processors, and the table.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::checks::{after_kill, at_the_end, perhaps_started, suggests, unnamed};
use crate::operations::{End, FollowUp, Operation, host_delete, update, words};
use crate::world::{Kind, Output, Point, World};

/// A point that depends on how fast something else was may be missed now and then.
const TRIES: usize = 12;

/// Runs by which the points are counted of an operation whose hosts race to its clean-up: how far the
/// others come depends on the time. Those that every run passes are taken; `create` has the others.
const RACES: usize = 6;

/// One kill and what comes after it.
struct Case {
    kind: Kind,
    operation: &'static Operation,
    point: Point,
    follow_up: FollowUp,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Killed before anything was begun.
    NothingBegun,
    /// Everything there, or all that was to remain.
    Done,
    /// Nothing left.
    CleanedUp,
    /// Parked first, and ended when the operator had looked.
    Parked(End),
}

/// A line of the table.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    points: usize,
    runs: usize,
    nothing_begun: usize,
    done: usize,
    cleaned_up: usize,
    parked: usize,
    unnamed: usize,
}

pub struct Matrix {
    cases: Vec<Case>,
    lines: BTreeMap<(usize, &'static str, &'static str), Line>,
}

impl Matrix {
    pub fn new() -> Self {
        Self { cases: Vec::new(), lines: BTreeMap::new() }
    }

    /// Runs the operation without a kill, and adds all points that it passed. What follows at a point takes
    /// turns, so that each operation has all of it at hundreds of points; `CRASH_MATRIX_ALL=1` has all of
    /// it at each point.
    pub fn add(&mut self, kind: Kind, operation: &'static Operation) {
        let mut points = count(kind, operation);
        if operation.races {
            for _ in 1..RACES {
                let again = count(kind, operation);
                points.retain(|point| again.contains(point));
            }
        }
        self.line(kind, operation).points += points.len();
        let follow_ups = operation.follow_ups;
        let each =
            if std::env::var_os("CRASH_MATRIX_ALL").is_some() { follow_ups.len() } else { 1 };
        for (n, point) in points.into_iter().enumerate() {
            for follow_up in follow_ups.iter().copied().cycle().skip(n).take(each) {
                self.cases.push(Case { kind, operation, point: point.clone(), follow_up });
            }
        }
    }

    fn line(&mut self, kind: Kind, operation: &'static Operation) -> &mut Line {
        let place = crate::OPERATIONS.iter().position(|one| one.name == operation.name);
        let world = match kind {
            Kind::Embedded => "embedded, dummy",
            Kind::Site => "HTTP, executables",
        };
        self.lines.entry((place.unwrap_or_default(), operation.name, world)).or_default()
    }

    /// Runs all cases, prints the table, and fails if one of them did.
    pub fn run(mut self) {
        let cases = std::mem::take(&mut self.cases);
        let next = AtomicUsize::new(0);
        let ended = Mutex::new(Vec::new());
        // Most of a case is waiting: for a process, or for a network to be gone.
        let workers = 3 * std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let result = catch_unwind(AssertUnwindSafe(|| case.run()));
                        ended.lock().unwrap().push((case, result));
                    }
                });
            }
        });
        let mut failures = Vec::new();
        for (case, result) in ended.into_inner().unwrap() {
            let line = self.line(case.kind, case.operation);
            line.runs += 1;
            match result {
                Ok((ended, nobody_names)) => {
                    line.unnamed += nobody_names;
                    match ended {
                        Ended::NothingBegun => line.nothing_begun += 1,
                        Ended::Done => line.done += 1,
                        Ended::CleanedUp => line.cleaned_up += 1,
                        Ended::Parked(_) => line.parked += 1,
                    }
                }
                Err(panic) => failures.push(case.described(&*panic)),
            }
        }
        self.print();
        assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    }

    fn print(&self) {
        println!(
            "| operation | world | kill points | runs | nothing begun | to done | cleaned up | parked, then resolved | machines that nobody names |"
        );
        println!("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        for ((_, name, world), line) in &self.lines {
            let Line { points, runs, nothing_begun, done, cleaned_up, parked, unnamed } = line;
            println!(
                "| {name} | {world} | {points} | {runs} | {nothing_begun} | {done} | {cleaned_up} | {parked} | {unnamed} |"
            );
        }
    }
}

/// Runs an operation without a kill: all points that it passed.
fn count(kind: Kind, operation: &'static Operation) -> Vec<Point> {
    let world = World::new(kind);
    let command = (operation.prepare)(&world, operation);
    let before = world.cloud().points().len();
    let ended = world.run(&words(&command));
    assert_eq!(ended.code, Some(operation.exits), "{}: {}", operation.name, ended.stderr);
    let mut points = world.points();
    points.retain(|point| !point.is_waiting());
    assert!(points.len() > 20, "is the binary built with --features crash-points?");
    for name in world.cloud().points().into_iter().skip(before) {
        for power_cut in [false, true] {
            points.push(Point::Driver { name: name.clone(), power_cut });
        }
    }
    points
}

impl Case {
    fn described(&self, panic: &(dyn std::any::Any + Send)) -> String {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("?");
        let Self { kind, operation, point, follow_up } = self;
        format!("* {} ({kind:?}) killed at {point:?}, then {follow_up:?}: {text}", operation.name)
    }

    fn run(&self) -> (Ended, usize) {
        for _ in 0..TRIES {
            let world = World::new(self.kind);
            let command = (self.operation.prepare)(&world, self.operation);
            let killed = world.run_until(&words(&command), Some(&self.point));
            if killed.signal == Some(9) {
                return self.go_on(&world);
            }
            assert!(!killed.stderr.contains("panicked"), "{}", killed.stderr);
        }
        panic!("the point was not reached");
    }

    fn go_on(&self, world: &World) -> (Ended, usize) {
        let journal = world.journal();
        after_kill(world, &journal);
        let nobody_names = unnamed(world, &journal);
        let Some(id) = world.provisions().into_iter().next() else {
            return (Ended::NothingBegun, nobody_names);
        };
        let end = (self.operation.end)(self.operation, self.follow_up, &journal);
        let followed = self.follow(world, &id);
        let unknown = self.may_be_unknown(world, &journal);
        let mut parked = false;
        if matches!(followed.code, Some(3 | 255)) {
            for host in unknown {
                parked |= look_into_the_console(world, &id, &followed, host);
            }
        }
        match parked {
            true => self.follow(world, &id).exits_well(self, end),
            false => followed.exits_well(self, end),
        }
        at_the_end(world, self.operation.hosts.len(), end);
        // Nothing is left to do, and that is no error.
        let before = world.ever();
        let again = match end {
            End::Absent => world.run(&["delete", &id]),
            End::Present(_) => world.run(&["resume", &id]),
        };
        assert_eq!(again.code, Some(0), "again: {}", again.stderr);
        assert_eq!(world.ever(), before, "a command with nothing to do has bought something");
        if !world.calls_left().is_empty() {
            // A driver that outlived both: the next command after its end clears what it left.
            world.cloud().wait_for_drivers();
            world.run(&["delete", &id]);
            at_the_end(world, self.operation.hosts.len(), End::Absent);
        }
        assert_eq!(world.calls_left(), Vec::<String>::new(), "files of driver calls are left");
        world.cloud().wait_for_drivers();
        let ended = match end {
            _ if parked => Ended::Parked(end),
            End::Present(_) => Ended::Done,
            End::Absent => Ended::CleanedUp,
        };
        (ended, nobody_names)
    }

    fn follow(&self, world: &World, id: &str) -> Output {
        match self.follow_up {
            FollowUp::Resume => world.run(&["resume", id]),
            FollowUp::ResumeCleanup => world.run(&["resume", "--fail-cleanup", id]),
            FollowUp::Delete => world.run(&["delete", id]),
            FollowUp::Update => world.run(&words(&update(world, self.operation, id))),
            FollowUp::HostDelete => {
                let listed = world.run(&["host", "list", "--csv", "--no-header"]);
                match listed.stdout.lines().any(|line| line.starts_with("0,")) {
                    true => world.run(&words(&host_delete())),
                    // The object is gone; what is left of it is not a host any more.
                    false => world.run(&["resume", id]),
                }
            }
        }
    }

    /// Hosts of which it may be impossible to find out what their deploy did: tool and driver died
    /// before the driver said anything, or before anybody wrote down that it was started.
    fn may_be_unknown(&self, world: &World, journal: &[Value]) -> BTreeSet<u64> {
        let mut hosts = BTreeSet::new();
        if let Point::Driver { name, power_cut: true } = &self.point
            && name.starts_with("deploy")
            && !name.contains("told")
        {
            hosts.insert(name.split(' ').nth(1).unwrap().parse().unwrap());
        }
        if world.kind == Kind::Site {
            hosts.extend(perhaps_started(journal));
        }
        hosts
    }
}

/// What the operator does about a machine of which it is not known whether it exists. False if the
/// tool does not ask about that one.
fn look_into_the_console(world: &World, id: &str, followed: &Output, host: u64) -> bool {
    let command = format!("host resolve {id}:{host} ");
    if !suggests(&followed.stderr, &command) {
        return false;
    }
    let listed = world.run(&["list", "--csv", "--no-header"]);
    let known = listed.stdout.contains(",unknown\n") || listed.stdout.contains(",parked\n");
    assert!(known, "neither unknown nor parked: {}", listed.stdout);
    let bill = world.bill();
    let of_host =
        |one: &&String| world.hosts_of(&[(*one).clone()]).iter().all(|n| u64::from(*n) == host);
    let what = format!("{id}:{host}");
    let resolved = match bill.iter().find(of_host) {
        Some(machine) => world.run(&["host", "resolve", &what, "--exists", machine]),
        None => world.run(&["host", "resolve", &what, "--gone"]),
    };
    assert!(matches!(resolved.code, Some(0 | 3)), "{}", resolved.stderr);
    true
}

impl Point {
    /// A network that is being made or removed is asked after until it is there or gone: how often
    /// depends on the time. The first two times are there in every run.
    fn is_waiting(&self) -> bool {
        let (Self::Inside(name) | Self::Request(name) | Self::Driver { name, .. }) = self;
        let times = name.rsplit('#').next().and_then(|times| times.parse().ok());
        name.contains("one.vn.info") && times > Some(2)
    }
}

impl Output {
    fn exits_well(&self, case: &Case, end: End) {
        // A create that fails says so, also if it cleans up after a resume.
        let failing = case.follow_up == FollowUp::ResumeCleanup && end == End::Absent;
        let well = self.code == Some(0) || (failing && self.code == Some(255));
        assert!(well, "{:?} {:?} after the kill:\n{}", case.follow_up, self.code, self.stderr);
    }
}
