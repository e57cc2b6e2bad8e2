//! One arbiter: a thread with its share of the partitions, the reader of their events and the keeper of their leases.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::{Actor, Addr};
use tokio::sync::{Semaphore, watch};

use super::local::{BodyMeter, Local};
use super::partition::{Drain, PartitionActor, Stop};
use super::reader::{self, Feeds};
use crate::clock;
use crate::cluster::leases::{Keeper, Taken};
use crate::cluster::tenure::Tenure;
use crate::config::Config;
use crate::delivery::Sender;
use crate::domain::Partition;
use crate::policy::partition::Layout;
use crate::store::{Keys, Redis};
use crate::telemetry::events as facts;

/// What an arbiter is made of; travels to its thread.
#[derive(Clone, Debug)]
pub struct Blueprint {
    /// The settings.
    pub config: Arc<Config>,
    /// Where Redis is; the arbiter opens connections of its own.
    pub redis: Redis,
    /// Names of keys.
    pub keys: Keys,
    /// Which partition is whose home.
    pub layout: Layout,
    /// Attempts of the whole node at once.
    pub permits: Arc<Semaphore>,
    /// The partitions that this arbiter should own.
    pub partitions: Vec<Partition>,
    /// Turns true when the node stops.
    pub stopping: watch::Receiver<bool>,
}

/// Runs an arbiter until the node stops: takes partitions, keeps them, and hands them back at the end.
///
/// # Errors
/// A connection or client cannot be set up at all.
pub async fn run(blueprint: Blueprint) -> anyhow::Result<()> {
    let Blueprint { config, redis, keys, layout, permits, partitions, mut stopping } = blueprint;
    let local = Rc::new(Local {
        redis: redis.for_another_thread()?,
        sender: Sender::new(&config.delivery)?,
        bodies: BodyMeter::new(config.delivery.memory_budget_bytes / config.cluster.threads),
        keys: keys.clone(),
        layout,
        permits,
        config,
    });
    let feeds = Rc::new(Feeds::default());
    let reader = actix::spawn(reader::run(local.clone(), feeds.clone()));
    let mut keeper = Keeper::new(redis.for_another_thread()?, keys, partitions);
    let mut running: Vec<(Rc<Tenure>, Addr<PartitionActor>)> = Vec::new();
    let mut valid_until = clock::monotonic();
    while !*stopping.borrow() {
        let gone = drop_gone(&mut running);
        let turn = keeper.turn(&gone, valid_until).await;
        valid_until = turn.valid_until;
        running.iter().for_each(|(tenure, _)| tenure.renewed(valid_until));
        for partition in turn.lost {
            facts::partition_lost(partition);
            end(&mut running, partition).await;
        }
        for Taken { partition, token } in turn.taken {
            let tenure = Rc::new(Tenure::new(partition, token, valid_until));
            let actor = PartitionActor::new(local.clone(), feeds.clone(), tenure.clone()).start();
            running.push((tenure, actor));
        }
        tokio::select! {
            () = tokio::time::sleep(crate::policy::lease::LOOK_EVERY) => {}
            _ = stopping.changed() => {}
        }
    }
    hand_over(&local, &mut keeper, running, valid_until).await;
    reader.abort();
    Ok(())
}

/// Actors that ended by themselves: fenced off, or dead of a panic. Their partitions are taken anew.
fn drop_gone(running: &mut Vec<(Rc<Tenure>, Addr<PartitionActor>)>) -> Vec<Partition> {
    let gone =
        running.iter().filter(|(_, actor)| !actor.connected()).map(|(tenure, _)| tenure.partition).collect();
    running.retain(|(_, actor)| actor.connected());
    gone
}

async fn end(running: &mut Vec<(Rc<Tenure>, Addr<PartitionActor>)>, partition: Partition) {
    if let Some(place) = running.iter().position(|(tenure, _)| tenure.partition == partition) {
        let (_, actor) = running.swap_remove(place);
        // Gone already is what was wanted.
        let _ = actor.send(Stop).await;
    }
}

/// Finishes what is in flight, as far as there is time, and gives the leases back.
async fn hand_over(
    local: &Local,
    keeper: &mut Keeper,
    running: Vec<(Rc<Tenure>, Addr<PartitionActor>)>,
    mut valid_until: Instant,
) {
    let drained = futures_util::future::join_all(running.iter().map(|(_, actor)| actor.send(Drain)));
    let renewed = async {
        loop {
            tokio::time::sleep(crate::policy::lease::LOOK_EVERY).await;
            valid_until = keeper.renew(valid_until).await;
            running.iter().for_each(|(tenure, _)| tenure.renewed(valid_until));
        }
    };
    tokio::select! {
        _ = drained => {}
        () = renewed => {}
        () = tokio::time::sleep(local.config.cluster.handover) => tracing::warn!("attempts in flight were given up"),
    }
    for (_, actor) in &running {
        let _ = actor.send(Stop).await;
    }
    keeper.release_all().await;
}
