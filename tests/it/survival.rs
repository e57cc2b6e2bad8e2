//! What a restart, a kill and an orderly stop leave behind: everything.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gate, MOST_IN_FLIGHT, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

/// `server.drain_seconds` of the default settings, and some for a slow machine.
const DRAIN: Duration = Duration::from_secs(30);

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

fn distinct(receiver: &Receiver, path: &str) -> usize {
    let ids: BTreeSet<String> =
        receiver.received(path).iter().map(|request| request.event_id().to_owned()).collect();
    ids.len()
}

#[tokio::test]
async fn a_backlog_survives_a_kill_and_nothing_is_lost() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let crm = node.publisher("acme");
    crm.publish_batch(&numbered(500)).await;
    gate.let_pass(100);
    receiver.arrived("/", 110).await;
    node.kill().await;
    gate.open();
    node.start_again().await;
    crm.publish_batch(&numbered(100)).await;
    let stats = ann.settled(600).await;
    assert_eq!(stats["deliveries"], json!({ "total": 600, "successful": 600, "failed": 0, "pending": 0 }));
    assert_eq!(distinct(&receiver, "/"), 600);
    assert!(receiver.count("/") <= 600 + MOST_IN_FLIGHT, "{}", receiver.count("/"));
    let webhook = ann.webhook(&id).await;
    assert_eq!((&webhook["successCount"], &webhook["pendingCount"]), (&json!(600), &json!(0)));
    assert_eq!(ann.log(&id, "").await.len(), 600, "each is recorded once");
}

#[tokio::test]
async fn what_was_accepted_just_before_a_kill_is_delivered_by_the_next() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    let mut accepted = BTreeSet::new();
    for round in 0..2 {
        for n in 0..20 {
            accepted.insert(crm.publish("lead.created", &json!({ "round": round, "n": n })).await);
        }
        node.kill().await;
        node.start_again().await;
    }
    ann.settled(40).await;
    let arrived: BTreeSet<String> =
        receiver.received("/").iter().map(|request| request.event_id().to_owned()).collect();
    assert_eq!(arrived, accepted);
}

#[tokio::test]
async fn with_a_private_redis_a_kill_loses_nothing_either() {
    let mut node = TestNode::start_with_private_redis().await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    node.publisher("acme").publish_batch(&numbered(50)).await;
    receiver.arrived("/", 16).await;
    let first = node.private_redis();
    node.kill().await;
    gate.open();
    eventually("its Redis ends with it", SOON, async || (!first.is_running()).then_some(())).await;
    node.start_again().await;
    ann.settled(50).await;
    assert_eq!(distinct(&receiver, "/"), 50);
    assert_eq!(ann.log(&id, "").await.len(), 50);

    let second = node.private_redis();
    node.terminate();
    assert_eq!(node.ended(DRAIN).await.code(), Some(0));
    assert!(!second.is_running(), "it stops its Redis with itself");
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_ends_well() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let settings = json!({ "maxConcurrency": 2 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    node.publisher("acme").publish_batch(&numbered(10)).await;
    eventually("two are in flight", SOON, async || (receiver.in_flight("/") == 2).then_some(())).await;
    node.terminate();
    let management = node.management();
    eventually("it is not ready any more", SOON, async || {
        let answer = management.call(Method::GET, "/health/ready").try_send().await;
        answer.map_or(true, |answer| answer.status == 503).then_some(())
    })
    .await;
    gate.open();
    assert_eq!(node.ended(DRAIN).await.code(), Some(0));
    let sent = receiver.count("/");
    assert!(sent < 10, "it starts nothing new: {sent}");
    node.start_again().await;
    ann.settled(10).await;
    assert_eq!(receiver.count("/"), 10, "what was in flight was recorded, so nothing is repeated");
    assert_eq!(ann.log(&id, "").await.len(), 10);
}

#[tokio::test]
async fn sigterm_does_not_wait_for_ever_for_an_endpoint_that_hangs() {
    let redis = TestRedis::start();
    let mut node = TestNode::start_with(&redis, &[("CLUSTER__HANDOVER_SECONDS", "1")]).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::hang(), Reply::status(200)]);
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let event = node.publisher("acme").publish("lead.created", &json!({})).await;
    receiver.arrived("/", 1).await;
    let start = Instant::now();
    node.terminate();
    assert_eq!(node.ended(DRAIN).await.code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    node.start_again().await;
    ann.settled(1).await;
    let got = receiver.received("/");
    assert_eq!((got.len(), got[1].event_id()), (2, event.as_str()));
}

/// The contract's word, with nothing for a slow machine: the node itself keeps it.
const DRAIN_SECONDS: Duration = Duration::from_secs(25);

#[tokio::test]
async fn sigterm_ends_well_and_in_time_although_redis_hangs() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    node.publisher("acme").publish_batch(&numbered(40)).await;
    eventually("attempts are in flight", SOON, async || (receiver.in_flight("/") == 16).then_some(())).await;
    redis.freeze();
    // What has ended cannot be recorded.
    gate.open();
    let asked = ann.call(Method::GET, "/api/webhooks").try_send();
    let start = Instant::now();
    node.terminate();
    let (status, _) = tokio::join!(node.ended(DRAIN), asked);
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() < DRAIN_SECONDS, "{:?}", start.elapsed());
    redis.thaw();
    node.start_again().await;
    ann.settled(40).await;
    assert_eq!(distinct(&receiver, "/"), 40);
    assert_eq!(ann.log(&id, "").await.len(), 40, "each is recorded once");
}

