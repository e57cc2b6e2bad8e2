//! What waits in each partition that this node owns, for the gauges: noted where it is known, added up at a scrape.
//!
//! Nothing here is read from Redis: the counts come with each renewal of a lease, what waits in memory from the webhooks'
//! actors. At most a second old. Bounded by the number of partitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::{Millis, Partition};
use crate::policy::pauses::Counts;
use crate::policy::waiting::Waiting;

/// What Redis holds of a partition, as the last renewal of its lease said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    /// Deliveries that are queued or between two attempts.
    pub pending: u64,
    /// Entries that await matching.
    pub undispatched: u64,
    /// Since when the oldest of those waits.
    pub oldest_undispatched: Option<Millis>,
}

/// All partitions together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// As [`Queued::pending`].
    pub pending: u64,
    /// As [`Queued::undispatched`].
    pub undispatched: u64,
    /// The oldest of all; what awaits matching waits on the node.
    pub waiting: Waiting,
    /// The webhooks by the state of their breakers.
    pub breakers: Counts,
}

/// What is known of one.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    queued: Queued,
    waiting: Waiting,
    breakers: Counts,
}

#[derive(Debug, Default)]
struct Partitions(BTreeMap<Partition, Known>);

impl Partitions {
    fn sum(&self) -> Sum {
        self.0.values().fold(Sum::default(), |sum, Known { queued, waiting, breakers }| Sum {
            pending: sum.pending + queued.pending,
            undispatched: sum.undispatched + queued.undispatched,
            waiting: sum
                .waiting
                .or(*waiting)
                .or(Waiting { on_node: queued.oldest_undispatched, on_webhook: None }),
            breakers: sum.breakers.plus(*breakers),
        })
    }
}

static OWNED: Mutex<Partitions> = Mutex::new(Partitions(BTreeMap::new()));

fn with<T>(work: impl FnOnce(&mut BTreeMap<Partition, Known>) -> T) -> T {
    work(&mut OWNED.lock().unwrap_or_else(PoisonError::into_inner).0)
}

/// A renewal of its lease said so; from here on the partition counts.
pub fn queued(partition: Partition, queued: Queued) {
    with(|all| all.entry(partition).or_default().queued = queued);
}

/// Its webhooks' actors said so. Of one that is not ours any more it changes nothing.
pub fn waiting(partition: Partition, waiting: Waiting) {
    with(|all| {
        if let Some(known) = all.get_mut(&partition) {
            known.waiting = waiting;
        }
    });
}

/// Its actor said so; likewise.
pub fn breakers(partition: Partition, breakers: Counts) {
    with(|all| {
        if let Some(known) = all.get_mut(&partition) {
            known.breakers = breakers;
        }
    });
}

/// The partition is not ours any more.
pub fn gone(partition: Partition) {
    with(|all| all.remove(&partition));
}

/// All partitions together, now.
pub fn sum() -> Sum {
    OWNED.lock().unwrap_or_else(PoisonError::into_inner).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_up_and_the_oldest_of_all_is_kept() {
        let queued = |pending, undispatched, oldest: Option<u64>| Queued {
            pending,
            undispatched,
            oldest_undispatched: oldest.map(Millis),
        };
        let waiting = |on_node: Option<u64>, on_webhook: Option<u64>| Waiting {
            on_node: on_node.map(Millis),
            on_webhook: on_webhook.map(Millis),
        };
        assert_eq!(Partitions::default().sum(), Sum::default());
        let mut all = Partitions::default();
        let mut insert = |n, queued, waiting, flowing| {
            let breakers = Counts { flowing, paused: 1, probing: 0 };
            all.0.insert(Partition(n), Known { queued, waiting, breakers });
        };
        insert(0, queued(3, 0, None), waiting(Some(50), None), 5);
        insert(1, queued(4, 2, Some(40)), waiting(None, Some(60)), 0);
        insert(2, queued(0, 0, None), waiting(Some(45), Some(70)), 2);
        let breakers = Counts { flowing: 7, paused: 3, probing: 0 };
        let sum = Sum { pending: 7, undispatched: 2, waiting: waiting(Some(40), Some(60)), breakers };
        assert_eq!(all.sum(), sum, "what awaits matching waits on the node");
    }

    #[test]
    fn what_is_told_late_of_a_lost_partition_is_not_kept() {
        // Of no other test: the registry is the process's.
        let partition = Partition(1023);
        let since = Waiting { on_node: Some(Millis(1)), on_webhook: None };
        waiting(partition, since);
        assert!(with(|all| !all.contains_key(&partition)));
        queued(partition, Queued::default());
        waiting(partition, since);
        assert_eq!(with(|all| all[&partition].waiting), since);
        gone(partition);
        waiting(partition, since);
        assert!(with(|all| !all.contains_key(&partition)));
    }
}
