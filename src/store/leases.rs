//! The lease of a partition: a token that every queue-changing script must show.
//!
//! No key expires and no wall clock takes part: the holder counts a beat up, and who wants the lease watches token and
//! beat stand still on its own monotonic clock (`cluster::leases`).

use std::sync::LazyLock;

use redis::Cmd;

use super::script::{self, Script};
use super::{Error, Keys, Redis};
use crate::domain::Partition;
use crate::policy::lease::Seen;

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_take.lua")));
static RENEW: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_renew.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/lease_release.lua")));

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
    on_all(&RENEW, redis, keys, held).await
}

/// Gives several leases back in one round trip; `false` for one that was not ours any more.
///
/// # Errors
/// As [`Redis::query`].
pub async fn release(redis: &Redis, keys: &Keys, held: &[(Partition, String)]) -> Result<Vec<bool>, Error> {
    on_all(&RELEASE, redis, keys, held).await
}

/// Runs a script of one lease and its token on each of `held`.
async fn on_all(
    script: &Script,
    redis: &Redis,
    keys: &Keys,
    held: &[(Partition, String)],
) -> Result<Vec<bool>, Error> {
    let routes: Vec<String> = held.iter().map(|(partition, _)| keys.key(*partition, "lease")).collect();
    let call_for = |((partition, token), route): (&(Partition, String), &String)| {
        let mut call = script.on(route);
        call.arg(keys.of(*partition)).arg(token);
        call
    };
    let calls: Vec<_> = held.iter().zip(&routes).map(call_for).collect();
    script::run_each(redis, &calls).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::TestRedis;

    #[actix_web::test]
    async fn leases_are_given_back_together_and_only_by_their_holder() {
        let server = TestRedis::start().await;
        let keys = Keys::new("sw:");
        let free = Seen { token: None, beat: None };
        let mut held = Vec::new();
        for number in 0..3 {
            let (partition, token) = (Partition(number), format!("token{number}"));
            let taken = take(&server.redis, &keys, partition, &token, &free).await;
            assert!(taken.expect("redis answers"));
            held.push((partition, token));
        }
        held[1].1 = "not ours any more".into();
        let flushed: String = server.redis.query(redis::cmd("SCRIPT").arg("FLUSH")).await.expect("an answer");
        assert_eq!(flushed, "OK");
        let released = release(&server.redis, &keys, &held).await.expect("the script is loaded again");
        assert_eq!(released, [true, false, true]);
        let partitions: Vec<Partition> = held.iter().map(|(partition, _)| *partition).collect();
        let seen = look(&server.redis, &keys, &partitions).await.expect("redis answers");
        let still_held: Vec<bool> = seen.iter().map(|seen| seen.token.is_some()).collect();
        assert_eq!(still_held, [false, true, false]);
    }
}
