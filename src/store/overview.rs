//! The cluster at a glance: its nodes, who owns which partition, and what waits there.
//!
//! For people: several reads without a common moment. Costs a bounded number of small commands a partition, none of them
//! over what is queued.

use redis::Cmd;
use serde::Serialize;

use super::nodes::{self, Listed};
use super::{Error, Keys, Redis};
use crate::domain::{NodeId, Partition};

/// What Redis says of the cluster.
#[derive(Clone, Debug)]
pub struct Overview {
    /// All nodes, dead ones included.
    pub nodes: Vec<Listed>,
    /// All partitions, in order.
    pub partitions: Vec<PartitionState>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionState {
    /// Which.
    pub partition: u16,
    /// The node that took its lease last and has not given it back; `None` = nobody.
    pub owner: Option<NodeId>,
    /// Events and control entries that await matching.
    pub undispatched: u64,
    /// Deliveries that are queued or between two attempts.
    pub pending: u64,
}

impl Overview {
    /// What `node` owns.
    pub fn of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a PartitionState> {
        self.partitions.iter().filter(move |state| state.owner.as_ref() == Some(node))
    }
}

/// Reads it, for a cluster of `partitions`.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read(redis: &Redis, keys: &Keys, partitions: u16) -> Result<Overview, Error> {
    let nodes = nodes::list(redis, keys).await?;
    let all: Vec<Partition> = (0..partitions).map(Partition).collect();
    let reads = |command: &str, name: &str, field: Option<&str>| -> Vec<Cmd> {
        let read = |partition: &Partition| {
            let mut read = redis::cmd(command);
            read.arg(keys.key(*partition, name)).arg(field.as_slice());
            read
        };
        all.iter().map(read).collect()
    };
    let owners: Vec<Option<String>> = redis.each(&reads("HGET", "lease", Some("node"))).await?;
    let undispatched: Vec<u64> = redis.each(&reads("XLEN", "events", None)).await?;
    let pending: Vec<Option<i64>> = redis.each(&reads("HGET", "usage", Some("pending"))).await?;
    let mut states = Vec::with_capacity(all.len());
    for (((partition, owner), undispatched), pending) in
        all.into_iter().zip(owners).zip(undispatched).zip(pending)
    {
        states.push(PartitionState {
            partition: partition.0,
            owner: owner.and_then(|owner| owner.parse().ok()),
            undispatched,
            pending: pending.unwrap_or_default().try_into().unwrap_or_default(),
        });
    }
    Ok(Overview { nodes, partitions: states })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::lease::Seen;
    use crate::store::leases::{self, Bid};
    use crate::store::testing::TestRedis;

    #[tokio::test]
    async fn owners_and_what_waits_are_told_for_each_partition() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let node: NodeId = "a".parse().unwrap();
        let free = Seen { token: None, beat: None };
        let bid = Bid { partition: Partition(1), token: "t".into(), seen: free };
        leases::take(redis, &keys, &node, &[bid]).await.unwrap();
        for words in
            [["XADD", "sw:{p01}:events", "*", "k", "v"], ["HSET", "sw:{p02}:usage", "pending", "7", ""]]
        {
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            redis.query::<redis::Value>(redis::cmd(words[0]).arg(&words[1..])).await.unwrap();
        }
        let overview = read(redis, &keys, 3).await.unwrap();
        let found: Vec<_> = overview.partitions.iter().map(|p| (p.undispatched, p.pending)).collect();
        assert_eq!(found, [(0, 0), (1, 0), (0, 7)]);
        assert_eq!(overview.of(&node).map(|state| state.partition).collect::<Vec<_>>(), [1]);
        assert_eq!(overview.partitions[0].owner, None);
    }
}
