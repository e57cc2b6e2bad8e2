//! The resource as a client sees it, against a real Redis.

use actix_web::test::TestRequest;
use serde_json::{Value, json};

use crate::api::testing::{Answer, Client, admin, authorized, config, token, user};
use crate::config::Config;
use crate::domain::WebhookId;
use crate::domain::webhook::MAX_FORMER_SECRETS;
use crate::store::testing::TestRedis;

/// A name that never resolves (RFC 6761), so that no test asks a name server for an address.
const URL: &str = "https://receiver.invalid/hook";

struct Bench {
    _server: TestRedis,
    client: Client,
    ann: String,
}

impl std::ops::Deref for Bench {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Bench {
    async fn new() -> Self {
        Self::with(config()).await
    }

    async fn with(config: Config) -> Self {
        let server = TestRedis::start().await;
        let client = Client::with(config, &server).await;
        Self { _server: server, client, ann: user("ann") }
    }

    async fn create(&self, token: &str, name: &str) -> (String, Value) {
        let body = json!({"name": name, "url": URL, "events": ["lead.created"]});
        let answer = self.post(token, "/api/webhooks", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let webhook = answer.json();
        (format!("/api/webhooks/{}", webhook["id"].as_str().unwrap()), webhook)
    }

    async fn act(&self, token: &str, path: &str) -> Answer {
        self.send(authorized(TestRequest::post(), token).uri(path)).await
    }

    async fn set_count(&self, id: &str, fields: &[(&str, u64)]) {
        let id: WebhookId = id.parse().unwrap();
        let partition = self.app.layout.partition_of(&"org:acme".parse().unwrap(), id.shard());
        let mut set = redis::cmd("HSET");
        set.arg(self.app.keys.of_webhook(partition, "count", &id)).arg(fields);
        self.app.redis.query::<()>(&set).await.unwrap();
    }
}

fn names(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let webhooks = body.as_array().unwrap_or_else(|| panic!("{answer:?}"));
    webhooks.iter().map(|webhook| webhook["name"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_new_webhook_has_the_contract_s_fields_and_defaults() {
    let bench = Bench::new().await;
    let (path, mut webhook) = bench.create(&bench.ann, "first").await;
    let secret = webhook["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_") && secret.len() == "whsec_".len() + 44, "{secret}");
    let object = webhook.as_object_mut().unwrap();
    object.remove("secret");
    let answer = bench.get(&bench.ann, &path).await;
    assert_eq!((answer.status, answer.header("etag")), (200, "\"1\""));
    assert_eq!(answer.json(), webhook, "but for the secret, creation shows what reading shows");

    let object = webhook.as_object_mut().unwrap();
    for field in ["id", "createdAt", "updatedAt"] {
        assert!(object.remove(field).unwrap().is_string(), "{field}");
    }
    let expected = json!({
        "name": "first", "description": null, "url": URL, "events": ["lead.created"], "headers": {},
        "isActive": true, "retryAttempts": 3, "retryDelaySeconds": 60, "retryBackoff": "fixed",
        "retrySchedule": null, "timeoutSeconds": 30, "rateLimitPerSecond": null, "maxConcurrency": 16,
        "ordered": false, "filter": null, "status": "active", "disabledReason": null, "pausedUntil": null, "deliveryCount": 0, "successCount": 0,
        "failureCount": 0, "consecutiveFailures": 0, "pendingCount": 0, "lastDeliveryAt": null,
        "lastSuccessAt": null, "lastFailureAt": null,
    });
    assert_eq!(webhook, expected);
}

#[actix_web::test]
async fn the_published_base_path_leads_to_the_same_routes() {
    let bench = Bench::new().await;
    bench.create(&bench.ann, "first").await;
    assert_eq!(names(&bench.get(&bench.ann, "/api/api/webhooks?isActive=true").await), ["first"]);
    assert_eq!(bench.get(&bench.ann, "/api/api/webhooks/events").await.json()[0]["event"], "lead.created");
}

#[actix_web::test]
async fn all_faults_of_a_body_are_told_at_once() {
    let bench = Bench::new().await;
    let body = json!({"url": "ftp://x", "events": ["lead.craeted"], "foo": 1, "retryAttempts": 99});
    let answer = bench.post(&bench.ann, "/api/webhooks", body).await;
    let expected = json!([
        "name should not be empty",
        "url must be an http or https URL",
        "events.0: unknown event type \"lead.craeted\", did you mean \"lead.created\"?",
        "retryAttempts must be an integer from 0 to 20",
        "property foo should not exist",
    ]);
    assert_eq!((answer.status, &answer.json()["message"]), (400, &expected));
    let inner = json!({"name": "x", "url": "http://localhost/", "events": ["*"]});
    let answer = bench.post(&bench.ann, "/api/webhooks", inner).await;
    assert_eq!(answer.json()["message"], json!(["url must not point to a private or reserved address"]));
}

#[actix_web::test]
async fn what_cannot_be_read_has_a_status_of_its_own() {
    let bench = Bench::new().await;
    let post = |kind: &str, body: String| {
        let request = authorized(TestRequest::post(), &bench.ann).uri("/api/webhooks");
        request.insert_header(("content-type", kind)).set_payload(body)
    };
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(64 * 1024));
    for (kind, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", String::new(), 400),
        ("application/json", large, 413),
        ("text/plain", "{}".to_owned(), 415),
    ] {
        let answer = bench.send(post(kind, body)).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["statusCode"]), (status, &json!(status)));
        assert!(body["message"].is_string() || body["message"].is_array(), "{body}");
        assert_eq!(body["path"], "/api/webhooks");
    }
    let answer = bench.send(authorized(TestRequest::put(), &bench.ann).uri("/api/webhooks")).await;
    assert_eq!((answer.status, &answer.json()["error"]), (405, &json!("Method Not Allowed")));
    assert!(answer.header("allow").contains("POST"), "{answer:?}");
}

#[actix_web::test]
async fn without_a_good_token_nothing_is_told() {
    let bench = Bench::new().await;
    let get = || TestRequest::get().uri("/api/webhooks/wh_nonsense");
    for request in [
        get(),
        get().insert_header(("authorization", "Basic YTpi")),
        authorized(get(), "nonsense"),
        authorized(authorized(get(), &bench.ann), "x").append_header(("authorization", "Bearer y")),
    ] {
        let answer = bench.send(request).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    }
    let lower = get().insert_header(("authorization", format!("bearer {}", bench.ann)));
    assert_eq!(bench.send(lower).await.status, 404);
}

#[actix_web::test]
async fn failed_authentications_of_one_address_are_limited_and_good_ones_go_on() {
    let bench = Bench::new().await;
    let from = |request: TestRequest| request.uri("/api/webhooks").peer_addr("192.0.2.7:99".parse().unwrap());
    for _ in 0..60 {
        assert_eq!(bench.send(from(TestRequest::get())).await.status, 401);
    }
    let refused = bench.send(from(TestRequest::get())).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert_eq!(bench.send(from(authorized(TestRequest::get(), &bench.ann))).await.status, 200);
}

#[actix_web::test]
async fn the_rate_limit_is_one_user_s_and_is_shown() {
    let mut few = config();
    few.api.rate_limit_per_minute = 2;
    let bench = Bench::with(few).await;
    for remaining in ["1", "0"] {
        let answer = bench.get(&bench.ann, "/api/webhooks").await;
        assert_eq!((answer.status, answer.header("x-ratelimit-limit")), (200, "2"));
        assert_eq!(answer.header("x-ratelimit-remaining"), remaining);
    }
    let refused = bench.get(&bench.ann, "/api/webhooks").await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, "0"));
    assert!((1..=30).contains(&refused.header("retry-after").parse().unwrap()), "{refused:?}");
    assert_eq!(bench.get(&user("bob"), "/api/webhooks").await.status, 200);
}

