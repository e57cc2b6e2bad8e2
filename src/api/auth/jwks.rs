//! The identity provider's keys: the set in use, and when it is read again.
//!
//! One task reads ([`Jwks::keep_fresh`]), so there is never more than one reading at a time; requests only look at the set
//! in use. It is read every `auth.jwks_refresh_seconds`; after a failure sooner, with growing pauses; and once when a token
//! names a key that is not in it, at most once in [`ASK_EVERY`]. So whoever sends made-up names causes one reading a
//! minute, holds up nobody whose key is known, and has at most [`MOST_WAITING`] requests wait. What it costs others: in the
//! minute after such a reading the first tokens of a new key are refused; providers publish a key before they sign with it.
//! A set that cannot be read or used leaves the one in use as it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, watch};

use super::keys::Key;
use super::source::{Failure, Source};
use crate::clock;
use crate::config;
use crate::config::keys::KeySet;
use crate::domain::KeyReading;
use crate::telemetry::events as facts;

/// How often unknown keys may cause a reading.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The pause after a first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Requests that may wait for a reading at once; others get 503.
const MOST_WAITING: usize = 256;

/// The set in use.
#[derive(Clone, Default)]
pub(super) struct Current {
    /// `None` = no set has been read yet.
    pub(super) keys: Option<Arc<[Key]>>,
    /// Another number for other keys; 0 = none yet.
    pub(super) generation: u64,
    /// How many readings have ended.
    readings: u64,
    is_reading: bool,
    /// Whether the last reading came to nothing, so that a key that is not in the set may be one that is good.
    pub(super) is_stale: bool,
    /// When an unknown key last caused a reading.
    asked: Option<Instant>,
}

/// What a request does whose key is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Waits for the reading under way.
    Wait,
    /// Causes one, and waits for it.
    Ask,
    /// Is refused.
    GiveUp,
}

/// What came of a wait for newer keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Newer {
    /// A reading has ended.
    Read,
    /// None is under way, and none is caused now.
    NotNow,
    /// There is no place to wait.
    TooManyWait,
}

impl Current {
    /// Pure. Without any set a request gives up at once unless one is being read: the next reading is never far.
    fn step(&self, now: Instant) -> Step {
        if self.is_reading {
            Step::Wait
        } else if self.keys.is_some() && self.may_ask(now) {
            Step::Ask
        } else {
            Step::GiveUp
        }
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_EVERY)
    }
}

/// When the set is read again, after so many failures in a row. Pure.
fn pause(failures: u32, refresh: Duration) -> Duration {
    match failures.checked_sub(1) {
        None => refresh,
        Some(before) => {
            let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(before));
            doubled.min(LONGEST_PAUSE).min(refresh)
        }
    }
}

/// The identity provider's keys. One per node.
pub(super) struct Jwks {
    source: Source,
    settings: config::Auth,
    current: watch::Sender<Current>,
    asked: Notify,
    waiting: Semaphore,
}

