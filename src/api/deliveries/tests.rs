//! What the owner of a webhook reads, against a real Redis: the log, one attempt, tests, statistics, an event.

use std::sync::Arc;

use actix_web::test::TestRequest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::{MOST_OF_EVENT, of_event};
use crate::api::App;
use crate::api::testing::{Answer, Client, LAYOUT, admin, authorized, config, token, user};
use crate::clock;
use crate::domain::{AttemptId, AttemptRow, ErrorKind, EventId, Millis, Tenant, Webhook, WebhookId};
use crate::store::attempts::encode;
use crate::store::keys::{event_hash, owner_hash};
use crate::store::testing::TestRedis;
use crate::store::webhooks::Webhooks;

/// One webhook of `ann` in `acme`, switched on, and its Redis.
struct Bench {
    _server: TestRedis,
    client: Client,
    ann: String,
    tenant: Tenant,
    webhook: WebhookId,
    path: String,
}

impl std::ops::Deref for Bench {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Bench {
    async fn new() -> Self {
        Self::at("http://127.0.0.1:9/").await
    }

    async fn at(url: &str) -> Self {
        let server = TestRedis::start().await;
        let mut config = config();
        config.delivery.allowed_networks = vec!["127.0.0.0/8".parse().unwrap()];
        let client = Client::with(config, &server).await;
        let ann = user("ann");
        let body = json!({"name": "first", "url": url, "events": ["*"], "headers": {"X-Key": "hidden"}});
        let made = client.post(&ann, "/api/webhooks", body).await.json();
        let webhook: WebhookId = made["id"].as_str().unwrap().parse().unwrap();
        let path = format!("/api/webhooks/{webhook}");
        Self { _server: server, client, ann, tenant: "org:acme".parse().unwrap(), webhook, path }
    }

    async fn run(&self, words: &[&str]) -> String {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| _ = command.arg(*word));
        let answer: redis::Value = self.app.redis.query(&command).await.unwrap();
        redis::from_redis_value(answer).unwrap_or_default()
    }

    fn key(&self, name: &str) -> String {
        self.app.keys.key(LAYOUT.partition_of(&self.tenant, self.webhook.shard()), name)
    }

    fn record(&self, event: &str) -> String {
        let id: EventId = event.parse().unwrap();
        self.key(&format!("event:{}", event_hash(&self.tenant, &id)))
    }

    /// Logs an attempt; gives its path.
    async fn log(&self, event: &str, kind: Option<ErrorKind>, answer: &str) -> String {
        self.log_row(row(event, kind), answer).await
    }

    /// Logs an attempt that nothing is to follow.
    async fn log_last(&self, event: &str, kind: Option<ErrorKind>) -> String {
        self.log_row(AttemptRow { next_retry_at: None, attempt: 3, ..row(event, kind) }, "").await
    }

    async fn log_row(&self, row: AttemptRow, answer: &str) -> String {
        let (text, beside) = encode(row, Some(answer.to_owned()));
        let id = self.run(&["XADD", &self.key(&format!("log:{}", self.webhook)), "*", "r", &text]).await;
        if let Some(body) = beside {
            self.run(&["XADD", &self.key(&format!("answer:{}", self.webhook)), &id, "b", &body]).await;
        }
        format!("{}/deliveries/{}", self.path, AttemptId::new(&self.webhook, id.parse().unwrap()))
    }

    async fn act(&self, token: &str, path: &str) -> Answer {
        self.send(authorized(TestRequest::post(), token).uri(path)).await
    }

    async fn stored(&self) -> Webhook {
        let App { redis, keys, layout, keyring, .. } = &self.app;
        let webhooks = Webhooks { redis, keys, layout, keyring, tenant: &self.tenant };
        webhooks.get(&self.webhook).await.unwrap().unwrap()
    }

    async fn logs(&self, query: &str) -> Vec<Value> {
        let answer = self.get(&self.ann, &format!("{}/deliveries?{query}", self.path)).await;
        answer.json()["logs"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone()
    }
}

fn row(event: &str, kind: Option<ErrorKind>) -> AttemptRow {
    AttemptRow {
        id: None,
        event_id: event.parse().unwrap(),
        event_type: "lead.created".into(),
        url: "https://example.com/hook".into(),
        at: Millis(1_768_473_000_123),
        attempt: 2,
        elapsed_ms: 12,
        status: kind.is_none().then_some(200),
        error_kind: kind,
        error_message: kind.map(|_| "no answer in time".into()),
        next_retry_at: kind.map(|_| Millis(1_768_473_060_000)),
        response_body: None,
        body_beside: false,
        custom_headers: vec!["X-Key".into()],
        is_test: false,
    }
}

/// An endpoint that answers 200 to each request once it may.
async fn endpoint(may_answer: Arc<Notify>, has_come: Arc<Notify>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    actix_web::rt::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = [0; 4096];
            if stream.read(&mut seen).await.is_err() {
                continue;
            }
            has_come.notify_one();
            may_answer.notified().await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\npong")
                .await;
        }
    });
    url
}

