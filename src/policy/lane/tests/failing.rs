//! A lane whose endpoint keeps failing: when it pauses, what it probes with, how it goes on.

use super::*;

/// A breaker that opens after two failures, for 30 s, then 60 s, and so on.
fn short_tempered(concurrency: usize, attempts: u32) -> Limits {
    let breaker = breaker::Policy { failure_threshold: 2, ..limits().breaker };
    let retries = Retries { attempts, delay_seconds: 5, ..limits().retries };
    Limits { max_concurrency: concurrency, breaker, retries, ..limits() }
}

fn after_secs(seconds: u64) -> Millis {
    NOW + Duration::from_secs(seconds)
}

/// Ends an attempt and has it recorded; what that starts.
fn ends(lane: &mut TestLane, seq: u64, status: u16, now: Millis) -> Vec<u64> {
    let mut all = started(&step(lane, attempted(seq, status), now));
    all.extend(started(&step(lane, recorded(seq), now)));
    all
}

/// A lane of which four attempts, all it may have, are in flight, and four deliveries wait.
fn busy(attempts: u32) -> TestLane {
    let mut lane = idle_lane(short_tempered(4, attempts));
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=8), NOW)), [1, 2, 3, 4]);
    lane
}

#[test]
fn failures_in_a_row_hold_everything_back_until_one_probe_has_decided() {
    let mut lane = busy(9);
    assert_eq!(ends(&mut lane, 1, 500, NOW), [5]);
    let effects = step(&mut lane, attempted(2, 500), NOW);
    let until = after_secs(30);
    assert_eq!(verdict(&effects).change, Some(Change::Opened { pauses: 1, until }));
    assert_eq!(verdict(&effects).next, Next::Retry(after_secs(5)), "its own rule says so");
    assert_eq!(verdict(&effects).retries_at(), Some(until), "and the log knows better");
    step(&mut lane, recorded(2), NOW);
    for seq in 3..=5 {
        let effects = step(&mut lane, attempted(seq, 500), NOW);
        assert_eq!((verdict(&effects).change, started(&effects)), (None, vec![]));
        assert_eq!(verdict(&effects).retries_at(), Some(until));
        step(&mut lane, recorded(seq), NOW);
    }
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(29))), NONE);
    let effects = step(&mut lane, Input::Tick, until);
    assert_eq!(started(&effects), [1], "the oldest, and nothing beside it");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Probes)));
    let effects = step(&mut lane, attempted(1, 500), until);
    assert_eq!(verdict(&effects).change, Some(Change::Opened { pauses: 2, until: after_secs(90) }));
    assert_eq!(started(&step(&mut lane, recorded(1), until)), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(89))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(90))), [1]);
    let effects = step(&mut lane, attempted(1, 200), after_secs(90));
    assert_eq!(verdict(&effects).change, Some(Change::Closed));
}

#[test]
fn a_backlog_is_let_out_by_and_by_once_the_probe_has_succeeded() {
    let standing = Standing { failures: 9, pauses: 3, pause_ends: NOW, ..Standing::default() };
    let mut lane = Lane::new(short_tempered(4, 0), standing, Known::EmptyUpTo(EntryId::ZERO));
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=20), NOW)), [1]);
    assert_eq!(ends(&mut lane, 1, 200, NOW), [2]);
    assert_eq!(ends(&mut lane, 2, 200, NOW), [3, 4]);
    assert_eq!(ends(&mut lane, 3, 200, NOW), [5, 6]);
    assert_eq!(ends(&mut lane, 4, 200, NOW), [7, 8], "no more than it may have");
    assert_eq!(ends(&mut lane, 5, 200, NOW), [9]);
}

#[test]
fn a_probe_uses_up_an_attempt_and_waiting_none() {
    let mut lane = busy(1);
    for seq in 1..=5 {
        ends(&mut lane, seq, 500, NOW);
    }
    let mut ended = Vec::new();
    let mut now = after_secs(30);
    while let [seq] = started(&step(&mut lane, Input::Tick, now))[..] {
        let effects = step(&mut lane, attempted(seq, 500), now);
        ended.extend((verdict(&effects).next == Next::Dead).then_some(seq));
        step(&mut lane, recorded(seq), now);
        now = now + Duration::from_secs(900);
    }
    assert_eq!(ended, [1, 2, 3, 4, 5, 6, 7, 8], "the oldest first, each after one attempt and one retry");
}

#[test]
fn a_probe_waits_until_it_is_recorded_that_the_breaker_opened() {
    let mut lane = busy(9);
    ends(&mut lane, 1, 500, NOW);
    step(&mut lane, attempted(2, 500), NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(99))), NONE);
    assert_eq!(started(&step(&mut lane, recorded(2), after_secs(99))), [1]);
}

#[test]
fn a_paused_lane_rests_until_it_may_probe() {
    let pause_ends = after_secs(900);
    let standing = Standing { failures: 9, pauses: 6, pause_ends, ..Standing::default() };
    let mut lane = Lane::new(limits(), standing, Known::EmptyUpTo(EntryId::ZERO));
    assert_eq!(rests_until(&step(&mut lane, delivered(0, 1..=3), NOW)), None);
    for seconds in [10, 19] {
        let seq = seconds;
        let more = delivered(if seq == 10 { 3 } else { 10 }, seq..=seq);
        assert_eq!(rests_until(&step(&mut lane, more, after_secs(seconds))), None);
    }
    let effects = step(&mut lane, delivered(19, 20..=20), after_secs(20));
    assert_eq!(rests_until(&effects), Some(pause_ends), "what comes in is no reason to stay");
}