#[actix_web::test]
async fn a_user_sees_only_their_own_webhooks() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "ann's").await;
    let strangers =
        [user("bob"), token(json!({"sub": "ann"})), token(json!({"sub": "ann", "organizationId": "x"}))];
    for stranger in &strangers {
        assert!(names(&bench.get(stranger, "/api/webhooks").await).is_empty());
        for answer in [
            bench.get(stranger, &path).await,
            bench.patch(stranger, &path, json!({"nonsense": 1})).await,
            bench.delete(stranger, &path).await,
            bench.act(stranger, &format!("{path}/regenerate-secret")).await,
            bench.act(stranger, &format!("{path}/activate")).await,
            bench.act(stranger, &format!("{path}/deactivate")).await,
            bench.act(stranger, &format!("{path}/reset-failures")).await,
        ] {
            assert_eq!((answer.status, &answer.json()["message"]), (404, &json!("webhook not found")));
        }
        assert_eq!(bench.get(stranger, "/api/webhooks?all=true").await.status, 403);
    }
    assert_eq!(bench.get(&bench.ann, "/api/webhooks/wh_00aaaaaaaaaaaaaaaaaaaaaa").await.status, 404);
    assert_eq!(bench.get(&bench.ann, &path).await.status, 200);
}

#[actix_web::test]
async fn an_administrator_sees_all_of_the_tenant_and_may_only_stop_it() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "ann's").await;
    bench.create(&user("bob"), "bob's").await;
    let root = admin("root");
    assert!(names(&bench.get(&root, "/api/webhooks").await).is_empty());
    let all = bench.get(&root, "/api/webhooks?all=true").await;
    assert_eq!((names(&all), all.header("x-total-count")), (vec!["bob's".into(), "ann's".into()], "2"));
    assert_eq!(all.json()[1]["ownerId"], "ann");
    assert_eq!(bench.get(&root, &path).await.json()["ownerId"], "ann");
    assert_eq!(bench.patch(&root, &path, json!({"name": "mine"})).await.status, 403);
    assert_eq!(bench.act(&root, &format!("{path}/activate")).await.status, 403);
    let stopped = bench.act(&root, &format!("{path}/deactivate")).await;
    assert_eq!((stopped.status, &stopped.json()["status"]), (200, &json!("inactive")));
    assert_eq!(bench.delete(&root, &path).await.status, 204);
    let elsewhere = token(json!({"sub": "root", "organizationId": "other", "role": "ADMIN"}));
    assert!(names(&bench.get(&elsewhere, "/api/webhooks?all=true").await).is_empty());
}