impl Jwks {
    /// With the keys of the file as it was at the start, or with none until the URL is fetched.
    pub(super) fn new(source: &config::Jwks, settings: &config::Auth) -> Self {
        let mut current = Current::default();
        if let config::Jwks::File(_, set) = source {
            current.keys = Some(Key::all_of(set, settings).into());
            current.generation = 1;
        }
        Self {
            source: Source::of(source),
            settings: settings.clone(),
            current: watch::Sender::new(current),
            asked: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }

    /// The set in use.
    pub(super) fn current(&self) -> Current {
        self.current.borrow().clone()
    }

    /// Waits for a reading that ends after `seen` was looked at, if there is one to wait for.
    pub(super) async fn newer_than(&self, seen: &Current) -> Newer {
        let step = seen.step(clock::monotonic());
        if step == Step::GiveUp {
            return Newer::NotNow;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Newer::TooManyWait };
        if step == Step::Ask {
            self.asked.notify_one();
        }
        let mut current = self.current.subscribe();
        // It ends with an error only where the sender is gone, which lives as long as this.
        match current.wait_for(|now| now.readings != seen.readings).await {
            Ok(_) => Newer::Read,
            Err(_) => Newer::NotNow,
        }
    }

    /// Reads the set when it is due. Never ends; dropped at any moment it leaves the set in use as it is.
    pub(super) async fn keep_fresh(&self) {
        let mut last = self.begin();
        let first = if last.is_some() { self.settings.jwks_refresh } else { Duration::ZERO };
        let (mut failures, mut due): (u32, _) = (0, clock::monotonic() + first);
        loop {
            let is_asked = tokio::select! {
                () = tokio::time::sleep_until(due.into()) => false,
                () = self.asked.notified() => true,
            };
            let now = clock::monotonic();
            // What was asked for while a reading was under way has been answered by it.
            if is_asked && !self.current.borrow().may_ask(now) {
                continue;
            }
            self.current.send_modify(|current| {
                current.is_reading = true;
                current.asked = if is_asked { Some(now) } else { current.asked };
            });
            let read = self.source.read().await;
            failures = if read.is_ok() { 0 } else { failures.saturating_add(1) };
            self.take(read, &mut last);
            due = clock::monotonic() + pause(failures, self.settings.jwks_refresh);
        }
    }

    /// The set that is there from the start.
    fn begin(&self) -> Option<KeySet> {
        match &self.source {
            Source::File(_, set) => {
                facts::keys_read(KeyReading::Changed, set.keys.len(), set.left_out);
                Some(set.clone())
            }
            Source::Url(_) => {
                facts::keys_awaited();
                None
            }
        }
    }

    /// Puts a set that was read into use, and wakes who waits, whatever came of the reading.
    fn take(&self, read: Result<KeySet, Failure>, last: &mut Option<KeySet>) {
        let is_new = matches!(&read, Ok(set) if last.as_ref() != Some(set));
        match &read {
            Ok(set) if is_new => facts::keys_read(KeyReading::Changed, set.keys.len(), set.left_out),
            Ok(set) => facts::keys_read(KeyReading::Unchanged, set.keys.len(), set.left_out),
            Err(failure) => facts::keys_not_read(failure.kind(), failure, &failure.cause()),
        }
        let is_stale = read.is_err();
        let newer = read.ok().filter(|_| is_new);
        self.current.send_modify(|current| {
            if let Some(set) = &newer {
                current.keys = Some(Key::all_of(set, &self.settings).into());
                current.generation += 1;
            }
            current.readings += 1;
            current.is_reading = false;
            current.is_stale = is_stale;
        });
        *last = newer.or(last.take());
    }
}

#[cfg(test)]
impl Current {
    pub(super) fn readings(&self) -> u64 {
        self.readings
    }
}

#[cfg(test)]
impl Jwks {
    pub(super) async fn until(&self, holds: impl FnMut(&Current) -> bool) {
        self.current.subscribe().wait_for(holds).await.map(drop).unwrap();
    }

    /// From now on a reading is under way that never ends.
    pub(super) fn hang(&self) {
        self.current.send_modify(|current| current.is_reading = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_after_failures_grow_up_to_a_minute_and_never_past_the_ordinary_one() {
        let seconds = |failures, refresh| pause(failures, Duration::from_secs(refresh)).as_secs();
        let found: Vec<u64> = (0..9).map(|failures| seconds(failures, 300)).collect();
        assert_eq!(found, [300, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!((seconds(u32::MAX, 300), seconds(7, 5)), (60, 5));
    }

    #[test]
    fn a_request_waits_for_a_reading_or_causes_one_if_none_was_asked_for_lately() {
        let now = clock::monotonic() + ASK_EVERY * 2;
        let some: Option<Arc<[Key]>> = Some(Vec::new().into());
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let cases = [
            (some.clone(), false, None, Step::Ask),
            (some.clone(), false, ago(60), Step::Ask),
            (some.clone(), false, ago(59), Step::GiveUp),
            (some.clone(), true, None, Step::Wait),
            (some, true, ago(0), Step::Wait),
            (None, false, None, Step::GiveUp),
            (None, true, None, Step::Wait),
        ];
        for (keys, is_reading, asked, expected) in cases {
            let current = Current { keys, is_reading, asked, ..Current::default() };
            assert_eq!(current.step(now), expected, "{is_reading} {asked:?}");
        }
    }

    #[tokio::test]
    async fn no_more_requests_wait_than_there_are_places() {
        let url = "http://127.0.0.1:9/".parse().unwrap();
        let settings = crate::api::testing::config().auth;
        let jwks = Jwks::new(&config::Jwks::Url(url), &settings);
        jwks.current.send_modify(|current| current.is_reading = true);
        let seen = jwks.current();
        let waiting: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(jwks.newer_than(&seen))).collect();
        let mut waiting = futures_util::future::join_all(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert_eq!(jwks.newer_than(&seen).await, Newer::TooManyWait, "at once");
        jwks.current.send_modify(|current| current.readings += 1);
        assert!(waiting.await.iter().all(|newer| *newer == Newer::Read));
    }
}