#[test]
fn a_probe_that_could_not_be_sent_is_followed_by_another() {
    let standing = Standing { failures: 9, pauses: 1, pause_ends: NOW, ..Standing::default() };
    let mut lane = Lane::new(limits(), standing, Known::EmptyUpTo(EntryId::ZERO));
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=3), NOW)), [1]);
    let effects = step(&mut lane, Input::Unsendable { entry: entry(1), for_good: true }, NOW);
    assert_eq!((verdict(&effects).next, started(&effects)), (Next::Bodiless, vec![2]));
    step(&mut lane, Input::Unsendable { entry: entry(2), for_good: false }, NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(1))), [2]);
}

#[test]
fn an_ordered_lane_probes_with_its_head_and_keeps_its_order() {
    let limits = Limits { ordered: true, ..short_tempered(1, 9) };
    let mut lane = idle_lane(limits);
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=3), NOW)), [1]);
    assert_eq!(ends(&mut lane, 1, 500, NOW), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(5))), [1]);
    assert_eq!(ends(&mut lane, 1, 500, after_secs(5)), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(34))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(35))), [1]);
    assert_eq!(ends(&mut lane, 1, 200, after_secs(35)), [2]);
    assert_eq!(ends(&mut lane, 2, 200, after_secs(35)), [3]);
}

#[test]
fn a_longer_retry_after_lengthens_the_pause() {
    let mut lane = busy(9);
    ends(&mut lane, 1, 500, NOW);
    let until = after_secs(120);
    let effects = step(&mut lane, attempted(2, 429), NOW);
    assert_eq!(verdict(&effects).change, Some(Change::Opened { pauses: 1, until }));
    step(&mut lane, recorded(2), NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, Millis(until.0 - 1))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, until)), [1]);
}

#[test]
fn the_last_attempt_pauses_the_webhook_too_if_the_endpoint_asks_for_it() {
    let mut lane = idle_lane(Limits { max_concurrency: 1, ..short_tempered(1, 0) });
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=2), NOW)), [1]);
    let until = after_secs(120);
    let effects = step(&mut lane, attempted(1, 429), NOW);
    assert_eq!((verdict(&effects).next, verdict(&effects).paused_until), (Next::Dead, Some(until)));
    step(&mut lane, recorded(1), NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(119))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, until)), [2]);
}

#[test]
fn a_probe_that_finds_the_endpoint_gone_switches_the_webhook_off_and_drops_nothing_else() {
    let standing = Standing { failures: 9, pauses: 1, pause_ends: NOW, ..Standing::default() };
    let mut lane = Lane::new(limits(), standing, Known::EmptyUpTo(EntryId::ZERO));
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=3), NOW)), [1]);
    let effects = step(&mut lane, attempted(1, 410), NOW);
    assert_eq!((verdict(&effects).next, verdict(&effects).disable), (Next::Dead, Some(DisabledReason::Gone)));
    let records = effects.iter().filter(|effect| matches!(effect, Effect::Record(_))).count();
    assert_eq!(records, 1);
    step(&mut lane, recorded(1), NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, after_secs(9999))), NONE);
    let on = Input::Changed { limits: limits(), standing: Standing { turn: 9, ..Standing::default() } };
    assert_eq!(started(&step(&mut lane, on, after_secs(9999))), [2], "one first, then the others");
}

#[test]
fn days_of_nothing_but_failure_switch_the_webhook_off_and_drop_nothing() {
    let days = |days: u64| after_secs(days * 86_400);
    let standing = Standing {
        failures: 99,
        failing_since: Some(NOW),
        pauses: 9,
        pause_ends: days(4),
        ..Standing::default()
    };
    for (at, expected) in [(days(4), None), (days(5), Some(DisabledReason::Failing))] {
        let limits = Limits { max_age: Duration::from_secs(30 * 86_400), ..limits() };
        let mut lane = Lane::new(limits, standing, Known::EmptyUpTo(EntryId::ZERO));
        assert_eq!(started(&step(&mut lane, delivered(0, 1..=3), at)), [1]);
        let effects = step(&mut lane, attempted(1, 500), at);
        assert_eq!(verdict(&effects).disable, expected);
        assert!(matches!(verdict(&effects).next, Next::Retry(_)), "it waits for better days");
        step(&mut lane, recorded(1), at);
        let starts = started(&step(&mut lane, Input::Tick, at + Duration::from_secs(3600)));
        assert_eq!(starts.is_empty(), expected.is_some());
    }
}

#[test]
fn forgotten_failures_let_it_flow_at_once_and_a_stale_reading_does_not() {
    let mut lane = busy(9);
    ends(&mut lane, 1, 500, NOW);
    ends(&mut lane, 2, 500, NOW);
    for seq in [3, 4, 5] {
        ends(&mut lane, seq, 500, NOW);
    }
    let change = |turn| Input::Changed {
        limits: short_tempered(4, 9),
        standing: Standing { turn, ..Standing::default() },
    };
    assert_eq!(started(&step(&mut lane, change(0), NOW)), NONE, "read before the pause was recorded");
    assert_eq!(started(&step(&mut lane, change(2), NOW)), [6], "one first");
}
