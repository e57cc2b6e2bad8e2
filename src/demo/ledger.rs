//! What arrived at the receiver, counted: pure.

/// What arrived at each webhook, of the events that it asked for.
#[derive(Debug)]
pub struct Ledger {
    webhooks: Vec<Account>,
    deliveries: usize,
    strange: usize,
}

/// What arrived at one webhook.
#[derive(Clone, Debug)]
struct Account {
    /// How often each event has arrived; `None` = it is not for this webhook.
    arrivals: Vec<Option<u32>>,
    /// The latest event that arrived for the first time.
    latest: Option<usize>,
    in_order: bool,
}

impl Ledger {
    /// Nothing has arrived; `wants` tells whether a webhook (its number comes first) asked for an event.
    pub fn new(webhooks: usize, events: usize, wants: impl Fn(usize, usize) -> bool) -> Self {
        let account = |webhook| {
            let arrivals = (0..events).map(|event| wants(webhook, event).then_some(0)).collect();
            Account { arrivals, latest: None, in_order: true }
        };
        Self { webhooks: (0..webhooks).map(account).collect(), deliveries: 0, strange: 0 }
    }

    /// Event number `event` arrived at webhook number `webhook`. What it did not ask for is counted as strange.
    pub fn arrived(&mut self, webhook: usize, event: usize) {
        self.deliveries += 1;
        let Some(account) = self.webhooks.get_mut(webhook) else {
            self.strange += 1;
            return;
        };
        let Some(Some(arrivals)) = account.arrivals.get_mut(event) else {
            self.strange += 1;
            return;
        };
        *arrivals += 1;
        // Only the first arrival counts for the order: a repetition is known by its id.
        if *arrivals == 1 {
            account.in_order &= account.latest.is_none_or(|latest| latest < event);
            account.latest = account.latest.max(Some(event));
        }
    }

    /// Something arrived that is not genuine.
    pub fn strange(&mut self) {
        self.deliveries += 1;
        self.strange += 1;
    }

    /// Everything that arrived.
    pub fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Pairs of an event and a webhook that must arrive.
    pub fn expected(&self) -> usize {
        self.pairs().count()
    }

    /// Pairs that arrived.
    pub fn unique(&self) -> usize {
        self.pairs().filter(|arrivals| *arrivals > 0).count()
    }

    /// Pairs that did not arrive.
    pub fn missing(&self) -> usize {
        self.expected() - self.unique()
    }

    fn pairs(&self) -> impl Iterator<Item = u32> {
        self.webhooks.iter().flat_map(|account| account.arrivals.iter().copied().flatten())
    }

    /// Arrivals of a pair that had arrived before.
    pub fn duplicates(&self) -> usize {
        self.deliveries - self.unique() - self.strange
    }

    /// Arrivals that are not genuine, or at a webhook that did not ask for them.
    pub fn strangers(&self) -> usize {
        self.strange
    }

    /// Whether webhook number `webhook` got its events in the order of their numbers.
    pub fn in_order(&self, webhook: usize) -> bool {
        self.webhooks.get(webhook).is_some_and(|account| account.in_order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_once_twice_never_and_unasked_is_told_apart() {
        let mut ledger = Ledger::new(2, 3, |webhook, event| webhook == 0 || event < 2);
        for (webhook, event) in [(0, 0), (0, 1), (0, 0), (0, 2), (1, 1), (1, 2), (1, 3), (2, 0)] {
            ledger.arrived(webhook, event);
        }
        ledger.strange();
        assert_eq!((ledger.deliveries(), ledger.expected()), (9, 5));
        assert_eq!((ledger.unique(), ledger.missing()), (4, 1));
        assert_eq!((ledger.duplicates(), ledger.strangers()), (1, 4));
    }

    #[test]
    fn a_repetition_does_not_break_the_order_and_a_late_first_arrival_does() {
        let mut ledger = Ledger::new(2, 3, |_, _| true);
        [0, 1, 0, 2].into_iter().for_each(|event| ledger.arrived(0, event));
        [0, 2, 1].into_iter().for_each(|event| ledger.arrived(1, event));
        assert!(ledger.in_order(0) && !ledger.in_order(1));
    }
}
