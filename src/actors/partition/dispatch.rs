//! Events into mailboxes, a batch at a time.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::{Ended, PartitionActor};
use crate::actors::dispatches::weight_of;
use crate::actors::early::Read;
use crate::actors::local::{RidingBody, tell};
use crate::actors::recorder::Job;
use crate::actors::steps;
use crate::actors::webhook::{self, Delivered, Recorded};
use crate::clock;
use crate::domain::{EntryId, Event, EventBody, Receipt, TraceContext, WebhookId};
use crate::policy::early::{MOST_TARGETS, Turn, Undispatched};
use crate::policy::lane::{Delivery, Known};
use crate::policy::matching::Matches;
use crate::policy::trace;
use crate::store::events::{Chunk, Dispatched, Entry, EntryKind, Instruction, Left, MAX_TARGETS};
use crate::store::outcomes::Outcome;
use crate::telemetry::events as facts;
use crate::telemetry::traces::{Begun, Open};

/// Entries in one dispatch call.
const DISPATCH_BATCH: usize = 256;
/// Bytes of bodies in one dispatch call.
const DISPATCH_BYTES: usize = 4 << 20;
/// How long events are matched before others have their turn on the thread.
const AT_ONCE: Duration = Duration::from_millis(5);
/// When this much has arrived and not been dispatched, the reader leaves the partition out.
pub(super) const ARRIVED_BYTES: usize = 4 << 20;

/// Which of its targets' actors were told of an event before its dispatch.
enum Tried {
    All,
    Some,
}

impl PartitionActor {
    pub(super) fn dispatch_next(&mut self, ctx: &mut Context<Self>) {
        // While it is taken anew its records may be others than those in the table.
        if self.loading || self.tenure.is_retaking() {
            return;
        }
        if !self.draining && !self.controlling && self.begin_events() {
            // The rest after what waits meanwhile.
            ctx.notify(Ended);
        }
        if self.dispatching {
            return;
        }
        let now = clock::monotonic();
        let threads = self.local.config.cluster.threads;
        let (round, due) = self.local.dispatches.rounds.at(now, self.tenure.partition, threads);
        // Who waits for the end of everything here waits for all of it, and so does a control entry for the events before it.
        let is_awaited = self.draining || !self.arrived.is_empty();
        let due = if is_awaited || self.round < round { now } else { due };
        match self.early.next(now, due) {
            Some(next) if next > now => self.look_at(next, ctx),
            Some(_) => {
                let (batch, is_full) = self.next_batch(now);
                // What did not fit waits for no other round.
                self.round = if is_full { self.round } else { round };
                self.begin_dispatch(batch, ctx);
            }
            None if self.draining => {}
            None => {
                let is_control = |entry: &Entry| !matches!(entry.kind, EntryKind::Event(_));
                if self.arrived.front().is_some_and(is_control)
                    && let Some(entry) = self.arrived.pop_front()
                {
                    (self.dispatching, self.controlling) = (true, true);
                    self.settled(entry.size());
                    self.control(entry, ctx);
                }
            }
        }
    }

    /// Looks again then, if not before.
    fn look_at(&mut self, at: Instant, ctx: &mut Context<Self>) {
        if self.look.as_ref().is_some_and(|(set, _)| *set <= at) {
            return;
        }
        if let Some((_, timer)) = self.look.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(at - clock::monotonic(), |actor, ctx| {
            actor.look = None;
            actor.dispatch_next(ctx);
        });
        self.look = Some((at, timer));
    }

    /// So many bytes of what has arrived wait for their dispatch no more.
    pub(super) fn settled(&mut self, bytes: usize) {
        self.arrived_bytes -= bytes;
        if self.arrived_bytes < ARRIVED_BYTES / 2 && !self.feed.open.get() && !self.draining {
            self.feed.open.set(true);
            self.feeds.opened();
        }
    }

