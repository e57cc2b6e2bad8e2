//! Traces: one of an event over all nodes that it passes; nothing without a collector; no harm from a bad one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Client, Collector, Receiver, Reply, SOON, Span, TestCluster, TestNode, TestRedis, eventually, text,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Publishes with that `traceparent`; gives the event's id.
async fn publish(crm: &Client, traceparent: &str) -> String {
    let call = crm.call(Method::POST, "/api/events").header("traceparent", traceparent);
    text(&call.json(&json!({ "type": "lead.created", "data": {} })).send().await.expect(202)["id"])
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The only span of that name.
#[track_caller]
fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

async fn start(collector: &Collector, redis: &TestRedis) -> TestNode {
    TestNode::start_with(redis, &[("TELEMETRY__OTLP_ENDPOINT", &collector.url())]).await
}

#[tokio::test]
async fn one_trace_leads_from_the_publisher_over_all_nodes_to_every_attempt() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let settings = [("REDIS__URL", redis.url()), ("TELEMETRY__OTLP_ENDPOINT", collector.url())];
    let cluster = TestCluster::start_at(&settings, 2).await;
    receiver.script_each_event("/hook?secret=hunter2", &[Reply::status(500), Reply::status(200)]);
    let (ann, retries) = (cluster.user("ann", "acme"), json!({ "retrySchedule": [0] }));
    let webhook = text(&ann.create(&receiver.url("/hook?secret=hunter2"), &["*"], &retries).await["id"]);
    let mut nodes = BTreeSet::new();
    for place in 0..2 {
        let event = publish(&cluster.node(place).publisher("acme"), CALLER).await;
        let spans = collector.spans_of(&event, 4).await;
        assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
        let publication = only(&spans, "POST /api/events");
        assert_eq!((publication.parent.as_str(), publication.kind), ("00f067aa0ba902b7", 2));
        assert_eq!(publication.attribute("http.response.status_code"), "202");
        assert_eq!(publication.resource["service.instance.id"], format!("n{place}"));
        assert_eq!(publication.resource["service.name"], "salesos-webhooks");
        let dispatch = only(&spans, "dispatch");
        assert_eq!((&dispatch.parent, dispatch.kind), (&publication.id, 1));
        assert_eq!(dispatch.attribute("salesos_webhooks.deliveries"), "1");
        nodes.insert((place, dispatch.resource["service.instance.id"].clone()));
        check_attempts(&spans, &dispatch.id, &webhook);
        check_headers(&spans, &event, &receiver);
        assert!(!format!("{spans:?}").contains("hunter2"), "{spans:#?}");
    }
    let owners: BTreeSet<&String> = nodes.iter().map(|(_, owner)| owner).collect();
    assert_eq!(
        owners.len(),
        1,
        "one of the two was published at a node that does not own the partition: {nodes:?}"
    );

    // Once more: below the dispatch that it had.
    let row = ann.log(&webhook, "").await.remove(0);
    let event = text(&row["eventId"]);
    let dispatch = only(&collector.spans_of(&event, 4).await, "dispatch").id.clone();
    ann.post_empty(&format!("/api/webhooks/{webhook}/deliveries/{}/retry", text(&row["id"])))
        .await
        .expect(202);
    let spans = collector.spans_of(&event, 5).await;
    assert!(named(&spans, "attempt").iter().all(|span| span.trace == TRACE && span.parent == dispatch));
}

fn check_attempts(spans: &[Span], dispatch: &str, webhook: &str) {
    let attempts = named(spans, "attempt");
    assert_eq!(attempts.len(), 2, "{spans:#?}");
    for (number, (attempt, (status, outcome))) in
        (1..).zip(attempts.iter().zip([("500", "http_status"), ("200", "success")]))
    {
        assert_eq!((attempt.parent.as_str(), attempt.kind), (dispatch, 3));
        for (name, expected) in [
            ("http.request.method", "POST"),
            ("server.address", "127.0.0.1"),
            ("http.response.status_code", status),
            ("salesos_webhooks.webhook.id", webhook),
            ("salesos_webhooks.attempt", &number.to_string()),
            ("salesos_webhooks.outcome", outcome),
        ] {
            assert_eq!(attempt.attribute(name), expected, "{name}");
        }
        assert_eq!(attempt.failed, number == 1);
        assert!(attempt.time.start < attempt.time.end);
    }
    assert_eq!(attempts[0].attribute("error.type"), "http_status");
    assert_eq!(attempts[1].attribute("http.request.resend_count"), "1");
}

