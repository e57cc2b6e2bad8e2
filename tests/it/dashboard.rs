//! The pages of a running cluster: who is let in and until when, and that a page is no way around anything.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Provider, Receiver, SOON, Says, Signer, TestNode, TestRedis, Token, Visitor, eventually, text,
};

fn ann() -> Token {
    Token::user("ann").org("acme")
}

fn of_key(signer: &Signer, kid: &str) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({ "sub": "ann", "organizationId": "acme", "exp": now + 3600 });
    signer.token(&json!({ "alg": signer.alg(), "kid": kid }), &claims)
}

#[tokio::test]
async fn who_signs_in_at_one_node_is_known_at_all_and_sees_their_own_alone() {
    let redis = TestRedis::start();
    let (one, other) = (TestNode::start(&redis).await, TestNode::start(&redis).await);
    let receiver = Receiver::start().await;
    let own = one.client(&ann()).create(&receiver.url("/"), &["*"], &json!({ "name": "of ann" })).await;
    let foreign =
        one.user("bob", "acme").create(&receiver.url("/"), &["*"], &json!({ "name": "of bob" })).await;
    let (visitor, answer) = Visitor::sign_in(one.address(), &ann().sign()).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/dashboard")), "{answer:?}");
    for node in [&one, &other] {
        let there = visitor.at(node.address());
        let list = there.open("/dashboard/webhooks").await;
        assert_eq!(list.status, 200, "{list:?}");
        assert!(list.body.contains("of ann") && !list.body.contains("of bob"), "{}", list.body);
        for (webhook, status) in [(&own, 200), (&foreign, 404)] {
            for page in
                ["", "/edit", "/deliveries", "/test", "/verify", "/secret", "/recover", "/delete", "/pause"]
            {
                let opened = there.open(&format!("/dashboard/webhooks/{}{page}", text(&webhook["id"]))).await;
                assert_eq!(opened.status, status, "{page}: {opened:?}");
                assert_eq!(opened.header("content-type"), Some("text/html; charset=utf-8"), "{page}");
            }
        }
    }
}

#[tokio::test]
async fn a_session_ends_with_the_key_of_its_token_and_a_new_key_is_waited_for() {
    let redis = TestRedis::start();
    let [_, old, new] = Signer::all();
    let provider = Provider::start(&[Says::Keys(vec![old.jwk("old")])]).await;
    let settings =
        [("AUTH__JWT_SECRET", ""), ("AUTH__JWKS_URL", &*provider.url()), ("AUTH__JWKS_REFRESH_SECONDS", "5")];
    let node = TestNode::start_with(&redis, &settings).await;
    let visitor = eventually("the keys are there", SOON, async || {
        let (visitor, answer) = Visitor::sign_in(node.address(), &of_key(&old, "old")).await;
        (answer.status == 303).then_some(visitor)
    })
    .await;
    assert_eq!(visitor.open("/dashboard").await.status, 200);
    provider.says(Says::Keys(vec![new.jwk("new")]));
    // The set is read for its sake, and the old key goes with it.
    let (_, answer) = Visitor::sign_in(node.address(), &of_key(&new, "new")).await;
    assert_eq!(answer.status, 303, "{answer:?}");
    let ended = visitor.open("/dashboard").await;
    assert_eq!(
        (ended.status, ended.header("location")),
        (303, Some("/dashboard/sign-in?next=%2Fdashboard&ended=1"))
    );
}

#[tokio::test]
async fn guessing_tokens_at_the_form_is_slowed_down_like_everywhere() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let mut last = 0;
    for _ in 0..70 {
        last = Visitor::sign_in(node.address(), "e30.e30.x").await.1.status;
        if last == 429 {
            break;
        }
        assert_eq!(last, 401);
    }
    assert_eq!(last, 429);
    let (_, good) = Visitor::sign_in(node.address(), &ann().sign()).await;
    assert_eq!(good.status, 303, "who has a good token is not held up by the others");
}

#[tokio::test]
async fn a_change_by_a_page_is_in_the_audit_log_as_one_by_the_api_is() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let id = text(&node.client(&ann()).create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    let (visitor, _) = Visitor::sign_in(node.address(), &ann().sign()).await;
    let path = format!("/dashboard/webhooks/{id}/pause");
    let paused = visitor.send(&path, &[]).await;
    assert_eq!(paused.status, 303, "{paused:?}");
    assert_eq!(node.client(&ann()).webhook(&id).await["isActive"], false);
    let request = paused.header("x-request-id").unwrap().to_owned();
    let line = eventually("the line of the change", SOON, async || {
        let is_it = |line: &Value| {
            line["target"] == "salesos_webhooks::audit" && line["request_id"] == request.as_str()
        };
        node.log().into_iter().find(is_it)
    })
    .await;
    for (field, value) in [
        ("action", "deactivate_webhook"),
        ("result", "done"),
        ("tenant", "org:acme"),
        ("user", "ann"),
        ("webhook", id.as_str()),
        ("source", "127.0.0.1"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    let unmarked = visitor.send_unmarked(&path, &[]).await;
    assert_eq!(unmarked.status, 403);
    let labels = ["action=\"deactivate_webhook\"", "result=\"denied\""];
    assert_eq!(node.metrics().await.sum("changes_total", &labels), 1.0);
    let route = ["route=\"/dashboard/webhooks/{id}/pause\"", "method=\"POST\""];
    assert_eq!(node.metrics().await.sum("api_requests_total", &route), 2.0, "pages are routes like others");
}

#[tokio::test]
async fn pages_can_be_switched_off() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("DASHBOARD__ENABLED", "false")]).await;
    let client = node.client(&ann());
    for path in ["/dashboard", "/dashboard/sign-in", "/dashboard/assets/style.css"] {
        assert_eq!(client.get(path).await.error(404), ["route not found"], "{path}");
        assert_eq!(client.call(Method::POST, path).send().await.status, 404, "{path}");
    }
    assert!(!node.management().get("/metrics").await.body.contains("/dashboard"));
}
