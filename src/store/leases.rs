//! The lease of a partition: a token that every queue-changing script must show.
//!
//! No key expires and no wall clock takes part: the holder counts a beat up, and who wants the lease watches token and
//! beat stand still on its own monotonic clock (`cluster::leases`).

use std::sync::LazyLock;

use redis::Cmd;

use super::script::{self, Script};
use super::{Error, Keys, Redis};
use crate::domain::Partition;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_take.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_release.lua")));

/// What a lease shows to those who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The holder's token; `None` when the lease is free.
    pub token: Option<String>,
    /// The holder's beat.
    pub beat: Option<String>,
}

/// Looks at several leases in one round trip, in their order.
///
/// # Errors
/// As [`Redis::query`].
pub async fn look(redis: &Redis, keys: &Keys, partitions: &[Partition]) -> Result<Vec<Seen>, Error> {
    let read = |partition: &Partition| {
        redis::cmd("HMGET").arg(keys.key(*partition, "lease")).arg("token").arg("beat").to_owned()
    };
    let reads: Vec<Cmd> = partitions.iter().map(read).collect();
    let seen: Vec<(Option<String>, Option<String>)> = redis.each(&reads).await?;
    Ok(seen.into_iter().map(|(token, beat)| Seen { token, beat }).collect())
}

/// Takes a lease that is free or still as it was `seen`; `false` when somebody else was faster.
///
/// # Errors
/// As [`Redis::query`]; a repeat with the same token is harmless.
pub async fn take(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    token: &str,
    seen: &Seen,
) -> Result<bool, Error> {
    let route = keys.key(partition, "lease");
    let mut call = TAKE.on(&route);
    call.arg(keys.of(partition)).arg(token);
    call.arg(seen.token.as_deref().unwrap_or_default()).arg(seen.beat.as_deref().unwrap_or_default());
    call.run(redis).await
}

/// Shows that the holder lives, for several leases in one round trip; `false` for one that is not ours any more.
///
/// # Errors
/// As [`Redis::query`].
pub async fn renew(redis: &Redis, keys: &Keys, held: &[(Partition, String)]) -> Result<Vec<bool>, Error> {
    let routes: Vec<String> = held.iter().map(|(partition, _)| keys.key(*partition, "lease")).collect();
    let renewal = |((partition, token), route): (&(Partition, String), &String)| {
        let mut call = RENEW.on(route);
        call.arg(keys.of(*partition)).arg(token);
        call
    };
    let calls: Vec<_> = held.iter().zip(&routes).map(renewal).collect();
    script::run_each(redis, &calls).await
}

/// Gives a lease back; harmless when it is not ours any more.
///
/// # Errors
/// As [`Redis::query`].
pub async fn release(redis: &Redis, keys: &Keys, partition: Partition, token: &str) -> Result<(), Error> {
    let route = keys.key(partition, "lease");
    RELEASE.on(&route).arg(keys.of(partition)).arg(token).run::<u64>(redis).await.map(drop)
}
