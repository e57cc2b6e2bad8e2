//! What holds of every name, time and trace that is read.

use proptest::prelude::*;

use super::arbitrary::{config, damaged_text, texts};
use super::{
    AttemptId, EntryId, EventId, Millis, NodeId, Tenant, TraceContext, TraceParent, UserId, WebhookId,
};

/// What is read and written again is read as the same.
fn is_stable<T: std::str::FromStr + ToString + PartialEq>(text: &str) -> bool {
    text.parse::<T>().ok().is_none_or(|read| read.to_string().parse().ok().as_ref() == Some(&read))
}

/// There is one way to write it.
fn is_canonical<T: std::str::FromStr + ToString>(text: &str) -> bool {
    text.parse::<T>().ok().is_none_or(|read| read.to_string() == text)
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        texts(),
        damaged_text("wh_0dabcdefghijklmnopqrstuv".into()),
        damaged_text("att_17_3_qrstuv".into()),
        damaged_text("evt_019b4c8a1b2c00112233445566778899".into()),
        damaged_text("1768473000000-3".into()),
        damaged_text("org:acme".into()),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn names_are_read_as_they_are_written(text in names()) {
        prop_assert!(is_canonical::<WebhookId>(&text));
        prop_assert!(is_canonical::<EventId>(&text));
        prop_assert!(is_canonical::<NodeId>(&text));
        prop_assert!(is_canonical::<Tenant>(&text));
        prop_assert!(is_canonical::<UserId>(&text));
        // Numbers may have zeros in front.
        prop_assert!(is_stable::<EntryId>(&text));
        prop_assert!(is_stable::<AttemptId>(&text));
    }

    #[test]
    fn what_goes_into_keys_and_headers_holds_nothing_that_means_something_there(text in names()) {
        let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        for read in [
            text.parse::<WebhookId>().map(|id| id.to_string()),
            text.parse::<EventId>().map(|id| id.to_string()),
            text.parse::<NodeId>().map(|id| id.to_string()),
            text.parse::<AttemptId>().map(|id| id.to_string()),
        ].into_iter().flatten() {
            prop_assert!(is_plain(&read) && (1..=64).contains(&read.len()), "{read}");
        }
        if let Ok(id) = text.parse::<EventId>() {
            prop_assert!(id.made_at().is_none_or(|at| at.0 < 1 << 48));
        }
    }

    #[test]
    fn every_time_is_written_and_read_as_the_same(ms in 0..=Millis::MAX.0) {
        let text = Millis(ms).to_string();
        prop_assert_eq!(text.len(), 24);
        prop_assert_eq!(Millis::parse_rfc3339(&text), Some(Millis(ms)));
    }

    #[test]
    fn what_is_read_as_a_time_is_one_and_its_offset_is_taken_off(
        text in prop_oneof![texts(), damaged_text("2026-01-15T11:30:00.123+01:00".into())],
        (hours, minutes) in (0..24_i64, 0..60_i64),
        ms in 86_400_000..=Millis::MAX.0 - 86_400_000,
    ) {
        if let Some(at) = Millis::parse_rfc3339(&text) {
            prop_assert!(at <= Millis::MAX);
            prop_assert_eq!(Millis::parse_rfc3339(&at.to_string()), Some(at));
        }
        let ahead = u64::try_from(60_000 * (60 * hours + minutes)).expect("not negative");
        let local = Millis(ms + ahead).to_string();
        let elsewhere = format!("{}+{hours:02}:{minutes:02}", local.trim_end_matches('Z'));
        prop_assert_eq!(Millis::parse_rfc3339(&elsewhere), Some(Millis(ms)));
    }

    #[test]
    fn a_traceparent_says_what_it_says_in_its_fixed_places(
        text in damaged_text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    ) {
        if let Ok(parent) = text.parse::<TraceParent>() {
            let TraceContext { trace, span } = parent.context;
            prop_assert_eq!(&text[3..35], trace.to_string());
            prop_assert_eq!(&text[36..52], span.to_string());
            prop_assert!(text.is_char_boundary(55) && !text.starts_with("ff"));
        }
        prop_assert!(is_stable::<TraceContext>(&text));
    }

    #[test]
    fn every_context_survives_its_text(trace: [u8; 16], span: [u8; 8]) {
        let context = TraceContext { trace: super::TraceId::made(trace), span: super::SpanId::made(span) };
        prop_assert_eq!(context.to_string().parse(), Ok(context));
    }
}
