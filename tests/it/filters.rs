//! Contract §5: `filter`, and why an event did not go to a webhook that subscribes to its type.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

/// Of one event, by webhook: what `GET /api/events/{id}` says. Before its dispatch it is nobody's.
async fn targets(user: &Client, event: &str) -> Vec<Value> {
    let shown = user.get(&format!("/api/events/{event}")).await;
    if shown.status == 404 { Vec::new() } else { shown.expect(200)["webhooks"].as_array().unwrap().clone() }
}

/// Waits until the event has come to an end at all of `count` webhooks; gives what is said of each.
async fn ended(user: &Client, event: &str, count: usize) -> Vec<Value> {
    eventually("it has ended everywhere", SOON, async || {
        let targets = targets(user, event).await;
        (targets.len() == count && targets.iter().all(|target| target["status"] != "pending"))
            .then_some(targets)
    })
    .await
}

fn of<'a>(targets: &'a [Value], id: &str) -> [&'a Value; 2] {
    let target = targets.iter().find(|target| target["webhookId"] == id).expect("it is named");
    [&target["status"], &target["reason"]]
}

#[tokio::test]
async fn a_filter_may_be_written_over_several_lines() {
    let redis = TestRedis::start();
    let key = "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=";
    for settings in [vec![], vec![("SECURITY__ENCRYPTION_KEY", key)]] {
        let node = TestNode::start_with(&redis, &settings).await;
        let receiver = Receiver::start().await;
        let ann = node.user("ann", "acme");
        let body = json!({
            "name": "x", "url": receiver.url("/"), "events": ["*"], "filter": { "amount": { "in": [1, 1000] } },
        });
        let pretty = format!("{body:#}");
        let made = ann.call(Method::POST, "/api/webhooks").raw("application/json", &pretty).send().await;
        let path = format!("/api/webhooks/{}", text(&made.expect(201)["id"]));
        assert_eq!(ann.get(&path).await.expect(200)["filter"], body["filter"]);
        let change = format!("{:#}", json!({ "filter": { "amount": 1000 } }));
        ann.call(Method::PATCH, &path).raw("application/json", &change).send().await.expect(200);
        node.publisher("acme").publish("lead.created", &json!({ "amount": 1000 })).await;
        receiver.arrived("/", 1).await;
        ann.delete(&path).await.expect(204);
    }
}

#[tokio::test]
async fn an_event_goes_to_those_whose_filter_it_passes_and_says_why_not_to_the_others() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let all = text(&ann.create(&receiver.url("/all"), &["*"], &json!({})).await["id"]);
    let large = json!({ "filter": { "amount": { "gte": 1000 }, "owner.region": { "in": ["EU", "UK"] } } });
    let made = ann.create(&receiver.url("/large"), &["*"], &large).await;
    assert_eq!(made["filter"], large["filter"]);
    let filtered = text(&made["id"]);
    let off =
        text(&ann.create(&receiver.url("/off"), &["lead.*"], &json!({ "isActive": false })).await["id"]);
    let other = text(&ann.create(&receiver.url("/quotes"), &["quote.*"], &json!({})).await["id"]);
    let crm = node.publisher("acme");
    // Once before there are lanes, and once attempted before its dispatch.
    for _ in 0..2 {
        let small = crm.publish("lead.created", &json!({ "amount": 999, "owner": { "region": "EU" } })).await;
        let told = ended(&ann, &small, 3).await;
        assert_eq!(of(&told, &all), [&json!("delivered"), &Value::Null]);
        assert_eq!(of(&told, &filtered), [&json!("skipped"), &json!("filtered")]);
        assert_eq!(of(&told, &off), [&json!("skipped"), &json!("inactive")]);
        assert!(!told.iter().any(|target| target["webhookId"] == *other), "it does not subscribe to that");
    }
    let big = crm.publish("lead.created", &json!({ "amount": 1000.0, "owner": { "region": "UK" } })).await;
    assert_eq!(of(&ended(&ann, &big, 3).await, &filtered)[0], "delivered");
    assert_eq!([receiver.count("/all"), receiver.count("/large"), receiver.count("/off")], [3, 1, 0]);

    // Another filter holds for the next event; none lets everything pass.
    let path = format!("/api/webhooks/{filtered}");
    let odd = json!({ "filter": { "not": { "amount": 7 } } });
    assert_eq!(ann.patch(&path, &odd).await.expect(200)["filter"], odd["filter"]);
    let seven = crm.publish("lead.created", &json!({ "amount": 7 })).await;
    assert_eq!(of(&ended(&ann, &seven, 3).await, &filtered)[1], "filtered");
    assert_eq!(ann.patch(&path, &json!({ "filter": null })).await.expect(200)["filter"], Value::Null);
    let seven = crm.publish("lead.created", &json!({ "amount": 7 })).await;
    assert_eq!(of(&ended(&ann, &seven, 3).await, &filtered)[0], "delivered");

    let bad = ann.patch(&path, &json!({ "filter": { "amount": { "above": 5 }, "x": {} } })).await.error(400);
    assert_eq!(bad.len(), 2, "{bad:?}");
}

