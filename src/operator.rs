//! `cluster`, `rekey`: what an operator asks of the cluster, straight from Redis, so that it answers also when no node does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::clock;
use crate::config::Config;
use crate::domain::NodeId;
use crate::policy::roster::BEAT_EVERY;
use crate::store::connection::Address;
use crate::store::nodes::{self, Listed};
use crate::store::overview::{self, Overview};
use crate::store::private;
use crate::store::{Keys, Redis};

pub mod rekey;

/// How often a draining node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The way to a cluster's data.
struct Data {
    redis: Redis,
    keys: Keys,
    partitions: u16,
}

impl Data {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let private = config.redis.is_private().then(|| private::url_of(&config.redis)).transpose();
        let private = private.with_context(|| {
            format!("no node runs over redis.data_dir = {}", config.redis.data_dir.display())
        })?;
        let address = Address::of(&config.redis, private.as_deref())?;
        let keys = Keys::new(&config.redis.prefix);
        Ok(Self { redis: Redis::new(address)?, keys, partitions: config.cluster.partitions })
    }

    /// Whether another node than `id` lives and takes partitions.
    async fn has_taker_but(&self, id: &NodeId, before: &[Listed]) -> anyhow::Result<bool> {
        tokio::time::sleep(BEAT_EVERY + BEAT_EVERY / 2).await;
        let now = nodes::list(&self.redis, &self.keys).await.context("redis cannot be read")?;
        let live = live(before, &now);
        Ok(now.iter().any(|node| node.id != *id && !node.entry.draining && live.contains(&node.id)))
    }

    async fn ask_to_drain(&self, id: &NodeId, drain: bool) -> anyhow::Result<()> {
        nodes::ask_to_drain(&self.redis, &self.keys, id, drain).await.context("redis cannot be written")
    }

    async fn overview(&self) -> anyhow::Result<Overview> {
        overview::read(&self.redis, &self.keys, self.partitions).await.context("redis cannot be read")
    }
}

/// The nodes, who owns what and what waits, as a table.
///
/// # Errors
/// Redis does not answer.
pub async fn status(config: &Config) -> anyhow::Result<String> {
    let data = Data::of(config)?;
    let before = data.overview().await?;
    // Who lives shows by a beat that moves.
    tokio::time::sleep(BEAT_EVERY + BEAT_EVERY / 2).await;
    let now = data.overview().await?;
    Ok(table(&now, &live(&before.nodes, &now.nodes)))
}

fn live(before: &[Listed], now: &[Listed]) -> BTreeSet<NodeId> {
    let beats: BTreeMap<&NodeId, u64> = before.iter().map(|node| (&node.id, node.entry.beat)).collect();
    let moved = |node: &&Listed| beats.get(&node.id) != Some(&node.entry.beat);
    now.iter().filter(moved).map(|node| node.id.clone()).collect()
}

fn table(overview: &Overview, live: &BTreeSet<NodeId>) -> String {
    let mut text = String::new();
    let mut line = |columns: [&str; 7]| {
        let [node, state, partitions, flight, backlog, version, api] = columns;
        let line =
            format!("{node:<40} {state:<9} {partitions:>10} {flight:>9} {backlog:>9}  {version:<8} {api}");
        writeln!(text, "{}", line.trim_end()).expect("writing to a String does not fail");
    };
    line(["NODE", "STATE", "PARTITIONS", "IN FLIGHT", "BACKLOG", "VERSION", "API"]);
    let mut nodes: Vec<&Listed> = overview.nodes.iter().collect();
    nodes.sort_by_key(|node| node.entry.joined);
    for Listed { id, entry, .. } in nodes {
        let state = match (live.contains(id), entry.draining) {
            (false, _) => "gone",
            (true, true) => "draining",
            (true, false) => "live",
        };
        let (owned, backlog) = overview.of(id).fold((0, 0), |(n, sum), state| (n + 1, sum + state.pending));
        let numbers = [owned, entry.in_flight, backlog].map(|number| number.to_string());
        line([id.as_str(), state, &numbers[0], &numbers[1], &numbers[2], &entry.version, &entry.api]);
    }
    let unowned: Vec<String> = overview
        .partitions
        .iter()
        .filter(|state| state.owner.as_ref().is_none_or(|owner| !live.contains(owner)))
        .map(|state| state.partition.to_string())
        .collect();
    let backlog: u64 = overview.partitions.iter().map(|state| state.pending).sum();
    let undispatched: u64 = overview.partitions.iter().map(|state| state.undispatched).sum();
    let all = overview.partitions.len();
    write!(text, "{all} partitions, {} without a living owner", unowned.len()).expect("as above");
    if !unowned.is_empty() {
        write!(text, " ({})", unowned.join(" ")).expect("as above");
    }
    write!(text, "; {backlog} deliveries queued, {undispatched} entries to dispatch").expect("as above");
    text
}

/// What must be true of the other nodes before one is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// One of them lives and takes partitions.
    MustTakeOver,
    /// Nothing.
    Whatever,
}

/// Lets a node own nothing until [`undo_drain`], and waits until it does.
///
/// # Errors
/// There is no such node, no other would take over, it still owns something after `limit`, or Redis does not answer.
pub async fn drain(config: &Config, node: &str, others: Others, limit: Duration) -> anyhow::Result<String> {
    let data = Data::of(config)?;
    let id = parse_node(node)?;
    let known = nodes::list(&data.redis, &data.keys).await.context("redis cannot be read")?;
    if !known.iter().any(|listed| listed.id == id) {
        let names: Vec<&str> = known.iter().map(|listed| listed.id.as_str()).collect();
        bail!("there is no node {id}; there are: {}", names.join(", "));
    }
    if others == Others::MustTakeOver && !data.has_taker_but(&id, &known).await? {
        bail!(
            "no other node would take the partitions of {id} over, and nothing would be delivered: start another, or \
             say --force"
        );
    }
    data.ask_to_drain(&id, true).await?;
    let deadline = clock::monotonic() + limit;
    loop {
        let owned = data.overview().await?.of(&id).count();
        if owned == 0 {
            return Ok(format!("{id} owns no partition and takes none, until: cluster drain {id} --undo"));
        }
        if clock::monotonic() >= deadline {
            bail!(
                "{id} still owns {owned} partitions after {} seconds; it goes on draining",
                limit.as_secs()
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Gives a node its share of the partitions again.
///
/// # Errors
/// Redis does not answer.
pub async fn undo_drain(config: &Config, node: &str) -> anyhow::Result<String> {
    let id = parse_node(node)?;
    Data::of(config)?.ask_to_drain(&id, false).await?;
    Ok(format!("{id} takes its share of the partitions again"))
}

fn parse_node(node: &str) -> anyhow::Result<NodeId> {
    node.parse().context("a node's id is 1 to 64 letters, digits, '.', '_' or '-'")
}
