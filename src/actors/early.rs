//! Events whose first attempts are made before their dispatch.
//!
//! Most events arrive at once at every endpoint. Such an event needs no mailbox: its attempts are made as soon as it has been
//! read, while it still lies in the events stream, and the dispatch call then takes it out of there and records that it was
//! delivered, in one step. That halves the work of Redis and spares each event a round trip before its attempts. Any other
//! event goes into mailboxes as ever, [`PATIENCE`] later at most, and the outcomes of its early attempts are recorded after
//! that: where an endpoint fails, is slow, rests, or has other deliveries waiting.
//!
//! For correctness: events leave the stream in its order, each in one call, and that removal is the test that makes a repeat
//! harmless; an outcome is held until it is known whether its event is in mailboxes. As with every attempt, one whose outcome
//! is not recorded when the node dies is made again by the next owner. Only for speed: everything else here.
//!
//! A partition's actor and those of its webhooks share one [`Early`], on one thread.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;

use super::local::{Local, tell};
use super::partition::{Ended, PartitionActor};
use super::recorder::{self, Job};
use crate::clock;
use crate::domain::{EntryId, Event, WebhookId};
use crate::store::outcomes::Outcome;

/// The largest fan-out that is tried early: one call records all of it.
pub const MOST_TARGETS: usize = 64;
/// How long an event waits for the ends of its early attempts before it goes into mailboxes.
const PATIENCE: Duration = Duration::from_millis(25);
/// The same while an event behind it has deliveries that wait for their dispatch.
const PATIENCE_IF_AWAITED: Duration = Duration::from_millis(3);
/// With so many events ready a dispatch waits for no more.
const ENOUGH: usize = 128;

/// An event that was read and not dispatched.
#[derive(Debug)]
pub struct Undispatched {
    /// Its place in the stream.
    pub entry: EntryId,
    /// The event.
    pub event: Event,
    /// Webhook and owner hash of each match.
    pub targets: Vec<(WebhookId, Arc<str>)>,
    /// About how much memory it takes.
    pub size: usize,
    /// Attempts of it were started, and their ends will be told.
    was_tried: bool,
    /// It goes into mailboxes.
    is_ordinary: bool,
    /// Something waits for its dispatch.
    is_awaited: bool,
    since: Instant,
    jobs: Vec<Job>,
}

impl Undispatched {
    /// An event as it was read; `was_tried` = each of its targets was told of it.
    pub fn new(
        entry: EntryId,
        event: Event,
        size: usize,
        targets: Vec<(WebhookId, Arc<str>)>,
        was_tried: bool,
    ) -> Self {
        let is_ordinary = !was_tried && !targets.is_empty();
        let (is_awaited, since, jobs) = (is_ordinary, clock::monotonic(), Vec::new());
        Self { entry, event, targets, size, was_tried, is_ordinary, is_awaited, since, jobs }
    }

    /// Whether nothing of it is open any more.
    fn has_arrived(&self) -> bool {
        !self.is_ordinary && self.jobs.len() == self.targets.len()
    }

    fn is_ready(&self, now: Instant, is_awaited: bool) -> bool {
        self.is_ordinary || self.has_arrived() || now >= self.deadline(is_awaited)
    }

    fn deadline(&self, is_awaited: bool) -> Instant {
        self.since + if is_awaited { PATIENCE_IF_AWAITED } else { PATIENCE }
    }

    /// What its dispatch is to record, if it has arrived at all its targets.
    pub fn outcomes(&mut self) -> Option<Vec<Outcome>> {
        let has_arrived = self.has_arrived() && !self.targets.is_empty();
        has_arrived.then(|| std::mem::take(&mut self.jobs).into_iter().map(|job| job.outcome).collect())
    }
}

/// The events of one partition that were read and not dispatched.
#[derive(Debug)]
pub struct Early {
    local: Rc<Local>,
    begun: RefCell<VecDeque<Undispatched>>,
    /// How many of them something waits for.
    awaited: Cell<usize>,
    /// How many of them have arrived.
    arrived: Cell<usize>,
    /// Outcomes of events that are on their way into mailboxes, by event.
    held: RefCell<HashMap<EntryId, Vec<Job>>>,
    /// The partition's actor was told to look.
    was_called: Cell<bool>,
    /// It looks when the next round is due, and need not be told.
    is_paced: Cell<bool>,
}

impl Early {
    /// Nothing yet.
    pub fn new(local: Rc<Local>) -> Self {
        Self {
            local,
            begun: RefCell::default(),
            awaited: Cell::new(0),
            arrived: Cell::new(0),
            held: RefCell::default(),
            was_called: Cell::new(false),
            is_paced: Cell::new(false),
        }
    }