/// The receiver got each attempt's own span.
fn check_headers(spans: &[Span], event: &str, receiver: &Receiver) {
    let sent: BTreeSet<String> = named(spans, "attempt").iter().map(|span| span.traceparent()).collect();
    let received = receiver.received("/hook?secret=hunter2");
    let of_event = received.iter().filter(|request| request.event_id() == event);
    let got: BTreeSet<String> = of_event.map(|request| request.header("traceparent").to_owned()).collect();
    assert_eq!(got, sent);
}

#[tokio::test]
async fn an_attempt_after_a_take_over_belongs_to_the_same_trace() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let settings = [("REDIS__URL", redis.url()), ("TELEMETRY__OTLP_ENDPOINT", collector.url())];
    let mut cluster = TestCluster::start_at(&settings, 2).await;
    receiver.script("/", &[Reply::status(500), Reply::status(200)]);
    let retries = json!({ "retrySchedule": [5] });
    cluster.user("ann", "acme").create(&receiver.url("/"), &["*"], &retries).await;
    let event = publish(&cluster.node(0).publisher("acme"), CALLER).await;
    let before = collector.spans_of(&event, 3).await;
    let owner = only(&before, "attempt").resource["service.instance.id"].clone();
    cluster.kill(usize::from(owner == "n1")).await;
    let after = collector.spans_of(&event, 4).await;
    let attempts = named(&after, "attempt");
    assert_ne!(attempts[1].resource["service.instance.id"], owner);
    assert_eq!(attempts[1].attribute("salesos_webhooks.attempt"), "2");
    let dispatch = only(&after, "dispatch");
    assert!(attempts.iter().all(|attempt| attempt.trace == TRACE && attempt.parent == dispatch.id));
}

#[tokio::test]
async fn the_caller_decides_whether_a_publication_is_traced_and_the_ratio_where_nobody_does() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let url = collector.url();
    let settings = [("TELEMETRY__OTLP_ENDPOINT", url.as_str()), ("TELEMETRY__OTLP_SAMPLE_RATIO", "0")];
    let node = TestNode::start_with(&redis, &settings).await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    let unsampled = format!("{}00", &CALLER[..53]);
    let malformed = CALLER.to_uppercase();
    let untraced = [
        publish(&crm, &unsampled).await,
        publish(&crm, &malformed).await,
        crm.publish("lead.created", &json!({})).await,
    ];
    let traced = publish(&crm, CALLER).await;
    collector.spans_of(&traced, 3).await;
    for request in receiver.arrived("/", 4).await {
        assert_eq!(request.headers.contains_key("traceparent"), request.event_id() == traced, "{request:?}");
    }
    let events: BTreeSet<String> = collector
        .spans()
        .iter()
        .filter_map(|span| span.attributes.get("salesos_webhooks.event.id").cloned())
        .collect();
    assert!(untraced.iter().all(|event| !events.contains(event)), "{events:?}");
}

#[tokio::test]
async fn without_a_caller_s_trace_each_request_begins_one_and_a_batch_is_one_request() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let node = start(&collector, &redis).await;
    let ann = node.user("ann", "acme");
    let webhook = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let crm = node.publisher("acme");
    let event = json!({ "type": "lead.created", "data": {} });
    let mut traces = BTreeSet::new();
    for id in crm.publish_batch(&[event.clone(), event.clone()]).await {
        let spans = collector.spans_of(&id, 2).await;
        traces.extend(spans.iter().map(|span| span.trace.clone()));
    }
    assert_eq!(traces.len(), 1, "{traces:?}");
    let single = crm.publish("lead.created", &json!({})).await;
    let spans = collector.spans_of(&single, 3).await;
    assert!(only(&spans, "POST /api/events").parent.is_empty());
    assert!(traces.insert(spans[0].trace.clone()), "a trace of its own");

    let report = ann.post_empty(&format!("/api/webhooks/{webhook}/test")).await.expect(200);
    let spans = collector.spans_of(report["eventId"].as_str().unwrap(), 2).await;
    assert_eq!(only(&spans, "attempt").parent, only(&spans, "POST /api/webhooks/{id}/test").id);
    let got = receiver.received("/").pop().expect("the test arrived");
    assert_eq!(got.header("traceparent"), only(&spans, "attempt").traceparent());

    let refused =
        crm.call(Method::POST, "/api/events").header("traceparent", CALLER).json(&json!({})).send().await;
    refused.error(400);
    let refused = eventually("the refusal's span", SOON, async || {
        collector.spans().into_iter().find(|span| span.trace == TRACE)
    })
    .await;
    assert_eq!(refused.attribute("http.response.status_code"), "400");
    assert!(!refused.failed, "a client's fault is not the server's");
}

