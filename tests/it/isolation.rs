//! Contract §1: who sees and who gets what, with two users of one organization, one of another, and users without.

use serde_json::{Value, json};

use crate::harness::{Client, Receiver, TestNode, TestRedis, Token, text};
use crate::webhooks::everything_is_404;

async fn listed(client: &Client, query: &str) -> Vec<String> {
    let list = client.get(&format!("/api/webhooks{query}")).await.expect(200);
    let mut ids: Vec<String> = list.as_array().unwrap().iter().map(|webhook| text(&webhook["id"])).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_user_sees_only_their_own_and_events_reach_every_webhook_of_their_organization() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let users = [
        ("/ann", node.user("ann", "acme")),
        ("/bob", node.user("bob", "acme")),
        ("/eve", node.user("ann", "other")),
        ("/solo", node.client(&Token::user("ann"))),
        ("/acme", node.client(&Token::user("acme"))),
    ];
    let mut ids = Vec::new();
    for (path, client) in &users {
        ids.push(text(&client.create(&receiver.url(path), &["*"], &json!({})).await["id"]));
    }
    for (mine, (_, client)) in users.iter().enumerate() {
        assert_eq!(listed(client, "").await, [ids[mine].clone()]);
        for (other, id) in ids.iter().enumerate() {
            if other != mine {
                everything_is_404(client, id).await;
            }
        }
    }

    let event = node.publisher("acme").publish("lead.created", &json!({ "n": 1 })).await;
    for path in ["/ann", "/bob"] {
        let got = receiver.arrived(path, 1).await;
        assert_eq!((got[0].event_id(), &got[0].json()["organizationId"]), (event.as_str(), &json!("acme")));
    }
    node.publisher("other").publish("lead.created", &json!({ "n": 2 })).await;
    receiver.arrived("/eve", 1).await;
    let solo = node.client(&Token::user("ann").scope("events:publish"));
    solo.publish("lead.created", &json!({ "n": 3 })).await;
    let got = receiver.arrived("/solo", 1).await;
    assert_eq!(got[0].json().get("organizationId").cloned().unwrap_or_default(), Value::Null);

    for (path, _) in &users[..4] {
        assert_eq!(receiver.count(path), 1, "{path}");
    }
    assert_eq!(receiver.count("/acme"), 0, "a user is no organization of the same name");
}

#[tokio::test]
async fn an_event_can_be_looked_up_in_its_own_organization_only() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    node.user("ann", "acme").create(&receiver.url("/"), &["*"], &json!({})).await;
    let id = node.publisher("acme").publish("lead.created", &json!({})).await;
    receiver.arrived("/", 1).await;
    let path = format!("/api/events/{id}");
    assert_eq!(node.publisher("acme").get(&path).await.expect(200)["id"], id.as_str());
    node.publisher("other").get(&path).await.error(404);
    node.publisher("acme").get("/api/events/evt_unknown").await.error(404);
}

#[tokio::test]
async fn an_administrator_sees_the_organization_and_may_stop_but_not_change() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let ann = node.user("ann", "acme");
    let bob = node.user("bob", "acme");
    let eve = node.user("eve", "other");
    let mut acme = Vec::new();
    for client in [&ann, &bob] {
        acme.push(text(&client.create("http://127.0.0.1:9/", &["*"], &json!({})).await["id"]));
    }
    let foreign = text(&eve.create("http://127.0.0.1:9/", &["*"], &json!({})).await["id"]);

    let root = node.client(&Token::user("root").org("acme").role("ADMIN"));
    let mut expected = acme.clone();
    expected.sort();
    assert_eq!(listed(&root, "?all=true").await, expected);
    assert_eq!(listed(&root, "").await, Vec::<String>::new());
    let all = root.get("/api/webhooks?all=true").await.expect(200);
    for webhook in all.as_array().unwrap() {
        let owner = if webhook["id"] == acme[0].as_str() { "ann" } else { "bob" };
        assert_eq!(webhook["ownerId"], owner);
    }
    ann.get("/api/webhooks?all=true").await.error(403);

    let path = format!("/api/webhooks/{}", acme[0]);
    root.get(&path).await.expect(200);
    root.get(&format!("{path}/deliveries")).await.expect(200);
    assert_eq!(root.patch(&path, &json!({ "name": "x" })).await.status / 100, 4);
    assert_eq!(root.post_empty(&format!("{path}/regenerate-secret")).await.status / 100, 4);
    assert_eq!(root.post_empty(&format!("{path}/deactivate")).await.expect(200)["isActive"], false);
    assert_eq!(ann.webhook(&acme[0]).await["isActive"], false);
    assert_eq!(root.delete(&path).await.status, 204);
    everything_is_404(&ann, &acme[0]).await;
    everything_is_404(&root, &foreign).await;
}

#[tokio::test]
async fn statistics_are_the_callers_own() {
    let redis = TestRedis::start();
    let node = TestNode::start(&redis).await;
    let receiver = Receiver::start().await;
    let (ann, bob) = (node.user("ann", "acme"), node.user("bob", "acme"));
    ann.create(&receiver.url("/ann"), &["*"], &json!({})).await;
    ann.create(&receiver.url("/ann2"), &["*"], &json!({ "isActive": false })).await;
    bob.create(&receiver.url("/bob"), &["lead.*"], &json!({})).await;
    let crm = node.publisher("acme");
    crm.publish("lead.created", &json!({})).await;
    crm.publish("quote.sent", &json!({})).await;
    receiver.arrived("/ann", 2).await;
    receiver.arrived("/bob", 1).await;
    for (client, deliveries, webhooks) in [(&ann, 2, (2, 1, 1)), (&bob, 1, (1, 1, 0))] {
        let stats = client.settled(deliveries).await;
        let (total, active, inactive) = webhooks;
        assert_eq!(
            stats["webhooks"],
            json!({ "total": total, "active": active, "inactive": inactive, "failing": 0 })
        );
        assert_eq!(stats["deliveries"]["successful"], deliveries);
        assert_eq!(stats["cluster"], Value::Null, "only administrators and publishers see it");
    }
    assert_eq!(crm.stats().await["deliveries"]["total"], 0);
}
