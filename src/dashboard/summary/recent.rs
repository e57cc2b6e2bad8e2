//! The newest rows of a webhook's log, in short. Pure.

use maud::{Markup, html};

use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{ago, took};
use crate::domain::{AttemptId, AttemptRow, Millis, Webhook};
use crate::store::attempts::Logged;

/// The part of the page.
pub fn section(visit: &Visit, webhook: &Webhook, newest: &[Logged]) -> Markup {
    html! {
        section.card aria-labelledby="recent" {
            div.head {
                h2 #recent { "Recent deliveries" }
                @if !newest.is_empty() { a href=(of_webhook(&webhook.id, "/deliveries")) { "All deliveries" } }
            }
            @if newest.is_empty() { (none_yet(visit, webhook)) } @else { (table(webhook, newest, visit.now)) }
        }
    }
}

fn none_yet(visit: &Visit, webhook: &Webhook) -> Markup {
    html! {
        div.empty {
            p { "Nothing has been sent to it lately." }
            @if is_own(visit, webhook) && visit.may_write() {
                p { "Send a test to see whether its endpoint answers." }
                a.button href=(of_webhook(&webhook.id, "/test")) { "Send a test" }
            }
        }
    }
}

fn table(webhook: &Webhook, newest: &[Logged], now: Millis) -> Markup {
    html! {
        table.cards {
            caption.unseen { "The newest attempts" }
            thead { tr {
                th scope="col" { "Event" } th scope="col" { "Result" } th scope="col" { "Answer" } th scope="col" { "When" }
            } }
            tbody { @for logged in newest { (row(webhook, &logged.row, now)) } }
        }
    }
}

fn row(webhook: &Webhook, row: &AttemptRow, now: Millis) -> Markup {
    html! {
        tr {
            td data-label="Event" {
                span {
                    @match row.id {
                        Some(id) => { a href=(of_webhook(&webhook.id, &format!("/deliveries/{}", AttemptId::new(&webhook.id, id)))) { (row.event_type) } }
                        None => { (row.event_type) }
                    }
                    @if row.attempt > 1 { " " span.muted.small.nowrap { "attempt " (row.attempt) } }
                }
            }
            td data-label="Result" { (result(row, now)) }
            td data-label="Answer" { span.nowrap { (answer(row)) } }
            td.nowrap data-label="When" { (ago(row.at, now)) }
        }
    }
}

/// How an attempt ended, as a word.
fn result(row: &AttemptRow, now: Millis) -> Markup {
    html! {
        span {
            @if row.success() { span.badge.ok { "Delivered" } }
            @else { span.badge.fail { "Failed" } }
            @if let Some(at) = row.next_retry_at.filter(|at| *at > now) {
                " " span.muted.small.nowrap { "again " (ago(at, now)) }
            }
        }
    }
}

fn answer(row: &AttemptRow) -> String {
    let took = took(row.elapsed_ms.into());
    row.status.map_or_else(|| format!("none, {took}"), |status| format!("{status}, {took}"))
}

/// Whether the webhook is the visitor's own.
pub fn is_own(visit: &Visit, webhook: &Webhook) -> bool {
    webhook.settings.owner == visit.user
}
