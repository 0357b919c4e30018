//! What to do when a host, or an object of the provision, fails.

use async_trait::async_trait;
use journal::Subject;

/// The choices of 5.12, per host and not per group, and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Leaves it as it is; the others go on.
    Leave,
    /// Begins nothing new; what runs comes to its end.
    Quit,
    /// Tries the failed step again. What may exist is looked for first.
    Retry,
    /// Takes the host out of the provision: its machine is cancelled, its object deleted.
    Skip,
    /// Removes the whole provision.
    Cleanup,
}

/// What failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The host or object.
    pub subject: Subject,
    /// The name of a host.
    pub name: Option<&'a str>,
    /// Why, in words.
    pub message: &'a str,
    /// How often it has failed in this operation, from 1.
    pub attempt: u32,
}

/// Decides. Asked by several hosts at once.
#[async_trait]
pub trait Failover: Send + Sync {
    /// What to do with what failed.
    async fn decide(&self, failure: &Failure<'_>) -> Decision;
}

/// Leaves every failure as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaveFailed;

#[async_trait]
impl Failover for LeaveFailed {
    async fn decide(&self, _: &Failure<'_>) -> Decision {
        Decision::Leave
    }
}
