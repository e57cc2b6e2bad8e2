//! What a webhook's settings come to, shown before they are saved: which events it gets, and when a failed delivery is tried
//! again. Pure: the same code decides here and when it counts (`Pattern::matches`, `policy::retry`).

use std::time::Duration;

use crate::domain::{Catalogue, EventType, Pattern, Retries};
use crate::policy::retry;

/// The most retries that are shown; a webhook can have no more.
pub const MOST_STEPS: usize = 20;

/// The jitters between which chance decides.
const NO_JITTER: f64 = 0.0;
const MOST_JITTER: f64 = 1.0;

/// One retry, if every attempt before it fails at once and the endpoint asks for no longer wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryStep {
    /// Which attempt it is: the first retry is the second attempt.
    pub attempt: u32,
    /// The wait since the attempt before, at least.
    pub after_previous: Duration,
    /// Since the first attempt, at the earliest.
    pub since_first: Duration,
    /// Since the first attempt, at the latest: with the most that chance adds to each wait.
    pub latest_since_first: Duration,
}

/// The types that an event may have to be sent to a webhook with those patterns, in the order of the catalogue, each once.
pub fn matched<'a>(patterns: &[Pattern], catalogue: &'a Catalogue) -> Vec<&'a EventType> {
    let subscribed = |kind: &&EventType| patterns.iter().any(|pattern| pattern.matches(&kind.event));
    catalogue.types().iter().filter(subscribed).collect()
}

/// The retries of a delivery that keeps failing, at most [`MOST_STEPS`].
pub fn retry_times(retries: &Retries) -> Vec<RetryStep> {
    let delay = |failed, jitter| retry::next_delay(retries, failed, jitter);
    let waits =
        (1..).map_while(|failed| Some((failed, delay(failed, NO_JITTER)?, delay(failed, MOST_JITTER)?)));
    let mut reached = (Duration::ZERO, Duration::ZERO);
    let step = |(failed, least, most): (u32, Duration, Duration)| {
        reached = (reached.0 + least, reached.1 + most);
        RetryStep {
            attempt: failed + 1,
            after_previous: least,
            since_first: reached.0,
            latest_since_first: reached.1,
        }
    };
    waits.take(MOST_STEPS).map(step).collect()
}

/// A span of time in its two largest units, rounded down: `1 min 30 s`, `2 h`, `1 d 4 h`, `250 ms`.
pub fn in_words(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = span.as_secs();
    let Some(largest) = UNITS.iter().position(|(size, _)| seconds >= *size) else {
        let ms = span.subsec_millis();
        return if ms == 0 { "0 s".into() } else { format!("{ms} ms") };
    };
    let (size, name) = UNITS[largest];
    let mut words = format!("{} {name}", seconds / size);
    if let Some((smaller, name)) = UNITS.get(largest + 1) {
        let rest = seconds % size / smaller;
        if rest > 0 {
            words.push_str(&format!(" {rest} {name}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    use crate::domain::{Backoff, arbitrary};

    fn catalogue() -> Catalogue {
        let kind = |event: &&str| EventType {
            event: (*event).into(),
            label: String::new(),
            description: String::new(),
            category: String::new(),
            sample: Value::Null,
        };
        let names = ["lead.created", "lead.updated", "leader.left", "opportunity.won", "task"];
        Catalogue::new(names.iter().map(kind).collect())
    }

    fn names(patterns: &[&str]) -> Vec<String> {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().expect("a pattern")).collect();
        matched(&patterns, &catalogue()).into_iter().map(|kind| kind.event.clone()).collect()
    }

    fn retries(attempts: u32, delay_seconds: u32, backoff: Backoff) -> Retries {
        Retries { attempts, delay_seconds, backoff, schedule: None }
    }

    fn words(retries: &Retries) -> Vec<String> {
        let step = |step: RetryStep| {
            let [after, since, latest] =
                [step.after_previous, step.since_first, step.latest_since_first].map(in_words);
            format!("{}: {after}, {since} to {latest}", step.attempt)
        };
        retry_times(retries).into_iter().map(step).collect()
    }

    #[test]
    fn wildcards_match_what_an_event_of_that_type_would() {
        assert_eq!(names(&["lead.*"]), ["lead.created", "lead.updated"]);
        assert_eq!(names(&["opportunity.won", "lead.*", "lead.created"]).len(), 3);
        assert_eq!(names(&["*"]).len(), 5);
        assert_eq!(names(&["task", "task.*", "nothing.*"]), ["task"]);
        assert_eq!(names(&[]), Vec::<String>::new());
    }

    #[test]
    fn retries_add_up_with_and_without_jitter() {
        let expected = [
            "2: 1 min, 1 min to 1 min 6 s",
            "3: 1 min, 2 min to 2 min 12 s",
            "4: 1 min, 3 min to 3 min 18 s",
        ];
        assert_eq!(words(&retries(3, 60, Backoff::Fixed)), expected);
        let expected = ["2: 1 h, 1 h to 1 h 6 min", "3: 2 h, 3 h to 3 h 18 min", "4: 4 h, 7 h to 7 h 42 min"];
        assert_eq!(words(&retries(3, 3_600, Backoff::Exponential)), expected);
        let scheduled = Retries { schedule: Some(vec![5, 300]), ..retries(3, 60, Backoff::Linear) };
        assert_eq!(words(&scheduled), ["2: 5 s, 5 s to 5 s", "3: 5 min, 5 min 5 s to 5 min 5 s"]);
        assert_eq!(words(&retries(0, 60, Backoff::Fixed)), Vec::<String>::new());
    }

    #[test]
    fn no_more_steps_than_a_webhook_can_have() {
        assert_eq!(retry_times(&retries(u32::MAX, u32::MAX, Backoff::Exponential)).len(), MOST_STEPS);
        let scheduled = Retries { schedule: Some(vec![u32::MAX; 1_000]), ..retries(3, 60, Backoff::Fixed) };
        assert_eq!(retry_times(&scheduled).len(), MOST_STEPS);
    }

    #[test]
    fn spans_are_told_in_two_units() {
        for (ms, expected) in [
            (0, "0 s"),
            (250, "250 ms"),
            (1_999, "1 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (7_200_000, "2 h"),
            (7_205_000, "2 h"),
            (7_290_000, "2 h 1 min"),
            (100_800_000, "1 d 4 h"),
            (86_700_000, "1 d"),
            (u64::MAX, "213503982334 d 14 h"),
        ] {
            assert_eq!(in_words(Duration::from_millis(ms)), expected, "{ms} ms");
        }
    }

    proptest! {
        #![proptest_config(arbitrary::config())]

        #[test]
        fn steps_follow_each_other(attempts in 0..=20_u32, delay in 0..=86_400_u32, backoff in 0..3_usize) {
            let backoff = [Backoff::Fixed, Backoff::Linear, Backoff::Exponential][backoff];
            let steps = retry_times(&retries(attempts, delay, backoff));
            prop_assert_eq!(steps.len(), attempts as usize);
            let mut before = Duration::ZERO;
            for (step, attempt) in steps.iter().zip(2..) {
                prop_assert_eq!(step.attempt, attempt);
                prop_assert_eq!(step.since_first, before + step.after_previous);
                prop_assert!(step.latest_since_first >= step.since_first);
                prop_assert!(step.latest_since_first <= step.since_first.mul_f64(1.101));
                before = step.since_first;
            }
        }
    }
}