#[actix_web::test]
async fn a_listing_has_the_contract_s_fields() {
    let bench = Bench::new().await;
    let body = r#"{"id":"evt_1","data":{"n":1.0}}"#;
    bench.run(&["HSET", &bench.record("evt_1"), "body", body]).await;
    bench.log("evt_1", None, "taken").await;
    let path = bench.log("evt_2", Some(ErrorKind::Timeout), &"x".repeat(300)).await;
    let answer = bench.get(&bench.ann, &format!("{}/deliveries?page=0&limit=0", bench.path)).await;
    assert!(answer.text.contains(body), "the payload is shown as it was sent: {}", answer.text);
    let page = answer.json();
    assert_eq!(page["pagination"], json!({"page": 1, "limit": 20, "total": 2, "totalPages": 1}));
    let mut failed = page["logs"][0].clone();
    let id = failed.as_object_mut().unwrap().remove("id").unwrap();
    assert!(path.ends_with(id.as_str().unwrap()));
    let expected = json!({
        "webhookId": bench.webhook, "event": "lead.created", "eventId": "evt_2",
        "url": "https://example.com/hook", "requestPayload": null, "statusCode": null,
        "responseBody": "x".repeat(300), "responseTimeMs": 12, "attemptNumber": 2, "success": false,
        "errorMessage": "no answer in time", "errorKind": "timeout",
        "nextRetryAt": "2026-01-15T10:31:00.000Z", "createdAt": "2026-01-15T10:30:00.123Z",
    });
    assert_eq!(failed, expected);
    let good = &page["logs"][1];
    assert_eq!(
        (&good["success"], &good["statusCode"], &good["responseBody"]),
        (&json!(true), &json!(200), &json!("taken"))
    );
}

#[actix_web::test]
async fn a_listing_is_filtered_paged_and_strict() {
    let bench = Bench::new().await;
    for n in 0..5 {
        bench.log(&format!("evt_{n}"), (n % 2 == 0).then_some(ErrorKind::Dns), "").await;
    }
    for (query, events) in [
        ("limit=2", vec!["evt_4", "evt_3"]),
        ("limit=2&page=3", vec!["evt_0"]),
        ("limit=2&page=4", vec![]),
        ("success=true", vec!["evt_3", "evt_1"]),
        ("success=false&limit=1&page=2", vec!["evt_2"]),
        ("event=lead.created&success=true", vec!["evt_3", "evt_1"]),
        ("event=lead.craeted", vec![]),
        ("page=4294967295&limit=100", vec![]),
    ] {
        let logs = bench.logs(query).await;
        let found: Vec<&str> = logs.iter().map(|row| row["eventId"].as_str().unwrap()).collect();
        assert_eq!(found, events, "{query}");
    }
    for bad in ["limit=101", "page=-1", "success=yes", "success=", "page=x&limit=y"] {
        assert_eq!(
            bench.get(&bench.ann, &format!("{}/deliveries?{bad}", bench.path)).await.status,
            400,
            "{bad}"
        );
    }
}

#[actix_web::test]
async fn the_attempts_of_one_event_are_found_among_others_and_are_bounded() {
    let bench = Bench::new().await;
    for n in 0..=MOST_OF_EVENT {
        bench.log("evt_1", Some(ErrorKind::Dns), &n.to_string()).await;
        bench.log("evt_2", None, "").await;
    }
    let (webhook, mut app) = (bench.stored().await, bench.app.clone());
    let mut config = config();
    config.log.max_attempts = 1000;
    app.config = Arc::new(config);
    let of = async |event: &str, since| {
        let found = of_event(&app, &webhook, &event.parse().unwrap(), since).await.unwrap();
        found.into_iter().map(|logged| logged.row.response_body.unwrap_or_default()).collect::<Vec<_>>()
    };
    let newest_first: Vec<String> = (1..=MOST_OF_EVENT).rev().map(|n| n.to_string()).collect();
    assert_eq!(of("evt_1", None).await, newest_first);
    let made_at = row("evt_1", None).at;
    assert_eq!(of("evt_1", Some(made_at)).await, newest_first);
    assert!(of("evt_1", Some(Millis(made_at.0 + 1))).await.is_empty(), "all were made before");
    assert!(of("evt_3", None).await.is_empty());
}

