//! Contract §6 and §7: the log, one attempt, resending, tests, and the statistics.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Gate, NEVER_LEFT_ALONE, Receiver, Reply, SOON, TestNode, TestRedis, eventually, is_time, text,
};

#[tokio::test]
async fn a_row_of_the_log_tells_everything_about_its_attempt() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/", &[Reply::status(503).body("not now"), Reply::status(201).body("taken")]);
    let settings = json!({ "retrySchedule": [1], "headers": { "X-Key": "hidden" } });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    let event = node.publisher("acme").publish("lead.created", &json!({ "a": 1 })).await;
    ann.settled(1).await;

    let path = format!("/api/webhooks/{id}/deliveries");
    let page = ann.get(&path).await.expect(200);
    assert_eq!(page["pagination"], json!({ "page": 1, "limit": 20, "total": 2, "totalPages": 1 }));
    let (good, bad) = (&page["logs"][0], &page["logs"][1]);
    let common =
        json!({ "webhookId": id, "event": "lead.created", "eventId": event, "url": receiver.url("/") });
    for row in [good, bad] {
        for (name, value) in common.as_object().unwrap() {
            assert_eq!(&row[name], value, "{name}");
        }
        assert!(text(&row["id"]).starts_with("att_") && is_time(&row["createdAt"]), "{row}");
        assert!(row["responseTimeMs"].is_u64(), "{row}");
        assert_eq!(row["requestPayload"]["data"], json!({ "a": 1 }));
    }
    for (row, name, value) in [
        (bad, "statusCode", json!(503)),
        (bad, "responseBody", json!("not now")),
        (bad, "attemptNumber", json!(1)),
        (bad, "success", json!(false)),
        (bad, "errorKind", json!("http_status")),
        (good, "statusCode", json!(201)),
        (good, "responseBody", json!("taken")),
        (good, "attemptNumber", json!(2)),
        (good, "success", json!(true)),
        (good, "errorKind", Value::Null),
        (good, "errorMessage", Value::Null),
        (good, "nextRetryAt", Value::Null),
    ] {
        assert_eq!(row[name], value, "{name}: {row}");
    }
    assert!(is_time(&bad["nextRetryAt"]), "{bad}");

    let one = ann.get(&format!("{path}/{}", text(&good["id"]))).await;
    assert_eq!(one.expect(200)["requestPayload"]["id"], event.as_str());
    assert!(one.body.contains("***") && !one.body.contains("hidden"), "{}", one.body);
    assert!(!one.body.contains("v1,"), "signatures are not shown: {}", one.body);
    let headers = one.json()["requestHeaders"].to_string().to_ascii_lowercase();
    assert!(headers.contains("x-webhook-event") && headers.contains("x-key"), "{headers}");
    ann.get(&format!("{path}/att_1_0_abcdef")).await.error(404);
    ann.get(&format!("{path}/nonsense")).await.error(404);
}

