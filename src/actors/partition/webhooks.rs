//! Which webhooks have an actor: those with something to do now or soon.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

use super::{PartitionActor, Rested};
use crate::actors::sweep;
use crate::actors::webhook::{self, WebhookActor};
use crate::clock;
use crate::domain::{EntryId, WebhookId};
use crate::policy::lane::Known;
use crate::policy::waiting::{Waiting, older};
use crate::store::mailboxes;
use crate::telemetry::events as facts;
use crate::telemetry::partitions;

/// Webhooks with an actor; what is due beyond that waits for one of them to rest.
const MAX_ACTIVE: usize = 4096;

/// An actor is started that much before it has something to do.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// A webhook that has an actor.
pub(super) struct Slot {
    /// The actor.
    pub(super) actor: Addr<WebhookActor>,
    /// The last entry dispatched to the webhook.
    pub(super) told: EntryId,
    /// The same, where the message about it could not be given to the actor.
    pub(super) missed: Rc<Cell<EntryId>>,
    /// What of it is due and has not been started, as its actor saw it last.
    pub(super) waiting: Rc<Cell<Waiting>>,
    /// How many early deliveries its lane may start now, as its actor saw it last.
    pub(super) room: Rc<Cell<usize>>,
    /// How many messages of a change the actor was sent.
    pub(super) changes: u64,
}

impl PartitionActor {
    pub(super) fn activate(&mut self, id: WebhookId, known: Known, ctx: &mut Context<Self>) {
        // What waits for it is in Redis, for the next owner.
        if self.draining {
            return;
        }
        let known = if self.unseen.remove(&id) { Known::Nothing } else { known };
        let missed = Rc::new(Cell::new(EntryId::ZERO));
        let (waiting, room) = (Rc::new(Cell::new(Waiting::default())), Rc::new(Cell::new(0)));
        let start = webhook::Start {
            local: self.local.clone(),
            owner: ctx.address(),
            tenure: self.tenure.clone(),
            take: self.take.clone(),
            id: id.clone(),
            known,
            missed: missed.clone(),
            waiting: waiting.clone(),
            early: self.early.clone(),
            room: room.clone(),
        };
        let actor = WebhookActor::new(start).start();
        self.slots.insert(id, Slot { actor, told: EntryId::ZERO, missed, waiting, room, changes: 0 });
    }

    /// An actor died of a panic: what it held is still in Redis.
    pub(super) fn rebuild(&mut self, id: &WebhookId, ctx: &mut Context<Self>) {
        facts::actor_restarted(self.tenure.partition, "webhook");
        self.slots.remove(id);
        if self.draining {
            return;
        }
        self.activate(id.clone(), Known::Nothing, ctx);
    }

    pub(super) fn activate_due(&mut self, ctx: &mut Context<Self>) {
        let soon = clock::now() + SOON;
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

    pub(super) fn set_due_timer(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.due_timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(next) = self.due.next() else { return };
        if self.slots.len() >= MAX_ACTIVE {
            return;
        }
        let wait = next.since(clock::now()).saturating_sub(SOON).max(Duration::from_millis(10));
        self.due_timer = Some(ctx.run_later(wait, |actor, ctx| actor.activate_due(ctx)));
    }

    pub(super) fn rested(&mut self, rested: Rested, ctx: &mut Context<Self>) {
        let Rested { webhook, cursor, changes, next } = rested;
        let Some(slot) = self.slots.get(&webhook) else { return };
        // Active again since: what tells its actor so is on its way.
        let activated = cursor.is_none() && self.table.owner_of(&webhook).is_some();
        // Likewise what may let it start something of what it holds.
        let changed = changes != slot.changes;
        if activated || changed || cursor.is_some_and(|cursor| cursor < slot.told) || self.draining {
            return;
        }
        stop(&slot.actor, ctx);
        self.slots.remove(&webhook);
        match next {
            Some(next) => self.set_due(webhook, next),
            // Nothing tells what waits for an inactive one: the wake index leaves it out.
            None if cursor.is_none() => drop(self.unseen.insert(webhook)),
            None => {}
        }
        self.activate_due(ctx);
    }

    /// Notes what is due and has not been started, for the metrics: of the webhooks that have an actor, of those that wait
    /// for one, and of attempts that wait for their turn on the node.
    pub(super) fn note_what_waits(&self) {
        let overdue = self.due.next().filter(|due| *due <= clock::now());
        let no_permit = self.local.permits.oldest_wait();
        let on_node = older(overdue, no_permit);
        let of_slots = self.slots.values().map(|slot| slot.waiting.get());
        let waiting = of_slots.fold(Waiting { on_node, on_webhook: None }, Waiting::or);
        partitions::waiting(self.tenure.partition, waiting);
    }

    /// The wake index against memory: what is due there and has no actor gets one. Saves nothing in ordinary life; it
    /// bounds the harm of a fault to the time between two looks.
    pub(super) fn look_over(&mut self, ctx: &mut Context<Self>) {
        const MOST: usize = 1000;
        let dead: Vec<WebhookId> =
            self.slots.iter().filter(|(_, slot)| !slot.actor.connected()).map(|(id, _)| id.clone()).collect();
        for id in dead {
            self.rebuild(&id, ctx);
        }
        let (local, partition) = (self.local.clone(), self.tenure.partition);
        let work = async move {
            mailboxes::wake(&local.redis, &local.keys, partition, clock::now(), 0, MOST)
                .await
                .unwrap_or_default()
        };
        ctx.spawn(work.into_actor(self).map(|found, actor, ctx| {
            for (webhook, due) in found {
                if !actor.slots.contains_key(&webhook) {
                    actor.set_due(webhook, due);
                }
            }
            actor.activate_due(ctx);
        }));
    }

    /// Removes log rows that are older than `log.retention_days`, and ends what waits for an inactive webhook for too long.
    pub(super) fn sweep(&mut self, ctx: &mut Context<Self>) {
        let (local, tenure) = (self.local.clone(), self.tenure.clone());
        let work = async move { sweep::run(&local, &tenure).await };
        ctx.spawn(work.into_actor(self));
    }
}

/// Stops a webhook's actor even when its mailbox is full just now.
pub(super) fn stop(actor: &Addr<WebhookActor>, ctx: &mut Context<PartitionActor>) {
    let stopped = actor.send(webhook::Stop);
    ctx.spawn(actix::fut::wrap_future::<_, PartitionActor>(stopped).map(|_, _, _| ()));
}
