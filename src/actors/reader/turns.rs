//! Which streams the next read names, how long it waits, and how far apart reads are. Pure.

use std::rc::Rc;
use std::time::Duration;

use super::Feed;
use crate::domain::Partition;
use crate::store::events::Entry;

/// How long a read waits for something to arrive when every partition is being read.
pub(super) const BLOCK: Duration = Duration::from_millis(500);
/// The same while a partition is left out and may want to be read again.
const BLOCK_SHORT: Duration = Duration::from_millis(20);
/// How far apart reads begin while they bring something. To wait for entries in 64 streams costs Redis 200 µs each time,
/// however few of them come; a look costs 30. So while entries come it is looked, and not more often than this.
pub(super) const READ_EVERY: Duration = Duration::from_millis(1);
/// The same while much and most of it comes from this node and need not be read: so long wait others' entries at most, and of this
/// node those of publishers who may repeat them, and changes of webhooks. With 5 ms half of the entries were read before they were told.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// So many entries told in a millisecond are much: below, looks cost little.
const MUCH: u128 = 2;

/// Which streams the next read names.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The streams that brought all that they were asked for, in a read of them and others.
    full: Vec<Partition>,
    /// The last read was of these alone.
    alone: bool,
    /// The last read brought something, or something was told before or since.
    comes: bool,
    /// How many entries the last read brought.
    brought: usize,
    /// How many were told between two reads, last.
    heard: usize,
    /// That was much.
    is_much: bool,
    /// Where the next read begins when one cannot name all.
    next: usize,
}

impl Turns {
    /// How far apart looks are: longer where most entries are told.
    pub(super) fn pause(&self) -> Duration {
        if self.is_much && self.heard > self.brought { LOOK_EVERY } else { READ_EVERY }
    }

    /// Notes how many entries were told in the time since the last read.
    pub(super) fn heard(&mut self, count: usize, time: Duration) {
        self.heard = count;
        self.is_much = count as u128 >= MUCH * time.as_millis().max(1);
        self.comes = self.heard + self.brought > 0;
    }

    /// Whether entries come, and no more of them than a read may bring.
    pub(super) fn is_quiet(&self) -> bool {
        self.comes && !self.alone && self.full.is_empty()
    }

    /// At most `limit` of the `open` ones of `all`, and how long a read of them may wait; `None` = not at all.
    pub(super) fn choose(
        &mut self,
        open: Vec<Rc<Feed>>,
        all: usize,
        limit: usize,
    ) -> (Vec<Rc<Feed>>, Option<Duration>) {
        let full = std::mem::take(&mut self.full);
        let mut more: Vec<Rc<Feed>> =
            open.iter().filter(|feed| full.contains(&feed.partition)).cloned().collect();
        self.alone = !more.is_empty();
        if self.alone {
            far_behind(&mut more);
            more.truncate(limit);
            return (more, None);
        }
        let count = open.len();
        let chosen: Vec<Rc<Feed>> =
            open.into_iter().cycle().skip(self.next % count).take(count.min(limit)).collect();
        self.next = (self.next + chosen.len()) % count;
        let block = if chosen.len() == all { BLOCK } else { BLOCK_SHORT };
        (chosen, (!self.comes).then_some(block))
    }

    /// Notes what a read of at most `count` entries of each brought. After one of the full ones alone it is all the
    /// others' turn.
    pub(super) fn brought(&mut self, found: &[(Partition, Vec<Entry>)], count: usize) {
        self.brought = found.iter().map(|(_, entries)| entries.len()).sum();
        self.comes = self.heard + self.brought > 0;
        if !self.alone {
            let full = found.iter().filter(|(_, entries)| entries.len() >= count);
            self.full = full.map(|(partition, _)| *partition).collect();
        }
    }
}

