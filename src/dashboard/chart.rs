//! Attempts over time as bars: a drawing for eyes, the same figures as a table for everybody else. Pure.
//!
//! Inline SVG without styles, scripts or ids, so that a strict Content-Security-Policy lets it be and several fit on a page.
//! What it looks like is decided by classes: `chart` around it all; `ok`, `fail` (rectangles), `stripes` (lines over what
//! failed), `grid` (lines), `axis` (texts) and `frame` (a bar's whole height, invisible, to point at). Failed attempts stand on
//! top of delivered ones, outlined and striped by attributes, so that they differ without any colour. A bar with failures
//! shows them, at least [`LEAST_FAILED`] high, however many were delivered beside them. Without a stylesheet it is grey and readable.
//!
//! At most [`MOST_BARS`] bars are drawn, the newest. Counts of any size will do.
//!
//! Source: WAI-ARIA 1.2, role `img` (its children are not read out: hence the table); SVG 2, "The title and desc elements".

use maud::{Markup, html};

use super::when::grouped;
use crate::domain::Millis;

/// The most bars of one chart: a week of hours.
pub const MOST_BARS: usize = 168;

/// The height of what failed in a bar, at least, in units of the drawing.
pub const LEAST_FAILED: u64 = 2;

/// The size of the drawing and of the part that holds bars, in its own units.
const WIDTH: u64 = 720;
const HEIGHT: u64 = 200;
const LEFT: u64 = 96;
const TOP: u64 = 10;
/// Half of the longest label, which the newest bar has.
const RIGHT: u64 = 36;
const PLOT_WIDTH: u64 = WIDTH - LEFT - RIGHT;
const PLOT_HEIGHT: u64 = 160;
const BOTTOM: u64 = TOP + PLOT_HEIGHT;

/// As many labels as fit below the bars.
const MOST_LABELS: usize = 7;

/// Lines above the one at zero, at most.
const MOST_LINES: u128 = 4;

const HOUR_MS: u64 = 3_600_000;
const HOURS_OF_DAY: usize = 24;

/// The attempts of one span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// When it begins.
    pub from: Millis,
    /// Attempts that the endpoints took.
    pub successful: u64,
    /// Attempts that failed.
    pub failed: u64,
}

/// How long the span of each bar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// An hour.
    Hours,
    /// 24 hours, which need not begin at midnight.
    Days,
}

/// The chart of `bars`, which follow each other in time, the newest last. `title` says what they count.
pub fn bars(title: &str, bars: &[Bar], unit: Unit) -> Markup {
    let bars = &bars[bars.len().saturating_sub(MOST_BARS)..];
    let tallest = bars.iter().map(Bar::total).max().unwrap_or(0);
    html! {
        figure class="chart" {
            figcaption { (title) }
            @if tallest == 0 {
                p class="empty" { "No attempts yet." }
            } @else {
                (drawing(title, bars, Naming::of(bars, unit), &Scale::up_to(tallest)))
                p class="legend" { "Times are UTC. What failed stands on top, outlined and striped." }
                (table(bars, unit))
            }
        }
    }
}

/// `hours`, one bar each and the newest last, summed to bars of 24 that end where they end. The first may hold fewer.
pub fn days(hours: &[Bar]) -> Vec<Bar> {
    let mut days: Vec<Bar> = hours.rchunks(HOURS_OF_DAY).filter_map(sum).collect();
    days.reverse();
    days
}

fn sum(bars: &[Bar]) -> Option<Bar> {
    let added = |count: fn(&Bar) -> u64| bars.iter().map(count).fold(0, u64::saturating_add);
    let from = bars.first()?.from;
    Some(Bar { from, successful: added(|bar| bar.successful), failed: added(|bar| bar.failed) })
}

impl Bar {
    fn total(&self) -> u128 {
        u128::from(self.successful) + u128::from(self.failed)
    }

    /// What happened in it, in words.
    fn counts(&self) -> String {
        format!("{} delivered, {} failed", grouped(self.successful.into()), grouped(self.failed.into()))
    }
}