#[tokio::test]
async fn without_a_collector_a_caller_s_trace_goes_nowhere() {
    let (redis, receiver) = (TestRedis::start(), Receiver::start().await);
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    publish(&node.publisher("acme"), CALLER).await;
    let got = receiver.arrived("/", 1).await;
    assert!(!got[0].headers.contains_key("traceparent"), "{got:?}");
    let records: Vec<String> = redis.command(&["KEYS", "*:event:*"]);
    assert_eq!(records.len(), 1);
    let has_trace: u8 = redis.command(&["HEXISTS", &records[0], "trace"]);
    assert_eq!(has_trace, 0);
    for name in ["traceparent", "Tracestate"] {
        let body =
            json!({ "name": "x", "url": receiver.url("/"), "events": ["*"], "headers": { name: "x" } });
        let faults = ann.post("/api/webhooks", &body).await.error(400);
        assert_eq!(faults, [format!("headers.{name}: this header is set by the service")]);
    }
}

/// Publishes and delivers with that collector; gives how long it took.
async fn time_with(endpoint: &str) -> Duration {
    const EVENTS: usize = 2000;
    let (redis, receiver) = (TestRedis::start(), Receiver::start().await);
    let mut node = TestNode::start_with(&redis, &[("TELEMETRY__OTLP_ENDPOINT", endpoint)]).await;
    let ann = node.user("ann", "acme");
    ann.create(&receiver.url("/"), &["*"], &json!({ "maxConcurrency": 64 })).await;
    let events: Vec<Value> = vec![json!({ "type": "lead.created", "data": {} }); EVENTS / 4];
    let crm = node.publisher("acme");
    let begun = Instant::now();
    for _ in 0..4 {
        crm.publish_batch(&events).await;
    }
    receiver.arrived_within(Duration::from_secs(60), "/", EVENTS).await;
    let took = begun.elapsed();
    if !endpoint.is_empty() {
        let told = node.log().into_iter().filter(|line| line["message"] == "traces are not taken").count();
        assert!(told <= 1, "{told} lines of the same trouble");
    }
    node.terminate();
    let stopping = Instant::now();
    assert_eq!(node.ended(SOON).await.code(), Some(0));
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    took
}

#[tokio::test]
async fn a_collector_that_hangs_or_is_gone_slows_nobody_down() {
    let collector = Collector::start().await;
    collector.answers(&[Reply::hang()]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let without = time_with("").await;
    let hanging = time_with(&collector.url()).await;
    let gone = time_with(&format!("http://{free}")).await;
    println!(
        "2000 events: {without:?} without a collector, {hanging:?} with one that hangs, {gone:?} with one that is gone"
    );
    assert!(collector.requests() > 0);
    // Spans cost something; waiting for answers would cost 18 seconds a batch, of which there are a dozen.
    let most = without * 3 + Duration::from_secs(10);
    assert!(hanging < most && gone < most, "{without:?} {hanging:?} {gone:?}");
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_tried_again_and_at_last_counted_as_dropped() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let node = start(&collector, &redis).await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let crm = node.publisher("acme");
    collector.answers(&[Reply::status(503), Reply::status(200).body("")]);
    let event = crm.publish("lead.created", &json!({})).await;
    collector.spans_of(&event, 3).await;
    eventually("they are counted", SOON, async || {
        (node.metrics().await.sum("trace_spans_exported_total", &[]) >= 3.0).then_some(())
    })
    .await;
    assert_eq!(node.metrics().await.sum("trace_spans_dropped_total", &[]), 0.0);
    collector.answers(&[Reply::status(400)]);
    crm.publish("lead.created", &json!({})).await;
    eventually("they are counted as dropped", SOON, async || {
        (node.metrics().await.sum("trace_spans_dropped_total", &[]) >= 3.0).then_some(())
    })
    .await;
    let line =
        node.log().into_iter().find(|line| line["message"] == "traces are not taken").expect("it is told");
    assert_eq!(line["error"], "the collector answered 400 Bad Request");
}

#[tokio::test]
async fn the_last_spans_are_sent_when_a_node_stops() {
    let (redis, collector, receiver) =
        (TestRedis::start(), Collector::start().await, Receiver::start().await);
    let mut node = start(&collector, &redis).await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let event = publish(&node.publisher("acme"), CALLER).await;
    receiver.arrived("/", 1).await;
    node.terminate();
    assert_eq!(node.ended(SOON).await.code(), Some(0));
    assert_eq!(collector.spans_of(&event, 3).await.len(), 3);
}
