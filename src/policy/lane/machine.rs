//! The lane itself: what it holds, and what each input does to it.

mod early;
mod waiting;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::words::{Delivery, Effect, Input, Known, Limits, Next, Round, Verdict};
use crate::domain::{AttemptResult, DisabledReason, EntryId, EventId, Millis, Receipt};
use crate::policy::breaker::{Breaker, Signal, Standing, Term};
use crate::policy::pace::Pace;
use crate::policy::retry;

/// How many deliveries a lane holds in its window; what is beyond waits in the mailbox.
pub const WINDOW: usize = 256;
/// How many retries a lane holds; later ones wait in Redis.
pub const HELD_RETRIES: usize = 256;
/// How many outcomes may wait to be recorded, beyond twice the attempts that may be on their way at once: they wait for
/// each other, and must not hold up a webhook that has few attempts at once.
const UNRECORDED: usize = 64;
/// How long a lane without work stays.
const LINGER: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct InFlight {
    event: EventId,
    attempt: u32,
    was_retry: bool,
    /// It was started before its dispatch, which is not known to be done.
    early: bool,
    /// Tells whether its result is news to the breaker.
    term: Term,
    /// The queues are read anew since it was started: it may wait elsewhere now.
    outdated: bool,
    /// `Some` once the attempt has ended and its outcome is being recorded.
    unrecorded: Option<Unrecorded>,
}

/// What an outcome says that is not in Redis yet.
#[derive(Clone, Copy, Debug)]
struct Unrecorded {
    next: Next,
    paused_until: Option<Millis>,
    turns_breaker: bool,
    disables: bool,
}

/// A read of a queue that was asked for and is not answered yet.
#[derive(Debug)]
struct Asked {
    /// Tells its answer from those of earlier reads.
    round: Round,
    /// How many entries.
    count: usize,
    /// The last entry told when it was asked for.
    told: EntryId,
    /// What was in flight then, and what has been started since. Redis may still have held it when it read, whatever has
    /// become of it since.
    started: HashSet<EntryId>,
}

/// The machine. See the module's page.
#[derive(Debug)]
pub struct Lane<B> {
    limits: Limits,
    pace: Option<Pace>,
    /// The endpoint asked to be left alone until then.
    paused_until: Millis,
    breaker: Breaker,
    /// Outcomes that turned the breaker and are not recorded yet.
    turning: usize,
    draining: bool,
    window: VecDeque<Delivery<B>>,
    cursor: EntryId,
    told: EntryId,
    caught_up: bool,
    asked: Option<Asked>,
    retries: BTreeMap<(Millis, EntryId), Delivery<B>>,
    retries_complete: bool,
    asked_retries: Option<Asked>,
    round: Round,
    in_flight: HashMap<EntryId, InFlight>,
    sending: usize,
    hold_until: Millis,
    pace_until: Millis,
    quiet_since: Option<Millis>,
    wake_at: Option<Millis>,
}

impl<B: Clone> Lane<B> {
    /// A lane that has done nothing yet.
    pub fn new(limits: Limits, standing: Standing, known: Known) -> Self {
        let (cursor, empty) = match known {
            Known::Nothing => (EntryId::ZERO, false),
            Known::EmptyUpTo(entry) => (entry, true),
        };
        let pace = limits.rate_per_second.map(Pace::new);
        Self {
            limits,
            pace,
            paused_until: standing.asked_until,
            breaker: Breaker::of(standing),
            turning: 0,
            draining: false,
            window: VecDeque::new(),
            cursor,
            told: cursor,
            caught_up: empty,
            asked: None,
            retries: BTreeMap::new(),
            retries_complete: empty,
            asked_retries: None,
            round: Round::default(),
            in_flight: HashMap::new(),
            sending: 0,
            hold_until: Millis(0),
            pace_until: Millis(0),
            quiet_since: None,
            wake_at: None,
        }
    }

