//! How fast the service is on this machine: load generator, sink, Redis and nodes as processes of their own, all of them
//! on the same cores, and in the same run the bare ceiling of the HTTP client. `docs/performance.md` explains the figures.
//!
//! `cargo bench --bench throughput -- [--quick] [--rounds N] [--json] [--svg DIR] [--only NAME]…`; needs `redis-server`.
//! Scenarios: `fanout1`, `fanout10`, `one_tenant`, `always`, `unloaded`, `steady`, `load`, `drain`, `retries`, `nodes`, `idle`,
//! `trouble`, `growth_fanout`, `growth_backlog`, `growth_subscriptions`, `growth_log`. The first four take five rounds, the
//! others one; `--rounds` sets that for all but `load` and the growths. `--quick` takes a tenth of the events and one round
//! of everything. `--svg` draws `load` and `nodes` into `latency.svg` and `nodes.svg` of that directory.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

mod api;
mod ceiling;
mod curve;
mod growth;
mod idle;
mod load;
mod machine;
mod percentiles;
mod picture;
mod rounds;
mod scenarios;
mod setting;
mod sink;
#[path = "../support/token.rs"]
mod token;

use std::num::NonZeroUsize;
use std::path::Path;

use serde_json::{Map, Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let after = |name: &str| {
        let places = arguments.iter().enumerate().filter(move |(_, argument)| *argument == name);
        places.filter_map(|(place, _)| arguments.get(place + 1).cloned()).collect::<Vec<String>>()
    };
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    match after("--role").first().map(String::as_str) {
        Some("sink") => runtime.block_on(tokio::task::LocalSet::new().run_until(sink::run())),
        Some("load") => answer(runtime.block_on(load::run(asked()))),
        Some("ceiling") => answer(runtime.block_on(ceiling::run(asked()))),
        _ => {
            let scale = if has("--quick") { scenarios::QUICK } else { scenarios::FULL };
            let rounds = after("--rounds").first().map(|count| count.parse().expect("a number from 1 on"));
            let scale = rounds.map_or(scale, |rounds: NonZeroUsize| scale.with_rounds(rounds.get()));
            let results = runtime.block_on(scenarios::run(scale, &after("--only")));
            print(&results, has("--json"));
            after("--svg").first().into_iter().for_each(|directory| draw(&results, Path::new(directory)));
        }
    }
}

fn asked<T: serde::de::DeserializeOwned>() -> T {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("a plan");
    serde_json::from_str(&line).expect("a plan as agreed")
}

fn answer(value: impl serde::Serialize) {
    println!("{}", serde_json::to_string(&value).expect("plain data"));
}

/// All figures once more, for a program or for a person.
fn print(results: &[(String, Value)], as_json: bool) {
    let all: Map<String, Value> = results.iter().cloned().collect();
    if as_json {
        println!("{}", json!(all));
    }
}

/// The pictures of those scenarios that were run.
fn draw(results: &[(String, Value)], directory: &Path) {
    std::fs::create_dir_all(directory).expect("a directory for the pictures");
    for (name, result) in results {
        let (file, chart) = match name.as_str() {
            "load" => ("latency.svg", curve::chart(result)),
            "nodes" => ("nodes.svg", scenarios::chart_of_nodes(result)),
            _ => continue,
        };
        std::fs::write(directory.join(file), chart.svg()).expect("the directory can be written to");
    }
}
