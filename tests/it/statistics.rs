//! Contract §7: a webhook's figures against its owner's, and what all nodes did together.
//!
//! What each figure counts is tested in `deliveries` and `adding_up`; here, that they agree whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Client, Gate, Receiver, Reply, SOON, TestCluster, TestNode, TestRedis, Token, eventually, text,
};

/// A node tells what it did each ten seconds.
const TOLD: Duration = Duration::from_secs(15);

/// The figures that both answers have, as numbers that can be added up.
fn numbers(stats: &Value) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut put = |name: String, value: &Value| _ = found.insert(name, value.as_u64().unwrap());
    put("last 24 h".into(), &stats["deliveriesLast24h"]);
    for name in ["total", "successful", "failed", "pending"] {
        put(name.into(), &stats["deliveries"][name]);
    }
    for result in ["successful", "failed"] {
        for (event, counts) in stats["byEvent"].as_object().unwrap() {
            put(format!("{event} {result}"), &counts[result]);
        }
        for hour in stats["timeline"].as_array().unwrap() {
            put(format!("{} {result}", text(&hour["hour"])), &hour[result]);
        }
    }
    found
}

async fn of_webhook(client: &Client, id: &str) -> Value {
    client.get(&format!("/api/webhooks/{id}/stats")).await.expect(200)
}

/// The figures of webhooks must be their owner's together. An hour may end between two reads: then once more.
async fn add_up(ann: &Client, ids: &[&str]) {
    eventually("the webhooks' figures are their owner's", SOON, async || {
        let mut sum = BTreeMap::new();
        for id in ids {
            for (name, n) in numbers(&of_webhook(ann, id).await) {
                *sum.entry(name).or_default() += n;
            }
        }
        (sum == numbers(&ann.stats().await)).then_some(())
    })
    .await;
}

async fn subscribe(ann: &Client, receiver: &Receiver, path: &str, more: &Value) -> String {
    text(&ann.create(&receiver.url(path), &["*"], more).await["id"])
}

