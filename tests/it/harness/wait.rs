//! Waiting for what must come.

use std::time::{Duration, Instant};

/// The usual deadline: far more than anything takes, so that a slow machine is not a failure.
pub const SOON: Duration = Duration::from_secs(20);

/// Looks until `look` finds something, at most until `limit` has passed.
///
/// # Panics
/// Nothing was found in time; the message names `what`.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
