//! From a machine with an address to a configured host: what is known of it, and the steps of its loop.
//!
//! Hosts go their own way, but one playbook runs once for all hosts that come to it together
//! ([`Gather`]): a machine that is still booting is waited for, though not for long.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use configure::{Connection, Done, Heard, Machine, Patience, Run, Stage, Steps, Trouble, Watch};
use driver::deployment::DeploymentFile;
use journal::{Fact, HostRecord, Outcome, Step};
use model::{HostKey, Secret, Value};
use opennebula::objects::Update;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::{HostWork, Work};
use crate::EngineError;
use crate::again::repeat;
use crate::observe::Note;
use crate::planner::Goal;
use crate::session::Session;

/// How long the first host that comes to a playbook waits for others that may still come.
const GATHER: Duration = Duration::from_secs(60);

/// How a host is configured, from its template: the one that a provision was made with, or the one
/// that OpenNebula has. By default there is nothing to configure.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configuration {
    /// What is run, in this order. Empty if there is nothing to configure.
    pub stages: Vec<Stage>,
    /// How the machine is reached, or why that cannot be told.
    connection: Option<Result<Connection, String>>,
    /// Ansible variables, or why they cannot be read.
    variables: Option<Result<Secret, String>>,
    /// Files and commands, or why they cannot be read.
    steps: Option<Result<Steps, String>>,
    /// Whether there is a secret in the files.
    secret_steps: bool,
    hostname: String,
    vm_mad: String,
}

impl Configuration {
    /// Reads it.
    pub fn of(file: &DeploymentFile, home: Option<&Path>) -> Self {
        let template = &file.template;
        // What is there and cannot be read is not the same as nothing: it must not be left out.
        let decoded = |key: &str| {
            let value = template.get(key)?;
            let text = value.expose().and_then(|text| STANDARD.decode(text.trim()).ok());
            let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
            Some(text.ok_or_else(|| {
                format!("{key} of the host cannot be read: its credentials are not known here")
            }))
        };
        let steps =
            decoded("PROVISION_STEPS_BASE64").map(|json| json.and_then(|json| Steps::read(&json)));
        let mut stages = Vec::new();
        // A host of vCenter is no machine that anybody logs in to.
        if !is_vcenter(&file.vm_mad) {
            if steps.as_ref().is_some_and(|s| s.as_ref().map_or(true, |s| !s.is_empty())) {
                stages.push(Stage::Steps);
            }
            let playbooks = template.text("ANSIBLE_PLAYBOOK").unwrap_or_default().split(',');
            let playbooks = playbooks.map(str::trim).filter(|name| !name.is_empty());
            stages.extend(playbooks.map(|name| Stage::Playbook(name.to_owned())));
        }
        let connection = match template.get("PROVISION_CONNECTION") {
            Some(Value::Vector(connection)) => Some(Connection::read(connection, home)),
            _ => None,
        };
        Self {
            stages,
            connection,
            variables: decoded("PROVISION_CONFIGURATION_BASE64").map(|yaml| yaml.map(Secret::new)),
            steps,
            secret_steps: !matches!(template.get("PROVISION_STEPS_BASE64"), Some(Value::Text(_))),
            hostname: template.text("PROVISION/HOSTNAME").unwrap_or_default().to_owned(),
            vm_mad: file.vm_mad.clone(),
        }
    }

    /// Adds what has to be looked at before it is done.
    pub fn add_to(&self, plan: &mut configure::Plan) {
        if self.stages.is_empty() {
            return;
        }
        for stage in &self.stages {
            if let Stage::Playbook(name) = stage
                && !plan.playbooks.contains(name)
            {
                plan.playbooks.push(name.clone());
            }
        }
        if let Some(Ok(connection)) = &self.connection {
            plan.add_connection(&self.hostname, connection.clone());
        }
        if let Some(Ok(steps)) = &self.steps {
            plan.add_steps(&self.hostname, steps.clone());
        }
    }

