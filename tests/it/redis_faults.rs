//! What Redis may do to us, and that it passes.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Gate, Receiver, Reply, SOON, TestNode, TestRedis, eventually, text};

fn event(n: usize) -> Value {
    json!({ "type": "lead.created", "data": { "n": n }, "id": format!("e{n}") })
}

/// Publishes with an id of its own until it is taken: what a client should do after a 503.
async fn publish_until_taken(crm: &Client, n: usize) -> Answer {
    eventually("the event is taken", SOON, async || {
        let answer = crm.post("/api/events", &event(n)).await;
        (answer.status == 202).then_some(answer)
    })
    .await
}

#[tokio::test]
async fn broken_connections_are_replaced_and_nothing_is_lost() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    for n in 0..10 {
        redis.cut_connections();
        let answer = crm.post("/api/events", &event(n)).await;
        assert!([202, 503].contains(&answer.status), "{}", answer.body);
        if answer.status == 503 {
            answer.error(503);
            publish_until_taken(&crm, n).await;
        }
    }
    ann.settled(10).await;
    assert_eq!(receiver.count("/"), 10, "each once");
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    for n in 0..5 {
        let _: () = redis.command(&["SCRIPT", "FLUSH", "SYNC"]);
        crm.post("/api/events", &event(n)).await.expect(202);
        let _: () = redis.command(&["SCRIPT", "FLUSH", "SYNC"]);
        ann.patch(&format!("/api/webhooks/{id}"), &json!({ "name": format!("n{n}") })).await.expect(200);
    }
    ann.settled(5).await;
}

