//! The clocks. The only place that reads them.
//!
//! Decisions take the time as an argument; who carries them out asks here. That keeps every decision replayable, and it
//! is what `.clippy.toml` enforces by refusing the std clocks everywhere else.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Millis;

/// The wall clock: for what is stored, signed or shown. May jump, also backwards.
///
/// A clock set before 1970 reads as 1970.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(Millis::MAX.0))
}

/// The wall clock in nanoseconds since 1970: for what is shown finer than [`now`] tells.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn unix_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

/// The monotonic clock: for spans and deadlines within this process. Never runs backwards.
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_knows_this_century() {
        let this_century = Millis::parse_rfc3339("2024-01-01T00:00:00Z").unwrap();
        assert!(now() > this_century && now() < Millis::MAX);
    }
}
