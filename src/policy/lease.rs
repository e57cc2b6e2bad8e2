//! When a lease that another node holds may be taken: its token and beat must stand still for long enough, on our own
//! monotonic clock, with every look answered. And for how long a lease that is ours may be relied on.
//!
//! An outage of Redis moves nothing: a look that was not answered starts the watch anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::Partition;

/// How long a lease must stand still before it may be taken, and how long a holder may rely on one renewal.
pub const TERM: Duration = Duration::from_secs(4);
/// What a holder leaves of [`TERM`] for the differences between clocks.
pub const MARGIN: Duration = Duration::from_millis(500);
/// How often the holder shows that it lives.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How often a wanted lease is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Until when the holder may start attempts after a renewal that was sent at `sent`.
pub fn valid_until(sent: Instant) -> Instant {
    sent + TERM - MARGIN
}

/// One node's watch over one lease that it wants.
#[derive(Clone, Debug)]
pub struct Watch<S> {
    seen: Option<(S, Instant)>,
}

impl<S> Default for Watch<S> {
    fn default() -> Self {
        Self { seen: None }
    }
}

impl<S: PartialEq> Watch<S> {
    /// A watch that has seen nothing.
    pub fn new() -> Self {
        Self { seen: None }
    }

    /// Notes what a look at `now` showed; `true` when it has not changed for the whole [`TERM`].
    pub fn saw(&mut self, state: S, now: Instant) -> bool {
        match &self.seen {
            Some((before, since)) if *before == state => now.saturating_duration_since(*since) >= TERM,
            _ => {
                self.seen = Some((state, now));
                false
            }
        }
    }

    /// Notes that a look was not answered.
    pub fn missed(&mut self) {
        self.seen = None;
    }
}

/// What a lease shows to those who watch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The holder's token; `None` when the lease is free.
    pub token: Option<String>,
    /// The holder's beat.
    pub beat: Option<String>,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease is ours for another term.
    Ours,
    /// The lease is not ours any more.
    Lost,
    /// No answer: it may be either.
    Unknown,
}

/// A lease that is ours.
#[derive(Clone, Debug)]
struct Held {
    token: Arc<str>,
    valid_until: Instant,
}

/// The leases of one node (or of one thread of it): those that it holds and those that it watches.
///
/// All of them are watched, wanted or not, so that a node that dies is followed at once by whoever comes to want what it
/// held.
#[derive(Debug, Default)]
pub struct Holdings {
    held: BTreeMap<Partition, Held>,
    watches: BTreeMap<Partition, Watch<Seen>>,
}

impl Holdings {
    /// The leases that are held, with their tokens.
    pub fn held(&self) -> impl Iterator<Item = (Partition, &Arc<str>)> {
        self.held.iter().map(|(partition, held)| (*partition, &held.token))
    }

    /// Whether the lease of `partition` is held.
    pub fn holds(&self, partition: Partition) -> bool {
        self.held.contains_key(&partition)
    }

    /// Notes what the renewal of `partition` that was sent at `sent` brought; `true` when the lease is lost.
    pub fn renewed(&mut self, partition: Partition, renewal: Renewal, sent: Instant) -> bool {
        match (renewal, self.held.get_mut(&partition)) {
            (Renewal::Ours, Some(held)) => held.valid_until = valid_until(sent),
            (Renewal::Lost, Some(_)) => return self.held.remove(&partition).is_some(),
            (Renewal::Unknown, _) | (_, None) => {}
        }
        false
    }

    /// Notes what a look at `now` showed of a lease that is not held; `true` when it may be taken as it was `seen`.
    pub fn looked(&mut self, partition: Partition, seen: &Seen, now: Instant) -> bool {
        if self.holds(partition) {
            return false;
        }
        let stood_still = self.watches.entry(partition).or_default().saw(seen.clone(), now);
        stood_still || seen.token.is_none()
    }

    /// Notes that a look at the lease of `partition` was not answered.
    pub fn missed(&mut self, partition: Partition) {
        if let Some(watch) = self.watches.get_mut(&partition) {
            watch.missed();
        }
    }

    /// Notes that a lease was taken with `token`, by a call that was sent at `sent`. Answers until when it holds.
    pub fn took(&mut self, partition: Partition, token: Arc<str>, sent: Instant) -> Instant {
        self.watches.remove(&partition);
        let valid_until = valid_until(sent);
        self.held.insert(partition, Held { token, valid_until });
        valid_until
    }

    /// Notes that a lease is held no more: given back, or taken by somebody else. Answers its token.
    pub fn drop(&mut self, partition: Partition) -> Option<Arc<str>> {
        self.held.remove(&partition).map(|held| held.token)
    }

    /// Until when the lease of `partition` may be relied on; `None` when it is not held.
    pub fn valid_until(&self, partition: Partition) -> Option<Instant> {
        self.held.get(&partition).map(|held| held.valid_until)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_that_stood_still_for_the_whole_term_may_be_taken() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = Watch::new();
        assert!(!watch.saw(("t", 1), at(0)));
        assert!(!watch.saw(("t", 1), at(3_999)));
        assert!(watch.saw(("t", 1), at(4_000)));
        assert!(!watch.saw(("t", 2), at(4_100)), "it beat");
        assert!(!watch.saw(("t", 2), at(8_000)));
        watch.missed();
        assert!(!watch.saw(("t", 2), at(8_200)), "an unanswered look starts anew");
        assert!(watch.saw(("t", 2), at(12_200)));
    }

    #[test]
    fn a_holder_stops_before_the_lease_can_be_taken() {
        let sent = Instant::now();
        assert!(valid_until(sent) < sent + TERM);
        assert!(RENEW_EVERY * 3 < TERM - MARGIN, "three renewals may fail");
    }

    #[test]
    fn a_lease_is_held_from_its_taking_until_it_is_lost_or_given_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (partition, mut holdings) = (Partition(3), Holdings::default());
        let seen = |token: Option<&str>, beat: &str| Seen {
            token: token.map(str::to_owned),
            beat: Some(beat.to_owned()),
        };
        assert!(holdings.looked(partition, &seen(None, "0"), at(0)), "a free one may be taken at once");
        assert!(!holdings.looked(partition, &seen(Some("theirs"), "1"), at(100)));
        assert!(!holdings.looked(partition, &seen(Some("theirs"), "1"), at(4_000)));
        assert!(holdings.looked(partition, &seen(Some("theirs"), "1"), at(4_100)));
        assert_eq!(holdings.took(partition, "ours".into(), at(4_100)), valid_until(at(4_100)));
        assert!(!holdings.looked(partition, &seen(None, "0"), at(4_200)), "it is held");
        assert!(!holdings.renewed(partition, Renewal::Unknown, at(5_000)));
        assert_eq!(holdings.valid_until(partition), Some(valid_until(at(4_100))), "no answer, no new term");
        assert!(!holdings.renewed(partition, Renewal::Ours, at(6_000)));
        assert_eq!(holdings.valid_until(partition), Some(valid_until(at(6_000))));
        assert!(holdings.renewed(partition, Renewal::Lost, at(7_000)));
        assert!(!holdings.renewed(partition, Renewal::Lost, at(7_000)), "once");
        assert_eq!(holdings.held().count(), 0);
        holdings.took(partition, "again".into(), at(8_000));
        assert_eq!(holdings.drop(partition).as_deref(), Some("again"));
        assert_eq!(holdings.valid_until(partition), None);
    }
}
