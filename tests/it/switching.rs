//! Contract §5: switching on and off, changing and deleting a webhook while it has work.

use serde_json::{Value, json};

use crate::harness::{Client, Gate, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

/// Publishes and waits until another webhook of the organization has got it: everything published before has been
/// matched by then.
async fn barrier(crm: &Client, receiver: &Receiver) {
    let id = crm.publish("form.submitted", &json!({})).await;
    eventually("the barrier's event", SOON, async || {
        receiver.received("/barrier").iter().any(|request| request.event_id() == id).then_some(())
    })
    .await;
}

async fn pending(client: &Client, id: &str, count: u64) {
    eventually(&format!("{count} pending"), SOON, async || {
        (client.webhook(id).await["pendingCount"] == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_inactive_nothing_is_queued() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/barrier"), &["form.*"], &json!({})).await;
    let off = json!({ "isActive": false });
    let id = text(&ann.create(&receiver.url("/"), &["lead.*"], &off).await["id"]);
    let path = format!("/api/webhooks/{id}");
    crm.publish("lead.created", &json!({ "n": 1 })).await;
    barrier(&crm, &receiver).await;
    assert_eq!(ann.webhook(&id).await["pendingCount"], 0);

    let on = ann.post_empty(&format!("{path}/activate")).await.expect(200);
    assert_eq!((&on["isActive"], &on["status"]), (&json!(true), &json!("active")));
    let second = crm.publish("lead.created", &json!({ "n": 2 })).await;
    assert_eq!(receiver.arrived("/", 1).await[0].event_id(), second);

    ann.patch(&path, &off).await.expect(200);
    crm.publish("lead.created", &json!({ "n": 3 })).await;
    barrier(&crm, &receiver).await;
    ann.patch(&path, &json!({ "isActive": true })).await.expect(200);
    let fourth = crm.publish("lead.created", &json!({ "n": 4 })).await;
    let got = receiver.arrived("/", 2).await;
    assert_eq!(got.iter().map(|request| request.event_id()).collect::<Vec<_>>(), [second, fourth]);
}

#[tokio::test]
async fn what_was_queued_waits_until_the_webhook_is_active_again() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/barrier"), &["form.*"], &json!({})).await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let settings = json!({ "maxConcurrency": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["lead.*"], &settings).await["id"]);
    for _ in 0..5 {
        crm.publish("lead.created", &json!({})).await;
    }
    receiver.arrived("/", 1).await;
    let path = format!("/api/webhooks/{id}");
    let off = ann.post_empty(&format!("{path}/deactivate")).await.expect(200);
    assert_eq!((&off["isActive"], &off["status"]), (&json!(false), &json!("inactive")));
    barrier(&crm, &receiver).await;
    gate.open();
    pending(&ann, &id, 4).await;
    barrier(&crm, &receiver).await;
    assert_eq!(receiver.count("/"), 1, "the attempt that was under way has ended, no other began");
    ann.post_empty(&format!("{path}/activate")).await.expect(200);
    receiver.arrived("/", 5).await;
    pending(&ann, &id, 0).await;
}

#[tokio::test]
async fn a_retry_waits_too_while_the_webhook_is_inactive() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/barrier"), &["form.*"], &json!({})).await;
    receiver.script("/", &[Reply::status(500), Reply::status(200)]);
    let settings = json!({ "retrySchedule": [1] });
    let id = text(&ann.create(&receiver.url("/"), &["lead.*"], &settings).await["id"]);
    crm.publish("lead.created", &json!({})).await;
    let row = eventually("the failure is recorded", SOON, async || ann.log(&id, "").await.pop()).await;
    ann.post_empty(&format!("/api/webhooks/{id}/deactivate")).await.expect(200);
    let due = chrono::DateTime::parse_from_rfc3339(&text(&row["nextRetryAt"])).unwrap();
    eventually("the retry is due", SOON, async || {
        (chrono::DateTime::from(std::time::SystemTime::now()) > due).then_some(())
    })
    .await;
    barrier(&crm, &receiver).await;
    assert_eq!(receiver.count("/"), 1);
    ann.post_empty(&format!("/api/webhooks/{id}/activate")).await.expect(200);
    assert_eq!(receiver.arrived("/", 2).await[1].attempt(), 2);
}

#[tokio::test]
async fn deleting_drops_what_was_queued_and_the_log() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/barrier"), &["form.*"], &json!({})).await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let settings = json!({ "maxConcurrency": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["lead.*"], &settings).await["id"]);
    for _ in 0..5 {
        crm.publish("lead.created", &json!({})).await;
    }
    receiver.arrived("/", 1).await;
    ann.delete(&format!("/api/webhooks/{id}")).await.expect(204);
    // The owner of the queue has learnt of it when it has matched what came later.
    barrier(&crm, &receiver).await;
    gate.open();
    eventually("nothing is pending", SOON, async || {
        (ann.stats().await["deliveries"]["pending"] == 0).then_some(())
    })
    .await;
    barrier(&crm, &receiver).await;
    assert_eq!(receiver.count("/"), 1, "only what was under way");
    ann.get(&format!("/api/webhooks/{id}/deliveries")).await.error(404);
    eventually("nothing of it is left in Redis", SOON, async || {
        let left: Vec<String> = redis.command(&["KEYS", &format!("*{id}*")]);
        left.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_holds_from_the_next_attempt_for_queued_events_too() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/barrier"), &["form.*"], &json!({})).await;
    let gate = Gate::new();
    receiver.script("/old", &[Reply::status(200).held(&gate)]);
    let settings = json!({ "maxConcurrency": 1 });
    let id = text(&ann.create(&receiver.url("/old"), &["lead.*"], &settings).await["id"]);
    for _ in 0..3 {
        crm.publish("lead.created", &json!({})).await;
    }
    receiver.arrived("/old", 1).await;
    let change = json!({ "url": receiver.url("/new"), "headers": { "X-New": "yes" }, "events": ["quote.*"] });
    ann.patch(&format!("/api/webhooks/{id}"), &change).await.expect(200);
    barrier(&crm, &receiver).await;
    gate.open();
    let got = receiver.arrived("/new", 2).await;
    assert!(got.iter().all(|request| request.header("x-new") == "yes"));
    crm.publish("lead.created", &json!({})).await;
    let quote = crm.publish("quote.sent", &json!({})).await;
    assert_eq!(receiver.arrived("/new", 3).await[2].event_id(), quote);
    assert_eq!(receiver.count("/old"), 1);
}

#[tokio::test]
async fn a_webhook_gets_every_event_published_after_its_creation_was_answered() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let mut paths = Vec::new();
    // More than one shard's worth.
    for n in 0..12 {
        let path = format!("/{n}");
        ann.create(&receiver.url(&path), &["*"], &Value::Null).await;
        paths.push(path);
        let id = crm.publish("lead.created", &json!({})).await;
        for path in &paths {
            eventually(path, SOON, async || {
                receiver.received(path).iter().any(|request| request.event_id() == id).then_some(())
            })
            .await;
        }
    }
    for (n, path) in paths.iter().enumerate() {
        assert_eq!(receiver.count(path), 12 - n, "each once");
    }
}
