//! What of a lane is due and has not been started, for those who watch.

use super::Lane;
use crate::domain::Millis;
use crate::policy::waiting::{Waiting, older};

impl<B: Clone> Lane<B> {
    /// Since when the oldest delivery waits that is due at `now`, and what keeps it. An inactive or paused webhook has
    /// none. What still lies in the mailbox unread is known by its last entry alone. Costs the same however much waits.
    pub fn waiting(&self, now: Millis) -> Waiting {
        if !self.limits.active || self.draining || now < self.rests_until() {
            return Waiting::default();
        }
        let retry = self.retries.first_key_value().map(|((due, _), _)| *due).filter(|due| *due <= now);
        let fresh = match self.window.front() {
            Some(delivery) => Some(Millis(delivery.entry.ms)),
            None => self.is_behind().then_some(Millis(self.told.ms)).filter(|told| told.0 > 0),
        };
        if self.is_held_by_its_limits(now) {
            return Waiting { on_node: None, on_webhook: older(retry, fresh) };
        }
        // What waits behind a retry waits for its turn.
        match self.limits.ordered && !self.retries.is_empty() {
            true => Waiting { on_node: retry, on_webhook: fresh },
            false => Waiting { on_node: older(retry, fresh), on_webhook: None },
        }
    }

    fn is_held_by_its_limits(&self, now: Millis) -> bool {
        let most = if self.limits.ordered { 1 } else { self.limits.max_concurrency };
        let is_held = self.turning > 0 || !self.breaker.may_start(self.sending, now);
        now < self.pace_until || self.sending >= most || is_held
    }
}
