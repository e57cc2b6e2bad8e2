//! The scenarios, each of which starts its own Redis, nodes and sink, measures, and prints its line.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::api::Api;
use crate::curve::{self, extent};
use crate::growth;
use crate::idle::idle;
use crate::load::{Plan, Published};
use crate::machine::Role;
use crate::picture::{self, Axis, Chart, Series, linear_ticks};
use crate::rounds::repeat;
use crate::setting::{DEADLINE, Measured, SHAPE, Setting, Shape, bare_ceiling};

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Scale {
    events: u64,
    /// Of the scenarios whose figures are compared with others.
    rounds: usize,
    /// Of the rest.
    repeats: usize,
    backlog: u64,
    idle: usize,
    seconds: u32,
    growth: growth::Sizes,
}

/// What the figures of the documentation come from.
pub const FULL: Scale = Scale {
    events: 150_000,
    rounds: 5,
    repeats: 1,
    backlog: 100_000,
    idle: 100_000,
    seconds: 30,
    growth: growth::Sizes {
        events: 20_000,
        backlog: [0, 10_000, 100_000],
        subscriptions: [100, 10_000, 100_000],
        log: [0, 20_000, 100_000],
    },
};
/// To see whether it works.
pub const QUICK: Scale = Scale {
    events: 15_000,
    rounds: 1,
    repeats: 1,
    backlog: 10_000,
    idle: 10_000,
    seconds: 5,
    growth: growth::Sizes {
        events: 4_000,
        backlog: [0, 1_000, 10_000],
        subscriptions: [100, 1_000, 10_000],
        log: [0, 4_000, 10_000],
    },
};

impl Scale {
    /// As many rounds of every scenario that takes rounds.
    pub fn with_rounds(self, rounds: usize) -> Self {
        Self { rounds, repeats: rounds, ..self }
    }
}

/// Events under way at once where the highest rate is measured that the deliveries keep up with.
const UNDER_WAY: u64 = 1_024;

const NAMES: [&str; 16] = [
    "fanout1",
    "fanout10",
    "one_tenant",
    "always",
    "unloaded",
    "steady",
    "load",
    "drain",
    "retries",
    "nodes",
    "idle",
    "trouble",
    "growth_fanout",
    "growth_backlog",
    "growth_subscriptions",
    "growth_log",
];

/// Runs the scenarios of these names; none = all.
pub async fn run(scale: Scale, only: &[String]) -> Vec<(String, Value)> {
    let unknown = only.iter().find(|wanted| !NAMES.contains(&wanted.as_str()));
    assert!(unknown.is_none(), "there is no scenario {unknown:?}");
    let mut results = Vec::new();
    for name in NAMES {
        if only.is_empty() || only.iter().any(|wanted| wanted == name) {
            results.push((name.to_owned(), scenario(scale, name).await));
        }
    }
    results
}

async fn scenario(scale: Scale, name: &str) -> Value {
    let Scale { rounds, repeats, seconds, growth, .. } = scale;
    let shaped = async |shape: Shape| {
        repeat(rounds, name, "deliveriesPerSecond", async || beside_ceiling(scale, shape, name).await).await
    };
    let at_rate = async |rate: u32, events: u64| {
        repeat(repeats, name, "arrivalMs.p50", async || latency(rate, events, name).await).await
    };
    match name {
        "fanout1" => shaped(SHAPE).await,
        "fanout10" => shaped(Shape { fan_out: 10, ..SHAPE }).await,
        "one_tenant" => shaped(Shape { tenants: 1, fan_out: 16, ..SHAPE }).await,
        "always" => repeat(rounds, name, "ratio", async || always(scale).await).await,
        "unloaded" => at_rate(20, 20 * u64::from(seconds)).await,
        "steady" => at_rate(10_000, 10_000 * u64::from(seconds) / 3).await,
        "load" => curve::load((seconds / 5).max(2)).await,
        "drain" => repeat(repeats, name, "deliveriesPerSecond", async || drain(scale).await).await,
        "retries" => repeat(repeats, name, "medianMs", retries).await,
        "nodes" => nodes(scale).await,
        "idle" => repeat(repeats, name, "takeOverSeconds", async || idle(scale.idle).await).await,
        "trouble" => repeat(repeats, name, "ratio", async || trouble(scale).await).await,
        "growth_fanout" => growth::fan_out(growth).await,
        "growth_backlog" => growth::backlog(growth).await,
        "growth_subscriptions" => growth::subscriptions(growth).await,
        _ => growth::log(growth).await,
    }
}

