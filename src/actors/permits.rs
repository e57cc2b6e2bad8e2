//! The attempts that a node makes at once, and since when those wait that are beyond them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock;
use crate::domain::Millis;

/// The node's permits as one arbiter sees them; the count is the whole node's. Given in the order of asking.
#[derive(Debug)]
pub struct Permits {
    of_node: Arc<Semaphore>,
    /// Since when who waits, by the order of asking.
    waiting: RefCell<BTreeMap<u64, Millis>>,
    asked: Cell<u64>,
}

impl Permits {
    /// Those of the node.
    pub fn new(of_node: Arc<Semaphore>) -> Self {
        Self { of_node, waiting: RefCell::default(), asked: Cell::new(0) }
    }

    /// Waits for a permit; `None` when the node ends. Cancel safe.
    pub async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.of_node.try_acquire() {
            return Some(permit);
        }
        let _waits = Waits::new(self);
        self.of_node.acquire().await.ok()
    }

    /// Since when the first one waits.
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

    #[tokio::test]
    async fn who_waits_is_known_until_it_has_a_permit_or_gives_up() {
        let permits = Permits::new(Arc::new(Semaphore::new(1)));
        let first = permits.acquire().await.expect("it is free");
        assert_eq!(permits.oldest_wait(), None);
        let mut second = Box::pin(permits.acquire());
        assert!((&mut second).now_or_never().is_none());
        let mut third = Box::pin(permits.acquire());
        assert!((&mut third).now_or_never().is_none());
        assert!(permits.oldest_wait().is_some());
        drop(second);
        assert_eq!(permits.waiting.borrow().len(), 1, "one gave up");
        drop(first);
        assert!(third.await.is_some());
        assert_eq!(permits.oldest_wait(), None);
    }
}
