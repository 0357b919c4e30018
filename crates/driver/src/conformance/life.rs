//! The life of one machine, check by check.

use model::DeployId;

use super::bill::Waited;
use super::caller::{Ask, Order};
use super::{Check, Kit, Verdict, judge};
use crate::api::{Action, ListedMachine};
use crate::executable::run::Given;
use crate::poll::{MachineState, PollReport};

/// Whether a machine is ready, as the protocol has it.
fn is_ready(report: &PollReport) -> bool {
    let state = matches!(report.state, None | Some(MachineState::Active | MachineState::NotKnown));
    state && report.address().is_some()
}

impl Kit<'_> {
    /// From what there is before a machine, to what there is after it.
    pub(super) async fn life(&mut self) {
        self.actions();
        self.describe();
        if self.stopped() {
            return;
        }
        if !self.caller.is_rust() {
            self.without_a_file().await;
        }
        if self.stopped() {
            return;
        }
        let order = self.order();
        let Some(id) = self.birth(&order).await else { return };
        self.first_looks(&order, &id).await;
        if !self.stopped() {
            self.power(&order, &id).await;
        }
        self.death(&order, &id).await;
    }

    fn actions(&mut self) {
        if self.caller.is_rust() {
            return;
        }
        let optional = [Action::Reboot, Action::Reset, Action::Shutdown, Action::List];
        let missing: Vec<&str> = optional
            .into_iter()
            .filter(|action| !self.caller.has(*action))
            .map(Action::as_str)
            .collect();
        match missing.is_empty() {
            true => self.found(Check::Actions, Verdict::Kept, "all seven are there"),
            false => {
                let seen = format!("missing: {}", missing.join(", "));
                self.found(Check::Actions, Verdict::Warning, seen);
            }
        }
    }

    fn describe(&mut self) {
        let description = self.caller.describe();
        let (verdict, seen) = match (description.problem, description.parameters) {
            (Some(problem), _) => (Verdict::Broken, problem),
            (None, Some(parameters)) => (Verdict::Kept, format!("{} parameters", parameters.len())),
            (None, None) => (Verdict::Warning, "it does not say what it takes".to_owned()),
        };
        self.found(Check::Describe, verdict, seen);
    }

    /// A deploy that has to fail: there is no deployment file.
    async fn without_a_file(&mut self) {
        self.observer.begun(Check::FailureStatus);
        let order = self.order();
        let legacy = false;
        let seen = self.call(&order, Ask::Deploy { given: Given::Nothing, legacy }).await;
        if seen.not_started.is_some() {
            self.found(Check::Deploy, Verdict::Broken, seen.words());
            return;
        }
        let (verdict, text) = judge::failure_status(&seen);
        self.found(Check::FailureStatus, verdict, text);
        if verdict == Verdict::Broken {
            return;
        }
        let (verdict, text) = judge::failure_output(&seen);
        self.found(Check::FailureOutput, verdict, text);
        if let Some((verdict, text)) = judge::error_block(&seen) {
            self.found(Check::ErrorBlock, verdict, text);
        }
    }

    /// Makes the machine.
    async fn birth(&mut self, order: &Order) -> Option<DeployId> {
        if self.findings.iter().any(|found| found.check == Check::Deploy) {
            return None;
        }
        self.observer.begun(Check::Deploy);
        let seen = self.call(order, Ask::Deploy { given: Given::Host, legacy: false }).await;
        if !seen.ok() {
            if !self.stopped() {
                self.found(Check::Deploy, Verdict::Broken, seen.words());
                self.why_not = "there is no machine to go on with".to_owned();
            }
            return None;
        }
        let took = seen.took.as_secs_f64();
        self.found(Check::Deploy, Verdict::Kept, format!("exit status 0 after {took:.1} s"));
        let (verdict, text) = judge::id(&seen);
        self.found(Check::Id, verdict, text);
        if verdict == Verdict::Broken {
            self.why_not = "without a sound id nothing else can be asked".to_owned();
            return None;
        }
        if !self.caller.is_rust() {
            let (verdict, text) = judge::id_early(&seen);
            self.found(Check::IdEarly, verdict, text);
        }
        seen.id().cloned()
    }

    async fn first_looks(&mut self, order: &Order, id: &DeployId) {
        self.observer.begun(Check::Poll);
        let seen = self.call(order, Ask::Act(Action::Poll, id.clone())).await;
        match judge::poll(&seen) {
            Err((verdict, text)) => {
                self.found(Check::Poll, verdict, text);
            }
            Ok((report, (verdict, text))) => {
                self.found(Check::Poll, verdict, text);
                let (verdict, text) = judge::poll_state(&report);
                self.tells_state = verdict == Verdict::Kept;
                self.found(Check::PollState, verdict, text);
                self.observer.begun(Check::Ready);
                let deploy = self.settings.deploy;
                let waited = self.wait(order, id, deploy, is_ready).await;
                self.judge_up(Check::Ready, waited);
            }
        }
        if self.stopped() {
            return;
        }
        self.observer.begun(Check::List);
        match self.machines(order).await {
            Err(seen) => {
                if let Some((verdict, seen)) = seen {
                    self.found(Check::List, verdict, seen);
                }
            }
            Ok(machines) => {
                let provision = self.settings.provision.to_string();
                let (verdict, seen) = match machines.iter().find(|machine| machine.id == *id) {
                    Some(machine) => {
                        judge::listed(machine, &order.key, &order.host.name, &provision)
                    }
                    None => (Verdict::Broken, format!("machine {id} is not in it")),
                };
                self.found(Check::List, verdict, seen);
            }
        }
    }

    /// The machines of this run in the list; a finding if there is no list.
    async fn machines(
        &mut self,
        order: &Order,
    ) -> Result<Vec<ListedMachine>, Option<(Verdict, String)>> {
        if !self.caller.has(Action::List) {
            return Err(Some((Verdict::NotTried, "there is no `list`".to_owned())));
        }
        if self.hung.contains(&Action::List) {
            return Err(None);
        }
        match self.listing(order).await {
            Ok(listed) => Ok(listed),
            Err(seen) if self.caller.is_rust() && seen.not_started.is_some() => {
                Err(Some((Verdict::NotTried, seen.words())))
            }
            Err(seen) if seen.ok() => {
                let text = "it printed lines, and no machine in any: that is no list";
                Err(Some((Verdict::Broken, text.to_owned())))
            }
            Err(seen) => Err(Some((Verdict::Broken, seen.words()))),
        }
    }

    /// A machine that was to be up.
    fn judge_up(&mut self, check: Check, waited: Waited) {
        match waited {
            Waited::Reached(report) => {
                let address = report.address().unwrap_or("none");
                self.found(check, Verdict::Kept, format!("active, address {address}"));
            }
            Waited::Stuck(_) if self.stopped() => {}
            Waited::Stuck(line) => self.found(check, Verdict::Broken, line),
            Waited::Failed(seen) => {
                self.found(check, Verdict::Broken, format!("poll: {}", seen.words()));
            }
        }
    }

    /// Whether polls tell something.
    fn polls(&self) -> bool {
        !self.hung.contains(&Action::Poll)
            && (self.is(Check::Poll, Verdict::Kept) || self.is(Check::Poll, Verdict::Warning))
    }

    /// Whether polls tell that a machine is ready.
    fn tells_ready(&self) -> bool {
        self.polls() && self.is(Check::Ready, Verdict::Kept)
    }

    /// Off, on, and two reboots.
    async fn power(&mut self, order: &Order, id: &DeployId) {
        if self.caller.has(Action::Shutdown) {
            self.observer.begun(Check::Poweroff);
            let seen = self.call(order, Ask::Poweroff(id.clone())).await;
            if seen.ok() {
                let took = seen.took.as_secs_f64();
                self.found(
                    Check::Poweroff,
                    Verdict::Kept,
                    format!("exit status 0 after {took:.1} s"),
                );
                self.is_off(order, id).await;
            } else {
                self.found(Check::Poweroff, Verdict::Broken, seen.words());
            }
        } else {
            for check in [Check::Poweroff, Check::PollOff, Check::ListOff] {
                self.found(check, Verdict::NotTried, "there is no `shutdown`");
            }
        }
        if self.stopped() {
            return;
        }
        self.resume(order, id).await;
        for (action, check) in [(Action::Reboot, Check::Reboot), (Action::Reset, Check::Reset)] {
            if self.stopped() {
                return;
            }
            if !self.caller.has(action) {
                self.found(check, Verdict::NotTried, format!("there is no `{action}`"));
                continue;
            }
            self.observer.begun(check);
            let seen = self.call(order, Ask::Act(action, id.clone())).await;
            if !seen.ok() {
                self.found(check, Verdict::Broken, seen.words());
            } else if self.tells_ready() {
                let waited = self.wait(order, id, self.settings.deploy, is_ready).await;
                self.judge_up(check, waited);
            } else {
                self.found(check, Verdict::Kept, "exit status 0");
            }
        }
    }

    async fn is_off(&mut self, order: &Order, id: &DeployId) {
        if self.polls() && self.tells_state {
            self.observer.begun(Check::PollOff);
            let off = |report: &PollReport| report.state == Some(MachineState::Gone);
            match self.wait(order, id, self.settings.action, off).await {
                Waited::Reached(_) => self.found(Check::PollOff, Verdict::Kept, "STATE=d"),
                Waited::Stuck(_) if self.stopped() => {}
                Waited::Stuck(line) => self.found(Check::PollOff, Verdict::Broken, line),
                Waited::Failed(seen) => self.found(Check::PollOff, Verdict::Broken, seen.words()),
            }
        } else {
            self.found(Check::PollOff, Verdict::NotTried, "poll tells no state that can be read");
        }
        // A list that does not have it even while it runs was told of already.
        if !self.lists() {
            self.found(Check::ListOff, Verdict::NotTried, "there is no sound `list`");
            return;
        }
        if let Ok(machines) = self.machines(order).await {
            match machines.iter().any(|machine| machine.id == *id) {
                true => self.found(Check::ListOff, Verdict::Kept, "it is there"),
                false => {
                    self.found(
                        Check::ListOff,
                        Verdict::Broken,
                        format!("machine {id} is not in it"),
                    );
                }
            }
        }
    }

    /// Powers the machine on.
    async fn resume(&mut self, order: &Order, id: &DeployId) {
        self.observer.begun(Check::Resume);
        // One that is off may be missing in the list; that is told elsewhere.
        let before = self.count(order).await.map(|ids| [ids, vec![id.clone()]].concat());
        let seen = self.call(order, Ask::Resume(id.clone())).await;
        let other = seen.id().filter(|other| *other != id).cloned();
        let second = self.second_machine(order, other.as_ref(), before).await;
        self.makes_on_resume = second.is_some();
        let (verdict, text) = if let Some(second) = second {
            (Verdict::Broken, format!("it made a second machine, {second}"))
        } else if !seen.ok() {
            (Verdict::Broken, seen.words())
        } else if let Some(other) = other {
            (Verdict::Broken, format!("it printed {other} for {id}: the id has changed"))
        } else if seen.id().is_none() {
            (Verdict::Warning, "it did not print the id again".to_owned())
        } else if self.tells_ready() {
            let waited = self.wait(order, id, self.settings.deploy, is_ready).await;
            return self.judge_up(Check::Resume, waited);
        } else {
            (Verdict::Kept, format!("exit status 0 and {id}"))
        };
        self.found(Check::Resume, verdict, text);
    }

    /// How many machines of this run are listed.
    async fn count(&mut self, order: &Order) -> Option<Vec<DeployId>> {
        let machines = self.machines(order).await.ok()?;
        Some(self.ours(machines).into_iter().map(|machine| machine.id).collect())
    }

    /// A machine that is there since `before`, by the list or because the driver named it and knows it.
    async fn second_machine(
        &mut self,
        order: &Order,
        named: Option<&DeployId>,
        before: Option<Vec<DeployId>>,
    ) -> Option<DeployId> {
        let mut second = None;
        if let Some(before) = before
            && let Some(after) = self.count(order).await
        {
            second = after.into_iter().find(|id| !before.contains(id));
        }
        if second.is_none()
            && let Some(named) = named
            && self.polls()
        {
            // It goes by another name if it is off when the first one is.
            let ask = Ask::Act(Action::Poll, named.clone());
            let seen = self.call(order, ask).await;
            let report = PollReport::parse(&seen.stdout);
            let there = matches!(report.state, Some(MachineState::Active | MachineState::Paused))
                || report.state.is_none() && report.address().is_some();
            second = (seen.ok() && there).then(|| named.clone());
        }
        if let Some(second) = &second {
            self.add(order, second);
        }
        second
    }

    /// Cancels the machine, and asks for it afterwards.
    async fn death(&mut self, order: &Order, id: &DeployId) {
        self.observer.begun(Check::Cancel);
        let seen = self.call(order, Ask::Act(Action::Cancel, id.clone())).await;
        if !seen.ok() {
            if !self.stopped() {
                self.found(Check::Cancel, Verdict::Broken, seen.words());
                self.why_not = "the machine could not be destroyed".to_owned();
            }
            return;
        }
        let took = seen.took.as_secs_f64();
        self.found(Check::Cancel, Verdict::Kept, format!("exit status 0 after {took:.1} s"));
        if self.polls() {
            self.observer.begun(Check::Gone);
            match self.wait_until_gone(order, id).await {
                Waited::Reached(_) if !self.tells_state => {
                    self.found(Check::Gone, Verdict::Kept, "no state that says otherwise");
                }
                Waited::Reached(_) => self.found(Check::Gone, Verdict::Kept, "STATE=d"),
                Waited::Failed(seen) if seen.not_found => {
                    let text = format!("poll fails with {:?}", seen.words());
                    self.found(Check::Gone, Verdict::Kept, text);
                }
                Waited::Failed(seen) => self.found(Check::Gone, Verdict::Warning, seen.words()),
                Waited::Stuck(_) if self.stopped() => return,
                Waited::Stuck(line) => self.found(Check::Gone, Verdict::Broken, line),
            }
        } else {
            self.found(Check::Gone, Verdict::NotTried, "poll tells nothing");
        }
        if self.stopped() {
            return;
        }
        self.observer.begun(Check::CancelAgain);
        let seen = self.call(order, Ask::Act(Action::Cancel, id.clone())).await;
        if seen.not_found && !self.is(Check::Gone, Verdict::Broken) {
            self.gone(id);
        }
        let (verdict, text) = match (seen.ok(), seen.not_found) {
            (true, _) => (Verdict::Kept, "exit status 0".to_owned()),
            (_, true) => (Verdict::Kept, seen.words()),
            _ => (Verdict::Broken, seen.words()),
        };
        self.found(Check::CancelAgain, verdict, text);
        if self.is(Check::Gone, Verdict::Broken) {
            self.found(Check::ResumeGone, Verdict::NotTried, "the machine is not gone");
            return;
        }
        if self.makes_on_resume {
            let seen = "it makes machines where it is to power one on";
            self.found(Check::ResumeGone, Verdict::NotTried, seen);
            return;
        }
        self.resume_what_is_gone(order, id).await;
    }

    async fn resume_what_is_gone(&mut self, order: &Order, id: &DeployId) {
        if self.stopped() {
            return;
        }
        self.observer.begun(Check::ResumeGone);
        let before = self.count(order).await;
        let seen = self.call(order, Ask::Resume(id.clone())).await;
        let other = seen.id().filter(|other| *other != id).cloned();
        // The same name may be a new machine.
        let named = other.as_ref().or(seen.ok().then_some(id));
        let second = self.second_machine(order, named, before).await;
        let (verdict, text) = match second {
            Some(second) => (Verdict::Broken, format!("it made machine {second}")),
            None if seen.ok() => (Verdict::Broken, "exit status 0".to_owned()),
            None if seen.hung() => (Verdict::Broken, seen.words()),
            None => (Verdict::Kept, seen.words()),
        };
        self.found(Check::ResumeGone, verdict, text);
    }
}
