//! When a failed delivery is tried again, and when it is given up.
//!
//! Chance arrives as an argument, so the same inputs always give the same answer.
//!
//! Jitter is added to computed delays only: it keeps the many deliveries that failed in one outage from coming back in
//! one burst. A schedule that the owner wrote down second by second is taken at its word.

use std::time::Duration;

use crate::domain::{Backoff, Retries};

/// No delay is longer, whatever multiplied, jittered or asked for it.
pub const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The largest part of a computed delay that jitter adds.
const JITTER: f64 = 0.1;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The delivery is attempted again after this long.
    RetryIn(Duration),
    /// That was the last attempt: the delivery failed for good.
    Dead,
}

/// What follows the failure of attempt number `failed_attempt` (from 1). `retry_after` is what the endpoint asked for:
/// it lengthens the wait up to [`MAX_DELAY`], never shortens it, and buys no further attempt.
pub fn after(retries: &Retries, failed_attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Next {
    match next_delay(retries, failed_attempt, jitter) {
        Some(delay) => Next::RetryIn(delay.max(retry_after.unwrap_or_default()).min(MAX_DELAY)),
        None => Next::Dead,
    }
}

/// How long to wait after the failure of attempt number `failed_attempt` (from 1); `None` = no retry is left.
/// `jitter` is a random number in 0..1.
pub fn next_delay(retries: &Retries, failed_attempt: u32, jitter: f64) -> Option<Duration> {
    let done = failed_attempt.saturating_sub(1);
    let delay = match &retries.schedule {
        Some(schedule) => seconds((*schedule.get(usize::try_from(done).ok()?)?).into()),
        None if done < retries.attempts => jittered(grown(retries, done), jitter),
        None => return None,
    };
    Some(delay.min(MAX_DELAY))
}

/// The delay after `done` earlier retries, before jitter and limit.
fn grown(retries: &Retries, done: u32) -> Duration {
    let first = u64::from(retries.delay_seconds);
    seconds(match retries.backoff {
        Backoff::Fixed => first,
        Backoff::Linear => first.saturating_mul(u64::from(done) + 1),
        Backoff::Exponential => first.saturating_mul(2_u64.saturating_pow(done)),
    })
}

/// `delay` and up to [`JITTER`] of it on top. Counted in whole milliseconds, which is what due times are written in;
/// the cast takes any float, also one that is no number.
fn jittered(delay: Duration, jitter: f64) -> Duration {
    let extra = delay.as_secs_f64() * 1000.0 * JITTER * jitter.clamp(0.0, 1.0);
    delay.saturating_add(Duration::from_millis(extra as u64))
}

/// At most [`MAX_DELAY`], so that no later arithmetic can overflow.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(MAX_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn retries(attempts: u32, delay_seconds: u32, backoff: Backoff) -> Retries {
        Retries { attempts, delay_seconds, backoff, schedule: None }
    }

    fn scheduled(schedule: &[u32]) -> Retries {
        Retries { schedule: Some(schedule.to_vec()), ..retries(3, 60, Backoff::Exponential) }
    }

    /// The whole seconds before each retry, without jitter, until none is left.
    fn delays(retries: &Retries) -> Vec<u64> {
        (1..=30).map_while(|failed| next_delay(retries, failed, 0.0)).map(|delay| delay.as_secs()).collect()
    }

    #[test]
    fn delays_grow_as_the_backoff_says() {
        let day = MAX_DELAY.as_secs();
        let cases = [
            (retries(3, 60, Backoff::Fixed), vec![60, 60, 60]),
            (retries(4, 60, Backoff::Linear), vec![60, 120, 180, 240]),
            (retries(5, 60, Backoff::Exponential), vec![60, 120, 240, 480, 960]),
            (retries(0, 60, Backoff::Fixed), vec![]),
            (retries(2, 0, Backoff::Exponential), vec![0, 0]),
            (retries(3, 40_000, Backoff::Linear), vec![40_000, 80_000, day]),
            (retries(3, 50_000, Backoff::Exponential), vec![50_000, day, day]),
            (scheduled(&[5, 300, 1800]), vec![5, 300, 1800]),
            (scheduled(&[90_000]), vec![day]),
            (scheduled(&[]), vec![]),
        ];
        for (rule, expected) in cases {
            assert_eq!(delays(&rule), expected, "{rule:?}");
        }
    }

    #[test]
    fn jitter_adds_up_to_a_tenth_and_leaves_schedules_alone() {
        let fixed = retries(3, 60, Backoff::Fixed);
        assert_eq!(next_delay(&fixed, 1, 0.5), Some(Duration::from_secs(63)));
        assert_eq!(next_delay(&fixed, 1, 1.0), Some(Duration::from_secs(66)));
        assert_eq!(next_delay(&fixed, 1, f64::NAN), Some(Duration::from_secs(60)));
        assert_eq!(next_delay(&scheduled(&[60]), 1, 1.0), Some(Duration::from_secs(60)));
        assert_eq!(next_delay(&retries(1, 86_400, Backoff::Fixed), 1, 1.0), Some(MAX_DELAY));
    }

    #[test]
    fn retry_after_lengthens_the_wait_only() {
        let fixed = retries(2, 60, Backoff::Fixed);
        let secs = Duration::from_secs;
        let cases = [
            (1, None, Next::RetryIn(secs(60))),
            (1, Some(secs(5)), Next::RetryIn(secs(60))),
            (1, Some(secs(600)), Next::RetryIn(secs(600))),
            (2, Some(secs(900_000)), Next::RetryIn(MAX_DELAY)),
            (3, Some(secs(600)), Next::Dead),
            (3, None, Next::Dead),
        ];
        for (failed, asked, expected) in cases {
            assert_eq!(after(&fixed, failed, asked, 0.0), expected, "{failed} {asked:?}");
        }
    }

    #[test]
    fn the_receivers_guide_tells_the_times_of_the_defaults() {
        let guide = include_str!("../../docs/receivers.md");
        let rule = retries(3, 60, Backoff::Fixed);
        let waits = |jitter| (1..).map_while(move |failed| next_delay(&rule, failed, jitter));
        let clock = |time: Duration| format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60);
        let (mut earliest, mut latest) = (Duration::ZERO, Duration::ZERO);
        for (n, (least, most)) in waits.clone()(0.0).zip(waits(1.0)).enumerate() {
            (earliest, latest) = (earliest + least, latest + most);
            let last = if n == 2 { ", the last" } else { "" };
            let wait = format!("{} to {} s", least.as_secs(), most.as_secs());
            let row = format!("| {}{last} | {wait} | {} | {} |", n + 2, clock(earliest), clock(latest));
            assert!(guide.contains(&row), "{row}");
        }
        assert_eq!(latest, Duration::from_secs(198), "three retries");
        let grown: Vec<u64> = delays(&retries(8, 60, Backoff::Exponential)).iter().map(|s| s / 60).collect();
        assert_eq!(grown, [1, 2, 4, 8, 16, 32, 64, 128]);
        assert!(guide.contains("1, 2, 4, 8, 16, 32, 64 and\n128 minutes"));
    }

    prop_compose! {
        fn any_rule()(
            attempts in 0..=20_u32,
            delay_seconds in 0..=86_400_u32,
            backoff in prop::sample::select(vec![Backoff::Fixed, Backoff::Linear, Backoff::Exponential]),
            schedule in prop::option::of(prop::collection::vec(any::<u32>(), 0..20)),
        ) -> Retries {
            Retries { attempts, delay_seconds, backoff, schedule }
        }
    }

    proptest! {
        #[test]
        fn retries_end_after_their_number_and_never_wait_too_long(
            rule in any_rule(),
            failed: u32,
            jitter in 0.0..1.0,
            asked in prop::option::of(0..200_000_u64),
        ) {
            let left = rule.schedule.as_ref().map_or(rule.attempts as usize, Vec::len);
            let next = after(&rule, failed, asked.map(Duration::from_secs), jitter);
            match next {
                Next::Dead => prop_assert!(failed as usize > left),
                Next::RetryIn(delay) => {
                    prop_assert!(failed as usize <= left.max(1));
                    prop_assert!(delay <= MAX_DELAY);
                    prop_assert!(delay >= Duration::from_secs(asked.unwrap_or(0)).min(MAX_DELAY));
                }
            }
        }

        #[test]
        fn computed_delays_never_shrink_from_one_retry_to_the_next(rule in any_rule(), failed in 1..19_u32) {
            let rule = Retries { schedule: None, ..rule };
            if let Some(later) = next_delay(&rule, failed + 1, 0.0) {
                prop_assert!(next_delay(&rule, failed, 0.0).is_some_and(|earlier| earlier <= later));
            }
        }
    }
}
