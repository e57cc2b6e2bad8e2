//! What is drawn, and what is said of it.

use proptest::prelude::*;

use super::*;
use crate::domain::arbitrary;

/// 2026-01-15, 10:00 UTC.
const TEN: u64 = 1_768_471_200_000;

fn bar(hour: u64, successful: u64, failed: u64) -> Bar {
    Bar { from: Millis(TEN + hour * HOUR_MS), successful, failed }
}

fn drawn_of(list: &[Bar]) -> String {
    bars("Attempts", list, Unit::Hours).into_string()
}

/// The values of `attribute` of all rectangles of that class, from the oldest to the newest.
fn rectangles(markup: &str, class: &str, attribute: &str) -> Vec<u64> {
    let begins = format!("<rect class=\"{class}\"");
    let value = |rest: &str| {
        let tag = rest.split('>').next()?;
        tag.split(&format!(" {attribute}=\"")).nth(1)?.split('"').next()?.parse().ok()
    };
    markup.split(&begins).skip(1).filter_map(value).collect()
}

#[test]
fn each_bar_says_its_hour_and_its_counts() {
    let markup = drawn_of(&[bar(0, 12, 3), bar(1, 1234, 0)]);
    assert!(markup.contains("<g><title>10:00-11:00: 12 delivered, 3 failed</title>"), "{markup}");
    assert!(markup.contains("<g><title>11:00-12:00: 1,234 delivered, 0 failed</title>"), "{markup}");
    assert!(markup.contains("<desc>1,246 delivered and 3 failed, in 2 bars</desc>"), "{markup}");
    assert!(markup.contains("role=\"img\"") && markup.contains("viewBox=\"0 0 720 200\""), "{markup}");
}

#[test]
fn days_say_from_when_to_when() {
    let markup = bars("Attempts", &[bar(0, 1, 2)], Unit::Days).into_string();
    let expected = "<title>2026-01-15 10:00 to 2026-01-16 10:00: 1 delivered, 2 failed</title>";
    assert!(markup.contains(expected), "{markup}");
    assert!(markup.contains(">01-16</text>"), "{markup}");
}

#[test]
fn heights_are_in_proportion_and_failures_stand_on_top() {
    let markup = drawn_of(&[bar(0, 100, 50), bar(1, 50, 0), bar(2, 200, 0)]);
    assert_eq!(rectangles(&markup, "ok", "height"), [80, 40, 160]);
    assert_eq!(rectangles(&markup, "fail", "height"), [40]);
    assert_eq!(rectangles(&markup, "ok", "y"), [90, 130, 10]);
    assert_eq!(rectangles(&markup, "fail", "y"), [50]);
    assert_eq!(rectangles(&markup, "ok", "x"), [96, 292, 488]);
}

#[test]
fn one_failure_among_a_million_is_seen() {
    let markup = drawn_of(&[bar(0, 999_999, 1), bar(1, 1, 0), bar(2, 0, 0)]);
    assert_eq!(rectangles(&markup, "fail", "height"), [LEAST_FAILED]);
    assert_eq!(rectangles(&markup, "ok", "height"), [158, 1]);
    assert_eq!(rectangles(&markup, "frame", "height"), [160, 160, 160]);
}

#[test]
fn failures_differ_without_colour() {
    let markup = drawn_of(&[bar(0, 0, 8)]);
    assert!(markup.contains("<path class=\"stripes\" d=\"M96 12h471M96 16h471"), "{markup}");
    assert_eq!(markup.matches("<rect class=\"fail\"").count(), 1);
    assert!(markup.contains("fill=\"none\"") && !markup.contains("class=\"ok\""), "{markup}");
}

#[test]
fn the_scale_has_few_round_lines() {
    for (tallest, expected) in [
        (1, vec![0, 1]),
        (4, vec![0, 1, 2, 3, 4]),
        (5, vec![0, 2, 4, 6]),
        (13, vec![0, 5, 10, 15]),
        (150, vec![0, 50, 100, 150]),
        (1_000, vec![0, 500, 1_000]),
        (1_001, vec![0, 500, 1_000, 1_500]),
    ] {
        let lines: Vec<u128> = Scale::up_to(tallest).lines().map(|(count, _)| count).collect();
        assert_eq!(lines, expected, "{tallest}");
    }
    let ends: Vec<u64> = Scale::up_to(4).lines().map(|(_, y)| y).collect();
    assert_eq!(ends, [170, 130, 90, 50, 10]);
}

#[test]
fn numbers_beside_the_scale_are_short() {
    for (number, expected) in [
        (0, "0"),
        (999, "999"),
        (500_000, "500,000"),
        (20_000_000, "20 million"),
        (1_500_000, "1,500,000"),
        (5_000_000_000, "5 billion"),
        (2_000_000_000_000, "2 trillion"),
        (5_000_000_000_000_000_000, "5,000,000 trillion"),
    ] {
        assert_eq!(short(number), expected);
    }
}

#[test]
fn nothing_yet_is_said_and_not_drawn() {
    for list in [vec![], vec![bar(0, 0, 0), bar(1, 0, 0)]] {
        let markup = drawn_of(&list);
        let expected = "<figure class=\"chart\"><figcaption>Attempts</figcaption><p class=\"empty\">No attempts yet.</p></figure>";
        assert_eq!(markup, expected);
    }
}

