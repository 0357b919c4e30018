//! A provider: its machines, its bill, and how it misbehaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use driver::api::Call;
use model::{DeployId, Parameter, Value};
use tokio::time::Instant;

use crate::lock;

mod driver_side;
mod seeded;

pub use driver_side::{CloudDriver, CloudSource};
pub use seeded::Seeded;

/// How the cloud answers the deploy of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deploy {
    /// Refuses; no machine.
    Refuse,
    /// Loses the request; no machine, no answer.
    LoseRequest,
    /// Makes a machine and loses the answer.
    LoseAnswer,
    /// Makes a machine, names it, and then fails.
    NameThenFail,
    /// Makes a machine, names it while the call runs, and loses the rest of the answer.
    NameThenLose,
    /// Makes a machine and names it three times.
    NameTwice,
    /// Makes a machine and does not answer up to the deadline of the call.
    Hang,
    /// Makes none and does not answer up to the deadline of the call.
    HangEmpty,
    /// Makes a machine and answers after this time.
    Late(Duration),
    /// Makes no machine and answers with the id of one that another host has, if there is one.
    ForeignId,
}

/// How the cloud answers a poll of a machine that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// No answer.
    Lose,
    /// A failure in the driver's own words.
    Refuse,
    /// That there is no such machine; not twice in a row.
    NotFound,
    /// That it is off.
    Off,
    /// That it is in error.
    Error,
    /// Neither state nor address.
    Silent,
    /// Another address than before.
    OtherAddress,
}

/// How the cloud answers a cancel of a machine that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Refuses.
    Refuse,
    /// Loses the request.
    LoseRequest,
    /// Destroys the machine and loses the answer.
    LoseAnswer,
    /// Says yes and does nothing.
    NoEffect,
    /// Says yes and destroys it after this time.
    Slow(Duration),
    /// Does nothing up to the deadline of the call.
    Hang,
}

/// How the cloud answers a power operation on a machine that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Powering {
    /// Refuses.
    Refuse,
    /// Loses the request.
    LoseRequest,
    /// Does it and loses the answer.
    LoseAnswer,
    /// Does it, and does not answer up to the deadline of the call.
    Hang,
}

/// How long things take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// From a request to the machine being on the bill, at most [`Temper::settle`].
    pub request: Duration,
    /// From there to the answer.
    pub answer: Duration,
    /// From the machine being made to its address.
    pub boot: Duration,
    /// From the machine being made to its place in the list.
    pub unlisted: Duration,
}

/// How a cloud behaves.
pub trait Temper: Send + Sync {
    /// How the next deploy goes wrong, if it does.
    fn deploy(&self) -> Option<Deploy> {
        None
    }

    /// How the next poll goes wrong. `cancelled` says that a cancel of the machine was answered with
    /// success: from there on a driver that says "not there" or tells no state must be right, or
    /// nobody can ever know that a machine is gone.
    fn poll(&self, _cancelled: bool) -> Option<Poll> {
        None
    }

    /// How the next cancel goes wrong.
    fn cancel(&self) -> Option<Cancel> {
        None
    }

    /// Whether the next list gets no answer.
    fn list_is_lost(&self) -> bool {
        false
    }

    /// How long the next machine takes.
    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// How long after a deploy was sent its machine may be missing from the list, at most.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }
}

/// A cloud that does what it is told, at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Good;

impl Temper for Good {}

/// A machine on the bill.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Idempotency key that it was asked for with.
    pub key: String,
    /// Name of the host that it was asked for.
    pub name: String,
    /// Its address.
    pub address: String,
    /// When it has its address.
    pub up: Instant,
    /// When it is in the list.
    pub listed: Instant,
    /// When it goes away by itself, after a cancel that takes its time.
    pub gone: Option<Instant>,
    /// Whether a cancel was answered with success.
    pub cancelled: bool,
    /// Whether the last poll said that it is not there.
    pub denied: bool,
    /// Whether it was polled: then its id is known to whoever asked for it.
    pub known: bool,
    /// Whether it is powered off.
    pub off: bool,
    /// How often it was booted after it was made.
    pub boots: usize,
}

impl Machine {
    /// A machine that is up and in the list.
    pub fn new(key: &str, name: &str, address: &str) -> Self {
        let now = Instant::now();
        Self {
            key: key.to_owned(),
            name: name.to_owned(),
            address: address.to_owned(),
            up: now,
            listed: now,
            gone: None,
            cancelled: false,
            denied: false,
            known: true,
            off: false,
            boots: 0,
        }
    }
}

