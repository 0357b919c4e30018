//! The loop of each host: the planner names the next step, and it is taken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use journal::{Event, Fact, HostRecord, Machine, Outcome, Step, Subject};
use model::{HostId, HostKey};
use opennebula::objects::HostState;
use tokio::task::JoinSet;

use super::Work;
use super::configure::OnTheWay;
use crate::error::describe;
use crate::observe::Note;
use crate::planner::{Goal, Next, next};
use crate::{Decision, EngineError, names};

impl Work {
    /// Drives every host to the goal, each on its own.
    pub async fn drive_all(
        self: &Arc<Self>,
        keys: Vec<HostKey>,
        absent: bool,
    ) -> Result<(), EngineError> {
        let mut tasks = JoinSet::new();
        let mut drives = Vec::new();
        for key in keys {
            let work = Arc::clone(self);
            // A host whose removal was begun is never taken into use again.
            let removing = self.session.host(key).is_some_and(|host| host.removing);
            let goal = match absent || removing {
                true => Goal::Absent,
                false => self.goal(key),
            };
            // Known before the first of them comes to a playbook.
            self.on_the_way(key, goal);
            drives.push(async move { work.drive(key, goal).await });
        }
        drives.into_iter().for_each(|drive| drop(tasks.spawn(drive)));
        self.join(tasks, None).await
    }

    /// One host towards its goal, until it is reached, cannot be, or the operator asks to stop.
    ///
    /// Steps are boxed: a host that waits takes no more room than its step needs, and ten thousand may wait.
    pub(super) async fn drive(
        self: &Arc<Self>,
        key: HostKey,
        mut goal: Goal,
    ) -> Result<(), EngineError> {
        let _on_the_way = OnTheWay(&self.gather, key);
        let _writer = self.session.writer();
        if !self.is_stopping() {
            Box::pin(self.look_again(key)).await?;
        }
        loop {
            if self.is_stopping() {
                return Ok(());
            }
            let Some(host) = self.session.host(key) else { return Ok(()) };
            let step = match (next(&host, goal), &host.open, host.machine.id()) {
                // It may be repeated, and mostly it was announced together with what came before it.
                (Next::Resolve, Some(open), Some(id)) if open.step == Step::Announce => {
                    Next::Announce(id.clone())
                }
                (step, _, _) => step,
            };
            match step {
                Next::Resolve => {
                    if !Box::pin(self.resolve(&host, goal)).await? {
                        return Ok(());
                    }
                    Box::pin(self.look_again(key)).await?;
                }
                Next::Create => Box::pin(self.create(&host)).await?,
                Next::Deploy => {
                    if !Box::pin(self.deploy(&host, goal)).await? {
                        return Ok(());
                    }
                }
                Next::Announce(id) => {
                    if !Box::pin(self.announce_and_look(&host, &id, goal)).await? {
                        return Ok(());
                    }
                }
                Next::Refresh => Box::pin(self.refresh(&host)).await?,
                Next::Poll(id) => {
                    if !Box::pin(self.find_address(&host, &id, goal)).await? {
                        return Ok(());
                    }
                }
                Next::Enlist(address) => Box::pin(self.enlist(&host, &address, goal)).await?,
                Next::Reach => {
                    if !Box::pin(self.reach(&host)).await? {
                        return Ok(());
                    }
                }
                Next::Configure(stage) => {
                    if !Box::pin(self.configure(&host, stage)).await? {
                        return Ok(());
                    }
                }
                Next::Tell => Box::pin(self.tell(&host)).await?,
                Next::Cancel(id) => {
                    if !Box::pin(self.cancel(&host, &id)).await? {
                        return Ok(());
                    }
                }
                Next::Remove => Box::pin(self.remove(&host)).await?,
                Next::Stuck if goal == Goal::Absent => {
                    if !Box::pin(self.decide_removal(&host)).await? {
                        return Ok(());
                    }
                }
                Next::Stuck if !host.removing => {
                    // Others do not wait for what the operator decides.
                    self.gather.leaves(key);
                    match Box::pin(self.decide(&host)).await? {
                        Some(next) => goal = next,
                        None => return Ok(()),
                    }
                    self.on_the_way(key, goal);
                }
                // Of the power operations only their own loop asks.
                Next::Nothing
                | Next::Stuck
                | Next::TakeOffline
                | Next::PutOnline
                | Next::Power(..) => return Ok(()),
            }
        }
    }

