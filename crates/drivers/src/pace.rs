//! How a driver of a cloud waits: for a machine to change, and for one whose order was not answered.

use std::pin::Pin;
use std::time::Duration;

use driver::{DriverError, FailureKind};
use model::DeployId;
use tokio::time::{Instant, sleep};

use crate::common::{definite, unknown};

/// How long the driver waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two looks at a device that is on its way into another state.
    pub look: Duration,
    /// How long after an order its device may be missing from the list ([`driver::Driver::settle`]).
    pub settle: Duration,
    /// How long a single question is repeated while the provider is in trouble.
    pub patience: Duration,
}

impl Default for Pace {
    /// 5 s between looks, as 5.12 had it; a minute to settle, two of patience.
    fn default() -> Self {
        Self {
            look: Duration::from_secs(5),
            settle: Duration::from_secs(60),
            patience: Duration::from_secs(120),
        }
    }
}

/// A look that is under way.
pub(crate) type Look<'a, T> = Pin<Box<dyn Future<Output = Result<T, DriverError>> + Send + 'a>>;

/// What a look saw.
pub(crate) enum Seen<T> {
    /// What was waited for.
    Done(T),
    /// Something else, in words.
    NotYet(String),
}

/// An order without an answer.
pub(crate) struct Lost<'a> {
    /// What came in place of the answer.
    pub why: &'a str,
    /// What its machine carries, in words.
    pub mark: &'a str,
    /// Until when it may be looked for.
    pub until: Instant,
}

impl Pace {
    /// Looks until what is wanted is seen. A look that failed for now is followed by another one; any
    /// other failure ends it.
    pub(crate) async fn wait<'a, T>(
        &self,
        what: &str,
        until: Instant,
        look: impl Fn() -> Look<'a, Seen<T>> + Send,
    ) -> Result<T, DriverError> {
        loop {
            let last = match look().await {
                Ok(Seen::Done(seen)) => return Ok(seen),
                Ok(Seen::NotYet(words)) => words,
                Err(error) if error.kind == FailureKind::Unknown => error.message,
                Err(error) => return Err(error),
            };
            if Instant::now() + self.look >= until {
                return Err(unknown(format!("{what} did not change in time: {last}")));
            }
            sleep(self.look).await;
        }
    }

    /// After an order without an answer: looks until its machine is found, or had the time to appear
    /// ([`Pace::settle`]). Only a look that began after that time says that there is none.
    pub(crate) async fn find_lost<'a>(
        &self,
        lost: &Lost<'_>,
        look: impl Fn() -> Look<'a, Option<DeployId>> + Send,
    ) -> Result<DeployId, DriverError> {
        let Lost { why, mark, until } = lost;
        // Not why: the provider's words may repeat what it was sent.
        tracing::warn!("an order was not answered; looking for its machine");
        let settled = Instant::now() + self.settle;
        loop {
            let asked = Instant::now();
            let last = match look().await {
                Ok(Some(id)) => return Ok(id),
                Ok(None) if asked >= settled => {
                    let seconds = self.settle.as_secs();
                    return Err(definite(format!(
                        "the order was not answered ({why}), and {seconds} s later there is no machine of it"
                    )));
                }
                Ok(None) => "it is not listed so far".to_owned(),
                Err(error) => error.message,
            };
            if Instant::now() + self.look >= *until {
                return Err(unknown(format!(
                    "the order was not answered: {why}\nA machine may exist: {last}\nIt would have {mark}."
                )));
            }
            sleep(self.look).await;
        }
    }
}
