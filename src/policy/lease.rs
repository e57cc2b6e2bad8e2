//! When a lease that another node holds may be taken: its token and beat must stand still for long enough, on our own
//! monotonic clock, with every look answered.
//!
//! An outage of Redis moves nothing: a look that was not answered starts the watch anew.

use std::time::{Duration, Instant};

/// How long a lease must stand still before it may be taken, and how long a holder may rely on one renewal.
pub const TERM: Duration = Duration::from_secs(4);
/// What a holder leaves of [`TERM`] for the differences between clocks.
pub const MARGIN: Duration = Duration::from_millis(500);
/// How often the holder shows that it lives.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often a wanted lease is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Until when the holder may start attempts after a renewal that was sent at `sent`.
pub fn valid_until(sent: Instant) -> Instant {
    sent + TERM - MARGIN
}

/// One node's watch over one lease that it wants.
#[derive(Clone, Debug, Default)]
pub struct Watch<S> {
    seen: Option<(S, Instant)>,
}

impl<S: PartialEq> Watch<S> {
    /// A watch that has seen nothing.
    pub fn new() -> Self {
        Self { seen: None }
    }

    /// Notes what a look at `now` showed; `true` when it has not changed for the whole [`TERM`].
    pub fn saw(&mut self, state: S, now: Instant) -> bool {
        match &self.seen {
            Some((before, since)) if *before == state => now.saturating_duration_since(*since) >= TERM,
            _ => {
                self.seen = Some((state, now));
                false
            }
        }
    }

    /// Notes that a look was not answered.
    pub fn missed(&mut self) {
        self.seen = None;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_that_stood_still_for_the_whole_term_may_be_taken() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Watch::new();
        assert!(!watch.saw(("t", 1), at(0)));
        assert!(!watch.saw(("t", 1), at(3_999)));
        assert!(watch.saw(("t", 1), at(4_000)));
        assert!(!watch.saw(("t", 2), at(4_100)), "it beat");
        assert!(!watch.saw(("t", 2), at(8_000)));
        watch.missed();
        assert!(!watch.saw(("t", 2), at(8_200)), "an unanswered look starts anew");
        assert!(watch.saw(("t", 2), at(12_200)));
    }

    #[test]
    fn a_holder_stops_before_the_lease_can_be_taken() {
        let sent = Instant::now();
        assert!(valid_until(sent) < sent + TERM);
        assert!(RENEW_EVERY * 3 < TERM - MARGIN, "three renewals may fail");
    }
}
