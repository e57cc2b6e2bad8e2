//! The audit log: exactly one line for each change, none for what was not done, and who, what and from where on it.

use reqwest::Method;
use salesos_webhooks::api::{audit, routes};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{
    Answer, ChaosProxy, Client, Gate, NEVER_LEFT_ALONE, Receiver, Reply, SOON, TestNode, TestRedis, Token,
    eventually, text,
};

/// More than a recovery queues at once: it is still running when it is looked at.
const DEAD: usize = 600;
/// Of a webhook that fails each event at once.
const HOPELESS: &str = "/hopeless";

fn is_audit(line: &Value) -> bool {
    line["target"] == "salesos_webhooks::audit"
}

/// The audit lines of one request. They come before the request's own line, which is waited for.
async fn lines_of(node: &TestNode, request_id: &str) -> Vec<Value> {
    eventually("the request's line", SOON, async || {
        let lines: Vec<Value> =
            node.log().into_iter().filter(|line| line["request_id"] == request_id).collect();
        let is_told = lines.iter().any(|line| line["target"] == "salesos_webhooks::requests");
        is_told.then(|| lines.into_iter().filter(is_audit).collect())
    })
    .await
}

async fn lines_of_answer(node: &TestNode, answer: &Answer) -> Vec<Value> {
    lines_of(node, answer.header("x-request-id").expect("every answer has one")).await
}

/// A request that does what its route is for.
struct Ready {
    path: String,
    body: Value,
    webhook: Option<String>,
}

/// Everything that the routes need.
struct Stage {
    node: TestNode,
    ann: Client,
    receiver: Receiver,
    /// With [`DEAD`] dead deliveries, let out slowly.
    hopeless: String,
}

impl Stage {
    async fn set(redis: &TestRedis) -> Self {
        let node = TestNode::start_with(redis, &[NEVER_LEFT_ALONE]).await;
        let receiver = Receiver::start().await;
        receiver.script(HOPELESS, &[Reply::status(500)]);
        let ann = node.user("ann", "acme");
        let once = json!({ "retryAttempts": 0 });
        let hopeless = text(&ann.create(&receiver.url(HOPELESS), &["lead.*"], &once).await["id"]);
        let event = json!({ "type": "lead.created", "data": {} });
        node.publisher("acme").publish_batch(&vec![event; DEAD]).await;
        ann.settled(DEAD as u64).await;
        ann.patch(&format!("/api/webhooks/{hopeless}"), &json!({ "rateLimitPerSecond": 1 }))
            .await
            .expect(200);
        Self { node, ann, receiver, hopeless }
    }

    async fn ready(&self, method: &str, path: &str) -> Ready {
        let new = self.ann.create(&self.receiver.url("/"), &["quote.*"], &json!({})).await;
        let mut webhook = text(&new["id"]);
        let mut body = Value::Null;
        match (method, path) {
            ("post", "/webhooks") => {
                body = json!({ "name": "n", "url": self.receiver.url("/"), "events": ["quote.*"] });
            }
            ("patch", _) => body = json!({ "name": "other", "maxConcurrency": 3, "ordered": false }),
            (_, "/webhooks/{id}/recover") => {
                webhook = self.hopeless.clone();
                let span = json!({ "since": "2020-01-01T00:00:00Z" });
                match method {
                    "post" => body = span,
                    _ => {
                        // It may run already.
                        self.ann.post(&format!("/api/webhooks/{webhook}/recover"), &span).await;
                    }
                }
            }
            (_, "/webhooks/{id}/deliveries/{attemptId}/retry") => webhook = self.hopeless.clone(),
            _ => {}
        }
        let mut filled = format!("/api{path}").replace("{id}", &webhook);
        if path.contains("{attemptId}") {
            let rows = self.ann.get(&format!("/api/webhooks/{webhook}/deliveries?limit=1")).await.expect(200);
            filled = filled.replace("{attemptId}", &text(&rows["logs"][0]["id"]));
        }
        let webhook = path.contains("{id}").then_some(webhook);
        Ready { path: filled, body, webhook }
    }

    async fn send(client: &Client, method: &str, ready: &Ready, request_id: &str) -> Answer {
        let method: Method = method.to_uppercase().parse().expect("a method");
        let call = client.call(method, &ready.path).header("X-Request-Id", request_id);
        if ready.body.is_null() { call.send().await } else { call.json(&ready.body).send().await }
    }
}

