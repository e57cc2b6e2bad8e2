//! The life of a partition's actor: reads what the partition holds, serves, hands over.

use std::cell::Cell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::dispatch::ARRIVED_BYTES;
use super::webhooks::Slot;
use super::{Arrived, Behind, Drain, Ended, Failed, Rested, Retaken, Stop, Turned};
use crate::actors::early::Early;
use crate::actors::local::Local;
use crate::actors::reader::{Feed, Feeds};
use crate::actors::steps::{self, Loaded};
use crate::actors::webhook::{self, Delivered, WebhookActor};
use crate::cluster::tenure::Tenure;
use crate::domain::{EntryId, Webhook, WebhookId};
use crate::policy::due::DueTimes;
use crate::policy::matching::Subscriptions;
use crate::policy::pauses::Pauses;
use crate::store::events::Entry;
use crate::store::keys;

/// How often what is past its age is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How long after a take that is done first, at least; twice that at most.
const FIRST_SWEEP: Duration = Duration::from_secs(240);
/// How often what waits is noted for the metrics.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often the wake index is looked over for what memory may have missed.
const LOOK_OVER_EVERY: Duration = Duration::from_secs(10);

/// The actor of one partition.
pub struct PartitionActor {
    pub(super) local: Rc<Local>,
    pub(super) tenure: Rc<Tenure>,
    /// Counts the takings of the partition; shared with the webhooks' actors. What was told of an earlier one is void.
    pub(super) take: Rc<Cell<u64>>,
    pub(super) feed: Rc<Feed>,
    pub(super) feeds: Rc<Feeds>,
    pub(super) table: Subscriptions,
    pub(super) slots: HashMap<WebhookId, Slot>,
    pub(super) due: DueTimes,
    /// The open breakers.
    pub(super) pauses: Pauses,
    /// Webhooks into whose queue nothing has looked since the partition was taken. The wake index alone does not tell
    /// that it is empty: it leaves out a webhook that was inactive until just before.
    pub(super) unseen: HashSet<WebhookId>,
    /// Webhooks whose recovery is being carried out, and whether another look is wanted when that has ended.
    pub(super) recovering: HashMap<WebhookId, bool>,
    pub(super) arrived: VecDeque<Entry>,
    /// Of what has arrived and not been dispatched.
    pub(super) arrived_bytes: usize,
    /// Events that have left `arrived` and are not dispatched.
    pub(super) early: Rc<Early>,
    /// The last entry that has arrived; what comes with a smaller one was read before.
    pub(super) seen: EntryId,
    /// The last round in which it dispatched something.
    pub(super) round: u64,
    /// When it looks whether a dispatch may begin.
    pub(super) look: Option<(Instant, SpawnHandle)>,
    pub(super) dispatching: bool,
    /// A control entry is being carried out: what the events behind it match is not known before that is done.
    pub(super) controlling: bool,
    /// Dropped when no script is under way.
    pub(super) awaiting_dispatch: Vec<oneshot::Sender<()>>,
    /// What the partition holds is being read, and nothing is dispatched until it is known.
    pub(super) loading: bool,
    pub(super) draining: bool,
    pub(super) due_timer: Option<SpawnHandle>,
    /// The entry that the reader seemed to have passed by when it was last looked at.
    pub(super) passed_by: Option<EntryId>,
}

impl PartitionActor {
    /// The actor of the partition of `tenure`; reads from the start.
    pub fn new(local: Rc<Local>, feeds: Rc<Feeds>, tenure: Rc<Tenure>) -> Self {
        let feed = Rc::new(Feed::new(tenure.partition));
        Self {
            early: Rc::new(Early::new(local.clone())),
            seen: EntryId::ZERO,
            look: None,
            round: 0,
            local,
            take: Rc::new(Cell::new(tenure.takes())),
            tenure,
            feed,
            feeds,
            table: Subscriptions::default(),
            slots: HashMap::new(),
            due: DueTimes::default(),
            pauses: Pauses::default(),
            unseen: HashSet::new(),
            recovering: HashMap::new(),
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            dispatching: false,
            controlling: false,
            awaiting_dispatch: Vec::new(),
            loading: true,
            draining: false,
            due_timer: None,
            passed_by: None,
        }
    }

