//! What everything on one arbiter shares: its connection to Redis, its HTTP client, its limits.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

use super::dispatches::Dispatches;
use super::permits::Permits;
use super::recorder::Recorder;
use crate::cluster::fitness::Scarcity;
use crate::config::Config;
use crate::delivery::Sender;
use crate::domain::{EventBody, Partition};
use crate::policy::partition::Layout;
use crate::policy::sealing::Keyring;
use crate::store::events::DispatchLimits;
use crate::store::outcomes::OutcomeLimits;
use crate::store::{Keys, Redis};

/// How many dead deliveries a webhook keeps.
const DEAD_MAX: u64 = 100_000;
/// How long the body of an event with a dead delivery is kept.
const DEAD_PAYLOAD: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the body of an event that has ended is kept while Redis is nearly full.
const WHEN_SCARCE: Duration = Duration::from_secs(1);

/// The things of one arbiter; made on its thread.
#[derive(Debug)]
pub struct Local {
    /// Commands of this thread.
    pub redis: Redis,
    /// Names of keys.
    pub keys: Keys,
    /// Which partition is whose home.
    pub layout: Layout,
    /// Decrypts webhooks' secrets.
    pub keyring: Arc<Keyring>,
    /// The settings.
    pub config: Arc<Config>,
    /// The HTTP client of this thread.
    pub sender: Sender,
    /// Attempts of the whole node at once.
    pub permits: Permits,
    /// Whether Redis is nearly full.
    pub scarcity: Scarcity,
    /// Bodies that ride along in memory.
    pub bodies: Arc<BodyMeter>,
    /// Batches that wait for a dispatch call.
    pub dispatches: Dispatches,
    /// Outcomes that wait to be recorded: of all partitions, or on a Redis Cluster of each.
    pub recorders: RefCell<HashMap<Option<Partition>, Rc<Recorder>>>,
}

impl Local {
    /// How long the record of an event lives when no delivery of it is open any more.
    fn closed(&self) -> Duration {
        if self.scarcity.load(Ordering::Relaxed) { WHEN_SCARCE } else { self.config.log.payload_retention }
    }

    /// What records outcomes of `partition`.
    pub fn recorder(&self, partition: Partition) -> Rc<Recorder> {
        let key = self.redis.is_cluster().then_some(partition);
        self.recorders.borrow_mut().entry(key).or_default().clone()
    }

    /// What the dispatch script is told of lifetimes and bounds.
    pub fn dispatch_limits(&self) -> DispatchLimits {
        let config = &self.config;
        DispatchLimits {
            closed: self.closed(),
            dead: config.log.payload_retention.max(DEAD_PAYLOAD),
            max_pending: config.queue.max_pending_per_webhook,
            log_max: config.log.max_attempts,
            dead_max: DEAD_MAX,
        }
    }

    /// What the outcome script is told of lifetimes and bounds.
    pub fn outcome_limits(&self) -> OutcomeLimits {
        OutcomeLimits {
            log_max: self.config.log.max_attempts,
            dead_max: DEAD_MAX,
            closed: self.closed(),
            dead: self.config.log.payload_retention.max(DEAD_PAYLOAD),
        }
    }
}

/// Counts the bytes of bodies that ride along with deliveries, up to a budget; bodies beyond it are fetched from Redis
/// when their attempt starts.
#[derive(Debug)]
pub struct BodyMeter {
    held: AtomicUsize,
    budget: usize,
}

impl BodyMeter {
    /// A meter that lets `budget` bytes ride along.
    pub fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), budget })
    }

    /// Lets a body ride along if the budget has room.
    pub fn admit(self: &Arc<Self>, body: EventBody) -> Option<Arc<RidingBody>> {
        self.admit_up_to(self.budget, body)
    }

    /// As [`Self::admit`], of a backlog: half of the budget is left to what was just published, or the backlogs of some webhooks
    /// would cost all others a round trip for each body.
    pub fn admit_of_backlog(self: &Arc<Self>, body: EventBody) -> Option<Arc<RidingBody>> {
        self.admit_up_to(self.budget / 2, body)
    }

    fn admit_up_to(self: &Arc<Self>, budget: usize, body: EventBody) -> Option<Arc<RidingBody>> {
        let size = body.bytes.len();
        // Only this arbiter admits, so nobody adds between the look and the addition.
        if self.held.load(Ordering::Relaxed) + size > budget {
            return None;
        }
        self.held.fetch_add(size, Ordering::Relaxed);
        Some(Arc::new(RidingBody { body, meter: self.clone() }))
    }
}

/// A body that counts against the budget until the last delivery that holds it has ended.
#[derive(Debug)]
pub struct RidingBody {
    body: EventBody,
    meter: Arc<BodyMeter>,
}

impl RidingBody {
    /// The body.
    pub fn body(&self) -> &EventBody {
        &self.body
    }
}

impl Drop for RidingBody {
    fn drop(&mut self) {
        self.meter.held.fetch_sub(self.body.bytes.len(), Ordering::Relaxed);
    }
}

/// Tells an actor what it must not miss, however full its mailbox is. Only for messages of which there are never more than
/// attempts in flight; one that is gone needs none.
pub fn tell<A, M>(actor: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    #[allow(clippy::disallowed_methods, reason = "what it says against the method is what is wanted here")]
    actor.do_send(message);
}

/// Waits between repeats of a call that failed: from 50 ms, doubling to 2 s.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Waits, longer each time.
    pub async fn wait(&mut self) {
        const FIRST_MS: u64 = 50;
        const MOST_DOUBLINGS: u32 = 5;
        let ms = FIRST_MS << self.failures.min(MOST_DOUBLINGS);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_ride_along_up_to_the_budget_and_free_it_when_they_end() {
        let body = |n: usize| EventBody {
            event_type: Arc::from("lead.created"),
            bytes: vec![0; n].into(),
            trace: None,
        };
        let meter = BodyMeter::new(100);
        let first = meter.admit(body(60)).expect("there is room");
        assert!(meter.admit(body(41)).is_none());
        let shared = first.clone();
        drop(first);
        assert!(meter.admit(body(41)).is_none(), "still held by another delivery");
        drop(shared);
        assert!(meter.admit_of_backlog(body(51)).is_none(), "half is left to what is new");
        assert!(meter.admit_of_backlog(body(50)).is_some());
        assert!(meter.admit(body(100)).is_some());
    }
}
