//! `GET /cluster` on the management port: the nodes, who owns which partition, and what waits there.

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

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    nodes: Vec<Node>,
    partitions: Vec<PartitionState>,
    /// Deliveries that are queued or between two attempts, in all.
    backlog: u64,
    /// Partitions that nobody owns, or a node that is gone.
    unowned: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: NodeId,
    joined: u64,
    live: bool,
    draining: bool,
    partitions: Vec<u16>,
    in_flight: u64,
    backlog: u64,
    version: String,
    api: String,
    started_at: String,
}

/// Answers the route; 503 while Redis does not answer.
pub async fn show(state: web::Data<ClusterState>) -> HttpResponse {
    let overview = overview::read(&state.redis, &state.keys, state.partitions).await;
    match overview {
        Ok(overview) => {
            let answer = answer(&overview, &state.live.borrow());
            HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer)
        }
        Err(_) => {
            HttpResponse::ServiceUnavailable().json(serde_json::json!({"status": "redis does not answer"}))
        }
    }
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
        version: listed.entry.version.clone(),
        api: listed.entry.api.clone(),
        started_at: listed.entry.started_at.to_string(),
    };
    let mut nodes: Vec<Node> = overview.nodes.iter().map(node).collect();
    nodes.sort_by_key(|node| node.joined);
    let owned = |state: &&PartitionState| state.owner.as_ref().is_some_and(|owner| live.contains(owner));
    Answer {
        nodes,
        backlog: overview.partitions.iter().map(|state| state.pending).sum(),
        unowned: overview.partitions.len() - overview.partitions.iter().filter(owned).count(),
        partitions: overview.partitions.clone(),
    }
}
