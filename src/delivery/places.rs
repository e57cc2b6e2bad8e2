//! How many lookups this node makes at once, and that those which hang leave room for the others.
//!
//! A name whose name servers are dead hangs for as long as it may. With one bound for all, a few hundred such names would
//! keep everybody's lookups waiting. So a lookup begins in one of [`QUICK`] places, which it leaves after
//! [`FIRST_MOMENTS`], when nearly every answer is there, for one of [`SLOW`]. Where all of those are taken, the one that
//! has hung the longest is given up: it is the least likely to be answered any more.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

/// Lookups in their first moments, at once.
const QUICK: usize = 128;

/// Lookups that take longer, at once.
const SLOW: usize = 128;

/// After these a lookup counts as slow. A cache answers within a few milliseconds; names that nobody has asked for lately
/// take up to some hundred.
const FIRST_MOMENTS: Duration = Duration::from_millis(100);

/// The places of this node.
pub static PLACES: Places = Places::new(QUICK, SLOW, FIRST_MOMENTS);

/// Room for so many lookups.
#[derive(Debug)]
pub struct Places {
    quick: Semaphore,
    slow: usize,
    first_moments: Duration,
    /// Those that hang, the one that has done so the longest first; each is given up by dropping its end.
    hanging: Mutex<VecDeque<oneshot::Sender<()>>>,
}

impl Places {
    const fn new(quick: usize, slow: usize, first_moments: Duration) -> Self {
        let quick = Semaphore::const_new(quick);
        Self { quick, slow, first_moments, hanging: Mutex::new(VecDeque::new()) }
    }

    /// What `lookup` comes to; `None` where it got no place in time, did not end by `until`, or had to make room.
    pub async fn run<T>(&self, until: Instant, lookup: impl Future<Output = T>) -> Option<T> {
        // Nobody closes it.
        let quick = timeout_at(until, self.quick.acquire()).await.ok()?.ok()?;
        let mut lookup = pin!(lookup);
        let first = (Instant::now() + self.first_moments).min(until);
        if let Ok(ended) = timeout_at(first, &mut lookup).await {
            return Some(ended);
        }
        let given_up = self.hang();
        drop(quick);
        tokio::select! {
            ended = timeout_at(until, lookup) => ended.ok(),
            _dropped = given_up => None,
        }
    }

    /// A place among those that hang, until the receiver is dropped or told.
    fn hang(&self) -> oneshot::Receiver<()> {
        let (place, given_up) = oneshot::channel();
        // Nothing is ever half done under this lock.
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        hanging.retain(|place| !place.is_closed());
        if hanging.len() >= self.slow {
            hanging.pop_front();
        }
        hanging.push_back(place);
        given_up
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::join_all;
    use futures_util::{FutureExt as _, poll};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    /// Nothing here comes to it.
    fn never() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[tokio::test]
    async fn many_lookups_that_hang_leave_room_for_one_that_does_not() {
        let places = Places::new(4, 8, MOMENT);
        let mut hang = pin!(join_all((0..40).map(|_| places.run(never(), pending::<()>()))));
        assert!(poll!(&mut hang).is_pending());
        // It stands behind all of them.
        let quick = places.run(never(), ready("found"));
        let found = tokio::select! {
            _ = hang => panic!("all of them ended"),
            found = quick => found,
        };
        assert_eq!(found, Some("found"));
    }

    #[tokio::test]
    async fn a_slow_lookup_is_waited_for_while_there_is_room() {
        let places = Places::new(1, 1, MOMENT);
        let (answer, asked) = oneshot::channel();
        let mut slow = pin!(places.run(never(), asked));
        assert!(poll!(&mut slow).is_pending());
        let next = tokio::select! {
            _ = &mut slow => panic!("nobody answered it"),
            next = places.run(never(), ready(1)) => next,
        };
        assert_eq!(next, Some(1), "it has left its place");
        answer.send("found").expect("it is waited for");
        assert_eq!(slow.await, Some(Ok("found")));
    }

    #[tokio::test]
    async fn who_has_hung_the_longest_makes_room() {
        let places = Places::new(1, 1, MOMENT);
        let (mut first, mut second) =
            (Box::pin(places.run(never(), pending::<()>())), Box::pin(places.run(never(), pending::<()>())));
        assert!(poll!(&mut first).is_pending());
        tokio::select! {
            ended = &mut first => assert_eq!(ended, None),
            _ = &mut second => panic!("it came later"),
        }
        assert!(second.now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_lookup_ends_in_time_with_or_without_a_place() {
        let places = Places::new(1, 1, MOMENT);
        let held = places.quick.acquire().await.expect("it is free");
        assert_eq!(places.run(Instant::now() + MOMENT, ready(1)).await, None);
        drop(held);
        assert_eq!(places.run(Instant::now() + MOMENT * 3, pending::<()>()).await, None);
        assert_eq!(places.quick.available_permits(), 1);
    }
}