    /// Takes one input; `told` is the last entry dispatched to this webhook of which no input tells. Total: an input that does not fit the
    /// state (an answer nobody asked for, an outcome of an unknown entry) changes nothing.
    pub fn step(&mut self, input: Input<B>, told: EntryId, now: Millis) -> Vec<Effect<B>> {
        let mut effects = Vec::new();
        let previously_told = self.told;
        self.told = self.told.max(told);
        match input {
            Input::Delivered { previous, deliveries } => self.delivered(previous, deliveries),
            Input::Early(delivery) => effects.push(self.start_early(delivery, now)),
            Input::MailboxRead { round, deliveries } => self.mailbox_read(round, deliveries),
            Input::RetriesRead { round, retries } => self.retries_read(round, retries),
            Input::ReadFailed(round) => self.read_failed(round, now),
            Input::Attempted { entry, result, jitter } => {
                self.attempted(entry, &result, jitter, now, &mut effects)
            }
            Input::Unsendable { entry, for_good } => self.unsendable(entry, for_good, now, &mut effects),
            Input::Recorded { entry, receipt } => self.recorded(entry, receipt, now),
            Input::Changed { limits, standing } => self.changed(limits, standing),
            Input::Retaken => {
                self.told = told;
                self.breaker.doubts();
                self.reread();
            }
            Input::Drain => self.draining = true,
            Input::Tick => self.wake_at = None,
        }
        // What comes in while nothing may start for long waits in Redis: it is no reason to stay.
        if self.told > previously_told && self.floor().since(now) <= LINGER {
            self.quiet_since = None;
        }
        self.start_what_may_start(now, &mut effects);
        self.read_what_is_missing(now, &mut effects);
        self.rest_or_wake(now, &mut effects);
        effects
    }

    /// The last mailbox entry that the lane has seen, or knows to lie in Redis.
    pub fn cursor(&self) -> EntryId {
        self.cursor.max(self.told)
    }

    /// Whether its webhook is switched on, as far as the lane knows.
    pub fn is_active(&self) -> bool {
        self.limits.active
    }

