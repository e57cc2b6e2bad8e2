//! One arbiter: a thread with its share of the partitions, the reader of their events and the keeper of their leases.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::dispatches::Dispatches;
use super::local::{BodyMeter, Local};
use super::partition::{Behind, Drain, PartitionActor, Retaken, Stop};
use super::permits::Permits;
use super::reader::{self, Feeds};
use crate::clock;
use crate::cluster::fitness::Scarcity;
use crate::cluster::leases::{self, Keeper};
use crate::cluster::tenure::Tenure;
use crate::config::Config;
use crate::delivery::pool::Pool;
use crate::delivery::{Sender, Sockets};
use crate::domain::{NodeId, Partition};
use crate::policy::lease::LOOK_EVERY;
use crate::policy::partition::Layout;
use crate::policy::placement::Placement;
use crate::policy::retake::Pace;
use crate::policy::sealing::Keyring;
use crate::store::publications::fresh::Listeners;
use crate::store::{Keys, Redis};
use crate::telemetry::events as facts;

/// The longest wait at the end for what should take no time: actors that stop, and leases given back. Whatever Redis
/// does, the node ends; leases that were not given back stand still and are taken when they have done so for their term.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often it is looked whether the servers are the same ones.
const IDENTIFY_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked, at the end, whether a partition has nothing in flight any more.
const HAND_OVER_EVERY: Duration = Duration::from_millis(20);

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
    /// Decrypts webhooks' secrets.
    pub keyring: Arc<Keyring>,
    /// Attempts of the whole node at once.
    pub permits: Arc<Pool>,
    /// Connections of the whole node for deliveries.
    pub sockets: Sockets,
    /// Whether Redis is nearly full.
    pub scarcity: Scarcity,
    /// The partitions that this arbiter may come to own.
    pub partitions: Vec<Partition>,
    /// Who should own what.
    pub placement: watch::Receiver<Arc<Placement>>,
    /// Turns true when the node stops.
    pub stopping: watch::Receiver<bool>,
    /// Through which it is told what is published on this node.
    pub listeners: Arc<Listeners>,
}

/// Runs an arbiter until the node stops: takes partitions, keeps them, and hands them over.
///
/// A reader that dies ends the arbiter, and with it the node: it dies of a fault of ours alone, which a reader started
/// over the same entries would meet again, in silence. A new process is told of by whoever supervises it.
///
/// # Errors
/// A connection or client cannot be set up at all, or the reader died.
pub async fn run(blueprint: Blueprint) -> anyhow::Result<()> {
    let Blueprint { config, redis, keys, layout, permits, scarcity, partitions, placement, .. } = blueprint;
    let (mut stopping, listeners, sockets) = (blueprint.stopping, blueprint.listeners, blueprint.sockets);
    let node = config.node_id.clone();
    let own = redis.for_another_thread()?;
    let local = Rc::new(Local {
        dispatches: Dispatches::new(own.clone()),
        redis: own,
        sender: Sender::new(&config.delivery, &sockets)?,
        bodies: BodyMeter::new(config.delivery.memory_budget_bytes / config.cluster.threads),
        keys: keys.clone(),
        layout,
        permits: Permits::new(permits),
        scarcity,
        config,
        keyring: blueprint.keyring,
        recorders: RefCell::default(),
    });
    let feeds = Rc::new(if redis.is_cluster() { Feeds::default() } else { Feeds::listening(listeners) });
    let mut reader = actix::spawn(reader::run(local.clone(), feeds.clone()));
    let keeper = Keeper::new(redis.for_another_thread()?, keys, node.clone(), partitions);
    let retakes = Pace::default();
    let mut arbiter =
        Arbiter { local, feeds, node, placement, keeper, running: Vec::new(), trusted: 0, retakes };
    arbiter.connect().await;
    let identify = actix::spawn(identify(arbiter.keeper.redis().clone()));
    let mut ended = Ok(());
    while !*stopping.borrow() && ended.is_ok() {
        tokio::select! {
            () = arbiter.turn() => {}
            // A turn waits for Redis; the end does not wait for the turn. What it leaves half done is given back.
            changed = stopping.changed() => if changed.is_err() { break },
            died = &mut reader => ended = Err(reader_died(died)),
        }
    }
    arbiter.hand_all_over().await;
    reader.abort();
    identify.abort();
    ended
}

fn reader_died(died: Result<(), tokio::task::JoinError>) -> anyhow::Error {
    tracing::error!("the reader of events died: the node ends");
    match died {
        Ok(()) => anyhow::anyhow!("the reader of events ended"),
        Err(error) => anyhow::Error::new(error).context("the reader of events died"),
    }
}

