//! Looks whether Redis is still what it was when the node started, and whether it has room left.
//!
//! After a fail-over another server answers, which may keep no file or evict what it holds: what was checked at the start
//! says nothing of it. The node tells and goes on, for stopping would lose more than it saves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::Config;
use crate::policy::sealing::Keyring;
use crate::store::{Keys, Redis, encryption, preflight};
use crate::telemetry::events as facts;

/// How often it is looked whether the servers are the same ones.
const IDENTIFY_EVERY: Duration = Duration::from_secs(1);
/// How often servers that are the same are checked all the same: settings can be changed in a running one.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Set while Redis has hardly any room left: what is kept for convenience alone is let go then, so that events are taken
/// again.
pub type Scarcity = Arc<AtomicBool>;

/// Watches until the task is dropped.
pub async fn watch(redis: Redis, config: Arc<Config>, keyring: Arc<Keyring>, scarcity: Scarcity) {
    let keys = Keys::new(&config.redis.prefix);
    let mut known = Vec::new();
    let mut last: Option<(Instant, u64)> = None;
    loop {
        if let Ok(memory) = redis.memory().await {
            let before = scarcity.load(Ordering::Relaxed);
            let now = is_scarce(memory.share(), before);
            scarcity.store(now, Ordering::Relaxed);
            facts::memory_looked_at(memory, before, now);
        }
        // Servers that cannot be named cannot be checked either; the next time they can.
        if redis.identity().await.is_ok() {
            let (now, replacements) = (clock::monotonic(), redis.replacements());
            let is_known = |(at, of): (Instant, u64)| {
                of == replacements && now.saturating_duration_since(at) < CHECK_EVERY
            };
            if !last.is_some_and(is_known)
                && let Ok(faults) = preflight::faults(&redis, &config.redis).await
            {
                facts::redis_checked(&known, &faults);
                // It may have been taken out while this node still writes with it, or lost with all of Redis.
                if let Err(error) = encryption::note(&redis, &keys, &keyring, clock::now()).await {
                    facts::key_not_noted(&error);
                }
                (known, last) = (faults, Some((now, replacements)));
            }
        }
        tokio::time::sleep(IDENTIFY_EVERY).await;
    }
}

/// Whether room is scarce when `share` of it is used, and was `before`.
fn is_scarce(share: f64, before: bool) -> bool {
    /// Below the limit itself: from there on nothing is taken any more.
    const SCARCE_FROM: f64 = 0.9;
    /// Well below, so that it does not change back and forth.
    const ENOUGH_BELOW: f64 = 0.8;
    share >= SCARCE_FROM || (before && share >= ENOUGH_BELOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_scarce_near_the_limit_and_until_well_below_it() {
        for (share, before, scarce) in [
            (0.0, false, false),
            (0.89, false, false),
            (0.9, false, true),
            (0.85, true, true),
            (0.79, true, false),
        ] {
            assert_eq!(is_scarce(share, before), scarce, "{share} {before}");
        }
    }
}
