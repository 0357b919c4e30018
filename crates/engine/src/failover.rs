//! What to do when a host, or an object of the provision, fails.

use async_trait::async_trait;
use journal::{ProvisionRecord, Subject};

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

/// Decides. Asked by several hosts at once.
#[async_trait]
pub trait Failover: Send + Sync {
    /// What to do with what failed. `attempt` counts the failures of this subject, from 1.
    async fn decide(
        &self,
        record: &ProvisionRecord,
        subject: Subject,
        failure: &str,
        attempt: u32,
    ) -> Decision;
}

/// Leaves every failure as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeaveFailed;

#[async_trait]
impl Failover for LeaveFailed {
    async fn decide(&self, _: &ProvisionRecord, _: Subject, _: &str, _: u32) -> Decision {
        Decision::Leave
    }
}
