//! How fast the delivery log is read when it is full: 10,000 rows, successes with 256 bytes of answer and failures with
//! 4 KiB, every event's body there. Prints median, p95 and slowest of many reads of each kind, those of an event's page among them,
//! and the slowest Redis command.
//!
//! Bounds (issue 2, point 7): the first page without a filter 10 ms, any filter and page 60 ms, no command over 5 ms.
//! Run with `cargo bench --bench log`; it needs `redis-server`.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Pipeline, Value};
use salesos_webhooks::domain::{AttemptRow, ErrorKind, Millis, Partition, Pattern, Shard, Tenant, WebhookId};
use salesos_webhooks::store::attempts::{AttemptLog, Filter, Look, Shown, Window, encode, last_of};
use salesos_webhooks::store::connection::Address;
use salesos_webhooks::store::keys::event_hash;
use salesos_webhooks::store::{Keys, Redis};

const ROWS: u64 = 10_000;
const ROUNDS: usize = 100;
const PARTITION: Partition = Partition(3);

/// A server on a unix socket in a directory of its own, both gone at the end.
struct Server {
    child: Child,
    directory: std::path::PathBuf,
}

impl Server {
    fn start() -> (Self, String) {
        let directory = std::env::temp_dir().join(format!("sw-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the socket");
        let socket = directory.join("redis.sock");
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--stream-node-max-bytes", "512", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        (Self { child, directory }, format!("unix://{}", socket.display()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn main() {
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if std::env::args().any(|argument| argument == "--bench") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run());
    }
}

