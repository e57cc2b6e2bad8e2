//! Contract §4: what may be published, and what is stored of it.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Reply, SOON, TestNode, TestRedis, eventually, is_time, text};

async fn with_key(client: &Client, key: &str, body: &Value) -> Answer {
    client.call(Method::POST, "/api/events").header("Idempotency-Key", key).json(body).send().await
}

#[tokio::test]
async fn a_published_event_is_answered_with_what_was_stored() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    node.user("ann", "acme").create(&receiver.url("/"), &["lead.*"], &json!({})).await;
    let crm = node.publisher("acme");
    let body = json!({
        "type": "lead.created", "data": { "id": 7 }, "id": "my-own_ID", "timestamp": "2026-01-15T11:30:00+01:00",
    });
    let answer = crm.post("/api/events", &body).await.expect(202);
    let expected = json!({
        "id": "my-own_ID", "type": "lead.created", "timestamp": "2026-01-15T10:30:00.000Z", "duplicate": false,
    });
    assert_eq!(answer, expected);
    let got = receiver.arrived("/", 1).await;
    let expected = json!({
        "id": "my-own_ID", "type": "lead.created", "timestamp": "2026-01-15T10:30:00.000Z",
        "organizationId": "acme", "data": { "id": 7 },
    });
    assert_eq!(got[0].json(), expected);

    let made = crm.post("/api/events", &json!({ "type": "lead.updated", "data": {} })).await.expect(202);
    assert!(text(&made["id"]).starts_with("evt_") && is_time(&made["timestamp"]), "{made}");
}

#[tokio::test]
async fn what_is_not_an_event_is_refused_with_every_fault() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("API__MAX_EVENT_BYTES", "2048")]).await;
    let crm = node.publisher("acme");
    let cases = [
        (json!({}), 2),
        (json!({ "type": "lead.created" }), 1),
        (json!({ "type": "lead.created", "data": [] }), 1),
        (json!({ "type": "lead.created", "data": null }), 1),
        (json!({ "type": "lead.*", "data": {} }), 1),
        (json!({ "type": "test", "data": {} }), 1),
        (json!({ "type": 7, "data": {} }), 1),
        (json!({ "type": "lead.created", "data": {}, "id": "" }), 1),
        (json!({ "type": "lead.created", "data": {}, "id": "a b" }), 1),
        (json!({ "type": "lead.created", "data": {}, "id": "x".repeat(65) }), 1),
        (json!({ "type": "lead.created", "data": {}, "timestamp": "yesterday" }), 1),
        (json!({ "type": "lead.created", "data": {}, "extra": 1, "more": 2 }), 2),
    ];
    for (body, count) in cases {
        let faults = crm.post("/api/events", &body).await.error(400);
        assert_eq!(faults.len(), count, "{body}: {faults:?}");
    }
    let slip = json!({ "type": "lead.craeted", "data": {} });
    let faults = crm.post("/api/events", &slip).await.error(400);
    assert!(faults[0].contains("did you mean \"lead.created\"?"), "{faults:?}");
    let fits = json!({ "type": "lead.created", "data": { "text": "x".repeat(1900) } });
    crm.post("/api/events", &fits).await.expect(202);
    let large = json!({ "type": "lead.created", "data": { "text": "x".repeat(2048) } });
    crm.post("/api/events", &large).await.error(413);
    for (key, status) in [("", 400), ("with space", 400), ("ümlaut", 400), (&*"k".repeat(256), 400)] {
        let call = crm.call(Method::POST, "/api/events").header("Idempotency-Key", key);
        assert_eq!(call.json(&fits).send().await.status, status, "{key}");
    }
    with_key(&crm, &"k".repeat(255), &fits).await.expect(202);
}

