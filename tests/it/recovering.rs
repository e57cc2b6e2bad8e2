//! Contract §3: `recover` queues again what has failed for good, once, by and by, and can be watched and ended.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{
    Client, NEVER_LEFT_ALONE, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text,
};

/// One attempt each, many at once.
fn impatient() -> Value {
    json!({ "retryAttempts": 0, "maxConcurrency": 64 })
}

fn numbered(event: &str, count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": event, "data": { "n": n } })).collect()
}

const SINCE: &str = "2026-01-01T00:00:00Z";

async fn recovers(user: &Client, id: &str, body: &Value) -> Value {
    user.post(&format!("/api/webhooks/{id}/recover"), body).await.expect(202)
}

/// Waits until the recovery has that status; gives it.
async fn becomes(user: &Client, id: &str, status: &str) -> Value {
    eventually(status, SOON, async || {
        let recovery = user.get(&format!("/api/webhooks/{id}/recover")).await.expect(200);
        (recovery["status"] == status).then_some(recovery)
    })
    .await
}

/// A webhook at `path`, and events that failed for good there.
async fn dead(node: &TestNode, receiver: &Receiver, path: &str, events: &[Value]) -> (Client, String) {
    receiver.script(path, &[Reply::status(500)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url(path), &["*"], &impatient()).await["id"]);
    for some in events.chunks(1000) {
        node.publisher("acme").publish_batch(some).await;
    }
    ann.settled(events.len() as u64).await;
    receiver.script(path, &[Reply::status(200)]);
    (ann, id)
}

/// The events that were answered with 200.
fn delivered(receiver: &Receiver, path: &str) -> Vec<String> {
    let ok = |request: &&crate::harness::Received| request.answer.is_some_and(|answer| answer.status == 200);
    receiver.look(path, |all| all.iter().filter(ok).map(|request| request.event_id().to_owned()).collect())
}

#[tokio::test]
async fn what_failed_for_good_is_queued_again_once() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let events = [numbered("lead.created", 30), numbered("quote.sent", 20)].concat();
    let (ann, id) = dead(&node, &receiver, "/", &events).await;
    // One is sent again by hand.
    let row = text(&ann.log(&id, "event=quote.sent").await[0]["id"]);
    ann.post_empty(&format!("/api/webhooks/{id}/deliveries/{row}/retry")).await.expect(202);
    eventually("it has arrived", SOON, async || {
        (ann.stats().await["deliveries"]["successful"] == 1).then_some(())
    })
    .await;

    let path = format!("/api/webhooks/{id}/recover");
    let dry = ann.post(&path, &json!({ "since": SINCE, "dryRun": true })).await.expect(200);
    let expected = json!({
        "queued": 49, "bodyGone": 0, "byEvent": { "lead.created": 30, "quote.sent": 19 }, "dryRun": true, "recovery": null,
    });
    assert_eq!(dry, expected);
    ann.get(&path).await.error(404);
    assert_eq!(delivered(&receiver, "/").len(), 1, "a dry run queues nothing");

    let some = recovers(&ann, &id, &json!({ "since": SINCE, "event": "lead.created" })).await;
    assert_eq!([&some["queued"], &some["recovery"]["total"]], [30, 30]);
    let done = becomes(&ann, &id, "completed").await;
    assert_eq!(
        [&done["requeued"], &done["skipped"], &done["event"]],
        [&json!(30), &json!(0), &json!("lead.created")]
    );
    recovers(&ann, &id, &json!({ "since": SINCE })).await;
    let done = becomes(&ann, &id, "completed").await;
    assert_eq!([&done["total"], &done["requeued"]], [19, 19]);
    eventually("all have arrived", SOON, async || (delivered(&receiver, "/").len() == 50).then_some(()))
        .await;
    let unique: BTreeSet<String> = delivered(&receiver, "/").into_iter().collect();
    assert_eq!(unique.len(), 50);
    let nothing = recovers(&ann, &id, &json!({ "since": SINCE })).await;
    assert_eq!([&nothing["queued"], &nothing["recovery"]], [&json!(0), &Value::Null]);
}