#[tokio::test]
async fn an_event_that_nobody_gets_is_remembered_with_the_reasons() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let never = json!({ "filter": { "never": true } });
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(text(&ann.create("https://example.com/", &["*"], &never).await["id"]));
    }
    let event = node.publisher("acme").publish("lead.created", &json!({ "n": 1 })).await;
    let told = ended(&ann, &event, 40).await;
    assert!(ids.iter().all(|id| of(&told, id) == [&json!("skipped"), &json!("filtered")]), "in every shard");
    assert_eq!(ann.stats().await["deliveries"]["total"], 0, "none of them is a delivery");
}

#[tokio::test]
async fn a_delivery_that_waits_says_what_keeps_it() {
    let redis = TestRedis::start();
    let patient = [("BREAKER__FAILURE_THRESHOLD", "1"), ("BREAKER__PAUSE_SECONDS", "600")];
    let node = TestNode::start_with(&redis, &patient).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({ "retryDelaySeconds": 600 })).await["id"]);
    let event = node.publisher("acme").publish("lead.created", &json!({})).await;
    let waits = eventually("it is paused", SOON, async || {
        targets(&ann, &event).await.pop().filter(|target| target["reason"] == "paused")
    })
    .await;
    assert_eq!(
        [&waits["status"], &waits["pausedUntil"]],
        [&json!("pending"), &ann.webhook(&id).await["pausedUntil"]]
    );
    ann.post_empty(&format!("/api/webhooks/{id}/deactivate")).await.expect(200);
    let waits = targets(&ann, &event).await;
    assert_eq!(of(&waits, &id), [&json!("pending"), &json!("inactive")]);
}

#[tokio::test]
async fn what_was_skipped_stays_so_when_the_event_is_sent_again_elsewhere() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let all = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let never =
        text(&ann.create(&receiver.url("/never"), &["*"], &json!({ "filter": { "a": 1 } })).await["id"]);
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    ann.settled(1).await;
    let event = crm.publish("lead.created", &json!({})).await;
    ended(&ann, &event, 2).await;
    let row = eventually("its row", SOON, async || {
        ann.log(&all, "").await.into_iter().find(|row| row["eventId"] == *event)
    })
    .await;
    let path = format!("/api/webhooks/{all}/deliveries/{}/retry", text(&row["id"]));
    ann.post_empty(&path).await.expect(202);
    receiver.arrived("/", 3).await;
    let told = ended(&ann, &event, 2).await;
    assert_eq!(of(&told, &never), [&json!("skipped"), &json!("filtered")]);
    assert_eq!(of(&told, &all)[0], "delivered");
}

#[tokio::test]
async fn a_filter_can_be_tried_before_it_is_saved() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let settings = json!({ "filter": { "amount": { "gte": 1000 } } });
    let id = text(&ann.create("https://example.com/", &["lead.*"], &settings).await["id"]);
    let path = format!("/api/webhooks/{id}/filter-test");
    let tried = ann.post(&path, &json!({ "data": { "amount": 5 } })).await.expect(200);
    let expected = json!({
        "matches": false, "subscribed": null, "filter": settings["filter"],
        "failed": [{ "field": "amount", "found": [5] }],
    });
    assert_eq!(tried, expected);
    let other = json!({ "data": { "amount": 5 }, "filter": { "amount": 5 } });
    let tried = ann.post(&path, &other).await.expect(200);
    assert_eq!([&tried["matches"], &tried["failed"]], [&json!(true), &json!([])]);
    let none = ann.post(&path, &json!({ "event": "quote.sent", "filter": null })).await.expect(200);
    assert_eq!([&none["matches"], &none["subscribed"]], [&json!(true), &json!(false)]);
    assert_eq!(ann.webhook(&id).await["filter"], settings["filter"], "nothing is saved");
    for (body, fault) in [
        (json!({}), "exactly one of data and event should be given"),
        (json!({ "data": {}, "event": "lead.created" }), "exactly one of data and event should be given"),
        (json!({ "data": [] }), "data must be an object"),
        (json!({ "event": "nothing.known" }), "event: unknown event type \"nothing.known\""),
        (json!({ "data": {}, "filter": {} }), "filter should not be empty"),
        (json!({ "data": {}, "more": 1 }), "property more should not exist"),
    ] {
        assert_eq!(ann.post(&path, &body).await.error(400), [fault], "{body}");
    }
    node.user("bob", "acme").post(&path, &json!({ "data": {} })).await.error(404);
}
