//! How fast a webhook's attempts may start: governor's GCRA on a clock that is set by hand.
//!
//! The clock is the lane's `now`, so the same limiter runs in tests and simulations; governor's own clock would also
//! cost several microseconds a reading on a virtual machine.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::domain::Millis;

/// A clock that shows what it was set to.
#[derive(Clone, Debug, Default)]
struct SetClock(Rc<Cell<Duration>>);

impl Clock for SetClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.get()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, SetClock, NoOpMiddleware<<SetClock as Clock>::Instant>>;

/// A limit of starts a second with a burst of a tenth of a second's worth, at least 1.
#[derive(Debug)]
pub struct Pace {
    limiter: Limiter,
    clock: SetClock,
    started: Cell<Option<Millis>>,
}

impl Pace {
    /// `per_second` starts; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(per_second / 10));
        let clock = SetClock::default();
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            started: Cell::new(None),
        }
    }

    /// Takes one start, or tells how long to wait for one, at least a millisecond.
    ///
    /// # Errors
    /// The wait.
    pub fn take(&self, now: Millis) -> Result<(), Duration> {
        let started = self.started.get().unwrap_or(now);
        self.started.set(Some(started));
        // A clock that was set back stands still until it has caught up.
        self.clock.0.set(now.since(started).max(self.clock.0.get()));
        self.limiter.check().map_err(|not_until| {
            let wait = not_until.earliest_possible().duration_since(self.clock.0.get());
            Duration::from(wait).max(Duration::from_millis(1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started_within(pace: &Pace, from: u64, ms: u64) -> usize {
        (from..from + ms).filter(|at| pace.take(Millis(*at)).is_ok()).count()
    }

    #[test]
    fn a_second_has_as_many_starts_as_allowed() {
        for rate in [1, 7, 10, 100, 900] {
            let pace = Pace::new(rate);
            let burst = (rate as usize / 10).max(1);
            let first = started_within(&pace, 1_000_000, 1000);
            assert!(first <= rate as usize + burst, "{rate}: {first}");
            let second = started_within(&pace, 1_001_000, 1000);
            assert!((rate as usize - 1..=rate as usize + 1).contains(&second), "{rate}: {second}");
        }
    }

    #[test]
    fn the_wait_is_long_enough_and_no_longer() {
        let pace = Pace::new(2);
        assert_eq!(pace.take(Millis(10)), Ok(()));
        let wait = pace.take(Millis(10)).expect_err("the burst is one");
        assert_eq!(wait, Duration::from_millis(500));
        assert!(pace.take(Millis(509)).is_err());
        assert_eq!(pace.take(Millis(510)), Ok(()));
    }

    #[test]
    fn a_clock_set_back_neither_panics_nor_frees_anything() {
        let pace = Pace::new(1);
        assert_eq!(pace.take(Millis(5_000)), Ok(()));
        assert!(pace.take(Millis(1_000)).is_err());
    }
}
