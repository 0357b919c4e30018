//! Machines that exist only in a ledger file, and that misbehave on demand.
//!
//! For trying the tool without a cloud, and for tests of everything that can go wrong. Its parameters
//! are listed in its description. Its machines cannot be reached, so their hosts are not
//! configured. The [`ledger`] stands for the provider: what is in it exists and is paid for.

use std::future::pending;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use driver::{
    Action, Call, Description, Driver, DriverError, FailureKind, ListedMachine, MachineState,
    PollReport, ShutdownKind,
};
use model::{Attributes, DeployId};
use tokio::time::{Instant, sleep_until, timeout};

mod addresses;
mod books;
mod context;
pub mod ledger;
mod parameters;

use books::Books;
use context::{Context, owner_of, parameters_of, parameters_stored, stored_parameters};
use ledger::{Ledger, LedgerError, Machine, Made, Order, Owner, Power};
use parameters::{Moment, Parameters};

/// How a driver that is asked to die does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Death {
    /// The call fails with an unknown outcome, as if a driver's process had died.
    #[default]
    Unknown,
    /// This very process is killed: for a driver that is a process of its own.
    Signal,
}

/// The dummy driver.
#[derive(Clone)]
pub struct Dummy {
    books: Books,
    death: Death,
    /// Wall-clock time at a moment of the runtime's clock: time that tests make pass, passes here too.
    epoch: (Instant, Duration),
}

fn failed(kind: FailureKind, message: impl Into<String>) -> DriverError {
    DriverError::new(kind, message)
}

fn not_found(id: &DeployId) -> DriverError {
    failed(FailureKind::NotFound, format!("machine {id} not found"))
}

/// A ledger that cannot be written has not been: nothing was done.
fn of_ledger(error: &LedgerError) -> DriverError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    let kind = match error {
        LedgerError::Sqlite { .. } => FailureKind::Definite,
        _ => FailureKind::Setup,
    };
    failed(kind, message)
}

