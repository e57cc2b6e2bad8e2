//! Which webhooks are left alone by their breaker, and how many: so that nobody is woken for them, and for the gauges.
//!
//! Only saves work: whether anything may be sent is decided by a webhook's lane, from what is kept in Redis.

use super::PartitionActor;
use super::webhooks::SOON;
use crate::clock;
use crate::domain::{Millis, WebhookId};
use crate::policy::breaker::{Change, Standing};
use crate::telemetry::events as facts;

impl PartitionActor {
    /// A webhook without an actor wants attention at `due`, or when its breaker lets it.
    pub(super) fn set_due(&mut self, webhook: WebhookId, due: Millis) {
        let due = self.pauses.defer(&webhook, due);
        self.due.set(webhook, due);
    }

    /// Whether there is nothing to do for a webhook soon, whatever is queued for it.
    pub(super) fn is_paused(&self, webhook: &WebhookId) -> bool {
        let soon = clock::now() + SOON;
        self.pauses.defer(webhook, soon) > soon
    }

    /// The breaker of a webhook has opened or closed.
    pub(super) fn note_change(&mut self, webhook: &WebhookId, change: Change) {
        match change {
            Change::Opened { until, .. } => self.pauses.set(webhook.clone(), until),
            Change::Closed => self.pauses.remove(webhook),
        }
        self.tell_breakers();
    }

    /// The record of a webhook was read again, and what is kept of its failures with it.
    pub(super) fn note_standing(&mut self, webhook: &WebhookId, standing: Standing) {
        if standing.is_open() {
            self.pauses.set(webhook.clone(), standing.pause_ends);
        } else {
            self.pauses.remove(webhook);
        }
        self.tell_breakers();
    }

    pub(super) fn tell_breakers(&self) {
        let is_subscribed = |webhook: &WebhookId| self.table.owner_of(webhook).is_some();
        let counts = self.pauses.counts(clock::now(), self.table.active(), is_subscribed);
        facts::breakers(self.tenure.partition, counts);
    }
}
