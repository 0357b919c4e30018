//! What goes wrong in practice: another caller, hosts at once, a deploy that is killed.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::caller::{Ask, Order, Seen};
use super::{Check, Kit, Verdict, judge};
use crate::api::Action;
use crate::executable::run::Given;

/// How many machines are asked for at once.
pub(super) const AT_ONCE: usize = 3;
/// What comes before a machine that is not killed.
const DEPLOY: Ask = Ask::Deploy { given: Given::Host, legacy: false };

impl Kit<'_> {
    /// Nothing of it is tried on a driver that does not even get one machine right: each machine more
    /// could be one too many.
    pub(super) async fn trouble(&mut self) {
        let sound = [Check::Deploy, Check::Id, Check::Cancel]
            .into_iter()
            .all(|check| self.is(check, Verdict::Kept) || self.is(check, Verdict::Warning));
        if !sound {
            return;
        }
        if !self.stopped() && !self.caller.is_rust() {
            self.old_call().await;
        }
        if !self.stopped() {
            self.at_once().await;
        }
        if !self.stopped() {
            self.killed().await;
        }
    }

    /// As the tool of 5.12 calls.
    async fn old_call(&mut self) {
        self.observer.begun(Check::Legacy);
        let order = self.order();
        let seen = self.call(&order, Ask::Deploy { given: Given::File, legacy: true }).await;
        let (verdict, text) = match (seen.ok(), judge::id(&seen)) {
            (true, (Verdict::Kept, id)) => (Verdict::Kept, id),
            (true, (_, why)) => (Verdict::Warning, why),
            (false, _) => (Verdict::Warning, seen.words()),
        };
        self.found(Check::Legacy, verdict, text);
        self.remove_made(&order, &seen).await;
    }

    async fn remove_made(&mut self, order: &Order, seen: &Seen) {
        if let Some(id) = seen.id().cloned() {
            // What cannot be removed now is tried again in the end, and told then.
            let _ = self.remove(order, &id).await;
        }
    }

    async fn at_once(&mut self) {
        self.observer.begun(Check::Concurrency);
        let mut calls = JoinSet::new();
        for _ in 0..AT_ONCE {
            let order = self.order();
            self.begin(&order);
            let caller = self.caller.clone();
            calls.spawn(async move {
                let seen = caller.call(&order, &DEPLOY).await;
                (order, seen)
            });
        }
        let mut made = Vec::new();
        while let Some(ended) = calls.join_next().await {
            let Ok((order, seen)) = ended else { continue };
            self.note(Action::Deploy, &seen);
            self.account(&order, &seen);
            made.push((order, seen));
        }
        let failed = made.iter().find(|(_, seen)| !seen.ok()).map(|(_, seen)| seen.words());
        let ids: BTreeSet<_> = made.iter().filter_map(|(_, seen)| seen.id().cloned()).collect();
        let shown = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (verdict, text) = match failed {
            Some(words) => (Verdict::Broken, words),
            None if ids.len() < AT_ONCE => {
                (Verdict::Broken, format!("{AT_ONCE} deploys, and only these ids: {shown}"))
            }
            None => (Verdict::Kept, shown),
        };
        if !self.stopped() {
            self.found(Check::Concurrency, verdict, text);
        }
        for (order, seen) in &made {
            self.remove_made(order, seen).await;
        }
    }

    /// Kills a deploy in its midst, and looks for what it made.
    async fn killed(&mut self) {
        self.observer.begun(Check::Kill);
        let order = self.order();
        let lists = self.lists();
        let mut took = None;
        if !lists {
            // Without a list, only a deploy with the same key can name what was made; whether it does is
            // found out on machines whose ids are known.
            let first = self.call(&order, DEPLOY).await;
            let again = self.call(&order, DEPLOY).await;
            let same = first.ok() && first.id().is_some() && first.id() == again.id();
            took = Some(first.took);
            self.remove_made(&order, &first).await;
            if !same {
                self.remove_made(&order, &again).await;
                self.found(
                    Check::Kill,
                    Verdict::Warning,
                    "not tried: without a sound `list` nobody could find what a killed deploy made",
                );
                return;
            }
        }
        if self.stopped() {
            return;
        }
        let order = self.order();
        let half = took.or(self.deployed).unwrap_or_default() / 2;
        let seen =
            self.call(&order, Ask::Killed { after: half.max(Duration::from_millis(2)) }).await;
        let mut told = vec![match seen.id() {
            Some(id) => format!("the id {id} was printed before"),
            None => "no id was printed before".to_owned(),
        }];
        if lists {
            match self.listing(&order).await {
                Ok(listed) => match crate::api::find_marked(listed, &self.asked(&order)) {
                    Ok(None) => told.push("none is listed with its mark".to_owned()),
                    Ok(Some(id)) => {
                        self.add(&order, &id);
                        told.push(format!("machine {id} was found by its mark"));
                        let _ = self.remove(&order, &id).await;
                    }
                    Err(error) => {
                        self.found(Check::Kill, Verdict::Broken, error.message);
                        return;
                    }
                },
                Err(seen) => {
                    let words = format!("afterwards `list` fails: {}", seen.words());
                    self.found(Check::Kill, Verdict::Broken, words);
                    return;
                }
            }
        }
        self.remove_made(&order, &seen).await;
        // The same key once more: it names what the killed one made, or makes a machine.
        let next = if lists { self.order() } else { order.clone() };
        let again = self.call(&next, DEPLOY).await;
        if self.stopped() {
            return;
        }
        if again.ok() && again.id().is_some() {
            told.push("the next deploy works".to_owned());
            self.found(Check::Kill, Verdict::Kept, told.join("; "));
        } else {
            let words = format!("the deploy after it: {}", again.words());
            self.found(Check::Kill, Verdict::Broken, words);
        }
        self.remove_made(&next, &again).await;
        // What the list does not have for certain, and the same key neither, was not made.
        self.settled(&order);
    }
}