impl Dummy {
    /// A dummy driver with its ledger in that state folder. Nothing is opened yet.
    pub fn new(state_dir: &Path) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            books: Books::new(state_dir),
            death: Death::default(),
            epoch: (Instant::now(), wall),
        }
    }

    /// The same with another way to die.
    #[must_use]
    pub fn with_death(self, death: Death) -> Self {
        Self { death, ..self }
    }

    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64 {
        millis(self.epoch.1 + self.epoch.0.elapsed())
    }

    /// Does something with the ledger, off the event loop, together with what others want of it meanwhile.
    async fn ledger<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.books
            .write(act)
            .await
            .unwrap_or_else(|| Err(failed(FailureKind::Unknown, "the ledger's writer died")))
    }

    /// Carries out an action within its deadline: latency, misbehaviour, effect, misbehaviour, note.
    async fn act<T, E>(
        &self,
        call: &Call,
        action: Action,
        id: Option<&DeployId>,
        effect: E,
    ) -> Result<T, DriverError>
    where
        E: AsyncFnOnce(&Context) -> Result<T, DriverError>,
    {
        let whole = async {
            let context = self.begin(call, action, id).await?;
            let result = self.perform(&context, effect).await;
            let outcome = match &result {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.message.clone(),
            };
            let (number, now) = (context.call, self.now_ms());
            if let Err(error) =
                self.ledger(move |ledger| ledger.end(number, None, &outcome, now)).await
            {
                tracing::warn!(%error, "cannot note the end of a call in the ledger");
            }
            result
        };
        timeout(call.deadline, whole).await.unwrap_or_else(|_| {
            let text = format!("{action} did not end within {:?}", call.deadline);
            Err(failed(FailureKind::Unknown, text))
        })
    }

    async fn begin(
        &self,
        call: &Call,
        action: Action,
        id: Option<&DeployId>,
    ) -> Result<Context, DriverError> {
        let begun = Instant::now();
        let (given, is_told) =
            (parameters_of(call)?, call.host.template.get("PROVISION").is_some());
        let (owner, named, key, now) =
            (owner_of(call), id.cloned(), call.key.clone(), self.now_ms());
        // Machine, parameters and number are one turn with the ledger.
        self.ledger(move |ledger| {
            let machine = match &named {
                Some(id) => ledger.machine(id.as_str())?,
                None => None,
            };
            // A call without a deployment file is one with what its machine was made with.
            let parameters = match &machine {
                Some(machine) if !is_told => match parameters_stored(machine) {
                    Ok(parameters) => parameters,
                    Err(error) => return Ok(Err(error)),
                },
                _ => given,
            };
            let owner = match &machine {
                Some(machine) => {
                    Owner { provision_id: machine.provision_id.clone(), host: machine.host.clone() }
                }
                None => owner,
            };
            let id = named.as_ref().map(DeployId::as_str);
            let (call, nth) = ledger.begin(&owner, id, action, &key, now)?;
            Ok(Ok(Context { action, parameters, call, nth, owner, machine, begun }))
        })
        .await?
    }

    async fn perform<T, E>(&self, context: &Context, effect: E) -> Result<T, DriverError>
    where
        E: AsyncFnOnce(&Context) -> Result<T, DriverError>,
    {
        let Context { action, parameters, nth, .. } = context;
        let mut dice = context.dice();
        let latency = {
            let jitter = parameters.jitter.mul_f64(dice.f64());
            if dice.bool() {
                parameters.latency + jitter
            } else {
                parameters.latency.saturating_sub(jitter)
            }
        };
        // From the beginning on: what the ledger takes is a part of it.
        until(context.begun + latency / 2).await;
        self.misbehave(context, Moment::Before).await?;
        if parameters.fail_on.contains(&(*action, *nth)) {
            return Err(failed(
                FailureKind::Definite,
                format!("{action} number {nth} fails, as dummy_fail_on asks"),
            ));
        }
        let roll = dice.f64();
        if parameters.fail.iter().any(|(of, chance)| of == action && roll < *chance) {
            return Err(failed(
                FailureKind::Definite,
                format!("{action} number {nth} fails by chance, as dummy_fail asks"),
            ));
        }
        let result = effect(context).await?;
        until(context.begun + latency).await;
        self.misbehave(context, Moment::After).await?;
        Ok(result)
    }

    async fn misbehave(&self, context: &Context, moment: Moment) -> Result<(), DriverError> {
        let asked = (context.action, moment);
        if context.parameters.hang.contains(&asked) {
            pending::<()>().await;
        }
        if context.parameters.die.contains(&asked) {
            if self.death == Death::Signal {
                let this = rustix::process::getpid();
                // Should it fail, the error below says the same.
                let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
            }
            let text = format!("{} dies, as dummy_die asks", context.action);
            return Err(failed(FailureKind::Unknown, text));
        }
        Ok(())
    }

    /// Makes a machine, or powers on the one that the deployment file names.
    async fn make(&self, call: &Call, context: &Context) -> Result<DeployId, DriverError> {
        let parameters = &context.parameters;
        let now = self.now_ms();
        let ready = now.saturating_add(millis(parameters.boot));
        if let Some(text) = call.host.parameter("DEPLOY_ID") {
            let id = DeployId::new(text).ok_or_else(|| {
                failed(FailureKind::Definite, "the DEPLOY_ID of the deployment file is no id")
            })?;
            self.power_on(&id, ready).await?;
            return Ok(id);
        }
        let name = call.host.name.clone();
        let hostname = parameters.hostname.clone().unwrap_or_default();
        let (key, owner) = (call.key.clone(), context.owner.clone());
        let (ip, quota) = (parameters.ip.clone(), parameters.quota);
        let stored = stored_parameters(call);
        let number = context.call;
        // The machine and the note of it are one turn with the ledger; whether the note failed is told apart.
        let (made, noted) = self
            .ledger(move |ledger| {
                let made = ledger.make(&Order {
                    owner: &owner,
                    key: &key,
                    name: &name,
                    hostname: &hostname,
                    ip: ip.as_deref(),
                    quota,
                    parameters: &stored,
                    now_ms: now,
                    ready_ms: ready,
                })?;
                let noted = match &made {
                    Made::Machine(machine) => ledger.end(number, Some(&machine.id), "made", now),
                    Made::Quota(_) => Ok(()),
                };
                Ok((made, noted))
            })
            .await?;
        match made {
            Made::Quota(live) => Err(failed(
                FailureKind::Definite,
                format!(
                    "quota exceeded: {live} machines are there, and dummy_quota allows no more"
                ),
            )),
            Made::Machine(machine) => {
                noted.map_err(|error| DriverError {
                    kind: FailureKind::Unknown,
                    deploy_id: DeployId::new(&machine.id),
                    ..of_ledger(&error)
                })?;
                DeployId::new(&machine.id).ok_or_else(|| {
                    failed(FailureKind::Unknown, "the ledger has a machine without an id")
                })
            }
        }
    }

    async fn power_on(&self, id: &DeployId, ready: i64) -> Result<(), DriverError> {
        let text = id.to_string();
        let there = self
            .ledger(move |ledger| {
                let Some(machine) = ledger.machine(&text)? else { return Ok(false) };
                // One that runs already is not booted again.
                let ready = if machine.power == Power::Off { ready } else { machine.ready_ms };
                ledger.set_power(&text, Power::Active, ready)
            })
            .await?;
        if there { Ok(()) } else { Err(not_found(id)) }
    }

    async fn destroy(&self, id: &DeployId) -> Result<(), DriverError> {
        let (text, now) = (id.to_string(), self.now_ms());
        let there = self.ledger(move |ledger| ledger.destroy(&text, now)).await?;
        if there { Ok(()) } else { Err(not_found(id)) }
    }

    async fn set_power(
        &self,
        context: &Context,
        id: &DeployId,
        power: Power,
    ) -> Result<(), DriverError> {
        let machine = context.live(id)?;
        if power == Power::Rebooting && machine.power == Power::Off {
            let text = format!("machine {id} is powered off and cannot be rebooted");
            return Err(failed(FailureKind::Definite, text));
        }
        let ready = self.now_ms().saturating_add(millis(context.parameters.boot));
        let text = id.to_string();
        let there = self.ledger(move |ledger| ledger.set_power(&text, power, ready)).await?;
        if there { Ok(()) } else { Err(not_found(id)) }
    }
}

