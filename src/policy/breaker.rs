//! Whether an endpoint is sent anything: the circuit breaker of one webhook.
//!
//! It flows until a number of attempts in a row have failed. Then it pauses; when the pause is over one attempt, the
//! probe, shows whether the endpoint is back. A failed probe begins a pause twice as long, up to a limit; a success lets
//! it flow again, with few attempts at once first. Waiting drops nothing and uses nothing up.
//!
//! Chance and time arrive as arguments. Every attempt carries the [`Term`] that it was started in, and only those of the
//! present term are heard: what was in flight when the breaker opened, or before its failures were forgotten, says
//! nothing new about the endpoint.

use std::time::Duration;

use crate::domain::{AttemptResult, Millis};

/// The largest part of a pause that jitter adds: endpoints that went down together are not probed together.
const JITTER: f64 = 0.1;
/// No pause is doubled more often; that is far past any limit.
const MOST_DOUBLINGS: u32 = 20;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Failures in a row that open it; at least 1.
    pub failure_threshold: u32,
    /// The first pause.
    pub pause: Duration,
    /// The longest pause, before jitter.
    pub max_pause: Duration,
    /// A webhook that has done nothing but fail for so long is switched off.
    pub disable_after: Duration,
}

/// What is kept of a webhook's failures beside its record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The endpoint asked to be left alone until then (`Retry-After`).
    pub asked_until: Millis,
    /// Failures since the last success.
    pub failures: u32,
    /// The first of them.
    pub failing_since: Option<Millis>,
    /// Pauses of the breaker since it last flowed; 0 = it flows.
    pub pauses: u32,
    /// The end of the last of them.
    pub pause_ends: Millis,
    /// Counts how often the breaker opened, closed, or was told to forget: a later reading has a higher number.
    pub turn: u64,
}

impl Standing {
    /// Whether the breaker is open: it pauses, or its probe has not succeeded yet.
    pub fn is_open(&self) -> bool {
        self.pauses > 0
    }

    /// Nothing is sent before that, whoever wants it so.
    pub fn rests_until(&self) -> Millis {
        if self.is_open() { self.asked_until.max(self.pause_ends) } else { self.asked_until }
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Attempts flow; holds how many have failed in a row.
    Flowing(u32),
    /// Nothing is sent before then; the first attempt after it is the probe.
    PausedUntil(Millis),
    /// The probe is out; its result decides.
    Probing,
}

/// A time between two changes of the state; names what an attempt may still tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term(u64);

/// What an attempt tells of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It took the event.
    Succeeded,
    /// It did not.
    Failed,
    /// No request came to it, for a reason of ours.
    Nothing,
}

impl Signal {
    /// What `result` tells.
    pub fn of(result: &AttemptResult) -> Self {
        match &result.failure {
            None => Self::Succeeded,
            Some(failure) if failure.kind.is_ours() => Self::Nothing,
            Some(_) => Self::Failed,
        }
    }
}

/// What the end of an attempt changed, to be kept with its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A pause begins.
    Opened {
        /// The how manieth since it flowed, from 1.
        pauses: u32,
        /// When it ends.
        until: Millis,
    },
    /// Attempts flow again.
    Closed,
}

/// The breaker of one webhook. See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    state: State,
    pauses: u32,
    failing_since: Option<Millis>,
    term: Term,
    /// How many attempts may be in flight while it flows: after a pause one more with each success.
    room: usize,
    /// The turn that this has come to; `None` when that is not known, and whatever is read next is taken.
    turn: Option<u64>,
}