#[actix_web::test]
async fn who_may_only_read_changes_nothing() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "ann's").await;
    let viewer = token(json!({"sub": "ann", "organizationId": "acme", "role": "VIEWER"}));
    assert_eq!(bench.get(&viewer, &path).await.status, 200);
    assert_eq!(bench.post(&viewer, "/api/webhooks", json!({})).await.status, 403);
    assert_eq!(bench.patch(&viewer, &path, json!({})).await.status, 403);
    assert_eq!(bench.delete(&viewer, &path).await.status, 403);
    assert_eq!(bench.act(&viewer, &format!("{path}/deactivate")).await.status, 403);
}

#[actix_web::test]
async fn a_list_is_newest_first_filtered_and_paged() {
    let bench = Bench::new().await;
    for name in ["one", "two", "three"] {
        let (path, _) = bench.create(&bench.ann, name).await;
        if name == "two" {
            bench.act(&bench.ann, &format!("{path}/deactivate")).await;
        }
    }
    for (query, expected, total) in [
        ("", vec!["three", "two", "one"], "3"),
        ("?isActive=true", vec!["three", "one"], "2"),
        ("?isActive=false", vec!["two"], "1"),
        ("?page=2&limit=2", vec!["one"], "3"),
        ("?page=0&limit=0", vec!["three", "two", "one"], "3"),
        ("?page=2&limit=1&isActive=true", vec!["one"], "2"),
        ("?page=9", vec![], "3"),
    ] {
        let answer = bench.get(&bench.ann, &format!("/api/webhooks{query}")).await;
        let mut found = names(&answer);
        // Webhooks of one millisecond have no order among themselves.
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        if !query.contains("page=2") {
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{query}");
        }
        assert_eq!((found.len(), answer.header("x-total-count")), (expected.len(), total), "{query}");
    }
    for query in ["isActive=yes", "limit=101", "page=x", "all=1"] {
        assert_eq!(bench.get(&bench.ann, &format!("/api/webhooks?{query}")).await.status, 400, "{query}");
    }
}

#[actix_web::test]
async fn a_patch_changes_what_it_names_and_null_clears_what_may_be_empty() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "first").await;
    let full = json!({
        "description": "text", "headers": {"X-A": "1", "X-B": "2"}, "retrySchedule": [1, 2], "rateLimitPerSecond": 5,
    });
    let changed = bench.patch(&bench.ann, &path, full).await;
    assert_eq!((changed.status, changed.header("etag")), (200, "\"2\""));
    let clearing = json!({
        "description": null, "headers": {"X-C": "3"}, "retrySchedule": null, "rateLimitPerSecond": null,
    });
    let webhook = bench.patch(&bench.ann, &path, clearing).await.json();
    assert_eq!(webhook["name"], "first");
    assert_eq!(webhook["headers"], json!({"X-C": "3"}), "replaced whole");
    for field in ["description", "retrySchedule", "rateLimitPerSecond"] {
        assert_eq!(webhook[field], Value::Null, "{field}");
    }
    let faulty = bench.patch(&bench.ann, &path, json!({"name": null, "events": null})).await;
    assert_eq!(faulty.json()["message"], json!(["name must be a string", "events must be an array"]));
    let same = bench.patch(&bench.ann, &path, json!({"name": "first"})).await;
    assert_eq!((same.status, same.header("etag")), (200, "\"3\""), "nothing changed");
    assert_eq!(bench.patch(&bench.ann, &path, json!({})).await.header("etag"), "\"3\"");
}

