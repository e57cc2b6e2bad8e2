//! The one reader of an arbiter: a single blocking read over the events streams of all its partitions. On a Redis
//! Cluster, where no command reads streams of two partitions, one blocking read for each, on a connection of its own to
//! the primary that holds the partition.
//!
//! No consumer groups: the owner is the only reader, and what it reads twice the dispatch script skips. So after a lost
//! connection, or an answer that the data is somewhere else now (MOVED, READONLY, UNBLOCKED), it finds the server anew
//! and simply reads from the start again. A partition that has enough to do is left out until it has room.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use actix::Addr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;

use super::local::{Backoff, Local};
use super::partition::{Arrived, PartitionActor};
use crate::domain::{EntryId, Partition};
use crate::store::Error;
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
    /// How many rewinds there had been when the read that is under way began.
    read_after: Cell<u64>,
    /// The connection was lost: Redis may not hold what it held.
    mistrusted: Cell<bool>,
}

impl Feed {
    /// The feed of `partition`, closed, from the start.
    pub fn new(partition: Partition) -> Self {
        Self {
            partition,
            open: Cell::new(false),
            cursor: Cell::new(EntryId::ZERO),
            rewinds: Cell::new(0),
            read_after: Cell::new(0),
            mistrusted: Cell::new(false),
        }
    }

    /// From the start again. What a read that is under way brings does not undo this.
    pub fn rewind(&self) {
        self.cursor.set(EntryId::ZERO);
        self.rewinds.set(self.rewinds.get() + 1);
    }

    /// The connection was lost.
    fn mistrust(&self) {
        self.rewind();
        self.mistrusted.set(true);
    }

    /// Where a read begins now.
    fn begin_read(&self) -> Position {
        self.read_after.set(self.rewinds.get());
        Position { partition: self.partition, after: self.cursor.get() }
    }