#[tokio::test]
async fn a_span_has_a_beginning_and_an_end() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, id) = dead(&node, &receiver, "/", &numbered("lead.created", 5)).await;
    let path = format!("/api/webhooks/{id}/recover");
    for (body, queued) in [
        (json!({ "since": SINCE, "until": "2026-01-02T00:00:00Z", "dryRun": true }), 0),
        (json!({ "since": "2126-01-01T00:00:00Z", "dryRun": true }), 0),
        (json!({ "since": "1970-01-01T00:00:00Z", "until": "2126-01-01T00:00:00Z", "dryRun": true }), 5),
        (json!({ "since": SINCE, "event": "quote.sent", "dryRun": true }), 0),
    ] {
        assert_eq!(ann.post(&path, &body).await.expect(200)["queued"], queued, "{body}");
    }
    let time = "must be an RFC 3339 date-time, such as 2026-01-15T10:30:00.000Z";
    for (body, fault) in [
        (json!({}), "since should not be empty".to_owned()),
        (json!({ "since": "yesterday" }), format!("since {time}")),
        (json!({ "since": SINCE, "until": 5 }), format!("until {time}")),
        (json!({ "since": SINCE, "until": SINCE }), "until must be later than since".to_owned()),
        (json!({ "since": SINCE, "dryRun": 1 }), "dryRun must be a boolean".to_owned()),
        (json!({ "since": SINCE, "pace": 1 }), "property pace should not exist".to_owned()),
    ] {
        assert_eq!(ann.post(&path, &body).await.error(400), [fault], "{body}");
    }
    node.user("bob", "acme").post(&path, &json!({ "since": SINCE })).await.error(404);
    ann.post_empty(&format!("/api/webhooks/{id}/deactivate")).await.expect(200);
    ann.post(&path, &json!({ "since": SINCE })).await.error(409);
}

#[tokio::test]
async fn a_large_one_goes_on_beside_new_events_and_can_be_ended() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, id) = dead(&node, &receiver, "/", &numbered("lead.created", 900)).await;
    let slow = json!({ "rateLimitPerSecond": 1 });
    ann.patch(&format!("/api/webhooks/{id}"), &slow).await.expect(200);
    assert_eq!(recovers(&ann, &id, &json!({ "since": SINCE })).await["queued"], 900);
    let path = format!("/api/webhooks/{id}/recover");
    ann.post(&path, &json!({ "since": SINCE })).await.error(409);
    eventually("as much is queued as may be", SOON, async || {
        (ann.get(&path).await.expect(200)["requeued"].as_u64() >= Some(500)).then_some(())
    })
    .await;
    let ended = ann.delete(&path).await.expect(200);
    assert_eq!(ended["status"], "cancelled");
    let requeued = ended["requeued"].as_u64().unwrap();
    assert!((500..900).contains(&requeued), "{ended}");
    let fast = json!({ "rateLimitPerSecond": null });
    ann.patch(&format!("/api/webhooks/{id}"), &fast).await.expect(200);
    let arrived = |count: u64| {
        let receiver = &receiver;
        async move {
            eventually("they have arrived", SOON, async || {
                (delivered(receiver, "/").len() as u64 == count).then_some(())
            })
            .await;
        }
    };
    arrived(requeued).await;
    assert_eq!(
        recovers(&ann, &id, &json!({ "since": SINCE })).await["queued"],
        900 - requeued,
        "the rest is still dead"
    );
    arrived(900).await;
    becomes(&ann, &id, "completed").await;
}

#[tokio::test]
async fn it_goes_on_where_it_stood_when_its_node_dies() {
    let redis = TestRedis::start();
    let mut node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, id) = dead(&node, &receiver, "/", &numbered("lead.created", 800)).await;
    ann.patch(&format!("/api/webhooks/{id}"), &json!({ "rateLimitPerSecond": 1 })).await.expect(200);
    recovers(&ann, &id, &json!({ "since": SINCE })).await;
    eventually("as much is queued as may be", SOON, async || {
        let recovery = ann.get(&format!("/api/webhooks/{id}/recover")).await.expect(200);
        (recovery["requeued"].as_u64() >= Some(500)).then_some(())
    })
    .await;
    node.kill().await;
    node.start_again().await;
    ann.patch(&format!("/api/webhooks/{id}"), &json!({ "rateLimitPerSecond": null })).await.expect(200);
    let done = becomes(&ann, &id, "completed").await;
    assert_eq!([&done["total"], &done["requeued"], &done["skipped"]], [800, 800, 0]);
    eventually("all have arrived", SOON, async || {
        let unique: BTreeSet<String> = delivered(&receiver, "/").into_iter().collect();
        (unique.len() == 800).then_some(())
    })
    .await;
}

#[tokio::test]
async fn switching_the_webhook_off_stops_it_and_what_it_has_not_queued_stays_dead() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let (ann, id) = dead(&node, &receiver, "/", &numbered("lead.created", 700)).await;
    ann.patch(&format!("/api/webhooks/{id}"), &json!({ "rateLimitPerSecond": 1 })).await.expect(200);
    recovers(&ann, &id, &json!({ "since": SINCE })).await;
    ann.post_empty(&format!("/api/webhooks/{id}/deactivate")).await.expect(200);
    becomes(&ann, &id, "stopped").await;
    let on = json!({ "isActive": true, "rateLimitPerSecond": null });
    ann.patch(&format!("/api/webhooks/{id}"), &on).await.expect(200);
    // What was on its way then is either queued or still dead.
    eventually("every event has arrived", SOON, async || {
        let path = format!("/api/webhooks/{id}/recover");
        let body = json!({ "since": SINCE });
        let answer = ann.post(&path, &body).await;
        (answer.status == 202 && answer.json()["queued"] == 0 && delivered(&receiver, "/").len() >= 700)
            .then_some(())
    })
    .await;
}
