//! The one reader of an arbiter: a single blocking read over the events streams of all its partitions. On a Redis
//! Cluster, where no command reads streams of two partitions, one blocking read for each, on a connection of its own to
//! the primary that holds the partition.
//!
//! No consumer groups: the owner is the only reader, and what it reads twice the dispatch script skips. So after a lost
//! connection, or an answer that the data is somewhere else now (MOVED, READONLY, UNBLOCKED), it finds the server anew
//! and simply reads from the start again. A partition that has enough to do is left out until it has room.
//!
//! What this node itself publishes into its partitions it need not read back ([`heard`]): while it comes, reads are looks for what
//! others store.
//!
//! A read is cut by what the largest entries would bring ([`portion`]), so a partition with a long backlog gets few
//! entries among many streams: what brought all that it was asked for is read once more alone, where it may bring more.

mod heard;
mod portion;
mod turns;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc};

use self::heard::Heard;
use self::portion::Portion;
use self::turns::{BLOCK, READ_EVERY, Turns};
use super::local::{Backoff, Local};
use super::partition::{Arrived, PartitionActor};
use crate::clock;
use crate::domain::{EntryId, Partition};
use crate::store::Error;
use crate::store::events::{self, Entry, Position};
use crate::store::publications::fresh::{Fresh, Listener, Listeners};

/// Calls of publishers on this node whose entries wait to be taken; of more of them the entries are read.
const CALLS_HEARD: usize = 64;
/// Entries that are handed over together.
const TOGETHER: usize = 32;
/// How long a read may wait for the attempts of what it brought.
const BEGUN_WITHIN: Duration = Duration::from_millis(200);
/// How long partitions that join are collected before a read that is blocked without them is broken off.
const COLLECT: Duration = Duration::from_millis(50);

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
    heard: Heard,
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
            heard: Heard::default(),
        }
    }

    /// From the start again. What a read that is under way brings does not undo this.
    pub fn rewind(&self) {
        self.cursor.set(EntryId::ZERO);
        self.heard.forget();
        self.rewinds.set(self.rewinds.get() + 1);
    }

    /// The connection was lost.
    fn mistrust(&self) {
        self.rewind();
        self.mistrusted.set(true);
    }

    /// What lies right behind the last entry that was read, as this node's publishers tell, with the number of its last one.
    fn next_heard(&self) -> Option<(Vec<Entry>, u64)> {
        self.read_after.set(self.rewinds.get());
        self.heard.next(self.cursor.get())
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
    /// A partition has joined since the list was last read.
    has_new: Cell<bool>,
    listening: Option<Listening>,
}

/// How it is told what this node publishes.
#[derive(Debug)]
struct Listening {
    listeners: Arc<Listeners>,
    listener: Listener,
    /// Taken by the reader.
    told: RefCell<Option<mpsc::Receiver<Vec<Fresh>>>>,
}

impl Feeds {
    /// No feeds; what this node publishes into them is told by `listeners`.
    pub fn listening(listeners: Arc<Listeners>) -> Self {
        let (listener, told) = mpsc::channel(CALLS_HEARD);
        let listening = Some(Listening { listeners, listener, told: RefCell::new(Some(told)) });
        Self { listening, ..Self::default() }
    }

    /// Begins to read a partition from the start.
    pub fn add(&self, feed: Rc<Feed>, actor: Addr<PartitionActor>) {
        if let Some(Listening { listeners, listener, .. }) = &self.listening {
            listeners.listen(feed.partition, listener.clone());
        }
        self.feeds.borrow_mut().push((feed, actor));
        self.has_new.set(true);
        self.joined.notify_one();
    }