    /// Begins with the events up to the next control entry, which changes what the events behind it match. Whether some are left
    /// because the thread has been kept long enough: what filters ask may take a while.
    fn begin_events(&mut self) -> bool {
        let begun = clock::monotonic();
        while let Some(Entry { kind: EntryKind::Event(_), .. }) = self.arrived.front()
            && let Some(entry) = self.arrived.pop_front()
        {
            let size = entry.size();
            let Entry { id, kind: EntryKind::Event(event) } = entry else { return false };
            let Matches { targets, skipped } =
                self.table.matching(&event.tenant, &event.event_type, &event.body);
            let body = if self.may_try(id, &targets) { self.riding(id, &event) } else { None };
            self.seen = self.seen.max(id);
            let read = Read { event, targets, skipped, size };
            let tried = body.map(|body| self.try_early(id, &read, &body));
            let (targets, since) = (read.targets.len(), clock::monotonic());
            let event = Undispatched::new(id, read, targets, since);
            self.early.push(match tried {
                Some(Tried::All) => event.tried(),
                Some(Tried::Some) => event.tried().ordinary(),
                None if targets == 0 => event,
                None => event.ordinary(),
            });
            if begun.elapsed() > AT_ONCE {
                return self.arrived.front().is_some_and(|entry| matches!(entry.kind, EntryKind::Event(_)));
            }
        }
        false
    }

    /// Whether all webhooks that an event goes to are likely to attempt it now.
    fn may_try(&self, entry: EntryId, targets: &[(WebhookId, Arc<str>)]) -> bool {
        // What was read before may have been attempted before.
        let is_new = entry > self.seen && !targets.is_empty() && targets.len() <= MOST_TARGETS;
        let has_room =
            |(webhook, _): &(WebhookId, _)| self.slots.get(webhook).is_some_and(|slot| slot.room.get() > 0);
        // Nothing is sent while Redis takes no dispatch: its outcome would have to wait, and be sent again if we die.
        is_new && !self.local.dispatches.is_failing() && targets.iter().all(has_room)
    }

    /// Lets the webhooks' actors attempt an event now.
    fn try_early(&self, entry: EntryId, read: &Read, body: &Arc<RidingBody>) -> Tried {
        let mut tried = Tried::All;
        for slot in read.targets.iter().filter_map(|(webhook, _)| self.slots.get(webhook)) {
            slot.room.set(slot.room.get().saturating_sub(1));
            let (event, body) = (read.event.id.clone(), Some(body.clone()));
            let delivery = Delivery { entry, event, attempt: 1, body };
            if slot.actor.try_send(webhook::Early { take: self.take.get(), delivery }).is_err() {
                tried = Tried::Some;
            }
        }
        tried
    }

    /// The body of an event with the span of its dispatch, if the budget lets it ride along.
    fn riding(&self, entry: EntryId, event: &Event) -> Option<Arc<RidingBody>> {
        let (event_type, bytes) = (event.event_type.clone(), event.body.clone());
        self.local.bodies.admit(EventBody { event_type, bytes, trace: self.span_of(entry, event) })
    }

    /// The events that may be dispatched now, as many as fit into a call, and whether that was the limit.
    fn next_batch(&mut self, now: Instant) -> (Vec<Instruction>, bool) {
        let (mut batch, mut targets, mut bytes, mut last) = (Vec::new(), 0, 0, EntryId::ZERO);
        while batch.len() < DISPATCH_BATCH
            && bytes < DISPATCH_BYTES
            && let Some((entry, read, turn)) = self.early.take(now, |entry, read| {
                let fits = targets == 0 || targets + read.targets.len() <= MAX_TARGETS;
                // What was read twice begins a batch of its own: the script relies on the order of one.
                fits && entry > last
            })
        {
            last = entry;
            targets += weight_of(read.targets.len(), matches!(turn, Turn::Arrived(_)));
            bytes += read.event.body.len();
            self.settled(read.size);
            self.instruct(entry, read, turn, &mut batch);
        }
        let is_full = batch.len() == DISPATCH_BATCH || bytes >= DISPATCH_BYTES || targets >= MAX_TARGETS;
        (batch, is_full)
    }

    fn instruct(&self, entry: EntryId, read: Read, turn: Turn<Job>, batch: &mut Vec<Instruction>) {
        let Read { event, targets, skipped, .. } = read;
        if let Turn::Arrived(jobs) = turn {
            let outcomes = jobs.into_iter().map(|job| job.outcome).collect();
            batch.push(Instruction::Arrived { entry, event, outcomes, skipped });
            return;
        }
        let keep = self.local.layout.home_of(&event.tenant) == self.tenure.partition;
        if targets.len() <= MAX_TARGETS {
            batch.push(Instruction::Event { entry, event, targets, skipped, chunk: Chunk::Whole, keep });
            return;
        }
        let chunks = targets.len().div_ceil(MAX_TARGETS);
        for (n, targets) in targets.chunks(MAX_TARGETS).enumerate() {
            let chunk = if n + 1 == chunks { Chunk::Last } else { Chunk::Part };
            batch.push(Instruction::Event {
                entry,
                event: event.clone(),
                targets: targets.to_vec(),
                skipped: if chunk == Chunk::Last { skipped.clone() } else { Vec::new() },
                chunk,
                keep,
            });
        }
    }

