//! `server.trusted_proxies`: whose word is taken for where a request comes from.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, SOON, TestNode, TestRedis, eventually};

/// What the audit log names as the source of a change with these header lines.
async fn source(node: &TestNode, ann: &Client, forwarded: &[&str]) -> String {
    let new = json!({ "name": "n", "url": "http://127.0.0.1:9/", "events": ["*"] });
    let call = ann.call(Method::POST, "/api/webhooks").json(&new);
    let call = forwarded.iter().fold(call, |call, line| call.header("X-Forwarded-For", line));
    let answer = call.send().await;
    let id = answer.expect(201)["id"].clone();
    eventually("its line", SOON, async || {
        let line = node
            .log()
            .into_iter()
            .find(|line| line["action"] == "create_webhook" && line["webhook"] == id)?;
        line["source"].as_str().map(str::to_owned)
    })
    .await
}

async fn guesses(ann: &Client, from: &str) -> u16 {
    let guess = ann.with_text("guess").call(Method::GET, "/api/webhooks").header("X-Forwarded-For", from);
    guess.send().await.status
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_who_the_proxy_saw() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("SERVER__TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8")]).await;
    let ann = node.user("ann", "acme");
    for (forwarded, expected) in [
        (&[][..], "127.0.0.1"),
        (&["198.51.100.9"][..], "198.51.100.9"),
        (&["203.0.113.7, 198.51.100.9", "10.1.2.3"][..], "198.51.100.9"),
        (&["203.0.113.7, nonsense"][..], "127.0.0.1"),
        (&["[2001:db8::7]:4711"][..], "2001:db8::7"),
    ] {
        assert_eq!(source(&node, &ann, forwarded).await, expected, "{forwarded:?}");
    }
    for _ in 0..60 {
        assert_eq!(guesses(&ann, "198.51.100.9").await, 401);
    }
    assert_eq!(guesses(&ann, "203.0.113.7, 198.51.100.9").await, 429, "the same client");
    assert_eq!(guesses(&ann, "198.51.100.10").await, 401, "another client");
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("SERVER__TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let ann = node.user("ann", "acme");
    assert_eq!(source(&node, &ann, &["198.51.100.9"]).await, "127.0.0.1");
    for n in 0..60 {
        assert_eq!(guesses(&ann, &format!("198.51.100.{n}")).await, 401);
    }
    assert_eq!(guesses(&ann, "198.51.100.99").await, 429);
}
