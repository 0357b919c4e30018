//! The raw caller: the writes of a recorded operation, prepared as bytes and sent again, and nothing
//! else. What it needs is what the front-end needs alone.
//!
//! Ids are those of the new objects, names are those that were recorded with the provision's id
//! replaced. The writes of a host are sent in their order, those of other objects before or after all
//! hosts as they were; a host is allocated only when the one before it has been, as the tool must.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opennebula::xmlrpc::{MethodCall, Param, write_call};

use crate::failure::{Because as _, Result};
use crate::front_end::{Address, value};
use crate::proxy::Recorded;

/// Stands where an id comes that is known only later. No id that a front-end gives, and in no text.
const GAP: i32 = 1_987_654_321;

/// Whose id goes into the gap of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Nothing,
    Host,
    Other(usize),
}

/// One write.
#[derive(Clone, Debug)]
struct Step {
    method: String,
    before: Vec<u8>,
    after: Vec<u8>,
    subject: Subject,
}

impl Step {
    fn makes(&self) -> bool {
        self.method.ends_with(".allocate")
    }
}

/// The writes of one operation.
#[derive(Clone, Debug, Default)]
pub struct Script {
    before: Vec<Step>,
    hosts: Vec<Vec<Step>>,
    after: Vec<Step>,
}

/// Create and delete of one provision, as recorded.
#[derive(Clone, Debug)]
pub struct Life {
    /// The writes of the create.
    pub create: Script,
    /// The writes of the delete.
    pub delete: Script,
}

/// Ids of the objects that a raw caller made.
#[derive(Debug, Default)]
pub struct Ids {
    hosts: Vec<AtomicI32>,
    others: Vec<i32>,
}

/// Ids of the objects that the recorded operations made.
#[derive(Default)]
struct Known {
    hosts: BTreeMap<i32, usize>,
    others: Vec<(String, i32)>,
}

impl Life {
    /// From the calls of a create and of a delete; `id` is the provision's, `new` takes its place.
    ///
    /// # Errors
    /// If a write concerns an object that was not made.
    pub fn of(create: &[Recorded], delete: &[Recorded], id: &str, new: &str) -> Result<Self> {
        let mut known = Known::default();
        let create = Script::of(create, &mut known, id, new)?;
        let delete = Script::of(delete, &mut known, id, new)?;
        Ok(Self { create, delete })
    }
}

impl Script {
    fn of(calls: &[Recorded], known: &mut Known, id: &str, new: &str) -> Result<Self> {
        let mut script = Self { hosts: vec![Vec::new(); known.hosts.len()], ..Self::default() };
        let mut hosts_begun = false;
        for call in calls.iter().filter(|call| !call.is_read()) {
            let kind = call.method.split('.').nth(1).unwrap_or_default();
            let makes = call.method.ends_with(".allocate");
            let mut params = call.params.clone();
            for param in &mut params {
                if let Param::Str(text) = param {
                    *text = text.replace(id, new);
                }
            }
            // The id in a call: the cluster's where a host is made, else the object's own.
            let place = match (kind, makes) {
                ("host", true) => params.last_mut(),
                (_, true) => None,
                _ => params.get_mut(1),
            };
            let of = if makes { "cluster" } else { kind };
            let mut subject = Subject::Nothing;
            let mut host = None;
            if let Some(place) = place {
                let number = place.as_i32().because(format!("{} without an id", call.method))?;
                let other = known.others.iter().position(|known| *known == (of.to_owned(), number));
                subject = match (of, other) {
                    ("host", _) => {
                        host = known.hosts.get(&number).copied();
                        Subject::Host
                    }
                    (_, Some(other)) => Subject::Other(other),
                    _ => Subject::Nothing,
                };
                if !makes && subject == Subject::Host && host.is_none() {
                    return Err(format!("{} of an unknown host {number}", call.method).into());
                }
                if subject != Subject::Nothing {
                    *place = Param::Int(GAP);
                }
            }
            if makes {
                let made = call.answer.because(format!("{} made nothing", call.method))?;
                if kind == "host" {
                    let index = known.hosts.len();
                    known.hosts.insert(made, index);
                    script.hosts.push(Vec::new());
                    host = Some(index);
                } else {
                    known.others.push((kind.to_owned(), made));
                }
            }
            let body = MethodCall { method: call.method.clone(), params };
            let step = step(&body, subject)?;
            match host.and_then(|host| script.hosts.get_mut(host)) {
                Some(steps) => {
                    hosts_begun = true;
                    steps.push(step);
                }
                None if hosts_begun => script.after.push(step),
                None => script.before.push(step),
            }
        }
        Ok(script)
    }

