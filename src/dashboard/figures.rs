//! How pages write figures: rates, times, and the charts of attempts. Pure.
//!
//! Where nothing was attempted there is no rate: `no deliveries yet`, not 100 %. A rate is rounded down, so that what failed
//! once in a million is not told as 100.0 %.

use maud::{Markup, html};

use super::chart::{self, Bar, Unit};
use super::when::{ago, count, many, took};
use crate::api::stats::{Counted, Hour};
use crate::domain::Millis;

/// Stands where there is no figure.
pub const NONE: &str = "–";
/// Hours of the chart of a day.
const DAY: usize = 24;

/// One figure with its name, and under it what it means.
pub fn figure(name: &str, value: impl Into<String>, note: &Markup) -> Markup {
    html! {
        div.card {
            dt.figure-name { (name) }
            dd { span.figure { (value.into()) } span.muted.small { (note) } }
        }
    }
}

/// The attempts of each hour, oldest first.
pub fn hours(timeline: &[Hour]) -> Vec<Bar> {
    let bar = |hour: &Hour| {
        let (successful, failed) = (hour.attempts.successful, hour.attempts.failed);
        Some(Bar { from: Millis::parse_rfc3339(&hour.hour)?, successful, failed })
    };
    timeline.iter().filter_map(bar).collect()
}

/// The newest 24 of them.
pub fn last_day(hours: &[Bar]) -> &[Bar] {
    &hours[hours.len().saturating_sub(DAY)..]
}

/// Attempts in all.
pub fn attempts(hours: &[Bar]) -> u64 {
    hours.iter().map(|hour| hour.successful.saturating_add(hour.failed)).fold(0, u64::saturating_add)
}

/// The part of the attempts that succeeded: `98.2 %`.
pub fn rate(hours: &[Bar]) -> String {
    let total = u128::from(attempts(hours));
    let successful: u128 = hours.iter().map(|hour| u128::from(hour.successful)).sum();
    let Some(tenths) = (successful * 1000).checked_div(total) else { return NONE.to_owned() };
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// The rate of a span, as a figure.
pub fn rate_figure(name: &str, hours: &[Bar]) -> Markup {
    let failed: u64 = hours.iter().map(|hour| hour.failed).fold(0, u64::saturating_add);
    let note = html! {
        @if attempts(hours) == 0 { "no deliveries yet" }
        @else if failed == 0 { "nothing failed" }
        @else { (count(failed)) " of " (many(attempts(hours), "attempt", "attempts")) " failed" }
    };
    figure(name, rate(hours), &note)
}

/// What waits to be delivered, as a figure.
pub fn waiting_figure(waiting: u64) -> Markup {
    figure("Waiting", count(waiting), &html! { "to be sent, or tried again" })
}

/// How long endpoints took to answer in 24 hours, as a figure.
pub fn times_figure(counted: &Counted) -> Markup {
    let times = &counted.response_time_ms;
    let note = html! {
        @if times.avg.is_none() { "no answers in 24 hours" }
        @else { "95 of 100 within; average " (took_or_none(times.avg)) }
    };
    figure("Response time", took_or_none(times.p95), &note)
}

/// How long answers took, as far as there were any.
pub fn took_or_none(ms: Option<f64>) -> String {
    ms.map_or_else(|| NONE.to_owned(), took)
}

/// A time that may not have been yet.
pub fn ago_or(at: Option<Millis>, now: Millis, otherwise: &str) -> Markup {
    html! { @if let Some(at) = at { (ago(at, now)) } @else { (otherwise) } }
}

/// The attempts of a day and of a week, side by side.
pub fn charts(hours: &[Bar]) -> Markup {
    html! {
        section aria-label="Attempts over time" {
            div.two.charts {
                div.card { (chart::bars("Attempts in the last 24 hours", last_day(hours), Unit::Hours)) }
                div.card { (chart::bars("Attempts in the last 7 days", &chart::days(hours), Unit::Days)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(successful: u64, failed: u64) -> [Bar; 2] {
        [
            Bar { from: Millis(0), successful: 0, failed: 0 },
            Bar { from: Millis(3_600_000), successful, failed },
        ]
    }

    #[test]
    fn a_rate_has_one_decimal_is_never_rounded_up_and_needs_attempts() {
        for (successful, failed, text) in [
            (0, 0, "–"),
            (5, 0, "100.0 %"),
            (0, 5, "0.0 %"),
            (999_999, 1, "99.9 %"),
            (2, 1, "66.6 %"),
            (u64::MAX, u64::MAX, "100.0 %"),
        ] {
            assert_eq!(rate(&bars(successful, failed)), text, "{successful} {failed}");
        }
        let none = rate_figure("Success rate", &bars(0, 0)).into_string();
        assert!(none.contains("no deliveries yet") && !none.contains("100"), "{none}");
        let some = rate_figure("Success rate", &bars(1999, 1)).into_string();
        assert!(some.contains("99.9 %") && some.contains("1 of 2,000 attempts failed"), "{some}");
    }
}
