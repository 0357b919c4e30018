//! The request to end in an orderly way.

use std::sync::Arc;

use tokio::sync::watch;

/// A flag that can be raised once and waited for. Clones share it.
#[derive(Clone, Debug)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Default for Stop {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }
}

impl Stop {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag: no new work is begun, what runs is brought to a safe point.
    pub fn request(&self) {
        self.0.send_replace(true);
    }

    /// Whether the flag is raised.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the flag is raised.
    pub async fn wait(&self) {
        // The sender lives as long as `self`, so this cannot end by an error.
        let _ = self.0.subscribe().wait_for(|raised| *raised).await;
    }
}
