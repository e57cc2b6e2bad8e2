//! Contract §5: the attempts of one node at once are shared by the organizations that want them.

use serde_json::{Value, json};

use crate::harness::{Gate, Receiver, Reply, SOON, TestNode, TestRedis, eventually};

fn events(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({ "type": "lead.created", "data": { "n": n } })).collect()
}

#[tokio::test]
async fn an_organization_whose_endpoint_hangs_leaves_room_to_another_and_a_quarter_while_that_one_waits() {
    let redis = TestRedis::start();
    let node = TestNode::start_with(&redis, &[("DELIVERY__MAX_IN_FLIGHT", "8")]).await;
    let receiver = Receiver::start().await;
    let (hangs, slow) = (Gate::new(), Gate::new());
    receiver.script("/hangs", &[Reply::status(200).held(&hangs)]);
    receiver.script("/other", &[Reply::status(200), Reply::status(200).held(&slow)]);
    let (ann, bob) = (node.user("ann", "acme"), node.user("bob", "other"));
    ann.create(&receiver.url("/hangs"), &["*"], &json!({})).await;
    bob.create(&receiver.url("/other"), &["*"], &json!({})).await;
    let (acme, other) = (node.publisher("acme"), node.publisher("other"));

    acme.publish_batch(&events(30)).await;
    let all_held = |path, count| {
        let receiver = &receiver;
        async move {
            eventually(path, SOON, async || (receiver.in_flight(path) == count).then_some(())).await;
        }
    };
    all_held("/hangs", 6).await;
    other.publish("lead.created", &json!({ "n": 0 })).await;
    receiver.arrived("/other", 1).await;
    assert_eq!((receiver.count("/hangs"), receiver.in_flight("/hangs")), (6, 6), "three quarters");

    other.publish_batch(&events(10)).await;
    all_held("/other", 2).await;
    // Five of six end: the first four give nothing back to it, for it holds a quarter or more.
    hangs.let_pass(5);
    receiver.arrived("/hangs", 7).await;
    all_held("/hangs", 2).await;
    slow.let_pass(3);
    receiver.arrived("/other", 6).await;
    assert_eq!((receiver.count("/hangs"), receiver.most_in_flight("/other")), (7, 2));

    // What waits no longer holds nobody back.
    slow.open();
    bob.settled(11).await;
    all_held("/hangs", 6).await;
    hangs.open();
    ann.settled(30).await;
    assert_eq!((receiver.count("/hangs"), receiver.most_in_flight("/hangs")), (30, 6));
}
