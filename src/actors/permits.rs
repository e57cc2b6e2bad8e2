//! The attempts that a node makes at once, and since when those wait that are beyond them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock;
use crate::delivery::pool::{Asked, Place, Pool};
use crate::domain::Millis;
use crate::policy::shares::Key;

/// The node's permits as one arbiter sees them: all arbiters share them, and so do the tenants
/// ([`crate::policy::shares`]).
#[derive(Debug)]
pub struct Permits {
    of_node: Arc<Pool>,
    /// Since when who waits, by the order of asking.
    waiting: RefCell<BTreeMap<u64, Millis>>,
    asked: Cell<u64>,
}

impl Permits {
    /// Those of the node.
    pub fn new(of_node: Arc<Pool>) -> Self {
        Self { of_node, waiting: RefCell::default(), asked: Cell::new(0) }
    }

    /// Waits for a permit for an attempt of `tenant`. Cancel safe.
    pub async fn acquire(&self, tenant: Key) -> Place<'_> {
        match self.of_node.ask(tenant) {
            Asked::Granted(permit) => permit,
            Asked::Waits(waiter) => {
                let _waits = Waits::new(self);
                waiter.served().await
            }
        }
    }

    /// Since when the one waits that has waited longest.
    pub fn oldest_wait(&self) -> Option<Millis> {
        self.waiting.borrow().first_key_value().map(|(_, since)| *since)
    }
}

/// Counts somebody as waiting while it lives, also when its task is dropped.
struct Waits<'a> {
    permits: &'a Permits,
    ticket: u64,
}

impl<'a> Waits<'a> {
    fn new(permits: &'a Permits) -> Self {
        let ticket = permits.asked.replace(permits.asked.get() + 1);
        permits.waiting.borrow_mut().insert(ticket, clock::now());
        Self { permits, ticket }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.permits.waiting.borrow_mut().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::policy::shares::Rule;

    const A: Key = Key(1);
    const B: Key = Key(2);

    #[tokio::test]
    async fn who_waits_is_known_until_it_has_a_permit_or_gives_up() {
        let permits = Permits::new(Arc::new(Pool::new(1, Rule::Quarter)));
        let first = permits.acquire(A).await;
        assert_eq!(permits.oldest_wait(), None);
        let mut second = Box::pin(permits.acquire(A));
        assert!((&mut second).now_or_never().is_none());
        let mut third = Box::pin(permits.acquire(B));
        assert!((&mut third).now_or_never().is_none());
        assert!(permits.oldest_wait().is_some());
        drop(second);
        assert_eq!(permits.waiting.borrow().len(), 1, "one gave up");
        drop(first);
        let _third = third.await;
        assert_eq!(permits.oldest_wait(), None);
    }

    #[tokio::test]
    async fn arbiters_share_the_permits_and_one_tenant_leaves_some_to_the_others() {
        let of_node = Arc::new(Pool::new(8, Rule::Quarter));
        let [here, there] = [(); 2].map(|()| Permits::new(of_node.clone()));
        let mut held = Vec::new();
        for permits in [&here, &there, &here, &there, &here, &there] {
            held.push(permits.acquire(A).await);
        }
        let mut seventh = Box::pin(there.acquire(A));
        assert!((&mut seventh).now_or_never().is_none(), "three quarters");
        assert!(here.acquire(B).now_or_never().is_some());
        drop(held.remove(0));
        assert!(seventh.now_or_never().is_some(), "given back on another thread");
    }
}
