//! How many requests a caller may make.
//!
//! Each limit is a leaky bucket per key (governor's GCRA): it lets a whole allowance through at once and then refills
//! evenly. Limits are kept per node and shared by all its workers. Time is an argument: the first check at an instant
//! sets the limiter's clock, so governor's own, slower clock is never read.
//!
//! Bounded: a limiter holds at most [`MAX_KEYS`] states. Where a new one finds no room, the half of its slice that is
//! nearest to a full allowance is forgotten, which forgives those callers the least; nobody is refused for the crowd.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderName, HeaderValue};
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::watch;

use super::error::{Error, whole_seconds};
use crate::clock;
use crate::config;
use crate::domain::{NodeId, Tenant, UserId};

/// States held by one limiter.
pub const MAX_KEYS: usize = 100_000;
/// Slices of a limiter's states, each behind a lock of its own.
const SLICES: usize = 16;
/// Failed authentications of one source address in a minute; past them the answer is 429, not 401.
const FAILURES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("not zero");

/// All limits of the API on this node.
#[derive(Debug)]
pub struct RateLimits {
    requests: Shared,
    publishes: Option<Shared>,
    failures: Limiter,
}

impl RateLimits {
    /// The limits of `[api]`, of which each of the `live` nodes grants its part.
    pub fn new(settings: &config::Api, live: watch::Receiver<Arc<BTreeSet<NodeId>>>) -> Self {
        let shared = |quota, limit| Shared::new(quota, limit, live.clone());
        let per_minute = NonZeroU32::new(settings.rate_limit_per_minute).unwrap_or(NonZeroU32::MIN);
        let per_second = NonZeroU32::new(settings.publish_rate_limit_per_second);
        Self {
            requests: shared(Quota::per_minute, per_minute),
            publishes: per_second.map(|limit| shared(Quota::per_second, limit)),
            failures: Limiter::new(Quota::per_minute(FAILURES_PER_MINUTE), clock::monotonic()),
        }
    }

    /// Counts a request of `user` that is not a publish.
    ///
    /// # Errors
    /// The allowance it would have had, when there is none left.
    pub fn request(&self, tenant: &Tenant, user: &UserId) -> Result<Allowance, Allowance> {
        self.requests.now().check(&(tenant, user), clock::monotonic())
    }

    /// Counts a publish of `user`; `None` when publishing is not limited.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub fn publish(&self, tenant: &Tenant, user: &UserId) -> Result<Option<Allowance>, Allowance> {
        let checked =
            self.publishes.as_ref().map(|limit| limit.now().check(&(tenant, user), clock::monotonic()));
        checked.transpose()
    }

    /// Counts a failed authentication from `source`. Good tokens from there are not held up: many users may share an
    /// address. An IPv6 source counts as its /64, which is what one customer of a provider gets.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub fn failed_authentication(&self, source: Option<IpAddr>) -> Result<Allowance, Allowance> {
        let network = source.map(|address| match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        });
        self.failures.check(&network, clock::monotonic())
    }
}

/// What a caller has left; in the request's extensions, written into the answer's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The most at once.
    pub limit: u32,
    /// Left at this moment.
    pub remaining: u32,
    /// Until `remaining` is `limit` again.
    pub reset: Duration,
    /// Until one more is let through; zero when there is one left.
    pub wait: Duration,
}

impl Allowance {
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, the last in seconds from now.
    pub fn headers(self) -> [(HeaderName, HeaderValue); 3] {
        let reset = if self.reset.is_zero() { 0 } else { whole_seconds(self.reset) };
        [
            (HeaderName::from_static("x-ratelimit-limit"), self.limit.into()),
            (HeaderName::from_static("x-ratelimit-remaining"), self.remaining.into()),
            (HeaderName::from_static("x-ratelimit-reset"), reset.into()),
        ]
    }

    /// The answer of a request that finds none left.
    pub fn refusal(self) -> Error {
        Error::TooManyRequests("too many requests, slow down".into(), self.wait)
    }
}

