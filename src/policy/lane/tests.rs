//! What each input does to a lane, one by one.

use std::time::Duration;

mod failing;
mod model;
mod outage;

use super::*;
use crate::domain::{
    AttemptResult, Backoff, DisabledReason, EntryId, ErrorKind, Failure, Millis, Receipt, Retries,
};
use crate::policy::breaker::{self, Change, Standing};
use crate::policy::waiting::Waiting;

type TestLane = Lane<()>;

const NOW: Millis = Millis(1_000_000);
const NONE: [u64; 0] = [];

fn limits() -> Limits {
    Limits {
        active: true,
        max_concurrency: 4,
        ordered: false,
        rate_per_second: None,
        retries: Retries { attempts: 1, delay_seconds: 60, backoff: Backoff::Fixed, schedule: None },
        max_age: Duration::from_secs(86_400),
        max_pending: 100_000,
        breaker: breaker::Policy {
            failure_threshold: 10,
            pause: Duration::from_secs(30),
            max_pause: Duration::from_secs(900),
            disable_after: Duration::from_secs(5 * 86_400),
        },
    }
}

fn paused(asked_until: Millis) -> Standing {
    Standing { asked_until, ..Standing::default() }
}

fn entry(seq: u64) -> EntryId {
    EntryId { ms: NOW.0, seq }
}

fn delivery(seq: u64) -> Delivery<()> {
    let event = format!("evt_{seq}").parse().expect("an event id");
    Delivery { entry: entry(seq), event, attempt: 1, body: None }
}

fn delivered(previous: u64, seqs: std::ops::RangeInclusive<u64>) -> Input<()> {
    let previous = if previous == 0 { EntryId::ZERO } else { entry(previous) };
    Input::Delivered { previous, deliveries: seqs.map(delivery).collect() }
}

fn attempted(seq: u64, status: u16) -> Input<()> {
    let failure = (status >= 300).then(|| Failure { kind: ErrorKind::HttpStatus, message: "no".into() });
    let result = AttemptResult {
        at: NOW,
        elapsed: Duration::from_millis(5),
        status: Some(status),
        response_body: None,
        failure,
        retry_after: (status == 429).then(|| Duration::from_secs(120)),
    };
    Input::Attempted { entry: entry(seq), result: Box::new(result), jitter: 0.0 }
}

fn recorded(seq: u64) -> Input<()> {
    Input::Recorded { entry: entry(seq), receipt: Receipt::Recorded }
}

fn mailbox_read(asked: &[Effect<()>], seqs: impl IntoIterator<Item = u64>) -> Input<()> {
    let round = |effect: &Effect<()>| {
        if let Effect::ReadMailbox { round, .. } = effect { Some(*round) } else { None }
    };
    let round = asked.iter().find_map(round).expect("a read was asked for");
    Input::MailboxRead { round, deliveries: seqs.into_iter().map(delivery).collect() }
}

fn started(effects: &[Effect<()>]) -> Vec<u64> {
    let seq = |effect: &Effect<()>| {
        if let Effect::Start(delivery) = effect { Some(delivery.entry.seq) } else { None }
    };
    effects.iter().filter_map(seq).collect()
}

fn verdict(effects: &[Effect<()>]) -> &Verdict {
    let found = effects
        .iter()
        .find_map(|effect| if let Effect::Record(verdict) = effect { Some(verdict) } else { None });
    found.expect("a verdict")
}

fn idle_lane(limits: Limits) -> TestLane {
    Lane::new(limits, Standing::default(), Known::EmptyUpTo(EntryId::ZERO))
}

fn step(lane: &mut TestLane, input: Input<()>, now: Millis) -> Vec<Effect<()>> {
    lane.step(input, EntryId::ZERO, now)
}

#[test]
fn what_arrives_starts_at_once_up_to_the_concurrency() {
    let mut lane = idle_lane(limits());
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=6), NOW)), [1, 2, 3, 4]);
    assert_eq!(started(&step(&mut lane, attempted(2, 200), NOW)), [5]);
    assert_eq!(started(&step(&mut lane, recorded(2), NOW)), NONE);
    assert_eq!(started(&step(&mut lane, attempted(1, 200), NOW)), [6]);
}

#[test]
fn a_failure_is_tried_again_when_it_is_due_and_then_dead() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=1), NOW);
    let effects = step(&mut lane, attempted(1, 500), NOW);
    let due = NOW + Duration::from_secs(60);
    assert_eq!((verdict(&effects).next, verdict(&effects).was_retry), (Next::Retry(due), false));
    let effects = step(&mut lane, recorded(1), NOW);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Idle(Some(at)) | Effect::WakeAt(at) if *at <= due))
    );
    assert_eq!(started(&step(&mut lane, Input::Tick, Millis(due.0 - 1))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, due)), [1]);
    let effects = step(&mut lane, attempted(1, 500), due);
    assert_eq!((verdict(&effects).next, verdict(&effects).attempt), (Next::Dead, 2));
}