    fn begin_dispatch(&mut self, batch: Vec<Instruction>, ctx: &mut Context<Self>) {
        if !batch.is_empty() {
            self.dispatching = true;
            self.carry_out(batch, ctx);
        }
    }

    pub(super) fn carry_out(&mut self, batch: Vec<Instruction>, ctx: &mut Context<Self>) {
        let (local, tenure, begun) = (self.local.clone(), self.tenure.clone(), Begun::now());
        let work = async move {
            let batch = Rc::new(batch);
            let result = steps::dispatch(&local, &tenure, &batch).await;
            // A call that nobody waits for any more may still hold it.
            (Rc::unwrap_or_clone(batch), result)
        };
        ctx.spawn(work.into_actor(self).map(move |(batch, result), actor, ctx| {
            (actor.dispatching, actor.controlling) = (false, false);
            match result {
                Ok(answers) => actor.dispatched(batch, answers, begun, ctx),
                Err(error) => actor.give_up(&error, ctx),
            }
            actor.dispatch_next(ctx);
            if !actor.dispatching && actor.early.is_empty() {
                actor.awaiting_dispatch.clear();
            }
        }));
    }

    pub(super) fn dispatched(
        &mut self,
        batch: Vec<Instruction>,
        answers: Vec<Dispatched>,
        begun: Begun,
        ctx: &mut Context<Self>,
    ) {
        let mut deliveries: HashMap<WebhookId, Vec<Delivery<Arc<RidingBody>>>> = HashMap::new();
        let (mut events, mut matched, mut count, mut of_event) = (0, 0, 0, 0);
        let entries: Vec<EntryId> = batch.iter().filter_map(Instruction::queued).collect();
        for (instruction, answer) in batch.into_iter().zip(answers) {
            if answer != Dispatched::Skipped {
                facts::skipped(instruction.skipped().iter().map(|(_, reason)| *reason));
            }
            let Left { full, broken } = match (&instruction, answer) {
                (_, Dispatched::Skipped) => {
                    self.done_before(&instruction, begun);
                    continue;
                }
                (_, Dispatched::But(left)) => left,
                (Instruction::Arrived { entry, event, outcomes, .. }, Dispatched::Recorded(receipts)) => {
                    events += 1;
                    matched += 1;
                    count += outcomes.len();
                    self.tell_dispatched(*entry, event, outcomes.len(), begun);
                    self.recorded(outcomes, &receipts);
                    continue;
                }
                (Instruction::Changed { webhook, .. }, Dispatched::Wakes(due)) => {
                    self.wakes(webhook.clone(), due, ctx);
                    continue;
                }
                _ => Left::default(),
            };
            if let Some(event) = instruction.event() {
                full.iter().for_each(|webhook| facts::overflowed(event, webhook));
            }
            match instruction {
                Instruction::Event { entry, event, targets, chunk, .. } => {
                    // A fan-out that is cut into chunks is one event.
                    let counts = usize::from(chunk != Chunk::Part);
                    events += counts;
                    matched += counts.min(targets.len());
                    let body = self.riding(entry, &event);
                    let put =
                        |(webhook, _): &(WebhookId, _)| !full.contains(webhook) && !broken.contains(webhook);
                    for (webhook, _) in targets.into_iter().filter(put) {
                        count += 1;
                        of_event += 1;
                        let (event, body) = (event.id.clone(), body.clone());
                        deliveries.entry(webhook).or_default().push(Delivery {
                            entry,
                            event,
                            attempt: 1,
                            body,
                        });
                    }
                    if chunk != Chunk::Part {
                        self.tell_dispatched(entry, &event, std::mem::take(&mut of_event), begun);
                    }
                }
                Instruction::Resend { entry, event, webhook, .. } if full.is_empty() => {
                    count += 1;
                    deliveries.entry(webhook).or_default().push(Delivery {
                        entry,
                        event,
                        attempt: 1,
                        body: None,
                    });
                }
                Instruction::Quarantine { .. } => facts::quarantined(self.tenure.partition, 1),
                _ => {}
            }
        }
        facts::dispatched(events, matched, count);
        for (webhook, deliveries) in deliveries {
            self.deliver(webhook, deliveries, ctx);
        }
        entries.into_iter().for_each(|entry| self.early.dispatched(entry));
        self.activate_due(ctx);
    }