    /// How often it has been rewound.
    pub fn rewinds(&self) -> u64 {
        self.rewinds.get()
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

    /// Reads that feed no more; another one of the same partition stays.
    pub fn remove(&self, feed: &Rc<Feed>) {
        self.feeds.borrow_mut().retain(|(held, _)| !Rc::ptr_eq(held, feed));
        // Who waits for it to have room has nothing to wait for any more.
        self.opened.notify_waiters();
    }

    /// Tells that a partition has room again.
    pub fn opened(&self) {
        // Whoever waits looks again; nobody does between a look and its wait.
        self.opened.notify_waiters();
    }

    /// The feeds that want more, and how many there are in all.
    fn open_ones(&self) -> (Vec<Rc<Feed>>, usize) {
        let feeds = self.feeds.borrow();
        let open = feeds.iter().map(|(feed, _)| feed).filter(|feed| feed.open.get()).cloned().collect();
        (open, feeds.len())
    }

    /// Whose this very feed is: its partition may have been taken anew since, with another.
    fn actor_of(&self, feed: &Rc<Feed>) -> Option<Addr<PartitionActor>> {
        let feeds = self.feeds.borrow();
        feeds.iter().find(|(held, _)| Rc::ptr_eq(held, feed)).map(|(_, actor)| actor.clone())
    }

    fn holds(&self, feed: &Rc<Feed>) -> bool {
        self.actor_of(feed).is_some()
    }

    /// The last entry that was read of a partition.
    pub fn cursor_of(&self, partition: Partition) -> Option<EntryId> {
        let feeds = self.feeds.borrow();
        feeds.iter().find(|(feed, _)| feed.partition == partition).map(|(feed, _)| feed.cursor())
    }

    /// The partitions whose connection was lost since this was last asked.
    pub fn take_mistrusted(&self) -> Vec<Partition> {
        let feeds = self.feeds.borrow();
        let mistrusted = feeds.iter().filter(|(feed, _)| feed.mistrusted.take());
        mistrusted.map(|(feed, _)| feed.partition).collect()
    }

    fn mistrust(&self) {
        for (feed, _) in self.feeds.borrow().iter() {
            feed.mistrust();
        }
    }
}

/// Reads until the task is dropped.
pub async fn run(local: Rc<Local>, feeds: Rc<Feeds>) {
    if local.redis.is_cluster() {
        read_apart(&local, &feeds).await
    } else {
        read_together(&local, &feeds).await
    }
}

async fn read_together(local: &Local, feeds: &Feeds) {
    let mut backoff = Backoff::default();
    loop {
        // A partition that joins is not kept waiting behind a read without it: the blocked connection is given up.
        let ended = tokio::select! {
            ended = read_until_error(local, feeds, &mut backoff) => Some(ended),
            () = feeds.joined.notified() => None,
        };
        if let Some(Err(error)) = ended {
            tracing::warn!(%error, "reading events failed");
            if error.is_of_another_server() {
                local.redis.distrust();
            }
            feeds.mistrust();
            backoff.wait().await;
        }
    }
}

async fn read_until_error(local: &Local, feeds: &Feeds, backoff: &mut Backoff) -> Result<(), Error> {
    // One server has all keys.
    let mut connection = local.redis.open_reader("", BLOCK).await?;
    let mut average = 1024;
    loop {
        let (open, all) = feeds.open_ones();
        if open.is_empty() {
            feeds.opened.notified().await;
            continue;
        }
        let block = if open.len() == all { BLOCK } else { BLOCK_SHORT };
        let positions: Vec<Position> = open.iter().map(|feed| feed.begin_read()).collect();
        let count = (BYTES_PER_READ / open.len() / average).clamp(1, MOST_ENTRIES);
        let found = events::read(&mut connection, &local.keys, &positions, count, block).await?;
        *backoff = Backoff::default();
        for (partition, entries) in found {
            average = new_average(average, &entries);
            if let Some(feed) = open.iter().find(|feed| feed.partition == partition) {
                hand_over(feeds, feed, entries).await;
            }
        }
    }
}

/// One reader for each partition, from when it joins until it is removed.
async fn read_apart(local: &Local, feeds: &Feeds) {
    let mut readers = FuturesUnordered::new();
    let mut known: Vec<Rc<Feed>> = Vec::new();
    loop {
        known.retain(|feed| feeds.holds(feed));
        let all: Vec<Rc<Feed>> = feeds.feeds.borrow().iter().map(|(feed, _)| feed.clone()).collect();
        for feed in all {
            if !known.iter().any(|known| Rc::ptr_eq(known, &feed)) {
                known.push(feed.clone());
                readers.push(read_alone(local, feeds, feed));
            }
        }
        tokio::select! {
            () = feeds.joined.notified() => {}
            Some(()) = readers.next() => {}
        }
    }
}

/// Reads one partition until it is removed.
async fn read_alone(local: &Local, feeds: &Feeds, feed: Rc<Feed>) {
    let mut backoff = Backoff::default();
    // While a primary is gone the readers of all its partitions fail again and again: each tells it once.
    let mut told = false;
    while feeds.holds(&feed) {
        let mut has_read = false;
        let ended = read_alone_until_error(local, feeds, &feed, &mut has_read).await;
        if has_read {
            (backoff, told) = (Backoff::default(), false);
        }
        if let Err(error) = ended {
            if !told {
                tracing::warn!(%error, partition = %feed.partition, "reading events failed");
                told = true;
            }
            feed.mistrust();
            backoff.wait().await;
        }
    }
}

async fn read_alone_until_error(
    local: &Local,
    feeds: &Feeds,
    feed: &Rc<Feed>,
    has_read: &mut bool,
) -> Result<(), Error> {
    let stream = local.keys.key(feed.partition, "events");
    let mut connection = local.redis.open_reader(&stream, BLOCK).await?;
    let mut average = 1024;
    while feeds.holds(feed) {
        if !feed.open.get() {
            feeds.opened.notified().await;
            continue;
        }
        let all = feeds.feeds.borrow().len();
        let count = (BYTES_PER_READ / all.max(1) / average).clamp(1, MOST_ENTRIES);
        let found = events::read(&mut connection, &local.keys, &[feed.begin_read()], count, BLOCK).await?;
        *has_read = true;
        for (_, entries) in found {
            average = new_average(average, &entries);
            hand_over(feeds, feed, entries).await;
        }
    }
    Ok(())
}

/// The average size of an entry, which follows what comes.
fn new_average(average: usize, entries: &[Entry]) -> usize {
    (average * 7 + size_of(entries) / entries.len().max(1)) / 8 + 1
}

fn size_of(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::size).sum()
}

async fn hand_over(feeds: &Feeds, feed: &Rc<Feed>, entries: Vec<Entry>) {
    // What was read for one who is gone is not for the next, who reads from the start.
    let Some(actor) = feeds.actor_of(feed) else { return };
    let Some(last) = entries.last().map(|entry| entry.id) else { return };
    // A partition whose actor is gone is taken anew, and read from the start then.
    let rewinds = feed.read_after.get();
    if actor.send(Arrived { entries, rewinds }).await.is_ok() && feed.rewinds() == rewinds {
        feed.cursor.set(last);
    }
}