/// How the bars of a chart are called.
#[derive(Clone, Copy)]
enum Naming {
    /// By the hour: no two within a day are called the same.
    Hour,
    /// By day and hour.
    DayAndHour,
    /// By the day.
    Day,
}

impl Naming {
    fn of(bars: &[Bar], unit: Unit) -> Self {
        match unit {
            Unit::Days => Self::Day,
            Unit::Hours if bars.len() > HOURS_OF_DAY => Self::DayAndHour,
            Unit::Hours => Self::Hour,
        }
    }

    /// The span of a bar: `14:00-15:00`, `2026-01-14 15:00 to 2026-01-15 15:00`.
    fn span(self, bar: &Bar) -> String {
        let (from, hour_later, day_later) = (bar.from, later(bar, 1), later(bar, 24));
        match self {
            Self::Hour => format!("{}-{}", clock(from), clock(hour_later)),
            Self::DayAndHour => format!("{} {}-{}", date(from), clock(from), clock(hour_later)),
            Self::Day => {
                format!("{} {} to {} {}", date(from), clock(from), date(day_later), clock(day_later))
            }
        }
    }

    /// What stands below a bar.
    fn label(self, bar: &Bar) -> String {
        let day = |at| date(at)[5..].to_owned();
        match self {
            Self::Hour => clock(bar.from),
            Self::DayAndHour => format!("{} {}", day(bar.from), clock(bar.from)),
            // The day that it ends in: what happened today stands under today.
            Self::Day => day(Millis(later(bar, 24).0.saturating_sub(1))),
        }
    }
}

/// So many hours after the bar begins.
fn later(bar: &Bar, hours: u64) -> Millis {
    Millis(bar.from.0.saturating_add(hours * HOUR_MS))
}

/// `2026-01-15`
fn date(at: Millis) -> String {
    at.to_string()[..10].to_owned()
}

/// `14:00`
fn clock(at: Millis) -> String {
    at.to_string()[11..16].to_owned()
}

/// What the height of the plot stands for: a whole number of round steps.
struct Scale {
    step: u128,
    top: u128,
}

impl Scale {
    /// A scale whose steps are 1, 2 or 5 times a power of ten, and which ends at or above `tallest`.
    fn up_to(tallest: u128) -> Self {
        let mut power = 1_u128;
        loop {
            for step in [power, 2 * power, 5 * power] {
                if step * MOST_LINES >= tallest {
                    return Self { step, top: tallest.max(1).div_ceil(step) * step };
                }
            }
            power *= 10;
        }
    }

    /// How high `count` is, to the nearest unit.
    fn height(&self, count: u64) -> u64 {
        let height = (u128::from(count) * u128::from(PLOT_HEIGHT) + self.top / 2) / self.top;
        u64::try_from(height).unwrap_or(PLOT_HEIGHT).min(PLOT_HEIGHT)
    }

    /// The counts at which there is a line, and how far down each is.
    fn lines(&self) -> impl Iterator<Item = (u128, u64)> {
        let share =
            |count: u128| u64::try_from(count * u128::from(PLOT_HEIGHT) / self.top).unwrap_or(PLOT_HEIGHT);
        (0..=self.top / self.step).map(move |n| (n * self.step, BOTTOM - share(n * self.step)))
    }
}

/// Where the parts of a bar are.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    x: u64,
    width: u64,
    ok: u64,
    fail: u64,
}

impl Place {
    /// The place of the bar number `n` of `of`.
    fn of(bar: &Bar, n: usize, of: usize, scale: &Scale) -> Self {
        let (n, of) = (n as u64, of.max(1) as u64);
        let (begins, ends) = (LEFT + PLOT_WIDTH * n / of, LEFT + PLOT_WIDTH * (n + 1) / of);
        let gap = (ends - begins) / 5;
        let fail = scale.height(bar.failed).max(if bar.failed > 0 { LEAST_FAILED } else { 0 });
        let ok = scale.height(bar.successful).max(u64::from(bar.successful > 0));
        // Rounding both up may lead one beyond the top.
        Self { x: begins, width: ends - begins - gap, ok: ok.min(PLOT_HEIGHT - fail), fail }
    }
}

