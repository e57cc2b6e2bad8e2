//! Statistics, of a user and of one webhook: what the outcome and dispatch scripts keep and the API reads.
//!
//! All figures of one user (tenant and `sub`) in one partition lie in one hash, `stats:<owner hash>`; a user with
//! webhooks in several partitions has one in each and the reader adds them up. The hash is bounded: hours lie in rings
//! that are written over.
//!
//! | field | holds |
//! |---|---|
//! | `pending`, `delivered`, `dead` | deliveries (event × webhook pairs), all time |
//! | `ok`, `fail` | attempts, all time |
//! | `e:<type>:ok`, `e:<type>:fail` | attempts of that event type, all time |
//! | `<s>:h`, `<s>:ok`, `<s>:fail` | ring of 168 hours, `s` = hour mod 168: the hour it stands for, its attempts |
//! | `<s>:lh`, `<s>:sum`, `<s>:n`, `<s>:b<i>` | ring of 24 hours, `s` = hour mod 24: the hour it stands for, the sum of response times in ms, their count, and the count in each bucket of [`BOUNDS_MS`] |
//!
//! The same of one webhook lies in keys of its own, which go with it; the user's hash keeps what they held:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `count:<webhook>` | hash | among others `ok`, `fail`, `delivered`, `dead` as above, and `hour`: what `hours` was last changed for |
//! | `types:<webhook>` | hash | `e:<type>:ok`, `e:<type>:fail` |
//! | `hours:<webhook>` | string | both rings of hours, see [`hours`] |
//! | `mbox:<webhook>`, `retry:<webhook>` | | what is pending |

mod figures;
pub mod hours;

use std::collections::BTreeMap;

use redis::{Cmd, FromRedisValue, Value};

pub use figures::{Attempts, Figures, ResponseTimes};

use super::keys::owner_hash;
use super::{Error, Keys, Redis};
use crate::domain::{Millis, Partition, Tenant, UserId, WebhookId};

/// Upper bounds (inclusive, ms) of the response-time buckets; a last bucket holds what is slower.
pub const BOUNDS_MS: [u32; 28] = [
    1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000,
    7000, 10_000, 20_000, 30_000,
];

/// The bucket of a response time: an index into [`BOUNDS_MS`], or its length for what is slower than all.
pub fn bucket_of(elapsed_ms: u32) -> usize {
    BOUNDS_MS.partition_point(|bound| *bound < elapsed_ms)
}

/// The figures of `user` at `now`, added up over `partitions`: those that hold webhooks of the tenant. Each lies whole in
/// one hash, so they are exact whichever node reads them; what happens between the reads counts or not.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read(
    redis: &Redis,
    keys: &Keys,
    partitions: &[Partition],
    tenant: &Tenant,
    user: &UserId,
    now: Millis,
) -> Result<Figures, Error> {
    let name = format!("stats:{}", owner_hash(tenant, user));
    let read = |partition: &Partition| redis::cmd("HGETALL").arg(keys.key(*partition, &name)).to_owned();
    let reads: Vec<Cmd> = partitions.iter().map(read).collect();
    let hashes: Vec<BTreeMap<String, String>> = redis.each(&reads).await?;
    let mut figures = Figures::new(now);
    for hash in &hashes {
        figures.add(hash);
    }
    Ok(figures)
}

/// The figures of one webhook at `now`. All zeros where nothing has been kept.
///
/// # Errors
/// As [`Redis::query`].
pub async fn read_webhook(
    redis: &Redis,
    keys: &Keys,
    partition: Partition,
    webhook: &WebhookId,
    now: Millis,
) -> Result<Figures, Error> {
    let read = |command: &str, kind: &str| {
        redis::cmd(command).arg(keys.of_webhook(partition, kind, webhook)).to_owned()
    };
    let mut totals = read("HMGET", "count");
    totals.arg(&["delivered", "dead"]);
    let reads = [
        totals,
        read("XLEN", "mbox"),
        read("ZCARD", "retry"),
        read("HGETALL", "types"),
        read("GET", "hours"),
    ];
    let answers: Vec<Value> = redis.each(&reads).await?;
    let [totals, queued, retried, types, hours]: [Value; 5] =
        answers.try_into().map_err(|_| super::events::unreadable("statistics"))?;
    let totals: Vec<Option<u64>> = parsed(totals)?;
    let total = |at: usize| totals.get(at).copied().flatten().unwrap_or_default();
    let mut figures = Figures::new(now);
    figures.pending = parsed::<u64>(queued)? + parsed::<u64>(retried)?;
    (figures.delivered, figures.dead) = (total(0), total(1));
    figures.add_events(&parsed(types)?);
    let bytes: Option<Vec<u8>> = parsed(hours)?;
    figures.add_hours(hours::Hours(bytes.as_deref().unwrap_or_default()));
    Ok(figures)
}

fn parsed<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|error| redis::RedisError::from(error).into())
}

#[cfg(test)]
mod tests;
