//! What an operator does on the command line.

use std::process::Output;

use crate::harness::{SOON, TestNode, TestRedis, eventually};

/// Runs the program with that Redis and nothing else: no token secret, no node of its own.
async fn cluster(redis: &TestRedis, words: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .arg("cluster")
        .args(words)
        .env_clear()
        .env("WEBHOOKS_REDIS__URL", redis.url())
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap()
}

/// What it prints when it succeeds.
async fn said(redis: &TestRedis, words: &[&str]) -> String {
    let output = cluster(redis, words).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{words:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What it prints when it fails.
async fn refused(redis: &TestRedis, words: &[&str]) -> String {
    let output = cluster(redis, words).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words:?}: {text}");
    text
}

/// The columns of a node in `cluster status`: its state and how many partitions it owns.
async fn row(redis: &TestRedis, node: &str) -> (String, String) {
    let status = said(redis, &["status"]).await;
    let row = status.lines().find(|line| line.starts_with(&format!("{node} "))).expect("it is listed");
    let columns: Vec<&str> = row.split_whitespace().collect();
    (columns[1].to_owned(), columns[2].to_owned())
}

async fn becomes(redis: &TestRedis, node: &str, state: &str, partitions: &str) {
    eventually(&format!("{node} is {state} with {partitions}"), SOON, async || {
        (row(redis, node).await == (state.to_owned(), partitions.to_owned())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_is_looked_at_and_drained_and_taken_back() {
    let redis = TestRedis::start();
    let _first = TestNode::start_with(&redis, &[("NODE__ID", "first")]).await;
    becomes(&redis, "first", "live", "64").await;
    let alone = refused(&redis, &["drain", "first"]).await;
    assert!(alone.contains("--force"), "{alone}");
    let unknown = refused(&redis, &["drain", "third"]).await;
    assert!(unknown.contains("there is no node third; there are: first"), "{unknown}");

    let second = TestNode::start_with(&redis, &[("NODE__ID", "second")]).await;
    becomes(&redis, "second", "live", "32").await;
    let drained = said(&redis, &["drain", "second"]).await;
    assert!(drained.contains("second owns no partition"), "{drained}");
    assert_eq!(row(&redis, "second").await, ("draining".into(), "0".into()));
    becomes(&redis, "first", "live", "64").await;
    assert!(second.is_ready().await, "it goes on answering the API");
    let is_told = |action: &str| second.log().iter().any(|line| line["action"] == action);
    eventually("the audit log tells of it", SOON, async || is_told("drain_node").then_some(())).await;

    said(&redis, &["drain", "second", "--undo"]).await;
    becomes(&redis, "second", "live", "32").await;
    assert!(is_told("undrain_node"));
    let status = said(&redis, &["status"]).await;
    assert!(status.contains("64 partitions, 0 without a living owner; 0 deliveries queued"), "{status}");
}

#[tokio::test]
async fn two_nodes_of_one_name_do_not_run() {
    let redis = TestRedis::start();
    let _first = TestNode::start_with(&redis, &[("NODE__ID", "same")]).await;
    let said = TestNode::refused(&[("REDIS__URL", redis.url()), ("NODE__ID", "same".to_owned())]).await;
    assert!(said.contains("node.id") && said.contains("another running node"), "{said}");
}
