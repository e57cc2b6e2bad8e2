//! The nodes of the cluster: what each says of itself once a second, and what an operator asks of one.
//!
//! `cluster:nodes` holds a [`NodeEntry`] for each node as JSON; `cluster:joins` counts joinings; `cluster:drain` holds the
//! nodes that an operator wants to own nothing. Who lives is decided by who reads ([`crate::policy::roster`]): an entry
//! has no expiry, and what a dead node left is removed by the others in the end.

use std::sync::LazyLock;

use redis::{FromRedisValue, Value};
use serde::{Deserialize, Serialize};

use super::meter::Called;
use super::script::Script;
use super::{Error, Keys, Redis};
use crate::domain::{Millis, NodeId};
use crate::policy::placement::Member;
use crate::policy::roster::Sign;

static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(Called::NodeForget, include_str!("scripts/node_forget.lua")));

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEntry {
    /// Its place in the order of joining.
    pub joined: u64,
    /// Counted up each second.
    pub beat: u64,
    /// Owns nothing and takes nothing: it is on its way out, or an operator asked for it.
    pub draining: bool,
    /// When it started.
    pub started_at: Millis,
    /// The version of its program.
    pub version: String,
    /// Where its API listens.
    pub api: String,
    /// Attempts on their way.
    pub in_flight: u64,
    /// Webhooks of its partitions that their breaker holds back; `None` = a version that does not say.
    #[serde(default)]
    pub held_back: Option<u64>,
}

/// A node's entry, as it stands in Redis and as it reads.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Which node.
    pub id: NodeId,
    /// What it says.
    pub entry: NodeEntry,
    text: String,
}

impl Listed {
    /// What the roster needs of it.
    pub fn sign(&self) -> Sign {
        Sign {
            member: Member { joined: self.entry.joined, id: self.id.clone() },
            beat: self.entry.beat,
            takes_partitions: !self.entry.draining,
        }
    }
}

/// What a beat brings back.
#[derive(Clone, Debug)]
pub struct Look {
    /// All entries that can be read.
    pub nodes: Vec<Listed>,
    /// An operator wants the node to own nothing.
    pub asked_to_drain: bool,
    /// Redis holds data of this installation; without it, it has lost all.
    pub has_data: bool,
}

/// The next place in the order of joining.
///
/// # Errors
/// As [`Redis::query`].
pub async fn join(redis: &Redis, keys: &Keys) -> Result<u64, Error> {
    redis.query(redis::cmd("INCR").arg(keys.cluster("joins"))).await
}

/// Shows that `id` lives, and looks at the others, in one round trip.
///
/// # Errors
/// As [`Redis::query`].
pub async fn beat(redis: &Redis, keys: &Keys, id: &NodeId, entry: &NodeEntry) -> Result<Look, Error> {
    let text = serde_json::to_string(entry).expect("an entry is plain data");
    let nodes = keys.cluster("nodes");
    let mut commands = redis::pipe();
    commands.cmd("HSET").arg(&nodes).arg(id.as_str()).arg(text);
    commands.cmd("HGETALL").arg(&nodes);
    commands.cmd("HEXISTS").arg(keys.cluster("drain")).arg(id.as_str());
    commands.cmd("EXISTS").arg(keys.cluster("meta"));
    let [_, nodes, drain, meta] = exactly(redis.pipeline::<Vec<Value>>(&commands).await?)?;
    Ok(Look {
        nodes: read_nodes(nodes)?,
        asked_to_drain: FromRedisValue::from_redis_value(drain).map_err(redis::RedisError::from)?,
        has_data: FromRedisValue::from_redis_value(meta).map_err(redis::RedisError::from)?,
    })
}

fn exactly<const N: usize>(answers: Vec<Value>) -> Result<[Value; N], Error> {
    answers.try_into().map_err(|_| super::events::unreadable("pipeline"))
}

/// All nodes, dead ones included.
///
/// # Errors
/// As [`Redis::query`].
pub async fn list(redis: &Redis, keys: &Keys) -> Result<Vec<Listed>, Error> {
    read_nodes(redis.query(redis::cmd("HGETALL").arg(keys.cluster("nodes"))).await?)
}

/// What is not an entry is left out: it may be one of a later version.
pub(super) fn read_nodes(value: Value) -> Result<Vec<Listed>, Error> {
    let pairs: Vec<(String, String)> =
        FromRedisValue::from_redis_value(value).map_err(redis::RedisError::from)?;
    let read = |(id, text): (String, String)| {
        Some(Listed { id: id.parse().ok()?, entry: serde_json::from_str(&text).ok()?, text })
    };
    Ok(pairs.into_iter().filter_map(read).collect())
}