#[tokio::test]
async fn the_log_can_be_filtered_and_paged() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[NEVER_LEFT_ALONE]).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script_each_event("/", &[Reply::status(500), Reply::status(200)]);
    let settings = json!({ "retrySchedule": [0] });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    let crm = node.publisher("acme");
    let events: Vec<Value> = (0..30)
        .map(
            |n| json!({ "type": if n % 3 == 0 { "quote.sent" } else { "lead.created" }, "data": { "n": n } }),
        )
        .collect();
    crm.publish_batch(&events).await;
    ann.settled(30).await;

    let path = format!("/api/webhooks/{id}/deliveries");
    for (query, total) in [
        ("", 60),
        ("success=true", 30),
        ("success=false", 30),
        ("event=quote.sent", 20),
        ("event=quote.sent&success=false", 10),
        ("event=nothing.known", 0),
    ] {
        let page = ann.get(&format!("{path}?limit=7&{query}")).await.expect(200);
        let pages = u64::div_ceil(total, 7);
        assert_eq!(
            page["pagination"],
            json!({ "page": 1, "limit": 7, "total": total, "totalPages": pages }),
            "{query}"
        );
        let rows = ann.log(&id, query).await;
        let ids: BTreeSet<String> = rows.iter().map(|row| text(&row["id"])).collect();
        assert_eq!((rows.len() as u64, ids.len() as u64), (total, total), "{query}");
        let times: Vec<String> = rows.iter().map(|row| text(&row["createdAt"])).collect();
        if query.is_empty() {
            let first: Vec<&str> =
                page["logs"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
            let expected: Vec<&str> = rows[..7].iter().map(|row| row["id"].as_str().unwrap()).collect();
            assert_eq!(first, expected);
            assert!(times.first() >= times.last(), "newest first");
        }
        for row in &rows {
            assert!(!query.contains("success=true") || row["success"] == true);
            assert!(!query.contains("success=false") || row["success"] == false);
            assert!(!query.contains("event=quote.sent") || row["event"] == "quote.sent");
        }
    }
    let middle = ann.log(&id, "success=true").await[15]["createdAt"].clone();
    for (query, total) in [
        ("final=true".to_owned(), 30),
        ("final=false".to_owned(), 30),
        ("final=true&success=false".to_owned(), 0),
        ("since=2026-01-01T00:00:00Z".to_owned(), 60),
        ("until=2026-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let page = ann.get(&format!("{path}?{query}")).await.expect(200);
        assert_eq!(page["pagination"]["total"], total, "{query}");
    }
    let count = async |query: String| ann.log(&id, &query).await.len();
    let (before, after) =
        (count(format!("until={}", text(&middle))).await, count(format!("since={}", text(&middle))).await);
    assert!(before > 0 && after > 0 && before + after == 60, "{before} and {after}");
    let past = ann.get(&format!("{path}?page=99")).await.expect(200);
    assert_eq!((&past["logs"], &past["pagination"]["total"]), (&json!([]), &json!(60)));
    for bad in ["success=maybe", "limit=101", "page=-1", "limit=x", "final=1", "since=now"] {
        ann.get(&format!("{path}?{bad}")).await.error(400);
    }
}

#[tokio::test]
async fn a_large_payload_is_left_out_of_listings_and_whole_in_the_one_attempt() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script(
        "/",
        &[Reply::status(200).body(&"r".repeat(5000)), Reply::status(500).body(&"r".repeat(5000))],
    );
    let settings = json!({ "retryAttempts": 0, "maxConcurrency": 1 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &settings).await["id"]);
    let data = json!({ "text": "x".repeat(10_000) });
    let crm = node.publisher("acme");
    crm.publish("lead.created", &data).await;
    ann.settled(1).await;
    crm.publish("lead.created", &data).await;
    ann.settled(2).await;
    let rows = ann.log(&id, "").await;
    for (row, length) in [(&rows[1], 256), (&rows[0], 4096)] {
        assert_eq!((&row["requestPayload"], &row["payloadTruncated"]), (&Value::Null, &json!(true)), "{row}");
        let one = ann.get(&format!("/api/webhooks/{id}/deliveries/{}", text(&row["id"]))).await.expect(200);
        assert_eq!(one["requestPayload"]["data"], data);
        assert_eq!(text(&one["responseBody"]).len(), length, "{}", row["success"]);
    }
}

#[tokio::test]
async fn one_attempt_can_be_sent_again() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/", &[Reply::status(500), Reply::status(200)]);
    let no_retry = json!({ "retryAttempts": 0 });
    let id = text(&ann.create(&receiver.url("/"), &["*"], &no_retry).await["id"]);
    let bystander = text(&ann.create(&receiver.url("/other"), &["*"], &json!({})).await["id"]);
    let event = node.publisher("acme").publish("lead.created", &json!({ "a": 1 })).await;
    ann.settled(2).await;
    let row = text(&ann.log(&id, "").await[0]["id"]);
    ann.post_empty(&format!("/api/webhooks/{id}/deliveries/{row}/retry")).await.expect(202);
    let got = receiver.arrived("/", 2).await;
    assert_eq!((got[1].event_id(), &got[1].body), (event.as_str(), &got[0].body));
    eventually("the resend is in the log", SOON, async || {
        let rows = ann.log(&id, "").await;
        (rows.len() == 2 && rows[0]["success"] == true).then_some(())
    })
    .await;
    assert_eq!(receiver.count("/other"), 1, "only that webhook gets it again");
    ann.post_empty(&format!("/api/webhooks/{bystander}/deliveries/{row}/retry")).await.error(404);
    ann.post_empty(&format!("/api/webhooks/{id}/deliveries/att_1_0_abcdef/retry")).await.error(404);
}

