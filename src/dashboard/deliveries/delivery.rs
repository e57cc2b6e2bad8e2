//! What stands on the page of one attempt: a function from what was read to what is written.

use std::collections::BTreeMap;
use std::time::Duration;

use maud::{Markup, html};
use url::form_urlencoded::Serializer;

use super::exchange::{Exchange, request, response};
use super::result::{Standing, badge, is_test};
use super::seen::Seen;
use super::span;
use super::timeline::{steps, timeline};
use crate::dashboard::explain::explain;
use crate::dashboard::page::mark;
use crate::dashboard::routes::{PREFIX, of_webhook};
use crate::dashboard::visit::Visit;
use crate::dashboard::webhooks::once::form_id;
use crate::dashboard::when::{ago, at};
use crate::domain::{AttemptId, AttemptRow, Millis, WebhookId};
use crate::store::attempts::{Logged, Payload};

/// How much time around a failure a recovery is offered for, on each side.
const AROUND: Duration = Duration::from_secs(3600);

/// One attempt with all that is told of it.
#[derive(Debug)]
pub struct Delivery {
    /// Its webhook.
    pub seen: Seen,
    /// Its name.
    pub id: AttemptId,
    /// It, with the event's body.
    pub opened: Logged,
    /// The headers that were sent; `None` = no request was made.
    pub headers: Option<BTreeMap<String, String>>,
    /// All attempts of its event, newest first.
    pub attempts: Vec<AttemptRow>,
    /// How long bodies are kept.
    pub retention: Duration,
    /// How much of an answer is kept, in bytes.
    pub captured: usize,
    /// Whether new attempts are to show up by themselves.
    pub is_live: bool,
    /// When all this was read.
    pub now: Millis,
}

impl Delivery {
    /// In the tab and on the way to the page.
    pub fn title(&self) -> String {
        format!("{}, attempt {}", self.opened.row.event_type, self.opened.row.attempt)
    }

    fn standing(&self) -> Standing {
        Standing::of(&self.opened.row, self.now)
    }

    /// Why it is not offered to send it again; `None` = it is.
    fn obstacle(&self) -> Option<&'static str> {
        if !self.seen.may_change {
            Some("Only the owner of the webhook can send it again, with a token that may change webhooks.")
        } else if is_test(&self.opened.row) {
            Some("A test is not sent again: send another one.")
        } else if !self.seen.webhook.is_active {
            Some("It can be sent again once the webhook is active.")
        } else if self.opened.payload == Payload::Gone {
            Some("It cannot be sent again: the body of the event is no longer kept.")
        } else {
            None
        }
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            row: &self.opened.row,
            payload: &self.opened.payload,
            headers: self.headers.as_ref(),
            retention: self.retention,
            captured: self.captured,
            timeout: Duration::from_secs(self.seen.webhook.settings.timeout_seconds.into()),
        }
    }
}

/// The address of an attempt's page.
pub fn address(webhook: &WebhookId, attempt: AttemptId) -> String {
    of_webhook(webhook, &format!("/deliveries/{attempt}"))
}

/// The whole page; `problem` is why what was asked for was not done.
pub fn body(visit: &Visit, delivery: &Delivery, problem: Option<&str>) -> Markup {
    let (row, webhook) = (&delivery.opened.row, &delivery.seen.webhook);
    html! {
        div.head {
            h1 { (row.event_type) }
            div.row { (badge(delivery.standing())) }
        }
        p.muted.endpoint {
            "Attempt " (row.attempt) " · " (ago(row.at, delivery.now)) " · webhook "
            a href=(of_webhook(&webhook.id, "")) { (webhook.settings.name) }
        }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        (why(visit, delivery))
        (history(delivery))
        div.two { (response(delivery.exchange())) (facts(delivery)) }
        (request(delivery.exchange()))
    }
}

/// What happened and what to do now.
fn why(visit: &Visit, delivery: &Delivery) -> Markup {
    let row = &delivery.opened.row;
    let explained = row
        .error_kind
        .map(|kind| explain(kind, row.error_message.as_deref().unwrap_or_default(), row.status));
    html! {
        section.card.why.failed[explained.is_some()] aria-labelledby="why" {
            @match explained {
                Some(explained) => {
                    h2 #why { "Why it failed" }
                    p.what { (explained.what) }
                    @if !explained.advice.is_empty() {
                        h3 { "What to do" }
                        ul { @for line in &explained.advice { li { (line) } } }
                    }
                }
                None => {
                    h2 #why { "It was delivered" }
                    p { "The endpoint took the event: it answered with a success in time." }
                }
            }
            (outlook(delivery))
            (again(visit, delivery))
        }
    }
}

