//! What endpoints in trouble cost a healthy one: the time from publish to arrival there, at a steady rate, alone and beside
//! the trouble ([`Scenario`]). Rounds alternate, so that the noise of the machine meets both. The node leaves no webhook
//! alone, so that what hangs goes on hanging.
//!
//! Bound: what each scenario says of the p99. Run with `cargo bench --bench neighbour`; it needs `redis-server` and takes
//! ten minutes. `-- many-hang slow` chooses, `--seconds 2` shortens each round.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "../support/node.rs"]
mod node;

mod api;
mod endpoints;
mod scenarios;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum as _};

use api::{Api, DEADLINE, LOOK_EVERY};
use endpoints::{Arrivals, Manner};
use node::Node;
use scenarios::{Measure, Scenario};

/// Of the round before the first, which is not counted: connections are opened, scripts loaded.
const WARM_UP_SECONDS: u32 = 2;

#[derive(Parser)]
struct Arguments {
    /// Given by `cargo bench`; without it nothing is measured.
    #[arg(long, hide = true)]
    bench: bool,
    /// What to measure; everything when nothing is named.
    scenarios: Vec<Scenario>,
    /// Of one round, instead of what the scenario says.
    #[arg(long)]
    seconds: Option<u32>,
    /// Alone and beside, this often each, instead of what the scenario says.
    #[arg(long)]
    rounds: Option<u32>,
}

fn main() {
    let arguments = Arguments::parse();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.bench {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(arguments));
}

async fn run(arguments: Arguments) {
    let scenarios = match arguments.scenarios.is_empty() {
        true => Scenario::value_variants().to_vec(),
        false => arguments.scenarios,
    };
    for scenario in scenarios {
        let mut measure = scenario.measure();
        measure.seconds = arguments.seconds.unwrap_or(measure.seconds);
        measure.rounds = arguments.rounds.unwrap_or(measure.rounds);
        run_one(scenario, measure).await;
    }
}

/// On a node of its own: what one scenario leaves behind is not the next one's.
async fn run_one(scenario: Scenario, measure: Measure) {
    let node = Node::start("neighbour");
    let (api, arrivals) = (Api::of(&node).await, Arrivals::default());
    let healthy = endpoints::serve(Manner::Notes(arrivals.clone())).await;
    for (organization, _) in measure.watched {
        api.create(organization, &healthy, "lead.created").await;
    }
    let bench = Bench { api, arrivals, measure };
    bench.round(WARM_UP_SECONDS).await;
    let (mut alone, mut beside) = (Spans::new(), Spans::new());
    for _ in 0..measure.rounds {
        collect(&mut alone, bench.round(measure.seconds).await);
        let trouble = scenario.trouble(&bench.api).await;
        collect(&mut beside, bench.round(measure.seconds).await);
        for (organization, id) in trouble {
            bench.api.delete(organization, &id).await;
        }
        bench.api.await_in_flight(|count| count == 0.0).await;
    }
    for (organization, whose) in measure.watched {
        let [mut alone, mut beside] = [&alone, &beside].map(|spans| spans[organization].clone());
        print(scenario, whose, &mut alone, &mut beside, measure.bound);
    }
}

/// From publish to arrival in milliseconds, by organization.
type Spans = HashMap<&'static str, Vec<f64>>;

fn collect(into: &mut Spans, round: Spans) {
    for (organization, spans) in round {
        into.entry(organization).or_default().extend(spans);
    }
}

fn print(scenario: Scenario, whose: &str, alone: &mut [f64], beside: &mut [f64], bound: f64) {
    let name = scenario.to_possible_value().expect("none is hidden");
    let mut at = |percent| (percentile(alone, percent), percentile(beside, percent));
    let (p50, p99, most) = (at(50), at(99), at(100));
    let ratio = p99.1 / p99.0;
    println!(
        "{:15} {whose:20} alone p50 {:6.2} p99 {:7.2} max {:7.2} ms; beside p50 {:6.2} p99 {:7.2} max {:7.2} ms; ratio of \
         p99 {ratio:.2}, bound {bound} {}",
        name.get_name(),
        p50.0,
        p99.0,
        most.0,
        p50.1,
        p99.1,
        most.1,
        if ratio <= bound { "holds" } else { "MISSED" }
    );
}

/// The value that `percent` of them do not exceed.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).saturating_sub(1)]
}

struct Bench {
    api: Api,
    arrivals: Arrivals,
    measure: Measure,
}

impl Bench {
    /// Publishes at the steady rate for `seconds` and waits for what arrives at the healthy endpoints.
    async fn round(&self, seconds: u32) -> Spans {
        let Measure { rate, publishers, watched, .. } = self.measure;
        self.arrivals.lock().expect("no holder panics").clear();
        let round: u64 = rand::random();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let (mut sent, mut tasks) = (Vec::new(), Vec::new());
        for number in 0..rate * seconds {
            // From when it should be sent: a publisher that falls behind is part of what is felt.
            let due = ticks.tick().await.into_std();
            for organization in publishers {
                let id = format!("{organization}-{round:016x}-{number}");
                tasks.push(tokio::spawn(self.api.publish(organization, &id)));
                if watched.iter().any(|(one, _)| one == organization) {
                    sent.push((*organization, id, due));
                }
            }
        }
        for task in tasks {
            task.await.expect("the event is taken");
        }
        self.arrived(&sent).await
    }

    async fn arrived(&self, sent: &[(&'static str, String, Instant)]) -> Spans {
        let start = Instant::now();
        loop {
            let arrivals = self.arrivals.lock().expect("no holder panics").clone();
            if sent.iter().all(|(_, id, _)| arrivals.contains_key(id)) {
                let mut spans = Spans::new();
                for (organization, id, due) in sent {
                    let span = (arrivals[id] - *due).as_secs_f64() * 1000.0;
                    spans.entry(organization).or_default().push(span);
                }
                return spans;
            }
            assert!(start.elapsed() < DEADLINE, "{} of {} arrived", arrivals.len(), sent.len());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
