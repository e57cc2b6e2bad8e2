//! What holds of every `Retry-After`, and of every body that an endpoint may send.

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary::{config, damaged_text, texts};

const NOW: Millis = Millis(1_768_473_000_000);

fn answer(status: u16, retry_after: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).ok(),
        retry_after: Some(retry_after.into()),
        body: Vec::new(),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_wait_is_never_nothing_and_at_most_a_day(
        text in prop_oneof![
            texts(),
            "[0-9 +-]{0,25}",
            damaged_text("Thu, 15 Jan 2026 10:31:00 GMT".into()),
            damaged_text("Thursday, 15-Jan-26 10:31:00 GMT".into()),
        ],
        status in 100..600_u16,
    ) {
        match retry_after(&answer(status, &text), NOW) {
            Some(wait) => {
                prop_assert!([429, 503].contains(&status));
                prop_assert!(!wait.is_zero() && wait <= MAX_DELAY);
            }
            None => {
                let seconds = text.trim().parse::<u64>().ok().filter(|_| !text.contains('+'));
                let asks = [429, 503].contains(&status) && seconds.is_some_and(|seconds| seconds > 0);
                prop_assert!(!asks, "{text}");
            }
        }
    }

    #[test]
    fn seconds_and_the_date_that_is_so_far_ahead_mean_the_same(seconds in 1..200_000_u64) {
        let at = UNIX_EPOCH + Duration::from_millis(NOW.0) + Duration::from_secs(seconds);
        let [by_number, by_date] =
            [seconds.to_string(), httpdate::fmt_http_date(at)].map(|text| retry_after(&answer(503, &text), NOW));
        prop_assert_eq!(by_number, by_date);
        prop_assert_eq!(by_number, Some(Duration::from_secs(seconds).min(MAX_DELAY)));
    }

    #[test]
    fn any_body_is_text_of_its_beginning(bytes: Vec<u8>, limit in 0..40_usize) {
        let shown = text(&bytes, limit);
        prop_assert!(shown.chars().count() <= limit);
        if let Ok(whole) = std::str::from_utf8(&bytes) {
            prop_assert!(whole.starts_with(&shown) && shown.len() + 3 >= limit.min(whole.len()));
        }
    }
}
