//! Contract §3: the API's rate limits; and the limits that the system sets to a node.

use serde_json::json;

use crate::harness::{TestNode, TestRedis};

#[tokio::test]
async fn a_user_is_told_what_is_left_and_refused_past_it_and_publishing_is_apart() {
    let redis = TestRedis::start();
    let settings = [("API__RATE_LIMIT_PER_MINUTE", "5"), ("API__PUBLISH_RATE_LIMIT_PER_SECOND", "3")];
    let node = TestNode::start_with(&redis, &settings).await;
    let (ann, bob) = (node.user("ann", "acme"), node.user("bob", "acme"));
    let mut left = Vec::new();
    for _ in 0..5 {
        let answer = ann.get("/api/webhooks").await;
        answer.expect(200);
        assert_eq!(answer.number("x-ratelimit-limit"), 5);
        answer.number("x-ratelimit-reset");
        left.push(answer.number("x-ratelimit-remaining"));
    }
    assert!(left.is_sorted_by(|a, b| a > b), "{left:?}");
    let refused = ann.get("/api/webhooks").await;
    refused.error(429);
    assert!((1..=60).contains(&refused.number("retry-after")), "{:?}", refused.headers);
    assert_eq!(refused.number("x-ratelimit-remaining"), 0);
    bob.get("/api/webhooks").await.expect(200);

    let crm = node.publisher("acme");
    let event = json!({ "type": "lead.created", "data": {} });
    let mut statuses = Vec::new();
    for _ in 0..40 {
        statuses.push(crm.post("/api/events", &event).await);
    }
    assert_eq!(statuses[0].status, 202);
    let refused = statuses.iter().find(|answer| answer.status != 202).expect("more than three a second");
    refused.error(429);
    refused.number("retry-after");
}

#[tokio::test]
async fn a_node_that_may_open_too_few_files_does_not_start_and_says_what_to_set() {
    let said = TestNode::refused_when_limited(&[], "ulimit -n 512").await;
    let settings = ["delivery.max_in_flight (4096)", "server.max_connections (4096)"];
    for word in
        settings.into_iter().chain(["18688 open files", "allows this process 512", "LimitNOFILE=18688"])
    {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[tokio::test]
async fn a_node_raises_its_soft_limit_of_open_files_to_what_its_settings_need() {
    let redis = TestRedis::start();
    let node = TestNode::start_limited(&redis, "ulimit -Sn 512").await;
    let limits = node.limits();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let soft = files.split_whitespace().nth(3).expect("four columns");
    assert_eq!(soft, "5376", "{files}");
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let guesser = node.user("ann", "acme").with_text("guess");
    let mut refused = None;
    for _ in 0..90 {
        let answer = guesser.get("/api/webhooks").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
        answer.error(401);
    }
    let refused = refused.expect("sixty a minute");
    refused.error(429);
    refused.number("retry-after");
}
