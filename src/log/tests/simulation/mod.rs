//! The log as a whole, simulated: a seed decides its settings, topics, transactions, clock, faults and ends, over and
//! over, and after each start and between the log must hold the model's content.
//!
//! One rule: a seed always gives the same history. `SIM_SEED=1234` repeats one and prints it; `SIM_SEEDS=10000` tries
//! that many.

mod model;
mod workload;
mod world;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::{each_seed, number};
use world::{History, World};

/// Seeds of an ordinary test run.
const SEEDS: u64 = 200;
/// Events that are counted, by the words that their lines begin with.
const COUNTED: [&str; 12] = [
    "spilled",
    "a spill",
    "not spilled",
    "LSN",
    "retention",
    "opened",
    "the disk failed while opening",
    "the log failed",
    "damage was met",
    "refused",
    "lost",
    "closed",
];

/// Runs one seed; returns its failure, and the end of its history.
fn simulate(seed: u64, canary: bool, prints: bool) -> Result<(), String> {
    simulate_into(&History::default(), seed, canary, prints)
}

/// The same, with its history.
fn simulate_into(history: &History, seed: u64, canary: bool, prints: bool) -> Result<(), String> {
    let world = World::new(seed, canary, History::clone(history));
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let history = history.borrow();
    if prints {
        let mut out = std::io::stderr().lock();
        for line in history.iter() {
            let _ = writeln!(out, "{line}");
        }
    }
    ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        let last = &history[history.len().saturating_sub(30)..];
        format!(
            "{}\nits last steps:\n  {}\nall of them:\n  SIM_SEED={seed} cargo test --lib log::tests::simulation",
            text.unwrap_or_default(),
            last.join("\n  ")
        )
    })
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost() {
    if let Some(seed) = number("SIM_SEED") {
        let failure = simulate(seed, false, true).err();
        assert!(failure.is_none(), "seed {seed}: {}", failure.unwrap_or_default());
        return;
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let counts = parking_lot::Mutex::new([0; COUNTED.len()]);
    let started = Instant::now();
    let failures = each_seed(seeds, 4, |seed| {
        let history = History::default();
        let simulated = simulate_into(&history, seed, false, false);
        if simulated.is_err() {
            eprintln!("seed {seed} failed");
        }
        let mut counts = counts.lock();
        for (count, words) in counts.iter_mut().zip(COUNTED) {
            *count += history.borrow().iter().filter(|line| line.starts_with(words)).count();
        }
        simulated
    });
    if let Some((seed, failure)) = failures.first() {
        let all: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
        panic!("seeds {all:?} failed; seed {seed}: {failure}");
    }
    let elapsed = started.elapsed();
    let counts = counts.into_inner();
    println!("{seeds} seeds in {elapsed:?}");
    for (count, words) in counts.iter().zip(COUNTED) {
        println!("{count:9} {words}");
        // A fault that never comes is not tested; only such a loss is rare.
        assert!(
            seeds < SEEDS || *count > 0 || words == "lost",
            "there is nothing of \"{words}\""
        );
    }
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    let history = |seed: u64| {
        let history = History::default();
        let _ = simulate_into(&history, seed, false, false);
        history.take()
    };
    for seed in 0..8 {
        let (first, second) = (history(seed), history(seed));
        let differs = first.iter().zip(&second).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}: {first:#?}");
        assert_eq!(first.len(), second.len());
    }
}

#[test]
fn a_simulated_log_that_acknowledges_before_the_sync_is_caught() {
    let failures = (0..300).filter_map(|seed| simulate(seed, true, false).err());
    let mut caught = failures.filter(|failure| failure.starts_with("L3: "));
    assert!(
        caught.nth(2).is_some(),
        "L1 is broken on purpose, and not three of 300 seeds noticed"
    );
}
