//! What this node has just published into a partition of its own, on its way past the read.
//!
//! It is taken only where it lies right behind what was handed over last, which the numbers of entries tell
//! ([`crate::store::publications::fresh`]). Until the number of the last one is known, and where others have stored something
//! between, it is read. Pure.

use std::cell::{Cell, RefCell};

use crate::domain::EntryId;
use crate::store::events::Entry;
use crate::store::publications::fresh::Fresh;

/// So many calls' entries wait for what lies before them; with more of them all are left to be read.
const MOST_WAITING: usize = 32;

/// What was told of one partition.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The number of the last entry that was handed over, if that is known.
    last: Cell<Option<u64>>,
    /// By number.
    waiting: RefCell<Vec<Fresh>>,
}

impl Heard {
    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        self.last.set(None);
        self.waiting.borrow_mut().clear();
    }

    /// What waits is left to be read.
    pub(super) fn miss(&self) {
        self.waiting.borrow_mut().clear();
    }

    /// So many entries that follow the last one were read and handed over.
    pub(super) fn read(&self, count: usize) {
        self.last.set(self.last.get().map(|last| last + count as u64));
    }

    /// Entries up to the one of that number were handed over.
    pub(super) fn taken(&self, last: u64) {
        self.last.set(Some(last));
    }

    /// Notes what was told.
    pub(super) fn add(&self, fresh: Fresh) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() == MOST_WAITING {
            waiting.clear();
        }
        let at = waiting.partition_point(|other| other.last < fresh.last);
        waiting.insert(at, fresh);
    }

    /// Whether something waits for what lies before it.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Takes what lies right behind `cursor`, where the last entry is that was handed over, with the number of its last one.
    pub(super) fn next(&self, cursor: EntryId) -> Option<(Vec<Entry>, u64)> {
        let mut waiting = self.waiting.borrow_mut();
        let (mut entries, mut cursor) = (Vec::new(), cursor);
        let mut number = self.last.get();
        while let Some(first) = waiting.first() {
            let (Some(begin), Some(end)) = (first.entries.first(), first.entries.last()) else {
                waiting.remove(0);
                continue;
            };
            let (begin, end) = (begin.id, end.id);
            if end <= cursor {
                // It was read meanwhile.
                if end == cursor {
                    number = Some(first.last);
                }
                waiting.remove(0);
                continue;
            }
            let before = first.last.checked_sub(first.entries.len() as u64);
            if begin <= cursor || before.is_none() || number != before {
                break;
            }
            let fresh = waiting.remove(0);
            (cursor, number) = (end, Some(fresh.last));
            entries.extend(fresh.entries);
        }
        if entries.is_empty() {
            self.last.set(number);
            return None;
        }
        number.map(|number| (entries, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Partition;
    use crate::store::events::EntryKind;

    fn id(n: u64) -> EntryId {
        EntryId { ms: n, seq: 0 }
    }

    /// Entries of those ids, of which the last has that number.
    fn fresh(ids: &[u64], last: u64) -> Fresh {
        let entry = |n: &u64| Entry { id: id(*n), kind: EntryKind::Unreadable(String::new()) };
        Fresh { partition: Partition(0), entries: ids.iter().map(entry).collect(), last }
    }

    /// The ids of what lies right behind, which is handed over.
    fn next(heard: &Heard, cursor: u64) -> Vec<u64> {
        let Some((entries, last)) = heard.next(id(cursor)) else { return Vec::new() };
        heard.taken(last);
        entries.iter().map(|entry| entry.id.ms).collect()
    }

    #[test]
    fn what_follows_the_last_one_is_taken_in_order_whoever_tells_it_first() {
        let heard = Heard::default();
        heard.taken(10);
        heard.add(fresh(&[25, 26], 14));
        assert_eq!(next(&heard, 20), [0; 0], "two are missing before it");
        assert!(heard.waits());
        heard.add(fresh(&[21, 22], 12));
        assert_eq!(next(&heard, 20), [21, 22, 25, 26]);
        assert!(!heard.waits());
    }

    #[test]
    fn what_others_stored_between_is_read_first() {
        let heard = Heard::default();
        heard.taken(10);
        heard.add(fresh(&[25], 12));
        assert_eq!(next(&heard, 20), [0; 0]);
        heard.read(1);
        assert_eq!(next(&heard, 24), [25]);
        heard.add(fresh(&[26], 13));
        heard.read(1);
        heard.add(fresh(&[27], 14));
        assert_eq!(next(&heard, 26), [27], "what was read itself is not taken again");
    }

    #[test]
    fn nothing_is_taken_until_the_number_of_the_last_one_is_known() {
        let heard = Heard::default();
        heard.add(fresh(&[5], 1));
        assert_eq!(next(&heard, 0), [0; 0]);
        heard.read(2);
        assert_eq!(next(&heard, 6), [0; 0], "another one lies behind it");
        heard.add(fresh(&[7, 8], 9));
        heard.read(2);
        assert_eq!(next(&heard, 8), [0; 0]);
        heard.add(fresh(&[9], 10));
        assert_eq!(next(&heard, 8), [9]);
        heard.forget();
        heard.add(fresh(&[10], 11));
        assert_eq!(next(&heard, 9), [0; 0]);
    }

    #[test]
    fn numbers_that_do_not_fit_the_places_are_not_believed() {
        let heard = Heard::default();
        heard.taken(10);
        heard.add(fresh(&[19, 21], 12));
        assert_eq!(next(&heard, 20), [0; 0]);
        heard.forget();
        heard.taken(0);
        heard.add(fresh(&[30, 31], 1));
        assert_eq!(next(&heard, 20), [0; 0]);
    }

    #[test]
    fn few_wait() {
        let heard = Heard::default();
        for n in 0..100 {
            heard.add(fresh(&[n], n + 50));
            assert!(heard.waiting.borrow().len() <= MOST_WAITING);
        }
    }
}