async fn throughput(scale: Scale, shape: Shape) -> Measured {
    let mut setting = Setting::with_webhooks(shape).await;
    let fan_out = shape.fan_out as u64;
    let events = scale.events / fan_out.min(5);
    let warm_up = setting.plan(events / 20, None);
    setting.measure(&warm_up, warm_up.events * fan_out).await;
    let plan = Plan { under_way: Some(UNDER_WAY), ..setting.plan(events, None) };
    setting.measure(&plan, events * fan_out).await
}

/// As the name's scenario says, beside the bare ceiling.
async fn beside_ceiling(scale: Scale, shape: Shape, name: &str) -> Value {
    let ceiling = bare_ceiling(scale.events);
    throughput(scale, shape).await.print(name, ceiling)
}

/// Redis told to write each change to disk before it answers, against once a second.
async fn always(scale: Scale) -> Value {
    let every_second = throughput(scale, SHAPE).await.deliveries_per_second;
    let always = throughput(scale, Shape { fsync: "always", ..SHAPE }).await.deliveries_per_second;
    let ratio = always / every_second;
    println!("always     {always:7.0} deliveries/s = {ratio:4.2} of everysec {every_second:6.0}");
    json!({ "ratio": ratio, "deliveriesPerSecond": { "always": always, "everysec": every_second } })
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
    /// Else it would hold back what is due.
    const NO_BREAKER: &[(&str, &str)] = &[("WEBHOOKS_BREAKER__FAILURE_THRESHOLD", "1000")];
    let mut setting = Setting::new(Shape { tenants: 1, settings: NO_BREAKER, ..SHAPE }).await;
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

/// One node, two, three, all on the same cores.
async fn nodes(scale: Scale) -> Value {
    let mut results = Vec::new();
    for nodes in [1, 2, 3] {
        let name = format!("{nodes} nodes");
        let round = async || beside_ceiling(scale, Shape { nodes, ..SHAPE }, &name).await;
        results.push(repeat(scale.repeats, &name, "deliveriesPerSecond", round).await);
    }
    json!(results)
}

/// Deliveries a second against the number of nodes, of what the scenario `nodes` answered.
pub fn chart_of_nodes(nodes: &Value) -> Chart {
    let of = |figure: &str| {
        let results = nodes.as_array().into_iter().flatten().zip(1_u32..);
        results
            .filter_map(|(result, count)| Some((f64::from(count), result[figure].as_f64()?)))
            .collect::<Vec<(f64, f64)>>()
    };
    let (reached, ceiling) = (of("deliveriesPerSecond"), of("ceiling"));
    let (_, most) = extent(reached.iter().chain(&ceiling).map(|(_, y)| *y));
    Chart {
        title: "Throughput by nodes, on the same cores",
        x: Axis { label: "nodes", scale: picture::Scale::Linear, ticks: vec![1.0, 2.0, 3.0] },
        y: Axis { label: "deliveries a second", scale: picture::Scale::Linear, ticks: linear_ticks(most) },
        series: vec![
            Series { name: "bare ceiling", color: "#6e7781", dashes: "6 4", points: ceiling },
            Series { name: "the service", color: "#0b5cad", dashes: "none", points: reached },
        ],
    }
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
    let [p99_alone, p99_beside] = [alone, beside].map(|measured| measured.arrived.times.p99);
    let p99_ratio = p99_beside / p99_alone;
    println!(
        "trouble    with three bad endpoints among 100: {ratio:.3} of the deliveries/s ({:.0} of {:.0}), p99 {p99_beside:.1} \
         ms of {p99_alone:.1} = {p99_ratio:.2}",
        beside.deliveries_per_second, alone.deliveries_per_second,
    );
    json!({ "ratio": ratio, "p99Ms": [p99_alone, p99_beside], "p99Ratio": p99_ratio })
}
