//! Since when the oldest delivery waits that is due and has not been started, and what keeps it.
//!
//! For those who watch: a delivery that nothing of its webhook's own holds back waits for the node, and a node that lets
//! it wait is in trouble. One that its webhook's limits hold back is as its owner wants it.

use crate::domain::Millis;

/// `None` = there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Nothing of its webhook's own holds it back.
    pub on_node: Option<Millis>,
    /// Its webhook's rate limit, concurrency or order does, or the probe that its breaker waits for.
    pub on_webhook: Option<Millis>,
}

impl Waiting {
    /// The older of both, each.
    pub fn or(self, other: Self) -> Self {
        Self {
            on_node: older(self.on_node, other.on_node),
            on_webhook: older(self.on_webhook, other.on_webhook),
        }
    }
}

/// The older of two times, if there is any.
pub fn older(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    a.into_iter().chain(b).min()
}
