//! One owned partition: matches what arrives, puts it into mailboxes, records what came of attempts.
//!
//! For correctness: one dispatch script in flight, repeated until its result is known; the lease token in every script;
//! `told`, so that no webhook misses what was queued for it. Only for speed: deliveries handed straight to their
//! webhook's actor with the body, and batches that form while a script is in flight.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::local::{Local, RidingBody};
use super::reader::{Feed, Feeds};
use super::steps::{self, Loaded};
use super::sweep;
use super::webhook::{self, Changed, Delivered, WebhookActor};
use crate::clock;
use crate::domain::{EntryId, EventBody, EventId, Millis, Partition, Tenant, Webhook, WebhookId};
use crate::policy::due::DueTimes;
use crate::policy::lane::{Delivery, Known};
use crate::policy::matching::Subscriptions;
use crate::store::events::{Chunk, Dispatched, Entry, EntryKind, Instruction, MAX_TARGETS};
use crate::store::mailboxes;
use crate::store::outcomes::Outcome;
use crate::store::{Error, keys, record};
use crate::telemetry::events as facts;

/// Entries in one dispatch call.
const DISPATCH_BATCH: usize = 128;
/// Bytes of bodies in one dispatch call.
const DISPATCH_BYTES: usize = 4 << 20;
/// Outcomes in one call.
const OUTCOME_BATCH: usize = 128;
/// When this much has arrived and not been dispatched, the reader leaves the partition out.
const ARRIVED_BYTES: usize = 4 << 20;
/// Webhooks with an actor; what is due beyond that waits for one of them to rest.
const MAX_ACTIVE: usize = 4096;
/// How often what is past its age is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// How often the wake index is looked over for what memory may have missed.
const LOOK_OVER_EVERY: Duration = Duration::from_secs(10);

/// Entries of the events stream, from the reader.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived(pub Vec<Entry>);

/// Records an outcome; answers whether it was recorded now.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Record(pub Outcome);

/// A webhook has nothing to do before `next`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Rested {
    /// Which.
    pub webhook: WebhookId,
    /// The last mailbox entry that its lane has seen; `None` = whatever was told, there is no webhook or it is inactive.
    pub cursor: Option<EntryId>,
    /// When it wants attention again.
    pub next: Option<Millis>,
}

/// Starts nothing new; answers when everything in flight has been recorded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// Ends the actor at once.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

struct Slot {
    actor: Addr<WebhookActor>,
    /// The last entry dispatched to the webhook.
    told: EntryId,
    /// The same, where the message about it could not be given to the actor.
    missed: Rc<Cell<EntryId>>,
}

/// The actor of one partition.
pub struct PartitionActor {
    local: Rc<Local>,
    partition: Partition,
    token: Arc<str>,
    feed: Rc<Feed>,
    feeds: Rc<Feeds>,
    table: Subscriptions,
    slots: HashMap<WebhookId, Slot>,
    due: DueTimes,
    arrived: VecDeque<Entry>,
    arrived_bytes: usize,
    dispatching: bool,
    outcomes: VecDeque<(Outcome, oneshot::Sender<bool>)>,
    recording: bool,
    draining: bool,
    due_timer: Option<SpawnHandle>,
}

impl PartitionActor {
    /// The actor of `partition`, whose lease has `token`; reads from the start.
    pub fn new(local: Rc<Local>, feeds: Rc<Feeds>, partition: Partition, token: Arc<str>) -> Self {
        let feed = Rc::new(Feed { partition, cursor: Cell::new(EntryId::ZERO), open: Cell::new(false) });
        Self {
            local,
            partition,
            token,
            feed,
            feeds,
            table: Subscriptions::default(),
            slots: HashMap::new(),
            due: DueTimes::default(),
            arrived: VecDeque::new(),
            arrived_bytes: 0,
            dispatching: false,
            outcomes: VecDeque::new(),
            recording: false,
            draining: false,
            due_timer: None,
        }
    }

    // ---- what is known at the start ----

    fn loaded(&mut self, loaded: Loaded, ctx: &mut Context<Self>) {
        for webhook in loaded.webhooks {
            self.subscribe(&webhook);
        }
        for (webhook, due) in loaded.wake {
            self.due.set(webhook, due);
        }
        self.feed.open.set(true);
        self.feeds.add(self.feed.clone(), ctx.address());
        self.activate_due(ctx);
        ctx.run_interval(LOOK_OVER_EVERY, |actor, ctx| actor.look_over(ctx));
        ctx.run_interval(SWEEP_EVERY, |actor, ctx| actor.sweep(ctx));
    }