    /// The dispatch of an event has recorded what came of its early attempts.
    fn recorded(&self, outcomes: &[Outcome], receipts: &[Receipt]) {
        for (outcome, receipt) in outcomes.iter().zip(receipts) {
            match receipt {
                Receipt::NoWebhook => facts::webhook_is_gone(outcome),
                // Gone: by a call whose answer was lost.
                Receipt::Recorded | Receipt::Gone => facts::recorded(outcome),
            }
            if let Some(slot) = self.slots.get(&outcome.webhook) {
                tell(&slot.actor, Recorded { entry: outcome.entry, receipt: *receipt });
            }
        }
    }

    /// A call whose answer was lost had done this already, or it was read twice: its webhooks look for themselves.
    pub(super) fn done_before(&mut self, instruction: &Instruction, begun: Begun) {
        if let Instruction::Arrived { entry, event, outcomes, .. } = instruction {
            self.tell_dispatched(*entry, event, outcomes.len(), begun);
            self.recorded(outcomes, &vec![Receipt::Gone; outcomes.len()]);
            return;
        }
        let (entry, targets) = match instruction {
            Instruction::Event { entry, event, targets, chunk, .. } => {
                // Perhaps nobody has told it, and the spans of the attempts need this one above them. If it was told,
                // it is the same span again.
                if *chunk != Chunk::Part {
                    self.tell_dispatched(*entry, event, targets.len(), begun);
                }
                (*entry, targets.iter().map(|(id, _)| id.clone()).collect())
            }
            Instruction::Resend { entry, webhook, .. } => (*entry, vec![webhook.clone()]),
            _ => (EntryId::ZERO, Vec::new()),
        };
        for id in targets {
            let Some(slot) = self.slots.get_mut(&id) else {
                self.set_due(id, clock::now());
                continue;
            };
            slot.told = slot.told.max(entry);
            slot.missed.set(slot.told);
            // A full mailbox has messages enough to make the lane look; a closed one is seen by the next look over.
            let take = self.take.get();
            let _ = slot.actor.try_send(Delivered { take, previous: slot.told, deliveries: Vec::new() });
        }
    }

    /// The span of an event's dispatch here, if it is traced.
    fn span_of(&self, entry: EntryId, event: &Event) -> Option<TraceContext> {
        event.trace.map(|publish| trace::dispatch(publish, self.tenure.partition, entry))
    }

    fn tell_dispatched(&self, entry: EntryId, event: &Event, deliveries: usize, begun: Begun) {
        let contexts = self.span_of(entry, event).zip(event.trace);
        let span = contexts.and_then(|(context, publish)| Open::named(context, publish, begun));
        facts::event_dispatched(&event.id, self.tenure.partition, deliveries, span);
    }

    pub(super) fn deliver(
        &mut self,
        id: WebhookId,
        deliveries: Vec<Delivery<Arc<RidingBody>>>,
        ctx: &mut Context<Self>,
    ) {
        let Some(last) = deliveries.last().map(|delivery| delivery.entry) else { return };
        if !self.slots.contains_key(&id) {
            if self.draining {
                // Nothing new is started: it lies in its mailbox, for the next owner.
                return;
            }
            if self.is_paused(&id) {
                self.set_due(id, clock::now());
                return;
            }
            // Without a note of it nothing waits for it, unless the notes are just being read anew.
            let may_wait = self.due.remove(&id) || self.loading;
            let known = if may_wait { Known::Nothing } else { Known::EmptyUpTo(EntryId::ZERO) };
            self.activate(id.clone(), known, ctx);
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let previous = std::mem::replace(&mut slot.told, last);
        let take = self.take.get();
        match slot.actor.try_send(Delivered { take, previous, deliveries }) {
            Ok(()) => {}
            Err(SendError::Full(_)) => slot.missed.set(last),
            Err(SendError::Closed(_)) => self.rebuild(&id, ctx),
        }
    }
}
