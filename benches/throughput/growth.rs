//! What grows with what: the cost of a delivery while one thing becomes ten thousand times as much. A table each, and the
//! line through it: what each further one costs.
//!
//! Two of them also tell what Redis holds for each: `used_memory` before and after.

use serde_json::{Value, json};

use crate::load::Published;
use crate::machine::{Redis, Role};
use crate::setting::{Measured, SHAPE, Setting, Shape};

/// What the measured webhooks do not subscribe to.
const OTHER_EVENT: &str = "contact.created";
/// Of what was queued, this part must be seen to wait: the rest was sent meanwhile, at one a second.
const QUEUED: f64 = 0.98;

/// How far to go.
#[derive(Clone, Copy)]
pub struct Sizes {
    /// Events of one measurement, to one webhook.
    pub events: u64,
    pub backlog: [u64; 3],
    pub subscriptions: [u64; 3],
    pub log: [u64; 3],
}

/// One row of a table.
struct Point {
    x: u64,
    deliveries_per_second: f64,
    node_micros: f64,
    redis_micros: f64,
}

impl Point {
    fn new(x: u64, measured: &Measured) -> Self {
        Self {
            x,
            deliveries_per_second: measured.deliveries_per_second,
            node_micros: measured.node_micros,
            redis_micros: measured.redis_micros,
        }
    }
}

/// One event to more and more webhooks.
pub async fn fan_out(sizes: Sizes) -> Value {
    let mut points = Vec::new();
    for fan_out in [1, 3, 10, 30, 100] {
        let mut setting = Setting::with_webhooks(Shape { tenants: 10, fan_out, ..SHAPE }).await;
        let fan_out = fan_out as u64;
        warm_up(&mut setting, fan_out).await;
        let plan = setting.plan((2 * sizes.events / fan_out).max(100), None);
        points.push(Point::new(fan_out, &setting.measure(&plan, plan.events * fan_out).await));
    }
    print("growth_fanout", "webhooks of one event", &points);
    // A delivery bears its share of the event: cost = event / fan-out + delivery.
    let share = |point: &Point| 1.0 / point.x as f64;
    let (node, redis) =
        (line(&points, share, |point| point.node_micros), line(&points, share, |point| point.redis_micros));
    println!(
        "           slope: an event costs node {:.1} redis {:.1} µs, and each webhook of it {:.1} and {:.1} µs more",
        node.slope, redis.slope, node.at_zero, redis.at_zero
    );
    json!({
        "points": table(&points),
        "microsAnEvent": { "node": node.slope, "redis": redis.slope },
        "microsAWebhook": { "node": node.at_zero, "redis": redis.at_zero },
    })
}

/// One webhook, while another of the same partition has a backlog that leaves at one a second.
pub async fn backlog(sizes: Sizes) -> Value {
    const ROOM: &[(&str, &str)] = &[
        ("WEBHOOKS_QUEUE__MAX_PENDING_PER_WEBHOOK", "1000000"),
        ("WEBHOOKS_QUEUE__MAX_UNDISPATCHED_BYTES", "1000000000"),
        ("WEBHOOKS_QUEUE__MAX_PENDING_BYTES_PER_TENANT", "1000000000"),
    ];
    let mut setting = Setting::with_webhooks(Shape { tenants: 1, settings: ROOM, ..SHAPE }).await;
    // The first webhooks of a tenant share a shard.
    let slow = json!({ "events": [OTHER_EVENT], "rateLimitPerSecond": 1 });
    setting.api.create(0, &format!("{}/aside", setting.sink_url), slow).await;
    warm_up(&mut setting, 1).await;
    let (mut points, mut queued, mut bytes) = (Vec::new(), 0, 0.0);
    for x in sizes.backlog {
        if x > queued {
            let before = used_memory(&setting.redis).await;
            queue(&setting, x - queued, x).await;
            bytes = (used_memory(&setting.redis).await - before) / (x - queued) as f64;
            queued = x;
        }
        let plan = setting.plan(sizes.events, None);
        points.push(Point::new(x, &setting.measure(&plan, plan.events).await));
    }
    print("growth_backlog", "queued for another", &points);
    let slopes = print_slopes(&points, "queued");
    println!("           Redis bytes per queued event: {bytes:.0} (of 1 KiB, for one webhook)");
    json!({ "points": table(&points), "microsAThousand": slopes, "redisBytesPerQueuedEvent": bytes })
}

/// Publishes what waits until `in_all` deliveries do.
async fn queue(setting: &Setting, events: u64, in_all: u64) {
    let mut load = Role::start("load");
    load.tell(&setting.plan_of(OTHER_EVENT, events));
    let published: Published = load.answer();
    assert_eq!(published.refused, 0, "all were taken");
    let management = &setting.nodes[0].management;
    let least = in_all as f64 * QUEUED;
    setting.api.until_metric(management, "backlog_deliveries", |count| count >= least).await;
    setting.api.until_metric(management, "undispatched_events", |count| count == 0.0).await;
}

/// A webhook for each tenant, among more and more that subscribe to something else: those of other tenants, and those of
/// the same ones. The latter spread a tenant over up to `cluster.shards_per_tenant` partitions, each of which gets its
/// events: what that costs ends there, so the line through it says little.
pub async fn subscriptions(sizes: Sizes) -> Value {
    /// Where the other tenants' numbers begin.
    const OTHERS: usize = SHAPE.tenants;
    let others = among(sizes, "webhooks of other tenants", |number| OTHERS + number % OTHERS).await;
    let same = among(sizes, "webhooks of the same tenants", |number| number % SHAPE.tenants).await;
    json!({ "ofOtherTenants": others, "ofTheSameTenants": same })
}

