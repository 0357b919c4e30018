//! The machines that were made, and getting rid of them.

use model::DeployId;
use tokio::time::{Duration, Instant, sleep};

use super::caller::{Ask, Order, Seen};
use super::{Kit, Left};
use crate::api::{Action, ListedMachine};
use crate::executable::EXIT_UNKNOWN;
use crate::executable::outcome::Ending;
use crate::poll::{self, MachineState, PollReport};

/// How often a cancel is tried in the end.
const TRIES: usize = 3;

/// What was asked for, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Bill(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    order: Order,
    /// The machines that it is known to have made.
    ids: Vec<(DeployId, bool)>,
    /// Whether there may be one that is not known.
    open: bool,
}

impl Bill {
    /// A machine is about to be asked for.
    fn begin(&mut self, order: &Order) {
        match self.0.iter_mut().find(|entry| entry.order.key == order.key) {
            Some(entry) => entry.open = true,
            None => self.0.push(Entry { order: order.clone(), ids: Vec::new(), open: true }),
        }
    }

    /// What came of it: the same rules by which the tool judges a deploy.
    fn settle(&mut self, order: &Order, seen: &Seen) {
        let definite = match seen.ending {
            Ending::Exit(code) => code != 0 && code != i32::from(EXIT_UNKNOWN),
            _ => false,
        };
        let known = seen.id().is_some();
        if known || definite || seen.not_started.is_some() {
            self.close(&order.key);
        }
    }