#[test]
fn gone_switches_the_webhook_off_and_nothing_more_starts() {
    let mut lane = idle_lane(Limits { max_concurrency: 1, ..limits() });
    step(&mut lane, delivered(0, 1..=2), NOW);
    let effects = step(&mut lane, attempted(1, 410), NOW);
    let verdict = verdict(&effects);
    assert_eq!((verdict.next, verdict.disable), (Next::Dead, Some(DisabledReason::Gone)));
    assert_eq!(started(&effects), NONE);
    let effects = step(&mut lane, recorded(1), NOW);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Idle(None))));
}

#[test]
fn retry_after_holds_the_whole_webhook() {
    let mut lane = idle_lane(Limits { max_concurrency: 1, ..limits() });
    step(&mut lane, delivered(0, 1..=2), NOW);
    let until = NOW + Duration::from_secs(120);
    let effects = step(&mut lane, attempted(1, 429), NOW);
    assert_eq!((verdict(&effects).next, verdict(&effects).paused_until), (Next::Retry(until), Some(until)));
    assert_eq!(started(&step(&mut lane, recorded(1), NOW)), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, Millis(until.0 - 1))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, until)), [1]);
}

#[test]
fn an_ordered_webhook_waits_for_its_head() {
    let mut lane = idle_lane(Limits { ordered: true, max_concurrency: 1, ..limits() });
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=3), NOW)), [1]);
    assert_eq!(started(&step(&mut lane, attempted(1, 500), NOW)), NONE);
    assert_eq!(started(&step(&mut lane, recorded(1), NOW)), NONE, "the head waits for its retry");
    let due = NOW + Duration::from_secs(60);
    assert_eq!(started(&step(&mut lane, Input::Tick, due)), [1]);
    assert_eq!(started(&step(&mut lane, attempted(1, 200), due)), NONE, "its end is not recorded yet");
    assert_eq!(started(&step(&mut lane, recorded(1), due)), [2]);
}

#[test]
fn a_lane_that_missed_something_reads_its_mailbox() {
    let mut lane = idle_lane(limits());
    let effects = lane.step(Input::Tick, entry(9), NOW);
    assert!(
        matches!(effects[..], [Effect::ReadMailbox { after: EntryId::ZERO, count: WINDOW, .. }]),
        "{effects:?}"
    );
    assert_eq!(started(&step(&mut lane, delivered(9, 10..=10), NOW)), NONE, "there is a gap before it");
    assert_eq!(started(&step(&mut lane, mailbox_read(&effects, 8..=10), NOW)), [8, 9, 10]);
    assert_eq!(lane.cursor(), entry(10));
}

#[test]
fn what_was_dropped_from_the_mailbox_is_not_waited_for() {
    let mut lane = idle_lane(limits());
    let effects = lane.step(Input::Tick, entry(9), NOW);
    step(&mut lane, mailbox_read(&effects, NONE), NOW);
    assert_eq!(lane.cursor(), entry(9));
}

#[test]
fn a_delivery_that_waited_too_long_ends_without_a_request() {
    let mut lane = idle_lane(limits());
    let late = NOW + Duration::from_secs(86_401);
    let effects = step(&mut lane, delivered(0, 1..=1), late);
    assert_eq!((verdict(&effects).next, started(&effects)), (Next::Expired, vec![]));
}

#[test]
fn a_delivery_whose_body_is_gone_ends_for_that_reason() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=1), NOW);
    let effects = step(&mut lane, Input::Unsendable { entry: entry(1), for_good: true }, NOW);
    assert_eq!(verdict(&effects).next, Next::Bodiless);
}

fn rests_until(effects: &[Effect<()>]) -> Option<Millis> {
    effects.iter().find_map(|effect| if let Effect::Idle(next) = effect { *next } else { None })
}

#[test]
fn a_paused_lane_rests_until_its_pause_ends_whatever_waits() {
    let until = NOW + Duration::from_secs(3600);
    let mut lane = Lane::new(limits(), paused(until), Known::EmptyUpTo(EntryId::ZERO));
    let many = u64::try_from(WINDOW).unwrap() + 5;
    assert_eq!(rests_until(&step(&mut lane, delivered(0, 1..=many), NOW)), None, "more may come");
    let later = NOW + Duration::from_secs(30);
    assert_eq!(rests_until(&step(&mut lane, Input::Tick, later)), Some(until));
    assert_eq!(lane.cursor(), entry(many), "it knows of all that it leaves to Redis");
    let more = delivered(many, many + 1..=many + 1);
    assert_eq!(rests_until(&step(&mut lane, more, later)), Some(until), "that waits in Redis too");
    let effects = step(&mut lane, Input::Tick, until);
    assert_eq!(started(&effects), [1, 2, 3, 4], "had it not rested");
}

