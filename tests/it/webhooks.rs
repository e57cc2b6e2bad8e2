//! Contract §3 and §5: the webhooks resource.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Receiver, SOON, TestNode, TestRedis, eventually, is_time, text};

fn ids(list: &Value) -> Vec<String> {
    list.as_array().expect("an array").iter().map(|webhook| text(&webhook["id"])).collect()
}

#[tokio::test]
async fn a_new_webhook_has_the_defaults_of_the_contract_and_shows_its_secret_once() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let made = ann.create(&receiver.url("/"), &["lead.created", "lead.*", "lead.created"], &json!({})).await;

    let expected = json!({
        "name": "test", "url": receiver.url("/"), "events": ["lead.created", "lead.*"], "headers": {},
        "isActive": true, "retryAttempts": 3, "retryDelaySeconds": 60, "retryBackoff": "fixed",
        "retrySchedule": null, "timeoutSeconds": 30, "rateLimitPerSecond": null, "maxConcurrency": 16,
        "ordered": false, "description": null, "status": "active", "disabledReason": null, "deliveryCount": 0,
        "successCount": 0, "failureCount": 0, "consecutiveFailures": 0, "pendingCount": 0,
        "lastDeliveryAt": null, "lastSuccessAt": null, "lastFailureAt": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert!(is_time(&made["createdAt"]) && is_time(&made["updatedAt"]), "{made}");
    assert!(text(&made["id"]).starts_with("wh_"));
    let secret = text(&made["secret"]);
    assert!(secret.starts_with("whsec_") && secret.len() == 6 + 44, "32 bytes in base64");

    let shown = ann.webhook(&text(&made["id"])).await;
    assert_eq!(shown.get("secret"), None);
    assert_eq!(shown["createdAt"], made["createdAt"]);
    assert_eq!(ann.get("/api/webhooks").await.expect(200)[0].get("secret"), None);
}

#[tokio::test]
async fn every_field_that_is_given_is_kept_and_what_is_not_built_is_refused() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let given = json!({
        "description": "to the warehouse", "headers": { "X-Team": "blue" }, "isActive": false,
        "retryAttempts": 7, "retryDelaySeconds": 5, "retryBackoff": "exponential", "retrySchedule": [1, 60],
        "timeoutSeconds": 10, "rateLimitPerSecond": 100, "maxConcurrency": 4, "ordered": true,
        "filter": { "amount": { "gte": 1000 } },
    });
    let made = ann.create("http://127.0.0.1:9/hook", &["*"], &given).await;
    for (name, value) in given.as_object().unwrap() {
        assert_eq!(&made[name], value, "{name}");
    }
    assert_eq!(made["status"], "inactive");
    let body = json!({ "name": "x", "url": "http://127.0.0.1:9/", "events": ["*"], "channels": ["a"] });
    assert_eq!(ann.post("/api/webhooks", &body).await.error(400), ["property channels should not exist"]);
}

#[tokio::test]
async fn all_faults_of_a_body_are_told_at_once() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let body = json!({
        "name": "", "url": "ftp://example.org", "events": ["lead.created", "*", "lead.craeted"],
        "foo": 1, "retryAttempts": 21,
    });
    let faults = ann.post("/api/webhooks", &body).await.error(400);
    for expected in [
        "name should not be empty",
        "url must be an http or https URL",
        "events.2: unknown event type \"lead.craeted\", did you mean \"lead.created\"?",
        "property foo should not exist",
    ] {
        assert!(faults.iter().any(|fault| fault == expected), "{expected}: {faults:?}");
    }
    assert!(faults.iter().any(|fault| fault.starts_with("retryAttempts ")), "{faults:?}");
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert_eq!(ann.post("/api/webhooks", &json!({})).await.error(400).len(), 3);
    assert_eq!(ann.get("/api/webhooks").await.expect(200), json!([]), "nothing was stored");
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused_in_every_spelling() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let long = format!("http://example.org/{}", "x".repeat(2048));
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://192.168.1.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://[fe80::1]/",
        "http://[64:ff9b::a00:1]/",
        "http://0xa000001/",
        "http://167772161/",
        "http://0.0.0.0/",
        "http://user:password@example.org/",
        "http://127.0.0.1:6379/",
        "http://127.0.0.1:22/",
        "javascript:alert(1)",
        "/relative",
        "",
        long.as_str(),
    ] {
        let body = json!({ "name": "x", "url": url, "events": ["*"] });
        let faults = ann.post("/api/webhooks", &body).await.error(400);
        assert!(faults.len() == 1 && faults[0].starts_with("url "), "{url}: {faults:?}");
    }
}

