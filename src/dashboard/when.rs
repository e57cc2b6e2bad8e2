//! How a page writes times and numbers.

use std::time::Duration;

use chrono::DateTime;
use maud::{Markup, html};

use crate::domain::Millis;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A time as a person compares it with now: `3 min ago`, `in 2 h`; the whole of it shows when it is pointed at.
pub fn ago(at: Millis, now: Millis) -> Markup {
    let words = if at <= now { past(now.since(at)) } else { format!("in {}", rough(at.since(now))) };
    html! { time datetime=(at.to_string()) title=(written(at)) { (words) } }
}

fn past(span: Duration) -> String {
    if span < Duration::from_secs(2) { "just now".into() } else { format!("{} ago", rough(span)) }
}

/// The largest unit alone.
fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        _ => format!("{} d", seconds / DAY),
    }
}

/// A time in full.
pub fn at(at: Millis) -> Markup {
    html! { time datetime=(at.to_string()) { (written(at)) } }
}

/// `28 Nov 2026, 01:40:12 UTC`
pub fn written(at: Millis) -> String {
    let time = i64::try_from(at.0).ok().and_then(DateTime::from_timestamp_millis);
    time.unwrap_or_default().format("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// How long something took: `250 ms`, `1.3 s`, `30 s`.
pub fn took(ms: f64) -> String {
    match ms {
        ..999.5 => format!("{ms:.0} ms"),
        ..9_950.0 => format!("{:.1} s", ms / 1000.0),
        _ => format!("{:.0} s", ms / 1000.0),
    }
}

/// A number with its thousands apart: `12,345`.
pub fn count(number: u64) -> String {
    grouped(number.into())
}

/// The same of a sum that may be larger.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 webhook`, `2 webhooks`.
pub fn many(number: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    #[test]
    fn times_are_told_by_their_largest_unit() {
        for (seconds, words) in
            [(0, "just now"), (59, "59 s ago"), (61, "1 min ago"), (7199, "1 h ago"), (90_000, "1 d ago")]
        {
            let text = ago(NOW.minus(Duration::from_secs(seconds)), NOW).into_string();
            assert!(text.contains(&format!(">{words}<")), "{text}");
        }
        assert!(ago(NOW + Duration::from_secs(90), NOW).into_string().contains(">in 1 min<"));
        assert_eq!(written(NOW), "15 Jan 2026, 10:30:00 UTC");
    }

    #[test]
    fn spans_are_told_as_exactly_as_people_ask() {
        for (ms, text) in [
            (0.4, "0 ms"),
            (999.4, "999 ms"),
            (999.6, "1.0 s"),
            (1349.0, "1.3 s"),
            (9_949.0, "9.9 s"),
            (9_950.0, "10 s"),
            (30_001.0, "30 s"),
        ] {
            assert_eq!(took(ms), text, "{ms}");
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(grouped(2 * u128::from(u64::MAX)), "36,893,488,147,419,103,230");
        assert_eq!((many(1, "a", "b"), many(0, "a", "b")), ("1 a".into(), "0 b".into()));
    }
}