    /// Asks what to do about a host that cannot go on, and prepares it: the goal to go on with, or
    /// `None` if it stays as it is.
    pub(super) async fn decide(&self, host: &HostRecord) -> Result<Option<Goal>, EngineError> {
        let failure = match (&host.failure, &host.machine) {
            (Some(failure), _) => failure,
            (None, Machine::Maybe { evidence }) => evidence,
            (None, _) => return Ok(None),
        };
        match self.session.decide(Subject::Host(host.key), failure).await {
            Decision::Leave => Ok(None),
            Decision::Quit => {
                self.halt.request();
                Ok(None)
            }
            Decision::Cleanup => {
                self.cleanup.store(true, Ordering::Relaxed);
                self.halt.request();
                Ok(None)
            }
            Decision::Retry => {
                self.session.commit(vec![Event::Retried { host: host.key }]).await?;
                self.look_again(host.key).await?;
                let now = self.session.host(host.key);
                if now.is_some_and(|now| matches!(now.machine, Machine::Maybe { .. })) {
                    // To ask for another machine now could buy a second one.
                    self.session.note(Note::Warning(
                        "it cannot be tried again: whether the machine exists is not known".into(),
                    ));
                    return Ok(None);
                }
                Ok(Some(self.goal(host.key)))
            }
            Decision::Skip if self.may_be_used(host).await => {
                // VMs may be on it.
                self.session.note(Note::Warning(format!(
                    "host {} is in use and stays: it is not taken out of the provision",
                    host.key
                )));
                Ok(None)
            }
            Decision::Skip => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                let begun = Event::HostDeleteBegun { hosts: vec![host.key], update: None };
                self.session.commit(vec![begun]).await?;
                self.look_again(host.key).await?;
                Ok(Some(Goal::Absent))
            }
        }
    }

    /// Whether VMs may be on a host, whatever the journal says: its operator may have enabled it.
    async fn may_be_used(&self, host: &HostRecord) -> bool {
        let Some(id) = host.host_id else { return false };
        let there = self.session.engine().opennebula.hosts().info(HostId(id)).await;
        match there {
            Ok(there) => there.state != HostState::Offline || there.running_vms > 0,
            Err(error) => !error.is_gone(),
        }
    }

    /// Asks what to do about a host that cannot be removed: true to try again. The other decisions
    /// are of no use here, since removal is what is under way.
    async fn decide_removal(&self, host: &HostRecord) -> Result<bool, EngineError> {
        let Some(failure) = &host.failure else { return Ok(false) };
        let decision = self.session.decide(Subject::Host(host.key), failure).await;
        if decision == Decision::Retry {
            self.session.commit(vec![Event::Retried { host: host.key }]).await?;
        }
        if decision == Decision::Quit {
            self.halt.request();
        }
        Ok(decision == Decision::Retry)
    }

    /// Finds out what became of a step that has no outcome. Steps that may be repeated simply are.
    pub(super) async fn resolve(
        self: &Arc<Self>,
        host: &HostRecord,
        goal: Goal,
    ) -> Result<bool, EngineError> {
        let Some(open) = &host.open else { return Ok(true) };
        if let (Step::Create, Some(id)) = (open.step, host.host_id) {
            // Found in OpenNebula since.
            self.session.outcome(open.id, Outcome::Done(Fact::Object(id))).await?;
            return Ok(true);
        }
        match (open.step, &host.machine) {
            (Step::Deploy, _) => return self.resolve_deploy(host, open).await,
            (Step::Create, _) if goal == Goal::Absent => {
                let name = names::host_name(self.session.id, host.key);
                let found = self.find_host(&name).await;
                let outcome = match found {
                    Ok(Some(id)) => Outcome::Done(Fact::Object(id.into())),
                    Ok(None) => Outcome::Failed { message: "was not made".to_owned() },
                    Err(error) => return self.fail(host, &describe(&error)).await.map(|()| false),
                };
                // That it was not made is no failure of a removal.
                let ended = Event::Outcome { id: open.id, outcome };
                self.session.commit(vec![ended, Event::Retried { host: host.key }]).await?;
            }
            (Step::Create, _) => self.create(host).await?,
            (Step::Announce, machine) => match machine.id() {
                Some(id) => self.announce(host, id).await?,
                None => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            (Step::Refresh, _) if goal != Goal::Absent => self.refresh(host).await?,
            (Step::Refresh, _) => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            // Under another goal the step is no longer wanted, and its effect is undone by what is.
            (Step::Enlist, _) => match (&host.address, goal) {
                (Some(address), Goal::Ready { .. }) => {
                    let address = address.clone();
                    self.enlist(host, &address, goal).await?;
                }
                _ => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            (Step::Cancel, machine) => match machine.id() {
                Some(id) => return self.cancel(host, id).await,
                None => self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?,
            },
            (Step::Remove, _) => self.remove(host).await?,
            // Unless the template has changed since: then it is asked for anew, or not at all.
            (Step::Reach, _) if is_to_be_configured(host, goal) => return self.reach(host).await,
            (Step::Configure, _) if is_to_be_configured(host, goal) => {
                return self.configure(host, host.configuration.done).await;
            }
            (Step::Tell, _) if goal != Goal::Absent => self.tell(host).await?,
            (Step::Reach | Step::Configure | Step::Tell, _) => {
                let outcome = Outcome::Failed { message: "was interrupted".to_owned() };
                let ended = Event::Outcome { id: open.id, outcome };
                self.session.commit(vec![ended, Event::Retried { host: host.key }]).await?;
            }
            (
                Step::TakeOffline
                | Step::PutOnline
                | Step::Poweroff
                | Step::PowerOn
                | Step::Reboot
                | Step::Reset,
                _,
            ) => self.end_interrupted_power(host, open).await?,
            // Steps of other objects.
            (Step::Own | Step::AwaitReady, _) => {
                self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?;
            }
        }
        Ok(true)
    }
}

/// Whether what was interrupted of a host's configuration is still wanted.
fn is_to_be_configured(host: &HostRecord, goal: Goal) -> bool {
    let stages = match goal {
        Goal::Ready { stages, .. } => stages,
        Goal::Registered | Goal::Absent => 0,
    };
    host.configuration.done < stages && host.outdated.is_none()
}

#[cfg(test)]
mod tests {
    use model::DeployId;

    use super::*;

    fn room<'w, F>(_: impl FnOnce(&'w Arc<Work>, HostKey, Goal) -> F) -> usize {
        size_of::<F>()
    }

    fn room_of_step<'w, F>(
        _: impl FnOnce(&'w Work, &'w HostRecord, &'w DeployId, Goal) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn ten_thousand_hosts_may_wait() {
        let room = room(Work::drive);
        assert!(room <= 1536, "{room} bytes");
        let room = room_of_step(Work::announce_and_look) + room_of_step(Work::find_address);
        assert!(room <= 1536, "{room} bytes");
    }
}
