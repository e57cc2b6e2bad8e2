//! Which webhooks need somebody to look at them, in which order, and what is said of each. Pure.

use std::cmp::Reverse;

use maud::{Markup, html};

use crate::api::webhooks::view::status_of;
use crate::dashboard::explain::explain;
use crate::dashboard::heading::badge;
use crate::dashboard::routes::{PREFIX, of_webhook};
use crate::dashboard::when::{ago, many};
use crate::domain::{AttemptId, AttemptRow, Millis, Status, Webhook};
use crate::store::webhooks::Figures;

/// The most webhooks that are told of.
pub const MOST: usize = 10;

/// A webhook with its figures.
pub type Known = (Webhook, Figures);

/// How badly a webhook needs somebody; what is worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Nothing can be sent until somebody acts.
    Stuck,
    /// The breaker holds it back.
    HeldBack,
    /// Its last attempts failed.
    Failing,
}

/// What a webhook needs; `None` = nothing. What its owner has switched off is as they want it.
fn need((webhook, figures): &Known) -> Option<Need> {
    match status_of(webhook, *figures) {
        _ if webhook.locked.is_some() => Some(Need::Stuck),
        Status::Disabled => Some(Need::Stuck),
        Status::Failing => Some(Need::HeldBack),
        Status::Active if figures.standing.failures > 0 => Some(Need::Failing),
        Status::Active | Status::Inactive => None,
    }
}

/// Those that need somebody, worst first, then by failures in a row.
pub fn needy(webhooks: &[Known]) -> Vec<&Known> {
    let mut found: Vec<(Need, &Known)> =
        webhooks.iter().filter_map(|known| Some((need(known)?, known))).collect();
    found.sort_by_key(|(need, (_, figures))| (*need, Reverse(figures.standing.failures)));
    found.into_iter().map(|(_, known)| known).collect()
}

/// The part of the page: `shown` with the last failure of each, of `all` that need somebody.
pub fn section(shown: &[(&Known, Option<AttemptRow>)], all: usize, now: Millis) -> Markup {
    html! {
        section.card aria-labelledby="attention" {
            h2 #attention { "Needs attention" }
            @if shown.is_empty() {
                p.fine { "Nothing needs your attention: the last delivery to each of your active webhooks succeeded, or none was made yet." }
            } @else {
                ul.attention {
                    @for (known, last) in shown { li { (entry(known, last.as_ref(), now)) } }
                }
                @if all > shown.len() {
                    p { "These are the worst " (shown.len()) " of " (all) ". " a href={ (PREFIX) "/webhooks" } { "See all webhooks" } }
                }
            }
        }
    }
}

fn entry((webhook, figures): &Known, last: Option<&AttemptRow>, now: Millis) -> Markup {
    html! {
        div.head {
            h3 { a href=(of_webhook(&webhook.id, "")) { (webhook.settings.name) } }
            div.row {
                @if figures.standing.failures > 0 {
                    span.badge.warn { (many(figures.standing.failures.into(), "failure", "failures in a row")) }
                }
                // That it is active is no comfort here.
                @if status_of(webhook, *figures) != Status::Active { (badge(webhook, *figures)) }
            }
        }
        @if webhook.locked.is_some() {
            p { "Its secret cannot be read, so nothing is sent. Whoever runs this service can restore the key, or you "
                a href=(of_webhook(&webhook.id, "/secret")) { "give it a new secret" } "." }
        }
        @match last {
            Some(row) => { (failure(webhook, row, now)) }
            None => { p { a href=(of_webhook(&webhook.id, "/deliveries")) { "Look at its deliveries" } } }
        }
    }
}

/// The last failure in a line, and the way to it.
fn failure(webhook: &Webhook, row: &AttemptRow, now: Millis) -> Markup {
    let message = row.error_message.as_deref().unwrap_or_default();
    let what = row.error_kind.map(|kind| explain(kind, message, row.status).what);
    html! {
        p.what { (what.unwrap_or_default()) }
        p.muted.small {
            "Last failure " (ago(row.at, now)) ", of " code { (row.event_type) } ". "
            @if let Some(id) = row.id {
                a href=(of_webhook(&webhook.id, &format!("/deliveries/{}", AttemptId::new(&webhook.id, id)))) {
                    "What went wrong, and what to do" span.unseen { " about " (webhook.settings.name) }
                }
            }
        }
    }
}