async fn among(sizes: Sizes, whose: &str, tenant_of: impl Fn(usize) -> usize) -> Value {
    const ROOM: &[(&str, &str)] = &[("WEBHOOKS_LIMITS__WEBHOOKS_PER_USER", "10000")];
    let mut setting = Setting::with_webhooks(Shape { settings: ROOM, ..SHAPE }).await;
    let settings = json!({ "events": [OTHER_EVENT] });
    let (mut points, mut made) = (Vec::new(), 0);
    for x in sizes.subscriptions {
        let url = format!("{}/aside", setting.sink_url);
        setting.api.create_many((x - made) as usize, &tenant_of, &url, &settings).await;
        made = x;
        warm_up(&mut setting, 1).await;
        let plan = setting.plan(sizes.events, None);
        points.push(Point::new(x, &setting.measure(&plan, plan.events).await));
    }
    print("growth_subscriptions", whose, &points);
    let slopes = print_slopes(&points, "webhooks");
    json!({ "points": table(&points), "microsAThousand": slopes })
}

/// One webhook, whose log grows.
pub async fn log(sizes: Sizes) -> Value {
    const ROOM: &[(&str, &str)] = &[("WEBHOOKS_LOG__MAX_ATTEMPTS", "1000000")];
    let mut setting = Setting::with_webhooks(Shape { tenants: 1, settings: ROOM, ..SHAPE }).await;
    warm_up(&mut setting, 1).await;
    // Nothing is decided by the log, so it may be emptied behind the node's back.
    delete_log(&setting.redis).await;
    let before = used_memory(&setting.redis).await;
    let (mut points, mut rows) = (Vec::new(), 0);
    for x in sizes.log {
        if x > rows {
            let fill = setting.plan(x - rows, None);
            setting.measure(&fill, fill.events).await;
            rows = x;
        }
        let plan = setting.plan(sizes.events, None);
        points.push(Point::new(x, &setting.measure(&plan, plan.events).await));
        rows += sizes.events;
    }
    print("growth_log", "rows, at the beginning", &points);
    let slopes = print_slopes(&points, "rows");
    let management = &setting.nodes[0].management;
    setting.api.until_metric(management, "backlog_deliveries", |count| count == 0.0).await;
    let filled = used_memory(&setting.redis).await;
    let deleted = delete_log(&setting.redis).await as f64;
    let empty = used_memory(&setting.redis).await;
    let (row, event) = ((filled - empty) / deleted, (empty - before) / deleted);
    println!(
        "           Redis bytes per log row: {row:.0}, and {event:.0} for the event of 1 KiB that it shows, while that is kept"
    );
    json!({ "points": table(&points), "microsAThousand": slopes, "redisBytesPerLogRow": row, "redisBytesPerKeptEvent": event })
}

async fn warm_up(setting: &mut Setting, fan_out: u64) {
    let plan = setting.plan((500 / fan_out).max(20), None);
    setting.measure(&plan, plan.events * fan_out).await;
}

async fn used_memory(redis: &Redis) -> f64 {
    let info: String = redis.query(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok());
    used.expect("it says so")
}

/// Deletes the log of the only webhook; how many rows it had.
async fn delete_log(redis: &Redis) -> u64 {
    let keys: Vec<String> = redis.query(&["KEYS", "*:log:*"]).await;
    let [key] = &keys[..] else { unreachable!("one webhook has one log") };
    let rows = redis.query(&["XLEN", key]).await;
    let _: u64 = redis.query(&["DEL", key]).await;
    rows
}

fn print(name: &str, what: &str, points: &[Point]) {
    println!("{name}: {what:>28}  deliveries/s  node µs  redis µs");
    for Point { x, deliveries_per_second, node_micros, redis_micros } in points {
        println!("{x:44} {deliveries_per_second:13.0} {node_micros:8.1} {redis_micros:9.1}");
    }
}

fn table(points: &[Point]) -> Value {
    let row = |point: &Point| {
        json!({
            "x": point.x,
            "deliveriesPerSecond": point.deliveries_per_second,
            "cpuMicros": { "node": point.node_micros, "redis": point.redis_micros },
        })
    };
    points.iter().map(row).collect()
}

/// What a delivery costs more for each further thousand of `what`.
fn print_slopes(points: &[Point], what: &str) -> Value {
    let thousands = |point: &Point| point.x as f64 / 1000.0;
    let node = line(points, thousands, |point| point.node_micros).slope;
    let redis = line(points, thousands, |point| point.redis_micros).slope;
    println!(
        "           slope: node {node:+.3} redis {redis:+.3} µs a delivery for each further 1,000 {what}"
    );
    json!({ "node": node, "redis": redis })
}

/// A straight line.
struct Line {
    at_zero: f64,
    slope: f64,
}

/// The line that lies closest to the points (least squares).
fn line(points: &[Point], x: impl Fn(&Point) -> f64, y: impl Fn(&Point) -> f64) -> Line {
    let mean = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
    let (mean_x, mean_y) = (mean(&x), mean(&y));
    let together: f64 = points.iter().map(|point| (x(point) - mean_x) * (y(point) - mean_y)).sum();
    let alone: f64 = points.iter().map(|point| (x(point) - mean_x).powi(2)).sum();
    let slope = together / alone;
    Line { at_zero: mean_y - slope * mean_x, slope }
}
