//! The three ways in which Redis is run: what works on one server works through sentinels and on a Redis Cluster, and
//! a primary that dies is followed by itself.
//!
//! Redis replicates after it has answered. The servers here take writes only while a replica follows closely
//! (`min-replicas-to-write 1`), which leaves the instant between the answer and its copy. It does not help against a former
//! primary that lives on: it takes what reaches it until it learns of the fail-over, and all of that is lost. So a primary
//! is killed here, never frozen and woken again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::Cmd;
use reqwest::Method;
use salesos_webhooks::config;
use salesos_webhooks::store::Redis;
use salesos_webhooks::store::connection::Address;
use serde_json::{Value, json};

use crate::harness::{
    Client, NEVER_LEFT_ALONE, Receiver, RedisCluster, RedisSentinel, Reply, SECRET, TestNode, TestRedis,
    Token, eventually, text,
};

/// Far more than a fail-over takes: two seconds to notice, the vote, and leases that must be seen to stand still.
const RECOVERED: Duration = Duration::from_secs(60);
/// Organizations, so that every primary has partitions with work.
const ORGANIZATIONS: usize = 8;
/// Events of each.
const EVENTS: usize = 60;
/// Between two events of one organization: modest, so that the load lasts for the whole fail-over.
const EVERY: Duration = Duration::from_millis(100);

/// Everything that a user does, on more webhooks than one partition holds.
async fn all_of_it_works(node: &TestNode) {
    let receiver = Receiver::start().await;
    receiver.script_each_event("/flaky", &[Reply::status(500), Reply::status(200)]);
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    let flaky =
        text(&ann.create(&receiver.url("/flaky"), &["*"], &json!({ "retrySchedule": [0] })).await["id"]);
    for n in 0..8 {
        ann.create(&receiver.url("/good"), &["lead.*"], &json!({ "name": format!("n{n}") })).await;
    }
    let events: Vec<Value> = (0..50).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect();
    crm.publish_batch(&events).await;
    let one = crm.publish("lead.created", &json!({ "n": "one" })).await;
    let again = json!({ "type": "lead.created", "data": {}, "id": "mine" });
    assert_eq!(crm.post("/api/events", &again).await.expect(202)["duplicate"], false);
    assert_eq!(crm.post("/api/events", &again).await.expect(202)["duplicate"], true);
    let stats = ann.settled(52 * 9).await;
    assert_eq!(stats["deliveries"]["successful"], 52 * 9);
    assert_eq!(receiver.count("/good"), 52 * 8, "each once");

    let log = ann.log(&flaky, "").await;
    assert_eq!(log.len(), 2 * 52, "each failed once");
    let of_flaky = ann.get(&format!("/api/webhooks/{flaky}/stats")).await.expect(200);
    assert_eq!((&of_flaky["deliveriesLast24h"], &of_flaky["last7dSuccessRate"]), (&json!(104), &json!(50.0)));
    let admin = node.client(&Token::user("root").org("acme").role("ADMIN"));
    assert_eq!(admin.stats().await["cluster"]["nodes"], 1);
    let status = crm.get(&format!("/api/events/{one}")).await.expect(200);
    assert_eq!(status["id"], one.as_str(), "{status}");
    let list = ann.get("/api/webhooks").await.expect(200);
    assert_eq!(list.as_array().map(Vec::len), Some(9));
    assert!(list.as_array().unwrap().iter().all(|webhook| webhook["pendingCount"] == 0), "{list}");

    let tested = ann.post(&format!("/api/webhooks/{flaky}/test"), &json!({})).await.expect(200);
    assert!(tested["eventId"].is_string(), "{tested}");
    let row = text(&log[0]["id"]);
    ann.post_empty(&format!("/api/webhooks/{flaky}/deliveries/{row}/retry")).await.expect(202);
    ann.settled(52 * 9 + 1).await;
    ann.patch(&format!("/api/webhooks/{flaky}"), &json!({ "name": "changed" })).await.expect(200);
    ann.delete(&format!("/api/webhooks/{flaky}")).await.expect(204);
    ann.get(&format!("/api/webhooks/{flaky}")).await.error(404);
}