    /// The machine, if it has an address.
    pub fn machine(&self, host: &HostRecord) -> Result<Machine, String> {
        let address = host.address.clone().ok_or("its address is not known")?;
        let connection = self
            .connection
            .clone()
            .unwrap_or_else(|| Connection::read(&model::Attributes::new(), None))?;
        Ok(Machine {
            host: host.key,
            host_id: host.host_id,
            alias: alias(host),
            address,
            hostname: self.hostname.clone(),
            vm_mad: self.vm_mad.clone(),
            connection,
            variables: self.variables.clone().unwrap_or_else(|| Ok(Secret::new("{}")))?,
            steps: self.steps.clone().transpose()?.unwrap_or_default(),
            secret_steps: self.secret_steps,
        })
    }

    /// Stages from that one on.
    fn left(&self, number: u32) -> u32 {
        let all = u32::try_from(self.stages.len()).unwrap_or(u32::MAX);
        all.saturating_sub(number)
    }
}

/// Whether hosts of that virtualization driver are clusters of vCenter.
pub(crate) fn is_vcenter(vm_mad: &str) -> bool {
    vm_mad.trim().eq_ignore_ascii_case("vcenter")
}

/// The name under which a machine's host key is kept. It goes with the machine: rented addresses come
/// back with other machines.
pub(crate) fn alias(host: &HostRecord) -> String {
    let id = host.machine.id().map_or("", |id| id.as_str());
    configure::alias(&host.driver, id)
}

/// A stage in the words of people.
pub(crate) fn stage_name(stage: &Stage) -> String {
    match stage {
        Stage::Steps => "files and commands".to_owned(),
        Stage::Playbook(name) => {
            let file = Path::new(name).file_name().map(|file| file.to_string_lossy());
            format!("playbook {}", file.as_deref().unwrap_or(name))
        }
    }
}

/// Tells the session's observer what is heard of hosts.
struct Ears<'s>(&'s Session);

impl Watch for Ears<'_> {
    fn heard(&self, host: HostKey, what: Heard) {
        self.0.note(match what {
            Heard::Waiting(reason) => Note::Waiting { host, reason },
            what => Note::Heard { host, what },
        });
    }
}

type Answer = Result<Done, Trouble>;

/// Machines whose hosts wait for a stage, each with the way to tell it.
type Waiting = Vec<(Machine, oneshot::Sender<Answer>)>;

/// Hosts that come to the same playbook at about the same time, for one run. A stage is known by how
/// many are left with it: hosts have the same playbooks in the end, but not all have files and
/// commands before them.
#[derive(Default)]
pub(crate) struct Gather {
    state: Mutex<Gathered>,
    changed: Notify,
}

#[derive(Default)]
struct Gathered {
    /// Hosts that are on their way, and how many stages they have left.
    coming: BTreeMap<HostKey, u32>,
    /// Hosts that wait for a stage to be run.
    waiting: BTreeMap<u32, Waiting>,
}

impl Gather {
    fn state(&self) -> MutexGuard<'_, Gathered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A host is on its way, with so many stages left.
    pub fn comes(&self, host: HostKey, left: u32) {
        match left {
            0 => self.state().coming.remove(&host),
            left => self.state().coming.insert(host, left),
        };
        self.changed.notify_waiters();
    }

    /// A host is not on its way any more.
    pub fn leaves(&self, host: HostKey) {
        self.state().coming.remove(&host);
        self.changed.notify_waiters();
    }

    /// Waits until all hosts that may come to a stage are there, or have been waited for long enough,
    /// and takes them.
    async fn take(&self, left: u32) -> Waiting {
        let until = Instant::now() + GATHER;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.state();
                let may_come = state.coming.values().any(|others| *others >= left);
                if !may_come || Instant::now() >= until {
                    return state.waiting.remove(&left).unwrap_or_default();
                }
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(until) => {}
            }
        }
    }
}

/// Takes a host out of those that are on their way, whatever ends its loop.
pub(crate) struct OnTheWay<'g>(pub &'g Gather, pub HostKey);