#[tokio::test]
async fn the_same_key_or_id_is_taken_once_and_a_different_event_under_it_is_a_conflict() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    node.user("eve", "other").create(&receiver.url("/other"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    let event = json!({ "type": "lead.created", "data": { "n": 1 } });

    let first = with_key(&crm, "k1", &event).await.expect(202);
    assert_eq!(first["duplicate"], false);
    let again = with_key(&crm, "k1", &event).await.expect(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
    for other in [
        json!({ "type": "lead.updated", "data": { "n": 1 } }),
        json!({ "type": "lead.created", "data": { "n": 2 } }),
    ] {
        with_key(&crm, "k1", &other).await.error(409);
    }

    let own_id = json!({ "type": "lead.created", "data": { "n": 2 }, "id": "k1" });
    let by_id = crm.post("/api/events", &own_id).await.expect(202);
    assert_eq!(by_id["duplicate"], false, "a key and an id are different things");
    assert_eq!(crm.post("/api/events", &own_id).await.expect(202)["duplicate"], true);
    let changed = json!({ "type": "lead.created", "data": { "n": 3 }, "id": "k1" });
    crm.post("/api/events", &changed).await.error(409);

    let foreign = with_key(&node.publisher("other"), "k1", &event).await.expect(202);
    assert_eq!(foreign["duplicate"], false, "keys belong to an organization");

    let last = crm.publish("quote.sent", &json!({})).await;
    let got = receiver.arrived("/", 3).await;
    let ids: BTreeSet<&str> = got.iter().map(|request| request.event_id()).collect();
    let expected = [text(&first["id"]), "k1".to_owned(), last];
    assert_eq!(ids, expected.iter().map(String::as_str).collect());
    assert_eq!(got.len(), 3);
    receiver.arrived("/other", 1).await;
}

#[tokio::test]
async fn a_key_is_known_again_after_the_node_was_killed() {
    let redis = TestRedis::start();
    let mut node = TestNode::start(&redis).await;
    let crm = node.publisher("acme");
    let event = json!({ "type": "lead.created", "data": {} });
    let first = with_key(&crm, "k1", &event).await.expect(202);
    node.kill().await;
    node.start_again().await;
    let again = with_key(&crm, "k1", &event).await.expect(202);
    assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["lead.*"], &json!({})).await;
    let crm = node.publisher("acme");
    let event = |n: usize| json!({ "type": "lead.created", "data": { "n": n }, "id": format!("e{n}") });

    let mut events: Vec<Value> = (0..10).map(event).collect();
    events[7]["type"] = json!("lead.craeted");
    let faults = crm.post("/api/events/batch", &json!({ "events": events })).await.error(400);
    assert!(faults.len() == 1 && faults[0].contains('7'), "{faults:?}");
    for bad in [json!({ "events": [] }), json!({ "events": vec![event(0); 1001] }), json!({})] {
        crm.post("/api/events/batch", &bad).await.error(400);
    }
    let mut two_tenants = vec![event(0), event(1)];
    two_tenants[1]["organizationId"] = json!("other");
    let refused = crm.post("/api/events/batch", &json!({ "events": two_tenants })).await;
    assert!([400, 403].contains(&refused.status), "{}", refused.body);

    let all: Vec<Value> = (0..1000).map(event).collect();
    let body = json!({ "events": all });
    let answer = crm.post("/api/events/batch", &body).await.expect(202);
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1000), &json!(0)));
    let ids: Vec<String> = answer["events"].as_array().unwrap().iter().map(|e| text(&e["id"])).collect();
    assert_eq!(ids, (0..1000).map(|n| format!("e{n}")).collect::<Vec<_>>(), "in the order of the request");
    let again = crm.post("/api/events/batch", &body).await.expect(202);
    assert_eq!(again["duplicates"], 1000);
    assert_eq!(again["events"][3]["duplicate"], true);

    ann.settled(1000).await;
    let arrived: BTreeSet<String> =
        receiver.received("/").iter().map(|request| request.event_id().to_owned()).collect();
    assert_eq!((arrived.len(), receiver.count("/")), (1000, 1000));
}

#[tokio::test]
async fn an_event_tells_its_readers_where_it_stands_at_each_of_their_webhooks() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/dead", &[Reply::status(500)]);
    receiver.script("/slow", &[Reply::hang()]);
    let no_retry = json!({ "retryAttempts": 0 });
    let mut ids = Vec::new();
    for path in ["/good", "/dead", "/slow"] {
        ids.push(text(&ann.create(&receiver.url(path), &["*"], &no_retry).await["id"]));
    }
    ann.create(&receiver.url("/other"), &["quote.*"], &json!({})).await;
    node.user("bob", "acme").create(&receiver.url("/bob"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    let id = crm.publish("lead.created", &json!({ "a": 1 })).await;
    let path = format!("/api/events/{id}");
    assert_eq!(crm.get(&path).await.expect(200)["id"], id.as_str(), "the publisher sees it at once");
    eventually("two of three have ended", SOON, async || {
        let answer = ann.get(&path).await;
        if answer.status == 404 {
            // Not matched yet, so it is not known to be any of hers.
            return None;
        }
        let event = answer.expect(200);
        assert_eq!(
            (&event["id"], &event["type"], &event["data"]),
            (&json!(id), &json!("lead.created"), &json!({ "a": 1 }))
        );
        let stands = event["webhooks"].as_array().expect("webhooks");
        let of = |wanted: &String| stands.iter().find(|stand| stand["webhookId"] == wanted.as_str());
        let states: Vec<&str> =
            ids.iter().filter_map(of).filter_map(|stand| stand["status"].as_str()).collect();
        (stands.len() == 3 && states == ["delivered", "failed", "pending"]).then_some(())
    })
    .await;
    let of_bob = node.user("bob", "acme").get(&path).await.expect(200);
    assert_eq!(of_bob["webhooks"].as_array().map(Vec::len), Some(1), "each sees their own webhooks");
    assert_eq!(crm.get(&path).await.expect(200)["webhooks"], json!([]));
    node.user("eve", "acme").get(&path).await.error(404);
}

#[tokio::test]
async fn an_event_tells_what_its_last_attempt_came_to_where_it_waits_or_has_failed() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/", &[Reply::status(503)]);
    let mut ids = Vec::new();
    for settings in [json!({ "retrySchedule": [3600] }), json!({ "retryAttempts": 0 })] {
        ids.push(text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]));
    }
    let id = node.publisher("acme").publish("lead.created", &json!({})).await;
    let stands = eventually("both were tried", SOON, async || {
        let answer = ann.get(&format!("/api/events/{id}")).await;
        let stands = answer.json()["webhooks"].as_array().cloned().unwrap_or_default();
        let tried = stands.iter().filter(|stand| stand["attempts"] == 1).count();
        (tried == 2).then_some(stands)
    })
    .await;
    for (webhook, status) in ids.iter().zip(["pending", "failed"]) {
        let stand = stands.iter().find(|stand| stand["webhookId"] == webhook.as_str()).expect("its target");
        let row = &ann.log(webhook, "").await[0];
        let error = json!({
            "kind": "http_status", "message": "the endpoint answered 503 Service Unavailable", "statusCode": 503,
            "at": row["createdAt"],
        });
        assert_eq!(stand["status"], status);
        assert_eq!((&stand["lastAttemptId"], &stand["lastError"]), (&row["id"], &error), "{stand}");
        assert_eq!(stand["nextRetryAt"], row["nextRetryAt"], "{stand}");
        assert_eq!(stand["nextRetryAt"].is_null(), status == "failed", "{stand}");
    }
}