#[actix_web::test]
async fn one_attempt_shows_what_was_sent_but_no_secret() {
    let bench = Bench::new().await;
    let data = "x".repeat(5000);
    bench.run(&["HSET", &bench.record("evt_1"), "body", &json!({"data": data}).to_string()]).await;
    let path = bench.log("evt_1", None, "taken").await;
    let listed = &bench.logs("").await[0];
    assert_eq!((&listed["requestPayload"], &listed["payloadTruncated"]), (&Value::Null, &json!(true)));
    let one = bench.get(&bench.ann, &path).await.json();
    assert_eq!((&one["requestPayload"]["data"], &one["payloadTruncated"]), (&json!(data), &Value::Null));
    assert_eq!(one["webhookId"], json!(bench.webhook));
    let headers = one["requestHeaders"].as_object().unwrap();
    for (name, value) in [
        ("X-Key", "***"),
        ("x-webhook-event", "lead.created"),
        ("x-webhook-attempt", "2"),
        ("x-webhook-timestamp", "1768473000123"),
        ("webhook-id", "evt_1"),
    ] {
        assert_eq!(headers[name], value, "{name}");
    }
    assert!(!headers.keys().any(|name| name.contains("signature")), "{headers:?}");
    let never_sent = bench.log("evt_1", Some(ErrorKind::Overflow), "").await;
    assert_eq!(bench.get(&bench.ann, &never_sent).await.json()["requestHeaders"], Value::Null);
    for gone in ["att_1_0_abcdef", "att_1_0", "nonsense"] {
        assert_eq!(
            bench.get(&bench.ann, &format!("{}/deliveries/{gone}", bench.path)).await.status,
            404,
            "{gone}"
        );
    }
}

#[actix_web::test]
async fn a_log_is_its_owner_s_and_the_administrator_s_to_read() {
    let bench = Bench::new().await;
    let attempt = bench.log("evt_1", None, "").await;
    bench.run(&["HSET", &bench.record("evt_1"), "body", "{}"]).await;
    let foreign = token(json!({"sub": "ann", "organizationId": "other"}));
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    for (who, read, act) in [
        (&bench.ann, 200, 202),
        (&admin("root"), 200, 403),
        (&viewer, 200, 403),
        (&user("bob"), 404, 404),
        (&foreign, 404, 404),
    ] {
        assert_eq!(bench.get(who, &format!("{}/deliveries", bench.path)).await.status, read);
        assert_eq!(bench.get(who, &attempt).await.status, read);
        assert_eq!(bench.act(who, &format!("{attempt}/retry")).await.status, act);
    }
}

#[actix_web::test]
async fn two_webhooks_whose_rows_have_one_stream_id_do_not_answer_for_each_other() {
    let bench = Bench::new().await;
    let body = json!({"name": "second", "url": "http://127.0.0.1:9/", "events": ["*"]});
    let made = bench.post(&bench.ann, "/api/webhooks", body).await.json();
    let other: WebhookId = made["id"].as_str().unwrap().parse().unwrap();
    bench.run(&["HSET", &bench.record("evt_1"), "body", "{}"]).await;
    let (text, _) = encode(row("evt_1", None), None);
    let place = format!("{}-0", clock::now().0);
    for webhook in [&bench.webhook, &other] {
        bench.run(&["XADD", &bench.key(&format!("log:{webhook}")), &place, "r", &text]).await;
    }
    let [own, foreign] = [&bench.webhook, &other].map(|id| AttemptId::new(id, place.parse().unwrap()));
    for (attempt, read, act) in [(own, 200, 202), (foreign, 404, 404)] {
        let path = format!("{}/deliveries/{attempt}", bench.path);
        assert_eq!(bench.get(&bench.ann, &path).await.status, read, "{attempt}");
        assert_eq!(bench.act(&bench.ann, &format!("{path}/retry")).await.status, act, "{attempt}");
    }
}

