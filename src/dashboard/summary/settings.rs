//! A webhook's settings in short. Its headers by their names alone: their values are secrets as a rule. Pure.

use maud::{Markup, html};

use super::recent::is_own;
use crate::dashboard::pretty::pretty;
use crate::dashboard::preview::{in_words, retry_times};
use crate::dashboard::routes::of_webhook;
use crate::dashboard::visit::Visit;
use crate::dashboard::when::{at, count, many};
use crate::domain::webhook::Settings;
use crate::domain::{Retries, Webhook};

/// Event patterns and header names that are listed; the settings page has all.
const MOST_LISTED: usize = 10;
/// Retries whose waits are told one by one.
const MOST_WAITS: usize = 6;

/// The part of the page.
pub fn section(visit: &Visit, webhook: &Webhook) -> Markup {
    let settings = &webhook.settings;
    html! {
        section.card aria-labelledby="settings" {
            div.head {
                h2 #settings { "Settings" }
                @if is_own(visit, webhook) && visit.may_write() { a href=(of_webhook(&webhook.id, "/edit")) { "Change settings" } }
            }
            dl.facts {
                @if let Some(text) = &settings.description { dt { "Description" } dd { (text) } }
                dt { "Events" } dd { (events(settings)) }
                dt { "Only if" } dd { (filter(settings)) }
                dt { "Own headers" } dd { (headers(webhook)) }
                dt { "Retries" } dd { (retries(&settings.retries)) }
                dt { "Time limit" } dd { (many(settings.timeout_seconds.into(), "second", "seconds")) " for each attempt" }
                dt { "Pace" } dd { (pace(settings)) }
                dt { "Created" } dd { (at(settings.created_at)) }
                dt { "Changed" } dd { (at(webhook.updated_at)) }
                dt { "Id" } dd { code { (webhook.id) } }
            }
        }
    }
}

fn events(settings: &Settings) -> Markup {
    let names: Vec<String> = settings.events.iter().map(ToString::to_string).collect();
    html! {
        @if names.iter().any(|name| name == "*") { "every event" } @else { (listed(&names)) }
    }
}

fn headers(webhook: &Webhook) -> Markup {
    let names: Vec<String> = webhook.settings.headers.keys().cloned().collect();
    html! {
        @if webhook.locked.is_some() { "cannot be read by this node" }
        @else if names.is_empty() { "none" }
        @else { (listed(&names)) span.muted { " (values are not shown)" } }
    }
}

/// The first of `names`, and how many more there are.
fn listed(names: &[String]) -> Markup {
    let more = names.len().saturating_sub(MOST_LISTED);
    html! {
        @for (n, name) in names.iter().take(MOST_LISTED).enumerate() { @if n > 0 { ", " } code { (name) } }
        @if more > 0 { " and " (more) " more" }
    }
}

fn filter(settings: &Settings) -> Markup {
    let text = settings.filter.as_ref().and_then(|filter| serde_json::to_string(filter).ok());
    html! {
        @match text {
            Some(text) => { "the event's data matches" pre.small { (pretty(&text)) } }
            None => { "no condition" }
        }
    }
}

/// How often and after which waits a failed delivery is tried again.
fn retries(retries: &Retries) -> Markup {
    let steps = retry_times(retries);
    let waits: Vec<String> =
        steps.iter().take(MOST_WAITS).map(|step| in_words(step.after_previous)).collect();
    html! {
        @if let Some(last) = steps.last() {
            "up to " (many(steps.len() as u64, "time", "times")) ", after " (waits.join(", "))
            @if steps.len() > waits.len() { " and so on" }
            span.muted { " (given up after " (in_words(last.since_first)) ")" }
        } @else { "none: a delivery that fails is given up" }
    }
}

fn pace(settings: &Settings) -> Markup {
    html! {
        @if settings.ordered { "one after another, in order" }
        @else { "at most " (count(settings.max_concurrency.into())) " at once" }
        @if let Some(rate) = settings.rate_limit_per_second { ", at most " (count(rate.into())) " a second" }
    }
}
