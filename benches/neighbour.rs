//! What a webhook that hangs costs its neighbour: the time from publish to arrival at a healthy endpoint, at a steady
//! rate, alone and beside a webhook that gets the same events and whose endpoint never answers (`timeoutSeconds` 30).
//! First both belong to one organization, then to two. Rounds alternate, so that the noise of the machine meets both.
//!
//! Bound: the p99 beside is within 1.5 times the p99 alone. Run with `cargo bench --bench neighbour`; it needs
//! `redis-server` and takes three minutes. `-- --seconds 2` shortens each round.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/node.rs"]
mod node;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

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
/// The longest wait for the last arrivals of a round.
const DEADLINE: Duration = Duration::from_secs(60);

type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

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
    let bench = Bench { http: reqwest::Client::new(), api: node.api.clone(), arrivals: Arrivals::default() };
    bench.await_ready().await;
    let healthy = serve_healthy(bench.arrivals.clone()).await;
    let hanging = serve_hanging().await;
    for (what, other) in [("one organization", "acme"), ("two organizations", "rival")] {
        let mine = bench.create("acme", &healthy).await;
        bench.round(other, WARM_UP_SECONDS).await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.extend(bench.round(other, seconds).await);
            let neighbour = bench.create(other, &hanging).await;
            beside.extend(bench.round(other, seconds).await);
            bench.delete(other, &neighbour).await;
        }
        bench.delete("acme", &mine).await;
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

/// The value that `percent` of them do not exceed.
fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100).saturating_sub(1)]
}

struct Bench {
    http: reqwest::Client,
    api: String,
    arrivals: Arrivals,
}

impl Bench {
    /// Publishes at the steady rate for `seconds` and waits for what arrives; the spans in milliseconds. The other
    /// organization gets the same events, with or without a webhook that they match.
    async fn round(&self, other: &str, seconds: u32) -> Vec<f64> {
        self.arrivals.lock().expect("no holder panics").clear();
        let round: u64 = rand::random();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let (mut sent, mut tasks) = (HashMap::new(), Vec::new());
        for number in 0..RATE * seconds {
            // From when it should be sent: a publisher that falls behind is part of what is felt.
            let due = ticks.tick().await.into_std();
            let id = format!("e{round:016x}-{number}");
            for organization in if other == "acme" { vec!["acme"] } else { vec!["acme", other] } {
                tasks.push(tokio::spawn(self.publish(organization, &id)));
            }
            sent.insert(id, due);
        }
        for task in tasks {
            task.await.expect("the event is taken");
        }
        let start = Instant::now();
        loop {
            let arrivals = self.arrivals.lock().expect("no holder panics").clone();
            if sent.keys().all(|id| arrivals.contains_key(id)) {
                return sent.iter().map(|(id, due)| (arrivals[id] - *due).as_secs_f64() * 1000.0).collect();
            }
            assert!(start.elapsed() < DEADLINE, "{} of {} arrived", arrivals.len(), sent.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn publish(&self, organization: &str, id: &str) -> impl Future<Output = ()> + use<> {
        let body = json!({ "type": "lead.created", "id": id, "data": { "name": "Ada Lovelace" } });
        let request = self.request(reqwest::Method::POST, "/api/events", organization).body(body.to_string());
        async move {
            let answer = request.send().await.expect("the node answers");
            assert_eq!(answer.status(), 202, "the event is taken");
        }
    }

    async fn create(&self, organization: &str, url: &str) -> String {
        let body = json!({ "name": "x", "url": url, "events": ["*"], "timeoutSeconds": TIMEOUT_SECONDS });
        let request = self.request(reqwest::Method::POST, "/api/webhooks", organization);
        let answer = request.body(body.to_string()).send().await.expect("the node answers");
        let body: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
        body["id"].as_str().unwrap_or_else(|| panic!("no webhook: {body}")).to_owned()
    }

    async fn delete(&self, organization: &str, id: &str) {
        let path = format!("/api/webhooks/{id}");
        let answer = self.request(reqwest::Method::DELETE, &path, organization).send().await;
        assert_eq!(answer.expect("the node answers").status(), 204);
    }

    async fn await_ready(&self) {
        let start = Instant::now();
        while self
            .request(reqwest::Method::GET, "/api/webhooks", "acme")
            .send()
            .await
            .map_or(true, |answer| answer.status() != 200)
        {
            assert!(start.elapsed() < DEADLINE, "the node is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn request(&self, method: reqwest::Method, path: &str, organization: &str) -> reqwest::RequestBuilder {
        let token = node::token("bench", organization);
        let request = self.http.request(method, format!("http://{}{path}", self.api));
        request.bearer_auth(token).header("content-type", "application/json")
    }
}

/// An endpoint that notes when each event arrives and answers at once.
async fn serve_healthy(arrivals: Arrivals) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, arrivals.clone()));
        }
    });
    url
}

async fn answer_all(stream: TcpStream, arrivals: Arrivals) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tokio::io::BufReader::new(stream);
    let (mut line, mut id, mut length) = (String::new(), String::new(), 0);
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => id = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => {
                stream.read_exact(&mut vec![0; length]).await?;
                let at = Instant::now();
                arrivals.lock().expect("no holder panics").entry(std::mem::take(&mut id)).or_insert(at);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
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

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}/"))
}