#[tokio::test]
async fn every_changing_route_writes_one_line_that_names_who_what_and_where() {
    let redis = TestRedis::start();
    let stage = Stage::set(&redis).await;
    let mut changes = 0;
    for (number, (method, path)) in routes::all().enumerate() {
        let Some(action) = audit::action(method, path) else { continue };
        let ready = stage.ready(method, path).await;
        let id = format!("change-{number}");
        let answer = Stage::send(&stage.ann, method, &ready, &id).await;
        assert!((200..300).contains(&answer.status), "{method} {path}: {answer:?}");
        let lines = lines_of(&stage.node, &id).await;
        assert_eq!(lines.len(), 1, "{method} {path}: {lines:?}");
        let webhook = ready.webhook.unwrap_or_else(|| text(&answer.json()["id"]));
        for (name, expected) in [
            ("message", "change"),
            ("action", action.as_str()),
            ("result", "done"),
            ("tenant", "org:acme"),
            ("user", "ann"),
            ("webhook", &webhook),
            ("source", "127.0.0.1"),
        ] {
            assert_eq!(lines[0][name], expected, "{method} {path}: {name}: {}", lines[0]);
        }
        let fields = if method == "patch" { json!("name,maxConcurrency") } else { Value::Null };
        assert_eq!(lines[0].get("fields").unwrap_or(&Value::Null), &fields, "{}", lines[0]);
        assert!(!lines[0].to_string().contains("http://"), "{}", lines[0]);
        let labels = [format!("action=\"{}\"", action.as_str()), "result=\"done\"".to_owned()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert!(stage.node.metrics().await.sum("changes_total", &labels) >= 1.0, "{action:?}");
        changes += 1;
    }
    assert_eq!(changes, 11, "all of the API");
}

#[tokio::test]
async fn who_may_not_is_told_as_denied() {
    let redis = TestRedis::start();
    let stage = Stage::set(&redis).await;
    let viewer = stage.ann.with(&Token::user("eve").org("acme").role("VIEWER"));
    for (number, (method, path)) in routes::all().enumerate() {
        let Some(action) = audit::action(method, path) else { continue };
        let ready = stage.ready(method, path).await;
        let id = format!("denied-{number}");
        Stage::send(&viewer, method, &ready, &id).await.error(403);
        let lines = lines_of(&stage.node, &id).await;
        assert_eq!(lines.len(), 1, "{method} {path}: {lines:?}");
        let found = ["action", "result", "user"].map(|name| text(&lines[0][name]));
        assert_eq!(found, [action.as_str(), "denied", "eve"]);
    }
    let admin = stage.ann.with(&Token::user("root").org("acme").role("ADMIN"));
    let path = format!("/api/webhooks/{}", stage.hopeless);
    admin.patch(&path, &json!({ "name": "x" })).await.error(403);
    let labels = ["action=\"update_webhook\"", "result=\"denied\""];
    assert_eq!(stage.node.metrics().await.sum("changes_total", &labels), 2.0, "counted, if not written");
    let stopped = admin.post_empty(&format!("{path}/deactivate")).await;
    stopped.expect(200);
    assert_eq!(lines_of_answer(&stage.node, &stopped).await[0]["user"], "root");
}

#[tokio::test]
async fn what_was_not_done_has_no_line() {
    let redis = TestRedis::start();
    let stage = Stage::set(&redis).await;
    let Stage { node, ann, receiver, hopeless } = &stage;
    let path = format!("/api/webhooks/{hopeless}");
    let url = receiver.url("/");
    let nowhere = "/api/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa";
    let dry = json!({ "since": "2020-01-01T00:00:00Z", "dryRun": true });
    let answers = [
        (400, ann.post("/api/webhooks", &json!({ "name": "", "url": url, "events": ["*"] })).await),
        (404, ann.patch(nowhere, &json!({ "name": "x" })).await),
        (404, ann.delete(nowhere).await),
        (404, node.user("bob", "acme").delete(&path).await),
        (404, ann.post_empty(&format!("{nowhere}/test")).await),
        (412, ann.call(Method::DELETE, &path).header("If-Match", "\"999\"").send().await),
        (200, ann.patch(&path, &json!({ "name": "test", "retryAttempts": 0 })).await),
        (200, ann.post(&format!("{path}/recover"), &dry).await),
        (200, ann.get(&path).await),
        (404, ann.delete(&format!("{path}/recover")).await),
        (200, ann.post(&format!("{path}/filter-test"), &json!({ "data": {} })).await),
        (
            202,
            node.publisher("acme").post("/api/events", &json!({ "type": "lead.created", "data": {} })).await,
        ),
        (401, ann.with_text("nonsense").delete(&path).await),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(lines_of_answer(node, &answer).await, Vec::<Value>::new(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_change_whose_client_hangs_up_is_told_when_it_has_ended() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let token = Token::user("ann").org("acme");
    let id = text(&node.client(&token).create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let mut socket = TcpStream::connect(node.address().get()).await.unwrap();
    let head = format!(
        "POST /api/webhooks/{id}/test HTTP/1.1\r\nHost: x\r\nX-Request-Id: gone\r\nAuthorization: Bearer {}\r\n\r\n",
        token.sign()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually("the test is on its way", SOON, async || (receiver.in_flight("/") == 1).then_some(())).await;
    // With a reset: a client that only ends its own side may wait for the answer yet.
    socket.set_zero_linger().unwrap();
    drop(socket);
    gate.open();
    let line = eventually("its line", SOON, async || {
        node.log().into_iter().find(|line| is_audit(line) && line["request_id"] == "gone")
    })
    .await;
    assert_eq!((&line["result"], &line["webhook"]), (&json!("done"), &json!(id)));
}

#[tokio::test]
async fn a_change_that_redis_does_not_answer_is_told_with_an_unknown_result_and_one_never_begun_not_at_all() {
    let redis = TestRedis::start();
    let chaos = ChaosProxy::start(redis.listen_on_tcp().await).await;
    let node = TestNode::start_at(&chaos.settings()).await;
    let ann = node.user("ann", "acme");
    let path =
        format!("/api/webhooks/{}", text(&ann.create("http://127.0.0.1:9/", &["*"], &json!({})).await["id"]));
    // The webhook can be read, and what is written waits longer than anybody.
    redis.command::<String>(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let answer = ann.patch(&path, &json!({ "name": "y" })).await;
    answer.error(503);
    let lines = lines_of_answer(&node, &answer).await;
    assert_eq!((lines.len(), &lines[0]["result"]), (1, &json!("unknown")), "{lines:?}");
    chaos.lose_replies();
    let answer = ann.delete(&path).await;
    answer.error(503);
    assert_eq!(lines_of_answer(&node, &answer).await, Vec::<Value>::new(), "it could not even be looked up");
}

#[tokio::test]
async fn a_test_that_was_sent_is_told_as_done_although_its_row_is_not_written() {
    let redis = TestRedis::start();
    let chaos = ChaosProxy::start(redis.listen_on_tcp().await).await;
    let node = TestNode::start_at(&chaos.settings()).await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let test = tokio::spawn(async move { ann.post_empty(&format!("/api/webhooks/{id}/test")).await });
    eventually("the test is on its way", SOON, async || (receiver.in_flight("/") == 1).then_some(())).await;
    chaos.lose_replies();
    gate.open();
    let answer = test.await.unwrap();
    answer.error(503);
    let lines = lines_of_answer(&node, &answer).await;
    assert_eq!((lines.len(), &lines[0]["result"]), (1, &json!("done")), "{lines:?}");
}

#[tokio::test]
async fn what_the_service_and_the_operator_change_is_told_too() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    receiver.script("/", &[Reply::status(410)]);
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    node.publisher("acme").publish("lead.created", &json!({})).await;
    let line = |action: &'static str| {
        let node = &node;
        async move {
            eventually(action, SOON, async || {
                node.log().into_iter().find(|line| is_audit(line) && line["action"] == action)
            })
            .await
        }
    };
    let disabled = line("disable_webhook").await;
    assert_eq!((&disabled["webhook"], &disabled["tenant"]), (&json!(id), &json!("org:acme")));
    assert!(disabled.get("user").is_none(), "{disabled}");
    let level = json!({ "level": "error" });
    node.management().call(Method::PUT, "/log-level").json(&level).send().await.expect(200);
    assert_eq!(line("change_log_level").await["source"], "127.0.0.1");
}

#[tokio::test]
async fn a_name_that_looks_like_a_line_forges_none() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let evil = "eve\n{\"target\":\"salesos_webhooks::audit\",\"user\":\"root\"}\u{2028}\u{1b}[2K";
    let eve = node.client(&Token::user(evil).org("a\r\nb"));
    let made = eve
        .post("/api/webhooks", &json!({ "name": "n", "url": "http://127.0.0.1:9/", "events": ["*"] }))
        .await;
    made.expect(201);
    let lines = lines_of_answer(&node, &made).await;
    assert_eq!((&lines[0]["user"], &lines[0]["tenant"]), (&json!(evil), &json!("org:a\r\nb")));
    assert!(!node.log().iter().any(|line| line["user"] == "root"));
}
