//! What endpoints that break every rule come to, and what they cost: for each case of the tests' table the outcome that
//! the log tells, how long the attempt took, the most memory that the node had while 64 attempts of the case ran at
//! once, and the delay from publish to arrival at a healthy webhook of another organization meanwhile, against before.
//!
//! Run with `cargo bench --bench hostile`; it needs `redis-server`, and Linux for the memory. `-- --seconds 2` shortens
//! what is measured of the healthy webhook beside each case, and before the first.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/api.rs"]
#[allow(dead_code, reason = "other benchmarks ask for more")]
mod api;
#[path = "../tests/it/harness/hostile.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests ask for more")]
mod hostile;
#[path = "support/node.rs"]
mod node;

use std::collections::BTreeSet;

use serde_json::json;

use api::{Api, Arrivals, percentile, serve_healthy};
use hostile::{Authority, Case, Channel, Family, Hostile, Reads, Script, Then, cases};
use node::Node;

/// Events a second for the healthy webhook.
const RATE: u32 = 20;
/// Of one measurement, when nothing else is said.
const SECONDS: u32 = 5;
/// Before anything is measured: connections are opened, scripts loaded.
const WARM_UP_SECONDS: u32 = 2;
/// Attempts of a case at once.
const AT_ONCE: usize = 64;
/// What endpoints are given.
const TIMEOUT_SECONDS: u32 = 2;
/// What an event holds besides.
const SMALL: usize = 10;
/// The same for endpoints that read slowly or not at all.
const LARGE: usize = 200_000;

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
    let authority = Authority::new();
    let file = authority.file().to_str().expect("a plain path");
    let node = Node::start_with("hostile", &[("SSL_CERT_FILE", file)]);
    let bench = Bench { api: Api::of(&node).await, arrivals: Arrivals::default(), node, authority };
    let healthy = serve_healthy(bench.arrivals.clone()).await;
    bench.api.create("acme", &healthy, &json!({})).await;
    bench.healthy(WARM_UP_SECONDS).await;
    reset_most_memory(&bench.node);
    let mut before = bench.healthy(4 * seconds).await;
    let (p50, p99) = (percentile(&mut before, 50), percentile(&mut before, 99));
    println!(
        "| the endpoint | outcome | `statusCode` | time of the attempt | memory | p99 of the healthy one |"
    );
    println!("|---|---|---|---|---|---|");
    println!(
        "| nothing beside the healthy one | | | | {} MiB | {p99:.1} ms (p50 {p50:.1}) |",
        most_memory(&bench.node) >> 20
    );
    for case in controls().into_iter().chain(cases()) {
        println!("{}", bench.line(&case, seconds).await);
    }
}

/// Endpoints that answer at once, for small events and for large ones: what they cost is not the manners of the others.
fn controls() -> [Case; 2] {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec();
    let script = Script { reads: Reads::All, says: answer, then: Then::Listens };
    [(Family::Body, "none of it: a good endpoint"), (Family::Slow, "none of it, and events of 200 KB")].map(
        |(family, name)| Case {
            family,
            name,
            channel: Channel::Plain,
            host: "127.0.0.1",
            script: script.clone(),
            kind: None,
            status: Some(200),
            message: "",
        },
    )
}

struct Bench {
    node: Node,
    authority: Authority,
    api: Api,
    arrivals: Arrivals,
}

impl Bench {
    /// [`AT_ONCE`] events at once for the endpoint of a case, and the healthy one's beside.
    async fn line(&self, case: &Case, seconds: u32) -> String {
        let endpoint = Hostile::start(case, &self.authority).await;
        let settings =
            json!({ "retryAttempts": 0, "timeoutSeconds": TIMEOUT_SECONDS, "maxConcurrency": AT_ONCE });
        let id = self.api.create("rival", &endpoint.url, &settings).await;
        reset_most_memory(&self.node);
        let (mut beside, ()) = tokio::join!(self.healthy(seconds), self.publish(case));
        let log = self.api.log("rival", &id, AT_ONCE).await;
        let memory = most_memory(&self.node) >> 20;
        self.api.delete("rival", &id).await;
        let each = |name: &str| log.iter().map(|row| row[name].to_string()).collect::<BTreeSet<String>>();
        let outcomes: Vec<String> =
            each("errorKind").iter().map(|kind| kind.replace("null", "success").replace('"', "`")).collect();
        let statuses: Vec<String> = each("statusCode").iter().map(|code| code.replace("null", "–")).collect();
        let mut took: Vec<f64> = log.iter().filter_map(|row| row["responseTimeMs"].as_f64()).collect();
        format!(
            "| {} | {} | {} | {:.0} ms | {memory} MiB | {:.1} ms |",
            case.name,
            outcomes.join(", "),
            statuses.join(", "),
            percentile(&mut took, 50),
            percentile(&mut beside, 99)
        )
    }

    async fn healthy(&self, seconds: u32) -> Vec<f64> {
        self.api.steadily(&self.arrivals, &["acme"], RATE, seconds).await
    }

    /// Small events in one batch, so that their attempts begin together; of large ones one after another, whose attempts
    /// take longer than that.
    async fn publish(&self, case: &Case) {
        let is_large = matches!(case.family, Family::Slow | Family::Hasty);
        let filler = "x".repeat(if is_large { LARGE } else { SMALL });
        let event = json!({ "type": "lead.created", "data": { "filler": filler } });
        for events in vec![event; AT_ONCE].chunks(if is_large { 1 } else { AT_ONCE }) {
            self.api.publish_batch("rival", events).await;
        }
    }
}

/// From now on the most is counted anew (proc(5): `clear_refs`).
fn reset_most_memory(node: &Node) {
    std::fs::write(node.proc().join("clear_refs"), "5").expect("Linux takes it");
}

/// The most memory that the node had, in bytes.
fn most_memory(node: &Node) -> usize {
    let status = std::fs::read_to_string(node.proc().join("status")).expect("Linux tells it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    1024 * peak.expect("it is told").parse::<usize>().expect("a number")
}
