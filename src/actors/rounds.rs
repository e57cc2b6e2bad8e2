//! When what nothing waits for is written to Redis: in rounds, for all partitions of an arbiter together.
//!
//! What a call writes of a webhook and of its owner is written once, however many outcomes it has, so it pays to let outcomes
//! gather: the more come, the longer ([`length`]). Where few come a round is over at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// The longest round.
const MOST: Duration = Duration::from_millis(200);
/// So many outcomes a second make it that long. Measured at 100 webhooks and full load: calls of forty outcomes a webhook cost
/// Redis half as much a delivery as calls of two.
const MANY: f64 = 5_000.0;
/// Over what time outcomes are counted, at least.
const SPAN: Duration = Duration::from_millis(100);

/// The rounds of one arbiter.
#[derive(Debug)]
pub struct Rounds {
    round: Cell<u64>,
    due: Cell<Instant>,
    /// How many outcomes there were, and since when.
    count: Cell<usize>,
    since: Cell<Instant>,
    length: Cell<Duration>,
}

impl Rounds {
    /// The first round begins.
    pub fn new(now: Instant) -> Self {
        Self {
            round: Cell::new(0),
            due: Cell::new(now),
            count: Cell::new(0),
            since: Cell::new(now),
            length: Cell::new(Duration::ZERO),
        }
    }

    /// Notes outcomes.
    pub fn count(&self, outcomes: usize) {
        self.count.set(self.count.get() + outcomes);
    }

    /// The round of now, and when the next one begins.
    pub fn at(&self, now: Instant) -> (u64, Instant) {
        if now >= self.due.get() {
            self.round.set(self.round.get() + 1);
            self.due.set(now + self.next_length(now));
        }
        (self.round.get(), self.due.get())
    }

    fn next_length(&self, now: Instant) -> Duration {
        let span = now.saturating_duration_since(self.since.get());
        if span >= SPAN {
            self.length.set(length(self.count.take(), span));
            self.since.set(now);
        }
        self.length.get()
    }
}

/// How long a round is where so many outcomes came in `span`.
fn length(outcomes: usize, span: Duration) -> Duration {
    let a_second = outcomes as f64 / span.as_secs_f64();
    MOST.mul_f64((a_second / MANY).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_outcomes_come_the_longer_a_round() {
        let second = Duration::from_secs(1);
        assert!(length(20, second) < Duration::from_millis(1));
        assert_eq!(length(2_500, second), MOST / 2);
        assert_eq!(length(100_000, second), MOST);
    }

    #[test]
    fn a_round_is_one_for_all_who_ask_before_it_ends() {
        let begun = crate::clock::monotonic();
        let rounds = Rounds::new(begun);
        assert_eq!(rounds.at(begun), (1, begun), "nothing is known yet: it is over at once");
        rounds.count(10_000);
        let later = begun + SPAN;
        let (round, due) = rounds.at(later);
        assert_eq!((round, due), (2, later + MOST));
        assert_eq!(rounds.at(due - Duration::from_millis(1)), (2, due));
        let (round, next) = rounds.at(due);
        assert_eq!((round, next), (3, due), "none came since");
    }
}