async fn run() {
    let (_server, url) = Server::start();
    let limit = Duration::from_secs(5);
    let redis = Redis::new(Address::new(&url, limit, limit).expect("a URL")).expect("an address");
    while redis.query::<String>(&redis::cmd("PING")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let keys = Keys::new("sw:");
    let tenant: Tenant = "org:bench".parse().expect("a tenant");
    let webhook = WebhookId::new(Shard(0), "abcdefghijklmnopqrstuv");
    let log = AttemptLog {
        redis: &redis,
        keys: &keys,
        partition: PARTITION,
        tenant: &tenant,
        webhook: &webhook,
        shown: Shown { max_attempts: ROWS, not_before: Millis(1) },
    };
    fill(&log).await;
    let reset = [("CONFIG", vec!["SET", "slowlog-log-slower-than", "0"]), ("SLOWLOG", vec!["RESET"])];
    for (name, arguments) in reset {
        redis.query::<Value>(redis::cmd(name).arg(arguments)).await.expect("redis answers");
    }
    let size = redis::cmd("CONFIG").arg("SET").arg("slowlog-max-len").arg(100_000).clone();
    redis.query::<Value>(&size).await.expect("redis answers");
    measure(&log).await;
    measure_events(&log).await;
    print_slowest(&redis).await;
}

async fn measure(log: &AttemptLog<'_>) {
    let open = Filter::default();
    let failed = Filter { success: Some(false), event: None, ..Filter::default() };
    let good = Filter {
        success: Some(true),
        event: Some(&Pattern::Exact("lead.created".into())),
        ..Filter::default()
    };
    let none = Filter { success: None, event: Some(&Pattern::Exact("no.such".into())), ..Filter::default() };
    for (what, filter, skip, take) in [
        ("first page, no filter", open, 0, 20),
        ("first page of 100, no filter", open, 0, 100),
        ("last page of 100, no filter", open, 9900, 100),
        ("failures, first page", failed, 0, 20),
        ("failures, last page of 100", failed, 4900, 100),
        ("successes of one type, page of 100", good, 1000, 100),
        ("unknown type", none, 0, 20),
    ] {
        print(what, async || log.list(filter, Window { skip, take }).await.expect("redis answers")).await;
    }
}

/// What the page of an event reads of the logs of its webhooks.
async fn measure_events(log: &AttemptLog<'_>) {
    let event = "order-17".parse().expect("an id");
    let middle = Some(Millis(ROWS / 2));
    for (what, targets, ended_at) in [
        ("an event that waits at 1 webhook", 1, None),
        ("an event that failed at 1 webhook", 1, middle),
        ("an event that failed at 10", 10, middle),
        ("an event that failed at 1000", 1000, middle),
    ] {
        let look = Look { webhook: log.webhook.clone(), partition: PARTITION, ended_at };
        let looks = vec![look; targets];
        let read = async || last_of(log.redis, log.keys, &event, Millis(1), &looks).await;
        print(what, async || read().await.expect("redis answers")).await;
    }
}

async fn print<T>(what: &str, read: impl AsyncFn() -> T) {
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(read().await);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let [median, p95, slowest] = [50, 95, 100].map(|percent| times[(ROUNDS * percent / 100).min(ROUNDS - 1)]);
    println!("{what:40} median {median:6.2} ms, p95 {p95:6.2} ms, slowest {slowest:6.2} ms");
}

async fn fill(log: &AttemptLog<'_>) {
    let (rows, answers) = (
        log.keys.of_webhook(PARTITION, "log", log.webhook),
        log.keys.of_webhook(PARTITION, "answer", log.webhook),
    );
    for hundred in 0..ROWS / 100 {
        let mut adds = Pipeline::new();
        for n in hundred * 100 + 1..=hundred * 100 + 100 {
            let row = row(n);
            let event = format!("event:{}", event_hash(log.tenant, &row.event_id));
            adds.cmd("HSET")
                .arg(log.keys.key(PARTITION, &event))
                .arg("body")
                .arg(format!("{{\"data\":\"{}\"}}", "d".repeat(1000)));
            let body = "a".repeat(if row.success() { 256 } else { 4096 });
            let (text, beside) = encode(row, Some(body));
            let id = format!("{n}-0");
            adds.cmd("XADD").arg(&rows).arg(&id).arg("r").arg(text);
            if let Some(body) = beside {
                adds.cmd("XADD").arg(&answers).arg(&id).arg("b").arg(body);
            }
        }
        log.redis.pipeline::<Value>(&adds).await.expect("redis answers");
    }
}

/// Every second attempt failed.
fn row(n: u64) -> AttemptRow {
    let failed = n.is_multiple_of(2).then_some(ErrorKind::HttpStatus);
    AttemptRow {
        id: None,
        event_id: format!("evt_{n:032}").parse().expect("an id"),
        event_type: if n.is_multiple_of(3) { "lead.updated" } else { "lead.created" }.into(),
        url: "https://hooks.example.com/services/salesos/incoming/0123456789abcdef".into(),
        at: Millis(1_768_473_000_000 + n),
        attempt: 1,
        elapsed_ms: 40,
        status: Some(if failed.is_some() { 500 } else { 200 }),
        error_kind: failed,
        error_message: failed.map(|_| "the endpoint answered 500 Internal Server Error".into()),
        next_retry_at: failed.map(|_| Millis(1_768_473_060_000 + n)),
        response_body: None,
        body_beside: false,
        custom_headers: vec!["X-Api-Key".into()],
        is_test: false,
    }
}

/// Prints the slowest commands since the reset.
async fn print_slowest(redis: &Redis) {
    let entries: Vec<Vec<Value>> =
        redis.query(redis::cmd("SLOWLOG").arg("GET").arg(100_000)).await.expect("redis answers");
    let span = |entry: &Vec<Value>| match entry.get(2) {
        Some(Value::Int(micros)) => *micros as f64 / 1000.0,
        _ => 0.0,
    };
    let mut spans: Vec<f64> = entries.iter().map(span).collect();
    spans.sort_by(|a, b| b.total_cmp(a));
    let at = |share: f64| spans.get((spans.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "slowest of {} Redis commands: {:.2} ms, {:.2} ms for one in a hundred, {:.2} ms for half",
        spans.len(),
        at(0.0),
        at(0.01),
        at(0.5)
    );
}