/// Leaves of some feeds those that are farthest behind: while more comes than can be attempted, every stream brings all that it is asked
/// for, and a busy one among quiet ones would wait for seconds what those wait for tenths.
fn far_behind(feeds: &mut Vec<Rc<Feed>>) {
    let newest = feeds.iter().map(|feed| feed.cursor().ms).max().unwrap_or_default();
    let behind = |feed: &Feed| newest.saturating_sub(feed.cursor().ms);
    let most = feeds.iter().map(|feed| behind(feed)).max().unwrap_or_default();
    feeds.retain(|feed| behind(feed) >= most / 2);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::EntryId;
    use crate::store::events::EntryKind;

    fn feeds(count: u16) -> Vec<Rc<Feed>> {
        (0..count).map(|n| Rc::new(Feed::new(Partition(n)))).collect()
    }

    fn entries(count: usize) -> Vec<Entry> {
        let kind = || EntryKind::Unreadable(String::new());
        (0..count).map(|_| Entry { id: EntryId::ZERO, kind: kind() }).collect()
    }

    fn named(chosen: &[Rc<Feed>]) -> Vec<u16> {
        chosen.iter().map(|feed| feed.partition.0).collect()
    }

    #[test]
    fn a_stream_that_has_more_is_read_alone_every_other_time() {
        let mut turns = Turns::default();
        let block_of = |n| (n == 0).then_some(BLOCK);
        for n in 0..3 {
            let (chosen, block) = turns.choose(feeds(4), 4, 100);
            assert_eq!((named(&chosen), block), (vec![0, 1, 2, 3], block_of(n)));
            turns.brought(&[(Partition(1), entries(4)), (Partition(2), entries(3))], 4);
            let (chosen, block) = turns.choose(feeds(4), 4, 100);
            assert_eq!((named(&chosen), block), (vec![1], None));
            turns.brought(&[(Partition(1), entries(16))], 16);
        }
        turns.brought(&[], 4);
        assert_eq!(turns.choose(feeds(4), 5, 100).1, Some(BLOCK_SHORT), "one is left out, and nothing comes");
    }

    #[test]
    fn of_streams_that_have_more_those_that_are_far_behind_are_read_alone() {
        let mut turns = Turns::default();
        let open = feeds(4);
        for (feed, ms) in open.iter().zip([5000, 2000, 4900, 3400]) {
            feed.cursor.set(EntryId { ms, seq: 0 });
        }
        turns.brought(&[0, 1, 2, 3].map(|n| (Partition(n), entries(7))), 7);
        assert_eq!(named(&turns.choose(open, 4, 100).0), [1, 3]);
    }

    #[test]
    fn while_entries_are_told_reads_are_looks_that_are_far_apart() {
        let mut turns = Turns::default();
        let mut read = |brought: usize, told: usize| {
            let block = turns.choose(feeds(1), 1, 100).1;
            turns.brought(&[(Partition(0), entries(brought))], 100);
            let pause = turns.is_quiet().then(|| turns.pause());
            turns.heard(told, pause.unwrap_or_default());
            (block, pause)
        };
        assert_eq!(read(1, 1), (Some(BLOCK), Some(READ_EVERY)));
        assert_eq!(read(0, 9), (None, Some(READ_EVERY)), "few come");
        assert_eq!(read(1, 99), (None, Some(LOOK_EVERY)));
        assert_eq!(read(99, 99), (None, Some(READ_EVERY)), "others store as much");
        assert_eq!(read(0, 30), (None, Some(LOOK_EVERY)));
        assert_eq!(read(0, 0), (None, Some(READ_EVERY)), "fewer come");
        assert_eq!(read(0, 0), (Some(BLOCK), None), "nothing comes");
    }

    #[test]
    fn where_a_read_cannot_name_all_they_take_turns() {
        let mut turns = Turns::default();
        let reads: Vec<Vec<u16>> = (0..4).map(|_| named(&turns.choose(feeds(5), 5, 2).0)).collect();
        assert_eq!(reads, [[0, 1], [2, 3], [4, 0], [1, 2]]);
        assert_eq!(turns.choose(feeds(5), 5, 2).1, Some(BLOCK_SHORT));
    }
}
