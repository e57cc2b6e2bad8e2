//! Several nodes on one Redis, and what may happen to them under load: nothing that was accepted is lost, what arrives
//! twice is explained by a fault, order holds where it was asked for, and every figure agrees with every other.
//!
//! Each test breaks something while [`Traffic`] runs and lets it check the rest.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    ChaosProxy, RECOVERED, Receiver, RedisCluster, RedisSentinel, SOON, TestCluster, TestNode, TestRedis,
    Traffic, eventually, text,
};

/// Organizations under load, each in a partition of its own.
const ORGANIZATIONS: usize = 12;
/// Events a second, all together; each goes to two webhooks. Modest: the nodes are not optimized here.
const RATE: u32 = 60;
/// Design §5: from a `kill -9` until every partition has an owner.
const TAKE_OVER: Duration = Duration::from_secs(6);
/// What passes until an event that shows it has been taken and has arrived.
const PUBLISHED: Duration = Duration::from_secs(1);
/// What a fail-over may take back of what was recorded.
const UNREPLICATED: Duration = Duration::from_secs(1);
/// How long a frozen or cut off node stays so: more than twice the term of a lease.
const AWAY_SECONDS: u32 = 10;
/// What surrounds each fault.
const CALM_SECONDS: u32 = 3;

async fn load(cluster: &TestCluster) -> Traffic {
    let traffic = Traffic::start(cluster, ORGANIZATIONS, RATE).await;
    traffic.run_for(CALM_SECONDS).await;
    traffic
}

/// The node with the most partitions under load.
async fn busiest(cluster: &TestCluster, traffic: &Traffic) -> usize {
    cluster.busiest(|partition| traffic.uses(partition)).await
}

/// What a node's own counters say.
async fn count(node: &TestNode, metric: &str) -> f64 {
    node.metrics().await.sum(metric, &[])
}

#[tokio::test]
async fn the_busiest_of_three_nodes_is_killed_and_the_others_take_over_in_time() {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, 3).await;
    let mut traffic = load(&cluster).await;
    let victim = busiest(&cluster, &traffic).await;
    println!("in flight: {}", traffic.in_flight());
    cluster.kill(victim).await;
    traffic.fault();
    cluster.all_partitions_owned(TAKE_OVER).await;
    traffic.run_for(CALM_SECONDS).await;
    cluster.restart(victim).await;
    traffic.run_for(CALM_SECONDS).await;
    traffic.check(&cluster).await;
    let flowed = traffic.flowed_again();
    println!("all partitions flowed after {flowed:?}");
    assert!(flowed.iter().all(|time| *time < TAKE_OVER + PUBLISHED), "{flowed:?}");
}

#[tokio::test]
async fn a_frozen_owner_is_replaced_and_fenced_off_when_it_wakes_up() {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, 3).await;
    let mut traffic = load(&cluster).await;
    let frozen = busiest(&cluster, &traffic).await;
    cluster.freeze(frozen);
    traffic.fault();
    cluster.all_partitions_owned(TAKE_OVER).await;
    traffic.run_for(AWAY_SECONDS).await;
    cluster.thaw(frozen);
    cluster.balanced().await;
    traffic.run_for(CALM_SECONDS).await;
    let node = cluster.node(frozen);
    let (fenced, lost) = (count(node, "calls_fenced_total").await, count(node, "leases_lost_total").await);
    println!("of the frozen node: {fenced} calls fenced off, {lost} leases lost");
    assert!(fenced > 0.0, "what it wrote under its old token was refused");
    traffic.check(&cluster).await;
}

/// Two nodes close to Redis, and one behind a proxy.
async fn two_and_one_behind_a_proxy(redis: &TestRedis) -> (TestCluster, ChaosProxy, usize) {
    let mut cluster = TestCluster::start(redis, 2).await;
    let proxy = ChaosProxy::start(redis.listen_on_tcp().await).await;
    let behind = cluster.add_with(&proxy.settings()).await;
    (cluster, proxy, behind)
}