#[test]
fn a_lane_whose_head_waits_for_a_retry_rests_until_that_is_due() {
    let mut lane = idle_lane(Limits { ordered: true, max_concurrency: 1, ..limits() });
    step(&mut lane, delivered(0, 1..=3), NOW);
    step(&mut lane, attempted(1, 500), NOW);
    assert_eq!(rests_until(&step(&mut lane, recorded(1), NOW)), None);
    let due = NOW + Duration::from_secs(60);
    assert_eq!(rests_until(&step(&mut lane, Input::Tick, NOW + Duration::from_secs(20))), Some(due));
}

#[test]
fn the_pace_delays_without_losing() {
    let mut lane = idle_lane(Limits { rate_per_second: Some(1), ..limits() });
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=2), NOW)), [1]);
    assert_eq!(started(&step(&mut lane, Input::Tick, NOW + Duration::from_millis(999))), NONE);
    assert_eq!(started(&step(&mut lane, Input::Tick, NOW + Duration::from_millis(1000))), [2]);
}

#[test]
fn a_change_read_before_a_pause_was_recorded_keeps_the_pause() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=1), NOW);
    step(&mut lane, attempted(1, 429), NOW);
    let change = || Input::Changed { limits: limits(), standing: Standing::default() };
    step(&mut lane, change(), NOW);
    assert_eq!(started(&step(&mut lane, delivered(1, 2..=2), NOW)), NONE, "429 asked for two minutes");
    step(&mut lane, recorded(1), NOW);
    assert_eq!(started(&step(&mut lane, change(), NOW)), [2], "cleared after it was recorded");
}

#[test]
fn a_change_read_before_a_410_was_recorded_starts_nothing() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=2), NOW);
    step(&mut lane, attempted(1, 410), NOW);
    step(&mut lane, Input::Changed { limits: limits(), standing: Standing::default() }, NOW);
    assert_eq!(started(&step(&mut lane, delivered(2, 3..=3), NOW)), NONE);
}

#[test]
fn a_lane_taken_anew_reads_all_and_repeats_nothing_in_flight() {
    let mut lane = idle_lane(Limits { max_concurrency: 2, ..limits() });
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=4), NOW)), [1, 2]);
    let effects = step(&mut lane, Input::Retaken, NOW);
    let void = mailbox_read(&effects, 1..=9);
    let effects = step(&mut lane, Input::Retaken, NOW);
    step(&mut lane, attempted(1, 200), NOW);
    step(&mut lane, recorded(1), NOW);
    assert_eq!(started(&step(&mut lane, void, NOW)), NONE, "the answer to a read that is void");
    // Redis answered before it recorded the end of 1.
    assert_eq!(started(&step(&mut lane, mailbox_read(&effects, [1, 2, 3]), NOW)), [3]);
    assert_eq!(lane.cursor(), entry(3), "4 is not in Redis any more");
}

#[test]
fn what_ends_while_a_read_is_under_way_is_not_started_again_by_its_answer() {
    let mut lane = idle_lane(limits());
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=1), NOW)), [1]);
    let effects = step(&mut lane, Input::Retaken, NOW);
    step(&mut lane, mailbox_read(&effects, []), NOW);
    step(&mut lane, attempted(1, 500), NOW);
    // Due at once: it is started while the first read of the retries is still under way.
    let due = NOW + Duration::from_secs(60);
    step(&mut lane, recorded(1), NOW);
    assert_eq!(started(&step(&mut lane, Input::Tick, due)), [1]);
    step(&mut lane, attempted(1, 200), due);
    step(&mut lane, recorded(1), due);
    let round = |effect: &Effect<()>| {
        if let Effect::ReadRetries { round, .. } = effect { Some(*round) } else { None }
    };
    let round = effects.iter().find_map(round).expect("the retries are read");
    let retries = vec![(due, Delivery { attempt: 2, ..delivery(1) })];
    assert_eq!(started(&step(&mut lane, Input::RetriesRead { round, retries }, due)), NONE);
}

#[test]
fn what_is_in_flight_when_redis_goes_back_is_not_started_again_by_another_dispatch() {
    let mut lane = idle_lane(limits());
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=1), NOW)), [1]);
    let effects = step(&mut lane, Input::Retaken, NOW);
    step(&mut lane, mailbox_read(&effects, []), NOW);
    assert_eq!(started(&step(&mut lane, delivered(0, 1..=2), NOW)), [2]);
    step(&mut lane, attempted(1, 200), NOW);
    assert_eq!(started(&step(&mut lane, recorded(1), NOW)), NONE);
}