/// What comes next by itself.
fn outlook(delivery: &Delivery) -> Markup {
    match delivery.standing() {
        Standing::RetryAt(due) => html! {
            p { strong { "It is tried again " (ago(due, delivery.now)) } " (" (at(due)) "), by itself." }
        },
        Standing::Retried if delivery.attempts.iter().any(|row| row.at > delivery.opened.row.at) => {
            html! { p { strong { "It was tried again" } ": see below what came of that." } }
        }
        Standing::Retried => html! {
            p { strong { "Its next attempt is due." } " Where it does not follow soon, the webhook is held back for its failures or paused: the "
                a href=(of_webhook(&delivery.seen.webhook.id, "")) { "summary" } " says until when." }
        },
        Standing::GivenUp => html! {
            p { strong { "This was the last attempt." } " No other one is made by itself: send it again when the cause is mended." }
        },
        Standing::TestFailed | Standing::Delivered => html! {},
    }
}

/// The ways to have it sent again.
fn again(visit: &Visit, delivery: &Delivery) -> Markup {
    let webhook = &delivery.seen.webhook.id;
    let (class, label) = match delivery.standing() {
        Standing::Delivered => ("", "Send it again"),
        Standing::RetryAt(_) => ("primary", "Retry now"),
        _ => ("primary", "Retry this delivery"),
    };
    html! {
        @match delivery.obstacle() {
            Some(obstacle) => p.muted { (obstacle) },
            None => div.row {
                form method="post" action={ (address(webhook, delivery.id)) "/retry" } {
                    (mark(visit))
                    (form_id(visit))
                    button class=(class) type="submit" { (label) }
                }
                @if delivery.standing() == Standing::GivenUp {
                    a.button href=(around(webhook, delivery.opened.row.at)) { "Send again all that failed around that time" }
                }
            },
        }
    }
}

/// The address of the recovery of what failed around a time.
fn around(webhook: &WebhookId, time: Millis) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("since", &span::written(time.minus(AROUND)));
    query.append_pair("until", &span::written(time + AROUND));
    format!("{}?{}", of_webhook(webhook, "/recover"), query.finish())
}

fn history(delivery: &Delivery) -> Markup {
    let part = format!("{}?part=1", address(&delivery.seen.webhook.id, delivery.id));
    html! {
        section.card aria-labelledby="history" {
            div.row.over {
                h2 #history { "All attempts of this event" }
                div.row {
                    span.muted.small #tail-state role="status" aria-live="polite" {}
                    button.small type="button" aria-pressed=(if delivery.is_live { "true" } else { "false" }) data-tail="attempts" hidden { "Follow live" }
                    a.button.small href=(address(&delivery.seen.webhook.id, delivery.id)) { "Refresh" }
                }
            }
            div #attempts data-part=(part) { (attempts(delivery)) }
        }
    }
}

/// The attempts of the event, those before and after included.
pub fn attempts(delivery: &Delivery) -> Markup {
    let steps = steps(delivery.attempts.iter());
    timeline(&delivery.seen.webhook.id, &steps, delivery.opened.row.id, delivery.now)
}

fn facts(delivery: &Delivery) -> Markup {
    let row = &delivery.opened.row;
    html! {
        section.card aria-labelledby="facts" {
            h2 #facts { "Facts" }
            dl.facts {
                dt { "When" } dd { (at(row.at)) }
                dt { "Event" } dd { code { (row.event_type) } }
                dt { "Event ID" }
                dd {
                    code { (row.event_id) }
                    @if !is_test(row) { br; a.small href={ (PREFIX) "/events/" (row.event_id) } { "This event at all webhooks" } }
                }
                dt { "Attempt ID" } dd { code { (delivery.id) } }
                @if let Some(kind) = row.error_kind { dt { "Kind of failure" } dd { code { (kind.as_str()) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests;