#[tokio::test]
async fn a_test_is_sent_at_once_and_counts_for_nothing() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script(
        "/",
        &[Reply::status(200).body("pong"), Reply::status(500).body("broken"), Reply::status(200)],
    );
    let made = ann.create(&receiver.url("/"), &["quote.*"], &json!({ "isActive": false })).await;
    let (id, secret) = (text(&made["id"]), text(&made["secret"]));
    let path = format!("/api/webhooks/{id}/test");

    let good = ann.post_empty(&path).await.expect(200);
    assert_eq!(
        (&good["success"], &good["statusCode"], &good["responseBody"], &good["error"], &good["event"]),
        (&json!(true), &json!(200), &json!("pong"), &Value::Null, &json!("test"))
    );
    assert!(good["responseTimeMs"].is_u64() && !text(&good["message"]).is_empty());
    let bad = ann.post_empty(&path).await.expect(200);
    assert_eq!((&bad["success"], &bad["statusCode"]), (&json!(false), &json!(500)));
    assert!(!text(&bad["error"]).is_empty());
    let sample = ann.post(&path, &json!({ "event": "lead.created" })).await.expect(200);
    assert_eq!(sample["event"], "lead.created");

    let got = receiver.received("/");
    assert_eq!((got[0].header("x-webhook-event"), got[0].event_id()), ("test", &*text(&good["eventId"])));
    assert_eq!(got[2].header("x-webhook-event"), "lead.created");
    assert!(got[2].json()["data"].as_object().is_some_and(|data| !data.is_empty()));
    got.iter().for_each(|request| request.verify(&[&secret]));
    ann.post(&path, &json!({ "event": "lead.craeted" })).await.error(400);
    ann.post(&path, &json!({ "other": 1 })).await.error(400);

    eventually("all three are in the log", SOON, async || (ann.log(&id, "").await.len() == 3).then_some(()))
        .await;
    let webhook = ann.webhook(&id).await;
    for name in ["deliveryCount", "successCount", "failureCount", "consecutiveFailures", "pendingCount"] {
        assert_eq!(webhook[name], 0, "{name}");
    }
    assert_eq!(ann.stats().await["deliveriesLast24h"], 0);
}

