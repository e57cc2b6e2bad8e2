//! What a partition's actor and those of its webhooks share of events that are attempted before their dispatch
//! ([`crate::policy::early`]): all of them live on one thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix::Addr;

use super::local::{Local, tell};
use super::partition::{Ended, PartitionActor};
use super::recorder::{self, Job};
use crate::domain::{EntryId, Event, WebhookId};
use crate::policy::early::{Fate, Ledger, Turn, Undispatched};
use crate::policy::matching::Skipped;

/// An event as it was read.
#[derive(Debug)]
pub struct Read {
    /// The event.
    pub event: Event,
    /// Webhook and owner hash of each match.
    pub targets: Vec<(WebhookId, Arc<str>)>,
    /// Who subscribes to it and does not get it.
    pub skipped: Vec<Skipped>,
    /// About how much memory it takes.
    pub size: usize,
}

/// The events of one partition that were read and not dispatched.
#[derive(Debug)]
pub struct Early {
    local: Rc<Local>,
    ledger: RefCell<Ledger<Read, Job>>,
    /// The partition's actor was told to look.
    was_called: Cell<bool>,
    /// It looks when the next round is due, and need not be told.
    is_paced: Cell<bool>,
}

impl Early {
    /// Nothing yet.
    pub fn new(local: Rc<Local>) -> Self {
        Self { local, ledger: RefCell::default(), was_called: Cell::new(false), is_paced: Cell::new(false) }
    }

    /// Whether no event waits here for its dispatch.
    pub fn is_empty(&self) -> bool {
        self.ledger.borrow().is_empty()
    }

    /// The bytes of the events that wait here.
    pub fn bytes(&self) -> usize {
        self.ledger.borrow().events().map(|read| read.size).sum()
    }

    /// As [`Ledger::push`].
    pub fn push(&self, event: Undispatched<Read, Job>) {
        self.ledger.borrow_mut().push(event);
    }

    /// An early attempt has come to an outcome.
    pub fn ended(&self, job: Job) {
        let (entry, owner) = (job.outcome.entry, job.owner.clone());
        let (is_plain, is_urgent) = (job.outcome.is_plain(), job.is_urgent);
        let fate = self.ledger.borrow_mut().ended(entry, job, is_plain, is_urgent);
        match fate {
            Fate::Kept => self.call(&owner),
            Fate::Late(job) => recorder::record(&self.local, job),
        }
    }

    /// An early delivery was not attempted.
    pub fn declined(&self, entry: EntryId, owner: &Addr<PartitionActor>) {
        self.ledger.borrow_mut().declined(entry);
        self.call(owner);
    }

    /// Has the partition look, unless it will.
    fn call(&self, owner: &Addr<PartitionActor>) {
        if !self.was_called.get() && (!self.is_paced.get() || self.ledger.borrow().is_awaited()) {
            self.was_called.set(true);
            // There is one at a time.
            tell(owner, Ended);
        }
    }

    /// When the first event may be dispatched, at `now` or later; see [`Ledger::next`].
    pub fn next(&self, now: Instant, due: Instant) -> Option<Instant> {
        let next = self.ledger.borrow().next(now, due);
        self.was_called.set(false);
        self.is_paced.set(next.is_some_and(|(_, is_paced)| is_paced));
        next.map(|(at, _)| at)
    }

    /// As [`Ledger::take`].
    pub fn take(
        &self,
        now: Instant,
        fits: impl FnOnce(EntryId, &Read) -> bool,
    ) -> Option<(EntryId, Read, Turn<Job>)> {
        self.ledger.borrow_mut().take(now, fits)
    }

    /// An event is in mailboxes: what came of its early attempts so far is recorded.
    pub fn dispatched(&self, entry: EntryId) {
        let jobs = self.ledger.borrow_mut().dispatched(entry);
        jobs.into_iter().for_each(|job| recorder::record(&self.local, job));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.ledger.borrow_mut().clear();
    }
}
