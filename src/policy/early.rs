//! Events whose first attempts are made before their dispatch: which of them may leave the stream, when, and how.
//!
//! Most events arrive at once at every endpoint. Such an event needs no mailbox: its attempts are made as soon as it has been
//! read, while it still lies in the events stream, and the dispatch call then takes it out of there and records that it was
//! delivered, in one step. That halves what Redis does for an event after its publication, and spares each event a round trip
//! before its attempts. Any other event goes into mailboxes as ever, and the outcomes of its early attempts are recorded after
//! that: where an endpoint fails, is slow ([`PATIENCE`]), rests, or has other deliveries waiting.
//!
//! For correctness: events leave in the order in which they came, and an outcome is held until it is known whether its event
//! is in mailboxes. Only for speed: everything else here.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::domain::EntryId;

/// The largest fan-out that is tried early: one call records all of it.
pub const MOST_TARGETS: usize = 64;
/// How long an event waits for the ends of its early attempts before it goes into mailboxes.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// The same while a delivery waits for the dispatch of its event.
const PATIENCE_IF_AWAITED: Duration = Duration::from_millis(25);
/// So many events that have arrived are dispatched at once.
const ENOUGH: usize = 128;

/// An event that was read and not dispatched: what the caller keeps of it (`E`), and the outcomes of its early attempts (`J`).
#[derive(Debug)]
pub struct Undispatched<E, J> {
    /// Its place in the stream.
    pub entry: EntryId,
    /// The event.
    pub event: E,
    /// How many targets it has.
    targets: usize,
    /// Attempts of it were started, and their ends will be told.
    was_tried: bool,
    /// It goes into mailboxes.
    is_ordinary: bool,
    /// Something waits for its dispatch.
    is_awaited: bool,
    since: Instant,
    jobs: Vec<J>,
}

impl<E, J> Undispatched<E, J> {
    /// An event that was just read.
    pub fn new(entry: EntryId, event: E, targets: usize, since: Instant) -> Self {
        let (was_tried, is_ordinary, is_awaited, jobs) = (false, false, false, Vec::new());
        Self { entry, event, targets, was_tried, is_ordinary, is_awaited, since, jobs }
    }

    /// All its targets were told that they may attempt it.
    pub fn tried(self) -> Self {
        Self { was_tried: true, ..self }
    }

    /// It goes into mailboxes: deliveries wait for that, if it has any.
    pub fn ordinary(self) -> Self {
        let is_awaited = self.targets > 0;
        Self { is_ordinary: true, is_awaited, ..self }
    }

    fn has_arrived(&self) -> bool {
        !self.is_ordinary && self.jobs.len() == self.targets
    }

    fn is_ready(&self, now: Instant, is_awaited: bool) -> bool {
        self.is_ordinary || self.has_arrived() || now >= self.deadline(is_awaited)
    }

    fn deadline(&self, is_awaited: bool) -> Instant {
        self.since + if is_awaited { PATIENCE_IF_AWAITED } else { PATIENCE }
    }
}

/// What an outcome of an early attempt is to the dispatch of its event.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate<J> {
    /// It is kept for it.
    Kept,
    /// It comes too late: the event lies in mailboxes, and the outcome can be recorded like any other.
    Late(J),
}

/// An event whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<J> {
    /// It has arrived at all its targets; the dispatch records that.
    Arrived(Vec<J>),
    /// It goes into mailboxes. Outcomes are held until [`Ledger::dispatched`].
    Ordinary,
}

/// The events of one partition that were read and not dispatched, in the order of the stream.
#[derive(Debug)]
pub struct Ledger<E, J> {
    events: VecDeque<Undispatched<E, J>>,
    /// Where those that were tried lie among them, counted from the first that ever came: each of their outcomes looks for its event.
    places: HashMap<EntryId, usize>,
    /// How many have been taken out.
    taken: usize,
    /// How many of them something waits for.
    awaited: usize,
    /// How many of them have arrived.
    arrived: usize,
    /// Outcomes of events that are on their way into mailboxes.
    held: HashMap<EntryId, Vec<J>>,
}

impl<E, J> Default for Ledger<E, J> {
    fn default() -> Self {
        let (events, places, held) = (VecDeque::new(), HashMap::new(), HashMap::new());
        Self { events, places, taken: 0, awaited: 0, arrived: 0, held }
    }
}

