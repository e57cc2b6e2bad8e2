//! What must be true of a Redis before a node may use it, checked at every start, and looked at again while it is used
//! ([`faults`]).
//!
//! - It is version 7.0 or later (script flags, `XADD` with partial ids).
//! - It forgets nothing by itself: its append-only file is on and nothing is evicted. "202 means stored" rests on this.
//!   `redis.require_persistence = false` waives it. It is read from `INFO`, not `CONFIG GET`, which managed services
//!   often forbid.
//! - It is what `redis.mode` says. In a cluster every primary is looked at.
//! - The counts that decide where a key lies are the ones that its data was written with. The first node to start on a
//!   Redis writes them to `cluster:meta`; every later one must agree with them.
//!
//! Sources: Redis command pages `INFO`, `HSETNX`.

use super::connection::info_field as field;
use super::{Keys, Redis, connection};
use crate::config::{self, RedisMode};

/// The layout of the stored data that this build reads and writes.
pub const SCHEMA_VERSION: u64 = 2;

/// The first major version with everything that is used here.
const OLDEST_MAJOR: u32 = 7;

/// Why this Redis may not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be asked.
    #[error("redis could not be checked")]
    Store(#[from] connection::Error),
    /// It lacks what is needed; one entry a fault.
    #[error("redis cannot be used: {}", .0.join("; "))]
    Unfit(Vec<String>),
}

/// Checks the Redis that `redis` reaches against `[redis]` and `[cluster]`, and writes `cluster:meta` at the first start on it.
///
/// # Errors
/// [`Error::Unfit`] names every fault with the setting to change; [`Error::Store`] when Redis did not answer.
pub async fn check(redis: &Redis, settings: &config::Redis, cluster: &config::Cluster) -> Result<(), Error> {
    let faults = faults(redis, settings).await?;
    // A Redis that is refused is left as it was found.
    if !faults.is_empty() {
        return Err(Error::Unfit(faults));
    }
    fix_layout(redis, &settings.prefix, cluster).await
}

/// What the Redis that `redis` reaches lacks now, but for its layout; one entry a fault. Another server may take its place
/// at any time, with other settings.
///
/// # Errors
/// Redis did not answer.
pub async fn faults(redis: &Redis, settings: &config::Redis) -> Result<Vec<String>, connection::Error> {
    let mut faults = Vec::new();
    for (address, info) in redis.info(&[]).await? {
        let mut found = version_faults(&info);
        found.extend(role_faults(&info, settings.mode));
        if settings.require_persistence {
            found.extend(persistence_faults(&info));
        }
        // In a cluster each node may have its own.
        faults.extend(found.into_iter().map(|fault| match &address {
            Some(address) => format!("{address}: {fault}"),
            None => fault,
        }));
    }
    Ok(faults)
}

/// Writes `cluster:meta` where it is missing, and compares it with `[cluster]` where it is not.
///
/// # Errors
/// As [`check`].
pub async fn fix_layout(redis: &Redis, prefix: &str, cluster: &config::Cluster) -> Result<(), Error> {
    let faults = layout_faults(redis, prefix, cluster).await?;
    if faults.is_empty() { Ok(()) } else { Err(Error::Unfit(faults)) }
}

/// Whether the data in it was written with `[cluster]`. Writes nothing.
///
/// # Errors
/// As [`check`]; [`Error::Unfit`] also where no node has ever started.
pub async fn compare_layout(redis: &Redis, prefix: &str, cluster: &config::Cluster) -> Result<(), Error> {
    let fixed = fixed(cluster);
    let mut read = redis::cmd("HMGET");
    read.arg(Keys::new(prefix).cluster("meta")).arg(&fixed.map(|(name, ..)| name));
    let stored: Vec<Option<String>> = redis.query(&read).await?;
    let Some(stored) = stored.into_iter().collect::<Option<Vec<String>>>() else {
        return Err(Error::Unfit(vec![format!(
            "no node has ever started on it with redis.prefix = {prefix:?}"
        )]));
    };
    let faults = differences(fixed, &stored);
    if faults.is_empty() { Ok(()) } else { Err(Error::Unfit(faults)) }
}