#[actix_web::test]
async fn a_delivery_is_queued_again_each_time_while_it_can_be_sent() {
    let bench = Bench::new().await;
    let retry = bench.log("evt_1", Some(ErrorKind::Dns), "").await + "/retry";
    let waiting = async || bench.run(&["XLEN", &bench.key("events")]).await.parse::<u64>().unwrap();
    let before = waiting().await;
    assert_eq!(bench.act(&bench.ann, &retry).await.status, 409, "the body is gone");
    bench.run(&["HSET", &bench.record("evt_1"), "body", "{}"]).await;
    for _ in 0..2 {
        let answer = bench.act(&bench.ann, &retry).await;
        assert_eq!((answer.status, answer.json()), (202, json!({"queued": 1, "eventId": "evt_1"})));
    }
    for (who, status) in [(admin("root"), 403), (user("bob"), 404)] {
        assert_eq!(bench.act(&who, &retry).await.status, status);
    }
    assert_eq!(waiting().await, before + 2, "one entry for each call that was taken");
    bench.act(&bench.ann, &format!("{}/deactivate", bench.path)).await;
    assert_eq!(bench.act(&bench.ann, &retry).await.status, 409, "the webhook is inactive");
    let unknown = format!("{}/deliveries/att_1_0_abcdef/retry", bench.path);
    assert_eq!(bench.act(&bench.ann, &unknown).await.status, 404);
}

#[actix_web::test]
async fn a_test_is_sent_alone_logged_and_outlives_its_client() {
    let (may_answer, has_come) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let bench = Bench::at(&endpoint(may_answer.clone(), has_come.clone()).await).await;
    let path = format!("{}/test", bench.path);
    {
        let leaving = bench.act(&bench.ann, &path);
        tokio::select! {
            answer = leaving => panic!("not yet: {answer:?}"),
            () = has_come.notified() => {}
        }
    }
    assert_eq!(bench.act(&bench.ann, &path).await.status, 409, "one at a time");
    may_answer.notify_one();
    let logged = async {
        while bench.logs("").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), logged).await.unwrap();

    may_answer.notify_one();
    let answer = bench.post(&bench.ann, &path, json!({"event": "lead.created"})).await;
    assert_eq!(answer.status, 200, "the lock is gone: {answer:?}");
    let report = answer.json();
    assert_eq!(
        (&report["success"], &report["statusCode"], &report["error"]),
        (&json!(true), &json!(200), &Value::Null)
    );
    assert_eq!((&report["responseBody"], &report["event"]), (&json!("pong"), &json!("lead.created")));
    let rows = bench.logs("").await;
    assert_eq!((&rows[0]["event"], &rows[1]["event"]), (&json!("lead.created"), &json!("test")));
    assert_eq!(rows[0]["eventId"], report["eventId"]);
    assert_eq!(rows[0]["requestPayload"]["data"], json!({"id": 1}), "the catalogue's sample");
    assert_eq!(rows[1]["requestPayload"]["organizationId"], "acme");
    let again = format!("{}/deliveries/{}/retry", bench.path, rows[0]["id"].as_str().unwrap());
    assert_eq!(bench.act(&bench.ann, &again).await.status, 409, "a test is not queued");
    assert_eq!(bench.get(&bench.ann, "/api/webhooks/stats").await.json()["deliveriesLast24h"], 0);
}

