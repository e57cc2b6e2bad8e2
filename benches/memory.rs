//! What Redis's memory is spent on: the bytes of a queued event of 1 KiB, of a row of the log after its delivery, and what
//! a failure with 4 KiB of answer takes besides. One node with a private Redis, one webhook that is so slow at first that
//! everything waits; then the same events are delivered; then of as many more every second fails for good (all of them
//! would make the service stop sending).
//!
//! Prints Redis's `used_memory` for each event, and `MEMORY USAGE` of all keys, summed by what they hold. The figures of
//! docs/operations.md come from here. Run with `cargo bench --bench memory` (or `cargo bench --profile dev --bench
//! memory`: the memory is the same); it needs `redis-server`. `-- --events 2000` makes it shorter.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/node.rs"]
mod node;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use salesos_webhooks::store::Redis;
use salesos_webhooks::store::connection::Address;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use node::Node;

/// What the log keeps of a webhook by default.
const EVENTS: usize = 10_000;
const BATCH: usize = 500;
/// The whole body of an event as it is stored.
const EVENT_BYTES: usize = 1024;
const ANSWER_BYTES: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(300);

/// The kinds of keys that grow with the events, and what they hold.
const KINDS: [(&str, &str); 7] = [
    ("event", "event record: body, and where it stands"),
    ("delivered", "the same of an event that arrived everywhere at once"),
    ("idem", "the publisher's id, for 24 hours"),
    ("mbox", "mailbox entry"),
    ("log", "row of the log"),
    ("answer", "answer of a failed attempt"),
    ("dead", "entry of what failed for good"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let given = arguments.iter().position(|argument| argument == "--events");
    let events = given.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(EVENTS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run(events));
}

async fn run(events: usize) {
    let node = Node::start("memory");
    let limit = Duration::from_secs(10);
    let redis = Redis::new(Address::new(&redis_of(&node), limit, limit).expect("a URL")).expect("an address");
    let bench = Bench { http: reqwest::Client::new(), api: node.api.clone(), redis };
    let fails = Arc::new(AtomicBool::new(false));
    let url = serve(fails.clone()).await;
    let settings = json!({
        "name": "x", "url": url, "events": ["*"], "retryAttempts": 0, "rateLimitPerSecond": 1, "maxConcurrency": 1
    });
    let webhook = bench.call("POST", "/api/webhooks", &settings).await["id"].clone();
    let path = format!("/api/webhooks/{}", webhook.as_str().expect("an id"));
    let empty = bench.state().await;
    bench.publish("queued", events).await;
    bench.until("all are queued", |waiting, undispatched| undispatched == 0 && waiting + 60 > events).await;
    print("queued", &empty, &bench.state().await, events);
    let free = json!({ "rateLimitPerSecond": null, "maxConcurrency": 64 });
    bench.call("PATCH", &path, &free).await;
    bench.until("all are delivered", |waiting, _| waiting == 0).await;
    let delivered = bench.state().await;
    print("delivered", &empty, &delivered, events);
    fails.store(true, Ordering::Relaxed);
    bench.publish("failed", events).await;
    bench.until("all have ended", |waiting, undispatched| waiting + undispatched == 0).await;
    let failed = bench.state().await;
    println!(
        "{} events that failed for good, with {ANSWER_BYTES} bytes of answer, take besides:",
        events / 2
    );
    print_kinds(&["answer", "dead"], &delivered, &failed, events / 2);
}

/// Bytes: in all, and of the keys of each kind.
struct State {
    used: i64,
    kinds: BTreeMap<String, i64>,
}

fn print(what: &str, before: &State, now: &State, events: usize) {
    let each = (now.used - before.used) as f64 / events as f64;
    println!("{events} events of {EVENT_BYTES} bytes, {what}: {each:.0} bytes each in used_memory");
    print_kinds(&KINDS.map(|(kind, _)| kind), before, now, events);
}

fn print_kinds(kinds: &[&str], before: &State, now: &State, events: usize) {
    for (kind, words) in KINDS.iter().filter(|(kind, _)| kinds.contains(kind)) {
        let of = |state: &State| state.kinds.get(*kind).copied().unwrap_or_default();
        let bytes = (of(now) - of(before)) as f64 / events as f64;
        if bytes >= 2.0 {
            println!("  {bytes:7.0}  {words}");
        }
    }
}

struct Bench {
    http: reqwest::Client,
    api: String,
    redis: Redis,
}

impl Bench {
    async fn publish(&self, name: &str, events: usize) {
        for first in (0..events).step_by(BATCH) {
            let batch: Vec<Value> = (first..events.min(first + BATCH)).map(|n| event(name, n)).collect();
            self.call("POST", "/api/events/batch", &json!({ "events": batch })).await;
        }
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = node::token("bench", "acme");
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("http://{}{path}", self.api)).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.expect("the node answers");
        let (status, bytes) = (answer.status(), answer.bytes().await.expect("a body"));
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Waits until that many deliveries wait and that many entries are undispatched.
    async fn until(&self, what: &str, holds: impl Fn(usize, usize) -> bool) {
        let start = Instant::now();
        loop {
            let (mut waiting, mut undispatched) = (0, 0);
            for key in self.keys().await {
                if key.ends_with("}:usage") {
                    let pending: Option<usize> = self.query(&["HGET", &key, "pending"]).await;
                    waiting += pending.unwrap_or_default();
                } else if key.ends_with("}:events") {
                    undispatched += self.query::<usize>(&["XLEN", &key]).await;
                }
            }
            if holds(waiting, undispatched) {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "not {what}: {waiting} wait, {undispatched} are undispatched"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn state(&self) -> State {
        let info: String = self.query(&["INFO", "memory"]).await;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it says so");
        let mut kinds = BTreeMap::new();
        for key in self.keys().await {
            let kind = key.split(':').nth(2).unwrap_or_default().to_owned();
            let bytes: Option<i64> = self.query(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).await;
            *kinds.entry(kind).or_default() += bytes.unwrap_or_default();
        }
        State { used: used.trim().parse().expect("a number"), kinds }
    }

    async fn keys(&self) -> Vec<String> {
        self.query(&["KEYS", "sw:{*"]).await
    }

    async fn query<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.redis.query(redis::cmd(words[0]).arg(&words[1..])).await.expect("redis answers")
    }
}

/// Its stored body has [`EVENT_BYTES`].
fn event(name: &str, number: usize) -> Value {
    let id = format!("{name}-{number:06}");
    let stored = format!(
        r#"{{"id":"{id}","type":"lead.created","timestamp":"2026-01-15T10:30:00.000Z","organizationId":"acme","data":{{"text":""}}}}"#
    );
    let text: String = "salesos ".chars().cycle().take(EVENT_BYTES - stored.len()).collect();
    json!({ "type": "lead.created", "id": id, "data": { "text": text } })
}

fn redis_of(node: &Node) -> String {
    format!("unix://{}", node.directory.join("redis/redis.sock").display())
}

/// An endpoint that answers 200 with nothing and, while `fails` says so, 500 with a long answer to every second event.
async fn serve(fails: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, fails.clone()));
        }
    });
    format!("http://{address}/")
}

async fn answer_all(stream: TcpStream, fails: Arc<AtomicBool>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tokio::io::BufReader::new(stream);
    let failure =
        format!("HTTP/1.1 500 No\r\ncontent-length: {ANSWER_BYTES}\r\n\r\n{}", "a".repeat(ANSWER_BYTES));
    let (mut line, mut length, mut fail) = (String::new(), 0, false);
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => {
                // Odd ones.
                fail = fails.load(Ordering::Relaxed) && value.ends_with(['1', '3', '5', '7', '9']);
            }
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => {
                stream.read_exact(&mut vec![0; length]).await?;
                let answer =
                    if fail { failure.as_str() } else { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" };
                stream.write_all(answer.as_bytes()).await?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
}
