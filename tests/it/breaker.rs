//! Contract §8: a webhook that keeps failing is probed less and less instead of being hammered, and nothing of it is lost.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Client, Gate, Receiver, Reply, SOON, TestCluster, TestNode, TestRedis, Token, eventually, text,
};

/// Opens after three failures, for a second, two, four, four and so on. The log that a test sees is not filled with its own
/// requests.
const QUICK: [(&str, &str); 4] = [
    ("TELEMETRY__LOG_LEVEL", "info,salesos_webhooks::requests=off"),
    ("BREAKER__FAILURE_THRESHOLD", "3"),
    ("BREAKER__PAUSE_SECONDS", "1"),
    ("BREAKER__MAX_PAUSE_SECONDS", "4"),
];
/// As that, and the first pause outlasts the test.
const PATIENT: [(&str, &str); 3] = [
    ("BREAKER__FAILURE_THRESHOLD", "3"),
    ("BREAKER__PAUSE_SECONDS", "600"),
    ("BREAKER__MAX_PAUSE_SECONDS", "600"),
];

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

/// Waits until the webhook has that status; gives it.
async fn becomes(user: &Client, id: &str, status: &str) -> Value {
    eventually(status, SOON, async || {
        let webhook = user.webhook(id).await;
        (webhook["status"] == status).then_some(webhook)
    })
    .await
}

async fn breakers(node: &TestNode) -> [f64; 3] {
    let metrics = node.metrics().await;
    ["flowing", "paused", "probing"].map(|state| metrics.sum("breakers", &[&format!("state=\"{state}\"")]))
}

/// Waits until the node's metrics say so, and the cluster tells that as many are held back.
async fn counts_breakers(node: &TestNode, expected: [f64; 3]) {
    eventually(&format!("breakers {expected:?}"), SOON, async || {
        (breakers(node).await == expected).then_some(())
    })
    .await;
    let held_back = expected[1] + expected[2];
    eventually(&format!("{held_back} are held back"), SOON, async || {
        let cluster = node.management().get("/cluster").await.expect(200);
        (cluster["heldBack"].as_f64() == Some(held_back)).then_some(())
    })
    .await;
}

/// The key of a webhook's counters.
fn count_of(redis: &TestRedis, id: &str) -> String {
    let keys: Vec<String> = redis.command(&["KEYS", &format!("sw:*:count:{id}")]);
    keys.into_iter().next().expect("it has counters")
}

#[tokio::test]
async fn an_endpoint_that_fails_is_probed_less_and_less_and_gets_everything_once_it_is_back() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &QUICK).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "maxConcurrency": 1, "retryAttempts": 20, "retryDelaySeconds": 0 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish_batch(&numbered(20)).await;
    // Three failures open it; then come the probes.
    let got = receiver.arrived("/", 6).await;
    for (place, pause) in [(3, 1000), (4, 2000), (5, 4000)] {
        let gap = got[place].at - got[place - 1].at;
        assert!(gap >= Duration::from_millis(pause - 20), "probe {place} after {gap:?}");
    }
    let failing = becomes(&ann, &id, "failing").await;
    assert!(failing["consecutiveFailures"].as_u64() >= Some(5), "{failing}");
    assert_eq!(failing["pendingCount"], 20, "nothing is used up by waiting");
    assert_eq!(
        ann.stats().await["webhooks"],
        json!({ "total": 1, "active": 1, "inactive": 0, "failing": 1 })
    );
    assert_eq!(receiver.most_in_flight("/"), 1);

    receiver.script("/", &[Reply::status(200)]);
    let stats = ann.settled(20).await;
    assert_eq!(stats["deliveries"]["successful"], 20);
    let back = ann.webhook(&id).await;
    assert_eq!(
        [&back["status"], &back["pausedUntil"], &back["consecutiveFailures"]],
        [&json!("active"), &Value::Null, &json!(0)]
    );
    counts_breakers(&node, [1.0, 0.0, 0.0]).await;
    let log = node.log();
    for (told, times) in
        [("breaker opened", 1), ("breaker stays open", 3), ("breaker probes", 4), ("breaker closed", 1)]
    {
        let is_told = |line: &&Value| {
            line["message"].as_str().is_some_and(|message| message.starts_with(told))
                && line["webhook"] == *id
        };
        let count = log.iter().filter(is_told).count();
        assert!((times..=times + 1).contains(&count), "{told}: {count} times");
    }
}

