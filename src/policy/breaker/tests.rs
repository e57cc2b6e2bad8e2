//! Every state against every event, and what holds whatever happens.

use proptest::prelude::*;

use super::*;
use crate::domain::{ErrorKind, Failure};

const NOW: Millis = Millis(1_000_000);

fn policy() -> Policy {
    Policy {
        failure_threshold: 3,
        pause: Duration::from_secs(30),
        max_pause: Duration::from_secs(100),
        disable_after: Duration::from_secs(3600),
    }
}

fn after_secs(seconds: u64) -> Millis {
    NOW + Duration::from_secs(seconds)
}

fn open(pauses: u32, pause_ends: Millis) -> Breaker {
    Breaker::of(Standing { failures: 3, failing_since: Some(NOW), pauses, pause_ends, ..Standing::default() })
}

/// An attempt that starts and ends at `now`.
fn attempt(breaker: &mut Breaker, signal: Signal, now: Millis) -> Option<Change> {
    let term = breaker.started();
    breaker.ended(term, signal, Millis(0), 0.0, now, &policy())
}

#[test]
fn every_state_answers_every_signal() {
    use Signal::{Failed, Nothing, Succeeded};
    use State::{Flowing, PausedUntil};
    let opened = |pauses, seconds| Some(Change::Opened { pauses, until: after_secs(seconds) });
    let flowing = |failures| Breaker::of(Standing { failures, ..Standing::default() });
    let cases = [
        (flowing(0), Succeeded, Flowing(0), None),
        (flowing(2), Succeeded, Flowing(0), None),
        (flowing(0), Failed, Flowing(1), None),
        (flowing(1), Failed, Flowing(2), None),
        (flowing(2), Failed, PausedUntil(after_secs(30)), opened(1, 30)),
        (flowing(9), Failed, PausedUntil(after_secs(30)), opened(1, 30)),
        (flowing(2), Nothing, Flowing(2), None),
        // The pause is over: what starts is the probe.
        (open(1, NOW), Succeeded, Flowing(0), Some(Change::Closed)),
        (open(1, NOW), Failed, PausedUntil(after_secs(60)), opened(2, 60)),
        (open(2, NOW), Failed, PausedUntil(after_secs(100)), opened(3, 100)),
        (open(u32::MAX, NOW), Failed, PausedUntil(after_secs(100)), opened(u32::MAX, 100)),
        (open(1, NOW), Nothing, PausedUntil(NOW), None),
    ];
    for (mut breaker, signal, state, change) in cases {
        let before = breaker;
        assert_eq!(attempt(&mut breaker, signal, NOW), change, "{before:?} {signal:?}");
        assert_eq!(breaker.state(), state, "{before:?} {signal:?}");
    }
}

#[test]
fn one_probe_starts_when_the_pause_is_over_and_nothing_beside_it() {
    let mut breaker = open(1, after_secs(30));
    assert!(!breaker.may_start(0, after_secs(29)));
    assert!(breaker.may_start(5, after_secs(30)), "what is still in flight from before does not count");
    breaker.started();
    assert_eq!(breaker.state(), State::Probing);
    assert!(!breaker.may_start(0, after_secs(9999)));
}

#[test]
fn what_was_in_flight_when_it_opened_says_nothing_new() {
    let mut breaker = Breaker::of(Standing::default());
    let early: Vec<Term> = (0..6).map(|_| breaker.started()).collect();
    let mut ended = |term, signal, at| breaker.ended(term, signal, Millis(0), 0.0, at, &policy());
    let changes: Vec<bool> =
        early[..3].iter().map(|term| ended(*term, Signal::Failed, NOW).is_some()).collect();
    assert_eq!(changes, [false, false, true]);
    assert_eq!(ended(early[3], Signal::Failed, NOW), None, "no longer pause");
    assert_eq!(ended(early[4], Signal::Succeeded, NOW), None, "no end of it");
    assert_eq!(breaker.state(), State::PausedUntil(after_secs(30)));
    assert_eq!(attempt(&mut breaker, Signal::Succeeded, after_secs(30)), Some(Change::Closed));
    assert_eq!(breaker.ended(early[5], Signal::Failed, Millis(0), 0.0, after_secs(60), &policy()), None);
    assert_eq!(breaker.state(), State::Flowing(0));
}

#[test]
fn after_a_pause_attempts_flow_by_and_by() {
    let mut breaker = open(4, NOW);
    assert_eq!(attempt(&mut breaker, Signal::Succeeded, NOW), Some(Change::Closed));
    for room in 1..20 {
        assert!(breaker.may_start(room - 1, NOW) && !breaker.may_start(room, NOW), "{room}");
        attempt(&mut breaker, Signal::Succeeded, NOW);
    }
    attempt(&mut breaker, Signal::Failed, NOW);
    assert!(!breaker.may_start(20, NOW), "a failure makes no room");
    assert!(Breaker::of(Standing::default()).may_start(usize::MAX - 1, NOW));
}

#[test]
fn a_probe_that_sent_nothing_leaves_its_place_to_another() {
    let mut breaker = open(2, NOW);
    let (probe, later) = (breaker.started(), after_secs(5));
    breaker.abandoned(Term::default(), later);
    assert_eq!(breaker.state(), State::Probing, "that was none");
    breaker.abandoned(probe, later);
    assert!(breaker.may_start(0, later));
    assert_eq!(attempt(&mut breaker, Signal::Failed, later), {
        Some(Change::Opened { pauses: 3, until: later + Duration::from_secs(100) })
    });
}

#[test]
fn a_longer_wait_that_the_endpoint_asks_for_lengthens_the_pause() {
    for (asked, expected) in [(10, 60), (600, 600)] {
        let mut breaker = open(1, NOW);
        let probe = breaker.started();
        let change = breaker.ended(probe, Signal::Failed, after_secs(asked), 0.0, NOW, &policy());
        assert_eq!(change, Some(Change::Opened { pauses: 2, until: after_secs(expected) }), "{asked}");
    }
}