/// A limit that the live nodes share evenly, rounded up. A change of their number begins it anew with full allowances.
#[derive(Debug)]
struct Shared {
    quota: fn(NonZeroU32) -> Quota,
    limit: NonZeroU32,
    live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    part: RwLock<(u32, Arc<Limiter>)>,
}

impl Shared {
    fn new(
        quota: fn(NonZeroU32) -> Quota,
        limit: NonZeroU32,
        live: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    ) -> Self {
        let alone = Limiter::new(quota(limit), clock::monotonic());
        Self { quota, limit, live, part: RwLock::new((1, Arc::new(alone))) }
    }

    /// The limiter of this node's part.
    fn now(&self) -> Arc<Limiter> {
        let nodes = u32::try_from(self.live.borrow().len()).unwrap_or(u32::MAX).max(1);
        let part = self.part.read().unwrap_or_else(PoisonError::into_inner);
        if part.0 == nodes {
            return part.1.clone();
        }
        drop(part);
        let mut part = self.part.write().unwrap_or_else(PoisonError::into_inner);
        if part.0 != nodes {
            let share = NonZeroU32::new(self.limit.get().div_ceil(nodes)).unwrap_or(NonZeroU32::MIN);
            *part = (nodes, Arc::new(Limiter::new((self.quota)(share), clock::monotonic())));
        }
        part.1.clone()
    }
}

/// One limit over many keys.
#[derive(Debug)]
struct Limiter {
    quota: Quota,
    clock: SetClock,
    origin: Instant,
    hasher: RandomState,
    states: RateLimiter<u64, States, SetClock, StateInformationMiddleware>,
}

impl Limiter {
    fn new(quota: Quota, origin: Instant) -> Self {
        let clock = SetClock::default();
        let room = States::with_room_for(MAX_KEYS);
        let states = RateLimiter::new(quota, room, clock.clone());
        Self { quota, clock, origin, hasher: RandomState::new(), states }
    }

    fn check(&self, key: &impl Hash, now: Instant) -> Result<Allowance, Allowance> {
        let now = self.clock.set(now.saturating_duration_since(self.origin));
        // A keyed hash stands for the key: nobody can choose names that share a state.
        match self.states.check_key(&self.hasher.hash_one(key)) {
            Ok(state) => Ok(self.allowance(state.remaining_burst_capacity(), Duration::ZERO)),
            Err(not_until) => Err(self.allowance(0, not_until.wait_time_from(now))),
        }
    }

    fn allowance(&self, remaining: u32, wait: Duration) -> Allowance {
        let limit = self.quota.burst_size().get();
        let reset = self.quota.replenish_interval() * limit.saturating_sub(remaining);
        Allowance { limit, remaining, reset, wait }
    }
}

/// A clock that shows what it was last set to, and never runs backwards.
#[derive(Clone, Debug, Default)]
struct SetClock(Arc<AtomicU64>);

impl SetClock {
    fn set(&self, since_origin: Duration) -> Nanos {
        let given = Nanos::from(since_origin).as_u64();
        Nanos::new(self.0.fetch_max(given, Ordering::Relaxed).max(given))
    }
}

impl Clock for SetClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.load(Ordering::Relaxed))
    }
}

/// Per key the time at which its allowance is full again (GCRA's theoretical arrival time).
#[derive(Debug)]
struct States {
    slices: Vec<Mutex<HashMap<u64, Nanos>>>,
    per_slice: usize,
}

impl States {
    fn with_room_for(keys: usize) -> Self {
        Self { slices: (0..SLICES).map(|_| Mutex::default()).collect(), per_slice: keys / SLICES }
    }

    /// Forgets half of the slice, or more where many are equally full.
    fn make_room(slice: &mut HashMap<u64, Nanos>) {
        let mut full_at: Vec<Nanos> = slice.values().copied().collect();
        let middle = full_at.len() / 2;
        let (_, median, _) = full_at.select_nth_unstable(middle);
        let median = *median;
        slice.retain(|_, at| *at > median);
    }
}

