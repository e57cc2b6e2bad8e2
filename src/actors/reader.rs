//! The one reader of an arbiter: a single blocking read over the events streams of all its partitions.
//!
//! No consumer groups: the owner is the only reader, and what it reads twice the dispatch script skips. So after a lost
//! connection it simply reads from the start again. A partition that has enough to do is left out until it has room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::Notify;

use super::local::{Backoff, Local};
use super::partition::{Arrived, PartitionActor};
use crate::domain::{EntryId, Partition};
use crate::store::events::{self, Entry, Position};

/// How long a read waits for something to arrive when every partition is being read.
const BLOCK: Duration = Duration::from_millis(500);
/// The same while a partition is left out and may want to be read again.
const BLOCK_SHORT: Duration = Duration::from_millis(20);
/// The most that one read may bring, in bytes, by the average size of what came before.
const BYTES_PER_READ: usize = 4 << 20;
/// The most entries that one read may bring of one partition.
const MOST_ENTRIES: usize = 512;

/// How a partition and the reader talk: where the reader stands, and whether the partition wants more.
#[derive(Debug)]
pub struct Feed {
    /// Which partition.
    pub partition: Partition,
    /// Whether the partition has room.
    pub open: Cell<bool>,
    /// The last entry that was read.
    cursor: Cell<EntryId>,
    rewinds: Cell<u64>,
}

impl Feed {
    /// The feed of `partition`, closed, from the start.
    pub fn new(partition: Partition) -> Self {
        Self { partition, open: Cell::new(false), cursor: Cell::new(EntryId::ZERO), rewinds: Cell::new(0) }
    }

    /// From the start again. What a read that is under way brings does not undo this.
    pub fn rewind(&self) {
        self.cursor.set(EntryId::ZERO);
        self.rewinds.set(self.rewinds.get() + 1);
    }

    /// The last entry that was read.
    pub fn cursor(&self) -> EntryId {
        self.cursor.get()
    }
}

/// The partitions that are read.
#[derive(Debug, Default)]
pub struct Feeds {
    feeds: RefCell<Vec<(Rc<Feed>, Addr<PartitionActor>)>>,
    joined: Notify,
    opened: Notify,
}

impl Feeds {
    /// Begins to read a partition from the start.
    pub fn add(&self, feed: Rc<Feed>, actor: Addr<PartitionActor>) {
        self.feeds.borrow_mut().push((feed, actor));
        self.joined.notify_one();
    }

    /// Reads a partition no more.
    pub fn remove(&self, partition: Partition) {
        self.feeds.borrow_mut().retain(|(feed, _)| feed.partition != partition);
    }

    /// Tells that a partition has room again.
    pub fn opened(&self) {
        self.opened.notify_one();
    }

    fn open_ones(&self) -> (Vec<Position>, usize) {
        let feeds = self.feeds.borrow();
        let position = |feed: &Rc<Feed>| Position { partition: feed.partition, after: feed.cursor.get() };
        let open = feeds.iter().filter(|(feed, _)| feed.open.get()).map(|(feed, _)| position(feed)).collect();
        (open, feeds.len())
    }

    fn of(&self, partition: Partition) -> Option<(Rc<Feed>, Addr<PartitionActor>)> {
        self.feeds.borrow().iter().find(|(feed, _)| feed.partition == partition).cloned()
    }

    fn rewind(&self) {
        for (feed, _) in self.feeds.borrow().iter() {
            feed.rewind();
        }
    }
}

/// Reads until the task is dropped.
pub async fn run(local: Rc<Local>, feeds: Rc<Feeds>) {
    let mut backoff = Backoff::default();
    loop {
        // A partition that joins is not kept waiting behind a read without it: the blocked connection is given up.
        let ended = tokio::select! {
            ended = read_until_error(&local, &feeds, &mut backoff) => Some(ended),
            () = feeds.joined.notified() => None,
        };
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "reading events failed");
            feeds.rewind();
            backoff.wait().await;
        }
    }
}

async fn read_until_error(
    local: &Local,
    feeds: &Feeds,
    backoff: &mut Backoff,
) -> Result<(), crate::store::Error> {
    let mut connection = local.redis.open_reader(BLOCK).await?;
    let mut average = 1024;
    loop {
        let (positions, all) = feeds.open_ones();
        if positions.is_empty() {
            feeds.opened.notified().await;
            continue;
        }
        let block = if positions.len() == all { BLOCK } else { BLOCK_SHORT };
        let count = (BYTES_PER_READ / positions.len() / average).clamp(1, MOST_ENTRIES);
        let found = events::read(&mut connection, &local.keys, &positions, count, block).await?;
        *backoff = Backoff::default();
        for (partition, entries) in found {
            average = (average * 7 + size_of(&entries) / entries.len().max(1)) / 8 + 1;
            hand_over(feeds, partition, entries).await;
        }
    }
}

fn size_of(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::size).sum()
}

async fn hand_over(feeds: &Feeds, partition: Partition, entries: Vec<Entry>) {
    let Some((feed, actor)) = feeds.of(partition) else { return };
    let Some(last) = entries.last().map(|entry| entry.id) else { return };
    // A partition whose actor is gone is taken anew, and read from the start then.
    let rewinds = feed.rewinds.get();
    if actor.send(Arrived(entries)).await.is_ok() && feed.rewinds.get() == rewinds {
        feed.cursor.set(last);
    }
}
