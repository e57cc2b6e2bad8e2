//! Data in Redis that is not what we write: it is set aside and holds up nobody.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Gate, Receiver, Reply, TestNode, TestRedis, text};

const PIECES: usize = 4;

/// What the keys of the partition that holds this webhook begin with.
fn partition_of(redis: &TestRedis, id: &str) -> String {
    let all: Vec<String> = redis.command(&["KEYS", "sw:*:webhooks"]);
    let of_it = all.iter().find(|key| redis.command::<bool>(&["HEXISTS", key, id])).unwrap();
    of_it.trim_end_matches("webhooks").to_owned()
}

/// Puts garbage into both queues of a webhook, in front of what waits there as far as that can be done.
fn plant(redis: &TestRedis, partition: &str, id: &str) {
    let (mailbox, retries) = (format!("{partition}mbox:{id}"), format!("{partition}retry:{id}"));
    let _: String = redis.command(&["XADD", &mailbox, "*", "junk", "1"]);
    let _: String = redis.command(&["XADD", &mailbox, "*", "more", "\u{1F4A9}"]);
    let _: u64 = redis.command(&["ZADD", &retries, "0", "garbage", "inf", "more garbage"]);
    let _: u64 = redis.command(&["ZADD", &format!("{partition}wake"), "0", id]);
}

fn numbered(from: usize, to: usize) -> Vec<Value> {
    (from..to).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

fn set_aside(redis: &TestRedis, partition: &str) -> usize {
    redis.command(&["XLEN", &format!("{partition}quarantine")])
}

#[tokio::test]
async fn garbage_in_a_queue_is_set_aside_and_every_delivery_arrives() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/hit", &[Reply::status(200).held(&gate)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let hit = text(&ann.create(&receiver.url("/hit"), &["*"], &json!({})).await["id"]);
    ann.create(&receiver.url("/other"), &["*"], &json!({})).await;
    let mut published = crm.publish_batch(&numbered(0, 20)).await;
    receiver.arrived("/other", 20).await;
    let partition = partition_of(&redis, &hit);
    // A node that starts anew knows nothing and reads the queues.
    node.kill().await;
    plant(&redis, &partition, &hit);
    node.start_again().await;
    gate.open();
    published.extend(crm.publish_batch(&numbered(20, 25)).await);
    let stats = ann.settled(50).await;
    assert_eq!(stats["deliveries"]["successful"], 50, "{stats}");
    for path in ["/hit", "/other"] {
        let got: BTreeSet<String> =
            receiver.received(path).iter().map(|request| request.event_id().to_owned()).collect();
        assert_eq!(got, published.iter().cloned().collect(), "{path}");
    }
    assert_eq!(set_aside(&redis, &partition), PIECES);
    assert_eq!(node.metrics().await.sum("entries_quarantined_total", &[]), PIECES as f64);
    assert_eq!(ann.webhook(&hit).await["pendingCount"], 0);
}

#[tokio::test]
async fn a_webhook_with_garbage_in_its_queue_can_be_deleted() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let hit = text(&ann.create(&receiver.url("/hit"), &["*"], &json!({})).await["id"]);
    ann.create(&receiver.url("/other"), &["*"], &json!({})).await;
    crm.publish_batch(&numbered(0, 5)).await;
    ann.settled(10).await;
    ann.post_empty(&format!("/api/webhooks/{hit}/deactivate")).await.expect(200);
    let partition = partition_of(&redis, &hit);
    plant(&redis, &partition, &hit);
    ann.delete(&format!("/api/webhooks/{hit}")).await.expect(204);
    crm.publish_batch(&numbered(5, 10)).await;
    ann.settled(15).await;
    // Dispatched behind the deletion, so that has been done.
    receiver.arrived("/other", 10).await;
    let left: Vec<String> = redis.command(&["KEYS", &format!("{partition}*:{hit}")]);
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(set_aside(&redis, &partition), PIECES);
    assert_eq!(node.metrics().await.sum("leases_lost_total", &[]), 0.0, "the partition stayed where it was");
}

#[tokio::test]
async fn a_log_that_is_none_costs_its_rows_and_no_delivery_is_made_twice() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let hit = text(&ann.create(&receiver.url("/hit"), &["*"], &json!({})).await["id"]);
    ann.create(&receiver.url("/other"), &["*"], &json!({})).await;
    let partition = partition_of(&redis, &hit);
    let _: String = redis.command(&["SET", &format!("{partition}log:{hit}"), "of the wrong type"]);
    crm.publish_batch(&numbered(0, 20)).await;
    let stats = ann.settled(40).await;
    assert_eq!(stats["deliveries"]["successful"], 40, "{stats}");
    assert_eq!((receiver.count("/hit"), receiver.count("/other")), (20, 20));
    let metrics = node.metrics().await;
    assert_eq!(metrics.sum("entries_quarantined_total", &[]), 20.0);
    assert_eq!(metrics.sum("leases_lost_total", &[]), 0.0, "the partition stayed where it was");
}

#[tokio::test]
async fn a_webhook_whose_state_could_not_be_read_goes_on_when_it_can() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let hit = text(&ann.create(&receiver.url("/hit"), &["*"], &json!({})).await["id"]);
    ann.create(&receiver.url("/other"), &["*"], &json!({})).await;
    let count = format!("{}count:{hit}", partition_of(&redis, &hit));
    let _: u64 = redis.command(&["DEL", &count]);
    let _: String = redis.command(&["SET", &count, "of the wrong type"]);
    crm.publish_batch(&numbered(0, 5)).await;
    receiver.arrived("/other", 5).await;
    assert_eq!(receiver.count("/hit"), 0);
    let _: u64 = redis.command(&["DEL", &count]);
    receiver.arrived("/hit", 5).await;
    assert_eq!(ann.settled(10).await["deliveries"]["successful"], 10);
}