impl Breaker {
    /// The breaker that `standing` tells of.
    pub fn of(standing: Standing) -> Self {
        let state = match standing.pauses {
            0 => State::Flowing(standing.failures),
            _ => State::PausedUntil(standing.pause_ends),
        };
        let Standing { failing_since, pauses, turn, .. } = standing;
        Self { state, pauses, failing_since, term: Term::default(), room: usize::MAX, turn: Some(turn) }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it does not flow.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Flowing(_))
    }

    /// The end of the pause, also when it is over; 0 when there is none.
    pub fn pause_ends(&self) -> Millis {
        if let State::PausedUntil(due) = self.state { due } else { Millis(0) }
    }

    /// Whether one more attempt may start beside those in flight.
    pub fn may_start(&self, in_flight: usize, now: Millis) -> bool {
        match self.state {
            State::Flowing(_) => in_flight < self.room,
            State::PausedUntil(due) => due <= now,
            State::Probing => false,
        }
    }

    /// An attempt starts: after a pause it is the probe. Answers the term that it belongs to.
    pub fn started(&mut self) -> Term {
        if let State::PausedUntil(_) = self.state {
            self.enter(State::Probing);
        }
        self.term
    }

    /// An attempt of `term` has ended without any request. The place of a probe is free again.
    pub fn abandoned(&mut self, term: Term, now: Millis) {
        if self.state == State::Probing && term == self.term {
            self.enter(State::PausedUntil(now));
        }
    }

    /// An attempt of `term` has ended; `jitter` is a random number in 0..1. `not_before` lengthens a pause that begins.
    pub fn ended(
        &mut self,
        term: Term,
        signal: Signal,
        not_before: Millis,
        jitter: f64,
        now: Millis,
        policy: &Policy,
    ) -> Option<Change> {
        match signal {
            Signal::Succeeded => self.failing_since = None,
            Signal::Failed => self.failing_since = self.failing_since.or(Some(now)),
            Signal::Nothing => {}
        }
        if term != self.term {
            return None;
        }
        match (self.state, signal) {
            (State::Flowing(_), Signal::Succeeded) => {
                self.state = State::Flowing(0);
                self.room = self.room.saturating_add(1);
                None
            }
            (State::Probing, Signal::Succeeded) => {
                (self.pauses, self.room) = (0, 1);
                self.turns(State::Flowing(0));
                Some(Change::Closed)
            }
            (State::Flowing(failures), Signal::Failed) if failures + 1 < policy.failure_threshold => {
                self.state = State::Flowing(failures + 1);
                None
            }
            (State::Flowing(_) | State::Probing, Signal::Failed) => {
                Some(self.open(not_before, jitter, now, policy))
            }
            (State::Probing, Signal::Nothing) => {
                self.abandoned(term, now);
                None
            }
            (State::Flowing(_), Signal::Nothing) | (State::PausedUntil(_), _) => None,
        }
    }

    fn open(&mut self, not_before: Millis, jitter: f64, now: Millis, policy: &Policy) -> Change {
        self.pauses = self.pauses.saturating_add(1);
        let until = not_before.max(now + pause(self.pauses, jitter, policy));
        self.turns(State::PausedUntil(until));
        Change::Opened { pauses: self.pauses, until }
    }

    /// Whether there has been nothing but failure for so long that the webhook is to be switched off.
    pub fn is_hopeless(&self, now: Millis, policy: &Policy) -> bool {
        self.is_open() && self.failing_since.is_some_and(|since| now.since(since) >= policy.disable_after)
    }

    /// What is kept was read again, and says `standing`. What was read before this breaker's last change, recorded or
    /// not, says nothing; something newer is that its failures were forgotten, or that Redis has gone back.
    pub fn reread(&mut self, standing: Standing) {
        if self.turn.is_some_and(|turn| standing.turn <= turn) {
            return;
        }
        if self.is_open() && standing.pauses == self.pauses {
            self.turn = Some(standing.turn);
            return;
        }
        let term = Term(self.term.0 + 1);
        // What has gathered is not let out in one burst after a reset either.
        let room = if self.is_open() { 1 } else { self.room };
        *self = Self { term, room, ..Self::of(standing) };
    }

    /// What is kept may be anything: Redis has gone back, or did not record what it was told.
    pub fn doubts(&mut self) {
        self.turn = None;
    }

    /// Whether what is read next is taken, whatever it is.
    pub fn is_in_doubt(&self) -> bool {
        self.turn.is_none()
    }

    fn turns(&mut self, state: State) {
        self.turn = self.turn.map(|turn| turn + 1);
        self.enter(state);
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.term = Term(self.term.0 + 1);
    }
}

/// How long the pause with that number (from 1) is: doubled each time up to the limit, and up to [`JITTER`] of it on top.
/// Counted in whole milliseconds; the cast takes any float, also one that is no number.
fn pause(number: u32, jitter: f64, policy: &Policy) -> Duration {
    let doublings = number.saturating_sub(1).min(MOST_DOUBLINGS);
    let pause = policy.pause.saturating_mul(1 << doublings).min(policy.max_pause);
    let extra = pause.as_secs_f64() * 1000.0 * JITTER * jitter.clamp(0.0, 1.0);
    pause + Duration::from_millis(extra as u64)
}

#[cfg(test)]
mod tests;