    fn subscribe(&mut self, webhook: &Webhook) {
        let settings = &webhook.settings;
        if webhook.is_active {
            let owner_hash = Arc::from(keys::owner_hash(&settings.tenant, &settings.owner));
            self.table.insert(&settings.tenant, webhook.id.clone(), settings.events.clone(), owner_hash);
        } else {
            self.table.remove(&webhook.id);
        }
    }

    // ---- dispatch ----

    fn dispatch_next(&mut self, ctx: &mut Context<Self>) {
        if self.dispatching || self.draining {
            return;
        }
        let Some(first) = self.arrived.front() else { return };
        self.dispatching = true;
        if matches!(first.kind, EntryKind::Event(_)) {
            let batch = self.next_batch();
            self.carry_out(batch, ctx);
        } else if let Some(entry) = self.take_arrived() {
            self.control(entry, ctx);
        }
    }

    fn take_arrived(&mut self) -> Option<Entry> {
        let entry = self.arrived.pop_front()?;
        self.arrived_bytes -= entry.size();
        if self.arrived_bytes < ARRIVED_BYTES / 2 && !self.feed.open.get() && !self.draining {
            self.feed.open.set(true);
            self.feeds.opened();
        }
        Some(entry)
    }

    /// The events up to the next control entry, as many as fit into a call. A control entry changes what the events
    /// behind it match, so it ends the batch.
    fn next_batch(&mut self) -> Vec<Instruction> {
        let (mut batch, mut targets, mut bytes) = (Vec::new(), 0, 0);
        while batch.len() < DISPATCH_BATCH
            && bytes < DISPATCH_BYTES
            && let Some(Entry { kind: EntryKind::Event(event), .. }) = self.arrived.front()
        {
            let matched = self.table.matching(&event.tenant, &event.event_type).len();
            if !batch.is_empty() && targets + matched > MAX_TARGETS {
                break;
            }
            targets += matched;
            let Some(Entry { id, kind: EntryKind::Event(event) }) = self.take_arrived() else { break };
            bytes += event.body.len();
            self.instruct(id, event, &mut batch);
        }
        batch
    }

    fn instruct(&mut self, entry: EntryId, event: crate::domain::Event, batch: &mut Vec<Instruction>) {
        let keep = self.local.layout.home_of(&event.tenant) == self.partition;
        let targets = self.table.matching(&event.tenant, &event.event_type);
        if targets.len() <= MAX_TARGETS {
            let targets = targets.to_vec();
            batch.push(Instruction::Event { entry, event, targets, chunk: Chunk::Whole, keep });
            return;
        }
        let chunks = targets.len().div_ceil(MAX_TARGETS);
        for (n, targets) in targets.chunks(MAX_TARGETS).enumerate() {
            let chunk = if n + 1 == chunks { Chunk::Last } else { Chunk::Part };
            batch.push(Instruction::Event {
                entry,
                event: event.clone(),
                targets: targets.to_vec(),
                chunk,
                keep,
            });
        }
    }

    fn carry_out(&mut self, batch: Vec<Instruction>, ctx: &mut Context<Self>) {
        let (local, partition, token) = (self.local.clone(), self.partition, self.token.clone());
        let work = async move {
            let result = steps::dispatch(&local, partition, &token, &batch).await;
            (batch, result)
        };
        ctx.spawn(work.into_actor(self).map(|(batch, result), actor, ctx| {
            actor.dispatching = false;
            match result {
                Ok(answers) => actor.dispatched(batch, answers, ctx),
                Err(error) => actor.give_up(&error, ctx),
            }
            actor.dispatch_next(ctx);
        }));
    }

    fn dispatched(&mut self, batch: Vec<Instruction>, answers: Vec<Dispatched>, ctx: &mut Context<Self>) {
        let mut deliveries: HashMap<WebhookId, Vec<Delivery<Arc<RidingBody>>>> = HashMap::new();
        let (mut events, mut count) = (0, 0);
        for (instruction, answer) in batch.into_iter().zip(answers) {
            let full = match (&instruction, answer) {
                (_, Dispatched::Skipped) => {
                    self.done_before(&instruction);
                    continue;
                }
                (_, Dispatched::Full(full)) => full,
                (Instruction::Changed { webhook, .. }, Dispatched::Wakes(due)) => {
                    self.wakes(webhook.clone(), due, ctx);
                    continue;
                }
                _ => Vec::new(),
            };
            full.iter().for_each(facts::overflowed);
            match instruction {
                Instruction::Event { entry, event, targets, .. } => {
                    events += 1;
                    let body = EventBody { event_type: event.event_type.clone(), bytes: event.body.clone() };
                    let body = self.local.bodies.admit(body);
                    for (webhook, _) in targets.into_iter().filter(|(webhook, _)| !full.contains(webhook)) {
                        count += 1;
                        let (event, body) = (event.id.clone(), body.clone());
                        deliveries.entry(webhook).or_default().push(Delivery {
                            entry,
                            event,
                            attempt: 1,
                            body,
                        });
                    }
                }
                Instruction::Resend { entry, event, webhook, .. } => {
                    count += 1;
                    deliveries.entry(webhook).or_default().push(Delivery {
                        entry,
                        event,
                        attempt: 1,
                        body: None,
                    });
                }
                Instruction::Quarantine { .. } => facts::quarantined(self.partition, 1),
                _ => {}
            }
        }
        facts::dispatched(events, count);
        for (webhook, deliveries) in deliveries {
            self.deliver(webhook, deliveries, ctx);
        }
        self.activate_due(ctx);
    }

