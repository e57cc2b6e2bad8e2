//! Which webhooks of a partition have an open breaker, and until when each is left alone.
//!
//! Learned from the outcomes that are recorded, and read when the partition is taken. For the gauges, and so that
//! nobody is woken for a webhook that may not be sent anything; what may be sent is decided by its lane alone.
//! Bounded by the webhooks of the partition.

use std::collections::HashMap;

use crate::domain::{Millis, WebhookId};

/// How many webhooks are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nothing holds them back.
    pub flowing: usize,
    /// Nothing is sent to them for a while.
    pub paused: usize,
    /// Their pause is over: the next attempt, or the one on its way, decides.
    pub probing: usize,
}

impl Counts {
    /// How many are held back: nothing but a probe is sent to them.
    pub fn held_back(self) -> usize {
        self.paused + self.probing
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            flowing: self.flowing + other.flowing,
            paused: self.paused + other.paused,
            probing: self.probing + other.probing,
        }
    }
}

/// The ends of the pauses of the open breakers.
#[derive(Debug, Default)]
pub struct Pauses(HashMap<WebhookId, Millis>);

impl Pauses {
    /// A pause began, or is known to have begun.
    pub fn set(&mut self, webhook: WebhookId, until: Millis) {
        self.0.insert(webhook, until);
    }

    /// The breaker is closed, or the webhook gone.
    pub fn remove(&mut self, webhook: &WebhookId) {
        self.0.remove(webhook);
    }

    /// When a webhook that wants attention at `due` may be given any.
    pub fn defer(&self, webhook: &WebhookId, due: Millis) -> Millis {
        self.0.get(webhook).map_or(due, |until| due.max(*until))
    }

    /// The states of `subscribed` webhooks, of which `is_subscribed` knows each.
    pub fn counts(
        &self,
        now: Millis,
        subscribed: usize,
        is_subscribed: impl Fn(&WebhookId) -> bool,
    ) -> Counts {
        let mut counts = Counts::default();
        for (_, until) in self.0.iter().filter(|(webhook, _)| is_subscribed(webhook)) {
            if *until > now {
                counts.paused += 1;
            } else {
                counts.probing += 1;
            }
        }
        counts.flowing = subscribed.saturating_sub(counts.paused + counts.probing);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Shard;

    #[test]
    fn open_breakers_are_counted_by_whether_their_pause_is_over() {
        let id = |n: u8| WebhookId::new(Shard(0), &format!("{n:022}"));
        let mut pauses = Pauses::default();
        for (n, until) in [(1, 10), (2, 30), (3, 30), (4, 30)] {
            pauses.set(id(n), Millis(until));
        }
        pauses.remove(&id(4));
        let subscribed = |webhook: &WebhookId| *webhook != id(3);
        let counts = pauses.counts(Millis(10), 7, subscribed);
        assert_eq!(counts, Counts { flowing: 5, paused: 1, probing: 1 });
    }

    #[test]
    fn nobody_is_woken_before_the_pause_ends() {
        let id = |n: u8| WebhookId::new(Shard(0), &format!("{n:022}"));
        let mut pauses = Pauses::default();
        pauses.set(id(1), Millis(30));
        let deferred = [(1, 0), (1, 40), (2, 5)].map(|(n, due)| pauses.defer(&id(n), Millis(due)).0);
        assert_eq!(deferred, [30, 40, 5]);
    }
}
