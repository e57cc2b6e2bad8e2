//! The table of a log, and what stands in the place of rows that are not there.

use maud::{Markup, html};

use super::asked::Asked;
use super::result::{Standing, badge, in_short, next};
use super::seen::Seen;
use crate::dashboard::routes::of_webhook;
use crate::dashboard::when::{ago, took};
use crate::domain::{AttemptId, AttemptRow, Millis};
use crate::store::attempts::Logged;

/// What a page of the log shows.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Whose log it is.
    pub seen: &'a Seen,
    /// What was asked for.
    pub asked: &'a Asked,
    /// The rows, newest first.
    pub rows: &'a [Logged],
    /// Whether there are older ones.
    pub has_more: bool,
    /// When they were read.
    pub now: Millis,
}

/// The rows, with the way to older and newer ones.
pub fn rows(shown: &Shown<'_>) -> Markup {
    if shown.rows.is_empty() {
        return html! { div.card { (empty(shown)) } (pages(shown)) };
    }
    html! {
        div.card.scroll tabindex="0" role="region" aria-label="Attempts" {
            table.cards.log {
                caption.unseen { "Attempts to deliver events, newest first" }
                thead { tr {
                    th scope="col" { "Result" }
                    th scope="col" { "Event" }
                    th.number scope="col" { "Attempt" }
                    th scope="col" { "Answer" }
                    th.number scope="col" { "Took" }
                    th scope="col" { "When" }
                    th scope="col" { "Next try" }
                } }
                tbody { @for logged in shown.rows { (row(shown, &logged.row)) } }
            }
        }
        (pages(shown))
    }
}

fn row(shown: &Shown<'_>, row: &AttemptRow) -> Markup {
    let standing = Standing::of(row, shown.now);
    let id = row.id.map(|id| AttemptId::new(&shown.seen.webhook.id, id));
    html! {
        tr id=[id] {
            td { (badge(standing)) }
            td data-label="Event" {
                span {
                    @match id {
                        Some(id) => a.event href=(of_webhook(&shown.seen.webhook.id, &format!("/deliveries/{id}"))) { (row.event_type) },
                        None => (row.event_type),
                    }
                    br;
                    code.muted.small.id { (row.event_id) }
                }
            }
            td.number data-label="Attempt" { (row.attempt) }
            td data-label="Answer" { (in_short(row)) }
            td.number.nowrap data-label="Took" { (took(row.elapsed_ms.into())) }
            td.nowrap data-label="When" { (ago(row.at, shown.now)) }
            td.nowrap.none[!matches!(standing, Standing::RetryAt(_))] data-label="Next try" { span { (next(standing, shown.now)) } }
        }
    }
}

/// What to do now.
fn empty(shown: &Shown<'_>) -> Markup {
    let page = |rest: &str| of_webhook(&shown.seen.webhook.id, rest);
    let newest = format!("{}?{}", page("/deliveries"), shown.asked.query(1));
    html! {
        div.empty {
            @if shown.asked.page > 1 {
                h2 { "Nothing is older" }
                p { "The log ends before this page." }
                a.button href=(newest) { "To the newest" }
            } @else if shown.asked.is_narrow() {
                h2 { "Nothing matches" }
                p { "No attempt in the log is like that. Ask for less, or look at everything." }
                a.button href=(page("/deliveries")) { "Clear the filters" }
            } @else {
                h2 { "Nothing has been sent yet" }
                @if shown.seen.may_change {
                    p { "Every attempt to deliver an event shows up here. Send a test to see the first one." }
                    a.button.primary href=(page("/test")) { "Send a test" }
                } @else {
                    p { "Every attempt to deliver an event shows up here." }
                }
            }
        }
    }
}

fn pages(shown: &Shown<'_>) -> Markup {
    let asked = shown.asked;
    let to = |number: u32| {
        format!("{}?{}", of_webhook(&shown.seen.webhook.id, "/deliveries"), asked.query(number))
    };
    html! {
        @if asked.page > 1 || shown.has_more {
            nav.pages aria-label="Pages of the log" {
                @if asked.page > 1 { a.button href=(to(asked.page - 1)) rel="prev" { "Newer" } } @else { span {} }
                span.muted { "Page " (asked.page) }
                @if shown.has_more { a.button href=(to(asked.page + 1)) rel="next" { "Older" } } @else { span {} }
            }
        }
    }
}
