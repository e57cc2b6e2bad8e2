//! A node among the others: shows once a second that it lives, watches the others do so, and derives who should own what.
//!
//! The placement that it publishes is a wish: nothing is owned but by a lease. So a look that is late or wrong costs time
//! or balance, never an event.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::domain::NodeId;
use crate::policy::placement::{Member, Placement};
use crate::policy::roster::{BEAT_EVERY, Roster};
use crate::store::nodes::{self, Listed, Look, NodeEntry};
use crate::store::{Keys, Redis, preflight};
use crate::telemetry::events as facts;
use crate::telemetry::metrics::METRICS;
use crate::telemetry::partitions;

/// The longest wait for the last word of a node to Redis.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long a name that is in use is watched before it is taken for a dead node's.
const NAME_WATCH: Duration = Duration::from_millis(2500);

/// The nodes that live, the one that says so included.
pub type Live = Arc<BTreeSet<NodeId>>;

/// See the module's page.
#[derive(Debug)]
pub struct Membership {
    redis: Redis,
    keys: Keys,
    config: Arc<Config>,
    entry: NodeEntry,
    stopping: bool,
    asked_to_drain: bool,
    roster: Roster,
    live: watch::Sender<Live>,
    placement: watch::Sender<Arc<Placement>>,
}

impl Membership {
    /// Joins the cluster as `config.node_id`, whose API listens at `api`. Tells `live` which nodes live.
    ///
    /// # Errors
    /// Redis does not answer, or another living node has the same id.
    pub async fn join(
        redis: Redis,
        keys: Keys,
        config: Arc<Config>,
        api: SocketAddr,
        live: watch::Sender<Live>,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !is_in_use(&redis, &keys, &config.node_id).await?,
            "node.id (WEBHOOKS_NODE__ID) is \"{}\", which another running node uses: each node needs its own",
            config.node_id
        );
        let joined = nodes::join(&redis, &keys).await.context("the cluster could not be joined")?;
        let entry = NodeEntry {
            joined,
            beat: 0,
            draining: false,
            started_at: clock::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api: api.to_string(),
            in_flight: 0,
            held_back: Some(0),
        };
        facts::joined(&config.node_id, joined);
        Ok(Self {
            redis,
            keys,
            config,
            entry,
            stopping: false,
            asked_to_drain: false,
            roster: Roster::default(),
            live,
            placement: watch::Sender::default(),
        })
    }

    /// Who should own what; changes only when it does.
    pub fn placement(&self) -> watch::Receiver<Arc<Placement>> {
        self.placement.subscribe()
    }

    /// Beats until the task is dropped; from when `stopping` turns true, as a node that owns nothing. Call
    /// [`leave`] when it has ended.
    ///
    /// # Errors
    /// Redis holds data that this node must not touch: it was emptied and filled by nodes of other settings.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) -> anyhow::Result<()> {
        loop {
            self.stopping = *stopping.borrow_and_update();
            self.beat().await?;
            tokio::select! {
                () = tokio::time::sleep(BEAT_EVERY) => {}
                // Without a sender the node is past its end.
                changed = stopping.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn beat(&mut self) -> anyhow::Result<()> {
        self.entry.beat += 1;
        self.entry.draining = self.stopping || self.asked_to_drain;
        self.entry.in_flight = METRICS.attempts_in_flight.get().try_into().unwrap_or_default();
        self.entry.held_back = u64::try_from(partitions::sum().breakers.held_back()).ok();
        match nodes::beat(&self.redis, &self.keys, &self.config.node_id, &self.entry).await {
            Ok(look) => self.looked(look).await?,
            Err(error) => {
                tracing::warn!(%error, "the heartbeat failed");
                self.roster.missed(clock::monotonic());
            }
        }
        Ok(())
    }

    async fn looked(&mut self, look: Look) -> anyhow::Result<()> {
        if !look.has_data {
            self.begin_anew().await?;
        }
        if look.asked_to_drain != self.asked_to_drain {
            self.asked_to_drain = look.asked_to_drain;
            facts::asked_to_drain(look.asked_to_drain);
        }
        let now = clock::monotonic();
        self.roster.saw(look.nodes.iter().map(Listed::sign), now);
        self.publish();
        for dead in look.nodes.iter().filter(|listed| self.is_forgotten(listed)) {
            if let Err(error) = nodes::forget(&self.redis, &self.keys, dead).await {
                tracing::debug!(%error, "a dead node's entry stays for now");
            }
        }
        Ok(())
    }

    fn is_forgotten(&self, listed: &Listed) -> bool {
        self.roster.forgotten(clock::monotonic()).any(|sign| sign.member.id == listed.id)
    }

    fn publish(&mut self) {
        let now = clock::monotonic();
        let members: Vec<Member> = self.roster.placeable(now).collect();
        let live: BTreeSet<NodeId> = self.roster.live(now).map(|sign| sign.member.id.clone()).collect();
        METRICS.nodes_live.set(live.len().try_into().unwrap_or(i64::MAX));
        let placement = Placement::of(members, self.config.cluster.partitions);
        let before = self.live.borrow().clone();
        if *before != live {
            facts::nodes_changed(&before, &live);
            self.live.send_replace(Arc::new(live));
        }
        self.placement.send_if_modified(|published| {
            let changed = **published != placement;
            if changed {
                *published = Arc::new(placement);
            }
            changed
        });
    }

    /// Redis is empty: somebody emptied it, or it lost its file. Everything goes on from nothing.
    async fn begin_anew(&mut self) -> anyhow::Result<()> {
        facts::redis_is_empty();
        match preflight::fix_layout(&self.redis, &self.config.redis.prefix, &self.config.cluster).await {
            Ok(()) => Ok(()),
            Err(preflight::Error::Store(error)) => {
                tracing::warn!(%error, "the layout could not be written");
                Ok(())
            }
            Err(error) => Err(error).context("redis was emptied and has other data now"),
        }
    }
}

/// Whether a node of that name beats. The name of one that was killed is free again.
async fn is_in_use(redis: &Redis, keys: &Keys, id: &NodeId) -> anyhow::Result<bool> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let entry = async || {
        let nodes = nodes::list(redis, keys).await.context("the cluster could not be looked at")?;
        anyhow::Ok(nodes.into_iter().find(|listed| listed.id == *id).map(|listed| listed.entry))
    };
    let Some(before) = entry().await? else { return Ok(false) };
    let deadline = clock::monotonic() + NAME_WATCH;
    while clock::monotonic() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        match entry().await? {
            Some(now) if now.beat == before.beat => {}
            now => return Ok(now.is_some()),
        }
    }
    Ok(false)
}

/// Takes the node out of the list. Without it, it is gone when its beat has stood still.
pub async fn leave(redis: &Redis, keys: &Keys, id: &NodeId) {
    if !matches!(tokio::time::timeout(GOODBYE, nodes::leave(redis, keys, id)).await, Ok(Ok(()))) {
        tracing::warn!("the cluster could not be told that the node leaves");
    }
}
