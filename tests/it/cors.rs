//! `api.cors_allowed_origins` on a real node: what a browser would see.

use reqwest::Method;

use crate::harness::{Answer, Client, TestNode, TestRedis};

const APP: &str = "https://app.example.com";

async fn ask(client: &Client, method: Method, path: &str, origin: &str) -> Answer {
    client.call(method, path).header("Origin", origin).send().await
}

fn allowed(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn a_listed_origin_may_call_and_reads_every_answer_and_the_management_port_knows_none() {
    let redis = TestRedis::start();
    let settings = [("API__CORS_ALLOWED_ORIGINS", APP), ("API__RATE_LIMIT_PER_MINUTE", "2")];
    let node = TestNode::start_with(&redis, &settings).await;
    let ann = node.user("ann", "acme");
    let preflight = |client: &Client| {
        let call = client.with_text("").call(Method::OPTIONS, "/api/webhooks");
        call.header("Origin", APP).header("Access-Control-Request-Method", "POST").send()
    };
    for _ in 0..5 {
        let answer = preflight(&ann).await;
        assert_eq!((answer.status, allowed(&answer)), (204, Some(APP)), "without a token, and not counted");
    }
    for status in [200, 200, 429] {
        let answer = ask(&ann, Method::GET, "/api/webhooks", APP).await;
        assert_eq!((answer.status, allowed(&answer)), (status, Some(APP)));
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    let other = ask(&node.user("bob", "acme"), Method::GET, "/api/webhooks", "https://evil.example").await;
    assert_eq!((other.status, allowed(&other)), (200, None));
    let management = node.management();
    assert_eq!(allowed(&ask(&management, Method::GET, "/health/live", APP).await), None);
    assert_ne!(preflight(&management).await.status, 204);
}