/// Each kind of request gets its 503 within a bound.
async fn all_unavailable(node: &TestNode, id: &str) {
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let start = Instant::now();
    let log = format!("/api/webhooks/{id}/deliveries");
    let publishing = crm.call(Method::POST, "/api/events").json(&event(100)).send();
    let answers =
        tokio::join!(publishing, ann.get("/api/webhooks"), ann.get("/api/webhooks/stats"), ann.get(&log),);
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        answer.error(503);
        assert!(answer.number("retry-after") >= 1, "{}", answer.request);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let management = node.management();
    eventually("it is not ready", SOON, async || {
        (management.get("/health/ready").await.status == 503).then_some(())
    })
    .await;
    assert_eq!(management.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn without_redis_there_is_503_and_when_it_is_back_all_goes_on_by_itself() {
    let mut redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    for n in 0..5 {
        crm.post("/api/events", &event(n)).await.expect(202);
    }
    redis.kill();
    all_unavailable(&node, &id).await;
    redis.start_again();
    publish_until_taken(&crm, 5).await;
    let management = node.management();
    eventually("it is ready again", SOON, async || {
        (management.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
    eventually("all six are recorded", SOON, async || {
        (ann.webhook(&id).await["successCount"] == 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_hangs_is_503_and_not_a_hang() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let ann = node.user("ann", "acme");
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    redis.freeze();
    all_unavailable(&node, &id).await;
    redis.thaw();
    let crm = node.publisher("acme");
    publish_until_taken(&crm, 1).await;
    eventually("it is delivered", SOON, async || {
        receiver.received("/").iter().any(|request| request.event_id() == "e1").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_redis_refuses_publishes_and_lets_deliveries_go_on() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    let id = text(&ann.create(&receiver.url("/"), &["*"], &json!({})).await["id"]);
    for n in 0..30 {
        crm.post("/api/events", &event(n)).await.expect(202);
    }
    eventually("all wait in the webhook's queue", SOON, async || {
        (ann.webhook(&id).await["pendingCount"] == 30).then_some(())
    })
    .await;
    // These may lie anywhere on their way when there is no more room.
    for n in 30..40 {
        crm.post("/api/events", &event(n)).await.expect(202);
    }
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for n in 40..45 {
        let answer = crm.post("/api/events", &event(n)).await;
        answer.error(503);
        assert!(answer.number("retry-after") >= 1);
    }
    gate.open();
    eventually("what was on its way is recorded", SOON, async || {
        (ann.webhook(&id).await["successCount"].as_u64() >= Some(30)).then_some(())
    })
    .await;
    crm.post("/api/events", &event(40)).await.error(503);
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    for n in 40..45 {
        assert_eq!(
            publish_until_taken(&crm, n).await.json()["duplicate"],
            false,
            "a refused one was not stored"
        );
    }
    ann.settled(45).await;
    assert_eq!(receiver.count("/"), 45, "each once");
}

#[tokio::test]
async fn a_redis_left_full_takes_events_again_when_deliveries_have_made_room() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let gate = Gate::new();
    receiver.script("/", &[Reply::status(200).held(&gate)]);
    ann.create(&receiver.url("/"), &["*"], &json!({ "maxConcurrency": 1 })).await;
    let large = |n: usize| json!({ "type": "lead.created", "id": format!("large_{n}"), "data": { "text": "x".repeat(60_000) } });
    crm.post("/api/events", &large(0)).await.expect(202);
    receiver.arrived("/", 1).await;
    let used: String = redis.command(&["INFO", "memory"]);
    let used: u64 =
        used.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).unwrap();
    let most = used + 3_000_000;
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory", &most.to_string()]);
    let mut accepted = 1;
    while crm.post("/api/events", &large(accepted)).await.status == 202 {
        accepted += 1;
        assert!(accepted < 200, "redis does not fill");
    }
    crm.post("/api/events", &large(accepted)).await.error(503);
    eventually("the node sees that room is scarce", SOON, async || {
        (node.metrics().await.sum("redis_memory_scarce", &[]) == 1.0).then_some(())
    })
    .await;
    gate.open();
    // Nobody helps it: what has been delivered makes room for what waits.
    for n in accepted..accepted + 20 {
        eventually("it is taken again", SOON, async || {
            (crm.post("/api/events", &large(n)).await.status == 202).then_some(())
        })
        .await;
    }
    ann.settled(accepted as u64 + 20).await;
    println!("full after {accepted} events of 60 kB, 20 more taken afterwards: all delivered, once each");
    assert_eq!(receiver.count("/"), accepted + 20, "each once");
}

/// Runs the program until it ends by itself; what it said.
async fn refused(url: &str) -> String {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_salesos-webhooks"))
        .env_clear()
        .envs([
            ("WEBHOOKS_AUTH__JWT_SECRET", crate::harness::SECRET),
            ("WEBHOOKS_SERVER__PORT", "0"),
            ("WEBHOOKS_SERVER__MANAGEMENT_PORT", "0"),
            ("WEBHOOKS_REDIS__URL", url),
        ])
        .current_dir(std::env::temp_dir())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    said
}

#[tokio::test]
async fn a_redis_with_a_password_is_used_and_the_database_is_the_one_of_the_url() {
    let mut redis = TestRedis::start();
    redis.require_password("open-sesame");
    let port = redis.listen_on_tcp().await;
    let url = |password| format!("redis://:{password}@127.0.0.1:{port}/3");
    let node = TestNode::start_at(&[("REDIS__URL", url("open-sesame"))]).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    crm.post("/api/events", &event(0)).await.expect(202);
    ann.settled(1).await;
    assert_eq!(redis.command::<u64>(&["DBSIZE"]), 0, "nothing in database 0");
    let keyspace: String = redis.command(&["INFO", "keyspace"]);
    assert!(keyspace.contains("db3:"), "{keyspace}");

    let said = refused(&url("open-barley")).await;
    assert!(!said.contains("open-barley") && !said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_redis_that_may_forget_is_refused_at_the_start() {
    let redis = TestRedis::start();
    let _: () = redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let said = refused(&redis.url()).await;
    assert!(said.contains("allkeys-lru") && said.contains("redis.require_persistence"), "{said}");
}

/// Another history, as after a fail-over, on the same server.
fn begin_another_history(redis: &TestRedis) {
    let _: () = redis.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let _: () = redis.command(&["REPLICAOF", "NO", "ONE"]);
}

#[tokio::test]
async fn a_redis_that_may_forget_after_a_fail_over_is_told_of_and_the_node_goes_on() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    assert_eq!(node.metrics().await.sum("redis_unfit", &[]), 0.0);
    for (n, (policy, unfit)) in [("allkeys-lru", 1.0), ("noeviction", 0.0)].into_iter().enumerate() {
        let _: () = redis.command(&["CONFIG", "SET", "maxmemory-policy", policy]);
        begin_another_history(&redis);
        eventually("it is told of", SOON, async || {
            (node.metrics().await.sum("redis_unfit", &[]) == unfit).then_some(())
        })
        .await;
        publish_until_taken(&crm, n).await;
        ann.settled(n as u64 + 1).await;
    }
}

#[tokio::test]
async fn partitions_that_are_taken_together_do_not_open_a_connection_each() {
    let redis = TestRedis::start();
    let opened = || {
        let info: String = redis.command(&["INFO", "stats"]);
        let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.and_then(|count| count.parse::<u64>().ok()).expect("redis counts")
    };
    let before = opened();
    let node = TestNode::start(&redis).await;
    eventually("all are owned", SOON, async || {
        (node.metrics().await.sum("partitions_owned", &[]) == 64.0).then_some(())
    })
    .await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    crm.publish("lead.created", &json!({})).await;
    receiver.arrived("/", 1).await;
    let connections = opened() - before;
    assert!(connections < 40, "{connections}");
}