/// The first attempts of all events fail at one webhook, and it shall not be left alone for that.
fn undisturbed(mut settings: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let (name, value) = NEVER_LEFT_ALONE;
    settings.push((name, value.to_owned()));
    settings
}

#[tokio::test]
async fn through_sentinels_all_of_it_works() {
    let redis = RedisSentinel::start(1).await;
    let node = TestNode::start_at(&undisturbed(redis.settings())).await;
    all_of_it_works(&node).await;
}

#[tokio::test]
async fn on_a_cluster_all_of_it_works() {
    let redis = RedisCluster::start().await;
    let node = TestNode::start_at(&undisturbed(redis.settings())).await;
    all_of_it_works(&node).await;
}

/// Publishes with an id of its own until it is taken: what a client should do after a 503. Gives the id.
async fn publish_until_taken(crm: &Client, id: String) -> String {
    let event = json!({ "type": "lead.created", "data": {}, "id": id });
    eventually("the event is taken", RECOVERED, async || {
        let answer = crm.call(Method::POST, "/api/events").json(&event).send().await;
        assert!([202, 503].contains(&answer.status), "{}", answer.body);
        (answer.status == 202).then_some(())
    })
    .await;
    id
}

/// One organization's events at an even pace; gives the ids that were accepted.
async fn publish_steadily(crm: Client, org: usize) -> Vec<String> {
    let mut pace = tokio::time::interval(EVERY);
    let mut accepted = Vec::new();
    for n in 0..EVENTS {
        pace.tick().await;
        accepted.push(publish_until_taken(&crm, format!("o{org}-e{n}")).await);
    }
    accepted
}

fn arrived(receiver: &Receiver) -> BTreeSet<String> {
    receiver.received("/").iter().map(|request| request.event_id().to_owned()).collect()
}

/// A webhook in each organization and events for each, while `meanwhile` happens; every accepted one must arrive.
async fn nothing_is_lost_while(node: &TestNode, meanwhile: impl AsyncFnOnce(&Receiver)) {
    let receiver = Receiver::start().await;
    let mut publishing = Vec::new();
    for org in 0..ORGANIZATIONS {
        let name = format!("org{org}");
        node.user("ann", &name).create(&receiver.url("/"), &["*"], &json!({})).await;
        publishing.push(publish_steadily(node.publisher(&name), org));
    }
    let (accepted, ()) = tokio::join!(join_all(publishing), meanwhile(&receiver));
    let accepted: BTreeSet<String> = accepted.into_iter().flatten().collect();
    assert_eq!(accepted.len(), ORGANIZATIONS * EVENTS);
    eventually("everything accepted arrives", RECOVERED, async || {
        let missing = accepted.difference(&arrived(&receiver)).count();
        (missing == 0).then_some(())
    })
    .await;
    for org in 0..ORGANIZATIONS {
        node.user("ann", &format!("org{org}")).settled(EVENTS as u64).await;
    }
}

#[tokio::test]
async fn a_master_that_dies_is_followed_and_nothing_accepted_is_lost() {
    let mut redis = RedisSentinel::start(2).await;
    let node = TestNode::start_at(&redis.settings()).await;
    nothing_is_lost_while(&node, async |receiver| {
        receiver.arrived("/", 100).await;
        redis.kill_primary();
    })
    .await;
}

/// What the former master takes before it learns of it is lost, however closely it was followed: sentinels do not stop it
/// first. What is published afterwards is not.
#[tokio::test]
async fn a_master_and_a_replica_may_change_places() {
    let redis = RedisSentinel::start(1).await;
    let node = TestNode::start_at(&redis.settings()).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    tokio::join!(publish_steadily(crm.clone(), 0), async {
        receiver.arrived("/", 10).await;
        redis.change_places().await;
    });
    let mut accepted = BTreeSet::new();
    for n in 0..20 {
        accepted.insert(publish_until_taken(&crm, format!("after-{n}")).await);
    }
    eventually("what was accepted afterwards arrives", RECOVERED, async || {
        accepted.is_subset(&arrived(&receiver)).then_some(())
    })
    .await;
}