    /// Whether no attempt is on its way and no outcome waits to be recorded.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    fn delivered(&mut self, previous: EntryId, deliveries: Vec<Delivery<B>>) {
        let last = deliveries.last().map_or(EntryId::ZERO, |delivery| delivery.entry);
        self.told = self.told.max(last);
        let joins_on = self.caught_up && self.cursor >= previous;
        if !joins_on || self.draining {
            return;
        }
        for delivery in deliveries {
            if delivery.entry <= self.cursor {
                continue;
            }
            if self.window.len() >= WINDOW {
                return;
            }
            self.cursor = delivery.entry;
            // Started early; or Redis has gone back to before its dispatch, and it was dispatched again.
            match self.in_flight.get_mut(&delivery.entry) {
                Some(flight) => flight.early = false,
                None => self.keep(delivery),
            }
        }
    }

    /// Puts a delivery into the window, in the order of the mailbox, if it is not there.
    fn keep(&mut self, delivery: Delivery<B>) {
        let place = self.window.partition_point(|waiting| waiting.entry < delivery.entry);
        if self.window.get(place).is_none_or(|waiting| waiting.entry != delivery.entry) {
            self.window.insert(place, delivery);
        }
    }

    /// Forgets what is known of the queues; what is in flight stays so. Both are read from the start.
    fn reread(&mut self) {
        self.window.clear();
        self.retries.clear();
        self.cursor = EntryId::ZERO;
        self.caught_up = false;
        self.retries_complete = false;
        self.asked = None;
        self.asked_retries = None;
        self.in_flight.values_mut().for_each(|flight| flight.outdated = true);
    }

    fn mailbox_read(&mut self, round: Round, deliveries: Vec<Delivery<B>>) {
        let Some(asked) = self.asked.take_if(|asked| asked.round == round) else { return };
        let short = deliveries.len() < asked.count;
        for delivery in deliveries {
            if delivery.entry <= self.cursor {
                continue;
            }
            self.cursor = delivery.entry;
            if !asked.started.contains(&delivery.entry) && !self.in_flight.contains_key(&delivery.entry) {
                self.keep(delivery);
            }
        }
        if short {
            self.caught_up = true;
            // Up to there the mailbox has been seen whole: what is not in it any more has been dropped.
            self.cursor = self.cursor.max(asked.told);
        }
    }

    fn retries_read(&mut self, round: Round, retries: Vec<(Millis, Delivery<B>)>) {
        let Some(asked) = self.asked_retries.take_if(|asked| asked.round == round) else { return };
        self.retries_complete = retries.len() < asked.count;
        let held: HashSet<EntryId> = self.retries.keys().map(|(_, entry)| *entry).collect();
        for (due, delivery) in retries {
            let entry = delivery.entry;
            let known = |entries: &HashSet<EntryId>| entries.contains(&entry);
            if !known(&held) && !known(&asked.started) && !self.in_flight.contains_key(&entry) {
                self.retries.insert((due, entry), delivery);
            }
        }
    }

    fn read_failed(&mut self, round: Round, now: Millis) {
        let failed = |asked: &mut Asked| asked.round == round;
        if self.asked.take_if(failed).is_some() || self.asked_retries.take_if(failed).is_some() {
            self.hold(now);
        }
    }

    /// After a fault of ours: nothing is tried before a moment has passed.
    fn hold(&mut self, now: Millis) {
        const MOMENT: Duration = Duration::from_millis(500);
        self.hold_until = now + MOMENT;
    }

    fn attempted(
        &mut self,
        entry: EntryId,
        result: &AttemptResult,
        jitter: f64,
        now: Millis,
        effects: &mut Vec<Effect<B>>,
    ) {
        /// The endpoint is gone for good (RFC 9110, section 15.5.11).
        const GONE: u16 = 410;
        let Some((attempt, term)) = self.ended(entry) else { return };
        let gone = result.status == Some(GONE);
        let next = if result.success() {
            Next::Delivered
        } else if gone {
            Next::Dead
        } else {
            self.after_failure(attempt, result.retry_after, jitter, now)
        };
        let paused_until =
            result.retry_after.map(|pause| now + pause).filter(|until| *until > self.paused_until);
        self.paused_until = paused_until.unwrap_or(self.paused_until);
        let (signal, policy) = (Signal::of(result), &self.limits.breaker);
        let change = self.breaker.ended(term, signal, self.paused_until, jitter, now, policy);
        let hopeless = change.is_some() && self.breaker.is_hopeless(now, policy);
        let disable =
            if gone { Some(DisabledReason::Gone) } else { hopeless.then_some(DisabledReason::Failing) };
        self.limits.active &= disable.is_none();
        self.record(entry, effects, |verdict| Verdict {
            next,
            paused_until,
            signal,
            change,
            disable,
            ..verdict
        });
    }

    fn after_failure(&self, attempt: u32, retry_after: Option<Duration>, jitter: f64, now: Millis) -> Next {
        match retry::after(&self.limits.retries, attempt, retry_after, jitter) {
            retry::Next::RetryIn(delay) => Next::Retry(now + delay),
            retry::Next::Dead => Next::Dead,
        }
    }

    /// Notes that an attempt is no longer on its way; answers its number, and when it was started.
    fn ended(&mut self, entry: EntryId) -> Option<(u32, Term)> {
        let flight = self.in_flight.get(&entry).filter(|flight| flight.unrecorded.is_none())?;
        self.sending -= 1;
        Some((flight.attempt, flight.term))
    }

    /// Has the end of an attempt recorded; `judge` says what it comes to.
    fn record(
        &mut self,
        entry: EntryId,
        effects: &mut Vec<Effect<B>>,
        judge: impl FnOnce(Verdict) -> Verdict,
    ) {
        let rests_until = self.rests_until();
        let Some(flight) = self.in_flight.get_mut(&entry) else { return };
        let InFlight { event, attempt, was_retry, early, .. } = flight;
        let unsent = Verdict::unsent(entry, event.clone(), *attempt, *was_retry, Next::Dead);
        let verdict = judge(Verdict { rests_until, early: *early, ..unsent });
        flight.unrecorded = Some(Unrecorded {
            next: verdict.next,
            paused_until: verdict.paused_until,
            turns_breaker: verdict.change.is_some(),
            disables: verdict.disable.is_some(),
        });
        self.turning += usize::from(verdict.change.is_some());
        effects.push(Effect::Record(verdict));
    }

    fn unsendable(&mut self, entry: EntryId, for_good: bool, now: Millis, effects: &mut Vec<Effect<B>>) {
        let Some((_, term)) = self.ended(entry) else { return };
        self.breaker.abandoned(term, now);
        if for_good {
            self.record(entry, effects, |verdict| Verdict { next: Next::Bodiless, ..verdict });
        } else {
            effects.extend(self.put_back(entry, now));
        }
    }

    /// The delivery still waits where it waited in Redis; here it is due again after a moment.
    fn put_back(&mut self, entry: EntryId, now: Millis) -> Option<Effect<B>> {
        self.hold(now);
        let flight = self.in_flight.remove(&entry)?;
        if flight.outdated || flight.early {
            // Whether it waits in Redis by now, only Redis tells.
            self.reread();
            return flight.early.then_some(Effect::Decline(entry));
        }
        let delivery = Delivery { entry, event: flight.event, attempt: flight.attempt, body: None };
        if flight.was_retry {
            self.retries.insert((now, entry), delivery);
        } else {
            self.keep(delivery);
        }
        None
    }

    fn recorded(&mut self, entry: EntryId, receipt: Receipt, now: Millis) {
        if self.in_flight.get(&entry).is_none_or(|flight| flight.unrecorded.is_none()) {
            return;
        }
        let Some(flight) = self.in_flight.remove(&entry) else { return };
        let turned = flight.unrecorded.is_some_and(|outcome| outcome.turns_breaker);
        self.turning -= usize::from(turned);
        match receipt {
            Receipt::Recorded => {}
            // Dropped, or recorded by a call whose answer was lost, or Redis has lost what it knew: only the queues tell.
            Receipt::Gone => {
                if turned {
                    self.breaker.doubts();
                }
                self.hold(now);
                self.reread();
                return;
            }
            // What waits is dropped when the partition comes to the deletion, which may lie behind a backlog. Until
            // then nothing of it may be sent, again least of all.
            Receipt::NoWebhook => {
                self.limits.active = false;
                return;
            }
        }
        let Some(Unrecorded { next: Next::Retry(due), .. }) = flight.unrecorded else { return };
        let beyond = self.retries.last_key_value().is_none_or(|((last, _), _)| due > *last);
        if !self.retries_complete && self.asked_retries.is_none() && beyond {
            return;
        }
        let delivery = Delivery { entry, event: flight.event, attempt: flight.attempt + 1, body: None };
        self.retries.insert((due, entry), delivery);
        if self.retries.len() > HELD_RETRIES && self.asked_retries.is_none() {
            self.retries.pop_last();
            self.retries_complete = false;
        }
    }

    fn changed(&mut self, limits: Limits, standing: Standing) {
        if limits.rate_per_second != self.limits.rate_per_second {
            self.pace = limits.rate_per_second.map(Pace::new);
        }
        // The record was read before what is still to be recorded of a pause or of a switching off.
        let unrecorded = || self.in_flight.values().filter_map(|flight| flight.unrecorded);
        let pause = unrecorded().filter_map(|outcome| outcome.paused_until).max();
        let switched_off = unrecorded().any(|outcome| outcome.disables);
        self.paused_until = standing.asked_until.max(pause.unwrap_or_default());
        // Redis went back, and is still to be told of a turn: then it will know what is known here.
        if !self.breaker.is_in_doubt() || self.turning == 0 {
            self.breaker.reread(standing);
        }
        self.limits = Limits { active: limits.active && !switched_off, ..limits };
    }

    fn start_what_may_start(&mut self, now: Millis, effects: &mut Vec<Effect<B>>) {
        while self.may_start(now) {
            let Some((delivery, was_retry)) = self.next_to_start(now) else { return };
            let waited = now.since(Millis(delivery.entry.ms));
            for asked in [&mut self.asked, &mut self.asked_retries].into_iter().flatten() {
                asked.started.insert(delivery.entry);
            }
            let is_sent = waited <= self.limits.max_age;
            let was_open = self.breaker.is_open();
            let flight = InFlight {
                event: delivery.event.clone(),
                attempt: delivery.attempt,
                was_retry,
                early: false,
                term: if is_sent { self.breaker.started() } else { Term::default() },
                outdated: false,
                unrecorded: None,
            };
            self.in_flight.insert(delivery.entry, flight);
            if is_sent {
                self.sending += 1;
                effects.extend(was_open.then_some(Effect::Probes));
                effects.push(Effect::Start(delivery));
            } else {
                self.record(delivery.entry, effects, |verdict| Verdict { next: Next::Expired, ..verdict });
            }
        }
    }

    /// Whether the next attempt, or the end, waits for outcomes to be recorded, or soon will.
    pub fn awaits_records(&self) -> bool {
        let unrecorded = self.in_flight.len() - self.sending;
        self.draining || self.limits.ordered || unrecorded > self.limits.max_concurrency + UNRECORDED / 2
    }

    fn may_start(&self, now: Millis) -> bool {
        let unrecorded = self.in_flight.len() - self.sending;
        let room = self.sending < self.limits.max_concurrency
            && unrecorded <= 2 * self.limits.max_concurrency + UNRECORDED
            && (!self.limits.ordered || self.in_flight.is_empty());
        let ready = room && self.limits.active && !self.draining && now >= self.floor();
        // What the breaker has come to is recorded first, so that its turns are recorded in their order.
        ready && self.turning == 0 && self.breaker.may_start(self.sending, now)
    }

    /// Nothing is sent before that for the endpoint's sake: it asked for a pause, or the breaker makes one.
    fn rests_until(&self) -> Millis {
        self.paused_until.max(self.breaker.pause_ends())
    }

    /// Before that nothing may start: the webhook rests, a fault of ours, the pace.
    fn floor(&self) -> Millis {
        self.rests_until().max(self.hold_until).max(self.pace_until)
    }

    /// A due retry first, then the oldest of the window, unless the pace says later. For an ordered webhook nothing
    /// starts from the window while any delivery waits for a retry.
    fn next_to_start(&mut self, now: Millis) -> Option<(Delivery<B>, bool)> {
        let retry = self.due_retry(now);
        let held_back = self.limits.ordered && (!self.retries_complete || !self.retries.is_empty());
        if retry.is_none() && (held_back || self.window.is_empty()) {
            return None;
        }
        if let Some(pace) = &self.pace
            && let Err(wait) = pace.take(now)
        {
            self.pace_until = now + wait;
            return None;
        }
        match retry {
            Some(key) => self.retries.remove(&key).map(|delivery| (delivery, true)),
            None => self.window.pop_front().map(|delivery| (delivery, false)),
        }
    }

    /// The retry that comes first: of an ordered webhook the oldest delivery, of any other what is due first.
    fn first_retry(&self) -> Option<(Millis, EntryId)> {
        if self.limits.ordered {
            // There is one, unless Redis has gone back to a moment ago.
            return self.retries.keys().copied().min_by_key(|(_, entry)| *entry);
        }
        self.retries.keys().next().copied()
    }

    /// The retry that starts next, if it is due; for a probe the oldest delivery of those that are due.
    fn due_retry(&self, now: Millis) -> Option<(Millis, EntryId)> {
        if self.breaker.is_open() && !self.limits.ordered {
            let due = self.retries.keys().copied().take_while(|(due, _)| *due <= now);
            return due.min_by_key(|(_, entry)| *entry);
        }
        self.first_retry().filter(|(due, _)| *due <= now)
    }

    fn is_behind(&self) -> bool {
        !self.caught_up || self.cursor < self.told
    }

    fn read_what_is_missing(&mut self, now: Millis, effects: &mut Vec<Effect<B>>) {
        if self.draining || !self.limits.active || now < self.hold_until {
            return;
        }
        if self.is_behind() && self.asked.is_none() && self.window.len() <= WINDOW / 2 {
            let count = WINDOW - self.window.len();
            let round = self.ask(count, |lane| &mut lane.asked);
            effects.push(Effect::ReadMailbox { round, after: self.cursor, count });
        }
        if !self.retries_complete && self.asked_retries.is_none() && self.retries.len() <= HELD_RETRIES / 2 {
            // Those in flight still lie in Redis: ask for that many more.
            let count = HELD_RETRIES + self.in_flight.len();
            let round = self.ask(count, |lane| &mut lane.asked_retries);
            effects.push(Effect::ReadRetries { round, count });
        }
    }

    fn ask(&mut self, count: usize, of: impl FnOnce(&mut Self) -> &mut Option<Asked>) -> Round {
        self.round = self.round.next();
        let started = self.in_flight.keys().copied().collect();
        let asked = Asked { round: self.round, count, told: self.told, started };
        *of(self) = Some(asked);
        self.round
    }

    fn rest_or_wake(&mut self, now: Millis, effects: &mut Vec<Effect<B>>) {
        let due = self.next_time(now);
        // What waits here waits in Redis as well: as long as nothing may start, nobody need hold it.
        let waiting = self.limits.active && due.is_none() && (!self.window.is_empty() || self.is_behind());
        let reading = self.asked.is_some() || self.asked_retries.is_some();
        let busy = !self.in_flight.is_empty() || reading || waiting;
        let soon = due.is_some_and(|due| due.since(now) <= LINGER);
        if busy || soon || self.draining {
            self.quiet_since = None;
            self.wake(due, effects);
            return;
        }
        let quiet_since = *self.quiet_since.get_or_insert(now);
        if now.since(quiet_since) >= LINGER || !self.limits.active {
            effects.push(Effect::Idle(due.filter(|_| self.limits.active)));
        } else {
            self.wake(Some(quiet_since + LINGER), effects);
        }
    }

    /// When something may start that cannot start now for time's sake alone.
    fn next_time(&self, now: Millis) -> Option<Millis> {
        if !self.limits.active {
            return None;
        }
        let floor = self.floor();
        let retry = self.first_retry().map(|(due, _)| due);
        let head_is_free = !self.limits.ordered || retry.is_none();
        let fresh =
            (floor > now && head_is_free && (!self.window.is_empty() || self.is_behind())).then_some(floor);
        let unread = (!self.retries_complete && floor > now).then_some(floor);
        let retry = retry.map(|due| due.max(floor)).filter(|due| *due > now);
        [fresh, unread, retry].into_iter().flatten().min()
    }

    fn wake(&mut self, at: Option<Millis>, effects: &mut Vec<Effect<B>>) {
        if let Some(at) = at
            && self.wake_at.is_none_or(|set| at < set)
        {
            self.wake_at = Some(at);
            effects.push(Effect::WakeAt(at));
        }
    }
}
