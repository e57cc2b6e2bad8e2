//! What a webhook that hangs costs its neighbour: the time from publish to arrival at a healthy endpoint, at a steady
//! rate, alone and beside a webhook that gets the same events and whose endpoint never answers (`timeoutSeconds` 30).
//! First both belong to one organization, then to two. Rounds alternate, so that the noise of the machine meets both.
//!
//! Bound: the p99 beside is within 1.5 times the p99 alone. Run with `cargo bench --bench neighbour`; it needs
//! `redis-server` and takes three minutes. `-- --seconds 2` shortens each round.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/api.rs"]
#[allow(dead_code, reason = "other benchmarks ask for more")]
mod api;
#[path = "support/node.rs"]
mod node;

use serde_json::json;

use api::{Api, Arrivals, listen, percentile, serve_healthy};
use node::Node;

/// Events a second, for each organization.
const RATE: u32 = 50;
/// Of one round, when nothing else is said.
const SECONDS: u32 = 20;
/// Of the round before the first, which is not counted: connections are opened, scripts loaded.
const WARM_UP_SECONDS: u32 = 2;
/// Alone and beside, this often each.
const ROUNDS: u32 = 2;
/// What the endpoint that hangs is given.
const TIMEOUT_SECONDS: u32 = 30;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let given = arguments.iter().position(|argument| argument == "--seconds");
    let seconds = given.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(SECONDS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(seconds));
}

async fn run(seconds: u32) {
    let node = Node::start("neighbour");
    let (api, arrivals) = (Api::of(&node).await, Arrivals::default());
    let healthy = serve_healthy(arrivals.clone()).await;
    let hanging = serve_hanging().await;
    let settings = json!({ "timeoutSeconds": TIMEOUT_SECONDS });
    for (what, organizations) in
        [("one organization", &["acme"][..]), ("two organizations", &["acme", "rival"])]
    {
        // The other organization gets the same events, with or without a webhook that they match.
        let round = async |seconds| api.steadily(&arrivals, organizations, RATE, seconds).await;
        let other = organizations[organizations.len() - 1];
        let mine = api.create("acme", &healthy, &settings).await;
        round(WARM_UP_SECONDS).await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.extend(round(seconds).await);
            let neighbour = api.create(other, &hanging, &settings).await;
            beside.extend(round(seconds).await);
            api.delete(other, &neighbour).await;
        }
        api.delete("acme", &mine).await;
        print(what, &mut alone, &mut beside);
    }
}

fn print(what: &str, alone: &mut [f64], beside: &mut [f64]) {
    let mut at = |percent| (percentile(alone, percent), percentile(beside, percent));
    let (p50, p99) = (at(50), at(99));
    println!(
        "{what:18} alone p50 {:7.2} ms, p99 {:7.2} ms; beside one that hangs p50 {:7.2} ms, p99 {:7.2} ms; ratio of \
         p99 {:.2}",
        p50.0,
        p99.0,
        p50.1,
        p99.1,
        p99.1 / p99.0
    );
}

/// An endpoint that takes connections and never answers.
async fn serve_hanging() -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    url
}