#[test]
fn what_could_not_be_sent_after_redis_went_back_is_looked_for_and_not_put_back() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=1), NOW);
    let effects = step(&mut lane, Input::Retaken, NOW);
    step(&mut lane, mailbox_read(&effects, [1]), NOW);
    step(&mut lane, Input::Unsendable { entry: entry(1), for_good: false }, NOW);
    let later = NOW + Duration::from_secs(1);
    let effects = step(&mut lane, Input::Tick, later);
    assert_eq!(started(&effects), NONE);
    assert_eq!(started(&step(&mut lane, mailbox_read(&effects, [1]), later)), [1]);
}

#[test]
fn an_outcome_that_was_not_ours_to_record_makes_the_lane_look() {
    let mut lane = idle_lane(limits());
    step(&mut lane, delivered(0, 1..=1), NOW);
    step(&mut lane, attempted(1, 200), NOW);
    let effects = step(&mut lane, Input::Recorded { entry: entry(1), receipt: Receipt::Gone }, NOW);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::ReadMailbox { .. })), "not at once");
    let later = NOW + Duration::from_secs(1);
    let effects = step(&mut lane, Input::Tick, later);
    assert_eq!(started(&step(&mut lane, mailbox_read(&effects, [1]), later)), [1], "it still waits");
}

#[test]
fn for_a_webhook_that_is_gone_nothing_more_is_sent_and_its_lane_rests() {
    let mut lane = idle_lane(Limits { max_concurrency: 1, ..limits() });
    step(&mut lane, delivered(0, 1..=3), NOW);
    step(&mut lane, attempted(1, 200), NOW);
    let gone = |seq| Input::Recorded { entry: entry(seq), receipt: Receipt::NoWebhook };
    assert_eq!(started(&step(&mut lane, gone(1), NOW)), NONE);
    step(&mut lane, attempted(2, 200), NOW);
    let effects = step(&mut lane, gone(2), NOW);
    assert_eq!(started(&effects), NONE);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Idle(None))), "{effects:?}");
    let later = NOW + Duration::from_secs(1);
    assert_eq!(started(&step(&mut lane, Input::Tick, later)), NONE, "nor after a moment");
}

#[test]
fn a_draining_lane_starts_nothing_and_settles() {
    let mut lane = idle_lane(Limits { max_concurrency: 1, ..limits() });
    step(&mut lane, delivered(0, 1..=2), NOW);
    assert!(!lane.is_settled());
    step(&mut lane, Input::Drain, NOW);
    step(&mut lane, attempted(1, 200), NOW);
    assert!(!lane.is_settled(), "not recorded yet");
    assert_eq!(started(&step(&mut lane, recorded(1), NOW)), NONE);
    assert!(lane.is_settled());
}

#[test]
fn what_waits_is_told_with_its_age_and_with_what_keeps_it() {
    let later = NOW + Duration::from_secs(5);
    let on_webhook = |since| Waiting { on_node: None, on_webhook: Some(since) };
    let mut lane = TestLane::new(limits(), Standing::default(), Known::EmptyUpTo(EntryId::ZERO));
    assert_eq!(lane.waiting(NOW), Waiting::default(), "nothing waits");
    lane.step(delivered(0, 1..=4), EntryId::ZERO, NOW);
    assert_eq!(lane.waiting(later), Waiting::default(), "all of them have been started");
    lane.step(delivered(4, 5..=6), EntryId::ZERO, NOW);
    assert_eq!(lane.waiting(later), on_webhook(NOW), "four at once are its limit");
    let inactive =
        Input::Changed { limits: Limits { active: false, ..limits() }, standing: Standing::default() };
    lane.step(inactive, EntryId::ZERO, NOW);
    assert_eq!(lane.waiting(later), Waiting::default(), "inactive");

    let slow = Limits { rate_per_second: Some(1), ..limits() };
    let mut lane = TestLane::new(slow, Standing::default(), Known::EmptyUpTo(EntryId::ZERO));
    lane.step(delivered(0, 1..=3), EntryId::ZERO, NOW);
    assert_eq!(lane.waiting(NOW), on_webhook(NOW), "one a second is its limit");

    let mut lane = TestLane::new(limits(), paused(later), Known::EmptyUpTo(EntryId::ZERO));
    lane.step(delivered(0, 1..=3), EntryId::ZERO, NOW);
    assert_eq!(lane.waiting(NOW), Waiting::default(), "paused");

    let mut lane = TestLane::new(limits(), Standing::default(), Known::EmptyUpTo(EntryId::ZERO));
    lane.step(delivered(0, 1..=1), EntryId::ZERO, NOW);
    lane.step(Input::Unsendable { entry: entry(1), for_good: false }, EntryId::ZERO, NOW);
    let on_node = Waiting { on_node: Some(NOW), on_webhook: None };
    assert_eq!(lane.waiting(NOW), on_node, "a fault of ours keeps it");
}