#[tokio::test]
async fn a_test_sends_the_data_that_it_is_given_as_a_publication_does() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let made = ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let (id, secret) = (text(&made["id"]), text(&made["secret"]));
    let path = format!("/api/webhooks/{id}/test");
    let given = r#"{ "event" : "lead.created" , "data" : { "z" : 1.0 , "a" : [ 1e3 , "\u00e9" ] } }"#;
    let report = ann.call(Method::POST, &path).text(given).send().await.expect(200);
    assert_eq!((&report["success"], &report["event"]), (&json!(true), &json!("lead.created")));
    let alone = ann.post(&path, &json!({ "data": {} })).await.expect(200);
    assert_eq!(alone["event"], "test");
    // Longer than a webhook may be, not longer than an event may.
    let long = "x".repeat(100_000);
    ann.post(&path, &json!({ "data": { "long": long } })).await.expect(200);

    let got = receiver.received("/");
    let body = String::from_utf8_lossy(&got[0].body);
    assert!(body.ends_with(r#","data":{"z":1.0,"a":[1e3,"é"]}}"#), "{body}");
    assert_eq!(
        (got[1].json()["data"].clone(), got[2].json()["data"]["long"].clone()),
        (json!({}), json!(long))
    );
    got.iter().for_each(|request| request.verify(&[&secret]));
    ann.post(&path, &json!({ "data": { "long": "x".repeat(262_144) } })).await.error(413);
    let row = ann.log(&id, "event=lead.created").await.remove(0);
    assert_eq!(row["requestPayload"]["data"], json!({ "z": 1.0, "a": [1e3, "é"] }));
}

#[tokio::test]
async fn a_webhook_has_one_test_at_a_time() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let path = format!("/api/webhooks/{id}/test");
    let first = tokio::spawn({
        let (ann, path) = (ann.clone(), path.clone());
        async move { ann.post_empty(&path).await }
    });
    receiver.arrived("/", 1).await;
    ann.post_empty(&path).await.error(409);
    gate.open();
    assert_eq!(first.await.unwrap().expect(200)["success"], true);
    eventually("the next test may run", SOON, async || {
        (ann.post_empty(&path).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn statistics_and_counters_count_attempts_and_deliveries_as_the_contract_says() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script_each_event("/flaky", &[Reply::status(500), Reply::status(200)]);
    receiver.script("/dead", &[Reply::status(500)]);
    let good = text(&ann.create(&receiver.url("/good"), &["*"], &json!({})).await["id"]);
    let schedule = json!({ "retrySchedule": [0] });
    let flaky = text(&ann.create(&receiver.url("/flaky"), &["*"], &schedule).await["id"]);
    let dead = text(&ann.create(&receiver.url("/dead"), &["lead.*"], &schedule).await["id"]);
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    crm.publish("quote.sent", &json!({})).await;
    let stats = ann.settled(5).await;

    assert_eq!(stats["deliveries"], json!({ "total": 5, "successful": 4, "failed": 1, "pending": 0 }));
    assert_eq!(stats["deliveriesLast24h"], 8);
    assert_eq!(stats["last7dSuccessRate"].as_f64(), Some(50.0));
    let by_event = json!({
        "lead.created": { "successful": 2, "failed": 3 }, "quote.sent": { "successful": 2, "failed": 1 },
    });
    assert_eq!(stats["byEvent"], by_event);
    for name in ["avg", "p50", "p95", "p99"] {
        assert!(stats["responseTimeMs"][name].is_number(), "{name}: {stats}");
    }
    let timeline = stats["timeline"].as_array().unwrap();
    let sum = |name: &str| timeline.iter().filter_map(|hour| hour[name].as_u64()).sum::<u64>();
    assert_eq!((sum("successful"), sum("failed")), (4, 4));
    assert!(timeline.iter().all(|hour| is_time(&hour["hour"])), "{timeline:?}");
    let failures: Vec<u64> =
        stats["byWebhook"].as_array().unwrap().iter().map(|of| of["failed"].as_u64().unwrap()).collect();
    assert_eq!(failures, [2, 2, 0], "most failures first");

    for (id, count, ok, failed, in_a_row) in [(&good, 2, 2, 0, 0), (&flaky, 4, 2, 2, 0), (&dead, 2, 0, 2, 2)]
    {
        let webhook = ann.webhook(id).await;
        let found = ["deliveryCount", "successCount", "failureCount", "consecutiveFailures", "pendingCount"]
            .map(|name| webhook[name].as_u64().unwrap());
        assert_eq!(found[..3], [count, ok, failed], "{webhook}");
        assert_eq!(found[4], 0);
        assert!(found[3] == in_a_row || id == &flaky, "{webhook}");
        assert_eq!(webhook["lastSuccessAt"].is_null(), ok == 0, "{webhook}");
        assert_eq!(webhook["lastFailureAt"].is_null(), failed == 0, "{webhook}");
    }
    let reset = ann.post_empty(&format!("/api/webhooks/{dead}/reset-failures")).await.expect(200);
    assert_eq!((&reset["consecutiveFailures"], &reset["failureCount"]), (&json!(0), &json!(2)));

    ann.call(Method::DELETE, &format!("/api/webhooks/{flaky}")).send().await.expect(204);
    let after = ann.stats().await;
    assert_eq!(after["deliveries"], stats["deliveries"], "what was deleted stays in the totals");
    assert_eq!(after["webhooks"]["total"], 2);
    let publisher = crm.stats().await;
    assert_eq!(publisher["deliveries"]["total"], 0);
}

/// Entries that were ever put into the mailbox of a webhook.
fn queued(redis: &TestRedis, webhook: &str) -> u64 {
    let mailboxes: Vec<String> = redis.command(&["KEYS", &format!("sw:*:mbox:{webhook}")]);
    let Some(mailbox) = mailboxes.first() else { return 0 };
    let about: Vec<redis::Value> = redis.command(&["XINFO", "STREAM", mailbox]);
    let mut pairs = about.chunks(2).map(|pair| (text_of(&pair[0]), &pair[1]));
    match pairs.find(|(name, _)| name == "entries-added") {
        Some((_, redis::Value::Int(added))) => (*added).try_into().unwrap(),
        _ => panic!("XINFO STREAM tells how many there were"),
    }
}

fn text_of(value: &redis::Value) -> String {
    redis::from_redis_value(value.clone()).unwrap_or_default()
}

#[tokio::test]
async fn what_arrives_at_once_goes_through_no_mailbox_and_what_does_not_waits_in_one() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let webhook = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    for n in 1..=20 {
        crm.publish("lead.created", &json!({ "n": n })).await;
        ann.settled(n).await;
    }
    let before = queued(&redis, &webhook);
    assert!((1..20).contains(&before), "the first one wakes the webhook, the others need no queue: {before}");
    assert_eq!(ann.log(&webhook, "").await.len(), 20);

    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    crm.publish("lead.created", &json!({ "n": 21 })).await;
    receiver.arrived("/", 21).await;
    eventually("it waits in the mailbox meanwhile", SOON, async || {
        (ann.webhook(&webhook).await["pendingCount"] == 1).then_some(())
    })
    .await;
    assert_eq!(queued(&redis, &webhook), before + 1);
    gate.open();
    ann.settled(21).await;
    assert_eq!(receiver.count("/"), 21, "each once");
    assert_eq!(ann.log(&webhook, "").await.len(), 21);
}
