//! A thousand events to three webhooks: one answers, one fails twice and then works, one is dead. Every count adds up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::{Client, MOST_IN_FLIGHT, NEVER_LEFT_ALONE, Receiver, Reply, TestNode, TestRedis, text};

const EVENTS: usize = 1000;

/// The three webhooks' ids, in the order good, flaky, dead.
async fn subscribe(ann: &Client, receiver: &Receiver) -> [String; 3] {
    receiver.script_each_event("/flaky", &[Reply::status(500), Reply::status(503), Reply::status(200)]);
    receiver.script("/dead", &[Reply::status(500)]);
    let mut ids = Vec::new();
    for (path, schedule) in [("/good", json!([0])), ("/flaky", json!([0, 0])), ("/dead", json!([0]))] {
        let settings = json!({ "retrySchedule": schedule });
        ids.push(text(&ann.create(&receiver.url(path), &["lead.*", "quote.*"], &settings).await["id"]));
    }
    ids.try_into().expect("three")
}

async fn publish(crm: &Client, range: std::ops::Range<usize>) -> BTreeSet<String> {
    let events: Vec<Value> = range
        .map(
            |n| json!({ "type": if n % 4 == 0 { "quote.sent" } else { "lead.created" }, "data": { "n": n } }),
        )
        .collect();
    crm.publish_batch(&events).await.into_iter().collect()
}

fn counts(webhook: &Value) -> [u64; 4] {
    ["deliveryCount", "successCount", "failureCount", "pendingCount"]
        .map(|name| webhook[name].as_u64().unwrap())
}

fn arrived(receiver: &Receiver, path: &str) -> BTreeSet<String> {
    receiver.received(path).iter().map(|request| request.event_id().to_owned()).collect()
}

/// Successes and failures of each event in a log.
fn by_event(log: &[Value]) -> BTreeMap<String, (u64, u64)> {
    let mut events = BTreeMap::new();
    for row in log {
        let (good, bad): &mut (u64, u64) = events.entry(text(&row["eventId"])).or_default();
        *(if row["success"] == true { good } else { bad }) += 1;
    }
    events
}

#[tokio::test]
async fn every_count_adds_up_in_the_log_the_counters_the_statistics_and_the_metrics() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let ids = subscribe(&ann, &receiver).await;
    let events = publish(&crm, 0..EVENTS).await;
    let stats = ann.settled(3000).await;

    // Attempts: 1000 + 3 × 1000 + 2 × 1000.
    let expected = [("/good", 1000, 1000, 0), ("/flaky", 3000, 1000, 2000), ("/dead", 2000, 0, 2000)];
    for (id, (path, attempts, good, bad)) in ids.iter().zip(expected) {
        assert_eq!(receiver.count(path) as u64, attempts, "{path}");
        assert_eq!(arrived(&receiver, path), events, "{path}");
        assert_eq!(counts(&ann.webhook(id).await), [attempts, good, bad, 0], "{path}");
        let log = ann.log(id, "").await;
        assert_eq!(log.len() as u64, attempts, "{path}");
        assert_eq!(log.iter().filter(|row| row["success"] == true).count() as u64, good, "{path}");
    }
    assert_eq!(
        stats["deliveries"],
        json!({ "total": 3000, "successful": 2000, "failed": 1000, "pending": 0 })
    );
    assert_eq!(stats["deliveriesLast24h"], 6000);
    let rate = stats["last7dSuccessRate"].as_f64().unwrap();
    assert!((rate - 100.0 / 3.0).abs() < 0.1, "{rate}");
    let timeline = stats["timeline"].as_array().unwrap();
    let sum = |name: &str| timeline.iter().filter_map(|hour| hour[name].as_u64()).sum::<u64>();
    assert_eq!((sum("successful"), sum("failed")), (2000, 4000));

    let metrics = node.metrics().await;
    for (name, label, value) in [
        ("events_published_total", "result=\"new\"", 1000.0),
        ("attempts_total", "outcome=\"success\"", 2000.0),
        ("attempts_total", "outcome=\"http_status\"", 4000.0),
        ("deliveries_ended_total", "result=\"delivered\"", 2000.0),
        ("deliveries_ended_total", "result=\"dead\"", 1000.0),
    ] {
        assert!((metrics.sum(name, &[label]) - value).abs() < 0.5, "{name} {label}");
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_changes_nothing_but_duplicates_of_what_was_in_flight() {
    let redis = TestRedis::start();
    let mut node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let ids = subscribe(&ann, &receiver).await;
    let mut events = publish(&crm, 0..EVENTS / 2).await;
    receiver.arrived("/good", 100).await;
    node.kill().await;
    node.start_again().await;
    events.append(&mut publish(&crm, EVENTS / 2..EVENTS).await);
    let stats = ann.settled(3000).await;
    assert_eq!(
        stats["deliveries"],
        json!({ "total": 3000, "successful": 2000, "failed": 1000, "pending": 0 })
    );

    let mut attempts = 0;
    for (id, path) in ids.iter().zip(["/good", "/flaky", "/dead"]) {
        assert_eq!(arrived(&receiver, path), events, "{path}");
        let log = ann.log(id, "").await;
        let webhook = ann.webhook(id).await;
        assert_eq!(counts(&webhook)[0], log.len() as u64, "{path}");
        assert_eq!(counts(&webhook)[3], 0, "{path}");
        attempts += log.len();
        for (event, (good, bad)) in by_event(&log) {
            let fits = match path {
                "/good" => (good, bad) == (1, 0),
                // An attempt that was sent and not recorded has moved the endpoint on.
                "/flaky" => good == 1 && bad <= 2,
                _ => (good, bad) == (0, 2),
            };
            assert!(fits, "{path} {event}: {good} good, {bad} bad");
        }
        let duplicates = receiver.count(path) - log.len();
        println!("{path}: {} in the log, {duplicates} requests besides", log.len());
        assert!(duplicates <= MOST_IN_FLIGHT, "{path}: {duplicates} duplicates");
    }
    assert_eq!(stats["deliveriesLast24h"], attempts);
}
