//! The scenarios, each of which starts its own Redis, nodes and sink, measures, and prints its line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::{Api, token};
use crate::ceiling;
use crate::load::{Plan, Published};
use crate::machine::{Node, Process, Redis, Role};
use crate::sink::Arrived;

/// Bytes of a published body, and of what the ceiling posts.
const BYTES: usize = 1024;
/// Connections of the load generator, and requests of the ceiling at once.
const CONNECTIONS: usize = 64;
/// The longest wait for the last arrival.
const DEADLINE: Duration = Duration::from_secs(300);

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Scale {
    events: u64,
    rounds: usize,
    backlog: u64,
    idle: usize,
    seconds: u32,
}

/// What the figures of the documentation come from.
pub const FULL: Scale = Scale { events: 150_000, rounds: 5, backlog: 100_000, idle: 100_000, seconds: 30 };
/// To see whether it works.
pub const QUICK: Scale = Scale { events: 15_000, rounds: 1, backlog: 10_000, idle: 10_000, seconds: 5 };

/// Runs the scenarios of these names; none = all.
pub async fn run(scale: Scale, only: &[String]) -> Vec<(String, Value)> {
    let mut results = Vec::new();
    for name in [
        "fanout1",
        "fanout10",
        "one_tenant",
        "always",
        "unloaded",
        "steady",
        "drain",
        "retries",
        "nodes",
        "idle",
        "trouble",
    ] {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let result = match name {
            "fanout1" => rounds(scale, Shape { fan_out: 1, ..SHAPE }, name).await,
            "fanout10" => rounds(scale, Shape { fan_out: 10, ..SHAPE }, name).await,
            "one_tenant" => rounds(scale, Shape { tenants: 1, fan_out: 16, ..SHAPE }, name).await,
            "always" => always(scale).await,
            "unloaded" => latency(20, 20 * u64::from(scale.seconds), name).await,
            "steady" => latency(10_000, 10_000 * u64::from(scale.seconds) / 3, name).await,
            "drain" => drain(scale).await,
            "retries" => retries().await,
            "nodes" => nodes(scale).await,
            "idle" => idle(scale).await,
            _ => trouble(scale).await,
        };
        results.push((name.to_owned(), result));
    }
    results
}

/// Who gets what.
#[derive(Clone, Copy)]
struct Shape {
    tenants: usize,
    /// Webhooks of each, all of which get every event.
    fan_out: usize,
    nodes: usize,
    fsync: &'static str,
}

const SHAPE: Shape = Shape { tenants: 100, fan_out: 1, nodes: 1, fsync: "everysec" };

/// The processes of one measurement.
struct Setting {
    redis: Redis,
    nodes: Vec<Node>,
    sink: Role,
    sink_url: String,
    api: Api,
    tokens: Vec<String>,
}

impl Setting {
    async fn new(shape: Shape) -> Self {
        let redis = Redis::start(shape.fsync);
        let nodes: Vec<Node> = (0..shape.nodes).map(|_| Node::start(&redis.url, &[])).collect();
        let mut sink = Role::start("sink");
        let sink_url = format!("http://{}", sink.line());
        let api = Api::new(&nodes[0].api);
        for node in &nodes {
            api.until_metric(&node.management, "partitions_owned", |owned| owned > 0.0).await;
            api.until_metric(&node.management, "ready", |ready| ready == 1.0).await;
        }
        let tokens = (0..shape.tenants).map(token).collect();
        Self { redis, nodes, sink, sink_url, api, tokens }
    }

    async fn with_webhooks(shape: Shape) -> Self {
        let setting = Self::new(shape).await;
        for tenant in 0..shape.tenants {
            for _ in 0..shape.fan_out {
                setting
                    .api
                    .create(tenant, &format!("{}/ok", setting.sink_url), json!({ "maxConcurrency": 64 }))
                    .await;
            }
        }
        setting
    }

    fn plan(&self, events: u64, rate: Option<u32>) -> Plan {
        Plan {
            nodes: self.nodes.iter().map(|node| node.api.clone()).collect(),
            tokens: self.tokens.clone(),
            events,
            connections: CONNECTIONS,
            rate,
            bytes: BYTES,
            event_type: "lead.created".to_owned(),
        }
    }