#[tokio::test]
async fn sigterm_ends_well_and_in_time_although_the_private_redis_hangs() {
    let mut node = TestNode::start_with_private_redis().await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    node.publisher("acme").publish("lead.created", &json!({})).await;
    ann.settled(1).await;
    let private = node.private_redis();
    private.signal("STOP");
    let start = Instant::now();
    node.terminate();
    assert_eq!(node.ended(DRAIN).await.code(), Some(0));
    assert!(start.elapsed() < DRAIN_SECONDS, "{:?}", start.elapsed());
    assert!(!private.is_running(), "it does not outlive its node");
    node.start_again().await;
    ann.settled(1).await;
}

#[tokio::test]
async fn a_private_redis_that_is_killed_is_started_again_and_nothing_is_lost() {
    let mut node = TestNode::start_with_private_redis().await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    node.publisher("acme").publish_batch(&numbered(40)).await;
    receiver.arrived("/", 16).await;
    let first = node.private_redis();
    first.signal("KILL");
    gate.open();
    // A worker's first call over a connection that broke is a 503.
    eventually("every delivery has ended", DRAIN, async || {
        let stats = ann.get("/api/webhooks/stats").await;
        (stats.status == 200 && stats.expect(200)["deliveries"]["successful"] == 40).then_some(())
    })
    .await;
    assert_eq!(distinct(&receiver, "/"), 40);
    assert!(!first.is_running() && node.private_redis().is_running());

    node.private_redis().signal("KILL");
    assert_eq!(node.ended(DRAIN).await.code(), Some(1), "one that does not stay up ends the node");
    node.start_again().await;
    ann.settled(40).await;
}

#[tokio::test]
async fn a_node_with_wrong_settings_names_each_and_does_not_start() {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .env_clear()
        .envs([
            ("WEBHOOKS_AUTH__JWT_SECRET", "short"),
            ("WEBHOOKS_SERVER__PORT", "70000"),
            ("WEBHOOKS_SERVER__PROT", "1"),
        ])
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{said}");
    for name in ["auth.jwt_secret", "server.port", "70000", "server.prot"] {
        assert!(said.to_lowercase().contains(name), "{name}: {said}");
    }
    assert!(!said.contains("short\""), "a secret is not shown: {said}");
}
