//! What a node did in the last minute, and what all of them did together.
//!
//! A node samples its counters at intervals and tells the others the difference over the last minute ([`Ring`]). Whoever
//! is asked for the cluster's figures adds up what the living told ([`merge`]).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::histogram::{percentile, rounded};
use crate::domain::NodeId;

/// How often a node takes a sample and tells what follows from it.
pub const EVERY: Duration = Duration::from_secs(10);
/// What is called the last minute; what a node told longer ago does not count.
pub const WINDOW: Duration = Duration::from_secs(60);
/// Samples that are held.
const MOST_SAMPLES: usize = 7;
/// The longest response time, in ms: no webhook's timeout is longer.
const SLOWEST_MS: f64 = 60_000.0;

/// The counters of a process at one moment. They never go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Deliveries that have ended.
    pub ended: u64,
    /// How long attempts took.
    pub times: Times,
}

/// How long attempts took, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Upper bounds of the buckets but the last, in µs.
    pub bounds_us: Vec<u64>,
    /// Attempts in each bucket; the last holds what is slower than all bounds.
    pub buckets: Vec<u64>,
    /// All times added up, in µs.
    pub sum_us: u64,
}

/// What a node tells of its last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The length of what is called its last minute: less after a start.
    pub window_ms: u64,
    /// Deliveries that ended in it.
    pub ended: u64,
    /// Attempts on their way at its end.
    pub in_flight: u64,
    /// Deliveries that waited at its end.
    pub backlog: u64,
    /// The attempts in it.
    pub times: Times,
}

/// A snapshot as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who told it.
    pub node: NodeId,
    /// How long ago.
    pub age: Duration,
    /// What.
    pub snapshot: Snapshot,
}

/// All nodes together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterFigures {
    /// Nodes that live and have told.
    pub nodes: usize,
    /// Deliveries that ended, a second.
    pub deliveries_per_second: f64,
    /// Attempts on their way.
    pub in_flight: u64,
    /// Deliveries that wait.
    pub backlog: u64,
    /// The attempts.
    pub times: Times,
}

/// The samples of the last minute, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    samples: VecDeque<(Instant, Sample)>,
}

impl Ring {
    /// Adds a sample taken at `now` and lets go those that are more than a minute older.
    pub fn push(&mut self, now: Instant, sample: Sample) {
        self.samples.push_back((now, sample));
        let is_old = |(at, _): &(Instant, Sample)| now.saturating_duration_since(*at) > WINDOW;
        while self.samples.len() > MOST_SAMPLES || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    /// What happened between the oldest sample and the newest; nothing while there are none.
    pub fn snapshot(&self, in_flight: u64, backlog: u64) -> Snapshot {
        let (Some((from, oldest)), Some((to, newest))) = (self.samples.front(), self.samples.back()) else {
            return Snapshot { in_flight, backlog, ..Snapshot::default() };
        };
        Snapshot {
            window_ms: u64::try_from(to.saturating_duration_since(*from).as_millis()).unwrap_or(u64::MAX),
            ended: newest.ended.saturating_sub(oldest.ended),
            in_flight,
            backlog,
            times: newest.times.since(&oldest.times),
        }
    }
}

impl Times {
    fn since(&self, earlier: &Self) -> Self {
        let before = earlier.buckets.iter().copied().chain(std::iter::repeat(0));
        Self {
            bounds_us: self.bounds_us.clone(),
            buckets: self.buckets.iter().zip(before).map(|(now, then)| now.saturating_sub(then)).collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// Adds what was counted in the same buckets; other buckets (a node of another version has them) cannot be added.
    fn add(&mut self, other: &Self) {
        if other.buckets.len() != other.bounds_us.len() + 1 {
            return;
        }
        if self.buckets.is_empty() {
            *self = other.clone();
        } else if self.bounds_us == other.bounds_us {
            self.buckets.iter_mut().zip(&other.buckets).for_each(|(sum, n)| *sum = sum.saturating_add(*n));
            self.sum_us = self.sum_us.saturating_add(other.sum_us);
        }
    }

    /// The mean, in ms. `None` when there were no attempts.
    pub fn average_ms(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| rounded(self.sum_us as f64 / count as f64 / 1000.0, 1))
    }

    /// The time that `percent` (0..=100) of the attempts did not exceed, in ms; exact to its bucket. `None` when there were
    /// no attempts.
    pub fn percentile_ms(&self, percent: u8) -> Option<f64> {
        let upper = |i: usize| self.bounds_us.get(i).map_or(SLOWEST_MS, |bound| *bound as f64 / 1000.0);
        // What another wrote may not be possible.
        let buckets = if self.count() == u64::MAX { &[] } else { &self.buckets[..] };
        percentile(buckets, upper, percent).map(|ms| rounded(ms, 1))
    }

    fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))
    }
}