fn version_faults(info: &str) -> Vec<String> {
    let version = field(info, "redis_version").unwrap_or("unknown");
    let major = version.split('.').next().and_then(|number| number.parse::<u32>().ok());
    match major {
        Some(major) if major >= OLDEST_MAJOR => Vec::new(),
        _ => vec![format!("its version is {version}, and 7.0 or later is needed")],
    }
}

/// Whether it is a server of the kind that `redis.mode` says. What belongs to a cluster, or follows another, would take
/// some commands and refuse others.
fn role_faults(info: &str, mode: RedisMode) -> Vec<String> {
    let mut faults = Vec::new();
    if mode != RedisMode::Cluster && field(info, "cluster_enabled") == Some("1") {
        faults.push(
            "it is a node of a Redis Cluster: set redis.mode = \"cluster\" and redis.cluster_urls".to_owned(),
        );
    }
    if mode == RedisMode::Standalone && field(info, "redis_mode") == Some("sentinel") {
        faults.push("it is a sentinel: set redis.mode = \"sentinel\" and redis.sentinel_urls".to_owned());
    }
    if mode == RedisMode::Standalone && field(info, "role") == Some("slave") {
        faults.push("it is a replica, which takes no writes: name its master in redis.url".to_owned());
    }
    faults
}

fn persistence_faults(info: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if field(info, "aof_enabled") != Some("1") {
        faults.push(
            "its append-only file is off, so it may forget events that were accepted: set appendonly yes, or \
             redis.require_persistence = false to accept that"
                .to_owned(),
        );
    }
    let policy = field(info, "maxmemory_policy").unwrap_or("unknown");
    if policy != "noeviction" {
        faults.push(format!(
            "its maxmemory-policy is {policy}, so it may drop queued events when it is full: set noeviction, or \
             redis.require_persistence = false to accept that"
        ));
    }
    faults
}

/// Stores the fixed values where there are none, all or nothing, and compares.
async fn layout_faults(
    redis: &Redis,
    prefix: &str,
    cluster: &config::Cluster,
) -> Result<Vec<String>, connection::Error> {
    let (key, fixed) = (Keys::new(prefix).cluster("meta"), fixed(cluster));
    let mut exchange = redis::pipe();
    // One transaction: two nodes that start at once cannot store half of each one's values.
    exchange.atomic();
    for (name, _, configured) in fixed {
        exchange.cmd("HSETNX").arg(&key).arg(name).arg(configured).ignore();
    }
    exchange.cmd("HMGET").arg(&key).arg(&fixed.map(|(name, ..)| name));
    let (stored,): (Vec<String>,) = redis.pipeline(&exchange).await?;
    Ok(differences(fixed, &stored))
}

/// A value that is fixed at the first start: its field in `cluster:meta`, the setting, and what that says.
type Fixed = (&'static str, &'static str, u64);

fn fixed(cluster: &config::Cluster) -> [Fixed; 4] {
    [
        ("schema", "the schema version of this build", SCHEMA_VERSION),
        ("partitions", "cluster.partitions", u64::from(cluster.partitions)),
        ("webhooks_per_shard", "cluster.webhooks_per_shard", u64::from(cluster.webhooks_per_shard)),
        ("shards_per_tenant", "cluster.shards_per_tenant", u64::from(cluster.shards_per_tenant)),
    ]
}

