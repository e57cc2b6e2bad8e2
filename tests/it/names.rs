//! Contract §8, addresses: names are judged when a webhook is saved and at every connection, by all of their addresses, and
//! a name server that does not answer costs nobody else anything.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Client, Listener, NameServer, Receiver, Reply, SOON, TestNode, TestRedis, Told, eventually, text,
};

const PUBLIC: [&str; 1] = ["93.184.215.14"];
const BLOCKED: &str = "url must not point to a private or reserved address";

/// A node that asks `names`, and lets webhooks reach `allowed` besides the public addresses.
async fn node_asking(redis: &TestRedis, names: &NameServer, allowed: &str) -> TestNode {
    let server = names.address();
    let settings = [("DELIVERY__DNS_SERVERS", &*server), ("DELIVERY__ALLOWED_NETWORKS", allowed)];
    TestNode::start_with(redis, &settings).await
}

/// A webhook whose deliveries are tried once; gives its id.
async fn subscribe(user: &Client, url: &str) -> String {
    text(&user.create(url, &["*"], &json!({ "retryAttempts": 0 })).await["id"])
}

/// The newest row of the webhook's log, once there are that many.
async fn attempted(user: &Client, id: &str, rows: usize) -> Value {
    eventually("the attempt is logged", SOON, async || {
        let log = user.log(id, "").await;
        (log.len() >= rows).then(|| log[0].clone())
    })
    .await
}

