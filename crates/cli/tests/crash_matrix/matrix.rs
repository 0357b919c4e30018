//! Every point of every operation, on all processors, and the table.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::checks::{after_kill, at_the_end, unnamed};
use crate::operations::{End, FollowUp, Operation, host_delete, words};
use crate::world::{Kind, Output, Point, World};

/// A point that depends on how fast something else was (a network that is being deleted is asked
/// after until it is gone) may be missed once.
const TRIES: usize = 3;

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

    /// Runs the operation without a kill, and adds all points that it passed.
    pub fn add(&mut self, kind: Kind, operation: &'static Operation) {
        let world = World::new(kind);
        let command = (operation.prepare)(&world, operation);
        let before = world.cloud().points().len();
        let ended = world.run(&words(&command));
        assert_eq!(ended.code, Some(operation.exits), "{}: {}", operation.name, ended.stderr);
        let mut points = world.points();
        assert!(points.len() > 20, "is the binary built with --features crash-points?");
        for name in world.cloud().points().into_iter().skip(before) {
            for power_cut in [false, true] {
                points.push(Point::Driver { name: name.clone(), power_cut });
            }
        }
        self.line(kind, operation).points += points.len();
        for point in points {
            for follow_up in operation.follow_ups.iter().copied() {
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
        let mut parked = false;
        if self.may_be_parked() && followed.code != Some(0) {
            parked = true;
            self.look_into_the_console(world, &id, &followed);
            self.follow(world, &id).exits_well(self, end);
        } else {
            followed.exits_well(self, end);
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

    /// Whether it may be impossible to find out what a deploy did: the tool and the driver died
    /// before the driver said anything, and nobody can be asked.
    fn may_be_parked(&self) -> bool {
        match &self.point {
            Point::Driver { name, power_cut: true } => {
                name.starts_with("deploy") && !name.contains("told")
            }
            _ => false,
        }
    }

    /// What the operator does about a machine of which it is not known whether it exists.
    fn look_into_the_console(&self, world: &World, id: &str, followed: &Output) {
        let code = followed.code;
        assert!(matches!(code, Some(3 | 255)), "{code:?}: {}", followed.stderr);
        let Point::Driver { name, .. } = &self.point else { unreachable!("only drivers park") };
        let host: u32 = name.split(' ').nth(1).unwrap().parse().unwrap();
        let command = format!("oneprovision host resolve {id}:{host}");
        assert!(followed.stderr.contains(&command), "lacks {command}:\n{}", followed.stderr);
        let listed = world.run(&["list", "--csv", "--no-header"]);
        let known = listed.stdout.contains(",unknown\n") || listed.stdout.contains(",parked\n");
        assert!(known, "neither unknown nor parked: {}", listed.stdout);
        let bill = world.bill();
        let machine = bill.iter().find(|one| world.hosts_of(&[(*one).clone()]) == [host]);
        let what = format!("{id}:{host}");
        let resolved = match machine {
            Some(machine) => world.run(&["host", "resolve", &what, "--exists", machine]),
            None => world.run(&["host", "resolve", &what, "--gone"]),
        };
        assert!(matches!(resolved.code, Some(0 | 3)), "{}", resolved.stderr);
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
