//! Places that tenants share, handed out by [`crate::policy::shares`]: any number of threads may ask one pool.
//!
//! For correctness: who is dropped while it waits leaves the queue, and gives back a place that it was just given. A place
//! is free again when its value is dropped.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::policy::shares::{Asked as Answer, Key, Rule, Shares, Ticket};

/// The places. Shared behind an `Arc`.
#[derive(Debug)]
pub struct Pool(Mutex<State>);

#[derive(Debug)]
struct State {
    shares: Shares,
    /// Who is to be told. One for each ticket that waits.
    waiters: HashMap<Ticket, oneshot::Sender<()>>,
    /// How many have ever joined the queue, and how many have left it: with a place or without.
    joined: u64,
    left: u64,
    /// Who waits until so many have left; in the order of that.
    paced: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// What came of asking.
#[derive(Debug)]
pub enum Asked<'a> {
    /// A place.
    Granted(Place<'a>),
    /// The wait for one.
    Waits(Waiter<'a>),
}

impl Pool {
    /// With so many places.
    pub fn new(capacity: usize, rule: Rule) -> Self {
        let (waiters, paced, joined, left) = Default::default();
        let shares = Shares::new(capacity, rule);
        Self(Mutex::new(State { shares, waiters, joined, left, paced }))
    }

    /// Asks for a place. Allocates nothing when there is one.
    pub fn ask(&self, tenant: Key) -> Asked<'_> {
        let mut state = self.state();
        match state.shares.ask(tenant) {
            Answer::Granted => Asked::Granted(Place { pool: self, tenant }),
            Answer::Waits(ticket) => {
                let (sender, told) = oneshot::channel();
                state.waiters.insert(ticket, sender);
                state.joined += 1;
                Asked::Waits(Waiter { pool: self, tenant, ticket, told, is_served: false })
            }
        }
    }

    /// Waits for a place. Cancel safe.
    pub async fn acquire(&self, tenant: Key) -> Place<'_> {
        match self.ask(tenant) {
            Asked::Granted(place) => place,
            Asked::Waits(waiter) => waiter.served().await,
        }
    }

    /// How many have ever joined the queue.
    pub fn joined(&self) -> u64 {
        self.state().joined
    }

    /// Waits until as many have left the queue, from now on, as have joined it since they were `before`: who brings work is
    /// thus held to the pace at which it begins, and not to what others had queued. Cancel safe.
    pub async fn keep_pace(&self, before: u64) {
        let told = {
            let mut state = self.state();
            let joined = state.joined.saturating_sub(before);
            // No more can leave than wait.
            let target = state.left + joined.min(state.joined - state.left);
            if target == state.left {
                return;
            }
            // Those that were dropped wait for nothing.
            state.paced.retain(|(_, paced)| !paced.is_closed());
            let target = state.paced.back().map_or(target, |(before, _)| target.max(*before));
            let (sender, told) = oneshot::channel();
            state.paced.push_back((target, sender));
            told
        };
        // The pool keeps it until it is told.
        let _ = told.await;
    }

    /// Makes a change, and hands out what it sets free.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut all = Vec::new();
        {
            let mut state = self.state();
            change(&mut state);
            all.extend(std::iter::from_fn(|| state.next_told()));
        }
        for told in all {
            // Who has just stopped waiting gives the place back.
            let _ = told.send(());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next one that is to be told: of its place, or that enough have left the queue.
    fn next_told(&mut self) -> Option<oneshot::Sender<()>> {
        if let Some((_, ticket)) = self.shares.grant() {
            self.left += 1;
            return self.waiters.remove(&ticket);
        }
        let is_reached = self.paced.front().is_some_and(|(target, _)| *target <= self.left);
        if is_reached { self.paced.pop_front().map(|(_, paced)| paced) } else { None }
    }
}

/// A place, held until it is dropped.
#[derive(Debug)]
pub struct Place<'a> {
    pool: &'a Pool,
    tenant: Key,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.change(|state| state.shares.release(self.tenant));
    }
}

/// One who waits for a place.
#[derive(Debug)]
pub struct Waiter<'a> {
    pool: &'a Pool,
    tenant: Key,
    ticket: Ticket,
    told: oneshot::Receiver<()>,
    /// The place is somebody else's to give back.
    is_served: bool,
}

