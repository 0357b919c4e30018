//! Questions that are asked at nearly the same time, answered by one request.
//!
//! A hundred hosts that wait for their machines ask the same account the same thing; providers count
//! requests and turn away who asks too often.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

/// Those who wait for one answer: what each asked for, and where to tell it.
type Batch<Q, A> = Vec<(Q, oneshot::Sender<A>)>;

/// Gathers questions `Q` by key `K` for a short time, and tells the one answer `A` to all who asked.
///
/// The request is sent after the last of them asked: nobody is told what was true before. One request of
/// a key is on its way at a time; who asks meanwhile waits for the next one.
pub struct Gather<K, Q, A> {
    open: Arc<Mutex<HashMap<K, Open<Q, A>>>>,
    window: Duration,
}

/// Those who wait for the next request of a key, and the turn of who makes it.
struct Open<Q, A> {
    batch: Batch<Q, A>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl<Q, A> Default for Open<Q, A> {
    fn default() -> Self {
        Self { batch: Vec::new(), turn: Arc::default() }
    }
}

impl<K, Q, A> Gather<K, Q, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    Q: Send + 'static,
    A: Clone + Send + 'static,
{
    /// Gathers for that long.
    pub fn new(window: Duration) -> Self {
        Self { open: Arc::default(), window }
    }

    /// Asks. The first one's `fetch` is used, in a task of its own that ends by itself: whoever stops
    /// to wait takes nothing from the others. `None` if that task died.
    pub async fn ask<F>(
        &self,
        key: K,
        question: Q,
        fetch: impl FnOnce(Vec<Q>) -> F + Send + 'static,
    ) -> Option<A>
    where
        F: Future<Output = A> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let first = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let next = open.entry(key.clone()).or_default();
            next.batch.push((question, sender));
            (next.batch.len() == 1).then(|| Arc::clone(&next.turn))
        };
        if let Some(turn) = first {
            let (open, window) = (self.open.clone(), self.window);
            tokio::spawn(async move {
                sleep(window).await;
                let _turn = turn.lock().await;
                let batch = {
                    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.get_mut(&key)
                        .map(|next| std::mem::take(&mut next.batch))
                        .unwrap_or_default()
                };
                let (questions, senders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
                let answer = fetch(questions).await;
                for sender in senders {
                    // Who has gone need not be told.
                    let _ = sender.send(answer.clone());
                }
            });
        }
        answer.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_together_is_fetched_once_for_each_key() {
        let gather: Gather<&str, u32, u32> = Gather::new(Duration::from_millis(50));
        let fetches = Arc::new(AtomicUsize::new(0));
        let ask = |key, n| {
            let fetches = fetches.clone();
            gather.ask(key, n, async move |all: Vec<u32>| {
                fetches.fetch_add(1, Ordering::Relaxed);
                all.iter().sum()
            })
        };
        let (a, b, c) = tokio::join!(ask("x", 1), ask("x", 2), ask("y", 5));
        assert_eq!((a, b, c), (Some(3), Some(3), Some(5)));
        assert_eq!(ask("x", 4).await, Some(4));
        assert_eq!(fetches.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_request_is_waited_for_by_one_that_has_all_the_others() {
        let gather: Gather<(), u32, u32> = Gather::new(Duration::from_millis(50));
        let flying = Arc::new(AtomicUsize::new(0));
        let ask = |n, after| {
            let (gather, flying) = (&gather, flying.clone());
            async move {
                sleep(Duration::from_millis(after)).await;
                let fetch = async move |all: Vec<u32>| {
                    assert_eq!(flying.fetch_add(1, Ordering::Relaxed), 0);
                    sleep(Duration::from_secs(1)).await;
                    flying.fetch_sub(1, Ordering::Relaxed);
                    all.iter().sum()
                };
                gather.ask((), n, fetch).await
            }
        };
        let answers = tokio::join!(ask(1, 0), ask(2, 100), ask(3, 600), ask(4, 1500));
        assert_eq!(answers, (Some(1), Some(5), Some(5), Some(4)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_leaves_takes_nothing_from_the_others() {
        let gather: Gather<(), u32, u32> = Gather::new(Duration::from_millis(50));
        let leaving = gather.ask((), 1, async |all: Vec<u32>| all.len() as u32);
        let staying = gather.ask((), 2, async |_| 0);
        let left = tokio::time::timeout(Duration::from_millis(10), leaving);
        let (left, stayed) = tokio::join!(left, staying);
        assert!(left.is_err());
        assert_eq!(stayed, Some(2));
    }
}