impl StateStore for States {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let slice = usize::try_from(key % SLICES as u64).expect("a remainder of a small number");
        let mut slice = self.slices[slice].lock().unwrap_or_else(PoisonError::into_inner);
        let (outcome, next) = measure(slice.get(key).copied())?;
        if slice.len() >= self.per_slice && !slice.contains_key(key) {
            Self::make_room(&mut slice);
        }
        slice.insert(*key, next);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32) -> (Limiter, Instant) {
        let now = clock::monotonic();
        (Limiter::new(Quota::per_minute(NonZeroU32::new(per_minute).unwrap()), now), now)
    }

    #[test]
    fn an_allowance_is_used_up_and_refills_evenly() {
        let (limiter, start) = limiter(3);
        let left: Vec<u32> = (0..3).map(|_| limiter.check(&"a", start).unwrap().remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limiter.check(&"a", start).unwrap_err();
        let minute = Duration::from_secs(60);
        let expected = Allowance { limit: 3, remaining: 0, reset: minute, wait: Duration::from_secs(20) };
        assert_eq!(refused, expected);
        assert!(limiter.check(&"b", start).is_ok(), "another key has its own");
        assert!(limiter.check(&"a", start + Duration::from_secs(19)).is_err());
        assert!(limiter.check(&"a", start + Duration::from_secs(20)).is_ok());
        assert!(limiter.check(&"a", start + Duration::from_secs(20)).is_err());
    }

    #[test]
    fn at_the_bound_the_fullest_allowances_are_forgotten_first() {
        let (limiter, start) = limiter(3);
        for _ in 0..3 {
            limiter.check(&"greedy", start).unwrap();
        }
        for key in 0..2 * MAX_KEYS {
            limiter.check(&key, start).unwrap();
        }
        assert!(limiter.check(&"greedy", start).is_err(), "who used most is remembered");
        let held: usize =
            limiter.states.into_state_store().slices.iter().map(|s| s.lock().unwrap().len()).sum();
        assert!(held <= MAX_KEYS, "{held}");
    }

    #[test]
    fn one_ipv6_customer_is_one_source() {
        let settings = settings(1, 0);
        let limits = RateLimits::new(&settings, live(1).subscribe());
        for n in 0..FAILURES_PER_MINUTE.get() {
            let source = format!("2001:db8::{n:x}").parse().unwrap();
            assert!(limits.failed_authentication(Some(source)).is_ok(), "{n}");
        }
        assert!(limits.failed_authentication("2001:db8::ffff".parse().ok()).is_err());
        assert!(limits.failed_authentication("192.0.2.1".parse().ok()).is_ok());
    }

    fn settings(rate_limit_per_minute: u32, publish_rate_limit_per_second: u32) -> config::Api {
        let cors_allowed_origins = config::Origins::These(Vec::new());
        config::Api {
            max_event_bytes: 1,
            rate_limit_per_minute,
            publish_rate_limit_per_second,
            cors_allowed_origins,
        }
    }

    fn live(nodes: usize) -> watch::Sender<Arc<BTreeSet<NodeId>>> {
        watch::Sender::new(names(nodes))
    }

    fn names(nodes: usize) -> Arc<BTreeSet<NodeId>> {
        Arc::new((0..nodes).map(|n| format!("n{n}").parse().unwrap()).collect())
    }

    #[test]
    fn live_nodes_share_a_limit_rounded_up() {
        let settings = settings(100, 5);
        let (tenant, user) = ("org:a".parse().unwrap(), "u".parse().unwrap());
        let sender = live(0);
        let limits = RateLimits::new(&settings, sender.subscribe());
        for (nodes, requests, publishes) in [(0, 100, 5), (1, 100, 5), (3, 34, 2), (200, 1, 1)] {
            sender.send_replace(names(nodes));
            assert_eq!(limits.request(&tenant, &user).unwrap().limit, requests, "{nodes} nodes");
            assert_eq!(limits.publish(&tenant, &user).unwrap().unwrap().limit, publishes, "{nodes} nodes");
        }
    }

    #[test]
    fn unlimited_publishing_has_no_allowance_to_show() {
        let settings = settings(1, 0);
        let (tenant, user) = ("org:a".parse().unwrap(), "u".parse().unwrap());
        assert_eq!(RateLimits::new(&settings, live(1).subscribe()).publish(&tenant, &user), Ok(None));
    }
}
