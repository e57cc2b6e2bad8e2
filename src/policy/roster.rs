//! Which nodes live: those whose heartbeat moves.
//!
//! Every node counts a beat up in Redis; every other one watches it move on its own monotonic clock, so no wall clock and
//! no expiry takes part. An outage of Redis moves nothing: after a look that was not answered all watches start anew.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::placement::Member;
use crate::domain::NodeId;

/// A node whose beat has stood still for that long is gone.
pub const GONE_AFTER: Duration = Duration::from_secs(3);
/// How often a node beats, and looks at the others.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// What a node that is gone has left behind is removed after that long.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What one look shows of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// Which node, and when it joined.
    pub member: Member,
    /// Counted up while it lives.
    pub beat: u64,
    /// Whether it takes partitions: not while it drains.
    pub takes_partitions: bool,
}

/// The nodes as one of them sees them.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    seen: BTreeMap<NodeId, (Sign, Instant)>,
}

impl Roster {
    /// Notes what a look at `now` showed of all nodes; those that it did not show have left.
    pub fn saw(&mut self, signs: impl IntoIterator<Item = Sign>, now: Instant) {
        let mut before = std::mem::take(&mut self.seen);
        for sign in signs {
            let moved = |(old, _): &(Sign, Instant)| old.beat != sign.beat || old.member != sign.member;
            let since = match before.remove(&sign.member.id) {
                Some(known) if !moved(&known) => known.1,
                _ => now,
            };
            self.seen.insert(sign.member.id.clone(), (sign, since));
        }
    }

    /// Notes that a look was not answered.
    pub fn missed(&mut self, now: Instant) {
        self.seen.values_mut().for_each(|(_, since)| *since = now);
    }

    /// The nodes that live.
    pub fn live(&self, now: Instant) -> impl Iterator<Item = &Sign> {
        self.still_for(now).filter(|(_, still)| *still < GONE_AFTER).map(|(sign, _)| sign)
    }

    /// The nodes among which the partitions are to be placed.
    pub fn placeable(&self, now: Instant) -> impl Iterator<Item = Member> {
        self.live(now).filter(|sign| sign.takes_partitions).map(|sign| sign.member.clone())
    }

    /// The nodes that have been gone for so long that what they left can be removed.
    pub fn forgotten(&self, now: Instant) -> impl Iterator<Item = &Sign> {
        self.still_for(now).filter(|(_, still)| *still >= FORGOTTEN_AFTER).map(|(sign, _)| sign)
    }

    fn still_for(&self, now: Instant) -> impl Iterator<Item = (&Sign, Duration)> {
        self.seen.values().map(move |(sign, since)| (sign, now.saturating_duration_since(*since)))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    fn sign(name: &str, joined: u64, beat: u64) -> Sign {
        let member = Member { joined, id: name.parse().expect("a node id") };
        Sign { member, beat, takes_partitions: true }
    }

    fn names(roster: &Roster, now: Instant) -> Vec<&str> {
        roster.live(now).map(|sign| sign.member.id.as_str()).collect()
    }

    #[test]
    fn a_node_lives_while_its_beat_moves() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut roster = Roster::default();
        roster.saw([sign("a", 1, 1), sign("b", 2, 1)], at(0));
        assert_eq!(names(&roster, at(0)), ["a", "b"], "who is new is taken for alive");
        roster.saw([sign("a", 1, 2), sign("b", 2, 1)], at(1_000));
        assert_eq!(names(&roster, at(2_999)), ["a", "b"]);
        assert_eq!(names(&roster, at(3_000)), ["a"], "b has stood still for three seconds");
        roster.saw([sign("a", 1, 3), sign("b", 2, 2)], at(3_500));
        assert_eq!(names(&roster, at(3_500)), ["a", "b"], "it was only slow");
        roster.saw([sign("a", 1, 4)], at(4_000));
        assert_eq!(names(&roster, at(4_000)), ["a"], "it has left");
    }

    #[test]
    fn an_outage_of_redis_moves_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut roster = Roster::default();
        roster.saw([sign("a", 1, 1), sign("b", 2, 1)], at(0));
        (1..60).for_each(|second| roster.missed(at(second * 1_000)));
        roster.saw([sign("a", 1, 2), sign("b", 2, 1)], at(60_000));
        assert_eq!(names(&roster, at(61_000)), ["a", "b"]);
        assert_eq!(names(&roster, at(62_500)), ["a"]);
    }

    #[test]
    fn a_draining_node_lives_and_takes_nothing() {
        let now = Instant::now();
        let mut roster = Roster::default();
        roster.saw([Sign { takes_partitions: false, ..sign("a", 1, 1) }, sign("b", 2, 1)], now);
        assert_eq!(names(&roster, now), ["a", "b"]);
        let placeable: Vec<Member> = roster.placeable(now).collect();
        assert_eq!(placeable, [sign("b", 2, 1).member]);
    }

    #[test]
    fn what_a_dead_node_left_is_forgotten_in_the_end_and_a_new_start_is_another_node() {
        let start = Instant::now();
        let mut roster = Roster::default();
        roster.saw([sign("a", 1, 7)], start);
        roster.saw([sign("a", 2, 7)], start + GONE_AFTER);
        assert_eq!(names(&roster, start + GONE_AFTER), ["a"], "it joined again");
        assert_eq!(roster.forgotten(start + FORGOTTEN_AFTER).count(), 0);
        assert_eq!(roster.forgotten(start + GONE_AFTER + FORGOTTEN_AFTER).count(), 1);
    }
}
