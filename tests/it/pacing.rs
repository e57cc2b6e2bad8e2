//! Contract §5: how fast, how many at once, in which order; and that one webhook's trouble is its own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Gate, Received, Receiver, Reply, SOON, TestNode, TestRedis, eventually};

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
