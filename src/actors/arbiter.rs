//! One arbiter: a thread with its share of the partitions, the reader of their events and the keeper of their leases.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// The longest wait at the end for what should take no time: actors that stop, and leases given back. Whatever Redis
/// does, the node ends; leases that were not given back stand still and are taken when they have done so for their term.
const GOODBYE: Duration = Duration::from_secs(2);

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
/// A reader that dies ends the arbiter, and with it the node: it dies of a fault of ours alone, which a reader started
/// over the same entries would meet again, in silence. A new process is told of by whoever supervises it.
///
/// # Errors
/// A connection or client cannot be set up at all, or the reader died.
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
    let mut reader = actix::spawn(reader::run(local.clone(), feeds.clone()));
    let keeper = Keeper::new(redis.for_another_thread()?, keys, partitions);
    let valid_until = clock::monotonic();
    let mut holdings = Holdings { local, feeds, keeper, valid_until, running: Vec::new() };
    let mut ended = Ok(());
    while !*stopping.borrow() && ended.is_ok() {
        tokio::select! {
            () = holdings.turn() => {}
            // A turn waits for Redis; the end does not wait for the turn. What it leaves half done is given back.
            changed = stopping.changed() => if changed.is_err() { break },
            died = &mut reader => ended = Err(reader_died(died)),
        }
    }
    holdings.hand_over().await;
    reader.abort();
    ended
}

fn reader_died(died: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    tracing::error!("the reader of events died: the node ends");
    match died {
        Ok(()) => anyhow::anyhow!("the reader of events ended"),
        Err(error) => anyhow::Error::new(error).context("the reader of events died"),
    }
}

/// The partitions of an arbiter and what keeps them.
struct Holdings {
    local: Rc<Local>,
    feeds: Rc<Feeds>,
    keeper: Keeper,
    /// Until when the leases may be relied on.
    valid_until: Instant,
    running: Vec<(Rc<Tenure>, Addr<PartitionActor>)>,
}

impl Holdings {
    /// Keeps the leases once, starts and ends actors accordingly, and rests.
    async fn turn(&mut self) {
        let gone = drop_gone(&mut self.running);
        let turn = self.keeper.turn(&gone, self.valid_until).await;
        self.valid_until = turn.valid_until;
        self.running.iter().for_each(|(tenure, _)| tenure.renewed(turn.valid_until));
        turn.lost.iter().for_each(|partition| facts::partition_lost(*partition));
        // Before anything is started: what was lost may have been taken again in the same turn.
        end(self.running.extract_if(.., |(tenure, _)| turn.lost.contains(&tenure.partition))).await;
        for Taken { partition, token } in turn.taken {
            let tenure = Rc::new(Tenure::new(partition, token, turn.valid_until));
            let actor = PartitionActor::new(self.local.clone(), self.feeds.clone(), tenure.clone()).start();
            self.running.push((tenure, actor));
        }
        tokio::time::sleep(crate::policy::lease::LOOK_EVERY).await;
    }

    /// Finishes what is in flight, as far as there is time, and gives the leases back.
    async fn hand_over(mut self) {
        let Self { local, keeper, running, valid_until, .. } = &mut self;
        let drained = futures_util::future::join_all(running.iter().map(|(_, actor)| actor.send(Drain)));
        let renewed = async {
            loop {
                tokio::time::sleep(crate::policy::lease::LOOK_EVERY).await;
                *valid_until = keeper.renew(*valid_until).await;
                running.iter().for_each(|(tenure, _)| tenure.renewed(*valid_until));
            }
        };
        tokio::select! {
            _ = drained => {}
            () = renewed => {}
            () = tokio::time::sleep(local.config.cluster.handover) => {
                tracing::warn!("attempts in flight were given up");
            }
        }
        if tokio::time::timeout(GOODBYE, end(running.drain(..))).await.is_err() {
            tracing::warn!("actors of partitions did not end in time");
        }
        if tokio::time::timeout(GOODBYE, keeper.release_all()).await.is_err() {
            tracing::warn!("the leases could not be given back: they are taken when they have stood still");
        }
    }
}

/// Actors that ended by themselves: fenced off, or dead of a panic. Their partitions are taken anew.
fn drop_gone(running: &mut Vec<(Rc<Tenure>, Addr<PartitionActor>)>) -> Vec<Partition> {
    let gone =
        running.iter().filter(|(_, actor)| !actor.connected()).map(|(tenure, _)| tenure.partition).collect();
    running.retain(|(_, actor)| actor.connected());
    gone
}

/// Ends actors. One that is still loading takes the message only when Redis has answered.
async fn end(actors: impl Iterator<Item = (Rc<Tenure>, Addr<PartitionActor>)>) {
    // Gone already is what was wanted.
    futures_util::future::join_all(actors.map(|(_, actor)| async move { actor.send(Stop).await })).await;
}
