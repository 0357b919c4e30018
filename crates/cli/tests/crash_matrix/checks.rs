//! What has to hold after a kill, and at the end.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::front_end::pool;
use crate::operations::End;
use crate::world::World;

/// Whether the journal has such an event.
pub fn has(journal: &[Value], event: &str) -> bool {
    journal.iter().any(|entry| entry["event"] == event)
}

/// Whether a command was begun that did not come to its end.
///
/// A removal of hosts that lacks nothing but its end mark is over: there is nothing to be done.
fn is_unfinished(journal: &[Value]) -> bool {
    const MARKS: [&str; 6] =
        ["create_begun", "resumed", "update_begun", "delete_begun", "host_delete_begun", "ended"];
    let last = journal.iter().rposition(|entry| MARKS.iter().any(|mark| entry["event"] == *mark));
    let Some((mark, after)) = last.and_then(|last| journal[last..].split_first()) else {
        return false;
    };
    if mark["event"] != "host_delete_begun" || !mark["update"].is_null() {
        return mark["event"] != "ended";
    }
    let removals: Vec<&Value> = after
        .iter()
        .filter(|entry| entry["event"] == "intent" && entry["step"] == "remove")
        .map(|entry| &entry["id"])
        .collect();
    let is_done = |entry: &&Value| {
        entry["event"] == "outcome"
            && removals.contains(&&entry["id"])
            && !entry["outcome"]["done"].is_null()
    };
    after.iter().filter(is_done).count() < mark["hosts"].as_array().unwrap().len()
}

/// Deploys of which the journal does not know more than that they were about to begin: whether the
/// driver was ever started cannot be found out.
pub fn perhaps_started(journal: &[Value]) -> Vec<u64> {
    let is_known = |id: &Value| {
        journal.iter().any(|entry| {
            entry["id"] == *id && (entry["event"] == "process" || entry["event"] == "outcome")
        })
    };
    journal
        .iter()
        .filter(|entry| entry["event"] == "intent" && entry["step"] == "deploy")
        .filter(|entry| !is_known(&entry["id"]))
        .filter_map(|entry| entry["subject"]["host"].as_u64())
        .collect()
}

/// Machines on the bill that no intent of the journal names.
pub fn unnamed(world: &World, journal: &[Value]) -> usize {
    let named: BTreeSet<u64> = journal
        .iter()
        .filter(|entry| entry["event"] == "intent" && entry["step"] == "deploy")
        .filter_map(|entry| entry["subject"]["host"].as_u64())
        .collect();
    let billed = world.hosts_of(&world.bill());
    billed.iter().filter(|host| !named.contains(&u64::from(**host))).count()
}

/// Whether a command is suggested, with whatever options stand before it.
pub fn suggests(stderr: &str, command: &str) -> bool {
    let command = format!(" {command}");
    let suggested = |line: &str| Some(line.split_once("oneprovision")?.1.contains(&command));
    stderr.lines().any(|line| suggested(line) == Some(true))
}

/// After the kill: nothing is there that is not written down, nothing is there twice, and `list`
/// says what to do.
pub fn after_kill(world: &World, journal: &[Value]) {
    assert_eq!(unnamed(world, journal), 0, "billed, and nobody knows: {:?}", world.bill());
    no_host_twice(world, &world.bill());
    no_secret_lies_about(world);
    let listed = world.run(&["list", "-j"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let pool: Value = serde_json::from_str(&listed.stdout).unwrap();
    let Some(id) = world.provisions().into_iter().next() else {
        assert_eq!(pool["PROVISION_POOL"]["PROVISION"], serde_json::json!([]));
        nothing_exists(world);
        return;
    };
    if is_unfinished(journal) {
        let provision = &pool["PROVISION_POOL"]["PROVISION"][0];
        assert_eq!(provision["ID"], *id, "{pool}");
        assert_eq!(provision["STATUS"], "interrupted", "{pool}");
        let hosts = provision["HOSTS"].as_array().unwrap();
        let asked = journal.iter().find_map(|entry| entry["drivers"].as_array()).unwrap();
        assert!(hosts.len() <= asked.len(), "a host is listed twice: {hosts:#?}");
        let command = format!("resume {id}`");
        assert!(suggests(&listed.stderr, &command), "list lacks {command}:\n{}", listed.stderr);
    }
}

/// At the end: bill, journal and front-end say the same.
pub fn at_the_end(world: &World, hosts: usize, end: End) {
    let ever = world.ever();
    no_host_twice(world, &ever);
    no_secret_lies_about(world);
    assert!(ever.len() <= hosts, "{} machines were made for {hosts} hosts", ever.len());
    let verified = world.run(&["journal", "verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    match end {
        End::Absent => {
            nothing_exists(world);
            let listed = world.run(&["list", "--no-header"]);
            assert_eq!((listed.code, listed.stdout.as_str()), (Some(0), ""), "{}", listed.stderr);
        }
        End::Present(hosts) => present(world, hosts),
    }
}

fn present(world: &World, hosts: usize) {
    let bill = world.bill();
    assert_eq!(bill.len(), hosts, "{bill:?}");
    let id = world.provisions().remove(0);
    let shown = world.run(&["show", "-j", &id]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let provision = &shown["PROVISION"];
    assert_eq!(provision["STATUS"], "configured", "{provision}");
    let mut named = Vec::new();
    for host in provision["HOSTS"].as_array().unwrap() {
        assert_eq!(host["STATE"], "enabled", "{host}");
        named.push(host["DEPLOY_ID"].as_str().unwrap().to_owned());
    }
    named.sort();
    assert_eq!(named, bill, "the journal and the bill");
    let there = pool(&world.sandbox(), "one.hostpool.info");
    let mut announced: Vec<&str> =
        there.split("<DEPLOY_ID><![CDATA[").skip(1).filter_map(|t| t.split("]]>").next()).collect();
    announced.sort_unstable();
    assert_eq!(announced, bill, "OpenNebula and the bill");
    assert_eq!(objects(world), [hosts, 2, 4, 1, 1], "{OBJECTS}");
}

fn nothing_exists(world: &World) {
    assert_eq!(world.bill(), Vec::<String>::new(), "on the bill");
    assert_eq!(objects(world), [0, 1, 3, 0, 0], "{OBJECTS}");
}

const OBJECTS: &str = "hosts, clusters, datastores, networks, documents";

/// How many [`OBJECTS`] OpenNebula has, whosever they are.
fn objects(world: &World) -> [usize; 5] {
    let sandbox = world.sandbox();
    let count = |method, tag: &str| pool(&sandbox, method).matches(tag).count();
    [
        count("one.hostpool.info", "<HOST>"),
        count("one.clusterpool.info", "<CLUSTER>"),
        count("one.datastorepool.info", "<DATASTORE>"),
        count("one.vnpool.info", "<VNET>"),
        count("one.documentpool.info", "<DOCUMENT>"),
    ]
}

fn no_secret_lies_about(world: &World) {
    let leaks = world.leaks();
    assert!(leaks.is_empty(), "secrets in {leaks:?}");
}

fn no_host_twice(world: &World, machines: &[String]) {
    let mut hosts = world.hosts_of(machines);
    hosts.sort_unstable();
    let all = hosts.len();
    hosts.dedup();
    assert_eq!(hosts.len(), all, "two machines of one host: {machines:?}");
}