#[tokio::test]
async fn a_webhook_s_statistics_are_its_share_of_its_owner_s_and_stay_there_when_it_is_gone() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script_each_event("/flaky", &[Reply::status(500), Reply::status(200)]);
    receiver.script("/dead", &[Reply::status(500)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let schedule = json!({ "retrySchedule": [0] });
    let good = subscribe(&ann, &receiver, "/good", &json!({})).await;
    let flaky = subscribe(&ann, &receiver, "/flaky", &schedule).await;
    let dead = subscribe(&ann, &receiver, "/dead", &schedule).await;
    let ids = [&*good, &*flaky, &*dead];
    add_up(&ann, &ids).await;
    crm.publish("lead.created", &json!({})).await;
    crm.publish("quote.sent", &json!({})).await;
    ann.settled(6).await;
    add_up(&ann, &ids).await;

    let found = of_webhook(&ann, &flaky).await;
    assert_eq!(found["webhookId"], *flaky);
    assert_eq!(found["deliveries"], json!({ "total": 2, "successful": 2, "failed": 0, "pending": 0 }));
    assert_eq!((&found["deliveriesLast24h"], &found["last7dSuccessRate"]), (&json!(4), &json!(50.0)));
    let each = json!({ "successful": 1, "failed": 1 });
    assert_eq!(found["byEvent"], json!({ "lead.created": each, "quote.sent": each }));
    for name in ["avg", "p50", "p95", "p99"] {
        assert!(found["responseTimeMs"][name].is_number(), "{found}");
    }
    assert_eq!(found["timeline"].as_array().unwrap().len(), 168);
    assert_eq!(found.as_object().unwrap().len(), 7, "{found}");

    // A resend counts once more, a test not at all.
    let row = text(&ann.log(&dead, "").await[0]["id"]);
    ann.post_empty(&format!("/api/webhooks/{dead}/deliveries/{row}/retry")).await.expect(202);
    ann.post_empty(&format!("/api/webhooks/{good}/test")).await.expect(200);
    let before = ann.settled(7).await;
    add_up(&ann, &ids).await;
    assert_eq!(of_webhook(&ann, &dead).await["deliveries"]["failed"], 3);
    assert_eq!(of_webhook(&ann, &good).await["deliveriesLast24h"], 2);

    let path = format!("/api/webhooks/{flaky}/stats");
    for (token, status) in [
        (Token::user("bob").org("acme"), 404),
        (Token::user("ann").org("other"), 404),
        (Token::user("root").org("acme").role("ADMIN"), 200),
    ] {
        assert_eq!(ann.with(&token).get(&path).await.status, status);
    }
    ann.call(Method::DELETE, &format!("/api/webhooks/{flaky}")).send().await.expect(204);
    ann.get(&path).await.error(404);
    let after = ann.stats().await;
    for name in ["deliveries", "byEvent", "responseTimeMs"] {
        assert_eq!(after[name], before[name], "{name} keeps what it did");
    }
    eventually("nothing of its own is left", SOON, async || {
        redis.command::<Vec<String>>(&["KEYS", &format!("*:{flaky}")]).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_overflows_or_waits_counts_once_in_both() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("QUEUE__MAX_PENDING_PER_WEBHOOK", "2")]).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/slow", &[Reply::status(200).held(&gate)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let slow = subscribe(&ann, &receiver, "/slow", &json!({})).await;
    let events: Vec<Value> = (0..5).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect();
    crm.publish_batch(&events).await;
    let expected = json!({ "total": 5, "successful": 0, "failed": 3, "pending": 2 });
    eventually("three found no room", SOON, async || {
        (of_webhook(&ann, &slow).await["deliveries"] == expected).then_some(())
    })
    .await;
    add_up(&ann, &[&slow]).await;
    assert_eq!(of_webhook(&ann, &slow).await["responseTimeMs"]["avg"], Value::Null, "no request was made");
    gate.open();
    ann.settled(5).await;
    add_up(&ann, &[&slow]).await;
}

#[tokio::test]
async fn every_node_answers_for_all_of_them_and_not_for_one_that_was_killed() {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, 3).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (cluster.user("ann", "acme"), Token::user("crm").org("acme").role("service"));
    let admin = Token::user("root").org("acme").role("ADMIN");
    let id = subscribe(&ann, &receiver, "/", &json!({})).await;
    let events: Vec<Value> =
        (0..100).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect();
    cluster.client(&crm).publish_batch(&events).await;
    ann.settled(100).await;
    assert_eq!(ann.stats().await["cluster"], Value::Null, "not for everybody");
    for place in 0..3 {
        for token in [&admin, &crm] {
            let client = cluster.node(place).client(token);
            let found = eventually("all have told what they did", TOLD, async || {
                let found = client.stats().await["cluster"].clone();
                (found["nodes"] == 3 && found["deliveriesPerSecond"].as_f64() > Some(0.0)).then_some(found)
            })
            .await;
            assert!(found["responseTimeMs"]["p99"].is_number(), "{found}");
            assert_eq!((&found["inFlight"], &found["backlog"]), (&json!(0), &json!(0)));
        }
    }

    cluster.node(0).client(&crm).publish_batch(&events).await;
    cluster.kill(1).await;
    let client = cluster.node(2).client(&admin);
    eventually("the killed one does not count", SOON, async || {
        (client.stats().await["cluster"]["nodes"] == 2).then_some(())
    })
    .await;
    ann.settled(200).await;
    add_up(&cluster.node(2).user("ann", "acme"), &[&id]).await;
    cluster.terminate(2).await;
    let told: BTreeMap<String, String> = redis.command(&["HGETALL", "sw:{cluster}:metrics"]);
    assert!(told.contains_key("n0") && !told.contains_key("n2"), "who leaves takes it along: {told:?}");
}
