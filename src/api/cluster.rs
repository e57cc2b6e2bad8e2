//! `GET /cluster` on the management port: the nodes, who owns which partition, what waits there and what is held back.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde::Serialize;
use tokio::sync::watch;

use super::app::Shared;
use crate::domain::NodeId;
use crate::store::overview::{self, Overview, PartitionState};
use crate::store::{self, Keys, Redis};

/// What the route works with; belongs to one thread.
#[derive(Clone, Debug)]
pub struct ClusterState {
    redis: Redis,
    keys: Keys,
    partitions: u16,
    live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
}

impl ClusterState {
    /// For the calling thread.
    ///
    /// # Errors
    /// The connection to Redis cannot be set up; nothing connects yet.
    pub fn new(shared: &Shared) -> Result<Self, store::Error> {
        Ok(Self {
            redis: Redis::new(shared.address.clone())?,
            keys: Keys::new(&shared.config.redis.prefix),
            partitions: shared.layout.partitions,
            live: shared.live.clone(),
        })
    }
}

/// The cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The nodes in the order of their joining, dead ones that are not yet forgotten included.
    pub nodes: Vec<Node>,
    /// All partitions, in order.
    pub partitions: Vec<PartitionState>,
    /// Deliveries that are queued or between two attempts, in all.
    pub backlog: u64,
    /// Partitions that nobody owns, or a node that is gone.
    pub unowned: usize,
    /// Active webhooks that their breaker holds back, as the living nodes said with their last heartbeat: those of `unowned`
    /// partitions are missing. Null while a living node is of a version that does not say.
    pub held_back: Option<u64>,
}

/// One node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Which.
    pub id: NodeId,
    /// Its place in the order of joining.
    pub joined: u64,
    /// Whether it has shown lately that it lives.
    pub live: bool,
    /// Whether it is on its way out, or was asked to own nothing.
    pub draining: bool,
    /// The partitions that it owns.
    pub partitions: Vec<u16>,
    /// Attempts on their way.
    pub in_flight: u64,
    /// Deliveries that wait in its partitions.
    pub backlog: u64,
    /// Active webhooks of its partitions that their breaker holds back, as it said with its last heartbeat; null = it is of
    /// a version that does not say.
    pub held_back: Option<u64>,
    /// The version of its program.
    pub version: String,
    /// Where its API listens.
    pub api: String,
    /// When it started.
    pub started_at: String,
}

/// Answers the route; 503 while Redis does not answer.
pub async fn show(state: web::Data<ClusterState>) -> HttpResponse {
    let live = state.live.borrow().clone();
    match read(&state.redis, &state.keys, state.partitions, &live).await {
        Ok(answer) => HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer),
        Err(_) => {
            HttpResponse::ServiceUnavailable().json(serde_json::json!({"status": "redis does not answer"}))
        }
    }
}

/// The cluster of `partitions` at a glance, where `live` are the nodes that live.
///
/// # Errors
/// The store's.
pub async fn read(
    redis: &Redis,
    keys: &Keys,
    partitions: u16,
    live: &BTreeSet<NodeId>,
) -> Result<Answer, store::Error> {
    overview::read(redis, keys, partitions).await.map(|overview| answer(&overview, live))
}

fn answer(overview: &Overview, live: &BTreeSet<NodeId>) -> Answer {
    let node = |listed: &store::nodes::Listed| Node {
        live: live.contains(&listed.id),
        partitions: overview.of(&listed.id).map(|state| state.partition).collect(),
        backlog: overview.of(&listed.id).map(|state| state.pending).sum(),
        id: listed.id.clone(),
        joined: listed.entry.joined,
        draining: listed.entry.draining,
        in_flight: listed.entry.in_flight,
        held_back: listed.entry.held_back,
        version: listed.entry.version.clone(),
        api: listed.entry.api.clone(),
        started_at: listed.entry.started_at.to_string(),
    };
    let mut nodes: Vec<Node> = overview.nodes.iter().map(node).collect();
    nodes.sort_by_key(|node| node.joined);
    let owned = |state: &&PartitionState| state.owner.as_ref().is_some_and(|owner| live.contains(owner));
    Answer {
        held_back: nodes.iter().filter(|node| node.live).map(|node| node.held_back).sum(),
        nodes,
        backlog: overview.partitions.iter().map(|state| state.pending).sum(),
        unowned: overview.partitions.len() - overview.partitions.iter().filter(owned).count(),
        partitions: overview.partitions.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    #[tokio::test]
    async fn what_is_held_back_is_added_up_over_the_living_and_unknown_while_one_does_not_say() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let entry = |held_back: &str| {
            format!(
                r#"{{"joined":1,"beat":1,"draining":false,"startedAt":7,"version":"0","api":"","inFlight":0{held_back}}}"#
            )
        };
        for (id, held_back) in [
            ("a", r#","heldBack":2"#),
            ("b", r#","heldBack":3"#),
            ("dead", r#","heldBack":9"#),
            ("older", ""),
        ] {
            let mut set = redis::cmd("HSET");
            set.arg(keys.cluster("nodes")).arg(id).arg(entry(held_back));
            redis.query::<u64>(&set).await.unwrap();
        }
        for (living, expected) in [
            (vec!["a", "b"], Some(5)),
            (vec!["a"], Some(2)),
            (vec!["a", "b", "older"], None),
            (vec![], Some(0)),
        ] {
            let live = living.iter().map(|id| id.parse().unwrap()).collect();
            let answer = read(redis, &keys, 1, &live).await.unwrap();
            assert_eq!(answer.held_back, expected, "{living:?}");
            let of = |id: &str| answer.nodes.iter().find(|node| node.id.as_str() == id).unwrap().held_back;
            assert_eq!([of("a"), of("dead"), of("older")], [Some(2), Some(9), None]);
        }
    }
}
