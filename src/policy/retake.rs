//! How often partitions that are ours may be taken anew after a disturbance of Redis.
//!
//! Taking anew reads all records again. A Redis that answers late must not be met with more load after every late answer,
//! so the interval grows while disturbances go on. Nothing is lost by waiting: as long as the servers are the same ones,
//! they hold what they held. Servers that were replaced may not, and then there is no waiting but the shortest.

use std::time::{Duration, Instant};

/// The interval after a single disturbance.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// The longest interval.
pub const LONGEST: Duration = Duration::from_secs(30);
/// After so long without a disturbance the interval is the shortest again.
pub const QUIET: Duration = Duration::from_secs(60);

/// The pace of takings anew.
#[derive(Clone, Debug)]
pub struct Pace {
    last: Option<Instant>,
    interval: Duration,
    /// How often the servers had been replaced at the last one.
    replacements: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last: None, interval: SHORTEST, replacements: 0 }
    }
}

impl Pace {
    /// Whether partitions may be taken anew at `now`; the servers were replaced `replacements` times so far.
    pub fn is_due(&self, now: Instant, replacements: u64) -> bool {
        let interval = if replacements == self.replacements { self.interval } else { SHORTEST };
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= interval)
    }

    /// Partitions were taken anew at `now`.
    pub fn taken(&mut self, now: Instant, replacements: u64) {
        let since = self.last.map(|last| now.saturating_duration_since(last));
        let repeats =
            since.is_some_and(|since| since < self.interval + QUIET) && replacements == self.replacements;
        self.interval = if repeats { (self.interval * 2).min(LONGEST) } else { SHORTEST };
        self.last = Some(now);
        self.replacements = replacements;
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_while_disturbances_go_on_and_is_short_again_after_a_quiet_time() {
        let (mut now, mut pace) = (Instant::now(), Pace::default());
        assert!(pace.is_due(now, 0), "the first has nothing to wait for");
        pace.taken(now, 0);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let interval = Duration::from_secs(seconds);
            assert!(!pace.is_due(now + interval - Duration::from_millis(1), 0), "{seconds}");
            now += interval;
            assert!(pace.is_due(now, 0), "{seconds}");
            pace.taken(now, 0);
        }
        now += LONGEST + QUIET;
        pace.taken(now, 0);
        assert!(pace.is_due(now + SHORTEST, 0));
    }

    #[test]
    fn servers_that_were_replaced_are_not_waited_for() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        for second in 0..5 {
            pace.taken(start + Duration::from_secs(second), 0);
        }
        let last = start + Duration::from_secs(4);
        assert!(!pace.is_due(last + SHORTEST, 0));
        assert!(!pace.is_due(last + SHORTEST / 2, 1));
        assert!(pace.is_due(last + SHORTEST, 1));
        pace.taken(last + SHORTEST, 1);
        assert!(pace.is_due(last + 2 * SHORTEST, 1));
    }
}