impl<'a> Waiter<'a> {
    /// Waits until there is a place. Dropping it gives the wait up.
    pub async fn served(mut self) -> Place<'a> {
        (&mut self.told).await.expect("the pool keeps who waits until it is served");
        self.is_served = true;
        Place { pool: self.pool, tenant: self.tenant }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.is_served {
            return;
        }
        self.pool.change(|state| {
            state.waiters.remove(&self.ticket);
            if state.shares.cancel(self.tenant, self.ticket) {
                state.left += 1;
            } else {
                state.shares.release(self.tenant);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    const A: Key = Key(1);
    const B: Key = Key(2);

    fn is_empty(pool: &Pool) -> bool {
        pool.state().waiters.is_empty()
    }

    #[tokio::test]
    async fn one_who_waits_gets_the_place_that_is_given_back() {
        let pool = Pool::new(1, Rule::Quarter);
        let first = pool.acquire(A).await;
        let mut second = Box::pin(pool.acquire(B));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        let second = second.await;
        assert!(matches!(pool.ask(A), Asked::Waits(_)));
        drop(second);
        assert!(is_empty(&pool));
        assert!(matches!(pool.ask(A), Asked::Granted(_)));
    }

    #[tokio::test]
    async fn a_place_is_not_lost_with_one_who_stops_waiting_before_or_after_it_was_granted() {
        let pool = Pool::new(1, Rule::Quarter);
        let held = pool.acquire(A).await;
        let mut waiting: Vec<_> = [A, B, B].map(|tenant| Box::pin(pool.acquire(tenant))).into();
        waiting.iter_mut().for_each(|waiter| assert!(waiter.now_or_never().is_none()));
        drop(waiting.remove(1));
        assert_eq!(pool.state().waiters.len(), 2, "one gave up");
        // Granted to the first, who never looks.
        drop(held);
        assert_eq!(pool.state().waiters.len(), 1);
        drop(waiting.remove(0));
        assert!(waiting.remove(0).now_or_never().is_some());
        assert!(is_empty(&pool));
        assert!(matches!(pool.ask(A), Asked::Granted(_)));
    }

    #[tokio::test]
    async fn who_brings_work_waits_until_as_much_has_begun_and_not_for_what_was_queued_before() {
        let pool = Pool::new(1, Rule::Threshold);
        assert!(pool.keep_pace(0).now_or_never().is_some(), "nobody waits");
        let held = pool.acquire(A).await;
        let mut waiting: Vec<_> = (0..9).map(|_| Box::pin(pool.acquire(A))).collect();
        waiting.iter_mut().for_each(|waiting| assert!(waiting.now_or_never().is_none()));
        let before = pool.joined();
        assert!(pool.keep_pace(0).now_or_never().is_none(), "nine have come; given up at once");
        assert!(pool.keep_pace(before).now_or_never().is_some(), "nobody has come since");
        let mut brought: Vec<_> = (0..2).map(|_| Box::pin(pool.acquire(B))).collect();
        brought.iter_mut().for_each(|brought| assert!(brought.now_or_never().is_none()));
        let mut paced = Box::pin(pool.keep_pace(before));
        assert!((&mut paced).now_or_never().is_none());
        drop(waiting.pop());
        assert!((&mut paced).now_or_never().is_none(), "one of two has left the queue");
        drop(held);
        assert!(paced.now_or_never().is_some());
        drop((waiting, brought));
        assert!(pool.state().paced.is_empty() && pool.state().shares.is_idle());
    }

    #[test]
    fn threads_that_come_and_go_never_hold_more_than_there_is_and_leave_nothing_behind() {
        const PLACES: usize = 5;
        let (pool, held) = (Arc::new(Pool::new(PLACES, Rule::Threshold)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..4_u64).map(|thread| {
            let (pool, held) = (pool.clone(), held.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                runtime.block_on(async {
                    let all = (0..2000_u64).map(|n| one(&pool, &held, Key((thread + n) % 3), n % 5 == 0));
                    futures_util::future::join_all(all).await;
                });
            })
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().expect("no panic"));
        assert!(is_empty(&pool));
        assert!(pool.state().shares.is_idle());

        async fn one(pool: &Pool, held: &AtomicUsize, tenant: Key, gives_up: bool) {
            let place = pool.acquire(tenant);
            if gives_up {
                drop(Box::pin(place).now_or_never());
                return;
            }
            let _place = place.await;
            assert!(held.fetch_add(1, Ordering::SeqCst) < PLACES);
            tokio::task::yield_now().await;
            held.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
