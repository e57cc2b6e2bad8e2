//! The proof by simulation: a cluster over a model of Redis, in virtual time, through thousands of seeded schedules.
//!
//! What decides is the production code: [`salesos_webhooks::policy::lane`] for every webhook,
//! [`lease`](salesos_webhooks::policy::lease), [`roster`](salesos_webhooks::policy::roster) and
//! [`placement`](salesos_webhooks::policy::placement) for every node, `due` and `retry` with them. What only carries out
//! (actors, scripts, connections) is modelled step for step: `node`, `owner` and `webhook` on the side of the service,
//! `model` for Redis. Nodes die, stand still, restart and lose their way to Redis; Redis falls silent and fails over;
//! messages come late, twice or never. After every step `checks` looks whether the invariants of the design hold.
//!
//! A seed decides everything, so a failure is found again: `SIMULATION_SEED=n` runs one schedule,
//! `SIMULATION_SCHEDULES=n` the first n.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, may read the clock and has no settings but its environment"
)]

mod checks;
mod model;
mod node;
mod owner;
mod random;
mod run;
mod schedule;
mod webhook;
mod world;

use std::ops::Range;

use world::Totals;

/// Schedules in an ordinary run.
const SCHEDULES: u64 = 2_000;
/// Threads that share them.
const THREADS: u64 = 2;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Runs one schedule, and once more to tell about it if it fails.
fn run(seed: u64) -> Result<Totals, String> {
    let told = |_| run::run(seed, true);
    run::run(seed, false).or_else(told).map_err(|broken| format!("SIMULATION_SEED={seed} {broken}"))
}

fn run_all(seeds: Range<u64>) -> Result<Totals, String> {
    let share = |first: u64| -> Result<Totals, String> {
        let mut totals = Totals::default();
        for seed in seeds.clone().skip(first as usize).step_by(THREADS as usize) {
            totals += run(seed)?;
        }
        Ok(totals)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || share(first))).collect();
        let mut totals = Totals::default();
        for thread in threads {
            totals += thread.join().unwrap()?;
        }
        Ok(totals)
    })
}

#[test]
fn every_schedule_keeps_every_promise() {
    let seeds = match setting("SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SIMULATION_SCHEDULES").unwrap_or(SCHEDULES),
    };
    match run_all(seeds) {
        Ok(totals) => println!("{totals}"),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..5 {
        let [first, second] = [(); 2].map(|()| format!("{:?}", run(seed)));
        assert_eq!(first, second, "{seed}");
    }
}
