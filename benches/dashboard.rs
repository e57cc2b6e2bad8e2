//! What a page of the dashboard costs when the log of its webhook is full: 10,000 rows, every second one a failure with 4 KiB of
//! answer; and what lists cost of a user with 1,000 webhooks, and of one with 10,000. Each page is asked for again and again over
//! one connection.
//!
//! Prints for each page its size, what the client waited (the whole request over the loopback, so an upper bound of the
//! server's time) and the mean at the server, from `api_request_duration_seconds`. Ends with 1 where the p95 of a page at the
//! client is above the bound. Run with `cargo bench --bench dashboard`; it needs `redis-server`.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the arguments")]

#[path = "support/api.rs"]
#[allow(dead_code, reason = "other benchmarks ask for more")]
mod api;
#[path = "support/node.rs"]
mod node;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use api::{Api, Arrivals, percentile, serve_healthy};
use node::Node;
use redis::{Pipeline, Value};
use salesos_webhooks::clock;
use salesos_webhooks::domain::{AttemptRow, ErrorKind, Millis, Partition, Tenant, WebhookId};
use salesos_webhooks::policy::partition::Layout;
use salesos_webhooks::store::attempts::encode;
use salesos_webhooks::store::connection::Address;
use salesos_webhooks::store::keys::event_hash;
use salesos_webhooks::store::{Keys, Redis};
use serde_json::json;

const ROWS: u64 = 10_000;
const REQUESTS: usize = 300;
/// What the p95 of a page may be, in milliseconds.
const BOUND: f64 = 30.0;
const ORGANIZATION: &str = "acme";
/// The organizations whose only user has many webhooks, and how many.
const MANY: [(&str, usize); 2] = [("many", 1_000), ("most", 10_000)];
/// The time between two rows.
const APART: Duration = Duration::from_secs(60);
/// The defaults of `[cluster]`.
const LAYOUT: Layout = Layout { partitions: 64, webhooks_per_shard: 4, shards_per_tenant: 16 };

fn main() -> ExitCode {
    // `cargo test --all-targets` starts benches too, without this argument: there is nothing to test here.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let slow = runtime.expect("a runtime").block_on(run());
    slow.iter().for_each(|name| println!("p95 above {BOUND} ms: {name}"));
    if slow.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Measures every page; gives the names of those that are above the bound.
async fn run() -> Vec<&'static str> {
    let node = Node::start_with("dashboard", &[("WEBHOOKS_LIMITS__WEBHOOKS_PER_USER", "10000")]);
    let api = Api::of(&node).await;
    let sink = serve_healthy(Arrivals::default()).await;
    let id = api.create(ORGANIZATION, &sink, &json!({ "name": "Order intake" })).await;
    create(&api, ORGANIZATION, &sink, 19).await;
    for (organization, number) in MANY {
        create(&api, organization, &sink, number).await;
    }
    api.publish(ORGANIZATION, "evt_bench", &json!({ "name": "Ada Lovelace" })).await;
    let newest = api.log(ORGANIZATION, &id, 1).await;
    let attempt = newest[0]["id"].as_str().expect("an id").to_owned();
    fill(&node, &id).await;
    let visitor = Visitor { http: reqwest::Client::new(), node: &node };
    println!("{ROWS} rows, {REQUESTS} requests of each page, milliseconds");
    println!("{:26} {:>7} {:>7} {:>7} {:>7} {:>7}", "page", "KiB", "p50", "p95", "p99", "server");
    let mut slow = Vec::new();
    for page in pages(&id, &attempt) {
        if visitor.measure(&page).await > BOUND {
            slow.push(page.name);
        }
    }
    slow
}

/// Webhooks that get nothing of what is published here.
async fn create(api: &Api, organization: &str, sink: &str, webhooks: usize) {
    for number in 0..webhooks {
        let settings = json!({ "name": format!("Webhook {number}"), "events": ["quote.sent"] });
        api.create(organization, sink, &settings).await;
    }
}

/// What is asked for: an address and its route, both below `/dashboard`, by the user of an organization.
struct Asked {
    name: &'static str,
    organization: &'static str,
    path: String,
    route: &'static str,
}

