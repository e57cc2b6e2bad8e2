//! The processes of one measurement, and what a measurement is: publish, wait for the arrivals, read what it took.

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
pub const DEADLINE: Duration = Duration::from_secs(300);
/// What the webhooks of a scenario subscribe to, if they do not say otherwise.
const EVENT: &str = "lead.created";

/// Who gets what.
#[derive(Clone, Copy)]
pub struct Shape {
    pub tenants: usize,
    /// Webhooks of each, all of which get every event.
    pub fan_out: usize,
    pub nodes: usize,
    /// Of Redis: `everysec` or `always`.
    pub fsync: &'static str,
    /// Of each node, beside what all have.
    pub settings: &'static [(&'static str, &'static str)],
}

/// What a scenario has that says nothing else.
pub const SHAPE: Shape = Shape { tenants: 100, fan_out: 1, nodes: 1, fsync: "everysec", settings: &[] };

/// The processes of one measurement.
pub struct Setting {
    pub redis: Redis,
    pub nodes: Vec<Node>,
    pub sink: Role,
    pub sink_url: String,
    pub api: Api,
    tokens: Vec<String>,
}

impl Setting {
    pub async fn new(shape: Shape) -> Self {
        let redis = Redis::start(shape.fsync);
        let nodes: Vec<Node> = (0..shape.nodes).map(|_| Node::start(&redis.url, shape.settings)).collect();
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

    pub async fn with_webhooks(shape: Shape) -> Self {
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

    pub fn plan(&self, events: u64, rate: Option<u32>) -> Plan {
        Plan {
            nodes: self.nodes.iter().map(|node| node.api.clone()).collect(),
            tokens: self.tokens.clone(),
            events,
            connections: CONNECTIONS,
            rate,
            under_way: None,
            bytes: BYTES,
            event_type: EVENT.to_owned(),
        }
    }

    /// The same of another type.
    pub fn plan_of(&self, event_type: &str, events: u64) -> Plan {
        Plan { event_type: event_type.to_owned(), ..self.plan(events, None) }
    }

    /// Publishes and waits until `expected` requests have arrived.
    pub async fn measure(&mut self, plan: &Plan, expected: u64) -> Measured {
        let _: Value = self.sink.ask("forget");
        let mut load = Role::start("load");
        let before = self.cpu();
        let start = Instant::now();
        load.tell(plan);
        // Of events: on average over their webhooks.
        let fan_out = expected / plan.events;
        // Who does not read it must not be told: the pipe would fill.
        let tell = |arrived| plan.under_way.iter().for_each(|_| load.hint(arrived / fan_out));
        let done = self.until_arrived_telling(expected, tell).await;
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

    pub async fn until_arrived(&mut self, expected: u64) -> Instant {
        self.until_arrived_telling(expected, |_| ()).await
    }

    /// Tells how many have arrived so far, again and again.
    async fn until_arrived_telling(&mut self, expected: u64, mut tell: impl FnMut(u64)) -> Instant {
        let start = Instant::now();
        loop {
            let count: u64 = self.sink.ask("count");
            if count >= expected {
                return Instant::now();
            }
            assert!(start.elapsed() < DEADLINE, "{count} of {expected} arrived");
            tell(count);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn cpu(&self) -> Vec<Duration> {
        let all = [&self.redis.process, &self.sink.process];
        all.into_iter().chain(self.nodes.iter().map(|node| &node.process)).map(Process::cpu).collect()
    }
}

/// What one measurement came to.
pub struct Measured {
    pub deliveries_per_second: f64,
    accepted_per_second: f64,
    refused: u64,
    pub published: Published,
    pub arrived: Arrived,
    /// CPU time of all nodes for each delivery, publish included.
    pub node_micros: f64,
    /// The same of Redis.
    pub redis_micros: f64,
    sink_micros: f64,
    node_peak_kib: u64,
}

impl Measured {
    pub fn print(&self, name: &str, ceiling: f64) -> Value {
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
pub fn bare_ceiling(requests: u64) -> f64 {
    let mut sink = Role::start("sink");
    let url = format!("http://{}/ok", sink.line());
    let mut client = Role::start("ceiling");
    client.tell(&ceiling::Plan { url, requests, at_once: CONNECTIONS, bytes: BYTES });
    client.answer()
}