/// The node behind the proxy loses sight of Redis in some manner, is replaced, and comes back.
async fn one_is_cut_off_and_rejoins(cut: impl Fn(&ChaosProxy)) {
    let redis = TestRedis::start();
    let (mut cluster, proxy, behind) = two_and_one_behind_a_proxy(&redis).await;
    let mut traffic = load(&cluster).await;
    let ann = cluster.node(behind).user("ann", "acme");
    let since = Instant::now();
    cut(&proxy);
    cluster.is_cut_off(behind);
    // Half of this is the time for which it may rely on its leases still.
    cluster.all_partitions_owned(TAKE_OVER).await;
    traffic.fault_since(since);
    let node = cluster.node(behind);
    eventually("it is not ready", SOON, async || (!node.is_ready().await).then_some(())).await;
    ann.get("/api/webhooks").await.error(503);
    traffic.run_for(CALM_SECONDS).await;
    assert!(!node.is_ready().await, "as long as it is cut off");
    proxy.heal();
    eventually("it is ready again", SOON, async || node.is_ready().await.then_some(())).await;
    cluster.is_back(behind);
    cluster.balanced().await;
    traffic.run_for(CALM_SECONDS).await;
    ann.get("/api/webhooks").await.expect(200);
    traffic.check(&cluster).await;
}

#[tokio::test]
async fn a_node_that_is_cut_from_redis_is_not_ready_and_rejoins_by_itself() {
    one_is_cut_off_and_rejoins(ChaosProxy::cut).await;
}

#[tokio::test]
async fn a_node_whose_connections_hang_is_not_ready_and_rejoins_by_itself() {
    one_is_cut_off_and_rejoins(ChaosProxy::freeze).await;
}

#[tokio::test]
async fn a_node_far_from_redis_is_slow_and_loses_and_repeats_nothing() {
    let redis = TestRedis::start();
    let (cluster, proxy, _) = two_and_one_behind_a_proxy(&redis).await;
    let mut traffic = load(&cluster).await;
    proxy.delay(Duration::from_millis(30));
    traffic.run_for(AWAY_SECONDS).await;
    proxy.heal();
    traffic.run_for(CALM_SECONDS).await;
    assert_eq!(traffic.check(&cluster).await.duplicates, 0);
}

#[tokio::test]
async fn commands_whose_answers_are_lost_are_carried_out_once() {
    let redis = TestRedis::start();
    let (cluster, proxy, _) = two_and_one_behind_a_proxy(&redis).await;
    let mut traffic = load(&cluster).await;
    // Short, and more than once: it keeps its leases, and repeats what it does not know the end of.
    for _ in 0..3 {
        let since = Instant::now();
        proxy.lose_replies();
        traffic.run_for(1).await;
        proxy.heal();
        traffic.fault_since(since);
        traffic.run_for(CALM_SECONDS).await;
    }
    cluster.balanced().await;
    traffic.check(&cluster).await;
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing_and_repeats_nothing() {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, 3).await;
    let mut traffic = load(&cluster).await;
    for place in 0..3 {
        cluster.terminate(place).await;
        traffic.run_for(1).await;
        cluster.restart(place).await;
        traffic.run_for(1).await;
    }
    assert_eq!(traffic.check(&cluster).await.duplicates, 0);
}

#[tokio::test]
async fn nodes_that_join_and_leave_under_load_lose_nothing_and_repeat_nothing() {
    let redis = TestRedis::start();
    let mut cluster = TestCluster::start(&redis, 1).await;
    let mut traffic = load(&cluster).await;
    for _ in 0..2 {
        cluster.add().await;
        traffic.run_for(CALM_SECONDS).await;
    }
    for place in [0, 1] {
        cluster.terminate(place).await;
        cluster.all_partitions_owned(TAKE_OVER).await;
        traffic.run_for(CALM_SECONDS).await;
    }
    assert_eq!(traffic.check(&cluster).await.duplicates, 0);
}

#[tokio::test]
async fn a_redis_that_writes_each_command_may_be_killed_and_nothing_accepted_is_lost() {
    let mut redis = TestRedis::start();
    let write_each = ["CONFIG", "SET", "appendfsync", "always"];
    let _: () = redis.command(&write_each);
    let cluster = TestCluster::start(&redis, 3).await;
    let mut traffic = load(&cluster).await;
    let since = Instant::now();
    redis.kill();
    redis.start_again();
    let _: () = redis.command(&write_each);
    traffic.run_for(CALM_SECONDS).await;
    traffic.fault_since(since);
    cluster.balanced().await;
    traffic.check(&cluster).await;
}