/// Every page.
fn pages(id: &str, attempt: &str) -> Vec<Asked> {
    let of = |rest: &str| format!("/webhooks/{id}{rest}");
    let log = "/webhooks/{id}/deliveries";
    let own = [
        ("overview", String::new(), ""),
        ("webhooks", "/webhooks".into(), "/webhooks"),
        ("new webhook", "/webhooks/new".into(), "/webhooks/new"),
        ("summary", of(""), "/webhooks/{id}"),
        ("settings", of("/edit"), "/webhooks/{id}/edit"),
        ("deliveries", of("/deliveries"), log),
        ("deliveries, last page", of("/deliveries?page=400"), log),
        ("failures", of("/deliveries?result=failed"), log),
        ("failures, last page", of("/deliveries?result=failed&page=200"), log),
        ("failed for good", of("/deliveries?result=for-good"), log),
        ("a type that never came", of("/deliveries?event=quote.sent"), log),
        ("an event's attempts", of("/deliveries?eventId=evt_bench"), log),
        ("delivery", of(&format!("/deliveries/{attempt}")), "/webhooks/{id}/deliveries/{attemptId}"),
        ("recover", of("/recover"), "/webhooks/{id}/recover"),
        (
            "recover, all counted",
            of("/recover?since=2020-01-01T00%3A00&until=&event=&count=1"),
            "/webhooks/{id}/recover",
        ),
        ("test", of("/test"), "/webhooks/{id}/test"),
        ("verify", of("/verify"), "/webhooks/{id}/verify"),
        ("event", "/events/evt_bench".into(), "/events/{id}"),
    ];
    let of_many = [
        ("overview, 1,000 webhooks", "many", "", ""),
        ("webhooks, 1,000", "many", "/webhooks", "/webhooks"),
        ("webhooks, 1,000, searched", "many", "/webhooks?q=hook+99", "/webhooks"),
        ("webhooks, 10,000", "most", "/webhooks", "/webhooks"),
    ];
    let own = own.map(|(name, path, route)| Asked { name, organization: ORGANIZATION, path, route });
    let of_many = of_many.map(|(name, organization, path, route)| Asked {
        name,
        organization,
        path: path.to_owned(),
        route,
    });
    own.into_iter().chain(of_many).collect()
}

/// Somebody who is signed in.
struct Visitor<'a> {
    http: reqwest::Client,
    node: &'a Node,
}

impl Visitor<'_> {
    /// Asks for a page again and again, and prints what that took; gives the p95.
    async fn measure(&self, asked: &Asked) -> f64 {
        let before = self.at_the_server(asked.route).await;
        let (mut times, mut bytes) = (Vec::with_capacity(REQUESTS), 0);
        for _ in 0..REQUESTS {
            let start = Instant::now();
            bytes = self.open(asked).await;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let after = self.at_the_server(asked.route).await;
        let mean = (after.0 - before.0) * 1000.0 / (after.1 - before.1);
        let [p50, p95, p99] = [50, 95, 99].map(|percent| percentile(&mut times, percent));
        let (name, size) = (asked.name, bytes as f64 / 1024.0);
        println!("{name:26} {size:7.1} {p50:7.2} {p95:7.2} {p99:7.2} {mean:7.2}");
        p95
    }

    /// The size of a page, in bytes.
    async fn open(&self, Asked { organization, path, .. }: &Asked) -> usize {
        let token = node::token("bench", organization);
        let request = self.http.get(format!("http://{}/dashboard{path}", self.node.api));
        let answer = request.header("cookie", format!("salesos_webhooks_session={token}")).send().await;
        let answer = answer.expect("the node answers");
        assert_eq!(answer.status(), 200, "{path}");
        answer.bytes().await.expect("a page").len()
    }

    /// Seconds and requests of a route so far.
    async fn at_the_server(&self, route: &str) -> (f64, f64) {
        let answer = self.http.get(format!("http://{}/metrics", self.node.management)).send().await;
        let text = answer.expect("the node answers").text().await.expect("a body");
        let value = |kind: &str| {
            let start = format!("salesos_webhooks_api_request_duration_seconds_{kind}{{");
            let label = format!("route=\"/dashboard{route}\"");
            let found =
                |line: &&str| line.starts_with(&start) && line.contains(&label) && line.contains("\"GET\"");
            let number = text.lines().find(found).and_then(|line| line.rsplit(' ').next()?.parse().ok());
            number.unwrap_or_else(|| panic!("no metric of {route}"))
        };
        (value("sum"), value("count"))
    }
}