#[actix_web::test]
async fn a_change_of_another_version_is_refused() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "first").await;
    let patch = |tag: &str, name: &str| {
        let request =
            authorized(TestRequest::patch(), &bench.ann).uri(&path).insert_header(("if-match", tag));
        bench.send(request.set_json(json!({"name": name})))
    };
    assert_eq!(patch("\"1\"", "second").await.status, 200);
    let refused = patch("\"1\"", "third").await;
    assert_eq!((refused.status, &refused.json()["error"]), (412, &json!("Precondition Failed")));
    assert_eq!(patch("*", "third").await.status, 200);
    let delete =
        authorized(TestRequest::delete(), &bench.ann).uri(&path).insert_header(("if-match", "\"1\""));
    assert_eq!(bench.send(delete).await.status, 412);
    assert_eq!(bench.get(&bench.ann, &path).await.json()["name"], "third");
}

#[actix_web::test]
async fn changes_at_the_same_moment_are_all_made() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "first").await;
    let changes = [json!({"name": "second"}), json!({"timeoutSeconds": 7}), json!({"ordered": true})];
    let racing = changes.map(|change| bench.patch(&bench.ann, &path, change));
    for answer in futures_util::future::join_all(racing).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let webhook = bench.get(&bench.ann, &path).await.json();
    assert_eq!((&webhook["name"], &webhook["timeoutSeconds"]), (&json!("second"), &json!(7)));
    assert_eq!(webhook["ordered"], true);
}

#[actix_web::test]
async fn a_secret_is_replaced_with_a_grace_period() {
    let bench = Bench::new().await;
    let (path, created) = bench.create(&bench.ann, "first").await;
    let path = format!("{path}/regenerate-secret");
    let answer = bench.act(&bench.ann, &path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let renewed = answer.json();
    assert!(renewed["previousSecretExpiresAt"].is_string() && renewed["message"].is_string());
    assert_eq!(renewed["id"], created["id"]);
    assert_ne!(renewed["secret"], created["secret"]);
    assert_eq!(bench.post(&bench.ann, &path, json!({"gracePeriodSeconds": 0})).await.status, 200);
    for bad in
        [json!({"gracePeriodSeconds": 604_801}), json!({"gracePeriodSeconds": null}), json!({"grace": 1})]
    {
        assert_eq!(bench.post(&bench.ann, &path, bad.clone()).await.status, 400, "{bad}");
    }
    let id: WebhookId = created["id"].as_str().unwrap().parse().unwrap();
    let tenant = "org:acme".parse().unwrap();
    let store = crate::store::webhooks::Webhooks {
        redis: &bench.app.redis,
        keys: &bench.app.keys,
        layout: &bench.app.layout,
        keyring: &bench.app.keyring,
        tenant: &tenant,
    };
    let stored = store.get(&id).await.unwrap().unwrap();
    assert_eq!(stored.settings.former_secrets, [], "no grace, no former secret");
    for _ in 0..MAX_FORMER_SECRETS {
        assert_eq!(bench.act(&bench.ann, &path).await.status, 200);
    }
    let refused = bench.act(&bench.ann, &path).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.text.contains("gracePeriodSeconds 0"), "{refused:?}");
    assert_eq!(bench.post(&bench.ann, &path, json!({"gracePeriodSeconds": 0})).await.status, 200);
}