#[tokio::test]
async fn a_change_needs_the_version_that_if_match_names() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let made = ann.create("http://127.0.0.1:9/", &["*"], &json!({ "headers": { "X-A": "1" } })).await;
    let path = format!("/api/webhooks/{}", text(&made["id"]));
    let change = |tag: String, body: Value| {
        let call = ann.call(Method::PATCH, &path).header("If-Match", &tag);
        async move { call.json(&body).send().await }
    };
    let first = ann.get(&path).await.header("etag").unwrap().to_owned();
    let changed = change(first.clone(), json!({ "name": "second" })).await;
    assert_eq!(changed.expect(200)["name"], "second");
    let second = changed.header("etag").unwrap().to_owned();
    assert_ne!(first, second);
    change(first.clone(), json!({ "name": "third" })).await.error(412);
    change("*".into(), json!({ "headers": { "X-B": "2" } })).await.expect(200);
    let shown = ann.get(&path).await.expect(200);
    assert_eq!(shown["name"], "second");
    assert_eq!(shown["headers"], json!({ "X-B": "2" }), "headers are replaced whole");
    ann.call(Method::DELETE, &path).header("If-Match", &first).send().await.error(412);
    ann.get(&path).await.expect(200);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_clears_only_what_may_be_null() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let given = json!({ "description": "d", "retrySchedule": [1], "rateLimitPerSecond": 5 });
    let made = ann.create("http://127.0.0.1:9/", &["lead.*"], &given).await;
    let path = format!("/api/webhooks/{}", text(&made["id"]));
    let cleared = json!({ "description": null, "retrySchedule": null, "rateLimitPerSecond": null });
    let changed = ann.patch(&path, &cleared).await.expect(200);
    for name in ["description", "retrySchedule", "rateLimitPerSecond"] {
        assert_eq!(changed[name], Value::Null, "{name}");
    }
    assert_eq!(changed["events"], json!(["lead.*"]));
    assert_eq!(changed.get("secret"), None);
    for name in ["name", "url", "events", "headers", "isActive", "retryAttempts", "ordered"] {
        let faults = ann.patch(&path, &json!({ name: null })).await.error(400);
        assert!(faults.iter().all(|fault| fault.starts_with(name)), "{name}: {faults:?}");
    }
    for read_only in ["id", "status", "deliveryCount", "createdAt"] {
        let expected = format!("property {read_only} should not exist");
        assert_eq!(ann.patch(&path, &json!({ read_only: 1 })).await.error(400), [expected]);
    }
}

#[tokio::test]
async fn the_list_is_newest_first_and_can_be_filtered_and_paged() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let mut newest_first = Vec::new();
    for number in 0..7 {
        let active = json!({ "isActive": number % 2 == 0 });
        let made = ann.create("http://127.0.0.1:9/", &["*"], &active).await;
        newest_first.insert(0, text(&made["id"]));
    }
    let all = ann.get("/api/webhooks").await;
    assert_eq!(ids(&all.expect(200)), newest_first);
    assert_eq!(all.number("x-total-count"), 7);

    let active = ann.get("/api/webhooks?isActive=true").await;
    assert_eq!(active.number("x-total-count"), 4);
    let expected: Vec<String> = newest_first.iter().step_by(2).cloned().collect();
    assert_eq!(ids(&active.expect(200)), expected);
    assert_eq!(ann.get("/api/webhooks?isActive=false").await.number("x-total-count"), 3);

    let page = ann.get("/api/webhooks?page=2&limit=3").await;
    assert_eq!(ids(&page.expect(200)), newest_first[3..6]);
    assert_eq!(page.number("x-total-count"), 7);
    assert_eq!(ids(&ann.get("/api/webhooks?page=9&limit=3").await.expect(200)).len(), 0);
    assert_eq!(ids(&ann.get("/api/webhooks?page=0&limit=0").await.expect(200)).len(), 7);
    for bad in ["isActive=yes", "isActive=", "limit=101", "limit=-1", "page=x"] {
        ann.get(&format!("/api/webhooks?{bad}")).await.error(400);
    }
}

#[tokio::test]
async fn the_curl_lines_of_the_published_reference_work() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let body = json!({
        "name": "string", "description": "string", "url": receiver.url("/"),
        "events": ["lead.created", "opportunity.won"], "headers": {}, "isActive": true,
        "retryAttempts": 3, "retryDelaySeconds": 60,
    });
    let made = ann.post("/api/api/webhooks", &body).await.expect(201);
    let path = format!("/api/api/webhooks/{}", text(&made["id"]));
    assert_eq!(ids(&ann.get("/api/api/webhooks?isActive=true").await.expect(200)), [text(&made["id"])]);
    ann.get("/api/api/webhooks/events").await.expect(200);
    ann.get("/api/api/webhooks/stats").await.expect(200);
    ann.get(&path).await.expect(200);
    let change = json!({
        "name": "string", "description": "string", "url": receiver.url("/"), "events": ["lead.created"],
        "headers": {}, "isActive": true, "retryAttempts": 0, "retryDelaySeconds": 0,
    });
    ann.patch(&path, &change).await.expect(200);
    ann.post_empty(&format!("{path}/regenerate-secret")).await.expect(200);
    assert_eq!(ann.post_empty(&format!("{path}/test")).await.expect(200)["success"], true);
    let query = "success=true&event=%3Cstring%3E&page=0&limit=0";
    let deliveries = ann.get(&format!("{path}/deliveries?{query}")).await.expect(200);
    assert_eq!(deliveries["logs"], json!([]), "an unknown event is an empty page");
    assert_eq!(deliveries["pagination"]["limit"], 20);
    assert_eq!(ann.delete(&path).await.status, 204);
    ann.get(&path).await.error(404);
}