fn differences(fixed: [Fixed; 4], stored: &[String]) -> Vec<String> {
    let differing =
        fixed.iter().zip(stored).filter(|((.., configured), stored)| configured.to_string() != **stored);
    let fault = |((_, setting, configured), stored): (&Fixed, &String)| {
        format!("{setting} is {configured}, and the data in it was written with {stored}")
    };
    differing.map(fault).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use redis::cmd;

    use super::*;
    use crate::store::connection::Address;
    use crate::store::private::Private;
    use crate::store::private::tests::{TempDir, settings};

    const CLUSTER: config::Cluster = config::Cluster {
        partitions: 64,
        webhooks_per_shard: 4,
        shards_per_tenant: 16,
        threads: 1,
        handover: Duration::from_secs(5),
    };

    /// A real Redis and the settings that lead to it.
    struct Bench {
        redis: Redis,
        settings: config::Redis,
        _private: Private,
        _dir: TempDir,
    }

    fn bench() -> Bench {
        let dir = TempDir::new();
        let settings = settings(&dir.0);
        let private = Private::start(&settings).unwrap();
        let limit = Duration::from_secs(5);
        let redis = Redis::new(Address::new(&private.url(), limit, limit).unwrap()).unwrap();
        Bench { redis, settings, _private: private, _dir: dir }
    }

    async fn set(bench: &Bench, name: &str, value: &str) {
        bench.redis.query::<()>(cmd("CONFIG").arg("SET").arg(name).arg(value)).await.unwrap();
    }

    fn refused(answer: Result<(), Error>) -> Vec<String> {
        match answer {
            Err(Error::Unfit(faults)) => faults,
            other => panic!("expected faults, got {other:?}"),
        }
    }

    #[tokio::test]
    async fn the_first_start_fixes_the_layout_and_later_ones_must_agree() {
        let bench = bench();
        for _ in 0..2 {
            check(&bench.redis, &bench.settings, &CLUSTER).await.unwrap();
        }
        let other = config::Cluster { partitions: 256, shards_per_tenant: 8, ..CLUSTER };
        assert_eq!(
            refused(check(&bench.redis, &bench.settings, &other).await),
            [
                "cluster.partitions is 256, and the data in it was written with 64",
                "cluster.shards_per_tenant is 8, and the data in it was written with 16",
            ]
        );
        check(&bench.redis, &bench.settings, &CLUSTER).await.expect("a refused start changes nothing");
    }

    #[tokio::test]
    async fn data_of_another_schema_is_refused() {
        let bench = bench();
        bench.redis.query::<()>(cmd("HSET").arg("sw:{cluster}:meta").arg("schema").arg(1)).await.unwrap();
        let found = refused(check(&bench.redis, &bench.settings, &CLUSTER).await);
        assert_eq!(found, ["the schema version of this build is 2, and the data in it was written with 1"]);
    }

    #[tokio::test]
    async fn a_redis_that_may_forget_is_refused_unless_that_is_accepted() {
        let mut bench = bench();
        set(&bench, "appendonly", "no").await;
        set(&bench, "maxmemory-policy", "allkeys-lru").await;
        let found = refused(check(&bench.redis, &bench.settings, &CLUSTER).await);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("appendonly yes") && found[0].contains("redis.require_persistence"));
        assert!(found[1].contains("allkeys-lru") && found[1].contains("noeviction"), "{found:?}");
        let keys: u64 = bench.redis.query(&cmd("DBSIZE")).await.unwrap();
        assert_eq!(keys, 0, "a refused Redis is left as it was");

        bench.settings.require_persistence = false;
        check(&bench.redis, &bench.settings, &CLUSTER).await.unwrap();
    }

    #[tokio::test]
    async fn a_replica_is_refused() {
        let bench = bench();
        bench.redis.query::<()>(cmd("REPLICAOF").arg("127.0.0.1").arg(1)).await.unwrap();
        let found = refused(check(&bench.redis, &bench.settings, &CLUSTER).await);
        assert_eq!(found, ["it is a replica, which takes no writes: name its master in redis.url"]);
    }

    #[test]
    fn a_server_of_another_kind_than_the_mode_says_is_refused() {
        let node = "redis_mode:cluster\r\nrole:master\r\ncluster_enabled:1\r\n";
        let sentinel = "redis_mode:sentinel\r\n";
        for (info, mode, expected) in [
            (node, RedisMode::Standalone, 1),
            (node, RedisMode::Sentinel, 1),
            (node, RedisMode::Cluster, 0),
            (sentinel, RedisMode::Standalone, 1),
            ("redis_mode:standalone\r\nrole:master\r\ncluster_enabled:0\r\n", RedisMode::Standalone, 0),
        ] {
            assert_eq!(role_faults(info, mode).len(), expected, "{info:?} {mode:?}");
        }
    }

    #[test]
    fn versions_are_read_from_what_redis_says() {
        let cases = [
            ("redis_version:7.0.15\r\n", 0),
            ("# Server\r\nredis_version:10.1\r\n", 0),
            ("redis_version:6.2.14\r\n", 1),
            ("", 1),
        ];
        for (info, count) in cases {
            assert_eq!(version_faults(info).len(), count, "{info:?}");
        }
    }
}