    /// The number of writes of each method.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        let all = self.before.iter().chain(self.hosts.iter().flatten()).chain(&self.after);
        all.for_each(|step| *counts.entry(step.method.as_str()).or_default() += 1);
        counts
    }

    /// The number of writes of all hosts together.
    pub fn of_hosts(&self) -> usize {
        self.hosts.iter().map(Vec::len).sum()
    }

    /// In two parts: up to a number of writes of each host, and the rest.
    pub fn split(self, first: usize) -> (Self, Self) {
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for mut steps in self.hosts {
            end.push(steps.split_off(first.min(steps.len())));
            begin.push(steps);
        }
        let first = Self { before: self.before, hosts: begin, after: Vec::new() };
        (first, Self { before: Vec::new(), hosts: end, after: self.after })
    }

    /// Makes the calls, so many at a time, and says how long that took.
    ///
    /// # Errors
    /// If one of them is not a success.
    pub fn run(&self, address: &Address, in_flight: usize, ids: &mut Ids) -> Result<Duration> {
        while ids.hosts.len() < self.hosts.len() {
            ids.hosts.push(AtomicI32::new(-1));
        }
        let begun = Instant::now();
        self.run_others(&self.before, address, ids)?;
        self.run_hosts(address, in_flight, ids)?;
        self.run_others(&self.after, address, ids)?;
        Ok(begun.elapsed())
    }

    fn run_others(&self, steps: &[Step], address: &Address, ids: &mut Ids) -> Result<()> {
        for step in steps {
            let answer = send(step, address, ids, -1)?;
            if step.makes() {
                ids.others.push(answer);
            }
        }
        Ok(())
    }

    fn run_hosts(&self, address: &Address, in_flight: usize, ids: &Ids) -> Result<()> {
        let next = AtomicUsize::new(0);
        let allocating = Mutex::new(());
        let work = || -> Result<()> {
            loop {
                let mut turn = Some(allocating.lock().unwrap_or_else(PoisonError::into_inner));
                let host = next.fetch_add(1, Ordering::Relaxed);
                let (Some(steps), Some(id)) = (self.hosts.get(host), ids.hosts.get(host)) else {
                    return Ok(());
                };
                if !steps.first().is_some_and(Step::makes) {
                    turn = None;
                }
                for step in steps {
                    let answer = send(step, address, ids, id.load(Ordering::Relaxed))?;
                    if step.makes() {
                        id.store(answer, Ordering::Relaxed);
                        turn = None;
                    }
                }
                drop(turn);
            }
        };
        if in_flight <= 1 {
            return work();
        }
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..in_flight).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| match worker.join() {
                Ok(ended) => ended,
                Err(_) => Err("a raw caller panicked".into()),
            })
        })
    }
}

fn step(call: &MethodCall, subject: Subject) -> Result<Step> {
    let mut before = write_call(call).because(&call.method)?;
    let mut after = Vec::new();
    if subject != Subject::Nothing {
        let gap = GAP.to_string();
        let at = before.windows(gap.len()).position(|part| part == gap.as_bytes());
        let at = at.because(format!("{} lost its id", call.method))?;
        after = before.split_off(at + gap.len());
        before.truncate(at);
    }
    Ok(Step { method: call.method.clone(), before, after, subject })
}

fn send(step: &Step, address: &Address, ids: &Ids, host: i32) -> Result<i32> {
    let id = match step.subject {
        Subject::Nothing => String::new(),
        Subject::Host => host.to_string(),
        Subject::Other(n) => ids.others.get(n).because("an object that is not there")?.to_string(),
    };
    let answer = address.post(&[&step.before, id.as_bytes(), &step.after]);
    let value = answer.and_then(|answer| value(&answer)).because(format!("raw {}", step.method))?;
    Ok(value.as_i32().unwrap_or(-1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn call(method: &str, params: &[Param], answer: i32) -> Recorded {
        let params = [&["one:two".into()], params].concat();
        Recorded { method: method.into(), params, answer: Some(answer) }
    }

    #[test]
    fn writes_are_sorted_by_host_and_ids_are_left_open() {
        let create = [
            call("one.system.version", &[], 0),
            call("one.cluster.allocate", &["old-c".into()], 100),
            call("one.host.allocate", &["old-1".into(), "kvm".into(), 100.into()], 7),
            call("one.host.allocate", &["old-2".into(), "kvm".into(), 100.into()], 8),
            call("one.host.status", &[8.into(), 2.into()], 8),
            call("one.hostpool.info", &[], 0),
            call("one.cluster.rename", &[100.into(), "c".into()], 100),
        ];
        let delete = [call("one.host.delete", &[7.into()], 7)];
        let life = Life::of(&create, &delete, "old", "new").unwrap();
        let counts: Vec<_> = life.create.counts().into_iter().collect();
        assert_eq!(
            counts,
            [
                ("one.cluster.allocate", 1),
                ("one.cluster.rename", 1),
                ("one.host.allocate", 2),
                ("one.host.status", 1)
            ]
        );
        let [first, second] = life.create.hosts.as_slice() else { panic!("two hosts") };
        assert_eq!((first.len(), second.len()), (1, 2));
        assert_eq!(first[0].subject, Subject::Other(0));
        assert_eq!(second[1].subject, Subject::Host);
        let text = String::from_utf8(second[0].before.clone()).unwrap();
        assert!(text.contains("new-2") && !text.contains("100"), "{text}");
        assert_eq!(life.delete.hosts[0][0].subject, Subject::Host);
        let (begin, end) = life.create.split(1);
        assert_eq!((begin.of_hosts(), end.of_hosts()), (2, 1));
        assert!(Life::of(&[], &delete, "old", "new").is_err());
    }
}