/// Removes the entry of a node that leaves, and what it told of itself.
///
/// # Errors
/// As [`Redis::query`].
pub async fn leave(redis: &Redis, keys: &Keys, id: &NodeId) -> Result<(), Error> {
    let mut commands = redis::pipe();
    for name in ["nodes", "metrics"] {
        commands.cmd("HDEL").arg(keys.cluster(name)).arg(id.as_str()).ignore();
    }
    redis.pipeline(&commands).await
}

/// Removes what a dead node left, unless it has changed since it was seen.
///
/// # Errors
/// As [`Redis::query`].
pub async fn forget(redis: &Redis, keys: &Keys, seen: &Listed) -> Result<(), Error> {
    let mut call = FORGET.on(&keys.cluster("nodes"));
    call.arg("").arg(seen.id.as_str()).arg(&seen.text).arg(keys.cluster("metrics"));
    call.run::<u64>(redis).await.map(drop)
}

/// Whether the node `id` shall own partitions (`true` = it shall not). Holds until it is said otherwise, restarts of the
/// node included.
///
/// # Errors
/// As [`Redis::query`].
pub async fn ask_to_drain(redis: &Redis, keys: &Keys, id: &NodeId, drain: bool) -> Result<(), Error> {
    let key = keys.cluster("drain");
    let mut command = redis::cmd(if drain { "HSET" } else { "HDEL" });
    command.arg(key).arg(id.as_str());
    if drain {
        command.arg(1);
    }
    redis.query::<u64>(&command).await.map(drop)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    pub fn entry(joined: u64, beat: u64) -> NodeEntry {
        NodeEntry {
            joined,
            beat,
            draining: false,
            started_at: Millis(7),
            version: "0.1.0".into(),
            api: "127.0.0.1:8080".into(),
            in_flight: 0,
            held_back: Some(0),
        }
    }

    #[test]
    fn an_entry_of_an_older_version_is_read_and_so_is_a_later_one_s() {
        let mut text = serde_json::to_value(entry(1, 2)).unwrap();
        text["ofALaterVersion"] = 7.into();
        assert_eq!(serde_json::from_value::<NodeEntry>(text.clone()).unwrap(), entry(1, 2));
        text.as_object_mut().unwrap().remove("heldBack").unwrap();
        let older = NodeEntry { held_back: None, ..entry(1, 2) };
        assert_eq!(serde_json::from_value::<NodeEntry>(text).unwrap(), older);
    }

    #[tokio::test]
    async fn nodes_see_each_other_until_they_leave_or_are_forgotten() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let [a, b]: [NodeId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!((join(redis, &keys).await.unwrap(), join(redis, &keys).await.unwrap()), (1, 2));
        let alone = beat(redis, &keys, &a, &entry(1, 1)).await.unwrap();
        assert_eq!((alone.nodes.len(), alone.asked_to_drain, alone.has_data), (1, false, false));
        redis
            .query::<u64>(redis::cmd("HSET").arg("sw:{cluster}:nodes").arg("c").arg("of a later version"))
            .await
            .unwrap();
        let both = beat(redis, &keys, &b, &entry(2, 1)).await.unwrap();
        let mut signs: Vec<Sign> = both.nodes.iter().map(Listed::sign).collect();
        signs.sort_by_key(|sign| sign.member.joined);
        assert_eq!(signs.iter().map(|sign| sign.member.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let of_a = both.nodes.iter().find(|listed| listed.id == a).unwrap();
        beat(redis, &keys, &a, &entry(1, 2)).await.unwrap();
        forget(redis, &keys, of_a).await.unwrap();
        assert_eq!(list(redis, &keys).await.unwrap().len(), 2, "it has beaten since");
        let now = list(redis, &keys).await.unwrap();
        forget(redis, &keys, now.iter().find(|listed| listed.id == a).unwrap()).await.unwrap();
        leave(redis, &keys, &b).await.unwrap();
        assert_eq!(list(redis, &keys).await.unwrap().len(), 0);
    }

    #[tokio::test]
    async fn an_operator_can_ask_a_node_to_drain_and_take_it_back() {
        let server = TestRedis::start().await;
        let (redis, keys) = (&server.redis, Keys::new("sw:"));
        let id: NodeId = "a".parse().unwrap();
        for drain in [true, true, false] {
            ask_to_drain(redis, &keys, &id, drain).await.unwrap();
            let look = beat(redis, &keys, &id, &entry(1, 1)).await.unwrap();
            assert_eq!(look.asked_to_drain, drain);
        }
    }
}
