//! Power: asked for, and looked at until it is so.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Waits;
use super::bmc::{ApiError, Bmc};
use super::system::{Power, System};
use crate::http::{Effect, Failure};

/// One system and how it is waited for.
pub(super) struct Machine<'a> {
    pub bmc: &'a Bmc<'a>,
    pub path: &'a str,
    pub waits: Waits,
}

/// How a wait ended.
enum Reached {
    Wanted,
    /// It is something else, in words.
    Not(String),
}

impl Machine<'_> {
    pub(super) async fn look(&self) -> Result<System, ApiError> {
        System::read(self.bmc, self.path).await
    }

    /// Asks for the first of these types of reset that the system takes; false if it takes none.
    async fn reset(&self, kinds: &[&str], effect: Effect) -> Result<bool, ApiError> {
        let (target, allowed) = self.look().await?.reset_action(self.bmc).await?;
        let mut refusal = None;
        for kind in kinds {
            if !allowed.is_empty() && !allowed.iter().any(|known| known == kind) {
                continue;
            }
            match self.bmc.post(&target, &json!({ "ResetType": kind }), effect).await {
                Ok(()) => return Ok(true),
                // Of a list that the BMC does not show, the next may be one that it has.
                Err(error) if error.is_refusal() => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        refusal.map_or(Ok(false), Err)
    }

    async fn reach(&self, wanted: Power, until: Instant) -> Result<Reached, ApiError> {
        loop {
            let last = match self.look().await {
                Ok(system) if system.power() == wanted => return Ok(Reached::Wanted),
                Ok(system) => format!("it is {}", system.power().as_str()),
                Err(error) if error.is_refusal() => return Err(error),
                Err(error) => error.to_string(),
            };
            if Instant::now() + self.waits.look >= until {
                return Ok(Reached::Not(last));
            }
            sleep(self.waits.look).await;
        }
    }

    /// Waits to the end of the call; what is not reached by then is not known.
    async fn insist(&self, wanted: Power) -> Result<(), ApiError> {
        match self.reach(wanted, self.bmc.until).await? {
            Reached::Wanted => Ok(()),
            Reached::Not(why) => {
                let wanted = wanted.as_str();
                let text = format!("it was to be {wanted}, and in time it was not: {why}");
                Err(Failure::Unknown(text).into())
            }
        }
    }

    /// Waits while the power changes.
    pub(super) async fn calm(&self) -> Result<Power, ApiError> {
        loop {
            let power = self.look().await?.power();
            if power != Power::Between || Instant::now() + self.waits.look >= self.bmc.until {
                return Ok(power);
            }
            sleep(self.waits.look).await;
        }
    }

    /// Powers on, and waits until it is.
    pub(super) async fn on(&self) -> Result<(), ApiError> {
        if self.calm().await? == Power::On {
            return Ok(());
        }
        let asked = self.reset(&["On", "ForceOn", "PushPowerButton"], Effect::Repeatable).await;
        self.asked(asked, Power::On, "On").await?;
        self.insist(Power::On).await
    }

    /// What an answer means if it may have been given to a machine that is so already.
    async fn asked(
        &self,
        asked: Result<bool, ApiError>,
        wanted: Power,
        kind: &str,
    ) -> Result<(), ApiError> {
        match asked {
            Ok(true) => Ok(()),
            // "It is off already" is an error to some BMCs.
            Err(error) if error.is_refusal() => match self.look().await?.power() {
                power if power == wanted => Ok(()),
                _ => Err(error),
            },
            // Whether it was done is looked at.
            Err(ApiError::Failed(Failure::Unknown(_))) => Ok(()),
            Err(error) => Err(error),
            Ok(false) => {
                let words = format!("the system has no reset of the type {kind}");
                Err(ApiError::Refused { status: 501, words })
            }
        }
    }

    /// Powers off: in an orderly way within `grace` if that is possible, else by force. Waits until it is.
    pub(super) async fn off(&self, grace: Duration) -> Result<(), ApiError> {
        if self.calm().await? == Power::Off {
            return Ok(());
        }
        if !grace.is_zero() {
            match self.reset(&["GracefulShutdown"], Effect::Repeatable).await {
                Ok(true) => {
                    let until = self.bmc.until.min(Instant::now() + grace);
                    if let Reached::Wanted = self.reach(Power::Off, until).await? {
                        return Ok(());
                    }
                    tracing::warn!(system = self.path, "no orderly shutdown in time; forced");
                }
                Ok(false) => {}
                Err(error) if error.is_refusal() => {
                    tracing::warn!(system = self.path, %error, "no orderly shutdown; forced");
                }
                Err(error) => return Err(error),
            }
        }
        self.force_off().await
    }

    async fn force_off(&self) -> Result<(), ApiError> {
        let asked = self.reset(&["ForceOff"], Effect::Repeatable).await;
        self.asked(asked, Power::Off, "ForceOff").await?;
        self.insist(Power::Off).await
    }

    /// Powers off so that it stays off: an order to power on that was given before may still take effect.
    /// Only a machine that was seen to go off is sure to be past it.
    pub(super) async fn off_for_good(&self, grace: Duration) -> Result<(), ApiError> {
        loop {
            let was_off = self.calm().await? == Power::Off;
            self.off(grace).await?;
            if !was_off {
                return Ok(());
            }
            let until = self.bmc.until.min(Instant::now() + self.waits.late);
            if let Reached::Not(_) = self.reach(Power::On, until).await? {
                return match self.look().await?.power() {
                    Power::Off => Ok(()),
                    _ => self.off(grace).await,
                };
            }
        }
    }

    /// Restarts in an orderly way if that is possible.
    pub(super) async fn reboot(&self, grace: Duration) -> Result<(), ApiError> {
        match self.reset(&["GracefulRestart"], Effect::Creates).await {
            Ok(true) => return self.insist(Power::On).await,
            Ok(false) => {}
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
        self.off(grace).await?;
        self.on().await
    }

    /// Restarts hard.
    pub(super) async fn restart(&self) -> Result<(), ApiError> {
        match self.reset(&["ForceRestart", "PowerCycle"], Effect::Creates).await {
            Ok(true) => return self.insist(Power::On).await,
            Ok(false) => {}
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
        self.force_off().await?;
        self.on().await
    }
}
