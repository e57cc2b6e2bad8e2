//! The time for which this node owns one partition: the token that proves it, and until when it may be relied on.
//!
//! Shared by the keeper of the leases, which renews it, and the actors of the partition, which show the token in every
//! script and start nothing once the tenure may have run out. Lives on one thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

use crate::clock;
use crate::domain::Partition;

/// See the module's page.
#[derive(Debug)]
pub struct Tenure {
    /// Which partition.
    pub partition: Partition,
    token: RefCell<Arc<str>>,
    takes: Cell<u64>,
    next_token: RefCell<Option<Arc<str>>>,
    valid_until: Cell<Instant>,
    has_ended: Cell<bool>,
}

impl Tenure {
    /// A tenure that was taken with `token` and may be relied on until `valid_until`.
    pub fn new(partition: Partition, token: Arc<str>, valid_until: Instant) -> Self {
        Self {
            partition,
            token: RefCell::new(token),
            takes: Cell::new(1),
            next_token: RefCell::new(None),
            valid_until: Cell::new(valid_until),
            has_ended: Cell::new(false),
        }
    }

    /// The token of the lease now.
    pub fn token(&self) -> Arc<str> {
        self.token.borrow().clone()
    }

    /// How often the partition has been taken since it is ours. What was read from Redis under an earlier number may
    /// not be what Redis holds now.
    pub fn takes(&self) -> u64 {
        self.takes.get()
    }

    /// Whether a refused script may be tried again: it showed a token that has been replaced since, or is just being
    /// replaced.
    pub fn has_outlived(&self, token: &str) -> bool {
        self.is_retaking() || **self.token.borrow() != *token
    }

    /// Whether the partition is ours no more.
    pub fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Whether the lease is about to get another token.
    pub fn is_retaking(&self) -> bool {
        self.next_token.borrow().is_some()
    }

    /// The lease is about to get another token: the one that this answers, made by `new` if none is on its way.
    pub fn retaking(&self, new: impl FnOnce() -> Arc<str>) -> Arc<str> {
        self.next_token.borrow_mut().get_or_insert_with(new).clone()
    }

    /// The end of [`Self::retaking`]: taken anew and valid until then, or (`None`) not ours any more.
    pub fn retaken(&self, valid_until: Option<Instant>) {
        let next = self.next_token.borrow_mut().take();
        if let Some((token, valid_until)) = next.zip(valid_until) {
            *self.token.borrow_mut() = token;
            self.takes.set(self.takes.get() + 1);
            self.renewed(valid_until);
        }
    }

    /// A renewal holds until then.
    pub fn renewed(&self, valid_until: Instant) {
        if !self.has_ended.get() {
            self.valid_until.set(valid_until);
        }
    }

    /// The partition is given back or lost: nothing is started under this tenure any more.
    pub fn end(&self) {
        self.valid_until.set(clock::monotonic());
        self.has_ended.set(true);
    }

    /// Whether an attempt may be started: no other node can have taken the lease yet.
    pub fn is_valid(&self) -> bool {
        clock::monotonic() < self.valid_until.get()
    }

    /// Waits until another node may have taken the lease. Cancel safe.
    pub async fn run_out(&self) {
        while self.is_valid() {
            tokio::time::sleep_until(self.valid_until.get().into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_tenure_runs_out_unless_it_is_renewed() {
        let short = Duration::from_millis(20);
        let tenure = Rc::new(Tenure::new(Partition(1), "first".into(), clock::monotonic() + short));
        assert!(tenure.is_valid());
        tenure.renewed(clock::monotonic() + Duration::from_secs(60));
        assert!(tokio::time::timeout(2 * short, tenure.run_out()).await.is_err(), "it was renewed");
        assert!(!tenure.has_outlived("first"));
        assert_eq!(&*tenure.retaking(|| "second".into()), "second");
        assert_eq!(&*tenure.retaking(|| "third".into()), "second", "the answer to the first try may be lost");
        assert!(tenure.has_outlived("first"), "it may be replaced at any moment");
        tenure.retaken(Some(clock::monotonic() + short));
        assert_eq!((&*tenure.token(), tenure.takes()), ("second", 2));
        assert!(tenure.has_outlived("first") && !tenure.has_outlived("second"));
        tenure.run_out().await;
        assert!(!tenure.is_valid());
        tenure.renewed(clock::monotonic() + Duration::from_secs(60));
        assert!(tenure.is_valid());
        tenure.end();
        tenure.renewed(clock::monotonic() + Duration::from_secs(60));
        assert!(!tenure.is_valid(), "what has ended is not renewed");
    }
}
