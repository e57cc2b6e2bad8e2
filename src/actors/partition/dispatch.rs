//! Events into mailboxes, a batch at a time.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::*;

use super::PartitionActor;
use crate::actors::local::RidingBody;
use crate::actors::steps;
use crate::actors::webhook::Delivered;
use crate::clock;
use crate::domain::{EntryId, Event, EventBody, TraceContext, WebhookId};
use crate::policy::lane::{Delivery, Known};
use crate::policy::trace;
use crate::store::events::{Chunk, Dispatched, Entry, EntryKind, Instruction, Left, MAX_TARGETS};
use crate::telemetry::events as facts;
use crate::telemetry::traces::{Begun, Open};

/// Entries in one dispatch call.
const DISPATCH_BATCH: usize = 128;
/// Bytes of bodies in one dispatch call.
const DISPATCH_BYTES: usize = 4 << 20;
/// When this much has arrived and not been dispatched, the reader leaves the partition out.
pub(super) const ARRIVED_BYTES: usize = 4 << 20;

impl PartitionActor {
    pub(super) fn dispatch_next(&mut self, ctx: &mut Context<Self>) {
        // While it is taken anew its records may be others than those in the table.
        if self.dispatching || self.loading || self.draining || self.tenure.is_retaking() {
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

    pub(super) fn take_arrived(&mut self) -> Option<Entry> {
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
    pub(super) fn next_batch(&mut self) -> Vec<Instruction> {
        let (mut batch, mut targets, mut bytes, mut last) = (Vec::new(), 0, 0, EntryId::ZERO);
        while batch.len() < DISPATCH_BATCH
            && bytes < DISPATCH_BYTES
            && let Some(Entry { id, kind: EntryKind::Event(event) }) = self.arrived.front()
            // What was read twice begins a batch of its own: the script relies on the order of one.
            && *id > last
        {
            last = *id;
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

    pub(super) fn instruct(&mut self, entry: EntryId, event: Event, batch: &mut Vec<Instruction>) {
        let keep = self.local.layout.home_of(&event.tenant) == self.tenure.partition;
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

    pub(super) fn carry_out(&mut self, batch: Vec<Instruction>, ctx: &mut Context<Self>) {
        let (local, tenure, begun) = (self.local.clone(), self.tenure.clone(), Begun::now());
        let work = async move {
            let batch = Rc::new(batch);
            let result = steps::dispatch(&local, &tenure, &batch).await;
            // A call that nobody waits for any more may still hold it.
            (Rc::unwrap_or_clone(batch), result)
        };
        ctx.spawn(work.into_actor(self).map(move |(batch, result), actor, ctx| {
            actor.dispatching = false;
            actor.awaiting_dispatch.clear();
            match result {
                Ok(answers) => actor.dispatched(batch, answers, begun, ctx),
                Err(error) => actor.give_up(&error, ctx),
            }
            actor.dispatch_next(ctx);
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
        for (instruction, answer) in batch.into_iter().zip(answers) {
            let Left { full, broken } = match (&instruction, answer) {
                (_, Dispatched::Skipped) => {
                    self.done_before(&instruction, begun);
                    continue;
                }
                (_, Dispatched::But(left)) => left,
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
                    let (event_type, bytes) = (event.event_type.clone(), event.body.clone());
                    let body = EventBody { event_type, bytes, trace: self.span_of(entry, &event) };
                    let body = self.local.bodies.admit(body);
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
        self.activate_due(ctx);
    }

    /// A call whose answer was lost had done this already, or it was read twice: its webhooks look for themselves.
    pub(super) fn done_before(&mut self, instruction: &Instruction, begun: Begun) {
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