#[test]
fn jitter_adds_up_to_a_tenth_also_to_the_longest_pause() {
    let cases =
        [(1, 0.0, 30_000), (1, 0.5, 31_500), (2, 1.0, 66_000), (9, 1.0, 110_000), (1, f64::NAN, 30_000)];
    for (number, jitter, expected) in cases {
        assert_eq!(pause(number, jitter, &policy()), Duration::from_millis(expected), "{number} {jitter}");
    }
}

#[test]
fn only_an_open_breaker_without_any_success_for_long_is_hopeless() {
    let mut breaker = Breaker::of(Standing { failing_since: Some(NOW), failures: 1, ..Standing::default() });
    assert!(!breaker.is_hopeless(after_secs(9999), &policy()), "two failures a year apart are none");
    breaker = open(7, after_secs(3600));
    assert!(!breaker.is_hopeless(after_secs(3599), &policy()));
    assert!(breaker.is_hopeless(after_secs(3600), &policy()));
    let late = Term::default();
    breaker.started();
    breaker.ended(late, Signal::Succeeded, Millis(0), 0.0, after_secs(3600), &policy());
    assert!(!breaker.is_hopeless(after_secs(3600), &policy()), "a late success is one");
}

#[test]
fn a_reading_from_before_the_last_change_says_nothing_and_a_reset_is_heard() {
    let mut breaker = Breaker::of(Standing { failures: 2, turn: 4, ..Standing::default() });
    attempt(&mut breaker, Signal::Failed, NOW);
    let paused = breaker.state();
    breaker.reread(Standing { failures: 2, turn: 4, ..Standing::default() });
    assert_eq!(breaker.state(), paused, "read before it was recorded");
    let recorded =
        Standing { pauses: 1, pause_ends: after_secs(30), failures: 3, turn: 5, ..Standing::default() };
    breaker.reread(recorded);
    assert_eq!(breaker.state(), paused);
    let probe = breaker.started();
    breaker.reread(Standing { turn: 6, ..Standing::default() });
    assert_eq!(breaker.state(), State::Flowing(0), "its failures were forgotten");
    assert!(!breaker.may_start(1, NOW), "without a burst");
    assert_eq!(breaker.ended(probe, Signal::Failed, Millis(0), 0.0, NOW, &policy()), None);
    assert_eq!(breaker.state(), State::Flowing(0), "and what was in flight with them");
}

#[test]
fn a_breaker_in_doubt_takes_what_is_kept() {
    let mut breaker = Breaker::of(Standing { pauses: 3, turn: 9, ..Standing::default() });
    let behind = Standing { failures: 1, turn: 2, ..Standing::default() };
    breaker.reread(behind);
    assert!(breaker.is_open());
    breaker.doubts();
    breaker.reread(behind);
    assert_eq!(breaker.state(), State::Flowing(1));
}

#[test]
fn failures_of_ours_tell_nothing_of_the_endpoint() {
    let result = |failure| AttemptResult {
        at: NOW,
        elapsed: Duration::ZERO,
        status: None,
        response_body: None,
        failure,
        retry_after: None,
    };
    assert_eq!(Signal::of(&result(None)), Signal::Succeeded);
    for kind in ErrorKind::ALL {
        let ours = [ErrorKind::Cancelled, ErrorKind::Expired, ErrorKind::Overflow].contains(&kind);
        let expected = if ours { Signal::Nothing } else { Signal::Failed };
        let failure = Failure { kind, message: String::new() };
        assert_eq!(Signal::of(&result(Some(failure))), expected, "{kind:?}");
    }
}

proptest! {
    #[test]
    fn whatever_ends_in_whatever_order_one_probe_at_most_is_out_and_pauses_stay_within_bounds(
        script in proptest::collection::vec((0..5_u8, any::<prop::sample::Index>(), 0..20_u64, 0.0..1.0), 1..200),
    ) {
        let mut breaker = Breaker::of(Standing::default());
        let (mut now, mut out, mut turn) = (NOW, Vec::new(), 0);
        let mut kept = Standing::default();
        for (action, which, seconds, jitter) in script {
            now = now + Duration::from_secs(seconds);
            if action == 0 {
                let probes = breaker.is_open();
                if breaker.may_start(out.len(), now) {
                    prop_assert!(!probes || kept.pause_ends <= now, "a probe before the end of the pause");
                    out.push(breaker.started());
                }
            } else if !out.is_empty() {
                let term = out.swap_remove(which.index(out.len()));
                let was = breaker.state();
                let signal = [Signal::Succeeded, Signal::Failed, Signal::Failed, Signal::Nothing][usize::from(action) - 1];
                match breaker.ended(term, signal, Millis(0), jitter, now, &policy()) {
                    Some(Change::Opened { pauses, until }) => {
                        turn += 1;
                        prop_assert_eq!(pauses, kept.pauses + 1);
                        let pause = until.since(now);
                        prop_assert!(pause >= policy().pause && pause <= policy().max_pause.mul_f64(1.1));
                        kept = Standing { pauses, pause_ends: until, turn, ..kept };
                    }
                    Some(Change::Closed) => {
                        turn += 1;
                        prop_assert_eq!(was, State::Probing);
                        kept = Standing { turn, ..Standing::default() };
                    }
                    None => {}
                }
            }
            prop_assert_eq!(breaker.is_open(), kept.is_open(), "what is kept tells the same");
            let probes = out.iter().filter(|term| breaker.is_open() && **term == breaker.term).count();
            prop_assert!(probes <= 1);
        }
    }
}