impl<E, J> Ledger<E, J> {
    /// Whether no event waits for its dispatch.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The events that wait.
    pub fn events(&self) -> impl Iterator<Item = &E> {
        self.events.iter().map(|event| &event.event)
    }

    /// Takes an event in, behind all others.
    pub fn push(&mut self, event: Undispatched<E, J>) {
        self.awaited += usize::from(event.is_awaited);
        self.arrived += usize::from(event.has_arrived());
        if event.was_tried {
            self.places.insert(event.entry, self.taken + self.events.len());
        }
        self.events.push_back(event);
    }

    /// An early attempt has come to an outcome: `is_plain` if it was delivered and nothing else follows, `is_urgent` if something
    /// waits for its record.
    pub fn ended(&mut self, entry: EntryId, job: J, is_plain: bool, is_urgent: bool) -> Fate<J> {
        let Some(event) = self.tried(entry) else {
            return match self.held.get_mut(&entry) {
                Some(held) => {
                    held.push(job);
                    Fate::Kept
                }
                None => Fate::Late(job),
            };
        };
        event.jobs.push(job);
        event.is_ordinary |= !is_plain;
        let has_arrived = event.has_arrived();
        let is_awaited = event.is_ordinary || is_urgent;
        let is_new = is_awaited && !std::mem::replace(&mut event.is_awaited, true);
        self.arrived += usize::from(has_arrived);
        self.awaited += usize::from(is_new);
        Fate::Kept
    }

    /// An early delivery was not attempted: it waits for the dispatch of its event.
    pub fn declined(&mut self, entry: EntryId) {
        if let Some(event) = self.tried(entry) {
            event.is_ordinary = true;
            let is_new = !std::mem::replace(&mut event.is_awaited, true);
            self.awaited += usize::from(is_new);
        }
    }

    /// The event that was tried; what was read again since is another.
    fn tried(&mut self, entry: EntryId) -> Option<&mut Undispatched<E, J>> {
        let place = self.places.get(&entry)? - self.taken;
        self.events.get_mut(place)
    }

    /// Whether something waits for a dispatch.
    pub fn is_awaited(&self) -> bool {
        self.awaited > 0 || self.arrived >= ENOUGH
    }

    /// When the first event may be dispatched, and whether it only waits for `due`, the time for what nothing waits for. `None` =
    /// there is no event.
    pub fn next(&self, now: Instant, due: Instant) -> Option<(Instant, bool)> {
        let is_awaited = self.is_awaited();
        self.events.front().map(|first| match first.is_ready(now, is_awaited) {
            true if is_awaited || due <= now => (now, false),
            true => (due, true),
            false => (first.deadline(is_awaited), false),
        })
    }

    /// Takes the first event out if it may be dispatched and `fits`.
    pub fn take(
        &mut self,
        now: Instant,
        fits: impl FnOnce(EntryId, &E) -> bool,
    ) -> Option<(EntryId, E, Turn<J>)> {
        let is_awaited = self.is_awaited();
        let may_go =
            |first: &&Undispatched<E, J>| first.is_ready(now, is_awaited) && fits(first.entry, &first.event);
        self.events.front().filter(may_go)?;
        let event = self.events.pop_front()?;
        self.taken += 1;
        if event.was_tried {
            self.places.remove(&event.entry);
        }
        self.awaited -= usize::from(event.is_awaited);
        self.arrived -= usize::from(event.has_arrived());
        let has_arrived = event.has_arrived() && event.targets > 0;
        let Undispatched { entry, event, jobs, was_tried, .. } = event;
        if has_arrived {
            return Some((entry, event, Turn::Arrived(jobs)));
        }
        if was_tried {
            self.held.insert(entry, jobs);
        }
        Some((entry, event, Turn::Ordinary))
    }