/// Adds up what the nodes of `live` told within the last minute.
pub fn merge<'a>(told: impl IntoIterator<Item = &'a Told>, live: &BTreeSet<NodeId>) -> ClusterFigures {
    let counts = |told: &&Told| told.age <= WINDOW && live.contains(&told.node);
    let mut sum = ClusterFigures::default();
    for Told { snapshot, .. } in told.into_iter().filter(counts) {
        sum.nodes += 1;
        if snapshot.window_ms > 0 {
            sum.deliveries_per_second += snapshot.ended as f64 * 1000.0 / snapshot.window_ms as f64;
        }
        sum.in_flight = sum.in_flight.saturating_add(snapshot.in_flight);
        sum.backlog = sum.backlog.saturating_add(snapshot.backlog);
        sum.times.add(&snapshot.times);
    }
    sum.deliveries_per_second = rounded(sum.deliveries_per_second, 2);
    sum
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    fn times(buckets: [u64; 3], sum_us: u64) -> Times {
        Times { bounds_us: vec![1000, 10_000], buckets: buckets.to_vec(), sum_us }
    }

    fn sample(ended: u64) -> Sample {
        Sample { ended, times: times([ended, 2 * ended, 0], 100 * ended) }
    }

    fn told(node: &str, age: u64, snapshot: Snapshot) -> Told {
        Told { node: node.parse().expect("a node id"), age: Duration::from_secs(age), snapshot }
    }

    fn live(names: &[&str]) -> BTreeSet<NodeId> {
        names.iter().map(|name| name.parse().expect("a node id")).collect()
    }

    #[test]
    fn the_ring_tells_the_difference_over_the_last_minute() {
        // (seconds of the samples, each of which has as many deliveries as seconds; the window; ended in it)
        let cases: [(&[u64], u64, u64); 7] = [
            (&[], 0, 0),
            (&[5], 0, 0),
            (&[0, 10], 10, 10),
            (&[0, 10, 20, 30, 40, 50, 60], 60, 60),
            (&[0, 10, 20, 30, 40, 50, 60, 70, 80], 60, 60),
            // The process was stopped for two minutes.
            (&[0, 10, 130], 0, 0),
            // Many samples: the oldest are let go.
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8], 6, 6),
        ];
        let start = Instant::now();
        for (seconds, window, ended) in cases {
            let mut ring = Ring::default();
            for second in seconds {
                ring.push(start + Duration::from_secs(*second), sample(*second));
            }
            let snapshot = ring.snapshot(3, 4);
            assert_eq!((snapshot.window_ms, snapshot.ended), (window * 1000, ended), "{seconds:?}");
            assert_eq!((snapshot.in_flight, snapshot.backlog), (3, 4));
            assert_eq!(snapshot.times.count(), 3 * ended, "{seconds:?}");
            assert_eq!(snapshot.times.sum_us, 100 * ended, "{seconds:?}");
        }
    }

    #[test]
    fn what_living_nodes_told_lately_is_added_up() {
        let snapshot = |window_ms, ended, buckets| Snapshot {
            window_ms,
            ended,
            in_flight: 1,
            backlog: 10,
            times: times(buckets, 9000),
        };
        let all = [
            told("a", 0, snapshot(60_000, 60, [1, 1, 0])),
            told("b", 60, snapshot(10_000, 25, [0, 0, 2])),
            told("c", 61, snapshot(60_000, 600, [0, 0, 9])),
            told("d", 1, snapshot(0, 0, [0, 0, 0])),
        ];
        // (who lives, nodes, a second)
        let cases: [(&[&str], usize, f64); 5] = [
            (&["a", "b", "c", "d"], 3, 3.5),
            (&["a"], 1, 1.0),
            (&["c"], 0, 0.0),
            (&["d"], 1, 0.0),
            (&["e"], 0, 0.0),
        ];
        for (names, nodes, rate) in cases {
            let sum = merge(&all, &live(names));
            assert_eq!((sum.nodes, sum.deliveries_per_second), (nodes, rate), "{names:?}");
            assert_eq!((sum.in_flight, sum.backlog), (nodes as u64, 10 * nodes as u64), "{names:?}");
        }
        let sum = merge(&all, &live(&["a", "b"]));
        assert_eq!(sum.times, times([1, 1, 2], 18_000));
        assert_eq!((sum.times.average_ms(), sum.times.percentile_ms(50)), (Some(4.5), Some(10.0)));
        assert_eq!(sum.times.percentile_ms(99), Some(58_800.2));
        let none = merge(&all, &live(&[])).times;
        assert_eq!((none.average_ms(), none.percentile_ms(50)), (None, None));
    }

    #[test]
    fn a_node_that_was_killed_counts_no_more_within_a_minute_though_nobody_has_noticed() {
        let ages = |age| [told("a", 0, Snapshot::default()), told("dead", age, Snapshot::default())];
        let live = live(&["a", "dead"]);
        assert_eq!(merge(&ages(60), &live).nodes, 2);
        assert_eq!(merge(&ages(61), &live).nodes, 1);
    }

    #[test]
    fn buckets_of_another_version_are_not_mixed_in() {
        let other = Times { bounds_us: vec![5], buckets: vec![7, 7], sum_us: 1 };
        let broken = Times { bounds_us: vec![5], buckets: vec![7], sum_us: 1 };
        let with = |times: &Times| Snapshot {
            times: times.clone(),
            ended: 1,
            window_ms: 1000,
            ..Snapshot::default()
        };
        let all = [
            told("a", 0, with(&broken)),
            told("b", 0, with(&times([1, 2, 3], 4))),
            told("c", 0, with(&other)),
        ];
        let sum = merge(&all, &live(&["a", "b", "c"]));
        assert_eq!((sum.nodes, sum.deliveries_per_second), (3, 3.0), "the rest of it counts");
        assert_eq!(sum.times, times([1, 2, 3], 4));
    }

    #[test]
    fn impossible_numbers_do_no_harm() {
        let huge = Snapshot {
            window_ms: 1,
            ended: u64::MAX,
            in_flight: u64::MAX,
            backlog: u64::MAX,
            times: times([u64::MAX; 3], u64::MAX),
        };
        let all = [told("a", 0, huge.clone()), told("b", 0, huge)];
        let sum = merge(&all, &live(&["a", "b"]));
        assert_eq!((sum.in_flight, sum.times.percentile_ms(50)), (u64::MAX, None));
    }
}
