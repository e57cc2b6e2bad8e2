//! Entries of the events stream that are not events: a webhook was changed or deleted, a delivery is wanted again.

use std::sync::Arc;

use actix::prelude::*;

use super::PartitionActor;
use super::webhooks::stop;
use crate::actors::steps;
use crate::actors::webhook::Changed;
use crate::domain::{EntryId, EventId, Millis, Tenant, WebhookId};
use crate::policy::breaker::Standing;
use crate::store::events::{Entry, EntryKind, Instruction};
use crate::store::{keys, record};

impl PartitionActor {
    pub(super) fn control(&mut self, Entry { id: entry, kind }: Entry, ctx: &mut Context<Self>) {
        match kind {
            EntryKind::Event(_) => {}
            EntryKind::Changed(webhook) => self.reread(entry, webhook, ctx),
            EntryKind::Deleted(webhook, owner_hash, tenant) => {
                self.purge(entry, webhook, owner_hash, tenant, ctx)
            }
            EntryKind::Resend(webhook, event, event_hash) => {
                let mut batch = vec![self.resend(entry, webhook, event, event_hash)];
                self.join_resends(&mut batch);
                self.carry_out(batch, ctx);
            }
            EntryKind::Recover(webhook) => {
                self.recover(webhook, ctx);
                self.carry_out(vec![Instruction::Skip { entry }], ctx);
            }
            EntryKind::Unreadable(text) => self.carry_out(vec![Instruction::Quarantine { entry, text }], ctx),
        }
    }

    /// Those that follow go along in the same call: a recovery makes many, and they change nothing of what events match.
    fn join_resends(&mut self, batch: &mut Vec<Instruction>) {
        const MOST: usize = 100;
        while batch.len() < MOST
            && let Some(Entry { kind: EntryKind::Resend(..), .. }) = self.arrived.front()
            && let Some(entry) = self.arrived.pop_front()
        {
            self.settled(entry.size());
            if let Entry { id, kind: EntryKind::Resend(webhook, event, event_hash) } = entry {
                batch.push(self.resend(id, webhook, event, event_hash));
            }
        }
    }

    pub(super) fn resend(
        &self,
        entry: EntryId,
        webhook: WebhookId,
        event: EventId,
        event_hash: String,
    ) -> Instruction {
        let Some((tenant, owner_hash)) = self.table.owner_of(&webhook) else {
            return Instruction::Skip { entry };
        };
        let (tenant_hash, owner_hash) = (Arc::from(keys::tenant_hash(tenant)), owner_hash.clone());
        Instruction::Resend { entry, event, event_hash, tenant_hash, webhook, owner_hash }
    }

    /// A webhook's record was written: what it says holds for every event behind this entry.
    pub(super) fn reread(&mut self, entry: EntryId, id: WebhookId, ctx: &mut Context<Self>) {
        let (local, partition) = (self.local.clone(), self.tenure.partition);
        let work = async move {
            let answer = steps::read_record_at_least(&local, partition, &id).await;
            (id, answer)
        };
        ctx.spawn(work.into_actor(self).map(move |(id, answer), actor, ctx| match answer {
            Ok((record, standing)) => actor.reread_done(entry, id, record, standing, ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }

    pub(super) fn reread_done(
        &mut self,
        entry: EntryId,
        id: WebhookId,
        record: Option<String>,
        standing: Standing,
        ctx: &mut Context<Self>,
    ) {
        let webhook = record.and_then(|text| record::decode(&id, &text, &self.local.keyring).ok());
        let instruction = match webhook {
            Some(webhook) => {
                self.subscribe(&webhook);
                self.note_standing(&id, standing);
                let active = webhook.is_active;
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.changes += 1;
                    let changed = slot.actor.send(Changed { webhook: Arc::new(webhook), standing });
                    // Waits for room in the actor's mailbox: this message must not be lost.
                    ctx.spawn(changed.into_actor(self).map(|_, _, _| ()));
                }
                Instruction::Changed { entry, webhook: id, active }
            }
            None => {
                self.table.remove(&id);
                self.pauses.remove(&id);
                self.tell_breakers();
                Instruction::Skip { entry }
            }
        };
        self.carry_out(vec![instruction], ctx);
    }

    /// The webhook wants attention at `due`, says its queue.
    pub(super) fn wakes(&mut self, webhook: WebhookId, due: Option<Millis>, ctx: &mut Context<Self>) {
        if self.slots.contains_key(&webhook) {
            return;
        }
        match due {
            Some(due) => self.set_due(webhook, due),
            None => drop(self.due.remove(&webhook)),
        }
        self.activate_due(ctx);
    }

    pub(super) fn purge(
        &mut self,
        entry: EntryId,
        id: WebhookId,
        owner: String,
        tenant: Tenant,
        ctx: &mut Context<Self>,
    ) {
        self.table.remove(&id);
        self.due.remove(&id);
        self.unseen.remove(&id);
        self.pauses.remove(&id);
        self.tell_breakers();
        if let Some(slot) = self.slots.remove(&id) {
            stop(&slot.actor, ctx);
        }
        let (local, tenure) = (self.local.clone(), self.tenure.clone());
        let work = async move {
            let result = steps::purge(&local, &tenure, &id, &owner, &tenant).await;
            (id, result)
        };
        ctx.spawn(work.into_actor(self).map(move |(webhook, result), actor, ctx| match result {
            Ok(()) => actor.carry_out(vec![Instruction::Deleted { entry, webhook }], ctx),
            Err(error) => actor.give_up(&error, ctx),
        }));
    }
}
