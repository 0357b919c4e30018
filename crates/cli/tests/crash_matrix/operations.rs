//! What is killed: its preparation, its command, and how it may be brought to an end.

use serde_json::Value;

use crate::checks::has;
use crate::world::{Kind, Point, World};

/// How an interrupted operation is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    Resume,
    /// With `--fail-cleanup`, as it was begun.
    ResumeCleanup,
    Delete,
    /// The same `host delete` again.
    HostDelete,
    /// The same `update` again.
    Update,
}

/// What there has to be in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// So many hosts, all enabled, each with its machine.
    Present(usize),
    /// Nothing.
    Absent,
}

/// An operation of the matrix.
#[derive(Debug)]
pub struct Operation {
    /// Its name in the table.
    pub name: &'static str,
    /// The hosts of its template.
    pub hosts: &'static [&'static str],
    /// Exit status when nothing kills it.
    pub exits: i32,
    pub follow_ups: &'static [FollowUp],
    /// Whether one host's failure ends the others' work, wherever they are.
    pub races: bool,
    /// Brings the world to where it begins, and returns its command line.
    pub prepare: fn(&World, &Self) -> Vec<String>,
    /// What there has to be after a follow-up, by what was in the journal after the kill.
    pub end: fn(&Self, FollowUp, &[Value]) -> End,
}

const TWO: &[&str] = &["host-a", "host-b"];

pub const OPERATIONS: [Operation; 8] = [
    Operation {
        name: "create",
        hosts: TWO,
        exits: 0,
        follow_ups: &[FollowUp::Resume, FollowUp::Delete],
        races: false,
        prepare: |world, operation| create(world, operation, &[]),
        end: finished_or_deleted,
    },
    Operation {
        name: "create --fail-cleanup",
        hosts: &["host-a", "host-that-is-refused", "host-that-is-half-made"],
        exits: 255,
        follow_ups: &[FollowUp::ResumeCleanup, FollowUp::Delete],
        races: true,
        prepare: |world, operation| create(world, operation, &["--fail-cleanup"]),
        end: |_, _, _| End::Absent,
    },
    Operation {
        name: "delete",
        hosts: TWO,
        exits: 0,
        follow_ups: &[FollowUp::Delete, FollowUp::Resume],
        races: false,
        prepare: |world, operation| vec!["delete".to_owned(), created(world, operation)],
        end: deleted_or_left,
    },
    Operation {
        name: "host delete",
        hosts: TWO,
        exits: 0,
        follow_ups: &[FollowUp::Resume, FollowUp::HostDelete, FollowUp::Delete],
        races: false,
        prepare: |world, operation| {
            created(world, operation);
            host_delete()
        },
        end: |operation, follow_up, journal| match follow_up {
            FollowUp::Delete => End::Absent,
            FollowUp::HostDelete => End::Present(operation.hosts.len() - 1),
            _ if has(journal, "host_delete_begun") => End::Present(operation.hosts.len() - 1),
            _ => End::Present(operation.hosts.len()),
        },
    },
    Operation {
        name: "update, one host goes and one comes",
        hosts: &["host-a", "host-b", "host-c"],
        exits: 0,
        follow_ups: &[FollowUp::Update, FollowUp::Resume],
        races: false,
        prepare: |world, operation| {
            let first = Operation { hosts: TWO, ..*operation };
            let id = created(world, &first);
            update(world, operation, &id)
        },
        end: |_, _, _| End::Present(2),
    },
    Operation {
        name: "resume of a create, a machine made and not written down",
        hosts: &["host-a"],
        exits: 0,
        follow_ups: &[FollowUp::Resume, FollowUp::Delete],
        races: false,
        prepare: |world, operation| {
            let made = match world.kind {
                Kind::Embedded => Point::Inside("after driver deploy 0-1 #1".to_owned()),
                Kind::Site => {
                    Point::Driver { name: "deploy 0000 made #1".into(), power_cut: false }
                }
            };
            resume_after(world, &create(world, operation, &[]), &made)
        },
        end: finished_or_deleted,
    },
    Operation {
        name: "resume of a create, hosts registered",
        hosts: TWO,
        exits: 0,
        follow_ups: &[FollowUp::Resume, FollowUp::Delete],
        races: false,
        prepare: |world, operation| {
            let registered = Point::Inside("after front-end one.hostpool.info  #1".to_owned());
            resume_after(world, &create(world, operation, &[]), &registered)
        },
        end: finished_or_deleted,
    },
    Operation {
        name: "resume of a delete",
        hosts: TWO,
        exits: 0,
        follow_ups: &[FollowUp::Resume, FollowUp::Delete],
        races: false,
        prepare: |world, operation| {
            let command = vec!["delete".to_owned(), created(world, operation)];
            let begun = Point::Inside("after journal delete-begun #1".to_owned());
            resume_after(world, &command, &begun)
        },
        end: |_, _, _| End::Absent,
    },
];

/// The command line of `host delete`: the first host that a new front-end gives out.
pub fn host_delete() -> Vec<String> {
    ["host", "delete", "0"].map(str::to_owned).to_vec()
}

/// The command line of an update to the last hosts of the operation.
pub fn update(world: &World, operation: &Operation, id: &str) -> Vec<String> {
    let template = world.template(&operation.hosts[1..]).to_str().unwrap().to_owned();
    vec!["--yes".to_owned(), "update".to_owned(), id.to_owned(), template]
}

fn create(world: &World, operation: &Operation, options: &[&str]) -> Vec<String> {
    let template = world.template(operation.hosts).to_str().unwrap().to_owned();
    let mut command = vec!["create".to_owned(), template];
    command.extend(options.iter().map(|option| (*option).to_owned()));
    command
}

/// Creates the provision, and returns its id.
fn created(world: &World, operation: &Operation) -> String {
    let command = create(world, operation, &[]);
    let created = world.run(&words(&command));
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    world.provisions().remove(0)
}

/// Runs a command up to a point, and returns the one that resumes it.
fn resume_after(world: &World, command: &[String], point: &Point) -> Vec<String> {
    let killed = world.run_until(&words(command), Some(point));
    assert_eq!(killed.signal, Some(9), "{point:?} was not reached:\n{}", killed.stderr);
    // What still runs would pass its points now or later, as it happens.
    world.cloud().wait_for_drivers();
    vec!["resume".to_owned(), world.provisions().remove(0)]
}

fn finished_or_deleted(operation: &Operation, follow_up: FollowUp, _: &[Value]) -> End {
    match follow_up {
        FollowUp::Delete => End::Absent,
        _ => End::Present(operation.hosts.len()),
    }
}

fn deleted_or_left(operation: &Operation, follow_up: FollowUp, journal: &[Value]) -> End {
    match follow_up {
        FollowUp::Resume if !has(journal, "delete_begun") => End::Present(operation.hosts.len()),
        _ => End::Absent,
    }
}

pub fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}