/// Rows before the one that is there: the log is written anew, for rows must come in order.
async fn fill(node: &Node, id: &str) {
    let limit = Duration::from_secs(5);
    let socket = format!("unix://{}", node.directory.join("redis/redis.sock").display());
    let redis = Redis::new(Address::new(&socket, limit, limit).expect("a URL")).expect("an address");
    let (keys, tenant) = (Keys::new("sw:"), format!("org:{ORGANIZATION}"));
    let tenant: Tenant = tenant.parse().expect("a tenant");
    let webhook: WebhookId = id.parse().expect("an id");
    let partition = LAYOUT.partition_of(&tenant, webhook.shard());
    let [rows, answers] = ["log", "answer"].map(|kind| keys.of_webhook(partition, kind, &webhook));
    let newest: Vec<(String, Vec<String>)> =
        redis.query(redis::cmd("XRANGE").arg(&rows).arg("-").arg("+")).await.expect("redis answers");
    redis.query::<Value>(redis::cmd("DEL").arg(&rows)).await.expect("redis answers");
    let first = clock::now().minus(APART * u32::try_from(ROWS + 1).expect("few"));
    for hundred in 0..ROWS / 100 {
        let mut adds = Pipeline::new();
        for n in hundred * 100..hundred * 100 + 100 {
            let at = Millis(first.0 + n * 60_000);
            add(&mut adds, (&rows, &answers), &keys, (partition, &tenant), row(n, at));
        }
        redis.pipeline::<Value>(&adds).await.expect("redis answers");
    }
    for (id, fields) in newest {
        let mut add = redis::cmd("XADD");
        add.arg(&rows).arg(id).arg(fields);
        redis.query::<Value>(&add).await.expect("redis answers");
    }
}

fn add(
    adds: &mut Pipeline,
    (rows, answers): (&str, &str),
    keys: &Keys,
    (partition, tenant): (Partition, &Tenant),
    row: AttemptRow,
) {
    let event = keys.key(partition, &format!("event:{}", event_hash(tenant, &row.event_id)));
    adds.cmd("HSET").arg(event).arg("body").arg(format!("{{\"data\":\"{}\"}}", "d".repeat(1000)));
    let id = format!("{}-0", row.at.0);
    let body = "a".repeat(if row.success() { 256 } else { 4096 });
    let (text, beside) = encode(row, Some(body));
    adds.cmd("XADD").arg(rows).arg(&id).arg("r").arg(text);
    if let Some(body) = beside {
        adds.cmd("XADD").arg(answers).arg(&id).arg("b").arg(body);
    }
}

/// Every second attempt failed, and every second of those for good.
fn row(n: u64, at: Millis) -> AttemptRow {
    let failed = n.is_multiple_of(2).then_some(ErrorKind::HttpStatus);
    AttemptRow {
        id: None,
        event_id: format!("evt_{n:032}").parse().expect("an id"),
        event_type: if n.is_multiple_of(3) { "lead.updated" } else { "lead.created" }.into(),
        url: "https://hooks.example.com/services/salesos/incoming/0123456789abcdef".into(),
        at,
        attempt: 1,
        elapsed_ms: 40,
        status: Some(if failed.is_some() { 500 } else { 200 }),
        error_kind: failed,
        error_message: failed.map(|_| "the endpoint answered 500 Internal Server Error".into()),
        next_retry_at: failed.filter(|_| !n.is_multiple_of(4)).map(|_| at + Duration::from_secs(60)),
        response_body: None,
        body_beside: false,
        custom_headers: vec!["X-Api-Key".into()],
        is_test: false,
    }
}