#[actix_web::test]
async fn figures_are_shown_and_failures_are_forgotten_on_request() {
    let bench = Bench::new().await;
    let (path, created) = bench.create(&bench.ann, "first").await;
    let id = created["id"].as_str().unwrap();
    let figures = [("ok", 5), ("fail", 3), ("row", 2), ("last", 1_768_473_000_000), ("paused", 9)];
    bench.set_count(id, &figures).await;
    let webhook = bench.get(&bench.ann, &path).await.json();
    assert_eq!((&webhook["deliveryCount"], &webhook["consecutiveFailures"]), (&json!(8), &json!(2)));
    assert_eq!(webhook["lastDeliveryAt"], "2026-01-15T10:30:00.000Z");
    let reset = bench.act(&bench.ann, &format!("{path}/reset-failures")).await.json();
    assert_eq!((&reset["consecutiveFailures"], &reset["failureCount"]), (&json!(0), &json!(3)));
    bench.set_count(id, &[("row", 4)]).await;
    let activated = bench.patch(&bench.ann, &path, json!({"isActive": true})).await.json();
    assert_eq!((&activated["consecutiveFailures"], &activated["status"]), (&json!(0), &json!("active")));
}

#[actix_web::test]
async fn a_webhook_that_its_breaker_holds_back_is_failing_until_its_failures_are_forgotten() {
    let bench = Bench::new().await;
    let (path, created) = bench.create(&bench.ann, "first").await;
    let id = created["id"].as_str().unwrap();
    let shown = |webhook: serde_json::Value| {
        ["status", "pausedUntil", "consecutiveFailures"].map(|field| webhook[field].clone())
    };
    bench.set_count(id, &[("row", 12), ("pauses", 2), ("pause_ends", 32_503_680_000_000)]).await;
    let paused = shown(bench.get(&bench.ann, &path).await.json());
    assert_eq!(paused, [json!("failing"), json!("3000-01-01T00:00:00.000Z"), json!(12)]);
    let stats = bench.get(&bench.ann, "/api/webhooks/stats").await.json();
    assert_eq!(stats["webhooks"], json!({"total": 1, "active": 1, "inactive": 0, "failing": 1}));
    bench.set_count(id, &[("pause_ends", 9)]).await;
    let probing = shown(bench.get(&bench.ann, &path).await.json());
    assert_eq!(probing, [json!("failing"), json!(null), json!(12)], "its probe has not succeeded");
    let off = bench.act(&bench.ann, &format!("{path}/deactivate")).await.json();
    assert_eq!(off["status"], "inactive");
    let stats = bench.get(&bench.ann, "/api/webhooks/stats").await.json();
    assert_eq!(stats["webhooks"], json!({"total": 1, "active": 0, "inactive": 1, "failing": 0}));
    for action in ["activate", "reset-failures"] {
        bench.set_count(id, &[("row", 12), ("pauses", 2), ("pause_ends", 32_503_680_000_000)]).await;
        let reset = shown(bench.act(&bench.ann, &format!("{path}/{action}")).await.json());
        assert_eq!(reset, [json!("active"), json!(null), json!(0)], "{action}");
    }
    bench.set_count(id, &[("paused", 32_503_680_000_000)]).await;
    let asked = shown(bench.get(&bench.ann, &path).await.json());
    assert_eq!(asked, [json!("active"), json!("3000-01-01T00:00:00.000Z"), json!(0)], "Retry-After alone");
}

#[actix_web::test]
async fn a_deleted_webhook_is_gone() {
    let bench = Bench::new().await;
    let (path, _) = bench.create(&bench.ann, "first").await;
    assert_eq!(bench.delete(&bench.ann, &path).await.status, 204);
    assert_eq!(bench.delete(&bench.ann, &path).await.status, 404);
    assert_eq!(bench.get(&bench.ann, &path).await.status, 404);
    assert!(names(&bench.get(&bench.ann, "/api/webhooks").await).is_empty());
}

#[actix_web::test]
async fn quotas_end_in_a_conflict() {
    let bench = Bench::new().await;
    let quota = config().limits.webhooks_per_user;
    for number in 0..quota {
        bench.create(&bench.ann, &number.to_string()).await;
    }
    let body = json!({"name": "one more", "url": URL, "events": ["*"]});
    let answer = bench.post(&bench.ann, "/api/webhooks", body).await;
    assert_eq!((answer.status, &answer.json()["error"]), (409, &json!("Conflict")));
}

#[actix_web::test]
async fn without_redis_the_answer_is_come_back_later() {
    let client = Client::alone(config()).await;
    let answer = client.get(&user("ann"), "/api/webhooks").await;
    assert_eq!((answer.status, &answer.json()["error"]), (503, &json!("Service Unavailable")));
    assert!(!answer.header("retry-after").is_empty());
    assert!(!answer.text.contains("nowhere"), "{}", answer.text);
}