/// Waits for that moment. A timer takes a millisecond or two even for what is over.
async fn until(moment: Instant) {
    if Instant::now() < moment {
        sleep_until(moment).await;
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Driver for Dummy {
    fn describe(&self) -> Description {
        Description {
            configurable: false,
            parameters: Some(parameters::described()),
            ..Description::new("dummy", "machines that exist only in a ledger file")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        self.act(call, Action::Deploy, None, async |context: &Context| {
            let id = self.make(call, context).await?;
            let Parameters { lose_answer, two_ids, id_then_fail, .. } = &context.parameters;
            if lose_answer.applies(context.nth) {
                let text = "the connection was lost, as dummy_lose_answer asks";
                return Err(failed(FailureKind::Unknown, text));
            }
            if two_ids.applies(context.nth) {
                call.watch.deploy_id(&id).await;
                if let Some(second) = DeployId::new(&format!("{id}-second")) {
                    call.watch.deploy_id(&second).await;
                }
            }
            if id_then_fail.applies(context.nth) {
                call.watch.deploy_id(&id).await;
                let text = "deploy fails after its id, as dummy_id_then_fail asks";
                let error = failed(FailureKind::Unknown, text);
                return Err(DriverError { deploy_id: Some(id), ..error });
            }
            Ok(id)
        })
        .await
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.act(call, Action::Cancel, Some(id), async |context: &Context| {
            self.destroy(id).await?;
            if context.parameters.not_found { Err(not_found(id)) } else { Ok(()) }
        })
        .await
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.act(call, Action::Poll, Some(id), async |context: &Context| {
            Ok(context.report(context.live(id)?, self.now_ms()))
        })
        .await
    }

    /// A ledger answers as many as ask.
    fn polls_together(&self, _: &Call) -> bool {
        true
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.act(call, Action::Reboot, Some(id), async |context: &Context| {
            self.set_power(context, id, Power::Rebooting).await
        })
        .await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.act(call, Action::Reset, Some(id), async |context: &Context| {
            self.set_power(context, id, Power::Rebooting).await
        })
        .await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        self.act(call, Action::Shutdown, Some(id), async |context: &Context| match kind {
            ShutdownKind::Terminate => self.destroy(id).await,
            ShutdownKind::Poweroff | ShutdownKind::Undeploy => {
                self.set_power(context, id, Power::Off).await
            }
        })
        .await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        self.act(call, Action::List, None, async |_: &Context| {
            let now = self.now_ms();
            let bill = self.ledger(|ledger| ledger.bill()).await?;
            Ok(bill.into_iter().filter_map(|machine| listed(&machine, now)).collect())
        })
        .await
    }
}

fn listed(machine: &Machine, now_ms: i64) -> Option<ListedMachine> {
    let state = match machine.power {
        Power::Off => MachineState::Gone,
        _ if now_ms < machine.ready_ms => MachineState::Paused,
        _ => MachineState::Active,
    };
    let mut attributes = Attributes::new();
    for (key, value) in [
        ("KEY", machine.idempotency_key.as_str()),
        ("PROVISION_ID", machine.provision_id.as_str()),
        ("NAME", machine.name.as_str()),
        ("HOSTNAME", machine.hostname.as_str()),
        ("CREATED", &(machine.created_ms / 1000).to_string()),
        ("STATE", &state.letter().to_string()),
        ("IP", machine.address.as_str()),
    ] {
        if !value.is_empty() {
            attributes.push(key, value);
        }
    }
    Some(ListedMachine { id: DeployId::new(&machine.id)?, attributes })
}

#[cfg(test)]
#[path = "dummy_tests.rs"]
mod tests;
