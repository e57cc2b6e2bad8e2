//! Tells the other nodes what this one did in the last minute, so that any of them can answer for all.
//!
//! For people only: nothing hangs on it. What could not be told is told with the next sample.

use tokio::sync::watch;

use super::membership::Live;
use crate::clock;
use crate::domain::NodeId;
use crate::policy::last_minute::{EVERY, Ring};
use crate::store::{Keys, Redis, last_minute};
use crate::telemetry::last_minute as counted;

/// Tells it each [`EVERY`], from when the node is first seen among the living, until the task is dropped.
pub async fn tell(redis: Redis, keys: Keys, id: NodeId, mut lives: watch::Receiver<Live>) {
    let mut ring = Ring::default();
    ring.push(clock::monotonic(), counted::sample());
    if lives.wait_for(|live| live.contains(&id)).await.is_err() {
        // The membership has ended, and with it the node.
        return;
    }
    loop {
        ring.push(clock::monotonic(), counted::sample());
        let snapshot = ring.snapshot(counted::in_flight(), counted::backlog());
        if let Err(error) = last_minute::tell(&redis, &keys, &id, &snapshot).await {
            tracing::debug!(%error, "the figures of the last minute were not told");
        }
        tokio::time::sleep(EVERY).await;
    }
}
