//! Repeating what may be repeated.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use super::{Answer, Http, NoAnswer, Request};

/// First pause before a request is repeated.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause, unless the provider asks for a longer one.
const LONGEST: Duration = Duration::from_secs(20);
/// How long somebody is looked for who does not listen: an API that restarts comes back, a misspelt
/// address does not.
const NOBODY: Duration = Duration::from_secs(10);

/// Whether a request may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reading, or an effect that is the same if it comes twice (delete, power off).
    Repeatable,
    /// It makes something: it is repeated only if it was certainly not carried out.
    Creates,
}

/// What a driver thinks of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is the answer, good or bad.
    Taken,
    /// The request was turned away unread and may come again, after that time if it is named.
    Throttled(Option<Duration>),
    /// The server is in trouble: nobody knows what it did.
    Troubled,
}

/// The judgement that HTTP itself gives: 429, and 503 with `Retry-After`, are throttling; other 5xx and
/// 408 are trouble.
pub fn judge_by_status(answer: &Answer) -> Judgement {
    match (answer.status, answer.retry_after()) {
        (429, wait) => Judgement::Throttled(wait),
        (503, wait @ Some(_)) => Judgement::Throttled(wait),
        (408 | 500..=599, _) => Judgement::Troubled,
        _ => Judgement::Taken,
    }
}

/// The judgement of an API in JSON: a page of a proxy with status 200 is no answer of it.
pub fn judge_json(answer: &Answer) -> Judgement {
    let body = answer.body.trim_ascii();
    match judge_by_status(answer) {
        Judgement::Taken
            if answer.is_success()
                && !body.is_empty()
                && serde_json::from_slice::<serde_json::Value>(body).is_err() =>
        {
            Judgement::Troubled
        }
        judgement => judgement,
    }
}

/// An exchange that came to no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Failure {
    /// No request ever left: nothing was done.
    #[error("{0}")]
    NotSent(String),
    /// All requests were turned away unread up to the end of the time: nothing was done.
    #[error("the provider asks to wait, and the time is over: {0}")]
    Throttled(String),
    /// A request may have been carried out. The last words are the provider's own, or the connection's.
    #[error("{0}")]
    Unknown(String),
}

impl Http {
    /// Sends a request until there is an answer that `judge` takes, at most until `until`, and while the
    /// provider is in trouble no longer than its patience.
    ///
    /// A [`Effect::Creates`] is sent again only after it did not leave, or was throttled.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn exchange(
        &self,
        effect: Effect,
        until: Instant,
        request: impl Fn() -> Result<Request, String>,
        judge: impl Fn(&Answer) -> Judgement,
    ) -> Result<Answer, Failure> {
        let begun = Instant::now();
        let trouble = until.min(begun + self.patience);
        let mut pause = FIRST;
        // Once a request may have arrived, no later refusal to connect makes it undone.
        let mut arrived: Option<String> = None;
        loop {
            let request = request().map_err(Failure::NotSent)?;
            let (failure, asked, limit) = match self.send(effect, request, until).await {
                Ok(answer) => match judge(&answer) {
                    Judgement::Taken => return Ok(answer),
                    Judgement::Throttled(wait) => (Failure::Throttled(answer.words()), wait, until),
                    Judgement::Troubled => (Failure::Unknown(answer.words()), None, trouble),
                },
                Err(NoAnswer::NotSent(why)) => {
                    (Failure::NotSent(why), None, until.min(begun + NOBODY))
                }
                Err(NoAnswer::Lost(why)) => (Failure::Unknown(why), None, trouble),
            };
            if let Failure::Unknown(why) = &failure {
                if effect == Effect::Creates {
                    return Err(failure);
                }
                arrived = Some(why.clone());
            }
            let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
            let next = Instant::now() + asked.map_or(jittered, |asked| asked + jittered);
            if next >= limit {
                return Err(match arrived {
                    Some(why) if !matches!(failure, Failure::Unknown(_)) => {
                        Failure::Unknown(format!("{why}; then: {failure}"))
                    }
                    _ => failure,
                });
            }
            sleep_until(next).await;
            pause = (pause * 2).min(LONGEST);
        }
    }
}