#[test]
fn a_table_has_the_same_figures_newest_first() {
    let markup = drawn_of(&[bar(0, 12, 3), bar(14, 1_234_567, 0)]);
    let rows = "<tbody><tr><th scope=\"row\">2026-01-16 00:00</th><td>1,234,567</td><td>0</td></tr>\
                <tr><th scope=\"row\">2026-01-15 10:00</th><td>12</td><td>3</td></tr></tbody>";
    assert!(markup.contains(rows), "{markup}");
    assert!(markup.contains("<details><summary>The figures as a table</summary>"), "{markup}");
}

#[test]
fn a_title_breaks_out_of_nothing() {
    let markup = bars("<b>\"&'", &[bar(0, 1, 1)], Unit::Hours).into_string();
    assert_eq!(markup.matches("&lt;b&gt;&quot;&amp;'").count(), 2, "{markup}");
    assert!(!markup.contains("<b>"));
}

#[test]
fn labels_are_few_and_the_newest_bar_has_one() {
    let day: Vec<Bar> = (0..24).map(|hour| bar(hour, 1, 0)).collect();
    let markup = drawn_of(&day);
    assert_eq!(markup.matches("text-anchor=\"middle\"").count(), 6);
    assert!(markup.contains(">09:00</text>") && markup.contains(">05:00</text>"), "{markup}");
    assert!(!markup.contains(">08:00</text>"));
}

#[test]
fn hours_of_several_days_say_their_day() {
    let two_days: Vec<Bar> = (0..48).map(|hour| bar(hour, 1, 0)).collect();
    let markup = drawn_of(&two_days);
    assert!(markup.contains("<title>2026-01-17 09:00-10:00: 1 delivered, 0 failed</title>"), "{markup}");
    assert!(markup.contains(">01-17 09:00</text>"), "{markup}");
    assert!(drawn_of(&two_days[..24]).contains("<title>09:00-10:00: "));
}

#[test]
fn a_week_of_hours_makes_seven_days_that_end_with_it() {
    let hours: Vec<Bar> = (0..168).map(|hour| bar(hour, hour, 1)).collect();
    let week = days(&hours);
    assert_eq!(week.len(), 7);
    assert_eq!(week[0], bar(0, (0..24).sum(), 24));
    assert_eq!(week[6], bar(144, (144..168).sum(), 24));
    let cut = days(&hours[..25]);
    assert_eq!(cut, [bar(0, 0, 1), bar(1, (1..25).sum(), 24)]);
    assert_eq!(days(&[]), []);
    assert_eq!(days(&[bar(0, u64::MAX, 0), bar(1, 1, 0)]), [bar(0, u64::MAX, 0)]);
}

#[test]
fn more_bars_than_fit_leave_the_newest() {
    let many: Vec<Bar> = (0..1_000).map(|hour| bar(hour, hour, 0)).collect();
    let markup = drawn_of(&many);
    assert_eq!(rectangles(&markup, "frame", "x").len(), MOST_BARS);
    assert!(markup.contains(": 999 delivered") && !markup.contains(": 831 delivered"));
}

fn any_bar() -> impl Strategy<Value = Bar> {
    let count = || prop_oneof![Just(0), 0..100_u64, any::<u64>(), Just(u64::MAX / 2), Just(u64::MAX)];
    (any::<u64>(), count(), count()).prop_map(|(from, successful, failed)| Bar {
        from: Millis(from),
        successful,
        failed,
    })
}

proptest! {
    #![proptest_config(arbitrary::config())]

    #[test]
    fn any_counts_stay_within_the_drawing(
        list in prop::collection::vec(any_bar(), 1..200),
        unit in prop::sample::select(vec![Unit::Hours, Unit::Days]),
    ) {
        let list = &list[list.len().saturating_sub(MOST_BARS)..];
        let markup = bars("Attempts", list, unit).into_string();
        prop_assert!(!markup.contains("style") && !markup.contains(" id="));
        prop_assume!(list.iter().any(|bar| bar.total() > 0));
        let scale = Scale::up_to(list.iter().map(Bar::total).max().unwrap_or(0));
        prop_assert!(scale.lines().count() <= 5);
        let mut ends = LEFT;
        for (n, bar) in list.iter().enumerate() {
            let place = Place::of(bar, n, list.len(), &scale);
            prop_assert!(place.ok + place.fail <= PLOT_HEIGHT);
            prop_assert_eq!(place.fail >= LEAST_FAILED, bar.failed > 0);
            prop_assert!(place.x >= ends && place.width > 0);
            ends = place.x + place.width;
        }
        prop_assert!(ends <= WIDTH);
    }

    #[test]
    fn days_lose_nothing(list in prop::collection::vec((0..1_000_u64, 0..1_000_u64), 0..200)) {
        let hours: Vec<Bar> = list.iter().zip(0..).map(|(counts, hour)| bar(hour, counts.0, counts.1)).collect();
        let total = |bars: &[Bar]| bars.iter().map(Bar::total).sum::<u128>();
        prop_assert_eq!(total(&days(&hours)), total(&hours));
    }
}
