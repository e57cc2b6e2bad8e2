//! What a person learns from `smoke-test` after an installation.

use std::process::Output;

use crate::harness::{SECRET, TestNode, TestRedis};

/// Runs `smoke-test` against that node with these words besides.
async fn smoke(node: &TestNode, settings: &[(&str, &str)], words: &[&str]) -> Output {
    let settings = settings.iter().map(|(name, value)| (format!("WEBHOOKS_{name}"), *value));
    let (api, management) = (node.address(), node.management_address());
    let [api, management] = [api, management].map(|address| format!("http://{}", address.get()));
    tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .args(["smoke-test", "--url", &api, "--management", &management])
        .args(words)
        .env_clear()
        .env("WEBHOOKS_AUTH__JWT_SECRET", SECRET)
        .envs(settings)
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn an_installation_proves_itself_without_anything_being_opened() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", "")]).await;
    let output = smoke(&node, &[], &[]).await;
    let (said, complaint) = texts(&output);
    assert!(output.status.success(), "{said}{complaint}");
    for step in ["ready ", "169.254.169.254 is refused", "published ", "attempted  dns", "ok "] {
        assert!(said.contains(step), "{step}: {said}");
    }
    let left = node.user("smoke-test", "smoke-test").get("/api/webhooks").await.expect(200);
    assert!(!left.to_string().contains("wh_"), "the webhook is deleted: {left}");
}

#[tokio::test]
async fn an_event_arrives_where_the_installation_may_send_to() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let output = smoke(&node, &[], &["--receive", "127.0.0.1"]).await;
    let (said, complaint) = texts(&output);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(said.contains("both signatures verified") && said.contains("attempted  200"), "{said}");
}

#[tokio::test]
async fn what_does_not_hold_is_named() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let other = "another secret of thirty-two bytes, at least";
    let (_, complaint) = texts(&smoke(&node, &[("AUTH__JWT_SECRET", other)], &[]).await);
    assert!(complaint.contains("401"), "{complaint}");

    let node = TestNode::start_with(&redis, &[("DELIVERY__ALLOWED_NETWORKS", "169.254.0.0/16")]).await;
    let output = smoke(&node, &[], &[]).await;
    let (_, complaint) = texts(&output);
    assert!(!output.status.success() && complaint.contains("the address guard is not up"), "{complaint}");
}