    /// A call whose answer was lost had done this already, or it was read twice: its webhooks look for themselves.
    fn done_before(&mut self, instruction: &Instruction) {
        let (entry, targets) = match instruction {
            Instruction::Event { entry, targets, .. } => {
                (*entry, targets.iter().map(|(id, _)| id.clone()).collect())
            }
            Instruction::Resend { entry, webhook, .. } => (*entry, vec![webhook.clone()]),
            _ => (EntryId::ZERO, Vec::new()),
        };
        for id in targets {
            let Some(slot) = self.slots.get_mut(&id) else {
                self.due.set(id, clock::now());
                continue;
            };
            slot.told = slot.told.max(entry);
            slot.missed.set(slot.told);
            // A full mailbox has messages enough to make the lane look; a closed one is seen by the next look over.
            let _ = slot.actor.try_send(Delivered { previous: slot.told, deliveries: Vec::new() });
        }
    }

    fn deliver(
        &mut self,
        id: WebhookId,
        deliveries: Vec<Delivery<Arc<RidingBody>>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(last) = deliveries.last().map(|delivery| delivery.entry) else { return };
        if !self.slots.contains_key(&id) {
            let known = if self.due.remove(&id) { Known::Nothing } else { Known::EmptyUpTo(EntryId::ZERO) };
            self.activate(id.clone(), known, ctx);
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let previous = std::mem::replace(&mut slot.told, last);
        match slot.actor.try_send(Delivered { previous, deliveries }) {
            Ok(()) => {}
            Err(actix::prelude::SendError::Full(_)) => slot.missed.set(last),
            Err(actix::prelude::SendError::Closed(_)) => self.rebuild(&id, ctx),
        }
    }

    // ---- control entries ----

    fn control(&mut self, Entry { id: entry, kind }: Entry, ctx: &mut Context<Self>) {
        match kind {
            EntryKind::Event(_) => {}
            EntryKind::Changed(webhook) => self.reread(entry, webhook, ctx),
            EntryKind::Deleted(webhook, owner_hash, tenant) => {
                self.purge(entry, webhook, owner_hash, tenant, ctx)
            }
            EntryKind::Resend(webhook, event, event_hash) => {
                let instruction = self.resend(entry, webhook, event, event_hash);
                self.carry_out(vec![instruction], ctx);
            }
            EntryKind::Unreadable(text) => self.carry_out(vec![Instruction::Quarantine { entry, text }], ctx),
        }
    }

    fn resend(&self, entry: EntryId, webhook: WebhookId, event: EventId, event_hash: String) -> Instruction {
        let Some((tenant, owner_hash)) = self.table.owner_of(&webhook) else {
            return Instruction::Skip { entry };
        };
        let (tenant_hash, owner_hash) = (Arc::from(keys::tenant_hash(tenant)), owner_hash.clone());
        Instruction::Resend { entry, event, event_hash, tenant_hash, webhook, owner_hash }
    }

    /// A webhook's record was written: what it says holds for every event behind this entry.
    fn reread(&mut self, entry: EntryId, id: WebhookId, ctx: &mut Context<Self>) {
        let (local, partition) = (self.local.clone(), self.partition);
        let work = async move {
            let answer = steps::read_record(&local, partition, &id).await;
            (id, answer)
        };
        ctx.spawn(work.into_actor(self).map(move |(id, answer), actor, ctx| match answer {
            Ok((record, paused)) => actor.reread_done(entry, id, record, paused, ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }

    fn reread_done(
        &mut self,
        entry: EntryId,
        id: WebhookId,
        record: Option<String>,
        paused: Option<Millis>,
        ctx: &mut Context<Self>,
    ) {
        let webhook = record.and_then(|text| record::decode(&id, &text).ok());
        let instruction = match webhook {
            Some(webhook) => {
                self.subscribe(&webhook);
                let active = webhook.is_active;
                if let Some(slot) = self.slots.get(&id) {
                    let changed = slot.actor.send(Changed { webhook: Arc::new(webhook), paused });
                    // Waits for room in the actor's mailbox: this message must not be lost.
                    ctx.spawn(changed.into_actor(self).map(|_, _, _| ()));
                }
                Instruction::Changed { entry, webhook: id, active }
            }
            None => {
                self.table.remove(&id);
                Instruction::Skip { entry }
            }
        };
        self.carry_out(vec![instruction], ctx);
    }

    /// The webhook wants attention at `due`, says its queue.
    fn wakes(&mut self, webhook: WebhookId, due: Option<Millis>, ctx: &mut Context<Self>) {
        if self.slots.contains_key(&webhook) {
            return;
        }
        match due {
            Some(due) => self.due.set(webhook, due),
            None => drop(self.due.remove(&webhook)),
        }
        self.activate_due(ctx);
    }

    fn purge(
        &mut self,
        entry: EntryId,
        id: WebhookId,
        owner: String,
        tenant: Tenant,
        ctx: &mut Context<Self>,
    ) {
        self.table.remove(&id);
        self.due.remove(&id);
        if let Some(slot) = self.slots.remove(&id) {
            stop(&slot.actor, ctx);
        }
        let (local, partition, token) = (self.local.clone(), self.partition, self.token.clone());
        let work = async move {
            let result = steps::purge(&local, partition, &token, &id, &owner, &tenant).await;
            (id, result)
        };
        ctx.spawn(work.into_actor(self).map(move |(webhook, result), actor, ctx| match result {
            Ok(()) => actor.carry_out(vec![Instruction::Deleted { entry, webhook }], ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }

    // ---- webhook actors ----

    fn activate(&mut self, id: WebhookId, known: Known, ctx: &mut Context<Self>) {
        let missed = Rc::new(Cell::new(EntryId::ZERO));
        let start = webhook::Start {
            local: self.local.clone(),
            owner: ctx.address(),
            partition: self.partition,
            id: id.clone(),
            known,
            missed: missed.clone(),
            token: self.token.clone(),
        };
        self.slots.insert(id, Slot { actor: WebhookActor::new(start).start(), told: EntryId::ZERO, missed });
    }

    /// An actor died of a panic: what it held is still in Redis.
    fn rebuild(&mut self, id: &WebhookId, ctx: &mut Context<Self>) {
        facts::actor_restarted(self.partition, "webhook");
        self.slots.remove(id);
        self.activate(id.clone(), Known::Nothing, ctx);
    }

    fn activate_due(&mut self, ctx: &mut Context<Self>) {
        let soon = clock::now() + Duration::from_secs(1);
        while !self.draining
            && self.slots.len() < MAX_ACTIVE
            && let Some(id) = self.due.take_due(soon)
        {
            if !self.slots.contains_key(&id) {
                self.activate(id, Known::Nothing, ctx);
            }
        }
        self.set_due_timer(ctx);
    }

    fn set_due_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.due_timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(next) = self.due.next() else { return };
        if self.slots.len() >= MAX_ACTIVE {
            return;
        }
        let wait =
            next.since(clock::now()).saturating_sub(Duration::from_secs(1)).max(Duration::from_millis(10));
        self.due_timer = Some(ctx.run_later(wait, |actor, ctx| actor.activate_due(ctx)));
    }

    fn rested(&mut self, rested: Rested, ctx: &mut Context<Self>) {
        let Rested { webhook, cursor, next } = rested;
        let Some(slot) = self.slots.get(&webhook) else { return };
        // Active again since: what tells its actor so is on its way.
        let activated = cursor.is_none() && self.table.owner_of(&webhook).is_some();
        if activated || cursor.is_some_and(|cursor| cursor < slot.told) || self.draining {
            return;
        }
        stop(&slot.actor, ctx);
        self.slots.remove(&webhook);
        if let Some(next) = next {
            self.due.set(webhook, next);
        }
        self.activate_due(ctx);
    }

    /// The wake index against memory: what is due there and has no actor gets one. Saves nothing in ordinary life; it
    /// bounds the harm of a fault to the time between two looks.
    fn look_over(&mut self, ctx: &mut Context<Self>) {
        const MOST: usize = 1000;
        let dead: Vec<WebhookId> =
            self.slots.iter().filter(|(_, slot)| !slot.actor.connected()).map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.rebuild(&id, ctx);
        }
        let (local, partition) = (self.local.clone(), self.partition);
        let work = async move {
            mailboxes::wake(&local.redis, &local.keys, partition, clock::now(), 0, MOST)
                .await
                .unwrap_or_default()
        };
        ctx.spawn(work.into_actor(self).map(|found, actor, ctx| {
            for (webhook, due) in found {
                if !actor.slots.contains_key(&webhook) {
                    actor.due.set(webhook, due);
                }
            }
            actor.activate_due(ctx);
        }));
    }

    /// Removes log rows that are older than `log.retention_days`, and ends what waits for an inactive webhook for too long.
    fn sweep(&mut self, ctx: &mut Context<Self>) {
        let (local, partition, token) = (self.local.clone(), self.partition, self.token.clone());
        let work = async move { sweep::run(&local, partition, &token).await };
        ctx.spawn(work.into_actor(self));
    }

    // ---- outcomes ----

    fn record_next(&mut self, ctx: &mut Context<Self>) {
        if self.recording || self.outcomes.is_empty() {
            return;
        }
        self.recording = true;
        let count = self.outcomes.len().min(OUTCOME_BATCH);
        let (batch, waiting): (Vec<Outcome>, Vec<_>) = self.outcomes.drain(..count).unzip();
        let (local, partition, token) = (self.local.clone(), self.partition, self.token.clone());
        let work = async move {
            let result = steps::record(&local, partition, &token, &batch).await;
            (batch, waiting, result)
        };
        ctx.spawn(work.into_actor(self).map(|(batch, waiting, result), actor, ctx| {
            actor.recording = false;
            match result {
                Ok(recorded) => answer(&batch, waiting, &recorded),
                Err(error) => actor.give_up(&error, ctx),
            }
            actor.record_next(ctx);
        }));
    }

    /// The partition is not ours any more, or Redis refuses us for good: everything here ends. What is unfinished is
    /// still in Redis, for the next owner.
    fn give_up(&mut self, error: &Error, ctx: &mut Context<Self>) {
        match error {
            Error::Fenced => facts::fenced(self.partition),
            _ => facts::redis_failed(self.partition, "own the partition", error),
        }
        ctx.stop();
    }
}

fn answer(batch: &[Outcome], waiting: Vec<oneshot::Sender<bool>>, recorded: &[bool]) {
    for ((outcome, waiting), recorded) in batch.iter().zip(waiting).zip(recorded) {
        if *recorded {
            facts::recorded(outcome);
        }
        // Who asked may be gone by now; the outcome is recorded all the same.
        let _ = waiting.send(*recorded);
    }
}

/// Stops a webhook's actor even when its mailbox is full just now.
fn stop(actor: &Addr<WebhookActor>, ctx: &mut Context<PartitionActor>) {
    let stopped = actor.send(webhook::Stop);
    ctx.spawn(actix::fut::wrap_future::<_, PartitionActor>(stopped).map(|_, _, _| ()));
}

impl Actor for PartitionActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        const MAILBOX: usize = 1024;
        ctx.set_mailbox_capacity(MAILBOX);
        let (local, partition) = (self.local.clone(), self.partition);
        let work = async move { steps::load(&local, partition).await };
        ctx.wait(work.into_actor(self).map(|loaded, actor, ctx| match loaded {
            Ok(loaded) => actor.loaded(loaded, ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.feeds.remove(self.partition);
        for (_, slot) in self.slots.drain() {
            // An actor whose mailbox is full sees that its partition is gone when it next records.
            let _ = slot.actor.try_send(webhook::Stop);
        }
    }
}

impl Handler<Arrived> for PartitionActor {
    type Result = ();

    fn handle(&mut self, Arrived(entries): Arrived, ctx: &mut Context<Self>) {
        self.arrived_bytes += entries.iter().map(Entry::size).sum::<usize>();
        self.arrived.extend(entries);
        if self.arrived_bytes > ARRIVED_BYTES {
            self.feed.open.set(false);
        }
        self.dispatch_next(ctx);
    }
}

impl Handler<Record> for PartitionActor {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, Record(outcome): Record, ctx: &mut Context<Self>) -> ResponseFuture<bool> {
        let (sender, receiver) = oneshot::channel();
        self.outcomes.push_back((outcome, sender));
        self.record_next(ctx);
        Box::pin(async move { receiver.await.unwrap_or(false) })
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

    fn handle(&mut self, _: Drain, _: &mut Context<Self>) -> ResponseFuture<()> {
        self.draining = true;
        self.feed.open.set(false);
        let actors: Vec<Addr<WebhookActor>> = self.slots.values().map(|slot| slot.actor.clone()).collect();
        Box::pin(async move {
            let drained = actors.iter().map(|actor| actor.send(webhook::Drain));
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
