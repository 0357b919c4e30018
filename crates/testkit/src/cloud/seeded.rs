//! A cloud whose misbehaviour is drawn from a seed.

use std::sync::Arc;
use std::time::Duration;

use super::{Cancel, Deploy, Poll, Temper, Timing};
use crate::dice::Dice;
use crate::faults::{Fault, Faults};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The temper of a seed.
#[derive(Debug)]
pub struct Seeded {
    faults: Arc<Faults>,
    dice: Dice,
    settle: Duration,
    boot: Duration,
}

impl Seeded {
    /// The temper of that seed, with those faults.
    pub fn new(seed: u64, faults: Arc<Faults>) -> Self {
        let dice = Dice::new(seed, 2);
        let settle = dice.pick(&[Duration::ZERO, 10 * SECOND, MINUTE, 5 * MINUTE]);
        let boot = dice.pick(&[Duration::ZERO, 5 * SECOND, 4 * MINUTE]);
        Self { faults, dice, settle, boot }
    }

    fn up_to(&self, longest: Duration) -> Duration {
        Duration::from_millis(self.dice.number(0, longest.as_millis() as u64))
    }
}

impl Temper for Seeded {
    fn deploy(&self) -> Option<Deploy> {
        Some(
            match self.faults.first(&[
                Fault::DeployRefused,
                Fault::DeployRequestLost,
                Fault::DeployAnswerLost,
                Fault::DeployHangs,
                Fault::DeployHangsEmpty,
                Fault::DeployLate,
                Fault::DeployNamedThenFailed,
                Fault::DeployNamedThenLost,
                Fault::DeployNamedTwice,
                Fault::DeployForeignId,
            ])? {
                Fault::DeployRefused => Deploy::Refuse,
                Fault::DeployRequestLost => Deploy::LoseRequest,
                Fault::DeployAnswerLost => Deploy::LoseAnswer,
                Fault::DeployHangs => Deploy::Hang,
                Fault::DeployHangsEmpty => Deploy::HangEmpty,
                Fault::DeployNamedThenFailed => Deploy::NameThenFail,
                Fault::DeployNamedThenLost => Deploy::NameThenLose,
                Fault::DeployNamedTwice => Deploy::NameTwice,
                Fault::DeployForeignId => Deploy::ForeignId,
                _ => Deploy::Late(self.faults.time(MINUTE, 29 * MINUTE)),
            },
        )
    }

    fn poll(&self, cancelled: bool) -> Option<Poll> {
        if cancelled {
            return self.faults.strike(Fault::PollLost).then_some(Poll::Lose);
        }
        Some(
            match self.faults.first(&[
                Fault::PollLost,
                Fault::PollRefused,
                Fault::PollNotFound,
                Fault::PollOff,
                Fault::PollError,
                Fault::PollSilent,
                Fault::PollOtherAddress,
            ])? {
                Fault::PollLost => Poll::Lose,
                Fault::PollRefused => Poll::Refuse,
                Fault::PollNotFound => Poll::NotFound,
                Fault::PollOff => Poll::Off,
                Fault::PollError => Poll::Error,
                Fault::PollSilent => Poll::Silent,
                _ => Poll::OtherAddress,
            },
        )
    }

    fn cancel(&self) -> Option<Cancel> {
        Some(
            match self.faults.first(&[
                Fault::CancelRefused,
                Fault::CancelRequestLost,
                Fault::CancelAnswerLost,
                Fault::CancelNoEffect,
                Fault::CancelSlow,
                Fault::CancelHangs,
            ])? {
                Fault::CancelRefused => Cancel::Refuse,
                Fault::CancelRequestLost => Cancel::LoseRequest,
                Fault::CancelAnswerLost => Cancel::LoseAnswer,
                Fault::CancelNoEffect => Cancel::NoEffect,
                Fault::CancelSlow => Cancel::Slow(self.faults.time(SECOND, 20 * MINUTE)),
                _ => Cancel::Hang,
            },
        )
    }

    fn list_is_lost(&self) -> bool {
        self.faults.strike(Fault::ListLost)
    }

    fn timing(&self) -> Timing {
        let boot = match self.faults.strike(Fault::SlowBoot) {
            true => self.faults.time(5 * MINUTE, 60 * MINUTE),
            false => self.up_to(self.boot),
        };
        let lags = !self.settle.is_zero() && self.faults.strike(Fault::ListLags);
        let (request, unlisted) = match lags {
            // Both together are within the promise of `settle`.
            true => (self.up_to(self.settle / 2), self.up_to(self.settle / 2)),
            false => (Duration::ZERO, Duration::ZERO),
        };
        Timing { request, answer: self.up_to(3 * SECOND), boot, unlisted }
    }

    fn settle(&self) -> Duration {
        self.settle
    }
}