impl Drop for OnTheWay<'_> {
    fn drop(&mut self) {
        self.0.leaves(self.1);
    }
}

impl Work {
    /// Takes note that a host may come to a playbook, if it may.
    pub(super) fn on_the_way(&self, key: HostKey, goal: Goal) {
        let done = self.session.host(key).map_or(0, |host| host.configuration.done);
        let left = match (goal, self.hosts.get(&key)) {
            (Goal::Ready { stages, .. }, Some(work)) if stages > 0 => work.configuration.left(done),
            _ => 0,
        };
        self.gather.comes(key, left);
    }

    fn configuration(&self, host: &HostRecord) -> Result<&HostWork, String> {
        self.hosts.get(&host.key).ok_or_else(|| "the driver of this host is not known".to_owned())
    }

    /// Waits until the machine lets us in. False if the operator asked to stop.
    pub(super) async fn reach(&self, host: &HostRecord) -> Result<bool, EngineError> {
        let intent = self.intent(host, Step::Reach).await?;
        let machine = self.configuration(host).and_then(|work| work.configuration.machine(host));
        let engine = self.session.engine();
        let settings = &engine.settings;
        let patience = Patience { retries: settings.ping.0, pause: settings.ping.1 };
        let ears = Ears(&self.session);
        let reached = async {
            let machine = machine.map_err(Trouble)?;
            engine.configure.reach(self.session.id, &machine, patience, &ears).await
        };
        let answer = tokio::select! {
            biased;
            () = self.stopping() => return Ok(false),
            answer = reached => answer,
        };
        let outcome = match answer {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(Trouble(message)) => Outcome::Failed { message },
        };
        self.session.outcome(intent, outcome).await?;
        Ok(true)
    }

    /// Runs a stage of the machine's configuration. False if the operator asked to stop.
    pub(super) async fn configure(
        &self,
        host: &HostRecord,
        number: u32,
    ) -> Result<bool, EngineError> {
        let intent = self.intent(host, Step::Configure).await?;
        let asked = self.configuration(host).and_then(|work| {
            let stages = &work.configuration.stages;
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let stage = stages.get(index).ok_or("it has no such stage of its configuration")?;
            let of = u32::try_from(stages.len()).unwrap_or(u32::MAX);
            Ok((stage.clone(), of, work.configuration.machine(host)?))
        });
        let outcome = match asked {
            Err(message) => Outcome::Failed { message },
            Ok((stage, of, machine)) => {
                let name = stage_name(&stage);
                self.session.note(Note::Waiting { host: host.key, reason: name.clone() });
                let run = self.run_stage(number, stage, machine);
                let stop = &self.session.engine().stop;
                // What runs on others comes to its end when one of them is given up.
                let answer = tokio::select! {
                    biased;
                    () = stop.wait() => return Ok(false),
                    answer = run => answer,
                };
                let Some(answer) = answer else { return Ok(false) };
                match answer {
                    Ok(Done { changed }) => {
                        Outcome::Done(Fact::Stage { name, done: number + 1, of, changed })
                    }
                    Err(Trouble(message)) => Outcome::Failed { message },
                }
            }
        };
        self.session.outcome(intent, outcome).await?;
        Ok(true)
    }

    /// `None` if nothing new may be begun.
    async fn run_stage(&self, number: u32, stage: Stage, machine: Machine) -> Option<Answer> {
        if stage == Stage::Steps {
            let run = self.run_of(stage, vec![machine]);
            let configure = &self.session.engine().configure;
            return configure.run(&run, &Ears(&self.session)).await.into_iter().next();
        }
        let (sender, receiver) = oneshot::channel();
        let key = machine.host;
        let left = self.hosts.get(&key).map_or(0, |work| work.configuration.left(number));
        let is_first = {
            let mut state = self.gather.state();
            state.coming.remove(&key);
            let waiting = state.waiting.entry(left).or_default();
            waiting.push((machine, sender));
            waiting.len() == 1
        };
        self.gather.changed.notify_waiters();
        if is_first {
            // In the loop of this host: what stops it stops the others, too.
            self.run_gathered(left, &stage).await;
        }
        receiver.await.ok()
    }

