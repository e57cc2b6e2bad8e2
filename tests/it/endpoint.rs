//! Contract §8: the request that an endpoint gets, and what its answer leads to.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

#[tokio::test]
async fn a_request_has_all_headers_and_two_signatures_that_verify() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let own = json!({ "headers": { "X-Team": "blue", "Authorization": "Basic abc" } });
    let made = ann.create(&receiver.url("/hook?x=1"), &["*"], &own).await;
    let id = node.publisher("acme").publish("lead.created", &json!({ "name": "Zoë" })).await;
    let got = receiver.arrived("/hook?x=1", 1).await.remove(0);
    let version = env!("CARGO_PKG_VERSION");
    for (name, value) in [
        ("x-team", "blue"),
        ("authorization", "Basic abc"),
        ("content-type", "application/json"),
        ("user-agent", &*format!("SalesOS-Webhooks/{version}")),
        ("x-webhook-event", "lead.created"),
        ("x-webhook-id", &id),
        ("webhook-id", &id),
        ("x-webhook-attempt", "1"),
    ] {
        assert_eq!(got.header(name), value, "{name}");
    }
    let seconds: u64 = got.header("webhook-timestamp").parse().unwrap();
    let millis: u64 = got.header("x-webhook-timestamp").parse().unwrap();
    assert_eq!(millis / 1000, seconds);
    got.verify(&[&text(&made["secret"])]);
}

#[tokio::test]
async fn the_body_is_what_json_stringify_would_write_whatever_was_published() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let made = node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    // (as published, the data that must arrive)
    let cases = [
        (
            "{\n  \"type\": \"lead.created\",\n  \"data\" : {\n\t\"z\": 1 ,\n \"a\": [ 1, 2 ]\r\n}\n}",
            r#"{"z":1,"a":[1,2]}"#,
        ),
        (
            r#"{"data":{"name":"Zo\u00eb","quote":"\u0022","slash":"a\/b","emoji":"\ud83d\ude00"},"type":"lead.created"}"#,
            r#"{"name":"Zoë","quote":"\"","slash":"a/b","emoji":"😀"}"#,
        ),
        (
            r#"{"type":"lead.created","data":{"control":"\u000a\u0001","big":12345678901234567890.10,"e":1E+2}}"#,
            r#"{"control":"\n\u0001","big":12345678901234567890.10,"e":1E+2}"#,
        ),
    ];
    for (index, (published, data)) in cases.into_iter().enumerate() {
        let answer = crm.call(Method::POST, "/api/events").text(published).send().await.expect(202);
        let got = receiver.arrived("/", index + 1).await.remove(index);
        let expected = format!(
            r#"{{"id":{},"type":"lead.created","timestamp":{},"organizationId":"acme","data":{data}}}"#,
            answer["id"], answer["timestamp"]
        );
        assert_eq!(String::from_utf8(got.body.clone()).unwrap(), expected);
        got.verify(&[&text(&made["secret"])]);
    }
}

#[tokio::test]
async fn every_attempt_sends_the_same_bytes_with_a_signature_of_its_own() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(500), Reply::close(), Reply::status(204)]);
    let settings = json!({ "retrySchedule": [0, 1] });
    let made = node.user("ann", "acme").create(&receiver.url("/"), &["*"], &settings).await;
    node.publisher("acme").publish("lead.created", &json!({ "a": 1 })).await;
    let got = receiver.arrived("/", 3).await;
    for (index, request) in got.iter().enumerate() {
        assert_eq!(request.attempt() as usize, index + 1);
        assert_eq!(request.body, got[0].body);
        assert_eq!(request.event_id(), got[0].event_id());
        request.verify(&[&text(&made["secret"])]);
    }
}

#[tokio::test]
async fn wildcards_and_families_get_what_they_name_and_nothing_else() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    for (path, events) in [
        ("/all", &["*"] as &[&str]),
        ("/family", &["lead.*"]),
        ("/exact", &["lead.created", "quote.sent"]),
        ("/both", &["lead.created", "lead.*", "*"]),
    ] {
        ann.create(&receiver.url(path), events, &json!({})).await;
    }
    let crm = node.publisher("acme");
    for event_type in ["lead.created", "lead.updated", "quote.sent", "task.overdue"] {
        crm.publish(event_type, &json!({})).await;
    }
    ann.settled(4 + 2 + 2 + 4).await;
    let types = |path: &str| {
        let mut types: Vec<String> =
            receiver.received(path).iter().map(|r| r.header("x-webhook-event").to_owned()).collect();
        types.sort();
        types.join(" ")
    };
    assert_eq!(types("/all"), "lead.created lead.updated quote.sent task.overdue");
    assert_eq!(types("/family"), "lead.created lead.updated");
    assert_eq!(types("/exact"), "lead.created quote.sent");
    assert_eq!(types("/both"), types("/all"));
}

#[tokio::test]
async fn each_kind_of_failure_has_its_name_in_the_log() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/500", &[Reply::status(500).body("broken")]);
    receiver.script("/redirect", &[Reply::status(302).header("Location", "http://127.0.0.1:1/")]);
    receiver.script("/hang", &[Reply::hang()]);
    receiver.script("/close", &[Reply::close()]);
    let unused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let tls = receiver.url("/").replace("http:", "https:");
    let cases = [
        (receiver.url("/500"), "http_status", json!(500)),
        (receiver.url("/redirect"), "redirect", json!(302)),
        (receiver.url("/hang"), "timeout", Value::Null),
        (receiver.url("/close"), "connect", Value::Null),
        (unused, "connect", Value::Null),
        (tls, "tls", Value::Null),
        ("http://does-not-exist.invalid/".to_owned(), "dns", Value::Null),
    ];
    let settings = json!({ "retryAttempts": 0, "timeoutSeconds": 3 });
    let mut webhooks = Vec::new();
    for (url, kind, status) in cases {
        webhooks.push((text(&ann.create(&url, &["*"], &settings).await["id"]), kind, status));
    }
    node.publisher("acme").publish("lead.created", &json!({})).await;
    for (id, kind, status) in webhooks {
        let row = eventually(kind, SOON, async || ann.log(&id, "").await.into_iter().next()).await;
        assert_eq!((&row["errorKind"], &row["statusCode"]), (&json!(kind), &status), "{row}");
        assert_eq!((&row["success"], &row["nextRetryAt"]), (&json!(false), &Value::Null));
        assert!(!text(&row["errorMessage"]).is_empty());
    }
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_switched_off_with_the_reason() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    receiver.script("/", &[Reply::status(410), Reply::status(200)]);
    let made = ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let id = text(&made["id"]);
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    let disabled = eventually("the webhook is disabled", SOON, async || {
        let webhook = ann.webhook(&id).await;
        (webhook["status"] == "disabled").then_some(webhook)
    })
    .await;
    assert_eq!(disabled["isActive"], false);
    assert!(text(&disabled["disabledReason"]).contains("410"), "{disabled}");
    let log = ann.log(&id, "").await;
    assert_eq!((log.len(), &log[0]["statusCode"]), (1, &json!(410)));

    let active = ann.post_empty(&format!("/api/webhooks/{id}/activate")).await.expect(200);
    assert_eq!((&active["status"], &active["disabledReason"]), (&json!("active"), &Value::Null));
    let second = crm.publish("lead.updated", &json!({})).await;
    eventually("it is sent to again", SOON, async || {
        receiver.received("/").iter().any(|request| request.event_id() == second).then_some(())
    })
    .await;
}
