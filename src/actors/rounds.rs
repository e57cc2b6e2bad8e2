//! When what nothing waits for is written to Redis: in rounds, for all partitions of an arbiter together.
//!
//! What a call writes of a webhook and of its owner is written once, however many outcomes it has, so it pays to let outcomes
//! gather: the more come, the longer ([`length`]). Where few come a round is over at once.
//!
//! The rounds of partitions begin one after the other, in [`PARTS`] groups: what is written all at once keeps Redis from publications for
//! as long as that takes, 15 ms at 10,000 deliveries a second.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::domain::Partition;

/// The longest round.
const MOST: Duration = Duration::from_millis(200);
/// So many outcomes a second make it that long. Measured at 100 webhooks and full load: calls of forty outcomes a webhook cost
/// Redis half as much a delivery as calls of two.
const MANY: f64 = 5_000.0;
/// Over what time outcomes are counted, at least.
const SPAN: Duration = Duration::from_millis(100);
/// The parts of a round, in each of which some partitions begin theirs.
const PARTS: u32 = 8;

/// The rounds of one arbiter.
#[derive(Debug)]
pub struct Rounds {
    /// How many parts there have been.
    part: Cell<u64>,
    /// When the next one begins.
    due: Cell<Instant>,
    /// How many outcomes there were, and since when.
    count: Cell<usize>,
    since: Cell<Instant>,
    /// Of a part.
    length: Cell<Duration>,
}

impl Rounds {
    /// The first round begins.
    pub fn new(now: Instant) -> Self {
        Self {
            part: Cell::new(0),
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

    /// The round of a partition at `now`, one of so many threads' partitions, and when its next one begins.
    pub fn at(&self, now: Instant, partition: Partition, threads: usize) -> (u64, Instant) {
        if now >= self.due.get() {
            let late = now.saturating_duration_since(self.due.get());
            let length = self.next_length(now);
            // No more than a whole round is caught up with.
            let parts = 1 + (late.as_nanos() / length.as_nanos().max(1)).min(u128::from(PARTS)) as u64;
            self.part.set(self.part.get() + parts);
            self.due.set(now + length);
        }
        let parts = u64::from(PARTS);
        // Those of one thread are so many apart.
        let place = (usize::from(partition.0) / threads.max(1)) as u64 % parts;
        let part = self.part.get() + parts - 1 - place;
        let left = parts - 1 - part % parts;
        (part / parts, self.due.get() + self.length.get() * left as u32)
    }

    fn next_length(&self, now: Instant) -> Duration {
        let span = now.saturating_duration_since(self.since.get());
        if span >= SPAN {
            self.length.set(length(self.count.take(), span) / PARTS);
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
    fn partitions_begin_their_rounds_one_after_the_other() {
        let begun = crate::clock::monotonic();
        let rounds = Rounds::new(begun);
        let at = |now, partition| rounds.at(now, Partition(partition), 2);
        assert_eq!(at(begun, 0).1, begun, "nothing is known yet: it is over at once");
        rounds.count(10_000);
        let (part, begun) = (MOST / PARTS, begun + SPAN);
        let (first, _) = at(begun, 0);
        // Of each: its round at the beginning of each part of the next two rounds, and how far its next one is then.
        for n in 1..=2 * PARTS {
            let now = begun + part * n;
            rounds.count(10_000);
            for partition in 0..64_u16 {
                let (round, next) = at(now, partition);
                let (again, due) = (at(now, partition), next - now);
                assert_eq!(again, (round, next), "all who ask in a part are told the same");
                assert!(due > Duration::ZERO && due <= MOST, "{partition}: {due:?}");
                assert!(round.abs_diff(first + u64::from(n / PARTS)) <= 1);
            }
            let begins = (0..64_u16).filter(|partition| at(now, *partition).1 - now == MOST).count();
            assert_eq!(begins, 8, "an eighth of them begin now");
        }
        let (round, _) = at(begun + 3 * MOST, 0);
        assert!(round > first + 2, "who comes late finds that it has begun");
    }
}
