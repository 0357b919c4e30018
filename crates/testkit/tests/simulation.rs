//! The simulator in the test suite: many seeds without a violation, the same seed the same run, and
//! each broken rule noticed.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::{BTreeMap, BTreeSet};

use testkit::faults::Fault;
use testkit::mutation::Mutation;
use testkit::simulate::{End, Options, Outcome, simulate};

/// Seeds of the suite; the nightly run has more (`simulate --seeds 10000`).
const SEEDS: u64 = 500;
/// Most hosts of a template here.
const HOSTS: u64 = 8;
/// Seeds in which each broken rule must be noticed.
const MUTATION_SEEDS: u64 = 300;

fn options(seed: u64) -> Options {
    Options { most_hosts: HOSTS, ..Options::of_seed(seed) }
}

/// Runs seeds on two threads: a run has one thread of its own, and shares nothing.
fn all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let half = |odd: u64| {
        let seeds = seeds.clone().filter(move |seed| seed % 2 == odd);
        move || seeds.map(|seed| simulate(options(seed))).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(half(1));
        let mut outcomes = half(0)();
        outcomes.extend(other.join().unwrap());
        outcomes
    })
}

#[test]
fn no_seed_breaks_a_rule() {
    let outcomes = all(0..SEEDS);
    let violated: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .map(|outcome| {
            format!(
                "cargo run -p oneprovision-testkit --bin simulate -- --hosts {HOSTS} --seed {} --trace\n    {}",
                outcome.seed,
                outcome.violations.join("\n    ")
            )
        })
        .collect();
    assert!(violated.is_empty(), "to repeat:\n{}", violated.join("\n"));

    // The seeds are worth something: every fault struck, and every way to end was taken.
    let mut faults: BTreeMap<Fault, u64> = BTreeMap::new();
    for (fault, count) in outcomes.iter().flat_map(|outcome| &outcome.faults) {
        *faults.entry(*fault).or_default() += count;
    }
    for fault in Fault::ALL {
        assert!(faults.contains_key(fault), "{} never struck", fault.words());
    }
    for end in [End::Resumed, End::Cleaned, End::Parked, End::Nothing] {
        assert!(outcomes.iter().any(|outcome| outcome.end == end), "no run ended as {end:?}");
    }
    assert!(outcomes.iter().map(|outcome| outcome.machines).sum::<usize>() > 500);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let hashes: BTreeSet<u64> = (0..30)
        .map(|seed| {
            let (one, two) = (simulate(options(seed)), simulate(options(seed)));
            assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed}");
            one.hash
        })
        .collect();
    assert_eq!(hashes.len(), 30, "other seeds are other runs");
}

#[test]
fn every_broken_rule_is_noticed() {
    for mutation in Mutation::ALL {
        let caught = (0..MUTATION_SEEDS).any(|seed| {
            let options = Options { mutation: Some(*mutation), ..options(seed) };
            !simulate(options).violations.is_empty()
        });
        assert!(caught, "{} is not noticed in {MUTATION_SEEDS} seeds", mutation.words());
    }
}