/// The former master takes what reaches it for some ten seconds more. Connections that stayed there while the leases were
/// renewed on the other one would deliver the same events again and again.
#[tokio::test]
async fn a_planned_fail_over_repeats_hardly_anything() {
    let redis = RedisSentinel::start(1).await;
    redis.take_writes_alone();
    let node = TestNode::start_at(&redis.settings()).await;
    let receiver = Receiver::start().await;
    let (ann, crm) = (node.user("ann", "acme"), node.publisher("acme"));
    ann.create(&receiver.url("/"), &["*"], &json!({})).await;
    tokio::join!(publish_steadily(crm.clone(), 0), async {
        receiver.arrived("/", 10).await;
        redis.change_places().await;
    });
    let mut accepted = BTreeSet::new();
    for n in 0..20 {
        accepted.insert(publish_until_taken(&crm, format!("after-{n}")).await);
    }
    eventually("what was accepted afterwards arrives", RECOVERED, async || {
        accepted.is_subset(&arrived(&receiver)).then_some(())
    })
    .await;
    let mut times = BTreeMap::<String, usize>::new();
    for request in receiver.received("/") {
        *times.entry(request.event_id().to_owned()).or_default() += 1;
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(times.values().all(|times| *times <= 3), "{repeated:?}");
    // Those of some two seconds: the sentinels are asked once a second.
    assert!(repeated.len() <= 25, "{repeated:?}");
}

#[tokio::test]
async fn what_other_primaries_hold_goes_on_while_one_hangs() {
    let redis = RedisCluster::start().await;
    let node = TestNode::start_at(&redis.settings()).await;
    let receiver = Receiver::start().await;
    for org in 0..ORGANIZATIONS {
        let (ann, path) = (node.user("ann", &format!("org{org}")), format!("/{org}"));
        ann.create(&receiver.url(&path), &["*"], &json!({})).await;
        node.publisher(&format!("org{org}")).publish("lead.created", &json!({})).await;
        receiver.arrived(&path, 1).await;
    }
    redis.freeze_primary();
    let tried = (0..ORGANIZATIONS).map(async |org| {
        let event = json!({ "type": "lead.created", "data": {} });
        let answer = node.publisher(&format!("org{org}")).post("/api/events", &event).await;
        (answer.status == 202).then_some(org)
    });
    let others: Vec<usize> = join_all(tried).await.into_iter().flatten().collect();
    assert!(!others.is_empty() && others.len() < ORGANIZATIONS, "{others:?}");
    // Long enough for every lease to run out that is not renewed.
    let published = others.iter().map(async |org| {
        let (crm, path) = (node.publisher(&format!("org{org}")), format!("/{org}"));
        let mut pace = tokio::time::interval(EVERY);
        let mut longest = Duration::ZERO;
        for n in 0..2 * EVENTS {
            pace.tick().await;
            let start = Instant::now();
            crm.publish("lead.created", &json!({ "n": n })).await;
            receiver.arrived_within(RECOVERED, &path, n + 3).await;
            longest = longest.max(start.elapsed());
        }
        longest
    });
    let longest = join_all(published).await;
    assert!(longest.iter().all(|longest| *longest < Duration::from_secs(3)), "{longest:?}");
}

#[tokio::test]
async fn a_primary_of_a_cluster_that_dies_is_followed_and_nothing_accepted_is_lost() {
    let mut redis = RedisCluster::start().await;
    let node = TestNode::start_at(&redis.settings()).await;
    nothing_is_lost_while(&node, async |receiver| {
        receiver.arrived("/", 100).await;
        let killed = redis.kill_primary();
        redis.failed_over().await;
        redis.start_again(killed);
    })
    .await;
}

/// The way to Redis that a node with these settings takes.
fn connect(settings: &[(&str, String)]) -> Redis {
    let secret = [("WEBHOOKS_AUTH__JWT_SECRET".to_owned(), SECRET.to_owned())];
    let given = settings.iter().map(|(name, value)| (format!("WEBHOOKS_{name}"), value.clone()));
    let config = config::load(None, secret.into_iter().chain(given)).expect("the settings are sound");
    Redis::new(Address::of(&config.redis, None).expect("the settings lead somewhere")).expect("a client")
}

/// Another identity and another generation, once `change` has happened.
async fn is_told_apart(redis: &Redis, change: impl AsyncFnOnce()) {
    let before = redis.identity().await.expect("all primaries answer");
    let generation = redis.generation();
    assert_eq!(redis.identity().await.expect("all primaries answer"), before);
    assert_eq!(redis.generation(), generation, "nothing has happened");
    change().await;
    eventually("there are other primaries", RECOVERED, async || {
        redis.identity().await.ok().filter(|identity| *identity != before)
    })
    .await;
    assert_ne!(redis.generation(), generation);
}

#[tokio::test]
async fn a_fail_over_is_told_apart_even_by_who_only_looks_on() {
    let mut cluster = RedisCluster::start().await;
    let redis = connect(&cluster.settings());
    is_told_apart(&redis, async || {
        cluster.kill_primary();
        redis.ping().await.expect("the others answer");
    })
    .await;
    let sentinel = RedisSentinel::start(1).await;
    is_told_apart(&connect(&sentinel.settings()), async || sentinel.change_places().await).await;
}

/// The settings with one more server at the head of their list of URLs: it takes connections and never answers.
fn with_one_that_hangs(settings: Vec<(&'static str, String)>) -> (Vec<(&'static str, String)>, TcpListener) {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", hangs.local_addr().unwrap());
    let longer = settings.into_iter().map(|(name, value)| {
        let value = if name.ends_with("_URLS") { format!("{url},{value}") } else { value };
        (name, value)
    });
    (longer.collect(), hangs)
}

#[tokio::test]
async fn a_sentinel_or_a_seed_that_hangs_is_not_waited_for() {
    let (cluster, sentinel) = (RedisCluster::start().await, RedisSentinel::start(1).await);
    for settings in [cluster.settings(), sentinel.settings()] {
        let (settings, _hangs) = with_one_that_hangs(settings);
        let set = redis::cmd("SET").arg("a").arg(1).to_owned();
        connect(&settings).query::<()>(&set).await.expect("the others lead to Redis");
    }
}

#[tokio::test]
async fn commands_on_keys_of_many_slots_are_answered_in_their_order() {
    let cluster = RedisCluster::start().await;
    let redis = connect(&cluster.settings());
    let sets: Vec<Cmd> = (0..500).map(|n| redis::cmd("SET").arg(format!("k{n}")).arg(n).to_owned()).collect();
    let _: Vec<()> = redis.each(&sets).await.expect("every node answers");
    let gets: Vec<Cmd> = (0..500).map(|n| redis::cmd("GET").arg(format!("k{n}")).to_owned()).collect();
    let found: Vec<u64> = redis.each(&gets).await.expect("every node answers");
    assert_eq!(found, (0..500).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_mode_that_does_not_fit_the_server_is_refused_at_the_start() {
    let (cluster, one) = (RedisCluster::start().await, TestRedis::start());
    let (_, nodes) = cluster.settings().pop().unwrap();
    let node = nodes.split(',').next().unwrap().to_owned();
    for (settings, expected) in [
        (vec![("REDIS__URL", node)], "set redis.mode = \"cluster\""),
        (vec![("REDIS__MODE", "cluster".to_owned())], "redis.cluster_urls: is []"),
        (
            vec![("REDIS__MODE", "sentinel".to_owned()), ("REDIS__URL", one.url())],
            "redis.sentinel_master: is \"\"",
        ),
    ] {
        let said = TestNode::refused(&settings).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
