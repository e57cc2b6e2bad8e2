//! The bounds of what may wait (`[queue]`): what happens at them, to whom, and that it passes.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Gate, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

/// The smallest bound of bytes that a setting takes.
const MEBIBYTE: &str = "1048576";
/// Events of [`large`] that fit into it.
const FIT: usize = 16;
/// More than ever wait in these tests.
const MANY: usize = 100;

/// An event of about 64 KiB.
fn large(n: usize) -> Value {
    json!({ "type": "lead.created", "id": format!("e{n}"), "data": { "text": "x".repeat(64 * 1024) } })
}

/// Publishes large events until one is refused: how many were taken, and the refusal.
async fn publish_until_refused(crm: &Client, before_each: impl Fn()) -> (usize, Answer) {
    for n in 0..MANY {
        before_each();
        let answer = crm.post("/api/events", &large(n)).await;
        if answer.status != 202 {
            return (n, answer);
        }
    }
    panic!("all of {MANY} were taken");
}

async fn publish_until_taken(crm: &Client, n: usize) {
    eventually("publishing goes on", SOON, async || {
        (crm.post("/api/events", &large(n)).await.status == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn when_too_much_awaits_dispatch_publishing_is_503_until_it_is_dispatched() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("QUEUE__MAX_UNDISPATCHED_BYTES", MEBIBYTE)]).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    crm.post("/api/events", &large(MANY)).await.expect(202);
    ann.settled(1).await;
    // Somebody else owns the partition, shows that it lives, and does nothing.
    let usage: Vec<String> = redis.command(&["KEYS", "sw:*:usage"]);
    let lease = usage[0].replace(":usage", ":lease");
    let _: u64 = redis.command(&["HSET", &lease, "token", "somebody"]);
    let beat = || {
        let _: u64 = redis.command(&["HINCRBY", &lease, "beat", "1"]);
    };
    eventually("the node has noticed", SOON, async || {
        beat();
        (node.metrics().await.sum("partitions_owned", &[]) == 63.0).then_some(())
    })
    .await;
    let (taken, refusal) = publish_until_refused(&crm, beat).await;
    refusal.error(503);
    assert!(refusal.number("retry-after") >= 1);
    assert!((FIT - 1..=FIT).contains(&taken), "{taken}");
    // It beats no more: the node takes the partition back.
    publish_until_taken(&crm, taken).await;
    ann.settled(taken as u64 + 2).await;
    assert_eq!(receiver.count("/"), taken + 2, "each once");
}

#[tokio::test]
async fn an_organization_with_too_much_waiting_gets_429_and_the_others_publish_on() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("QUEUE__MAX_PENDING_BYTES_PER_TENANT", MEBIBYTE)]).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/slow", &[Reply::status(200).held(&gate)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/slow"), &["*"], &json!({})).await;
    let (bob, other) = (node.user("bob", "other"), node.publisher("other"));
    bob.create(&receiver.url("/free"), &["*"], &json!({})).await;
    let (taken, refusal) = publish_until_refused(&crm, || {}).await;
    refusal.error(429);
    assert!(refusal.number("retry-after") >= 1);
    assert!(taken >= FIT - 1, "{taken}");
    for n in 0..3 {
        other.post("/api/events", &large(n)).await.expect(202);
    }
    bob.settled(3).await;
    crm.post("/api/events", &large(taken)).await.error(429);
    gate.open();
    publish_until_taken(&crm, taken).await;
    ann.settled(taken as u64 + 1).await;
    assert_eq!(receiver.count("/slow"), taken + 1, "each once");
}

#[tokio::test]
async fn a_delivery_that_finds_the_queue_full_is_dead_logged_counted_and_can_be_sent_again() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("QUEUE__MAX_PENDING_PER_WEBHOOK", "5")]).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/slow", &[Reply::status(200).held(&gate)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let slow = text(&ann.create(&receiver.url("/slow"), &["*"], &json!({})).await["id"]);
    let free = text(&ann.create(&receiver.url("/free"), &["*"], &json!({})).await["id"]);
    for n in 0..8 {
        crm.publish("lead.created", &json!({ "n": n })).await;
        // Only the slow one may fill up.
        eventually("the free one has it", SOON, async || {
            (ann.webhook(&free).await["successCount"] == n + 1).then_some(())
        })
        .await;
    }
    let stats = ann.stats().await;
    assert_eq!(stats["deliveries"], json!({ "total": 16, "successful": 8, "failed": 3, "pending": 5 }));
    let rows = ann.log(&slow, "").await;
    assert_eq!(rows.len(), 3, "those on their way have no row yet");
    for row in &rows {
        let found = ["errorKind", "success", "statusCode", "nextRetryAt"].map(|name| &row[name]);
        assert_eq!(found, [&json!("overflow"), &json!(false), &Value::Null, &Value::Null], "{row}");
    }
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("attempts_total", &["outcome=\"overflow\""]), 3.0);
    assert_eq!(metrics.sum("deliveries_ended_total", &["result=\"dead\""]), 3.0);
    let webhook = ann.webhook(&slow).await;
    assert_eq!((&webhook["failureCount"], &webhook["pendingCount"]), (&json!(3), &json!(5)));

    gate.open();
    ann.settled(16).await;
    let path = format!("/api/webhooks/{slow}/deliveries/{}/retry", text(&rows[0]["id"]));
    ann.post_empty(&path).await.expect(202);
    let got = receiver.arrived("/slow", 6).await;
    assert_eq!(got[5].event_id(), text(&rows[0]["eventId"]));
}