#[tokio::test]
async fn the_catalogue_lists_every_event_with_a_sample() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let list = node.user("ann", "acme").get("/api/webhooks/events").await.expect(200);
    let families = [
        ("lead", "created updated deleted converted assigned"),
        ("contact", "created updated deleted"),
        ("account", "created updated deleted"),
        ("opportunity", "created updated deleted stage_changed won lost"),
        ("quote", "created sent approved accepted rejected expired"),
        ("order", "created completed"),
        ("meeting", "scheduled completed"),
        ("activity", "created completed"),
        ("task", "created completed overdue"),
        ("user", "created updated"),
        ("form", "submitted"),
    ];
    let list = list.as_array().unwrap();
    let mut count = 0;
    for (family, actions) in families {
        for action in actions.split(' ') {
            let name = format!("{family}.{action}");
            let found = list.iter().find(|entry| entry["event"] == name).expect(&name);
            for field in ["label", "description", "category"] {
                assert!(!text(&found[field]).is_empty(), "{name}: {field}");
            }
            assert!(found["sample"].as_object().is_some_and(|sample| !sample.is_empty()), "{name}");
            count += 1;
        }
    }
    assert_eq!(list.len(), count);
}

#[tokio::test]
async fn what_is_not_there_is_404_on_every_route() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    for id in ["wh_000000000000000000000000", "wh_0", "nonsense", "wh_zz0000000000000000000000"] {
        everything_is_404(&ann, id).await;
    }
}

/// Each route under one webhook's id answers 404.
pub async fn everything_is_404(client: &Client, id: &str) {
    let path = format!("/api/webhooks/{id}");
    client.get(&path).await.error(404);
    client.patch(&path, &json!({ "name": "mine" })).await.error(404);
    client.delete(&path).await.error(404);
    for action in ["regenerate-secret", "test", "activate", "deactivate", "reset-failures"] {
        client.post_empty(&format!("{path}/{action}")).await.error(404);
    }
    client.get(&format!("{path}/deliveries")).await.error(404);
    client.get(&format!("{path}/deliveries/att_1_0_abcdef")).await.error(404);
    client.post_empty(&format!("{path}/deliveries/att_1_0_abcdef/retry")).await.error(404);
}

#[tokio::test]
async fn a_regenerated_secret_signs_beside_the_former_one_for_its_grace_period() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let made = ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    let path = format!("/api/webhooks/{}/regenerate-secret", text(&made["id"]));
    let first = text(&made["secret"]);
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 1).await[0].verify(&[&first]);

    let answer = ann.post_empty(&path).await.expect(200);
    assert_eq!(answer["id"], made["id"]);
    assert!(is_time(&answer["previousSecretExpiresAt"]) && !text(&answer["message"]).is_empty());
    let second = text(&answer["secret"]);
    assert_ne!(first, second);
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 2).await[1].verify(&[&second, &first]);

    let between = text(&ann.post(&path, &json!({ "gracePeriodSeconds": 60 })).await.expect(200)["secret"]);
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 3).await[2].verify(&[&between, &second, &first]);

    let third = text(&ann.post(&path, &json!({ "gracePeriodSeconds": 0 })).await.expect(200)["secret"]);
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 4).await[3].verify(&[&third]);

    let answer = ann.post(&path, &json!({ "gracePeriodSeconds": 1 })).await.expect(200);
    let fourth = text(&answer["secret"]);
    let expires = chrono::DateTime::parse_from_rfc3339(&text(&answer["previousSecretExpiresAt"])).unwrap();
    eventually("the grace period is over", SOON, async || {
        (chrono::DateTime::from(std::time::SystemTime::now()) > expires).then_some(())
    })
    .await;
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 5).await[4].verify(&[&fourth]);
    for bad in [json!(-1), json!(604_801), json!("1"), Value::Null] {
        ann.post(&path, &json!({ "gracePeriodSeconds": bad })).await.error(400);
    }
}

#[tokio::test]
async fn quotas_are_kept_for_users_and_for_organizations() {
    let redis = TestRedis::start();
    let settings = [("LIMITS__WEBHOOKS_PER_USER", "2"), ("LIMITS__WEBHOOKS_PER_TENANT", "3")];
    let node = TestNode::start_with(&redis, &settings).await;
    let (ann, bob) = (node.user("ann", "acme"), node.user("bob", "acme"));
    let body = json!({ "name": "x", "url": "http://127.0.0.1:9/", "events": ["*"] });
    let first = ann.post("/api/webhooks", &body).await.expect(201);
    ann.post("/api/webhooks", &body).await.expect(201);
    ann.post("/api/webhooks", &body).await.error(409);
    bob.post("/api/webhooks", &body).await.expect(201);
    bob.post("/api/webhooks", &body).await.error(409);
    ann.delete(&format!("/api/webhooks/{}", text(&first["id"]))).await.expect(204);
    bob.post("/api/webhooks", &body).await.expect(201);
    node.user("ann", "other").post("/api/webhooks", &body).await.expect(201);
}
