//! Who may see it, and what it says of a cluster.

use std::collections::BTreeSet;

use super::write::changing;
use crate::api::cluster::{Answer, Node};
use crate::api::stats::{OfCluster, Times};
use crate::api::testing::{admin, token, user};
use crate::dashboard::staged::HOSTILE;
use crate::dashboard::testing::Browser;
use crate::domain::Millis;
use crate::store::overview::PartitionState;
use crate::store::testing::TestRedis;

const NOW: Millis = Millis(1_768_473_000_000);

fn node(id: &str, live: bool, draining: bool) -> Node {
    Node {
        id: id.parse().unwrap(),
        joined: 1,
        live,
        draining,
        partitions: vec![0],
        in_flight: 3,
        backlog: 1234,
        held_back: live.then_some(2),
        version: HOSTILE.into(),
        api: "10.0.0.7:8080".into(),
        started_at: Millis(NOW.0 - 7_200_000).to_string(),
    }
}

fn partition(partition: u16, owner: Option<&str>) -> PartitionState {
    let owner = owner.map(|owner| owner.parse().unwrap());
    PartitionState { partition, owner, undispatched: 5, pending: 6 }
}

fn cluster(nodes: Vec<Node>, partitions: Vec<PartitionState>) -> Answer {
    let live: BTreeSet<_> = nodes.iter().filter(|node| node.live).map(|node| node.id.clone()).collect();
    let owned = |state: &&PartitionState| state.owner.as_ref().is_some_and(|owner| live.contains(owner));
    let unowned = partitions.len() - partitions.iter().filter(owned).count();
    Answer { nodes, backlog: 12, unowned, partitions, held_back: None }
}

#[actix_web::test]
async fn it_is_for_administrators() {
    let redis = TestRedis::start().await;
    let publisher = token(serde_json::json!({"sub": "bot", "organizationId": "acme", "role": "service"}));
    for other in [user("ann"), publisher] {
        let browser = Browser::of(&other, &redis).await;
        for path in ["/dashboard/cluster", "/dashboard/cluster?part=1"] {
            let answer = browser.get(path).await;
            assert_eq!((answer.status, answer.header("content-type")), (403, "text/html; charset=utf-8"));
            assert!(answer.text.contains("for administrators") && !answer.text.contains("Partitions"));
        }
        assert!(!browser.get("/dashboard").await.text.contains("/dashboard/cluster"));
    }
    let browser = Browser::of(&admin("eve"), &redis).await;
    let page = browser.get("/dashboard/cluster").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("64 partitions have no owner: 0, 1, 2"), "{}", page.text);
    assert!(page.text.contains("No node has shown itself yet."), "{}", page.text);
    let part = browser.get("/dashboard/cluster?part=1").await;
    assert!(part.text.starts_with("<p class=\"problem\">"), "without the frame: {}", part.text);
    assert!(!part.text.contains("<html") && page.text.contains("data-refresh=\"/dashboard/cluster?part=1\""));
}

#[test]
fn partitions_without_an_owner_stand_first_and_are_told_in_words() {
    let nodes = vec![node("a", true, false), node("gone", false, false)];
    let states = vec![partition(0, Some("a")), partition(1, Some("gone")), partition(2, None)];
    let text = changing(&cluster(nodes, states), None, NOW).into_string();
    assert!(text.contains("2 partitions have no owner: 1, 2. "), "{text}");
    assert!(text.contains("no owner (was gone)") && text.contains("1 node has not been heard of"), "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}: {text}"));
    let places = ["<strong>1</strong>", "<strong>2</strong>", "<strong>0</strong>"].map(at);
    assert!(places.is_sorted(), "{text}");
    assert_eq!(text.matches("class=\"alone\"").count(), 2, "{text}");
    assert!(text.contains("Not heard of") && text.contains("5 new, 6 waiting"), "{text}");
}

#[test]
fn a_healthy_cluster_is_told_so_with_its_last_minute() {
    let times = Times { avg: Some(20.0), p50: None, p95: Some(1500.0), p99: None };
    let minute = OfCluster {
        nodes: 2,
        deliveries_per_second: 41.26,
        in_flight: 9,
        backlog: 12,
        response_time_ms: times,
    };
    let nodes = vec![node("a", true, false), node("b", true, true)];
    let answer = cluster(nodes, vec![partition(0, Some("a")), partition(1, Some("b"))]);
    let text = changing(&answer, Some(&minute), NOW).into_string();
    for expected in
        ["Every partition has an owner.", ">41.3<", ">1.5 s<", "average 20 ms", "Leaving", "2 h ago", "1,234"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("no owner") && !text.contains("not been heard of"), "{text}");
    assert!(!text.contains("10.0.0.7"), "no addresses of nodes: {text}");
    assert!(!text.contains("<script>") && text.contains("&lt;script&gt;"), "{text}");
    let without = changing(&answer, None, NOW).into_string();
    assert!(!without.contains("41.3") && without.contains("–"), "{without}");
}
