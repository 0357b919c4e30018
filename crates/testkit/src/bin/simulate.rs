//! Runs the simulator over many seeds and prints what happened.
//!
//! ```text
//! cargo run --release -p oneprovision-testkit --bin simulate -- --seeds 10000
//! cargo run --release -p oneprovision-testkit --bin simulate -- --seed 42 --trace
//! cargo run --release -p oneprovision-testkit --bin simulate -- --mutations
//! ```

// A program of this room: its output is its purpose.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use testkit::faults::Fault;
use testkit::mutation::Mutation;
use testkit::simulate::{End, Operation, Options, Outcome, simulate};

/// Simulates provisions under faults and checks that no machine is ever lost.
#[derive(Parser)]
struct Args {
    /// Number of seeds to run.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed only, twice, to see that it is the same each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the trace of the seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break each rule in turn, and show the first seed that notices.
    #[arg(long, conflicts_with = "seed")]
    mutations: bool,
    /// Break this rule, named as in the table of --mutations.
    #[arg(long, value_parser = mutation)]
    mutation: Option<Mutation>,
    /// Most hosts of a template.
    #[arg(long, default_value_t = 12)]
    hosts: u64,
    /// Threads; 0 for one per processor. The results are the same.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn mutation(text: &str) -> Result<Mutation, String> {
    let found = Mutation::ALL.iter().find(|mutation| mutation.words() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<&str> = Mutation::ALL.iter().map(|mutation| mutation.words()).collect();
        format!("no such mutation; there are: {}", names.join("; "))
    })
}

impl Args {
    fn options(&self, seed: u64) -> Options {
        Options { seed, trace: self.trace, mutation: self.mutation, most_hosts: self.hosts }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let passed = match args.seed {
        Some(seed) => one(&args, seed),
        None if args.mutations => mutations(&args),
        None => many(&args),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One seed, twice.
fn one(args: &Args, seed: u64) -> bool {
    let outcome = simulate(args.options(seed));
    for line in &outcome.trace {
        println!("{line}");
    }
    let again = simulate(Options { trace: false, ..args.options(seed) });
    println!(
        "seed {seed}: {:?}, {} steps in {} s of its time, trace {:016x}",
        outcome.end,
        outcome.steps,
        outcome.time.as_secs(),
        outcome.hash
    );
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
    let same = outcome.hash == again.hash;
    if !same {
        println!("NOT THE SAME TWICE: the second trace is {:016x}", again.hash);
    }
    same && outcome.violations.is_empty()
}

/// What many runs were like together.
#[derive(Default)]
struct Sum {
    ends: BTreeMap<End, u64>,
    operations: BTreeMap<Operation, u64>,
    faults: BTreeMap<Fault, u64>,
    machines: usize,
    steps: u64,
    time: Duration,
    violated: Vec<Outcome>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        *self.ends.entry(outcome.end).or_default() += 1;
        for (operation, count) in &outcome.operations {
            *self.operations.entry(*operation).or_default() += count;
        }
        for (fault, count) in &outcome.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.machines += outcome.machines;
        self.steps += outcome.steps;
        self.time += outcome.time;
        if !outcome.violations.is_empty() {
            self.violated.push(outcome);
        }
    }
}

fn many(args: &Args) -> bool {
    let begun = Instant::now();
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if args.threads == 0 { available() } else { args.threads } as u64;
    let share = |thread: u64| {
        let mut sum = Sum::default();
        for seed in (args.from + thread..args.from + args.seeds).step_by(threads as usize) {
            sum.add(simulate(args.options(seed)));
        }
        sum
    };
    let sums: Vec<Sum> = std::thread::scope(|scope| {
        let share = &share;
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || share(n))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let whole = sums.len() as u64 == threads;
    let mut sum = Sum::default();
    for part in sums {
        merge(&mut sum, part);
    }
    print(args, &mut sum, begun.elapsed());
    if !whole {
        println!("a thread panicked: not all seeds were run");
    }
    whole && sum.violated.is_empty()
}

fn merge(sum: &mut Sum, part: Sum) {
    for (end, count) in part.ends {
        *sum.ends.entry(end).or_default() += count;
    }
    for (operation, count) in part.operations {
        *sum.operations.entry(operation).or_default() += count;
    }
    for (fault, count) in part.faults {
        *sum.faults.entry(fault).or_default() += count;
    }
    sum.machines += part.machines;
    sum.steps += part.steps;
    sum.time += part.time;
    sum.violated.extend(part.violated);
}

fn print(args: &Args, sum: &mut Sum, took: Duration) {
    let row = |what: &str, count: u64| println!("  {what:<44} {count:>10}");
    println!("seeds {} to {}", args.from, args.from + args.seeds.saturating_sub(1));
    row("seconds", took.as_secs());
    row("days of simulated time", sum.time.as_secs() / 86400);
    row("calls, journal events and notes", sum.steps);
    row("machines asked for", sum.machines as u64);
    println!("operations");
    for (operation, words) in [
        (Operation::Create, "create"),
        (Operation::Resume, "resume"),
        (Operation::Delete, "delete"),
        (Operation::HostDelete, "host delete"),
    ] {
        row(words, sum.operations.get(&operation).copied().unwrap_or_default());
    }
    println!("faults");
    for fault in Fault::ALL {
        row(fault.words(), sum.faults.get(fault).copied().unwrap_or_default());
    }
    row("all", sum.faults.values().sum());
    println!("ends");
    for (end, words) in [
        (End::Resumed, "resumed to the end, then deleted"),
        (End::Cleaned, "deleted from whatever state"),
        (End::Parked, "parked: no list, a machine may exist"),
        (End::Nothing, "never begun"),
    ] {
        row(words, sum.ends.get(&end).copied().unwrap_or_default());
    }
    row("violations", sum.violated.len() as u64);
    sum.violated.sort_by_key(|outcome| outcome.seed);
    for outcome in &sum.violated {
        println!("seed {}: {}", outcome.seed, outcome.violations.join("\n    "));
    }
    if let Some(first) = sum.violated.first() {
        let mutation = args.mutation.map(|m| format!(" --mutation {:?}", m.words()));
        println!(
            "to repeat: cargo run --release -p oneprovision-testkit --bin simulate -- \
             --hosts {} --seed {} --trace{}",
            args.hosts,
            first.seed,
            mutation.unwrap_or_default()
        );
    }
}

/// Each broken rule, and the first seed that notices.
fn mutations(args: &Args) -> bool {
    println!("{:<40} {:>6}  first violation", "broken rule", "seed");
    let mut all = true;
    for mutation in Mutation::ALL {
        let caught = (args.from..args.from + args.seeds).find_map(|seed| {
            let outcome =
                simulate(Options { mutation: Some(*mutation), trace: false, ..args.options(seed) });
            Some((seed, outcome.violations.into_iter().next()?))
        });
        match caught {
            Some((seed, violation)) => println!("{:<40} {seed:>6}  {violation}", mutation.words()),
            None => {
                all = false;
                println!("{:<40}   NOT CAUGHT in {} seeds", mutation.words(), args.seeds);
            }
        }
    }
    all
}