#[tokio::test]
async fn no_row_of_the_log_promises_a_retry_within_the_pause() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &PATIENT).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(500).held(&gate)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "maxConcurrency": 8, "retryAttempts": 5, "retryDelaySeconds": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish_batch(&numbered(30)).await;
    receiver.arrived("/", 8).await;
    gate.open();
    let failing = becomes(&ann, &id, "failing").await;
    let log = eventually("what was in flight has ended", SOON, async || {
        let log = ann.log(&id, "").await;
        (receiver.in_flight("/") == 0 && log.len() == receiver.count("/")).then_some(log)
    })
    .await;
    // Two failures open nothing: what they start still goes out.
    assert!((8..=10).contains(&log.len()), "{} attempts", log.len());
    let until = text(&failing["pausedUntil"]);
    let within = log.iter().filter(|row| text(&row["nextRetryAt"]) < until).count();
    assert!(within <= 2, "{within} of {log:?}");
    counts_breakers(&node, [0.0, 1.0, 0.0]).await;
    // What comes in meanwhile waits.
    node.publisher("acme").publish_batch(&numbered(5)).await;
    eventually("it is queued", SOON, async || (ann.webhook(&id).await["pendingCount"] == 35).then_some(()))
        .await;
    assert_eq!(receiver.count("/"), log.len());

    ann.post_empty(&format!("/api/webhooks/{id}/test")).await.expect(200);
    assert_eq!(ann.webhook(&id).await["status"], "failing", "a test has no effect on it");
    receiver.script("/", &[Reply::status(200)]);
    let reset = ann.post_empty(&format!("/api/webhooks/{id}/reset-failures")).await.expect(200);
    assert_eq!([&reset["status"], &reset["pausedUntil"]], [&json!("active"), &Value::Null]);
    assert_eq!(ann.settled(35).await["deliveries"]["successful"], 35);
    counts_breakers(&node, [1.0, 0.0, 0.0]).await;
}

#[tokio::test]
async fn an_ordered_webhook_keeps_its_order_through_its_pauses() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &QUICK).await;
    let receiver = Receiver::start().await;
    let failing = [500, 500, 500, 500, 500].map(Reply::status);
    receiver.script("/", &[&failing[..], &[Reply::status(200)]].concat());
    let ann = node.user("ann", "acme");
    let settings = json!({ "ordered": true, "retryAttempts": 20, "retryDelaySeconds": 0 });
    ann.create(&receiver.url("/"), &["*"], &settings).await;
    node.publisher("acme").publish_batch(&numbered(10)).await;
    ann.settled(10).await;
    let numbers = |request: &crate::harness::Received| request.json()["data"]["n"].as_u64().unwrap();
    let got: Vec<u64> = receiver.received("/").iter().map(numbers).collect();
    let expected: Vec<u64> = [0; 5].into_iter().chain(0..10).collect();
    assert_eq!(got, expected);
}

#[tokio::test]
async fn the_next_owner_knows_of_a_pause_and_counts_it_and_loses_nothing() {
    let redis = TestRedis::start();
    let settings: Vec<(&'static str, String)> =
        PATIENT.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let url = ("REDIS__URL", redis.url());
    let mut cluster = TestCluster::start_at(&[settings, vec![url]].concat(), 2).await;
    cluster.balanced().await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500)]);
    let ann = cluster.user("ann", "acme");
    let webhook = json!({ "maxConcurrency": 1, "retryAttempts": 9, "retryDelaySeconds": 0 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &webhook).await["id"]);
    let crm = cluster.client(&Token::user("crm").org("acme").role("service"));
    crm.publish_batch(&numbered(10)).await;
    let before = becomes(&ann, &id, "failing").await;
    let key = count_of(&redis, &id);
    let partition: u16 = key.split(['p', '}']).nth(1).unwrap().parse().unwrap();
    let owner = cluster.busiest(|owned| owned == partition).await;
    cluster.kill(owner).await;
    cluster.all_partitions_owned(Duration::from_secs(30)).await;
    let other = cluster.node(1 - owner);
    counts_breakers(other, [0.0, 1.0, 0.0]).await;
    crm.publish_batch(&numbered(5)).await;
    eventually("it is queued", SOON, async || (ann.webhook(&id).await["pendingCount"] == 15).then_some(()))
        .await;
    let after = ann.webhook(&id).await;
    for field in ["status", "pausedUntil", "consecutiveFailures"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!(receiver.count("/"), 3, "nothing is sent in the pause");
    receiver.script("/", &[Reply::status(200)]);
    ann.post_empty(&format!("/api/webhooks/{id}/activate")).await.expect(200);
    assert_eq!(ann.settled(15).await["deliveries"]["successful"], 15);
}