#[tokio::test]
async fn scripts_that_redis_forgets_are_loaded_again() {
    let redis = TestRedis::start();
    let cluster = TestCluster::start(&redis, 3).await;
    let mut traffic = load(&cluster).await;
    for _ in 0..3 {
        let _: () = redis.command(&["SCRIPT", "FLUSH", "SYNC"]);
        traffic.run_for(1).await;
    }
    assert_eq!(traffic.check(&cluster).await.duplicates, 0);
}

#[tokio::test]
async fn a_redis_that_is_emptied_is_an_empty_cluster_and_the_log_says_so() {
    let redis = TestRedis::start();
    let cluster = TestCluster::start(&redis, 3).await;
    let receiver = Receiver::start().await;
    let ann = cluster.user("ann", "acme");
    ann.create(&receiver.url("/before"), &["*"], &json!({})).await;
    let crm = cluster.node(1).publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    ann.settled(1).await;
    let _: () = redis.command(&["FLUSHALL"]);
    cluster.balanced().await;
    assert_eq!(ann.get("/api/webhooks").await.expect(200), json!([]));
    ann.create(&receiver.url("/after"), &["*"], &json!({})).await;
    let event = crm.publish("lead.created", &json!({})).await;
    let arrived = receiver.arrived("/after", 1).await;
    assert_eq!(arrived[0].event_id(), event);
    ann.settled(1).await;
    assert_eq!(receiver.count("/before"), 1);
    for place in 0..3 {
        let loud = |line: &Value| ["ERROR", "WARN"].contains(&line["level"].as_str().unwrap_or_default());
        let log = cluster.node(place).log();
        let said: Vec<&Value> = log.iter().filter(|line| loud(line)).collect();
        assert!(said.iter().any(|line| text(&line["message"]).contains("lost")), "n{place}: {said:?}");
    }
}

#[tokio::test]
async fn on_a_redis_cluster_a_primary_dies_under_three_nodes() {
    let mut redis = RedisCluster::start().await;
    let cluster = TestCluster::start_at(&redis.settings(), 3).await;
    let mut traffic = load(&cluster).await;
    traffic.allow_more(UNREPLICATED);
    let since = Instant::now();
    let killed = redis.kill_primary();
    redis.failed_over().await;
    redis.start_again(killed);
    traffic.run_for(CALM_SECONDS).await;
    traffic.fault_since(since);
    cluster.all_partitions_owned(RECOVERED).await;
    traffic.check(&cluster).await;
}

#[tokio::test]
async fn through_sentinels_a_master_dies_under_three_nodes() {
    let mut redis = RedisSentinel::start(2).await;
    let cluster = TestCluster::start_at(&redis.settings(), 3).await;
    let mut traffic = load(&cluster).await;
    traffic.allow_more(UNREPLICATED);
    let since = Instant::now();
    redis.kill_primary();
    traffic.run_for(CALM_SECONDS).await;
    traffic.fault_since(since);
    cluster.all_partitions_owned(RECOVERED).await;
    traffic.check(&cluster).await;
}

/// The least part of the attempts that each of three nodes must make for a large organization.
const LEAST_PART: f64 = 0.15;

#[tokio::test]
async fn the_webhooks_of_a_large_organization_are_served_by_all_nodes() {
    /// In six partitions.
    const WEBHOOKS: u64 = 96;
    const EVENTS: u64 = 13;
    let redis = TestRedis::start();
    let cluster = TestCluster::start(&redis, 3).await;
    let receiver = Receiver::start().await;
    let ann = cluster.user("ann", "acme");
    for n in 0..WEBHOOKS {
        let settings = json!({ "name": format!("n{n}"), "ordered": n % 2 == 0 });
        ann.create(&receiver.url(&format!("/{n}")), &["*"], &settings).await;
    }
    let events: Vec<Value> =
        (0..EVENTS).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect();
    cluster.node(2).publisher("acme").publish_batch(&events).await;
    let deliveries = WEBHOOKS * EVENTS;
    ann.settled(deliveries).await;
    let mut attempts = Vec::new();
    for place in 0..3 {
        attempts.push(count(cluster.node(place), "attempts_total").await);
    }
    println!("attempts per node: {attempts:?}");
    let all: f64 = attempts.iter().sum();
    assert!((all - deliveries as f64).abs() < 0.5, "{attempts:?}");
    assert!(attempts.iter().all(|count| *count >= all * LEAST_PART), "{attempts:?}");
}
