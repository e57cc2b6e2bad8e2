//! What `/metrics` says of a node under way: what waits and why, what was asked and refused, what Redis cost.

use serde_json::{Value, json};

use crate::harness::{Gate, Receiver, Reply, SOON, TestNode, TestRedis, eventually};

fn events(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

async fn value(node: &TestNode, name: &str, labels: &[&str]) -> f64 {
    node.metrics().await.sum(name, labels)
}

async fn becomes(node: &TestNode, name: &str, labels: &[&str], holds: impl Fn(f64) -> bool) -> f64 {
    let what = format!("{name} {labels:?}");
    eventually(&what, SOON, async || Some(value(node, name, labels).await).filter(|value| holds(*value)))
        .await
}

const AGE: &str = "oldest_due_age_seconds";
const BY_NODE: &str = "held_by=\"node\"";
const BY_WEBHOOK: &str = "held_by=\"webhook\"";

#[tokio::test]
async fn what_waits_for_a_webhook_of_its_own_accord_is_told_from_what_waits_for_the_node() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("DELIVERY__MAX_IN_FLIGHT", "1")]).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let gate = Gate::new();
    receiver.script("/slow", &[Reply::status(200).held(&gate)]);
    ann.create(&receiver.url("/slow"), &["lead.*"], &json!({ "maxConcurrency": 1 })).await;
    crm.publish_batch(&events(5)).await;
    receiver.arrived("/slow", 1).await;
    becomes(&node, AGE, &[BY_WEBHOOK], |age| age > 0.0).await;
    becomes(&node, "backlog_deliveries", &[], |count| count == 5.0).await;
    assert_eq!(value(&node, AGE, &[BY_NODE]).await, 0.0, "its concurrency holds it back, nothing else");
    assert_eq!(value(&node, "attempts_in_flight", &[]).await, 1.0);

    // The node may make one attempt at once, and it is under way.
    ann.create(&receiver.url("/quick"), &["quote.*"], &json!({})).await;
    crm.publish("quote.sent", &json!({})).await;
    becomes(&node, AGE, &[BY_NODE], |age| age > 0.0).await;

    gate.open();
    ann.settled(6).await;
    becomes(&node, "backlog_deliveries", &[], |count| count == 0.0).await;
    becomes(&node, AGE, &[], |age| age == 0.0).await;
    assert_eq!(value(&node, "undispatched_events", &[]).await, 0.0);
    assert_eq!(value(&node, "publish_to_first_attempt_seconds_count", &[]).await, 6.0);
    assert_eq!(value(&node, "attempt_duration_seconds_count", &[]).await, 6.0);
}

#[tokio::test]
async fn a_webhook_that_is_inactive_has_a_backlog_and_nothing_due() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let webhook = ann.create(&receiver.url("/"), &["*"], &json!({ "maxConcurrency": 1 })).await;
    crm.publish_batch(&events(4)).await;
    receiver.arrived("/", 1).await;
    becomes(&node, AGE, &[BY_WEBHOOK], |age| age > 0.0).await;
    let id = webhook["id"].as_str().unwrap();
    ann.post_empty(&format!("/api/webhooks/{id}/deactivate")).await.expect(200);
    gate.open();
    becomes(&node, "backlog_deliveries", &[], |count| count == 3.0).await;
    becomes(&node, AGE, &[], |age| age == 0.0).await;
}

#[tokio::test]
async fn publications_and_requests_are_counted_by_what_came_of_them() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["lead.*"], &json!({})).await;
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = node.management().get("/metrics").await.body;

    let event = |id: &str, n: u32| json!({ "type": "lead.created", "id": id, "data": { "n": n } });
    crm.post("/api/events", &event("a", 1)).await.expect(202);
    crm.post("/api/events", &event("a", 1)).await.expect(202);
    crm.post("/api/events", &event("a", 2)).await.error(409);
    crm.post("/api/events", &json!({ "type": "lead.created" })).await.error(400);
    crm.post("/api/events/batch", &json!({ "events": [] })).await.error(400);
    crm.post("/api/api/events", &json!({ "type": "quote.sent", "data": {} })).await.expect(202);
    ann.get("/api/webhooks/wh_nobody_s").await.error(404);
    ann.get("/api/nothing?secret=1").await.error(404);
    ann.settled(1).await;

    for (result, count) in
        [("new", 2.0), ("duplicate", 1.0), ("conflict", 1.0), ("invalid", 2.0), ("full", 0.0)]
    {
        let label = format!("result=\"{result}\"");
        assert_eq!(value(&node, "events_published_total", &[&label]).await, count, "{result}");
    }
    assert_eq!(becomes(&node, "events_dispatched_total", &[], |count| count == 2.0).await, 2.0);
    assert_eq!(value(&node, "events_matched_total", &[]).await, 1.0);
    assert_eq!(value(&node, "deliveries_enqueued_total", &[]).await, 1.0);
    for (route, status, count) in [
        ("/api/events", "202", 3.0),
        ("/api/events", "409", 1.0),
        ("/api/events", "400", 1.0),
        ("/api/events/batch", "400", 1.0),
        ("/api/webhooks/{id}", "404", 1.0),
        ("unmatched", "404", 1.0),
    ] {
        let labels = [format!("route=\"{route}\""), format!("status=\"{status}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(value(&node, "api_requests_total", &labels).await, count, "{route} {status}");
    }
    let published = ["route=\"/api/events\"", "method=\"POST\""];
    assert_eq!(value(&node, "api_request_duration_seconds_count", &published).await, 5.0);
    for call in ["publish", "dispatch", "outcome", "lease_renew", "command"] {
        let label = format!("call=\"{call}\"");
        assert!(value(&node, "redis_call_duration_seconds_count", &[&label]).await > 0.0, "{call}");
    }
    assert!(value(&node, "redis_pool_wait_seconds_count", &[]).await > 0.0, "somebody opened the connection");
    assert_eq!(value(&node, "build_info", &["version=", "revision="]).await, 1.0);
    assert_eq!(value(&node, "partitions", &[]).await, value(&node, "partitions_owned", &[]).await);
    assert!(value(&node, "redis_memory_used_bytes", &[]).await > 0.0);

    let after = node.management().get("/metrics").await.body;
    assert_eq!(series(&before), series(&after), "nothing that happens adds a series");
    // Words of the help may hold a name by chance.
    let samples: Vec<&str> = after.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!samples.is_empty());
    for word in ["wh_", "acme", "ann", "evt_", "secret=1"] {
        assert_eq!(samples.iter().find(|line| line.contains(word)), None, "{word}");
    }
}

#[tokio::test]
async fn a_redis_that_does_not_answer_shows() {
    let mut redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    assert_eq!(value(&node, "ready", &[]).await, 1.0);
    assert_eq!(value(&node, "redis_call_errors_total", &[]).await, 0.0);
    redis.kill();
    becomes(&node, "ready", &[], |ready| ready == 0.0).await;
    becomes(&node, "redis_call_errors_total", &["kind=\"unanswered\""], |count| count > 0.0).await;
    node.publisher("acme").post("/api/events", &events(1)[0]).await.error(503);
    assert_eq!(value(&node, "events_published_total", &["result=\"unavailable\""]).await, 1.0);
    redis.start_again();
    becomes(&node, "ready", &[], |ready| ready == 1.0).await;
}