    /// Whether no event waits here for its dispatch.
    pub fn is_empty(&self) -> bool {
        self.begun.borrow().is_empty()
    }

    /// The bytes of the events that wait here.
    pub fn bytes(&self) -> usize {
        self.begun.borrow().iter().map(|begun| begun.size).sum()
    }

    /// Takes an event in, behind all others; `tell` tells its webhooks' actors of it, if that is wanted, and whether it could.
    pub fn push(&self, mut begun: Undispatched, tell: impl FnOnce(&Undispatched) -> bool) {
        if !tell(&begun) {
            (begun.is_ordinary, begun.is_awaited) = (true, true);
        }
        self.awaited.set(self.awaited.get() + usize::from(begun.is_awaited));
        self.arrived.set(self.arrived.get() + usize::from(begun.has_arrived()));
        self.begun.borrow_mut().push_back(begun);
    }

    /// An early attempt has come to an outcome.
    pub fn ended(&self, job: Job) {
        let (entry, owner) = (job.outcome.entry, job.owner.clone());
        if let Some(begun) = self.begun.borrow_mut().iter_mut().find(|begun| begun.entry == entry) {
            begun.is_ordinary |= !job.outcome.is_plain();
            if begun.is_ordinary || job.is_urgent {
                self.is_awaited_now(begun);
            }
            begun.jobs.push(job);
            self.arrived.set(self.arrived.get() + usize::from(begun.has_arrived()));
        } else {
            match self.held.borrow_mut().get_mut(&entry) {
                Some(held) => held.push(job),
                // It lies in its mailbox by now.
                None => recorder::record(&self.local, job),
            }
            return;
        }
        self.call(&owner);
    }

    /// An early delivery was not attempted.
    pub fn declined(&self, entry: EntryId, owner: &Addr<PartitionActor>) {
        if let Some(begun) = self.begun.borrow_mut().iter_mut().find(|begun| begun.entry == entry) {
            begun.is_ordinary = true;
            self.is_awaited_now(begun);
        } else {
            return;
        }
        self.call(owner);
    }

    fn is_awaited_now(&self, begun: &mut Undispatched) {
        if !std::mem::replace(&mut begun.is_awaited, true) {
            self.awaited.set(self.awaited.get() + 1);
        }
    }

    /// Has the partition look, unless it will.
    fn call(&self, owner: &Addr<PartitionActor>) {
        if !self.was_called.get() && (!self.is_paced.get() || self.is_awaited()) {
            self.was_called.set(true);
            // At most one at a time.
            tell(owner, Ended);
        }
    }

    /// Whether something waits for a dispatch.
    fn is_awaited(&self) -> bool {
        self.awaited.get() > 0 || self.arrived.get() >= ENOUGH
    }

    /// When the first event may be dispatched; `due` is the time for what nothing waits for. `None` = there is no event.
    pub fn next(&self, now: Instant, due: Instant) -> Option<Instant> {
        self.was_called.set(false);
        let is_awaited = self.is_awaited();
        let next = self.begun.borrow().front().map(|first| match first.is_ready(now, is_awaited) {
            true if is_awaited => (now, false),
            true => (due.max(now), due > now),
            false => (first.deadline(is_awaited), false),
        });
        self.is_paced.set(next.is_some_and(|(_, is_paced)| is_paced));
        next.map(|(at, _)| at)
    }

    /// Takes the first event out if it may be dispatched and `fits`. The outcomes of one that goes into mailboxes are held
    /// until that is done.
    pub fn take(&self, now: Instant, fits: impl FnOnce(&Undispatched) -> bool) -> Option<Undispatched> {
        let is_awaited = self.is_awaited();
        let mut queue = self.begun.borrow_mut();
        let may_go = |first: &&Undispatched| first.is_ready(now, is_awaited) && fits(first);
        queue.front().filter(may_go)?;
        let mut begun = queue.pop_front()?;
        self.awaited.set(self.awaited.get() - usize::from(begun.is_awaited));
        if begun.has_arrived() {
            self.arrived.set(self.arrived.get() - 1);
        } else {
            begun.is_ordinary = true;
            if begun.was_tried {
                self.held.borrow_mut().insert(begun.entry, std::mem::take(&mut begun.jobs));
            }
        }
        Some(begun)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.begun.borrow_mut().clear();
        self.held.borrow_mut().clear();
        self.awaited.set(0);
        self.arrived.set(0);
    }

    /// An event is in mailboxes: what came of its early attempts so far can be recorded.
    pub fn dispatched(&self, entry: EntryId) {
        let held = self.held.borrow_mut().remove(&entry);
        held.into_iter().flatten().for_each(|job| recorder::record(&self.local, job));
    }
}
