//! What a scrape of `/metrics` costs with 10 webhooks and with 100,000, in one run: its time and its size. Each time a
//! tenth of the webhooks has just had a delivery, so that they have actors.
//!
//! Bound: the size within 10 %, the time within twice that of the few. Run with `cargo bench --bench scrape`; it needs
//! `redis-server` and takes some minutes, for the webhooks are made through the API. `-- --webhooks 2000` makes it shorter.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/node.rs"]
mod node;

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use node::Node;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const FEW: usize = 10;
const MANY: usize = 100_000;
/// Webhooks of one user, who is alone in an organization: what the default quota allows.
const OF_ONE_USER: usize = 1000;
/// Of which so many get an event.
const EVERY: usize = 10;
const SCRAPES: usize = 200;
const AT_ONCE: usize = 32;
const DEADLINE: Duration = Duration::from_secs(600);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let given = arguments.iter().position(|argument| argument == "--webhooks");
    let many = given.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(MANY);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(many));
}

async fn run(many: usize) {
    let node = Node::start("scrape");
    let bench =
        Bench { http: reqwest::Client::new(), api: node.api.clone(), management: node.management.clone() };
    let sink = serve().await;
    let mut made = 0;
    let mut seen = Vec::new();
    for count in [FEW, many] {
        bench.create(made..count, &sink).await;
        bench.deliver(count).await;
        let scraped = bench.scrape().await;
        println!(
            "{count:7} webhooks, {:5} actors: {:6} series, {:7} bytes, median {:5.2} ms, slowest {:6.2} ms",
            scraped.actors,
            scraped.series,
            scraped.bytes,
            scraped.times[SCRAPES / 2],
            scraped.times[SCRAPES - 1]
        );
        seen.push(scraped);
        made = count;
    }
    let [few, many] = &seen[..] else { unreachable!("two rounds") };
    println!(
        "ratio: size {:.3}, median time {:.2}",
        many.bytes as f64 / few.bytes as f64,
        many.times[SCRAPES / 2] / few.times[SCRAPES / 2]
    );
}

struct Scraped {
    series: usize,
    bytes: usize,
    actors: usize,
    /// In milliseconds, sorted.
    times: Vec<f64>,
}

struct Bench {
    http: reqwest::Client,
    api: String,
    management: String,
}

impl Bench {
    async fn create(&self, numbers: std::ops::Range<usize>, sink: &str) {
        let create = |number: usize| {
            let events = if number.is_multiple_of(EVERY) { "lead.created" } else { "quote.sent" };
            let body = json!({ "name": "x", "url": sink, "events": [events] });
            self.post("/api/webhooks", number / OF_ONE_USER, body, 201)
        };
        stream::iter(numbers).map(create).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    }

    /// An event to every tenth webhook, and the wait for all of them.
    async fn deliver(&self, webhooks: usize) {
        let before = self.metric("salesos_webhooks_deliveries_ended_total{result=\"delivered\"}").await;
        let publish = |organization: usize| {
            let body = json!({ "type": "lead.created", "data": {} });
            self.post("/api/events", organization, body, 202)
        };
        for organization in 0..webhooks.div_ceil(OF_ONE_USER) {
            publish(organization).await;
        }
        let start = Instant::now();
        let expected = before + webhooks.div_ceil(EVERY);
        while self.metric("salesos_webhooks_deliveries_ended_total{result=\"delivered\"}").await < expected {
            assert!(start.elapsed() < DEADLINE, "not all were delivered");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn post(&self, path: &str, organization: usize, body: serde_json::Value, status: u16) {
        let token = node::token("bench", &format!("org{organization}"));
        let request = self.http.post(format!("http://{}{path}", self.api)).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("the node answers");
        assert_eq!(answer.status(), status, "{path}");
    }

    async fn scrape(&self) -> Scraped {
        let (mut times, mut text) = (Vec::new(), String::new());
        for _ in 0..SCRAPES {
            let start = Instant::now();
            text = self.text().await;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        let actors = self.metric("salesos_webhooks_actors_active").await;
        Scraped { series, bytes: text.len(), actors, times }
    }

    async fn metric(&self, name: &str) -> usize {
        let text = self.text().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no metric {name}"))
    }

    async fn text(&self) -> String {
        let answer = self.http.get(format!("http://{}/metrics", self.management)).send().await;
        answer.expect("the node answers").text().await.expect("a body")
    }
}

/// An endpoint that takes everything: it answers each request whose head and body it has seen in one piece.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 16_384];
                while let Ok(1..) = stream.read(&mut buffer).await {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}/")
}
