//! Contract §1 and §2: who may do what, and what everybody else is told.

use jsonwebtoken::{Algorithm, Header};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Receiver, TestNode, TestRedis, Token, text};

/// Every route of the API that asks for a token, with an id that exists nowhere.
const ROUTES: [(&str, &str); 18] = [
    ("GET", "/api/webhooks"),
    ("POST", "/api/webhooks"),
    ("GET", "/api/webhooks/events"),
    ("GET", "/api/webhooks/stats"),
    ("GET", "/api/webhooks/wh_000000000000000000000000"),
    ("PATCH", "/api/webhooks/wh_000000000000000000000000"),
    ("DELETE", "/api/webhooks/wh_000000000000000000000000"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/regenerate-secret"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/test"),
    ("GET", "/api/webhooks/wh_000000000000000000000000/deliveries"),
    ("GET", "/api/webhooks/wh_000000000000000000000000/deliveries/att_1_0_abcdef"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/deliveries/att_1_0_abcdef/retry"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/activate"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/deactivate"),
    ("POST", "/api/webhooks/wh_000000000000000000000000/reset-failures"),
    ("POST", "/api/events"),
    ("POST", "/api/events/batch"),
    ("GET", "/api/events/evt_0"),
];

#[tokio::test]
async fn every_route_asks_for_a_token() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let nobody = node.user("ann", "acme").with_text("");
    for (method, path) in ROUTES {
        let answer = nobody.call(Method::from_bytes(method.as_bytes()).unwrap(), path).send().await;
        answer.error(401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{method} {path}");
    }
}

#[tokio::test]
async fn a_token_is_taken_only_if_the_right_key_signed_it_and_it_is_in_its_time() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let good = Token::user("ann").org("acme");
    let client = node.client(&good);
    client.get("/api/webhooks").await.expect(200);
    client.with(&good.clone().claim("organizationId", Value::Null)).get("/api/webhooks").await.expect(200);

    let unsigned = format!(
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.",
        good.sign().split('.').nth(1).expect("three parts")
    );
    let bad = [
        ("another key", good.sign_with(&Header::default(), "another-secret-of-a-good-length-0123456789")),
        ("HS384", good.sign_with(&Header::new(Algorithm::HS384), crate::harness::SECRET)),
        ("none", unsigned),
        ("expired", good.clone().claim("exp", json!(1_700_000_000)).sign()),
        ("no exp", good.clone().claim("exp", Value::Null).sign()),
        ("no sub", good.clone().claim("sub", Value::Null).sign()),
        ("an empty sub", good.clone().claim("sub", json!("")).sign()),
        ("an organization that looks like a user", good.clone().org("user:ann").sign()),
        ("garbage", "garbage".to_owned()),
    ];
    for (what, token) in bad {
        let answer = client.with_text(&token).get("/api/webhooks").await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.body);
        answer.error(401);
    }
}

#[tokio::test]
async fn roles_and_scopes_bound_what_a_token_may_do() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = Token::user("ann").org("acme");
    let client = node.client(&ann);
    let id = text(&client.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let path = format!("/api/webhooks/{id}");
    let event = json!({ "type": "lead.created", "data": {} });

    let viewer = client.with(&ann.clone().role("VIEWER"));
    let reads = client.with(&ann.clone().scope("webhooks:read"));
    for reader in [&viewer, &reads] {
        reader.get("/api/webhooks").await.expect(200);
        reader.get(&path).await.expect(200);
        reader.get(&format!("{path}/deliveries")).await.expect(200);
        reader.get("/api/webhooks/stats").await.expect(200);
        reader.patch(&path, &json!({ "name": "x" })).await.error(403);
        reader.delete(&path).await.error(403);
        for action in ["regenerate-secret", "test", "activate", "deactivate", "reset-failures"] {
            reader.post_empty(&format!("{path}/{action}")).await.error(403);
        }
        let new = json!({ "name": "x", "url": receiver.url("/"), "events": ["*"] });
        reader.post("/api/webhooks", &new).await.error(403);
        reader.post("/api/events", &event).await.error(403);
    }

    let writes = client.with(&ann.clone().scope("webhooks:write"));
    writes.get(&path).await.error(403);
    writes.patch(&path, &json!({ "name": "y" })).await.expect(200);

    let publishers = [
        (ann.clone(), 403),
        (ann.clone().role("Service"), 403),
        (ann.clone().role("service"), 202),
        (ann.clone().scope("events:publish"), 202),
        (ann.clone().scope("webhooks:read webhooks:write"), 403),
    ];
    for (token, status) in publishers {
        let answer = client.with(&token).post("/api/events", &event).await;
        assert_eq!(answer.status, status, "{token:?}: {}", answer.body);
    }
    assert_eq!(receiver.arrived("/", 2).await.len(), 2);
}

#[tokio::test]
async fn naming_another_organization_needs_a_scope_of_its_own() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    node.user("ann", "acme").create(&receiver.url("/acme"), &["*"], &json!({})).await;
    node.user("bob", "other").create(&receiver.url("/other"), &["*"], &json!({})).await;
    let to_other = json!({ "type": "lead.created", "data": {}, "organizationId": "other" });

    let crm = Token::user("crm").role("service");
    let own = node.client(&crm.clone().org("acme"));
    own.post("/api/events", &to_other).await.error(403);
    own.post("/api/events", &json!({ "type": "lead.created", "data": {}, "organizationId": "acme" }))
        .await
        .expect(202);

    let without = node.client(&crm.clone());
    without.post("/api/events", &json!({ "type": "lead.created", "data": {} })).await.error(400);

    let any = node.client(&Token::user("hub").org("acme").scope("events:publish events:publish:any"));
    any.post("/api/events", &to_other).await.expect(202);
    receiver.arrived("/other", 1).await;
    assert_eq!(receiver.arrived("/acme", 1).await.len(), 1);
    assert_eq!(receiver.received("/other")[0].json()["organizationId"], "other");
}

#[tokio::test]
async fn errors_have_one_form_and_carry_the_request_id() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let answer =
        ann.call(Method::GET, "/api/webhooks/nonsense").header("X-Request-Id", "req-42").send().await;
    assert_eq!(answer.error(404).len(), 1);
    assert_eq!(answer.header("x-request-id"), Some("req-42"));
    let answer = ann.get("/api/webhooks").await;
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()));

    ann.get("/api/nothing").await.error(404);
    ann.call(Method::PUT, "/api/webhooks").send().await.error(405);
    ann.call(Method::POST, "/api/webhooks").text("{\"name\":").send().await.error(400);
    ann.call(Method::POST, "/api/webhooks").text("[]").send().await.error(400);
    ann.call(Method::POST, "/api/webhooks").raw("text/plain", "{}").send().await.error(415);
    let long = "x".repeat(300 * 1024);
    ann.call(Method::POST, "/api/webhooks").text(&format!("\"{long}\"")).send().await.error(413);
}

#[tokio::test]
async fn the_management_port_asks_for_no_token_and_the_api_port_shows_none_of_it() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    node.management().get("/health/live").await.expect(200);
    assert!(node.metrics().await.sum("partitions_owned", &[]) >= 0.0);
    let ann = node.user("ann", "acme");
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_eq!(ann.get(path).await.status, 404, "{path}");
    }
    assert_eq!(node.management().get("/api/webhooks").await.status, 404);
}