    /// Publishes and waits until `expected` requests have arrived.
    async fn measure(&mut self, plan: &Plan, expected: u64) -> Measured {
        let _: Value = self.sink.ask("forget");
        let mut load = Role::start("load");
        let before = self.cpu();
        let start = Instant::now();
        load.tell(plan);
        let done = self.until_arrived(expected).await;
        let seconds = (done - start).as_secs_f64();
        let published: Published = load.answer();
        let cpu: Vec<Duration> = self.cpu().iter().zip(&before).map(|(now, then)| *now - *then).collect();
        let arrived: Arrived = self.sink.ask("report");
        let micros = |time: Duration| time.as_micros() as f64 / expected as f64;
        Measured {
            deliveries_per_second: expected as f64 / seconds,
            accepted_per_second: published.accepted as f64 / published.seconds,
            refused: published.refused,
            published,
            arrived,
            node_micros: micros(cpu[2..].iter().sum()),
            redis_micros: micros(cpu[0]),
            sink_micros: micros(cpu[1]),
            node_peak_kib: self.nodes.iter().map(|node| node.process.memory_kib("VmHWM")).max().unwrap_or(0),
        }
    }

    async fn until_arrived(&mut self, expected: u64) -> Instant {
        let start = Instant::now();
        loop {
            let count: u64 = self.sink.ask("count");
            if count >= expected {
                return Instant::now();
            }
            assert!(start.elapsed() < DEADLINE, "{count} of {expected} arrived");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn cpu(&self) -> Vec<Duration> {
        let all = [&self.redis.process, &self.sink.process];
        all.into_iter().chain(self.nodes.iter().map(|node| &node.process)).map(Process::cpu).collect()
    }
}

struct Measured {
    deliveries_per_second: f64,
    accepted_per_second: f64,
    refused: u64,
    published: Published,
    arrived: Arrived,
    node_micros: f64,
    redis_micros: f64,
    sink_micros: f64,
    node_peak_kib: u64,
}

impl Measured {
    fn print(&self, name: &str, ceiling: f64) -> Value {
        println!(
            "{name:10} {:7.0} deliveries/s = {:4.2} of the bare ceiling {:6.0}; accepted {:6.0}/s (answer p50 {:.2} p99 {:.2} \
             ms), arrival p50 {:.1} p99 {:.1} ms; CPU a delivery: node {:.1} redis {:.1} sink {:.1} µs; peak {} MiB{}",
            self.deliveries_per_second,
            self.deliveries_per_second / ceiling,
            ceiling,
            self.accepted_per_second,
            self.published.answer.p50,
            self.published.answer.p99,
            self.arrived.times.p50,
            self.arrived.times.p99,
            self.node_micros,
            self.redis_micros,
            self.sink_micros,
            self.node_peak_kib / 1024,
            if self.refused > 0 { format!("; {} REFUSED", self.refused) } else { String::new() },
        );
        json!({
            "deliveriesPerSecond": self.deliveries_per_second,
            "ceiling": ceiling,
            "ratio": self.deliveries_per_second / ceiling,
            "acceptedPerSecond": self.accepted_per_second,
            "refused": self.refused,
            "arrivalMs": self.arrived.times,
            "answerMs": self.published.answer,
            "cpuMicros": { "node": self.node_micros, "redis": self.redis_micros, "sink": self.sink_micros },
            "nodePeakMiB": self.node_peak_kib / 1024,
        })
    }
}

/// What the HTTP client alone does with the sink.
fn bare_ceiling(scale: Scale) -> f64 {
    let mut sink = Role::start("sink");
    let url = format!("http://{}/ok", sink.line());
    let mut client = Role::start("ceiling");
    client.tell(&ceiling::Plan { url, requests: scale.events, at_once: CONNECTIONS, bytes: BYTES });
    client.answer()
}

/// The same once more for each round; answers the median one.
async fn rounds(scale: Scale, shape: Shape, name: &str) -> Value {
    let mut all = Vec::new();
    for _ in 0..scale.rounds {
        let ceiling = bare_ceiling(scale);
        all.push(throughput(scale, shape).await.print(name, ceiling));
    }
    all.sort_by(|a, b| deliveries(a).total_cmp(&deliveries(b)));
    all[all.len() / 2].clone()
}

fn deliveries(result: &Value) -> f64 {
    result["deliveriesPerSecond"].as_f64().unwrap_or_default()
}

async fn throughput(scale: Scale, shape: Shape) -> Measured {
    let mut setting = Setting::with_webhooks(shape).await;
    let fan_out = shape.fan_out as u64;
    let events = scale.events / fan_out.min(5);
    let warm_up = setting.plan(events / 20, None);
    setting.measure(&warm_up, warm_up.events * fan_out).await;
    let plan = setting.plan(events, None);
    setting.measure(&plan, events * fan_out).await
}

async fn always(scale: Scale) -> Value {
    let mut ratios = Vec::new();
    for _ in 0..scale.rounds {
        let every_second = throughput(scale, SHAPE).await.deliveries_per_second;
        let always = throughput(scale, Shape { fsync: "always", ..SHAPE }).await.deliveries_per_second;
        println!(
            "always     {always:7.0} deliveries/s = {:4.2} of everysec {every_second:6.0}",
            always / every_second
        );
        ratios.push(always / every_second);
    }
    ratios.sort_by(f64::total_cmp);
    json!({ "ratio": ratios[ratios.len() / 2] })
}

async fn latency(rate: u32, events: u64, name: &str) -> Value {
    let mut setting = Setting::with_webhooks(SHAPE).await;
    let warm_up = setting.plan(2000, None);
    setting.measure(&warm_up, warm_up.events).await;
    let plan = setting.plan(events, Some(rate));
    let measured = setting.measure(&plan, events).await;
    println!(
        "{name:10} {rate} events/s: publish to arrival p50 {:.2} p99 {:.2} max {:.1} ms; answer p50 {:.2} p99 {:.2} ms; sent \
         at most {:.1} ms late",
        measured.arrived.times.p50,
        measured.arrived.times.p99,
        measured.arrived.times.max,
        measured.published.answer.p50,
        measured.published.answer.p99,
        measured.published.latest_ms,
    );
    json!({ "rate": rate, "arrivalMs": measured.arrived.times, "answerMs": measured.published.answer })
}

/// A backlog behind a rate limit of one a second that is then lifted.
async fn drain(scale: Scale) -> Value {
    const WEBHOOKS: usize = 16;
    let mut setting = Setting::new(Shape { tenants: WEBHOOKS, ..SHAPE }).await;
    let mut ids = Vec::new();
    for tenant in 0..WEBHOOKS {
        let slow = json!({ "rateLimitPerSecond": 1, "maxConcurrency": 64 });
        ids.push(setting.api.create(tenant, &format!("{}/ok", setting.sink_url), slow).await);
    }
    let plan = setting.plan(scale.backlog, None);
    let mut load = Role::start("load");
    load.tell(&plan);
    let published: Published = load.answer();
    assert_eq!(published.refused, 0, "all were taken");
    let management = setting.nodes[0].management.clone();
    setting.api.until_metric(&management, "undispatched_events", |count| count == 0.0).await;
    let before: u64 = setting.sink.ask("count");
    let start = Instant::now();
    for (tenant, id) in ids.iter().enumerate() {
        let free = json!({ "rateLimitPerSecond": null });
        setting.api.call("PATCH", &format!("/api/webhooks/{id}"), tenant, Some(&free)).await;
    }
    let done = setting.until_arrived(scale.backlog).await;
    let rate = (scale.backlog - before) as f64 / (done - start).as_secs_f64();
    println!("drain      {rate:7.0} deliveries/s of {} queued", scale.backlog - before);
    json!({ "deliveriesPerSecond": rate, "queued": scale.backlog - before })
}

/// How long after its due time a retry starts, as the log tells.
async fn retries() -> Value {
    const EVENTS: u64 = 100;
    let mut setting = Setting::new(Shape { tenants: 1, ..SHAPE }).await;
    // Nothing listens there.
    let settings = json!({ "retrySchedule": [1, 2] });
    let id = setting.api.create(0, "http://127.0.0.1:1/", settings).await;
    let mut load = Role::start("load");
    load.tell(&setting.plan(EVENTS, Some(200)));
    let _: Published = load.answer();
    let mut late = Vec::new();
    let start = Instant::now();
    while late.len() < 2 * EVENTS as usize {
        assert!(start.elapsed() < DEADLINE, "{} retries were seen", late.len());
        tokio::time::sleep(Duration::from_millis(200)).await;
        late = lateness(&all_rows(&setting.api, &id).await);
    }
    let _: u64 = setting.sink.ask("count");
    late.sort_by(f64::total_cmp);
    let (median, last) = (late[late.len() / 2], late[late.len() - 1]);
    println!(
        "retries    start {median:.0} ms after they are due (median of {}; the latest {last:.0} ms)",
        late.len()
    );
    json!({ "medianMs": median, "maxMs": last })
}

async fn all_rows(api: &Api, id: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    for page in 1..=5 {
        let path = format!("/api/webhooks/{id}/deliveries?limit=100&page={page}");
        rows.extend(api.call("GET", &path, 0, None).await["logs"].as_array().cloned().unwrap_or_default());
    }
    rows
}

/// For each row whose attempt was due at a time that an earlier row named: how much later it was made, in ms.
fn lateness(rows: &[Value]) -> Vec<f64> {
    let time = |value: &Value| salesos_webhooks::domain::Millis::parse_rfc3339(value.as_str()?);
    let due_of = |row: &Value| {
        let number = row["attemptNumber"].as_u64()?.checked_sub(1)?;
        let before = rows.iter().find(|other| {
            other["eventId"] == row["eventId"] && other["attemptNumber"].as_u64() == Some(number)
        });
        time(&before?["nextRetryAt"])
    };
    rows.iter()
        .filter_map(|row| Some(time(&row["createdAt"])?.since(due_of(row)?).as_secs_f64() * 1000.0))
        .collect()
}

async fn nodes(scale: Scale) -> Value {
    let mut results = Vec::new();
    for nodes in [1, 2, 3] {
        let ceiling = bare_ceiling(scale);
        let measured = throughput(scale, Shape { nodes, ..SHAPE }).await;
        results.push(measured.print(&format!("{nodes} nodes"), ceiling));
    }
    json!(results)
}

/// Idle webhooks: memory, start, take-over.
async fn idle(scale: Scale) -> Value {
    let setting = Setting::new(SHAPE).await;
    let resident = |node: &Node| node.process.memory_kib("VmRSS") as f64 / 1024.0;
    let empty = resident(&setting.nodes[0]);
    setting.api.create_idle(scale.idle, &format!("{}/ok", setting.sink_url)).await;
    let filled = resident(&setting.nodes[0]);
    let Setting { redis, mut nodes, api, .. } = setting;
    let second = Node::start(&redis.url, &[("WEBHOOKS_CLUSTER__PARTITIONS", "64")]);
    api.until_metric(&second.management, "partitions_owned", |owned| owned == 32.0).await;
    let first = nodes.remove(0);
    let mut process = first.process;
    process.kill();
    let killed = Instant::now();
    api.until_metric(&second.management, "partitions_owned", |owned| owned == 64.0).await;
    let owned = killed.elapsed().as_secs_f64();
    println!(
        "idle       {} webhooks: {:.1} MiB above an empty node ({empty:.1} MiB); all partitions of a killed node are owned \
         again after {owned:.2} s",
        scale.idle,
        filled - empty
    );
    json!({ "webhooks": scale.idle, "emptyMiB": empty, "aboveMiB": filled - empty, "takeOverSeconds": owned })
}

/// A dead endpoint, one that hangs and one that takes ten seconds, among a hundred.
async fn trouble(scale: Scale) -> Value {
    let mut results = Vec::new();
    for bad in [&[] as &[&str], &["dead", "hang", "slow"]] {
        let mut setting = Setting::new(SHAPE).await;
        for tenant in 0..SHAPE.tenants {
            let url = match bad.get(tenant) {
                Some(&"dead") => "http://127.0.0.1:1/".to_owned(),
                Some(path) => format!("{}/{path}", setting.sink_url),
                None => format!("{}/ok", setting.sink_url),
            };
            setting.api.create(tenant, &url, json!({})).await;
        }
        let good = (SHAPE.tenants - bad.len()) as u64;
        let each = scale.events / SHAPE.tenants as u64;
        let plan = setting.plan(each * SHAPE.tenants as u64, None);
        results.push(setting.measure(&plan, each * good).await);
    }
    let [alone, beside] = &results[..] else { unreachable!("two rounds") };
    // The good ones are fewer beside.
    let ratio = beside.deliveries_per_second / alone.deliveries_per_second;
    println!(
        "trouble    with three bad endpoints among 100: {ratio:.3} of the deliveries/s ({:.0} of {:.0}), p99 {:.1} ms of {:.1}",
        beside.deliveries_per_second,
        alone.deliveries_per_second,
        beside.arrived.times.p99,
        alone.arrived.times.p99
    );
    json!({ "ratio": ratio, "p99Ms": [alone.arrived.times.p99, beside.arrived.times.p99] })
}