/// Notices servers that were restarted or replaced although no connection broke. Beside the turns of the arbiter: one
/// server of many that hangs must not keep it from renewing.
async fn identify(redis: Redis) {
    loop {
        tokio::time::sleep(IDENTIFY_EVERY).await;
        if let Err(error) = redis.identity().await {
            tracing::debug!(%error, "the servers could not be named");
        }
    }
}

/// A partition that is ours, and its actor.
struct Owned {
    tenure: Rc<Tenure>,
    actor: Addr<PartitionActor>,
    /// The end of what is in flight, when the partition is to be another node's.
    leaving: Option<JoinHandle<()>>,
}

impl Owned {
    /// Starts nothing new from now on, and waits for what is in flight.
    fn leave(&mut self, limit: Duration) {
        self.leaving.get_or_insert_with(|| {
            let drained = self.actor.send(Drain);
            actix::spawn(async move {
                if tokio::time::timeout(limit, drained).await.is_err() {
                    tracing::warn!("attempts in flight were given up");
                }
            })
        });
    }

    /// Whether nothing is in flight any more, or what is has been given up.
    fn has_left(&self) -> bool {
        self.leaving.as_ref().is_some_and(JoinHandle::is_finished)
    }
}

/// The partitions of one thread and what keeps them.
struct Arbiter {
    local: Rc<Local>,
    feeds: Rc<Feeds>,
    node: NodeId,
    placement: watch::Receiver<Arc<Placement>>,
    keeper: Keeper,
    running: Vec<Owned>,
    /// The generations of the connections when all that is ours was last taken.
    trusted: u64,
    retakes: Pace,
}

impl Arbiter {
    /// Opens the connections, so that their opening is not taken for a sign that Redis has lost something.
    async fn connect(&mut self) {
        for redis in [&self.local.redis, self.keeper.redis()] {
            // What is not reached now is reached, and distrusted, later.
            let _ = redis.identity().await;
        }
        self.trusted = self.generation();
    }

    fn generation(&self) -> u64 {
        self.local.redis.generation() + self.keeper.redis().generation()
    }

    fn replacements(&self) -> u64 {
        self.local.redis.replacements() + self.keeper.redis().replacements()
    }

    /// Whether the leases are where the records are. Opens the connections, so that their opening is not one more
    /// disturbance. A cluster's client finds the server of each key by itself.
    async fn is_at_one(&self) -> bool {
        if self.local.redis.is_cluster() {
            return true;
        }
        let identities = tokio::join!(self.local.redis.identity(), self.keeper.redis().identity());
        matches!(identities, (Ok(records), Ok(leases)) if records == leases)
    }

