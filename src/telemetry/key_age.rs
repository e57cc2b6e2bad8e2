//! How long ago the identity provider's keys were read, for the gauge: noted where it is known, told at a scrape.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// `None` = no keys are read.
static SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Counts from `now`.
pub(super) fn begin(now: Instant) {
    *SINCE.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
}

/// The age at `now`; zero where no keys are read.
pub(super) fn at(now: Instant) -> Duration {
    let since = *SINCE.lock().unwrap_or_else(PoisonError::into_inner);
    since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
}