#[actix_web::test]
async fn a_test_that_fails_says_why_and_a_bad_one_is_not_sent() {
    let bench = Bench::new().await;
    let path = format!("{}/test", bench.path);
    for bad in [json!({"event": "lead.craeted"}), json!({"event": 1}), json!({"other": 1})] {
        assert_eq!(bench.post(&bench.ann, &path, bad).await.status, 400);
    }
    for bad in [json!(null), json!([]), json!("text")] {
        let answer = bench.post(&bench.ann, &path, json!({"data": bad})).await;
        assert_eq!(
            (answer.status, answer.json()["message"].clone()),
            (400, json!(["data must be an object"]))
        );
    }
    let limit = bench.app.config.api.max_event_bytes;
    let of = |length: usize| json!({"data": {"x": "x".repeat(length - r#"{"data":{"x":""}}"#.len())}});
    let long = bench.post(&bench.ann, &path, of(limit)).await;
    let fault = long.json()["message"][0].as_str().unwrap().to_owned();
    assert!(long.status == 400 && fault.ends_with("bytes, at most 1024 are allowed"), "{fault}");
    let longer = bench.post(&bench.ann, &path, of(limit + 1)).await;
    assert_eq!(
        (longer.status, longer.json()["message"].clone()),
        (413, json!("the body is longer than 1024 bytes"))
    );
    let hint = bench.post(&bench.ann, &path, json!({"event": "lead.craeted"})).await.json();
    assert_eq!(
        hint["message"][0],
        "event: unknown event type \"lead.craeted\", did you mean \"lead.created\"?"
    );
    bench.act(&bench.ann, &format!("{}/deactivate", bench.path)).await;
    let report = bench.act(&bench.ann, &path).await.json();
    assert_eq!(
        (&report["success"], &report["statusCode"], &report["event"]),
        (&json!(false), &Value::Null, &json!("test"))
    );
    assert!(!report["error"].as_str().unwrap().is_empty());
    let rows = bench.logs("").await;
    assert_eq!((rows.len(), &rows[0]["errorKind"]), (1, &json!("connect")));
    assert_eq!(bench.act(&user("bob"), &path).await.status, 404);
    assert_eq!(bench.act(&admin("root"), &path).await.status, 403);
}

#[actix_web::test]
async fn statistics_are_the_caller_s_and_complete() {
    let bench = Bench::new().await;
    let nothing = bench.get(&user("bob"), "/api/webhooks/stats").await.json();
    assert_eq!(nothing["webhooks"], json!({"total": 0, "active": 0, "inactive": 0, "failing": 0}));
    assert_eq!(nothing["responseTimeMs"], json!({"avg": null, "p50": null, "p95": null, "p99": null}));
    assert_eq!((&nothing["last7dSuccessRate"], &nothing["cluster"]), (&json!(100.0), &Value::Null));
    let none = json!({"nodes": 0, "deliveriesPerSecond": 0.0, "inFlight": 0, "backlog": 0, "responseTimeMs": nothing["responseTimeMs"]});
    let service = token(json!({"sub": "crm", "organizationId": "acme", "role": "service"}));
    for privileged in [admin("root"), service] {
        // Nobody has told anything yet, and nobody is known to live.
        assert_eq!(bench.get(&privileged, "/api/webhooks/stats").await.json()["cluster"], none);
    }
    let scoped =
        token(json!({"sub": "crm", "organizationId": "acme", "scope": "events:publish webhooks:read"}));
    assert_eq!(bench.get(&scoped, "/api/webhooks/stats").await.json()["cluster"], Value::Null);
    let hour = clock::now().as_hours();
    let stats = bench.key(&format!("stats:{}", owner_hash(&bench.tenant, &"ann".parse().unwrap())));
    let (week, day) = (hour % 168, hour % 24);
    let fields = [
        ("pending".to_owned(), 1),
        ("delivered".to_owned(), 3),
        ("dead".to_owned(), 1),
        ("e:lead.created:ok".to_owned(), 3),
        ("e:lead.created:fail".to_owned(), 1),
        (format!("{week}:h"), hour),
        (format!("{week}:ok"), 3),
        (format!("{week}:fail"), 1),
        (format!("{day}:lh"), hour),
        (format!("{day}:sum"), 40),
        (format!("{day}:n"), 4),
        (format!("{day}:b6"), 4),
    ];
    for (field, value) in fields {
        bench.run(&["HSET", &stats, &field, &value.to_string()]).await;
    }
    let count = bench.key(&format!("count:{}", bench.webhook));
    bench.run(&["HSET", &count, "ok", "3", "fail", "1"]).await;
    let found = bench.get(&bench.ann, "/api/webhooks/stats").await.json();
    assert_eq!(found["webhooks"], json!({"total": 1, "active": 1, "inactive": 0, "failing": 0}));
    assert_eq!(found["deliveries"], json!({"total": 5, "successful": 3, "failed": 1, "pending": 1}));
    assert_eq!((&found["deliveriesLast24h"], &found["last7dSuccessRate"]), (&json!(4), &json!(75.0)));
    assert_eq!(found["byEvent"], json!({"lead.created": {"successful": 3, "failed": 1}}));
    let by_webhook =
        json!([{"webhookId": bench.webhook, "name": "first", "successful": 3, "failed": 1, "pending": 0}]);
    assert_eq!(found["byWebhook"], by_webhook);
    assert_eq!(found["responseTimeMs"], json!({"avg": 10.0, "p50": 8.5, "p95": 9.9, "p99": 10.0}));
    let timeline = found["timeline"].as_array().unwrap();
    assert_eq!((timeline.len(), &timeline[166]["successful"]), (168, &json!(0)));
    let last = json!({"hour": Millis(hour * 3_600_000).to_string(), "successful": 3, "failed": 1});
    assert_eq!(timeline[167], last);
}

#[actix_web::test]
async fn an_event_is_seen_by_those_whom_it_concerns() {
    let bench = Bench::new().await;
    let body = r#"{"id":"evt_1","type":"lead.created","timestamp":"2026-01-15T10:30:00.000Z","organizationId":"acme","data":{"n":1.0}}"#;
    let own = format!("to:{}", bench.webhook);
    let other = "to:wh_00abcdefghijklmnopqrstuv";
    let record = bench.record("evt_1");
    bench.run(&["HSET", &record, "body", body, &own, "delivered 1768473000123 2", other, "pending"]).await;
    let target = json!({"webhookId": bench.webhook, "status": "delivered", "reason": null, "pausedUntil": null, "attempts": 2, "nextRetryAt": null, "lastAttemptId": null, "lastError": null, "endedAt": "2026-01-15T10:30:00.123Z"});
    let answer = bench.get(&bench.ann, "/api/events/evt_1").await;
    assert!(answer.text.contains(r#""data":{"n":1.0}"#), "{}", answer.text);
    let mut expected: Value = serde_json::from_str(body).unwrap();
    expected["webhooks"] = json!([target]);
    assert_eq!(answer.json(), expected);

    let in_acme = |claims: Value| {
        let mut all = json!({"sub": "crm", "organizationId": "acme"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        token(all)
    };
    let seen = [
        (admin("root"), Some(2)),
        (in_acme(json!({"role": "service"})), Some(0)),
        (in_acme(json!({"scope": "events:publish"})), Some(0)),
        (user("bob"), None),
        (token(json!({"sub": "root", "organizationId": "other", "role": "ADMIN"})), None),
    ];
    for (who, webhooks) in seen {
        let answer = bench.get(&who, "/api/events/evt_1").await;
        assert_eq!(answer.json()["webhooks"].as_array().map(Vec::len), webhooks, "{answer:?}");
        assert_eq!(answer.status, if webhooks.is_some() { 200 } else { 404 });
    }
    let scoped = in_acme(json!({"scope": "webhooks:write"}));
    assert_eq!(bench.get(&scoped, "/api/events/evt_1").await.status, 403);
    for unknown in ["evt_2", "no%20id"] {
        assert_eq!(bench.get(&admin("root"), &format!("/api/events/{unknown}")).await.status, 404);
    }
}

#[actix_web::test]
async fn an_event_tells_of_its_last_attempt_where_it_waits_or_has_failed() {
    let bench = Bench::new().await;
    let body = r#"{"id":"evt_1","type":"lead.created","timestamp":"2026-01-15T10:30:00.000Z","organizationId":"acme","data":{}}"#;
    let (record, own) = (bench.record("evt_1"), format!("to:{}", bench.webhook));
    let stand = async || {
        let event = bench.get(&bench.ann, "/api/events/evt_1").await.json();
        let stand = &event["webhooks"][0];
        ["status", "attempts", "nextRetryAt", "lastAttemptId", "lastError"].map(|name| stand[name].clone())
    };
    let of = |path: &str| json!(path.rsplit('/').next().unwrap());
    let error = json!({"kind": "timeout", "message": "no answer in time", "statusCode": null, "at": "2026-01-15T10:30:00.123Z"});
    let null = Value::Null;

    bench.run(&["HSET", &record, "body", body, &own, "pending"]).await;
    bench.log("evt_2", Some(ErrorKind::Dns), "").await;
    assert_eq!(stand().await, [json!("pending"), null.clone(), null.clone(), null.clone(), null.clone()]);
    let second = of(&bench.log("evt_1", Some(ErrorKind::Timeout), "").await);
    let due = json!("2026-01-15T10:31:00.000Z");
    assert_eq!(stand().await, [json!("pending"), json!(2), due, second, error.clone()]);

    let last = of(&bench.log_last("evt_1", Some(ErrorKind::Timeout)).await);
    let now = clock::now().0;
    bench.run(&["HSET", &record, &own, &format!("dead {now} 3")]).await;
    assert_eq!(stand().await, [json!("failed"), json!(3), null.clone(), last.clone(), error.clone()]);

    // Sent again, and not yet tried.
    bench.run(&["HSET", &record, &own, "pending"]).await;
    assert_eq!(stand().await, [json!("pending"), null.clone(), null.clone(), last, error]);
    let good = of(&bench.log("evt_1", None, "").await);
    assert_eq!(stand().await, [json!("pending"), null.clone(), null.clone(), good, null.clone()]);
    bench.run(&["HSET", &record, &own, &format!("delivered {now} 4")]).await;
    assert_eq!(stand().await, [json!("delivered"), json!(4), null.clone(), null.clone(), null]);
}