    /// Keeps the leases once, starts and ends actors accordingly, and rests.
    async fn turn(&mut self) {
        self.end_gone().await;
        self.take_anew().await;
        self.renew().await;
        self.leave_what_is_not_ours().await;
        self.take().await;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            // Without a sender the node is past its end.
            _ = self.placement.changed() => {}
        }
    }

    /// Actors that ended by themselves: fenced off, or dead of a panic. Their partitions are taken anew.
    async fn end_gone(&mut self) {
        let gone: Vec<Owned> = self.running.extract_if(.., |owned| !owned.actor.connected()).collect();
        // One that died of a panic has not told its webhooks.
        gone.iter().for_each(|owned| owned.tenure.end());
        let gone: Vec<Partition> = gone.iter().map(|owned| owned.tenure.partition).collect();
        self.keeper.give_back(&gone).await;
    }

    /// Whenever Redis may have lost or regained something, what was read from it is read again.
    async fn take_anew(&mut self) {
        let now = clock::monotonic();
        let is_due = self.retakes.is_due(now, self.replacements());
        let all = is_due && self.generation() != self.trusted;
        if all && !self.is_at_one().await {
            return;
        }
        let generation = self.generation();
        let mistrusted = if is_due { self.feeds.take_mistrusted() } else { Vec::new() };
        let shaken = |tenure: &Tenure| all || tenure.is_retaking() || mistrusted.contains(&tenure.partition);
        let tenures: Vec<Rc<Tenure>> = self.tenures().into_iter().filter(|tenure| shaken(tenure)).collect();
        if is_due {
            self.trusted = generation;
            if !tenures.is_empty() {
                self.retakes.taken(now, self.replacements());
            }
        }
        self.retake(&tenures).await;
    }

    async fn retake(&mut self, tenures: &[Rc<Tenure>]) {
        if tenures.is_empty() {
            return;
        }
        let retaken = self.keeper.retake(tenures).await;
        facts::partitions_retaken(retaken.done.len());
        for owned in &self.running {
            if retaken.done.iter().any(|done| Rc::ptr_eq(done, &owned.tenure)) {
                // Waits for room in the actor's mailbox: this message must not be lost.
                actix::spawn(owned.actor.send(Retaken));
            }
        }
        self.lose(&retaken.lost).await;
    }

    async fn renew(&mut self) {
        let renewed = self.keeper.renew(&self.tenures()).await;
        let lost = renewed.iter().filter(|(_, renewed)| leases::is_lost(renewed));
        let lost: Vec<Partition> = lost.map(|(tenure, _)| tenure.partition).collect();
        for (tenure, renewed) in &renewed {
            facts::queued(tenure.partition, renewed);
            let cursor = self.feeds.cursor_of(tenure.partition).unwrap_or_default();
            let owned = self.running.iter().find(|owned| Rc::ptr_eq(&owned.tenure, tenure));
            if let (Some(oldest), Some(owned)) = (leases::is_behind(renewed, cursor), owned) {
                // An actor with a full mailbox is not idle; the next renewal tells it again.
                let _ = owned.actor.try_send(Behind(oldest));
            }
        }
        self.lose(&lost).await;
    }

    /// What is held and placed elsewhere is left, and given back when nothing of it is in flight.
    async fn leave_what_is_not_ours(&mut self) {
        let placement = self.placement.borrow_and_update().clone();
        let handover = self.local.config.cluster.handover;
        for owned in &mut self.running {
            if !placement.is_owner(&self.node, owned.tenure.partition) {
                owned.leave(handover);
            }
        }
        let left: Vec<Owned> = self.running.extract_if(.., |owned| owned.has_left()).collect();
        let partitions: Vec<Partition> = left.iter().map(|owned| owned.tenure.partition).collect();
        end_in_time(left).await;
        self.keeper.give_back(&partitions).await;
    }

    async fn take(&mut self) {
        let placement = self.placement.borrow().clone();
        let taken = self.keeper.take(|partition| placement.is_owner(&self.node, partition)).await;
        for tenure in taken {
            let tenure = Rc::new(tenure);
            let actor = PartitionActor::new(self.local.clone(), self.feeds.clone(), tenure.clone()).start();
            self.running.push(Owned { tenure, actor, leaving: None });
        }
    }

    /// Ends the actors of partitions that are ours no more, before anything else is started.
    async fn lose(&mut self, lost: &[Partition]) {
        lost.iter().for_each(|partition| facts::partition_lost(*partition));
        end_in_time(self.running.extract_if(.., |owned| lost.contains(&owned.tenure.partition)).collect())
            .await;
    }

    fn tenures(&self) -> Vec<Rc<Tenure>> {
        self.running.iter().map(|owned| owned.tenure.clone()).collect()
    }

    /// Finishes what is in flight, as far as there is time, and gives the leases back, each partition's as soon as
    /// nothing of it is in flight.
    async fn hand_all_over(mut self) {
        let handover = self.local.config.cluster.handover;
        self.running.iter_mut().for_each(|owned| owned.leave(handover));
        let deadline = tokio::time::Instant::now() + handover;
        while !self.running.is_empty() && tokio::time::Instant::now() < deadline {
            let turn = async {
                // A taking anew that the stop broke off is finished: without its token nothing is recorded any more.
                self.take_anew().await;
                self.keeper.renew(&self.tenures()).await;
                tokio::time::sleep(HAND_OVER_EVERY).await;
            };
            let given_up = tokio::time::timeout_at(deadline, turn).await.is_err();
            self.give_back_what_has_left(given_up).await;
        }
        self.give_back_what_has_left(true).await;
    }

    /// `all`: also what has not left, and what a turn that was broken off took for nobody.
    async fn give_back_what_has_left(&mut self, all: bool) {
        let left: Vec<Owned> = self.running.extract_if(.., |owned| all || owned.has_left()).collect();
        let of_left = || left.iter().map(|owned| owned.tenure.partition).collect();
        let partitions: Vec<Partition> = if all { self.keeper.held() } else { of_left() };
        end_in_time(left).await;
        if tokio::time::timeout(GOODBYE, self.keeper.give_back(&partitions)).await.is_err() {
            tracing::warn!("the leases could not be given back: they are taken when they have stood still");
        }
    }
}

/// Ends actors. From here on nothing of theirs is started, also where the message has to wait.
async fn end_in_time(owned: Vec<Owned>) {
    owned.iter().for_each(|owned| owned.tenure.end());
    // Gone already is what was wanted.
    let ended = futures_util::future::join_all(owned.iter().map(|owned| owned.actor.send(Stop)));
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        tracing::warn!("actors of partitions did not end in time");
    }
}
