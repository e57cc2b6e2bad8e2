//! The log: a line for each request, a level that changes while the node runs, and readers that stall. That it holds no secret
//! is for `disclosure`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Collector, Receiver, SOON, TestNode, TestRedis, eventually};

async fn set_level(node: &TestNode, body: &Value) -> Answer {
    node.management().call(Method::PUT, "/log-level").json(body).send().await
}

/// Waits for a line that `is` one.
async fn line(node: &TestNode, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, SOON, async || node.log().into_iter().find(&is)).await
}

#[tokio::test]
async fn each_request_has_a_line_with_the_id_that_its_answer_carried() {
    let (redis, collector) = (TestRedis::start(), Collector::start().await);
    let url = collector.url();
    let node = TestNode::start_with(&redis, &[("TELEMETRY__OTLP_ENDPOINT", url.as_str())]).await;
    let ann = node.user("ann", "acme");
    let of = async |answer: &Answer| {
        let id = answer.header("x-request-id").expect("every answer has one").to_owned();
        line(&node, "the request's line", |line| line["request_id"] == id.as_str()).await
    };
    let listed = of(&ann.get("/api/webhooks?page=1&limit=7").await).await;
    for (name, expected) in [
        ("message", json!("request")),
        ("method", json!("GET")),
        ("route", json!("/api/webhooks")),
        ("status", json!(200)),
        ("target", json!("salesos_webhooks::requests")),
    ] {
        assert_eq!(listed[name], expected, "{name}: {listed}");
    }
    assert!(listed["elapsed_ms"].is_u64() && listed.get("trace_id").is_none(), "{listed}");
    let missing = of(&ann.get("/api/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa?x=hunter2").await).await;
    assert_eq!((&missing["route"], &missing["status"]), (&json!("/api/webhooks/{id}"), &json!(404)));
    assert!(!missing.to_string().contains("hunter2"), "{missing}");

    let event = json!({ "type": "lead.created", "data": {} });
    let call = node.publisher("acme").call(Method::POST, "/api/events").header("x-request-id", "mine-7");
    let published = call.json(&event).send().await;
    let line = of(&published).await;
    assert_eq!((&line["request_id"], &line["event"]), (&json!("mine-7"), &published.expect(202)["id"]));
    assert_eq!(line["trace_id"].as_str().map(str::len), Some(32), "{line}");
}

#[tokio::test]
async fn the_level_changes_while_the_node_runs() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let url = collector.url();
    let node = TestNode::start_with(&redis, &[("TELEMETRY__OTLP_ENDPOINT", url.as_str())]).await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    let level = async || node.management().get("/log-level").await.expect(200);
    assert_eq!(level().await, json!({ "level": "info" }));
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 1).await;

    let debug = json!({ "level": "info,salesos_webhooks=debug" });
    assert_eq!(set_level(&node, &debug).await.expect(200), debug);
    assert_eq!(level().await, debug);
    let changed = line(&node, "the change is told", |line| line["message"] == "log level changed").await;
    assert_eq!((&changed["old"], &changed["new"]), (&json!("info"), &debug["level"]));
    let event = crm.publish("lead.created", &json!({})).await;
    let attempted = line(&node, "the attempt", |line| line["message"] == "attempted").await;
    assert_eq!(
        (&attempted["event"], &attempted["attempt"]),
        (&json!(event), &json!(1)),
        "only of the second event"
    );
    assert!(attempted["webhook"].as_str().is_some_and(|id| id.starts_with("wh_")), "{attempted}");
    let dispatched = line(&node, "the dispatch", |line| line["message"] == "event dispatched").await;
    let published = line(&node, "the publication", |line| line["event"] == event.as_str()).await;
    assert!(published["trace_id"].is_string(), "{published}");
    for line in [&attempted, &dispatched] {
        assert_eq!(line["trace_id"], published["trace_id"], "{line}");
    }

    for (body, status, word) in [
        (json!({ "level": "verbose" }), 400, "error, warn, info"),
        (json!({ "level": "info,x=loud" }), 400, "error, warn, info"),
        (json!({ "level": "x=info,".repeat(200) }), 400, "error, warn, info"),
        (json!({ "level": 7 }), 400, "level must be a string"),
        (json!({ "niveau": "info" }), 400, "niveau should not exist"),
        (json!({ "level": "x".repeat(3000) }), 413, "Payload Too Large"),
    ] {
        let answer = set_level(&node, &body).await;
        assert!(answer.status == status && answer.body.contains(word), "{body}: {answer:?}");
    }
    assert_eq!(level().await, debug, "the former one holds");
    set_level(&node, &json!({ "level": "off" })).await.expect(200);
    eventually("the last line, of the audit log", SOON, async || {
        node.log().last().filter(|line| line["action"] == "change_log_level").map(drop)
    })
    .await;
    let lines = node.log().len();
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 3).await;
    assert_eq!(node.log().len(), lines, "nothing is said any more");
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_requests_nor_deliveries() {
    let redis = TestRedis::start();
    let settings = [("API__RATE_LIMIT_PER_MINUTE", "10000000")];
    let node = TestNode::start_with(&redis, &settings).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    node.stall_log();
    // Far more than a pipe holds, and more than the queue in front of it.
    for _ in 0..100 {
        let asked = (0..100).map(|_| ann.get("/api/webhooks/events"));
        for answer in futures_util::future::join_all(asked).await {
            answer.expect(200);
        }
    }
    assert!(node.metrics().await.sum("log_lines_dropped_total", &[]) > 0.0, "what is lost is counted");
    crm.publish("lead.created", &json!({})).await;
    ann.settled(1).await;
}
