//! How much one read of events streams may bring.
//!
//! A read that asks for too much is not answered in time, and is asked again: so the first one asks for little, and more
//! only as answers show that entries are small. What they were says nothing of what comes, so a second bound holds
//! whatever comes: as if every entry were as large as one can be.

use crate::store::events::Entry;

/// What one read should bring, in bytes, by the average size of what came before.
const BYTES: usize = 4 << 20;
/// The most that one read can bring, in bytes, if every entry is as large as one can be. All arbiters of a node share it. With half of that
/// a busy partition among 64 was read slower than it was published to.
const MOST_BYTES: usize = 128 << 20;
/// The most entries that one read may bring of one partition.
const MOST_ENTRIES: usize = 512;
/// What an entry holds besides the event as it was published, at most.
const AROUND: usize = 4096;

/// See the module's page. Outlives connections.
#[derive(Clone, Debug)]
pub(super) struct Portion {
    average: usize,
    largest: usize,
    /// Of [`MOST_BYTES`].
    most: usize,
}

impl Portion {
    /// For events of at most `max_event_bytes` (`api.max_event_bytes`), on one of so many arbiters.
    pub(super) fn new(max_event_bytes: usize, arbiters: usize) -> Self {
        let largest = max_event_bytes + AROUND;
        Self { average: largest, largest, most: MOST_BYTES / arbiters.max(1) }
    }

    /// From how many streams one read may bring something; at least 1.
    pub(super) fn streams(&self) -> usize {
        (self.most / self.largest).max(1)
    }

    /// How many entries of each stream a read of so many streams may bring; at least 1.
    pub(super) fn entries(&self, streams: usize) -> usize {
        let share = |bytes: usize, each: usize| bytes / streams.max(1) / each;
        share(BYTES, self.average).min(share(self.most, self.largest)).clamp(1, MOST_ENTRIES)
    }

    /// The average follows what comes.
    pub(super) fn brought(&mut self, entries: &[Entry]) {
        let bytes: usize = entries.iter().map(Entry::size).sum();
        self.follow(bytes / entries.len().max(1));
    }

    /// A read was not answered: perhaps it asked for too much.
    pub(super) fn failed(&mut self) {
        self.average = self.largest;
    }

    fn follow(&mut self, size: usize) {
        self.average = (self.average * 7 + size) / 8 + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_little_grows_as_answers_come_and_begins_anew_after_a_failure() {
        let mut portion = Portion::new(256 << 10, 1);
        let first = portion.entries(64);
        assert_eq!(first, 1);
        for _ in 0..100 {
            portion.follow(300);
        }
        assert!(portion.entries(64) > first);
        assert_eq!(portion.entries(1), MOST_BYTES / ((256 << 10) + AROUND));
        portion.failed();
        assert_eq!(portion.entries(64), first);
    }

    #[test]
    fn no_read_can_bring_more_than_the_bound_whatever_the_average_says() {
        for max_event_bytes in [1024, 64 << 10, 256 << 10, 1 << 20, 16 << 20] {
            let mut portion = Portion::new(max_event_bytes, 1);
            for size in [max_event_bytes, 10] {
                (0..200).for_each(|_| portion.follow(size));
                for streams in 1..=portion.streams().min(256) {
                    let most = streams * portion.entries(streams) * (max_event_bytes + AROUND);
                    assert!(most <= MOST_BYTES, "{streams} streams of {max_event_bytes}: {most}");
                }
            }
        }
    }
}