/// A provider: its machines by id. What is here is billed.
pub struct Cloud {
    /// The bill.
    pub machines: Mutex<BTreeMap<String, Machine>>,
    /// How the deploys of hosts go wrong, by `PROVISION/HOSTNAME`, each time until it is taken out.
    pub deploys: Mutex<BTreeMap<String, Deploy>>,
    /// How power operations on machines go wrong, by their ids, each time until it is taken out.
    pub powering: Mutex<BTreeMap<String, Powering>>,
    /// Address that every machine gets when it boots again, instead of its own.
    pub next_address: Mutex<Option<String>>,
    /// Address that every machine gets, instead of one of its own.
    pub address: Mutex<Option<String>>,
    /// How many cancels have no effect before one has.
    pub stubborn: Mutex<usize>,
    /// How many cancels say of a machine that is there that it is not.
    pub denying: Mutex<usize>,
    /// Whether they say it of the machine, in the words of the protocol, and not of something else.
    pub denying_it: Mutex<bool>,
    /// Whether `list` works.
    pub lists: Mutex<bool>,
    /// Number of deploys that were asked for.
    pub asked: Mutex<usize>,
    /// Whether the driver says that its machines are to be configured.
    pub configurable: bool,
    /// What the driver says of its parameters, if anything.
    pub parameters: Option<Vec<Parameter>>,
    /// The account's credential, `PROVISION/CLOUD_TOKEN`; without it every call is refused.
    pub credential: Option<String>,
    /// How it behaves beyond that.
    pub temper: Arc<dyn Temper>,
    /// Ids that were ever given, so that none is given twice.
    pub issued: Mutex<BTreeSet<String>>,
    /// Hosts and keys that had two machines at a time.
    pub doubles: Mutex<Vec<String>>,
}

impl Default for Cloud {
    /// A good cloud without a list.
    fn default() -> Self {
        Self {
            machines: Mutex::default(),
            deploys: Mutex::default(),
            powering: Mutex::default(),
            next_address: Mutex::default(),
            address: Mutex::default(),
            stubborn: Mutex::default(),
            denying: Mutex::default(),
            denying_it: Mutex::default(),
            lists: Mutex::default(),
            asked: Mutex::default(),
            configurable: false,
            parameters: None,
            credential: None,
            temper: Arc::new(Good),
            issued: Mutex::default(),
            doubles: Mutex::default(),
        }
    }
}

impl Cloud {
    /// A good cloud whose driver has the action `list`.
    pub fn listing() -> Self {
        Self { lists: Mutex::new(true), ..Self::default() }
    }

    /// The ids of all machines that are paid for.
    pub fn bill(&self) -> Vec<String> {
        self.settle_departures();
        lock(&self.machines).keys().cloned().collect()
    }

    /// The machines that are paid for.
    pub fn billed(&self) -> BTreeMap<String, Machine> {
        self.settle_departures();
        lock(&self.machines).clone()
    }

    /// What had two machines at a time. Must always be empty.
    pub fn doubles(&self) -> Vec<String> {
        lock(&self.doubles).clone()
    }

    /// Whether a machine of that id was ever made.
    pub fn has_issued(&self, id: &str) -> bool {
        lock(&self.issued).contains(id)
    }

    /// Every machine that is slow to boot is up.
    pub fn mend(&self) {
        let now = Instant::now();
        for machine in lock(&self.machines).values_mut() {
            machine.up = machine.up.min(now);
        }
    }

    /// Takes off the bill what a slow cancel has destroyed by now.
    fn settle_departures(&self) {
        let now = Instant::now();
        lock(&self.machines).retain(|_, machine| machine.gone.is_none_or(|gone| gone > now));
    }

    /// Whether a call comes with the account's credential.
    fn admits(&self, call: &Call) -> bool {
        let given = call.host.template.get("PROVISION/CLOUD_TOKEN").and_then(Value::expose);
        self.credential.is_none() || self.credential.as_deref() == given
    }

    /// Makes a machine; from here on it is on the bill.
    fn make(&self, call: &Call, timing: Timing) -> DeployId {
        self.settle_departures();
        let hostname = call.host.template.text("PROVISION/HOSTNAME").unwrap_or("machine");
        let id = {
            let mut issued = lock(&self.issued);
            let mut id = format!("m-{hostname}");
            let mut number = 2;
            while !issued.insert(id.clone()) {
                id = format!("m-{hostname}-{number}");
                number += 1;
            }
            id
        };
        let mut machines = lock(&self.machines);
        for (other, machine) in machines.iter() {
            if machine.name == call.host.name || machine.key == call.key {
                lock(&self.doubles).push(format!(
                    "{id} was made for {} while it has {other} (keys {} and {})",
                    call.host.name, call.key, machine.key
                ));
            }
        }
        let number = lock(&self.issued).len();
        let address = lock(&self.address).clone();
        let made = Instant::now() + timing.request;
        let machine = Machine {
            key: call.key.clone(),
            name: call.host.name.clone(),
            address: address.unwrap_or_else(|| format!("10.0.{}.{}", number / 250, number % 250)),
            up: made + timing.boot,
            listed: made + timing.unlisted,
            gone: None,
            cancelled: false,
            denied: false,
            known: false,
            off: false,
            boots: 0,
        };
        machines.insert(id.clone(), machine);
        DeployId::new(&id).unwrap()
    }
}