#[tokio::test]
async fn a_name_that_turns_inwards_after_it_was_saved_reaches_nothing() {
    let (redis, names, inside) = (TestRedis::start(), NameServer::start().await, Listener::start().await);
    let node = node_asking(&redis, &names, "").await;
    let ann = node.user("ann", "acme");
    let mut webhooks = Vec::new();
    for (name, inner) in [
        ("four.test", "127.0.0.1"),
        ("six.test", "::1"),
        ("mapped.test", "::ffff:127.0.0.1"),
        ("any.test", "0.0.0.0"),
    ] {
        names.tell(name, Told::addresses(&PUBLIC));
        webhooks.push(subscribe(&ann, &format!("http://{name}:{}/", inside.port)).await);
        names.tell(name, Told::addresses(&[inner]));
    }
    node.publisher("acme").publish("lead.created", &json!({})).await;
    for id in webhooks {
        let row = attempted(&ann, &id, 1).await;
        assert_eq!(row["errorKind"], "blocked_address", "{row}");
        let tested = ann.post_empty(&format!("/api/webhooks/{id}/test")).await.expect(200);
        assert_eq!(tested["success"], false, "{tested}");
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_name_is_asked_for_again_at_the_next_connection() {
    let (redis, names, receiver) = (TestRedis::start(), NameServer::start().await, Receiver::start().await);
    let node = node_asking(&redis, &names, "127.0.0.1/32").await;
    let ann = node.user("ann", "acme");
    names.tell("crm.test", Told::addresses(&["127.0.0.1"]));
    receiver.script("/", &[Reply::status(200).header("Connection", "close")]);
    let url = receiver.url("/").replace("127.0.0.1", "crm.test");
    let id = subscribe(&ann, &url).await;
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    assert_eq!(attempted(&ann, &id, 1).await["success"], true);
    names.tell("crm.test", Told::addresses(&["10.0.0.1"]));
    crm.publish("lead.created", &json!({})).await;
    assert_eq!(attempted(&ann, &id, 2).await["errorKind"], "blocked_address");
    assert_eq!(receiver.count("/"), 1);
}

#[tokio::test]
async fn one_forbidden_address_among_several_refuses_the_name() {
    let (redis, names, receiver) = (TestRedis::start(), NameServer::start().await, Receiver::start().await);
    let node = node_asking(&redis, &names, "127.0.0.1/32").await;
    let ann = node.user("ann", "acme");
    names.tell("good.test", Told::addresses(&["127.0.0.1"]));
    let url = receiver.url("/").replace("127.0.0.1", "good.test");
    let good = subscribe(&ann, &url).await;
    for (name, addresses) in [
        ("first.test", &["10.0.0.1", "127.0.0.1"][..]),
        ("last.test", &["127.0.0.1", "10.0.0.1"]),
        ("other.test", &["127.0.0.1", "fd00::1"]),
        ("mapped.test", &["127.0.0.1", "::ffff:10.0.0.1"]),
    ] {
        names.tell(name, Told::addresses(addresses));
        let url = receiver.url("/").replace("127.0.0.1", name);
        let body = json!({ "name": "test", "url": url, "events": ["*"] });
        assert_eq!(ann.post("/api/webhooks", &body).await.error(400), [BLOCKED], "{name}");
        let changed = ann.patch(&format!("/api/webhooks/{good}"), &json!({ "url": url })).await;
        assert_eq!(changed.error(400), [BLOCKED], "{name}");
    }
    // The same when the second address comes later.
    names.tell("good.test", Told::addresses(&["127.0.0.1", "10.0.0.1"]));
    node.publisher("acme").publish("lead.created", &json!({})).await;
    assert_eq!(attempted(&ann, &good, 1).await["errorKind"], "blocked_address");
    assert_eq!(receiver.count("/"), 0);
}

#[tokio::test]
async fn a_name_without_an_answer_is_taken_and_fails_as_dns() {
    let (redis, names) = (TestRedis::start(), NameServer::start().await);
    let node = node_asking(&redis, &names, "").await;
    let ann = node.user("ann", "acme");
    let mut webhooks = Vec::new();
    for (name, told) in [
        ("none.test", Told::NoSuchName),
        ("empty.test", Told::addresses(&[])),
        ("failing.test", Told::Failure),
        ("silent.test", Told::Silence),
    ] {
        names.tell(name, told);
        webhooks.push((name, subscribe(&ann, &format!("http://{name}/")).await));
    }
    node.publisher("acme").publish("lead.created", &json!({})).await;
    for (name, id) in webhooks {
        let row = attempted(&ann, &id, 1).await;
        assert_eq!(row["errorKind"], "dns", "{name}: {row}");
        // Far below the webhook's own 30 s; what a lookup may take, and some for a slow machine.
        assert!(row["responseTimeMs"].as_u64() < Some(10_000), "{name}: {row}");
        println!("{name}: {} after {} ms", row["errorMessage"], row["responseTimeMs"]);
    }
}

#[tokio::test]
async fn a_family_that_is_never_told_delays_a_delivery_and_does_not_prevent_it() {
    let (redis, names, receiver) = (TestRedis::start(), NameServer::start().await, Receiver::start().await);
    let node = node_asking(&redis, &names, "127.0.0.1/32").await;
    names.tell("half.test", Told::half_silence(&["127.0.0.1"]));
    let ann = node.user("ann", "acme");
    let url = receiver.url("/").replace("127.0.0.1", "half.test");
    let id = subscribe(&ann, &url).await;
    node.publisher("acme").publish("lead.created", &json!({})).await;
    let row = attempted(&ann, &id, 1).await;
    assert_eq!(row["success"], true, "{row}");
    println!("delivered after {} ms", row["responseTimeMs"]);
}

#[tokio::test]
async fn names_that_hang_keep_nobody_elses_lookup_waiting() {
    const HANGING: usize = 300;
    /// Lookups of a node at once, each of two questions.
    const AT_ONCE: usize = 256;
    let (redis, names, receiver) = (TestRedis::start(), NameServer::start().await, Receiver::start().await);
    let node = node_asking(&redis, &names, "127.0.0.1/32").await;
    let (ann, bob) = (node.user("ann", "acme"), node.user("bob", "other"));
    let hanging: Vec<String> = (0..HANGING).map(|n| format!("hanging{n}.test")).collect();
    for name in &hanging {
        names.tell(name, Told::addresses(&PUBLIC));
    }
    names.tell("good.test", Told::addresses(&["127.0.0.1"]));
    let urls: Vec<String> = hanging.iter().map(|name| format!("http://{name}/")).collect();
    let hang = join_all(urls.iter().map(|url| subscribe(&ann, url))).await;
    let url = receiver.url("/").replace("127.0.0.1", "good.test");
    let good = subscribe(&bob, &url).await;
    for name in &hanging {
        names.tell(name, Told::Silence);
    }
    node.publisher("acme").publish("lead.created", &json!({})).await;
    eventually("as many lookups hang as there may be", SOON, async || {
        (names.unanswered() >= 2 * AT_ONCE).then_some(())
    })
    .await;
    node.publisher("other").publish("lead.created", &json!({})).await;
    let row = attempted(&bob, &good, 1).await;
    assert_eq!(row["success"], true, "{row}");
    // Waiting for the others to end takes nearly 2 s.
    assert!(row["responseTimeMs"].as_u64() < Some(1_200), "{row}");
    println!("delivered after {} ms", row["responseTimeMs"]);
    for id in hang {
        assert_eq!(attempted(&ann, &id, 1).await["errorKind"], "dns");
    }
}

#[tokio::test]
async fn the_names_of_this_machine_need_no_name_server() {
    let (redis, receiver) = (TestRedis::start(), Receiver::start().await);
    let (named, systems) = (NameServer::start().await, TestRedis::start());
    let asking = node_asking(&redis, &named, "127.0.0.0/8,::1/128").await;
    let plain = TestNode::start(&systems).await;
    for (node, path) in [(&asking, "/asking"), (&plain, "/plain")] {
        let ann = node.user("ann", "acme");
        let url = receiver.url(path).replace("127.0.0.1", "localhost");
        let id = subscribe(&ann, &url).await;
        node.publisher("acme").publish("lead.created", &json!({})).await;
        let row = attempted(&ann, &id, 1).await;
        assert_eq!(row["success"], true, "{row}");
    }
}
