//! When webhooks without an actor want attention next.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Millis, WebhookId};

/// Times by webhook, and webhooks by time. One time a webhook.
#[derive(Debug, Default)]
pub struct DueTimes {
    by_time: BTreeSet<(Millis, WebhookId)>,
    by_webhook: HashMap<WebhookId, Millis>,
}

impl DueTimes {
    /// Notes when `webhook` wants attention, instead of any earlier note.
    pub fn set(&mut self, webhook: WebhookId, due: Millis) {
        self.remove(&webhook);
        self.by_time.insert((due, webhook.clone()));
        self.by_webhook.insert(webhook, due);
    }

    /// Forgets a webhook; `true` when it was noted.
    pub fn remove(&mut self, webhook: &WebhookId) -> bool {
        let Some(due) = self.by_webhook.remove(webhook) else { return false };
        self.by_time.remove(&(due, webhook.clone()))
    }

    /// Takes one webhook that wants attention at or before `until`, the earliest first.
    pub fn take_due(&mut self, until: Millis) -> Option<WebhookId> {
        self.next().filter(|due| *due <= until)?;
        let (_, webhook) = self.by_time.pop_first()?;
        self.by_webhook.remove(&webhook);
        Some(webhook)
    }

    /// The earliest time.
    pub fn next(&self) -> Option<Millis> {
        self.by_time.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;

    #[test]
    fn webhooks_come_in_the_order_of_their_latest_times() {
        let id = |n: u8| WebhookId::new(Shard(0), &format!("{n:022}"));
        let mut due = DueTimes::default();
        due.set(id(1), Millis(30));
        due.set(id(2), Millis(10));
        due.set(id(3), Millis(20));
        due.set(id(2), Millis(40));
        assert!(due.remove(&id(3)) && !due.remove(&id(3)));
        assert_eq!(due.next(), Some(Millis(30)));
        assert_eq!(due.take_due(Millis(29)), None);
        assert_eq!(due.take_due(Millis(40)), Some(id(1)));
        assert_eq!(due.take_due(Millis(40)), Some(id(2)));
        assert_eq!(due.take_due(Millis::MAX), None);
    }
}
