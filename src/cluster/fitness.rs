//! Looks whether Redis is still what it was when the node started.
//!
//! After a fail-over another server answers, which may keep no file or evict what it holds: what was checked at the start
//! says nothing of it. The node tells and goes on, for stopping would lose more than it saves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::Config;
use crate::store::{Redis, preflight};
use crate::telemetry::events as facts;

/// How often it is looked whether the servers are the same ones.
const IDENTIFY_EVERY: Duration = Duration::from_secs(1);
/// How often servers that are the same are checked all the same: settings can be changed in a running one.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// Watches until the task is dropped.
pub async fn watch(redis: Redis, config: Arc<Config>) {
    let mut known = Vec::new();
    let mut last: Option<(Instant, u64)> = None;
    loop {
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
                (known, last) = (faults, Some((now, replacements)));
            }
        }
        tokio::time::sleep(IDENTIFY_EVERY).await;
    }
}