    /// Nothing is open any more of that key.
    pub(super) fn close(&mut self, key: &str) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.order.key == key) {
            entry.open = false;
        }
    }

    /// A machine; whether it was not known. One that was gone is there again: of bare metal, the same
    /// machine is given to one host after the other.
    fn add(&mut self, order: &Order, id: &DeployId) -> bool {
        if self.has(id) {
            return false;
        }
        match self.0.iter_mut().find(|entry| entry.order.key == order.key) {
            Some(entry) => entry.ids.push((id.clone(), false)),
            None => {
                let ids = vec![(id.clone(), false)];
                self.0.push(Entry { order: order.clone(), ids, open: false });
            }
        }
        true
    }

    /// Whether that machine is there.
    fn has(&self, id: &DeployId) -> bool {
        self.0.iter().any(|entry| entry.ids.iter().any(|(known, gone)| known == id && !gone))
    }

    fn gone(&mut self, id: &DeployId) {
        for (known, gone) in self.0.iter_mut().flat_map(|entry| &mut entry.ids) {
            *gone |= known == id;
        }
    }

    /// How many machines there were.
    pub(super) fn made(&self) -> usize {
        self.0.iter().map(|entry| entry.ids.len()).sum()
    }

    fn present(&self) -> Vec<(Order, DeployId)> {
        let of = |entry: &Entry| {
            let present = entry.ids.iter().filter(|(_, gone)| !gone);
            present.map(|(id, _)| (entry.order.clone(), id.clone())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// The order whose mark a listed machine carries.
    fn order_of(&self, machine: &ListedMachine) -> Option<&Order> {
        let has = |name, value: &str| {
            machine.attributes.text(name).is_some_and(|text| text.trim() == value)
        };
        let mut orders = self.0.iter().map(|entry| &entry.order);
        orders.find(|order| has("KEY", &order.key) || has("NAME", &order.host.name))
    }
}

/// What came of waiting.
pub(super) enum Waited {
    /// The machine is as it was to be.
    Reached(PollReport),
    /// It is not, and this is how it was last.
    Stuck(String),
    /// Poll failed.
    Failed(Seen),
}

impl Kit<'_> {
    /// Calls the driver, and writes down what a deploy makes before and after it does.
    pub(super) async fn call(&mut self, order: &Order, ask: Ask) -> Seen {
        let makes = matches!(ask, Ask::Deploy { .. } | Ask::Killed { .. });
        if makes {
            self.bill.begin(order);
        }
        let seen = self.caller.call(order, &ask).await;
        self.note(ask.action(), &seen);
        if makes {
            self.account(order, &seen);
        }
        seen
    }

    /// What a deploy made.
    pub(super) fn account(&mut self, order: &Order, seen: &Seen) {
        self.bill.settle(order, seen);
        if let Some(id) = seen.id() {
            self.add(order, &id.clone());
        }
    }

    /// Says that a machine is about to be asked for.
    pub(super) fn begin(&mut self, order: &Order) {
        self.bill.begin(order);
    }

    /// All that a deploy can have made is known.
    pub(super) fn settled(&mut self, order: &Order) {
        self.bill.close(&order.key);
    }

    /// There is a machine.
    pub(super) fn add(&mut self, order: &Order, id: &DeployId) {
        if self.bill.add(order, id) {
            self.observer.made(id);
        }
    }

    pub(super) fn gone(&mut self, id: &DeployId) {
        if self.bill.has(id) {
            self.bill.gone(id);
            self.observer.gone(id);
        }
    }

    /// Polls until the machine is as it is to be: patiently while it is on its way (`p`), else as long as
    /// a machine may take to begin.
    pub(super) async fn wait(
        &mut self,
        order: &Order,
        id: &DeployId,
        moving: Duration,
        reached: impl Fn(&PollReport) -> bool,
    ) -> Waited {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let seen = self.caller.call_anyway(order, &Ask::Act(Action::Poll, id.clone())).await;
            self.note(Action::Poll, &seen);
            if !seen.ok() {
                return Waited::Failed(seen);
            }
            let report = PollReport::parse(&seen.stdout);
            if reached(&report) {
                return Waited::Reached(report);
            }
            let on_its_way = report.state == Some(MachineState::Paused);
            let patience = if on_its_way { moving } else { self.settings.settle.min(moving) };
            if begun.elapsed() >= patience || self.stopped() && !on_its_way {
                let line = super::caller::short(&report.to_masked_line());
                return Waited::Stuck(format!(
                    "{line} after {:.0} s",
                    begun.elapsed().as_secs_f64()
                ));
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// Waits until a machine is gone; its last poll if it is not.
    pub(super) async fn wait_until_gone(&mut self, order: &Order, id: &DeployId) -> Waited {
        let waited = self.wait(order, id, self.settings.action, is_gone).await;
        let gone = match &waited {
            Waited::Reached(_) => true,
            Waited::Failed(seen) => seen.not_found,
            Waited::Stuck(_) => false,
        };
        if gone {
            self.gone(id);
        }
        waited
    }

    /// What the driver lists; why not, if it cannot.
    pub(super) async fn listing(&mut self, order: &Order) -> Result<Vec<ListedMachine>, Seen> {
        let seen = self.caller.call_anyway(order, &Ask::List).await;
        self.note(Action::List, &seen);
        let listed = poll::parse_list(&seen.stdout).filter(|_| seen.ok());
        listed.ok_or(seen)
    }

    /// The listed machines of this run.
    pub(super) fn ours(&self, listed: Vec<ListedMachine>) -> Vec<ListedMachine> {
        let provision = self.settings.provision.to_string();
        let marked = |machine: &ListedMachine| {
            machine.attributes.text("PROVISION_ID").is_some_and(|id| id.trim() == provision)
                || self.bill.order_of(machine).is_some()
        };
        listed.into_iter().filter(marked).collect()
    }

    /// Takes the machines of this run that the driver lists into the bill. `None` if it cannot list.
    async fn look(&mut self) -> Option<usize> {
        let first = self.bill.0.first()?.order.clone();
        if !self.caller.has(Action::List) || self.hung.contains(&Action::List) {
            return None;
        }
        let listed = self.listing(&first).await.ok()?;
        let ours = self.ours(listed);
        let count = ours.len();
        for machine in ours {
            let order = self.bill.order_of(&machine).cloned().unwrap_or_else(|| first.clone());
            self.bill.close(&order.key);
            self.add(&order, &machine.id);
        }
        Some(count)
    }

    /// Cancels every machine; what may be left.
    pub(super) async fn clean(&mut self) -> Vec<Left> {
        if self.bill.0.is_empty() {
            return Vec::new();
        }
        self.look().await;
        let mut left = Vec::new();
        for (order, id) in self.bill.present() {
            if let Err(why) = self.remove(&order, &id).await {
                left.push(Left { id: Some(id), key: order.key, host: order.host.name, why });
            }
        }
        // One that the list did not have yet the first time.
        let complete = self.look().await.is_some();
        for (order, id) in self.bill.present() {
            if left.iter().any(|left| left.id.as_ref() == Some(&id)) {
                continue;
            }
            if let Err(why) = self.remove(&order, &id).await {
                left.push(Left { id: Some(id), key: order.key, host: order.host.name, why });
            }
        }
        if !complete {
            let open = self.bill.0.iter().filter(|entry| entry.open);
            left.extend(open.map(|entry| Left {
                id: None,
                key: entry.order.key.clone(),
                host: entry.order.host.name.clone(),
                why: "its deploy did not say what it made, and there is no `list`".to_owned(),
            }));
        }
        left
    }

    /// Cancels a machine until it is gone.
    pub(super) async fn remove(&mut self, order: &Order, id: &DeployId) -> Result<(), String> {
        let mut why = String::new();
        for nth in 0..TRIES {
            if nth > 0 {
                sleep(Duration::from_secs(1)).await;
            }
            let seen = self.caller.call_anyway(order, &Ask::Act(Action::Cancel, id.clone())).await;
            self.note(Action::Cancel, &seen);
            if seen.not_found {
                self.gone(id);
                return Ok(());
            }
            if !seen.ok() {
                why = format!("cancel: {}", self.caller.masked(&seen.words()));
                if seen.hung() {
                    break;
                }
                continue;
            }
            if self.hung.contains(&Action::Poll) {
                why = "cancel says that it is gone, and poll does not end".to_owned();
                continue;
            }
            match self.wait_until_gone(order, id).await {
                Waited::Reached(_) => return Ok(()),
                Waited::Failed(seen) if seen.not_found => return Ok(()),
                // As the tool has it: that it says nothing of the machine is no word that it exists.
                Waited::Failed(seen) => {
                    why = format!("poll: {}", self.caller.masked(&seen.words()))
                }
                Waited::Stuck(line) => {
                    why = format!("cancel says that it is gone, and poll says {line}");
                    break;
                }
            }
        }
        Err(why)
    }
}

/// Whether a poll after a cancel says that the machine is gone; a driver without states is believed.
fn is_gone(report: &PollReport) -> bool {
    match report.state {
        Some(MachineState::Gone | MachineState::NotKnown) => true,
        None => report.addresses.is_empty(),
        Some(MachineState::Active | MachineState::Paused | MachineState::Error) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::DeploymentFile;

    #[test]
    fn a_machine_that_is_given_out_again_is_there_again() {
        let order = |key: &str| Order { key: key.to_owned(), host: DeploymentFile::default() };
        let ids: Vec<DeployId> = DeployId::new("rack-1").into_iter().collect();
        let mut bill = Bill::default();
        for id in &ids {
            assert!(bill.add(&order("k1"), id) && !bill.add(&order("k1"), id));
            bill.gone(id);
            assert!(bill.present().is_empty());
            assert!(bill.add(&order("k2"), id));
            let present: Vec<_> = bill.present().into_iter().map(|(order, _)| order.key).collect();
            assert_eq!(present, ["k2"]);
            bill.gone(id);
            assert!(bill.present().is_empty());
        }
        assert_eq!((ids.len(), bill.made()), (1, 2));
    }
}