    /// An event is in mailboxes: what came of its early attempts so far can be recorded.
    pub fn dispatched(&mut self, entry: EntryId) -> Vec<J> {
        self.held.remove(&entry).unwrap_or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do, and policy reads no clock of ours")]
mod tests {
    use super::*;

    type Events = Ledger<(), &'static str>;

    fn entry(n: u64) -> EntryId {
        EntryId { ms: 1, seq: n }
    }

    fn event(n: u64, targets: usize, now: Instant) -> Undispatched<(), &'static str> {
        Undispatched::new(entry(n), (), targets, now)
    }

    fn take(events: &mut Events, now: Instant) -> Option<(u64, Turn<&'static str>)> {
        events.take(now, |_, ()| true).map(|(entry, (), turn)| (entry.seq, turn))
    }

    #[test]
    fn an_event_that_has_arrived_everywhere_is_recorded_with_the_next_round() {
        let (mut events, now) = (Events::default(), Instant::now());
        let due = now + Duration::from_millis(200);
        events.push(event(1, 2, now).tried());
        assert_eq!(events.next(now, due), Some((now + PATIENCE, false)));
        assert_eq!(events.ended(entry(1), "one", true, false), Fate::Kept);
        assert_eq!(take(&mut events, now), None, "one target is open");
        assert_eq!(events.ended(entry(1), "two", true, false), Fate::Kept);
        assert_eq!(events.next(now, due), Some((due, true)));
        assert_eq!(events.next(due, due), Some((due, false)));
        assert_eq!(take(&mut events, due), Some((1, Turn::Arrived(vec!["one", "two"]))));
        assert_eq!((events.is_empty(), events.is_awaited()), (true, false));
    }

    #[test]
    fn what_fails_goes_into_mailboxes_at_once_and_is_recorded_after_that() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.push(event(1, 2, now).tried());
        assert_eq!(events.ended(entry(1), "failed", false, false), Fate::Kept);
        assert_eq!(events.next(now, now + PATIENCE), Some((now, false)));
        assert_eq!(take(&mut events, now), Some((1, Turn::Ordinary)));
        assert_eq!(events.ended(entry(1), "arrived", true, false), Fate::Kept, "its dispatch is under way");
        assert_eq!(events.dispatched(entry(1)), ["failed", "arrived"]);
        assert_eq!(events.ended(entry(1), "late", true, false), Fate::Late("late"));
    }

    #[test]
    fn an_event_that_is_read_again_takes_no_outcome_of_the_one_that_was_tried() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.push(event(1, 1, now).tried());
        assert_eq!(take(&mut events, now + PATIENCE), Some((1, Turn::Ordinary)));
        events.push(event(1, 1, now).ordinary());
        events.push(event(1, 0, now));
        assert_eq!(events.ended(entry(1), "arrived", true, false), Fate::Kept);
        events.declined(entry(1));
        assert_eq!(events.dispatched(entry(1)), ["arrived"]);
        while take(&mut events, now).is_some() {}
        assert_eq!((events.awaited, events.arrived), (0, 0));
    }

    #[test]
    fn what_takes_long_or_is_declined_goes_into_mailboxes() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.push(event(1, 1, now).tried());
        events.push(event(2, 1, now).tried());
        assert_eq!(take(&mut events, now), None);
        events.declined(entry(2));
        let soon = now + PATIENCE_IF_AWAITED;
        assert_eq!(events.next(now, now), Some((soon, false)), "somebody waits for the second");
        assert_eq!(take(&mut events, soon), Some((1, Turn::Ordinary)));
        assert_eq!(take(&mut events, soon), Some((2, Turn::Ordinary)));
        assert!(!events.is_awaited());
        events.push(event(3, 1, now).tried());
        assert_eq!(take(&mut events, now + PATIENCE), Some((3, Turn::Ordinary)));
    }

    #[test]
    fn events_leave_in_the_order_in_which_they_came() {
        let (mut events, now) = (Events::default(), Instant::now());
        events.push(event(1, 1, now).tried());
        events.push(event(2, 0, now));
        events.push(event(3, 1, now).ordinary());
        assert_eq!(take(&mut events, now), None, "the first is open");
        events.ended(entry(1), "arrived", true, true);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut events, now)).collect();
        assert_eq!(order, [(1, Turn::Arrived(vec!["arrived"])), (2, Turn::Ordinary), (3, Turn::Ordinary)]);
    }

    #[test]
    fn many_that_have_arrived_wait_for_no_round() {
        let (mut events, now) = (Events::default(), Instant::now());
        for n in 0..ENOUGH as u64 {
            assert!(!events.is_awaited());
            events.push(event(n, 1, now).tried());
            events.ended(entry(n), "arrived", true, false);
        }
        assert!(events.is_awaited());
    }
}