    /// Reads that feed no more; another one of the same partition stays.
    pub fn remove(&self, feed: &Rc<Feed>) {
        self.feeds.borrow_mut().retain(|(held, _)| !Rc::ptr_eq(held, feed));
        let is_held = self.feeds.borrow().iter().any(|(held, _)| held.partition == feed.partition);
        if let Some(Listening { listeners, .. }) = &self.listening
            && !is_held
        {
            listeners.leave(feed.partition);
        }
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
        self.has_new.set(false);
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

    /// Waits until a partition that joined has been kept waiting by a read that began without it. Those that join
    /// together, as at a take-over, are waited for together.
    async fn kept_waiting(&self) {
        loop {
            self.joined.notified().await;
            tokio::time::sleep(COLLECT).await;
            if self.has_new.get() {
                return;
            }
        }
    }

    /// Notes what was told; gives how many entries that is.
    fn hear(&self, told: Vec<Fresh>) -> usize {
        let feeds = self.feeds.borrow();
        let count = told.iter().map(|fresh| fresh.entries.len()).sum();
        for fresh in told {
            // One that has enough to do reads it later, as what comes from others.
            let of_it = |(feed, _): &&(Rc<Feed>, _)| feed.partition == fresh.partition && feed.open.get();
            if let Some((feed, _)) = feeds.iter().find(of_it) {
                feed.heard.add(fresh);
            }
        }
        count
    }

    /// Leaves what was told and not taken to be read.
    fn miss(&self, told: &mut Option<mpsc::Receiver<Vec<Fresh>>>) {
        if let Some(told) = told {
            (0..CALLS_HEARD).take_while(|_| told.try_recv().is_ok()).for_each(drop);
        }
        self.feeds.borrow().iter().for_each(|(feed, _)| feed.heard.miss());
    }

    /// Where each stands is not known by number any more.
    fn forget_numbers(&self) {
        self.feeds.borrow().iter().for_each(|(feed, _)| feed.heard.forget());
    }

    /// What was told and can be handed over. Of one that has enough to do it is left to be read.
    fn take_heard(&self) -> Vec<Handed> {
        let feeds = self.feeds.borrow();
        feeds.iter().filter(|(feed, _)| !feed.open.get()).for_each(|(feed, _)| feed.heard.miss());
        let waiting = feeds.iter().map(|(feed, _)| feed).filter(|feed| feed.heard.waits());
        waiting
            .filter_map(|feed| {
                let (entries, last) = feed.next_heard()?;
                Some(Handed { feed: feed.clone(), entries, last_number: Some(last) })
            })
            .collect()
    }

    /// Whether something that was told waits for what lies before it.
    fn is_gap(&self) -> bool {
        self.feeds.borrow().iter().any(|(feed, _)| feed.heard.waits())
    }

    fn mistrust(&self) {
        for (feed, _) in self.feeds.borrow().iter() {
            feed.mistrust();
        }
    }
}

/// Entries on their way to the actor of their partition.
struct Handed {
    feed: Rc<Feed>,
    entries: Vec<Entry>,
    /// The number of the last one, where it was told.
    last_number: Option<u64>,
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
    let mut portion = Portion::new(local.config.api.max_event_bytes, local.config.cluster.threads);
    let mut told = feeds.listening.as_ref().and_then(|listening| listening.told.borrow_mut().take());
    loop {
        // A partition that joins is not kept waiting behind a read without it: the blocked connection is given up.
        let ended = tokio::select! {
            ended = read_until_error(local, feeds, &mut told, &mut portion, &mut backoff) => ended,
            () = feeds.kept_waiting() => Ok(()),
        };
        // Another server may have numbered them otherwise.
        feeds.miss(&mut told);
        feeds.forget_numbers();
        if let Err(error) = ended {
            tracing::warn!(%error, "reading events failed");
            if error.is_of_another_server() {
                local.redis.distrust();
            }
            portion.failed();
            feeds.mistrust();
            backoff.wait().await;
        }
    }
}

/// Ends without an error when the partitions' own connection was given up: perhaps for another server, and what is read
/// from one must not be dispatched on another.
async fn read_until_error(
    local: &Local,
    feeds: &Feeds,
    told: &mut Option<mpsc::Receiver<Vec<Fresh>>>,
    portion: &mut Portion,
    backoff: &mut Backoff,
) -> Result<(), Error> {
    let generation = local.redis.generation();
    // One server has all keys.
    let mut connection = local.redis.open_own("", BLOCK).await?;
    let mut turns = Turns::default();
    while local.redis.generation() == generation {
        let (open, all) = feeds.open_ones();
        if open.is_empty() {
            feeds.opened.notified().await;
            continue;
        }
        let begun = clock::monotonic();
        let (chosen, block) = turns.choose(open, all, portion.streams());
        let positions: Vec<Position> = chosen.iter().map(|feed| feed.begin_read()).collect();
        let count = portion.entries(chosen.len());
        let found = events::read(&mut connection, &local.keys, &positions, count, block).await?;
        *backoff = Backoff::default();
        turns.brought(&found, count);
        let handed = found.into_iter().filter_map(|(partition, entries)| {
            portion.brought(&entries);
            let feed = chosen.iter().find(|feed| feed.partition == partition)?.clone();
            Some(Handed { feed, entries, last_number: None })
        });
        hand_out(local, feeds, handed).await;
        if !turns.is_quiet() {
            // It lies behind what is being read.
            feeds.miss(told);
        } else if let Some(told) = told {
            let (listening, pause) = (clock::monotonic(), turns.pause());
            let count = listen(local, feeds, told, begun, listening + pause).await;
            turns.heard(count, clock::monotonic() - listening);
        } else {
            tokio::time::sleep_until((begun + READ_EVERY).into()).await;
        }
    }
    Ok(())
}

/// Takes what this node publishes `until` the next look, after a read that has `begun` then; gives how many entries it was told of.
async fn listen(
    local: &Local,
    feeds: &Feeds,
    told: &mut mpsc::Receiver<Vec<Fresh>>,
    begun: Instant,
    until: Instant,
) -> usize {
    let mut count = 0;
    loop {
        for _ in 0..CALLS_HEARD {
            let Ok(fresh) = told.try_recv() else { break };
            count += feeds.hear(fresh);
        }
        hand_out(local, feeds, feeds.take_heard().into_iter()).await;
        // What lies before it has been stored by others.
        let until = if feeds.is_gap() { begun + READ_EVERY } else { until };
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until.into()) => return count,
            Some(fresh) = told.recv() => count += feeds.hear(fresh),
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
    let mut portion = Portion::new(local.config.api.max_event_bytes, local.config.cluster.threads);
    // While a primary is gone the readers of all its partitions fail again and again: each tells it once.
    let mut told = false;
    while feeds.holds(&feed) {
        let mut has_read = false;
        let ended = read_alone_until_error(local, feeds, &feed, &mut portion, &mut has_read).await;
        if has_read {
            (backoff, told) = (Backoff::default(), false);
        }
        if let Err(error) = ended {
            if !told {
                tracing::warn!(%error, partition = %feed.partition, "reading events failed");
                told = true;
            }
            portion.failed();
            feed.mistrust();
            backoff.wait().await;
        }
    }
}

async fn read_alone_until_error(
    local: &Local,
    feeds: &Feeds,
    feed: &Rc<Feed>,
    portion: &mut Portion,
    has_read: &mut bool,
) -> Result<(), Error> {
    let stream = local.keys.key(feed.partition, "events");
    let mut connection = local.redis.open_own(&stream, BLOCK).await?;
    while feeds.holds(feed) {
        if !feed.open.get() {
            feeds.opened.notified().await;
            continue;
        }
        let all = feeds.feeds.borrow().len();
        // The others may bring as much at the same time.
        let count = portion.entries(all);
        let found =
            events::read(&mut connection, &local.keys, &[feed.begin_read()], count, Some(BLOCK)).await?;
        *has_read = true;
        for (_, entries) in found {
            portion.brought(&entries);
            let before = local.sender.waits();
            hand_over(feeds, Handed { feed: feed.clone(), entries, last_number: None }).await;
            attempts_begun(local, before, clock::monotonic() + BEGUN_WITHIN).await;
        }
    }
    Ok(())
}

/// Hands over what a read brought, and waits until as many attempts have begun as it led to, up to [`BEGUN_WITHIN`]: what no
/// attempt can be made of yet is better left where it is.
async fn hand_out(local: &Local, feeds: &Feeds, found: impl Iterator<Item = Handed>) {
    let until = clock::monotonic() + BEGUN_WITHIN;
    let (mut group, mut count) = (Vec::new(), 0);
    let mut found = found.peekable();
    while let Some(handed) = found.next() {
        count += handed.entries.len();
        group.push(hand_over(feeds, handed));
        if count >= TOGETHER || found.peek().is_none() {
            // Together, so that what they dispatch goes in one call.
            let before = local.sender.waits();
            futures_util::future::join_all(group.drain(..)).await;
            attempts_begun(local, before, until).await;
            count = 0;
        }
    }
}

/// Waits until as many attempts have begun as were to begin since there were `before`. What was queued then, such as the
/// attempts at a thousand endpoints that hang and have all run out of time at once, holds up nobody who is yet to be read.
async fn attempts_begun(local: &Local, before: u64, until: Instant) {
    // The webhooks' actors have their messages and have made tasks of them, which ask for their turns now.
    tokio::task::yield_now().await;
    // Behind a backlog of others it is not waited for long: what was read may be for webhooks that attempt nothing.
    let _ = tokio::time::timeout_at(until.into(), local.sender.keep_pace(before)).await;
}

async fn hand_over(feeds: &Feeds, Handed { feed, entries, last_number }: Handed) {
    // What was read for one who is gone is not for the next, who reads from the start.
    let Some(actor) = feeds.actor_of(&feed) else { return };
    let (Some(last), count) = (entries.last().map(|entry| entry.id), entries.len()) else { return };
    // A partition whose actor is gone is taken anew, and read from the start then.
    let rewinds = feed.read_after.get();
    if actor.send(Arrived { entries, rewinds }).await.is_ok() && feed.rewinds() == rewinds {
        feed.cursor.set(last);
        match last_number {
            Some(number) => feed.heard.taken(number),
            None => feed.heard.read(count),
        }
    }
}