    /// What the partition holds is known, for the first time or anew.
    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        self.table = Subscriptions::default();
        self.unseen = HashSet::new();
        for webhook in loaded.webhooks {
            self.subscribe(&webhook);
            // A webhook that has an actor looks by itself.
            if webhook.is_active && !self.slots.contains_key(&webhook.id) {
                self.unseen.insert(webhook.id);
            }
        }
        self.pauses = Pauses::default();
        for (webhook, until) in loaded.breakers {
            self.pauses.set(webhook, until);
        }
        self.due = DueTimes::default();
        for (webhook, due) in loaded.wake {
            if !self.slots.contains_key(&webhook) {
                self.set_due(webhook, due);
            }
        }
        loaded.recoveries.into_iter().for_each(|webhook| self.recover(webhook, ctx));
        self.tell_breakers();
        self.loading = false;
        if !self.draining {
            // What is still here from before it was taken anew counts.
            self.feed.open.set(self.arrived_bytes <= ARRIVED_BYTES);
            self.feeds.opened();
        }
        self.activate_due(ctx);
        self.dispatch_next(ctx);
    }

    fn begin(&mut self, ctx: &mut Context<Self>) {
        self.feeds.add(self.feed.clone(), ctx.address());
        ctx.run_interval(LOOK_OVER_EVERY, |actor, ctx| actor.look_over(ctx));
        ctx.run_interval(NOTE_EVERY, |actor, _| {
            actor.note_what_waits();
            // Time alone ends a pause.
            actor.tell_breakers();
        });
        ctx.run_interval(SWEEP_EVERY, |actor, ctx| actor.sweep(ctx));
        // A partition that moves more often than that would never be swept; nor shall all of a node be so at once.
        ctx.run_later(FIRST_SWEEP.mul_f64(1.0 + rand::random::<f64>()), |actor, ctx| actor.sweep(ctx));
    }

    /// All that was read is void, but what is in flight or waits to be recorded: it goes on under the new token.
    fn retaken(&mut self, ctx: &mut Context<Self>) {
        self.loading = true;
        self.feed.open.set(false);
        self.feed.rewind();
        self.arrived.clear();
        // The events in `early` stay, with the targets that they had: tried ones must not be overtaken in the mailboxes. They are
        // read again behind themselves, and found done then.
        self.arrived_bytes = self.early.bytes();
        let take = self.tenure.takes();
        self.take.set(take);
        for slot in self.slots.values_mut() {
            slot.told = EntryId::ZERO;
            slot.missed.set(EntryId::ZERO);
            // A full mailbox has messages enough to make the lane look; a closed one is seen by the next look over.
            let nudge = Delivered { take, previous: EntryId::ZERO, deliveries: Vec::new() };
            let _ = slot.actor.try_send(nudge);
        }
        self.load(ctx);
    }

    /// Reads what the partition holds. Other messages are taken meanwhile, so that the actor can be stopped.
    fn load(&mut self, ctx: &mut Context<Self>) {
        let (local, partition, take) = (self.local.clone(), self.tenure.partition, self.take.get());
        let work = async move { steps::load(&local, partition).await };
        ctx.spawn(work.into_actor(self).map(move |loaded, actor, ctx| match loaded {
            // Taken once more meanwhile: that load tells.
            Ok(_) if actor.take.get() != take => {}
            Ok(loaded) => actor.loaded(loaded, ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }

    /// The oldest entry lies behind the reader. It may be on its way through here; if it still lies there at the next
    /// look, and nothing is on its way, the reader has missed it.
    fn behind(&mut self, oldest: EntryId) {
        let idle = !self.loading && !self.dispatching && self.arrived.is_empty() && self.early.is_empty();
        if idle && self.passed_by == Some(oldest) {
            self.passed_by = None;
            self.feed.rewind();
            self.feeds.opened();
        } else {
            self.passed_by = Some(oldest);
        }
    }

    pub(super) fn stop_slots(&mut self) {
        for (_, slot) in self.slots.drain() {
            // Waits for room in the actor's mailbox; until then the tenure lets nothing start.
            actix::spawn(slot.actor.send(webhook::Stop));
        }
    }

    pub(super) fn subscribe(&mut self, webhook: &Webhook) {
        let settings = &webhook.settings;
        self.table.insert(webhook, Arc::from(keys::owner_hash(&settings.tenant, &settings.owner)));
    }
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        const MAILBOX: usize = 1024;
        ctx.set_mailbox_capacity(MAILBOX);
        self.begin(ctx);
        self.load(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.feeds.remove(&self.feed);
        self.tenure.end();
        self.stop_slots();
    }
}

impl Handler<Arrived> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Arrived { entries, rewinds }: Arrived, ctx: &mut Context<Self>) {
        // Read before the last rewind: older entries may have been forgotten, and must not be overtaken.
        if rewinds != self.feed.rewinds() {
            return;
        }
        self.arrived_bytes += entries.iter().map(Entry::size).sum::<usize>();
        self.arrived.extend(entries);
        if self.arrived_bytes > ARRIVED_BYTES {
            self.feed.open.set(false);
        }
        self.dispatch_next(ctx);
    }
}

impl Handler<Ended> for PartitionActor {
    type Result = ();

    fn handle(&mut self, _: Ended, ctx: &mut Context<Self>) {
        self.dispatch_next(ctx);
    }
}

impl Handler<Failed> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Failed(error): Failed, ctx: &mut Context<Self>) {
        self.give_up(&error, ctx);
    }
}

impl Handler<Turned> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Turned { webhook, change }: Turned, _: &mut Context<Self>) {
        self.note_change(&webhook, change);
    }
}

impl Handler<Rested> for PartitionActor {
    type Result = ();

    fn handle(&mut self, rested: Rested, ctx: &mut Context<Self>) {
        self.rested(rested, ctx);
    }
}

impl Handler<Drain> for PartitionActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        self.draining = true;
        self.feed.open.set(false);
        // What a script that is under way puts into mailboxes is for the next owner; its answer must be known, though.
        let (dispatched, dispatching) = oneshot::channel();
        if self.dispatching || !self.early.is_empty() {
            self.awaiting_dispatch.push(dispatched);
            self.dispatch_next(ctx);
        }
        let actors: Vec<Addr<WebhookActor>> = self.slots.values().map(|slot| slot.actor.clone()).collect();
        Box::pin(async move {
            let drained = actors.iter().map(|actor| actor.send(webhook::Drain));
            // Dropped by whoever knows that none is under way.
            let _ = dispatching.await;
            futures_util::future::join_all(drained).await;
        })
    }
}

impl Handler<Stop> for PartitionActor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Retaken> for PartitionActor {
    type Result = ();

    fn handle(&mut self, _: Retaken, ctx: &mut Context<Self>) {
        self.retaken(ctx);
    }
}

impl Handler<Behind> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Behind(oldest): Behind, _: &mut Context<Self>) {
        self.behind(oldest);
    }
}
