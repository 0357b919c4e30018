//! A clock that follows virtual time and can be set wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::faults::{Fault, Faults};

/// 2026-01-01 00:00 UTC, where every run begins.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// Furthest jump of the clock.
const LONGEST_STEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// The clock of the machine that the tool runs on: right at first, wrong after a fault.
#[derive(Debug)]
pub struct WallClock {
    begun: Instant,
    wrong_by: AtomicI64,
    faults: Arc<Faults>,
}

impl WallClock {
    /// A clock that is right until a fault strikes.
    pub fn new(faults: Arc<Faults>) -> Self {
        Self { begun: Instant::now(), wrong_by: AtomicI64::new(0), faults }
    }
}

impl engine::Clock for WallClock {
    fn now(&self) -> i64 {
        if self.faults.strike(Fault::ClockStep) {
            let step = self.faults.time(Duration::from_millis(1), LONGEST_STEP).as_millis() as i64;
            // Half of the steps lead back: the last bit of the drawn time decides.
            let step = if step % 2 == 0 { step } else { -step };
            self.wrong_by.fetch_add(step, Ordering::Relaxed);
        }
        let elapsed = self.begun.elapsed().as_millis() as i64;
        BEGIN_MS + elapsed + self.wrong_by.load(Ordering::Relaxed)
    }
}

/// The clock of the front-end's machine, which is right.
#[derive(Debug)]
pub struct VirtualClock(Instant);

impl VirtualClock {
    /// A clock that begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl sandbox::Clock for VirtualClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(BEGIN_MS as u64) + self.0.elapsed()
    }
}
