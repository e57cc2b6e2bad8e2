//! What came of attempts: recorded a batch at a time, and what follows when Redis refuses us.

use std::time::Duration;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::PartitionActor;
use crate::actors::steps::{self, Recorded};
use crate::domain::Receipt;
use crate::store::Error;
use crate::store::outcomes::Outcome;
use crate::telemetry::events as facts;

/// How long a partition rests when Redis refuses us for good: whoever mends it needs no faster answer.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Outcomes in one call.
const OUTCOME_BATCH: usize = 128;

impl PartitionActor {
    pub(super) fn record_next(&mut self, ctx: &mut Context<Self>) {
        if self.recording || self.outcomes.is_empty() {
            return;
        }
        self.recording = true;
        let count = self.outcomes.len().min(OUTCOME_BATCH);
        let (batch, waiting): (Vec<Outcome>, Vec<_>) = self.outcomes.drain(..count).unzip();
        let (local, tenure) = (self.local.clone(), self.tenure.clone());
        let work = async move {
            let result = steps::record(&local, &tenure, &batch).await;
            (batch, waiting, result)
        };
        ctx.spawn(work.into_actor(self).map(|(batch, waiting, result), actor, ctx| {
            actor.recording = false;
            match result {
                Ok(recorded) => actor.answer(&batch, waiting, &recorded),
                Err(error) => actor.give_up(&error, ctx),
            }
            actor.record_next(ctx);
        }));
    }

    /// The partition is not ours any more, or Redis refuses us for good: everything here ends. What is unfinished is
    /// still in Redis, for the next owner; after a refusal that is likely this node again, which would be refused again
    /// and send anew what is in flight now. So it is left alone for a while first.
    pub(super) fn give_up(&mut self, error: &Error, ctx: &mut Context<Self>) {
        if matches!(error, Error::Fenced) {
            facts::fenced(self.tenure.partition);
            ctx.stop();
            return;
        }
        facts::redis_failed(self.tenure.partition, "own the partition", error);
        if !std::mem::replace(&mut self.draining, true) {
            self.feed.open.set(false);
            self.awaiting_dispatch.clear();
            self.stop_slots();
            ctx.run_later(REFUSED_PAUSE, |_, ctx| ctx.stop());
        }
    }

    fn answer(
        &mut self,
        batch: &[Outcome],
        waiting: Vec<oneshot::Sender<Receipt>>,
        Recorded { receipts, repeated }: &Recorded,
    ) {
        for ((outcome, waiting), receipt) in batch.iter().zip(waiting).zip(receipts) {
            match receipt {
                Receipt::Recorded => self.recorded(outcome),
                // What a call without an answer recorded is counted with the call that found it done.
                Receipt::Gone if *repeated => self.recorded(outcome),
                Receipt::Gone => {}
                Receipt::NoWebhook => facts::webhook_is_gone(outcome),
            }
            // Who asked may be gone by now; the outcome is recorded all the same.
            let _ = waiting.send(*receipt);
        }
    }

    fn recorded(&mut self, outcome: &Outcome) {
        facts::recorded(outcome);
        if let Some(change) = outcome.change {
            self.note_change(&outcome.webhook, change);
        }
    }
}
