//! What is drawn from a seed.

use std::sync::Mutex;
use std::time::Duration;

use fastrand::Rng;

use crate::lock;

/// A source of chance that gives the same for the same seed. Shared by reference.
#[derive(Debug)]
pub struct Dice(Mutex<Rng>);

impl Dice {
    /// Dice of a seed. `salt` tells apart the dice of one seed, so that a draw more in one place
    /// does not change what all others draw.
    pub fn new(seed: u64, salt: u64) -> Self {
        // Seeds are small numbers in a row; the multiplier (that of splitmix64) spreads them.
        let mixed = (seed ^ salt.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(Mutex::new(Rng::with_seed(mixed)))
    }

    /// True in `per_mille` of 1000 cases.
    pub fn chance(&self, per_mille: u32) -> bool {
        lock(&self.0).u32(0..1000) < per_mille
    }

    /// A number from `low` to `high`, both included.
    pub fn number(&self, low: u64, high: u64) -> u64 {
        lock(&self.0).u64(low..=high)
    }

    /// An index of a list of that length.
    ///
    /// # Panics
    /// If the list is empty.
    pub fn index(&self, length: usize) -> usize {
        lock(&self.0).usize(..length)
    }

    /// One of these.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Copy>(&self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// A time between these, in whole milliseconds, short ones as likely as long ones: drawn by
    /// order of magnitude.
    pub fn time(&self, low: Duration, high: Duration) -> Duration {
        let (low, high) = (low.as_millis().max(1) as f64, high.as_millis().max(1) as f64);
        let drawn = low * (high / low).powf(lock(&self.0).f64());
        Duration::from_millis(drawn as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draw = |seed, salt| {
            let dice = Dice::new(seed, salt);
            (0..20).map(|_| dice.number(0, 1_000_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(8, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
    }

    #[test]
    fn times_stay_within_their_bounds() {
        let dice = Dice::new(1, 1);
        let (low, high) = (Duration::from_millis(10), Duration::from_secs(100));
        assert!((0..1000).all(|_| (low..=high).contains(&dice.time(low, high))));
    }
}
