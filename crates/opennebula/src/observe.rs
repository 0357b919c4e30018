//! Watching calls: for logs, for counting in tests, for telling people that something is waited for.

use std::time::Duration;

use crate::client::Effect;
use crate::error::Error;

/// Sees every call of a client. Both methods are called on the task of the call and must not block.
/// Parameters are not shown: the first one is a credential, others may hold some.
pub trait CallObserver: Send + Sync {
    /// A call has ended, one way or the other.
    fn finished(&self, call: &CallRecord<'_>);

    /// A call failed and will be repeated after a pause.
    fn waiting(&self, wait: &Waiting<'_>) {
        let _ = wait;
    }
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord<'a> {
    /// Method, such as `one.host.info`.
    pub method: &'a str,
    /// Read or write.
    pub effect: Effect,
    /// From the first attempt to the end, pauses and waiting for a free place included.
    pub duration: Duration,
    /// Attempts made; 0 if the call could not be written.
    pub attempts: u32,
    /// Whether there is a value.
    pub outcome: Result<(), &'a Error>,
}

/// A call that waits for its next attempt.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// Method, such as `one.host.info`.
    pub method: &'a str,
    /// Read or write.
    pub effect: Effect,
    /// Attempts made.
    pub attempt: u32,
    /// Time since the first attempt began.
    pub waited: Duration,
    /// Time until the next attempt.
    pub pause: Duration,
    /// What the last attempt ended with.
    pub error: &'a Error,
}