    /// Runs a playbook on all that have come to it; on those separately of which the playbook is
    /// another one.
    async fn run_gathered(&self, left: u32, stage: &Stage) {
        let mut same = Vec::new();
        let mut others: Vec<(Stage, Waiting)> = Vec::new();
        let taken = tokio::select! {
            biased;
            () = self.stopping() => {
                // Whoever waits hears by this that nothing is run.
                self.gather.state().waiting.remove(&left);
                return;
            }
            taken = self.gather.take(left) => taken,
        };
        for (machine, sender) in taken {
            let stages = self.hosts.get(&machine.host).map(|work| &work.configuration.stages);
            let from_the_end = usize::try_from(left).unwrap_or(usize::MAX);
            match stages.and_then(|s| s.get(s.len().checked_sub(from_the_end)?)) {
                Some(other) if other != stage => {
                    match others.iter_mut().find(|(known, _)| known == other) {
                        Some((_, list)) => list.push((machine, sender)),
                        None => others.push((other.clone(), vec![(machine, sender)])),
                    }
                }
                _ => same.push((machine, sender)),
            }
        }
        others.insert(0, (stage.clone(), same));
        let release = self.release().await;
        for (stage, list) in others {
            let (machines, senders): (Vec<_>, Vec<_>) = list.into_iter().unzip();
            let run = Run { release: release.clone(), ..self.run_of(stage, machines) };
            let configure = &self.session.engine().configure;
            let answers = configure.run(&run, &Ears(&self.session)).await;
            // All of them before the first goes on: it waits for the others at the next stage.
            run.machines.iter().for_each(|machine| self.gather.comes(machine.host, left - 1));
            for (sender, answer) in senders.into_iter().zip(answers) {
                // A host whose loop has ended hears of it no more.
                let _ = sender.send(answer);
            }
        }
    }

    /// The front-end's release. That it does not tell is no reason not to configure.
    async fn release(&self) -> Option<String> {
        let version = self.session.engine().opennebula.system().version().await.ok()?;
        let mut parts = version.split('.');
        Some(format!("{}.{}", parts.next()?, parts.next()?))
    }

    /// A run, with the other machines of the provision that have an address.
    fn run_of(&self, stage: Stage, machines: Vec<Machine>) -> Run {
        if stage == Stage::Steps {
            // They concern nobody else.
            return self.run_with(stage, machines, Vec::new());
        }
        let record = self.session.record();
        let is_other = |host: &&HostRecord| {
            !host.removed
                && !host.removing
                && host.enlisted.is_some()
                && !machines.iter().any(|machine| machine.host == host.key)
        };
        let others = record.hosts.values().filter(is_other);
        let others = others.filter_map(|host| {
            let machine = self.hosts.get(&host.key)?.configuration.machine(host).ok()?;
            Some(Machine { steps: Steps::default(), ..machine })
        });
        let others = others.collect();
        self.run_with(stage, machines, others)
    }

    fn run_with(&self, stage: Stage, machines: Vec<Machine>, others: Vec<Machine>) -> Run {
        Run {
            provision: self.session.id,
            stage,
            others,
            machines,
            release: None,
            deadline: self.session.engine().settings.configure_deadline,
        }
    }

    /// Writes into the host object that the configuration failed, after it did.
    pub(super) async fn tell(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Tell).await?;
        let answer = match host.host_id.map(model::HostId) {
            Some(id) => {
                let mut update = model::Attributes::new();
                update.push("PROVISION_CONFIGURATION_STATUS", "error");
                let engine = self.session.engine();
                let hosts = engine.opennebula.hosts();
                let patience = engine.settings.patience;
                repeat(patience, || hosts.update(id, &update, Update::Append)).await
            }
            None => Ok(()),
        };
        let answer = answer.map(|()| Fact::Done);
        self.written(intent, answer).await
    }
}
