//! Attempts of events that have not been dispatched yet. They are in no mailbox: what may not start at once is declined, and
//! comes again with its dispatch.

use super::{InFlight, Lane, UNRECORDED};
use crate::domain::{EntryId, Millis};
use crate::policy::lane::words::{Delivery, Effect};

impl<B: Clone> Lane<B> {
    /// How many early deliveries may start now: none while anything waits before them, and none of an ordered webhook, whose
    /// deliveries have one order only in its mailbox.
    pub fn room_for_early(&self, now: Millis) -> usize {
        let waits = !self.window.is_empty() || self.is_behind() || self.asked.is_some();
        let retries = !self.retries_complete || self.due_retry(now).is_some();
        if waits || retries || self.limits.ordered || self.breaker.is_open() || !self.may_start(now) {
            return 0;
        }
        let unrecorded = self.in_flight.len() - self.sending;
        let to_record = 2 * self.limits.max_concurrency + UNRECORDED - unrecorded;
        // What is attempted must find room in the mailbox, if it comes to that: as far as the lane knows of what lies there.
        let in_mailbox = self.limits.max_pending.saturating_sub(self.in_flight.len() + self.retries.len());
        (self.limits.max_concurrency - self.sending).min(to_record).min(in_mailbox)
    }

    pub(super) fn start_early(&mut self, delivery: Delivery<B>, now: Millis) -> Effect<B> {
        let entry = delivery.entry;
        let is_young = now.since(Millis(entry.ms)) <= self.limits.max_age;
        let may_start = self.room_for_early(now) > 0 && is_young && self.is_new(entry) && self.has_pace(now);
        if !may_start {
            return Effect::Decline(entry);
        }
        let flight = InFlight {
            event: delivery.event.clone(),
            attempt: delivery.attempt,
            was_retry: false,
            early: true,
            term: self.breaker.started(),
            outdated: false,
            unrecorded: None,
        };
        self.in_flight.insert(entry, flight);
        self.sending += 1;
        Effect::Start(delivery)
    }

    /// Whether it cannot have been dispatched to this webhook before.
    fn is_new(&self, entry: EntryId) -> bool {
        entry > self.cursor && !self.in_flight.contains_key(&entry)
    }

    fn has_pace(&mut self, now: Millis) -> bool {
        match self.pace.as_ref().map(|pace| pace.take(now)) {
            Some(Err(wait)) => {
                self.pace_until = now + wait;
                false
            }
            Some(Ok(_)) | None => true,
        }
    }
}
