//! Contract §5: how fast, how many at once, in which order; and that one webhook's trouble is its own.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Gate, Received, Receiver, Reply, SOON, TestCluster, TestNode, TestRedis, eventually, text,
};

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

fn numbers(requests: &[Received]) -> Vec<u64> {
    requests.iter().map(|request| request.json()["data"]["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn max_concurrency_is_reached_and_never_exceeded() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    for (path, most) in [("/3", 3), ("/1", 1)] {
        receiver.script(path, &[Reply::status(200).held(&gate)]);
        ann.create(&receiver.url(path), &["*"], &json!({ "maxConcurrency": most })).await;
    }
    node.publisher("acme").publish_batch(&numbered(60)).await;
    for (path, most) in [("/3", 3), ("/1", 1)] {
        eventually(path, SOON, async || (receiver.in_flight(path) == most).then_some(())).await;
    }
    gate.let_pass(20);
    receiver.arrived("/3", 10).await;
    gate.open();
    ann.settled(120).await;
    assert_eq!((receiver.most_in_flight("/3"), receiver.most_in_flight("/1")), (3, 1));
    assert_eq!((receiver.count("/3"), receiver.count("/1")), (60, 60));
}

#[tokio::test]
async fn an_ordered_webhook_gets_one_at_a_time_in_publish_order_and_a_failing_head_holds_the_rest() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script_each_event("/", &[Reply::status(500), Reply::status(200)]);
    ann.create(&receiver.url("/"), &["*"], &json!({ "ordered": true, "retrySchedule": [0, 0] })).await;
    let crm = node.publisher("acme");
    crm.publish_batch(&numbered(20)).await;
    for n in 20..40 {
        crm.publish("lead.created", &json!({ "n": n })).await;
    }
    ann.settled(40).await;
    let expected: Vec<u64> = (0..40).flat_map(|n| [n, n]).collect();
    assert_eq!(numbers(&receiver.received("/")), expected);
    assert_eq!(receiver.most_in_flight("/"), 1);
}

#[tokio::test]
async fn an_ordered_webhook_goes_on_in_order_after_the_node_was_killed() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    ann.create(&receiver.url("/"), &["*"], &json!({ "ordered": true })).await;
    node.publisher("acme").publish_batch(&numbered(30)).await;
    gate.let_pass(10);
    receiver.arrived("/", 11).await;
    node.kill().await;
    gate.open();
    node.start_again().await;
    ann.settled(30).await;
    let mut got = numbers(&receiver.received("/"));
    assert!(got.is_sorted(), "{got:?}");
    assert!(got.len() <= 31, "only what was in flight is repeated: {got:?}");
    got.dedup();
    assert_eq!(got, (0..30).collect::<Vec<_>>());
}

/// What a node publishes into a partition of its own it does not read back; what lies between it must.
#[tokio::test]
async fn order_holds_whichever_node_stores_the_events_and_however() {
    const EVENTS: u64 = 400;
    let redis = TestRedis::start();
    let cluster = TestCluster::start(&redis, 2).await;
    let receiver = Receiver::start().await;
    let ann = cluster.node(0).user("ann", "acme");
    let webhook = ann.create(&receiver.url("/"), &["*"], &json!({ "ordered": true })).await;
    let webhook = format!("/api/webhooks/{}", text(&webhook["id"]));
    let crm = [0, 1].map(|n| cluster.node(n).publisher("acme"));
    for n in 0..EVENTS {
        // Runs of one node, so that its own follow each other, with events of the other and ones that may be repeated between.
        let by = &crm[usize::from(n % 7 == 3 || n / 50 % 2 == 1)];
        let event = json!({ "type": "lead.created", "data": { "n": n } });
        let call = by.call(reqwest::Method::POST, "/api/events").json(&event);
        let call = if n % 5 == 4 { call.header("idempotency-key", &n.to_string()) } else { call };
        call.send().await.expect(202);
        if n % 100 == 60 {
            ann.patch(&webhook, &json!({ "name": format!("n{n}") })).await.expect(200);
        }
    }
    ann.settled(EVENTS).await;
    assert_eq!(numbers(&receiver.received("/")), (0..EVENTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_was_passed_by_is_delivered_all_the_same() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    crm.publish_batch(&numbered(20)).await;
    receiver.arrived("/", 20).await;
    // As a node would that does not count what it stores.
    let stream: Vec<String> = redis.command(&["KEYS", "sw:*:lease"]);
    let has_webhook = |lease: &&String| {
        let webhooks = lease.replace(":lease", ":webhooks");
        redis.command::<u64>(&["EXISTS", &webhooks]) == 1
    };
    let stream = stream.iter().find(has_webhook).expect("a partition").replace(":lease", ":events");
    let mut next = 20;
    for _ in 0..20 {
        let body = format!("{{\"data\":{{\"n\":{next}}}}}");
        let id = format!("evt_other{next}");
        let words =
            ["XADD", &stream, "*", "k", "event", "e", &id, "t", "lead.created", "n", "org:acme", "b", &body];
        redis.command::<String>(&words);
        crm.publish("lead.created", &json!({ "n": next + 1 })).await;
        crm.publish("lead.created", &json!({ "n": next + 2 })).await;
        next += 3;
    }
    let all: BTreeSet<u64> = (0..next).collect();
    eventually("all of them", SOON, async || {
        let got: BTreeSet<u64> = numbers(&receiver.received("/")).into_iter().collect();
        (got == all).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rate_limit_bounds_every_second() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({ "rateLimitPerSecond": 5 })).await;
    ann.create(&receiver.url("/free"), &["*"], &json!({})).await;
    node.publisher("acme").publish_batch(&numbered(16)).await;
    receiver.arrived("/free", 16).await;
    assert!(receiver.count("/") < 16, "the neighbour is not held back");
    let got = receiver.arrived("/", 16).await;
    for (first, request) in got.iter().enumerate() {
        let second = got[first..].iter().filter(|later| later.at - request.at < Duration::from_secs(1));
        let count = second.count();
        // The limit, its burst of one, and as much again for a machine that stutters.
        assert!(count <= 8, "{count} within a second");
    }
    assert!(got[15].at - got[0].at >= Duration::from_millis(2500));
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/hangs", &[Reply::status(200).held(&gate)]);
    ann.create(&receiver.url("/hangs"), &["*"], &json!({})).await;
    ann.create(&receiver.url("/healthy"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    crm.publish_batch(&numbered(300)).await;
    let got = receiver.arrived("/healthy", 300).await;
    assert_eq!(got.len(), 300);
    assert_eq!(receiver.count("/hangs"), 16, "its maxConcurrency, all of them waiting");
    crm.publish("lead.updated", &json!({ "n": 300 })).await;
    receiver.arrived("/healthy", 301).await;
    gate.open();
    ann.settled(602).await;
    assert_eq!(receiver.count("/hangs"), 301);
}