#[tokio::test]
async fn days_of_nothing_but_failure_switch_a_webhook_off_and_activating_it_delivers_what_waited() {
    let redis = TestRedis::start();
    let mut node = TestNode::start_with(&redis, &QUICK).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "maxConcurrency": 1, "retryAttempts": 20, "retryDelaySeconds": 0 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish_batch(&numbered(4)).await;
    becomes(&ann, &id, "failing").await;
    node.kill().await;
    let _: u64 = redis.command(&["HSET", &count_of(&redis, &id), "failing", "1"]);
    node.start_again().await;
    let off = becomes(&ann, &id, "disabled").await;
    assert_eq!(
        [&off["isActive"], &off["disabledReason"]],
        [&json!(false), &json!("every attempt has failed for days")]
    );
    assert_eq!(off["pendingCount"], 4, "nothing is dropped");
    counts_breakers(&node, [0.0, 0.0, 0.0]).await;
    receiver.script("/", &[Reply::status(200)]);
    let on = ann.post_empty(&format!("/api/webhooks/{id}/activate")).await.expect(200);
    assert_eq!(
        [&on["status"], &on["disabledReason"], &on["consecutiveFailures"]],
        [&json!("active"), &Value::Null, &json!(0)]
    );
    assert_eq!(ann.settled(4).await["deliveries"]["successful"], 4);
    let told = |line: &Value| line["message"] == "webhook disabled" && line["reason"] == "failing";
    assert!(node.log().iter().any(told));
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_is_gone_is_delivered_once_it_is_switched_on_again() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(410).held(&gate), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({ "maxConcurrency": 1 })).await["id"]);
    node.publisher("acme").publish_batch(&numbered(5)).await;
    receiver.arrived("/", 1).await;
    eventually("all wait", SOON, async || (ann.webhook(&id).await["pendingCount"] == 5).then_some(())).await;
    gate.open();
    let gone = becomes(&ann, &id, "disabled").await;
    assert!(text(&gone["disabledReason"]).contains("410"), "{gone}");
    eventually("it is counted", SOON, async || {
        let metrics = node.metrics().await;
        let count = |reason| metrics.sum("webhooks_disabled_total", &[reason]);
        ([count("\"gone\""), count("\"failing\"")] == [1.0, 0.0]).then_some(())
    })
    .await;
    node.kill().await;
    node.start_again().await;
    let gone = becomes(&ann, &id, "disabled").await;
    assert_eq!((&gone["isActive"], &gone["pendingCount"]), (&json!(false), &json!(4)), "nothing is dropped");
    assert_eq!(receiver.count("/"), 1);
    ann.post_empty(&format!("/api/webhooks/{id}/activate")).await.expect(200);
    let counts = &ann.settled(5).await["deliveries"];
    assert_eq!((&counts["successful"], &counts["failed"]), (&json!(4), &json!(1)));
}

#[tokio::test]
async fn a_pause_that_the_endpoint_asked_for_outlives_the_node_and_drops_nothing() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(503).header("Retry-After", "600"), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    let settings = json!({ "maxConcurrency": 1, "retrySchedule": [0] });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    let before = eventually("it is paused", SOON, async || {
        Some(ann.webhook(&id).await).filter(|webhook| webhook["pausedUntil"] != Value::Null)
    })
    .await;
    node.kill().await;
    node.start_again().await;
    crm.publish_batch(&numbered(4)).await;
    let after = eventually("all wait", SOON, async || {
        Some(ann.webhook(&id).await).filter(|webhook| webhook["pendingCount"] == 5)
    })
    .await;
    for field in ["status", "pausedUntil", "consecutiveFailures"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    // One that is not paused gets what came later.
    ann.create(&receiver.url("/other"), &["*"], &json!({})).await;
    crm.publish("lead.updated", &json!({})).await;
    receiver.arrived("/other", 1).await;
    assert_eq!(receiver.count("/"), 1, "nothing is sent in the pause");
    ann.post_empty(&format!("/api/webhooks/{id}/reset-failures")).await.expect(200);
    // The delivery that was answered so keeps the time that its row of the log names; the others need not wait.
    receiver.arrived("/", 6).await;
    eventually("one waits", SOON, async || (ann.webhook(&id).await["pendingCount"] == 1).then_some(())).await;
    assert_eq!(ann.stats().await["deliveries"]["failed"], 0);
}