fn drawing(title: &str, bars: &[Bar], naming: Naming, scale: &Scale) -> Markup {
    html! {
        svg role="img" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
            title { (title) }
            desc { (summary(bars)) }
            @for (count, y) in scale.lines() {
                line class="grid" x1=(LEFT) x2=(LEFT + PLOT_WIDTH) y1=(y) y2=(y) stroke="currentColor" stroke-opacity="0.2" {}
                text class="axis" x=(LEFT - 6) y=(y + 4) text-anchor="end" font-size="11" fill="currentColor" { (short(count)) }
            }
            @for (n, bar) in bars.iter().enumerate() {
                (drawn(bar, naming, &Place::of(bar, n, bars.len(), scale)))
            }
            @for (n, bar) in labelled(bars) {
                @let place = Place::of(bar, n, bars.len(), scale);
                text class="axis" x=(place.x + place.width / 2) y=(BOTTOM + 18) text-anchor="middle" font-size="11" fill="currentColor" {
                    (naming.label(bar))
                }
            }
        }
    }
}

/// One bar: what was delivered, what failed above it, and what is said when one points at it.
fn drawn(bar: &Bar, naming: Naming, place: &Place) -> Markup {
    let Place { x, width, ok, fail } = *place;
    let top = BOTTOM - ok - fail;
    html! {
        g {
            title { (naming.span(bar)) ": " (bar.counts()) }
            rect class="frame" x=(x) y=(TOP) width=(width) height=(PLOT_HEIGHT) fill="none" pointer-events="all" {}
            @if ok > 0 {
                rect class="ok" x=(x) y=(BOTTOM - ok) width=(width) height=(ok) fill="gray" {}
            }
            @if fail > 0 {
                rect class="fail" x=(x) y=(top) width=(width) height=(fail) fill="none" stroke="currentColor" {}
                path class="stripes" d=(stripes(place, top)) stroke="currentColor" {}
            }
        }
    }
}

/// Lines across what failed, one each four units.
fn stripes(place: &Place, top: u64) -> String {
    let down = (top..top + place.fail).skip(2).step_by(4);
    down.map(|y| format!("M{} {y}h{}", place.x, place.width)).collect()
}

/// The bars that have a label: every so many, the newest among them.
fn labelled(bars: &[Bar]) -> impl Iterator<Item = (usize, &Bar)> {
    let every = bars.len().div_ceil(MOST_LABELS).max(1);
    bars.iter().enumerate().rev().step_by(every)
}

/// All of them together, in words.
fn summary(bars: &[Bar]) -> String {
    let delivered: u128 = bars.iter().map(|bar| u128::from(bar.successful)).sum();
    let failed: u128 = bars.iter().map(|bar| u128::from(bar.failed)).sum();
    format!("{} delivered and {} failed, in {} bars", grouped(delivered), grouped(failed), bars.len())
}

/// The figures of the drawing, the newest first.
fn table(bars: &[Bar], unit: Unit) -> Markup {
    let first = if unit == Unit::Hours { "Hour (UTC) from" } else { "24 hours (UTC) from" };
    html! {
        details {
            summary { "The figures as a table" }
            table {
                thead {
                    tr {
                        th scope="col" { (first) }
                        th scope="col" { "Delivered" }
                        th scope="col" { "Failed" }
                    }
                }
                tbody {
                    @for bar in bars.iter().rev() {
                        tr {
                            th scope="row" { (date(bar.from)) " " (clock(bar.from)) }
                            td { (grouped(bar.successful.into())) }
                            td { (grouped(bar.failed.into())) }
                        }
                    }
                }
            }
        }
    }
}

/// A number of the scale, short enough to stand beside it: `500,000`, `20 million`, `5 billion`.
fn short(number: u128) -> String {
    const MILLION: u128 = 1_000_000;
    const BILLION: u128 = 1_000 * MILLION;
    const TRILLION: u128 = 1_000 * BILLION;
    for (size, name) in [(TRILLION, " trillion"), (BILLION, " billion"), (MILLION, " million")] {
        if number >= size && number.is_multiple_of(size) {
            return grouped(number / size) + name;
        }
    }
    grouped(number)
}

#[cfg(test)]
mod tests;
